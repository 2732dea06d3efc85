//! A server that streams tokens which say when they were sent, and does next to nothing else.
//!
//! One thread waits with epoll until a request comes or a token is due, and writes each token by
//! itself. A token is stamped in the moment before the system call that sends it, so that what a
//! client sees as late was late on the client's side. `simulate --stamp` does the same behind a
//! whole HTTP server, whose own queue shows from some 50,000 tokens a second on one core, and with
//! `--bare` behind one that does little else.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use rustix::time::{ClockId, Timespec, clock_gettime};

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
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a server whose thread stays on `core`.
    pub(crate) fn start(core: usize, pace: Pace) -> Outcome<Self> {
        let (connections, address) = Connections::listen()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let mut serving = Serving {
            connections,
            pace,
            begun: 0,
            due: BinaryHeap::new(),
            is_over: Arc::clone(&is_over),
        };
        let thread = thread::Builder::new()
            .name("server".to_owned())
            .spawn(move || {
                // A server that has failed answers no more, which fails the client's requests.
                let _ = on_core(core, || serving.serve());
            })?;
        Ok(Self {
            address,
            is_over,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

fn now_ns(clock: ClockId) -> i64 {
    let now = clock_gettime(clock);
    now.tv_sec * NS_PER_S + now.tv_nsec
}

/// What the server's thread owns.
struct Serving {
    connections: Connections<Connection>,
    pace: Pace,
    /// Connections that there have been.
    begun: u64,
    /// When which connection has a token to send, on the monotonic clock, the next one first. One
    /// that has gone meanwhile is told from another at its place by its number.
    due: BinaryHeap<Reverse<(i64, usize, u64)>>,
    is_over: Arc<AtomicBool>,
}

struct Connection {
    number: u64,
    stream: TcpStream,
    /// What has been read of the current request.
    bytes: Vec<u8>,
    /// What has not been taken by the socket yet.
    unsent: Vec<u8>,
    answer: Option<Answer>,
}

/// A stream under way.
struct Answer {
    is_chat: bool,
    received_utc_ns: Option<i64>,
    sent: u32,
    tokens: u32,
}

impl Serving {
    fn serve(&mut self) -> Outcome<()> {
        while !self.is_over.load(Ordering::Acquire) {
            let wait_ns = self.send_due().clamp(0, GLANCE_NS);
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: wait_ns,
            };
            let begun = &mut self.begun;
            let places = self.connections.wait(&wait, |stream| {
                *begun += 1;
                Connection {
                    number: *begun,
                    stream,
                    bytes: Vec::new(),
                    unsent: Vec::new(),
                    answer: None,
                }
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
        match connection.read() {
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
    /// Returns true when a stream has been asked for; an error when the client has left.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        let count = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        self.bytes.extend_from_slice(&buffer[..count]);
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
        self.answer = Some(Answer {
            is_chat: head.windows(5).any(|part| part == b"/chat"),
            received_utc_ns: Some(received_utc_ns),
            sent: 0,
            tokens: max_tokens(body).max(1),
        });
        self.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        )?;
        Ok(true)
    }

    /// Sends the next token, and the end behind the last one. Returns whether more is to come.
    fn send_token(&mut self) -> io::Result<bool> {
        let Some(answer) = &mut self.answer else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        if answer.sent == answer.tokens {
            return self.send_rest();
        }
        answer.sent += 1;
        let sent = answer.sent;
        let is_last = sent == answer.tokens;
        let mut events = Vec::with_capacity(512);
        let received = answer.received_utc_ns.take();
        let sent_utc_ns = now_ns(ClockId::Realtime);
        let text = match received {
            Some(received_utc_ns) => format!(" {received_utc_ns}:{sent_utc_ns}"),
            None => format!(" {sent_utc_ns}"),
        };
        if answer.is_chat {
            push_chunk(
                &mut events,
                &format!(
                    "data: {{\"id\":\"chatcmpl-0\",\"object\":\"chat.completion.chunk\",\"created\":0,\
                     \"model\":\"simulated\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\
                     \"logprobs\":null,\"finish_reason\":null}}]}}\n\n"
                ),
            );
        } else {
            push_chunk(
                &mut events,
                &format!(
                    "data: {{\"id\":\"cmpl-0\",\"object\":\"text_completion\",\"created\":0,\
                     \"model\":\"simulated\",\"choices\":[{{\"index\":0,\"text\":\"{text}\",\
                     \"logprobs\":null,\"finish_reason\":null,\"stop_reason\":null}}]}}\n\n"
                ),
            );
        }
        if is_last {
            let end = if answer.is_chat {
                "\"delta\":{}"
            } else {
                "\"text\":\"\""
            };
            push_chunk(
                &mut events,
                &format!(
                    "data: {{\"id\":\"a\",\"model\":\"simulated\",\"choices\":[{{\"index\":0,{end},\
                     \"finish_reason\":\"length\"}}]}}\n\n\
                     data: {{\"id\":\"a\",\"model\":\"simulated\",\"choices\":[],\"usage\":{{\
                     \"prompt_tokens\":1,\"completion_tokens\":{sent},\"total_tokens\":{}}}}}\n\n\
                     data: [DONE]\n\n",
                    sent + 1
                ),
            );
            events.extend_from_slice(b"0\r\n\r\n");
        }
        self.write(&events)?;
        if is_last {
            return self.send_rest();
        }
        Ok(true)
    }

    /// Ends the answer when the socket has taken all of it. Returns whether something is left.
    fn send_rest(&mut self) -> io::Result<bool> {
        self.write(&[])?;
        let has_more = !self.unsent.is_empty();
        if !has_more {
            self.answer = None;
        }
        Ok(has_more)
    }

    /// Writes what the socket takes; the rest goes before whatever comes next.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
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
        let count = match self.stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        };
        self.unsent.extend_from_slice(&bytes[count..]);
        Ok(())
    }
}

/// Appends an HTTP chunk.
fn push_chunk(out: &mut Vec<u8>, data: &str) {
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Reads how many tokens a body asks for, without decoding it; 16 where it says nothing.
fn max_tokens(body: &[u8]) -> u32 {
    let body = String::from_utf8_lossy(body);
    let named = ["\"max_tokens\":", "\"max_completion_tokens\":"]
        .iter()
        .find_map(|name| body.split_once(name));
    let digits = named.map_or("", |(_, rest)| rest.trim_start());
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(16)
}
