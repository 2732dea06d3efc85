//! A request that is ready to be sent.

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use crate::capture::Label;
use crate::capture::schema::{Phase, RequestRow};

/// A request of the schedule with everything prepared, so that sending it costs the driver nothing
/// but the sending.
#[derive(Debug)]
pub struct PreparedRequest {
    /// Index in the schedule, or a warm-up's id.
    pub request_id: u64,
    /// Warm-up or measured.
    pub phase: Phase,
    /// When it is due, since the start of the schedule; `None` when it is due as soon as a slot
    /// is free.
    pub intended_ns: Option<i64>,
    /// How long after that it can go out at the earliest, as its session waited for others to end; 0
    /// where it waited for none.
    pub held_ns: i64,
    /// Number of its row in the trace (of a turn, its own), where a turn of its session may wait on its
    /// reply.
    pub row_number: Option<u64>,
    /// What the server says is passed on, for the turns after it.
    pub wants_reply: bool,
    /// Its time in the trace, after speed.
    pub trace_ns: Option<i64>,
    /// Conversation that it belongs to.
    pub session_id: Option<String>,
    /// Position in the conversation.
    pub turn: Option<u32>,
    /// Model that is asked for.
    pub model: Option<Label>,
    /// Class of the request in the trace.
    pub class: Option<Label>,
    /// Input tokens that the schedule asks for.
    pub input_tokens: Option<u32>,
    /// Input tokens as the user's tokenizer counts them.
    pub input_tokens_counted: Option<u32>,
    /// Output tokens that the schedule asks for.
    pub output_tokens: Option<u32>,
    /// Most output tokens that the request allows; `None` where it sets no limit.
    pub max_output_tokens: Option<u32>,
    /// Tokens at the prompt's start that requests before it have too, by the trace's blocks.
    pub prefix_tokens: Option<u32>,
    /// How long after its send the client hangs up; `None` where it does not.
    pub hang_up_after_ns: Option<i64>,
    /// The request's body.
    pub body: Bytes,
    /// The prompt, where the tape keeps text.
    pub prompt: Option<String>,
    /// Its share of the memory for prepared requests, given back when it is dropped.
    pub(super) permit: Option<OwnedSemaphorePermit>,
}

impl PreparedRequest {
    /// When it can go out, since the start of the schedule; `None` as in [`Self::intended_ns`].
    pub(super) fn sendable_ns(&self) -> Option<i64> {
        Some(self.intended_ns?.saturating_add(self.held_ns))
    }

    /// Begins the request's row; `sendable_ns` is on the log's axis.
    pub(super) fn row(&mut self, sendable_ns: i64) -> RequestRow {
        let intended_ns = sendable_ns.saturating_sub(self.held_ns);
        let mut row = RequestRow::new(self.request_id, self.phase, intended_ns);
        row.session_id = self.session_id.take();
        row.turn = self.turn;
        row.model = self.model.take();
        row.class = self.class.take();
        row.trace_ns = self.trace_ns;
        row.input_tokens_planned = self.input_tokens;
        row.input_tokens_counted = self.input_tokens_counted;
        row.output_tokens_planned = self.output_tokens;
        row.max_output_tokens = self.max_output_tokens;
        row.prefix_tokens_planned = self.prefix_tokens;
        row.prompt = self.prompt.take();
        row
    }
}
