//! Ctrl-C: once stops sending and drains, twice gives up what is in flight, three times ends the
//! process. After a run the first ends it.

use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;

use tokio::runtime::Builder;
use tokio::sync::watch;

use super::talk::say;
use crate::error::{Error, exit};
use crate::load::{RunCounters, Stop};
use crate::runtime::block_on;
use crate::units::seconds;

/// Listens for Ctrl-C and SIGTERM for the rest of the process's life.
///
/// # Errors
///
/// [`Error::System`] when the system refuses a handler.
pub(super) fn listen() -> Result<watch::Receiver<Stop>, Error> {
    listen_and(|stop| match stop {
        Some(stop) => Answer::GoOn(in_words(stop).to_owned()),
        None => Answer::Leave("left at once".to_owned()),
    })
}

/// How far a run is, as far as it matters to Ctrl-C.
#[derive(Default)]
pub(super) struct RunStage {
    /// Time for what is in flight, in nanoseconds.
    drain_ns: i64,
    /// What it has come to so far.
    counters: Arc<RunCounters>,
    /// The tape, once it is whole.
    pub(super) tape: OnceLock<PathBuf>,
    is_sealing_said: AtomicBool,
}

impl RunStage {
    /// The stage of a run that is about to begin, with its time for what is in flight.
    pub(super) fn new(drain_ns: i64) -> Self {
        Self {
            drain_ns,
            ..Self::default()
        }
    }

    /// What the run has come to so far; a listener of its events.
    pub(super) fn counters(&self) -> Arc<RunCounters> {
        Arc::clone(&self.counters)
    }

    /// What becomes of a wish to stop, of which this is the first, the second or a later one.
    fn answer(&self, stop: Option<Stop>) -> Answer {
        if let Some(tape) = self.tape.get() {
            let name = tape.display();
            return Answer::Leave(format!(
                "interrupted: the tape is whole, its summary is left out; `tokentape analyze {name}` \
                 makes it"
            ));
        }
        let is_over = self.counters.is_over();
        if is_over && !self.is_sealing_said.swap(true, Ordering::Relaxed) {
            return Answer::GoOn(
                "the run has ended, and its tape is being finished; Ctrl-C again leaves that to \
                 `tokentape analyze`"
                    .to_owned(),
            );
        }
        if is_over {
            return Answer::Leave(
                "left: `tokentape analyze` finishes the tape from its log".to_owned(),
            );
        }
        match stop {
            Some(Stop::Drain) => Answer::GoOn(self.draining()),
            Some(stop) => Answer::GoOn(in_words(stop).to_owned()),
            None => Answer::Leave(
                "left at once: `tokentape analyze` recovers the tape from its log".to_owned(),
            ),
        }
    }

    fn draining(&self) -> String {
        let in_flight = self.counters.in_flight();
        if in_flight == 0 {
            return in_words(Stop::Drain).to_owned();
        }
        let answers = if in_flight == 1 { "answer" } else { "answers" };
        format!(
            "stopping: nothing more is sent, waiting up to {} s for {in_flight} {answers}; Ctrl-C \
             again gives them up",
            seconds(self.drain_ns)
        )
    }
}

/// As [`listen`], for a run: before its end a wish stops it, and after that the program.
///
/// # Errors
///
/// As for [`listen`].
pub(super) fn listen_for(stage: Arc<RunStage>) -> Result<watch::Receiver<Stop>, Error> {
    listen_and(move |stop| stage.answer(stop))
}

/// What is said where nobody knows what is in flight.
fn in_words(stop: Stop) -> &'static str {
    match stop {
        Stop::Leave => "leaving: what is in flight is cancelled, the tape is being finished",
        _ => "stopping: nothing more is sent; Ctrl-C again gives up what is in flight",
    }
}

/// What becomes of a wish to stop, and what is said of it.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// It is passed on.
    GoOn(String),
    /// The process ends here.
    Leave(String),
}

fn listen_and(
    answer: impl Fn(Option<Stop>) -> Answer + Send + 'static,
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
        .spawn(move || runtime.block_on(wait(&sender, signals, answer)))
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

/// What a wish to stop leaves of work that writes one file.
pub(super) const NOTHING_WRITTEN: &str = "nothing was written";

/// Does work on a trace that can be broken off by a wish to stop; returns none then, and says what that
/// left.
pub(super) fn until_interrupted<F>(work: F, left: &str) -> Result<Option<F::Output>, Error>
where
    F: Future + Send,
    F::Output: Send,
{
    let ended = block_on(async {
        tokio::select! {
            done = Box::pin(work) => Some(done),
            () = interrupted() => None,
        }
    })
    .map_err(|error| Error::System("start the SQL engine".into(), error))?;
    if ended.is_none() {
        say(&format!("interrupted: {left}"));
    }
    Ok(ended)
}

/// Waits for a wish to stop; for ever where the system refuses to pass one on.
pub(super) async fn interrupted() {
    if once().await.is_err() {
        pending::<()>().await;
    }
}

async fn wait(
    sender: &watch::Sender<Stop>,
    mut signals: Signals,
    answer: impl Fn(Option<Stop>) -> Answer,
) {
    let mut stops = [Stop::Drain, Stop::Leave].into_iter();
    while signals.next().await.is_ok() {
        let stop = stops.next();
        match answer(stop) {
            Answer::GoOn(message) => {
                // First passed on, then said: whoever reads it may rely on it. What has ended already
                // does not hear it.
                if let Some(stop) = stop {
                    let _ = sender.send(stop);
                }
                say(&message);
            }
            Answer::Leave(message) => {
                say(&message);
                leave();
            }
        }
    }
}

/// Ends the process, as a wish to stop that nothing else hears.
#[expect(
    clippy::exit,
    reason = "other threads are busy with what is to be left, and a tape is safe at any time"
)]
fn leave() -> ! {
    std::process::exit(i32::from(exit::INTERRUPTED))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::{RunEvent, RunListener};

    fn said(stage: &RunStage, stop: Option<Stop>) -> (bool, String) {
        match stage.answer(stop) {
            Answer::GoOn(message) => (true, message),
            Answer::Leave(message) => (false, message),
        }
    }

    #[test]
    fn while_a_run_sends_two_wishes_are_passed_on_and_the_third_ends_the_process() {
        let stage = RunStage::default();
        assert!(said(&stage, Some(Stop::Drain)).0);
        assert!(said(&stage, Some(Stop::Leave)).0);
        let (goes_on, message) = said(&stage, None);
        assert!(!goes_on && message.contains("recovers"), "{message}");
    }

    #[test]
    fn while_the_tape_is_finished_the_second_wish_ends_the_process() {
        let stage = RunStage::default();
        stage.counters().on_event(&RunEvent::Over);
        let (goes_on, message) = said(&stage, Some(Stop::Drain));
        assert!(
            goes_on && message.contains("the run has ended"),
            "{message}"
        );
        assert!(!said(&stage, Some(Stop::Leave)).0);
    }

    #[test]
    fn in_the_summary_the_first_wish_ends_the_process_and_names_the_tape() {
        let stage = RunStage::default();
        stage.tape.set(PathBuf::from("a.tape")).unwrap();
        let (goes_on, message) = said(&stage, Some(Stop::Drain));
        assert!(
            !goes_on && message.contains("`tokentape analyze a.tape`"),
            "{message}"
        );
    }
}
