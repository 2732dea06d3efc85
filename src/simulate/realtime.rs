//! The engine in real time: one task owns it, and tells the connections what happened.
//!
//! Events happen at the engine's own times, not at those at which this task got round to them, so
//! that a late wake-up delays an event and shifts no later one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;
use tokio::sync::{mpsc, oneshot, watch};

use super::answer::{Departures, Outcome, Progress, Ticket};
use super::engine::{Engine, Event, EventKind, Finish, Job, Rejection};
use super::metrics::Metrics;
use super::protocol::{Ask, Refusal};
use crate::time::clock::Clock;
use crate::time::timer::PreciseTimer;

/// Requests that wait for the engine's task; those beyond wait in their connections' tasks.
const INBOX_REQUESTS: usize = 256;

/// What connections have of the engine: clones share it.
#[derive(Debug, Clone)]
pub(super) struct EngineHandle {
    inbox: mpsc::Sender<Submission>,
    departures: Arc<Departures>,
    next_request: Arc<AtomicU64>,
    /// The server's counters: the engine's task writes, `/metrics` reads.
    pub(super) metrics: Arc<Metrics>,
}

#[derive(Debug)]
struct Submission {
    job: Job,
    progress: Arc<Progress>,
    reply: oneshot::Sender<Result<(), Rejection>>,
}

impl EngineHandle {
    /// Numbers a request.
    pub(super) fn next_request(&self) -> u64 {
        self.next_request.fetch_add(1, Ordering::Relaxed)
    }

    /// Hands a request to the engine.
    pub(super) async fn submit(&self, request: u64, ask: &Ask) -> Result<Ticket, Refusal> {
        let ticket = Ticket {
            request,
            progress: Arc::default(),
            departures: Arc::clone(&self.departures),
        };
        let (reply, replied) = oneshot::channel();
        let submission = Submission {
            job: Job {
                request,
                input_tokens: ask.input_tokens,
                output_tokens: ask.output_tokens,
                finish: ask.finish,
            },
            progress: Arc::clone(&ticket.progress),
            reply,
        };
        // Where the task is gone, the submission is dropped, and with it the sender of the reply.
        let _ = self.inbox.send(submission).await;
        let refusal = match replied.await {
            Ok(Ok(())) => return Ok(ticket),
            Ok(Err(rejection)) => rejection.into(),
            Err(_) => Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "The server is shutting down.",
            ),
        };
        // The engine knows nothing of it, so that there is nothing to give up.
        ticket.progress.end(Outcome::Aborted);
        Err(refusal)
    }
}

/// The task that owns the engine.
#[derive(Debug)]
pub(super) struct EngineTask {
    engine: Engine,
    clock: Clock,
    timer: PreciseTimer,
    inbox: mpsc::Receiver<Submission>,
    departures: Arc<Departures>,
    metrics: Arc<Metrics>,
    answers: HashMap<u64, Answer>,
    /// What the engine said and the connections have not been told; empty between turns.
    events: Vec<Event>,
    max_backlog_tokens: u32,
}

#[derive(Debug)]
struct Answer {
    progress: Arc<Progress>,
    arrived_ns: i64,
    input_tokens: u32,
}

impl EngineTask {
    /// Makes the task, which does nothing until it runs, and the handle on it.
    pub(super) fn new(
        engine: Engine,
        clock: Clock,
        timer: PreciseTimer,
        max_backlog_tokens: u32,
    ) -> (Self, EngineHandle) {
        let (sender, inbox) = mpsc::channel(INBOX_REQUESTS);
        let departures = Arc::<Departures>::default();
        let metrics = Arc::<Metrics>::default();
        metrics.lock().load = engine.load();
        let handle = EngineHandle {
            inbox: sender,
            departures: Arc::clone(&departures),
            next_request: Arc::default(),
            metrics: Arc::clone(&metrics),
        };
        let task = Self {
            engine,
            clock,
            timer,
            inbox,
            departures,
            metrics,
            answers: HashMap::new(),
            events: Vec::new(),
            max_backlog_tokens,
        };
        (task, handle)
    }

    /// Runs until `stop` says so, and then gives up every answer under way.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let next_ns = self.engine.next_ns();
            let arrived = tokio::select! {
                biased;
                _ = stop.wait_for(|is_stopped| *is_stopped) => break,
                arrived = self.inbox.recv() => {
                    let Some(arrived) = arrived else { break };
                    Some(arrived)
                }
                () = self.departures.notify.notified() => None,
                () = self.timer.sleep_until(&self.clock, next_ns.unwrap_or(i64::MAX)),
                    if next_ns.is_some() => None,
            };
            self.turn(arrived);
        }
        for answer in self.answers.values() {
            answer.progress.end(Outcome::Aborted);
        }
    }

    /// Brings the engine to the present, with all that arrived or left since.
    fn turn(&mut self, arrived: Option<Submission>) {
        for request in self.departures.take() {
            if self.answers.remove(&request).is_some() {
                self.engine.cancel(request);
                self.metrics.lock().aborted += 1;
            }
        }
        let now_ns = self.clock.now_ns();
        self.advance(now_ns);
        if let Some(arrived) = arrived {
            self.take(now_ns, arrived);
            while let Ok(arrived) = self.inbox.try_recv() {
                self.take(now_ns, arrived);
            }
            self.advance(now_ns);
        }
        self.publish(now_ns);
    }

    fn advance(&mut self, now_ns: i64) {
        let Self { engine, events, .. } = self;
        engine.advance(now_ns, &mut |event| events.push(event));
    }

    fn take(&mut self, now_ns: i64, submission: Submission) {
        let Submission {
            job,
            progress,
            reply,
        } = submission;
        let request = job.request;
        let taken = self.engine.submit(now_ns, job);
        if taken.is_err() {
            self.metrics.lock().rejected += 1;
        }
        if reply.send(taken).is_err() {
            // The client left before it was told, so that nobody would ever cancel.
            self.engine.cancel(request);
            return;
        }
        if taken.is_ok() {
            let answer = Answer {
                progress,
                arrived_ns: now_ns,
                input_tokens: job.input_tokens,
            };
            self.answers.insert(request, answer);
        }
    }

    /// Counts what happened, then tells the connections.
    fn publish(&mut self, now_ns: i64) {
        let mut events = std::mem::take(&mut self.events);
        self.count(now_ns, &events);
        for event in events.drain(..) {
            match event.kind {
                EventKind::Admitted => {}
                EventKind::Token { position } => self.tell_token(event.request, position + 1),
                EventKind::Finished(finish) => self.tell_end(event.request, finish),
            }
        }
        self.events = events;
    }

    fn count(&self, now_ns: i64, events: &[Event]) {
        let mut counts = self.metrics.lock();
        counts.load = self.engine.load();
        if let Some(first) = events.first() {
            counts.lateness_max_ns = counts.lateness_max_ns.max(now_ns - first.at_ns);
        }
        for event in events {
            match event.kind {
                EventKind::Admitted => {}
                EventKind::Token { position } => {
                    counts.generation_tokens += 1;
                    if position == 0
                        && let Some(answer) = self.answers.get(&event.request)
                    {
                        let ttft_ns = event.at_ns - answer.arrived_ns;
                        counts.first_token(ttft_ns, answer.input_tokens);
                    }
                }
                EventKind::Finished(finish) => counts.finished(finish),
            }
        }
    }

    fn tell_token(&mut self, request: u64, generated: u32) {
        let Some(answer) = self.answers.get(&request) else {
            return;
        };
        answer.progress.set_generated(generated);
        let is_too_slow = answer.progress.backlog(generated) > self.max_backlog_tokens;
        // What the engine has finished costs nothing more, however late it is read.
        if !is_too_slow || !self.engine.cancel(request) {
            answer.progress.wake();
            return;
        }
        answer.progress.end(Outcome::Aborted);
        self.answers.remove(&request);
        let mut counts = self.metrics.lock();
        counts.load = self.engine.load();
        counts.slow_readers += 1;
        counts.aborted += 1;
    }

    fn tell_end(&mut self, request: u64, finish: Finish) {
        if let Some(answer) = self.answers.remove(&request) {
            answer.progress.end(Outcome::Finished(finish));
        }
    }
}
