//! How threads that could wait give way to those that must not, where they share a core.
//!
//! A low precedence is not enough: a thread that has waited for its turn may work for some
//! milliseconds before whoever wakes meanwhile is let in. What works beside the measurement
//! therefore stops for a moment after each tenth of a millisecond or so.
//!
//! It sleeps, for the shortest time that there is (some 50 microseconds), and does not yield: on
//! newer systems (Linux 6.18) whoever yields forfeits the rest of its slice, and one that yields a
//! thousand times a second is not run for seconds beside a neighbour that is always busy.

use std::thread;
use std::time::Duration;

/// Work after which others are let in. About as many microseconds.
const WORK_A_BREATH: u32 = 100;

/// Steps of haste at most: a tenth of a second at a stretch.
const MOST_HASTE: u32 = 10;

/// Counts the work of one thread and stops in between.
#[derive(Debug, Default)]
pub(crate) struct Breath {
    work: u32,
}

impl Breath {
    /// Notes work that took about that many microseconds.
    pub(crate) fn after(&mut self, about_us: u32) {
        self.after_in_haste(about_us, 0);
    }

    /// The same for a thread that is late: it works twice as long at a stretch for each step of
    /// `haste`.
    ///
    /// What gives way sleeps longer than others may need, and so does less than the core allows; of
    /// a core that is full it needs all.
    pub(crate) fn after_in_haste(&mut self, about_us: u32, haste: u32) {
        self.work = self.work.saturating_add(about_us);
        if self.work >= WORK_A_BREATH << haste.min(MOST_HASTE) {
            self.work = 0;
            thread::sleep(Duration::from_nanos(1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_up_to_a_breath_whatever_its_pieces() {
        let mut breath = Breath::default();
        for _ in 0..WORK_A_BREATH - 1 {
            breath.after(1);
        }
        assert_eq!(breath.work, WORK_A_BREATH - 1);
        breath.after(u32::MAX);
        assert_eq!(breath.work, 0);
    }

    #[test]
    fn haste_makes_stretches_longer_and_never_endless() {
        let mut breath = Breath::default();
        breath.after_in_haste(4 * WORK_A_BREATH - 1, 2);
        assert_ne!(breath.work, 0);
        breath.after_in_haste(1, 2);
        assert_eq!(breath.work, 0);
        breath.after_in_haste(WORK_A_BREATH << MOST_HASTE, u32::MAX);
        assert_eq!(breath.work, 0);
    }
}
