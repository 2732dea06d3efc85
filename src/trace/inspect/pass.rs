//! The one pass over a trace: reading, order, restarts of the clock, and what was asked for.
//!
//! Memory: a batch of the file, the times of the look-ahead (2 MiB), and what the parts of
//! `contents` and `arrivals` say. With a window, the first 65,536 rows are held too, until it is
//! known which of them came first.

use std::path::PathBuf;

use crate::plan::SessionPrompts;
use crate::trace::checked::{Asked, Checked, Restarts};
use crate::trace::decode::FileRow;
use crate::trace::error::TraceError;
use crate::trace::format::FormatInfo;
use crate::trace::history::PromptFacts;
use crate::trace::mapping::Extras;
use crate::trace::reader::LOOK_AHEAD_ROWS;
use crate::trace::reorder::Reorder;
use crate::trace::select::{Position, Selection};

use super::arrivals::{ArrivalFacts, Arrivals};
use super::contents::{ContentFacts, Contents};
use super::sketch::RateSketch;

/// Which trace to look at, how, and at what of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inspection {
    /// The file: CSV, JSONL or Parquet; text also gzipped.
    pub(crate) path: PathBuf,
    /// Name of the format; none to recognise it by the file's columns.
    pub(crate) format: Option<String>,
    /// The user's own mapping, in place of a shipped format.
    pub(crate) map: Option<PathBuf>,
    /// What prompts of sessions are taken to hold.
    pub(crate) session_prompts: SessionPrompts,
    /// Start of the window, in nanoseconds of trace time since the first arrival.
    pub(crate) from_ns: i64,
    /// Length of the window, in nanoseconds of trace time; none for the rest of the trace.
    pub(crate) for_ns: Option<i64>,
    /// Share of the sessions to take, above 0 and up to 1.
    pub(crate) sample: Option<f64>,
    /// Seed that chooses the sessions.
    pub(crate) seed: u64,
    /// Most rows of the file to read.
    pub(crate) limit: Option<u64>,
    /// Columns of the sketch of the rate over time.
    pub(crate) sketch_columns: u32,
}

/// What a trace is like.
#[derive(Debug, Clone)]
pub(crate) struct Inspected {
    /// The format that was read.
    pub(crate) format: FormatInfo,
    /// Rows that were read from the file.
    pub(crate) rows_read: u64,
    /// Rows in the window that are not in the sample.
    pub(crate) rows_not_sampled: u64,
    /// How often the file's clock starts anew.
    pub(crate) clock_restarts: u64,
    /// Rows that stood after a younger one, where the clock did not start anew.
    pub(crate) out_of_order: u64,
    /// Rows among them that stood too far back to be put right. They count at the time of the row
    /// that the look-ahead had let go last.
    pub(crate) too_late: u64,
    /// The file's own time of the first arrival of all, in nanoseconds; none without rows.
    pub(crate) zero_ns: Option<i64>,
    /// Columns of the file that are neither read nor sent.
    pub(crate) unread: Vec<String>,
    /// What prompts of sessions hold, of the rows that were read.
    pub(crate) prompts: PromptFacts,
    /// When rows arrive.
    pub(crate) arrivals: ArrivalFacts,
    /// The rate over time; none where all arrive at one instant.
    pub(crate) sketch: Option<RateSketch>,
    /// What rows hold.
    pub(crate) contents: ContentFacts,
}

/// Looks at a trace. The future may block on the file.
///
/// # Errors
///
/// Whatever ends a replay of the trace, but for rows that stand too far out of order: those are
/// counted.
pub(crate) async fn inspect(asked: &Inspection) -> Result<Inspected, TraceError> {
    inspect_within(LOOK_AHEAD_ROWS, asked).await
}

/// Looks at a trace with another look-ahead, in rows.
pub(super) async fn inspect_within(
    look_ahead: usize,
    asked: &Inspection,
) -> Result<Inspected, TraceError> {
    let selection = Selection {
        from_ns: asked.from_ns,
        for_ns: asked.for_ns,
        sample: asked.sample,
        seed: asked.seed,
        keeps_failed: true,
        ..Selection::default()
    };
    selection.check()?;
    let file = Asked {
        path: &asked.path,
        pipe: None,
        format: asked.format.as_deref(),
        map: asked.map.as_deref(),
        session_prompts: asked.session_prompts,
        makes_whole: true,
    };
    let mut checked = Checked::open(file, Extras::LeftOut, Restarts::Continued).await?;
    let format = checked.format().clone();
    let mut pass = Pass::new(look_ahead, selection);
    let limit = asked.limit.unwrap_or(u64::MAX);
    while pass.rows_read < limit && !pass.is_past_window {
        // Reading blocks: whoever waits for a signal gets a turn after every batch.
        tokio::task::yield_now().await;
        let Some((_, rows)) = checked.next().await? else {
            break;
        };
        for row in rows {
            if pass.rows_read < limit {
                pass.add(row);
            }
        }
    }
    let clock_restarts = checked.clock_restarts();
    let inspected = pass.finish(format, clock_restarts, asked.sketch_columns);
    Ok(Inspected {
        unread: checked.unread().to_vec(),
        prompts: checked.prompt_facts(),
        ..inspected
    })
}

/// Rows on their way to the facts.
struct Pass {
    selection: Selection,
    order: Reorder<Waiting>,
    too_late: u64,
    /// The first arrival of all, in nanoseconds, once it is known.
    zero_ns: Option<i64>,
    /// Rows whose place in the window is not known yet, with their times.
    unplaced: Vec<(i64, FileRow)>,
    is_past_window: bool,
    rows_read: u64,
    rows_not_sampled: u64,
    arrivals: Arrivals,
    contents: Contents,
}

/// What the look-ahead needs to know of a row beside its time.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    is_sampled: bool,
}

impl Pass {
    fn new(look_ahead: usize, selection: Selection) -> Self {
        Self {
            selection,
            order: Reorder::new(look_ahead),
            too_late: 0,
            zero_ns: None,
            unplaced: Vec::new(),
            is_past_window: false,
            rows_read: 0,
            rows_not_sampled: 0,
            arrivals: Arrivals::new(),
            contents: Contents::new(),
        }
    }

    /// Takes the next row of the file.
    fn add(&mut self, row: FileRow) {
        self.rows_read += 1;
        let session = row.row.session_id.as_deref();
        let is_sampled = self.selection.is_sampled(session, row.number);
        let mut at_ns = row.row.arrival_ns;
        match self.order.push(at_ns, Waiting { is_sampled }) {
            Ok(oldest) => self.arrive(oldest),
            Err(late) => {
                self.too_late += 1;
                at_ns = at_ns.saturating_add_unsigned(late.back_ns);
                if is_sampled && self.is_inside(at_ns) {
                    self.arrivals.add_late(at_ns);
                }
            }
        }
        if self.selection.from_ns == 0 && self.selection.for_ns.is_none() {
            self.take(row, is_sampled);
        } else if self.zero_ns.is_none() {
            self.unplaced.push((at_ns, row));
        } else {
            self.place(at_ns, row);
        }
    }

    /// Takes a row that the look-ahead let go, in order of time.
    fn arrive(&mut self, oldest: Option<(i64, Waiting)>) {
        let Some((at_ns, row)) = oldest else {
            return;
        };
        let zero_ns = *self.zero_ns.get_or_insert(at_ns);
        for (at_ns, row) in std::mem::take(&mut self.unplaced) {
            self.place(at_ns, row);
        }
        match self.selection.position(at_ns.saturating_sub(zero_ns)) {
            Position::Inside(_) if row.is_sampled => self.arrivals.add(at_ns),
            Position::Before | Position::Inside(_) => {}
            Position::After => self.is_past_window = true,
        }
    }

    /// Takes a row if it is in the window.
    fn place(&mut self, at_ns: i64, row: FileRow) {
        if self.is_inside(at_ns) {
            let session = row.row.session_id.as_deref();
            let is_sampled = self.selection.is_sampled(session, row.number);
            self.take(row, is_sampled);
        }
    }

    fn is_inside(&self, at_ns: i64) -> bool {
        let since_first_ns = at_ns.saturating_sub(self.zero_ns.unwrap_or(at_ns));
        let position = self.selection.position(since_first_ns);
        matches!(position, Position::Inside(_))
    }

    /// Takes a row of the window.
    fn take(&mut self, row: FileRow, is_sampled: bool) {
        if is_sampled {
            self.contents.add(&row.row);
        } else {
            self.rows_not_sampled += 1;
        }
    }

    fn finish(mut self, format: FormatInfo, clock_restarts: u64, sketch_columns: u32) -> Inspected {
        while let Some(oldest) = self.order.pop() {
            self.arrive(Some(oldest));
        }
        Inspected {
            format,
            rows_read: self.rows_read,
            rows_not_sampled: self.rows_not_sampled,
            clock_restarts,
            out_of_order: self.order.out_of_order() + self.too_late,
            too_late: self.too_late,
            zero_ns: self.zero_ns,
            unread: Vec::new(),
            prompts: PromptFacts::default(),
            arrivals: self.arrivals.facts(),
            sketch: self.arrivals.sketch(sketch_columns),
            contents: self.contents.facts(),
        }
    }
}
