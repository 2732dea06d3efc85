//! The body of a request: what the plan asks for, with the user's own fields on top.

use std::borrow::Cow;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

use super::BackendKind;

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
    fn is_limited_by_user(&self) -> bool {
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
}

impl RequestInput<'_> {
    /// Returns the text: of messages, all their texts, a line break between two of them.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text),
            Self::Messages(messages) => {
                let texts = messages
                    .iter()
                    .map(|message| content_text(&message["content"]));
                Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
            }
        }
    }
}

/// Returns the text of a message's content, which is a string or a list of parts.
fn content_text(content: &Value) -> Cow<'_, str> {
    match content {
        Value::String(text) => Cow::Borrowed(text),
        Value::Array(parts) => {
            let texts = parts.iter().filter_map(|part| part["text"].as_str());
            Cow::Owned(texts.collect::<Vec<_>>().join("\n"))
        }
        _ => Cow::Borrowed(""),
    }
}

/// A request that can't be measured as one stream of tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// A field of the extra body asks for several answers, several prompts, or no stream.
    #[error("`{field}` in the extra body asks for {asks}, which can't be measured as one stream")]
    Refused {
        /// Name of the field.
        field: &'static str,
        /// What the field asks for.
        asks: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
}

impl BackendError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { remedy, .. } => remedy,
        }
    }
}

const SEND_MORE_REQUESTS: &str = "send more requests instead";

impl BackendKind {
    /// Checks once, before a run, that the user's own fields leave one stream a request.
    ///
    /// # Errors
    ///
    /// [`BackendError::Refused`] for `n` or `best_of` other than 1, for a list of prompts, and for
    /// `"stream": false`. One prompt as a list of token ids passes.
    pub fn check_extra_body(self, extra_body: &Map<String, Value>) -> Result<(), BackendError> {
        for (field, asks) in [("n", "several answers"), ("best_of", "several candidates")] {
            let value = extra_body.get(field).unwrap_or(&Value::Null);
            if !value.is_null() && value.as_u64() != Some(1) {
                return Err(BackendError::Refused {
                    field,
                    asks,
                    remedy: SEND_MORE_REQUESTS,
                });
            }
        }
        if let Some(Value::Array(items)) = extra_body.get("prompt")
            && !items.iter().all(Value::is_u64)
        {
            return Err(BackendError::Refused {
                field: "prompt",
                asks: "a list of prompts",
                remedy: SEND_MORE_REQUESTS,
            });
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

    /// Returns the JSON body of a streaming request that also asks for token usage.
    pub fn body(self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let length = match spec.input {
            RequestInput::Text(text) => text.len(),
            RequestInput::Messages(_) => 0,
        };
        let mut body = Vec::with_capacity(length + length / 8 + 256);
        serde_json::to_writer(&mut body, &Body { kind: self, spec })
            .expect("strings, numbers and JSON values can be written to memory");
        body
    }
}

struct Body<'a> {
    kind: BackendKind,
    spec: &'a RequestSpec<'a>,
}

#[derive(Serialize)]
struct Message<'a> {
    role: &'static str,
    content: &'a str,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continuous_usage_stats: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = self.spec;
        let mut body = Overridable {
            map: serializer.serialize_map(None)?,
            extra_body: spec.extra_body,
        };
        body.entry("model", spec.model)?;
        let limit_field = match self.kind {
            BackendKind::OpenaiChat | BackendKind::VllmChat => {
                match spec.input {
                    RequestInput::Text(content) => {
                        let message = Message {
                            role: "user",
                            content,
                        };
                        body.entry("messages", &[message])?;
                    }
                    RequestInput::Messages(messages) => body.entry("messages", messages)?,
                }
                "max_completion_tokens"
            }
            BackendKind::Openai | BackendKind::Vllm => {
                body.entry("prompt", &spec.input.text())?;
                "max_tokens"
            }
        };
        if let Some(max_tokens) = spec.max_tokens
            && !spec.is_limited_by_user()
        {
            body.entry(limit_field, &max_tokens)?;
        }
        if let Some(temperature) = spec.temperature {
            body.entry("temperature", &temperature)?;
        }
        if spec.ignore_eos {
            body.entry("ignore_eos", &true)?;
        }
        body.entry("stream", &true)?;
        let options = StreamOptions {
            include_usage: true,
            continuous_usage_stats: self.kind.asks_for_running_usage(),
        };
        body.entry("stream_options", &options)?;
        for (name, value) in spec.extra_body {
            body.map.serialize_entry(name, value)?;
        }
        body.map.end()
    }
}

/// A JSON object whose entries give way to the user's.
struct Overridable<'a, M> {
    map: M,
    extra_body: &'a Map<String, Value>,
}

impl<M: SerializeMap> Overridable<'_, M> {
    fn entry<V: Serialize + ?Sized>(&mut self, name: &str, value: &V) -> Result<(), M::Error> {
        if self.extra_body.contains_key(name) {
            return Ok(());
        }
        self.map.serialize_entry(name, value)
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn extra(fields: Value) -> Map<String, Value> {
        match fields {
            Value::Object(fields) => fields,
            other => panic!("{other} is no object"),
        }
    }

    fn body(kind: BackendKind, extra_body: &Map<String, Value>) -> String {
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Text("say \"hi\"\n"),
            max_tokens: Some(16),
            ignore_eos: true,
            temperature: Some(0.5),
            extra_body,
        };
        String::from_utf8(kind.body(&spec)).expect("JSON is UTF-8")
    }

    #[test]
    fn phrases_a_request_in_each_protocol() {
        let none = Map::new();
        assert_snapshot!(
            body(BackendKind::OpenaiChat, &none),
            @r#"{"model":"m","messages":[{"role":"user","content":"say \"hi\"\n"}],"max_completion_tokens":16,"temperature":0.5,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert_snapshot!(
            body(BackendKind::Vllm, &none),
            @r#"{"model":"m","prompt":"say \"hi\"\n","max_tokens":16,"temperature":0.5,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#
        );
        // Hosted services refuse an option that they don't know.
        for (plain, vllm) in [
            (BackendKind::Openai, BackendKind::Vllm),
            (BackendKind::OpenaiChat, BackendKind::VllmChat),
        ] {
            let asked = body(vllm, &none);
            let option = r#","continuous_usage_stats":true"#;
            assert_eq!(body(plain, &none), asked.replace(option, ""));
            assert!(asked.contains(option));
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
    fn sends_only_what_was_asked_for() {
        let none = Map::new();
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Text("p"),
            max_tokens: None,
            ignore_eos: false,
            temperature: None,
            extra_body: &none,
        };
        let body = BackendKind::Openai.body(&spec);
        assert_snapshot!(
            String::from_utf8(body).expect("JSON is UTF-8"),
            @r#"{"model":"m","prompt":"p","stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn lets_the_extra_body_win() {
        let extra = extra(json!({
            "max_tokens": 8, "model": "other", "top_k": 1,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true},
        }));
        assert_snapshot!(
            body(BackendKind::OpenaiChat, &extra),
            @r#"{"messages":[{"role":"user","content":"say \"hi\"\n"}],"temperature":0.5,"ignore_eos":true,"stream":true,"max_tokens":8,"model":"other","top_k":1,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#
        );
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
            let error = BackendKind::Vllm
                .check_extra_body(&extra(fields))
                .expect_err("must be refused");
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
            let checked = BackendKind::Vllm.check_extra_body(&extra(fields.clone()));
            assert_eq!(checked, Ok(()), "{fields}");
        }
    }

    #[test]
    fn names_the_protocols_as_the_field_knows_them() {
        use clap::ValueEnum;
        for (name, kind, endpoint) in [
            (
                "openai-chat",
                BackendKind::OpenaiChat,
                "/v1/chat/completions",
            ),
            ("openai", BackendKind::Openai, "/v1/completions"),
            ("vllm", BackendKind::Vllm, "/v1/completions"),
            ("vllm-chat", BackendKind::VllmChat, "/v1/chat/completions"),
        ] {
            assert_eq!(BackendKind::from_str(name, false), Ok(kind));
            assert_eq!(kind.default_endpoint(), endpoint);
        }
    }

    #[test]
    fn messages_are_sent_as_they_are_and_their_texts_where_there_are_none() {
        let none = Map::new();
        let messages: Vec<Value> = serde_json::from_str(
            r#"[{"role": "system", "content": "be"},
                {"role": "user", "content": [{"type": "text", "text": "brief"}, {"type": "image"}]}]"#,
        )
        .unwrap();
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Messages(&messages),
            max_tokens: None,
            ignore_eos: false,
            temperature: None,
            extra_body: &none,
        };
        let body: Value = serde_json::from_slice(&BackendKind::OpenaiChat.body(&spec)).unwrap();
        assert_eq!(body["messages"], Value::Array(messages.clone()));
        let body: Value = serde_json::from_slice(&BackendKind::Vllm.body(&spec)).unwrap();
        assert_eq!(body["prompt"], "be\nbrief");
    }
}
