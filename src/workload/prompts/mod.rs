//! Prompts of templates over many domains, as a data set in a file: short or long questions for short
//! or long answers.
//!
//! A prompt is a pure function of the seed, the pattern and its number in that pattern, so any number
//! of threads makes the same file. Where a prompt equals one before it, it is made of other words.
//! The texts stand in `en/` and `zh/`: a file a domain, and `common.txt` for all of them.

mod compose;
mod count;
mod fit;
mod format;
mod maker;
mod pattern;
mod summary;
#[cfg(test)]
mod tests;
mod texts;

pub use format::{PromptFormat, PromptWriter};
pub use maker::{MadePrompt, PromptMaker, PromptSettings};
pub use pattern::{Pattern, PromptLanguage, TokenRange};
pub use summary::{PatternSummary, PromptSummary, Spread};
