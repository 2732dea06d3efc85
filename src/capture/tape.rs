//! Writing a tape: rows in any order go to the log, and come out sorted when the run ends.
//!
//! A finished run and a recovered one take the same road: [`seal`] reads what the log has, sorts
//! it into Parquet, and removes the log last. Whoever dies on the way leaves the log, and the next
//! one starts over.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use rustix::fs::{FlockOperation, flock};

use super::error::{CaptureError, decode_error, write_error};
use super::manifest::{ClockAnchor, Counts, Manifest, SelfCheck, State};
use super::merge::{Merged, remove_runs, shifted};
use super::parquet::{PartWriter, sync_folder};
use super::schema::{ChunkRow, ProbeRow, RequestRow, Status, TapeRow};
use super::wal::{self, LogWriter, other_columns};

/// Rows of a tape in memory that are encoded at once.
const BATCH_ROWS: usize = 8_192;

/// What is known only when a run has ended.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// True when the schedule did not run to its end.
    pub is_interrupted: bool,
    /// Requests of the schedule that were not yet due; `None` where unknown.
    pub never_due: Option<u64>,
    /// Requests that were due, never sent, and have no row.
    pub unwritten: u64,
    /// Readings of both clocks that were taken during the run, on the log's axis.
    pub clock_anchors: Vec<ClockAnchor>,
    /// The client's own limits that were hit, by name.
    pub bounds_hit: Vec<(String, u64)>,
}

/// A tape that is being written. One thread owns it; nothing else may touch the folder.
pub struct TapeWriter {
    tape: PathBuf,
    manifest: Manifest,
    requests: LogWriter<RequestRow>,
    chunks: LogWriter<ChunkRow>,
    probes: LogWriter<ProbeRow>,
    pending_requests: Vec<RequestRow>,
    pending_chunks: Vec<ChunkRow>,
    pending_probes: Vec<ProbeRow>,
    /// Held while the log is open, so that no one recovers a tape that is being written.
    _lock: File,
}

/// Names of fields with a text that nothing reads, beyond which they are counted together.
const UNREAD_NAMES: usize = 16;

/// Counts events by the name of their field. Of names, which the server chooses, as many as
/// [`UNREAD_NAMES`] are told apart.
pub(crate) fn count_unread(counts: &mut BTreeMap<String, u64>, field: &str, events: u64) {
    let is_known = counts.contains_key(field) || counts.len() < UNREAD_NAMES;
    let field = if is_known { field } else { "other fields" };
    *counts.entry(field.to_owned()).or_default() += events;
}

impl TapeWriter {
    /// Makes the folder of a new tape, with its manifest and an empty log.
    ///
    /// With `replace`, a tape that is there already is removed; anything that is not a tape stays.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Exists`] when something is there that may not be replaced;
    /// [`CaptureError::Write`] when the folder can't be made.
    pub fn create(tape: &Path, manifest: Manifest, replace: bool) -> Result<Self, CaptureError> {
        make_room(tape, replace)?;
        let folder = tape.join(wal::FOLDER);
        fs::create_dir_all(&folder).map_err(write_error(&folder))?;
        let lock = lock_log(&folder)?.ok_or_else(|| CaptureError::Busy(tape.to_owned()))?;
        manifest.write(tape)?;
        Ok(Self {
            tape: tape.to_owned(),
            manifest,
            requests: LogWriter::new(&folder),
            chunks: LogWriter::new(&folder),
            probes: LogWriter::new(&folder),
            pending_requests: Vec::new(),
            pending_chunks: Vec::new(),
            pending_probes: Vec::new(),
            _lock: lock,
        })
    }

    /// Adds a row of `requests`. A later row of the same attempt replaces an earlier one, so a
    /// request is pushed when it is sent and again when it has ended.
    pub fn push_request(&mut self, row: RequestRow) {
        self.pending_requests.push(row);
    }

    /// Adds rows of `chunks`.
    pub fn push_chunks(&mut self, mut rows: Vec<ChunkRow>) {
        if self.pending_chunks.is_empty() {
            self.pending_chunks = rows;
        } else {
            self.pending_chunks.append(&mut rows);
        }
    }

    /// Adds a row of `probes`.
    pub fn push_probe(&mut self, row: ProbeRow) {
        self.pending_probes.push(row);
    }

    /// Counts events with a text that the backend does not read, by the name of the field.
    pub fn note_unread_texts(&mut self, field: &str, events: u64) {
        count_unread(&mut self.manifest.unread_texts, field, events);
    }

    /// Hands everything that was pushed to the system: from here on it outlives the process.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Write`] when the log can't be written; what was flushed before stays.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        // Whoever is killed in between must not leave a request that ended well without its chunks.
        let requests = std::mem::take(&mut self.pending_requests).into_iter();
        let (begun, ended): (Vec<_>, Vec<_>) =
            requests.partition(|row| row.status == Status::Interrupted);
        self.requests.append(&begun)?;
        self.chunks.append(&self.pending_chunks)?;
        self.pending_chunks.clear();
        self.requests.append(&ended)?;
        self.probes.append(&self.pending_probes)?;
        self.pending_probes.clear();
        Ok(())
    }

    /// Says where on the log's axis the schedule starts, once that is known, and what the client
    /// was found to add before.
    ///
    /// # Errors
    ///
    /// [`CaptureError::Write`] when the manifest can't be written.
    pub fn begin(
        &mut self,
        origin_ns: i64,
        self_check: Option<SelfCheck>,
    ) -> Result<(), CaptureError> {
        self.manifest.origin_ns = origin_ns;
        self.manifest.self_check = self_check;
        self.manifest.write(&self.tape)
    }

    /// Ends the tape: sorts the log into Parquet and removes it.
    ///
    /// # Errors
    ///
    /// As [`CaptureError`] says; the log is kept, and opening the tape recovers it.
    pub fn finish(mut self, ending: Ending) -> Result<Manifest, CaptureError> {
        self.flush()?;
        self.requests.close()?;
        self.chunks.close()?;
        self.probes.close()?;
        let mut manifest = self.manifest;
        manifest.state = if ending.is_interrupted {
            State::Interrupted
        } else {
            State::Complete
        };
        manifest.counts.never_due = ending.never_due;
        manifest.counts.unwritten = ending.unwritten;
        manifest.clock_anchors = ending.clock_anchors;
        manifest.bounds_hit = ending.bounds_hit.into_iter().collect();
        seal(&self.tape, &mut manifest)?;
        Ok(manifest)
    }
}

/// Writes a whole tape from rows in memory, which must be sorted by key: for runs in virtual time.
///
/// Nothing is synced to disk.
///
/// # Errors
///
/// As [`TapeWriter::create`].
pub fn write_tape(
    tape: &Path,
    mut manifest: Manifest,
    requests: Vec<RequestRow>,
    chunks: Vec<ChunkRow>,
    probes: Vec<ProbeRow>,
) -> Result<Manifest, CaptureError> {
    fn write_rows<R: TapeRow>(tape: &Path, rows: &[R]) -> Result<u64, CaptureError> {
        let mut writer = PartWriter::<R>::create(tape, false)?;
        for rows in rows.chunks(BATCH_ROWS) {
            writer.push(&R::batch(rows))?;
        }
        writer.finish()
    }
    make_room(tape, false)?;
    fs::create_dir_all(tape).map_err(write_error(tape))?;
    manifest.counts = Counts {
        requests: write_rows(tape, &requests)?,
        chunks: write_rows(tape, &chunks)?,
        probes: write_rows(tape, &probes)?,
        never_due: manifest.counts.never_due,
        unwritten: manifest.counts.unwritten,
    };
    manifest.write(tape)?;
    Ok(manifest)
}

/// Recovers a tape whose writer died. Returns what happened in one sentence, or `None` when the
/// tape was whole.
///
/// # Errors
///
/// [`CaptureError::NotATape`] and [`CaptureError::Version`] as for [`Manifest::read`];
/// [`CaptureError::Busy`] when a live process is writing it.
pub fn recover(tape: &Path) -> Result<Option<String>, CaptureError> {
    let mut manifest = Manifest::read(tape)?;
    let folder = tape.join(wal::FOLDER);
    if !folder.is_dir() {
        return Ok(None);
    }
    // The lock is freed by the system when its holder dies, however it dies.
    let Some(_lock) = lock_log(&folder)? else {
        return Err(CaptureError::Busy(tape.to_owned()));
    };
    if manifest.state != State::Running {
        // The tables were whole when the state was written; only the removal is missing.
        fs::remove_dir_all(&folder).map_err(write_error(&folder))?;
        return Ok(None);
    }
    manifest.state = State::Interrupted;
    let sealed = seal(tape, &mut manifest)?;
    let note = format!(
        "recovered from its log after a crash: {} requests ({} in flight at the end), {} chunks{}",
        manifest.counts.requests,
        sealed.interrupted,
        manifest.counts.chunks,
        if sealed.is_torn {
            "; the last batch was torn and is lost"
        } else {
            ""
        },
    );
    // Whoever opens the tape next is to know it too.
    manifest.recovered = Some(note.clone());
    manifest.write(tape)?;
    Ok(Some(note))
}

/// Takes the lock on a log, or returns `None` when another process has it.
fn lock_log(folder: &Path) -> Result<Option<File>, CaptureError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(write_error(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(error) if error == rustix::io::Errno::WOULDBLOCK => Ok(None),
        Err(error) => Err(write_error(&path)(error.into())),
    }
}

fn make_room(tape: &Path, replace: bool) -> Result<(), CaptureError> {
    let is_empty_folder = fs::read_dir(tape).is_ok_and(|mut entries| entries.next().is_none());
    if !tape.exists() || is_empty_folder {
        return Ok(());
    }
    if replace && Manifest::path(tape).exists() {
        let log = tape.join(wal::FOLDER);
        // A run that is still going on would lose its tape under its feet.
        let lock = if log.is_dir() { lock_log(&log)? } else { None };
        if log.is_dir() && lock.is_none() {
            return Err(CaptureError::Busy(tape.to_owned()));
        }
        return fs::remove_dir_all(tape).map_err(write_error(tape));
    }
    Err(CaptureError::Exists(tape.to_owned()))
}

struct Sealed {
    interrupted: usize,
    is_torn: bool,
}

/// Sorts the log of `tape` into Parquet, shifted to the schedule's axis, then removes the log.
fn seal(tape: &Path, manifest: &mut Manifest) -> Result<Sealed, CaptureError> {
    let folder = tape.join(wal::FOLDER);
    let origin_ns = manifest.origin_ns;
    let mut open = unfinished(&folder)?;
    let interrupted = open.len();

    let mut is_torn = false;
    manifest.counts.chunks = seal_table::<ChunkRow>(tape, origin_ns, &mut is_torn, |batch| {
        if !open.is_empty() {
            note_token_events(&mut open, &batch)?;
        }
        Some(batch)
    })?;
    manifest.counts.requests = seal_table::<RequestRow>(tape, origin_ns, &mut is_torn, |batch| {
        if open.is_empty() {
            return Some(batch);
        }
        let mut rows = RequestRow::rows(&batch)?;
        for row in &mut rows {
            if let Some(told) = open.remove(&(row.request_id, row.attempt)) {
                *row = told;
            }
        }
        Some(RequestRow::batch(&rows))
    })?;
    manifest.counts.probes = seal_table::<ProbeRow>(tape, origin_ns, &mut is_torn, Some)?;

    for anchor in &mut manifest.clock_anchors {
        anchor.monotonic_ns = anchor.monotonic_ns.saturating_sub(origin_ns);
    }
    manifest.origin_ns = 0;
    manifest.write(tape)?;
    fs::remove_dir_all(&folder).map_err(write_error(&folder))?;
    sync_folder(tape)?;
    Ok(Sealed {
        interrupted,
        is_torn,
    })
}

/// Sorts the log of one table into Parquet, each batch as `amend` returns it, and returns the number
/// of rows.
fn seal_table<R: TapeRow>(
    tape: &Path,
    origin_ns: i64,
    is_torn: &mut bool,
    mut amend: impl FnMut(RecordBatch) -> Option<RecordBatch>,
) -> Result<u64, CaptureError> {
    let folder = tape.join(wal::FOLDER);
    let mut merged = Merged::<R>::open(&folder)?;
    *is_torn |= merged.is_torn();
    let mut writer = PartWriter::<R>::create(tape, true)?;
    while let Some(batch) = merged.next_batch()? {
        let batch = amend(batch).ok_or_else(|| other_columns(&folder))?;
        writer.push(&shifted::<R>(&batch, origin_ns).map_err(decode_error(&folder))?)?;
    }
    let rows = writer.finish()?;
    remove_runs::<R>(&folder)?;
    Ok(rows)
}

/// Attempts that the log saw sent and not ended.
type Unfinished = HashMap<(u64, u8), RequestRow>;

fn unfinished(folder: &Path) -> Result<Unfinished, CaptureError> {
    let mut merged = Merged::<RequestRow>::open(folder)?;
    let mut open = HashMap::new();
    while let Some(batch) = merged.next_batch()? {
        let rows = RequestRow::rows(&batch).ok_or_else(|| other_columns(folder))?;
        for row in rows {
            if row.status == Status::Interrupted {
                open.insert((row.request_id, row.attempt), row);
            }
        }
    }
    Ok(open)
}

/// Notes in the rows of attempts that never ended what the chunks tell of them.
fn note_token_events(open: &mut Unfinished, batch: &RecordBatch) -> Option<()> {
    for chunk in ChunkRow::rows(batch)? {
        if let Some(row) = open.get_mut(&(chunk.request_id, chunk.attempt))
            && chunk.channel.is_token_bearing()
        {
            row.take_token_event(chunk.arrival_ns, chunk.channel);
        }
    }
    Some(())
}
