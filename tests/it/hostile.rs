//! Servers that mean harm, or are so broken that it makes no difference: none exhausts memory,
//! holds a run up past its deadline, is believed, or leaves anything outside the tape.
//!
//! What is checked holds for any way of speaking HTTP, so no message of one is compared here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::mock::{Mock, Reply, Request};
use crate::program::{Folder, Outcome, load_words, root};

/// What the tape says of every request.
const ROWS: &str =
    "SELECT status, error_kind, chunk_count, finish_reason FROM requests ORDER BY request_id";

/// Memory that a client may take at most, whatever it is sent; a quiet one takes a third of it.
const MEMORY_BYTES_MAX: i64 = 400 << 20;

type Fault = fn(&Request, &mut Reply);

/// Sends one request after another, each of which meets the next fault.
fn meet(faults: &'static [Fault], words: &[&str]) -> (Folder, Mock, Outcome) {
    let mock = Mock::start(|request, reply| faults[request.index % faults.len()](request, reply));
    let folder = Folder::new();
    let count = faults.len().to_string();
    let mut all = vec!["--num-prompts", &count];
    if !words.contains(&"--max-concurrency") {
        all.extend(["--max-concurrency", "1"]);
    }
    all.extend(words);
    let outcome = folder.load(&mock.url(), &all);
    assert_eq!(folder.names(), ["run.tape"], "something beside the tape");
    (folder, mock, outcome)
}

fn assert_memory_was_bounded(folder: &Folder) {
    let most = folder.number("run.tape", "SELECT coalesce(max(rss_bytes), 0) FROM probes");
    assert!(most < MEMORY_BYTES_MAX, "{most} bytes of memory");
}

/// Writes the same bytes until the client has had enough.
fn for_ever(reply: &mut Reply, bytes: &[u8]) {
    while reply.is_open() {
        reply.raw(bytes);
    }
}

/// Writes the same bytes every now and then until the client has had enough.
fn drip(reply: &mut Reply, bytes: &[u8]) {
    while reply.is_open() {
        reply.raw(bytes);
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// The head of a stream that says nothing of its length.
const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

const CHUNKED: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// An answer of one token that is whole, as the body of a response.
const WHOLE: &str = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n\
                     data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
                     data: [DONE]\n\n";

#[test]
fn what_never_ends_is_given_up_at_a_bound() {
    // The deadline is there so that a bound that fails does not hang the test.
    let (folder, _mock, outcome) = meet(
        &[
            // Headers, one header, a chunk's extension, trailers, an event.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\n");
                for_ever(reply, b"x-more: and more\r\n");
            },
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\nx-long: ");
                for_ever(reply, &[b'x'; 4_096]);
            },
            |_, reply| {
                reply.raw(CHUNKED);
                reply.raw(b"5;name=");
                for_ever(reply, &[b'x'; 4_096]);
            },
            |_, reply| {
                reply.raw(CHUNKED);
                reply.text("one");
                reply.raw(b"0\r\n");
                for_ever(reply, b"x-more: and more\r\n");
            },
            |_, reply| {
                reply.raw(HEAD);
                reply.raw(b"data: {\"choices\": \"");
                for_ever(reply, &[b'x'; 65_536]);
            },
            |request, reply| reply.answer(request, &["fine"]),
        ],
        &["--request-timeout", "60s"],
    );
    outcome.expect_code(0);
    let statuses = "SELECT status FROM requests ORDER BY request_id";
    assert_eq!(
        folder.table("run.tape", statuses),
        "error\nerror\nerror\nerror\nerror\nok"
    );
    let event = "SELECT error_kind, response_bytes BETWEEN 4000000 AND 100000000 AS is_given_up \
                 FROM requests WHERE request_id = 4";
    assert_eq!(folder.table("run.tape", event), "too_large | true");
    assert_memory_was_bounded(&folder);
}

/// Runs a load to its end. Returns the most memory that it took, in MiB.
fn peak_mib(folder: &Folder, url: &str, words: &[&str]) -> (Outcome, u64) {
    let running = folder.start(&load_words(url, words));
    let memory = running.watch_memory();
    let outcome = running.end();
    (outcome, memory.join().unwrap() >> 20)
}

#[test]
fn text_without_end_is_kept_up_to_a_bound() {
    let mock = Mock::start(|request, reply| {
        if request.index == 2 {
            return reply.answer(request, &["fine"]);
        }
        let text = "never the same for long ".repeat(40_000);
        let event = json!({ "choices": [{ "index": 0, "delta": { "content": text } }] });
        reply.begin();
        while reply.is_open() {
            reply.event(&event.to_string());
        }
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "3", "--max-concurrency", "1", "--keep"];
    let words = [&words[..], &["text"]].concat();
    let (outcome, peak_mib) = peak_mib(&folder, &mock.url(), &words);
    outcome.expect_code(0);
    let rows = "SELECT status, error_kind, error_message, chunk_count, \
                character_length(output) AS kept FROM requests ORDER BY request_id";
    insta::assert_snapshot!(folder.table("run.tape", rows), @r"
    error | too_large | the text of the answer is over 16 MiB, which is what is kept of one | 18 | 16320000
    error | too_large | the text of the answer is over 16 MiB, which is what is kept of one | 18 | 16320000
    ok | - | - | 1 | 4
    ");
    let texts = "SELECT sum(character_length(text)) FROM chunks WHERE request_id = 0";
    assert_eq!(folder.number("run.tape", texts), 16_320_000);
    assert!(peak_mib < 320, "{peak_mib} MiB of memory");
}

/// Streams that each hold an event that is not yet whole, and that one of 256 MiB are too many for.
const HALF_EVENTS: usize = 90;

#[test]
fn what_all_answers_hold_together_is_bounded() {
    let was_cut = Arc::new(AtomicBool::new(false));
    let mock = Mock::start(move |_, reply| {
        reply.raw(HEAD);
        reply.raw(b"data: {\"choices\": \"");
        for _ in 0..60 {
            reply.raw(&[b'x'; 65_536]);
        }
        // No answer ends, and gives back what it holds, before one has been given up.
        while reply.is_open() && !was_cut.load(Ordering::Acquire) {
            reply.raw(b"x");
            thread::park_timeout(Duration::from_millis(5));
        }
        was_cut.store(true, Ordering::Release);
        reply.close();
    });
    let folder = Folder::new();
    let count = HALF_EVENTS.to_string();
    let words = ["--num-prompts", &count, "--max-concurrency", &count];
    let (outcome, peak_mib) = peak_mib(&folder, &mock.url(), &words);
    outcome.expect_code(3);
    let rows = "SELECT status, error_kind, count(*) > 0 AS are_there FROM requests \
                GROUP BY status, error_kind ORDER BY error_kind";
    insta::assert_snapshot!(folder.table("run.tape", rows), @r"
    error | too_large | true
    error | truncated | true
    ");
    let messages = "SELECT DISTINCT error_message FROM requests WHERE error_kind = 'too_large'";
    insta::assert_snapshot!(folder.table("run.tape", messages), @r"
    the answers in flight hold over 256 MiB, which is what is kept of all
    ");
    assert!(peak_mib < 400, "{peak_mib} MiB of memory");
}

#[test]
fn events_that_swell_when_they_are_read_do_so_within_bounds() {
    // Each just within the bound on the size of one event.
    const BYTES: usize = 4_000_000;
    let mock = Mock::start(|request, reply| {
        let many = |part: &str| part.repeat(BYTES / part.len());
        let data = match request.index {
            0 => format!("{{\"choices\":[{}{{}}]}}", many("{},")),
            1 => format!(
                "{{\"choices\":[{{\"delta\":{{\"tool_calls\":[{}{{}}]}}}}]}}",
                many("{},")
            ),
            2 => format!("{{\"id\":1,\"id\":2,\"more\":[{}0]}}", many("{\"\":0},")),
            _ => format!(
                "{{\"choices\":[{{\"text\":\"a\"}}],\"more\":[{}0]}}",
                many("[],")
            ),
        };
        reply.begin();
        reply.event(&data);
        reply.finish();
        reply.done();
        reply.end();
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "4", "--max-concurrency", "1"];
    let (outcome, peak_mib) = peak_mib(&folder, &mock.url(), &words);
    outcome.expect_code(0);
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @r"
    error | empty | 0 | length
    error | empty | 0 | length
    error | bad_event | 0 | length
    ok | - | 1 | length
    ");
    assert!(peak_mib < 150, "{peak_mib} MiB of memory");
}

#[test]
fn what_never_ends_and_hits_no_bound_ends_at_the_deadline() {
    let (folder, _mock, outcome) = meet(
        &[
            // Bytes of a head, of an event, of a chunk's size, of comments; then heads that are
            // not yet the answer.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\nx-slow: ");
                drip(reply, b"x");
            },
            |_, reply| {
                reply.raw(HEAD);
                reply.raw(b"data: ");
                drip(reply, b"x");
            },
            |_, reply| {
                reply.raw(CHUNKED);
                drip(reply, b"0");
            },
            |_, reply| {
                reply.begin();
                while reply.is_open() {
                    reply.piece(": ping\n\n");
                    thread::park_timeout(Duration::from_millis(5));
                }
            },
            |_, reply| drip(reply, b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"),
        ],
        &["--max-concurrency", "5", "--request-timeout", "600ms"],
    );
    outcome.expect_code(3);
    let rows = "SELECT status, error_kind, end_ns - dispatched_ns < 30000000000 AS is_soon \
                FROM requests WHERE error_kind NOT IN ('send', 'truncated')";
    let shown = folder.table("run.tape", rows);
    // A wire may know a bound for a chunk's size, and for the number of heads; the others have
    // nothing to go by but time.
    let in_time = shown
        .lines()
        .filter(|line| *line == "timeout | timeout_total | true");
    let refused = shown
        .lines()
        .filter(|line| *line == "error | unsupported | true");
    let (in_time, refused) = (in_time.count(), refused.count());
    assert!(in_time >= 3 && refused <= 1, "{shown}");
    assert_eq!(in_time + refused, shown.lines().count(), "{shown}");
    assert_memory_was_bounded(&folder);
}

#[test]
fn framing_that_lies_is_not_believed() {
    let (folder, mock, outcome) = meet(
        &[
            // A size that overflows; one that does not, of bytes that never come; none at all.
            |_, reply| {
                reply.raw(CHUNKED);
                reply.raw(b"fffffffffffffffff\r\ndata: x\n\n");
                reply.close();
            },
            |_, reply| {
                reply.raw(CHUNKED);
                reply.text("one");
                reply.raw(b"7fffffffffffffff\r\ndata: x\n\n");
                reply.close();
            },
            |_, reply| {
                reply.raw(CHUNKED);
                reply.raw(b"-5\r\ndata: x\n\n\r\n");
                reply.close();
            },
            // Two status lines.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\nHTTP/1.1 200 OK\r\n\r\n");
                reply.raw(WHOLE.as_bytes());
                reply.close();
            },
            // Two lengths.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n");
                reply.raw(b"content-length: 4\r\ncontent-length: 9\r\n\r\n");
                reply.raw(WHOLE.as_bytes());
                reply.close();
            },
            // A length that is too long, of an answer that is cut.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n");
                reply.raw(b"content-length: 100000\r\n\r\n");
                reply.raw(WHOLE.split_inclusive("\n\n").next().unwrap().as_bytes());
                reply.close();
            },
            // Packed, though nobody asked for it.
            |request, reply| {
                assert_eq!(request.header("accept-encoding"), None);
                reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n");
                reply.raw(b"content-encoding: gzip\r\n\r\n");
                reply.raw(b"\x1f\x8b\x08\0\0\0\0\0\0\x03KI,I\xb4RP\xca\xc8\xccKW\xe2");
                reply.close();
            },
        ],
        &["--request-timeout", "60s"],
    );
    outcome.expect_code(3);
    assert_eq!(mock.requests().len(), 7, "nothing is sent again by itself");
    let rows = folder.table(
        "run.tape",
        "SELECT status, chunk_count FROM requests ORDER BY request_id",
    );
    assert_eq!(
        rows,
        "error | 0\nerror | 1\nerror | 0\nerror | 0\nerror | 0\nerror | 1\nerror | 0"
    );
}

#[test]
fn framing_that_is_odd_and_whole_is_ok() {
    let (folder, _mock, outcome) = meet(
        &[
            // Heads before the answer.
            |request, reply| {
                reply.raw(b"HTTP/1.1 100 Continue\r\n\r\n");
                reply.raw(b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\n");
                reply.answer(request, &["a"]);
            },
            // A length that is too long, of an answer that is whole.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n");
                reply.raw(b"content-length: 100000\r\n\r\n");
                reply.raw(WHOLE.as_bytes());
                reply.close();
            },
            // Chunks with extensions, sizes with zeros before them, trailers.
            |_, reply| {
                reply.raw(CHUNKED);
                let length = WHOLE.len();
                reply.raw(format!("000{length:X};a=b;c=\"d;e\"\r\n{WHOLE}\r\n").as_bytes());
                reply.raw(b"0\r\nx-trailer: 1\r\n\r\n");
            },
            // A byte at a time, so that every border is between two reads.
            |_, reply| {
                for byte in CHUNKED {
                    reply.raw(&[*byte]);
                }
                for byte in WHOLE.as_bytes() {
                    reply.raw(b"1\r\n");
                    reply.raw(&[*byte, b'\r']);
                    reply.raw(b"\n");
                }
                reply.raw(b"0\r\n\r\n");
            },
        ],
        &["--request-timeout", "60s"],
    );
    outcome.expect_code(0);
    assert_eq!(
        folder.table(
            "run.tape",
            "SELECT status, chunk_count FROM requests ORDER BY request_id"
        ),
        "ok | 1\nok | 1\nok | 1\nok | 1"
    );
}

#[test]
fn bytes_after_the_end_of_an_answer_are_not_the_next_answer() {
    let (folder, mock, _) = meet(
        &[
            // The length ends inside the answer; what follows looks like another one.
            |_, reply| {
                reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n");
                let cut = WHOLE.find("\n\n").unwrap() + 2;
                reply.raw(format!("content-length: {cut}\r\n\r\n").as_bytes());
                let false_answer = [WHOLE.as_bytes(), HEAD, WHOLE.repeat(3).as_bytes()].concat();
                reply.raw(&false_answer);
                // Nothing more is said on this connection.
                reply.wait_for_client_to_leave();
            },
            |request, reply| reply.answer(request, &["x", "y"]),
        ],
        &["--request-timeout", "60s"],
    );
    assert_eq!(mock.requests().len(), 2);
    assert_eq!(
        folder.table("run.tape", ROWS),
        "error | truncated | 1 | -\nok | - | 2 | length"
    );
}

#[test]
fn a_redirect_is_named_and_nothing_is_sent_there() {
    let elsewhere = Mock::answering(&["a"]);
    let target = elsewhere.url();
    let statuses = [
        "301 Moved",
        "302 Found",
        "303 See Other",
        "307 Temporary",
        "308 Permanent",
    ];
    let mock = Mock::start(move |request, reply| {
        let status = statuses[request.index % statuses.len()];
        let head = format!("HTTP/1.1 {status}\r\nlocation: {target}/v1/chat/completions\r\n");
        reply.raw(format!("{head}content-length: 0\r\n\r\n").as_bytes());
    });
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "5",
        "--max-concurrency",
        "1",
        "--header",
        "x-key: secret",
    ];
    let outcome = folder.load(&mock.url(), &words).expect_code(3);
    assert!(outcome.stderr.contains("redirects"), "{}", outcome.shown());
    assert_eq!(mock.requests().len(), 5);
    assert!(elsewhere.requests().is_empty(), "a secret went elsewhere");
    let kinds = "SELECT DISTINCT status, error_kind FROM requests";
    assert_eq!(folder.table("run.tape", kinds), "error | unsupported");
}

#[test]
fn json_that_is_nested_without_end_is_a_broken_event() {
    let (folder, _mock, _) = meet(
        &[
            |_, reply| {
                reply.begin();
                reply.text("one");
                reply.event(&"[".repeat(10_000));
                reply.event(&format!(
                    "{}1{}",
                    "{\"choices\":[".repeat(10_000),
                    "]}".repeat(10_000)
                ));
                reply.text("two");
                reply.finish();
                reply.done();
                reply.end();
            },
            |_, reply| {
                let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
                reply.body("400 Bad Request", "application/json", &deep);
            },
        ],
        &[],
    );
    assert_eq!(
        folder.table("run.tape", ROWS),
        "error | bad_event | 2 | length\nerror | http_4xx | 0 | -"
    );
}

#[test]
fn counts_of_tokens_that_can_not_be_are_left_out_and_break_no_query() {
    const USAGES: [&str; 6] = [
        r#"{"prompt_tokens":1e300,"completion_tokens":18446744073709551616}"#,
        r#"{"prompt_tokens":-3,"completion_tokens":-1}"#,
        r#"{"prompt_tokens":2.5,"completion_tokens":0.1}"#,
        r#"{"prompt_tokens":"7","completion_tokens":[1]}"#,
        r#"{"prompt_tokens":4294967296,"completion_tokens":4294967295}"#,
        r#"{"prompt_tokens":null,"completion_tokens":{"a":1}}"#,
    ];
    let mock = Mock::start(|request, reply| {
        reply.begin();
        reply.text("one");
        reply.text("two");
        reply.finish();
        let usage = USAGES[request.index];
        reply.event(&format!("{{\"choices\":[],\"usage\":{usage}}}"));
        reply.done();
        reply.end();
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "6", "--max-concurrency", "1"];
    folder.load(&mock.url(), &words).expect_code(0);
    let counts = "SELECT usage_input_tokens AS i, usage_output_tokens AS o, output_tokens_source \
                  FROM requests ORDER BY request_id";
    insta::assert_snapshot!(folder.table("run.tape", counts), @r"
    - | - | chunks
    - | - | chunks
    - | - | chunks
    - | - | chunks
    - | - | chunks
    - | - | chunks
    ");
    let query = root().join("queries/throughput_windows.sql");
    let query = query.display().to_string();
    folder
        .run(&["sql", "run.tape", "-f", &query])
        .expect_code(0);
}

#[test]
fn names_and_messages_are_kept_on_one_line_and_short() {
    let (folder, _mock, outcome) = meet(
        &[
            |_, reply| {
                let long = format!("\u{1b}[2J\r\n\u{7}{}", "x".repeat(1 << 20));
                reply.begin();
                let choice = json!({ "index": 0, "delta": { "content": "a" } });
                reply.event(&json!({ "id": long, "model": long, "choices": [choice] }).to_string());
                let choice = json!({ "index": 0, "delta": {}, "finish_reason": long });
                reply.event(&json!({ "choices": [choice] }).to_string());
                reply.done();
                reply.end();
            },
            |_, reply| {
                let long = format!("\u{1b}]0;title\u{7}{}", "y".repeat(1 << 20));
                reply.begin();
                reply.event(&json!({ "error": { "message": long, "code": long } }).to_string());
                reply.end();
            },
            |_, reply| {
                let long = format!("\u{1b}[31m{}", "z".repeat(2 << 20));
                reply.refuse("500 Internal Server Error", &long);
            },
        ],
        &["--request-timeout", "60s"],
    );
    let outcome = outcome.expect_code(0);
    let is_talk = |letter: char| !letter.is_control() || letter == '\n';
    assert!(outcome.stderr.chars().all(is_talk), "{:?}", outcome.stderr);
    assert!(outcome.stderr.len() < 4_000);
    let columns = ["response_id", "finish_reason", "error_message"];
    for column in columns {
        let longest = format!("SELECT max(character_length({column})) FROM requests");
        assert!(folder.number("run.tape", &longest) <= 1_010, "{column}");
        let text = folder.table("run.tape", &format!("SELECT {column} FROM requests"));
        assert!(text.chars().all(is_talk), "{column} has control characters");
    }
    let statuses = folder.table(
        "run.tape",
        "SELECT status FROM requests ORDER BY request_id",
    );
    assert_eq!(statuses, "ok\nerror\nerror");
    let page = folder.run(&["analyze", "run.tape", "--html", "page.html"]);
    page.expect_code(0);
    assert!(folder.read("page.html").len() < 500_000);
}
