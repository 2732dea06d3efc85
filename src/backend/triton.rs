//! The generate extension of Triton, by which TensorRT-LLM serves streams.
//!
//! Each event has the next part of the text as `text_output`. Nothing says that an answer is over
//! but the end of its body, and nothing counts its tokens. The fields are those that the `ensemble`
//! model of NVIDIA's `tensorrtllm_backend` takes.

use serde::Deserialize;
use serde_json::{Value, json};

use super::flat::{FlatReader, ReadObject, Said};
use super::framing::Framing;
use super::lenient::{Lenient, Present, Text, parse, read_from_object};
use super::protocol::{EventReader, ExactLength, Protocol};
use super::request::{RequestSpec, limited_by, written_over};
use super::sampling::SamplingFields;

/// The protocol.
#[derive(Debug)]
pub(super) struct GenerateStream;

/// The one that there is.
pub(super) static GENERATE_STREAM: GenerateStream = GenerateStream;

/// The field that limits the output.
const LIMIT_FIELD: &str = "max_tokens";

/// The fields of sampling.
const SAMPLING: &[(&str, &str)] = &[
    ("top_p", "top_p"),
    ("top_k", "top_k"),
    ("frequency_penalty", "frequency_penalty"),
    ("presence_penalty", "presence_penalty"),
    ("repetition_penalty", "repetition_penalty"),
];

impl Protocol for GenerateStream {
    fn name(&self) -> &'static str {
        "tensorrt-llm"
    }

    fn about(&self) -> &'static str {
        "TensorRT-LLM behind Triton, by its generate_stream"
    }

    fn endpoint(&self) -> &'static str {
        "/v2/models/ensemble/generate_stream"
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn ends_with_its_body(&self) -> bool {
        true
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::OnDemand
    }

    fn models_endpoint(&self) -> &'static str {
        "/v2/models/ensemble"
    }

    fn first_model<'a>(&self, list: &'a Value) -> Option<&'a str> {
        list["name"].as_str()
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields {
            object: None,
            names: SAMPLING,
        }
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let mut fields = json!({ "text_input": spec.input.text() });
        if let Some(max_tokens) = spec.max_tokens {
            fields[LIMIT_FIELD] = max_tokens.into();
            if spec.ignore_eos {
                fields["min_length"] = max_tokens.into();
            }
        }
        if let Some(temperature) = spec.temperature {
            fields["temperature"] = temperature.into();
        }
        fields["accumulate_tokens"] = true.into();
        fields["stream"] = true.into();
        written_over(fields, spec, &[])
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        limited_by(spec, LIMIT_FIELD)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(FlatReader::new(Outputs, self.end_mark(), keep_text))
    }
}

/// An event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Output<'a> {
    #[serde(borrow)]
    text_output: Text<'a>,
    #[serde(borrow)]
    model_name: Text<'a>,
    error: Lenient<Present>,
}

read_from_object!(Output<'a>);

#[derive(Debug)]
struct Outputs;

impl ReadObject for Outputs {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let event = parse::<Option<Output<'a>>>(data)?.unwrap_or_default();
        Some(Said {
            is_known: event.text_output.0.is_some() || event.model_name.0.is_some(),
            text: event.text_output.0,
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
    fn a_request_has_its_fields_at_the_top() {
        let (body, limit) = asked(&GENERATE_STREAM, Some(8), &json!({}));
        assert_snapshot!(body, @r#"{"text_input":"hi","max_tokens":8,"min_length":8,"temperature":0.5,"accumulate_tokens":true,"stream":true}"#);
        assert_eq!(limit, Some(8));
        let (body, limit) = asked(&GENERATE_STREAM, None, &json!({ "max_tokens": 3 }));
        assert_snapshot!(body, @r#"{"text_input":"hi","accumulate_tokens":true,"stream":true,"max_tokens":3}"#);
        assert_eq!(limit, Some(3));
    }

    #[test]
    fn texts_are_tokens_and_nothing_says_that_they_are_over() {
        let (events, tally) = read_in_every_way(
            &GENERATE_STREAM,
            concat!(
                "data: {\"model_name\":\"ensemble\",\"model_version\":\"1\",\"sequence_end\":false,\"text_output\":\" a\"}\n\n",
                "data: {\"model_name\":\"ensemble\",\"text_output\":\"\"}\n\n",
                "data: {\"model_name\":\"ensemble\",\"text_output\":\"é\"}\n\n",
                "data: {\"error\":\"no slot\"}\n\n",
            ),
        );
        assert_snapshot!(events, @r#"
        content 1 by Event text " a"
        empty
        content 1 by Event text "é"
        error error "no slot None"
        "#);
        assert_eq!(tally, TokenTally::default());
    }
}
