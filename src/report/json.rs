//! The numbers alone, for scripts: stable keys, the unit beside each value.
//!
//! Keys are `<metric>_<stat>`, such as `ttft_p99`. Latencies are in milliseconds here as in every
//! other report; `sql` has the nanoseconds. Names stay as they are on the tape, since JSON quotes
//! them safely and scripts compare them.

use serde_json::{Map, Value, json};

use crate::analyze::{Analysis, Differences, FailedAttempts, LatencyByServer, RunFacts};

use super::comparison::{Change, changes};
use super::export::{Exporter, Render};
use super::format::NS_PER_MS;
use super::model::{RunView, run_views};
use super::run_card::load_of;
use super::tools::tools_json;
use super::uncertainty::{difference, of_groups, shown_unit};

/// Version of the layout below; it grows when a key changes its meaning.
const SCHEMA: u32 = 1;

/// The numbers for scripts.
pub(super) const JSON: Exporter = Exporter {
    flag: "json",
    value_name: "FILE",
    help: "Write the numbers as JSON",
    render: Render::File(|exported| Ok(format!("{:#}\n", json(exported.analysis)))),
};

/// Renders the numbers as
/// `{schema, runs: [{run, labels, load: {trace, arrivals, dataset, …}, grades: {number: {grade, value}}, diagnoses: [{id, what, why, act}],
/// metrics: {key: {value, unit, n, low, high}}}], comparisons, groups}`, where `groups` has what
/// `comparisons` has, of runs that repeat each other (`--by`) and not of each run; where
/// definitions of other tools were asked for, a run has `definitions` as well; one over several servers
/// has `servers: [{target, metrics}]`, and one with retries `failed_attempts: [{target, http_status,
/// error_kind, attempts, requests, later_ok}]`.
pub fn json(analysis: &Analysis) -> Value {
    let views = run_views(analysis);
    let runs = analysis.runs.iter().zip(&views);
    let runs: Vec<Value> = runs
        .map(|(run, view)| run_value(analysis, run, view))
        .collect();
    let comparisons: Vec<Value> = changes(analysis)
        .iter()
        .map(|change| comparison(analysis, change))
        .collect();
    let groups: Vec<Value> = of_groups(analysis).into_iter().map(group).collect();
    json!({ "schema": SCHEMA, "runs": runs, "comparisons": comparisons, "groups": groups })
}

fn run_value(analysis: &Analysis, run: &RunFacts, view: &RunView) -> Value {
    let verdict = &view.verdict;
    let mut value = json!({
        "run": run.run,
        "labels": run.manifest.labels,
        "validity": { "verdict": verdict.word, "reason": verdict.reason, "details": verdict.details },
        "self_check": run.manifest.self_check,
        "load": load_of(run).into_iter().filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.to_owned(), value)).collect::<Map<String, Value>>(),
        "grades": view.grades.iter().map(|one| {
            (one.number.clone(), json!({ "grade": one.grade, "value": one.value }))
        }).collect::<Map<String, Value>>(),
        "diagnoses": view.diagnoses,
        "metrics": metrics(analysis, &run.run),
    });
    if let Some(tools) = tools_json(analysis, &run.run) {
        value["definitions"] = tools;
    }
    for (key, rows) in [
        ("servers", servers(analysis, &run.run)),
        ("failed_attempts", failed_attempts(analysis, &run.run)),
    ] {
        if !rows.is_empty() {
            value[key] = rows.into();
        }
    }
    value
}

/// What each of several servers did, with keys as the run's own metrics have them.
fn servers(analysis: &Analysis, run: &str) -> Vec<Value> {
    let rows = analysis.rows_of::<LatencyByServer<'_>>(run).into_iter();
    let server = |row: LatencyByServer<'_>| {
        let mut found = Map::new();
        for (key, value, unit, n) in [
            ("requests", row.requests, "requests", None),
            ("requests_share", row.requests_share, "share", None),
            ("ok", row.ok, "requests", None),
            ("attempts", row.attempts, "attempts", None),
            ("failed_attempts", row.failed_attempts, "attempts", None),
            ("output_tps", row.output_tps, "tokens/s", None),
            ("ttft_p50", row.ttft_p50_ns, "ms", row.n),
            ("ttft_p99", row.ttft_p99_ns, "ms", row.n),
            ("tpot_p50", row.tpot_p50_ns, "ms", row.tpot_n),
            ("tpot_p99", row.tpot_p99_ns, "ms", row.tpot_n),
            ("e2el_p50", row.e2el_p50_ns, "ms", row.n),
        ] {
            let by = if unit == "ms" { NS_PER_MS } else { 1.0 };
            let value = value.map(|value| value / by);
            add_metric(&mut found, key.to_owned(), value, unit, n);
        }
        json!({ "target": row.target, "metrics": found })
    };
    rows.map(server).collect()
}

/// The attempts that failed, by server and kind.
fn failed_attempts(analysis: &Analysis, run: &str) -> Vec<Value> {
    let rows = analysis.rows_of::<FailedAttempts<'_>>(run).into_iter();
    rows.map(|row| {
        json!({
            "target": row.target, "http_status": row.http_status.map(plain),
            "error_kind": row.error_kind, "attempts": row.attempts.map(plain),
            "requests": row.requests.map(plain), "later_ok": row.later_ok.map(plain),
        })
    })
    .collect()
}

/// Every number of a run by its key, times in milliseconds; one that is unknown has no key.
fn metrics(analysis: &Analysis, run: &str) -> Map<String, Value> {
    let mut found = Map::new();
    for one in crate::analyze::metrics(analysis, run) {
        let (unit, by) = match one.unit {
            "ns" => ("ms", NS_PER_MS),
            unit => (unit, 1.0),
        };
        add_metric(
            &mut found,
            one.key.clone(),
            Some(one.value / by),
            unit,
            one.n,
        );
        if let (Some(metric), Some((low, high))) = (found.get_mut(&one.key), one.interval) {
            metric["low"] = plain(low / by);
            metric["high"] = plain(high / by);
        }
    }
    found
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
        "metric": match change.metric.as_str() {
            // It has one value, of all requests.
            "ok_share" => change.metric.clone(),
            metric => format!("{metric}_{}", change.stat),
        },
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
fn group(row: Differences<'_>) -> Value {
    let (unit, by) = shown_unit(row.unit);
    let shown = |value: Option<f64>| value.map(|value| value / by);
    let (value, baseline) = (shown(row.value), shown(row.baseline_value));
    let metric = row.metric.unwrap_or_default();
    let mut found = json!({
        "group": row.run,
        "baseline_group": row.baseline,
        "runs": row.runs.map(plain),
        "baseline_runs": row.baseline_runs.map(plain),
        "metric": match row.stat {
            Some("window") | None => metric.to_owned(),
            Some(stat) => format!("{metric}_{stat}"),
        },
        "unit": unit,
        "baseline": baseline,
        "value": value,
        "difference": value.zip(baseline).map(|(value, baseline)| value - baseline),
        "ratio": row.difference.map(|share| 1.0 + share),
    });
    add_test(&mut found, Some(row));
    found
}

/// Adds the 95 % confidence interval of the ratio, and what the test said.
fn add_test(found: &mut Value, tested: Option<Differences<'_>>) {
    let ratio = |change: Option<f64>| change.map(|share| 1.0 + share);
    found["ratio_low"] = json!(ratio(tested.and_then(|row| row.low)));
    found["ratio_high"] = json!(ratio(tested.and_then(|row| row.high)));
    found["p"] = json!(tested.and_then(|row| row.p));
    found["p_holm"] = json!(tested.and_then(|row| row.p_holm));
    found["verdict"] = json!(tested.and_then(|row| row.verdict));
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
