//! The scraper as a thread of a run: its rows go to the decoder thread, which writes them to the log.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc as channels, watch};

use super::error::LoadError;
use super::recorder::Recorder;
use super::threads::{Precedence, give_way, join, runtime, spawn};
use crate::capture::manifest::MetricSource;
use crate::capture::schema::ServerRow;
use crate::scrape::{Scraper, Source};
use crate::secrets::Secrets;
use crate::time::clock::Clock;

/// How long the first scrape of all sources is waited for, before anything is sent. What a counter
/// grew by over a run is known from there on.
const FIRST_PATIENCE: Duration = Duration::from_secs(1);

/// The scraper of a run that goes on.
pub(super) struct Scraping {
    thread: JoinHandle<Vec<MetricSource>>,
    /// Says that the run is over, as its drop does.
    over: watch::Sender<bool>,
}

impl Scraping {
    /// Starts to scrape, and waits a little for what each source says before the run; none where
    /// there is no source.
    pub(super) fn start(
        (sources, secrets): (Vec<Source>, &Secrets),
        clock: Clock,
        scrapes: channels::Sender<Vec<ServerRow>>,
        recorder: &Recorder,
    ) -> Result<Option<Self>, LoadError> {
        if sources.is_empty() {
            return Ok(None);
        }
        let (over, is_over) = watch::channel(false);
        let (first, all_first): (_, Receiver<()>) = mpsc::channel();
        let scraper = Scraper {
            sources,
            secrets: secrets.clone(),
            clock,
            rows: Arc::new(move |rows| scrapes.try_send(rows).is_ok()),
        };
        let runtime = runtime("scraper")?;
        let thread = spawn("scraper", move || {
            give_way(Precedence::Scraper);
            let found = runtime.block_on(scraper.scrape(first, is_over));
            // A name that is still being looked up, or a driver that hangs, is not waited for.
            runtime.shutdown_background();
            found
        })?;
        // Nothing is ever sent: it ends with the last sender.
        let _ = all_first.recv_timeout(FIRST_PATIENCE);
        // Many series at once take the decoder thread some time, and the schedule is about to start.
        recorder.settle(FIRST_PATIENCE);
        Ok(Some(Self { thread, over }))
    }

    /// Ends it after one more scrape. Returns how the sources fared; nothing where it has died, which
    /// is no reason to lose a run.
    pub(super) fn end(self) -> Vec<MetricSource> {
        // It listens until its end.
        let _ = self.over.send(true);
        join("scraper", self.thread).unwrap_or_default()
    }
}
