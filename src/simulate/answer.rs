//! One answer on its way: what the engine's task and a connection share, and the body that streams.
//!
//! Nothing is queued. The engine only counts how many tokens an answer has; the connection writes
//! the events that it has not written yet, when its socket takes them. A slow reader therefore
//! costs no memory, and an event's stamp is taken when it is handed to the socket.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures::task::AtomicWaker;
use http_body::Frame;
use tokio::sync::Notify;

use super::engine::Finish;
use super::stamp::Stamp;
use super::template::StreamTemplate;
use super::words;
use crate::time::clock::utc_now_ns;

/// Space that the events of one stream are cut from, so that few need an allocation.
const BLOCK_BYTES: usize = 4_096;

/// How far an answer is.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Tokens generated so far: the engine's task writes, the connection reads.
    generated: AtomicU32,
    /// Tokens that the connection has taken: the connection writes, the engine's task reads.
    taken: AtomicU32,
    /// An [`Outcome`]: the engine's task writes, after the last token; the connection reads.
    outcome: AtomicU8,
    /// Who waits for the next token: the connection sets it, the engine's task wakes it.
    waker: AtomicWaker,
}

/// Whether an answer has ended, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Running,
    Finished(Finish),
    /// The server gave it up.
    Aborted,
}

impl Progress {
    /// Tells the connection that there are `generated` tokens now; wakes nobody.
    pub(super) fn set_generated(&self, generated: u32) {
        self.generated.store(generated, Ordering::Release);
    }

    /// Tells the connection that no more tokens will come, and wakes it.
    pub(super) fn end(&self, outcome: Outcome) {
        let code = match outcome {
            Outcome::Running => 0,
            Outcome::Finished(Finish::Length) => 1,
            Outcome::Finished(Finish::Stop) => 2,
            Outcome::Aborted => 3,
        };
        self.outcome.store(code, Ordering::Release);
        self.waker.wake();
    }

    /// Wakes the connection, where it waits.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Tokens that are generated and not taken.
    pub(super) fn backlog(&self, generated: u32) -> u32 {
        generated.saturating_sub(self.taken.load(Ordering::Relaxed))
    }

    fn outcome(&self) -> Outcome {
        match self.outcome.load(Ordering::Acquire) {
            0 => Outcome::Running,
            1 => Outcome::Finished(Finish::Length),
            2 => Outcome::Finished(Finish::Stop),
            _ => Outcome::Aborted,
        }
    }
}

/// Requests whose clients left: connections write, the engine's task empties. Bounded by the
/// number of answers under way.
#[derive(Debug, Default)]
pub(super) struct Departures {
    requests: Mutex<Vec<u64>>,
    /// Wakes the engine's task.
    pub(super) notify: Notify,
}

impl Departures {
    /// Takes the list, and leaves an empty one.
    pub(super) fn take(&self) -> Vec<u64> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *requests)
    }

    fn push(&self, request: u64) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(request);
        drop(requests);
        self.notify.notify_one();
    }
}

/// The connection's hold on an answer; dropping it before the end gives the answer up.
#[derive(Debug)]
pub(super) struct Ticket {
    pub(super) request: u64,
    pub(super) progress: Arc<Progress>,
    pub(super) departures: Arc<Departures>,
}

impl Ticket {
    /// Waits for the end of the answer, and takes all of its tokens at once.
    pub(super) async fn outcome(&self) -> Outcome {
        // Nothing is read until the end, and nothing must be held against the reader.
        self.progress.taken.store(u32::MAX, Ordering::Relaxed);
        poll_fn(|context| {
            self.progress.waker.register(context.waker());
            match self.progress.outcome() {
                Outcome::Running => Poll::Pending,
                outcome => Poll::Ready(outcome),
            }
        })
        .await
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.progress.outcome() == Outcome::Running {
            self.departures.push(self.request);
        }
    }
}

/// Where the text of an answer comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum Text {
    /// Words, drawn from this seed.
    Words(u64),
    /// The server's own times; the request was read whole at this one, in UTC nanoseconds.
    Stamps(i64),
}

impl Text {
    /// Appends the text of the token at `position`.
    pub(super) fn write(self, out: &mut BytesMut, position: u32) {
        match self {
            Self::Words(seed) => out.extend_from_slice(words::word(seed, position).as_bytes()),
            Self::Stamps(received_ns) => Stamp {
                received_ns: (position == 0).then_some(received_ns),
                sent_ns: utc_now_ns(),
            }
            .write(out),
        }
    }
}

/// A streamed answer that broke off, which closes its connection.
#[derive(Debug, thiserror::Error)]
#[error("the simulated server gave this answer up")]
pub(super) struct BrokenOff;

/// The body of a streamed answer: one frame an event.
#[derive(Debug)]
pub(super) struct TokenStream {
    ticket: Ticket,
    template: StreamTemplate,
    text: Text,
    part: Part,
    sent: u32,
    block: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Role,
    Tokens,
    End,
}

impl TokenStream {
    pub(super) fn new(ticket: Ticket, template: StreamTemplate, text: Text) -> Self {
        Self {
            ticket,
            template,
            text,
            part: Part::Role,
            sent: 0,
            block: BytesMut::new(),
        }
    }

    /// The next frame, where there is one yet.
    fn next_frame(&mut self) -> Option<Result<Bytes, BrokenOff>> {
        if self.part == Part::Role {
            self.part = Part::Tokens;
            if let Some(role) = self.template.role() {
                return Some(Ok(role));
            }
        }
        // The outcome first: whoever sees the end then also sees every token before it.
        let outcome = self.ticket.progress.outcome();
        if outcome == Outcome::Aborted {
            self.part = Part::End;
            return Some(Err(BrokenOff));
        }
        if self.sent < self.ticket.progress.generated.load(Ordering::Acquire) {
            return Some(Ok(self.token()));
        }
        let Outcome::Finished(finish) = outcome else {
            return None;
        };
        self.part = Part::End;
        Some(Ok(self.tail(finish)))
    }

    fn token(&mut self) -> Bytes {
        if self.block.capacity() < BLOCK_BYTES / 8 {
            self.block.reserve(BLOCK_BYTES);
        }
        let (text, position) = (self.text, self.sent);
        self.sent += 1;
        self.ticket
            .progress
            .taken
            .store(self.sent, Ordering::Relaxed);
        self.template
            .write_token(&mut self.block, self.sent, |out| text.write(out, position));
        self.block.split().freeze()
    }

    /// The events after the last token, which leave together.
    fn tail(&self, finish: Finish) -> Bytes {
        let mut out = BytesMut::new();
        out.extend_from_slice(&self.template.finish(finish, self.sent));
        if let Some(usage) = self.template.usage(self.sent) {
            out.extend_from_slice(&usage);
        }
        out.extend_from_slice(&StreamTemplate::done());
        out.freeze()
    }
}

impl http_body::Body for TokenStream {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        let stream = self.get_mut();
        if stream.part == Part::End {
            return Poll::Ready(None);
        }
        let mut next = stream.next_frame();
        if next.is_none() {
            stream.ticket.progress.waker.register(context.waker());
            // What came between the look and the registration woke nobody.
            next = stream.next_frame();
        }
        next.map_or(Poll::Pending, |frame| {
            Poll::Ready(Some(frame.map(Frame::data)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.part == Part::End
    }
}
