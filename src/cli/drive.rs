//! `load` and `replay`: from a plan to a tape and its summary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::DateTime;
use serde_json::{Map, Value, json};
use url::Url;

use super::analyze::{run_analysis, terminal_options, verdict_code};
use super::args::{
    DriveArgs, FailedRows, Global, LimitArgs, LoadArgs, OutputLengthArg, ReplayArgs, RequestArgs,
    RestartsArg, SessionsArg, TargetArgs, TiesArg, WireArg,
};
use super::goals;
use super::interrupt::{self, RunStage};
use super::output::{Output, write_error};
use super::plan::{self, LoadShape, STREAM_TOKENS_PER_S, Shape};
use super::talk::{complain, print, print_painted, say};
use super::{ending, masks, progress};
use crate::analyze::Options;
use crate::capture::Manifest;
use crate::capture::manifest::Loop;
use crate::draw::{Draw, field};
use crate::error::{Error, exit};
use crate::load::clock::utc_now_ns;
use crate::load::{
    Feed, Limits, OutputLength, RequestTemplate, Run, RunReport, SelfCheckPlan, SessionPacing,
    Source, TokenCounter, TraceReplay, max_in_flight,
};
use crate::report::{json as report_json, terminal};
use crate::schedule::ArrivalTimes;
use crate::sql::block_on;
use crate::trace::{Pipe, PromptFacts, Selection, SessionPrompts, Ties, TraceOptions};
use crate::units::duration;
use crate::wire::{Target, WireKind, get_text};
use crate::workload::{RandomLengths, Tokenizer, Workload};

/// What `load` and `replay` differ in.
struct Schedule {
    verb: &'static str,
    source: Source,
    arrival_loop: Loop,
    lengths: Option<RandomLengths>,
    /// Streams at once, as far as that can be known before.
    expected_streams: Option<f64>,
    /// What the plan says of it.
    json: Value,
    /// What becomes of the planned output length.
    output_length: OutputLength,
    /// The planned output length is part of the schedule, so it is enforced where it can be.
    keeps_lengths: bool,
}

pub(super) fn load(args: &LoadArgs, global: &Global) -> Result<u8, Error> {
    let common = &args.common;
    if let Some(stray) = common.output.goals.strays().first() {
        return Err(goals::not_a_goal(&stray.display().to_string()));
    }
    let limits = &common.limits;
    let shape = LoadShape::new(&args.shape, limits.max_concurrency, limits.duration)?;
    let source = match shape.shape {
        Shape::Closed => Source::Rates {
            times: None,
            count: shape.count,
        },
        Shape::Burst => Source::Burst {
            count: shape.count.unwrap_or_default(),
        },
        Shape::Rate(process, ramp) => {
            let bounds = (shape.count, limits.duration);
            let times = ArrivalTimes::new(
                process,
                ramp,
                common.request.seed.unwrap_or_default(),
                bounds,
            )?;
            Source::Rates {
                times: Some(times),
                count: shape.count,
            }
        }
    };
    let dataset = &args.dataset;
    let mut json = shape.json();
    json["dataset"] = plan::dataset_json(dataset);
    let schedule = Schedule {
        verb: "load",
        expected_streams: Some(
            shape.expected_streams(dataset.random_output_len, limits.max_concurrency),
        ),
        source,
        arrival_loop: shape.arrival_loop(),
        lengths: Some(RandomLengths {
            input_tokens: dataset.random_input_len,
            output_tokens: dataset.random_output_len,
            range_ratio: dataset.random_range_ratio,
            prefix_tokens: dataset.random_prefix_len,
        }),
        json,
        output_length: OutputLength::Limited,
        keeps_lengths: false,
    };
    drive(schedule, common, global)
}

pub(super) fn replay(args: &ReplayArgs, global: &Global) -> Result<u8, Error> {
    let common = &args.common;
    let options = trace_options(args)?;
    let found = look_at_trace(&options, global)?;
    let mut json = json!({ "trace": plan::selection_json(&args.selection) });
    json["trace"]["path"] = json!(options.path.display().to_string());
    json["trace"]["format"] = json!(found.format);
    // On top, where the run card of a report shows it.
    json["session_prompts"] = json!(plan::prompts_found(found.prompts));
    json["columns_dropped"] = json!((!found.dropped.is_empty()).then(|| found.dropped.join(", ")));
    tell_of_trace(&found);
    let schedule = Schedule {
        verb: "replay",
        source: Source::Trace(TraceReplay {
            options,
            pacing: match args.selection.sessions {
                SessionsArg::Trace => SessionPacing::Trace,
                SessionsArg::Think => SessionPacing::Think,
                SessionsArg::Later => SessionPacing::Later,
            },
        }),
        arrival_loop: Loop::Open,
        lengths: None,
        expected_streams: None,
        json,
        output_length: match args.selection.output_length {
            OutputLengthArg::Enforce | OutputLengthArg::Cap => OutputLength::Limited,
            OutputLengthArg::Free => OutputLength::Free,
        },
        keeps_lengths: args.selection.output_length == OutputLengthArg::Enforce,
    };
    drive(schedule, common, global)
}

/// What is known of a trace before it is replayed.
struct TraceLook {
    format: String,
    prompts: PromptFacts,
    /// Columns that other tools send, and that are not sent.
    dropped: Vec<String>,
}

/// Reads a trace before anything is sent or written: its first rows, so that one that can't be
/// read is refused now, or all that the replay will take of it, where that is only planned.
fn look_at_trace(options: &TraceOptions, global: &Global) -> Result<TraceLook, Error> {
    if let (Some(pipe), true) = (&options.pipe, global.dry_run) {
        pipe.forget();
    }
    let look = async {
        let mut reader = crate::trace::open(options).await?;
        while reader.next().await?.is_some() && global.dry_run {}
        let unread = reader.unread_columns().iter();
        let dropped = unread.filter(|name| plan::is_of_request(name));
        Ok::<_, crate::trace::TraceError>(TraceLook {
            format: reader.format().name.clone(),
            prompts: reader.prompt_facts(),
            dropped: dropped.cloned().collect(),
        })
    };
    let found =
        block_on(look).map_err(|error| Error::System("start the SQL engine".into(), error))??;
    Ok(found)
}

/// Says what becomes of a trace's prompts, where that is not plain.
fn tell_of_trace(found: &TraceLook) {
    if found.prompts.rows > 0 {
        let why = match found.prompts.asked {
            SessionPrompts::New => "",
            _ => "; `--session-prompts whole` sends them as they are",
        };
        say(&format!(
            "note: the turns of sessions hold only what is new in them, and are sent with the prompts \
             and replies before them{why}"
        ));
    }
    if !found.dropped.is_empty() {
        say(&format!(
            "note: not sent, as the format `{}` does not read it: {}",
            found.format,
            found.dropped.join(", ")
        ));
    }
}

fn trace_options(args: &ReplayArgs) -> Result<TraceOptions, Error> {
    let selection = &args.selection;
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
    Ok(TraceOptions {
        pipe: Pipe::at(&path),
        path,
        format: selection.format.clone(),
        map: selection.map.clone(),
        session_prompts: selection.session_prompts.meant(),
        continues_clock: selection.restarts == RestartsArg::Continue,
        selection: Selection {
            from_ns: selection.from,
            for_ns: selection.window,
            speed: selection.speed,
            limit: selection.limit,
            sample: selection.sample,
            seed: args.common.request.seed.unwrap_or_default(),
            keeps_failed: selection.failed == FailedRows::Replay,
            ties: match selection.ties {
                TiesArg::Keep => Ties::Keep,
                TiesArg::Uniform => Ties::Uniform,
                TiesArg::Poisson => Ties::Poisson,
            },
            max_idle_ns: selection.max_idle,
        },
    })
}

fn drive(schedule: Schedule, args: &DriveArgs, global: &Global) -> Result<u8, Error> {
    let goals = args.output.goals.parse()?;
    let output = &args.output;
    let shown = terminal_options(
        &output.percentile_metrics,
        &output.metric_percentiles,
        global,
    )?;
    let prepared = prepare(schedule, args, global)?;
    if global.dry_run {
        print(&format!("{:#}\n", prepared.manifest.plan))?;
        return Ok(exit::DONE);
    }
    say_once(args);
    let tape = match &args.output.out {
        Some(tape) => tape.clone(),
        None => default_tape(),
    };
    let ran = result_file(args, &tape, global.force).and_then(|result| {
        let report = execute(prepared, tape.clone(), args, global)?;
        Ok((result, report))
    });
    let (result, report) = ran.inspect_err(|_| {
        if args.output.out.is_none() {
            // Of the name that was taken; a tape that was begun is not empty.
            let _ = fs::remove_dir(&tape);
        }
    })?;
    say(&format!("tape: {}", tape.display()));
    let summary = || {
        if args.output.no_summary && result.is_none() {
            return Ok(exit::DONE);
        }
        ending::announce_summary(&report);
        let options = Options {
            slos: goals,
            percentiles: shown.percentiles.clone(),
            ..Options::default()
        };
        let analysis = run_analysis(std::slice::from_ref(&tape), &options)?;
        if !output.no_summary {
            print_painted(&terminal(&analysis, &shown))?;
        }
        if let Some(result) = result {
            result.write(format!("{:#}\n", report_json(&analysis)))?;
        }
        Ok(verdict_code(&analysis, global))
    };
    // What the run came to is said and returned whatever becomes of its summary.
    let summed_up = summary().unwrap_or_else(|error: Error| {
        complain(&error);
        error.exit_code()
    });
    let code = match ending::code(&report) {
        exit::DONE => summed_up,
        code => code,
    };
    if let Some(error) = report.trace_error {
        complain(&Error::from(error));
        return Ok(exit::IO);
    }
    Ok(code)
}

/// A run that is ready to go.
struct Prepared {
    manifest: Manifest,
    target: Target,
    wire: WireKind,
    self_check: Option<SelfCheckPlan>,
    feed: Feed,
    limits: Limits,
    count_tokens: Option<TokenCounter>,
}

fn prepare(schedule: Schedule, args: &DriveArgs, global: &Global) -> Result<Prepared, Error> {
    let backend = args.target.backend;
    let extra_body = plan::extra_body(args.request.extra_body.as_deref())?;
    let target = target(&args.target, args.limits.connect_timeout, &extra_body)?;
    backend.check_extra_body(&extra_body)?;
    let labels = plan::labels(&args.output.label)?;
    let model = match &args.target.model {
        Some(model) => model.clone(),
        // A plan is made without asking anyone.
        None if global.dry_run => String::new(),
        None => first_model(&args.target, &target)?,
    };
    let wire = wire(args.target.connection.wire, &target);
    let self_check = self_check_plan(&args.limits, schedule.expected_streams);
    let limits = limits(&args.limits);
    let salt = prompt_salt(&args.request);
    let (tokenizer, workload) = workload(args, salt, schedule.lengths.clone())?;
    // The embedded tokenizer is no server's own, so its counts would pass for more than they are.
    let counts_tokens = args.request.tokenizer.is_some();
    let ignore_eos =
        args.request.ignore_eos || (schedule.keeps_lengths && backend.asks_for_running_usage());
    let mut plan = plan_json(
        &schedule,
        args,
        (&target, wire),
        (&model, ignore_eos, &limits, &extra_body),
    );
    plan["prompt_salt"] = json!(salt);
    let manifest = manifest(&schedule, args, plan, (masks::masked(&target.url), labels));
    let count_tokens: Option<TokenCounter> = counts_tokens.then(|| {
        let count: TokenCounter = Arc::new(move |text: &str| tokenizer.count(text));
        count
    });
    let feed = Feed {
        source: schedule.source,
        template: RequestTemplate {
            backend,
            model,
            ignore_eos,
            output_length: schedule.output_length,
            temperature: args.request.temperature,
            extra_body,
            workload,
            keeps_text: args.output.keep.is_some(),
            count_tokens: count_tokens.clone(),
        },
        warmups: args.request.num_warmups,
    };
    Ok(Prepared {
        manifest,
        target,
        wire,
        self_check,
        feed,
        limits,
        count_tokens,
    })
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

/// Opens the tokenizer and makes the source of prompts. Where the user names no tokenizer, nothing
/// here or later unpacks a vocabulary.
fn workload(
    args: &DriveArgs,
    salt: Option<u64>,
    lengths: Option<RandomLengths>,
) -> Result<(Arc<Tokenizer>, Workload), Error> {
    let tokenizer = Arc::new(Tokenizer::open(args.request.tokenizer.as_deref())?);
    let mut workload = Workload::new(&tokenizer, args.request.seed.unwrap_or_default());
    if let Some(salt) = salt {
        workload = workload.with_salt(salt);
    }
    if let Some(lengths) = lengths {
        workload = workload.with_lengths(lengths)?;
    }
    Ok((tokenizer, workload))
}

/// What to find out about this client before the run, at the run's own rate.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the check has bounds of its own"
)]
fn self_check_plan(args: &LimitArgs, expected_streams: Option<f64>) -> Option<SelfCheckPlan> {
    // Of a trace nobody knows it before; the bounds of the check stand in.
    let streams = expected_streams.unwrap_or_else(|| args.max_concurrency.map_or(64.0, f64::from));
    (args.self_check > 0).then(|| SelfCheckPlan {
        duration_ns: args.self_check,
        streams: streams.ceil() as usize,
        events_per_s: streams * STREAM_TOKENS_PER_S,
    })
}

/// Says where requests go, with the key from the environment, and what must not be repeated of it
/// and of the fields of their bodies.
pub(super) fn target(
    args: &TargetArgs,
    connect_timeout_ns: i64,
    extra_body: &Map<String, Value>,
) -> Result<Target, Error> {
    let url = plan::endpoint_url(args)?;
    // Credentials in the address are the user's own words for this server.
    let has_credentials = !url.username().is_empty() || url.password().is_some();
    let api_key = std::env::var("OPENAI_API_KEY")
        .ok()
        .filter(|_| !has_credentials);
    let headers = plan::headers(&args.header, api_key.as_deref())?;
    Ok(Target {
        secrets: masks::secrets(&args.header, &url, extra_body),
        url,
        headers,
        connect_timeout: duration(connect_timeout_ns),
        keeps_alive: !args.connection.no_keep_alive,
    })
}

/// Says what takes the requests there.
pub(super) fn wire(asked: WireArg, target: &Target) -> WireKind {
    match asked {
        WireArg::Auto => WireKind::for_url(&target.url),
        WireArg::Direct => WireKind::Direct,
        WireArg::Reqwest => WireKind::Reqwest,
    }
}

fn limits(args: &LimitArgs) -> Limits {
    Limits {
        max_concurrency: args
            .max_concurrency
            .and_then(|cap| usize::try_from(cap).ok()),
        max_in_flight: max_in_flight(),
        drain_ns: args.drain,
        request_timeout_ns: args.request_timeout,
        first_timeout_ns: args.first_timeout,
        idle_timeout_ns: Some(args.idle_timeout),
        gives_up: !args.keep_going,
    }
}

fn plan_json(
    schedule: &Schedule,
    args: &DriveArgs,
    (target, wire): (&Target, WireKind),
    (model, ignore_eos, limits, extra_body): (&str, bool, &Limits, &Map<String, Value>),
) -> Value {
    let mut plan = json!({
        "command": masks::masked_command(std::env::args()),
        "verb": schedule.verb,
        "backend": plan::value_name(args.target.backend),
        "url": masks::masked(&target.url),
        "model": Some(model).filter(|model| !model.is_empty()),
        "header_names": target.headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
    });
    if let (Value::Object(plan), Value::Object(own)) = (&mut plan, &schedule.json) {
        plan.extend(own.clone());
    }
    plan["max_concurrency"] = json!(limits.max_concurrency);
    plan["num_warmups"] = json!(args.request.num_warmups);
    plan["seed"] = json!(args.request.seed.unwrap_or_default());
    plan["tokenizer"] = match &args.request.tokenizer {
        Some(path) => json!(path.display().to_string()),
        None => json!("o200k, embedded"),
    };
    plan["ignore_eos"] = json!(ignore_eos);
    plan["temperature"] = json!(args.request.temperature);
    plan["extra_body"] = masks::masked_fields(extra_body);
    plan["limits"] = plan::limits_json(limits, args.limits.duration);
    plan["keeps_text"] = json!(args.output.keep.is_some());
    plan["wire"] = json!(wire.name());
    plan["keep_alive"] = json!(target.keeps_alive);
    plan
}

fn manifest(
    schedule: &Schedule,
    args: &DriveArgs,
    plan: Value,
    (target, labels): (String, std::collections::BTreeMap<String, String>),
) -> Manifest {
    Manifest {
        labels,
        plan,
        seed: args.request.seed.unwrap_or_default(),
        target,
        host: super::host::describe(),
        ..Manifest::new(run_id(), schedule.arrival_loop)
    }
}

/// A name for a run that no other run has.
pub(super) fn run_id() -> String {
    let now_ns = utc_now_ns();
    let started = DateTime::from_timestamp_nanos(now_ns).format("%Y%m%dT%H%M%SZ");
    format!("{started}-{:08x}", now_ns.unsigned_abs() % 0xffff_ffff)
}

/// Takes a name that no other run has, also none that starts in the same second, by making its folder.
fn default_tape() -> PathBuf {
    let now = DateTime::from_timestamp_nanos(utc_now_ns());
    let name = format!("tokentape-{}", now.format("%Y%m%dT%H%M%SZ"));
    free_name(&name, |path| fs::create_dir(path).is_ok())
}

/// The first tape of that name, with a number from the second on, that can be taken: nobody chose the
/// name.
fn free_name(name: &str, take: impl Fn(&Path) -> bool) -> PathBuf {
    let first = PathBuf::from(format!("{name}.tape"));
    let others = (2..1_000).map(|number| PathBuf::from(format!("{name}-{number}.tape")));
    let mut paths = std::iter::once(first.clone()).chain(others);
    paths.find(|path| take(path)).unwrap_or(first)
}

/// Asks the server which model it serves.
pub(super) fn first_model(args: &TargetArgs, target: &Target) -> Result<String, Error> {
    let url: Url = plan::models_url(args)?;
    let unknown = |message: String| {
        let message = target.secrets.mask(&message);
        let hint = if message.contains("401") || message.contains("403") {
            "set OPENAI_API_KEY, or give `--header \"Authorization: Bearer KEY\"`"
        } else {
            "check `--base-url`, or name the model with `--model`"
        };
        Error::Target {
            message: format!(
                "could not ask `{}` which model it serves: {message}",
                masks::masked(&url)
            ),
            hint: Some(hint.into()),
        }
    };
    let text = block_on(get_text(&url, &target.headers))
        .map_err(|error| Error::System("start the client".into(), error))?
        .map_err(|error| unknown(error.message))?;
    let list: Value = serde_json::from_str(&text).map_err(|error| unknown(error.to_string()))?;
    let model = list["data"][0]["id"].as_str();
    let model = model.ok_or_else(|| unknown("its list of models is empty".into()))?;
    if target.secrets.mask(model) != model {
        return Err(unknown("the name of its first model holds a secret".into()));
    }
    Ok(model.to_owned())
}

fn execute(
    prepared: Prepared,
    tape: PathBuf,
    args: &DriveArgs,
    global: &Global,
) -> Result<RunReport, Error> {
    let stage = Arc::new(RunStage::new(prepared.limits.drain_ns));
    let stop = interrupt::listen_for(Arc::clone(&stage))?;
    let total = match &prepared.feed.source {
        Source::Rates { count, .. } => *count,
        Source::Burst { count } => Some(*count),
        Source::Trace(_) => None,
    };
    let run = Run {
        tape: tape.clone(),
        replaces: global.force,
        manifest: prepared.manifest,
        target: prepared.target,
        wire: prepared.wire,
        self_check: prepared.self_check,
        feed: prepared.feed,
        duration_ns: args.limits.duration,
        limits: prepared.limits,
        count_tokens: prepared.count_tokens,
        stop,
    };
    let mut shown = None;
    let is_hidden = args.output.disable_tqdm;
    let report = crate::load::run(run, |stats| {
        // It is set once, here.
        let _ = stage.stats.set(Arc::clone(&stats));
        shown = progress::show(stats, total, is_hidden);
    });
    drop(shown);
    let report = report?;
    let _ = stage.tape.set(tape);
    ending::tell(&report);
    Ok(report)
}

/// Flags of other tools that have no effect here are named once.
fn say_once(args: &DriveArgs) {
    let ignored = [
        ("--tokenizer-mode", args.request.tokenizer_mode.is_some()),
        ("--trust-remote-code", args.request.trust_remote_code),
        ("--save-detailed", args.output.save_detailed),
    ];
    if args.request.tokenizer.is_none() {
        say(
            "note: lengths are counted with the embedded o200k_base; `--tokenizer` names the model's own",
        );
    }
    for (flag, _) in ignored.iter().filter(|(_, is_given)| *is_given) {
        say(&format!("note: `{flag}` has no effect here"));
    }
    let output = &args.output;
    let of_results = [
        ("--result-dir", output.result_dir.is_some()),
        ("--result-filename", output.result_filename.is_some()),
    ];
    for (flag, is_given) in of_results {
        if is_given && !output.save_result {
            say(&format!(
                "note: `{flag}` has no effect without `--save-result`"
            ));
        }
    }
}

fn result_file(args: &DriveArgs, tape: &Path, replaces: bool) -> Result<Option<Output>, Error> {
    let output = &args.output;
    if !output.save_result {
        return Ok(None);
    }
    let name = match &output.result_filename {
        Some(name) => name.clone(),
        None => tape
            .with_extension("json")
            .file_name()
            .map(PathBuf::from)
            .unwrap_or_default(),
    };
    let folder = output.result_dir.clone().unwrap_or_default();
    if !folder.as_os_str().is_empty() {
        fs::create_dir_all(&folder).map_err(|source| write_error(&folder, source))?;
    }
    Output::open(&folder.join(name), replaces).map(Some)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{App, Verb};
    use super::*;

    #[test]
    fn a_run_without_a_tokenizer_of_the_users_reads_no_vocabulary() {
        let words = ["tokentape", "load", "--model", "m", "--keep", "text"];
        let Verb::Load(args) = App::parse_from(words).verb else {
            panic!("not load")
        };
        let (tokenizer, workload) = workload(&args.common, None, None).unwrap();
        assert_eq!(workload.random_prompt(0).tokens, 1024);
        assert!(!tokenizer.is_loaded());
    }

    #[test]
    fn a_second_run_in_the_same_second_has_a_name_of_its_own() {
        let name = |taken: &[&str]| {
            let path = free_name("t", |path| {
                !taken.iter().any(|name| path == Path::new(name))
            });
            path.display().to_string()
        };
        assert_eq!(name(&[]), "t.tape");
        assert_eq!(name(&["t.tape"]), "t-2.tape");
        assert_eq!(name(&["t.tape", "t-2.tape"]), "t-3.tape");
    }
}
