//! One attempt at a request: send, read to the end, note everything.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep_until};

use super::events::RunEvent;
use super::limits::Limits;
use super::prepared::PreparedRequest;
use super::recorder::{End, NOT_YET, Opened, Outcome, Progress, Recorder};
use super::retries::FailedAttempt;
use super::stop::Stop;
use super::targets::Targets;
use crate::capture::schema::{ErrorKind, RequestRow, Status};
use crate::time::clock::Clock;
use crate::units::seconds;
use crate::wire::{Arrival, Flow, Head, SendTimings, Sink, StreamEnd, Wire, WireBody, WireError};

/// Bytes of a body that is not the expected answer which are kept, to say what it was.
const MAX_PLAIN_BODY_BYTES: usize = 64 << 10;

/// Requests that fail alike from the first on after which no more are sent.
const MAX_ALIKE: u64 = 100;

/// Bytes of one response after which it is given up.
const MAX_RESPONSE_BYTES: u64 = 1 << 30;

/// Time after which is looked again whether the decoder thread has decoded what a limit depends on.
const DECODE_WAIT_NS: i64 = 2_000_000;

/// Time that a connection may stay open after the end mark before it is no longer waited for.
const GRACE_AFTER_DONE_NS: i64 = 1_000_000_000;

/// Longest time between two looks at what the decoder thread has found out.
const CHECK_INTERVAL_NS: i64 = 500_000_000;

/// Such looks are taken at multiples of this time, those of many streams together: each wake-up
/// costs as much as ten of them.
const CHECK_STEP_NS: i64 = 10_000_000;

/// Everything that the attempts of one driver share.
pub(super) struct Shared<W> {
    pub(super) targets: Targets<W>,
    pub(super) clock: Clock,
    pub(super) recorder: Arc<Recorder>,
    pub(super) limits: Limits,
    /// The user's wish.
    pub(super) stop: watch::Receiver<Stop>,
    /// Of the next attempt.
    pub(super) next_key: AtomicU32,
}

impl<W> Shared<W> {
    /// Says whether nothing but one and the same refusal has come back from the first request on.
    pub(super) fn is_hopeless(&self) -> bool {
        self.limits.gives_up && self.recorder.counters().alike() >= MAX_ALIKE
    }
}

/// How an attempt ended, for whoever holds its slot.
pub(super) struct AttemptEnd {
    pub(super) end_ns: i64,
    /// How long it is until the request goes out again, in nanoseconds; `None` where it does not.
    pub(super) retry_ns: Option<i64>,
}

/// One attempt's own part.
pub(super) struct Attempt<W> {
    shared: Arc<Shared<W>>,
    /// What is known of it, until it begins.
    row: Option<RequestRow>,
    notes: Arc<Notes>,
    marks: Arc<SendTimings>,
    /// Number of its row in the trace, where a turn of its session may wait on it.
    row_number: Option<u64>,
    /// What it says is passed on.
    wants_reply: bool,
    request_id: u64,
    /// Which attempt at the request it is, from 0.
    number: u8,
    target: usize,
    /// When the client hangs up.
    hang_up_ns: Option<i64>,
    started_ns: i64,
    headers_ns: Option<i64>,
    http_status: Option<u16>,
    /// How long the server asks to wait before another try.
    asked_ns: Option<i64>,
    kept_headers: Vec<(String, String)>,
    /// When the body's end was read.
    ended_ns: Option<i64>,
    is_over: bool,
}

/// Where the reads of one attempt go. The wire writes, the attempt reads.
struct Notes {
    key: u32,
    recorder: Arc<Recorder>,
    progress: Arc<Progress>,
    /// [`NEVER`] until there was one.
    last_read_ns: AtomicI64,
    /// Reads that were handed to the decoder.
    taken: AtomicU64,
    /// Those that a limit which is past waits for; [`NOTHING`] where none is past.
    awaited: AtomicU64,
    bytes_left: AtomicU64,
}

/// Stands for a number of reads that nothing waits for.
const NOTHING: u64 = u64::MAX;

/// Stands for a read that has not been.
const NEVER: i64 = i64::MIN;

/// The hot path: a read with its stamp, which the wire has taken, is copied.
impl Sink for Notes {
    fn take(&self, arrival: &Arrival<'_>) -> Flow {
        self.note_read(arrival.at_ns);
        self.taken.fetch_add(1, Ordering::Release);
        let length = arrival.bytes.len() as u64;
        let bytes_left = self.bytes_left.load(Ordering::Relaxed);
        let bytes_left = bytes_left.saturating_sub(length);
        self.bytes_left.store(bytes_left, Ordering::Relaxed);
        let is_large = self.recorder.read(self.key, arrival);
        if bytes_left == 0 {
            return Flow::Enough;
        }
        // An answer of which nothing more is taken matters where it is large; the next check on the
        // limits finds it anyway.
        if is_large && self.progress.is_undecodable.load(Ordering::Acquire) {
            Flow::Enough
        } else if is_large && !self.recorder.relieve() {
            Flow::Wait
        } else {
            Flow::More
        }
    }

    fn wait(&self) -> bool {
        self.recorder.wait_for_room()
    }
}

impl Notes {
    fn note_read(&self, at_ns: i64) {
        self.last_read_ns.store(at_ns, Ordering::Relaxed);
    }

    /// How many reads have to be decoded before a limit is judged that is past: those that had come
    /// when that was first seen.
    fn awaited(&self) -> u64 {
        let awaited = self.awaited.load(Ordering::Relaxed);
        if awaited != NOTHING {
            return awaited;
        }
        let taken = self.taken.load(Ordering::Acquire);
        self.awaited.store(taken, Ordering::Relaxed);
        taken
    }

    fn last_read_ns(&self) -> Option<i64> {
        let at_ns = self.last_read_ns.load(Ordering::Relaxed);
        (at_ns != NEVER).then_some(at_ns)
    }
}

impl<W: Wire> Attempt<W> {
    /// Sends the request and reads the answer to its end. Of one that may go out again the body is
    /// left in its place.
    ///
    /// What is known so far goes to the log before anything is sent.
    pub(super) async fn run(mut self, planned: &mut PreparedRequest) -> AttemptEnd {
        if let Some(mut row) = self.row.take() {
            self.started_ns = self.shared.clock.now_ns();
            row.dispatched_ns = Some(self.started_ns);
            self.row_number = planned.row_number;
            self.wants_reply = planned.wants_reply;
            let after_ns = planned.hang_up_after_ns;
            self.hang_up_ns = after_ns.map(|after_ns| self.started_ns.saturating_add(after_ns));
            self.shared.recorder.open(Opened {
                key: self.notes.key,
                row,
                progress: Arc::clone(&self.notes.progress),
                reply_to: planned.row_number.filter(|_| planned.wants_reply),
            });
        }
        let outcome = self.exchange(planned).await;
        let retry_ns = self.retry_ns(&outcome);
        AttemptEnd {
            end_ns: self.note_end(outcome, retry_ns.is_some()),
            retry_ns,
        }
    }

    /// Returns how long it is until the request goes out again; `None` where it does not.
    fn retry_ns(&self, outcome: &Outcome) -> Option<i64> {
        let wait_ns = self.shared.limits.retries.wait_ns(FailedAttempt {
            request_id: self.request_id,
            attempt: self.number,
            outcome,
            http_status: self.http_status,
            asked_ns: self.asked_ns,
        })?;
        let is_over = *self.shared.stop.borrow() != Stop::No || self.shared.is_hopeless();
        (!is_over).then_some(wait_ns)
    }
}

impl<W> Attempt<W> {
    /// Makes an attempt that has not begun; `row` has what is known so far.
    pub(super) fn new(shared: Arc<Shared<W>>, mut row: RequestRow) -> Self {
        let notes = Notes {
            key: shared.next_key.fetch_add(1, Ordering::Relaxed),
            recorder: Arc::clone(&shared.recorder),
            progress: Arc::default(),
            last_read_ns: AtomicI64::new(NEVER),
            taken: AtomicU64::new(0),
            awaited: AtomicU64::new(NOTHING),
            bytes_left: AtomicU64::new(MAX_RESPONSE_BYTES),
        };
        let target = shared.targets.of(row.request_id, row.session_id.as_deref());
        row.target = shared.targets.name(target);
        Self {
            shared,
            request_id: row.request_id,
            number: row.attempt,
            target,
            row: Some(row),
            notes: Arc::new(notes),
            marks: Arc::default(),
            row_number: None,
            wants_reply: false,
            hang_up_ns: None,
            started_ns: 0,
            headers_ns: None,
            http_status: None,
            asked_ns: None,
            kept_headers: Vec::new(),
            ended_ns: None,
            is_over: false,
        }
    }

    /// Says that the answer has ended: in any case, since a turn may wait for it.
    fn emit_end(&self, end_ns: i64, is_fault: bool) {
        self.shared.recorder.emit(&RunEvent::AnswerRead {
            row_number: self.row_number,
            end_ns,
            is_fault,
        });
    }

    /// Notes the end. Returns when it was. Of a request that goes out again nobody hears yet who waits
    /// for its reply.
    fn note_end(&mut self, outcome: Outcome, is_retried: bool) -> i64 {
        self.is_over = true;
        let now_ns = self.shared.clock.now_ns();
        let end_ns = self.ended_ns.unwrap_or(now_ns);
        if is_retried {
            self.row_number = None;
            self.wants_reply = false;
        }
        // Before the decoder thread can say what it said.
        self.emit_end(end_ns, false);
        self.shared.recorder.end(
            self.notes.key,
            End {
                connect_ns: self.marks.connect_ns(),
                sent_ns: self.marks.sent_ns(),
                resends: self.marks.resends(),
                body_sent_ns: self.marks.body_sent_ns(),
                headers_ns: self.headers_ns,
                http_status: self.http_status,
                kept_headers: std::mem::take(&mut self.kept_headers),
                end_ns,
                outcome,
                is_retried,
            },
        );
        if self.wants_reply {
            // A turn waits for it, and a full channel is emptied soon.
            self.shared.recorder.try_flush();
        }
        end_ns
    }
}

/// An attempt that is given up is dropped wherever it stands.
impl<W> Drop for Attempt<W> {
    fn drop(&mut self) {
        if let Some(mut row) = self.row.take() {
            row.status = Status::NotSent;
            self.shared.recorder.final_row(row);
        } else if !self.is_over && std::thread::panicking() {
            // Its row stays `interrupted`.
            self.emit_end(self.shared.clock.now_ns(), true);
        } else if !self.is_over {
            self.note_end(Outcome::Cancelled, false);
        }
    }
}

impl<W: Wire> Attempt<W> {
    async fn exchange(&mut self, planned: &mut PreparedRequest) -> Outcome {
        let may_retry = self.shared.limits.retries.may_follow(self.number);
        let (body, permit) = match may_retry {
            true => (planned.body.clone(), None),
            false => (std::mem::take(&mut planned.body), planned.permit.take()),
        };
        let marks = Arc::clone(&self.marks);
        let shared = Arc::clone(&self.shared);
        let mut check = Box::pin(sleep_until(self.next_check()));
        let head = {
            let wire = shared.targets.wire(self.target);
            let mut posting = std::pin::pin!(wire.post(body, &marks));
            loop {
                tokio::select! {
                    biased;
                    head = &mut posting => break head,
                    () = &mut check => match self.check(&mut check) {
                        Some(outcome) => return outcome,
                        None => continue,
                    },
                }
            }
        };
        // The body has gone out; its memory may be prepared into again.
        drop(permit);
        match head {
            Ok(mut head) => {
                self.kept_headers = std::mem::take(&mut head.kept_headers);
                self.headers_ns = Some(head.headers_ns);
                self.http_status = Some(head.status);
                self.asked_ns = head.retry_after_ns;
                let is_success = (200..300).contains(&head.status);
                if is_success {
                    // It does not go out again.
                    planned.body = Bytes::new();
                    planned.permit = None;
                }
                if is_success && self.shared.recorder.takes(&head.content_type) {
                    self.read_stream(head.body, check.as_mut()).await
                } else {
                    self.read_plain(head, check.as_mut()).await
                }
            }
            Err(error) => failed(shared.targets.with_address(self.target, error)),
        }
    }

    /// Lets the wire hand over what it reads, under the limits on time.
    async fn read_stream(
        &mut self,
        mut body: W::Body,
        mut check: std::pin::Pin<&mut Sleep>,
    ) -> Outcome {
        loop {
            let sink: Arc<dyn Sink> = Arc::clone(&self.notes) as _;
            let pumped = {
                let mut pumping = std::pin::pin!(body.stream_to(sink));
                loop {
                    tokio::select! {
                        biased;
                        pumped = &mut pumping => break pumped,
                        () = &mut check => {
                            if let Some(outcome) = self.check_pinned(check.as_mut()) {
                                return outcome;
                            }
                        }
                    }
                }
            };
            match pumped {
                Ok(StreamEnd::End) => {
                    self.ended_ns = body.ended_ns();
                    return Outcome::EndOfStream;
                }
                Ok(StreamEnd::Wait) => self.shared.recorder.room().await,
                Ok(StreamEnd::Enough) if self.notes.bytes_left.load(Ordering::Relaxed) == 0 => {
                    let message = format!("the response is over {MAX_RESPONSE_BYTES} bytes");
                    return Outcome::Failed(ErrorKind::TooLarge, message);
                }
                // What went wrong is known to the decoder thread; more bytes add nothing to it.
                Ok(StreamEnd::Enough) => return Outcome::EndOfStream,
                Err(error) => return failed(error),
            }
        }
    }

    /// Reads the start of a body that is not the expected answer.
    async fn read_plain(
        &mut self,
        head: Head<W::Body>,
        mut check: std::pin::Pin<&mut Sleep>,
    ) -> Outcome {
        let mut body = head.body;
        let mut kept = BytesMut::new();
        loop {
            tokio::select! {
                biased;
                read = body.read() => match read {
                    Ok(Some(read)) => {
                        self.notes.note_read(read.at_ns);
                        let room = MAX_PLAIN_BODY_BYTES - kept.len();
                        kept.extend_from_slice(&read.bytes[..read.bytes.len().min(room)]);
                        if kept.len() == MAX_PLAIN_BODY_BYTES {
                            break;
                        }
                    }
                    // What came before a break still says what the server meant.
                    Ok(None) | Err(_) => break,
                },
                () = &mut check => {
                    if let Some(outcome) = self.check_pinned(check.as_mut()) {
                        // A refusal is one by its status, also where its body never ends.
                        let is_refusal = !(200..300).contains(&head.status);
                        return if is_refusal {
                            Outcome::NotAStream(kept.freeze())
                        } else {
                            outcome
                        };
                    }
                }
            }
        }
        Outcome::NotAStream(kept.freeze())
    }

    /// The instant at which a limit could next be passed.
    fn next_check(&self) -> Instant {
        let latest_ns = self.shared.clock.now_ns() + CHECK_INTERVAL_NS;
        let next_ns = self
            .deadlines()
            .into_iter()
            .flatten()
            .map(|(at_ns, _)| at_ns)
            .chain(self.end_of_grace_ns())
            .chain(self.hang_up_ns.filter(|_| self.is_open()))
            .fold(latest_ns - latest_ns % CHECK_STEP_NS, i64::min);
        self.shared.clock.instant(next_ns)
    }

    fn check(&self, check: &mut std::pin::Pin<Box<Sleep>>) -> Option<Outcome> {
        self.check_pinned(check.as_mut())
    }

    /// Ends the attempt when a limit is passed or the stream is over, else sets the next check.
    ///
    /// A limit is judged by the stamps of what was read, whenever that is decoded: where something
    /// still waits for the decoder thread, so does the verdict.
    fn check_pinned(&self, check: std::pin::Pin<&mut Sleep>) -> Option<Outcome> {
        let now_ns = self.shared.clock.now_ns();
        // Before anything that the decoder thread has found out is looked at.
        let decoded = self.notes.progress.decoded.load(Ordering::Acquire);
        if self.notes.progress.is_undecodable.load(Ordering::Acquire) {
            return Some(Outcome::EndOfStream);
        }
        let passed = self
            .deadlines()
            .into_iter()
            .flatten()
            .find(|(at_ns, _)| now_ns >= *at_ns);
        match passed {
            // What comes later decides nothing: a server that never stops would put it off for ever.
            Some(_) if decoded < self.notes.awaited() => {
                // A full channel is emptied by the decoder thread, and the next look finds room in it.
                self.shared.recorder.try_flush();
                let again_ns = now_ns.saturating_add(DECODE_WAIT_NS);
                check.reset(self.shared.clock.instant(again_ns));
                return None;
            }
            Some((_, kind)) => return Some(Outcome::Failed(kind, self.limit_text(kind))),
            None => self.notes.awaited.store(NOTHING, Ordering::Relaxed),
        }
        // An answer that is over is not hung up on, though its connection is still open.
        if self.is_open() && self.hang_up_ns.is_some_and(|at_ns| now_ns >= at_ns) {
            return Some(Outcome::HungUp);
        }
        if self.end_of_grace_ns().is_some_and(|at_ns| now_ns >= at_ns) {
            return Some(Outcome::EndOfStream);
        }
        check.reset(self.next_check());
        None
    }

    /// Whether the end mark has not come.
    fn is_open(&self) -> bool {
        self.notes.progress.done_ns.load(Ordering::Acquire) == NOT_YET
    }

    /// When the end of an answer is no longer waited for whose end mark has come.
    fn end_of_grace_ns(&self) -> Option<i64> {
        let done_ns = self.notes.progress.done_ns.load(Ordering::Acquire);
        (done_ns != NOT_YET).then(|| done_ns.saturating_add(GRACE_AFTER_DONE_NS))
    }

    /// The limits that apply now, the most telling first: those that were not met by what has been
    /// read. After the end mark only the grace is waited for.
    fn deadlines(&self) -> [Option<(i64, ErrorKind)>; 3] {
        let limits = &self.shared.limits;
        let progress = &self.notes.progress;
        let done_ns = progress.done_ns.load(Ordering::Acquire);
        let token_ns = progress.first_token_ns.load(Ordering::Acquire);
        let from_start = |limit_ns: i64, met_ns: i64, kind| {
            let at_ns = self.started_ns.saturating_add(limit_ns);
            (at_ns < met_ns).then_some((at_ns, kind))
        };
        let first = limits.first_timeout_ns.and_then(|limit_ns| {
            from_start(limit_ns, token_ns.min(done_ns), ErrorKind::TimeoutFirst)
        });
        let idle = limits
            .idle_timeout_ns
            .zip(self.notes.last_read_ns())
            .filter(|_| done_ns == NOT_YET)
            .map(|(limit_ns, last_ns)| (last_ns.saturating_add(limit_ns), ErrorKind::TimeoutIdle));
        let total = from_start(limits.request_timeout_ns, done_ns, ErrorKind::TimeoutTotal);
        [first, idle, total]
    }

    /// Names the limit that was passed; the same for every request, so that they can be counted.
    fn limit_text(&self, kind: ErrorKind) -> String {
        let limits = &self.shared.limits;
        let (what, limit_ns, flag) = match kind {
            ErrorKind::TimeoutFirst => ("no token", limits.first_timeout_ns, "--first-timeout"),
            ErrorKind::TimeoutIdle => ("nothing arrived", limits.idle_timeout_ns, "--idle-timeout"),
            _ => (
                "not over",
                Some(limits.request_timeout_ns),
                "--request-timeout",
            ),
        };
        let limit_s = seconds(limit_ns.unwrap_or_default());
        format!("{what} within {limit_s} s (`{flag}`)")
    }
}

fn failed(error: WireError) -> Outcome {
    Outcome::Failed(error.kind, error.message)
}
