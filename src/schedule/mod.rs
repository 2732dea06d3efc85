//! When requests are due: pure, seeded, in nanoseconds since the start.
//!
//! A trace brings its own times; everything here makes times where there is no trace. Gap number k
//! is a function of (seed, k) alone, so a schedule is the same on any machine and any thread.
//!
//! Adding a schedule is a file with a [`ScheduleKind`] and a line in [`SCHEDULES`]. Its flags, what
//! the plan keeps of them and what they mean stand in that file.

mod all_at_once;
mod closed_loop;
mod error;
mod kind;
mod process;
mod steps;

use crate::plan::Arrivals;

pub use error::ScheduleError;
pub use kind::{Bounds, Due, OpenSchedule, Schedule, ScheduleKind};
pub use process::{ArrivalTimes, Process, Ramp, RampAxis, RampShape};

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
