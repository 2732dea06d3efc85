//! How a request is phrased and an answer understood: one file a protocol, all of it pure.
//!
//! Bytes of an answer go through the decoder of the protocol's [`Framing`], which cuts them into
//! events wherever the network cut them; an [`EventReader`] then says what each event means. Nothing
//! here reads a clock or a socket, so whatever arrives can be decoded again, elsewhere, with the
//! same result.

mod anthropic;
mod audio;
mod chat_form;
mod embeddings;
mod error;
mod failure;
mod flat;
mod forced;
mod framing;
mod lenient;
mod llama_cpp;
mod meter;
mod ollama;
mod openai;
mod protocol;
mod reading;
mod recognition;
mod request;
mod responses;
mod sampling;
mod sglang;
pub mod sse;
mod template;
mod tgi;
mod times;
mod tokenize;
mod triton;
mod unread;

use crate::plan::RunPlan;

pub use error::{BackendError, TemplateError};
pub use failure::{NotAStream, error_message, quoted, read_unexpected};
pub use framing::{FrameDecoder, Framing};
pub use protocol::{EventReader, ExactLength, Inputs, Protocol, Remedy};
pub use reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
pub use recognition::{SIGNS, Sign, body_looks_like, looks_like, unrecognized};
pub use request::{Audio, RequestInput, RequestSpec, check_extra_body};
pub use sampling::SamplingFields;
pub use sse::{Event, Kind, Tail};
pub use template::{TEMPLATE, of_template};
pub use tokenize::{COUNTING_SERVERS, Countable, TokenizeAnswer, TokenizeCall, TokenizeDialect};

/// The name of the protocol that a server is driven with where the user names none.
pub const DEFAULT_PROTOCOL: &str = "openai";

/// The protocol of chats, where nothing names another.
pub const DEFAULT_CHAT: &str = "openai-chat";

/// One of [`protocols`].
pub type Backend = &'static dyn Protocol;

/// The protocols that there are, each under every name that it goes by, in the order of the help.
pub fn protocols() -> impl Iterator<Item = Backend> {
    let openai = openai::NAMES.iter().map(|name| name as Backend);
    let others: [Backend; 9] = [
        &responses::RESPONSES,
        &anthropic::MESSAGES,
        &sglang::GENERATE,
        &tgi::GENERATE_STREAM,
        &triton::GENERATE_STREAM,
        &llama_cpp::COMPLETION,
        &ollama::CHAT,
        &embeddings::EMBEDDINGS,
        &audio::AUDIO,
    ];
    openai.chain(others)
}

/// Returns the protocol of that name.
pub fn protocol(name: &str) -> Option<Backend> {
    protocols().find(|protocol| protocol.name() == name)
}

/// Returns the protocol of a plan.
///
/// # Errors
///
/// [`BackendError`] where it names none that is known, or has a template that can't be used.
pub fn of_plan(plan: &RunPlan) -> Result<Backend, BackendError> {
    let name = plan.backend.as_deref().unwrap_or_default();
    match (&plan.backend_template, protocol(name)) {
        (Some(text), _) if name == TEMPLATE => Ok(of_template(text)?),
        (_, Some(known)) => Ok(known),
        _ => Err(BackendError::Unknown(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_forced_in_the_fields_that_the_servers_have() {
        let told = protocols().filter_map(|it| {
            let fields = serde_json::Value::Object(it.forced_output("so [be] it")?);
            Some(format!("{} {fields}", it.name()))
        });
        insta::assert_snapshot!(told.collect::<Vec<_>>().join("\n"), @r#"
        vllm {"structured_outputs":{"choice":["so [be] it"]}}
        vllm-chat {"structured_outputs":{"choice":["so [be] it"]}}
        sglang-oai {"regex":"so \\[be\\] it"}
        sglang-oai-chat {"regex":"so \\[be\\] it"}
        llama.cpp-chat {"grammar":"root ::= \"so [be] it\""}
        sglang {"sampling_params":{"regex":"so \\[be\\] it"}}
        tgi {"parameters":{"grammar":{"type":"regex","value":"so \\[be\\] it"}}}
        llama.cpp {"grammar":"root ::= \"so [be] it\""}
        "#);
    }

    #[test]
    fn the_protocols_have_the_names_that_the_field_knows() {
        let listed = protocols().map(|it| {
            let (name, path, mark) = (it.name(), it.endpoint(), it.end_mark().unwrap_or("-"));
            let (models, media_type) = (it.models_endpoint(), it.framing().media_type());
            let length = it.exact_length();
            format!("{name} {path} {models} {media_type} {mark} {length:?}")
        });
        insta::assert_snapshot!(listed.collect::<Vec<_>>().join("\n"), @r#"
        openai-chat /v1/chat/completions /v1/models text/event-stream [DONE] OnDemand
        openai /v1/completions /v1/models text/event-stream [DONE] OnDemand
        vllm /v1/completions /v1/models text/event-stream [DONE] Known
        vllm-chat /v1/chat/completions /v1/models text/event-stream [DONE] Known
        sglang-oai /v1/completions /v1/models text/event-stream [DONE] Known
        sglang-oai-chat /v1/chat/completions /v1/models text/event-stream [DONE] Known
        llama.cpp-chat /v1/chat/completions /v1/models text/event-stream [DONE] Known
        tgi-chat /v1/chat/completions /v1/models text/event-stream [DONE] Never
        dynamo /v1/chat/completions /v1/models text/event-stream [DONE] Known
        lmdeploy /v1/completions /v1/models text/event-stream [DONE] Known
        lmdeploy-chat /v1/chat/completions /v1/models text/event-stream [DONE] Known
        mistralrs /v1/chat/completions /v1/models text/event-stream [DONE] OnDemand
        transformers /v1/chat/completions /v1/models text/event-stream - Never
        scalellm /v1/completions /v1/models text/event-stream [DONE] OnDemand
        deepspeed-mii /v1/completions /v1/models text/event-stream [DONE] Never
        openai-responses /v1/responses /v1/models text/event-stream - OnDemand
        anthropic /v1/messages /v1/models text/event-stream message_stop Never
        sglang /generate /v1/models text/event-stream [DONE] Known
        tgi /generate_stream /info text/event-stream - OnDemand
        tensorrt-llm /v2/models/ensemble/generate_stream /v2/models/ensemble text/event-stream - OnDemand
        llama.cpp /completion /v1/models text/event-stream - Known
        ollama /api/chat /api/tags application/x-ndjson - Never
        openai-embeddings /v1/embeddings /v1/models application/json - Never
        openai-audio /v1/audio/transcriptions /v1/models text/event-stream [DONE] Never
        "#);
        assert!(protocol("grpc").is_none());
        assert!(protocol(DEFAULT_PROTOCOL).is_some());
        assert!(protocol(DEFAULT_CHAT).is_some_and(|chat| chat.is_chat()));
    }
}
