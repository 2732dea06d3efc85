//! How often each model or class came, for as many names as anybody reads.

use std::collections::BTreeMap;

/// Names that are kept; rows of any other one are counted together.
const NAMES_MAX: usize = 64;
/// Longest name that is kept, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Counts rows by name.
#[derive(Debug, Default)]
pub(super) struct Names {
    rows: BTreeMap<String, u64>,
    other: u64,
}

/// How often each name came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NameFacts {
    /// Names with their rows, the most frequent first.
    pub(crate) rows: Vec<(String, u64)>,
    /// Rows whose names came after too many others.
    pub(crate) other: u64,
}

impl Names {
    /// Takes one row that has this name.
    pub(super) fn add(&mut self, name: &str) {
        let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
        if let Some(rows) = self.rows.get_mut(name) {
            *rows += 1;
        } else if self.rows.len() < NAMES_MAX {
            self.rows.insert(name.to_owned(), 1);
        } else {
            self.other += 1;
        }
    }

    /// Returns what was found.
    pub(super) fn facts(&self) -> NameFacts {
        let mut rows: Vec<(String, u64)> = self.rows.clone().into_iter().collect();
        rows.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        NameFacts {
            rows,
            other: self.other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{NAME_BYTES_MAX, NAMES_MAX, Names};

    #[test]
    fn the_most_frequent_name_comes_first() {
        let mut names = Names::default();
        ["b", "c", "a", "c", "c", "a"]
            .iter()
            .for_each(|name| names.add(name));
        let found = names.facts();
        let expected = [("c", 3), ("a", 2), ("b", 1)].map(|(name, rows)| (name.to_owned(), rows));
        assert_eq!(found.rows, expected);
        assert_eq!(found.other, 0);
    }

    #[test]
    fn names_are_bounded_in_number_and_in_length() {
        let mut names = Names::default();
        names.add(&"ä".repeat(10_000));
        (0..1_000).for_each(|number| names.add(&format!("name {number}")));
        let found = names.facts();
        assert_eq!(found.rows.len(), NAMES_MAX);
        assert_eq!(found.other, 1_001 - NAMES_MAX as u64);
        assert!(
            found
                .rows
                .iter()
                .all(|(name, _)| name.len() <= NAME_BYTES_MAX)
        );
    }
}
