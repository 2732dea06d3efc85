//! The stream of Text Generation Inference: a token an event.
//!
//! Special tokens, such as the one that ends a text, have a text that is no part of the answer. The
//! last event has the whole text once more, and the server's count; no event follows it. The protocol
//! is that of `router/src/server.rs` in `huggingface/text-generation-inference` 3.3.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::flat::{FlatReader, ReadObject, Said};
use super::forced::regex;
use super::framing::Framing;
use super::lenient::{Count, Lenient, Present, Text, parse, read_from_object};
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::Usage;
use super::request::{RequestSpec, limit_of, object_of, written_over};
use super::sampling::{SamplingFields, fields};

/// The protocol.
#[derive(Debug)]
pub(super) struct GenerateStream;

/// The one that there is.
pub(super) static GENERATE_STREAM: GenerateStream = GenerateStream;

/// The object of a request that has what is asked for beside the input.
const PARAMETERS: &str = "parameters";

/// The field in it that limits the output.
const LIMIT_FIELD: &str = "max_new_tokens";

/// The fields of sampling in it.
const SAMPLING: &[(&str, &str)] = &[
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("frequency_penalty", "frequency_penalty"),
    ("repetition_penalty", "repetition_penalty"),
];

impl Protocol for GenerateStream {
    fn name(&self) -> &'static str {
        "tgi"
    }

    fn about(&self) -> &'static str {
        "Text Generation Inference, its own stream"
    }

    fn endpoint(&self) -> &'static str {
        "/generate_stream"
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::OnDemand
    }

    fn models_endpoint(&self) -> &'static str {
        "/info"
    }

    fn first_model<'a>(&self, list: &'a Value) -> Option<&'a str> {
        list["model_id"].as_str()
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields {
            object: Some(PARAMETERS),
            names: SAMPLING,
        }
    }

    fn forced_output(&self, text: &str) -> Option<Map<String, Value>> {
        let grammar = json!({ "type": "regex", "value": regex(text) });
        fields([(PARAMETERS, json!({ "grammar": grammar }))])
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let fields = json!({ "inputs": spec.input.text(), PARAMETERS: parameters(spec) });
        written_over(fields, spec, &[PARAMETERS])
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        limit_of(&parameters(spec), LIMIT_FIELD)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(FlatReader::new(Tokens, self.end_mark(), keep_text))
    }
}

/// What is asked for beside the input. The name of the field for an exact length is that which
/// `vllm bench serve` sends.
fn parameters(spec: &RequestSpec<'_>) -> Map<String, Value> {
    let mut own = Map::new();
    if let Some(max_tokens) = spec.max_tokens {
        own.insert(LIMIT_FIELD.to_owned(), max_tokens.into());
    }
    if let Some(temperature) = spec.temperature.filter(|temperature| *temperature > 0.0) {
        // The server refuses a temperature of 0: without one it takes the likeliest token.
        own.insert("temperature".to_owned(), temperature.into());
        own.insert("do_sample".to_owned(), true.into());
    }
    if spec.ignore_eos {
        own.insert("ignore_eos_token".to_owned(), true.into());
    }
    own.insert("details".to_owned(), true.into());
    object_of(spec, PARAMETERS, own)
}

/// An event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Generated<'a> {
    #[serde(borrow)]
    token: Lenient<Option<Token<'a>>>,
    #[serde(borrow)]
    details: Lenient<Option<Details<'a>>>,
    /// The whole text, in the last event alone.
    #[serde(borrow)]
    generated_text: Text<'a>,
    error: Lenient<Present>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Token<'a> {
    id: Count,
    #[serde(borrow)]
    text: Text<'a>,
    special: Lenient<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details<'a> {
    #[serde(borrow)]
    finish_reason: Text<'a>,
    generated_tokens: Count,
    input_length: Count,
}

read_from_object!(Generated<'a>, Token<'a>, Details<'a>);

#[derive(Debug)]
struct Tokens;

impl ReadObject for Tokens {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let event = parse::<Option<Generated<'a>>>(data)?.unwrap_or_default();
        let is_known = event.token.0.is_some();
        let token = event.token.0.unwrap_or_default();
        let details = event.details.0.unwrap_or_default();
        let usage = Usage {
            input: details.input_length.0,
            output: details.generated_tokens.0,
            ..Usage::default()
        };
        let finish_reason = details.finish_reason.0.map(|reason| match reason.as_ref() {
            "eos_token" | "stop_sequence" => Cow::Borrowed("stop"),
            _ => reason,
        });
        Some(Said {
            text: token.text.0.filter(|_| !token.special.0),
            ids: token.id.0.map(|_| 1),
            usage: (usage != Usage::default()).then_some(usage),
            // A server that was not asked for details sends the text alone.
            is_done: event.generated_text.0.is_some(),
            is_known,
            finish_reason,
            is_error: event.error.0.0,
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
    fn what_is_asked_for_is_in_the_parameters_beside_those_of_the_user() {
        let (body, limit) = asked(&GENERATE_STREAM, Some(8), &json!({}));
        assert_snapshot!(
            body,
            @r#"{"inputs":"hi","parameters":{"max_new_tokens":8,"temperature":0.5,"do_sample":true,"ignore_eos_token":true,"details":true}}"#
        );
        assert_eq!(limit, Some(8));
        let own = json!({ "adapter_id": "a", PARAMETERS: { "max_new_tokens": 4, "top_k": 2 } });
        let (body, limit) = asked(&GENERATE_STREAM, None, &own);
        assert_snapshot!(
            body,
            @r#"{"inputs":"hi","parameters":{"details":true,"max_new_tokens":4,"top_k":2},"adapter_id":"a"}"#
        );
        assert_eq!(limit, Some(4));
    }

    #[test]
    fn special_tokens_and_the_whole_text_are_no_text_and_the_last_event_counts() {
        let (events, tally) = read_in_every_way(
            &GENERATE_STREAM,
            concat!(
                "data:{\"index\":1,\"token\":{\"id\":40,\"text\":\" a\",\"logprob\":-0.1,\"special\":false},\"generated_text\":null,\"details\":null}\n\n",
                "data:{\"index\":2,\"token\":{\"id\":41,\"text\":\"\",\"logprob\":-0.1,\"special\":false},\"generated_text\":null,\"details\":null}\n\n",
                "data:{\"index\":3,\"token\":{\"id\":42,\"text\":\"é\",\"logprob\":-0.1,\"special\":false},\"generated_text\":null,\"details\":null}\n\n",
                "data:{\"index\":4,\"token\":{\"id\":2,\"text\":\"</s>\",\"logprob\":-0.1,\"special\":true},\"generated_text\":\" aé\",",
                "\"details\":{\"finish_reason\":\"eos_token\",\"generated_tokens\":4,\"seed\":null,\"input_length\":7}}\n\n",
            ),
        );
        assert_snapshot!(events, @r#"
        content 1 by Ids text " a"
        empty
        content 2 by Ids text "é"
        finish usage 7/4/-/- finish "stop" done ""
        "#);
        assert_eq!(
            tally,
            TokenTally {
                by_ids: Some(4),
                after_last: Some(1)
            }
        );
    }

    #[test]
    fn an_error_is_told_with_its_kind_and_what_is_no_event_is_other() {
        let (events, _) = read_in_every_way(
            &GENERATE_STREAM,
            "data:{\"error\":\"out of memory\",\"error_type\":\"generation\"}\n\ndata:[1]\n\ndata:{\"x\":1}\n\ndata:{\n\n",
        );
        assert_snapshot!(events, @r#"
        error error "out of memory Some(\"generation\")"
        other
        other
        other broken ""
        "#);
    }
}
