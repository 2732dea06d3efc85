//! Makes turns of a conversation that a file has.
//!
//! What is not the assistant's is sent: each turn has what was said since the assistant's last message,
//! and its reply is that message's text. What an assistant says before the user does is left out, and so
//! is what follows the user's last message. A message without text is left out with the answer to it.
//! Results of tools are part of the next turn as they are; the calls that they answer are not sent, since
//! the server is to answer by itself.

use serde_json::{Map, Value};

use super::super::conversation::{CALL, Speaker, has_more_than_text, texts_of};
use super::distribution::MAX;
use super::flags::nanoseconds;
use super::rounds::usable;

/// Names of the list of messages, in the order in which they are looked for.
const LISTS: [&str; 4] = ["conversations", "messages", "conversation", "items"];

/// Name of a list in which each entry is a turn of the user, in AIPerf's form.
const TURNS: &str = "turns";

/// Names of a conversation's name.
const NAMES: [&str; 3] = ["id", "conversation_id", "session_id"];

/// Names of the length of an answer, in tokens, on the user's message.
const OUTPUT_TOKENS: [&str; 3] = ["output_tokens", "output_length", "expected_output_tokens"];

/// Names of a pause before a message, in milliseconds.
const DELAYS: [&str; 2] = ["delay", "delay_ms"];

/// Names of fields of the body that a message has for its request.
const BODIES: [&str; 2] = ["body", "extra"];

/// Fields of a message that are sent with it, beside its role and its content.
const SENT: [&str; 2] = ["name", "tool_call_id"];

/// What a record, a message or a turn may have beside its texts, and is not read.
const MEDIA: [&str; 6] = ["image", "images", "audio", "audios", "video", "videos"];

/// Names of fields in which an assistant calls tools.
const CALLS: [&str; 2] = ["tool_calls", "function_call"];

/// Memory of a message beside its texts, in bytes.
const MESSAGE_BYTES: usize = 400;

/// A conversation of a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Recorded {
    /// Its name in the file.
    pub(super) name: Option<String>,
    /// Messages of the system before the user's first.
    pub(super) opening: Vec<Map<String, Value>>,
    /// At least one.
    pub(super) turns: Vec<Turn>,
    pub(super) left_out: LeftOut,
}

/// What of a record is not sent as it stands there.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct LeftOut {
    /// Calls of tools, whose results may be sent.
    pub(super) calls: bool,
    /// What the assistant says before the user does.
    pub(super) first_words: bool,
    /// Number of messages that have no text, and to which no answer is kept either.
    pub(super) without_text: u64,
}

/// A turn of a conversation of a file.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Turn {
    /// At least one.
    pub(super) messages: Vec<Map<String, Value>>,
    /// What the assistant said then.
    pub(super) reply: Option<String>,
    /// Fields of the body, as a JSON object.
    pub(super) fields: Option<String>,
    /// Length of the answer, in tokens, where the file says it.
    pub(super) output_tokens: Option<u32>,
    /// Pause before it, in nanoseconds, where the file says it.
    pub(super) pause_ns: Option<i64>,
}

/// Why a record can't be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Unusable {
    /// It has no list of messages.
    NoMessages,
    /// The user says nothing in it.
    NoUser,
    /// Someone says something whose name is not known.
    Speaker(String),
    /// It has images, audio or video beside its texts.
    Media,
}

impl Recorded {
    /// Makes turns of a record.
    ///
    /// # Errors
    ///
    /// Why it can't be sent.
    pub(super) fn of(mut record: Map<String, Value>) -> Result<Self, Unusable> {
        let name = NAMES.iter().find_map(|name| usable(record.get(*name)?));
        if has_media(&record) {
            return Err(Unusable::Media);
        }
        let tools = record.remove("tools").filter(Value::is_array);
        let mut reader = Reader::default();
        let mut list = LISTS.iter().find_map(|name| list(&mut record, name));
        if list.is_none() {
            list = self::list(&mut record, TURNS);
            reader.is_each_a_turn = true;
        }
        for message in list.ok_or(Unusable::NoMessages)? {
            let message = match message {
                Value::Object(message) => message,
                Value::String(text) if reader.is_each_a_turn => {
                    Map::from_iter([("text".to_owned(), text.into())])
                }
                _ => return Err(Unusable::NoMessages),
            };
            reader.add(message)?;
        }
        reader.end_turn(None);
        if let Some(tools) = tools {
            for turn in &mut reader.turns {
                turn.fields
                    .get_or_insert_default()
                    .insert("tools".to_owned(), tools.clone());
            }
        }
        let turns: Vec<Turn> = reader.turns.into_iter().map(Turn::from).collect();
        match turns.is_empty() {
            true => Err(Unusable::NoUser),
            false => Ok(Self {
                name,
                opening: reader.opening,
                turns,
                left_out: reader.left_out,
            }),
        }
    }

    /// Whether a message has an image, audio or the like in its content.
    pub(super) fn has_more_than_text(&self) -> bool {
        let mut turns = self.turns.iter().flat_map(|turn| &turn.messages);
        turns.any(has_more_than_text)
    }

    /// About how much memory it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_messages = |messages: &[Map<String, Value>]| {
            let of = |message: &Map<String, Value>| {
                MESSAGE_BYTES + message.values().map(bytes).sum::<usize>()
            };
            messages.iter().map(of).sum::<usize>()
        };
        let of_text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let of_turn = |turn: &Turn| {
            of_messages(&turn.messages)
                + of_text(&turn.reply)
                + of_text(&turn.fields)
                + MESSAGE_BYTES
        };
        of_messages(&self.opening) + self.turns.iter().map(of_turn).sum::<usize>()
    }
}

/// About how much memory a value takes beside its own place, in bytes.
fn bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(parts) => parts.iter().map(|part| 100 + bytes(part)).sum(),
        Value::Object(fields) => {
            let of = |(name, value): (&String, &Value)| 200 + name.len() + bytes(value);
            fields.iter().map(of).sum()
        }
        _ => 0,
    }
}

fn list(record: &mut Map<String, Value>, name: &str) -> Option<Vec<Value>> {
    match record.get_mut(name)?.take() {
        Value::Array(list) => Some(list),
        _ => None,
    }
}

/// A turn that is being read.
#[derive(Default)]
struct Reading {
    messages: Vec<Map<String, Value>>,
    reply: Option<String>,
    fields: Option<Map<String, Value>>,
    output_tokens: Option<u32>,
    pause_ns: Option<i64>,
    /// It has a message of the user or of a tool.
    is_asked: bool,
}

impl From<Reading> for Turn {
    fn from(read: Reading) -> Self {
        Self {
            messages: read.messages,
            reply: read.reply,
            fields: read.fields.map(|fields| Value::Object(fields).to_string()),
            output_tokens: read.output_tokens,
            pause_ns: read.pause_ns,
        }
    }
}

/// Reads messages one after the other.
#[derive(Default)]
struct Reader {
    opening: Vec<Map<String, Value>>,
    turns: Vec<Reading>,
    /// What was said since the last turn.
    next: Reading,
    left_out: LeftOut,
    /// Whoever asked last said nothing that is sent: the answer to that is left out.
    is_unasked: bool,
    /// A message of the user ends the turn before it, and one that does not say whose it is is the user's.
    is_each_a_turn: bool,
}

impl Reader {
    fn add(&mut self, mut message: Map<String, Value>) -> Result<(), Unusable> {
        if has_media(&message) {
            return Err(Unusable::Media);
        }
        let name = ["from", "role"]
            .iter()
            .find_map(|key| message.get(*key)?.as_str());
        let speaker = match name {
            Some(name) => Speaker::named(name),
            None => self.is_each_a_turn.then_some(Speaker::User),
        };
        let speaker = speaker.ok_or_else(|| {
            Unusable::Speaker(name.unwrap_or_default().chars().take(40).collect())
        })?;
        let is_call = name == Some(CALL);
        self.left_out.calls |=
            is_call || speaker == Speaker::Tool || CALLS.iter().any(|name| has(&message, name));
        let content = match (content(&mut message), speaker) {
            (content, Speaker::Assistant) => {
                let said = content.filter(|_| !is_call);
                self.answer(&said.unwrap_or_default());
                return Ok(());
            }
            (Some(content), _) => content,
            // A tool may have nothing to say.
            (None, Speaker::Tool) => "".into(),
            (None, Speaker::System) => return Ok(()),
            (None, Speaker::User) => {
                self.left_out.without_text += 1;
                self.is_unasked = !self.next.is_asked;
                return Ok(());
            }
        };
        let is_start = self.turns.is_empty() && !self.next.is_asked;
        match speaker {
            Speaker::System if is_start => {
                self.opening.push(said(speaker, content, message));
            }
            // A result of which nobody asked anything.
            Speaker::Tool if is_start => {}
            Speaker::System => self.next.messages.push(said(speaker, content, message)),
            _ => self.ask(speaker, content, message),
        }
        Ok(())
    }

    fn ask(&mut self, speaker: Speaker, content: Value, mut message: Map<String, Value>) {
        if self.is_each_a_turn {
            self.end_turn(None);
        }
        self.is_unasked = false;
        let next = &mut self.next;
        next.is_asked = true;
        next.pause_ns = next.pause_ns.or_else(|| pause_ns(&message));
        let output_tokens = OUTPUT_TOKENS.iter().find_map(|name| {
            let tokens = u32::try_from(message.get(*name)?.as_u64()?).ok();
            tokens.filter(|tokens| *tokens > 0)
        });
        next.output_tokens = output_tokens.or(next.output_tokens);
        for name in BODIES {
            if let Some(Value::Object(fields)) = message.remove(name) {
                next.fields.get_or_insert_default().extend(fields);
            }
        }
        next.messages.push(said(speaker, content, message));
    }

    /// The assistant says something: to what was asked, or more of what it said last.
    fn answer(&mut self, content: &Value) {
        let text = texts_of(content).join("\n");
        let text = (!text.trim().is_empty()).then_some(text);
        if self.next.is_asked {
            self.end_turn(text);
            return;
        }
        let Some(text) = text.filter(|_| !self.is_unasked) else {
            return;
        };
        match self.turns.last_mut() {
            Some(last) => {
                last.reply = Some(match last.reply.take() {
                    Some(before) => format!("{before}\n{text}"),
                    None => text,
                });
            }
            None => self.left_out.first_words = true,
        }
    }

    fn end_turn(&mut self, reply: Option<String>) {
        if self.next.is_asked {
            let turn = std::mem::take(&mut self.next);
            self.turns.push(Reading { reply, ..turn });
        }
    }
}

fn has_media(fields: &Map<String, Value>) -> bool {
    MEDIA.iter().any(|name| has(fields, name))
}

/// Whether a field is there and has something in it.
fn has(message: &Map<String, Value>, name: &str) -> bool {
    match message.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    }
}

/// Takes what a message says; none where that is nothing.
fn content(message: &mut Map<String, Value>) -> Option<Value> {
    if let Some(Value::Array(texts)) = message.get("texts") {
        let texts: Vec<&str> = texts.iter().filter_map(Value::as_str).collect();
        return Some(texts.join("\n"))
            .filter(|text| !text.trim().is_empty())
            .map(Value::from);
    }
    let content = ["value", "content", "text"]
        .iter()
        .find_map(|name| message.remove(*name))?;
    match &content {
        Value::String(text) if !text.trim().is_empty() => Some(content),
        Value::Array(parts) if !parts.is_empty() => Some(content),
        _ => None,
    }
}

/// A message as it is sent.
fn said(speaker: Speaker, content: Value, mut message: Map<String, Value>) -> Map<String, Value> {
    let mut sent = Map::new();
    sent.insert("role".to_owned(), speaker.role().into());
    sent.insert("content".to_owned(), content);
    for name in SENT {
        if let Some(value) = message.remove(name).filter(Value::is_string) {
            sent.insert(name.to_owned(), value);
        }
    }
    sent
}

/// The pause before a message, in nanoseconds.
fn pause_ns(message: &Map<String, Value>) -> Option<i64> {
    let delay = DELAYS
        .iter()
        .find_map(|name| message.get(*name)?.as_f64())?;
    (delay >= 0.0).then(|| nanoseconds(delay.min(MAX * 1e3) * 1e6))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(record: &Value) -> Result<Recorded, Unusable> {
        Recorded::of(record.as_object().unwrap().clone())
    }

    /// Who says what in each turn, and the reply.
    fn turns(record: &Value) -> Vec<(String, Option<String>)> {
        let said = |messages: &[Map<String, Value>]| {
            let message = |message: &Map<String, Value>| {
                let text = |name: &str| message.get(name).and_then(Value::as_str).unwrap_or("?");
                format!("{}: {}", text("role"), text("content"))
            };
            messages.iter().map(message).collect::<Vec<_>>().join(", ")
        };
        let recorded = read(record).unwrap();
        let turns = recorded.turns.into_iter();
        turns
            .map(|turn| (said(&turn.messages), turn.reply))
            .collect()
    }

    fn some(said: &str, reply: &str) -> (String, Option<String>) {
        (said.to_owned(), Some(reply.to_owned()))
    }

    fn no_reply(said: &str) -> (String, Option<String>) {
        (said.to_owned(), None)
    }

    #[test]
    fn messages_of_the_user_stay_together_and_the_assistant_ends_a_turn() {
        let record = json!({ "messages": [
            { "role": "system", "content": "Be kind." },
            { "role": "assistant", "content": "Hello." },
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": "One." },
            { "role": "user", "content": "Two." },
            { "role": "assistant", "content": "Yes." },
            { "role": "assistant", "content": "And so on." },
            { "role": "system", "content": "Be careful." },
            { "role": "user", "content": "Three." },
            { "role": "assistant", "content": "No." },
            { "role": "system", "content": "Nobody asks any more." },
        ] });
        assert_eq!(
            turns(&record),
            [
                some("user: One., user: Two.", "Yes.\nAnd so on."),
                some("system: Be careful., user: Three.", "No."),
            ]
        );
        let Recorded {
            opening, left_out, ..
        } = read(&record).unwrap();
        assert!(left_out.first_words && !left_out.calls);
        let opening: Vec<_> = opening.iter().map(|message| &message["content"]).collect();
        assert_eq!(opening, ["Be kind.", "Be brief."]);
    }

    #[test]
    fn results_of_tools_are_part_of_the_next_turn() {
        let record = json!({ "tools": [{ "type": "function" }], "messages": [
            { "role": "tool", "content": "nobody asked" },
            { "role": "user", "content": "Weather?", "id": "u1" },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "t1" }] },
            { "role": "tool", "content": "Rain.", "tool_call_id": "t1", "secret": true },
            { "role": "assistant", "content": "It rains." },
            { "role": "user", "content": [{ "type": "text", "text": "Oh" }] },
        ] });
        assert_eq!(
            turns(&record),
            [
                no_reply("user: Weather?"),
                some("tool: Rain.", "It rains."),
                no_reply("user: ?"),
            ]
        );
        let recorded = read(&record).unwrap();
        assert!(recorded.left_out.calls);
        let tool = Value::from(recorded.turns[1].messages[0].clone());
        assert_eq!(
            tool,
            json!({ "role": "tool", "content": "Rain.", "tool_call_id": "t1" })
        );
        assert_eq!(recorded.turns[2].messages[0]["content"][0]["text"], "Oh");
        let fields = recorded.turns[1].fields.as_deref();
        assert_eq!(fields, Some(r#"{"tools":[{"type":"function"}]}"#));
        let sharegpt = json!({ "conversations": [
            { "from": "human", "value": "Weather?" },
            { "from": "function_call", "value": "{}" },
            { "from": "observation", "value": "Rain." },
            { "from": "gpt", "value": "It rains." },
        ] });
        let wanted = [no_reply("user: Weather?"), some("tool: Rain.", "It rains.")];
        assert_eq!(turns(&sharegpt), wanted);
    }

    #[test]
    fn a_message_without_text_is_left_out_with_its_answer() {
        let record = json!({ "messages": [
            { "role": "user", "content": "" },
            { "role": "assistant", "content": "To what?" },
            { "role": "user", "content": "One." },
            { "role": "user", "content": null },
            { "role": "assistant", "content": "Yes." },
            { "role": "user", "content": 5 },
            { "role": "assistant", "content": "Five." },
            { "role": "assistant", "content": "And so on." },
            { "role": "user", "content": "Two." },
            { "role": "assistant", "content": null, "function_call": {} },
            { "role": "tool", "content": "" },
            { "role": "assistant", "content": "Done." },
        ] });
        assert_eq!(
            turns(&record),
            [
                some("user: One.", "Yes."),
                no_reply("user: Two."),
                some("tool: ", "Done."),
            ]
        );
        let wanted = LeftOut {
            calls: true,
            first_words: false,
            without_text: 3,
        };
        assert_eq!(read(&record).unwrap().left_out, wanted);
    }

    #[test]
    fn turns_of_the_user_alone_are_one_each() {
        let record = json!({ "session_id": "s", "turns": [
            { "text": "One", "delay": 3, "output_length": 9, "extra": { "top_k": 1 } },
            { "texts": ["Two", "three"], "delay": 2_500, "images": [] },
            "Four",
        ] });
        let all = turns(&record);
        let wanted = ["user: One", "user: Two\nthree", "user: Four"].map(no_reply);
        assert_eq!(all, wanted);
        let recorded = read(&record).unwrap();
        assert_eq!(recorded.name.as_deref(), Some("s"));
        let [one, two, four] = &recorded.turns[..] else {
            panic!("{recorded:?}");
        };
        assert_eq!(one.output_tokens, Some(9));
        assert_eq!(one.fields.as_deref(), Some(r#"{"top_k":1}"#));
        assert_eq!(two.pause_ns, Some(2_500_000_000));
        assert_eq!((four.pause_ns, four.output_tokens), (None, None));
        assert!(recorded.bytes() > 14);
    }

    #[test]
    fn what_can_not_be_sent_has_its_reason() {
        let reasons = [
            (json!({ "id": "a" }), Unusable::NoMessages),
            (json!({ "messages": "a" }), Unusable::NoMessages),
            (json!({ "messages": ["a"] }), Unusable::NoMessages),
            (json!({ "messages": [] }), Unusable::NoUser),
            (
                json!({ "messages": [{ "role": "assistant", "content": "a" }] }),
                Unusable::NoUser,
            ),
            (
                json!({ "messages": [{ "content": "a" }] }),
                Unusable::Speaker(String::new()),
            ),
            (
                json!({ "turns": [{ "text": "a", "image": "b" }] }),
                Unusable::Media,
            ),
            (
                json!({ "image": "b", "conversations": [{ "from": "human", "value": "a" }] }),
                Unusable::Media,
            ),
        ];
        for (record, why) in reasons {
            assert_eq!(read(&record), Err(why), "{record}");
        }
        let pause = |delay: Value| {
            let turn = json!({ "turns": [{ "text": "a", "delay": delay }] });
            read(&turn).unwrap().turns[0].pause_ns
        };
        assert_eq!(pause(json!(-1)), None);
        assert_eq!(pause(json!("soon")), None);
        assert!(pause(json!(1e300)) > Some(0));
    }
}
