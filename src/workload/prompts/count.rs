//! Counts tokens with a tokenizer, or estimates them where there is none.

use std::sync::Arc;

use super::super::error::WorkloadError;
use super::super::tokenizer::Tokenizer;
use super::pattern::impossible;

/// Says how many tokens a text has.
#[derive(Debug, Clone)]
pub(super) enum Counter {
    /// Exactly, under this tokenizer.
    Exact(Arc<Tokenizer>),
    /// About, by words and characters.
    Estimate,
}

impl Counter {
    /// Returns the number of tokens.
    ///
    /// # Errors
    ///
    /// The tokenizer can't take the text.
    pub(super) fn count(&self, text: &str) -> Result<u32, WorkloadError> {
        match self {
            Self::Exact(tokenizer) => tokenizer.count(text).ok_or_else(|| {
                impossible(format!(
                    "tokenizer `{}` can't count the tokens of a prompt: try another one with `--tokenizer`",
                    tokenizer.name()
                ))
            }),
            Self::Estimate => Ok(estimate(text)),
        }
    }

    /// Returns by how many tokens a text lengthens one that ends with a mark, such as a full stop: some
    /// tokenizers join the mark with what follows it.
    ///
    /// # Errors
    ///
    /// As [`Counter::count`].
    pub(super) fn count_after(&self, mark: &str, text: &str) -> Result<u32, WorkloadError> {
        match self {
            Self::Exact(_) => {
                let both = self.count(&format!("{mark}{text}"))?;
                Ok(both.saturating_sub(self.count(mark)?))
            }
            Self::Estimate => self.count(text),
        }
    }
}

/// Hundredths of a token.
const WORD: u64 = 112;
const MARK: u64 = 95;
const DIGIT: u64 = 75;
const CHARACTER: u64 = 64;

/// Estimates the tokens of a text by its words, marks, digits and Chinese characters.
///
/// A vocabulary of about 150,000 tokens is assumed, as today's models have.
fn estimate(text: &str) -> u32 {
    let mut hundredths = 0;
    let mut is_in_word = false;
    for character in text.chars() {
        let is_letter = character.is_alphabetic() && !is_chinese(character);
        hundredths += match character {
            _ if is_letter && is_in_word => 0,
            _ if is_letter => WORD,
            _ if character.is_ascii_digit() => DIGIT,
            _ if is_chinese(character) => CHARACTER,
            _ if character.is_whitespace() => 0,
            _ => MARK,
        };
        is_in_word = is_letter;
    }
    u32::try_from(hundredths.div_ceil(100)).unwrap_or(u32::MAX)
}

fn is_chinese(character: char) -> bool {
    ('\u{4e00}'..='\u{9fff}').contains(&character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_digits_marks_and_characters_are_estimated_apart() {
        assert_eq!(estimate(""), 0);
        assert_eq!(estimate("maintenance"), 2);
        assert_eq!(estimate("a b c d e f g h i j"), 12);
        assert_eq!(estimate("2024"), 3);
        assert_eq!(estimate("请写一份报告。"), 5);
    }
}
