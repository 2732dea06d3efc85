//! Ctrl-C: once stops sending and drains, twice leaves.

use std::io;
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::watch;

use super::talk::say;
use crate::error::Error;
use crate::load::{Stats, Stop};
use crate::units::seconds;

/// Listens for Ctrl-C and SIGTERM for the rest of the process's life.
///
/// # Errors
///
/// [`Error::System`] when the system refuses a handler.
pub(super) fn listen() -> Result<watch::Receiver<Stop>, Error> {
    listen_saying(|| STOPPING.to_owned())
}

/// As [`listen`], for a run with `drain_ns` for what is in flight, whose counters are known once it
/// has begun.
///
/// # Errors
///
/// As for [`listen`].
pub(super) fn listen_to_drain(
    (drain_ns, stats): (i64, Arc<OnceLock<Arc<Stats>>>),
) -> Result<watch::Receiver<Stop>, Error> {
    listen_saying(move || {
        let in_flight = stats.get().map_or(0, |stats| stats.in_flight());
        if in_flight == 0 {
            return STOPPING.to_owned();
        }
        let answers = if in_flight == 1 { "answer" } else { "answers" };
        format!(
            "stopping: nothing more is sent, waiting up to {} s for {in_flight} {answers}; Ctrl-C \
             again gives them up",
            seconds(drain_ns)
        )
    })
}

/// What is said where nobody knows what is in flight.
const STOPPING: &str = "stopping: nothing more is sent; Ctrl-C again gives up what is in flight";

fn listen_saying(
    stopping: impl Fn() -> String + Send + 'static,
) -> Result<watch::Receiver<Stop>, Error> {
    let refused = |error: io::Error| Error::System("listen for Ctrl-C".into(), error);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(refused)?;
    // From here on a signal is noted, even before anybody waits for it.
    let signals = runtime
        .block_on(async { Signals::new() })
        .map_err(refused)?;
    let (sender, receiver) = watch::channel(Stop::No);
    thread::Builder::new()
        .name("interrupt".into())
        .spawn(move || runtime.block_on(wait(&sender, signals, stopping)))
        .map_err(refused)?;
    Ok(receiver)
}

/// Waits for the first wish to stop, for work that has nothing to drain.
///
/// # Errors
///
/// Fails when the system refuses a handler.
pub(super) async fn once() -> io::Result<()> {
    Signals::new()?.next().await
}

async fn wait(sender: &watch::Sender<Stop>, mut signals: Signals, stopping: impl Fn() -> String) {
    for stop in [Stop::Drain, Stop::Leave] {
        if signals.next().await.is_err() {
            return;
        }
        let message = match stop {
            Stop::Leave => {
                "leaving: what is in flight is cancelled, the tape is being finished".to_owned()
            }
            _ => stopping(),
        };
        // First passed on, then said: whoever reads it may rely on it.
        let is_heard = sender.send(stop).is_ok();
        say(&message);
        if !is_heard {
            return;
        }
    }
}

/// The signals that wish a stop, listened to without a gap between one and the next.
#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for one wish to stop.
    async fn next(&mut self) -> io::Result<()> {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
        Ok(())
    }
}

/// The signals that wish a stop.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    /// Waits for one wish to stop.
    async fn next(&mut self) -> io::Result<()> {
        tokio::signal::ctrl_c().await
    }
}
