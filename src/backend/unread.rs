//! A text in an event that this reader does not know: servers name fields as they like, and an
//! answer must not look empty because its text has another name.

use serde_json::Value;

use super::{failure, lenient};
use crate::secrets::Secrets;

/// Names of fields that hold the text of an answer, in protocols and servers beside OpenAI's.
const TEXT_FIELDS: [&str; 10] = [
    "text",
    "content",
    "delta",
    "response",
    "generated_text",
    "output",
    "output_text",
    "thinking",
    "reasoning",
    "partial_json",
];

/// Fields of a delta that are words about the answer and no part of it.
const WORDS: [&str; 10] = [
    "role", "name", "id", "type", "object", "model", "status", "provider", "format", "data",
];

/// Ends of the names of such fields.
const WORD_ENDS: [&str; 3] = ["_id", "_reason", "signature"];

/// How deep an event is looked into.
const DEPTH: usize = 4;

/// Returns where the first text is that nothing reads, as names with a point between two of them;
/// `None` where there is none.
///
/// In a delta any text counts but that of words about it; elsewhere only what is named like a text.
pub(super) fn text_in(data: &[u8], secrets: &Secrets) -> Option<String> {
    let event = lenient::any(data)?;
    let deltas = event["choices"].as_array().into_iter().flatten();
    // Some repeat all of the answer in a message beside the last delta.
    let deltas: Vec<&Value> = deltas
        .map(|choice| match choice["delta"].is_object() {
            true => &choice["delta"],
            false => &choice["message"],
        })
        .filter(|delta| delta.is_object())
        .collect();
    let found = if deltas.is_empty() {
        first_text(&event, &|name| TEXT_FIELDS.contains(&name), DEPTH)
    } else {
        let is_text =
            |name: &str| !WORDS.contains(&name) && !WORD_ENDS.iter().any(|end| name.ends_with(end));
        deltas
            .into_iter()
            .find_map(|delta| first_text(delta, &is_text, DEPTH))
            .map(|path| format!("delta.{path}"))
    };
    found.map(|path| failure::cleaned(&path, secrets))
}

fn first_text(value: &Value, is_text: &dyn Fn(&str) -> bool, depth: usize) -> Option<String> {
    let fields = value.as_object()?;
    fields.iter().find_map(|(name, value)| match value {
        Value::String(text) => (!text.is_empty() && is_text(name)).then(|| name.clone()),
        _ if depth == 0 => None,
        Value::Array(parts) => parts
            .iter()
            .find_map(|part| first_text(part, is_text, depth - 1))
            .map(|path| format!("{name}.{path}")),
        inner => first_text(inner, is_text, depth - 1).map(|path| format!("{name}.{path}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(event: &str) -> Option<String> {
        text_in(event.as_bytes(), &Secrets::default())
    }

    #[test]
    fn names_the_field_that_has_a_text() {
        for (event, path) in [
            (
                r#"{"choices":[{"delta":{"thoughts":"hm"}}]}"#,
                "delta.thoughts",
            ),
            (
                r#"{"choices":[{"delta":{"role":"assistant","extra":[{"type":"x","body":"hm"}]}}]}"#,
                "delta.extra.body",
            ),
            (
                r#"{"choices":[{"message":{"role":"assistant","content":"hi"}}]}"#,
                "delta.content",
            ),
            (
                r#"{"type":"response.output_text.delta","item_id":"msg_1","delta":"hi"}"#,
                "delta",
            ),
            (
                r#"{"type":"content_block_delta","delta":{"type":"text_delta","text":"hi"}}"#,
                "delta.text",
            ),
            (
                r#"{"index":0,"content":"hi","tokens":[7],"stop":false}"#,
                "content",
            ),
            (
                r#"{"token":{"id":1,"text":"hi"},"generated_text":null}"#,
                "token.text",
            ),
            (
                r#"{"model":"m","message":{"role":"assistant","content":"hi"},"done":false}"#,
                "message.content",
            ),
        ] {
            assert_eq!(found(event).as_deref(), Some(path), "{event}");
        }
    }

    #[test]
    fn what_is_no_text_of_an_answer_is_not_taken_for_one() {
        for event in [
            r#"{"choices":[{"delta":{"role":"assistant","content":""},"stop_reason":"</s>"}]}"#,
            r#"{"choices":[{"delta":{"tool_calls":[{"id":"call_1","type":"function","index":0}]}}]}"#,
            r#"{"choices":[{"index":0,"text":"","finish_reason":"stop"}],"model":"m"}"#,
            r#"{"id":"1","object":"chat.completion.chunk","model":"m","choices":[]}"#,
            r#"{"choices":[{"delta":{"role":"assistant","content":null,"request_id":"r"}}]}"#,
            r#"{"choices":[{"delta":{"extra_content":{"google":{"thought_signature":"x"}}}}]}"#,
            r#"{"choices":[{"delta":{"content":""},"message":{"content":"all of it"}}]}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"message_start","message":{"id":"m","role":"assistant","content":[]}}"#,
            "[1, 2]",
        ] {
            assert_eq!(found(event), None, "{event}");
        }
    }
}
