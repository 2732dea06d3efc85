//! What cannot be read, and what the user is told.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, Int64Builder, ListBuilder, RecordBatch};
use parquet::arrow::ArrowWriter;

use crate::trace::{Selection, TraceError, TraceOptions};

use super::{Scratch, gzip, message, read, read_with};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
const BURSTGPT: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";

#[tokio::test]
async fn a_missing_file_is_named() {
    let error = read(Path::new("no/such.csv")).await.unwrap_err();
    assert_eq!(error.to_string(), "trace `no/such.csv` does not exist");
    assert!(error.hint().is_some());
}

#[tokio::test]
async fn a_folder_is_no_trace() {
    let scratch = Scratch::new();
    let error = read(scratch.folder.path()).await.unwrap_err();
    assert!(matches!(error, TraceError::Folder { .. }), "{error}");
}

#[tokio::test]
async fn a_trace_without_rows_is_empty() {
    for bytes in [
        "",
        "\n\n",
        "\u{feff}\r\n",
        AZURE,
        "TIMESTAMP,ContextTokens,GeneratedTokens",
    ] {
        assert_eq!(
            message(bytes).await,
            "trace `trace` has no rows",
            "{bytes:?}"
        );
    }
    assert_eq!(message(gzip(b"")).await, "trace `trace` has no rows");
}

#[tokio::test]
async fn what_stands_for_the_data_is_told_from_it() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:07ce\nsize 56354493\n";
    assert_eq!(
        message(pointer).await,
        "trace `trace` is a Git LFS pointer, not the data"
    );
    for page in [
        "<!DOCTYPE html>\n<html></html>",
        "\n <html>",
        "<?xml version=\"1.0\"?><Error/>",
    ] {
        assert_eq!(message(page).await, "trace `trace` is a web page, not data");
    }
    assert_eq!(
        message("[{\"timestamp\": 0}]").await,
        "trace `trace` is one JSON array, not one object a line"
    );
    assert_eq!(
        message(b"a\0b").await,
        "trace `trace` is neither UTF-8 text nor Parquet"
    );
    assert_eq!(
        message(b"PK\x03\x04rest").await,
        "trace `trace` is a zip archive"
    );
    assert_eq!(
        message(gzip(&gzip(b"a"))).await,
        "trace `trace` is gzipped twice"
    );
    assert_eq!(
        message(gzip(b"PAR1")).await,
        "trace `trace` is a gzipped Parquet file"
    );
    assert!(message(b"PAR1 and no more").await.contains("as Parquet"));
}

#[tokio::test]
async fn unknown_columns_are_told_with_the_known_formats() {
    insta::assert_snapshot!(message("time,prompt,answer\n1,2,3\n").await, @r"
    trace `trace` has columns of no known format
    found: `time`, `prompt`, `answer`
    known formats: aibrix, apex, azure, bailian, burstgpt, canonical, copilot, evalscope, freeinference, freeinference-requests, guidellm, llmservingsim, llmservingsim-run, mlperf-agentic, mooncake, mooncake-sessions, otel-spans, otlp, ragpulse, tracelab, tracelab-replay, vidur, vllm-timed-trace, weka
    ");
    insta::assert_snapshot!(message("timestamp,input_length,hash_ids\n1,2,3\n").await, @r"
    trace `trace` has columns of no known format
    found: `timestamp`, `input_length`, `hash_ids`
    format bailian requires: chat_id, parent_chat_id, timestamp, input_length, output_length, hash_ids
    format mooncake requires: timestamp, input_length, output_length, hash_ids; and none of: chat_id, parent_chat_id, hash_ids.user_input, messages, text_input, payload
    ");
}

#[tokio::test]
async fn a_value_that_is_no_number_is_told_by_file_line_column_and_value() {
    assert_eq!(
        message(format!(
            "{BURSTGPT}1,GPT-4,10,20,30,API log\n2,GPT-4,abc,20,30,API log\n"
        ))
        .await,
        "`trace` line 3: column `Request tokens` is `abc`: cannot cast string 'abc' to value of \
         Int64 type"
    );
    let message = message(format!(
        "{AZURE}2023-11-16 18:17:03.97,1,1\nyesterday,1,1\n"
    ))
    .await;
    assert!(
        message.starts_with("`trace` line 3: column `TIMESTAMP` is `yesterday`: "),
        "{message}"
    );
}

#[tokio::test]
async fn a_bad_row_is_found_among_many() {
    let mut trace = AZURE.to_owned();
    for row in 0..20_000 {
        let tokens = if row == 17_000 { "1.5" } else { "15" };
        trace.push_str(&format!("2023-11-16 18:17:03,{tokens},1\r\n"));
        if row % 1000 == 0 {
            trace.push_str("\r\n");
        }
    }
    let message = message(trace).await;
    // One header, one blank line after each of the rows 0, 1000, …, 16000.
    let line = 1 + 17_000 + 17 + 1;
    assert!(
        message.starts_with(&format!(
            "`trace` line {line}: column `ContextTokens` is `1.5`: "
        )),
        "{message}"
    );
}

#[tokio::test]
async fn lengths_below_one_are_refused_by_line() {
    for (tokens, what) in [("0", "`0`"), ("-5", "`-5`")] {
        assert_eq!(
            message(format!("{AZURE}2023-11-16 18:17:03,{tokens},1\n")).await,
            format!(
                "`trace` line 2: column `ContextTokens` is {what}, so `input_tokens` is not a length \
                 of at least 1 token"
            )
        );
    }
    assert_eq!(
        message(format!("{AZURE}2023-11-16 18:17:03,,5\n")).await,
        "`trace` line 2: column `ContextTokens` is empty or missing, so `input_tokens` is not a \
         length of at least 1 token"
    );
}

#[tokio::test]
async fn a_zero_prompt_of_an_answered_burstgpt_request_is_refused() {
    assert!(
        message(format!("{BURSTGPT}1,GPT-4,0,20,20,API log\n"))
            .await
            .starts_with("`trace` line 2: column `Request tokens` is `0`")
    );
}

#[tokio::test]
async fn a_row_with_too_few_or_too_many_fields_is_told_by_line() {
    for row in ["2023-11-16 18:17:03,5", "2023-11-16 18:17:03,5,6,7"] {
        let message = message(format!("{AZURE}2023-11-16 18:17:03,5,6\n\n{row}\n")).await;
        assert!(
            message.starts_with("`trace` line 4: has the wrong number of fields: expected 3 got"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_quote_that_is_never_closed_is_told_by_line() {
    let trace = format!("{AZURE}2023-11-16 18:17:03,5,6\n\"2023-11-16 18:17:04,5,6\n2023\n");
    assert_eq!(
        message(trace).await,
        "`trace` line 3: a quote is never closed, or the line has no end"
    );
}

#[tokio::test]
async fn a_column_name_that_comes_twice_is_refused() {
    assert_eq!(
        message("TIMESTAMP,ContextTokens,ContextTokens\n").await,
        "`trace` line 1: two columns are called `ContextTokens`"
    );
}

#[tokio::test]
async fn a_file_of_very_many_columns_is_refused_before_they_are_told_apart() {
    let names = |most: usize| (0..most).map(|name| format!("c{name}"));
    let header: Vec<String> = names(100_000).collect();
    let text = message(format!("{}\n1\n", header.join(","))).await;
    assert!(
        text.ends_with("it has 100000 columns, and at most 2000 are read"),
        "{text}"
    );
    let line = |most: usize| {
        let fields: Vec<String> = names(most).map(|name| format!("\"{name}\":1")).collect();
        fields.join(",")
    };
    let text = message(format!("{{{}}}\n", line(200_000))).await;
    assert!(
        text.ends_with("it has 200000 fields, and at most 2000 are read"),
        "{text}"
    );
    // Inside others, and in one item of a list; many items are not many fields.
    let text = message(format!("{{\"a\":{{\"b\":[{{}},{{{}}}]}}}}\n", line(2_000))).await;
    assert!(text.contains("it has 2002 fields"), "{text}");
    let items = vec![r#"{"role":"user"}"#; 5_000].join(",");
    let text = message(format!("{{\"messages\":[{items}]}}\n")).await;
    assert!(!text.contains("fields, and at most"), "{text}");
}

#[tokio::test]
async fn bytes_that_are_not_utf_8_are_told_by_line() {
    let mut trace = format!("{BURSTGPT}1,GPT-4,1,2,3,API log\n").into_bytes();
    trace.extend_from_slice(b"1,\xff\xfe,1,2,3,API log\n");
    assert_eq!(message(trace).await, "`trace` line 3: is not UTF-8");
}

fn mooncake(lines: &[&str]) -> String {
    let good = r#"{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}"#;
    let mut trace = format!("{good}\n");
    lines.iter().for_each(|line| {
        trace.push_str(line);
        trace.push('\n');
    });
    trace
}

#[tokio::test]
async fn a_broken_json_line_is_told_by_line() {
    assert_eq!(
        message(mooncake(&["", r#"{"timestamp": 1, "input_length": "#])).await,
        "`trace` line 3: is not JSON: EOF while parsing a value at column 32"
    );
    assert_eq!(
        message(mooncake(&["[1]"])).await,
        "`trace` line 2: is not a JSON object"
    );
    let two = r#"{"timestamp": 1} {"timestamp": 2}"#;
    assert_eq!(
        message(mooncake(&[two])).await,
        "`trace` line 2: is not JSON: trailing characters at column 18"
    );
}

#[tokio::test]
async fn a_broken_json_line_far_down_is_told_by_line() {
    let good = r#"{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [1]}"#;
    for (bad, expected) in [
        (r#"{"timestamp": 0, "input_length"#, "is not JSON: EOF"),
        (
            r#"{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": 7}"#,
            "does not look like the lines before it: ",
        ),
        (
            r#"{"timestamp": 0, "input_length": 5, "output_length": 5, "hash_ids": [null]}"#,
            "column `hash_ids` is `[]`, so `prefix_blocks` holds an id that is empty",
        ),
        (
            r#"{"timestamp": 0, "output_length": 5, "hash_ids": [1]}"#,
            "column `input_length` is empty or missing, so `input_tokens`",
        ),
        (
            r#"{"timestamp": "soon", "input_length": 5, "output_length": 5, "hash_ids": [1]}"#,
            "column `timestamp` is `soon`: ",
        ),
    ] {
        let mut lines = vec![good; 5000];
        lines[4321] = bad;
        let message = message(mooncake(&lines)).await;
        assert!(
            message.starts_with(&format!("`trace` line 4323: {expected}")),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_torn_gzip_file_is_told() {
    let mut trace = AZURE.to_owned();
    for row in 0..60_000 {
        trace.push_str(&format!("2023-11-16 18:17:03.{row:05},{},1\n", row + 1));
    }
    let mut packed = gzip(trace.as_bytes());
    packed.truncate(packed.len() / 2);
    let message = message(packed).await;
    assert!(
        message.starts_with("cannot read trace `trace` past line "),
        "{message}"
    );
}

#[tokio::test]
async fn an_unknown_format_or_one_that_does_not_fit_is_refused() {
    let scratch = Scratch::new();
    let path = scratch.write("a.csv", format!("{AZURE}2023-11-16 18:17:03,5,6\n"));
    let options = |format: &str| TraceOptions {
        path: path.clone(),
        format: Some(format.to_owned()),
        ..TraceOptions::default()
    };
    let error = read_with(&options("azur")).await.unwrap_err();
    assert!(matches!(error, TraceError::UnknownFormat { .. }), "{error}");
    let error = read_with(&options("mooncake"))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("lacks `timestamp`, `input_length`"),
        "{error}"
    );
    assert!(error.contains("found: `TIMESTAMP`"), "{error}");
}

#[tokio::test]
async fn senseless_selections_are_refused() {
    let error = super::read_selected(
        Path::new("x"),
        Selection {
            speed: -1.0,
            ..Selection::default()
        },
    )
    .await
    .unwrap_err();
    assert_eq!(error.to_string(), "`--speed -1` is not above 0");
}

#[tokio::test]
async fn a_file_without_a_header_is_told_of() {
    // As ServeGen has it.
    assert_eq!(
        message("600,0,0,,0,0\r\n1200,0.085,6.69,Gamma,0.02,73.0\r\n").await,
        "trace `trace` has no header: its first line has numbers alone"
    );
}

#[tokio::test]
async fn a_message_quotes_a_line_of_a_value_however_long_it_is() {
    for value in ["x".repeat(1 << 20), "\u{1b}[2J".repeat(1 << 10)] {
        let message = message(format!("{AZURE}2023-11-16 18:17:03,{value},6\n")).await;
        assert!(
            message.starts_with("`trace` line 2: column `ContextTokens` is `"),
            "{message:.200}"
        );
        assert!(message.chars().count() < 900, "{}", message.len());
        assert!(!message.contains('\u{1b}'), "{message:?}");
    }
}

/// A Parquet trace of two rows, the second of which has that many blocks.
fn parquet(blocks: usize) -> Vec<u8> {
    let numbers = |values: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let mut ids = ListBuilder::new(Int64Builder::new());
    ids.append_value([Some(7)]);
    ids.append_value(std::iter::repeat_n(Some(0), blocks));
    let batch = RecordBatch::try_from_iter([
        ("timestamp", numbers([0, 1])),
        ("input_length", numbers([512, 512])),
        ("output_length", numbers([8, 8])),
        ("hash_ids", Arc::new(ids.finish()) as ArrayRef),
    ])
    .unwrap();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[tokio::test]
async fn a_list_is_not_believed_before_its_length_is() {
    let far_too_long = message(parquet(3 << 20)).await;
    assert!(
        far_too_long.contains("its column `hash_ids.list.item` are too long"),
        "{far_too_long}"
    );
    let too_long = message(parquet(100_000)).await;
    assert!(
        too_long.starts_with("`trace` row 2: column `hash_ids` is `[0, 0, "),
        "{too_long:.200}"
    );
    assert!(
        too_long.contains("more blocks of `block_size` tokens"),
        "{too_long:.200}"
    );
    assert!(too_long.chars().count() < 900, "{}", too_long.len());
}
