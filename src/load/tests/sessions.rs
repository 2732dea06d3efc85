//! Sessions in virtual time: a trace file through feed and driver.

use std::collections::HashMap;
use std::path::PathBuf;

use serde_json::Map;
use tokio::sync::mpsc;

use super::super::adapters::Adapters;
use super::{MS, Script, Server, limits, read_rows};
use crate::backend::{Backend, protocol};
use crate::capture::schema::{RequestRow, Status};
use crate::capture::{Ending, Manifest, TapeWriter};
use crate::load::driver::Driven;
use crate::load::feed::Fed;
use crate::load::limits::Limits;
use crate::load::listeners::RunEvents;
use crate::load::request_sender::{CHANNEL_REQUESTS, Prefill};
use crate::load::supply::{Supply, TurnNotes};
use crate::load::{DecoderThread, Driver, Feed, RequestTemplate, Source, Stop, TraceReplay};
use crate::plan::Loop;
use crate::plan::{OutputLength, SessionPacing, SessionReplies};
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
    let (rows, _) = replay_with(lines, pacing, (selection, SessionReplies::Trace), script).await;
    assert!(rows.iter().all(|row| row.status == Status::Ok));
    rows
}

fn template(backend: Backend, session_replies: SessionReplies) -> RequestTemplate {
    RequestTemplate {
        backend,
        model: "m".to_owned(),
        adapters: Adapters::default(),
        ignore_eos: false,
        output_length: OutputLength::Cap,
        session_replies,
        temperature: None,
        extra_body: Map::new(),
        workload: std::sync::Arc::new(Workload::new(
            &std::sync::Arc::new(Tokenizer::embedded()),
            1,
        )),
        hang_up: None,
        keeps_text: true,
        prompt_counter: None,
    }
}

/// The same, with these replies in the prompts of later turns; returns how many were made up, too.
async fn replay_with(
    lines: &str,
    pacing: SessionPacing,
    (selection, session_replies): (Selection, SessionReplies),
    script: Script,
) -> (Vec<RequestRow>, u64) {
    let folder = tempfile::tempdir().unwrap();
    let trace: PathBuf = folder.path().join("trace.jsonl");
    std::fs::write(&trace, lines).unwrap();
    let source = Source::Trace(TraceReplay {
        options: TraceOptions {
            path: trace,
            selection,
            ..TraceOptions::default()
        },
        pacing,
    });
    let server = script.into();
    let (rows, fed, driven) = run_source(source, session_replies, (limits(), None), server).await;
    let counts = fed.trace.unwrap();
    assert_eq!(driven.taken, counts.taken);
    assert!(driven.is_complete);
    (rows, fed.made_up_replies)
}

/// Drives what a source has. Returns the requests by their numbers.
pub(super) async fn run_source(
    source: Source,
    session_replies: SessionReplies,
    (limits, duration_ns): (Limits, Option<i64>),
    server: Server,
) -> (Vec<RequestRow>, Fed, Driven) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.tape");
    let tape = TapeWriter::create(&path, Manifest::new("test", Loop::Open), false).unwrap();
    let backend = protocol("openai").unwrap();
    let (listener, notes) = TurnNotes::channel();
    let events = RunEvents::to(vec![listener]);
    let (decoder, recorder) = DecoderThread::new(tape, backend, false, None, events);
    let begun = std::sync::Arc::clone(&recorder);
    recorder.set_virtual();
    let decoder = std::thread::spawn(move || decoder.work());
    let clock = Clock::start();
    let wire = super::FakeWire {
        clock,
        server: std::sync::Arc::new(server),
        in_flight: std::sync::Arc::default(),
    };
    let (_stopper, stop) = tokio::sync::watch::channel(Stop::No);
    let timing = (clock, PreciseTimer::tokio());
    let mut driver = Driver::new(wire.into(), timing, recorder, limits, stop);
    let feed = Feed {
        source,
        template: template(backend, session_replies),
        warmups: 0,
    };
    let (sender, scheduled) = mpsc::channel(CHANNEL_REQUESTS);
    let (mut supply, turns) = Supply::from(scheduled).with_turns(notes);
    let rest = supply.rest();
    let (prefill, is_ahead) = Prefill::new(usize::MAX);
    let driving = async {
        let _ = is_ahead.await;
        driver.get_ready(&mut supply).await;
        let start_ns = clock.now_ns();
        begun.begin(start_ns, None);
        drop(begun);
        let driven = driver.drive(&mut supply, start_ns, duration_ns).await;
        drop(supply);
        driven
    };
    let (fed, driven) = tokio::join!(
        feed.prepare(sender, prefill, Some(turns), (rest, clock)),
        driving
    );
    drop(driver);
    let tape = decoder.join().unwrap().unwrap();
    tape.finish(Ending::default()).unwrap();
    let mut rows: Vec<RequestRow> = read_rows(&path);
    rows.sort_by_key(|row| row.request_id);
    (rows, fed.unwrap(), driven)
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

/// A conversation of four turns that bring their text, but no replies.
fn conversation() -> String {
    (0..4)
        .map(|turn| {
            format!(
                "{{\"arrival_ns\": {}, \"input_tokens\": 2, \"output_tokens\": 3, \"session_id\": \
                 \"a\", \"think_ns\": {}, \"prompt\": \"ask {turn}\", \"new_only\": true}}\n",
                turn * 1_000 * MS,
                if turn == 0 {
                    "null".to_owned()
                } else {
                    (10 * MS).to_string()
                },
            )
        })
        .collect()
}

#[tokio::test(start_paused = true)]
async fn live_replies_are_what_the_server_said_in_the_turns_before() {
    let script = vec![
        (50 * MS, super::TOKEN),
        (60 * MS, super::TOKEN),
        (70 * MS, super::FINISH),
    ];
    let live = (Selection::default(), SessionReplies::Live);
    let (rows, made_up) =
        replay_with(&conversation(), SessionPacing::Think, live, script.clone()).await;
    assert_eq!(made_up, 0);
    let prompts: Vec<&str> = rows
        .iter()
        .map(|row| row.prompt.as_deref().unwrap())
        .collect();
    assert_eq!(prompts[0], "ask 0");
    assert_eq!(prompts[1], "ask 0\n a a\nask 1");
    assert_eq!(prompts[3], "ask 0\n a a\nask 1\n a a\nask 2\n a a\nask 3");
    for pair in rows.windows(2) {
        assert_eq!(pair[1].intended_ns - pair[0].end_ns.unwrap(), 10 * MS);
    }
    // Without that, nothing is kept of replies, and text of their length stands for them.
    let trace = (Selection::default(), SessionReplies::Trace);
    let (rows, made_up) = replay_with(&conversation(), SessionPacing::Think, trace, script).await;
    assert_eq!(made_up, 0);
    let second = rows[1].prompt.as_deref().unwrap();
    assert!(
        second.starts_with("ask 0\n") && second.ends_with("\nask 1"),
        "{second}"
    );
    assert!(!second.contains(" a a"), "{second}");
}

#[tokio::test(start_paused = true)]
async fn a_turn_after_one_that_said_nothing_goes_out_with_made_up_text() {
    let fails = vec![(50 * MS, "data: {\"error\": {\"message\": \"no\"}}\n\n")];
    let live = (Selection::default(), SessionReplies::Live);
    let (rows, made_up) = replay_with(&conversation(), SessionPacing::Think, live, fails).await;
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().all(|row| row.status == Status::Error));
    assert_eq!(made_up, 1 + 2 + 3);
}

#[tokio::test(start_paused = true)]
async fn a_turn_after_a_fault_of_the_client_waits_for_no_reply() {
    let faults = vec![(50 * MS, super::TOKEN), (60 * MS, super::FAULT)];
    let live = (Selection::default(), SessionReplies::Live);
    let (rows, made_up) = replay_with(&conversation(), SessionPacing::Think, live, faults).await;
    assert_eq!((rows.len(), made_up), (4, 6));
}
