//! How an arrival becomes a request: its prompt, its body, and what the tape will say of it.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::adapters::Adapters;
use super::hang_up::HangUp;
use super::prepared::PreparedRequest;
use super::replies::Replies;
use crate::backend::{Audio, Backend, RequestInput, RequestSpec};
use crate::capture::Label;
use crate::capture::schema::{FIRST_WARMUP_ID, Phase};
use crate::plan::{OutputLength, SessionReplies};
use crate::trace::{RowText, Said, TraceRow, reply_id};
use crate::workload::{Blocks, Content, GrowingText, Prompt, PromptCounter, PromptSpec, Workload};

/// Returns messages that have been checked for being a list of objects.
fn messages_of(json: &str) -> Vec<Value> {
    serde_json::from_str(json).unwrap_or_default()
}

/// What was answered, as a message.
pub(super) fn assistant(text: &str) -> Value {
    json!({ "role": "assistant", "content": text })
}

/// These fields, with the user's on top of them; an object that both have has the fields of both.
fn merged(mut fields: Map<String, Value>, users: &Map<String, Value>) -> Map<String, Value> {
    for (name, value) in users {
        match (fields.get_mut(name), value) {
            (Some(Value::Object(ours)), Value::Object(theirs)) => ours.extend(theirs.clone()),
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    fields
}

/// Tokens that a text takes at most, with one for its end: a token is a byte of it at least.
fn most_tokens(text: &str) -> u32 {
    u32::try_from(text.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1)
}

/// What a request asks for, beside its input.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    /// Its number.
    index: u64,
    output_tokens: u32,
    /// Fields of the body that are its own, as a JSON object.
    fields: Option<&'a str>,
    /// What the trace was answered.
    reply: Option<&'a str>,
}

impl<'a> Asked<'a> {
    /// What a row of a trace asks for.
    fn of(index: u64, row: &'a TraceRow) -> Self {
        Self {
            index,
            output_tokens: row.output_tokens,
            fields: row.body.as_deref(),
            reply: row.reply.as_deref(),
        }
    }
}

/// How an arrival becomes a request.
pub struct RequestTemplate {
    /// Protocol.
    pub backend: Backend,
    /// Model to ask for.
    pub model: String,
    /// Adapters that requests ask for in its place.
    pub adapters: Adapters,
    /// Asks for exactly the planned output length, where the server knows how.
    pub ignore_eos: bool,
    /// What becomes of the planned output length.
    pub output_length: OutputLength,
    /// Sampling temperature.
    pub temperature: Option<f64>,
    /// The user's own fields of the body.
    pub extra_body: Map<String, Value>,
    /// Makes prompts.
    pub workload: Arc<Workload>,
    /// Whose replies the turns of a session hold.
    pub session_replies: SessionReplies,
    /// On which requests the client hangs up.
    pub hang_up: Option<HangUp>,
    /// The tape keeps prompts.
    pub keeps_text: bool,
    /// Counts prompts as the server does, where the tokenizer is the user's.
    pub prompt_counter: Option<PromptCounter>,
}

impl RequestTemplate {
    /// Makes request number `index` of what a data set has.
    pub(super) fn made(
        &self,
        index: u64,
        content: Content,
        intended_ns: Option<i64>,
    ) -> PreparedRequest {
        let asked = Asked {
            index,
            output_tokens: content.output_tokens,
            fields: content.fields.as_deref(),
            reply: None,
        };
        let messages = content.messages.as_deref().map(messages_of);
        let audio = content.audio.as_ref().map(|clip| Audio {
            name: &clip.name,
            media_type: clip.media_type,
            bytes: &clip.bytes,
        });
        let input = match (&messages, audio) {
            (Some(messages), _) => RequestInput::Messages(messages),
            (None, Some(audio)) => RequestInput::Audio(audio),
            (None, None) => RequestInput::Text(&content.text),
        };
        let counted = match content.tokens {
            _ if content.audio.is_some() => None,
            Some(tokens) if content.is_made_up || (messages.is_none() && self.counts_text()) => {
                self.counted_made(&content.text, tokens, asked)
            }
            _ => self.counted(&input.text(), messages.as_deref(), asked),
        };
        let body = self.body(input, asked);
        let name = content.audio.map(|clip| clip.name.to_string());
        let text = (name.unwrap_or(content.text), counted);
        let mut planned = self.with_body(index, body, text, content.output_tokens);
        // Of messages the texts alone are no length.
        planned.input_tokens = match messages {
            Some(_) => counted.or(content.tokens),
            None => content.tokens,
        };
        planned.intended_ns = intended_ns;
        planned.prefix_tokens = content.prefix_tokens;
        planned.class = content.class.map(Label::from);
        planned
    }

    /// Makes request number `index` of a trace, due when the row says. Where turns hold what the server
    /// said, that is in `replies`.
    pub(super) fn traced(
        &self,
        index: u64,
        mut row: TraceRow,
        replies: &mut Replies,
    ) -> PreparedRequest {
        if row.failed {
            // What it was to have is often unknown, and something has to be sent.
            row.input_tokens = row.input_tokens.max(1);
            row.output_tokens = row.output_tokens.max(1);
        }
        let mut planned = match &row.text {
            None => {
                let mut spec = PromptSpec::of_row(index, &row);
                spec.tokens = self.own_tokens(spec.tokens);
                self.of_prompt(self.workload.prompt(spec), Asked::of(index, &row))
            }
            Some(text) => self.verbatim(index, text, &row, replies),
        };
        planned.intended_ns = Some(row.arrival_ns);
        planned.trace_ns = Some(row.trace_ns);
        planned.row_number = row.session_id.as_ref().map(|_| row.number);
        planned.wants_reply = self.session_replies == SessionReplies::Live
            && row.has_history_put_together()
            && planned.row_number.is_some();
        planned.input_tokens = (row.input_tokens > 0).then_some(row.input_tokens);
        planned.output_tokens = (row.output_tokens > 0).then_some(row.output_tokens);
        planned.prefix_tokens = row.prefix_tokens;
        planned.session_id = row.session_id;
        planned.turn = row.turn;
        planned.model = row.model.map(Label::from).or(planned.model);
        planned.class = row.class.map(Label::from);
        planned
    }

    /// Makes a request of the text that the trace brings.
    fn verbatim(
        &self,
        index: u64,
        text: &RowText,
        row: &TraceRow,
        replies: &mut Replies,
    ) -> PreparedRequest {
        let asked = Asked::of(index, row);
        let messages = match text {
            RowText::Prompt(_) => None,
            RowText::Messages(json) => Some(messages_of(json)),
            RowText::Turns(said) => Some(self.conversation(index, said, replies)),
        };
        let input = match (text, &messages) {
            (RowText::Prompt(prompt), _) => RequestInput::Text(prompt),
            (_, messages) => RequestInput::Messages(messages.as_deref().unwrap_or_default()),
        };
        let prompt = input.text().into_owned();
        let counted = self.counted(&prompt, messages.as_deref(), asked);
        let body = self.body(input, asked);
        self.with_body(index, body, (prompt, counted), row.output_tokens)
    }

    /// Puts a conversation together, with text in the place of replies that nobody knows.
    fn conversation(&self, index: u64, said: &[Said], replies: &mut Replies) -> Vec<Value> {
        let mut messages = Vec::new();
        for part in said {
            let (row, tokens) = match part {
                Said::Messages(json) => {
                    messages.extend(messages_of(json));
                    continue;
                }
                Said::Reply { row, tokens } => (*row, *tokens),
            };
            let known = match self.session_replies {
                SessionReplies::None => continue,
                SessionReplies::Trace => None,
                SessionReplies::Live => replies.text_of(row),
            };
            messages.push(match known {
                Some(text) => assistant(&text),
                None => assistant(&self.made_up_reply(index, row, tokens)),
            });
        }
        if self.session_replies == SessionReplies::None {
            messages.retain(|message| message["role"] != "assistant");
        }
        messages
    }

    /// Makes request number `index` of a conversation so far, with the answer's length and fields of the
    /// body that are its own. `known` is what is known of the conversation's length.
    pub(super) fn turn(
        &self,
        index: u64,
        messages: &[Value],
        (output_tokens, fields): (u32, Option<&str>),
        known: &mut GrowingText,
    ) -> PreparedRequest {
        let asked = Asked {
            index,
            output_tokens,
            fields,
            reply: None,
        };
        let input = RequestInput::Messages(messages);
        let text = input.text().into_owned();
        let own = asked.fields.map(|_| self.fields(asked));
        let counted = (self.prompt_counter.as_ref())
            .and_then(|counter| counter.turn(&text, messages, own.as_deref(), known));
        let body = self.body(input, asked);
        self.with_body(index, body, (text, counted), output_tokens)
    }

    /// Text in the place of the reply to a row or a turn, the same in each turn after it.
    pub(super) fn made_up_reply(&self, index: u64, row: u64, tokens: u32) -> String {
        let blocks = Blocks {
            ids: &[reply_id(row)],
            size: tokens,
            tokens: &[],
            scope: 0,
        };
        let reply = self.workload.prompt(PromptSpec {
            blocks: Some(blocks),
            ..PromptSpec::random(index, tokens)
        });
        reply.text
    }

    pub(super) fn planned(
        &self,
        index: u64,
        prompt: Prompt,
        output_tokens: u32,
    ) -> PreparedRequest {
        let asked = Asked {
            index,
            output_tokens,
            fields: None,
            reply: None,
        };
        self.of_prompt(prompt, asked)
    }

    /// Makes a request of a prompt, with the output length and the fields of the body that its row
    /// asks for.
    fn of_prompt(&self, prompt: Prompt, asked: Asked<'_>) -> PreparedRequest {
        let body = self.body(RequestInput::Text(&prompt.text), asked);
        let counted = self.counted_made(&prompt.text, prompt.tokens, asked);
        let mut planned = self.with_body(
            asked.index,
            body,
            (prompt.text, counted),
            asked.output_tokens,
        );
        planned.input_tokens = Some(prompt.tokens);
        planned
    }

    /// Tokens that a prompt needs itself for the server to count so many: a trace has what servers
    /// counted.
    pub(super) fn own_tokens(&self, tokens: u32) -> u32 {
        let added = self.prompt_counter.as_ref().and_then(PromptCounter::added);
        tokens.saturating_sub(added.unwrap_or(0)).max(tokens.min(1))
    }

    /// Whether a prompt's own length tells what the server counts.
    fn counts_text(&self) -> bool {
        (self.prompt_counter.as_ref()).is_some_and(PromptCounter::is_of_text)
    }

    /// Counts a prompt that was made of so many tokens.
    fn counted_made(&self, text: &str, tokens: u32, asked: Asked<'_>) -> Option<u32> {
        let counter = self.prompt_counter.as_ref()?;
        match asked.fields {
            None => counter.made(text, tokens),
            Some(_) => counter.verbatim(text, None, Some(&self.fields(asked))),
        }
    }

    /// Counts what is sent as it is.
    fn counted(&self, text: &str, messages: Option<&[Value]>, asked: Asked<'_>) -> Option<u32> {
        let counter = self.prompt_counter.as_ref()?;
        let own = asked.fields.map(|_| self.fields(asked));
        counter.verbatim(text, messages, own.as_deref())
    }

    /// The name that request number `index` asks for.
    fn model(&self, index: u64) -> &str {
        self.adapters.of(index).unwrap_or(&self.model)
    }

    /// The fields of a body beside those of its protocol: the row's own, and the user's on top of them.
    fn fields(&self, asked: Asked<'_>) -> Cow<'_, Map<String, Value>> {
        let Some(fields) = asked.fields else {
            return Cow::Borrowed(&self.extra_body);
        };
        // It has been checked for being an object.
        let mut all: Map<String, Value> = serde_json::from_str(fields).unwrap_or_default();
        if self.temperature.is_some() {
            all.remove("temperature");
        }
        all.extend(self.extra_body.clone());
        Cow::Owned(all)
    }

    /// Writes a body. Fields of the row's own are in it, unless the user's say otherwise. Returns it
    /// with the most output tokens that it allows.
    fn body(&self, input: RequestInput<'_>, asked: Asked<'_>) -> (Vec<u8>, Option<u32>) {
        let Asked {
            index,
            output_tokens,
            reply,
            ..
        } = asked;
        let mut extra_body = self.fields(asked);
        let forced = reply.filter(|_| self.output_length == OutputLength::TraceText);
        if let Some(fields) = forced.and_then(|reply| self.backend.forced_output(reply)) {
            extra_body = Cow::Owned(merged(fields, &extra_body));
        }
        let spec = RequestSpec {
            model: self.model(index),
            input,
            max_tokens: match self.output_length {
                OutputLength::TraceText if let Some(reply) = forced => Some(most_tokens(reply)),
                OutputLength::Enforce | OutputLength::Cap | OutputLength::TraceText => {
                    (output_tokens > 0).then_some(output_tokens)
                }
                OutputLength::Free => None,
            },
            ignore_eos: self.ignore_eos && output_tokens > 0,
            temperature: self.temperature,
            extra_body: &extra_body,
        };
        (self.backend.body(&spec), self.backend.output_limit(&spec))
    }

    fn with_body(
        &self,
        index: u64,
        (body, max_output_tokens): (Vec<u8>, Option<u32>),
        (prompt, counted): (String, Option<u32>),
        output_tokens: u32,
    ) -> PreparedRequest {
        PreparedRequest {
            request_id: index,
            phase: Phase::Measure,
            intended_ns: None,
            held_ns: 0,
            row_number: None,
            wants_reply: false,
            trace_ns: None,
            session_id: None,
            turn: None,
            model: Some(Label::from(self.model(index))),
            class: None,
            input_tokens: counted,
            input_tokens_counted: counted,
            output_tokens: (output_tokens > 0).then_some(output_tokens),
            max_output_tokens,
            prefix_tokens: None,
            hang_up_after_ns: self.hang_up.and_then(|hang_up| hang_up.of(index)),
            body: Bytes::from(body),
            prompt: self.keeps_text.then_some(prompt),
            permit: None,
        }
    }

    pub(super) fn into_warmup(mut planned: PreparedRequest, index: u64) -> PreparedRequest {
        planned.request_id = FIRST_WARMUP_ID + index;
        planned.phase = Phase::Warmup;
        planned.intended_ns = None;
        planned.trace_ns = None;
        planned.hang_up_after_ns = None;
        planned
    }
}
