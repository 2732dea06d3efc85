//! How threads that could wait give way to those that must not, where they share a core.
//!
//! A low precedence is not enough: a thread that has waited for its turn may work for some
//! milliseconds before whoever wakes meanwhile is let in. What works beside the measurement
//! therefore stops for a moment after each tenth of a millisecond or so.
//!
//! It sleeps, for the shortest time that there is (some 50 microseconds), and does not yield: on
//! newer systems (Linux 6.18) whoever yields forfeits the rest of its slice, and one that yields a
//! thousand times a second is not run for seconds beside a neighbour that is always busy.
//!
//! A sleep costs as much as ten small pieces of work, and asking how long the thread has really
//! worked a tenth of that. So it asks when the pieces, counted at what they take on a slow machine,
//! come to a stretch, and sleeps when the answer does too.

use std::cell::Cell;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Work after which others are let in, in microseconds of the thread's CPU time.
const STRETCH_US: u32 = 100;

/// Steps of urgency at most: a tenth of a second at a stretch.
const MAX_URGENCY: u32 = 10;

thread_local! {
    /// CPU time of this thread when it last stopped for anyone, in nanoseconds.
    static RESTED_NS: Cell<i64> = const { Cell::new(0) };
}

/// Counts the work of one thread and stops in between. A thread may have several.
#[derive(Debug, Default)]
pub(crate) struct CpuThrottle {
    /// Work since the last stop, as far as it has been looked at, and what is thought to have been
    /// done since.
    about_us: u32,
}

impl CpuThrottle {
    /// Notes work that took about that many microseconds, or less on a fast machine.
    pub(crate) fn after(&mut self, about_us: u32) {
        self.after_with_urgency(about_us, 0);
    }

    /// The same for a thread that is late: it works twice as long at a stretch for each step of
    /// `urgency`.
    ///
    /// What gives way sleeps longer than others may need, and so does less than the core allows; of
    /// a core that is full it needs all.
    pub(crate) fn after_with_urgency(&mut self, about_us: u32, urgency: u32) {
        if self.is_due(about_us, urgency, worked_us) {
            thread::sleep(Duration::from_nanos(1));
            RESTED_NS.set(thread_cpu_ns());
        }
    }

    /// Says whether a stretch of work is over; `worked_us` tells how long it really was so far.
    fn is_due(&mut self, about_us: u32, urgency: u32, worked_us: impl FnOnce() -> u32) -> bool {
        let stretch_us = STRETCH_US << urgency.min(MAX_URGENCY);
        self.about_us = self.about_us.saturating_add(about_us);
        if self.about_us < stretch_us {
            return false;
        }
        let worked_us = worked_us();
        // Not to ask again for the last bit of it.
        let is_due = worked_us >= stretch_us - stretch_us / 4;
        self.about_us = if is_due { 0 } else { worked_us };
        is_due
    }
}

/// How long this thread has worked since it last stopped, in microseconds.
fn worked_us() -> u32 {
    let worked_ns = thread_cpu_ns() - RESTED_NS.get();
    u32::try_from(worked_ns.max(0) / 1_000).unwrap_or(u32::MAX)
}

/// Returns the CPU time of the calling thread, in nanoseconds.
pub(crate) fn thread_cpu_ns() -> i64 {
    let cpu = clock_gettime(ClockId::ThreadCPUTime);
    cpu.tv_sec * 1_000_000_000 + cpu.tv_nsec
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts how often it is asked, and how often it stops, over pieces that are counted at
    /// `about_us` and take `really_us`.
    fn stops(pieces: u32, (about_us, really_us): (u32, u32), urgency: u32) -> (u32, u32) {
        let mut throttle = CpuThrottle::default();
        let (mut worked_us, mut asked, mut stopped) = (0, 0, 0);
        for _ in 0..pieces {
            worked_us += really_us;
            let is_due = throttle.is_due(about_us, urgency, || {
                asked += 1;
                worked_us
            });
            if is_due {
                stopped += 1;
                worked_us = 0;
            }
        }
        (asked, stopped)
    }

    #[test]
    fn work_is_counted_up_to_a_stretch_whatever_its_pieces() {
        assert_eq!(stops(99, (1, 1), 0), (0, 0));
        assert_eq!(stops(1_000, (1, 1), 0), (10, 10));
        assert_eq!(stops(10, (100, 250), 0), (10, 10));
    }

    #[test]
    fn a_fast_machine_stops_for_what_it_has_done_not_for_what_it_was_thought_to_do() {
        let (asked, stopped) = stops(10_000, (2, 1), 0);
        // 10,000 us in stretches of 75 to 100.
        assert!((100..=134).contains(&stopped), "{stopped}");
        assert!(asked <= 3 * stopped, "{asked} for {stopped}");
    }

    #[test]
    fn haste_makes_stretches_longer_and_never_endless() {
        assert_eq!(stops(399, (1, 1), 2), (0, 0));
        assert_eq!(stops(400, (1, 1), 2), (1, 1));
        let longest_us = STRETCH_US << MAX_URGENCY;
        assert_eq!(stops(longest_us, (1, 1), u32::MAX), (1, 1));
    }

    #[test]
    fn a_stop_is_noted_for_all_that_count_on_the_thread() {
        let worked = thread::spawn(|| {
            while worked_us() < 50 * STRETCH_US {}
            CpuThrottle::default().after(STRETCH_US);
            // Another one finds little left to stop for.
            worked_us()
        });
        let worked_us = worked.join().unwrap();
        assert!(worked_us < 50 * STRETCH_US, "{worked_us}");
    }
}
