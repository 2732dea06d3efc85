//! Which prefix blocks are shared, and which rows without a session belong to one conversation.
//!
//! A trace may tell conversations by nothing but their blocks. A row continues an earlier one where
//! its first blocks are all full blocks of that one. A system prompt that happens to be all full
//! blocks of some short row looks the same; what gives it away is that many rows go on from there,
//! each in its own way.

use std::collections::HashMap;

use crate::trace::row::{BlockScope, TraceRow};

/// Rows that may go on from the end of a prompt, each in its own way, and still be its conversation:
/// the next turn, and answers that were asked for again.
const BRANCHES_MAX: u8 = 4;

/// Number of a session, or of a conversation that was found by its blocks.
pub(super) type Group = u32;

/// What is known of one block.
#[derive(Debug, Clone, Copy)]
struct Block {
    /// The group that had it first.
    group: Group,
    /// Whether the prompt that brought it ends here, but for a block that is not full.
    is_end: bool,
    /// Whether several groups have it.
    is_shared: bool,
    /// Rows that went on from here to a block of their own.
    branches: u8,
}

/// The blocks of the rows so far.
///
/// Takes 16 bytes for each distinct block, and up to twice that for the room that a hash table has.
#[derive(Debug, Default)]
pub(super) struct Chains {
    in_trace: HashMap<u64, Block>,
    in_file: HashMap<u64, Block>,
}

impl Chains {
    /// Returns the group of a row without a session: that of the row which it continues.
    ///
    /// Each row is asked for once, before it is added.
    pub(super) fn continued_group(&mut self, row: &TraceRow) -> Option<Group> {
        let blocks = self.in_scope_mut(row.block_scope)?;
        let known = row
            .prefix_blocks
            .iter()
            .take_while(|id| blocks.contains_key(id));
        let known = known.count();
        let last = row.prefix_blocks.get(known.checked_sub(1)?)?;
        let is_branch = known < row.prefix_blocks.len();
        let last = blocks.get_mut(last)?;
        if is_branch {
            last.branches = last.branches.saturating_add(1);
        }
        (last.is_end && last.branches <= BRANCHES_MAX).then_some(last.group)
    }

    /// Takes the blocks of a row in.
    pub(super) fn add(&mut self, row: &TraceRow, group: Group) {
        let (size, tokens) = (row.block_size.unwrap_or(1).max(1), row.input_tokens);
        let Some(blocks) = self.in_scope_mut(row.block_scope) else {
            return;
        };
        let full = usize::try_from(tokens / size).unwrap_or(usize::MAX);
        for (at, &id) in row.prefix_blocks.iter().enumerate() {
            let is_end = at + 1 >= full.min(row.prefix_blocks.len());
            let block = blocks.entry(id).or_insert(Block {
                group,
                is_end,
                is_shared: false,
                branches: 0,
            });
            block.is_shared |= block.group != group;
        }
    }

    /// Returns whether a block belongs to one group alone.
    pub(super) fn is_private(&self, scope: BlockScope, id: u64) -> bool {
        let blocks = match scope {
            BlockScope::Trace => &self.in_trace,
            BlockScope::File => &self.in_file,
            BlockScope::Session => return true,
        };
        blocks.get(&id).is_some_and(|block| !block.is_shared)
    }

    /// Returns a number that depends on the ids and on nothing else.
    pub(super) fn fingerprint(&self) -> u64 {
        let ids = self.in_trace.keys().chain(self.in_file.keys());
        // A sum: a hash table has no order. Squares: ids are often 0 to n.
        ids.fold(0, |sum, &id| {
            let odd = id.wrapping_mul(2).wrapping_add(1);
            sum.wrapping_add(odd.wrapping_mul(odd).rotate_left(29))
        })
    }

    /// Returns the blocks that share a scope; none where that is the session.
    fn in_scope_mut(&mut self, scope: BlockScope) -> Option<&mut HashMap<u64, Block>> {
        match scope {
            BlockScope::Trace => Some(&mut self.in_trace),
            BlockScope::File => Some(&mut self.in_file),
            BlockScope::Session => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BRANCHES_MAX, Chains, Group};
    use crate::trace::row::{BlockScope, TraceRow};

    fn row(tokens: u32, blocks: &[u64]) -> TraceRow {
        TraceRow {
            input_tokens: tokens,
            output_tokens: 1,
            prefix_blocks: blocks.to_vec(),
            block_size: Some(10),
            ..TraceRow::default()
        }
    }

    fn groups(rows: &[(u32, &[u64])]) -> (Vec<Group>, Chains) {
        let mut chains = Chains::default();
        let mut next = 0;
        let rows = rows.iter().map(|(tokens, blocks)| row(*tokens, blocks));
        let groups = rows.map(|row| {
            let group = chains.continued_group(&row).unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            chains.add(&row, group);
            group
        });
        (groups.collect(), chains)
    }

    #[test]
    fn a_prompt_that_goes_on_from_another_belongs_to_it() {
        let (found, chains) = groups(&[
            (25, &[0, 1, 2]),
            // Shares the system prompt and no more.
            (25, &[0, 3, 4]),
            // Goes on from the first: its third block was not full, and is another now.
            (35, &[0, 1, 5, 6]),
            (48, &[0, 1, 5, 7, 8]),
            (31, &[0, 3, 9, 10]),
        ]);
        assert_eq!(found, [0, 1, 0, 0, 1]);
        assert!(!chains.is_private(BlockScope::Trace, 0));
        assert!((1..=10).all(|id| chains.is_private(BlockScope::Trace, id)));
        assert!(!chains.is_private(BlockScope::Trace, 11));
    }

    #[test]
    fn a_system_prompt_that_is_all_of_a_short_row_ties_nobody_together() {
        let mut rows: Vec<(u32, Vec<u64>)> = vec![(15, vec![0, 1])];
        rows.extend((10..100).map(|id| (25, vec![0, id, id + 1000])));
        let rows: Vec<(u32, &[u64])> = rows
            .iter()
            .map(|(tokens, blocks)| (*tokens, blocks.as_slice()))
            .collect();
        let (found, chains) = groups(&rows);
        let in_first = found.iter().filter(|&&group| group == 0).count();
        assert_eq!(in_first, 1 + usize::from(BRANCHES_MAX));
        assert!(!chains.is_private(BlockScope::Trace, 0));
    }

    #[test]
    fn a_prompt_that_is_sent_again_is_no_branch() {
        let again: Vec<(u32, &[u64])> = vec![(20, &[1, 2]); 20];
        let (found, _) = groups(&again);
        assert!(found.iter().all(|&group| group == 0));
    }

    #[test]
    fn blocks_of_different_scopes_are_different() {
        let mut chains = Chains::default();
        chains.add(&row(10, &[1]), 0);
        let mut other = row(10, &[1]);
        other.block_scope = BlockScope::File;
        chains.add(&other, 1);
        assert!(chains.is_private(BlockScope::Trace, 1));
        assert!(chains.is_private(BlockScope::File, 1));
    }

    #[test]
    fn a_fingerprint_knows_ids_and_not_their_order() {
        let (_, one) = groups(&[(20, &[1, 2]), (20, &[3, 4])]);
        let (_, two) = groups(&[(20, &[3, 4]), (20, &[1, 2])]);
        let (_, other) = groups(&[(20, &[1, 2]), (20, &[3, 5])]);
        assert_eq!(one.fingerprint(), two.fingerprint());
        assert_ne!(one.fingerprint(), other.fingerprint());
    }
}
