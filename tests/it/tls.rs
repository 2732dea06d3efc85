//! Servers behind TLS, with certificates of an authority that each test makes for itself: the
//! program is told of it as any program is, by `SSL_CERT_FILE`.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::json;
use tokentape::time::clock::Clock;

use crate::mock::{Connection, Mock, Reply, Request};
use crate::program::{Folder, Outcome, load_words};

/// What is written where TLS has a server say that it closes.
struct Tls(StreamOwned<ServerConnection, TcpStream>);

impl Read for Tls {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Tls {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Connection for Tls {
    fn socket(&self) -> &TcpStream {
        &self.0.sock
    }

    fn say_goodbye(&mut self) {
        self.0.conn.send_close_notify();
        self.0.flush().ok();
    }
}

/// An authority that signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its own certificate, as a file of those that are trusted has it.
    pem: String,
}

impl Authority {
    fn new() -> Self {
        Self::named("an authority of the tests")
    }

    fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        (params.distinguished_name).push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        let pem = in_pem(certificate.der());
        let issuer = Issuer::new(params, key);
        Self { issuer, pem }
    }

    /// Starts a server that shows the certificate of an authority, its own, for this machine. Returns
    /// it with the certificate, in PEM.
    fn serving_itself() -> (Mock, String) {
        let key = KeyPair::generate().unwrap();
        let names = HERE.map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let pem = in_pem(certificate.der());
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let mock = serving(certificate.der().clone(), key, |request, reply| {
            reply.answer(request, &["a"]);
        });
        (mock, pem)
    }

    /// Starts a server that has a certificate of this authority for `names`.
    fn server(
        &self,
        names: &[&str],
        script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static,
    ) -> Mock {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        serving(certificate.der().clone(), key, script)
    }
}

/// Starts a server that shows this certificate.
fn serving(
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    script: impl Fn(&Request, &mut Reply) + Send + Sync + 'static,
) -> Mock {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key.into())
        .unwrap();
    let config = Arc::new(config);
    let accept = move |mut socket: TcpStream| {
        let mut tls = ServerConnection::new(Arc::clone(&config)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut socket).ok()?;
        }
        Some(Box::new(Tls(StreamOwned::new(tls, socket))) as Box<dyn Connection>)
    };
    Mock::start_over(accept, script)
}

fn in_pem(certificate: &[u8]) -> String {
    let text = base64::engine::general_purpose::STANDARD.encode(certificate);
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|start| &text[start..text.len().min(start + 64)])
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

/// Runs `load` against a server behind TLS, trusting `authority` and nobody else.
fn load(folder: &Folder, authority: &Authority, mock: &Mock, words: &[&str]) -> Outcome {
    let url = format!("https://{}", mock.authority());
    folder.write("trusted.pem", &authority.pem);
    let trusted = folder.path("trusted.pem").display().to_string();
    let variables = [("SSL_CERT_FILE", trusted.as_str()), ("SSL_CERT_DIR", "")];
    folder.run_with(&load_words(&url, words), &variables)
}

const HERE: [&str; 2] = ["localhost", "127.0.0.1"];

/// How long a server below thinks.
const THOUGHT_NS: i64 = 20_000_000;

#[test]
fn a_loop_over_tls_keeps_its_connections_and_stamps_its_reads() {
    let authority = Authority::new();
    let mock = authority.server(&HERE, |_, reply| {
        reply.begin();
        reply.delta(&json!({ "role": "assistant", "content": "" }));
        let clock = Clock::start();
        while clock.now_ns() < THOUGHT_NS {
            thread::park_timeout(Duration::from_nanos(THOUGHT_NS.unsigned_abs()));
        }
        // What is in one record is decrypted, and so arrives, together.
        let event = |text: &str| {
            let choice = json!({ "index": 0, "delta": { "content": text } });
            format!("data: {}\n\n", json!({ "choices": [choice] }))
        };
        reply.piece(&format!("{}{}", event("one"), event("two")));
        reply.text("three");
        reply.finish();
        reply.usage(4, 3);
        reply.done();
        reply.end();
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "24", "--max-concurrency", "3"];
    load(&folder, &authority, &mock, &words).expect_code(0);
    assert_eq!(mock.requests().len(), 24);
    let connections = mock.connections();
    // A busy machine may be late to give one back to the pool, and open another; without a pool there
    // would be one a request.
    assert!((1..12).contains(&connections), "{connections} connections");
    insta::assert_snapshot!(
        folder.table("run.tape", "SELECT DISTINCT status, chunk_count, output_tokens FROM requests"),
        @"ok | 3 | 3"
    );
    // The role is no token, and a token is not stamped before it was sent.
    let early = format!(
        "SELECT count(*) FROM requests WHERE ttft_ns < {THOUGHT_NS} OR last_token_ns > end_ns"
    );
    assert_eq!(folder.number("run.tape", &early), 0);
    let reads = "SELECT count(*) AS n, count(read_seq) AS known, \
                 count(*) FILTER (WHERE read_seq < before) AS falling, \
                 count(*) FILTER (WHERE seq = 2 AND read_seq <> before) AS torn \
                 FROM (SELECT seq, read_seq, lag(read_seq) OVER \
                       (PARTITION BY request_id ORDER BY seq) AS before FROM chunks)";
    // A role, three texts, a finish, a usage and an end mark each; the third event is the text that
    // shares a record with the one before.
    assert_eq!(folder.table("run.tape", reads), "168 | 168 | 0 | 0");
}

#[test]
fn large_prompts_go_through_tls_whole() {
    let authority = Authority::new();
    let mock = authority.server(&HERE, |request, reply| reply.answer(request, &["a"]));
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "4",
        "--max-concurrency",
        "2",
        "--random-input-len",
        "250000",
    ];
    load(&folder, &authority, &mock, &words).expect_code(0);
    let requests = mock.requests();
    assert_eq!(requests.len(), 4);
    for request in requests {
        let length = request.prompt().len();
        assert!(length > 1_000_000, "{length} bytes");
    }
    let statuses = "SELECT DISTINCT status FROM requests";
    assert_eq!(folder.table("run.tape", statuses), "ok");
}

fn assert_nothing_was_sent(folder: &Folder, mock: &Mock) {
    assert!(
        mock.requests().is_empty(),
        "something was sent all the same"
    );
    let kinds = "SELECT DISTINCT status, error_kind, sent_ns FROM requests";
    assert_eq!(folder.table("run.tape", kinds), "error | tls | -");
}

#[test]
fn a_certificate_that_nobody_vouches_for_is_refused() {
    let other = Authority::named("an authority that nobody knows");
    let mock = other.server(&HERE, |request, reply| reply.answer(request, &["a"]));
    let folder = Folder::new();
    let outcome = load(
        &folder,
        &Authority::new(),
        &mock,
        &["--num-prompts", "2", "--max-concurrency", "1"],
    );
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `tls`: invalid peer certificate: UnknownIssuer (connecting to 127.0.0.1:[PORT])
    hint: check the server's certificate, and whether `--base-url` wants http or https
    tape: run.tape
    ");
    assert_nothing_was_sent(&folder, &mock);
}

#[test]
fn what_fails_under_tls_is_told_by_the_reqwest_wire_too() {
    let other = Authority::named("an authority that nobody knows");
    let mock = other.server(&HERE, |request, reply| reply.answer(request, &["a"]));
    let plain = Mock::answering(&["a"]);
    for (mock, flags, message) in [
        (
            &mock,
            &["--wire", "reqwest"][..],
            "invalid peer certificate: UnknownIssuer",
        ),
        (
            &mock,
            &["--http2"],
            "invalid peer certificate: UnknownIssuer",
        ),
        (&plain, &["--wire", "reqwest"], "tls handshake eof"),
    ] {
        let folder = Folder::new();
        let words = [&["--num-prompts", "1"][..], flags].concat();
        let outcome = load(&folder, &Authority::new(), mock, &words).expect_code(3);
        for said in [
            "failed with `tls`",
            message,
            "hint: check the server's certificate",
        ] {
            assert!(
                outcome.stderr.contains(said),
                "{flags:?}: {}",
                outcome.stderr
            );
        }
        assert_nothing_was_sent(&folder, mock);
    }
}

#[test]
fn a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    let names = ["elsewhere.example"];
    let mock = authority.server(&names, |request, reply| reply.answer(request, &["a"]));
    let folder = Folder::new();
    let words = ["--num-prompts", "2", "--max-concurrency", "1"];
    let outcome = load(&folder, &authority, &mock, &words);
    insta::assert_snapshot!(outcome.shown(), @r#"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `tls`: invalid peer certificate: certificate not valid for name "127.0.0.1"; certificate is only valid for DnsName("elsewhere.example") (connecting to 127.0.0.1:[PORT])
    hint: check the server's certificate, and whether `--base-url` wants http or https
    tape: run.tape
    "#);
    assert_nothing_was_sent(&folder, &mock);
}

#[test]
fn a_server_that_speaks_no_tls_is_named_as_such() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let words = ["--num-prompts", "1"];
    let outcome = load(&folder, &Authority::new(), &mock, &words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `tls`: tls handshake eof (connecting to 127.0.0.1:[PORT])
    hint: check the server's certificate, and whether `--base-url` wants http or https
    tape: run.tape
    ");
}

#[test]
fn a_close_without_a_goodbye_costs_an_answer_that_is_not_whole_and_no_other() {
    const UNTIL_CLOSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    const TOKEN: &[u8] = b"data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
    const REST: &[u8] =
        b"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                          data: [DONE]\n\n";
    let faults: [fn(&Request, &mut Reply); 6] = [
        |request, reply| {
            reply.answer(request, &["a"]);
            reply.close();
        },
        |_, reply| {
            reply.raw(UNTIL_CLOSE);
            reply.raw(TOKEN);
            reply.raw(REST);
            reply.say_goodbye_and_close();
        },
        |_, reply| {
            reply.raw(UNTIL_CLOSE);
            reply.raw(TOKEN);
            reply.raw(REST);
            reply.close();
        },
        |_, reply| {
            reply.begin();
            reply.text("a");
            reply.close();
        },
        |_, reply| {
            reply.begin();
            reply.text("a");
            reply.say_goodbye_and_close();
        },
        |_, reply| {
            reply.raw(UNTIL_CLOSE);
            reply.raw(TOKEN);
            reply.close();
        },
    ];
    let rows: Vec<String> = faults
        .into_iter()
        .map(|fault| {
            let authority = Authority::new();
            let mock = authority.server(&HERE, fault);
            let folder = Folder::new();
            load(&folder, &authority, &mock, &["--num-prompts", "1"]);
            let row = "SELECT status, error_kind, chunk_count, error_message FROM requests";
            folder.table("run.tape", row)
        })
        .collect();
    insta::assert_snapshot!(rows.join("\n"), @r"
    ok | - | 1 | -
    ok | - | 1 | -
    ok | - | 1 | -
    error | truncated | 1 | the server closed the connection without announcing it
    error | truncated | 1 | the server closed the connection before the body's last chunk
    error | truncated | 1 | the server closed the connection without announcing it
    ");
}

#[test]
fn a_certificate_that_a_server_signed_for_itself_is_believed_by_its_file() {
    let (mock, pem) = Authority::serving_itself();
    let (other, _) = Authority::serving_itself();
    let folder = Folder::new();
    folder.write("own.pem", &pem);
    for wire in ["direct", "reqwest"] {
        let run = |host: &str, mock: &Mock| {
            let port = mock.authority();
            let (_, port) = port.rsplit_once(':').unwrap();
            let url = format!("https://{host}:{port}");
            let flags = ["--ca-cert", "own.pem", "--num-prompts", "1", "--force"];
            folder.run(&load_words(&url, &[&flags[..], &["--wire", wire]].concat()))
        };
        run("127.0.0.1", &mock).expect_code(0);
        // Another one has the same names, and this one not that name.
        run("127.0.0.1", &other).expect_code(3);
        run("127.0.0.2", &mock).expect_code(3);
    }
}

#[test]
fn a_private_authority_is_believed_by_its_file_and_anyone_where_that_is_asked_for() {
    let (authority, stranger) = (Authority::new(), Authority::named("a stranger"));
    let mock = authority.server(&HERE, |request, reply| reply.answer(request, &["a"]));
    let elsewhere = authority.server(&["elsewhere.test"], |request, reply| {
        reply.answer(request, &["a"]);
    });
    let folder = Folder::new();
    folder.write("own.pem", &authority.pem);
    folder.write("stranger.pem", &stranger.pem);
    folder.write("none.pem", "no certificate");
    let words = |mock: &Mock| format!("https://{}", mock.authority());
    for wire in ["direct", "reqwest"] {
        for (mock, flags, code) in [
            (&mock, &["--ca-cert", "own.pem"][..], 0),
            (&mock, &["--insecure"], 0),
            (&elsewhere, &["--insecure"], 0),
            (&mock, &[], 3),
            (&mock, &["--ca-cert", "stranger.pem"], 3),
            (&elsewhere, &["--ca-cert", "own.pem"], 3),
            (&mock, &["--ca-cert", "none.pem"], 2),
            (&mock, &["--ca-cert", "own.pem", "--insecure"], 2),
        ] {
            let url = words(mock);
            let common = ["--num-prompts", "1", "--wire", wire, "--force"];
            let outcome = folder.run(&load_words(&url, &[flags, &common].concat()));
            assert_eq!(outcome.code, code, "{wire} {flags:?}: {}", outcome.stderr);
        }
    }
    // The list of models is asked for in the same way, and a plan driven again.
    let url = words(&mock);
    let load = [
        "load",
        "--base-url",
        &url,
        "--ca-cert",
        "own.pem",
        "--num-prompts",
        "1",
    ];
    let output = [
        "--no-summary",
        "--backend",
        "openai-chat",
        "--out",
        "first.tape",
    ];
    folder.run(&[&load[..], &output].concat()).expect_code(0);
    let again = ["run", "first.tape", "--no-summary", "--out", "again.tape"];
    folder.run(&again).expect_code(0);
}
