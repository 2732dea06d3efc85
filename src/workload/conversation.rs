//! Recorded conversations: what of one is sent, and which ones `vllm bench serve` takes.

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

/// Whether a prompt and its answer are within the bounds. Without a tokenizer nobody knows how long a
/// prompt is.
pub(super) fn fits(tokens: Option<u32>, output_tokens: u32) -> bool {
    tokens.is_none_or(|tokens| {
        (MIN_TOKENS..=MAX_PROMPT_TOKENS).contains(&tokens)
            && tokens.saturating_add(output_tokens) <= MAX_TOTAL_TOKENS
    })
}

/// What the user says first, and the reply to it. Turns have `from` and `value`, or `role` and
/// `content`.
pub(super) fn first_exchange(turns: &[Map<String, Value>]) -> Option<(&str, Option<&str>)> {
    let is_of = |turn: &Map<String, Value>, names: &[&str]| {
        names.contains(&text_of(turn, &["from", "role"]).unwrap_or_default())
    };
    let said = |turn| text_of(turn, &["value", "content", "text"]);
    let at = turns.iter().position(|turn| is_of(turn, &USERS))?;
    let reply = turns.get(at + 1).filter(|turn| is_of(turn, &ASSISTANTS));
    Some((said(&turns[at])?, reply.and_then(said)))
}

fn text_of<'a>(turn: &'a Map<String, Value>, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| turn.get(*key)?.as_str())
}
