//! Sessions and their turns, in bounded memory.
//!
//! A session is known by a 64-bit hash of its id. Up to [`SESSIONS_MAX`] of them are all kept, which
//! takes up to 71 MiB, 107 MiB while the table grows. When there are more, half of them go, chosen
//! by their hash, and so do half of those that are yet to come: the sessions that are left are a
//! fair sample, with all of their turns. Their number is then an estimate, to about 1 part in a
//! thousand.

use std::collections::HashMap;

use crate::draw::hash_text;

use super::tally::{Distribution, Tally};

/// Sessions that are kept: as many as fit a table of 2^22 places.
pub(super) const SESSIONS_MAX: usize = (1 << 22) / 8 * 7;
/// Different numbers of turns that are told apart.
const DIFFERENT_TURNS_MAX: usize = 1 << 16;

/// Counts the rows of each session.
#[derive(Debug)]
pub(super) struct Sessions {
    turns: HashMap<u64, u64>,
    sessions_max: usize,
    /// One session in 2^halvings is kept.
    halvings: u32,
}

/// How many sessions there are, and how long they are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SessionFacts {
    /// Number of sessions.
    pub(crate) sessions: u64,
    /// Whether there were too many to count, so that their number is an estimate.
    pub(crate) is_estimated: bool,
    /// Rows a session; none without sessions.
    pub(crate) turns: Option<Distribution>,
}

impl Sessions {
    /// Returns what has seen no session, and keeps up to `sessions_max` of them.
    pub(super) fn new(sessions_max: usize) -> Self {
        Self {
            turns: HashMap::new(),
            sessions_max,
            halvings: 0,
        }
    }

    /// Takes one row of the session called `id`.
    pub(super) fn add(&mut self, id: &str) {
        let hash = hash_text(id);
        if !is_kept(hash, self.halvings) {
            return;
        }
        *self.turns.entry(hash).or_insert(0) += 1;
        while self.turns.len() > self.sessions_max {
            self.halvings += 1;
            let halvings = self.halvings;
            self.turns.retain(|hash, _| is_kept(*hash, halvings));
        }
    }

    /// Returns what was found.
    pub(super) fn facts(&self) -> SessionFacts {
        let mut turns = Tally::new(DIFFERENT_TURNS_MAX);
        self.turns.values().for_each(|&count| turns.add(count));
        let kept = u64::try_from(self.turns.len()).unwrap_or(u64::MAX);
        SessionFacts {
            sessions: kept.checked_shl(self.halvings).unwrap_or(u64::MAX),
            is_estimated: self.halvings > 0,
            turns: turns.distribution(),
        }
    }
}

/// Says whether a session is among those that are left after so many halvings.
fn is_kept(hash: u64, halvings: u32) -> bool {
    hash.trailing_zeros() >= halvings
}

#[cfg(test)]
#[expect(
    clippy::cast_precision_loss,
    reason = "the numbers of these tests are small"
)]
mod tests {
    use proptest::prelude::*;

    use super::Sessions;

    #[test]
    fn without_sessions_there_are_none() {
        let found = Sessions::new(10).facts();
        assert_eq!((found.sessions, found.is_estimated), (0, false));
        assert_eq!(found.turns, None);
    }

    #[test]
    fn too_many_sessions_are_estimated_and_stay_whole() {
        let mut sessions = Sessions::new(4_000);
        for turn in 0..3 {
            for session in 0..100_000 {
                // Sessions of one turn, and of three.
                if turn == 0 || session % 2 == 0 {
                    sessions.add(&format!("session {session}"));
                }
            }
        }
        assert!(sessions.turns.len() <= 4_000);
        let found = sessions.facts();
        assert!(found.is_estimated);
        // Five standard deviations, where at least 2,000 are kept.
        assert!(
            found.sessions.abs_diff(100_000) < 11_000,
            "{}",
            found.sessions
        );
        let turns = found.turns.unwrap();
        assert_eq!(turns.max, 3);
        assert!((turns.mean - 2.0).abs() < 0.12, "{}", turns.mean);
    }

    proptest! {
        #[test]
        fn turns_are_counted_by_session(rows in prop::collection::vec(0_usize..30, 1..200)) {
            let mut sessions = Sessions::new(30);
            let mut counts = [0_u64; 30];
            for &row in &rows {
                sessions.add(&format!("s{row}"));
                counts[row] += 1;
            }
            let found = sessions.facts();
            let real: Vec<u64> = counts.into_iter().filter(|&count| count > 0).collect();
            prop_assert_eq!(found.sessions, real.len() as u64);
            prop_assert!(!found.is_estimated);
            let turns = found.turns.unwrap();
            prop_assert_eq!(Some(&turns.max), real.iter().max());
            let mean = rows.len() as f64 / real.len() as f64;
            prop_assert!((turns.mean - mean).abs() < 1e-9);
        }
    }
}
