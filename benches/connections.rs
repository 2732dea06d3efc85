//! What the servers of the benches have in common: a listener, connections, and one epoll for both.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::time::Timespec;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Connections that may wait to be accepted: a burst comes at once.
const BACKLOG: i32 = 16_384;

/// Events that are taken at once.
const EVENTS: usize = 256;

/// The listener's tag; those of connections are their places, from 0.
const LISTENER: u64 = u64::MAX;

/// The connections of a server, each at a place of its own.
pub(crate) struct Connections<C> {
    epoll: OwnedFd,
    listener: TcpListener,
    places: Vec<Option<C>>,
    /// Places that are empty.
    free: Vec<usize>,
}

impl<C> Connections<C> {
    /// Listens on a free port of this machine. Returns its address as well.
    pub(crate) fn listen() -> Outcome<(Self, SocketAddr)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        // The standard library's own backlog is too short for a burst.
        rustix::net::listen(&listener, BACKLOG)?;
        let address = listener.local_addr()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let tag = epoll::EventData::new_u64(LISTENER);
        epoll::add(&epoll, &listener, tag, epoll::EventFlags::IN)?;
        let connections = Self {
            epoll,
            listener,
            places: Vec::new(),
            free: Vec::new(),
        };
        Ok((connections, address))
    }

    /// Waits, for a time, until something comes. Takes new connections in as what `begin` makes of
    /// them; returns the places of those that have something to read.
    pub(crate) fn wait(
        &mut self,
        time: &Timespec,
        mut begin: impl FnMut(TcpStream) -> C,
    ) -> Outcome<Vec<usize>> {
        let mut ready = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, spare_capacity(&mut ready), Some(time)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut places = Vec::with_capacity(ready.len());
        for event in ready {
            match event.data.u64() {
                LISTENER => self.accept(&mut begin)?,
                place => places.push(usize::try_from(place)?),
            }
        }
        Ok(places)
    }

    fn accept(&mut self, begin: &mut impl FnMut(TcpStream) -> C) -> Outcome<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.places.len());
            let tag = epoll::EventData::new_u64(u64::try_from(place)?);
            epoll::add(&self.epoll, &stream, tag, epoll::EventFlags::IN)?;
            let connection = Some(begin(stream));
            match self.places.get_mut(place) {
                Some(empty) => *empty = connection,
                None => self.places.push(connection),
            }
        }
    }

    /// Returns the connection at a place, where there is one.
    pub(crate) fn at(&mut self, place: usize) -> Option<&mut C> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Drops a connection; that closes it and takes it out of the epoll.
    pub(crate) fn forget(&mut self, place: usize) {
        if self.places.get_mut(place).and_then(Option::take).is_some() {
            self.free.push(place);
        }
    }
}
