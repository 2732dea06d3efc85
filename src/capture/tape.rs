//! Writing a tape: rows in any order go to the log, and come out sorted when the run ends.
//!
//! A finished run and a recovered one take the same road: [`sort_log`] reads what the log has, sorts
//! it into Parquet, [`close`] writes that it is whole and removes the log last. Whoever dies on the way
//! leaves the log, and the next one starts over.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use arrow::array::RecordBatch;

use super::contents::{Room, make_room, remove_log};
use super::error::{CaptureError, decode_error};
use super::folder::{Folder, is_read_only};
use super::manifest::{
    ClockAnchor, Counts, MOST_ANCHORS, Manifest, MetricSource, Prewarmed, SelfCheck, SessionCounts,
    State, open_tape,
};
use super::merge::{Merged, remove_runs, shifted};
use super::parquet::PartWriter;
use super::schema::{ChunkRow, ProbeRow, RequestRow, ServerRow, Status, TapeRow};
use super::wal::{self, LogWriter, other_columns};

/// Rows of a tape in memory that are encoded at once.
const BATCH_ROWS: usize = 8_192;

/// How far the log may be behind what was read without a word about it, in nanoseconds.
const PROMISED_NS: i64 = 250_000_000;

/// What is known only when a run has ended.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// True when the schedule did not run to its end.
    pub is_interrupted: bool,
    /// Requests of the schedule that were not yet due; `None` where unknown.
    pub never_due: Option<u64>,
    /// Requests that were due, never sent, and have no row.
    pub unwritten: u64,
    /// Rows of the trace without a reply that the server was to say.
    pub without_reply: u64,
    /// Readings of both clocks that were taken during the run, on the log's axis.
    pub clock_anchors: Vec<ClockAnchor>,
    /// The client's own limits that were hit, by name.
    pub bounds_hit: Vec<(String, u64)>,
    /// How the sources of `server` fared.
    pub metric_sources: Vec<MetricSource>,
    /// What became of the connections that were to be open beforehand.
    pub prewarmed: Vec<Prewarmed>,
    /// What became of the sessions, where the data set are conversations.
    pub sessions: Option<SessionCounts>,
}

/// A tape that is being written. One thread owns it; nothing else may touch the folder.
pub struct TapeWriter {
    tape: Folder,
    log: Folder,
    manifest: Manifest,
    requests: LogWriter<RequestRow>,
    chunks: LogWriter<ChunkRow>,
    probes: LogWriter<ProbeRow>,
    server: LogWriter<ServerRow>,
    pending_requests: Vec<RequestRow>,
    pending_chunks: Vec<ChunkRow>,
    pending_probes: Vec<ProbeRow>,
    pending_server: Vec<ServerRow>,
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
    /// [`CaptureError::Exists`] and [`CaptureError::Kept`] when something is there that may not be
    /// replaced; [`CaptureError::Make`] when the folder can't be made: then nothing of it is left.
    pub fn create(tape: &Path, manifest: Manifest, replace: bool) -> Result<Self, CaptureError> {
        let unmade = |error| match error {
            CaptureError::Write { source, .. } | CaptureError::Read { source, .. } => {
                CaptureError::Make {
                    path: tape.to_owned(),
                    source,
                }
            }
            other => other,
        };
        manifest.check().map_err(|reason| CaptureError::TooLarge {
            path: tape.to_owned(),
            reason,
        })?;
        let room = make_room(tape, replace).map_err(unmade)?;
        let begun = begin_log(&room, &manifest, tape);
        let (log, lock) = begun.map_err(|error| {
            room.clear(tape);
            unmade(error)
        })?;
        Ok(Self {
            tape: room.folder,
            manifest,
            requests: LogWriter::new(&log),
            chunks: LogWriter::new(&log),
            probes: LogWriter::new(&log),
            server: LogWriter::new(&log),
            pending_requests: Vec::new(),
            pending_chunks: Vec::new(),
            pending_probes: Vec::new(),
            pending_server: Vec::new(),
            log,
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

    /// Adds rows of `server`: what one scrape brought.
    pub fn push_server(&mut self, rows: Vec<ServerRow>) {
        self.pending_server.extend(rows);
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
    /// [`CaptureError::LogGone`] when somebody removed it, as what is written to it then is lost.
    pub fn flush(&mut self) -> Result<(), CaptureError> {
        wal::ensure_there(&self.log)?;
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
        self.server.append(&self.pending_server)?;
        self.pending_server.clear();
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
        self.manifest.write_in(&self.tape, false)
    }

    /// Ends the tape: sorts the log into Parquet and removes it.
    ///
    /// # Errors
    ///
    /// As [`CaptureError`] says; the log is kept, and opening the tape recovers it.
    pub fn finish(mut self, ending: Ending) -> Result<Manifest, CaptureError> {
        self.flush()?;
        self.requests.end()?;
        self.chunks.end()?;
        self.probes.end()?;
        self.server.end()?;
        let mut manifest = self.manifest;
        manifest.state = if ending.is_interrupted {
            State::Interrupted
        } else {
            State::Complete
        };
        manifest.counts.never_due = ending.never_due;
        manifest.counts.unwritten = ending.unwritten;
        manifest.counts.without_reply = ending.without_reply;
        manifest.clock_anchors = ending.clock_anchors;
        manifest.bounds_hit = ending.bounds_hit.into_iter().collect();
        manifest.metric_sources = ending.metric_sources;
        manifest.prewarmed = ending.prewarmed;
        manifest.sessions = ending.sessions;
        sort_log(&self.tape, &self.log, &mut manifest)?;
        close(&self.tape, &manifest)?;
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
    fn write_rows<R: TapeRow>(tape: &Folder, rows: &[R]) -> Result<u64, CaptureError> {
        let mut writer = PartWriter::<R>::create(tape, false)?;
        for rows in rows.chunks(BATCH_ROWS) {
            writer.push(&R::batch(rows))?;
        }
        writer.finish()
    }
    let Room { folder, .. } = make_room(tape, false)?;
    manifest.counts = Counts {
        requests: write_rows(&folder, &requests)?,
        chunks: write_rows(&folder, &chunks)?,
        probes: write_rows(&folder, &probes)?,
        server: 0,
        never_due: manifest.counts.never_due,
        unwritten: manifest.counts.unwritten,
        without_reply: manifest.counts.without_reply,
    };
    manifest.write_in(&folder, false)?;
    Ok(manifest)
}

/// Makes the log of a new tape and takes its lock, then writes the manifest.
fn begin_log(
    room: &Room,
    manifest: &Manifest,
    tape: &Path,
) -> Result<(Folder, File), CaptureError> {
    let log = room.folder.make_folder(wal::FOLDER)?;
    let lock = wal::lock(&log, tape)?;
    manifest.write_in(&room.folder, false)?;
    Ok((log, lock))
}

/// Recovers a tape whose writer died. Returns what happened in one sentence, or `None` when the
/// tape was whole, of which nothing is touched.
///
/// # Errors
///
/// [`CaptureError::NotATape`] and [`CaptureError::Version`] as for [`Manifest::read`];
/// [`CaptureError::Busy`] and [`CaptureError::Recovering`] when a live process is at work on it;
/// [`CaptureError::NoLog`] when there is nothing to recover it from; [`CaptureError::Foreign`] when
/// something in it leads out of it.
pub fn recover(tape: &Path) -> Result<Option<String>, CaptureError> {
    let folder = open_tape(tape)?;
    if Manifest::read_in(&folder, tape)?.state != State::Running {
        return Ok(None);
    }
    let Some(log) = folder.folder(wal::FOLDER)? else {
        return Err(CaptureError::NoLog(tape.to_owned()));
    };
    let unwritable = |error| match error {
        CaptureError::Write { source, .. } | CaptureError::Read { source, .. }
            if is_read_only(&source) =>
        {
            CaptureError::ReadOnly {
                path: tape.to_owned(),
                source,
            }
        }
        other => other,
    };
    let _lock = wal::lock(&log, tape).map_err(unwritable)?;
    // Somebody may have recovered it since.
    let mut manifest = Manifest::read_in(&folder, tape)?;
    if manifest.state != State::Running {
        return Ok(None);
    }
    log.new_file(wal::RECOVERY).map_err(unwritable)?;
    manifest.state = State::Interrupted;
    let sorted = sort_log(&folder, &log, &mut manifest)?;
    let mut note = format!(
        "recovered from its log after a crash: {} requests ({} in flight at the end), {} chunks",
        manifest.counts.requests, sorted.interrupted, manifest.counts.chunks,
    );
    if sorted.is_torn {
        note.push_str("; the last batch was torn and is lost");
    }
    if sorted.unlogged_ns > PROMISED_NS {
        let behind_ms = sorted.unlogged_ns / 1_000_000;
        note.push_str(&format!("; the log had been up to {behind_ms} ms behind"));
    }
    // Whoever opens the tape next is to know it too.
    manifest.recovered = Some(note.clone());
    close(&folder, &manifest)?;
    Ok(Some(note))
}

struct Sorted {
    interrupted: usize,
    /// How far the log had been behind what was read, at most.
    unlogged_ns: i64,
    is_torn: bool,
}

/// Sorts the log of a tape into Parquet, shifted to the schedule's axis, and notes in the manifest how
/// much there is.
fn sort_log(tape: &Folder, log: &Folder, manifest: &mut Manifest) -> Result<Sorted, CaptureError> {
    let origin_ns = manifest.origin_ns;
    let mut open = unfinished(log)?;
    let interrupted = open.len();

    let mut is_torn = false;
    manifest.counts.chunks =
        sort_table::<ChunkRow>((tape, log), origin_ns, &mut is_torn, |batch| {
            if !open.is_empty() {
                note_token_events(&mut open, &batch)?;
            }
            Some(batch)
        })?;
    manifest.counts.requests =
        sort_table::<RequestRow>((tape, log), origin_ns, &mut is_torn, |batch| {
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
    let mut unlogged_ns = 0;
    manifest.counts.probes =
        sort_table::<ProbeRow>((tape, log), origin_ns, &mut is_torn, |batch| {
            let probes = ProbeRow::rows(&batch)?.into_iter();
            let behind_ns = probes.filter_map(|probe| probe.unlogged_max_ns);
            unlogged_ns = behind_ns.fold(unlogged_ns, i64::max);
            Some(batch)
        })?;

    // A run that scraped nothing has no such table.
    if !wal::segments::<ServerRow>(log)?.is_empty() {
        manifest.counts.server =
            sort_table::<ServerRow>((tape, log), origin_ns, &mut is_torn, Some)?;
    }

    let anchors = &mut manifest.clock_anchors;
    while anchors.len() > MOST_ANCHORS {
        let mut is_kept = false;
        anchors.retain(|_| {
            is_kept = !is_kept;
            is_kept
        });
    }
    for anchor in anchors {
        anchor.monotonic_ns = anchor.monotonic_ns.saturating_sub(origin_ns);
    }
    manifest.origin_ns = 0;
    Ok(Sorted {
        interrupted,
        unlogged_ns,
        is_torn,
    })
}

/// Ends a tape whose tables are written: says so in the manifest, and removes the log when that is on
/// disk, so that a loss of power at any time leaves one of the two.
fn close(tape: &Folder, manifest: &Manifest) -> Result<(), CaptureError> {
    manifest.write_in(tape, true)?;
    remove_log(tape)?;
    tape.sync()
}

/// Sorts the log of one table into Parquet, each batch as `amend` returns it, and returns the number
/// of rows.
fn sort_table<R: TapeRow>(
    (tape, log): (&Folder, &Folder),
    origin_ns: i64,
    is_torn: &mut bool,
    mut amend: impl FnMut(RecordBatch) -> Option<RecordBatch>,
) -> Result<u64, CaptureError> {
    let mut merged = Merged::<R>::open(log)?;
    *is_torn |= merged.is_torn();
    let mut writer = PartWriter::<R>::create(tape, true)?;
    while let Some(batch) = merged.next_batch()? {
        let batch = amend(batch).ok_or_else(|| other_columns(log.place()))?;
        writer.push(&shifted::<R>(&batch, origin_ns).map_err(decode_error(log.place()))?)?;
    }
    let rows = writer.finish()?;
    remove_runs::<R>(log)?;
    Ok(rows)
}

/// Attempts that the log saw sent and not ended.
type Unfinished = HashMap<(u64, u8), RequestRow>;

fn unfinished(log: &Folder) -> Result<Unfinished, CaptureError> {
    let mut merged = Merged::<RequestRow>::open(log)?;
    let mut open = HashMap::new();
    while let Some(batch) = merged.next_batch()? {
        let rows = RequestRow::rows(&batch).ok_or_else(|| other_columns(log.place()))?;
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
