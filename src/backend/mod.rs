//! How a request is phrased and an answer understood: one file a protocol, all of it pure.
//!
//! Bytes of an answer go through the decoder of the protocol's [`Framing`], which cuts them into
//! events wherever the network cut them; an [`EventReader`] then says what each event means. Nothing
//! here reads a clock or a socket, so whatever arrives can be decoded again, elsewhere, with the
//! same result.

mod anthropic;
mod failure;
mod framing;
mod lenient;
mod ollama;
mod openai;
mod protocol;
mod reading;
mod request;
pub mod sse;

use crate::plan::RunPlan;

pub use failure::{NotAStream, error_message, read_unexpected};
pub use framing::{FrameDecoder, Framing};
pub use protocol::{EventReader, ExactLength, Protocol};
pub use reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
pub use request::{BackendError, RequestInput, RequestSpec, check_extra_body};
pub use sse::{Event, Kind, Tail};

/// The name of the protocol that a server is driven with where the user names none.
pub const DEFAULT_PROTOCOL: &str = "openai";

/// One of [`protocols`].
pub type Backend = &'static dyn Protocol;

/// The protocols that there are, each under every name that it goes by, in the order of the help.
pub fn protocols() -> impl Iterator<Item = Backend> {
    let openai = openai::NAMES.iter().map(|name| name as Backend);
    let others: [Backend; 2] = [&anthropic::MESSAGES, &ollama::CHAT];
    openai.chain(others)
}

/// Returns the protocol of that name.
pub fn protocol(name: &str) -> Option<Backend> {
    protocols().find(|protocol| protocol.name() == name)
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
        let listed = protocols().map(|it| {
            let (name, path, mark) = (it.name(), it.endpoint(), it.end_mark().unwrap_or("-"));
            let (models, media_type) = (it.models_endpoint(), it.framing().media_type());
            let length = it.exact_length();
            format!("{name} {path} {models} {media_type} {mark} {length:?}")
        });
        insta::assert_snapshot!(listed.collect::<Vec<_>>().join("\n"), @r"
        openai-chat /v1/chat/completions /v1/models text/event-stream [DONE] OnDemand
        openai /v1/completions /v1/models text/event-stream [DONE] OnDemand
        vllm /v1/completions /v1/models text/event-stream [DONE] Known
        vllm-chat /v1/chat/completions /v1/models text/event-stream [DONE] Known
        anthropic /v1/messages /v1/models text/event-stream message_stop Never
        ollama /api/chat /api/tags application/x-ndjson - Never
        ");
        assert!(protocol("grpc").is_none());
        assert!(protocol(DEFAULT_PROTOCOL).is_some());
    }
}
