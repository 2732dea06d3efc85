//! When requests are due: pure arrival processes, seeded, in nanoseconds since the start.
//!
//! A trace brings its own times; everything here makes times where there is no trace. Gap number k
//! is a function of (seed, k) alone, so a schedule is the same on any machine and any thread.

mod process;

pub use process::{ArrivalTimes, Process, Ramp, RampAxis, RampShape, ScheduleError};
