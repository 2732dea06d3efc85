//! What a session sends: a conversation, turn by turn.

use serde_json::{Map, Value};

use super::content::Content;

/// Conversations. Each is a pure function of the session's index: any thread gets the same.
pub trait Conversations: Send + Sync {
    /// Returns the conversation of session `index`.
    fn conversation(&self, index: u64) -> Conversation;

    /// Returns what a warm-up sends: of about the length of a first turn, with other words.
    fn warmup(&self, index: u64) -> Content;

    /// Number of conversations that it has; none where it makes as many as are wanted.
    fn count(&self) -> Option<u64>;

    /// A usual length of an answer, in tokens, where that is known.
    fn typical_output_tokens(&self) -> Option<u32>;

    /// What is to be said of it before a run.
    fn note(&self) -> Option<String> {
        None
    }
}

/// What one session sends.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conversation {
    /// Its name, which no other session of the run has.
    pub id: String,
    /// Messages before the first turn: what the system says.
    pub opening: Vec<Map<String, Value>>,
    /// Tokens of those that conversations before it have too; none where nobody knows.
    pub shared_tokens: Option<u32>,
    /// Its turns in their order, at least one.
    pub turns: Vec<ConversationTurn>,
}

/// One turn: what is said to the server, and what it is answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConversationTurn {
    /// Messages that are new in it, at least one.
    pub messages: Vec<Map<String, Value>>,
    /// What it was answered where the conversation was recorded; none where nobody knows.
    pub reply: Option<String>,
    /// Fields of the body that are its own, as a JSON object.
    pub fields: Option<String>,
    /// Length of its messages (of a first turn with the opening), in tokens, where it is known.
    pub tokens: Option<u32>,
    /// Length of the answer, in tokens; 0 where nobody knows.
    pub output_tokens: u32,
    /// Pause between the end of the previous answer and this turn, in nanoseconds. Of a first turn it
    /// says nothing.
    pub think_ns: i64,
}
