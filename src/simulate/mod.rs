//! The simulated server: an engine that is a pure state machine under a thin HTTP front.
//!
//! The [`engine`] knows no clock and no socket: time goes in, events come out. [`server`] runs it
//! in real time behind the OpenAI API, [`virtual_time`] runs it at the speed of the processor,
//! straight into the rows of a tape. Both therefore saturate in the same way, and what a
//! statistic makes of a tape can be proven on thousands of runs. [`bare`] needs no engine: its
//! streams have a pace each, and say when each token was sent.
//!
//! Tokens are counted, not computed: a word of the prompt is a token of input (an entry is, where
//! the prompt is a list of ids), and each token of output is one word.

mod answer;
mod bare;
mod draw;
pub mod engine;
mod metrics;
mod protocol;
mod realtime;
mod server;
pub mod settings;
pub mod stamp;
mod template;
pub mod virtual_time;
mod words;

use std::future::Future;
use std::io;

use tokio::net::TcpListener;

pub use settings::{EngineSettings, ServerSettings};

/// Serves until `shutdown` is ready; answers under way are then given up.
///
/// It runs on the caller's runtime, which may have one thread, and needs its I/O and its timers.
///
/// # Errors
///
/// [`SimulateError`] when the settings contradict each other, or the system refuses a timer or
/// the socket.
pub async fn serve(
    listener: TcpListener,
    settings: ServerSettings,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), SimulateError> {
    settings.check()?;
    let Some(interval_ns) = settings.bare_interval_ns()? else {
        return server::serve(listener, settings, shutdown).await;
    };
    tokio::select! {
        served = bare::serve(listener, settings, interval_ns) => served,
        () = shutdown => Ok(()),
    }
}

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

#[cfg(test)]
mod tests;
