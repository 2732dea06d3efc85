//! The direct wire under TLS.

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::*;

type Secured = StreamOwned<ServerConnection, TcpStream>;

/// What a server does with a connection once it has read the head of a request.
type SecuredStep = Box<dyn FnOnce(&mut Secured) + Send>;

/// Serves one connection under TLS; each step gets it after a request. The thread returns it, open.
fn serving(steps: Vec<SecuredStep>) -> (Target, JoinHandle<Secured>) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        let session = ServerConnection::new(Arc::new(config)).unwrap();
        let mut stream = StreamOwned::new(session, socket);
        for step in steps {
            let mut request = Vec::new();
            while !request.ends_with(b"{\"a\":1}") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            step(&mut stream);
        }
        stream
    });
    let target = Target {
        url: format!("https://{address}/v1/x").parse().unwrap(),
        trust: Trust::Anyone,
        ..target_at(&address)
    };
    (target, thread)
}

fn secured_step(act: impl FnOnce(&mut Secured) + Send + 'static) -> SecuredStep {
    Box::new(act)
}

fn send(stream: &mut Secured, text: &str) {
    stream.write_all(text.as_bytes()).unwrap();
    stream.flush().unwrap();
}

#[tokio::test]
async fn a_body_until_close_ends_with_the_goodbye_though_the_socket_stays_open() {
    let (go, wait) = mpsc::channel::<()>();
    let (target, server) = serving(vec![secured_step(move |stream| {
        send(stream, "HTTP/1.1 200 OK\r\n\r\none");
        wait.recv().unwrap();
        stream.write_all(b"two").unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    })]);
    let wire = wire_to(&target);
    let (answer, _) = post(&wire).await;
    let head = answer.unwrap();
    go.send(()).unwrap();
    assert_eq!(text(&body(head).await.unwrap()), "onetwo");
    drop(server.join().unwrap());
}

#[tokio::test]
async fn an_end_that_comes_with_the_head_ends_the_body() {
    for (answer, whole) in [
        ("HTTP/1.1 200 OK\r\n\r\nall", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall", false),
    ] {
        let (target, server) = serving(vec![secured_step(move |stream| {
            stream.conn.writer().write_all(answer.as_bytes()).unwrap();
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        })]);
        let wire = wire_to(&target);
        let (answer, _) = post(&wire).await;
        let reads = body(answer.unwrap()).await;
        match reads {
            Ok(reads) => assert_eq!((text(&reads).as_str(), whole), ("all", true)),
            Err(error) => assert_eq!((error.kind, whole), (ErrorKind::Truncated, false)),
        }
        drop(server.join().unwrap());
    }
}

#[tokio::test]
async fn keys_that_change_in_a_stream_are_followed_and_the_connection_is_used_again() {
    let answer = |stream: &mut Secured| {
        send(stream, &format!("{STREAM}3\r\none\r\n"));
        stream.conn.refresh_traffic_keys().unwrap();
        send(stream, "3\r\ntwo\r\n0\r\n\r\n");
    };
    let (target, server) = serving(vec![secured_step(answer), secured_step(answer)]);
    let wire = wire_to(&target);
    for has_connected in [true, false] {
        let (answer, marks) = post(&wire).await;
        assert_eq!(marks.connect_ns().is_some(), has_connected);
        let reads = body(answer.unwrap()).await.unwrap();
        assert_eq!(text(&reads), "onetwo");
        assert!(reads.iter().all(|read| read.read_seq.is_some()));
    }
    drop(server.join().unwrap());
}

#[tokio::test]
async fn a_stream_under_tls_goes_on_where_its_sink_asked_it_to_wait() {
    let (go, wait) = mpsc::channel::<()>();
    let (target, server) = serving(vec![secured_step(move |stream| {
        send(stream, STREAM);
        for piece in ["3\r\none\r\n", "3\r\ntwo\r\n", "0\r\n\r\n"] {
            wait.recv().unwrap();
            send(stream, piece);
        }
    })]);
    let wire = wire_to(&target);
    let (answer, _) = post(&wire).await;
    let mut body = answer.unwrap().body;
    let mut texts = Vec::new();
    loop {
        let kept = Kept::wishing(Flow::Wait);
        go.send(()).ok();
        let end = body.stream_to(Arc::clone(&kept) as _).await.unwrap();
        texts.push(text(&kept.reads()));
        if end == StreamEnd::End {
            break;
        }
    }
    assert_eq!(texts, ["one", "two", ""]);
    drop(server.join().unwrap());
}

#[tokio::test]
async fn a_connection_whose_goodbye_came_with_the_answer_is_not_used_again() {
    let (target, server) = serving(vec![secured_step(|stream| {
        stream.conn.writer().write_all(WHOLE.as_bytes()).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    })]);
    let wire = wire_to(&target);
    let (answer, _) = post(&wire).await;
    assert_eq!(text(&body(answer.unwrap()).await.unwrap()), "ok");
    assert!(wire.pool.take().is_none());
    drop(server.join().unwrap());
}
