//! The write-ahead log: rows on disk before they are sorted.
//!
//! Each table is a sequence of Arrow IPC *streams* under `wal/`. A stream needs no footer: cut
//! anywhere, all whole batches before the cut read back. Rows are handed to the system after every
//! batch of the recorder, so a killed process loses what the recorder still held and nothing else;
//! only a loss of power can take more. Segments are bounded, so that each can be sorted in memory.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Seek, Take};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};

use super::error::{CaptureError, decode_error, encode_error, read_error, write_error};
use super::extent::extent;
use super::schema::TapeRow;
use crate::breath::Breath;

/// Name of the log's folder inside a tape.
pub(super) const FOLDER: &str = "wal";

/// Rows of a segment, at most (a batch is never cut).
const SEGMENT_ROWS: usize = if cfg!(test) { 500 } else { 400_000 };

/// Size of a segment in memory, at most (a batch is never cut).
const SEGMENT_BYTES: usize = 48 << 20;

/// Cells that are written in one go, at most. Others may then use the core: a thread that encodes
/// tens of thousands without a pause holds up those that read and send.
const BATCH_CELLS: usize = 6_656;

/// What it takes to make a batch of that many cells, and again to write it, in microseconds.
const BATCH_US: u32 = 100;

type Writer = StreamWriter<BufWriter<File>>;

/// Appends the rows of one table to its segments.
pub(super) struct LogWriter<R> {
    folder: PathBuf,
    segment: Option<(Writer, PathBuf)>,
    segments: usize,
    segment_rows: usize,
    segment_bytes: usize,
    breath: Breath,
    rows: PhantomData<R>,
}

impl<R: TapeRow> LogWriter<R> {
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            segment: None,
            segments: 0,
            segment_rows: 0,
            segment_bytes: 0,
            breath: Breath::default(),
            rows: PhantomData,
        }
    }

    /// Writes the rows and hands them to the system.
    pub(super) fn append(&mut self, rows: &[R]) -> Result<(), CaptureError> {
        let batch_rows = (BATCH_CELLS / R::schema().fields().len().max(1)).max(1);
        for rows in rows.chunks(batch_rows) {
            self.append_batch(rows)?;
        }
        Ok(())
    }

    fn append_batch(&mut self, rows: &[R]) -> Result<(), CaptureError> {
        let batch = R::batch(rows);
        self.breath.after(BATCH_US);
        let (writer, path) = match &mut self.segment {
            Some(segment) => segment,
            none => none.insert(open_segment::<R>(&self.folder, self.segments)?),
        };
        writer.write(&batch).map_err(encode_error(path))?;
        writer.flush().map_err(encode_error(path))?;
        self.breath.after(BATCH_US);
        self.segment_rows += rows.len();
        self.segment_bytes += batch.get_array_memory_size();
        if self.segment_rows >= SEGMENT_ROWS || self.segment_bytes >= SEGMENT_BYTES {
            self.close()?;
        }
        Ok(())
    }

    /// Ends the current segment; the next row opens another.
    pub(super) fn close(&mut self) -> Result<(), CaptureError> {
        if let Some((mut writer, path)) = self.segment.take() {
            writer.finish().map_err(encode_error(&path))?;
            self.segments += 1;
            self.segment_rows = 0;
            self.segment_bytes = 0;
        }
        Ok(())
    }
}

fn open_segment<R: TapeRow>(
    folder: &Path,
    number: usize,
) -> Result<(Writer, PathBuf), CaptureError> {
    let path = folder.join(format!("{}-{number:05}.arrows", R::TABLE));
    Ok((stream_writer::<R>(&path, None)?, path))
}

/// Opens an Arrow IPC stream for the rows of one table.
///
/// The log is written beside the measurement, in small batches, on which packing costs more than it
/// saves: it is not packed. Runs are.
pub(super) fn stream_writer<R: TapeRow>(
    path: &Path,
    packing: Option<CompressionType>,
) -> Result<Writer, CaptureError> {
    let file = File::create(path).map_err(write_error(path))?;
    let options = IpcWriteOptions::default()
        .try_with_compression(packing)
        .map_err(encode_error(path))?;
    StreamWriter::try_new_with_options(BufWriter::new(file), &R::schema(), options)
        .map_err(encode_error(path))
}

/// Lists the segments of one table, in the order in which they were written.
pub(super) fn segments<R: TapeRow>(folder: &Path) -> Result<Vec<PathBuf>, CaptureError> {
    let prefix = format!("{}-", R::TABLE);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(read_error(folder))? {
        let entry = entry.map_err(read_error(folder))?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with(&prefix) && name.ends_with(".arrows") {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}

/// The batches of one stream, up to its end or to the first torn message.
pub(super) struct StreamBatches<R> {
    reader: Option<StreamReader<BufReader<Take<File>>>>,
    path: PathBuf,
    is_torn: bool,
    rows: PhantomData<R>,
}

impl<R: TapeRow> StreamBatches<R> {
    /// Opens a stream; one whose very head is torn has no rows.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let mut file = File::open(path).map_err(read_error(path))?;
        let length = file.metadata().map_err(read_error(path))?.len();
        let whole = extent(&mut BufReader::new(&mut file), length).map_err(read_error(path))?;
        file.rewind().map_err(read_error(path))?;
        let mut rows = Self::read(path, file.take(whole.bytes));
        rows.is_torn |= whole.is_torn;
        Ok(rows)
    }

    /// Opens a stream that this process has written to its end.
    pub(super) fn open_whole(path: &Path) -> Result<Self, CaptureError> {
        let file = File::open(path).map_err(read_error(path))?;
        Ok(Self::read(path, file.take(u64::MAX)))
    }

    fn read(path: &Path, file: Take<File>) -> Self {
        let reader = StreamReader::try_new(BufReader::new(file), None).ok();
        Self {
            is_torn: reader.is_none(),
            reader,
            path: path.to_owned(),
            rows: PhantomData,
        }
    }

    /// True when the stream has a torn or damaged message; the rows before it are given all the same.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// The error for a stream that should have been whole.
    pub(super) fn unreadable(&self) -> CaptureError {
        decode_error(&self.path)(std::io::Error::other("the file is cut short"))
    }

    /// Where the stream lies.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the next batch.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, CaptureError> {
        let Some(reader) = &mut self.reader else {
            return Ok(None);
        };
        match reader.next() {
            Some(Ok(batch)) => match R::conform(batch) {
                Some(batch) => Ok(Some(batch)),
                None => Err(other_columns(&self.path)),
            },
            Some(Err(_)) => {
                self.is_torn = true;
                self.reader = None;
                Ok(None)
            }
            None => {
                self.reader = None;
                Ok(None)
            }
        }
    }
}

/// The error for a log whose tables are not those of a tape.
pub(super) fn other_columns(path: &Path) -> CaptureError {
    decode_error(path)(std::io::Error::other(
        "the columns are not those of this version",
    ))
}
