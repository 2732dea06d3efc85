//! Feeds requests of which some wait on replies: turns of sessions.
//!
//! Requests that wait on nothing go out as they do without sessions. A turn becomes a request when the
//! reply that it waits on has ended, shortly before it is due, and goes to the driver by a way of its
//! own, past the requests that are prepared for later. Which turns there are, and when they are due, is
//! for a [`TurnSource`] to say.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::error::LoadError;
use super::events::Reply;
use super::prepared::PreparedRequest;
use super::request_sender::{PREPARED_KIB, RequestSender, kib};
use super::supply::{Feedback, TurnNotes, TurnSender};
use crate::time::clock::Clock;

/// How long before a turn is due its request is made, in nanoseconds.
const PREPARE_AHEAD_NS: i64 = 1_000_000_000;

/// Requests, some of which wait on the replies to others. State alone, without time or channels; all
/// times are nanoseconds since the start of the schedule.
pub(super) trait TurnSource {
    /// Reads one more row or session, where there is one and room for it. Returns false where there
    /// is nothing to read for now.
    ///
    /// # Errors
    ///
    /// It can't be read on.
    async fn read(&mut self) -> Result<bool, LoadError>;

    /// About how large the body of the next request will be that waits on nothing; none where none is
    /// at hand.
    fn next_root_bytes(&self) -> Option<usize>;

    /// Makes the next request that waits on nothing.
    fn next_root(&mut self) -> Option<PreparedRequest>;

    /// When the next turn is due, of those whose previous reply has ended.
    fn next_due_ns(&self) -> Option<i64>;

    /// Makes the next turn that is due at `until_ns` or before.
    fn next_due(&mut self, until_ns: i64) -> Option<PreparedRequest>;

    /// Notes that the reply to a request ended. Where `is_told`, what it said will follow.
    fn ended(&mut self, number: u64, end_ns: i64, is_told: bool);

    /// Notes what a reply said.
    fn said(&mut self, reply: Reply);

    /// Whether there will be no more requests.
    fn is_over(&self) -> bool;
}

/// The feed of one run.
pub(super) struct TurnFeed<S> {
    source: S,
    sender: mpsc::Sender<PreparedRequest>,
    notes: TurnNotes,
    /// Memory of turns that are prepared, in KiB: apart from that of the others, which would be
    /// full of requests for later.
    memory: Arc<Semaphore>,
    clock: Clock,
    /// When the schedule started on the clock, once it has.
    start_ns: Option<i64>,
}

impl<S: TurnSource> TurnFeed<S> {
    pub(super) fn new(source: S, sender: TurnSender, clock: Clock) -> Self {
        Self {
            source,
            sender: sender.turns,
            notes: sender.notes,
            memory: Arc::new(Semaphore::new(PREPARED_KIB)),
            clock,
            start_ns: None,
        }
    }

    /// Sends the source's requests until it is over or the driver has had enough. Gives the source back.
    ///
    /// # Errors
    ///
    /// The source can't be read on; what came before was sent, but for turns that wait on a reply.
    pub(super) async fn work(mut self, mut roots: RequestSender) -> Result<S, LoadError> {
        while !roots.is_closed() {
            while let Some(note) = self.notes.try_recv() {
                self.take(note);
            }
            if !self.send_due().await {
                break;
            }
            // Never a wait for room here: it could be long, and a turn would be late.
            if (self.source.next_root_bytes()).is_some_and(|bytes| roots.has_room(bytes))
                && let Some(planned) = self.source.next_root()
            {
                if !roots.send(planned).await {
                    break;
                }
                continue;
            }
            if self.source.read().await? {
                continue;
            }
            if self.source.is_over() {
                break;
            }
            // Whatever the schedule starts with is prepared, or can't be before it starts.
            roots.start();
            if !self.wait(&roots).await {
                break;
            }
        }
        Ok(self.source)
    }

    fn take(&mut self, note: Feedback) {
        match note {
            Feedback::Started(start_ns) => self.start_ns = Some(start_ns),
            Feedback::Ended {
                number,
                end_ns,
                is_fault,
            } => {
                let end_ns = end_ns.saturating_sub(self.start_ns.unwrap_or_default());
                self.source.ended(number, end_ns, !is_fault);
            }
            Feedback::Said(reply) => self.source.said(reply),
        }
    }

    /// Sends the turns that are due soon. Returns false when nobody wants more.
    async fn send_due(&mut self) -> bool {
        let Some(start_ns) = self.start_ns else {
            return true;
        };
        let soon_ns = (self.clock.now_ns() - start_ns).saturating_add(PREPARE_AHEAD_NS);
        while let Some(mut planned) = self.source.next_due(soon_ns) {
            let kib = u32::try_from(kib(planned.body.len())).unwrap_or(1);
            let memory = Arc::clone(&self.memory).acquire_many_owned(kib);
            tokio::select! {
                permit = memory => planned.permit = permit.ok(),
                () = self.sender.closed() => return false,
            }
            if self.sender.send(planned).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits until there is something to do. Returns false when nobody wants more.
    async fn wait(&mut self, roots: &RequestSender) -> bool {
        let due_ns = match (self.start_ns, self.source.next_due_ns()) {
            (Some(start_ns), Some(due_ns)) => Some(
                start_ns
                    .saturating_add(due_ns)
                    .saturating_sub(PREPARE_AHEAD_NS),
            ),
            _ => None,
        };
        let due = due_ns.map(|due_ns| self.clock.instant(due_ns));
        let root_bytes = self.source.next_root_bytes();
        tokio::select! {
            biased;
            note = self.notes.recv() => match note {
                Some(note) => self.take(note),
                // The driver is gone.
                None => return false,
            },
            () = sleep_until(due), if due.is_some() => {}
            has_room = roots.room(root_bytes.unwrap_or(0)), if root_bytes.is_some() => {
                return has_room;
            }
            () = roots.closed(), if root_bytes.is_none() => return false,
        }
        true
    }
}

async fn sleep_until(instant: Option<tokio::time::Instant>) {
    if let Some(instant) = instant {
        tokio::time::sleep_until(instant).await;
    }
}
