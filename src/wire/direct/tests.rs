//! The direct wire against scripted servers on loopback.

mod tls;

use std::io::{Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::secrets::Secrets;
use crate::wire::{Arrival, Flow, Trust};

/// What a server does with a connection once it has read a request.
type Step = Box<dyn FnOnce(&mut TcpStream) + Send>;

/// A server whose answer to each request is what the script does with the connection.
struct Server {
    address: String,
    thread: JoinHandle<Vec<String>>,
}

impl Server {
    /// Serves one connection; each step gets the connection after a request has been read.
    fn one(steps: Vec<Step>) -> Self {
        Self::many(vec![steps])
    }

    /// Serves connections one after the other.
    fn many(connections: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let thread = thread::spawn(move || {
            let mut requests = Vec::new();
            for steps in connections {
                let (mut stream, _) = listener.accept().unwrap();
                for step in steps {
                    requests.push(read_request(&mut stream));
                    step(&mut stream);
                }
            }
            requests
        });
        Self { address, thread }
    }

    fn target(&self) -> Target {
        target_at(&self.address)
    }
}

fn target_at(address: &str) -> Target {
    Target {
        url: format!("http://{address}/v1/x").parse().unwrap(),
        headers: Vec::new(),
        secrets: Secrets::default(),
        trust: Trust::System,
        kept_headers: Vec::new(),
        connect_timeout: Duration::from_secs(5),
        keeps_alive: true,
        http2: false,
    }
}

/// Reads a request with its whole body; what it has is its text.
fn read_request(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let (_, length) = head.rsplit_once("content-length: ").unwrap();
            let length = length.split("\r\n").next().unwrap();
            if body.len() >= length.parse().unwrap() {
                return text.into_owned();
            }
        }
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the client left");
        bytes.extend_from_slice(&buffer[..count]);
    }
}

fn step(act: impl FnOnce(&mut TcpStream) + Send + 'static) -> Step {
    Box::new(act)
}

fn says(bytes: &'static str) -> Step {
    step(move |stream| stream.write_all(bytes.as_bytes()).unwrap())
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn wire_to(target: &Target) -> DirectWire {
    let clock = Clock::start();
    DirectWire::new(target, clock, &Readers::start(clock, 1).unwrap()).unwrap()
}

fn wire(server: &Server) -> DirectWire {
    wire_to(&server.target())
}

async fn post(wire: &DirectWire) -> (Result<Head<DirectBody>, WireError>, Arc<SendTimings>) {
    let marks = Arc::new(SendTimings::default());
    let answer = wire.post(Bytes::from_static(b"{\"a\":1}"), &marks).await;
    (answer, marks)
}

/// A sink that keeps what it is given, and wishes what it is told to.
struct Kept {
    reads: Mutex<Vec<Read>>,
    wish: Flow,
}

impl Kept {
    fn wishing(wish: Flow) -> Arc<Self> {
        let reads = Mutex::default();
        Arc::new(Self { reads, wish })
    }

    fn reads(&self) -> Vec<Read> {
        self.reads.lock().unwrap().clone()
    }
}

impl Sink for Kept {
    fn take(&self, arrival: &Arrival<'_>) -> Flow {
        self.reads.lock().unwrap().push(Read {
            at_ns: arrival.at_ns,
            bytes: Bytes::copy_from_slice(arrival.bytes),
            read_seq: arrival.read_seq,
            kernel_lag_us: arrival.kernel_lag_us,
        });
        self.wish
    }
}

/// Reads a body to its end, over the read loop.
async fn body(head: Head<DirectBody>) -> Result<Vec<Read>, WireError> {
    let mut body = head.body;
    let kept = Kept::wishing(Flow::More);
    let pumped = body.stream_to(Arc::clone(&kept) as _).await?;
    assert_eq!(pumped, StreamEnd::End);
    Ok(kept.reads())
}

fn text(reads: &[Read]) -> String {
    let bytes: Vec<u8> = reads.iter().flat_map(|read| read.bytes.to_vec()).collect();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn every_read_is_stamped_numbered_and_free_of_framing() {
    let (go, wait) = mpsc::channel::<()>();
    let server = Server::one(vec![step(move |stream| {
        // The head and the first chunk come together, then one chunk in two pieces.
        stream
            .write_all(format!("{STREAM}3\r\none\r\n").as_bytes())
            .unwrap();
        wait.recv().unwrap();
        stream.write_all(b"6\r\ntwo").unwrap();
        wait.recv().unwrap();
        stream.write_all(b"TWO\r\n1\r\n3\r\n0\r\n\r\n").unwrap();
    })]);
    let wire = wire(&server);
    let (answer, marks) = post(&wire).await;
    let mut head = answer.unwrap();
    assert_eq!(
        (head.status, head.content_type.as_str()),
        (200, "text/event-stream")
    );
    let mut reads = vec![head.body.read().await.unwrap().unwrap()];
    for _ in 0..2 {
        go.send(()).unwrap();
        reads.push(head.body.read().await.unwrap().unwrap());
    }
    assert_eq!(head.body.read().await.unwrap(), None);
    let texts: Vec<&[u8]> = reads.iter().map(|read| &read.bytes[..]).collect();
    assert_eq!(texts, [&b"one"[..], b"two", b"TWO3"]);
    assert_eq!(
        reads.iter().map(|read| read.read_seq).collect::<Vec<_>>(),
        [Some(0), Some(1), Some(2)]
    );
    assert!(reads.windows(2).all(|pair| pair[0].at_ns < pair[1].at_ns));
    assert_eq!(reads[0].at_ns, head.headers_ns);
    let sent_ns = marks.sent_ns().unwrap();
    let body_sent_ns = marks.body_sent_ns().unwrap();
    assert!(sent_ns <= body_sent_ns && body_sent_ns <= head.headers_ns);
    assert!(marks.connect_ns().unwrap() > 0);
    let requests = server.thread.join().unwrap();
    assert!(requests[0].starts_with("POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1:"));
    assert!(requests[0].ends_with("content-length: 7\r\n\r\n{\"a\":1}"));
}

#[tokio::test]
async fn a_connection_whose_answer_is_whole_is_used_again_and_its_reads_count_from_0() {
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 2\r\n\r\nok";
    let server = Server::one(vec![says(answer), says(answer)]);
    let wire = wire(&server);
    for has_connected in [true, false] {
        let (answer, marks) = post(&wire).await;
        assert_eq!(marks.connect_ns().is_some(), has_connected);
        let reads = body(answer.unwrap()).await.unwrap();
        assert_eq!((text(&reads).as_str(), reads[0].read_seq), ("ok", Some(0)));
    }
    assert_eq!(server.thread.join().unwrap().len(), 2);
}

#[tokio::test]
async fn a_connection_that_the_server_closed_or_spoke_on_is_not_used_again() {
    let whole = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let says_close = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
    let excess = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200";
    let server = Server::many(vec![
        vec![says(says_close)],
        vec![says(excess)],
        // Closed by the script's end.
        vec![says(whole)],
        vec![says(whole)],
    ]);
    let wire = wire(&server);
    for _ in 0..4 {
        let (answer, marks) = post(&wire).await;
        assert!(marks.connect_ns().is_some());
        let mut head = answer.unwrap();
        assert_eq!(head.body.read().await.unwrap().unwrap().bytes, "ok");
        assert_eq!(head.body.read().await.unwrap(), None);
        // Until the close has come through, the connection looks alive.
        while wire.pool.take().is_some_and(|(mut stream, origin)| {
            let is_quiet = stream.is_quiet();
            wire.pool.put(stream, origin);
            is_quiet
        }) {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(server.thread.join().unwrap().len(), 4);
}

/// Reads a request and then ends the connection without a word.
fn ends() -> Step {
    step(|stream| stream.shutdown(std::net::Shutdown::Both).unwrap())
}

const WHOLE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_whose_kept_connection_had_ended_is_sent_again_on_a_new_one() {
    let server = Server::many(vec![
        vec![says(WHOLE), ends()],
        vec![says(WHOLE)],
        // After that end a connection serves one request.
        vec![says(WHOLE)],
    ]);
    let wire = wire(&server);
    for resends in [0, 1, 0] {
        let before_ns = wire.clock.now_ns();
        let (answer, marks) = post(&wire).await;
        let head = answer.unwrap();
        assert_eq!(marks.resends(), resends);
        // The times are those of the connection that brought the answer.
        let (connect_ns, sent_ns) = (marks.connect_ns().unwrap(), marks.sent_ns().unwrap());
        assert!(sent_ns - connect_ns >= before_ns && sent_ns <= head.headers_ns);
        assert_eq!(text(&body(head).await.unwrap()), "ok");
    }
    let requests = server.thread.join().unwrap();
    let says_close: Vec<bool> = requests
        .iter()
        .map(|request| request.contains("\r\nconnection: close\r\n"))
        .collect();
    assert_eq!(says_close, [false, false, true, true]);
}

#[tokio::test]
async fn a_new_connection_that_ends_without_an_answer_is_a_failure_also_after_another_one() {
    let server = Server::many(vec![vec![ends()], vec![says(WHOLE), ends()], vec![ends()]]);
    let wire = wire(&server);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let (answer, marks) = post(&wire).await;
        let answer = match answer {
            Ok(head) => text(&body(head).await.unwrap()),
            Err(error) => error.to_string(),
        };
        seen.push((answer, marks.resends()));
    }
    let nothing = "send: the server closed the connection without an answer";
    let expected = [(nothing, 0), ("ok", 0), (nothing, 1)];
    assert_eq!(
        seen,
        expected.map(|(answer, resends)| (answer.to_owned(), resends))
    );
    assert_eq!(server.thread.join().unwrap().len(), 4);
}

#[tokio::test]
async fn a_request_is_not_sent_again_once_a_byte_of_an_answer_came() {
    for start in ["H", "HTTP/1.1 100 Continue\r\n\r\n"] {
        let server = Server::one(vec![says(WHOLE), says(start)]);
        let wire = wire(&server);
        let head = post(&wire).await.0.unwrap();
        body(head).await.unwrap();
        let (answer, marks) = post(&wire).await;
        assert_eq!(answer.err().unwrap().kind, ErrorKind::Send);
        assert_eq!((marks.resends(), marks.connect_ns()), (0, None));
        assert_eq!(server.thread.join().unwrap().len(), 2);
    }
}

#[tokio::test]
async fn connections_that_a_server_does_not_let_wait_are_no_longer_opened_ahead() {
    let server = Server::many(vec![vec![ends()], vec![says(WHOLE), says(WHOLE)]]);
    let wire = wire(&server);
    wire.warm(1).await;
    let (answer, marks) = post(&wire).await;
    assert_eq!(text(&body(answer.unwrap()).await.unwrap()), "ok");
    assert_eq!(marks.resends(), 1);
    wire.warm(3).await;
    // Connections that were used go on being kept.
    let (answer, marks) = post(&wire).await;
    assert_eq!(text(&body(answer.unwrap()).await.unwrap()), "ok");
    assert_eq!((marks.resends(), marks.connect_ns()), (0, None));
    assert_eq!(server.thread.join().unwrap().len(), 3);
}

#[tokio::test]
async fn without_keep_alive_each_request_has_a_connection_that_may_be_opened_ahead() {
    let server = Server::many(vec![vec![says(WHOLE)], vec![says(WHOLE)]]);
    let mut target = server.target();
    target.keeps_alive = false;
    let wire = wire_to(&target);
    wire.warm(1).await;
    for is_ahead in [true, false] {
        let (answer, marks) = post(&wire).await;
        assert_eq!(marks.connect_ns().is_none(), is_ahead);
        assert_eq!(text(&body(answer.unwrap()).await.unwrap()), "ok");
    }
    for request in server.thread.join().unwrap() {
        assert!(request.contains("\r\nconnection: close\r\n"), "{request}");
    }
}

#[tokio::test]
async fn connections_are_opened_ahead_once_and_used() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = target_at(&listener.local_addr().unwrap().to_string());
    let server = thread::spawn(move || {
        // The client may use either one first.
        let streams: Vec<TcpStream> = (0..2).map(|_| listener.accept().unwrap().0).collect();
        let serving = streams.into_iter().map(|mut stream| {
            thread::spawn(move || {
                read_request(&mut stream);
                let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok";
                stream.write_all(answer.as_bytes()).unwrap();
            })
        });
        for served in serving.collect::<Vec<_>>() {
            served.join().unwrap();
        }
    });
    let wire = wire_to(&target);
    // What is being opened counts as well.
    tokio::join!(wire.warm(2), wire.warm(1), wire.warm(2));
    assert_eq!(wire.pool.open_up_to(3).missing, 1);
    for _ in 0..2 {
        let (answer, marks) = post(&wire).await;
        assert_eq!(marks.connect_ns(), None);
        assert_eq!(text(&body(answer.unwrap()).await.unwrap()), "ok");
    }
    server.join().unwrap();
}

#[tokio::test]
async fn warming_gives_up_where_nobody_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = target_at(&address.to_string());
    let wire = wire_to(&target);
    wire.warm(100).await;
    assert!(wire.pool.take().is_none());
    assert_eq!(wire.pool.open_up_to(2).missing, 2);
}

#[tokio::test]
async fn a_dropped_body_closes_its_connection() {
    let (closed, is_closed) = mpsc::channel();
    let server = Server::one(vec![step(move |stream| {
        stream
            .write_all(format!("{STREAM}1\r\na\r\n").as_bytes())
            .unwrap();
        closed.send(stream.read(&mut [0; 1]).unwrap_or(0)).unwrap();
    })]);
    let wire = wire(&server);
    let mut head = post(&wire).await.0.unwrap();
    head.body.read().await.unwrap().unwrap();
    drop(head);
    assert_eq!(is_closed.recv().unwrap(), 0);
    assert!(wire.pool.take().is_none());
}

#[tokio::test]
async fn a_body_without_length_ends_with_the_connection() {
    let server = Server::one(vec![says("HTTP/1.1 200 OK\r\n\r\nall of it")]);
    let (answer, _) = post(&wire(&server)).await;
    assert_eq!(text(&body(answer.unwrap()).await.unwrap()), "all of it");
}

#[tokio::test]
async fn bodies_that_are_cut_short_are_truncated() {
    for (answer, part) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
            "7 bytes before",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "last chunk",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            "where its size says",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
            "no valid size",
        ),
    ] {
        let server = Server::one(vec![says(answer)]);
        let (head, _) = post(&wire(&server)).await;
        let error = body(head.unwrap()).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Truncated);
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[tokio::test]
async fn heads_that_are_none_are_told_apart() {
    for (answer, kind, part) in [
        ("", ErrorKind::Send, "without an answer"),
        (
            "HTTP/1.1 200 OK\r\ncont",
            ErrorKind::Send,
            "inside the head",
        ),
        ("SSH-2.0-x\r\n", ErrorKind::Unsupported, "not HTTP/1.1"),
        (
            "HTTP/1.1 101 Switching\r\nupgrade: h2c\r\n\r\n",
            ErrorKind::Unsupported,
            "another protocol",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-encoding: br\r\n\r\n",
            ErrorKind::Unsupported,
            "`br`",
        ),
    ] {
        let server = Server::one(vec![says(answer)]);
        let error = post(&wire(&server)).await.0.err().unwrap();
        assert_eq!(error.kind, kind, "{answer:?}");
        assert!(error.message.contains(part), "{}", error.message);
    }
}

#[tokio::test]
async fn interim_answers_are_passed_over_but_not_without_end() {
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n\
                  HTTP/1.1 429 Too Many\r\ncontent-length: 1\r\n\r\nx";
    let server = Server::one(vec![says(answer)]);
    let head = post(&wire(&server)).await.0.unwrap();
    assert_eq!(head.status, 429);
    assert_eq!(text(&body(head).await.unwrap()), "x");

    let server = Server::one(vec![step(|stream| {
        // The client leaves before all of them are written.
        let _ = stream.write_all("HTTP/1.1 100 Continue\r\n\r\n".repeat(100).as_bytes());
    })]);
    let error = post(&wire(&server)).await.0.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Unsupported);
}

#[tokio::test]
async fn a_refusal_that_comes_before_the_request_is_whole_is_heard() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Nothing of the request is read but its start.
        stream.read_exact(&mut [0; 4]).unwrap();
        let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig";
        stream.write_all(answer.as_bytes()).unwrap();
        stream
    });
    let target = target_at(&address.to_string());
    let wire = wire_to(&target);
    let marks = Arc::new(SendTimings::default());
    // More than sockets hold.
    let large = Bytes::from(vec![b'x'; 64 << 20]);
    let head = wire.post(large, &marks).await.unwrap();
    assert_eq!((head.status, marks.body_sent_ns()), (413, None));
    assert_eq!(text(&body(head).await.unwrap()), "big");
    assert!(wire.pool.take().is_none());
    drop(server.join().unwrap());
}

#[tokio::test]
async fn a_large_body_arrives_whole() {
    let large: String = "0123456789abcdef".repeat(40_000);
    let server = Server::one(vec![says("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")]);
    let wire = wire(&server);
    let marks = Arc::new(SendTimings::default());
    let head = wire.post(Bytes::from(large.clone()), &marks).await.unwrap();
    assert_eq!(body(head).await.unwrap(), []);
    let requests = server.thread.join().unwrap();
    let (_, received) = requests[0].split_once("\r\n\r\n").unwrap();
    assert!(received == large, "{} bytes came", received.len());
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let target = target_at(&address.to_string());
    let wire = wire_to(&target);
    let (answer, marks) = post(&wire).await;
    let error = answer.err().unwrap();
    assert_eq!(error.kind, ErrorKind::Connect);
    assert!(error.message.contains("refused"), "{}", error.message);
    assert!(marks.sent_ns().is_none() && marks.connect_ns().is_some());
}

#[tokio::test]
async fn a_name_is_looked_up_and_one_that_has_no_address_is_told() {
    let server = Server::one(vec![says("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx")]);
    let mut target = server.target();
    let (_, port) = server.address.rsplit_once(':').unwrap();
    target.url = format!("http://localhost:{port}/").parse().unwrap();
    let wire = wire_to(&target);
    // Where the name stands for ::1 too, that is tried and left.
    let head = post(&wire).await.0.unwrap();
    assert_eq!(text(&body(head).await.unwrap()), "x");
}

/// Starts a server that sends each piece when it is told to go on, and then closes.
fn piecewise(pieces: Vec<Vec<u8>>) -> (Server, mpsc::Sender<()>) {
    let (go, wait) = mpsc::channel::<()>();
    let server = Server::one(vec![step(move |stream| {
        for piece in pieces {
            stream.write_all(&piece).unwrap();
            wait.recv().unwrap();
        }
    })]);
    (server, go)
}

#[tokio::test]
async fn a_stream_goes_on_where_its_sink_asked_it_to_wait() {
    let pieces = ["1\r\na\r\n", "1\r\nb\r\n", "1\r\nc\r\n0\r\n\r\n"];
    let mut pieces: Vec<Vec<u8>> = pieces.map(|piece| piece.as_bytes().to_vec()).into();
    pieces.insert(0, STREAM.as_bytes().to_vec());
    let (server, go) = piecewise(pieces);
    let wire = wire(&server);
    let mut head = post(&wire).await.0.unwrap();
    let kept = Kept::wishing(Flow::Wait);
    let mut pumped = Vec::new();
    while pumped.last() != Some(&StreamEnd::End) {
        assert_eq!(head.body.ended_ns(), None);
        go.send(()).unwrap();
        pumped.push(head.body.stream_to(Arc::clone(&kept) as _).await.unwrap());
    }
    assert_eq!(pumped, [StreamEnd::Wait, StreamEnd::Wait, StreamEnd::End]);
    let reads = kept.reads();
    assert_eq!(text(&reads), "abc");
    let numbers: Vec<_> = reads.iter().map(|read| read.read_seq).collect();
    assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    assert!(reads.iter().all(|read| read.at_ns > head.headers_ns));
    // The last read brought the end as well.
    assert_eq!(head.body.ended_ns(), Some(reads[2].at_ns));
    assert!(wire.pool.take().is_some());
    go.send(()).unwrap();
}

#[tokio::test]
async fn a_stream_whose_sink_has_enough_is_read_no_further() {
    let (server, go) = piecewise(vec![format!("{STREAM}1\r\na\r\n").into_bytes()]);
    let wire = wire(&server);
    let mut head = post(&wire).await.0.unwrap();
    let kept = Kept::wishing(Flow::Enough);
    let pumped = head.body.stream_to(Arc::clone(&kept) as _).await;
    assert_eq!(pumped.unwrap(), StreamEnd::Enough);
    assert_eq!(text(&kept.reads()), "a");
    go.send(()).unwrap();
}

#[tokio::test]
async fn a_stream_that_is_given_up_closes_its_connection_and_leaves_the_hub() {
    let (closed, is_closed) = mpsc::channel();
    let server = Server::one(vec![step(move |stream| {
        stream.write_all(STREAM.as_bytes()).unwrap();
        closed.send(stream.read(&mut [0; 1]).unwrap_or(0)).unwrap();
    })]);
    let wire = wire(&server);
    let mut head = post(&wire).await.0.unwrap();
    let pumping = head.body.stream_to(Kept::wishing(Flow::More));
    let given_up = tokio::time::timeout(Duration::from_millis(5), pumping).await;
    assert!(given_up.is_err());
    assert_eq!(is_closed.recv().unwrap(), 0);
    assert!(head.body.stream.is_none());
}

#[tokio::test]
async fn a_stream_that_never_pauses_leaves_others_their_turn() {
    let (heard, has_heard) = mpsc::channel::<()>();
    let firehose = Server::one(vec![step(move |stream| {
        let piece = format!("{:x}\r\n{}\r\n", 1 << 16, "x".repeat(1 << 16));
        stream.write_all(STREAM.as_bytes()).unwrap();
        // It ends when the other stream has been read, and not before.
        while has_heard.try_recv().is_err() {
            stream.write_all(piece.as_bytes()).unwrap();
        }
        stream.write_all(b"0\r\n\r\n").unwrap();
    })]);
    let quiet = Server::one(vec![says("HTTP/1.1 200 OK\r\n\r\nx")]);
    let wire = wire(&firehose);
    let other = DirectWire {
        readers: wire.readers.clone(),
        ..wire_to(&target_at(&quiet.address))
    };
    let (loud, still) = (Kept::wishing(Flow::More), Kept::wishing(Flow::More));
    let mut first = post(&wire).await.0.unwrap();
    let (answer, _) = post(&other).await;
    let mut second = answer.unwrap();
    let (one, two) = tokio::join!(first.body.stream_to(Arc::clone(&loud) as _), async {
        let pumped = second.body.stream_to(Arc::clone(&still) as _).await;
        heard.send(()).unwrap();
        pumped
    });
    assert_eq!(
        (one.unwrap(), two.unwrap()),
        (StreamEnd::End, StreamEnd::End)
    );
    assert_eq!(text(&still.reads()), "x");
    assert!(text(&loud.reads()).bytes().all(|byte| byte == b'x'));
}

#[tokio::test]
async fn places_in_the_read_loop_are_used_again_and_none_is_mistaken_for_another() {
    let connections = (0..60).map(|number| {
        if number % 3 == 0 {
            // Given up while it waits.
            vec![step(|stream| {
                stream.write_all(STREAM.as_bytes()).unwrap();
                let _ = stream.read(&mut [0; 1]);
            })]
        } else {
            vec![says(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok",
            )]
        }
    });
    let server = Server::many(connections.collect());
    let wire = wire(&server);
    for number in 0..60 {
        let mut head = post(&wire).await.0.unwrap();
        let kept = Kept::wishing(Flow::More);
        let pumping = head.body.stream_to(Arc::clone(&kept) as _);
        if number % 3 == 0 {
            let given_up = tokio::time::timeout(Duration::from_millis(1), pumping).await;
            assert!(given_up.is_err());
        } else {
            assert_eq!(pumping.await.unwrap(), StreamEnd::End);
            assert_eq!(text(&kept.reads()), "ok");
        }
    }
}

#[tokio::test]
async fn the_reading_thread_says_how_long_it_takes_to_come() {
    let server = Server::one(vec![]);
    let wire = wire(&server);
    let reader = wire.readers.threads().remove(0);
    assert_eq!(reader.take_lag_max_ns(), 0);
    reader.knock();
    // One that has not come yet takes as long as it has taken so far: there is no moment at which a
    // knock does not show.
    assert!(reader.take_lag_max_ns() > 0);
    while reader.cpu_ns() == 0 {
        thread::yield_now();
    }
}
