//! The server over real sockets, in this process. Waits are for what the server does, never for
//! time to pass.

use std::net::SocketAddr;
use std::sync::Once;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::*;
use crate::time::clock::{Clock, utc_now_ns};
use stamp::Stamp;

struct Server {
    address: SocketAddr,
    client: reqwest::Client,
    stopper: oneshot::Sender<()>,
    task: JoinSet<Result<(), SimulateError>>,
}

impl Server {
    async fn start(settings: ServerSettings) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            let _ = rustls::crypto::ring::default_provider().install_default();
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stopped) = oneshot::channel();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, settings, async move {
            let _ = stopped.await;
        }));
        Self {
            address,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            stopper,
            task,
        }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    async fn post(&self, path: &str, body: &Value) -> reqwest::Response {
        let request = self.client.post(self.url(path)).body(body.to_string());
        request.send().await.unwrap()
    }

    async fn get(&self, path: &str) -> String {
        let response = self.client.get(self.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.text().await.unwrap()
    }

    /// The value of a metric, by the start of its line.
    async fn metric(&self, start: &str) -> f64 {
        let page = self.get("/metrics").await;
        let line = page.lines().find(|line| line.starts_with(start));
        let line = line.unwrap_or_else(|| panic!("{start} in {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Asks for a metric until it has this value, for a minute at most.
    async fn until_metric(&self, start: &str, value: f64) {
        let asked = async {
            while (self.metric(start).await - value).abs() > 1e-9 {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(60), asked).await;
        assert!(in_time.is_ok(), "{start} never became {value}");
    }
}

/// A server whose steps take a tenth of a millisecond.
fn fast() -> ServerSettings {
    ServerSettings {
        engine: EngineSettings {
            prefill_tokens_per_s: 10_000_000,
            step_overhead_ns: 100_000,
            decode_base_ns: 0,
            decode_per_sequence_ns: 0,
            ..EngineSettings::default()
        },
        ..ServerSettings::default()
    }
}

/// A server whose only place is taken for an hour by whoever decodes.
fn stuck() -> ServerSettings {
    let mut settings = fast();
    settings.engine.decode_base_ns = 3_600_000_000_000;
    settings.engine.max_batch = 1;
    settings
}

/// The objects of a stream, which must be nothing but events, and the end mark.
fn events(text: &str) -> Vec<Value> {
    let mut payloads: Vec<&str> = text
        .split_terminator("\n\n")
        .map(|event| event.strip_prefix("data: ").unwrap())
        .collect();
    assert_eq!(payloads.pop(), Some("[DONE]"));
    assert!(text.ends_with("\n\n"));
    payloads
        .iter()
        .map(|payload| serde_json::from_str(payload).unwrap())
        .collect()
}

fn chat(max_tokens: u32) -> Value {
    json!({
        "messages": [{"role": "user", "content": "one two three"}],
        "max_tokens": max_tokens,
        "stream": true,
        "stream_options": {"include_usage": true},
    })
}

fn contents(events: &[Value]) -> Vec<&str> {
    let texts = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str());
    texts.filter(|text| !text.is_empty()).collect()
}

#[tokio::test]
async fn a_chat_streams_role_tokens_finish_usage_and_end_mark() {
    let server = Server::start(fast()).await;
    let response = server.post("/v1/chat/completions", &chat(5)).await;
    assert_eq!(response.status(), 200);
    let content_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        content_type.starts_with("text/event-stream"),
        "{content_type}"
    );
    let events = events(&response.text().await.unwrap());
    assert_eq!(events.len(), 8);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(contents(&events).len(), 5);
    assert!(
        contents(&events)
            .iter()
            .all(|text| text.starts_with(' ') && text.len() > 1)
    );
    assert_eq!(events[6]["choices"][0]["finish_reason"], "length");
    let usage = json!({"prompt_tokens": 3, "total_tokens": 8, "completion_tokens": 5});
    assert_eq!(events[7]["usage"], usage);
    assert_eq!(events[7]["choices"], json!([]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn completions_stream_on_several_threads_with_usage_in_every_event() {
    let server = Server::start(fast()).await;
    let mut body = json!({"prompt": [1, 2, 3, 4], "max_tokens": 40, "stream": true});
    let plain = server
        .post("/v1/completions", &body)
        .await
        .text()
        .await
        .unwrap();
    let plain = events(&plain);
    assert_eq!(plain.len(), 41);
    assert!(plain.iter().all(|event| event.get("usage").is_none()));

    body["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
    let counted = server
        .post("/v1/completions", &body)
        .await
        .text()
        .await
        .unwrap();
    let counted = events(&counted);
    assert_eq!(counted.len(), 42);
    for (tokens, event) in (1..=40).zip(&counted) {
        assert_eq!(event["usage"]["completion_tokens"], tokens);
        assert_eq!(event["usage"]["prompt_tokens"], 4);
        assert!(!event["choices"][0]["text"].as_str().unwrap().is_empty());
    }
}

#[tokio::test]
async fn an_answer_that_does_not_stream_is_one_object() {
    let server = Server::start(fast()).await;
    let body = json!({"prompt": "one two", "max_tokens": 6, "model": "any"});
    let response = server.post("/v1/completions", &body).await;
    let answer: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!(answer["model"], "any");
    assert_eq!(answer["usage"]["completion_tokens"], 6);
    let text = answer["choices"][0]["text"].as_str().unwrap();
    assert_eq!(text.split_whitespace().count(), 6);
}

#[tokio::test]
async fn refusals_have_the_codes_and_the_shape_of_the_api() {
    let mut settings = fast();
    settings.served_model_name = Some("known".to_owned());
    settings.api_key = Some("secret".to_owned());
    settings.max_body_bytes = 1_000;
    settings.max_model_len = 100;
    let server = Server::start(settings).await;
    let send = async |path: &str, key: &str, body: String| {
        let request = server
            .client
            .post(server.url(path))
            .body(body)
            .bearer_auth(key);
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(body["error"]["code"], status, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
        status
    };
    let prompt = |more: Value| {
        let mut body = json!({"prompt": "one", "max_tokens": 4});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let path = "/v1/completions";
    assert_eq!(send(path, "wrong", prompt(json!({}))).await, 401);
    assert_eq!(send(path, "secret", "{".to_owned()).await, 400);
    assert_eq!(send(path, "secret", prompt(json!({"n": 2}))).await, 400);
    assert_eq!(
        send(path, "secret", prompt(json!({"max_tokens": 100}))).await,
        400
    );
    assert_eq!(
        send(path, "secret", prompt(json!({"model": "unknown"}))).await,
        404
    );
    assert_eq!(
        send(path, "secret", prompt(json!({"prompt": "x".repeat(2_000)}))).await,
        413
    );
    assert_eq!(send("/v1/nothing", "secret", String::new()).await, 404);
    assert_eq!(server.get("/health").await, "");
    let listed = server
        .client
        .get(server.url("/v1/models"))
        .bearer_auth("secret");
    let listed = listed.send().await.unwrap().text().await.unwrap();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!(listed["data"][0]["id"], "known");
}

#[tokio::test]
async fn prompts_are_counted_as_they_are_when_they_are_sent() {
    let server = Server::start(stuck()).await;
    let count = async |body: Value| {
        let answer = server.post("/tokenize", &body).await;
        let text = answer.text().await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    assert_eq!(count(json!({"prompt": "one two three"})).await["count"], 3);
    assert_eq!(
        count(json!({"messages": chat(1)["messages"]})).await["count"],
        3
    );
    assert_eq!(count(json!({})).await["error"]["code"], 400);
}

#[tokio::test]
async fn a_full_queue_is_answered_with_429() {
    let mut settings = stuck();
    settings.engine.max_queue = Some(1);
    let server = Server::start(settings).await;
    // The first one's only step is the prompt's; then it holds the place.
    let _running = server.post("/v1/chat/completions", &chat(5)).await;
    server
        .until_metric("vllm:generation_tokens_total", 1.0)
        .await;
    let _waiting = server.post("/v1/chat/completions", &chat(5)).await;
    let refused = server.post("/v1/chat/completions", &chat(5)).await;
    assert_eq!(refused.status(), 429);
    assert!((server.metric("simulate:rejected_total").await - 1.0).abs() < 1e-9);
    assert!((server.metric("vllm:num_requests_waiting").await - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_share_is_answered_with_429_and_told_when_to_come_back() {
    let mut settings = fast();
    settings.reject_rate = 1.0;
    let server = Server::start(settings).await;
    let rejected = server.post("/v1/chat/completions", &chat(5)).await;
    assert_eq!(rejected.status(), 429);
    assert_eq!(rejected.headers()["retry-after"], "1");
    let body: Value = serde_json::from_str(&rejected.text().await.unwrap()).unwrap();
    assert_eq!(body["error"]["type"], "RateLimitError");
    assert!((server.metric("simulate:rejected_total").await - 1.0).abs() < 1e-9);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let mut settings = fast();
    settings.engine.max_batch = 1;
    let server = Server::start(settings).await;
    let mut left = server.post("/v1/chat/completions", &chat(100_000)).await;
    assert!(left.chunk().await.unwrap().is_some());
    let left_waiting = server.post("/v1/chat/completions", &chat(100_000)).await;
    drop((left, left_waiting));
    let response = server.post("/v1/chat/completions", &chat(3)).await;
    assert_eq!(contents(&events(&response.text().await.unwrap())).len(), 3);
    server.until_metric("simulate:aborted_total", 2.0).await;
    // As of vLLM, whose counters of outcomes know nothing of a client that left.
    let abort =
        r#"vllm:request_success_total{engine="0",model_name="simulated",finished_reason="abort"}"#;
    assert!(server.metric(abort).await.abs() < 1e-9);
    server.until_metric("vllm:num_requests_running", 0.0).await;
}

#[tokio::test]
async fn counters_are_complete_when_the_answers_are() {
    let server = Server::start(fast()).await;
    let mut clients = JoinSet::new();
    for tokens in 1..=30 {
        let url = server.url("/v1/chat/completions");
        let request = server.client.post(url).body(chat(tokens).to_string());
        clients.spawn(async move { request.send().await.unwrap().text().await.unwrap() });
    }
    let bodies = clients.join_all().await;
    assert_eq!(bodies.len(), 30);
    let expected = [
        ("vllm:prompt_tokens_total", 90.0),
        ("vllm:generation_tokens_total", 465.0),
        ("vllm:time_to_first_token_seconds_count", 30.0),
        (
            r#"vllm:request_success_total{engine="0",model_name="simulated",finished_reason="length"}"#,
            30.0,
        ),
    ];
    for (name, value) in expected {
        assert!((server.metric(name).await - value).abs() < 1e-9, "{name}");
    }
}

#[tokio::test]
async fn stamps_tell_when_the_request_was_read_and_each_event_written() {
    let mut settings = fast();
    settings.stamp = true;
    let server = Server::start(settings).await;
    let before_ns = utc_now_ns();
    let response = server.post("/v1/chat/completions", &chat(20)).await;
    let events = events(&response.text().await.unwrap());
    let after_ns = utc_now_ns();
    let stamps: Vec<Stamp> = contents(&events)
        .iter()
        .flat_map(|text| Stamp::parse_all(text))
        .flatten()
        .collect();
    assert_eq!(stamps.len(), 20);
    let received_ns = stamps[0].received_ns.unwrap();
    assert!(stamps[1..].iter().all(|stamp| stamp.received_ns.is_none()));
    assert!(before_ns <= received_ns && received_ns <= stamps[0].sent_ns);
    assert!(stamps.is_sorted_by_key(|stamp| stamp.sent_ns));
    assert!(stamps[19].sent_ns <= after_ns);
}

#[tokio::test]
async fn streams_at_a_fixed_rate_are_never_early() {
    let mut settings = fast();
    settings.stamp = true;
    settings.engine.stream_rate = Some(1_000.0);
    settings.engine.stream_ttft_ns = 5_000_000;
    let server = Server::start(settings).await;
    let clock = Clock::start();
    let response = server.post("/v1/chat/completions", &chat(30)).await;
    let text = response.text().await.unwrap();
    assert!(clock.now_ns() >= 5_000_000 + 29 * 1_000_000);
    let events = events(&text);
    let stamps: Vec<Stamp> = contents(&events)
        .iter()
        .flat_map(|text| Stamp::parse_all(text))
        .flatten()
        .collect();
    // The schedule does not drift: each token's own due time is a lower bound. The wall clock may
    // be slewed a little meanwhile.
    let received_ns = stamps[0].received_ns.unwrap();
    for (position, stamp) in (0..).zip(&stamps) {
        let due_ns = received_ns + 5_000_000 + position * 1_000_000;
        assert!(
            stamp.sent_ns >= due_ns - 100_000,
            "{position}: {}",
            stamp.sent_ns - due_ns
        );
    }
}

#[tokio::test]
async fn a_reader_that_is_too_slow_is_cut_off_and_counted() {
    let mut settings = fast();
    settings.engine.stream_rate = Some(1_000_000.0);
    settings.engine.stream_ttft_ns = 0;
    settings.max_backlog_tokens = 50_000;
    settings.max_model_len = u32::MAX;
    let server = Server::start(settings).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut connection = socket.connect(server.address).await.unwrap();
    let body = chat(1_000_000_000).to_string();
    let length = body.len();
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
    );
    connection
        .write_all((head + &body).as_bytes())
        .await
        .unwrap();
    server
        .until_metric("simulate:slow_readers_total", 1.0)
        .await;
    server.until_metric("vllm:num_requests_running", 0.0).await;
    // Whoever reads on finds the end of the connection, without the end of the answer.
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).await.unwrap();
    let rest = String::from_utf8_lossy(&rest);
    assert!(rest.starts_with("HTTP/1.1 200") && !rest.contains("[DONE]"));
}

#[tokio::test]
async fn shutting_down_ends_streams_without_their_end_mark() {
    let server = Server::start(stuck()).await;
    let mut response = server.post("/v1/chat/completions", &chat(5)).await;
    assert!(response.chunk().await.unwrap().is_some());
    server.stopper.send(()).unwrap();
    let mut broke_off = false;
    while !broke_off {
        broke_off = match response.chunk().await {
            Ok(None) => panic!("ended as if it were complete"),
            Ok(Some(_)) => false,
            Err(_) => true,
        };
    }
    drop(server.client);
    let mut task = server.task;
    task.join_next().await.unwrap().unwrap().unwrap();
}

/// A bare server that is never waited for.
fn bare() -> ServerSettings {
    let mut settings = fast();
    settings.stamp = true;
    settings.bare = true;
    settings.engine.stream_rate = Some(1_000_000.0);
    settings.engine.stream_ttft_ns = 0;
    settings.max_model_len = u32::MAX;
    settings
}

/// The stamps of a chat's tokens.
fn stamps(events: &[Value]) -> Vec<Stamp> {
    let texts = contents(events).into_iter();
    texts.flat_map(Stamp::parse_all).flatten().collect()
}

/// Events without what differs from answer to answer.
fn timeless(mut events: Vec<Value>) -> Vec<Value> {
    for event in &mut events {
        event["created"] = Value::Null;
        for field in ["/choices/0/delta/content", "/choices/0/text"] {
            if let Some(text) = event.pointer_mut(field).filter(|text| *text != "") {
                assert!(Stamp::parse_all(text.as_str().unwrap()).all(|stamp| stamp.is_some()));
                *text = Value::Null;
            }
        }
    }
    events
}

#[tokio::test]
async fn a_bare_server_s_answers_are_those_of_the_whole_one() {
    let server = Server::start(bare()).await;
    let whole = Server::start(ServerSettings {
        bare: false,
        ..bare()
    })
    .await;
    let mut counted = json!({"prompt": "a b", "max_tokens": 3, "stream": true, "model": "any"});
    counted["stream_options"] = json!({"include_usage": true, "continuous_usage_stats": true});
    // The numbers of the answers agree only where both have been asked as often.
    for (path, body) in [
        ("/v1/chat/completions", chat(4)),
        ("/v1/completions", counted),
        (
            "/v1/completions",
            json!({"prompt": [7], "max_tokens": 1, "stream": true}),
        ),
    ] {
        let answer = async |server: &Server| {
            let response = server.post(path, &body).await;
            assert_eq!(response.status(), 200);
            let headers = response.headers();
            let named = ["content-type", "cache-control"].map(|name| headers[name].clone());
            (named, timeless(events(&response.text().await.unwrap())))
        };
        assert_eq!(answer(&server).await, answer(&whole).await);
    }
    let path = "/v1/models";
    let listed =
        |text: String| serde_json::from_str::<Value>(&text).unwrap()["data"][0]["id"].take();
    assert_eq!(
        listed(server.get(path).await),
        listed(whole.get(path).await)
    );
    assert_eq!(server.get("/health").await, "");
}

#[tokio::test]
async fn a_bare_server_keeps_to_the_schedule_of_its_streams() {
    let mut settings = bare();
    settings.engine.stream_rate = Some(1_000.0);
    settings.engine.stream_ttft_ns = 5_000_000;
    let server = Server::start(settings).await;
    let response = server.post("/v1/chat/completions", &chat(30)).await;
    let stamps = stamps(&events(&response.text().await.unwrap()));
    assert_eq!(stamps.len(), 30);
    let received_ns = stamps[0].received_ns.unwrap();
    // The wall clock may be slewed a little meanwhile.
    for (position, stamp) in (0..).zip(&stamps) {
        let due_ns = received_ns + 5_000_000 + position * 1_000_000;
        assert!(stamp.sent_ns >= due_ns - 100_000, "{position}");
    }
}

#[tokio::test]
async fn a_bare_server_stamps_what_a_full_socket_held_back_when_it_is_sent() {
    let server = Server::start(bare()).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4_096).unwrap();
    let mut connection = socket.connect(server.address).await.unwrap();
    let body = chat(40_000).to_string();
    let length = body.len();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{body}\
         GET /nothing HTTP/1.1\r\n\r\n"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    // While the one is not read, as much of another is, which is more than any socket holds.
    let other = server.post("/v1/chat/completions", &chat(40_000)).await;
    assert_eq!(stamps(&events(&other.text().await.unwrap())).len(), 40_000);
    let read_from_ns = utc_now_ns();
    let mut answers = Vec::new();
    while !answers.ends_with(b"404}}") {
        assert_ne!(connection.read_buf(&mut answers).await.unwrap(), 0);
    }
    let answers = String::from_utf8(answers).unwrap();
    let events: Vec<Value> = answers
        .lines()
        .filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
        .collect();
    let stamps = stamps(&events);
    assert_eq!(stamps.len(), 40_000);
    assert!(stamps.is_sorted_by_key(|stamp| stamp.sent_ns));
    assert!(stamps.last().unwrap().sent_ns > read_from_ns);
}

#[tokio::test]
async fn a_bare_server_refuses_what_it_does_not_do_and_goes_on() {
    let server = Server::start(ServerSettings {
        api_key: Some("secret".to_owned()),
        ..bare()
    })
    .await;
    let send = async |path: &str, key: &str, body: &Value| {
        let request = server.client.post(server.url(path)).bearer_auth(key);
        let response = request.body(body.to_string()).send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        assert!(
            status == 200 || text.contains(&status.to_string()),
            "{text}"
        );
        status
    };
    let path = "/v1/chat/completions";
    assert_eq!(send(path, "wrong", &chat(1)).await, 401);
    let mut whole = chat(1);
    whole["stream"] = json!(false);
    assert_eq!(send(path, "secret", &whole).await, 400);
    assert_eq!(send(path, "secret", &json!({})).await, 400);
    assert_eq!(send("/metrics", "secret", &json!({})).await, 404);
    // A client that leaves takes nothing with it.
    let left = server.client.post(server.url(path)).bearer_auth("secret");
    let left = left.body(chat(1_000_000_000).to_string()).send().await;
    assert!(left.unwrap().chunk().await.unwrap().is_some());
    assert_eq!(send(path, "secret", &chat(3)).await, 200);
    server.stopper.send(()).unwrap();
    let mut task = server.task;
    task.join_next().await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn a_bare_server_says_what_it_cannot_read_and_closes() {
    let server = Server::start(bare()).await;
    let mut connection = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    connection
        .write_all(b"POST /v1/completions HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        .await
        .unwrap();
    let mut said = String::new();
    connection.read_to_string(&mut said).await.unwrap();
    assert!(
        said.starts_with("HTTP/1.1 411 Length Required\r\n"),
        "{said}"
    );
}

#[tokio::test(start_paused = true)]
async fn half_a_request_is_closed_when_its_time_is_over() {
    for settings in [fast(), bare()] {
        let server = Server::start(settings).await;
        for half in [
            "",
            "POST /v1/compl",
            "POST /v1/completions HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n{",
        ] {
            let mut connection = tokio::net::TcpStream::connect(server.address)
                .await
                .unwrap();
            connection.write_all(half.as_bytes()).await.unwrap();
            let mut said = String::new();
            connection.read_to_string(&mut said).await.unwrap();
            assert!(said.is_empty() || said.contains(" 408 "), "{half}: {said}");
        }
    }
}
