//! What the prompts of a session hold: all that was said, or what is new in each turn.
//!
//! Most traces write each prompt whole: it begins with the prompt before it. Some write only what a
//! turn adds. Sent as it stands, such a turn would be a short prompt that shares nothing; so it gets
//! its history here, which is every earlier prompt and reply of its session.
//!
//! Which of the two a trace does is told by its format or by the row, else recognised by the blocks: a
//! later row of a session whose first block no earlier row of it began with does not go on from them.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::draw::hash_text;
use crate::plan::SessionPrompts;

use super::decode::{Decoded, TOKENS_MAX};
use super::recent::{KEPT, Recent};
use super::row::{RowText, Said, TraceRow};

/// What was found of a trace's sessions so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PromptFacts {
    /// What was asked for.
    pub asked: SessionPrompts,
    /// Whether blocks showed that turns hold only what is new; none where nothing showed either.
    pub recognised: Option<bool>,
    /// Rows that hold only what is new in their session's turn.
    pub rows: u64,
    /// Tokens that they hold, where their length is known.
    pub new_tokens: u64,
    /// Tokens of their prompts with what came before in their sessions.
    pub whole_tokens: u64,
}

/// First blocks of a session's prompts that are remembered.
const STARTS_MAX: usize = 8;

/// Finds out from blocks what prompts hold.
#[derive(Debug)]
pub(super) struct Habits {
    sessions: Recent<Begun>,
    whole: u64,
    new: u64,
    decided: Option<bool>,
}

/// How a session's prompts have begun.
#[derive(Debug, Default)]
struct Begun {
    /// The first blocks.
    starts: Vec<u64>,
    /// Whether some prompt filled its first block: one that did not could not be gone on from.
    is_full: bool,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            sessions: Recent::new(KEPT),
            whole: 0,
            new: 0,
            decided: None,
        }
    }
}

impl Habits {
    /// Takes further rows of the trace in, until something shows.
    pub(super) fn observe(&mut self, rows: &[Decoded]) {
        if self.decided.is_some() {
            return;
        }
        for decoded in rows {
            let row = &decoded.file_row.row;
            let (Some(session), Some(&start)) = (&row.session_id, row.prefix_blocks.first()) else {
                continue;
            };
            if row.failed {
                continue;
            }
            let key = hash_text(session);
            let begun = match self.sessions.find(key) {
                Some(begun) => begun,
                None => self.sessions.insert(key, Begun::default()),
            };
            if begun.starts.contains(&start) {
                self.whole += 1;
            } else if begun.is_full {
                self.new += 1;
            }
            begun.is_full |= row.input_tokens >= row.block_size.unwrap_or(u32::MAX);
            if begun.starts.len() < STARTS_MAX && !begun.starts.contains(&start) {
                begun.starts.push(start);
            }
        }
        if self.whole + self.new > 0 {
            self.decided = Some(self.new > self.whole);
            self.sessions = Recent::new(KEPT);
        }
    }

    /// Returns whether turns hold only what is new, once something shows it.
    pub(super) fn decided(&self) -> Option<bool> {
        self.decided
    }
}

/// All that was said in a session: 12 to 16 bytes a block, and its text once.
#[derive(Debug, Default)]
pub(super) struct History {
    pieces: Vec<Piece>,
    tokens: u32,
    said: Vec<Said>,
    /// Whether some text came without its length.
    is_of_unknown_length: bool,
    tools: Option<Value>,
}

/// A part of a prompt that is the same text wherever it stands.
#[derive(Debug, Clone, Copy)]
struct Piece {
    id: u64,
    tokens: u32,
}

/// What marks ids that are made here: those of traces are small numbers or hashes of 63 bits at most.
const MADE: u64 = 1 << 63;

/// Returns the id of what a row's blocks leave of its prompt.
fn rest_id(row: u64) -> u64 {
    MADE | (row << 1)
}

/// Returns the id of the block that the reply to a row is made from, where the trace does not bring it.
pub fn reply_id(row: u64) -> u64 {
    MADE | (row << 1) | 1
}

/// A prompt that would be longer than a prompt can be.
#[derive(Debug)]
pub(super) struct TooLong;

impl History {
    /// Puts what was said before in front of a row that holds what is new.
    pub(super) fn put_before(&mut self, row: &mut TraceRow) -> Result<(), TooLong> {
        let whole = u64::from(self.tokens) + u64::from(row.input_tokens);
        let whole = u32::try_from(whole).map_err(|_| TooLong)?;
        if whole > TOKENS_MAX {
            return Err(TooLong);
        }
        match row.text.take() {
            None => self.put_blocks_before(row),
            Some(text) => self.put_text_before(row, text),
        }
        if !row.failed {
            self.tokens = whole.saturating_add(row.output_tokens);
        }
        row.input_tokens = if self.is_of_unknown_length { 0 } else { whole };
        Ok(())
    }

    fn put_blocks_before(&mut self, row: &mut TraceRow) {
        let size = row.block_size.filter(|&size| size > 0);
        let mut left = row.input_tokens;
        let mut own = Vec::with_capacity(row.prefix_blocks.len() + 2);
        for &id in &row.prefix_blocks {
            let tokens = size.unwrap_or(0).min(left);
            if tokens == 0 {
                break;
            }
            own.push(Piece { id, tokens });
            left -= tokens;
        }
        if left > 0 {
            own.push(Piece {
                id: rest_id(row.number),
                tokens: left,
            });
        }
        let all = || self.pieces.iter().chain(&own);
        row.prefix_blocks = all().map(|piece| piece.id).collect();
        row.block_tokens = all().map(|piece| piece.tokens).collect();
        row.block_size = size.or(Some(1));
        if !row.failed {
            self.pieces.append(&mut own);
            self.pieces.push(Piece {
                id: reply_id(row.number),
                tokens: row.output_tokens,
            });
        }
    }

    fn put_text_before(&mut self, row: &mut TraceRow, text: RowText) {
        self.is_of_unknown_length |= row.input_tokens == 0;
        let messages: Arc<str> = match text {
            RowText::Messages(messages) => messages.into(),
            RowText::Prompt(prompt) => {
                let message = json!([{ "role": "user", "content": prompt }]);
                message.to_string().into()
            }
            // Made here alone, and once a row.
            RowText::Turns(_) => return,
        };
        let mut said = self.said.clone();
        if begins_with_reply(&messages) && matches!(said.last(), Some(Said::Reply { .. })) {
            said.pop();
        }
        said.push(Said::Messages(messages));
        self.take_tools(row);
        if !row.failed {
            self.said.clone_from(&said);
            if row.output_tokens > 0 {
                self.said.push(Said::Reply {
                    row: row.number,
                    tokens: row.output_tokens,
                });
            }
        }
        row.text = Some(RowText::Turns(said));
    }

    /// Lets tools that a turn declares hold for those after it.
    fn take_tools(&mut self, row: &mut TraceRow) {
        let mut body: Map<String, Value> = row
            .body
            .as_deref()
            .and_then(|body| serde_json::from_str(body).ok())
            .unwrap_or_default();
        if let Some(tools) = body.get("tools") {
            self.tools = Some(tools.clone());
        } else if let Some(tools) = &self.tools {
            body.insert("tools".to_owned(), tools.clone());
            row.body = Some(Value::Object(body).to_string());
        }
    }
}

/// Returns whether messages begin with what the model said: the trace brings its reply then.
fn begins_with_reply(messages: &str) -> bool {
    let messages: Vec<Value> = serde_json::from_str(messages).unwrap_or_default();
    messages
        .first()
        .is_some_and(|message| message["role"] == "assistant")
}
