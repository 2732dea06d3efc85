//! The generate extension of Triton, by which TensorRT-LLM serves streams.
//!
//! Each event has the next part of the text as `text_output`. Nothing says that an answer is over
//! but the end of its body, and nothing counts its tokens. The fields are those that the `ensemble`
//! model of NVIDIA's `tensorrtllm_backend` takes.
//!
//! The model `tensorrt_llm_bls` can be deployed with `accumulate_tokens`, a parameter of the model and
//! not of requests; each event then has all of the text so far. Only the texts tell.

use std::borrow::Cow;

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
        Box::new(FlatReader::new(
            Outputs::default(),
            self.end_mark(),
            keep_text,
        ))
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

/// Reads events, each of which has what is new of the text, or all of it so far.
#[derive(Debug, Default)]
struct Outputs {
    texts: Texts,
}

impl ReadObject for Outputs {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let event = parse::<Option<Output<'a>>>(data)?.unwrap_or_default();
        let is_known = event.text_output.0.is_some() || event.model_name.0.is_some();
        let text = event.text_output.0.filter(|text| !text.is_empty());
        let has_text = text.is_some();
        let text = text.and_then(|text| self.texts.what_is_new(text));
        Some(Said {
            is_known,
            is_held: has_text && text.is_none(),
            text,
            is_error: event.error.0.0,
            ..Said::default()
        })
    }
}

/// How often in a row a text has to be the one before with more behind it, for all of them to be the
/// text so far. A word begins with the one before it now and then; twice in a row is no chance.
const GROWTHS: usize = 2;

/// Whether the texts of an answer are parts of it or all of it so far, as they tell it.
#[derive(Debug)]
enum Texts {
    /// Neither is known.
    Open {
        /// The last text.
        last: String,
        /// Length of the text that the first of `held` began with.
        known: usize,
        /// Texts that began with the one before and went on, whose tokens were told and which were not.
        held: Vec<String>,
    },
    Parts,
    /// The text so far, without letters that are not whole yet.
    Whole(String),
}

impl Default for Texts {
    fn default() -> Self {
        Self::Open {
            last: String::new(),
            known: 0,
            held: Vec::new(),
        }
    }
}

impl Texts {
    /// Returns what the text of an event brings that was not told; `None` where that is not known yet.
    fn what_is_new<'a>(&mut self, text: Cow<'a, str>) -> Option<Cow<'a, str>> {
        match self {
            Self::Parts => Some(text),
            Self::Whole(so_far) => {
                // A tokenizer may also write the last words anew, with what came behind them.
                let known = common_prefix(so_far, &text);
                let new = whole_letters(&text).get(known..).unwrap_or_default();
                let new = Cow::Owned(new.to_owned());
                whole_letters(&text).clone_into(so_far);
                Some(new)
            }
            Self::Open { last, known, held } => {
                let before = whole_letters(last);
                let goes_on =
                    *last != *text && text.len() > before.len() && text.starts_with(before);
                if !before.is_empty() && goes_on {
                    if held.is_empty() {
                        *known = before.len();
                    }
                    if held.len() + 1 < GROWTHS {
                        *last = text.to_string();
                        held.push(text.into_owned());
                        return None;
                    }
                    let new = whole_letters(&text).get(*known..).unwrap_or_default();
                    let new = Cow::Owned(new.to_owned());
                    *self = Self::Whole(whole_letters(&text).to_owned());
                    return Some(new);
                }
                let is_open = held.is_empty() && (before.is_empty() || *last == *text);
                if is_open {
                    // It says nothing: a part may repeat the one before.
                    *last = text.to_string();
                    return Some(text);
                }
                let parts = held.concat();
                *self = Self::Parts;
                Some(match parts.as_str() {
                    "" => text,
                    parts => Cow::Owned(parts.to_owned() + &text),
                })
            }
        }
    }
}

/// A text without the replacement characters at its end: a letter whose tokens have not all come is
/// written so.
fn whole_letters(text: &str) -> &str {
    text.trim_end_matches(char::REPLACEMENT_CHARACTER)
}

/// Length in bytes of what two texts begin with alike.
fn common_prefix(one: &str, other: &str) -> usize {
    let alike = one.chars().zip(other.chars());
    alike
        .take_while(|(one, other)| one == other)
        .map(|(letter, _)| letter.len_utf8())
        .sum()
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

    /// The events of an answer with these texts.
    fn answer(texts: &[&str]) -> String {
        let event = |text: &&str| {
            let event = json!({ "model_name": "tensorrt_llm_bls", "text_output": text });
            format!("data: {event}\n\n")
        };
        texts.iter().map(event).collect()
    }

    #[test]
    fn texts_that_grow_are_told_once_and_each_event_has_its_token() {
        let texts = [
            " a",
            " a b",
            " a b c",
            " a b c",
            " a b c \u{fffd}",
            " a b c \u{e9}",
        ];
        let (events, _) = read_in_every_way(&GENERATE_STREAM, &answer(&texts));
        assert_snapshot!(events, @r#"
        content 1 by Event text " a"
        content 1 by Event
        content 1 by Event text " b c"
        empty
        content 1 by Event text " "
        content 1 by Event text "é"
        "#);
        // The tokenizer joins words.
        let texts = ["do", "do n", "do n 't", "don't go"];
        let (events, _) = read_in_every_way(&GENERATE_STREAM, &answer(&texts));
        assert_snapshot!(events, @r#"
        content 1 by Event text "do"
        content 1 by Event
        content 1 by Event text " n 't"
        content 1 by Event text "n't go"
        "#);
    }

    #[test]
    fn parts_that_repeat_or_begin_like_the_one_before_stay_parts() {
        for (texts, told) in [
            (&["ha", "ha", "ha", "ha"][..], &["ha", "ha", "ha", "ha"][..]),
            (&["\n", "\n\n", "a"], &["\n", "-", "\n\na"]),
            (&["a", "ab", "ab", "abc"], &["a", "-", "abab", "abc"]),
            (&["", "a", "", "b", "bc"], &["", "a", "", "b", "bc"]),
            (&["x", "x", "xy", "z"], &["x", "x", "-", "xyz"]),
        ] {
            let (events, _) = read_in_every_way(&GENERATE_STREAM, &answer(texts));
            let expected = told.iter().map(|text| match *text {
                "" => "empty".to_owned(),
                "-" => "content 1 by Event".to_owned(),
                text => format!("content 1 by Event text {text:?}"),
            });
            assert_eq!(events, expected.collect::<Vec<_>>().join("\n"));
        }
    }
}
