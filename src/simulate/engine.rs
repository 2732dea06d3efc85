//! The engine: a pure state machine. Requests and time go in, events come out.
//!
//! It reads no clock, draws from nothing but its seed and has no I/O, so the same calls give the
//! same events, in real time and in virtual time. Whoever runs it asks [`Engine::next_ns`] when
//! there is something to do, and calls [`Engine::tick`] (or [`Engine::advance`]) once that time
//! has come.
//!
//! Two paces: [`batching`], the cost model of a server that batches continuously, and
//! [`streams`], where every request streams at a fixed rate of its own.

mod batching;
mod event;
mod streams;

use super::error::SimulateError;
use super::settings::EngineSettings;

pub use event::{Event, EventKind, Finish, Job, Load, Rejection};

use batching::Batching;
use streams::Streams;

/// The state of a simulated server.
#[derive(Debug)]
pub struct Engine {
    pace: Pace,
}

#[derive(Debug)]
enum Pace {
    Batching(Batching),
    Streams(Streams),
}

impl Engine {
    /// Makes an engine that has nothing to do.
    ///
    /// # Errors
    ///
    /// [`SimulateError::Setting`] when the settings contradict each other.
    pub fn new(settings: &EngineSettings) -> Result<Self, SimulateError> {
        settings.check()?;
        let pace = match settings.stream_interval_ns()? {
            Some(interval_ns) => Pace::Streams(Streams::new(settings.stream_ttft_ns, interval_ns)),
            None => Pace::Batching(Batching::new(settings.clone())),
        };
        Ok(Self { pace })
    }

    /// Takes a request that arrives at `at_ns`, which is at most [`Engine::next_ns`] and at least
    /// the time of the last event.
    ///
    /// What arrives at the instant at which a step begins is part of that step, so submit it
    /// before that tick.
    ///
    /// # Errors
    ///
    /// [`Rejection`] when the request can't be taken, now or ever; no event will name it.
    pub fn submit(&mut self, at_ns: i64, job: Job) -> Result<(), Rejection> {
        let job = Job {
            input_tokens: job.input_tokens.max(1),
            output_tokens: job.output_tokens.max(1),
            ..job
        };
        match &mut self.pace {
            Pace::Batching(batching) => batching.submit(at_ns, job),
            Pace::Streams(streams) => {
                streams.submit(at_ns, job);
                Ok(())
            }
        }
    }

    /// Gives up a request, whose place is free at the next step; false where none has that
    /// number. No event names it any more.
    pub fn cancel(&mut self, request: u64) -> bool {
        match &mut self.pace {
            Pace::Batching(batching) => batching.cancel(request),
            Pace::Streams(streams) => streams.cancel(request),
        }
    }

    /// When the next tick is due; `None` while there is nothing to do.
    pub fn next_ns(&self) -> Option<i64> {
        match &self.pace {
            Pace::Batching(batching) => batching.next_ns(),
            Pace::Streams(streams) => streams.next_ns(),
        }
    }

    /// Does what is due at [`Engine::next_ns`], and nothing where nothing is to do.
    ///
    /// A step's end and the next one's beginning are two ticks at one instant, so that what
    /// answers to an end can still join that next step.
    pub fn tick(&mut self, sink: &mut impl FnMut(Event)) {
        match &mut self.pace {
            Pace::Batching(batching) => batching.tick(sink),
            Pace::Streams(streams) => streams.tick(sink),
        }
    }

    /// Ticks for as long as something is due at `until_ns` or earlier.
    pub fn advance(&mut self, until_ns: i64, sink: &mut impl FnMut(Event)) {
        while self.next_ns().is_some_and(|next_ns| next_ns <= until_ns) {
            self.tick(sink);
        }
    }

    /// How much is in the engine now.
    pub fn load(&self) -> Load {
        match &self.pace {
            Pace::Batching(batching) => batching.load(),
            Pace::Streams(streams) => streams.load(),
        }
    }
}

#[cfg(test)]
mod tests;
