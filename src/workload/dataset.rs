//! What a data set is: what the requests of a load send, where no trace says it.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::clip::Clip;
use super::error::WorkloadError;
use super::prompt::{Prompt, Workload};
use super::tokenizer::TokenCounter;
use crate::flag::Flag;

/// What requests send. A pure function of the request's index: any thread gets the same.
pub trait Dataset: Send + Sync {
    /// Returns what request `index` sends.
    fn request(&self, index: u64) -> Content;

    /// Returns what a warm-up sends: like the requests of the load, with other prompts.
    fn warmup(&self, index: u64) -> Content {
        self.request(index)
    }

    /// A usual length of an answer, in tokens, where that is known.
    fn typical_output_tokens(&self) -> Option<u32>;

    /// Number of requests that it has, where it is not to repeat any.
    fn limit(&self) -> Option<u64> {
        None
    }

    /// Whether its requests have images.
    fn has_images(&self) -> bool {
        false
    }

    /// What is to be said of it before a run.
    fn note(&self) -> Option<String> {
        None
    }
}

/// What one request sends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The prompt; of messages, their texts.
    pub text: String,
    /// The messages of a conversation, as a JSON list, in place of the prompt.
    pub messages: Option<String>,
    /// Fields of the body that are its own, as a JSON object.
    pub fields: Option<String>,
    /// Its length in tokens, where it is known.
    pub tokens: Option<u32>,
    /// The text is of the workload's words.
    pub is_made_up: bool,
    /// Length of the answer, in tokens; 0 where nobody knows.
    pub output_tokens: u32,
    /// Tokens at the prompt's start that requests before it have too; none where nobody knows.
    pub prefix_tokens: Option<u32>,
    /// The data set that it is of, where there are several.
    pub class: Option<&'static str>,
    /// What is to be heard, in the prompt's place.
    pub audio: Option<Clip>,
}

impl Content {
    /// A prompt of the workload's words, whose answer is to have so many tokens.
    pub(super) fn made_up(prompt: Prompt, output_tokens: u32) -> Self {
        Self {
            text: prompt.text,
            tokens: Some(prompt.tokens),
            is_made_up: true,
            output_tokens,
            ..Self::default()
        }
    }
}

/// What a data set is opened with.
pub struct DatasetSetup<'a> {
    /// What the plan keeps of its flags.
    pub options: &'a Map<String, Value>,
    /// Where it is, of one that is a file.
    pub path: Option<&'a Path>,
    /// Makes prompts, from the run's seed.
    pub workload: Arc<Workload>,
    /// Counts tokens, where the tokenizer is the user's.
    pub count_tokens: Option<TokenCounter>,
    /// Number of requests, where that is known.
    pub count: Option<u64>,
    /// It is sent again from the start where it has fewer.
    pub repeats: bool,
    /// Requests hold messages, and with them what only chats have.
    pub is_chat: bool,
    /// All data sets that there are, for one that has others in it.
    pub kinds: &'static [DatasetKind],
}

/// Requests that are kept where nobody knows how many there will be and none is to be sent again.
const MOST_KEPT: u64 = 100_000;

impl DatasetSetup<'_> {
    /// How many requests are kept of a file at most: as many as the run has, or where nobody knows
    /// that, `usual`.
    pub(super) fn most_kept(&self, usual: u64) -> u64 {
        let unknown = match self.repeats {
            true => usual,
            false => usual.max(MOST_KEPT),
        };
        self.count.unwrap_or(unknown).max(1)
    }
}

/// Whether a data set is read from a file or a folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatasetPath {
    /// It is not.
    None,
    /// It may be; these flags are about what is made up where it is not.
    Optional(&'static [&'static str]),
    /// It has to be.
    Required,
}

/// Opens a data set.
pub type OpenDataset = fn(DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError>;

/// One kind of data set.
pub struct DatasetKind {
    /// Its name, in plans and as it is typed.
    pub name: &'static str,
    /// What it is, in a few words.
    pub about: &'static str,
    /// Whether it is read from a file or a folder.
    pub path: DatasetPath,
    /// Its requests have audio.
    pub has_audio: bool,
    /// Flags of its own.
    pub flags: &'static [Flag],
    /// Opens it.
    pub open: OpenDataset,
}
