//! System prompts that made-up conversations share.

use std::sync::{Arc, Mutex, PoisonError};

use super::super::prompt::{Blocks, Prompt, PromptSpec, Workload};
use super::distribution::Distribution;
use crate::draw::{Draw, field};

/// Conversations of which it is found out whether one before had the same system prompt.
const MAX_LOOKED_AT: u64 = 100_000_000;

/// System prompts, of which a conversation has one.
pub(super) struct Prefixes {
    tokens: Distribution,
    most_tokens: u32,
    /// Sums of the weights up to each, so that the last is about 1.
    sums: Vec<f64>,
    workload: Arc<Workload>,
    /// What has been found out. It saves looking and decides nothing.
    seen: Mutex<Seen>,
}

/// Which conversation was the first with each system prompt.
struct Seen {
    /// Conversations that were looked at.
    next: u64,
    first: Vec<Option<u64>>,
}

impl Prefixes {
    /// So many system prompts of at most `most_tokens`; the k-th is as likely as 1 / k^`zipf`.
    pub(super) fn new(
        tokens: Distribution,
        most_tokens: u32,
        (count, zipf): (u32, f64),
        workload: Arc<Workload>,
    ) -> Self {
        let weights = (1..=count.max(1)).map(|k| f64::from(k).powf(-zipf));
        let total: f64 = weights.clone().sum();
        let mut sum = 0.0;
        let sums: Vec<f64> = weights
            .map(|weight| {
                sum += weight / total;
                sum
            })
            .collect();
        let seen = Mutex::new(Seen {
            next: 0,
            first: vec![None; sums.len()],
        });
        Self {
            tokens,
            most_tokens,
            sums,
            workload,
            seen,
        }
    }

    /// Returns the number of the system prompt of conversation `index`, from 0.
    fn of(&self, index: u64) -> usize {
        let mut draw = Draw::new(self.workload.seed(), index, field::CONVERSATION_PREFIX);
        let at = draw.fraction();
        // The sum may fall short of 1 by a rounding.
        let prefix = self.sums.partition_point(|sum| *sum <= at);
        prefix.min(self.sums.len() - 1)
    }

    /// Returns the length of the system prompt of conversation `index`, in tokens.
    pub(super) fn tokens(&self, index: u64) -> u32 {
        self.tokens_of(self.of(index) as u64)
    }

    fn tokens_of(&self, prefix: u64) -> u32 {
        let mut draw = Draw::new(self.workload.seed(), prefix, field::PREFIX_LENGTH);
        let tokens = self.tokens.sample_count(&mut draw, 0);
        tokens.min(self.most_tokens)
    }

    /// Returns the system prompt of conversation `index`; none where it has no token.
    pub(super) fn prompt(&self, index: u64) -> Option<Prompt> {
        let prefix = self.of(index) as u64;
        let tokens = self.tokens_of(prefix);
        let ids = [prefix];
        let spec = PromptSpec {
            blocks: Some(Blocks {
                ids: &ids,
                size: tokens,
                tokens: &[],
                scope: 0,
            }),
            ..PromptSpec::random(prefix, tokens)
        };
        (tokens > 0).then(|| self.workload.prompt(spec))
    }

    /// Says whether a conversation before `index` has the same system prompt; nothing where too many
    /// would have to be looked at.
    pub(super) fn is_known(&self, index: u64) -> Option<bool> {
        let prefix = self.of(index);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while seen.first[prefix].is_none() && seen.next < index.min(MAX_LOOKED_AT) {
            let next = seen.next;
            seen.first[self.of(next)].get_or_insert(next);
            seen.next += 1;
        }
        match seen.first[prefix] {
            Some(first) => Some(first < index),
            None => (index <= MAX_LOOKED_AT).then_some(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Tokenizer;

    fn prefixes(count: u32, zipf: f64) -> Prefixes {
        let workload = Workload::new(&Arc::new(Tokenizer::embedded()), 7);
        let tokens = Distribution::uniform(5.0, 50.0).unwrap();
        Prefixes::new(tokens, 40, (count, zipf), Arc::new(workload))
    }

    #[test]
    fn weights_are_even_or_fall_with_the_rank() {
        let often = |zipf| {
            let prefixes = prefixes(4, zipf);
            let mut counts = [0_u32; 4];
            for index in 0..20_000 {
                counts[prefixes.of(index)] += 1;
            }
            counts
        };
        let near = |counts: [u32; 4], wanted: [u32; 4]| {
            let far = counts
                .iter()
                .zip(wanted)
                .any(|(is, wanted)| is.abs_diff(wanted) > 350);
            assert!(!far, "{counts:?}");
        };
        near(often(0.0), [5_000; 4]);
        // Of 1, 1/2, 1/3 and 1/4.
        near(often(1.0), [9_600, 4_800, 3_200, 2_400]);
        assert_eq!(often(100.0), [20_000, 0, 0, 0]);
    }

    #[test]
    fn the_same_system_prompt_is_the_same_text_of_the_same_length() {
        let prefixes = prefixes(3, 0.0);
        let mut texts: Vec<Option<Prompt>> = vec![None; 3];
        for index in 0..60 {
            let prompt = prefixes.prompt(index).unwrap();
            assert_eq!(prompt.tokens, prefixes.tokens(index));
            assert!((5..=40).contains(&prompt.tokens));
            assert_eq!(
                prompt.text.split(' ').count() as u64,
                u64::from(prompt.tokens)
            );
            let text = &mut texts[prefixes.of(index)];
            assert_eq!(*text.get_or_insert(prompt.clone()), prompt);
        }
        assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
    }

    #[test]
    fn a_system_prompt_is_known_once_a_conversation_before_had_it() {
        let prefixes = prefixes(40, 1.0);
        let expected: Vec<bool> = (0..300)
            .map(|index| (0..index).any(|before| prefixes.of(before) == prefixes.of(index)))
            .collect();
        // In any order.
        for index in (0..300_u64).rev().chain(0..300) {
            let at = usize::try_from(index).unwrap();
            assert_eq!(prefixes.is_known(index), Some(expected[at]), "{index}");
        }
        assert!(expected.iter().filter(|known| !**known).count() > 10);
    }
}
