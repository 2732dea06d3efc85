//! Servers that fail, in every way that is known: each ends as a row that says what happened, and
//! nothing that had arrived is lost.

use std::net::TcpListener;

use serde_json::json;

use crate::mock::{Mock, Reply, Request};
use crate::program::{Folder, Outcome, without_ports};

/// What the tape says of every request.
const ROWS: &str = "SELECT status, error_kind, http_status, chunk_count, finish_reason, error_message \
                    FROM requests ORDER BY request_id";

/// How many events of each kind every request had.
const CHANNELS: &str = "SELECT request_id, string_agg(channel || ' ' || n, ', ' ORDER BY channel) AS channels \
                        FROM (SELECT request_id, channel, count(*) AS n FROM chunks GROUP BY ALL) \
                        GROUP BY request_id ORDER BY request_id";

type Fault = fn(&Request, &mut Reply);

/// Sends one request after another, each of which meets the next fault.
fn meet(faults: &'static [Fault]) -> (Folder, Mock, Outcome) {
    let mock = Mock::start(|request, reply| {
        // The last one is met again where a request is sent again.
        faults[request.index.min(faults.len() - 1)](request, reply);
    });
    let folder = Folder::new();
    let count = faults.len().to_string();
    let words = ["--num-prompts", &count, "--max-concurrency", "1"];
    let outcome = folder.load(&mock.url(), &words);
    (folder, mock, outcome)
}

#[test]
fn a_server_that_is_not_there_is_named_with_a_remedy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let folder = Folder::new();
    let outcome = folder.load(&url, &["--num-prompts", "2"]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `connect`: Connection refused (os error 111) (connecting to 127.0.0.1:[PORT])
    hint: check `--base-url`, and that a server listens at `http://127.0.0.1:[PORT]/v1/chat/completions`
    tape: run.tape
    ");
    insta::assert_snapshot!(without_ports(&folder.table("run.tape", ROWS)), @r"
    error | connect | - | 0 | - | Connection refused (os error 111) (connecting to 127.0.0.1:[PORT])
    error | connect | - | 0 | - | Connection refused (os error 111) (connecting to 127.0.0.1:[PORT])
    ");
    insta::assert_snapshot!(folder.run(&["load", "--base-url", &url]).shown(), @r"
    exit code 3
    --- stderr
    error: could not ask `http://127.0.0.1:[PORT]/v1/models` which model it serves: client error (Connect): tcp connect error: Connection refused (os error 111)
    hint: check `--base-url`, or name the model with `--model`
    ");
}

#[test]
fn a_run_whose_requests_all_fail_alike_ends_early_unless_it_is_to_keep_going() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let folder = Folder::new();
    let words = ["--num-prompts", "50000", "--max-concurrency", "4"];
    let outcome = folder.load(&url, &words).expect_code(3);
    assert!(
        outcome.stderr.contains("the run was ended early"),
        "{}",
        outcome.shown()
    );
    let failed = folder.number(
        "run.tape",
        "SELECT count(*) FROM requests WHERE status = 'error'",
    );
    assert!((100..50_000).contains(&failed), "{failed}");
    assert_eq!(folder.manifest("run.tape")["state"], "interrupted");
    let words = [
        "--num-prompts",
        "150",
        "--max-concurrency",
        "4",
        "--keep-going",
        "--force",
    ];
    let outcome = folder.load(&url, &words).expect_code(3);
    assert!(
        !outcome.stderr.contains("ended early"),
        "{}",
        outcome.shown()
    );
    let failed = folder.number(
        "run.tape",
        "SELECT count(*) FROM requests WHERE status = 'error'",
    );
    assert_eq!(failed, 150);
}

#[test]
fn a_run_with_one_success_goes_on_whatever_is_refused() {
    let mock = Mock::start(|request, reply| match request.index {
        0 => reply.answer(request, &["a"]),
        _ => reply.refuse("404 Not Found", "The model `mock` does not exist."),
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "250", "--max-concurrency", "1"];
    folder.load(&mock.url(), &words).expect_code(0);
    let failed = folder.number(
        "run.tape",
        "SELECT count(*) FROM requests WHERE status = 'error'",
    );
    assert_eq!(failed, 249);
}

#[test]
fn refusals_are_told_apart() {
    let (folder, _mock, outcome) = meet(&[
        |_, reply| reply.refuse("401 Unauthorized", "Incorrect API key provided."),
        |_, reply| reply.refuse("404 Not Found", "The model `mock` does not exist."),
        |_, reply| reply.refuse("429 Too Many Requests", "Rate limit reached."),
        |_, reply| reply.refuse("500 Internal Server Error", "The server had an error."),
        |_, reply| reply.body("503 Service Unavailable", "text/plain", "upstream\nis down"),
        |_, reply| {
            reply.body(
                "200 OK",
                "text/html",
                "<!doctype html><title>Welcome</title>",
            );
        },
        |_, reply| {
            reply.raw(b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n");
        },
        |_, reply| {
            let answer = json!({ "choices": [{ "message": { "content": "hi" } }] });
            reply.body("200 OK", "application/json", &answer.to_string());
        },
        |_, reply| {
            let error = json!({ "error": { "message": "no such thing", "code": 400 } });
            reply.body("200 OK", "application/json", &error.to_string());
        },
        |_, reply| reply.close(),
    ]);
    insta::assert_snapshot!(outcome.shown(), @r#"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `http_4xx`: Incorrect API key provided.
    hint: set OPENAI_API_KEY, or give `--header "Authorization: Bearer KEY"`
    tape: run.tape
    "#);
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @r#"
    error | http_4xx | 401 | 0 | - | Incorrect API key provided.
    error | http_4xx | 404 | 0 | - | The model `mock` does not exist.
    error | http_429 | 429 | 0 | - | Rate limit reached.
    error | http_5xx | 500 | 0 | - | The server had an error.
    error | http_5xx | 503 | 0 | - | upstream is down
    error | unsupported | 200 | 0 | - | the server sent an HTML page instead of an event stream (`text/event-stream`): check `--base-url` and `--endpoint`
    error | unsupported | 307 | 0 | - | the server redirects (307); give the address that it redirects to
    error | unsupported | 200 | 0 | - | the server sent the whole answer as one JSON object instead of an event stream (`text/event-stream`): it ignores `"stream": true`
    error | in_stream | 200 | 0 | - | no such thing
    error | send | - | 0 | - | the server closed the connection without an answer
    "#);
}

#[test]
fn a_refusal_whose_body_never_ends_is_one_by_its_status() {
    const REFUSALS: [&str; 4] = ["500 Oh", "429 Too Many", "404 Not Found", "307 Moved"];
    let mock = Mock::start(|request, reply| {
        let refusal = REFUSALS[request.index % REFUSALS.len()];
        let head = format!("HTTP/1.1 {refusal}\r\ncontent-length: 100\r\n\r\nbusy");
        reply.raw(head.as_bytes());
        reply.wait_for_client_to_leave();
    });
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "4",
        "--request-rate",
        "1000",
        "--idle-timeout",
        "200ms",
    ];
    folder.load(&mock.url(), &words).expect_code(3);
    let kinds = "SELECT status, error_kind, http_status, error_message FROM requests ORDER BY 2, 3";
    insta::assert_snapshot!(folder.table("run.tape", kinds), @r"
    error | http_429 | 429 | busy
    error | http_4xx | 404 | busy
    error | http_5xx | 500 | busy
    error | unsupported | 307 | the server redirects (307); give the address that it redirects to
    ");
}

#[test]
fn the_remedy_for_a_refusal_depends_on_its_kind() {
    let cases: [(&str, &str); 4] = [
        ("401 Unauthorized", "OPENAI_API_KEY"),
        ("404 Not Found", "--model"),
        ("429 Too Many Requests", "--max-concurrency"),
        ("500 Internal Server Error", "server's log"),
    ];
    for (status, remedy) in cases {
        let mock = Mock::start(move |_, reply| reply.refuse(status, "no"));
        let folder = Folder::new();
        let outcome = folder.load(&mock.url(), &["--num-prompts", "1"]);
        let outcome = outcome.expect_code(3);
        assert!(outcome.stderr.contains(remedy), "{}", outcome.shown());
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of faults")]
fn streams_that_break_keep_the_tokens_that_came() {
    let (folder, _mock, outcome) = meet(&[
        // Cut between two events, and inside of one.
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.text("two");
            reply.close();
        },
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.piece("data: {\"choices\":[{\"delta\":{\"content\":\"tw");
            reply.close();
        },
        // The same, but with an end that HTTP takes for whole.
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.piece("data: {\"choices\":[{\"delta\":{\"content\":\"tw");
            reply.end();
        },
        // Only the end mark; then only a role and a finish.
        |_, reply| {
            reply.begin();
            reply.done();
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.delta(&json!({ "role": "assistant", "content": "" }));
            reply.finish();
            reply.done();
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.event("{\"choices\": oops");
            reply.text("two");
            reply.finish();
            reply.done();
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.event(r#"{"error":{"message":"out of memory","code":500}}"#);
            reply.done();
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.piece(&format!("data: {{\"x\":\"{}", "x".repeat(5 << 20)));
            reply.piece("\"}\n\n");
            reply.text("two");
            reply.end();
        },
        |request, reply| reply.answer(request, &["fine"]),
    ]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 0
    --- stderr
    warning: some requests failed; the first failed with `truncated`: the server closed the connection before the body's last chunk
    hint: look into the log of the server, and of any proxy before it
    tape: run.tape
    ");
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @r#"
    error | truncated | 200 | 2 | - | the server closed the connection before the body's last chunk
    error | truncated | 200 | 1 | - | the server closed the connection before the body's last chunk
    error | truncated | 200 | 1 | - | the stream ended without a finish reason or an end mark
    error | truncated | 200 | 1 | - | the stream ended inside an event (41 bytes of it)
    error | empty | 200 | 0 | - | no token arrived
    error | empty | 200 | 0 | length | no token arrived
    error | bad_event | 200 | 2 | length | an event is not valid JSON: `{"choices": oops`
    error | in_stream | 200 | 1 | - | out of memory (500)
    error | too_large | 200 | 1 | - | a streamed event is larger than 4194304 bytes
    ok | - | 200 | 1 | length | -
    "#);
    insta::assert_snapshot!(folder.table("run.tape", CHANNELS), @r"
    0 | content 2
    1 | content 1
    2 | content 1
    3 | content 1
    4 | done 1
    5 | done 1, finish 1, role 1
    6 | content 2, done 1, finish 1, other 1
    7 | content 1, done 1, error 1
    8 | content 1
    9 | content 1, done 1, finish 1, role 1, usage 1
    ");
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of streams")]
fn odd_streams_that_are_whole_are_ok() {
    let (folder, _mock, outcome) = meet(&[
        // Without an end mark; without a finish reason; in lines that end in CR LF.
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.finish();
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.done();
            reply.end();
        },
        |_, reply| {
            reply.begin();
            reply.piece(
                ": ping\r\n\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\r\n\r\n",
            );
            reply.piece("data: [DONE]\r\n\r\n");
            reply.end();
        },
        // Reasoning, a tool call, a refusal.
        |_, reply| {
            reply.begin();
            reply.delta(&json!({ "role": "assistant", "content": null }));
            reply.delta(&json!({ "reasoning_content": "hm" }));
            reply.delta(&json!({ "content": "" }));
            reply.text("so");
            reply.delta(&json!({ "tool_calls": [{ "index": 0, "function": { "name": "f", "arguments": "{}" } }] }));
            reply.delta(&json!({ "refusal": "no" }));
            reply.finish();
            reply.usage(4, 9);
            reply.done();
            reply.end();
        },
        // The body ends with the connection and has no length.
        |_, reply| {
            reply.raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
            reply.raw(b"data: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: [DONE]\n\n");
            reply.close();
        },
        // Breaks off after its own end.
        |_, reply| {
            reply.begin();
            reply.text("one");
            reply.done();
            reply.close();
        },
    ]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 0
    --- stderr
    tape: run.tape
    ");
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @r"
    ok | - | 200 | 1 | length | -
    ok | - | 200 | 1 | - | -
    ok | - | 200 | 1 | - | -
    ok | - | 200 | 4 | length | -
    ok | - | 200 | 1 | - | -
    ok | - | 200 | 1 | - | -
    ");
    insta::assert_snapshot!(folder.table("run.tape", CHANNELS), @r"
    0 | content 1, finish 1
    1 | content 1, done 1
    2 | comment 1, content 1, done 1
    3 | content 1, done 1, empty 1, finish 1, reasoning 1, refusal 1, role 1, tool 1, usage 1
    4 | content 1, done 1
    5 | content 1, done 1
    ");
    let sources = "SELECT request_id, output_tokens, output_tokens_source FROM requests ORDER BY 1";
    insta::assert_snapshot!(folder.table("run.tape", sources), @r"
    0 | 1 | chunks
    1 | 1 | chunks
    2 | 1 | chunks
    3 | 4 | chunks
    4 | 1 | chunks
    5 | 1 | chunks
    ");
}

#[test]
fn a_connection_that_stays_open_after_the_end_mark_is_not_waited_for() {
    let mock = Mock::start(|_, reply| {
        reply.begin();
        reply.text("one");
        reply.done();
        reply.wait_for_client_to_leave();
    });
    let folder = Folder::new();
    let outcome = folder.load(&mock.url(), &["--num-prompts", "1"]);
    outcome.expect_code(0);
    let late = "SELECT status, end_ns - last_token_ns < 60000000000 AS is_soon FROM requests";
    insta::assert_snapshot!(folder.table("run.tape", late), @"ok | true");
}

#[test]
fn a_stream_that_stalls_ends_at_the_idle_timeout() {
    let mock = Mock::start(|_, reply| {
        reply.begin();
        reply.text("one");
        reply.wait_for_client_to_leave();
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "1", "--idle-timeout", "300ms"];
    let outcome = folder.load(&mock.url(), &words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `timeout_idle`: nothing arrived within 0.3 s (`--idle-timeout`)
    hint: raise `--idle-timeout`, or look into the server's log
    tape: run.tape
    ");
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @"timeout | timeout_idle | 200 | 1 | - | nothing arrived within 0.3 s (`--idle-timeout`)");
}

#[test]
fn a_server_that_never_answers_ends_at_the_first_or_the_total_timeout() {
    for (flag, kind) in [
        ("--first-timeout", "timeout_first"),
        ("--request-timeout", "timeout_total"),
    ] {
        let mock = Mock::start(|_, reply| reply.wait_for_client_to_leave());
        let folder = Folder::new();
        let outcome = folder.load(&mock.url(), &["--num-prompts", "1", flag, "300ms"]);
        assert_eq!(outcome.code, 3);
        let row = folder.table("run.tape", "SELECT status, error_kind FROM requests");
        assert_eq!(row, format!("timeout | {kind}"));
    }
}

#[test]
fn a_role_is_no_token_and_every_gap_is_between_tokens() {
    let mock = Mock::answering(&["a", "b", "c"]);
    let folder = Folder::new();
    let outcome = folder.load(&mock.url(), &["--num-prompts", "1"]);
    outcome.expect_code(0);
    let chunks = "SELECT c.seq, c.channel, c.gap_ns IS NOT NULL AS has_gap, c.has_choices, \
                  c.arrival_ns = r.first_token_ns AS is_first, c.arrival_ns = r.last_token_ns AS is_last \
                  FROM chunks c JOIN requests r USING (request_id) ORDER BY c.seq";
    let shown = folder.table("run.tape", chunks);
    // Events that share a read share its time, so first and last may coincide.
    let columns: Vec<&str> = shown
        .lines()
        .map(|line| line.rsplitn(3, " | ").last().unwrap())
        .collect();
    insta::assert_snapshot!(columns.join("\n"), @r"
    0 | role | false | true
    1 | content | false | true
    2 | content | true | true
    3 | content | true | true
    4 | finish | false | true
    5 | usage | false | false
    6 | done | false | false
    ");
    assert!(shown.lines().next().unwrap().contains("role"));
    assert!(
        shown.lines().nth(1).unwrap().contains("| true |"),
        "{shown}"
    );
    let sums = "SELECT sum(c.gap_ns) = max(r.last_token_ns) - max(r.first_token_ns) AS sums_up, \
                max(c.gap_ns) = max(r.max_gap_ns) AS is_max \
                FROM chunks c JOIN requests r USING (request_id)";
    assert_eq!(folder.table("run.tape", sums), "true | true");
}

#[test]
fn tokens_are_counted_by_the_given_tokenizer_where_the_server_says_nothing() {
    let Some(tokenizer) = crate::program::shared_file("tokenizers/qwen3/tokenizer.json.gz") else {
        return;
    };
    let mock = Mock::start(|_, reply| {
        reply.begin();
        reply.text("one two three");
        reply.text(" four");
        reply.finish();
        reply.end();
    });
    let folder = Folder::new();
    let tokenizer = tokenizer.display().to_string();
    let words = ["--num-prompts", "1", "--tokenizer", &tokenizer];
    folder.load(&mock.url(), &words).expect_code(0);
    let sources = "SELECT chunk_count, input_tokens, input_tokens_source, output_tokens, \
                   output_tokens_source FROM requests";
    assert_eq!(
        folder.table("run.tape", sources),
        "2 | 12 | tokenizer | 4 | tokenizer"
    );
}

/// Answers a request and closes the connection, of which the answer says nothing.
fn answer_and_close(request: &Request, reply: &mut Reply) {
    reply.answer(request, &["a", "b"]);
    reply.close();
}

#[test]
fn no_request_is_lost_to_a_server_that_closes_silently_after_each_answer() {
    for wire in ["direct", "reqwest"] {
        let mock = Mock::start(answer_and_close);
        let folder = Folder::new();
        let words = [
            "--num-prompts",
            "60",
            "--max-concurrency",
            "4",
            "--wire",
            wire,
        ];
        let outcome = folder.load(&mock.url(), &words).expect_code(0);
        let lost = "SELECT count(*) FROM requests WHERE status <> 'ok'";
        assert_eq!(folder.number("run.tape", lost), 0, "{wire}");
        // Each of the four slots can meet one such end, before the first one is known of.
        let resends = folder.number("run.tape", "SELECT sum(resends) FROM requests");
        assert!(resends <= 4, "{wire}: {resends}");
        let is_said = outcome
            .stderr
            .contains("ended connections that were waiting");
        assert_eq!(is_said, resends > 0, "{wire}: {}", outcome.stderr);
        let times = "SELECT bool_and(sent_ns >= intended_ns AND first_token_ns > sent_ns), \
                     bool_and(connect_ns > 0) FILTER (WHERE resends > 0), \
                     bool_and(resends IS NOT NULL) FROM requests";
        let has_resent = if resends > 0 { "true" } else { "-" };
        let expected = format!("true | {has_resent} | true");
        assert_eq!(folder.table("run.tape", times), expected, "{wire}");
    }
}

#[test]
fn a_kept_connection_that_ends_as_a_request_goes_out_is_told_with_its_cause() {
    for wire in ["direct", "reqwest"] {
        // The first connection takes a second request and ends; later ones are as they should be.
        let mock = Mock::start(|request, reply| match request.index {
            1 => reply.close(),
            _ => reply.answer(request, &["a"]),
        });
        let folder = Folder::new();
        let words = [
            "--num-prompts",
            "5",
            "--max-concurrency",
            "1",
            "--wire",
            wire,
        ];
        let outcome = folder.load(&mock.url(), &words).expect_code(0);
        insta::allow_duplicates! {
            insta::assert_snapshot!(outcome.shown(), @r"
            exit code 0
            --- stderr
            note: the server ended connections that were waiting for a request; requests that were sent again on a new one: 1 (`--no-keep-alive` gives each its own from the start)
            tape: run.tape
            ");
        }
        let rows = "SELECT status, resends, connect_ns IS NOT NULL OR request_id = 0, \
                    sent_ns > dispatched_ns FROM requests ORDER BY request_id";
        insta::allow_duplicates! {
            insta::assert_snapshot!(folder.table("run.tape", rows), @r"
            ok | 0 | true | true
            ok | 1 | true | true
            ok | 0 | true | true
            ok | 0 | true | true
            ok | 0 | true | true
            ");
        }
        let says_close = mock
            .requests()
            .iter()
            .map(|request| {
                let connection = request.header("connection");
                connection.is_some_and(|value| value == "close")
            })
            .collect::<Vec<_>>();
        assert_eq!(says_close, [false, false, true, true, true, true], "{wire}");
        assert_eq!(mock.connections(), 5);
        let report = folder.run(&["analyze", "run.tape"]).expect_code(0);
        assert!(
            report.stdout.contains("1 of 5 requests were sent again"),
            "{}",
            report.stdout
        );
    }
}

#[test]
fn without_keep_alive_each_request_has_its_own_connection() {
    for wire in ["direct", "reqwest"] {
        let mock = Mock::answering(&["a"]);
        let folder = Folder::new();
        let words = [
            "--num-prompts",
            "4",
            "--max-concurrency",
            "1",
            "--no-keep-alive",
            "--wire",
            wire,
        ];
        folder.load(&mock.url(), &words).expect_code(0);
        assert_eq!(mock.connections(), 4, "{wire}");
        let plan = "SELECT plan LIKE '%\"keep_alive\":false%' FROM runs";
        assert_eq!(folder.table("run.tape", plan), "true");
    }
}

#[test]
fn a_server_that_closes_new_connections_without_an_answer_is_told_with_what_it_may_be() {
    let (_folder, _mock, outcome) = meet(&[|_, reply| reply.close()]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 3
    --- stderr
    error: no request succeeded; the first failed with `send`: the server closed the connection without an answer
    hint: the server closed a new connection without an answer: check the scheme and the port of `--base-url`, whether the server limits connections (`--max-concurrency`), and its log for a crash
    tape: run.tape
    ");
}
