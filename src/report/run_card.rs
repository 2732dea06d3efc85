//! The run card: where, when and how a run was made.

use serde::Serialize;
use serde_json::Value;

use crate::analyze::{Analysis, RunFacts};
use crate::capture::manifest::{Loop, Manifest, State};

use super::format::{self, NS_PER_S};
use super::rows::{Row, rows_of};

/// Length of a value, in characters, from which on it gets a line of its own on the run card.
const LONG_VALUE: usize = 64;

/// One line of a run card.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Fact {
    /// Its name.
    pub(crate) name: String,
    /// Its value; text from outside.
    pub(crate) value: String,
    /// Whether it needs a line of its own.
    pub(crate) is_long: bool,
}

/// Lists where, when and how the run was made.
pub(crate) fn run_card(analysis: &Analysis, run: &RunFacts) -> Vec<Fact> {
    let mut facts = Vec::new();
    let mut add = |name: &str, value: String| {
        let is_long = value.chars().count() > LONG_VALUE;
        facts.push(Fact {
            name: name.to_owned(),
            value,
            is_long,
        });
    };
    add_origin(&run.manifest, &mut add);
    if let Some(summary) = rows_of(analysis, "run_summary", &run.run)
        .into_iter()
        .next()
    {
        add_counts(summary, &mut add);
    }
    add_circumstances(&run.manifest, &mut add);
    for (name, value) in plan_scalars(&run.manifest.plan) {
        add(&format!("Plan: {name}"), value);
    }
    // Long values take a line each; they would tear holes between the short ones.
    facts.sort_by_key(|fact: &Fact| fact.is_long);
    facts
}

fn add_origin(manifest: &Manifest, add: &mut impl FnMut(&str, String)) {
    add("Target", format::clean(&manifest.target));
    let arrivals = match manifest.arrival_loop {
        Loop::Open => "open loop: at their own times",
        Loop::Closed => "closed loop: when a slot is free",
    };
    add("Arrivals", arrivals.to_owned());
    if let Some(anchor) = manifest.clock_anchors.first() {
        add(
            "Schedule began",
            format::utc(anchor.utc_ns.saturating_sub(anchor.monotonic_ns)),
        );
    }
}

fn add_circumstances(manifest: &Manifest, add: &mut impl FnMut(&str, String)) {
    if let Some(never) = manifest.counts.never_due.filter(|never| *never > 0) {
        add(
            "Never due before the stop",
            format::decimal(whole(never), 0),
        );
    }
    let state = match manifest.state {
        State::Complete => "complete",
        State::Interrupted => "interrupted; whole up to then",
        State::Running => "its writer did not finish",
    };
    add("State", state.to_owned());
    add("Seed", manifest.seed.to_string());
    let host = &manifest.host;
    let (name, system) = (format::clean(&host.name), format::clean(&host.system));
    add(
        "Client",
        format!("{name} · {system} · {} cores", host.cores),
    );
    if let Some(check) = &manifest.self_check {
        let us = |ns: i64| format::decimal(whole(ns.max(0).unsigned_abs()) / 1_000.0, 0);
        let lag = &check.read_lag_ns;
        let error = &check.inter_token_error_ns;
        add(
            "Self-check",
            format!(
                "read lag {} µs at p50, {} µs at p99, {} µs at most; inter-token error {} µs at \
                 p99; {} events at {}/s over {} streams",
                us(lag.p50),
                us(lag.p99),
                us(lag.max),
                us(error.p99),
                check.events,
                format::decimal(check.events_per_s, 0),
                check.streams
            ),
        );
    }
    for (axis, value) in &manifest.labels {
        add(
            &format!("Label {}", format::clean_to(axis, 32)),
            format::clean(value),
        );
    }
    add("Run id", format::clean(&manifest.run_id));
    let version = format::clean(&manifest.tool_version);
    add(
        "Taped by",
        format!(
            "tokentape {version}, tape schema {}",
            manifest.schema_version
        ),
    );
}

fn add_counts(summary: Row<'_>, add: &mut impl FnMut(&str, String)) {
    let count = |column| format::optional(summary.number(column), 0);
    if let Some(seconds) = summary.number("duration_s") {
        add("Duration", format::duration(seconds * NS_PER_S));
    }
    let interrupted = summary.number("interrupted").filter(|n| *n > 0.0);
    let interrupted = interrupted.map_or_else(String::new, |n| {
        format!(", {} interrupted", format::decimal(n, 0))
    });
    add(
        "Requests",
        format!(
            "{} measured: {} ok, {} failed{interrupted}, {} cancelled, {} not sent; {} warm-ups",
            count("requests"),
            count("ok"),
            count("failed"),
            count("cancelled"),
            count("not_sent"),
            count("warmups")
        ),
    );
    add("Chunks", count("chunks"));
    let source = summary
        .text("output_tokens_source")
        .unwrap_or("an unknown source");
    add(
        "Tokens",
        format!(
            "{} in, {} out, counted by {}",
            count("input_tokens"),
            count("output_tokens"),
            format::clean(source)
        ),
    );
    add(
        "In flight",
        format!(
            "{} at most, {} on average",
            count("peak_in_flight"),
            format::optional(summary.number("mean_in_flight"), 1)
        ),
    );
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a page shows at most nine digits of a count"
)]
fn whole(count: u64) -> f64 {
    count as f64
}

/// Lists the plan's own scalar values, for the card; the rest stands in the JSON.
fn plan_scalars(plan: &Value) -> Vec<(String, String)> {
    const MOST: usize = 24;
    let Some(fields) = plan.as_object() else {
        return Vec::new();
    };
    fields
        .iter()
        .filter_map(|(name, value)| {
            let value = match value {
                Value::String(text) => text.clone(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                _ => return None,
            };
            Some((format::clean_to(name, 32), format::clean(&value)))
        })
        .take(MOST)
        .collect()
}
