//! Streams a trace file as canonical rows: opened, mapped, put in order, selected.

use std::collections::VecDeque;
use std::path::PathBuf;

use super::checked::{Asked, Checked, Restarts};
use super::decode::FileRow;
use super::error::TraceError;
use super::format::FormatInfo;
use super::history::PromptFacts;
use super::mapping::Extras;
use super::pipe::Pipe;
use super::prefixes::{BLOCKS_MAX, Prefixes};
use super::reorder::Reorder;
use super::row::TraceRow;
use super::select::{Position, Selection};
use super::ties;
use super::timeline::{TIES_MAX, Timeline, TooManyTies};
use crate::plan::{FailedRows, SessionPrompts, TracePlan};
use crate::units::seconds;

/// Rows that are held to put small disorder right.
pub const LOOK_AHEAD_ROWS: usize = 65_536;

/// Which trace to read, how, and what of it.
#[derive(Debug, Clone, Default)]
pub struct TraceOptions {
    /// The file: CSV, JSONL or Parquet; text also gzipped.
    pub path: PathBuf,
    /// The pipe at `path`, where it is one and more than one reader opens it.
    pub pipe: Option<Pipe>,
    /// Name of the format; none to recognise it by the file's columns.
    pub format: Option<String>,
    /// The user's own mapping, in place of a shipped format.
    pub map: Option<PathBuf>,
    /// What prompts of sessions are taken to hold.
    pub session_prompts: SessionPrompts,
    /// Whether time goes on where a clock that counts from somewhere starts again; else that is an
    /// error.
    pub continues_clock: bool,
    /// What to take.
    pub selection: Selection,
}

impl TraceOptions {
    /// What a plan with this seed says.
    pub fn planned(plan: &TracePlan, seed: u64) -> Self {
        Self {
            path: plan.path.clone(),
            pipe: None,
            format: plan.format.clone().filter(|_| plan.map.is_none()),
            map: plan.map.clone(),
            session_prompts: plan.session_prompts,
            continues_clock: plan.restarts == crate::plan::Restarts::Continue,
            selection: Selection {
                from_ns: plan.from_ns.unwrap_or_default(),
                for_ns: plan.for_ns,
                speed: plan.speed.unwrap_or(1.0),
                limit: plan.limit,
                sample: plan.sample,
                seed,
                keeps_failed: plan.failed == FailedRows::Replay,
                ties: plan.ties,
                max_idle_ns: plan.max_idle_ns,
            },
        }
    }
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
    /// Rows among those that were handed out which say nothing of what was answered.
    pub without_reply: u64,
}

/// A trace that is being read.
///
/// Memory does not grow with the file: it holds a batch of rows and the look-ahead.
pub struct TraceReader {
    checked: Checked,
    options: TraceOptions,
    decoded: VecDeque<FileRow>,
    reorder: Reorder<FileRow>,
    timeline: Timeline,
    prefixes: Prefixes,
    is_at_end: bool,
    is_done: bool,
    zero_ns: Option<i64>,
    /// The youngest row that was placed, since the first arrival.
    last_ns: i64,
    quantum_ns: Option<i64>,
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
        pipe: options.pipe.as_ref(),
        format: options.format.as_deref(),
        map: options.map.as_deref(),
        session_prompts: options.session_prompts,
        makes_whole: true,
    };
    let restarts = match options.continues_clock {
        true => Restarts::Continued,
        false => Restarts::Refused,
    };
    Ok(TraceReader {
        checked: Checked::open(asked, Extras::LeftOut, restarts).await?,
        options: options.clone(),
        decoded: VecDeque::new(),
        reorder: Reorder::new(LOOK_AHEAD_ROWS),
        timeline: Timeline::new(&options.selection),
        prefixes: Prefixes::new(BLOCKS_MAX),
        is_at_end: false,
        is_done: false,
        zero_ns: None,
        last_ns: 0,
        quantum_ns: None,
        counts: TraceCounts::default(),
    })
}

impl TraceReader {
    /// Returns the format that is in use.
    pub fn format(&self) -> &FormatInfo {
        self.checked.format()
    }

    /// Returns the columns of the file that are neither read nor sent.
    pub fn unread_columns(&self) -> &[String] {
        self.checked.unread()
    }

    /// Returns what the prompts of sessions hold, as far as rows were read.
    pub fn prompt_facts(&self) -> PromptFacts {
        self.checked.prompt_facts()
    }

    /// Returns the file's own time of the first arrival, in nanoseconds, once it is known.
    ///
    /// It is subtracted from every arrival.
    pub fn zero_ns(&self) -> Option<i64> {
        self.zero_ns
    }

    /// Returns the quantum inside which ties are spread, in nanoseconds, where they are and once it is
    /// known.
    pub fn quantum_ns(&self) -> Option<i64> {
        self.quantum_ns
    }

    /// Fails where the trace has been read as far as the window goes, and has no row in it: behind the
    /// end of the trace, or in a gap.
    pub fn ensure_any(&self) -> Result<(), TraceError> {
        let counts = self.counts;
        if !self.is_done || counts.taken + counts.failed + counts.not_sampled > 0 {
            return Ok(());
        }
        let Selection {
            from_ns, for_ns, ..
        } = self.options.selection;
        let (path, from) = (self.options.path.display(), seconds(from_ns));
        let message = match for_ns {
            _ if self.last_ns < from_ns => format!(
                "`--from` is {from} s, and trace `{path}` is {} s long",
                seconds(self.last_ns)
            ),
            Some(for_ns) => format!(
                "trace `{path}` has no row from {from} s to {} s",
                seconds(from_ns.saturating_add(for_ns))
            ),
            None => return Ok(()),
        };
        Err(TraceError::Selection { message })
    }

    /// Returns what became of the rows so far.
    pub fn counts(&self) -> TraceCounts {
        TraceCounts {
            read: self.checked.rows(),
            out_of_order: self.reorder.out_of_order(),
            ..self.counts
        }
    }

    /// Returns the next row, in the order in which rows are due; none at the end.
    ///
    /// Its `arrival_ns` counts from the start of the window: idle time is cut, ties are spread and
    /// time is sped up, as the selection says.
    ///
    /// # Errors
    ///
    /// A bad row, by file and line, also when it stands up to the look-ahead further on; a row from
    /// further back than the look-ahead; a file that can't be read. Rows that were handed out before
    /// stay good. There are no rows after an error.
    pub async fn next(&mut self) -> Result<Option<TraceRow>, TraceError> {
        loop {
            if let Some(mut row) = self.timeline.pop() {
                let hits = self.prefixes.add(&row);
                row.prefix_tokens = hits.map(|hits| row.tokens_of(hits).min(row.input_tokens));
                return Ok(Some(row));
            }
            if self.is_done {
                return Ok(None);
            }
            let limit = self.options.selection.limit;
            let next = if limit.is_some_and(|limit| self.counts.taken >= limit) {
                None
            } else {
                let next = self.next_in_order().await;
                next.inspect_err(|_| self.is_done = true)?
            };
            match next {
                Some((at_ns, row)) => self.place(at_ns, row)?,
                None => self.end(),
            }
        }
    }

    fn end(&mut self) {
        self.is_done = true;
        self.timeline.finish();
    }

    /// Places a row in the window, and leaves out what was not asked for.
    fn place(&mut self, at_ns: i64, file_row: FileRow) -> Result<(), TraceError> {
        if self.zero_ns.is_none() && self.timeline.spreads_ties() {
            let mut times_ns: Vec<i64> = self.reorder.times_ns().chain([at_ns]).collect();
            let declared_ns = self.checked.format().quantum_ns;
            let quantum_ns = ties::quantum_ns(&mut times_ns, declared_ns);
            self.timeline.set_quantum_ns(quantum_ns);
            self.quantum_ns = Some(quantum_ns);
        }
        let zero_ns = *self.zero_ns.get_or_insert(at_ns);
        self.last_ns = at_ns.saturating_sub(zero_ns);
        let selection = &self.options.selection;
        let inside_ns = match selection.position(self.last_ns) {
            Position::Before => return Ok(()),
            Position::After => {
                self.end();
                return Ok(());
            }
            Position::Inside(inside_ns) => inside_ns,
        };
        let row = file_row.row;
        if !selection.is_sampled(row.session_id.as_deref(), file_row.number) {
            self.counts.not_sampled += 1;
            return Ok(());
        }
        if row.failed && !selection.keeps_failed {
            self.counts.failed += 1;
            return Ok(());
        }
        self.counts.taken += 1;
        self.counts.without_reply += u64::from(row.reply.is_none());
        self.timeline.push(inside_ns, row).map_err(|TooManyTies| {
            self.is_done = true;
            let (path, place) = self.checked.place(file_row.line);
            TraceError::TooManyTies {
                path,
                place,
                most: TIES_MAX,
            }
        })
    }

    /// Returns the oldest row that the look-ahead lets go.
    async fn next_in_order(&mut self) -> Result<Option<(i64, FileRow)>, TraceError> {
        loop {
            if let Some(row) = self.decoded.pop_front() {
                let pushed = self.reorder.push(row.row.arrival_ns, row);
                let oldest = pushed.map_err(|late| {
                    let (path, place) = self.checked.place(late.item.line);
                    TraceError::Backwards {
                        path,
                        place,
                        back_ns: late.back_ns,
                        look_ahead: LOOK_AHEAD_ROWS,
                    }
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
