//! The answers about sessions, each checked by hand.

use super::counts::asked;
use super::golden::answer;
use super::{analysed, spelled};
use crate::analyze::Options;
use crate::capture::schema::{RequestRow, Status};
use crate::plan::{Loop, SessionReplies, SessionsPlan};
use crate::sql::fixture::TapeFixture;

/// The answer to a query, which is the same on one core as on several: the engine plans it otherwise there.
fn one(tape: TapeFixture, query: &str) -> String {
    let [single, several] = [1, 4].map(|partitions| {
        let options = Options {
            only: vec![query.to_owned()],
            partitions,
            ..Options::default()
        };
        let analysis = analysed(&[("t", tape.clone())], &options).unwrap();
        spelled(analysis.table(query).unwrap())
    });
    assert_eq!(single, several);
    single
}

fn in_session(row: &mut RequestRow, turn: u32, cached: Option<u32>) {
    row.session_id = Some("a".to_owned());
    row.turn = Some(turn);
    row.usage_cached_tokens = cached;
}

#[test]
fn holds_later_turns_against_first_ones() {
    assert_eq!(answer("latency_by_turn").lines().count(), 1, "no sessions");
    let mut tape = TapeFixture::default();
    in_session(
        tape.answer(0, [0, 0], &[(30, None), (40, None)]),
        0,
        Some(0),
    );
    in_session(tape.answer(1, [50, 50], &[(60, None)]), 1, Some(6));
    in_session(tape.answer(2, [70, 70], &[(90, None)]), 2, None);
    tape.answer(3, [70, 70], &[(99, None)]);
    let expected = "\
run turns n input_tokens_mean cached_share ideal_cached_share ttft_p50_ns ttft_p90_ns ttft_p99_ns tpot_p50_ns e2el_p50_ns e2el_p99_ns
t first 1 8 0 - 30000000 30000000 30000000 10000000 40000000 40000000
t later 2 8 0.75 - 15000000 19000000 19900000 - 15000000 19900000";
    assert_eq!(one(tape, "latency_by_turn"), expected);
}

#[test]
fn follows_the_time_to_first_token_turn_by_turn() {
    assert_eq!(answer("ttft_by_turn").lines().count(), 1, "no sessions");
    let mut tape = TapeFixture::default();
    in_session(tape.answer(0, [0, 0], &[(30, None)]), 0, Some(0));
    in_session(tape.answer(1, [0, 0], &[(50, None)]), 0, None);
    in_session(tape.answer(2, [50, 50], &[(60, None)]), 1, Some(6));
    in_session(tape.answer(3, [50, 50], &[(70, None)]), 63, None);
    in_session(tape.answer(4, [50, 50], &[(80, None)]), 500, None);
    tape.answer(5, [70, 70], &[(99, None)]);
    let expected = "\
run turn n input_tokens_mean cached_share ideal_cached_share ttft_p50_ns ttft_p90_ns ttft_p99_ns
t 0 2 8 0 - 40000000 48000000 49800000
t 1 1 8 0.75 - 10000000 10000000 10000000
t 63 2 8 - - 25000000 29000000 29900000";
    assert_eq!(one(tape, "ttft_by_turn"), expected);
}

/// A tape of conversations, so many at once.
fn of_sessions(max_sessions: Option<u32>, replies: SessionReplies) -> TapeFixture {
    let mut tape = TapeFixture::default();
    tape.manifest.arrival_loop = match max_sessions {
        Some(_) => Loop::Closed,
        None => Loop::Open,
    };
    tape.manifest.plan.sessions = Some(SessionsPlan {
        num_sessions: None,
        max_sessions,
        replies,
        on_failed_turn: Default::default(),
    });
    tape
}

// The prompts have 8, 20 and 40 tokens and the answers 2 each. The second prompt should have been
// cached up to the 10 of the first turn, the third up to 22; without live replies 8 and 20.
#[test]
fn a_later_turn_should_have_had_cached_what_the_turn_before_had() {
    let ideal = |replies| {
        let mut tape = of_sessions(None, replies);
        for (turn, tokens) in (0_u32..).zip([8, 20, 40]) {
            let at = i64::from(turn) * 100;
            let row = tape.answer(
                u64::from(turn),
                [at, at],
                &[(at + 10, None), (at + 20, None)],
            );
            in_session(row, turn, None);
            row.usage_input_tokens = Some(tokens);
            row.prefix_tokens_planned = (turn == 0).then_some(4);
        }
        let answer = one(tape, "latency_by_turn");
        let share = |line: usize| {
            answer
                .lines()
                .nth(line)
                .unwrap()
                .split(' ')
                .nth(5)
                .unwrap()
                .to_owned()
        };
        [share(1), share(2)]
    };
    assert_eq!(ideal(SessionReplies::Live), ["0.5", "0.5333"]);
    assert_eq!(ideal(SessionReplies::Trace), ["0.5", "0.4667"]);
}

// The second turn failed and the third went out without it: it shares what the first had, 8 + 2. Of the
// other session nobody knows what it shares: its first turn failed.
#[test]
fn a_turn_behind_a_failed_one_shares_what_the_last_good_one_had() {
    let mut tape = of_sessions(None, SessionReplies::Live);
    for (id, session, turn) in [
        (0, "a", 0),
        (1, "a", 1),
        (2, "a", 2),
        (3, "b", 0),
        (4, "b", 1),
    ] {
        let at = 100 * i64::try_from(id).unwrap();
        let row = tape.answer(id, [at, at], &[(at + 10, None), (at + 20, None)]);
        in_session(row, turn, None);
        row.session_id = Some(session.to_owned());
        if [1, 3].contains(&id) {
            row.status = Status::Error;
        }
    }
    let shared = asked(
        &tape,
        "SELECT shared_tokens FROM shared_tokens WHERE status = 'ok' ORDER BY request_id",
    );
    assert_eq!(shared, "-\n8\n-");
}

/// A session of two turns: the first from `from` on, 100 ms each, with 200 ms of thought between.
fn session(tape: &mut TapeFixture, number: u64, from: i64) {
    for (turn, at) in (0_u32..).zip([from, from + 300]) {
        let id = 2 * number + u64::from(turn);
        let row = tape.answer(id, [at, at], &[(at + 50, None), (at + 100, None)]);
        row.session_id = Some(format!("s{number}"));
        row.turn = Some(turn);
    }
}

// Two places: the second is taken at 30, the last session begins at 430, and the first that ends after
// that does so at 800.
#[test]
fn the_steady_window_of_a_closed_loop_is_while_all_places_for_sessions_are_taken() {
    let mut tape = of_sessions(Some(2), SessionReplies::Live);
    for (number, from) in [(0, 0), (1, 30), (2, 400), (3, 430)] {
        session(&mut tape, number, from);
    }
    let windows = asked(
        &tape,
        "SELECT window_name, from_ns, to_ns, basis FROM windows WHERE window_name = 'steady'",
    );
    assert_eq!(windows, "steady 30000000 800000000 sessions");
}

// The last session is due at 430, and its turns go on after that.
#[test]
fn the_steady_window_of_an_open_loop_ends_when_the_last_session_is_due() {
    let mut tape = of_sessions(None, SessionReplies::Live);
    for (number, from) in [(0, 0), (1, 400), (2, 430)] {
        session(&mut tape, number, from);
    }
    let windows = asked(
        &tape,
        "SELECT from_ns, to_ns, basis FROM windows WHERE window_name = 'steady'",
    );
    assert_eq!(windows, "0 430000000 sessions");
}
