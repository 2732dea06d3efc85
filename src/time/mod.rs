//! Time: the only reader of the clocks, and the only precise waiter.

pub mod clock;
pub mod timer;
