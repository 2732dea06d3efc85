//! Splits a text into records and says on which line each begins.
//!
//! A record is a line, or several where a CSV field in quotes holds line breaks. CRLF, a missing
//! last line break, blank lines and a byte order mark are no part of any record.

use std::io::{self, BufRead, Read};

use super::file::Input;

/// Longest record, in bytes: a quote that is never closed would otherwise take the whole file.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads records from a text.
pub(super) struct Lines {
    input: Input,
    /// Whether quotes can hold line breaks.
    is_quoted: bool,
    /// What stands between two fields; any that is known until the header has told.
    separator: Option<u8>,
    /// Whether records are JSON objects that may go over several lines.
    is_laid_out: bool,
    is_pipe: bool,
    line: u64,
}

/// Why there is no next record.
#[derive(Debug)]
pub(super) enum LineError {
    /// The file can't be read.
    Read(io::Error),
    /// The record that begins on this line has no end in sight.
    Endless(u64),
}

impl Lines {
    /// Reads `input` from its start.
    pub(super) fn new(input: Input, is_quoted: bool, is_pipe: bool) -> Self {
        Self {
            input,
            is_quoted,
            separator: None,
            is_laid_out: false,
            is_pipe,
            line: 0,
        }
    }

    /// Has fields end at `separator`.
    pub(super) fn set_separator(&mut self, separator: u8) {
        self.separator = Some(separator);
    }

    /// Appends the next record and one `\n` to `into`; returns its line, or none at the end.
    pub(super) fn read_record(&mut self, into: &mut Vec<u8>) -> Result<Option<u64>, LineError> {
        let start = into.len();
        loop {
            let first_line = self.line + 1;
            if !self.append_line(into, start)? {
                return Ok(None);
            }
            let mut field = Field::Start;
            let mut read = start;
            while self.is_quoted {
                for byte in &into[read..] {
                    field = field.after(*byte, self.separator);
                }
                read = into.len();
                if field != Field::InQuotes {
                    break;
                }
                if !self.append_line(into, start)? {
                    return Err(LineError::Endless(first_line));
                }
            }
            if !into[start..].trim_ascii().is_empty() {
                if self.is_laid_out {
                    self.finish_object(into, start)?;
                }
                return Ok(Some(first_line));
            }
            into.truncate(start);
        }
    }

    /// Has records from here on be JSON objects that may go over several lines, and reads the one on
    /// whose first line `record` has stopped to its end.
    pub(super) fn lay_out(&mut self, record: &mut Vec<u8>) -> Result<(), LineError> {
        self.is_laid_out = true;
        self.finish_object(record, 0)
    }

    /// Appends lines until the object that begins at `start` is closed, or the file ends. The line
    /// breaks inside it become spaces: JSON has none in its texts.
    fn finish_object(&mut self, into: &mut Vec<u8>, start: usize) -> Result<(), LineError> {
        let mut nesting = Nesting::default();
        let mut read = start;
        loop {
            for byte in &into[read..] {
                nesting.take(*byte);
            }
            read = into.len();
            if nesting.depth == 0 || !self.append_line(into, start)? {
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

    /// Returns whether the next record would have to wait for a pipe's writer.
    pub(super) fn may_wait(&self) -> bool {
        self.is_pipe && !self.input.buffer().contains(&b'\n')
    }

    /// Returns whether bytes of a further line have been read already.
    pub(super) fn has_more(&self) -> bool {
        !self.input.buffer().trim_ascii().is_empty()
    }

    /// Returns the number of the last line that was read.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Appends one line with `\n` as its end; returns false where there is none.
    fn append_line(&mut self, into: &mut Vec<u8>, record_start: usize) -> Result<bool, LineError> {
        let line_start = into.len();
        let room = (record_start + RECORD_BYTES_MAX).saturating_sub(line_start);
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let read = (&mut self.input)
            .take(room)
            .read_until(b'\n', into)
            .map_err(LineError::Read)?;
        if read == 0 && room > 0 {
            return Ok(false);
        }
        self.line += 1;
        if into.last() != Some(&b'\n') {
            if into.len() - record_start >= RECORD_BYTES_MAX {
                return Err(LineError::Endless(self.line));
            }
            into.push(b'\n');
        }
        if into.ends_with(b"\r\n") {
            into.truncate(into.len() - 2);
            into.push(b'\n');
        }
        if self.line == 1 && into[line_start..].starts_with(b"\xef\xbb\xbf") {
            into.drain(line_start..line_start + 3);
        }
        Ok(true)
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

/// Where in a CSV field one is, as the decoder has it (RFC 4180): only a quote at the start of a field
/// opens it, and one inside another field is a character like any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Start,
    Plain,
    InQuotes,
    /// Behind a quote that closes the field, unless another one follows.
    AfterQuote,
}

impl Field {
    fn after(self, byte: u8, separator: Option<u8>) -> Self {
        let ends = byte == b'\n'
            || separator.map_or(matches!(byte, b',' | b';' | b'\t'), |other| byte == other);
        match (self, byte) {
            (Self::InQuotes, b'"') => Self::AfterQuote,
            (Self::InQuotes, _) | (Self::Start | Self::AfterQuote, b'"') => Self::InQuotes,
            _ if ends => Self::Start,
            _ => Self::Plain,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::{LineError, Lines};

    fn lines(text: &'static str, is_quoted: bool) -> Lines {
        Lines::new(BufReader::new(Box::new(text.as_bytes())), is_quoted, false)
    }

    fn records(text: &'static str, is_quoted: bool) -> Vec<(u64, String)> {
        let mut lines = lines(text, is_quoted);
        let mut records = Vec::new();
        let mut bytes = Vec::new();
        while let Some(line) = lines.read_record(&mut bytes).unwrap() {
            records.push((line, String::from_utf8(std::mem::take(&mut bytes)).unwrap()));
        }
        records
    }

    #[test]
    fn line_ends_and_blank_lines_are_no_part_of_records() {
        let expected = [(1, "a\n".to_owned()), (4, "b\n".to_owned())];
        assert_eq!(records("a\n\n\nb\n", false), expected);
        assert_eq!(records("a\r\n\r\n \r\nb", false), expected);
        assert_eq!(records("\u{feff}a\n\n\nb\n\n\n", false), expected);
    }

    #[test]
    fn quotes_hold_line_breaks_in_csv_alone() {
        assert_eq!(
            records("\"a\nb\",1\nc,2", true),
            [(1, "\"a\nb\",1\n".to_owned()), (3, "c,2\n".to_owned())]
        );
        assert_eq!(records("\"a\nb\"", false).len(), 2);
        assert_eq!(records("\"say \"\"hi\"\"\",1\nx", true).len(), 2);
        assert_eq!(records("a;\"b\nc\",\"d\n\"\nx", true).len(), 2);
    }

    #[test]
    fn a_quote_inside_a_field_is_a_character() {
        assert_eq!(records("a,5\" disk\nb,c\nd,\"e\"f\"\n", true).len(), 3);
        let mut lines = lines("a;\"b\n\";c\na,\"b\nc\n", true);
        lines.set_separator(b';');
        let mut bytes = Vec::new();
        let found: Vec<Option<u64>> = (0..4)
            .map(|_| lines.read_record(&mut bytes).unwrap())
            .collect();
        assert_eq!(found, [Some(1), Some(3), Some(4), None]);
    }

    #[test]
    fn a_long_record_in_quotes_is_read_in_one_pass() {
        // Counting from its start at each line took the square of its lines.
        let text: &'static str =
            Box::leak(format!("\"{}\",1\n", "x\n".repeat(1 << 20)).into_boxed_str());
        assert_eq!(records(text, true).len(), 1);
    }

    #[test]
    fn a_quote_that_is_never_closed_is_told_by_its_line() {
        let mut lines = lines("a\nb,\"c\nd\n", true);
        let mut bytes = Vec::new();
        assert_eq!(lines.read_record(&mut bytes).unwrap(), Some(1));
        assert!(matches!(
            lines.read_record(&mut bytes),
            Err(LineError::Endless(2))
        ));
    }
}
