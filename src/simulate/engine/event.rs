//! What goes into an engine, and what comes out of it.

/// A request, as far as the engine cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The caller's own number for it; unique among those that are not finished.
    pub request: u64,
    /// Tokens of the prompt; 0 counts as 1.
    pub input_tokens: u32,
    /// Tokens that will be generated; 0 counts as 1.
    pub output_tokens: u32,
    /// What the last token means.
    pub finish: Finish,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The answer reached the length that the request allows.
    Length,
    /// The model ended it by itself.
    Stop,
}

impl Finish {
    /// The word that the OpenAI API has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// Something that happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds on the caller's axis; never less than that of the event before.
    pub at_ns: i64,
    /// The caller's number for the request.
    pub request: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a request, in the order in which it happens to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It left the queue.
    Admitted,
    /// A token was generated; the first one at position 0.
    Token {
        /// Tokens of this request before this one.
        position: u32,
    },
    /// Its last token was generated, and what it held is free.
    Finished(Finish),
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// As many requests wait as may.
    QueueFull,
    /// It would not fit into an empty key-value cache.
    TooLarge {
        /// Tokens of its prompt and its output.
        needed_tokens: u64,
        /// Tokens that the cache holds.
        capacity_tokens: u64,
    },
}

/// How much is in the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Requests that were admitted and are not finished.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Tokens of the key-value cache that are reserved; 0 where there is none.
    pub kv_reserved_tokens: u64,
    /// Tokens that the key-value cache holds; 0 where there is none.
    pub kv_capacity_tokens: u64,
}
