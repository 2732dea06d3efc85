//! A mapped trace whose rows are all good, and what to say of the first one that is not.
//!
//! The engine names a value at best and `decode` a canonical column; both are traced back to the
//! file's line and columns here, while the batch that they come from is still at hand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::decode::{self, Decoded, FileRow};
use super::encode;
use super::error::{Place, TraceError};
use super::format::{self, FormatInfo, TraceClock};
use super::history::{Habits, PromptFacts};
use super::json::{BODY, MESSAGE};
use super::mapping::{self, Extras};
use super::pipe::Pipe;
use super::quote::quoted;
use super::restart::RunningClock;
use super::sessions::{Misplaced, Prompts, Sessions};
use super::source::{Handed, Origin, Source};
use crate::plan::SessionPrompts;

/// A trace that is being mapped, in the file's order.
pub(super) struct Checked {
    path: PathBuf,
    format: FormatInfo,
    extras: Extras,
    restarts: Restarts,
    origin: Origin,
    clock: RunningClock,
    /// The file of the latest row.
    file: u64,
    habits: Habits,
    sessions: Sessions,
    unread: Vec<String>,
    stream: SendableRecordBatchStream,
    /// For each canonical column, the columns of the file that it is made from.
    origins: HashMap<String, Vec<String>>,
    handed: Arc<Handed>,
    rows: u64,
}

/// What becomes of a trace whose relative clock starts again, where the format does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Restarts {
    /// It is told of as an error.
    Refused,
    /// Time goes on where it was.
    Continued,
    /// Nobody looks for it: the rows are put in order whatever their times are.
    Ignored,
}

/// Which file is read, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The file.
    pub(super) path: &'a Path,
    /// The pipe at `path`, where more than one reader opens it.
    pub(super) pipe: Option<&'a Pipe>,
    /// Name of the format; none to recognise it by the file's columns.
    pub(super) format: Option<&'a str>,
    /// The user's own mapping, in place of a shipped format.
    pub(super) map: Option<&'a Path>,
    /// What prompts of sessions are taken to hold.
    pub(super) session_prompts: SessionPrompts,
    /// Whether those that hold only what is new get their history; else they are only marked.
    pub(super) makes_whole: bool,
}

/// Finds the columns for `format`. Returns those that its SQL does not read.
async fn unread_columns(format: &FormatInfo, source: &mut Source) -> Vec<String> {
    // A mapping of the user's may read more of an object than its header says.
    for is_narrow in [true, false] {
        source.expect(format, is_narrow);
        let columns = source.columns();
        if let Ok(mut unread) = Box::pin(mapping::unread_columns(format, &columns)).await {
            unread.retain(|name| name != BODY && name != MESSAGE);
            return unread;
        }
    }
    // What does not plan here fails below, with a better message.
    Vec::new()
}

impl Checked {
    /// Opens a trace, and tells what can be told from the mapping and the file's first rows.
    pub(super) async fn open(
        asked: Asked<'_>,
        extras: Extras,
        restarts: Restarts,
    ) -> Result<Self, TraceError> {
        // The mapping first: a pipe can be opened only once.
        let named = match (asked.map, asked.format) {
            (Some(map), _) => Some(format::read_mapping(map)?),
            (None, Some(name)) => Some(format::format_named(name)?),
            (None, None) => None,
        };
        let mut source = Source::open(asked.path, asked.pipe)?;
        let columns = source.column_names().to_vec();
        let format = match named {
            Some(format) => {
                format::check_columns(&format, asked.path, &columns)?;
                format
            }
            None => format::recognise(asked.path, &columns)?,
        };
        let origin = source.origin();
        let wrong = |error: DataFusionError| TraceError::MappingSql {
            mapping: format.name.clone(),
            message: error.strip_backtrace(),
        };
        let unread = unread_columns(&format, &mut source).await;
        let is_sent = |name: &String| format.body.iter().any(|field| field.column() == name);
        let (sent, unread): (Vec<String>, Vec<String>) = unread.into_iter().partition(is_sent);
        source.settle(&format, (&sent, &unread), extras == Extras::Kept);
        let copied = match extras {
            Extras::Kept => unread.as_slice(),
            Extras::LeftOut => &[],
        };
        let (table, handed) = source.into_table(&format, copied).map_err(wrong)?;
        let prompts = Prompts {
            asked: asked.session_prompts,
            told: format.new_only,
            are_made_whole: asked.makes_whole,
        };
        let mapped = Box::pin(mapping::run(&format, Arc::new(table), extras)).await?;
        Ok(Self {
            path: asked.path.to_owned(),
            format,
            extras,
            restarts,
            origin,
            clock: RunningClock::default(),
            file: 0,
            habits: Habits::default(),
            sessions: Sessions::new(prompts),
            unread,
            stream: mapped.stream,
            origins: mapped.origins,
            handed,
            rows: 0,
        })
    }

    /// Returns the format that is in use.
    pub(super) fn format(&self) -> &FormatInfo {
        &self.format
    }

    /// Returns the columns of the batches.
    pub(super) fn schema(&self) -> SchemaRef {
        self.stream.schema()
    }

    /// Returns how many rows were handed out.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns how often the trace's clock has started again so far.
    pub(super) fn clock_restarts(&self) -> u64 {
        self.clock.restarts()
    }

    /// Returns the columns of the file that are not read.
    pub(super) fn unread(&self) -> &[String] {
        &self.unread
    }

    /// Returns what the prompts of sessions hold, as far as rows were handed out.
    pub(super) fn prompt_facts(&self) -> PromptFacts {
        self.sessions.prompt_facts()
    }

    /// Says in which file a row stands, and where.
    pub(super) fn place(&self, line: Option<u64>) -> (PathBuf, Place) {
        (self.origin.path(line).to_owned(), self.origin.place(line))
    }

    /// Returns the next rows, as columns and decoded; none at the end.
    ///
    /// Where extra columns are kept, the canonical ones are those of the rows; else they are the
    /// mapping's own.
    ///
    /// Not to be called after an error or the end.
    pub(super) async fn next(&mut self) -> Result<Option<(RecordBatch, Vec<FileRow>)>, TraceError> {
        let batch = match self.stream.next().await {
            Some(Ok(batch)) => batch,
            Some(Err(error)) => return Err(self.engine_failure(error).await),
            None if self.rows == 0 => {
                return Err(TraceError::Empty {
                    path: self.path.clone(),
                });
            }
            None => return Ok(None),
        };
        let decoded =
            decode::rows(&batch, self.rows).map_err(|problem| self.bad_value(&problem))?;
        self.habits.observe(&decoded);
        self.sessions.recognise(self.habits.decided());
        let told = decoded.iter().filter(|decoded| decoded.has_arrival);
        let own_ns: Vec<i64> = told
            .map(|decoded| decoded.file_row.row.arrival_ns)
            .collect();
        let mut following_ns = own_ns.as_slice();
        let rows: Result<Vec<FileRow>, TraceError> = decoded
            .into_iter()
            .map(|mut decoded| {
                if decoded.has_arrival {
                    following_ns = following_ns.get(1..).unwrap_or_default();
                    self.put_on_clock(&mut decoded.file_row, following_ns)?;
                }
                self.put_in_session(decoded)
            })
            .collect();
        self.rows += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        let rows = rows?;
        let batch = match self.extras {
            Extras::Kept => encode::replace(batch, &rows),
            Extras::LeftOut => batch,
        };
        Ok(Some((batch, rows)))
    }

    /// Puts a row where the trace's clock has it; `following_ns` are the times of the rows behind.
    fn put_on_clock(
        &mut self,
        file_row: &mut FileRow,
        following_ns: &[i64],
    ) -> Result<(), TraceError> {
        let own_ns = file_row.row.arrival_ns;
        let restarts = self.clock.restarts();
        let is_recording = self.file != file_row.row.file && self.clock.is_set_back(own_ns);
        self.file = file_row.row.file;
        file_row.row.arrival_ns = match self.format.clock {
            TraceClock::Absolute => own_ns,
            TraceClock::Restarts if is_recording => self.clock.restart(own_ns),
            TraceClock::FromZero if !(is_recording && own_ns == 0) => self.clock.follow(own_ns),
            TraceClock::Relative | TraceClock::FromZero if is_recording => {
                if self.restarts != Restarts::Continued {
                    let (path, place) = self.place(file_row.line);
                    return Err(TraceError::Recordings { path, place });
                }
                self.clock.restart(own_ns)
            }
            TraceClock::Relative if self.restarts == Restarts::Ignored => self.clock.follow(own_ns),
            TraceClock::Restarts => self.clock.place(own_ns),
            TraceClock::Relative | TraceClock::FromZero => {
                let placed_ns = self.clock.place_warily(own_ns, following_ns);
                if self.restarts == Restarts::Refused && self.clock.restarts() > restarts {
                    let (path, place) = self.place(file_row.line);
                    return Err(TraceError::ClockRestart { path, place });
                }
                placed_ns
            }
        };
        Ok(())
    }

    fn put_in_session(&mut self, decoded: Decoded) -> Result<FileRow, TraceError> {
        let line = decoded.file_row.line;
        self.sessions.place(decoded).map_err(|misplaced| {
            let (column, what) = match misplaced {
                Misplaced::NoArrival => (
                    "arrival_ns",
                    "is not a time, and no earlier request of its session has one",
                ),
                Misplaced::TooLong => (
                    "input_tokens",
                    "is more than 16,777,216 tokens with what came before in its session",
                ),
            };
            self.bad_value(&decode::Problem {
                line,
                column,
                what: what.to_owned(),
            })
        })
    }

    /// Says why the engine gave up: on the file, or on a row of it.
    async fn engine_failure(&mut self, error: DataFusionError) -> TraceError {
        if let Some(failure) = self.handed.take_failure() {
            return failure;
        }
        let last = self.handed.last_batch();
        let found = mapping::find_bad_row(&self.format, self.extras, last, error);
        let (line, message) = Box::pin(found).await;
        self.bad_row(line, message)
    }

    /// Says which columns of the file a canonical value that can't be used was made from.
    fn bad_value(&self, problem: &decode::Problem) -> TraceError {
        let batch = self.handed.last_batch();
        let origins = self.origins.get(problem.column);
        let mut values: Vec<(&String, String)> = origins
            .into_iter()
            .flatten()
            .filter_map(|column| {
                // None where a filter held the row back until its batch was gone, or where the
                // column is one of the mapping's own, such as an object of a list.
                let value = problem.line.and_then(|line| {
                    batch
                        .as_ref()
                        .and_then(|batch| mapping::value_on_line(batch, line, column))
                })?;
                Some((column, value))
            })
            .collect();
        // Of several columns that a value may be made from, those that have one made it.
        if values.iter().any(|(_, value)| !value.is_empty()) {
            values.retain(|(_, value)| !value.is_empty());
        }
        let made_from: Vec<String> = values
            .iter()
            .map(|(column, value)| match value.as_str() {
                "" => format!("column `{}` is empty or missing", quoted(column)),
                value => format!("column `{}` is `{value}`", quoted(column)),
            })
            .collect();
        let so = format!("`{}` {}", problem.column, problem.what);
        let message = if made_from.is_empty() {
            so
        } else {
            format!("{}, so {so}", made_from.join(", "))
        };
        self.bad_row(problem.line, message)
    }

    fn bad_row(&self, line: Option<u64>, message: String) -> TraceError {
        let (path, place) = self.place(line);
        TraceError::BadRow {
            path,
            place,
            message,
        }
    }
}
