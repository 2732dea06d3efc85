//! Reads CSV into batches, and knows the line of every row.
//!
//! The decoder is given one line at a time and tells whether its row has ended: quotes can hold line
//! breaks.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::csv::ReaderBuilder;
use arrow::csv::reader::Decoder;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use csv_core::{ReadRecordResult, Reader, Terminator};

use super::error::TraceError;
use super::lines::{BATCH_BYTES, BATCH_ROWS, COLUMNS_MAX, Lines, too_many};
use super::quote::quoted;

/// Bytes that the decoder reserves for a field, about: those of its text and of its end.
const FIELD_BYTES: usize = 16;

/// Reads CSV in batches.
pub(super) struct CsvBatches {
    lines: Lines,
    schema: SchemaRef,
    decoder: Decoder,
    /// Most rows in a batch: fewer where a row has many columns.
    rows_max: usize,
}

impl CsvBatches {
    /// Reads the header.
    pub(super) fn open(mut lines: Lines) -> Result<Self, TraceError> {
        let (names, separator) = read_header(&mut lines)?;
        let rows_max = BATCH_ROWS.min(BATCH_BYTES / (names.len() * FIELD_BYTES));
        let fields = names
            .iter()
            .map(|name| Field::new(name, DataType::Utf8, true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Self {
            decoder: ReaderBuilder::new(Arc::clone(&schema))
                .with_delimiter(separator)
                // Room for a second row, by which a line that holds two is told.
                .with_batch_size(rows_max + 1)
                .build_decoder(),
            lines,
            schema,
            rows_max,
        })
    }

    /// Returns the columns of the file.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Reads the next rows and the line of each; none at the end of the file.
    pub(super) fn next_batch(&mut self) -> Result<Option<(RecordBatch, Vec<u64>)>, TraceError> {
        let mut record = Vec::new();
        let mut bytes = 0;
        let mut lines = Vec::new();
        while lines.len() < self.rows_max && bytes < BATCH_BYTES {
            if !lines.is_empty() && self.lines.may_wait() {
                break;
            }
            record.clear();
            let Some(line) = self.lines.begin_record(&mut record)? else {
                break;
            };
            self.decode(line, &mut record)?;
            bytes += record.len();
            lines.push(line);
        }
        let Some(first_line) = lines.first() else {
            return Ok(None);
        };
        let batch = self.decoder.flush();
        let batch = batch.map_err(|error| self.lines.bad_row(*first_line, error.to_string()))?;
        Ok(batch.map(|batch| (batch, lines)))
    }

    /// Decodes the record whose first line is in `record`, and appends its further lines.
    fn decode(&mut self, line: u64, record: &mut Vec<u8>) -> Result<(), TraceError> {
        let capacity = self.decoder.capacity();
        let mut decoded = 0;
        loop {
            let part = &record[decoded..];
            if std::str::from_utf8(part).is_err() {
                return Err(self.lines.bad_row(line, "is not UTF-8".to_owned()));
            }
            if let Err(error) = self.decoder.decode(part) {
                let error = error.to_string();
                let message = match error.split_once(", expected ") {
                    Some((_, counts)) => {
                        format!("has the wrong number of fields: expected {counts}")
                    }
                    None => error,
                };
                return Err(self.lines.bad_row(line, message));
            }
            decoded = record.len();
            match capacity - self.decoder.capacity() {
                0 if !self.lines.append_line(record, 0)? => return Err(self.lines.endless(line)),
                0 => {}
                1 => return Ok(()),
                _ => {
                    let message = "has a carriage return that ends no line".to_owned();
                    return Err(self.lines.bad_row(line, message));
                }
            }
        }
    }
}

/// Reads the names of the columns, and finds out what separates them.
fn read_header(lines: &mut Lines) -> Result<(Vec<String>, u8), TraceError> {
    let mut header = Vec::new();
    let Some(line) = lines.begin_record(&mut header)? else {
        let path = lines.path().to_owned();
        return Err(TraceError::Empty { path });
    };
    // A name that holds a comma is in quotes: without one, others separate.
    let fields = |separator: &u8| {
        let (mut text, mut ends) = (vec![0; header.len()], vec![0; header.len()]);
        let mut reader = header_reader(*separator);
        let (result, _, _, ended) = reader.read_record(&header, &mut text, &mut ends);
        let open = usize::from(result != ReadRecordResult::Record);
        (ended + open, *separator == b',')
    };
    let separator = [b',', b';', b'\t'].into_iter().max_by_key(fields);
    let separator = separator.unwrap_or(b',');
    let mut reader = header_reader(separator);
    let (mut text, mut ends) = (Vec::new(), Vec::new());
    let (mut read, mut written, mut names) = (0, 0, 0);
    loop {
        text.resize(header.len(), 0);
        ends.resize(header.len(), 0);
        let (result, bytes_read, bytes_written, ended) =
            reader.read_record(&header[read..], &mut text[written..], &mut ends[names..]);
        read += bytes_read;
        written += bytes_written;
        names += ended;
        if result == ReadRecordResult::Record {
            break;
        }
        if !lines.append_line(&mut header, 0)? {
            return Err(lines.endless(line));
        }
    }
    if names > COLUMNS_MAX {
        return Err(lines.bad_row(line, too_many(names, "columns")));
    }
    let names = named(&text, &ends[..names]).ok_or_else(|| TraceError::NotText {
        path: lines.path().to_owned(),
    })?;
    if names.iter().all(|name| is_value(name)) {
        let path = lines.path().to_owned();
        return Err(TraceError::NoHeader { path });
    }
    for (position, name) in names.iter().enumerate() {
        if names[..position].contains(name) {
            let message = format!("two columns are called `{}`", quoted(name));
            return Err(lines.bad_row(line, message));
        }
    }
    Ok((names, separator))
}

fn header_reader(separator: u8) -> Reader {
    csv_core::ReaderBuilder::new()
        .delimiter(separator)
        .terminator(Terminator::Any(b'\n'))
        .build()
}

/// Returns the names that end at `ends`; none where they are not UTF-8.
fn named(text: &[u8], ends: &[usize]) -> Option<Vec<String>> {
    let starts = [0].into_iter().chain(ends.iter().copied());
    let names = starts.zip(ends).map(|(start, &end)| {
        let name = std::str::from_utf8(&text[start..end]).ok()?.trim();
        // A space before a quote has it be a character of the name.
        let inner = name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'));
        Some(inner.unwrap_or(name).to_owned())
    });
    names.collect()
}

/// Returns whether a column's name looks like a value: it is a number, or nothing.
fn is_value(name: &str) -> bool {
    name.is_empty() || name.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::path::Path;

    use arrow::array::AsArray;

    use super::{CsvBatches, Lines, TraceError, read_header};

    fn lines(text: &str) -> Lines {
        let input = BufReader::new(Box::new(std::io::Cursor::new(text.to_owned())) as _);
        Lines::new(Path::new("t"), input, false)
    }

    fn header(text: &str) -> Vec<String> {
        read_header(&mut lines(text)).unwrap().0
    }

    /// Reads all rows: the line of each, and its first field.
    fn rows(text: &str) -> Result<Vec<(u64, String)>, TraceError> {
        let mut csv = CsvBatches::open(lines(text))?;
        let mut rows = Vec::new();
        while let Some((batch, lines)) = csv.next_batch()? {
            let fields = batch.column(0).as_string::<i32>();
            let fields = fields.iter().map(|field| field.unwrap_or("").to_owned());
            rows.extend(lines.into_iter().zip(fields));
        }
        Ok(rows)
    }

    #[test]
    fn headers_split_at_separators_outside_quotes() {
        assert_eq!(header("a, b ,c\n"), ["a", "b", "c"]);
        assert_eq!(
            header("\"a,b\",\"say \"\"hi\"\"\",c"),
            ["a,b", "say \"hi\"", "c"]
        );
        assert_eq!(header("a,,b"), ["a", "", "b"]);
        assert_eq!(header("a;\"b;c\""), ["a", "b;c"]);
        assert_eq!(header("a\t\"b\nc\"\n1\t2"), ["a", "b\nc"]);
        assert_eq!(header("a, \"b\""), ["a", "b"]);
    }

    #[test]
    fn quotes_hold_line_breaks_and_a_row_knows_its_first_line() {
        let text = "a,b\n\n\"a\nb\",1\n \nc,2\n\"say \"\"hi\"\"\",1\n";
        let expected = [(3, "a\nb"), (6, "c"), (7, "say \"hi\"")];
        let expected = expected.map(|(line, field)| (line, field.to_owned()));
        assert_eq!(rows(text).unwrap(), expected);
    }

    #[test]
    fn a_quote_inside_a_field_is_a_character() {
        let found = rows("a;b\n5\" disk;c\na,\"b;c\nd;\"e\"f\n").unwrap();
        let expected = [(2, "5\" disk"), (3, "a,\"b"), (4, "d")];
        assert_eq!(
            found,
            expected.map(|(line, field)| (line, field.to_owned()))
        );
    }

    #[test]
    fn a_long_record_in_quotes_is_read_in_one_pass() {
        // Counting from its start at each line took the square of its lines.
        let text = format!("\"{0}\",b\n\"{0}\",1\n", "x\n".repeat(1 << 20));
        assert_eq!(rows(&text).unwrap().len(), 1);
    }

    #[test]
    fn a_record_that_has_no_end_is_told_by_its_line() {
        for (text, problem) in [
            ("a,b\n\n1,\"c\nd\n", "`t` line 3: a quote is never closed"),
            ("a,\"b\n", "`t` line 1: a quote is never closed"),
            ("a,b\n1,2\r3,4\n", "`t` line 2: has a carriage return"),
        ] {
            let error = rows(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
    }
}
