//! Grades: the numbers that most people ask about, against rules of thumb.

use serde::Serialize;

use crate::analyze::{
    Analysis, Goodput, LatencyPercentiles, Percentile, RunFacts, Standing, Threshold, Thresholds,
    ThroughputWindows, empty_window, outcomes, standing,
};
use crate::plan::Loop;

use super::format::{self, NS_PER_MS};
use super::language::{said, say};

/// One number and its grade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Grade {
    /// Name of the number, as in the file of thresholds.
    pub(crate) number: String,
    /// What a reader calls it.
    pub(crate) label: String,
    /// The number, written with its unit.
    pub(crate) value: String,
    /// `excellent`, `good`, `fair` or `needs work`, or why it is none of these.
    pub(crate) grade: String,
    /// Name of the class for it.
    pub(crate) class: &'static str,
}

/// Fewest requests of which a number is graded: a middle or a share of fewer is chance.
const FEWEST: f64 = 30.0;

/// Fewest of which a tail is: a 99th percentile of fewer is their maximum.
const FEWEST_OF_TAIL: f64 = 100.0;

/// Grades a run. A number that is unknown has no grade; nor has the rate of requests in an open
/// loop, which whoever asked for it chose. A latency or a rate says nothing of the server where the
/// client was the bottleneck, or where too few requests succeeded, and is not graded; nor is what
/// stands on few requests. Where nothing lies in the window that was asked for, nothing is graded.
pub(crate) fn grades(analysis: &Analysis, run: &RunFacts) -> Vec<Grade> {
    if empty_window(analysis, &run.run).is_some() {
        return Vec::new();
    }
    let ungraded = ungraded(analysis, run);
    let cut_off = outcomes(analysis, run).map_or(0.0, |outcomes| outcomes.cut_off);
    let graded = analysis.thresholds.all.iter().filter_map(|threshold| {
        let number = threshold.number.as_str();
        let Value {
            value,
            written,
            requests,
        } = value_of(analysis, run, number)?;
        let why = match number {
            "ok_share" => None,
            // Goals count what was cut off as missed.
            "attainment" => (cut_off > 0.0).then(|| said("not graded: the run was stopped")),
            _ => ungraded.clone(),
        };
        let (grade, class) = match why.or_else(|| too_few(number, requests)) {
            Some(why) => (why, "faint"),
            None => {
                let grade = threshold.grade(value);
                let class = match grade {
                    "excellent" | "good" => "good",
                    "fair" => "faint",
                    _ => "bad",
                };
                (said(grade), class)
            }
        };
        Some(Grade {
            number: threshold.number.clone(),
            label: match number {
                "ok_share" if cut_off > 0.0 => said("success of what was not cut off"),
                other => label(other),
            },
            value: written,
            grade,
            class,
        })
    });
    graded.collect()
}

/// Why the latencies and rates of a run are not graded.
fn ungraded(analysis: &Analysis, run: &RunFacts) -> Option<String> {
    if standing(analysis, &run.run) == Standing::ClientLimited {
        return Some(said("not graded: client-limited"));
    }
    let share = outcomes(analysis, run)?.ok_share()?;
    let is_success = |threshold: &&Threshold| threshold.number == "ok_share";
    let built_in = Thresholds::default();
    let mut known = analysis.thresholds.all.iter().chain(&built_in.all);
    let bound = known.find(is_success)?.needs_work;
    (share < bound).then(|| {
        let bound = format::percent(Some(bound));
        say!("not graded: success is under {bound}", bound)
    })
}

/// Why a number is not graded that stands on so many requests.
fn too_few(number: &str, requests: f64) -> Option<String> {
    let is_tail = ["_p95", "_p99", "_max", "p99_by_p50"]
        .iter()
        .any(|stat| number.ends_with(stat));
    let fewest = if is_tail { FEWEST_OF_TAIL } else { FEWEST };
    (requests < fewest).then(|| {
        let fewest = format::decimal(fewest, 0);
        say!("not graded: under {fewest} requests", fewest)
    })
}

/// Names where the thresholds are from.
pub(crate) fn source(analysis: &Analysis) -> String {
    let named = analysis.thresholds.source.as_deref();
    named.map_or_else(|| said("built-in rules of thumb"), format::clean)
}

fn label(number: &str) -> String {
    match number {
        "rps" => said("requests/s"),
        "output_tps" => said("output tokens/s"),
        "ok_share" => said("success"),
        "attainment" => said("goals met"),
        "tpot_p99_by_p50" => said("TPOT p99 ÷ p50"),
        other => match other.rsplit_once('_') {
            Some((metric, stat)) => format!("{} {stat}", metric.to_uppercase()),
            None => other.to_owned(),
        },
    }
}

/// A number that can be graded.
struct Value {
    /// In the unit of its thresholds.
    value: f64,
    /// With its unit.
    written: String,
    /// On how many requests it stands.
    requests: f64,
}

fn value_of(analysis: &Analysis, run: &RunFacts, number: &str) -> Option<Value> {
    let some = |value, written, requests| {
        Some(Value {
            value,
            written,
            requests,
        })
    };
    let is_open = run.manifest.arrival_loop == Loop::Open;
    let percentiles = analysis.rows_of::<LatencyPercentiles<'_>>(&run.run);
    let of_metric = |metric: &str| {
        let mut found = percentiles.iter();
        found.find(|row| row.metric == Some(metric))
    };
    // Gaps are many of few requests.
    let covered = of_metric("e2el").and_then(|row| row.n);
    let latency = |metric: &str, percentile: Percentile| {
        let has_form = is_open && ["ttft", "e2el"].contains(&metric);
        let metric = if has_form {
            format!("{metric}_intended")
        } else {
            metric.to_owned()
        };
        let row = of_metric(&metric)?;
        let n = row.n?;
        let ms = row.percentile(percentile)? / NS_PER_MS;
        Some((ms, covered.map_or(n, |covered| n.min(covered))))
    };
    let window = |rate: fn(&ThroughputWindows<'_>) -> Option<f64>| {
        let found = analysis.rows_of::<ThroughputWindows<'_>>(&run.run);
        let mut rates = found
            .iter()
            .filter_map(|row| Some((rate(row)?, row.requests?)));
        rates.next()
    };
    match number {
        "rps" if is_open => None,
        "rps" => {
            let (rate, requests) = window(|row| row.rps)?;
            some(rate, format::decimal(rate, 2), requests)
        }
        "output_tps" => {
            let (rate, requests) = window(|row| row.output_tps)?;
            some(rate, format::decimal(rate, 1), requests)
        }
        "ok_share" => {
            let outcomes = outcomes(analysis, run)?;
            let share = outcomes.ok_share()?;
            some(share, format::percent(Some(share)), outcomes.ended())
        }
        "attainment" => {
            let found = analysis.rows_of::<Goodput<'_>>(&run.run);
            let mut known = found
                .iter()
                .filter_map(|row| Some((row.attainment?, row.offered?)));
            let (share, offered) = known.next()?;
            some(share, format::percent(Some(share)), offered)
        }
        "tpot_p99_by_p50" => {
            let (middle, n) =
                latency("tpot", Percentile::new(50.0)?).filter(|(middle, _)| *middle > 0.0)?;
            let ratio = latency("tpot", Percentile::new(99.0)?)?.0 / middle;
            some(ratio, format::decimal(ratio, 2), n)
        }
        other => {
            let (metric, stat) = other.rsplit_once('_')?;
            let (ms, n) = latency(metric, Percentile::named(stat)?)?;
            some(ms, format!("{} ms", format::decimal(ms, 2)), n)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Table, Thresholds};
    use crate::capture::manifest::State;
    use crate::report::fixture;

    fn put(table: &mut Table, column: &str, cell: Cell) {
        let mut columns = table.columns.iter();
        let at = columns.position(|known| known.name == column);
        table.rows[0][at.unwrap()] = cell;
    }

    fn table<'a>(analysis: &'a mut Analysis, name: &str) -> &'a mut Table {
        let mut tables = analysis.tables.iter_mut();
        tables.find(|table| table.name == name).unwrap()
    }

    fn said(analysis: &Analysis) -> Vec<String> {
        grades(analysis, &analysis.runs[0])
            .into_iter()
            .map(|grade| format!("{} {}: {}", grade.label, grade.value, grade.grade))
            .collect()
    }

    #[test]
    fn grades_what_is_known_and_no_rate_that_was_chosen() {
        assert_eq!(
            said(&fixture::single()),
            [
                "TTFT p50 84.40 ms: excellent",
                "TPOT p50 21.50 ms: excellent",
                "TPOT p99 ÷ p50 2.49: fair",
                "success 99.0 %: good",
            ]
        );
        assert!(
            said(&fixture::closed())
                .iter()
                .any(|one| one.starts_with("requests/s"))
        );
        assert!(said(&fixture::of_size(0)).is_empty());
    }

    #[test]
    fn latencies_are_not_graded_where_the_client_was_the_bottleneck() {
        assert_eq!(
            said(&fixture::limited()),
            [
                "TTFT p50 84.40 ms: not graded: client-limited",
                "TPOT p50 21.50 ms: not graded: client-limited",
                "TPOT p99 ÷ p50 2.49: not graded: client-limited",
                "success 99.0 %: good",
            ]
        );
    }

    #[test]
    fn latencies_are_not_graded_where_too_few_requests_succeeded() {
        let mut analysis = fixture::closed();
        let mut tables = analysis.tables.iter_mut();
        let summary = tables.find(|table| table.name == "run_summary").unwrap();
        for (column, cell) in [("requests", 60), ("ok", 17), ("failed", 43)] {
            put(summary, column, Cell::Int(cell));
        }
        let graded = said(&analysis);
        let (success, others): (Vec<_>, Vec<_>) =
            graded.iter().partition(|one| one.starts_with("success"));
        assert_eq!(success, ["success 28.3 %: needs work"]);
        assert!(
            others
                .iter()
                .all(|one| one.ends_with("not graded: success is under 90.0 %"))
        );
        assert!(others.iter().any(|one| one.starts_with("requests/s")));
        // Thresholds of one's own may have another bound, or none.
        let text = r#"{"ttft_p50": {"excellent": 100, "good": 200, "needs_work": 500}}"#;
        analysis.thresholds = Thresholds::parse(None, text).unwrap();
        assert!(said(&analysis)[0].contains("not graded"));
    }

    #[test]
    fn other_thresholds_give_other_grades() {
        let mut analysis = fixture::single();
        let text = r#"{"ttft_p99": {"excellent": 10, "good": 20, "needs_work": 50}}"#;
        analysis.thresholds = Thresholds::parse(Some("strict.json".to_owned()), text).unwrap();
        assert_eq!(said(&analysis), ["TTFT p99 644.45 ms: needs work"]);
        assert_eq!(source(&analysis), "strict.json");
    }

    #[test]
    fn what_stands_on_few_requests_is_not_graded() {
        let few = said(&fixture::of_size(8));
        assert!(!few.is_empty());
        for one in &few {
            assert!(one.contains(": not graded: under "), "{one}");
        }
        // A tail takes more of them than a middle.
        let some = said(&fixture::of_size(50));
        assert!(
            some.iter().any(|one| one.ends_with("excellent")),
            "{some:?}"
        );
        let tail = some.iter().find(|one| one.starts_with("TPOT p99")).unwrap();
        assert!(tail.ends_with("not graded: under 100 requests"), "{tail}");
    }

    #[test]
    fn what_the_users_own_stop_cut_off_is_no_failure() {
        let mut analysis = fixture::single();
        let summary = table(&mut analysis, "run_summary");
        for (column, cell) in [
            ("requests", 129),
            ("ok", 100),
            ("failed", 0),
            ("cancelled", 29),
        ] {
            put(summary, column, Cell::Int(cell));
        }
        let success = |analysis: &Analysis| said(analysis).pop().unwrap();
        assert_eq!(success(&analysis), "success 77.5 %: needs work");
        for state in [State::Interrupted, State::Running] {
            analysis.runs[0].manifest.state = state;
            let graded = said(&analysis);
            assert_eq!(
                graded.last().unwrap(),
                "success of what was not cut off 100.0 %: excellent"
            );
            assert_eq!(graded[0], "TTFT p50 84.40 ms: excellent");
        }
        // Of goals, each request that was cut off counts as one that missed them.
        let text = r#"{"attainment": {"excellent": 0.99, "good": 0.9, "needs_work": 0.5}}"#;
        analysis.thresholds = Thresholds::parse(None, text).unwrap();
        assert_eq!(
            said(&analysis),
            ["goals met 89.1 %: not graded: the run was stopped"]
        );
    }

    #[test]
    fn a_window_without_a_request_has_no_grade() {
        let mut analysis = fixture::single();
        table(&mut analysis, "latency_percentiles").rows.clear();
        assert_eq!(said(&analysis), [""; 0]);
    }
}
