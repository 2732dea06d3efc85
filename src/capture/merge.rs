//! From the log's segments to one sorted stream of rows, in bounded memory.
//!
//! Each segment is sorted in memory and written back as a run; the runs are then merged. Rows of
//! equal keys are one row: the one that was written last stands, with the texts that only an older
//! one has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs;
use std::path::{Path, PathBuf};

use super::error::{CaptureError, encode_error, write_error};
use super::schema::TapeRow;
use super::wal::{self, StreamRows, stream_writer};

/// Rows of a run that are in memory at once while runs are merged.
const RUN_BATCH_ROWS: usize = 2_048;

/// Text of a run, in bytes, that is in memory at once while runs are merged (a row is never cut).
const RUN_BATCH_TEXT_BYTES: usize = 256 << 10;

/// One table's rows, sorted by key, each key once.
pub(super) struct Merged<R> {
    sources: Vec<Source<R>>,
    heads: BinaryHeap<Reverse<Head>>,
    is_torn: bool,
}

/// The next key of a source. Later sources come first among equal keys, so that the last row
/// written is the first one met.
type Head = ((u64, u8, u32), Reverse<usize>);

enum Source<R> {
    Memory(std::vec::IntoIter<R>, Option<R>),
    Run(Box<StreamRows<R>>, std::vec::IntoIter<R>, Option<R>),
}

impl<R: TapeRow> Source<R> {
    fn advance(&mut self) -> Result<Option<(u64, u8, u32)>, CaptureError> {
        let next = match self {
            Self::Memory(rows, next) => {
                *next = rows.next();
                next
            }
            Self::Run(run, rows, next) => {
                *next = rows.next();
                if next.is_none() {
                    if let Some(batch) = run.next_batch()? {
                        *rows = batch.into_iter();
                        *next = rows.next();
                    } else if run.is_torn() {
                        // A run was written whole a moment ago: this is not a crash's torn tail.
                        return Err(run.unreadable());
                    }
                }
                next
            }
        };
        Ok(next.as_ref().map(TapeRow::key))
    }

    fn take(&mut self) -> Option<R> {
        match self {
            Self::Memory(_, next) | Self::Run(_, _, next) => next.take(),
        }
    }
}

impl<R: TapeRow> Merged<R> {
    /// Sorts the segments of one table under `folder` and opens the merge over them.
    pub(super) fn open(folder: &Path) -> Result<Self, CaptureError> {
        let segments = wal::segments::<R>(folder)?;
        let is_single = segments.len() == 1;
        let mut sources = Vec::new();
        let mut is_torn = false;
        for (number, segment) in segments.iter().enumerate() {
            let (rows, segment_is_torn) = sorted_rows::<R>(segment)?;
            is_torn |= segment_is_torn;
            if is_single {
                sources.push(Source::Memory(rows.into_iter(), None));
            } else {
                let run = write_run(folder, number, &rows)?;
                sources.push(Source::Run(
                    Box::new(StreamRows::open_whole(&run)?),
                    Vec::new().into_iter(),
                    None,
                ));
            }
        }
        let mut merged = Self {
            sources,
            heads: BinaryHeap::new(),
            is_torn,
        };
        for index in 0..merged.sources.len() {
            merged.refill(index)?;
        }
        Ok(merged)
    }

    /// True when a segment ended in a torn message.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Returns the next row.
    pub(super) fn next_row(&mut self) -> Result<Option<R>, CaptureError> {
        let Some(Reverse((key, Reverse(index)))) = self.heads.pop() else {
            return Ok(None);
        };
        let mut row = self.sources.get_mut(index).and_then(Source::take);
        self.refill(index)?;
        while let Some(Reverse((other, Reverse(index)))) = self.heads.peek().copied()
            && other == key
        {
            self.heads.pop();
            let older = self.sources.get_mut(index).and_then(Source::take);
            if let (Some(row), Some(mut older)) = (row.as_mut(), older) {
                row.complete(&mut older);
            }
            self.refill(index)?;
        }
        Ok(row)
    }

    fn refill(&mut self, index: usize) -> Result<(), CaptureError> {
        if let Some(source) = self.sources.get_mut(index)
            && let Some(key) = source.advance()?
        {
            self.heads.push(Reverse((key, Reverse(index))));
        }
        Ok(())
    }
}

/// Reads one segment whole, sorts it and makes one row of those with equal keys.
fn sorted_rows<R: TapeRow>(segment: &Path) -> Result<(Vec<R>, bool), CaptureError> {
    let mut stream = StreamRows::<R>::open(segment)?;
    let mut rows = Vec::new();
    while let Some(batch) = stream.next_batch()? {
        rows.extend(batch);
    }
    // A stable sort keeps the order of writing among equal keys; the reverse puts the last first.
    rows.reverse();
    // Rows are large: only their keys move while they are sorted.
    rows.sort_by_cached_key(TapeRow::key);
    rows.dedup_by(|older, newer| {
        let is_same = older.key() == newer.key();
        if is_same {
            newer.complete(older);
        }
        is_same
    });
    Ok((rows, stream.is_torn()))
}

fn write_run<R: TapeRow>(
    folder: &Path,
    number: usize,
    rows: &[R],
) -> Result<PathBuf, CaptureError> {
    let path = folder.join(format!("sorted-{}-{number:05}.run", R::TABLE));
    let mut writer = stream_writer::<R>(&path)?;
    let mut rest = rows;
    while !rest.is_empty() {
        let (rows, after) = rest.split_at(run_batch_length(rest));
        writer.write(&R::batch(rows)).map_err(encode_error(&path))?;
        rest = after;
    }
    writer.finish().map_err(encode_error(&path))?;
    Ok(path)
}

/// Returns how many of the rows, of which there is one, are one batch of a run.
fn run_batch_length<R: TapeRow>(rows: &[R]) -> usize {
    let mut text_bytes = 0;
    let fitting = rows.iter().take(RUN_BATCH_ROWS).take_while(|row| {
        text_bytes += row.text_bytes();
        text_bytes <= RUN_BATCH_TEXT_BYTES
    });
    fitting.count().max(1)
}

/// Removes the runs of one table once they are merged.
pub(super) fn remove_runs<R: TapeRow>(folder: &Path) -> Result<(), CaptureError> {
    let prefix = format!("sorted-{}-", R::TABLE);
    for entry in fs::read_dir(folder).map_err(write_error(folder))? {
        let entry = entry.map_err(write_error(folder))?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            fs::remove_file(entry.path()).map_err(write_error(&entry.path()))?;
        }
    }
    Ok(())
}
