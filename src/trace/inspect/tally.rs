//! Percentiles of whole numbers in bounded memory: how often each value came.
//!
//! They are exact as long as there are no more different values than the limit. After that all
//! values are rounded to 12 significant bits, by at most 1 part in 4,096, which leaves at most
//! 110,592 different ones. Sum, mean and maximum stay exact. An entry costs 17 to 34 bytes.

use std::collections::HashMap;

use crate::trace::ratio::{float, ratio};

/// Bits of a value that are kept when there are too many different ones.
const BITS_KEPT: u32 = 12;

/// Counts values.
#[derive(Debug)]
pub(super) struct Tally {
    counts: HashMap<u64, u64>,
    different_max: usize,
    n: u64,
    sum: u128,
    max: u64,
    is_exact: bool,
}

/// What values are like, in their own unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Distribution {
    /// Number of values.
    pub(crate) n: u64,
    /// Median.
    pub(crate) p50: f64,
    /// 90th percentile, with linear interpolation, as all of them.
    pub(crate) p90: f64,
    /// 99th percentile.
    pub(crate) p99: f64,
    /// Greatest value.
    pub(crate) max: u64,
    /// Mean.
    pub(crate) mean: f64,
    /// Whether the percentiles are exact, and not rounded by up to 1 part in 4,096.
    pub(crate) is_exact: bool,
}

impl Tally {
    /// Returns an empty tally that tells up to `different_max` values apart.
    pub(super) fn new(different_max: usize) -> Self {
        Self {
            counts: HashMap::new(),
            different_max,
            n: 0,
            sum: 0,
            max: 0,
            is_exact: true,
        }
    }

    /// Takes one value.
    pub(super) fn add(&mut self, value: u64) {
        self.n += 1;
        self.sum += u128::from(value);
        self.max = self.max.max(value);
        let key = if self.is_exact { value } else { rounded(value) };
        *self.counts.entry(key).or_insert(0) += 1;
        if self.is_exact && self.counts.len() > self.different_max {
            self.is_exact = false;
            let exact = std::mem::take(&mut self.counts);
            for (value, count) in exact {
                *self.counts.entry(rounded(value)).or_insert(0) += count;
            }
        }
    }

    /// Returns what the values are like; none where there are none.
    pub(super) fn distribution(&self) -> Option<Distribution> {
        let [p50, p90, p99] = self.percentiles([50, 90, 99])?;
        Some(Distribution {
            n: self.n,
            p50,
            p90,
            p99,
            max: self.max,
            mean: ratio(self.sum, self.n)?,
            is_exact: self.is_exact,
        })
    }

    /// Returns percentiles, given in percent, with linear interpolation.
    ///
    /// Positions are whole numbers of hundredths, so that nothing is lost on the way to them.
    pub(super) fn percentiles<const N: usize>(&self, percent: [u32; N]) -> Option<[f64; N]> {
        let last = u128::from(self.n.checked_sub(1)?);
        let mut sorted: Vec<(u64, u64)> = self.counts.iter().map(|(v, c)| (*v, *c)).collect();
        sorted.sort_unstable();
        let mut up_to = 0;
        // The rank after the last row of each value.
        for entry in &mut sorted {
            up_to += entry.1;
            entry.1 = up_to;
        }
        let value_at = |rank: u128| {
            let at = sorted.partition_point(|(_, end)| u128::from(*end) <= rank);
            sorted
                .get(at)
                .map_or(0.0, |(value, _)| float((*value).into()))
        };
        Some(percent.map(|percent| {
            let hundredths = last * u128::from(percent.min(100));
            let rank = hundredths / 100;
            let (low, high) = (value_at(rank), value_at((rank + 1).min(last)));
            low + (high - low) * float(hundredths % 100) / 100.0
        }))
    }
}

/// Returns the middle of all values that share their first bits with this one.
fn rounded(value: u64) -> u64 {
    let dropped = (u64::BITS - value.leading_zeros()).saturating_sub(BITS_KEPT);
    if dropped == 0 {
        return value;
    }
    (value >> dropped << dropped) | (1 << (dropped - 1))
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of these tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::{Tally, rounded};

    fn tally(values: &[u64], different_max: usize) -> Tally {
        let mut tally = Tally::new(different_max);
        values.iter().for_each(|&value| tally.add(value));
        tally
    }

    #[test]
    fn percentiles_lie_between_values() {
        let found = tally(&[4, 1, 3, 2], 10).distribution().unwrap();
        assert!((found.p50 - 2.5).abs() < 1e-12);
        assert!((found.p90 - 3.7).abs() < 1e-12);
        assert!((found.p99 - 3.97).abs() < 1e-12);
        assert_eq!(found.max, 4);
        assert!((found.mean - 2.5).abs() < 1e-12);
        assert!(found.is_exact);
    }

    #[test]
    fn no_value_has_no_distribution_and_one_is_all_of_it() {
        assert!(Tally::new(10).distribution().is_none());
        let found = tally(&[7], 10).distribution().unwrap();
        for value in [found.p50, found.p90, found.p99, found.mean] {
            assert!((value - 7.0).abs() < 1e-12);
        }
    }

    #[test]
    fn rounding_keeps_small_values_and_does_nothing_twice() {
        assert_eq!(rounded(0), 0);
        assert_eq!(rounded(4_095), 4_095);
        assert_eq!(rounded(4_096), 4_097);
        assert_eq!(rounded(u64::MAX), u64::MAX ^ ((1 << 51) - 1));
    }

    /// As numpy computes it: the value at position `share * (n - 1)` of the sorted values.
    fn naive(values: &[u64], share: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let position = share * (sorted.len() - 1) as f64;
        let low = sorted[position.floor() as usize] as f64;
        let high = sorted[position.ceil() as usize] as f64;
        low + (high - low) * (position - position.floor())
    }

    proptest! {
        #[test]
        fn percentiles_are_those_of_the_sorted_values(
            values in prop::collection::vec(0_u64..300, 1..400),
            percent in 0_u32..=100,
        ) {
            let [found] = tally(&values, 1_000).percentiles([percent]).unwrap();
            prop_assert!((found - naive(&values, f64::from(percent) / 100.0)).abs() < 1e-9);
        }

        #[test]
        fn too_many_different_values_cost_a_part_in_four_thousand(
            values in prop::collection::vec(any::<u64>(), 20..200),
            percent in 0_u32..=100,
        ) {
            let tally = tally(&values, 10);
            let [found] = tally.percentiles([percent]).unwrap();
            let expected = naive(&values, f64::from(percent) / 100.0);
            prop_assert!((found - expected).abs() <= expected / 4_096.0 + 1.0);
            let found = tally.distribution().unwrap();
            prop_assert!(!found.is_exact);
            prop_assert_eq!(Some(&found.max), values.iter().max());
            let mean = values.iter().map(|&v| u128::from(v)).sum::<u128>() as f64
                / values.len() as f64;
            prop_assert!((found.mean - mean).abs() <= mean * 1e-12);
        }

        #[test]
        fn rounding_is_within_a_part_in_four_thousand(value in any::<u64>()) {
            let found = rounded(value);
            prop_assert!(found.abs_diff(value) <= value / 4_096 + 1);
            prop_assert_eq!(rounded(found), found);
        }
    }
}
