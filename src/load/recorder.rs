//! What the driver notes down, in the cheapest way that loses nothing.
//!
//! All streams of a driver append to one batch: a copy of the bytes and a stamp each. A batch goes
//! to the decoder thread whole, every 50 ms or when it is large, over a bounded channel. When the channel
//! is full, or the decoder thread too far behind (`backlog.rs`), reading waits, which is counted: nothing is
//! dropped.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::backlog::Backlog;
use super::counters::RunCounters;
use super::events::RunEvent;
use super::listeners::RunEvents;
use crate::backend::Framing;
use crate::capture::manifest::SelfCheck;
use crate::capture::schema::{ErrorKind, ProbeRow, RequestRow};
use crate::wire::Arrival;

/// Batches that may wait for the decoder. In tests time is virtual, and runs ahead of the decoder.
pub(super) const CHANNEL_BATCHES: usize = if cfg!(test) { 1 << 16 } else { 64 };

/// Entries of a batch after which it is sent without waiting for the clock.
const BATCH_ENTRIES: usize = 4_096;

/// How long the thread that reads for all streams waits for room before a stream is set aside.
const ROOM_PATIENCE: Duration = Duration::from_millis(200);

/// What the decoder thread has found out about a running attempt. The decoder thread writes, the attempt reads.
#[derive(Debug)]
pub(super) struct Progress {
    /// When the read came that brought the first token-bearing event; [`NOT_YET`] before.
    pub(super) first_token_ns: AtomicI64,
    /// When the read came that brought the end mark; [`NOT_YET`] before.
    pub(super) done_ns: AtomicI64,
    /// An event, or the text, was too large: nothing more is taken of the answer.
    pub(super) is_undecodable: AtomicBool,
    /// Reads that have been decoded; written after all that they brought.
    pub(super) decoded: AtomicU64,
}

/// Stands for a read that has not come; later than any that has.
pub(super) const NOT_YET: i64 = i64::MAX;

impl Default for Progress {
    fn default() -> Self {
        Self {
            first_token_ns: AtomicI64::new(NOT_YET),
            done_ns: AtomicI64::new(NOT_YET),
            is_undecodable: AtomicBool::new(false),
            decoded: AtomicU64::new(0),
        }
    }
}

/// One read of one attempt; its bytes follow those of the entry before in the batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReadEntry {
    pub(super) key: u32,
    pub(super) at_ns: i64,
    pub(super) length: usize,
    pub(super) read_seq: Option<u32>,
    pub(super) kernel_lag_us: Option<i32>,
}

/// How an attempt ended, as far as the driver can tell without decoding anything.
#[derive(Debug, Clone)]
pub(super) enum Outcome {
    /// The body came to its end, or the server had said that nothing more would come.
    EndOfStream,
    /// The exchange failed, or a limit on time ran out.
    Failed(ErrorKind, String),
    /// The server answered with something else than an event stream.
    NotAStream(Bytes),
    /// Given up by us.
    Cancelled,
    /// Hung up on, as it was asked for.
    HungUp,
}

/// What the driver knows of an attempt when it has ended.
#[derive(Debug, Clone)]
pub(super) struct End {
    pub(super) connect_ns: Option<i64>,
    pub(super) sent_ns: Option<i64>,
    pub(super) resends: i32,
    pub(super) body_sent_ns: Option<i64>,
    pub(super) headers_ns: Option<i64>,
    pub(super) http_status: Option<u16>,
    pub(super) kept_headers: Vec<(String, String)>,
    pub(super) end_ns: i64,
    pub(super) outcome: Outcome,
    /// The request goes out again.
    pub(super) is_retried: bool,
}

/// An attempt that begins.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) key: u32,
    pub(super) row: RequestRow,
    pub(super) progress: Arc<Progress>,
    /// Number of its row in the trace, where what it says is to be passed on.
    pub(super) reply_to: Option<u64>,
}

/// What happened since the last batch. An attempt's key is used once, so taking all openings
/// first, then all reads, then all ends keeps each attempt's order.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) opened: Vec<Opened>,
    pub(super) reads: Vec<ReadEntry>,
    pub(super) bytes: Vec<u8>,
    pub(super) ended: Vec<(u32, End)>,
    /// Rows that are final as they are: requests that were never sent.
    pub(super) rows: Vec<RequestRow>,
    pub(super) probes: Vec<ProbeRow>,
    /// Where the schedule starts, and what was found before; once that is known.
    pub(super) start: Option<(i64, Option<SelfCheck>)>,
}

impl Batch {
    fn is_empty(&self) -> bool {
        self.opened.is_empty()
            && self.reads.is_empty()
            && self.ended.is_empty()
            && self.rows.is_empty()
            && self.probes.is_empty()
            && self.start.is_none()
    }

    /// An empty batch with as much room as this one needed, so that it need not grow step by step.
    fn successor(&self) -> Self {
        Self {
            reads: Vec::with_capacity(self.reads.len()),
            bytes: Vec::with_capacity(self.bytes.len()),
            ..Self::default()
        }
    }

    fn is_large(&self, batch_bytes: usize) -> bool {
        self.bytes.len() >= batch_bytes
            || self.reads.len() + self.opened.len() + self.rows.len() >= BATCH_ENTRIES
    }
}

/// The driver's notebook. The driver's tasks write, and the wire's reading thread;
/// [`Recorder::flush`] hands over to the decoder thread; dropping the last one closes the channel, upon which
/// the decoder thread finishes.
#[derive(Debug)]
pub struct Recorder {
    batch: Mutex<Batch>,
    sender: mpsc::Sender<Batch>,
    events: RunEvents,
    backlog: Arc<Backlog>,
    /// What the decoder thread makes of bytes.
    framing: Framing,
    /// Reads that brought bytes.
    reads: AtomicU64,
}

impl Recorder {
    pub(super) fn new(
        sender: mpsc::Sender<Batch>,
        events: RunEvents,
        backlog: Arc<Backlog>,
        framing: Framing,
    ) -> Self {
        Self {
            batch: Mutex::new(Batch::default()),
            sender,
            events,
            backlog,
            framing,
            reads: AtomicU64::new(0),
        }
    }

    /// Nothing waits for the decoder thread: reads have times of a virtual clock.
    #[cfg(test)]
    pub(super) fn set_virtual(&self) {
        self.backlog.set_virtual();
    }

    /// What the run has come to so far.
    pub fn counters(&self) -> &Arc<RunCounters> {
        self.events.counters()
    }

    /// Says whether an answer of this media type can be decoded.
    pub(super) fn takes(&self, media_type: &str) -> bool {
        self.framing.takes(media_type)
    }

    /// Reads so far that brought bytes.
    pub(super) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Waits so far for room on the way to the decoder thread: each a read or a batch that was held up.
    pub(super) fn stalls(&self) -> u64 {
        self.backlog.stalls()
    }

    /// Emits an event that needs no decoding.
    pub(super) fn emit(&self, event: &RunEvent<'_>) {
        self.events.emit(event);
    }

    /// Batches that wait for the decoder.
    pub(super) fn channel_fill(&self) -> usize {
        self.sender
            .max_capacity()
            .saturating_sub(self.sender.capacity())
    }

    /// Waits until the decoder thread has died, which it does when the tape can't be written.
    pub(super) async fn closed(&self) {
        self.sender.closed().await;
    }

    /// A writer that panicked leaves a batch that is whole up to its last entry.
    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn open(&self, opened: Opened) {
        self.emit(&RunEvent::Sent(&opened.row));
        self.lock().opened.push(opened);
    }

    /// Notes one read. Returns true when the batch should be flushed before the next one.
    pub(super) fn read(&self, key: u32, arrival: &Arrival<'_>) -> bool {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let mut batch = self.lock();
        batch.bytes.extend_from_slice(arrival.bytes);
        batch.reads.push(ReadEntry {
            key,
            at_ns: arrival.at_ns,
            length: arrival.bytes.len(),
            read_seq: arrival.read_seq,
            kernel_lag_us: arrival.kernel_lag_us,
        });
        batch.is_large(self.backlog.batch_bytes())
    }

    pub(super) fn end(&self, key: u32, end: End) {
        self.lock().ended.push((key, end));
    }

    /// Notes a request that will never be sent. Returns true when the batch should be flushed.
    pub(super) fn final_row(&self, row: RequestRow) -> bool {
        let mut batch = self.lock();
        batch.rows.push(row);
        batch.is_large(self.backlog.batch_bytes())
    }

    pub(super) fn probe(&self, row: ProbeRow) {
        self.lock().probes.push(row);
    }

    /// Blocks until the decoder thread has written what was scraped so far, or `patience` is over.
    pub(super) fn settle(&self, patience: Duration) {
        // It takes scrapes after each batch, and so before the second one here.
        for _ in 0..2 {
            if let Ok(permit) = self.sender.try_reserve() {
                self.backlog.add(None, 0);
                permit.send(Batch::default());
            }
        }
        self.backlog.settle(patience);
    }

    pub(super) fn begin(&self, origin_ns: i64, self_check: Option<SelfCheck>) {
        self.emit(&RunEvent::Started { at_ns: origin_ns });
        self.lock().start = Some((origin_ns, self_check));
    }

    /// Hands a large batch to the decoder. Returns false where reading has to wait: the channel is full,
    /// or the decoder thread so far behind that a kill would cost too much.
    pub(super) fn relieve(&self) -> bool {
        self.try_flush() && !self.backlog.is_behind()
    }

    /// Blocks until there is room for what is read. Returns false where there is none after a while.
    pub(super) fn wait_for_room(&self) -> bool {
        self.backlog.note_stall();
        self.backlog.wait(ROOM_PATIENCE) && self.try_flush()
    }

    /// Waits until there is room for what is read.
    pub(super) async fn room(&self) {
        if self.backlog.is_behind() {
            self.backlog.note_stall();
            tokio::select! {
                () = self.backlog.caught_up() => {}
                () = self.closed() => {}
            }
        }
        self.flush().await;
    }

    /// How old the oldest read is that is not in the log.
    pub(super) fn unlogged_ns(&self, now_ns: i64) -> i64 {
        let batch = self.lock();
        let waiting_ns = batch.reads.first().map_or(0, |read| now_ns - read.at_ns);
        drop(batch);
        waiting_ns.max(self.backlog.age_ns(now_ns))
    }

    /// Hands the batch to the decoder thread, waiting where the channel is full.
    ///
    /// A decoder that has died takes nothing more; the driver finds out by
    /// [`Recorder::closed`].
    pub(super) async fn flush(&self) {
        if !self.try_flush() {
            self.backlog.note_stall();
            if let Ok(permit) = self.sender.reserve().await {
                self.hand_over(permit);
            }
        }
    }

    /// Hands the batch to the decoder thread, if the channel has room. Returns false where it has none.
    pub(super) fn try_flush(&self) -> bool {
        if self.lock().is_empty() {
            return true;
        }
        match self.sender.try_reserve() {
            Ok(permit) => self.hand_over(permit),
            Err(mpsc::error::TrySendError::Full(())) => return false,
            Err(mpsc::error::TrySendError::Closed(())) => *self.lock() = Batch::default(),
        }
        true
    }

    /// Sends the batch while nobody else can write into its successor, let alone send that: two
    /// threads hand over, and an attempt's end must not come before its reads.
    fn hand_over(&self, permit: mpsc::Permit<'_, Batch>) {
        let mut batch = self.lock();
        let next = batch.successor();
        let first = batch.reads.first().map(|read| read.at_ns);
        let last = batch.reads.last().map(|read| read.at_ns);
        self.backlog.add(first.zip(last), batch.bytes.len());
        permit.send(std::mem::replace(&mut *batch, next));
    }
}
