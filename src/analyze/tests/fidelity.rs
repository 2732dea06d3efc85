//! How faithful a run was to its schedule, by hand.

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;

use super::{analysed, spelled};
use crate::analyze::Options;
use crate::capture::schema::{RequestRow, SCHEMA_VERSION};
use crate::sql::fixture::TapeFixture;

/// The answer of one query to one tape called `t`.
fn answer(tape: TapeFixture, query: &str) -> String {
    let options = Options {
        only: vec![query.to_owned()],
        ..Options::default()
    };
    let analysis = analysed(&[("t", tape)], &options).unwrap();
    spelled(analysis.table(query).expect("it was asked for"))
}

const ARRIVALS: &str =
    "run n gap_ks within_1ms peak_1s_due peak_1s_sent count_off_mean count_off_max\n";

// Late by 1, 0 and 2 ms; the retry is left out. Gaps of 100 and 200 ms became 99 and 202.
#[test]
fn arrivals_are_compared_gap_by_gap() {
    let small = answer(TapeFixture::small(), "arrival_fidelity");
    assert_eq!(small, format!("{ARRIVALS}t 3 0.5 0.3333 3 3 0 0"));
    // Gaps of 0, 30 and 25 ms became 5, 25 and 25.
    let closed = answer(TapeFixture::closed(), "arrival_fidelity");
    assert_eq!(closed, format!("{ARRIVALS}t 4 0.3333 0.75 4 4 0 0"));
}

// Two are due in the first second, one in the second, none in the third and one in the fourth; the
// second request leaves a second late.
#[test]
fn arrivals_are_compared_second_by_second() {
    let mut tape = TapeFixture::default();
    for (request, [due, sent]) in [[0, 0], [500, 1_100], [1_200, 1_200], [3_000, 3_000]]
        .into_iter()
        .enumerate()
    {
        tape.answer(request as u64, [due, sent], &[(sent + 10, None)]);
    }
    let answer = answer(tape, "arrival_fidelity");
    assert!(answer.ends_with(" 0.75 2 2 0.5 1"), "{answer}");
}

#[test]
fn one_arrival_has_no_gap() {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(10, None)]);
    assert_eq!(
        answer(tape, "arrival_fidelity"),
        format!("{ARRIVALS}t 1 - 1 1 1 0 0")
    );
    let nothing = answer(TapeFixture::default(), "arrival_fidelity");
    assert_eq!(nothing, ARRIVALS.trim_end());
}

fn in_session<'a>(row: &'a mut RequestRow, session: &str, turn: u32) -> &'a mut RequestRow {
    row.session_id = Some(session.to_owned());
    row.turn = Some(turn);
    row
}

// Session a pauses for 20 ms, and then sends its third turn before the second reply has ended.
// Session b sends its second turn before its first.
#[test]
fn turns_are_compared_with_those_that_they_follow() {
    let mut tape = TapeFixture::default();
    in_session(tape.answer(0, [0, 0], &[(30, None)]), "a", 0);
    in_session(tape.answer(1, [50, 50], &[(60, None)]), "a", 1);
    in_session(tape.answer(2, [55, 55], &[(70, None)]), "a", 2);
    in_session(tape.answer(3, [10, 10], &[(20, None)]), "b", 0);
    in_session(tape.answer(4, [5, 5], &[(9, None)]), "b", 1);
    tape.answer(5, [0, 0], &[(9, None)]);
    assert_eq!(
        answer(tape, "session_fidelity"),
        "run sessions turns out_of_order before_reply pause_p50_ns pause_p90_ns\n\
         t 2 3 1 2 20000000 20000000"
    );
    assert!(
        !answer(TapeFixture::small(), "session_fidelity").contains("\nt "),
        "without sessions there is nothing to say"
    );
}

// Of 208 planned tokens 64 could be cached; two answers of three told that 40 of 118 were.
#[test]
fn cached_tokens_are_set_beside_what_the_trace_allows() {
    let mut tape = TapeFixture::default();
    for (request, prefix, cached) in [(0, 0, None), (1, 64, Some(32)), (2, 64, Some(32))] {
        let row = tape.answer(request, [0, 0], &[(10, None)]);
        row.input_tokens_planned = Some(100);
        row.prefix_tokens_planned = Some(prefix);
        row.usage_input_tokens = Some(110);
        row.usage_cached_tokens = cached;
    }
    // Not ok; and without blocks.
    tape.requests[2].status = crate::capture::schema::Status::Error;
    tape.answer(3, [0, 0], &[(10, None)]).usage_cached_tokens = Some(8);
    assert_eq!(
        answer(tape, "prefix_hits"),
        "run n input_planned prefix_planned ideal_hit n_told input_told cached achieved_hit\n\
         t 3 208 64 0.3077 2 118 40 0.339"
    );
}

/// Returns rows of `requests` as an older version has them: fewer columns, and before version 3
/// counts without a sign.
fn of_version(version: u32, batch: &RecordBatch) -> RecordBatch {
    let newer = [
        (2, "prefix_tokens_planned"),
        (3, "max_output_tokens"),
        (3, "ids_output_tokens"),
        (3, "tokens_after_last"),
        (3, "has_lone_finish"),
        (3, "resends"),
        (3, "unread_events"),
        (4, "stop_reason"),
    ];
    let is_there = |name: &str| {
        !newer
            .iter()
            .any(|(since, newer)| *newer == name && *since > version)
    };
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let older = columns
        .filter(|(field, _)| is_there(field.name()))
        .map(|(field, column)| {
            let before = match (field.name().as_str(), field.data_type()) {
                (_, data_type) if version >= 3 => data_type.clone(),
                ("attempt", _) => DataType::UInt8,
                ("worker" | "http_status", _) => DataType::UInt16,
                ("response_bytes", _) => DataType::UInt64,
                (_, DataType::Int32) => DataType::UInt32,
                (_, data_type) => data_type.clone(),
            };
            let column = cast(column, &before).unwrap();
            (field.name().clone(), column, field.is_nullable())
        });
    RecordBatch::try_from_iter_with_nullable(older).unwrap()
}

#[test]
fn a_tape_of_an_older_version_opens_without_the_newer_columns() {
    for (version, lacks) in [(1, 8), (2, 7), (3, 1)] {
        open_older(version, lacks);
    }
}

fn open_older(version: u32, lacks: usize) {
    use std::fs::{self, File};

    let folder = tempfile::tempdir().unwrap();
    let path = TapeFixture::small().write(&folder.path().join("old.tape"));
    let part = path.join("requests/part-00000.parquet");
    let batch = RequestRow::batch(&TapeFixture::small().requests);
    let older = of_version(version, &batch);
    assert_eq!(older.num_columns() + lacks, batch.num_columns());
    assert_eq!(
        RequestRow::rows(&older).unwrap(),
        TapeFixture::small().requests
    );
    let mut writer =
        parquet::arrow::ArrowWriter::try_new(File::create(part).unwrap(), older.schema(), None)
            .unwrap();
    writer.write(&older).unwrap();
    writer.close().unwrap();
    let manifest = path.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    let [now, then] = [SCHEMA_VERSION, version].map(|of| format!("\"schema_version\": {of}"));
    assert!(text.contains(&now));
    fs::write(&manifest, text.replace(&now, &then)).unwrap();
    let options = Options {
        only: vec!["run_summary".to_owned(), "prefix_hits".to_owned()],
        ..Options::default()
    };
    let analysis = crate::runtime::block_on(crate::analyze::analyze(&[path], &options));
    let analysis = analysis.unwrap().unwrap();
    assert_eq!(analysis.table("run_summary").unwrap().rows.len(), 1);
    assert_eq!(analysis.table("prefix_hits").unwrap().rows.len(), 0);
}
