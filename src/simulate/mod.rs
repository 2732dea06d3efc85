//! The simulated server: an engine that is a pure state machine under a thin HTTP front.
//!
//! The [`engine`] knows no clock and no socket: time goes in, events come out. [`server`] runs it
//! in real time behind the OpenAI API, [`virtual_time`] runs it at the speed of the processor,
//! straight into the rows of a tape. Both therefore saturate in the same way, and what a
//! statistic makes of a tape can be proven on thousands of runs.
//!
//! Tokens are counted, not computed: a word of the prompt is a token of input (an entry is, where
//! the prompt is a list of ids), and each token of output is one word.

mod answer;
mod draw;
pub mod engine;
mod metrics;
mod protocol;
mod realtime;
pub mod server;
pub mod settings;
pub mod stamp;
mod template;
pub mod virtual_time;
mod words;

use std::io;

pub use server::serve;
pub use settings::{EngineSettings, ServerSettings};

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
    /// The listener failed.
    #[error("could not serve on the listening socket")]
    Listener(#[source] io::Error),
}

#[cfg(test)]
mod tests;
