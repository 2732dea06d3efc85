//! How far a stop of the run has gone.

/// How far a stop has gone. Only ever rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// Go on.
    No,
    /// Send nothing more, and wait for what is in flight.
    Drain,
    /// Give up what is in flight.
    Leave,
}
