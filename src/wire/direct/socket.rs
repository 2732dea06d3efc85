//! A socket whose reads are stamped as they return, plain or under TLS.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncWrite as _, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::receive::{ask_for_stamps, receive};
use super::tls::Tls;
use crate::time::clock::{Clock, utc_now_ns};

/// Room for one read, in bytes. What is there at once is taken at once.
pub(super) const READ_BYTES: usize = 64 << 10;

thread_local! {
    /// All sockets of a thread read into the same place; what they keep, they copy out of it.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        raw: vec![0; READ_BYTES],
        plain: Vec::new(),
    });
}

/// Where a read goes, and what TLS makes of it.
struct Scratch {
    raw: Vec<u8>,
    plain: Vec<u8>,
}

/// When a read returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadStamp {
    /// The moment at which the bytes were in user space, on the driver's clock.
    pub(super) at_ns: i64,
    /// Number of the read on the socket since the last request, from 0.
    pub(super) seq: u32,
    /// How long the bytes had been waiting in the kernel, in microseconds.
    pub(super) kernel_lag_us: Option<i32>,
}

/// The stamps of one socket's reads.
#[derive(Debug)]
pub(super) struct Stamps {
    clock: Clock,
    has_kernel_stamps: bool,
    next_seq: u32,
    last: ReadStamp,
    /// The last read left nothing behind: what the next one brings came after it.
    is_drained: bool,
}

/// The kernel stamps on the wall clock. One that is set between its stamp and ours makes any lag
/// out of it: none is negative, nor longer than bytes can have waited.
fn believable_lag_us(lag_ns: i64, since_last_read_ns: Option<i64>) -> Option<i32> {
    /// The two clocks are read one after the other, and one of them may be slewed.
    const TOLERANCE_NS: i64 = 1_000_000;

    let most_ns = since_last_read_ns.map_or(i64::MAX, |ns| ns.saturating_add(TOLERANCE_NS));
    if !(0..=most_ns).contains(&lag_ns) {
        return None;
    }
    i32::try_from(lag_ns / 1_000).ok()
}

impl Stamps {
    /// Reads what is there, without waiting, and stamps it before anything else.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        buffer: &mut [u8],
    ) -> io::Result<usize> {
        let received = receive(socket, buffer)?;
        let at_ns = self.clock.now_ns();
        let kernel_lag_us = received
            .kernel_utc_ns
            .filter(|_| self.has_kernel_stamps)
            .and_then(|kernel_ns| {
                let since_ns = self.is_drained.then_some(at_ns - self.last.at_ns);
                believable_lag_us(utc_now_ns().saturating_sub(kernel_ns), since_ns)
            });
        self.is_drained = received.bytes < buffer.len();
        self.last = ReadStamp {
            at_ns,
            seq: self.next_seq,
            kernel_lag_us,
        };
        self.next_seq = self.next_seq.saturating_add(1);
        Ok(received.bytes)
    }

    /// The stamp of the last read.
    pub(super) fn last(&self) -> ReadStamp {
        self.last
    }
}

/// A connected TCP socket that stamps each read.
#[derive(Debug)]
pub(super) struct StampedSocket {
    socket: TcpStream,
    stamps: Stamps,
}

impl StampedSocket {
    pub(super) fn new(socket: TcpStream, clock: Clock) -> Self {
        let has_kernel_stamps = ask_for_stamps(socket.as_fd());
        Self {
            socket,
            stamps: Stamps {
                clock,
                has_kernel_stamps,
                next_seq: 0,
                last: ReadStamp {
                    at_ns: clock.now_ns(),
                    seq: 0,
                    kernel_lag_us: None,
                },
                is_drained: true,
            },
        }
    }

    /// Reads what is there; 0 bytes are the end of the stream.
    fn poll_receive(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_read_ready(context))?;
            let mut received = None;
            let Self { socket, stamps } = self;
            let result = socket.try_io(Interest::READABLE, || {
                let bytes = stamps.receive(socket.as_fd(), buffer)?;
                received = Some(bytes);
                // A read that leaves room has emptied the socket: its readiness is over, which
                // this way is known without asking the kernel again.
                if bytes > 0 && bytes < buffer.len() {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Ok(())
            });
            if let Some(bytes) = received {
                return Poll::Ready(Ok(bytes));
            }
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => return Poll::Ready(Ok(0)),
            }
        }
    }
}

impl StampedSocket {
    /// Waits for what the server sends in the handshake, and sends what is due in it.
    async fn shake_hands(&mut self, tls: &mut Tls) -> io::Result<()> {
        loop {
            self.send_encrypted(tls).await?;
            if !tls.is_handshaking() {
                return Ok(());
            }
            let taken = poll_fn(|context| {
                SCRATCH.with_borrow_mut(|Scratch { raw, .. }| {
                    Poll::Ready(match ready!(self.poll_receive(context, raw))? {
                        0 => Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "tls handshake eof",
                        )),
                        count => tls.take_in(&raw[..count]),
                    })
                })
            });
            if let Err(error) = taken.await {
                // The server may be told why, where that goes out at once.
                let _ = tls.send(|bytes| self.socket.try_write(bytes));
                return Err(error);
            }
        }
    }

    /// Sends what is encrypted, to the last byte.
    async fn send_encrypted(&mut self, tls: &mut Tls) -> io::Result<()> {
        loop {
            match tls.send(|bytes| self.socket.try_write(bytes)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                sent => return sent,
            }
        }
    }
}

/// What bytes go through, in the runtime's hands.
#[derive(Debug)]
pub(super) struct Stream {
    socket: StampedSocket,
    tls: Option<Box<Tls>>,
}

/// A connection out of the runtime's hands; its socket is non-blocking.
#[derive(Debug)]
pub(super) struct Detached {
    pub(super) socket: std::net::TcpStream,
    pub(super) stamps: Stamps,
    pub(super) tls: Option<Box<Tls>>,
}

impl Stream {
    pub(super) fn plain(socket: StampedSocket) -> Self {
        Self { socket, tls: None }
    }

    /// Makes a connection over TLS, by its handshake.
    pub(super) async fn secured(mut socket: StampedSocket, mut tls: Tls) -> io::Result<Self> {
        socket.shake_hands(&mut tls).await?;
        Ok(Self {
            socket,
            tls: Some(Box::new(tls)),
        })
    }

    pub(super) fn detach(self) -> io::Result<Detached> {
        Ok(Detached {
            socket: self.socket.socket.into_std()?,
            stamps: self.socket.stamps,
            tls: self.tls,
        })
    }

    pub(super) fn attach(detached: Detached) -> io::Result<Self> {
        let Detached {
            socket,
            stamps,
            tls,
        } = detached;
        let socket = TcpStream::from_std(socket)?;
        Ok(Self {
            socket: StampedSocket { socket, stamps },
            tls,
        })
    }

    /// Says whether the server has said, under TLS, that it sends no more.
    pub(super) fn has_ended(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_ended())
    }

    /// Counts reads from 0 again.
    pub(super) fn begin_request(&mut self) {
        self.socket.stamps.next_seq = 0;
    }

    /// The stamp of the last read of the socket.
    pub(super) fn last_read(&self) -> ReadStamp {
        self.socket.stamps.last
    }

    /// Says whether nothing has arrived, not even the connection's end: fit for another request.
    pub(super) fn is_quiet(&mut self) -> bool {
        let socket = &mut self.socket;
        let Some(tls) = &mut self.tls else {
            let peeked = rustix::net::recv(
                socket.socket.as_fd(),
                &mut [0_u8; 1][..],
                rustix::net::RecvFlags::PEEK | rustix::net::RecvFlags::DONTWAIT,
            );
            return matches!(peeked, Err(rustix::io::Errno::WOULDBLOCK));
        };
        // The goodbye may have come in the read that brought the end of the answer.
        if tls.has_ended() {
            return false;
        }
        SCRATCH.with_borrow_mut(|Scratch { raw, plain }| {
            plain.clear();
            loop {
                match socket.stamps.receive(socket.socket.as_fd(), raw) {
                    Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
                    Ok(0) => return false,
                    // Servers send tickets for later sessions right after the handshake: they are
                    // taken in here, and are no answer.
                    Ok(count) => {
                        let decrypted = tls.decrypt(&raw[..count], plain);
                        if decrypted.is_err() || tls.has_ended() || !plain.is_empty() {
                            return false;
                        }
                    }
                }
            }
        })
    }

    /// Waits for bytes and hands them to `take`; an empty slice is the end of the stream.
    pub(super) async fn read<T>(&mut self, mut take: impl FnMut(&[u8]) -> T) -> io::Result<T> {
        let Self { socket, tls } = self;
        poll_fn(|context| {
            SCRATCH.with_borrow_mut(|Scratch { raw, plain }| {
                let Some(tls) = tls else {
                    let count = ready!(socket.poll_receive(context, raw))?;
                    return Poll::Ready(Ok(take(&raw[..count])));
                };
                plain.clear();
                while plain.is_empty() && !tls.has_ended() {
                    match ready!(socket.poll_receive(context, raw))? {
                        0 => return Poll::Ready(Err(Tls::cut_off())),
                        count => tls.decrypt(&raw[..count], plain)?,
                    }
                }
                Poll::Ready(Ok(take(plain)))
            })
        })
        .await
    }

    /// Writes some of `parts`, or finds that the other side is speaking already.
    pub(super) async fn write(&mut self, parts: &[IoSlice<'_>]) -> io::Result<Written> {
        let Self { socket, tls } = self;
        if let Some(tls) = tls {
            let count = tls.encrypt(parts)?;
            socket.send_encrypted(tls).await?;
            return Ok(Written::Some(count));
        }
        let socket = &mut socket.socket;
        poll_fn(
            |context| match Pin::new(&mut *socket).poll_write_vectored(context, parts) {
                Poll::Ready(written) => Poll::Ready(written.map(Written::Some)),
                Poll::Pending => {
                    let mut byte = [0_u8; 1];
                    let mut byte = ReadBuf::new(&mut byte);
                    // An answer before the request's end is a refusal, or the end.
                    match socket.poll_peek(context, &mut byte) {
                        Poll::Ready(Ok(_)) => Poll::Ready(Ok(Written::Answered)),
                        Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                        Poll::Pending => Poll::Pending,
                    }
                }
            },
        )
        .await
    }
}

/// What came of writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// So many bytes are on their way.
    Some(usize),
    /// None, and the other side has begun to speak.
    Answered,
}

#[cfg(test)]
mod tests {
    use super::believable_lag_us;

    #[test]
    fn a_wall_clock_that_is_set_makes_no_lag() {
        const HOUR_NS: i64 = 3_600_000_000_000;
        assert_eq!(believable_lag_us(42_999, Some(10_000_000)), Some(42));
        assert_eq!(believable_lag_us(9_900_000, Some(10_000_000)), Some(9_900));
        assert_eq!(believable_lag_us(42_999 + HOUR_NS, Some(10_000_000)), None);
        assert_eq!(believable_lag_us(42_999 - HOUR_NS, Some(10_000_000)), None);
        // Behind a full read bytes may have waited for as long as they like.
        assert_eq!(believable_lag_us(90_000_000, None), Some(90_000));
        assert_eq!(believable_lag_us(HOUR_NS, None), None);
    }
}
