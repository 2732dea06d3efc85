//! All requests due at the start.

use super::error::ScheduleError;
use super::kind::{Bounds, Due, Schedule, ScheduleKind};
use crate::plan::Process;

/// A burst.
pub(super) const ALL_AT_ONCE: ScheduleKind = ScheduleKind {
    flags: &[],
    open: |arrivals, Bounds { count, .. }| {
        let is_burst = arrivals.process == Process::Burst;
        is_burst.then(|| match count {
            Some(count) => Ok(Box::new(AllAtOnce { count, taken: 0 }) as _),
            None => Err(ScheduleError::EndlessBurst),
        })
    },
};

struct AllAtOnce {
    count: u64,
    taken: u64,
}

impl Schedule for AllAtOnce {
    fn next_due(&mut self) -> Option<Due> {
        if self.taken >= self.count {
            return None;
        }
        self.taken += 1;
        Some(Due::At(0))
    }

    fn known_count(&self) -> Option<u64> {
        Some(self.count)
    }

    fn peak_per_s(&self) -> f64 {
        f64::INFINITY
    }

    fn count_before(&mut self, at_ns: i64) -> u64 {
        if at_ns <= 0 {
            return 0;
        }
        let left = self.count - self.taken;
        self.taken = self.count;
        left
    }
}
