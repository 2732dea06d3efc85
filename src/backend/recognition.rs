//! What a server is, by what it says of itself; and what a stream is, by its events.

use serde_json::Value;

use super::{Backend, Event, protocol, protocols};

/// A question to a server whose answer may give it away.
#[derive(Debug)]
pub struct Sign {
    /// What to get, below the address of the server.
    pub path: &'static str,
    /// Names the backend, where the answer has what only its servers say.
    find: fn(&Value) -> Option<&'static str>,
    /// What answers so, where the path of the question does not say it.
    pub what: Option<&'static str>,
}

/// Who owns the models of a server, by its own word, and the backend then.
const OWNERS: [(&str, &str); 7] = [
    ("vllm", "vllm-chat"),
    ("sglang", "sglang-oai-chat"),
    ("llamacpp", "llama.cpp-chat"),
    ("lmdeploy", "lmdeploy-chat"),
    ("nvidia", "dynamo"),
    ("scalellm", "scalellm"),
    ("library", "ollama"),
];

/// The chat protocol of OpenAI, which every gateway takes, whatever stands behind it.
const OF_GATEWAYS: &str = "openai-chat";

/// The questions, in the order in which they are asked. Gateways come first: some pass on what the
/// servers behind them say of themselves, and not all that these take.
pub static SIGNS: [Sign; 11] = [
    // smg, which was SGLang's gateway, and vllm-router.
    Sign {
        path: "/readiness",
        find: |answer| {
            let are_counted = ["healthy_workers", "total_workers"]
                .iter()
                .all(|name| answer[*name].is_number());
            are_counted.then_some(OF_GATEWAYS)
        },
        what: Some(
            "a gateway that counts its workers, as smg and vllm-router do; it need not pass on what the \
             server behind it takes beyond that",
        ),
    },
    Sign {
        path: "/health/liveliness",
        find: |answer| (answer == "I'm alive!").then_some(OF_GATEWAYS),
        what: Some(
            "the gateway LiteLLM; it need not pass on what the server behind it takes beyond that",
        ),
    },
    // Before the list of models, whose owner may have other models that chat.
    Sign {
        path: "/openapi.json",
        find: hears_only,
        what: Some("it lists transcriptions of audio, and neither chat nor completions"),
    },
    Sign {
        path: "/v1/models",
        find: of_models,
        what: None,
    },
    Sign {
        path: "/api/version",
        find: |answer| answer["version"].is_string().then_some("ollama"),
        what: None,
    },
    Sign {
        path: "/props",
        find: |answer| {
            let settings = &answer["default_generation_settings"];
            settings.is_object().then_some("llama.cpp-chat")
        },
        what: None,
    },
    Sign {
        path: "/get_model_info",
        find: |answer| {
            answer["model_path"]
                .is_string()
                .then_some("sglang-oai-chat")
        },
        what: None,
    },
    Sign {
        path: "/info",
        find: |answer| {
            let is_known = answer["model_id"].is_string() && answer["max_total_tokens"].is_number();
            is_known.then_some("tgi-chat")
        },
        what: None,
    },
    Sign {
        path: "/v2",
        find: |answer| (answer["name"] == "triton").then_some("tensorrt-llm"),
        what: None,
    },
    Sign {
        path: "/version",
        find: |answer| answer["version"].is_string().then_some("vllm-chat"),
        what: None,
    },
    // It names no owner but the authors of models, and says no version.
    Sign {
        path: "/openapi.json",
        find: |answer| {
            let paths = &answer["paths"];
            let is_known = paths["/load_model"].is_object() && paths["/reset"].is_object();
            is_known.then_some("transformers")
        },
        what: None,
    },
];

/// Names the backend of a server whose document lists paths for audio, and none for text.
fn hears_only(answer: &Value) -> Option<&'static str> {
    let paths = answer["paths"].as_object()?;
    let has = |ending: &str| paths.keys().any(|path| path.ends_with(ending));
    (has("/audio/transcriptions") && !has("/completions")).then_some("openai-audio")
}

/// Names the backend by the list of models.
fn of_models(answer: &Value) -> Option<&'static str> {
    let first = &answer["data"][0];
    let owner = first["owned_by"].as_str()?;
    // The name that mistral.rs lists for the model that takes requests without one.
    if owner == "local" && first["id"] == "default" {
        return Some("mistralrs");
    }
    let known = OWNERS.iter().find(|(name, _)| *name == owner)?;
    Some(known.1)
}

impl Sign {
    /// Returns the backend that an answer to the question gives away, for this endpoint where the user
    /// named one.
    pub fn backend(&self, answer: &Value, endpoint: Option<&str>) -> Option<Backend> {
        Some(for_endpoint(protocol((self.find)(answer)?)?, endpoint))
    }
}

/// The backend for a server that says nothing of itself.
pub fn unrecognized(endpoint: Option<&str>) -> Backend {
    let chat = protocols().next().expect("there are protocols");
    for_endpoint(chat, endpoint)
}

/// Returns the backend of the same server that has this endpoint, else the first that has it, else
/// the same.
fn for_endpoint(found: Backend, endpoint: Option<&str>) -> Backend {
    let Some(path) = endpoint.map(|path| path.split('?').next().unwrap_or_default()) else {
        return found;
    };
    let fitting: Vec<Backend> = protocols()
        .filter(|other| path.ends_with(other.endpoint()))
        .collect();
    let is_same = |other: &&Backend| {
        found.name().starts_with(other.name()) || other.name().starts_with(found.name())
    };
    let same = fitting.iter().find(is_same);
    *same.or(fitting.first()).unwrap_or(&found)
}

/// Names the backend that reads a token in an event, where there is one.
pub fn looks_like(event: &Event<'_>) -> Option<&'static str> {
    let reads = |backend: &Backend| {
        let reading = backend.reader(false).read_event(event);
        reading.channel.is_token_bearing() && backend.is_its_own(event)
    };
    protocols().find(reads).map(|backend| backend.name())
}

/// Names the backend that reads a token in the beginning of a body, where there is one.
pub fn body_looks_like(body: &[u8]) -> Option<&'static str> {
    let reads = |backend: &Backend| {
        let mut reader = backend.reader(false);
        let mut has_token = false;
        let mut decoder = backend.framing().decoder(backend.end_mark());
        let _ = decoder.push(body, |event| {
            let is_token = reader.read_event(&event).channel.is_token_bearing();
            has_token |= is_token && backend.is_its_own(&event);
        });
        has_token
    };
    protocols().find(reads).map(|backend| backend.name())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(path: &str, answer: &Value, endpoint: Option<&str>) -> Option<&'static str> {
        let mut signs = SIGNS.iter().filter(|sign| sign.path == path).peekable();
        assert!(signs.peek().is_some(), "{path}");
        let found = signs.find_map(|sign| sign.backend(answer, endpoint))?;
        Some(found.name())
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of servers")]
    fn each_server_is_known_by_what_only_it_says() {
        let owned = |by| json!({ "data": [{ "id": "m", "owned_by": by }] });
        for (path, answer, name) in [
            ("/v1/models", owned("vllm"), Some("vllm-chat")),
            ("/v1/models", owned("llamacpp"), Some("llama.cpp-chat")),
            ("/v1/models", owned("somebody"), None),
            ("/v1/models", owned("local"), None),
            (
                "/v1/models",
                json!({ "data": [{ "id": "default", "owned_by": "local" }, { "id": "m" }] }),
                Some("mistralrs"),
            ),
            ("/v1/models", json!({ "data": [] }), None),
            ("/api/version", json!({ "version": "0.9" }), Some("ollama")),
            (
                "/props",
                json!({ "default_generation_settings": {} }),
                Some("llama.cpp-chat"),
            ),
            (
                "/get_model_info",
                json!({ "model_path": "m" }),
                Some("sglang-oai-chat"),
            ),
            (
                "/info",
                json!({ "model_id": "m", "max_total_tokens": 9 }),
                Some("tgi-chat"),
            ),
            ("/info", json!({ "model_id": "m" }), None),
            ("/v2", json!({ "name": "triton" }), Some("tensorrt-llm")),
            (
                "/version",
                json!({ "version": "0.32.0" }),
                Some("vllm-chat"),
            ),
            ("/version", json!(["0.32.0"]), None),
            (
                "/readiness",
                json!({ "status": "ready", "healthy_workers": 1, "total_workers": 2 }),
                Some("openai-chat"),
            ),
            ("/readiness", json!({ "status": "ready" }), None),
            (
                "/health/liveliness",
                json!("I'm alive!"),
                Some("openai-chat"),
            ),
            ("/health/liveliness", json!({ "status": "ok" }), None),
            (
                "/openapi.json",
                json!({ "paths": { "/load_model": {}, "/reset": {}, "/v1/models": {} } }),
                Some("transformers"),
            ),
            (
                "/openapi.json",
                json!({ "paths": { "/v1/audio/transcriptions": {}, "/v1/models": {} } }),
                Some("openai-audio"),
            ),
            (
                "/openapi.json",
                json!({ "paths": { "/v1/audio/transcriptions": {}, "/v1/chat/completions": {} } }),
                None,
            ),
            (
                "/openapi.json",
                json!({ "info": { "title": "FastAPI" }, "paths": { "/v1/models": {} } }),
                None,
            ),
        ] {
            assert_eq!(found(path, &answer, None), name, "{path} {answer}");
        }
        // Every name in the tables is that of a protocol.
        assert!(OWNERS.iter().all(|(_, name)| protocol(name).is_some()));
    }

    #[test]
    fn an_endpoint_of_the_user_decides_between_the_protocols_of_a_server() {
        let answer = json!({ "data": [{ "owned_by": "vllm" }] });
        for (endpoint, name) in [
            ("/v1/completions", "vllm"),
            ("/v1/chat/completions?x=1", "vllm-chat"),
            ("/openai/v1/chat/completions", "vllm-chat"),
            ("/v1/messages", "anthropic"),
            ("/v1/responses", "openai-responses"),
            ("/elsewhere", "vllm-chat"),
        ] {
            assert_eq!(
                found("/v1/models", &answer, Some(endpoint)),
                Some(name),
                "{endpoint}"
            );
        }
        assert_eq!(unrecognized(None).name(), "openai-chat");
        assert_eq!(unrecognized(Some("/v1/completions")).name(), "openai");
    }

    #[test]
    fn an_event_is_known_by_who_reads_a_token_in_it() {
        for (data, name) in [
            (r#"{"choices":[{"text":"a"}]}"#, Some("openai")),
            (
                r#"{"choices":[{"delta":{"content":"a"}}]}"#,
                Some("openai-chat"),
            ),
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}"#,
                Some("anthropic"),
            ),
            (
                r#"{"type":"response.output_text.delta","delta":"a"}"#,
                Some("openai-responses"),
            ),
            (
                r#"{"text":"a","meta_info":{"id":"b","completion_tokens":1}}"#,
                Some("sglang"),
            ),
            (
                r#"{"index":1,"token":{"id":1,"text":"a","special":false}}"#,
                Some("tgi"),
            ),
            (
                r#"{"model_name":"ensemble","text_output":"a"}"#,
                Some("tensorrt-llm"),
            ),
            (
                r#"{"content":"a","stop":false,"tokens":[1]}"#,
                Some("llama.cpp"),
            ),
            (
                r#"{"message":{"content":"a"},"done":false}"#,
                Some("ollama"),
            ),
            (r#"{"event":"tick","n":1}"#, None),
        ] {
            let sse = format!("data: {data}\n\n");
            let mut names = Vec::new();
            let mut decoder = crate::backend::sse::Decoder::new();
            decoder
                .push(sse.as_bytes(), |event| names.push(looks_like(&event)))
                .unwrap();
            assert_eq!(names, [name], "{data}");
            let lines = format!("{data}\n");
            let by_body =
                body_looks_like(if name == Some("ollama") { &lines } else { &sse }.as_bytes());
            assert_eq!(by_body, name, "{data}");
        }
    }
}
