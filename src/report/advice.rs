//! Warnings as advice: what was seen, why it matters, what to do.

use crate::analyze::{
    Analysis, RunFacts, RunSummary, ScheduleFidelity, SessionFidelity, ThroughputWindows,
    empty_window,
};
use crate::capture::manifest::{INTERRUPTED, LEFT_LOG, State};
use crate::plan::Loop;

use super::counting::of_counting;
use super::format::{self, NS_PER_S};
use super::language::say;
use super::server::of_server;
use super::verdict::Verdict;
use super::warning::{Advice, warning};

/// Fewest values from which a 99th percentile is more than the maximum under another name.
const ENOUGH_FOR_P99: f64 = 100.0;

/// Shortest steady window, in seconds, that is taken without remark.
const SHORT_WINDOW_S: f64 = 10.0;

/// Collects the warnings for one run, the gravest first.
pub(crate) fn advice(analysis: &Analysis, run: &RunFacts, verdict: &Verdict) -> Vec<Advice> {
    let summary = analysis.row_of::<RunSummary<'_>>(&run.run);
    let mut found = Vec::new();
    found.extend(
        verdict
            .failed_checks
            .iter()
            .map(|check| failed_check(check, cfg!(debug_assertions))),
    );
    of_the_tape(run, &mut found);
    if let Some(summary) = summary {
        of_outcomes(run, summary, &mut found);
        of_counting(analysis, run, summary, &mut found);
    } else {
        found.push(warning(
            "the run has no summary",
            "the tape has no measured request",
            "look at what was sent with `tokentape sql TAPE -c \"SELECT * FROM attempts\"`",
        ));
    }
    of_pace(analysis, run, &mut found);
    of_sessions(analysis, run, &mut found);
    of_server(analysis, run, &mut found);
    found
}

/// Advises on a check that failed; a debug build has a remedy that a release build has not.
fn failed_check(check: &str, is_debug_build: bool) -> Advice {
    match check {
        "slip" => warning(
            "requests left later than they were due, by the client's own fault",
            "the load that the server saw is not the load that was asked for",
            if is_debug_build {
                "build with --release, lower the rate, or spread the load over more machines"
            } else {
                "lower the rate, or spread the load over more machines"
            },
        ),
        "runtime_lag" => warning(
            "the client was slow to wake up when data arrived",
            "a late time stamp adds the client's delay to the server's latencies",
            "leave the client cores of its own, or ask for fewer streams at once",
        ),
        "not_sent" => warning(
            "requests that were due never went out",
            "what the server would have made of them is not known",
            "lower the rate, lengthen `--drain`, or spread the load over more machines",
        ),
        "cpu" => warning(
            "a receiving thread was busy nearly all of the time",
            "events queued up in the client before they were stamped",
            "give the client more cores, or spread the load over more machines",
        ),
        other => warning(
            say!("the check `{other}` failed", other),
            "the client may have been the bottleneck",
            "look at the section on the client's health",
        ),
    }
}

/// Warns of a tape that is not whole, and of the client's bounds.
fn of_the_tape(run: &RunFacts, found: &mut Vec<Advice>) {
    match run.manifest.state {
        State::Complete => {}
        State::Interrupted => found.push(warning(
            "the run was stopped before its schedule ended",
            "it shows the part up to then, and perhaps not the load's peak",
            "repeat it to the end before you compare it with another",
        )),
        State::Running => found.push(warning(
            "the run's writer did not finish",
            "the last moments before it ended may be missing",
            "see whether the process was killed or the disk was full",
        )),
    }
    // Of that the state has told already.
    let is_more = |note: &&String| ![INTERRUPTED, LEFT_LOG].contains(&note.as_str());
    for note in run.notes.iter().filter(is_more) {
        found.push(warning(
            format::clean(note),
            "the tape was not read as it was left",
            "check that the counts in the run card are those you expect",
        ));
    }
    for (bound, hits) in run
        .manifest
        .bounds_hit
        .iter()
        .filter(|(_, hits)| **hits > 0)
    {
        found.push(warning(
            say!(
                "the client's bound `{bound}` held something back, times: {hits}",
                bound = format::name(bound),
                hits
            ),
            "where a bound is hit, work waits or is cut short in the client",
            "lower the load, or give the client more cores",
        ));
    }
}

/// Warns of requests that the latencies leave out.
fn of_outcomes(run: &RunFacts, summary: RunSummary<'_>, found: &mut Vec<Advice>) {
    let was_stopped = run.manifest.state != State::Complete;
    let count = |n: Option<f64>| n.unwrap_or(0.0);
    let (requests, ok, failed) = (
        count(summary.requests),
        count(summary.ok),
        count(summary.failed),
    );
    if ok <= 0.0 {
        found.push(warning(
            "no request succeeded",
            "there is no latency to speak of",
            "see the errors by kind, and try the target with a single request",
        ));
    } else if failed > 0.0 {
        found.push(warning(
            say!(
                "{failed} of {requests} requests failed ({share})",
                failed = format::decimal(failed, 0),
                requests = format::decimal(requests, 0),
                share = format::percent(Some(failed / requests.max(1.0)))
            ),
            "latencies cover successful requests only, and a server that refuses work looks fast",
            "see the errors by kind before you quote a latency",
        ));
    }
    let resends = count(summary.resends);
    if resends > 0.0 && ok > 0.0 {
        found.push(warning(
            say!(
                "{resends} of {requests} requests were sent again, since the connection that they went out on had just ended",
                resends = format::decimal(resends, 0),
                requests = format::decimal(requests, 0)
            ),
            "the server closes connections that it was to keep; after the first such end each request has a new one, whose opening is in the latencies from intended alone",
            "nothing is lost; give --no-keep-alive to have it so from the start, or have the server keep connections for longer",
        ));
    }
    let retried = count(summary.retried);
    if retried > 0.0 && ok > 0.0 {
        found.push(warning(
            say!(
                "{retried} of {requests} requests took more than one attempt",
                retried = format::decimal(retried, 0),
                requests = format::decimal(requests, 0)
            ),
            "latencies from the send are those of the last attempt alone; what was lost before it is in the latencies from intended, and the attempts that failed are in the view attempts",
            "quote the latencies from intended, or lower the load until the server refuses nothing",
        ));
    }
    of_unfinished(was_stopped, summary, found);
    if ok > 0.0 && ok < ENOUGH_FOR_P99 {
        found.push(warning(
            say!(
                "only {ok} of the requests succeeded",
                ok = format::decimal(ok, 0)
            ),
            "a 99th percentile of so few is little more than the maximum",
            "send at least 100 requests for a p99, and 1,000 for a p99.9",
        ));
    }
}

/// Warns of requests whose end nobody saw.
fn of_unfinished(was_stopped: bool, summary: RunSummary<'_>, found: &mut Vec<Advice>) {
    let count = |n: Option<f64>| n.unwrap_or(0.0);
    // A stop of the user's own is no drain that was too short.
    let cut_off = if was_stopped {
        count(summary.cancelled) + count(summary.not_sent)
    } else {
        0.0
    };
    let interrupted = count(summary.interrupted) + cut_off;
    if interrupted > 0.0 {
        found.push(warning(
            say!(
                "{interrupted} requests were in flight, or due, when the run ended before its time",
                interrupted = format::decimal(interrupted, 0)
            ),
            "nobody knows how long they would have taken, and the slow ones are among them",
            "let the run end by itself before you quote its tail",
        ));
    }
    let unfinished = count(summary.cancelled) + count(summary.not_sent) - cut_off;
    if unfinished > 0.0 {
        found.push(warning(
            say!(
                "{unfinished} requests were cancelled or never sent",
                unfinished = format::decimal(unfinished, 0)
            ),
            "the slowest requests are the ones that are cut off, so the tail is too good",
            "allow more time with --drain, or lower the load",
        ));
    }
}

/// Warns of turns that no user could have taken.
fn of_sessions(analysis: &Analysis, run: &RunFacts, found: &mut Vec<Advice>) {
    let sessions = analysis.row_of::<SessionFidelity<'_>>(&run.run);
    if let Some((early, all)) = sessions.and_then(|row| row.before_reply.zip(row.turns))
        && early > 0.05 * all
    {
        let (early, all) = (format::decimal(early, 0), format::decimal(all, 0));
        found.push(warning(
            say!(
                "{early} of {all} later turns were sent before the reply to the turn before",
                early,
                all
            ),
            "no user could have done that, and the server had not yet cached what they follow",
            "let turns wait for replies with --sessions think, or lower --speed",
        ));
    }
}

/// Says that nothing lies in the window that was asked for, of a run that lasted so many seconds.
pub(super) fn nothing_in_window(lasted_s: f64) -> String {
    say!(
        "no request that succeeded was due in the window that was asked for; the run lasts {lasted}",
        lasted = format::duration(lasted_s * NS_PER_S)
    )
}

/// Warns of windows that are too short, of queues in the client and of a server that fell behind.
fn of_pace(analysis: &Analysis, run: &RunFacts, found: &mut Vec<Advice>) {
    let windows = analysis.rows_of::<ThroughputWindows<'_>>(&run.run);
    let steady = windows.iter().find(|row| row.window_name == Some("steady"));
    let seconds = steady.and_then(|row| row.seconds);
    let is_asked = steady.is_some_and(|row| row.basis == Some("asked"));
    if let Some(lasted) = empty_window(analysis, &run.run) {
        found.push(warning(
            nothing_in_window(lasted),
            "there is no latency to speak of, and a rate of it would be 0",
            "move --from and --to, or shorten --warmup, so that a request lies in between",
        ));
    } else if let Some(seconds) = seconds.filter(|seconds| *seconds < SHORT_WINDOW_S) {
        let seconds = format::trimmed(seconds, 1);
        let (what, remedy) = if is_asked {
            let what = say!("the window that was asked for is {seconds} s long", seconds);
            (what, "ask for a longer one")
        } else {
            let what = say!("the steady window is {seconds} s long", seconds);
            (what, "run for a minute or longer")
        };
        found.push(warning(
            what,
            "a rate over so short a time says more about chance than about the server",
            remedy,
        ));
    }
    if run.manifest.arrival_loop == Loop::Closed {
        return;
    }
    let Some(pace) = analysis.row_of::<ScheduleFidelity<'_>>(&run.run) else {
        return;
    };
    if let Some(queued) = pace.queued_p99_ns.filter(|queued| *queued >= 1e6) {
        found.push(warning(
            say!(
                "requests waited for a free slot, {queued} at p99",
                queued = format::duration(queued)
            ),
            "--max-concurrency held them back, which latencies from the send time do not show",
            "read the latencies from the intended time, or raise --max-concurrency",
        ));
    }
    let rates = pace.achieved_rate_per_s.zip(pace.intended_rate_per_s);
    if let Some((achieved, intended)) = rates.filter(|(achieved, asked)| *achieved < 0.95 * asked) {
        found.push(warning(
            say!(
                "{achieved} requests/s were sent where {intended} were due",
                achieved = format::decimal(achieved, 2),
                intended = format::decimal(intended, 2)
            ),
            "the load that was asked for never reached the server in time",
            "see schedule fidelity for where it waited",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::Cell;
    use crate::report::fixture;
    use crate::report::verdict::verdict;

    fn of(analysis: &Analysis) -> Vec<String> {
        let run = &analysis.runs[0];
        advice(analysis, run, &verdict(analysis, &run.run))
            .into_iter()
            .map(|advice| advice.what)
            .collect()
    }

    #[test]
    fn a_release_build_does_not_advise_to_build_one() {
        assert!(failed_check("slip", true).act.contains("--release"));
        for check in ["slip", "runtime_lag", "cpu", "not_sent", "other"] {
            assert!(!failed_check(check, false).act.contains("--release"));
        }
    }

    #[test]
    fn says_what_was_left_out_of_the_latencies() {
        insta::assert_debug_snapshot!(of(&fixture::single()), @r#"
        [
            "8 of 1,000 requests failed (0.8 %)",
            "2 requests were cancelled or never sent",
        ]
        "#);
    }

    #[test]
    fn what_was_in_flight_at_a_crash_has_not_failed() {
        let mut analysis = fixture::single();
        for table in &mut analysis.tables {
            let at = table
                .columns
                .iter()
                .position(|column| column.name == "interrupted");
            if let Some(at) = at {
                table.rows[0][at] = Cell::Int(12);
            }
        }
        let said = of(&analysis);
        assert!(
            said.iter()
                .any(|what| what.starts_with("12 requests were in flight")),
            "{said:?}"
        );
        assert!(said[0].starts_with("8 of 1,000"), "{said:?}");
    }

    #[test]
    fn what_a_stop_cut_off_is_not_for_a_longer_drain() {
        let mut analysis = fixture::single();
        let drain = |analysis: &Analysis| {
            let run = &analysis.runs[0];
            let all = advice(analysis, run, &verdict(analysis, &run.run));
            all.into_iter().any(|one| one.act.contains("--drain"))
        };
        assert!(drain(&analysis));
        analysis.runs[0].manifest.state = State::Interrupted;
        assert!(!drain(&analysis));
        let said = of(&analysis);
        assert!(
            said.iter()
                .any(|what| what.starts_with("2 requests were in flight, or due, when")),
            "{said:?}"
        );
    }

    #[test]
    fn a_window_without_a_request_says_how_long_the_run_is() {
        let mut analysis = fixture::single();
        let mut tables = analysis.tables.iter_mut();
        let table = tables.find(|table| table.name == "latency_percentiles");
        table.unwrap().rows.clear();
        let said = of(&analysis);
        insta::assert_snapshot!(said.last().unwrap(), @"no request that succeeded was due in the window that was asked for; the run lasts 31.62 s");
    }

    #[test]
    fn a_run_without_one_success_says_so_first() {
        assert_eq!(of(&fixture::of_size(0))[0], "no request succeeded");
    }

    #[test]
    fn a_run_that_was_stopped_and_recovered_says_both() {
        let mut analysis = fixture::single();
        analysis.runs[0].manifest.state = State::Interrupted;
        analysis.runs[0]
            .notes
            .extend([INTERRUPTED, "recovered 12 rows from the log"].map(str::to_owned));
        let said = of(&analysis);
        assert!(!said.iter().any(|what| what == INTERRUPTED), "{said:?}");
        assert!(
            said.iter()
                .any(|what| what.contains("stopped before its schedule")),
            "{said:?}"
        );
        assert!(
            said.iter().any(|what| what.contains("recovered 12 rows")),
            "{said:?}"
        );
    }
}
