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
mod error;
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

use tokio::net::TcpListener;

pub use error::SimulateError;
pub use settings::{EngineSettings, ServerSettings};

/// The backend that its chats are asked for with.
pub const CHAT_BACKEND: &str = "openai-chat";

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

#[cfg(test)]
mod tests;
