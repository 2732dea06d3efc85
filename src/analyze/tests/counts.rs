//! Which count of tokens is taken, and what of an answer's time it is held against.

use super::spelled;
use crate::analyze::result_tables;
use crate::capture::schema::{ChunkRow, RequestRow};
use crate::runtime::block_on;
use crate::sql::fixture::{MS, TapeFixture};
use crate::sql::{Format, Question, answer as answer_to, results_of};
use tempfile::TempDir;

/// What a statement says of a tape, without the line of names.
pub(super) fn asked(tape: &TapeFixture, sql: &str) -> String {
    let folder = TempDir::new().unwrap();
    let path = tape.write(&folder.path().join("a.tape"));
    let question = Question::new(sql, Format::Arrow);
    let mut out = Vec::new();
    block_on(answer_to(
        &[path],
        &question,
        &|_| Vec::new(),
        |_, _| {},
        &mut out,
    ))
    .unwrap()
    .unwrap();
    let results = results_of(&out).unwrap();
    let table = spelled(&result_tables(&results).unwrap()[0]);
    table.split_once('\n').unwrap_or_default().1.to_owned()
}

/// A tape with one answer, of a chunk each 10 ms, that `change` makes what it is to be.
fn answer(chunks: i64, change: impl Fn(&mut RequestRow)) -> TapeFixture {
    let mut tape = TapeFixture::default();
    let times: Vec<_> = (1..=chunks).map(|at| (at * 10, None)).collect();
    change(tape.answer(0, [0, 0], &times));
    tape
}

fn tpot_ms(tape: &TapeFixture) -> String {
    asked(tape, "SELECT tpot_ns / 1e6 FROM requests")
}

fn count(tape: &TapeFixture) -> String {
    asked(
        tape,
        "SELECT output_tokens, output_tokens_source, is_usage_refuted FROM requests",
    )
}

#[test]
fn an_answer_in_one_chunk_has_no_time_per_token() {
    assert_eq!(
        tpot_ms(&answer(1, |row| row.usage_output_tokens = Some(24))),
        "-"
    );
    // Nor has one of a token and the end of text.
    let ended = answer(1, |row| {
        row.usage_output_tokens = Some(2);
        row.finish_reason = Some("stop".into());
        row.has_lone_finish = Some(true);
    });
    assert_eq!(tpot_ms(&ended), "-");
}

#[test]
fn chunks_of_one_read_have_no_time_per_token() {
    let mut tape = TapeFixture::default();
    let row = tape.answer(0, [0, 0], &[(50, None), (50, None), (50, None)]);
    row.usage_output_tokens = Some(40);
    assert_eq!(tpot_ms(&tape), "-");
}

#[test]
fn an_answer_with_a_text_that_is_not_read_has_no_time_per_token() {
    let half = answer(10, |row| {
        row.usage_output_tokens = Some(20);
        row.unread_events = Some(10);
    });
    assert_eq!(tpot_ms(&half), "-");
}

#[test]
fn the_end_token_is_in_the_count_and_not_in_the_time_per_token() {
    let ended = |reason: &str, is_lone| {
        answer(9, |row| {
            row.usage_output_tokens = Some(10);
            row.finish_reason = Some(reason.into());
            row.has_lone_finish = is_lone;
        })
    };
    let of = |tape: &TapeFixture| {
        asked(
            tape,
            "SELECT output_tokens, end_tokens, round(tpot_ns / 1e6, 3) FROM requests",
        )
    };
    assert_eq!(of(&ended("stop", Some(true))), "10 1 10");
    // The limit ends an answer without an end token; a finish beside a text is that text's.
    assert_eq!(of(&ended("length", Some(true))), "10 0 8.889");
    assert_eq!(of(&ended("stop", Some(false))), "10 0 8.889");
    // An older tape does not know.
    assert_eq!(of(&ended("stop", None)), "10 0 8.889");
}

#[test]
fn tokens_before_the_first_chunk_and_after_the_last_are_not_paced() {
    // A tool call: 17 tokens before its name, a token each 15 ms, then three that show nothing.
    let mut tape = TapeFixture::default();
    let times: Vec<_> = (0..31_i64)
        .map(|at| (300 + at * 15, Some(if at == 0 { 17 } else { 1 })))
        .collect();
    let row = tape.answer(0, [0, 0], &times);
    row.usage_output_tokens = Some(50);
    row.tokens_after_last = Some(3);
    assert_eq!(tpot_ms(&tape), "15");
    let counts = "SELECT first_chunk_tokens, first_chunk_source, end_tokens FROM requests";
    assert_eq!(asked(&tape, counts), "17 usage 3");
}

#[test]
fn a_running_usage_has_hidden_reasoning_in_the_first_chunk_already() {
    let mut tape = TapeFixture::default();
    let row = tape.answer(
        0,
        [0, 0],
        &[(100, Some(101)), (110, Some(1)), (120, Some(1))],
    );
    row.usage_reasoning_tokens = Some(100);
    assert_eq!(tpot_ms(&tape), "10");
}

#[test]
fn usage_is_taken_where_nothing_refutes_it() {
    let of = |change: &dyn Fn(&mut RequestRow)| {
        count(&answer(20, |row| {
            row.max_output_tokens = Some(20);
            row.finish_reason = Some("length".into());
            change(row);
        }))
    };
    assert_eq!(of(&|_| {}), "20 usage false");
    // Nothing beside twenty chunks, and twice the limit, as a gateway makes it up.
    assert_eq!(
        of(&|row| row.usage_output_tokens = Some(0)),
        "20 chunks true"
    );
    assert_eq!(
        of(&|row| row.usage_output_tokens = Some(40)),
        "20 chunks true"
    );
    let ids = |row: &mut RequestRow| {
        row.usage_output_tokens = Some(40);
        row.ids_output_tokens = Some(19);
    };
    assert_eq!(of(&ids), "19 ids true");
    // One chunk says nothing of a count.
    let merged = answer(1, |row| {
        row.max_output_tokens = Some(20);
        row.usage_output_tokens = Some(24);
    });
    assert_eq!(count(&merged), "24 usage false");
    // The server does not keep to its limit: the chunks say so too.
    let ignored = |row: &mut RequestRow| {
        row.max_output_tokens = Some(10);
        row.usage_output_tokens = Some(21);
    };
    assert_eq!(of(&ignored), "21 usage false");
}

#[test]
fn without_usage_as_many_chunks_as_the_limit_go_before_the_tokenizer() {
    let of = |reason: &str, limit: Option<u32>| {
        count(&answer(30, |row| {
            row.usage_output_tokens = None;
            row.output_tokens_counted = Some(33);
            row.max_output_tokens = limit;
            row.finish_reason = Some(reason.into());
        }))
    };
    assert_eq!(of("length", Some(30)), "30 chunks false");
    assert_eq!(of("stop", Some(30)), "33 tokenizer false");
    assert_eq!(of("length", Some(40)), "33 tokenizer false");
    assert_eq!(of("length", None), "33 tokenizer false");
}

#[test]
fn a_prompt_of_no_token_is_not_believed() {
    let sql = "SELECT input_tokens, input_tokens_source FROM requests";
    let of = |counted| {
        answer(2, |row| {
            row.usage_input_tokens = Some(0);
            row.input_tokens_counted = counted;
        })
    };
    assert_eq!(asked(&of(Some(9)), sql), "9 tokenizer");
    assert_eq!(asked(&of(None), sql), "- -");
}

#[test]
fn the_prompt_of_a_usage_that_somebody_made_up_is_not_believed() {
    let sql = "SELECT input_tokens, input_tokens_source, is_usage_refuted FROM requests";
    let of = |output, counted| {
        answer(24, |row| {
            row.max_output_tokens = Some(24);
            row.usage_output_tokens = Some(output);
            row.usage_input_tokens = Some(47);
            row.input_tokens_counted = counted;
        })
    };
    assert_eq!(asked(&of(24, Some(40)), sql), "47 usage false");
    assert_eq!(asked(&of(84, Some(40)), sql), "40 tokenizer true");
    assert_eq!(asked(&of(84, None), sql), "- - true");
    // That no token of the answer was counted says nothing of the prompt's.
    assert_eq!(asked(&of(0, Some(40)), sql), "47 usage true");
}

#[test]
fn counts_can_be_subtracted_and_summed() {
    let tape = answer(3, |row| {
        row.input_tokens_planned = Some(128);
        row.usage_input_tokens = Some(136);
    });
    let sql = "SELECT max(input_tokens_planned - usage_input_tokens), \
               sum(chunk_count) - sum(usage_input_tokens), min(attempt - turn) FROM requests";
    assert_eq!(asked(&tape, sql), "-8 -133 -");
    let unsigned = "SELECT count(*) FROM information_schema.columns \
                    WHERE data_type LIKE 'UInt%' AND column_name NOT IN ('request_id', 'seed')";
    assert_eq!(asked(&tape, unsigned), "0");
    // The files are read by others too.
    for schema in [RequestRow::schema(), ChunkRow::schema()] {
        let fields = schema.fields().iter();
        let unsigned = fields.filter(|field| field.data_type().is_unsigned_integer());
        let names: Vec<_> = unsigned.map(|field| field.name().as_str()).collect();
        assert_eq!(names, ["request_id"]);
    }
}

#[test]
fn tokens_of_chunks_can_be_summed_where_nobody_tells_them() {
    let mut tape = answer(3, |_| {});
    let sql = "SELECT sum(tokens), min(tokens_source) FROM chunks";
    assert_eq!(asked(&tape, sql), "3 event");
    tape.chunks[1].gap_ns = Some(MS);
    tape.chunks[1].tokens = Some(5);
    assert_eq!(asked(&tape, "SELECT sum(tokens) FROM chunks"), "7");
}
