//! The Messages protocol of Anthropic, which vLLM, SGLang, llama.cpp and gateways serve too.
//!
//! An answer is a list of content blocks, each begun, streamed and ended by events of its own. A
//! block of text, of thinking or of a tool's input streams parts that bear tokens; the name of a tool
//! comes when its block begins. Input tokens that a cache had are not among the `input_tokens`, so they
//! are added. A server may count as it goes, with usage in every delta, which then places its tokens.
//! Reasons to stop are given in the words of the OpenAI protocols.

use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::chat_form::OtherForm;
use super::failure;
use super::framing::Framing;
use super::lenient::{Count, Lenient, Text, parse, read_from_object};
use super::meter::TokenMeter;
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
use super::request::{Message, Overridable, RequestInput, RequestSpec, content_text, written};
use super::sampling::SamplingFields;
use super::sse::{Event, Kind};
use crate::capture::schema::Channel;
use crate::secrets::Secrets;

/// The protocol.
#[derive(Debug)]
pub(super) struct Messages;

/// The one that there is.
pub(super) static MESSAGES: Messages = Messages;

/// The type of the event that ends a stream.
const END_MARK: &str = "message_stop";

/// What is asked for where nothing limits the answer: the protocol has no request without a limit.
const NO_LIMIT: u32 = 4_096;

impl Protocol for Messages {
    fn name(&self) -> &'static str {
        "anthropic"
    }

    fn about(&self) -> &'static str {
        "Anthropic Messages"
    }

    fn endpoint(&self) -> &'static str {
        "/v1/messages"
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("anthropic-version", "2023-06-01")]
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn end_mark(&self) -> Option<&'static str> {
        Some(END_MARK)
    }

    fn is_chat(&self) -> bool {
        true
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::Never
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields {
            object: None,
            names: &[("top_p", "top_p"), ("top_k", "top_k")],
        }
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let extra_body = &*OtherForm::Messages.fields(spec.extra_body);
        let spec = &RequestSpec {
            extra_body,
            ..*spec
        };
        written(spec, &Body(spec))
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        let own = (!spec.is_limited_by_user()).then_some(NO_LIMIT);
        spec.output_limit().or(own)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(MessagesReader {
            keep_text,
            ..MessagesReader::default()
        })
    }
}

struct Body<'a>(&'a RequestSpec<'a>);

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = self.0;
        let mut body = Overridable {
            map: serializer.serialize_map(None)?,
            extra_body: spec.extra_body,
        };
        body.entry("model", spec.model)?;
        body.entry("max_tokens", &spec.max_tokens.unwrap_or(NO_LIMIT))?;
        match spec.input {
            RequestInput::Text(content) => {
                let role = "user";
                body.entry("messages", &[Message { role, content }])?;
            }
            RequestInput::Audio(_) => body.entry("messages", &spec.input.messages())?,
            RequestInput::Messages(messages) => {
                let is_system = |message: &&Value| message["role"] == "system";
                let system: Vec<Cow<'_, str>> = messages
                    .iter()
                    .filter(is_system)
                    .map(|message| content_text(&message["content"]))
                    .collect();
                if !system.is_empty() {
                    body.entry("system", &system.join("\n"))?;
                }
                let others = messages.iter().filter(|it| !is_system(it));
                body.entry("messages", &OtherForm::Messages.messages(others))?;
            }
        }
        if let Some(temperature) = spec.temperature {
            body.entry("temperature", &temperature)?;
        }
        body.entry("stream", &true)?;
        body.end()
    }
}

/// Any event of a stream; each has some of the fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnyEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    index: Count,
    #[serde(borrow)]
    message: Lenient<Option<Begun<'a>>>,
    #[serde(borrow)]
    content_block: Lenient<Option<Part<'a>>>,
    #[serde(borrow)]
    delta: Lenient<Option<Part<'a>>>,
    usage: Lenient<Option<Counts>>,
    #[serde(borrow)]
    error: Lenient<Option<Failure<'a>>>,
}

/// What `message_start` says of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Begun<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    usage: Lenient<Option<Counts>>,
}

/// A block that begins, a part of one, or the end of the answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    partial_json: Text<'a>,
    /// Of a tool.
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    stop_reason: Text<'a>,
    #[serde(borrow)]
    stop_sequence: Text<'a>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Count,
    cache_read_input_tokens: Count,
    cache_creation_input_tokens: Count,
    output_tokens: Count,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Failure<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    message: Text<'a>,
}

read_from_object!(AnyEvent<'a>, Begun<'a>, Part<'a>, Counts, Failure<'a>);

impl Counts {
    fn usage(&self) -> Option<Usage> {
        let parts = [
            self.input_tokens.0,
            self.cache_read_input_tokens.0,
            self.cache_creation_input_tokens.0,
        ];
        let usage = Usage {
            input: parts.into_iter().flatten().reduce(u32::saturating_add),
            output: self.output_tokens.0,
            reasoning: None,
            cached: self.cache_read_input_tokens.0,
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
struct MessagesReader {
    keep_text: bool,
    /// What is masked in all that the server says about its answer; not in the answer.
    secrets: Secrets,
    has_response_id: bool,
    meter: TokenMeter,
    /// Blocks that are calls of tools, by their index in the answer.
    calls: Vec<u32>,
}

impl EventReader for MessagesReader {
    fn mask(&mut self, secrets: &Secrets) {
        self.secrets = secrets.clone();
    }

    fn read_event(&mut self, event: &Event<'_>) -> Reading {
        if event.kind == Kind::Comment {
            return Reading::of(Channel::Comment);
        }
        let data = event.data.trim_ascii();
        match parse::<Option<AnyEvent<'_>>>(data) {
            Some(Some(event)) => self.read(&event),
            Some(None) => Reading::of(Channel::Other),
            None if data.is_empty() => Reading::of(Channel::Empty),
            // Of servers whose other protocols end so.
            None if data == b"[DONE]" => Reading {
                is_done: true,
                ..Reading::of(Channel::Done)
            },
            None => Reading {
                is_broken: true,
                ..Reading::of(Channel::Other)
            },
        }
    }

    fn tally(&self) -> TokenTally {
        self.meter.tally()
    }
}

/// Calls of tools in one answer that are told apart.
const MAX_CALLS: usize = 256;

impl MessagesReader {
    fn read(&mut self, event: &AnyEvent<'_>) -> Reading {
        let block = (event.content_block.0.as_ref(), event.index.0);
        let mut reading = match event.kind.0.as_deref() {
            Some("message_start") => self.begin(event.message.0.as_ref()),
            Some("content_block_start") => match block {
                (Some(part), index) => self.begin_block(part, index),
                (None, _) => Reading::of(Channel::Empty),
            },
            Some("content_block_delta") => match event.delta.0.as_ref() {
                Some(part) => self.read_part(part, event.index.0),
                None => Reading::of(Channel::Empty),
            },
            Some("content_block_stop") => Reading::of(Channel::Empty),
            Some("message_delta") => self.end(event.delta.0.as_ref()),
            Some(END_MARK) => Reading {
                is_done: true,
                ..Reading::of(Channel::Done)
            },
            Some("ping") => Reading::of(Channel::Comment),
            Some("error") => Reading::of(Channel::Error),
            _ => Reading::of(Channel::Other),
        };
        let usage = event.usage.0.or_else(|| event.message.0.as_ref()?.usage.0);
        reading.usage = usage.and_then(|counts| counts.usage());
        let counted = reading.usage.and_then(|usage| usage.output);
        let is_bearing = reading.channel.is_token_bearing();
        let tokens = self.meter.take(is_bearing, counted, None);
        reading.tokens = tokens.map(|(tokens, _)| tokens);
        reading.tokens_source = tokens.map(|(_, source)| source);
        if let Some(failure) = &event.error.0 {
            reading.error = Some(self.failure(failure));
        }
        reading
    }

    fn begin(&mut self, message: Option<&Begun<'_>>) -> Reading {
        let id = message.and_then(|message| message.id.0.as_deref());
        let id = id
            .filter(|_| !self.has_response_id)
            .map(|id| self.cleaned(id));
        let id = id.filter(|id| !id.is_empty());
        self.has_response_id |= id.is_some();
        Reading {
            response_id: id,
            ..Reading::of(Channel::Role)
        }
    }

    fn begin_block(&mut self, block: &Part<'_>, index: Option<u32>) -> Reading {
        match block.name.0.as_deref().filter(|name| !name.is_empty()) {
            Some(name) => {
                let call = self.call(index);
                self.token(Channel::Tool, name, Some((call, true)))
            }
            None => self.read_part(block, index),
        }
    }

    fn read_part(&mut self, part: &Part<'_>, index: Option<u32>) -> Reading {
        let is_there = |text: &&str| !text.is_empty();
        if let Some(text) = part.text.0.as_deref().filter(is_there) {
            self.token(Channel::Content, text, None)
        } else if let Some(text) = part.thinking.0.as_deref().filter(is_there) {
            self.token(Channel::Reasoning, text, None)
        } else if let Some(text) = part.partial_json.0.as_deref().filter(is_there) {
            let call = self.call(index);
            self.token(Channel::Tool, text, Some((call, false)))
        } else {
            Reading::of(Channel::Empty)
        }
    }

    /// Number of the call whose block has this index, from 0.
    fn call(&mut self, index: Option<u32>) -> usize {
        let index = index.unwrap_or_default();
        if let Some(call) = self.calls.iter().position(|known| *known == index) {
            return call;
        }
        if self.calls.len() < MAX_CALLS {
            self.calls.push(index);
        }
        self.calls.len() - 1
    }

    /// An event with a token; `call` says which call of a tool it belongs to, and whether it names it.
    fn token(&self, channel: Channel, text: &str, call: Option<(usize, bool)>) -> Reading {
        let call = call.filter(|_| self.keep_text);
        let tools = call.map(|(call, is_name)| ToolPart {
            call,
            is_name,
            at: 0..text.len(),
        });
        Reading {
            has_choices: true,
            text: self.keep_text.then(|| text.to_owned()),
            tools: tools.into_iter().collect(),
            ..Reading::of(channel)
        }
    }

    fn end(&self, delta: Option<&Part<'_>>) -> Reading {
        let reason = delta.and_then(|delta| delta.stop_reason.0.as_deref());
        let reason = reason.map(|reason| match reason {
            "end_turn" | "stop_sequence" => "stop".to_owned(),
            "max_tokens" => "length".to_owned(),
            "tool_use" => "tool_calls".to_owned(),
            other => self.cleaned(other),
        });
        let sequence = delta.and_then(|delta| delta.stop_sequence.0.as_deref());
        Reading {
            finish_reason: reason.filter(|reason| !reason.is_empty()),
            stop_reason: sequence.map(|text| failure::shortened(&self.secrets.mask(text))),
            ..Reading::of(Channel::Finish)
        }
    }

    fn failure(&self, failure: &Failure<'_>) -> StreamError {
        let kind = failure.kind.0.as_deref();
        let message = failure.message.0.as_deref().or(kind);
        StreamError {
            message: message.map_or_else(
                || "the server gave no reason".to_owned(),
                |message| self.cleaned(message),
            ),
            code: kind.map(|kind| self.cleaned(kind)),
        }
    }

    fn cleaned(&self, text: &str) -> String {
        failure::cleaned(text, &self.secrets)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::{Map, json};

    use super::*;
    use crate::backend::sse::Decoder;
    use crate::capture::schema::TokensSource;

    fn body(input: RequestInput<'_>, max_tokens: Option<u32>, extra: &Value) -> String {
        let extra_body: Map<String, Value> = extra.as_object().cloned().unwrap_or_default();
        let spec = RequestSpec {
            model: "m",
            input,
            max_tokens,
            ignore_eos: true,
            temperature: None,
            extra_body: &extra_body,
        };
        String::from_utf8(MESSAGES.body(&spec)).unwrap()
    }

    #[test]
    fn a_request_has_a_limit_and_its_system_prompt_apart() {
        assert_snapshot!(
            body(RequestInput::Text("hi"), Some(8), &json!({})),
            @r#"{"model":"m","max_tokens":8,"messages":[{"role":"user","content":"hi"}],"stream":true}"#
        );
        let messages = [
            json!({ "role": "system", "content": "be brief" }),
            json!({ "role": "user", "content": "hi" }),
        ];
        assert_snapshot!(
            body(RequestInput::Messages(&messages), None, &json!({ "top_k": 3, "max_tokens": 9 })),
            @r#"{"model":"m","system":"be brief","messages":[{"role":"user","content":"hi"}],"stream":true,"top_k":3,"max_tokens":9}"#
        );
    }

    /// One line an event: its channel, text, counts and ends.
    fn read(stream: &str) -> (String, TokenTally) {
        let mut reader = MESSAGES.reader(true);
        let mut lines = Vec::new();
        let mut take = |event: Event<'_>| {
            let reading = reader.read_event(&event);
            let usage = reading.usage.map(|it| (it.input, it.output, it.cached));
            let said = (
                reading.finish_reason,
                reading.stop_reason,
                reading.response_id,
            );
            let calls: Vec<_> = reading
                .tools
                .iter()
                .map(|it| (it.call, it.is_name))
                .collect();
            let error = reading.error.map(|it| (it.code, it.message));
            lines.push(format!(
                "{} {:?} {usage:?} {said:?} {calls:?} {error:?} {}",
                reading.channel,
                reading.text.unwrap_or_default(),
                reading.is_done
            ));
        };
        let mut decoder = Decoder::new();
        decoder.push(stream.as_bytes(), &mut take).unwrap();
        decoder.finish(&mut take);
        (lines.join("\n"), reader.tally())
    }

    #[test]
    fn the_events_of_an_answer_with_thinking_text_and_a_tool_are_read() {
        let stream = r#"
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":10,"cache_read_input_tokens":32,"output_tokens":1}}}

event: ping
data: {"type":"ping"}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"thinking","thinking":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":"hm"}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"xyz"}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: content_block_start
data: {"type":"content_block_start","index":1,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":1,"delta":{"type":"text_delta","text":"yes"}}

event: content_block_start
data: {"type":"content_block_start","index":2,"content_block":{"type":"tool_use","id":"toolu_1","name":"look","input":{}}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":2,"delta":{"type":"input_json_delta","partial_json":"{\"a\":1}"}}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":15}}

event: message_stop
data: {"type":"message_stop"}

"#;
        let (lines, tally) = read(stream);
        assert_snapshot!(lines, @r#"
        role "" Some((Some(42), Some(1), Some(32))) (None, None, Some("msg_1")) [] None false
        comment "" None (None, None, None) [] None false
        empty "" None (None, None, None) [] None false
        reasoning "hm" None (None, None, None) [] None false
        empty "" None (None, None, None) [] None false
        empty "" None (None, None, None) [] None false
        empty "" None (None, None, None) [] None false
        content "yes" None (None, None, None) [] None false
        tool "look" None (None, None, None) [(0, true)] None false
        empty "" None (None, None, None) [] None false
        tool "{\"a\":1}" None (None, None, None) [(0, false)] None false
        finish "" Some((None, Some(15), None)) (Some("tool_calls"), None, None) [] None false
        done "" None (None, None, None) [] None true
        "#);
        assert_eq!(tally, TokenTally::default());
    }

    // As NVIDIA Dynamo sends them; its first count of the prompt is a guess.
    #[test]
    fn usage_in_every_delta_places_the_tokens() {
        let stream = r#"
event: message_start
data: {"type":"message_start","message":{"id":"msg_1","role":"assistant","content":[],"usage":{"input_tokens":7,"output_tokens":0,"cache_creation_input_tokens":0}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" faz"},"usage":{"input_tokens":9,"output_tokens":1,"cache_creation_input_tokens":0,"cache_read_input_tokens":16,"total_tokens":26}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" hat oag"},"usage":{"input_tokens":9,"output_tokens":3,"cache_creation_input_tokens":0,"cache_read_input_tokens":16,"total_tokens":28}}

event: content_block_stop
data: {"type":"content_block_stop","index":0}

event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"input_tokens":9,"output_tokens":4,"cache_creation_input_tokens":0,"cache_read_input_tokens":16}}

event: message_stop
data: {"type":"message_stop"}

data: [DONE]

"#;
        let mut reader = MESSAGES.reader(false);
        let mut placed = Vec::new();
        let mut input = None;
        let mut decoder = Decoder::new();
        let mut take = |event: Event<'_>| {
            let reading = reader.read_event(&event);
            placed.extend(reading.tokens.zip(reading.tokens_source));
            input = reading.usage.and_then(|usage| usage.input).or(input);
        };
        decoder.push(stream.as_bytes(), &mut take).unwrap();
        assert_eq!(placed, [(1, TokensSource::Usage), (2, TokensSource::Usage)]);
        assert_eq!(input, Some(25));
        assert_eq!(reader.tally().after_last, Some(1));
    }

    #[test]
    fn errors_and_what_is_no_event_are_told() {
        let (lines, tally) = read(
            r#"
event: error
data: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}

data: {"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"input_tokens":3,"output_tokens":4}}

data: {"type":"something_new"}

data: [1, 2]

data: {"type":

: keep-alive

"#,
        );
        assert_snapshot!(lines, @r#"
        error "" None (None, None, None) [] Some((Some("overloaded_error"), "Overloaded")) false
        finish "" Some((Some(3), Some(4), None)) (Some("length"), None, None) [] None false
        other "" None (None, None, None) [] None false
        other "" None (None, None, None) [] None false
        other "" None (None, None, None) [] None false
        comment "" None (None, None, None) [] None false
        "#);
        assert_eq!(tally.after_last, Some(4));
    }
}
