//! What the server has done, request by request: what the tape is held against.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fault::Fault;

/// How the server's side of a request came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All that was to be written was written.
    AsPlanned,
    /// The client left.
    ClientLeft,
    /// The server was stopped.
    Outage,
}

/// One request as the server saw it.
///
/// The text of token `i` is ` SERIAL.i`, so it need not be kept. Times are UTC, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Names the request, since no two prompts are the same.
    pub(crate) prompt: u64,
    pub(crate) serial: u32,
    pub(crate) run: u16,
    pub(crate) fault: Fault,
    pub(crate) end: End,
    /// The finish reason was written.
    pub(crate) is_finished: bool,
    pub(crate) started_ns: i64,
    pub(crate) ended_ns: i64,
    /// When each whole token had been handed to the system, in microseconds since `started_ns`.
    pub(crate) written_us: Box<[u32]>,
}

impl Entry {
    /// Returns when a token had been written.
    pub(crate) fn written_ns(&self, token: usize) -> Option<i64> {
        let us = self.written_us.get(token)?;
        Some(self.started_ns + i64::from(*us) * 1_000)
    }
}

/// Returns what names a prompt.
pub(crate) fn prompt_key(prompt: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    prompt.hash(&mut hasher);
    hasher.finish()
}

/// Returns the text of a token.
pub(crate) fn token_text(serial: u32, token: usize) -> String {
    format!(" {serial}.{token}")
}

/// All that the server has done. Its threads write, the judge reads when they have ended.
#[derive(Default)]
pub(crate) struct Ledger {
    entries: Mutex<Vec<Entry>>,
    /// When the server was down, from and to.
    outages: Mutex<Vec<(i64, i64)>>,
    /// Runs in which a connection was closed before its request had been read.
    unread: Mutex<Vec<u16>>,
    next_serial: AtomicU32,
}

impl Ledger {
    pub(crate) fn next_serial(&self) -> u32 {
        self.next_serial.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn outages(&self) -> MutexGuard<'_, Vec<(i64, i64)>> {
        self.outages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn unread(&self) -> MutexGuard<'_, Vec<u16>> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
