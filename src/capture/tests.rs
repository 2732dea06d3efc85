//! Tapes end to end: written, cut short, recovered.

mod foreign;
mod room;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use proptest::prelude::*;

use super::manifest::{ClockAnchor, Manifest, State};
use super::schema::*;
use crate::plan::Loop;

use super::{CaptureError, Ending, TapeWriter, Word, recover, write_tape};

fn manifest() -> Manifest {
    Manifest {
        clock_anchors: vec![ClockAnchor {
            monotonic_ns: 0,
            utc_ns: 1_000,
        }],
        ..Manifest::new("test", Loop::Open)
    }
}

fn request(request_id: u64) -> RequestRow {
    RequestRow::new(request_id, Phase::Measure, 1_000)
}

fn chunk(request_id: u64, seq: u32, arrival_ns: i64) -> ChunkRow {
    ChunkRow {
        request_id,
        attempt: 0,
        seq,
        arrival_ns,
        gap_ns: None,
        read_seq: None,
        kernel_lag_us: None,
        channel: Channel::Content,
        has_choices: true,
        tokens: None,
        tokens_source: None,
        bytes: 200,
        text: None,
    }
}

/// Leaves a tape as a writer does that was killed; returns the number of its requests.
pub(crate) fn dead_tape(path: &Path) -> u64 {
    let mut tape = TapeWriter::create(path, manifest(), false).unwrap();
    for id in 0..3 {
        tape.push_request(request(id));
    }
    tape.push_chunks(vec![chunk(1, 0, 7_000)]);
    tape.flush().unwrap();
    3
}

fn read<R: TapeRow>(tape: &Path) -> Vec<R> {
    let mut parts: Vec<_> = fs::read_dir(tape.join(R::TABLE))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    parts.sort();
    parts
        .into_iter()
        .flat_map(|part| read_part(&part))
        .collect()
}

fn read_part<R: TapeRow>(part: &Path) -> Vec<R> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(part).unwrap()).unwrap();
    builder
        .build()
        .unwrap()
        .flat_map(|batch| R::rows(&batch.unwrap()).unwrap())
        .collect()
}

#[test]
fn rows_survive_the_way_through_columns() {
    let mut full = request(7);
    full.session_id = Some("a".into());
    full.model = Some("m".into());
    full.error_kind = Some(ErrorKind::Http429.into());
    full.status = Status::Error;
    full.http_status = Some(429);
    full.sent_ns = Some(-5);
    let rows = vec![request(1), full];
    assert_eq!(RequestRow::rows(&RequestRow::batch(&rows)).unwrap(), rows);
    let mut marked = chunk(1, 2, 3);
    marked.tokens = Some(4);
    marked.tokens_source = Some(TokensSource::Usage);
    marked.text = Some("x".into());
    let rows = vec![marked, chunk(1, 3, 4)];
    assert_eq!(ChunkRow::rows(&ChunkRow::batch(&rows)).unwrap(), rows);
}

#[test]
fn a_batch_of_an_older_layout_is_brought_into_this_one() {
    let batch = RequestRow::batch(&[request(4), request(2)]);
    assert_eq!(RequestRow::conform(batch.clone()), Some(batch.clone()));
    let index = batch.schema().index_of("prefix_tokens_planned").unwrap();
    let mut older = batch.clone();
    older.remove_column(index);
    assert_eq!(RequestRow::conform(older.clone()), Some(batch.clone()));
    // Without a column that every version has it is no table of ours.
    older.remove_column(0);
    assert_eq!(RequestRow::conform(older), None);
}

#[test]
fn words_that_no_version_knows_are_refused() {
    let batch = ChunkRow::batch(&[chunk(1, 0, 5)]);
    let index = batch.schema().index_of("channel").unwrap();
    let with_words = |words: Vec<&str>, key: i32| {
        let keys = Int32Array::from(vec![key]);
        let words: ArrayRef = Arc::new(StringArray::from(words));
        let channel = DictionaryArray::<Int32Type>::try_new(keys, words).unwrap();
        let mut columns = batch.columns().to_vec();
        columns[index] = Arc::new(channel);
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    };
    assert_eq!(ChunkRow::conform(with_words(vec!["telepathy"], 0)), None);
    // Another order of the same words is no harm.
    let reordered = with_words(vec!["done", "content"], 1);
    assert_eq!(ChunkRow::conform(reordered), Some(batch.clone()));
}

#[test]
fn closed_vocabularies_are_those_of_the_contract() {
    fn words<W: Word>() -> Vec<&'static str> {
        W::WORDS.iter().map(|(_, word)| *word).collect()
    }
    assert_eq!(
        words::<Status>(),
        [
            "ok",
            "error",
            "timeout",
            "cancelled",
            "interrupted",
            "not_sent"
        ]
    );
    for (value, word) in Channel::WORDS {
        assert_eq!(Channel::parse(word), Some(*value));
        assert_eq!(value.as_str(), *word);
    }
}

#[test]
fn a_finished_tape_is_sorted_shifted_and_has_each_request_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
    tape.begin(1_000, None).unwrap();
    // Enough for several segments and several parts; streams interleave as they do in a run.
    let (ids, length) = (50_u64, 100_u32);
    for id in (0..ids).rev() {
        tape.push_request(request(id));
    }
    for seq in 0..length {
        for id in 0..ids {
            tape.push_chunks(vec![chunk(id, seq, 2_000 + i64::from(seq))]);
        }
        tape.flush().unwrap();
    }
    for id in 0..ids {
        let mut row = request(id);
        row.status = Status::Ok;
        tape.push_request(row);
    }
    let manifest = tape.finish(Ending::default()).unwrap();
    assert_eq!(manifest.counts.requests, ids);
    assert_eq!(manifest.counts.chunks, ids * u64::from(length));
    assert!(!path.join("wal").exists());
    assert_eq!(Manifest::read(&path).unwrap().state, State::Complete);

    let requests: Vec<RequestRow> = read(&path);
    assert!(requests.iter().map(|row| row.request_id).eq(0..ids));
    assert!(
        requests
            .iter()
            .all(|row| row.status == Status::Ok && row.intended_ns == 0)
    );
    let chunks: Vec<ChunkRow> = read(&path);
    assert!(chunks.is_sorted_by_key(|row| (row.request_id, row.attempt, row.seq)));
    assert_eq!(chunks[0].arrival_ns, 1_000);
    let mut part_ids: Vec<(u64, u64)> = Vec::new();
    for entry in fs::read_dir(path.join("chunks")).unwrap() {
        let rows: Vec<ChunkRow> = read_part(&entry.unwrap().path());
        part_ids.push((rows[0].request_id, rows[rows.len() - 1].request_id));
    }
    part_ids.sort_unstable();
    assert!(part_ids.len() > 1);
    assert!(
        part_ids.windows(2).all(|pair| pair[0].1 < pair[1].0),
        "{part_ids:?}"
    );
}

#[test]
fn a_prompt_that_only_the_first_row_of_a_request_has_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
    // Some have both rows in one segment, and some in two.
    let ids = 400;
    for id in 0..ids {
        let mut row = request(id);
        row.prompt = Some(format!("prompt {id}"));
        tape.push_request(row);
    }
    tape.flush().unwrap();
    for id in 0..ids {
        let mut row = request(id);
        row.status = Status::Ok;
        row.output = (id % 2 == 0).then(|| format!("output {id}"));
        tape.push_request(row);
        if id % 50 == 0 {
            tape.flush().unwrap();
        }
    }
    tape.finish(Ending::default()).unwrap();
    let requests: Vec<RequestRow> = read(&path);
    assert!(requests.iter().map(|row| row.request_id).eq(0..ids));
    for row in requests {
        let id = row.request_id;
        assert_eq!(row.status, Status::Ok);
        assert_eq!(row.prompt, Some(format!("prompt {id}")));
        assert_eq!(row.output.is_some(), id % 2 == 0);
    }
}

#[test]
fn order_is_declared_in_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    write_tape(
        &path,
        manifest(),
        vec![request(0)],
        vec![chunk(0, 0, 5)],
        Vec::new(),
    )
    .unwrap();
    let file = File::open(path.join("chunks/part-00000.parquet")).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let columns = builder
        .metadata()
        .row_group(0)
        .sorting_columns()
        .unwrap()
        .clone();
    assert_eq!(
        columns
            .iter()
            .map(|column| column.column_idx)
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    // A table without rows is there all the same.
    assert_eq!(read::<ProbeRow>(&path), []);
}

/// What 12 scrapes of 100 series bring: more than one segment of the log.
fn scraped() -> Vec<ServerRow> {
    let rows = (0..1_200_u32).map(|place| ServerRow {
        at_ns: i64::from(place / 100) * 1_000,
        series: place % 100,
        source: Some("host".into()),
        name: Some("m".into()),
        labels: (!place.is_multiple_of(3)).then(|| format!("n=\"{}\"", place % 100).into()),
        value: (!place.is_multiple_of(7)).then(|| f64::from(place) / 8.0),
    });
    rows.collect()
}

#[test]
fn what_was_scraped_is_in_its_table_however_the_run_ends() {
    let folder = tempfile::tempdir().unwrap();
    for is_killed in [false, true] {
        let path = folder.path().join(format!("{is_killed}.tape"));
        let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
        // Scrapes come in the order of their answers.
        for scrape in scraped().chunks(100).rev() {
            tape.push_server(scrape.to_vec());
            tape.flush().unwrap();
        }
        if is_killed {
            drop(tape);
            recover(&path).unwrap().unwrap();
        } else {
            tape.finish(Ending::default()).unwrap();
        }
        assert_eq!(read::<ServerRow>(&path), scraped());
        assert_eq!(Manifest::read(&path).unwrap().counts.server, 1_200);
    }
    let path = folder.path().join("none.tape");
    let tape = TapeWriter::create(&path, manifest(), false).unwrap();
    tape.finish(Ending::default()).unwrap();
    assert!(!path.join("server").exists());
}

#[test]
fn a_dead_writer_leaves_what_it_flushed_and_says_what_was_in_flight() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    dead_tape(&path);
    let said = recover(&path).unwrap().unwrap();
    assert!(
        said.contains("3 requests (3 in flight at the end), 1 chunks"),
        "{said}"
    );
    let requests: Vec<RequestRow> = read(&path);
    assert!(requests.iter().all(|row| row.status == Status::Interrupted));
    // What the chunks tell of a request that never ended is in its row.
    assert_eq!(requests[1].first_token_ns, Some(7_000));
    assert_eq!(requests[1].chunk_count, 1);
    assert_eq!(recover(&path).unwrap(), None);
    // Who opens it later is told the same.
    assert_eq!(Manifest::read(&path).unwrap().recovered, Some(said));
}

#[test]
fn a_request_is_written_as_ended_after_its_chunks_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
    tape.push_request(request(0));
    let mut row = request(0);
    row.status = Status::Ok;
    tape.push_request(row);
    tape.push_chunks(vec![chunk(0, 0, 5)]);
    // Nothing can be written there, as if the writer died at this point.
    let chunks = path.join("wal/chunks-00000.arrows");
    fs::create_dir(&chunks).unwrap();
    assert!(tape.flush().is_err());
    drop(tape);
    fs::remove_dir(&chunks).unwrap();
    recover(&path).unwrap();
    let requests: Vec<RequestRow> = read(&path);
    let statuses: Vec<Status> = requests.iter().map(|row| row.status).collect();
    assert_eq!(statuses, [Status::Interrupted]);
}

#[test]
fn a_tape_that_is_being_written_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let tape = TapeWriter::create(&path, manifest(), false).unwrap();
    assert!(matches!(recover(&path), Err(CaptureError::Busy(_))));
    tape.finish(Ending::default()).unwrap();
    assert_eq!(recover(&path).unwrap(), None);
}

#[test]
fn a_crash_between_the_tables_and_the_end_of_the_log_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    dead_tape(&path);
    recover(&path).unwrap();
    let before: Vec<RequestRow> = read(&path);
    // The log is back, as it is when its removal never happened; a tape that is whole is left as it is.
    fs::create_dir(path.join("wal")).unwrap();
    assert_eq!(recover(&path).unwrap(), None);
    assert_eq!(read::<RequestRow>(&path), before);
    assert!(path.join("wal").exists());
}

#[test]
fn times_in_a_damaged_manifest_move_no_row_past_the_end_of_the_axis() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    dead_tape(&path);
    let mut manifest = Manifest::read(&path).unwrap();
    manifest.origin_ns = i64::MIN;
    manifest.clock_anchors[0].monotonic_ns = i64::MAX;
    manifest.write(&path).unwrap();
    recover(&path).unwrap();
    let requests: Vec<RequestRow> = read(&path);
    assert!(requests.iter().all(|row| row.intended_ns == i64::MAX));
}

#[test]
fn a_log_whose_lengths_were_damaged_gives_back_what_came_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
    tape.push_request(request(0));
    tape.flush().unwrap();
    let log = path.join("wal/requests-00000.arrows");
    let first = fs::read(&log).unwrap().len();
    tape.push_request(request(1));
    tape.flush().unwrap();
    drop(tape);
    let mut bytes = fs::read(&log).unwrap();
    bytes[first + 4..first + 8].copy_from_slice(&i32::MAX.to_le_bytes());
    fs::write(&log, bytes).unwrap();
    let said = recover(&path).unwrap().unwrap();
    assert!(said.contains("torn"), "{said}");
    assert_eq!(read::<RequestRow>(&path).len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_log_cut_anywhere_gives_back_a_prefix(cut_share in 0.0_f64..1.0, flushes in 1_usize..12) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.tape");
        let mut tape = TapeWriter::create(&path, manifest(), false).unwrap();
        tape.push_request(request(0));
        let mut written = 0;
        for flush in 0..flushes {
            for _ in 0..=flush {
                tape.push_chunks(vec![chunk(0, written, i64::from(written) * 10)]);
                written += 1;
            }
            tape.flush().unwrap();
        }
        drop(tape);
        let log = path.join("wal/chunks-00000.arrows");
        let length = fs::metadata(&log).unwrap().len();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a position in a small file")]
        let cut = (length as f64 * cut_share) as u64;
        File::options().write(true).open(&log).unwrap().set_len(cut).unwrap();
        recover(&path).unwrap();
        let chunks: Vec<ChunkRow> = read(&path);
        prop_assert!(chunks.len() <= written as usize);
        for (seq, row) in (0_u32..).zip(&chunks) {
            prop_assert_eq!(row.seq, seq);
            prop_assert_eq!(row.arrival_ns, i64::from(seq) * 10);
        }
        // Whole flushes survive: the number of rows is one that was reached by a flush.
        let is_flush_end = (0..=flushes).any(|flush| chunks.len() == flush * (flush + 1) / 2);
        prop_assert!(is_flush_end, "{} rows", chunks.len());
    }
}
