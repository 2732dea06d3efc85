//! Why there is no simulated server.

use std::io;

/// Why the simulated server could not do its own work.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A setting makes no sense, alone or beside another.
    #[error("`{flag}` {problem}")]
    Setting {
        /// The flag that sets it.
        flag: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The precise timer could not be opened.
    #[error("could not open a timer (raise the limit on open files, `ulimit -n`)")]
    Timer(#[source] io::Error),
}
