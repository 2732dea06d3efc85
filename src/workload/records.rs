//! Reads the records of a text file one after the other, so that a file may be larger than memory.

use std::cell::Cell;
use std::io::{self, Read};
use std::marker::PhantomData;
use std::rc::Rc;

use serde::de::{Deserialize, DeserializeOwned, IgnoredAny};

use super::text_file::{BUFFER_BYTES, Text, Unreadable};

/// What to do about a file that ends within a record.
const CUT: &str = "it ends within a record: fetch it again, or take away what is cut off";

/// Bytes of one record.
pub(super) const MAX_RECORD_BYTES: u64 = 64 << 20;

/// Hands each record of a JSON file to a function, until that has enough: an array of them, or one after
/// the other. A record is `what` in messages. Returns whether the file was read to its end.
///
/// # Errors
///
/// Why the file can't be read on, with line and column where it is no such JSON.
pub(super) fn each_json<T: DeserializeOwned>(
    text: Text,
    what: &'static str,
    take: impl FnMut(T) -> Wants,
) -> Result<bool, Unreadable> {
    each_borrowed::<Owned<T>>(text, what, take)
}

/// Hands each record to a function as [`each_json`] does. A record may borrow from the bytes that it is
/// read from.
///
/// # Errors
///
/// As there.
pub(super) fn each_borrowed<F: Form>(
    text: Text,
    what: &'static str,
    mut take: impl FnMut(F::Record<'_>) -> Wants,
) -> Result<bool, Unreadable> {
    let mut window = Window::new(text, what);
    let is_array = window.next_byte()? == Some(b'[');
    window.skip(usize::from(is_array));
    let mut is_first = true;
    loop {
        let next = window.next_byte()?;
        match next {
            None if !is_array => return Ok(true),
            Some(b']') if is_array => break,
            Some(b',') if is_array && !is_first => {
                window.skip(1);
                window.next_byte()?;
            }
            Some(_) if is_array && !is_first => {
                return Err(window.wrong("expected `,` or `]`"));
            }
            _ => {}
        }
        is_first = false;
        if window.record::<F, _>(&mut take)? == Wants::NoMore {
            return Ok(false);
        }
    }
    window.skip(1);
    match window.next_byte()? {
        None => Ok(true),
        Some(_) => Err(window.wrong("trailing characters")),
    }
}

/// What records are read as.
pub(super) trait Form {
    /// A record, which may borrow from the file's bytes.
    type Record<'a>: Deserialize<'a>;
}

/// Records that borrow nothing.
struct Owned<T>(PhantomData<T>);

impl<T: DeserializeOwned> Form for Owned<T> {
    type Record<'a> = T;
}

/// The part of a file that is read: from the next record to as far as bytes were wanted.
struct Window {
    text: Text,
    what: &'static str,
    bytes: Vec<u8>,
    /// Where the next record begins in it.
    at: usize,
    /// The file has no more bytes.
    is_end: bool,
    /// Lines before [`Self::at`], and bytes before it on its own line.
    lines: usize,
    column: usize,
}

impl Window {
    fn new(text: Text, what: &'static str) -> Self {
        Self {
            text,
            what,
            bytes: Vec::new(),
            at: 0,
            is_end: false,
            lines: 0,
            column: 0,
        }
    }

    /// Reads as many bytes again as there are, and [`BUFFER_BYTES`] at least, up to what a record may take.
    fn read_more(&mut self) -> Result<(), Unreadable> {
        self.bytes.drain(..self.at);
        self.at = 0;
        let most = usize::try_from(MAX_RECORD_BYTES).unwrap_or(usize::MAX);
        let Some(room) = most
            .saturating_add(1)
            .checked_sub(self.bytes.len())
            .filter(|room| *room > 0)
        else {
            let mib = MAX_RECORD_BYTES >> 20;
            return Err(self.wrong(&format!("{} is over {mib} MiB", self.what)));
        };
        let wanted = self.bytes.len().max(BUFFER_BYTES).min(room);
        let mut more = self.text.by_ref().take(wanted as u64);
        let read = more.read_to_end(&mut self.bytes);
        self.is_end = read? < wanted;
        Ok(())
    }

    /// Goes to the next byte that is no white space, and returns it.
    fn next_byte(&mut self) -> Result<Option<u8>, Unreadable> {
        loop {
            let left = self.bytes.get(self.at..).unwrap_or_default();
            let blank = left.iter().take_while(|byte| byte.is_ascii_whitespace());
            self.skip(blank.count());
            match self.bytes.get(self.at) {
                Some(byte) => return Ok(Some(*byte)),
                None if self.is_end => return Ok(None),
                None => self.read_more()?,
            }
        }
    }

    /// Goes past bytes that are there.
    fn skip(&mut self, count: usize) {
        let passed = &self.bytes[self.at..self.at + count];
        self.lines += memchr::memchr_iter(b'\n', passed).count();
        self.column = match memchr::memrchr(b'\n', passed) {
            Some(last) => count - last - 1,
            None => self.column + count,
        };
        self.at += count;
    }

    /// Reads the record that begins here, and hands it on.
    fn record<F: Form, W>(
        &mut self,
        take: &mut impl FnMut(F::Record<'_>) -> W,
    ) -> Result<W, Unreadable> {
        let mut has_more = false;
        loop {
            let left = &self.bytes[self.at..];
            let mut json = serde_json::Deserializer::from_slice(left);
            let record = F::Record::deserialize(&mut json);
            let length = json.into_iter::<IgnoredAny>().byte_offset();
            // A number may go on in bytes that are not here yet.
            let is_whole = length < left.len() || self.is_end;
            match record.map(|record| is_whole.then(|| take(record))) {
                Ok(Some(taken)) => {
                    self.skip(length);
                    return Ok(taken);
                }
                Ok(None) => {}
                // What is cut may look wrong.
                Err(error) if self.is_end || (has_more && !error.is_eof()) => {
                    return Err(self.told(&error));
                }
                Err(_) => has_more = true,
            }
            self.read_more()?;
        }
    }

    /// An error of the record that begins here, with its place in the file.
    fn told(&self, error: &serde_json::Error) -> Unreadable {
        let (mut line, mut column) = (error.line(), error.column());
        let said = error.to_string();
        let place = format!(" at line {line} column {column}");
        let what = said.strip_suffix(&place).unwrap_or(&said);
        if let (0, Some(above)) = (column, line.checked_sub(2)) {
            // A line that ends where it must not.
            let lines = self.bytes[self.at..].split(|byte| *byte == b'\n');
            (line, column) = (
                above + 1,
                lines.map(<[u8]>::len).nth(above).unwrap_or(0) + 1,
            );
        }
        let before = if line <= 1 { self.column } else { 0 };
        let mut why = placed(what, self.lines + line.max(1), before + column);
        why.hint = error.is_eof().then_some(CUT);
        why
    }

    /// An error at the next byte.
    fn wrong(&self, what: &str) -> Unreadable {
        placed(what, self.lines + 1, self.column + 1)
    }
}

fn placed(what: &str, line: usize, column: usize) -> Unreadable {
    format!("{what} at line {line} column {column}").into()
}

/// Whether more records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    More,
    NoMore,
}

/// A reader that fails where one record takes too much.
pub(super) struct Capped<R> {
    inner: R,
    left: Rc<Cell<u64>>,
    what: &'static str,
}

/// Bytes that a [`Capped`] may still give before the next record is done.
pub(super) struct Cap(Rc<Cell<u64>>);

impl Cap {
    /// A record is done.
    pub(super) fn renew(&self) {
        self.0.set(MAX_RECORD_BYTES);
    }
}

/// Caps what one record may take of a reader; a record is `what` in the message.
pub(super) fn capped<R: Read>(inner: R, what: &'static str) -> (Capped<R>, Cap) {
    let left = Rc::new(Cell::new(MAX_RECORD_BYTES));
    let capped = Capped {
        inner,
        left: Rc::clone(&left),
        what,
    };
    (capped, Cap(left))
}

impl<R: Read> Read for Capped<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.get().checked_sub(read as u64);
        self.left.set(left.ok_or_else(|| {
            let mib = MAX_RECORD_BYTES >> 20;
            io::Error::other(format!("{} is over {mib} MiB", self.what))
        })?);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::Value;

    use super::*;
    use crate::workload::text_file;

    fn read(bytes: &[u8]) -> Result<Vec<Value>, Unreadable> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut records = Vec::new();
        let text = text_file::open(file.path()).unwrap();
        each_json(text, "a record", |record| {
            records.push(record);
            Wants::More
        })?;
        Ok(records)
    }

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(bytes).unwrap();
        packed.finish().unwrap()
    }

    #[test]
    fn an_array_and_lines_are_the_same_records_packed_or_not() {
        let array = b"\xef\xbb\xbf\n [1, {\"a\": 2}]\n".as_slice();
        let lines = b"1\n{\"a\": 2}".as_slice();
        let records = read(array).unwrap();
        assert_eq!(records, [1.into(), serde_json::json!({ "a": 2 })]);
        for bytes in [lines, &packed(array), &packed(lines)] {
            assert_eq!(read(bytes).unwrap(), records);
        }
        assert!(read(b"").unwrap().is_empty());
        assert!(read(b"[1] 2").unwrap_err().message.contains("trailing"));
        assert!(read(b"1\nPAR1").unwrap_err().message.contains("line 2"));
    }

    #[test]
    fn what_is_wrong_has_its_place_in_the_file() {
        let errors = [
            "[1, {\"a\": }]",
            "[{\"a\": 1}\n, {\"a\": 2\n, \"b\" 3}]",
            "[1 2]",
            "[1,]",
            "[1",
            "\n\n [1]\n\n2",
            "{\"a\": 1}\n{\"b\": \"\n\"}",
            "{} ]",
        ]
        .map(|text| read(text.as_bytes()).unwrap_err().message);
        insta::assert_snapshot!(errors.join("\n"), @r"
        expected value at line 1 column 11
        expected `:` at line 3 column 7
        expected `,` or `]` at line 1 column 4
        expected value at line 1 column 4
        EOF while parsing a value at line 1 column 2
        trailing characters at line 5 column 1
        control character (\u0000-\u001F) found while parsing a string at line 2 column 8
        expected value at line 1 column 4
        ");
    }

    /// Gives one byte at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn records_longer_than_a_buffer_are_read_whole() {
        let long = "\u{e9}".repeat(BUFFER_BYTES);
        let text = format!("[\"{long}\", 1234567, \"{long}\", true , 1e3]");
        let all = read(text.as_bytes()).unwrap();
        let wanted = serde_json::json!([long, 1_234_567, long, true, 1e3]);
        assert_eq!(Value::Array(all), wanted);
        // Wherever the bytes are cut.
        for pad in 0..12 {
            let filler = " ".repeat(BUFFER_BYTES - pad);
            let text = format!("{filler}[1e3, \"\u{e9}\\u00e9\"]");
            assert_eq!(
                read(text.as_bytes()).unwrap(),
                [serde_json::json!(1e3), "\u{e9}\u{e9}".into()]
            );
        }
        let slow: Text = Box::new(BufReader::with_capacity(1, Trickle(b"{\"a\": 1} 2")));
        let mut records = Vec::new();
        let is_whole = each_json(slow, "a record", |record: Value| {
            records.push(record);
            Wants::More
        });
        assert_eq!((is_whole, records.len()), (Ok(true), 2));
    }

    #[test]
    fn a_file_is_read_until_there_is_enough() {
        for text in ["[1, 2, 3, not JSON", "1\n2\n3\nnot JSON"] {
            let text: Text = Box::new(io::Cursor::new(text.to_owned()));
            let mut sum = 0;
            let is_whole = each_json(text, "a record", |record: i32| {
                sum += record;
                match sum < 6 {
                    true => Wants::More,
                    false => Wants::NoMore,
                }
            });
            assert_eq!((is_whole, sum), (Ok(false), 6));
        }
    }

    #[test]
    fn a_record_without_an_end_takes_bounded_memory() {
        let endless = io::Cursor::new(b"[\"".to_vec()).chain(io::repeat(b'a'));
        let text: Text = Box::new(BufReader::new(endless));
        let read = each_json::<Value>(text, "a record", |_| Wants::More);
        assert!(
            read.unwrap_err()
                .message
                .starts_with("a record is over 64 MiB")
        );
    }
}
