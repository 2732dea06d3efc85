//! A table ready to be shown: the same cells for every format.

use serde::Serialize;

use super::language::{said, say};

/// How a cell is to be understood beside its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Tone {
    /// A number or a word of ours.
    #[default]
    Plain,
    /// Holds, but weakly: too few values stand behind it.
    Faint,
    /// Better than what it is compared with, or inside its limit.
    Good,
    /// Worse than what it is compared with, or outside its limit.
    Bad,
    /// Text from outside; shown as such.
    Foreign,
}

/// The heading over verdicts, which no format cuts.
pub(crate) const VERDICT: &str = "verdict";

/// One cell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Field {
    /// What is shown.
    pub(crate) text: String,
    /// How it is to be understood.
    pub(crate) tone: Tone,
    /// The interval that holds the true number, in the same unit; empty where there is none.
    pub(crate) interval: String,
}

impl Field {
    /// Makes a cell of our own: a number, or a word that is said in the report's language.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        Self {
            text: said(text.as_ref()),
            tone: Tone::Plain,
            interval: String::new(),
        }
    }

    /// Makes a cell of our own that is the same in every language.
    pub(crate) fn verbatim(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Plain,
            interval: String::new(),
        }
    }

    /// Makes a cell with text from outside, which must be clean already.
    pub(crate) fn foreign(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Foreign,
            interval: String::new(),
        }
    }

    /// Gives the cell an interval, where there is one.
    pub(crate) fn within(self, interval: Option<String>) -> Self {
        Self {
            interval: interval.unwrap_or_default(),
            ..self
        }
    }

    /// Gives the cell another tone.
    pub(crate) fn toned(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

/// A column's heading.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Heading {
    /// Its name.
    pub(crate) name: String,
    /// Whether it holds numbers, which stand to the right.
    pub(crate) is_number: bool,
}

/// A table with a caption and notes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Grid {
    /// What it shows, with its unit.
    pub(crate) caption: String,
    /// Headings, one a column.
    pub(crate) headings: Vec<Heading>,
    /// Rows, each as long as the headings.
    pub(crate) rows: Vec<Vec<Field>>,
    /// Rows that begin a group, by index.
    pub(crate) groups: Vec<usize>,
    /// Remarks below.
    pub(crate) notes: Vec<String>,
}

impl Grid {
    /// Starts a table, in words that are said in the report's language; a heading that begins with
    /// `#` is a number's.
    pub(crate) fn new(caption: impl AsRef<str>, headings: &[&str]) -> Self {
        let headings = headings
            .iter()
            .map(|heading| Heading {
                name: said(heading.trim_start_matches('#')),
                is_number: heading.starts_with('#'),
            })
            .collect();
        Self {
            caption: said(caption.as_ref()),
            headings,
            ..Self::default()
        }
    }

    /// Adds columns of numbers that are called as they are, such as the names of runs.
    pub(crate) fn with_numbers(self, names: impl IntoIterator<Item = String>) -> Self {
        self.with_columns(names.into_iter().map(|name| (name, true)))
    }

    /// Adds columns that are called as they are, each with whether it holds numbers.
    pub(crate) fn with_columns(
        mut self,
        columns: impl IntoIterator<Item = (String, bool)>,
    ) -> Self {
        let columns = columns
            .into_iter()
            .map(|(name, is_number)| Heading { name, is_number });
        self.headings.extend(columns);
        self
    }

    /// Adds a row.
    pub(crate) fn push(&mut self, row: Vec<Field>) {
        debug_assert_eq!(row.len(), self.headings.len(), "{}", self.caption);
        self.rows.push(row);
    }

    /// Removes the first column where it would say the same in every row.
    pub(crate) fn without_run(mut self, is_single: bool) -> Self {
        if is_single && !self.headings.is_empty() {
            self.headings.remove(0);
            for row in &mut self.rows {
                row.remove(0);
            }
        }
        self
    }

    /// Keeps the first `limit` rows, and says so.
    pub(crate) fn cut(mut self, limit: usize) -> Self {
        let total = self.rows.len();
        if total > limit {
            self.rows.truncate(limit);
            self.notes.push(say!(
                "The first {limit} of {total} rows; all of them are in the CSV export.",
                limit,
                total
            ));
        }
        self
    }

    /// Keeps at most `limit` rows, evenly chosen with the last one among them, and says so.
    pub(crate) fn thinned(mut self, limit: usize) -> Self {
        let total = self.rows.len();
        if total > limit && limit > 0 {
            let every = total.div_ceil(limit);
            let mut index = 0;
            self.rows.retain(|_| {
                let keep = index % every == 0 || index + 1 == total;
                index += 1;
                keep
            });
            let note = say!(
                "{kept} of {total} rows; all of them are in the CSV export.",
                kept = self.rows.len(),
                total
            );
            self.notes.push(note);
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_thinned_evenly_and_keeps_its_end() {
        let mut grid = Grid::new("numbers", &["#n"]);
        for n in 0..1000 {
            grid.push(vec![Field::plain(n.to_string())]);
        }
        let grid = grid.thinned(10);
        assert_eq!(grid.rows.len(), 11);
        assert_eq!(grid.rows[10][0].text, "999");
        assert_eq!(
            grid.notes,
            ["11 of 1000 rows; all of them are in the CSV export."]
        );
    }
}
