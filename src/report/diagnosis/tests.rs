//! Each rule on a run that has its fault, and on runs that have not.

use super::*;
use crate::analyze::{Cell, Column, Table};
use crate::capture::manifest::State;
use crate::report::fixture;
use crate::report::seen::spearman;
use crate::report::verdict::verdict;

const SECOND: i64 = 1_000_000_000;

fn put(analysis: &mut Analysis, name: &str, columns: &str, rows: Vec<Vec<Cell>>) {
    analysis.tables.retain(|table| table.name != name);
    let columns = columns.split_whitespace().map(|name| Column {
        name: name.to_owned(),
        unit: None,
    });
    analysis.tables.push(Table {
        name: name.to_owned(),
        purpose: String::new(),
        columns: columns.collect(),
        rows: rows
            .into_iter()
            .map(|row| [vec![text("demo")], row].concat())
            .collect(),
        sql: String::new(),
    });
}

fn text(word: &str) -> Cell {
    Cell::Text(word.to_owned())
}

/// What one second of a run was like.
#[derive(Clone, Copy)]
struct Moment {
    sent: f64,
    in_flight: f64,
    tps: f64,
    ttft_ms: f64,
    itl_ms: f64,
    itl_max_ms: f64,
}

const CALM: Moment = Moment {
    sent: 10.0,
    in_flight: 8.0,
    tps: 400.0,
    ttft_ms: 80.0,
    itl_ms: 20.0,
    itl_max_ms: 30.0,
};

/// A run of a minute, a moment a second, on a server without a fault but those of the moments.
fn minute(moment: impl Fn(i64) -> Moment) -> Analysis {
    let mut analysis = fixture::single();
    let (mut load, mut latency) = (Vec::new(), Vec::new());
    for second in 0..60 {
        let now = moment(second);
        let start = vec![Cell::Int(second * SECOND), Cell::Int(SECOND)];
        let numbers = [now.sent, now.in_flight, now.tps].map(Cell::Float);
        load.push([start.clone(), numbers.to_vec()].concat());
        let numbers = [now.ttft_ms, now.itl_ms, now.itl_max_ms, now.itl_max_ms]
            .map(|ms| Cell::Float(ms * 1e6));
        latency.push([start, numbers.to_vec()].concat());
    }
    put(
        &mut analysis,
        "throughput_over_time",
        "run at_ns width_ns sent in_flight output_tps",
        load,
    );
    let columns = "run at_ns width_ns ttft_p50_ns itl_p50_ns itl_p99_ns itl_max_ns";
    put(&mut analysis, "latency_over_time", columns, latency);
    let steady = vec![text("steady"), Cell::Int(0), Cell::Int(60 * SECOND)];
    put(
        &mut analysis,
        "throughput_windows",
        "run window_name from_ns to_ns",
        vec![steady],
    );
    latencies(
        &mut analysis,
        &[
            ("ttft", 80.0, 120.0),
            ("tpot", 20.0, 30.0),
            ("itl", 20.0, 40.0),
            ("icl", 20.0, 40.0),
            ("e2el", 900.0, 2_000.0),
        ],
    );
    analysis
}

fn latencies(analysis: &mut Analysis, rows: &[(&str, f64, f64)]) {
    let row = |&(metric, p50, p99): &(&str, f64, f64)| {
        vec![
            text(metric),
            Cell::Int(1_000),
            Cell::Float(p50 * 1e6),
            Cell::Float(p99 * 1e6),
        ]
    };
    let rows = rows.iter().map(row).collect();
    put(
        analysis,
        "latency_percentiles",
        "run metric n p50_ns p99_ns",
        rows,
    );
}

/// How TTFT goes with the length of prompts and with the load, by rank.
fn ranked(analysis: &mut Analysis, with_input: f64, with_in_flight: f64) {
    let row = vec![
        text("ttft"),
        Cell::Float(with_input),
        Cell::Float(with_in_flight),
    ];
    let columns = "run metric with_input with_in_flight";
    put(analysis, "latency_ranks", columns, vec![row]);
}

/// Quarters of the requests by load, with the median TPOT of each in milliseconds.
fn loaded(analysis: &mut Analysis, tpots: [f64; 4]) {
    let row = |(in_flight, tpot_ms): (f64, f64)| {
        let numbers = [in_flight, 50.0, tpot_ms * 1e6];
        numbers.map(Cell::Float).to_vec()
    };
    let rows = [15.0, 35.0, 67.0, 85.0].into_iter().zip(tpots).map(row);
    let columns = "run in_flight_p50 tpot_n tpot_p50_ns";
    put(analysis, "latency_by_load", columns, rows.collect());
}

fn ids(analysis: &Analysis) -> Vec<&'static str> {
    let found = diagnoses(analysis, &analysis.runs[0]);
    found.iter().map(|one| one.id).collect()
}

#[test]
fn a_calm_run_shows_nothing() {
    assert_eq!(ids(&minute(|_| CALM)), [""; 0]);
    assert_eq!(ids(&fixture::of_size(0)), [""; 0]);
    let nothing = Analysis {
        tables: Vec::new(),
        ..fixture::single()
    };
    assert_eq!(ids(&nothing), [""; 0]);
}

#[test]
fn a_queue_that_drains_again_is_a_burst_and_no_backlog() {
    // Twenty seconds at peace, a burst that takes twenty-five to drain, and peace again.
    let drained = minute(|second| {
        let queue = match second {
            20..=24 => 20.0 * f64::from(i32::try_from(second - 19).unwrap()),
            25..=49 => 100.0 - 4.0 * f64::from(i32::try_from(second - 25).unwrap()),
            _ => 0.0,
        };
        Moment {
            in_flight: 8.0 + queue,
            ttft_ms: 80.0 + 15.0 * queue,
            ..CALM
        }
    });
    assert_eq!(ids(&drained), ["burst"]);
    // One that has only begun to drain at the end is still there.
    let draining = minute(|second| {
        let queue = if second < 20 {
            0.0
        } else {
            100.0 - 0.5 * f64::from(i32::try_from(second).unwrap())
        };
        Moment {
            in_flight: 8.0 + queue,
            ttft_ms: 80.0 + 15.0 * queue,
            ..CALM
        }
    });
    assert!(!ids(&draining).contains(&"burst"), "{:?}", ids(&draining));
}

#[test]
fn a_queue_that_grows_is_a_backlog_and_nothing_else() {
    #[expect(clippy::cast_precision_loss, reason = "a minute has 60 seconds")]
    let growing = minute(|second| Moment {
        in_flight: 8.0 + second as f64,
        ttft_ms: 80.0 + 40.0 * second as f64,
        ..CALM
    });
    assert_eq!(ids(&growing), ["backlog"]);
}

#[test]
fn pauses_at_even_distances_are_periodic_and_others_are_not() {
    let paused = |is_paused: fn(i64) -> bool| {
        minute(move |second| Moment {
            itl_max_ms: if is_paused(second) { 400.0 } else { 30.0 },
            ..CALM
        })
    };
    let even = paused(|second| second % 10 == 3);
    let found = diagnoses(&even, &even.runs[0]);
    assert_eq!(found[0].id, "periodic-stalls");
    assert!(
        found[0].what.starts_with("every 10 s or so, 6 times"),
        "{}",
        found[0].what
    );
    assert_eq!(
        ids(&paused(|second| [3, 5, 20, 41, 44].contains(&second))),
        [""; 0]
    );
}

#[test]
fn pauses_that_begin_with_requests_are_no_stalls_of_the_server() {
    let in_step = minute(|second| Moment {
        sent: if second % 10 == 3 { 8.0 } else { 0.0 },
        itl_max_ms: if second % 10 == 3 { 400.0 } else { 30.0 },
        ..CALM
    });
    assert_eq!(ids(&in_step), [""; 0]);
}

/// How late the client was in each second of a minute, in milliseconds, and at p99 of all.
fn late(analysis: &mut Analysis, lag_ms: impl Fn(i64) -> f64, p99_ms: f64) {
    let row = |second| {
        let lag = Cell::Float(lag_ms(second) * 1e6);
        vec![Cell::Int(second * SECOND), lag]
    };
    let columns = "run at_ns runtime_lag_max_ns";
    put(
        analysis,
        "client_health",
        columns,
        (0..60).map(row).collect(),
    );
    let check = vec![text("runtime_lag"), Cell::Float(p99_ms * 1e6)];
    put(analysis, "validity", "run check_name value", vec![check]);
}

#[test]
fn gaps_that_the_clients_own_lag_makes_are_not_the_servers() {
    let mut uneven = minute(|_| CALM);
    latencies(&mut uneven, &[("itl", 6.0, 52.0), ("icl", 6.0, 52.0)]);
    late(&mut uneven, |_| 1.0, 1.0);
    assert_eq!(ids(&uneven), ["unstable-tpot"]);
    late(&mut uneven, |_| 226.0, 226.0);
    assert_eq!(ids(&uneven), [""; 0]);

    let pause = |second: i64| second % 10 == 3;
    let mut paused = minute(|second| Moment {
        itl_max_ms: if pause(second) { 400.0 } else { 30.0 },
        ..CALM
    });
    late(&mut paused, |_| 1.0, 1.0);
    assert_eq!(ids(&paused), ["periodic-stalls"]);
    // A neighbour of the client that comes every ten seconds.
    let lag = |second| if pause(second) { 380.0 } else { 1.0 };
    late(&mut paused, lag, 10.0);
    assert_eq!(ids(&paused), [""; 0]);
}

#[test]
fn more_in_flight_without_more_tokens_is_saturation() {
    let full = |tps: f64| {
        minute(move |second| {
            if second % 3 == 0 {
                Moment {
                    in_flight: 32.0,
                    tps,
                    itl_ms: 80.0,
                    ..CALM
                }
            } else {
                CALM
            }
        })
    };
    assert_eq!(ids(&full(410.0)), ["saturation"]);
    assert_eq!(ids(&full(900.0)), [""; 0]);
}

#[test]
fn a_ladder_whose_last_step_brings_no_token_more_is_saturated() {
    let mut ladder = minute(|_| CALM);
    let step = |in_flight: f64, tps: f64| vec![Cell::Float(in_flight), Cell::Float(tps)];
    let columns = "run in_flight_mean output_tps";
    put(
        &mut ladder,
        "throughput_by_step",
        columns,
        vec![step(8.0, 400.0), step(16.0, 410.0)],
    );
    assert_eq!(ids(&ladder), ["saturation"]);
    put(
        &mut ladder,
        "throughput_by_step",
        columns,
        vec![step(8.0, 400.0), step(16.0, 700.0)],
    );
    assert_eq!(ids(&ladder), [""; 0]);
}

#[test]
fn long_gaps_that_go_with_new_requests_are_interference() {
    let mixed = |goes_along: bool| {
        let mut analysis = minute(move |second| {
            let is_busy = second / 4 % 2 == 0;
            Moment {
                sent: if is_busy { 20.0 } else { 2.0 },
                itl_max_ms: if is_busy == goes_along || second % 3 == 0 {
                    120.0
                } else {
                    40.0
                },
                ..CALM
            }
        });
        latencies(&mut analysis, &[("itl", 20.0, 110.0), ("icl", 20.0, 110.0)]);
        analysis
    };
    assert_eq!(ids(&mixed(true)), ["interference"]);
    assert_eq!(ids(&mixed(false)), ["unstable-tpot"]);
}

#[test]
fn a_wait_that_goes_with_the_load_is_one_in_front_of_prefill() {
    let mut queued = minute(|second| {
        let is_full = second % 7 < 2;
        Moment {
            in_flight: if is_full { 12.0 } else { 8.0 },
            ttft_ms: if is_full { 900.0 } else { 80.0 },
            ..CALM
        }
    });
    latencies(
        &mut queued,
        &[("ttft", 80.0, 1_200.0), ("tpot", 20.0, 30.0)],
    );
    assert_eq!(ids(&queued), [""; 0], "nobody knows of TPOT by load");
    loaded(&mut queued, [20.0, 21.0, 24.0, 22.0]);
    assert_eq!(ids(&queued), ["waiting"]);
    // The demo's own: what takes twice as long under load does not "hardly change".
    loaded(&mut queued, [18.7, 20.3, 56.5, 43.7]);
    assert_eq!(ids(&queued), ["shared-steps"]);
    let found = diagnoses(&queued, &queued.runs[0]);
    insta::assert_snapshot!(found[0].what, @"TTFT is 80 ms at the median and 1.2 s at p99, and the median TPOT 43.7 ms with some 85 requests in flight, where it is 18.7 ms with 15");
    // One that goes up and down again has another reason.
    loaded(&mut queued, [20.0, 20.0, 60.0, 21.0]);
    assert_eq!(ids(&queued), [""; 0]);
}

#[test]
fn answers_that_come_at_once_were_buffered() {
    let mut whole = minute(|_| CALM);
    let mut of = |tpot_ms: f64| {
        let rows = [
            ("ttft", 980.0, 1_200.0),
            ("e2el", 1_000.0, 1_250.0),
            ("tpot", tpot_ms, 2.0 * tpot_ms),
            ("itl", 0.1, 80.0),
            ("icl", 0.1, 80.0),
        ];
        latencies(&mut whole, &rows);
        ids(&whole)
    };
    assert_eq!(of(0.2), ["buffered"]);
    // A queue makes first tokens late, and the others no faster.
    assert_eq!(of(15.0), ["unstable-tpot"]);
}

#[test]
fn the_kind_of_most_failures_is_named() {
    let mut limited = minute(|_| CALM);
    put(
        &mut limited,
        "run_summary",
        "run requests ok output_tokens",
        vec![vec![Cell::Int(100), Cell::Int(60), Cell::Int(6_000)]],
    );
    let row = |status: &str, kind: &str, http: i64, n: i64| {
        vec![text(status), text(kind), Cell::Int(http), Cell::Int(n)]
    };
    let columns = "run status error_kind http_status requests";
    put(
        &mut limited,
        "requests_by_outcome",
        columns,
        vec![
            row("ok", "", 200, 60),
            row("error", "http_4xx", 429, 35),
            row("error", "http_5xx", 503, 5),
        ],
    );
    let found = diagnoses(&limited, &limited.runs[0]);
    assert_eq!(found[0].id, "failures");
    assert!(
        found[0].what.contains("40 of 100") && found[0].what.contains("35 of them"),
        "{}",
        found[0].what
    );
    assert!(found[0].why.contains("limits its rate or its queue"));
}

#[test]
fn the_words_of_a_429_say_what_is_limited() {
    for (message, limit) in [
        ("", "its rate or its queue"),
        ("Too Many Requests", "its rate or its queue"),
        ("the request queue is full", "its queue is full"),
        ("Model is overloaded", "its queue is full"),
        ("Rate limit reached for requests", "limits its rate, so"),
        ("429: 60 requests per minute", "limits its rate, so"),
        (
            "queue full, rate limit of the tenant",
            "its rate or its queue",
        ),
    ] {
        let (why, _) = refusal(message);
        assert!(why.contains(limit), "{message}: {why}");
    }
}

#[test]
fn what_a_stop_cut_off_did_not_fail() {
    let mut stopped = minute(|_| CALM);
    let columns = "run requests ok failed cancelled output_tokens";
    let row = [30, 1, 0, 29, 100].map(Cell::Int).to_vec();
    put(&mut stopped, "run_summary", columns, vec![row]);
    let outcome = vec![
        text("error"),
        text("http_5xx"),
        Cell::Int(503),
        Cell::Int(1),
    ];
    let columns = "run status error_kind http_status requests";
    put(&mut stopped, "requests_by_outcome", columns, vec![outcome]);
    assert_eq!(ids(&stopped), ["failures"]);
    stopped.runs[0].manifest.state = State::Interrupted;
    assert_eq!(ids(&stopped), [""; 0]);
}

/// A run with the median TTFT of prompts from so many tokens on: tokens, requests, milliseconds.
fn by_length(buckets: &[(i64, i64, f64)]) -> Analysis {
    let mut analysis = minute(|_| CALM);
    let bucket = |&(from, n, ms): &(i64, i64, f64)| {
        vec![
            text("input"),
            Cell::Int(from),
            Cell::Int(n),
            Cell::Float(ms * 1e6),
        ]
    };
    let rows = buckets.iter().map(bucket).collect();
    let columns = "run side from_tokens n ttft_p50_ns";
    put(&mut analysis, "latency_by_length", columns, rows);
    analysis
}

#[test]
fn long_prompts_that_wait_longer_are_told_with_their_lengths() {
    let mut run = by_length(&[(64, 200, 50.0), (1_024, 40, 400.0), (8_192, 3, 2_000.0)]);
    assert_eq!(ids(&run), [""; 0], "nobody knows what TTFT goes with");
    ranked(&mut run, 0.7, 0.2);
    let found = diagnoses(&run, &run.runs[0]);
    assert_eq!(found[0].id, "long-prompts");
    assert!(
        found[0].what.contains("from 1,024 tokens on"),
        "{}",
        found[0].what
    );
    // As ordered, but the load says more.
    ranked(&mut run, 0.7, 0.8);
    assert_eq!(ids(&run), [""; 0]);
}

#[test]
fn prompts_that_wait_for_others_are_no_long_prompts() {
    // The demo's own.
    let demo = [
        (32, 37, 203.0),
        (64, 37, 695.0),
        (128, 67, 235.0),
        (256, 53, 532.0),
        (512, 20, 648.0),
    ];
    let mut run = by_length(&demo);
    ranked(&mut run, 0.06, 0.81);
    assert_eq!(ids(&run), [""; 0]);
    // Out of order, TTFT has to go with the length clearly.
    ranked(&mut run, 0.4, 0.3);
    assert_eq!(ids(&run), [""; 0]);
    ranked(&mut run, 0.6, 0.1);
    assert_eq!(ids(&run), ["long-prompts"]);
}

#[test]
fn several_tokens_a_chunk_are_told() {
    let mut analysis = minute(|_| CALM);
    let row = |metric: &str, n: i64| {
        vec![
            text(metric),
            Cell::Int(n),
            Cell::Float(20e6),
            Cell::Float(40e6),
        ]
    };
    put(
        &mut analysis,
        "latency_percentiles",
        "run metric n p50_ns p99_ns",
        vec![row("itl", 3_000), row("icl", 1_000)],
    );
    assert_eq!(ids(&analysis), ["several-a-chunk"]);
}

// By hand: ranks 0, 1.5, 1.5, 3 against 0, 1, 2, 3 have 4.5 / sqrt(4.5 * 5).
#[test]
fn ranks_are_correlated_as_by_hand() {
    let pairs = [(1.0, 1.0), (2.0, 2.0), (2.0, 3.0), (9.0, 4.0)];
    assert!((spearman(&pairs) - 4.5 / 22.5_f64.sqrt()).abs() < 1e-12);
    assert!(spearman(&[(1.0, 1.0), (1.0, 2.0)]).abs() < 1e-12);
}

/// A closed loop whose first 32 of 320 requests began together, and what was left out of it.
fn started(later: (i64, f64), given_ns: i64) -> Analysis {
    let mut analysis = fixture::closed();
    let run = analysis.runs[0].run.clone();
    let (n, p99_ms) = later;
    let burst = vec![
        Cell::Int(2_153_000_000),
        Cell::Int(320),
        Cell::Float(925e6),
        Cell::Int(n),
        Cell::Float(p99_ms * 1e6),
    ];
    let columns = "run warmup_ns n ttft_p99_ns later_n later_ttft_p99_ns";
    put(&mut analysis, "startup_burst", columns, vec![burst]);
    let window = vec![text("given"), Cell::Int(given_ns), text("slots")];
    put(
        &mut analysis,
        "warmup_end",
        "run rule given_ns basis",
        vec![window],
    );
    for name in ["startup_burst", "warmup_end"] {
        let mut tables = analysis.tables.iter_mut();
        let table = tables.find(|table| table.name == name).unwrap();
        table.rows[0][0] = text(&run);
    }
    analysis
}

#[test]
fn a_start_up_burst_names_both_percentiles_and_the_flag_that_leaves_it_out() {
    let found = |analysis: &Analysis| {
        let all = diagnoses(analysis, &analysis.runs[0]);
        all.into_iter().find(|one| one.id == "startup-burst")
    };
    let burst = found(&started((288, 169.0), 0)).unwrap();
    insta::assert_snapshot!(burst.what, @"the first 32 requests began together and are in the percentiles: TTFT p99 is 925 ms, and 169 ms without them");
    insta::assert_snapshot!(burst.act, @"leave the start out of rates and latencies with --warmup 2153ms");
    assert_eq!(
        found(&started((288, 169.0), SECOND)),
        None,
        "left out already"
    );
    assert_eq!(found(&started((288, 800.0), 0)), None, "no burst");
    assert_eq!(found(&started((68, 169.0), 0)), None, "too few to say");
}

#[test]
fn prompts_that_the_server_had_before_the_run_are_told_in_the_first_line_too() {
    let hits = |ideal, achieved| {
        let mut analysis = minute(|_| CALM);
        // Of prompts of 100 planned tokens, to which a template adds 10.
        let row = [10.0, 1_000.0, ideal, 10.0, 1_100.0, achieved];
        let columns = "run n input_planned ideal_hit n_told input_told achieved_hit";
        let row = row.map(Cell::Float).to_vec();
        put(&mut analysis, "prefix_hits", columns, vec![row]);
        analysis
    };
    let cached = hits(0.0, 0.938);
    assert_eq!(ids(&cached), ["warm-cache"]);
    let first = verdict(&cached, "demo").reason;
    assert!(
        first.ends_with(
            "93.8 % of the prompt tokens came from the server's cache, where the schedule shares 0.0 %"
        ),
        "{first}"
    );
    // What the schedule shares, and a chat template, are no warm cache.
    assert_eq!(ids(&hits(0.6, 0.62)), [""; 0]);
    assert_eq!(ids(&hits(0.0, 0.13)), [""; 0]);
}
