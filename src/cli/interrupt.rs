//! Ctrl-C: once stops sending and drains, twice leaves.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::watch;

use super::talk::say;
use crate::error::Error;
use crate::load::Stop;

/// Listens for Ctrl-C and SIGTERM for the rest of the process's life.
///
/// # Errors
///
/// [`Error::System`] when the system refuses a handler.
pub(super) fn listen() -> Result<watch::Receiver<Stop>, Error> {
    let refused = |error: io::Error| Error::System("listen for Ctrl-C".into(), error);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(refused)?;
    let (sender, receiver) = watch::channel(Stop::No);
    thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || runtime.block_on(wait(&sender)))
        .map_err(refused)?;
    Ok(receiver)
}

async fn wait(sender: &watch::Sender<Stop>) {
    for (stop, message) in [
        (
            Stop::Drain,
            "stopping: nothing more is sent; Ctrl-C again gives up what is in flight",
        ),
        (
            Stop::Leave,
            "leaving: what is in flight is cancelled, the tape is being finished",
        ),
    ] {
        if signal().await.is_err() {
            return;
        }
        say(message);
        if sender.send(stop).is_err() {
            return;
        }
    }
}

/// Waits for one wish to stop.
#[cfg(unix)]
pub(super) async fn signal() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        pressed = tokio::signal::ctrl_c() => pressed,
        _ = terminate.recv() => Ok(()),
    }
}

/// Waits for one wish to stop.
#[cfg(not(unix))]
pub(super) async fn signal() -> io::Result<()> {
    tokio::signal::ctrl_c().await
}
