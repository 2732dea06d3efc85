//! Numbers of a trace, as people read them.

use crate::report::format::{decimal, trimmed};

/// Takes a whole number as a float.
#[expect(
    clippy::cast_precision_loss,
    reason = "people read no more than a float has"
)]
pub(super) fn float(value: u64) -> f64 {
    value as f64
}

/// Writes a whole number with commas between thousands.
pub(super) fn count(value: u64) -> String {
    decimal(float(value), 0)
}

/// Writes a length of time that may be a step of a clock, given in nanoseconds.
pub(super) fn fine(ns: f64) -> String {
    for (unit_ns, unit) in [(1e9, "s"), (1e6, "ms"), (1e3, "µs")] {
        if ns >= unit_ns {
            return format!("{} {unit}", trimmed(ns / unit_ns, 3));
        }
    }
    format!("{} ns", trimmed(ns, 0))
}
