//! What other tools would say of the same requests: one query a tool, all in one shape.
//!
//! Each file in `queries/definitions/` computes the numbers of one load client, of the version that
//! its header names, as that client does: which event it takes for the first token, what it divides
//! by what. It yields values, by a rule for percentiles that is the tool's, and `_statistics.sql` makes
//! the numbers of them. `tokentape` among them are our own numbers in the same shape.
//! A note in the header begins with the metric that it is about.

use std::sync::LazyLock;

use super::query::{Query, read};

macro_rules! definition {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../queries/definitions/", $name, ".sql")),
        )
    };
}

/// Every file in `queries/definitions/`, in the order in which they are shown.
const FILES: &[(&str, &str)] = &[
    definition!("tokentape"),
    definition!("vllm"),
    definition!("sglang"),
    definition!("aiperf"),
    definition!("guidellm"),
    definition!("inference-perf"),
    definition!("genai-bench"),
    definition!("evalscope"),
];

/// Makes the numbers of the rows that a file yields.
const STATISTICS: &str = include_str!("../../queries/definitions/_statistics.sql");

/// Each file with what makes its numbers, as one statement that can be run as it stands.
static STATEMENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = FILES.iter();
    files.map(|(_, rows)| statement(rows)).collect()
});

/// The columns of every definition's answer.
pub const DEFINITION_COLUMNS: [&str; 6] = ["run", "metric", "stat", "unit", "value", "note"];

/// What stands before a definition's name in the name of its table.
const TABLE_PREFIX: &str = "definition_";

/// The definitions, our own first.
pub static DEFINITIONS: LazyLock<Vec<Query>> = LazyLock::new(|| {
    let statistics = read("Definitions", ("_statistics", STATISTICS), true);
    let files = FILES.iter().zip(STATEMENTS.iter());
    files
        .map(|((name, rows), statement)| Query {
            columns: statistics.columns.clone(),
            sql: statement,
            ..read("Definitions", (name, rows), true)
        })
        .collect()
});

/// Puts a file's rows before what makes numbers of them, each under its header.
fn statement(rows: &str) -> String {
    let (head, rows) = parted(rows);
    let (about, statistics) = parted(STATISTICS);
    let statistics = statistics.strip_prefix("WITH ").unwrap_or(statistics);
    format!("{head}WITH definition_rows AS (\n{rows}),\n{about}{statistics}")
}

/// Parts a file behind its header.
fn parted(sql: &str) -> (&str, &str) {
    let head = sql.split_inclusive('\n');
    let head = head.take_while(|line| line.starts_with("--"));
    sql.split_at(head.map(str::len).sum())
}

/// Returns the name of the table that a definition's answer becomes.
pub(super) fn table_name(definition: &str) -> String {
    format!("{TABLE_PREFIX}{definition}")
}

/// Returns the definition whose answer a table is; `None` for any other table.
pub fn definition_of_table(table: &str) -> Option<&'static Query> {
    let name = table.strip_prefix(TABLE_PREFIX)?;
    DEFINITIONS.iter().find(|query| query.name == name)
}

impl Query {
    /// Returns what the header says of a metric, in a definition.
    pub fn meaning(&self, metric: &str) -> Option<&str> {
        self.notes
            .iter()
            .find_map(|note| note.strip_prefix(metric)?.strip_prefix(": "))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{DEFINITION_COLUMNS, DEFINITIONS, FILES};
    use crate::sql::Header;

    #[test]
    fn lists_every_file_there_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/definitions");
        let mut there: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .filter(|name| name != "_statistics.sql")
            .collect();
        there.sort();
        let mut listed: Vec<String> = FILES
            .iter()
            .map(|(name, _)| format!("{name}.sql"))
            .collect();
        listed.sort();
        assert_eq!(listed, there);
    }

    #[test]
    fn all_yield_the_same_columns() {
        for (name, rows) in FILES {
            let header = Header::parse(rows).unwrap();
            assert_eq!(header.name, *name);
            let columns: Vec<_> = header.columns.iter().map(|(name, _)| name).collect();
            assert_eq!(
                columns,
                [
                    "run", "metric", "stat", "rule", "value", "weight", "lack", "note"
                ],
                "{name}"
            );
        }
    }

    #[test]
    fn all_have_one_shape_and_name_what_they_read() {
        for query in DEFINITIONS.iter() {
            let columns: Vec<_> = query.columns.iter().map(|(name, _)| name).collect();
            assert_eq!(columns, DEFINITION_COLUMNS, "{}", query.name);
            for input in &query.input {
                assert!(
                    query.sql.contains(&format!(" {input}")),
                    "{} reads no {input}",
                    query.name
                );
            }
        }
    }
}
