//! From what was typed to what is meant: pure, so that `--dry-run` shows exactly what would run.

use std::path::Path;

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use serde_json::{Map, Value};
use url::Url;

use super::args::{BackendArg, DriveArgs, LoadArgs, ReplayArgs, RequestArgs, TargetArgs, WireArg};
use super::masks;
use super::shape::Shape;
use crate::backend::{Backend, ExactLength};
use crate::draw::{Draw, field};
use crate::error::Error;
use crate::load::Private;
use crate::plan::{
    EMBEDDED_TOKENIZER, OutputLength, PlanLimits, RunPlan, SessionPacing, SessionPrompts,
    SessionReplies, TracePlan, UrlStrategy,
};
use crate::time::clock::utc_now_ns;
use crate::trace::PromptFacts;
use crate::wire::WireKind;
use crate::workload::has_tokenizer;

/// The plan of `load`.
pub(super) fn of_load(args: &LoadArgs) -> Result<RunPlan, Error> {
    let Shape {
        arrivals,
        num_prompts,
        sessions,
    } = Shape::of(args)?;
    Ok(RunPlan {
        verb: Some("load".into()),
        arrivals: Some(arrivals),
        num_prompts,
        sessions,
        dataset: Some(args.dataset.dataset.clone()),
        ..of_run(&args.common)?
    })
}

/// The plan of `replay`, as far as the trace has not been looked at.
pub(super) fn of_replay(args: &ReplayArgs) -> Result<RunPlan, Error> {
    let strays = args.common.output.goals.strays();
    let path = match (&args.trace, strays.as_slice()) {
        (Some(trace), []) => trace.clone(),
        (None, [trace]) => trace.clone(),
        _ => {
            return Err(Error::usage(
                "`replay` takes one trace",
                "name it before the flags, as in `tokentape replay trace.csv --speed 10`",
            ));
        }
    };
    let taken = &args.selection;
    if taken.session_replies == SessionReplies::Live && taken.sessions == SessionPacing::Trace {
        return Err(Error::usage(
            "`--session-replies live` needs turns that wait for the replies before them",
            "add `--sessions think` or `--sessions later`",
        ));
    }
    let run = of_run(&args.common)?;
    // The planned output length is part of the schedule, so it is enforced where it can be.
    let enforces = taken.output_length == OutputLength::Enforce
        && args.common.target.backend().exact_length() == ExactLength::Known;
    Ok(RunPlan {
        verb: Some("replay".into()),
        trace: Some(TracePlan {
            path,
            format: taken.format.clone(),
            map: taken.map.clone(),
            from_ns: Some(taken.from),
            for_ns: taken.window,
            speed: Some(taken.speed),
            limit: taken.limit,
            sample: taken.sample,
            failed: taken.failed,
            ties: taken.ties,
            sessions: taken.sessions,
            session_prompts: taken.session_prompts,
            session_replies: taken.session_replies,
            restarts: taken.restarts,
            max_idle_ns: taken.max_idle,
            output_length: taken.output_length,
        }),
        ignore_eos: Some(run.ignore_eos == Some(true) || enforces),
        ..run
    })
}

/// What the plans of `load` and `replay` share, but for where requests go.
fn of_run(args: &DriveArgs) -> Result<RunPlan, Error> {
    let request = &args.request;
    let limits = &args.limits;
    // The files of a model have its tokenizer.
    let model = args.target.model.as_deref().map(Path::new);
    let model = model.filter(|model| model.is_dir() && has_tokenizer(model));
    let tokenizer = request.tokenizer.as_deref().or(model);
    let has_adapters = !args.target.lora_modules.is_empty();
    Ok(RunPlan {
        command: Some(masks::typed_command()),
        backend: Some(args.target.backend().name().into()),
        backend_template: match &args.target.backend {
            BackendArg::Own { text, .. } => Some(text.clone()),
            _ => None,
        },
        model: args.target.model.clone(),
        lora_assignment: has_adapters.then_some(args.target.lora_assignment),
        lora_modules: args.target.lora_modules.clone(),
        max_concurrency: limits.max_concurrency,
        num_warmups: Some(request.num_warmups),
        cancel_rate: limits.cancel_rate,
        retries: (limits.retries > 0).then_some(limits.retries),
        seed: Some(request.seed.unwrap_or_default()),
        prompt_salt: prompt_salt(request),
        tokenizer: Some(tokenizer.map_or_else(
            || EMBEDDED_TOKENIZER.to_owned(),
            |path| path.display().to_string(),
        )),
        chat_template: (request.chat_template.as_ref()).map(|path| path.display().to_string()),
        ignore_eos: Some(request.ignore_eos),
        temperature: request.temperature,
        limits: PlanLimits {
            duration_ns: limits.duration,
            drain_ns: Some(limits.drain),
            request_timeout_ns: Some(limits.request_timeout),
            first_timeout_ns: limits.first_timeout,
            idle_timeout_ns: Some(limits.idle_timeout),
            connect_timeout_ns: Some(limits.connect_timeout),
            cancel_after_ns: limits.cancel_after,
            self_check_ns: Some(limits.self_check),
            keep_going: limits.keep_going,
        },
        keeps_text: Some(args.output.keep.is_some()),
        kept_headers: kept_headers(&args.target.keep_header)?,
        ca_cert: args.target.connection.ca_cert.clone(),
        insecure: args.target.connection.insecure.then_some(true),
        http2: http2(&args.target)?,
        prewarm_connections: args.target.prewarm_connections,
        readers: args.target.connection.readers,
        url_strategy: url_strategy(&args.target)?,
        keep_alive: Some(!args.target.connection.no_keep_alive),
        labels: labels(&args.output.label)?,
        ..RunPlan::default()
    })
}

/// How servers are chosen, where there are several.
fn url_strategy(target: &TargetArgs) -> Result<Option<UrlStrategy>, Error> {
    let is_for_several = target.base_url.len() > 1;
    if target.url_strategy.is_some() && !is_for_several {
        return Err(Error::usage(
            "`--url-strategy` chooses between servers, and there is one",
            "give `--base-url` once for each server, or leave out `--url-strategy`",
        ));
    }
    Ok(is_for_several.then(|| target.url_strategy.unwrap_or_default()))
}

/// Refuses servers that the tape could not tell apart.
pub(super) fn check_urls(urls: &[Url]) -> Result<(), Error> {
    let names: Vec<String> = urls.iter().map(masks::masked).collect();
    let mut named = names.iter().enumerate();
    match named.find(|(index, name)| names[..*index].contains(name)) {
        Some((_, name)) => Err(Error::usage(
            format!("`--base-url` names the server of `{name}` twice"),
            "leave out one of them: each server gets an equal share of the requests",
        )),
        None => Ok(()),
    }
}

/// Whether HTTP/2 is spoken.
fn http2(target: &TargetArgs) -> Result<Option<bool>, Error> {
    if target.http2 && target.connection.wire == WireArg::Direct {
        return Err(Error::usage(
            "`--http2` is not spoken by the direct wire",
            "leave out `--wire`",
        ));
    }
    Ok(target.http2.then_some(true))
}

/// What makes the prompts of this run other ones than those of the run before: what the user says,
/// none where a seed fixes all, and else a number that no other run has.
fn prompt_salt(request: &RequestArgs) -> Option<u64> {
    let any = || {
        let now_ns = utc_now_ns().unsigned_abs();
        // Short enough for every reader of JSON.
        Draw::new(now_ns, 0, field::PROMPT_SALT).next() >> 24
    };
    match (request.prompt_salt, request.seed) {
        (None, None) => Some(any()),
        (salt, _) => salt,
    }
}

/// Notes in a plan where requests go, without what is secret of it.
pub(super) fn direct(plan: &mut RunPlan, private: &Private, asked: WireArg) {
    let wire = match plan.http2 {
        Some(true) => WireKind::Reqwest,
        _ => wire(asked, &private.urls),
    };
    plan.wire = Some(wire.name().into());
    name_target(plan, private);
}

/// Says what takes requests to these addresses.
pub(super) fn wire(asked: WireArg, urls: &[Url]) -> WireKind {
    let needs = |wire| urls.iter().any(|url| WireKind::for_url(url) == wire);
    match asked {
        WireArg::Auto if needs(WireKind::Reqwest) => WireKind::Reqwest,
        WireArg::Auto => WireKind::Direct,
        WireArg::Direct => WireKind::Direct,
        WireArg::Reqwest => WireKind::Reqwest,
    }
}

/// Notes in a plan what is sent where, without what is secret of it.
pub(super) fn name_target(plan: &mut RunPlan, private: &Private) {
    let mut urls = private.urls.iter().map(masks::masked);
    plan.url = urls.next();
    plan.more_urls = urls.collect();
    let names = private.headers.iter().map(|(name, _)| name.as_str());
    plan.header_names = names.map(str::to_owned).collect();
    plan.headers = masks::plain_headers(private);
    plan.extra_body = masks::masked_fields(&private.extra_body);
}

/// Says what the prompts of a trace's sessions were found to hold; none where nothing shows it.
pub(super) fn prompts_found(facts: PromptFacts) -> Option<&'static str> {
    match (facts.asked, facts.recognised) {
        (SessionPrompts::Whole, _) => Some("whole"),
        _ if facts.rows > 0 => Some("new"),
        (_, Some(false)) => Some("whole"),
        _ => None,
    }
}

/// Fields by which tools for load say more of a request than its lengths or text.
const OF_REQUESTS: [&str; 31] = [
    "body",
    "chat_template_kwargs",
    "extra",
    "extra_body",
    "frequency_penalty",
    "function_call",
    "functions",
    "guided_choice",
    "guided_grammar",
    "guided_json",
    "guided_regex",
    "headers",
    "logit_bias",
    "logprobs",
    "lora",
    "message_mode",
    "messages",
    "payload",
    "presence_penalty",
    "priority",
    "prompt",
    "reasoning_effort",
    "response_format",
    "seed",
    "stop",
    "structured_outputs",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_p",
];

/// Returns whether a column of a trace says what must be sent.
pub(super) fn is_of_request(column: &str) -> bool {
    OF_REQUESTS.contains(&column)
}

/// The addresses of the endpoint.
pub(super) fn endpoint_urls(args: &TargetArgs) -> Result<Vec<Url>, Error> {
    let endpoint = args
        .endpoint
        .as_deref()
        .unwrap_or(args.backend().endpoint());
    let base_urls = args.base_url.iter();
    let urls: Vec<Url> = base_urls
        .map(|base| join(base, endpoint))
        .collect::<Result<_, _>>()?;
    check_urls(&urls)?;
    Ok(urls)
}

/// The address of the list of models, with what the endpoint is asked with: a version, a key.
pub(super) fn models_url(args: &TargetArgs) -> Result<Url, Error> {
    let endpoint = args.endpoint.as_deref().unwrap_or_default();
    let query = endpoint.split_once('?').map_or("", |(_, query)| query);
    let path = args.backend().models_endpoint();
    join(args.first_base_url(), &format!("{path}?{query}"))
}

/// The address of the list of models on the server of an endpoint, whose base is not known.
pub(super) fn models_beside(endpoint: &Url, backend: Backend) -> Url {
    let mut url = endpoint.clone();
    let path = endpoint.path();
    let own = path.strip_suffix(backend.endpoint());
    let base = own.or_else(|| Some(path.split_once("/v1/")?.0));
    url.set_path(&format!(
        "{}{}",
        base.unwrap_or_default(),
        backend.models_endpoint()
    ));
    url
}

pub(super) fn join(base: &str, path: &str) -> Result<Url, Error> {
    let wrong = |reason: String| {
        Error::usage(
            format!("`--base-url` is not an address: {reason}"),
            "write it with its scheme, such as http://127.0.0.1:8000",
        )
    };
    let mut url = Url::parse(base).map_err(|error| wrong(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(wrong("it is neither http nor https".into()));
    }
    // What follows it stays with the client.
    url.set_fragment(None);
    let path = path.split('#').next().unwrap_or_default();
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let prefix = url.path().trim_end_matches('/');
    // Other clients are given the address with the version in it.
    let prefix = if path.starts_with("/v1/") {
        prefix.trim_end_matches("/v1")
    } else {
        prefix
    };
    let whole = format!("{prefix}/{}", path.trim_start_matches('/'));
    url.set_path(&whole);
    let queries = [url.query().unwrap_or_default(), query];
    let queries = queries.into_iter().filter(|query| !query.is_empty());
    let queries = queries.collect::<Vec<_>>().join("&");
    url.set_query(Some(queries.as_str()).filter(|queries| !queries.is_empty()));
    Ok(url)
}

/// The headers of every request: the user's, and a bearer token from the environment.
pub(super) fn headers(
    given: &[String],
    api_key: Option<&str>,
) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let mut headers = Vec::new();
    for header in given {
        // The value may be a secret, so it is not repeated.
        let wrong = || {
            Error::usage(
                "a `--header` is not `Name: value`",
                "write it as Name: value",
            )
        };
        let (name, value) = header.split_once([':', '=']).ok_or_else(wrong)?;
        let name: HeaderName = name.trim().parse().map_err(|_| wrong())?;
        let mut value: HeaderValue = value.trim().parse().map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.push((name, value));
    }
    let has_authorization = headers.iter().any(|(name, _)| name == AUTHORIZATION);
    if let Some(key) = api_key.filter(|key| !key.is_empty() && !has_authorization) {
        let mut value: HeaderValue = format!("Bearer {key}").parse().map_err(|_| {
            Error::usage(
                "OPENAI_API_KEY has characters that no header may have",
                "check its value",
            )
        })?;
        value.set_sensitive(true);
        headers.push((AUTHORIZATION, value));
    }
    Ok(headers)
}

/// Names of the headers of answers that the tape keeps.
fn kept_headers(given: &[String]) -> Result<Vec<String>, Error> {
    let name = |name: &String| match name.parse::<HeaderName>() {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(_) => Err(Error::usage(
            format!("`--keep-header {name}` is no name of a header"),
            "write a name such as x-request-id",
        )),
    };
    given.iter().map(name).collect()
}

/// The user's own fields of the body.
pub(super) fn extra_body(given: Option<&str>) -> Result<Map<String, Value>, Error> {
    let Some(text) = given else {
        return Ok(Map::new());
    };
    match serde_json::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(_) => Err(Error::usage(
            "`--extra-body` is not a JSON object",
            "write {\"field\": value}",
        )),
        Err(error) => Err(Error::usage(
            format!("`--extra-body` is not JSON: {error}"),
            "quote it for the shell: '{\"field\": value}'",
        )),
    }
}

/// Axis → value, from `AXIS=VALUE`.
pub(super) fn labels(
    given: &[String],
) -> Result<std::collections::BTreeMap<String, String>, Error> {
    let mut labels = std::collections::BTreeMap::new();
    for label in given {
        let Some((axis, value)) = label.split_once('=').filter(|(axis, _)| !axis.is_empty()) else {
            return Err(Error::usage(
                format!("`--label {label}` is not AXIS=VALUE"),
                "write it as in batch=4",
            ));
        };
        if labels.insert(axis.to_owned(), value.to_owned()).is_some() {
            return Err(Error::usage(
                format!("the label `{axis}` is given twice"),
                "give each axis one value",
            ));
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{App, Verb};
    use super::*;

    #[test]
    fn a_label_has_one_value() {
        let of = |given: &[&str]| {
            labels(
                &given
                    .iter()
                    .map(|&word| word.to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(&["batch=4", "build=a=b"]).unwrap()["build"], "a=b");
        let twice = of(&["batch=4", "batch=8"]).unwrap_err().to_string();
        assert_eq!(twice, "the label `batch` is given twice");
        assert!(of(&["=4"]).is_err() && of(&["batch"]).is_err());
    }

    fn plan(flags: &[&str]) -> Result<RunPlan, Error> {
        let words = ["tokentape", "load"].iter().chain(flags);
        let Verb::Load(args) = App::parse_from(words).verb else {
            panic!("not load")
        };
        of_load(&args)
    }

    #[test]
    fn a_way_to_choose_servers_needs_several_and_none_is_named_twice() {
        let strategy = ["--url-strategy", "session"];
        let refused = plan(&strategy).unwrap_err().to_string();
        assert!(refused.contains("`--url-strategy`"), "{refused}");
        let two = ["--base-url", "http://a", "--base-url", "http://b"];
        let of = |words: &[&str]| plan(words).unwrap().url_strategy;
        assert_eq!(
            of(&[&two[..], &strategy].concat()),
            Some(UrlStrategy::Session)
        );
        assert_eq!(of(&two), Some(UrlStrategy::RoundRobin));
        assert_eq!(of(&two[..2]), None);
        let urls = |bases: &[&str]| {
            let bases = bases.iter().map(|base| join(base, "/v1/x"));
            check_urls(&bases.collect::<Result<Vec<_>, _>>().unwrap())
        };
        assert!(urls(&["http://h:1", "http://h:2", "http://h:1/b"]).is_ok());
        // Written in another way, or with another key, which the tape does not keep.
        for same in ["http://h:1/", "http://h:1/v1", "http://H:1"] {
            let refused = urls(&["http://h:1", same]).unwrap_err().to_string();
            assert!(refused.contains("`http://h:1/v1/x` twice"), "{refused}");
        }
        assert!(urls(&["http://one:pass@h", "http://two:pass@h"]).is_err());
    }

    #[test]
    fn a_version_in_the_base_address_is_not_doubled() {
        for (base, whole) in [
            ("http://h:1", "http://h:1/v1/completions"),
            ("http://h:1/", "http://h:1/v1/completions"),
            ("http://h:1/v1", "http://h:1/v1/completions"),
            ("http://h:1/v1/", "http://h:1/v1/completions"),
            ("https://h/api", "https://h/api/v1/completions"),
        ] {
            assert_eq!(join(base, "/v1/completions").unwrap().as_str(), whole);
        }
        assert!(join("localhost:8000", "/v1/completions").is_err());
        assert!(join("ftp://h", "/v1/completions").is_err());
    }

    #[test]
    fn a_query_of_the_endpoint_is_sent_as_one() {
        for (base, endpoint, whole) in [
            (
                "http://h:1",
                "/v1/chat?a=1&b=/?",
                "http://h:1/v1/chat?a=1&b=/?",
            ),
            (
                "http://h:1/v1?k=0",
                "/v1/chat?a=1",
                "http://h:1/v1/chat?k=0&a=1",
            ),
            ("http://h:1?k=0#x", "v1/chat", "http://h:1/v1/chat?k=0"),
            ("http://h:1", "/v1/chat?#a", "http://h:1/v1/chat"),
            ("http://h:1", "/a%3Fb?c=%3F#d?e", "http://h:1/a%3Fb?c=%3F"),
        ] {
            assert_eq!(join(base, endpoint).unwrap().as_str(), whole);
        }
    }

    #[test]
    fn a_header_of_the_user_is_stronger_than_the_environment() {
        let given = ["authorization: Basic x".to_owned()];
        let both = headers(&given, Some("key")).unwrap();
        assert_eq!(both.len(), 1);
        assert_eq!(headers(&[], Some("key")).unwrap()[0].1, "Bearer key");
        let error = headers(&["secret-without-colon".into()], None).unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }
}
