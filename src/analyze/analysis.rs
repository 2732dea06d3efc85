//! What is known after an analysis: the one input of every report.

use super::sweep::Place;
use super::table::Table;
use super::thresholds::Thresholds;
use crate::capture::manifest::Manifest;

/// A goal on one latency.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    /// `ttft`, `tpot` or `e2el`.
    pub metric: String,
    /// Upper bound, in nanoseconds.
    pub limit_ns: i64,
}

/// What is known of one run beside its tables.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// Name of the run, as in the column `run`.
    pub run: String,
    /// The tape's manifest.
    pub manifest: Manifest,
    /// What had to be said about the tape when it was opened, such as a recovery.
    pub notes: Vec<String>,
    /// Where it lies on the axis of a sweep; none where there is no such axis.
    pub place: Option<Place>,
}

/// All that is known after an analysis: the one input of every report.
#[derive(Debug, Clone, PartialEq)]
pub struct Analysis {
    /// The runs, in the order in which they were named.
    pub runs: Vec<RunFacts>,
    /// Result of every query, each with a first column `run`, over all runs at once.
    pub tables: Vec<Table>,
    /// The goals that goodput was asked for.
    pub slos: Vec<Slo>,
    /// What grades are given by.
    pub thresholds: Thresholds,
    /// Command that makes the same analysis again.
    pub command: String,
}

impl Analysis {
    /// Returns the result of the query `name`.
    pub fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}
