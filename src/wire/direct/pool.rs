//! Connections that wait for their next request.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// Connections that will be idle in a moment.
    opening: Arc<AtomicUsize>,
}

impl Pool {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            idle: Arc::default(),
            opening: Arc::default(),
        }
    }

    /// Returns how many more connections it takes until that many are idle, and counts them as
    /// being opened for as long as the value lives.
    pub(super) fn open_up_to(&self, wanted: usize) -> Opening {
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        let there = idle.len() + self.opening.load(Ordering::Relaxed);
        let missing = wanted.saturating_sub(there);
        self.opening.fetch_add(missing, Ordering::Relaxed);
        Opening {
            opening: Arc::clone(&self.opening),
            missing,
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(i64, Stream)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_old(&self, idle: &mut VecDeque<(i64, Stream)>) {
        let oldest_ns = self.clock.now_ns() - IDLE_NS;
        while idle
            .front()
            .is_some_and(|(since_ns, _)| *since_ns < oldest_ns)
        {
            idle.pop_front();
        }
    }

    /// Takes a connection that is still open.
    pub(super) fn take(&self) -> Option<Stream> {
        let oldest_ns = self.clock.now_ns() - IDLE_NS;
        let mut idle = self.lock();
        while let Some((since_ns, mut stream)) = idle.pop_back() {
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
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        idle.push_back((now_ns, stream));
    }
}

/// Connections that are being opened for the pool.
#[derive(Debug)]
pub(super) struct Opening {
    opening: Arc<AtomicUsize>,
    pub(super) missing: usize,
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.opening.fetch_sub(self.missing, Ordering::Relaxed);
    }
}
