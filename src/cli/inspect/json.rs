//! What a trace is like, for scripts: one object.
//!
//! ```text
//! {schema, path, format, rows, span_s, mean_rate_per_s, peak_1s, peak_60s, iat_cv, dispersion_1s,
//!  distinct_times, clock_restarts, ideal_prefix_hit, input_tokens: D, output_tokens: D, sessions,
//!  failed_rows, peak_1s_at_s, peak_60s_at_s, iat_max_s, rows_in_ties, largest_tie,
//!  quantum_s: {detected, declared}, distinct_gap_s: D, batch: {period_s, rows}, out_of_order,
//!  too_late, sessions_are_estimated, rows_without_session, turns: D, think_s: D,
//!  prefix_blocks: {rows, blocks, hits, distinct, rows_left_out}, models: N, classes: N,
//!  session_prompts: {asked, found, rows, new_tokens, whole_tokens}, columns_not_read,
//!  first_arrival_ns, rows_read, rows_not_sampled, rate_over_time: {column_s, rates_per_s}}
//! D: {n, p50, p90, p99, max, mean, exact}
//! N: {rows: {name: rows}, other}
//! ```
//!
//! Names end in their unit; those without one are counts, shares or tokens. What does not exist is
//! null: it is never 0, and never no number.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::cli::plan::prompts_found;
use crate::plan::SessionPrompts;
use crate::trace::{Distribution, Inspected, NameFacts, Peak};
use crate::units::seconds;

/// Version of the layout; it grows when a key changes its meaning.
const SCHEMA: u32 = 1;

/// Nanoseconds in a second.
const NS_PER_S: f64 = 1e9;

/// Renders all that was found.
pub(super) fn json(path: &Path, inspected: &Inspected) -> Value {
    let mut object = headline(path, inspected);
    object.append(&mut times(inspected));
    object.append(&mut rows(inspected));
    Value::Object(object)
}

/// What people ask for first.
fn headline(path: &Path, inspected: &Inspected) -> Map<String, Value> {
    let arrivals = &inspected.arrivals;
    let contents = &inspected.contents;
    object([
        ("schema", json!(SCHEMA)),
        ("path", json!(path.display().to_string())),
        ("format", json!(inspected.format.name)),
        ("rows", json!(contents.rows)),
        ("span_s", json!(arrivals.span_ns.map(in_seconds))),
        ("mean_rate_per_s", json!(arrivals.mean_rate_per_s)),
        ("peak_1s", json!(arrivals.peak_1s.map(requests))),
        ("peak_60s", json!(arrivals.peak_60s.map(requests))),
        ("iat_cv", json!(arrivals.gap_cv)),
        ("dispersion_1s", json!(arrivals.dispersion_1s)),
        ("distinct_times", json!(arrivals.instants.distinct)),
        ("clock_restarts", json!(inspected.clock_restarts)),
        ("ideal_prefix_hit", json!(contents.prefixes.hit_share())),
        ("input_tokens", counts(contents.input_tokens)),
        ("output_tokens", counts(contents.output_tokens)),
        ("sessions", json!(contents.sessions.sessions)),
        ("failed_rows", json!(contents.failed)),
    ])
}

/// More about when rows arrive.
fn times(inspected: &Inspected) -> Map<String, Value> {
    let arrivals = &inspected.arrivals;
    let instants = &arrivals.instants;
    let starts = |peak: Option<Peak>| peak.map(|peak| in_seconds(peak.from_ns));
    object([
        ("peak_1s_at_s", json!(starts(arrivals.peak_1s))),
        ("peak_60s_at_s", json!(starts(arrivals.peak_60s))),
        ("iat_max_s", json!(arrivals.gap_ns_max.map(in_seconds))),
        ("rows_in_ties", json!(instants.tied_rows)),
        ("largest_tie", json!(instants.largest_tie)),
        (
            "quantum_s",
            json!({
                "detected": instants.step_ns.map(in_seconds),
                "declared": inspected.format.quantum_ns.map(seconds),
            }),
        ),
        ("distinct_gap_s", durations(instants.gap_ns)),
        (
            "batch",
            json!(
                instants
                    .batches(arrivals.rows)
                    .map(|(period_ns, rows)| json!({
                        "period_s": period_ns / NS_PER_S,
                        "rows": rows,
                    }))
            ),
        ),
        ("out_of_order", json!(inspected.out_of_order)),
        ("too_late", json!(inspected.too_late)),
        ("first_arrival_ns", json!(inspected.zero_ns)),
        (
            "rate_over_time",
            json!(inspected.sketch.as_ref().map(|sketch| json!({
                "column_s": sketch.column_ns / NS_PER_S,
                "rates_per_s": sketch.rates_per_s,
            }))),
        ),
    ])
}

/// More about what rows hold.
fn rows(inspected: &Inspected) -> Map<String, Value> {
    let contents = &inspected.contents;
    let sessions = &contents.sessions;
    let prefixes = &contents.prefixes;
    object([
        ("sessions_are_estimated", json!(sessions.is_estimated)),
        ("rows_without_session", json!(contents.rows_without_session)),
        ("turns", counts(sessions.turns)),
        ("think_s", durations(contents.think_ns)),
        (
            "prefix_blocks",
            json!({
                "rows": prefixes.rows,
                "blocks": prefixes.blocks,
                "hits": prefixes.hits,
                "distinct": prefixes.distinct,
                "rows_left_out": prefixes.rows_left_out,
            }),
        ),
        (
            "session_prompts",
            json!({
                "asked": match inspected.prompts.asked {
                    SessionPrompts::Auto => "auto",
                    SessionPrompts::Whole => "whole",
                    SessionPrompts::New => "new",
                },
                "found": prompts_found(inspected.prompts),
                "rows": inspected.prompts.rows,
                "new_tokens": inspected.prompts.new_tokens,
                "whole_tokens": inspected.prompts.whole_tokens,
            }),
        ),
        ("columns_not_read", json!(inspected.unread)),
        ("models", names(&contents.models)),
        ("classes", names(&contents.classes)),
        ("rows_read", json!(inspected.rows_read)),
        ("rows_not_sampled", json!(inspected.rows_not_sampled)),
    ])
}

fn object<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn in_seconds(ns: u64) -> f64 {
    seconds(i64::try_from(ns).unwrap_or(i64::MAX))
}

fn requests(peak: Peak) -> u64 {
    peak.requests
}

/// Renders a distribution of tokens or rows.
fn counts(found: Option<Distribution>) -> Value {
    distribution(found, 1.0, |max| json!(max))
}

/// Renders a distribution of nanoseconds, in seconds.
fn durations(found: Option<Distribution>) -> Value {
    distribution(found, NS_PER_S, |max| json!(in_seconds(max)))
}

/// Renders a distribution; all null where there are no values.
fn distribution(found: Option<Distribution>, unit: f64, max: fn(u64) -> Value) -> Value {
    json!({
        "n": found.map_or(0, |found| found.n),
        "p50": found.map(|found| found.p50 / unit),
        "p90": found.map(|found| found.p90 / unit),
        "p99": found.map(|found| found.p99 / unit),
        "max": found.map(|found| max(found.max)),
        "mean": found.map(|found| found.mean / unit),
        "exact": found.map(|found| found.is_exact),
    })
}

fn names(found: &NameFacts) -> Value {
    let rows: Map<String, Value> = found
        .rows
        .iter()
        .map(|(name, rows)| (name.clone(), json!(rows)))
        .collect();
    json!({ "rows": rows, "other": found.other })
}
