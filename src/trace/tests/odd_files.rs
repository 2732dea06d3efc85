//! Files as people and tools really write them: fields of any type, floats, documents, recordings.

use std::fmt::Write as _;

use super::{Scratch, TraceOptions, message, read, read_with};
use crate::trace::{Conversion, RowText, TraceRow, convert};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

async fn rows(text: &str) -> (String, Vec<TraceRow>) {
    let scratch = Scratch::new();
    let replay = read(&scratch.write("trace", text)).await.unwrap();
    (replay.format.name, replay.rows)
}

#[tokio::test]
async fn rows_without_output_are_failed_rows_in_every_format() {
    let cases = [
        (
            "azure",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,5,6\n2026-01-01 00:00:01,5,0\n2026-01-01 00:00:02,5,\n",
        ),
        (
            "aibrix",
            "{\"timestamp\": 0, \"requests\": [{\"Prompt Length\": 12, \"Output Length\": 8, \"prompt\": \"a\"}]}\n{\"timestamp\": 9, \"requests\": [{\"Prompt Length\": 12, \"Output Length\": 0, \"prompt\": \"b\"}, {\"Prompt Length\": 12, \"Output Length\": null, \"prompt\": \"c\"}]}\n",
        ),
        (
            "mooncake",
            "{\"timestamp\": 0, \"input_length\": 5, \"output_length\": 5, \"hash_ids\": [1]}\n{\"timestamp\": 1, \"input_length\": 5, \"output_length\": 0, \"hash_ids\": [1]}\n{\"timestamp\": 2, \"input_length\": 5, \"hash_ids\": [1]}\n",
        ),
        (
            "vidur",
            "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,3,4\n0.6,3,0\n0.7,3,-1\n",
        ),
        (
            "canonical",
            "{\"arrival_ns\": 0, \"input_tokens\": 5, \"output_tokens\": 5}\n{\"arrival_ns\": 1, \"input_tokens\": 5, \"output_tokens\": 0, \"failed\": false}\n{\"arrival_ns\": 2, \"output_tokens\": null}\n",
        ),
    ];
    for (format, text) in cases {
        let scratch = Scratch::new();
        let replay = read(&scratch.write("trace", text)).await.unwrap();
        assert_eq!(replay.format.name, format);
        assert_eq!(
            (replay.rows.len(), replay.counts.failed),
            (1, 2),
            "{format}"
        );
    }
}

#[tokio::test]
async fn a_bad_length_inside_a_list_is_told_in_a_whole_sentence() {
    let line = "{\"timestamp\": 0, \"requests\": [{\"Prompt Length\": 0, \"Output Length\": 8, \"prompt\": \"a\"}]}\n";
    assert_eq!(
        message(line.replace("\"Prompt Length\": 0", "\"Prompt Length\": -1")).await,
        "`trace` line 1: `input_tokens` is not a length of at least 1 token"
    );
}

#[tokio::test]
async fn a_field_that_is_not_read_may_have_any_type() {
    let line = |at: i64, meta: &str| {
        format!(
            "{{\"timestamp\": {at}, \"input_length\": 10, \"output_length\": 5, \"hash_ids\": [1], \"meta\": {meta}}}\n"
        )
    };
    let mixed = [
        "{\"a\": 1}",
        "\"none\"",
        "[1]",
        "7",
        "null",
        "[{\"b\": []}, \"c\"]",
    ];
    let mut text = String::new();
    for (at, meta) in (0..).zip(mixed) {
        text += &line(at, meta);
    }
    // Also where the first lines promise something else.
    text.insert_str(0, &line(0, "1").repeat(1_200));
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", &text);
    assert_eq!(read(&path).await.unwrap().rows.len(), 1_206);
    let conversion = Conversion {
        path,
        output: scratch.folder.path().join("out.parquet"),
        ..Conversion::default()
    };
    let file = std::fs::File::create(&conversion.output).unwrap();
    assert_eq!(convert(&conversion, file).await.unwrap().rows, 1_206);
    assert_eq!(read(&conversion.output).await.unwrap().rows.len(), 1_206);
}

#[tokio::test]
async fn a_field_inside_an_object_that_is_not_read_may_have_any_type() {
    let call = |note: &str| {
        format!(
            "{{\"t\": 0.0, \"type\": \"n\", \"model\": \"m\", \"in\": 70, \"out\": 5, \"hash_ids\": [1], \"note\": {note}}}"
        )
    };
    let (format, rows) = rows(&format!(
        "{{\"id\": \"c\", \"block_size\": 64, \"requests\": [{}, {}, {}]}}\n",
        call("1"),
        call("{\"a\": 2}"),
        call("[\"b\"]")
    ))
    .await;
    assert_eq!((format.as_str(), rows.len()), ("weka", 3));
}

#[tokio::test]
async fn an_optional_column_that_comes_late_is_read() {
    let mut text = String::new();
    for row in 0..1_100 {
        writeln!(text, "{{\"timestamp\": {row}, \"input_length\": 10, \"output_length\": 5, \"hash_ids\": [1]}}").unwrap();
    }
    text += "{\"timestamp\": 2000, \"input_length\": 10, \"output_length\": 5, \"hash_ids\": [1], \"session_id\": \"late\"}\n";
    let (_, rows) = rows(&text).await;
    assert_eq!(rows.last().unwrap().session_id.as_deref(), Some("late"));
}

#[tokio::test]
async fn whole_numbers_may_be_written_as_floats_and_fractions_may_not() {
    let head = "\u{feff}Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\r\n";
    let text = format!(
        "{head}5,\"ChatGPT\",472,18,490,Conversation log\r\n45.0,\"Chat,GPT\",1087.0,230.,1317,API log\r\n\r\n118,\"GPT-\"\"4\"\"\",417,276,693,Conversation log\r\n\r\n"
    );
    let (_, rows) = rows(&text).await;
    let lengths: Vec<_> = rows
        .iter()
        .map(|row| (row.input_tokens, row.output_tokens))
        .collect();
    assert_eq!(lengths, [(472, 18), (1087, 230), (417, 276)]);
    assert_eq!(rows[2].model.as_deref(), Some("GPT-\"4\""));
    let fraction = message(format!("{head}5,m,10.5,18,490,API log\r\n")).await;
    assert!(
        fraction.starts_with("`trace` line 2: column `Request tokens` is `10.5`: "),
        "{fraction}"
    );
}

#[tokio::test]
async fn json_that_is_laid_out_is_read_document_by_document() {
    let (format, rows) = rows(
        "{\n  \"timestamp\": 1,\n  \"input_length\": 5, \"output_length\": 6,\n  \"hash_ids\": [\n    1\n  ],\n  \"note\": \"a } and a \\\" in text\"\n}\n{\n  \"timestamp\": 3, \"input_length\": 7,\n  \"output_length\": 8, \"hash_ids\": []\n}\n",
    )
    .await;
    assert_eq!((format.as_str(), rows.len()), ("mooncake", 2));
    assert_eq!((rows[1].input_tokens, rows[1].arrival_ns), (7, 2 * MS));
    let bad = "{\n \"timestamp\": 1,\n \"input_length\": 5, \"output_length\": 6, \"hash_ids\": []\n}\n{\n \"timestamp\": \"soon\", \"input_length\": 5, \"output_length\": 6, \"hash_ids\": []\n}\n";
    let told = message(bad).await;
    assert!(
        told.starts_with("`trace` line 5: column `timestamp` is `soon`"),
        "{told}"
    );
}

/// A recording of 79 rows in order.
fn recording(from_ms: i64) -> String {
    let mut text = String::new();
    for row in 0..79 {
        writeln!(text, "{{\"timestamp\": {}, \"input_length\": 20, \"output_length\": 5, \"hash_ids\": [{row}]}}", from_ms + row * 200).unwrap();
    }
    text
}

#[tokio::test]
async fn recordings_that_each_start_at_zero_are_never_laid_over_each_other() {
    let scratch = Scratch::new();
    scratch.write("a.jsonl", recording(0));
    scratch.write("b.jsonl", recording(0));
    let path = scratch.folder.path().to_owned();
    let error = read(&path).await.unwrap_err();
    assert!(
        error.to_string().ends_with(
            "b.jsonl` line 1: the clock starts again: this file is a recording of its own"
        ),
        "{error}"
    );
    assert!(error.hint().unwrap().contains("--restarts continue"));
    let sorted = Conversion {
        path: path.clone(),
        is_sorted: true,
        output: scratch.folder.path().join("out.parquet"),
        ..Conversion::default()
    };
    assert!(convert(&sorted, Vec::new()).await.is_err());
    let behind = TraceOptions {
        path,
        continues_clock: true,
        ..TraceOptions::default()
    };
    let replay = read_with(&behind).await.unwrap();
    assert_eq!(replay.rows.len(), 158);
    assert_eq!(replay.span_ns(), 2 * 78 * 200 * MS);
}

#[tokio::test]
async fn recordings_in_canonical_columns_are_not_laid_over_each_other_either() {
    let scratch = Scratch::new();
    let rows = |start_ns: i64| {
        let times = [0, 1, 2].map(|second| start_ns + second * 1_000 * MS);
        let rows = times.map(|at_ns| format!("{at_ns},10,5\n")).concat();
        format!("arrival_ns,input_tokens,output_tokens\n{rows}")
    };
    scratch.write("a.csv", rows(0));
    scratch.write("b.csv", rows(0));
    let path = scratch.folder.path().to_owned();
    let error = read(&path).await.unwrap_err();
    let said = error.to_string();
    assert!(said.contains("a recording of its own"), "{said}");
    let behind = TraceOptions {
        path,
        continues_clock: true,
        ..TraceOptions::default()
    };
    let replay = read_with(&behind).await.unwrap();
    assert_eq!(replay.span_ns(), 4_000 * MS);
    // A wall clock says where a file stands, whatever lies before it.
    let dated = Scratch::new();
    dated.write("a.csv", rows(1_700_000_000_000_000_000));
    dated.write("b.csv", rows(1_700_000_000_500_000_000));
    assert_eq!(read(dated.folder.path()).await.unwrap().rows.len(), 6);
}

#[tokio::test]
async fn a_trace_of_several_files_that_goes_on_is_one() {
    let scratch = Scratch::new();
    scratch.write("a.jsonl", recording(0));
    scratch.write("b.jsonl", recording(15_000));
    let replay = read(scratch.folder.path()).await.unwrap();
    assert_eq!(replay.rows.len(), 158);
}

#[tokio::test]
async fn spans_with_dates_and_one_trace_a_document_are_requests() {
    let span = |id: &str, second: u32, more: &str| {
        format!(
            "{{\n \"trace_id\": \"t\", \"span_id\": \"{id}\", \"start_time\": \"2026-02-25T10:00:0{second}.250000\", \"end_time\": \"2026-02-25T10:00:0{second}.750000\",\n \"attributes\": {{\"gen_ai.operation.name\": \"chat\", \"gen_ai.request.model\": \"m\"{more}}}, \"status\": {{\"code\": 1, \"message\": \"\"}}, \"events\": [{{\"x\": [1, \"y\"]}}]}}"
        )
    };
    let messages = ", \"gen_ai.input.messages\": \"[{\\\"role\\\": \\\"user\\\", \\\"content\\\": \\\"hi\\\"}]\", \"gen_ai.request.max_tokens\": 500, \"gen_ai.request.temperature\": 0.7";
    let counted = ", \"gen_ai.usage.input_tokens\": 120, \"gen_ai.usage.output_tokens\": 9, \"exgentic.session.id\": \"s\"";
    let text = format!(
        "{{\n\"trace_id\": \"t\",\n\"spans\": [{}, {}, {}]}}\n",
        span("a", 0, messages),
        span("b", 3, counted),
        span("c", 4, ", \"tool.name\": \"bash\""),
    );
    let (format, rows) = rows(&text).await;
    assert_eq!((format.as_str(), rows.len()), ("otel-spans", 2));
    assert_eq!(rows[0].output_tokens, 500);
    assert!(matches!(&rows[0].text, Some(RowText::Messages(text)) if text.contains("hi")));
    assert_eq!(rows[0].elapsed_ns, Some(500 * MS));
    assert_eq!((rows[1].input_tokens, rows[1].output_tokens), (120, 9));
    assert_eq!(rows[1].session_id.as_deref(), Some("s"));
    assert_eq!(rows[1].arrival_ns, 3 * SECOND);
}

#[tokio::test]
async fn recorded_bodies_of_evalscope_are_sent_with_all_their_fields() {
    let (format, rows) = rows(concat!(
        r#"{"timestamp": "2026-01-05T09:00:00Z", "request_id": "a", "completion_tokens": 7, "body": {"model": "m", "messages": [{"role": "user", "content": "hi"}], "temperature": 0.9, "max_tokens": 100, "stream": true, "tools": [{"type": "function"}]}}"#,
        "\n",
        r#"{"timestamp": "2026-01-05T09:00:01.5Z", "body": "{\"model\": \"n\", \"prompt\": \"ho\", \"max_tokens\": 100}", "headers": {"X-Y": "z"}}"#,
        "\n",
        r#"{"timestamp": 1767603602.25, "body": {"model": "n", "messages": [{"role": "user", "content": "he"}]}}"#,
        "\n",
    ))
    .await;
    assert_eq!((format.as_str(), rows.len()), ("evalscope", 3));
    let arrivals: Vec<i64> = rows.iter().map(|row| row.arrival_ns / MS).collect();
    assert_eq!(arrivals, [0, 1_500, 2_250]);
    let output: Vec<u32> = rows.iter().map(|row| row.output_tokens).collect();
    assert_eq!(output, [7, 100, 0], "the last one has no limit");
    assert_eq!(
        rows[0].body.as_deref(),
        Some(r#"{"temperature":0.9,"tools":[{"type":"function"}]}"#)
    );
    assert_eq!(rows[1].text, Some(RowText::Prompt("ho".to_owned())));
    assert_eq!(rows[1].body, None);
    assert_eq!(rows[1].model.as_deref(), Some("n"));
}

#[tokio::test]
async fn workloads_of_tracelabs_runner_are_rounds_with_waits_and_prefixes() {
    let (format, sessions) = rows(
        "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n\
         0,0,0,0,512,64,100\n0,0,1,576,128,64,100\n0,0,2,768,128,64,0\n\
         1,200,0,0,400,48,80\n1,200,1,448,100,48,0\n",
    )
    .await;
    assert_eq!(format, "tracelab-replay");
    let facts: Vec<_> = sessions
        .iter()
        .map(|row| {
            (
                row.arrival_ns / MS,
                row.input_tokens,
                row.think_ns.map(|ns| ns / MS),
            )
        })
        .collect();
    assert_eq!(
        facts,
        [
            (0, 512, None),
            (100, 704, Some(100)),
            (200, 896, Some(100)),
            (200, 400, None),
            (280, 548, Some(80))
        ]
    );
    assert_eq!(
        sessions[1].prefix_blocks[..32],
        sessions[0].prefix_blocks[..]
    );
    let (format, one) = rows(
        "id,input_len,output_len,arrival_time,round_idx,tool_wait_after_ms,prefix_len\n7,5875,124,0,0,182,12461\n",
    )
    .await;
    assert_eq!(
        (format.as_str(), one[0].input_tokens),
        ("tracelab-replay", 18_336)
    );
}

#[tokio::test]
async fn derived_rounds_of_tracelab_are_read_whatever_tools_were_given() {
    let line = |at: u32, input: &str| {
        format!(
            r#"{{"provider":"claude","session_id":"s","round_index":0,"model":"m","input_tokens_total":64,"prefix_tokens":16,"output_tokens":9,"reasoning_output_tokens":null,"timing_events":[{{"event_type":"user_message","timestamp":"2026-06-01T05:40:{at}.151Z"}}],"tools":[{{"tool_index":0,"input":{input}}}],"home":"/home/user"}}"#
        )
    };
    let text = format!(
        "{}\n{}\n",
        line(20, r#"{"command":"ls"}"#),
        line(21, r#""raw text""#)
    );
    let (format, rows) = rows(&text).await;
    assert_eq!((format.as_str(), rows.len()), ("tracelab", 2));
}

#[tokio::test]
async fn requests_of_freeinference_share_their_blocks() {
    let call = |at: i64, prompt: u32, blocks: &str| {
        format!(
            r#"{{"step": 0, "step_trigger": "user", "start_ms": {at}, "end_ms": {}, "model": "glm", "provider_tokens": {{"prompt": {prompt}, "completion": 23, "cached": 0}}, "mutation": null, "block_ids": [{blocks}], "tool_calls": [{{"arguments": [["command", "x"], ["timeout", 1]], "subagent": null}}]}}"#,
            at + 500
        )
    };
    let (format, nested) = rows(&format!(
        "{{\"week\": \"w\", \"session_id\": \"s\", \"requests\": [{}, {}]}}\n",
        call(1_778_977_459_236, 40, "1, 2"),
        call(1_778_977_460_236, 40, "1, 2, 3, 4"),
    ))
    .await;
    assert_eq!((format.as_str(), nested.len()), ("freeinference", 2));
    assert_eq!(nested[1].arrival_ns, SECOND);
    assert_eq!(nested[0].input_tokens, 40);
    assert_eq!(
        nested[1].input_tokens, 64,
        "its blocks say more than the provider"
    );
    assert_eq!(nested[1].think_ns, Some(500 * MS));
    let (format, table) = rows(
        "{\"session_id\": \"s\", \"step\": 0, \"start_ms\": 1000, \"end_ms\": 1500, \"prompt_tokens\": 40, \"completion_tokens\": 5, \"block_ids\": [1, 2], \"model\": \"m\"}\n",
    )
    .await;
    assert_eq!(
        (format.as_str(), table.len()),
        ("freeinference-requests", 1)
    );
}

#[tokio::test]
async fn requests_of_apex_count_in_nanoseconds() {
    let (format, rows) = rows(concat!(
        r#"{"ContextTokens": 304, "GeneratedTokens": 822, "SynthesizedBody": "write", "StartTimeOffset": 3772092432, "RequestID": "a", "TotalTokens": 1126}"#,
        "\n",
        r#"{"ContextTokens": 7, "GeneratedTokens": 7, "SynthesizedBody": "{'content': 'x'}", "RequestID": "b", "TotalTokens": 14, "StartTimeOffset": 4572273200}"#,
        "\n",
    ))
    .await;
    assert_eq!((format.as_str(), rows.len()), ("apex", 2));
    assert_eq!(rows[1].arrival_ns, 800_180_768);
    assert_eq!(rows[0].text, Some(RowText::Prompt("write".to_owned())));
}

#[tokio::test]
async fn what_stands_for_no_number_is_none_and_spaces_do_not_matter() {
    let head = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";
    let scratch = Scratch::new();
    let path = scratch.write(
        "t.csv",
        format!("{head}1,m,10,20,30,API log\n2,m,10,NaN,30,API log\n3,m, 12 ,null,30,API log\n4.5e0,m, 13,7.0 ,30,API log\n"),
    );
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.lengths(), [(10, 20), (13, 7)]);
    assert_eq!(replay.counts.failed, 2);
    assert_eq!(replay.arrivals_ns(), [0, 3_500 * MS]);
}

#[tokio::test]
async fn numbers_of_json_lines_may_be_floats_texts_and_exponents() {
    let (_, rows) = rows(
        "{\"timestamp\": 1.5e3, \"input_length\": 10.0, \"output_length\": \"5\", \"hash_ids\": [1.0, 2]}\n\
         {\"timestamp\": \"1600\", \"input_length\": \"11\", \"output_length\": 5.0, \"hash_ids\": null}\n",
    )
    .await;
    assert_eq!(rows[0].prefix_blocks, [1, 2]);
    assert_eq!((rows[0].input_tokens, rows[1].input_tokens), (10, 11));
    assert_eq!(rows[1].arrival_ns, 100 * MS);
}

#[tokio::test]
async fn a_time_may_have_an_exponent_as_languages_write_small_floats() {
    let (_, rows) = rows(
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0.0,3,4\n1e-05,3,4\n1.2345e-03,3,4\n2E0,3,4\n",
    )
    .await;
    let arrivals: Vec<i64> = rows.iter().map(|row| row.arrival_ns).collect();
    assert_eq!(arrivals, [0, 10_000, 1_234_500, 2 * SECOND]);
}

#[tokio::test]
async fn fields_may_be_separated_by_semicolons_or_tabs() {
    for separator in [";", "\t"] {
        let text = "TIMESTAMP,ContextTokens,GeneratedTokens\n2026-01-01 00:00:00,5,6\n";
        let (format, rows) = rows(&text.replace(',', separator)).await;
        assert_eq!(format, "azure");
        assert_eq!((rows[0].input_tokens, rows[0].output_tokens), (5, 6));
    }
}

#[tokio::test]
async fn turns_of_interleaved_sessions_keep_their_own_history() {
    let line = |session: &str, input: u32, output: u32, block: &str, time: &str| {
        format!(
            "{{\"session_id\":{session},\"input_length\":{input},\"output_length\":{output},\"hash_ids\":[{block}],{time}}}\n"
        )
    };
    let text = line("1", 600, 10, "7,1", "\"timestamp\":0")
        + &line("2", 600, 10, "7,2", "\"timestamp\":1")
        + &line("\"1\"", 50, 0, "3", "\"delay\":2")
        + &line("2", 40, 5, "4", "\"delay\":2")
        + &line("1", 30, 5, "5", "\"delay\":2");
    let (_, rows) = rows(&text).await;
    let of = |session: &str| -> Vec<u32> {
        let rows = rows.iter();
        rows.filter(|row| row.session_id.as_deref() == Some(session))
            .map(|row| row.input_tokens)
            .collect()
    };
    assert_eq!(of("1"), [600, 640], "what failed was not said");
    assert_eq!(of("2"), [600, 650]);
}

#[tokio::test]
async fn messages_of_mlperf_are_conversations_with_the_replies_of_the_trace() {
    let (format, rows) = rows(concat!(
        r#"{"conversation_id": "c", "turn": 1, "role": "user", "system": "be", "content": "fix, \"this\"", "tools": [{"type": "function"}], "delay_seconds": 0.5}"#,
        "\n",
        r#"{"conversation_id": "c", "turn": 2, "role": "assistant", "reasoning_content": "hm", "tool_calls": [{"id": "b:0", "type": "function", "function": {"name": "bash", "arguments": "{}"}}]}"#,
        "\n",
        r#"{"conversation_id": "c", "turn": 3, "role": "tool", "tool_results": [{"tool_call_id": "b:0", "content": "ok"}, {"tool_call_id": "b:1", "content": "no"}], "delay_seconds": 1.25}"#,
        "\n",
        r#"{"conversation_id": "d", "turn": 1, "role": "user", "content": "hi", "max_new_tokens": 40}"#,
        "\n",
    ))
    .await;
    assert_eq!((format.as_str(), rows.len()), ("mlperf-agentic", 3));
    let (first, other, second) = (&rows[1], &rows[0], &rows[2]);
    assert_eq!((other.arrival_ns, other.output_tokens), (0, 40));
    assert_eq!(first.arrival_ns, 500 * MS);
    assert_eq!(
        (second.arrival_ns, second.think_ns),
        (1_750 * MS, Some(1_250 * MS))
    );
    assert_eq!((first.turn, second.turn), (Some(0), Some(1)));
    let Some(RowText::Turns(said)) = &second.text else {
        panic!("{:?}", second.text);
    };
    let mut roles = Vec::new();
    for part in said {
        let crate::trace::Said::Messages(json) = part else {
            panic!("no reply is made up: {said:?}");
        };
        let messages: Vec<serde_json::Value> = serde_json::from_str(json).unwrap();
        roles.extend(
            messages
                .iter()
                .map(|message| message["role"].as_str().unwrap().to_owned()),
        );
    }
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool"]);
    assert!(
        second.body.as_deref().unwrap().contains("function"),
        "its tools hold on"
    );
}
