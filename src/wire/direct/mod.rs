//! The direct wire: HTTP/1.1 on sockets of our own.
//!
//! Each read of a socket is stamped as it returns, before anything looks at its bytes, and says
//! with its number which events came together and with the kernel's stamp how long they had been
//! waiting. Bodies that stream are read by threads that do nothing else.
//!
//! What it does not do: proxies (see [`ReqwestWire`](super::ReqwestWire)), HTTP/2, redirects, retries
//! of what has been answered.

mod body;
mod dial;
mod pool;
mod read_loop;
mod receive;
mod request;
mod socket;
mod tls;

use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt as _};

use super::chunked::ChunkedError;
use super::response::{self, HeadError, ResponseHead};
use super::{Head, Read, SendTimings, Sink, StreamEnd, Target, Wire, WireBody, WireError, is_end};
use crate::capture::schema::ErrorKind;
use crate::time::clock::Clock;

use body::{BodyDecoder, bad_body, cut_short};
use dial::Dialer;
use pool::{Origin, Pool};
use read_loop::ReadLoop;
pub use read_loop::Readers;
use request::RequestHead;
use socket::{ReadStamp, Stream, Written};

/// Bytes of a body that are written at once: others on the thread get their turn in between.
const WRITE_BYTES: usize = 64 << 10;

/// Connections that are opened at once, ahead of their requests.
const DIALS_AT_ONCE: usize = 16;

/// Interim answers (1xx) before the answer itself, at most.
const MAX_INTERIM: u32 = 16;

/// Sends requests over connections of its own, which are kept and used again.
#[derive(Clone)]
pub struct DirectWire {
    shared: Arc<Shared>,
    pool: Pool,
    readers: Readers,
    clock: Clock,
}

struct Shared {
    dialer: Dialer,
    head: RequestHead,
    kept_headers: Vec<String>,
}

impl DirectWire {
    /// Makes a wire to `target`, stamping on `clock`, whose streams are read by `readers`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the system's certificates can't be read, for an `https` target.
    pub fn new(target: &Target, clock: Clock, readers: &Readers) -> Result<Self, WireError> {
        Ok(Self {
            readers: readers.clone(),
            shared: Arc::new(Shared {
                dialer: Dialer::new(target, clock)?,
                head: RequestHead::new(target),
                kept_headers: target.kept_headers.clone(),
            }),
            pool: Pool::new(clock, target.keeps_alive),
            clock,
        })
    }

    async fn dial(&self, marks: &SendTimings) -> Result<Stream, WireError> {
        let started_ns = self.clock.now_ns();
        let dialled = self.shared.dialer.dial().await;
        marks.set_connect_ns(self.clock.now_ns() - started_ns);
        dialled
    }

    /// Writes the request. Returns false when the server answered before it was whole.
    async fn write(
        &self,
        stream: &mut Stream,
        body: &[u8],
        marks: &SendTimings,
    ) -> io::Result<bool> {
        let head = &self.shared.head;
        let head = head.with_length(body.len(), self.pool.keeps());
        let mut rest = [head.as_slice(), body];
        stream.begin_request();
        marks.set_sent_ns(self.clock.now_ns());
        while !(rest[0].is_empty() && rest[1].is_empty()) {
            let piece = &rest[1][..rest[1].len().min(WRITE_BYTES)];
            let parts = [IoSlice::new(rest[0]), IoSlice::new(piece)];
            // An empty first part would be taken for the whole by some writers.
            let first = usize::from(rest[0].is_empty());
            match stream.write(&parts[first..]).await? {
                Written::Answered => return Ok(false),
                Written::Some(0) => return Err(io::ErrorKind::WriteZero.into()),
                Written::Some(count) => {
                    let of_head = count.min(rest[0].len());
                    rest[0] = &rest[0][of_head..];
                    rest[1] = &rest[1][count - of_head..];
                }
            }
            if !rest[1].is_empty() {
                tokio::task::yield_now().await;
            }
        }
        marks.set_body_sent_ns(self.clock.now_ns());
        Ok(true)
    }

    /// Sends a request and reads the head of its answer.
    async fn exchange(
        &self,
        mut stream: Stream,
        body: Bytes,
        marks: &SendTimings,
    ) -> Result<Head<DirectBody>, NoAnswer> {
        let written = self.write(&mut stream, &body, marks).await;
        drop(body);
        let names = &self.shared.kept_headers;
        let (head, kept_headers, rest) = match read_head(&mut stream, names).await {
            Ok(answer) => answer,
            // A server that hangs up on a request has answered it all the same, or not at all.
            Err(none) => {
                return Err(match written {
                    Err(refused) => NoAnswer {
                        error: WireError::new(ErrorKind::Send, &refused),
                        ..none
                    },
                    Ok(_) => none,
                });
            }
        };
        let is_reusable = head.keeps_alive && matches!(written, Ok(true));
        let stamp = stream.last_read();
        let mut body = DirectBody {
            stream: Some(stream),
            pool: is_reusable.then(|| self.pool.clone()),
            read_loop: self.readers.next(),
            decoder: BodyDecoder::new(head.framing),
            first: None,
            ended_ns: None,
        };
        body.take_first(&rest, stamp);
        Ok(Head {
            headers_ns: stamp.at_ns,
            status: head.status,
            content_type: head.content_type,
            kept_headers,
            retry_after_ns: head.retry_after_ns,
            body,
        })
    }
}

impl Wire for DirectWire {
    type Body = DirectBody;

    async fn post(
        &self,
        body: Bytes,
        marks: &Arc<SendTimings>,
    ) -> Result<Head<DirectBody>, WireError> {
        if let Some((stream, origin)) = self.pool.take() {
            match self.exchange(stream, body.clone(), marks).await {
                Err(NoAnswer {
                    has_ended: true, ..
                }) if marks.was_just_sent(self.clock.now_ns()) => {
                    self.pool.distrust(origin);
                    marks.note_resend();
                }
                answer => return answer.map_err(|none| none.error),
            }
        }
        let stream = self.dial(marks).await?;
        let answer = self.exchange(stream, body, marks).await;
        answer.map_err(|none| none.error)
    }

    async fn warm(&self, wanted: usize) {
        let opening = self.pool.open_up_to(wanted);
        let dials = (0..opening.missing).map(|_| self.shared.dialer.dial());
        let mut dialled = stream::iter(dials).buffer_unordered(DIALS_AT_ONCE);
        while let Some(Ok(stream)) = dialled.next().await {
            self.pool.put(stream, Origin::Ahead);
        }
    }

    fn idle(&self) -> Option<usize> {
        Some(self.pool.idle())
    }
}

/// An exchange that came to no answer.
struct NoAnswer {
    error: WireError,
    /// The connection ended, and not one byte of an answer had come.
    has_ended: bool,
}

impl From<WireError> for NoAnswer {
    fn from(error: WireError) -> Self {
        Self {
            error,
            has_ended: false,
        }
    }
}

/// The head of an answer, its headers that are kept, and what came behind it.
type Answered = (ResponseHead, Vec<(String, String)>, BytesMut);

/// Reads up to the end of the response's head. Returns it with what came behind it.
async fn read_head(stream: &mut Stream, names: &[String]) -> Result<Answered, NoAnswer> {
    let mut bytes = BytesMut::new();
    let mut interim = 0;
    loop {
        let has_line_end = stream
            .read(|new| {
                bytes.extend_from_slice(new);
                (!new.is_empty()).then(|| new.contains(&b'\n'))
            })
            .await
            .map_err(|error| NoAnswer {
                has_ended: is_end(&error) && bytes.is_empty() && interim == 0,
                error: WireError::new(ErrorKind::Send, &error),
            })?;
        let Some(has_line_end) = has_line_end else {
            return Err(NoAnswer {
                has_ended: bytes.is_empty() && interim == 0,
                error: closed_early(&bytes),
            });
        };
        // Only the end of a line can be the end of the head.
        if !has_line_end && bytes.len() < response::MAX_HEAD_BYTES {
            continue;
        }
        while let Some((head, length)) = response::parse(&bytes).map_err(bad_head)? {
            let rest = bytes.split_off(length);
            match head.status {
                101 => return Err(unsupported("the server wants another protocol (101)").into()),
                100..=199 if interim < MAX_INTERIM => interim += 1,
                100..=199 => {
                    let message = "the server sends interim answers without end";
                    return Err(unsupported(message).into());
                }
                _ => return Ok((head, response::values_of(&bytes, names), rest)),
            }
            bytes = rest;
        }
    }
}

fn closed_early(bytes: &[u8]) -> WireError {
    let message = if bytes.is_empty() {
        "the server closed the connection without an answer".to_owned()
    } else {
        format!(
            "the server closed the connection inside the head of its answer ({} bytes of it)",
            bytes.len()
        )
    };
    WireError {
        kind: ErrorKind::Send,
        message,
    }
}

fn bad_head(error: HeadError) -> WireError {
    let kind = match error {
        HeadError::TooLarge => ErrorKind::TooLarge,
        HeadError::NotHttp(_) | HeadError::Unsupported(_) => ErrorKind::Unsupported,
    };
    WireError {
        kind,
        message: error.to_string(),
    }
}

fn unsupported(message: &str) -> WireError {
    WireError {
        kind: ErrorKind::Unsupported,
        message: message.to_owned(),
    }
}

/// The body of a response, read by read.
pub struct DirectBody {
    /// Gone once the body is whole.
    stream: Option<Stream>,
    /// Where the connection goes then, where it may be used again.
    pool: Option<Pool>,
    read_loop: ReadLoop,
    decoder: BodyDecoder,
    /// What came with the head.
    first: Option<Result<Read, ChunkedError>>,
    /// When the read returned that brought the end.
    ended_ns: Option<i64>,
}

impl DirectBody {
    fn take_first(&mut self, bytes: &[u8], stamp: ReadStamp) {
        let mut body = Vec::new();
        let decoded = self.decoder.push(bytes, &mut body);
        if !body.is_empty() || decoded.is_err() {
            self.first = Some(decoded.map(|()| read(body, stamp)));
        }
        self.release_if_done();
    }

    /// Gives the connection back as soon as the body is whole, before anyone has asked for its end.
    fn release_if_done(&mut self) {
        if !self.decoder.is_done {
            return;
        }
        let stream = self.stream.take();
        let last_read_ns = stream.as_ref().map(|stream| stream.last_read().at_ns);
        self.ended_ns = self.ended_ns.or(last_read_ns);
        if let (Some(stream), Some(pool), false) = (stream, &self.pool, self.decoder.has_excess) {
            pool.put(stream, Origin::Kept);
        }
    }
}

impl WireBody for DirectBody {
    async fn read(&mut self) -> Result<Option<Read>, WireError> {
        if let Some(first) = self.first.take() {
            return first.map(Some).map_err(bad_body);
        }
        while let Some(stream) = &mut self.stream {
            let decoder = &mut self.decoder;
            let mut body = Vec::new();
            let decoded = stream
                .read(|bytes| {
                    if bytes.is_empty() {
                        decoder.end().map_err(cut_short)
                    } else {
                        decoder.push(bytes, &mut body).map_err(bad_body)
                    }
                })
                .await;
            let stamp = stream.last_read();
            decoded.map_err(|error| WireError::new(ErrorKind::Truncated, &error))??;
            self.release_if_done();
            if !body.is_empty() {
                return Ok(Some(read(body, stamp)));
            }
        }
        Ok(None)
    }

    async fn stream_to(&mut self, sink: Arc<dyn Sink>) -> Result<StreamEnd, WireError> {
        if let Some(first) = self.first.take() {
            let first = first.map_err(bad_body)?;
            if let Some(pumped) = sink.take(&first.arrival()).stops() {
                return Ok(pumped);
            }
        }
        match self.stream.take() {
            // The end came with the head: the socket has nothing more to say.
            Some(stream) if stream.has_ended() => {
                self.decoder.end().map_err(cut_short)?;
                self.ended_ns = Some(stream.last_read().at_ns);
                Ok(StreamEnd::End)
            }
            Some(stream) => self.stream_into(stream, sink).await,
            None => Ok(StreamEnd::End),
        }
    }

    fn ended_ns(&self) -> Option<i64> {
        self.ended_ns
    }
}

impl DirectBody {
    /// Lets the read loop read the body.
    async fn stream_into(
        &mut self,
        stream: Stream,
        sink: Arc<dyn Sink>,
    ) -> Result<StreamEnd, WireError> {
        let lost = |error| WireError::new(ErrorKind::Truncated, &error);
        let connection = stream.detach().map_err(lost)?;
        let decoder = std::mem::take(&mut self.decoder);
        let handler = self.read_loop.stream(connection, decoder, sink);
        let handler = handler.map_err(lost)?;
        let visited = handler.await.map_err(lost)?;
        self.decoder = visited.decoder;
        let pumped = visited.end?;
        if pumped == StreamEnd::End {
            self.ended_ns = Some(visited.connection.stamps.last().at_ns);
        }
        match Stream::attach(visited.connection) {
            Ok(stream) => {
                self.stream = Some(stream);
                self.release_if_done();
            }
            // The body is whole; only the connection can't be used again.
            Err(_) if pumped == StreamEnd::End => {}
            Err(error) => return Err(lost(error)),
        }
        Ok(pumped)
    }
}

fn read(body: Vec<u8>, stamp: ReadStamp) -> Read {
    Read {
        at_ns: stamp.at_ns,
        bytes: body.into(),
        read_seq: Some(stamp.seq),
        kernel_lag_us: stamp.kernel_lag_us,
    }
}

#[cfg(test)]
mod tests;
