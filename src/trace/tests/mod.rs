//! Whole files through the reader.

use std::io::Write;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{FormatInfo, Selection, TraceCounts, TraceError, TraceOptions, TraceRow, open};

mod bad_input;
mod conversion;
mod formats;
mod mappings;
mod odd_files;
mod pipes;
mod real_files;
mod schedules;
mod statistics;
mod streaming;
mod synthesis;
mod synthesis_real;
mod synthesis_rules;
mod turns;

/// A file that goes away with the test.
struct Scratch {
    folder: tempfile::TempDir,
}

impl Scratch {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// All that a reader gave.
#[derive(Debug)]
struct Replay {
    format: FormatInfo,
    rows: Vec<TraceRow>,
    counts: TraceCounts,
    zero_ns: Option<i64>,
}

impl Replay {
    fn span_ns(&self) -> i64 {
        self.rows.last().unwrap().arrival_ns - self.rows[0].arrival_ns
    }

    fn arrivals_ns(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row.arrival_ns).collect()
    }

    /// The rows without their places in the file.
    fn facts(&self) -> Vec<TraceRow> {
        let rows = self.rows.iter().cloned();
        rows.map(|row| TraceRow {
            number: 0,
            after: None,
            ..row
        })
        .collect()
    }

    fn lengths(&self) -> Vec<(u32, u32)> {
        let rows = self.rows.iter();
        rows.map(|row| (row.input_tokens, row.output_tokens))
            .collect()
    }
}

async fn read_with(options: &TraceOptions) -> Result<Replay, TraceError> {
    let mut reader = open(options).await?;
    let mut rows = Vec::new();
    while let Some(row) = reader.next().await? {
        rows.push(row);
    }
    Ok(Replay {
        format: reader.format().clone(),
        rows,
        counts: reader.counts(),
        zero_ns: reader.zero_ns(),
    })
}

async fn read(path: &Path) -> Result<Replay, TraceError> {
    read_selected(path, Selection::default()).await
}

async fn read_selected(path: &Path, selection: Selection) -> Result<Replay, TraceError> {
    read_with(&TraceOptions {
        path: path.to_owned(),
        selection,
        ..TraceOptions::default()
    })
    .await
}

/// The message that a trace of these bytes ends in, with the file called `trace`.
async fn message(bytes: impl AsRef<[u8]>) -> String {
    let scratch = Scratch::new();
    let path = scratch.write("trace", bytes);
    let error = read(&path).await.unwrap_err();
    error
        .to_string()
        .replace(&path.display().to_string(), "trace")
}
