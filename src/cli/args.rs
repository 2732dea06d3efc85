//! What can be typed: flags, their units and their defaults. No side effects.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::backend::{Backend, DEFAULT_PROTOCOL};
use crate::plan::RampStrategy;
use crate::simulate::ServerSettings;
use crate::units::{
    parse_bytes, parse_duration_ns, parse_positive_duration_ns, parse_rate_per_s, parse_share,
};

mod judge;
mod kinds;
mod language;
mod metrics;
mod prompts;
mod question;
mod sessions;
mod target;
mod tokenize;
mod trace;
mod view;

pub(crate) use judge::{GoalArgs, JudgeArgs, ReportSettingArgs, SloForm, Warmup, WindowArgs};
pub(crate) use kinds::{DatasetArgs, ExportArgs, ScheduleFlags};
pub(crate) use language::Lang;
pub(crate) use metrics::MetricsArgs;
pub(crate) use prompts::{PatternArg, PromptsArgs, parse_count};
pub(crate) use question::QuestionArgs;
pub(crate) use sessions::SessionArgs;
use target::backends;
pub(crate) use target::{BackendArg, ConnectionArgs, SamplingArgs, TargetArgs, WireArg};
pub(crate) use tokenize::{TokenizeArgs, TokenizeForm};
pub(crate) use trace::{
    ChangeArgs, ConvertArgs, InspectArgs, SelectionArgs, ServeGenArgs, SynthesizeArgs, TraceVerb,
};
pub(crate) use view::{FormArgs, ViewArgs};

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    ran, but a stated goal was missed (`--strict`, `--fail-if`)
  2    wrong usage
  3    no request succeeded
  4    could not read or write
  5    a condition could not be decided (`--fail-if`)
  130  interrupted; the tape is complete up to then";

/// Record-and-replay trace analyzer for LLM serving
///
/// Drives a streaming endpoint by a real arrival trace or a synthetic rate, keeps every streamed
/// chunk with its arrival in nanoseconds, and derives every metric by SQL afterwards.
#[derive(Debug, Parser)]
#[command(name = "tokentape", version, after_help = EXIT_CODES, propagate_version = true)]
pub(crate) struct App {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Replace outputs that exist already
    #[arg(long, global = true)]
    pub(crate) force: bool,
    /// End with exit code 1 when the client was the bottleneck
    #[arg(long, global = true)]
    pub(crate) strict: bool,
    /// Print the plan of `load`, `replay` or `run` as JSON and do nothing
    #[arg(long, global = true)]
    pub(crate) dry_run: bool,
    /// Colour of what is printed for people
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(crate) color: Color,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// Where stdout is a terminal and `NO_COLOR` is unset
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Run all of it once, without network or GPU
    ///
    /// Starts the simulated server on a free port, replays a bundled trace against it, writes a
    /// tape, analyses it, and writes an HTML and a Markdown report. Takes about 20 seconds.
    Demo(DemoArgs),
    /// Drive load from an arrival trace
    ///
    /// Reads the public traces (see `trace formats`; CSV, JSONL or Parquet, also gzipped), recognised
    /// by their columns, and any other through `--map`. Every arrival is sent at its own time.
    Replay(Box<ReplayArgs>),
    /// Drive synthetic load: a rate, a concurrency, a ramp
    ///
    /// Flags have the names that `vllm bench serve` has for them. `--max-concurrency` without a rate, or with `inf`,
    /// is a closed loop: a request is due when a slot becomes free. With a finite rate it is a
    /// cap: arrivals queue, and the wait is recorded.
    Load(Box<LoadArgs>),
    /// Drive the plan of a tape once more, or one in a file
    ///
    /// Sends the same requests at the same times: same lengths, words and limits. The plan is that of
    /// a tape, or a file as `load --dry-run` and `replay --dry-run` print it. Secrets are not in
    /// it: give them again, or set OPENAI_API_KEY.
    Run(Box<RunArgs>),
    /// Derive metrics from tapes; with several, compare them
    Analyze(AnalyzeArgs),
    /// Ask tapes a question in SQL
    ///
    /// Views: requests, attempts, chunks, tokens, probes, server_metrics, runs, steps. Times are
    /// `_ns` on the run's own axis, with `_utc` beside them. Several tapes are told apart by `run`.
    Sql(SqlArgs),
    /// Answer the question on stdin
    #[command(name = crate::sql::VERB, hide = true)]
    Answer(AnswerArgs),
    /// Look at the report as a live page, and ask it SQL
    ///
    /// Serves the report of `analyze` on 127.0.0.1 until Ctrl-C, with a form for goals, window,
    /// groups and language, and a page that takes SQL and shows a table and a picture of the
    /// answer. It reads the tapes anew when they have changed and never writes. Whoever has the
    /// address with its token may look: nobody else can, not even another user of this machine.
    View(ViewArgs),
    /// Look at arrival traces, and make new ones
    #[command(subcommand)]
    Trace(TraceVerb),
    /// Count the tokens of prompts as a server does
    ///
    /// With the model's tokenizer and its chat template, and beside it the server's own count
    /// where `--base-url` names one that tells.
    Tokenize(TokenizeArgs),
    /// Make prompts of templates: short or long ones for short or long answers
    ///
    /// Writes a data set that `load --dataset-name custom --dataset-path FILE` sends. Prompts are about
    /// law, medicine, finance, software and ten more domains; no two of them are equal. With
    /// --tokenizer each has exactly the length that was drawn for it, and without one lengths are
    /// estimates.
    ///
    /// pattern              tokens in   tokens out
    /// short-in-long-out    30..50      200..800
    /// long-in-long-out     500..800    300..800
    /// long-in-short-out    500..800    10..30
    ///
    /// On a terminal it asks for --pattern and --count where they are not given.
    #[command(verbatim_doc_comment)]
    Prompts(PromptsArgs),
    /// Serve a simulated LLM with the OpenAI API
    ///
    /// Continuous batching with a cost model: prefill rate, a decode step that grows with the
    /// batch, batch and KV-cache limits, queueing. So that saturation looks like saturation.
    Simulate(SimulateArgs),
    /// Measure this client's own error on this machine
    ///
    /// Runs more and more streams, in closed and in open loop, against `simulate --stamp` in
    /// another process, which writes its own times into its tokens, and prints how far the
    /// client's times are from them: read lag, TTFT, inter-token times, send times. Each rung
    /// is a run like any other, tape included. All of it takes about half a minute.
    Verify(VerifyArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Folder for the tape and the reports
    #[arg(long, value_name = "DIR", default_value = "tokentape-demo")]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The trace: CSV, JSONL or Parquet, also gzipped; a folder or a glob in quotes
    pub(crate) trace: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) selection: SelectionArgs,
    #[command(flatten)]
    pub(crate) common: DriveArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    pub(crate) shape: ShapeArgs,
    #[command(flatten)]
    pub(crate) dataset: DatasetArgs,
    #[command(flatten)]
    pub(crate) sessions: SessionArgs,
    #[command(flatten)]
    pub(crate) common: DriveArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// A tape, or a file with a plan
    #[arg(value_name = "TAPE|PLAN.json")]
    pub(crate) plan: PathBuf,
    /// Send it to another server; may be given several times
    #[arg(long, value_name = "URL", help_heading = "Target")]
    pub(crate) base_url: Vec<String>,
    /// Send it to another endpoint
    #[arg(long, value_name = "PATH", help_heading = "Target")]
    pub(crate) endpoint: Option<String>,
    /// Ask for another model
    #[arg(long, value_name = "NAME", help_heading = "Target")]
    pub(crate) model: Option<String>,
    /// A header of every request, in place of the plan's of that name; may be given several times
    #[arg(long, value_name = "NAME: VALUE", help_heading = "Target")]
    pub(crate) header: Vec<String>,
    /// Fields to merge into every request's body, over the plan's
    #[arg(long, value_name = "JSON", help_heading = "Request")]
    pub(crate) extra_body: Option<String>,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Load shape")]
pub(crate) struct ShapeArgs {
    /// Requests a second: a number, or `inf` for all at once
    #[arg(long, value_name = "RATE", default_value = "inf", value_parser = parse_rate_per_s)]
    pub(crate) request_rate: f64,
    /// How gaps between arrivals are drawn [default: gamma]
    #[arg(long, value_name = "PROCESS")]
    pub(crate) arrivals: Option<ArrivalsArg>,
    /// Shape of gamma and Weibull gaps: 1 is Poisson, below it is burstier
    #[arg(long, value_name = "SHAPE", default_value_t = 1.0)]
    pub(crate) burstiness: f64,
    /// Raise the rate over the run
    ///
    /// `linear` and `exponential` rise along time, over all requests of --num-prompts or, without
    /// that, over --duration: the rate is a straight line in time, or grows by equal factors in
    /// equal times. `linear-index` and `exponential-index` rise along the requests, as
    /// `vllm bench serve` does under the names without `-index`: half of the rise comes with half of
    /// the requests, which in time is a curve that is flat at first and steep at the end.
    #[arg(long, value_name = "SHAPE", requires_all = ["ramp_up_start_rps", "ramp_up_end_rps"])]
    pub(crate) ramp_up_strategy: Option<RampStrategy>,
    /// Rate at the start of a ramp, in requests a second
    #[arg(long, value_name = "RATE", requires = "ramp_up_strategy")]
    pub(crate) ramp_up_start_rps: Option<f64>,
    /// Rate at the end of a ramp, in requests a second
    #[arg(long, value_name = "RATE", requires = "ramp_up_strategy")]
    pub(crate) ramp_up_end_rps: Option<f64>,
    /// Number of requests [default: 1000, or no limit with --duration or for conversations]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) num_prompts: Option<u64>,
    /// Flags of other kinds of schedules.
    #[command(flatten)]
    pub(crate) own: ScheduleFlags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ArrivalsArg {
    /// Even gaps
    Constant,
    /// Exponential gaps
    Poisson,
    /// Gamma gaps, by --burstiness
    Gamma,
    /// Weibull gaps, by --burstiness
    Weibull,
}

/// What `load` and `replay` share.
#[derive(Debug, Args)]
pub(crate) struct DriveArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Request")]
pub(crate) struct RequestArgs {
    /// A Hugging Face `tokenizer.json`, its folder, a model's name on the hub, or `server` [default: o200k,
    /// embedded]
    ///
    /// With `server` the server counts the texts of a data set, before the run: vLLM, SGLang, llama.cpp and
    /// TGI do.
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// The chat template that the server has [default: the one beside the tokenizer]
    ///
    /// A file of Jinja. By it the prompts of chats are counted as the server counts them.
    #[arg(long, value_name = "FILE", requires = "tokenizer")]
    pub(crate) chat_template: Option<PathBuf>,
    /// Accepted for other tools' sake, without effect
    #[arg(long, value_name = "MODE")]
    pub(crate) tokenizer_mode: Option<String>,
    /// Accepted for other tools' sake, without effect
    #[arg(long)]
    pub(crate) trust_remote_code: bool,
    /// Ask for exactly the planned output length, by the field `ignore_eos` (`replay` does so by
    /// itself where the backend is known to take it)
    #[arg(long)]
    pub(crate) ignore_eos: bool,
    /// Sampling temperature [default: the server's own]
    #[arg(long, value_name = "T")]
    pub(crate) temperature: Option<f64>,
    #[command(flatten)]
    pub(crate) sampling: SamplingArgs,
    /// Fields to merge into every request's body, as a JSON object
    #[arg(long, value_name = "JSON")]
    pub(crate) extra_body: Option<String>,
    /// Seed of every draw: the same seed gives the same schedule and prompts [default: 0]
    ///
    /// Without it the schedule is that of seed 0, and the words of prompts are others in each run,
    /// so that no run is answered from what a server has cached of the one before.
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Sends the words of an earlier run, whose plan has this number as `prompt_salt`
    #[arg(long, value_name = "N")]
    pub(crate) prompt_salt: Option<u64>,
    /// Requests that warm the server before the schedule starts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) num_warmups: u64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArgs {
    /// Requests in flight at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_concurrency: Option<u32>,
    /// Length of the schedule, in real time
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration_ns)]
    pub(crate) duration: Option<i64>,
    /// Time that requests in flight have after --duration or Ctrl-C; after --duration those that were
    /// due and could not go out leave within it as well
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration_ns)]
    pub(crate) drain: i64,
    /// Time that one request may take
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_positive_duration_ns)]
    pub(crate) request_timeout: i64,
    /// Time that DNS, TCP and TLS may take
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_positive_duration_ns)]
    pub(crate) connect_timeout: i64,
    /// Time until the first token [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration_ns)]
    pub(crate) first_timeout: Option<i64>,
    /// Time between two reads of one answer
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = parse_positive_duration_ns)]
    pub(crate) idle_timeout: i64,
    /// Attempts at a request after the first one, at most
    ///
    /// A request goes out again, to the same server, where no connection could be opened or it ended
    /// without an answer, and after the statuses 408, 409, 429 and 5xx; not after a limit on time. It
    /// waits for as long as the server asks (`Retry-After`), and is given up where that is over a
    /// minute; else for half a second that doubles each time, up to 8 s, less up to a quarter. It
    /// keeps its slot meanwhile. Each attempt has a row of its own and its own limits on time, and
    /// the last one counts.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub(crate) retries: u8,
    /// Share of the requests that the client hangs up on, 0 to 1, as users do who leave
    ///
    /// They are chosen by --seed, are `cancelled` in the tape with the `error_kind` `hung_up`, and
    /// count neither as failures nor for goals.
    #[arg(long, value_name = "SHARE", requires = "cancel_after", value_parser = parse_share)]
    pub(crate) cancel_rate: Option<f64>,
    /// Time after the send at which the client hangs up on them
    #[arg(long, value_name = "TIME", requires = "cancel_rate", value_parser = parse_duration_ns)]
    pub(crate) cancel_after: Option<i64>,
    /// Send the rest of the schedule where the first 100 requests all failed alike, with no connection
    /// or a refusal of the server's (4xx)
    #[arg(long)]
    pub(crate) keep_going: bool,
    /// Length of the check, before the run, of what this client adds to a latency; 0 leaves it out
    #[arg(long, value_name = "TIME", default_value = "20ms", value_parser = parse_duration_ns)]
    pub(crate) self_check: i64,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Folder of the tape [default: tokentape-<UTC>.tape]
    #[arg(long, value_name = "NAME.tape")]
    pub(crate) out: Option<PathBuf>,
    /// What to keep beside timings
    #[arg(long, value_name = "WHAT")]
    pub(crate) keep: Option<Keep>,
    /// Name this run on an axis, for comparisons: AXIS=VALUE
    #[arg(long, value_name = "AXIS=VALUE")]
    pub(crate) label: Vec<String>,
    /// Leave out the summary at the end
    #[arg(long)]
    pub(crate) no_summary: bool,
    #[command(flatten)]
    pub(crate) goals: GoalArgs,
    /// Metrics of the summary
    #[arg(
        long,
        value_name = "LIST",
        default_value = "ttft,tpot,itl,e2el",
        value_delimiter = ','
    )]
    pub(crate) percentile_metrics: Vec<String>,
    /// Percentiles of the summary
    #[arg(
        long,
        value_name = "LIST",
        default_value = "50,90,99",
        value_delimiter = ','
    )]
    pub(crate) metric_percentiles: Vec<f64>,
    /// Write the numbers as JSON too
    #[arg(long)]
    pub(crate) save_result: bool,
    /// Accepted for other tools' sake: the tape has every detail
    #[arg(long)]
    pub(crate) save_detailed: bool,
    /// Folder for --save-result
    #[arg(long, value_name = "DIR")]
    pub(crate) result_dir: Option<PathBuf>,
    /// File for --save-result [default: the tape's name with .json]
    #[arg(long, value_name = "FILE")]
    pub(crate) result_filename: Option<PathBuf>,
    /// Write every table beside the tape, as CSV, which Excel opens
    #[arg(long)]
    pub(crate) excel_output: bool,
    /// Show no progress
    #[arg(long)]
    pub(crate) disable_tqdm: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// Prompts and generated text
    Text,
}

#[derive(Debug, Args)]
pub(crate) struct AnswerArgs {
    /// The tapes
    pub(crate) tapes: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct AnalyzeArgs {
    /// The tapes
    #[arg(value_name = "TAPE")]
    pub(crate) tapes: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    /// Compare groups of requests, or of tapes that repeat each other, by a label or a column
    ///
    /// A label that the tapes carry (`--label` of a run) makes one group of all tapes with one
    /// value: they repeat each other, and differences are held against what repeats differ by. A
    /// label of the steps inside a tape, or a column of `requests` such as `turn`, `class` or
    /// `model`, makes a run of each value. The first is what the others are compared with.
    #[arg(long, value_name = "LABEL|COLUMN")]
    pub(crate) by: Option<String>,
    /// Exit with 1 where a condition holds, such as "ttft_p99 > +5%"
    ///
    /// METRIC_STAT, then < or >, then a bound: a change against the first run, with its sign and
    /// in percent, or a value, with a unit for times (`"ttft_p99 > 500ms"`, `"rps < 20"`,
    /// `"ok_share < 0.99"`). A change counts where it is over the bound and its 95 % interval
    /// holds no 0. Where a condition cannot be decided, for want of data or of a second run, or
    /// since a client that was the bottleneck may have added what decides it, and none holds, the
    /// exit code is 5. May be repeated.
    #[arg(long, value_name = "CONDITION")]
    pub(crate) fail_if: Vec<String>,
    /// Grade the numbers by the thresholds in this file
    ///
    /// A JSON object of numbers, each with `excellent`, `good` and `needs_work`, times in
    /// milliseconds: {"ttft_p50": {"excellent": 100, "good": 200, "needs_work": 500}}. Numbers are
    /// latencies with mean, p50, p90, p95, p99 or max, and rps, output_tps, ok_share, attainment
    /// and tpot_p99_by_p50. Those that are built in suit a chat with a person.
    #[arg(long, value_name = "FILE")]
    pub(crate) thresholds: Option<PathBuf>,
    /// Render with the templates in this folder in place of the built-in ones
    ///
    /// A file that is called like a built-in template, such as `report.html`, `report.md` or
    /// `_style.css`, stands in for it; others may be included by those. `docs/templates.md` has
    /// what a template can show.
    #[arg(long, value_name = "DIR")]
    pub(crate) template: Option<PathBuf>,
    /// Language of the HTML and the Markdown report
    #[arg(long, value_name = "LANGUAGE", default_value = "en")]
    pub(crate) lang: Lang,
    /// Show what other tools would say of the same requests
    ///
    /// Names of tools, or all: vllm, sglang, aiperf, guidellm, inference-perf, genai-bench,
    /// evalscope. Each one's own definitions of TTFT, ITL, TPOT, E2EL and throughput are applied to
    /// the times on the tape, beside ours, with a line on how each is measured. What a definition
    /// needs and the tape has not is not available, with the reason.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) definitions: Vec<String>,
    /// Count kept texts with this tokenizer, for definitions that tokenize
    ///
    /// A `tokenizer.json`, or a folder with one, such as the model's own. Needs a tape that was made
    /// with `--keep text`.
    #[arg(long, value_name = "PATH", requires = "definitions")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Memory that the analysis may take, such as 4GiB
    ///
    /// What the engine may hold at a time; what it hands on from step to step comes on top, above
    /// all where percentiles are taken. It goes to disk (`TMPDIR`) where it can, and ends where it
    /// can't. Without this flag it may take half of the memory of this machine.
    #[arg(long, value_name = "SIZE", value_parser = parse_bytes)]
    pub(crate) memory_limit: Option<usize>,
    #[command(flatten)]
    pub(crate) exports: ExportArgs,
    /// Metrics of the summary
    #[arg(
        long,
        value_name = "LIST",
        default_value = "ttft,tpot,itl,e2el",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub(crate) percentile_metrics: Vec<String>,
    /// Percentiles of the summary
    #[arg(
        long,
        value_name = "LIST",
        default_value = "50,90,99",
        value_delimiter = ',',
        help_heading = "Output"
    )]
    pub(crate) metric_percentiles: Vec<f64>,
}

#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The tapes
    #[arg(required_unless_present_any = ["list", "show", "goodput"], value_name = "TAPE")]
    pub(crate) tapes: Vec<PathBuf>,
    /// Statements to run, separated by `;`
    ///
    /// Beside the views they may read the result of every query of the
    /// catalogue by its name.
    #[arg(
        short = 'c',
        long = "command",
        value_name = "SQL",
        conflicts_with_all = ["file", "query"]
    )]
    pub(crate) command: Option<String>,
    /// Query of the catalogue to run
    #[arg(short = 'q', long, value_name = "NAME", conflicts_with = "file")]
    pub(crate) query: Option<String>,
    /// List the queries and the views, with what each is for
    #[arg(long, conflicts_with_all = ["show", "command", "query", "file"])]
    pub(crate) list: bool,
    /// Show the file of a query or a view: its definition and its SQL
    #[arg(long, value_name = "NAME", conflicts_with_all = ["command", "query", "file"])]
    pub(crate) show: Option<String>,
    /// File with statements; `-` or nothing reads stdin
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// How results are printed
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: SqlFormat,
    #[command(flatten)]
    pub(crate) judge: JudgeArgs,
    #[command(flatten)]
    pub(crate) limits: QuestionArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SqlFormat {
    /// A table for the eye
    Table,
    /// Comma-separated values
    Csv,
    /// One JSON array
    Json,
    /// One JSON object a line
    Ndjson,
    /// A Markdown table
    Markdown,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub(crate) host: std::net::IpAddr,
    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    pub(crate) port: u16,
    /// Stop when stdin is closed, so that the server ends with the program that started it
    #[arg(long)]
    pub(crate) until_stdin_closes: bool,
    #[command(flatten)]
    pub(crate) settings: ServerSettings,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) ladder: LadderArgs,
    #[command(flatten)]
    pub(crate) target: StampingArgs,
    #[command(flatten)]
    pub(crate) metrics: MetricsArgs,
    /// Write the numbers as JSON
    ///
    /// An object with schema, server, cores, read_lag_left_out, believed_up_to and rungs. A rung has
    /// streams, loop, rate_per_s, duration_s, tape, validity and metrics, the last two as in the JSON
    /// of `analyze`. Keys of metrics are `<metric>_<stat>`: read_lag, ttft_error, itl_error and slip
    /// with min, p50, p99, p999 and max, in milliseconds; and events_rate, cpu_share,
    /// requests_total and requests_ok.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,
    /// Keep the tapes in this folder, one a rung
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    pub(crate) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Ladder")]
pub(crate) struct LadderArgs {
    /// Streams at once, a rung each: one number, or several with commas
    ///
    /// In a closed loop they all begin at once; in an open loop they come at random, and as many
    /// are in flight on average.
    #[arg(
        long,
        value_name = "LIST",
        default_value = "1,10,100,1000",
        value_delimiter = ',',
        value_parser = clap::value_parser!(u32).range(1..=20_000)
    )]
    pub(crate) streams: Vec<u32>,
    /// Tokens a second of each stream
    #[arg(long, value_name = "TOKENS/S", default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// Length of each stream
    ///
    /// A closed loop takes as long, an open loop three times as long: until as many streams are in
    /// flight as there should be, as long again, and until the last ones end.
    #[arg(long, value_name = "TIME", default_value = "1500ms", value_parser = parse_positive_duration_ns)]
    pub(crate) duration: i64,
    /// How streams begin
    #[arg(long = "loop", value_name = "LOOP", default_value = "both")]
    pub(crate) arrival_loop: LadderLoop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LadderLoop {
    /// One begins when one ends
    Closed,
    /// They come at their own times
    Open,
    /// One after the other
    Both,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Target")]
pub(crate) struct StampingArgs {
    /// Address of a server that stamps [default: one is started]
    ///
    /// The text of an answer's first token has to be ` RECEIVED:SENT`, and that of each later one
    /// ` SENT`: when the server had read the request and when it wrote the event, in UTC
    /// nanoseconds. Its own pace then decides; --rate gives the lengths of the answers. The read
    /// lag is left out where the server is not on this machine.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Protocol of the server
    #[arg(long, value_name = "NAME", default_value = DEFAULT_PROTOCOL, value_parser = backends())]
    pub(crate) backend: Backend,
    /// Path of the endpoint [default: the backend's own]
    #[arg(long, value_name = "PATH", requires = "base_url")]
    pub(crate) endpoint: Option<String>,
    /// Model to ask for [default: the first one that the server lists]
    #[arg(long, value_name = "NAME", requires = "base_url")]
    pub(crate) model: Option<String>,
    /// A header of every request; may be given several times
    #[arg(long, value_name = "NAME: VALUE", requires = "base_url")]
    pub(crate) header: Vec<String>,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}
