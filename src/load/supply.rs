//! What joins the driver to the feed: requests one way, the ends of replies the other.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::sync::mpsc;

use super::prepared::PreparedRequest;

/// Turns that may wait for the driver. The driver takes them at once, so that this is hardly ever
/// full.
const CHANNEL_TURNS: usize = 1_024;

/// What the feed has to know of the drive, for turns that wait on replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Feedback {
    /// The schedule starts at this time of the clock, in nanoseconds.
    Started(i64),
    /// The reply to the request of row `number` ended, in nanoseconds since the start.
    Ended {
        /// Number of the row in the trace.
        number: u64,
        /// When it ended.
        end_ns: i64,
    },
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
    turns: Option<TurnSupply>,
    rest: Arc<Rest>,
}

/// What the feed counts of a schedule that is over, in place of preparing it.
#[derive(Debug)]
pub(super) struct Rest {
    /// Requests that are due before this are counted, in nanoseconds since the start.
    before_ns: AtomicI64,
}

impl Rest {
    /// Says whether a request counts that would have been due at `at_ns` and is not wanted any more.
    pub(super) fn has(&self, at_ns: i64) -> bool {
        at_ns < self.before_ns.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct TurnSupply {
    /// Requests that became due by a reply; none when there will be no more.
    turns: Option<mpsc::Receiver<PreparedRequest>>,
    /// Without a bound: a note that is lost is a turn that waits for ever. Each is about a request
    /// that was sent, and takes some bytes until the feed comes to it.
    notes: mpsc::UnboundedSender<Feedback>,
}

/// The feed's end of what turns need.
#[derive(Debug)]
pub(super) struct TurnSender {
    pub(super) turns: mpsc::Sender<PreparedRequest>,
    pub(super) notes: mpsc::UnboundedReceiver<Feedback>,
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
    pub(super) fn with_turns(mut self) -> (Self, TurnSender) {
        let (turns, turn_receiver) = mpsc::channel(CHANNEL_TURNS);
        #[expect(
            clippy::disallowed_methods,
            reason = "a note that finds no room would be lost, and with it a turn"
        )]
        let (notes, note_receiver) = mpsc::unbounded_channel();
        self.turns = Some(TurnSupply {
            turns: Some(turn_receiver),
            notes,
        });
        let sender = TurnSender {
            turns,
            notes: note_receiver,
        };
        (self, sender)
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
        let turns = self.turns.as_mut().and_then(|supply| supply.turns.as_mut());
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
        if let (Supplied::NoMoreTurns, Some(supply)) = (&supplied, &mut self.turns) {
            supply.turns = None;
        }
        supplied
    }

    /// Returns the next turn that is prepared.
    pub(super) fn try_recv_turn(&mut self) -> Option<PreparedRequest> {
        self.turns.as_mut()?.turns.as_mut()?.try_recv().ok()
    }

    /// Returns whether turns may still come.
    pub(super) fn may_have_turns(&self) -> bool {
        let supply = self.turns.as_ref();
        supply.is_some_and(|supply| supply.turns.is_some())
    }

    /// Tells the feed something, where turns wait on replies.
    pub(super) fn tell(&self, note: Feedback) {
        if let Some(supply) = &self.turns {
            // A feed that has ended has no turn that waits.
            let _ = supply.notes.send(note);
        }
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
        if let Some(supply) = &mut self.turns {
            supply.turns = None;
        }
    }
}
