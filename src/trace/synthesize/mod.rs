//! Makes a new trace out of a trace: more or fewer sessions, other lengths, other stretches.
//!
//! A trace is read twice. The first pass (`survey`) learns what no single row tells: which rows
//! belong together, which prefix blocks are shared (`chains`), when it ends. The second takes each
//! row (`rows`) into as many copies as the plan (`plan`) says, with scaled lengths (`lengths`), and
//! writes what comes out in order of arrival.
//!
//! What holds, and what cannot:
//!
//! - Sessions are taken whole, with the pauses inside them, in every copy.
//! - A copy is the trace itself at another time, shifted as a whole, so that it has the bursts, the
//!   ties and the quiet of the trace. Shifting each session by a draw of its own would smear all of
//!   these. Copies stand about a minute apart: a burst does not meet itself, and the slow shape of
//!   a day is left as it is.
//! - So the variance of counts grows as their mean does, and the index of dispersion at a second
//!   stays; over longer times it grows where the whole trace swells and shrinks. The variation of
//!   single gaps falls as copies are added, since one copy's requests fall into another's gaps.
//! - Thinning leaves arrivals where they are. The index of dispersion goes towards 1 by the share
//!   that is kept, as that of any independent choice does.
//! - Blocks that several sessions share are shared between copies too; a block that one session has
//!   gets a new id in each copy, or copies would find each other's answers in the cache.

mod chains;
mod columns;
mod copies;
mod lengths;
mod plan;
mod rows;
mod survey;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use self::columns::Problem;
use self::rows::{PlacedBatch, Rewriter};
use self::survey::Survey;
use super::checked::{Asked, Checked, Restarts};
use super::columns::{NUMBER, NUMBER_AT};
use super::error::TraceError;
use super::mapping::Extras;
use super::write::{Failure, SORT_BYTES, Target, write_rows};
use crate::plan::SessionPrompts;

pub use plan::{Changes, Window};

/// Which trace to change, and how.
#[derive(Debug, Clone, Default)]
pub struct Synthesis {
    /// The file: CSV, JSONL or Parquet; text also gzipped. It is read twice.
    pub path: PathBuf,
    /// Name of the format; none to recognise it by the file's columns.
    pub format: Option<String>,
    /// The user's own mapping, in place of a shipped format.
    pub map: Option<PathBuf>,
    /// What is changed.
    pub changes: Changes,
    /// Name of the output, for messages; what sorting can't hold in memory goes beside it.
    pub output: PathBuf,
}

/// What was made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Synthesized {
    /// Name of the format that was read.
    pub format: String,
    /// Rows of the trace.
    pub read: u64,
    /// Rows of the trace that lay in the windows.
    pub in_windows: u64,
    /// Rows that were written.
    pub written: u64,
    /// Sessions, or conversations that share their prefix blocks; 0 where the trace has neither.
    pub sessions: usize,
    /// Copies of each session, the last of which may have a part of them.
    pub copies: u32,
    /// Time from one copy to the next, in nanoseconds.
    pub copy_shift_ns: i64,
}

/// Reads a trace twice and writes what is made of it to `output` as Parquet, in order of arrival.
///
/// The same trace and changes give the same rows. The future may block on both files. Memory: a
/// few bytes a row and some 40 a session or block of the trace, and 512 MiB for sorting.
///
/// # Errors
///
/// Whatever ends a conversion of the trace; changes that make no sense or leave nothing; a length
/// that becomes too large; a file that is not the same the second time. What was written until then
/// is no Parquet file.
pub async fn synthesize<W: Write + Send>(
    synthesis: &Synthesis,
    output: W,
) -> Result<Synthesized, TraceError> {
    let path = &synthesis.path;
    synthesis.changes.check()?;
    check_kind(path)?;
    let survey = survey(synthesis).await?;
    let plan = synthesis.changes.plan(survey.span())?;
    let checked = Checked::open(asked(synthesis), Extras::Kept, Restarts::Refused).await?;
    let mut synthesized = Synthesized {
        format: checked.format().name.clone(),
        read: survey.rows(),
        sessions: survey.groups(),
        copies: plan.copies.count,
        copy_shift_ns: plan.shift_ns,
        ..Synthesized::default()
    };
    let schema = numbered(&checked.schema());
    let rewriter = Rewriter::new(synthesis.changes.clone(), plan, survey, schema);
    let told = Arc::new(Told::default());
    let target = Target {
        input: path,
        output: &synthesis.output,
        sort_bytes: Some(SORT_BYTES),
    };
    let rows = rewritten(path.clone(), checked, rewriter, Arc::clone(&told));
    synthesized.written = write_rows(rows, target, &told.failure, output).await?;
    synthesized.in_windows = *told.lock_taken();
    if synthesized.written == 0 {
        return Err(TraceError::Selection {
            message: format!(
                "nothing is left of the {} requests of `{}`",
                synthesized.read,
                path.display()
            ),
        });
    }
    Ok(synthesized)
}

fn asked(synthesis: &Synthesis) -> Asked<'_> {
    Asked {
        path: &synthesis.path,
        pipe: None,
        format: synthesis.format.as_deref(),
        map: synthesis.map.as_deref(),
        session_prompts: SessionPrompts::Auto,
        makes_whole: false,
    }
}

/// Fails where a file can be read only once.
fn check_kind(path: &Path) -> Result<(), TraceError> {
    // What is wrong with it otherwise, opening it tells.
    let is_readable_twice =
        std::fs::metadata(path).map_or(true, |found| found.is_file() || found.is_dir());
    if is_readable_twice {
        return Ok(());
    }
    Err(TraceError::ReadOnce {
        path: path.to_owned(),
    })
}

/// Reads a trace for the first time.
async fn survey(synthesis: &Synthesis) -> Result<Survey, TraceError> {
    let mut checked = Checked::open(asked(synthesis), Extras::LeftOut, Restarts::Refused).await?;
    let mut survey = Survey::default();
    while let Some((_, rows)) = checked.next().await? {
        rows.iter().for_each(|row| survey.add(row));
        // Reading blocks: whoever waits for a signal gets a turn after every batch.
        tokio::task::yield_now().await;
    }
    Ok(survey)
}

/// Returns the columns with [`NUMBER`] in place of the line.
fn numbered(schema: &SchemaRef) -> SchemaRef {
    let mut fields = schema.fields().to_vec();
    fields[NUMBER_AT] = Arc::new(Field::new(NUMBER, DataType::UInt64, true));
    Arc::new(Schema::new(fields))
}

/// What the stream of rows tells the writer's side.
///
/// The stream writes when it is polled, the writer's side reads after its end.
#[derive(Debug, Default)]
struct Told {
    taken: Mutex<u64>,
    failure: Failure,
}

impl Told {
    fn lock_taken(&self) -> std::sync::MutexGuard<'_, u64> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Streams what is made of a trace: each batch of it once for each copy.
fn rewritten(
    path: PathBuf,
    checked: Checked,
    rewriter: Rewriter,
    told: Arc<Told>,
) -> SendableRecordBatchStream {
    let schema = rewriter.schema();
    let reading = Reading {
        path,
        checked,
        rewriter,
        current: None,
        next_copy: 0,
    };
    let rows = futures::stream::try_unfold(reading, move |mut reading| {
        let told = Arc::clone(&told);
        async move {
            // Reading blocks: whoever waits for a signal gets a turn after every batch.
            tokio::task::yield_now().await;
            let next = reading.next().await;
            let next = next.map_err(|failure| told.failure.keep(failure))?;
            *told.lock_taken() = reading.rewriter.taken();
            Ok(next.map(|batch| (batch, reading)))
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, rows))
}

/// The second reading of a trace, in which each batch stays until all copies have it.
struct Reading {
    path: PathBuf,
    checked: Checked,
    rewriter: Rewriter,
    current: Option<PlacedBatch>,
    next_copy: u32,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<RecordBatch>, TraceError> {
        loop {
            let Some(batch) = &self.current else {
                if !self.read().await? {
                    return Ok(None);
                }
                continue;
            };
            if self.next_copy == self.rewriter.copies() {
                self.current = None;
                continue;
            }
            let made = self.rewriter.copy(self.next_copy, batch);
            self.next_copy += 1;
            if let Some(made) = made.map_err(|problem| self.explain(batch, problem))? {
                return Ok(Some(made));
            }
        }
    }

    /// Reads the next batch; returns false at the end.
    async fn read(&mut self) -> Result<bool, TraceError> {
        let next = self.checked.next().await?;
        let is_end = next.is_none();
        let surveyed = self.rewriter.surveyed_rows();
        let rows = self.checked.rows();
        if rows > surveyed || (is_end && rows < surveyed) {
            return Err(TraceError::Changed {
                path: self.path.clone(),
            });
        }
        self.current = next.map(|(columns, rows)| self.rewriter.place(columns, rows));
        self.next_copy = 0;
        Ok(!is_end)
    }

    fn explain(&self, batch: &PlacedBatch, problem: Problem) -> TraceError {
        match problem {
            Problem::TooLong(at) => {
                let (path, place) = self.checked.place(batch.line(at));
                TraceError::TooLong { path, place }
            }
            Problem::Arrow(error) => TraceError::Sort {
                path: self.path.clone(),
                message: error.to_string(),
            },
        }
    }
}
