//! The answer for scripts.
//!
//! ```text
//! {schema, server, cores: {server, client}, read_lag_left_out, believed_up_to: {closed, open},
//!  rungs: [{streams, loop, rate_per_s, duration_s, tape, validity: {verdict, reason},
//!           metrics: {key: {value, unit, n, low, high}}}]}
//! ```
//!
//! `metrics` is as in the JSON of `analyze`: keys are `<metric>_<stat>`, with the metrics
//! `read_lag`, `ttft_error`, `itl_error` and `slip` and the statistics `min`, `p50`, `p99`, `p999`
//! and `max`, in milliseconds; then `events_rate`, `cpu_share`, `requests_total`, `requests_ok`,
//! and for each metric `<metric>_unstamped`. A number that is unknown has no key. `server` and
//! `cores` are null for a server that was started for this, and where nothing was bound.

use std::path::PathBuf;

use serde_json::{Map, Value, json};

use super::ladder::Verification;
use super::measure::Measurement;
use crate::plan::Loop;
use crate::report::add_metric;
use crate::units::seconds;

/// Version of the layout; it grows when a key changes its meaning.
const SCHEMA: u32 = 1;

/// Nanoseconds in a millisecond.
const NS_PER_MS: f64 = 1e6;

/// Renders all that was measured. `tape` says where the tape of a rung was kept.
pub(crate) fn json(
    verification: &Verification,
    tape: impl Fn(&Measurement) -> Option<PathBuf>,
) -> Value {
    let rungs = verification
        .rungs
        .iter()
        .map(|measured| rung(verification, measured, tape(measured)));
    json!({
        "schema": SCHEMA,
        "server": verification.target,
        "cores": verification.cores.as_ref().map(|cores| json!({
            "server": cores.server,
            "client": cores.client,
        })),
        "read_lag_left_out": verification.lag_left_out(),
        "believed_up_to": {
            "closed": verification.believed_up_to(Loop::Closed),
            "open": verification.believed_up_to(Loop::Open),
        },
        "rungs": rungs.collect::<Vec<_>>(),
    })
}

fn rung(verification: &Verification, measured: &Measurement, tape: Option<PathBuf>) -> Value {
    let verdict = measured.verdict();
    let rung = &measured.rung;
    json!({
        "streams": rung.streams,
        "loop": rung.loop_name(),
        "rate_per_s": rung.rate_per_s,
        "duration_s": seconds(rung.length_ns),
        "tape": tape.map(|path| path.display().to_string()),
        "validity": { "verdict": verdict.word, "reason": verdict.numbers() },
        "metrics": metrics(verification, measured),
    })
}

fn metrics(verification: &Verification, measured: &Measurement) -> Map<String, Value> {
    let mut found = Map::new();
    for metric in verification.metrics() {
        let Some(row) = measured.error(metric.key) else {
            continue;
        };
        let n = row.n;
        for (stat, value_ns) in [
            ("min", row.min_ns),
            ("p50", row.p50_ns),
            ("p99", row.p99_ns),
            ("p999", row.p999_ns),
            ("max", row.max_ns),
        ] {
            let value = value_ns.map(|value| value / NS_PER_MS);
            add_metric(&mut found, format!("{}_{stat}", metric.key), value, "ms", n);
        }
        let key = format!("{}_unstamped", metric.key);
        add_metric(&mut found, key, row.unstamped, "values", n);
    }
    if let Some(row) = measured.throughput() {
        for (key, value, unit) in [
            ("events_rate", row.events_per_s, "events/s"),
            ("cpu_share", row.cpu_share, "share"),
            ("requests_total", row.requests, "requests"),
            ("requests_ok", row.ok, "requests"),
        ] {
            add_metric(&mut found, key.to_owned(), value, unit, row.requests);
        }
    }
    found
}
