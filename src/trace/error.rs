//! What can be wrong with a trace, and what to do about it.

mod servegen;

use std::fmt;
use std::io;
use std::path::PathBuf;

use parquet::errors::ParquetError;

use super::quote::{Short, quoted};

pub use servegen::ServeGenError;

/// Where in a file a row stands, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Line of a text file; the header is line 1.
    Line(u64),
    /// Row of a Parquet file.
    Row(u64),
    /// The mapping does not let rows be traced back to the file.
    Unknown,
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(out, "line {line}"),
            Self::Row(row) => write!(out, "row {row}"),
            Self::Unknown => out.write_str("a row"),
        }
    }
}

/// Why a trace could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// There is no such file.
    #[error("trace `{}` does not exist", path.display())]
    Missing {
        /// The trace.
        path: PathBuf,
    },
    /// The folder has no file that is a trace by its name.
    #[error("folder `{}` has no CSV, JSONL or Parquet file", path.display())]
    Folder {
        /// The trace.
        path: PathBuf,
    },
    /// The glob can't be understood.
    #[error("`{pattern}` is no glob: {message}")]
    Glob {
        /// What was given.
        pattern: String,
        /// What is wrong with it.
        message: String,
    },
    /// The folder or glob has more files than a trace is made of.
    #[error("`{}` is one file too many: a trace has at most {most}", path.display())]
    TooManyFiles {
        /// The first file past the bound.
        path: PathBuf,
        /// Most files of a trace.
        most: usize,
    },
    /// A file of several has columns that are not those of the first one.
    #[error("trace `{}` does not go together with the files before it: {}", path.display(), Short(message))]
    OtherColumns {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// The file can't be opened.
    #[error("cannot open trace `{}`", path.display())]
    Open {
        /// The trace.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file can't be read to its end.
    #[error("cannot read trace `{}` past {place}", path.display())]
    Read {
        /// The trace.
        path: PathBuf,
        /// The last row that was read.
        place: Place,
        /// Why.
        source: io::Error,
    },
    /// The file has no bytes, or column names and nothing else.
    #[error("trace `{}` has no rows", path.display())]
    Empty {
        /// The trace.
        path: PathBuf,
    },
    /// The file stands for one in Git LFS.
    #[error("trace `{}` is a Git LFS pointer, not the data", path.display())]
    LfsPointer {
        /// The trace.
        path: PathBuf,
    },
    /// The file is a web page.
    #[error("trace `{}` is a web page, not data", path.display())]
    WebPage {
        /// The trace.
        path: PathBuf,
    },
    /// The file is packed in a way that is not read.
    #[error("trace `{}` is {kind}", path.display())]
    Packed {
        /// The trace.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// The file is neither text nor Parquet.
    #[error("trace `{}` is neither UTF-8 text nor Parquet", path.display())]
    NotText {
        /// The trace.
        path: PathBuf,
    },
    /// The file is one JSON array.
    #[error("trace `{}` is one JSON array, not one object a line", path.display())]
    JsonArray {
        /// The trace.
        path: PathBuf,
    },
    /// The Parquet file is broken.
    #[error("cannot read trace `{}` as Parquet: {}", path.display(), Short(message))]
    Parquet {
        /// The trace.
        path: PathBuf,
        /// What the reader says.
        message: String,
    },
    /// The first line of a CSV file has values where names should stand.
    #[error("trace `{}` has no header: its first line has numbers alone", path.display())]
    NoHeader {
        /// The trace.
        path: PathBuf,
    },
    /// No format has these columns.
    #[error(
        "trace `{}` has columns of no known format\nfound: {}\n{}",
        path.display(), name_list(found), formats.join("\n")
    )]
    UnknownColumns {
        /// The trace.
        path: PathBuf,
        /// Columns of the file.
        found: Vec<String>,
        /// What the nearest formats require, a line each.
        formats: Vec<String>,
    },
    /// Several formats have these columns.
    #[error("trace `{}` could be any of the formats {}", path.display(), name_list(formats))]
    Ambiguous {
        /// The trace.
        path: PathBuf,
        /// Names of the formats.
        formats: Vec<String>,
    },
    /// There is no format of that name.
    #[error("there is no trace format `{name}`; known are {}", name_list(known))]
    UnknownFormat {
        /// What was asked for.
        name: String,
        /// Names of the formats.
        known: Vec<String>,
    },
    /// The named format requires columns that the file lacks.
    #[error(
        "trace `{}` lacks {} that format `{format}` requires\nfound: {}",
        path.display(), name_list(missing), name_list(found)
    )]
    MissingColumns {
        /// The trace.
        path: PathBuf,
        /// Name of the format.
        format: String,
        /// Columns that the file lacks.
        missing: Vec<String>,
        /// Columns of the file.
        found: Vec<String>,
    },
    /// The named format is refused by a column that only other files have.
    #[error("trace `{}` has `{}`, which a file of format `{format}` does not have", path.display(), Short(column))]
    RejectedColumn {
        /// The trace.
        path: PathBuf,
        /// Name of the format.
        format: String,
        /// The column that speaks against it.
        column: String,
        /// Name of the format that it looks like.
        better: Option<String>,
    },
    /// The mapping can't be read.
    #[error("cannot read mapping `{}`", path.display())]
    MappingFile {
        /// The mapping.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The mapping's header lacks something.
    #[error("mapping `{mapping}` {message}")]
    MappingHeader {
        /// Name or path of the mapping.
        mapping: String,
        /// What is wrong.
        message: String,
    },
    /// The mapping's SQL does not run on this file.
    #[error("the SQL of mapping `{mapping}` does not work: {}", Short(message))]
    MappingSql {
        /// Name of the mapping.
        mapping: String,
        /// What the engine says.
        message: String,
    },
    /// The mapping yields a column that nobody knows.
    #[error(
        "mapping `{mapping}` yields `{}`, which is no canonical column",
        Short(column)
    )]
    UnknownOutput {
        /// Name of the mapping.
        mapping: String,
        /// The column.
        column: String,
    },
    /// One row is wrong.
    #[error("`{}` {place}: {}", path.display(), Short(message))]
    BadRow {
        /// The trace.
        path: PathBuf,
        /// Where the row stands.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// More rows have one time than can be spread.
    #[error("`{}` {place}: more than {most} rows have the same time", path.display())]
    TooManyTies {
        /// The file.
        path: PathBuf,
        /// The first row past the bound.
        place: Place,
        /// Most rows that can be spread.
        most: usize,
    },
    /// The trace's clock starts again, and its format does not say that it may.
    #[error("`{}` {place}: the clock starts again: several recordings stand one behind another", path.display())]
    ClockRestart {
        /// The file.
        path: PathBuf,
        /// The row that starts it again.
        place: Place,
    },
    /// A file of several starts the trace's clock again, and its format does not say that it may.
    #[error("`{}` {place}: the clock starts again: this file is a recording of its own", path.display())]
    Recordings {
        /// The file.
        path: PathBuf,
        /// Its first row.
        place: Place,
    },
    /// A row is older than one that was already handed out.
    #[error(
        "`{}` {place}: time goes back by {} s, further than a look-ahead of {look_ahead} rows \
         can put right",
        path.display(), Seconds(*back_ns)
    )]
    Backwards {
        /// The trace.
        path: PathBuf,
        /// Where the row stands.
        place: Place,
        /// How far time goes back, in nanoseconds.
        back_ns: u64,
        /// Rows that are held to be put in order.
        look_ahead: usize,
    },
    /// The rows could not be sorted.
    #[error("cannot sort trace `{}`: {}", path.display(), Short(message))]
    Sort {
        /// The trace.
        path: PathBuf,
        /// What the engine says.
        message: String,
    },
    /// The output can't be written.
    #[error("cannot write `{}`", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// Why.
        source: ParquetError,
    },
    /// The file can't be read twice.
    #[error("trace `{}` is a pipe or the like, and has to be read twice", path.display())]
    ReadOnce {
        /// The trace.
        path: PathBuf,
    },
    /// The file was another one when it was read again.
    #[error("trace `{}` changed while it was read", path.display())]
    Changed {
        /// The trace.
        path: PathBuf,
    },
    /// A row is too long after scaling.
    #[error("`{}` {place}: scaled, its tokens or prefix blocks are more than a row can have", path.display())]
    TooLong {
        /// The trace.
        path: PathBuf,
        /// Where the row stands.
        place: Place,
    },
    /// See [`ServeGenError`].
    #[error(transparent)]
    ServeGen(#[from] ServeGenError),
    /// What to take from the trace makes no sense.
    #[error("{message}")]
    Selection {
        /// What is wrong.
        message: String,
    },
}

impl TraceError {
    /// Returns what the user can do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnknownOutput { column, .. } => {
                return Some(format!(
                    "call it `extra_{column}` to keep it out of the way; `traces/README.md` lists \
                     the canonical columns"
                ));
            }
            Self::RejectedColumn {
                better: Some(better),
                ..
            } => {
                return Some(format!(
                    "it looks like `{better}`: leave `--format` out, or say `--format {better}`"
                ));
            }
            Self::RejectedColumn { .. } => {
                "leave `--format` out to have it recognised, or bring a mapping with `--map FILE.sql`"
            }
            Self::Sort { .. } => {
                "free some space beside the output, or write it to another disk: what does not fit \
                 in memory waits there"
            }
            Self::Write { .. } => "check that there is space left, or write to another disk",
            Self::Missing { path } if path.as_os_str() == "-" => {
                "read a trace from stdin as `/dev/stdin`"
            }
            Self::Missing { .. } => {
                "check the path; a trace is a CSV, JSONL or Parquet file, a folder or a glob of such"
            }
            Self::Folder { .. } => "name the files with a glob, such as `FOLDER/*.log`",
            Self::Glob { .. } => "write `*` for any characters and `?` for one",
            Self::TooManyFiles { .. } => "name fewer files, or put them together",
            Self::OtherColumns { .. } => {
                "name the files of one format with a glob, or replay them one by one"
            }
            Self::Open { .. } | Self::MappingFile { .. } | Self::Selection { .. } => return None,
            Self::Read { .. } => "check that the file is complete; download it again",
            Self::Empty { .. } => "check that the file was downloaded or written to its end",
            Self::LfsPointer { .. } => {
                "fetch the data with `git lfs pull`, or from the page that hosts the data set"
            }
            Self::WebPage { .. } => {
                "download the file itself; a link to a page that shows it gives the page"
            }
            Self::Packed { kind, .. } if kind.contains("pipe") => {
                "write it to a file first, and name that"
            }
            Self::Packed { .. } => {
                "unpack it first; gzip is the only packing that is read as it is"
            }
            Self::NotText { .. } => "convert it to UTF-8 CSV, JSONL or Parquet",
            Self::JsonArray { .. } => "write one object a line: `jq -c '.[]' FILE > FILE.jsonl`",
            Self::Parquet { .. } => "check that the file is complete; download it again",
            Self::NoHeader { .. } => {
                "put a line with the names of the columns before it; a folder of ServeGen's is for \
                 `tokentape trace synthesize --servegen`"
            }
            Self::UnknownColumns { .. } => {
                "write a mapping for it and name it with `--map FILE.sql`; \
                 `traces/README.md` shows how"
            }
            Self::Ambiguous { .. } | Self::UnknownFormat { .. } => {
                "name one with `--format`; `tokentape trace formats` lists them"
            }
            Self::MissingColumns { .. } => {
                "leave `--format` out to have it recognised, or bring a mapping with `--map FILE.sql`"
            }
            Self::MappingHeader { .. } => {
                "begin the file with lines such as `-- requires: time, prompt tokens`; \
                 `traces/README.md` shows a whole one"
            }
            Self::MappingSql { .. } => {
                "put column names in double quotes; values of CSV and JSONL are text, so CAST them"
            }
            Self::BadRow { .. } => {
                "correct or remove the row, or bring a mapping that marks it `failed`"
            }
            Self::TooManyTies { .. } => "replay it with `--ties keep`",
            Self::ClockRestart { .. } => {
                "replay the recordings one by one, or one behind the other with `--restarts continue`; \
                 if it is one recording that is out of order, put it in order with `tokentape trace \
                 convert --sort`"
            }
            Self::Recordings { .. } => {
                "replay the recordings one by one, or one behind the other with `--restarts continue`"
            }
            Self::ServeGen(error) => return error.hint(),
            Self::ReadOnce { .. } => "write it to a file, and name that",
            Self::Changed { .. } => "copy it, and name the copy",
            Self::TooLong { .. } => "give a smaller `--input-scale` or `--output-scale`",
            Self::Backwards { .. } => {
                "put it in order once with `tokentape trace convert --sort TRACE -o FILE.parquet`, and \
                 use that file"
            }
        };
        Some(hint.to_owned())
    }
}

/// Nanoseconds that are shown as seconds.
struct Seconds(u64);

impl fmt::Display for Seconds {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            out,
            "{}.{:03}",
            self.0 / 1_000_000_000,
            self.0 / 1_000_000 % 1000
        )
    }
}

/// Names that a message lists.
const NAMES_MAX: usize = 40;

/// Renders names in backticks, separated by commas.
fn name_list(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_MAX);
    let mut list = shown
        .map(|name| format!("`{}`", quoted(name)))
        .collect::<Vec<_>>()
        .join(", ");
    if let Some(more @ 1..) = names.len().checked_sub(NAMES_MAX) {
        list.push_str(&format!(" and {more} more"));
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_short_whatever_a_file_has() {
        let names: Vec<String> = (0..100_000).map(|_| "n".repeat(1_000)).collect();
        assert!(name_list(&names).len() < NAMES_MAX * (200));
        let error = TraceError::BadRow {
            path: PathBuf::from("t.csv"),
            place: Place::Line(2),
            message: "\u{1b}m".repeat(1_000_000),
        };
        assert!(error.to_string().chars().count() < 700);
        assert!(!error.to_string().contains('\u{1b}'));
    }
}
