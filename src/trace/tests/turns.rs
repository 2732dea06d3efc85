//! Sessions whose turns hold only what is new.

use super::{Scratch, TraceOptions, read, read_with};
use crate::plan::SessionPrompts;
use crate::trace::{Conversion, RowText, Said, TraceRow, convert};

/// Three turns, each with what is new in it.
const DELTA: &str = r#"{"session_id":"s1","input_length":5000,"output_length":400,"hash_ids":[0,1,2,3,4,5,6,7,8,9],"timestamp":0.0}
{"session_id":"s1","input_length":300,"output_length":200,"hash_ids":[10],"delay":200.5}
{"session_id":"s1","input_length":700,"output_length":100,"hash_ids":[11,12],"delay":100.0}
"#;

async fn asked(text: &str, session_prompts: SessionPrompts) -> Vec<TraceRow> {
    let scratch = Scratch::new();
    let options = TraceOptions {
        path: scratch.write("trace", text),
        session_prompts,
        ..TraceOptions::default()
    };
    read_with(&options).await.unwrap().rows
}

fn inputs(rows: &[TraceRow]) -> Vec<u32> {
    rows.iter().map(|row| row.input_tokens).collect()
}

#[tokio::test]
async fn turns_that_hold_what_is_new_are_sent_with_their_history() {
    let rows = asked(DELTA, SessionPrompts::Auto).await;
    assert_eq!(inputs(&rows), [5_000, 5_700, 6_600]);
    let shared: Vec<_> = rows.iter().map(|row| row.prefix_tokens).collect();
    assert_eq!(shared, [Some(0), Some(5_000), Some(5_700)]);
    for row in &rows {
        assert_eq!(row.block_tokens.iter().sum::<u32>(), row.input_tokens);
        assert_eq!(row.block_tokens.len(), row.prefix_blocks.len());
    }
    assert_eq!(rows[1].prefix_blocks[..10], rows[0].prefix_blocks[..]);
    assert_eq!(rows[2].prefix_blocks[..12], rows[1].prefix_blocks[..]);
}

#[tokio::test]
async fn what_prompts_hold_can_be_said_by_hand() {
    let whole = asked(DELTA, SessionPrompts::Whole).await;
    assert_eq!(inputs(&whole), [5_000, 300, 700]);
    let without_blocks = r#"{"session_id": "a", "timestamp": 0, "input_length": 300, "output_length": 40}
{"session_id": "a", "delay": 2500, "input_length": 150, "output_length": 20}
{"session_id": "b", "timestamp": 9000, "input_length": 150, "output_length": 20}
"#;
    let new = asked(without_blocks, SessionPrompts::New).await;
    assert_eq!(inputs(&new), [300, 490, 150]);
    assert_eq!(new[1].prefix_tokens, Some(300));
    assert_eq!(
        inputs(&asked(without_blocks, SessionPrompts::Auto).await),
        [300, 150, 150]
    );
}

#[tokio::test]
async fn prompts_that_go_on_from_those_before_them_are_whole() {
    let text = r#"{"session_id":"a","input_length":1000,"output_length":40,"hash_ids":[0,1],"timestamp":0}
{"session_id":"b","input_length":300,"output_length":40,"hash_ids":[7],"timestamp":1}
{"session_id":"a","input_length":1500,"output_length":20,"hash_ids":[0,2,3],"timestamp":2}
{"session_id":"b","input_length":800,"output_length":20,"hash_ids":[8,9],"timestamp":3}
"#;
    assert_eq!(
        inputs(&asked(text, SessionPrompts::Auto).await),
        [1_000, 300, 1_500, 800]
    );
}

#[tokio::test]
async fn a_converted_trace_of_new_turns_is_the_same_replay() {
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", DELTA);
    let expected = read(&path).await.unwrap();
    let conversion = Conversion {
        path,
        output: scratch.folder.path().join("out.parquet"),
        ..Conversion::default()
    };
    let file = std::fs::File::create(&conversion.output).unwrap();
    let converted = convert(&conversion, file).await.unwrap();
    assert_eq!(converted.new_only, 3);
    let again = read(&conversion.output).await.unwrap();
    assert_eq!(again.format.name, "canonical");
    assert_eq!(inputs(&again.rows), [5_000, 5_700, 6_600]);
    assert_eq!(again.facts(), expected.facts());
}

#[tokio::test]
async fn deltas_of_messages_make_up_a_conversation_with_its_tools() {
    let text = concat!(
        r#"{"session_id": "s", "message_mode": "delta", "timestamp": 0, "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"}], "tools": [{"type": "function"}], "output_length": 8}"#,
        "\n",
        r#"{"session_id": "s", "message_mode": "delta", "delay": 5, "messages": [{"role": "user", "content": "ho"}], "output_length": 6, "extra": {"temperature": 0.1}}"#,
        "\n",
        r#"{"session_id": "s", "message_mode": "delta", "delay": 5, "messages": [{"role": "assistant", "content": "told"}, {"role": "user", "content": "he"}], "output_length": 6}"#,
        "\n",
    );
    let rows = asked(text, SessionPrompts::Auto).await;
    let said = |row: &TraceRow| match &row.text {
        Some(RowText::Turns(said)) => said.clone(),
        other => panic!("{other:?}"),
    };
    let kinds = |row: &TraceRow| -> Vec<Option<u32>> {
        said(row)
            .iter()
            .map(|part| match part {
                Said::Messages(_) => None,
                Said::Reply { tokens, .. } => Some(*tokens),
            })
            .collect()
    };
    assert_eq!(kinds(&rows[0]), [None]);
    assert_eq!(kinds(&rows[1]), [None, Some(8), None]);
    assert_eq!(
        kinds(&rows[2]),
        [None, Some(8), None, None],
        "the trace brings the second reply"
    );
    assert!(
        rows.iter()
            .all(|row| row.body.as_deref().unwrap().contains("tools"))
    );
    assert!(rows[1].body.as_deref().unwrap().contains("temperature"));
    let whole = asked(text, SessionPrompts::Whole).await;
    assert!(matches!(whole[1].text, Some(RowText::Messages(_))));
}

#[tokio::test]
async fn formats_that_write_prompts_whole_are_never_taken_for_others() {
    let text = r#"{"id": "c", "block_size": 64, "hash_id_scope": "local", "requests": [{"t": 0.0, "type": "n", "model": "m", "in": 130, "out": 5, "hash_ids": [1, 2]}, {"t": 4.0, "type": "n", "model": "m", "in": 70, "out": 5, "hash_ids": [9]}]}
"#;
    assert_eq!(inputs(&asked(text, SessionPrompts::Auto).await), [130, 70]);
}
