//! The views by name: the files of `queries/views/`, and which of them people query.

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
    view!("tokens"),
    view!("timed_requests"),
    view!("last_attempts"),
    view!("measured"),
    view!("shared_tokens"),
    view!("first_chunks"),
    view!("attempts"),
    view!("requests"),
    view!("token_arrivals"),
    view!("run_spans"),
    view!("time_bins"),
    view!("in_flight"),
    view!("warmup_found"),
    view!("warmups"),
    view!("windows"),
    view!("block_grid"),
    view!("rate_spans"),
    view!("rates"),
    view!("slo_results"),
    view!("latency_scope"),
    view!("latencies"),
    view!("turn_latencies"),
    view!("smoothness"),
    view!("texts"),
    view!("recounted_answers"),
    view!("recounted_chunks"),
    view!("definition_shape"),
];

/// Views that an analysis computes once and keeps: small ones that many queries build upon. What
/// they save is mostly planning, which otherwise takes longer than running for a small tape.
pub(super) const KEPT: [&str; 7] = [
    "first_chunks",
    "run_spans",
    "time_bins",
    "in_flight",
    "warmup_found",
    "warmups",
    "windows",
];
