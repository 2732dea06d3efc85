//! Who listens to the events of a run: its counters, and whoever asked to.

use std::sync::Arc;

use super::counters::RunCounters;
use super::events::{RunEvent, RunListener};

/// The listeners of a run, the counters first.
#[derive(Clone, Default)]
pub struct RunEvents {
    counters: Arc<RunCounters>,
    listeners: Vec<Arc<dyn RunListener>>,
}

impl RunEvents {
    /// Sends events to `listeners`, and to the counters.
    pub fn to(listeners: Vec<Arc<dyn RunListener>>) -> Self {
        Self {
            counters: Arc::default(),
            listeners,
        }
    }

    /// The counters of the run.
    pub(super) fn counters(&self) -> &Arc<RunCounters> {
        &self.counters
    }

    /// Gives an event to all of them.
    pub(super) fn emit(&self, event: &RunEvent<'_>) {
        self.counters.on_event(event);
        for listener in &self.listeners {
            listener.on_event(event);
        }
    }
}

impl std::fmt::Debug for RunEvents {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "RunEvents({} listeners)", self.listeners.len())
    }
}
