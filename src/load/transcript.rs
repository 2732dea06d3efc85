//! From the bytes of one attempt to its rows: decoding, in the order in which reads came.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::recorder::{End, Outcome, Progress, ReadEntry};
use crate::backend::sse::{Decoder, Event, Kind, Tail};
use crate::backend::{BackendKind, EventReader, NotAStream, Reading, error_message, read_unary};
use crate::capture::schema::{Channel, ChunkRow, ErrorKind, RequestRow, Status};

/// Counts the tokens of a text, for servers that don't say how many they sent.
pub type TokenCounter = Arc<dyn Fn(&str) -> Option<u32> + Send + Sync>;

/// One attempt, as far as its bytes have been decoded.
pub(super) struct Transcript {
    row: RequestRow,
    decoder: Decoder,
    story: Story,
    progress: Arc<Progress>,
}

/// What the events have said so far, apart from the decoder so that both can be borrowed at once.
struct Story {
    reader: EventReader,
    keeps_text: bool,
    next_seq: u32,
    /// The whole text so far, where it is kept or has to be counted.
    text: Option<String>,
    has_end_mark: bool,
    failure: Option<(ErrorKind, Option<String>)>,
}

impl Transcript {
    pub(super) fn new(
        row: RequestRow,
        progress: Arc<Progress>,
        (backend, keeps_text, counts_tokens): (BackendKind, bool, bool),
    ) -> Self {
        let needs_text = keeps_text || counts_tokens;
        Self {
            row,
            decoder: Decoder::new(),
            story: Story {
                reader: backend.reader(needs_text),
                keeps_text,
                next_seq: 0,
                text: needs_text.then(String::new),
                has_end_mark: false,
                failure: None,
            },
            progress,
        }
    }

    /// The row as it stands before anything was heard: for the log, in case nothing ever is.
    pub(super) fn opening_row(&self) -> RequestRow {
        self.row.clone()
    }

    /// Decodes the bytes of one read and adds a row for each event that they complete.
    pub(super) fn read(&mut self, bytes: &[u8], entry: &ReadEntry, chunks: &mut Vec<ChunkRow>) {
        self.row.response_bytes = self.row.response_bytes.saturating_add(bytes.len() as u64);
        let Self {
            row,
            decoder,
            story,
            ..
        } = self;
        let decoded = decoder.push(bytes, |event| {
            chunks.push(story.take_event(row, &event, entry));
        });
        if let Err(error) = decoded {
            story.fail(ErrorKind::TooLarge, Some(error.to_string()));
            self.progress.is_undecodable.store(true, Ordering::Release);
        }
        if self.row.first_token_ns.is_some() {
            self.progress.has_token.store(true, Ordering::Release);
        }
        if self.story.has_end_mark {
            self.progress.is_done.store(true, Ordering::Release);
        }
    }

    /// Ends the attempt: the row that stays, and the rows of events that only the end completed.
    pub(super) fn finish(
        mut self,
        end: &End,
        count_tokens: Option<&TokenCounter>,
        chunks: &mut Vec<ChunkRow>,
    ) -> RequestRow {
        let entry = ReadEntry {
            key: 0,
            at_ns: self.row.last_token_ns.unwrap_or(end.end_ns),
            length: 0,
            read_seq: None,
            kernel_lag_us: None,
        };
        let Self {
            row,
            decoder,
            story,
            ..
        } = &mut self;
        let tail = decoder.finish(|event| chunks.push(story.take_event(row, &event, &entry)));
        let mut row = self.row;
        row.connect_ns = end.connect_ns;
        row.sent_ns = end.sent_ns;
        row.body_sent_ns = end.body_sent_ns;
        row.headers_ns = end.headers_ns;
        row.http_status = end.http_status;
        row.end_ns = Some(end.end_ns);
        if row.usage_output_tokens.is_none()
            && let (Some(count), Some(text)) = (count_tokens, &self.story.text)
        {
            row.output_tokens_counted = count(text);
        }
        let (status, failure) = self.story.verdict(&row, end, tail);
        row.status = status;
        if let Some((kind, message)) = failure {
            row.error_kind = Some(kind.into());
            row.error_message = message.filter(|message| !message.is_empty());
        }
        if self.story.keeps_text {
            row.output = self.story.text;
        }
        row
    }
}

impl Story {
    fn fail(&mut self, kind: ErrorKind, message: Option<String>) {
        // The first failure is the cause of those that follow.
        self.failure.get_or_insert((kind, message));
    }

    /// Takes in one event and makes its row.
    fn take_event(
        &mut self,
        row: &mut RequestRow,
        event: &Event<'_>,
        entry: &ReadEntry,
    ) -> ChunkRow {
        let reading = match event.kind {
            Kind::Comment => None,
            Kind::Data => Some(self.reader.read_event(event)),
        };
        let channel = reading
            .as_ref()
            .map_or(Channel::Comment, |reading| reading.channel);
        let gap_ns = if channel.is_token_bearing() {
            row.take_token_event(entry.at_ns, channel)
        } else {
            None
        };
        let seq = self.next_seq;
        self.next_seq = self.next_seq.saturating_add(1);
        let mut chunk = ChunkRow {
            request_id: row.request_id,
            attempt: row.attempt,
            seq,
            arrival_ns: entry.at_ns,
            gap_ns,
            read_seq: entry.read_seq,
            kernel_lag_us: entry.kernel_lag_us,
            channel,
            has_choices: false,
            tokens: None,
            tokens_source: None,
            bytes: event.wire_bytes,
            text: None,
        };
        if let Some(reading) = reading {
            chunk.has_choices = reading.has_choices;
            chunk.tokens = reading.tokens;
            chunk.tokens_source = reading.tokens_source;
            chunk.text = self.take_reading(row, reading);
        }
        chunk
    }

    /// Moves what the event says into the row. Returns the text to keep with the event.
    fn take_reading(&mut self, row: &mut RequestRow, reading: Reading) -> Option<String> {
        if let Some(usage) = reading.usage {
            row.usage_input_tokens = usage.input.or(row.usage_input_tokens);
            row.usage_output_tokens = usage.output.or(row.usage_output_tokens);
            row.usage_reasoning_tokens = usage.reasoning.or(row.usage_reasoning_tokens);
            row.usage_cached_tokens = usage.cached.or(row.usage_cached_tokens);
        }
        if let Some(reason) = reading.finish_reason {
            row.finish_reason = Some(reason.into());
        }
        if reading.response_id.is_some() {
            row.response_id = reading.response_id;
        }
        if let Some(error) = reading.error {
            let message = match error.code {
                Some(code) if !code.is_empty() => format!("{} ({code})", error.message),
                _ => error.message,
            };
            self.fail(ErrorKind::InStream, Some(message));
        }
        if reading.is_broken {
            self.fail(
                ErrorKind::BadEvent,
                Some("an event is not valid JSON".into()),
            );
        }
        self.has_end_mark |= reading.is_done;
        if let (Some(whole), Some(text)) = (&mut self.text, &reading.text) {
            whole.push_str(text);
        }
        reading.text.filter(|_| self.keeps_text)
    }

    /// Decides how the attempt ended.
    fn verdict(
        &mut self,
        row: &RequestRow,
        end: &End,
        tail: Tail,
    ) -> (Status, Option<(ErrorKind, Option<String>)>) {
        let is_whole = row.finish_reason.is_some() || self.has_end_mark;
        match &end.outcome {
            Outcome::Cancelled => return (Status::Cancelled, None),
            Outcome::NotAStream(body) => {
                return (Status::Error, Some(refusal(end.http_status, body)));
            }
            // A connection that breaks after the stream's own end has cost nothing.
            Outcome::Failed(ErrorKind::Truncated, _) if is_whole => {}
            Outcome::Failed(kind, message) => {
                // What the server said before is the cause of what the wire saw after.
                let failure = self
                    .failure
                    .take()
                    .unwrap_or_else(|| (*kind, Some(message.clone())));
                let status = if failure.0.is_timeout() {
                    Status::Timeout
                } else {
                    Status::Error
                };
                return (status, Some(failure));
            }
            Outcome::EndOfStream => {}
        }
        if let Some(failure) = self.failure.take() {
            return (Status::Error, Some(failure));
        }
        if !is_whole {
            let message = match tail {
                Tail::Cut { bytes } => {
                    format!("the stream ended inside an event ({bytes} bytes of it)")
                }
                _ => "the stream ended without a finish reason or an end mark".to_owned(),
            };
            return (Status::Error, Some((ErrorKind::Truncated, Some(message))));
        }
        if row.chunk_count == 0 {
            return (
                Status::Error,
                Some((ErrorKind::Empty, Some("no token arrived".into()))),
            );
        }
        (Status::Ok, None)
    }
}

/// Says what a response was that is not an event stream.
fn refusal(http_status: Option<u16>, body: &[u8]) -> (ErrorKind, Option<String>) {
    let kind = match http_status {
        Some(429) => ErrorKind::Http429,
        Some(400..=499) => ErrorKind::Http4xx,
        Some(500..=599) => ErrorKind::Http5xx,
        Some(status @ 300..=399) => {
            let message =
                format!("the server redirects ({status}); give the address that it redirects to");
            return (ErrorKind::Unsupported, Some(message));
        }
        _ => {
            return match read_unary(body) {
                NotAStream::Error(error) => (ErrorKind::InStream, Some(error.message)),
                NotAStream::Unsupported(message) => (ErrorKind::Unsupported, Some(message)),
            };
        }
    };
    (kind, Some(error_message(body)))
}
