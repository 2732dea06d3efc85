//! How many tokens a server has for a prompt: those of the text that it makes of the request.
//!
//! For completions that is the prompt with what the tokenizer puts around a text, such as a
//! beginning-of-text token. For a chat it is what the model's chat template makes of the messages.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::{Map, Value, json};

use super::chat_template::{ChatFields, ChatTemplate};
use super::conversation::has_more_than_text;
use super::error::WorkloadError;
use super::growing_count::{GrowingCounter, GrowingText};
use super::prompt::{PromptSpec, Workload};
use super::tokenizer::{Tokenizer, model_path, tiktoken_name};

/// Lengths of texts, in tokens, by which it is found out what a server adds to each.
const PROBES: [u32; 4] = [1, 2, 17, 200];

/// Counts prompts as a server does that has the same tokenizer.
#[derive(Clone)]
pub struct PromptCounter {
    tokenizer: Arc<Tokenizer>,
    form: PromptForm,
    /// Fields that all requests of the run have.
    fields: Map<String, Value>,
    growing: Arc<GrowingCounter>,
    /// Makes texts of words, where it is to be found out what a server adds to those.
    workload: Option<Arc<Workload>>,
    /// Tokens that a server adds to a text of words, where they are the same for each.
    added: OnceLock<Option<u32>>,
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
            false if tiktoken_name(tokenizer).is_some() => None,
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
fn have_more_than_text(messages: &[Value]) -> bool {
    let mut messages = messages.iter().filter_map(Value::as_object);
    messages.any(has_more_than_text)
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
            growing: Arc::new(GrowingCounter::new(tokenizer.splitting_tokens())),
            tokenizer,
            form,
            fields,
            workload: None,
            added: OnceLock::new(),
        }
    }

    /// Finds out, when it is asked for, what is added to a text of words, so that those need not be counted
    /// one by one.
    pub fn measured_by(self, workload: &Arc<Workload>) -> Self {
        Self {
            workload: Some(Arc::clone(workload)),
            added: OnceLock::new(),
            ..self
        }
    }

    fn measured(&self) -> Option<u32> {
        let workload = self.workload.as_ref()?;
        let mut added = PROBES.iter().map(|&tokens| {
            let prompt = workload.prompt(PromptSpec::random(u64::from(tokens), tokens));
            self.verbatim(&prompt.text, None, None)?
                .checked_sub(prompt.tokens)
        });
        let first = added.next().flatten();
        let is_same = added.all(|next| next == first);
        first.filter(|_| is_same)
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
        let PromptForm::UnknownChat { why } = &self.form else {
            return None;
        };
        let because = match why {
            Some(why) => format!("which can't be used: {}", why.replace(['\r', '\n'], " ")),
            None => "which is not beside the tokenizer: `--chat-template` names it".to_owned(),
        };
        Some(format!(
            "note: prompts are counted without the chat template, {because}"
        ))
    }

    /// Tokens that a server adds to a text of words; `None` where they differ between texts, or were not
    /// measured.
    pub fn added(&self) -> Option<u32> {
        *self.added.get_or_init(|| self.measured())
    }

    /// Counts a prompt whose own length is known.
    pub fn made(&self, text: &str, tokens: u32) -> Option<u32> {
        match self.added() {
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

    /// Counts the messages of a conversation so far, as [`Self::verbatim`] does. `known` is what is known of
    /// it from the turns before, and is told what is known now, so that those are not counted again.
    pub fn turn(
        &self,
        text: &str,
        messages: &[Value],
        fields: Option<&Map<String, Value>>,
        known: &mut GrowingText,
    ) -> Option<u32> {
        let PromptForm::Chat(template) = &self.form else {
            return self.verbatim(text, Some(messages), fields);
        };
        if have_more_than_text(messages) {
            return None;
        }
        let fields = ChatFields::of_body(fields.unwrap_or(&self.fields));
        let made = template.render(messages, &fields).ok()?;
        let count = |part: &str| self.tokenizer.count(part);
        self.growing.count(&made, known, count)
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
        if messages.is_some_and(have_more_than_text) {
            return Ok(None);
        }
        let alone = [json!({ "role": "user", "content": text })];
        let fields = ChatFields::of_body(fields.unwrap_or(&self.fields));
        let made = template.render(messages.unwrap_or(&alone), &fields)?;
        Ok(self.tokenizer.count(&made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::shared_file;

    /// Turns with what tokenizers are known for: white space at their ends, several scripts, special tokens
    /// as text.
    const SAID: [&str; 6] = [
        "Hello there",
        "  \n",
        "\u{4f60}\u{597d}\u{ff0c}\u{4e16}\u{754c}",
        "fn main() {\n    println!(\"<|im_end|>\");\n}",
        "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{1f600}",
        "and 1234567 <|start|>x",
    ];

    fn conversation(turns: usize) -> Vec<Value> {
        let said = SAID.iter().cycle().take(2 * turns + 1).enumerate();
        let role = |at: usize| {
            if at.is_multiple_of(2) {
                "user"
            } else {
                "assistant"
            }
        };
        said.map(|(at, text)| json!({ "role": role(at), "content": text }))
            .collect()
    }

    #[test]
    fn a_conversation_counted_turn_by_turn_is_counted_as_the_whole_of_it() {
        let harmony = tempfile::NamedTempFile::with_suffix(".jinja").unwrap();
        let template = "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}<|start|>assistant";
        std::fs::write(harmony.path(), template).unwrap();
        for (name, template) in [("qwen3", None), ("gptoss", Some(harmony.path()))] {
            let Some(path) = shared_file(&format!("tokenizers/{name}/tokenizer.json.gz")) else {
                return;
            };
            let tokenizer = Arc::new(Tokenizer::load(&path).unwrap());
            assert!(!tokenizer.splitting_tokens().is_empty());
            let form = PromptForm::of_chat(template, path.parent().unwrap()).unwrap();
            let counter = PromptCounter::new(tokenizer, form, Map::new());
            let mut known = GrowingText::default();
            for turns in 0..12 {
                let messages = conversation(turns);
                let whole = counter.verbatim("", Some(&messages), None);
                assert!(whole.is_some());
                assert_eq!(
                    counter.turn("", &messages, None, &mut known),
                    whole,
                    "{name}"
                );
            }
            assert!(known != GrowingText::default());
        }
    }
}
