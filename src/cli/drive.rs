//! `load` and `replay`: from a plan to a tape and its summary.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::DateTime;
use serde_json::{Map, Value};
use url::Url;

use super::analyze::{run_analysis, terminal_options, verdict_code};
use super::args::{DriveArgs, Global, LoadArgs, OutputArgs, ReplayArgs, ShapeArgs, TargetArgs};
use super::goals;
use super::interrupt::{self, RunStage};
use super::output::{Output, WholeFolder, write_error};
use super::talk::{complain, print, print_painted, say};
use super::{ending, hub, masks, metrics, plan, progress, sampling, words};
use crate::analyze::{Options, Slo};
use crate::backend::{Backend, DEFAULT_CHAT, of_plan};
use crate::error::{Error, exit};
use crate::load::{LoadError, Private, Run, RunListener, RunReport, Setup};
use crate::plan::{OutputLength, Process, RunPlan, SessionPrompts, SessionReplies};
use crate::report::{TerminalOptions, csv_files, is_csv_file, json as report_json, terminal};
use crate::runtime::block_on;
use crate::scrape::Source;
use crate::time::clock::utc_now_ns;
use crate::trace::{Pipe, PromptFacts, TraceOptions, TraceRow};
use crate::wire::{Trust, WireKind, get_text};

/// What is to be driven: a plan, and what a plan does not hold.
pub(super) struct Planned {
    pub(super) plan: RunPlan,
    pub(super) private: Private,
    /// Where the server lists its models.
    pub(super) models_url: Url,
    /// The pipe that the trace comes through.
    pub(super) pipe: Option<Pipe>,
    /// What is said before the run starts.
    pub(super) notes: Vec<String>,
}

impl Planned {
    /// Adds to a plan where its requests go.
    fn of(mut plan: RunPlan, args: &DriveArgs) -> Result<Self, Error> {
        let extra_body = sampling::extra_body(args)?;
        let connection = &args.target.connection;
        let trust = trust(connection.ca_cert.as_deref(), connection.insecure)?;
        let sources = metrics::typed(&args.metrics, &trust)?;
        metrics::name_sources(&mut plan, &sources);
        let private = private(&args.target, extra_body, sources)?;
        plan::direct(&mut plan, &private, args.target.connection.wire);
        Ok(Self {
            private,
            models_url: plan::models_url(&args.target)?,
            pipe: None,
            notes: [notes(args, &plan), wire_notes(&plan)].concat(),
            plan,
        })
    }
}

/// What a run leaves behind, and what is shown of it.
pub(super) struct RunOutput {
    /// Folder of the tape; none for a name of its own.
    pub(super) tape: Option<PathBuf>,
    pub(super) goals: Vec<Slo>,
    pub(super) shown: TerminalOptions,
    pub(super) has_summary: bool,
    /// Where the numbers go as JSON.
    pub(super) result: Option<ResultFile>,
    /// The tables go into a folder beside the tape, as CSV.
    pub(super) has_tables: bool,
    pub(super) hides_progress: bool,
}

/// Files for the numbers, opened before the run.
struct ResultOutputs {
    json: Option<Output>,
    /// The folder of the tables.
    tables: Option<PathBuf>,
}

/// A file for the numbers: its folder, and its name where that is not the tape's.
pub(super) struct ResultFile {
    folder: PathBuf,
    name: Option<PathBuf>,
}

impl RunOutput {
    pub(super) fn of(args: &OutputArgs, global: &Global) -> Result<Self, Error> {
        Ok(Self {
            tape: args.out.clone(),
            goals: args.goals.parse()?,
            shown: terminal_options(&args.percentile_metrics, &args.metric_percentiles, global)?,
            has_summary: !args.no_summary,
            result: args.save_result.then(|| ResultFile {
                folder: args.result_dir.clone().unwrap_or_default(),
                name: args.result_filename.clone(),
            }),
            has_tables: args.excel_output,
            hides_progress: args.disable_tqdm,
        })
    }
}

pub(super) fn load(args: &LoadArgs, global: &Global) -> Result<u8, Error> {
    let common = &args.common;
    if let Some(stray) = common.output.goals.strays().first() {
        return Err(goals::not_a_goal(&stray.display().to_string()));
    }
    let output = RunOutput::of(&common.output, global)?;
    let mut planned = Planned::of(plan::of_load(args)?, common)?;
    let process = planned.plan.arrivals.as_ref().map(|one| one.process);
    planned.notes.extend(shape_notes(&args.shape, process));
    planned.notes.extend(session_notes(&planned.plan)?);
    drive(planned, &output, global)
}

pub(super) fn replay(args: &ReplayArgs, global: &Global) -> Result<u8, Error> {
    let common = &args.common;
    let output = RunOutput::of(&common.output, global)?;
    let planned = Planned::of(plan::of_replay(args)?, common)?;
    drive(planned, &output, global)
}

/// What is known of a trace before it is replayed.
struct TraceLook {
    format: String,
    prompts: PromptFacts,
    /// Turns are sent with a history that is put together here, so that it can hold live replies.
    has_live_turns: bool,
    /// Columns that other tools send, and that are not sent.
    dropped: Vec<String>,
    /// The first row has what it was answered.
    has_reply: bool,
}

/// Reads a trace before anything is sent or written, and notes in the plan what it is: its first
/// rows, so that one that can't be read is refused now, or all that the replay will take of it, where
/// that is only planned.
fn look_at_trace(planned: &mut Planned, global: &Global) -> Result<(), Error> {
    let Planned { plan, pipe, .. } = planned;
    let Some(trace) = &mut plan.trace else {
        return Ok(());
    };
    *pipe = Pipe::at(&trace.path);
    if let (Some(pipe), true) = (&pipe, global.dry_run) {
        pipe.forget();
    }
    let options = TraceOptions {
        pipe: pipe.clone(),
        ..TraceOptions::planned(trace, plan.seed.unwrap_or_default())
    };
    let look = async {
        let mut reader = crate::trace::open(&options).await?;
        let first = reader.next().await?;
        let has_live_turns = first
            .as_ref()
            .is_none_or(TraceRow::has_history_put_together);
        let has_reply = first.as_ref().is_none_or(|row| row.reply.is_some());
        while global.dry_run && reader.next().await?.is_some() {}
        reader.ensure_any()?;
        let unread = reader.unread_columns().iter();
        let dropped = unread.filter(|name| plan::is_of_request(name));
        Ok::<_, crate::trace::TraceError>(TraceLook {
            format: reader.format().name.clone(),
            prompts: reader.prompt_facts(),
            has_live_turns,
            dropped: dropped.cloned().collect(),
            has_reply,
        })
    };
    let found =
        block_on(look).map_err(|error| Error::System("start the SQL engine".into(), error))??;
    let replies = trace.session_replies;
    if replies != SessionReplies::Trace && !found.has_live_turns {
        let words = match replies {
            SessionReplies::None => "none",
            _ => "live",
        };
        return Err(Error::usage(
            format!(
                "`--session-replies {words}` needs a trace whose turns have texts and hold only what is new"
            ),
            "leave it out; or add `--session-prompts new` where they do, and nothing says so",
        ));
    }
    if trace.output_length == OutputLength::TraceText && !found.has_reply {
        return Err(Error::usage(
            "`--output-length trace-text` needs a trace with the texts of its answers",
            "give it a column `reply`, as `traces/README.md` says, or a mapping that yields one",
        ));
    }
    tell_of_trace(&found);
    let dropped = found.dropped.join(", ");
    plan.columns_dropped = Some(dropped).filter(|names| !names.is_empty());
    plan.session_prompts = plan::prompts_found(found.prompts).map(str::to_owned);
    trace.format = Some(found.format);
    Ok(())
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

/// Has at hand what a plan names of the Hugging Face hub.
fn fetch(plan: &RunPlan) -> Result<(), Error> {
    if let Some(tokenizer) = plan.own_tokenizer() {
        hub::fetch_tokenizer(&tokenizer)?;
    }
    match &plan.dataset {
        Some(dataset) if dataset.name == "hf" => match &dataset.path {
            Some(path) => hub::fetch_dataset(path, &dataset.options),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Asks for what a plan needs beside the server, unless it is only to be printed.
fn ask_others(planned: &Planned, global: &Global) -> Result<(), Error> {
    if !global.dry_run {
        metrics::check(&planned.private)?;
        return fetch(&planned.plan);
    }
    match planned.plan.asks_server_for_lengths() {
        true => Err(Error::usage(
            "`--tokenizer server` asks the server, and a dry run asks nobody",
            "name the model's tokenizer as a file, or leave out one of the two",
        )),
        false => Ok(()),
    }
}

/// Drives what is planned, and sums it up.
pub(super) fn drive(
    mut planned: Planned,
    output: &RunOutput,
    global: &Global,
) -> Result<u8, Error> {
    look_at_trace(&mut planned, global)?;
    ask_others(&planned, global)?;
    // A plan is made without asking anyone.
    if planned.plan.model.is_none() && !global.dry_run {
        let backend = of_plan(&planned.plan).map_err(LoadError::from)?;
        let http2 = planned.plan.http2 == Some(true);
        let model = first_model(backend, &planned.models_url, &planned.private, http2)?;
        planned.plan.model = Some(model);
    }
    let has_name = output.tape.is_some();
    let tape = match &output.tape {
        Some(tape) => tape.clone(),
        None if global.dry_run => PathBuf::new(),
        None => default_tape(),
    };
    let ran = execute(planned, tape.clone(), output, global);
    let ran = ran.inspect_err(|_| {
        if !has_name && !global.dry_run {
            // Of the name that was taken; a tape that was begun is not empty.
            let _ = fs::remove_dir(&tape);
        }
    })?;
    let Some((results, report)) = ran else {
        return Ok(exit::DONE);
    };
    say(&format!("tape: {}", tape.display()));
    let summary = || {
        let ResultOutputs { json, tables } = results;
        if !output.has_summary && json.is_none() && tables.is_none() {
            return Ok(exit::DONE);
        }
        ending::announce_summary(&report);
        let options = Options {
            slos: output.goals.clone(),
            percentiles: output.shown.percentiles.clone(),
            ..Options::default()
        };
        let analysis = run_analysis(std::slice::from_ref(&tape), &options)?;
        if output.has_summary {
            print_painted(&terminal(&analysis, &output.shown))?;
        }
        if let Some(json) = json {
            json.write(format!("{:#}\n", report_json(&analysis)))?;
        }
        if let Some(folder) = tables {
            let files = csv_files(&analysis)?;
            WholeFolder::draft(&folder, global.force, &files)?.keep(is_csv_file)?;
            say(&format!(
                "wrote {} tables to `{}`",
                files.len(),
                folder.display()
            ));
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

/// Says where requests go and what goes with them, with the key from the environment, and what must
/// not be repeated of it.
pub(super) fn private(
    args: &TargetArgs,
    extra_body: Map<String, Value>,
    sources: Vec<Source>,
) -> Result<Private, Error> {
    let urls = plan::endpoint_urls(args)?;
    let key = api_key(&urls);
    let connection = &args.connection;
    Ok(Private {
        trust: trust(connection.ca_cert.as_deref(), connection.insecure)?,
        ..private_for(urls, (&args.header, key), extra_body, sources)?
    })
}

/// Whose certificates are believed: those of the authorities in a file, of anyone, or as the system does.
pub(super) fn trust(ca_cert: Option<&Path>, believes_any: bool) -> Result<Trust, Error> {
    let Some(path) = ca_cert else {
        return Ok(match believes_any {
            true => Trust::Anyone,
            false => Trust::System,
        });
    };
    let pem = fs::read(path).map_err(|source| Error::File {
        verb: "read",
        path: path.to_owned(),
        source,
    })?;
    Trust::authorities(pem).map_err(|error| {
        Error::usage(
            format!(
                "`{}` can't be used as `--ca-cert`: {}",
                path.display(),
                error.message
            ),
            "give a file of certificates that begin with `-----BEGIN CERTIFICATE-----`",
        )
    })
}

/// The key from the environment, unless an address has credentials: those are the user's own words for
/// its server.
pub(super) fn api_key(urls: &[Url]) -> Option<String> {
    let has_credentials = |url: &Url| !url.username().is_empty() || url.password().is_some();
    let key = std::env::var("OPENAI_API_KEY").ok();
    key.filter(|_| !urls.iter().any(has_credentials))
}

/// As [`private`], of these addresses, with these headers and this key, and with what is scraped.
pub(super) fn private_for(
    urls: Vec<Url>,
    (header, api_key): (&[String], Option<String>),
    extra_body: Map<String, Value>,
    metric_sources: Vec<Source>,
) -> Result<Private, Error> {
    Ok(Private {
        headers: plan::headers(header, api_key.as_deref())?,
        secrets: masks::secrets(header, &urls, &extra_body, &metric_sources),
        urls,
        extra_body,
        metric_sources,
        trust: Trust::System,
    })
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

/// Asks the server which model it serves, over HTTP/2 where requests go over it.
pub(super) fn first_model(
    backend: Backend,
    url: &Url,
    private: &Private,
    http2: bool,
) -> Result<String, Error> {
    let secrets = &private.secrets;
    let unknown = |message: String| {
        let message = secrets.mask(&message);
        let hint = if message.contains("401") || message.contains("403") {
            "set OPENAI_API_KEY, or give `--header \"Authorization: Bearer KEY\"`"
        } else if http2 {
            "check `--base-url`, leave out `--http2`, which the server may not speak, or name the \
             model with `--model`"
        } else {
            "check `--base-url`, or name the model with `--model`"
        };
        Error::Target {
            message: format!(
                "could not ask `{}` which model it serves: {message}",
                masks::masked(url)
            ),
            hint: Some(hint.into()),
        }
    };
    let headers = private.headers_for(backend);
    let text = block_on(get_text(url, &headers, &private.trust, http2))
        .map_err(|error| Error::System("start the client".into(), error))?
        .map_err(|error| unknown(error.message))?;
    let list: Value = serde_json::from_str(&text).map_err(|error| unknown(error.to_string()))?;
    let model = backend.first_model(&list);
    let model = model.ok_or_else(|| unknown("its list of models is empty".into()))?;
    if secrets.mask(model) != model {
        return Err(unknown("the name of its first model holds a secret".into()));
    }
    Ok(model.to_owned())
}

/// Drives the run. Returns what it came to, and where its numbers go too; none where the plan was only
/// to be printed.
fn execute(
    planned: Planned,
    tape: PathBuf,
    output: &RunOutput,
    global: &Global,
) -> Result<Option<(ResultOutputs, RunReport)>, Error> {
    let stage = Arc::new(RunStage::new(planned.plan.limits.drain()));
    let setup = Setup {
        tape: tape.clone(),
        replaces: global.force,
        host: super::host::describe(),
        pipe: planned.pipe,
        stop: interrupt::listen_for(Arc::clone(&stage))?,
    };
    let run = Run::planned(planned.plan, planned.private, setup)?;
    for note in planned.notes.iter().cloned().chain(run.feed.notes()) {
        say(&note);
    }
    if global.dry_run {
        print(&format!(
            "{:#}\n",
            Value::Object(run.manifest.plan.fields())
        ))?;
        return Ok(None);
    }
    let results = ResultOutputs {
        json: result_file(output, &tape, global.force)?,
        tables: match output.has_tables {
            true => Some(tables_folder(&tape, global.force)?),
            false => None,
        },
    };
    let total = run.feed.source.known_count();
    let shown = progress::show(total, output.hides_progress);
    let mut listeners: Vec<Arc<dyn RunListener>> = vec![stage.counters()];
    listeners.extend(shown.as_ref().map(progress::Progress::listener));
    let report = crate::load::run(run, listeners);
    drop(shown);
    let report = report?;
    let _ = stage.tape.set(tape);
    ending::tell(&report);
    Ok(Some((results, report)))
}

/// What is said of flags before a run: of those that have no effect among others.
fn notes(args: &DriveArgs, plan: &RunPlan) -> Vec<String> {
    let mut notes = Vec::new();
    if args.request.tokenizer.is_none() {
        let with = match plan.own_tokenizer() {
            Some(_) => "the tokenizer in the folder of `--model`",
            None => "the embedded o200k_base; `--tokenizer` names the model's own",
        };
        notes.push(format!("note: lengths are counted with {with}"));
    }
    if plan.asks_server_for_lengths() {
        notes.push(
            "note: the server counts what the data set has, before the run; made-up prompts have lengths of \
             the embedded o200k_base"
                .to_owned(),
        );
    }
    let output = &args.output;
    let of_others = [
        ("--tokenizer-mode", args.request.tokenizer_mode.is_some()),
        ("--trust-remote-code", args.request.trust_remote_code),
        ("--save-detailed", output.save_detailed),
    ];
    for (flag, _) in of_others.iter().filter(|(_, is_given)| *is_given) {
        notes.push(format!("note: `{flag}` has no effect here"));
    }
    let of_results = [
        ("--result-dir", output.result_dir.is_some()),
        ("--result-filename", output.result_filename.is_some()),
    ];
    for (flag, is_given) in of_results {
        if is_given && !output.save_result {
            notes.push(format!(
                "note: `{flag}` has no effect without `--save-result`"
            ));
        }
    }
    notes
}

/// What is said of flags that the wire does not heed.
fn wire_notes(plan: &RunPlan) -> Vec<String> {
    if plan.wire.as_deref() != Some(WireKind::Reqwest.name()) {
        return Vec::new();
    }
    let of_direct = [
        ("--prewarm-connections", plan.prewarm_connections.is_some()),
        ("--readers", plan.readers.is_some()),
    ];
    let unheeded = of_direct.iter().filter(|(_, is_given)| *is_given);
    unheeded
        .map(|(flag, _)| format!("note: `{flag}` has no effect on the reqwest wire"))
        .collect()
}

/// What is said of flags that the arrivals of a load do not heed.
fn shape_notes(args: &ShapeArgs, process: Option<Process>) -> Vec<String> {
    let (why, heeds_arrivals) = match process {
        Some(Process::Closed) => (
            "in a closed loop, where a request follows the one before",
            false,
        ),
        Some(Process::Burst) => ("where all requests are due at once", false),
        Some(Process::Constant | Process::Poisson) => (
            "on these arrivals: `gamma` and `weibull` have a shape",
            true,
        ),
        _ => return Vec::new(),
    };
    let of_flags = [
        ("--arrivals", args.arrivals.is_some() && !heeds_arrivals),
        ("--burstiness", (args.burstiness - 1.0).abs() > f64::EPSILON),
    ];
    let unheeded = of_flags.iter().filter(|(_, is_unheeded)| *is_unheeded);
    unheeded
        .map(|(flag, _)| format!("note: `{flag}` has no effect {why}"))
        .collect()
}

/// What is to be said of sessions before they begin.
fn session_notes(plan: &RunPlan) -> Result<Vec<String>, Error> {
    let mut notes = Vec::new();
    if words::are_translated() {
        let command = masks::typed_command();
        notes.push(format!(
            "note: flags of another tool are read as: {command}"
        ));
    }
    let backend = of_plan(plan).map_err(LoadError::from)?;
    if plan.sessions.is_some() && !backend.is_chat() {
        notes.push(format!(
            "note: requests of the backend `{}` hold one text, so that of each turn the messages stand in \
             it below each other; `--backend {DEFAULT_CHAT}` sends them as messages",
            backend.name()
        ));
    }
    Ok(notes)
}

/// The folder for the tables of a tape, beside it.
fn tables_folder(tape: &Path, replaces: bool) -> Result<PathBuf, Error> {
    let folder = tape.with_extension("csv");
    WholeFolder::check(&folder, replaces)?;
    Ok(folder)
}

fn result_file(output: &RunOutput, tape: &Path, replaces: bool) -> Result<Option<Output>, Error> {
    let Some(ResultFile { folder, name }) = &output.result else {
        return Ok(None);
    };
    let of_tape = tape.with_extension("json");
    let name = name.as_deref().or(of_tape.file_name().map(Path::new));
    if !folder.as_os_str().is_empty() {
        fs::create_dir_all(folder).map_err(|source| write_error(folder, source))?;
    }
    Output::open(&folder.join(name.unwrap_or(tape)), replaces).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

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
