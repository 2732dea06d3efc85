//! Tells where a trace's clock starts anew, and lets time go on from there: pure, row by row.
//!
//! Some published traces are several recordings one below the other, each of which counts from its
//! own zero. Put in order by their times alone, such recordings would lie on top of each other.
//!
//! A row restarts the clock where it lies at least [`BACK_NS_MIN`] before the latest time so far,
//! and where that is at least half of what the clock had run since it last started. Whatever goes
//! back less than that is disorder, which is for others to put right. Where a restart is nothing to
//! be expected, a recording must have been seen before it, [`RECORDING_ROWS_MIN`] rows of which hardly
//! any goes back, and the rows after it must stay behind; then it may be by less than a minute: neither a straggler nor a file in no order
//! at all is a restart.

/// How far time must go back at least for a restart, in nanoseconds.
const BACK_NS_MIN: u64 = 60_000_000_000;

/// Rows of a recording at least, where a restart is not to be expected.
const RECORDING_ROWS_MIN: u64 = 100;
/// Of how many rows of a recording at most one goes back.
const ROWS_A_STEP_BACK: u64 = 50;
/// Rows after a restart that bear it out, where it is not to be expected.
const ROWS_THAT_STAY: usize = 20;

/// The clock of a trace, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct RunningClock {
    run: Option<Run>,
    restarts: u64,
}

/// One run of the clock, from one start to the next.
#[derive(Debug, Clone, Copy)]
struct Run {
    /// The file's own time of the row that started it, in nanoseconds.
    zero_ns: i64,
    /// The latest of the file's own times since then, in nanoseconds.
    latest_ns: i64,
    /// What is added to the file's own times, in nanoseconds.
    shift_ns: i128,
    rows: u64,
    steps_back: u64,
}

impl Run {
    fn from(own_ns: i64, shift_ns: i128) -> Self {
        Self {
            zero_ns: own_ns,
            latest_ns: own_ns,
            shift_ns,
            rows: 0,
            steps_back: 0,
        }
    }

    fn is_recording(&self) -> bool {
        self.rows >= RECORDING_ROWS_MIN && self.rows >= self.steps_back * ROWS_A_STEP_BACK
    }

    fn is_restarted_by(&self, own_ns: i64) -> bool {
        let back_ns = i128::from(self.latest_ns) - i128::from(own_ns);
        back_ns >= i128::from(BACK_NS_MIN) && self.goes_back_half(own_ns)
    }

    fn goes_back_half(&self, own_ns: i64) -> bool {
        let back_ns = i128::from(self.latest_ns) - i128::from(own_ns);
        let run_ns = i128::from(self.latest_ns) - i128::from(self.zero_ns);
        back_ns > 0 && 2 * back_ns >= run_ns
    }

    fn place(&self, own_ns: i64) -> i64 {
        let placed_ns = i128::from(own_ns) + self.shift_ns;
        let furthest = if placed_ns < 0 { i64::MIN } else { i64::MAX };
        i64::try_from(placed_ns).unwrap_or(furthest)
    }
}

impl RunningClock {
    /// Returns where the next row stands on a time axis that no restart breaks, in nanoseconds.
    ///
    /// Until the first restart that is the row's own time. A row that restarts the clock stands at
    /// the latest arrival before it, and rows after it by as much later as the file says.
    pub(super) fn place(&mut self, own_ns: i64) -> i64 {
        let run = self.run.unwrap_or(Run::from(own_ns, 0));
        self.place_in(run, own_ns, run.is_restarted_by(own_ns))
    }

    /// Does so where no restart is to be expected; `following_ns` are the times of the next rows.
    pub(super) fn place_warily(&mut self, own_ns: i64, following_ns: &[i64]) -> i64 {
        let run = self.run.unwrap_or(Run::from(own_ns, 0));
        let is_restart = run.goes_back_half(own_ns)
            && run.is_recording()
            && following_ns
                .get(..ROWS_THAT_STAY)
                .is_some_and(|following_ns| {
                    following_ns
                        .iter()
                        .all(|&own_ns| run.goes_back_half(own_ns))
                });
        self.place_in(run, own_ns, is_restart)
    }

    fn place_in(&mut self, mut run: Run, own_ns: i64, is_restart: bool) -> i64 {
        if is_restart {
            self.restarts += 1;
            let shift_ns = i128::from(run.place(run.latest_ns)) - i128::from(own_ns);
            run = Run::from(own_ns, shift_ns);
        }
        run.rows += 1;
        run.steps_back += u64::from(own_ns < run.latest_ns);
        run.latest_ns = run.latest_ns.max(own_ns);
        self.run = Some(run);
        run.place(own_ns)
    }

    /// Returns whether a time lies back by at least half of what the clock has run.
    pub(super) fn is_set_back(&self, own_ns: i64) -> bool {
        self.run.is_some_and(|run| run.goes_back_half(own_ns))
    }

    /// Follows a clock that is left as it is, and returns the row's own time.
    pub(super) fn follow(&mut self, own_ns: i64) -> i64 {
        self.place_in(self.run.unwrap_or(Run::from(own_ns, 0)), own_ns, false)
    }

    /// Starts the clock anew with the next row, and returns where that stands.
    pub(super) fn restart(&mut self, own_ns: i64) -> i64 {
        self.place_in(self.run.unwrap_or(Run::from(own_ns, 0)), own_ns, true)
    }

    /// Returns how often the clock has started anew.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::RunningClock;

    const SECOND: i64 = 1_000_000_000;

    /// Places rows that are given in seconds; returns seconds, and the number of restarts.
    fn place_all(seconds: &[i64]) -> (Vec<i64>, u64) {
        let mut clock = RunningClock::default();
        let placed = seconds
            .iter()
            .map(|second| clock.place(second * SECOND) / SECOND)
            .collect();
        (placed, clock.restarts())
    }

    #[test]
    fn a_clock_that_starts_anew_goes_on_where_it_was() {
        let (placed, restarts) = place_all(&[82, 300, 604, 0, 10, 603, 5, 6]);
        assert_eq!(placed, [82, 300, 604, 604, 614, 1207, 1207, 1208]);
        assert_eq!(restarts, 2);
    }

    #[test]
    fn a_step_back_of_less_than_a_minute_is_no_restart() {
        assert_eq!(place_all(&[0, 59, 0]), (vec![0, 59, 0], 0));
        assert_eq!(place_all(&[0, 60, 0]), (vec![0, 60, 60], 1));
    }

    #[test]
    fn a_step_back_by_less_than_half_of_the_run_is_no_restart() {
        assert_eq!(place_all(&[0, 1000, 501]), (vec![0, 1000, 501], 0));
        assert_eq!(place_all(&[0, 1000, 500]), (vec![0, 1000, 1000], 1));
        // The second run is measured from its own start.
        let (placed, restarts) = place_all(&[0, 1000, 0, 200, 90, 200, 100]);
        assert_eq!(placed, [0, 1000, 1000, 1200, 1200, 1310, 1310]);
        assert_eq!(restarts, 3);
        assert_eq!(place_all(&[0, 1000, 0, 200, 101]).1, 1);
    }

    #[test]
    fn a_step_back_is_measured_from_the_latest_time_not_from_the_row_before() {
        assert_eq!(place_all(&[0, 100, 70, 40]), (vec![0, 100, 70, 100], 1));
    }

    #[test]
    fn times_at_the_ends_of_the_axis_do_not_overflow() {
        let mut clock = RunningClock::default();
        assert_eq!(clock.place(i64::MIN), i64::MIN);
        assert_eq!(clock.place(i64::MAX), i64::MAX);
        assert_eq!(clock.place(i64::MIN), i64::MAX);
        assert_eq!(clock.place(i64::MAX), i64::MAX);
        assert_eq!(clock.restarts(), 1);
    }

    fn place_all_warily(seconds: &[i64]) -> (Vec<i64>, u64) {
        let own_ns: Vec<i64> = seconds.iter().map(|second| second * SECOND).collect();
        let mut clock = RunningClock::default();
        let placed = (0..own_ns.len())
            .map(|row| clock.place_warily(own_ns[row], &own_ns[row + 1..]) / SECOND)
            .collect();
        (placed, clock.restarts())
    }

    #[test]
    fn disorder_is_no_restart_where_none_is_expected() {
        let shuffled = (0..1000).map(|row| row * 7919 % 1000);
        let shuffled: Vec<i64> = [379, 0, 379].into_iter().chain(shuffled).collect();
        assert_eq!(place_all_warily(&shuffled), (shuffled, 0));
        let straggler: Vec<i64> = (10..200).chain([3]).chain(200..400).collect();
        assert_eq!(place_all_warily(&straggler), (straggler, 0));
        let twice: Vec<i64> = (0..200).chain(0..200).collect();
        let (placed, restarts) = place_all_warily(&twice);
        assert_eq!(placed[200..203], [199, 200, 201]);
        assert_eq!(restarts, 1);
    }

    proptest! {
        #[test]
        fn recordings_one_below_the_other_keep_their_gaps(
            recordings in prop::collection::vec(
                (0_i64..10_000, prop::collection::vec(0_i64..100, 2..20)),
                1..6,
            ),
        ) {
            // Each recording runs for at least 2 minutes from a zero of its own, so that the next
            // one goes back far enough.
            let mut own = Vec::new();
            let mut expected = Vec::new();
            let mut end = None;
            let mut restarts = 0;
            for (zero, gaps) in &recordings {
                // A zero that lies later than the last end is a gap and no restart: stay below.
                let zero = own.last().map_or(*zero, |&last: &i64| (*zero).min(last - 20_000));
                let start = end.unwrap_or(zero);
                restarts += u64::from(end.is_some());
                let mut at = 0;
                for gap in std::iter::once(&0).chain(gaps).chain([&20_000]) {
                    at += gap;
                    own.push(zero + at);
                    expected.push(start + at);
                }
                end = Some(start + at);
            }
            prop_assert_eq!(place_all(&own), (expected, restarts));
        }

        #[test]
        fn what_never_goes_back_stays_as_it_is(
            gaps in prop::collection::vec(0_i64..1_000_000, 1..50),
        ) {
            let own: Vec<i64> = gaps
                .iter()
                .scan(-5_000_000, |at, gap| { *at += gap; Some(*at) })
                .collect();
            prop_assert_eq!(place_all(&own), (own, 0));
        }
    }
}
