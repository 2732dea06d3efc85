//! When requests are due: pure, seeded, in nanoseconds since the start.
//!
//! A trace brings its own times; everything here makes times where there is no trace. Gap number k
//! is a function of (seed, k) alone, so a schedule is the same on any machine and any thread.
//!
//! Adding a schedule is a file with a [`ScheduleKind`] and a line in [`SCHEDULES`]. Its flags, what
//! the plan keeps of them and what they mean stand in that file.

mod all_at_once;
mod closed_loop;
mod process;
mod steps;

pub use process::{ArrivalTimes, Process, Ramp, RampAxis, RampShape, ScheduleError};

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

/// All schedules that there are. The first that takes a plan's arrivals makes them.
pub const SCHEDULES: &[ScheduleKind] = &[
    steps::STEPS,
    closed_loop::CLOSED_LOOP,
    all_at_once::ALL_AT_ONCE,
    process::DRAWN,
];

/// Makes the schedule of a plan's arrivals.
///
/// # Errors
///
/// [`ScheduleError`] for arrivals that make no sense.
pub fn schedule(arrivals: &Arrivals, bounds: Bounds) -> Result<Box<dyn Schedule>, ScheduleError> {
    let flags = || SCHEDULES.iter().flat_map(|kind| kind.flags);
    let mut given = arrivals.options.keys();
    if let Some(stray) = given.find(|name| flags().all(|flag| flag.key() != **name)) {
        return Err(ScheduleError::Unknown(stray.clone()));
    }
    SCHEDULES
        .iter()
        .find_map(|kind| (kind.open)(arrivals, bounds))
        .unwrap_or(Err(ScheduleError::NoRate))
}
