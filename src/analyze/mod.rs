//! From tapes to numbers: runs the catalogue of queries and gathers their results.

mod analysis;
mod catalog;
mod cells;
mod client;
mod condition;
mod definitions;
mod error;
mod metric_table;
mod metrics;
mod outcomes;
mod percentiles;
mod query;
mod recount;
mod results;
mod rows;
mod run;
mod standing;
mod statistics;
mod sweep;
mod table;
#[cfg(test)]
mod tests;
mod thresholds;
mod uncertainty;

pub use crate::sql::{ReportSettings, SloFrom, Span};
pub use analysis::{Analysis, RunFacts, Slo};
pub use catalog::{CATALOG, View, listing, needed_by, shown, table_names, views};
pub use condition::{Condition, ConditionError, Judged};
pub use definitions::{DEFINITION_COLUMNS, DEFINITIONS, definition_of_table};
pub use error::AnalyzeError;
pub use metrics::{Metric, metrics};
pub use outcomes::{Outcomes, empty_window, outcomes};
pub use percentiles::Percentile;
pub use query::Query;
pub use recount::TokenCounter;
pub use results::{
    ArrivalFidelity, ClientError, ClientHealth, ClientThroughput, Comparison, Concurrency, Cost,
    Deadlines, DefinitionNumber, Differences, Energy, ErrorsOverTime, FailedAttempts, Goodput,
    Intervals, ItlHeatmap, Jitter, LatencyByLength, LatencyByLoad, LatencyByServer, LatencyByStep,
    LatencyByTurn, LatencyCurve, LatencyOverTime, LatencyPercentiles, LatencyRanks, PrefixHits,
    RequestSpeeds, RequestsByOutcome, ResultRow, RunSummary, ScheduleFidelity, SchedulePairs,
    ServerCounts, ServerLatencies, ServerOverTime, SessionFidelity, Stalls, StartupBurst,
    Stationarity, ThroughputByStep, ThroughputOverTime, ThroughputPeaks, ThroughputWindows,
    TokenCounts, TtftByLength, TtftByTurn, Validity, WarmupEnd, Waterfall,
};
pub use run::{Options, analyze};
pub use standing::{
    Cached, Checks, Standing, Unsteady, cached_beyond, has_success, is_client_limited, standing,
    unsteady,
};
pub use sweep::Place;
pub use table::{Cell, Column, Table};
pub use thresholds::{Threshold, Thresholds, ThresholdsError};

pub(crate) use cells::result_tables;
pub(crate) use client::added_ns;
pub(crate) use metric_table::metric_row;

/// The latencies that a goal may be set on.
pub const SLO_METRICS: [&str; 3] = ["ttft", "tpot", "e2el"];
