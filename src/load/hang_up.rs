//! On which requests the client hangs up, and when: as users do who leave.

use crate::draw::{Draw, field};

/// A share of the requests that the client hangs up on before they have ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HangUp {
    /// Share of the measured requests, 0 to 1.
    pub share: f64,
    /// Time since the request went out, in nanoseconds.
    pub after_ns: i64,
    /// Seed of the choice.
    pub seed: u64,
}

impl HangUp {
    /// Returns how long after its send request number `index` is hung up on, in nanoseconds; `None`
    /// where it is not. The same seed chooses the same requests.
    pub(super) fn of(self, index: u64) -> Option<i64> {
        let is_chosen = Draw::new(self.seed, index, field::HANG_UP).fraction() < self.share;
        is_chosen.then_some(self.after_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_requests_is_chosen_and_the_same_ones_again() {
        let chosen = |share, seed| -> Vec<u64> {
            let hang_up = HangUp {
                share,
                after_ns: 5,
                seed,
            };
            (0..10_000)
                .filter(|index| hang_up.of(*index) == Some(5))
                .collect()
        };
        assert!(chosen(0.0, 1).is_empty());
        assert_eq!(chosen(1.0, 1).len(), 10_000);
        let some = chosen(0.2, 1);
        assert!((1_850..2_150).contains(&some.len()), "{}", some.len());
        assert_eq!(some, chosen(0.2, 1));
        assert_ne!(some, chosen(0.2, 2));
    }
}
