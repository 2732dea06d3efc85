//! A server that streams tokens which say when they were sent, and does next to nothing else.
//!
//! One thread waits with epoll until a request comes or a token is due, and writes each token by
//! itself. A token is stamped in the moment before the system call that sends it, so that what a
//! client sees as late was late on the client's side. It speaks the protocols of `answers.rs`, and
//! TLS where it is given a certificate. `simulate --stamp` does the same behind a
//! whole HTTP server, whose own queue shows from some 50,000 tokens a second on one core, and with
//! `--bare` behind one that does little else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, BufRead as _, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::time::{ClockId, Timespec, clock_gettime};
use rustls::{ServerConfig, ServerConnection};

use crate::answers::Answer;
use crate::connections::Connections;
use crate::http_request::extent;
use crate::pinned::on_core;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const NS_PER_S: i64 = 1_000_000_000;

/// How often the server looks whether it is over, in nanoseconds.
const GLANCE_NS: i64 = 20_000_000;

/// Tokens that are sent before the server looks for requests again.
const TOKENS_A_TURN: usize = 64;

/// The answer to whatever does not ask for a stream: the list of models.
const MODELS: &str = r#"{"object":"list","data":[{"id":"simulated","object":"model"}]}"#;

/// When tokens are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Time from the request to the first token.
    pub(crate) ttft_ns: i64,
    /// Time between two tokens of a stream.
    pub(crate) interval_ns: i64,
}

/// A running server; ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the server's thread and its owner share.
#[derive(Default)]
pub(crate) struct Shared {
    /// The owner writes: no more is wanted.
    is_over: AtomicBool,
    /// When a connection and a request's first byte first arrived, on the monotonic clock; 0 until
    /// then. The server writes, the owner takes.
    pub(crate) first_connection_ns: AtomicI64,
    pub(crate) first_byte_ns: AtomicI64,
}

impl Server {
    /// Starts a server whose thread stays on `core`; it speaks TLS where it is told how.
    pub(crate) fn start(core: usize, pace: Pace, tls: Option<Arc<ServerConfig>>) -> Outcome<Self> {
        let (connections, address) = Connections::listen()?;
        let shared = Arc::new(Shared::default());
        let mut serving = Serving {
            connections,
            pace,
            tls,
            begun: 0,
            due: BinaryHeap::new(),
            shared: Arc::clone(&shared),
        };
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || {
                // A server that has failed answers no more, which fails the client's requests.
                let _ = on_core(core, || serving.serve());
            })?;
        Ok(Self {
            address,
            shared,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

/// Notes the time where none is noted yet.
fn note_first(at_ns: &AtomicI64) {
    if at_ns.load(Ordering::Relaxed) == 0 {
        at_ns.store(now_ns(ClockId::Monotonic), Ordering::Release);
    }
}

/// Returns a clock's time, in nanoseconds.
pub(crate) fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * NS_PER_S + now.tv_nsec
}

/// What the server's thread owns.
struct Serving {
    connections: Connections<Connection>,
    pace: Pace,
    tls: Option<Arc<ServerConfig>>,
    /// Connections that there have been.
    begun: u64,
    /// When which connection has a token to send, on the monotonic clock, the next one first. One
    /// that has gone meanwhile is told from another at its place by its number.
    due: BinaryHeap<Reverse<(i64, usize, u64)>>,
    shared: Arc<Shared>,
}

struct Connection {
    number: u64,
    socket: TcpStream,
    tls: Option<Box<ServerConnection>>,
    /// What has been read of the current request.
    bytes: Vec<u8>,
    /// What has not been taken by the socket yet.
    unsent: Vec<u8>,
    answer: Option<Answer>,
    /// When the request had arrived; until the first token.
    received_utc_ns: Option<i64>,
}

impl Serving {
    fn serve(&mut self) -> Outcome<()> {
        while !self.shared.is_over.load(Ordering::Acquire) {
            let wait_ns = self.send_due().min(GLANCE_NS);
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: wait_ns,
            };
            let (begun, tls, shared) = (&mut self.begun, &self.tls, &self.shared);
            let places = self.connections.wait(&wait, |socket| {
                note_first(&shared.first_connection_ns);
                *begun += 1;
                Connection::new(*begun, socket, tls.as_ref())
            })?;
            for place in places {
                self.hear(place);
            }
        }
        Ok(())
    }

    /// Reads what is there, begins the answer to what is whole, and forgets a connection that is
    /// over.
    fn hear(&mut self, place: usize) {
        let Some(connection) = self.connections.at(place) else {
            return;
        };
        match connection.read(&self.shared) {
            Ok(true) => {
                let due_ns = now_ns(ClockId::Monotonic) + self.pace.ttft_ns;
                self.due.push(Reverse((due_ns, place, connection.number)));
            }
            Ok(false) => {}
            Err(_) => self.connections.forget(place),
        }
    }

    /// Sends what is due, up to a turn's worth; returns how long until more is, in nanoseconds.
    fn send_due(&mut self) -> i64 {
        for _ in 0..TOKENS_A_TURN {
            let Some(Reverse((due_ns, place, number))) = self.due.peek().copied() else {
                return GLANCE_NS;
            };
            let wait_ns = due_ns - now_ns(ClockId::Monotonic);
            if wait_ns > 0 {
                return wait_ns;
            }
            self.due.pop();
            let connection = self.connections.at(place);
            let Some(connection) = connection.filter(|there| there.number == number) else {
                continue;
            };
            match connection.send_token() {
                Ok(true) => {
                    let next_ns = due_ns + self.pace.interval_ns;
                    self.due.push(Reverse((next_ns, place, number)));
                }
                Ok(false) => {}
                Err(_) => self.connections.forget(place),
            }
        }
        0
    }
}

impl Connection {
    fn new(number: u64, socket: TcpStream, tls: Option<&Arc<ServerConfig>>) -> Self {
        let tls = tls.and_then(|config| ServerConnection::new(Arc::clone(config)).ok());
        Self {
            number,
            socket,
            tls: tls.map(|mut session| {
                session.set_buffer_limit(None);
                Box::new(session)
            }),
            bytes: Vec::new(),
            unsent: Vec::new(),
            answer: None,
            received_utc_ns: None,
        }
    }

    /// Returns true when a stream has been asked for; an error when the client has left.
    fn read(&mut self, shared: &Shared) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let count = match self.socket.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        note_first(&shared.first_byte_ns);
        self.take_in(&buffer[..count])?;
        let Some((head_end, length)) = extent(&self.bytes) else {
            return Ok(false);
        };
        if self.bytes.len() < length {
            return Ok(false);
        }
        let received_utc_ns = now_ns(ClockId::Realtime);
        let request: Vec<u8> = self.bytes.drain(..length).collect();
        let (head, body) = request.split_at(head_end);
        if !head.starts_with(b"POST ") {
            let length = MODELS.len();
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{MODELS}"
            );
            self.write(answer.as_bytes())?;
            return Ok(false);
        }
        let answer = Answer::to(head, body);
        self.received_utc_ns = Some(received_utc_ns);
        self.write(&answer.begin())?;
        self.answer = Some(answer);
        Ok(true)
    }

    /// Appends what was read to the current request, out of TLS where there is TLS.
    fn take_in(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(tls) = &mut self.tls else {
            self.bytes.extend_from_slice(bytes);
            return Ok(());
        };
        while !bytes.is_empty() && tls.read_tls(&mut bytes)? > 0 {
            tls.process_new_packets().map_err(io::Error::other)?;
            let mut reader = tls.reader();
            while let Ok(piece) = reader.fill_buf()
                && !piece.is_empty()
            {
                self.bytes.extend_from_slice(piece);
                let count = piece.len();
                reader.consume(count);
            }
        }
        self.write(&[])
    }

    /// Sends the next token, and the end behind the last one. Returns whether more is to come.
    fn send_token(&mut self) -> io::Result<bool> {
        let Some(answer) = &mut self.answer else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if answer.is_over() {
            return self.send_rest();
        }
        let mut events = Vec::with_capacity(512);
        let received = self.received_utc_ns.take();
        let sent_utc_ns = now_ns(ClockId::Realtime);
        let text = match received {
            Some(received_utc_ns) => format!(" {received_utc_ns}:{sent_utc_ns}"),
            None => format!(" {sent_utc_ns}"),
        };
        answer.push_token(&mut events, &text);
        let is_last = answer.is_over();
        self.write(&events)?;
        if is_last {
            return self.send_rest();
        }
        Ok(true)
    }

    /// Ends the answer when the socket has taken all of it. Returns whether something is left.
    fn send_rest(&mut self) -> io::Result<bool> {
        self.write(&[])?;
        let has_more = match &self.tls {
            Some(tls) => tls.wants_write(),
            None => !self.unsent.is_empty(),
        };
        if !has_more {
            self.answer = None;
        }
        Ok(has_more)
    }

    /// Writes what the socket takes; the rest goes before whatever comes next.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(tls) = &mut self.tls {
            tls.writer().write_all(bytes)?;
            while tls.wants_write() {
                match tls.write_tls(&mut self.socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error),
                }
            }
            return Ok(());
        }
        let mut before = std::mem::take(&mut self.unsent);
        let bytes = if before.is_empty() {
            bytes
        } else {
            before.extend_from_slice(bytes);
            &before
        };
        if bytes.is_empty() {
            return Ok(());
        }
        let count = match self.socket.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&bytes[count..]);
        Ok(())
    }
}
