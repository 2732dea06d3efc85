//! What all rungs came to together: the facts that every form of the answer is made of.

use super::cores::Cores;
use super::measure::Measurement;
use crate::analyze::Standing;
use crate::plan::Loop;

/// How far below 0 a read lag may be on one clock, in nanoseconds: its readings on the two sides
/// are not taken at one instant.
const LEAST_LAG_NS: f64 = -1e6;

/// Share of the asked events below which the server was short of them itself.
const KEPT_PACE: f64 = 0.9;

/// A metric of `client_error`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Metric {
    /// Its name in the query and in JSON.
    pub(super) key: &'static str,
    /// Its name in the table.
    pub(super) name: &'static str,
}

/// All metrics, in the order in which they are shown.
const METRICS: [Metric; 4] = [
    Metric {
        key: "read_lag",
        name: "read lag",
    },
    Metric {
        key: "ttft_error",
        name: "TTFT",
    },
    Metric {
        key: "itl_error",
        name: "inter-token",
    },
    Metric {
        key: "slip",
        name: "late send",
    },
];

/// All that was measured, and how.
#[derive(Debug)]
pub(crate) struct Verification {
    /// Address of the server, without credentials; `None` when it was started for this.
    pub(crate) target: Option<String>,
    /// Where server and client ran; `None` when nothing was bound to a core.
    pub(crate) cores: Option<Cores>,
    /// Whether the server reads this machine's clock.
    pub(crate) shares_clock: bool,
    /// The rungs, in the order in which they were measured.
    pub(crate) rungs: Vec<Measurement>,
}

impl Verification {
    /// Why the read lag says nothing; `None` where it does.
    pub(super) fn lag_left_out(&self) -> Option<&'static str> {
        if !self.shares_clock {
            return Some("the server is on another machine, whose clock is another one");
        }
        let least = self
            .rungs
            .iter()
            .filter_map(|rung| rung.error("read_lag")?.min_ns);
        if least.fold(0.0, f64::min) < LEAST_LAG_NS {
            return Some("events came before they were sent, so the server's clock is another one");
        }
        None
    }

    /// The metrics that say something.
    pub(super) fn metrics(&self) -> impl Iterator<Item = Metric> {
        let has_lag = self.lag_left_out().is_none();
        METRICS
            .into_iter()
            .filter(move |metric| has_lag || metric.key != "read_lag")
    }

    /// The rungs of one loop, by their number of streams.
    pub(super) fn of_loop(&self, arrival_loop: Loop) -> Vec<&Measurement> {
        let mut rungs: Vec<_> = self
            .rungs
            .iter()
            .filter(|measured| measured.rung.arrival_loop == arrival_loop)
            .collect();
        rungs.sort_by_key(|measured| measured.rung.streams);
        rungs
    }

    /// The most streams at which the client kept up in a loop.
    ///
    /// A lighter rung that was limited was so by something else than its load, and stands for itself.
    pub(super) fn believed_up_to(&self, arrival_loop: Loop) -> Option<u32> {
        self.of_loop(arrival_loop)
            .into_iter()
            .rfind(|measured| measured.standing() == Standing::Valid)
            .map(|measured| measured.rung.streams)
    }

    /// The rungs of a loop that were limited, although the client kept up at a heavier one.
    pub(super) fn disturbed(&self, arrival_loop: Loop) -> Vec<u32> {
        let up_to = self.believed_up_to(arrival_loop).unwrap_or(0);
        self.of_loop(arrival_loop)
            .into_iter()
            .filter(|measured| measured.rung.streams < up_to)
            .filter(|measured| measured.standing() == Standing::ClientLimited)
            .map(|measured| measured.rung.streams)
            .collect()
    }

    /// Whether a server that was started for this fell behind the rate that it was asked for.
    pub(super) fn is_short(&self, measured: &Measurement) -> bool {
        let rung = &measured.rung;
        // In an open loop the streams in flight are a mean, and few of them may well be none.
        let is_steady = rung.arrival_loop == Loop::Closed || rung.streams >= 100;
        let got = measured.throughput().and_then(|row| row.events_per_s);
        self.target.is_none()
            && is_steady
            && got.is_some_and(|got| got < KEPT_PACE * rung.tokens_per_s())
    }

    /// Tells whether the client was the bottleneck at any rung.
    pub(crate) fn is_client_limited(&self) -> bool {
        let mut verdicts = self.rungs.iter().map(Measurement::standing);
        verdicts.any(|standing| standing == Standing::ClientLimited)
    }
}
