//! How a run ends: by its duration, by a refusal of everything, by a fault; in virtual time.

use super::{FAULT, MS, Server, answer, drive, limits, planned};
use crate::capture::schema::{RequestRow, Status};
use crate::load::Limits;

#[tokio::test(start_paused = true)]
async fn stops_at_the_duration_even_if_the_cap_still_holds_requests_back() {
    let limits = Limits {
        max_concurrency: Some(1),
        drain_ns: 0,
        ..limits()
    };
    let schedule = (0..100)
        .map(|id| planned(id, Some(i64::try_from(id).unwrap() * 10 * MS)))
        .collect();
    let outcome = drive(limits, Some(500 * MS), schedule, answer(), Vec::new()).await;
    assert!(
        outcome.driven.is_complete,
        "a duration is a way to end, not an interruption"
    );
    let sent = outcome
        .requests
        .iter()
        .filter(|row| row.sent_ns.is_some())
        .count();
    let not_sent: Vec<&RequestRow> = outcome
        .requests
        .iter()
        .filter(|row| row.status == Status::NotSent)
        .collect();
    assert_eq!(sent, 3, "one each 195 ms, the last sent before 500 ms");
    assert_eq!(
        sent + not_sent.len(),
        50,
        "those that were due before the end, and no others"
    );
    assert!(
        not_sent
            .iter()
            .all(|row| row.sent_ns.is_none() && row.intended_ns < 500 * MS)
    );
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_overdue_without_pause_stops_at_the_end_all_the_same() {
    let schedule = (0..1_000)
        .map(|id| planned(id, Some(i64::try_from(id).unwrap() * MS / 2)))
        .collect();
    let server = Server {
        send_cost_ns: MS,
        ..answer().into()
    };
    let limits = Limits {
        drain_ns: 0,
        ..limits()
    };
    let outcome = drive(limits, Some(100 * MS), schedule, server, Vec::new()).await;
    assert!(outcome.driven.is_complete);
    let (sent, not_sent): (Vec<_>, Vec<_>) = outcome
        .requests
        .iter()
        .partition(|row| row.sent_ns.is_some());
    // All that was due before the end has a row; what could be sent by then was.
    assert_eq!(outcome.requests.len(), 200);
    assert!(
        outcome
            .requests
            .iter()
            .all(|row| row.intended_ns < 100 * MS)
    );
    assert!((90..200).contains(&sent.len()), "{}", sent.len());
    assert!(not_sent.iter().all(|row| row.status == Status::NotSent));
}

#[tokio::test(start_paused = true)]
async fn what_was_due_before_the_end_leaves_within_the_drain() {
    let run = async |drain_ms: i64| {
        let limits = Limits {
            max_concurrency: Some(1),
            drain_ns: drain_ms * MS,
            ..limits()
        };
        let schedule = (0..100)
            .map(|id| planned(id, Some(i64::try_from(id).unwrap() * 10 * MS)))
            .collect();
        let outcome = drive(limits, Some(50 * MS), schedule, answer(), Vec::new()).await;
        assert!(outcome.driven.is_complete);
        let count = |status| {
            let rows = outcome.requests.iter();
            rows.filter(|row| row.status == status).count()
        };
        [Status::Ok, Status::Cancelled, Status::NotSent].map(count)
    };
    // Of five that were due one is answered each 195 ms.
    assert_eq!(run(30_000).await, [5, 0, 0]);
    // The third is sent at 390 ms and in flight at the end of the drain.
    assert_eq!(run(400).await, [2, 1, 2]);
    assert_eq!(run(0).await, [0, 1, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_closed_loop_sends_nothing_after_its_duration() {
    let limits = Limits {
        max_concurrency: Some(2),
        ..limits()
    };
    let schedule = (0..100).map(|id| planned(id, None)).collect();
    let outcome = drive(limits, Some(400 * MS), schedule, answer(), Vec::new()).await;
    assert!(outcome.driven.is_complete);
    assert_eq!(
        outcome.requests.len(),
        6,
        "two each 195 ms, the last at 390 ms"
    );
    assert!(outcome.requests.iter().all(|row| row.status == Status::Ok));
}

#[tokio::test(start_paused = true)]
async fn of_very_many_that_are_never_sent_the_rest_is_counted() {
    let limits = Limits {
        max_concurrency: Some(1),
        drain_ns: 0,
        ..limits()
    };
    let schedule = (0..1_000).map(|id| planned(id, Some(0))).collect();
    let outcome = drive(limits, Some(100 * MS), schedule, answer(), Vec::new()).await;
    let not_sent = outcome
        .requests
        .iter()
        .filter(|row| row.status == Status::NotSent);
    let rows = u64::try_from(not_sent.count()).unwrap();
    assert_eq!(rows, 300);
    assert_eq!(outcome.driven.taken, 1_000);
    assert_eq!(outcome.driven.unwritten, 1_000 - rows - 1);
}

#[tokio::test(start_paused = true)]
async fn a_due_time_at_the_end_of_time_is_never_due() {
    let schedule = vec![planned(0, Some(0)), planned(1, Some(i64::MAX))];
    let outcome = drive(limits(), Some(100 * MS), schedule, answer(), Vec::new()).await;
    let ids: Vec<u64> = outcome.requests.iter().map(|row| row.request_id).collect();
    assert_eq!(
        ids,
        [0],
        "i64::MAX and the start of the schedule wrapped to a time long past"
    );
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_ends_in_a_fault_frees_its_slot_and_is_counted() {
    let limits = Limits {
        max_concurrency: Some(1),
        ..limits()
    };
    let schedule = (0..3).map(|id| planned(id, Some(0))).collect();
    let outcome = drive(limits, None, schedule, vec![(10 * MS, FAULT)], Vec::new()).await;
    assert_eq!(outcome.driven.faults, 3);
    let statuses = outcome.requests.iter().map(|row| row.status);
    assert!(statuses.eq([Status::Interrupted; 3]));
}
