//! How a request is phrased and a streamed answer understood: one file a protocol, all of it pure.
//!
//! Bytes of a response go through [`sse::Decoder`], which cuts them into events wherever the
//! network cut them; an [`EventReader`] then says what each event means. Nothing here reads a
//! clock or a socket, so whatever arrives can be decoded again, elsewhere, with the same result.

use clap::ValueEnum;

mod failure;
mod lenient;
mod openai;
mod reading;
mod request;
pub mod sse;

use crate::plan::RunPlan;

pub use failure::{NotAStream, error_message, read_unary};
pub use openai::EventReader;
pub use reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
pub use request::{BackendError, RequestInput, RequestSpec};

/// A protocol that a server is driven with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum BackendKind {
    /// OpenAI chat completions
    OpenaiChat,
    /// OpenAI completions
    Openai,
    /// OpenAI completions, as vLLM serves them: with usage in every event
    Vllm,
    /// OpenAI chat completions, as vLLM serves them: with usage in every event
    VllmChat,
}

impl BackendKind {
    /// Its name, as flags and plans have it.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Returns the protocol of a plan, where it names one that is known.
    pub fn of(plan: &RunPlan) -> Option<Self> {
        Self::from_str(plan.backend.as_deref()?, false).ok()
    }

    /// Returns the path that the protocol has on its servers.
    pub fn default_endpoint(self) -> &'static str {
        match self {
            Self::OpenaiChat | Self::VllmChat => "/v1/chat/completions",
            Self::Openai | Self::Vllm => "/v1/completions",
        }
    }

    /// Returns a reader for the events of one response; it keeps the decoded text if told to.
    pub fn reader(self, keep_text: bool) -> EventReader {
        match self {
            Self::OpenaiChat | Self::Openai | Self::Vllm | Self::VllmChat => {
                EventReader::new(keep_text)
            }
        }
    }

    /// Says whether requests ask for usage in every event: vLLM puts several tokens into one event
    /// whenever it is behind, and usage tells how many.
    pub fn asks_for_running_usage(self) -> bool {
        matches!(self, Self::Vllm | Self::VllmChat)
    }
}
