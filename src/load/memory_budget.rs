//! How much memory the answers in flight may take, each and all together.
//!
//! A server decides how much it sends; it must not decide how much of that is kept. What counts is
//! text that is kept or has to be counted, and the bytes of events that are not yet whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What an answer may take whatever the others do, so that one that takes everything does not cost
/// those that take little.
const FREE_BYTES: usize = 16 << 10;

const MIB: usize = 1 << 20;

/// The bounds on what is kept of answers, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    /// Text of one answer.
    pub(super) answer_bytes: usize,
    /// Text and unfinished events of all answers, beyond what each may take anyway.
    pub(super) total_bytes: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            answer_bytes: 16 * MIB,
            total_bytes: 256 * MIB,
        }
    }
}

/// A bound that was passed. The words are the same for every request, so that they can be counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum OverBound {
    /// See [`Bounds::answer_bytes`].
    #[error("the text of the answer is over {} MiB, which is what is kept of one", .0 / MIB)]
    Answer(usize),
    /// See [`Bounds::total_bytes`].
    #[error("the answers in flight hold over {} MiB, which is what is kept of all", .0 / MIB)]
    Total(usize),
}

/// What all answers may take together; copies share it.
#[derive(Debug, Clone, Default)]
pub(super) struct MemoryBudget {
    bounds: Bounds,
    /// What is taken. Every [`Reservation`] adds to it and takes back what it added.
    taken_bytes: Arc<AtomicUsize>,
}

impl MemoryBudget {
    #[cfg(test)]
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            taken_bytes: Arc::default(),
        }
    }

    /// Makes the reservation of an answer that holds nothing yet.
    pub(super) fn reserve(&self) -> Reservation {
        Reservation {
            budget: self.clone(),
            text_bytes: 0,
            unfinished_bytes: 0,
        }
    }

    #[cfg(test)]
    pub(super) fn taken_bytes(&self) -> usize {
        self.taken_bytes.load(Ordering::Relaxed)
    }
}

/// What one answer has taken of a [`MemoryBudget`]; dropping it gives that back.
#[derive(Debug)]
pub(super) struct Reservation {
    budget: MemoryBudget,
    text_bytes: usize,
    unfinished_bytes: usize,
}

impl Reservation {
    /// Asks for room for `more_bytes` of text.
    ///
    /// # Errors
    ///
    /// The bound that would be passed; nothing is taken then.
    pub(super) fn add_text(&mut self, more_bytes: usize) -> Result<(), OverBound> {
        let text_bytes = self.text_bytes.saturating_add(more_bytes);
        let bound = self.budget.bounds.answer_bytes;
        if text_bytes > bound {
            return Err(OverBound::Answer(bound));
        }
        self.try_resize(text_bytes, self.unfinished_bytes)
    }

    /// Says how large the event is that is not yet whole.
    ///
    /// # Errors
    ///
    /// The bound that is passed; what was taken before still is.
    pub(super) fn set_unfinished(&mut self, bytes: usize) -> Result<(), OverBound> {
        if bytes == self.unfinished_bytes {
            return Ok(());
        }
        self.try_resize(self.text_bytes, bytes)
    }

    fn try_resize(&mut self, text_bytes: usize, unfinished_bytes: usize) -> Result<(), OverBound> {
        let before = self.counted_bytes();
        let after = text_bytes
            .saturating_add(unfinished_bytes)
            .saturating_sub(FREE_BYTES);
        let taken = &self.budget.taken_bytes;
        if after > before {
            let more = after - before;
            let bound = self.budget.bounds.total_bytes;
            if taken.fetch_add(more, Ordering::Relaxed) + more > bound {
                taken.fetch_sub(more, Ordering::Relaxed);
                return Err(OverBound::Total(bound));
            }
        } else {
            taken.fetch_sub(before - after, Ordering::Relaxed);
        }
        self.text_bytes = text_bytes;
        self.unfinished_bytes = unfinished_bytes;
        Ok(())
    }

    fn counted_bytes(&self) -> usize {
        (self.text_bytes + self.unfinished_bytes).saturating_sub(FREE_BYTES)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let taken = &self.budget.taken_bytes;
        taken.fetch_sub(self.counted_bytes(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> MemoryBudget {
        MemoryBudget::new(Bounds {
            answer_bytes: 2 * MIB,
            total_bytes: 3 * MIB,
        })
    }

    #[test]
    fn each_answer_is_bounded_and_all_of_them_are() {
        let budget = budget();
        let (mut first, mut second) = (budget.reserve(), budget.reserve());
        first.add_text(2 * MIB).unwrap();
        assert_eq!(first.add_text(1), Err(OverBound::Answer(2 * MIB)));
        second.add_text(MIB).unwrap();
        assert_eq!(
            second.set_unfinished(MIB),
            Err(OverBound::Total(3 * MIB)),
            "a half event counts as text does"
        );
        second.set_unfinished(2 * FREE_BYTES).unwrap();
        assert_eq!(second.add_text(1), Err(OverBound::Total(3 * MIB)));
    }

    #[test]
    fn what_an_answer_took_is_given_back_when_it_ends() {
        let budget = budget();
        let mut reservation = budget.reserve();
        reservation.add_text(MIB).unwrap();
        reservation.set_unfinished(MIB).unwrap();
        assert_eq!(budget.taken_bytes(), 2 * MIB - FREE_BYTES);
        reservation.set_unfinished(0).unwrap();
        assert_eq!(budget.taken_bytes(), MIB - FREE_BYTES);
        drop(reservation);
        assert_eq!(budget.taken_bytes(), 0);
    }

    #[test]
    fn a_small_answer_goes_on_whatever_the_others_take() {
        let budget = budget();
        let mut greedy = [budget.reserve(), budget.reserve()];
        for reservation in &mut greedy {
            while reservation.add_text(FREE_BYTES).is_ok() {}
        }
        let mut small = budget.reserve();
        small.add_text(FREE_BYTES).unwrap();
        assert_eq!(small.add_text(1), Err(OverBound::Total(3 * MIB)));
    }

    #[test]
    fn a_bound_is_named_in_the_same_words_for_every_request() {
        let bounds = Bounds::default();
        insta::assert_snapshot!(
            OverBound::Answer(bounds.answer_bytes),
            @"the text of the answer is over 16 MiB, which is what is kept of one"
        );
        insta::assert_snapshot!(
            OverBound::Total(bounds.total_bytes),
            @"the answers in flight hold over 256 MiB, which is what is kept of all"
        );
    }
}
