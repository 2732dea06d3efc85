//! The file as a table that DataFusion streams from: one partition, in the file's order.
//!
//! The table has one column more than the file, [`LINE`]. The batch that was handed out last is
//! kept, so that an error of the engine, which does not know rows, can be traced back to one.
//!
//! Reading blocks the thread that polls the stream. A trace has a thread of its own for that.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};

use super::error::TraceError;
use super::file::{self, Opened};
use super::text::{BATCH_ROWS, TextBatches};

/// Column with the line, or the row of a Parquet file, that a row comes from.
pub(super) const LINE: &str = "__line";

/// A trace file that is ready to be read.
pub(super) struct Source {
    batches: Batches,
    columns: SchemaRef,
}

enum Batches {
    Text(Box<TextBatches>),
    Parquet {
        path: PathBuf,
        reader: ParquetRecordBatchReader,
        rows_read: u64,
    },
}

/// What the engine's side of the stream tells the reader's side.
///
/// The stream writes when it is polled, the reader reads after the engine's stream gave something.
/// Dropping it ends nothing: both sides hold it.
#[derive(Debug, Default)]
pub(super) struct Handed {
    state: Mutex<HandedState>,
}

#[derive(Debug, Default)]
struct HandedState {
    last: Option<RecordBatch>,
    failure: Option<TraceError>,
}

impl Source {
    /// Opens a trace and finds its columns.
    pub(super) fn open(path: &Path) -> Result<Self, TraceError> {
        match file::open(path)? {
            Opened::Text {
                input,
                is_json,
                is_pipe,
            } => {
                let text = TextBatches::open(path, input, is_json, is_pipe)?;
                Ok(Self {
                    columns: text.schema(),
                    batches: Batches::Text(Box::new(text)),
                })
            }
            Opened::Parquet(file) => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                    .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
                    .map_err(|error| parquet_error(path, &error))?;
                let columns = arrow::array::RecordBatchReader::schema(&reader);
                Ok(Self {
                    columns,
                    batches: Batches::Parquet {
                        path: path.to_owned(),
                        reader,
                        rows_read: 0,
                    },
                })
            }
        }
    }

    /// Returns the names of the file's columns.
    pub(super) fn column_names(&self) -> Vec<String> {
        let fields = self.columns.fields().iter();
        fields.map(|field| field.name().clone()).collect()
    }

    /// Returns whether rows are counted instead of lines.
    pub(super) fn is_parquet(&self) -> bool {
        matches!(self.batches, Batches::Parquet { .. })
    }

    /// Turns the file into a table; `optional` columns that it lacks are null.
    pub(super) fn into_table(
        self,
        optional: &[String],
    ) -> Result<(StreamingTable, Arc<Handed>), DataFusionError> {
        let missing = optional
            .iter()
            .filter(|name| self.columns.field_with_name(name).is_err())
            .map(|name| Field::new(name, DataType::Utf8, true));
        let fields = self.columns.fields().iter().map(|field| {
            // What a file says of nullability is not relied on.
            field.as_ref().clone().with_nullable(true)
        });
        let line = Field::new(LINE, DataType::UInt64, true);
        let schema = Arc::new(Schema::new(
            fields.chain(missing).chain([line]).collect::<Vec<_>>(),
        ));
        let handed = Arc::new(Handed::default());
        let partition = Partition {
            schema: Arc::clone(&schema),
            batches: Mutex::new(Some(self.batches)),
            handed: Arc::clone(&handed),
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(partition)])?;
        Ok((table, handed))
    }
}

impl Handed {
    /// Returns the batch that the engine got last.
    pub(super) fn last_batch(&self) -> Option<RecordBatch> {
        self.lock().last.clone()
    }

    /// Takes the error that ended the reading of the file, where one did.
    pub(super) fn take_failure(&self) -> Option<TraceError> {
        self.lock().failure.take()
    }

    fn lock(&self) -> MutexGuard<'_, HandedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Batches {
    fn next(&mut self) -> Result<Option<(RecordBatch, Vec<u64>)>, TraceError> {
        match self {
            Self::Text(text) => text.next_batch(),
            Self::Parquet {
                path,
                reader,
                rows_read,
            } => {
                let Some(batch) = reader.next() else {
                    return Ok(None);
                };
                let batch = batch.map_err(|error| parquet_error(path, &error))?;
                let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
                let lines = (*rows_read + 1..=*rows_read + rows).collect();
                *rows_read += rows;
                Ok(Some((batch, lines)))
            }
        }
    }
}

fn parquet_error(path: &Path, error: &dyn fmt::Display) -> TraceError {
    TraceError::Parquet {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

/// The table's only partition; it can be read once.
struct Partition {
    schema: SchemaRef,
    batches: Mutex<Option<Batches>>,
    handed: Arc<Handed>,
}

impl fmt::Debug for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Partition").finish_non_exhaustive()
    }
}

impl PartitionStream for Partition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let batches = self
            .batches
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let schema = Arc::clone(&self.schema);
        let handed = Arc::clone(&self.handed);
        let mut is_read_twice = batches.is_none();
        let mut batches = batches;
        let stream = std::iter::from_fn(move || {
            if is_read_twice {
                is_read_twice = false;
                return Some(Err(DataFusionError::Execution(
                    "a trace can be read once: name `source` once".to_owned(),
                )));
            }
            let next = batches.as_mut()?.next();
            let is_last = !matches!(next, Ok(Some(_)));
            if is_last {
                batches = None;
            }
            match next {
                Ok(Some((batch, lines))) => {
                    let batch = complete(&batch, lines, &schema);
                    if let Ok(batch) = &batch {
                        handed.lock().last = Some(batch.clone());
                    }
                    Some(batch)
                }
                Ok(None) => None,
                Err(error) => {
                    let message = error.to_string();
                    handed.lock().failure = Some(error);
                    Some(Err(DataFusionError::Execution(message)))
                }
            }
        });
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            futures::stream::iter(stream),
        ))
    }
}

/// Adds the null columns and the lines.
fn complete(
    batch: &RecordBatch,
    lines: Vec<u64>,
    schema: &SchemaRef,
) -> Result<RecordBatch, DataFusionError> {
    let mut columns: Vec<ArrayRef> = batch.columns().to_vec();
    let missing = schema.fields().len().saturating_sub(columns.len() + 1);
    columns.extend((0..missing).map(|_| new_null_array(&DataType::Utf8, batch.num_rows())));
    columns.push(Arc::new(UInt64Array::from(lines)));
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}
