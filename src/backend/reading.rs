//! What one streamed event means, whatever protocol it came by.

use std::ops::Range;

use crate::capture::schema::{Channel, TokensSource};

/// What an event carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// The first in the order of [`Channel`] of all that the event carried.
    pub channel: Channel,
    /// True when the event has a non-empty `choices`: other tools count those as tokens.
    pub has_choices: bool,
    /// Tokens in a token-bearing event, also those of silent events before it; may be 0 when the
    /// server had counted the token with an earlier event. `None` where the server doesn't say.
    pub tokens: Option<u16>,
    /// How `tokens` is known; `None` exactly when that is.
    pub tokens_source: Option<TokensSource>,
    /// All text of a token-bearing event, where the reader keeps it.
    pub text: Option<String>,
    /// Bytes at the start of the text that are reasoning, of an event that has content too.
    pub reasoning_bytes: usize,
    /// Which parts of the text belong to calls of tools, where the reader keeps it.
    pub tools: Vec<ToolPart>,
    /// Where in the event a text was that this backend does not read, as `delta.KEY`.
    pub unread_text: Option<String>,
    /// The server's count so far, or in the end.
    pub usage: Option<Usage>,
    /// Why the server stopped generating.
    pub finish_reason: Option<String>,
    /// What made it stop: the stop string, or the id of a token.
    pub stop_reason: Option<String>,
    /// The server's id of the response; with the first event that has one, and no later one.
    pub response_id: Option<String>,
    /// A failure that the server reports inside the stream.
    pub error: Option<StreamError>,
    /// True for the event that ends the stream.
    pub is_done: bool,
    /// True when the event could not be decoded.
    pub is_broken: bool,
}

impl Reading {
    /// Returns the reading of an event on `channel` that carries nothing else.
    pub(super) fn of(channel: Channel) -> Self {
        Self {
            channel,
            has_choices: false,
            tokens: None,
            tokens_source: None,
            text: None,
            reasoning_bytes: 0,
            tools: Vec::new(),
            unread_text: None,
            usage: None,
            finish_reason: None,
            stop_reason: None,
            response_id: None,
            error: None,
            is_done: false,
            is_broken: false,
        }
    }
}

/// A part of a call of a tool, as it was streamed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolPart {
    /// Number of the call in the answer, from 0.
    pub call: usize,
    /// Part of the function's name; of its arguments where false.
    pub is_name: bool,
    /// Where it stands in the event's text, in bytes.
    pub at: Range<usize>,
}

/// Tokens as the server counted them; `None` where it doesn't say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens.
    pub input: Option<u32>,
    /// Completion tokens, reasoning included.
    pub output: Option<u32>,
    /// Reasoning tokens among the completion tokens.
    pub reasoning: Option<u32>,
    /// Prompt tokens that came from the prefix cache.
    pub cached: Option<u32>,
}

/// What ids and running usage have told of the output tokens of one response so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TokenTally {
    /// Tokens by ids or log-probabilities; `None` where a token-bearing event had none.
    pub by_ids: Option<u32>,
    /// Tokens that came to be after the last token-bearing event, or without any; `None` where
    /// neither ids nor usage in every token-bearing event tell.
    pub after_last: Option<u32>,
}

/// A failure that a server reports inside a response that began well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamError {
    /// The server's words, cleaned of control characters and shortened.
    pub message: String,
    /// The server's code, or else its type.
    pub code: Option<String>,
}
