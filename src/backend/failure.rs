//! What a response says that is not the stream which was asked for.

use serde_json::Value;

use super::framing::Framing;
use super::lenient;
use super::reading::StreamError;
use crate::secrets::Secrets;
use crate::visible::visible;

/// A server's words are kept up to this many characters.
const MESSAGE_CHARS: usize = 500;

/// An event is quoted up to this many characters.
const QUOTED_CHARS: usize = 80;

/// A response that succeeded by its status and is not what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotAStream {
    /// The server reports a failure under a status of success.
    Error(StreamError),
    /// The server answered in another way than it was asked to; the text says how.
    Unsupported(String),
}

/// Returns what the body of a failed response says, for people: the message where the body has one
/// in a form that is known, else the start of the body; empty when the body is. Secrets are masked.
pub fn error_message(body: &[u8], secrets: &Secrets) -> String {
    value_of(body)
        .and_then(|value| message_of(&value))
        .map_or_else(
            || cleaned(&String::from_utf8_lossy(body), secrets),
            |text| cleaned(&text, secrets),
        )
}

/// Quotes the start of an event on one line, with what does something other than be seen by its number.
/// Secrets are masked.
pub fn quoted(data: &[u8], secrets: &Secrets) -> String {
    // More than is shown: a secret is masked before it is cut.
    let start = data.get(..64 * QUOTED_CHARS).unwrap_or(data);
    let text = String::from_utf8_lossy(start);
    let text = secrets.mask(text.trim());
    let shown = visible(&text);
    let mut chars = shown.chars();
    let mut quoted: String = chars.by_ref().take(QUOTED_CHARS).collect();
    if chars.next().is_some() || start.len() < data.len() {
        quoted.push('…');
    }
    quoted
}

/// Size of what is read for a message, in bytes: its values take up to a hundred times the memory.
const MAX_READ_BYTES: usize = 256 << 10;

/// Reads JSON that may have a message.
fn value_of(text: &[u8]) -> Option<Value> {
    match text.len() <= MAX_READ_BYTES {
        true => lenient::any(text),
        false => None,
    }
}

/// Returns the error that a JSON object reports, under `error` or by itself. Secrets are masked.
pub(super) fn stream_error(object: &[u8], secrets: &Secrets) -> StreamError {
    let value = value_of(object).unwrap_or_default();
    let inner = value.get("response").and_then(|inner| inner.get("error"));
    let error = value
        .get("error")
        .or(inner)
        .filter(|error| error.is_object());
    StreamError {
        message: error_message(object, secrets),
        code: code_of(error.unwrap_or(&value), secrets),
    }
}

/// Says what the start of a body is that came with status 200, and not as the answer that was
/// expected. Secrets are masked.
pub fn read_unexpected(body: &[u8], expected: Framing, secrets: &Secrets) -> NotAStream {
    let expected = expected.described();
    let Some(value) = value_of(body) else {
        return NotAStream::Unsupported(describe_text(body, expected, secrets));
    };
    let is_error = value.get("error").is_some_and(|error| !error.is_null())
        || value.get("object").and_then(Value::as_str) == Some("error");
    if is_error {
        return NotAStream::Error(stream_error(body, secrets));
    }
    if value.get("choices").is_some() || value.get("done") == Some(&Value::Bool(true)) {
        return NotAStream::Unsupported(format!(
            "the server sent the whole answer as one JSON object instead of {expected}: \
             it ignores `\"stream\": true`"
        ));
    }
    let message = message_of(&value).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    NotAStream::Unsupported(format!(
        "the server sent JSON instead of {expected}: {}",
        cleaned(&message, secrets)
    ))
}

fn describe_text(body: &[u8], expected: &str, secrets: &Secrets) -> String {
    let text = String::from_utf8_lossy(body);
    let text = text.trim_start();
    if text.is_empty() {
        return format!("the server sent an empty body instead of {expected}");
    }
    let is_page = ["<!doctype", "<html"].iter().any(|start| {
        text.get(..start.len())
            .is_some_and(|begin| begin.eq_ignore_ascii_case(start))
    });
    if is_page {
        return format!(
            "the server sent an HTML page instead of {expected}: \
             check `--base-url` and `--endpoint`"
        );
    }
    format!(
        "the server sent text instead of {expected}: {}",
        cleaned(text, secrets)
    )
}

/// Finds the message in the error objects of OpenAI, vLLM, TGI, Ollama and FastAPI.
fn message_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => {
            let parts: Vec<String> = items.iter().filter_map(message_of).collect();
            parts.join("; ")
        }
        Value::Object(fields) => {
            let text = [
                "error",
                "message",
                "detail",
                "msg",
                "response",
                "meta_info",
                "finish_reason",
            ]
            .iter()
            .find_map(|name| message_of(fields.get(*name)?))?;
            match fields.get("loc").and_then(Value::as_array) {
                Some(location) => format!("{}: {text}", path_of(location)),
                None => text,
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// Writes where in the request a FastAPI server found the fault, as in `body.max_tokens`.
fn path_of(location: &[Value]) -> String {
    let steps: Vec<String> = location
        .iter()
        .map(|step| {
            step.as_str()
                .map_or_else(|| step.to_string(), str::to_owned)
        })
        .collect();
    steps.join(".")
}

fn code_of(object: &Value, secrets: &Secrets) -> Option<String> {
    ["code", "type", "error_type"]
        .iter()
        .find_map(|name| match object.get(*name)? {
            Value::String(code) => Some(cleaned(code, secrets)),
            Value::Number(code) => Some(code.to_string()),
            _ => None,
        })
}

/// Returns `text` on one line and without secrets: runs of white space, of control characters and
/// of those that turn the direction of writing become one space, and what is beyond
/// [`MESSAGE_CHARS`] becomes an ellipsis.
pub(super) fn cleaned(text: &str, secrets: &Secrets) -> String {
    // Before it is cut: what is left of a secret might not be known for one.
    let text = secrets.mask(text);
    let mut line = String::new();
    let mut chars = 0;
    for word in text
        .split(|c: char| c.is_whitespace() || c.is_control() || turns_writing(c))
        .filter(|word| !word.is_empty())
    {
        let gap = (chars > 0).then_some(' ');
        for c in gap.into_iter().chain(word.chars()) {
            if chars == MESSAGE_CHARS {
                line.push('…');
                return line;
            }
            line.push(c);
            chars += 1;
        }
    }
    line
}

/// Returns the text as it is, up to the same length.
pub(super) fn shortened(text: &str) -> String {
    text.chars().take(MESSAGE_CHARS).collect()
}

/// Says whether a character shows those around it in another order than they stand in.
fn turns_writing(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_message(body: &[u8]) -> String {
        super::error_message(body, &Secrets::default())
    }

    fn read_unexpected(body: &[u8]) -> NotAStream {
        super::read_unexpected(body, Framing::Sse, &Secrets::default())
    }

    fn cleaned(text: &str) -> String {
        super::cleaned(text, &Secrets::default())
    }

    #[test]
    fn masks_a_secret_before_it_cuts_what_a_server_says() {
        let secrets = Secrets::new(["sk-0123456789"]);
        let at_the_cut = format!("{}sk-0123456789", "x".repeat(MESSAGE_CHARS - 5));
        let shown = super::cleaned(&at_the_cut, &secrets);
        assert!(shown.ends_with("x***"), "{shown}");
        let body = br#"{"error":{"message":"no: sk-01234567\u00389","code":"sk-0123456789"}}"#;
        assert_eq!(super::error_message(body, &secrets), "no: ***");
        let NotAStream::Error(error) = super::read_unexpected(body, Framing::Sse, &secrets) else {
            panic!("no error")
        };
        assert_eq!(
            (error.message.as_str(), error.code.as_deref()),
            ("no: ***", Some("***"))
        );
    }

    #[test]
    fn an_event_is_quoted_by_its_start_without_secrets_and_without_effect() {
        let secrets = Secrets::new(["sk-0123456789"]);
        let quote = |data: &str| quoted(data.as_bytes(), &secrets);
        assert_eq!(quote("{\"a\": \u{1b}[2J\n\0"), r#"{"a": \u{1b}[2J\n\u{0}"#);
        let at_the_cut = format!("{}sk-0123456789", "x".repeat(QUOTED_CHARS - 5));
        assert_eq!(
            quote(&at_the_cut),
            format!("{}***", "x".repeat(QUOTED_CHARS - 5))
        );
        let long = quote(&"é".repeat(1 << 20));
        assert_eq!(long, format!("{}…", "é".repeat(QUOTED_CHARS)));
    }

    #[test]
    fn finds_the_message_in_every_known_error_body() {
        let cases = [
            (
                r#"{"error":{"message":"no such model","type":"NotFoundError","code":404}}"#,
                "no such model",
            ),
            (
                r#"{"object":"error","message":"too long","code":400}"#,
                "too long",
            ),
            (
                r#"{"error":"overloaded","error_type":"overloaded"}"#,
                "overloaded",
            ),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (
                r#"{"detail":[{"loc":["body","max_tokens"],"msg":"too big"},{"loc":["body",3],"msg":"bad"}]}"#,
                "body.max_tokens: too big; body.3: bad",
            ),
            ("Internal Server Error", "Internal Server Error"),
            (r#"{"status":500}"#, r#"{"status":500}"#),
            (r#"{"message":"m","param":1e400}"#, "m"),
            (r#"{"error":null,"message":"m"}"#, "m"),
            ("", ""),
        ];
        for (body, message) in cases {
            assert_eq!(error_message(body.as_bytes()), message, "{body}");
        }
    }

    #[test]
    fn cleans_and_shortens_what_a_server_says() {
        assert_eq!(cleaned(" a\u{1b}[31m\r\n\tb\0 "), "a [31m b");
        assert_eq!(cleaned("a\u{202e}gnp\u{2066}b"), "a gnp b");
        assert_eq!(error_message(b"\xFFbad\xFE"), "\u{FFFD}bad\u{FFFD}");
        let long = "é".repeat(2 * MESSAGE_CHARS);
        assert_eq!(cleaned(&long), format!("{}…", "é".repeat(MESSAGE_CHARS)));
        assert_eq!(
            cleaned(&"é".repeat(MESSAGE_CHARS)),
            "é".repeat(MESSAGE_CHARS)
        );
    }

    #[test]
    fn tells_an_error_under_a_200_from_a_whole_answer_and_from_a_web_page() {
        let error =
            read_unexpected(br#"{"error":{"message":"no","type":"BadRequest","code":400}}"#);
        assert_eq!(
            error,
            NotAStream::Error(StreamError {
                message: "no".to_owned(),
                code: Some("400".to_owned()),
            })
        );
        for (body, words) in [
            (r#"{"choices":[{"text":"hi"}]}"#, "one JSON object"),
            ("\n<!DOCTYPE html><html></html>", "HTML page"),
            ("  ", "empty body"),
            (
                r#"{"message":{"content":"hi"},"done":true}"#,
                "one JSON object",
            ),
            (
                "hello",
                "text instead of an event stream (`text/event-stream`): hello",
            ),
            (r#"{"status":"loading"}"#, "loading"),
        ] {
            let NotAStream::Unsupported(message) = read_unexpected(body.as_bytes()) else {
                panic!("{body} is no error");
            };
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn survives_deep_nesting() {
        let body = "[".repeat(100_000);
        assert!(!error_message(body.as_bytes()).is_empty());
    }
}
