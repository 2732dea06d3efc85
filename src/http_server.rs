//! Serves HTTP/1.1 under limits of time and of connections.
//!
//! A connection costs the one who opens it nothing, and the server a file. One that says nothing,
//! or half a request for ever, is closed after some time, and sooner where others wait for its
//! place. One whose request is being answered is never closed here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use axum::serve::Listener;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower_service::Service as _;

/// How long the end of an answer may take to leave a connection that others wait for.
const GRACE: Duration = Duration::from_secs(1);

/// What a server is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Connections at a time.
    pub(crate) connections: usize,
    /// Time from when a request may come until its head has.
    pub(crate) head: Duration,
}

impl Limits {
    /// Has as many connections as the limit on open files leaves beside `own_files`, but `most` at
    /// the most, and 10 s for each head.
    pub(crate) fn beside(own_files: u64, most: usize) -> Self {
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let left = usize::try_from(files.saturating_sub(own_files)).unwrap_or(usize::MAX);
        Self {
            connections: left.clamp(1, most),
            head: Duration::from_secs(10),
        }
    }
}

/// Serves until `shutdown` is ready, and then until the answers under way have ended.
pub(crate) async fn serve(
    mut listener: TcpListener,
    router: Router,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let connections = Connections::new(limits.connections);
    let (stopper, stop) = watch::channel(());
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let (socket, _) = Listener::accept(&mut listener).await;
            (socket, connections.admit().await)
        };
        tokio::select! {
            (socket, place) = next => {
                tasks.spawn(converse(socket, place, router.clone(), limits, stop.clone()));
            }
            () = &mut shutdown => break,
        }
        while tasks.try_join_next().is_some() {}
    }
    drop((listener, stopper));
    while tasks.join_next().await.is_some() {}
}

/// Answers the requests of one connection.
async fn converse(
    socket: TcpStream,
    place: Place,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<()>,
) {
    // Without it, small events would wait for the acknowledgement of earlier ones.
    let _ = socket.set_nodelay(true);
    let service = service_fn(|request: Request<Incoming>| {
        let answering = place.answering();
        let mut router = router.clone();
        async move {
            let response = router.call(request.map(Body::new)).await?;
            let held = |body| {
                Body::new(Held {
                    body,
                    _answering: answering,
                })
            };
            Ok::<Response<Body>, Infallible>(response.map(held))
        }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .serve_connection(TokioIo::new(socket), service);
    let mut conversation = pin!(conversation);
    tokio::select! {
        // First, so that a request that is here already is no silence.
        biased;
        // A connection that breaks takes its own answers with it, and nothing else.
        _ = conversation.as_mut() => return,
        () = place.is_wanted() => {
            if !place.has_answered() {
                return;
            }
            conversation.as_mut().graceful_shutdown();
            let has_ended = timeout(GRACE, conversation.as_mut()).await.is_ok();
            // A request may have come in the same moment.
            if has_ended || !place.is_answering() {
                return;
            }
        }
        _ = stop.changed() => conversation.as_mut().graceful_shutdown(),
    }
    let _ = conversation.await;
}

/// A body that says when it has been taken.
struct Held {
    body: Body,
    _answering: Answering,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The open connections of a server.
#[derive(Debug)]
pub(crate) struct Connections {
    most: usize,
    open: Mutex<Open>,
    /// Told whenever one has left or has become idle.
    changed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    last: u64,
    connections: BTreeMap<u64, Connection>,
}

impl Open {
    /// Counts what happens, in its order.
    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[derive(Debug)]
struct Connection {
    /// When it became idle, in the order of all that happens; none while it is answered.
    idle_since: Option<u64>,
    has_answered: bool,
    /// Told when another wants its place.
    wanted: Arc<Notify>,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            most,
            open: Mutex::default(),
            changed: Notify::new(),
        })
    }

    /// Waits for a place for one more connection. Where there is none, the one that has been idle
    /// for the longest gives up its own.
    pub(crate) async fn admit(self: &Arc<Self>) -> Place {
        loop {
            let changed = self.changed.notified();
            if let Some(place) = self.enter() {
                return place;
            }
            changed.await;
        }
    }

    fn enter(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open();
        if open.connections.len() >= self.most {
            let idle = open.connections.values();
            let idle = idle.filter(|connection| connection.idle_since.is_some());
            if let Some(longest) = idle.min_by_key(|connection| connection.idle_since) {
                longest.wanted.notify_one();
            }
            return None;
        }
        let key = open.next();
        let wanted = Arc::new(Notify::new());
        let connection = Connection {
            idle_since: Some(key),
            has_answered: false,
            wanted: Arc::clone(&wanted),
        };
        open.connections.insert(key, connection);
        Some(Place {
            connections: Arc::clone(self),
            key,
            wanted,
        })
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_idle(&self, key: u64, is_idle: bool) {
        let mut open = self.open();
        let now = open.next();
        if let Some(connection) = open.connections.get_mut(&key) {
            connection.idle_since = is_idle.then_some(now);
            connection.has_answered = true;
        }
        drop(open);
        if is_idle {
            self.changed.notify_waiters();
        }
    }
}

/// The place of one connection among all; dropping it leaves it to another.
#[derive(Debug)]
pub(crate) struct Place {
    connections: Arc<Connections>,
    key: u64,
    wanted: Arc<Notify>,
}

impl Place {
    /// Keeps the connection for as long as what is returned lives.
    pub(crate) fn answering(&self) -> Answering {
        self.connections.set_idle(self.key, false);
        Answering {
            connections: Arc::clone(&self.connections),
            key: self.key,
        }
    }

    /// Waits until another connection is to have the place.
    pub(crate) async fn is_wanted(&self) {
        self.wanted.notified().await;
    }

    fn has_answered(&self) -> bool {
        self.is_so(|connection| connection.has_answered)
    }

    fn is_answering(&self) -> bool {
        self.is_so(|connection| connection.idle_since.is_none())
    }

    fn is_so(&self, test: impl Fn(&Connection) -> bool) -> bool {
        let open = self.connections.open();
        open.connections.get(&self.key).is_some_and(test)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().connections.remove(&self.key);
        self.connections.changed.notify_waiters();
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Answering {
    connections: Arc<Connections>,
    key: u64,
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.connections.set_idle(self.key, true);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::sync::oneshot;

    use super::*;

    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";

    /// Serves `text` on a free port for as long as what is returned lives.
    async fn server(limits: Limits, router: Router) -> (std::net::SocketAddr, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { serve(listener, router, limits, std::future::pending()).await });
        (address, tasks)
    }

    fn limits(connections: usize, head_ms: u64) -> Limits {
        Limits {
            connections,
            head: Duration::from_millis(head_ms),
        }
    }

    fn text() -> Router {
        Router::new().fallback(|| async { "text" })
    }

    async fn answer(socket: &mut TcpStream) -> String {
        socket.write_all(GET).await.unwrap();
        let mut bytes = [0; 1_024];
        let mut read = String::new();
        while !read.ends_with("text") {
            let count = socket.read(&mut bytes).await.unwrap();
            assert!(count > 0, "closed after `{read}`");
            read.push_str(str::from_utf8(&bytes[..count]).unwrap());
        }
        read
    }

    #[tokio::test]
    async fn half_a_head_and_silence_are_closed_after_the_time_for_a_head() {
        let (address, _tasks) = server(limits(8, 20), text()).await;
        for said in [&b""[..], b"GET / HTTP/1.1\r\nhost:"] {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(said).await.unwrap();
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).await.unwrap();
            assert!(!rest.starts_with(b"HTTP/1.1 200"));
        }
        // And one that was answered before.
        let mut socket = TcpStream::connect(address).await.unwrap();
        answer(&mut socket).await;
        assert_eq!(socket.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn idle_connections_make_room_for_others() {
        let (address, _tasks) = server(limits(4, 600_000), text()).await;
        let mut idle = Vec::new();
        for index in 0..30 {
            let mut socket = TcpStream::connect(address).await.unwrap();
            match index % 3 {
                0 => {}
                1 => socket.write_all(b"GET / HT").await.unwrap(),
                _ => assert!(answer(&mut socket).await.starts_with("HTTP/1.1 200")),
            }
            idle.push(socket);
        }
        let mut socket = TcpStream::connect(address).await.unwrap();
        assert!(answer(&mut socket).await.starts_with("HTTP/1.1 200"));
        // The first ones are gone, the last one is there.
        assert!(matches!(idle[0].read(&mut [0; 8]).await, Ok(0) | Err(_)));
        answer(&mut socket).await;
    }

    #[tokio::test]
    async fn an_answer_under_way_is_not_cut_for_others() {
        let (sender, receiver) = oneshot::channel::<()>();
        let receiver = Arc::new(Mutex::new(Some(receiver)));
        let router = Router::new().fallback(move || {
            let receiver = receiver.lock().unwrap().take();
            async move {
                if let Some(receiver) = receiver {
                    receiver.await.ok();
                }
                "text"
            }
        });
        let (address, _tasks) = server(limits(1, 600_000), router).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(GET).await.unwrap();
        let mut second = TcpStream::connect(address).await.unwrap();
        second.write_all(GET).await.unwrap();
        let mut waits = [0; 1];
        let early = timeout(Duration::from_millis(100), second.read(&mut waits)).await;
        assert!(early.is_err(), "answered beside the one place");
        sender.send(()).unwrap();
        let mut read = [0; 12];
        first.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"HTTP/1.1 200");
        second.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"HTTP/1.1 200");
    }

    #[test]
    fn the_limit_on_open_files_leaves_places() {
        assert!(Limits::beside(u64::MAX, 5).connections == 1);
        assert!(Limits::beside(0, 5).connections == 5);
    }
}
