//! Traces made of traces: what is taken, what is changed, and what is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rustix::fs::{CWD, Mode, mkfifoat};

use super::statistics::moments;
use super::{Scratch, read_selected};
use crate::trace::{
    BUNDLED, Changes, Conversion, Selection, Synthesis, Synthesized, TraceError, TraceRow, Window,
    convert, synthesize,
};

pub(super) async fn try_changed(
    scratch: &Scratch,
    path: &Path,
    changes: Changes,
) -> Result<(PathBuf, Synthesized), TraceError> {
    let output = scratch.folder.path().join("made.parquet");
    let synthesis = Synthesis {
        path: path.to_owned(),
        changes,
        output: output.clone(),
        ..Synthesis::default()
    };
    let file = File::create(&output).unwrap();
    Ok((output, synthesize(&synthesis, file).await?))
}

pub(super) async fn changed(
    scratch: &Scratch,
    path: &Path,
    changes: Changes,
) -> (PathBuf, Synthesized) {
    try_changed(scratch, path, changes).await.unwrap()
}

/// Reads all rows of a canonical file, also failed ones.
pub(super) async fn rows_of(path: &Path) -> Vec<TraceRow> {
    let selection = Selection {
        keeps_failed: true,
        ..Selection::default()
    };
    let replay = read_selected(path, selection).await.unwrap();
    assert_eq!(replay.counts.out_of_order, 0);
    replay.rows
}

/// Two conversations over one system prompt (block 1), and a request that belongs to nobody.
const SESSIONS: &str = r#"
{"arrival_ns":1000000000,"input_tokens":25,"output_tokens":5,"session_id":"a","turn":0,"prefix_blocks":[1,2,3],"block_size":10}
{"arrival_ns":2000000000,"input_tokens":15,"output_tokens":5,"session_id":"b","turn":0,"prefix_blocks":[1,4],"block_size":10}
{"arrival_ns":3000000000,"input_tokens":35,"output_tokens":5,"session_id":"a","parent_id":"a0","turn":1,"think_ns":7,"prefix_blocks":[1,2,5,6],"block_size":10}
{"arrival_ns":6000000000,"input_tokens":9,"output_tokens":5}
{"arrival_ns":9000000000,"input_tokens":45,"output_tokens":5,"session_id":"a","parent_id":"a1","turn":2,"think_ns":8,"prefix_blocks":[1,2,5,7,8],"block_size":10}
"#;

const SECOND_NS: i64 = 1_000_000_000;

fn window(from_s: i64, to_s: Option<i64>) -> Window {
    Window {
        from_ns: from_s * SECOND_NS,
        to_ns: to_s.map(|to_s| to_s * SECOND_NS),
    }
}

/// What is left of a row: when in seconds, session, parent, turn, pause.
type Story = (
    i64,
    Option<String>,
    Option<String>,
    Option<u32>,
    Option<i64>,
);

fn stories(rows: &[TraceRow]) -> Vec<Story> {
    let story = |row: &TraceRow| {
        (
            row.arrival_ns / SECOND_NS,
            row.session_id.clone(),
            row.parent_id.clone(),
            row.turn,
            row.think_ns,
        )
    };
    rows.iter().map(story).collect()
}

/// The rows of each session, in order.
fn by_session(rows: &[TraceRow]) -> BTreeMap<String, Vec<&TraceRow>> {
    let mut sessions: BTreeMap<String, Vec<&TraceRow>> = BTreeMap::new();
    for row in rows {
        if let Some(session) = &row.session_id {
            sessions.entry(session.clone()).or_default().push(row);
        }
    }
    sessions
}

fn blocks_of(rows: &[&TraceRow]) -> BTreeSet<u64> {
    rows.iter()
        .flat_map(|row| row.prefix_blocks.iter().copied())
        .collect()
}

#[tokio::test]
async fn without_changes_a_trace_is_only_put_in_order() {
    for sample in BUNDLED {
        let scratch = Scratch::new();
        let path = scratch.write(sample.file_name, sample.text);
        let (made, counts) = changed(&scratch, &path, Changes::default()).await;
        let before = rows_of(&path).await;
        assert_eq!(rows_of(&made).await, before, "{}", sample.file_name);
        assert_eq!(counts.written, counts.read);
        assert_eq!(counts.copies, 1);
    }
}

#[tokio::test]
async fn thinning_takes_sessions_whole_and_leaves_arrivals() {
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", BUNDLED[1].text);
    let before = rows_of(&path).await;
    assert_eq!(before.len(), 200);
    let sessions = by_session(&before);
    let mut counts = Vec::new();
    for seed in 0..8 {
        let changes = Changes {
            rate_scale: 0.5,
            seed,
            ..Changes::default()
        };
        let (made, _) = changed(&scratch, &path, changes).await;
        // From the first arrival that was taken.
        let rows = rows_of(&made).await;
        for (session, rows) in by_session(&rows) {
            let all = &sessions[&session];
            assert_eq!(rows.len(), all.len(), "{session}");
            let off_ns = all[0].arrival_ns - rows[0].arrival_ns;
            let pairs = rows.iter().zip(all);
            assert!(
                pairs
                    .clone()
                    .all(|(one, all)| all.arrival_ns - one.arrival_ns == off_ns)
            );
        }
        counts.push(f64::from(u32::try_from(rows.len()).unwrap()));
    }
    let (mean, _) = moments(&counts);
    // 8 draws of half of 200 rows in about 80 lumps: a standard error of about 3 %.
    assert!((mean / 200.0 - 0.5).abs() < 0.12, "{mean}");
}

#[tokio::test]
async fn copies_have_sessions_parents_and_blocks_of_their_own() {
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", SESSIONS);
    let changes = Changes {
        rate_scale: 3.0,
        ..Changes::default()
    };
    let (made, counts) = changed(&scratch, &path, changes).await;
    assert_eq!((counts.read, counts.written, counts.sessions), (5, 15, 2));
    let rows = rows_of(&made).await;
    let sessions = by_session(&rows);
    let names: Vec<&str> = sessions.keys().map(String::as_str).collect();
    let first: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| name.starts_with('a'))
        .collect();
    assert!(first.starts_with(&["a", "a#2", "a#3"]), "{names:?}");
    // The system prompt is one for all; all else belongs to one copy of one session.
    let copies = ["a", "a#2", "a#3"].map(|name| blocks_of(&sessions[name]));
    assert_eq!(copies[0], BTreeSet::from([1, 2, 3, 5, 6, 7, 8]));
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        let shared: Vec<u64> = copies[one].intersection(&copies[other]).copied().collect();
        assert_eq!(shared, [1], "{one} {other}");
    }
    let parents: Vec<_> = rows
        .iter()
        .filter_map(|row| row.parent_id.clone())
        .collect();
    assert!(parents.contains(&"a0#2".to_owned()), "{parents:?}");
}

#[tokio::test]
async fn a_copy_of_a_copy_meets_none_of_the_first() {
    let scratch = Scratch::new();
    // A last row far behind, so that no copy cuts a session at the end of the trace.
    let last = r#"{"arrival_ns":900000000000,"input_tokens":9,"output_tokens":5}"#;
    let path = scratch.write("t.jsonl", format!("{SESSIONS}{last}"));
    let twice = Changes {
        rate_scale: 2.0,
        input_scale: 2.0,
        ..Changes::default()
    };
    let (made, _) = changed(&scratch, &path, twice.clone()).await;
    let once = scratch.folder.path().join("once.parquet");
    std::fs::rename(&made, &once).unwrap();
    let (made, _) = changed(&scratch, &once, twice).await;
    let rows = rows_of(&made).await;
    let sessions = by_session(&rows);
    assert_eq!(sessions.len(), 8, "{:?}", sessions.keys());
    let blocks: Vec<BTreeSet<u64>> = sessions.values().map(|rows| blocks_of(rows)).collect();
    for (at, one) in blocks.iter().enumerate() {
        for other in &blocks[at + 1..] {
            // The system prompt is one for all, four times as long.
            let shared: Vec<u64> = one.intersection(other).copied().collect();
            assert_eq!(shared.len(), 4, "{shared:?}");
            assert!(shared.contains(&1));
        }
    }
}

#[tokio::test]
async fn a_session_that_a_copy_cuts_at_the_end_goes_on_at_the_start_as_another() {
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", SESSIONS);
    let changes = Changes {
        rate_scale: 2.0,
        copy_shift_ns: Some(4 * SECOND_NS),
        ..Changes::default()
    };
    let (made, _) = changed(&scratch, &path, changes).await;
    let rows = rows_of(&made).await;
    let last_ns = rows.iter().map(|row| row.arrival_ns).max();
    // No copy is longer than the trace.
    assert_eq!(last_ns, Some(8 * SECOND_NS));
    let sessions = by_session(&rows);
    let names: Vec<&str> = sessions.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "a#2", "a#4", "b", "b#2"]);
    // Its last turn came past the end; what it followed is not there.
    let cut = &sessions["a#4"];
    assert_eq!(cut.len(), 1);
    let first = cut[0];
    assert!(first.arrival_ns < 4 * SECOND_NS);
    let fields = (first.turn, first.parent_id.as_ref(), first.think_ns);
    assert_eq!(fields, (Some(0), None, None));
    let whole = &sessions["a#2"];
    assert_eq!(whole.len(), 2);
    assert_eq!(whole[1].parent_id.as_deref(), Some("a0#2"));
}

#[tokio::test]
async fn what_a_window_leaves_of_a_session_is_a_session() {
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", SESSIONS);
    let changes = Changes {
        windows: vec![window(5, None), window(0, Some(3))],
        ..Changes::default()
    };
    let (made, counts) = changed(&scratch, &path, changes).await;
    assert_eq!((counts.in_windows, counts.written), (5, 5));
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        stories(&rows_of(&made).await),
        [
            (0, None, None, None, None),
            (3, text("a"), None, Some(0), None),
            (3, text("a#2"), None, Some(0), None),
            (4, text("b#2"), None, Some(0), None),
            (5, text("a#2"), text("a0#2"), Some(1), Some(7)),
        ]
    );
}

#[tokio::test]
async fn the_same_seed_gives_the_same_file_and_another_one_another() {
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", BUNDLED[2].text);
    let changes = |seed| Changes {
        rate_scale: 2.5,
        input_scale: 1.5,
        output_scale: 0.5,
        seed,
        ..Changes::default()
    };
    let mut files = Vec::new();
    for seed in [1, 1, 2] {
        let (made, _) = changed(&scratch, &path, changes(seed)).await;
        files.push(std::fs::read(made).unwrap());
    }
    assert_eq!(files[0], files[1]);
    assert_ne!(files[0], files[2]);
}

#[tokio::test]
async fn rows_don_t_depend_on_how_the_file_is_read() {
    // More than a batch, in two files that are cut into batches in their own ways.
    let rows = (0..20_000_u64).map(|row| {
        let (session, at_ns) = (row % 700, row * 10_000_000);
        format!(
            "{{\"arrival_ns\":{at_ns},\"input_tokens\":{},\"output_tokens\":3,\
             \"session_id\":\"{session}\",\"prefix_blocks\":[1,{}],\"block_size\":16}}\n",
            20 + row % 7,
            1000 + row,
        )
    });
    let scratch = Scratch::new();
    let text = scratch.write("t.jsonl", rows.collect::<String>());
    let parquet = scratch.folder.path().join("t.parquet");
    let conversion = Conversion {
        path: text.clone(),
        output: parquet.clone(),
        ..Conversion::default()
    };
    convert(&conversion, File::create(&parquet).unwrap())
        .await
        .unwrap();
    let changes = Changes {
        rate_scale: 1.5,
        input_scale: 2.0,
        windows: vec![window(10, Some(50)), window(90, None)],
        ..Changes::default()
    };
    let (made, _) = changed(&scratch, &text, changes.clone()).await;
    let one = rows_of(&made).await;
    let (made, _) = changed(&scratch, &parquet, changes).await;
    assert_eq!(rows_of(&made).await, one);
}

#[tokio::test]
async fn lengths_are_scaled_and_what_failed_or_is_extra_stays() {
    let scratch = Scratch::new();
    let path = scratch.write("t.csv", BUNDLED[1].text);
    let changes = Changes {
        input_scale: 3.0,
        output_scale: 0.1,
        ..Changes::default()
    };
    let (made, counts) = changed(&scratch, &path, changes).await;
    let (before, after) = (rows_of(&path).await, rows_of(&made).await);
    assert_eq!(counts.written, 200);
    assert!(before.iter().any(|row| row.failed));
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(after.failed, before.failed);
        assert_eq!(after.input_tokens, 3 * before.input_tokens);
        let shorter = (f64::from(before.output_tokens) / 10.0).round();
        let least = if before.failed { 0.0 } else { 1.0 };
        assert_eq!(
            f64::from(after.output_tokens).to_bits(),
            shorter.max(least).to_bits()
        );
    }
    let file = File::open(&made).unwrap();
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let schema = builder.schema();
    assert!(schema.field_with_name("extra_Total tokens").is_ok());
    assert!(schema.field_with_name("__number").is_err());
}

#[tokio::test]
async fn what_can_t_be_made_is_refused_by_name() {
    let scratch = Scratch::new();
    let path = scratch.write("t.jsonl", SESSIONS);
    let refused = async |changes: Changes| {
        let error = try_changed(&scratch, &path, changes).await.unwrap_err();
        let folder = format!("{}/", scratch.folder.path().display());
        error.to_string().replace(&folder, "")
    };
    let long = Changes {
        output_scale: 1000.0,
        ..Changes::default()
    };
    assert!(try_changed(&scratch, &path, long).await.is_ok());
    let nothing = Changes {
        windows: vec![window(4, Some(5))],
        ..Changes::default()
    };
    assert_eq!(
        refused(nothing).await,
        "nothing is left of the 5 requests of `t.jsonl`"
    );
    let many = Changes {
        rate_scale: 1e9,
        ..Changes::default()
    };
    assert_eq!(
        refused(many).await,
        "`--rate-scale 1000000000` is not above 0 and up to 10000"
    );
    let row = r#"{"arrival_ns":1,"input_tokens":16777216,"output_tokens":1}"#;
    let path = scratch.write("long.jsonl", row);
    let twice = Changes {
        input_scale: 2.0,
        ..Changes::default()
    };
    let error = try_changed(&scratch, &path, twice).await.unwrap_err();
    assert!(
        error.to_string().contains("long.jsonl` line 1: scaled"),
        "{error}"
    );
}

#[tokio::test]
async fn a_pipe_is_refused_before_it_is_read() {
    let scratch = Scratch::new();
    let path = scratch.folder.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let error = try_changed(&scratch, &path, Changes::default()).await;
    assert!(matches!(error, Err(TraceError::ReadOnce { .. })));
}
