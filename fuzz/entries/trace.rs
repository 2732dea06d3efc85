//! Readers of traces: any file is read, or refused with a message that says where, without a panic.
//!
//! Input: a byte that chooses the format (0: by the file's columns) and whether the file is gzipped,
//! then the file.

use std::io::Write;

use tokentape::runtime::block_on;
use tokentape::trace::{TraceError, TraceOptions, formats, open};

/// Most rows that are read of one input.
const ROWS: usize = 10_000;

pub(crate) fn check(bytes: &[u8]) {
    let [kind, text @ ..] = bytes else { return };
    let formats = formats();
    let chosen = usize::from(kind & 0x7f) % (formats.len() + 1);
    let folder = scratch();
    let path = folder.path().join("trace");
    let options = TraceOptions {
        path: path.clone(),
        format: chosen
            .checked_sub(1)
            .and_then(|index| formats.get(index))
            .map(|format| format.name.clone()),
        ..TraceOptions::default()
    };
    let file = std::fs::File::create(&path).unwrap();
    write(file, text, kind & 0x80 != 0).unwrap();
    if let Err(error) = block_on(read(&options)).unwrap() {
        let message = error.to_string();
        assert!(!message.trim().is_empty());
        assert!(
            message.len() < 64 << 10,
            "a message of {} bytes",
            message.len()
        );
    }
}

/// Reads all rows, which come in order and from the start of the schedule on.
async fn read(options: &TraceOptions) -> Result<(), TraceError> {
    let mut reader = open(options).await?;
    let mut last_ns = 0;
    for _ in 0..ROWS {
        let Some(row) = reader.next().await? else {
            break;
        };
        assert!(row.arrival_ns >= last_ns, "{row:?} after {last_ns}");
        last_ns = row.arrival_ns;
    }
    let counts = reader.counts();
    assert!(counts.taken <= counts.read, "{counts:?}");
    Ok(())
}

fn write(mut file: std::fs::File, text: &[u8], is_packed: bool) -> std::io::Result<()> {
    if !is_packed {
        return file.write_all(text);
    }
    // Stored and not deflated, so that the fuzzer's bytes are those that are read.
    let mut packed = flate2::write::GzEncoder::new(file, flate2::Compression::none());
    packed.write_all(text)?;
    packed.finish().map(drop)
}

/// Makes a folder in memory where the system has one.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}
