//! What joins the driver to the feed: requests one way, what turns wait for the other.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::mpsc;

use super::events::{Reply, RunEvent, RunListener};
use super::prepared::PreparedRequest;

/// Turns that may wait for the driver. The driver takes them at once, so that this is hardly ever
/// full.
const CHANNEL_TURNS: usize = 1_024;

/// What the feed has to know of the run, for turns that wait on replies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Feedback {
    /// The schedule starts at this time of the clock, in nanoseconds.
    Started(i64),
    /// The reply to the request of row `number` ended at this time of the clock.
    Ended {
        /// Number of the row in the trace.
        number: u64,
        /// When it ended, in nanoseconds.
        end_ns: i64,
        /// The client failed in the middle of it: what it said will not be told.
        is_fault: bool,
    },
    /// What a reply said, where it was asked for.
    Said(Reply),
}

/// Passes on what the feed has to know of a run.
struct TurnListener(mpsc::UnboundedSender<Feedback>);

impl RunListener for TurnListener {
    fn on_event(&self, event: &RunEvent<'_>) {
        let feedback = match event {
            RunEvent::Started { at_ns } => Feedback::Started(*at_ns),
            RunEvent::AnswerRead {
                row_number: Some(number),
                end_ns,
                is_fault,
            } => Feedback::Ended {
                number: *number,
                end_ns: *end_ns,
                is_fault: *is_fault,
            },
            RunEvent::AnswerDecoded {
                reply: Some(reply), ..
            } => Feedback::Said(reply.clone()),
            _ => return,
        };
        // A feed that has ended has no turn that waits.
        let _ = self.0.send(feedback);
    }
}

/// What turns wait for, as it comes. Without a bound: a note that is lost is a turn that waits for
/// ever. Each is about a request that was sent, and takes some bytes (where replies are asked for,
/// their text) until the feed comes to it.
#[derive(Debug)]
pub(super) struct TurnNotes(mpsc::UnboundedReceiver<Feedback>);

impl TurnNotes {
    /// Makes what listens to a run, and what the feed hears of it.
    pub(super) fn channel() -> (Arc<dyn RunListener>, Self) {
        #[expect(
            clippy::disallowed_methods,
            reason = "a note that finds no room would be lost, and with it a turn"
        )]
        let (notes, receiver) = mpsc::unbounded_channel();
        (Arc::new(TurnListener(notes)), Self(receiver))
    }

    /// Waits for the next note; none when the run is over.
    pub(super) async fn recv(&mut self) -> Option<Feedback> {
        self.0.recv().await
    }

    /// Returns the next note, if there is one.
    pub(super) fn try_recv(&mut self) -> Option<Feedback> {
        self.0.try_recv().ok()
    }
}

/// What the driver gets.
#[derive(Debug)]
pub(super) enum Supplied {
    /// A turn that became due by a reply.
    Turn(PreparedRequest),
    /// The next request of the schedule.
    Scheduled(PreparedRequest),
    /// There will be no more turns.
    NoMoreTurns,
    /// There will be no more requests of the schedule.
    ScheduleIsOver,
}

/// The driver's end.
#[derive(Debug)]
pub struct Supply {
    /// Requests that are due at a time of their own, in order.
    scheduled: mpsc::Receiver<PreparedRequest>,
    /// Requests that became due by a reply; none when there will be no more.
    turns: Option<mpsc::Receiver<PreparedRequest>>,
    rest: Arc<Rest>,
}

/// What the feed counts of a schedule that is over, in place of preparing it.
#[derive(Debug)]
pub(super) struct Rest {
    /// Requests that are due before this are counted, in nanoseconds since the start.
    before_ns: AtomicI64,
}

impl Rest {
    /// Requests that are due before this are counted, in nanoseconds since the start.
    pub(super) fn before_ns(&self) -> i64 {
        self.before_ns.load(Ordering::Acquire)
    }

    /// Says whether a request counts that would have been due at `at_ns` and is not wanted any more.
    pub(super) fn has(&self, at_ns: i64) -> bool {
        at_ns < self.before_ns()
    }
}

/// The feed's end of what turns need.
#[derive(Debug)]
pub(super) struct TurnSender {
    pub(super) turns: mpsc::Sender<PreparedRequest>,
    pub(super) notes: TurnNotes,
}

impl From<mpsc::Receiver<PreparedRequest>> for Supply {
    fn from(scheduled: mpsc::Receiver<PreparedRequest>) -> Self {
        Self {
            scheduled,
            turns: None,
            rest: Arc::new(Rest {
                before_ns: AtomicI64::new(i64::MIN),
            }),
        }
    }
}

impl Supply {
    /// Adds a way for turns that wait on replies.
    pub(super) fn with_turns(mut self, notes: TurnNotes) -> (Self, TurnSender) {
        let (turns, receiver) = mpsc::channel(CHANNEL_TURNS);
        self.turns = Some(receiver);
        (self, TurnSender { turns, notes })
    }

    /// Returns the next request of the schedule; none when it is over.
    pub(super) async fn recv(&mut self) -> Option<PreparedRequest> {
        self.scheduled.recv().await
    }

    /// Returns the next request of the schedule that is prepared.
    pub(super) fn try_recv(&mut self) -> Option<PreparedRequest> {
        self.scheduled.try_recv().ok()
    }

    /// Returns the next turn, or the next request of the schedule where that is wanted. Waits for ever
    /// where neither can come.
    pub(super) async fn next(&mut self, wants_scheduled: bool) -> Supplied {
        let turns = self.turns.as_mut();
        let has_turns = turns.is_some();
        let next_turn = async {
            match turns {
                Some(turns) => turns.recv().await,
                None => pending().await,
            }
        };
        let supplied = tokio::select! {
            biased;
            turn = next_turn, if has_turns => turn.map_or(Supplied::NoMoreTurns, Supplied::Turn),
            planned = self.scheduled.recv(), if wants_scheduled => {
                planned.map_or(Supplied::ScheduleIsOver, Supplied::Scheduled)
            }
            else => pending().await,
        };
        if let Supplied::NoMoreTurns = supplied {
            self.turns = None;
        }
        supplied
    }

    /// Returns the next turn that is prepared.
    pub(super) fn try_recv_turn(&mut self) -> Option<PreparedRequest> {
        self.turns.as_mut()?.try_recv().ok()
    }

    /// Returns whether turns may still come.
    pub(super) fn may_have_turns(&self) -> bool {
        self.turns.is_some()
    }

    /// What the feed counts in the end.
    pub(super) fn rest(&self) -> Arc<Rest> {
        Arc::clone(&self.rest)
    }

    /// Has the feed prepare nothing more, but count what is due before `at_ns`. Where turns wait on
    /// replies it goes on preparing: what of them would be due is not known.
    pub(super) fn count_before(&mut self, at_ns: i64) {
        if self.turns.is_none() {
            self.rest.before_ns.store(at_ns, Ordering::Release);
            self.scheduled.close();
        }
    }

    /// Has the feed prepare nothing more.
    pub(super) fn close(&mut self) {
        self.scheduled.close();
        self.turns = None;
    }
}
