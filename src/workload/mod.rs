//! What is sent: prompts of exact token lengths under a tokenizer.
//!
//! A prompt is a pure function of the seed, the salt, the request's index and what the trace or the flags
//! say of it, so any thread or machine makes the same one. Lengths count the user's text alone:
//! what a server adds to it (a beginning-of-sequence token, a chat template) is the server's.

mod dataset;
mod error;
mod prompt;
mod random;
mod sharegpt;
mod tokenizer;
mod words;

pub use dataset::{Content, DATASETS, Dataset, DatasetKind, DatasetSetup, dataset_kind};
pub use error::WorkloadError;
pub use prompt::{Blocks, Prompt, PromptSpec, Workload};
pub use tokenizer::{TokenCounter, Tokenizer};
