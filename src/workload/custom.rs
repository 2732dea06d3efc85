//! The data set `custom`: requests that the user wrote down, a JSON object a line or a line of CSV.
//!
//! Lines are sent in the order of the file, and only as many are read as are sent. The names of the
//! fields are those of `vllm bench serve`, and of the bodies of OpenAI's API.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::content::Content;
use super::conversation::{has_more_than_text, texts};
use super::custom_lines::{FORM, Line, Lines};
use super::dataset::{Dataset, DatasetKind, DatasetPath, DatasetSetup, OpenDataset};
use super::error::WorkloadError;
use super::images::{Images, is_of_user};
use super::items::{Item, Items, one_or_more};
use super::prompts::PromptFormat;
use super::tokenizer::TokenCounter;
use crate::flag::{Flag, FlagKind};

/// Requests of the user's own.
pub(super) const CUSTOM: DatasetKind = DatasetKind {
    name: "custom",
    about: "Requests of your own, a JSON object a line with `prompt` or `messages`, or CSV with `prompt` (--dataset-path)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[Flag {
        name: "custom-output-len",
        value_name: "TOKENS",
        help: "Length of every answer, in tokens [default, and -1: the line's, or 256]",
        kind: FlagKind::Length,
        default: None,
    }],
    open: OpenDataset::Requests(open),
};

/// Lines that are read where nobody knows how many requests there will be.
const DEFAULT_COUNT: u64 = 100_000;

/// Memory for lines, in bytes of text.
const MAX_BYTES: u64 = 512 << 20;

/// Length of an answer where neither the line nor a flag says it, as in `vllm bench serve`.
const DEFAULT_OUTPUT_TOKENS: u32 = 256;

/// Fields that are not sent, of which the names are kept.
const MAX_NAMES: usize = 8;

/// What the plan keeps of its flags.
#[derive(Debug, Default, Deserialize)]
struct Options {
    #[serde(default)]
    custom_output_len: Option<i64>,
}

/// What was read of a file.
#[derive(Default)]
struct Found {
    /// What is sent, in this order.
    items: Vec<Item>,
    /// Lines that do not say how long their answer is to be.
    without_length: u64,
    /// Fields that only chats are sent, and this backend is not.
    chats_alone: BTreeSet<&'static str>,
    /// Fields of lines that are not sent.
    unsent: BTreeSet<String>,
    /// The file has further lines.
    has_more: bool,
}

impl Found {
    /// What is to be said of the file before a run.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.without_length > 0 {
            remarks.push(format!(
                "{} of its lines {} to be, and {} for {DEFAULT_OUTPUT_TOKENS} tokens \
                 (`--custom-output-len`)",
                self.without_length,
                one_or_more(
                    self.without_length,
                    "does not say how long its answer is",
                    "do not say how long their answer is"
                ),
                one_or_more(self.without_length, "asks", "ask"),
            ));
        }
        if self.items.iter().any(|item| !item.images.is_empty()) {
            remarks.push("lengths of prompts count their text, without the images".to_owned());
        }
        if !self.chats_alone.is_empty() {
            let names: Vec<&str> = self.chats_alone.iter().copied().collect();
            remarks.push(format!(
                "fields of its lines that only a chat is sent, and this backend is not: {}",
                names.join(", ")
            ));
        }
        if !self.unsent.is_empty() {
            let names: Vec<&str> = self.unsent.iter().map(String::as_str).collect();
            remarks.push(format!(
                "fields of its lines that are not sent: {} (put what belongs into the request under \
                 `body`)",
                names.join(", ")
            ));
        }
        remarks
    }
}

fn open(setup: DatasetSetup<'_>) -> Result<Box<dyn Dataset>, WorkloadError> {
    let path = setup.path.ok_or_else(|| WorkloadError::Lengths {
        message: "the data set `custom` is a file: name it with `--dataset-path`".to_owned(),
    })?;
    let options = serde_json::from_value(Value::Object(setup.options.clone()));
    let wrong = |message: String| {
        let hint = "write `custom_output_len` as a whole number above 0, or -1";
        WorkloadError::dataset(path, message, hint)
    };
    let options: Options = options.map_err(|error| wrong(error.to_string()))?;
    let output_len = options.custom_output_len.filter(|length| *length != -1);
    let output_len = output_len.map(|length| match u32::try_from(length) {
        Ok(length) if length > 0 => Ok(length),
        _ => Err(wrong(format!("`custom_output_len` is {length}"))),
    });
    let most = setup.most_kept(DEFAULT_COUNT);
    let reading = Reading {
        output_len: output_len.transpose()?,
        count_tokens: setup.count_tokens,
        is_chat: setup.is_chat,
        lines: Lines::open(path)?,
        images: Images::beside(path),
        found: Found::default(),
    };
    let found = reading.read(most)?;
    if found.items.is_empty() {
        return Err(WorkloadError::dataset(
            path,
            "it has no line".to_owned(),
            FORM,
        ));
    }
    let what = match (found.items.len(), found.has_more) {
        (1, true) => "the first line of the data set".to_owned(),
        (1, false) => "the only line of the data set".to_owned(),
        (count, true) => format!("the first {count} lines of the data set"),
        (count, false) => format!("the {count} lines of the data set"),
    };
    Ok(Box::new(Items {
        what,
        remarks: found.remarks(),
        items: found.items,
        count: setup.count,
        repeats: setup.repeats,
        workload: setup.workload,
    }))
}

/// Makes requests of lines.
struct Reading<'a> {
    output_len: Option<u32>,
    count_tokens: Option<TokenCounter>,
    is_chat: bool,
    lines: Lines<'a>,
    images: Images,
    found: Found,
}

impl Reading<'_> {
    /// Reads at most `count` lines that have something on them.
    fn read(mut self, count: u64) -> Result<Found, WorkloadError> {
        let mut bytes = 0;
        while (self.found.items.len() as u64) < count {
            let Some(next) = self.lines.next()? else {
                return Ok(self.found);
            };
            bytes += next.bytes;
            if bytes + self.images.bytes() > MAX_BYTES {
                break;
            }
            let item = self.item(next.number, next.line)?;
            self.found.items.push(item);
        }
        self.found.has_more = true;
        Ok(self.found)
    }

    /// Makes a request of line `number`.
    fn item(&mut self, number: u64, line: Line) -> Result<Item, WorkloadError> {
        let mut output_tokens = self
            .output_len
            .or(line.output_tokens)
            .or(line.expected_output_tokens);
        if output_tokens == Some(0) {
            let hint = "an answer has at least 1 token; leave the length out for the default";
            return Err(self
                .lines
                .fail(number, "the length of its answer is 0", hint));
        }
        if output_tokens.is_none() {
            self.found.without_length += 1;
            output_tokens = Some(DEFAULT_OUTPUT_TOKENS);
        }
        let images = self.images_of(number, &line)?;
        let fields = self.fields(&line);
        let is_conversation = line.others.contains_key("conversations");
        for (name, _) in line.others {
            // What `prompts` tells of the prompts that it makes.
            if PromptFormat::EXTRAS.contains(&&*name) {
                continue;
            }
            if self.found.unsent.len() < MAX_NAMES {
                self.found.unsent.insert(name);
            }
        }
        let wrong = |message: &str| Err(self.lines.fail(number, message, FORM));
        let (text, messages) = match (line.prompt, line.messages) {
            (Some(_), Some(_)) => return wrong("it has both `prompt` and `messages`"),
            (None, None) if is_conversation => {
                let message = "it has no `prompt` and no `messages`, but `conversations`";
                let hint = "take `--dataset-name sharegpt` or `--dataset-name conversations`";
                return Err(self.lines.fail(number, message, hint));
            }
            (None, None) => return wrong("it has no `prompt` and no `messages`"),
            (Some(prompt), None) if prompt.is_empty() => return wrong("its `prompt` is empty"),
            (Some(prompt), None) => (prompt, None),
            (None, Some(messages)) => {
                let text = self.text_of(&messages, !images.is_empty());
                let text = text.map_err(|message| self.lines.fail(number, &message, FORM))?;
                (text, Some(Value::from(messages).to_string()))
            }
        };
        let content = Content {
            tokens: self.count_tokens.as_ref().and_then(|count| count(&text)),
            text,
            messages,
            fields,
            output_tokens: output_tokens.unwrap_or_default(),
            ..Content::default()
        };
        Ok(Item { content, images })
    }

    /// The text of the messages of a line.
    ///
    /// # Errors
    ///
    /// Why they can't be sent.
    fn text_of(
        &mut self,
        messages: &[Map<String, Value>],
        has_images: bool,
    ) -> Result<String, String> {
        let no_role = |message: &Map<String, Value>| !message.contains_key("role");
        if let Some(at) = messages.iter().position(no_role) {
            return Err(format!(
                "message {} of its `messages` has no `role`",
                at + 1
            ));
        }
        let is_odd = |message: &Map<String, Value>| {
            let content = message.get("content").unwrap_or(&Value::Null);
            !matches!(content, Value::Null | Value::String(_) | Value::Array(_))
        };
        if let Some(at) = messages.iter().position(is_odd) {
            return Err(format!(
                "the `content` of message {} of its `messages` is neither a text nor a list of parts",
                at + 1
            ));
        }
        let has_calls = messages.iter().any(|one| one.contains_key("tool_calls"));
        let has_parts = messages.iter().any(has_more_than_text);
        let text = texts(messages);
        let may_be_silent = has_images || has_parts || (has_calls && self.is_chat);
        if text.trim().is_empty() && !may_be_silent {
            return Err(match messages.is_empty() {
                true => "its `messages` are empty".to_owned(),
                false => "its `messages` have no text".to_owned(),
            });
        }
        if !self.is_chat {
            let left_out = [
                (
                    true,
                    "roles of `messages`, whose texts go one below the other",
                ),
                (has_calls, "calls of tools"),
                (has_parts, "parts of `messages` that are no text"),
            ];
            let left_out = left_out.iter().filter(|(is_there, _)| *is_there);
            let left_out = left_out.map(|(_, name)| *name);
            self.found.chats_alone.extend(left_out);
        }
        Ok(text)
    }

    /// The images of a line.
    fn images_of(&mut self, number: u64, line: &Line) -> Result<Vec<Arc<str>>, WorkloadError> {
        let messages = line.messages.iter().flatten();
        let has_user =
            line.messages.is_none() || messages.cloned().any(|one| is_of_user(&one.into()));
        if !line.images.is_empty() && !has_user {
            let message = "it has `images`, and no message of a user that they could go with";
            return Err(self.lines.fail(number, message, FORM));
        }
        let images = line.images.iter().map(|given| self.images.url(given));
        let images: Result<Vec<_>, _> = images.collect();
        images.map_err(|message| {
            let hint = "paths are relative to the data set's file; addresses begin with https://";
            self.lines.fail(number, &message, hint)
        })
    }

    /// The fields of the body that a line has, as a JSON object.
    fn fields(&mut self, line: &Line) -> Option<String> {
        let mut fields = line.body.clone().unwrap_or_default();
        let of_chats = [
            ("tools", line.tools.clone().map(Value::from)),
            ("tool_choice", line.tool_choice.clone()),
        ];
        for (name, value) in of_chats {
            let Some(value) = value else { continue };
            if self.is_chat {
                fields.insert(name.to_owned(), value);
            } else {
                self.found.chats_alone.insert(name);
            }
        }
        if let Some(format) = &line.response_format {
            fields.insert("response_format".to_owned(), format.clone().into());
        }
        (!fields.is_empty()).then(|| Value::Object(fields).to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::workload::{Tokenizer, Workload};

    /// How a file is opened, beside what is in it.
    #[derive(Clone, Copy)]
    struct How {
        name: &'static str,
        output_len: Option<i64>,
        count: Option<u64>,
        repeats: bool,
        is_chat: bool,
    }

    const JSON: How = How {
        name: "lines.jsonl",
        output_len: None,
        count: None,
        repeats: true,
        is_chat: true,
    };

    const CSV: How = How {
        name: "lines.CSV",
        ..JSON
    };

    fn opened(lines: &[u8], how: How) -> Result<Box<dyn Dataset>, WorkloadError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(how.name);
        fs::write(&path, lines).unwrap();
        fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\n").unwrap();
        let options =
            (how.output_len).map(|tokens| ("custom_output_len".to_owned(), tokens.into()));
        open(DatasetSetup {
            options: &options.into_iter().collect(),
            path: Some(&path),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: None,
            count: how.count,
            repeats: how.repeats,
            is_shuffled: true,
            is_chat: how.is_chat,
            kinds: &[],
        })
    }

    fn refused(lines: &[u8], how: How) -> String {
        let error = opened(lines, how).err().unwrap();
        assert!(error.hint().is_some());
        let message = error.to_string();
        let (_, message) = message.split_once("`: ").unwrap();
        message.to_owned()
    }

    #[test]
    fn lines_are_sent_in_their_order_and_again_from_the_start() {
        let lines = b"\xef\xbb\xbf{\"prompt\": \"one\", \"output_tokens\": 3}\r\n\r\n\
                      {\"prompt\": \"two\", \"output_tokens\": 5, \"id\": 4}";
        let three = How {
            count: Some(3),
            ..JSON
        };
        let dataset = opened(lines, three).unwrap();
        let sent = |index| {
            let content = dataset.request(index);
            (content.text, content.output_tokens)
        };
        assert_eq!(sent(0), ("one".to_owned(), 3));
        assert_eq!(sent(1), ("two".to_owned(), 5));
        assert_eq!(sent(0), sent(2));
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: the 2 lines of the data set are sent, then the same ones again; fields of its lines that are not sent: id (put what belongs into the request under `body`)");
        assert_ne!(dataset.warmup(0).text, "one");
        assert_eq!(dataset.typical_output_tokens(), Some(4));
        assert_eq!(dataset.limit(), None);
        let once = How {
            repeats: false,
            ..three
        };
        let dataset = opened(lines, once).unwrap();
        assert_eq!(dataset.limit(), Some(2));
        let note = dataset.note().unwrap();
        assert!(
            note.contains("are sent, and the run ends with them"),
            "{note}"
        );
    }

    #[test]
    fn an_answer_is_as_long_as_the_flag_says_then_the_line_then_the_default() {
        let lines = b"{\"prompt\": \"one\"}\n{\"prompt\": \"two\", \"expected_output_tokens\": 5}";
        let of = |output_len| {
            let dataset = opened(lines, How { output_len, ..JSON }).unwrap();
            let lengths = [0, 1].map(|index| dataset.request(index).output_tokens);
            (lengths, dataset.note().unwrap())
        };
        let (lengths, note) = of(None);
        assert_eq!(lengths, [256, 5]);
        assert!(note.contains("1 of its lines does not say"), "{note}");
        assert_eq!(of(Some(-1)).0, [256, 5]);
        let (lengths, note) = of(Some(9));
        assert_eq!(lengths, [9, 9]);
        assert!(!note.contains("not say"), "{note}");
        for wrong in [0, -2, 1 << 40] {
            let how = How {
                output_len: Some(wrong),
                ..JSON
            };
            assert!(refused(lines, how).contains(&wrong.to_string()));
        }
    }

    #[test]
    fn csv_below_a_header_is_the_same_as_lines_of_json() {
        let csv = b"\xef\xbb\xbfid,prompt,output_tokens\r\n\
                    1,\"Say \"\"hi\"\",\nplease\",3\r\n\
                    2, two ,\r\n";
        for how in [CSV, JSON] {
            let dataset = opened(csv, how).unwrap();
            let sent = [0, 1].map(|index| {
                let content = dataset.request(index);
                (content.text, content.output_tokens)
            });
            assert_eq!(sent[0], ("Say \"hi\",\nplease".to_owned(), 3));
            assert_eq!(sent[1], (" two ".to_owned(), 256));
            let note = dataset.note().unwrap();
            assert!(note.contains("the 2 lines"), "{note}");
            assert!(note.contains("not sent: id"), "{note}");
        }
        let other = opened(b"expected_output_tokens,prompt\n7,a", CSV).unwrap();
        assert_eq!(other.request(0).output_tokens, 7);
        let messages = [
            &b""[..],
            b"prompt\n",
            b"text,output_tokens\na,1",
            b"prompt,output_tokens\na,1\n\"b\nc\",x\n",
            b"prompt,output_tokens\na,1\n,2\n",
            b"prompt,output_tokens\na,0\n",
            b"prompt,output_tokens\na,1,2\n",
            b"prompt\n\xff\n",
        ]
        .map(|csv| refused(csv, CSV));
        insta::assert_snapshot!(messages.join("\n"), @"
        it has no line
        it has no line
        line 1: its header has no `prompt`, but: text, output_tokens
        line 3: its `output_tokens` is `x`, and no whole number
        line 3: its `prompt` is empty
        line 2: the length of its answer is 0
        line 2: it has 3 fields, and the header 2
        line 2: it is no UTF-8 text
        ");
    }

    #[test]
    fn parts_that_are_no_text_are_named_where_requests_are_one_text() {
        let parts = json!([{ "type": "text", "text": "What?" }, { "type": "image_url", "image_url": { "url": "u" } }]);
        let line = json!({ "messages": [{ "role": "user", "content": parts }] }).to_string();
        let note_of = |is_chat| {
            let how = How { is_chat, ..JSON };
            opened(line.as_bytes(), how).unwrap().note().unwrap()
        };
        assert!(
            note_of(false).contains("parts of `messages` that are no text"),
            "{}",
            note_of(false)
        );
        assert!(!note_of(true).contains("that are no text"));
    }

    #[test]
    fn a_quote_without_an_end_takes_bounded_memory() {
        let mut csv = b"prompt\n\"".to_vec();
        csv.resize(70 << 20, b'a');
        assert_eq!(refused(&csv, CSV), "a line is over 64 MiB");
        let mut json = b"{\"prompt\": \"".to_vec();
        json.resize(70 << 20, b'a');
        assert_eq!(refused(&json, JSON), "line 1: it is longer than 64 MiB");
    }

    #[test]
    fn images_go_with_the_prompt_and_are_told_by_line_where_they_are_missing() {
        let line = json!({ "prompt": "What is it?", "images": ["a.png", "https://h/b.png"] });
        let dataset = opened(line.to_string().as_bytes(), JSON).unwrap();
        assert!(dataset.has_images());
        let content = dataset.request(0);
        assert_eq!(content.text, "What is it?");
        let messages: Value = serde_json::from_str(&content.messages.unwrap()).unwrap();
        let parts = &messages[0]["content"];
        assert_eq!(parts[0]["text"], "What is it?");
        assert_eq!(
            parts[1]["image_url"]["url"],
            "data:image/png;base64,iVBORw0KGgo="
        );
        assert_eq!(parts[2]["image_url"]["url"], "https://h/b.png");
        assert!(dataset.note().unwrap().contains("without the images"));
        assert_eq!(dataset.warmup(0).messages, None);
        let missing = b"{\"prompt\": \"a\"}\n{\"prompt\": \"b\", \"image_files\": [\"none.png\"]}";
        let message = refused(missing, JSON);
        assert!(message.starts_with("line 2: image `"), "{message}");
        assert!(message.contains("none.png"), "{message}");
        let unasked =
            json!({ "messages": [{ "role": "system", "content": "a" }], "images": ["a.png"] });
        let message = refused(unasked.to_string().as_bytes(), JSON);
        assert!(message.contains("no message of a user"), "{message}");
    }

    #[test]
    fn what_only_a_chat_is_sent_stays_out_of_completions() {
        let line = json!({
            "prompt": "a", "output_tokens": 1, "tools": [{}], "tool_choice": "auto",
            "response_format": { "type": "json_object" }, "body": { "top_k": 1 },
        });
        let fields = |is_chat| {
            let dataset = opened(line.to_string().as_bytes(), How { is_chat, ..JSON }).unwrap();
            let fields = dataset.request(0).fields.unwrap();
            let fields: Map<String, Value> = serde_json::from_str(&fields).unwrap();
            let mut names: Vec<String> = fields.into_iter().map(|(name, _)| name).collect();
            names.sort();
            (names.join(" "), dataset.note().unwrap())
        };
        let (names, note) = fields(true);
        assert_eq!(names, "response_format tool_choice tools top_k");
        assert!(!note.contains("only a chat"), "{note}");
        let (names, note) = fields(false);
        assert_eq!(names, "response_format top_k");
        assert!(
            note.ends_with("and this backend is not: tool_choice, tools"),
            "{note}"
        );
    }

    #[test]
    fn no_more_lines_are_read_than_are_sent() {
        let lines = b"{\"prompt\": \"one\", \"output_tokens\": 3}\n{\"prompt\": ";
        let one = How {
            count: Some(1),
            ..JSON
        };
        let dataset = opened(lines, one).unwrap();
        assert_eq!(dataset.note(), None);
        assert!(refused(lines, JSON).starts_with("line 2: "));
    }

    #[test]
    fn messages_and_fields_of_the_body_are_kept_as_they_are() {
        let line = json!({
            "messages": [
                { "role": "system", "content": "Be short." },
                { "role": "user", "content": [{ "type": "text", "text": "Hi" }] },
            ],
            "tools": [{ "type": "function" }],
            "body": { "temperature": 0.5, "tools": [] },
        });
        let dataset = {
            let nine = How {
                output_len: Some(9),
                ..JSON
            };
            opened(line.to_string().as_bytes(), nine).unwrap()
        };
        let content = dataset.request(0);
        assert_eq!(content.text, "Be short.\nHi");
        let messages: Value = serde_json::from_str(&content.messages.unwrap()).unwrap();
        assert_eq!(messages, line["messages"]);
        let fields: Value = serde_json::from_str(&content.fields.unwrap()).unwrap();
        assert_eq!(
            fields,
            json!({ "temperature": 0.5, "tools": [{ "type": "function" }] })
        );
        assert_eq!(content.output_tokens, 9);
    }

    #[test]
    fn messages_to_a_completions_backend_are_told_to_be_texts_alone() {
        let line = json!({ "messages": [
            { "role": "user", "content": "Weather?" },
            { "role": "assistant", "content": null, "tool_calls": [{ "id": "a" }] },
            { "role": "tool", "tool_call_id": "a", "content": "Rain." },
        ], "expected_output_tokens": 3, "output_tokens": 4, "domain": "weather" });
        let one = How {
            count: Some(1),
            is_chat: false,
            ..JSON
        };
        let dataset = opened(line.to_string().as_bytes(), one).unwrap();
        assert_eq!(dataset.request(0).text, "Weather?\nRain.");
        assert_eq!(dataset.request(0).output_tokens, 4);
        insta::assert_snapshot!(dataset.note().unwrap(), @"note: fields of its lines that only a chat is sent, and this backend is not: calls of tools, roles of `messages`, whose texts go one below the other");
        let chat = How {
            is_chat: true,
            ..one
        };
        assert_eq!(
            opened(line.to_string().as_bytes(), chat).unwrap().note(),
            None
        );
    }

    #[test]
    fn what_is_no_request_is_told_with_its_line() {
        let messages = [
            &b""[..],
            b"\n  \n",
            b"PAR1\0\0",
            b"[1, 2]",
            b"\n{\"prompt\": 7}",
            b"{\"output_tokens\": 4}",
            b"{\"prompt\": \"\", \"output_tokens\": 4}",
            b"{\"prompt\": \"a\", \"messages\": [{}], \"output_tokens\": 4}",
            b"{\"messages\": []}",
            b"{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, {\"content\": \"b\"}]}",
            b"{\"messages\": [\"a\"]}",
            b"{\"messages\": [{\"role\": \"user\", \"content\": 5}]}",
            b"{\"messages\": [{\"role\": \"user\", \"content\": null}]}",
            b"{\"id\": 1, \"conversations\": []}",
            b"{\"prompt\": \"a\", \"output_tokens\": 0}",
            b"{\"prompt\": \"a\", \"output_tokens\": 2.5}",
            b"{\"prompt\": \"\xff\", \"output_tokens\": 2}",
        ]
        .map(|lines| refused(lines, JSON));
        insta::assert_snapshot!(messages.join("\n"), @r#"
        it has no line
        it has no line
        it is a file of Parquet
        line 1: it is no JSON object
        line 2: invalid type: integer `7`, expected a string at column 12
        line 1: it has no `prompt` and no `messages`
        line 1: its `prompt` is empty
        line 1: it has both `prompt` and `messages`
        line 1: its `messages` are empty
        line 1: message 2 of its `messages` has no `role`
        line 1: invalid type: string "a", expected an object at column 17
        line 1: the `content` of message 1 of its `messages` is neither a text nor a list of parts
        line 1: its `messages` have no text
        line 1: it has no `prompt` and no `messages`, but `conversations`
        line 1: the length of its answer is 0
        line 1: invalid type: floating point `2.5`, expected a whole number at column 36
        line 1: invalid unicode code point at column 13
        "#);
    }
}
