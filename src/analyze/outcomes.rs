//! How the requests of a run ended, as far as that says something of the server.
//!
//! What was in flight when the user stopped the run, or when its process died, is neither a success
//! nor a failure: nobody knows what would have become of it. `ok_share` of the tables is of all
//! measured requests; what is judged here is of those that ended by themselves.

use super::{Analysis, LatencyPercentiles, RunFacts, RunSummary};
use crate::capture::manifest::State;

/// Counts of a run's measured requests.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outcomes {
    /// Those that were due.
    pub requests: f64,
    /// Those that succeeded.
    pub ok: f64,
    /// Those whose end the stop of the run cut off, or that it kept from being sent.
    pub cut_off: f64,
    /// Those that the client hung up on, as it was asked to.
    pub hung_up: f64,
}

impl Outcomes {
    /// Those that ended by themselves.
    pub fn ended(self) -> f64 {
        self.requests - self.cut_off - self.hung_up
    }

    /// The share of them that succeeded; `None` where there are none.
    pub fn ok_share(self) -> Option<f64> {
        (self.ended() > 0.0).then(|| self.ok / self.ended())
    }
}

/// Counts the requests of `run`; `None` where nobody did.
pub fn outcomes(analysis: &Analysis, run: &RunFacts) -> Option<Outcomes> {
    let summary = analysis.row_of::<RunSummary<'_>>(&run.run)?;
    let is_whole = run.manifest.state == State::Complete;
    Some(Outcomes {
        requests: summary.requests?,
        ok: summary.ok?,
        hung_up: summary.hung_up.unwrap_or(0.0),
        cut_off: if is_whole {
            0.0
        } else {
            let parts = [summary.cancelled, summary.interrupted, summary.not_sent];
            parts.into_iter().flatten().sum()
        },
    })
}

/// How long `run` lasted, in seconds, where requests succeeded and none of them is among those that
/// were asked for (`--from`, `--to`, `--warmup`): nothing was measured of it then.
pub fn empty_window(analysis: &Analysis, run: &str) -> Option<f64> {
    let summary = analysis.row_of::<RunSummary<'_>>(run)?;
    let is_any = summary.ok.is_some_and(|ok| ok > 0.0);
    let is_measured = analysis
        .rows_of::<LatencyPercentiles<'_>>(run)
        .iter()
        .any(|row| row.n.is_some_and(|n| n > 0.0));
    let has_table = analysis.table("latency_percentiles").is_some();
    (is_any && has_table && !is_measured).then(|| summary.duration_s.unwrap_or(0.0))
}
