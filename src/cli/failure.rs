//! Why requests failed, and what the user can try: said once a run, by the first one that did.

use super::talk::say;
use crate::load::{Failure, RunReport};
use crate::wire::NO_LOCAL_PORT;

/// Says why requests failed, where some did.
pub(super) fn tell(report: &RunReport) {
    if report.first_failure.is_none() {
        return;
    }
    let severity = if report.ok == 0 { "error" } else { "warning" };
    let (message, remedy) = reason(report);
    say(&format!("{severity}: {message}"));
    if let Some(remedy) = remedy {
        say(&format!("hint: {remedy}"));
    }
}

/// Puts into words why requests failed, and what the user can try.
pub(super) fn reason(report: &RunReport) -> (String, Option<String>) {
    let outcome = if report.ok == 0 {
        "no request succeeded"
    } else {
        "some requests failed"
    };
    let Some(failure) = &report.first_failure else {
        return (outcome.to_owned(), None);
    };
    let message = failure.message.as_deref().unwrap_or("no reason was given");
    (
        format!(
            "{outcome}; the first failed with `{}`: {message}",
            failure.kind
        ),
        remedy(failure, &report.manifest.target),
    )
}

/// What to try against a failure of a request to `target`.
fn remedy(failure: &Failure, target: &str) -> Option<String> {
    let has_no_port =
        (failure.message.as_deref()).is_some_and(|text| text.starts_with(NO_LOCAL_PORT));
    let text = match (failure.kind.as_str(), failure.http_status) {
        ("connect", _) if has_no_port => {
            "raise the range of ports (`sysctl net.ipv4.ip_local_port_range`), or lower \
             `--max-concurrency`"
        }
        ("dns" | "connect" | "timeout_connect", _) => {
            return Some(format!(
                "check `--base-url`, and that a server listens at `{target}`"
            ));
        }
        ("tls", _) => {
            "check the server's certificate, and whether `--base-url` wants http or https"
        }
        ("http_4xx", Some(401 | 403)) => {
            "set OPENAI_API_KEY, or give `--header \"Authorization: Bearer KEY\"`"
        }
        ("http_4xx", Some(404)) => "check `--model`, `--base-url` and `--endpoint`",
        ("http_4xx", _) => "check `--backend`, `--endpoint` and `--extra-body` against the server",
        ("http_429", _) => "lower the rate or set `--max-concurrency`",
        ("http_5xx" | "in_stream", _) => "look into the server's log",
        ("send", _) => {
            "the server closed a new connection without an answer: check the scheme and the port of \
             `--base-url`, whether the server limits connections (`--max-concurrency`), and its log \
             for a crash"
        }
        ("truncated" | "bad_event", _) => {
            "look into the log of the server, and of any proxy before it"
        }
        ("timeout_first", _) => "raise `--first-timeout`, or lower the load",
        ("timeout_idle", _) => "raise `--idle-timeout`, or look into the server's log",
        ("timeout_total", _) => "raise `--request-timeout`, or lower the load",
        ("too_large", _) => {
            "see what it is that answers there: few streams of tokens are so large; where one is \
             meant to be, leave out `--keep text` and `--tokenizer`, or lower `--max-concurrency`"
        }
        ("unsupported", _) => "check `--base-url`, `--endpoint` and `--backend`",
        _ => return None,
    };
    Some(text.to_owned())
}
