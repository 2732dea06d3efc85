//! Writes a trace as Parquet in canonical columns, which the format `canonical` reads back.
//!
//! Rows are checked as for a replay and written as the mapping yields them, failed ones and extra
//! columns included. Arrivals keep the file's own clock: nothing is lost by that, and the first
//! arrival of a file that is out of order is not known before its end.

use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use super::checked::{Asked, Checked, Restarts};
use super::columns::{NUMBER, NUMBER_AT};
use super::decode::FileRow;
use super::error::TraceError;
use super::mapping::Extras;
use super::write::{Failure, SORT_BYTES, Target, write_rows};
use crate::plan::SessionPrompts;

/// Which trace to convert, and how.
#[derive(Debug, Clone, Default)]
pub struct Conversion {
    /// The file: CSV, JSONL or Parquet; text also gzipped.
    pub path: PathBuf,
    /// Name of the format; none to recognise it by the file's columns.
    pub format: Option<String>,
    /// The user's own mapping, in place of a shipped format.
    pub map: Option<PathBuf>,
    /// What prompts of sessions are taken to hold, where the trace does not say it: what is written
    /// says it.
    pub session_prompts: SessionPrompts,
    /// Whether time goes on where a clock that counts from somewhere starts again.
    pub continues_clock: bool,
    /// Whether rows are put in order of arrival, however far apart; equal ones stay as they are.
    pub is_sorted: bool,
    /// Name of the output, for messages; what sorting can't hold in memory goes beside it.
    pub output: PathBuf,
}

/// What was converted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Converted {
    /// Name of the format that was read.
    pub format: String,
    /// Rows that were written.
    pub rows: u64,
    /// Rows among them that the trace marks as failed.
    pub failed: u64,
    /// Rows that stood after a younger one in the file.
    pub out_of_order: u64,
    /// Rows that hold only what is new in their session's turn.
    pub new_only: u64,
}

/// Reads a trace and writes it to `output` as Parquet. The future may block on both files.
///
/// Memory does not grow with the file, also not where it is sorted.
///
/// # Errors
///
/// Whatever ends a replay of the trace, but for rows that stand too far out of order; a disk that is
/// full. What was written until then is no Parquet file.
pub async fn convert<W: Write + Send>(
    conversion: &Conversion,
    output: W,
) -> Result<Converted, TraceError> {
    convert_within(SORT_BYTES, conversion, output).await
}

/// Converts with at most `sort_bytes` of memory for sorting.
pub(super) async fn convert_within<W: Write + Send>(
    sort_bytes: usize,
    conversion: &Conversion,
    output: W,
) -> Result<Converted, TraceError> {
    let asked = Asked {
        path: &conversion.path,
        pipe: None,
        format: conversion.format.as_deref(),
        map: conversion.map.as_deref(),
        session_prompts: conversion.session_prompts,
        // What is written says of each row what it holds, and a replay makes it whole.
        makes_whole: false,
    };
    // To be put in order is what a file wants that is out of order, however far.
    let restarts = match conversion.is_sorted {
        _ if conversion.continues_clock => Restarts::Continued,
        true => Restarts::Ignored,
        false => Restarts::Refused,
    };
    let checked = Checked::open(asked, Extras::Kept, restarts).await?;
    let format = checked.format().name.clone();
    let told = Arc::new(Told::default());
    let rows = numbered(checked, Arc::clone(&told));
    let target = Target {
        input: &conversion.path,
        output: &conversion.output,
        sort_bytes: conversion.is_sorted.then_some(sort_bytes),
    };
    write_rows(rows, target, &told.failure, output).await?;
    let tally = *told.lock();
    Ok(Converted {
        format,
        rows: tally.rows,
        failed: tally.failed,
        out_of_order: tally.out_of_order,
        new_only: tally.new_only,
    })
}

/// What the stream of rows tells the writer's side, past a sort that knows only batches.
///
/// The stream writes when it is polled, the writer's side reads after the stream gave something.
#[derive(Default)]
struct Told {
    tally: Mutex<Tally>,
    failure: Failure,
}

#[derive(Default, Clone, Copy)]
struct Tally {
    rows: u64,
    failed: u64,
    out_of_order: u64,
    new_only: u64,
    latest_ns: Option<i64>,
}

impl Told {
    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn add(&mut self, row: &FileRow) {
        self.rows += 1;
        self.failed += u64::from(row.row.failed);
        self.new_only += u64::from(row.row.new_only == Some(true));
        let at_ns = row.row.arrival_ns;
        self.out_of_order += u64::from(self.latest_ns.is_some_and(|latest_ns| at_ns < latest_ns));
        self.latest_ns = self.latest_ns.max(Some(at_ns));
    }
}

/// Streams the checked rows with [`NUMBER`] in place of their line.
fn numbered(checked: Checked, told: Arc<Told>) -> SendableRecordBatchStream {
    let mut fields = checked.schema().fields().to_vec();
    fields[NUMBER_AT] = Arc::new(Field::new(NUMBER, DataType::UInt64, true));
    let schema = Arc::new(Schema::new(fields));
    let stream_schema = Arc::clone(&schema);
    let rows = futures::stream::try_unfold(checked, move |mut checked| {
        let told = Arc::clone(&told);
        let schema = Arc::clone(&schema);
        async move {
            // Reading blocks: whoever waits for a signal gets a turn after every batch.
            tokio::task::yield_now().await;
            let next = checked.next().await;
            let next = next.map_err(|failure| told.failure.keep(failure))?;
            let Some((batch, rows)) = next else {
                return Ok(None);
            };
            let tally = &mut *told.lock();
            rows.iter().for_each(|row| tally.add(row));
            let numbers = rows.iter().map(|row| row.number);
            let mut columns = batch.columns().to_vec();
            columns[NUMBER_AT] = Arc::new(UInt64Array::from_iter_values(numbers)) as ArrayRef;
            Ok(Some((RecordBatch::try_new(schema, columns)?, checked)))
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(stream_schema, rows))
}
