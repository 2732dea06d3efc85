//! The shipped SQL against plain Rust, on random tapes.
//!
//! The second way, in `model`, shares nothing with the first: it walks over the rows that the tape
//! was made of, one request after another.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::blocks::check_blocks;
use super::model::{
    Known, WARMUP_NS, count, float, known, levels, mean, peak_second, percentile, samples, steady,
};
use super::{after, analysed};
use crate::analyze::{Analysis, Cell, Options, ReportSettings, Slo, Span};
use crate::capture::schema::{RequestRow, Status};
use crate::plan::Loop;
use crate::sql::fixture::{MS, TapeFixture};

const TTFT_GOAL_NS: i64 = 40 * MS;
const TPOT_GOAL_NS: i64 = 6 * MS;
const SLOTS: usize = 3;
const STALL_NS: i64 = 9 * MS;
const READER_TPS: f64 = 130.0;
const SERVERS: [&str; 2] = ["http://a/v1", "http://b/v1"];
const ASKED_NS: (i64, i64) = (80 * MS, 250 * MS);

/// One request of a random tape.
#[derive(Debug, Clone)]
struct Shape {
    due_ns: i64,
    late_ns: i64,
    first_ns: i64,
    /// Gap, tokens and whether it shares its read with the chunk before.
    gaps: Vec<(i64, Option<u16>, bool)>,
    has_usage: bool,
    outcome: u8,
}

fn shape() -> impl Strategy<Value = Shape> {
    let gap = (
        1..12_000_000_i64,
        prop::option::of(1..4_u16),
        prop::bool::weighted(0.2),
    );
    (
        0..400_000_000_i64,
        0..3_000_000_i64,
        1_000_000..80_000_000_i64,
        vec(gap, 0..12),
        any::<bool>(),
        0..10_u8,
    )
        .prop_map(
            |(due_ns, late_ns, first_ns, gaps, has_usage, outcome)| Shape {
                due_ns,
                late_ns,
                first_ns,
                gaps,
                has_usage,
                outcome,
            },
        )
}

/// A tape of these requests; with `stretch` they are due so many times later.
fn tape(shapes: &[Shape], is_open: bool, stretch: i64) -> TapeFixture {
    let mut tape = TapeFixture::default();
    if !is_open {
        tape.manifest.arrival_loop = Loop::Closed;
        tape.manifest.plan.max_concurrency = u32::try_from(SLOTS).ok();
    }
    for (request_id, shape) in (0_u64..).zip(shapes) {
        let due_ns = shape.due_ns * stretch;
        let sent_ns = due_ns + shape.late_ns;
        if shape.outcome == 0 {
            let end_ns = sent_ns + shape.first_ns;
            let row = tape.attempt_ns(request_id, [due_ns, sent_ns], end_ns);
            row.status = Status::Error;
            row.error_kind = Some("connect".into());
            // Half of them are refused before anything is sent.
            row.sent_ns = row.sent_ns.filter(|_| shape.has_usage);
            continue;
        }
        let mut at_ns = sent_ns + shape.first_ns;
        let mut chunks = vec![(at_ns, Some(1))];
        for (gap_ns, tokens, shares_read) in &shape.gaps {
            at_ns += if *shares_read { 0 } else { *gap_ns };
            chunks.push((at_ns, *tokens));
        }
        let first = tape.chunks.len();
        let row = tape.answer_ns(request_id, [due_ns, sent_ns], &chunks);
        if !shape.has_usage {
            row.usage_output_tokens = None;
        } else if shape.outcome == 1 {
            // The server counts more than the chunks say.
            row.usage_output_tokens = row.usage_output_tokens.map(|tokens| tokens + 5);
        }
        if shape.outcome == 2 {
            row.status = Status::Cancelled;
        }
        let mut read = 0;
        for (chunk, (_, _, shares_read)) in tape.chunks[first + 1..].iter_mut().zip(&shape.gaps) {
            read += u32::from(!shares_read);
            chunk.read_seq = Some(read);
        }
    }
    tape.manifest.plan.more_urls = vec![SERVERS[1].to_owned()];
    for row in &mut tape.requests {
        let is_third = row.request_id.is_multiple_of(3);
        row.target = Some(SERVERS[usize::from(is_third)].into());
    }
    tape
}

/// The rows of a run, as maps from column to number; words and nulls are left out.
pub(super) fn numbers(
    analysis: &Analysis,
    query: &str,
    run: &str,
) -> Vec<(Vec<String>, BTreeMap<String, f64>)> {
    let table = analysis.table(query).unwrap();
    let rows = table
        .rows
        .iter()
        .filter(|row| row[0] == Cell::Text(run.to_owned()));
    rows.map(|row| {
        let mut words = Vec::new();
        let mut numbers = BTreeMap::new();
        for (column, cell) in table.columns.iter().zip(row) {
            match cell {
                Cell::Int(number) => drop(numbers.insert(column.name.clone(), float(*number))),
                Cell::Float(number) => drop(numbers.insert(column.name.clone(), *number)),
                Cell::Text(word) => words.push(word.clone()),
                Cell::Bool(_) | Cell::Null => {}
            }
        }
        (words, numbers)
    })
    .collect()
}

pub(super) fn assert_close(have: f64, want: f64, tolerance: f64, what: &str) {
    assert!(
        (have - want).abs() <= tolerance,
        "{what}: SQL has {have}, Rust has {want}"
    );
}

fn check_latencies(analysis: &Analysis, run: &str, requests: &[Known<'_>]) {
    let mut samples = samples(requests);
    for (words, row) in numbers(analysis, "latency_percentiles", run) {
        if ["ttfa", "queued"].contains(&words[1].as_str()) {
            continue;
        }
        let (metric, values) = samples
            .remove_entry(words[1].as_str())
            .expect("known metric");
        assert_close(
            row["n"],
            float(i64::try_from(values.len()).unwrap()),
            0.0,
            metric,
        );
        let range = values[values.len() - 1] - values[0];
        for (column, p) in [
            ("min_ns", 0.0),
            ("p50_ns", 0.5),
            ("p90_ns", 0.9),
            ("p95_ns", 0.95),
            ("p99_ns", 0.99),
            ("p999_ns", 0.999),
            ("max_ns", 1.0),
        ] {
            // The engine truncates the place between two neighbours to a millionth.
            let what = format!("{run} {metric} {column}");
            assert_close(
                row[column],
                percentile(&values, p),
                range * 1.1e-6 + 1e-3,
                &what,
            );
        }
        let mean = values.iter().sum::<f64>() / row["n"];
        assert_close(row["mean_ns"], mean, 1e-3, metric);
        let variance = values
            .iter()
            .map(|value| (value - mean).powi(2))
            .sum::<f64>()
            / row["n"];
        assert_close(row["std_ns"], variance.sqrt(), range * 1e-6 + 1e-2, metric);
        for (words, point) in numbers(analysis, "latency_curve", run) {
            if words[1] == metric {
                let what = format!("{run} {metric} curve at {}", point["p"]);
                assert_close(
                    point["value_ns"],
                    percentile(&values, point["p"]),
                    1_000.0,
                    &what,
                );
            }
        }
    }
    assert!(samples.is_empty(), "{run}: SQL lacks {:?}", samples.keys());
}

/// From the first send to the last end of a request; one that could not be sent counts from when it was
/// handed to the wire.
fn whole(requests: &[Known<'_>]) -> Option<(i64, i64)> {
    let rows = || requests.iter().map(|request| request.row);
    let begun_ns = |row: &RequestRow| row.sent_ns.or(row.dispatched_ns);
    let from_ns = rows().filter_map(begun_ns).min();
    let sent = rows().filter(|row| begun_ns(row).is_some());
    from_ns.zip(
        sent.filter_map(|row| row.end_ns.max(row.last_token_ns))
            .max(),
    )
}

fn check_windows(
    analysis: &Analysis,
    run: &str,
    requests: &[Known<'_>],
    (is_open, steady): (bool, Option<(i64, i64)>),
) {
    let rates = numbers(analysis, "throughput_windows", run);
    let goodput = numbers(analysis, "goodput", run);
    for (index, window) in [steady, whole(requests)].into_iter().enumerate() {
        let (rates, goodput) = (&rates[index].1, &goodput[index].1);
        let Some((from_ns, to_ns)) = window else {
            assert!(!rates.contains_key("seconds"), "{run} {index}");
            continue;
        };
        let what = format!("{run} window {index}");
        assert_close(rates["from_ns"], float(from_ns), 0.0, &what);
        assert_close(rates["to_ns"], float(to_ns), 0.0, &what);
        let is_within = |at_ns: i64| (from_ns..=to_ns).contains(&at_ns);
        let ok = requests.iter().filter(|request| request.is_ok());
        let done = ok.filter(|request| is_within(request.row.last_token_ns.unwrap()));
        let done = count(done.count());
        assert_close(rates["requests"], done, 0.0, &what);
        let tokens = requests.iter();
        let tokens: f64 = tokens.map(|one| one.tokens_within(from_ns, to_ns)).sum();
        assert_close(rates["output_tokens"], tokens, 1e-6, &what);
        let seconds = (to_ns > from_ns).then(|| float(to_ns - from_ns) / 1e9);
        // Nothing in a window of a run that has something is no rate of 0.
        let is_any = requests.iter().any(|request| !request.arrivals.is_empty());
        let rate = seconds
            .filter(|_| tokens > 0.0 || !is_any)
            .map(|seconds| tokens / seconds);
        assert_same(rates, "output_tps", rate, &what);
        let is_any = requests.iter().any(Known::is_ok);
        let rate = seconds
            .filter(|_| done > 0.0 || !is_any)
            .map(|seconds| done / seconds);
        assert_same(rates, "rps", rate, &what);
        let offered: Vec<_> = requests
            .iter()
            .filter(|request| index == 1 || is_within(request.row.intended_ns))
            .collect();
        let good: Vec<_> = offered
            .iter()
            .filter(|request| is_good(request, is_open))
            .collect();
        let ok = offered.iter().filter(|request| request.is_ok()).count();
        assert_close(goodput["offered"], count(offered.len()), 0.0, &what);
        assert_close(goodput["ok"], count(ok), 0.0, &what);
        assert_close(goodput["good"], count(good.len()), 0.0, &what);
        let good_tokens: i64 = good
            .iter()
            .filter_map(|request| request.output_tokens)
            .sum();
        let owed: i64 = offered
            .iter()
            .map(|request| match (request.is_ok(), request.output_tokens) {
                (true, tokens) => tokens.unwrap_or(0),
                (false, tokens) => tokens.unwrap_or(0).max(4),
            })
            .sum();
        assert_close(goodput["good_tokens"], float(good_tokens), 0.0, &what);
        let share = (owed > 0).then(|| float(good_tokens) / float(owed));
        assert_same(goodput, "token_attainment", share, &what);
        let rate = seconds.map(|seconds| float(good_tokens) / seconds);
        assert_same(goodput, "goodput_tps", rate, &what);
    }
}

/// Holds an optional column against an optional number, to a billionth.
pub(super) fn assert_same(
    row: &BTreeMap<String, f64>,
    column: &str,
    want: Option<f64>,
    what: &str,
) {
    let what = format!("{what} {column}");
    match (row.get(column), want) {
        (Some(have), Some(want)) => assert_close(*have, want, want.abs() * 1e-9 + 1e-9, &what),
        (have, want) => assert_eq!(have.copied(), want, "{what}"),
    }
}

fn check_concurrency(
    analysis: &Analysis,
    run: &str,
    requests: &[Known<'_>],
    steady: Option<(i64, i64)>,
) {
    let found = numbers(analysis, "concurrency", run);
    for (index, window) in [steady, whole(requests)].into_iter().enumerate() {
        let row = &found[index].1;
        let what = format!("{run} in flight, window {index}");
        let Some((from_ns, to_ns)) = window.filter(|(from_ns, to_ns)| to_ns > from_ns) else {
            assert!(!row.contains_key("mean"), "{what}");
            continue;
        };
        let levels = levels(requests, from_ns, to_ns);
        let all = float(to_ns - from_ns);
        let sum: i64 = levels.iter().map(|(level, held_ns)| level * held_ns).sum();
        assert_same(row, "mean", Some(float(sum) / all), &what);
        assert_same(
            row,
            "max",
            levels.keys().next_back().map(|level| float(*level)),
            &what,
        );
        for (column, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
            let mut up_to_ns = 0;
            let level = levels.iter().find(|(_, held_ns)| {
                up_to_ns += **held_ns;
                float(up_to_ns) >= share * all
            });
            assert_same(row, column, level.map(|(level, _)| float(*level)), &what);
        }
    }
    let peak = numbers(analysis, "throughput_peaks", run);
    let peak = peak.first().map(|(_, row)| row["output_tokens_peak_1s"]);
    match (peak, peak_second(requests)) {
        (Some(have), Some(want)) => assert_close(have, want, 1e-5, &format!("{run} peak")),
        (have, want) => assert_eq!(have, want, "{run} peak"),
    }
}

fn check_smoothness(analysis: &Analysis, run: &str, requests: &[Known<'_>], is_open: bool) {
    let ok: Vec<_> = requests
        .iter()
        .filter(|request| request.is_covered())
        .collect();
    let row = |query: &str| {
        let rows = numbers(analysis, query, run).into_iter();
        rows.map(|(_, row)| row).next().unwrap_or_default()
    };
    let gaps = |request: &Known<'_>| -> Vec<i64> {
        let pairs = request.arrivals.windows(2);
        pairs.map(|pair| pair[1].0 - pair[0].0).collect()
    };
    let is_stall = |gap_ns: &i64| *gap_ns > STALL_NS;
    let stalls = row("stalls");
    if ok.is_empty() {
        assert!(stalls.is_empty(), "{run}");
        return;
    }
    let all: Vec<i64> = ok.iter().flat_map(|request| gaps(request)).collect();
    let stalled = ok
        .iter()
        .filter(|request| gaps(request).iter().any(is_stall));
    assert_close(stalls["n"], count(ok.len()), 0.0, run);
    assert_close(stalls["stalled"], count(stalled.count()), 0.0, run);
    assert_close(stalls["gaps"], count(all.len()), 0.0, run);
    let long = all.iter().filter(|gap_ns| is_stall(gap_ns));
    assert_close(stalls["stalls"], count(long.clone().count()), 0.0, run);
    let (long, sum): (i64, i64) = (long.sum(), all.iter().sum());
    let share = (sum > 0).then(|| float(long) / float(sum));
    assert_same(&stalls, "stalled_time_share", share, run);
    assert_same(
        &stalls,
        "longest_max_ns",
        all.iter().max().map(|gap_ns| float(*gap_ns)),
        run,
    );
    let jitters: Vec<f64> = ok
        .iter()
        .filter_map(|request| request.jitter_ns())
        .collect();
    assert_same(&row("jitter"), "mean_ns", mean(&jitters), run);

    check_deadlines(&row("deadlines"), run, &ok, is_open);
}

fn check_deadlines(found: &BTreeMap<String, f64>, run: &str, ok: &[&Known<'_>], is_open: bool) {
    let tokens: i64 = ok
        .iter()
        .flat_map(|request| request.arrivals.iter().map(|(_, tokens)| tokens))
        .sum();
    let in_time: i64 = ok
        .iter()
        .map(|request| request.read_in_time(READER_TPS))
        .sum();
    assert_same(
        found,
        "in_time_share",
        Some(float(in_time) / float(tokens)),
        run,
    );
    let judged: Vec<(i64, i64)> = ok
        .iter()
        .map(|request| {
            let row = request.row;
            let begun_ns = if is_open {
                row.intended_ns
            } else {
                row.sent_ns.unwrap()
            };
            request.deadlines(begun_ns, TTFT_GOAL_NS, TPOT_GOAL_NS)
        })
        .collect();
    let met: i64 = judged.iter().map(|(met, _)| met).sum();
    let missed: i64 = judged.iter().map(|(_, missed)| missed).sum();
    assert_close(found["deadlines"], float(met + missed), 0.0, run);
    assert_same(
        found,
        "fluidity",
        Some(float(met) / float(met + missed)),
        run,
    );
    let mut each: Vec<f64> = judged
        .iter()
        .map(|(met, missed)| float(*met) / float(met + missed))
        .collect();
    each.sort_by(f64::total_cmp);
    assert_close(found["fluidity_p10"], percentile(&each, 0.1), 2e-6, run);
}

fn check_speeds(analysis: &Analysis, run: &str, requests: &[Known<'_>]) {
    let mut speeds: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for request in requests.iter().filter(|request| request.is_covered()) {
        let row = request.row;
        let since_s = |at_ns: Option<i64>| float(at_ns.unwrap() - row.sent_ns.unwrap()) / 1e9;
        let (ttft_s, e2el_s) = (since_s(row.first_token_ns), since_s(row.last_token_ns));
        let mut add = |metric, value| speeds.entry(metric).or_default().push(value);
        let tokens = float(request.output_tokens.unwrap());
        add("request_tps", tokens / e2el_s);
        add("request_total_tps", (tokens + 8.0) / e2el_s);
        add("prefill_tps", 8.0 / ttft_s);
        add(
            "generation_time",
            float(row.last_token_ns.unwrap() - row.first_token_ns.unwrap()),
        );
        if row.last_token_ns > row.first_token_ns {
            add("generation_tps", tokens / (e2el_s - ttft_s));
            if let Some(tpot_ns) = request.tpot_ns() {
                add("decode_tps", 1e9 / tpot_ns);
            }
        }
    }
    for (words, row) in numbers(analysis, "request_speeds", run) {
        let mut values = speeds.remove(words[1].as_str()).expect("a known speed");
        values.sort_by(f64::total_cmp);
        let what = format!("{run} {}", words[1]);
        assert_close(row["n"], count(values.len()), 0.0, &what);
        let range = values[values.len() - 1] - values[0];
        for (column, p) in [("p1", 0.01), ("p10", 0.1), ("p50", 0.5), ("p99", 0.99)] {
            let want = percentile(&values, p);
            assert_close(row[column], want, range * 1.1e-6 + want.abs() * 1e-9, &what);
        }
        assert_same(&row, "mean", mean(&values), &what);
    }
    assert!(speeds.is_empty(), "{run}: SQL lacks {:?}", speeds.keys());
}

fn is_good(request: &Known<'_>, is_open: bool) -> bool {
    let row = request.row;
    let from_ns = if is_open {
        row.intended_ns
    } else {
        row.sent_ns.unwrap_or(row.intended_ns)
    };
    let meets_ttft = row
        .first_token_ns
        .is_some_and(|first_ns| first_ns - from_ns <= TTFT_GOAL_NS);
    let meets_tpot = request
        .tpot_ns()
        .is_none_or(|tpot_ns| tpot_ns <= float(TPOT_GOAL_NS));
    request.is_ok() && meets_ttft && meets_tpot
}

/// Each server by itself, its tokens in the first window that has a length.
fn check_servers(
    analysis: &Analysis,
    run: &str,
    requests: &[Known<'_>],
    steady: Option<(i64, i64)>,
) {
    let found = numbers(analysis, "latency_by_server", run);
    let mut servers: Vec<&str> = requests.iter().map(Known::server).collect();
    servers.sort_unstable();
    servers.dedup();
    if servers.len() < 2 {
        assert!(found.is_empty(), "{run}");
        return;
    }
    assert_eq!(found.len(), servers.len(), "{run}");
    let windows = [steady, whole(requests)].into_iter().flatten();
    let window = windows.into_iter().find(|(from_ns, to_ns)| to_ns > from_ns);
    for (words, row) in found {
        let what = format!("{run} {}", words[1]);
        let own: Vec<_> = (requests.iter())
            .filter(|request| request.server() == words[1])
            .collect();
        let covered = || own.iter().filter(|request| request.is_covered());
        let failed = own.iter().filter(|one| one.row.status == Status::Error);
        assert_close(row["requests"], count(own.len()), 0.0, &what);
        assert_close(row["failed_attempts"], count(failed.count()), 0.0, &what);
        assert_close(row["n"], count(covered().count()), 0.0, &what);
        let share = count(own.len()) / count(requests.len());
        assert_same(&row, "requests_share", Some(share), &what);
        let ns = |pick: &dyn Fn(&Known<'_>) -> Option<f64>| {
            let mut all: Vec<f64> = covered().filter_map(|one| pick(one)).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let since = |at_ns: Option<i64>, row: &RequestRow| Some(float(at_ns? - row.sent_ns?));
        for (column, share, values) in [
            (
                "ttft_p50_ns",
                0.5,
                ns(&|one| since(one.row.first_token_ns, one.row)),
            ),
            (
                "ttft_p99_ns",
                0.99,
                ns(&|one| since(one.row.first_token_ns, one.row)),
            ),
            ("tpot_p50_ns", 0.5, ns(&|one| one.tpot_ns())),
            ("tpot_p99_ns", 0.99, ns(&|one| one.tpot_ns())),
            (
                "e2el_p50_ns",
                0.5,
                ns(&|one| since(one.row.last_token_ns, one.row)),
            ),
        ] {
            let (Some(first), Some(last)) = (values.first(), values.last()) else {
                assert!(!row.contains_key(column), "{what} {column}");
                continue;
            };
            // The engine truncates the place between two neighbours to a millionth.
            let tolerance = (last - first) * 1.1e-6 + 1e-3;
            assert_close(row[column], percentile(&values, share), tolerance, &what);
        }
        let rate = window.map(|(from_ns, to_ns)| {
            let tokens: f64 = own
                .iter()
                .map(|one| one.tokens_within(from_ns, to_ns))
                .sum();
            tokens / (float(to_ns - from_ns) / 1e9)
        });
        assert_same(&row, "output_tps", rate, &what);
    }
}

/// What is spread over bins must add up to what there is.
fn check_sums(analysis: &Analysis, run: &str, requests: &[Known<'_>]) {
    let bins = numbers(analysis, "throughput_over_time", run);
    let sum = |column: &str| bins.iter().map(|(_, row)| row[column]).sum::<f64>();
    let count = |keep: &dyn Fn(&Known<'_>) -> bool| {
        float(i64::try_from(requests.iter().filter(|request| keep(request)).count()).unwrap())
    };
    assert_close(sum("offered"), count(&|_| true), 0.0, run);
    let is_sent = |request: &Known<'_>| request.row.sent_ns.is_some();
    assert_close(sum("sent"), count(&is_sent), 0.0, run);
    assert_close(
        sum("completed"),
        count(&|request| request.is_ok()),
        0.0,
        run,
    );
    assert_close(sum("failed"), count(&|request| !request.is_ok()), 0.0, run);
    let tokens: i64 = requests
        .iter()
        .filter_map(|request| request.output_tokens)
        .sum();
    assert_close(sum("output_tokens"), float(tokens), 1e-6, run);
    let in_flight = bins
        .iter()
        .map(|(_, row)| row["in_flight"] * row["width_ns"]);
    let spans = requests
        .iter()
        .map(|request| request.in_flight_ns())
        .map(|(from_ns, to_ns)| to_ns - from_ns);
    assert_close(in_flight.sum(), float(spans.sum()), 1.0, run);
    let cells = numbers(analysis, "itl_heatmap", run);
    let gaps = requests
        .iter()
        .filter(|request| request.is_covered())
        .map(|request| request.gaps().len());
    let gaps = float(i64::try_from(gaps.sum::<usize>()).unwrap());
    assert_close(cells.iter().map(|(_, row)| row["n"]).sum(), gaps, 0.0, run);
}

proptest! {
    // One analysis answers for many runs, so that a few cases try many tapes.
    #![proptest_config(Config { cases: 2, max_shrink_iters: 10, failure_persistence: None, ..Config::default() })]

    #[test]
    fn sql_and_rust_agree(runs in vec((vec(shape(), 1..25), any::<bool>(), prop::sample::select(vec![1_i64, 10])), 8)) {
        let slo = |metric: &str, limit_ns| Slo { metric: metric.to_owned(), limit_ns };
        let options = Options {
            slos: vec![slo("ttft", TTFT_GOAL_NS), slo("tpot", TPOT_GOAL_NS)],
            span: after(WARMUP_NS),
            report_settings: ReportSettings { stall_ns: STALL_NS, reader_tps: READER_TPS, ..ReportSettings::default() },
            only: [
                "latency_percentiles", "latency_curve", "throughput_windows", "goodput",
                "throughput_over_time", "itl_heatmap", "throughput_peaks", "request_speeds",
                "concurrency", "stalls", "jitter", "deadlines",
                "block_latencies", "block_rates", "latency_by_server",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Options::default()
        };
        let names: Vec<String> = (0..runs.len()).map(|index| format!("run{index}")).collect();
        let tapes: Vec<(&str, TapeFixture)> = names
            .iter()
            .zip(&runs)
            .map(|(name, (shapes, is_open, stretch))| (name.as_str(), tape(shapes, *is_open, *stretch)))
            .collect();
        let analysis = analysed(&tapes, &options).unwrap();
        let in_window = Options {
            span: Span { from_ns: Some(ASKED_NS.0), to_ns: Some(ASKED_NS.1), ..Span::default() },
            ..options
        };
        let asked = analysed(&tapes, &in_window).unwrap();
        for ((name, tape), (_, is_open, _)) in tapes.iter().zip(&runs) {
            let requests = known(tape);
            let window = steady(&requests, *is_open, SLOTS, WARMUP_NS);
            check_latencies(&analysis, name, &requests);
            check_windows(&analysis, name, &requests, (*is_open, window));
            check_sums(&analysis, name, &requests);
            check_blocks(&analysis, name, &requests);
            check_concurrency(&analysis, name, &requests, window);
            check_smoothness(&analysis, name, &requests, *is_open);
            check_speeds(&analysis, name, &requests);
            check_servers(&analysis, name, &requests, window);

            let end_ns = requests.iter().filter_map(|request| request.row.end_ns).max().unwrap();
            let last_ns = requests.iter().map(|request| request.row.intended_ns).max().unwrap();
            let window = Some((ASKED_NS.0, ASKED_NS.1.min(end_ns.max(last_ns))));
            check_windows(&asked, name, &requests, (*is_open, window));
            check_concurrency(&asked, name, &requests, window);
            let due: Vec<_> = known(tape)
                .into_iter()
                .filter(|request| (ASKED_NS.0..=ASKED_NS.1).contains(&request.row.intended_ns))
                .collect();
            check_latencies(&asked, name, &due);
            check_smoothness(&asked, name, &due, *is_open);
            check_speeds(&asked, name, &due);
        }
    }
}
