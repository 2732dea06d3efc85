//! The chat protocol of Ollama: JSON lines, of which the last says that the answer is done.
//!
//! Each line has the next part of a message: reasoning, text, or whole calls of tools. The last one
//! has the counts of tokens as well. Fields that other protocols have at the top of a request are
//! in its `options`; nothing there makes an answer exactly as long as planned.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::failure;
use super::framing::Framing;
use super::lenient::{
    self, Count, Length, Lenient, Number, Present, Text, parse, read_from_object,
};
use super::meter::TokenMeter;
use super::protocol::{EventReader, ExactLength, Protocol};
use super::reading::{Reading, StreamError, TokenTally, ToolPart, Usage};
use super::request::{RequestSpec, limit_of, object_of, written_over};
use super::sampling::{OF_LLAMA, SamplingFields, fields};
use super::sse::{Event, Kind};
use super::times::{Durations, ServerTimes};
use crate::capture::schema::Channel;
use crate::secrets::Secrets;

/// The protocol.
#[derive(Debug)]
pub(super) struct Chat;

/// The one that there is.
pub(super) static CHAT: Chat = Chat;

/// The object of a request that has what is asked for beside the messages.
const OPTIONS: &str = "options";

/// The field that limits the output, in the options.
const LIMIT_FIELD: &str = "num_predict";

impl Protocol for Chat {
    fn name(&self) -> &'static str {
        "ollama"
    }

    fn about(&self) -> &'static str {
        "Ollama chat, in JSON lines"
    }

    fn endpoint(&self) -> &'static str {
        "/api/chat"
    }

    fn framing(&self) -> Framing {
        Framing::JsonLines
    }

    fn models_endpoint(&self) -> &'static str {
        "/api/tags"
    }

    fn first_model<'a>(&self, list: &'a Value) -> Option<&'a str> {
        list["models"][0]["name"].as_str()
    }

    fn is_chat(&self) -> bool {
        true
    }

    fn exact_length(&self) -> ExactLength {
        ExactLength::Never
    }

    fn sampling(&self) -> SamplingFields {
        SamplingFields {
            object: Some(OPTIONS),
            names: OF_LLAMA,
        }
    }

    fn logprobs(&self, others: u32) -> Option<Map<String, Value>> {
        fields([("logprobs", true.into()), ("top_logprobs", others.into())])
    }

    fn body(&self, spec: &RequestSpec<'_>) -> Vec<u8> {
        let mut fields = json!({
            "model": spec.model,
            "messages": spec.input.messages(),
            "stream": true,
        });
        let options = options(spec);
        if !options.is_empty() {
            fields[OPTIONS] = options.into();
        }
        written_over(fields, spec, &[OPTIONS])
    }

    fn output_limit(&self, spec: &RequestSpec<'_>) -> Option<u32> {
        limit_of(&options(spec), LIMIT_FIELD)
    }

    fn reader(&self, keep_text: bool) -> Box<dyn EventReader> {
        Box::new(LineReader {
            keep_text,
            ..LineReader::default()
        })
    }
}

/// The options of a request: those of the plan, and the user's on top of them.
fn options(spec: &RequestSpec<'_>) -> Map<String, Value> {
    let mut options = Map::new();
    if let Some(max_tokens) = spec.max_tokens {
        options.insert(LIMIT_FIELD.to_owned(), max_tokens.into());
    }
    if let Some(temperature) = spec.temperature {
        options.insert("temperature".to_owned(), temperature.into());
    }
    object_of(spec, OPTIONS, options)
}

/// A line of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line<'a> {
    #[serde(borrow)]
    message: Lenient<Option<Part<'a>>>,
    /// One a token, also of tokens whose text a parser holds back.
    logprobs: Lenient<Length>,
    done: Lenient<bool>,
    #[serde(borrow)]
    done_reason: Text<'a>,
    prompt_eval_count: Count,
    eval_count: Count,
    prompt_eval_duration: Number,
    eval_duration: Number,
    error: Lenient<Present>,
}

/// The next part of the message.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Part<'a> {
    #[serde(borrow)]
    thinking: Text<'a>,
    #[serde(borrow)]
    content: Text<'a>,
    tool_calls: Lenient<Length>,
}

read_from_object!(Line<'a>, Part<'a>);

/// Reads the lines of one answer.
#[derive(Debug, Default)]
struct LineReader {
    keep_text: bool,
    /// What is masked in all that the server says about its answer; not in the answer.
    secrets: Secrets,
    meter: TokenMeter,
    times: ServerTimes,
    /// Calls of tools so far.
    calls: usize,
}

/// Calls of tools in one answer that are told apart; later ones count to the last.
const MAX_CALLS: usize = 256;

/// Size of a line, in bytes, up to which the calls of tools in it are read: their values take up
/// to a hundred times the memory.
const MAX_CALLS_BYTES: usize = 256 << 10;

impl EventReader for LineReader {
    fn mask(&mut self, secrets: &Secrets) {
        self.secrets = secrets.clone();
    }

    fn read_event(&mut self, event: &Event<'_>) -> Reading {
        if event.kind == Kind::Comment {
            return Reading::of(Channel::Comment);
        }
        match parse::<Option<Line<'_>>>(event.data) {
            Some(Some(line)) => self.read(&line, event.data),
            Some(None) => Reading::of(Channel::Other),
            None => Reading {
                is_broken: true,
                ..Reading::of(Channel::Other)
            },
        }
    }

    fn tally(&self) -> TokenTally {
        self.meter.tally()
    }

    fn server_times(&self) -> ServerTimes {
        self.times
    }
}

impl LineReader {
    fn read(&mut self, line: &Line<'_>, data: &[u8]) -> Reading {
        let usage = Usage {
            input: line.prompt_eval_count.0,
            output: line.eval_count.0,
            ..Usage::default()
        };
        let told = Durations {
            prompt_eval: line.prompt_eval_duration.0,
            eval: line.eval_duration.0,
        };
        self.times = told.times().or(self.times);
        let usage = (usage != Usage::default()).then_some(usage);
        let reason = line.done_reason.0.as_deref();
        let reason = reason.map(|reason| failure::cleaned(reason, &self.secrets));
        let finish_reason = reason.filter(|reason| !reason.is_empty());
        let error = line.error.0.0.then(|| StreamError {
            message: failure::error_message(data, &self.secrets),
            code: None,
        });
        let part = line.message.0.as_ref();
        let bare = match (&finish_reason, usage, &error) {
            (Some(_), ..) => Channel::Finish,
            (_, Some(_), _) => Channel::Usage,
            _ if line.done.0 => Channel::Done,
            (.., Some(_)) => Channel::Error,
            _ if part.is_some() => Channel::Empty,
            _ => Channel::Other,
        };
        let carried = part.and_then(|part| self.read_part(part, data));
        let counted = usage.and_then(|usage| usage.output);
        let tokens = self
            .meter
            .take(carried.is_some(), counted, line.logprobs.0.0);
        Reading {
            tokens: tokens.map(|(tokens, _)| tokens),
            tokens_source: tokens.map(|(_, source)| source),
            usage,
            finish_reason,
            error,
            is_done: line.done.0,
            ..carried.unwrap_or_else(|| Reading::of(bare))
        }
    }

    /// Reads a part that has something of the answer, in the order in which a model generates it.
    fn read_part(&mut self, part: &Part<'_>, data: &[u8]) -> Option<Reading> {
        let thinking = part.thinking.0.as_deref().unwrap_or_default();
        let content = part.content.0.as_deref().unwrap_or_default();
        let has_calls = part.tool_calls.0.0.is_some_and(|calls| calls > 0);
        let channel = match (content, thinking) {
            ("", "") if has_calls => Channel::Tool,
            ("", "") => return None,
            ("", _) => Channel::Reasoning,
            _ => Channel::Content,
        };
        let mut reading = Reading {
            has_choices: true,
            reasoning_bytes: match channel {
                Channel::Content => thinking.len(),
                _ => 0,
            },
            ..Reading::of(channel)
        };
        if self.keep_text {
            let mut text = [thinking, content].concat();
            if has_calls && data.len() <= MAX_CALLS_BYTES {
                reading.tools = self.take_calls(data, &mut text);
            }
            reading.text = Some(text);
        }
        Some(reading)
    }

    /// Adds the calls of tools of a line to `text`. Returns where they stand in it.
    fn take_calls(&mut self, data: &[u8], text: &mut String) -> Vec<ToolPart> {
        let line = lenient::any(data).unwrap_or_default();
        let mut parts = Vec::new();
        for call in line["message"]["tool_calls"]
            .as_array()
            .into_iter()
            .flatten()
        {
            let function = &call["function"];
            let name = function["name"].as_str().unwrap_or_default().to_owned();
            let arguments = match &function["arguments"] {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            for (is_name, said) in [(true, name), (false, arguments)] {
                let start = text.len();
                text.push_str(&said);
                if !said.is_empty() {
                    let at = start..text.len();
                    parts.push(ToolPart {
                        call: self.calls,
                        is_name,
                        at,
                    });
                }
            }
            self.calls = (self.calls + 1).min(MAX_CALLS - 1);
        }
        parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::request::RequestInput;
    use crate::capture::schema::TokensSource;
    use insta::assert_snapshot;

    /// The body of a request, and the limit that is noted for it.
    fn body(spec: RequestSpec<'_>, extra: &Value) -> (String, Option<u32>) {
        let extra_body = extra.as_object().cloned().unwrap_or_default();
        let spec = RequestSpec {
            extra_body: &extra_body,
            ..spec
        };
        let body = String::from_utf8(CHAT.body(&spec)).unwrap();
        (body, CHAT.output_limit(&spec))
    }

    #[test]
    fn what_limits_an_answer_is_in_the_options_beside_those_of_the_user() {
        let none = Map::new();
        let spec = RequestSpec {
            model: "m",
            input: RequestInput::Text("hi"),
            max_tokens: Some(8),
            ignore_eos: true,
            temperature: Some(0.5),
            extra_body: &none,
        };
        let (sent, limit) = body(spec, &json!({}));
        assert_snapshot!(
            sent,
            @r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"options":{"num_predict":8,"temperature":0.5}}"#
        );
        assert_eq!(limit, Some(8));
        let own = json!({ "keep_alive": "1m", "options": { "seed": 7, "num_predict": 4 } });
        let (sent, limit) = body(spec, &own);
        assert_snapshot!(
            sent,
            @r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"options":{"num_predict":4,"temperature":0.5,"seed":7},"keep_alive":"1m"}"#
        );
        assert_eq!(limit, Some(4));
        let messages = [json!({ "role": "system", "content": "be brief" })];
        let bare = RequestSpec {
            input: RequestInput::Messages(&messages),
            max_tokens: None,
            temperature: None,
            ..spec
        };
        let (sent, limit) = body(bare, &json!({}));
        assert_snapshot!(
            sent,
            @r#"{"model":"m","messages":[{"role":"system","content":"be brief"}],"stream":true}"#
        );
        assert_eq!(limit, None);
        // There is no limit, also where it is written as a number.
        assert_eq!(
            body(spec, &json!({ "options": { "num_predict": -1 } })).1,
            None
        );
    }

    #[test]
    fn the_first_model_is_that_of_the_list_of_tags() {
        let list =
            json!({ "models": [{ "name": "a:latest", "model": "a:latest" }, { "name": "b" }] });
        assert_eq!(CHAT.first_model(&list), Some("a:latest"));
        assert_eq!(CHAT.first_model(&json!({ "models": [] })), None);
    }

    /// Reads a body that comes in parts of that size. One line an event: its channel, text, counts
    /// and ends.
    fn read(body: &str, size: usize) -> (String, TokenTally) {
        let mut reader = CHAT.reader(true);
        let mut lines = Vec::new();
        let mut take = |event: Event<'_>| {
            let reading = reader.read_event(&event);
            let usage = reading.usage.map(|it| (it.input, it.output));
            let calls: Vec<_> = reading
                .tools
                .iter()
                .map(|it| (it.call, it.is_name, it.at.clone()))
                .collect();
            let error = reading.error.map(|it| it.message);
            lines.push(format!(
                "{} {:?} {usage:?} {:?} {calls:?} {error:?} {} {}",
                reading.channel,
                reading.text.unwrap_or_default(),
                reading.finish_reason,
                reading.is_done,
                reading.is_broken,
            ));
        };
        let mut decoder = CHAT.framing().decoder(CHAT.end_mark());
        for part in body.as_bytes().chunks(size) {
            decoder.push(part, &mut take).unwrap();
        }
        decoder.finish(&mut take);
        (lines.join("\n"), reader.tally())
    }

    /// Reads a body in one go, and holds it to what any cut of it gives.
    fn read_in_every_way(body: &str) -> (String, TokenTally) {
        let whole = read(body, body.len());
        for size in 1..body.len() {
            assert_eq!(read(body, size), whole, "by {size}");
        }
        whole
    }

    #[test]
    fn reasoning_text_and_calls_bear_tokens_and_the_last_line_counts_them() {
        let body = r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}
{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"Let me \u00e9"},"done":false}
{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":""},"done":false}
{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"look","arguments":{"at":1}}},{"function":{"name":"see"}}]},"done":false}
{"model":"m","message":{"role":"assistant","content":"","tool_calls":[{"function":{"name":"go","arguments":{}}}]},"done":false}
{"model":"m","message":{"role":"assistant","content":""},"done":true,"done_reason":"stop","total_duration":9,"load_duration":1,"prompt_eval_count":26,"prompt_eval_duration":3,"eval_count":28,"eval_duration":5}
"#;
        let (lines, tally) = read_in_every_way(body);
        assert_snapshot!(lines, @r#"
        reasoning "hm" None None [] None false false
        content "Let me é" None None [] None false false
        empty "" None None [] None false false
        tool "look{\"at\":1}see" None None [(0, true, 0..4), (0, false, 4..12), (1, true, 12..15)] None false false
        tool "go{}" None None [(2, true, 0..2), (2, false, 2..4)] None false false
        finish "" Some((Some(26), Some(28))) Some("stop") [] None true false
        "#);
        assert_eq!(tally, TokenTally::default());
        let crlf = body.replace('\n', "\r\n");
        assert_eq!(read(&crlf, 7).0, lines);
        // Many servers leave the last line feed away.
        assert_eq!(read(body.trim_end(), 1).0, lines);
    }

    #[test]
    fn errors_and_what_is_no_line_are_told() {
        let (lines, tally) = read_in_every_way(
            r#"{"error":"an error was encountered while running the model"}
{"error":{"message":"no","code":"x"}}
{"model":"m","message":{"role":"assistant","content":null},"done":false}
{"status":"loading"}
[1, 2]
{"model":
{"done":true,"eval_count":4}
{"done":true}"#,
        );
        assert_snapshot!(lines, @r#"
        error "" None None [] Some("an error was encountered while running the model") false false
        error "" None None [] Some("no") false false
        empty "" None None [] None false false
        other "" None None [] None false false
        other "" None None [] None false false
        other "" None None [] None false true
        usage "" Some((None, Some(4))) None [] None true false
        done "" None None [] None true false
        "#);
        assert_eq!(tally.after_last, Some(4));
    }

    #[test]
    fn log_probabilities_number_the_tokens_of_a_line() {
        let mut reader = CHAT.reader(false);
        let mut counts = Vec::new();
        let body = r#"{"message":{"content":"Hi"},"logprobs":[{"token":"Hi","logprob":-0.5}],"done":false}
{"message":{"content":""},"logprobs":[{"token":"<t","logprob":-1}],"done":false}
{"message":{"content":" you"},"logprobs":[{"token":" y","logprob":-1},{"token":"ou","logprob":0}],"done":false}
{"message":{"content":""},"done":true,"done_reason":"stop","eval_count":5}
"#;
        let mut decoder = CHAT.framing().decoder(CHAT.end_mark());
        let mut take = |event: Event<'_>| {
            let reading = reader.read_event(&event);
            counts.extend(reading.tokens.zip(reading.tokens_source));
        };
        decoder.push(body.as_bytes(), &mut take).unwrap();
        assert_eq!(counts, [(1, TokensSource::Ids), (3, TokensSource::Ids)]);
        let told = TokenTally {
            by_ids: Some(4),
            after_last: Some(0),
        };
        assert_eq!(reader.tally(), told);
        let asked = Value::Object(CHAT.logprobs(2).unwrap());
        assert_eq!(asked, json!({ "logprobs": true, "top_logprobs": 2 }));
    }
}
