//! Order, selection and the shapes of text that are the same trace.

use proptest::prelude::*;

use crate::trace::{LOOK_AHEAD_ROWS, Selection, TraceOptions, open};

use super::{Scratch, gzip, message, read, read_selected};

/// The reader has a thread of its own.
const fn can_move_to_a_thread<T: Send>() {}
const _: () = can_move_to_a_thread::<crate::trace::TraceReader>();

const HEADER: &str = "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,\
                      Total tokens,Log Type";
const SECOND: i64 = 1_000_000_000;

fn burstgpt(rows: &[(i64, &str)]) -> String {
    let mut trace = format!("{HEADER}\n");
    for (index, (second, session)) in rows.iter().enumerate() {
        let tokens = index + 1;
        trace.push_str(&format!(
            "{second}.0,{session},1,GPT-4,{tokens},2,3,API log\n"
        ));
    }
    trace
}

#[tokio::test]
async fn the_first_arrival_is_time_zero_even_where_it_is_not_the_first_row() {
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", burstgpt(&[(9, ""), (7, ""), (8, ""), (7, "")]));
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.arrivals_ns(), [0, 0, SECOND, 2 * SECOND]);
    assert_eq!(
        replay
            .lengths()
            .iter()
            .map(|pair| pair.0)
            .collect::<Vec<_>>(),
        [2, 4, 3, 1],
        "ties keep the order of the file"
    );
    assert_eq!(replay.counts.out_of_order, 3);
}

#[tokio::test]
async fn a_row_from_further_back_than_the_look_ahead_stops_the_trace() {
    let rows_before = i64::try_from(LOOK_AHEAD_ROWS).unwrap() + 2;
    let mut rows: Vec<(i64, &str)> = (0..rows_before).map(|second| (second + 10, "")).collect();
    rows.push((3, ""));
    let line = rows.len() + 1;
    assert_eq!(
        message(burstgpt(&rows)).await,
        format!(
            "`trace` line {line}: time goes back by 8.000 s, further than a look-ahead of 65536 rows \
             can put right"
        )
    );
    // One row fewer, and it is put right.
    rows.remove(5);
    rows.remove(5);
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", burstgpt(&rows));
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.zero_ns, Some(3 * SECOND));
    assert_eq!(replay.rows.len(), LOOK_AHEAD_ROWS + 1);
}

#[tokio::test]
async fn rows_before_a_bad_one_are_handed_out() {
    let mut trace = burstgpt(&vec![(1, ""); LOOK_AHEAD_ROWS + 20_000]);
    trace.push_str("2.0,,1,GPT-4,many,2,3,API log\n");
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", trace);
    let options = TraceOptions {
        path,
        ..TraceOptions::default()
    };
    let mut reader = open(&options).await.unwrap();
    let mut rows = 0;
    let error = loop {
        match reader.next().await {
            Ok(Some(_)) => rows += 1,
            Ok(None) => panic!("the bad row is not the end"),
            Err(error) => break error,
        }
    };
    assert!(rows > 10_000, "{rows}");
    assert!(
        error
            .to_string()
            .contains("column `Request tokens` is `many`")
    );
    assert!(
        reader.next().await.unwrap().is_none(),
        "nothing after an error"
    );
}

#[tokio::test]
async fn the_same_rows_in_any_dress_are_the_same_trace() {
    let plain = burstgpt(&[(5, "a"), (6, "b"), (9, "a")]);
    let scratch = Scratch::new();
    let expected = read(&scratch.write("t.csv", &plain)).await.unwrap().rows;
    assert_eq!(expected.len(), 3);
    let crlf = plain.replace('\n', "\r\n");
    let quoted = plain
        .replace("GPT-4", "\"GPT-4\"")
        .replace("Model", "\"Model\"");
    let dresses = [
        plain.trim_end().to_owned(),
        crlf.clone(),
        crlf.trim_end().to_owned(),
        format!("{plain}\n"),
        format!("{crlf}\r\n"),
        format!("\u{feff}{plain}"),
        plain.replace("\n6.0", "\n\n6.0"),
        quoted,
    ];
    for dress in dresses {
        let path = scratch.write("t.csv", &dress);
        assert_eq!(read(&path).await.unwrap().rows, expected, "{dress:?}");
        let path = scratch.write("t.csv.gz", gzip(dress.as_bytes()));
        assert_eq!(read(&path).await.unwrap().rows, expected, "{dress:?}");
    }
    // Two members, as `cat a.gz b.gz` writes them.
    let (head, tail) = plain.as_bytes().split_at(plain.len() / 2);
    let members = [gzip(head), gzip(tail)].concat();
    let path = scratch.write("t.gz", members);
    assert_eq!(read(&path).await.unwrap().rows, expected);
}

#[tokio::test]
async fn quoted_commas_and_line_breaks_belong_to_their_field() {
    let trace = format!(
        "{HEADER}\n1,\"a,\"\"b\"\"\nc\",1,\"GPT, large\",1,2,3,Conversation log\n2,x,1,m,0,9,9,API log\n"
    );
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", &trace);
    let error = read(&path).await.unwrap_err().to_string();
    assert!(error.contains("t.csv` line 4: "), "{error}");
    let path = scratch.write("t.csv", trace.replace(",0,9,9", ",8,9,9"));
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.rows[0].session_id.as_deref(), Some("a,\"b\"\nc"));
    assert_eq!(replay.rows[0].model.as_deref(), Some("GPT, large"));
}

#[tokio::test]
async fn window_speed_and_limit_are_applied_in_that_order() {
    let scratch = Scratch::new();
    let rows: Vec<(i64, &str)> = (100..200).map(|second| (second, "")).collect();
    let path = scratch.write("t.csv", burstgpt(&rows));
    let selection = Selection {
        from_ns: 10 * SECOND,
        for_ns: Some(20 * SECOND),
        speed: 4.0,
        ..Selection::default()
    };
    let replay = read_selected(&path, selection.clone()).await.unwrap();
    assert_eq!(replay.rows.len(), 20);
    assert_eq!(replay.arrivals_ns()[..2], [0, SECOND / 4]);
    assert_eq!(replay.lengths()[0].0, 11);
    let replay = read_selected(
        &path,
        Selection {
            limit: Some(3),
            ..selection
        },
    )
    .await
    .unwrap();
    assert_eq!(replay.arrivals_ns(), [0, SECOND / 4, SECOND / 2]);
}

#[tokio::test]
async fn a_sample_holds_whole_sessions() {
    let sessions: Vec<String> = (0..200).map(|session| format!("s{session}")).collect();
    let rows: Vec<(i64, &str)> = (0..1000)
        .map(|row| (row, sessions[usize::try_from(row).unwrap() % 200].as_str()))
        .collect();
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", burstgpt(&rows));
    let selection = Selection {
        sample: Some(0.3),
        seed: 4,
        ..Selection::default()
    };
    let replay = read_selected(&path, selection).await.unwrap();
    let mut counts = std::collections::HashMap::new();
    for row in &replay.rows {
        *counts.entry(row.session_id.clone()).or_insert(0) += 1;
    }
    assert!(counts.values().all(|&count| count == 5));
    assert!((30..90).contains(&counts.len()), "{}", counts.len());
    assert_eq!(replay.counts.taken + replay.counts.not_sampled, 1000);
}

#[tokio::test]
async fn keys_and_types_of_json_may_change_from_line_to_line() {
    let line = |time: &str, ids: &str| {
        format!(
            "{{\"timestamp\": {time}, \"input_length\": 5, \"output_length\": 5, \
             \"hash_ids\": {ids}}}\n"
        )
    };
    let mut trace = line("0", "[]").repeat(2000);
    trace.push_str(&line("0.5", "[1]"));
    trace.push_str(&line("\"1\"", "[18446744073709551615]"));
    trace.push_str(
        "{\"output_length\": 1, \"new\": {\"x\": 1}, \"input_length\": 2, \"timestamp\": 2}\n",
    );
    let scratch = Scratch::new();
    let replay = read(&scratch.write("t.jsonl", trace)).await.unwrap();
    assert_eq!(
        replay.arrivals_ns()[1999..],
        [0, 500_000, 1_000_000, 2_000_000]
    );
    assert_eq!(replay.rows[2001].prefix_blocks, [u64::MAX]);
    assert!(replay.rows[2002].prefix_blocks.is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_small_disorder_reads_as_the_sorted_trace(
        seconds in prop::collection::vec(0_i64..1000, 1..60),
    ) {
        let rows: Vec<(i64, &str)> = seconds.iter().map(|&second| (second, "")).collect();
        let scratch = Scratch::new();
        let path = scratch.write("t.csv", burstgpt(&rows));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let replay = runtime.block_on(read(&path)).unwrap();
        let mut expected: Vec<(i64, usize)> =
            seconds.iter().enumerate().map(|(index, &second)| (second, index + 1)).collect();
        expected.sort();
        let zero = expected[0].0;
        let expected: Vec<(i64, usize)> = expected
            .into_iter()
            .map(|(second, tokens)| ((second - zero) * SECOND, tokens))
            .collect();
        let found: Vec<(i64, usize)> = replay
            .rows
            .iter()
            .map(|row| (row.arrival_ns, row.input_tokens as usize))
            .collect();
        prop_assert_eq!(found, expected);
    }
}
