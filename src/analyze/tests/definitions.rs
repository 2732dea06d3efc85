//! What other tools would say of one small tape, where their definitions differ, by hand.
//!
//! | request | dispatched, sent | events | usage | tells apart |
//! |---|---|---|---|---|
//! | 0 | 0, 2 | role 10, content 20 30 50, finish 51, usage 52, done 53 | 3 | who counts a role, a connection, the end |
//! | 1 | 10 | role 20, reasoning 40 (3) 60 (2), content 90 (4) 100 (1), finish 102, usage 104, done 105 | 10 | reasoning, several tokens a chunk |
//! | 2 | 60 | role 70, content 80, finish 81, usage 82, done 83 | 1 | an answer of one token |
//! | 3 | 90 | role 100, content 110 120, error 125, done 126 | none | an error inside the stream, no usage |
//! | 4 | 100 | 503 at 101 | none | a failure |
//! | 5 | 110 | role 120, tool 140 (2) 150 (1), finish 151, usage 152, done 153 | 6 | an answer without a text |
//!
//! Times in milliseconds. Nine prompt tokens are in each usage, eight were planned, and 3, 12, 1, 4,
//! 4 and 8 output tokens. Each tool's own code gives the same numbers on these times: see
//! `benches/definitions.py`.

use std::sync::LazyLock;

use super::analysed;
use crate::analyze::{Analysis, Cell, DEFINITIONS, Options, TokenCounter};
use crate::capture::schema::{Channel, ChunkRow, RequestRow, Status};
use crate::sql::fixture::{MS, TapeFixture};

/// An event: when, what, its text.
type Happening = (i64, Channel, &'static str);

#[expect(clippy::too_many_lines, reason = "the tape is read from top to bottom")]
fn tape() -> TapeFixture {
    use Channel::{Content, Done, Error, Finish, Reasoning, Role, Tool, Usage};
    let mut tape = TapeFixture::default();
    let row = stream(
        &mut tape,
        (0, [0, 2], Some(3), 3),
        &[
            (10, Role, ""),
            (20, Content, "a"),
            (30, Content, " b"),
            (50, Content, " c"),
            (51, Finish, ""),
            (52, Usage, ""),
            (53, Done, ""),
        ],
    );
    row.connect_ns = Some(2 * MS);
    stream(
        &mut tape,
        (1, [10, 10], Some(10), 12),
        &[
            (20, Role, ""),
            (40, Reasoning, "a b c"),
            (60, Reasoning, " d e"),
            (90, Content, "f g h i"),
            (100, Content, " j"),
            (102, Finish, ""),
            (104, Usage, ""),
            (105, Done, ""),
        ],
    );
    stream(
        &mut tape,
        (2, [60, 60], Some(1), 1),
        &[
            (70, Role, ""),
            (80, Content, "a"),
            (81, Finish, ""),
            (82, Usage, ""),
            (83, Done, ""),
        ],
    );
    let row = stream(
        &mut tape,
        (3, [90, 90], None, 4),
        &[
            (100, Role, ""),
            (110, Content, "a"),
            (120, Content, " b"),
            (125, Error, ""),
            (126, Done, ""),
        ],
    );
    row.status = Status::Error;
    row.error_kind = Some("in_stream".into());
    row.finish_reason = None;
    let row = tape.attempt(4, [100, 100], 101);
    row.status = Status::Error;
    row.error_kind = Some("http_5xx".into());
    row.http_status = Some(503);
    stream(
        &mut tape,
        (5, [110, 110], Some(6), 8),
        &[
            (120, Role, ""),
            (140, Tool, "a b"),
            (150, Tool, " c"),
            (151, Finish, ""),
            (152, Usage, ""),
            (153, Done, ""),
        ],
    );
    tape
}

/// Adds an answer of events of all kinds; dispatched and sent, and times of events, in milliseconds.
fn stream<'a>(
    tape: &'a mut TapeFixture,
    (request_id, [dispatched, sent], usage, planned): (u64, [i64; 2], Option<u32>, u32),
    events: &[Happening],
) -> &'a mut RequestRow {
    let bearing: Vec<(i64, Option<u16>)> = events
        .iter()
        .filter(|(_, channel, _)| channel.is_token_bearing())
        .map(|(at, ..)| (*at, None))
        .collect();
    let kept = tape.chunks.len();
    tape.answer(request_id, [dispatched, sent], &bearing);
    tape.chunks.truncate(kept);
    let mut previous = None;
    for (seq, (at, channel, text)) in (0_u32..).zip(events) {
        let is_bearing = channel.is_token_bearing();
        let gap_ns = previous.filter(|_| is_bearing).map(|last| (at - last) * MS);
        if is_bearing {
            previous = Some(*at);
        }
        tape.chunks.push(ChunkRow {
            request_id,
            attempt: 0,
            seq,
            arrival_ns: at * MS,
            gap_ns,
            read_seq: Some(seq),
            kernel_lag_us: None,
            channel: *channel,
            has_choices: !matches!(channel, Channel::Usage | Channel::Done | Channel::Error),
            tokens: None,
            tokens_source: None,
            bytes: 60,
            text: is_bearing.then(|| (*text).to_owned()),
        });
    }
    let end = events.last().map_or(sent, |(at, ..)| *at);
    let row = tape.requests.last_mut().expect("just written");
    row.dispatched_ns = Some(dispatched * MS);
    row.end_ns = Some(end * MS);
    row.usage_input_tokens = usage.map(|_| 9);
    row.usage_output_tokens = usage;
    row.output_tokens_planned = Some(planned);
    row
}

/// All that is asked of a tokenizer that counts words, of this tape and of four odd ones: nothing
/// happened, all failed, one answer of one token, and one that came all at once beside another.
static COUNTED: LazyLock<Analysis> = LazyLock::new(|| {
    let mut failed = TapeFixture::default();
    let row = failed.attempt(0, [5, 5], 9);
    row.status = Status::Error;
    row.error_kind = Some("connect".into());
    let mut one = TapeFixture::default();
    stream(
        &mut one,
        (0, [0, 0], Some(1), 1),
        &[
            (10, Channel::Content, "a"),
            (10, Channel::Finish, ""),
            (10, Channel::Usage, ""),
            (10, Channel::Done, ""),
        ],
    );
    let mut at_once = TapeFixture::default();
    for (request_id, start, last) in [(0, 0, 10), (1, 100, 120)] {
        stream(
            &mut at_once,
            (request_id, [start, start], Some(2), 2),
            &[
                (start + 10, Channel::Content, "a"),
                (last, Channel::Content, " b"),
                (last, Channel::Finish, ""),
                (last, Channel::Usage, ""),
                (last, Channel::Done, ""),
            ],
        );
    }
    let options = Options {
        definitions: vec!["all".to_owned()],
        only: vec!["run_summary".to_owned()],
        count_tokens: Some(words()),
        ..Options::default()
    };
    let tapes = [
        ("t", tape()),
        ("none", TapeFixture::default()),
        ("failed", failed),
        ("one", one),
        ("at-once", at_once),
    ];
    analysed(&tapes, &options).unwrap()
});

/// A tokenizer whose counts are plain to see: words.
fn words() -> TokenCounter {
    TokenCounter::new("words", |text| {
        u32::try_from(text.split_whitespace().count()).ok()
    })
}

/// Spells a definition's answer: a line a metric, in milliseconds where it is a time.
fn said(analysis: &Analysis, run: &str, name: &str) -> String {
    let table = analysis.table(&format!("definition_{name}")).unwrap();
    let mut lines: Vec<(String, Vec<String>)> = Vec::new();
    for row in &table.rows {
        let [
            Cell::Text(of),
            Cell::Text(metric),
            Cell::Text(stat),
            Cell::Text(unit),
            value,
            _,
        ] = row.as_slice()
        else {
            panic!("not the shape of a definition: {row:?}");
        };
        if of != run {
            continue;
        }
        let value = match value {
            Cell::Float(value) => {
                let value = if unit == "ns" { value / 1e6 } else { *value };
                let text = format!("{value:.4}");
                text.trim_end_matches('0').trim_end_matches('.').to_owned()
            }
            Cell::Null => "-".to_owned(),
            other => panic!("no number: {other:?}"),
        };
        let entry = if stat == "run" {
            value
        } else {
            format!("{stat} {value}")
        };
        match lines.last_mut() {
            Some((last, entries)) if last == metric => entries.push(entry),
            _ => lines.push((metric.clone(), vec![entry])),
        }
    }
    let spell =
        |(metric, entries): &(String, Vec<String>)| format!("{metric}: {}", entries.join(", "));
    lines.iter().map(spell).collect::<Vec<_>>().join("\n")
}

/// Returns a definition's notes on a run, each once a row of them.
fn notes(analysis: &Analysis, run: &str, name: &str) -> Vec<String> {
    let table = analysis.table(&format!("definition_{name}")).unwrap();
    let mut notes: Vec<String> = table
        .rows
        .iter()
        .filter(|row| row[0] == Cell::Text(run.to_owned()))
        .filter_map(|row| match &row[5] {
            Cell::Text(note) => Some(note.clone()),
            _ => None,
        })
        .collect();
    notes.dedup();
    notes
}

// Only answers in order: 0, 1, 2 and 5. TTFT from the send: 18, 30, 20, 30. TPOT: 30 / 2, 60 / 9 and
// 10 / 5. The tokens of the answer that broke count, as its chunks: 3 + 10 + 1 + 2 + 6.
#[test]
fn ours_leave_out_what_broke_and_count_its_tokens() {
    let expected = "\
ttft: mean 24.5, std 5.5453, min 18, p50 25, p90 30, p95 30, p99 30, max 30
itl: mean 16.6667, std 7.4536, min 10, p50 15, p90 25, p95 27.5, p99 29.5, max 30
icl: mean 16.6667, std 7.4536, min 10, p50 15, p90 25, p95 27.5, p99 29.5, max 30
tpot: mean 7.8889, std 5.3771, min 2, p50 6.6667, p90 13.3333, p95 14.1667, p99 14.8333, max 15
e2el: mean 49.5, std 25.5098, min 20, p50 44, p90 77.4, p95 83.7, p99 88.74, max 90
duration: 0.151
completed: 4
failed: 2
input_tokens: 36
output_tokens: 22
request_throughput: 26.4901
input_throughput: 238.4106
output_throughput: 145.6954
total_throughput: 384.106";
    assert_eq!(said(&COUNTED, "t", "tokentape"), expected);
}

// Five answers, the broken one among them. The role comes 10 after each dispatch. Their gaps, the one
// to the finish included: 10 10 20 1, 20 20 30 10 2, 10 1, 10 10, 20 10 1. TPOT: 41 / 2, 82 / 9, 20 / 1
// (two words) and 31 / 5. Input: 9, 9, 9 and 9, and the 8 that were planned.
#[test]
fn vllm_counts_roles_and_finishes() {
    let expected = "\
ttft: mean 10, std 0, p50 10, p90 10, p95 10, p99 10
itl: mean 11.5625, std 8.1698, p50 10, p90 20, p95 22.5, p99 28.5
tpot: mean 13.9528, std 6.3832, p50 14.5556, p90 20.35, p95 20.425, p99 20.485
e2el: mean 47, std 24.6658, p50 41, p90 75.6, p95 83.8, p99 90.36
duration: 0.153
completed: 5
failed: 1
input_tokens: 44
output_tokens: 22
request_throughput: 32.6797
output_throughput: 143.7908
total_throughput: 431.3725";
    assert_eq!(said(&COUNTED, "t", "vllm"), expected);
}

// TTFT: 20, 30, 20, 20, and 0 for the tool call. Gaps: 10 20, 20 30 10, 10. E2EL to the end mark: 53, 95,
// 23, 36, 43. TPOT: 33 / 2, 65 / 9, 16 / 3 (the length that was asked for) and 43 / 5.
#[test]
fn sglang_waits_for_the_end_mark_and_asks_no_one_for_counts() {
    let expected = "\
ttft: mean 18, std 9.798, p50 20, p90 26, p95 28, p99 29.6
itl: mean 16.6667, std 7.4536, p50 15, p90 25, p95 27.5, p99 29.5
tpot: mean 9.4139, std 4.2523, p50 7.9111, p90 14.13, p95 15.315, p99 16.263
e2el: mean 50, std 24.5275, p50 43, p90 78.2, p95 86.6, p99 93.32
duration: 0.153
completed: 5
failed: 1
input_tokens: 40
output_tokens: 24
request_throughput: 32.6797
input_throughput: 261.4379
output_throughput: 156.8627
total_throughput: 418.3007";
    assert_eq!(said(&COUNTED, "t", "sglang"), expected);
}

// TTFT: 20, 30, 20, 20, 30. ITL: 30 / 2, 60 / 9, 10 / 1 and, the tool call having three words, 10 / 2.
// From 0 to 150, the last token of the last answer.
#[test]
fn aiperf_has_one_itl_a_request() {
    let expected = "\
ttft: mean 24, std 4.899, min 20, p50 20, p90 30, p95 30, p99 30, max 30
itl: mean 9.1667, std 3.8188, min 5, p50 8.3333, p90 13.5, p95 14.25, p99 14.85, max 15
icl: mean 15.7143, std 7.2843, min 10, p50 10, p90 24, p95 27, p99 29.4, max 30
e2el: mean 46, std 24.1661, min 20, p50 40, p90 74, p95 82, p99 88.4, max 90
duration: 0.15
completed: 5
failed: 1
input_tokens: 36
output_tokens: 19
request_throughput: 33.3333
input_throughput: 240
output_throughput: 126.6667
total_throughput: 366.6667";
    assert_eq!(said(&COUNTED, "t", "aiperf"), expected);
}

// No broken answer. TTFT from the send. ITL: 15 by weight 2, 60 / 9 by 9, 2 by 5. TPOT, the first token's
// time in it: 48 / 3 by weight 3, 90 / 10 by 10, 20 by 1, 40 / 6 by 6.
#[test]
fn guidellm_weighs_requests_by_their_tokens() {
    let expected = "\
ttft: mean 24.5, std 5.5453, min 18, p50 20, p90 30, p95 30, p99 30, max 30
itl: mean 6.25, std 3.9131, min 2, p50 6.6667, p90 15, p95 15, p99 15, max 15
tpot: mean 9.9, std 3.7714, min 6.6667, p50 9, p90 16, p95 16, p99 20, max 20
e2el: mean 53, std 26.3059, min 23, p50 43, p90 95, p95 95, p99 95, max 95
duration: 0.153
completed: 4
failed: 2
input_tokens: 36
output_tokens: 20
request_throughput: 26.1438
input_throughput: 235.2941
output_throughput: 130.719
total_throughput: 366.0131";
    assert_eq!(said(&COUNTED, "t", "guidellm"), expected);
}

// The stream needs two tokens of content: TTFT 20, 80 past the reasoning, 20. ITL: 10 20, 0 0 0 10, 10.
// TPOT: 30 / 2, 10 / 4, 10 / 1. NTPOT: 53 / 3, 95 / 5, 23 / 1, 36 / 2, and 0 for no content at all.
#[test]
fn inference_perf_sees_content_alone_and_splits_chunks() {
    let expected = "\
ttft: mean 40, min 20, p50 20, p90 68, p95 74, p99 78.8, max 80
itl: mean 7.1429, min 0, p50 10, p90 14, p95 17, p99 19.4, max 20
tpot: mean 9.1667, min 2.5, p50 10, p90 14, p95 14.5, p99 14.9, max 15
ntpot: mean 15.5333, min 0, p50 18, p90 21.4, p95 22.2, p99 22.84, max 23
e2el: mean 50, min 23, p50 43, p90 78.2, p95 86.6, p99 93.32, max 95
duration: 0.153
completed: 5
failed: 1
input_tokens: -
output_tokens: 11
request_throughput: 32.6797
input_throughput: -
output_throughput: 71.8954
total_throughput: -";
    assert_eq!(said(&COUNTED, "t", "inference-perf"), expected);
}

// The tool call's first token is its usage, 42 after the dispatch, and so is its end: no TPOT in less
// than 1 ms. E2EL to the usage: 52, 94, 22, 42. TPOT: 32 / 2 and 64 / 9.
#[test]
fn genai_bench_ends_with_the_usage() {
    let expected = "\
ttft: mean 28, std 9.0554, min 20, p50 25, p90 38.4, p95 40.2, p99 41.64, max 42
tpot: mean 11.5556, std 4.4444, min 7.1111, p50 11.5556, p90 15.1111, p95 15.5556, p99 15.9111, max 16
e2el: mean 52.5, std 26.2821, min 22, p50 47, p90 81.4, p95 87.7, p99 92.74, max 94
duration: 0.153
completed: 4
failed: 2
input_tokens: 36
output_tokens: 20
request_throughput: 26.1438
input_throughput: 235.2941
output_throughput: 130.719
total_throughput: 366.0131";
    assert_eq!(said(&COUNTED, "t", "genai-bench"), expected);
}

// TTFT: 20, 30, 20, 30; of four, the 50th percentile is the second. E2EL to the usage: 52, 94, 22, 42. TPOT:
// 32 / 2, 64 / 9 and 12 / 5.
#[test]
fn evalscope_takes_the_nearest_rank() {
    let expected = "\
ttft: mean 25, min 20, p50 20, p90 30, p95 30, p99 30, max 30
itl: mean 16.6667, min 10, p50 10, p90 30, p95 30, p99 30, max 30
tpot: mean 8.5037, min 2.4, p50 7.1111, p90 16, p95 16, p99 16, max 16
e2el: mean 52.5, min 22, p50 42, p90 94, p95 94, p99 94, max 94
duration: 0.152
completed: 4
failed: 2
input_tokens: 36
output_tokens: 20
request_throughput: 26.3158
output_throughput: 131.5789
total_throughput: 368.4211";
    assert_eq!(said(&COUNTED, "t", "evalscope"), expected);
}

// Without a tokenizer, the answer that has no usage has no number of tokens, and none is made up.
#[test]
fn what_would_be_tokenized_is_not_available_without_a_tokenizer() {
    let options = Options {
        definitions: ["vllm", "aiperf", "inference-perf"]
            .map(str::to_owned)
            .to_vec(),
        only: vec!["run_summary".to_owned()],
        ..Options::default()
    };
    let plain = analysed(&[("t", tape())], &options).unwrap();
    let names: Vec<_> = plain.tables[1..]
        .iter()
        .map(|table| table.name.as_str())
        .collect();
    let asked = ["tokentape", "vllm", "aiperf", "inference-perf"];
    assert_eq!(names, asked.map(|name| format!("definition_{name}")));
    let vllm = said(&plain, "t", "vllm");
    for line in [
        "tpot: mean -, std -, p50 -, p90 -, p95 -, p99 -",
        "output_tokens: -",
        "output_throughput: -",
    ] {
        assert!(vllm.lines().any(|said| said == line), "{vllm}");
    }
    assert_eq!(
        notes(&plain, "t", "vllm"),
        ["not available: it would tokenize answers that have no usage"]
    );
    // Of the four that have usage, as the tool counts with its flag.
    let aiperf = said(&plain, "t", "aiperf");
    assert!(
        aiperf.contains("itl: mean 7.8889, std 5.3771, min 2, p50 6.6667"),
        "{aiperf}"
    );
    assert!(aiperf.contains("output_tokens: 20"), "{aiperf}");
    let inference_perf = said(&plain, "t", "inference-perf");
    assert!(
        inference_perf.contains("itl: mean -, min -"),
        "{inference_perf}"
    );
    assert!(
        inference_perf.contains("e2el: mean 50, min 23"),
        "{inference_perf}"
    );
}

#[test]
fn nothing_and_failures_are_said_as_the_tools_say_them() {
    for query in DEFINITIONS.iter() {
        let none = said(&COUNTED, "none", query.name);
        assert!(none.contains("completed: -"), "{}: {none}", query.name);
        let failed = said(&COUNTED, "failed", query.name);
        let counts = "completed: 0\nfailed: 1\ninput_tokens: 0\noutput_tokens: 0";
        assert!(failed.contains(counts), "{}: {failed}", query.name);
    }
    let zeros = "ttft: mean 0, std 0, p50 0, p90 0, p95 0, p99 0";
    assert!(said(&COUNTED, "failed", "vllm").starts_with(zeros));
    let said_of = notes(&COUNTED, "failed", "sglang");
    assert_eq!(said_of[0], "no values: it says 0");
    assert!(said_of.contains(&"no values: it says nan".to_owned()));
}

// One token at 10, and all that ends the stream with it.
#[test]
fn one_token_has_no_time_between_tokens() {
    let one = |name| said(&COUNTED, "one", name);
    assert!(one("tokentape").contains("\ntpot: mean -, std -, min -"));
    assert!(one("vllm").contains("\ntpot: mean 0, std 0, p50 0"));
    assert!(one("guidellm").contains("\nitl: mean 0, std 0, min 0"));
    assert!(one("guidellm").contains("\ntpot: mean 10, std 0, min 10"));
    assert!(one("inference-perf").starts_with("ttft: mean -, min -"));
    assert!(one("evalscope").contains("\ntpot: mean 0, min -, p50 -"));
}

// Its own statistics keep a TPOT of 0 in the mean and out of all others.
#[test]
fn evalscope_ranks_no_tpot_of_nothing() {
    let evalscope = said(&COUNTED, "at-once", "evalscope");
    let line = "\ntpot: mean 5, min 10, p50 10, p90 10, p95 10, p99 10, max 10\n";
    assert!(evalscope.contains(line), "{evalscope}");
    let vllm = said(&COUNTED, "at-once", "vllm");
    assert!(vllm.contains("\ntpot: mean 5, std 5, p50 5"), "{vllm}");
}

#[test]
fn every_number_has_a_line_on_how_it_is_measured() {
    for query in DEFINITIONS.iter() {
        let table = COUNTED
            .table(&format!("definition_{}", query.name))
            .unwrap();
        for row in &table.rows {
            let Cell::Text(metric) = &row[1] else {
                panic!("no metric: {row:?}");
            };
            assert!(
                query.meaning(metric).is_some(),
                "{} on {metric}",
                query.name
            );
        }
        assert!(query.meaning("percentiles").is_some(), "{}", query.name);
    }
}

#[test]
fn refuses_a_definition_that_there_is_not() {
    let options = Options {
        definitions: vec!["vllm".to_owned(), "locust".to_owned()],
        ..Options::default()
    };
    let refused = analysed(&[("t", TapeFixture::default())], &options).unwrap_err();
    assert_eq!(refused.to_string(), "there is no definition `locust`");
    assert!(refused.hint().unwrap().contains("guidellm"));
}

#[test]
fn texts_of_the_parts_of_a_tape_are_counted_too() {
    let options = Options {
        definitions: vec!["inference-perf".to_owned()],
        only: vec!["run_summary".to_owned()],
        count_tokens: Some(words()),
        by: Some("phase".to_owned()),
        ..Options::default()
    };
    let split = analysed(&[("t", tape())], &options).unwrap();
    assert_eq!(
        said(&split, "phase=measure", "inference-perf"),
        said(&COUNTED, "t", "inference-perf")
    );
}
