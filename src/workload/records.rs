//! Reads the records of a text file one after the other, so that a file may be larger than memory.

use std::cell::Cell;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::marker::PhantomData;
use std::path::Path;
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;
use serde::de::{DeserializeOwned, Deserializer, SeqAccess, Visitor};

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 1 << 20;

/// Bytes of one record.
pub(super) const MAX_RECORD_BYTES: u64 = 64 << 20;

/// A text file, unpacked where its first bytes say gzip.
pub(super) type Text = Box<dyn BufRead>;

/// Opens a text file, behind its byte order mark.
pub(super) fn open(path: &Path) -> io::Result<Text> {
    let mut file = BufReader::with_capacity(BUFFER_BYTES, File::open(path)?);
    let is_packed = file.fill_buf()?.starts_with(&[0x1f, 0x8b]);
    let mut text: Text = match is_packed {
        true => Box::new(BufReader::with_capacity(
            BUFFER_BYTES,
            MultiGzDecoder::new(file),
        )),
        false => Box::new(file),
    };
    if text.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
        text.consume(3);
    }
    Ok(text)
}

/// Hands each record of a JSON file to a function, until that has enough: an array of them, or one after
/// the other. A record is `what` in messages. Returns whether the file was read to its end.
///
/// # Errors
///
/// Why the file can't be read on, with line and column where it is no such JSON.
pub(super) fn each_json<T: DeserializeOwned>(
    mut text: Text,
    what: &'static str,
    mut take: impl FnMut(T) -> Wants,
) -> Result<bool, String> {
    let first = first_byte(&mut text).map_err(|error| error.to_string())?;
    let (capped, cap) = capped(text, what);
    let mut is_over = true;
    let mut take = |record: T| {
        cap.renew();
        is_over = take(record) == Wants::More;
        match is_over {
            true => Ok(()),
            false => Err(serde::de::Error::custom("there is enough")),
        }
    };
    let mut json = serde_json::Deserializer::from_reader(BufReader::new(capped));
    let read = if first == Some(b'[') {
        let read = json.deserialize_seq(EachOf(&mut take, PhantomData));
        read.and_then(|()| json.end())
    } else {
        let mut all = json.into_iter::<T>();
        all.try_for_each(|one| take(one?))
    };
    match read {
        Err(error) if is_over => Err(error.to_string()),
        Ok(()) | Err(_) => Ok(is_over),
    }
}

/// Whether more records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wants {
    More,
    NoMore,
}

/// Returns the first byte that is no white space.
fn first_byte(text: &mut Text) -> io::Result<Option<u8>> {
    loop {
        let buffer = text.fill_buf()?;
        if buffer.is_empty() {
            return Ok(None);
        }
        let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace());
        match blank.count() {
            0 => return Ok(buffer.first().copied()),
            count => text.consume(count),
        }
    }
}

/// Hands each element of an array to a function, as it is read.
struct EachOf<'a, T, F>(&'a mut F, PhantomData<T>);

impl<'de, T, F> Visitor<'de> for EachOf<'_, T, F>
where
    T: DeserializeOwned,
    F: FnMut(T) -> Result<(), serde_json::Error>,
{
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        while let Some(record) = sequence.next_element()? {
            (self.0)(record).map_err(serde::de::Error::custom)?;
        }
        Ok(())
    }
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
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use serde_json::Value;

    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<Value>, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        let mut records = Vec::new();
        let text = open(file.path()).unwrap();
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
        assert!(read(b"[1] 2").unwrap_err().contains("trailing"));
        assert!(read(b"1\nPAR1").unwrap_err().contains("line 2"));
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
        assert!(read.unwrap_err().starts_with("a record is over 64 MiB"));
    }
}
