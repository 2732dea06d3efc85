//! The driver of load: due time → request → stamped reads.

pub mod clock;
pub mod timer;
