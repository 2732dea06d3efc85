//! Sessions in virtual time: a trace file through feed and driver.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Map;
use tokio::sync::mpsc;

use super::{MS, Script, limits, read_rows};
use crate::backend::protocol;
use crate::capture::schema::{RequestRow, Status};
use crate::capture::{Ending, Manifest, TapeWriter};
use crate::load::feed::{CHANNEL_REQUESTS, Prefill};
use crate::load::supply::Supply;
use crate::load::{DecoderThread, Driver, Feed, RequestTemplate, Source, Stop, TraceReplay};
use crate::plan::Loop;
use crate::plan::{OutputLength, SessionPacing};
use crate::time::clock::Clock;
use crate::time::timer::PreciseTimer;
use crate::trace::{Selection, TraceOptions};
use crate::workload::{Tokenizer, Workload};

/// Replays a canonical trace of JSON lines against a server that always answers like `script`.
async fn replay(
    lines: &str,
    pacing: SessionPacing,
    selection: Selection,
    script: Script,
) -> Vec<RequestRow> {
    let folder = tempfile::tempdir().unwrap();
    let trace: PathBuf = folder.path().join("trace.jsonl");
    std::fs::write(&trace, lines).unwrap();
    let path = folder.path().join("run.tape");
    let tape = TapeWriter::create(&path, Manifest::new("test", Loop::Open), false).unwrap();
    let (decoder, recorder) = DecoderThread::new(tape, protocol("openai").unwrap(), false, None);
    recorder.set_virtual();
    let decoder = std::thread::spawn(move || decoder.work());
    let clock = Clock::start();
    let wire = super::FakeWire {
        clock,
        server: std::sync::Arc::new(script.into()),
        in_flight: std::sync::Arc::default(),
    };
    let (_stopper, stop) = tokio::sync::watch::channel(Stop::No);
    let timing = (clock, PreciseTimer::tokio());
    let mut driver = Driver::new(wire, timing, recorder, limits(), stop);
    let feed = Feed {
        source: Source::Trace(TraceReplay {
            options: TraceOptions {
                path: trace,
                selection,
                ..TraceOptions::default()
            },
            pacing,
        }),
        template: RequestTemplate {
            backend: protocol("openai").unwrap(),
            model: "m".to_owned(),
            ignore_eos: false,
            output_length: OutputLength::Cap,
            temperature: None,
            extra_body: Map::new(),
            workload: Workload::new(&std::sync::Arc::new(Tokenizer::embedded()), 1),
            keeps_text: false,
            count_tokens: None,
        },
        warmups: 0,
    };
    let (sender, scheduled) = mpsc::channel(CHANNEL_REQUESTS);
    let (mut supply, turns) = Supply::from(scheduled).with_turns();
    let rest = supply.rest();
    let (prefill, is_ahead) = Prefill::new(usize::MAX);
    let driving = async {
        let _ = is_ahead.await;
        driver.get_ready(&mut supply).await;
        let driven = driver.drive(&mut supply, clock.now_ns(), None).await;
        drop(supply);
        driven
    };
    let (fed, driven) = tokio::join!(
        feed.prepare(sender, prefill, Some(turns), (rest, clock)),
        driving
    );
    let counts = fed.unwrap().trace.unwrap();
    assert_eq!(driven.taken, counts.taken);
    assert!(driven.is_complete);
    drop(driver);
    let tape = decoder.join().unwrap().unwrap();
    tape.finish(Ending::default()).unwrap();
    let mut rows: Vec<RequestRow> = read_rows(&path);
    rows.sort_by_key(|row| row.request_id);
    assert!(rows.iter().all(|row| row.status == Status::Ok));
    rows
}

/// One token after this time, and the end with it.
fn answer_after(ms: i64) -> Script {
    vec![(ms * MS, super::TOKEN), (ms * MS, super::FINISH)]
}

fn line(session: &str, at_ms: i64, think_ms: Option<i64>) -> String {
    let think = think_ms.map_or_else(|| "null".to_owned(), |ms| (ms * MS).to_string());
    format!(
        "{{\"arrival_ns\": {}, \"input_tokens\": 3, \"output_tokens\": 1, \"session_id\": \
         \"{session}\", \"think_ns\": {think}}}\n",
        at_ms * MS
    )
}

/// When requests were due, in milliseconds, by their number.
fn due_ms(rows: &[RequestRow]) -> Vec<i64> {
    rows.iter().map(|row| row.intended_ns / MS).collect()
}

#[tokio::test(start_paused = true)]
async fn think_times_count_from_the_end_of_the_reply() {
    let lines = [
        line("a", 0, None),
        line("b", 100, None),
        line("a", 5_000, Some(2_000)),
        line("a", 9_000, Some(500)),
    ]
    .concat();
    let slow = answer_after(4_000);
    let at_trace_time = replay(
        &lines,
        SessionPacing::Trace,
        Selection::default(),
        slow.clone(),
    )
    .await;
    assert_eq!(due_ms(&at_trace_time), [0, 100, 5_000, 9_000]);
    let think = replay(
        &lines,
        SessionPacing::Think,
        Selection::default(),
        slow.clone(),
    )
    .await;
    // Each reply takes 4 s: 0 + 4 + 2 = 6, and 6 + 4 + 0.5 = 10.5.
    assert_eq!(due_ms(&think), [0, 100, 6_000, 10_500]);
    let fast = answer_after(100);
    let think = replay(
        &lines,
        SessionPacing::Think,
        Selection::default(),
        fast.clone(),
    )
    .await;
    assert_eq!(
        due_ms(&think),
        [0, 100, 2_100, 2_700],
        "before their trace time"
    );
    let later = replay(&lines, SessionPacing::Later, Selection::default(), fast).await;
    assert_eq!(due_ms(&later), [0, 100, 5_000, 9_000]);
    let later = replay(&lines, SessionPacing::Later, Selection::default(), slow).await;
    assert_eq!(due_ms(&later), [0, 100, 6_000, 10_500]);
}

#[tokio::test(start_paused = true)]
async fn speed_and_idle_bounds_hold_for_think_times() {
    let lines = line("a", 0, None) + &line("a", 60_000, Some(50_000));
    let selection = Selection {
        speed: 2.0,
        max_idle_ns: Some(10_000 * MS),
        ..Selection::default()
    };
    let rows = replay(&lines, SessionPacing::Think, selection, answer_after(100)).await;
    assert_eq!(due_ms(&rows), [0, 5_100]);
}

#[tokio::test(start_paused = true)]
async fn every_turn_of_many_sessions_follows_its_reply_once() {
    // 300 sessions of 10 turns: more than the channels hold, in trace order and much slower there
    // than the server is.
    let turns = (0..10).flat_map(|turn| {
        (0..300).map(move |session: i64| {
            let think = (turn > 0).then_some(session % 7);
            line(
                &format!("s{session}"),
                turn * 600_000 + session * 1_000,
                think,
            )
        })
    });
    let lines: String = turns.collect();
    let rows = replay(
        &lines,
        SessionPacing::Think,
        Selection::default(),
        answer_after(50),
    )
    .await;
    assert_eq!(rows.len(), 3_000);
    let mut ends: HashMap<String, i64> = HashMap::new();
    for row in &rows {
        let session = row.session_id.clone().unwrap();
        let number: i64 = session[1..].parse().unwrap();
        if let Some(end_ns) = ends.insert(session, row.end_ns.unwrap()) {
            assert_eq!(row.intended_ns - end_ns, number % 7 * MS);
        } else {
            assert_eq!(row.turn, Some(0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn prompts_that_fill_the_memory_for_later_hold_up_no_turn() {
    // In an hour, 150 requests of 100,000 tokens each: more than is prepared ahead.
    let large = (0..150).map(|row| {
        format!(
            "{{\"arrival_ns\": {}, \"input_tokens\": 100000, \"output_tokens\": 1}}\n",
            (3_600_000 + row) * MS
        )
    });
    let lines = line("a", 0, None) + &line("a", 1_000, Some(10)) + &large.collect::<String>();
    let rows = replay(
        &lines,
        SessionPacing::Think,
        Selection::default(),
        answer_after(50),
    )
    .await;
    assert_eq!(rows.len(), 152);
    assert_eq!(rows[1].intended_ns - rows[0].end_ns.unwrap(), 10 * MS);
    let late_ns = rows[1].dispatched_ns.unwrap() - rows[1].intended_ns;
    assert!(late_ns < 5 * MS, "{late_ns} ns late");
}
