//! What a run is to do, made definite.
//!
//! `load`, `replay`, `demo` and `verify` make a plan of what was typed, the manifest of a tape keeps it,
//! `--dry-run` prints it, and `run` drives it again. It is complete but for secrets: those are masked
//! in it, and named where they can be, so that whoever runs it again can give them again.
//!
//! A field is absent where it does not apply, or where the build that wrote the tape did not know it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

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
    /// Seed of every draw.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// What makes the words of prompts others than those of another run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_salt: Option<u64>,
    /// Path of the tokenizer, or [`EMBEDDED_TOKENIZER`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
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

impl RunPlan {
    /// Path of the tokenizer that the user named.
    pub fn own_tokenizer(&self) -> Option<PathBuf> {
        let path = self.tokenizer.as_ref()?;
        (!path.ends_with(", embedded")).then(|| PathBuf::from(path))
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
        let limits = &self.limits;
        let at_least_one = [
            ("max_concurrency", self.max_concurrency.map(u64::from)),
            ("num_prompts", self.num_prompts),
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

/// Writes a path as it is shown: its bytes need not be text.
fn shown<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

fn shown_if_any<S: Serializer>(path: &Option<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    shown(path.as_deref().unwrap_or(Path::new("")), to)
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
            options: Map::new(),
        }
    }
}

/// Which trace is replayed, and what of it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TracePlan {
    /// The file, folder or glob.
    #[serde(serialize_with = "shown")]
    pub path: PathBuf,
    /// Name of the format; none to recognise it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// The user's own mapping.
    #[serde(
        serialize_with = "shown_if_any",
        skip_serializing_if = "Option::is_none"
    )]
    pub map: Option<PathBuf>,
    /// Start of the window, in trace time.
    #[serde(
        rename = "from_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub from_ns: Option<i64>,
    /// Length of the window, in trace time.
    #[serde(
        rename = "for_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub for_ns: Option<i64>,
    /// Trace time that passes in one unit of real time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speed: Option<f64>,
    /// Most rows to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Share of the sessions to take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sample: Option<f64>,
    /// What becomes of rows that the trace marks as failed.
    pub failed: FailedRows,
    /// What becomes of rows with equal times.
    pub ties: Ties,
    /// When the later turns of a session are due.
    pub sessions: SessionPacing,
    /// What the prompts of a session's turns are taken to hold.
    pub session_prompts: SessionPrompts,
    /// Whose replies those prompts hold.
    pub session_replies: SessionReplies,
    /// What becomes of a clock that starts again.
    pub restarts: Restarts,
    /// Longest time without an arrival.
    #[serde(
        rename = "max_idle_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_idle_ns: Option<i64>,
    /// What becomes of the trace's output lengths.
    pub output_length: OutputLength,
}

/// What becomes of rows that the trace marks as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FailedRows {
    /// They are left out and counted
    #[default]
    Skip,
    /// They are sent like all others, with lengths of at least 1 token
    Replay,
}

/// What becomes of rows with equal times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// They are due together, in the order of the file
    #[default]
    Keep,
    /// At even distances, the first at its own time
    Uniform,
    /// At random, as in a Poisson process
    Poisson,
}

/// When the later turns of a session are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SessionPacing {
    /// At their times in the trace, whatever the server does
    #[default]
    Trace,
    /// A think time after the previous reply, where the trace tells it
    Think,
    /// At the later of the two
    Later,
}

/// What the prompts of a session's turns are taken to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SessionPrompts {
    /// What the trace says, or what its prefix blocks show
    #[default]
    Auto,
    /// All that was said in the session
    Whole,
    /// What is new in the turn
    New,
}

/// Whose replies a turn holds that is sent with what was said before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SessionReplies {
    /// The trace's own, and made-up text of the same length where it has none
    #[default]
    Trace,
    /// What the server really said
    Live,
}

/// What becomes of a clock that starts again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Restarts {
    /// It is an error: nobody knows how the recordings lie to each other
    #[default]
    Refuse,
    /// Time goes on where it was: one recording behind the other
    Continue,
}

/// What becomes of the trace's output lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum OutputLength {
    /// Exactly, where the backend knows how, else at most
    #[default]
    Enforce,
    /// At most
    Cap,
    /// The server is told nothing of them
    Free,
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

/// Limits on time, in nanoseconds here and in seconds as JSON.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PlanLimits {
    /// Length of the schedule.
    #[serde(
        rename = "duration_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub duration_ns: Option<i64>,
    /// Time that requests in flight have after a stop.
    #[serde(
        rename = "drain_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub drain_ns: Option<i64>,
    /// Time that one request may take.
    #[serde(
        rename = "request_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub request_timeout_ns: Option<i64>,
    /// Time until the first token.
    #[serde(
        rename = "first_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub first_timeout_ns: Option<i64>,
    /// Time between two reads of one answer.
    #[serde(
        rename = "idle_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub idle_timeout_ns: Option<i64>,
    /// Time that DNS, TCP and TLS may take.
    #[serde(
        rename = "connect_timeout_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub connect_timeout_ns: Option<i64>,
    /// Time after which the client hangs up on the requests of `cancel_rate`.
    #[serde(
        rename = "cancel_after_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub cancel_after_ns: Option<i64>,
    /// Length of the check of the client before the run; 0 leaves it out.
    #[serde(
        rename = "self_check_s",
        with = "seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub self_check_ns: Option<i64>,
    /// Whether the rest is sent where the first requests all failed alike.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub keep_going: bool,
}

/// What a limit is where a plan does not say it, in nanoseconds.
impl PlanLimits {
    /// Time that requests in flight have after a stop.
    pub fn drain(&self) -> i64 {
        self.drain_ns.unwrap_or(30 * NS_PER_S)
    }

    /// Time that one request may take.
    pub fn request_timeout(&self) -> i64 {
        self.request_timeout_ns.unwrap_or(3_600 * NS_PER_S)
    }

    /// Time between two reads of one answer.
    pub fn idle_timeout(&self) -> i64 {
        self.idle_timeout_ns.unwrap_or(120 * NS_PER_S)
    }

    /// Time that DNS, TCP and TLS may take.
    pub fn connect_timeout(&self) -> i64 {
        self.connect_timeout_ns.unwrap_or(10 * NS_PER_S)
    }

    /// Length of the check of the client before the run.
    pub fn self_check(&self) -> i64 {
        self.self_check_ns.unwrap_or(NS_PER_S / 50)
    }
}

/// A second, in nanoseconds.
const NS_PER_S: i64 = 1_000_000_000;

/// Nanoseconds that are written as seconds.
mod seconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(ns: &Option<i64>, to: S) -> Result<S::Ok, S::Error> {
        ns.map(crate::units::seconds).serialize(to)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from a float saturates, and what is no time is refused where it is used"
    )]
    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<i64>, D::Error> {
        let seconds: Option<f64> = Option::deserialize(from)?;
        Ok(seconds.map(|seconds| (seconds * 1e9).round() as i64))
    }
}

/// A rate, which JSON has no number for where it is infinite.
mod rate {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Rate {
        Number(f64),
        Word(Infinite),
    }

    #[derive(Serialize, Deserialize)]
    enum Infinite {
        #[serde(rename = "inf")]
        Infinite,
    }

    pub(super) fn serialize<S: Serializer>(rate: &Option<f64>, to: S) -> Result<S::Ok, S::Error> {
        let rate = rate.map(|rate| match rate.is_finite() {
            true => Rate::Number(rate),
            false => Rate::Word(Infinite::Infinite),
        });
        rate.serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<f64>, D::Error> {
        let rate: Option<Rate> = Option::deserialize(from)?;
        Ok(rate.map(|rate| match rate {
            Rate::Number(rate) => rate,
            Rate::Word(Infinite::Infinite) => f64::INFINITY,
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

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
    }
}
