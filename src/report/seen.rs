//! What the rules of diagnoses look at: a run, window by window.

use serde::Serialize;

use crate::analyze::{
    Analysis, ClientHealth, LatencyOverTime, LatencyPercentiles, RunFacts, RunSummary,
    ThroughputOverTime, ThroughputWindows, Validity,
};

/// One thing that a run shows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Diagnosis {
    /// A name that stays, for scripts.
    pub(crate) id: &'static str,
    /// What was seen, with its numbers.
    pub(crate) what: String,
    /// The likely cause.
    pub(crate) why: String,
    /// What to try.
    pub(crate) act: String,
}

/// One window of a run's time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Window {
    pub(super) at_ns: f64,
    pub(super) width_ns: f64,
    pub(super) sent: f64,
    pub(super) in_flight: f64,
    pub(super) output_tps: f64,
    pub(super) ttft_p50_ns: Option<f64>,
    pub(super) itl_p50_ns: Option<f64>,
    pub(super) itl_p99_ns: Option<f64>,
    pub(super) itl_max_ns: Option<f64>,
    /// How late the client's own threads were at most, where it was probed.
    pub(super) lag_ns: Option<f64>,
}

impl Window {
    /// Tells whether the client's own lag may have made a gap this long of one that is usual.
    pub(super) fn is_clients(&self, gap_ns: f64, usual_ns: f64) -> bool {
        self.lag_ns
            .is_some_and(|lag_ns| lag_ns >= gap_ns - usual_ns)
    }
}

/// What rules look at.
pub(super) struct Seen<'a> {
    pub(super) analysis: &'a Analysis,
    pub(super) run: &'a RunFacts,
    /// The windows inside the steady one, in order.
    pub(super) windows: Vec<Window>,
}

/// Reads the windows of a run.
pub(super) fn windows(analysis: &Analysis, run: &RunFacts) -> Vec<Window> {
    let latencies = analysis.rows_of::<LatencyOverTime<'_>>(&run.run);
    let spans = analysis.rows_of::<ThroughputWindows<'_>>(&run.run);
    let steady = spans
        .iter()
        .find(|row| row.window_name == Some("steady"))
        .and_then(|row| row.from_ns.zip(row.to_ns));
    let (from, to) = steady.unwrap_or((f64::NEG_INFINITY, f64::INFINITY));
    let health = analysis.rows_of::<ClientHealth<'_>>(&run.run);
    let window = |row: &ThroughputOverTime<'_>| {
        let at_ns = row.at_ns?;
        let width_ns = row.width_ns?;
        let is_same = |other: &&LatencyOverTime<'_>| {
            let place = other.at_ns.map(|other| other - at_ns);
            place.is_some_and(|place| place.abs() < 0.5)
        };
        let latency = latencies.iter().find(is_same);
        // What the client noticed late may have come in the window before.
        let is_near = |probed: &&ClientHealth<'_>| {
            let place = probed.at_ns.map(|at| at - at_ns);
            place.is_some_and(|place| place.abs() < 1.5 * width_ns)
        };
        let lags = health.iter().filter(is_near);
        let lags = lags.filter_map(|probed| probed.runtime_lag_max_ns);
        (at_ns >= from && at_ns + width_ns <= to).then(|| Window {
            at_ns,
            width_ns,
            sent: row.sent.unwrap_or(0.0),
            in_flight: row.in_flight.unwrap_or(0.0),
            output_tps: row.output_tps.unwrap_or(0.0),
            ttft_p50_ns: latency.and_then(|row| row.ttft_p50_ns),
            itl_p50_ns: latency.and_then(|row| row.itl_p50_ns),
            itl_p99_ns: latency.and_then(|row| row.itl_p99_ns),
            itl_max_ns: latency.and_then(|row| row.itl_max_ns),
            lag_ns: lags.reduce(f64::max),
        })
    };
    let load = analysis.rows_of::<ThroughputOverTime<'_>>(&run.run);
    load.iter().filter_map(window).collect()
}

impl Seen<'_> {
    pub(super) fn percentiles(&self, metric: &str) -> Option<LatencyPercentiles<'_>> {
        let rows = self
            .analysis
            .rows_of::<LatencyPercentiles<'_>>(&self.run.run);
        rows.into_iter().find(|row| row.metric == Some(metric))
    }

    /// The percentiles of a latency, if it has at least 100 values: a p99 of fewer is their maximum.
    pub(super) fn latency(&self, metric: &str) -> Option<LatencyPercentiles<'_>> {
        let row = self.percentiles(metric)?;
        row.n.is_some_and(|n| n >= 100.0).then_some(row)
    }

    /// How late the client's own threads were, at the 99th percentile.
    pub(super) fn lag_p99_ns(&self) -> Option<f64> {
        let checks = self.analysis.rows_of::<Validity<'_>>(&self.run.run);
        let mut checks = checks.iter();
        let is_lag = |row: &&Validity<'_>| row.check_name == Some("runtime_lag");
        checks.find(is_lag)?.value
    }

    pub(super) fn summary(&self) -> Option<RunSummary<'_>> {
        self.analysis.row_of(&self.run.run)
    }

    /// How two sides of the windows go together, by ranks (Spearman). What one brings may show in
    /// the next, so neighbours are taken together until there are at most 30; under 12 say nothing.
    pub(super) fn together(
        &self,
        one: impl Fn(&[Window]) -> Option<f64>,
        other: impl Fn(&[Window]) -> Option<f64>,
    ) -> Option<f64> {
        let pairs: Vec<(f64, f64)> = self
            .windows
            .chunks(self.windows.len().div_ceil(30).max(1))
            .filter_map(|part| Some((one(part)?, other(part)?)))
            .collect();
        (pairs.len() >= 12).then(|| spearman(&pairs))
    }
}

/// The middle of some numbers.
pub(super) fn middle(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Spearman's rank correlation; equal values share their mean rank.
pub(super) fn spearman(pairs: &[(f64, f64)]) -> f64 {
    let ranks = |values: Vec<f64>| -> Vec<f64> {
        let rank = |value: &f64| {
            let below = values.iter().filter(|other| *other < value).count();
            let same = values
                .iter()
                .filter(|other| other.to_bits() == value.to_bits())
                .count();
            count(below) + (count(same) - 1.0) / 2.0
        };
        values.iter().map(rank).collect()
    };
    let one = ranks(pairs.iter().map(|pair| pair.0).collect());
    let other = ranks(pairs.iter().map(|pair| pair.1).collect());
    let mean = (count(pairs.len()) - 1.0) / 2.0;
    let (mut both, mut first, mut second) = (0.0, 0.0, 0.0);
    for (a, b) in one.iter().zip(&other) {
        both += (a - mean) * (b - mean);
        first += (a - mean).powi(2);
        second += (b - mean).powi(2);
    }
    if first > 0.0 && second > 0.0 {
        both / (first * second).sqrt()
    } else {
        0.0
    }
}

fn count(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
