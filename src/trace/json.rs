//! Reads JSON lines into batches, and knows the line of every row.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde_json::{Map, Value, json};

use super::error::TraceError;
use super::format::{BodyField, FormatInfo};
use super::lines::{BATCH_BYTES, BATCH_ROWS, COLUMNS_MAX, Lines, too_many};
use super::shape::Columns;

/// Column with the fields of the request's body that a JSON line has, as JSON text.
pub(super) const BODY: &str = "__body";
/// Column with the messages that a JSON line holds, as a JSON array.
pub(super) const MESSAGE: &str = "__message";
/// Lines of JSON from which the columns are found.
const SHAPE_LINES: usize = 1000;

/// Reads JSON lines in batches.
pub(super) struct JsonBatches {
    schema: SchemaRef,
    /// What the columns were found from.
    shape: Columns,
    /// Paths, with dots, at which whatever stands there is read as JSON text.
    raw: Vec<String>,
    /// What [`BODY`] is made of.
    body: Vec<BodyField>,
    /// Whether each record is a message, which goes into [`MESSAGE`].
    has_messages: bool,
    lines: Lines,
    /// Whether records are objects that may go over several lines.
    is_laid_out: bool,
    /// Records that were read to find the columns and not yet handed out.
    ahead: VecDeque<(u64, Vec<u8>)>,
}

impl JsonBatches {
    /// Reads as much as it takes to know the columns.
    pub(super) fn open(lines: Lines) -> Result<Self, TraceError> {
        let mut batches = Self {
            schema: Arc::new(Schema::empty()),
            shape: Columns::default(),
            raw: Vec::new(),
            body: Vec::new(),
            has_messages: false,
            lines,
            is_laid_out: false,
            ahead: VecDeque::new(),
        };
        batches.find_columns()?;
        batches.schema = Arc::new(Schema::new(batches.shape.fields()));
        Ok(batches)
    }

    /// Returns the columns of the file.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Adds the columns of another file to these, in which they are null.
    pub(super) fn add_columns_of(&mut self, other: &Self) {
        self.shape.add_all(&other.shape);
        self.schema = Arc::new(Schema::new(self.shape.fields()));
    }

    /// Adds the columns of objects like `like`, and has `raw` ones hold JSON text.
    ///
    /// Where it `is_narrow`, objects have no fields but those of `like`, whatever the file has.
    pub(super) fn expect_columns(
        &self,
        (like, raw): (&[Map<String, Value>], &[String]),
        is_narrow: bool,
    ) -> Fields {
        let mut expected = Columns::default();
        like.iter().for_each(|object| expected.add(object));
        let mut shape = self.shape.clone();
        shape.add_all(&expected);
        raw.iter().for_each(|name| shape.set_plain(name));
        if is_narrow {
            shape.narrow(&expected);
        }
        shape.fields()
    }

    /// Reads lines with these columns, whatever the first ones of the file promise; what they do not
    /// have is passed over, whatever it is.
    pub(super) fn read_as(&mut self, columns: Fields, raw: &[String], format: &FormatInfo) {
        let is_there = |path: &&String| {
            let name = path.split('.').next().unwrap_or(path);
            columns.find(name).is_some()
        };
        self.raw = raw.iter().filter(is_there).cloned().collect();
        self.body.clone_from(&format.body);
        self.has_messages = format.has_messages;
        self.schema = Arc::new(Schema::new(columns));
    }

    /// Reads the next rows and the line of each; none at the end of the file.
    pub(super) fn next_batch(&mut self) -> Result<Option<(RecordBatch, Vec<u64>)>, TraceError> {
        let mut bytes = Vec::new();
        let mut lines = Vec::new();
        let mut starts = Vec::new();
        while lines.len() < BATCH_ROWS && bytes.len() < BATCH_BYTES {
            if !lines.is_empty() && self.ahead.is_empty() && self.lines.may_wait() {
                break;
            }
            let start = bytes.len();
            let Some(line) = self.next_record(&mut bytes)? else {
                break;
            };
            starts.push(start);
            lines.push(line);
        }
        if lines.is_empty() {
            return Ok(None);
        }
        match self.decode(&bytes, lines.len()) {
            Ok(batch) => Ok(Some((batch, lines))),
            Err(error) => {
                let ends = starts.iter().skip(1).copied().chain([bytes.len()]);
                let records = starts.iter().copied().zip(ends);
                Err(self.find_bad_record(
                    &bytes,
                    records.map(|(start, end)| start..end).zip(&lines),
                    &error,
                ))
            }
        }
    }

    fn next_record(&mut self, into: &mut Vec<u8>) -> Result<Option<u64>, TraceError> {
        if let Some((line, record)) = self.ahead.pop_front() {
            into.extend_from_slice(&record);
            return Ok(Some(line));
        }
        let start = into.len();
        let line = self.lines.begin_record(into)?;
        if line.is_some() && self.is_laid_out {
            self.finish_object(into, start)?;
        }
        Ok(line)
    }

    /// Appends lines until the object that begins at `start` is closed, or the file ends. The line
    /// breaks inside it become spaces: JSON has none in its texts.
    fn finish_object(&mut self, into: &mut Vec<u8>, start: usize) -> Result<(), TraceError> {
        let mut nesting = Nesting::default();
        let mut read = start;
        loop {
            for byte in &into[read..] {
                nesting.take(*byte);
            }
            read = into.len();
            if nesting.depth == 0 || !self.lines.append_line(into, start)? {
                break;
            }
        }
        let end = into.len().saturating_sub(1);
        for byte in &mut into[start..end] {
            if *byte == b'\n' {
                *byte = b' ';
            }
        }
        Ok(())
    }

    fn find_columns(&mut self) -> Result<(), TraceError> {
        let mut ahead = VecDeque::new();
        let mut bytes_ahead = 0;
        while ahead.len() < SHAPE_LINES && bytes_ahead < BATCH_BYTES {
            if !ahead.is_empty() && self.lines.may_wait() {
                break;
            }
            let mut record = Vec::new();
            let Some(line) = self.next_record(&mut record)? else {
                break;
            };
            let mut object = serde_json::from_slice(&record);
            // The first line of a file has no end, but the file goes on: it is laid out.
            if ahead.is_empty()
                && object.as_ref().is_err_and(serde_json::Error::is_eof)
                && self.lines.has_more()
            {
                self.is_laid_out = true;
                self.finish_object(&mut record, 0)?;
                object = serde_json::from_slice(&record);
            }
            let bad_row = |message| self.lines.bad_row(line, message);
            let object = object.map_err(|_| bad_row(problem(&record, "")))?;
            let fields = fields_in(&object);
            if fields > COLUMNS_MAX {
                return Err(bad_row(too_many(fields, "fields")));
            }
            self.shape.add(&object);
            bytes_ahead += record.len();
            ahead.push_back((line, record));
        }
        self.ahead = ahead;
        Ok(())
    }

    /// Decodes whole records; fails where they don't give exactly `rows` rows.
    fn decode(&self, bytes: &[u8], rows: usize) -> Result<RecordBatch, ArrowError> {
        let plain = self.prepared(bytes)?;
        let mut decoder = arrow::json::ReaderBuilder::new(self.schema())
            .with_batch_size(rows + 1)
            .with_coerce_primitive(true)
            .build_decoder()?;
        decoder.decode(plain.as_deref().unwrap_or(bytes))?;
        decoder
            .flush()?
            .filter(|batch| batch.num_rows() == rows)
            .ok_or_else(|| ArrowError::ParseError(format!("is not {rows} whole rows")))
    }

    /// Turns what stands in the raw columns into text, and adds [`BODY`]; none where neither is asked
    /// for.
    fn prepared(&self, bytes: &[u8]) -> Result<Option<Vec<u8>>, ArrowError> {
        if self.raw.is_empty() && self.body.is_empty() && !self.has_messages {
            return Ok(None);
        }
        let wrong = |error: serde_json::Error| ArrowError::JsonError(error.to_string());
        let mut plain = Vec::with_capacity(bytes.len() + bytes.len() / 8);
        for record in bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut object: Map<String, Value> = serde_json::from_slice(record).map_err(wrong)?;
            let body = take_body(&mut object, &self.body);
            if self.has_messages {
                let messages = Value::Array(messages_of(&object)).to_string();
                object.insert(MESSAGE.to_owned(), Value::String(messages));
            }
            if !body.is_empty() {
                let body = Value::Object(body).to_string();
                object.insert(BODY.to_owned(), Value::String(body));
            }
            for path in &self.raw {
                make_text(&mut object, path);
            }
            serde_json::to_writer(&mut plain, &object).map_err(wrong)?;
            plain.push(b'\n');
        }
        Ok(Some(plain))
    }

    /// Decodes records one by one, to say on which line the first bad one stands.
    fn find_bad_record<'a>(
        &self,
        bytes: &[u8],
        records: impl Iterator<Item = (Range<usize>, &'a u64)>,
        error: &ArrowError,
    ) -> TraceError {
        let mut first_line = None;
        for (range, &line) in records {
            first_line = first_line.or(Some(line));
            let record = &bytes[range];
            if let Err(error) = self.decode(record, 1) {
                return self
                    .lines
                    .bad_row(line, problem(record, &error.to_string()));
            }
        }
        let line = first_line.unwrap_or(0);
        self.lines.bad_row(line, error.to_string())
    }
}

/// How deep in the brackets of a JSON text one is.
#[derive(Debug, Default)]
struct Nesting {
    depth: u32,
    is_in_text: bool,
    is_escaped: bool,
}

impl Nesting {
    fn take(&mut self, byte: u8) {
        if self.is_in_text {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_text = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.is_in_text = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
    }
}

/// Returns the fields of the request's body that an object has.
fn take_body(object: &mut Map<String, Value>, wanted: &[BodyField]) -> Map<String, Value> {
    let mut body = Map::new();
    for field in wanted {
        match field {
            BodyField::Own(name) => {
                if let Some(value) = object.get(name).filter(|value| !value.is_null()) {
                    body.insert(name.clone(), value.clone());
                }
            }
            BodyField::AllOf(name) => {
                let Some(value) = object.get_mut(name) else {
                    continue;
                };
                // An object may be written as its own JSON text.
                if let Some(parsed) = value
                    .as_str()
                    .and_then(|text| serde_json::from_str(text).ok())
                {
                    *value = Value::Object(parsed);
                }
                if let Value::Object(fields) = value {
                    body.extend(fields.clone());
                }
            }
        }
    }
    body
}

/// Returns the messages that a line of a conversation stands for: a system prompt before its own, and
/// one for each result of a tool.
fn messages_of(line: &Map<String, Value>) -> Vec<Value> {
    const FIELDS: [&str; 5] = ["role", "content", "name", "tool_calls", "reasoning_content"];
    let mut messages = Vec::new();
    if let Some(Value::String(system)) = line.get("system") {
        messages.push(json!({ "role": "system", "content": system }));
    }
    if let Some(Value::Array(results)) = line.get("tool_results") {
        messages.extend(results.iter().map(|result| {
            json!({
                "role": "tool",
                "tool_call_id": result["tool_call_id"],
                "content": result["content"],
            })
        }));
        return messages;
    }
    let told = FIELDS.iter().filter_map(|&name| {
        let value = line.get(name).filter(|value| !value.is_null())?;
        Some((name.to_owned(), value.clone()))
    });
    let mut message: Map<String, Value> = told.collect();
    if message.contains_key("tool_calls") {
        message.entry("content").or_insert(Value::Null);
    }
    messages.push(Value::Object(message));
    messages
}

/// Puts JSON text in the place of what stands at `path`; lists on the way are gone through.
fn make_text(object: &mut Map<String, Value>, path: &str) {
    let (name, rest) = match path.split_once('.') {
        Some((name, rest)) => (name, Some(rest)),
        None => (path, None),
    };
    match (object.get_mut(name), rest) {
        (None | Some(Value::Null), _) | (Some(Value::String(_)), None) => {}
        (Some(value), None) => *value = Value::String(value.to_string()),
        (Some(Value::Object(inner)), Some(rest)) => make_text(inner, rest),
        (Some(Value::Array(items)), Some(rest)) => {
            for item in items.iter_mut().filter_map(Value::as_object_mut) {
                make_text(item, rest);
            }
        }
        (Some(_), Some(_)) => {}
    }
}

/// Says what is wrong with a line that should be one JSON object.
fn problem(record: &[u8], decoder_says: &str) -> String {
    if std::str::from_utf8(record).is_err() {
        return "is not UTF-8".to_owned();
    }
    let record = record.trim_ascii_end();
    match serde_json::from_slice::<Value>(record) {
        Ok(Value::Object(_)) => {
            let message = decoder_says.trim_start_matches("Json error: ");
            format!("does not look like the lines before it: {message}")
        }
        Ok(_) => "is not a JSON object".to_owned(),
        Err(error) => {
            let message = error.to_string();
            let message = message.split(" at line").next().unwrap_or_default();
            format!("is not JSON: {message} at column {}", error.column())
        }
    }
}

/// How many fields an object has, with those inside them; of a list the item that has most.
fn fields_in(object: &Map<String, Value>) -> usize {
    fn inside(value: &Value) -> usize {
        match value {
            Value::Object(object) => fields_in(object),
            Value::Array(items) => items.iter().map(inside).max().unwrap_or(0),
            _ => 0,
        }
    }
    object.len() + object.values().map(inside).sum::<usize>()
}
