//! What intervals are drawn from, and what groups are made of.

use std::collections::BTreeMap;

use super::model::{Known, count, float};
use super::pairs::{assert_close, assert_same, numbers};
use super::{analysed, spelled};
use crate::analyze::{Analysis, AnalyzeError, Cell, Condition, Options, Slo};
use crate::capture::manifest::Step;
use crate::capture::schema::ProbeRow;
use crate::sql::fixture::{MS, TapeFixture, probe};

/// The blocks of the first window that has a length: where it begins, and how long one is.
fn grid(analysis: &Analysis, run: &str) -> Option<(f64, f64)> {
    let windows = numbers(analysis, "throughput_windows", run);
    let (_, window) = windows
        .into_iter()
        .find(|(_, row)| row.contains_key("seconds"))?;
    let length_ns = window["to_ns"] - window["from_ns"];
    Some((window["from_ns"], length_ns / 320.0))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "blocks and bins are small whole numbers"
)]
fn key(at_ns: f64, value_ns: f64, (from_ns, width_ns): (f64, f64)) -> (i64, i64) {
    let block = ((at_ns - from_ns) / width_ns).floor().clamp(-320.0, 639.0) as i64;
    let bin = if value_ns > 0.0 {
        (value_ns.log2() * 256.0).floor() as i64
    } else {
        -1
    };
    (block, bin)
}

/// Holds the blocks of a random tape against plain Rust.
pub(super) fn check_blocks(analysis: &Analysis, run: &str, requests: &[Known<'_>]) {
    let Some(grid) = grid(analysis, run) else {
        check_outcome_blocks(&numbers(analysis, "block_rates", run), run, requests);
        return;
    };
    let mut expected: BTreeMap<(&str, (i64, i64)), f64> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.is_covered()) {
        let sent_ns = float(request.row.sent_ns.unwrap());
        let first_ns = float(request.row.first_token_ns.unwrap());
        let mut add = |metric, at_ns, value_ns| {
            *expected
                .entry((metric, key(at_ns, value_ns, grid)))
                .or_default() += 1.0;
        };
        add("ttft", sent_ns, first_ns - sent_ns);
        for pair in request.arrivals.windows(2) {
            add("icl", float(pair[1].0), float(pair[1].0 - pair[0].0));
        }
    }
    let mut found = BTreeMap::new();
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    let rows = numbers(analysis, "block_latencies", run);
    for (words, row) in &rows {
        let sum = sums.entry(words[1].clone()).or_default();
        sum.0 += row["n"];
        sum.1 += row["sum_ns"];
        if let Some(metric) = ["ttft", "icl"].into_iter().find(|name| words[1] == *name) {
            #[expect(clippy::cast_possible_truncation, reason = "whole numbers")]
            let key = (row["block"] as i64, row["bin"] as i64);
            found.insert((metric, key), row["n"]);
        }
    }
    assert_eq!(found, expected, "{run}");
    for (words, row) in numbers(analysis, "latency_percentiles", run) {
        if let Some((n, sum_ns)) = sums.get(&words[1]) {
            assert_close(*n, row["n"], 0.0, &words[1]);
            assert_close(sum_ns / n, row["mean_ns"], 1e-3, &words[1]);
        }
    }
    let blocks = numbers(analysis, "block_rates", run);
    check_outcome_blocks(&blocks, run, requests);
    let windows = numbers(analysis, "throughput_windows", run);
    let window = windows
        .iter()
        .find(|(_, row)| row.contains_key("seconds"))
        .unwrap();
    for (column, within) in [
        ("seconds", 1e-9),
        ("requests", 0.0),
        ("input_tokens", 0.0),
        ("output_tokens", 1e-6),
    ] {
        let sum = blocks.iter().map(|(_, row)| row[column]).sum();
        assert_close(sum, window.1[column], within, &format!("{run} {column}"));
    }
    if window.0[1] == "steady" {
        check_good_blocks(analysis, run, &blocks);
    }
}

/// Success is of all requests, whatever window there is.
fn check_outcome_blocks(
    blocks: &[(Vec<String>, BTreeMap<String, f64>)],
    run: &str,
    requests: &[Known<'_>],
) {
    assert_eq!(blocks.len(), 320);
    let sum = |column: &str| blocks.iter().map(|(_, row)| row[column]).sum::<f64>();
    let ok = requests.iter().filter(|request| request.is_ok());
    assert_close(sum("due"), count(requests.len()), 0.0, run);
    assert_close(sum("due_ok"), count(ok.count()), 0.0, run);
}

/// Holds what the blocks count as good against goodput, which counts of the whole run what was due
/// before it began, too.
fn check_good_blocks(
    analysis: &Analysis,
    run: &str,
    blocks: &[(Vec<String>, BTreeMap<String, f64>)],
) {
    let goodput = numbers(analysis, "goodput", run);
    let steady = goodput.iter().find(|(words, _)| words[1] == "steady");
    let (_, row) = steady.expect("goals are set");
    let sum = |column: &str| blocks.iter().map(|(_, row)| row[column]).sum::<f64>();
    for column in ["offered", "good", "good_tokens"] {
        assert_close(sum(column), row[column], 0.0, &format!("{run} {column}"));
    }
    let owed = sum("owed_tokens");
    let found = (owed > 0.0).then(|| sum("good_tokens") / owed);
    assert_same(row, "token_attainment", found, run);
}

fn only(names: &[&str]) -> Options {
    Options {
        only: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Options::default()
    }
}

#[test]
fn runs_are_a_pair_where_they_sent_the_same_at_the_same_times() {
    let mut shifted = TapeFixture::small();
    shifted.requests.last_mut().unwrap().intended_ns += MS;
    let mut longer = TapeFixture::small();
    longer.requests.last_mut().unwrap().output_tokens_planned = Some(5);
    let tapes = [
        ("small", TapeFixture::small()),
        ("again", TapeFixture::small()),
        ("shifted", shifted),
        ("longer", longer),
        ("closed", TapeFixture::closed()),
    ];
    let analysis = analysed(&tapes, &only(&["schedule_pairs"])).unwrap();
    let expected = "\
run requests baseline_requests matched is_pair
again 4 4 4 true
shifted 4 4 3 false
longer 4 4 3 false
closed 4 4 1 false";
    assert_eq!(spelled(analysis.table("schedule_pairs").unwrap()), expected);
}

/// A minute of requests, four a second, each `tokens` tokens of 5 ms, by turns in two classes.
fn minute(tokens: i64) -> TapeFixture {
    let mut tape = TapeFixture::default();
    for (request_id, due) in (0_u64..).zip((0..60_000).step_by(250)) {
        // A little noise, so that there is something to vary.
        let first = due + 20 + (due / 250) % 7;
        let chunks: Vec<_> = (0..tokens).map(|token| (first + 5 * token, None)).collect();
        let row = tape.answer(request_id, [due, due], &chunks);
        let is_even = request_id.is_multiple_of(2);
        row.class = Some(if is_even { "chat" } else { "code" }.into());
        row.step = Some(u32::from(due >= 30_000));
    }
    tape
}

/// The same, each token so many milliseconds later.
fn later(ms: i64) -> TapeFixture {
    let mut tape = minute(3);
    for row in &mut tape.requests {
        for at_ns in [
            &mut row.first_token_ns,
            &mut row.last_token_ns,
            &mut row.end_ns,
        ] {
            *at_ns = at_ns.map(|at_ns| at_ns + ms * MS);
        }
    }
    tape
}

fn column(analysis: &Analysis, table: &str, column: &str) -> Vec<Cell> {
    let table = analysis.table(table).unwrap();
    let at = table.columns.iter().position(|other| other.name == column);
    let at = at.unwrap();
    table.rows.iter().map(|row| row[at].clone()).collect()
}

fn runs(analysis: &Analysis) -> Vec<&str> {
    analysis.runs.iter().map(|run| run.run.as_str()).collect()
}

#[test]
fn a_tape_is_split_by_a_column_and_each_part_is_a_run() {
    let mut options = only(&["run_summary", "latency_percentiles"]);
    options.by = Some("class".to_owned());
    let analysis = analysed(&[("day", minute(3))], &options).unwrap();
    assert_eq!(runs(&analysis), ["class=chat", "class=code"]);
    let requests = column(&analysis, "run_summary", "requests");
    assert_eq!(requests, [Cell::Int(120), Cell::Int(120)]);
    let chunks = column(&analysis, "run_summary", "chunks");
    assert_eq!(chunks, [Cell::Int(360), Cell::Int(360)]);
}

#[test]
fn a_larger_part_of_a_mix_is_neither_better_nor_worse() {
    let mut options = only(&["differences"]);
    options.by = Some("class".to_owned());
    let analysis = analysed(&[("day", minute(3))], &options).unwrap();
    let metrics = column(&analysis, "differences", "metric");
    let has = |metric: &str| metrics.contains(&Cell::Text(metric.to_owned()));
    assert!(has("ttft") && has("ok_share"), "{metrics:?}");
    assert!(!has("rps") && !has("output_tps"), "{metrics:?}");
}

#[test]
fn a_tape_is_split_by_a_label_of_its_steps() {
    let mut tape = minute(2);
    let step = |step, batch: &str| Step {
        step,
        labels: BTreeMap::from([("batch".to_owned(), batch.to_owned())]),
        from_ns: i64::from(step) * 30_000 * MS,
        to_ns: i64::from(step + 1) * 30_000 * MS,
    };
    tape.manifest.steps = vec![step(0, "10"), step(1, "2")];
    let mut options = only(&["run_summary"]);
    options.by = Some("batch".to_owned());
    let analysis = analysed(&[("ladder", tape)], &options).unwrap();
    // By size, not by letter.
    assert_eq!(runs(&analysis), ["batch=2", "batch=10"]);
    let requests = column(&analysis, "run_summary", "requests");
    assert_eq!(requests, [Cell::Int(120), Cell::Int(120)]);
}

#[test]
fn tapes_with_one_value_of_a_label_repeat_each_other() {
    let labelled = |build: &str, tokens| {
        let mut tape = minute(tokens);
        let labels = &mut tape.manifest.labels;
        labels.insert("build".to_owned(), build.to_owned());
        tape
    };
    let tapes = [
        ("a1", labelled("a", 3)),
        ("b1", labelled("b", 4)),
        ("a2", labelled("a", 3)),
        ("b2", labelled("b", 4)),
    ];
    let mut options = only(&["differences"]);
    options.by = Some("build".to_owned());
    let analysis = analysed(&tapes, &options).unwrap();
    let unique = |name| {
        let mut values = column(&analysis, "differences", name);
        values.dedup();
        values
    };
    assert_eq!(unique("run"), [Cell::Text("b".to_owned())]);
    assert_eq!(unique("baseline"), [Cell::Text("a".to_owned())]);
    assert_eq!(unique("runs"), [Cell::Int(2)]);
    assert_eq!(unique("paired"), [Cell::Bool(false)]);
    let mut unlabelled = tapes.into_iter().collect::<Vec<_>>();
    unlabelled.push(("c", minute(2)));
    let refused = analysed(&unlabelled, &options).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the tape `c` has no label `build`, which others have"
    );
}

#[test]
fn what_cannot_be_grouped_by_is_refused_by_name() {
    let refused = |by: &str| -> AnalyzeError {
        let mut options = only(&["run_summary"]);
        options.by = Some(by.to_owned());
        analysed(&[("day", minute(2))], &options).unwrap_err()
    };
    assert_eq!(
        refused("nonsense").to_string(),
        "`nonsense` is no label of these tapes, and no column of `requests`"
    );
    assert_eq!(
        refused("request_id").to_string(),
        "`request_id` has more than 32 values, too many to compare"
    );
}

// TTFT goes from 20 to 26 ms and back: its mean is 23 ms less what the last, shorter round lacks.
#[test]
fn every_number_has_an_interval_around_it() {
    let analysis = analysed(&[("day", minute(3))], &Options::default()).unwrap();
    let table = analysis.table("intervals").unwrap();
    let at = |name: &str| table.columns.iter().position(|other| other.name == name);
    let [value, low, high] = ["value", "low", "high"].map(|name| at(name).unwrap());
    let mut with_interval = 0;
    for row in &table.rows {
        if let (Cell::Float(value), Cell::Float(low), Cell::Float(high)) =
            (&row[value], &row[low], &row[high])
        {
            assert!(low <= value && value <= high, "{row:?}");
            with_interval += 1;
        }
    }
    assert!(with_interval > 20, "{with_interval}");
    assert!(analysis.table("differences").is_none());
}

#[test]
fn a_pair_of_runs_has_verdicts_and_the_same_run_twice_has_no_difference() {
    let tapes = [
        ("first", minute(3)),
        ("same", minute(3)),
        ("slower", later(4)),
    ];
    let analysis = analysed(&tapes, &Options::default()).unwrap();
    let table = analysis.table("differences").unwrap();
    let at = |name: &str| table.columns.iter().position(|other| other.name == name);
    let [run, metric, stat, verdict] =
        ["run", "metric", "stat", "verdict"].map(|name| at(name).unwrap());
    let word = |cell: &Cell| match cell {
        Cell::Text(word) => word.clone(),
        _ => String::new(),
    };
    let verdict_of = |of_run: &str, number: (&str, &str)| {
        let row = table.rows.iter().find(|row| {
            word(&row[run]) == of_run
                && (word(&row[metric]).as_str(), word(&row[stat]).as_str()) == number
        });
        word(&row.unwrap()[verdict])
    };
    for number in [
        ("ttft_intended", "p50"),
        ("rps", "window"),
        ("ok_share", "window"),
    ] {
        assert_eq!(verdict_of("same", number), "no difference seen");
    }
    assert_eq!(verdict_of("slower", ("ttft_intended", "p50")), "worse");
    // Neither the form from the send time nor another percentile is tested.
    assert_eq!(verdict_of("slower", ("ttft", "p50")), "");
    assert_eq!(verdict_of("slower", ("ttft_intended", "p90")), "");
}

/// The same, by a client one of whose threads was late by so many milliseconds.
fn by_late_client(mut tape: TapeFixture, ms: i64) -> TapeFixture {
    let late = |at| ProbeRow {
        runtime_lag_max_ns: ms * MS,
        ..probe(at, 2)
    };
    tape.probes = (0..600).map(|index| late(index * 100)).collect();
    tape
}

#[test]
fn what_a_limited_client_may_have_made_is_no_verdict_on_the_server() {
    let judged = |lag_ms: i64| {
        let slower = by_late_client(later(4), lag_ms);
        let tapes = [("first", minute(3)), ("slower", slower)];
        let analysis = analysed(&tapes, &only(&["differences", "validity"])).unwrap();
        let table = analysis.table("differences").unwrap();
        let is = |row: &&Vec<Cell>, metric| {
            let word = |column| table.cell(row, column).and_then(Cell::text);
            word("metric") == Some(metric) && matches!(word("stat"), Some("p50" | "window"))
        };
        let cell = |metric, column| {
            let row = table.rows.iter().find(|row| is(row, metric)).unwrap();
            table.cell(row, column).unwrap().clone()
        };
        let fails = "ttft_p50 > +5%".parse::<Condition>().unwrap();
        let fails = fails.judge(&analysis);
        let word = |cell: Cell| cell.text().map(str::to_owned);
        (
            word(cell("ttft_intended", "verdict")),
            word(cell("rps", "verdict")),
            word(cell("ttft", "lack")),
            fails.held.len(),
            fails.undecided,
        )
    };
    // TTFT went from 23 to 27 ms.
    let text = |word: &str| Some(word.to_owned());
    let (ttft, rps, lack, held, undecided) = judged(5);
    let none = text("client-limited");
    assert_eq!((ttft, rps), (none.clone(), text("no difference seen")));
    assert_eq!((lack, held), (none, 0));
    assert_eq!(
        undecided,
        [
            "`slower` cannot be judged: it has +17.4 %, which the client that was the bottleneck may have made (client-limited: up to 5.0 ms)"
        ]
    );
    let (ttft, _, lack, held, undecided) = judged(3);
    assert_eq!((ttft, lack), (text("worse"), None));
    assert_eq!((held, undecided.len()), (1, 0));
}

#[test]
fn a_value_over_its_bound_by_less_than_the_client_added_is_undecided() {
    let analysis = analysed(
        &[("late", by_late_client(minute(3), 5))],
        &only(&["latency_percentiles", "validity"]),
    )
    .unwrap();
    let judged = |text: &str| text.parse::<Condition>().unwrap().judge(&analysis);
    // The median TTFT is 23 ms.
    let doubtful = judged("ttft_p50 > 20ms");
    assert_eq!(
        doubtful.undecided,
        [
            "`late` has 23.000 ms, too much of which the client that was the bottleneck may have added (client-limited: up to 5.0 ms)"
        ]
    );
    assert_eq!(judged("ttft_p50 > 17ms").held.len(), 1);
    assert_eq!(judged("ttft_p50 > 24ms").passed.len(), 1);
    // The client's own lateness is what it is.
    assert_eq!(judged("slip_p50 < 1ms").held.len(), 1);
}

// Two runs a side leave an interval of 95 % that spans less than a factor of ten, and one for a
// verdict among others that spans far more.
#[test]
fn an_interval_of_groups_that_spans_a_factor_of_ten_is_not_enough_data() {
    let labelled = |build: &str, tape: TapeFixture| {
        let mut tape = tape;
        let labels = &mut tape.manifest.labels;
        labels.insert("build".to_owned(), build.to_owned());
        tape
    };
    let tapes = [
        ("a1", labelled("a", minute(3))),
        ("a2", labelled("a", later(3))),
        ("b1", labelled("b", later(1))),
        ("b2", labelled("b", later(5))),
    ];
    let mut options = only(&["differences"]);
    options.by = Some("build".to_owned());
    let analysis = analysed(&tapes, &options).unwrap();
    let table = analysis.table("differences").unwrap();
    let mut judged = 0;
    for row in &table.rows {
        let number = |column| table.cell(row, column).and_then(Cell::number);
        let verdict = table.cell(row, "verdict").and_then(Cell::text);
        if verdict != Some("no difference seen") {
            continue;
        }
        judged += 1;
        let metric = table.cell(row, "metric").and_then(Cell::text);
        let (low, high) = (
            number("tested_low").unwrap(),
            number("tested_high").unwrap(),
        );
        if metric != Some("ok_share") {
            assert!(
                (1.0 + high) / (1.0 + low) <= 10.0,
                "{metric:?} {low} {high}"
            );
        }
        // Nor do runs that were all alike show a change of any size.
        let is_share = metric == Some("ok_share");
        assert!(!is_share || number("smallest_seen").unwrap() > 0.005);
    }
    assert!(judged > 0);
    let lacks = column(&analysis, "differences", "lack");
    assert!(lacks.contains(&Cell::Text("wide interval".to_owned())));
}

// Every request misses its goal in the slower run, and of the first one's those that take 26 ms.
#[test]
fn goodput_has_an_interval_and_a_verdict() {
    let options = Options {
        slos: vec![Slo {
            metric: "ttft".to_owned(),
            limit_ns: 25 * MS,
        }],
        ..only(&["differences", "intervals"])
    };
    let analysis = analysed(&[("first", minute(3)), ("slower", later(10))], &options).unwrap();
    for metric in ["goodput_rps", "attainment"] {
        let row = row_of(&analysis, "intervals", ["first", metric, "window"]).unwrap();
        let [value, low, high] = [0, 1, 2].map(|at| row[at].number().unwrap());
        assert!(0.0 < low && low < value && value < high, "{metric} {row:?}");
        // Nothing was good, which is not to say that nothing would ever be.
        let none = row_of(&analysis, "intervals", ["slower", metric, "window"]).unwrap();
        let [value, low, high] = [0, 1, 2].map(|at| none[at].number().unwrap());
        assert!(
            value.abs() < 1e-12 && low <= 0.0 && high > 0.0,
            "{metric} {none:?}"
        );
        let table = analysis.table("differences").unwrap();
        let is = |row: &&Vec<Cell>| table.cell(row, "metric").and_then(Cell::text) == Some(metric);
        let row = table.rows.iter().find(is).unwrap();
        assert_eq!(table.cell(row, "verdict").unwrap().text(), Some("worse"));
    }
    let without = analysed(&[("first", minute(3))], &only(&["intervals"])).unwrap();
    assert!(row_of(&without, "intervals", ["first", "attainment", "window"]).is_none());
}

/// The cells of the rows of a table that are about a number of a run.
fn row_of<'a>(analysis: &'a Analysis, table: &str, words: [&str; 3]) -> Option<Vec<&'a Cell>> {
    let table = analysis.table(table).unwrap();
    let is =
        |row: &[Cell], column, word| table.cell(row, column).and_then(Cell::text) == Some(word);
    let row = table.rows.iter().find(|row| {
        is(row, "run", words[0]) && is(row, "metric", words[1]) && is(row, "stat", words[2])
    })?;
    let columns = ["value", "low", "high"].map(|column| table.cell(row, column));
    Some(columns.into_iter().flatten().collect())
}

// All was due within a minute and nothing ended before it was over: what the whole run has is no
// rate of the window.
#[test]
fn a_rate_unknown_in_the_window_is_not_taken_from_the_whole_run() {
    let mut tape = TapeFixture::default();
    for (request_id, due) in (0_u64..).zip((0..60_000).step_by(250)) {
        tape.answer(request_id, [due, due], &[(due + 70_000, None)]);
    }
    let analysis = analysed(&[("late", tape)], &Options::default()).unwrap();
    assert_eq!(
        row_of(&analysis, "intervals", ["late", "rps", "window"]),
        None
    );
    let share = row_of(&analysis, "intervals", ["late", "ok_share", "window"]).unwrap();
    assert_eq!(share[0], &Cell::Float(1.0));
}

#[test]
fn two_runs_without_a_failure_do_not_prove_that_none_would_fail() {
    let tapes = [("first", minute(3)), ("same", minute(3))];
    let analysis = analysed(&tapes, &Options::default()).unwrap();
    let share = row_of(&analysis, "differences", ["same", "ok_share", "window"]).unwrap();
    let bounds: Vec<f64> = share[1..].iter().filter_map(|cell| cell.number()).collect();
    assert!(bounds[0] < -0.005 && bounds[1] > 0.005, "{bounds:?}");
    // Nor that both would always end as many.
    let rate = row_of(&analysis, "differences", ["same", "rps", "window"]).unwrap();
    let bounds: Vec<f64> = rate[1..].iter().filter_map(|cell| cell.number()).collect();
    assert!(bounds[0] < -0.005 && bounds[1] > 0.005, "{bounds:?}");
}
