//! From the log's segments to one sorted stream of batches, in bounded memory.
//!
//! Each segment is sorted in memory and written back as a run; the runs are then merged. What is
//! sorted and merged are keys and the places where their rows lie; the rows themselves move once,
//! column by column. Rows of equal keys are one row: the one that was written last stands, with the
//! texts that only an older one has.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::ffi::{OsStr, OsString};
use std::iter::Peekable;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, RecordBatch};
use arrow::compute::{concat_batches, interleave};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;
use arrow::ipc::CompressionType;

use super::error::{CaptureError, decode_error, encode_error};
use super::folder::Folder;
use super::schema::{Key, TapeRow, keys};
use super::wal::{self, StreamBatches, stream_writer};

/// How large a batch may be (a row is never cut).
#[derive(Debug, Clone, Copy)]
struct Bounds {
    rows: usize,
    /// Texts of any length in the rows, in bytes.
    text_bytes: usize,
}

/// Batches that are handed on.
const HANDED_ON: Bounds = Bounds {
    rows: 8_192,
    text_bytes: 8 << 20,
};

/// Batches of a run, of each of which there are few in memory while runs are merged.
const OF_A_RUN: Bounds = Bounds {
    rows: 2_048,
    text_bytes: 256 << 10,
};

/// Rows of a segment that are put together before they are sorted: what was flushed a few rows at a
/// time would cost as much for each batch as for each row.
const GATHERED_ROWS: usize = 8_192;

/// One table's rows, sorted by key, each key once.
pub(super) struct Merged<R> {
    rows: Sorted<R>,
    is_torn: bool,
}

enum Sorted<R> {
    Segment(SortedSegment<R>),
    Runs(MergedRuns<R>),
}

impl<R: TapeRow> Merged<R> {
    /// Sorts the segments of one table under `folder` and opens the merge over them.
    pub(super) fn open(folder: &Folder) -> Result<Self, CaptureError> {
        let segments = wal::segments::<R>(folder)?;
        if let [segment] = segments.as_slice() {
            let (segment, is_torn) = SortedSegment::open(folder, segment, HANDED_ON)?;
            let rows = Sorted::Segment(segment);
            return Ok(Self { rows, is_torn });
        }
        let mut runs = Vec::new();
        let mut is_torn = false;
        for (number, segment) in segments.iter().enumerate() {
            let (mut segment, segment_is_torn) =
                SortedSegment::<R>::open(folder, segment, OF_A_RUN)?;
            is_torn |= segment_is_torn;
            runs.push(write_run(folder, number, &mut segment)?);
        }
        let rows = Sorted::Runs(MergedRuns::open(folder, &runs)?);
        Ok(Self { rows, is_torn })
    }

    /// True when a segment ended in a torn message.
    pub(super) fn is_torn(&self) -> bool {
        self.is_torn
    }

    /// Returns the next rows. Rows of one key are never in two batches.
    pub(super) fn next_batch(&mut self) -> Result<Option<RecordBatch>, CaptureError> {
        match &mut self.rows {
            Sorted::Segment(segment) => segment.next_batch(),
            Sorted::Runs(runs) => runs.next_batch(),
        }
    }
}

/// Number of a batch, and of a row in it.
type Place = (usize, usize);

/// Rows that were picked from batches, in the order in which they are to follow each other.
struct Picks<R> {
    batches: Vec<RecordBatch>,
    places: Vec<Place>,
    /// For each column of texts, where they are taken from: not always where the rest is.
    texts: Vec<(usize, Vec<Place>)>,
    text_bytes: usize,
    last: Option<Key>,
    bounds: Bounds,
    rows: PhantomData<R>,
}

impl<R: TapeRow> Picks<R> {
    fn new(batches: Vec<RecordBatch>, bounds: Bounds) -> Self {
        let schema = R::schema();
        let columns = R::TEXTS
            .iter()
            .filter_map(|name| schema.index_of(name).ok());
        Self {
            batches,
            places: Vec::new(),
            texts: columns.map(|column| (column, Vec::new())).collect(),
            text_bytes: 0,
            last: None,
            bounds,
            rows: PhantomData,
        }
    }

    /// Says whether a row of this key belongs into another batch.
    fn is_full_for(&self, key: Key) -> bool {
        let Bounds { rows, text_bytes } = self.bounds;
        (self.places.len() >= rows || self.text_bytes >= text_bytes) && self.last != Some(key)
    }

    /// Adds a row. Keys come in order, and among equal ones the row that was written last.
    fn add(&mut self, key: Key, place: Place) {
        let is_older = self.last == Some(key);
        if !is_older {
            self.places.push(place);
            self.last = Some(key);
        }
        let batches = &self.batches;
        let length = |column: usize, (batch, row): Place| -> Option<usize> {
            let texts = batches.get(batch)?.column(column).as_string_opt::<i32>()?;
            texts.is_valid(row).then(|| texts.value(row).len())
        };
        for (column, places) in &mut self.texts {
            match places.last_mut().filter(|_| is_older) {
                Some(last) if length(*column, *last).is_none() => *last = place,
                Some(_) => continue,
                None => places.push(place),
            }
            self.text_bytes += length(*column, place).unwrap_or(0);
        }
    }

    /// Makes one batch of the rows and begins anew; `None` where there are none.
    fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        if self.places.is_empty() {
            return Ok(None);
        }
        let schema = R::schema();
        let columns = (0..schema.fields().len()).map(|column| {
            let texts = self.texts.iter().find(|(text, _)| *text == column);
            let places = texts.map_or(&self.places, |(_, places)| places);
            let parts: Vec<_> = self
                .batches
                .iter()
                .map(|batch| batch.column(column))
                .collect();
            gather(&parts, places)
        });
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        self.places.clear();
        self.texts.iter_mut().for_each(|(_, places)| places.clear());
        self.text_bytes = 0;
        self.last = None;
        RecordBatch::try_new(schema, columns).map(Some)
    }
}

/// Takes cells out of the parts of a column. Parts that share a vocabulary keep it: Arrow would give
/// the result as many copies of it as there are parts.
fn gather(parts: &[&ArrayRef], places: &[Place]) -> Result<ArrayRef, ArrowError> {
    let words: Option<Vec<_>> = parts
        .iter()
        .map(|part| part.as_dictionary_opt::<Int32Type>())
        .collect();
    if let Some(words) = words
        && let Some(first) = words.first()
        && words.iter().all(|word| word.values() == first.values())
    {
        let keys: Vec<&dyn Array> = words.iter().map(|word| word.keys() as &dyn Array).collect();
        let keys = interleave(&keys, places)?;
        let keys = keys.as_primitive::<Int32Type>().clone();
        let words = DictionaryArray::try_new(keys, Arc::clone(first.values()))?;
        return Ok(Arc::new(words));
    }
    let parts: Vec<&dyn Array> = parts.iter().map(|part| part.as_ref()).collect();
    interleave(&parts, places)
}

/// A segment in memory, and the order of its rows.
struct SortedSegment<R> {
    picks: Picks<R>,
    order: Peekable<std::vec::IntoIter<Ordered>>,
    path: PathBuf,
}

/// A key and the place of its row. Of equal keys the row that was written last comes first.
type Ordered = (Key, Reverse<(u32, u32)>);

impl<R: TapeRow> SortedSegment<R> {
    /// Reads and sorts a segment; says as well whether it ended in a torn message.
    fn open(folder: &Folder, name: &OsStr, bounds: Bounds) -> Result<(Self, bool), CaptureError> {
        let mut stream = StreamBatches::<R>::open(folder, name)?;
        let path = &folder.path(name);
        let mut batches = Vec::new();
        let mut few = Vec::new();
        let mut gathered_rows = 0;
        let gather = |few: &mut Vec<RecordBatch>| {
            let gathered = concat_batches(&R::schema(), few.iter());
            few.clear();
            gathered.map_err(decode_error(path))
        };
        while let Some(batch) = stream.next_batch()? {
            gathered_rows += batch.num_rows();
            few.push(batch);
            if gathered_rows >= GATHERED_ROWS {
                batches.push(gather(&mut few)?);
                gathered_rows = 0;
            }
        }
        if !few.is_empty() {
            batches.push(gather(&mut few)?);
        }
        let mut order: Vec<Ordered> = Vec::new();
        for (number, batch) in (0..).zip(&batches) {
            let keys = keys::<R>(batch).ok_or_else(|| stream.unreadable())?;
            let places = (0..).map(|row| Reverse((number, row)));
            order.extend(keys.into_iter().zip(places));
        }
        order.sort_unstable();
        let sorted = Self {
            picks: Picks::new(batches, bounds),
            order: order.into_iter().peekable(),
            path: path.to_owned(),
        };
        Ok((sorted, stream.is_torn()))
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, CaptureError> {
        let picks = &mut self.picks;
        while let Some((key, Reverse((batch, row)))) =
            self.order.next_if(|(key, _)| !picks.is_full_for(*key))
        {
            picks.add(key, (batch as usize, row as usize));
        }
        picks.take().map_err(decode_error(&self.path))
    }
}

fn write_run<R: TapeRow>(
    folder: &Folder,
    number: usize,
    rows: &mut SortedSegment<R>,
) -> Result<OsString, CaptureError> {
    let name = format!("{}{number:05}{RUN}", run_prefix::<R>());
    let path = folder.path(&name);
    let mut writer = stream_writer::<R>(folder, &name, Some(CompressionType::LZ4_FRAME))?;
    while let Some(batch) = rows.next_batch()? {
        writer.write(&batch).map_err(encode_error(&path))?;
    }
    writer.finish().map_err(encode_error(&path))?;
    Ok(name.into())
}

/// Sorted runs, read side by side.
struct MergedRuns<R> {
    runs: Vec<Run<R>>,
    /// The next key of each run that has one. Later runs come first among equal keys.
    heads: BinaryHeap<Reverse<(Key, Reverse<usize>)>>,
    picks: Picks<R>,
}

/// One run, and where the next of its rows lies.
struct Run<R> {
    stream: StreamBatches<R>,
    keys: Vec<Key>,
    place: Place,
}

impl<R: TapeRow> MergedRuns<R> {
    fn open(folder: &Folder, names: &[OsString]) -> Result<Self, CaptureError> {
        let mut merged = Self {
            runs: Vec::new(),
            heads: BinaryHeap::new(),
            picks: Picks::new(Vec::new(), HANDED_ON),
        };
        for (index, name) in names.iter().enumerate() {
            let mut run = Run {
                stream: StreamBatches::open_whole(folder, name)?,
                keys: Vec::new(),
                place: (0, 0),
            };
            if let Some(key) = run.load(&mut merged.picks.batches)? {
                merged.heads.push(Reverse((key, Reverse(index))));
            }
            merged.runs.push(run);
        }
        Ok(merged)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>, CaptureError> {
        while let Some(mut head) = self.heads.peek_mut() {
            let Reverse((key, Reverse(index))) = *head;
            if self.picks.is_full_for(key) {
                break;
            }
            let Some(run) = self.runs.get_mut(index) else {
                break;
            };
            self.picks.add(key, run.place);
            match run.advance(&mut self.picks.batches)? {
                Some(next) => *head = Reverse((next, Reverse(index))),
                None => {
                    PeekMut::pop(head);
                }
            }
        }
        let batch = self.picks.take().map_err(|error| self.unreadable(error))?;
        self.forget_read();
        Ok(batch)
    }

    /// Keeps the batches that have rows left, and no others.
    fn forget_read(&mut self) {
        let batches = &mut self.picks.batches;
        let mut kept = Vec::new();
        for run in &mut self.runs {
            if let (true, Some(batch)) = (run.place.1 < run.keys.len(), batches.get(run.place.0)) {
                run.place.0 = kept.len();
                kept.push(batch.clone());
            }
        }
        *batches = kept;
    }

    fn unreadable(&self, error: ArrowError) -> CaptureError {
        match self.runs.first() {
            Some(run) => decode_error(run.stream.path())(error),
            None => decode_error(Path::new(R::TABLE))(error),
        }
    }
}

impl<R: TapeRow> Run<R> {
    /// Goes on to the next row; returns its key.
    fn advance(&mut self, batches: &mut Vec<RecordBatch>) -> Result<Option<Key>, CaptureError> {
        self.place.1 += 1;
        match self.keys.get(self.place.1) {
            Some(key) => Ok(Some(*key)),
            None => self.load(batches),
        }
    }

    /// Reads the next batch; returns the key of its first row.
    fn load(&mut self, batches: &mut Vec<RecordBatch>) -> Result<Option<Key>, CaptureError> {
        while let Some(batch) = self.stream.next_batch()? {
            self.keys = keys::<R>(&batch).ok_or_else(|| self.stream.unreadable())?;
            self.place = (batches.len(), 0);
            batches.push(batch);
            if let Some(key) = self.keys.first() {
                return Ok(Some(*key));
            }
        }
        if self.stream.is_torn() {
            // A run was written whole a moment ago: this is not a crash's torn tail.
            return Err(self.stream.unreadable());
        }
        self.keys.clear();
        Ok(None)
    }
}

/// Moves every point in time from an axis to one that starts `origin_ns` later.
pub(super) fn shifted<R: TapeRow>(
    batch: &RecordBatch,
    origin_ns: i64,
) -> Result<RecordBatch, ArrowError> {
    let schema = batch.schema();
    let columns = schema.fields().iter().zip(batch.columns());
    let columns = columns.map(
        |(field, column)| match column.as_primitive_opt::<Int64Type>() {
            Some(times) if R::TIMES.contains(&field.name().as_str()) => {
                let shifted = times.unary::<_, Int64Type>(|at_ns| at_ns.saturating_sub(origin_ns));
                Arc::new(shifted) as ArrayRef
            }
            _ => Arc::clone(column),
        },
    );
    RecordBatch::try_new(Arc::clone(&schema), columns.collect())
}

/// Removes the runs of one table once they are merged.
pub(super) fn remove_runs<R: TapeRow>(folder: &Folder) -> Result<(), CaptureError> {
    let prefix = run_prefix::<R>();
    for name in folder.names()? {
        if name.to_string_lossy().starts_with(&prefix) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

/// What the name of a run ends in.
pub(super) const RUN: &str = ".run";

fn run_prefix<R: TapeRow>() -> String {
    format!("sorted-{}-", R::TABLE)
}
