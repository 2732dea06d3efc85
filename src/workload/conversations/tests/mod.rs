//! Opens the data set as a run does.

mod files;
mod made_up;

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::CONVERSATIONS;
use crate::flag::defaults;
use crate::workload::dataset::DatasetSetup;
use crate::workload::error::WorkloadError;
use crate::workload::tokenizer::TokenCounter;
use crate::workload::turns::{Conversation, Conversations};
use crate::workload::{Tokenizer, Workload};

/// How it is opened, beside its flags and what is in its file.
#[derive(Clone, Copy)]
struct How {
    seed: u64,
    count: Option<u64>,
    repeats: bool,
    /// Words are counted as tokens.
    counts: bool,
}

const USUAL: How = How {
    seed: 1,
    count: None,
    repeats: true,
    counts: true,
};

fn opened_at(
    path: Option<&Path>,
    options: &Value,
    how: How,
) -> Result<Box<dyn Conversations>, WorkloadError> {
    let mut all = defaults(CONVERSATIONS.flags);
    all.extend(options.as_object().unwrap().clone());
    let words: TokenCounter =
        Arc::new(|text: &str| u32::try_from(text.split_whitespace().count()).ok());
    let open = CONVERSATIONS.conversations().unwrap();
    open(DatasetSetup {
        options: &all,
        path,
        workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), how.seed)),
        count_tokens: how.counts.then_some(words),
        count: how.count,
        repeats: how.repeats,
        is_shuffled: true,
        is_chat: true,
        kinds: &[],
    })
}

/// Opens a file of these bytes.
fn opened(
    bytes: impl AsRef<[u8]>,
    options: &Value,
    how: How,
) -> Result<Box<dyn Conversations>, WorkloadError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("talk.json");
    std::fs::write(&path, bytes).unwrap();
    opened_at(Some(&path), options, how)
}

/// What is wrong with a file, without its folder.
fn refused(bytes: impl AsRef<[u8]>, options: &Value) -> String {
    let error = opened(bytes, options, USUAL).err().unwrap();
    assert!(error.hint().is_some(), "{error}");
    let message = error.to_string();
    let (before, message) = message.split_once("`: ").unwrap();
    assert!(before.ends_with("talk.json"), "{before}");
    message.to_owned()
}

/// The first conversations.
fn first(conversations: &dyn Conversations, count: u64) -> Vec<Conversation> {
    (0..count)
        .map(|index| conversations.conversation(index))
        .collect()
}

/// The contents of messages of a turn, and of what comes before the first.
fn contents(messages: &[serde_json::Map<String, Value>]) -> Vec<&str> {
    let contents = messages.iter().filter_map(|message| message.get("content"));
    contents.filter_map(Value::as_str).collect()
}
