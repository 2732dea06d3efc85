//! The views by name: the files of `queries/views/`, and which of them people query.

use std::collections::BTreeSet;

use super::header::Header;

/// The views that people query, as the tape's contract names them.
pub(crate) const PUBLIC_VIEWS: [&str; 8] = [
    "requests",
    "attempts",
    "chunks",
    "tokens",
    "probes",
    "server_metrics",
    "runs",
    "steps",
];

macro_rules! view {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../queries/views/", $name, ".sql")),
        )
    };
}

/// Every view and its SQL, each after those that it reads.
pub(crate) const VIEWS: &[(&str, &str)] = &[
    view!("runs"),
    view!("steps"),
    view!("settings"),
    view!("metrics"),
    view!("clock_anchors"),
    view!("slos"),
    view!("goals"),
    view!("probes"),
    view!("server_metrics"),
    view!("server_meanings"),
    view!("server_growth"),
    view!("power_spans"),
    view!("server_spans"),
    view!("chunks"),
    view!("bearing_chunks"),
    view!("tokens"),
    view!("timed_requests"),
    view!("last_attempts"),
    view!("measured"),
    view!("shared_tokens"),
    view!("first_chunks"),
    view!("attempts"),
    view!("requests"),
    view!("run_spans"),
    view!("time_bins"),
    view!("in_flight"),
    view!("warmup_found"),
    view!("warmups"),
    view!("windows"),
    view!("block_grid"),
    view!("latency_scope"),
    view!("token_chunks"),
    view!("token_arrivals"),
    view!("peak_bins"),
    view!("rate_spans"),
    view!("rates"),
    view!("slo_results"),
    view!("request_latencies"),
    view!("latencies"),
    view!("percentiles"),
    view!("gap_bins"),
    view!("gap_cells"),
    view!("latency_places"),
    view!("latency_points"),
    view!("turn_latencies"),
    view!("smoothness"),
    view!("deadline_counts"),
    view!("texts"),
    view!("recounted_answers"),
    view!("recounted_chunks"),
    view!("definition_shape"),
];

/// Views that an analysis computes once and keeps, where a query reads them: small ones that many
/// queries build upon, and those that read every chunk. What the small ones save is mostly planning,
/// which otherwise takes longer than running for a small tape.
pub(super) const KEPT: [&str; 15] = [
    "last_attempts",
    "first_chunks",
    "run_spans",
    "time_bins",
    "in_flight",
    "warmup_found",
    "warmups",
    "windows",
    "latency_scope",
    "rates",
    "peak_bins",
    "gap_bins",
    "gap_cells",
    "latency_places",
    "latency_points",
];

/// Views with a row a chunk or a request that go along the chunks of each request; they are kept on
/// disk.
pub(super) const KEPT_ON_DISK: [&str; 3] = ["token_chunks", "smoothness", "deadline_counts"];

/// Returns the views that some relations stand for, or read, directly or through others.
pub(super) fn read_by(relations: &[String]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = relations.iter().cloned().collect();
    // Each comes after those that it reads, so that one way back finds them all.
    for (name, sql) in VIEWS.iter().rev() {
        if names.contains(*name) {
            let header = Header::parse(sql).expect("the tests parse every header of this build");
            names.extend(header.input);
        }
    }
    names
}
