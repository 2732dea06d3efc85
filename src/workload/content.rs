//! What one request of a data set sends.

use super::clip::Clip;
use super::prompt::Prompt;

/// What one request sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The prompt; of messages, their texts.
    pub text: String,
    /// The messages of a conversation, as a JSON list, in place of the prompt.
    pub messages: Option<String>,
    /// Fields of the body that are its own, as a JSON object.
    pub fields: Option<String>,
    /// Its length in tokens, where it is known.
    pub tokens: Option<u32>,
    /// The text is of the workload's words.
    pub is_made_up: bool,
    /// Length of the answer, in tokens; 0 where nobody knows.
    pub output_tokens: u32,
    /// Tokens at the prompt's start that requests before it have too; none where nobody knows.
    pub prefix_tokens: Option<u32>,
    /// The data set that it is of, where there are several.
    pub class: Option<&'static str>,
    /// What is to be heard, in the prompt's place.
    pub audio: Option<Clip>,
}

impl Content {
    /// A prompt of the workload's words, whose answer is to have so many tokens.
    pub(super) fn made_up(prompt: Prompt, output_tokens: u32) -> Self {
        Self {
            text: prompt.text,
            tokens: Some(prompt.tokens),
            is_made_up: true,
            output_tokens,
            ..Self::default()
        }
    }
}
