//! Reads a text line by line and says on which line each record begins.
//!
//! CRLF, a missing last line break, blank lines and a byte order mark are no part of any record.

use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};

use super::error::{Place, TraceError};
use super::file::Input;

/// Most rows in a batch.
pub(super) const BATCH_ROWS: usize = 8192;
/// Bytes after which a batch is closed, so that long lines don't make it huge.
pub(super) const BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Most columns of a file, and fields of a line with those inside them: to tell more of them apart takes
/// the square of their number.
pub(super) const COLUMNS_MAX: usize = 2_000;
/// Longest record, in bytes: a quote that is never closed would otherwise take the whole file.
const RECORD_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Reads records from a text.
pub(super) struct Lines {
    path: PathBuf,
    input: Input,
    is_pipe: bool,
    line: u64,
}

impl Lines {
    /// Reads `input`, the text of `path`, from its start.
    pub(super) fn new(path: &Path, input: Input, is_pipe: bool) -> Self {
        Self {
            path: path.to_owned(),
            input,
            is_pipe,
            line: 0,
        }
    }

    /// Returns the file that the text comes from.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends the next line that is not blank and one `\n` to `into`; returns its number, or none
    /// at the end.
    ///
    /// # Errors
    ///
    /// Fails where the file can't be read, and where the line is longer than a record may be.
    pub(super) fn begin_record(&mut self, into: &mut Vec<u8>) -> Result<Option<u64>, TraceError> {
        let start = into.len();
        while self.append_line(into, start)? {
            if !into[start..].trim_ascii().is_empty() {
                return Ok(Some(self.line));
            }
            into.truncate(start);
        }
        Ok(None)
    }

    /// Appends the next line and one `\n` to `into`, where a record begins at `start`; returns false
    /// at the end of the text.
    ///
    /// # Errors
    ///
    /// Fails where the file can't be read, and where the record gets too long.
    pub(super) fn append_line(
        &mut self,
        into: &mut Vec<u8>,
        start: usize,
    ) -> Result<bool, TraceError> {
        let line_start = into.len();
        let room = (start + RECORD_BYTES_MAX).saturating_sub(line_start);
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        let read = (&mut self.input).take(room).read_until(b'\n', into);
        let read = read.map_err(|source| TraceError::Read {
            path: self.path.clone(),
            place: Place::Line(self.line),
            source,
        })?;
        if read == 0 && room > 0 {
            return Ok(false);
        }
        self.line += 1;
        if into.last() != Some(&b'\n') {
            if into.len() - start >= RECORD_BYTES_MAX {
                return Err(self.endless(self.line));
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

    /// Returns whether the next record would have to wait for a pipe's writer.
    pub(super) fn may_wait(&self) -> bool {
        self.is_pipe && !self.input.buffer().contains(&b'\n')
    }

    /// Returns whether bytes of a further line have been read already.
    pub(super) fn has_more(&self) -> bool {
        !self.input.buffer().trim_ascii().is_empty()
    }

    /// Says that the record on `line` has no end in sight.
    pub(super) fn endless(&self, line: u64) -> TraceError {
        let message = "a quote is never closed, or the line has no end".to_owned();
        self.bad_row(line, message)
    }

    /// Says what is wrong with the record on `line`.
    pub(super) fn bad_row(&self, line: u64, message: String) -> TraceError {
        TraceError::BadRow {
            path: self.path.clone(),
            place: Place::Line(line),
            message,
        }
    }
}

/// Says that a file has too many columns, or a line too many fields.
pub(super) fn too_many(found: usize, what: &str) -> String {
    format!("it has {found} {what}, and at most {COLUMNS_MAX} are read")
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;
    use std::path::Path;

    use super::Lines;

    #[test]
    fn line_ends_and_blank_lines_are_no_part_of_records() {
        let records = |text: &'static str| {
            let input = BufReader::new(Box::new(text.as_bytes()) as _);
            let mut lines = Lines::new(Path::new("t"), input, false);
            let mut records = Vec::new();
            let mut bytes = Vec::new();
            while let Some(line) = lines.begin_record(&mut bytes).unwrap() {
                records.push((line, String::from_utf8(std::mem::take(&mut bytes)).unwrap()));
            }
            records
        };
        let expected = [(1, "a\n".to_owned()), (4, "b\n".to_owned())];
        assert_eq!(records("a\n\n\nb\n"), expected);
        assert_eq!(records("a\r\n\r\n \r\nb"), expected);
        assert_eq!(records("\u{feff}a\n\n\nb\n\n\n"), expected);
    }
}
