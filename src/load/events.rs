//! The events of a run, and what listens to them.
//!
//! The driver's thread emits what needs no decoding (a request goes out, an answer has ended), the
//! decoder thread the rest, just before it writes the same to the tape. A listener is called on those
//! threads, between two requests or two writes, so it only counts or passes on. How far an attempt's
//! own bytes are decoded is no event: its limits on time ask for that with each look at the clock ([`Progress`](super::recorder::Progress)).

use std::sync::Arc;

use crate::capture::schema::{ChunkRow, ProbeRow, RequestRow};

/// Something that has happened in a run. Times are nanoseconds of the run's clock.
#[derive(Debug)]
pub enum RunEvent<'a> {
    /// The schedule of the measured requests starts. Requests before it are warm-ups.
    Started {
        /// The time 0 of the schedule.
        at_ns: i64,
    },
    /// A request is about to go out.
    Sent(&'a RequestRow),
    /// An answer has been read to its end, or given up. What it said may not be decoded yet.
    AnswerRead {
        /// Number of the request's row in the trace, where a turn of its session may wait on it.
        row_number: Option<u64>,
        /// When it ended.
        end_ns: i64,
        /// The client failed in the middle of it: it will not be decoded to its end.
        is_fault: bool,
    },
    /// Streamed events have been decoded: of any number of answers, those of each in their order.
    Chunks(&'a [ChunkRow]),
    /// An answer has been decoded to its end.
    AnswerDecoded {
        /// Its row, as it goes to the tape.
        row: &'a RequestRow,
        /// What it said, where the request asked for that to be passed on.
        reply: Option<Reply>,
        /// It failed, and its request goes out again.
        is_retried: bool,
    },
    /// The client looked at itself.
    Probe(&'a ProbeRow),
    /// Nothing more is sent or read: the tape is being finished.
    Over,
}

/// What an answer said, for the next turn of its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Number of the request's row in the trace, or of a turn's request.
    pub row_number: u64,
    /// Its content, without reasoning and calls of tools; empty where it had none.
    pub text: Arc<str>,
    /// Whether it ended well, or was hung up on.
    pub is_ok: bool,
}

/// Listens to the events of a run.
pub trait RunListener: Send + Sync {
    /// Takes one event. Several threads call it, and it must not block.
    fn on_event(&self, event: &RunEvent<'_>);
}
