//! Grades: the numbers that most people ask about, against rules of thumb.

use serde::Serialize;

use crate::analyze::{Analysis, RunFacts, Threshold, Thresholds};
use crate::plan::Loop;

use super::format::{self, NS_PER_MS};
use super::language::{said, say};
use super::rows::rows_of;
use super::verdict::{Standing, verdict};

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

/// Grades a run. A number that is unknown has no grade; nor has the rate of requests in an open
/// loop, which whoever asked for it chose. A latency or a rate says nothing of the server where the
/// client was the bottleneck, or where too few requests succeeded, and is not graded.
pub(crate) fn grades(analysis: &Analysis, run: &RunFacts) -> Vec<Grade> {
    let ungraded = ungraded(analysis, run);
    let graded = analysis.thresholds.all.iter().filter_map(|threshold| {
        let (value, written) = value_of(analysis, run, &threshold.number)?;
        let is_of_requests = ["ok_share", "attainment"].contains(&threshold.number.as_str());
        let (grade, class) = match &ungraded {
            Some(why) if !is_of_requests => (why.clone(), "faint"),
            _ => {
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
            label: label(&threshold.number),
            value: written,
            grade,
            class,
        })
    });
    graded.collect()
}

/// Why the latencies and rates of a run are not graded.
fn ungraded(analysis: &Analysis, run: &RunFacts) -> Option<String> {
    if verdict(analysis, &run.run).standing == Standing::ClientLimited {
        return Some(said("not graded: client-limited"));
    }
    let (share, _) = value_of(analysis, run, "ok_share")?;
    let is_success = |threshold: &&Threshold| threshold.number == "ok_share";
    let built_in = Thresholds::default();
    let mut known = analysis.thresholds.all.iter().chain(&built_in.all);
    let bound = known.find(is_success)?.needs_work;
    (share < bound).then(|| {
        let bound = format::percent(Some(bound));
        say!("not graded: success is under {bound}", bound)
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

/// A number in the unit of its thresholds, and as it is written.
fn value_of(analysis: &Analysis, run: &RunFacts, number: &str) -> Option<(f64, String)> {
    let is_open = run.manifest.arrival_loop == Loop::Open;
    let latency = |metric: &str, stat: &str| {
        let has_form = is_open && ["ttft", "e2el"].contains(&metric);
        let metric = if has_form {
            format!("{metric}_intended")
        } else {
            metric.to_owned()
        };
        let found = rows_of(analysis, "latency_percentiles", &run.run);
        let row = found
            .iter()
            .find(|row| row.text("metric") == Some(metric.as_str()))?;
        Some(row.number(&format!("{stat}_ns"))? / NS_PER_MS)
    };
    let window = |column: &str| {
        let found = rows_of(analysis, "throughput_windows", &run.run);
        found.iter().find_map(|row| row.number(column))
    };
    match number {
        "rps" if is_open => None,
        "rps" => window("rps").map(|rate| (rate, format::decimal(rate, 2))),
        "output_tps" => window("output_tps").map(|rate| (rate, format::decimal(rate, 1))),
        "ok_share" => {
            let found = rows_of(analysis, "run_summary", &run.run);
            let share = found.first()?.number("ok_share")?;
            Some((share, format::percent(Some(share))))
        }
        "attainment" => {
            let found = rows_of(analysis, "goodput", &run.run);
            let share = found.iter().find_map(|row| row.number("attainment"))?;
            Some((share, format::percent(Some(share))))
        }
        "tpot_p99_by_p50" => {
            let middle = latency("tpot", "p50").filter(|middle| *middle > 0.0)?;
            let ratio = latency("tpot", "p99")? / middle;
            Some((ratio, format::decimal(ratio, 2)))
        }
        other => {
            let (metric, stat) = other.rsplit_once('_')?;
            let ms = latency(metric, stat)?;
            Some((ms, format!("{} ms", format::decimal(ms, 2))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Thresholds};
    use crate::report::fixture;

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
        let mut columns = summary.columns.iter();
        let at = columns
            .position(|column| column.name == "ok_share")
            .unwrap();
        summary.rows[0][at] = Cell::Float(17.0 / 60.0);
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
}
