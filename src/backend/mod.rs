//! How a request is phrased and a streamed answer understood: one file a protocol, all of it pure.
//!
//! Bytes of a response go through [`sse::Decoder`], which cuts them into events wherever the
//! network cut them; an [`EventReader`] then says what each event means. Nothing here reads a
//! clock or a socket, so whatever arrives can be decoded again, elsewhere, with the same result.

mod anthropic;
mod failure;
mod lenient;
mod openai;
mod reading;
mod request;
pub mod sse;

use std::fmt::Debug;

use crate::plan::RunPlan;
use crate::secrets::Secrets;
use sse::Event;

pub use failure::{NotAStream, error_message, read_unary};
pub use reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
pub use request::{BackendError, RequestInput, RequestSpec, check_extra_body};

/// A protocol that a server is driven with.
pub trait Protocol: Debug + Sync {
    /// Its name, as flags and plans have it.
    fn name(&self) -> &'static str;

    /// What it is, in a line of help.
    fn about(&self) -> &'static str;

    /// The path that it has on its servers.
    fn endpoint(&self) -> &'static str;

    /// Headers that its servers need, unless the user gives them: names in lower case, and values.
    fn headers(&self) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Says whether requests ask for usage in every event: vLLM puts several tokens into one event
    /// whenever it is behind, and usage tells how many.
    fn asks_for_running_usage(&self) -> bool {
        false
    }

    /// Returns the JSON body of a streaming request that also asks for token usage.
    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8>;

    /// Returns a reader for the events of one response; it keeps the decoded text if told to.
    fn reader(&self, keep_text: bool) -> Box<dyn EventReader>;
}

/// Reads the events of one response, in order.
pub trait EventReader: Debug + Send {
    /// Has these secrets masked in messages, codes, names and ids.
    fn mask(&mut self, secrets: &Secrets);

    /// Says what an event of the decoder carried.
    fn read_event(&mut self, event: &Event<'_>) -> Reading;

    /// Returns what ids and running usage have told of the output tokens so far.
    fn tally(&self) -> TokenTally;
}

/// One of [`PROTOCOLS`].
pub type Backend = &'static dyn Protocol;

/// The protocols that there are, in the order of the help.
pub static PROTOCOLS: [Backend; 5] = [
    &openai::CHAT,
    &openai::COMPLETIONS,
    &openai::VLLM,
    &openai::VLLM_CHAT,
    &anthropic::MESSAGES,
];

/// Returns the protocol of that name.
pub fn protocol(name: &str) -> Option<Backend> {
    PROTOCOLS
        .into_iter()
        .find(|protocol| protocol.name() == name)
}

/// Returns the protocol of a plan, where it names one that is known.
pub fn of_plan(plan: &RunPlan) -> Option<Backend> {
    protocol(plan.backend.as_deref()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocols_have_the_names_that_the_field_knows() {
        let listed = PROTOCOLS.map(|it| format!("{} {}", it.name(), it.endpoint()));
        insta::assert_snapshot!(listed.join("\n"), @r"
        openai-chat /v1/chat/completions
        openai /v1/completions
        vllm /v1/completions
        vllm-chat /v1/chat/completions
        anthropic /v1/messages
        ");
        assert!(protocol("grpc").is_none());
    }
}
