//! Streams a trace file as canonical rows: opened, mapped, put in order, selected.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::decode::{self, FileRow};
use super::error::TraceError;
use super::format::{self, FormatInfo};
use super::mapping;
use super::reorder::Reorder;
use super::row::TraceRow;
use super::select::{Position, Selection};
use super::source::{self, Handed, Source};

/// Rows that are held to put small disorder right.
pub const LOOK_AHEAD_ROWS: usize = 65_536;

/// Which trace to read, how, and what of it.
#[derive(Debug, Clone, Default)]
pub struct TraceOptions {
    /// The file: CSV, JSONL or Parquet; text also gzipped.
    pub path: PathBuf,
    /// Name of the format; none to recognise it by the file's columns.
    pub format: Option<String>,
    /// The user's own mapping, in place of a shipped format.
    pub map: Option<PathBuf>,
    /// What to take.
    pub selection: Selection,
}

/// What became of a trace's rows so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// Rows that were read from the file.
    pub read: u64,
    /// Rows that were handed out.
    pub taken: u64,
    /// Rows in the window and the sample that were left out because the trace marks them as failed.
    pub failed: u64,
    /// Rows in the window that are not in the sample.
    pub not_sampled: u64,
    /// Rows that stood after a younger one and were put right.
    pub out_of_order: u64,
}

/// A trace that is being read.
///
/// Memory does not grow with the file: it holds a batch of rows and the look-ahead.
pub struct TraceReader {
    format: FormatInfo,
    options: TraceOptions,
    is_parquet: bool,
    stream: SendableRecordBatchStream,
    origins: HashMap<String, Vec<String>>,
    handed: Arc<Handed>,
    decoded: VecDeque<FileRow>,
    reorder: Reorder<FileRow>,
    is_at_end: bool,
    is_done: bool,
    zero_ns: Option<i64>,
    counts: TraceCounts,
}

impl std::fmt::Debug for TraceReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TraceReader")
            .field("path", &self.options.path)
            .field("format", &self.format.name)
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// Opens a trace. The future and the reader's may block on the file.
///
/// # Errors
///
/// Whatever can be told from the options, the mapping and the file's first rows.
pub async fn open(options: &TraceOptions) -> Result<TraceReader, TraceError> {
    options.selection.check()?;
    // The mapping first: a pipe can be opened only once.
    let named = match (&options.map, &options.format) {
        (Some(map), _) => Some(format::read_mapping(map)?),
        (None, Some(name)) => Some(format::format_named(name)?),
        (None, None) => None,
    };
    let source = Source::open(&options.path)?;
    let columns = source.column_names();
    let format = match named {
        Some(format) => {
            format::check_columns(&format, &options.path, &columns)?;
            format
        }
        None => format::recognise(&options.path, &columns)?,
    };
    let is_parquet = source.is_parquet();
    let (table, handed) =
        source
            .into_table(&format.optional)
            .map_err(|error| TraceError::MappingSql {
                mapping: format.name.clone(),
                message: error.strip_backtrace(),
            })?;
    let mapped = Box::pin(mapping::run(&format, Arc::new(table))).await?;
    Ok(TraceReader {
        format,
        options: options.clone(),
        is_parquet,
        stream: mapped.stream,
        origins: mapped.origins,
        handed,
        decoded: VecDeque::new(),
        reorder: Reorder::new(LOOK_AHEAD_ROWS),
        is_at_end: false,
        is_done: false,
        zero_ns: None,
        counts: TraceCounts::default(),
    })
}

impl TraceReader {
    /// Returns the format that is in use.
    pub fn format(&self) -> &FormatInfo {
        &self.format
    }

    /// Returns the file's own time of the first arrival, in nanoseconds, once it is known.
    ///
    /// It is subtracted from every arrival.
    pub fn zero_ns(&self) -> Option<i64> {
        self.zero_ns
    }

    /// Returns what became of the rows so far.
    pub fn counts(&self) -> TraceCounts {
        TraceCounts {
            out_of_order: self.reorder.out_of_order(),
            ..self.counts
        }
    }

    /// Returns the next row, in order of arrival; none at the end.
    ///
    /// Its `arrival_ns` counts from the start of the window and is divided by the speed.
    ///
    /// # Errors
    ///
    /// A bad row, by file and line, also when it stands up to the look-ahead further on; a row from
    /// further back than the look-ahead; a file that can't be read. Rows that were handed out before
    /// stay good. There are no rows after an error.
    pub async fn next(&mut self) -> Result<Option<TraceRow>, TraceError> {
        let limit = self.options.selection.limit;
        while !self.is_done && limit.is_none_or(|limit| self.counts.taken < limit) {
            let next = self.next_in_order().await;
            let Some((at_ns, row)) = next.inspect_err(|_| self.is_done = true)? else {
                self.is_done = true;
                break;
            };
            if let Some(row) = self.select(at_ns, row) {
                self.counts.taken += 1;
                return Ok(Some(row));
            }
        }
        Ok(None)
    }

    /// Places a row in the window, and leaves out what was not asked for.
    fn select(&mut self, at_ns: i64, file_row: FileRow) -> Option<TraceRow> {
        let zero_ns = *self.zero_ns.get_or_insert(at_ns);
        let selection = &self.options.selection;
        let due_ns = match selection.position(at_ns.saturating_sub(zero_ns)) {
            Position::Before => return None,
            Position::After => {
                self.is_done = true;
                return None;
            }
            Position::Inside(due_ns) => due_ns,
        };
        let mut row = file_row.row;
        if !selection.is_sampled(row.session_id.as_deref(), file_row.number) {
            self.counts.not_sampled += 1;
            return None;
        }
        if row.failed && !selection.keeps_failed {
            self.counts.failed += 1;
            return None;
        }
        row.arrival_ns = due_ns;
        Some(row)
    }

    /// Returns the oldest row that the look-ahead lets go.
    async fn next_in_order(&mut self) -> Result<Option<(i64, FileRow)>, TraceError> {
        loop {
            if let Some(row) = self.decoded.pop_front() {
                let pushed = self.reorder.push(row.row.arrival_ns, row);
                let oldest = pushed.map_err(|late| TraceError::Backwards {
                    path: self.options.path.clone(),
                    place: source::place(self.is_parquet, late.item.line),
                    back_ns: late.back_ns,
                    look_ahead: LOOK_AHEAD_ROWS,
                })?;
                if oldest.is_some() {
                    return Ok(oldest);
                }
            } else if self.is_at_end {
                return Ok(self.reorder.pop());
            } else {
                self.read_batch().await?;
            }
        }
    }

    async fn read_batch(&mut self) -> Result<(), TraceError> {
        match self.stream.next().await {
            None => {
                self.is_at_end = true;
                if self.counts.read == 0 {
                    return Err(TraceError::Empty {
                        path: self.options.path.clone(),
                    });
                }
            }
            Some(Ok(batch)) => {
                let rows = decode::rows(&batch, self.counts.read)
                    .map_err(|problem| self.bad_row(&problem))?;
                self.counts.read += u64::try_from(rows.len()).unwrap_or(u64::MAX);
                self.decoded.extend(rows);
            }
            Some(Err(error)) => {
                if let Some(failure) = self.handed.take_failure() {
                    return Err(failure);
                }
                return Err(Box::pin(mapping::find_bad_row(
                    &self.format,
                    &self.options.path,
                    self.is_parquet,
                    self.handed.last_batch(),
                    error,
                ))
                .await);
            }
        }
        Ok(())
    }

    /// Says which columns of the file a canonical value that can't be used was made from.
    fn bad_row(&self, problem: &decode::Problem) -> TraceError {
        let batch = self.handed.last_batch();
        let origins = self.origins.get(problem.column);
        let made_from: Vec<String> = origins
            .into_iter()
            .flatten()
            .map(|column| {
                let value = problem.line.and_then(|line| {
                    batch
                        .as_ref()
                        .and_then(|batch| mapping::value_on_line(batch, line, column))
                });
                match value.as_deref() {
                    Some("") => format!("column `{column}` is empty or missing"),
                    Some(value) => format!("column `{column}` is `{value}`"),
                    // A filter held the row back until its batch was gone.
                    None => format!("of column `{column}`"),
                }
            })
            .collect();
        let so = format!("`{}` {}", problem.column, problem.what);
        TraceError::BadRow {
            path: self.options.path.clone(),
            place: source::place(self.is_parquet, problem.line),
            message: if made_from.is_empty() {
                so
            } else {
                format!("{}, so {so}", made_from.join(", "))
            },
        }
    }
}
