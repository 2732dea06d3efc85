//! How a request is phrased in the OpenAI protocols: chat completions and completions, plain and as
//! vLLM serves them.

use serde::Serialize;
use serde::ser::Serializer;
use serde_json::{Map, Value, json};

use super::OpenAiReader;
use super::shape::END_MARK;
use crate::backend::forced::{gbnf, regex};
use crate::backend::framing::Framing;
use crate::backend::protocol::{EventReader, ExactLength, Inputs, Protocol, Remedy};
use crate::backend::request::{Message, Overridable, RequestInput, RequestSpec, written};
use crate::backend::sampling::fields;
use crate::backend::sse::Event;

/// A name that the protocols go by, with its defaults.
#[derive(Debug)]
pub(crate) struct OpenAi {
    name: &'static str,
    about: &'static str,
    endpoint: &'static str,
    /// Whether requests have messages, and no prompt.
    is_chat: bool,
    /// The field that limits the output.
    limit_field: &'static str,
    exact_length: ExactLength,
    usage: AskedUsage,
    token_ids: TokenIds,
    /// Whether the server ends a stream with `[DONE]`.
    has_end_mark: bool,
    forced: Forced,
}

/// By which field a server is made to say a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forced {
    /// By none that all of its servers know.
    No,
    /// By vLLM's `structured_outputs`.
    Choice,
    /// By `regex`.
    Regex,
    /// By llama.cpp's `grammar`.
    Gbnf,
}

/// By which field a server is asked for the ids of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenIds {
    /// By none that all of its servers know.
    No,
    /// By vLLM's `return_token_ids`.
    Flag,
    /// By Dynamo's `nvext`.
    NvExt,
}

/// What usage requests ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AskedUsage {
    /// None: the server sends it unasked, or knows no such field.
    None,
    /// At the end.
    Last,
    /// In every event.
    Running,
}

const CHAT: OpenAi = OpenAi {
    name: "openai-chat",
    about: "OpenAI chat completions",
    endpoint: "/v1/chat/completions",
    is_chat: true,
    limit_field: "max_completion_tokens",
    exact_length: ExactLength::OnDemand,
    usage: AskedUsage::Last,
    token_ids: TokenIds::No,
    has_end_mark: true,
    forced: Forced::No,
};

const COMPLETIONS: OpenAi = OpenAi {
    name: "openai",
    about: "OpenAI completions",
    endpoint: "/v1/completions",
    is_chat: false,
    limit_field: "max_tokens",
    ..CHAT
};

/// The names, in the order of the help: another one is a row here.
pub(crate) static NAMES: [OpenAi; 15] = [
    CHAT,
    COMPLETIONS,
    OpenAi {
        name: "vllm",
        forced: Forced::Choice,
        token_ids: TokenIds::Flag,
        about: "OpenAI completions, as vLLM serves them: with usage in every event",
        exact_length: ExactLength::Known,
        usage: AskedUsage::Running,
        ..COMPLETIONS
    },
    OpenAi {
        name: "vllm-chat",
        forced: Forced::Choice,
        token_ids: TokenIds::Flag,
        about: "OpenAI chat completions, as vLLM serves them: with usage in every event",
        exact_length: ExactLength::Known,
        usage: AskedUsage::Running,
        ..CHAT
    },
    OpenAi {
        name: "sglang-oai",
        forced: Forced::Regex,
        about: "OpenAI completions, as SGLang serves them: with usage in every event",
        exact_length: ExactLength::Known,
        usage: AskedUsage::Running,
        ..COMPLETIONS
    },
    OpenAi {
        name: "sglang-oai-chat",
        forced: Forced::Regex,
        about: "OpenAI chat completions, as SGLang serves them: with usage in every event",
        exact_length: ExactLength::Known,
        usage: AskedUsage::Running,
        ..CHAT
    },
    OpenAi {
        name: "llama.cpp-chat",
        forced: Forced::Gbnf,
        about: "OpenAI chat completions, as llama.cpp serves them",
        exact_length: ExactLength::Known,
        ..CHAT
    },
    OpenAi {
        name: "tgi-chat",
        about: "OpenAI chat completions, as Text Generation Inference serves them",
        limit_field: "max_tokens",
        exact_length: ExactLength::Never,
        ..CHAT
    },
    OpenAi {
        name: "dynamo",
        token_ids: TokenIds::NvExt,
        about: "OpenAI chat completions, as NVIDIA Dynamo serves them: with usage in every event",
        exact_length: ExactLength::Known,
        usage: AskedUsage::Running,
        ..CHAT
    },
    OpenAi {
        name: "lmdeploy",
        about: "OpenAI completions, as LMDeploy serves them",
        exact_length: ExactLength::Known,
        ..COMPLETIONS
    },
    OpenAi {
        name: "lmdeploy-chat",
        about: "OpenAI chat completions, as LMDeploy serves them",
        exact_length: ExactLength::Known,
        ..CHAT
    },
    OpenAi {
        name: "mistralrs",
        about: "OpenAI chat completions, as mistral.rs serves them",
        ..CHAT
    },
    OpenAi {
        name: "transformers",
        about: "OpenAI chat completions, as transformers serve has them: nothing but finish reasons ends them",
        limit_field: "max_tokens",
        exact_length: ExactLength::Never,
        usage: AskedUsage::None,
        has_end_mark: false,
        ..CHAT
    },
    OpenAi {
        name: "scalellm",
        about: "OpenAI completions, as ScaleLLM serves them",
        ..COMPLETIONS
    },
    OpenAi {
        name: "deepspeed-mii",
        about: "OpenAI completions, as DeepSpeed-MII serves them: nobody counts their tokens",
        exact_length: ExactLength::Never,
        usage: AskedUsage::None,
        ..COMPLETIONS
    },
];

/// What to do about fields that requests have by themselves; the first is one of running usage.
static REFUSABLE_FIELDS: [(&str, Remedy); 4] = [
    (
        "continuous_usage_stats",
        Remedy::Do(
            "give `--backend openai` or `openai-chat`: that of vllm asks for usage in every event",
        ),
    ),
    (
        "stream_options",
        Remedy::Else(
            "give `--extra-body '{\"stream_options\": null}'`: every request asks for usage with it",
        ),
    ),
    (
        "max_completion_tokens",
        Remedy::Do("limit answers by the other name, as in `--extra-body '{\"max_tokens\": 128}'`"),
    ),
    (
        "max_tokens",
        Remedy::Else(
            "ask for shorter answers or prompts, or limit them by the other name, as in \
             `--extra-body '{\"max_completion_tokens\": 128}'`",
        ),
    ),
];

impl Protocol for OpenAi {
    fn name(&self) -> &'static str {
        self.name
    }

    fn about(&self) -> &'static str {
        self.about
    }

    fn endpoint(&self) -> &'static str {
        self.endpoint
    }

    fn framing(&self) -> Framing {
        Framing::Sse
    }

    fn end_mark(&self) -> Option<&'static str> {
        self.has_end_mark.then_some(END_MARK)
    }

    fn asks_for_running_usage(&self) -> bool {
        self.usage == AskedUsage::Running
    }

    fn has_stream_options(&self) -> bool {
        self.usage != AskedUsage::None
    }

    fn exact_length(&self) -> ExactLength {
        self.exact_length
    }

    fn refusable_fields(&self) -> &'static [(&'static str, Remedy)] {
        &REFUSABLE_FIELDS[usize::from(self.usage != AskedUsage::Running)..]
    }

    fn logprobs(&self, others: u32) -> Option<Map<String, Value>> {
        match self.is_chat {
            true => fields([("logprobs", true.into()), ("top_logprobs", others.into())]),
            false => fields([("logprobs", others.into())]),
        }
    }

    fn token_ids(&self) -> Option<Map<String, Value>> {
        match self.token_ids {
            TokenIds::No => None,
            TokenIds::Flag => fields([("return_token_ids", true.into())]),
            TokenIds::NvExt => {
                let asked = json!({ "extra_fields": ["completion_token_ids"] });
                fields([("nvext", asked)])
            }
        }
    }

    fn forced_output(&self, text: &str) -> Option<Map<String, Value>> {
        match self.forced {
            Forced::No => None,
            Forced::Choice => fields([("structured_outputs", json!({ "choice": [text] }))]),
            Forced::Regex => fields([("regex", regex(text).into())]),
            Forced::Gbnf => fields([("grammar", gbnf(text).into())]),
        }
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        written(
            spec,
            &Body {
                protocol: self,
                spec,
            },
        )
    }

    fn inputs(&self) -> Inputs {
        match self.is_chat {
            true => Inputs::Any,
            false => Inputs::Text,
        }
    }

    fn is_chat(&self) -> bool {
        self.is_chat
    }

    fn holds_images(&self) -> bool {
        self.is_chat
    }

    fn is_its_own(&self, event: &Event<'_>) -> bool {
        let is_of_chat = memchr::memmem::find(event.data, b"\"delta\"").is_some();
        self.is_chat == is_of_chat
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(OpenAiReader::new(keep_text))
    }
}

struct Body<'a> {
    protocol: &'a OpenAi,
    spec: &'a RequestSpec<'a>,
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    continuous_usage_stats: bool,
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let spec = self.spec;
        let mut body = Overridable {
            map: serializer.serialize_map(None)?,
            extra_body: spec.extra_body,
        };
        body.entry("model", spec.model)?;
        if self.protocol.is_chat {
            match spec.input {
                RequestInput::Text(content) => {
                    let role = "user";
                    body.entry("messages", &[Message { role, content }])?;
                }
                RequestInput::Messages(messages) => body.entry("messages", messages)?,
                RequestInput::Audio(_) => body.entry("messages", &spec.input.messages())?,
            }
        } else {
            body.entry("prompt", &spec.input.text())?;
        }
        if let Some(max_tokens) = spec.max_tokens
            && !spec.is_limited_by_user()
        {
            body.entry(self.protocol.limit_field, &max_tokens)?;
        }
        if let Some(temperature) = spec.temperature {
            body.entry("temperature", &temperature)?;
        }
        if spec.ignore_eos {
            body.entry("ignore_eos", &true)?;
        }
        body.entry("stream", &true)?;
        if self.protocol.usage != AskedUsage::None {
            let options = StreamOptions {
                include_usage: true,
                continuous_usage_stats: self.protocol.usage == AskedUsage::Running,
            };
            body.entry("stream_options", &options)?;
        }
        body.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use insta::assert_snapshot;

    fn extra(fields: Value) -> Map<String, Value> {
        match fields {
            Value::Object(fields) => fields,
            other => panic!("{other} is no object"),
        }
    }

    fn named(name: &str) -> &'static OpenAi {
        NAMES.iter().find(|row| row.name == name).unwrap()
    }

    fn body(name: &str, extra_body: &Map<String, Value>) -> String {
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Text("say \"hi\"\n"),
            max_tokens: Some(16),
            ignore_eos: true,
            temperature: Some(0.5),
            extra_body,
        };
        String::from_utf8(named(name).body(&spec)).expect("JSON is UTF-8")
    }

    #[test]
    fn phrases_a_request_in_each_protocol() {
        let none = Map::new();
        assert_snapshot!(
            body("openai-chat", &none),
            @r#"{"model":"m","messages":[{"role":"user","content":"say \"hi\"\n"}],"max_completion_tokens":16,"temperature":0.5,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}"#
        );
        assert_snapshot!(
            body("vllm", &none),
            @r#"{"model":"m","prompt":"say \"hi\"\n","max_tokens":16,"temperature":0.5,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#
        );
        // Hosted services refuse an option that they don't know.
        for (plain, running) in [("openai", "vllm"), ("openai-chat", "vllm-chat")] {
            let asked = body(running, &none);
            let option = r#","continuous_usage_stats":true"#;
            assert_eq!(body(plain, &none), asked.replace(option, ""));
            assert!(asked.contains(option));
        }
    }

    #[test]
    fn sends_only_what_was_asked_for() {
        let none = Map::new();
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Text("p"),
            max_tokens: None,
            ignore_eos: false,
            temperature: None,
            extra_body: &none,
        };
        let body = COMPLETIONS.body(&spec);
        assert_snapshot!(
            String::from_utf8(body).expect("JSON is UTF-8"),
            @r#"{"model":"m","prompt":"p","stream":true,"stream_options":{"include_usage":true}}"#
        );
    }

    #[test]
    fn lets_the_extra_body_win() {
        let extra = extra(json!({
            "max_tokens": 8, "model": "other", "top_k": 1,
            "stream_options": {"include_usage": true, "continuous_usage_stats": true},
        }));
        assert_snapshot!(
            body("openai-chat", &extra),
            @r#"{"messages":[{"role":"user","content":"say \"hi\"\n"}],"temperature":0.5,"ignore_eos":true,"stream":true,"max_tokens":8,"model":"other","top_k":1,"stream_options":{"include_usage":true,"continuous_usage_stats":true}}"#
        );
    }

    #[test]
    fn messages_are_sent_as_they_are_and_their_texts_where_there_are_none() {
        let none = Map::new();
        let messages: Vec<Value> = serde_json::from_str(
            r#"[{"role": "system", "content": "be"},
                {"role": "user", "content": [{"type": "text", "text": "brief"}, {"type": "image"}]}]"#,
        )
        .unwrap();
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Messages(&messages),
            max_tokens: None,
            ignore_eos: false,
            temperature: None,
            extra_body: &none,
        };
        let body: Value = serde_json::from_slice(&CHAT.body(&spec)).unwrap();
        assert_eq!(body["messages"], Value::Array(messages.clone()));
        let body: Value = serde_json::from_slice(&named("vllm").body(&spec)).unwrap();
        assert_eq!(body["prompt"], "be\nbrief");
    }
}
