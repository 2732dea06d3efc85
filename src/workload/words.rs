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

/// What [`Words::of`] chooses for the embedded tokenizer. It stands here so that a run need not
/// unpack that tokenizer's vocabulary to choose the same words once more.
const EMBEDDED: &str = include_str!("o200k_words.txt");

/// Words to make prompts of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    words: Vec<Word>,
    /// Bits that choose a word: two to their power is the number of words.
    bits: u32,
    /// Whether a prompt of N words is N tokens.
    is_exact: bool,
}

/// A word with a space in front of it, in room of one size: a copy of known size is an instruction
/// or two, and a prompt is thousands of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    bytes: [u8; WORD_ROOM],
    length: u8,
}

/// Room for the longest word that a vocabulary is searched for, and its space.
const WORD_ROOM: usize = 15;

impl Words {
    /// Returns the words of the embedded tokenizer.
    pub(super) fn embedded() -> Self {
        let list: Vec<&str> = EMBEDDED.split_ascii_whitespace().collect();
        Self::from_list(&list, true)
    }

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
            let mut text = Vec::new();
            words.append(&mut Draw::new(0, trial, 0), TRIAL_WORDS, &mut text);
            let text = std::str::from_utf8(&text);
            text.is_ok_and(|text| tokenizer.count(text) == Some(TRIAL_WORDS))
        });
        words
    }

    /// Returns whether a prompt of N words is N tokens.
    pub(super) fn is_exact(&self) -> bool {
        self.is_exact
    }

    /// Appends `count` words that `draw` chooses; the first word of a text has no space before it.
    pub(super) fn append(&self, draw: &mut Draw, count: u32, text: &mut Vec<u8>) {
        let words_a_draw = 64 / self.bits;
        let mask = (1_u64 << self.bits) - 1;
        let mut group = [0; WORD_ROOM * 64];
        let mut left = count;
        while left > 0 {
            let mut chosen = draw.next();
            let now = left.min(words_a_draw);
            let mut end = 0;
            for _ in 0..now {
                // Copied with all its room; the next word begins where this one ends.
                let word = &self.words[usize::try_from(chosen & mask).unwrap_or(0)];
                group[end..end + WORD_ROOM].copy_from_slice(&word.bytes);
                end += usize::from(word.length);
                chosen >>= self.bits;
            }
            let start = usize::from(text.is_empty());
            text.extend_from_slice(&group[start..end]);
            left -= now;
        }
    }

    fn from_list<W: AsRef<str>>(list: &[W], is_exact: bool) -> Self {
        let words: Vec<Word> = list
            .iter()
            .filter_map(|word| Word::new(word.as_ref()))
            .collect();
        let bits = words.len().max(2).ilog2();
        Self {
            words: words[..1 << bits].to_vec(),
            bits,
            is_exact,
        }
    }
}

impl Word {
    /// Returns none for a word without room.
    fn new(word: &str) -> Option<Self> {
        let mut bytes = [b' '; WORD_ROOM];
        let length = word.len() + 1;
        bytes.get_mut(1..length)?.copy_from_slice(word.as_bytes());
        let length = u8::try_from(length).ok()?;
        Some(Self { bytes, length })
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
    use std::collections::HashSet;
    use std::path::Path;
    use std::sync::LazyLock;

    use crate::draw::Draw;
    use crate::workload::Tokenizer;

    use super::{WORDS_MAX, Word, Words, syllables};

    /// Set to 1, the test writes the list anew instead of comparing it.
    const REFRESH: &str = "TOKENTAPE_REFRESH_WORDS";

    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(Tokenizer::embedded);

    /// Returns the words without their spaces.
    fn list(words: &Words) -> Vec<String> {
        let text = |word: &Word| {
            assert_eq!(word.bytes[0], b' ');
            let bytes = &word.bytes[1..usize::from(word.length)];
            String::from_utf8(bytes.to_vec()).unwrap()
        };
        words.words.iter().map(text).collect()
    }

    /// Returns a text of `count` words.
    fn text(words: &Words, count: u32) -> String {
        let mut text = Vec::new();
        words.append(&mut Draw::new(1, 1, 1), count, &mut text);
        String::from_utf8(text).unwrap()
    }

    /// Returns the words as the file has them: in order, in lines of at most 100 bytes.
    fn lines_of(words: &Words) -> String {
        let mut text = String::new();
        let mut width = 0;
        for word in list(words) {
            let is_first = width == 0;
            if !is_first && width + 1 + word.len() > 100 {
                text.push('\n');
                width = 0;
            } else if !is_first {
                text.push(' ');
                width += 1;
            }
            text.push_str(&word);
            width += word.len();
        }
        text + "\n"
    }

    #[test]
    fn the_embedded_words_are_those_that_the_rule_chooses() {
        let chosen = Words::of(&TOKENIZER);
        if std::env::var(REFRESH).is_ok_and(|value| value == "1") {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/workload/o200k_words.txt");
            std::fs::write(file, lines_of(&chosen)).unwrap();
        } else {
            assert!(
                Words::embedded() == chosen,
                "o200k_words.txt is not what the rule chooses; set {REFRESH}=1 to write it anew"
            );
        }
    }

    #[test]
    fn every_embedded_word_is_one_token_at_the_start_and_behind_any_other() {
        const TRIALS: u64 = 16;
        let mut list = list(&Words::embedded());
        assert_eq!(list.len(), WORDS_MAX);
        assert_eq!(list.iter().collect::<HashSet<_>>().len(), WORDS_MAX);
        let id = |text: &str| {
            let ids = TOKENIZER.encode(text).unwrap();
            assert_eq!(ids.len(), 1, "`{text}`");
            ids[0]
        };
        // Each word alone, as the start of a prompt has it.
        for word in &list {
            id(word);
        }
        // All words in one prompt, in other orders: each is the token that it is by itself, so
        // nothing depends on what stands before or behind it.
        for trial in 0..TRIALS {
            let mut draw = Draw::new(0, trial, 0);
            for last in (1..list.len()).rev() {
                let other = draw.below(last as u64 + 1);
                list.swap(last, usize::try_from(other).unwrap());
            }
            let mut expected = vec![id(&list[0])];
            expected.extend(list[1..].iter().map(|word| id(&format!(" {word}"))));
            assert_eq!(TOKENIZER.encode(&list.join(" ")).unwrap(), expected);
        }
    }

    #[test]
    fn the_first_word_has_no_space_and_the_others_have_one() {
        let words = Words::from_list(&["a", "b"], true);
        let text = text(&words, 200);
        assert_eq!(text.len(), 399);
        assert_eq!(text.split(' ').count(), 200);
        let ones = text.bytes().filter(|&byte| byte == b'a').count();
        assert!((60..140).contains(&ones), "{ones}");
    }

    #[test]
    fn all_words_of_a_list_are_used() {
        let words = Words::from_list(&syllables(), false);
        let text = text(&words, 10_000);
        let used: HashSet<&str> = text.split(' ').collect();
        assert_eq!(used.len(), 256);
    }
}
