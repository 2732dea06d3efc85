//! The bytes of an answer: everything that its events have in common is made once.
//!
//! A server that serialises JSON for every token spends more on that than on sending it. Here an
//! event is a prefix, a text that needs no escape, and a suffix.

use bytes::{Bytes, BytesMut};

use super::engine::Finish;
use super::stamp::write_decimal;

/// Which of the two endpoints answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completions,
}

/// When a stream says how many tokens there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UsageEvents {
    /// Never.
    None,
    /// In an event of its own after the last token.
    Last,
    /// In every event, and in that last one.
    Every,
}

/// What an answer is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity<'a> {
    /// Endpoint that answers.
    pub(super) api: Api,
    /// Number of the request.
    pub(super) request: u64,
    /// Name of the model, as the request had it.
    pub(super) model: &'a str,
    /// Seconds since 1970.
    pub(super) created_s: i64,
}

impl Identity<'_> {
    /// The `id` of the answer.
    pub(super) fn response_id(&self) -> String {
        let prefix = match self.api {
            Api::Chat => "chatcmpl",
            Api::Completions => "cmpl",
        };
        format!("{prefix}-simulated-{}", self.request)
    }

    /// The fields that every object of the answer starts with, after its brace.
    fn head(&self, object: &str) -> String {
        let id = self.response_id();
        let model = serde_json::Value::from(self.model);
        let created_s = self.created_s;
        format!(r#""id":"{id}","object":"{object}","created":{created_s},"model":{model},"#)
    }
}

const DONE: &[u8] = b"data: [DONE]\n\n";

/// The parts of a stream's events that do not change from token to token.
#[derive(Debug)]
pub(super) struct StreamTemplate {
    api: Api,
    head: String,
    usage: UsageEvents,
    input_tokens: u32,
    before_text: Vec<u8>,
}

/// What follows the text of a token, up to the usage.
const CHAT_AFTER_TEXT: &[u8] = br#""},"logprobs":null,"finish_reason":null}]"#;
const COMPLETIONS_AFTER_TEXT: &[u8] =
    br#"","logprobs":null,"finish_reason":null,"stop_reason":null}]"#;

impl StreamTemplate {
    pub(super) fn new(identity: &Identity<'_>, usage: UsageEvents, input_tokens: u32) -> Self {
        let (object, field) = match identity.api {
            Api::Chat => ("chat.completion.chunk", r#""delta":{"content":""#),
            Api::Completions => ("text_completion", r#""text":""#),
        };
        let head = identity.head(object);
        let before_text = format!(r#"data: {{{head}"choices":[{{"index":0,{field}"#).into_bytes();
        Self {
            api: identity.api,
            head,
            usage,
            input_tokens,
            before_text,
        }
    }

    /// The event that names the role, which only chats have.
    pub(super) fn role(&self) -> Option<Bytes> {
        if self.api == Api::Completions {
            return None;
        }
        let mut out = BytesMut::new();
        let delta = r#"{"role":"assistant","content":""}"#;
        self.write_choice(
            &mut out,
            &format!(r#""delta":{delta},"logprobs":null"#),
            None,
        );
        self.write_end(&mut out, 0);
        Some(out.freeze())
    }

    /// Appends the event of one token, whose text `write_text` writes.
    pub(super) fn write_token(
        &self,
        out: &mut BytesMut,
        output_tokens: u32,
        write_text: impl FnOnce(&mut BytesMut),
    ) {
        out.extend_from_slice(&self.before_text);
        write_text(out);
        out.extend_from_slice(match self.api {
            Api::Chat => CHAT_AFTER_TEXT,
            Api::Completions => COMPLETIONS_AFTER_TEXT,
        });
        self.write_end(out, output_tokens);
    }

    /// The event with the reason of the end.
    pub(super) fn finish(&self, finish: Finish, output_tokens: u32) -> Bytes {
        let mut out = BytesMut::new();
        let fields = match self.api {
            Api::Chat => r#""delta":{},"logprobs":null"#,
            Api::Completions => r#""text":"","logprobs":null"#,
        };
        self.write_choice(&mut out, fields, Some(finish));
        self.write_end(&mut out, output_tokens);
        out.freeze()
    }

    /// The event that carries the usage alone, where it was asked for.
    pub(super) fn usage(&self, output_tokens: u32) -> Option<Bytes> {
        if self.usage == UsageEvents::None {
            return None;
        }
        let mut out = BytesMut::new();
        let head = &self.head;
        out.extend_from_slice(format!(r#"data: {{{head}"choices":[]"#).as_bytes());
        write_usage(&mut out, self.input_tokens, output_tokens);
        out.extend_from_slice(b"}\n\n");
        Some(out.freeze())
    }

    /// The end mark.
    pub(super) fn done() -> Bytes {
        Bytes::from_static(DONE)
    }

    fn write_choice(&self, out: &mut BytesMut, fields: &str, finish: Option<Finish>) {
        let head = &self.head;
        let reason = finish.map_or_else(
            || "null".to_owned(),
            |finish| format!("\"{}\"", finish.as_str()),
        );
        out.extend_from_slice(
            format!(r#"data: {{{head}"choices":[{{"index":0,{fields},"finish_reason":{reason}}}]"#)
                .as_bytes(),
        );
    }

    fn write_end(&self, out: &mut BytesMut, output_tokens: u32) {
        if self.usage == UsageEvents::Every {
            write_usage(out, self.input_tokens, output_tokens);
        }
        out.extend_from_slice(b"}\n\n");
    }
}

/// Renders the answer to a request that does not stream.
pub(super) fn whole_answer(
    identity: &Identity<'_>,
    text: &str,
    finish: Finish,
    input_tokens: u32,
    output_tokens: u32,
) -> Bytes {
    let (object, content) = match identity.api {
        Api::Chat => (
            "chat.completion",
            format!(r#""message":{{"role":"assistant","content":"{text}"}}"#),
        ),
        Api::Completions => ("text_completion", format!(r#""text":"{text}""#)),
    };
    let head = identity.head(object);
    let reason = finish.as_str();
    let mut out = BytesMut::new();
    out.extend_from_slice(
        format!(
            r#"{{{head}"choices":[{{"index":0,{content},"logprobs":null,"finish_reason":"{reason}"}}]"#
        )
        .as_bytes(),
    );
    write_usage(&mut out, input_tokens, output_tokens);
    out.extend_from_slice(b"}");
    out.freeze()
}

fn write_usage(out: &mut BytesMut, input_tokens: u32, output_tokens: u32) {
    let (input, output) = (i64::from(input_tokens), i64::from(output_tokens));
    out.extend_from_slice(br#","usage":{"prompt_tokens":"#);
    write_decimal(out, input);
    out.extend_from_slice(br#","total_tokens":"#);
    write_decimal(out, input + output);
    out.extend_from_slice(br#","completion_tokens":"#);
    write_decimal(out, output);
    out.extend_from_slice(b"}");
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const CHAT: Identity<'_> = Identity {
        api: Api::Chat,
        request: 7,
        model: "a \"quoted\" model",
        created_s: 1_700_000_000,
    };

    fn object(event: &[u8]) -> Value {
        let text = std::str::from_utf8(event).unwrap();
        let line = text
            .strip_prefix("data: ")
            .unwrap()
            .strip_suffix("\n\n")
            .unwrap();
        serde_json::from_str(line).unwrap()
    }

    fn token(template: &StreamTemplate, output_tokens: u32) -> Value {
        let mut out = BytesMut::new();
        template.write_token(&mut out, output_tokens, |out| {
            out.extend_from_slice(b" water");
        });
        object(&out)
    }

    #[test]
    fn chat_events_are_json_in_the_shape_of_the_api() {
        let template = StreamTemplate::new(&CHAT, UsageEvents::Last, 5);
        let role = object(&template.role().unwrap());
        assert_eq!(role["choices"][0]["delta"]["role"], "assistant");
        assert_eq!(role["model"], "a \"quoted\" model");
        let token = token(&template, 1);
        assert_eq!(token["id"], "chatcmpl-simulated-7");
        assert_eq!(token["object"], "chat.completion.chunk");
        assert_eq!(token["choices"][0]["delta"], json!({"content": " water"}));
        assert_eq!(token["choices"][0]["finish_reason"], Value::Null);
        assert_eq!(token.get("usage"), None);
        let finish = object(&template.finish(Finish::Stop, 9));
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
        let usage = object(&template.usage(9).unwrap());
        assert_eq!(usage["choices"], json!([]));
        let counts = json!({"prompt_tokens": 5, "total_tokens": 14, "completion_tokens": 9});
        assert_eq!(usage["usage"], counts);
    }

    #[test]
    fn completion_events_have_text_and_no_role() {
        let identity = Identity {
            api: Api::Completions,
            ..CHAT
        };
        let template = StreamTemplate::new(&identity, UsageEvents::Every, 5);
        assert_eq!(template.role(), None);
        let token = token(&template, 3);
        assert_eq!(token["object"], "text_completion");
        assert_eq!(token["choices"][0]["text"], " water");
        assert_eq!(token["usage"]["completion_tokens"], 3);
        let finish = object(&template.finish(Finish::Length, 3));
        assert_eq!(finish["choices"][0]["text"], "");
        let silent = StreamTemplate::new(&identity, UsageEvents::None, 5);
        assert_eq!(silent.usage(3), None);
    }

    #[test]
    fn whole_answers_are_json_too() {
        let body = whole_answer(&CHAT, " all of it", Finish::Length, 4, 3);
        let answer: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(answer["choices"][0]["message"]["content"], " all of it");
        assert_eq!(answer["usage"]["total_tokens"], 7);
    }
}
