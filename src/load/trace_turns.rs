//! The turns of a trace: rows that wait until the reply to an earlier one has ended.
//!
//! The trace is read ahead of the schedule, so that a turn is at hand when its server is faster than
//! the recorded one was. A turn that stands further on than that is late, and goes out as soon as
//! it is read.

use std::collections::{HashMap, HashSet, VecDeque};

use super::error::LoadError;
use super::events::Reply;
use super::prepared::PreparedRequest;
use super::replies::Replies;
use super::template::RequestTemplate;
use super::turn_feed::TurnSource;
use super::turns::{Turn, Turns};
use crate::plan::SessionPacing;
use crate::trace::{RowText, TraceReader, TraceRow};

/// Rows that are read ahead at most.
const HELD_ROWS_MAX: usize = 65_536;
/// Memory that they may take, in bytes.
const HELD_BYTES_MAX: usize = 128 << 20;
/// Most bytes that a word of a prompt takes in a body, on average over a prompt.
const BYTES_A_TOKEN_MAX: usize = 8;

/// The rows of one replay.
pub(super) struct TraceTurns<'a> {
    reader: &'a mut TraceReader,
    template: &'a RequestTemplate,
    is_at_end: bool,
    turns: Turns,
    /// Requests that wait on nothing and for which there was no room yet.
    roots: VecDeque<Turn>,
    held_bytes: usize,
    next_index: u64,
    /// Rows whose requests were sent and whose replies later turns are to hold.
    asked: HashSet<u64>,
    /// When those replies ended that have not been decoded yet.
    undecoded: HashMap<u64, i64>,
    replies: Replies,
}

impl<'a> TraceTurns<'a> {
    pub(super) fn new(
        reader: &'a mut TraceReader,
        template: &'a RequestTemplate,
        pacing: SessionPacing,
    ) -> Self {
        Self {
            reader,
            template,
            is_at_end: false,
            turns: Turns::new(pacing),
            roots: VecDeque::new(),
            held_bytes: 0,
            next_index: 0,
            asked: HashSet::new(),
            undecoded: HashMap::new(),
            replies: Replies::default(),
        }
    }

    /// How often text was made up for a reply that a turn was to hold.
    pub(super) fn made_up_replies(&self) -> u64 {
        self.replies.missed()
    }

    fn prepare(&mut self, Turn { index, row }: Turn) -> PreparedRequest {
        self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&row));
        let planned = self.template.traced(index, row, &mut self.replies);
        if planned.wants_reply {
            self.asked.extend(planned.row_number);
        }
        planned
    }
}

impl TurnSource for TraceTurns<'_> {
    async fn read(&mut self) -> Result<bool, LoadError> {
        let is_full = self.roots.len() + self.turns.held() >= HELD_ROWS_MAX
            || self.held_bytes >= HELD_BYTES_MAX;
        if self.is_at_end || is_full {
            return Ok(false);
        }
        match self.reader.next().await? {
            Some(row) => {
                let index = self.next_index;
                self.next_index += 1;
                self.held_bytes += bytes_of(&row);
                self.roots.extend(self.turns.accept(index, row));
            }
            None => self.is_at_end = true,
        }
        Ok(true)
    }

    fn next_root_bytes(&self) -> Option<usize> {
        let row = &self.roots.front()?.row;
        let tokens = usize::try_from(row.input_tokens).unwrap_or(usize::MAX);
        Some(
            tokens
                .saturating_mul(BYTES_A_TOKEN_MAX)
                .max(2 * bytes_of(row)),
        )
    }

    fn next_root(&mut self) -> Option<PreparedRequest> {
        let root = self.roots.pop_front()?;
        Some(self.prepare(root))
    }

    fn next_due_ns(&self) -> Option<i64> {
        self.turns.next_due_ns()
    }

    fn next_due(&mut self, until_ns: i64) -> Option<PreparedRequest> {
        let turn = self.turns.pop_due(until_ns)?;
        Some(self.prepare(turn))
    }

    fn ended(&mut self, number: u64, end_ns: i64, is_told: bool) {
        if self.asked.remove(&number) && is_told {
            self.undecoded.insert(number, end_ns);
        } else {
            self.turns.ended(number, end_ns);
        }
    }

    fn said(&mut self, reply: Reply) {
        let number = reply.row_number;
        self.replies.keep(reply);
        if let Some(end_ns) = self.undecoded.remove(&number) {
            self.turns.ended(number, end_ns);
        }
    }

    fn is_over(&self) -> bool {
        self.is_at_end && self.roots.is_empty() && self.turns.held() == 0
    }
}

/// About what a row takes in memory.
fn bytes_of(row: &TraceRow) -> usize {
    let text = match &row.text {
        Some(RowText::Prompt(text) | RowText::Messages(text)) => text.len(),
        // Texts of the messages are those of the session's earlier turns.
        Some(RowText::Turns(said)) => 32 * said.len(),
        None => 0,
    };
    256 + 8 * row.prefix_blocks.len() + text
}
