//! The turns of conversations: sessions begin when they are due and a slot for them is free, and each
//! turn waits for the reply before it, and a think time.
//!
//! A session keeps its slot until its last answer has ended, also while its user thinks. Requests are
//! numbered by session and turn, not by when they are sent, so that draws are the same whatever the
//! server does.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use serde_json::Value;

use super::error::LoadError;
use super::events::Reply;
use super::prepared::PreparedRequest;
use super::template::{RequestTemplate, assistant};
use super::turn_feed::TurnSource;
use crate::capture::manifest::SessionCounts;
use crate::plan::{FailedTurn, SessionReplies};
use crate::schedule::{Due, Schedule};
use crate::workload::{Conversation, ConversationTurn, Conversations, GrowingText};

/// Times that a failed turn is sent again.
const MAX_TRIES_AGAIN: u64 = 3;

/// Conversations, and how they are driven.
pub struct SessionLoad {
    /// When sessions begin.
    pub starts: Box<dyn Schedule>,
    /// What they send.
    pub conversations: Box<dyn Conversations>,
    /// Sessions at once at most.
    pub max_sessions: Option<usize>,
    /// Requests at most: the last session that begins has no more turns than are left.
    pub max_requests: Option<u64>,
    /// What becomes of a session whose turn failed.
    pub on_failed_turn: FailedTurn,
}

/// The sessions of one run.
pub(super) struct SessionTurns<'a> {
    load: SessionLoad,
    template: &'a RequestTemplate,
    /// Requests that may still be planned; none for any number.
    requests_left: Option<u64>,
    slots: Slots,
    /// When the next session is due, while it waits for a slot.
    next_start: Option<Due>,
    is_at_end: bool,
    next_session: u64,
    next_request: u64,
    /// Those that have begun and not ended, by number.
    open: HashMap<u64, Session>,
    /// The session that waits on nothing and for which there was no room yet.
    root: Option<u64>,
    /// Sessions with a turn that became due, by due time and then by number.
    due: BinaryHeap<Reverse<(i64, u64)>>,
    /// Sessions of the requests that are underway.
    asked: HashMap<u64, u64>,
    counts: SessionCounts,
}

/// Places for sessions.
enum Slots {
    Unlimited,
    /// When each free one became free; none of one that no session has had yet. The longest free one
    /// first.
    Free(VecDeque<Option<i64>>),
}

/// A session that has begun.
struct Session {
    id: String,
    turns: Vec<ConversationTurn>,
    /// The turn that is due or underway.
    at: usize,
    /// Times that it was sent already.
    tries: u64,
    /// Number of the request of the first turn.
    first_request: u64,
    /// What was said so far, that turn's own messages not among it.
    said: Vec<Value>,
    /// Its length in tokens, where it is known.
    said_tokens: Option<u32>,
    /// What the tokenizer counted of it.
    counted: GrowingText,
    /// Tokens of the opening that earlier sessions had too.
    shared_tokens: Option<u32>,
    /// When the turn is due.
    due_ns: i64,
    /// How long its first turn waited for a slot.
    held_ns: i64,
    /// When the answer ended, until it is known what it said.
    ended_ns: Option<i64>,
}

/// How a turn ended.
enum Outcome {
    Failed,
    Answered(Arc<str>),
}

impl<'a> SessionTurns<'a> {
    pub(super) fn new(load: SessionLoad, template: &'a RequestTemplate) -> Self {
        let slots = load.max_sessions.map_or(Slots::Unlimited, |slots| {
            Slots::Free(std::iter::repeat_n(None, slots).collect())
        });
        Self {
            requests_left: load.max_requests,
            load,
            template,
            slots,
            next_start: None,
            is_at_end: false,
            next_session: 0,
            next_request: 0,
            open: HashMap::new(),
            root: None,
            due: BinaryHeap::new(),
            asked: HashMap::new(),
            counts: SessionCounts::default(),
        }
    }

    /// What became of the sessions.
    pub(super) fn counts(&self) -> SessionCounts {
        self.counts
    }

    /// Begins the next session. Its slot became free at `freed_ns`; none where it was free from the start.
    fn begin(&mut self, start: Due, freed_ns: Option<i64>) {
        let number = self.next_session;
        self.next_session += 1;
        let arrival_ns = start.at_ns().unwrap_or(freed_ns.unwrap_or(0));
        let held_ns = freed_ns.map_or(0, |freed_ns| freed_ns.saturating_sub(arrival_ns).max(0));
        let mut conversation = self.load.conversations.conversation(number);
        if let Some(left) = &mut self.requests_left {
            let most = usize::try_from(*left).unwrap_or(usize::MAX);
            conversation.turns.truncate(most);
            *left -= conversation.turns.len() as u64;
        }
        if conversation.turns.is_empty() {
            self.put_back(freed_ns);
            return;
        }
        let first_request = self.next_request;
        self.next_request += conversation.turns.len() as u64 * self.tries();
        self.counts.started += 1;
        let session = Session::of(conversation, first_request, (arrival_ns, held_ns));
        self.open.insert(number, session);
        match freed_ns {
            None => self.root = Some(number),
            Some(_) => self.due.push(Reverse((arrival_ns + held_ns, number))),
        }
    }

    /// Times that a turn may be sent.
    fn tries(&self) -> u64 {
        match self.load.on_failed_turn {
            FailedTurn::End | FailedTurn::Skip => 1,
            FailedTurn::Retry => 1 + MAX_TRIES_AGAIN,
        }
    }

    fn put_back(&mut self, freed_ns: Option<i64>) {
        if let Slots::Free(free) = &mut self.slots {
            free.push_back(freed_ns);
        }
    }

    /// Makes the request of a session's turn.
    fn request(&mut self, number: u64) -> Option<PreparedRequest> {
        let tells_last = self.load.on_failed_turn == FailedTurn::Retry;
        let session = self.open.get_mut(&number)?;
        let turn = session.turns.get(session.at)?;
        let index =
            session.first_request + session.at as u64 + session.tries * session.turns.len() as u64;
        let before = session.said.len();
        let new = turn.messages.iter().cloned().map(Value::Object);
        session.said.extend(new);
        let asked = (turn.output_tokens, turn.fields.as_deref());
        let mut planned = (self.template).turn(index, &session.said, asked, &mut session.counted);
        session.said.truncate(before);
        planned.intended_ns = Some(session.due_ns);
        planned.held_ns = session.held_ns;
        planned.row_number = Some(index);
        planned.wants_reply = tells_last || !session.is_at_last();
        let known = session.said_tokens.zip(turn.tokens);
        let known = known.map(|(said, new)| said.saturating_add(new));
        planned.input_tokens = planned.input_tokens.or(known);
        planned.prefix_tokens = match session.at {
            0 => session.shared_tokens,
            _ => session.said_tokens,
        };
        planned.session_id = Some(session.id.clone());
        planned.turn = u32::try_from(session.at).ok();
        session.held_ns = 0;
        self.asked.insert(index, number);
        Some(planned)
    }

    /// Goes on after a turn that ended at `end_ns`.
    fn turn_over(&mut self, number: u64, end_ns: i64, outcome: Outcome) {
        let tries = self.tries();
        let Some(session) = self.open.get_mut(&number) else {
            return;
        };
        match (outcome, self.load.on_failed_turn) {
            (Outcome::Answered(_), _) if session.is_at_last() => session.next_turn(),
            (Outcome::Answered(text), _) => {
                let replies = self.template.session_replies;
                let is_made_up = session.answer(&text, replies, self.template);
                self.counts.made_up_replies += u64::from(is_made_up);
                session.next_turn();
            }
            (Outcome::Failed, FailedTurn::Skip) => {
                self.counts.turns_skipped += 1;
                if session.at == 0 {
                    // How long the opening is was known with that turn alone.
                    session.said_tokens = None;
                }
                session.next_turn();
            }
            (Outcome::Failed, FailedTurn::Retry) if session.tries + 1 < tries => {
                self.counts.turns_retried += 1;
                session.tries += 1;
            }
            (Outcome::Failed, FailedTurn::End | FailedTurn::Retry) => {
                self.counts.ended_early += 1;
                let unsent = session.turns.len() - session.at - 1;
                self.counts.turns_unsent += unsent as u64;
                self.close(number, end_ns);
                return;
            }
        }
        match session.turns.get(session.at) {
            None => {
                self.counts.finished += 1;
                self.close(number, end_ns);
            }
            Some(turn) => {
                session.due_ns = end_ns.saturating_add(turn.think_ns.max(0));
                self.due.push(Reverse((session.due_ns, number)));
            }
        }
    }

    fn close(&mut self, number: u64, end_ns: i64) {
        self.open.remove(&number);
        self.put_back(Some(end_ns));
    }
}

impl Session {
    fn of(conversation: Conversation, first_request: u64, (due_ns, held_ns): (i64, i64)) -> Self {
        let opening = conversation.opening.into_iter().map(Value::Object);
        Self {
            id: conversation.id,
            turns: conversation.turns,
            at: 0,
            tries: 0,
            first_request,
            said: opening.collect(),
            // The first turn's length has the opening in it.
            said_tokens: Some(0),
            counted: GrowingText::default(),
            shared_tokens: conversation.shared_tokens,
            due_ns,
            held_ns,
            ended_ns: None,
        }
    }

    /// About how large the body of the turn will be.
    fn bytes(&self) -> usize {
        let new = self.turns.get(self.at).map(|turn| turn.messages.iter());
        let new = new
            .into_iter()
            .flatten()
            .flat_map(|message| message.values());
        let old = self.said.iter().filter_map(Value::as_object);
        let said = old.flat_map(|message| message.values()).chain(new);
        said.fold(1_024, |sum, value| {
            // Quotes and control characters take two bytes and more.
            sum + 2 * value
                .as_str()
                .map_or_else(|| value.to_string().len(), str::len)
        })
    }

    /// Adds the turn and what it was answered to what was said. Returns whether text was made up for an
    /// answer without any.
    fn answer(&mut self, text: &str, replies: SessionReplies, template: &RequestTemplate) -> bool {
        let Some(turn) = self.turns.get_mut(self.at) else {
            return false;
        };
        let new = std::mem::take(&mut turn.messages);
        self.said.extend(new.into_iter().map(Value::Object));
        let known = match replies {
            SessionReplies::None => Some(0),
            SessionReplies::Trace if turn.reply.is_none() => Some(turn.output_tokens.max(1)),
            SessionReplies::Trace | SessionReplies::Live => None,
        };
        let parts = [self.said_tokens, turn.tokens, known];
        self.said_tokens = parts
            .into_iter()
            .try_fold(0_u32, |sum, part| Some(sum.saturating_add(part?)));
        let reply = match replies {
            SessionReplies::None => return false,
            SessionReplies::Live => Some(text).filter(|text| !text.is_empty()),
            SessionReplies::Trace => turn.reply.as_deref(),
        };
        let index = self.first_request + self.at as u64;
        let made_up = || template.made_up_reply(index, index, turn.output_tokens.max(1));
        self.said.push(match reply {
            Some(reply) => assistant(reply),
            None => assistant(&made_up()),
        });
        reply.is_none() && replies == SessionReplies::Live
    }

    fn is_at_last(&self) -> bool {
        self.at + 1 >= self.turns.len()
    }

    fn next_turn(&mut self) {
        self.at += 1;
        self.tries = 0;
    }
}

impl TurnSource for SessionTurns<'_> {
    async fn read(&mut self) -> Result<bool, LoadError> {
        if self.is_at_end || self.root.is_some() {
            return Ok(false);
        }
        if self.next_start.is_none() {
            let is_full = self.requests_left == Some(0);
            self.next_start = (!is_full).then(|| self.load.starts.next_due()).flatten();
        }
        let Some(start) = self.next_start else {
            self.is_at_end = true;
            return Ok(true);
        };
        let freed_ns = match &mut self.slots {
            Slots::Unlimited => None,
            Slots::Free(free) => match free.pop_front() {
                Some(freed_ns) => freed_ns,
                None => return Ok(false),
            },
        };
        self.next_start = None;
        self.begin(start, freed_ns);
        Ok(true)
    }

    fn next_root_bytes(&self) -> Option<usize> {
        Some(self.open.get(&self.root?)?.bytes())
    }

    fn next_root(&mut self) -> Option<PreparedRequest> {
        let number = self.root.take()?;
        self.request(number)
    }

    fn next_due_ns(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    fn next_due(&mut self, until_ns: i64) -> Option<PreparedRequest> {
        if self.next_due_ns()? > until_ns {
            return None;
        }
        let Reverse((_, number)) = self.due.pop()?;
        self.request(number)
    }

    fn ended(&mut self, request: u64, end_ns: i64, is_told: bool) {
        let Some(number) = self.asked.get(&request).copied() else {
            return;
        };
        let is_last = self.open.get(&number).is_none_or(Session::is_at_last);
        if is_told && (!is_last || self.load.on_failed_turn == FailedTurn::Retry) {
            if let Some(session) = self.open.get_mut(&number) {
                session.ended_ns = Some(end_ns);
            }
            return;
        }
        self.asked.remove(&request);
        // Nothing waits for what the last turn was answered.
        let outcome = match is_told {
            true => Outcome::Answered("".into()),
            false => Outcome::Failed,
        };
        self.turn_over(number, end_ns, outcome);
    }

    fn said(&mut self, reply: Reply) {
        let Some(number) = self.asked.remove(&reply.row_number) else {
            return;
        };
        let ended_ns = self
            .open
            .get_mut(&number)
            .and_then(|session| session.ended_ns.take());
        let outcome = match reply.is_ok {
            true => Outcome::Answered(reply.text),
            false => Outcome::Failed,
        };
        if let Some(end_ns) = ended_ns {
            self.turn_over(number, end_ns, outcome);
        }
    }

    fn is_over(&self) -> bool {
        self.is_at_end && self.open.is_empty()
    }
}
