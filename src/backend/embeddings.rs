//! The embeddings of OpenAI, which vLLM, SGLang, llama.cpp and others serve too.
//!
//! The answer is one JSON object, without a token: what there is to measure is when it is whole.

use serde::Deserialize;
use serde_json::json;

use super::flat::{FlatReader, ReadObject, Said};
use super::framing::Framing;
use super::lenient::{Count, Length, Lenient, Present, parse, read_from_object};
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::Usage;
use super::request::{RequestSpec, written_over};
use super::sampling::SamplingFields;

/// The protocol.
#[derive(Debug)]
pub(super) struct Embeddings;

/// The one that there is.
pub(super) static EMBEDDINGS: Embeddings = Embeddings;

impl Protocol for Embeddings {
    fn name(&self) -> &'static str {
        "openai-embeddings"
    }

    fn about(&self) -> &'static str {
        "OpenAI embeddings: answers without tokens"
    }

    fn endpoint(&self) -> &'static str {
        "/v1/embeddings"
    }

    fn framing(&self) -> Framing {
        Framing::Unary
    }

    fn has_tokens(&self) -> bool {
        false
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::Never
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields::NONE
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let fields = json!({ "model": spec.model, "input": spec.input.text() });
        written_over(fields, spec, &[])
    }

    fn output_limit(&self, _spec: &RequestSpec<'_>) -> Option<u32> {
        None
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(FlatReader::new(Vectors, self.end_mark(), keep_text))
    }
}

/// The answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Answer {
    data: Lenient<Length>,
    usage: Lenient<Option<Counts>>,
    error: Lenient<Present>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    prompt_tokens: Count,
}

read_from_object!(Answer, Counts);

#[derive(Debug)]
struct Vectors;

impl ReadObject for Vectors {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let answer = parse::<Option<Answer>>(data)?.unwrap_or_default();
        let counts = answer.usage.0.unwrap_or_default();
        let usage = Usage {
            input: counts.prompt_tokens.0,
            ..Usage::default()
        };
        let has_vectors = answer.data.0.0.is_some_and(|vectors| vectors > 0);
        Some(Said {
            usage: (usage != Usage::default()).then_some(usage),
            finish_reason: has_vectors.then_some("stop".into()),
            is_error: answer.error.0.0,
            is_done: has_vectors,
            ..Said::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::flat::{asked, read_in_every_way};
    use super::*;

    #[test]
    fn a_request_has_its_input_and_no_limit() {
        let (body, limit) = asked(&EMBEDDINGS, Some(8), &json!({ "encoding_format": "float" }));
        assert_snapshot!(body, @r#"{"model":"m","input":"hi","encoding_format":"float"}"#);
        assert_eq!(limit, None);
    }

    #[test]
    fn an_answer_is_whole_when_it_has_vectors() {
        for (body, said) in [
            (
                r#"{"object":"list","data":[{"index":0,"embedding":[0.1,-2e-3]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#,
                r#"finish usage 3/-/-/- finish "stop" done """#,
            ),
            (r#"{"object":"list","data":[]}"#, "other"),
            (
                r#"{"error":{"message":"no","code":400}}"#,
                r#"error error "no Some(\"400\")""#,
            ),
        ] {
            assert_eq!(read_in_every_way(&EMBEDDINGS, body).0, said);
        }
    }
}
