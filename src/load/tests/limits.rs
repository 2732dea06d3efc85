//! Limits on time and the client's own bounds, in virtual time.

use super::{FINISH, MS, PreparedRequest, TOKEN, answer, assert_near, drive, limits, planned};
use crate::capture::schema::Status;
use crate::load::Limits;

#[tokio::test(start_paused = true)]
async fn limits_on_time_name_what_ran_out() {
    let cases = [
        (
            Limits {
                first_timeout_ns: Some(50 * MS),
                ..limits()
            },
            answer(),
            "timeout_first",
        ),
        (
            Limits {
                idle_timeout_ns: Some(2_000 * MS),
                ..limits()
            },
            vec![(10 * MS, TOKEN), (60_000 * MS, FINISH)],
            "timeout_idle",
        ),
    ];
    for (limits, script, kind) in cases {
        let outcome = drive(limits, None, vec![planned(0, Some(0))], script, Vec::new()).await;
        let row = &outcome.requests[0];
        assert_eq!(
            row.error_kind.as_ref().map(|kind| kind.as_str()),
            Some(kind)
        );
        assert_eq!(row.status, Status::Timeout);
    }
}

/// Content and the end mark in one read.
const WHOLE: &str = "data: {\"choices\":[{\"index\":0,\"text\":\" a\",\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n";

#[tokio::test(start_paused = true)]
async fn a_limit_is_judged_by_when_a_read_came_and_not_by_when_it_was_decoded() {
    // Batches are handed over each 50 ms, so that nobody has decoded these tokens when the limit is
    // up; they came right before it, or right after.
    for (token_ms, kind) in [(49, None), (51, Some("timeout_first"))] {
        let limits = Limits {
            first_timeout_ns: Some(50 * MS),
            ..limits()
        };
        let script = vec![(token_ms * MS, TOKEN), (5_000 * MS, FINISH)];
        let outcome = drive(limits, None, vec![planned(0, Some(0))], script, Vec::new()).await;
        let row = &outcome.requests[0];
        let found = row.error_kind.as_ref().map(|kind| kind.as_str());
        assert_eq!(found, kind, "a token after {token_ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_stops_does_not_put_a_limit_off() {
    let limits = Limits {
        request_timeout_ns: 500 * MS,
        ..limits()
    };
    // More comes at each look than was decoded since the last one: virtual time goes on only while the
    // decoder, which is real, has nothing to do with it.
    let script = (1..200_000)
        .map(|ping| (ping * MS / 10, ": ping\n\n"))
        .collect::<Vec<_>>();
    let outcome = drive(limits, None, vec![planned(0, Some(0))], script, Vec::new()).await;
    let row = &outcome.requests[0];
    assert_eq!(row.error_kind.as_ref().unwrap().as_str(), "timeout_total");
    let end_ms = row.end_ns.unwrap() / MS;
    assert!((500..19_000).contains(&end_ms), "{end_ms}");
}

#[tokio::test(start_paused = true)]
async fn no_limit_goes_on_after_the_end_mark() {
    let tight = [
        Limits {
            idle_timeout_ns: Some(100 * MS),
            ..limits()
        },
        Limits {
            request_timeout_ns: 100 * MS,
            ..limits()
        },
        Limits {
            first_timeout_ns: Some(100 * MS),
            ..limits()
        },
    ];
    for limits in tight {
        // The server leaves the connection open, and goes on to speak for a long time: virtual time
        // runs on while the decoder thread, which is real, decodes the end mark.
        let mut script = vec![(95 * MS, WHOLE)];
        script.extend((1..2_000).map(|ping| ((95 + 500 * ping) * MS, ": ping\n\n")));
        let outcome = drive(limits, None, vec![planned(0, Some(0))], script, Vec::new()).await;
        let row = &outcome.requests[0];
        assert_eq!(row.status, Status::Ok, "{:?}", row.error_kind);
        let end_ms = row.end_ns.unwrap() / MS;
        assert!((1_095..900_000).contains(&end_ms), "{end_ms}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_mark_that_comes_after_the_limit_does_not_lift_it() {
    let limits = Limits {
        request_timeout_ns: 100 * MS,
        ..limits()
    };
    let script = vec![(50 * MS, TOKEN), (101 * MS, WHOLE), (3_600_000 * MS, "")];
    let outcome = drive(limits, None, vec![planned(0, Some(0))], script, Vec::new()).await;
    let row = &outcome.requests[0];
    assert_eq!(row.error_kind.as_ref().unwrap().as_str(), "timeout_total");
}

#[tokio::test(start_paused = true)]
async fn a_bound_counts_each_request_that_it_held_back_once() {
    // Two slots, and ends of others in between that turn the driver's loop.
    let limits = Limits {
        max_in_flight: 2,
        ..limits()
    };
    let schedule = (0..7).map(|id| planned(id, Some(0))).collect();
    let outcome = drive(limits.clone(), None, schedule, answer(), Vec::new()).await;
    assert_eq!(outcome.driven.in_flight_bound_hits, 5);
    // What was still held back at the end was held back too.
    let schedule = (0..7).map(|id| planned(id, Some(0))).collect();
    let outcome = drive(
        limits.clone(),
        Some(100 * MS),
        schedule,
        answer(),
        Vec::new(),
    )
    .await;
    assert_eq!(outcome.driven.in_flight_bound_hits, 5);
    // A cap of the user's is no bound of ours, and what comes when a slot is free is not held back.
    let capped = Limits {
        max_concurrency: Some(2),
        ..limits.clone()
    };
    let schedule = (0..7).map(|id| planned(id, Some(0))).collect();
    let outcome = drive(capped, None, schedule, answer(), Vec::new()).await;
    assert_eq!(outcome.driven.in_flight_bound_hits, 0);
    let schedule = (0..7)
        .map(|id| planned(id, Some(i64::try_from(id).unwrap() * 100 * MS)))
        .collect();
    let outcome = drive(limits, None, schedule, answer(), Vec::new()).await;
    assert_eq!(outcome.driven.in_flight_bound_hits, 0);
}

#[tokio::test(start_paused = true)]
async fn the_client_hangs_up_on_the_requests_that_it_is_to_and_on_no_other() {
    let after = [None, Some(125 * MS), Some(300 * MS), Some(0)];
    let schedule = (0..).zip(after).map(|(id, after_ns)| PreparedRequest {
        hang_up_after_ns: after_ns,
        ..planned(id, Some(0))
    });
    let outcome = drive(limits(), None, schedule.collect(), answer(), Vec::new()).await;
    assert!(outcome.driven.is_complete);
    let rows = outcome.requests;
    for whole in [&rows[0], &rows[2]] {
        assert_eq!((whole.status, whole.chunk_count), (Status::Ok, 10));
    }
    for (row, chunks, end_ns) in [(&rows[1], 3, 125 * MS), (&rows[3], 0, 0)] {
        assert_eq!((row.status, row.chunk_count), (Status::Cancelled, chunks));
        assert_eq!(row.error_kind.as_ref().unwrap().as_str(), "hung_up");
        assert_near(row.end_ns.unwrap(), end_ns);
    }
}
