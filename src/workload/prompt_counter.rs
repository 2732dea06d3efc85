//! How many tokens a server has for a prompt: those of the text that it makes of the request.
//!
//! For completions that is the prompt with what the tokenizer puts around a text, such as a
//! beginning-of-text token. For a chat it is what the model's chat template makes of the messages.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::chat_template::{ChatFields, ChatTemplate};
use super::error::WorkloadError;
use super::prompt::{PromptSpec, Workload};
use super::tokenizer::{Tokenizer, model_path};

/// Lengths of texts, in tokens, by which it is found out what a server adds to each.
const PROBES: [u32; 4] = [1, 2, 17, 200];

/// Counts prompts as a server does that has the same tokenizer.
#[derive(Clone)]
pub struct PromptCounter {
    tokenizer: Arc<Tokenizer>,
    form: PromptForm,
    /// Fields that all requests of the run have.
    fields: Map<String, Value>,
    /// Tokens that a server adds to a text of words, where they are the same for each and that is known.
    added: Option<u32>,
}

/// What a server makes of a prompt before it tokenizes it.
#[derive(Debug, Clone)]
pub enum PromptForm {
    /// Nothing: completions.
    Text,
    /// What a chat template makes of messages.
    Chat(Arc<ChatTemplate>),
    /// What a chat template makes of messages that is not known. Counted are their texts alone.
    UnknownChat {
        /// Why the model's own can't be used, where it has one.
        why: Option<String>,
    },
}

impl PromptForm {
    /// Finds the chat template of a model: the one in `file`, or the one beside its tokenizer.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::ChatTemplate`] where `file` has no template, or one that refuses a user's message. One beside the tokenizer that
    /// can't be used is no error: counts are less exact without it.
    pub fn of_chat(file: Option<&Path>, tokenizer: &Path) -> Result<Self, WorkloadError> {
        let tokenizer = &*model_path(tokenizer);
        let folder = match tokenizer.is_dir() {
            true => Some(tokenizer.to_owned()),
            false => tokenizer.parent().map(PathBuf::from),
        };
        if let Some(file) = file {
            let template = ChatTemplate::of_file(file, folder.as_deref())?;
            probe(&template)?;
            return Ok(Self::Chat(Arc::new(template)));
        }
        let found = folder.map_or(Ok(None), |folder| ChatTemplate::of_folder(&folder));
        let found = found.and_then(|found| {
            found.iter().try_for_each(probe)?;
            Ok(found)
        });
        Ok(match found {
            Ok(Some(template)) => Self::Chat(Arc::new(template)),
            Ok(None) => Self::UnknownChat { why: None },
            Err(error) => Self::UnknownChat {
                why: Some(error.to_string()),
            },
        })
    }
}

/// Fails where a template refuses what a user says.
fn probe(template: &ChatTemplate) -> Result<(), WorkloadError> {
    let message = json!({ "role": "user", "content": "Hello" });
    let made = template.render(&[message], &ChatFields::default());
    made.map(|_| ())
}

/// Whether messages have an image, audio or the like, whose tokens no template tells.
fn has_more_than_text(messages: &[Value]) -> bool {
    let parts = messages
        .iter()
        .filter_map(|message| message["content"].as_array());
    parts.flatten().any(|part| part["type"] != "text")
}

impl fmt::Debug for PromptCounter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("PromptCounter")
            .field("tokenizer", &self.tokenizer)
            .field("form", &self.form)
            .field("added", &self.added)
            .finish_non_exhaustive()
    }
}

impl PromptCounter {
    /// Counts with `tokenizer` what requests have that all have these `fields`.
    pub fn new(tokenizer: Arc<Tokenizer>, form: PromptForm, fields: Map<String, Value>) -> Self {
        Self {
            tokenizer,
            form,
            fields,
            added: None,
        }
    }

    /// Finds out what is added to a text of words, so that those need not be counted one by one.
    pub fn measured_by(mut self, workload: &Workload) -> Self {
        let mut added = PROBES.iter().map(|&tokens| {
            let prompt = workload.prompt(PromptSpec::random(u64::from(tokens), tokens));
            self.verbatim(&prompt.text, None, None)?
                .checked_sub(prompt.tokens)
        });
        let first = added.next().flatten();
        let is_same = added.all(|next| next == first);
        self.added = first.filter(|_| is_same);
        self
    }

    /// The file of the chat template that is counted with.
    pub fn chat_template(&self) -> Option<&Path> {
        match &self.form {
            PromptForm::Chat(template) => Some(template.path()),
            PromptForm::Text | PromptForm::UnknownChat { .. } => None,
        }
    }

    /// Whether prompts are counted as they are, but for what the tokenizer adds.
    pub fn is_of_text(&self) -> bool {
        matches!(self.form, PromptForm::Text)
    }

    /// What is to be said of it before a run.
    pub fn note(&self) -> Option<String> {
        let PromptForm::UnknownChat { why: Some(why) } = &self.form else {
            return None;
        };
        let why = why.replace(['\r', '\n'], " ");
        Some(format!(
            "note: prompts are counted without the chat template, which can't be used: {why}"
        ))
    }

    /// Tokens that a server adds to a text of words; `None` where they differ between texts, or were not
    /// measured.
    pub fn added(&self) -> Option<u32> {
        self.added
    }

    /// Counts a prompt whose own length is known.
    pub fn made(&self, text: &str, tokens: u32) -> Option<u32> {
        match self.added {
            Some(added) => tokens.checked_add(added),
            None => self.verbatim(text, None, None),
        }
    }

    /// Counts what is sent as it is: these messages, or the text alone; in a chat, the text is what a
    /// user says. `fields` are those of the body, where they are other than the run's. `None` where the
    /// chat template refuses the messages, and of images and the like.
    pub fn verbatim(
        &self,
        text: &str,
        messages: Option<&[Value]>,
        fields: Option<&Map<String, Value>>,
    ) -> Option<u32> {
        self.try_verbatim(text, messages, fields).ok().flatten()
    }

    /// Counts as [`Self::verbatim`] does; `None` is for images and the like.
    ///
    /// # Errors
    ///
    /// [`WorkloadError::ChatTemplate`] where the chat template refuses the messages.
    pub fn try_verbatim(
        &self,
        text: &str,
        messages: Option<&[Value]>,
        fields: Option<&Map<String, Value>>,
    ) -> Result<Option<u32>, WorkloadError> {
        let template = match &self.form {
            PromptForm::Text => return Ok(self.tokenizer.count_with_added(text)),
            PromptForm::UnknownChat { .. } => return Ok(self.tokenizer.count(text)),
            PromptForm::Chat(template) => template,
        };
        if messages.is_some_and(has_more_than_text) {
            return Ok(None);
        }
        let alone = [json!({ "role": "user", "content": text })];
        let fields = ChatFields::of_body(fields.unwrap_or(&self.fields));
        let made = template.render(messages.unwrap_or(&alone), &fields)?;
        Ok(self.tokenizer.count(&made))
    }
}
