//! How a server is asked for the number of tokens of a prompt, where it has a path for that.
//!
//! Servers differ: vLLM and SGLang count a prompt or messages at `/tokenize`; llama.cpp has the
//! messages made to a text at `/apply-template` first; TGI has `/tokenize` and `/chat_tokenize`.

use serde_json::{Map, Value, json};

/// Servers that are known to count.
pub const COUNTING_SERVERS: &str = "vLLM, SGLang, llama.cpp and TGI";

/// One way to ask, of those that servers have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenizeDialect {
    /// vLLM, SGLang.
    Vllm,
    /// llama.cpp.
    LlamaCpp,
    /// Text Generation Inference.
    Tgi,
}

/// A prompt whose tokens are to be counted.
#[derive(Debug, Clone, Copy)]
pub enum Countable<'a> {
    /// A text alone, without what a tokenizer puts around one.
    Text(&'a str),
    /// A prompt of completions.
    Prompt(&'a str),
    /// The messages of a chat, with the other fields of the request's body.
    Messages(&'a [Value], &'a Map<String, Value>),
}

/// What is asked of a server: a path and a body.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizeCall {
    /// The path.
    pub path: &'static str,
    /// The body.
    pub body: Value,
}

/// What an answer comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum TokenizeAnswer {
    /// The number of tokens.
    Count(u64),
    /// Another call has to be made.
    Next(TokenizeCall),
}

impl TokenizeDialect {
    /// All of them, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Vllm, Self::LlamaCpp, Self::Tgi];

    /// Returns the first call for a prompt.
    pub fn call(self, model: &str, countable: Countable<'_>) -> TokenizeCall {
        let adds_special = matches!(countable, Countable::Prompt(_));
        match (self, countable) {
            (Self::Vllm, Countable::Text(text) | Countable::Prompt(text)) => TokenizeCall {
                path: "/tokenize",
                body: json!({ "model": model, "prompt": text, "add_special_tokens": adds_special }),
            },
            (Self::Vllm, Countable::Messages(messages, fields)) => {
                let mut body = json!({
                    "model": model,
                    "messages": messages,
                    "add_generation_prompt": true,
                });
                for name in ["tools", "chat_template_kwargs", "documents"] {
                    if let Some(value) = fields.get(name) {
                        body[name] = value.clone();
                    }
                }
                TokenizeCall {
                    path: "/tokenize",
                    body,
                }
            }
            (Self::LlamaCpp, Countable::Text(text) | Countable::Prompt(text)) => {
                Self::of_llama_cpp(text, adds_special)
            }
            (Self::LlamaCpp, Countable::Messages(messages, fields)) => {
                let mut body = fields.clone();
                body.insert("messages".into(), messages.into());
                TokenizeCall {
                    path: "/apply-template",
                    body: body.into(),
                }
            }
            (Self::Tgi, Countable::Text(text) | Countable::Prompt(text)) => TokenizeCall {
                path: "/tokenize",
                body: json!({ "inputs": text, "add_special_tokens": adds_special }),
            },
            (Self::Tgi, Countable::Messages(messages, fields)) => {
                let mut body = fields.clone();
                body.insert("model".into(), model.into());
                body.insert("messages".into(), messages.into());
                TokenizeCall {
                    path: "/chat_tokenize",
                    body: body.into(),
                }
            }
        }
    }

    fn of_llama_cpp(text: &str, adds_special: bool) -> TokenizeCall {
        TokenizeCall {
            path: "/tokenize",
            body: json!({ "content": text, "add_special": adds_special, "parse_special": true }),
        }
    }

    /// Reads an answer; `None` where it is not one of this dialect.
    pub fn read(self, answer: &Value) -> Option<TokenizeAnswer> {
        let count = |tokens: &Value| Some(TokenizeAnswer::Count(tokens.as_array()?.len() as u64));
        match self {
            Self::Vllm => answer["count"].as_u64().map(TokenizeAnswer::Count),
            Self::LlamaCpp => match answer["prompt"].as_str() {
                Some(prompt) => Some(TokenizeAnswer::Next(Self::of_llama_cpp(prompt, true))),
                None => count(&answer["tokens"]),
            },
            Self::Tgi => count(answer).or_else(|| count(&answer["tokenize_response"])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dialect_asks_for_a_prompt_and_for_messages() {
        let messages = [json!({ "role": "user", "content": "Hi" })];
        let fields = json!({ "tools": [{ "type": "function" }], "top_p": 1 });
        let fields = fields.as_object().unwrap();
        let mut calls = String::new();
        for dialect in TokenizeDialect::ALL {
            for countable in [
                Countable::Text("Hi"),
                Countable::Prompt("Hi"),
                Countable::Messages(&messages, fields),
            ] {
                let call = dialect.call("m", countable);
                calls.push_str(&format!("{} {}\n", call.path, call.body));
            }
        }
        insta::assert_snapshot!(calls, @r#"
        /tokenize {"model":"m","prompt":"Hi","add_special_tokens":false}
        /tokenize {"model":"m","prompt":"Hi","add_special_tokens":true}
        /tokenize {"model":"m","messages":[{"role":"user","content":"Hi"}],"add_generation_prompt":true,"tools":[{"type":"function"}]}
        /tokenize {"content":"Hi","add_special":false,"parse_special":true}
        /tokenize {"content":"Hi","add_special":true,"parse_special":true}
        /apply-template {"tools":[{"type":"function"}],"top_p":1,"messages":[{"role":"user","content":"Hi"}]}
        /tokenize {"inputs":"Hi","add_special_tokens":false}
        /tokenize {"inputs":"Hi","add_special_tokens":true}
        /chat_tokenize {"tools":[{"type":"function"}],"top_p":1,"model":"m","messages":[{"role":"user","content":"Hi"}]}
        "#);
    }

    #[test]
    fn answers_are_counted_as_the_server_means_them() {
        let count = |count| Some(TokenizeAnswer::Count(count));
        let read = |dialect: TokenizeDialect, answer: Value| dialect.read(&answer);
        let vllm = json!({ "count": 3, "max_model_len": 9, "tokens": [1, 2, 3] });
        assert_eq!(read(TokenizeDialect::Vllm, vllm), count(3));
        let llama = json!({ "tokens": [1, 2] });
        assert_eq!(read(TokenizeDialect::Vllm, llama.clone()), None);
        assert_eq!(read(TokenizeDialect::LlamaCpp, llama), count(2));
        let made = read(TokenizeDialect::LlamaCpp, json!({ "prompt": "<s>Hi" }));
        assert!(
            matches!(made, Some(TokenizeAnswer::Next(call)) if call.body["content"] == "<s>Hi")
        );
        assert_eq!(read(TokenizeDialect::Tgi, json!([{ "id": 1 }])), count(1));
        let chat =
            json!({ "tokenize_response": [{ "id": 1 }, { "id": 2 }], "templated_text": "x" });
        assert_eq!(read(TokenizeDialect::Tgi, chat), count(2));
        assert_eq!(read(TokenizeDialect::Tgi, json!({ "error": "no" })), None);
    }
}
