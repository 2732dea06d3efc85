//! What is written in the form of chat completions, as Responses and Messages have it: the content of
//! messages, tools, calls of tools and what came of them.
//!
//! Data sets and traces have messages and tools in chat's form. What is in the form of the other
//! protocol already stays as it is.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::request::content_text;

/// A protocol whose form is not that of chat completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OtherForm {
    /// OpenAI's Responses.
    Responses,
    /// Anthropic's Messages.
    Messages,
}

impl OtherForm {
    /// Returns the fields of a body with `tools` and `tool_choice` in this form.
    pub(super) fn fields(self, fields: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
        let is_of_chat = |tool: &Value| tool["function"].is_object();
        let tools = fields.get("tools").and_then(Value::as_array);
        let tools = tools.filter(|tools| tools.iter().any(is_of_chat));
        let choice = fields.get("tool_choice").and_then(|it| self.choice(it));
        if tools.is_none() && choice.is_none() {
            return Cow::Borrowed(fields);
        }
        let mut own = fields.clone();
        if let Some(tools) = tools {
            let tools: Value = tools.iter().map(|tool| self.tool(tool)).collect();
            own.insert("tools".to_owned(), tools);
        }
        if let Some(choice) = choice {
            own.insert("tool_choice".to_owned(), choice);
        }
        Cow::Owned(own)
    }

    fn tool(self, tool: &Value) -> Value {
        let Some(function) = tool["function"].as_object() else {
            return tool.clone();
        };
        let mut own = function.clone();
        match self {
            Self::Responses => {
                own.insert("type".to_owned(), "function".into());
            }
            Self::Messages => {
                let schema = own.remove("parameters").filter(Value::is_object);
                let schema = schema.unwrap_or_else(|| json!({ "type": "object" }));
                own.insert("input_schema".to_owned(), schema);
            }
        }
        own.into()
    }

    /// A choice of tools in this form; `None` where it is in it already.
    fn choice(self, choice: &Value) -> Option<Value> {
        let name = &choice["function"]["name"];
        match (self, choice.as_str()) {
            (Self::Responses, None) if name.is_string() => {
                Some(json!({ "type": "function", "name": name }))
            }
            (Self::Messages, None) if name.is_string() => {
                Some(json!({ "type": "tool", "name": name }))
            }
            (Self::Messages, Some("required")) => Some(json!({ "type": "any" })),
            (Self::Messages, Some(word)) => Some(json!({ "type": word })),
            _ => None,
        }
    }

    /// Returns messages in this form, each as one or several.
    pub(super) fn messages<'a>(self, messages: impl Iterator<Item = &'a Value>) -> Vec<Value> {
        messages.flat_map(|message| self.message(message)).collect()
    }

    fn message(self, message: &Value) -> Vec<Value> {
        let role = message["role"].as_str().unwrap_or_default();
        if role == "tool" {
            return vec![self.result(message)];
        }
        let calls = message["tool_calls"].as_array();
        let calls = calls.map_or(&[][..], Vec::as_slice);
        let mut own = message.clone();
        if let Some(own) = own.as_object_mut() {
            own.remove("tool_calls");
        }
        if let Value::Array(parts) = &message["content"] {
            own["content"] = match (self, role) {
                // What was said has no parts of its own there.
                (Self::Responses, "assistant") if parts.iter().all(|it| it["type"] == "text") => {
                    content_text(&message["content"]).into()
                }
                _ => parts.iter().map(|part| self.part(part)).collect(),
            };
        }
        if calls.is_empty() {
            return vec![own];
        }
        let called = calls.iter().map(|call| self.call(call));
        let text = content_text(&message["content"]);
        match self {
            Self::Responses => {
                let said = (!text.is_empty()).then_some(own);
                said.into_iter().chain(called).collect()
            }
            Self::Messages => {
                let said = (!text.is_empty()).then(|| json!({ "type": "text", "text": text }));
                own["content"] = said.into_iter().chain(called).collect();
                vec![own]
            }
        }
    }

    /// A part of a message's content.
    fn part(self, part: &Value) -> Value {
        let image = part["image_url"]["url"].as_str();
        match (self, part["type"].as_str(), image) {
            (Self::Responses, Some("text"), _) => {
                json!({ "type": "input_text", "text": part["text"] })
            }
            (Self::Responses, Some("image_url"), Some(url)) => {
                json!({ "type": "input_image", "image_url": url, "detail": "auto" })
            }
            (Self::Messages, Some("image_url"), Some(url)) => {
                json!({ "type": "image", "source": image_source(url) })
            }
            _ => part.clone(),
        }
    }

    /// A call of a tool.
    fn call(self, call: &Value) -> Value {
        let function = &call["function"];
        match self {
            Self::Responses => json!({
                "type": "function_call",
                "call_id": call["id"],
                "name": function["name"],
                "arguments": function["arguments"],
            }),
            Self::Messages => {
                let arguments = function["arguments"].as_str().unwrap_or_default();
                let input = serde_json::from_str::<Map<String, Value>>(arguments);
                json!({
                    "type": "tool_use",
                    "id": call["id"],
                    "name": function["name"],
                    "input": input.unwrap_or_default(),
                })
            }
        }
    }

    /// What came of a call.
    fn result(self, message: &Value) -> Value {
        let text = content_text(&message["content"]);
        let id = &message["tool_call_id"];
        match self {
            Self::Responses => {
                json!({ "type": "function_call_output", "call_id": id, "output": text })
            }
            Self::Messages => {
                let result = json!({ "type": "tool_result", "tool_use_id": id, "content": text });
                json!({ "role": "user", "content": [result] })
            }
        }
    }
}

/// Where an image is, in the words of Messages: in the address itself, or there.
fn image_source(url: &str) -> Value {
    let inside = url
        .strip_prefix("data:")
        .and_then(|it| it.split_once(";base64,"));
    match inside {
        Some((media_type, data)) => {
            json!({ "type": "base64", "media_type": media_type, "data": data })
        }
        None => json!({ "type": "url", "url": url }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Vec<Value> {
        vec![
            json!({ "role": "user", "content": [
                { "type": "text", "text": "What is it?" },
                { "type": "image_url", "image_url": { "url": "data:image/png;base64,AA==" } },
            ] }),
            json!({ "role": "assistant", "content": [{ "type": "text", "text": "I look." }], "tool_calls": [
                { "id": "c1", "type": "function", "function": { "name": "look", "arguments": "{\"at\": 1}" } },
            ] }),
            json!({ "role": "tool", "tool_call_id": "c1", "content": "a cat" }),
            json!({ "role": "user", "content": "Thanks" }),
        ]
    }

    #[test]
    fn a_conversation_of_chat_is_one_of_responses() {
        assert_eq!(
            Value::from(OtherForm::Responses.messages(conversation().iter())),
            json!([
                { "role": "user", "content": [
                    { "type": "input_text", "text": "What is it?" },
                    { "type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "auto" },
                ] },
                { "role": "assistant", "content": "I look." },
                { "type": "function_call", "call_id": "c1", "name": "look", "arguments": "{\"at\": 1}" },
                { "type": "function_call_output", "call_id": "c1", "output": "a cat" },
                { "role": "user", "content": "Thanks" },
            ])
        );
    }

    #[test]
    fn a_conversation_of_chat_is_one_of_messages() {
        assert_eq!(
            Value::from(OtherForm::Messages.messages(conversation().iter())),
            json!([
                { "role": "user", "content": [
                    { "type": "text", "text": "What is it?" },
                    { "type": "image", "source": { "type": "base64", "media_type": "image/png", "data": "AA==" } },
                ] },
                { "role": "assistant", "content": [
                    { "type": "text", "text": "I look." },
                    { "type": "tool_use", "id": "c1", "name": "look", "input": { "at": 1 } },
                ] },
                { "role": "user", "content": [{ "type": "tool_result", "tool_use_id": "c1", "content": "a cat" }] },
                { "role": "user", "content": "Thanks" },
            ])
        );
    }

    #[test]
    fn tools_of_chat_are_tools_of_the_other_form_and_those_stay_as_they_are() {
        let of = |form: OtherForm, fields: Value| {
            let fields = fields.as_object().unwrap().clone();
            Value::from(form.fields(&fields).into_owned())
        };
        let function =
            json!({ "name": "w", "description": "d", "parameters": { "type": "object" } });
        let chat = json!({
            "tools": [{ "type": "function", "function": function }],
            "tool_choice": { "type": "function", "function": { "name": "w" } },
            "top_p": 1,
        });
        let responses = json!({
            "tools": [{ "name": "w", "description": "d", "parameters": { "type": "object" }, "type": "function" }],
            "tool_choice": { "type": "function", "name": "w" },
            "top_p": 1,
        });
        let messages = json!({
            "tools": [{ "name": "w", "description": "d", "input_schema": { "type": "object" } }],
            "tool_choice": { "type": "tool", "name": "w" },
            "top_p": 1,
        });
        assert_eq!(of(OtherForm::Responses, chat.clone()), responses);
        assert_eq!(of(OtherForm::Messages, chat), messages);
        assert_eq!(of(OtherForm::Responses, responses.clone()), responses);
        assert_eq!(of(OtherForm::Messages, messages.clone()), messages);
        let words = ["auto", "required", "none"].map(|word| {
            let fields = json!({ "tool_choice": word });
            [OtherForm::Responses, OtherForm::Messages].map(|form| of(form, fields.clone()))
        });
        let chosen = |word: &str, kind: &str| {
            [
                json!({ "tool_choice": word }),
                json!({ "tool_choice": { "type": kind } }),
            ]
        };
        assert_eq!(
            words,
            [
                chosen("auto", "auto"),
                chosen("required", "any"),
                chosen("none", "none")
            ]
        );
    }
}
