//! Opens a trace file and finds out from its first bytes what it is; names are not trusted.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::error::TraceError;
use super::pipe::Pipe;

/// Bytes that one read asks for.
const READ_BYTES: usize = 256 * 1024;

/// Any stream of bytes, read in pieces.
pub(super) type Input = BufReader<Box<dyn Read + Send>>;

/// A trace file, by what is in it.
pub(super) enum Opened {
    /// Text, unpacked where it was gzipped.
    Text {
        /// The text from its start.
        input: Input,
        /// One JSON object a line; else CSV.
        is_json: bool,
        /// Whether a read may have to wait for a writer.
        is_pipe: bool,
    },
    /// Parquet.
    Parquet(File),
}

/// Opens a trace.
pub(super) fn open(path: &Path) -> Result<Opened, TraceError> {
    let cannot_open = |source| TraceError::Open {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => TraceError::Missing {
            path: path.to_owned(),
        },
        _ => cannot_open(source),
    })?;
    let kind = file.metadata().map_err(cannot_open)?.file_type();
    let is_regular = kind.is_file();
    if is_regular {
        let mut head = [0; 4];
        let is_parquet = file.read_exact(&mut head).is_ok() && head == *b"PAR1";
        file.rewind().map_err(cannot_open)?;
        if is_parquet {
            return Ok(Opened::Parquet(file));
        }
    }
    text(path, buffered(Box::new(file)), !is_regular)
}

/// Opens a trace that comes through a pipe.
pub(super) fn open_pipe(path: &Path, pipe: &Pipe) -> Result<Opened, TraceError> {
    let reader = pipe.reader().map_err(|source| TraceError::Open {
        path: path.to_owned(),
        source,
    })?;
    text(path, buffered(Box::new(reader)), true)
}

/// Looks into what is not Parquet.
fn text(path: &Path, mut input: Input, is_pipe: bool) -> Result<Opened, TraceError> {
    if peek(&mut input, path)?.starts_with(b"PAR1") {
        return Err(packed(
            path,
            "Parquet from a pipe, which has its index at its end",
        ));
    }
    if peek(&mut input, path)?.starts_with(&[0x1f, 0x8b]) {
        input = buffered(Box::new(MultiGzDecoder::new(input)));
        if peek(&mut input, path)?.starts_with(b"PAR1") {
            return Err(packed(path, "a gzipped Parquet file"));
        }
    }
    let is_json = is_json(path, peek(&mut input, path)?)?;
    Ok(Opened::Text {
        input,
        is_json,
        is_pipe,
    })
}

fn buffered(read: Box<dyn Read + Send>) -> Input {
    BufReader::with_capacity(READ_BYTES, read)
}

/// Returns the first bytes without taking them.
fn peek<'a>(input: &'a mut Input, path: &Path) -> Result<&'a [u8], TraceError> {
    input.fill_buf().map_err(|source| TraceError::Open {
        path: path.to_owned(),
        source,
    })
}

fn packed(path: &Path, kind: &'static str) -> TraceError {
    TraceError::Packed {
        path: path.to_owned(),
        kind,
    }
}

/// Tells JSON lines from CSV by the first bytes of a text, and refuses what is neither.
fn is_json(path: &Path, head: &[u8]) -> Result<bool, TraceError> {
    let path = || path.to_owned();
    const PACKINGS: [(&[u8], &str); 6] = [
        (b"\x28\xb5\x2f\xfd", "packed with zstd"),
        (b"\xfd7zXZ\0", "packed with xz"),
        (b"BZh", "packed with bzip2"),
        (b"PK\x03\x04", "a zip archive"),
        (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (b"\x1f\x8b", "gzipped twice"),
    ];
    for (magic, kind) in PACKINGS {
        if head.starts_with(magic) {
            return Err(TraceError::Packed { path: path(), kind });
        }
    }
    if head.get(257..262) == Some(b"ustar") {
        let kind = "a tar archive";
        return Err(TraceError::Packed { path: path(), kind });
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    if text.is_empty() {
        return Err(TraceError::Empty { path: path() });
    }
    if text.contains(&0) {
        return Err(TraceError::NotText { path: path() });
    }
    if text.starts_with(b"version https://git-lfs.github.com/spec/") {
        return Err(TraceError::LfsPointer { path: path() });
    }
    match text.first() {
        Some(b'{') => Ok(true),
        Some(b'<') => Err(TraceError::WebPage { path: path() }),
        Some(b'[') => Err(TraceError::JsonArray { path: path() }),
        _ => Ok(false),
    }
}
