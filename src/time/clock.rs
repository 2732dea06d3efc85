//! The only reader of time.
//!
//! Everything that is measured is a signed number of nanoseconds since one instant, the clock's
//! epoch, on the system's monotonic clock. In tests that pause tokio's time the clock follows it,
//! so that a driver can be proven in virtual time.

use std::time::Duration;

use tokio::time::Instant;

/// A monotonic clock with an epoch of its own; copies share the epoch.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    epoch: Instant,
}

impl Clock {
    /// Starts a clock whose epoch is now.
    #[expect(clippy::disallowed_methods, reason = "the only reader of time")]
    pub fn start() -> Self {
        Self {
            epoch: Instant::now(),
        }
    }

    /// Returns the nanoseconds since the epoch.
    #[expect(clippy::disallowed_methods, reason = "the only reader of time")]
    pub fn now_ns(&self) -> i64 {
        saturating_ns(Instant::now().saturating_duration_since(self.epoch))
    }

    /// Returns the tokio instant of a point on this clock's axis, for timers.
    pub fn instant(&self, at_ns: i64) -> Instant {
        let offset = Duration::from_nanos(at_ns.unsigned_abs());
        if at_ns >= 0 {
            self.epoch.checked_add(offset)
        } else {
            self.epoch.checked_sub(offset)
        }
        .unwrap_or(self.epoch)
    }
}

/// Returns the wall clock's time, in nanoseconds since 1970 in UTC.
#[expect(clippy::disallowed_methods, reason = "the only reader of time")]
pub fn utc_now_ns() -> i64 {
    let since_1970 = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    saturating_ns(since_1970)
}

fn saturating_ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
