//! The read loop: bodies that stream are read by one thread for all of them, or by a few.
//!
//! Where the runtime reads, a wake-up costs as much again as the read itself: a task is woken, or a
//! second poller is asked. The sockets of streaming bodies are therefore taken out of the runtime's
//! hands, and a thread of the read loop's own waits for all of them at once. It reads from each that has
//! something, stamps it, takes it out of its framing and hands it to the stream's sink. The task that
//! waits for a stream is woken once, at the end.
//!
//! What is to be sent is thereby not held up by what is to be read, as far as there is a core for
//! each. Where there is one for both, the system shares it out: this thread gives its turn to nobody,
//! because newer systems (Linux 6.18) take a whole slice from whoever yields, so that one that yields
//! often is not run for tenths of a second once others have work.

use std::future::Future;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token, Waker};
use tokio::sync::oneshot;

use super::body::{BodyDecoder, bad_body, cut_short};
use super::socket::{Detached, READ_BYTES};
use super::tls::Tls;
use crate::capture::schema::ErrorKind;
use crate::throttle::thread_cpu_ns;
use crate::time::clock::Clock;
use crate::wire::{Arrival, Flow, ReadingThread, Sink, StreamEnd, WireError};

/// Sockets of which the system tells at once.
const EVENTS_A_TURN: usize = 256;

/// Full reads of one socket before others are served.
const READS_A_TURN: usize = 4;

/// Stands for the waker among the tokens of streams.
const WAKER: Token = Token(usize::MAX);

/// The threads that read, between which the streams of a run are shared out. With the last copy they
/// end.
#[derive(Clone)]
pub struct Readers {
    loops: Arc<[ReadLoop]>,
    next: Arc<AtomicUsize>,
}

impl Readers {
    /// Starts so many threads, at least one, which stamp on `clock`.
    ///
    /// # Errors
    ///
    /// [`WireError`] where the system gives no thread to read on.
    pub fn start(clock: Clock, count: usize) -> Result<Self, WireError> {
        let started = (0..count.max(1)).map(|_| ReadLoop::start(clock));
        let loops: io::Result<Vec<_>> = started.collect();
        let loops = loops.map_err(|error| WireError::new(ErrorKind::Connect, &error))?;
        Ok(Self {
            loops: loops.into(),
            next: Arc::default(),
        })
    }

    /// What is known of the threads.
    pub fn threads(&self) -> Vec<Arc<dyn ReadingThread>> {
        self.loops.iter().map(ReadLoop::thread).collect()
    }

    /// The one that reads the next stream: each in its turn.
    pub(super) fn next(&self) -> ReadLoop {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.loops[number % self.loops.len()].clone()
    }
}

/// Bodies that stream. Copies are of the same read loop; with the last one its thread ends.
#[derive(Clone)]
pub(super) struct ReadLoop {
    handle: Arc<Handle>,
}

struct Handle {
    registry: Registry,
    shared: Arc<Shared>,
}

/// What the read loop's thread shares with others.
struct Shared {
    clock: Clock,
    waker: Waker,
    registrations: Mutex<Registrations>,
    /// When somebody knocked to see how long the thread takes to come; 0 when it has come.
    knocked_ns: AtomicI64,
    /// The longest that it took since that was last asked for.
    lag_max_ns: AtomicI64,
    /// CPU time of the thread.
    cpu_ns: AtomicI64,
    next_id: AtomicU64,
}

/// Streams that come and streams that go.
#[derive(Default)]
struct Registrations {
    entering: Vec<(usize, Streaming)>,
    /// Those who go before their stream has ended.
    leaving: Vec<StreamId>,
    /// Tokens that were used and are free.
    free: Vec<usize>,
    tokens: usize,
    is_closing: bool,
}

/// The place of a stream, and which of those that have it one after the other it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StreamId {
    token: usize,
    id: u64,
}

/// A body whose reads go to a sink.
struct Streaming {
    connection: Detached,
    decoder: BodyDecoder,
    sink: Arc<dyn Sink>,
    /// The other side will send no more: its end is to be read as well.
    is_closing: bool,
    id: u64,
    ended: oneshot::Sender<EndedStream>,
}

/// A body that has left the read loop.
pub(super) struct EndedStream {
    pub(super) connection: Detached,
    pub(super) decoder: BodyDecoder,
    pub(super) end: Result<StreamEnd, WireError>,
}

impl ReadLoop {
    /// Makes a read loop and starts its thread.
    pub(super) fn start(clock: Clock) -> io::Result<Self> {
        let poller = mio::Poll::new()?;
        let shared = Arc::new(Shared {
            clock,
            waker: Waker::new(poller.registry(), WAKER)?,
            registrations: Mutex::default(),
            knocked_ns: AtomicI64::new(0),
            lag_max_ns: AtomicI64::new(0),
            cpu_ns: AtomicI64::new(0),
            next_id: AtomicU64::new(0),
        });
        let registry = poller.registry().try_clone()?;
        let state = PollState {
            poller,
            shared: Arc::clone(&shared),
            streams: Vec::new(),
            unfinished: Vec::new(),
            buffers: Buffers {
                raw: vec![0; READ_BYTES],
                plain: Vec::new(),
                body: Vec::new(),
            },
            is_closing: false,
        };
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || state.serve())?;
        let handle = Handle { registry, shared };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Lets a body stream into `sink`. The future returns it when it has ended or the sink has had
    /// enough; dropped before, it closes the connection.
    pub(super) fn stream(
        &self,
        connection: Detached,
        decoder: BodyDecoder,
        sink: Arc<dyn Sink>,
    ) -> io::Result<StreamWait> {
        let Handle { registry, shared } = &*self.handle;
        let (ended, has_ended) = oneshot::channel();
        let descriptor = connection.socket.as_raw_fd();
        let id = shared.next_id.fetch_add(1, Ordering::Relaxed);
        let streaming = Streaming {
            connection,
            decoder,
            sink,
            is_closing: false,
            id,
            ended,
        };
        // It is registered before its socket can say anything.
        let token = shared.registrations().enter(streaming)?;
        let wait = StreamWait {
            read_loop: self.clone(),
            id: Some(StreamId { token, id }),
            has_ended,
        };
        registry.register(&mut SourceFd(&descriptor), Token(token), Interest::READABLE)?;
        Ok(wait)
    }

    /// What is known of the read loop's thread.
    pub(super) fn thread(&self) -> Arc<dyn ReadingThread> {
        Arc::clone(&self.handle.shared) as _
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.registrations().is_closing = true;
        self.shared.wake();
    }
}

impl Shared {
    fn registrations(&self) -> MutexGuard<'_, Registrations> {
        self.registrations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at the registrations.
    fn wake(&self) {
        // It fails where the system has no memory for an event: whoever waits has limits on time.
        let _ = self.waker.wake();
    }

    fn leave(&self, id: StreamId) {
        let mut registrations = self.registrations();
        let place = registrations
            .entering
            .iter()
            .position(|(_, streaming)| streaming.id == id.id);
        if let Some(place) = place {
            let (token, _) = registrations.entering.swap_remove(place);
            registrations.free.push(token);
        } else {
            registrations.leaving.push(id);
            drop(registrations);
            self.wake();
        }
    }
}

impl ReadingThread for Shared {
    fn knock(&self) {
        let now_ns = self.clock.now_ns();
        let has_come =
            self.knocked_ns
                .compare_exchange(0, now_ns, Ordering::AcqRel, Ordering::Relaxed);
        // One that has not come yet is late since the first knock.
        if has_come.is_ok() {
            self.wake();
        }
    }

    fn take_lag_max_ns(&self) -> i64 {
        let knocked_ns = self.knocked_ns.load(Ordering::Acquire);
        let waiting_ns = match knocked_ns {
            0 => 0,
            knocked_ns => self.clock.now_ns() - knocked_ns,
        };
        let lag_max_ns = self.lag_max_ns.swap(0, Ordering::AcqRel);
        lag_max_ns.max(waiting_ns)
    }

    fn cpu_ns(&self) -> i64 {
        self.cpu_ns.load(Ordering::Relaxed)
    }
}

impl Registrations {
    fn enter(&mut self, streaming: Streaming) -> io::Result<usize> {
        if self.is_closing {
            return Err(nobody_reads());
        }
        let token = self.free.pop().unwrap_or_else(|| {
            self.tokens += 1;
            self.tokens - 1
        });
        self.entering.push((token, streaming));
        Ok(token)
    }
}

fn nobody_reads() -> io::Error {
    io::Error::other("the thread that reads has ended")
}

/// The wait for a stream's end.
pub(super) struct StreamWait {
    read_loop: ReadLoop,
    /// Gone when the stream has left.
    id: Option<StreamId>,
    has_ended: oneshot::Receiver<EndedStream>,
}

impl Future for StreamWait {
    type Output = io::Result<EndedStream>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = std::task::ready!(Pin::new(&mut self.has_ended).poll(context));
        self.id = None;
        Poll::Ready(ended.map_err(|_| nobody_reads()))
    }
}

impl Drop for StreamWait {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.read_loop.handle.shared.leave(id);
        }
    }
}

/// What the read loop's thread works on.
struct PollState {
    poller: mio::Poll,
    shared: Arc<Shared>,
    /// By token.
    streams: Vec<Option<Streaming>>,
    /// Streams of which more could have been read when they were last served.
    unfinished: Vec<usize>,
    buffers: Buffers,
    is_closing: bool,
}

/// What becomes of one read.
struct Buffers {
    /// As it came.
    raw: Vec<u8>,
    /// Out of TLS, where there is TLS.
    plain: Vec<u8>,
    /// Out of its framing.
    body: Vec<u8>,
}

impl PollState {
    /// Serves all streams until nobody is left who could bring one.
    fn serve(mut self) {
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        while !self.is_closing {
            match self.turn(&mut events) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Streams that are here then end, as this thread does.
                Err(_) => return,
            }
        }
    }

    /// Waits until streams have something, and serves them.
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        for token in std::mem::take(&mut self.unfinished) {
            self.serve_stream(token, None);
        }
        let patience = (!self.unfinished.is_empty()).then_some(Duration::ZERO);
        self.poller.poll(events, patience)?;
        for event in &*events {
            if event.token() == WAKER {
                self.take_registrations();
                self.answer();
            } else {
                self.serve_stream(event.token().0, Some(event));
            }
        }
        Ok(())
    }

    /// Says how long it took to come.
    fn answer(&self) {
        let knocked_ns = self.shared.knocked_ns.load(Ordering::Acquire);
        if knocked_ns != 0 {
            let lag_ns = self.shared.clock.now_ns() - knocked_ns;
            self.shared.lag_max_ns.fetch_max(lag_ns, Ordering::AcqRel);
            self.shared.knocked_ns.store(0, Ordering::Release);
            self.shared.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
        }
    }

    /// Lets in who has come, and out who wants to go.
    fn take_registrations(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut registrations = shared.registrations();
        self.is_closing |= registrations.is_closing;
        for (token, streaming) in registrations.entering.drain(..) {
            if self.streams.len() <= token {
                self.streams.resize_with(token + 1, || None);
            }
            if let Some(place) = self.streams.get_mut(token) {
                *place = Some(streaming);
            }
        }
        let leaving = std::mem::take(&mut registrations.leaving);
        drop(registrations);
        for id in leaving {
            let streaming = self.stream(id.token);
            if streaming.is_some_and(|streaming| streaming.id == id.id) {
                self.remove(id.token);
            }
        }
    }

    fn stream(&mut self, token: usize) -> Option<&mut Streaming> {
        self.streams.get_mut(token)?.as_mut()
    }

    /// Reads what a stream has.
    fn serve_stream(&mut self, token: usize, event: Option<&Event>) {
        if self.stream(token).is_none() {
            self.take_registrations();
        }
        let Some(Some(streaming)) = self.streams.get_mut(token) else {
            return;
        };
        streaming.is_closing |=
            event.is_some_and(|event| event.is_read_closed() || event.is_error());
        match streaming.read(&mut self.buffers) {
            ReadOutcome::Drained => {}
            ReadOutcome::HasMore if self.unfinished.contains(&token) => {}
            ReadOutcome::HasMore => self.unfinished.push(token),
            ReadOutcome::Over(end) => {
                if let Some(streaming) = self.remove(token) {
                    // Nobody waits any more where the wait was given up at this moment.
                    let _ = streaming.ended.send(EndedStream {
                        connection: streaming.connection,
                        decoder: streaming.decoder,
                        end,
                    });
                }
            }
        }
    }

    fn remove(&mut self, token: usize) -> Option<Streaming> {
        let streaming = self.streams.get_mut(token)?.take()?;
        let socket = streaming.connection.socket.as_raw_fd();
        // It is watched no more at the latest when it is closed.
        let _ = self.poller.registry().deregister(&mut SourceFd(&socket));
        self.shared.registrations().free.push(token);
        Some(streaming)
    }
}

/// Whoever waits for a stream that is read no more hears of it.
impl Drop for PollState {
    fn drop(&mut self) {
        let mut registrations = self.shared.registrations();
        registrations.is_closing = true;
        registrations.entering.clear();
    }
}

/// What came of looking after a stream.
enum ReadOutcome {
    /// The socket will say when it has more.
    Drained,
    HasMore,
    Over(Result<StreamEnd, WireError>),
}

impl Streaming {
    fn read(&mut self, buffers: &mut Buffers) -> ReadOutcome {
        for _ in 0..READS_A_TURN {
            let Detached { socket, stamps, .. } = &mut self.connection;
            let count = match stamps.receive(socket.as_fd(), &mut buffers.raw) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return ReadOutcome::Drained;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return ReadOutcome::Over(Err(WireError::new(ErrorKind::Truncated, &error)));
                }
            };
            if let Some(end) = self.take(count, buffers) {
                return ReadOutcome::Over(end);
            }
            // A read that leaves room has emptied the socket; the next bytes will be announced. An
            // end that has been announced will not be again.
            if count < buffers.raw.len() && !self.is_closing {
                return ReadOutcome::Drained;
            }
        }
        ReadOutcome::HasMore
    }

    /// Gives the sink what a read of `count` bytes brought; returns how the body has ended, if it has.
    fn take(
        &mut self,
        count: usize,
        Buffers { raw, plain, body }: &mut Buffers,
    ) -> Option<Result<StreamEnd, WireError>> {
        let lost = |error| WireError::new(ErrorKind::Truncated, &error);
        let mut decrypted = Ok(());
        let mut has_ended = count == 0;
        let bytes = match &mut self.connection.tls {
            None => &raw[..count],
            Some(_) if count == 0 => return Some(Err(lost(Tls::cut_off()))),
            Some(tls) => {
                plain.clear();
                decrypted = tls.decrypt(&raw[..count], plain);
                has_ended = tls.has_ended();
                plain
            }
        };
        body.clear();
        let decoded = self.decoder.push(bytes, body);
        let stopped = if body.is_empty() {
            None
        } else {
            let stamp = self.connection.stamps.last();
            let arrival = Arrival {
                at_ns: stamp.at_ns,
                bytes: body,
                read_seq: Some(stamp.seq),
                kernel_lag_us: stamp.kernel_lag_us,
            };
            match self.sink.take(&arrival) {
                Flow::Wait if self.sink.wait() => None,
                wish => wish.stops(),
            }
        };
        if let Err(error) = decoded {
            return Some(Err(bad_body(error)));
        }
        if self.decoder.is_done {
            return Some(Ok(StreamEnd::End));
        }
        if let Err(error) = decrypted {
            return Some(Err(lost(error)));
        }
        if has_ended {
            let end = self.decoder.end().map_err(cut_short);
            return Some(end.map(|()| StreamEnd::End));
        }
        stopped.map(Ok)
    }
}
