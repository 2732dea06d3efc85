//! Tapes that have little to say, or say what cannot be: an answer each, without nonsense.

use std::sync::LazyLock;

use super::{after, analysed, spelled, word};
use crate::analyze::{Analysis, AnalyzeError, Cell, Options, Slo, SloFrom};
use crate::capture::manifest::ClockAnchor;
use crate::capture::schema::{Channel, Status};
use crate::sql::fixture::{MS, TapeFixture, probe};

/// All odd tapes in one analysis, each the run that its test names.
static ODD: LazyLock<Analysis> = LazyLock::new(|| {
    let slo = Slo {
        metric: "ttft".into(),
        limit_ns: 20 * MS,
    };
    let options = Options {
        slos: vec![slo],
        ..Options::default()
    };
    let tapes = [
        ("empty", TapeFixture::default()),
        ("single", single()),
        ("failed", failed()),
        ("hung_up", hung_up_on()),
        ("backwards", backwards()),
        ("reasoning", reasoning()),
        ("sources", sources()),
        ("unary", unary()),
        ("blind", blind()),
        ("busy", busy()),
    ];
    analysed(&tapes, &options).unwrap()
});

/// One cell of an answer's row of a run, found by the column's name.
fn cell(analysis: &Analysis, run: &str, (query, row): (&str, usize), column: &str) -> String {
    let table = analysis.table(query).unwrap();
    let place = table.columns.iter().position(|have| have.name == column);
    let place = place.unwrap_or_else(|| panic!("{query} has no {column}"));
    let mut rows = table.rows.iter().filter(|row| word(&row[0]) == run);
    word(
        &rows
            .nth(row)
            .unwrap_or_else(|| panic!("{query} has no row {row}"))[place],
    )
}

fn odd(run: &str, query: (&str, usize), column: &str) -> String {
    cell(&ODD, run, query, column)
}

/// The rest of the row that begins with these words; empty where there is none.
fn rest(query: &str, begin: &str) -> String {
    spelled(ODD.table(query).unwrap())
        .lines()
        .find_map(|line| line.strip_prefix(begin).map(str::to_owned))
        .unwrap_or_default()
}

fn latencies(run: &str, metric: &str) -> String {
    rest("latency_percentiles", &format!("{run} {metric} "))
}

#[test]
fn no_cell_is_nan_or_infinite() {
    for table in &ODD.tables {
        for cell in table.rows.iter().flatten() {
            assert!(
                !matches!(cell, Cell::Float(number) if !number.is_finite()),
                "{}",
                table.name
            );
        }
    }
}

#[test]
fn an_empty_tape_has_nulls_and_zeros() {
    assert_eq!(
        rest("run_summary", "empty "),
        "open 0 0 0 0 0 0 0 - 0 0 - - - - - - - - - - - 0 0"
    );
    assert_eq!(odd("empty", ("throughput_windows", 0), "rps"), "-");
    assert_eq!(odd("empty", ("goodput", 0), "offered"), "0");
    assert_eq!(odd("empty", ("goodput", 0), "attainment"), "-");
    assert_eq!(odd("empty", ("validity", 0), "ok"), "-");
    for query in [
        "latency_percentiles",
        "latency_curve",
        "itl_heatmap",
        "throughput_over_time",
    ] {
        assert_eq!(rest(query, "empty "), "", "{query}");
    }
}

#[test]
fn a_step_of_the_wall_clock_bends_no_latency() {
    let mut stepped = TapeFixture::small();
    let start_ns = stepped.manifest.clock_anchors[0].utc_ns;
    // An hour back in the middle of an answer, two hours forth in that of another.
    stepped.manifest.clock_anchors = [(0, 0), (25, -3_600_000), (240, 3_600_000)]
        .map(|(at, step)| ClockAnchor {
            monotonic_ns: at * MS,
            utc_ns: start_ns + (at + step) * MS,
        })
        .to_vec();
    let tapes = [("steady", TapeFixture::small()), ("stepped", stepped)];
    let analysis = analysed(&tapes, &Options::default()).unwrap();
    let mut compared = 0;
    for table in &analysis.tables {
        let rows_of = |run: &str| {
            let rows = table.rows.iter().filter(|row| word(&row[0]) == run);
            let cells = rows.map(|row| {
                let cells = table.columns.iter().zip(row).skip(1);
                let cells = cells.filter(|(column, _)| !column.name.ends_with("_utc"));
                cells.map(|(_, cell)| word(cell)).collect::<Vec<_>>()
            });
            cells.collect::<Vec<_>>()
        };
        if ["comparison", "schedule_pairs", "differences"].contains(&table.name.as_str()) {
            continue;
        }
        assert_eq!(rows_of("steady"), rows_of("stepped"), "{}", table.name);
        compared += rows_of("steady").len();
    }
    assert!(compared > 20, "{compared} rows");
}

#[test]
fn tapes_without_an_answer_have_no_speed_and_no_smoothness() {
    for run in ["empty", "failed"] {
        for query in [
            "stalls",
            "jitter",
            "deadlines",
            "request_speeds",
            "throughput_peaks",
            "latency_by_length",
            "latency_by_load",
            "latency_ranks",
        ] {
            assert_eq!(rest(query, &format!("{run} ")), "", "{query} of {run}");
        }
    }
    assert_eq!(rest("concurrency", "empty steady "), "- - - - - - -");
    assert_eq!(
        rest("warmup_end", "empty "),
        "given 0 0 0 - - 0 - schedule 0"
    );
    // Four of four planned tokens were offered four times, and none was good.
    assert_eq!(odd("failed", ("goodput", 1), "token_attainment"), "0");
    assert_eq!(odd("failed", ("goodput", 1), "ok"), "0");
    assert_eq!(
        rest("errors_over_time", "failed 100000000 "),
        "2000000 error connect - 3 0"
    );
    assert_eq!(
        odd("empty", ("throughput_windows", 1), "note"),
        "the_window_has_no_length"
    );
}

#[test]
fn one_chunk_has_a_speed_and_a_deadline_but_no_gap() {
    assert_eq!(odd("single", ("stalls", 0), "gaps"), "0");
    assert_eq!(odd("single", ("stalls", 0), "longest_max_ns"), "-");
    assert_eq!(odd("single", ("stalls", 0), "stalls_share"), "-");
    assert_eq!(rest("jitter", "single "), "");
    assert_eq!(odd("single", ("deadlines", 0), "in_time_share"), "1");
    // Fluidity needs a goal on tpot too.
    assert_eq!(odd("single", ("deadlines", 0), "fluidity"), "-");
    assert_eq!(
        odd("single", ("throughput_peaks", 0), "output_tokens_peak_1s"),
        "1"
    );
    assert_eq!(odd("single", ("request_speeds", 0), "p50"), "100");
}

#[test]
fn a_gap_that_runs_backwards_is_no_gap() {
    // Gaps of -5 and 25, and one of 20: the first is left out, and so is the change to the second.
    assert_eq!(odd("backwards", ("stalls", 0), "gaps"), "2");
    assert_eq!(
        odd("backwards", ("stalls", 0), "longest_max_ns"),
        "25000000"
    );
    assert_eq!(rest("jitter", "backwards "), "");
}

fn single() -> TapeFixture {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(10, None)]);
    tape
}

#[test]
fn one_request_of_one_chunk_has_no_time_between_tokens() {
    let ttft = ["10000000"; 7].join(" ");
    assert_eq!(latencies("single", "ttft"), format!("1 10000000 0 {ttft}"));
    for metric in ["tpot", "itl", "icl", "itl_resolved"] {
        assert_eq!(latencies("single", metric), "", "{metric}");
    }
    // All was due at once: the steady window has no length, and a rate over it no meaning.
    assert_eq!(odd("single", ("throughput_windows", 0), "seconds"), "-");
    assert_eq!(odd("single", ("throughput_windows", 0), "rps"), "-");
    assert_eq!(odd("single", ("throughput_windows", 1), "rps"), "100");
    assert_eq!(odd("single", ("goodput", 1), "attainment"), "1");
}

fn failed() -> TapeFixture {
    let mut tape = TapeFixture::default();
    for request in 0..3 {
        let row = tape.attempt(request, [100, 100], 101);
        row.status = Status::Error;
        row.error_kind = Some("connect".into());
        row.sent_ns = None;
    }
    let row = tape.attempt(3, [200, 200], 200);
    row.status = Status::NotSent;
    row.sent_ns = None;
    row.dispatched_ns = None;
    row.end_ns = None;
    tape
}

#[test]
fn requests_that_all_failed_are_offered_and_never_good() {
    assert_eq!(
        rest("run_summary", "failed "),
        "open 4 0 3 0 0 0 1 0 0 0 100000000 - 101000000 0.001 - - 3 3 - - - 0 0"
    );
    assert_eq!(odd("failed", ("goodput", 0), "offered"), "4");
    assert_eq!(odd("failed", ("goodput", 0), "attainment"), "0");
    assert_eq!(odd("failed", ("throughput_windows", 0), "rps"), "0");
    assert_eq!(rest("latency_percentiles", "failed "), "");
}

#[test]
fn a_run_lasts_as_long_as_its_requests_were_refused_too() {
    let mut tape = TapeFixture::default();
    let refused = |tape: &mut TapeFixture, request_id, attempt, [from, to]: [i64; 2]| {
        let row = tape.attempt(request_id, [from, from], to);
        row.attempt = attempt;
        row.status = Status::Error;
        row.error_kind = Some("connect".into());
        row.sent_ns = None;
    };
    refused(&mut tape, 0, 0, [0, 1]);
    tape.answer(1, [100, 100], &[(110, None)]);
    tape.answer(2, [10, 600], &[(700, None)]).attempt = 1;
    tape.chunks.last_mut().unwrap().attempt = 1;
    refused(&mut tape, 2, 0, [10, 11]);
    refused(&mut tape, 3, 0, [900, 1_000]);
    let analysis = analysed(&[("t", tape)], &Options::default()).unwrap();
    let summary = |column| cell(&analysis, "t", ("run_summary", 0), column);
    assert_eq!(summary("first_sent_ns"), "0");
    assert_eq!(summary("last_end_ns"), "1000000000");
    assert_eq!(summary("duration_s"), "1");
    assert_eq!(cell(&analysis, "t", ("throughput_windows", 1), "rps"), "2");
}

fn hung_up_on() -> TapeFixture {
    let mut tape = TapeFixture::default();
    for request in 0..4 {
        let at = 20 * i64::try_from(request).unwrap();
        let row = tape.answer(request, [at, at], &[(at + 5, None), (at + 10, None)]);
        if request % 2 == 1 {
            row.status = Status::Cancelled;
            row.error_kind = Some("hung_up".into());
        }
    }
    tape
}

#[test]
fn a_request_that_the_client_hung_up_on_is_no_failure_and_is_not_offered_for_a_goal() {
    assert_eq!(odd("hung_up", ("run_summary", 0), "requests"), "4");
    assert_eq!(odd("hung_up", ("run_summary", 0), "hung_up"), "2");
    assert_eq!(odd("hung_up", ("run_summary", 0), "cancelled"), "0");
    assert_eq!(odd("hung_up", ("run_summary", 0), "ok_share"), "1");
    assert_eq!(odd("hung_up", ("goodput", 1), "offered"), "2");
    assert_eq!(odd("hung_up", ("goodput", 1), "attainment"), "1");
    assert_eq!(rest("errors_over_time", "hung_up "), "");
    assert!(latencies("hung_up", "ttft").starts_with("2 5000000 "));
}

fn backwards() -> TapeFixture {
    let mut tape = TapeFixture::default();
    // Answered before it was sent, and one of its gaps runs backwards.
    let row = tape.answer(0, [0, 20], &[(10, None), (5, None), (30, None)]);
    row.first_answer_ns = None;
    // Ended before it began.
    let row = tape.answer(1, [0, 0], &[(10, None), (30, None)]);
    row.last_token_ns = Some(5 * MS);
    tape
}

#[test]
fn a_duration_that_ends_before_it_starts_is_null() {
    assert!(latencies("backwards", "ttft").starts_with("1 10000000 "));
    assert!(latencies("backwards", "itl").starts_with("2 22500000 "));
    assert!(latencies("backwards", "tpot").starts_with("1 10000000 "));
    assert!(latencies("backwards", "e2el").starts_with("2 "));
}

fn reasoning() -> TapeFixture {
    let mut tape = TapeFixture::default();
    let chunks = [(10, None), (20, None), (30, None)];
    for request in 0..2 {
        let row = tape.answer(request, [0, 0], &chunks);
        row.usage_output_tokens = Some(10);
        row.usage_reasoning_tokens = Some(7);
    }
    tape.requests[1].first_answer_ns = Some(20 * MS);
    tape.chunks[3].channel = Channel::Reasoning;
    tape
}

#[test]
fn tpot_leaves_out_reasoning_that_was_never_streamed() {
    // Ten tokens in 20 ms, seven of them reasoning: unseen, 20 / (3 - 1); streamed, 20 / (10 - 1).
    let mean = word(&Cell::Float((10e6 + 20e6 / 9.0) / 2.0));
    assert!(latencies("reasoning", "tpot").starts_with(&format!("2 {mean} ")));
    assert!(latencies("reasoning", "ttfa").starts_with("2 15000000 "));
}

fn sources() -> TapeFixture {
    let mut tape = TapeFixture::default();
    for (request, usage, counted) in [(0, Some(5), Some(6)), (1, None, Some(7)), (2, None, None)] {
        let row = tape.answer(request, [0, 0], &[(10, None), (20, None)]);
        row.usage_output_tokens = usage;
        row.output_tokens_counted = counted;
    }
    tape
}

#[test]
fn counts_chunks_only_where_nothing_better_is_known() {
    assert_eq!(odd("sources", ("run_summary", 0), "output_tokens"), "14");
    assert_eq!(
        odd("sources", ("run_summary", 0), "output_tokens_source"),
        "mixed"
    );
    assert_eq!(
        odd("sources", ("throughput_windows", 1), "output_tokens"),
        "14"
    );
}

fn unary() -> TapeFixture {
    let mut tape = TapeFixture::default();
    tape.attempt(0, [0, 10], 60).usage_input_tokens = Some(512);
    tape
}

#[test]
fn an_answer_without_a_stream_has_an_end_to_end_time() {
    assert!(latencies("unary", "e2el").starts_with("1 50000000 "));
    assert_eq!(latencies("unary", "ttft"), "");
    assert_eq!(odd("unary", ("throughput_windows", 1), "requests"), "1");
    assert_eq!(
        odd("unary", ("throughput_windows", 1), "input_tokens"),
        "512"
    );
}

fn blind() -> TapeFixture {
    let mut tape = TapeFixture::small();
    for chunk in &mut tape.chunks {
        chunk.read_seq = None;
    }
    tape
}

#[test]
fn a_wire_that_cannot_tell_reads_apart_has_no_resolved_gaps() {
    assert_eq!(odd("blind", ("run_summary", 0), "unresolved_share"), "-");
    assert_eq!(latencies("blind", "itl_resolved"), "");
    assert!(!latencies("blind", "itl").is_empty());
}

fn busy() -> TapeFixture {
    let mut tape = TapeFixture::small();
    let busy = |index| if index < 3 { 10 } else { 1 };
    tape.probes = (0..20)
        .map(|index| probe(10 + index * 10, busy(index)))
        .collect();
    tape
}

#[test]
fn a_busy_receiving_thread_makes_the_run_invalid() {
    // Two of 20 probes are over 90 %: the first has none before it, and stands for 100 ms.
    assert_eq!(odd("busy", ("validity", 2), "check_name"), "cpu");
    assert_eq!(odd("busy", ("validity", 2), "value"), "0.1");
    assert_eq!(odd("busy", ("validity", 2), "ok"), "false");
    assert_eq!(odd("busy", ("validity", 1), "ok"), "true");
}

#[test]
fn warm_up_moves_the_start_of_the_steady_window() {
    let window = ("throughput_windows", 0);
    let options = Options {
        only: vec!["throughput_windows".into()],
        span: after(100 * MS),
        ..Options::default()
    };
    let open = analysed(&[("odd", TapeFixture::small())], &options).unwrap();
    assert_eq!(cell(&open, "odd", window, "from_ns"), "100000000");
    assert_eq!(cell(&open, "odd", window, "requests"), "2");
    // Tokens at 120 (2), 130 (3), 150 and 240.
    assert_eq!(cell(&open, "odd", window, "output_tokens"), "7");
    let options = Options {
        only: vec!["throughput_windows".into()],
        span: after(20 * MS),
        ..Options::default()
    };
    let closed = analysed(&[("odd", TapeFixture::closed())], &options).unwrap();
    assert_eq!(cell(&closed, "odd", window, "from_ns"), "20000000");
}

#[test]
fn goals_can_be_set_on_either_form() {
    let options = |slo_from| Options {
        slos: vec![Slo {
            metric: "ttft".into(),
            limit_ns: 10 * MS,
        }],
        slo_from: Some(slo_from),
        only: vec!["goodput".into()],
        ..Options::default()
    };
    let sent = analysed(&[("odd", TapeFixture::small())], &options(SloFrom::Sent)).unwrap();
    assert_eq!(cell(&sent, "odd", ("goodput", 1), "good"), "1");
    let due = analysed(
        &[("odd", TapeFixture::small())],
        &options(SloFrom::Intended),
    )
    .unwrap();
    assert_eq!(cell(&due, "odd", ("goodput", 1), "good"), "0");
}

#[test]
fn refuses_a_goal_on_something_else() {
    let options = Options {
        slos: vec![Slo {
            metric: "itl".into(),
            limit_ns: 1,
        }],
        ..Options::default()
    };
    let error = analysed(&[("odd", TapeFixture::small())], &options).unwrap_err();
    assert!(matches!(error, AnalyzeError::UnknownGoal { .. }));
    assert_eq!(error.hint().unwrap(), "use one of ttft, tpot, e2el");
}

#[test]
fn refuses_a_tape_that_has_a_request_twice() {
    let mut tape = TapeFixture::small();
    let again = tape.requests[2].clone();
    tape.requests.push(again);
    let refused = analysed(&[("copied", tape)], &Options::default()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the tape `copied` has attempt 0 of request 1 in 2 rows"
    );
    assert!(refused.hint().unwrap().contains("under two names"));
}

#[test]
fn names_a_torn_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = TapeFixture::small().write(&folder.path().join("torn.tape"));
    let part = path.join("chunks/part-00000.parquet");
    let bytes = std::fs::read(&part).unwrap();
    std::fs::write(&part, &bytes[..bytes.len() / 2]).unwrap();
    let outcome = crate::runtime::block_on(async {
        crate::analyze::analyze(&[path], &Options::default()).await
    });
    let text = outcome.unwrap().unwrap_err().to_string();
    assert!(text.contains("part-00000.parquet` is torn"), "{text}");
}
