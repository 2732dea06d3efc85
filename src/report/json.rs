//! The numbers alone, for scripts: stable keys, the unit beside each value.
//!
//! Keys are `<metric>_<stat>`, such as `ttft_p99`. Latencies are in milliseconds here as in every
//! other report; `sql` has the nanoseconds. Names stay as they are on the tape, since JSON quotes
//! them safely and scripts compare them.

use serde_json::{Map, Value, json};

use crate::analyze::{Analysis, RunFacts};

use super::comparison::{Change, changes};
use super::diagnosis::diagnoses;
use super::format::NS_PER_MS;
use super::grades::grades;
use super::rows::{Row, rows_of};
use super::tools::tools_json;
use super::uncertainty::{difference, interval, of_groups, shown_unit};
use super::verdict::verdict;

/// Version of the layout below; it grows when a key changes its meaning.
const SCHEMA: u32 = 1;

/// Statistics of a latency: key, column.
const STATS: [(&str, &str); 9] = [
    ("mean", "mean_ns"),
    ("std", "std_ns"),
    ("min", "min_ns"),
    ("p50", "p50_ns"),
    ("p90", "p90_ns"),
    ("p95", "p95_ns"),
    ("p99", "p99_ns"),
    ("p999", "p999_ns"),
    ("max", "max_ns"),
];

/// Counts and sizes of a run: key, column, unit.
const SUMMARY: [(&str, &str, &str); 13] = [
    ("requests_total", "requests", "requests"),
    ("requests_ok", "ok", "requests"),
    ("requests_failed", "failed", "requests"),
    ("requests_interrupted", "interrupted", "requests"),
    ("requests_cancelled", "cancelled", "requests"),
    ("requests_not_sent", "not_sent", "requests"),
    ("chunks_total", "chunks", "chunks"),
    ("input_tokens_total", "input_tokens", "tokens"),
    ("output_tokens_total", "output_tokens", "tokens"),
    ("duration_run", "duration_s", "s"),
    ("in_flight_peak", "peak_in_flight", "requests"),
    ("in_flight_mean", "mean_in_flight", "requests"),
    ("gaps_unresolved_share", "unresolved_share", "share"),
];

/// Rates of a window: key, column, unit.
const RATES: [(&str, &str, &str); 5] = [
    ("window", "seconds", "s"),
    ("rps", "rps", "requests/s"),
    ("input_tps", "input_tps", "tokens/s"),
    ("output_tps", "output_tps", "tokens/s"),
    ("total_tps", "total_tps", "tokens/s"),
];

/// Renders the numbers as
/// `{schema, runs: [{run, labels, grades: {number: {grade, value}}, diagnoses: [{id, what, why, act}],
/// metrics: {key: {value, unit, n, low, high}}}], comparisons, groups}`, where `groups` has what
/// `comparisons` has, of runs that repeat each other (`--by`) and not of each run; where
/// definitions of other tools were asked for, a run has `definitions` as well.
pub fn json(analysis: &Analysis) -> Value {
    let runs: Vec<Value> = analysis
        .runs
        .iter()
        .map(|run| run_value(analysis, run))
        .collect();
    let comparisons: Vec<Value> = changes(analysis)
        .iter()
        .map(|change| comparison(analysis, change))
        .collect();
    let groups: Vec<Value> = of_groups(analysis).into_iter().map(group).collect();
    json!({ "schema": SCHEMA, "runs": runs, "comparisons": comparisons, "groups": groups })
}

fn run_value(analysis: &Analysis, run: &RunFacts) -> Value {
    let verdict = verdict(analysis, &run.run);
    let mut value = json!({
        "run": run.run,
        "labels": run.manifest.labels,
        "validity": { "verdict": verdict.word, "reason": verdict.reason },
        "self_check": run.manifest.self_check,
        "grades": grades(analysis, run).into_iter().map(|one| {
            (one.number, json!({ "grade": one.grade, "value": one.value }))
        }).collect::<Map<String, Value>>(),
        "diagnoses": diagnoses(analysis, run),
        "metrics": metrics(analysis, &run.run),
    });
    if let Some(tools) = tools_json(analysis, &run.run) {
        value["definitions"] = tools;
    }
    value
}

/// Collects every number of a run; one that is unknown has no key.
fn metrics(analysis: &Analysis, run: &str) -> Map<String, Value> {
    let mut found = Map::new();
    for row in rows_of(analysis, "latency_percentiles", run) {
        let Some(metric) = row.text("metric") else {
            continue;
        };
        for (stat, column) in STATS {
            let value = row.number(column).map(|value| value / NS_PER_MS);
            let key = format!("{metric}_{stat}");
            add_metric(&mut found, key.clone(), value, "ms", row.number("n"));
            let bounds = interval(analysis, run, metric, stat);
            add_interval(&mut found, &key, bounds, NS_PER_MS);
        }
    }
    for row in rows_of(analysis, "throughput_windows", run) {
        let Some(window) = row.text("window_name") else {
            continue;
        };
        for (rate, column, unit) in RATES {
            let n = row.number("requests");
            let key = format!("{rate}_{window}");
            add_metric(&mut found, key.clone(), row.number(column), unit, n);
            if window == "steady" {
                let bounds = interval(analysis, run, rate, "window");
                add_interval(&mut found, &key, bounds, 1.0);
            }
        }
    }
    goodput_metrics(&mut found, analysis, run);
    for row in rows_of(analysis, "run_summary", run) {
        for (key, column, unit) in SUMMARY {
            add_metric(
                &mut found,
                key.to_owned(),
                row.number(column),
                unit,
                row.number("requests"),
            );
        }
    }
    for (query, key, column, unit) in FIDELITY {
        for row in rows_of(analysis, query, run) {
            let n = row.number("n").or_else(|| row.number("turns"));
            add_metric(&mut found, key.to_owned(), row.number(column), unit, n);
        }
    }
    stream_metrics(&mut found, analysis, run);
    found
}

/// Adds how many requests and tokens met every goal.
fn goodput_metrics(found: &mut Map<String, Value>, analysis: &Analysis, run: &str) {
    for row in rows_of(analysis, "goodput", run) {
        let window = row.text("window_name").unwrap_or("run");
        let n = row.number("offered");
        let goodput = row.number("goodput_rps");
        add_metric(found, format!("goodput_{window}"), goodput, "requests/s", n);
        add_metric(
            found,
            format!("attainment_{window}"),
            row.number("attainment"),
            "share",
            n,
        );
        for (key, column, unit) in GOODPUT {
            let key = format!("{key}_{window}");
            add_metric(found, key.clone(), row.number(column), unit, n);
            if window == "steady" {
                add_interval(found, &key, interval(analysis, run, column, "window"), 1.0);
            }
        }
        if window == "steady" {
            for (key, metric) in [("goodput", "goodput_rps"), ("attainment", "attainment")] {
                let bounds = interval(analysis, run, metric, "window");
                add_interval(found, &format!("{key}_steady"), bounds, 1.0);
            }
        }
    }
}

/// Adds what is known of single requests, of concurrency and of cost.
fn stream_metrics(found: &mut Map<String, Value>, analysis: &Analysis, run: &str) {
    for (query, key, column, unit) in STREAMS {
        for row in rows_of(analysis, query, run) {
            let scale = if unit == "ms" { NS_PER_MS } else { 1.0 };
            let value = row.number(column).map(|value| value / scale);
            add_metric(found, key.to_owned(), value, unit, row.number("n"));
        }
    }
    for row in rows_of(analysis, "request_speeds", run) {
        let (Some(metric), Some("tokens/s")) = (row.text("metric"), row.text("unit")) else {
            continue;
        };
        for stat in ["mean", "min", "p1", "p10", "p50", "p90", "p99", "max"] {
            let key = format!("{metric}_{stat}");
            add_metric(found, key, row.number(stat), "tokens/s", row.number("n"));
        }
    }
    for row in rows_of(analysis, "concurrency", run) {
        let window = row.text("window_name").unwrap_or("run");
        for stat in ["mean", "p50", "p90", "p99", "max"] {
            let key = format!("concurrency_{stat}_{window}");
            add_metric(found, key, row.number(stat), "requests", None);
        }
    }
    for row in rows_of(analysis, "cost", run) {
        let window = row.text("window_name").unwrap_or("run");
        let basis = row.text("basis").unwrap_or("price");
        for column in ["cost_per_m_output", "cost_per_m_total"] {
            let key = format!("{column}_{basis}_{window}");
            add_metric(found, key, row.number(column), "money/million tokens", None);
        }
    }
}

/// Goodput of tokens, and what it is to be held against: key, column, unit.
const GOODPUT: [(&str, &str, &str); 4] = [
    ("offered_rps", "offered_rps", "requests/s"),
    ("ok_rps", "ok_rps", "requests/s"),
    ("goodput_tps", "goodput_tps", "tokens/s"),
    ("token_attainment", "token_attainment", "share"),
];

/// How answers were streamed: query, key, column and unit of each metric.
const STREAMS: [(&str, &str, &str, &str); 11] = [
    (
        "throughput_peaks",
        "output_tokens_peak_1s",
        "output_tokens_peak_1s",
        "tokens",
    ),
    ("stalls", "stalled_share", "stalled_share", "share"),
    ("stalls", "stalls_total", "stalls", "gaps"),
    ("stalls", "longest_gap_p50", "longest_p50_ns", "ms"),
    ("stalls", "longest_gap_p99", "longest_p99_ns", "ms"),
    ("stalls", "longest_gap_max", "longest_max_ns", "ms"),
    ("jitter", "jitter_p50", "p50_ns", "ms"),
    ("jitter", "jitter_p99", "p99_ns", "ms"),
    ("deadlines", "in_time_share", "in_time_share", "share"),
    ("deadlines", "fluidity_all", "fluidity", "share"),
    ("deadlines", "fluidity_p10", "fluidity_p10", "share"),
];

/// How faithful a run was: query, key, column and unit of each metric.
const FIDELITY: [(&str, &str, &str, &str); 10] = [
    (
        "schedule_fidelity",
        "rate_intended",
        "intended_rate_per_s",
        "requests/s",
    ),
    (
        "schedule_fidelity",
        "rate_achieved",
        "achieved_rate_per_s",
        "requests/s",
    ),
    (
        "arrival_fidelity",
        "arrival_within_1ms",
        "within_1ms",
        "share",
    ),
    ("arrival_fidelity", "arrival_gap_ks", "gap_ks", "share"),
    (
        "arrival_fidelity",
        "arrival_count_off_max",
        "count_off_max",
        "requests",
    ),
    ("session_fidelity", "sessions_total", "sessions", "sessions"),
    (
        "session_fidelity",
        "turns_out_of_order",
        "out_of_order",
        "requests",
    ),
    (
        "session_fidelity",
        "turns_before_reply",
        "before_reply",
        "requests",
    ),
    ("prefix_hits", "prefix_hit_ideal", "ideal_hit", "share"),
    (
        "prefix_hits",
        "prefix_hit_achieved",
        "achieved_hit",
        "share",
    ),
];

/// Puts the ends of its 95 % confidence interval into a metric.
fn add_interval(found: &mut Map<String, Value>, key: &str, bounds: Option<(f64, f64)>, by: f64) {
    if let (Some(metric), Some((low, high))) = (found.get_mut(key), bounds) {
        metric["low"] = plain(low / by);
        metric["high"] = plain(high / by);
    }
}

/// Adds a metric. `low` and `high` are the ends of its confidence interval, null where it has none.
pub(crate) fn add_metric(
    found: &mut Map<String, Value>,
    key: String,
    value: Option<f64>,
    unit: &str,
    n: Option<f64>,
) {
    if let Some(value) = value {
        let entry = json!({
            "value": plain(value), "unit": unit, "n": n.map(plain), "low": null, "high": null,
        });
        found.insert(key, entry);
    }
}

/// Writes a whole number without a fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "checked to be whole and within 2^53"
)]
fn plain(value: f64) -> Value {
    let is_whole = value.fract().abs() < f64::MIN_POSITIVE && value.abs() < 9.0e15;
    if is_whole {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// One number of a run against the first run's; from `ratio_low` on null where nothing was tested.
fn comparison(analysis: &Analysis, change: &Change) -> Value {
    let mut found = json!({
        "run": change.run,
        "baseline_run": analysis.runs.first().map(|run| run.run.as_str()),
        "metric": format!("{}_{}", change.metric, change.stat),
        "unit": change.unit,
        "baseline": change.baseline,
        "value": change.value,
        "difference": change.difference,
        "ratio": change.ratio,
    });
    let tested = difference(analysis, &change.run, &change.metric, &change.stat);
    add_test(&mut found, tested);
    found
}

/// One number of a group of runs against the first group's.
fn group(row: Row<'_>) -> Value {
    let (unit, by) = shown_unit(row);
    let number = |column| row.number(column).map(|value| value / by);
    let (value, baseline) = (number("value"), number("baseline_value"));
    let metric = row.text("metric").unwrap_or_default();
    let mut found = json!({
        "group": row.run(),
        "baseline_group": row.text("baseline"),
        "runs": row.number("runs").map(plain),
        "baseline_runs": row.number("baseline_runs").map(plain),
        "metric": match row.text("stat") {
            Some("window") | None => metric.to_owned(),
            Some(stat) => format!("{metric}_{stat}"),
        },
        "unit": unit,
        "baseline": baseline,
        "value": value,
        "difference": value.zip(baseline).map(|(value, baseline)| value - baseline),
        "ratio": row.number("difference").map(|share| 1.0 + share),
    });
    add_test(&mut found, Some(row));
    found
}

/// Adds the 95 % confidence interval of the ratio, and what the test said.
fn add_test(found: &mut Value, tested: Option<Row<'_>>) {
    let number = |column| tested.and_then(|row| row.number(column));
    found["ratio_low"] = json!(number("low").map(|share| 1.0 + share));
    found["ratio_high"] = json!(number("high").map(|share| 1.0 + share));
    found["p"] = json!(number("p"));
    found["p_holm"] = json!(number("p_holm"));
    found["verdict"] = json!(tested.and_then(|row| row.text("verdict")));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn has_the_shape_that_scripts_rely_on() {
        let value = json(&fixture::single());
        let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["schema", "runs", "comparisons", "groups"]);
        insta::assert_snapshot!(value["runs"][0]["metrics"]["ttft_p99"], @r#"{"value":450.2486497617324,"unit":"ms","n":990,"low":null,"high":null}"#);
        assert_eq!(value["runs"][0]["metrics"]["requests_total"]["value"], 1000);
        assert_eq!(value["runs"][0]["labels"]["batch"], "4");
        assert_eq!(value["comparisons"], json!([]));
    }

    #[test]
    fn an_unknown_number_has_no_key() {
        let value = json(&fixture::of_size(0));
        assert!(value["runs"][0]["metrics"].get("ttft_p99").is_none());
        assert_eq!(value["runs"][0]["metrics"]["requests_ok"]["value"], 0);
    }

    #[test]
    fn a_comparison_names_both_runs() {
        let value = json(&fixture::several(2));
        assert_eq!(value["comparisons"][0]["baseline_run"], "batch-1");
        assert_eq!(value["comparisons"][0]["run"], "batch-2");
        assert_eq!(value["comparisons"][0]["unit"], "ms");
        assert_eq!(value["groups"], json!([]));
    }

    #[test]
    fn groups_have_their_numbers_intervals_and_verdicts() {
        let value = json(&fixture::grouped());
        insta::assert_snapshot!(value["groups"][0], @r#"{"group":"new","baseline_group":"old","runs":3,"baseline_runs":2,"metric":"ttft_p50","unit":"ms","baseline":80.0,"value":100.0,"difference":20.0,"ratio":1.25,"ratio_low":0.98,"ratio_high":1.3,"p":0.2,"p_holm":0.4,"verdict":"no difference seen"}"#);
        assert_eq!(value["groups"].as_array().unwrap().len(), 3);
        assert_eq!(value["groups"][2]["metric"], "ok_share");
        assert_eq!(value["groups"][1]["verdict"], Value::Null);
        // What was tested of groups says nothing of one run.
        assert_eq!(value["comparisons"][0]["ratio_low"], Value::Null);
    }
}
