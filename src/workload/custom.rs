//! The data set `custom`: requests that the user wrote down, a JSON object a line.
//!
//! Lines are sent in the order of the file, and only as many are read as are sent. The names of the
//! fields are those of `vllm bench serve`, and of the bodies of OpenAI's API.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::dataset::{Content, Dataset, DatasetKind, DatasetPath, DatasetSetup};
use super::error::WorkloadError;
use super::items::Items;
use super::tokenizer::TokenCounter;
use crate::flag::{Flag, FlagKind};

/// Requests of the user's own.
pub(super) const CUSTOM: DatasetKind = DatasetKind {
    name: "custom",
    about: "Requests of your own, a JSON object a line with `prompt` or `messages` (--dataset-path)",
    path: DatasetPath::Required,
    has_audio: false,
    flags: &[Flag {
        name: "custom-output-len",
        value_name: "TOKENS",
        help: "Length of every answer, in tokens, instead of the line's `output_tokens`",
        kind: FlagKind::Count(1),
        default: None,
    }],
    open,
};

/// Lines that are read where nobody knows how many requests there will be.
const DEFAULT_COUNT: u64 = 100_000;

/// Memory for lines, in bytes of text.
const MAX_BYTES: u64 = 512 << 20;

/// Bytes of one line.
const MAX_LINE_BYTES: u64 = 64 << 20;

/// Fields that are not sent, of which the names are kept.
const MAX_NAMES: usize = 8;

/// What lines look like.
const FORM: &str =
    "a line is a JSON object, such as {\"prompt\": \"Hello\", \"output_tokens\": 16}";

/// What the plan keeps of its flags.
#[derive(Debug, Default, Deserialize)]
struct Options {
    #[serde(default)]
    custom_output_len: Option<u32>,
}

/// A line of the file.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    prompt: Option<String>,
    #[serde(default)]
    messages: Option<Vec<Map<String, Value>>>,
    #[serde(default)]
    output_tokens: Option<u32>,
    #[serde(default)]
    tools: Option<Vec<Value>>,
    #[serde(default)]
    tool_choice: Option<Value>,
    #[serde(default)]
    response_format: Option<Map<String, Value>>,
    /// Further fields of the body.
    #[serde(default)]
    body: Option<Map<String, Value>>,
    /// What is not sent.
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// What was read of a file.
#[derive(Debug, Default)]
struct Found {
    /// What is sent, in this order.
    items: Vec<Content>,
    /// Fields of lines that are not sent.
    unsent: BTreeSet<String>,
    /// The file has further lines.
    has_more: bool,
}

impl Found {
    /// What is to be said of the file before a run.
    fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
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
    let options: Options = options.map_err(|error| {
        WorkloadError::dataset(
            path,
            error.to_string(),
            "write `custom_output_len` as a whole number above 0",
        )
    })?;
    let most = setup.most_kept(DEFAULT_COUNT);
    let lines = Lines {
        path,
        output_len: options.custom_output_len,
        count_tokens: setup.count_tokens,
    };
    let found = lines.read(most)?;
    if found.items.is_empty() {
        return Err(WorkloadError::dataset(
            path,
            "it has no line".to_owned(),
            FORM,
        ));
    }
    let first = if found.has_more { "first " } else { "" };
    Ok(Box::new(Items {
        what: format!("the {first}{} lines of the data set", found.items.len()),
        remarks: found.remarks(),
        items: found.items,
        count: setup.count,
        repeats: setup.repeats,
        workload: setup.workload,
    }))
}

/// A file of lines, and what is made of them.
struct Lines<'a> {
    path: &'a Path,
    output_len: Option<u32>,
    count_tokens: Option<TokenCounter>,
}

impl Lines<'_> {
    /// Reads at most `count` lines that have something on them.
    fn read(&self, count: u64) -> Result<Found, WorkloadError> {
        let unread =
            |error: std::io::Error| WorkloadError::dataset(self.path, error.to_string(), FORM);
        let file = File::open(self.path).map_err(unread)?;
        let mut reader = BufReader::with_capacity(1 << 20, file);
        let mut found = Found::default();
        let (mut line, mut number, mut bytes) = (Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            number += 1;
            let mut limited = reader.by_ref().take(MAX_LINE_BYTES);
            let length = limited.read_until(b'\n', &mut line).map_err(unread)? as u64;
            if length == 0 {
                return Ok(found);
            }
            if length == MAX_LINE_BYTES && !line.ends_with(b"\n") {
                let message = format!("line {number} is longer than {} MiB", MAX_LINE_BYTES >> 20);
                return Err(WorkloadError::dataset(self.path, message, FORM));
            }
            // Windows writes a mark at the start of a file.
            let text = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| number == 1);
            let text = text.unwrap_or(&line).trim_ascii();
            if text.is_empty() {
                continue;
            }
            bytes += length;
            if found.items.len() as u64 == count || bytes > MAX_BYTES {
                found.has_more = true;
                return Ok(found);
            }
            let (item, others) = self.item(number, text)?;
            found.items.push(item);
            for name in others {
                if found.unsent.len() < MAX_NAMES {
                    found.unsent.insert(name);
                }
            }
        }
    }

    /// Makes a request of line `number`. Returns the names of fields that are not sent as well.
    fn item(&self, number: u64, text: &[u8]) -> Result<(Content, Vec<String>), WorkloadError> {
        let fail = |message: String, hint| {
            Err(WorkloadError::dataset(
                self.path,
                format!("line {number}: {message}"),
                hint,
            ))
        };
        if !text.starts_with(b"{") {
            return fail("it is no JSON object".to_owned(), FORM);
        }
        let line: Line = match serde_json::from_slice(text) {
            Ok(line) => line,
            Err(error) => {
                // It says where in the line, which it takes for the first one, and in the words of Rust.
                let message = error.to_string();
                let message = message.replace(" at line 1 column ", " at column ");
                let message = message.replace("expected u32", "expected a whole number");
                let message = message.replace("expected a map", "expected an object");
                return fail(message, FORM);
            }
        };
        let (prompt, messages) = match (line.prompt, line.messages) {
            (Some(prompt), None) if !prompt.is_empty() => (prompt, None),
            (None, Some(messages)) if !messages.is_empty() => {
                (texts(&messages), Some(Value::from(messages).to_string()))
            }
            (Some(_), Some(_)) => {
                return fail("it has both `prompt` and `messages`".to_owned(), FORM);
            }
            _ => return fail("it has no `prompt` and no `messages`".to_owned(), FORM),
        };
        let Some(output_tokens) = self.output_len.or(line.output_tokens).filter(|n| *n > 0) else {
            let hint =
                "give the line `output_tokens`, or all lines one length with `--custom-output-len`";
            return fail("nothing says how long its answer is to be".to_owned(), hint);
        };
        let mut fields = line.body.unwrap_or_default();
        let own = [
            ("tools", line.tools.map(Value::from)),
            ("tool_choice", line.tool_choice),
            ("response_format", line.response_format.map(Value::from)),
        ];
        fields.extend(
            own.into_iter()
                .filter_map(|(name, value)| Some((name.to_owned(), value?))),
        );
        let item = Content {
            tokens: self.count_tokens.as_ref().and_then(|count| count(&prompt)),
            text: prompt,
            messages,
            fields: (!fields.is_empty()).then(|| Value::Object(fields).to_string()),
            output_tokens,
            ..Content::default()
        };
        Ok((
            item,
            line.others.into_iter().map(|(name, _)| name).collect(),
        ))
    }
}

/// The texts of messages, one below the other.
fn texts(messages: &[Map<String, Value>]) -> String {
    let mut texts: Vec<&str> = Vec::new();
    for message in messages {
        match message.get("content") {
            Some(Value::String(text)) => texts.push(text),
            Some(Value::Array(parts)) => {
                texts.extend(parts.iter().filter_map(|part| part["text"].as_str()));
            }
            _ => {}
        }
    }
    texts.join("\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::workload::{Tokenizer, Workload};

    fn opened(
        lines: &[u8],
        output_len: Option<u32>,
        count: Option<u64>,
    ) -> Result<Box<dyn Dataset>, WorkloadError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lines.jsonl");
        fs::write(&path, lines).unwrap();
        let options = output_len.map(|tokens| ("custom_output_len".to_owned(), tokens.into()));
        open(DatasetSetup {
            options: &options.into_iter().collect(),
            path: Some(&path),
            workload: Arc::new(Workload::new(&Arc::new(Tokenizer::embedded()), 7)),
            count_tokens: None,
            count,
            repeats: true,
        })
    }

    fn refused(lines: &[u8]) -> String {
        let error = opened(lines, None, None).err().unwrap();
        assert!(error.hint().is_some());
        let message = error.to_string();
        let (_, message) = message.split_once("`: ").unwrap();
        message.to_owned()
    }

    #[test]
    fn lines_are_sent_in_their_order_and_again_from_the_start() {
        let lines = b"\xef\xbb\xbf{\"prompt\": \"one\", \"output_tokens\": 3}\r\n\r\n\
                      {\"prompt\": \"two\", \"output_tokens\": 5, \"id\": 4}";
        let dataset = opened(lines, None, Some(3)).unwrap();
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
    }

    #[test]
    fn no_more_lines_are_read_than_are_sent() {
        let lines = b"{\"prompt\": \"one\", \"output_tokens\": 3}\n{\"prompt\": ";
        let dataset = opened(lines, None, Some(1)).unwrap();
        assert_eq!(dataset.note(), None);
        assert!(refused(lines).starts_with("line 2: "));
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
        let dataset = opened(line.to_string().as_bytes(), Some(9), None).unwrap();
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
            b"{\"messages\": [\"a\"]}",
            b"{\"prompt\": \"a\"}",
            b"{\"prompt\": \"a\", \"output_tokens\": 0}",
            b"{\"prompt\": \"a\", \"output_tokens\": 2.5}",
            b"{\"prompt\": \"\xff\", \"output_tokens\": 2}",
        ]
        .map(refused);
        insta::assert_snapshot!(messages.join("\n"), @r#"
        it has no line
        it has no line
        line 1: it is no JSON object
        line 1: it is no JSON object
        line 2: invalid type: integer `7`, expected a string at column 12
        line 1: it has no `prompt` and no `messages`
        line 1: it has no `prompt` and no `messages`
        line 1: it has both `prompt` and `messages`
        line 1: invalid type: string "a", expected an object at column 17
        line 1: nothing says how long its answer is to be
        line 1: nothing says how long its answer is to be
        line 1: invalid type: floating point `2.5`, expected a whole number at column 36
        line 1: invalid unicode code point at column 13
        "#);
    }
}
