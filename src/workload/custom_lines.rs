//! The files of the data set `custom`: a JSON object a line, or CSV with a header.

use std::io::{self, BufRead, Read};
use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::WorkloadError;
use super::records::{self, Cap, Capped, MAX_RECORD_BYTES};
use super::text_file::{self, Text, Unreadable};

/// What lines look like.
pub(super) const FORM: &str = "a line is a JSON object, such as {\"prompt\": \"Hello\", \
                               \"output_tokens\": 16}, or CSV below a header with `prompt`";

/// What to do about a line that ends within its object.
const CUT: &str =
    "put each object on one line, as `jq -c . FILE` does; fetch the file again where it is cut off";

/// Names of the column that has the length of an answer.
const OUTPUT_COLUMNS: [&str; 2] = ["output_tokens", "expected_output_tokens"];

/// Names of columns in a message, at most.
const MAX_NAMES: usize = 8;

/// What stands on a line.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Line {
    pub(super) prompt: Option<String>,
    pub(super) messages: Option<Vec<Map<String, Value>>>,
    pub(super) output_tokens: Option<u32>,
    pub(super) expected_output_tokens: Option<u32>,
    #[serde(alias = "image_files")]
    pub(super) images: Vec<String>,
    pub(super) tools: Option<Vec<Value>>,
    pub(super) tool_choice: Option<Value>,
    pub(super) response_format: Option<Map<String, Value>>,
    /// Further fields of the body.
    pub(super) body: Option<Map<String, Value>>,
    /// What is not sent.
    #[serde(flatten)]
    pub(super) others: Map<String, Value>,
}

/// A line with its place.
pub(super) struct Numbered {
    /// From 1, in the file.
    pub(super) number: u64,
    /// Its size.
    pub(super) bytes: u64,
    pub(super) line: Line,
}

/// A file of lines.
pub(super) struct Lines<'a> {
    path: &'a Path,
    kind: Kind,
}

enum Kind {
    Json { text: Text, number: u64 },
    Csv(Box<Csv>),
}

struct Csv {
    reader: csv::Reader<Capped<Text>>,
    cap: Cap,
    /// Names of the columns, of which [`Self::prompt`] and [`Self::output`] are two.
    header: csv::StringRecord,
    prompt: usize,
    output: Option<usize>,
    record: csv::StringRecord,
}

impl<'a> Lines<'a> {
    /// Opens a file. It is CSV where its name says so, or its first line has a column `prompt`.
    ///
    /// # Errors
    ///
    /// It can't be read, or its header has no `prompt`.
    pub(super) fn open(path: &'a Path) -> Result<Self, WorkloadError> {
        let unread = |why: Unreadable| WorkloadError::unreadable(path, why, FORM);
        let mut text = text_file::open(path).map_err(unread)?;
        let head = text.fill_buf().map_err(|error| unread(error.into()))?;
        let name = path.to_string_lossy().to_ascii_lowercase();
        let is_named = name.ends_with(".csv") || name.ends_with(".csv.gz");
        let is_csv = !head.trim_ascii().is_empty() && (is_named || has_header(head));
        let kind = match is_csv {
            true => Kind::Csv(Box::new(Csv::open(path, text)?)),
            false => Kind::Json { text, number: 0 },
        };
        Ok(Self { path, kind })
    }

    /// Returns the next line that has something on it.
    ///
    /// # Errors
    ///
    /// It can't be read.
    pub(super) fn next(&mut self) -> Result<Option<Numbered>, WorkloadError> {
        match &mut self.kind {
            Kind::Json { text, number } => next_json(self.path, text, number),
            Kind::Csv(csv) => csv.next(self.path),
        }
    }

    /// An error of line `number`.
    pub(super) fn fail(&self, number: u64, message: &str, hint: &'static str) -> WorkloadError {
        fail(self.path, number, message, hint)
    }
}

fn fail(path: &Path, number: u64, message: &str, hint: &'static str) -> WorkloadError {
    WorkloadError::dataset(path, format!("line {number}: {message}"), hint)
}

/// Whether the first line is the header of CSV with a column `prompt`.
fn has_header(head: &[u8]) -> bool {
    let mut reader = csv::ReaderBuilder::new();
    let mut reader = reader.trim(csv::Trim::Headers).from_reader(head);
    let is_json = matches!(head.trim_ascii_start().first(), Some(b'{' | b'['));
    let header = reader.headers();
    !is_json && header.is_ok_and(|header| header.iter().any(|name| name == "prompt"))
}

fn next_json(
    path: &Path,
    text: &mut Text,
    number: &mut u64,
) -> Result<Option<Numbered>, WorkloadError> {
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        *number += 1;
        let mut limited = text.by_ref().take(MAX_RECORD_BYTES);
        let length = limited
            .read_until(b'\n', &mut bytes)
            .map_err(|error| WorkloadError::unreadable(path, error, FORM))?
            as u64;
        if length == 0 {
            return Ok(None);
        }
        if length == MAX_RECORD_BYTES && !bytes.ends_with(b"\n") {
            let message = format!("it is longer than {} MiB", MAX_RECORD_BYTES >> 20);
            return Err(fail(path, *number, &message, FORM));
        }
        let line = bytes.trim_ascii();
        if line.is_empty() {
            continue;
        }
        if !line.starts_with(b"{") {
            let hint = match line.starts_with(b"[") {
                true => {
                    "write an object a line, without the list around them: `jq -c '.[]' FILE` does"
                }
                false => FORM,
            };
            return Err(fail(path, *number, "it is no JSON object", hint));
        }
        let line = serde_json::from_slice(line).map_err(|error| {
            // It says where in the line, which it takes for the first one, and in the words of Rust.
            let message = error.to_string();
            let message = message.replace(" at line 1 column ", " at column ");
            let message = message.replace("expected u32", "expected a whole number");
            let message = message.replace("expected a map", "expected an object");
            let hint = if error.is_eof() { CUT } else { FORM };
            fail(path, *number, &message, hint)
        })?;
        return Ok(Some(Numbered {
            number: *number,
            bytes: length,
            line,
        }));
    }
}

impl Csv {
    fn open(path: &Path, text: Text) -> Result<Self, WorkloadError> {
        let (text, cap) = records::capped(text, "a line");
        let mut reader = csv::ReaderBuilder::new()
            .trim(csv::Trim::Headers)
            .from_reader(text);
        let header = reader.headers().map_err(|error| told(path, error))?.clone();
        let place = |wanted: &str| header.iter().position(|name| name == wanted);
        let Some(prompt) = place("prompt") else {
            let names: Vec<&str> = header.iter().take(MAX_NAMES).collect();
            let message = format!("its header has no `prompt`, but: {}", names.join(", "));
            return Err(fail(path, 1, &message, FORM));
        };
        Ok(Self {
            output: OUTPUT_COLUMNS.into_iter().find_map(place),
            prompt,
            header,
            reader,
            cap,
            record: csv::StringRecord::new(),
        })
    }

    fn next(&mut self, path: &Path) -> Result<Option<Numbered>, WorkloadError> {
        self.cap.renew();
        let read = self.reader.read_record(&mut self.record);
        if !read.map_err(|error| told(path, error))? {
            return Ok(None);
        }
        let number = self.record.position().map_or(0, csv::Position::line);
        let output = self.output.and_then(|at| Some((at, self.record.get(at)?)));
        let output_tokens = match output {
            Some((at, text)) if !text.trim().is_empty() => {
                let parsed = text.trim().parse::<u32>();
                Some(parsed.map_err(|_| {
                    let name = self.header.get(at).unwrap_or_default();
                    let message = format!("its `{name}` is `{text}`, and no whole number");
                    fail(path, number, &message, FORM)
                })?)
            }
            _ => None,
        };
        let is_read = |at: usize| at == self.prompt || Some(at) == self.output;
        let others = self.header.iter().enumerate();
        let others = others.filter(|(at, name)| !is_read(*at) && !name.is_empty());
        Ok(Some(Numbered {
            number,
            bytes: self.record.as_slice().len() as u64,
            line: Line {
                prompt: self.record.get(self.prompt).map(str::to_owned),
                output_tokens,
                others: others
                    .map(|(_, name)| (name.to_owned(), Value::Null))
                    .collect(),
                ..Line::default()
            },
        }))
    }
}

/// Says what is wrong with CSV, by its line.
fn told(path: &Path, error: csv::Error) -> WorkloadError {
    if error.is_io_error() {
        return WorkloadError::unreadable(path, io::Error::from(error), QUOTES);
    }
    let number = error.position().map_or(1, csv::Position::line);
    let message = match error.kind() {
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} fields, and the header {expected_len}"),
        csv::ErrorKind::Utf8 { .. } => {
            return fail(path, number, "it is no UTF-8 text", "save it as UTF-8");
        }
        _ => error.to_string(),
    };
    fail(path, number, &message, QUOTES)
}

const QUOTES: &str = "put a prompt with a comma, a quote or a line break into double quotes, and write \
                      each quote in it twice";
