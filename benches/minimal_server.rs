//! A server that answers every request at once with one token: the least that a client can meet.
//!
//! One thread waits with epoll, reads whole requests and writes the same short event stream to
//! each, on connections that stay open. It decodes no JSON, so that it is no part of what is
//! measured.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread::{self, JoinHandle};

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::connections::Connections;
use crate::http_request::extent;
use crate::pinned::on_core;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// How often the server looks whether it is over.
const GLANCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

const EVENTS: &str = "\
    data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"text\":\" word\",\"finish_reason\":null}]}\n\n\
    data: {\"id\":\"a\",\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]}\n\n\
    data: [DONE]\n\n";

/// Returns the monotonic clock's time, in nanoseconds.
pub(crate) fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A running server; ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the server's thread and its owner share.
#[derive(Default)]
struct Shared {
    /// The owner writes: no more is wanted.
    is_over: AtomicBool,
    /// When a connection and a request's first byte first arrived; 0 until then. The server
    /// writes, the owner takes.
    first_connection_ns: AtomicI64,
    first_byte_ns: AtomicI64,
}

impl Server {
    /// Starts a server whose thread stays on `core`.
    pub(crate) fn start(core: usize) -> Outcome<Self> {
        let (connections, address) = Connections::listen()?;
        let shared = Arc::new(Shared::default());
        let mut serving = Serving {
            connections,
            answer: answer(),
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

    /// Returns when, since the last call, the first connection and the first byte of a request
    /// arrived, on the monotonic clock.
    pub(crate) fn take_firsts_ns(&self) -> Option<(i64, i64)> {
        let take = |at_ns: &AtomicI64| at_ns.swap(0, Ordering::AcqRel);
        let connection_ns = take(&self.shared.first_connection_ns);
        let byte_ns = take(&self.shared.first_byte_ns);
        (byte_ns > 0).then_some((connection_ns, byte_ns))
    }
}

/// Notes the time where none is noted yet.
fn note_first(at_ns: &AtomicI64) {
    if at_ns.load(Ordering::Relaxed) == 0 {
        at_ns.store(now_ns(), Ordering::Release);
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

/// The head and the events of the one answer, as one chunk and the last one.
fn answer() -> Vec<u8> {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n\
         {:x}\r\n{EVENTS}\r\n0\r\n\r\n",
        EVENTS.len()
    )
    .into_bytes()
}

/// What the server's thread owns.
struct Serving {
    connections: Connections<Connection>,
    answer: Vec<u8>,
    shared: Arc<Shared>,
}

struct Connection {
    stream: TcpStream,
    /// What has been read of the current request.
    bytes: Vec<u8>,
    /// Size of the current request, once its head has arrived.
    length: Option<usize>,
}

impl Serving {
    fn serve(&mut self) -> Outcome<()> {
        while !self.shared.is_over.load(Ordering::Acquire) {
            let shared = &self.shared;
            let places = self.connections.wait(&GLANCE, |stream| {
                note_first(&shared.first_connection_ns);
                Connection {
                    stream,
                    bytes: Vec::new(),
                    length: None,
                }
            })?;
            for place in places {
                self.read(place);
            }
        }
        Ok(())
    }

    /// Reads what is there, answers what is whole, and forgets a connection that is over.
    fn read(&mut self, place: usize) {
        let Some(connection) = self.connections.at(place) else {
            return;
        };
        let is_open = connection.read(&self.shared, &self.answer).unwrap_or(false);
        if !is_open {
            self.connections.forget(place);
        }
    }
}

impl Connection {
    /// Returns false when the client has closed it.
    fn read(&mut self, shared: &Shared, answer: &[u8]) -> io::Result<bool> {
        let mut buffer = [0; 64 << 10];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            note_first(&shared.first_byte_ns);
            self.bytes.extend_from_slice(&buffer[..count]);
            while let Some(length) = self.request_length()
                && self.bytes.len() >= length
            {
                self.bytes.drain(..length);
                self.length = None;
                self.stream.write_all(answer)?;
            }
            if count < buffer.len() {
                // Whatever comes next wakes the server again.
                return Ok(true);
            }
        }
    }

    /// Returns the size of the request that has begun, once its head is whole.
    fn request_length(&mut self) -> Option<usize> {
        if self.length.is_none() {
            self.length = extent(&self.bytes).map(|(_, length)| length);
        }
        self.length
    }
}
