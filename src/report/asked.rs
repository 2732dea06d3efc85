//! What the terminal says of the report settings that were given: stalls, a reader, a price.
//!
//! Pages have them in any case; a terminal has room for what was asked for.

use crate::analyze::{Analysis, Cost, Deadlines, ReportSettings, Stalls};

use super::columns::fit_middle;
use super::format;

/// Names and values, a line each, of every setting that is not the usual one.
pub(super) fn asked(analysis: &Analysis) -> Vec<(String, String)> {
    let usual = ReportSettings::default();
    let mut lines = Vec::new();
    for run in &analysis.runs {
        let whose = if analysis.runs.len() == 1 {
            String::new()
        } else {
            format!(", {}", fit_middle(&format::name(&run.run), 20))
        };
        for row in analysis.rows_of::<Stalls<'_>>(&run.run) {
            let bound = row.bound_ns.unwrap_or_default();
            if (bound - as_number(usual.stall_ns)).abs() >= 0.5 {
                let name = format!("Stalls, gaps over {}{whose}:", format::duration(bound));
                lines.push((name, stalls(row)));
            }
        }
        for row in analysis.rows_of::<Deadlines<'_>>(&run.run) {
            let speed = row.reader_tps.unwrap_or_default();
            if (speed - usual.reader_tps).abs() > f64::EPSILON {
                let speed = format::trimmed(speed, 1);
                let name = format!("Tokens in time for a reader of {speed}/s{whose}:");
                lines.push((name, in_time(row)));
            }
        }
        for row in analysis.rows_of::<Cost<'_>>(&run.run) {
            let window = match row.window_name {
                Some("steady") => "steady",
                _ => "whole run",
            };
            let name = format!("Cost of 1M output tokens, {window}{whose}:");
            lines.push((name, cost(row)));
        }
    }
    lines
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a bound of over a hundred days is none"
)]
fn as_number(ns: i64) -> f64 {
    ns as f64
}

fn stalls(row: Stalls<'_>) -> String {
    format!(
        "{} of {} gaps, in {} of {} answers; longest gap {} ms",
        format::optional(row.stalls, 0),
        format::optional(row.gaps, 0),
        format::optional(row.stalled, 0),
        format::optional(row.n, 0),
        format::milliseconds(row.longest_max_ns)
    )
}

fn in_time(row: Deadlines<'_>) -> String {
    format!(
        "{} (all of them in {} of {} answers)",
        format::percent(row.in_time_share),
        format::percent(row.kept_up_share),
        format::optional(row.n, 0)
    )
}

fn cost(row: Cost<'_>) -> String {
    let basis = match row.basis {
        Some("price") => "by price per token",
        _ => "by GPU hour",
    };
    format!(
        "{} ({basis}; {} in all, {} a request)",
        format::optional(row.cost_per_m_output, 2),
        small(row.cost),
        small(row.cost_per_request)
    )
}

/// An amount of money of any size, with its first digits.
fn small(value: Option<f64>) -> String {
    let places = match value {
        Some(value) if value.abs() < 0.01 => 6,
        Some(value) if value.abs() < 1.0 => 4,
        _ => 2,
    };
    format::optional(value, places)
}
