//! What a trace is like, for people: 80 columns wide, the same in a terminal and in a file.

use std::path::Path;

use super::advice::advice;
use super::numbers::{count, fine, float};
use crate::report::columns::{self, columns, fit, paint, push_line, rule, table, wrap};
use crate::report::format::{
    NONE, NS_PER_S, clean, decimal, duration, name, optional, percent, trimmed,
};
use crate::report::grid::{Field, Grid};
use crate::trace::{Distribution, Inspected, NameFacts, Peak};

/// Widest line, in columns.
const WIDTH: usize = 80;
/// Columns of the names of facts.
const NAME_WIDTH: usize = 29;
/// Names of models or classes that are shown.
const NAMES_SHOWN: usize = 8;

/// Renders all that was found.
pub(super) fn terminal(path: &Path, inspected: &Inspected, color: bool) -> String {
    let mut out = String::new();
    rule(&mut out, '=', " Trace ");
    about(&mut out, path, inspected);
    rule(&mut out, '-', " Arrivals ");
    arrivals(&mut out, inspected);
    clock(&mut out, inspected);
    sketch(&mut out, inspected);
    rule(&mut out, '-', " Rows ");
    contents(&mut out, inspected);
    rule(&mut out, '=', "");
    for note in advice(inspected) {
        for line in wrap(&format!("Note: {note}."), WIDTH, "  ") {
            let painted = line.replacen("Note:", &paint("Note:", "1;33", color), 1);
            push_line(&mut out, &painted);
        }
    }
    out
}

/// Writes one fact, on more than one line where it is long.
fn fact(out: &mut String, name: &str, value: &str) {
    let indent = " ".repeat(NAME_WIDTH + 1);
    let lines = wrap(value, WIDTH - indent.len(), "");
    for (index, line) in lines.iter().enumerate() {
        let left = if index == 0 { name } else { "" };
        push_line(out, &format!("{left:<NAME_WIDTH$} {line}"));
    }
}

fn about(out: &mut String, path: &Path, inspected: &Inspected) {
    let contents = &inspected.contents;
    push_line(out, &fit(&clean(&path.display().to_string()), WIDTH));
    fact(out, "Format:", &name(&inspected.format.name));
    fact(out, "Rows:", &count(contents.rows));
    if contents.rows < inspected.rows_read {
        fact(out, "Rows read:", &count(inspected.rows_read));
    }
    fact(out, "Failed rows:", &count(contents.failed));
    let span = inspected.arrivals.span_ns.map(|span_ns| {
        let in_s = seconds(span_ns);
        let in_words = if in_s < 600.0 {
            String::new()
        } else {
            format!(" ({})", time(in_s))
        };
        format!("{}{in_words}", decimal(in_s, 3))
    });
    fact(out, "Span (s):", &known(span));
}

fn arrivals(out: &mut String, inspected: &Inspected) {
    let arrivals = &inspected.arrivals;
    let fullest = |peak: Option<Peak>| {
        known(peak.map(|peak| {
            let from = decimal(seconds(peak.from_ns), 0);
            format!("{}, from {from} s on", count(peak.requests))
        }))
    };
    let beside_poisson = |value: Option<f64>| {
        known(value.map(|value| format!("{} (Poisson: 1)", decimal(value, 3))))
    };
    let rate = arrivals.mean_rate_per_s;
    // A trace of weeks may have less than one request a minute.
    let places = if rate.is_some_and(|rate| rate < 0.1) {
        5
    } else {
        3
    };
    fact(out, "Mean rate (req/s):", &optional(rate, places));
    fact(
        out,
        "Fullest second (requests):",
        &fullest(arrivals.peak_1s),
    );
    fact(
        out,
        "Fullest minute (requests):",
        &fullest(arrivals.peak_60s),
    );
    fact(out, "CV of the gaps:", &beside_poisson(arrivals.gap_cv));
    let longest = arrivals.gap_ns_max.map(seconds);
    fact(out, "Longest gap (s):", &optional(longest, 3));
    fact(
        out,
        "Dispersion by second:",
        &beside_poisson(arrivals.dispersion_1s),
    );
}

/// Writes what the arrivals say about the clock that stamped them.
fn clock(out: &mut String, inspected: &Inspected) {
    let arrivals = &inspected.arrivals;
    let instants = &arrivals.instants;
    let apart = instants.gap_ns.map_or(String::new(), |gap| {
        format!(", {} apart at the median", fine(gap.p50))
    });
    let distinct = format!("{}{apart}", count(instants.distinct));
    fact(out, "Distinct times:", &distinct);
    let most = if instants.tied_rows > 0 {
        format!(", at most {} at once", count(instants.largest_tie))
    } else {
        String::new()
    };
    fact(
        out,
        "Rows that share a time:",
        &format!("{}{most}", count(instants.tied_rows)),
    );
    let declared = match inspected.format.quantum_ns {
        Some(quantum_ns) => format!(" (the format: {})", fine(float(quantum_ns.unsigned_abs()))),
        None => String::new(),
    };
    let step = instants.step_ns.map(|step_ns| fine(float(step_ns)));
    fact(out, "Clock step:", &format!("{}{declared}", known(step)));
    fact(out, "Clock restarts:", &count(inspected.clock_restarts));
    fact(out, "Rows out of order:", &count(inspected.out_of_order));
}

/// Writes the rate over time as one line of blocks, with the times of its ends.
fn sketch(out: &mut String, inspected: &Inspected) {
    let Some(sketch) = &inspected.sketch else {
        return;
    };
    let line = sketch.line();
    let width = columns(&line);
    let column_s = sketch.column_ns / NS_PER_S;
    let span_s = inspected.arrivals.span_ns.map_or(0.0, seconds);
    let highest = sketch.highest_per_s();
    push_line(out, "");
    push_line(
        out,
        &format!(
            "Requests a second over time, {} a column, at most {}:",
            time(column_s),
            trimmed(highest, if highest < 1.0 { 4 } else { 2 }),
        ),
    );
    push_line(out, &line);
    let (middle, end) = (time(span_s / 2.0), time(span_s));
    let left = (width / 2).saturating_sub(1 + columns(&middle) / 2);
    let right = width.saturating_sub(1 + left + columns(&middle));
    push_line(out, &format!("0{:>left$}{middle}{end:>right$}", ""));
    push_line(out, "");
}

fn contents(out: &mut String, inspected: &Inspected) {
    let contents = &inspected.contents;
    let mut grid = Grid::new("", &["", "#p50", "#p90", "#p99", "#max", "#mean"]);
    let mut row = |name: &str, found: Option<Distribution>, unit: f64, max_places: usize| {
        let value = |of: fn(&Distribution) -> f64, places| {
            let value = found.as_ref().map(|found| of(found) / unit);
            Field::plain(known(value.map(|value| short(value, places))))
        };
        grid.push(vec![
            Field::plain(name),
            value(|found| found.p50, 1),
            value(|found| found.p90, 1),
            value(|found| found.p99, 1),
            value(|found| float(found.max), max_places),
            value(|found| found.mean, 1),
        ]);
    };
    row("Input tokens", contents.input_tokens, 1.0, 0);
    row("Output tokens", contents.output_tokens, 1.0, 0);
    row("Turns a session", contents.sessions.turns, 1.0, 0);
    row("Think time (s)", contents.think_ns, NS_PER_S, 1);
    table(out, &grid, columns::WIDTH, false);
    let sessions = &contents.sessions;
    let about = if sessions.is_estimated { "about " } else { "" };
    let without = match contents.rows_without_session {
        0 => String::new(),
        rows => format!(" ({} rows in none)", count(rows)),
    };
    let sessions = format!("{about}{}{without}", count(sessions.sessions));
    fact(out, "Sessions:", &sessions);
    let prefixes = &contents.prefixes;
    let hit = prefixes.hit_share().map(|share| {
        format!(
            "{} of {} blocks, of which {} differ",
            percent(Some(share)),
            count(prefixes.blocks),
            count(prefixes.distinct)
        )
    });
    fact(out, "Ideal prefix-cache hits:", &known(hit));
    names(out, "Models (rows):", &contents.models);
    names(out, "Classes (rows):", &contents.classes);
}

/// Writes the most frequent names with their rows; nothing where there are none.
fn names(out: &mut String, what: &str, found: &NameFacts) {
    if found.rows.is_empty() {
        return;
    }
    let shown = found.rows.iter().take(NAMES_SHOWN);
    let mut parts: Vec<String> = shown
        .map(|(text, rows)| format!("{} {}", fit(&clean(text), 24), count(*rows)))
        .collect();
    let rest = found.rows.iter().skip(NAMES_SHOWN).map(|(_, rows)| rows);
    let rest = rest.sum::<u64>() + found.other;
    if rest > 0 {
        parts.push(format!("others {}", count(rest)));
    }
    fact(out, what, &parts.join(", "));
}

fn known(text: Option<String>) -> String {
    text.unwrap_or_else(|| NONE.to_owned())
}

/// Writes a number in at most 9 columns, unless it is beyond all that a trace can have.
fn short(value: f64, places: usize) -> String {
    if value < 1e6 {
        decimal(value, places)
    } else {
        format!("{} M", decimal(value / 1e6, 1))
    }
}

fn seconds(ns: u64) -> f64 {
    float(ns) / NS_PER_S
}

/// Writes a length of time that may be weeks, given in seconds.
fn time(in_s: f64) -> String {
    for (unit_s, unit) in [(86_400.0, "d"), (3_600.0, "h")] {
        if in_s >= 2.0 * unit_s {
            return format!("{} {unit}", decimal(in_s / unit_s, 1));
        }
    }
    duration(in_s * NS_PER_S)
}
