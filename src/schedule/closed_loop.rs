//! A closed loop: a request is due when a slot is free.

use super::kind::{Bounds, Due, Schedule, ScheduleKind};
use crate::plan::Process;

/// Slots that are filled again.
pub(super) const CLOSED_LOOP: ScheduleKind = ScheduleKind {
    flags: &[],
    open: |arrivals, Bounds { count, .. }| {
        let is_closed = arrivals.process == Process::Closed;
        is_closed.then(|| Ok(Box::new(ClosedLoop { count, taken: 0 }) as _))
    },
};

struct ClosedLoop {
    count: Option<u64>,
    taken: u64,
}

impl Schedule for ClosedLoop {
    fn next_due(&mut self) -> Option<Due> {
        if self.count.is_some_and(|count| self.taken >= count) {
            return None;
        }
        self.taken += 1;
        Some(Due::WhenFree)
    }

    fn known_count(&self) -> Option<u64> {
        self.count
    }

    fn peak_per_s(&self) -> f64 {
        f64::INFINITY
    }
}
