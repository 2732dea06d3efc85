//! The body of a request: what the plan asks for, with the user's own fields on top.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value, json};

use super::error::BackendError;

/// What one request asks for.
#[derive(Debug, Clone, Copy)]
pub struct RequestSpec<'a> {
    /// Name of the model, as the server knows it.
    pub model: &'a str,
    /// What the server is to answer.
    pub input: RequestInput<'a>,
    /// Most output tokens; the server's own limit when `None`.
    pub max_tokens: Option<u32>,
    /// Asks for exactly `max_tokens`, where the server knows how.
    pub ignore_eos: bool,
    /// Sampling temperature; the server's own when `None`.
    pub temperature: Option<f64>,
    /// The user's fields: merged at the top level, and stronger than all of the above.
    pub extra_body: &'a Map<String, Value>,
}

/// Names of the field that limits the output: they mean the same, and servers differ in which one
/// they know.
const LIMIT_FIELDS: [&str; 2] = ["max_completion_tokens", "max_tokens"];

impl RequestSpec<'_> {
    pub(super) fn is_limited_by_user(&self) -> bool {
        LIMIT_FIELDS
            .iter()
            .any(|name| self.extra_body.contains_key(*name))
    }

    /// Returns the most output tokens that the request allows; `None` where it sets no limit.
    pub fn output_limit(&self) -> Option<u32> {
        if !self.is_limited_by_user() {
            return self.max_tokens;
        }
        let limits = LIMIT_FIELDS
            .iter()
            .filter_map(|name| self.extra_body.get(*name)?.as_u64());
        limits.min().and_then(|limit| u32::try_from(limit).ok())
    }
}

/// What a server is to answer.
#[derive(Debug, Clone, Copy)]
pub enum RequestInput<'a> {
    /// A prompt; in chat, the text of the one user message.
    Text(&'a str),
    /// The messages of a conversation, as they are; for completions, their texts.
    Messages(&'a [Value]),
    /// Something to hear; in chat, with a word of what is to be done with it.
    Audio(Audio<'a>),
}

/// A file of audio.
#[derive(Debug, Clone, Copy)]
pub struct Audio<'a> {
    /// Its name, with the ending that says what it is.
    pub name: &'a str,
    /// Its media type.
    pub media_type: &'static str,
    /// All of it.
    pub bytes: &'a [u8],
}

/// What a chat is asked to do with audio.
const TRANSCRIBE: &str = "Transcribe the audio.";

impl Audio<'_> {
    /// The content of a message that holds it, as OpenAI's chat has it.
    fn content(&self) -> Value {
        let format = self.name.rsplit('.').next().unwrap_or_default();
        let audio = json!({ "data": STANDARD.encode(self.bytes), "format": format });
        json!([
            { "type": "text", "text": TRANSCRIBE },
            { "type": "input_audio", "input_audio": audio },
        ])
    }
}

impl RequestInput<'_> {
    /// Returns the messages: of a prompt, the one that a user says it in.
    pub(super) fn messages(&self) -> Value {
        match self {
            Self::Text(text) => json!([{ "role": "user", "content": text }]),
            Self::Messages(messages) => Value::from(messages.to_vec()),
            Self::Audio(audio) => json!([{ "role": "user", "content": audio.content() }]),
        }
    }

    /// Returns the text: of messages, all their texts, a line break between two of them; of audio, none.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Messages(messages) => {
                let texts = messages
                    .iter()
                    .map(|message| content_text(&message["content"]));
                Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
            }
            Self::Audio(_) => Cow::Borrowed(""),
        }
    }
}

/// Returns the text of a message's content, which is a string or a list of parts.
pub(super) fn content_text(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
        }
        _ => Cow::Borrowed(""),
    }
}

/// Objects of a request that protocols have sampling in.
const OBJECTS: [&str; 3] = ["sampling_params", "parameters", "options"];

/// Names under which protocols have the prompt.
const PROMPTS: [&str; 5] = ["prompt", "text", "inputs", "text_input", "input_ids"];

const SEND_MORE_REQUESTS: &str = "send more requests instead";

/// Checks once, before a run, that the user's own fields leave one stream a request.
///
/// # Errors
///
/// [`BackendError::Refused`] for `n` or `best_of` other than 1, for a list of prompts, and for
/// `"stream": false`. One prompt as a list of token ids passes.
pub fn check_extra_body(extra_body: &Map<String, Value>) -> Result<(), BackendError> {
    let inner = OBJECTS.iter().filter_map(|name| extra_body.get(*name));
    let inner = inner.filter_map(Value::as_object);
    for object in inner.chain([extra_body]) {
        for (field, asks) in [("n", "several answers"), ("best_of", "several candidates")] {
            let value = object.get(field).unwrap_or(&Value::Null);
            if !value.is_null() && value.as_u64() != Some(1) {
                return Err(BackendError::Refused {
                    field,
                    asks,
                    remedy: SEND_MORE_REQUESTS,
                });
            }
        }
    }
    for field in PROMPTS {
        if let Some(Value::Array(items)) = extra_body.get(field)
            && !items.iter().all(Value::is_u64)
        {
            return Err(BackendError::Refused {
                field,
                asks: "a list of prompts",
                remedy: SEND_MORE_REQUESTS,
            });
        }
    }
    if let Some(stream) = extra_body.get("stream")
        && stream != &Value::Bool(true)
    {
        return Err(BackendError::Refused {
            field: "stream",
            asks: "an answer in one piece",
            remedy: "leave `stream` out",
        });
    }
    Ok(())
}

/// A JSON object whose entries give way to the user's.
pub(super) struct Overridable<'a, M> {
    pub(super) map: M,
    pub(super) extra_body: &'a Map<String, Value>,
}

impl<M: SerializeMap> Overridable<'_, M> {
    /// Writes an entry, unless the user gives one of that name.
    pub(super) fn entry<V: Serialize + ?Sized>(
        &mut self,
        name: &str,
        value: &V,
    ) -> Result<(), M::Error> {
        if self.extra_body.contains_key(name) {
            return Ok(());
        }
        self.map.serialize_entry(name, value)
    }

    /// Writes the user's entries, and ends the object.
    pub(super) fn end(mut self) -> Result<M::Ok, M::Error> {
        for (name, value) in self.extra_body {
            self.map.serialize_entry(name, value)?;
        }
        self.map.end()
    }
}

/// Returns the most output tokens that a request allows by a field at its top.
pub(super) fn limited_by(spec: &RequestSpec<'_>, field: &str) -> Option<u32> {
    match spec.extra_body.contains_key(field) {
        true => limit_of(spec.extra_body, field),
        false => spec.max_tokens,
    }
}

/// Returns the most output tokens that an object of a request allows by a field of it.
pub(super) fn limit_of(object: &Map<String, Value>, field: &str) -> Option<u32> {
    let limit = object.get(field)?.as_u64();
    limit.and_then(|limit| u32::try_from(limit).ok())
}

/// Returns the object `name` of a request: the plan's fields, and the user's own on top of them.
pub(super) fn object_of(
    spec: &RequestSpec<'_>,
    name: &str,
    mut plans: Map<String, Value>,
) -> Map<String, Value> {
    if let Some(Value::Object(own)) = spec.extra_body.get(name) {
        plans.extend(own.clone());
    }
    plans
}

/// Writes the fields of a request with the user's on top of them, but for the objects of these
/// names, in which they are already ([`object_of`]).
pub(super) fn written_over(mut body: Value, spec: &RequestSpec<'_>, objects: &[&str]) -> Vec<u8> {
    for (name, value) in spec.extra_body {
        let is_in_it = value.is_object() && objects.contains(&name.as_str());
        if !is_in_it {
            body[name] = value.clone();
        }
    }
    written(spec, &body)
}

/// A message of a conversation.
#[derive(Serialize)]
pub(super) struct Message<'a> {
    pub(super) role: &'static str,
    pub(super) content: &'a str,
}

/// Writes the body of a request as JSON.
pub(super) fn written(spec: &RequestSpec<'_>, body: &impl Serialize) -> Vec<u8> {
    let length = match spec.input {
        RequestInput::Text(text) => text.len(),
        RequestInput::Messages(_) | RequestInput::Audio(_) => 0,
    };
    let mut bytes = Vec::with_capacity(length + length / 8 + 256);
    serde_json::to_writer(&mut bytes, body)
        .expect("strings, numbers and JSON values can be written to memory");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extra(fields: Value) -> Map<String, Value> {
        match fields {
            Value::Object(fields) => fields,
            other => panic!("{other} is no object"),
        }
    }

    #[test]
    fn the_limit_is_the_one_that_is_sent() {
        let limit = |max_tokens, fields| {
            let extra_body = extra(fields);
            let spec = RequestSpec {
                model: "m",
                input: RequestInput::Text("p"),
                max_tokens,
                ignore_eos: false,
                temperature: None,
                extra_body: &extra_body,
            };
            spec.output_limit()
        };
        assert_eq!(limit(Some(16), json!({})), Some(16));
        assert_eq!(limit(None, json!({})), None);
        assert_eq!(limit(Some(16), json!({"max_tokens": 8})), Some(8));
        assert_eq!(limit(None, json!({"max_completion_tokens": 9})), Some(9));
        assert_eq!(limit(Some(16), json!({"max_tokens": null})), None);
    }

    #[test]
    fn refuses_by_name_what_is_not_one_stream() {
        for (fields, name) in [
            (json!({"n": 2}), "`n`"),
            (json!({"n": "2"}), "`n`"),
            (json!({"best_of": 3}), "`best_of`"),
            (json!({"prompt": ["a", "b"]}), "`prompt`"),
            (json!({"prompt": [[1, 2], [3]]}), "`prompt`"),
            (json!({"stream": false}), "`stream`"),
        ] {
            let error = check_extra_body(&extra(fields)).expect_err("must be refused");
            assert!(error.to_string().contains(name), "{error}");
            assert!(!error.hint().is_empty());
        }
    }

    #[test]
    fn accepts_what_is_one_stream() {
        for fields in [
            json!({}),
            json!({"n": 1, "best_of": null, "stream": true}),
            json!({"prompt": [1, 2, 3]}),
            json!({"prompt": "p", "temperature": 0}),
        ] {
            let checked = check_extra_body(&extra(fields.clone()));
            assert_eq!(checked, Ok(()), "{fields}");
        }
    }
}
