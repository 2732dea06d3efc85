//! The catalogue of queries: what an analysis answers, in the order in which it is answered.
//!
//! A query is one file in `queries/`, one SELECT over the views, with a header that says what it
//! answers, in which units, and by which rules. A report shows the file, so nothing is put into
//! the SQL from here. Each result is there for the queries after it, by the query's name.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::definitions::{DEFINITIONS, table_name};
use super::query::{Query, parsed, read};
use super::uncertainty::DRAWN;
use crate::sql::{Definition, PUBLIC_VIEWS, VIEWS};

/// One view, on which queries stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its name.
    pub name: &'static str,
    /// What one row of it is.
    pub purpose: String,
    /// What a reader must know besides, a sentence each.
    pub notes: Vec<String>,
    /// The metrics that it defines.
    pub defines: Vec<Definition>,
    /// True for those that people query; the others are there for the queries.
    pub is_public: bool,
}

macro_rules! query {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../queries/", $name, ".sql")),
        )
    };
}

/// Files of one group: names, each with its text.
type Files = &'static [(&'static str, &'static str)];

/// Every file in `queries/` by what it is about, in the order in which they are run.
const GROUPS: &[(&str, Files)] = &[
    (
        "Run",
        &[
            query!("run_summary"),
            query!("requests_by_outcome"),
            query!("errors_over_time"),
            query!("failed_attempts"),
            query!("token_counts"),
            query!("warmup_end"),
            query!("startup_burst"),
        ],
    ),
    (
        "Latency",
        &[
            query!("latency_percentiles"),
            query!("latency_curve"),
            query!("latency_over_time"),
            query!("itl_heatmap"),
            query!("latency_by_length"),
            query!("ttft_by_length"),
            query!("latency_by_load"),
            query!("latency_ranks"),
            query!("waterfall"),
            query!("latency_by_turn"),
            query!("ttft_by_turn"),
            query!("latency_by_step"),
            query!("latency_by_server"),
        ],
    ),
    (
        "Throughput",
        &[
            query!("throughput_windows"),
            query!("throughput_peaks"),
            query!("request_speeds"),
            query!("concurrency"),
            query!("throughput_over_time"),
            query!("throughput_by_step"),
        ],
    ),
    ("Goals", &[query!("goodput")]),
    (
        "Smoothness",
        &[query!("stalls"), query!("jitter"), query!("deadlines")],
    ),
    ("Cost", &[query!("cost")]),
    (
        "Schedule",
        &[
            query!("schedule_fidelity"),
            query!("arrival_fidelity"),
            query!("session_fidelity"),
            query!("prefix_hits"),
        ],
    ),
    (
        "Server",
        &[
            query!("server_over_time"),
            query!("server_latencies"),
            query!("server_counts"),
            query!("energy"),
        ],
    ),
    (
        "Client",
        &[
            query!("validity"),
            query!("client_health"),
            query!("client_error"),
            query!("client_throughput"),
        ],
    ),
    (
        "Comparison",
        &[
            query!("block_latencies"),
            query!("block_rates"),
            query!("schedule_pairs"),
            query!("comparison"),
        ],
    ),
];

/// What no report shows: the client's own error, which needs a server that stamps, and what
/// intervals are drawn from.
const ON_REQUEST: [&str; 4] = [
    "client_error",
    "client_throughput",
    "block_latencies",
    "block_rates",
];

/// What is about two runs or more.
pub(super) const OF_SEVERAL: [&str; 2] = ["schedule_pairs", "comparison"];

/// What is about runs over several servers.
pub(super) const OF_TARGETS: [&str; 1] = ["latency_by_server"];

/// What is about metrics that were scraped.
pub(super) const OF_SERVER: [&str; 4] = [
    "server_over_time",
    "server_latencies",
    "server_counts",
    "energy",
];

/// The catalogue.
pub static CATALOG: LazyLock<Vec<Query>> = LazyLock::new(|| {
    let files = GROUPS
        .iter()
        .flat_map(|(group, files)| files.iter().map(move |file| (*group, file)));
    files
        .map(|(group, file)| read(group, *file, ON_REQUEST.contains(&file.0)))
        .collect()
});

/// Returns the views, those that people query first.
pub fn views() -> Vec<View> {
    let mut views: Vec<View> = VIEWS
        .iter()
        .map(|(name, sql)| {
            let header = parsed(sql);
            View {
                name,
                purpose: header.purpose,
                notes: header.notes,
                defines: header.defines,
                is_public: PUBLIC_VIEWS.contains(name),
            }
        })
        .collect();
    views.sort_by_key(|view| {
        let place = PUBLIC_VIEWS.iter().position(|name| *name == view.name);
        place.unwrap_or(PUBLIC_VIEWS.len())
    });
    views
}

/// Returns the file of a query, a view or a definition, header and SQL.
pub fn shown(name: &str) -> Option<&'static str> {
    let queries = CATALOG.iter().map(|query| (query.name, query.sql));
    let definitions = DEFINITIONS.iter().map(|query| (query.name, query.sql));
    let mut files = queries.chain(VIEWS.iter().copied()).chain(definitions);
    files.find(|(known, _)| *known == name).map(|(_, sql)| sql)
}

/// Names the tables of every analysis there can be.
pub fn table_names() -> impl Iterator<Item = String> {
    let queries = CATALOG.iter().map(|query| query.name.to_owned());
    let drawn = DRAWN.into_iter().map(str::to_owned);
    let definitions = DEFINITIONS.iter().map(|query| table_name(query.name));
    queries.chain(drawn).chain(definitions)
}

/// Lists every query, definition and view with its purpose, by group.
pub fn listing() -> String {
    let views = views();
    let mut groups: Vec<(&str, Vec<(&str, String)>)> = Vec::new();
    for query in CATALOG.iter() {
        let purpose = if query.is_on_request {
            format!("{} (on request)", query.purpose)
        } else {
            query.purpose.clone()
        };
        match groups.last_mut() {
            Some((group, lines)) if *group == query.group => lines.push((query.name, purpose)),
            _ => groups.push((query.group, vec![(query.name, purpose)])),
        }
    }
    let definitions = DEFINITIONS.iter();
    let definitions = definitions.map(|query| (query.name, query.purpose.clone()));
    groups.push(("Definitions of other tools", definitions.collect()));
    for (group, is_public) in [("Views", true), ("Views that queries stand on", false)] {
        let lines = views.iter().filter(|view| view.is_public == is_public);
        let lines = lines.map(|view| (view.name, view.purpose.clone()));
        groups.push((group, lines.collect()));
    }
    let names = groups.iter().flat_map(|(_, lines)| lines);
    let width = names.map(|(name, _)| name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (group, lines) in groups {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(group);
        out.push('\n');
        for (name, purpose) in lines {
            out.push_str(&format!("  {name:<width$}  {purpose}\n"));
        }
    }
    out
}

/// Returns the queries that some names of relations stand for, and those that they read in turn,
/// each after what it reads.
pub fn needed_by(relations: &[String]) -> Vec<(&'static str, &'static str)> {
    let mut names: BTreeSet<&str> = relations.iter().map(String::as_str).collect();
    // Dependencies come first in the catalogue, so that one way back finds them all.
    let mut needed = Vec::new();
    for query in CATALOG.iter().rev() {
        if names.contains(query.name) {
            names.extend(query.input.iter().map(String::as_str));
            needed.push((query.name, query.sql));
        }
    }
    needed.reverse();
    needed
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{CATALOG, DEFINITIONS, GROUPS, listing, needed_by, shown};
    use crate::sql::{Header, VIEWS};

    fn queries() -> Vec<(&'static str, &'static str)> {
        let files = GROUPS.iter().flat_map(|(_, files)| files.iter());
        files.copied().collect()
    }

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
        assert_eq!(sorted(&queries()), stems("queries"));
        assert_eq!(sorted(VIEWS), stems("queries/views"));
    }

    #[test]
    fn every_header_is_whole_and_names_its_file() {
        for (name, sql) in queries().iter().chain(VIEWS) {
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

    #[test]
    fn a_query_reads_only_what_comes_before_it() {
        let mut known: Vec<&str> = Vec::new();
        for query in CATALOG.iter() {
            for input in &query.input {
                let is_query = CATALOG.iter().any(|other| other.name == input);
                let is_known = !is_query || known.contains(&input.as_str());
                assert!(is_known, "{} reads {input}, which is later", query.name);
            }
            known.push(query.name);
        }
    }

    #[test]
    fn no_file_gives_a_name_of_the_catalogue_to_a_part_of_its_own() {
        let files: Vec<_> = queries().into_iter().chain(VIEWS.iter().copied()).collect();
        let definitions = DEFINITIONS.iter().map(|query| (query.name, query.sql));
        for (name, sql) in files.iter().copied().chain(definitions) {
            for line in sql.lines() {
                let line = line.strip_prefix("WITH ").unwrap_or(line);
                let part = line.split_once(" AS (").map_or("", |(part, _)| part);
                let is_known = files.iter().any(|(known, _)| *known == part);
                assert!(!is_known, "{name} hides {part}");
            }
        }
    }

    #[test]
    fn lists_and_shows_every_file() {
        let listing = listing();
        for (name, sql) in queries().iter().chain(VIEWS) {
            let lines: Vec<_> = listing
                .lines()
                .filter(|line| line.split_whitespace().next() == Some(name))
                .collect();
            assert_eq!(lines.len(), 1, "{name}");
            assert_eq!(shown(name), Some(*sql));
        }
        assert_eq!(shown("nonsense"), None);
        assert!(listing.starts_with("Run\n  run_summary "));
        assert!(listing.contains("\nViews\n  requests "));
    }

    #[test]
    fn finds_what_a_query_reads_through_other_queries() {
        let names = |relation: &str| {
            let needed = needed_by(&[relation.to_owned()]).into_iter();
            needed.map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(names("requests"), [""; 0]);
        assert_eq!(names("cost"), ["throughput_windows", "concurrency", "cost"]);
        assert_eq!(
            names("comparison"),
            [
                "run_summary",
                "latency_percentiles",
                "throughput_windows",
                "goodput",
                "comparison"
            ]
        );
    }
}
