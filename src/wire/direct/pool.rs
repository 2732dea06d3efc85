//! Connections that wait for their next request.
//!
//! A server may end a connection that waits at any moment, and only the next request finds out. From
//! then on no connection waits like the one that ended: none is kept after an answer, or none is
//! opened ahead of its request.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::socket::Stream;
use crate::time::clock::Clock;

/// Below the five seconds after which common servers close an idle connection, so that a request is
/// not sent into one that is just being closed.
const IDLE_NS: i64 = 4_000_000_000;

/// Where a connection that waited had come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It has brought an answer.
    Kept,
    /// It was opened before there was a request for it.
    Ahead,
}

/// Idle connections to one target; the last one used is the first one used again.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    idle: Mutex<VecDeque<Idle>>,
    /// Connections that will be idle in a moment.
    opening: AtomicUsize,
    /// Whether connections may wait, by where they come from. Whoever finds that one has ended
    /// lowers it, for good.
    keeps: AtomicBool,
    opens_ahead: AtomicBool,
}

/// A connection that waits; the oldest are first.
#[derive(Debug)]
struct Idle {
    since_ns: i64,
    origin: Origin,
    stream: Stream,
}

impl Pool {
    pub(super) fn new(clock: Clock, keeps: bool) -> Self {
        Self {
            clock,
            shared: Arc::new(Shared {
                idle: Mutex::default(),
                opening: AtomicUsize::new(0),
                keeps: AtomicBool::new(keeps),
                opens_ahead: AtomicBool::new(true),
            }),
        }
    }

    fn flag(&self, origin: Origin) -> &AtomicBool {
        match origin {
            Origin::Kept => &self.shared.keeps,
            Origin::Ahead => &self.shared.opens_ahead,
        }
    }

    fn allows(&self, origin: Origin) -> bool {
        self.flag(origin).load(Ordering::Acquire)
    }

    /// Says whether a connection is kept after its answer.
    pub(super) fn keeps(&self) -> bool {
        self.allows(Origin::Kept)
    }

    /// Lets no connection of this origin wait any more.
    pub(super) fn distrust(&self, origin: Origin) {
        self.flag(origin).store(false, Ordering::Release);
        self.lock().retain(|idle| idle.origin != origin);
    }

    /// Returns how many more connections it takes until that many are idle, and counts them as
    /// being opened for as long as the value lives.
    pub(super) fn open_up_to(&self, wanted: usize) -> Opening {
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        let opening = &self.shared.opening;
        let there = idle.len() + opening.load(Ordering::Relaxed);
        let missing = if self.allows(Origin::Ahead) {
            wanted.saturating_sub(there)
        } else {
            0
        };
        opening.fetch_add(missing, Ordering::Relaxed);
        Opening {
            shared: Arc::clone(&self.shared),
            missing,
        }
    }

    /// How many connections wait.
    pub(super) fn idle(&self) -> usize {
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        idle.len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Idle>> {
        let idle = self.shared.idle.lock();
        idle.unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_old(&self, idle: &mut VecDeque<Idle>) {
        let oldest_ns = self.clock.now_ns() - IDLE_NS;
        while idle.front().is_some_and(|idle| idle.since_ns < oldest_ns) {
            idle.pop_front();
        }
    }

    /// Takes a connection that is still open, as far as this end knows.
    pub(super) fn take(&self) -> Option<(Stream, Origin)> {
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        while let Some(Idle {
            origin, mut stream, ..
        }) = idle.pop_back()
        {
            if stream.is_quiet() {
                return Some((stream, origin));
            }
        }
        None
    }

    /// Takes in a connection: one whose last answer has been read to its end, or one that has had
    /// none.
    pub(super) fn put(&self, stream: Stream, origin: Origin) {
        let since_ns = self.clock.now_ns();
        let mut idle = self.lock();
        self.drop_old(&mut idle);
        // Under the lock, so that none stays behind when its origin is distrusted.
        if self.allows(origin) {
            idle.push_back(Idle {
                since_ns,
                origin,
                stream,
            });
        }
    }
}

/// Connections that are being opened for the pool.
#[derive(Debug)]
pub(super) struct Opening {
    shared: Arc<Shared>,
    pub(super) missing: usize,
}

impl Drop for Opening {
    fn drop(&mut self) {
        let opening = &self.shared.opening;
        opening.fetch_sub(self.missing, Ordering::Relaxed);
    }
}
