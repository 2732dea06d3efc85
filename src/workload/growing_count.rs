//! Counts the tokens of a text that grows at its end, such as a conversation turn by turn, without
//! tokenizing again what was there before.
//!
//! A tokenizer splits a text at its special tokens before it does anything else, so that the tokens on
//! either side of one do not depend on each other: a text may be cut in front of one, and the parts counted
//! apart. The first counts are held to those of the whole text, and where one differs nothing is cut.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::draw::hash_text;

/// Counts that are held to those of the whole text.
const CHECKS: u32 = 4;

/// What is known of a text that grows: how many tokens there are before its last special token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GrowingText {
    /// Where that token begins and ends, in bytes.
    start: usize,
    end: usize,
    /// Hash of the text up to its end.
    hash: u64,
    /// Tokens before it.
    tokens: u32,
}

/// Counts texts that grow.
#[derive(Debug)]
pub(super) struct GrowingCounter {
    /// Special tokens that a text may be cut in front of.
    marks: Vec<String>,
    checks_left: AtomicU32,
    is_off: AtomicBool,
}

impl GrowingCounter {
    /// Cuts texts in front of these special tokens.
    pub(super) fn new(marks: Vec<String>) -> Self {
        Self {
            marks,
            checks_left: AtomicU32::new(CHECKS),
            is_off: AtomicBool::new(false),
        }
    }

    /// Counts `text` by `count`, of which `known` tells what is known from when it was shorter, and is
    /// told what is known now. `None` where `count` can't take it.
    pub(super) fn count(
        &self,
        text: &str,
        known: &mut GrowingText,
        count: impl Fn(&str) -> Option<u32>,
    ) -> Option<u32> {
        if self.is_off.load(Ordering::Relaxed) {
            return count(text);
        }
        let (from, before) = match known.is_beginning_of(text) {
            true => (known.start, known.tokens),
            false => (0, 0),
        };
        let rest = &text[from..];
        let Some((at, length)) = self.last_mark(rest) else {
            return count(rest)?.checked_add(before);
        };
        let (old, new) = rest.split_at(at);
        let before = before.checked_add(if old.is_empty() { 0 } else { count(old)? })?;
        let tokens = before.checked_add(count(new)?)?;
        let (start, end) = (from + at, from + at + length);
        *known = GrowingText {
            start,
            end,
            hash: hash_text(&text[..end]),
            tokens: before,
        };
        if self.is_checked() && count(text) != Some(tokens) {
            self.is_off.store(true, Ordering::Relaxed);
            return count(text);
        }
        Some(tokens)
    }

    /// Whether one more count is to be held to that of the whole text.
    fn is_checked(&self) -> bool {
        let left = |left: u32| left.checked_sub(1);
        let order = Ordering::Relaxed;
        self.checks_left.fetch_update(order, order, left).is_ok()
    }

    /// Where the last special token of a text begins, and its length.
    fn last_mark(&self, text: &str) -> Option<(usize, usize)> {
        let found = self.marks.iter().filter_map(|mark| {
            let at = text.rfind(mark.as_str())?;
            Some((at, mark.len()))
        });
        found.max()
    }
}

impl GrowingText {
    fn is_beginning_of(&self, text: &str) -> bool {
        let beginning = text.get(..self.end).filter(|_| self.end > 0);
        beginning.is_some_and(|beginning| hash_text(beginning) == self.hash)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Counts words, of which each mark is one.
    fn words(text: &str) -> Option<u32> {
        let text = text.replace("<m>", " m ").replace("<n>", " n ");
        u32::try_from(text.split_whitespace().count()).ok()
    }

    #[test]
    fn what_was_counted_before_is_not_counted_again() {
        let counter = GrowingCounter::new(vec!["<m>".to_owned(), "<n>".to_owned()]);
        let mut known = GrowingText::default();
        let mut text = String::new();
        let counted = Cell::new(0);
        for turn in 0..20 {
            text += &format!("<m>{turn} is said <n>and answered");
            counted.set(0);
            let tokens = counter.count(&text, &mut known, |part| {
                counted.set(counted.get() + part.len());
                words(part)
            });
            assert_eq!(tokens, words(&text));
            assert!(turn < CHECKS || counted.get() < 60, "{}", counted.get());
        }
        // Another beginning: all is counted.
        let other = text.replace("0 is said", "0 was indeed said");
        assert_eq!(counter.count(&other, &mut known, words), words(&other));
        assert_eq!(counter.count("no mark", &mut known, words), Some(2));
        assert_eq!(counter.count("", &mut known, words), Some(0));
    }

    #[test]
    fn a_tokenizer_that_does_not_split_there_counts_whole_texts() {
        let counter = GrowingCounter::new(vec!["<m>".to_owned()]);
        // A text has one token more than words: parts have too many.
        let count = |text: &str| words(text).map(|tokens| tokens + 1);
        let mut known = GrowingText::default();
        for text in ["a <m>b", "a <m>b <m>c", "a <m>b <m>c <m>d"] {
            assert_eq!(counter.count(text, &mut known, count), count(text));
        }
        assert_eq!(counter.count("a<m>", &mut known, |_| None), None);
    }
}
