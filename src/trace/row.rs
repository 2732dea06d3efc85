//! The canonical trace row: what every mapping in `queries/traces/` yields.

/// Where a prefix block's id has meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlockScope {
    /// The same id is the same block anywhere in the trace.
    Trace,
    /// The same id is the same block inside one file only.
    File,
    /// The same id is the same block inside one session only.
    Session,
}

/// One arrival of a trace, in canonical units.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRow {
    /// Arrival, in nanoseconds since the first arrival of the trace.
    pub arrival_ns: i64,
    /// Input tokens.
    pub input_tokens: u32,
    /// Output tokens.
    pub output_tokens: u32,
    /// Conversation that the request belongs to.
    pub session_id: Option<String>,
    /// Request that this one follows.
    pub parent_id: Option<String>,
    /// Position in the conversation.
    pub turn: Option<u32>,
    /// Pause since the previous reply, in nanoseconds.
    pub think_ns: Option<i64>,
    /// Ids of the prompt's blocks, in order; empty where the trace has none.
    pub prefix_blocks: Vec<u64>,
    /// Tokens in one block.
    pub block_size: Option<u32>,
    /// Where a block's id has meaning.
    pub block_scope: BlockScope,
    /// Model that was asked for.
    pub model: Option<String>,
    /// Class of the request.
    pub class: Option<String>,
    /// True when the trace says that the request failed.
    pub failed: bool,
}
