//! How far the log is behind what has been read.
//!
//! What has been read and is not in the log is what a kill costs. Where decoding can't keep up, which
//! takes a core that is full, reading therefore waits before it is more than the tape promises: bytes
//! that nobody has read stay in the sockets, and the server waits. Where it is the disk that holds the
//! log up, waiting would help nobody, and would make stamps late: reading goes on as far as memory for
//! it reaches.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::time::clock::Clock;

/// Age of the oldest read that is not in the log, or time until the newest will be there, from which
/// on reading waits, in nanoseconds.
const BEHIND_NS: i64 = 100_000_000;

/// The same, below which it goes on.
const CAUGHT_UP_NS: i64 = 50_000_000;

/// A write that has taken this long is held up by the disk, in nanoseconds.
const SLOW_WRITE_NS: i64 = 30_000_000;

/// Bytes in which the speed of the decoder thread is counted.
const KIB: usize = 1_024;

/// What a batch should take the decoder thread at most, in nanoseconds: what is in it reaches the log at once.
const BATCH_NS: i64 = 25_000_000;

/// Bounds on the size of a batch, in KiB of bodies.
const BATCH_KIB: std::ops::RangeInclusive<i64> = 32..=256;

/// Size of a batch while nothing is known of the decoder thread's speed, in bytes of bodies.
const FIRST_BATCH_BYTES: usize = 256 * KIB;

/// Bytes of a batch below which its time is mostly what any batch takes, and says nothing of speed.
const TELLING_KIB: i64 = 16;

/// How much slower a batch may be than those before it and still say something of the next ones.
const SLOWER_AT_MOST: i64 = 4;

/// Batches on their way to the log.
#[derive(Debug)]
pub(super) struct Backlog {
    clock: Clock,
    state: Mutex<State>,
    moved: Condvar,
    caught_up: Notify,
    batch_bytes: AtomicUsize,
    /// When the newest read came that is among these batches or was.
    newest_ns: AtomicI64,
    /// Waits for room.
    stalls: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<Waiting>,
    bytes: usize,
    /// What a KiB takes from the batch to the log, over the last batches.
    ns_a_kib: i64,
    /// When the decoder thread began to hand rows to the system, where it does.
    writing_ns: Option<i64>,
    /// Reads have times of a virtual clock, which runs ahead of the decoder.
    #[cfg(test)]
    is_virtual: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    /// When its first read came; none of a batch without one.
    first_ns: Option<i64>,
    bytes: usize,
}

impl State {
    fn age_ns(&self, now_ns: i64) -> i64 {
        let oldest_ns = self.batches.iter().find_map(|batch| batch.first_ns);
        oldest_ns.map_or(0, |oldest_ns| now_ns.saturating_sub(oldest_ns))
    }

    /// The age of the oldest read that is not in the log, or the time until the newest will be there,
    /// whichever is longer.
    fn behind_ns(&self, newest_ns: i64) -> i64 {
        #[cfg(test)]
        if self.is_virtual {
            return 0;
        }
        let kib = i64::try_from(self.bytes / KIB).unwrap_or(i64::MAX);
        let ahead_ns = kib.saturating_mul(self.ns_a_kib);
        ahead_ns.max(self.age_ns(newest_ns))
    }

    fn is_held_up(&self, now_ns: i64) -> bool {
        self.writing_ns
            .is_some_and(|since_ns| now_ns - since_ns > SLOW_WRITE_NS)
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self {
            clock: Clock::start(),
            state: Mutex::default(),
            moved: Condvar::new(),
            caught_up: Notify::new(),
            batch_bytes: AtomicUsize::new(FIRST_BATCH_BYTES),
            newest_ns: AtomicI64::new(0),
            stalls: AtomicU64::new(0),
        }
    }
}

impl Backlog {
    /// Notes a batch of `bytes` that goes to the decoder thread, with the times of its first read and its last.
    pub(super) fn add(&self, reads_ns: Option<(i64, i64)>, bytes: usize) {
        let mut state = self.lock();
        state.bytes += bytes;
        state.batches.push_back(Waiting {
            first_ns: reads_ns.map(|(first_ns, _)| first_ns),
            bytes,
        });
        if let Some((_, last_ns)) = reads_ns {
            self.newest_ns.store(last_ns, Ordering::Relaxed);
        }
    }

    /// Notes that the oldest batch is in the log, which took the decoder thread so long.
    pub(super) fn remove(&self, took: Duration) {
        let mut state = self.lock();
        if let Some(batch) = state.batches.pop_front() {
            state.bytes -= batch.bytes;
            let took_ns = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX);
            let kib = i64::try_from(batch.bytes / KIB).unwrap_or(i64::MAX);
            if kib >= TELLING_KIB {
                let ns_a_kib = took_ns / kib;
                state.ns_a_kib = match state.ns_a_kib {
                    0 => ns_a_kib.max(1),
                    known => (3 * known + ns_a_kib.min(SLOWER_AT_MOST * known)) / 4,
                };
                let kib =
                    (BATCH_NS / state.ns_a_kib.max(1)).clamp(*BATCH_KIB.start(), *BATCH_KIB.end());
                let bytes = usize::try_from(kib).unwrap_or(0) * KIB;
                self.batch_bytes.store(bytes, Ordering::Relaxed);
            }
        }
        if state.behind_ns(self.newest_ns()) < CAUGHT_UP_NS {
            drop(state);
            self.moved.notify_all();
            self.caught_up.notify_waiters();
        }
    }

    /// Nothing waits for the decoder thread: reads have times of a virtual clock.
    #[cfg(test)]
    pub(super) fn set_virtual(&self) {
        self.lock().is_virtual = true;
    }

    /// Bytes of bodies after which a batch goes to the decoder thread without waiting for the clock: the
    /// slower the decoder thread (tiny events, a busy core), the fewer.
    pub(super) fn batch_bytes(&self) -> usize {
        self.batch_bytes.load(Ordering::Relaxed)
    }

    /// When the newest read came that was handed to the decoder thread, on the run's clock.
    pub(super) fn newest_ns(&self) -> i64 {
        self.newest_ns.load(Ordering::Relaxed)
    }

    /// Notes a wait for room.
    pub(super) fn note_stall(&self) {
        self.stalls.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for room so far.
    pub(super) fn stalls(&self) -> u64 {
        self.stalls.load(Ordering::Relaxed)
    }

    /// Notes that the decoder thread begins, or has ended, to hand rows to the system.
    pub(super) fn set_writing(&self, is_writing: bool) {
        self.lock().writing_ns = is_writing.then(|| self.clock.now_ns());
    }

    /// How much earlier than `now_ns` the oldest read came that is not in the log; 0 where all are.
    pub(super) fn age_ns(&self, now_ns: i64) -> i64 {
        self.lock().age_ns(now_ns)
    }

    /// Says whether reading has to wait for the decoder.
    pub(super) fn is_behind(&self) -> bool {
        let state = self.lock();
        state.behind_ns(self.newest_ns()) > BEHIND_NS && !state.is_held_up(self.clock.now_ns())
    }

    /// Blocks until the decoder thread has caught up. Returns false where it has not within `patience`.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let behind = |state: &mut State| state.behind_ns(self.newest_ns()) >= CAUGHT_UP_NS;
        let waited = self.moved.wait_timeout_while(self.lock(), patience, behind);
        let (state, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !timed_out.timed_out()
    }

    /// Blocks until everything that was handed over is in the log, or `patience` is over.
    pub(super) fn settle(&self, patience: Duration) {
        let is_waiting = |state: &mut State| !state.batches.is_empty();
        let _ = self
            .moved
            .wait_timeout_while(self.lock(), patience, is_waiting);
    }

    /// Waits until the decoder thread has caught up.
    pub(super) async fn caught_up(&self) {
        // It hears of what comes from here on, so nothing falls between the look and the wait.
        let caught_up = self.caught_up.notified();
        if self.lock().behind_ns(self.newest_ns()) >= CAUGHT_UP_NS {
            caught_up.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MS: i64 = 1_000_000;

    fn add(backlog: &Backlog, first_ms: i64, last_ms: i64) {
        backlog.add(Some((first_ms * MS, last_ms * MS)), 0);
    }

    #[test]
    fn the_age_is_that_of_the_oldest_read_which_is_not_in_the_log() {
        let backlog = Backlog::default();
        assert_eq!(backlog.age_ns(500 * MS), 0);
        backlog.add(None, 0);
        add(&backlog, 100, 140);
        add(&backlog, 140, 180);
        assert_eq!(backlog.age_ns(200 * MS), 100 * MS);
        backlog.remove(Duration::ZERO);
        assert_eq!(backlog.age_ns(200 * MS), 100 * MS);
        backlog.remove(Duration::ZERO);
        assert_eq!(backlog.age_ns(200 * MS), 60 * MS);
        backlog.remove(Duration::ZERO);
        assert_eq!(backlog.age_ns(200 * MS), 0);
    }

    #[test]
    fn reading_waits_for_a_decoder_that_is_behind_but_not_for_a_disk() {
        let backlog = Backlog::default();
        add(&backlog, 0, 100);
        assert!(!backlog.is_behind());
        add(&backlog, 100, 101);
        assert!(backlog.is_behind());
        backlog.set_writing(true);
        assert!(
            backlog.is_behind(),
            "a write that has just begun holds nothing up"
        );
        backlog.lock().writing_ns = Some(backlog.clock.now_ns() - 2 * SLOW_WRITE_NS);
        assert!(!backlog.is_behind());
    }

    #[test]
    fn it_waits_as_well_where_what_is_there_will_take_too_long() {
        let backlog = Backlog::default();
        let batch = || backlog.add(Some((0, 0)), 256 * KIB);
        batch();
        // 256 KiB in 40 ms.
        backlog.remove(Duration::from_millis(40));
        batch();
        batch();
        assert!(!backlog.is_behind(), "80 ms");
        batch();
        assert!(backlog.is_behind(), "120 ms");
    }

    #[test]
    fn a_batch_is_as_large_as_the_decoder_is_fast() {
        let backlog = Backlog::default();
        assert_eq!(backlog.batch_bytes(), FIRST_BATCH_BYTES);
        let after = |kib: usize, took_ms| {
            for _ in 0..60 {
                backlog.add(None, kib * KIB);
                backlog.remove(Duration::from_millis(took_ms));
            }
            backlog.batch_bytes() / KIB
        };
        assert_eq!(after(32, 1), 256, "an ordinary one");
        assert_eq!(after(256, 150), 42, "events of a few bytes");
        assert_eq!(after(42, 2_000), 32, "a core that others keep");
        assert_eq!(after(4, 1), 32, "small batches say nothing");
        assert_eq!(after(16, 0), 256);
    }

    #[test]
    fn one_slow_batch_does_not_stand_for_all() {
        let backlog = Backlog::default();
        for took_ms in [10, 10_000] {
            backlog.add(None, 256 * KIB);
            backlog.remove(Duration::from_millis(took_ms));
        }
        backlog.add(None, 256 * KIB);
        // Three quarters of 10 ms and a quarter of 40 ms.
        let behind_ns = backlog.lock().behind_ns(backlog.newest_ns());
        assert!((17 * MS..18 * MS).contains(&behind_ns), "{behind_ns}");
    }

    #[test]
    fn reading_goes_on_when_the_scribe_has_caught_up() {
        let backlog = Backlog::default();
        add(&backlog, 0, 50);
        add(&backlog, 50, 160);
        add(&backlog, 160, 200);
        let mut waiting = pin!(backlog.caught_up());
        let mut look = || {
            let mut context = Context::from_waker(Waker::noop());
            waiting.as_mut().poll(&mut context)
        };
        assert_eq!(look(), Poll::Pending);
        backlog.remove(Duration::ZERO);
        assert_eq!(look(), Poll::Pending, "150 ms are left");
        assert!(!backlog.wait(Duration::ZERO));
        backlog.remove(Duration::ZERO);
        assert_eq!(look(), Poll::Ready(()));
        assert!(backlog.wait(Duration::ZERO));
    }
}
