//! Sorted Parquet parts: `TABLE/part-00000.parquet`, whole or not there at all.
//!
//! A part is written under a temporary name, synced and renamed. Parts are cut between requests,
//! so that their ranges of ids are disjoint and the declared order holds over all of them.

use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::DataType;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::metadata::{ParquetMetaDataReader, SortingColumn};
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use rustix::fs::FileType;

use super::contents::empty_table;
use super::error::{CaptureError, encode_error, write_error};
use super::folder::{DRAFT, Folder};
use super::schema::{TapeRow, keys};
use super::wal::other_columns;

/// Rows of a part after which the next request begins another.
const PART_ROWS: u64 = if cfg!(test) { 1_000 } else { 16_000_000 };

/// Size of an encoded row group in memory after which the next rows begin another.
const GROUP_BYTES: usize = 64 << 20;

/// Writes the rows of one table, which must come sorted.
pub(super) struct PartWriter<R> {
    folder: Folder,
    properties: WriterProperties,
    part: Option<Part>,
    parts: usize,
    /// The first column of the key of the last row, where a part is full.
    last_id: Option<u64>,
    total_rows: u64,
    is_durable: bool,
    rows: PhantomData<R>,
}

struct Part {
    writer: ArrowWriter<BufWriter<File>>,
    name: String,
    /// Where it is until it is whole.
    path: PathBuf,
    rows: u64,
}

impl<R: TapeRow> PartWriter<R> {
    /// Opens the table's folder inside `tape`, emptying it of parts of an earlier try.
    ///
    /// With `is_durable`, every part is synced to disk before it gets its name.
    pub(super) fn create(tape: &Folder, is_durable: bool) -> Result<Self, CaptureError> {
        let folder = empty_table(tape, R::TABLE)?;
        Ok(Self {
            folder,
            properties: properties::<R>(),
            part: None,
            parts: 0,
            last_id: None,
            total_rows: 0,
            is_durable,
            rows: PhantomData,
        })
    }

    /// Adds rows; no key may be below one that came before.
    pub(super) fn push(&mut self, batch: &RecordBatch) -> Result<(), CaptureError> {
        let rows = batch.num_rows();
        let written = self.part.as_ref().map_or(0, |part| part.rows);
        let room = usize::try_from(PART_ROWS.saturating_sub(written)).unwrap_or(usize::MAX);
        if rows < room {
            return self.encode(batch);
        }
        let keys = keys::<R>(batch).ok_or_else(|| other_columns(self.folder.place()))?;
        let ids: Vec<u64> = keys.into_iter().map(|(id, _)| id).collect();
        let before = |row: usize| match row.checked_sub(1) {
            Some(row) => ids.get(row).copied(),
            None => self.last_id,
        };
        let is_first = |row: &usize| before(*row) != ids.get(*row).copied();
        let cut = (room..rows).find(is_first);
        self.last_id = ids.last().copied();
        let Some(cut) = cut else {
            return self.encode(batch);
        };
        self.encode(&batch.slice(0, cut))?;
        self.close_part()?;
        self.push(&batch.slice(cut, rows - cut))
    }

    /// Writes what is left and returns the number of rows. A table without rows is one empty part.
    pub(super) fn finish(mut self) -> Result<u64, CaptureError> {
        if self.parts == 0 && self.part.is_none() {
            self.open_part()?;
        }
        self.close_part()?;
        Ok(self.total_rows)
    }

    fn open_part(&mut self) -> Result<&mut Part, CaptureError> {
        let name = format!("part-{:05}.parquet", self.parts);
        let draft = format!("{name}{DRAFT}");
        let file = self.folder.new_file(&draft)?;
        let path = self.folder.path(draft);
        let writer = ArrowWriter::try_new(
            BufWriter::new(file),
            R::schema(),
            Some(self.properties.clone()),
        )
        .map_err(encode_error(&path))?;
        self.parts += 1;
        Ok(self.part.insert(Part {
            writer,
            name,
            path,
            rows: 0,
        }))
    }

    fn encode(&mut self, batch: &RecordBatch) -> Result<(), CaptureError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let part = match self.part.take() {
            Some(part) => self.part.insert(part),
            None => self.open_part()?,
        };
        part.writer.write(batch).map_err(encode_error(&part.path))?;
        if part.writer.in_progress_size() >= GROUP_BYTES {
            part.writer.flush().map_err(encode_error(&part.path))?;
        }
        let count = batch.num_rows() as u64;
        part.rows += count;
        self.total_rows += count;
        Ok(())
    }

    fn close_part(&mut self) -> Result<(), CaptureError> {
        let Some(part) = self.part.take() else {
            return Ok(());
        };
        let path = part.path;
        let file = part
            .writer
            .into_inner()
            .map_err(encode_error(&path))?
            .into_inner()
            .map_err(|error| write_error(&path)(error.into_error()))?;
        let draft = format!("{}{DRAFT}", part.name);
        if self.is_durable {
            self.folder.sync_file(&file, &draft)?;
        }
        self.folder.rename(&draft, &part.name)?;
        if self.is_durable {
            self.folder.sync()?;
        }
        Ok(())
    }
}

/// Delta encoding on times and ids, dictionaries on words, zstd 1 over all.
///
/// Arrow's writer takes a column's encoding only as the fallback while its dictionary is on, so
/// the dictionary is turned off where a delta is wanted.
fn properties<R: TapeRow>() -> WriterProperties {
    let schema = R::schema();
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_sorting_columns(Some(sorting_columns::<R>()));
    for field in schema.fields() {
        let is_integer = matches!(
            field.data_type(),
            DataType::Int64 | DataType::UInt64 | DataType::UInt32 | DataType::Int32
        );
        if is_integer {
            let column = ColumnPath::from(field.name().as_str());
            builder = builder
                .set_column_dictionary_enabled(column.clone(), false)
                .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
        }
    }
    builder.build()
}

fn sorting_columns<R: TapeRow>() -> Vec<SortingColumn> {
    let schema = R::schema();
    R::SORTED_BY
        .iter()
        .filter_map(|name| schema.index_of(name).ok())
        .filter_map(|index| i32::try_from(index).ok())
        .map(|column_idx| SortingColumn {
            column_idx,
            descending: false,
            nulls_first: false,
        })
        .collect()
}

/// Lists the parts of a table of the tape at `tape`, in order, as names in its folder. A table whose
/// folder is not there has none.
///
/// # Errors
///
/// [`CaptureError::Foreign`] where the folder, or a part, leads out of the tape or is no plain file.
pub(crate) fn parts(tape: &Path, table: &str) -> Result<Vec<OsString>, CaptureError> {
    Ok(open_parts(tape, table)?.map_or_else(Vec::new, |(_, names)| names))
}

fn open_parts(tape: &Path, table: &str) -> Result<Option<(Folder, Vec<OsString>)>, CaptureError> {
    let Some(folder) = Folder::open(tape)?.folder(table)? else {
        return Ok(None);
    };
    let mut names = folder.names()?;
    names.retain(|name| Path::new(name).extension() == Some("parquet".as_ref()));
    for name in &names {
        match folder.kind(name)? {
            None | Some(FileType::RegularFile) => {}
            Some(other) => return Err(folder.foreign(name, other)),
        }
    }
    Ok(Some((folder, names)))
}

/// Counts the rows in the parts of one table of the tape at `tape`, by what the parts say of
/// themselves; `None` where one of them can't be read.
pub(crate) fn count_rows(tape: &Path, table: &str) -> Option<u64> {
    let Some((folder, names)) = open_parts(tape, table).ok()? else {
        return Some(0);
    };
    let mut rows = 0;
    for name in names {
        let file = folder.file(name).ok()??;
        let metadata = ParquetMetaDataReader::new().parse_and_finish(&file).ok()?;
        rows += u64::try_from(metadata.file_metadata().num_rows()).ok()?;
    }
    Some(rows)
}
