//! Instants at which something arrived: ties, the clock's step, and batches.

use super::tally::{Distribution, Tally};
use crate::trace::ratio::{float, ratio};

/// Different gaps between instants that are told apart.
const DIFFERENT_GAPS_MAX: usize = 1 << 16;
/// How far the 10th and the 90th percentile of the gaps may be from the median in a rhythm.
const RHYTHM_SPREAD: f64 = 0.05;
/// Longest step of a clock, in nanoseconds.
const CLOCK_STEP_NS_MAX: u64 = 1_000_000_000;
/// Gaps without which nothing is called a rhythm.
const RHYTHM_GAPS_MIN: u64 = 8;

/// Follows arrivals in order of time.
#[derive(Debug)]
pub(super) struct Instants {
    /// The latest instant, in nanoseconds since the first one, and how many arrived then.
    latest: Option<(u64, u64)>,
    distinct: u64,
    tied_rows: u64,
    largest_tie: u64,
    step_ns: u64,
    gaps: Tally,
}

/// What the instants are like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct InstantFacts {
    /// Number of different instants.
    pub(crate) distinct: u64,
    /// Rows that share their instant with another row.
    pub(crate) tied_rows: u64,
    /// Most rows at one instant.
    pub(crate) largest_tie: u64,
    /// The greatest step of which all gaps are multiples, in nanoseconds; none below two instants.
    pub(crate) step_ns: Option<u64>,
    /// Gaps between instants that follow each other, in nanoseconds; none below two instants.
    pub(crate) gap_ns: Option<Distribution>,
    /// Median gap, in nanoseconds, where nearly all gaps are about as long; else none.
    pub(crate) rhythm_ns: Option<f64>,
}

impl Instants {
    /// Returns what has seen no arrival.
    pub(super) fn new() -> Self {
        Self {
            latest: None,
            distinct: 0,
            tied_rows: 0,
            largest_tie: 0,
            step_ns: 0,
            gaps: Tally::new(DIFFERENT_GAPS_MAX),
        }
    }

    /// Takes an arrival by its time since the first one, which is no less than the one before.
    pub(super) fn add(&mut self, since_first_ns: u64) {
        let rows = match self.latest {
            Some((at_ns, rows)) if at_ns == since_first_ns => {
                // The second row of an instant makes a tie of the first one, too.
                self.tied_rows += if rows == 1 { 2 } else { 1 };
                rows + 1
            }
            Some((at_ns, _)) => {
                let gap_ns = since_first_ns - at_ns;
                self.gaps.add(gap_ns);
                self.step_ns = common_divisor(self.step_ns, gap_ns);
                self.distinct += 1;
                1
            }
            None => {
                self.distinct = 1;
                1
            }
        };
        self.largest_tie = self.largest_tie.max(rows);
        self.latest = Some((since_first_ns, rows));
    }

    /// Returns what was found.
    pub(super) fn facts(&self) -> InstantFacts {
        InstantFacts {
            distinct: self.distinct,
            tied_rows: self.tied_rows,
            largest_tie: self.largest_tie,
            step_ns: (self.step_ns > 0).then_some(self.step_ns),
            gap_ns: self.gaps.distribution(),
            rhythm_ns: self.rhythm_ns(),
        }
    }

    fn rhythm_ns(&self) -> Option<f64> {
        let [low, median, high] = self.gaps.percentiles([10, 50, 90])?;
        let spread = RHYTHM_SPREAD * median;
        let is_steady = median - low <= spread && high - median <= spread;
        (is_steady && self.distinct > RHYTHM_GAPS_MIN).then_some(median)
    }
}

impl InstantFacts {
    /// Returns the period of batches, in nanoseconds, and the rows in one on average, where most
    /// rows arrive in batches that follow each other in a rhythm.
    pub(crate) fn batches(&self, rows: u64) -> Option<(f64, f64)> {
        let is_mostly_tied = self.tied_rows.saturating_mul(2) >= rows;
        let period_ns = self.rhythm_ns.filter(|_| is_mostly_tied)?;
        Some((period_ns, ratio(rows, self.distinct)?))
    }

    /// Returns whether batches come a step of the clock apart, so that the clock alone makes them.
    ///
    /// Clocks of traces count in seconds at most: what comes in longer steps was gathered.
    pub(crate) fn is_step(&self, period_ns: f64) -> bool {
        let step_ns = self.step_ns.filter(|step_ns| *step_ns <= CLOCK_STEP_NS_MAX);
        let step_ns = step_ns.map(|step_ns| float(step_ns.into()));
        step_ns.is_some_and(|step_ns| (period_ns - step_ns).abs() < step_ns / 2.0)
    }
}

/// Returns the greatest common divisor; that of zero and another number is the other.
fn common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{InstantFacts, Instants};

    const MS: u64 = 1_000_000;

    fn facts(times: impl IntoIterator<Item = u64>) -> InstantFacts {
        let mut instants = Instants::new();
        times.into_iter().for_each(|at_ns| instants.add(at_ns));
        instants.facts()
    }

    #[test]
    fn nothing_and_one_arrival_have_no_step_and_no_gap() {
        assert_eq!(facts([]), InstantFacts::default());
        let one = facts([0]);
        assert_eq!((one.distinct, one.tied_rows, one.largest_tie), (1, 0, 1));
        assert_eq!((one.step_ns, one.gap_ns, one.rhythm_ns), (None, None, None));
    }

    #[test]
    fn rows_at_one_instant_are_all_tied() {
        let found = facts([0; 7]);
        assert_eq!(
            (found.distinct, found.tied_rows, found.largest_tie),
            (1, 7, 7)
        );
        assert_eq!(found.step_ns, None);
    }

    #[test]
    fn the_step_divides_all_gaps() {
        assert_eq!(facts([0, 3_000 * MS, 5_997 * MS]).step_ns, Some(3 * MS));
        assert_eq!(facts([0, 3_000 * MS, 5_998 * MS]).step_ns, Some(2 * MS));
        assert_eq!(facts([0, 1_000, 4_000, 4_000]).step_ns, Some(1_000));
    }

    #[test]
    fn batches_about_every_three_seconds_are_batches() {
        let jitter = [0, 2, 3, 0, 1, 2, 1, 3, 0, 1, 2, 0];
        let times = (0_u64..12).zip(jitter).flat_map(|(batch, jitter)| {
            let at = batch * 3_000 * MS + jitter * MS;
            [at; 10]
        });
        let found = facts(times);
        let (period_ns, rows) = found.batches(120).unwrap();
        assert!((period_ns / 3e9 - 1.0).abs() < 0.001, "{period_ns}");
        assert!((rows - 10.0).abs() < 1e-12);
        assert!(!found.is_step(period_ns), "{:?}", found.step_ns);
    }

    #[test]
    fn a_coarse_clock_makes_batches_of_one_step() {
        let found = facts((0_u64..20).flat_map(|second| [second * 1_000 * MS; 5]));
        let (period_ns, _) = found.batches(100).unwrap();
        assert!(found.is_step(period_ns));
    }

    #[test]
    fn what_comes_every_three_seconds_sharp_is_no_clock() {
        let found = facts((0_u64..20).flat_map(|batch| [batch * 3_000 * MS; 5]));
        let (period_ns, _) = found.batches(100).unwrap();
        assert_eq!(found.step_ns, Some(3_000 * MS));
        assert!(!found.is_step(period_ns));
    }

    #[test]
    fn a_steady_rate_without_ties_is_no_batch() {
        let found = facts((0_u64..20).map(|second| second * 1_000 * MS));
        assert!(found.rhythm_ns.is_some());
        assert_eq!(found.batches(20), None);
    }

    #[test]
    fn random_gaps_are_no_rhythm() {
        let found = facts([0, 1, 5, 5, 6, 20, 23, 31, 32, 50, 51].map(|at| at * MS));
        assert_eq!(found.rhythm_ns, None);
    }

    proptest! {
        #[test]
        fn ties_and_step_are_those_of_a_table_of_all_instants(
            gaps in prop::collection::vec(prop_oneof![Just(0_u64), 0_u64..20], 1..200),
            unit in 1_u64..1000,
        ) {
            let times: Vec<u64> = gaps
                .iter()
                .skip(1)
                .scan(0, |at, gap| { *at += gap * unit; Some(*at) })
                .collect();
            let times: Vec<u64> = std::iter::once(0).chain(times).collect();
            let mut table: BTreeMap<u64, u64> = BTreeMap::new();
            times.iter().for_each(|&at| *table.entry(at).or_insert(0) += 1);
            let found = facts(times.iter().copied());
            prop_assert_eq!(found.distinct, table.len() as u64);
            prop_assert_eq!(Some(&found.largest_tie), table.values().max());
            let tied: u64 = table.values().filter(|&&rows| rows > 1).sum();
            prop_assert_eq!(found.tied_rows, tied);
            let last = times[times.len() - 1];
            // The greatest number that divides all instants, the first of which is 0.
            let step = (1..=last).rev().find(|step| table.keys().all(|at| at % step == 0));
            prop_assert_eq!(found.step_ns, step);
        }
    }
}
