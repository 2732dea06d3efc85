//! The shipped SQL against plain Rust, on random tapes.
//!
//! The second way, in `model`, shares nothing with the first: it walks over the rows that the tape
//! was made of, one request after another.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::Config;
use serde_json::json;

use super::analysed;
use super::blocks::check_blocks;
use super::model::{Known, float, known, percentile, samples, steady};
use crate::analyze::{Analysis, Cell, Options, Slo};
use crate::capture::manifest::Loop;
use crate::capture::schema::Status;
use crate::sql::fixture::{MS, TapeFixture};

const TTFT_GOAL_NS: i64 = 40 * MS;
const TPOT_GOAL_NS: i64 = 6 * MS;
const WARMUP_NS: i64 = 30 * MS;
const SLOTS: usize = 3;

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

fn tape(shapes: &[Shape], is_open: bool) -> TapeFixture {
    let mut tape = TapeFixture::default();
    if !is_open {
        tape.manifest.arrival_loop = Loop::Closed;
        tape.manifest.plan = json!({ "max_concurrency": SLOTS });
    }
    for (request_id, shape) in (0_u64..).zip(shapes) {
        let sent_ns = shape.due_ns + shape.late_ns;
        if shape.outcome == 0 {
            let row = tape.attempt_ns(
                request_id,
                [shape.due_ns, sent_ns],
                sent_ns + shape.first_ns,
            );
            row.status = Status::Error;
            row.error_kind = Some("connect".into());
            continue;
        }
        let mut at_ns = sent_ns + shape.first_ns;
        let mut chunks = vec![(at_ns, Some(1))];
        for (gap_ns, tokens, shares_read) in &shape.gaps {
            at_ns += if *shares_read { 0 } else { *gap_ns };
            chunks.push((at_ns, *tokens));
        }
        let first = tape.chunks.len();
        let row = tape.answer_ns(request_id, [shape.due_ns, sent_ns], &chunks);
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

fn check_windows(analysis: &Analysis, run: &str, requests: &[Known<'_>], is_open: bool) {
    let rates = numbers(analysis, "throughput_windows", run);
    let goodput = numbers(analysis, "goodput", run);
    let whole = (
        requests
            .iter()
            .filter_map(|request| request.row.sent_ns)
            .min(),
        requests
            .iter()
            .filter_map(|request| request.row.last_token_ns)
            .max(),
    );
    let whole = whole.0.zip(whole.1);
    for (index, window) in [steady(requests, is_open, SLOTS, WARMUP_NS), whole]
        .into_iter()
        .enumerate()
    {
        let (rates, goodput) = (&rates[index].1, &goodput[index].1);
        let Some((from_ns, to_ns)) = window else {
            assert!(!rates.contains_key("seconds"), "{run} {index}");
            continue;
        };
        let what = format!("{run} window {index}");
        assert_close(rates["from_ns"], float(from_ns), 0.0, &what);
        assert_close(rates["to_ns"], float(to_ns), 0.0, &what);
        let is_within = |at_ns: i64| (from_ns..=to_ns).contains(&at_ns);
        let done = requests.iter().filter(|request| request.is_ok());
        let done = done
            .filter(|request| is_within(request.row.last_token_ns.unwrap()))
            .count();
        assert_close(
            rates["requests"],
            float(i64::try_from(done).unwrap()),
            0.0,
            &what,
        );
        let tokens: f64 = requests
            .iter()
            .map(|request| request.tokens_within(from_ns, to_ns))
            .sum();
        assert_close(rates["output_tokens"], tokens, 1e-6, &what);
        if to_ns > from_ns {
            let seconds = float(to_ns - from_ns) / 1e9;
            assert_close(
                rates["output_tps"],
                tokens / seconds,
                1e-6 * tokens / seconds + 1e-9,
                &what,
            );
        }
        let judged = requests
            .iter()
            .filter(|request| index == 1 || is_within(request.row.intended_ns));
        let judged: Vec<_> = judged.map(|request| is_good(request, is_open)).collect();
        let offered = i64::try_from(judged.len()).unwrap();
        let good: i64 = judged.into_iter().map(i64::from).sum();
        assert_close(goodput["offered"], float(offered), 0.0, &what);
        assert_close(goodput["good"], float(good), 0.0, &what);
    }
}

fn is_good(request: &Known<'_>, is_open: bool) -> bool {
    let row = request.row;
    let from_ns = if is_open {
        row.intended_ns
    } else {
        row.sent_ns.unwrap()
    };
    let meets_ttft = row
        .first_token_ns
        .is_some_and(|first_ns| first_ns - from_ns <= TTFT_GOAL_NS);
    let meets_tpot = request
        .tpot_ns()
        .is_none_or(|tpot_ns| tpot_ns <= float(TPOT_GOAL_NS));
    request.is_ok() && meets_ttft && meets_tpot
}

/// What is spread over bins must add up to what there is.
fn check_sums(analysis: &Analysis, run: &str, requests: &[Known<'_>]) {
    let bins = numbers(analysis, "throughput_over_time", run);
    let sum = |column: &str| bins.iter().map(|(_, row)| row[column]).sum::<f64>();
    let count = |keep: &dyn Fn(&Known<'_>) -> bool| {
        float(i64::try_from(requests.iter().filter(|request| keep(request)).count()).unwrap())
    };
    assert_close(sum("offered"), count(&|_| true), 0.0, run);
    assert_close(sum("sent"), count(&|_| true), 0.0, run);
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
        .map(|request| request.row.end_ns.unwrap() - request.row.sent_ns.unwrap());
    assert_close(in_flight.sum(), float(spans.sum()), 1.0, run);
    let cells = numbers(analysis, "itl_heatmap", run);
    let gaps = requests
        .iter()
        .filter(|request| request.is_ok())
        .map(|request| request.gaps().len());
    let gaps = float(i64::try_from(gaps.sum::<usize>()).unwrap());
    assert_close(cells.iter().map(|(_, row)| row["n"]).sum(), gaps, 0.0, run);
}

proptest! {
    // One analysis answers for many runs, so that a few cases try many tapes.
    #![proptest_config(Config { cases: 2, max_shrink_iters: 10, failure_persistence: None, ..Config::default() })]

    #[test]
    fn sql_and_rust_agree(runs in vec((vec(shape(), 1..25), any::<bool>()), 8)) {
        let slo = |metric: &str, limit_ns| Slo { metric: metric.to_owned(), limit_ns };
        let options = Options {
            slos: vec![slo("ttft", TTFT_GOAL_NS), slo("tpot", TPOT_GOAL_NS)],
            warmup_ns: WARMUP_NS,
            only: [
                "latency_percentiles", "latency_curve", "throughput_windows", "goodput",
                "throughput_over_time", "itl_heatmap",
                "block_latencies", "block_rates",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Options::default()
        };
        let names: Vec<String> = (0..runs.len()).map(|index| format!("run{index}")).collect();
        let tapes: Vec<(&str, TapeFixture)> = names
            .iter()
            .zip(&runs)
            .map(|(name, (shapes, is_open))| (name.as_str(), tape(shapes, *is_open)))
            .collect();
        let analysis = analysed(&tapes, &options).unwrap();
        for ((name, tape), (_, is_open)) in tapes.iter().zip(&runs) {
            let requests = known(tape);
            check_latencies(&analysis, name, &requests);
            check_windows(&analysis, name, &requests, *is_open);
            check_sums(&analysis, name, &requests);
            check_blocks(&analysis, name, &requests);
        }
    }
}
