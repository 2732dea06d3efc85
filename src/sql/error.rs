//! What can go wrong between a folder and a result.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::parser::ParserError;
use thiserror::Error;

use super::view_files::PUBLIC_VIEWS;
use crate::capture::CaptureError;

/// A tape that could not be opened, or a statement that could not be run.
#[derive(Debug, Error)]
pub enum SqlError {
    /// No tape was named.
    #[error("no tape was named")]
    NoTape,
    /// The tape could not be opened or recovered.
    #[error(transparent)]
    Tape(#[from] CaptureError),
    /// The system did not let the tape be read.
    #[error("could not read `{}`: {source}", path.display())]
    Read {
        /// What was read.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A table's file ends in the middle.
    #[error("`{}` is torn: it does not end as a Parquet file does", path.display())]
    TornFile {
        /// The file.
        path: PathBuf,
    },
    /// A statement could not be understood or run.
    #[error("{reason}")]
    Statement {
        /// What the engine says, without its own prefixes.
        reason: String,
    },
    /// A statement would change something.
    #[error("`{statement}` is not a query: a tape is read, never changed")]
    NotAQuery {
        /// The statement's first words.
        statement: String,
    },
    /// Text that is longer or deeper than what can be planned.
    #[error("{reason}")]
    TooDeep {
        /// What there is too much of.
        reason: String,
    },
    /// The answer needs more memory than it may take.
    #[error("the question takes more than {} MiB of memory", limit_bytes >> 20)]
    Memory {
        /// What it may take, in bytes.
        limit_bytes: usize,
    },
    /// The answer takes longer than it may.
    #[error("no answer within {} s", timeout.as_secs_f64())]
    Late {
        /// How long it may take.
        timeout: Duration,
    },
    /// As many questions as may be are being answered.
    #[error("{at_once} questions are being answered, which are as many as may be at a time")]
    Busy {
        /// How many may be.
        at_once: usize,
    },
    /// The answer is larger than what asked for it can show.
    #[error("the answer has more than {} MiB", limit_bytes >> 20)]
    LongAnswer {
        /// How long it may be, in bytes.
        limit_bytes: usize,
    },
    /// The process that answers says why it can't.
    #[error("{message}")]
    Refused {
        /// The message with its causes.
        message: String,
        /// What to do about it.
        hint: Option<String>,
        /// True where the question is at fault, and not a file.
        is_usage: bool,
    },
    /// The process that answers has ended without a word of its own.
    #[error("the process that answers has ended by itself ({how})")]
    Gone {
        /// How it ended, and its last words.
        how: String,
    },
    /// The system refused a process, or one of its limits.
    #[error("could not {verb}: {source}")]
    System {
        /// What was tried.
        verb: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// One of the views that ship with this build could not be set up.
    #[error("could not set up the view `{name}`: {reason}")]
    View {
        /// Name of the view.
        name: String,
        /// What the engine says.
        reason: String,
    },
    /// What to group by is neither a label nor a column.
    #[error("`{by}` is no label of these tapes, and no column of `requests`")]
    NoGroup {
        /// What was named.
        by: String,
        /// The labels that there are.
        labels: Vec<String>,
    },
    /// Some tapes have a label and this one has not.
    #[error("the tape `{run}` has no label `{label}`, which others have")]
    NoLabel {
        /// Name of the tape.
        run: String,
        /// The label.
        label: String,
    },
    /// A column has too many values to make a part of each.
    #[error("`{by}` has more than {most} values, too many to compare")]
    ManyParts {
        /// What was named.
        by: String,
        /// How many there may be.
        most: usize,
    },
    /// A result could not be put into the format that was asked for.
    #[error("could not write the result: {reason}")]
    Output {
        /// What the writer says.
        reason: String,
    },
}

impl SqlError {
    /// Tells whether the command line is at fault, and not a file.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::NoTape
                | Self::Statement { .. }
                | Self::NotAQuery { .. }
                | Self::TooDeep { .. }
                | Self::Memory { .. }
                | Self::Late { .. }
                | Self::Refused { is_usage: true, .. }
                | Self::NoGroup { .. }
                | Self::NoLabel { .. }
                | Self::ManyParts { .. }
        ) || matches!(self, Self::View { reason, .. } if is_out_of_memory(reason))
    }

    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoTape => "name at least one folder `NAME.tape`",
            Self::Tape(error) => return error.hint(),
            Self::Statement { reason } if is_out_of_memory(reason) => {
                "ask for fewer rows or columns at once, or raise `--memory-limit`"
            }
            Self::View { reason, .. } if is_out_of_memory(reason) => "raise `--memory-limit`",
            Self::Statement { reason } if !is_about_names(reason) => return None,
            Self::Statement { .. } => {
                return Some(format!(
                    "query the views {}; `DESCRIBE requests` lists a view's columns",
                    PUBLIC_VIEWS.join(", ")
                ));
            }
            Self::TornFile { .. } => "restore it from a copy, or move it away to read the rest",
            Self::NoGroup { labels, .. } if labels.is_empty() => {
                "name a column such as `turn`, `class` or `model`, or give runs a label with `--label`"
            }
            Self::NoGroup { labels, .. } => {
                return Some(format!(
                    "name one of the labels {}, or a column such as `turn`, `class` or `model`",
                    labels.join(", ")
                ));
            }
            Self::NoLabel { .. } => "leave it out, or group by what all tapes have",
            Self::ManyParts { .. } => {
                "name a column with few values, or use `tokentape sql` with GROUP BY"
            }
            Self::NotAQuery { .. } => "use SELECT, WITH, EXPLAIN, SHOW or DESCRIBE",
            Self::TooDeep { .. } => {
                "take it apart (WITH, a list after IN, several statements), and look for a mistake in its innermost parentheses"
            }
            Self::Memory { .. } => {
                "ask for fewer rows or columns at once, or raise `--memory-limit`"
            }
            Self::Late { .. } => "ask of fewer rows, or raise `--timeout`",
            Self::Busy { .. } => "ask again when one of them has its answer",
            Self::LongAnswer { .. } => "ask for fewer rows or columns, or take it as CSV",
            Self::Refused { hint, .. } => return hint.clone(),
            Self::Gone { .. } => {
                "where the system is out of memory, ask for less at once or lower `--memory-limit`"
            }
            Self::Read { .. } | Self::View { .. } | Self::Output { .. } | Self::System { .. } => {
                return None;
            }
        };
        Some(hint.to_owned())
    }
}

/// Tells whether DataFusion did not know a name: then it helps to know which there are.
fn is_about_names(reason: &str) -> bool {
    let is_table = reason.contains("table '") && reason.contains("not found");
    is_table || reason.contains("No field named") || reason.contains("mbiguous reference")
}

/// What DataFusion says, as an error of the system's, where it may write no more to disk.
const DISK_IS_FULL: &str =
    "disk space during the spilling process has exceeded the allowable limit";

/// What is said where the engine may take no more memory, nor room on disk in its place.
const OUT_OF_MEMORY: &str = "it takes more memory than it may";

/// Tells whether a reason is that the engine may take no more memory.
pub(crate) fn is_out_of_memory(reason: &str) -> bool {
    reason == OUT_OF_MEMORY
}

/// Longest message that is taken from DataFusion, in characters.
const MOST_LETTERS: usize = 1_000;

/// Returns what DataFusion says, on one line, without backtraces, nesting and the names of its own
/// stages.
pub(crate) fn message(error: &DataFusionError) -> String {
    let root = error.find_root();
    let text = match root {
        DataFusionError::SQL(parser, _) => match parser.as_ref() {
            ParserError::TokenizerError(text) | ParserError::ParserError(text) => text.clone(),
            ParserError::RecursionLimitExceeded => "the statement is nested too deeply".to_owned(),
        },
        other => other.strip_backtrace(),
    };
    if matches!(root, DataFusionError::ResourcesExhausted(_)) || text.contains(DISK_IS_FULL) {
        // It names its own operators and settings, none of which the user knows.
        return OUT_OF_MEMORY.to_owned();
    }
    let mut text = text.trim();
    for prefix in [
        "Error during planning: ",
        "Schema error: ",
        "Execution error: ",
        "Arrow error: ",
        "External error: ",
        "This feature is not implemented: ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    let lines: Vec<&str> = text.trim_end_matches('.').lines().map(str::trim).collect();
    let text = lines.join(" ");
    // It quotes expressions, and those are as long as whoever wrote them likes.
    match text.char_indices().nth(MOST_LETTERS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// Says what the engine says of a statement.
pub(super) fn refused(error: &DataFusionError) -> SqlError {
    SqlError::Statement {
        reason: message(error),
    }
}
