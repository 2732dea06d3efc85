//! Writes canonical rows as Parquet, wherever they come from, in order of arrival if that is wanted.
//!
//! Rows come as a stream of batches with the canonical columns, then [`NUMBER`](super::columns::NUMBER), then extra columns.
//! The stream may fail with an error of this stage, which a sort in between could not hand through:
//! it leaves the error in a [`Failure`] and ends.

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use super::columns::NUMBER_AT;
use super::error::TraceError;
use super::sort;

/// Memory that sorting may take before it goes to disk, in bytes.
pub(super) const SORT_BYTES: usize = 512 << 20;
/// Encoded size after which a row group is written out, in bytes; it is held in memory until then.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// Where rows are written to, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// What was read, for messages.
    pub(super) input: &'a Path,
    /// Name of the output, for messages; what sorting can't hold in memory goes beside it.
    pub(super) output: &'a Path,
    /// Memory for sorting, in bytes; none to leave rows in the order in which they come.
    pub(super) sort_bytes: Option<usize>,
}

/// Writes all rows of a stream. Returns how many there were.
pub(super) async fn write_rows<W: Write + Send>(
    mut rows: SendableRecordBatchStream,
    target: Target<'_>,
    failure: &Failure,
    output: W,
) -> Result<u64, TraceError> {
    let failed = |error: DataFusionError| {
        failure.take().unwrap_or_else(|| TraceError::Sort {
            path: target.input.to_owned(),
            message: error.find_root().strip_backtrace(),
        })
    };
    if let Some(sort_bytes) = target.sort_bytes {
        let spill_folder = folder_of(target.output);
        rows = Box::pin(sort::by_arrival(rows, spill_folder, sort_bytes))
            .await
            .map_err(failed)?;
    }
    let mut writer = Writer::new(target.output, &rows.schema(), output)?;
    let mut count = 0;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(failed)?;
        count += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
        writer.write(&batch)?;
    }
    writer.finish()?;
    Ok(count)
}

/// Returns the folder that a file is in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Why a stream ended early.
///
/// The stream writes it when it is polled; the writer's side reads it after the stream gave an
/// error. What is still in it is dropped with it.
#[derive(Debug, Default)]
pub(super) struct Failure {
    slot: Mutex<Option<TraceError>>,
}

impl Failure {
    /// Keeps an error, and returns one for the engine in its place.
    pub(super) fn keep(&self, error: TraceError) -> DataFusionError {
        let stand_in = DataFusionError::Execution(error.to_string());
        *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        stand_in
    }

    fn take(&self) -> Option<TraceError> {
        self.slot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

/// Writes all but the number.
struct Writer<'a, W: Write + Send> {
    parquet: ArrowWriter<W>,
    columns: Vec<usize>,
    path: &'a Path,
}

impl<'a, W: Write + Send> Writer<'a, W> {
    fn new(path: &'a Path, schema: &SchemaRef, output: W) -> Result<Self, TraceError> {
        let columns: Vec<usize> = (0..schema.fields().len())
            .filter(|&column| column != NUMBER_AT)
            .collect();
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_max_row_group_bytes(Some(ROW_GROUP_BYTES))
            .build();
        let parquet = schema
            .project(&columns)
            .map_err(ParquetError::from)
            .and_then(|schema| ArrowWriter::try_new(output, Arc::new(schema), Some(properties)))
            .map_err(|error| write_error(path, error))?;
        Ok(Self {
            parquet,
            columns,
            path,
        })
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), TraceError> {
        batch
            .project(&self.columns)
            .map_err(ParquetError::from)
            .and_then(|batch| self.parquet.write(&batch))
            .map_err(|error| write_error(self.path, error))
    }

    fn finish(self) -> Result<(), TraceError> {
        let path = self.path;
        self.parquet
            .into_inner()
            .and_then(|mut output| Ok(output.flush()?))
            .map_err(|error| write_error(path, error))
    }
}

fn write_error(path: &Path, source: ParquetError) -> TraceError {
    TraceError::Write {
        path: path.to_owned(),
        source,
    }
}
