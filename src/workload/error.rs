//! What can be wrong with a workload, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::text_file::Unreadable;
use crate::capture::CaptureError;

/// Why prompts can't be made.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// There is no such tokenizer.
    #[error("tokenizer `{}` does not exist", path.display())]
    MissingTokenizer {
        /// What was named.
        path: PathBuf,
    },
    /// A folder without a tokenizer.
    #[error("folder `{}` has no `tokenizer.json`", path.display())]
    NoTokenizerInFolder {
        /// The folder.
        path: PathBuf,
    },
    /// The tokenizer can't be read.
    #[error("cannot read tokenizer `{}`", path.display())]
    ReadTokenizer {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no tokenizer.
    #[error("`{}` is not a Hugging Face `tokenizer.json`: {message}", path.display())]
    BadTokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A vocabulary of tiktoken that this build does not have.
    #[error("this build does not have tiktoken's vocabulary `{name}`")]
    NoTiktoken {
        /// Its name.
        name: String,
    },
    /// The file is no chat template, or the template refuses messages.
    #[error("chat template `{}`: {message}", path.display())]
    ChatTemplate {
        /// The file.
        path: PathBuf,
        /// What is wrong, and in which line.
        message: String,
    },
    /// A data set that can't be used.
    #[error("data set `{}`: {message}", path.display())]
    Dataset {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// What the user can do about it.
        hint: &'static str,
    },
    /// A tape whose prompts can't be read.
    #[error(transparent)]
    Tape(#[from] CaptureError),
    /// Lengths that no prompt can have.
    #[error("{message}")]
    Lengths {
        /// What is wrong.
        message: String,
    },
}

impl WorkloadError {
    /// A data set that can't be used.
    pub(super) fn dataset(path: &Path, message: impl Into<String>, hint: &'static str) -> Self {
        Self::Dataset {
            path: path.to_owned(),
            message: message.into(),
            hint,
        }
    }

    /// A file of a data set that can't be read, or has another form: `form` says what it is to have.
    pub fn unreadable(path: &Path, why: impl Into<Unreadable>, form: &'static str) -> Self {
        let Unreadable { message, hint } = why.into();
        Self::dataset(path, message, hint.unwrap_or(form))
    }

    /// Returns what the user can do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Tape(error) => return error.hint(),
            Self::Dataset { hint, .. } => hint,
            Self::MissingTokenizer { .. } => {
                "name the model's `tokenizer.json` or its folder; of a model's name only what is in the \
                 cache of the Hugging Face hub is found: `hf download NAME` puts it there"
            }
            Self::NoTokenizerInFolder { .. } | Self::BadTokenizer { .. } => {
                "name the `tokenizer.json` of the model, packed with gzip or not"
            }
            Self::NoTiktoken { .. } => {
                "build with `--features tiktoken`, or name a `tokenizer.json` with the same vocabulary"
            }
            Self::ChatTemplate { .. } => {
                "name the template that the server has with `--chat-template`, as a file of Jinja"
            }
            Self::ReadTokenizer { .. } | Self::Lengths { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
