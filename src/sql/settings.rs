//! What tapes are judged by, beside themselves.

use serde::{Deserialize, Serialize};

use super::recounts::Recounts;

/// Which form of a latency a goal applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SloFrom {
    /// From when the request was due.
    Intended,
    /// From when the request was sent.
    Sent,
}

/// A goal on one latency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Goal {
    /// Name of the latency.
    pub(crate) metric: String,
    /// Upper bound, in nanoseconds.
    pub(crate) limit_ns: i64,
}

/// What some numbers are held against, and what they cost. Money has the unit that it is given in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportSettings {
    /// A longer gap between chunks is a stall, in nanoseconds.
    pub stall_ns: i64,
    /// How fast a reader reads, in tokens a second.
    pub reader_tps: f64,
    /// Price of a million input tokens.
    pub price_input: Option<f64>,
    /// Price of a million output tokens.
    pub price_output: Option<f64>,
    /// Price of a GPU for an hour.
    pub gpu_hour: Option<f64>,
    /// How many GPUs the server has.
    pub gpus: u32,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            stall_ns: 1_000_000_000,
            reader_tps: 5.0,
            price_input: None,
            price_output: None,
            gpu_hour: None,
            gpus: 1,
        }
    }
}

/// Which part of a run is looked at, in nanoseconds on its own axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where the steady window may begin.
    pub warmup_ns: i64,
    /// True where the run itself says where its warm-up ends, in place of `warmup_ns`.
    pub finds_warmup: bool,
    /// Begin of a window that replaces the steady one.
    pub from_ns: Option<i64>,
    /// End of a window that replaces the steady one; without it that window is open.
    pub to_ns: Option<i64>,
}

impl Span {
    /// Returns the begin and the end of the window that was asked for: from 0, where only its end
    /// was.
    pub(super) fn asked_ns(&self) -> (Option<i64>, Option<i64>) {
        (self.from_ns.or(self.to_ns.map(|_| 0)), self.to_ns)
    }
}

/// What the views need to know beside the tapes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The goals of goodput.
    pub(crate) goals: Vec<Goal>,
    /// Which form they apply to; by default the intended one in an open loop.
    pub(crate) slo_from: Option<SloFrom>,
    /// Which part of each run is looked at.
    pub(crate) span: Span,
    /// What some numbers are held against.
    pub(crate) report_settings: ReportSettings,
    /// What runs are grouped by, and tapes are split by: a label or a column of `requests`.
    pub(crate) by: Option<String>,
    /// True when the small views that many queries build upon are computed once, at the start.
    pub(crate) keeps_results: bool,
    /// How many ways the engine splits its work; 0 takes one per core.
    pub(crate) partitions: usize,
    /// Tokens of kept texts that were counted anew.
    #[serde(skip)]
    pub(crate) recounts: Recounts,
    /// Most rows of the result of a statement that a user typed; none for all.
    pub(crate) row_limit: Option<usize>,
    /// Most memory that the session may take, beyond which the engine goes to disk or gives up;
    /// none for half of that of this machine.
    pub(crate) memory_bytes: Option<usize>,
}
