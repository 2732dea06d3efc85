//! Which trace a plan replays, and what of it.

use std::path::PathBuf;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::spelling::{seconds, shown, shown_if_any};

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
    /// Nobody's: a turn holds what the users said alone
    None,
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
    /// The server has to say the trace's own replies, where the backend can make it
    TraceText,
}
