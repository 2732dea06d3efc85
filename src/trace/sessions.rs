//! Tells which rows belong together, and what a row's place among them says about it.
//!
//! Rows are taken in the order of the file; those of one session stand in their own order. A row is
//! of the session that it names, else of its parent's, else, where it has a name of its own, the
//! first of a session of that name.
//!
//! Memory is bounded: the last [`KEPT`] to twice as many sessions are known, and as many rows with a
//! name, at about 100 bytes each. A session that has had no row since begins anew.

use std::sync::Arc;

use crate::draw::hash_text;
use crate::plan::SessionPrompts;

use super::decode::{Decoded, FileRow};
use super::history::{History, PromptFacts};
use super::recent::{KEPT, Recent};
use super::row::{BlockScope, TraceRow};

/// Size of the blocks that stand for a prefix of which only the length is known, in tokens.
const BLOCK_TOKENS: u32 = 16;
/// Bits of a block's id below the number of the row that brought it: a prompt of 268 million tokens.
const BLOCK_BITS: u32 = 24;

/// The sessions of a trace, as far as its rows have been seen.
#[derive(Debug)]
pub(super) struct Sessions {
    by_name: Recent<Session>,
    rows: Recent<Named>,
    prompts: Prompts,
    facts: PromptFacts,
}

/// What becomes of prompts that hold only what is new.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prompts {
    /// What prompts are taken to hold.
    pub(super) asked: SessionPrompts,
    /// What the format says of them.
    pub(super) told: Option<bool>,
    /// Whether they get their history; else they stay as they are, and are marked.
    pub(super) are_made_whole: bool,
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new(Prompts::default())
    }
}

/// Why a row has no place in a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Misplaced {
    /// It has no arrival and is the first of its session.
    NoArrival,
    /// With its history, it is longer than a prompt can be.
    TooLong,
}

/// A session so far.
#[derive(Debug, Default)]
struct Session {
    turns: u32,
    last: Option<Turn>,
    /// What its latest prompt is made of.
    prompt: Vec<Piece>,
    /// All that was said in it, where its prompts hold only what is new.
    history: History,
}

/// A row that a later one can follow.
#[derive(Debug, Clone, Copy)]
struct Turn {
    number: u64,
    arrival_ns: i64,
    elapsed_ns: Option<i64>,
}

/// A row with a name.
#[derive(Debug)]
struct Named {
    session: Arc<str>,
    turn: Turn,
}

/// Blocks of a prompt from one on that came together.
#[derive(Debug, Clone, Copy)]
struct Piece {
    from_block: u32,
    /// What their ids have in common.
    ids: u64,
}

/// The ids of what all sessions begin with, where their first requests share something.
const COMMON_IDS: u64 = 0;

impl Sessions {
    /// Returns what knows no session yet.
    pub(super) fn new(prompts: Prompts) -> Self {
        Self {
            by_name: Recent::new(KEPT),
            rows: Recent::new(KEPT),
            prompts,
            facts: PromptFacts {
                asked: prompts.asked,
                ..PromptFacts::default()
            },
        }
    }

    /// Says what blocks show that prompts hold.
    pub(super) fn recognise(&mut self, new_only: Option<bool>) {
        self.facts.recognised = new_only;
    }

    /// Returns what prompts were found to hold.
    pub(super) fn prompt_facts(&self) -> PromptFacts {
        self.facts
    }

    /// Returns whether a row of a session holds only what is new in its turn.
    fn is_new_only(&self, row: &TraceRow) -> Option<bool> {
        match self.prompts.asked {
            SessionPrompts::Whole => Some(false),
            SessionPrompts::New => Some(true),
            SessionPrompts::Auto => row.new_only.or(self.prompts.told).or(self.facts.recognised),
        }
    }

    /// Puts a row in its place.
    pub(super) fn place(&mut self, decoded: Decoded) -> Result<FileRow, Misplaced> {
        let Decoded {
            mut file_row,
            has_arrival,
            prefix_tokens,
        } = decoded;
        let row = &mut file_row.row;
        let parent = row.parent_id.as_deref().map(hash_text);
        let parent = parent
            .and_then(|parent| self.rows.find(parent))
            .map(|parent| (Arc::clone(&parent.session), parent.turn));
        let session: Option<Arc<str>> = match (&row.session_id, &parent, &row.id) {
            (Some(session), _, _) => Some(session.as_str().into()),
            (None, Some((session, _)), _) => Some(Arc::clone(session)),
            (None, None, Some(id)) => Some(id.as_str().into()),
            (None, None, None) => None,
        };
        let Some(name) = session else {
            return match has_arrival {
                true => Ok(file_row),
                false => Err(Misplaced::NoArrival),
            };
        };
        let key = hash_text(&name);
        if self.by_name.find(key).is_none() {
            self.by_name.insert(key, Session::default());
        }
        row.new_only = self.is_new_only(row);
        let Some(session) = self.by_name.find(key) else {
            return Err(Misplaced::NoArrival);
        };
        let previous = parent.map(|(_, turn)| turn).or(session.last);
        if !has_arrival {
            let Some(previous) = previous else {
                return Err(Misplaced::NoArrival);
            };
            let elapsed_ns = previous.elapsed_ns.unwrap_or(0);
            let end_ns = previous.arrival_ns.saturating_add(elapsed_ns);
            row.arrival_ns = end_ns.saturating_add(row.think_ns.unwrap_or(0));
        }
        if let Some(previous) = previous {
            row.after = Some(previous.number);
            row.think_ns = row.think_ns.or_else(|| {
                let end_ns = previous.arrival_ns.saturating_add(previous.elapsed_ns?);
                Some(row.arrival_ns.saturating_sub(end_ns).max(0))
            });
        }
        row.turn = row.turn.or(Some(session.turns));
        row.session_id = Some(name.to_string());
        let is_told_by_prefix = prefix_tokens.is_some() && row.prefix_blocks.is_empty();
        if let Some(prefix_tokens) = prefix_tokens.filter(|_| is_told_by_prefix) {
            row.prefix_blocks = session.prompt_blocks(prefix_tokens, row.input_tokens, row.number);
            row.block_size = Some(BLOCK_TOKENS);
            row.block_scope = BlockScope::Trace;
        } else if row.new_only == Some(true) {
            session.take_new(row, &mut self.facts, self.prompts.are_made_whole)?;
        }
        let turn = Turn {
            number: row.number,
            arrival_ns: row.arrival_ns,
            elapsed_ns: row.elapsed_ns,
        };
        // Nobody waits for the reply to a request that failed.
        if !row.failed {
            session.turns = session.turns.saturating_add(1);
            session.last = Some(turn);
        }
        if let Some(id) = &row.id {
            let session = name;
            self.rows.insert(hash_text(id), Named { session, turn });
        }
        Ok(file_row)
    }
}

impl Session {
    /// Takes a row that holds only what is new, and puts its history before it where that is wanted.
    fn take_new(
        &mut self,
        row: &mut TraceRow,
        facts: &mut PromptFacts,
        is_made_whole: bool,
    ) -> Result<(), Misplaced> {
        facts.rows += 1;
        facts.new_tokens += u64::from(row.input_tokens);
        if is_made_whole {
            let placed = self.history.put_before(row);
            placed.map_err(|_| Misplaced::TooLong)?;
        }
        facts.whole_tokens += u64::from(row.input_tokens);
        Ok(())
    }

    /// Returns the blocks of a prompt that begins like the session's previous one and goes on anew.
    fn prompt_blocks(&mut self, prefix_tokens: u32, input_tokens: u32, row: u64) -> Vec<u64> {
        let blocks = input_tokens.div_ceil(BLOCK_TOKENS);
        let shared = prefix_tokens.min(input_tokens) / BLOCK_TOKENS;
        self.prompt.retain(|piece| piece.from_block < shared);
        if self.prompt.is_empty() && shared > 0 {
            // A first request can share with other sessions alone, such as a system prompt.
            self.prompt.push(Piece {
                from_block: 0,
                ids: COMMON_IDS,
            });
        }
        self.prompt.push(Piece {
            from_block: shared,
            ids: (row + 1) << BLOCK_BITS,
        });
        let mut ids = Vec::with_capacity(usize::try_from(blocks).unwrap_or(0));
        let ends = self.prompt.iter().skip(1).map(|piece| piece.from_block);
        for (piece, end) in self.prompt.iter().zip(ends.chain([blocks])) {
            let blocks = piece.from_block..end.min(blocks);
            ids.extend(blocks.map(|block| piece.ids | u64::from(block)));
        }
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::{Decoded, FileRow, Sessions};
    use crate::trace::TraceRow;

    /// Places a row; returns its turn and the number of the row that it follows.
    fn place(sessions: &mut Sessions, row: TraceRow, prefix: Option<u32>) -> TraceRow {
        let number = row.number;
        let decoded = Decoded {
            file_row: FileRow {
                row,
                line: None,
                number,
            },
            has_arrival: true,
            prefix_tokens: prefix,
        };
        sessions.place(decoded).unwrap().row
    }

    fn row(number: u64, session: Option<&str>, arrival_ns: i64) -> TraceRow {
        TraceRow {
            number,
            session_id: session.map(str::to_owned),
            arrival_ns,
            input_tokens: 160,
            ..TraceRow::default()
        }
    }

    #[test]
    fn turns_follow_each_other_and_pauses_are_what_replies_leave() {
        let mut sessions = Sessions::default();
        let elapsed = |row: TraceRow| TraceRow {
            elapsed_ns: Some(30),
            ..row
        };
        let first = place(&mut sessions, elapsed(row(0, Some("a"), 0)), None);
        assert_eq!(
            (first.turn, first.after, first.think_ns),
            (Some(0), None, None)
        );
        let other = place(&mut sessions, row(1, Some("b"), 10), None);
        assert_eq!((other.turn, other.after), (Some(0), None));
        let second = place(&mut sessions, elapsed(row(2, Some("a"), 100)), None);
        assert_eq!(
            (second.turn, second.after, second.think_ns),
            (Some(1), Some(0), Some(70))
        );
        let early = place(&mut sessions, row(3, Some("a"), 110), None);
        assert_eq!(
            early.think_ns,
            Some(0),
            "it came before the reply had ended"
        );
        let alone = place(&mut sessions, row(4, None, 120), None);
        assert_eq!((alone.turn, alone.session_id), (None, None));
    }

    #[test]
    fn failed_requests_are_no_turn_to_wait_on() {
        let mut sessions = Sessions::default();
        place(&mut sessions, row(0, Some("a"), 0), None);
        let failed = TraceRow {
            failed: true,
            ..row(1, Some("a"), 10)
        };
        place(&mut sessions, failed, None);
        let next = place(&mut sessions, row(2, Some("a"), 20), None);
        assert_eq!((next.turn, next.after), (Some(1), Some(0)));
    }

    #[test]
    fn prompts_share_what_their_prefix_says_until_it_is_cut() {
        let mut sessions = Sessions::default();
        let blocks = |sessions: &mut Sessions, number, session, prefix| {
            place(sessions, row(number, Some(session), 0), Some(prefix)).prefix_blocks
        };
        let first = blocks(&mut sessions, 0, "a", 32);
        let second = blocks(&mut sessions, 1, "a", 160);
        let third = blocks(&mut sessions, 2, "a", 48);
        let other = blocks(&mut sessions, 3, "b", 32);
        assert_eq!(first.len(), 10);
        assert_eq!(first, second);
        assert_eq!(first[..3], third[..3]);
        assert!(first[3..].iter().all(|id| !third.contains(id)));
        assert_eq!(
            first[..2],
            other[..2],
            "a first request shares with other sessions"
        );
        assert!(first[2..].iter().all(|id| !other.contains(id)));
    }
}
