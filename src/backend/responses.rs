//! The Responses protocol of OpenAI, which vLLM, llama.cpp, transformers and gateways serve too.
//!
//! Every event says its type in its data. A delta bears tokens; what repeats a whole text when it is
//! done does not. Usage and the reason to stop are in the last event, behind which some servers send
//! `[DONE]` and most do not. Reasons to stop are given in the words of chat completions.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::chat_form::OtherForm;
use super::failure;
use super::framing::Framing;
use super::lenient::{Count, Length, Lenient, Present, Text, parse, read_from_object};
use super::meter::TokenMeter;
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::{Reading, TokenTally, ToolPart, Usage};
use super::request::{RequestInput, RequestSpec, limited_by, written_over};
use super::sampling::fields;
use super::sse::{Event, Kind};
use crate::capture::schema::Channel;
use crate::secrets::Secrets;

/// The protocol.
#[derive(Debug)]
pub(super) struct Responses;

/// The one that there is.
pub(super) static RESPONSES: Responses = Responses;

/// The field that limits the output.
const LIMIT_FIELD: &str = "max_output_tokens";

impl Protocol for Responses {
    fn name(&self) -> &'static str {
        "openai-responses"
    }

    fn about(&self) -> &'static str {
        "OpenAI Responses"
    }

    fn endpoint(&self) -> &'static str {
        "/v1/responses"
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn is_chat(&self) -> bool {
        true
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::OnDemand
    }

    fn logprobs(&self, others: u32) -> Option<Map<String, Value>> {
        fields([
            ("top_logprobs", others.into()),
            ("include", json!(["message.output_text.logprobs"])),
        ])
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let input = match spec.input {
            RequestInput::Text(text) => Value::from(text),
            RequestInput::Messages(messages) => {
                OtherForm::Responses.messages(messages.iter()).into()
            }
            RequestInput::Audio(_) => spec.input.messages(),
        };
        let extra_body = &*OtherForm::Responses.fields(spec.extra_body);
        let spec = &RequestSpec {
            extra_body,
            ..*spec
        };
        let mut fields = json!({ "model": spec.model, "input": input });
        if let Some(max_tokens) = spec.max_tokens {
            fields[LIMIT_FIELD] = max_tokens.into();
        }
        if let Some(temperature) = spec.temperature {
            fields["temperature"] = temperature.into();
        }
        if spec.ignore_eos {
            fields["ignore_eos"] = true.into();
        }
        fields["stream"] = true.into();
        written_over(fields, spec, &[])
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        limited_by(spec, LIMIT_FIELD)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(ResponsesReader {
            keep_text,
            ..ResponsesReader::default()
        })
    }
}

/// Any event of a stream; each has some of the fields.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnyEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    delta: Text<'a>,
    output_index: Count,
    logprobs: Lenient<Length>,
    #[serde(borrow)]
    item: Lenient<Option<Item<'a>>>,
    #[serde(borrow)]
    response: Lenient<Option<Answer<'a>>>,
    error: Lenient<Present>,
}

/// A part of the answer: a message, a thought or a call.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item<'a> {
    #[serde(borrow)]
    name: Text<'a>,
}

/// What an event says of the whole answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    incomplete_details: Lenient<Option<Incomplete<'a>>>,
    usage: Lenient<Option<Counts>>,
    error: Lenient<Present>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Incomplete<'a> {
    #[serde(borrow)]
    reason: Text<'a>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Count,
    input_tokens_details: Lenient<Option<Details>>,
    output_tokens: Count,
    output_tokens_details: Lenient<Option<Details>>,
}

#[derive(Debug, Default, Clone, Copy, Deserialize)]
#[serde(default)]
struct Details {
    cached_tokens: Count,
    reasoning_tokens: Count,
}

read_from_object!(
    AnyEvent<'a>,
    Item<'a>,
    Answer<'a>,
    Incomplete<'a>,
    Counts,
    Details
);

impl Counts {
    fn usage(self) -> Option<Usage> {
        let usage = Usage {
            input: self.input_tokens.0,
            output: self.output_tokens.0,
            reasoning: self
                .output_tokens_details
                .0
                .and_then(|it| it.reasoning_tokens.0),
            cached: self
                .input_tokens_details
                .0
                .and_then(|it| it.cached_tokens.0),
        };
        (usage != Usage::default()).then_some(usage)
    }
}

/// Reads the events of one answer.
#[derive(Debug, Default)]
struct ResponsesReader {
    keep_text: bool,
    /// What is masked in all that the server says about its answer; not in the answer.
    secrets: Secrets,
    has_response_id: bool,
    meter: TokenMeter,
    /// Parts of the answer that are calls of tools, by their index in it.
    calls: Vec<u32>,
}

/// Calls of tools in one answer that are told apart.
const MAX_CALLS: usize = 256;

impl EventReader for ResponsesReader {
    fn mask(&mut self, secrets: &Secrets) {
        self.secrets = secrets.clone();
    }

    fn read_event(&mut self, event: &Event<'_>) -> Reading {
        if event.kind == Kind::Comment {
            return Reading::of(Channel::Comment);
        }
        let data = event.data.trim_ascii();
        match parse::<Option<AnyEvent<'_>>>(data) {
            Some(event) => self.read(&event.unwrap_or_default(), data),
            None if data.is_empty() => Reading::of(Channel::Empty),
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

/// The channel of a delta, by the type of its event.
fn channel_of(kind: &str) -> Option<Channel> {
    Some(
        match kind.strip_suffix(".delta")?.strip_prefix("response.")? {
            "output_text" => Channel::Content,
            "reasoning_text" | "reasoning_summary_text" | "reasoning" | "reasoning_summary" => {
                Channel::Reasoning
            }
            "refusal" => Channel::Refusal,
            "output_audio" | "audio" | "output_audio_transcript" | "audio.transcript" => {
                Channel::Audio
            }
            "function_call_arguments"
            | "mcp_call_arguments"
            | "mcp_call.arguments"
            | "custom_tool_call_input"
            | "code_interpreter_call_code"
            | "code_interpreter_call.code" => Channel::Tool,
            _ => return None,
        },
    )
}

impl ResponsesReader {
    fn read(&mut self, event: &AnyEvent<'_>, data: &[u8]) -> Reading {
        let kind = event.kind.0.as_deref().unwrap_or_default();
        let delta = event.delta.0.as_deref().unwrap_or_default();
        match (kind, channel_of(kind)) {
            (_, Some(_)) if delta.is_empty() => Reading::of(Channel::Empty),
            (_, Some(Channel::Tool)) => self.call_part(delta, event, false),
            (_, Some(channel)) => self.token(channel, delta, event.logprobs.0.0, None),
            ("response.output_item.added", _) => {
                let item = event.item.0.as_ref();
                match item.and_then(|item| item.name.0.as_deref()) {
                    Some(name) if !name.is_empty() => self.call_part(name, event, true),
                    _ => Reading::of(Channel::Empty),
                }
            }
            ("response.completed" | "response.incomplete", _) => self.end(event),
            ("response.failed" | "error", _) => self.failure(kind, data),
            ("response.created" | "response.queued" | "response.in_progress", _) => Reading {
                response_id: self.response_id(event),
                ..Reading::of(Channel::Role)
            },
            (kind, _) if kind.starts_with("response.") => Reading::of(Channel::Empty),
            _ if event.error.0.0 => self.failure(kind, data),
            _ => Reading::of(Channel::Other),
        }
    }

    fn response_id(&mut self, event: &AnyEvent<'_>) -> Option<String> {
        let id = event.response.0.as_ref()?.id.0.as_deref()?;
        let id = failure::cleaned(id, &self.secrets);
        let is_new = !id.is_empty() && !self.has_response_id;
        self.has_response_id |= is_new;
        is_new.then_some(id)
    }

    /// An event with tokens; `call` says which call of a tool it belongs to, and whether it names it.
    fn token(
        &mut self,
        channel: Channel,
        text: &str,
        logprobs: Option<u32>,
        call: Option<(usize, bool)>,
    ) -> Reading {
        let logprobs = logprobs.filter(|count| *count > 0);
        let tokens = self.meter.take(true, None, logprobs);
        let call = call.filter(|_| self.keep_text);
        let tools = call.map(|(call, is_name)| ToolPart {
            call,
            is_name,
            at: 0..text.len(),
        });
        Reading {
            has_choices: true,
            tokens: tokens.map(|(tokens, _)| tokens),
            tokens_source: tokens.map(|(_, source)| source),
            text: self.keep_text.then(|| text.to_owned()),
            tools: tools.into_iter().collect(),
            ..Reading::of(channel)
        }
    }

    fn call_part(&mut self, text: &str, event: &AnyEvent<'_>, is_name: bool) -> Reading {
        let index = event.output_index.0.unwrap_or_default();
        let known = self.calls.iter().position(|known| *known == index);
        let call = known.unwrap_or_else(|| {
            if self.calls.len() < MAX_CALLS {
                self.calls.push(index);
            }
            self.calls.len() - 1
        });
        self.token(Channel::Tool, text, None, Some((call, is_name)))
    }

    fn end(&mut self, event: &AnyEvent<'_>) -> Reading {
        let answer = event.response.0.as_ref();
        let usage = answer.and_then(|answer| answer.usage.0?.usage());
        let counted = usage.and_then(|usage| usage.output);
        self.meter.take(false, counted, None);
        let reason =
            answer.and_then(|answer| answer.incomplete_details.0.as_ref()?.reason.0.as_deref());
        let finish_reason = match reason {
            Some("max_output_tokens") => Cow::Borrowed("length"),
            Some(other) => Cow::Owned(failure::cleaned(other, &self.secrets)),
            None if self.calls.is_empty() => Cow::Borrowed("stop"),
            None => Cow::Borrowed("tool_calls"),
        };
        Reading {
            usage,
            finish_reason: Some(finish_reason.into_owned()),
            response_id: self.response_id(event),
            is_done: true,
            ..Reading::of(Channel::Finish)
        }
    }

    /// A failure: of the answer, or of the stream.
    fn failure(&self, kind: &str, data: &[u8]) -> Reading {
        Reading {
            error: Some(failure::stream_error(data, &self.secrets)),
            is_done: kind == "response.failed",
            ..Reading::of(Channel::Error)
        }
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::flat::{asked, read_in_every_way};
    use super::*;

    #[test]
    fn a_request_has_its_input_and_limit_by_their_names_here() {
        let (body, limit) = asked(&RESPONSES, Some(8), &json!({}));
        assert_snapshot!(body, @r#"{"model":"m","input":"hi","max_output_tokens":8,"temperature":0.5,"ignore_eos":true,"stream":true}"#);
        assert_eq!(limit, Some(8));
        let (body, limit) = asked(
            &RESPONSES,
            Some(8),
            &json!({ "max_output_tokens": 3, "store": false }),
        );
        assert_snapshot!(body, @r#"{"model":"m","input":"hi","max_output_tokens":3,"temperature":0.5,"ignore_eos":true,"stream":true,"store":false}"#);
        assert_eq!(limit, Some(3));
    }

    /// A stream of these events.
    fn stream(events: &[Value]) -> String {
        let event = |event: &Value| {
            format!(
                "event: {}\ndata: {event}\n\n",
                event["type"].as_str().unwrap()
            )
        };
        events.iter().map(event).collect()
    }

    #[test]
    fn deltas_bear_tokens_and_what_repeats_them_does_not() {
        let (events, tally) = read_in_every_way(
            &RESPONSES,
            &stream(&[
                json!({"type":"response.created","response":{"id":"resp_1","status":"in_progress","usage":null}}),
                json!({"type":"response.in_progress","response":{"id":"resp_1"}}),
                json!({"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs"}}),
                json!({"type":"response.reasoning_text.delta","output_index":0,"delta":"hm"}),
                json!({"type":"response.reasoning_text.done","output_index":0,"text":"hm"}),
                json!({"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","content":[{"text":"hm"}]}}),
                json!({"type":"response.content_part.added","output_index":1,"part":{"type":"output_text","text":""}}),
                json!({"type":"response.output_text.delta","output_index":1,"delta":" a","logprobs":[]}),
                json!({"type":"response.output_text.delta","output_index":1,"delta":" b c","logprobs":[{"token":" b"},{"token":" c"}]}),
                json!({"type":"response.output_text.done","output_index":1,"text":" a b c"}),
                json!({"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","name":"look","arguments":""}}),
                json!({"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"é\":1}"}),
                json!({"type":"response.function_call_arguments.done","output_index":2,"arguments":"{\"é\":1}"}),
                json!({"type":"response.completed","response":{"id":"resp_1","status":"completed","incomplete_details":null,"usage":{
                    "input_tokens":9,"input_tokens_details":{"cached_tokens":4},
                    "output_tokens":12,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":21}}}),
            ]),
        );
        assert_snapshot!(events, @r#"
        role id "resp_1"
        role
        empty
        reasoning 1 by Event text "hm"
        empty
        empty
        empty
        content 1 by Event text " a"
        content 2 by Ids text " b c"
        empty
        tool 1 by Event text "look" calls "[(0, true, 0..4)]"
        tool 1 by Event text "{\"é\":1}" calls "[(0, false, 0..8)]"
        empty
        finish usage 9/12/3/4 finish "tool_calls" done ""
        "#);
        assert_eq!(tally, TokenTally::default());
    }

    #[test]
    fn a_limit_ends_an_answer_with_either_of_two_types() {
        for kind in ["response.completed", "response.incomplete"] {
            let end = json!({"type": kind, "response": {"incomplete_details": {"reason": "max_output_tokens"}}});
            let (events, _) = read_in_every_way(&RESPONSES, &stream(&[end]));
            assert_eq!(events, "finish finish \"length\" done \"\"");
        }
    }

    #[test]
    fn failures_of_the_answer_and_of_the_stream_are_told() {
        let (events, _) = read_in_every_way(
            &RESPONSES,
            &(stream(&[
                json!({"type":"error","code":"server_error","message":"overloaded","param":null}),
                json!({"type":"response.failed","response":{"id":"r","error":{"code":"rate_limit_exceeded","message":"too many"}}}),
            ]) + "data: [DONE]\n\n"),
        );
        assert_snapshot!(events, @r#"
        error error "overloaded Some(\"server_error\")"
        error error "too many Some(\"rate_limit_exceeded\")" done ""
        done done ""
        "#);
        let (events, _) = read_in_every_way(
            &RESPONSES,
            "data: {\"error\":{\"message\":\"no\",\"code\":500}}\n\ndata: {\"choices\":[]}\n\ndata: [DONE]\n\n",
        );
        assert_snapshot!(events, @r#"
        error error "no Some(\"500\")"
        other
        done done ""
        "#);
    }
}
