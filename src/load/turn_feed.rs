//! Feeds a trace whose turns wait on replies.
//!
//! Requests that wait on nothing go out as they do without sessions. Turns are kept as rows until the
//! reply that they wait on has ended; shortly before they are due they become requests, and go to the
//! driver by a way of their own, past the requests that are prepared for later.
//!
//! The trace is read ahead of the schedule, so that a turn is at hand when its server is faster than
//! the recorded one was. A turn that stands further on than that is late, and goes out as soon as
//! it is read.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};

use super::error::LoadError;
use super::prepared::PreparedRequest;
use super::replies::Replies;
use super::request_sender::{PREPARED_KIB, RequestSender, kib};
use super::supply::{Feedback, TurnNotes, TurnSender};
use super::template::RequestTemplate;
use super::turns::{Turn, Turns};
use crate::plan::SessionPacing;
use crate::time::clock::Clock;
use crate::trace::{TraceReader, TraceRow};

/// Rows that are read ahead at most.
const HELD_ROWS_MAX: usize = 65_536;
/// Memory that they may take, in bytes.
const HELD_BYTES_MAX: usize = 128 << 20;
/// Most bytes that a word of a prompt takes in a body, on average over a prompt.
const BYTES_A_TOKEN_MAX: usize = 8;
/// How long before a turn is due its request is made, in nanoseconds.
const PREPARE_AHEAD_NS: i64 = 1_000_000_000;

/// The feed of one replay.
pub(super) struct TurnFeed {
    turns: Turns,
    sender: mpsc::Sender<PreparedRequest>,
    notes: TurnNotes,
    /// Memory of turns that are prepared, in KiB: apart from that of the others, which would be
    /// full of requests for later.
    memory: Arc<Semaphore>,
    clock: Clock,
    /// When the schedule started on the clock, once it has.
    start_ns: Option<i64>,
    /// Requests that wait on nothing and for which there was no room yet.
    roots: VecDeque<Turn>,
    held_bytes: usize,
    next_index: u64,
    /// Rows whose requests were sent and whose replies later turns are to hold.
    asked: HashSet<u64>,
    /// When those replies ended that have not been decoded yet.
    undecoded: HashMap<u64, i64>,
    replies: Replies,
}

impl TurnFeed {
    pub(super) fn new(sender: TurnSender, pacing: SessionPacing, clock: Clock) -> Self {
        Self {
            turns: Turns::new(pacing),
            sender: sender.turns,
            notes: sender.notes,
            memory: Arc::new(Semaphore::new(PREPARED_KIB)),
            clock,
            start_ns: None,
            roots: VecDeque::new(),
            held_bytes: 0,
            next_index: 0,
            asked: HashSet::new(),
            undecoded: HashMap::new(),
            replies: Replies::default(),
        }
    }

    /// Sends the trace's requests until it is over or the driver has had enough. Returns how often text
    /// was made up for a reply that a turn was to hold.
    ///
    /// # Errors
    ///
    /// The trace can't be read on; what came before was sent, but for turns that wait on a reply.
    pub(super) async fn work(
        mut self,
        reader: &mut TraceReader,
        template: &RequestTemplate,
        mut roots: RequestSender,
    ) -> Result<u64, LoadError> {
        let mut is_at_end = false;
        while !roots.is_closed() {
            while let Some(note) = self.notes.try_recv() {
                self.take(note);
            }
            if !self.send_due(template).await {
                break;
            }
            // Never a wait for room here: it could be long, and a turn would be late.
            if self
                .next_root_bytes()
                .is_some_and(|bytes| roots.has_room(bytes))
                && let Some(Turn { index, row }) = self.roots.pop_front()
            {
                self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&row));
                let planned = self.prepare(template, index, row);
                if !roots.send(planned).await {
                    break;
                }
                continue;
            }
            let is_full = self.roots.len() + self.turns.held() >= HELD_ROWS_MAX
                || self.held_bytes >= HELD_BYTES_MAX;
            if !is_at_end && !is_full {
                match reader.next().await? {
                    Some(row) => self.accept(row),
                    None => is_at_end = true,
                }
                continue;
            }
            if is_at_end && self.roots.is_empty() && self.turns.held() == 0 {
                break;
            }
            // Whatever the schedule starts with is prepared, or can't be before it starts.
            roots.start();
            if !self.wait(&roots).await {
                break;
            }
        }
        Ok(self.replies.missed())
    }

    fn prepare(
        &mut self,
        template: &RequestTemplate,
        index: u64,
        row: TraceRow,
    ) -> PreparedRequest {
        let planned = template.traced(index, row, &mut self.replies);
        if planned.wants_reply {
            self.asked.extend(planned.row_number);
        }
        planned
    }

    /// About how large the body of the next request will be that waits on nothing.
    fn next_root_bytes(&self) -> Option<usize> {
        let row = &self.roots.front()?.row;
        let tokens = usize::try_from(row.input_tokens).unwrap_or(usize::MAX);
        Some(
            tokens
                .saturating_mul(BYTES_A_TOKEN_MAX)
                .max(2 * bytes_of(row)),
        )
    }

    fn accept(&mut self, row: TraceRow) {
        let index = self.next_index;
        self.next_index += 1;
        self.held_bytes += bytes_of(&row);
        self.roots.extend(self.turns.accept(index, row));
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
                if self.asked.remove(&number) && !is_fault {
                    self.undecoded.insert(number, end_ns);
                } else {
                    self.turns.ended(number, end_ns);
                }
            }
            Feedback::Said(reply) => {
                let number = reply.row_number;
                self.replies.keep(reply);
                if let Some(end_ns) = self.undecoded.remove(&number) {
                    self.turns.ended(number, end_ns);
                }
            }
        }
    }

    /// Sends the turns that are due soon. Returns false when nobody wants more.
    async fn send_due(&mut self, template: &RequestTemplate) -> bool {
        let Some(start_ns) = self.start_ns else {
            return true;
        };
        let soon_ns = (self.clock.now_ns() - start_ns).saturating_add(PREPARE_AHEAD_NS);
        while let Some(Turn { index, row }) = self.turns.pop_due(soon_ns) {
            self.held_bytes = self.held_bytes.saturating_sub(bytes_of(&row));
            let mut planned = self.prepare(template, index, row);
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
        let due_ns = match (self.start_ns, self.turns.next_due_ns()) {
            (Some(start_ns), Some(due_ns)) => Some(
                start_ns
                    .saturating_add(due_ns)
                    .saturating_sub(PREPARE_AHEAD_NS),
            ),
            _ => None,
        };
        let due = due_ns.map(|due_ns| self.clock.instant(due_ns));
        let root_bytes = self.next_root_bytes();
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

/// About what a row takes in memory.
fn bytes_of(row: &TraceRow) -> usize {
    let text = match &row.text {
        Some(crate::trace::RowText::Prompt(text) | crate::trace::RowText::Messages(text)) => {
            text.len()
        }
        // Texts of the messages are those of the session's earlier turns.
        Some(crate::trace::RowText::Turns(said)) => 32 * said.len(),
        None => 0,
    };
    256 + 8 * row.prefix_blocks.len() + text
}
