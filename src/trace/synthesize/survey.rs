//! What has to be known of a whole trace before its first row can be written.

use std::collections::HashMap;

use super::chains::{Chains, Group};
use super::lengths::{Rounding, rounding_of};
use super::plan::Span;
use crate::draw::hash_text;
use crate::trace::decode::FileRow;
use crate::trace::row::{BlockScope, TraceRow};

/// Stands for a row that belongs with no other.
const ALONE: Group = Group::MAX;

/// The facts of one pass over a trace.
///
/// Memory: 4 bytes a row of a trace that has sessions or blocks, about 40 bytes a session or
/// conversation, and what [`Chains`] says a block. A trace with neither takes none.
#[derive(Debug, Default)]
pub(super) struct Survey {
    rows: u64,
    first_ns: Option<i64>,
    last_ns: Option<i64>,
    /// The group of each row, up to the last one that has any.
    groups: Vec<Group>,
    /// For each group, the number of its first row.
    first_numbers: Vec<u64>,
    sessions: HashMap<u64, Group>,
    chains: Chains,
    /// Largest number that a session or parent id ends in, behind a `#`.
    suffix_max: u64,
    counted_up: u64,
    counted_down: u64,
}

impl Survey {
    /// Takes the next row in.
    pub(super) fn add(&mut self, file_row: &FileRow) {
        let row = &file_row.row;
        self.rows += 1;
        self.first_ns = Some(self.first_ns.unwrap_or(row.arrival_ns).min(row.arrival_ns));
        self.last_ns = self.last_ns.max(Some(row.arrival_ns));
        for id in [&row.session_id, &row.parent_id].into_iter().flatten() {
            self.suffix_max = self.suffix_max.max(suffix(id));
        }
        match row.block_size.filter(|_| !row.prefix_blocks.is_empty()) {
            None => {}
            Some(size) => match rounding_of(row.input_tokens, row.prefix_blocks.len(), size) {
                Some(Rounding::Up) => self.counted_up += 1,
                Some(Rounding::Down) => self.counted_down += 1,
                None => {}
            },
        }
        let Some(group) = self.new_group(row, file_row.number) else {
            return;
        };
        self.chains.add(row, group);
        let at = usize::try_from(file_row.number).unwrap_or(usize::MAX);
        self.groups.resize(at, ALONE);
        self.groups.push(group);
    }

    /// Returns the group that a new row belongs to, none where it belongs with no other.
    fn new_group(&mut self, row: &TraceRow, number: u64) -> Option<Group> {
        let next = Group::try_from(self.first_numbers.len()).unwrap_or(ALONE - 1);
        let group = match &row.session_id {
            Some(session) => *self.sessions.entry(hash_text(session)).or_insert(next),
            None if row.prefix_blocks.is_empty() || row.block_scope == BlockScope::Session => {
                return None;
            }
            None => self.chains.continued_group(row).unwrap_or(next),
        };
        if group == next {
            self.first_numbers.push(number);
        }
        Some(group)
    }

    /// Returns how many rows there are.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns when the trace begins and how long it is.
    pub(super) fn span(&self) -> Span {
        let zero_ns = self.first_ns.unwrap_or(0);
        let last_ns = self.last_ns.unwrap_or(0);
        Span {
            zero_ns,
            length_ns: last_ns.saturating_sub(zero_ns).saturating_add(1),
        }
    }

    /// Returns the group of a row; none where it belongs with no other.
    pub(super) fn group(&self, number: u64) -> Option<Group> {
        let at = usize::try_from(number).ok()?;
        let group = self.groups.get(at).copied()?;
        (group != ALONE).then_some(group)
    }

    /// Returns how many groups there are.
    pub(super) fn groups(&self) -> usize {
        self.first_numbers.len()
    }

    /// Returns the number of the first row of a row's group, which may be itself.
    pub(super) fn first_number(&self, group: Option<Group>, number: u64) -> u64 {
        let at = group.and_then(|group| usize::try_from(group).ok());
        at.and_then(|at| self.first_numbers.get(at).copied())
            .unwrap_or(number)
    }

    /// Returns whether a block belongs to one session or conversation alone.
    pub(super) fn is_private(&self, scope: BlockScope, id: u64) -> bool {
        self.chains.is_private(scope, id)
    }

    /// Returns which way blocks are counted where a row does not tell.
    pub(super) fn rounding(&self) -> Rounding {
        if self.counted_down > self.counted_up {
            Rounding::Down
        } else {
            Rounding::Up
        }
    }

    /// Returns a number that tells new block ids from those that this or any other trace has. Takes a
    /// look at every block.
    pub(super) fn salt(&self) -> u64 {
        self.chains.fingerprint()
    }

    /// Returns what the second instance of a session is called behind the `#`.
    pub(super) fn first_suffix(&self) -> u64 {
        self.suffix_max.max(1).saturating_add(1)
    }
}

/// Returns the number that an id ends in behind a `#`, 0 where there is none.
fn suffix(id: &str) -> u64 {
    id.rsplit_once('#')
        .and_then(|(_, number)| number.parse::<u32>().ok())
        .map_or(0, u64::from)
}

#[cfg(test)]
mod tests {
    use super::suffix;

    #[test]
    fn a_suffix_is_a_number_behind_the_last_mark() {
        assert_eq!(suffix("a#2"), 2);
        assert_eq!(suffix("a#2#17"), 17);
        assert_eq!(suffix("a"), 0);
        assert_eq!(suffix("a#"), 0);
        assert_eq!(suffix("issue #4 again"), 0);
    }
}
