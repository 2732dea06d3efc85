//! A scripted server on a free port, with words for OpenAI-style answers: a test says what each request is answered with,
//! byte by byte where it matters.
//!
//! A script is a closure that is called once a request with a [`Reply`] to write to. It waits for
//! nothing but what the test tells it to, by channels or a [`Gate`], and for the client to leave.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Number of the POST on this server, from 0.
    pub(crate) index: usize,
    /// Path with query.
    pub(crate) path: String,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// The body as JSON; as a string where it is none.
    pub(crate) body: Value,
}

impl Request {
    /// Returns the value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(other, _)| other == name)
            .map(|(_, value)| value.as_str())
    }

    /// Returns the text that was asked about, of a chat or a completion.
    pub(crate) fn prompt(&self) -> &str {
        let chat = &self.body["messages"][0]["content"];
        chat.as_str()
            .or_else(|| self.body["prompt"].as_str())
            .unwrap_or_default()
    }
}

/// What bytes go through: a socket, or TLS over one.
pub(crate) trait Connection: Read + Write + Send {
    /// The socket beneath.
    fn socket(&self) -> &TcpStream;

    /// Says, in the words of what is above the socket, that nothing more will come.
    fn say_goodbye(&mut self) {}
}

impl Connection for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// Makes a connection of a socket; `None` where client and server do not agree on one.
type Accept = dyn Fn(TcpStream) -> Option<Box<dyn Connection>> + Send + Sync;

/// The server's side of one exchange. Writes to a client that has gone are lost without a word.
pub(crate) struct Reply {
    stream: BufReader<Box<dyn Connection>>,
    shared: Arc<Shared>,
    is_open: bool,
    /// The request counts as being answered; it stops to do so before the client can know.
    is_counted: bool,
}

impl Reply {
    fn is_over(&mut self) {
        if std::mem::take(&mut self.is_counted) {
            self.shared.in_flight.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Says whether the client still takes what is written.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let stream = self.stream.get_mut();
        self.is_open &= stream.write_all(bytes).is_ok() && stream.flush().is_ok();
    }

    /// Writes a whole response that is no stream.
    pub(crate) fn body(&mut self, status: &str, content_type: &str, body: &str) {
        let length = body.len();
        self.is_over();
        self.raw(
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
    }

    /// Writes an error as OpenAI's API words it.
    pub(crate) fn refuse(&mut self, status: &str, message: &str) {
        let error = json!({ "error": { "message": message, "type": "mock", "code": null } });
        self.body(status, "application/json", &error.to_string());
    }

    /// Begins a stream of events.
    pub(crate) fn begin(&mut self) {
        self.begin_as("text/event-stream; charset=utf-8");
    }

    /// Begins a stream of that type.
    pub(crate) fn begin_as(&mut self, content_type: &str) {
        self.raw(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\n\
                 transfer-encoding: chunked\r\n\r\n"
            )
            .as_bytes(),
        );
    }

    /// Writes a piece of the stream.
    pub(crate) fn piece(&mut self, bytes: &str) {
        self.raw(format!("{:x}\r\n{bytes}\r\n", bytes.len()).as_bytes());
    }

    /// Writes one event.
    pub(crate) fn event(&mut self, data: &str) {
        self.piece(&format!("data: {data}\n\n"));
    }

    /// Writes an event with a delta of a chat's answer.
    pub(crate) fn delta(&mut self, delta: &Value) {
        self.event(&json!({ "id": "r", "choices": [{ "index": 0, "delta": delta }] }).to_string());
    }

    /// Writes an event with text of a chat's answer.
    pub(crate) fn text(&mut self, text: &str) {
        self.delta(&json!({ "content": text }));
    }

    /// Writes the reason for which an answer ends.
    pub(crate) fn finish(&mut self) {
        self.event(r#"{"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}"#);
    }

    /// Writes how many tokens there were.
    pub(crate) fn usage(&mut self, input: usize, output: usize) {
        let usage = json!({ "prompt_tokens": input, "completion_tokens": output });
        self.event(&json!({ "choices": [], "usage": usage }).to_string());
    }

    /// Writes the end mark.
    pub(crate) fn done(&mut self) {
        self.event("[DONE]");
    }

    /// Ends the stream as HTTP does; the connection stays.
    pub(crate) fn end(&mut self) {
        self.is_over();
        self.raw(b"0\r\n\r\n");
    }

    /// Writes a whole answer, one event a word.
    pub(crate) fn answer(&mut self, request: &Request, words: &[&str]) {
        self.begin();
        self.delta(&json!({ "role": "assistant", "content": "" }));
        for word in words {
            self.text(word);
        }
        self.finish();
        self.usage(request.prompt().split(' ').count(), words.len());
        self.done();
        self.end();
    }

    /// Closes the connection, without a goodbye under TLS.
    pub(crate) fn close(&mut self) {
        self.is_open = false;
        self.is_over();
        let socket = self.stream.get_ref().socket();
        // A client that was faster has closed it already.
        socket.shutdown(std::net::Shutdown::Both).ok();
    }

    /// Closes the connection as TLS wants it.
    pub(crate) fn say_goodbye_and_close(&mut self) {
        self.stream.get_mut().say_goodbye();
        self.close();
    }

    /// Waits until the client has closed the connection.
    pub(crate) fn wait_for_client_to_leave(&mut self) {
        let mut byte = [0];
        while matches!(self.stream.read(&mut byte), Ok(1..)) {}
        self.is_open = false;
    }
}

/// A door that many scripts wait at until a test opens it, for good.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Lets everybody through.
    pub(crate) fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until the gate is open.
    pub(crate) fn wait(&self) {
        let is_open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(is_open, |is_open| !*is_open).unwrap());
    }
}

type Pages = dyn Fn(&str) -> Option<String> + Send + Sync;
type Script = dyn Fn(&Request, &mut Reply) + Send + Sync;

/// Answers the scrape of that number, from 0.
type Metrics = dyn Fn(usize, &mut Reply) + Send + Sync;

/// What a server does, by what it is asked for.
struct Scripts {
    /// Makes connections.
    accept: Box<Accept>,
    /// Answers a POST.
    script: Box<Script>,
    /// What is shown at a path; `None` where there is nothing.
    pages: Box<Pages>,
    /// Answers `/metrics`.
    metrics: Box<Metrics>,
}

impl Scripts {
    /// Plain sockets, a list of one model, and no metrics.
    fn new(script: Box<Script>) -> Self {
        // In the words of every API that is spoken here.
        let models = json!({ "data": [{ "id": "mock" }], "models": [{ "name": "mock" }] });
        Self {
            accept: Box::new(|socket| Some(Box::new(socket))),
            script,
            pages: Box::new(move |_| Some(models.to_string())),
            metrics: Box::new(|_, reply| reply.refuse("404 Not Found", "no metrics")),
        }
    }
}

/// What the threads of a server share.
struct Shared {
    scripts: Scripts,
    /// Scrapes so far.
    scrapes: AtomicUsize,
    /// Connections that were made.
    connections: AtomicUsize,
    /// Connection threads append, the test reads.
    requests: Mutex<Vec<Request>>,
    /// Those for the list of models.
    model_requests: Mutex<Vec<Request>>,
    next: AtomicUsize,
    /// Requests that are being answered, and the most that ever were at once.
    in_flight: AtomicUsize,
    in_flight_max: AtomicUsize,
    is_over: AtomicBool,
}

/// A running server; dropping it takes no more connections.
pub(crate) struct Mock {
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Mock {
    /// Starts a server that answers every POST by `script`, and lists one model, `mock`.
    pub(crate) fn start(script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static) -> Self {
        Self::start_all(Scripts::new(Box::new(script)))
    }

    /// Starts a server that answers every POST by `script`, and shows `pages` by their path.
    pub(crate) fn showing(
        pages: impl Fn(&str) -> Option<String> + Send + Sync + 'static,
        script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start_all(Scripts {
            pages: Box::new(pages),
            ..Scripts::new(Box::new(script))
        })
    }

    /// Starts a server that answers every POST by `script`, and `/metrics` by `metrics`.
    pub(crate) fn start_with_metrics(
        metrics: impl Fn(usize, &mut Reply) + Send + Sync + 'static,
        script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start_all(Scripts {
            metrics: Box::new(metrics),
            ..Scripts::new(Box::new(script))
        })
    }

    /// Starts a server whose connections are made of sockets by `accept`.
    pub(crate) fn start_over(
        accept: impl Fn(TcpStream) -> Option<Box<dyn Connection>> + Send + Sync + 'static,
        script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static,
    ) -> Self {
        Self::start_all(Scripts {
            accept: Box::new(accept),
            ..Scripts::new(Box::new(script))
        })
    }

    fn start_all(scripts: Scripts) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            scripts,
            scrapes: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            model_requests: Mutex::default(),
            next: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            in_flight_max: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.is_over.load(Ordering::Acquire) {
                    return;
                }
                let server = Arc::clone(&server);
                thread::spawn(move || serve(&server, stream.unwrap()));
            }
        });
        Self { address, shared }
    }

    /// Starts a server that answers every request with the same words.
    pub(crate) fn answering(words: &'static [&'static str]) -> Self {
        Self::start(move |request, reply| reply.answer(request, words))
    }

    /// As [`answering`](Self::answering), with words so far apart that a client on a busy machine reads
    /// most of them one by one.
    pub(crate) fn answering_slowly(words: &'static [&'static str]) -> Self {
        Self::start(move |request, reply| {
            reply.begin();
            for word in words {
                reply.text(word);
                thread::sleep(Duration::from_millis(5));
            }
            reply.finish();
            reply.usage(request.prompt().split(' ').count(), words.len());
            reply.done();
            reply.end();
        })
    }

    /// Returns the server's address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns host and port.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// Returns the requests so far, in the order in which they came.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Returns the requests for the list of models so far.
    pub(crate) fn model_requests(&self) -> Vec<Request> {
        self.shared.model_requests.lock().unwrap().clone()
    }

    /// Returns how often metrics were asked for.
    pub(crate) fn scrapes(&self) -> usize {
        self.shared.scrapes.load(Ordering::Acquire)
    }

    /// Returns how many connections were made.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Returns the most requests that were ever being answered at once.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.shared.in_flight_max.load(Ordering::Acquire)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Release);
        // Wakes the listener; one that has died needs no waking.
        TcpStream::connect(self.address).ok();
    }
}

/// Answers the requests of one connection, one after another.
fn serve(shared: &Arc<Shared>, stream: TcpStream) {
    stream.set_nodelay(true).unwrap();
    let Some(stream) = (shared.scripts.accept)(stream) else {
        return;
    };
    shared.connections.fetch_add(1, Ordering::AcqRel);
    let mut reply = Reply {
        stream: BufReader::new(stream),
        shared: Arc::clone(shared),
        is_open: true,
        is_counted: false,
    };
    while reply.is_open {
        let Some((method, mut request)) = read_request(&mut reply.stream) else {
            return;
        };
        if method == "GET" && request.path.starts_with("/metrics") {
            let number = shared.scrapes.fetch_add(1, Ordering::AcqRel);
            (shared.scripts.metrics)(number, &mut reply);
            continue;
        }
        if method == "GET" {
            let page = (shared.scripts.pages)(&request.path);
            shared.model_requests.lock().unwrap().push(request);
            match page {
                Some(page) => reply.body("200 OK", "application/json", &page),
                None => reply.refuse("404 Not Found", "there is no such page"),
            }
            continue;
        }
        reply.is_counted = true;
        let in_flight = shared.in_flight.fetch_add(1, Ordering::AcqRel) + 1;
        shared.in_flight_max.fetch_max(in_flight, Ordering::AcqRel);
        {
            let mut requests = shared.requests.lock().unwrap();
            request.index = shared.next.fetch_add(1, Ordering::AcqRel);
            requests.push(request.clone());
        }
        (shared.scripts.script)(&request, &mut reply);
        reply.is_over();
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Request)> {
    let mut line = String::new();
    let mut words = None;
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end();
        if words.is_none() {
            let mut parts = line.split(' ').map(str::to_owned);
            words = Some((parts.next()?, parts.next()?));
        } else if line.is_empty() {
            break;
        } else {
            let (name, value) = line.split_once(':')?;
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let (method, path) = words?;
    let mut request = Request {
        index: 0,
        path,
        headers,
        body: Value::Null,
    };
    let length: usize = request
        .header("content-length")
        .unwrap_or("0")
        .parse()
        .ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = serde_json::from_slice(&body)
        .unwrap_or_else(|_| String::from_utf8_lossy(&body).into_owned().into());
    Some((method, request))
}
