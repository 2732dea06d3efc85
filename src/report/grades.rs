//! Grades: the numbers that most people ask about, against rules of thumb.

use serde::Serialize;

use crate::analyze::{Analysis, RunFacts};
use crate::capture::manifest::Loop;

use super::format::{self, NS_PER_MS};
use super::language::said;
use super::rows::rows_of;

/// One number and its grade.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Grade {
    /// Name of the number, as in the file of thresholds.
    pub(crate) number: String,
    /// What a reader calls it.
    pub(crate) label: String,
    /// The number, written with its unit.
    pub(crate) value: String,
    /// `excellent`, `good`, `fair` or `needs work`.
    pub(crate) grade: String,
    /// Name of the class for it.
    pub(crate) class: &'static str,
}

/// Grades a run. A number that is unknown has no grade; nor has the rate of requests in an open
/// loop, which whoever asked for it chose.
pub(crate) fn grades(analysis: &Analysis, run: &RunFacts) -> Vec<Grade> {
    let graded = analysis.thresholds.all.iter().filter_map(|threshold| {
        let (value, written) = value_of(analysis, run, &threshold.number)?;
        let grade = threshold.grade(value);
        Some(Grade {
            number: threshold.number.clone(),
            label: label(&threshold.number),
            value: written,
            grade: said(grade),
            class: match grade {
                "excellent" | "good" => "good",
                "fair" => "faint",
                _ => "bad",
            },
        })
    });
    graded.collect()
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
            let row = found.first()?;
            let all = row.number("requests").filter(|all| *all > 0.0)?;
            let share = row.number("ok")? / all;
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
    use crate::analyze::Thresholds;
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
    fn other_thresholds_give_other_grades() {
        let mut analysis = fixture::single();
        let text = r#"{"ttft_p99": {"excellent": 10, "good": 20, "needs_work": 50}}"#;
        analysis.thresholds = Thresholds::parse(Some("strict.json".to_owned()), text).unwrap();
        assert_eq!(said(&analysis), ["TTFT p99 644.45 ms: needs work"]);
        assert_eq!(source(&analysis), "strict.json");
    }
}
