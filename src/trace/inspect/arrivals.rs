//! Everything about when rows arrive, in order of time.

use super::bins::{Bins, Peak};
use super::instants::{InstantFacts, Instants};
use super::sketch::{RateSketch, Sketch};
use crate::trace::ratio::{float, ratio};

/// Nanoseconds in a second.
const SECOND_NS: u64 = 1_000_000_000;

/// Follows arrivals in order of time.
#[derive(Debug)]
pub(super) struct Arrivals {
    rows: u64,
    /// First and latest arrival, in nanoseconds on one axis.
    ends_ns: Option<(i64, i64)>,
    gap_ns_max: u64,
    /// Sum of the squares of all gaps. Their sum is the span, which fits 64 bits, so this fits 128.
    gap_squares: u128,
    seconds: Bins,
    minutes: Bins,
    instants: Instants,
    sketch: Sketch,
}

/// When rows arrive.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ArrivalFacts {
    /// Number of rows.
    pub(crate) rows: u64,
    /// Last arrival less the first one, in nanoseconds; none without rows.
    pub(crate) span_ns: Option<u64>,
    /// Rows divided by the span, in requests a second; none where the span is nothing.
    pub(crate) mean_rate_per_s: Option<f64>,
    /// The fullest second, of those that follow each other from the first arrival on.
    pub(crate) peak_1s: Option<Peak>,
    /// The fullest minute, in the same way.
    pub(crate) peak_60s: Option<Peak>,
    /// Standard deviation of the gaps between arrivals, divided by their mean; none where all
    /// arrive at one instant.
    pub(crate) gap_cv: Option<f64>,
    /// Longest gap, in nanoseconds; none below two rows.
    pub(crate) gap_ns_max: Option<u64>,
    /// Variance of the requests a second, divided by their mean; none without rows.
    pub(crate) dispersion_1s: Option<f64>,
    /// Ties, the clock's step, and batches.
    pub(crate) instants: InstantFacts,
}

impl Arrivals {
    /// Returns what has seen no arrival.
    pub(super) fn new() -> Self {
        Self {
            rows: 0,
            ends_ns: None,
            gap_ns_max: 0,
            gap_squares: 0,
            seconds: Bins::new(SECOND_NS),
            minutes: Bins::new(60 * SECOND_NS),
            instants: Instants::new(),
            sketch: Sketch::new(),
        }
    }

    /// Takes the next arrival, in nanoseconds on an axis where it is no earlier than the one before.
    pub(super) fn add(&mut self, at_ns: i64) {
        let since_first_ns = self.count(at_ns);
        self.instants.add(since_first_ns);
    }

    /// Takes an arrival whose time is not known better than that it comes here in the file.
    ///
    /// It stands at the latest arrival. That is no tie, and says nothing about the clock.
    pub(super) fn add_late(&mut self, at_ns: i64) {
        self.count(at_ns);
    }

    fn count(&mut self, at_ns: i64) -> u64 {
        let (first_ns, latest_ns) = self.ends_ns.unwrap_or((at_ns, at_ns));
        let at_ns = at_ns.max(latest_ns);
        let gap_ns = at_ns.abs_diff(latest_ns);
        self.gap_ns_max = self.gap_ns_max.max(gap_ns);
        self.gap_squares += u128::from(gap_ns) * u128::from(gap_ns);
        self.ends_ns = Some((first_ns, at_ns));
        self.rows += 1;
        let since_first_ns = at_ns.abs_diff(first_ns);
        self.seconds.add(since_first_ns);
        self.minutes.add(since_first_ns);
        self.sketch.add(since_first_ns);
        since_first_ns
    }

    /// Returns what was found.
    pub(super) fn facts(&self) -> ArrivalFacts {
        let span_ns = self.span_ns();
        let rate_per_ns = span_ns.and_then(|span_ns| ratio(self.rows, span_ns));
        ArrivalFacts {
            rows: self.rows,
            span_ns,
            mean_rate_per_s: rate_per_ns.map(|rate| rate * float(SECOND_NS.into())),
            peak_1s: self.seconds.peak(),
            peak_60s: self.minutes.peak(),
            gap_cv: self.gap_cv(),
            gap_ns_max: (self.rows > 1).then_some(self.gap_ns_max),
            dispersion_1s: self.seconds.dispersion(),
            instants: self.instants.facts(),
        }
    }

    /// Returns the rate over time, in so many columns.
    pub(super) fn sketch(&self, columns: u32) -> Option<RateSketch> {
        self.sketch.columns(columns)
    }

    fn span_ns(&self) -> Option<u64> {
        self.ends_ns
            .map(|(first_ns, latest_ns)| latest_ns.abs_diff(first_ns))
    }

    fn gap_cv(&self) -> Option<f64> {
        let gaps = u128::from(self.rows).checked_sub(1)?;
        let sum = u128::from(self.span_ns()?);
        // The variance is squares/gaps - (sum/gaps)², and the mean sum/gaps.
        let square = match self.gap_squares.checked_mul(gaps) {
            Some(scaled) => ratio(scaled - sum * sum, sum * sum)?,
            None => float(gaps) * ratio(self.gap_squares, sum * sum)? - 1.0,
        };
        Some(square.max(0.0).sqrt())
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the numbers of these tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::{ArrivalFacts, Arrivals};

    const SECOND: i64 = 1_000_000_000;

    fn facts(times: &[i64]) -> ArrivalFacts {
        let mut arrivals = Arrivals::new();
        times.iter().for_each(|&at_ns| arrivals.add(at_ns));
        arrivals.facts()
    }

    #[test]
    fn no_row_has_no_number() {
        let found = facts(&[]);
        assert_eq!((found.rows, found.span_ns), (0, None));
        assert_eq!((found.peak_1s, found.peak_60s), (None, None));
        assert_eq!((found.gap_cv, found.dispersion_1s), (None, None));
        assert_eq!((found.mean_rate_per_s, found.gap_ns_max), (None, None));
    }

    #[test]
    fn one_row_has_a_second_and_no_gap() {
        let found = facts(&[-5]);
        assert_eq!((found.rows, found.span_ns), (1, Some(0)));
        assert_eq!(found.peak_1s.unwrap().requests, 1);
        assert_eq!(found.dispersion_1s, Some(0.0));
        assert_eq!((found.gap_cv, found.gap_ns_max), (None, None));
        assert_eq!(found.mean_rate_per_s, None);
    }

    #[test]
    fn two_rows_have_one_gap_which_does_not_vary() {
        let found = facts(&[SECOND, 5 * SECOND]);
        assert_eq!(found.span_ns, Some(4_000_000_000));
        assert_eq!(found.gap_cv, Some(0.0));
        assert_eq!(found.mean_rate_per_s, Some(0.5));
    }

    #[test]
    fn rows_at_one_instant_have_no_rate() {
        let found = facts(&[7; 100]);
        assert_eq!(found.peak_60s.unwrap().requests, 100);
        assert_eq!((found.mean_rate_per_s, found.gap_cv), (None, None));
        assert_eq!(found.gap_ns_max, Some(0));
        assert_eq!(found.dispersion_1s, Some(0.0));
    }

    #[test]
    fn equal_gaps_do_not_vary_at_all() {
        let times: Vec<i64> = (0..1_000).map(|row| row * 428_571_429).collect();
        assert_eq!(facts(&times).gap_cv, Some(0.0));
    }

    #[test]
    fn the_whole_axis_of_time_does_not_overflow() {
        let found = facts(&[i64::MIN, 0, i64::MAX]);
        assert_eq!(found.span_ns, Some(u64::MAX));
        assert!(found.gap_cv.unwrap() < 1e-9);
        let mut times = vec![i64::MIN; 10];
        times.push(i64::MAX);
        // One gap of all and nine of nothing: variance 9/100, mean 1/10.
        assert!((facts(&times).gap_cv.unwrap() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_late_row_counts_where_it_is_and_is_no_tie() {
        let mut arrivals = Arrivals::new();
        arrivals.add(0);
        arrivals.add(2 * SECOND);
        arrivals.add_late(SECOND);
        let found = arrivals.facts();
        assert_eq!((found.rows, found.span_ns), (3, Some(2_000_000_000)));
        assert_eq!(found.peak_1s.unwrap().requests, 2);
        assert_eq!(found.instants.tied_rows, 0);
        assert_eq!(found.instants.distinct, 2);
    }

    proptest! {
        #[test]
        fn span_rate_and_gaps_are_those_of_all_times(
            start in -1_000_000_000_000_i64..1_000_000_000_000,
            gaps in prop::collection::vec(0_i64..100_000_000_000, 1..100),
        ) {
            let mut times = vec![start];
            for gap in &gaps {
                times.push(times[times.len() - 1] + gap);
            }
            let found = facts(&times);
            let span: i64 = gaps.iter().sum();
            prop_assert_eq!(found.span_ns, Some(span as u64));
            prop_assert_eq!(found.gap_ns_max, gaps.iter().max().map(|&gap| gap as u64));
            if span == 0 {
                return Ok(());
            }
            let mean = span as f64 / gaps.len() as f64;
            let variance = gaps
                .iter()
                .map(|&gap| (gap as f64 - mean).powi(2))
                .sum::<f64>() / gaps.len() as f64;
            prop_assert!((found.gap_cv.unwrap() - variance.sqrt() / mean).abs() < 1e-6);
            let rate = times.len() as f64 / (span as f64 / 1e9);
            prop_assert!((found.mean_rate_per_s.unwrap() - rate).abs() < rate * 1e-9);
        }
    }
}
