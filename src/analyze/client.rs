//! What the client itself may have added to the latencies of a run.
//!
//! The checks are SQL (`queries/validity.sql`). Where one of them failed, a latency is partly the
//! client's, and nothing that is no larger than that part is said of the server.

use super::Validity;

/// How much longer a client that was the bottleneck may have made a latency, in nanoseconds: the
/// worst lateness of a check that failed, and infinite where those that failed measure no time.
/// `None` where no check failed. Takes the rows of `validity` that are about one run.
pub(crate) fn added_ns<'a>(checks: impl IntoIterator<Item = Validity<'a>>) -> Option<f64> {
    let mut has_failed = false;
    let mut late_ns: Option<f64> = None;
    for check in checks {
        if check.ok != Some(false) {
            continue;
        }
        has_failed = true;
        if check.unit == Some("ns")
            && let Some(value) = check.value
        {
            late_ns = Some(late_ns.map_or(value, |known| known.max(value)));
        }
    }
    has_failed.then(|| late_ns.unwrap_or(f64::INFINITY))
}

/// Says how much that is.
pub(crate) fn said_added(added_ns: f64) -> String {
    if added_ns.is_finite() {
        format!("up to {:.1} ms", (added_ns / 1e5).ceil() / 10.0)
    } else {
        "nobody knows how much".to_owned()
    }
}
