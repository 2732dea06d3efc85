//! What a trace's burstiness and shared prefixes are measured by.

#![expect(clippy::cast_precision_loss, reason = "statistics of small samples")]

use std::collections::HashSet;

use crate::trace::{BlockScope, TraceRow};

/// Measures of one trace.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// Requests a second, from the first to the last.
    pub(super) rate_per_s: f64,
    /// Standard deviation of the gaps between arrivals over their mean.
    pub(super) gap_variation: f64,
    /// Variance over mean of the requests in each second.
    pub(super) dispersion_1s: f64,
    /// The same for a minute.
    pub(super) dispersion_60s: f64,
    /// Most requests in one second.
    pub(super) peak_1s: f64,
}

/// Measures when requests arrive; times are in order and in nanoseconds.
pub(super) fn shape(arrivals_ns: &[i64]) -> Shape {
    let (first, last) = (arrivals_ns[0], arrivals_ns[arrivals_ns.len() - 1]);
    let gaps: Vec<f64> = arrivals_ns
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) as f64)
        .collect();
    let (mean, variance) = moments(&gaps);
    let counts = |width_ns: i64| {
        // The last stretch is not whole.
        let whole = usize::try_from((last - first) / width_ns).unwrap();
        let mut counts = vec![0.0; whole];
        for at_ns in arrivals_ns {
            let at = usize::try_from((at_ns - first) / width_ns).unwrap();
            if let Some(count) = counts.get_mut(at) {
                *count += 1.0;
            }
        }
        counts
    };
    let dispersion = |counts: &[f64]| {
        let (mean, variance) = moments(counts);
        variance / mean
    };
    let seconds = counts(1_000_000_000);
    Shape {
        rate_per_s: arrivals_ns.len() as f64 / ((last - first) as f64 / 1e9),
        gap_variation: variance.sqrt() / mean,
        dispersion_1s: dispersion(&seconds),
        dispersion_60s: dispersion(&counts(60_000_000_000)),
        peak_1s: seconds.iter().copied().fold(0.0, f64::max),
    }
}

/// Returns mean and variance.
pub(super) fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    (mean, squares.sum::<f64>() / count)
}

/// Returns the share of all blocks that a cache without end would have had, in the order of the rows:
/// those at the start of a prompt that were all seen before.
pub(super) fn ideal_prefix_hit(rows: &[TraceRow]) -> f64 {
    let mut seen = HashSet::new();
    let (mut hits, mut all) = (0, 0);
    for row in rows {
        let session = match row.block_scope {
            BlockScope::Session => row.session_id.clone(),
            BlockScope::Trace | BlockScope::File => None,
        };
        let keys = row.prefix_blocks.iter().map(|id| (session.clone(), *id));
        let keys: Vec<_> = keys.collect();
        hits += keys.iter().take_while(|key| seen.contains(*key)).count();
        all += keys.len();
        seen.extend(keys);
    }
    hits as f64 / all as f64
}
