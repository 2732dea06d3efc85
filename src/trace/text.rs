//! Reads CSV and JSON lines into batches, and knows the line of every row.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use serde_json::{Map, Value, json};

use super::error::{Place, TraceError, quoted};
use super::file::Input;
use super::format::{BodyField, FormatInfo};
use super::lines::{LineError, Lines};
use super::shape::Columns;
use super::source::{BODY, MESSAGE};

/// Most rows in a batch.
pub(super) const BATCH_ROWS: usize = 8192;
/// Bytes after which a batch is closed, so that long lines don't make it huge.
const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Most columns of a file, and fields of a line with those inside them: to tell more of them apart takes
/// the square of their number.
const MOST_COLUMNS: usize = 2_000;

/// Lines of JSON from which the columns are found.
const SHAPE_LINES: usize = 1000;

/// Reads a text in batches.
pub(super) struct TextBatches {
    path: PathBuf,
    schema: SchemaRef,
    /// What the columns of JSON lines were found from; none of CSV.
    shape: Option<Columns>,
    /// Paths, with dots, at which whatever stands there is read as JSON text.
    raw: Vec<String>,
    /// What [`BODY`] is made of.
    body: Vec<BodyField>,
    /// Whether each record is a message, which goes into [`MESSAGE`].
    has_messages: bool,
    lines: Lines,
    /// What stands between the fields of a CSV file.
    separator: u8,
    /// Records that were read to find the columns and not yet handed out.
    ahead: VecDeque<(u64, Vec<u8>)>,
}

impl TextBatches {
    /// Reads as much as it takes to know the columns.
    pub(super) fn open(
        path: &Path,
        input: Input,
        is_json: bool,
        is_pipe: bool,
    ) -> Result<Self, TraceError> {
        let mut batches = Self {
            path: path.to_owned(),
            schema: Arc::new(Schema::empty()),
            shape: None,
            raw: Vec::new(),
            body: Vec::new(),
            has_messages: false,
            lines: Lines::new(input, !is_json, is_pipe),
            separator: b',',
            ahead: VecDeque::new(),
        };
        if is_json {
            let shape = batches.find_json_columns()?;
            batches.schema = Arc::new(Schema::new(shape.fields()));
            batches.shape = Some(shape);
        } else {
            batches.schema = batches.read_csv_header()?;
        }
        Ok(batches)
    }

    /// Returns the columns of the file.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns whether these are JSON lines.
    pub(super) fn is_json(&self) -> bool {
        self.shape.is_some()
    }

    /// Adds the columns of another file of JSON lines to these, in which they are null.
    pub(super) fn add_columns_of(&mut self, other: &Self) {
        if let (Some(shape), Some(other)) = (&mut self.shape, &other.shape) {
            shape.add_all(other);
            self.schema = Arc::new(Schema::new(shape.fields()));
        }
    }

    /// Adds the columns of objects like `like`, and has `raw` ones hold JSON text.
    ///
    /// Where it `is_narrow`, objects have no fields but those of `like`, whatever the file has.
    pub(super) fn expect_columns(
        &self,
        (like, raw): (&[Map<String, Value>], &[String]),
        is_narrow: bool,
    ) -> Option<Fields> {
        let mut expected = Columns::default();
        like.iter().for_each(|object| expected.add(object));
        let mut shape = self.shape.clone()?;
        shape.add_all(&expected);
        raw.iter().for_each(|name| shape.set_plain(name));
        if is_narrow {
            shape.narrow(&expected);
        }
        Some(shape.fields())
    }

    /// Reads JSON lines with these columns, whatever the first ones of the file promise; what they do
    /// not have is passed over, whatever it is.
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
        let read = self.lines.read_record(into);
        read.map_err(|error| self.line_error(error))
    }

    fn line_error(&self, error: LineError) -> TraceError {
        match error {
            LineError::Read(source) => TraceError::Read {
                path: self.path.clone(),
                place: Place::Line(self.lines.line()),
                source,
            },
            LineError::Endless(line) => self.bad_row(
                line,
                "a quote is never closed, or the line has no end".to_owned(),
            ),
        }
    }

    fn read_csv_header(&mut self) -> Result<SchemaRef, TraceError> {
        let mut header = Vec::new();
        let Some(line) = self.next_record(&mut header)? else {
            return Err(TraceError::Empty {
                path: self.path.clone(),
            });
        };
        let header = String::from_utf8(header).map_err(|_| TraceError::NotText {
            path: self.path.clone(),
        })?;
        let header = header.trim_end();
        // A name that holds a comma is in quotes: without one, others separate.
        let separators = [',', ';', '\t'].into_iter();
        let separator = separators
            .max_by_key(|&separator| (split_header(header, separator).len(), separator == ','))
            .unwrap_or(',');
        self.separator = u8::try_from(separator).unwrap_or(b',');
        self.lines.set_separator(self.separator);
        let names = split_header(header, separator);
        if !names.is_empty() && names.iter().all(|name| is_value(name)) {
            return Err(TraceError::NoHeader {
                path: self.path.clone(),
            });
        }
        if names.len() > MOST_COLUMNS {
            return Err(self.bad_row(line, too_many(names.len(), "columns")));
        }
        for (position, name) in names.iter().enumerate() {
            if names[..position].contains(name) {
                return Err(
                    self.bad_row(line, format!("two columns are called `{}`", quoted(name)))
                );
            }
        }
        let fields: Vec<Field> = names
            .into_iter()
            .map(|name| Field::new(name, DataType::Utf8, true))
            .collect();
        Ok(Arc::new(Schema::new(fields)))
    }

    fn find_json_columns(&mut self) -> Result<Columns, TraceError> {
        let mut columns = Columns::default();
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
                let laid_out = self.lines.lay_out(&mut record);
                laid_out.map_err(|error| self.line_error(error))?;
                object = serde_json::from_slice(&record);
            }
            let object = object.map_err(|_| self.bad_row(line, json_problem(&record, "")))?;
            let fields = fields_in(&object);
            if fields > MOST_COLUMNS {
                return Err(self.bad_row(line, too_many(fields, "fields")));
            }
            columns.add(&object);
            bytes_ahead += record.len();
            ahead.push_back((line, record));
        }
        self.ahead = ahead;
        Ok(columns)
    }

    /// Decodes whole records; fails where they don't give exactly `rows` rows.
    fn decode(&self, bytes: &[u8], rows: usize) -> Result<RecordBatch, ArrowError> {
        let schema = Arc::clone(&self.schema);
        let batch = if self.is_json() {
            let plain = self.prepared(bytes)?;
            let mut decoder = arrow::json::ReaderBuilder::new(schema)
                .with_batch_size(rows + 1)
                .with_coerce_primitive(true)
                .build_decoder()?;
            decoder.decode(plain.as_deref().unwrap_or(bytes))?;
            decoder.flush()?
        } else {
            let mut decoder = arrow::csv::ReaderBuilder::new(schema)
                .with_delimiter(self.separator)
                .with_batch_size(rows + 1)
                .build_decoder();
            let mut taken = 0;
            while taken < bytes.len() {
                taken += match decoder.decode(&bytes[taken..])? {
                    0 => break,
                    some => some,
                };
            }
            decoder.flush()?
        };
        batch
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
                return self.bad_row(line, self.problem(record, &error));
            }
        }
        self.bad_row(first_line.unwrap_or(0), error.to_string())
    }

    fn problem(&self, record: &[u8], error: &ArrowError) -> String {
        if std::str::from_utf8(record).is_err() {
            return "is not UTF-8".to_owned();
        }
        let error = error.to_string();
        if self.is_json() {
            return json_problem(record, &error);
        }
        match error.split_once(", expected ") {
            Some((_, counts)) => format!("has the wrong number of fields: expected {counts}"),
            None => error,
        }
    }

    fn bad_row(&self, line: u64, message: String) -> TraceError {
        TraceError::BadRow {
            path: self.path.clone(),
            place: Place::Line(line),
            message,
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
fn json_problem(record: &[u8], decoder_says: &str) -> String {
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

/// Returns whether a column's name looks like a value: it is a number, or nothing.
fn is_value(name: &str) -> bool {
    name.is_empty() || name.parse::<f64>().is_ok()
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

fn too_many(found: usize, what: &str) -> String {
    format!("it has {found} {what}, and at most {MOST_COLUMNS} are read")
}

/// Splits a header into column names; quotes can hold separators.
fn split_header(header: &str, separator: char) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut is_inside = false;
    let mut characters = header.chars().peekable();
    while let Some(character) = characters.next() {
        let is_doubled = is_inside && characters.peek() == Some(&'"');
        match character {
            '"' if is_doubled => {
                characters.next();
                push_last(&mut names, '"');
            }
            '"' => is_inside = !is_inside,
            other if other == separator && !is_inside => names.push(String::new()),
            other => push_last(&mut names, other),
        }
    }
    names
        .into_iter()
        .map(|name| name.trim().to_owned())
        .collect()
}

fn push_last(names: &mut [String], character: char) {
    if let Some(last) = names.last_mut() {
        last.push(character);
    }
}

#[cfg(test)]
mod tests {
    use super::split_header;

    #[test]
    fn headers_split_at_commas_outside_quotes() {
        assert_eq!(split_header("a, b ,c", ','), ["a", "b", "c"]);
        assert_eq!(
            split_header(r#""a,b","say ""hi""",c"#, ','),
            ["a,b", "say \"hi\"", "c"]
        );
        assert_eq!(split_header("a,,b", ','), ["a", "", "b"]);
        assert_eq!(split_header("a;\"b;c\"", ';'), ["a", "b;c"]);
    }
}
