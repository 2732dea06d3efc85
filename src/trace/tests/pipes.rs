//! Traces that come through a pipe: opened once, read as they come.

use std::io::Write;
use std::path::Path;

use rustix::fs::{CWD, Mode, mkfifoat};

use super::{Replay, Scratch, gzip, read, read_with};
use crate::trace::{Pipe, TraceError, TraceOptions};

/// Reads a trace that another thread writes into a named pipe, in pieces.
async fn read_piped(pieces: Vec<Vec<u8>>) -> Result<Replay, TraceError> {
    let scratch = Scratch::new();
    let path = scratch.folder.path().join("pipe");
    mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || write_pieces(&path, &pieces)
    });
    let replay = read(&path).await;
    writer.join().unwrap();
    replay
}

/// A reader that has seen enough closes the pipe; that is no concern of the writer's.
fn write_pieces(path: &Path, pieces: &[Vec<u8>]) {
    let mut pipe = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    for piece in pieces {
        if pipe.write_all(piece).is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_trace_comes_through_a_pipe_as_from_a_file() {
    let mut pieces = vec![b"TIMESTAMP,ContextTokens,GeneratedTokens\n".to_vec()];
    for second in 0..50 {
        // Pieces end in the middle of lines.
        pieces.push(format!("2026-01-05 09:00:{second:02},1,").into_bytes());
        pieces.push(b"2\n".to_vec());
    }
    let packed = gzip(&pieces.concat());
    let replay = read_piped(pieces).await.unwrap();
    assert_eq!(replay.rows.len(), 50);
    assert_eq!(replay.span_ns(), 49_000_000_000);
    let from_gzip = read_piped(vec![packed]).await.unwrap();
    assert_eq!(from_gzip.rows, replay.rows);
}

#[tokio::test]
async fn what_one_reader_takes_from_a_pipe_the_next_one_reads_again() {
    let rows: String = (0..50_000).map(|row| format!("{row},7,2\n")).collect();
    let text = format!("arrival_ns,input_tokens,output_tokens\n{rows}");
    for bytes in [gzip(text.as_bytes()), text.into_bytes()] {
        let scratch = Scratch::new();
        let path = scratch.folder.path().join("pipe");
        mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR).unwrap();
        let pipe = Pipe::at(&path).unwrap();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || write_pieces(&path, &[bytes])
        });
        let options = TraceOptions {
            path,
            pipe: Some(pipe.clone()),
            ..TraceOptions::default()
        };
        let mut first = crate::trace::open(&options).await.unwrap();
        assert_eq!(first.next().await.unwrap().unwrap().arrival_ns, 0);
        drop(first);
        pipe.forget();
        let last = read_with(&options).await.unwrap();
        assert_eq!(last.rows.len(), 50_000);
        assert_eq!(last.span_ns(), 49_999);
        writer.join().unwrap();
    }
}

#[tokio::test]
async fn parquet_through_a_pipe_is_refused() {
    let error = read_piped(vec![b"PAR1....".to_vec()]).await.unwrap_err();
    assert!(error.to_string().contains("Parquet from a pipe"), "{error}");
}
