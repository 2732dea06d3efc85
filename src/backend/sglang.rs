//! The native stream of SGLang: each event has all of the text so far, and its count of tokens.
//!
//! A server that is started to stream increments sends the new text alone; which of the two it does
//! shows in the first event whose text does not begin with that of the one before. The protocol is
//! that of `python/sglang/srt/entrypoints/http_server.py` in `sgl-project/sglang` 0.5.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::MapAccess;
use serde_json::{Map, Value, json};

use super::flat::{FlatReader, GrowingText, ReadObject, Said};
use super::forced::regex;
use super::framing::Framing;
use super::lenient::{
    Count, FromJson, Length, Lenient, Present, Text, object, parse, read_from_object,
};
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::Usage;
use super::request::{RequestSpec, limit_of, object_of, written_over};
use super::sampling::{ALL, SamplingFields, fields};

/// The protocol.
#[derive(Debug)]
pub(super) struct Generate;

/// The one that there is.
pub(super) static GENERATE: Generate = Generate;

/// The object of a request that has what is asked for beside the prompt.
const PARAMETERS: &str = "sampling_params";

/// The field in it that limits the output.
const LIMIT_FIELD: &str = "max_new_tokens";

/// The data that ends a stream.
const END_MARK: &str = "[DONE]";

impl Protocol for Generate {
    fn name(&self) -> &'static str {
        "sglang"
    }

    fn about(&self) -> &'static str {
        "SGLang, its own stream"
    }

    fn endpoint(&self) -> &'static str {
        "/generate"
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn end_mark(&self) -> Option<&'static str> {
        Some(END_MARK)
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::Known
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields {
            object: Some(PARAMETERS),
            names: ALL,
        }
    }

    fn logprobs(&self, others: u32) -> Option<Map<String, Value>> {
        fields([
            ("return_logprob", true.into()),
            ("top_logprobs_num", others.into()),
        ])
    }

    fn forced_output(&self, text: &str) -> Option<Map<String, Value>> {
        fields([(PARAMETERS, json!({ "regex": regex(text) }))])
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let fields = json!({
            "text": spec.input.text(),
            PARAMETERS: parameters(spec),
            "stream": true,
        });
        written_over(fields, spec, &[PARAMETERS])
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        limit_of(&parameters(spec), LIMIT_FIELD)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(FlatReader::new(
            Snapshots::default(),
            self.end_mark(),
            keep_text,
        ))
    }
}

/// What is asked for beside the prompt.
fn parameters(spec: &RequestSpec<'_>) -> Map<String, Value> {
    let mut own = Map::new();
    if let Some(max_tokens) = spec.max_tokens {
        own.insert(LIMIT_FIELD.to_owned(), max_tokens.into());
    }
    if let Some(temperature) = spec.temperature {
        own.insert("temperature".to_owned(), temperature.into());
    }
    if spec.ignore_eos {
        own.insert("ignore_eos".to_owned(), true.into());
    }
    object_of(spec, PARAMETERS, own)
}

/// An event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Snapshot<'a> {
    #[serde(borrow)]
    text: Text<'a>,
    /// As many as tokens so far, where events have all of the text so far; else those of the event.
    output_ids: Lenient<Length>,
    #[serde(borrow)]
    meta_info: Lenient<Option<Meta<'a>>>,
    error: Lenient<Present>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta<'a> {
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    finish_reason: Lenient<Finish<'a>>,
    prompt_tokens: Count,
    completion_tokens: Count,
    cached_tokens: Count,
}

/// Why an answer ended: an object, or in older versions a word.
#[derive(Debug, Default)]
struct Finish<'a> {
    kind: Option<Cow<'a, str>>,
    matched: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct FinishObject<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    /// The stop string, or the id of the stop token.
    #[serde(borrow)]
    matched: Lenient<Option<Matched<'a>>>,
}

#[derive(Debug)]
struct Matched<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> FromJson<'de> for Option<Matched<'a>> {
    fn from_text(text: Cow<'de, str>) -> Self {
        Some(Matched(text))
    }

    fn from_whole(number: u64) -> Self {
        Some(Matched(Cow::Owned(number.to_string())))
    }
}

impl<'de: 'a, 'a> FromJson<'de> for Finish<'a> {
    fn from_text(text: Cow<'de, str>) -> Self {
        Self {
            kind: Some(text),
            matched: None,
        }
    }

    fn from_object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        let found: Option<FinishObject<'a>> = object(map)?;
        let found = found.unwrap_or_default();
        Ok(Self {
            kind: found.kind.0,
            matched: found.matched.0.map(|Matched(text)| text),
        })
    }
}

read_from_object!(Snapshot<'a>, Meta<'a>, FinishObject<'a>);

/// Reads events, each of which has all of the text so far.
#[derive(Debug, Default)]
struct Snapshots {
    text: GrowingText,
}

impl ReadObject for Snapshots {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let event = parse::<Option<Snapshot<'a>>>(data)?.unwrap_or_default();
        let is_known = event.meta_info.0.is_some();
        let meta = event.meta_info.0.unwrap_or_default();
        let usage = Usage {
            input: meta.prompt_tokens.0,
            output: meta.completion_tokens.0,
            reasoning: None,
            cached: meta.cached_tokens.0,
        };
        let counts = event.output_ids.0.0.zip(meta.completion_tokens.0);
        if counts.is_some_and(|(ids, tokens)| ids < tokens) {
            self.text.is_told_apart();
        }
        let finish = meta.finish_reason.0;
        let is_error = event.error.0.0 || finish.kind.as_deref() == Some("abort");
        Some(Said {
            text: event
                .text
                .0
                .filter(|_| is_known)
                .map(|text| self.text.what_is_new(text)),
            usage: (usage != Usage::default()).then_some(usage),
            finish_reason: finish.kind.filter(|_| !is_error),
            stop_reason: finish.matched,
            response_id: meta.id.0,
            is_known,
            is_error,
            ..Said::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::flat::{asked, read_in_every_way};
    use super::super::reading::TokenTally;
    use super::*;

    #[test]
    fn what_is_asked_for_is_in_the_sampling_beside_that_of_the_user() {
        let (body, limit) = asked(&GENERATE, Some(8), &json!({}));
        assert_snapshot!(body, @r#"{"text":"hi","sampling_params":{"max_new_tokens":8,"temperature":0.5,"ignore_eos":true},"stream":true}"#);
        assert_eq!(limit, Some(8));
        let own = json!({ "lora_path": "a", PARAMETERS: { "max_new_tokens": 4, "top_k": 2 } });
        let (body, limit) = asked(&GENERATE, None, &own);
        assert_snapshot!(body, @r#"{"text":"hi","sampling_params":{"max_new_tokens":4,"top_k":2},"stream":true,"lora_path":"a"}"#);
        assert_eq!(limit, Some(4));
    }

    /// An event with that text and count of output tokens.
    fn event(text: &str, n: u32, finish: &Value) -> String {
        let meta = json!({
            "id": "a1", "finish_reason": finish, "prompt_tokens": 5, "completion_tokens": n,
            "cached_tokens": 2,
        });
        format!("data: {}\n\n", json!({ "text": text, "meta_info": meta }))
    }

    #[test]
    fn what_grew_is_new_and_the_counts_tell_the_tokens() {
        let none = Value::Null;
        let end = json!({ "type": "stop", "matched": 2 });
        let body = [
            event(" a", 1, &none),
            event(" a", 2, &none),
            event(" aé b", 4, &none),
            event(" aé b", 5, &end),
            "data: [DONE]\n\n".to_owned(),
        ];
        let (events, tally) = read_in_every_way(&GENERATE, &body.concat());
        assert_snapshot!(events, @r#"
        content 1 by Usage usage 5/1/-/2 text " a" id "a1"
        usage usage 5/2/-/2
        content 3 by Usage usage 5/4/-/2 text "é b"
        finish usage 5/5/-/2 finish "stop" stop "2"
        done done ""
        "#);
        assert_eq!(
            tally,
            TokenTally {
                by_ids: None,
                after_last: Some(1)
            }
        );
    }

    #[test]
    fn a_server_that_streams_increments_is_understood() {
        let none = Value::Null;
        let end = json!({ "type": "length", "length": 3 });
        let body = [
            event("a", 1, &none),
            event("b", 2, &none),
            event("b", 3, &end),
        ];
        let (events, _) = read_in_every_way(&GENERATE, &body.concat());
        assert_snapshot!(events, @r#"
        content 1 by Usage usage 5/1/-/2 text "a" id "a1"
        content 1 by Usage usage 5/2/-/2 text "b"
        content 1 by Usage usage 5/3/-/2 text "b" finish "length"
        "#);
    }

    #[test]
    fn an_abort_and_an_error_are_failures() {
        let abort = json!({ "type": "abort", "message": "Aborted" });
        let body = event(" a", 1, &abort) + "data: {\"error\":{\"message\":\"too long\"}}\n\n";
        let (events, _) = read_in_every_way(&GENERATE, &body);
        assert_snapshot!(events, @r#"
        content 1 by Usage usage 5/1/-/2 text " a" id "a1" error "Aborted None"
        error error "too long None"
        "#);
    }
}
