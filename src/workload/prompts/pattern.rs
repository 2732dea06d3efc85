//! What prompts are like: three patterns of lengths, and the languages.

use std::fmt;

use super::super::error::WorkloadError;

/// Tokens of a prompt or an answer at most.
const TOKENS_MAX: u32 = 1_000_000;

/// How long prompts and answers are, beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pattern {
    /// A question of a sentence or two that asks for a long text.
    ShortInLongOut,
    /// A document, and a task that takes a long text.
    LongInLongOut,
    /// A document, and a question that a few words answer.
    LongInShortOut,
}

impl Pattern {
    /// All patterns, in the order in which they are offered.
    pub const ALL: [Self; 3] = [
        Self::ShortInLongOut,
        Self::LongInLongOut,
        Self::LongInShortOut,
    ];

    /// Returns its name, as it is typed and written.
    pub fn name(self) -> &'static str {
        match self {
            Self::ShortInLongOut => "short-in-long-out",
            Self::LongInLongOut => "long-in-long-out",
            Self::LongInShortOut => "long-in-short-out",
        }
    }

    /// Returns the name of the file that holds this pattern alone, where the user named none.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::ShortInLongOut => "short_input_long_output_prompts.csv",
            Self::LongInLongOut => "long_input_long_output_prompts.csv",
            Self::LongInShortOut => "long_input_short_output_prompts.csv",
        }
    }

    /// Returns the lengths of its prompts, where the user gave none.
    pub fn input_tokens(self) -> TokenRange {
        match self {
            Self::ShortInLongOut => TokenRange {
                least: 30,
                most: 50,
            },
            Self::LongInLongOut | Self::LongInShortOut => TokenRange {
                least: 500,
                most: 800,
            },
        }
    }

    /// Returns the lengths of its answers, where the user gave none.
    pub fn output_tokens(self) -> TokenRange {
        match self {
            Self::ShortInLongOut => TokenRange {
                least: 200,
                most: 800,
            },
            Self::LongInLongOut => TokenRange {
                least: 300,
                most: 800,
            },
            Self::LongInShortOut => TokenRange {
                least: 10,
                most: 30,
            },
        }
    }

    /// Says whether its prompts hold a document.
    pub(super) fn has_document(self) -> bool {
        self != Self::ShortInLongOut
    }

    /// Says whether its answers are long.
    pub(super) fn has_long_answer(self) -> bool {
        self != Self::LongInShortOut
    }
}

/// Lengths in tokens, of which both ends count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenRange {
    /// The shortest, at least 1.
    pub least: u32,
    /// The longest.
    pub most: u32,
}

impl TokenRange {
    /// Reads `30..50`, or one number.
    ///
    /// # Errors
    ///
    /// What would be right in its place.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (least, most) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| {
            let accepted = "write two whole numbers with `..` between them, such as 30..50, or one";
            text.trim().parse::<u32>().map_err(|_| accepted.to_owned())
        };
        let (least, most) = (number(least)?, number(most)?);
        if least > most {
            return Err(format!("it is backwards: write {most}..{least}"));
        }
        if least == 0 {
            return Err("a length is at least 1 token: begin at 1 or more".to_owned());
        }
        if most > TOKENS_MAX {
            return Err(format!("a length is at most {TOKENS_MAX} tokens"));
        }
        Ok(Self { least, most })
    }
}

impl fmt::Display for TokenRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}..{}", self.least, self.most)
    }
}

/// A language of prompts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PromptLanguage {
    /// English.
    English,
    /// Chinese.
    Chinese,
}

impl PromptLanguage {
    /// Both.
    pub const ALL: [Self; 2] = [Self::English, Self::Chinese];

    /// Returns its name, as it is typed and written.
    pub fn name(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }

    /// Returns what a sentence ends with.
    pub(super) fn full_stop(self) -> &'static str {
        match self {
            Self::English => ".",
            Self::Chinese => "。",
        }
    }

    /// Returns what stands between two sentences of one paragraph.
    pub(super) fn space(self) -> &'static str {
        match self {
            Self::English => " ",
            Self::Chinese => "",
        }
    }
}

/// Says of prompts that they can't be made as asked for.
pub(super) fn impossible(message: String) -> WorkloadError {
    WorkloadError::Lengths { message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_two_numbers_or_one() {
        let range = |least, most| Ok(TokenRange { least, most });
        assert_eq!(TokenRange::parse("30..50"), range(30, 50));
        assert_eq!(TokenRange::parse("30 .. 50"), range(30, 50));
        assert_eq!(TokenRange::parse("7"), range(7, 7));
        let messages = [
            "",
            "a..b",
            "5..",
            "..5",
            "-1..3",
            "9..3",
            "0..3",
            "1..9999999",
        ]
        .map(|text| TokenRange::parse(text).unwrap_err());
        insta::assert_snapshot!(messages.join("\n"), @r"
        write two whole numbers with `..` between them, such as 30..50, or one
        write two whole numbers with `..` between them, such as 30..50, or one
        write two whole numbers with `..` between them, such as 30..50, or one
        write two whole numbers with `..` between them, such as 30..50, or one
        write two whole numbers with `..` between them, such as 30..50, or one
        it is backwards: write 3..9
        a length is at least 1 token: begin at 1 or more
        a length is at most 1000000 tokens
        ");
    }
}
