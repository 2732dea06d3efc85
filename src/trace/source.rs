//! The trace as a table that DataFusion streams from: one partition, file by file, in their order.
//!
//! The table has one column more than the files, [`LINE`]. The batch that was handed out last is
//! kept, so that an error of the engine, which does not know rows, can be traced back to one.
//!
//! The first file decides which columns there are, and of what type; those of JSON lines are looked
//! for in some more. Later files are brought into that form: columns by name, in any order.
//!
//! Reading blocks the thread that polls the stream. A trace has a thread of its own for that.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow::array::{ArrayRef, RecordBatch, UInt64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaData;

use super::columns::{EXTRA, LINE};
use super::csv::CsvBatches;
use super::error::{Place, TraceError};
use super::file::{self, Opened};
use super::files;
use super::format::{FormatInfo, check_columns};
use super::json::{BODY, JsonBatches, MESSAGE};
use super::lines::{BATCH_ROWS, Lines};
use super::pipe::Pipe;
use super::quote::quoted;

/// Bits of [`LINE`] below the number of the file: a trillion lines.
const LINE_BITS: u32 = 40;
/// Files in which the columns of JSON lines are looked for.
const SHAPE_FILES: usize = 32;

/// A trace that is ready to be read.
pub(super) struct Source {
    path: PathBuf,
    files: Vec<PathBuf>,
    first: Reading,
    /// What the first file has, by which its format is told.
    names: Vec<String>,
    columns: SchemaRef,
    /// Paths, with dots, at which whatever stands in JSON lines is read as JSON text.
    raw: Vec<String>,
}

/// A file that is being read, and its number among the trace's files.
struct Reading {
    number: usize,
    batches: Batches,
}

enum Batches {
    Csv(Box<CsvBatches>),
    Json(Box<JsonBatches>),
    Parquet {
        path: PathBuf,
        columns: SchemaRef,
        reader: ParquetRecordBatchReader,
        rows_read: u64,
    },
}

/// Where rows come from, by the value of [`LINE`].
#[derive(Debug, Clone)]
pub(super) struct Origin {
    files: Arc<[PathBuf]>,
    is_parquet: bool,
}

impl Origin {
    /// Returns the file that a row comes from; the first one where that is not known.
    pub(super) fn path(&self, line: Option<u64>) -> &Path {
        let file = line.map_or(0, file_of);
        let file = usize::try_from(file).unwrap_or(usize::MAX);
        self.files.get(file).unwrap_or(&self.files[0])
    }

    /// Says where in its file a row stands, in the words that fit the kind of file.
    pub(super) fn place(&self, line: Option<u64>) -> Place {
        let in_file = |line: u64| line & ((1 << LINE_BITS) - 1);
        match line {
            None => Place::Unknown,
            Some(row) if self.is_parquet => Place::Row(in_file(row)),
            Some(line) => Place::Line(in_file(line)),
        }
    }
}

/// Returns the number of the file that a row comes from.
pub(super) fn file_of(line: u64) -> u64 {
    line >> LINE_BITS
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
    /// Opens the files of a trace as far as it takes to know the columns.
    pub(super) fn open(path: &Path, pipe: Option<&Pipe>) -> Result<Self, TraceError> {
        let files = files::resolve(path)?;
        let first = match pipe {
            None => open_next(&files, 0)?,
            Some(pipe) => Some(Reading {
                number: 0,
                batches: Batches::of(path, file::open_pipe(path, pipe)?)?,
            }),
        };
        let Some(first) = first else {
            return Err(TraceError::Empty {
                path: path.to_owned(),
            });
        };
        let mut source = Self {
            path: path.to_owned(),
            names: first.batches.column_names(),
            columns: first.batches.columns(),
            files,
            first,
            raw: Vec::new(),
        };
        source.look_into_more_files()?;
        Ok(source)
    }

    /// Adds the columns that JSON lines of further files have.
    fn look_into_more_files(&mut self) -> Result<(), TraceError> {
        let Batches::Json(first) = &mut self.first.batches else {
            return Ok(());
        };
        let from = self.first.number + 1;
        for path in self.files.iter().skip(from).take(SHAPE_FILES) {
            match file::open(path).and_then(|opened| Batches::of(path, opened)) {
                Ok(Batches::Json(other)) => first.add_columns_of(&other),
                Ok(_) | Err(TraceError::Empty { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.columns = first.schema();
        Ok(())
    }

    /// Returns the names of the first file's columns, and those of the fields of objects as
    /// `column.field`, also where these stand in lists.
    pub(super) fn column_names(&self) -> &[String] {
        &self.names
    }

    /// Says where rows come from.
    pub(super) fn origin(&self) -> Origin {
        Origin {
            files: self.files.clone().into(),
            is_parquet: matches!(self.first.batches, Batches::Parquet { .. }),
        }
    }

    /// Finds the columns for `format`: what that knows of is there, and null where the files lack it.
    ///
    /// Where they are `narrow`, objects have only the fields that the format names in `like`.
    pub(super) fn expect(&mut self, format: &FormatInfo, is_narrow: bool) {
        let mut made = Vec::new();
        if let Batches::Json(json) = &self.first.batches {
            let expected = json.expect_columns((&format.like, &format.raw), is_narrow);
            self.columns = Arc::new(Schema::new(expected));
            if !format.body.is_empty() {
                made.push(BODY);
            }
            if format.has_messages {
                made.push(MESSAGE);
            }
        }
        let missing = format.optional.iter().map(String::as_str).chain(made);
        let missing = missing
            .filter(|name| self.columns.field_with_name(name).is_err())
            .map(|name| Field::new(name, DataType::Utf8, true));
        let fields = self.columns.fields().iter().map(|field| {
            // What a file says of nullability is not relied on.
            field.as_ref().clone().with_nullable(true)
        });
        let columns: Vec<Field> = fields.chain(missing).collect();
        self.columns = Arc::new(Schema::new(columns));
    }

    /// Has JSON lines read by the columns that are wanted: `unread` ones are passed over, whatever
    /// stands in them, or kept as they are, lists and objects as JSON text. Those that are `sent` are
    /// read for [`BODY`] alone.
    pub(super) fn settle(
        &mut self,
        format: &FormatInfo,
        (sent, unread): (&[String], &[String]),
        keeps_unread: bool,
    ) {
        let Batches::Json(json) = &mut self.first.batches else {
            return;
        };
        let mut raw = format.raw.clone();
        let fields = self.columns.fields().iter().filter_map(|field| {
            if sent.contains(field.name()) {
                return None;
            }
            if !unread.contains(field.name()) {
                return Some(field.as_ref().clone());
            }
            raw.push(field.name().clone());
            keeps_unread.then(|| Field::new(field.name(), DataType::Utf8, true))
        });
        self.columns = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        self.raw = raw;
        json.read_as(self.columns.fields().clone(), &self.raw, format);
    }

    /// Returns the columns.
    pub(super) fn columns(&self) -> SchemaRef {
        Arc::clone(&self.columns)
    }

    /// Turns the trace into a table. The columns called `unread` are there twice: once as they are,
    /// and once with [`EXTRA`] before their names, so that no name of a mapping can hide them.
    pub(super) fn into_table(
        self,
        format: &FormatInfo,
        unread: &[String],
    ) -> Result<(StreamingTable, Arc<Handed>), DataFusionError> {
        let fields = self
            .columns
            .fields()
            .iter()
            .map(|field| field.as_ref().clone());
        let is_new = |name: &String| self.columns.field_with_name(name).is_err();
        let copies = unread.iter().filter_map(|name| {
            let field = self.columns.field_with_name(name).ok()?;
            let copy = format!("{EXTRA}{name}");
            is_new(&copy).then(|| field.clone().with_name(copy))
        });
        let line = Field::new(LINE, DataType::UInt64, true);
        let schema = Arc::new(Schema::new(
            fields.chain(copies).chain([line]).collect::<Vec<_>>(),
        ));
        let handed = Arc::new(Handed::default());
        let all = AllFiles {
            path: self.path,
            files: self.files,
            reading: Some(self.first),
            format: format.clone(),
            columns: self.columns,
            raw: self.raw,
            schema: Arc::clone(&schema),
            rows: 0,
        };
        let partition = Partition {
            schema: Arc::clone(&schema),
            files: Mutex::new(Some(all)),
            handed: Arc::clone(&handed),
        };
        let table = StreamingTable::try_new(schema, vec![Arc::new(partition)])?;
        Ok((table, handed))
    }
}

fn append_names(prefix: &str, fields: &Fields, names: &mut Vec<String>) {
    for field in fields {
        let name = format!("{prefix}{}", field.name());
        let mut data_type = field.data_type();
        while let DataType::List(items) = data_type {
            data_type = items.data_type();
        }
        if let DataType::Struct(inner) = data_type {
            append_names(&format!("{name}."), inner, names);
        }
        names.push(name);
    }
}

/// Opens the first file from number `from` on that has rows.
fn open_next(files: &[PathBuf], from: usize) -> Result<Option<Reading>, TraceError> {
    for (number, path) in files.iter().enumerate().skip(from) {
        match file::open(path).and_then(|opened| Batches::of(path, opened)) {
            Ok(batches) => return Ok(Some(Reading { number, batches })),
            // One of several may well be empty, such as the log of a quiet hour.
            Err(TraceError::Empty { .. }) if files.len() > 1 => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
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
    fn of(path: &Path, opened: Opened) -> Result<Self, TraceError> {
        match opened {
            Opened::Text {
                input,
                is_json,
                is_pipe,
            } => {
                let lines = Lines::new(path, input, is_pipe);
                Ok(if is_json {
                    Self::Json(Box::new(JsonBatches::open(lines)?))
                } else {
                    Self::Csv(Box::new(CsvBatches::open(lines)?))
                })
            }
            Opened::Parquet(file) => {
                let reader = ParquetRecordBatchReaderBuilder::try_new(file)
                    .and_then(|builder| {
                        check_lists(builder.metadata())?;
                        builder.with_batch_size(BATCH_ROWS).build()
                    })
                    .map_err(|error| parquet_error(path, &error))?;
                Ok(Self::Parquet {
                    path: path.to_owned(),
                    columns: arrow::array::RecordBatchReader::schema(&reader),
                    reader,
                    rows_read: 0,
                })
            }
        }
    }

    fn column_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        append_names("", self.columns().fields(), &mut names);
        names
    }

    fn columns(&self) -> SchemaRef {
        match self {
            Self::Csv(csv) => csv.schema(),
            Self::Json(json) => json.schema(),
            Self::Parquet { columns, .. } => Arc::clone(columns),
        }
    }

    fn next(&mut self) -> Result<Option<(RecordBatch, Vec<u64>)>, TraceError> {
        match self {
            Self::Csv(csv) => csv.next_batch(),
            Self::Json(json) => json.next_batch(),
            Self::Parquet {
                path,
                reader,
                rows_read,
                ..
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

/// Values that the lists of one row may have on average, in a row group: more than a prompt of
/// [`TOKENS_MAX`](super::decode::TOKENS_MAX) tokens has blocks of 16. They all take memory at once.
const ROW_VALUES_MAX: i64 = 1 << 20;

/// Refuses a file that holds lists which no row can have, before one is read.
fn check_lists(file: &ParquetMetaData) -> parquet::errors::Result<()> {
    for group in file.row_groups() {
        let most = ROW_VALUES_MAX.saturating_mul(group.num_rows().max(1));
        if let Some(column) = group
            .columns()
            .iter()
            .find(|column| column.num_values() > most)
        {
            return Err(ParquetError::General(format!(
                "the lists of its column `{}` are too long: {} values in {} rows",
                quoted(&column.column_path().string()),
                column.num_values(),
                group.num_rows()
            )));
        }
    }
    Ok(())
}

fn parquet_error(path: &Path, error: &dyn fmt::Display) -> TraceError {
    TraceError::Parquet {
        path: path.to_owned(),
        message: error.to_string(),
    }
}

/// The files of a trace, one behind the other.
struct AllFiles {
    path: PathBuf,
    files: Vec<PathBuf>,
    reading: Option<Reading>,
    format: FormatInfo,
    /// The columns of a file.
    columns: SchemaRef,
    /// Paths, with dots, at which whatever stands in JSON lines is read as JSON text.
    raw: Vec<String>,
    /// The columns of the table.
    schema: SchemaRef,
    rows: u64,
}

impl AllFiles {
    fn next(&mut self) -> Result<Option<RecordBatch>, TraceError> {
        while let Some(reading) = &mut self.reading {
            let number = reading.number;
            match reading.batches.next()? {
                Some((batch, lines)) => {
                    self.rows += u64::try_from(lines.len()).unwrap_or(u64::MAX);
                    let batch = complete(&batch, number, lines, &self.schema);
                    return batch.map(Some).map_err(|error| TraceError::OtherColumns {
                        path: self.files[number].clone(),
                        message: error.to_string(),
                    });
                }
                None => self.reading = self.open_behind(number)?,
            }
        }
        if self.rows == 0 && self.files.len() > 1 {
            return Err(TraceError::Empty {
                path: self.path.clone(),
            });
        }
        Ok(None)
    }

    /// Opens the file behind number `number`, and has it read as the first one was.
    fn open_behind(&self, number: usize) -> Result<Option<Reading>, TraceError> {
        let Some(mut next) = open_next(&self.files, number + 1)? else {
            return Ok(None);
        };
        let path = &self.files[next.number];
        let names = next.batches.column_names();
        check_columns(&self.format, path, &names).map_err(|error| TraceError::OtherColumns {
            path: path.clone(),
            message: match error {
                TraceError::MissingColumns { missing, .. } => {
                    format!(
                        "it lacks {} that format `{}` requires",
                        missing.join(", "),
                        self.format.name
                    )
                }
                other => other.to_string(),
            },
        })?;
        if let Batches::Json(json) = &mut next.batches {
            json.read_as(self.columns.fields().clone(), &self.raw, &self.format);
        }
        Ok(Some(next))
    }
}

/// Brings a batch of file number `file` into the form of the table.
fn complete(
    batch: &RecordBatch,
    file: usize,
    mut lines: Vec<u64>,
    schema: &SchemaRef,
) -> Result<RecordBatch, arrow::error::ArrowError> {
    let file = u64::try_from(file).unwrap_or(0) << LINE_BITS;
    lines.iter_mut().for_each(|line| *line |= file);
    let lines: ArrayRef = Arc::new(UInt64Array::from(lines));
    let columns: Result<Vec<ArrayRef>, _> = schema
        .fields()
        .iter()
        .map(|field| match column_of(batch, field.name()) {
            _ if field.name() == LINE => Ok(Arc::clone(&lines)),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
            Some(column) => cast(column, field.data_type()),
        })
        .collect();
    RecordBatch::try_new(Arc::clone(schema), columns?)
}

/// Returns the column of a file that is called `name`, or that `name` is the copy of.
fn column_of<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name).or_else(|| {
        let original = name.strip_prefix(EXTRA)?;
        batch.column_by_name(original)
    })
}

/// The table's only partition; it can be read once.
struct Partition {
    schema: SchemaRef,
    files: Mutex<Option<AllFiles>>,
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
        let files = self
            .files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let handed = Arc::clone(&self.handed);
        let mut is_read_twice = files.is_none();
        let mut files = files;
        let stream = std::iter::from_fn(move || {
            if is_read_twice {
                is_read_twice = false;
                return Some(Err(DataFusionError::Execution(
                    "a trace can be read once: name `source` once".to_owned(),
                )));
            }
            match files.as_mut()?.next() {
                Ok(Some(batch)) => {
                    handed.lock().last = Some(batch.clone());
                    Some(Ok(batch))
                }
                Ok(None) => {
                    files = None;
                    None
                }
                Err(error) => {
                    files = None;
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
