//! Replays that have a server say what the trace was answered.

use serde_json::json;

use crate::mock::Mock;
use crate::program::Folder;

/// Replays a trace of two rows, each with these fields beside its time and lengths.
fn replay(
    mock: &Mock,
    folder: &Folder,
    backend: &str,
    reply: Option<&str>,
) -> crate::program::Outcome {
    let row = |ns: u32| {
        let mut row = json!({ "arrival_ns": ns, "input_tokens": 3, "output_tokens": 2 });
        if let Some(reply) = reply {
            row["reply"] = reply.into();
        }
        row.to_string()
    };
    folder.write("trace.jsonl", format!("{}\n{}\n", row(0), row(1_000)));
    let url = mock.url();
    let words = [
        "replay",
        "trace.jsonl",
        "--base-url",
        &url,
        "--backend",
        backend,
        "--model",
        "m",
        "--out",
        "run.tape",
        "--no-summary",
        "--force",
        "--output-length",
        "trace-text",
        "--extra-body",
        "{\"structured_outputs\": {\"whitespace_pattern\": \" \"}}",
    ];
    folder.run(&words)
}

#[test]
fn a_server_is_asked_to_say_the_text_of_the_trace() {
    let mock = Mock::answering(&["so", " be it"]);
    let folder = Folder::new();
    replay(&mock, &folder, "vllm-chat", Some("so be it")).expect_code(0);
    for request in mock.requests() {
        let body = request.body;
        let asked = json!({ "choice": ["so be it"], "whitespace_pattern": " " });
        assert_eq!(body["structured_outputs"], asked);
        // Each of its bytes may be a token, and its end is one.
        assert_eq!(body["max_completion_tokens"], 9);
        assert_eq!(body["ignore_eos"], json!(null));
    }
    let planned = "SELECT output_tokens_planned, max_output_tokens, status FROM requests";
    assert_eq!(folder.table("run.tape", planned), "2 | 9 | ok\n2 | 9 | ok");
    let plan = folder.manifest("run.tape")["plan"].clone();
    assert_eq!(plan["trace"]["output_length"], "trace-text");
}

#[test]
fn rows_without_a_reply_are_counted_and_said_once() {
    let mock = Mock::answering(&["so"]);
    let folder = Folder::new();
    let row = |ns: u32, reply: Option<&str>| json!({ "arrival_ns": ns, "input_tokens": 3, "output_tokens": 2, "reply": reply });
    let rows = [row(0, Some("so")), row(1_000, None), row(2_000, None)];
    let lines: Vec<String> = rows.iter().map(ToString::to_string).collect();
    folder.write("trace.jsonl", lines.join("\n"));
    let said = "rows of the trace without a reply";
    for (length, rows) in [("trace-text", Some(2)), ("cap", None)] {
        let url = mock.url();
        let words = [
            "replay",
            "trace.jsonl",
            "--base-url",
            &url,
            "--backend",
            "vllm-chat",
        ];
        let more = [
            "--model",
            "m",
            "--out",
            "run.tape",
            "--no-summary",
            "--force",
        ];
        let length = ["--output-length", length];
        let outcome = folder.run(&[&words[..], &more, &length].concat());
        let told = outcome.expect_code(0).stderr;
        assert_eq!(
            told.matches(said).count(),
            usize::from(rows.is_some()),
            "{told}"
        );
        let counts = folder.manifest("run.tape")["counts"].clone();
        assert_eq!(counts["without_reply"], json!(rows));
    }
    // A row without a reply is sent as ever.
    let bodies = mock.requests().into_iter().map(|request| request.body);
    let free: Vec<_> = bodies
        .take(3)
        .filter(|body| body["structured_outputs"].is_null())
        .collect();
    assert_eq!(free.len(), 2);
    assert!(free.iter().all(|body| body["max_completion_tokens"] == 2));
}

#[test]
fn what_can_not_be_forced_is_refused() {
    let mock = Mock::answering(&["no"]);
    let folder = Folder::new();
    for (backend, reply, message) in [
        (
            "openai-chat",
            Some("so"),
            "the backend `openai-chat` can't have a server say a text",
        ),
        (
            "vllm-chat",
            None,
            "`--output-length trace-text` needs a trace with the texts of its answers",
        ),
    ] {
        let said = replay(&mock, &folder, backend, reply).expect_code(2).stderr;
        assert!(said.contains(message) && said.contains("hint: "), "{said}");
    }
    assert!(mock.requests().is_empty());
}
