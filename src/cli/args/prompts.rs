//! Flags of `prompts`: what prompts to make, and where they go.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::workload::{Pattern, PromptLanguage, TokenRange};

#[derive(Debug, Args)]
pub(crate) struct PromptsArgs {
    /// How long prompts and answers are
    #[arg(long, value_name = "PATTERN")]
    pub(crate) pattern: Option<PatternArg>,
    /// Prompts of each pattern
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub(crate) count: Option<u64>,
    /// File to write: .csv, .jsonl or .json, or `-` for JSON lines on stdout
    ///
    /// By default each pattern has a file of its own in `input/`:
    /// short_input_long_output_prompts.csv, long_input_long_output_prompts.csv and
    /// long_input_short_output_prompts.csv.
    #[arg(short = 'o', long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Language of the prompts
    #[arg(long, value_name = "LANG", default_value = "en")]
    pub(crate) language: PromptLang,
    /// Lengths of prompts in tokens, such as 30..50, or one [default: the pattern's]
    #[arg(long, value_name = "FROM..TO", value_parser = TokenRange::parse)]
    pub(crate) input_tokens: Option<TokenRange>,
    /// Lengths of answers in tokens, such as 200..800, or one [default: the pattern's]
    #[arg(long, value_name = "FROM..TO", value_parser = TokenRange::parse)]
    pub(crate) output_tokens: Option<TokenRange>,
    /// A Hugging Face `tokenizer.json`, its folder, or either gzipped [default: lengths are
    /// estimated]
    #[arg(long, value_name = "PATH")]
    pub(crate) tokenizer: Option<PathBuf>,
    /// Seed of every draw: the same seed gives the same file
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
}

/// One pattern, or all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PatternArg {
    /// A question of a sentence or two that asks for a long text
    ShortInLongOut,
    /// A document, and a task that takes a long text
    LongInLongOut,
    /// A document, and a question that a few words answer
    LongInShortOut,
    /// All three, in turn
    All,
}

impl PatternArg {
    /// Returns the patterns that it stands for.
    pub(crate) fn patterns(self) -> &'static [Pattern] {
        match self {
            Self::ShortInLongOut => &[Pattern::ShortInLongOut],
            Self::LongInLongOut => &[Pattern::LongInLongOut],
            Self::LongInShortOut => &[Pattern::LongInShortOut],
            Self::All => &Pattern::ALL,
        }
    }
}

/// One language of prompts, or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PromptLang {
    /// English
    En,
    /// Chinese
    Zh,
    /// Both, in turn
    Both,
}

impl PromptLang {
    /// Returns the languages that it stands for.
    pub(crate) fn languages(self) -> &'static [PromptLanguage] {
        match self {
            Self::En => &[PromptLanguage::English],
            Self::Zh => &[PromptLanguage::Chinese],
            Self::Both => &PromptLanguage::ALL,
        }
    }
}

/// Parses a number of prompts.
///
/// # Errors
///
/// What would be right in its place.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    const COUNT_MAX: u64 = 10_000_000;
    match text.trim().parse::<u64>() {
        Ok(count) if (1..=COUNT_MAX).contains(&count) => Ok(count),
        _ => Err(format!(
            "write how many prompts to make: a whole number from 1 to {COUNT_MAX}"
        )),
    }
}
