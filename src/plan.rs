//! What a run is to do, made definite.
//!
//! `load`, `replay`, `demo` and `verify` make a plan of what was typed, the manifest of a tape keeps it,
//! `--dry-run` prints it, and `run` drives it again. It is complete but for secrets: those are masked
//! in it, and named where they can be, so that whoever runs it again can give them again.
//!
//! A field is absent where it does not apply, or where the build that wrote the tape did not know it.

mod limits;
mod sessions;
mod spelling;
mod trace;

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

pub use limits::PlanLimits;
pub use sessions::{FailedTurn, SessionsPlan};
use spelling::{rate, shown_if_any};
pub use trace::{
    FailedRows, OutputLength, Restarts, SessionPacing, SessionPrompts, SessionReplies, Ties,
    TracePlan,
};

/// The plan of a run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunPlan {
    /// The command line that made it, quoted for a shell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The verb that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<String>,
    /// Name of the protocol.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    /// The protocol itself, where it is one of the user's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backend_template: Option<String>,
    /// Where requests go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The other servers that requests go to, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more_urls: Vec<String>,
    /// Which of them a request goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url_strategy: Option<UrlStrategy>,
    /// Model to ask for; none to ask the server for its first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// LoRA adapters, one of which each request asks for in the model's place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lora_modules: Vec<String>,
    /// Which of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lora_assignment: Option<LoraAssignment>,
    /// Names of the headers that go with each request.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub header_names: Vec<String>,
    /// Values of those that are no secrets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// When requests are due, where no trace says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// Number of requests; none where a length alone ends the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_prompts: Option<u64>,
    /// What is sent, where no trace says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<Dataset>,
    /// How sessions are driven, where what is sent are conversations: then the arrivals are theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sessions: Option<SessionsPlan>,
    /// The trace that is replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace: Option<TracePlan>,
    /// What the prompts of the trace's sessions were found to hold: `whole` or `new`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_prompts: Option<String>,
    /// Columns of the trace that other tools send, and that are not sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns_dropped: Option<String>,
    /// Requests in flight at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrency: Option<u32>,
    /// Requests before the schedule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_warmups: Option<u64>,
    /// Share of the requests that the client hangs up on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cancel_rate: Option<f64>,
    /// Attempts at a request after the first one, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u8>,
    /// Seed of every draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What makes the words of prompts others than those of another run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_salt: Option<u64>,
    /// Path of the tokenizer, or [`EMBEDDED_TOKENIZER`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// File of the chat template that the server has, where it is not the one beside the tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Whether requests ask for exactly the planned output length, where the server knows how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_eos: Option<bool>,
    /// Sampling temperature.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Fields that are merged into every request's body.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub extra_body: Map<String, Value>,
    /// Limits on time.
    pub limits: PlanLimits,
    /// Whether the tape keeps texts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keeps_text: Option<bool>,
    /// What takes the requests to the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wire: Option<String>,
    /// Headers of answers that the tape keeps, in lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept_headers: Vec<String>,
    /// File of the authorities whose certificates are believed, and no others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_cert: Option<PathBuf>,
    /// Whether every certificate is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub insecure: Option<bool>,
    /// Whether connections are kept for the next request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_alive: Option<bool>,
    /// Whether HTTP/2 is spoken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<bool>,
    /// Connections that are opened to each server before the schedule starts, at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prewarm_connections: Option<u32>,
    /// Threads that read; none for as many as the machine has to spare.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub readers: Option<u32>,
    /// Pages of metrics that are scraped, without secrets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub server_metrics: Vec<String>,
    /// Whether this machine is scraped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_metrics: Option<bool>,
    /// Names of the run on axes, for comparisons.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// What other builds wrote.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a plan calls the tokenizer that it needs no file for.
pub const EMBEDDED_TOKENIZER: &str = "o200k, embedded";

/// What a plan calls the tokenizer of the server, which is asked for lengths before the run.
pub const SERVER_TOKENIZER: &str = "server";

impl RunPlan {
    /// Path of the tokenizer that the user named.
    pub fn own_tokenizer(&self) -> Option<PathBuf> {
        let path = self.tokenizer.as_ref()?;
        let is_file = !path.ends_with(", embedded") && !self.asks_server_for_lengths();
        is_file.then(|| PathBuf::from(path))
    }

    /// The server counts the tokens of what a data set has.
    pub fn asks_server_for_lengths(&self) -> bool {
        self.tokenizer.as_deref() == Some(SERVER_TOKENIZER)
    }

    /// The addresses that requests go to.
    pub fn urls(&self) -> impl Iterator<Item = &String> {
        self.url.iter().chain(&self.more_urls)
    }

    /// Open or closed loop.
    pub fn arrival_loop(&self) -> Loop {
        match &self.arrivals {
            Some(arrivals) if arrivals.process == Process::Closed => Loop::Closed,
            _ => Loop::Open,
        }
    }

    /// The plan of a replay, for tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn sample() -> Self {
        let command =
            "tokentape replay burstgpt.csv --speed 4 --base-url http://127.0.0.1:8000".to_owned();
        Self {
            command: Some(command),
            backend: Some("openai-chat".to_owned()),
            model: Some("demo-7b".to_owned()),
            trace: Some(TracePlan {
                path: "burstgpt.csv".into(),
                format: Some("burstgpt".to_owned()),
                speed: Some(4.0),
                ..TracePlan::default()
            }),
            ..Self::default()
        }
    }

    /// Returns why the plan can't be driven, where its numbers make no sense.
    ///
    /// What it asks of arrivals, lengths, traces and the server is checked by those who read it.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.http2 == Some(true) && self.wire.as_deref() == Some("direct") {
            return Err("`http2` is true, and the wire `direct` does not speak it".to_owned());
        }
        let limits = &self.limits;
        let sessions = self.sessions.as_ref();
        let at_least_one = [
            ("max_concurrency", self.max_concurrency.map(u64::from)),
            ("num_prompts", self.num_prompts),
            ("num_sessions", sessions.and_then(|plan| plan.num_sessions)),
            (
                "max_sessions",
                sessions.and_then(|plan| plan.max_sessions).map(u64::from),
            ),
            ("readers", self.readers.map(u64::from)),
        ];
        let above_zero = [
            ("duration_s", limits.duration_ns),
            ("request_timeout_s", limits.request_timeout_ns),
            ("first_timeout_s", limits.first_timeout_ns),
            ("idle_timeout_s", limits.idle_timeout_ns),
            ("connect_timeout_s", limits.connect_timeout_ns),
        ];
        let not_negative = [
            ("drain_s", limits.drain_ns),
            ("cancel_after_s", limits.cancel_after_ns),
            ("self_check_s", limits.self_check_ns),
        ];
        if self
            .cancel_rate
            .is_some_and(|share| !(0.0..=1.0).contains(&share))
        {
            return Err("`cancel_rate` is no share from 0 to 1".to_owned());
        }
        if let Some((name, _)) = at_least_one.iter().find(|(_, n)| *n == Some(0)) {
            return Err(format!("`{name}` is 0"));
        }
        if let Some(trace) = &self.trace
            && trace.session_replies == SessionReplies::Live
            && trace.sessions == SessionPacing::Trace
        {
            return Err(
                "`session_replies` is `live`, and `sessions` has no turn wait for a reply"
                    .to_owned(),
            );
        }
        let too_small = above_zero
            .iter()
            .find(|(_, ns)| ns.is_some_and(|ns| ns <= 0));
        let negative = not_negative
            .iter()
            .find(|(_, ns)| ns.is_some_and(|ns| ns < 0));
        match too_small.or(negative) {
            Some((name, _)) => Err(format!("`{name}` is no length of time")),
            None => Ok(()),
        }
    }

    /// The plan as a JSON object.
    pub fn fields(&self) -> Map<String, Value> {
        match serde_json::to_value(self) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        }
    }
}

/// Reads a plan that may be `null`: of a run that was driven by no command.
pub(crate) fn or_default<'de, D: Deserializer<'de>>(plan: D) -> Result<RunPlan, D::Error> {
    Ok(Option::deserialize(plan)?.unwrap_or_default())
}

/// How arrivals are driven, which decides which form of a latency is the headline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loop {
    /// Arrivals come at their own times, whatever the server does.
    Open,
    /// The next request starts when a slot becomes free.
    Closed,
}

/// When requests are due.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Arrivals {
    /// How gaps are distributed.
    pub process: Process,
    /// Shape of gamma and Weibull gaps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burstiness: Option<f64>,
    /// Requests a second, `inf` for all at once.
    #[serde(default, with = "rate", skip_serializing_if = "Option::is_none")]
    pub request_rate: Option<f64>,
    /// A rate that rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ramp_up: Option<RampUp>,
    /// What other kinds of schedules keep of their flags (`schedule/`).
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

/// How the gaps between arrivals are distributed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// A request is due when a slot is free.
    #[serde(rename = "closed loop")]
    Closed,
    /// All requests are due at once.
    #[serde(rename = "all at once")]
    Burst,
    /// Even gaps.
    Constant,
    /// Exponential gaps.
    Poisson,
    /// Gamma gaps.
    Gamma,
    /// Weibull gaps.
    Weibull,
}

/// A rate that rises over the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RampUp {
    /// How it rises.
    pub strategy: RampStrategy,
    /// `time` or `requests`; older plans do not say along what it rises.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub along: Option<String>,
    /// Rate at the start, in requests a second.
    pub start_rps: f64,
    /// Rate at the end, in requests a second.
    pub end_rps: f64,
}

/// How a rate rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum RampStrategy {
    /// A straight line in time
    Linear,
    /// By equal factors in equal times
    Exponential,
    /// By equal steps from request to request, as vLLM's `linear`
    LinearIndex,
    /// By equal factors from request to request, as vLLM's `exponential`
    ExponentialIndex,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dataset {
    /// Name of the kind of data set (`workload/mod.rs`).
    pub name: String,
    /// Where it is, of one that is a file.
    #[serde(
        default,
        serialize_with = "shown_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub path: Option<PathBuf>,
    /// Whether the run ends when all of it was sent, in place of sending the same again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_oversample: bool,
    /// Whether the records of a file are sent in their order, in place of a sample of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disable_shuffle: bool,
    /// What the kind keeps of its flags.
    #[serde(flatten)]
    pub options: Map<String, Value>,
}

impl Dataset {
    /// A data set of that kind, without options.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: None,
            no_oversample: false,
            disable_shuffle: false,
            options: Map::new(),
        }
    }
}

/// Which of several servers a request goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum UrlStrategy {
    /// To each in its turn
    #[default]
    RoundRobin,
    /// All turns of a session to the same one, by a hash of its id; what belongs to no session goes as
    /// in round-robin, by its number
    Session,
}

/// Which of several LoRA adapters a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum LoraAssignment {
    /// One that is drawn, each as often as the others
    #[default]
    Random,
    /// One after the other
    RoundRobin,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NS_PER_S: i64 = 1_000_000_000;

    fn read(text: Value) -> RunPlan {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn a_plan_is_the_same_after_a_journey_through_json() {
        let plan = RunPlan {
            backend: Some("openai-chat".into()),
            arrivals: Some(Arrivals {
                process: Process::Burst,
                burstiness: None,
                request_rate: Some(f64::INFINITY),
                ramp_up: Some(RampUp {
                    strategy: RampStrategy::LinearIndex,
                    along: Some("requests".into()),
                    start_rps: 1.0,
                    end_rps: 9.5,
                }),
                options: Map::from_iter([("rate_steps".to_owned(), json!("1/s:1s"))]),
            }),
            dataset: Some(Dataset {
                path: Some("a.json".into()),
                options: Map::from_iter([("random_input_len".to_owned(), json!(7))]),
                ..Dataset::named("random")
            }),
            trace: Some(TracePlan {
                path: "a.csv".into(),
                from_ns: Some(1_000_000_001),
                max_idle_ns: Some(60 * NS_PER_S),
                ties: Ties::Poisson,
                ..TracePlan::default()
            }),
            limits: PlanLimits {
                duration_ns: Some(86_400 * 30 * NS_PER_S + 1),
                ..PlanLimits::default()
            },
            seed: Some(u64::MAX),
            extra_body: Map::from_iter([("top_k".to_owned(), json!(3))]),
            ..RunPlan::default()
        };
        let json = Value::Object(plan.fields());
        assert_eq!(json["arrivals"]["request_rate"], "inf");
        assert_eq!(json["trace"]["max_idle_s"], 60.0);
        assert_eq!(json["dataset"]["name"], "random");
        assert_eq!(read(json), plan);
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<RunPlan>(&text).unwrap(), plan);
    }

    #[test]
    fn a_plan_of_an_older_build_is_read_with_nothing_lost() {
        let old = json!({
            "verb": "load", "backend": "openai", "url": "http://h/v1/completions", "model": "m",
            "header_names": ["authorization"], "keeps_text": false, "wire": "direct",
            "arrivals": { "process": "gamma", "burstiness": 1.0, "request_rate": 4.5 },
            "num_prompts": null, "max_concurrency": null, "temperature": null, "extra_body": {},
            "limits": { "duration_s": 20.0, "drain_s": 30.0, "first_timeout_s": null },
            "streams": 4, "a_later_field": [1, 2],
        });
        let plan = read(old.clone());
        assert_eq!(plan.arrivals.as_ref().unwrap().request_rate, Some(4.5));
        assert_eq!(plan.limits.duration_ns, Some(20 * NS_PER_S));
        assert_eq!(plan.limits.idle_timeout(), 120 * NS_PER_S);
        let again = plan.fields();
        assert_eq!(again["streams"], old["streams"]);
        assert_eq!(again["a_later_field"], old["a_later_field"]);
    }

    #[test]
    fn numbers_that_make_no_sense_are_named() {
        let why = |plan: Value| read(plan).check();
        assert_eq!(
            why(json!({ "max_concurrency": 1, "limits": { "drain_s": 0 } })),
            Ok(())
        );
        for (plan, name) in [
            (json!({ "max_concurrency": 0 }), "max_concurrency"),
            (json!({ "num_prompts": 0 }), "num_prompts"),
            (json!({ "limits": { "duration_s": 0 } }), "duration_s"),
            (
                json!({ "limits": { "idle_timeout_s": -1.5 } }),
                "idle_timeout_s",
            ),
            (json!({ "limits": { "drain_s": -1 } }), "drain_s"),
        ] {
            assert!(why(plan).unwrap_err().contains(name), "{name}");
        }
    }

    #[test]
    fn a_path_that_is_no_text_is_written_as_it_is_shown() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt as _;
        let path = PathBuf::from(OsStr::from_bytes(b"tr\xff.csv"));
        let trace = TracePlan {
            map: Some(path.clone()),
            path,
            ..TracePlan::default()
        };
        let json = serde_json::to_value(trace).unwrap();
        assert_eq!(json["path"], "tr\u{fffd}.csv");
        assert_eq!(json["map"], json["path"]);
    }

    #[test]
    fn the_embedded_tokenizer_is_not_the_users() {
        let of = |name: &str| {
            let plan = RunPlan {
                tokenizer: Some(name.into()),
                ..RunPlan::default()
            };
            plan.own_tokenizer()
        };
        assert_eq!(of(EMBEDDED_TOKENIZER), None);
        assert_eq!(of("a/tokenizer.json"), Some("a/tokenizer.json".into()));
        assert_eq!(of(SERVER_TOKENIZER), None);
        assert_eq!(of("./server"), Some("./server".into()));
    }
}
