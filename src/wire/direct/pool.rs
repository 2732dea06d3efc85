//! Connections that wait for their next request.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use super::socket::Stream;
use crate::load::clock::Clock;

/// Below the five seconds after which common servers close an idle connection, so that a request is
/// not sent into one that is just being closed.
const IDLE_NS: i64 = 4_000_000_000;

/// Idle connections to one target; the last one used is the first one used again.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    clock: Clock,
    /// Each with the time since which it has been idle, the oldest first.
    idle: Arc<Mutex<VecDeque<(i64, Stream)>>>,
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            idle: Arc::default(),
        }
    }

    /// Takes a connection that is still open.
    pub(super) fn take(&self) -> Option<Stream> {
        let oldest_ns = self.clock.now_ns() - IDLE_NS;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((since_ns, stream)) = idle.pop_back() {
            if since_ns < oldest_ns {
                // All others are older.
                idle.clear();
                return None;
            }
            if stream.is_quiet() {
                return Some(stream);
            }
        }
        None
    }

    /// Takes back a connection whose last answer has been read to its end.
    pub(super) fn put(&self, stream: Stream) {
        let now_ns = self.clock.now_ns();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while idle
            .front()
            .is_some_and(|(since_ns, _)| *since_ns < now_ns - IDLE_NS)
        {
            idle.pop_front();
        }
        idle.push_back((now_ns, stream));
    }
}
