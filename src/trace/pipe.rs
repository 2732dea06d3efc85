//! A trace that comes through a pipe, opened more than once: looked at before a run, then replayed.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A pipe or a device. What one reader has taken from it, the next one reads again.
///
/// Memory holds what has been read until [`Pipe::forget`].
#[derive(Debug, Clone)]
pub struct Pipe(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    path: PathBuf,
    /// Opened by the first reader: opening a named pipe waits for its writer.
    file: Option<File>,
    read: Vec<u8>,
    is_kept: bool,
}

/// Reads a pipe from its start.
#[derive(Debug)]
pub(super) struct PipeReader {
    pipe: Pipe,
    position: usize,
}

impl Pipe {
    /// Returns the pipe at `path`, where it is neither a file nor a folder.
    pub fn at(path: &Path) -> Option<Self> {
        let kind = fs::metadata(path).ok()?.file_type();
        if kind.is_file() || kind.is_dir() {
            return None;
        }
        Some(Self(Arc::new(Mutex::new(State {
            path: path.to_owned(),
            file: None,
            read: Vec::new(),
            is_kept: true,
        }))))
    }

    /// The next reader is the last one: what it has taken is not kept.
    pub fn forget(&self) {
        self.lock().is_kept = false;
    }

    /// Returns a reader that starts where the pipe started.
    ///
    /// # Errors
    ///
    /// The pipe can't be opened.
    pub(super) fn reader(&self) -> io::Result<PipeReader> {
        let mut state = self.lock();
        if state.file.is_none() {
            state.file = Some(File::open(&state.path)?);
        }
        drop(state);
        Ok(PipeReader {
            pipe: self.clone(),
            position: 0,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.pipe.lock();
        let mut known = state.read.get(self.position..).unwrap_or_default();
        if !known.is_empty() {
            let length = known.read(buffer)?;
            self.position += length;
            return Ok(length);
        }
        if !state.is_kept {
            state.read = Vec::new();
        }
        let Some(file) = &mut state.file else {
            return Ok(0);
        };
        let length = file.read(buffer)?;
        if state.is_kept {
            state.read.extend_from_slice(&buffer[..length]);
            self.position += length;
        }
        Ok(length)
    }
}
