//! From tapes to numbers: runs the catalogue of queries and gathers their results.

mod analysis;
mod catalog;
mod cells;
mod definitions;
mod error;
mod recount;
mod run;
mod table;
#[cfg(test)]
mod tests;

pub use crate::sql::SloFrom;
pub use analysis::{Analysis, RunFacts, Slo};
pub use catalog::{CATALOG, Query};
pub use definitions::{DEFINITION_COLUMNS, DEFINITIONS, definition_of_table};
pub use error::AnalyzeError;
pub use recount::TokenCounter;
pub use run::{Options, analyze};
pub use table::{Cell, Column, Table};

/// The latencies that a goal may be set on.
pub const SLO_METRICS: [&str; 3] = ["ttft", "tpot", "e2el"];
