//! The threads of a run: how they are started and joined, and which of them gives way.

use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Runtime};

use super::error::LoadError;

/// A runtime that stays on the calling thread.
pub(super) fn runtime(name: &'static str) -> Result<Runtime, LoadError> {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| LoadError::System(name, error))
}

/// Who gives way to whom where the threads of a run share a core: a read that waits is measured as
/// the server's, a row that is written a moment later is not. The driver gives way to nobody.
#[derive(Debug, Clone, Copy)]
pub(super) enum Precedence {
    /// What a turn waits for, after the reply before it: it goes out late where this does.
    Turns,
    /// Comes first after the driver: a request that is not prepared goes out late.
    Feed,
    DecoderThread,
    /// A page of metrics that is read a moment later is no loss.
    Scraper,
}

impl Precedence {
    /// That of the feed, where turns wait on replies or not.
    pub(super) fn of_feed(has_turns: bool) -> Self {
        match has_turns {
            true => Self::Turns,
            false => Self::Feed,
        }
    }

    /// The same of the decoder thread.
    pub(super) fn of_decoder_thread(has_turns: bool) -> Self {
        match has_turns {
            true => Self::Turns,
            false => Self::DecoderThread,
        }
    }
}

/// Lowers the calling thread's precedence, where the system allows it.
pub(super) fn give_way(precedence: Precedence) {
    #[cfg(target_os = "linux")]
    {
        let steps = match precedence {
            Precedence::Turns => 2,
            Precedence::Feed => 5,
            Precedence::DecoderThread => 10,
            Precedence::Scraper => 15,
        };
        // On Linux this is the thread's own, not that of the whole process.
        let _ = rustix::process::nice(steps);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = precedence;
}

/// DataFusion plans a trace's mapping by recursion, which needs more than a thread's usual stack.
const STACK_BYTES: usize = 16 << 20;

/// Starts a thread of the run.
pub(super) fn spawn<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, LoadError> {
    thread::Builder::new()
        .name(name.to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| LoadError::System(name, error))
}

/// Waits for a thread of the run.
pub(super) fn join<T>(name: &'static str, thread: JoinHandle<T>) -> Result<T, LoadError> {
    thread.join().map_err(|_| LoadError::Died(name))
}
