//! The bare front, for `--bare`: streams of stamped tokens, and next to nothing else.
//!
//! Where a client's own error is measured, the server must not be what is late. The whole front
//! costs half as much again a token, and its HTTP library may hold a token back after it was
//! stamped. Here one task writes every token to its socket in the moment after its stamp.

mod request;

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering as Memory};
use std::time::Duration;

use axum::serve::Listener;
use bytes::{Buf as _, BytesMut};
use http::StatusCode;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::answer::Text;
use super::engine::Finish;
use super::error::SimulateError;
use super::protocol::{self, Refusal};
use super::server::OWN_FILES;
use super::settings::ServerSettings;
use super::template::{Api, Identity, StreamTemplate};
use crate::http_server::{Connections, Limits, Place};
use crate::time::clock::{Clock, utc_now_ns};
use crate::time::timer::PreciseTimer;
use request::Request;

/// Answers that wait for the task that sends; those beyond wait in their connections' tasks.
const INBOX_ANSWERS: usize = 1_024;

/// Tokens that are sent before requests are read again.
const TOKENS_A_TURN: usize = 64;

/// How long an answer waits whose socket is full.
const FULL_SOCKET_NS: i64 = 1_000_000;

/// How long a request may take to come, from when it may.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Space for what one read brings.
const READ_BYTES: usize = 4 << 10;

/// Space for the events of one turn of one answer.
const BLOCK_BYTES: usize = 1_024;

const HEAD_OF_A_STREAM: &[u8] = b"HTTP/1.1 200 OK\r\n\
    content-type: text/event-stream; charset=utf-8\r\n\
    cache-control: no-cache\r\n\
    transfer-encoding: chunked\r\n\r\n";

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const NS_PER_S: i64 = 1_000_000_000;

/// Serves for as long as it is polled.
pub(super) async fn serve(
    mut listener: TcpListener,
    settings: ServerSettings,
    interval_ns: i64,
) -> Result<(), SimulateError> {
    let clock = Clock::start();
    let timer = PreciseTimer::new().map_err(SimulateError::Timer)?;
    let (outbox, inbox) = mpsc::channel(INBOX_ANSWERS);
    let front = Arc::new(Front {
        settings,
        clock,
        outbox,
        next_request: AtomicU64::new(0),
        started_s: utc_now_ns() / NS_PER_S,
    });
    let sending = Sending {
        inbox,
        interval_ns,
        clock,
        timer,
        due: BinaryHeap::new(),
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(sending.run());
    let connections = Connections::new(Limits::beside(OWN_FILES, usize::MAX).connections);
    loop {
        let (socket, _) = Listener::accept(&mut listener).await;
        let place = connections.admit().await;
        tasks.spawn(Arc::clone(&front).hear(socket, place));
        // The one that sends never ends before the front is gone.
        while tasks.try_join_next().is_some() {}
    }
}

/// What all connections share.
#[derive(Debug)]
struct Front {
    settings: ServerSettings,
    clock: Clock,
    outbox: mpsc::Sender<Due>,
    next_request: AtomicU64,
    started_s: i64,
}

impl Front {
    /// Answers one connection until the client closes it, says nothing, or another has its place.
    async fn hear(self: Arc<Self>, socket: TcpStream, place: Place) {
        // Without it, small events would wait for the acknowledgement of earlier ones.
        let _ = socket.set_nodelay(true);
        let socket = Arc::new(socket);
        let mut bytes = BytesMut::new();
        // A connection that breaks takes its own answer with it, and nothing else.
        loop {
            let request = tokio::select! {
                biased;
                request = timeout(REQUEST_TIME, self.read_next(&socket, &mut bytes)) => request,
                () = place.is_wanted() => return,
            };
            let Ok(Ok(Some(request))) = request else {
                return;
            };
            let _answering = place.answering();
            if !matches!(self.answer_next(request, &socket).await, Ok(true)) {
                return;
            }
        }
    }

    /// Reads the next request; none where nothing more can come.
    async fn read_next(
        &self,
        socket: &TcpStream,
        bytes: &mut BytesMut,
    ) -> io::Result<Option<Request>> {
        loop {
            match request::take(bytes, self.settings.max_body_bytes) {
                Ok(Some(request)) => return Ok(Some(request)),
                Ok(None) => {}
                Err(refusal) => {
                    write(socket, &refused(&refusal)).await?;
                    return Ok(None);
                }
            }
            bytes.reserve(READ_BYTES);
            socket.readable().await?;
            match socket.try_read_buf(bytes) {
                Ok(0) => return Ok(None),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Answers a request; false where nothing more can come.
    async fn answer_next(&self, request: Request, socket: &Arc<TcpStream>) -> io::Result<bool> {
        let received = Received {
            at_ns: self.clock.now_ns(),
            utc_ns: utc_now_ns(),
        };
        let (mut answer, has_ended) = match self.answer(&request, received, socket) {
            Ok(Reply::Stream(answer)) => answer,
            Ok(Reply::Whole(body)) => {
                write(socket, &whole(StatusCode::OK, &body)).await?;
                return Ok(true);
            }
            Err(refusal) => {
                write(socket, &refused(&refusal)).await?;
                return Ok(true);
            }
        };
        drop(request);
        write(socket, HEAD_OF_A_STREAM).await?;
        if let Some(role) = answer.template.role() {
            answer.unsent.clear();
            push_chunk(&mut answer.unsent, |out| out.extend_from_slice(&role));
            write(socket, &answer.unsent.split()).await?;
        }
        let due = Due {
            at_ns: answer.due_ns,
            answer,
        };
        // Where the task that sends is gone, so is the server.
        Ok(self.outbox.send(due).await.is_ok() && has_ended.await.is_ok())
    }

    fn answer(
        &self,
        request: &Request,
        received: Received,
        socket: &Arc<TcpStream>,
    ) -> Result<Reply, Refusal> {
        let api = match (&*request.method, &*request.path) {
            ("GET", "/health") => return Ok(Reply::Whole(String::new())),
            ("GET", "/v1/models") => {
                protocol::authorize(&self.settings, request.authorization.as_deref())?;
                let models = protocol::models(&self.settings, self.started_s);
                return Ok(Reply::Whole(models.to_string()));
            }
            ("POST", "/v1/chat/completions") => Api::Chat,
            ("POST", "/v1/completions") => Api::Completions,
            _ => {
                let message = "There is nothing here under `--bare`. Try /v1/chat/completions.";
                return Err(Refusal::new(StatusCode::NOT_FOUND, message));
            }
        };
        protocol::authorize(&self.settings, request.authorization.as_deref())?;
        let number = self.next_request.fetch_add(1, Memory::Relaxed);
        let ask = protocol::parse(api, &request.body, &self.settings, number)?;
        if !ask.is_streamed {
            let message = "Under `--bare` there are only streams: set `stream`.";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        let identity = Identity {
            api,
            request: number,
            model: &ask.model,
            created_s: received.utc_ns / NS_PER_S,
        };
        let (ended, has_ended) = oneshot::channel();
        let answer = Answer {
            socket: Arc::clone(socket),
            template: StreamTemplate::new(&identity, ask.usage, ask.input_tokens),
            text: Text::Stamps(received.utc_ns),
            finish: ask.finish,
            due_ns: received.at_ns + self.settings.engine.stream_ttft_ns,
            sent: 0,
            tokens: ask.output_tokens,
            unsent: BytesMut::with_capacity(BLOCK_BYTES),
            ended,
        };
        Ok(Reply::Stream((Box::new(answer), has_ended)))
    }
}

/// When a request had been read whole, on the server's clock and in UTC.
#[derive(Debug, Clone, Copy)]
struct Received {
    at_ns: i64,
    utc_ns: i64,
}

enum Reply {
    Whole(String),
    /// An answer, and the word that it has ended well.
    Stream((Box<Answer>, oneshot::Receiver<()>)),
}

fn refused(refusal: &Refusal) -> Vec<u8> {
    whole(refusal.status(), &refusal.body())
}

fn whole(status: StatusCode, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Writes all of `bytes`, however long the socket takes.
async fn write(socket: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.writable().await?;
        match socket.try_write(bytes) {
            Ok(count) => bytes.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// An answer and when to look after it, on the server's clock.
#[derive(Debug)]
struct Due {
    at_ns: i64,
    answer: Box<Answer>,
}

/// The one that is due first is the greatest.
impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        Reverse(self.at_ns).cmp(&Reverse(other.at_ns))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

/// The task that sends all tokens.
#[derive(Debug)]
struct Sending {
    inbox: mpsc::Receiver<Due>,
    interval_ns: i64,
    clock: Clock,
    timer: PreciseTimer,
    due: BinaryHeap<Due>,
}

impl Sending {
    async fn run(mut self) {
        loop {
            let next_ns = self.due.peek().map(|next| next.at_ns);
            tokio::select! {
                biased;
                arrived = self.inbox.recv() => match arrived {
                    Some(arrived) => self.due.push(arrived),
                    None => return,
                },
                () = self.timer.sleep_until(&self.clock, next_ns.unwrap_or(i64::MAX)),
                    if next_ns.is_some() => {}
            }
            while let Ok(arrived) = self.inbox.try_recv() {
                self.due.push(arrived);
            }
            if !self.send_due() {
                // Requests are read between two turns, however many tokens are due.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Sends what is due, up to a turn's worth. Returns whether that was all.
    fn send_due(&mut self) -> bool {
        for _ in 0..TOKENS_A_TURN {
            let now_ns = self.clock.now_ns();
            let Some(mut next) = self.due.peek_mut().filter(|next| next.at_ns <= now_ns) else {
                return true;
            };
            match next.answer.send() {
                // One that was late keeps to its schedule, and catches up.
                Sent::Token => {
                    next.answer.due_ns += self.interval_ns;
                    next.at_ns = next.answer.due_ns;
                }
                Sent::NotYet => next.at_ns = now_ns + FULL_SOCKET_NS,
                Sent::All => {
                    let Due { answer, .. } = PeekMut::pop(next);
                    // The client may have left at this moment.
                    let _ = answer.ended.send(());
                }
                // The connection hears of it when the answer is dropped.
                Sent::Broken => drop(PeekMut::pop(next)),
            }
        }
        false
    }
}

/// What came of sending.
enum Sent {
    /// A token is in the socket, and more is to come.
    Token,
    /// The socket is full.
    NotYet,
    /// The answer is over.
    All,
    /// The client has left.
    Broken,
}

/// A stream under way.
#[derive(Debug)]
struct Answer {
    socket: Arc<TcpStream>,
    template: StreamTemplate,
    text: Text,
    finish: Finish,
    /// When the next token is due, on the server's clock.
    due_ns: i64,
    sent: u32,
    tokens: u32,
    /// What the socket has not taken yet.
    unsent: BytesMut,
    ended: oneshot::Sender<()>,
}

impl Answer {
    /// Sends the next token, and the end behind the last one. A token whose turn comes while the
    /// socket is full is stamped when it has room again.
    fn send(&mut self) -> Sent {
        if self.unsent.is_empty() && self.sent < self.tokens {
            self.write_token();
        }
        match self.socket.try_write(&self.unsent) {
            Ok(count) => self.unsent.advance(count),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return Sent::Broken,
        }
        if !self.unsent.is_empty() {
            return Sent::NotYet;
        }
        if self.sent == self.tokens {
            Sent::All
        } else {
            Sent::Token
        }
    }

    fn write_token(&mut self) {
        let Self { template, text, .. } = self;
        let (text, position) = (*text, self.sent);
        self.sent += 1;
        self.unsent.clear();
        self.unsent.reserve(BLOCK_BYTES);
        push_chunk(&mut self.unsent, |out| {
            template.write_token(out, position + 1, |out| text.write(out, position));
        });
        if self.sent < self.tokens {
            return;
        }
        push_chunk(&mut self.unsent, |out| {
            out.extend_from_slice(&template.finish(self.finish, self.sent));
            if let Some(usage) = template.usage(self.sent) {
                out.extend_from_slice(&usage);
            }
            out.extend_from_slice(&StreamTemplate::done());
        });
        self.unsent.extend_from_slice(LAST_CHUNK);
    }
}

/// Appends what `write` writes as one chunk (RFC 9112, section 7.1). Its length has leading zeros,
/// because it is known only afterwards.
fn push_chunk(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    const LENGTH: &[u8] = b"00000000\r\n";
    let start = out.len() + LENGTH.len();
    out.extend_from_slice(LENGTH);
    write(out);
    let length = format!("{:08x}", out.len() - start);
    out[start - LENGTH.len()..start - 2].copy_from_slice(length.as_bytes());
    out.extend_from_slice(b"\r\n");
}
