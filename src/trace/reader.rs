//! Streams a trace file as canonical rows: opened, mapped, put in order, selected.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::checked::{Asked, Checked};
use super::decode::FileRow;
use super::error::TraceError;
use super::format::FormatInfo;
use super::mapping::Extras;
use super::reorder::Reorder;
use super::row::TraceRow;
use super::select::{Position, Selection};

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
    checked: Checked,
    options: TraceOptions,
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
            .field("format", &self.checked.format().name)
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
    let asked = Asked {
        path: &options.path,
        format: options.format.as_deref(),
        map: options.map.as_deref(),
    };
    Ok(TraceReader {
        checked: Checked::open(asked, Extras::LeftOut).await?,
        options: options.clone(),
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
        self.checked.format()
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
            read: self.checked.rows(),
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
                    place: self.checked.place(late.item.line),
                    back_ns: late.back_ns,
                    look_ahead: LOOK_AHEAD_ROWS,
                })?;
                if oldest.is_some() {
                    return Ok(oldest);
                }
            } else if self.is_at_end {
                return Ok(self.reorder.pop());
            } else {
                match self.checked.next().await? {
                    Some((_, rows)) => self.decoded.extend(rows),
                    None => self.is_at_end = true,
                }
            }
        }
    }
}
