//! Sessions of conversations in virtual time: when their turns are due, and what these hold.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde_json::{Map, json};

use super::sessions::run_source;
use super::{FINISH, MS, Refusals, Script, Server, TOKEN, limits};
use crate::capture::manifest::SessionCounts;
use crate::capture::schema::{RequestRow, Status};
use crate::load::{SessionLoad, Source};
use crate::plan::{Arrivals, FailedTurn, Process, SessionReplies};
use crate::schedule::{Bounds, schedule};
use crate::workload::{Content, Conversation, ConversationTurn, Conversations};

/// Conversations of so many turns, with a think time before each.
struct Made {
    turns: usize,
    think_ns: i64,
}

impl Conversations for Made {
    fn conversation(&self, index: u64) -> Conversation {
        let turn = |turn: usize| {
            let message = json!({ "role": "user", "content": format!("ask {index}.{turn}") });
            ConversationTurn {
                messages: vec![message.as_object().unwrap().clone()],
                reply: Some(format!("told {index}.{turn}")),
                fields: None,
                tokens: Some(2),
                output_tokens: 2,
                think_ns: self.think_ns,
            }
        };
        let opening = json!({ "role": "system", "content": "Be brief." });
        Conversation {
            id: format!("c{index}"),
            opening: vec![opening.as_object().unwrap().clone()],
            shared_tokens: None,
            turns: (0..self.turns).map(turn).collect(),
        }
    }

    fn warmup(&self, _index: u64) -> Content {
        Content::default()
    }

    fn count(&self) -> Option<u64> {
        None
    }

    fn typical_output_tokens(&self) -> Option<u32> {
        Some(2)
    }
}

/// Two tokens; the answer ends after 100 ms.
fn script() -> Script {
    vec![(50 * MS, TOKEN), (60 * MS, TOKEN), (100 * MS, FINISH)]
}

/// So many sessions, closed or at a rate.
fn load(conversations: Made, sessions: u64, rate: Option<f64>) -> SessionLoad {
    let arrivals = Arrivals {
        process: match rate {
            Some(_) => Process::Constant,
            None => Process::Closed,
        },
        burstiness: None,
        request_rate: rate,
        ramp_up: None,
        options: Map::new(),
    };
    let bounds = Bounds {
        count: Some(sessions),
        ..Bounds::default()
    };
    SessionLoad {
        starts: schedule(&arrivals, bounds).unwrap(),
        conversations: Box::new(conversations),
        max_sessions: None,
        max_requests: None,
        on_failed_turn: FailedTurn::End,
    }
}

async fn run(
    load: SessionLoad,
    replies: SessionReplies,
    server: Server,
) -> (Vec<RequestRow>, SessionCounts) {
    let source = Source::Sessions(load);
    let (rows, fed, driven) = run_source(source, replies, (limits(), None), server).await;
    assert!(driven.is_complete);
    (rows, fed.sessions.unwrap())
}

/// When the requests of a session were due, in milliseconds.
fn due_ms(rows: &[RequestRow], session: &str) -> Vec<i64> {
    let is_of = |row: &&RequestRow| row.session_id.as_deref() == Some(session);
    rows.iter()
        .filter(is_of)
        .map(|row| row.intended_ns / MS)
        .collect()
}

fn prompts(rows: &[RequestRow]) -> Vec<&str> {
    rows.iter()
        .map(|row| row.prompt.as_deref().unwrap())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn a_turn_holds_what_the_server_said_and_is_due_a_think_time_after_it() {
    let made = Made {
        turns: 3,
        think_ns: 40 * MS,
    };
    let load = SessionLoad {
        max_sessions: Some(1),
        ..load(made, 1, None)
    };
    let (rows, counts) = run(load, SessionReplies::Live, script().into()).await;
    assert_eq!(due_ms(&rows, "c0"), [0, 140, 280]);
    let said = prompts(&rows);
    assert_eq!(said[0], "Be brief.\nask 0.0");
    assert_eq!(said[2], "Be brief.\nask 0.0\n a a\nask 0.1\n a a\nask 0.2");
    let turns: Vec<_> = rows.iter().map(|row| row.turn).collect();
    assert_eq!(turns, [Some(0), Some(1), Some(2)]);
    assert_eq!(rows[0].input_tokens_planned, Some(2));
    assert_eq!(
        rows[1].input_tokens_planned, None,
        "nobody knows how long a live reply is"
    );
    let expected = SessionCounts {
        started: 1,
        finished: 1,
        ..SessionCounts::default()
    };
    assert_eq!(counts, expected);
}

#[tokio::test(start_paused = true)]
async fn replies_are_the_data_sets_or_nobodys_by_flag() {
    for (replies, second) in [
        (
            SessionReplies::Trace,
            "Be brief.\nask 0.0\ntold 0.0\nask 0.1",
        ),
        (SessionReplies::None, "Be brief.\nask 0.0\nask 0.1"),
    ] {
        let load = load(
            Made {
                turns: 2,
                think_ns: 0,
            },
            1,
            Some(1.0),
        );
        let (rows, _) = run(load, replies, script().into()).await;
        assert_eq!(prompts(&rows)[1], second);
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_in_think_time_keeps_the_place() {
    let made = Made {
        turns: 2,
        think_ns: 1_000 * MS,
    };
    let load = SessionLoad {
        max_sessions: Some(2),
        ..load(made, 5, None)
    };
    let (rows, counts) = run(load, SessionReplies::Live, script().into()).await;
    assert_eq!(counts.finished, 5);
    let of = |session: &str| {
        let is_of = |row: &&RequestRow| row.session_id.as_deref() == Some(session);
        rows.iter().filter(is_of).collect::<Vec<_>>()
    };
    let ends: Vec<i64> = (0..5)
        .map(|session| of(&format!("c{session}"))[1].end_ns.unwrap())
        .collect();
    for session in 0..5 {
        let [first, second] = of(&format!("c{session}"))[..] else {
            panic!("two turns")
        };
        assert_eq!(second.intended_ns - first.end_ns.unwrap(), 1_000 * MS);
        match session {
            0 | 1 => assert_eq!(first.intended_ns, 0),
            _ => assert!(
                ends.contains(&first.intended_ns),
                "{session}: {}",
                first.intended_ns
            ),
        }
        let open = |at_ns: i64| {
            let is_open = |other: usize| {
                of(&format!("c{other}"))[0].intended_ns <= at_ns && at_ns < ends[other]
            };
            (0..5).filter(|other| is_open(*other)).count()
        };
        assert!(open(first.intended_ns) <= 2);
    }
}

#[tokio::test(start_paused = true)]
async fn sessions_that_come_when_all_places_are_taken_are_held_and_say_how_long() {
    let made = Made {
        turns: 1,
        think_ns: 0,
    };
    let load = SessionLoad {
        max_sessions: Some(1),
        ..load(made, 4, Some(20.0))
    };
    let (rows, _) = run(load, SessionReplies::Live, script().into()).await;
    let due: Vec<i64> = rows.iter().map(|row| row.intended_ns / MS).collect();
    assert_eq!(due, [0, 50, 100, 150], "they are due when they come");
    let held: Vec<i64> = rows.iter().map(|row| row.queued_ns / MS).collect();
    assert_eq!(held, [0, 50, 100, 150]);
}

#[tokio::test(start_paused = true)]
async fn the_number_of_requests_cuts_the_last_session_and_no_other() {
    let load = SessionLoad {
        max_sessions: Some(3),
        max_requests: Some(7),
        ..load(
            Made {
                turns: 3,
                think_ns: 0,
            },
            100,
            None,
        )
    };
    let (rows, counts) = run(load, SessionReplies::Live, script().into()).await;
    assert_eq!((rows.len(), counts.started, counts.finished), (7, 3, 3));
    let ids: Vec<u64> = rows.iter().map(|row| row.request_id).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(due_ms(&rows, "c2").len(), 1);
}

fn refusing(body_has: &'static str, times: usize) -> Server {
    Server {
        refusals: Some(Refusals {
            body_has,
            left: Arc::new(AtomicUsize::new(times)),
        }),
        ..script().into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_turn_ends_its_session_and_frees_its_place() {
    let load = SessionLoad {
        max_sessions: Some(1),
        ..load(
            Made {
                turns: 4,
                think_ns: 0,
            },
            2,
            None,
        )
    };
    let (rows, counts) = run(load, SessionReplies::Live, refusing("ask 0.1", 9)).await;
    assert_eq!(due_ms(&rows, "c0"), [0, 100]);
    assert_eq!(
        due_ms(&rows, "c1")[0],
        110,
        "the next one begins when the turn failed"
    );
    let expected = SessionCounts {
        started: 2,
        finished: 1,
        ended_early: 1,
        turns_unsent: 2,
        ..SessionCounts::default()
    };
    assert_eq!(counts, expected);
}

#[tokio::test(start_paused = true)]
async fn a_failed_turn_is_passed_over_or_sent_again_by_flag() {
    let with = |on_failed_turn| SessionLoad {
        on_failed_turn,
        ..load(
            Made {
                turns: 3,
                think_ns: 0,
            },
            1,
            Some(1.0),
        )
    };
    let (rows, counts) = run(
        with(FailedTurn::Skip),
        SessionReplies::Live,
        refusing("ask 0.1", 9),
    )
    .await;
    assert_eq!(prompts(&rows)[2], "Be brief.\nask 0.0\n a a\nask 0.2");
    assert_eq!((counts.finished, counts.turns_skipped), (1, 1));

    let (rows, counts) = run(
        with(FailedTurn::Retry),
        SessionReplies::Live,
        refusing("ask 0.1", 2),
    )
    .await;
    // Turns are numbered first, and the tries after them.
    let ids: Vec<u64> = rows.iter().map(|row| row.request_id).collect();
    assert_eq!(ids, [0, 1, 2, 4, 7]);
    assert_eq!(prompts(&rows)[4], "Be brief.\nask 0.0\n a a\nask 0.1");
    assert_eq!(
        prompts(&rows)[2],
        "Be brief.\nask 0.0\n a a\nask 0.1\n a a\nask 0.2"
    );
    assert_eq!((counts.finished, counts.turns_retried), (1, 2));

    // The last turn is heard of too.
    let (rows, counts) = run(
        with(FailedTurn::Retry),
        SessionReplies::Live,
        refusing("ask 0.2", 9),
    )
    .await;
    assert_eq!(
        (rows.len(), counts.ended_early, counts.turns_unsent),
        (6, 1, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_text_is_followed_by_made_up_text_of_its_length() {
    let silent = vec![
        (
            50 * MS,
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n",
        ),
        (60 * MS, FINISH),
    ];
    let load = load(
        Made {
            turns: 2,
            think_ns: 0,
        },
        1,
        Some(1.0),
    );
    let (rows, counts) = run(load, SessionReplies::Live, silent.into()).await;
    assert!(rows.iter().all(|row| row.status == Status::Ok), "{rows:?}");
    assert_eq!(counts.made_up_replies, 1);
    let parts: Vec<&str> = prompts(&rows)[1].split('\n').collect();
    assert_eq!((parts.len(), parts[3]), (4, "ask 0.1"));
}

#[tokio::test(start_paused = true)]
async fn sessions_are_as_deterministic_as_anything_here() {
    let sent = async |think_ns| {
        let load = SessionLoad {
            max_sessions: Some(7),
            ..load(Made { turns: 5, think_ns }, 50, None)
        };
        let (rows, _) = run(load, SessionReplies::Live, script().into()).await;
        let sent = rows
            .iter()
            .map(|row| (row.request_id, row.session_id.clone(), row.prompt.clone()));
        sent.collect::<Vec<_>>()
    };
    let at_once = sent(0).await;
    assert_eq!(at_once.len(), 250);
    assert_eq!(at_once, sent(77 * MS).await);
}

#[tokio::test(start_paused = true)]
async fn what_is_open_when_the_duration_is_over_ends_with_it() {
    let load = SessionLoad {
        max_sessions: Some(2),
        ..load(
            Made {
                turns: 50,
                think_ns: 100 * MS,
            },
            1_000,
            None,
        )
    };
    let bounds = (limits(), Some(1_000 * MS));
    let source = Source::Sessions(load);
    let (rows, fed, driven) =
        run_source(source, SessionReplies::Live, bounds, script().into()).await;
    assert!(driven.is_complete);
    assert!((2..=10).contains(&rows.len()), "{}", rows.len());
    let counts = fed.sessions.unwrap();
    assert_eq!(
        (counts.started, counts.finished, counts.ended_early),
        (2, 0, 0)
    );
}
