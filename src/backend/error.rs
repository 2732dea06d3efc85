//! What a backend can't do, and what is wrong with one of the user's own.

/// A request that can't be measured as one stream of tokens.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BackendError {
    /// A field of the extra body asks for several answers, several prompts, or no stream.
    #[error("`{field}` in the extra body asks for {asks}, which can't be measured as one stream")]
    Refused {
        /// Name of the field.
        field: &'static str,
        /// What the field asks for.
        asks: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// Exactly the planned output length is asked for, which the protocol can't say.
    #[error("the backend `{backend}` can't ask for exact output lengths (`--ignore-eos`)")]
    NoExactLength {
        /// Name of the backend.
        backend: &'static str,
    },
    /// A text is to be said, which the protocol can't ask for.
    #[error(
        "the backend `{backend}` can't have a server say a text (`--output-length trace-text`)"
    )]
    NoForcedOutput {
        /// Name of the backend.
        backend: &'static str,
    },
    /// Text is to be sent, which requests of the protocol can't hold.
    #[error("the backend `{backend}` can't send text")]
    NoText {
        /// Name of the backend.
        backend: &'static str,
    },
    /// Audio is to be sent, which requests of the protocol can't hold.
    #[error("the backend `{backend}` can't send audio")]
    NoAudio {
        /// Name of the backend.
        backend: &'static str,
    },
    /// Images are to be sent, which requests of the protocol can't hold.
    #[error("the backend `{backend}` can't send the images that the data set has")]
    NoImages {
        /// Name of the backend.
        backend: &'static str,
    },
    /// A plan names a backend that there is not.
    #[error("the plan's backend `{0}` is not known")]
    Unknown(String),
    /// See [`TemplateError`].
    #[error("the template of the backend can't be used: {0}")]
    Template(#[from] TemplateError),
}

impl BackendError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Refused { remedy, .. } => remedy,
            Self::NoForcedOutput { .. } => {
                "those of vLLM, SGLang, TGI and llama.cpp can; see docs/backends.md"
            }
            Self::NoText { .. } => "drive it with `load --dataset-name audio`",
            Self::NoAudio { .. } => "name `openai-audio` or a chat with `--backend`",
            Self::NoImages { .. } => {
                "name a chat of OpenAI's kind with `--backend`, such as `openai-chat`"
            }
            Self::NoExactLength { .. } => {
                "leave out `--ignore-eos`: the planned length then limits an answer, which may end before"
            }
            Self::Unknown(_) => "see `tokentape load --help` for those that there are",
            Self::Template(_) => "see docs/backends.md for what a template has",
        }
    }
}

/// A template that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The settings are missing.
    #[error("it does not begin with a comment that has the settings")]
    NoSettings,
    /// A line of the settings can't be read.
    #[error("its setting `{0}` is not known")]
    Unknown(String),
    /// A setting has a value that it can't have.
    #[error("its setting `{name}` is not {what}")]
    Senseless {
        /// Name of the setting.
        name: &'static str,
        /// What it has to be.
        what: &'static str,
    },
    /// The body has a value that there is not.
    #[error("its body has `{0}`, and there is no such value")]
    UnknownValue(String),
    /// The body can't be made.
    #[error("its body can't be rendered: {0}")]
    Body(String),
    /// The body is not what a request has.
    #[error(
        "its body is no JSON object where a request has a limit of {limit} (values are written with \
         `| tojson`): {reason}"
    )]
    NoObject {
        /// Which limit.
        limit: &'static str,
        /// Why.
        reason: String,
    },
}
