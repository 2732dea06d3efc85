//! The native completion of llama.cpp's server: a token an event, with its id.
//!
//! The last event says `"stop": true` and has the server's own timings; no event follows it. The text
//! of a stop string is never sent, though its tokens are counted.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::flat::{FlatReader, ReadObject, Said};
use super::forced::gbnf;
use super::framing::Framing;
use super::lenient::{
    Count, FromJson, Length, Lenient, Number, Present, Text, parse, read_from_object,
};
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::Usage;
use super::request::{RequestSpec, limited_by, written_over};
use super::sampling::{OF_LLAMA, SamplingFields, fields};
use super::times;

/// The protocol.
#[derive(Debug)]
pub(super) struct Completion;

/// The one that there is.
pub(super) static COMPLETION: Completion = Completion;

/// The field that limits the output.
const LIMIT_FIELD: &str = "n_predict";

impl Protocol for Completion {
    fn name(&self) -> &'static str {
        "llama.cpp"
    }

    fn about(&self) -> &'static str {
        "llama.cpp's server, its own completion"
    }

    fn endpoint(&self) -> &'static str {
        "/completion"
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::Known
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields {
            object: None,
            names: OF_LLAMA,
        }
    }

    fn logprobs(&self, others: u32) -> Option<Map<String, Value>> {
        fields([("n_probs", others.into())])
    }

    fn token_ids(&self) -> Option<Map<String, Value>> {
        fields([("return_tokens", true.into())])
    }

    fn forced_output(&self, text: &str) -> Option<Map<String, Value>> {
        fields([("grammar", gbnf(text).into())])
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let mut fields = json!({ "prompt": spec.input.text() });
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
        Box::new(FlatReader::new(Tokens, self.end_mark(), keep_text))
    }
}

/// An event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Predicted<'a> {
    #[serde(borrow)]
    content: Text<'a>,
    tokens: Lenient<Length>,
    tokens_evaluated: Count,
    tokens_predicted: Count,
    stop: Lenient<Option<Stopped>>,
    #[serde(borrow)]
    stop_type: Text<'a>,
    #[serde(borrow)]
    stopping_word: Text<'a>,
    timings: Lenient<Option<Timings>>,
    error: Lenient<Present>,
}

/// Whether an answer is over.
#[derive(Debug)]
struct Stopped(bool);

impl FromJson<'_> for Option<Stopped> {
    fn from_truth(truth: bool) -> Self {
        Some(Stopped(truth))
    }
}

/// Its times, and how many tokens of the prompt it had in its cache.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Timings {
    cache_n: Count,
    prompt_ms: Number,
    predicted_ms: Number,
}

read_from_object!(Predicted<'a>, Timings);

#[derive(Debug)]
struct Tokens;

impl ReadObject for Tokens {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let event = parse::<Option<Predicted<'a>>>(data)?.unwrap_or_default();
        let timings = event.timings.0.unwrap_or_default();
        let is_done = matches!(event.stop.0, Some(Stopped(true)));
        let usage = Usage {
            input: event.tokens_evaluated.0,
            output: event.tokens_predicted.0,
            reasoning: None,
            cached: timings.cache_n.0,
        };
        let finish_reason = event
            .stop_type
            .0
            .filter(|_| is_done)
            .map(|kind| match kind.as_ref() {
                "limit" => Cow::Borrowed("length"),
                "eos" | "word" => Cow::Borrowed("stop"),
                _ => kind,
            });
        Some(Said {
            text: event.content.0,
            // A character of several tokens comes with the id of the last one alone.
            ids: event
                .tokens
                .0
                .0
                .filter(|ids| *ids > 0 && usage.output.is_none()),
            usage: (usage != Usage::default()).then_some(usage),
            finish_reason,
            stop_reason: event.stopping_word.0,
            is_known: event.stop.0.is_some(),
            times: times::Timings {
                prompt_ms: timings.prompt_ms,
                predicted_ms: timings.predicted_ms,
                ..times::Timings::default()
            }
            .times(),
            is_error: event.error.0.0,
            is_done,
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
        let (body, limit) = asked(&COMPLETION, Some(8), &json!({}));
        assert_snapshot!(body, @r#"{"prompt":"hi","n_predict":8,"temperature":0.5,"ignore_eos":true,"stream":true}"#);
        assert_eq!(limit, Some(8));
        // There is no limit, also where it is written as a number.
        let (body, limit) = asked(&COMPLETION, Some(8), &json!({ "n_predict": -1 }));
        assert_snapshot!(body, @r#"{"prompt":"hi","n_predict":-1,"temperature":0.5,"ignore_eos":true,"stream":true}"#);
        assert_eq!(limit, None);
    }

    #[test]
    fn ids_and_running_counts_tell_the_tokens_and_the_last_event_ends() {
        let (events, tally) = read_in_every_way(
            &COMPLETION,
            concat!(
                "data: {\"index\":0,\"content\":\" a\",\"tokens\":[5],\"stop\":false,\"id_slot\":-1,\"tokens_predicted\":1,\"tokens_evaluated\":7}\n\n",
                "data: {\"index\":0,\"content\":\"\",\"tokens\":[6],\"stop\":false,\"tokens_predicted\":2,\"tokens_evaluated\":7}\n\n",
                "data: {\"index\":0,\"content\":\"é\",\"tokens\":[7],\"stop\":false,\"tokens_predicted\":3,\"tokens_evaluated\":7}\n\n",
                "data: {\"index\":0,\"content\":\"\",\"tokens\":[],\"stop\":true,\"model\":\"m\",\"tokens_predicted\":4,\"tokens_evaluated\":7,",
                "\"generation_settings\":{\"n_predict\":4},\"prompt\":\"hi\",\"stop_type\":\"word\",\"stopping_word\":\"END\",\"truncated\":false,",
                "\"timings\":{\"cache_n\":3,\"prompt_n\":4,\"predicted_n\":4}}\n\n",
            ),
        );
        assert_snapshot!(events, @r#"
        content 1 by Usage usage 7/1/-/- text " a"
        usage usage 7/2/-/-
        content 2 by Usage usage 7/3/-/- text "é"
        finish usage 7/4/-/3 finish "stop" stop "END" done ""
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
    fn an_error_is_told() {
        let (events, _) = read_in_every_way(
            &COMPLETION,
            "data: {\"error\":{\"code\":500,\"message\":\"no\",\"type\":\"server_error\"}}\n\ndata: {\"x\":1}\n\n",
        );
        assert_snapshot!(events, @r#"
        error error "no Some(\"500\")"
        other
        "#);
    }
}
