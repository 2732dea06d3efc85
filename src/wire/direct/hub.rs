//! The hub: bodies that stream are read by one task for all of them.
//!
//! A task of its own for each stream would be woken for each read, which costs about as much again
//! as the read itself. The sockets of streaming bodies are therefore watched together, by a poller
//! which the runtime sees as one descriptor. Whoever attends the hub reads from each socket that has
//! something, stamps it, takes it out of its framing and hands it to the stream's sink. The task
//! that waits for a stream is woken once, at the end.

use std::future::Future;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Token};
use tokio::io::unix::AsyncFd;

use super::socket::{READ_BYTES, Stamps};
use super::{BodyDecoder, bad_body, cut_short};
use crate::capture::schema::ErrorKind;
use crate::wire::{Arrival, Pumped, Sink, WireError};

/// Sockets that are served before others on the thread get their turn: what is to be sent, above
/// all.
const EVENTS_A_TURN: usize = 64;

/// Full reads of one socket before others are served.
const READS_A_VISIT: usize = 4;

/// Bodies that stream, on one thread. Copies are of the same hub.
#[derive(Clone)]
pub(super) struct Hub {
    shared: Arc<Shared>,
}

struct Shared {
    /// Written by whoever attends the hub; read by bodies, which otherwise read for themselves.
    is_attended: AtomicBool,
    /// The attendant holds it for a turn, a body for as long as it takes to come or to go.
    hall: Mutex<Hall>,
}

/// What a turn works on.
struct Hall {
    poller: mio::Poll,
    /// By token.
    streams: Vec<Option<Streaming>>,
    /// Tokens without a stream.
    free: Vec<usize>,
    /// Streams of which more could have been read at their last visit.
    unfinished: Vec<usize>,
    scratch: Vec<u8>,
    /// The bytes of one read, out of their framing.
    body: Vec<u8>,
}

/// A body whose reads go to a sink.
pub(super) struct Streaming {
    pub(super) socket: TcpStream,
    pub(super) stamps: Stamps,
    pub(super) decoder: BodyDecoder,
    sink: Arc<dyn Sink>,
    /// The other side will send no more: its end is to be read as well.
    is_closing: bool,
    /// Who waits for the end.
    waker: Option<Waker>,
    end: Option<Result<Pumped, WireError>>,
}

impl Hub {
    /// Makes a hub that nobody attends.
    pub(super) fn new() -> io::Result<Self> {
        let hall = Hall {
            poller: mio::Poll::new()?,
            streams: Vec::new(),
            free: Vec::new(),
            unfinished: Vec::new(),
            scratch: vec![0; READ_BYTES],
            body: Vec::new(),
        };
        Ok(Self {
            shared: Arc::new(Shared {
                is_attended: AtomicBool::new(false),
                hall: Mutex::new(hall),
            }),
        })
    }

    /// Says whether streams that enter will be served.
    pub(super) fn is_attended(&self) -> bool {
        self.shared.is_attended.load(Ordering::Acquire)
    }

    /// Serves all streams for as long as it is polled.
    ///
    /// # Errors
    ///
    /// When the system gives no descriptor to wait on, or takes it back; streams that are served
    /// then are left to their limits on time.
    pub(super) async fn attend(&self) -> io::Result<()> {
        let poller = self.watch_poller()?;
        let _attended = Attended::new(&self.shared.is_attended);
        let mut events = Events::with_capacity(EVENTS_A_TURN);
        loop {
            let mut ready = poller.readable().await?;
            while self.hall().turn(&mut events)? {
                tokio::task::yield_now().await;
            }
            ready.clear_ready();
        }
    }

    #[expect(
        deprecated,
        reason = "its successor is `unsafe` and asks that the descriptor stays open, which the hub sees to"
    )]
    fn watch_poller(&self) -> io::Result<AsyncFd<RawFd>> {
        let poller = self.hall().poller.as_raw_fd();
        AsyncFd::with_interest(poller, tokio::io::Interest::READABLE)
    }

    /// Lets a body stream into `sink`. The future returns it when it has ended or the sink has had
    /// enough; dropped before, it closes the connection.
    pub(super) fn stream(
        &self,
        (socket, stamps): (TcpStream, Stamps),
        decoder: BodyDecoder,
        sink: Arc<dyn Sink>,
    ) -> io::Result<Visit> {
        let mut hall = self.hall();
        let token = hall.free.pop().unwrap_or(hall.streams.len());
        let registered = hall.poller.registry().register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(token),
            Interest::READABLE,
        );
        let streaming = Streaming {
            socket,
            stamps,
            decoder,
            sink,
            is_closing: false,
            waker: None,
            end: None,
        };
        if let Err(error) = registered {
            hall.free.push(token);
            return Err(error);
        }
        match hall.streams.get_mut(token) {
            Some(place) => *place = Some(streaming),
            None => hall.streams.push(Some(streaming)),
        }
        drop(hall);
        Ok(Visit {
            hub: self.clone(),
            token: Some(token),
        })
    }

    fn hall(&self) -> MutexGuard<'_, Hall> {
        self.shared
            .hall
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that somebody attends, for as long as it lives.
struct Attended<'a>(&'a AtomicBool);

impl<'a> Attended<'a> {
    fn new(is_attended: &'a AtomicBool) -> Self {
        is_attended.store(true, Ordering::Release);
        Self(is_attended)
    }
}

impl Drop for Attended<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// The wait for a stream's end.
pub(super) struct Visit {
    hub: Hub,
    /// Gone when the stream has left.
    token: Option<usize>,
}

impl Future for Visit {
    type Output = (Streaming, Result<Pumped, WireError>);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let hub = self.hub.clone();
        let mut hall = hub.hall();
        let Some(token) = self.token else {
            return Poll::Pending;
        };
        let Some(Some(streaming)) = hall.streams.get_mut(token) else {
            return Poll::Pending;
        };
        let Some(end) = streaming.end.take() else {
            streaming.waker = Some(context.waker().clone());
            return Poll::Pending;
        };
        self.token = None;
        match hall.remove(token) {
            Some(streaming) => Poll::Ready((streaming, end)),
            None => Poll::Pending,
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        if let Some(token) = self.token {
            self.hub.hall().remove(token);
        }
    }
}

impl Hall {
    /// Serves the streams that have something, up to a turn's worth. Returns whether there may be
    /// more.
    fn turn(&mut self, events: &mut Events) -> io::Result<bool> {
        let unfinished = std::mem::take(&mut self.unfinished);
        for token in unfinished {
            self.visit(token, None);
        }
        match self.poller.poll(events, Some(Duration::ZERO)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(true),
            Err(error) => return Err(error),
        }
        let mut count = 0;
        for event in &*events {
            count += 1;
            self.visit(event.token().0, Some(event));
        }
        Ok(count == EVENTS_A_TURN || !self.unfinished.is_empty())
    }

    /// Reads what a stream has.
    fn visit(&mut self, token: usize, event: Option<&Event>) {
        let Some(Some(streaming)) = self.streams.get_mut(token) else {
            return;
        };
        streaming.is_closing |=
            event.is_some_and(|event| event.is_read_closed() || event.is_error());
        if streaming.end.is_some() {
            return;
        }
        match streaming.read(&mut self.scratch, &mut self.body) {
            Visited::Drained => {}
            Visited::HasMore => self.unfinished.push(token),
            Visited::Over(end) => {
                streaming.end = Some(end);
                if let Some(waker) = streaming.waker.take() {
                    waker.wake();
                }
            }
        }
    }

    fn remove(&mut self, token: usize) -> Option<Streaming> {
        let streaming = self.streams.get_mut(token)?.take()?;
        let socket = streaming.socket.as_raw_fd();
        // It is watched no more at the latest when it is closed.
        let _ = self.poller.registry().deregister(&mut SourceFd(&socket));
        self.unfinished.retain(|other| *other != token);
        self.free.push(token);
        Some(streaming)
    }
}

/// What came of looking after a stream.
enum Visited {
    /// The socket will say when it has more.
    Drained,
    HasMore,
    Over(Result<Pumped, WireError>),
}

impl Streaming {
    fn read(&mut self, scratch: &mut [u8], body: &mut Vec<u8>) -> Visited {
        for _ in 0..READS_A_VISIT {
            let count = match self.stamps.receive(self.socket.as_fd(), scratch) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Visited::Drained,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    return Visited::Over(Err(WireError::new(ErrorKind::Truncated, &error)));
                }
            };
            if count == 0 {
                let end = self.decoder.end().map_err(cut_short);
                return Visited::Over(end.map(|()| Pumped::End));
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
                self.sink.take(&arrival).stops()
            };
            if let Err(error) = decoded {
                return Visited::Over(Err(bad_body(error)));
            }
            if self.decoder.is_done {
                return Visited::Over(Ok(Pumped::End));
            }
            if let Some(pumped) = stopped {
                return Visited::Over(Ok(pumped));
            }
            // A read that leaves room has emptied the socket; the next bytes will be announced. An
            // end that has been announced will not be again.
            if count < scratch.len() && !self.is_closing {
                return Visited::Drained;
            }
        }
        Visited::HasMore
    }
}
