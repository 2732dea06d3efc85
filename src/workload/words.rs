//! A list of words of which each is one token, alone and behind a space.
//!
//! With such a list a prompt of N words is N tokens by construction, and making one is pushing
//! strings. Whether a tokenizer has that property is measured on whole prompts, not assumed.

use crate::draw::Draw;

use super::tokenizer::Tokenizer;

/// Most words in a list; a power of two, so that a word is a few bits of a draw.
const WORDS_MAX: usize = 4096;
/// Fewest words that make prompts differ enough.
const WORDS_MIN: usize = 64;
/// Prompts on which the property is measured, and the words in each.
const TRIALS: u64 = 16;
const TRIAL_WORDS: u32 = 500;

/// Words to make prompts of.
#[derive(Debug)]
pub(super) struct Words {
    /// All words, each with a space in front of it.
    text: String,
    /// Where each word begins, and where the last one ends.
    bounds: Vec<usize>,
    /// Bits that choose a word: two to their power is the number of words.
    bits: u32,
    /// Whether a prompt of N words is N tokens.
    is_exact: bool,
}

impl Words {
    /// Chooses words for a tokenizer.
    pub(super) fn of(tokenizer: &Tokenizer) -> Self {
        let single = tokenizer
            .plain_words()
            .into_iter()
            .filter(|word| is_one_token(tokenizer, word))
            .take(WORDS_MAX)
            .collect::<Vec<_>>();
        if single.len() < WORDS_MIN {
            return Self::from_list(&syllables(), false);
        }
        let mut words = Self::from_list(&single, true);
        words.is_exact = (0..TRIALS).all(|trial| {
            let mut text = String::new();
            words.append(&mut Draw::new(0, trial, 0), TRIAL_WORDS, &mut text);
            tokenizer.count(&text) == Some(TRIAL_WORDS)
        });
        words
    }

    /// Returns whether a prompt of N words is N tokens.
    pub(super) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Appends `count` words that `draw` chooses; the first word of a text has no space before it.
    pub(super) fn append(&self, draw: &mut Draw, count: u32, text: &mut String) {
        let words_a_draw = 64 / self.bits;
        let mask = (1_u64 << self.bits) - 1;
        let mut left = count;
        while left > 0 {
            let mut chosen = draw.next();
            let now = left.min(words_a_draw);
            for _ in 0..now {
                let word = usize::try_from(chosen & mask).unwrap_or(0);
                let start = self.bounds[word] + usize::from(text.is_empty());
                text.push_str(&self.text[start..self.bounds[word + 1]]);
                chosen >>= self.bits;
            }
            left -= now;
        }
    }

    fn from_list(list: &[String], is_exact: bool) -> Self {
        let bits = list.len().max(2).ilog2();
        let mut text = String::new();
        let mut bounds = vec![0];
        for word in &list[..1 << bits] {
            text.push(' ');
            text.push_str(word);
            bounds.push(text.len());
        }
        Self {
            text,
            bounds,
            bits,
            is_exact,
        }
    }
}

fn is_one_token(tokenizer: &Tokenizer, word: &str) -> bool {
    tokenizer.count(word) == Some(1) && tokenizer.count(&format!("{word} {word}")) == Some(2)
}

/// Returns words for a tokenizer that has none of its own; they are several tokens each.
fn syllables() -> Vec<String> {
    let mut list = Vec::new();
    for first in "bdfgklmnprst".chars() {
        for second in "aeiou".chars() {
            for third in "lmnrst".chars() {
                list.push(format!("{first}{second}{third}"));
            }
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use crate::draw::Draw;

    use super::{Words, syllables};

    #[test]
    fn the_first_word_has_no_space_and_the_others_have_one() {
        let words = Words::from_list(&["a".to_owned(), "b".to_owned()], true);
        let mut text = String::new();
        words.append(&mut Draw::new(1, 1, 1), 200, &mut text);
        assert_eq!(text.len(), 399);
        assert_eq!(text.split(' ').count(), 200);
        let ones = text.bytes().filter(|&byte| byte == b'a').count();
        assert!((60..140).contains(&ones), "{ones}");
    }

    #[test]
    fn all_words_of_a_list_are_used() {
        let words = Words::from_list(&syllables(), false);
        let mut text = String::new();
        words.append(&mut Draw::new(1, 1, 1), 10_000, &mut text);
        let used: std::collections::HashSet<&str> = text.split(' ').collect();
        assert_eq!(used.len(), 256);
    }
}
