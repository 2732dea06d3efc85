//! From a plan to a run that is ready to go.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use chrono::DateTime;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};
use tokio::sync::watch;
use url::Url;

use super::adapters::Adapters;
use super::error::LoadError;
use super::feed::{Feed, Source, TraceReplay};
use super::hang_up::HangUp;
use super::limits::Limits;
use super::open_files::max_in_flight;
use super::retries::Retries;
use super::run::Run;
use super::self_check::SelfCheckPlan;
use super::server_tokenizer::{ServerTokenizer, base_of};
use super::session_turns::SessionLoad;
use super::stop::Stop;
use super::template::RequestTemplate;
use crate::backend::{self, Backend, BackendError, ExactLength, Inputs, check_extra_body};
use crate::capture::manifest::Host;
use crate::capture::{Label, Manifest};
use crate::flag::defaults;
use crate::plan::{OutputLength, Process, RunPlan, SessionReplies};
use crate::schedule::{Bounds, schedule};
use crate::scrape::Source as MetricsSource;
use crate::secrets::Secrets;
use crate::time::clock::utc_now_ns;
use crate::trace::{Pipe, TraceOptions};
use crate::units::duration;
use crate::wire::{Target, Trust, WireKind};
use crate::workload::{
    Conversations, DATASETS, Dataset, DatasetPath, DatasetSetup, OpenDataset, PromptCounter,
    PromptForm, TokenCounter, Tokenizer, Workload, WorkloadError, dataset_kind, kinds_in,
};

/// Tokens a second that a stream is taken to bring where nothing is known of the server.
const STREAM_TOKENS_PER_S: f64 = 50.0;

/// Threads that read at most, where the plan names no number.
const MAX_SPARE_READERS: usize = 4;

/// Streams at once that are checked for where nothing tells how many there will be.
const UNKNOWN_STREAMS: f64 = 64.0;

/// What goes to the server, secrets and all: in a plan those are masked.
#[derive(Debug, Clone)]
pub struct Private {
    /// The full addresses of the endpoint, of one or several servers.
    pub urls: Vec<Url>,
    /// Headers of every request, beside content type and length.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Fields that are merged into every request's body.
    pub extra_body: Map<String, Value>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// What of all this, and of the sources' addresses, must not be repeated.
    pub secrets: Secrets,
    /// Sources of metrics to scrape meanwhile.
    pub metric_sources: Vec<MetricsSource>,
}

/// What a run is, beside its plan.
#[derive(Debug)]
pub struct Setup {
    /// Folder of the tape.
    pub tape: PathBuf,
    /// A tape that is there already may be replaced.
    pub replaces: bool,
    /// The machine that drives the load.
    pub host: Host,
    /// The pipe that the trace comes through, where it does and was looked into.
    pub pipe: Option<Pipe>,
    /// The user's wish to stop.
    pub stop: watch::Receiver<Stop>,
}

impl Private {
    /// Headers of whatever is asked of the servers of a protocol: the user's, and what those need.
    pub fn headers_for(&self, backend: Backend) -> Vec<(HeaderName, HeaderValue)> {
        with_own(self.headers.clone(), backend.headers())
    }
}

impl Run {
    /// Makes a plan ready to be driven. Reads the tokenizer and the data set; writes and sends nothing.
    ///
    /// # Errors
    ///
    /// [`LoadError`] for a plan that makes no sense, or a tokenizer that can't be read.
    pub fn planned(plan: RunPlan, private: Private, setup: Setup) -> Result<Self, LoadError> {
        plan.check().map_err(senseless)?;
        let backend = backend::of_plan(&plan)?;
        check_extra_body(&private.extra_body)?;
        check_backend(&plan, backend)?;
        let accept = ("accept", backend.framing().media_type());
        let headers = with_own(private.headers_for(backend), &[accept]);
        let wire = wire(&plan)?;
        let own_tokenizer = plan.own_tokenizer();
        let tokenizer = Arc::new(Tokenizer::open(own_tokenizer.as_deref())?);
        // The embedded tokenizer is no server's own, so its counts would pass for more than they are.
        let count_tokens = own_tokenizer.is_some().then(|| counter(&tokenizer));
        let limits = limits(&plan);
        let workload = Arc::new(workload(&plan, &tokenizer));
        let sent = opened(&plan, &private, (backend, &workload), count_tokens.as_ref());
        // The tokenizer is read while the data set is; where it can't be, that is what went wrong.
        tokenizer.check()?;
        let sent = sent?;
        let prompt_counter = prompt_counter(&plan, &private, (backend, &tokenizer))?
            .map(|counter| counter.measured_by(&workload));
        let source = source(&plan, setup.pipe, sent)?;
        let template = RequestTemplate {
            backend,
            model: plan.model.clone().unwrap_or_default(),
            adapters: adapters(&plan),
            ignore_eos: plan.ignore_eos.unwrap_or_default(),
            output_length: match &plan.trace {
                Some(trace) => trace.output_length,
                None => OutputLength::Cap,
            },
            session_replies: session_replies(&plan),
            temperature: plan.temperature,
            extra_body: private.extra_body.clone(),
            workload,
            hang_up: hang_up(&plan),
            keeps_text: plan.keeps_text.unwrap_or_default(),
            prompt_counter,
        };
        let self_check = self_check_plan(&plan, &source);

        let manifest = Manifest {
            labels: plan.labels.clone(),
            seed: plan.seed.unwrap_or_default(),
            target: plan.url.clone().unwrap_or_default(),
            host: setup.host,
            chat_template: (template.prompt_counter.as_ref())
                .and_then(PromptCounter::chat_template)
                .map(|path| path.display().to_string()),
            plan: plan.clone(),
            ..Manifest::new(run_id(), plan.arrival_loop())
        };
        Ok(Self {
            tape: setup.tape,
            replaces: setup.replaces,
            targets: targets(&plan, &private, &headers),
            url_strategy: plan.url_strategy.unwrap_or_default(),
            secrets: private.secrets,
            wire,
            readers: plan.readers.map_or_else(spare_readers, to_count),
            feed: Feed {
                source,
                template,
                warmups: plan.num_warmups.unwrap_or_default(),
            },
            duration_ns: plan.limits.duration_ns,
            limits,
            self_check,
            count_tokens,
            metric_sources: private.metric_sources,
            stop: setup.stop,
            manifest,
        })
    }
}

/// Where requests go, with these headers, each server with its name on the tape: none where there is
/// one alone.
fn targets(
    plan: &RunPlan,
    private: &Private,
    headers: &[(HeaderName, HeaderValue)],
) -> Vec<(Target, Option<Label>)> {
    let urls = &private.urls;
    let target = |url: &Url| Target {
        url: url.clone(),
        headers: headers.to_vec(),
        secrets: private.secrets.clone(),
        trust: private.trust.clone(),
        kept_headers: plan.kept_headers.clone(),
        connect_timeout: duration(plan.limits.connect_timeout()),
        keeps_alive: plan.keep_alive.unwrap_or(true),
        http2: plan.http2.unwrap_or_default(),
    };
    let names = plan.urls().map(|url| Some(Label::from(url.as_str())));
    let names = names
        .filter(|_| urls.len() > 1)
        .chain(std::iter::repeat(None));
    urls.iter().map(target).zip(names).collect()
}

/// Threads that read where the plan names no number: beside the driver and the decoder, and no more
/// than the decoder can follow.
fn spare_readers() -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    cores.saturating_sub(2).clamp(1, MAX_SPARE_READERS)
}

fn to_count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A name for a run that no other run has.
fn run_id() -> String {
    let now_ns = utc_now_ns();
    let started = DateTime::from_timestamp_nanos(now_ns).format("%Y%m%dT%H%M%SZ");
    format!("{started}-{:08x}", now_ns.unsigned_abs() % 0xffff_ffff)
}

/// Adds headers, as far as the user has not given them.
fn with_own(
    mut headers: Vec<(HeaderName, HeaderValue)>,
    own: &[(&'static str, &'static str)],
) -> Vec<(HeaderName, HeaderValue)> {
    for (name, value) in own {
        if !headers.iter().any(|(given, _)| given == name) {
            headers.push((
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            ));
        }
    }
    headers
}

/// A plan that can't be driven.
fn senseless(what: impl Into<String>) -> LoadError {
    LoadError::Plan(what.into())
}

/// Refuses what a plan asks for and its backend can't do.
fn check_backend(plan: &RunPlan, backend: Backend) -> Result<(), BackendError> {
    check_length(plan, backend)?;
    check_input(plan, backend)?;
    check_forced(plan, backend)
}

/// Refuses a plan of exact output lengths where its backend has no way to ask for them.
fn check_length(plan: &RunPlan, backend: Backend) -> Result<(), BackendError> {
    let is_asked = plan.ignore_eos == Some(true);
    match is_asked && backend.exact_length() == ExactLength::Never {
        true => Err(BackendError::NoExactLength {
            backend: backend.name(),
        }),
        false => Ok(()),
    }
}

/// Refuses to have a server say the texts of a trace where its backend has no way to ask for them.
fn check_forced(plan: &RunPlan, backend: Backend) -> Result<(), BackendError> {
    let length = plan.trace.as_ref().map(|trace| trace.output_length);
    let is_asked = length == Some(OutputLength::TraceText);
    match is_asked && backend.forced_output("").is_none() {
        true => Err(BackendError::NoForcedOutput {
            backend: backend.name(),
        }),
        false => Ok(()),
    }
}

/// Refuses what requests of the backend can't hold.
fn check_input(plan: &RunPlan, backend: Backend) -> Result<(), BackendError> {
    let kind = plan
        .dataset
        .as_ref()
        .and_then(|one| dataset_kind(&one.name));
    let has_audio = kind.is_some_and(|kind| kind.has_audio) && plan.trace.is_none();
    let name = backend.name();
    match (backend.inputs(), has_audio) {
        (Inputs::Audio, false) => Err(BackendError::NoText { backend: name }),
        (Inputs::Text, true) => Err(BackendError::NoAudio { backend: name }),
        _ => Ok(()),
    }
}

fn wire(plan: &RunPlan) -> Result<WireKind, LoadError> {
    match plan.wire.as_deref() {
        None => Ok(WireKind::Direct),
        Some(name) => WireKind::named(name)
            .ok_or_else(|| senseless(format!("its wire `{name}` is not known"))),
    }
}

/// Counts tokens by a tokenizer.
fn counter(tokenizer: &Arc<Tokenizer>) -> TokenCounter {
    let tokenizer = Arc::clone(tokenizer);
    Arc::new(move |text: &str| tokenizer.count(text))
}

/// The server's own tokenizer, where lengths are to be of it.
fn server_tokenizer(
    plan: &RunPlan,
    private: &Private,
    backend: Backend,
) -> Result<Option<Arc<ServerTokenizer>>, LoadError> {
    let Some(endpoint) = private
        .urls
        .first()
        .filter(|_| plan.asks_server_for_lengths())
    else {
        return Ok(None);
    };
    let server = ServerTokenizer::new(
        base_of(endpoint),
        plan.model.clone().unwrap_or_default(),
        private.headers_for(backend),
        (private.trust.clone(), private.secrets.clone()),
    );
    let server = server.map_err(|error| LoadError::System("client that asks for counts", error))?;
    Ok(Some(Arc::new(server)))
}

/// Counts prompts as the server does, where the tokenizer is the user's: the embedded one is no
/// server's own, so that its counts would pass for more than they are.
fn prompt_counter(
    plan: &RunPlan,
    private: &Private,
    (backend, tokenizer): (Backend, &Arc<Tokenizer>),
) -> Result<Option<PromptCounter>, LoadError> {
    let template = plan.chat_template.as_deref();
    let Some(path) = plan.own_tokenizer() else {
        return match template {
            Some(_) => Err(senseless("it has a chat template and no tokenizer")),
            None => Ok(None),
        };
    };
    let form = match (backend.is_chat(), template) {
        (true, _) => PromptForm::of_chat(template.map(Path::new), &path)?,
        (false, None) => PromptForm::Text,
        (false, Some(_)) => {
            let name = backend.name();
            return Err(senseless(format!(
                "it has a chat template, and its backend `{name}` is no chat"
            )));
        }
    };
    let fields = private.extra_body.clone();
    Ok(Some(PromptCounter::new(
        Arc::clone(tokenizer),
        form,
        fields,
    )))
}

/// Which adapters requests ask for.
fn adapters(plan: &RunPlan) -> Adapters {
    Adapters {
        names: plan.lora_modules.clone(),
        assignment: plan.lora_assignment.unwrap_or_default(),
        seed: plan.seed.unwrap_or_default(),
    }
}

/// On which requests the client hangs up.
fn hang_up(plan: &RunPlan) -> Option<HangUp> {
    Some(HangUp {
        share: plan.cancel_rate?,
        after_ns: plan.limits.cancel_after_ns.unwrap_or_default(),
        seed: plan.seed.unwrap_or_default(),
    })
}

fn limits(plan: &RunPlan) -> Limits {
    let limits = &plan.limits;
    Limits {
        max_concurrency: plan
            .max_concurrency
            .and_then(|cap| usize::try_from(cap).ok()),
        max_in_flight: max_in_flight(),
        drain_ns: limits.drain(),
        request_timeout_ns: limits.request_timeout(),
        first_timeout_ns: limits.first_timeout_ns,
        idle_timeout_ns: Some(limits.idle_timeout()),
        gives_up: !limits.keep_going,
        retries: Retries {
            most: plan.retries.unwrap_or_default(),
            seed: plan.seed.unwrap_or_default(),
        },
        prewarm_connections: plan.prewarm_connections.map_or(0, to_count),
    }
}

/// Makes prompts. Where the user names no tokenizer, nothing here or later unpacks a vocabulary.
fn workload(plan: &RunPlan, tokenizer: &Arc<Tokenizer>) -> Workload {
    let workload = Workload::new(tokenizer, plan.seed.unwrap_or_default());
    match plan.prompt_salt {
        Some(salt) => workload.with_salt(salt),
        None => workload,
    }
}

/// Whose replies later turns hold.
fn session_replies(plan: &RunPlan) -> SessionReplies {
    match (&plan.trace, &plan.sessions) {
        (Some(trace), _) => trace.session_replies,
        (None, Some(sessions)) => sessions.replies,
        (None, None) => SessionReplies::default(),
    }
}

/// What is sent, by the data set.
enum Sent {
    /// Nothing of a data set: a trace says it.
    ByTrace,
    Requests(Box<dyn Dataset>),
    Conversations(Box<dyn Conversations>),
}

/// Where requests come from.
fn source(plan: &RunPlan, pipe: Option<Pipe>, sent: Sent) -> Result<Source, LoadError> {
    let seed = plan.seed.unwrap_or_default();
    match (&plan.trace, &plan.arrivals, sent) {
        (Some(trace), _, _) => Ok(Source::Trace(TraceReplay {
            options: TraceOptions {
                pipe,
                ..TraceOptions::planned(trace, seed)
            },
            pacing: trace.sessions,
        })),
        (None, Some(arrivals), Sent::Conversations(conversations)) => {
            let sessions = plan.sessions.as_ref();
            let sessions = sessions.ok_or_else(|| {
                senseless("its data set are conversations, and it has no `sessions`")
            })?;
            if arrivals.process == Process::Closed && sessions.max_sessions.is_none() {
                return Err(senseless(
                    "nothing bounds its sessions: it has no `max_sessions`",
                ));
            }
            let limits = [
                sessions.num_sessions,
                conversations.count().filter(|_| !repeats(plan)),
            ];
            let bounds = Bounds {
                seed,
                count: limits.into_iter().flatten().min(),
                duration_ns: plan.limits.duration_ns,
            };
            Ok(Source::Sessions(SessionLoad {
                starts: schedule(arrivals, bounds)?,
                conversations,
                max_sessions: sessions.max_sessions.map(to_count),
                max_requests: plan.num_prompts,
                on_failed_turn: sessions.on_failed_turn,
            }))
        }
        (None, Some(arrivals), Sent::Requests(dataset)) => {
            let limits = [plan.num_prompts, dataset.limit()];
            let bounds = Bounds {
                seed,
                count: limits.into_iter().flatten().min(),
                duration_ns: plan.limits.duration_ns,
            };
            Ok(Source::Made {
                schedule: schedule(arrivals, bounds)?,
                dataset,
            })
        }
        (None, _, _) => Err(senseless("it has neither a trace nor arrivals")),
    }
}

/// Whether what a data set has is sent again where the run asks for more. Conversations are sent once each
/// where nothing else ends the run.
fn repeats(plan: &RunPlan) -> bool {
    let is_once = plan
        .dataset
        .as_ref()
        .is_some_and(|asked| asked.no_oversample);
    let limits = plan.limits.duration_ns.is_some() || plan.num_prompts.is_some();
    let sessions = plan.sessions.as_ref();
    let ends = sessions.is_none_or(|sessions| limits || sessions.num_sessions.is_some());
    !is_once && ends
}

/// Opens the data set of a plan, with lengths by the server where that is asked for them.
fn opened(
    plan: &RunPlan,
    private: &Private,
    (backend, workload): (Backend, &Arc<Workload>),
    count_tokens: Option<&TokenCounter>,
) -> Result<Sent, LoadError> {
    match server_tokenizer(plan, private, backend)? {
        Some(server) => server.counting(|count| sent(plan, backend, workload, Some(count))),
        None => sent(plan, backend, workload, count_tokens),
    }
}

/// Opens the data set of a plan.
fn sent(
    plan: &RunPlan,
    backend: Backend,
    workload: &Arc<Workload>,
    count_tokens: Option<&TokenCounter>,
) -> Result<Sent, LoadError> {
    if plan.trace.is_some() {
        return Ok(Sent::ByTrace);
    }
    let asked = plan.dataset.as_ref();
    let name = asked.map_or(DATASETS[0].name, |asked| &asked.name);
    let kind = dataset_kind(name)
        .ok_or_else(|| senseless(format!("its data set `{name}` is not known")))?;
    let kinds = asked.map(|asked| kinds_in(kind, &asked.options));
    let wrong = |message| LoadError::Workload(WorkloadError::Lengths { message });
    let kinds = kinds.transpose().map_err(wrong)?;
    let kinds = kinds.unwrap_or_else(|| vec![kind]);
    let flags = || kinds.iter().flat_map(|kind| kind.flags);
    let is_known = |name: &str| flags().any(|flag| flag.key() == name);
    let mut given = asked.iter().flat_map(|asked| asked.options.keys());
    if let Some(stray) = given.find(|name| !is_known(name)) {
        return Err(senseless(format!(
            "its data set `{name}` has no field `{stray}`"
        )));
    }
    let is_once = asked.is_some_and(|asked| asked.no_oversample);
    if is_once && kind.path == DatasetPath::None {
        return Err(senseless(format!(
            "its data set `{name}` has no end that `no_oversample` could keep to"
        )));
    }
    let mut options: Map<_, _> = kinds.iter().flat_map(|kind| defaults(kind.flags)).collect();
    options.extend(asked.iter().flat_map(|asked| asked.options.clone()));
    let sessions = plan.sessions.as_ref();
    let setup = DatasetSetup {
        options: &options,
        path: asked.and_then(|asked| asked.path.as_deref()),
        workload: Arc::clone(workload),
        count_tokens: count_tokens.cloned(),
        count: match kind.open {
            OpenDataset::Requests(_) => plan.num_prompts,
            OpenDataset::Conversations(_) => sessions.and_then(|plan| plan.num_sessions),
        },
        repeats: repeats(plan),
        is_shuffled: asked.is_none_or(|asked| !asked.disable_shuffle),
        is_chat: backend.is_chat(),
        kinds: DATASETS,
    };
    let opened = match kind.open {
        OpenDataset::Requests(open) => open(setup)?,
        OpenDataset::Conversations(_) if plan.asks_server_for_lengths() => {
            return Err(senseless(format!(
                "its data set `{name}` is counted while the run goes on, when the server must not be asked: \
                 name the model's tokenizer as a file"
            )));
        }
        OpenDataset::Conversations(open) => return Ok(Sent::Conversations(open(setup)?)),
    };
    if opened.has_images() && !backend.holds_images() {
        let backend = backend.name();
        return Err(BackendError::NoImages { backend }.into());
    }
    Ok(Sent::Requests(opened))
}

/// What to find out about this client before the run, at the run's own rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the check has bounds of its own"
)]
fn self_check_plan(plan: &RunPlan, source: &Source) -> Option<SelfCheckPlan> {
    let streams = expected_streams(plan, source);
    let duration_ns = plan.limits.self_check();
    (duration_ns > 0).then(|| SelfCheckPlan {
        duration_ns,
        streams: streams.ceil() as usize,
        events_per_s: streams * STREAM_TOKENS_PER_S,
    })
}

/// Streams at once that the load comes to, as far as that can be known without the server: a stream
/// is taken to bring [`STREAM_TOKENS_PER_S`]. Of a trace nobody knows it.
fn expected_streams(plan: &RunPlan, source: &Source) -> f64 {
    let max_sessions = plan.sessions.as_ref().and_then(|plan| plan.max_sessions);
    let caps = [plan.max_concurrency, max_sessions];
    let cap = caps.into_iter().flatten().min().map(f64::from);
    let (schedule, output_tokens) = match source {
        Source::Made { schedule, dataset } => (schedule, dataset.typical_output_tokens()),
        // How many of them think at a time is not known.
        Source::Sessions(_) => return cap.unwrap_or(UNKNOWN_STREAMS),
        Source::Trace(_) => return cap.unwrap_or(UNKNOWN_STREAMS),
    };
    let Some(output_tokens) = output_tokens else {
        return cap.unwrap_or(UNKNOWN_STREAMS);
    };
    let count = plan.num_prompts.map_or(f64::INFINITY, |count| {
        f64::from(u32::try_from(count).unwrap_or(u32::MAX))
    });
    let offered = schedule.peak_per_s() * f64::from(output_tokens) / STREAM_TOKENS_PER_S;
    offered.min(cap.unwrap_or(f64::INFINITY)).min(count)
}
