//! The hub: bodies that stream are read by one thread for all of them.
//!
//! Where the runtime reads, a wake-up costs as much again as the read itself: a task is woken, or a
//! second poller is asked. The sockets of streaming bodies are therefore taken out of the runtime's
//! hands, and a thread of the hub's own waits for all of them at once. It reads from each that has
//! something, stamps it, takes it out of its framing and hands it to the stream's sink. The task that
//! waits for a stream is woken once, at the end.
//!
//! What is to be sent is thereby not held up by what is to be read, as far as there is a core for
//! each. Where there is one for both, the system shares it out: this thread gives its turn to nobody,
//! because newer systems (Linux 6.18) take a whole slice from whoever yields, so that one that yields
//! often is not run for tenths of a second once others have work.

use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Registry, Token, Waker};
use tokio::sync::oneshot;

use super::socket::{READ_BYTES, Stamps};
use super::{BodyDecoder, bad_body, cut_short};
use crate::breath::thread_cpu_ns;
use crate::capture::schema::ErrorKind;
use crate::load::clock::Clock;
use crate::wire::{Arrival, Pumped, ReadingThread, Sink, WireError, Wish};

/// Sockets of which the system tells at once.
const EVENTS_A_TURN: usize = 256;

/// Full reads of one socket before others are served.
const READS_A_VISIT: usize = 4;

/// Stands for the waker among the tokens of streams.
const DOORBELL: Token = Token(usize::MAX);

/// Bodies that stream. Copies are of the same hub; with the last one its thread ends.
#[derive(Clone)]
pub(super) struct Hub {
    handle: Arc<Handle>,
}

struct Handle {
    registry: Registry,
    lobby: Arc<Lobby>,
}

/// What the hub's thread shares with others.
struct Lobby {
    clock: Clock,
    doorbell: Waker,
    door: Mutex<Door>,
    /// When somebody knocked to see how long the thread takes to come; 0 when it has come.
    knocked_ns: AtomicI64,
    /// The longest that it took since that was last asked for.
    lag_max_ns: AtomicI64,
    /// CPU time of the thread.
    cpu_ns: AtomicI64,
    next_visit: AtomicU64,
}

/// Who comes and who goes.
#[derive(Default)]
struct Door {
    entering: Vec<(usize, Streaming)>,
    /// Those who go before their stream has ended.
    leaving: Vec<Ticket>,
    /// Tokens that were used and are free.
    free: Vec<usize>,
    tokens: usize,
    is_closing: bool,
}

/// The place of a stream, and which of those that have it one after the other it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ticket {
    token: usize,
    visit: u64,
}

/// A body whose reads go to a sink.
struct Streaming {
    socket: TcpStream,
    stamps: Stamps,
    decoder: BodyDecoder,
    sink: Arc<dyn Sink>,
    /// The other side will send no more: its end is to be read as well.
    is_closing: bool,
    visit: u64,
    ended: oneshot::Sender<Visited>,
}

/// A body that has left the hub.
pub(super) struct Visited {
    pub(super) socket: TcpStream,
    pub(super) stamps: Stamps,
    pub(super) decoder: BodyDecoder,
    pub(super) end: Result<Pumped, WireError>,
}

impl Hub {
    /// Makes a hub and starts its thread.
    pub(super) fn start(clock: Clock) -> io::Result<Self> {
        let poller = mio::Poll::new()?;
        let lobby = Arc::new(Lobby {
            clock,
            doorbell: Waker::new(poller.registry(), DOORBELL)?,
            door: Mutex::default(),
            knocked_ns: AtomicI64::new(0),
            lag_max_ns: AtomicI64::new(0),
            cpu_ns: AtomicI64::new(0),
            next_visit: AtomicU64::new(0),
        });
        let registry = poller.registry().try_clone()?;
        let hall = Hall {
            poller,
            lobby: Arc::clone(&lobby),
            streams: Vec::new(),
            unfinished: Vec::new(),
            scratch: vec![0; READ_BYTES],
            body: Vec::new(),
            is_closing: false,
        };
        thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || hall.serve())?;
        let handle = Handle { registry, lobby };
        Ok(Self {
            handle: Arc::new(handle),
        })
    }

    /// Lets a body stream into `sink`. The future returns it when it has ended or the sink has had
    /// enough; dropped before, it closes the connection.
    pub(super) fn stream(
        &self,
        (socket, stamps): (TcpStream, Stamps),
        decoder: BodyDecoder,
        sink: Arc<dyn Sink>,
    ) -> io::Result<Visit> {
        let Handle { registry, lobby } = &*self.handle;
        let (ended, has_ended) = oneshot::channel();
        let descriptor = socket.as_raw_fd();
        let visit = lobby.next_visit.fetch_add(1, Ordering::Relaxed);
        let streaming = Streaming {
            socket,
            stamps,
            decoder,
            sink,
            is_closing: false,
            visit,
            ended,
        };
        // It is at the door before its socket can say anything.
        let token = lobby.door().enter(streaming)?;
        let visit = Visit {
            hub: self.clone(),
            ticket: Some(Ticket { token, visit }),
            has_ended,
        };
        registry.register(&mut SourceFd(&descriptor), Token(token), Interest::READABLE)?;
        Ok(visit)
    }

    /// What is known of the hub's thread.
    pub(super) fn thread(&self) -> Arc<dyn ReadingThread> {
        Arc::clone(&self.handle.lobby) as _
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.lobby.door().is_closing = true;
        self.lobby.ring();
    }
}

impl Lobby {
    fn door(&self) -> MutexGuard<'_, Door> {
        self.door.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the thread look at the door.
    fn ring(&self) {
        // It fails where the system has no memory for an event: whoever waits has limits on time.
        let _ = self.doorbell.wake();
    }

    fn leave(&self, ticket: Ticket) {
        let mut door = self.door();
        let place = door
            .entering
            .iter()
            .position(|(_, streaming)| streaming.visit == ticket.visit);
        if let Some(place) = place {
            let (token, _) = door.entering.swap_remove(place);
            door.free.push(token);
        } else {
            door.leaving.push(ticket);
            drop(door);
            self.ring();
        }
    }
}

impl ReadingThread for Lobby {
    fn knock(&self) {
        let now_ns = self.clock.now_ns();
        let has_come =
            self.knocked_ns
                .compare_exchange(0, now_ns, Ordering::AcqRel, Ordering::Relaxed);
        // One that has not come yet is late since the first knock.
        if has_come.is_ok() {
            self.ring();
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

impl Door {
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
pub(super) struct Visit {
    hub: Hub,
    /// Gone when the stream has left.
    ticket: Option<Ticket>,
    has_ended: oneshot::Receiver<Visited>,
}

impl Future for Visit {
    type Output = io::Result<Visited>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let visited = std::task::ready!(Pin::new(&mut self.has_ended).poll(context));
        self.ticket = None;
        Poll::Ready(visited.map_err(|_| nobody_reads()))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.hub.handle.lobby.leave(ticket);
        }
    }
}

/// What the hub's thread works on.
struct Hall {
    poller: mio::Poll,
    lobby: Arc<Lobby>,
    /// By token.
    streams: Vec<Option<Streaming>>,
    /// Streams of which more could have been read at their last visit.
    unfinished: Vec<usize>,
    scratch: Vec<u8>,
    /// The bytes of one read, out of their framing.
    body: Vec<u8>,
    is_closing: bool,
}

impl Hall {
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
            self.visit(token, None);
        }
        let patience = (!self.unfinished.is_empty()).then_some(Duration::ZERO);
        self.poller.poll(events, patience)?;
        for event in &*events {
            if event.token() == DOORBELL {
                self.look_at_door();
                self.answer();
            } else {
                self.visit(event.token().0, Some(event));
            }
        }
        Ok(())
    }

    /// Says how long it took to come.
    fn answer(&self) {
        let knocked_ns = self.lobby.knocked_ns.load(Ordering::Acquire);
        if knocked_ns != 0 {
            let lag_ns = self.lobby.clock.now_ns() - knocked_ns;
            self.lobby.lag_max_ns.fetch_max(lag_ns, Ordering::AcqRel);
            self.lobby.knocked_ns.store(0, Ordering::Release);
            self.lobby.cpu_ns.store(thread_cpu_ns(), Ordering::Relaxed);
        }
    }

    /// Lets in who has come, and out who wants to go.
    fn look_at_door(&mut self) {
        let lobby = Arc::clone(&self.lobby);
        let mut door = lobby.door();
        self.is_closing |= door.is_closing;
        for (token, streaming) in door.entering.drain(..) {
            if self.streams.len() <= token {
                self.streams.resize_with(token + 1, || None);
            }
            if let Some(place) = self.streams.get_mut(token) {
                *place = Some(streaming);
            }
        }
        let leaving = std::mem::take(&mut door.leaving);
        drop(door);
        for ticket in leaving {
            let streaming = self.stream(ticket.token);
            if streaming.is_some_and(|streaming| streaming.visit == ticket.visit) {
                self.remove(ticket.token);
            }
        }
    }

    fn stream(&mut self, token: usize) -> Option<&mut Streaming> {
        self.streams.get_mut(token)?.as_mut()
    }

    /// Reads what a stream has.
    fn visit(&mut self, token: usize, event: Option<&Event>) {
        if self.stream(token).is_none() {
            self.look_at_door();
        }
        let Some(Some(streaming)) = self.streams.get_mut(token) else {
            return;
        };
        streaming.is_closing |=
            event.is_some_and(|event| event.is_read_closed() || event.is_error());
        match streaming.read(&mut self.scratch, &mut self.body) {
            Come::Drained => {}
            Come::HasMore if self.unfinished.contains(&token) => {}
            Come::HasMore => self.unfinished.push(token),
            Come::Over(end) => {
                if let Some(streaming) = self.remove(token) {
                    // Nobody waits any more where the wait was given up at this moment.
                    let _ = streaming.ended.send(Visited {
                        socket: streaming.socket,
                        stamps: streaming.stamps,
                        decoder: streaming.decoder,
                        end,
                    });
                }
            }
        }
    }

    fn remove(&mut self, token: usize) -> Option<Streaming> {
        let streaming = self.streams.get_mut(token)?.take()?;
        let socket = streaming.socket.as_raw_fd();
        // It is watched no more at the latest when it is closed.
        let _ = self.poller.registry().deregister(&mut SourceFd(&socket));
        self.lobby.door().free.push(token);
        Some(streaming)
    }
}

/// Whoever waits for a stream that is read no more hears of it.
impl Drop for Hall {
    fn drop(&mut self) {
        let mut door = self.lobby.door();
        door.is_closing = true;
        door.entering.clear();
    }
}

/// What came of looking after a stream.
enum Come {
    /// The socket will say when it has more.
    Drained,
    HasMore,
    Over(Result<Pumped, WireError>),
}

impl Streaming {
    fn read(&mut self, scratch: &mut [u8], body: &mut Vec<u8>) -> Come {
        for _ in 0..READS_A_VISIT {
            let count = match self.stamps.receive(self.socket.as_fd(), scratch) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Come::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Come::Over(Err(WireError::new(ErrorKind::Truncated, &error)));
                }
            };
            if count == 0 {
                let end = self.decoder.end().map_err(cut_short);
                return Come::Over(end.map(|()| Pumped::End));
            }
            body.clear();
            let decoded = self.decoder.push(&scratch[..count], body);
            let stopped = if body.is_empty() {
                None
            } else {
                let stamp = self.stamps.last();
                let arrival = Arrival {
                    at_ns: stamp.at_ns,
                    bytes: body,
                    read_seq: Some(stamp.seq),
                    kernel_lag_us: stamp.kernel_lag_us,
                };
                match self.sink.take(&arrival) {
                    Wish::Wait if self.sink.wait() => None,
                    wish => wish.stops(),
                }
            };
            if let Err(error) = decoded {
                return Come::Over(Err(bad_body(error)));
            }
            if self.decoder.is_done {
                return Come::Over(Ok(Pumped::End));
            }
            if let Some(pumped) = stopped {
                return Come::Over(Ok(pumped));
            }
            // A read that leaves room has emptied the socket; the next bytes will be announced. An
            // end that has been announced will not be again.
            if count < scratch.len() && !self.is_closing {
                return Come::Drained;
            }
        }
        Come::HasMore
    }
}
