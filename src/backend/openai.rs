//! The OpenAI streams: chat completions and completions, as OpenAI, vLLM, SGLang, llama.cpp and
//! most hosted services send them.
//!
//! One reader understands both, since an event says by itself which it is (`delta` or `text`), and
//! servers mix them up. A role, an empty string, a finish reason or a count of tokens is not a
//! token; a name or an argument of a tool call is one, and so is reasoning under any of its names.

mod event_template;
mod protocol;
mod shape;
#[cfg(test)]
mod tests;
mod tools;

use std::borrow::Cow;

use super::failure;
use super::lenient::{self, Lenient, parse};
use super::meter::TokenMeter;
use super::protocol::EventReader;
use super::reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
use super::sse::{Event, Kind};
use super::times::ServerTimes;
use super::unread;
use crate::capture::schema::Channel;
use crate::secrets::Secrets;
use event_template::EventTemplates;
pub(super) use protocol::NAMES;
use shape::{Choice, Chunk, Delta, END_MARK, Function, UsageObject};
use tools::Calls;

/// Size of an event, in bytes, up to which it is read in the general way where the direct one
/// refuses it: its values take up to a hundred times the memory.
const MAX_GENERAL_BYTES: usize = 256 << 10;

/// Reads the events of one response, in order.
#[derive(Debug)]
pub(crate) struct OpenAiReader {
    keep_text: bool,
    /// What is masked in all that the server says about its answer; not in the answer.
    secrets: Secrets,
    has_response_id: bool,
    /// Whether the answer was seen to have several choices.
    has_several_choices: bool,
    meter: TokenMeter,
    templates: EventTemplates,
    calls: Calls,
    times: ServerTimes,
    /// Events without a token that may still be looked into for a text that is not read.
    looks_left: u8,
}

/// Events without a token that are looked into for a text that is not read, before a response
/// counts as one that has none.
const LOOKS: u8 = 32;

impl EventReader for OpenAiReader {
    fn mask(&mut self, secrets: &Secrets) {
        self.secrets = secrets.clone();
    }

    fn tally(&self) -> TokenTally {
        self.meter.tally()
    }

    fn server_times(&self) -> ServerTimes {
        self.times
    }

    fn read_event(&mut self, event: &Event<'_>) -> Reading {
        match (event.kind, event.name) {
            (Kind::Comment, _) => Reading::of(Channel::Comment),
            (Kind::Data, Some(b"error")) => self.read_named_error(event.data),
            (Kind::Data, _) => self.read(event.data),
        }
    }
}

impl OpenAiReader {
    /// Creates a reader for one response; it keeps the decoded text if told to.
    pub(super) fn new(keep_text: bool) -> Self {
        Self {
            keep_text,
            secrets: Secrets::default(),
            has_response_id: false,
            has_several_choices: false,
            meter: TokenMeter::default(),
            templates: EventTemplates::default(),
            calls: Calls::default(),
            times: ServerTimes::default(),
            looks_left: LOOKS,
        }
    }

    /// Says what the data of an event carried.
    ///
    /// What is not JSON is broken; JSON that is no OpenAI event is on [`Channel::Other`], and so is
    /// an event whose only text is in a field that is not read.
    fn read(&mut self, data: &[u8]) -> Reading {
        let data = data.trim_ascii();
        let mut reading = self.read_known(data);
        let is_bare = matches!(
            reading.channel,
            Channel::Other | Channel::Empty | Channel::Role | Channel::Finish
        );
        if is_bare && !reading.is_broken && self.looks_left > 0 && data.len() <= MAX_GENERAL_BYTES {
            self.looks_left -= 1;
            reading.unread_text = unread::text_in(data, &self.secrets);
            if reading.unread_text.is_some() {
                self.looks_left = LOOKS;
                reading.channel = Channel::Other;
            }
        }
        reading
    }

    fn read_known(&mut self, data: &[u8]) -> Reading {
        if let Some((channel, text)) = self.templates.fit(data) {
            let text = self.keep_text.then(|| text.to_owned());
            return self.repeat(channel, text);
        }
        if data == END_MARK.as_bytes() {
            return Reading {
                is_done: true,
                ..Reading::of(Channel::Done)
            };
        }
        if data.is_empty() {
            return Reading::of(Channel::Empty);
        }
        if let Some(chunk) = parse::<Option<Chunk<'_>>>(data) {
            return chunk.map_or_else(
                || Reading::of(Channel::Other),
                |chunk| self.interpret(&chunk, Some(data)),
            );
        }
        // A name that occurs twice is legal JSON that the direct way refuses, and so is a number
        // without bound.
        let general = (data.len() <= MAX_GENERAL_BYTES).then(|| lenient::any(data));
        let Some(value) = general.flatten() else {
            return Reading {
                is_broken: true,
                ..Reading::of(Channel::Other)
            };
        };
        match serde::Deserialize::deserialize(&value) {
            Ok(Lenient(Some(chunk))) => self.interpret(&chunk, None),
            Ok(Lenient(None)) | Err(_) => Reading::of(Channel::Other),
        }
    }

    /// Reads data that the server calls an error, in whatever shape it is.
    fn read_named_error(&mut self, data: &[u8]) -> Reading {
        let reading = self.read(data);
        // Text takes precedence, as it does beside an error of another form: it was counted.
        let channel = if reading.channel.is_token_bearing() {
            reading.channel
        } else {
            Channel::Error
        };
        Reading {
            channel,
            error: reading
                .error
                .or_else(|| Some(failure::stream_error(data, &self.secrets))),
            is_broken: false,
            ..reading
        }
    }

    /// Reads an event that is like an earlier one: a text and nothing else.
    fn repeat(&mut self, channel: Channel, text: Option<String>) -> Reading {
        let tokens = self.meter.take(true, None, None);
        Reading {
            has_choices: true,
            tokens: tokens.map(|(tokens, _)| tokens),
            tokens_source: tokens.map(|(_, source)| source),
            text,
            ..Reading::of(channel)
        }
    }

    /// Reads an event from its parts, and keeps its template where `data` is what it was read from.
    fn interpret<'a>(&mut self, chunk: &Chunk<'a>, data: Option<&'a [u8]>) -> Reading {
        let choices = &chunk.choices.0.0;
        let mut carried = Carried::new(self.keep_text, !choices.is_empty());
        for choice in choices {
            carried.take_choice(choice, &mut self.calls);
        }
        carried.ids = carried.ids.or(chunk.token_count());
        if let Some(times) = chunk.server_times() {
            self.times = times.or(self.times);
        }
        let usage = chunk.usage().and_then(usage);
        if usage.is_some() {
            carried.note(Channel::Usage);
        }
        let error = stream_error(chunk, &self.secrets);
        if error.is_some() {
            carried.note(Channel::Error);
        }
        let is_bearing = carried.channel.is_token_bearing();
        let counted = usage.and_then(|usage| usage.output);
        let counted = counted.or(chunk.predicted());
        // Each choice has a running count of its own, and only the last count is that of all.
        self.has_several_choices |= choices.iter().any(|choice| choice.index.0 > Some(0));
        let counted = counted.filter(|_| !self.has_several_choices || choices.is_empty());
        let is_text_alone = is_bearing
            && counted.is_none()
            && usage.is_none()
            && error.is_none()
            && carried.ids.is_none()
            && carried.finish_reason.is_none()
            && carried.stop_reason.is_none()
            && carried.tools.is_empty();
        if let (Some(data), Some(text), true) = (data, carried.sole_text, is_text_alone) {
            self.templates.keep(data, text, carried.channel);
        }
        let tokens = self.meter.take(is_bearing, counted, carried.ids);
        let response_id = match &chunk.id.0 {
            Some(id) if !self.has_response_id => named(id, &self.secrets),
            _ => None,
        };
        self.has_response_id |= response_id.is_some();
        Reading {
            channel: carried.channel,
            has_choices: !choices.is_empty(),
            tokens: tokens.map(|(tokens, _)| tokens),
            tokens_source: tokens.map(|(_, source)| source),
            unread_text: None,
            text: (self.keep_text && is_bearing).then_some(carried.text),
            reasoning_bytes: match carried.channel {
                Channel::Content => carried.reasoning_bytes,
                _ => 0,
            },
            tools: carried.tools,
            usage,
            finish_reason: carried
                .finish_reason
                .and_then(|text| named(&text, &self.secrets)),
            stop_reason: carried
                .stop_reason
                .map(|text| failure::shortened(&self.secrets.mask(&text))),
            response_id,
            error,
            is_done: false,
            is_broken: false,
        }
    }
}

/// What the choices of one event carry, gathered.
struct Carried<'a> {
    channel: Channel,
    keep_text: bool,
    /// All text, in the order in which a model generates it.
    text: String,
    /// The text as it was sent, where there is one and no other.
    sole_text: Option<&'a str>,
    has_text: bool,
    reasoning_bytes: usize,
    /// Parts of calls of tools, where the text is kept.
    tools: Vec<ToolPart>,
    finish_reason: Option<String>,
    stop_reason: Option<String>,
    /// Number of token ids or log-probabilities.
    ids: Option<u32>,
}

impl<'a> Carried<'a> {
    fn new(keep_text: bool, has_choices: bool) -> Self {
        let channel = if has_choices {
            Channel::Empty
        } else {
            Channel::Other
        };
        Self {
            channel,
            keep_text,
            text: String::new(),
            sole_text: None,
            has_text: false,
            reasoning_bytes: 0,
            tools: Vec::new(),
            finish_reason: None,
            stop_reason: None,
            ids: None,
        }
    }

    /// Notes that something on `channel` was there; the channels are declared by precedence.
    fn note(&mut self, channel: Channel) {
        self.channel = self.channel.min(channel);
    }

    fn take_text(&mut self, channel: Channel, text: Option<&Cow<'a, str>>) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            return;
        };
        self.note(channel);
        self.sole_text = match text {
            Cow::Borrowed(text) if !self.has_text => Some(*text),
            _ => None,
        };
        if channel == Channel::Reasoning && !self.has_text {
            self.reasoning_bytes = text.len();
        }
        self.has_text = true;
        if self.keep_text {
            self.text.push_str(text);
        }
    }

    fn take_choice(&mut self, choice: &Choice<'a>, calls: &mut Calls) {
        if let Some(delta) = &choice.delta.0 {
            self.take_delta(delta, calls);
        }
        self.take_text(Channel::Content, choice.text.0.as_ref());
        if let Some(reason) = choice
            .finish_reason
            .0
            .as_deref()
            .filter(|text| !text.is_empty())
        {
            self.note(Channel::Finish);
            self.finish_reason.get_or_insert_with(|| reason.to_owned());
        }
        let stop = choice.stop_reason.0.0.as_ref();
        if let Some(stop) = stop.or(choice.matched_stop.0.0.as_ref()) {
            self.stop_reason.get_or_insert_with(|| stop.to_string());
        }
        if let Some(ids) = choice.token_count() {
            self.ids = Some(self.ids.unwrap_or(0).saturating_add(ids));
        }
    }

    fn take_delta(&mut self, delta: &Delta<'a>, calls: &mut Calls) {
        let content = &delta.content.0;
        // Servers differ in the name, and some send the text under several.
        let reasoning = [
            delta.reasoning_content.0.as_ref(),
            delta.reasoning.0.reasoning(),
            delta.reasoning_text.0.as_ref(),
            delta.thinking.0.reasoning(),
            delta.reasoning_details.0.reasoning(),
            delta.thinking_blocks.0.reasoning(),
        ]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty());
        self.take_text(Channel::Reasoning, reasoning.or(content.thinking.as_ref()));
        self.take_text(Channel::Content, content.text.as_ref());
        self.take_text(Channel::Refusal, delta.refusal.0.as_ref());
        for part in &delta.tool_calls.0.0 {
            let function = part.function.0.as_ref();
            let named = function.and_then(|function| function.name.0.as_deref());
            let call = calls.of_part(part.index.0, part.id.0.as_deref(), named);
            self.take_function(function, call);
        }
        if let Some(function) = &delta.function_call.0 {
            self.take_function(Some(function), calls.of_the_older_form());
        }
        if let Some(audio) = &delta.audio.0 {
            if audio.data.0.as_ref().is_some_and(|data| !data.is_empty()) {
                self.note(Channel::Audio);
            }
            self.take_text(Channel::Audio, audio.transcript.0.as_ref());
        }
        if delta.role.0.as_ref().is_some_and(|role| !role.is_empty()) {
            self.note(Channel::Role);
        }
    }

    fn take_function(&mut self, function: Option<&Function<'a>>, call: usize) {
        let Some(function) = function else { return };
        for (is_name, part) in [(true, &function.name), (false, &function.arguments)] {
            let start = self.text.len();
            self.take_text(Channel::Tool, part.0.as_ref());
            let at = start..self.text.len();
            if !at.is_empty() {
                self.tools.push(ToolPart { call, is_name, at });
            }
        }
    }
}

fn usage(object: &UsageObject) -> Option<Usage> {
    let usage = Usage {
        input: object.prompt_tokens.0,
        output: object.completion_tokens.0,
        reasoning: object
            .completion_tokens_details
            .0
            .as_ref()
            .and_then(|details| details.reasoning_tokens.0),
        cached: object
            .prompt_tokens_details
            .0
            .as_ref()
            .and_then(|details| details.cached_tokens.0)
            .or(object.cached_tokens.0)
            .or(object.prompt_cache_hit_tokens.0),
    };
    (usage != Usage::default()).then_some(usage)
}

/// Returns the failure that an event reports: under `error`, or by being an error object itself.
fn stream_error(chunk: &Chunk<'_>, secrets: &Secrets) -> Option<StreamError> {
    let is_error_object = chunk.object.0.as_deref() == Some("error");
    let (message, code, kind) = match &chunk.error.0 {
        Some(failure) => (&failure.message, &failure.code, &failure.kind),
        None if is_error_object => (&chunk.message, &chunk.code, &chunk.kind),
        None => return None,
    };
    let code = code.0.0.as_ref().or(kind.0.as_ref());
    let message = message.0.as_ref().or(code);
    Some(StreamError {
        message: message.map_or_else(
            || "the server gave no reason".to_owned(),
            |message| failure::cleaned(message, secrets),
        ),
        code: code.map(|code| failure::cleaned(code, secrets)),
    })
}

/// Returns a name that a server gives, on one line and of a bounded length; `None` when it is empty.
fn named(text: &str, secrets: &Secrets) -> Option<String> {
    Some(failure::cleaned(text, secrets)).filter(|text| !text.is_empty())
}
