//! What is sent: prompts of exact token lengths under a tokenizer.
//!
//! A prompt is a pure function of the seed, the salt, the request's index and what the trace or the flags
//! say of it, so any thread or machine makes the same one. Lengths count the user's text alone:
//! what a server adds to it (a beginning-of-sequence token, a chat template) is the server's.
//!
//! Adding a data set is a file with a [`DatasetKind`] and a line in [`DATASETS`]. Its flags, what the
//! plan keeps of them and what they mean stand in that file. `prompts` makes a data set of templates, as
//! a file.

mod audio;
mod burstgpt;
mod chat_template;
mod clip;
mod content;
mod conversation;
mod conversations;
mod custom;
mod custom_lines;
mod dataset;
mod error;
mod exchange;
mod growing_count;
mod hf;
mod hf_files;
mod hub;
mod images;
mod items;
mod mix;
mod prefix_repetition;
mod prompt;
mod prompt_counter;
mod prompts;
mod python_json;
mod random;
mod records;
mod sample;
mod sharegpt;
mod sonnet;
mod tape;
mod text_file;
mod tiktoken;
mod tokenizer;
mod turns;
mod words;

use serde_json::{Map, Value};

pub use chat_template::{ChatFields, ChatTemplate};
pub use clip::Clip;
pub use content::Content;
pub use dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, Open, OpenDataset};
pub use error::WorkloadError;
pub use growing_count::GrowingText;
pub use hf_files::files_of_split;
pub use hub::{HubKind, HubRepository, is_inside};
pub use prompt::{Blocks, Prompt, PromptSpec, Workload};
pub use prompt_counter::{PromptCounter, PromptForm};
pub use prompts::{
    MadePrompt, Pattern, PatternSummary, PromptFormat, PromptLanguage, PromptMaker, PromptSettings,
    PromptSummary, PromptWriter, Spread, TokenRange,
};
pub use text_file::{Text, Unreadable, open as open_text};
pub use tokenizer::{TokenCounter, Tokenizer, has_tokenizer};
pub use turns::{Conversation, ConversationTurn, Conversations};

/// All data sets that there are.
pub const DATASETS: &[DatasetKind] = &[
    random::RANDOM,
    prefix_repetition::PREFIX_REPETITION,
    sharegpt::SHAREGPT,
    sonnet::SONNET,
    burstgpt::BURSTGPT,
    custom::CUSTOM,
    hf::HF,
    tape::TAPE,
    conversations::CONVERSATIONS,
    mix::MIX,
    audio::AUDIO,
];

/// Returns the kinds whose flags a data set has: its own and, of a mix, those of its parts.
///
/// # Errors
///
/// What is wrong with a mix.
pub fn kinds_in(
    kind: &'static DatasetKind,
    options: &Map<String, Value>,
) -> Result<Vec<&'static DatasetKind>, String> {
    let names = match kind.name == mix::MIX.name {
        true => mix::names(options, DATASETS)?,
        false => Vec::new(),
    };
    let is_in = |other: &&DatasetKind| other.name == kind.name || names.contains(&other.name);
    Ok(DATASETS.iter().filter(is_in).collect())
}

/// Returns the kind of that name.
pub fn dataset_kind(name: &str) -> Option<&'static DatasetKind> {
    DATASETS.iter().find(|kind| kind.name == name)
}
