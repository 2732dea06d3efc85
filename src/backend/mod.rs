//! How a request is phrased and a streamed answer understood: one file a protocol, all of it pure.
//!
//! Bytes of a response go through [`sse::Decoder`], which cuts them into events wherever the
//! network cut them; an [`EventReader`] then says what each event means. Nothing here reads a
//! clock or a socket, so whatever arrives can be decoded again, elsewhere, with the same result.

mod anthropic;
mod failure;
mod lenient;
mod openai;
mod protocol;
mod reading;
mod request;
pub mod sse;

use crate::plan::RunPlan;

pub use failure::{NotAStream, error_message, read_unary};
pub use protocol::{EventReader, Protocol};
pub use reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
pub use request::{BackendError, RequestInput, RequestSpec, check_extra_body};

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
