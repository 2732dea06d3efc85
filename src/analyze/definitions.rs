//! What other tools would say of the same requests: one query a tool, all in one shape.
//!
//! Each file in `queries/definitions/` computes the numbers of one load client, of the version that
//! its header names, as that client does: which event it takes for the first token, what it divides
//! by what, which percentile it means. `tokentape` among them are our own numbers in the same shape.
//! A note in the header begins with the metric that it is about.

use std::sync::LazyLock;

use super::Query;
use super::catalog::read;

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

/// The columns of every definition's answer.
pub const DEFINITION_COLUMNS: [&str; 6] = ["run", "metric", "stat", "unit", "value", "note"];

/// What stands before a definition's name in the name of its table.
const TABLE_PREFIX: &str = "definition_";

/// The definitions, our own first.
pub static DEFINITIONS: LazyLock<Vec<Query>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|file| read("Definitions", *file, true))
        .collect()
});

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

    #[test]
    fn lists_every_file_there_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("queries/definitions");
        let mut there: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
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
