//! How far a log can be believed: up to the first message that is torn or damaged.
//!
//! Arrow's reader makes room for what a message says of its lengths before it has looked at them,
//! so that one flipped bit could ask for more memory than there is. Here every length is held
//! against what the file has, and the reader is given no more than what passed.

use std::io::{self, Read};

use arrow::ipc::{Int, Message, MessageHeader, RecordBatch, Schema, Type, root_as_message};

/// What begins every message of an IPC stream, before the length of its metadata.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes before the metadata: [`CONTINUATION`] and a length.
const PREFIX_BYTES: u64 = 8;

/// A byte of LZ4 stands for fewer bytes than this.
const MOST_EXPANSION: i64 = 256;

/// The part of a stream that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Size of the whole messages at its start, in bytes.
    pub(super) bytes: u64,
    /// Something that is no whole message follows.
    pub(super) is_torn: bool,
}

/// Finds the extent of a stream that is `length` bytes long, and reads it on the way.
///
/// # Errors
///
/// Those of `stream`; a stream that is shorter than `length` is torn.
pub(super) fn extent(stream: &mut impl Read, length: u64) -> io::Result<Extent> {
    let mut bytes = 0;
    let mut buffer = Vec::new();
    while bytes < length {
        match read_message(stream, length - bytes, &mut buffer)? {
            Found::Message(size) => bytes += size,
            Found::EndMark => {
                bytes += PREFIX_BYTES;
                return Ok(Extent {
                    bytes,
                    is_torn: false,
                });
            }
            Found::Damage => {
                return Ok(Extent {
                    bytes,
                    is_torn: true,
                });
            }
        }
    }
    Ok(Extent {
        bytes,
        is_torn: false,
    })
}

/// What stands next in a stream.
enum Found {
    /// A whole message of this size.
    Message(u64),
    EndMark,
    Damage,
}

/// Reads the next message; `left` is what the stream still has.
fn read_message(stream: &mut impl Read, left: u64, buffer: &mut Vec<u8>) -> io::Result<Found> {
    if !read_exactly(stream, PREFIX_BYTES, left, buffer)? || !buffer.starts_with(&CONTINUATION) {
        return Ok(Found::Damage);
    }
    let left = left - PREFIX_BYTES;
    let metadata_length = match buffer[4..] {
        [a, b, c, d] => i32::from_le_bytes([a, b, c, d]),
        _ => return Ok(Found::Damage),
    };
    if metadata_length == 0 {
        return Ok(Found::EndMark);
    }
    let Ok(metadata_length) = u64::try_from(metadata_length) else {
        return Ok(Found::Damage);
    };
    if !read_exactly(stream, metadata_length, left, buffer)? {
        return Ok(Found::Damage);
    }
    let left = left - metadata_length;
    let metadata = std::mem::take(buffer);
    let Ok(message) = root_as_message(&metadata) else {
        return Ok(Found::Damage);
    };
    let Ok(body_length) = u64::try_from(message.bodyLength()) else {
        return Ok(Found::Damage);
    };
    if !read_exactly(stream, body_length, left, buffer)? || !is_sound(&message, buffer) {
        return Ok(Found::Damage);
    }
    Ok(Found::Message(PREFIX_BYTES + metadata_length + body_length))
}

/// Reads `length` bytes; false when the stream does not have them.
fn read_exactly(
    stream: &mut impl Read,
    length: u64,
    left: u64,
    buffer: &mut Vec<u8>,
) -> io::Result<bool> {
    buffer.clear();
    if length > left {
        return Ok(false);
    }
    let read = stream.take(length).read_to_end(buffer)?;
    Ok(u64::try_from(read).is_ok_and(|read| read == length))
}

/// Says whether all buffers of a message lie in its body and none claims to unpack beyond reason.
fn is_sound(message: &Message<'_>, body: &[u8]) -> bool {
    match message.header_type() {
        MessageHeader::Schema => message.header_as_schema().is_some_and(has_sound_fields),
        MessageHeader::RecordBatch => message
            .header_as_record_batch()
            .is_some_and(|batch| has_sound_buffers(batch, body)),
        MessageHeader::DictionaryBatch => message
            .header_as_dictionary_batch()
            .and_then(|dictionary| dictionary.data())
            .is_some_and(|batch| has_sound_buffers(batch, body)),
        _ => false,
    }
}

/// Says whether a schema has columns of the types alone that tapes have: of others Arrow's reader
/// expects that they are well formed.
fn has_sound_fields(schema: Schema<'_>) -> bool {
    let is_sound_int =
        |int: Option<Int<'_>>| int.is_some_and(|int| [8, 16, 32, 64].contains(&int.bitWidth()));
    schema.fields().is_some_and(|fields| {
        fields.iter().all(|field| {
            let dictionary = field.dictionary();
            field.name().is_some()
                && field.children().is_none_or(|children| children.is_empty())
                && dictionary.is_none_or(|dictionary| is_sound_int(dictionary.indexType()))
                && match field.type_type() {
                    Type::Int => is_sound_int(field.type_as_int()),
                    Type::Utf8 | Type::Bool => true,
                    _ => false,
                }
        })
    })
}

fn has_sound_buffers(batch: RecordBatch<'_>, body: &[u8]) -> bool {
    let is_packed = batch.compression().is_some();
    let mut buffers = batch.buffers().into_iter().flatten();
    buffers.all(|buffer| {
        let range = usize::try_from(buffer.offset())
            .ok()
            .zip(usize::try_from(buffer.length()).ok());
        let bytes = range.and_then(|(start, length)| body.get(start..)?.get(..length));
        bytes.is_some_and(|bytes| !is_packed || bytes.is_empty() || unpacks_soundly(bytes))
    })
}

/// A packed buffer begins with its unpacked length, or -1 where it is stored as it is.
fn unpacks_soundly(bytes: &[u8]) -> bool {
    let Some((prefix, packed)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    let packed = i64::try_from(packed.len()).unwrap_or(i64::MAX);
    let most = packed.saturating_mul(MOST_EXPANSION);
    (-1..=most).contains(&i64::from_le_bytes(*prefix))
}

#[cfg(test)]
mod tests {
    use arrow::ipc::reader::StreamReader;

    use super::*;
    use crate::capture::schema::{ProbeRow, TapeRow};
    use crate::capture::wal::stream_writer;

    /// Returns a stream of a few batches, and where its messages end.
    fn stream() -> (Vec<u8>, Vec<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut writer = stream_writer::<ProbeRow>(&path).unwrap();
        let mut ends = vec![0];
        for at_ns in 0..3 {
            writer.write(&ProbeRow::batch(&[row(at_ns)])).unwrap();
            writer.flush().unwrap();
        }
        let bytes = std::fs::read(&path).unwrap();
        let mut rest = bytes.as_slice();
        let mut buffer = Vec::new();
        while let Found::Message(size) =
            read_message(&mut rest, bytes.len() as u64, &mut buffer).unwrap()
        {
            ends.push(ends.last().unwrap() + size);
        }
        (bytes, ends)
    }

    fn row(at_ns: i64) -> ProbeRow {
        ProbeRow {
            at_ns,
            worker: 0,
            runtime_lag_max_ns: 1,
            cpu_ns: None,
            in_flight: 1,
            queued: 0,
            channel_fill: 0,
            rss_bytes: None,
            reads: 1,
            events: 1,
            capture_stalls: 0,
        }
    }

    fn extent_of(bytes: &[u8]) -> Extent {
        extent(&mut &*bytes, bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_whole_stream_is_read_whole_and_a_cut_one_up_to_a_message() {
        let (bytes, ends) = stream();
        assert_eq!(ends.len(), 5, "a schema and three batches");
        assert_eq!(ends.last(), Some(&(bytes.len() as u64)));
        for cut in 0..=bytes.len() {
            let found = extent_of(&bytes[..cut]);
            let expected = ends.iter().rfind(|end| **end <= cut as u64).unwrap();
            assert_eq!(found.bytes, *expected);
            assert_eq!(found.is_torn, *expected < cut as u64);
        }
        let ended = [bytes.as_slice(), &CONTINUATION, &[0; 4], b"more"].concat();
        assert!(!extent_of(&ended).is_torn);
    }

    #[test]
    fn a_length_that_was_damaged_is_never_believed() {
        let (bytes, ends) = stream();
        let second = usize::try_from(ends[1]).unwrap();
        for length in [i32::MIN, -8, i32::MAX, 1 << 20] {
            let mut damaged = bytes.clone();
            damaged[second + 4..second + 8].copy_from_slice(&length.to_le_bytes());
            assert_eq!(extent_of(&damaged).bytes, ends[1]);
            assert!(extent_of(&damaged).is_torn);
        }
    }

    #[test]
    fn wherever_a_bit_flips_what_is_taken_for_good_can_be_read_or_refused() {
        let (bytes, _) = stream();
        for position in 0..bytes.len() {
            for mask in [0x80, 0x02] {
                let mut damaged = bytes.clone();
                damaged[position] ^= mask;
                let extent = usize::try_from(extent_of(&damaged).bytes).unwrap();
                let Ok(reader) = StreamReader::try_new(&damaged[..extent], None) else {
                    continue;
                };
                let batches = reader.map_while(Result::ok);
                assert!(batches.count() <= 3, "{position}: more than was written");
            }
        }
    }
}
