//! Flags about traces: what `replay` takes of one, and the verbs of `trace`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::plan::{
    FailedRows, OutputLength, Restarts, SessionPacing, SessionPrompts, SessionReplies, Ties,
};
use crate::trace::Window;
use crate::units::{parse_duration_ns, parse_positive_duration_ns, parse_rate_per_s};

#[derive(Debug, Args)]
#[command(next_help_heading = "Trace")]
pub(crate) struct SelectionArgs {
    /// Format of the trace, instead of recognising it (see `trace formats`)
    #[arg(long, value_name = "NAME", conflicts_with = "map")]
    pub(crate) format: Option<String>,
    /// Your own mapping: a SQL file that reads `source`
    #[arg(long, value_name = "FILE.sql")]
    pub(crate) map: Option<PathBuf>,
    /// Start here, in trace time since its first arrival
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration_ns)]
    pub(crate) from: i64,
    /// Length of the window, in trace time
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration_ns)]
    pub(crate) window: Option<i64>,
    /// Trace time that passes in one unit of real time: 10 is ten times as fast
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) speed: f64,
    /// Take this many rows at most
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Take this share of the sessions, whole, chosen by hash
    #[arg(long, value_name = "SHARE")]
    pub(crate) sample: Option<f64>,
    /// What becomes of rows that the trace marks as failed
    #[arg(long, value_name = "WHAT", default_value = "skip")]
    pub(crate) failed: FailedRows,
    /// What becomes of rows with equal times
    ///
    /// `uniform` and `poisson` spread them inside the quantum that their time stands for: the step of
    /// the trace's clock, or the period of batches where rows come in such.
    #[arg(long, value_name = "HOW", default_value = "keep")]
    pub(crate) ties: Ties,
    /// When the turns of a session are due
    #[arg(long, value_name = "WHEN", default_value = "trace")]
    pub(crate) sessions: SessionPacing,
    /// What the prompts of a session's turns hold
    ///
    /// In most traces all that was said in the session. In some only what is new in the turn: such
    /// a turn is sent with its history, the prompts and replies before it.
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    pub(crate) session_prompts: SessionPrompts,
    /// Whose replies a turn holds that is sent with its history
    ///
    /// `live` needs `--sessions think` or `later`, so that each turn waits for the reply before it, and
    /// a trace with texts. Where a reply has no text, as that of a failed turn, made-up text of the
    /// trace's length stands in its place.
    #[arg(long, value_name = "WHOSE", default_value = "trace")]
    pub(crate) session_replies: SessionReplies,
    /// What becomes of a clock that counts from somewhere and starts again
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    pub(crate) restarts: Restarts,
    /// Cut times without an arrival, and pauses of sessions, to this length of trace time
    #[arg(long, value_name = "TIME", value_parser = parse_duration_ns)]
    pub(crate) max_idle: Option<i64>,
    /// What becomes of the output lengths of the trace
    #[arg(long, value_name = "HOW", default_value = "enforce")]
    pub(crate) output_length: OutputLength,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TraceVerb {
    /// List the formats that are read, with their columns and units
    Formats,
    /// Say what a trace is like: its rate, bursts, lengths, sessions and prefixes
    ///
    /// One pass, in bounded memory. Rows that the trace marks as failed count in all numbers.
    /// Bins of a second and of a minute begin at the first arrival, and empty ones count.
    Inspect(InspectArgs),
    /// Write a trace as Parquet in canonical columns
    ///
    /// What is written is read back without a format or a mapping. Arrivals keep the trace's own
    /// clock, rows that the trace marks as failed stay, and so do extra columns.
    Convert(ConvertArgs),
    /// Make a trace: of another one at other rates, or of ServeGen's clients
    ///
    /// Writes Parquet in canonical columns, in order of arrival, which `replay` reads. Sessions are
    /// taken whole; bursts, ties and shared prefixes stay as they are, as far as they can.
    ///
    /// Three times the traffic:       --rate-scale 3
    /// A tenth of it:                 --rate-scale 0.1
    /// Prompts twice as long:         --input-scale 2
    /// Two stretches as one trace:    --window 10m..20m --window 1h..70m
    ///
    /// An hour of ServeGen's clients: --servegen data/language/m-large --for 1h --rate 10
    ///
    /// A trace is read twice. Memory: a few bytes a row, some 40 bytes a session and a prefix
    /// block, and up to 512 MiB for sorting.
    #[command(verbatim_doc_comment)]
    Synthesize(SynthesizeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The trace: CSV, JSONL or Parquet, also gzipped; a folder or a glob in quotes
    pub(crate) trace: PathBuf,
    /// Format of the trace, instead of recognising it (see `trace formats`)
    #[arg(long, value_name = "NAME", conflicts_with = "map")]
    pub(crate) format: Option<String>,
    /// Your own mapping: a SQL file that reads `source`
    #[arg(long, value_name = "FILE.sql")]
    pub(crate) map: Option<PathBuf>,
    /// What the prompts of a session's turns hold, as for `replay`
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    pub(crate) session_prompts: SessionPrompts,
    /// Start here, in trace time since its first arrival
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration_ns)]
    pub(crate) from: i64,
    /// Length of the window, in trace time
    #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration_ns)]
    pub(crate) window: Option<i64>,
    /// Read this many rows of the file at most
    #[arg(long, value_name = "ROWS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// Look at this share of the sessions, whole, chosen by hash
    #[arg(long, value_name = "SHARE")]
    pub(crate) sample: Option<f64>,
    /// Seed that chooses the sessions, as for `replay`
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Print one JSON object in place of the text
    ///
    /// Keys: rows, span_s, mean_rate_per_s, peak_1s, peak_60s, iat_cv, dispersion_1s,
    /// distinct_times, clock_restarts, ideal_prefix_hit, input_tokens and output_tokens with p50,
    /// p90, p99, max and mean, sessions, failed_rows, and more. What does not exist is null.
    #[arg(long, help_heading = "Output")]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ConvertArgs {
    /// The trace: CSV, JSONL or Parquet, also gzipped; a folder or a glob in quotes
    pub(crate) trace: PathBuf,
    /// File to write
    #[arg(short = 'o', long, value_name = "FILE.parquet")]
    pub(crate) out: PathBuf,
    /// Put rows in order of arrival, however far apart they stand
    ///
    /// What does not fit in memory is kept beside the output meanwhile.
    #[arg(long)]
    pub(crate) sort: bool,
    /// What the prompts of a session's turns hold; written down with each row
    #[arg(long, value_name = "WHAT", default_value = "auto")]
    pub(crate) session_prompts: SessionPrompts,
    /// What becomes of a clock that counts from somewhere and starts again
    #[arg(long, value_name = "WHAT", default_value = "refuse")]
    pub(crate) restarts: Restarts,
    /// Format of the trace, instead of recognising it (see `trace formats`)
    #[arg(long, value_name = "NAME", conflicts_with = "map")]
    pub(crate) format: Option<String>,
    /// Your own mapping: a SQL file that reads `source`
    #[arg(long, value_name = "FILE.sql")]
    pub(crate) map: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SynthesizeArgs {
    /// The trace: CSV, JSONL or Parquet, also gzipped; a folder or a glob in quotes
    #[arg(required_unless_present = "servegen")]
    pub(crate) trace: Option<PathBuf>,
    /// File to write
    #[arg(short = 'o', long, value_name = "FILE.parquet")]
    pub(crate) out: PathBuf,
    /// Seed of every draw: the same seed gives the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Format of the trace, instead of recognising it (see `trace formats`)
    #[arg(long, value_name = "NAME", conflicts_with = "map")]
    pub(crate) format: Option<String>,
    /// Your own mapping: a SQL file that reads `source`
    #[arg(long, value_name = "FILE.sql")]
    pub(crate) map: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) changes: ChangeArgs,
    #[command(flatten)]
    pub(crate) clients: ServeGenArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "ServeGen")]
pub(crate) struct ServeGenArgs {
    /// Make a trace of ServeGen's clients: the folder of one model
    ///
    /// It has two files a client, chunk-N-trace.csv with rates and gaps in windows of 10 minutes,
    /// and chunk-N-dataset.json with lengths in windows of 6 hours. A client without one of them is
    /// left out. The class of a request is its client.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = [
            "trace", "format", "map", "rate_scale", "copy_shift", "input_scale", "output_scale",
            "window",
        ]
    )]
    pub(crate) servegen: Option<PathBuf>,
    /// Start here, in time since the first window [default: 0s]
    #[arg(long, value_name = "TIME", requires = "servegen", conflicts_with = "trace", value_parser = parse_duration_ns)]
    pub(crate) from: Option<i64>,
    /// Length of the stretch [default: to the last window, up to 14 days]
    #[arg(long = "for", value_name = "TIME", requires = "servegen", conflicts_with = "trace", value_parser = parse_positive_duration_ns)]
    pub(crate) length: Option<i64>,
    /// Mean rate of all clients over the stretch, such as 10/s [default: their own]
    #[arg(long, value_name = "RATE", requires = "servegen", conflicts_with = "trace", value_parser = parse_rate_per_s)]
    pub(crate) rate: Option<f64>,
    /// How many clients send, chosen by the seed [default: all]
    #[arg(
        long,
        value_name = "N",
        requires = "servegen",
        conflicts_with = "trace"
    )]
    pub(crate) clients: Option<usize>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Changes")]
pub(crate) struct ChangeArgs {
    /// Requests for one of the trace: 0.25 takes a quarter of the sessions, 3 takes each thrice
    ///
    /// Below 1, sessions are left out whole, by a hash of the seed and their id, and arrivals stay.
    /// Above 1, copies of the trace are put over it, each at another time, with sessions of its own:
    /// 3 adds two copies, 2.5 one copy and half of another. At most 10000.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) rate_scale: f64,
    /// Time from one copy to the next [default: 1m, less where the trace is short]
    ///
    /// Longer than a burst, so that copies of one do not fall together, and short against the
    /// times over which the traffic rises and falls. By default all copies lie within an hour and
    /// a tenth of the trace.
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration_ns)]
    pub(crate) copy_shift: Option<i64>,
    /// Input tokens for one of the trace; prefix blocks are stretched alike. At most 1000
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) input_scale: f64,
    /// Output tokens for one of the trace. At most 1000
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0)]
    pub(crate) output_scale: f64,
    /// A stretch to take, in trace time since the first arrival; may be given several times
    ///
    /// Such as 10m..20m, or 10m.. for the rest. Stretches come one behind the other, in the order
    /// given, without a gap. What is left of a session in one is a session of its own.
    #[arg(long, value_name = "FROM..TO", value_parser = parse_window)]
    pub(crate) window: Vec<Window>,
}

/// Parses a stretch of a trace: two times with `..` between them, of which the second may be left out.
fn parse_window(text: &str) -> Result<Window, String> {
    let (from, to) = text
        .split_once("..")
        .ok_or("write two times with `..` between them, such as 10m..20m")?;
    let from_ns = match from {
        "" => 0,
        from => parse_duration_ns(from)?,
    };
    let to_ns = match to {
        "" => None,
        to => Some(parse_duration_ns(to)?),
    };
    Ok(Window { from_ns, to_ns })
}
