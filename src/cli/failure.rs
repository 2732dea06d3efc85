//! Why requests failed, and what the user can try: said once a run, by the first one that did.

use super::talk::say;
use crate::backend::{self, Remedy};
use crate::capture::Manifest;
use crate::load::{Failure, RunReport};
use crate::plan::RunPlan;
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
    (
        format!(
            "{outcome}; the first failed with `{}`: {}",
            failure.kind,
            said(failure)
        ),
        field_remedy(failure, &report.manifest.plan).or_else(|| remedy(failure, &report.manifest)),
    )
}

/// What the server or the client says of a failure; the status where it is all that came.
fn said(failure: &Failure) -> String {
    match (&failure.message, failure.http_status) {
        (Some(message), _) => message.clone(),
        (None, Some(status)) if failure.kind.starts_with("http_") => {
            format!("the server answered {status}, without a reason")
        }
        (None, _) => "no reason was given".to_owned(),
    }
}

/// What to leave out where a server names fields of the request that it does not take: the flags that
/// put them there.
fn field_remedy(failure: &Failure, plan: &RunPlan) -> Option<String> {
    if failure.kind != "http_4xx" || !matches!(failure.http_status, Some(400 | 422)) {
        return None;
    }
    let message = failure.message.as_deref()?;
    let is_named = |field: &str| {
        let is_of_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        message.match_indices(field).any(|(at, _)| {
            let after = message.get(at + field.len()..).unwrap_or_default();
            let before = message.get(..at).unwrap_or_default();
            !after.starts_with(is_of_word) && !before.ends_with(is_of_word)
        })
    };
    let mut remedies = Vec::new();
    // Of the user's fields those that a message could name by chance are not guessed at.
    let users = plan.extra_body.iter().filter(|(_, value)| !value.is_null());
    let users: Vec<&str> = users
        .map(|(field, _)| field.as_str())
        .filter(|field| field.contains('_') && is_named(field))
        .collect();
    match users.as_slice() {
        [] => {}
        [field] => remedies.push(format!(
            "leave `{field}` out of `--extra-body`, or leave out the flag of that name"
        )),
        fields => remedies.push(format!(
            "leave {} out of `--extra-body`, or leave out the flags of those names",
            listed(fields)
        )),
    }
    remedies.extend(flag_remedies(plan, is_named).map(str::to_owned));
    let backend = backend::of_plan(plan);
    let of_backend = backend.map_or(&[][..], |backend| backend.refusable_fields());
    let mut left_out = Vec::new();
    let mut is_before = false;
    for (field, remedy) in of_backend {
        let is_this = is_named(field) && !plan.extra_body.contains_key(*field);
        match remedy {
            Remedy::LeaveOut if is_this => left_out.push(*field),
            // What the user put in the place of a field is another way to say the same.
            Remedy::Do(step) if is_this && users.is_empty() => remedies.push((*step).to_owned()),
            Remedy::Else(step) if is_this && users.is_empty() && !is_before => {
                remedies.push((*step).to_owned());
            }
            _ => {}
        }
        is_before = is_this;
    }
    if !left_out.is_empty() {
        let nulls: Vec<String> = (left_out.iter())
            .map(|field| format!("\"{field}\": null"))
            .collect();
        remedies.push(format!(
            "leave out {} with `--extra-body '{{{}}}'`",
            listed(&left_out),
            nulls.join(", ")
        ));
    }
    (!remedies.is_empty()).then(|| remedies.join("; "))
}

/// What to do about fields that flags have put into requests.
fn flag_remedies(
    plan: &RunPlan,
    is_named: impl Fn(&str) -> bool,
) -> impl Iterator<Item = &'static str> {
    let asks_for_all = plan.ignore_eos == Some(true);
    let of_exact = match plan.trace {
        Some(_) => {
            "leave out `--ignore-eos`, and give `--output-length cap`: the server does not know \
             `ignore_eos`"
        }
        None => "leave out `--ignore-eos`: the server does not know `ignore_eos`",
    };
    let of_temperature = "leave out `--temperature`, or give the one that the server takes";
    let remedies = [
        ("ignore_eos", asks_for_all, of_exact),
        ("temperature", plan.temperature.is_some(), of_temperature),
    ];
    remedies
        .into_iter()
        .filter(move |(field, is_asked, _)| *is_asked && is_named(field))
        .map(|(_, _, remedy)| remedy)
}

/// Writes names of fields as people list them.
fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [others @ .., last] if !others.is_empty() => format!("{} and {last}", others.join(", ")),
        names => names.concat(),
    }
}

/// What to try against a failure of a request of this run.
fn remedy(failure: &Failure, manifest: &Manifest) -> Option<String> {
    let target = failure.target.as_ref().unwrap_or(&manifest.target);
    let mut sent = manifest.plan.header_names.iter();
    let sends_key = sent.any(|name| name == "authorization") || target.contains('@');
    let has_no_port =
        (failure.message.as_deref()).is_some_and(|text| text.starts_with(NO_LOCAL_PORT));
    let text = match (failure.kind.as_str(), failure.http_status) {
        ("send", _) if manifest.plan.http2 == Some(true) => {
            "leave out `--http2`, which the server may not speak"
        }
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
        ("http_4xx", Some(401 | 403)) if sends_key => {
            "check the key that is sent, and whether a router before the server drops it"
        }
        ("http_4xx", Some(401 | 403)) => {
            "set OPENAI_API_KEY, or give `--header \"Authorization: Bearer KEY\"`"
        }
        ("http_4xx", Some(404)) => {
            "check `--model`, `--base-url`, `--endpoint` and `--backend`; `--backend auto` asks the server \
             what it is"
        }
        ("http_4xx", _) => "check `--backend`, `--endpoint` and `--extra-body` against the server",
        ("http_429", _) => "lower the rate or set `--max-concurrency`",
        ("http_5xx" | "in_stream", _) => "look into the server's log",
        ("send", _) => {
            "the server closed a new connection without an answer: check the scheme and the port of \
             `--base-url`, whether the server limits connections (`--max-concurrency`), and its log \
             for a crash"
        }
        ("truncated" | "bad_event" | "empty" | "unsupported", _)
            if (failure.message.as_deref()).is_some_and(|text| text.contains("`--backend ")) =>
        {
            "give the backend that the message names, with its own endpoint"
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hint(message: &str, plan: &Value) -> Option<String> {
        let plan: RunPlan = serde_json::from_value(plan.clone()).unwrap();
        let failure = Failure {
            kind: "http_4xx".to_owned(),
            message: Some(message.to_owned()),
            http_status: Some(422),
            target: None,
        };
        field_remedy(&failure, &plan)
    }

    #[test]
    fn an_answer_that_is_a_status_alone_is_told_by_it() {
        let failure = |kind: &str, message: Option<&str>, http_status| Failure {
            kind: kind.to_owned(),
            message: message.map(str::to_owned),
            http_status,
            target: None,
        };
        for (failure, words) in [
            (
                failure("http_4xx", None, Some(404)),
                "the server answered 404, without a reason",
            ),
            (failure("http_4xx", Some("gone"), Some(410)), "gone"),
            (failure("truncated", None, Some(200)), "no reason was given"),
        ] {
            assert_eq!(said(&failure), words);
        }
    }

    #[test]
    fn a_field_that_a_server_does_not_take_is_told_by_its_flag() {
        let plan = json!({
            "verb": "load", "backend": "vllm", "ignore_eos": true, "temperature": 0.0,
            "extra_body": { "min_tokens": 3, "top_k": 1, "user": "a" },
        });
        for (message, flag) in [
            (
                "Unexpected fields in the request: {'ignore_eos'}",
                "leave out `--ignore-eos`:",
            ),
            (
                "body.ignore_eos: Extra inputs are not permitted",
                "leave out `--ignore-eos`:",
            ),
            ("`temperature` is not supported", "`--temperature`"),
            ("unknown field continuous_usage_stats", "`--backend openai`"),
            ("stream_options is not allowed", "\"stream_options\": null"),
            (
                "Unrecognized request argument: max_completion_tokens",
                "\"max_tokens\"",
            ),
            (
                "'max_tokens' is not supported with this model",
                "\"max_completion_tokens\"",
            ),
            (
                "min_tokens must be positive",
                "`min_tokens` out of `--extra-body`",
            ),
        ] {
            let hint = hint(message, &plan).unwrap();
            assert!(hint.contains(flag), "{message}: {hint}");
        }
        let audio = json!({ "backend": "openai-audio" });
        let refused = |message: &str| hint(message, &audio).unwrap();
        insta::assert_snapshot!(
            refused("Unexpected fields in the request: {'max_completion_tokens', 'stream_include_usage', 'stream_continuous_usage_stats'}"),
            @r#"leave out `--audio-output-len`: the server does not know `max_completion_tokens`; leave out `stream_include_usage` and `stream_continuous_usage_stats` with `--extra-body '{"stream_include_usage": null, "stream_continuous_usage_stats": null}'`"#
        );
        insta::assert_snapshot!(
            refused("Unexpected fields in the request: {'max_completion_tokens'}"),
            @"leave out `--audio-output-len`: the server does not know `max_completion_tokens`"
        );
        insta::assert_snapshot!(
            hint("no `min_tokens`, `ignore_eos`, `top_k`", &plan).unwrap(),
            @"leave `min_tokens` and `top_k` out of `--extra-body`, or leave out the flags of those names; leave out `--ignore-eos`: the server does not know `ignore_eos`"
        );
        let chat = json!({ "backend": "openai-chat", "ignore_eos": true });
        insta::assert_snapshot!(
            hint("no `ignore_eos`, `stream_options`, `max_completion_tokens`: use `max_tokens`", &chat).unwrap(),
            @r#"leave out `--ignore-eos`: the server does not know `ignore_eos`; give `--extra-body '{"stream_options": null}'`: every request asks for usage with it; limit answers by the other name, as in `--extra-body '{"max_tokens": 128}'`"#
        );
        let replay = json!({ "trace": {}, "ignore_eos": true });
        assert!(
            hint("ignore_eos", &replay)
                .unwrap()
                .contains("--output-length cap")
        );
        // It was not asked for, or is part of another word.
        for message in [
            "no ignore_eos here",
            "the user is unknown",
            "max_tokens_total",
            "",
        ] {
            assert_eq!(
                hint(message, &json!({ "ignore_eos": false })),
                None,
                "{message}"
            );
        }
    }
}
