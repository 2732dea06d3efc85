//! The scraper: reads every source each second, until the run is over and once after that.
//!
//! Each source has a task of its own, so that one that hangs holds up no other. The tasks share one
//! thread, which gives way to those that measure.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::error::ScrapeError;
use super::series::SeriesBook;
use super::source::{Reader, Source};
use crate::capture::manifest::MetricSource;
use crate::capture::schema::ServerRow;
use crate::secrets::Secrets;
use crate::time::clock::Clock;

/// Time between two scrapes of a source.
const INTERVAL: Duration = Duration::from_secs(1);

/// How long the scrape after the end of the run may take.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

/// Where rows go. Returns false where there is no room for them.
pub type ServerRows = Arc<dyn Fn(Vec<ServerRow>) -> bool + Send + Sync>;

/// Scrapes the sources of a run.
pub struct Scraper {
    /// What is scraped.
    pub sources: Vec<Source>,
    /// What must not be repeated of what a page says.
    pub secrets: Secrets,
    /// The run's clock.
    pub clock: Clock,
    /// Where rows go.
    pub rows: ServerRows,
}

impl Scraper {
    /// Scrapes until `over` says so or its sender is gone, and once more then. `first` is dropped
    /// when every source has been scraped once, or could not be.
    pub async fn scrape<F: Clone + Send + 'static>(
        self,
        first: F,
        over: watch::Receiver<bool>,
    ) -> Vec<MetricSource> {
        let next = Arc::<AtomicU32>::default();
        let count = u32::try_from(self.sources.len()).unwrap_or(u32::MAX).max(1);
        let mut tasks = JoinSet::new();
        for (index, source) in (0..).zip(&self.sources) {
            let task = SourceTask {
                reader: Reader::open(source, &self.secrets),
                book: SeriesBook::new(source.shown(), self.secrets.clone(), Arc::clone(&next)),
                clock: self.clock,
                rows: Arc::clone(&self.rows),
                answered_ns: self.clock.now_ns(),
                found: MetricSource {
                    source: source.shown().to_owned(),
                    ..MetricSource::default()
                },
            };
            // So that not all of them are read at the same moment.
            let offset = INTERVAL * index / count;
            let (first, over) = (first.clone(), over.clone());
            tasks.spawn(async move { (index, task.work(first, over, offset).await) });
        }
        drop(first);
        let mut found = tasks.join_all().await;
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, source)| source).collect()
    }
}

/// What scrapes one source.
struct SourceTask {
    reader: Result<Reader, ScrapeError>,
    book: SeriesBook,
    clock: Clock,
    rows: ServerRows,
    /// When the last answer came; before the first, when the run began.
    answered_ns: i64,
    found: MetricSource,
}

impl SourceTask {
    async fn work<F>(
        mut self,
        first: F,
        mut over: watch::Receiver<bool>,
        offset: Duration,
    ) -> MetricSource {
        let began_ns = self.clock.now_ns();
        self.scrape_unless(&mut over).await;
        drop(first);
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => {}
            () = sleep(offset) => {}
        }
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        if offset.is_zero() {
            // The first scrape was it.
            ticks.reset();
        }
        loop {
            tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => break,
                _ = ticks.tick() => {}
            }
            self.scrape_unless(&mut over).await;
        }
        if timeout(LAST_PATIENCE, self.scrape()).await.is_err() {
            self.fail(format!(
                "no answer within {} s of the end of the run",
                LAST_PATIENCE.as_secs()
            ));
        }
        let since_ns = self.answered_ns.max(began_ns);
        self.note_gap(self.clock.now_ns() - since_ns);
        self.found.series = self.book.count() as u64;
        self.found
    }

    /// Scrapes, unless the run is over first: what hangs then is left.
    async fn scrape_unless(&mut self, over: &mut watch::Receiver<bool>) {
        tokio::select! {
            biased;
            _ = over.wait_for(|over| *over) => {}
            () = self.scrape() => {}
        }
    }

    async fn scrape(&mut self) {
        let page = match &mut self.reader {
            Ok(reader) => reader.read().await,
            Err(error) => Err(error.clone()),
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return self.fail(error.reason()),
        };
        let at_ns = self.clock.now_ns();
        let taken = self.book.take(&page, at_ns);
        if taken.samples == 0 {
            return self.fail("it served a page without a sample".to_owned());
        }
        self.found.left_out = self.found.left_out.max(taken.left_out);
        if !(self.rows)(taken.rows) {
            return self.fail("what came before had not been written to the tape".to_owned());
        }
        self.found.scrapes += 1;
        self.note_gap(at_ns - self.answered_ns);
        self.answered_ns = at_ns;
    }

    fn fail(&mut self, reason: String) {
        self.found.failed += 1;
        self.found.last_failure = Some(reason);
    }

    fn note_gap(&mut self, gap_ns: i64) {
        self.found.longest_gap_ns = self.found.longest_gap_ns.max(gap_ns);
    }
}
