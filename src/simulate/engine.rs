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
mod streams;

use super::SimulateError;
use super::settings::EngineSettings;

use batching::Batching;
use streams::Streams;

/// A request, as far as the engine cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// The caller's own number for it; unique among those that are not finished.
    pub request: u64,
    /// Tokens of the prompt; 0 counts as 1.
    pub input_tokens: u32,
    /// Tokens that will be generated; 0 counts as 1.
    pub output_tokens: u32,
    /// What the last token means.
    pub finish: Finish,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// The answer reached the length that the request allows.
    Length,
    /// The model ended it by itself.
    Stop,
}

impl Finish {
    /// The word that the OpenAI API has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Stop => "stop",
        }
    }
}

/// Something that happened to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// When, in nanoseconds on the caller's axis; never less than that of the event before.
    pub at_ns: i64,
    /// The caller's number for the request.
    pub request: u64,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a request, in the order in which it happens to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// It left the queue.
    Admitted,
    /// A token was generated; the first one at position 0.
    Token {
        /// Tokens of this request before this one.
        position: u32,
    },
    /// Its last token was generated, and what it held is free.
    Finished(Finish),
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rejection {
    /// As many requests wait as may.
    QueueFull,
    /// It would not fit into an empty key-value cache.
    TooLarge {
        /// Tokens of its prompt and its output.
        needed_tokens: u64,
        /// Tokens that the cache holds.
        capacity_tokens: u64,
    },
}

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

/// How much is in the engine.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Requests that were admitted and are not finished.
    pub running: usize,
    /// Requests that wait.
    pub waiting: usize,
    /// Tokens of the key-value cache that are reserved; 0 where there is none.
    pub kv_reserved_tokens: u64,
    /// Tokens that the key-value cache holds; 0 where there is none.
    pub kv_capacity_tokens: u64,
}

#[cfg(test)]
mod tests;
