//! The server that the client is soaked against: a thread a connection, faults as they are drawn,
//! and a ledger of all of it.
//!
//! It listens on a port of loopback that a second socket, which never listens, holds as well: when
//! the server is down, nobody else gets the port, not even as the near end of a connection.

use std::collections::HashMap;
use std::io::{self, Read as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::net::sockopt::{set_socket_linger, set_socket_reuseaddr, set_socket_reuseport};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::Value;
use tokentape::time::clock::utc_now_ns;

use crate::fault::Fault;
use crate::ledger::{Ledger, prompt_key};
use crate::program::Outcome;
use crate::random::draw;
use crate::reply::{Reply, Then};

/// Connections in a thousand that are closed as soon as they are accepted.
const UNREAD_SHARE: u64 = 8;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1_024;

/// A request may be this large, in bytes.
const MAX_REQUEST_BYTES: usize = 1 << 20;

/// How often the server looks whether it is to be down.
const GLANCE: Duration = Duration::from_millis(10);

/// How long threads that answer have when the server ends.
const END_GLANCES: u32 = 2_000;

/// A running server; ends with this value.
pub(crate) struct Server {
    pub(crate) address: SocketAddrV4,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    /// Keeps the port.
    _holder: OwnedFd,
}

/// What the threads of the server share with each other and with its owner.
pub(crate) struct Shared {
    pub(crate) ledger: Ledger,
    seed: u64,
    /// The owner writes: the run that goes on.
    run: AtomicU16,
    /// Requests that have been read since that run began.
    requests: AtomicU32,
    /// The owner writes: the server is to be down until then.
    down_until_ns: AtomicI64,
    is_over: AtomicBool,
    connections: Mutex<HashMap<u64, Arc<Connection>>>,
}

/// One connection; its own thread reads and writes, others cut it.
pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    is_cut: AtomicBool,
}

impl Connection {
    /// True when the server went down while it was open.
    pub(crate) fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::Acquire)
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Release);
        // A client that was faster has closed it already.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    /// Has the connection end in a reset.
    fn arm_reset(&self) {
        let _ = set_socket_linger(&self.stream, Some(Duration::ZERO));
    }
}

/// One request, as far as it decides the answer.
struct Request {
    run: u16,
    prompt: u64,
    tokens: usize,
}

/// What came next on a connection.
enum Next {
    Request(Request),
    /// Nothing, for as long as the server waits.
    Idle,
    /// The end, after so many bytes of a request.
    Closed(usize),
}

impl Server {
    pub(crate) fn start(seed: u64) -> Outcome<Self> {
        let any = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let holder = bound(any)?;
        let SocketAddr::V4(address) = TcpListener::from(holder.try_clone()?).local_addr()? else {
            return Err("the port is on no IPv4 address".into());
        };
        let shared = Arc::new(Shared {
            ledger: Ledger::default(),
            seed,
            run: AtomicU16::new(0),
            requests: AtomicU32::new(0),
            down_until_ns: AtomicI64::new(0),
            is_over: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let first = listener(address)?;
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new()
            .name("acceptor".to_owned())
            .spawn(move || {
                // A server that can't accept any more fails the requests that follow.
                let _ = accept(&accepting, first, address);
            })?;
        Ok(Self {
            address,
            shared,
            acceptor: Some(acceptor),
            _holder: holder,
        })
    }

    /// Begins a run: what comes without a request belongs to it.
    pub(crate) fn begin(&self, run: u16) {
        self.shared.run.store(run, Ordering::Release);
        self.shared.requests.store(0, Ordering::Release);
    }

    /// Returns how many requests of this run have been read.
    pub(crate) fn requests(&self) -> u32 {
        self.shared.requests.load(Ordering::Acquire)
    }

    /// Has the server down for a while: nobody listens, and all connections are cut.
    pub(crate) fn go_down(&self, duration_ns: i64) {
        let until_ns = utc_now_ns() + duration_ns;
        self.shared.down_until_ns.store(until_ns, Ordering::Release);
    }

    /// Ends the server, and returns what it has done.
    pub(crate) fn finish(mut self) -> Outcome<Arc<Shared>> {
        self.stop();
        for _ in 0..END_GLANCES {
            if self.shared.connections().is_empty() {
                return Ok(Arc::clone(&self.shared));
            }
            thread::sleep(GLANCE);
        }
        Err("threads of the server do not end".into())
    }

    fn stop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        if let Some(acceptor) = self.acceptor.take() {
            // One that has panicked has said so.
            let _ = acceptor.join();
        }
        self.shared.cut_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn run(&self) -> u16 {
        self.run.load(Ordering::Acquire)
    }

    fn connections(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        let connections = self.connections.lock();
        connections.unwrap_or_else(PoisonError::into_inner)
    }

    fn cut_all(&self) {
        for connection in self.connections().values() {
            connection.cut();
        }
    }

    fn down_until_ns(&self) -> i64 {
        self.down_until_ns.load(Ordering::Acquire)
    }
}

/// Returns a socket with an address, which another socket of ours may have too.
fn bound(address: SocketAddrV4) -> Outcome<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    set_socket_reuseaddr(&socket, true)?;
    set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

fn listener(address: SocketAddrV4) -> Outcome<TcpListener> {
    let socket = bound(address)?;
    listen(&socket, BACKLOG)?;
    let listener = TcpListener::from(socket);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes connections, but for the times when the server is down, until it is over.
fn accept(shared: &Arc<Shared>, mut open: TcpListener, address: SocketAddrV4) -> Outcome<()> {
    let mut state = shared.seed;
    let mut number = 0;
    while !shared.is_over() {
        if utc_now_ns() < shared.down_until_ns() {
            let from_ns = utc_now_ns();
            drop(open);
            shared.cut_all();
            while utc_now_ns() < shared.down_until_ns() && !shared.is_over() {
                thread::sleep(GLANCE);
            }
            open = listener(address)?;
            shared.ledger.outages().push((from_ns, utc_now_ns()));
        }
        let stream = match open.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            // One that was reset while it waited.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
            Err(error) => return Err(error.into()),
        };
        stream.set_nodelay(true)?;
        let connection = Connection {
            stream,
            is_cut: AtomicBool::new(false),
        };
        let is_left_unread = draw(&mut state) % 1_000 < UNREAD_SHARE;
        if is_left_unread {
            if draw(&mut state).is_multiple_of(2) {
                connection.arm_reset();
            }
            shared.ledger.unread().push(shared.run());
            continue;
        }
        number += 1;
        let connection = Arc::new(connection);
        shared.connections().insert(number, Arc::clone(&connection));
        let serving = Arc::clone(shared);
        let mut state = draw(&mut state);
        thread::Builder::new()
            .stack_size(256 << 10)
            .spawn(move || {
                serve(&serving, &connection, &mut state);
                // Closes it, with the last of its owners.
                serving.connections().remove(&number);
            })?;
    }
    Ok(())
}

/// Answers requests until the connection is over.
fn serve(shared: &Shared, connection: &Connection, state: &mut u64) {
    let mut bytes = Vec::new();
    let mut patience = None;
    loop {
        let request = match next_request(connection, &mut bytes, patience) {
            Ok(Next::Request(request)) => request,
            Ok(Next::Idle) => {
                if close_idle(connection) {
                    shared.ledger.unread().push(shared.run());
                }
                return;
            }
            Ok(Next::Closed(0)) => return,
            Ok(Next::Closed(_)) | Err(_) => {
                shared.ledger.unread().push(shared.run());
                return;
            }
        };
        shared.requests.fetch_add(1, Ordering::AcqRel);
        // The same prompt meets the same fault, whatever connection it came by.
        let mut state_of_request = shared.seed ^ request.prompt;
        let fault = Fault::draw(&mut state_of_request);
        let mut reply = Reply::new((shared, connection), fault, state_of_request);
        let then = reply.answer(request.tokens);
        let entry = reply.into_entry(request.run, request.prompt);
        shared.ledger.entries().push(entry);
        match then {
            Then::Next => patience = None,
            Then::CloseWhenIdle => {
                patience = Some(Duration::from_millis(1 + draw(state) % 300));
            }
            Then::Close => return,
            Then::Reset => return connection.arm_reset(),
        }
    }
}

/// Closes an idle connection. Returns whether a request was just on its way.
fn close_idle(connection: &Connection) -> bool {
    let mut stream = &connection.stream;
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.set_read_timeout(Some(Duration::from_millis(200)));
    matches!(stream.read(&mut [0]), Ok(1..))
}

/// Reads a request whole. Waits for its first byte as long as `patience` says.
fn next_request(
    connection: &Connection,
    bytes: &mut Vec<u8>,
    patience: Option<Duration>,
) -> Outcome<Next> {
    let mut stream = &connection.stream;
    stream.set_read_timeout(patience)?;
    let mut buffer = [0; 4 << 10];
    loop {
        if let Some(request) = take_request(bytes)? {
            return Ok(Next::Request(request));
        }
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(Next::Closed(bytes.len())),
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && bytes.is_empty() => {
                return Ok(Next::Idle);
            }
            Err(_) => return Ok(Next::Closed(bytes.len())),
        }
        if bytes.len() > MAX_REQUEST_BYTES {
            return Err("the request is too large".into());
        }
    }
}

/// Takes a request off the bytes, once it is whole.
fn take_request(bytes: &mut Vec<u8>) -> Outcome<Option<Request>> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok())
        .unwrap_or(0);
    let whole = end + 4 + length;
    if bytes.len() < whole {
        return Ok(None);
    }
    // The address of a run begins with its number.
    let run = head
        .split('/')
        .nth(1)
        .ok_or("the request has no path")?
        .parse()?;
    let body: Value = serde_json::from_slice(&bytes[end + 4..whole])?;
    let prompt = body["prompt"].as_str().ok_or("the request has no prompt")?;
    let tokens = body["max_tokens"]
        .as_u64()
        .ok_or("the request has no length")?;
    let request = Request {
        run,
        prompt: prompt_key(prompt),
        tokens: usize::try_from(tokens)?.max(2),
    };
    bytes.drain(..whole);
    Ok(Some(request))
}
