//! The header of a SQL file: what it is called, what it answers and in which units.
//!
//! A header is the run of comment lines at a file's start. A line `-- key: text` begins an entry,
//! a line `--   text` continues the one before.

use thiserror::Error;

/// A header that is not as the style guide has it: a fault of this build, found by its tests.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum HeaderError {
    /// A line before the statement is neither an entry nor its continuation.
    #[error("`{line}` is neither `-- key: text` nor a continuation")]
    Line {
        /// The line.
        line: String,
    },
    /// A line of `defines` is no `NAME (UNIT): MEANING`.
    #[error("`{line}` is no `name (unit): meaning`")]
    Definition {
        /// The line.
        line: String,
    },
    /// An entry is not there.
    #[error("the header lacks `-- {key}:`")]
    Missing {
        /// Name of the entry.
        key: &'static str,
    },
}

/// What one metric is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Definition {
    /// Its name, as in results and exports.
    pub name: String,
    /// Its unit.
    pub unit: String,
    /// What it is.
    pub meaning: String,
}

/// What the header of a SQL file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Name of the view or of the result, the file's stem.
    pub(crate) name: String,
    /// What it answers, in one line.
    pub(crate) purpose: String,
    /// Relations that it reads.
    pub(crate) input: Vec<String>,
    /// Names of the columns, each with its unit where it has one.
    pub(crate) columns: Vec<(String, Option<String>)>,
    /// What a reader must know besides, a sentence each.
    pub(crate) notes: Vec<String>,
    /// The metrics that the file defines.
    pub(crate) defines: Vec<Definition>,
}

impl Header {
    /// Parses the header at the start of `sql`.
    ///
    /// # Errors
    ///
    /// Names the line or the entry that is wrong.
    pub(crate) fn parse(sql: &str) -> Result<Self, HeaderError> {
        let mut entries: Vec<(&str, Vec<&str>)> = Vec::new();
        for line in sql.lines().map_while(|line| line.strip_prefix("--")) {
            match (
                line.strip_prefix("   "),
                line.split_once(':'),
                entries.last_mut(),
            ) {
                (Some(text), _, Some((_, lines))) => lines.push(text.trim()),
                (None, Some((key, text)), _) => entries.push((key.trim(), vec![text.trim()])),
                _ => {
                    return Err(HeaderError::Line {
                        line: line.to_owned(),
                    });
                }
            }
        }
        let entry = |key: &'static str| {
            entries
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, lines)| lines.as_slice())
        };
        let needed = |key| Ok(entry(key).ok_or(HeaderError::Missing { key })?.join(" "));
        Ok(Self {
            name: needed("name")?,
            purpose: needed("purpose")?,
            input: needed("input")?.split(", ").map(str::to_owned).collect(),
            columns: split_columns(&needed("columns (unit)")?),
            notes: entry("notes")
                .unwrap_or_default()
                .iter()
                .map(|note| (*note).to_owned())
                .collect(),
            defines: entry("defines")
                .unwrap_or_default()
                .iter()
                .map(|line| definition(line))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// Splits `name (unit): meaning`.
fn definition(line: &str) -> Result<Definition, HeaderError> {
    let parts = line
        .split_once("): ")
        .and_then(|(named, meaning)| Some((named.split_once(" (")?, meaning)));
    let ((name, unit), meaning) = parts.ok_or_else(|| HeaderError::Definition {
        line: line.to_owned(),
    })?;
    Ok(Definition {
        name: name.to_owned(),
        unit: unit.to_owned(),
        meaning: meaning.to_owned(),
    })
}

/// Splits `a (unit, more), b` at the commas that are outside parentheses.
fn split_columns(list: &str) -> Vec<(String, Option<String>)> {
    let mut depth = 0_u32;
    list.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
    .map(|column| match column.trim().split_once(" (") {
        Some((name, unit)) => (name.to_owned(), Some(unit.trim_end_matches(')').to_owned())),
        None => (column.trim().to_owned(), None),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::{Definition, Header, HeaderError};

    #[test]
    fn reads_every_entry() {
        let header = Header::parse(
            "-- name: pauses\n-- purpose: how long: in all\n-- input: tokens, runs\n\
             -- columns (unit): run, longest_ns (ns, of all),\n--   n (tokens)\n-- notes: one\n--   two\nSELECT 1",
        )
        .unwrap();
        assert_eq!(header.name, "pauses");
        assert_eq!(header.purpose, "how long: in all");
        assert_eq!(header.input, ["tokens", "runs"]);
        let unit = |unit: &str| Some(unit.to_owned());
        assert_eq!(
            header.columns,
            [
                ("run".to_owned(), None),
                ("longest_ns".to_owned(), unit("ns, of all")),
                ("n".to_owned(), unit("tokens")),
            ]
        );
        assert_eq!(header.notes, ["one", "two"]);
    }

    #[test]
    fn names_the_entry_that_is_missing() {
        assert_eq!(
            Header::parse("-- name: a\n-- purpose: b\nSELECT 1"),
            Err(HeaderError::Missing { key: "input" })
        );
    }

    #[test]
    fn reads_what_a_file_defines() {
        let head = "-- name: a\n-- purpose: b\n-- input: c\n-- columns (unit): d\n-- defines: ";
        let header = Header::parse(&format!(
            "{head}ttft (ns): from: to\n--   rps (requests/s): x\n"
        ));
        let defined = header.unwrap().defines;
        let ttft = Definition {
            name: "ttft".to_owned(),
            unit: "ns".to_owned(),
            meaning: "from: to".to_owned(),
        };
        assert_eq!(defined[0], ttft);
        assert_eq!((defined.len(), defined[1].unit.as_str()), (2, "requests/s"));
        assert_eq!(
            Header::parse(&format!("{head}ttft: from\n")),
            Err(HeaderError::Definition {
                line: "ttft: from".to_owned()
            })
        );
    }
}
