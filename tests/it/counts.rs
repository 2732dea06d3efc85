//! What the tape takes for tokens, of servers that count otherwise, hide some, or say nothing.

use serde_json::{Value, json};

use crate::mock::{Mock, Reply, Request};
use crate::program::{Folder, Outcome};

const ROWS: &str = "SELECT status, error_kind, chunk_count, output_tokens, output_tokens_source, ttft_ns IS NULL AS no_ttft \
                    FROM requests ORDER BY request_id";

type Script = fn(&Request, &mut Reply);

/// Sends one request after another, each of which is answered by the next script; the limit on the
/// output is four tokens.
fn answered(scripts: &'static [Script], more: &[&str]) -> (Folder, Outcome) {
    let mock = Mock::start(|request, reply| {
        reply.begin();
        reply.delta(&json!({ "role": "assistant", "content": "" }));
        scripts[request.index](request, reply);
        reply.done();
        reply.end();
    });
    let folder = Folder::new();
    let count = scripts.len().to_string();
    let mut words = vec!["--num-prompts", &count, "--max-concurrency", "1"];
    words.extend(more);
    let outcome = folder.load(&mock.url(), &words);
    (folder, outcome)
}

fn finish(reply: &mut Reply, reason: &str) {
    reply.event(&json!({ "choices": [{ "delta": {}, "finish_reason": reason }] }).to_string());
}

fn four_words(reply: &mut Reply) {
    for word in ["a", " b", " c", " d"] {
        reply.text(word);
    }
    finish(reply, "length");
}

#[test]
fn an_answer_without_text_is_ok_where_the_server_counted_tokens() {
    let scripts: &[Script] = &[
        // White space that the server swallows; the end of text as the first token.
        |_, reply| {
            finish(reply, "length");
            reply.usage(4, 4);
        },
        |_, reply| {
            finish(reply, "stop");
            reply.usage(4, 1);
        },
        // Nothing vouches for these.
        |_, reply| {
            finish(reply, "stop");
            reply.usage(4, 0);
        },
        |_, reply| finish(reply, "stop"),
        |_, reply| {
            four_words(reply);
            reply.usage(4, 4);
        },
    ];
    let (folder, outcome) = answered(scripts, &[]);
    outcome.expect_code(0);
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @r"
    ok | - | 0 | 4 | usage | true
    ok | - | 0 | 1 | usage | true
    error | empty | 0 | 0 | usage | true
    error | empty | 0 | - | - | true
    ok | - | 4 | 4 | usage | false
    ");
    let said = folder.run(&["analyze", "run.tape"]).stdout;
    assert!(said.contains("2 of 3 answers brought no text"), "{said}");
    // Their tokens count in the rates of the run.
    let rates = "SELECT output_tokens FROM throughput_windows WHERE window_name = 'run'";
    assert_eq!(
        folder.sql("run.tape", rates)[0]["output_tokens"],
        json!(9.0)
    );
}

#[test]
fn usage_that_cannot_be_true_is_not_taken() {
    let scripts: &[Script] = &[
        |_, reply| {
            four_words(reply);
            reply.usage(4, 8);
        },
        |_, reply| {
            four_words(reply);
            reply.usage(4, 0);
        },
        |_, reply| four_words(reply),
    ];
    let (folder, outcome) = answered(scripts, &[]);
    outcome.expect_code(0);
    insta::assert_snapshot!(folder.table("run.tape", ROWS), @r"
    ok | - | 4 | 4 | chunks | false
    ok | - | 4 | 4 | chunks | false
    ok | - | 4 | 4 | chunks | false
    ");
    let said = folder.run(&["analyze", "run.tape"]).stdout;
    assert!(
        said.contains("in 2 of 3 answers the server's usage"),
        "{said}"
    );
    // As many chunks as the limit allowed: there is nothing to name a tokenizer for.
    assert!(!said.contains("counted by chunks"), "{said}");
}

#[test]
fn reasoning_is_read_under_every_name() {
    let scripts: &[Script] = &[|_, reply| {
        for delta in [
            json!({ "reasoning": "a" }),
            json!({ "reasoning_content": "b" }),
            json!({ "reasoning_text": "c" }),
            json!({ "reasoning_details": [{ "type": "reasoning.text", "text": "d" }] }),
            json!({ "reasoning_details": [{ "type": "reasoning.summary", "summary": "e" }] }),
            json!({ "thinking": "f" }),
            json!({ "thinking_blocks": [{ "type": "thinking", "thinking": "g" }] }),
            json!({ "reasoning": "h", "reasoning_details": [{ "type": "reasoning.text", "text": "h" }] }),
        ] {
            reply.delta(&delta);
        }
        reply.text("i");
        finish(reply, "stop");
        reply.usage(4, 9);
    }];
    let (folder, outcome) = answered(scripts, &["--keep", "text"]);
    outcome.expect_code(0);
    let sql = "SELECT string_agg(channel || ' ' || text, ', ' ORDER BY seq) AS texts \
               FROM chunks WHERE is_token_bearing";
    insta::assert_snapshot!(folder.table("run.tape", sql), @"reasoning a, reasoning b, reasoning c, reasoning d, reasoning e, reasoning f, reasoning g, reasoning h, content i");
}

#[test]
fn a_text_under_an_unknown_name_is_said_with_its_field() {
    let scripts: &[Script] = &[|_, reply| {
        for text in ["a", "b"] {
            reply.delta(&json!({ "thoughts": text }));
        }
        finish(reply, "stop");
        reply.usage(4, 3);
    }];
    let (folder, outcome) = answered(scripts, &[]);
    let outcome = outcome.expect_code(3);
    assert!(
        outcome
            .stderr
            .contains("2 events have a text in `delta.thoughts`"),
        "{}",
        outcome.stderr
    );
    let manifest = folder.manifest("run.tape");
    assert_eq!(manifest["unread_texts"], json!({ "delta.thoughts": 2 }));
    let said = folder.run(&["analyze", "run.tape"]).stdout;
    assert!(said.contains("delta.thoughts"), "{said}");
}

#[test]
fn events_of_another_protocol_are_named_and_the_server_is_not_blamed() {
    let mock = Mock::start(|request, reply| {
        reply.begin();
        for text in ["a", "b"] {
            let event: Value = match request.index {
                0 => json!({ "type": "response.output_text.delta", "delta": text }),
                1 => {
                    json!({ "type": "content_block_delta", "delta": { "type": "text_delta", "text": text } })
                }
                _ => json!({ "index": 0, "content": text, "tokens": [7], "stop": false }),
            };
            reply.event(&event.to_string());
        }
        reply.end();
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "3", "--max-concurrency", "1"];
    folder.load(&mock.url(), &words).expect_code(3);
    let sql = "SELECT error_kind, error_message FROM requests ORDER BY request_id";
    insta::assert_snapshot!(folder.table("run.tape", sql), @r#"
    truncated | the stream ended without a finish reason or an end mark; the events are those of `--backend openai-responses`
    truncated | the stream ended without a finish reason or an end mark; the events are those of `--backend anthropic`
    truncated | the stream ended without a finish reason or an end mark; the events are those of `--backend llama.cpp`
    "#);
    let said = folder.run(&["analyze", "run.tape"]).stdout;
    assert!(said.contains("which the backend does not read"), "{said}");
}
