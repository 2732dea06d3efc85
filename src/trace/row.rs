//! The canonical trace row: what every mapping in `queries/traces/` yields.

/// Where a prefix block's id has meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BlockScope {
    /// The same id is the same block anywhere in the trace.
    #[default]
    Trace,
    /// The same id is the same block inside one file only.
    File,
    /// The same id is the same block inside one session only.
    Session,
}

/// Text that is sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowText {
    /// A prompt.
    Prompt(String),
    /// A conversation so far: a JSON array of messages with `role` and `content`.
    Messages(String),
}

/// One arrival of a trace, in canonical units.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TraceRow {
    /// When it is due, in nanoseconds since the start of the replay.
    pub arrival_ns: i64,
    /// Arrival in the trace, in nanoseconds since the start of the window, after speed: idle time is
    /// not cut there, nor are ties spread.
    pub trace_ns: i64,
    /// Input tokens; 0 only where the trace brings the text and not its length.
    pub input_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
    /// The request's own name, by which later ones call it their parent.
    pub id: Option<String>,
    /// Conversation that the request belongs to.
    pub session_id: Option<String>,
    /// Request that this one follows, by its `id`.
    pub parent_id: Option<String>,
    /// Position in the conversation, from 0.
    pub turn: Option<u32>,
    /// Pause between the end of the previous reply and this arrival, in nanoseconds, after speed.
    pub think_ns: Option<i64>,
    /// How long the reply took when the trace was recorded, from the arrival to its end, in
    /// nanoseconds.
    pub elapsed_ns: Option<i64>,
    /// Ids of the prompt's blocks, in order; empty where the trace has none.
    pub prefix_blocks: Vec<u64>,
    /// Tokens in one block.
    pub block_size: Option<u32>,
    /// Where a block's id has meaning.
    pub block_scope: BlockScope,
    /// Number of the file that the row stands in, from 0.
    pub file: u64,
    /// Tokens at the prompt's start that rows before it in the replay had too, by their blocks; none
    /// where it has no blocks, or where too many blocks came before it to remember.
    pub prefix_tokens: Option<u32>,
    /// Model that was asked for.
    pub model: Option<String>,
    /// Class of the request.
    pub class: Option<String>,
    /// True when the trace says that the request failed.
    pub failed: bool,
    /// Text to send, where the trace brings it.
    pub text: Option<RowText>,
    /// Number of the row in the trace, from 0.
    pub number: u64,
    /// Number of the row whose reply this one waits for, where there is one.
    pub after: Option<u64>,
}
