//! What a schedule is: when requests are due, within which bounds, and with which flags.

use super::error::ScheduleError;
use crate::flag::Flag;
use crate::plan::Arrivals;

/// When a request is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// At a time, in nanoseconds since the start.
    At(i64),
    /// As soon as a slot is free.
    WhenFree,
}

impl Due {
    /// The time, where there is one.
    pub fn at_ns(self) -> Option<i64> {
        match self {
            Self::At(at_ns) => Some(at_ns),
            Self::WhenFree => None,
        }
    }
}

/// When the requests of a run are due.
pub trait Schedule: Send {
    /// Returns when the next request is due, no earlier than the one before; none when there are no
    /// more.
    fn next_due(&mut self) -> Option<Due>;

    /// How many requests there are in all, where that is known before they are over.
    fn known_count(&self) -> Option<u64>;

    /// The highest rate that it comes to, in requests a second; infinite where nothing bounds it.
    fn peak_per_s(&self) -> f64;

    /// Takes the requests that are due before `at_ns`. Returns how many they are.
    fn count_before(&mut self, at_ns: i64) -> u64 {
        let mut count = 0;
        while let Some(Due::At(due_ns)) = self.next_due()
            && due_ns < at_ns
        {
            count += 1;
        }
        count
    }
}

/// What bounds a schedule, beside itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bounds {
    /// Seed of its draws.
    pub seed: u64,
    /// Number of requests at most.
    pub count: Option<u64>,
    /// Its length, in nanoseconds.
    pub duration_ns: Option<i64>,
}

/// Makes the schedule of a plan's arrivals; none where they are of another kind.
pub type OpenSchedule = fn(&Arrivals, Bounds) -> Option<Result<Box<dyn Schedule>, ScheduleError>>;

/// One kind of schedule.
pub struct ScheduleKind {
    /// Flags of its own. Where one is given, the load is of this kind, and ends by itself.
    pub flags: &'static [Flag],
    /// Makes one.
    pub open: OpenSchedule,
}
