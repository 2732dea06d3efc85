//! Requests that go out more than once, and runs over several servers.

use std::net::TcpListener;

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::mock::{Mock, Reply};
use crate::program::{Folder, load_words, wait_until};

/// Refuses a request for now.
fn refuse_for_now(reply: &mut Reply, status: &str, header: &str) {
    let head = format!("HTTP/1.1 {status}\r\n{header}\r\ncontent-length: 2\r\n\r\n{{}}");
    reply.raw(head.as_bytes());
}

#[test]
fn a_request_that_is_refused_for_now_goes_out_again_and_each_attempt_has_a_row() {
    let mock = Mock::start(|request, reply| match request.index {
        0 => refuse_for_now(reply, "429 Too Many Requests", "Retry-After-Ms: 20"),
        1 => refuse_for_now(reply, "503 X", "llm_provider-retry-after: 0"),
        2 => reply.answer(request, &["a", "b"]),
        3 => reply.refuse("400 Bad Request", "no"),
        _ => refuse_for_now(reply, "429 Too Many Requests", "retry-after: 0"),
    });
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "3",
        "--max-concurrency",
        "1",
        "--retries",
        "2",
        "--keep",
        "text",
    ];
    let said = folder.load(&mock.url(), &words).expect_code(0).stderr;
    assert!(
        said.contains("after the first one (`--retries`): 4"),
        "{said}"
    );
    let rows = "SELECT request_id, attempt, status, error_kind, http_status, prompt IS NOT NULL AS has_prompt \
                FROM tape_requests ORDER BY request_id, attempt";
    assert_eq!(
        folder.table("run.tape", rows),
        "0 | 0 | error | http_429 | 429 | true\n\
         0 | 1 | error | http_5xx | 503 | true\n\
         0 | 2 | ok | - | 200 | true\n\
         1 | 0 | error | http_4xx | 400 | true\n\
         2 | 0 | error | http_429 | 429 | true\n\
         2 | 1 | error | http_429 | 429 | true\n\
         2 | 2 | error | http_429 | 429 | true"
    );
    let summary = "SELECT requests, ok, failed, retried, retries FROM run_summary";
    assert_eq!(folder.table("run.tape", summary), "3 | 1 | 2 | 2 | 4");
    // The wait is in the latency from intended, and not in the one from the send.
    let waited = "SELECT ttft_intended_ns - ttft_ns > 20e6 AS waited, slip_ns FROM requests WHERE status = 'ok'";
    assert_eq!(folder.table("run.tape", waited), "true | -");
    // The slot is kept meanwhile: the second request goes out when the first has ended.
    let order = "SELECT b.dispatched_ns >= a.end_ns AS is_behind FROM requests a JOIN requests b \
                 ON a.request_id = 0 AND b.request_id = 1";
    assert_eq!(folder.table("run.tape", order), "true");
    // In a closed loop too, goals count from when the request was due: an attempt was lost before.
    let good = "SELECT meets_ttft FROM slo_results WHERE is_ok";
    let judged = folder.run(&[
        "sql",
        "run.tape",
        "-c",
        good,
        "--goodput",
        "ttft:20",
        "--format",
        "csv",
    ]);
    assert_eq!(judged.expect_code(0).stdout.trim(), "meets_ttft\nfalse");
    assert_eq!(folder.manifest("run.tape")["plan"]["retries"], json!(2));
    let told = folder.run(&["analyze", "run.tape", "--markdown", "report.md"]);
    assert!(told.stdout.contains("intended"), "{}", told.stdout);
    assert!(
        told.stdout.contains("Sent more than once"),
        "{}",
        told.stdout
    );
    let report = folder.read("report.md");
    assert!(report.contains("4 attempts after the first, of 2 requests"));
}

#[test]
fn without_the_flag_a_refusal_stands() {
    let mock = Mock::start(|_, reply| refuse_for_now(reply, "503 X", "retry-after: 0"));
    let folder = Folder::new();
    folder
        .load(&mock.url(), &["--num-prompts", "2"])
        .expect_code(3);
    assert_eq!(mock.requests().len(), 2);
}

#[test]
fn a_turn_waits_for_the_attempt_that_is_answered() {
    let mock = Mock::start(|request, reply| match request.index {
        0 => refuse_for_now(reply, "429 X", "retry-after-ms: 30"),
        _ => reply.answer(request, &["yes"]),
    });
    let folder = Folder::new();
    let turn = |ns: u32, prompt: &str| {
        json!({ "arrival_ns": ns, "input_tokens": 1, "output_tokens": 1, "session_id": "a", "prompt": prompt, "new_only": true })
            .to_string()
    };
    let trace = [turn(0, "one"), turn(1_000, "two")].join("\n");
    folder.write("trace.jsonl", format!("{trace}\n"));
    let url = mock.url();
    let words = [
        "replay",
        "trace.jsonl",
        "--base-url",
        &url,
        "--backend",
        "openai-chat",
        "--model",
        "m",
        "--out",
        "run.tape",
        "--no-summary",
        "--sessions",
        "think",
        "--session-replies",
        "live",
        "--retries",
        "1",
    ];
    folder.run(&words).expect_code(0);
    let prompts: Vec<_> = mock
        .requests()
        .iter()
        .map(|it| it.body["messages"].clone())
        .collect();
    let one = json!([{ "role": "user", "content": "one" }]);
    let two = json!([
        { "role": "user", "content": "one" },
        { "role": "assistant", "content": "yes" },
        { "role": "user", "content": "two" },
    ]);
    assert_eq!(prompts, [one.clone(), one, two]);
}

#[test]
fn ctrl_c_ends_the_wait_for_another_attempt() {
    let mock = Mock::start(|_, reply| refuse_for_now(reply, "429 X", "retry-after: 50"));
    let folder = Folder::new();
    let url = mock.url();
    let words = load_words(&url, &["--num-prompts", "1", "--retries", "3"]);
    let running = folder.start(&words);
    wait_until("a request", || mock.requests().len() == 1);
    running.signal(Signal::INT);
    let said = running.end().expect_code(130).stderr;
    // No other attempt was made, so this one stands.
    assert!(
        said.contains("no request succeeded; the first failed with `http_429`"),
        "{said}"
    );
    assert!(!said.contains("--retries"), "{said}");
    let rows = "SELECT attempt, status, http_status FROM tape_requests";
    assert_eq!(folder.table("run.tape", rows), "0 | error | 429");
}

#[test]
fn requests_take_turns_at_several_servers_and_a_run_of_the_plan_does_so_again() {
    let servers = [Mock::answering(&["a"]), Mock::answering(&["b"])];
    let folder = Folder::new();
    let [first, second] = [servers[0].url(), servers[1].url()];
    let words = [
        "--base-url",
        &second,
        "--num-prompts",
        "4",
        "--prewarm-connections",
        "2",
    ];
    folder.load(&first, &words).expect_code(0);
    let targets = "SELECT target, count(*) AS n, min(request_id) AS first FROM requests \
                   GROUP BY target ORDER BY first";
    let expected =
        format!("{first}/v1/chat/completions | 2 | 0\n{second}/v1/chat/completions | 2 | 1");
    assert_eq!(folder.table("run.tape", targets), expected);
    for server in &servers {
        assert_eq!(server.requests().len(), 2);
        assert!(server.connections() >= 2, "opened ahead");
    }
    let plan = folder.manifest("run.tape")["plan"].clone();
    assert_eq!(
        plan["more_urls"],
        json!([format!("{second}/v1/chat/completions")])
    );
    assert_eq!(plan["url_strategy"], json!("round-robin"));
    let again = ["run", "run.tape", "--no-summary", "--out", "again.tape"];
    let said = folder.run(&again).expect_code(0).stderr;
    assert!(
        said.contains(&format!("to `{first}/v1/chat/completions`, `{second}")),
        "{said}"
    );
    assert_eq!(folder.table("again.tape", targets), expected);
    // With one address in place of the plan's, there is one server, which needs no name.
    let one = [
        "run",
        "run.tape",
        "--base-url",
        &first,
        "--no-summary",
        "--out",
        "one.tape",
    ];
    folder.run(&one).expect_code(0);
    assert_eq!(folder.table("one.tape", targets), "- | 4 | 0");
    assert_eq!(
        folder.manifest("one.tape")["plan"]["url_strategy"],
        json!(null)
    );
}

#[test]
fn servers_of_which_one_is_not_there_are_told_apart() {
    let mock = Mock::answering(&["a"]);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let folder = Folder::new();
    let gone = format!("http://{address}");
    let words = [
        "--base-url",
        &gone,
        "--num-prompts",
        "4",
        "--max-concurrency",
        "2",
        "--prewarm-connections",
        "2",
    ];
    let said = folder.load(&mock.url(), &words).expect_code(0).stderr;
    let opened = format!(
        "of the 2 connections that `--prewarm-connections` asks for, 0 were open to `{gone}/v1/chat/completions`"
    );
    assert!(said.contains(&opened), "{said}");
    assert_eq!(said.matches("`--prewarm-connections`").count(), 1, "{said}");
    let open: Vec<_> = folder.manifest("run.tape")["prewarmed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["asked"].clone(), one["open"].clone()))
        .collect();
    assert_eq!(open, [(json!(2), json!(2)), (json!(2), json!(0))]);
    // Its failures name it, and it has a row beside the other.
    let message = "SELECT DISTINCT error_message FROM requests WHERE status = 'error'";
    let refused = format!("Connection refused (os error 111) (connecting to {address})");
    assert_eq!(folder.table("run.tape", message), refused);
    let servers = "SELECT requests, failed_attempts, n FROM latency_by_server";
    assert_eq!(folder.table("run.tape", servers), "2 | 0 | 2\n2 | 2 | 0");
    let told = folder.run(&["analyze", "run.tape", "--json", "run.json"]);
    assert!(told.stdout.contains(" By server"), "{}", told.stdout);
    assert!(
        told.stdout.contains(&address.to_string()),
        "{}",
        told.stdout
    );
    let numbers: Value = serde_json::from_str(&folder.read("run.json")).unwrap();
    let server = &numbers["runs"][0]["servers"][1];
    assert_eq!(server["target"], format!("{gone}/v1/chat/completions"));
    assert_eq!(server["metrics"]["failed_attempts"]["value"], 2);
}

#[test]
fn what_cannot_tell_servers_apart_is_refused() {
    let folder = Folder::new();
    let load = |words: &[&str]| folder.load("http://127.0.0.1:1", words).expect_code(2);
    let twice = load(&["--base-url", "http://127.0.0.1:1/v1", "--dry-run"]).stderr;
    assert!(
        twice.contains("`http://127.0.0.1:1/v1/chat/completions` twice"),
        "{twice}"
    );
    let alone = load(&["--url-strategy", "session", "--dry-run"]).stderr;
    assert!(alone.contains("`--url-strategy`"), "{alone}");
}

#[test]
fn http2_goes_with_the_wire_that_speaks_it() {
    let folder = Folder::new();
    let load = |words: &[&str]| folder.load("http://127.0.0.1:1", words);
    let refused = load(&["--http2", "--wire", "direct", "--dry-run"]).expect_code(2);
    assert!(
        refused
            .stderr
            .contains("`--http2` is not spoken by the direct wire")
    );
    let plan = load(&["--http2", "--dry-run"]).expect_code(0).stdout;
    assert!(plan.contains("\"wire\": \"reqwest\"") && plan.contains("\"http2\": true"));
    // Said where a run would be, also of one that reaches nobody.
    let said = load(&["--http2", "--readers", "2", "--num-prompts", "1"]).stderr;
    assert!(
        said.contains("`--readers` has no effect on the reqwest wire"),
        "{said}"
    );
}
