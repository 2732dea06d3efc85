//! The simulated model's vocabulary: a word a token.

use super::draw;

/// Short and plain words, each with the space that parts it from the one before. None needs an
/// escape in JSON, and none is empty.
const WORDS: [&str; 64] = [
    " the",
    " of",
    " and",
    " a",
    " to",
    " in",
    " is",
    " that",
    " it",
    " was",
    " for",
    " on",
    " are",
    " with",
    " as",
    " at",
    " be",
    " this",
    " from",
    " have",
    " or",
    " by",
    " one",
    " had",
    " not",
    " but",
    " what",
    " all",
    " were",
    " when",
    " there",
    " can",
    " each",
    " which",
    " their",
    " if",
    " will",
    " other",
    " about",
    " out",
    " many",
    " then",
    " them",
    " some",
    " would",
    " make",
    " like",
    " time",
    " look",
    " more",
    " water",
    " number",
    " people",
    " first",
    " after",
    " between",
    " answer",
    " question",
    " example",
    " however",
    " therefore",
    " different",
    " important",
    " understand",
];

/// Returns the seed of the answer to `request`.
pub(super) fn answer_seed(seed: u64, request: u64) -> u64 {
    draw::bits(seed, request)
}

/// Returns the token at `position` of the answer whose seed is `seed`.
pub(super) fn word(seed: u64, position: u32) -> &'static str {
    let drawn = draw::bits(seed, u64::from(position)) % 64;
    usize::try_from(drawn)
        .ok()
        .and_then(|index| WORDS.get(index))
        .unwrap_or(&WORDS[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_token_is_one_plain_word_after_a_space() {
        for word in WORDS {
            let letters = word.strip_prefix(' ').unwrap();
            assert!(!letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_lowercase()));
        }
        assert_eq!(word(1, 2), word(1, 2));
        let answer = |seed| {
            (0..20)
                .map(|position| word(seed, position))
                .collect::<String>()
        };
        assert_ne!(answer(1), answer(2));
    }
}
