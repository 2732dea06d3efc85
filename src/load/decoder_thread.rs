//! The decoder thread: the one thread that decodes bytes and writes the tape.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::attempt_decoder::{AttemptDecoder, Keeping};
use super::backlog::Backlog;
use super::events::{Reply, RunEvent};
use super::listeners::RunEvents;
use super::memory_budget::MemoryBudget;
use super::recorder::{Batch, CHANNEL_BATCHES, Opened, Recorder};
use crate::backend::Backend;
use crate::capture::schema::{ChunkRow, ServerRow, Status, TapeRow};
use crate::capture::{CaptureError, TapeWriter};
use crate::secrets::Secrets;
use crate::throttle::CpuThrottle;
use crate::time::clock::Clock;
use crate::workload::TokenCounter;

/// Scrapes that may wait for the decoder.
const CHANNEL_SCRAPES: usize = 64;

/// Text of rows, in bytes, after which they are written without waiting for the end of a batch: a
/// small read can complete a large event.
const WRITE_TEXT_BYTES: usize = 8 << 20;

/// Rows after which they are written without waiting for the end of a batch: a small read can
/// complete many events.
const WRITE_ROWS: usize = 32 << 10;

/// What it takes to decode one small read, in microseconds.
const READ_US: u32 = 2;

/// Bytes of a larger one that are decoded in a microsecond.
const READ_BYTES_A_US: usize = 512;

/// What it takes to note the start or the end of a request, in microseconds.
const REQUEST_US: u32 = 12;

/// How much older what is decoded becomes than the newest that waits until this thread works twice
/// as long between two breaths, in nanoseconds. What waits is what a kill costs.
const URGENCY_NS: i64 = 40_000_000;

/// Decodes what the driver noted and writes it down. Blocking: it belongs on a thread of its own.
pub struct DecoderThread {
    tape: TapeWriter,
    batches: mpsc::Receiver<Batch>,
    /// What was scraped. The scraper writes, in a channel of its own: it gives way to all others, and
    /// they would wait for it where it held a lock of theirs.
    scrapes: Option<mpsc::Receiver<Vec<ServerRow>>>,
    events: RunEvents,
    backlog: Arc<Backlog>,
    clock: Clock,
    backend: Backend,
    keeps_text: bool,
    count_tokens: Option<TokenCounter>,
    secrets: Secrets,
    /// Attempts that have begun and not ended.
    open: HashMap<u32, AttemptDecoder>,
    /// What those may keep in memory.
    budget: MemoryBudget,
    /// Text in rows that are not yet written.
    waiting_text_bytes: usize,
    throttle: CpuThrottle,
    /// When what is decoded now was read, on the run's clock.
    at_ns: i64,
}

impl DecoderThread {
    /// Makes a decoder thread for `tape`, and the recorder that feeds it. Both emit `events`.
    ///
    /// With `count_tokens`, answers whose number of tokens is not beyond doubt are counted with it.
    pub fn new(
        tape: TapeWriter,
        backend: Backend,
        keeps_text: bool,
        count_tokens: Option<TokenCounter>,
        events: RunEvents,
    ) -> (Self, Arc<Recorder>) {
        let (sender, batches) = mpsc::channel(CHANNEL_BATCHES);
        let backlog = Arc::new(Backlog::default());
        let recorder = Recorder::new(
            sender,
            events.clone(),
            Arc::clone(&backlog),
            backend.framing(),
        );
        let open = HashMap::new();
        (
            Self {
                tape,
                batches,
                scrapes: None,
                events,
                backlog,
                clock: Clock::start(),
                backend,
                keeps_text,
                count_tokens,
                secrets: Secrets::default(),
                open,
                budget: MemoryBudget::default(),
                waiting_text_bytes: 0,
                throttle: CpuThrottle::default(),
                at_ns: 0,
            },
            Arc::new(recorder),
        )
    }

    /// The same decoder thread, with these secrets masked in what servers say.
    pub fn masking(self, secrets: &Secrets) -> Self {
        Self {
            secrets: secrets.clone(),
            ..self
        }
    }

    /// The same decoder thread, and a channel for what is scraped; it works until its sender is gone too.
    pub(super) fn taking_scrapes(self) -> (Self, mpsc::Sender<Vec<ServerRow>>) {
        let (sender, scrapes) = mpsc::channel(CHANNEL_SCRAPES);
        let scrapes = Some(scrapes);
        (Self { scrapes, ..self }, sender)
    }

    /// Works until every recorder is gone. Returns the tape, fit to be finished.
    ///
    /// # Errors
    ///
    /// [`CaptureError`] when the tape can't be written; the channel is closed with it, which stops
    /// the driver.
    pub fn work(mut self) -> Result<TapeWriter, CaptureError> {
        while let Some(batch) = self.batches.blocking_recv() {
            let began_ns = self.clock.now_ns();
            self.take(batch)?;
            self.flush()?;
            let took_ns = self.clock.now_ns() - began_ns;
            self.backlog
                .remove(Duration::from_nanos(took_ns.unsigned_abs()));
            self.take_scrapes()?;
        }
        // One more is taken after the run.
        while let Some(rows) = self
            .scrapes
            .as_mut()
            .and_then(mpsc::Receiver::blocking_recv)
        {
            self.tape.push_server(rows);
            self.tape.flush()?;
        }
        Ok(self.tape)
    }

    /// Writes what was scraped: between two batches, as what decoding takes is reckoned by those.
    fn take_scrapes(&mut self) -> Result<(), CaptureError> {
        while let Some(rows) = self.scrapes.as_mut().and_then(|it| it.try_recv().ok()) {
            self.tape.push_server(rows);
            self.tape.flush()?;
        }
        Ok(())
    }

    fn take(&mut self, batch: Batch) -> Result<(), CaptureError> {
        if let Some((origin_ns, self_check)) = batch.start {
            self.tape.begin(origin_ns, self_check)?;
        }
        for row in batch.rows {
            self.tape.push_request(row);
        }
        for probe in batch.probes {
            self.events.emit(&RunEvent::Probe(&probe));
            self.tape.push_probe(probe);
        }
        for opened in batch.opened {
            self.open(opened)?;
        }
        for (key, end) in &batch.ended {
            if let Some(decoder) = self.open.get_mut(key) {
                decoder.ends_at(end.end_ns);
            }
        }
        let mut chunks = Vec::with_capacity(batch.reads.len());
        let mut rest = batch.bytes.as_slice();
        for entry in &batch.reads {
            self.at_ns = entry.at_ns;
            self.throttle(
                READ_US + u32::try_from(entry.length / READ_BYTES_A_US).unwrap_or(READ_US),
            );
            let (bytes, after) = rest.split_at(entry.length.min(rest.len()));
            rest = after;
            let before = chunks.len();
            if let Some(decoder) = self.open.get_mut(&entry.key) {
                decoder.read(bytes, entry, &mut chunks);
            }
            self.note_text(chunks.iter().skip(before));
            self.relieve(&mut chunks)?;
        }
        for (key, end) in batch.ended {
            self.throttle(REQUEST_US);
            if let Some(decoder) = self.open.remove(&key) {
                for (field, events) in decoder.unread_texts() {
                    self.tape.note_unread_texts(field, *events);
                }
                let row_number = decoder.reply_to().filter(|_| !end.is_retried);
                let (row, said) = decoder.finish(&end, self.count_tokens.as_ref(), &mut chunks);
                let reply = row_number.map(|row_number| Reply {
                    row_number,
                    text: said.unwrap_or_default().into(),
                    is_ok: matches!(row.status, Status::Ok | Status::Cancelled),
                });
                self.events.emit(&RunEvent::AnswerDecoded {
                    row: &row,
                    reply,
                    is_retried: end.is_retried,
                });
                self.note_text([&row]);
                self.tape.push_request(row);
                self.relieve(&mut chunks)?;
            }
        }
        self.push(chunks);
        Ok(())
    }

    /// Begins to decode an attempt, and writes what is known of it.
    fn open(&mut self, opened: Opened) -> Result<(), CaptureError> {
        self.throttle(REQUEST_US);
        let key = opened.key;
        let keeping = Keeping {
            text: self.keeps_text,
            counts_tokens: self.count_tokens.is_some(),
        };
        let share = self.budget.reserve();
        let mut decoder =
            AttemptDecoder::new(opened, self.backend, keeping, share).masking(&self.secrets);
        let row = decoder.opening_row();
        self.note_text([&row]);
        self.tape.push_request(row);
        self.open.insert(key, decoder);
        if self.waiting_text_bytes >= WRITE_TEXT_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Lets others go first, the less often the later it is: beside a busy neighbour each pause
    /// may take some milliseconds.
    fn throttle(&mut self, about_us: u32) {
        let newest_ns = self.backlog.newest_ns();
        let late_ns = newest_ns.saturating_sub(self.at_ns).max(0);
        let urgency = u32::try_from(late_ns / URGENCY_NS).unwrap_or(u32::MAX);
        self.throttle.after_with_urgency(about_us, urgency);
    }

    fn note_text<'a, R: TapeRow + 'a>(&mut self, rows: impl IntoIterator<Item = &'a R>) {
        let texts = rows.into_iter().map(TapeRow::text_bytes);
        self.waiting_text_bytes += texts.sum::<usize>();
    }

    /// Writes what waits, where it is much.
    fn relieve(&mut self, chunks: &mut Vec<ChunkRow>) -> Result<(), CaptureError> {
        if chunks.len() < WRITE_ROWS && self.waiting_text_bytes < WRITE_TEXT_BYTES {
            return Ok(());
        }
        self.push(std::mem::take(chunks));
        self.flush()
    }

    fn push(&mut self, chunks: Vec<ChunkRow>) {
        self.events.emit(&RunEvent::Chunks(&chunks));
        self.tape.push_chunks(chunks);
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        self.waiting_text_bytes = 0;
        self.backlog.set_writing(true);
        let flushed = self.tape.flush();
        self.backlog.set_writing(false);
        flushed
    }
}
