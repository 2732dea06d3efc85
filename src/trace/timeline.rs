//! When the rows that were taken are due: idle time is cut, ties are spread, time is sped up.
//!
//! A pure function of the rows, however they come in: no draw depends on anything but the seed and
//! the number of a row in its trace.

use std::collections::VecDeque;

use crate::draw::{Draw, field};
use crate::plan::Ties;

use super::row::TraceRow;
use super::select::Selection;

/// Most rows with one time that can be spread: they are held until their number is known.
pub(super) const TIES_MAX: usize = 65_536;

/// Places rows on the axis of the schedule.
#[derive(Debug)]
pub(super) struct Timeline {
    ties: Ties,
    max_idle_ns: Option<i64>,
    speed: f64,
    seed: u64,
    quantum_ns: i64,
    /// The time of the latest row, before idle time is cut.
    latest_ns: i64,
    /// Idle time that was cut so far.
    cut_ns: i64,
    /// Rows with one time, whose number is not yet known.
    tied: Vec<TraceRow>,
    tied_at_ns: i64,
    ready: VecDeque<TraceRow>,
}

impl Timeline {
    pub(super) fn new(selection: &Selection) -> Self {
        Self {
            ties: selection.ties,
            max_idle_ns: selection.max_idle_ns,
            speed: selection.speed,
            seed: selection.seed,
            quantum_ns: 1,
            latest_ns: 0,
            cut_ns: 0,
            tied: Vec::new(),
            tied_at_ns: 0,
            ready: VecDeque::new(),
        }
    }

    /// Returns whether the quantum matters.
    pub(super) fn spreads_ties(&self) -> bool {
        self.ties != Ties::Keep
    }

    /// Sets the quantum inside which ties are spread.
    pub(super) fn set_quantum_ns(&mut self, quantum_ns: i64) {
        self.quantum_ns = quantum_ns.max(1);
    }

    /// Takes the next row in order of time, which stands `inside_ns` after the start of the window.
    ///
    /// Fails where more rows are tied than can be held.
    pub(super) fn push(&mut self, inside_ns: i64, mut row: TraceRow) -> Result<(), TooManyTies> {
        if let Some(max_idle_ns) = self.max_idle_ns {
            let idle_ns = inside_ns - self.latest_ns;
            self.cut_ns += (idle_ns - max_idle_ns).max(0);
            row.think_ns = row.think_ns.map(|think_ns| think_ns.min(max_idle_ns));
        }
        self.latest_ns = inside_ns;
        let at_ns = inside_ns - self.cut_ns;
        row.trace_ns = divide(inside_ns, self.speed);
        row.think_ns = row.think_ns.map(|think_ns| divide(think_ns, self.speed));
        if !self.tied.is_empty() && at_ns != self.tied_at_ns {
            self.spread(Some(at_ns));
        }
        self.tied_at_ns = at_ns;
        self.tied.push(row);
        if self.ties == Ties::Keep {
            self.spread(None);
        } else if self.tied.len() > TIES_MAX {
            return Err(TooManyTies);
        }
        Ok(())
    }

    /// Says that there are no more rows.
    pub(super) fn finish(&mut self) {
        self.spread(None);
    }

    /// Returns the next row that is placed.
    pub(super) fn pop(&mut self) -> Option<TraceRow> {
        self.ready.pop_front()
    }

    /// Places the tied rows; the next other time bounds their quantum.
    fn spread(&mut self, next_ns: Option<i64>) {
        let room_ns = next_ns.map_or(self.quantum_ns, |next_ns| {
            self.quantum_ns.min(next_ns - self.tied_at_ns)
        });
        let offsets = self.offsets(room_ns);
        for (mut row, offset_ns) in self.tied.drain(..).zip(offsets) {
            row.arrival_ns = divide(self.tied_at_ns.saturating_add(offset_ns), self.speed);
            self.ready.push_back(row);
        }
    }

    /// Returns where in their quantum the tied rows are due, in rising order.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a share below 1 of a quantum that a float holds to the nanosecond for 104 days"
    )]
    fn offsets(&self, room_ns: i64) -> Vec<i64> {
        let count = i128::try_from(self.tied.len()).unwrap_or(i128::MAX);
        match self.ties {
            Ties::Keep => vec![0; self.tied.len()],
            Ties::Uniform => (0..count)
                .map(|tie| i64::try_from(tie * i128::from(room_ns) / count).unwrap_or(0))
                .collect(),
            Ties::Poisson => {
                let draws = self.tied.iter().map(|row| {
                    let share = Draw::new(self.seed, row.number, field::TIE).fraction();
                    (share * room_ns as f64) as i64
                });
                let mut offsets: Vec<i64> = draws.collect();
                // The order of the file is what little is known of the order of the rows.
                offsets.sort_unstable();
                offsets
            }
        }
    }
}

/// More rows have one time than can be held.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooManyTies;

/// Divides a duration by a speed, rounded to the nearest nanosecond.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "off by 1 ns at most below 104 days, and the cast saturates"
)]
fn divide(duration_ns: i64, speed: f64) -> i64 {
    // Exact where there is nothing to divide.
    if speed.to_bits() == 1.0_f64.to_bits() {
        return duration_ns;
    }
    (duration_ns as f64 / speed).round() as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Selection, Ties, Timeline, TraceRow};

    const MS: i64 = 1_000_000;
    const SECOND: i64 = 1_000 * MS;

    /// Places rows at these times; returns when they are due.
    fn due(selection: &Selection, quantum_ns: i64, times_ns: &[i64]) -> Vec<i64> {
        let mut timeline = Timeline::new(selection);
        timeline.set_quantum_ns(quantum_ns);
        let mut rows = Vec::new();
        for (number, &at_ns) in (0..).zip(times_ns) {
            let row = TraceRow {
                number,
                ..TraceRow::default()
            };
            timeline.push(at_ns, row).unwrap();
            rows.extend(std::iter::from_fn(|| timeline.pop()));
        }
        timeline.finish();
        rows.extend(std::iter::from_fn(|| timeline.pop()));
        assert!(rows.iter().map(|row| row.number).eq(0..rows.len() as u64));
        rows.iter().map(|row| row.arrival_ns).collect()
    }

    fn with(ties: Ties) -> Selection {
        Selection {
            ties,
            ..Selection::default()
        }
    }

    #[test]
    fn ties_that_are_kept_stay_together() {
        assert_eq!(due(&with(Ties::Keep), SECOND, &[0, 5, 5, 9]), [0, 5, 5, 9]);
    }

    #[test]
    fn uniform_ties_share_their_quantum_evenly() {
        let times = [0, 0, 0, SECOND, 4 * SECOND, 4 * SECOND];
        assert_eq!(
            due(&with(Ties::Uniform), 3 * SECOND, &times),
            // The first three have until the next time, the last two a whole quantum.
            [0, 333_333_333, 666_666_666, SECOND, 4 * SECOND, 5_500 * MS]
        );
    }

    #[test]
    fn poisson_ties_are_spread_at_random_and_by_the_seed() {
        let times = vec![0; 2_000];
        let placed = due(&with(Ties::Poisson), SECOND, &times);
        assert!(placed.iter().all(|at_ns| (0..SECOND).contains(at_ns)));
        let early = placed.iter().filter(|at_ns| **at_ns < SECOND / 4).count();
        // Five standard deviations of a binomial with n = 2,000 and p = 1/4.
        assert!(early.abs_diff(500) < 97, "{early}");
        assert_eq!(placed, due(&with(Ties::Poisson), SECOND, &times));
        let other = Selection {
            seed: 1,
            ..with(Ties::Poisson)
        };
        assert_ne!(placed, due(&other, SECOND, &times));
    }

    #[test]
    fn idle_time_is_cut_to_what_was_asked_for() {
        let selection = Selection {
            max_idle_ns: Some(10 * SECOND),
            speed: 2.0,
            ..Selection::default()
        };
        let times = [30 * SECOND, 31 * SECOND, 100 * SECOND, 105 * SECOND];
        assert_eq!(
            due(&selection, 1, &times),
            [5 * SECOND, 5_500 * MS, 10_500 * MS, 13 * SECOND]
        );
    }

    proptest! {
        #[test]
        fn order_and_number_survive_any_spread_and_speed(
            gaps in prop::collection::vec(0_i64..3, 1..200),
            quantum_ns in 1_i64..3_000_000_000,
            speed in 0.001_f64..1000.0,
            ties in prop::sample::select(vec![Ties::Keep, Ties::Uniform, Ties::Poisson]),
        ) {
            let times: Vec<i64> = gaps
                .iter()
                .scan(0, |at, gap| { *at += gap * SECOND; Some(*at) })
                .collect();
            let selection = Selection { speed, ties, ..Selection::default() };
            let placed = due(&selection, quantum_ns, &times);
            prop_assert_eq!(placed.len(), times.len());
            prop_assert!(placed.windows(2).all(|pair| pair[0] <= pair[1]));
        }
    }
}
