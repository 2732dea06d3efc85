//! What is said of a run that has ended, beside its numbers, and its exit code.

use super::failure;
use super::talk::{say, warn};
use crate::capture::manifest::{MetricSource, Prewarmed, SessionCounts, State};
use crate::error::exit;
use crate::load::RunReport;
use crate::plan::RunPlan;

/// Chunks of a tape beyond which its summary takes long enough to be announced.
const MANY_CHUNKS: u64 = 500_000;

/// Says that a summary will take its time, and how to do without.
pub(super) fn announce_summary(report: &RunReport) {
    let chunks = report.manifest.counts.chunks;
    if chunks > MANY_CHUNKS {
        say(&format!(
            "summing up {chunks} chunks; Ctrl-C leaves that out (as `--no-summary` does), and the tape \
             stays whole"
        ));
    }
}

/// Says what the user must know of a run beside its numbers.
pub(super) fn tell(report: &RunReport) {
    if let Some(trace) = report.trace {
        if trace.failed > 0 {
            say(&format!(
                "note: {} rows that the trace marks as failed were left out (`--failed replay` sends them)",
                trace.failed
            ));
        }
        if trace.out_of_order > 0 {
            say(&format!(
                "note: {} rows stood out of order and were put right",
                trace.out_of_order
            ));
        }
        if report.taken == 0 {
            warn("the trace has no row that is to be sent");
        }
    }
    tell_of_replies(report);
    tell_of_sessions(report.manifest.sessions.unwrap_or_default());
    failure::tell(report);
    if report.has_given_up {
        say(
            "note: the run was ended early: all its requests had failed alike; `--keep-going` sends the \
             others too",
        );
    }
    if report.faults > 0 {
        warn(&format!(
            "attempts that ended in a fault of tokentape, whose rows stay `interrupted`; please report \
             what is said above: {}",
            report.faults
        ));
    }
    let unwritten = report.manifest.counts.unwritten;
    if unwritten > 0 {
        say(&format!(
            "note: requests that were due and never sent are counted, but have no row in the tape beyond \
             the first 100,000: {unwritten}"
        ));
    }
    // A server that answers nothing at all has closed those as well.
    if report.resends > 0 && report.ok > 0 {
        say(&format!(
            "note: the server ended connections that were waiting for a request; requests that were sent \
             again on a new one: {} (`--no-keep-alive` gives each its own from the start)",
            report.resends
        ));
    }
    if report.retried > 0 {
        say(&format!(
            "note: attempts at requests after the first one (`--retries`): {}",
            report.retried
        ));
    }
    tell_of_connections(&report.manifest.prewarmed);
    tell_of_metrics(&report.manifest.metric_sources);
    for (bound, hits) in &report.manifest.bounds_hit {
        let (what, remedy) = bound_in_words(bound, &report.manifest.plan);
        warn(&format!(
            "the client's own bound `{bound}` was hit: {what}: {hits}"
        ));
        if let Some(remedy) = remedy {
            say(&format!("hint: {remedy}"));
        }
    }
}

/// Says where fewer connections were open beforehand than was asked for.
fn tell_of_connections(prewarmed: &[Prewarmed]) {
    for found in prewarmed.iter().filter(|found| found.open < found.asked) {
        warn(&format!(
            "of the {} connections that `--prewarm-connections` asks for, {} were open to `{}` when \
             the schedule started; the others are opened by requests, whose TTFT from intended has that time",
            found.asked, found.open, found.target
        ));
    }
}

/// Says of which replies there was no text: of the server, or of the trace.
fn tell_of_replies(report: &RunReport) {
    let of_sessions = report.manifest.sessions.unwrap_or_default();
    let made_up = report.made_up_replies + of_sessions.made_up_replies;
    if made_up > 0 {
        say(&format!(
            "note: replies of the server that a later turn was to hold and that had no text, so that \
             made-up text stood in their place: {made_up}"
        ));
    }
    let without_reply = report.manifest.counts.without_reply;
    if without_reply > 0 {
        warn(&format!(
            "rows of the trace without a reply, whose answers `--output-length trace-text` left to the \
             server: {without_reply}"
        ));
    }
}

/// Says what became of the sessions of conversations, where not all went as planned.
fn tell_of_sessions(sessions: SessionCounts) {
    if sessions.ended_early > 0 {
        warn(&format!(
            "sessions that ended at a turn that failed: {} of {}; turns that were not sent for that: {} \
             (`--on-failed-turn` has other ways)",
            sessions.ended_early, sessions.started, sessions.turns_unsent
        ));
    }
    if sessions.turns_skipped > 0 {
        say(&format!(
            "note: turns that failed and were passed over: {}",
            sessions.turns_skipped
        ));
    }
    if sessions.turns_retried > 0 {
        say(&format!(
            "note: turns that failed and were sent again: {}",
            sessions.turns_retried
        ));
    }
    let closed = sessions.finished + sessions.ended_early;
    if sessions.started > closed {
        say(&format!(
            "note: sessions that were still open when the run ended: {} of {}",
            sessions.started - closed,
            sessions.started
        ));
    }
}

/// Says which sources of metrics have gaps, and which said more than is kept.
fn tell_of_metrics(sources: &[MetricSource]) {
    for found in sources {
        let source = &found.source;
        if found.failed > 0 {
            let reason = found.last_failure.as_deref().unwrap_or("unknown");
            let scrapes = found.scrapes + found.failed;
            warn(&format!(
                "`{source}` had metrics in {} of {scrapes} scrapes; the others are gaps in \
                 `server_metrics`, and the last one that failed did so since: {reason}",
                found.scrapes
            ));
        }
        if found.left_out > 0 {
            say(&format!(
                "note: samples of `{source}` in a scrape that are not on the tape, as they are beyond its \
                 bounds or no samples: {}",
                found.left_out
            ));
        }
    }
}

/// What a bound of the client's holds back, and what can be done about it.
fn bound_in_words(bound: &str, plan: &RunPlan) -> (&'static str, Option<&'static str>) {
    match bound {
        "in_flight" => (
            "requests that waited until fewer were in flight, as each needs an open file",
            Some("raise `ulimit -n` (at most 50,000 are in flight), or lower the load"),
        ),
        "queue" => (
            "requests that were due and too many to wait in memory",
            Some("lower the rate, or raise `--max-concurrency`"),
        ),
        "capture_channel" => (
            "reads and batches that waited until what came before was decoded and written",
            Some(match plan.keeps_text {
                Some(true) => {
                    "give the client more cores or a faster disk, or leave out `--keep text`"
                }
                _ => "give the client more cores or a faster disk, or lower the load",
            }),
        ),
        _ => ("times", None),
    }
}

/// The exit code that a run asks for, whatever its summary says.
pub(super) fn code(report: &RunReport) -> u8 {
    let is_interrupted = report.manifest.state == State::Interrupted;
    if is_interrupted && report.trace_error.is_none() && !report.has_given_up {
        exit::INTERRUPTED
    } else if report.ok == 0 {
        exit::NO_SUCCESS
    } else {
        exit::DONE
    }
}
