//! Recorded conversations: what of one is sent, and which ones `vllm bench serve` takes.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Tokens of a prompt and of an answer at least, as in vLLM's `is_valid_sequence`.
pub(super) const MIN_TOKENS: u32 = 4;

/// Tokens of a prompt at most, as there.
pub(super) const MAX_PROMPT_TOKENS: u32 = 1_024;

/// Tokens of a prompt and its answer at most, as there.
pub(super) const MAX_TOTAL_TOKENS: u32 = 2_048;

/// Names of those who ask.
const USERS: [&str; 3] = ["human", "user", "prompter"];

/// Names of those who answer.
const ASSISTANTS: [&str; 7] = [
    "gpt",
    "assistant",
    "model",
    "bot",
    "chatgpt",
    "bing",
    "bard",
];

/// Names of what is told beforehand.
const SYSTEMS: [&str; 2] = ["system", "developer"];

/// Names of tools that say what came of a call.
const TOOLS: [&str; 4] = ["tool", "function", "observation", "ipython"];

/// A name of an assistant who calls a tool.
pub(super) const CALL: &str = "function_call";

/// Who says a message of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Speaker {
    System,
    User,
    Assistant,
    Tool,
}

impl Speaker {
    /// By the name in a file.
    pub(super) fn named(name: &str) -> Option<Self> {
        let is_of = |names: &[&str]| names.contains(&name);
        Some(match name {
            _ if is_of(&USERS) => Self::User,
            _ if is_of(&ASSISTANTS) || name == CALL => Self::Assistant,
            _ if is_of(&SYSTEMS) => Self::System,
            _ if is_of(&TOOLS) => Self::Tool,
            _ => return None,
        })
    }

    /// The role in a request.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// The texts of messages, one below the other.
pub(super) fn texts(messages: &[Map<String, Value>]) -> String {
    let contents = messages.iter().filter_map(|message| message.get("content"));
    let texts: Vec<&str> = contents.flat_map(texts_of).collect();
    texts.join("\n")
}

/// The texts in the content of a message: it itself, or those of its parts.
pub(super) fn texts_of(content: &Value) -> Vec<&str> {
    match content {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        _ => Vec::new(),
    }
}

/// Whether a message has an image, audio or the like in its content.
pub(super) fn has_more_than_text(message: &Map<String, Value>) -> bool {
    let parts = message.get("content").and_then(Value::as_array);
    parts
        .into_iter()
        .flatten()
        .any(|part| part["type"] != "text")
}

/// Says that the rest of a large file is not read.
pub(super) fn beginning(found: u64) -> String {
    format!("they are drawn from the first {found} conversations of the file: the rest is not read")
}

/// Whether a prompt and its answer are within the bounds. Without a tokenizer nobody knows how long a
/// prompt is.
pub(super) fn fits(tokens: Option<u32>, output_tokens: u32) -> bool {
    tokens.is_none_or(|tokens| {
        (MIN_TOKENS..=MAX_PROMPT_TOKENS).contains(&tokens)
            && tokens.saturating_add(output_tokens) <= MAX_TOTAL_TOKENS
    })
}

/// Names of the field that says who speaks in a turn. Where several are there, the first in this list counts.
pub(super) const SPEAKER_KEYS: [&str; 2] = ["from", "role"];

/// Names of the field with what is said in a turn. Where several have a text, the first in this list counts.
pub(super) const TEXT_KEYS: [&str; 3] = ["value", "content", "text"];

/// What the user says first, and the reply to it, out of turns that come one by one.
#[derive(Debug, Clone)]
pub(super) struct FirstExchange<T> {
    prompt: Option<T>,
    reply: Option<T>,
    is_asked: bool,
    is_over: bool,
}

impl<T> Default for FirstExchange<T> {
    fn default() -> Self {
        Self {
            prompt: None,
            reply: None,
            is_asked: false,
            is_over: false,
        }
    }
}

impl<T> FirstExchange<T> {
    /// Takes the next turn: who speaks, and what that says.
    pub(super) fn take(&mut self, speaker: &str, said: Option<T>) {
        if self.is_asked && !self.is_over {
            self.is_over = true;
            self.reply = said.filter(|_| ASSISTANTS.contains(&speaker));
        } else if !self.is_asked && USERS.contains(&speaker) {
            self.is_asked = true;
            self.is_over = said.is_none();
            self.prompt = said;
        }
    }

    /// The user has said something.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// No later turn is part of it.
    pub(super) fn is_over(&self) -> bool {
        self.is_over
    }

    /// Returns prompt and reply; none where the user says nothing first.
    pub(super) fn parts(self) -> Option<(T, Option<T>)> {
        Some((self.prompt?, self.reply))
    }
}

/// What the user says first, and the reply to it.
pub(super) fn first_exchange(
    turns: &[Map<String, Value>],
) -> Option<(Cow<'_, str>, Option<Cow<'_, str>>)> {
    let mut exchange = FirstExchange::default();
    for turn in turns {
        let speaker = text_of(turn, &SPEAKER_KEYS).unwrap_or_default();
        exchange.take(&speaker, text_of(turn, &TEXT_KEYS));
    }
    exchange.parts()
}

/// Whether what the user says first has an image, audio or the like in it.
pub(super) fn is_more_than_text(turns: &[Map<String, Value>]) -> bool {
    let is_user = |turn: &&Map<String, Value>| {
        let speaker = SPEAKER_KEYS.iter().find_map(|key| turn.get(*key)?.as_str());
        speaker.is_some_and(|name| USERS.contains(&name))
    };
    turns.iter().find(is_user).is_some_and(has_more_than_text)
}

/// The text under the first of several names that has one.
fn text_of<'a>(turn: &'a Map<String, Value>, keys: &[&str]) -> Option<Cow<'a, str>> {
    keys.iter()
        .find_map(|key| match texts_of(turn.get(*key)?)[..] {
            [] => None,
            [text] => Some(Cow::Borrowed(text)),
            ref texts => Some(Cow::Owned(texts.join("\n"))),
        })
}
