//! Every format on rows: real ones where there are some, else rows written from its schema.

use crate::testing::shared_file;
use crate::trace::{BlockScope, RowText, TraceRow};

use super::{Scratch, message, read};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

async fn rows(text: &str) -> (String, Vec<TraceRow>) {
    let scratch = Scratch::new();
    let path = scratch.write("trace", text);
    let replay = read(&path).await.unwrap();
    (replay.format.name, replay.rows)
}

#[tokio::test]
async fn bailian_counts_in_seconds_and_follows_parents() {
    let (format, rows) = rows(concat!(
        r#"{"chat_id": 7, "parent_chat_id": -1, "timestamp": 61.114, "input_length": 30, "#,
        r#""output_length": 5, "type": "text", "turn": 1, "hash_ids": [1, 2]}"#,
        "\n",
        r#"{"chat_id": 8, "parent_chat_id": -1, "timestamp": 61.5, "input_length": 10, "#,
        r#""output_length": 5, "type": "search", "turn": 1, "hash_ids": [9]}"#,
        "\n",
        r#"{"chat_id": 9, "parent_chat_id": 7, "timestamp": 70.0, "input_length": 40, "#,
        r#""output_length": 6, "type": "text", "turn": 2, "hash_ids": [1, 2, 3]}"#,
        "\n",
    ))
    .await;
    assert_eq!(format, "bailian");
    let arrivals: Vec<i64> = rows.iter().map(|row| row.arrival_ns / MS).collect();
    assert_eq!(arrivals, [0, 386, 8_886]);
    let sessions: Vec<_> = rows.iter().map(|row| row.session_id.as_deref()).collect();
    assert_eq!(sessions, [Some("7"), Some("8"), Some("7")]);
    assert_eq!((rows[2].turn, rows[2].after), (Some(1), Some(0)));
    assert_eq!(rows[1].class.as_deref(), Some("search"));
    assert_eq!(rows[0].prefix_blocks, [1, 2]);
    assert_eq!(rows[0].block_size, Some(16));
}

#[tokio::test]
async fn seconds_and_small_blocks_under_mooncakes_names_are_refused() {
    let stripped =
        r#"{"timestamp": 0.5, "input_length": 60, "output_length": 5, "hash_ids": [1, 2, 3, 4]}"#;
    assert_eq!(
        message(stripped).await,
        "`trace` line 1: column `hash_ids` is `[1, 2, 3, 4]`, so `prefix_blocks` holds more blocks \
         of `block_size` tokens than the prompt is long: the blocks are smaller than this format \
         has them"
    );
}

#[tokio::test]
async fn mooncake_turns_follow_by_a_pause() {
    let (format, rows) = rows(concat!(
        r#"{"session_id": "a", "timestamp": 1000, "input_length": 300, "output_length": 40}"#,
        "\n",
        r#"{"session_id": "a", "delay": 2500, "input_length": 150, "output_length": 20}"#,
        "\n",
        r#"{"session_id": "b", "input_length": 150, "output_length": 20}"#,
        "\n",
    ))
    .await;
    assert_eq!(format, "mooncake-sessions");
    assert_eq!(rows[0].session_id.as_deref(), Some("b"), "it starts at 0");
    assert_eq!(rows[1].arrival_ns, SECOND);
    assert_eq!(rows[2].arrival_ns, 3_500 * MS);
    assert_eq!(rows[2].think_ns, Some(2_500 * MS));
    assert_eq!(rows[2].after, Some(rows[1].number));
}

#[tokio::test]
async fn mooncake_messages_are_kept_as_they_are() {
    let (_, rows) = rows(concat!(
        r#"{"session_id": "a", "messages": [{"role": "user", "content": "hi"}], "output_length": 4}"#,
        "\n",
        r#"{"session_id": "b", "messages": [{"role": "user", "content": [{"type": "text", "#,
        r#""text": "ho"}]}], "output_length": 4}"#,
        "\n",
        r#"{"session_id": "c", "text_input": "he", "output_length": 4}"#,
        "\n",
    ))
    .await;
    let messages = |row: &TraceRow| match &row.text {
        Some(RowText::Messages(messages)) => messages.clone(),
        other => panic!("{other:?}"),
    };
    assert!(messages(&rows[0]).contains(r#""content":"hi""#));
    assert!(messages(&rows[1]).contains(r#""text":"ho""#));
    assert_eq!(rows[2].text, Some(RowText::Prompt("he".to_owned())));
    assert_eq!(rows[0].input_tokens, 0, "its length is not told");
    let broken = r#"{"session_id": "a", "messages": ["hi"], "output_length": 4}"#;
    assert_eq!(
        message(broken).await,
        "`trace` line 1: column `messages` is `[\"hi\"]`, so `messages` is no JSON array of objects"
    );
}

#[tokio::test]
async fn ragpulse_goes_on_where_its_clock_was() {
    let line = |second: i64, session: &str| {
        format!(
            "{{\"timestamp\": \"{second}\", \"input_length\": 10, \"output_length\": 2, \
             \"hash_ids\": {{\"sys_prompt\": [1], \"passages_ids\": [2, 3], \"history\": [], \
             \"web_search\": [], \"user_input\": [4]}}, \"session_id\": \"{session}\"}}\n"
        )
    };
    let text = line(82, "a") + &line(604_453, "b") + &line(0, "c") + &line(10, "c") + "\n";
    let (format, rows) = rows(&text).await;
    assert_eq!(format, "ragpulse");
    let arrivals: Vec<i64> = rows.iter().map(|row| row.arrival_ns / SECOND).collect();
    assert_eq!(arrivals, [0, 604_371, 604_371, 604_381]);
    assert!(rows[0].prefix_blocks.is_empty());
    assert_eq!(rows[3].turn, Some(1));
}

#[tokio::test]
async fn a_relative_clock_that_starts_again_unexpectedly_is_told_of() {
    let line = |ms: i64| {
        format!(
            "{{\"timestamp\": {ms}, \"input_length\": 10, \"output_length\": 2, \"hash_ids\": [1]}}\n"
        )
    };
    let recording: String = (0..200).map(|row| line(row * 3_000)).collect();
    assert_eq!(
        message(format!("{recording}{recording}")).await,
        "`trace` line 201: the clock starts again: several recordings stand one behind another"
    );
}

#[tokio::test]
async fn weka_conversations_keep_their_think_times_and_local_blocks() {
    let Some(path) = shared_file("traces/kv-cache-tester/trace_0026.json") else {
        return;
    };
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.format.name, "weka");
    assert_eq!(
        replay.lengths(),
        [(15_291, 2_282), (17_401, 2_905), (20_068, 107)]
    );
    assert_eq!(replay.arrivals_ns(), [0, 94 * SECOND, 146 * SECOND]);
    let first = &replay.rows[0];
    assert_eq!(first.session_id.as_deref(), Some("trace_0026"));
    assert_eq!(first.prefix_blocks.len(), 15_291 / 64, "whole blocks alone");
    assert_eq!(
        (first.block_size, first.block_scope),
        (Some(64), BlockScope::Session)
    );
    assert_eq!(first.elapsed_ns, Some(46_250 * MS));
    assert_eq!(replay.rows[1].think_ns, Some(48 * SECOND));
    let Some(folder) = shared_file("traces/kv-cache-tester") else {
        return;
    };
    let all = read(&folder).await.unwrap();
    assert_eq!(all.rows.len(), 27);
    let starts = all.rows.iter().filter(|row| row.arrival_ns == 0);
    assert_eq!(starts.count(), 4, "every conversation starts at 0");
}

#[tokio::test]
async fn a_block_id_beyond_64_bits_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.json");
    let calls = format!(
        r#"{{"t": 1.0, "type": "n", "model": "m", "in": 130, "out": 5, "hash_ids": [1, {}]}}"#,
        "7".repeat(100)
    );
    let inner = r#"{"t": 4.0, "type": "subagent", "requests": [{"t": 4.5, "type": "s", "in": 70, "out": 6, "hash_ids": [9]}]}"#;
    let text = format!(
        r#"{{"id": "c", "block_size": 64, "hash_id_scope": "local", "requests": [{calls}, {inner}]}}"#
    );
    std::fs::write(&path, text).unwrap();
    let refused = read(&path).await.unwrap_err().to_string();
    assert!(refused.contains("prefix_blocks"), "{refused}");
}

#[tokio::test]
async fn weka_sub_agents_are_turns_of_their_conversation() {
    let (_, rows) = rows(concat!(
        r#"{"id": "c", "block_size": 64, "hash_id_scope": "local", "requests": ["#,
        r#"{"t": 0.0, "type": "n", "model": "m", "in": 130, "out": 5, "hash_ids": [1, 2]}, "#,
        r#"{"t": 4.0, "type": "subagent", "agent_id": "x", "subagent_type": "explore", "requests": ["#,
        r#"{"t": 4.5, "type": "s", "model": "n", "in": 70, "out": 6, "hash_ids": [9]}, "#,
        r#"{"t": 5.5, "type": "s", "model": "n", "in": 64, "out": 0, "hash_ids": [9]}]}, "#,
        r#"{"t": 9.0, "type": "n", "model": "m", "in": 200, "out": 7, "hash_ids": [1, 2, 3]}]}"#,
    ))
    .await;
    let lengths: Vec<_> = rows
        .iter()
        .map(|row| (row.input_tokens, row.output_tokens))
        .collect();
    assert_eq!(
        lengths,
        [(130, 5), (70, 6), (200, 7)],
        "the one without output failed"
    );
    let arrivals: Vec<i64> = rows.iter().map(|row| row.arrival_ns / MS).collect();
    assert_eq!(arrivals, [0, 4_500, 9_000]);
    assert_eq!(rows[1].class.as_deref(), Some("explore"));
    assert_eq!(rows[1].model.as_deref(), Some("n"));
    assert_eq!(rows[1].prefix_blocks, [9]);
    assert!(
        rows.iter()
            .all(|row| row.session_id.as_deref() == Some("c"))
    );
}

#[tokio::test]
async fn tracelab_rounds_share_what_their_prefix_says() {
    let Some(path) = shared_file("traces/tracelab/sanitized_round_trace.jsonl") else {
        return;
    };
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.rows.len(), 19);
    let mut rounds = replay
        .rows
        .iter()
        .filter(|row| row.class.as_deref() == Some("claude"));
    let (first, second) = (rounds.next().unwrap(), rounds.next().unwrap());
    assert_eq!((first.input_tokens, first.output_tokens), (32_272, 931));
    assert_eq!((second.input_tokens, second.output_tokens), (35_740, 1_016));
    let shared = first
        .prefix_blocks
        .iter()
        .zip(&second.prefix_blocks)
        .take_while(|(one, two)| one == two)
        .count();
    assert_eq!(shared, 29_380 / 16);
    assert_eq!(
        first.elapsed_ns,
        Some(11_496 * MS),
        "until the last tool call"
    );
    assert_eq!(second.after, Some(first.number));
    assert_eq!(
        second.arrival_ns - first.arrival_ns,
        30_787 * MS,
        "a round arrives with its last tool's result"
    );
}

#[tokio::test]
async fn copilot_calls_are_turns_of_their_session() {
    let call = |id: &str, at: &str, prompt: u32, cached: u32, completion: u32| {
        format!(
            r#"{{"message_id": "{id}", "timestamp": "2026-06-01T00:00:{at}Z", "duration_ms": 1500.5, "initiator_type": "user", "model": "Model A", "result": "success", "status_code": 200, "tokens": {{"total": {}, "prompt": {prompt}, "completion": {completion}, "cached": {cached}, "cached_pct": 0.5}}, "message_metadata": []}}"#,
            prompt + completion
        )
    };
    let text = format!(
        "{{\"session_id\": \"s\", \"date\": \"2026-06-01\", \"turns\": [{{\"turn_id\": 0, \"llm_calls\": [{}, {}], \"tool_batches\": []}}, {{\"turn_id\": 1, \"llm_calls\": [{}]}}]}}\n",
        call("a", "00.250", 160, 0, 8),
        call("b", "05", 320, 160, 9),
        call("c", "09.5", 480, 320, 0),
    );
    let (format, rows) = rows(&text).await;
    assert_eq!(format, "copilot");
    assert_eq!(rows.len(), 2, "a call without completion failed");
    assert_eq!(rows[1].arrival_ns, 4_750 * MS);
    assert_eq!(rows[0].elapsed_ns, Some(1_500_500_000));
    assert_eq!(rows[1].think_ns, Some(3_249_500_000));
    assert_eq!(rows[1].prefix_blocks[..10], rows[0].prefix_blocks[..]);
    assert_eq!(rows[1].prefix_blocks.len(), 20);
    assert_eq!(rows[1].class.as_deref(), Some("user"));
}

#[tokio::test]
async fn aibrix_lines_hold_several_requests() {
    let Some(path) = shared_file("traces/aibrix/ten_requests.jsonl") else {
        return;
    };
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.rows.len(), 10);
    assert_eq!(replay.lengths()[0], (909, 22));
    let Some(RowText::Prompt(prompt)) = &replay.rows[0].text else {
        panic!("the prompt is there");
    };
    assert!(prompt.starts_with("Here is the introduction"));
    let (_, rows) = rows(
        "{\"timestamp\": 5, \"requests\": [{\"Prompt Length\": 1, \"Output Length\": 2}, \
         {\"Prompt Length\": 3, \"Output Length\": 4}]}\n",
    )
    .await;
    assert_eq!(rows.len(), 2);
    assert_eq!(rows[1].arrival_ns, 0);
}

#[tokio::test]
async fn simulators_and_benchmarks_are_read_in_their_units() {
    let (format, vidur) = rows(
        "arrived_at,num_prefill_tokens,num_decode_tokens,pd_ratio\n0.5,374,44,8.5\n4.81,396,109,3.6\n",
    )
    .await;
    assert_eq!(format, "vidur");
    assert_eq!(vidur[1].arrival_ns, 4_310 * MS);
    let (format, workload) = rows(
        "{\"input_toks\": 5, \"output_toks\": 6, \"arrival_time_ns\": 7}\n\
         {\"input_toks\": 5, \"output_toks\": 6, \"arrival_time_ns\": 1000000007}\n",
    )
    .await;
    assert_eq!(format, "llmservingsim");
    assert_eq!(workload[1].arrival_ns, SECOND);
    let Some(path) = shared_file("traces/llmservingsim/requests.jsonl") else {
        return;
    };
    let run = read(&path).await.unwrap();
    assert_eq!(run.rows.len(), 300);
    assert_eq!(run.lengths()[0], (2_358, 531));
    assert_eq!(run.rows[0].elapsed_ns, Some(17_570_317_551));
    assert_eq!(run.arrivals_ns()[1] / MS, 265);
}

#[tokio::test]
async fn traces_in_seconds_are_read_when_they_are_named() {
    let scratch = Scratch::new();
    let line = r#"{"timestamp": 1.5, "input_length": 20, "output_length": 3, "hash_ids": [1, 2]}"#;
    let path = scratch.write(
        "trace",
        format!("{line}\n{}\n", line.replace("1.5", "2.75")),
    );
    let named = |name: &str| super::TraceOptions {
        path: path.clone(),
        format: Some(name.to_owned()),
        ..super::TraceOptions::default()
    };
    let vllm = super::read_with(&named("vllm-timed-trace")).await.unwrap();
    assert_eq!(vllm.arrivals_ns(), [0, 1_250 * MS]);
    assert_eq!(vllm.rows[0].block_size, Some(16));
    let guidellm = super::read_with(&named("guidellm")).await.unwrap();
    assert_eq!(guidellm.arrivals_ns(), [0, 1_250 * MS]);
    assert_eq!(guidellm.rows[0].block_size, Some(512));
}

#[tokio::test]
async fn spans_of_opentelemetry_are_requests_where_they_count_tokens() {
    let attribute = |key: &str, value: &str| format!(r#"{{"key": "{key}", "value": {value}}}"#);
    let span = |id: &str, start: i64, attributes: &[String], status: &str| {
        format!(
            r#"{{"traceId": "t1", "spanId": "{id}", "name": "chat", "startTimeUnixNano": "{start}", "endTimeUnixNano": "{}", "attributes": [{}], "status": {status}}}"#,
            start + 2_000_000_000,
            attributes.join(", ")
        )
    };
    let tokens = [
        attribute("gen_ai.request.model", r#"{"stringValue": "m"}"#),
        attribute("gen_ai.usage.input_tokens", r#"{"intValue": "120"}"#),
        attribute("gen_ai.usage.output_tokens", r#"{"intValue": 9}"#),
    ];
    let mut named = tokens.to_vec();
    named.push(attribute(
        "gen_ai.conversation.id",
        r#"{"stringValue": "talk"}"#,
    ));
    let http = [attribute("http.status_code", r#"{"intValue": "200"}"#)];
    let text = format!(
        r#"{{"resourceSpans": [{{"resource": {{}}, "scopeSpans": [{{"scope": {{}}, "spans": [{}, {}, {}, {}]}}]}}]}}"#,
        span("a", 1_000_000_000, &tokens, "{}"),
        span("b", 1_500_000_000, &http, "{}"),
        span("c", 4_000_000_000, &named, r#"{"code": 1}"#),
        span("d", 5_000_000_000, &tokens, r#"{"code": 2}"#),
    );
    let (format, rows) = rows(&text).await;
    assert_eq!(format, "otlp");
    assert_eq!(rows.len(), 2, "one counts no tokens, one failed");
    assert_eq!((rows[0].input_tokens, rows[0].output_tokens), (120, 9));
    assert_eq!(rows[0].session_id.as_deref(), Some("t1"));
    assert_eq!(rows[0].model.as_deref(), Some("m"));
    assert_eq!(rows[0].elapsed_ns, Some(2 * SECOND));
    assert_eq!(rows[1].session_id.as_deref(), Some("talk"));
    assert_eq!(rows[1].arrival_ns, 3 * SECOND);
}

#[tokio::test]
async fn several_files_are_read_one_behind_the_other() {
    let scratch = Scratch::new();
    let header = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
    scratch.write("1.csv", format!("{header}2026-01-01 00:00:00,1,2\n"));
    scratch.write("2.csv", "");
    scratch.write(
        "3.csv",
        "GeneratedTokens,TIMESTAMP,NumImages,ContextTokens\n4,2026-01-01 00:00:01,0,3\n",
    );
    let replay = read(scratch.folder.path()).await.unwrap();
    assert_eq!(replay.lengths(), [(1, 2), (3, 4)]);
    assert_eq!(replay.arrivals_ns(), [0, SECOND]);
    scratch.write("4.csv", format!("{header}2026-01-01 00:00:02,0,1\n"));
    let error = read(&scratch.folder.path().join("*.csv"))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("4.csv` line 2: "), "{error}");
    scratch.write("4.csv", "a,b\n1,2\n");
    let error = read(scratch.folder.path()).await.unwrap_err().to_string();
    assert!(
        error.ends_with(
            "4.csv` does not go together with the files before it: it lacks TIMESTAMP, \
             ContextTokens, GeneratedTokens that format `azure` requires"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn files_of_other_units_do_not_become_one_trace() {
    let mooncake =
        r#"{"timestamp": 27, "input_length": 700, "output_length": 3, "hash_ids": [1, 2]}"#;
    let bailian = r#"{"chat_id": 1, "parent_chat_id": -1, "timestamp": 27, "input_length": 700, "output_length": 3, "hash_ids": [1, 2]}"#;
    for (first, second) in [(mooncake, bailian), (bailian, mooncake)] {
        let scratch = Scratch::new();
        scratch.write("1.jsonl", first);
        scratch.write("2.jsonl", second);
        let error = read(scratch.folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("2.jsonl` does not go together"), "{error}");
    }
}

#[tokio::test]
async fn a_length_that_no_memory_holds_is_refused() {
    for tokens in ["1000000000", "1000000000000000"] {
        let line = format!(r#"{{"arrival_ns": 0, "input_tokens": {tokens}, "output_tokens": 5}}"#);
        assert_eq!(
            message(line).await,
            format!(
                "`trace` line 1: column `input_tokens` is `{tokens}`, so `input_tokens` is more \
                 than 16,777,216 tokens"
            )
        );
    }
}

#[tokio::test]
async fn a_short_recording_that_starts_again_is_told_of_and_can_be_sorted() {
    let line = |ms: i64| {
        format!(
            "{{\"timestamp\": {ms}, \"input_length\": 10, \"output_length\": 2, \"hash_ids\": [1]}}\n"
        )
    };
    // A minute of rows, twice.
    let recording: String = (0..100).map(|row| line(row * 570)).collect();
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", format!("{recording}{recording}"));
    let error = read(&path).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("line 101: the clock starts again"),
        "{error}"
    );
    let conversion = crate::trace::Conversion {
        path,
        is_sorted: true,
        output: scratch.folder.path().join("sorted.parquet"),
        ..crate::trace::Conversion::default()
    };
    let file = std::fs::File::create(&conversion.output).unwrap();
    crate::trace::convert(&conversion, file).await.unwrap();
    assert_eq!(
        read(&conversion.output).await.unwrap().span_ns(),
        99 * 570 * MS
    );
}

#[tokio::test]
async fn messages_of_canonical_lines_are_an_array_or_its_text() {
    let (_, rows) = rows(concat!(
        r#"{"arrival_ns": 0, "output_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}"#,
        "\n",
        r#"{"arrival_ns": 1, "output_tokens": 5, "messages": "[{\"role\": \"user\", \"content\": \"hi\"}]"}"#,
        "\n",
        r#"{"arrival_ns": 2, "input_tokens": 3, "output_tokens": 5, "prompt": ""}"#,
        "\n",
    ))
    .await;
    assert!(matches!(&rows[0].text, Some(RowText::Messages(text)) if text.contains("hi")));
    assert!(matches!(&rows[1].text, Some(RowText::Messages(text)) if text.contains("hi")));
    assert_eq!(rows[2].text, None, "nothing to send is no text");
}
