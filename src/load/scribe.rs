//! The scribe: the one thread that decodes bytes and writes the tape.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc;

use super::recorder::{Batch, CHANNEL_BATCHES, Failure, Recorder, Stats};
use super::transcript::Transcript;
use crate::backend::BackendKind;
use crate::capture::schema::{Phase, RequestRow, Status};
use crate::capture::{CaptureError, TapeWriter};

pub use super::transcript::TokenCounter;

/// Decodes what the driver noted and writes it down. Blocking: it belongs on a thread of its own.
pub struct Scribe {
    tape: TapeWriter,
    batches: mpsc::Receiver<Batch>,
    stats: Arc<Stats>,
    backend: BackendKind,
    keeps_text: bool,
    count_tokens: Option<TokenCounter>,
    /// Attempts that have begun and not ended.
    open: HashMap<u32, Transcript>,
}

impl Scribe {
    /// Makes a scribe for `tape`, and the recorder that feeds it.
    ///
    /// With `count_tokens`, answers whose server names no usage are counted with it.
    pub fn new(
        tape: TapeWriter,
        backend: BackendKind,
        keeps_text: bool,
        count_tokens: Option<TokenCounter>,
    ) -> (Self, Arc<Recorder>) {
        let (sender, batches) = mpsc::channel(CHANNEL_BATCHES);
        let stats = Arc::new(Stats::default());
        let recorder = Arc::new(Recorder::new(sender, Arc::clone(&stats)));
        let open = HashMap::new();
        (
            Self {
                tape,
                batches,
                stats,
                backend,
                keeps_text,
                count_tokens,
                open,
            },
            recorder,
        )
    }

    /// Works until every recorder is gone. Returns the tape, fit to be finished.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the tape can't be written; the channel is closed with it, which stops
    /// the driver.
    pub fn work(mut self) -> Result<TapeWriter, CaptureError> {
        while let Some(batch) = self.batches.blocking_recv() {
            self.take(batch)?;
            self.tape.flush()?;
        }
        Ok(self.tape)
    }

    fn take(&mut self, batch: Batch) -> Result<(), CaptureError> {
        if let Some((origin_ns, self_check)) = batch.start {
            self.tape.begin(origin_ns, self_check)?;
        }
        for row in batch.rows {
            self.tape.push_request(row);
        }
        for probe in batch.probes {
            self.tape.push_probe(probe);
        }
        let mut breath = Breath::default();
        for (key, row, progress) in batch.opened {
            breath.count(REQUEST_COST);
            let ways = (self.backend, self.keeps_text, self.count_tokens.is_some());
            let transcript = Transcript::new(row, progress, ways);
            self.tape.push_request(transcript.opening_row());
            self.open.insert(key, transcript);
        }
        let mut chunks = Vec::with_capacity(batch.reads.len());
        let mut rest = batch.bytes.as_slice();
        for entry in &batch.reads {
            breath.count(1);
            let (bytes, after) = rest.split_at(entry.length.min(rest.len()));
            rest = after;
            if let Some(transcript) = self.open.get_mut(&entry.key) {
                transcript.read(bytes, entry, &mut chunks);
            }
        }
        for (key, end) in batch.ended {
            breath.count(REQUEST_COST);
            if let Some(transcript) = self.open.remove(&key) {
                let row = transcript.finish(&end, self.count_tokens.as_ref(), &mut chunks);
                self.count(&row);
                self.tape.push_request(row);
            }
        }
        self.stats
            .events
            .fetch_add(chunks.len() as u64, Ordering::Relaxed);
        self.tape.push_chunks(chunks);
        Ok(())
    }

    fn count(&self, row: &RequestRow) {
        if row.status != Status::Ok {
            self.stats.failed.fetch_add(1, Ordering::Relaxed);
        } else if row.phase == Phase::Measure {
            self.stats.ok.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(kind) = &row.error_kind {
            self.stats.first_failure.get_or_init(|| Failure {
                kind: kind.as_str().to_owned(),
                message: row.error_message.clone(),
                http_status: row.http_status,
            });
        }
    }
}

/// Reads, each a microsecond or two of work, after which the scribe lets others go first.
const READS_A_BREATH: u32 = 64;

/// Reads that are about as much work as the start or the end of a request.
const REQUEST_COST: u32 = 4;

/// Gives way in between.
///
/// Where the scribe shares a core with the driver, a low precedence is not enough: a thread that
/// has waited for its turn may then work for some milliseconds, whoever wakes meanwhile. One that
/// gives its turn back holds nobody up for longer than a breath.
#[derive(Debug, Default)]
struct Breath {
    work: u32,
}

impl Breath {
    fn count(&mut self, work: u32) {
        self.work += work;
        if self.work >= READS_A_BREATH {
            self.work = 0;
            std::thread::yield_now();
        }
    }
}
