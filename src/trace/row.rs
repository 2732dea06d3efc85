//! The canonical trace row: what every mapping in `queries/traces/` yields.

use std::sync::Arc;

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
    /// A conversation whose turns were told one by one.
    Turns(Vec<Said>),
}

/// A part of a conversation whose turns were told one by one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// A JSON array of messages.
    Messages(Arc<str>),
    /// A reply that the trace does not bring: text is made in its place.
    Reply {
        /// Number of the row that it answers.
        row: u64,
        /// Its length, in tokens.
        tokens: u32,
    },
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
    /// Output tokens; 0 only where the trace brings the text and no bound on its answer, or where the
    /// request failed.
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
    /// Tokens of each block, where they differ; empty where all have `block_size`.
    pub block_tokens: Vec<u32>,
    /// Where a block's id has meaning.
    pub block_scope: BlockScope,
    /// True where the prompt is what is new in its session's turn, without what came before it; none
    /// where the trace does not say.
    pub new_only: Option<bool>,
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
    /// Fields of the request's body that the trace brings: a JSON object.
    pub body: Option<String>,
    /// What the request was answered when the trace was recorded, where the trace brings it.
    pub reply: Option<String>,
    /// Number of the row in the trace, from 0.
    pub number: u64,
    /// Number of the row whose reply this one waits for, where there is one.
    pub after: Option<u64>,
}

impl TraceRow {
    /// Returns whether its prompt is put together of what was said before it in its session.
    pub fn has_history_put_together(&self) -> bool {
        matches!(self.text, Some(RowText::Turns(_)))
    }

    /// Returns how many tokens the first `blocks` blocks are.
    pub(super) fn tokens_of(&self, blocks: usize) -> u32 {
        if self.block_tokens.is_empty() {
            let blocks = u32::try_from(blocks).unwrap_or(u32::MAX);
            return blocks.saturating_mul(self.block_size.unwrap_or(0));
        }
        let tokens = self.block_tokens.iter().take(blocks);
        tokens.fold(0, |sum, &tokens| sum.saturating_add(tokens))
    }
}
