//! How far a log can be believed: up to the first message that is torn or damaged.
//!
//! Arrow's reader makes room for what a message says of its lengths before it has looked at them,
//! so that one flipped bit could ask for more memory than there is. Here every length is held
//! against what the file has, and the reader is given no more than what passed.

use std::io::{self, Read};

use arrow::ipc::{
    Int, Message, MessageHeader, Precision, RecordBatch, Schema, Type, root_as_message,
};

/// What begins every message of an IPC stream, before the length of its metadata.
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Bytes before the metadata: [`CONTINUATION`] and a length.
const PREFIX_BYTES: u64 = 8;

/// A byte of LZ4, which older builds packed their logs with, stands for fewer bytes than this.
const MOST_EXPANSION: usize = 256;

/// Size of a batch when it is unpacked, at most, in bytes: many times what is written.
const MOST_BATCH_BYTES: usize = 1 << 30;

/// What a column must look like.
#[derive(Debug, Clone, Copy)]
struct Column {
    /// Number of its buffers, of which the first says which values are null.
    buffers: usize,
    /// Size of an element of the second buffer, in bytes; of bits, those of a byte.
    width: usize,
}

/// A column of text: which are null, where each ends, the text.
const TEXT: Column = Column {
    buffers: 3,
    width: 4,
};

/// The part of a stream that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Size of the whole messages at its start, in bytes.
    pub(super) bytes: u64,
    /// What their bodies take when they are unpacked, in bytes.
    pub(super) unpacked_bytes: usize,
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
    let mut unpacked_bytes: usize = 0;
    let mut columns = Vec::new();
    let mut is_torn = false;
    while bytes < length {
        match read_message(stream, length - bytes, &mut columns)? {
            Found::Message { size, unpacked } => {
                bytes += size;
                unpacked_bytes = unpacked_bytes.saturating_add(unpacked);
            }
            Found::EndMark => {
                bytes += PREFIX_BYTES;
                break;
            }
            Found::Damage => {
                is_torn = true;
                break;
            }
        }
    }
    Ok(Extent {
        bytes,
        unpacked_bytes,
        is_torn,
    })
}

/// What stands next in a stream.
enum Found {
    /// A whole message, of this size in the stream, and of its body when it is unpacked.
    Message {
        size: u64,
        unpacked: usize,
    },
    EndMark,
    Damage,
}

/// Reads the next message; `left` is what the stream still has, `columns` how many buffers each
/// column has.
fn read_message(stream: &mut impl Read, left: u64, columns: &mut Vec<Column>) -> io::Result<Found> {
    let Some(prefix) = read_exactly(stream, PREFIX_BYTES, left)? else {
        return Ok(Found::Damage);
    };
    let left = left - PREFIX_BYTES;
    let metadata_length = match prefix.strip_prefix(&CONTINUATION) {
        Some(&[a, b, c, d]) => i32::from_le_bytes([a, b, c, d]),
        _ => return Ok(Found::Damage),
    };
    if metadata_length == 0 {
        return Ok(Found::EndMark);
    }
    let Ok(metadata_length) = u64::try_from(metadata_length) else {
        return Ok(Found::Damage);
    };
    let Some(metadata) = read_exactly(stream, metadata_length, left)? else {
        return Ok(Found::Damage);
    };
    let left = left - metadata_length;
    let Ok(message) = root_as_message(&metadata) else {
        return Ok(Found::Damage);
    };
    let Ok(body_length) = u64::try_from(message.bodyLength()) else {
        return Ok(Found::Damage);
    };
    let body = read_exactly(stream, body_length, left)?;
    let Some(unpacked) = body.and_then(|body| unpacked_size(&message, &body, columns)) else {
        return Ok(Found::Damage);
    };
    let size = PREFIX_BYTES + metadata_length + body_length;
    Ok(Found::Message { size, unpacked })
}

/// Reads `length` bytes; none when the stream does not have them.
fn read_exactly(stream: &mut impl Read, length: u64, left: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    if length > left {
        return Ok(None);
    }
    let read = stream.take(length).read_to_end(&mut bytes)?;
    let is_whole = u64::try_from(read).is_ok_and(|read| read == length);
    Ok(is_whole.then_some(bytes))
}

/// Returns the size of a message's body when it is unpacked, in bytes; none where Arrow's reader can't
/// be given the message. A schema's columns go into `columns`.
fn unpacked_size(message: &Message<'_>, body: &[u8], columns: &mut Vec<Column>) -> Option<usize> {
    match message.header_type() {
        MessageHeader::Schema => {
            *columns = message.header_as_schema().and_then(columns_of)?;
            Some(0)
        }
        MessageHeader::RecordBatch => fits(message.header_as_record_batch()?, body, columns),
        MessageHeader::DictionaryBatch => {
            fits(message.header_as_dictionary_batch()?.data()?, body, &[TEXT])
        }
        _ => None,
    }
}

/// Returns the columns of a schema; none where one is of a type that no tape has, which Arrow's
/// reader would expect to be well formed.
fn columns_of(schema: Schema<'_>) -> Option<Vec<Column>> {
    let whole_numbers = |int: Int<'_>| match int.bitWidth() {
        8 => Some(1),
        16 => Some(2),
        32 => Some(4),
        64 => Some(8),
        _ => None,
    };
    let fields = schema.fields()?.iter().map(|field| {
        field.name()?;
        let is_flat = field.children().is_none_or(|children| children.is_empty());
        let width = match field.type_type() {
            Type::Int => whole_numbers(field.type_as_int()?)?,
            Type::Utf8 => TEXT.width,
            Type::Bool => 1,
            Type::FloatingPoint => match field.type_as_floating_point()?.precision() {
                Precision::DOUBLE => 8,
                _ => return None,
            },
            _ => return None,
        };
        let column = match field.dictionary() {
            Some(dictionary) => Column {
                buffers: 2,
                width: whole_numbers(dictionary.indexType()?)?,
            },
            None if field.type_type() == Type::Utf8 => TEXT,
            None => Column { buffers: 2, width },
        };
        is_flat.then_some(column)
    });
    fields.collect()
}

/// Returns the size of a batch when it is unpacked, where all its buffers lie in its body, neither one
/// nor all claim to unpack beyond reason, those that say which values are null are as long as they
/// have to be, and the others hold whole elements.
fn fits(batch: RecordBatch<'_>, body: &[u8], columns: &[Column]) -> Option<usize> {
    let is_packed = batch.compression().is_some();
    // Only types that no tape has come with these.
    let variadic = batch.variadicBufferCounts();
    variadic
        .is_none_or(|counts| counts.is_empty())
        .then_some(())?;
    let lengths = batch.buffers()?.iter().map(|buffer| {
        let start = usize::try_from(buffer.offset()).ok()?;
        let length = usize::try_from(buffer.length()).ok()?;
        unpacked_length(body.get(start..)?.get(..length)?, is_packed)
    });
    let lengths: Vec<usize> = lengths.collect::<Option<_>>()?;
    let total = lengths
        .iter()
        .try_fold(0, |sum: usize, length| sum.checked_add(*length));
    let total = total.filter(|total| *total <= MOST_BATCH_BYTES)?;
    let nodes = batch.nodes()?;
    let mut rest = lengths.as_slice();
    for (node, column) in nodes.iter().zip(columns) {
        let (own, others) = rest.split_at_checked(column.buffers)?;
        rest = others;
        let (nulls, values) = (*own.first()?, *own.get(1)?);
        let bitmap_bytes = usize::try_from(node.length()).ok()?.div_ceil(8);
        let has_room = node.null_count() == 0 || nulls >= bitmap_bytes;
        let is_whole = values >= bitmap_bytes && values.is_multiple_of(column.width);
        (node.length() == batch.length() && has_room && is_whole).then_some(())?;
    }
    (nodes.len() == columns.len() && rest.is_empty()).then_some(total)
}

/// Returns the size that a buffer claims; a packed one begins with it, or with -1 where it is
/// stored as it is.
fn unpacked_length(bytes: &[u8], is_packed: bool) -> Option<usize> {
    if !is_packed || bytes.is_empty() {
        return Some(bytes.len());
    }
    let (prefix, packed) = bytes.split_first_chunk::<8>()?;
    match i64::from_le_bytes(*prefix) {
        -1 => Some(packed.len()),
        claimed => usize::try_from(claimed)
            .ok()
            .filter(|claimed| *claimed <= packed.len().saturating_mul(MOST_EXPANSION)),
    }
}

#[cfg(test)]
mod tests {
    use arrow::ipc::CompressionType;
    use arrow::ipc::reader::StreamReader;

    use super::*;
    use crate::capture::folder::Folder;
    use crate::capture::schema::ProbeRow;
    use crate::capture::wal::stream_writer;

    const PACKINGS: [Option<CompressionType>; 2] = [None, Some(CompressionType::LZ4_FRAME)];

    /// Returns a stream of a few batches, and where its messages end.
    fn stream(packing: Option<CompressionType>) -> (Vec<u8>, Vec<u64>) {
        let folder = tempfile::tempdir().unwrap();
        let opened = Folder::open(folder.path()).unwrap();
        let mut writer = stream_writer::<ProbeRow>(&opened, "log", packing).unwrap();
        let mut ends = vec![0];
        for at_ns in 0..3 {
            writer.write(&ProbeRow::batch(&[row(at_ns)])).unwrap();
            writer.flush().unwrap();
        }
        let bytes = std::fs::read(opened.path("log")).unwrap();
        let mut rest = bytes.as_slice();
        let mut columns = Vec::new();
        while let Found::Message { size, .. } =
            read_message(&mut rest, bytes.len() as u64, &mut columns).unwrap()
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
            unlogged_max_ns: None,
        }
    }

    fn extent_of(bytes: &[u8]) -> Extent {
        extent(&mut &*bytes, bytes.len() as u64).unwrap()
    }

    #[test]
    fn a_whole_stream_is_read_whole_and_a_cut_one_up_to_a_message() {
        for (bytes, ends) in PACKINGS.map(stream) {
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
    }

    #[test]
    fn a_length_that_was_damaged_is_never_believed() {
        let (bytes, ends) = stream(None);
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
        for (bytes, _) in PACKINGS.map(stream) {
            for position in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= if position % 2 == 0 { 0x80 } else { 0x02 };
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
