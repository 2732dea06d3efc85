//! Which readings of the wall clock a tape keeps.
//!
//! All that is measured comes from the monotonic clock; the wall clock only says when it was. A tape
//! keeps a reading of both now and then, and one more as soon as the wall clock is found to have
//! been set: what came before keeps the time that it had then.

use std::time::Duration;

use crate::capture::manifest::ClockAnchor;

/// Distance of the looks at the wall clock: for so long it may have been set without being noticed.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Distance of the readings that are kept of a clock that runs evenly.
const KEPT_INTERVAL_NS: i64 = 10_000_000_000;

/// A clock that moves by this much from one look to the next has been set; one that is being slewed
/// moves by a twentieth of it.
const STEP_NS: u64 = 1_000_000;

/// Looks at the wall clock.
#[derive(Debug, Default)]
pub(super) struct ClockSync {
    last_look: Option<ClockAnchor>,
    last_kept: Option<ClockAnchor>,
}

impl ClockSync {
    /// Takes note of a reading. Returns whether it is to be kept.
    pub(super) fn look(&mut self, reading: ClockAnchor) -> bool {
        let is_due = self.last_kept.is_none_or(|kept| {
            reading.monotonic_ns.saturating_sub(kept.monotonic_ns) >= KEPT_INTERVAL_NS
        });
        let was_set = self.last_look.is_some_and(|last| {
            let passed_ns = reading.monotonic_ns.saturating_sub(last.monotonic_ns);
            let shown_ns = reading.utc_ns.saturating_sub(last.utc_ns);
            shown_ns.abs_diff(passed_ns) >= STEP_NS
        });
        self.last_look = Some(reading);
        if is_due || was_set {
            self.last_kept = Some(reading);
        }
        is_due || was_set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;
    const HOUR_NS: i64 = 3_600 * S;

    /// The readings that are kept of a wall clock, which shows `utc_ns` of the monotonic time.
    fn kept(length_ns: i64, utc_ns: impl Fn(i64) -> i64) -> Vec<ClockAnchor> {
        let mut watch = ClockSync::default();
        (0..=length_ns)
            .step_by(100_000_000)
            .map(|monotonic_ns| ClockAnchor {
                monotonic_ns,
                utc_ns: utc_ns(monotonic_ns),
            })
            .filter(|reading| watch.look(*reading))
            .collect()
    }

    #[test]
    fn a_clock_that_runs_evenly_is_kept_each_ten_seconds() {
        // The fastest that a system slews a clock, 500 in a million.
        let slewed = kept(60 * S, |at_ns| at_ns + at_ns / 2_000);
        let times: Vec<i64> = slewed
            .iter()
            .map(|anchor| anchor.monotonic_ns / S)
            .collect();
        assert_eq!(times, [0, 10, 20, 30, 40, 50, 60]);
    }

    #[test]
    fn a_clock_that_is_set_is_kept_at_once() {
        let set_at_ns = 7_350_000_000;
        for step_ns in [HOUR_NS, -HOUR_NS, 2_000_000, -2_000_000] {
            let utc_ns = |at_ns| at_ns + if at_ns < set_at_ns { 0 } else { step_ns };
            let times: Vec<i64> = kept(20 * S, utc_ns)
                .iter()
                .map(|anchor| anchor.monotonic_ns / 100_000_000)
                .collect();
            assert_eq!(times, [0, 74, 174], "set by {step_ns} ns");
        }
    }
}
