//! The wire on reqwest: for proxies, and for control calls.
//!
//! What it can't do is in its nature: one stamp a frame and not a read, so `read_seq` stays
//! unknown, and the send stamp is the moment at which the body was first asked for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};
use reqwest::{Body, Client, RequestBuilder, Response};
use serde_json::Value;
use tower_layer::Layer;
use tower_service::Service;
use url::Url;

use super::error::causes;
use super::{Head, Read, SendTimings, Target, Trust, Wire, WireBody, WireError, response};
use crate::capture::schema::ErrorKind;
use crate::time::clock::Clock;

tokio::task_local! {
    /// The marks of the attempt whose task is being polled. A connection that the pool opens for
    /// another attempt, or in the background, finds none and notes nothing.
    static ATTEMPT: Arc<SendTimings>;
}

/// Sends requests through a reqwest client with a keep-alive pool.
#[derive(Debug, Clone)]
pub struct ReqwestWire {
    keeping: Client,
    /// Has a new connection for each request.
    closing: Client,
    /// Connections are kept. Whoever finds that one has ended lowers it, for good.
    keeps: Arc<AtomicBool>,
    target: Arc<Target>,
    clock: Clock,
}

impl ReqwestWire {
    /// Makes a wire to `target`, stamping on `clock`.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the client can't be made, as with a TLS store that can't be read.
    pub fn new(target: Target, clock: Clock) -> Result<Self, WireError> {
        let connect_timeout = target.connect_timeout;
        let versions = match target.http2 {
            true => Versions::Two,
            false => Versions::One,
        };
        let client = |idle: usize| {
            client_builder(&target.url, &target.trust, versions)?
                .connect_timeout(connect_timeout)
                .connector_layer(TimedConnect { clock })
                // Below the five seconds after which common servers close an idle connection, so
                // that a request is not sent into one that is just being closed.
                .pool_idle_timeout(Duration::from_secs(4))
                .pool_max_idle_per_host(idle)
                .build()
                .map_err(|error| WireError::new(ErrorKind::Unsupported, &error))
        };
        Ok(Self {
            keeping: client(usize::MAX)?,
            closing: client(0)?,
            keeps: Arc::new(AtomicBool::new(target.keeps_alive)),
            target: Arc::new(target),
            clock,
        })
    }
}

/// Versions of HTTP that a client speaks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Versions {
    /// HTTP/1.1: a connection has one request at a time.
    One,
    /// HTTP/2 from the first byte on: a connection has many at a time.
    Two,
    /// What the server prefers, where TLS lets it say so; else HTTP/1.1.
    Any,
}

/// Bytes of one answer that the server may send ahead of what has been read, over HTTP/2.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// The same of all answers of a connection: what a connection holds must not wait for others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 28;

/// The settings that every client here shares.
pub(super) fn client_builder(
    url: &Url,
    trust: &Trust,
    versions: Versions,
) -> Result<reqwest::ClientBuilder, WireError> {
    // Whoever was first has won; both chose the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = match versions {
        Versions::One => Client::builder().http1_only(),
        Versions::Two => Client::builder()
            .http2_prior_knowledge()
            .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES),
        Versions::Any => Client::builder(),
    };
    let builder = builder
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .user_agent(concat!("tokentape/", env!("CARGO_PKG_VERSION")));
    let protocols: &[&str] = match versions {
        Versions::One => &["http/1.1"],
        Versions::Two => &["h2"],
        Versions::Any => &["h2", "http/1.1"],
    };
    let builder = trust.apply(builder, protocols)?;
    Ok(if super::is_loopback(url) {
        builder.no_proxy()
    } else {
        builder
    })
}

/// Bytes of a text resource at most.
const MAX_TEXT_BYTES: usize = 8 << 20;

/// A text resource of a server, read for control calls and for metrics, outside the measurement. Its
/// connection is kept between calls.
#[derive(Debug, Clone)]
pub struct TextClient {
    client: Client,
    url: Url,
    headers: HeaderMap,
}

/// A text that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The media type, lower case, without parameters; empty where the server named none.
    pub media_type: String,
    /// The text; what is no UTF-8 in it is replaced.
    pub text: String,
}

impl TextClient {
    /// Makes a client for one address, each of whose calls may take that long.
    ///
    /// # Errors
    ///
    /// [`WireError`] when the client can't be made, as with a TLS store that can't be read.
    pub fn new(
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
        trust: &Trust,
        timeout: Duration,
    ) -> Result<Self, WireError> {
        let builder = client_builder(url, trust, Versions::Any)?;
        Self::of(builder.timeout(timeout), url, headers)
    }

    fn of(
        builder: reqwest::ClientBuilder,
        url: &Url,
        headers: &[(HeaderName, HeaderValue)],
    ) -> Result<Self, WireError> {
        let client = builder.build();
        Ok(Self {
            client: client.map_err(|error| WireError::new(ErrorKind::Unsupported, &error))?,
            url: url.clone(),
            headers: headers.iter().cloned().collect(),
        })
    }

    /// Reads the text.
    ///
    /// # Errors
    ///
    /// [`WireError`] as for requests; also for any status but 2xx, and for a text over 8 MiB.
    pub async fn get(&self) -> Result<Text, WireError> {
        self.read(self.client.get(self.url.clone())).await
    }

    /// Sends JSON there, and reads the answer.
    ///
    /// # Errors
    ///
    /// As [`Self::get`].
    pub async fn post(&self, body: &Value) -> Result<Text, WireError> {
        let request = self.client.post(self.url.clone());
        let request = request.header(http::header::CONTENT_TYPE, "application/json");
        self.read(request.body(body.to_string())).await
    }

    async fn read(&self, request: RequestBuilder) -> Result<Text, WireError> {
        let request = request.headers(self.headers.clone());
        let failed = |error: reqwest::Error| classify(&error.without_url());
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        if !status.is_success() {
            return Err(WireError::of_status(status));
        }
        let media_type = media_type(&response);
        let mut text = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(failed)? {
            text.extend_from_slice(&bytes);
            if text.len() > MAX_TEXT_BYTES {
                return Err(WireError {
                    kind: ErrorKind::TooLarge,
                    message: format!("the answer is over {MAX_TEXT_BYTES} bytes"),
                });
            }
        }
        let text = String::from_utf8(text)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Text { media_type, text })
    }
}

/// Returns the media type of a response, lower case, without parameters; empty where there is none.
fn media_type(response: &Response) -> String {
    response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .map(|value| value.trim().to_ascii_lowercase())
        .unwrap_or_default()
}

/// Reads a small text resource of a server, for control calls outside the measurement: over HTTP/2
/// where requests go over it (`http2`). Over TLS the server says itself what it speaks.
///
/// # Errors
///
/// As [`TextClient::get`].
pub async fn get_text(
    url: &Url,
    headers: &[(HeaderName, HeaderValue)],
    trust: &Trust,
    http2: bool,
) -> Result<String, WireError> {
    let versions = match http2 && url.scheme() == "http" {
        true => Versions::Two,
        false => Versions::Any,
    };
    let builder = client_builder(url, trust, versions)?.timeout(Duration::from_secs(10));
    let client = TextClient::of(builder, url, headers)?;
    client.get().await.map(|answer| answer.text)
}

impl Wire for ReqwestWire {
    type Body = ReqwestBody;

    async fn post(
        &self,
        body: Bytes,
        marks: &Arc<SendTimings>,
    ) -> Result<Head<ReqwestBody>, WireError> {
        let keeps = self.keeps.load(Ordering::Acquire);
        let mut sent = self.send(body.clone(), keeps, marks).await;
        if let Err(error) = &sent
            && keeps
            // What has a duration of opening was opened for this request.
            && marks.connect_ns().is_none()
            && is_end(error)
            && marks.was_just_sent(self.clock.now_ns())
        {
            self.keeps.store(false, Ordering::Release);
            marks.note_resend();
            sent = self.send(body, false, marks).await;
        }
        let response = sent.map_err(|error| classify(&error))?;
        let headers_ns = self.clock.now_ns();
        let content_type = media_type(&response);
        let headers = || {
            let headers = response.headers().iter();
            headers.map(|(name, value)| (name.as_str(), value.as_bytes()))
        };
        let mut retry_after = response::RetryAfter::default();
        for (name, value) in headers() {
            retry_after.take(name, value);
        }
        let kept_headers = response::kept(headers(), &self.target.kept_headers);
        Ok(Head {
            headers_ns,
            status: response.status().as_u16(),
            content_type,
            kept_headers,
            retry_after_ns: retry_after.ns(),
            body: ReqwestBody {
                response,
                clock: self.clock,
            },
        })
    }
}

impl ReqwestWire {
    /// Sends a request, on a connection that may have been kept or on a new one.
    async fn send(
        &self,
        body: Bytes,
        keeps: bool,
        marks: &Arc<SendTimings>,
    ) -> reqwest::Result<Response> {
        let length = body.len();
        let stamped = StampedBody {
            bytes: Some(body),
            clock: self.clock,
            marks: Arc::clone(marks),
            length,
        };
        let client = if keeps { &self.keeping } else { &self.closing };
        let mut request = client
            .post(self.target.url.clone())
            .header(http::header::CONTENT_TYPE, "application/json");
        // HTTP/2 has no such header.
        if !keeps && !self.target.http2 {
            request = request.header(http::header::CONNECTION, "close");
        }
        // What the user names replaces what is set here or stands in the address.
        let headers = self.target.headers.iter().cloned().collect::<HeaderMap>();
        let request = request.headers(headers).body(Body::wrap(stamped)).send();
        ATTEMPT.scope(Arc::clone(marks), request).await
    }
}

/// Says whether a request has no answer because its connection ended. An answer whose head is cut
/// off looks the same from here.
fn is_end(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        let system = cause.downcast_ref::<std::io::Error>();
        system.is_some_and(super::is_end) || cause.to_string() == CLOSED_EARLY
    })
}

/// What hyper says of a connection that ended where an answer was due.
const CLOSED_EARLY: &str = "connection closed before message completed";

/// A response body, frame by frame.
#[derive(Debug)]
pub struct ReqwestBody {
    response: Response,
    clock: Clock,
}

impl WireBody for ReqwestBody {
    async fn read(&mut self) -> Result<Option<Read>, WireError> {
        let frame = self.response.chunk().await;
        let at_ns = self.clock.now_ns();
        match frame {
            Ok(Some(bytes)) => Ok(Some(Read {
                at_ns,
                bytes,
                read_seq: None,
                kernel_lag_us: None,
            })),
            Ok(None) => Ok(None),
            Err(error) => Err(WireError::new(ErrorKind::Truncated, &error)),
        }
    }
}

/// Sorts a failure to get a response head into the tape's kinds.
pub(super) fn classify(error: &reqwest::Error) -> WireError {
    let mut kind = if error.is_connect() {
        ErrorKind::Connect
    } else {
        ErrorKind::Send
    };
    for cause in causes(error) {
        if cause.is::<rustls::Error>() || cause.to_string() == HANDSHAKE_CUT {
            kind = ErrorKind::Tls;
        } else if error.is_connect() && cause.to_string().starts_with("dns error") {
            kind = ErrorKind::Dns;
        }
    }
    if error.is_connect() && error.is_timeout() {
        kind = ErrorKind::TimeoutConnect;
    }
    WireError::new(kind, error)
}

/// What tokio-rustls says of a connection that ended before its handshake was done.
const HANDSHAKE_CUT: &str = "tls handshake eof";

/// A request body that notes when it is first asked for: the connection is up by then, and the
/// head is about to be written with it.
struct StampedBody {
    bytes: Option<Bytes>,
    clock: Clock,
    marks: Arc<SendTimings>,
    length: usize,
}

impl http_body::Body for StampedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let bytes = self.bytes.take();
        if bytes.is_some() {
            self.marks.set_sent_ns(self.clock.now_ns());
        }
        Poll::Ready(bytes.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let left = if self.bytes.is_some() { self.length } else { 0 };
        SizeHint::with_exact(left as u64)
    }
}

/// Times the opening of connections.
#[derive(Debug, Clone, Copy)]
struct TimedConnect {
    clock: Clock,
}

impl<S> Layer<S> for TimedConnect {
    type Service = TimedConnector<S>;

    fn layer(&self, inner: S) -> TimedConnector<S> {
        TimedConnector {
            inner,
            clock: self.clock,
        }
    }
}

#[derive(Debug, Clone)]
struct TimedConnector<S> {
    inner: S,
    clock: Clock,
}

impl<S, R> Service<R> for TimedConnector<S>
where
    S: Service<R>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, destination: R) -> Self::Future {
        let clock = self.clock;
        let started_ns = clock.now_ns();
        let connecting = self.inner.call(destination);
        Box::pin(async move {
            let connection = connecting.await;
            let took_ns = clock.now_ns() - started_ns;
            let _ = ATTEMPT.try_with(|marks| marks.set_connect_ns(took_ns));
            connection
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write};
    use std::net::TcpListener;
    use std::sync::atomic::AtomicUsize;

    use tokio::task::JoinSet;

    use super::*;

    /// A server of HTTP/2 that answers each request with a piece of a stream, and counts connections.
    async fn start_http2(tasks: &mut JoinSet<()>) -> (Url, Arc<AtomicUsize>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/x", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connections);
        tasks.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::AcqRel);
                let service = hyper::service::service_fn(|request| async move {
                    let request: http::Request<hyper::body::Incoming> = request;
                    let is_whole = request.version() == http::Version::HTTP_2
                        && request.headers().get("content-type").unwrap() == "application/json"
                        && request.headers().get("connection").is_none();
                    let body = axum::body::Body::from(format!("data: {is_whole}\n\n"));
                    http::Response::builder()
                        .header("content-type", "text/event-stream")
                        .header("retry-after", "2")
                        .body(body)
                });
                let connection =
                    hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new())
                        .serve_connection(hyper_util::rt::TokioIo::new(socket), service);
                conversations.spawn(connection);
            }
        });
        (url.parse().unwrap(), connections)
    }

    #[tokio::test]
    async fn http2_has_many_requests_on_one_connection() {
        let mut tasks = JoinSet::new();
        let (url, connections) = start_http2(&mut tasks).await;
        let target = Target {
            url,
            headers: Vec::new(),
            secrets: crate::secrets::Secrets::default(),
            trust: Trust::System,
            kept_headers: Vec::new(),
            connect_timeout: Duration::from_secs(5),
            keeps_alive: true,
            http2: true,
        };
        let wire = ReqwestWire::new(target, Clock::start()).unwrap();
        let ask = || async {
            let marks = Arc::new(SendTimings::default());
            let head = wire.post(Bytes::from_static(b"{}"), &marks).await.unwrap();
            assert_eq!(
                (head.status, head.retry_after_ns),
                (200, Some(2_000_000_000))
            );
            assert!(marks.sent_ns().unwrap() <= head.headers_ns);
            let mut body = head.body;
            body.read().await.unwrap().unwrap().bytes
        };
        // The first one opens the connection.
        let mut answers = vec![ask().await];
        answers.extend(futures::future::join_all((0..20).map(|_| ask())).await);
        assert_eq!(answers, vec![Bytes::from_static(b"data: true\n\n"); 21]);
        assert_eq!(connections.load(Ordering::Acquire), 1);
    }

    #[tokio::test]
    async fn a_server_of_http2_alone_is_asked_over_it() {
        let mut tasks = JoinSet::new();
        let (url, _) = start_http2(&mut tasks).await;
        let json = [(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        )];
        let text = get_text(&url, &json, &Trust::System, true).await;
        assert_eq!(text.as_deref(), Ok("data: true\n\n"));
        let refused = get_text(&url, &json, &Trust::System, false).await;
        assert!(refused.is_err(), "{refused:?}");
    }

    #[tokio::test]
    async fn a_text_without_end_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/v1/models", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 4]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            // Until the client has left.
            while stream.write_all(&[b'x'; 65_536]).is_ok() {}
        });
        let error = get_text(&url.parse().unwrap(), &[], &Trust::System, false)
            .await
            .unwrap_err();
        assert_eq!(error.kind, ErrorKind::TooLarge);
        // The connection is closed by a task of this runtime, so it must go on.
        let joined = tokio::task::spawn_blocking(move || server.join()).await;
        joined.unwrap().unwrap();
    }
}
