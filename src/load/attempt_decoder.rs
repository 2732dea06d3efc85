//! From the bytes of one attempt to its rows: decoding, in the order in which reads came.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use serde_json::{Value, json};

use super::memory_budget::Reservation;
use super::recorder::{End, NOT_YET, Opened, Outcome, Progress, ReadEntry};
use crate::backend::{
    Backend, Event, EventReader, FrameDecoder, Kind, NotAStream, Reading, Tail, ToolPart,
    body_looks_like, error_message, looks_like, quoted, read_unexpected,
};
use crate::capture::count_unread;
use crate::capture::schema::{Channel, ChunkRow, ErrorKind, RequestRow, Status};
use crate::secrets::{PartMask, Secrets};
use crate::workload::TokenCounter;

/// What of an answer's text is needed beside its events.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Keeping {
    /// The tape keeps it.
    pub(super) text: bool,
    /// Its tokens are counted in the end.
    pub(super) counts_tokens: bool,
}

/// One attempt, as far as its bytes have been decoded.
pub(super) struct AttemptDecoder {
    row: RequestRow,
    /// None once nothing more is taken of the answer: what it held is given back.
    decoder: Option<FrameDecoder>,
    state: DecodeState,
    progress: Arc<Progress>,
    /// Number of its row in the trace, where what it says is to be passed on.
    reply_to: Option<u64>,
    reads: u64,
    /// The last read that counts.
    last_read: Option<ReadEntry>,
    /// What is read later does not count.
    end_ns: i64,
}

/// Events that are held to other backends, before an answer counts as one that none of them reads.
const LOOKS: u8 = 8;

/// What the events have said so far, apart from the decoder so that both can be borrowed at once.
struct DecodeState {
    reader: Box<dyn EventReader>,
    keeps_text: bool,
    secrets: Secrets,
    /// Masks them in the texts of events.
    part_mask: PartMask,
    next_seq: u32,
    /// The whole text so far, where it is kept or has to be counted.
    text: Option<String>,
    /// The content alone, where it is to be passed on.
    reply: Option<String>,
    /// Which parts of the text belong to calls of tools, where it is kept.
    tools: Vec<ToolPart>,
    /// Where the text of each event ends in the whole, where it has to be counted.
    text_ends: Option<Vec<usize>>,
    /// Events with a text that the reader does not read, by the name of the field.
    unread_texts: BTreeMap<String, u64>,
    /// Events that may still be held to other backends: none of this one's has had a token.
    looks_left: u8,
    /// The backend that reads a token in an event which this one does not know.
    looks_like: Option<&'static str>,
    /// What the text and the decoder have taken of the memory for all answers.
    share: Reservation,
    /// A bound was passed: nothing more is taken of the answer.
    is_given_up: bool,
    has_end_mark: bool,
    backend: Backend,
    failure: Option<(ErrorKind, Option<String>)>,
}

impl AttemptDecoder {
    pub(super) fn new(
        opened: Opened,
        backend: Backend,
        keeping: Keeping,
        share: Reservation,
    ) -> Self {
        let needs_text = keeping.text || keeping.counts_tokens;
        let passes_on = opened.reply_to.is_some();
        Self {
            row: opened.row,
            decoder: Some(backend.framing().decoder(backend.end_mark())),
            state: DecodeState {
                reader: backend.reader(needs_text || passes_on),
                keeps_text: keeping.text,
                secrets: Secrets::default(),
                part_mask: PartMask::default(),
                next_seq: 0,
                text: needs_text.then(String::new),
                reply: passes_on.then(String::new),
                tools: Vec::new(),
                text_ends: keeping.counts_tokens.then(Vec::new),
                unread_texts: BTreeMap::new(),
                looks_left: LOOKS,
                looks_like: None,
                share,
                is_given_up: false,
                has_end_mark: false,
                backend,
                failure: None,
            },
            progress: opened.progress,
            reply_to: opened.reply_to,
            reads: 0,
            last_read: None,
            end_ns: i64::MAX,
        }
    }

    /// The same decoder, with these secrets masked in what the server says.
    pub(super) fn masking(mut self, secrets: &Secrets) -> Self {
        self.state.reader.mask(secrets);
        self.state.secrets = secrets.clone();
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
        let Self { row, state, .. } = self;
        let Some(decoder) = &mut self.decoder else {
            return;
        };
        let decoded = decoder.push(bytes, |event| {
            chunks.extend(state.take_event(row, &event, entry));
        });
        // Nothing behind the end mark counts.
        if !state.has_end_mark {
            if let Err(error) = decoded {
                state.give_up(&error);
            } else if let Err(error) = state.share.set_unfinished(decoder.held_bytes()) {
                state.give_up(&error);
            }
        }
        if state.is_given_up {
            self.progress.is_undecodable.store(true, Ordering::Release);
        }
        if state.is_given_up || state.has_end_mark {
            self.decoder = None;
        }
        note(&self.progress.first_token_ns, self.row.first_token_ns);
        let done_ns = self.state.has_end_mark.then_some(entry.at_ns);
        note(&self.progress.done_ns, done_ns);
    }

    /// Events so far with a text that the reader does not read, by the name of the field.
    pub(super) fn unread_texts(&self) -> &BTreeMap<String, u64> {
        &self.state.unread_texts
    }

    /// Number of its row in the trace, where what it says is to be passed on.
    pub(super) fn reply_to(&self) -> Option<u64> {
        self.reply_to
    }

    /// Ends the attempt: the row that stays, the rows of events that only the end completed, and the
    /// content of the answer, where that is to be passed on.
    pub(super) fn finish(
        mut self,
        end: &End,
        count_tokens: Option<&TokenCounter>,
        chunks: &mut Vec<ChunkRow>,
    ) -> (RequestRow, Option<String>) {
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
            state,
            ..
        } = &mut self;
        let take = |event: Event<'_>| chunks.extend(state.take_event(row, &event, &entry));
        let tail = (decoder.take()).map_or(Tail::Clean, |decoder| decoder.finish(take));
        let mut row = self.row;
        row.connect_ns = end.connect_ns;
        row.sent_ns = end.sent_ns;
        row.resends = Some(end.resends);
        row.body_sent_ns = end.body_sent_ns;
        row.headers_ns = end.headers_ns;
        row.http_status = end.http_status;
        row.response_headers = self.state.as_json(&end.kept_headers);
        row.end_ns = Some(end.end_ns);
        let tally = self.state.reader.tally();
        row.ids_output_tokens = tally.by_ids;
        let unread = self.state.unread_texts.values().sum::<u64>();
        row.unread_events = Some(u32::try_from(unread).unwrap_or(u32::MAX));
        row.tokens_after_last = tally.after_last;
        let times = self.state.reader.server_times();
        row.server_queue_ns = times.queue_ns;
        row.server_prefill_ns = times.prefill_ns;
        row.server_decode_ns = times.decode_ns;
        if let Some(count) = count_tokens
            && !has_sure_count(&row)
        {
            row.output_tokens_counted = self.state.count_text(count);
        }
        let (status, failure) = self.state.verdict(&row, end, tail);
        row.status = status;
        if let Some((kind, message)) = failure {
            row.error_kind = Some(kind.into());
            row.error_message = message
                .map(|message| self.state.secrets.mask(&message).into_owned())
                .filter(|message| !message.is_empty());
        }
        let DecodeState {
            text,
            tools,
            secrets,
            reply,
            ..
        } = self.state;
        if self.state.keeps_text {
            row.output = text.map(|text| secrets.mask_owned(with_calls_apart(text, &tools)));
        }
        // It goes into later prompts, which the tape may keep.
        (row, reply.map(|reply| secrets.mask_owned(reply)))
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

impl DecodeState {
    fn fail(&mut self, kind: ErrorKind, message: Option<String>) {
        // The first failure is the cause of those that follow.
        self.failure.get_or_insert((kind, message));
    }

    /// Ends the answer at a bound.
    fn give_up(&mut self, bound: &dyn std::error::Error) {
        self.fail(ErrorKind::TooLarge, Some(bound.to_string()));
        self.is_given_up = true;
    }

    /// Takes in one event and makes its row. What stands behind the end mark has none, whether or not
    /// the network brought it with the mark.
    fn take_event(
        &mut self,
        row: &mut RequestRow,
        event: &Event<'_>,
        entry: &ReadEntry,
    ) -> Option<ChunkRow> {
        if self.has_end_mark {
            return None;
        }
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
        if channel == Channel::Other && row.chunk_count == 0 && self.looks_left > 0 {
            self.looks_left -= 1;
            self.looks_like = self.looks_like.or_else(|| looks_like(event));
        }
        if reading.as_ref().is_some_and(|reading| reading.is_broken) && self.failure.is_none() {
            let start = quoted(event.data, &self.secrets);
            let message = self.naming_unread(&format!("an event is not valid JSON: `{start}`"));
            self.fail(ErrorKind::BadEvent, Some(message));
        }
        if let Some(reading) = reading {
            chunk.has_choices = reading.has_choices;
            chunk.tokens = reading.tokens;
            chunk.tokens_source = reading.tokens_source;
            chunk.text = self.take_reading(row, reading);
        }
        Some(chunk)
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
        if reading.stop_reason.is_some() {
            row.stop_reason = reading.stop_reason;
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
        self.has_end_mark |= reading.is_done;
        if reading.channel == Channel::Content {
            let text = reading.text.as_deref();
            let text = text.and_then(|text| text.get(reading.reasoning_bytes..));
            self.take_reply(text, reading.reasoning_bytes, &reading.tools);
        }
        self.take_text(reading.text, reading.tools)
    }

    /// Adds to the content that is passed on, as far as there is room: of a text that begins after so
    /// many bytes of an event's.
    fn take_reply(&mut self, text: Option<&str>, after: usize, tools: &[ToolPart]) {
        let (Some(reply), Some(text), false) = (&mut self.reply, text, self.is_given_up) else {
            return;
        };
        if let Err(bound) = self.share.add_text(text.len()) {
            self.give_up(&bound);
            return;
        }
        let mut end = 0;
        for part in tools {
            let start = part.at.start.saturating_sub(after);
            reply.push_str(text.get(end..start).unwrap_or_default());
            end = part.at.end.saturating_sub(after);
        }
        reply.push_str(text.get(end..).unwrap_or_default());
    }

    /// Adds to the whole text, as far as there is room. Returns the text to keep with the event.
    fn take_text(&mut self, text: Option<String>, tools: Vec<ToolPart>) -> Option<String> {
        let text = text.filter(|_| !self.is_given_up)?;
        let end_bytes = self.text_ends.as_ref().map_or(0, |_| size_of::<usize>());
        let tool_bytes = size_of::<ToolPart>() * tools.len();
        if let Err(bound) = self.share.add_text(text.len() + end_bytes + tool_bytes) {
            self.give_up(&bound);
            return None;
        }
        if let Some(whole) = &mut self.text {
            let start = whole.len();
            self.tools.extend(tools.into_iter().map(|part| ToolPart {
                at: start + part.at.start..start + part.at.end,
                ..part
            }));
            // A text that doubles its room whenever that is full would take twice what it has.
            if whole.capacity() - whole.len() < text.len() {
                whole.reserve_exact(text.len() + whole.len() / 8);
            }
            whole.push_str(&text);
            if let Some(ends) = &mut self.text_ends {
                ends.push(whole.len());
            }
        }
        self.keeps_text
            .then(|| self.part_mask.mask(&self.secrets, text))
    }

    /// Writes headers as a JSON object, several values of one header with a comma between; none where
    /// there are none.
    fn as_json(&self, headers: &[(String, String)]) -> Option<String> {
        let mut fields = serde_json::Map::new();
        for (name, value) in headers {
            let value = self.secrets.mask(value).into_owned();
            match fields.get_mut(name) {
                Some(Value::String(known)) => *known = format!("{known}, {value}"),
                _ => {
                    fields.insert(name.clone(), value.into());
                }
            }
        }
        (!fields.is_empty()).then(|| Value::Object(fields).to_string())
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

    /// Adds to `what` which backend reads the events, or which text was not read, if there was one.
    fn naming_unread(&self, what: &str) -> String {
        if let Some(name) = self.looks_like {
            return format!("{what}; the events are those of `--backend {name}`");
        }
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
            Outcome::HungUp => return (Status::Cancelled, Some((ErrorKind::HungUp, None))),
            Outcome::NotAStream(body) => {
                let refusal = self.refusal(end.http_status, body);
                return (Status::Error, Some(refusal));
            }
            // A connection that breaks after the stream's own end has cost nothing.
            Outcome::Failed(ErrorKind::Truncated, _) if is_whole => {}
            Outcome::Failed(ErrorKind::TooLarge, _) if self.has_end_mark => {}
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
        let ends_here = self.backend.ends_with_its_body() && !matches!(tail, Tail::Cut { .. });
        if !is_whole && !ends_here {
            let message = match tail {
                Tail::Cut { bytes } => {
                    format!("the stream ended inside an event ({bytes} bytes of it)")
                }
                _ => self.naming_unread("the stream ended without a finish reason or an end mark"),
            };
            return (Status::Error, Some((ErrorKind::Truncated, Some(message))));
        }
        if row.chunk_count == 0 && self.backend.has_tokens() {
            return self.without_text(row);
        }
        (Status::Ok, None)
    }

    /// Says what a response was that is not the expected answer.
    fn refusal(&self, http_status: Option<u16>, body: &[u8]) -> (ErrorKind, Option<String>) {
        let kind = match http_status {
            Some(429) => ErrorKind::Http429,
            Some(400..=499) => ErrorKind::Http4xx,
            Some(500..=599) => ErrorKind::Http5xx,
            Some(status @ 300..=399) => {
                let message = format!(
                    "the server redirects ({status}); give the address that it redirects to"
                );
                return (ErrorKind::Unsupported, Some(message));
            }
            _ => {
                return match read_unexpected(body, self.backend.framing(), &self.secrets) {
                    NotAStream::Error(error) => (ErrorKind::InStream, Some(error.message)),
                    NotAStream::Unsupported(message) => {
                        let message = match body_looks_like(body) {
                            Some(name) => format!("{message}; it is read by `--backend {name}`"),
                            None => message,
                        };
                        (ErrorKind::Unsupported, Some(message))
                    }
                };
            }
        };
        (kind, Some(error_message(body, &self.secrets)))
    }
}

/// Returns the text with its calls of tools behind it, as JSON on a line of its own.
fn with_calls_apart(text: String, parts: &[ToolPart]) -> String {
    if parts.is_empty() {
        return text;
    }
    let mut said = String::new();
    let mut calls: Vec<[String; 2]> = Vec::new();
    let mut end = 0;
    for part in parts {
        said.push_str(text.get(end..part.at.start).unwrap_or_default());
        end = part.at.end;
        if part.call >= calls.len() {
            calls.resize(part.call + 1, <[String; 2]>::default());
        }
        let [name, arguments] = &mut calls[part.call];
        let words = text.get(part.at.clone()).unwrap_or_default();
        if !part.is_name {
            arguments.push_str(words);
        } else if arguments.is_empty() || name != words {
            // A server may say the name with every part.
            name.push_str(words);
        }
    }
    said.push_str(text.get(end..).unwrap_or_default());
    let calls: Vec<Value> = calls
        .iter()
        .map(|[name, arguments]| json!({ "name": name, "arguments": arguments }))
        .collect();
    if !said.is_empty() {
        said.push('\n');
    }
    said + &json!({ "tool_calls": calls }).to_string()
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
