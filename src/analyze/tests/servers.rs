//! The answers about several servers and several attempts, each checked by hand.
//!
//! The small tape and what it is held against are those of `golden`.

use super::golden::answer;
use super::{analysed, spelled};
use crate::analyze::Options;
use crate::capture::schema::Status;
use crate::sql::fixture::TapeFixture;

// Requests 0 and 2 go to the one server, 1 and 3 to the other: first tokens after 10 and 30 ms, and 20.
// The tokens of the steady window are 4 + 1 and 6 in 300 ms. Of the requests of the first server one took
// an attempt that failed; that of the second ran out of time.
#[test]
fn sets_servers_side_by_side() {
    let expected = "\
run target requests requests_share ok attempts failed_attempts n ttft_p50_ns ttft_p99_ns tpot_n tpot_p50_ns tpot_p99_ns e2el_p50_ns output_tokens output_tps
small http://a 2 0.5 2 3 1 2 20000000 29800000 1 10000000 10000000 35000000 5 16.6667
small http://b 2 0.5 1 2 1 1 20000000 20000000 1 7500000 7500000 50000000 6 20";
    assert_eq!(answer("latency_by_server"), expected);
    let alone = analysed(&[("t", TapeFixture::small())], &Options::default()).unwrap();
    assert_eq!(alone.table("latency_by_server"), None);
}

// Request 2 fails twice at the one server and is answered by the other; request 4 fails for good.
#[test]
fn tells_which_failed_attempts_were_made_good() {
    let expected = "\
run target http_status error_kind attempts requests later_ok
small http://a 503 http_5xx 1 1 1
small http://b 200 timeout_idle 1 1 0";
    assert_eq!(answer("failed_attempts"), expected);
    let mut tape = TapeFixture::default();
    let mut add = |request_id, attempt, target: &str, kind: Option<&str>| {
        let row = tape.attempt(request_id, [0, 10], 20);
        row.attempt = attempt;
        row.target = Some(target.into());
        if let Some(kind) = kind {
            row.status = Status::Error;
            row.error_kind = Some(kind.into());
        }
    };
    add(2, 0, "a", Some("http_429"));
    add(2, 1, "a", Some("http_429"));
    add(2, 2, "b", None);
    add(4, 0, "a", Some("http_429"));
    add(4, 1, "b", Some("connect"));
    add(5, 0, "b", None);
    let expected = "\
run target http_status error_kind attempts requests later_ok
t a - http_429 3 2 1
t b - connect 1 1 0";
    assert_eq!(failed_attempts(tape), expected);
    // Without a second attempt every failure is one of a request, and there is nothing to add.
    let mut tape = TapeFixture::default();
    tape.attempt(0, [0, 0], 9).status = Status::Error;
    let lines = failed_attempts(tape);
    assert_eq!(lines.lines().count(), 1, "{lines}");
}

// The failed attempt at request 2 was made good; request 3 ran out of time at 400.
#[test]
fn follows_errors_over_time() {
    let expected = "\
run at_ns width_ns status error_kind http_status attempts retried
small 205000000 5000000 error http_5xx 503 1 1
small 400000000 5000000 timeout timeout_idle 200 1 0";
    assert_eq!(answer("errors_over_time"), expected);
}

// Under `--by`, servers are called by what tells them apart.
#[test]
fn servers_that_differ_in_their_middle_are_told_apart() {
    let mut tape = TapeFixture::default();
    for (request_id, port) in [(0, 8000), (1, 8001)] {
        let row = tape.attempt(request_id, [0, 0], 9);
        row.target = Some(
            format!("http://10.0.0.1:{port}/v1/chat/completions")
                .as_str()
                .into(),
        );
    }
    let options = Options {
        by: Some("target".to_owned()),
        ..Options::default()
    };
    let analysis = analysed(&[("t", tape)], &options).unwrap();
    let names: Vec<&str> = analysis.runs.iter().map(|run| run.run.as_str()).collect();
    assert_eq!(names, ["target=10.0.0.1:8000", "target=10.0.0.1:8001"]);
}

/// The answer to one tape called `t`.
fn failed_attempts(tape: TapeFixture) -> String {
    let only = vec!["failed_attempts".to_owned()];
    let options = Options {
        only,
        ..Options::default()
    };
    let analysis = analysed(&[("t", tape)], &options).unwrap();
    spelled(analysis.table("failed_attempts").unwrap())
}
