//! The catalogue of queries: what an analysis answers, in the order in which it is answered.
//!
//! A query is one file in `queries/`, one SELECT over the views, with a header that says what it
//! answers, in which units, and by which rules. A report shows the file, so nothing is put into
//! the SQL from here. Each result is there for the queries after it, by the query's name.

use std::sync::LazyLock;

use crate::sql::Header;

/// One query of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Name of the file without its ending, and of the result.
    pub name: &'static str,
    /// What it answers, in one line.
    pub purpose: String,
    /// Relations that it reads.
    pub input: Vec<String>,
    /// Names of its columns in order, each with its unit where it has one.
    pub columns: Vec<(String, Option<String>)>,
    /// What a reader must know besides, a sentence each.
    pub notes: Vec<String>,
    /// The whole file.
    pub sql: &'static str,
    /// Answered only where it is asked for by name: it means nothing for most tapes.
    pub is_on_request: bool,
}

macro_rules! query {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../queries/", $name, ".sql")),
        )
    };
}

/// Every file in `queries/`, in the order in which they are run.
const FILES: &[(&str, &str)] = &[
    query!("run_summary"),
    query!("requests_by_outcome"),
    query!("latency_percentiles"),
    query!("latency_curve"),
    query!("throughput_windows"),
    query!("goodput"),
    query!("throughput_over_time"),
    query!("latency_over_time"),
    query!("itl_heatmap"),
    query!("schedule_fidelity"),
    query!("arrival_fidelity"),
    query!("session_fidelity"),
    query!("prefix_hits"),
    query!("validity"),
    query!("token_counts"),
    query!("client_health"),
    query!("client_error"),
    query!("client_throughput"),
    query!("comparison"),
];

/// What no report shows: the client's own error, which needs a server that stamps.
const ON_REQUEST: [&str; 2] = ["client_error", "client_throughput"];

/// The catalogue.
pub static CATALOG: LazyLock<Vec<Query>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|file| read(*file, ON_REQUEST.contains(&file.0)))
        .collect()
});

/// Makes a query of a file and its header.
pub(super) fn read((name, sql): (&'static str, &'static str), is_on_request: bool) -> Query {
    let header = Header::parse(sql).expect("the tests parse every header of this build");
    Query {
        name,
        purpose: header.purpose,
        input: header.input,
        columns: header.columns,
        notes: header.notes,
        sql,
        is_on_request,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::FILES;
    use crate::sql::{Header, VIEWS};

    fn stems(folder: &str) -> Vec<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut stems: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        stems.sort();
        stems
    }

    fn sorted(files: &[(&str, &str)]) -> Vec<String> {
        let mut names: Vec<_> = files.iter().map(|(name, _)| (*name).to_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn lists_every_file_there_is() {
        assert_eq!(sorted(FILES), stems("queries"));
        assert_eq!(sorted(VIEWS), stems("queries/views"));
    }

    #[test]
    fn every_header_is_whole_and_names_its_file() {
        for (name, sql) in FILES.iter().chain(VIEWS) {
            let header = Header::parse(sql).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(header.name, *name);
            for input in &header.input {
                assert!(
                    sql.contains(&format!(" {input}")),
                    "{name} reads no {input}"
                );
            }
        }
    }
}
