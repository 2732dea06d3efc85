//! What servers said in sessions, for the turns that come after.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::events::Reply;

/// Memory that replies may take, in bytes. Nobody knows which turn of a session is its last, so that
/// the oldest replies make room for new ones.
const MAX_BYTES: usize = if cfg!(test) { 4_096 } else { 256 << 20 };

/// What a reply takes beside its text, in bytes.
const REPLY_BYTES: usize = 64;

/// Replies by the number of their request's row in the trace.
#[derive(Debug, Default)]
pub(super) struct Replies {
    texts: HashMap<u64, Arc<str>>,
    oldest_first: VecDeque<u64>,
    bytes: usize,
    /// Times that a reply was asked for which is not there.
    missed: u64,
}

impl Replies {
    /// Keeps what a server said; nothing where it said nothing.
    pub(super) fn keep(&mut self, reply: Reply) {
        if reply.text.is_empty() {
            return;
        }
        self.bytes += REPLY_BYTES + reply.text.len();
        self.oldest_first.push_back(reply.row_number);
        self.texts.insert(reply.row_number, reply.text);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            if let Some(text) = self.texts.remove(&oldest) {
                self.bytes -= REPLY_BYTES + text.len();
            }
        }
    }

    /// Returns the reply to the request of a row. Counts where there is none: the server said nothing,
    /// or it was too long ago.
    pub(super) fn text_of(&mut self, row_number: u64) -> Option<Arc<str>> {
        let text = self.texts.get(&row_number).cloned();
        self.missed += u64::from(text.is_none());
        text
    }

    /// Times that a reply was asked for which is not there.
    pub(super) fn missed(&self) -> u64 {
        self.missed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(row_number: u64, bytes: usize) -> Reply {
        Reply {
            row_number,
            text: "a".repeat(bytes).into(),
            is_ok: true,
        }
    }

    #[test]
    fn the_oldest_replies_make_room_and_what_is_missed_is_counted() {
        let mut replies = Replies::default();
        for row in 0..10 {
            replies.keep(reply(row, 1_000));
        }
        assert!(replies.bytes <= MAX_BYTES);
        assert_eq!(replies.text_of(9).unwrap().len(), 1_000);
        assert!(replies.text_of(0).is_none());
        replies.keep(reply(20, 0));
        assert!(replies.text_of(20).is_none());
        assert_eq!(replies.missed(), 2);
        // One that is too large for all of the memory leaves nothing behind.
        replies.keep(reply(30, 2 * MAX_BYTES));
        assert_eq!((replies.bytes, replies.texts.len()), (0, 0));
    }
}
