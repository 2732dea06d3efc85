//! Bytes over sockets: the only place that speaks HTTP as a client.
//!
//! The driver knows a [`Wire`] and nothing of what is beneath. A wire sends one prepared body to
//! the target that it was made for and hands back stamped reads: a stamp is taken as soon as the
//! bytes are in user space, before anything looks at them.

pub mod chunked;
mod direct;
mod download;
mod error;
mod reqwest_wire;
pub mod response;
mod target;
mod trust;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicI64, Ordering};

use bytes::Bytes;

pub use direct::{DirectBody, DirectWire, Readers};
pub use download::download;
pub(crate) use error::NO_LOCAL_PORT;
pub use error::WireError;
use error::is_end;
pub use reqwest_wire::{ReqwestBody, ReqwestWire, Text, TextClient, get_text};
pub(crate) use target::is_loopback;
pub use target::{Target, WireKind};
pub use trust::Trust;

/// Sends requests to one target.
pub trait Wire: Clone + Send + Sync + 'static {
    /// The streamed body of a response.
    type Body: WireBody;

    /// Sends `body` as a POST and returns once the response head has been read.
    ///
    /// What is learnt on the way goes into `marks` at once, so that it is known even when the
    /// future is dropped. The returned future does nothing until it is polled.
    ///
    /// A connection that had been waiting, kept from a request before or opened ahead, may end just
    /// as the request goes out. Where it ends within [`ENDED_BEFORE_NS`] of the send and without one
    /// byte of an answer, the request goes out once more, on a new connection, and later ones go on
    /// no connection that has waited like that one.
    fn post(
        &self,
        body: Bytes,
        marks: &Arc<SendTimings>,
    ) -> impl Future<Output = Result<Head<Self::Body>, WireError>> + Send;

    /// Opens connections, as far as that many are not idle, so that as many requests that come
    /// together find one ready. What goes wrong is left for a request to find out.
    fn warm(&self, wanted: usize) -> impl Future<Output = ()> + Send {
        let _ = wanted;
        std::future::ready(())
    }

    /// How many connections wait for a request; `None` where the wire can't tell.
    fn idle(&self) -> Option<usize> {
        None
    }
}

/// A thread that does nothing but read.
pub trait ReadingThread: Send + Sync + 'static {
    /// Asks it to come, to see how long that takes; one that was asked and has not come yet is not
    /// asked again.
    fn knock(&self);

    /// Returns the longest that it took to come since this was last called, in nanoseconds; one
    /// that has not come yet takes as long as it has taken so far.
    fn take_lag_max_ns(&self) -> i64;

    /// CPU time of the thread when it last came, in nanoseconds.
    fn cpu_ns(&self) -> i64;
}

/// The streamed body of a response.
pub trait WireBody: Send + 'static {
    /// Waits for the next bytes; `None` is the end of the body. Dropping the future loses nothing.
    fn read(&mut self) -> impl Future<Output = Result<Option<Read>, WireError>> + Send;

    /// Hands each read to `sink` as it comes, until the body ends or the sink wants no more for
    /// now. A future that is dropped before gives up the body.
    fn stream_to(
        &mut self,
        sink: Arc<dyn Sink>,
    ) -> impl Future<Output = Result<StreamEnd, WireError>> + Send {
        async move {
            while let Some(read) = self.read().await? {
                if let Some(pumped) = sink.take(&read.arrival()).stops() {
                    return Ok(pumped);
                }
            }
            Ok(StreamEnd::End)
        }
    }

    /// When the read that brought the end returned, on the driver's clock; `None` before the end,
    /// and where the wire can't tell.
    fn ended_ns(&self) -> Option<i64> {
        None
    }
}

/// Where the reads of a streamed body go.
pub trait Sink: Send + Sync + 'static {
    /// Takes in one read, on the thread that reads, which other streams share: it must not wait.
    fn take(&self, arrival: &Arrival<'_>) -> Flow;

    /// Blocks the thread that reads, where that has nothing else to do, after a [`Flow::Wait`]. Returns
    /// false where the wait was in vain.
    fn wait(&self) -> bool {
        false
    }
}

/// What a sink wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next read, as soon as it comes.
    More,
    /// Nothing until it asks again.
    Wait,
    /// Nothing any more.
    Enough,
}

/// Why no further read came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamEnd {
    /// The body is over.
    End,
    /// The sink asked to wait; the next call goes on where this one stopped.
    Wait,
    /// The sink wants nothing more.
    Enough,
}

impl Flow {
    fn stops(self) -> Option<StreamEnd> {
        match self {
            Self::More => None,
            Self::Wait => Some(StreamEnd::Wait),
            Self::Enough => Some(StreamEnd::Enough),
        }
    }
}

/// A response whose head has been read.
#[derive(Debug)]
pub struct Head<B> {
    /// When the head was read, on the driver's clock.
    pub headers_ns: i64,
    /// The status code.
    pub status: u16,
    /// The media type, lower case, without parameters; empty where the server named none.
    pub content_type: String,
    /// Headers that are kept ([`Target::kept_headers`]), in the order of the answer.
    pub kept_headers: Vec<(String, String)>,
    /// How long the server asks to wait before another try, in nanoseconds.
    pub retry_after_ns: Option<i64>,
    /// The body.
    pub body: B,
}

/// Bytes that one read brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// When the read returned, on the driver's clock.
    pub at_ns: i64,
    /// The bytes of the body, after transfer decoding.
    pub bytes: Bytes,
    /// Number of the read on its socket since the request; `None` where the wire can't tell.
    pub read_seq: Option<u32>,
    /// User stamp less kernel receive stamp, in microseconds; `None` where the wire can't tell.
    pub kernel_lag_us: Option<i32>,
}

/// Bytes that one read brought, where they lie: what keeps them copies them.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// As in [`Read`].
    pub at_ns: i64,
    /// As in [`Read`].
    pub bytes: &'a [u8],
    /// As in [`Read`].
    pub read_seq: Option<u32>,
    /// As in [`Read`].
    pub kernel_lag_us: Option<i32>,
}

impl Read {
    /// Lends what was read.
    pub fn arrival(&self) -> Arrival<'_> {
        Arrival {
            at_ns: self.at_ns,
            bytes: &self.bytes,
            read_seq: self.read_seq,
            kernel_lag_us: self.kernel_lag_us,
        }
    }
}

/// Stamps of the way out. The wire writes each once, and anew where the request goes out anew; the
/// driver reads them when the attempt has ended, however it ended.
#[derive(Debug)]
pub struct SendTimings {
    connect_ns: AtomicI64,
    sent_ns: AtomicI64,
    body_sent_ns: AtomicI64,
    resends: AtomicI32,
}

/// How long after the send, in nanoseconds, a connection's end can be that of a connection which had
/// ended before: its end, or the other side's refusal to hear more, is a round trip away. A server
/// that is silent for longer has the request, and leaves it without an answer.
pub const ENDED_BEFORE_NS: i64 = 1_000_000_000;

/// Stands for "not yet"; no stamp can be that small.
const UNSET: i64 = i64::MIN;

impl Default for SendTimings {
    fn default() -> Self {
        Self {
            connect_ns: AtomicI64::new(UNSET),
            sent_ns: AtomicI64::new(UNSET),
            body_sent_ns: AtomicI64::new(UNSET),
            resends: AtomicI32::new(0),
        }
    }
}

fn stamp(mark: &AtomicI64) -> Option<i64> {
    let at_ns = mark.load(Ordering::Acquire);
    (at_ns != UNSET).then_some(at_ns)
}

impl SendTimings {
    /// Notes how long DNS, TCP and TLS took for this attempt.
    pub fn set_connect_ns(&self, duration_ns: i64) {
        self.connect_ns.store(duration_ns, Ordering::Release);
    }

    /// Notes when the first request byte was handed to a connected socket.
    pub fn set_sent_ns(&self, at_ns: i64) {
        self.sent_ns.store(at_ns, Ordering::Release);
    }

    /// Notes when the last request byte was accepted.
    pub fn set_body_sent_ns(&self, at_ns: i64) {
        self.body_sent_ns.store(at_ns, Ordering::Release);
    }

    /// Notes that the request goes out anew: what was noted of the way out is of a connection that
    /// had ended.
    pub fn note_resend(&self) {
        self.resends.fetch_add(1, Ordering::AcqRel);
        for mark in [&self.connect_ns, &self.sent_ns, &self.body_sent_ns] {
            mark.store(UNSET, Ordering::Release);
        }
    }

    /// How often the request went out anew.
    pub fn resends(&self) -> i32 {
        self.resends.load(Ordering::Acquire)
    }

    /// Says whether the request went out so lately that its connection can have ended before.
    pub(crate) fn was_just_sent(&self, now_ns: i64) -> bool {
        self.sent_ns()
            .is_none_or(|sent_ns| now_ns.saturating_sub(sent_ns) <= ENDED_BEFORE_NS)
    }

    /// Duration of DNS, TCP and TLS; `None` when a connection was reused.
    pub fn connect_ns(&self) -> Option<i64> {
        stamp(&self.connect_ns)
    }

    /// When the first request byte was handed to a connected socket.
    pub fn sent_ns(&self) -> Option<i64> {
        stamp(&self.sent_ns)
    }

    /// When the last request byte was accepted.
    pub fn body_sent_ns(&self) -> Option<i64> {
        stamp(&self.body_sent_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_silent_for_long_and_then_leaves_has_lost_the_request_itself() {
        let marks = SendTimings::default();
        // The end may come while the request is still being written.
        assert!(marks.was_just_sent(i64::MAX));
        marks.set_sent_ns(5);
        assert!(marks.was_just_sent(5 + ENDED_BEFORE_NS));
        assert!(!marks.was_just_sent(6 + ENDED_BEFORE_NS));
    }
}
