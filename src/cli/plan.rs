//! From what was typed to what is meant: pure, so that `--dry-run` shows exactly what would run.

use http::{HeaderName, HeaderValue, header::AUTHORIZATION};
use serde_json::{Map, Value, json};
use url::Url;

use super::args::{Arrivals, DatasetArgs, RampStrategy, SelectionArgs, ShapeArgs, TargetArgs};
use crate::capture::manifest::Loop;
use crate::error::Error;
use crate::load::Limits;
use crate::schedule::{Process, Ramp, RampAxis, RampShape};
use crate::trace::{PromptFacts, SessionPrompts};
use crate::units::seconds;

/// Requests of a schedule that has neither a number nor a length.
const DEFAULT_NUM_PROMPTS: u64 = 1_000;

/// How arrivals come about in `load`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// A request is due when a slot is free.
    Closed,
    /// All requests are due at once.
    Burst,
    /// Arrivals by a process.
    Rate(Process, Ramp),
}

/// Tokens a second that a stream is taken to bring where nothing is known of the server.
pub(super) const STREAM_TOKENS_PER_S: f64 = 50.0;

/// The load shape of `load`, made definite.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LoadShape {
    pub(super) shape: Shape,
    /// Number of requests; none when the duration alone ends the schedule.
    pub(super) count: Option<u64>,
}

impl LoadShape {
    /// Says what the flags mean together; DESIGN: a cap without a finite rate is a closed loop.
    pub(super) fn new(
        args: &ShapeArgs,
        max_concurrency: Option<u32>,
        duration_ns: Option<i64>,
    ) -> Result<Self, Error> {
        let count = args
            .num_prompts
            .or(duration_ns.is_none().then_some(DEFAULT_NUM_PROMPTS));
        let ramp = ramp(args)?;
        let shape = match ramp {
            Some(ramp) => Shape::Rate(process(args), ramp),
            None if max_concurrency.is_some() => Shape::Closed,
            None => Shape::Burst,
        };
        if shape == Shape::Burst && count.is_none() {
            return Err(Error::usage(
                "all requests at once, without end",
                "give `--num-prompts`, a finite `--request-rate`, or `--max-concurrency`",
            ));
        }
        Ok(Self { shape, count })
    }

    /// Streams at once that the load will come to, as far as that can be known without the server:
    /// a stream is taken to bring [`STREAM_TOKENS_PER_S`].
    pub(super) fn expected_streams(&self, output_tokens: u32, max_concurrency: Option<u32>) -> f64 {
        let cap = max_concurrency.map_or(f64::INFINITY, f64::from);
        let count = self.count.map_or(f64::INFINITY, |count| {
            f64::from(u32::try_from(count).unwrap_or(u32::MAX))
        });
        let seconds_each = f64::from(output_tokens) / STREAM_TOKENS_PER_S;
        let offered = match self.shape {
            Shape::Closed | Shape::Burst => f64::INFINITY,
            Shape::Rate(_, Ramp::Steady(per_s)) => per_s * seconds_each,
            Shape::Rate(
                _,
                Ramp::Rising {
                    from_per_s,
                    to_per_s,
                    ..
                },
            ) => from_per_s.max(to_per_s) * seconds_each,
        };
        offered.min(cap).min(count)
    }

    pub(super) fn arrival_loop(&self) -> Loop {
        if self.shape == Shape::Closed {
            Loop::Closed
        } else {
            Loop::Open
        }
    }

    pub(super) fn json(&self) -> Value {
        let arrivals = match self.shape {
            Shape::Closed => json!({ "process": "closed loop" }),
            Shape::Burst => json!({ "process": "all at once", "request_rate": "inf" }),
            Shape::Rate(process, ramp) => {
                let mut value = match process {
                    Process::Constant => json!({ "process": "constant" }),
                    Process::Poisson => json!({ "process": "poisson" }),
                    Process::Gamma { shape } => json!({ "process": "gamma", "burstiness": shape }),
                    Process::Weibull { shape } => {
                        json!({ "process": "weibull", "burstiness": shape })
                    }
                };
                match ramp {
                    Ramp::Steady(rate) => value["request_rate"] = json!(rate),
                    Ramp::Rising {
                        shape,
                        axis,
                        from_per_s,
                        to_per_s,
                    } => {
                        value["ramp_up"] = json!({
                            "strategy": match (shape, axis) {
                                (RampShape::Linear, RampAxis::Time) => "linear",
                                (RampShape::Exponential, RampAxis::Time) => "exponential",
                                (RampShape::Linear, RampAxis::Requests) => "linear-index",
                                (RampShape::Exponential, RampAxis::Requests) => "exponential-index",
                            },
                            "along": match axis {
                                RampAxis::Time => "time",
                                RampAxis::Requests => "requests",
                            },
                            "start_rps": from_per_s,
                            "end_rps": to_per_s,
                        });
                    }
                }
                value
            }
        };
        json!({ "arrivals": arrivals, "num_prompts": self.count })
    }
}

fn process(args: &ShapeArgs) -> Process {
    let shape = args.burstiness;
    match args.arrivals {
        Some(Arrivals::Constant) => Process::Constant,
        Some(Arrivals::Poisson) => Process::Poisson,
        Some(Arrivals::Gamma) | None => Process::Gamma { shape },
        Some(Arrivals::Weibull) => Process::Weibull { shape },
    }
}

fn ramp(args: &ShapeArgs) -> Result<Option<Ramp>, Error> {
    let Some(strategy) = args.ramp_up_strategy else {
        return Ok(args
            .request_rate
            .is_finite()
            .then_some(Ramp::Steady(args.request_rate)));
    };
    if args.request_rate.is_finite() {
        return Err(Error::usage(
            "`--ramp-up-strategy` and a finite `--request-rate` contradict each other",
            "leave out one of them",
        ));
    }
    Ok(Some(Ramp::Rising {
        shape: match strategy {
            RampStrategy::Linear | RampStrategy::LinearIndex => RampShape::Linear,
            RampStrategy::Exponential | RampStrategy::ExponentialIndex => RampShape::Exponential,
        },
        axis: match strategy {
            RampStrategy::Linear | RampStrategy::Exponential => RampAxis::Time,
            RampStrategy::LinearIndex | RampStrategy::ExponentialIndex => RampAxis::Requests,
        },
        from_per_s: args.ramp_up_start_rps.unwrap_or(0.0),
        to_per_s: args.ramp_up_end_rps.unwrap_or(0.0),
    }))
}

pub(super) fn dataset_json(args: &DatasetArgs) -> Value {
    json!({
        "name": "random",
        "random_input_len": args.random_input_len,
        "random_output_len": args.random_output_len,
        "random_range_ratio": args.random_range_ratio,
        "random_prefix_len": args.random_prefix_len,
    })
}

pub(super) fn selection_json(args: &SelectionArgs) -> Value {
    json!({
        "from_s": seconds(args.from),
        "for_s": args.window.map(seconds),
        "speed": args.speed,
        "limit": args.limit,
        "sample": args.sample,
        "failed": value_name(args.failed),
        "ties": value_name(args.ties),
        "sessions": value_name(args.sessions),
        "session_prompts": value_name(args.session_prompts),
        "restarts": value_name(args.restarts),
        "max_idle_s": args.max_idle.map(seconds),
        "output_length": value_name(args.output_length),
    })
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

/// The name of a flag's value as it is typed.
pub(super) fn value_name(value: impl clap::ValueEnum) -> String {
    value
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

pub(super) fn limits_json(limits: &Limits, duration_ns: Option<i64>) -> Value {
    json!({
        "duration_s": duration_ns.map(seconds),
        "drain_s": seconds(limits.drain_ns),
        "request_timeout_s": seconds(limits.request_timeout_ns),
        "first_timeout_s": limits.first_timeout_ns.map(seconds),
        "idle_timeout_s": limits.idle_timeout_ns.map(seconds),
    })
}

/// The address of the endpoint.
pub(super) fn endpoint_url(args: &TargetArgs) -> Result<Url, Error> {
    let endpoint = args
        .endpoint
        .as_deref()
        .unwrap_or(args.backend.default_endpoint());
    join(&args.base_url, endpoint)
}

/// The address of the list of models, with what the endpoint is asked with: a version, a key.
pub(super) fn models_url(args: &TargetArgs) -> Result<Url, Error> {
    let endpoint = args.endpoint.as_deref().unwrap_or_default();
    let query = endpoint.split_once('?').map_or("", |(_, query)| query);
    join(&args.base_url, &format!("/v1/models?{query}"))
}

fn join(base: &str, path: &str) -> Result<Url, Error> {
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

    fn shape(flags: &[&str]) -> Result<LoadShape, Error> {
        let words = ["tokentape", "load"].iter().chain(flags);
        let Verb::Load(args) = App::parse_from(words).verb else {
            panic!("not load")
        };
        let limits = &args.common.limits;
        LoadShape::new(&args.shape, limits.max_concurrency, limits.duration)
    }

    #[test]
    fn a_cap_without_a_finite_rate_is_a_closed_loop() {
        for flags in [
            &["--max-concurrency", "8"][..],
            &["--max-concurrency", "8", "--request-rate", "inf"],
        ] {
            let shape = shape(flags).unwrap();
            assert_eq!(shape.shape, Shape::Closed);
            assert_eq!(shape.arrival_loop(), Loop::Closed);
            assert_eq!(shape.count, Some(1_000));
        }
    }

    #[test]
    fn a_cap_with_a_rate_stays_an_open_loop() {
        let shape = shape(&["--max-concurrency", "8", "--request-rate", "4"]).unwrap();
        let gamma = Process::Gamma { shape: 1.0 };
        assert_eq!(shape.shape, Shape::Rate(gamma, Ramp::Steady(4.0)));
        assert_eq!(shape.arrival_loop(), Loop::Open);
    }

    #[test]
    fn without_rate_and_cap_all_is_due_at_once_and_needs_a_number() {
        assert_eq!(shape(&[]).unwrap().shape, Shape::Burst);
        assert!(shape(&["--duration", "10s"]).is_err());
        let bounded = shape(&["--duration", "10s", "--num-prompts", "5"]).unwrap();
        assert_eq!(bounded.count, Some(5));
    }

    #[test]
    fn a_duration_alone_leaves_the_number_open() {
        let shape = shape(&["--duration", "10s", "--request-rate", "4/s"]).unwrap();
        assert_eq!(shape.count, None);
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
