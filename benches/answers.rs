//! Streams of stamped tokens in the words of each protocol: as much of its events as clients look at.

/// How an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// Server-sent events; the end mark `[DONE]` behind the last one where it is true.
    Events { has_end_mark: bool },
    /// A JSON value a line.
    Lines,
}

/// A protocol, by the path that its requests go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Completions,
    Chat,
    Responses,
    Messages,
    Sglang,
    Tgi,
    Triton,
    LlamaCpp,
    Ollama,
}

/// An answer that is under way.
#[derive(Debug)]
pub(crate) struct Answer {
    protocol: Protocol,
    sent: u32,
    tokens: u32,
    /// All text so far, where each event repeats it.
    text: String,
}

/// The ends of paths, the longest first where one ends another.
const PATHS: [(&str, Protocol); 9] = [
    ("/chat/completions", Protocol::Chat),
    ("/v1/completions", Protocol::Completions),
    ("/v1/responses", Protocol::Responses),
    ("/v1/messages", Protocol::Messages),
    ("/generate_stream", Protocol::Tgi),
    ("/generate", Protocol::Sglang),
    ("/completion", Protocol::LlamaCpp),
    ("/api/chat", Protocol::Ollama),
    ("", Protocol::Completions),
];

/// Fields of requests that say how many tokens are wanted.
const LENGTHS: [&str; 6] = [
    "\"max_tokens\":",
    "\"max_completion_tokens\":",
    "\"max_output_tokens\":",
    "\"max_new_tokens\":",
    "\"n_predict\":",
    "\"num_predict\":",
];

impl Answer {
    /// Begins the answer to a request with this head and body.
    pub(crate) fn to(head: &[u8], body: &[u8]) -> Self {
        let head = String::from_utf8_lossy(head);
        let path = head.split(' ').nth(1).unwrap_or_default();
        let of_path = PATHS.iter().find(|(end, _)| path.ends_with(end));
        let protocol = of_path.map_or(Protocol::Completions, |(_, protocol)| *protocol);
        let is_triton = protocol == Protocol::Tgi && path.starts_with("/v2/");
        Self {
            protocol: if is_triton {
                Protocol::Triton
            } else {
                protocol
            },
            sent: 0,
            tokens: max_tokens(body).max(1),
            text: String::new(),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.sent == self.tokens
    }

    fn framing(&self) -> Framing {
        let has_end_mark = match self.protocol {
            Protocol::Ollama => return Framing::Lines,
            Protocol::Completions | Protocol::Chat | Protocol::Sglang => true,
            _ => false,
        };
        Framing::Events { has_end_mark }
    }

    /// The head of the answer, and what comes before the first token.
    pub(crate) fn begin(&self) -> Vec<u8> {
        let media_type = match self.framing() {
            Framing::Events { .. } => "text/event-stream",
            Framing::Lines => "application/x-ndjson",
        };
        let mut out = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        .into_bytes();
        let opening: &[&str] = match self.protocol {
            Protocol::Messages => &[
                r#"{"type":"message_start","message":{"id":"a","role":"assistant","content":[],"model":"simulated","usage":{"input_tokens":1,"output_tokens":1}}}"#,
                r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            ],
            Protocol::Responses => &[
                r#"{"type":"response.created","sequence_number":0,"response":{"id":"a","status":"in_progress","usage":null}}"#,
            ],
            _ => &[],
        };
        for event in opening {
            self.push(&mut out, event);
        }
        out
    }

    /// Appends the next token, with everything that ends the answer behind the last one.
    pub(crate) fn push_token(&mut self, out: &mut Vec<u8>, text: &str) {
        self.sent += 1;
        if self.protocol == Protocol::Sglang {
            self.text.push_str(text);
        }
        self.push(out, &self.token(text));
        if self.is_over() {
            for event in self.closing() {
                self.push(out, &event);
            }
            if self.framing() == (Framing::Events { has_end_mark: true }) {
                push_chunk(out, "data: [DONE]\n\n");
            }
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }

    fn push(&self, out: &mut Vec<u8>, event: &str) {
        match (self.framing(), self.protocol) {
            (Framing::Lines, _) => push_chunk(out, &format!("{event}\n")),
            (_, Protocol::Messages | Protocol::Responses) => {
                let kind = event.split('"').nth(3).unwrap_or_default();
                push_chunk(out, &format!("event: {kind}\ndata: {event}\n\n"));
            }
            _ => push_chunk(out, &format!("data: {event}\n\n")),
        }
    }

    fn token(&self, text: &str) -> String {
        let sent = self.sent;
        match self.protocol {
            Protocol::Completions => format!(
                r#"{{"id":"cmpl-0","object":"text_completion","created":0,"model":"simulated","choices":[{{"index":0,"text":"{text}","logprobs":null,"finish_reason":null,"stop_reason":null}}]}}"#
            ),
            Protocol::Chat => format!(
                r#"{{"id":"chatcmpl-0","object":"chat.completion.chunk","created":0,"model":"simulated","choices":[{{"index":0,"delta":{{"content":"{text}"}},"logprobs":null,"finish_reason":null}}]}}"#
            ),
            Protocol::Responses => format!(
                r#"{{"type":"response.output_text.delta","sequence_number":{sent},"item_id":"a","output_index":0,"content_index":0,"delta":"{text}","logprobs":[]}}"#
            ),
            Protocol::Messages => format!(
                r#"{{"type":"content_block_delta","index":0,"delta":{{"type":"text_delta","text":"{text}"}}}}"#
            ),
            Protocol::Sglang => format!(
                r#"{{"text":"{}","output_ids":[{sent}],"meta_info":{{"id":"a","finish_reason":null,"prompt_tokens":1,"completion_tokens":{sent},"cached_tokens":0}}}}"#,
                self.text
            ),
            Protocol::Tgi => format!(
                r#"{{"index":{sent},"token":{{"id":{sent},"text":"{text}","logprob":-0.1,"special":false}},"generated_text":null,"details":null}}"#
            ),
            Protocol::Triton => format!(
                r#"{{"model_name":"ensemble","model_version":"1","sequence_end":false,"sequence_id":0,"sequence_start":false,"text_output":"{text}"}}"#
            ),
            Protocol::LlamaCpp => format!(
                r#"{{"index":0,"content":"{text}","tokens":[{sent}],"stop":false,"id_slot":-1,"tokens_predicted":{sent},"tokens_evaluated":1}}"#
            ),
            Protocol::Ollama => format!(
                r#"{{"model":"simulated","created_at":"2026-01-01T00:00:00Z","message":{{"role":"assistant","content":"{text}"}},"done":false}}"#
            ),
        }
    }

    /// The events behind the last token: why it ended, and how many tokens there were.
    fn closing(&self) -> Vec<String> {
        let sent = self.sent;
        let usage = format!(
            r#""usage":{{"prompt_tokens":1,"completion_tokens":{sent},"total_tokens":{}}}"#,
            sent + 1
        );
        match self.protocol {
            Protocol::Completions | Protocol::Chat => {
                let end = if self.protocol == Protocol::Chat {
                    r#""delta":{}"#
                } else {
                    r#""text":"""#
                };
                vec![
                    format!(
                        r#"{{"id":"a","model":"simulated","choices":[{{"index":0,{end},"finish_reason":"length"}}]}}"#
                    ),
                    format!(r#"{{"id":"a","model":"simulated","choices":[],{usage}}}"#),
                ]
            }
            Protocol::Responses => vec![format!(
                r#"{{"type":"response.completed","sequence_number":{sent},"response":{{"id":"a","status":"incomplete","incomplete_details":{{"reason":"max_output_tokens"}},"usage":{{"input_tokens":1,"output_tokens":{sent}}}}}}}"#
            )],
            Protocol::Messages => vec![
                r#"{"type":"content_block_stop","index":0}"#.to_owned(),
                format!(
                    r#"{{"type":"message_delta","delta":{{"stop_reason":"max_tokens"}},"usage":{{"output_tokens":{sent}}}}}"#
                ),
                r#"{"type":"message_stop"}"#.to_owned(),
            ],
            Protocol::Sglang => vec![format!(
                r#"{{"text":"{}","output_ids":[],"meta_info":{{"id":"a","finish_reason":{{"type":"length"}},"prompt_tokens":1,"completion_tokens":{sent},"cached_tokens":0}}}}"#,
                self.text
            )],
            Protocol::Tgi => vec![format!(
                r#"{{"index":{sent},"token":{{"id":2,"text":"","logprob":-0.1,"special":true}},"generated_text":"","details":{{"finish_reason":"length","generated_tokens":{sent},"seed":null,"input_length":1}}}}"#
            )],
            Protocol::Triton => Vec::new(),
            Protocol::LlamaCpp => vec![format!(
                r#"{{"index":0,"content":"","tokens":[],"stop":true,"tokens_predicted":{sent},"tokens_evaluated":1,"stop_type":"limit"}}"#
            )],
            Protocol::Ollama => vec![format!(
                r#"{{"model":"simulated","message":{{"role":"assistant","content":""}},"done":true,"done_reason":"length","prompt_eval_count":1,"eval_count":{sent}}}"#
            )],
        }
    }
}

/// Appends an HTTP chunk.
fn push_chunk(out: &mut Vec<u8>, data: &str) {
    out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
    out.extend_from_slice(data.as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Reads how many tokens a body asks for, without decoding it; 16 where it says nothing.
fn max_tokens(body: &[u8]) -> u32 {
    let body = String::from_utf8_lossy(body);
    let named = LENGTHS.iter().find_map(|name| body.split_once(name));
    let digits = named.map_or("", |(_, rest)| rest.trim_start());
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(16)
}
