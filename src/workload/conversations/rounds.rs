//! How conversations are sent again where there are too few: under other names.
//!
//! A server may keep what it knows of a session by its name, so no two sessions of a run have one name.

use std::collections::{HashMap, HashSet};

use super::super::dataset::DatasetSetup;

/// Bytes of a name that is taken from a file.
const MAX_NAME_BYTES: usize = 200;

/// A number of conversations, and what a run wants of them.
pub(super) struct Rounds {
    /// Conversations, at least one.
    size: u64,
    /// Sessions of the run, where that is known.
    count: Option<u64>,
    /// They are sent again from the first where they are too few.
    repeats: bool,
}

impl Rounds {
    /// So many conversations, at least one, for a run.
    pub(super) fn new(size: u64, setup: &DatasetSetup<'_>) -> Self {
        Self {
            size: size.max(1),
            count: setup.count,
            repeats: setup.repeats,
        }
    }

    /// Conversations, without those that are sent again.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Returns which conversation session `index` has, and how often it has been sent before.
    pub(super) fn place(&self, index: u64) -> (u64, u64) {
        (index % self.size, index / self.size)
    }

    /// What is said where a run has, or may have, more sessions. `what` is such as `4 of 5
    /// conversations`.
    pub(super) fn shortage(&self, what: &str) -> Option<String> {
        let is_short = self.count.is_none_or(|count| count > self.size);
        let then = match (self.repeats, self.size) {
            (true, _) if self.count.is_none() => {
                "may be sent, and again under other names where the run has room for more"
            }
            (true, 1) => "is sent, then the same one again under other names",
            (true, _) => "are sent, then the same ones again under other names",
            (false, 1) => "is sent, and the run ends with it",
            (false, _) => "are sent, and the run ends with them",
        };
        is_short.then(|| format!("{what} {then}"))
    }
}

/// Names all conversations of a file.
pub(super) fn whole(size: u64) -> String {
    match size {
        1 => "the only conversation of the file".to_owned(),
        size => format!("the {size} conversations of the file"),
    }
}

/// Names of a number of conversations.
pub(super) struct Names {
    names: Vec<Name>,
    /// What stands between a name and the number behind it.
    dashes: String,
}

/// A name of one conversation, or of several.
struct Name {
    base: String,
    /// Which of those of that name this is, from 1.
    which: u64,
    /// How many have that name.
    of: u64,
}

impl Names {
    /// Of names as a file has them, which may be there more than once.
    pub(super) fn new(given: Vec<String>) -> Self {
        let mut often: HashMap<String, u64> = HashMap::new();
        let mut names: Vec<Name> = Vec::with_capacity(given.len());
        for base in given {
            let which = often.entry(base.clone()).or_default();
            *which += 1;
            names.push(Name {
                which: *which,
                base,
                of: 1,
            });
        }
        for name in &mut names {
            name.of = often.get(&name.base).copied().unwrap_or(1);
        }
        let bases: HashSet<&str> = often.keys().map(String::as_str).collect();
        let mut dashes = "-".to_owned();
        while bases.iter().any(|base| is_numbered(base, &dashes, &bases)) {
            dashes.push('-');
        }
        Self { names, dashes }
    }

    /// Returns the name of conversation `at` where it is sent for the `round`-th time, from 0.
    pub(super) fn of(&self, at: usize, round: u64) -> String {
        let Some(name) = self.names.get(at) else {
            return format!("c{at}{}{round}", self.dashes);
        };
        let number = round.saturating_mul(name.of).saturating_add(name.which);
        match number {
            1 => name.base.clone(),
            number => format!("{}{}{number}", name.base, self.dashes),
        }
    }
}

/// Whether a name is another one with a number behind it.
fn is_numbered(name: &str, dashes: &str, all: &HashSet<&str>) -> bool {
    let before = name.trim_end_matches(|last: char| last.is_ascii_digit());
    let base = before.strip_suffix(dashes);
    before.len() < name.len() && base.is_some_and(|base| all.contains(base))
}

/// Returns a name that a file gives, where it can be one.
pub(super) fn usable(given: &serde_json::Value) -> Option<String> {
    let name = match given {
        serde_json::Value::String(name) => name.trim().to_owned(),
        serde_json::Value::Number(number) => number.to_string(),
        _ => return None,
    };
    (!name.is_empty() && name.len() <= MAX_NAME_BYTES).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(given: &[&str], rounds: u64) -> Vec<String> {
        let names = Names::new(given.iter().map(|name| (*name).to_owned()).collect());
        let of_round = |round| (0..given.len()).map(move |at| (at, round));
        let all = (0..rounds).flat_map(of_round);
        all.map(|(at, round)| names.of(at, round)).collect()
    }

    #[test]
    fn a_name_that_comes_again_has_a_number_behind_it() {
        assert_eq!(names(&["a", "b"], 2), ["a", "b", "a-2", "b-2"]);
        let twice = names(&["a", "b", "a"], 2);
        assert_eq!(twice, ["a", "b", "a-2", "a-3", "b-2", "a-4"]);
        assert_eq!(names(&["a-2", "b"], 2), ["a-2", "b", "a-2-2", "b-2"]);
    }

    #[test]
    fn no_two_sessions_have_one_name_whatever_the_file_has() {
        let hard: [&[&str]; 4] = [
            &["a", "a-2", "a-3", "a"],
            &["a", "a--2", "a-2", "a-"],
            &["", "-2", "2", "--2"],
            &["x-1", "x", "x-1-2", "x-1", "x-10"],
        ];
        for given in hard {
            let all = names(given, 30);
            let distinct: HashSet<&String> = all.iter().collect();
            assert_eq!(distinct.len(), all.len(), "{given:?}");
            assert_eq!(all[0], given[0]);
        }
    }

    #[test]
    fn what_is_no_name_is_none() {
        use serde_json::json;
        assert_eq!(usable(&json!(" a ")), Some("a".to_owned()));
        assert_eq!(usable(&json!(7)), Some("7".to_owned()));
        for value in [json!(""), json!(null), json!({}), json!("x".repeat(201))] {
            assert_eq!(usable(&value), None);
        }
    }
}
