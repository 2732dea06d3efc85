//! The report's first line: may the numbers below be believed?
//!
//! The checks themselves are SQL (`queries/validity.sql`); here their result becomes a sentence.

use serde::Serialize;

use crate::analyze::{
    Analysis, Checks, RequestsByOutcome, RunSummary, Standing, Unsteady, Validity, added_ns,
    cached_beyond, unsteady,
};
use crate::capture::manifest::SelfCheck;

use super::format::{self, NS_PER_MS};
use super::language::{said, say};

/// The first line for one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    /// What the checks came to.
    pub(crate) standing: Standing,
    /// The same as the reader sees it.
    pub(crate) word: String,
    /// Why, in one line: of a client that was the bottleneck in plain words.
    pub(crate) reason: String,
    /// The numbers behind the reason, in milliseconds, where it has none itself.
    pub(crate) details: String,
    /// Names of the checks that failed.
    pub(crate) failed_checks: Vec<String>,
}

impl Verdict {
    /// The numbers that it stands on.
    pub(crate) fn numbers(&self) -> &str {
        if self.details.is_empty() {
            &self.reason
        } else {
            &self.details
        }
    }
}

/// Returns the first line for `run`.
pub(crate) fn verdict(analysis: &Analysis, run: &str) -> Verdict {
    let mut verdict = checked(analysis, run);
    let mut runs = analysis.runs.iter().filter(|facts| facts.run == run);
    if let Some(check) = runs.next().and_then(|facts| facts.manifest.self_check) {
        // What was found before the run did not hold in it where that was limited, and where more
        // was found than a client that kept up can have added.
        let lag_limit_ns = analysis
            .rows_of::<Validity<'_>>(run)
            .into_iter()
            .find(|row| row.check_name == Some("runtime_lag"))
            .and_then(|row| row.limit_value);
        let is_over = lag_limit_ns.is_some_and(|limit_ns| p99_ns(&check) > limit_ns);
        let is_past = verdict.standing == Standing::ClientLimited || is_over;
        let sentence = self_check_sentence(&check, is_past);
        if verdict.details.is_empty() {
            add(&mut verdict.reason, &sentence);
        } else {
            add(&mut verdict.details, &sentence);
        }
    }
    let more = [never_sent(analysis, run), unsteady_sentence(analysis, run)];
    for sentence in more.into_iter().flatten() {
        add(&mut verdict.reason, &sentence);
    }
    if let Some(cached) = cached_beyond(analysis, run) {
        let sentence = say!(
            "{had} of the prompt tokens came from the server's cache, where the schedule shares {shared}",
            had = format::percent(Some(cached.had)),
            shared = format::percent(Some(cached.shared))
        );
        add(&mut verdict.reason, &sentence);
    }
    verdict
}

/// Adds a sentence to a line, behind a semicolon in place of a full stop.
fn add(line: &mut String, sentence: &str) {
    let trimmed = line.trim_end_matches(['.', '。']).len();
    line.truncate(trimmed);
    line.push_str(&said("; "));
    line.push_str(sentence);
}

/// Says how many requests that were due never went out.
fn never_sent(analysis: &Analysis, run: &str) -> Option<String> {
    let summary = analysis.row_of::<RunSummary<'_>>(run)?;
    let n = summary.not_sent.filter(|n| *n > 0.0)?;
    Some(say!(
        "{n} of the {of} requests that were due were never sent",
        n = format::decimal(n, 0),
        of = format::decimal(summary.requests?, 0)
    ))
}

/// Says where the rates of the steady window are none that lasted: on a ramp, and where the window has
/// less than half of what the whole run has.
fn unsteady_sentence(analysis: &Analysis, run: &str) -> Option<String> {
    Some(match unsteady(analysis, run)? {
        Unsteady::Ramp => {
            said("the load was made to rise, so no rate of it is steady: see it over time")
        }
        Unsteady::Requests { steady, whole } => say!(
            "the steady window has {steady} requests/s and the whole run {whole}: quote neither as the run's rate without the other",
            steady = format::decimal(steady, 2),
            whole = format::decimal(whole, 2)
        ),
        Unsteady::OutputTokens { steady, whole } => say!(
            "the steady window has {steady} output tokens/s and the whole run {whole}: quote neither as the run's rate without the other",
            steady = format::decimal(steady, 2),
            whole = format::decimal(whole, 2)
        ),
    })
}

/// What the client was found to add to a latency before the run, in nanoseconds.
fn p99_ns(check: &SelfCheck) -> f64 {
    let p99_ns = check.read_lag_ns.p99.max(check.inter_token_error_ns.p99);
    f64::from(u32::try_from(p99_ns.max(0)).unwrap_or(u32::MAX))
}

/// Says what the client was found to add to a latency before the run.
fn self_check_sentence(check: &SelfCheck, is_past: bool) -> String {
    let p99_ms = format::decimal((p99_ns(check) / 1e3).ceil() / 1e3, 3);
    if is_past {
        say!(
            "before the run the client added at most {p99_ms} ms at p99 (self-check)",
            p99_ms
        )
    } else {
        say!(
            "the client adds at most {p99_ms} ms at p99 (self-check)",
            p99_ms
        )
    }
}

/// Says in plain words what failed checks mean for the numbers.
fn too_busy(failed: &[Validity<'_>]) -> String {
    if failed
        .iter()
        .all(|check| check.check_name == Some("not_sent"))
    {
        return said(
            "This computer could not send all that was due. Do not quote what follows as the server's.",
        );
    }
    let late = added_ns(failed.iter().copied()).filter(|ns| ns.is_finite());
    match late.map(|ns| ns / NS_PER_MS) {
        Some(ms) => {
            let ms = if ms < 10.0 {
                format::decimal((ms * 10.0).ceil() / 10.0, 1)
            } else {
                format::decimal(ms.ceil(), 0)
            };
            say!(
                "This computer was too busy to measure: times may be up to {ms} ms too long. Do not quote them.",
                ms
            )
        }
        None => said(
            "This computer was too busy to measure: times may be too long, nobody knows by how much. Do not quote them.",
        ),
    }
}

fn checked(analysis: &Analysis, run: &str) -> Verdict {
    let checks = Checks::of(analysis, run);
    let kept_up = || {
        say!(
            "the client kept up: {kept_up}",
            kept_up = sentences(&checks.all)
        )
    };
    let standing = checks.standing();
    let unmade = checks.unmade();
    let (word, reason, details) = match standing {
        Standing::ClientLimited => {
            let failed = checks.failed();
            ("CLIENT-LIMITED", too_busy(&failed), sentences(&failed))
        }
        Standing::NotChecked if unmade.len() == checks.all.len() => {
            let reason = match checks.has_success {
                Some(false) => "no request succeeded, and nothing is there to check the client by",
                _ => "the tape holds nothing to check the client by",
            };
            ("NOT CHECKED", said(reason), String::new())
        }
        Standing::NotChecked => {
            let unmade: Vec<String> = unmade.iter().map(|it| subject(&name(*it))).collect();
            let reason = say!(
                "{kept_up}; not checked: {unmade}",
                kept_up = sentences(&checks.all),
                unmade = unmade.join(&said(", "))
            );
            ("PARTLY CHECKED", reason, String::new())
        }
        Standing::NoResult => {
            let reason = match failures(analysis, run).into_iter().next() {
                Some(cause) => say!("no request succeeded: {cause}", cause),
                None => said("no request succeeded"),
            };
            ("NO RESULT", reason, kept_up())
        }
        Standing::Valid => ("VALID", kept_up(), String::new()),
    };
    Verdict {
        standing,
        word: said(word),
        reason,
        details,
        failed_checks: checks.failed().into_iter().map(name).collect(),
    }
}

/// How requests failed, a kind a line, the commonest first: how many, and what was said.
pub(crate) fn failures(analysis: &Analysis, run: &str) -> Vec<String> {
    let outcomes = analysis.rows_of::<RequestsByOutcome<'_>>(run).into_iter();
    let failed = outcomes.filter(|row| row.status != Some("ok"));
    let spelled = failed.map(|row| {
        let status = row.status.unwrap_or("error");
        let kind = format::clean_to(row.error_kind.unwrap_or(status), 40);
        let n = format::optional(row.requests, 0);
        let http = row.http_status.map_or_else(String::new, |status| {
            format!(" (HTTP {})", format::decimal(status, 0))
        });
        let message = row.example_message.map_or_else(String::new, |message| {
            format!(": {}", format::clean_to(message, 200))
        });
        format!("{n} × {kind}{http}{message}")
    });
    spelled.collect()
}

/// Returns the name of a check.
pub(crate) fn name(check: Validity<'_>) -> String {
    format::name(check.check_name.unwrap_or("check"))
}

/// Returns what a check measures, in words.
pub(crate) fn subject(name: &str) -> String {
    match name {
        "slip" => said("p99 send slip"),
        "runtime_lag" => said("p99 runtime lag"),
        "cpu" => said("probes over 90 % CPU"),
        "not_sent" => said("requests never sent"),
        other => other.to_owned(),
    }
}

/// Writes a check's value or limit in the unit that its row names.
pub(crate) fn quantity(value: Option<f64>, unit: Option<&str>) -> String {
    let Some(number) = value else {
        return format::NONE.to_owned();
    };
    match unit {
        Some("ns") => format!("{} ms", format::fine_milliseconds(value)),
        Some("ms") => format!("{} ms", format::decimal(number, 3)),
        Some("share") => format::percent(value),
        Some(unit) => format!("{} {}", format::trimmed(number, 3), format::clean(unit)),
        None => format::trimmed(number, 3),
    }
}

fn sentences(checks: &[Validity<'_>]) -> String {
    let parts: Vec<String> = checks
        .iter()
        .filter(|check| check.ok.is_some())
        .map(|check| {
            let unit = check.unit;
            say!(
                "{subject} {value} (limit {limit})",
                subject = subject(&name(*check)),
                value = quantity(check.value, unit),
                limit = quantity(check.limit_value, unit)
            )
        })
        .collect();
    parts.join(&said("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, has_success, is_client_limited};
    use crate::plan::{Arrivals, Process, RampStrategy, RampUp};
    use crate::report::fixture;

    #[test]
    fn one_failed_check_makes_the_run_client_limited_and_is_named() {
        let analysis = fixture::limited();
        let verdict = verdict(&analysis, "demo");
        assert_eq!(verdict.word, "CLIENT-LIMITED");
        insta::assert_snapshot!(verdict.reason, @"This computer was too busy to measure: times may be up to 7.3 ms too long. Do not quote them.");
        insta::assert_snapshot!(verdict.details, @"p99 send slip 7.300 ms (limit 1.000 ms); before the run the client added at most 0.182 ms at p99 (self-check)");
        assert!(is_client_limited(&analysis));
    }

    fn put(analysis: &mut Analysis, table: &str, row: usize, column: &str, cell: &Cell) {
        let mut tables = analysis.tables.iter_mut();
        let table = tables.find(|other| other.name == table).unwrap();
        let at = table.columns.iter().position(|other| other.name == column);
        table.rows[row][at.unwrap()] = cell.clone();
    }

    #[test]
    fn a_self_check_on_a_busy_machine_is_told_as_past() {
        let said = |p99_ns| {
            let mut analysis = fixture::single();
            let check = analysis.runs[0].manifest.self_check.as_mut().unwrap();
            check.inter_token_error_ns.p99 = p99_ns;
            let verdict = verdict(&analysis, "demo");
            assert_eq!(verdict.word, "VALID");
            verdict.reason.split("; ").last().unwrap().to_owned()
        };
        assert_eq!(
            said(1_000_000),
            "the client adds at most 1.000 ms at p99 (self-check)"
        );
        assert_eq!(
            said(23_570_001),
            "before the run the client added at most 23.571 ms at p99 (self-check)"
        );
    }

    #[test]
    fn a_window_that_is_not_steady_is_told_in_the_first_line() {
        let reason = |analysis: &Analysis| verdict(analysis, "demo").reason;
        let mut analysis = fixture::single();
        assert!(!reason(&analysis).contains("steady"));
        let rate = Cell::Float(0.13);
        put(&mut analysis, "throughput_windows", 0, "rps", &rate);
        let said = reason(&analysis);
        assert!(
            said.contains("; the steady window has 0.13 requests/s and the whole run 29.20: "),
            "{said}"
        );
        let mut limited = fixture::limited();
        put(&mut limited, "throughput_windows", 0, "rps", &rate);
        let said = reason(&limited);
        assert!(said.contains("Do not quote them; the steady"), "{said}");
        // On a ramp no window is steady, whatever its rate.
        let mut analysis = fixture::single();
        analysis.runs[0].manifest.plan.arrivals = Some(Arrivals {
            ramp_up: Some(RampUp {
                strategy: RampStrategy::Linear,
                along: None,
                start_rps: 1.0,
                end_rps: 9.0,
            }),
            process: Process::Gamma,
            burstiness: None,
            request_rate: None,
            options: serde_json::Map::new(),
        });
        let said = reason(&analysis);
        assert!(said.contains("; the load was made to rise"), "{said}");
    }

    #[test]
    fn a_run_of_which_nothing_succeeded_is_not_called_valid() {
        let mut analysis = fixture::single();
        put(&mut analysis, "run_summary", 0, "ok", &Cell::Int(0));
        let verdict = verdict(&analysis, "demo");
        assert_eq!(verdict.word, "NO RESULT");
        assert!(
            verdict.reason.starts_with("no request succeeded: "),
            "{}",
            verdict.reason
        );
        assert!(verdict.details.starts_with("the client kept up: "));
        assert!(!has_success(&analysis));
        assert!(has_success(&fixture::single()));
    }

    #[test]
    fn a_run_that_was_partly_checked_says_what_was_not() {
        let mut analysis = fixture::single();
        put(&mut analysis, "validity", 2, "ok", &Cell::Null);
        let verdict = verdict(&analysis, "demo");
        assert_eq!(
            (verdict.standing, verdict.word),
            (Standing::NotChecked, "PARTLY CHECKED".to_owned())
        );
        assert!(
            verdict.reason.contains("not checked: probes over 90 % CPU"),
            "{}",
            verdict.reason
        );
    }

    #[test]
    fn a_run_is_not_called_valid_when_nothing_was_checked() {
        let mut analysis = fixture::single();
        analysis.tables.retain(|table| table.name != "validity");
        assert_eq!(verdict(&analysis, "demo").standing, Standing::NotChecked);
        assert!(!is_client_limited(&analysis));
    }
}
