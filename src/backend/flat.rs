//! Readers of protocols whose events are JSON objects with the next text of an answer at one place.
//!
//! Such a protocol says what each field of an event means, as a [`Said`]; how that becomes a
//! [`Reading`] is the same for all of them.

use std::borrow::Cow;
use std::fmt::Debug;

use super::failure;
use super::meter::TokenMeter;
use super::protocol::EventReader;
use super::reading::{Reading, TokenTally, Usage};
use super::sse::{Event, Kind};
use super::times::ServerTimes;
use crate::capture::schema::Channel;
use crate::secrets::Secrets;

/// What one event says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Said<'a> {
    /// Text that was not in an earlier event.
    pub(super) text: Option<Cow<'a, str>>,
    /// Whether the event has a token whose text comes with a later one.
    pub(super) is_held: bool,
    /// Number of ids of tokens in the event, also of tokens without a text.
    pub(super) ids: Option<u32>,
    /// Tokens as the server counts them.
    pub(super) usage: Option<Usage>,
    /// What the server tells of the time that it took.
    pub(super) times: ServerTimes,
    /// Why the answer ended, in the words of the OpenAI protocols where they have one.
    pub(super) finish_reason: Option<Cow<'a, str>>,
    /// The stop string or token that ended it.
    pub(super) stop_reason: Option<Cow<'a, str>>,
    /// The server's id of the answer.
    pub(super) response_id: Option<Cow<'a, str>>,
    /// Whether the event is one of the protocol, though it may say nothing of the above.
    pub(super) is_known: bool,
    /// Whether the event reports an error.
    pub(super) is_error: bool,
    /// The error as JSON, where the message is not to be looked for in all of the event.
    pub(super) error: Option<String>,
    /// Where in the event a text is that is not read.
    pub(super) unread_text: Option<String>,
    /// Whether nothing follows.
    pub(super) is_done: bool,
}

/// How the objects of a protocol are read.
pub(super) trait ReadObject: Debug + Send {
    /// Says what an event's object has; `None` where it is no JSON, and nothing where it is JSON of
    /// another kind.
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>>;
}

/// A text that each event has from its beginning, of which only the end is new.
#[derive(Debug, Default)]
pub(super) struct GrowingText {
    /// The text of the last event, as long as each began with that of the one before.
    so_far: String,
    is_incremental: bool,
}

impl GrowingText {
    /// Takes each text from here on for what is new: the event says so.
    pub(super) fn is_told_apart(&mut self) {
        self.is_incremental = true;
    }

    /// Returns what the text of an event has beyond that of the one before; all of it from the first
    /// text on that does not begin with the one before.
    pub(super) fn what_is_new<'a>(&mut self, text: Cow<'a, str>) -> Cow<'a, str> {
        if self.is_incremental {
            return text;
        }
        let known = self.so_far.len();
        if !text.starts_with(&self.so_far) {
            self.is_incremental = true;
            self.so_far = String::new();
            return text;
        }
        self.so_far.push_str(&text[known..]);
        match text {
            Cow::Borrowed(text) => Cow::Borrowed(&text[known..]),
            Cow::Owned(mut text) => Cow::Owned(text.split_off(known)),
        }
    }
}

/// Reads the events of one answer.
#[derive(Debug)]
pub(super) struct FlatReader<R> {
    objects: R,
    keep_text: bool,
    /// What is masked in all that the server says about its answer; not in the answer.
    secrets: Secrets,
    has_response_id: bool,
    /// The data that ends an answer and is no JSON.
    end_mark: Option<&'static str>,
    meter: TokenMeter,
    times: ServerTimes,
}

impl<R: ReadObject> FlatReader<R> {
    /// Creates a reader for one answer; it keeps the text if told to.
    pub(super) fn new(objects: R, end_mark: Option<&'static str>, keep_text: bool) -> Self {
        Self {
            objects,
            keep_text,
            secrets: Secrets::default(),
            has_response_id: false,
            end_mark,
            meter: TokenMeter::default(),
            times: ServerTimes::default(),
        }
    }

    fn interpret(&mut self, said: Said<'_>, data: &[u8]) -> Reading {
        self.times = said.times.or(self.times);
        let text = said.text.filter(|text| !text.is_empty());
        let finish_reason = said.finish_reason.and_then(|text| self.named(&text));
        let unread_text = said.unread_text.and_then(|path| self.named(&path));
        let is_bearing = text.is_some() || said.is_held;
        let channel = match (&finish_reason, said.usage) {
            _ if is_bearing => Channel::Content,
            _ if unread_text.is_some() => Channel::Other,
            (Some(_), _) => Channel::Finish,
            _ if said.is_error => Channel::Error,
            (_, Some(_)) => Channel::Usage,
            _ if said.is_done => Channel::Done,
            _ if said.is_known => Channel::Empty,
            _ => Channel::Other,
        };
        let counted = said.usage.and_then(|usage| usage.output);
        let tokens = self.meter.take(is_bearing, counted, said.ids);
        let response_id = said.response_id.filter(|_| !self.has_response_id);
        let response_id = response_id.and_then(|id| self.named(&id));
        self.has_response_id |= response_id.is_some();
        Reading {
            has_choices: is_bearing,
            tokens: tokens.map(|(tokens, _)| tokens),
            tokens_source: tokens.map(|(_, source)| source),
            text: text.filter(|_| self.keep_text).map(Cow::into_owned),
            usage: said.usage,
            finish_reason,
            stop_reason: said
                .stop_reason
                .filter(|text| !text.is_empty())
                .map(|text| failure::shortened(&self.secrets.mask(&text))),
            response_id,
            error: said.is_error.then(|| {
                let error = said.error.as_deref().map_or(data, str::as_bytes);
                failure::stream_error(error, &self.secrets)
            }),
            is_done: said.is_done,
            unread_text,
            ..Reading::of(channel)
        }
    }

    /// Returns a name that a server gives, on one line and of a bounded length.
    fn named(&self, text: &str) -> Option<String> {
        Some(failure::cleaned(text, &self.secrets)).filter(|text| !text.is_empty())
    }
}

impl<R: ReadObject> EventReader for FlatReader<R> {
    fn mask(&mut self, secrets: &Secrets) {
        self.secrets = secrets.clone();
    }

    fn read_event(&mut self, event: &Event<'_>) -> Reading {
        if event.kind == Kind::Comment {
            return Reading::of(Channel::Comment);
        }
        let data = event.data.trim_ascii();
        if self.end_mark.is_some_and(|mark| data == mark.as_bytes()) {
            return Reading {
                is_done: true,
                ..Reading::of(Channel::Done)
            };
        }
        if data.is_empty() {
            return Reading::of(Channel::Empty);
        }
        match self.objects.read(data) {
            Some(said) => self.interpret(said, data),
            None => Reading {
                is_broken: true,
                ..Reading::of(Channel::Other)
            },
        }
    }

    fn tally(&self) -> TokenTally {
        self.meter.tally()
    }

    fn server_times(&self) -> ServerTimes {
        self.times
    }
}

/// Reads a body in parts of every size, as its protocol does, for tests. Returns a line an event: its
/// channel, text, tokens, counts and ends; and the tally.
#[cfg(test)]
pub(super) fn read_in_every_way(
    protocol: &dyn super::protocol::Protocol,
    body: &str,
) -> (String, TokenTally) {
    let read = |size: usize| {
        let mut reader = protocol.reader(true);
        let mut lines = Vec::new();
        let mut take = |event: Event<'_>| {
            let reading = reader.read_event(&event);
            let tokens = reading.tokens.zip(reading.tokens_source);
            let tokens = tokens.map_or_else(String::new, |(n, by)| format!(" {n} by {by:?}"));
            let usage = reading.usage.map_or_else(String::new, |it| {
                let counts = [it.input, it.output, it.reasoning, it.cached];
                let counts = counts.map(|n| n.map_or("-".to_owned(), |n| n.to_string()));
                format!(" usage {}", counts.join("/"))
            });
            let mut line = format!("{}{tokens}{usage}", reading.channel);
            let calls: Vec<_> = reading
                .tools
                .iter()
                .map(|it| (it.call, it.is_name, it.at.clone()))
                .collect();
            let error = reading
                .error
                .map(|it| format!("{} {:?}", it.message, it.code));
            for (name, said) in [
                ("text", reading.text),
                ("calls", (!calls.is_empty()).then(|| format!("{calls:?}"))),
                ("finish", reading.finish_reason),
                ("stop", reading.stop_reason),
                ("id", reading.response_id),
                ("error", error),
                ("done", reading.is_done.then(String::new)),
                ("broken", reading.is_broken.then(String::new)),
            ] {
                if let Some(said) = said {
                    line = format!("{line} {name} {said:?}");
                }
            }
            lines.push(line);
        };
        let mut decoder = protocol.framing().decoder(protocol.end_mark());
        for part in body.as_bytes().chunks(size) {
            decoder.push(part, &mut take).unwrap();
        }
        decoder.finish(&mut take);
        (lines.join("\n"), reader.tally())
    };
    let whole = read(body.len());
    for size in 1..body.len() {
        assert_eq!(read(size), whole, "by {size}");
    }
    whole
}

/// The body of a request for "hi" with that limit, of exactly that length, with the user's fields on
/// top; and the limit that is noted for it.
#[cfg(test)]
pub(super) fn asked(
    protocol: &dyn super::protocol::Protocol,
    max_tokens: Option<u32>,
    extra: &serde_json::Value,
) -> (String, Option<u32>) {
    let extra_body = extra.as_object().cloned().unwrap_or_default();
    let spec = super::request::RequestSpec {
        model: "m",
        input: super::request::RequestInput::Text("hi"),
        max_tokens,
        ignore_eos: protocol.exact_length() != super::protocol::ExactLength::Never
            && max_tokens.is_some(),
        temperature: max_tokens.map(|_| 0.5),
        extra_body: &extra_body,
    };
    let body = String::from_utf8(protocol.body(&spec)).unwrap();
    (body, protocol.output_limit(&spec))
}
