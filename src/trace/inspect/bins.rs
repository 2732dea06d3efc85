//! Arrivals a bin, for bins that are never all in memory.
//!
//! Arrivals come in order, so that only the bin that is being filled has to be kept. Bins that stay
//! empty are known by their number alone: an outlier in the year 9999 costs nothing.

use crate::trace::ratio::ratio;

/// Counts arrivals in bins of equal width that start at the first arrival.
#[derive(Debug)]
pub(super) struct Bins {
    width_ns: u64,
    /// Number of the bin that is being filled, from 0, and what is in it.
    filling: Bin,
    /// The fullest bin of those that are full; the first of several.
    fullest: Bin,
    arrivals: u64,
    /// Sum of the squares of the counts of the bins that are full.
    squares: u128,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bin {
    number: u64,
    count: u64,
}

/// The fullest bin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peak {
    /// Requests in it.
    pub(crate) requests: u64,
    /// Where it starts, in nanoseconds since the first arrival.
    pub(crate) from_ns: u64,
}

impl Bins {
    /// Returns bins without an arrival, of a width that is above zero.
    pub(super) fn new(width_ns: u64) -> Self {
        Self {
            width_ns: width_ns.max(1),
            filling: Bin::default(),
            fullest: Bin::default(),
            arrivals: 0,
            squares: 0,
        }
    }

    /// Takes an arrival by its time since the first one, which is no less than the one before.
    pub(super) fn add(&mut self, since_first_ns: u64) {
        let number = since_first_ns / self.width_ns;
        if number > self.filling.number {
            self.squares += square(self.filling.count);
            self.fullest = self.fullest_so_far();
            self.filling = Bin { number, count: 0 };
        }
        self.filling.count += 1;
        self.arrivals += 1;
    }

    /// Returns the fullest bin; none without an arrival.
    pub(super) fn peak(&self) -> Option<Peak> {
        let fullest = self.fullest_so_far();
        (fullest.count > 0).then(|| Peak {
            requests: fullest.count,
            from_ns: fullest.number.saturating_mul(self.width_ns),
        })
    }

    fn fullest_so_far(&self) -> Bin {
        if self.filling.count > self.fullest.count {
            self.filling
        } else {
            self.fullest
        }
    }

    /// Returns the variance of the counts divided by their mean, over all bins from the first
    /// arrival's to the last one's; none without an arrival.
    pub(super) fn dispersion(&self) -> Option<f64> {
        let bins = u128::from(self.filling.number) + 1;
        let arrivals = u128::from(self.arrivals);
        let squares = self.squares + square(self.filling.count);
        // Variance is squares/bins - (arrivals/bins)², and the mean arrivals/bins.
        match squares.checked_mul(bins) {
            Some(scaled) => ratio(scaled - arrivals * arrivals, arrivals * bins),
            None => Some(ratio(squares, arrivals)? - ratio(arrivals, bins)?),
        }
    }
}

fn square(count: u64) -> u128 {
    u128::from(count) * u128::from(count)
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the numbers of these tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::{Bins, Peak};

    fn bins(width_ns: u64, times: &[u64]) -> Bins {
        let mut bins = Bins::new(width_ns);
        times.iter().for_each(|&at_ns| bins.add(at_ns));
        bins
    }

    #[test]
    fn without_arrivals_there_is_no_number() {
        assert_eq!(Bins::new(10).peak(), None);
        assert_eq!(Bins::new(10).dispersion(), None);
    }

    #[test]
    fn one_arrival_is_a_peak_that_does_not_vary() {
        let bins = bins(10, &[0]);
        let peak = Peak {
            requests: 1,
            from_ns: 0,
        };
        assert_eq!(bins.peak(), Some(peak));
        assert_eq!(bins.dispersion(), Some(0.0));
    }

    #[test]
    fn empty_bins_count() {
        // Counts 2, 0, 0, 1: mean 0.75, variance 0.6875.
        let bins = bins(10, &[0, 9, 30]);
        assert!((bins.dispersion().unwrap() - 0.6875 / 0.75).abs() < 1e-12);
        assert_eq!(bins.peak().unwrap().requests, 2);
    }

    #[test]
    fn the_last_bin_may_be_the_fullest_and_of_equals_the_first_is_named() {
        let fullest = |times: &[u64]| bins(10, times).peak().unwrap();
        assert_eq!(
            fullest(&[0, 25, 26]),
            Peak {
                requests: 2,
                from_ns: 20
            }
        );
        assert_eq!(
            fullest(&[10, 11, 25, 26]),
            Peak {
                requests: 2,
                from_ns: 10
            }
        );
    }

    #[test]
    fn an_outlier_at_the_end_of_time_costs_nothing() {
        let bins = bins(1, &[0, u64::MAX]);
        assert_eq!(bins.peak().unwrap().requests, 1);
        assert!((bins.dispersion().unwrap() - 1.0).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn peak_and_dispersion_are_those_of_all_bins(
            gaps in prop::collection::vec(0_u64..40, 1..300),
            width_ns in 1_u64..30,
        ) {
            let times: Vec<u64> = gaps
                .iter()
                .scan(0, |at, gap| { *at += gap; Some(*at) })
                .collect();
            let first = times[0];
            let times: Vec<u64> = times.iter().map(|at| at - first).collect();
            let mut counts = vec![0_u64; (times[times.len() - 1] / width_ns) as usize + 1];
            times.iter().for_each(|at| counts[(at / width_ns) as usize] += 1);
            let mean = times.len() as f64 / counts.len() as f64;
            let variance =
                counts.iter().map(|&c| (c as f64 - mean).powi(2)).sum::<f64>() / counts.len() as f64;
            let bins = bins(width_ns, &times);
            prop_assert!((bins.dispersion().unwrap() - variance / mean).abs() < 1e-9);
            let peak = bins.peak().unwrap();
            let most = counts.iter().copied().max().unwrap();
            prop_assert_eq!(peak.requests, most);
            prop_assert_eq!(counts[(peak.from_ns / width_ns) as usize], most);
        }
    }
}
