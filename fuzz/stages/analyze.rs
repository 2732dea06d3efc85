//! As `src/analyze/mod.rs`, without what runs queries.

#[path = "../../src/analyze/analysis.rs"]
mod analysis;
#[path = "../../src/analyze/table.rs"]
mod table;

pub use analysis::{Analysis, RunFacts, Slo};
pub use table::{Cell, Column, Table};
