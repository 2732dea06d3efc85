//! The write-ahead log: rows on disk before they are sorted.
//!
//! Each table is a sequence of Arrow IPC *streams* under `wal/`. A stream needs no footer: cut
//! anywhere, all whole batches before the cut read back. Rows are handed to the system after every
//! batch of the recorder, so a killed process loses what the recorder still held and nothing else;
//! only a loss of power can take more. Segments are bounded, so that each can be sorted in memory.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Take};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::ipc::CompressionType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::error::{CaptureError, decode_error, encode_error, read_error};
use super::extent::extent;
use super::folder::Folder;
use super::schema::TapeRow;
use crate::throttle::CpuThrottle;

/// Name of the log's folder inside a tape.
pub(super) const FOLDER: &str = "wal";

/// What the name of a segment ends in.
pub(super) const SEGMENT: &str = ".arrows";

/// Rows of a segment, at most (a batch is never cut).
const SEGMENT_ROWS: usize = if cfg!(test) { 500 } else { 400_000 };

/// Size of a segment in memory, at most (a batch is never cut).
const SEGMENT_BYTES: usize = 48 << 20;

/// Size of a segment that is read, unpacked, at most: many times what is written, and less than what a
/// machine has.
const MOST_SEGMENT_BYTES: usize = if cfg!(test) { 64 << 20 } else { 1 << 30 };

/// Cells that are written in one go, at most. Others may then use the core: a thread that encodes
/// tens of thousands without a pause holds up those that read and send.
const BATCH_CELLS: usize = 6_656;

/// What it takes to make a batch of that many cells, and again to write it, in microseconds.
const BATCH_US: u32 = 100;

/// Name of the file whose lock says that somebody is at work on the log. The system frees it when its
/// holder dies, however it dies.
pub(super) const LOCK: &str = "lock";

/// Name of the file that tells a log that is being recovered from one that is being written.
pub(super) const RECOVERY: &str = "recovery";

type Writer = StreamWriter<BufWriter<File>>;

/// Takes the lock on the log of the tape at `tape`.
///
/// # Errors
///
/// [`CaptureError::Busy`] and [`CaptureError::Recovering`] when another process has it.
pub(super) fn lock(log: &Folder, tape: &Path) -> Result<File, CaptureError> {
    let file = log.lock_file(LOCK)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(match log.kind(RECOVERY)? {
            None => CaptureError::Busy(tape.to_owned()),
            Some(_) => CaptureError::Recovering(tape.to_owned()),
        }),
        Err(error) => Err(read_error(&log.path(LOCK))(error.into())),
    }
}

/// Appends the rows of one table to its segments.
pub(super) struct LogWriter<R> {
    folder: Folder,
    segment: Option<(Writer, PathBuf)>,
    segments: usize,
    segment_rows: usize,
    segment_bytes: usize,
    throttle: CpuThrottle,
    rows: PhantomData<R>,
}

impl<R: TapeRow> LogWriter<R> {
    pub(super) fn new(folder: &Folder) -> Self {
        Self {
            folder: folder.clone(),
            segment: None,
            segments: 0,
            segment_rows: 0,
            segment_bytes: 0,
            throttle: CpuThrottle::default(),
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
        self.throttle.after(BATCH_US);
        let (writer, path) = match &mut self.segment {
            Some(segment) => segment,
            none => none.insert(open_segment::<R>(&self.folder, self.segments)?),
        };
        writer.write(&batch).map_err(encode_error(path))?;
        writer.flush().map_err(encode_error(path))?;
        self.throttle.after(BATCH_US);
        self.segment_rows += rows.len();
        self.segment_bytes += batch.get_array_memory_size();
        if self.segment_rows >= SEGMENT_ROWS || self.segment_bytes >= SEGMENT_BYTES {
            self.close()?;
        }
        Ok(())
    }

    /// Ends the log of the table. Fails where a segment is gone.
    pub(super) fn end(&mut self) -> Result<(), CaptureError> {
        self.close()?;
        if segments::<R>(&self.folder)?.len() < self.segments {
            return Err(CaptureError::LogGone(self.folder.place().to_owned()));
        }
        Ok(())
    }

    /// Ends the current segment; the next row opens another.
    fn close(&mut self) -> Result<(), CaptureError> {
        if let Some((mut writer, path)) = self.segment.take() {
            writer.finish().map_err(encode_error(&path))?;
            self.segments += 1;
            self.segment_rows = 0;
            self.segment_bytes = 0;
        }
        Ok(())
    }
}

/// Says whether a log that is being written is still where it is written to.
pub(super) fn ensure_there(log: &Folder) -> Result<(), CaptureError> {
    match log.kind(LOCK)? {
        Some(_) => Ok(()),
        None => Err(CaptureError::LogGone(log.place().to_owned())),
    }
}

fn open_segment<R: TapeRow>(
    folder: &Folder,
    number: usize,
) -> Result<(Writer, PathBuf), CaptureError> {
    let name = format!("{}-{number:05}{SEGMENT}", R::TABLE);
    Ok((stream_writer::<R>(folder, &name, None)?, folder.path(name)))
}

/// Opens an Arrow IPC stream for the rows of one table.
///
/// The log is written beside the measurement, in small batches, on which packing costs more than it
/// saves: it is not packed. Runs are.
pub(super) fn stream_writer<R: TapeRow>(
    folder: &Folder,
    name: &str,
    packing: Option<CompressionType>,
) -> Result<Writer, CaptureError> {
    let path = &folder.path(name);
    let file = folder.new_file(name)?;
    let options = IpcWriteOptions::default()
        .try_with_compression(packing)
        .map_err(encode_error(path))?;
    StreamWriter::try_new_with_options(BufWriter::new(file), &R::schema(), options)
        .map_err(encode_error(path))
}

/// Lists the segments of one table, in the order in which they were written.
pub(super) fn segments<R: TapeRow>(folder: &Folder) -> Result<Vec<OsString>, CaptureError> {
    let prefix = format!("{}-", R::TABLE);
    let mut names = folder.names()?;
    names.retain(|name| {
        let name = name.to_string_lossy();
        name.starts_with(&prefix) && name.ends_with(SEGMENT)
    });
    Ok(names)
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
    pub(super) fn open(folder: &Folder, name: &OsStr) -> Result<Self, CaptureError> {
        let (path, mut file) = existing(folder, name)?;
        let path = &path;
        let length = file.metadata().map_err(read_error(path))?.len();
        let whole = extent(&mut BufReader::new(&mut file), length).map_err(read_error(path))?;
        if whole.unpacked_bytes > MOST_SEGMENT_BYTES {
            return Err(decode_error(path)(io::Error::other(
                "it is larger than any that is written",
            )));
        }
        file.rewind().map_err(read_error(path))?;
        let mut rows = Self::read(path, file.take(whole.bytes));
        rows.is_torn |= whole.is_torn;
        Ok(rows)
    }

    /// Opens a stream that this process has written to its end.
    pub(super) fn open_whole(folder: &Folder, name: &OsStr) -> Result<Self, CaptureError> {
        let (path, file) = existing(folder, name)?;
        Ok(Self::read(&path, file.take(u64::MAX)))
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
        decode_error(&self.path)(io::Error::other("the file is cut short"))
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

/// Opens a file that must be there.
fn existing(folder: &Folder, name: &OsStr) -> Result<(PathBuf, File), CaptureError> {
    let path = folder.path(name);
    match folder.file(name)? {
        Some(file) => Ok((path, file)),
        None => Err(read_error(&path)(io::ErrorKind::NotFound.into())),
    }
}

/// The error for a log whose tables are not those of a tape.
pub(super) fn other_columns(path: &Path) -> CaptureError {
    decode_error(path)(io::Error::other(
        "the columns are not those of this version",
    ))
}
