//! One run from start to end: its threads, two channels, one tape.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::clock_sync::{ClockSync, LOOK_INTERVAL};
use super::counters::{Failure, RunCounters};
use super::decoder_thread::DecoderThread;
use super::driver::{Driven, Driver};
use super::error::LoadError;
use super::events::{RunEvent, RunListener};
use super::feed::{Fed, Feed};
use super::health;
use super::limits::Limits;
use super::listeners::RunEvents;
use super::prepared::PreparedRequest;
use super::recorder::Recorder;
use super::request_sender::{CHANNEL_REQUESTS, Prefill};
use super::scraping::Scraping;
use super::self_check::{SelfCheckPlan, self_check};
use super::stop::Stop;
use super::supply::{Supply, TurnNotes};
use super::targets::{Targets, Way};
use super::threads::{Precedence, give_way, join, runtime, spawn};
use crate::capture::manifest::{ClockAnchor, Prewarmed};
use crate::capture::{Ending, Label, Manifest, TapeWriter};
use crate::plan::{RunPlan, UrlStrategy};
use crate::scrape::Source;
use crate::secrets::Secrets;
use crate::time::clock::{Clock, utc_now_ns};
use crate::time::timer::PreciseTimer;
use crate::trace::TraceCounts;
use crate::wire::{
    DirectWire, Readers, ReadingThread, ReqwestWire, Target, Wire, WireError, WireKind,
};
use crate::workload::TokenCounter;

/// Time between the decision to start and the first due time, so that the driver is already waiting
/// when the first request falls due, and it is as punctual as the others.
const LEAD_NS: i64 = 2_000_000;

/// Everything that a run needs to know.
pub struct Run {
    /// Folder of the tape.
    pub tape: PathBuf,
    /// A tape that is there already may be replaced.
    pub replaces: bool,
    /// The manifest as far as it is known; clock anchors are added.
    pub manifest: Manifest,
    /// Where requests go, each server with its name on the tape.
    pub targets: Vec<(Target, Option<Label>)>,
    /// Which of them a request goes to.
    pub url_strategy: UrlStrategy,
    /// What must not be repeated of what servers say.
    pub secrets: Secrets,
    /// What takes them there.
    pub wire: WireKind,
    /// Threads that read.
    pub readers: usize,
    /// What is sent, and when.
    pub feed: Feed,
    /// Length of the schedule in nanoseconds; nothing is sent after it.
    pub duration_ns: Option<i64>,
    /// Bounds of the run.
    pub limits: Limits,
    /// What to find out about the client before the run, if anything.
    pub self_check: Option<SelfCheckPlan>,
    /// Counts answers whose server names no usage.
    pub count_tokens: Option<TokenCounter>,
    /// Sources of metrics to scrape meanwhile.
    pub metric_sources: Vec<Source>,
    /// The user's wish to stop.
    pub stop: watch::Receiver<Stop>,
}

/// What a run came to.
#[derive(Debug)]
pub struct RunReport {
    /// The manifest of the finished tape.
    pub manifest: Manifest,
    /// Measured requests that ended well.
    pub ok: u64,
    /// Requests that failed for good, warm-ups included.
    pub failed: u64,
    /// Attempts at requests after their first one.
    pub retried: u64,
    /// Requests of the measured schedule that were taken up.
    pub taken: u64,
    /// Attempts that ended in a fault of this program.
    pub faults: u64,
    /// The run was ended early, since all requests had failed alike.
    pub has_given_up: bool,
    /// Times that a request was sent again, since the connection that had waited for it had ended.
    pub resends: u64,
    /// The first request that failed for good.
    pub first_failure: Option<Failure>,
    /// What the trace had.
    pub trace: Option<TraceCounts>,
    /// Replies of the server that turns were to hold and that were not there; made-up text stood in
    /// their place.
    pub made_up_replies: u64,
    /// Why the trace ended early. The tape has what came before.
    pub trace_error: Option<LoadError>,
}

/// Drives one run and returns when its tape is finished. `listeners` get its events.
///
/// # Errors
///
/// [`LoadError`] when the tape can't be written or the machinery can't be set up. A trace that
/// breaks off is not among them: the tape is finished, and the report has the error.
pub fn run(run: Run, mut listeners: Vec<Arc<dyn RunListener>>) -> Result<RunReport, LoadError> {
    run.limits.check()?;
    let clock = Clock::start();
    let mut manifest = run.manifest;
    manifest.clock_anchors = vec![anchor(clock)];
    let plan = manifest.plan.clone();
    let keeps_text = run.feed.template.keeps_text;
    let backend = run.feed.template.backend;
    let count = run.feed.source.known_count();
    let tape = TapeWriter::create(&run.tape, manifest, run.replaces)?;
    let turn_notes = turn_notes(&run.feed, &mut listeners);
    let events = RunEvents::to(listeners);
    let counters = Arc::clone(events.counters());
    let (decoder, recorder) =
        DecoderThread::new(tape, backend, keeps_text, run.count_tokens, events.clone());
    let (decoder, scrapes) = decoder.masking(&run.secrets).taking_scrapes();
    let precedence = Precedence::of_decoder_thread(turn_notes.is_some());
    let decoder = spawn("decoder", move || {
        give_way(precedence);
        decoder.work()
    })?;
    let sources = (run.metric_sources, &run.secrets);
    let scraping = Scraping::start(sources, clock, scrapes, &recorder)?;
    let drive = Drive {
        clock,
        targets: run.targets,
        url_strategy: run.url_strategy,
        wire: run.wire,
        readers: run.readers,
        self_check: run.self_check,
        limits: run.limits,
        duration_ns: run.duration_ns,
        stop: run.stop,
        recorder,
        turn_notes,
    };
    let driver = spawn("driver", move || drive.work(run.feed))?;
    // The driver, or the wire's reading thread, which ends with it, drops the last recorder, upon
    // which the decoder thread comes to its end, once the scraper has.
    let driven = join("driver", driver)?;
    events.emit(&RunEvent::Over);
    let metric_sources = scraping.map_or_else(Vec::new, Scraping::end);
    let tape = join("decoder", decoder)?;
    let driven = driven?;
    let (fed, trace_error) = match driven.fed {
        Ok(fed) => (fed, None),
        Err(error) => (Fed::default(), Some(error)),
    };
    let taken = driven.driven.taken + fed.unwritten;
    let never_due = count.map(|count| count.saturating_sub(taken));
    let is_complete = driven.driven.is_complete && trace_error.is_none();
    let manifest = tape?.finish(Ending {
        is_interrupted: !is_complete,
        never_due: never_due.or(is_complete.then_some(0)),
        unwritten: driven.driven.unwritten + fed.unwritten,
        without_reply: fed.without_reply,
        sessions: fed.sessions,
        clock_anchors: driven.anchors,
        bounds_hit: bounds_hit(&driven.driven, driven.stalls),
        metric_sources,
        prewarmed: prewarmed(&plan, &driven.ready),
    })?;
    Ok(RunReport {
        taken,
        faults: driven.driven.faults,
        has_given_up: driven.driven.has_given_up,
        trace: fed.trace,
        made_up_replies: fed.made_up_replies,
        trace_error,
        ..RunReport::counted(manifest, &counters)
    })
}

impl RunReport {
    /// What the events of a run came to.
    fn counted(manifest: Manifest, counters: &RunCounters) -> Self {
        Self {
            manifest,
            ok: counters.ok(),
            failed: counters.failed() + counters.unretried(),
            retried: counters.retried(),
            taken: 0,
            faults: 0,
            has_given_up: false,
            resends: counters.resends(),
            first_failure: counters.first_failure().cloned(),
            trace: None,
            made_up_replies: 0,
            trace_error: None,
        }
    }
}

/// What the feed hears of the run, where turns wait on replies.
fn turn_notes(feed: &Feed, listeners: &mut Vec<Arc<dyn RunListener>>) -> Option<TurnNotes> {
    feed.waits_on_replies().then(|| {
        let (listener, notes) = TurnNotes::channel();
        listeners.push(listener);
        notes
    })
}

/// How many of the connections were open that the user asked for; nothing where he asked for none, or
/// where the wire can't tell.
fn prewarmed(plan: &RunPlan, ready: &[Option<usize>]) -> Vec<Prewarmed> {
    let asked = plan.prewarm_connections.unwrap_or_default();
    let known = plan.urls().zip(ready).filter(|_| asked > 0);
    known
        .filter_map(|(target, open)| {
            Some(Prewarmed {
                target: target.clone(),
                asked: u64::from(asked),
                open: (*open)? as u64,
            })
        })
        .collect()
}

fn bounds_hit(driven: &Driven, stalls: u64) -> Vec<(String, u64)> {
    [
        ("in_flight", driven.in_flight_bound_hits),
        ("queue", driven.queue_bound_hits),
        ("capture_channel", stalls),
    ]
    .into_iter()
    .filter(|(_, hits)| *hits > 0)
    .map(|(name, hits)| (name.to_owned(), hits))
    .collect()
}

/// What the driver's thread owns.
struct Drive {
    clock: Clock,
    targets: Vec<(Target, Option<Label>)>,
    url_strategy: UrlStrategy,
    wire: WireKind,
    readers: usize,
    self_check: Option<SelfCheckPlan>,
    limits: Limits,
    duration_ns: Option<i64>,
    stop: watch::Receiver<Stop>,
    recorder: Arc<Recorder>,
    /// What the feed hears of, where turns wait on replies.
    turn_notes: Option<TurnNotes>,
}

/// What the driver's thread returns.
struct DriveReport {
    driven: Driven,
    /// Connections to each server that were open when the schedule started, where the wire can tell.
    ready: Vec<Option<usize>>,
    /// Waits for room on the way to the decoder thread.
    stalls: u64,
    anchors: Vec<ClockAnchor>,
    fed: Result<Fed, LoadError>,
}

impl Drive {
    fn work(self, feed: Feed) -> Result<DriveReport, LoadError> {
        let runtime = runtime("driver")?;
        let report = runtime.block_on(self.drive(feed));
        // Connections of the pool are closed with it; nothing is left to wait for.
        runtime.shutdown_background();
        report
    }

    async fn drive(self, feed: Feed) -> Result<DriveReport, LoadError> {
        let clock = self.clock;
        match self.wire {
            WireKind::Direct => {
                let readers = Readers::start(clock, self.readers)?;
                let threads = readers.threads();
                let wire_to = |target: &Target| DirectWire::new(target, clock, &readers);
                self.drive_over(wire_to, threads, feed).await
            }
            WireKind::Reqwest => {
                let wire_to = |target: &Target| ReqwestWire::new(target.clone(), clock);
                self.drive_over(wire_to, Vec::new(), feed).await
            }
        }
    }

    async fn drive_over<W: Wire>(
        self,
        wire_to: impl Fn(&Target) -> Result<W, WireError>,
        reading_threads: Vec<Arc<dyn ReadingThread>>,
        feed: Feed,
    ) -> Result<DriveReport, LoadError> {
        let clock = self.clock;
        let timer = || PreciseTimer::new().map_err(|error| LoadError::System("timer", error));
        let recorder = Arc::clone(&self.recorder);
        let slots = self.limits.max_concurrency.unwrap_or(usize::MAX);
        let ways = ways(self.targets, &wire_to)?;
        let targets = Targets::several(ways, self.url_strategy);
        let mut companions = JoinSet::new();
        let mut driver = Driver::new(
            targets,
            (clock, timer()?),
            self.recorder,
            self.limits,
            self.stop.clone(),
        );
        let anchors = Arc::new(Mutex::new(vec![anchor(clock)]));
        companions.spawn(health::watch(
            clock,
            timer()?,
            Arc::clone(&recorder),
            driver.queued(),
            reading_threads,
        ));
        companions.spawn(take_anchors(clock, Arc::clone(&anchors)));

        let warmups = feed.warmup_requests().await;
        let (sender, scheduled) = mpsc::channel(CHANNEL_REQUESTS);
        let mut supply = Supply::from(scheduled);
        let rest = supply.rest();
        let mut turns = None;
        if let Some(notes) = self.turn_notes {
            let (with_turns, sender) = supply.with_turns(notes);
            (supply, turns) = (with_turns, Some(sender));
        }
        let (prefill, is_ahead) = Prefill::new(slots);
        // It has its files before the self-check opens as many as it can.
        let feed_runtime = runtime("feed")?;
        let feeding = spawn("feed", move || {
            give_way(Precedence::of_feed(turns.is_some()));
            feed_runtime.block_on(feed.prepare(sender, prefill, turns, (rest, clock)))
        })?;
        let self_check = match self.self_check {
            Some(plan) => self_check(plan, clock, wire_to).await,
            None => None,
        };
        if let Ok(warmups) = warmups {
            warm_up(&mut driver, clock, warmups).await;
        }
        let mut stop = self.stop;
        tokio::select! {
            _ = is_ahead => {}
            // The driver will see it too, and note what was due.
            _ = stop.wait_for(|stop| *stop != Stop::No) => {}
        }
        let ready = driver.get_ready(&mut supply).await;
        let start_ns = clock.now_ns() + LEAD_NS;
        recorder.begin(start_ns, self_check);
        let driven = driver.drive(&mut supply, start_ns, self.duration_ns).await;
        drop(supply);
        // The feed ends as soon as it finds that nobody listens.
        let fed = join("feed", feeding)?;
        companions.shutdown().await;
        let mut anchors = std::mem::take(&mut *lock(&anchors));
        anchors.push(anchor(clock));
        recorder.flush().await;
        Ok(DriveReport {
            driven,
            ready,
            stalls: recorder.stalls(),
            anchors,
            fed,
        })
    }
}

/// Makes the way to each server.
fn ways<W: Wire>(
    targets: Vec<(Target, Option<Label>)>,
    wire_to: impl Fn(&Target) -> Result<W, WireError>,
) -> Result<Vec<Way<W>>, WireError> {
    let way = |(target, name): (Target, Option<Label>)| {
        Ok(Way {
            wire: wire_to(&target)?,
            name,
            address: target.address(),
        })
    };
    targets.into_iter().map(way).collect()
}

async fn warm_up(driver: &mut Driver<impl Wire>, clock: Clock, warmups: Vec<PreparedRequest>) {
    if warmups.is_empty() {
        return;
    }
    let (sender, scheduled) = mpsc::channel(warmups.len());
    for planned in warmups {
        // The channel has room for all of them.
        let _ = sender.try_send(planned);
    }
    drop(sender);
    let mut supply = Supply::from(scheduled);
    driver.drive(&mut supply, clock.now_ns(), None).await;
}

async fn take_anchors(clock: Clock, anchors: Arc<Mutex<Vec<ClockAnchor>>>) {
    let mut watch = ClockSync::default();
    if let Some(first) = lock(&anchors).last() {
        watch.look(*first);
    }
    loop {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let reading = anchor(clock);
        if watch.look(reading) {
            lock(&anchors).push(reading);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads both clocks, as close together as they come in a few tries: whoever is interrupted between
/// the two readings would shift every time of the run.
fn anchor(clock: Clock) -> ClockAnchor {
    const TRIES: usize = 5;
    let readings = (0..TRIES).map(|_| {
        let before_ns = clock.now_ns();
        let utc_ns = utc_now_ns();
        let took_ns = clock.now_ns() - before_ns;
        (took_ns, before_ns + took_ns / 2, utc_ns)
    });
    let (_, monotonic_ns, utc_ns) = readings.min().unwrap_or_default();
    ClockAnchor {
        monotonic_ns,
        utc_ns,
    }
}
