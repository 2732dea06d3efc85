//! The run card: where, when and how a run was made.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::analyze::{Analysis, LatencyPercentiles, RunFacts, RunSummary};
use crate::capture::manifest::{Manifest, State};
use crate::plan::{Arrivals, Loop, RunPlan, SessionsPlan};

use super::format::{self, NS_PER_S};
use super::language::{said, say};

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
            name: said(name),
            value,
            is_long,
        });
    };
    add_origin(&run.manifest, &mut add);
    if let Some(summary) = analysis.row_of::<RunSummary<'_>>(&run.run) {
        add_counts(summary, &mut add);
        add_round_trip(analysis, run, &mut add);
    }
    add_circumstances(&run.manifest, &mut add);
    // What stands on the card already, or says little to a reader, is left to the whole plan.
    let is_told = |name: &str| {
        [
            "url",
            "seed",
            "verb",
            "backend_template",
            "wire",
            "keeps_text",
            "num_warmups",
            "ignore_eos",
        ]
        .contains(&name)
    };
    let scalars = plan_scalars(&run.manifest.plan).into_iter();
    for (name, value) in scalars.filter(|(name, _)| !is_told(name)) {
        add(&say!("Plan: {name}", name), value);
    }
    // Long values take a line each; they would tear holes between the short ones.
    facts.sort_by_key(|fact: &Fact| fact.is_long);
    facts
}

/// Says in one line what was measured: the load, the model and where it is, when, how long, and
/// how many requests.
pub(crate) fn subtitle(analysis: &Analysis, run: &RunFacts) -> String {
    let manifest = &run.manifest;
    let plan = &manifest.plan;
    let arrivals = plan.arrivals.as_ref();
    let mut parts = Vec::new();
    if let Some(trace) = &plan.trace {
        let file = trace.path.file_name().unwrap_or_default();
        let file = format::name(&file.to_string_lossy());
        let speed = format::trimmed(trace.speed.unwrap_or(1.0), 3);
        parts.push(say!("{file} at {speed}× its speed", file, speed));
    } else if let Some(sessions) = &plan.sessions {
        parts.extend(subtitle_of(sessions, arrivals));
    } else if manifest.arrival_loop == Loop::Closed {
        let slots = plan.max_concurrency.map(f64::from);
        let slots = slots.map(|slots| format::decimal(slots, 0));
        parts.push(match slots {
            Some(slots) => say!("closed loop of {slots}", slots),
            None => said("closed loop"),
        });
    } else if let Some(rate) = arrivals
        .and_then(|arrivals| arrivals.request_rate)
        .filter(|rate| rate.is_finite())
    {
        let rate = format::trimmed(rate, 3);
        parts.push(say!("open loop at {rate} requests/s", rate));
    }
    let length = |name: &str| plan.dataset.as_ref()?.options.get(name)?.as_f64();
    if let (Some(input), Some(output)) = (length("random_input_len"), length("random_output_len")) {
        let [input, output] = [input, output].map(|tokens| format::decimal(tokens, 0));
        parts.push(say!("{input} tokens in, {output} out", input, output));
    }
    let host = manifest.target.split("//").last().unwrap_or_default();
    let host = format::name(host.split('/').next().unwrap_or_default());
    let host = match manifest.plan.more_urls.len() {
        0 => host,
        more => say!("{host} and {more} more", host, more = more.to_string()),
    };
    parts.push(match plan.model.as_deref().map(format::name) {
        Some(model) => say!("model {model} at {host}", model, host),
        None => host,
    });
    if let Some(anchor) = manifest.clock_anchors.first() {
        parts.push(format::utc(
            anchor.utc_ns.saturating_sub(anchor.monotonic_ns),
        ));
    }
    let summary = analysis.rows_of::<RunSummary<'_>>(&run.run);
    if let Some(summary) = summary.first() {
        let seconds = summary.duration_s;
        parts.extend(seconds.map(|seconds| format::duration(seconds * NS_PER_S)));
        let n = format::optional(summary.requests, 0);
        parts.push(say!("{n} requests", n));
    }
    parts.join(" · ")
}

/// Names in what the plans of several runs differ, as far as that shapes the load; none where they
/// do not, or where there is one run.
pub(crate) fn differs(analysis: &Analysis) -> Option<String> {
    const MOST: usize = 6;
    let [first, others @ ..] = analysis.runs.as_slice() else {
        return None;
    };
    let loads: Vec<_> = others.iter().map(load_of).collect();
    let mut names: Vec<String> = Vec::new();
    for (name, value) in load_of(first) {
        let mut theirs = loads.iter().map(|load| &load[name]);
        if theirs.all(|other| *other == value) {
            continue;
        }
        let inner = value.as_object().into_iter().flatten();
        let found = inner.filter(|(key, value)| {
            let mut theirs = loads.iter().map(|load| load[name].get(key));
            theirs.any(|other| other != Some(value))
        });
        let found: Vec<String> = found.map(|(key, _)| format::name(key)).collect();
        match found.is_empty() {
            true => names.push(name.to_owned()),
            false => names.extend(found),
        }
    }
    if others
        .iter()
        .any(|run| run.manifest.arrival_loop != first.manifest.arrival_loop)
    {
        names.insert(0, said("kind of loop"));
    }
    names.dedup();
    names.truncate(MOST);
    let names = names.join(&said(", "));
    (!names.is_empty()).then(|| {
        say!("The loads of these runs differ ({names}): what they show is of the loads as well as of the servers.", names)
    })
}

/// Says how sessions come.
fn subtitle_of(sessions: &SessionsPlan, arrivals: Option<&Arrivals>) -> Option<String> {
    let rate = arrivals.and_then(|arrivals| arrivals.request_rate);
    if let Some(rate) = rate.filter(|rate| rate.is_finite()) {
        let rate = format::trimmed(rate, 3);
        return Some(say!("open loop at {rate} sessions/s", rate));
    }
    let places = format::decimal(f64::from(sessions.max_sessions?), 0);
    Some(say!("closed loop of {places} sessions", places))
}

/// What shapes the load of a run, by name; null where the plan does not say it.
pub(super) fn load_of(run: &RunFacts) -> BTreeMap<&'static str, Value> {
    let plan = &run.manifest.plan;
    BTreeMap::from([
        ("trace", json!(plan.trace)),
        ("arrivals", json!(plan.arrivals)),
        ("dataset", json!(plan.dataset)),
        ("num_prompts", json!(plan.num_prompts)),
        ("max_concurrency", json!(plan.max_concurrency)),
        ("sessions", json!(plan.sessions)),
        ("ignore_eos", json!(plan.ignore_eos)),
        ("temperature", json!(plan.temperature)),
        ("backend", json!(plan.backend)),
    ])
}

fn add_origin(manifest: &Manifest, add: &mut impl FnMut(&str, String)) {
    let others = manifest.plan.more_urls.iter();
    let targets = std::iter::once(&manifest.target).chain(others);
    let targets = targets.map(|url| format::clean(url)).collect::<Vec<_>>();
    add("Target", targets.join(", "));
    let of_sessions = manifest.plan.sessions.is_some();
    let arrivals = match (manifest.arrival_loop, of_sessions) {
        (Loop::Open, false) => "open loop: at their own times",
        (Loop::Closed, false) => "closed loop: when a slot is free",
        (Loop::Open, true) => "open loop of sessions: they begin at their own times",
        (Loop::Closed, true) => "closed loop of sessions: one begins when another has ended",
    };
    add("Arrivals", said(arrivals));
    let arrivals = manifest.plan.arrivals.as_ref();
    // Older plans do not say along what a rate rises.
    if let Some((ramp, along)) = arrivals
        .and_then(|arrivals| arrivals.ramp_up.as_ref())
        .and_then(|ramp| Some((ramp, ramp.along.as_deref()?)))
    {
        let along = said(match along {
            "time" => "along time",
            _ => "along the requests",
        });
        let strategy = json!(ramp.strategy);
        let strategy = format::name(strategy.as_str().unwrap_or_default());
        add(
            "Ramp",
            say!(
                "from {from} to {to} requests/s, {strategy}: {along}",
                from = format::decimal(ramp.start_rps, 2),
                to = format::decimal(ramp.end_rps, 2),
                strategy,
                along
            ),
        );
    }
    let sent = [
        ("Trace", json!(manifest.plan.trace)),
        ("Data set", json!(manifest.plan.dataset)),
        ("Sessions asked for", json!(manifest.plan.sessions)),
    ];
    for (name, fields) in sent {
        if let Value::Object(fields) = fields {
            add(name, listed(&fields));
        }
    }
    if let Some(anchor) = manifest.clock_anchors.first() {
        add(
            "Schedule began",
            format::utc(anchor.utc_ns.saturating_sub(anchor.monotonic_ns)),
        );
    }
}

/// Spells fields of a plan, of a path only the last part.
fn listed(fields: &Map<String, Value>) -> String {
    let field = |(name, value): (&String, &Value)| {
        let value = match value {
            Value::Null => return None,
            Value::String(text) if name == "path" => {
                text.rsplit('/').next().unwrap_or(text).to_owned()
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some(match name.as_str() {
            "name" | "path" => format::clean(&value),
            name => format!("{} {}", format::clean_to(name, 32), format::clean(&value)),
        })
    };
    let first = ["name", "path"].into_iter();
    let first = first.filter_map(|name| fields.get_key_value(name));
    let others = fields
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "name" | "path"));
    let all: Vec<String> = first.chain(others).filter_map(field).collect();
    all.join(&said(", "))
}

fn add_circumstances(manifest: &Manifest, add: &mut impl FnMut(&str, String)) {
    if let Some(never) = manifest.counts.never_due.filter(|never| *never > 0) {
        add(
            "Never due before the stop",
            format::decimal(whole(never), 0),
        );
    }
    if let Some(sessions) = manifest.sessions {
        let [started, finished] = [sessions.started, sessions.finished];
        let [started, finished] = [started, finished].map(|n| format::decimal(whole(n), 0));
        add(
            "Sessions",
            say!(
                "{started} began, {finished} came to their end",
                started,
                finished
            ),
        );
    }
    let state = match manifest.state {
        State::Complete => "complete",
        State::Interrupted => "interrupted; whole up to then",
        State::Running => "its writer did not finish",
    };
    add("State", said(state));
    add("Seed", manifest.seed.to_string());
    let host = &manifest.host;
    let (name, system) = (format::clean(&host.name), format::clean(&host.system));
    add(
        "Client",
        say!(
            "{name} · {system} · {cores} cores",
            name,
            system,
            cores = host.cores
        ),
    );
    if let Some(check) = &manifest.self_check {
        let us = |ns: i64| format::decimal(whole(ns.max(0).unsigned_abs()) / 1_000.0, 0);
        let lag = &check.read_lag_ns;
        let error = &check.inter_token_error_ns;
        add(
            "Self-check",
            say!(
                "read lag {lag_p50} µs at p50, {lag_p99} µs at p99, {lag_max} µs at most; inter-token error {error_p99} µs at p99; {events} events at {rate}/s over {streams} streams",
                lag_p50 = us(lag.p50),
                lag_p99 = us(lag.p99),
                lag_max = us(lag.max),
                error_p99 = us(error.p99),
                events = check.events,
                rate = format::decimal(check.events_per_s, 0),
                streams = check.streams
            ),
        );
    }
    for (axis, value) in &manifest.labels {
        add(
            &say!("Label {axis}", axis = format::clean_to(axis, 32)),
            format::clean(value),
        );
    }
    add("Run id", format::clean(&manifest.run_id));
    let version = format::clean(&manifest.tool_version);
    add(
        "Taped by",
        say!(
            "tokentape {version}, tape schema {schema}",
            version,
            schema = manifest.schema_version
        ),
    );
}

fn add_counts(summary: RunSummary<'_>, add: &mut impl FnMut(&str, String)) {
    let count = |n| format::optional(n, 0);
    if let Some(seconds) = summary.duration_s {
        add("Duration", format::duration(seconds * NS_PER_S));
    }
    let interrupted = summary.interrupted.filter(|n| *n > 0.0);
    let interrupted = interrupted.map_or_else(String::new, |n| {
        say!(", {n} interrupted", n = format::decimal(n, 0))
    });
    let hung_up = summary.hung_up.filter(|n| *n > 0.0);
    let hung_up = hung_up.map_or_else(String::new, |n| {
        say!(", {n} hung up on", n = format::decimal(n, 0))
    });
    add(
        "Requests",
        say!(
            "{requests} measured: {ok} ok, {failed} failed{interrupted}{hung_up}, {cancelled} cancelled, {not_sent} not sent; {warmups} warm-ups",
            requests = count(summary.requests),
            ok = count(summary.ok),
            failed = count(summary.failed),
            interrupted,
            hung_up,
            cancelled = count(summary.cancelled),
            not_sent = count(summary.not_sent),
            warmups = count(summary.warmups)
        ),
    );
    if summary.retried.is_some_and(|n| n > 0.0) {
        add(
            "Retries",
            say!(
                "{retries} attempts after the first, of {retried} requests",
                retries = count(summary.retries),
                retried = count(summary.retried)
            ),
        );
    }
    add("Chunks", count(summary.chunks));
    let source = summary.output_tokens_source.unwrap_or("an unknown source");
    add(
        "Tokens",
        say!(
            "{input} in, {output} out, counted by {source}",
            input = count(summary.input_tokens),
            output = count(summary.output_tokens),
            source = said(&format::clean(source))
        ),
    );
    add(
        "In flight",
        say!(
            "{most} at most, {mean} on average",
            most = count(summary.peak_in_flight),
            mean = format::optional(summary.mean_in_flight, 1)
        ),
    );
}

/// Says how far the server is: opening a connection takes a round trip at least.
fn add_round_trip(analysis: &Analysis, run: &RunFacts, add: &mut impl FnMut(&str, String)) {
    let rows = analysis.rows_of::<LatencyPercentiles<'_>>(&run.run);
    let connect = rows.iter().find(|row| row.metric == Some("connect"));
    if let Some((quickest_ns, n)) = connect.and_then(|row| row.min_ns.zip(row.n)) {
        add(
            "Round trip",
            say!(
                "{time} at most, which the quickest of {n} connections took to open",
                time = format::duration(quickest_ns),
                n = format::decimal(n, 0)
            ),
        );
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a page shows at most nine digits of a count"
)]
fn whole(count: u64) -> f64 {
    count as f64
}

/// Lists the plan's own scalar values, for the card; the rest stands in the JSON.
fn plan_scalars(plan: &RunPlan) -> Vec<(String, String)> {
    const MOST: usize = 24;
    plan.fields()
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
