//! Transcriptions and translations of OpenAI, which vLLM and others serve too: audio goes up as a form,
//! its text comes back as a stream.
//!
//! OpenAI's events are named (`transcript.text.delta`, `transcript.text.done`), those of vLLM are the
//! chunks of a chat. What translates has another path (`--endpoint /v1/audio/translations`).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::flat::{FlatReader, ReadObject, Said};
use super::framing::Framing;
use super::lenient::{Count, Length, Lenient, List, Present, Text, parse, read_from_object};
use super::protocol::{EventReader, ExactLength, Inputs, Protocol, Remedy};
use super::reading::Usage;
use super::request::{RequestInput, RequestSpec, limited_by};
use super::sampling::SamplingFields;

/// The protocol.
#[derive(Debug)]
pub(super) struct Transcriptions;

/// The one that there is.
pub(super) static AUDIO: Transcriptions = Transcriptions;

/// What stands between the parts of a form: 128 bits that nobody's audio has by chance.
const BOUNDARY: &str = "tokentape-6f1a0c52b7e94d83a5d21c9e7f30b468";

/// The media type of a form with that boundary.
const FORM: &str = "multipart/form-data; boundary=tokentape-6f1a0c52b7e94d83a5d21c9e7f30b468";

/// The field that limits the output, of vLLM.
const LIMIT_FIELD: &str = "max_completion_tokens";

/// The field that asks vLLM for usage.
const USAGE_FIELD: &str = "stream_include_usage";

/// The field that asks it for usage in every event, where it is asked for any.
const RUNNING_USAGE_FIELD: &str = "stream_continuous_usage_stats";

impl Protocol for Transcriptions {
    fn name(&self) -> &'static str {
        "openai-audio"
    }

    fn about(&self) -> &'static str {
        "OpenAI transcriptions of audio, and translations (--endpoint /v1/audio/translations)"
    }

    fn endpoint(&self) -> &'static str {
        "/v1/audio/transcriptions"
    }

    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[("content-type", FORM)]
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn end_mark(&self) -> Option<&'static str> {
        Some("[DONE]")
    }

    fn inputs(&self) -> Inputs {
        Inputs::Audio
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::Never
    }

    fn refusable_fields(&self) -> &'static [(&'static str, Remedy)] {
        &[
            (
                LIMIT_FIELD,
                Remedy::Do(
                    "leave out `--audio-output-len`: the server does not know `max_completion_tokens`",
                ),
            ),
            (USAGE_FIELD, Remedy::LeaveOut),
            (RUNNING_USAGE_FIELD, Remedy::LeaveOut),
        ]
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields::OF_BODY
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let mut form = Form::default();
        if let RequestInput::Audio(audio) = spec.input {
            form.file(audio.name, audio.media_type, audio.bytes);
        }
        let limit = spec.max_tokens.map(Value::from);
        let temperature = spec.temperature.map(Value::from);
        let users = spec.extra_body.get(USAGE_FIELD);
        let asks_for_usage = users.is_none_or(|value| *value == true);
        let own = [
            ("model", Some(Value::from(spec.model))),
            ("stream", Some(true.into())),
            (USAGE_FIELD, Some(true.into())),
            (RUNNING_USAGE_FIELD, asks_for_usage.then(|| true.into())),
            (LIMIT_FIELD, limit),
            ("temperature", temperature),
        ];
        for (name, value) in own {
            if let Some(value) = value.filter(|_| !spec.extra_body.contains_key(name)) {
                form.field(name, &value);
            }
        }
        for (name, value) in spec.extra_body {
            form.field(name, value);
        }
        form.end()
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        limited_by(spec, LIMIT_FIELD)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(FlatReader::new(Transcript, self.end_mark(), keep_text))
    }
}

/// A form as it is sent (RFC 7578).
#[derive(Debug, Default)]
struct Form(Vec<u8>);

impl Form {
    /// Adds a field, unless its value is null; an element of a list is a field of its own.
    fn field(&mut self, name: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::String(text) => self.part(name, "", text.as_bytes()),
            Value::Array(elements) => elements.iter().for_each(|one| self.field(name, one)),
            other => self.part(name, "", other.to_string().as_bytes()),
        }
    }

    fn file(&mut self, name: &str, media_type: &str, bytes: &[u8]) {
        self.0.reserve(bytes.len() + 1_024);
        let more = format!(
            "; filename=\"{}\"\r\ncontent-type: {media_type}",
            quoted(name)
        );
        self.part("file", &more, bytes);
    }

    fn part(&mut self, name: &str, more: &str, bytes: &[u8]) {
        let name = quoted(name);
        let head = format!(
            "--{BOUNDARY}\r\ncontent-disposition: form-data; name=\"{name}\"{more}\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(bytes);
        self.0.extend_from_slice(b"\r\n");
    }

    fn end(mut self) -> Vec<u8> {
        self.0
            .extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        self.0
    }
}

/// A name in quotes, without what would end it.
fn quoted(name: &str) -> Cow<'_, str> {
    let ends = |c: char| c == '"' || c.is_control();
    match name.contains(ends) {
        true => Cow::Owned(name.replace(ends, "_")),
        false => Cow::Borrowed(name),
    }
}

/// An event.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Told<'a> {
    /// Of OpenAI.
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    delta: Text<'a>,
    logprobs: Lenient<Length>,
    /// Of vLLM.
    #[serde(borrow)]
    object: Text<'a>,
    #[serde(borrow)]
    id: Text<'a>,
    #[serde(borrow)]
    choices: Lenient<List<Choice<'a>>>,
    /// Of both, in the words of either.
    usage: Lenient<Option<Counts>>,
    error: Lenient<Present>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Lenient<Option<Delta<'a>>>,
    #[serde(borrow)]
    finish_reason: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Delta<'a> {
    #[serde(borrow)]
    content: Text<'a>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Counts {
    input_tokens: Count,
    output_tokens: Count,
    prompt_tokens: Count,
    completion_tokens: Count,
}

read_from_object!(Told<'a>, Choice<'a>, Delta<'a>, Counts);

#[derive(Debug)]
struct Transcript;

impl ReadObject for Transcript {
    fn read<'a>(&mut self, data: &'a [u8]) -> Option<Said<'a>> {
        let told = parse::<Option<Told<'a>>>(data)?.unwrap_or_default();
        let counts = told.usage.0.unwrap_or_default();
        let usage = Usage {
            input: counts.input_tokens.0.or(counts.prompt_tokens.0),
            output: counts.output_tokens.0.or(counts.completion_tokens.0),
            ..Usage::default()
        };
        let kind = told.kind.0.as_deref().unwrap_or_default();
        let mut said = Said {
            usage: (usage != Usage::default()).then_some(usage),
            // Parts of a transcript have ids too.
            response_id: told.id.0.filter(|_| told.object.0.is_some()),
            is_error: told.error.0.0 || kind == "error",
            is_known: kind.starts_with("transcript.")
                || told
                    .object
                    .0
                    .is_some_and(|object| object.ends_with(".chunk")),
            ..Said::default()
        };
        match kind {
            "transcript.text.delta" => {
                said.text = told.delta.0;
                said.ids = told.logprobs.0.0.filter(|tokens| *tokens > 0);
            }
            // It has all of the text once more.
            "transcript.text.done" => said.finish_reason = Some("stop".into()),
            _ => {
                let choice = told.choices.0.0.into_iter().next().unwrap_or_default();
                said.text = choice.delta.0.and_then(|delta| delta.content.0);
                said.finish_reason = choice.finish_reason.0;
            }
        }
        Some(said)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::super::flat::read_in_every_way;
    use super::super::request::Audio;
    use super::*;

    fn body(max_tokens: Option<u32>, extra: &Value) -> (String, Option<u32>) {
        let extra_body = extra.as_object().cloned().unwrap_or_default();
        let spec = RequestSpec {
            model: "whisper",
            input: RequestInput::Audio(Audio {
                name: "a\"b.wav",
                media_type: "audio/wav",
                bytes: b"RIFF",
            }),
            max_tokens,
            ignore_eos: false,
            temperature: None,
            extra_body: &extra_body,
        };
        let body = String::from_utf8(AUDIO.body(&spec)).unwrap();
        let body = body.replace("\r\n", "\n").replace(BOUNDARY, "BOUNDARY");
        (body, AUDIO.output_limit(&spec))
    }

    #[test]
    fn a_request_is_a_form_with_the_file_and_the_users_fields_over_ours() {
        assert!(FORM.ends_with(BOUNDARY));
        let extra = json!({
            "language": "de", "stream_include_usage": null, "temperature": 0.2,
            "timestamp_granularities[]": ["word", "segment"],
        });
        let (body, limit) = body(Some(9), &extra);
        assert_eq!(limit, Some(9));
        assert_snapshot!(body, @r#"
        --BOUNDARY
        content-disposition: form-data; name="file"; filename="a_b.wav"
        content-type: audio/wav

        RIFF
        --BOUNDARY
        content-disposition: form-data; name="model"

        whisper
        --BOUNDARY
        content-disposition: form-data; name="stream"

        true
        --BOUNDARY
        content-disposition: form-data; name="max_completion_tokens"

        9
        --BOUNDARY
        content-disposition: form-data; name="language"

        de
        --BOUNDARY
        content-disposition: form-data; name="temperature"

        0.2
        --BOUNDARY
        content-disposition: form-data; name="timestamp_granularities[]"

        word
        --BOUNDARY
        content-disposition: form-data; name="timestamp_granularities[]"

        segment
        --BOUNDARY--
        "#);
    }

    #[test]
    fn usage_is_asked_for_in_every_event_unless_the_user_wants_none() {
        for (extra, fields) in [
            (json!({}), (true, true)),
            (json!({ "stream_include_usage": true }), (true, true)),
            (json!({ "stream_include_usage": null }), (false, false)),
            (
                json!({ "stream_continuous_usage_stats": null }),
                (true, false),
            ),
        ] {
            let (body, _) = body(None, &extra);
            let has = |name: &str| body.contains(&format!("name=\"{name}\"\n\ntrue\n"));
            assert_eq!(
                (has(USAGE_FIELD), has(RUNNING_USAGE_FIELD)),
                fields,
                "{extra}"
            );
        }
    }

    #[test]
    fn running_usage_places_the_tokens_of_each_chunk() {
        let chunk = |text: &str, tokens: u32| {
            let usage = json!({ "prompt_tokens": 5, "completion_tokens": tokens });
            let choice = json!({ "delta": { "content": text }, "finish_reason": null });
            let chunk =
                json!({ "object": "transcription.chunk", "choices": [choice], "usage": usage });
            format!("data: {chunk}\n\n")
        };
        let body = [chunk(" Say", 1), chunk(" cheese", 4)].concat();
        let (events, _) = read_in_every_way(&AUDIO, &body);
        assert_snapshot!(events, @r#"
        content 1 by Usage usage 5/1/-/- text " Say"
        content 3 by Usage usage 5/4/-/- text " cheese"
        "#);
    }

    #[test]
    fn openais_events_end_with_the_one_that_has_all_of_the_text() {
        let (events, _) = read_in_every_way(
            &AUDIO,
            concat!(
                "event: transcript.text.delta\ndata: {\"type\":\"transcript.text.delta\",\"delta\":\"Say\",\"logprobs\":[{\"token\":\"Say\",\"logprob\":-0.1}]}\n\n",
                "data: {\"type\":\"transcript.text.delta\",\"delta\":\" cheese\",\"logprobs\":[{},{}]}\n\n",
                "data: {\"type\":\"transcript.text.segment\",\"id\":\"seg_1\",\"text\":\"Say cheese\"}\n\n",
                "data: {\"type\":\"transcript.text.done\",\"text\":\"Say cheese\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"output_tokens\":3,\"total_tokens\":17}}\n\n",
            ),
        );
        assert_snapshot!(events, @r#"
        content 1 by Ids text "Say"
        content 2 by Ids text " cheese"
        empty
        finish usage 14/3/-/- finish "stop"
        "#);
    }

    #[test]
    fn vllms_chunks_are_read_as_those_of_a_chat() {
        let (events, _) = read_in_every_way(
            &AUDIO,
            concat!(
                "data: {\"id\":\"trsc-1\",\"object\":\"transcription.chunk\",\"created\":1,\"model\":\"w\",\"choices\":[{\"delta\":{\"content\":\" Say\"},\"finish_reason\":null,\"stop_reason\":null}]}\n\n",
                "data: {\"id\":\"trsc-1\",\"object\":\"transcription.chunk\",\"choices\":[{\"delta\":{\"content\":\"\"},\"finish_reason\":\"stop\"}]}\n\n",
                "data: {\"id\":\"trsc-1\",\"object\":\"transcription.chunk\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2,\"total_tokens\":7}}\n\n",
                "data: [DONE]\n\n",
            ),
        );
        assert_snapshot!(events, @r#"
        content 1 by Event text " Say" id "trsc-1"
        finish finish "stop"
        usage usage 5/2/-/-
        done done ""
        "#);
    }

    #[test]
    fn an_error_is_told() {
        let (events, _) = read_in_every_way(
            &AUDIO,
            "data: {\"error\":{\"message\":\"too long\",\"type\":\"BadRequestError\",\"code\":400}}\n\n",
        );
        assert_snapshot!(events, @r#"error error "too long Some(\"400\")""#);
    }
}
