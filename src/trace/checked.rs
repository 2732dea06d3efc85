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

use super::decode::{self, FileRow};
use super::error::{Place, TraceError};
use super::format::{self, FormatInfo};
use super::mapping::{self, Extras};
use super::source::{Handed, Source};

/// A trace that is being mapped, in the file's order.
pub(super) struct Checked {
    path: PathBuf,
    format: FormatInfo,
    extras: Extras,
    is_parquet: bool,
    stream: SendableRecordBatchStream,
    /// For each canonical column, the columns of the file that it is made from.
    origins: HashMap<String, Vec<String>>,
    handed: Arc<Handed>,
    rows: u64,
}

/// Which file is read, and how.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// The file.
    pub(super) path: &'a Path,
    /// Name of the format; none to recognise it by the file's columns.
    pub(super) format: Option<&'a str>,
    /// The user's own mapping, in place of a shipped format.
    pub(super) map: Option<&'a Path>,
}

impl Checked {
    /// Opens a trace, and tells what can be told from the mapping and the file's first rows.
    pub(super) async fn open(asked: Asked<'_>, extras: Extras) -> Result<Self, TraceError> {
        // The mapping first: a pipe can be opened only once.
        let named = match (asked.map, asked.format) {
            (Some(map), _) => Some(format::read_mapping(map)?),
            (None, Some(name)) => Some(format::format_named(name)?),
            (None, None) => None,
        };
        let source = Source::open(asked.path)?;
        let columns = source.column_names();
        let format = match named {
            Some(format) => {
                format::check_columns(&format, asked.path, &columns)?;
                format
            }
            None => format::recognise(asked.path, &columns)?,
        };
        let is_parquet = source.is_parquet();
        let (table, handed) =
            source
                .into_table(&format.optional)
                .map_err(|error| TraceError::MappingSql {
                    mapping: format.name.clone(),
                    message: error.strip_backtrace(),
                })?;
        let mapped = Box::pin(mapping::run(&format, Arc::new(table), extras)).await?;
        Ok(Self {
            path: asked.path.to_owned(),
            format,
            extras,
            is_parquet,
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

    /// Says where a row stands, in the words that fit the kind of file.
    pub(super) fn place(&self, line: Option<u64>) -> Place {
        match line {
            None => Place::Unknown,
            Some(row) if self.is_parquet => Place::Row(row),
            Some(line) => Place::Line(line),
        }
    }

    /// Returns the next rows, as columns and decoded; none at the end.
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
        let rows = decode::rows(&batch, self.rows).map_err(|problem| self.bad_value(&problem))?;
        self.rows += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        Ok(Some((batch, rows)))
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
        let message = if made_from.is_empty() {
            so
        } else {
            format!("{}, so {so}", made_from.join(", "))
        };
        self.bad_row(problem.line, message)
    }

    fn bad_row(&self, line: Option<u64>, message: String) -> TraceError {
        TraceError::BadRow {
            path: self.path.clone(),
            place: self.place(line),
            message,
        }
    }
}
