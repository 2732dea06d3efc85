//! From the bytes of one attempt to its rows: decoding, in the order in which reads came.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use super::allowance::Share;
use super::recorder::{End, NOT_YET, Outcome, Progress, ReadEntry};
use crate::backend::sse::{Decoder, Event, Kind, Tail};
use crate::backend::{BackendKind, EventReader, NotAStream, Reading, error_message, read_unary};
use crate::capture::count_unread;
use crate::capture::schema::{Channel, ChunkRow, ErrorKind, RequestRow, Status};
use crate::secrets::{Secrets, Veil};

/// Counts the tokens of a text, for servers that don't say how many they sent.
pub type TokenCounter = Arc<dyn Fn(&str) -> Option<u32> + Send + Sync>;

/// One attempt, as far as its bytes have been decoded.
pub(super) struct Transcript {
    row: RequestRow,
    decoder: Decoder,
    story: Story,
    progress: Arc<Progress>,
    reads: u64,
    /// The last read that counts.
    last_read: Option<ReadEntry>,
    /// What is read later does not count.
    end_ns: i64,
}

/// What the events have said so far, apart from the decoder so that both can be borrowed at once.
struct Story {
    reader: EventReader,
    keeps_text: bool,
    secrets: Secrets,
    /// Masks them in the texts of events.
    veil: Veil,
    next_seq: u32,
    /// The whole text so far, where it is kept or has to be counted.
    text: Option<String>,
    /// Where the text of each event ends in the whole, where it has to be counted.
    text_ends: Option<Vec<usize>>,
    /// Events with a text that the reader does not read, by the name of the field.
    unread_texts: BTreeMap<String, u64>,
    /// What the text and the decoder have taken of the memory for all answers.
    share: Share,
    /// A bound was passed: nothing more is taken of the answer.
    is_given_up: bool,
    has_end_mark: bool,
    failure: Option<(ErrorKind, Option<String>)>,
}

impl Transcript {
    pub(super) fn new(
        row: RequestRow,
        progress: Arc<Progress>,
        (backend, keeps_text, counts_tokens): (BackendKind, bool, bool),
        share: Share,
    ) -> Self {
        let needs_text = keeps_text || counts_tokens;
        Self {
            row,
            decoder: Decoder::new(),
            story: Story {
                reader: backend.reader(needs_text),
                keeps_text,
                secrets: Secrets::default(),
                veil: Veil::default(),
                next_seq: 0,
                text: needs_text.then(String::new),
                text_ends: counts_tokens.then(Vec::new),
                unread_texts: BTreeMap::new(),
                share,
                is_given_up: false,
                has_end_mark: false,
                failure: None,
            },
            progress,
            reads: 0,
            last_read: None,
            end_ns: i64::MAX,
        }
    }

    /// The same transcript, with these secrets masked in what the server says.
    pub(super) fn masking(mut self, secrets: &Secrets) -> Self {
        self.story.reader = self.story.reader.masking(secrets);
        self.story.secrets = secrets.clone();
        self
    }

    /// The row as it stands before anything was heard: for the log, in case nothing ever is. The
    /// prompt goes with it, and is not in the row that stands in its place in the end: it can be as
    /// long as all the rest of the tape, and the log would have it twice.
    pub(super) fn opening_row(&mut self) -> RequestRow {
        let prompt = self.row.prompt.take();
        RequestRow {
            prompt,
            ..self.row.clone()
        }
    }

    /// Says when the attempt ended: the wire may have read a little longer than anyone wanted.
    pub(super) fn ends_at(&mut self, end_ns: i64) {
        self.end_ns = end_ns;
    }

    /// Decodes the bytes of one read and adds a row for each event that they complete. Of an answer
    /// that has passed a bound, bytes are counted and no more.
    pub(super) fn read(&mut self, bytes: &[u8], entry: &ReadEntry, chunks: &mut Vec<ChunkRow>) {
        self.decode(bytes, entry, chunks);
        self.reads += 1;
        self.progress.decoded.store(self.reads, Ordering::Release);
    }

    fn decode(&mut self, bytes: &[u8], entry: &ReadEntry, chunks: &mut Vec<ChunkRow>) {
        if entry.at_ns > self.end_ns {
            return;
        }
        self.last_read = Some(*entry);
        self.row.response_bytes = self
            .row
            .response_bytes
            .saturating_add(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
        if self.story.is_given_up {
            return;
        }
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
            story.give_up(&error);
        } else if let Err(error) = story.share.set_unfinished(decoder.held_bytes()) {
            story.give_up(&error);
        }
        if story.is_given_up {
            // What it holds of an event that will not be read is given back at once.
            *decoder = Decoder::new();
            self.progress.is_undecodable.store(true, Ordering::Release);
        }
        note(&self.progress.first_token_ns, self.row.first_token_ns);
        let done_ns = self.story.has_end_mark.then_some(entry.at_ns);
        note(&self.progress.done_ns, done_ns);
    }

    /// Events so far with a text that the reader does not read, by the name of the field.
    pub(super) fn unread_texts(&self) -> &BTreeMap<String, u64> {
        &self.story.unread_texts
    }

    /// Ends the attempt: the row that stays, and the rows of events that only the end completed.
    pub(super) fn finish(
        mut self,
        end: &End,
        count_tokens: Option<&TokenCounter>,
        chunks: &mut Vec<ChunkRow>,
    ) -> RequestRow {
        // What no later read completed, the last one brought.
        let entry = self.last_read.unwrap_or(ReadEntry {
            key: 0,
            at_ns: end.end_ns,
            length: 0,
            read_seq: None,
            kernel_lag_us: None,
        });
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
        row.resends = Some(end.resends);
        row.body_sent_ns = end.body_sent_ns;
        row.headers_ns = end.headers_ns;
        row.http_status = end.http_status;
        row.end_ns = Some(end.end_ns);
        let tally = self.story.reader.tally();
        row.ids_output_tokens = tally.by_ids;
        let unread = self.story.unread_texts.values().sum::<u64>();
        row.unread_events = Some(u32::try_from(unread).unwrap_or(u32::MAX));
        row.tokens_after_last = tally.after_last;
        if let Some(count) = count_tokens
            && !has_sure_count(&row)
        {
            row.output_tokens_counted = self.story.count_text(count);
        }
        let (status, failure) = self.story.verdict(&row, end, tail);
        row.status = status;
        if let Some((kind, message)) = failure {
            row.error_kind = Some(kind.into());
            row.error_message = message
                .map(|message| self.story.secrets.mask(&message).into_owned())
                .filter(|message| !message.is_empty());
        }
        if self.story.keeps_text {
            let secrets = &self.story.secrets;
            row.output = self.story.text.map(|text| secrets.mask_owned(text));
        }
        row
    }
}

/// Notes a time that another thread reads, once, and touches it only for that.
fn note(mark: &AtomicI64, at_ns: Option<i64>) {
    if let Some(at_ns) = at_ns
        && mark.load(Ordering::Relaxed) == NOT_YET
    {
        mark.store(at_ns, Ordering::Release);
    }
}

impl Story {
    fn fail(&mut self, kind: ErrorKind, message: Option<String>) {
        // The first failure is the cause of those that follow.
        self.failure.get_or_insert((kind, message));
    }

    /// Ends the answer at a bound.
    fn give_up(&mut self, bound: &dyn std::error::Error) {
        self.fail(ErrorKind::TooLarge, Some(bound.to_string()));
        self.is_given_up = true;
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
            kernel_lag_us: possible_lag_us(row, entry),
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
            row.has_lone_finish
                .get_or_insert(!reading.channel.is_token_bearing());
        }
        if let Some(field) = reading.unread_text {
            count_unread(&mut self.unread_texts, &field, 1);
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
        self.take_text(reading.text)
    }

    /// Adds to the whole text, as far as there is room. Returns the text to keep with the event.
    fn take_text(&mut self, text: Option<String>) -> Option<String> {
        let text = text.filter(|_| !self.is_given_up)?;
        let end_bytes = self.text_ends.as_ref().map_or(0, |_| size_of::<usize>());
        if let Err(bound) = self.share.add_text(text.len() + end_bytes) {
            self.give_up(&bound);
            return None;
        }
        if let Some(whole) = &mut self.text {
            // A text that doubles its room whenever that is full would take twice what it has.
            if whole.capacity() - whole.len() < text.len() {
                whole.reserve_exact(text.len() + whole.len() / 8);
            }
            whole.push_str(&text);
            if let Some(ends) = &mut self.text_ends {
                ends.push(whole.len());
            }
        }
        self.keeps_text.then(|| self.veil.mask(&self.secrets, text))
    }

    /// Counts the tokens of the text: as a whole, and event by event, of which the lower count is
    /// nearer. An event ends where a token ends, which a count of the whole can't know; but where
    /// something on the way cut the text anew, an event's parts are no tokens.
    fn count_text(&self, count: &TokenCounter) -> Option<u32> {
        if self.is_given_up {
            return None;
        }
        let (text, ends) = self.text.as_ref().zip(self.text_ends.as_ref())?;
        let whole = count(text)?;
        let mut start = 0;
        let by_event = ends.iter().try_fold(0_u32, |sum, &end| {
            let part = text.get(start..end)?;
            start = end;
            Some(sum.saturating_add(count(part)?))
        });
        Some(by_event.map_or(whole, |by_event| by_event.min(whole)))
    }

    /// Says what came of an answer of which no text was seen.
    fn without_text(&self, row: &RequestRow) -> (Status, Option<(ErrorKind, Option<String>)>) {
        let is_vouched_for = [row.usage_output_tokens, row.ids_output_tokens]
            .into_iter()
            .flatten()
            .any(|tokens| tokens > 0);
        // A text under another name is a text all the same.
        if is_vouched_for && self.unread_texts.is_empty() {
            return (Status::Ok, None);
        }
        let message = self.naming_unread("no token arrived");
        (Status::Error, Some((ErrorKind::Empty, Some(message))))
    }

    /// Adds to `what` which text was not read, if there was one.
    fn naming_unread(&self, what: &str) -> String {
        match self.unread_texts.first_key_value() {
            Some((field, events)) => format!(
                "{what}; {events} events have a text in `{field}`, which this backend does not read"
            ),
            None => what.to_owned(),
        }
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
                let refusal = refusal(end.http_status, body, &self.secrets);
                return (Status::Error, Some(refusal));
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
                _ => self.naming_unread("the stream ended without a finish reason or an end mark"),
            };
            return (Status::Error, Some((ErrorKind::Truncated, Some(message))));
        }
        if row.chunk_count == 0 {
            return self.without_text(row);
        }
        (Status::Ok, None)
    }
}

/// Says whether the number of output tokens is beyond doubt without a tokenizer: ids number them, or
/// usage and the events say the same, within 1 %.
fn has_sure_count(row: &RequestRow) -> bool {
    let seen = u64::from(row.chunk_count) + u64::from(row.tokens_after_last.unwrap_or(0));
    row.ids_output_tokens.is_some()
        || row
            .usage_output_tokens
            .is_some_and(|told| u64::from(told).abs_diff(seen) * 100 <= seen)
}

/// Returns how long the read's bytes had been waiting in the kernel, where that can be.
///
/// The kernel stamps with the wall clock. Where that is set while bytes are waiting, they seem to
/// have waited for less than no time, or since before anything was asked for.
fn possible_lag_us(row: &RequestRow, entry: &ReadEntry) -> Option<i32> {
    let asked_ns = row.dispatched_ns.unwrap_or(i64::MIN);
    let longest_us = entry.at_ns.saturating_sub(asked_ns) / 1_000;
    entry
        .kernel_lag_us
        .filter(|&lag_us| lag_us >= 0 && i64::from(lag_us) <= longest_us)
}

/// Says what a response was that is not an event stream.
fn refusal(
    http_status: Option<u16>,
    body: &[u8],
    secrets: &Secrets,
) -> (ErrorKind, Option<String>) {
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
            return match read_unary(body, secrets) {
                NotAStream::Error(error) => (ErrorKind::InStream, Some(error.message)),
                NotAStream::Unsupported(message) => (ErrorKind::Unsupported, Some(message)),
            };
        }
    };
    (kind, Some(error_message(body, secrets)))
}

#[cfg(test)]
mod tests {
    use super::super::allowance::{Allowance, Bounds};
    use super::*;
    use crate::capture::schema::Phase;

    const KIB: usize = 1 << 10;

    /// A transcript of an answer to a request that was sent at 0, whose text is kept.
    fn transcript(allowance: &Allowance) -> (Transcript, Arc<Progress>) {
        let progress = Arc::new(Progress::default());
        let mut row = RequestRow::new(0, Phase::Measure, 0);
        row.dispatched_ns = Some(0);
        let ways = (BackendKind::Openai, true, true);
        let transcript = Transcript::new(row, Arc::clone(&progress), ways, allowance.share());
        (transcript, progress)
    }

    fn bounds(answer_bytes: usize, total_bytes: usize) -> Allowance {
        Allowance::new(Bounds {
            answer_bytes,
            total_bytes,
        })
    }

    fn entry(at_ns: i64, kernel_lag_us: Option<i32>) -> ReadEntry {
        ReadEntry {
            key: 0,
            at_ns,
            length: 0,
            read_seq: Some(0),
            kernel_lag_us,
        }
    }

    /// An event with a text of so many bytes.
    fn event(text_bytes: usize) -> Vec<u8> {
        let text = "x".repeat(text_bytes);
        format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\"}}]}}\n\n").into_bytes()
    }

    fn end(transcript: Transcript, chunks: &mut Vec<ChunkRow>) -> RequestRow {
        let end = End {
            connect_ns: None,
            sent_ns: Some(0),
            resends: 0,
            body_sent_ns: Some(0),
            headers_ns: Some(0),
            http_status: Some(200),
            end_ns: 1_000,
            outcome: Outcome::EndOfStream,
        };
        let count: TokenCounter = Arc::new(|_| Some(7));
        transcript.finish(&end, Some(&count), chunks)
    }

    fn is_given_up(progress: &Progress) -> bool {
        progress.is_undecodable.load(Ordering::Acquire)
    }

    #[test]
    fn what_is_read_after_the_end_does_not_count() {
        let (mut transcript, _) = transcript(&bounds(100 * KIB, 1 << 30));
        let mut chunks = Vec::new();
        let event = event(10);
        transcript.ends_at(1_000);
        for at_ns in [999, 1_000, 1_001] {
            transcript.read(&event, &entry(at_ns, None), &mut chunks);
        }
        let row = end(transcript, &mut chunks);
        assert_eq!(chunks.len(), 2);
        assert_eq!((row.last_token_ns, row.end_ns), (Some(1_000), Some(1_000)));
        assert_eq!(row.response_bytes, 2 * i64::try_from(event.len()).unwrap());
    }

    #[test]
    fn names_of_fields_that_a_server_makes_up_are_bounded() {
        let (mut transcript, _) = transcript(&Allowance::default());
        let mut chunks = Vec::new();
        for field in 0..1_000 {
            let event = format!("data: {{\"choices\":[{{\"delta\":{{\"f{field}\":\"x\"}}}}]}}\n\n");
            transcript.read(event.as_bytes(), &entry(100, None), &mut chunks);
        }
        let counts = transcript.unread_texts();
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (17, 1_000));
    }

    #[test]
    fn texts_of_a_letter_each_take_of_the_allowance_what_they_take_of_memory() {
        let allowance = bounds(10 * KIB, 1 << 30);
        let (mut transcript, progress) = transcript(&allowance);
        let mut chunks = Vec::new();
        for at_ns in 0..2_000 {
            transcript.read(&event(1), &entry(at_ns, None), &mut chunks);
        }
        assert!(is_given_up(&progress));
    }

    #[test]
    fn an_event_that_only_the_end_completes_has_the_stamp_of_the_read_that_brought_it() {
        let (mut transcript, _) = transcript(&Allowance::default());
        let mut chunks = Vec::new();
        transcript.read(&event(1), &entry(100, None), &mut chunks);
        let last = event(1);
        // Its line is whole; the blank line after it never comes.
        let last = last.strip_suffix(b"\n").unwrap();
        let (start, rest) = last.split_at(20);
        transcript.read(start, &entry(700, None), &mut chunks);
        let brought = ReadEntry {
            read_seq: Some(2),
            ..entry(800, Some(0))
        };
        transcript.read(rest, &brought, &mut chunks);
        let row = end(transcript, &mut chunks);
        assert_eq!(row.last_token_ns, Some(800));
        let last = chunks.last().unwrap();
        assert_eq!((last.arrival_ns, last.gap_ns), (800, Some(700)));
        assert_eq!((last.read_seq, last.kernel_lag_us), (Some(2), Some(0)));
    }

    #[test]
    fn an_answer_that_is_too_long_is_given_up_and_keeps_what_came() {
        let allowance = bounds(100 * KIB, 1 << 30);
        let (mut transcript, progress) = transcript(&allowance);
        let mut chunks = Vec::new();
        let event = event(40 * KIB);
        for at_ns in 0..2 {
            transcript.read(&event, &entry(at_ns, None), &mut chunks);
        }
        assert!(!is_given_up(&progress));
        for at_ns in 2..4 {
            transcript.read(&event, &entry(at_ns, None), &mut chunks);
            assert!(is_given_up(&progress));
        }
        let row = end(transcript, &mut chunks);
        assert_eq!(row.status, Status::Error);
        assert_eq!(row.error_kind.unwrap().as_str(), "too_large");
        assert_eq!(row.output.unwrap().len(), 80 * KIB);
        assert_eq!(row.output_tokens_counted, None, "of half a text");
        assert_eq!(row.response_bytes, 4 * i64::try_from(event.len()).unwrap());
        let texts: Vec<Option<usize>> = chunks
            .iter()
            .map(|chunk| chunk.text.as_ref().map(String::len))
            .collect();
        // The event that was too much is there, without its text; what came after is not decoded.
        assert_eq!(texts, [Some(40 * KIB), Some(40 * KIB), None]);
        assert_eq!(allowance.taken_bytes(), 0);
    }

    #[test]
    fn answers_are_given_up_when_all_of_them_hold_too_much() {
        let allowance = bounds(1 << 30, 128 * KIB);
        let (mut first, _) = transcript(&allowance);
        let (mut second, progress) = transcript(&allowance);
        let mut chunks = Vec::new();
        first.read(&event(100 * KIB), &entry(0, None), &mut chunks);
        second.read(&event(100 * KIB), &entry(0, None), &mut chunks);
        assert!(is_given_up(&progress));
        let row = end(second, &mut chunks);
        assert_eq!(row.error_kind.unwrap().as_str(), "too_large");
        // What the first one held is there for others once it is gone.
        drop(first);
        let (mut third, progress) = transcript(&allowance);
        third.read(&event(100 * KIB), &entry(0, None), &mut chunks);
        assert!(!is_given_up(&progress));
    }

    #[test]
    fn events_that_are_never_whole_are_held_within_the_same_bound() {
        let allowance = bounds(1 << 30, 128 * KIB);
        let mut chunks = Vec::new();
        let (mut whole, _) = transcript(&allowance);
        let (mut half, progress) = transcript(&allowance);
        whole.read(&event(100 * KIB), &entry(0, None), &mut chunks);
        half.read(&event(100 * KIB)[..80 * KIB], &entry(0, None), &mut chunks);
        assert!(is_given_up(&progress));
        // What it had of the event is gone at once, and not only when the attempt ends.
        assert_eq!(half.decoder.held_bytes(), 0);
        let row = end(half, &mut chunks);
        assert_eq!(row.error_kind.unwrap().as_str(), "too_large");
    }

    #[test]
    fn a_wait_in_the_kernel_that_can_not_be_is_unknown() {
        let allowance = Allowance::default();
        let (mut transcript, _) = transcript(&allowance);
        let mut chunks = Vec::new();
        let read_at_ns = 5_000_000;
        // The last three are what is seen of a wall clock that is set back or forward by an hour,
        // and of one that is set by more than the column holds.
        for lag_us in [0, 4_999, -3_600_000, 3_600_000, i32::MAX] {
            let entry = entry(read_at_ns, Some(lag_us));
            transcript.read(&event(1), &entry, &mut chunks);
        }
        let lags: Vec<Option<i32>> = chunks.iter().map(|chunk| chunk.kernel_lag_us).collect();
        assert_eq!(lags, [Some(0), Some(4_999), None, None, None]);
    }
}
