//! What an endless prefix cache would have had of the prompts.
//!
//! A prompt's hit is the run of blocks at its start that some row before it had, in the order of
//! the file. Blocks behind the first new one don't count: a cache of prefixes can't use them.
//!
//! A block is known by a 64-bit hash of its id and of the scope in which the id has meaning. A
//! million different blocks take 18 MiB, and up to [`BLOCKS_MAX`] are kept, which takes 144 MiB and
//! half as much again while the table grows. Rows after that are left out, and the share is then
//! that of the rows before: it can't be had from a sample of the blocks.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::draw::hash_text;
use crate::trace::row::{BlockScope, TraceRow};

use super::ratio::ratio;

/// Blocks that are kept: as many as fit a table of 2^24 places.
pub(super) const BLOCKS_MAX: usize = (1 << 24) / 8 * 7;

/// Remembers the blocks of all rows so far.
#[derive(Debug)]
pub(super) struct Prefixes {
    seen: HashSet<u64>,
    blocks_max: usize,
    facts: PrefixFacts,
}

/// What an endless prefix cache would have had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PrefixFacts {
    /// Rows that have blocks.
    pub(crate) rows: u64,
    /// Blocks of their prompts.
    pub(crate) blocks: u64,
    /// Blocks among them that the cache would have had.
    pub(crate) hits: u64,
    /// Different blocks among them; those of rows that can share with no other are left out.
    pub(crate) distinct: u64,
    /// Rows with blocks that came after too many different blocks, and are left out.
    pub(crate) rows_left_out: u64,
}

impl PrefixFacts {
    /// Returns the share of the blocks that the cache would have had; none without blocks.
    pub(crate) fn hit_share(&self) -> Option<f64> {
        ratio(self.hits, self.blocks)
    }
}

/// Where a block's id has meaning, as [`PromptSpec::of_row`](crate::workload::PromptSpec::of_row)
/// has it.
#[derive(Debug, Clone, Copy, Hash)]
enum Scope {
    Trace,
    File(u64),
    Session(u64),
}

impl Scope {
    /// Returns none for a row whose ids have no meaning anywhere else.
    fn of(row: &TraceRow) -> Option<Self> {
        match (row.block_scope, &row.session_id) {
            (BlockScope::Trace, _) => Some(Self::Trace),
            (BlockScope::File, _) => Some(Self::File(row.file)),
            (BlockScope::Session, Some(session)) => Some(Self::Session(hash_text(session))),
            (BlockScope::Session, None) => None,
        }
    }

    fn key(self, id: u64) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self, id).hash(&mut hasher);
        hasher.finish()
    }
}

impl Prefixes {
    /// Returns an empty cache that keeps up to `blocks_max` blocks.
    pub(super) fn new(blocks_max: usize) -> Self {
        Self {
            seen: HashSet::new(),
            blocks_max,
            facts: PrefixFacts::default(),
        }
    }

    /// Takes the next row. Returns how many blocks at its start rows before it had; none where it has
    /// no blocks, or came after too many.
    pub(super) fn add(&mut self, row: &TraceRow) -> Option<usize> {
        if row.prefix_blocks.is_empty() {
            return None;
        }
        let room = self.blocks_max.saturating_sub(self.seen.len());
        if self.facts.rows_left_out > 0 || row.prefix_blocks.len() > room {
            self.facts.rows_left_out += 1;
            return None;
        }
        self.facts.rows += 1;
        self.facts.blocks += u64::try_from(row.prefix_blocks.len()).unwrap_or(u64::MAX);
        let Some(scope) = Scope::of(row) else {
            return Some(0);
        };
        let keys: Vec<u64> = row.prefix_blocks.iter().map(|&id| scope.key(id)).collect();
        let hits = keys.iter().take_while(|key| self.seen.contains(key));
        let hits = hits.count();
        self.facts.hits += u64::try_from(hits).unwrap_or(u64::MAX);
        self.seen.extend(keys);
        Some(hits)
    }

    /// Returns what was found.
    pub(super) fn facts(&self) -> PrefixFacts {
        PrefixFacts {
            distinct: u64::try_from(self.seen.len()).unwrap_or(u64::MAX),
            ..self.facts
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::{PrefixFacts, Prefixes};
    use crate::trace::inspect::fixture::row;
    use crate::trace::{BlockScope, TraceRow};

    fn with_blocks(scope: BlockScope, session: Option<&str>, ids: &[u64]) -> TraceRow {
        TraceRow {
            session_id: session.map(str::to_owned),
            prefix_blocks: ids.to_vec(),
            block_size: Some(16),
            block_scope: scope,
            ..row(0)
        }
    }

    fn facts(rows: &[TraceRow]) -> PrefixFacts {
        let mut prefixes = Prefixes::new(1_000);
        for row in rows {
            prefixes.add(row);
        }
        prefixes.facts()
    }

    #[test]
    fn a_hit_ends_at_the_first_block_that_is_new() {
        let of = |ids: &[u64]| with_blocks(BlockScope::Trace, None, ids);
        let found = facts(&[
            of(&[1, 2, 3]),
            of(&[1, 2, 9, 3]),
            of(&[4, 1]),
            of(&[4, 1, 9]),
        ]);
        assert_eq!((found.rows, found.blocks, found.hits), (4, 12, 2 + 3));
        assert_eq!(found.distinct, 5);
        assert_eq!(found.rows_left_out, 0);
    }

    #[test]
    fn a_block_is_not_its_own_hit() {
        let found = facts(&[with_blocks(BlockScope::Trace, None, &[7, 7, 7])]);
        assert_eq!((found.blocks, found.hits), (3, 0));
    }

    #[test]
    fn an_id_means_nothing_outside_its_scope() {
        let rows = [
            with_blocks(BlockScope::Session, Some("a"), &[1]),
            with_blocks(BlockScope::Session, Some("b"), &[1]),
            with_blocks(BlockScope::Session, Some("a"), &[1]),
            with_blocks(BlockScope::Session, None, &[1]),
            with_blocks(BlockScope::Session, None, &[1]),
            with_blocks(BlockScope::Trace, Some("a"), &[1]),
            with_blocks(BlockScope::File, Some("a"), &[1]),
            with_blocks(BlockScope::File, Some("b"), &[1]),
        ];
        let found = facts(&rows);
        assert_eq!((found.blocks, found.hits), (8, 2));
    }

    #[test]
    fn without_blocks_there_is_no_share() {
        assert_eq!(facts(&[row(0), row(1)]).hit_share(), None);
    }

    #[test]
    fn too_many_blocks_leave_the_later_rows_out() {
        let mut prefixes = Prefixes::new(5);
        let of = |ids: &[u64]| with_blocks(BlockScope::Trace, None, ids);
        for ids in [&[1, 2][..], &[1, 2], &[1, 2, 3, 4], &[1], &[1]] {
            prefixes.add(&of(ids));
        }
        let found = prefixes.facts();
        assert_eq!((found.rows, found.rows_left_out), (2, 3));
        assert_eq!(found.hit_share(), Some(0.5));
    }

    proptest! {
        #[test]
        fn hits_are_those_of_a_plain_set(
            prompts in prop::collection::vec(
                (prop::collection::vec(0_u64..6, 0..6), 0_usize..3),
                0..40,
            ),
        ) {
            let names = ["a", "b", "c"];
            let mut seen = BTreeSet::new();
            let (mut blocks, mut hits) = (0, 0);
            let mut rows = Vec::new();
            for (ids, session) in &prompts {
                blocks += ids.len() as u64;
                hits += ids.iter().take_while(|id| seen.contains(&(*session, **id))).count() as u64;
                seen.extend(ids.iter().map(|id| (*session, *id)));
                rows.push(with_blocks(BlockScope::Session, Some(names[*session]), ids));
            }
            let found = facts(&rows);
            prop_assert_eq!((found.blocks, found.hits), (blocks, hits));
            prop_assert_eq!(found.distinct, seen.len() as u64);
        }
    }
}
