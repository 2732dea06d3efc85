//! A short way for the common case: an event that differs from an earlier one in its text alone.
//!
//! A stream repeats itself: of the few hundred bytes of an event only a word is new. Once an event
//! has been read in full, the bytes around its text are kept as a template. Another event that has
//! the same bytes there, and between them a text that needs no decoding, says the same, but for
//! the text.

use crate::capture::schema::Channel;

/// Templates that are made without one that fits, before a stream counts as one that varies.
const ATTEMPTS: u8 = 8;

/// Size of a template, in bytes, above which it is not kept.
const MAX_MOULD_BYTES: usize = 16 << 10;

/// What fitted last, and whether looking for more is worth it.
#[derive(Debug)]
pub(super) struct EventTemplates {
    last: Option<EventTemplate>,
    attempts_left: u8,
}

impl Default for EventTemplates {
    fn default() -> Self {
        Self {
            last: None,
            attempts_left: ATTEMPTS,
        }
    }
}

/// The bytes of an event around its only text, and what an event with them is.
#[derive(Debug)]
struct EventTemplate {
    /// Up to and with the quote that opens the text.
    before: Vec<u8>,
    /// From the quote that closes it.
    after: Vec<u8>,
    channel: Channel,
}

impl EventTemplates {
    /// Returns the channel and the text of an event that fits, or `None`.
    pub(super) fn fit<'a>(&mut self, data: &'a [u8]) -> Option<(Channel, &'a str)> {
        let template = self.last.as_ref()?;
        let text = data
            .strip_prefix(template.before.as_slice())?
            .strip_suffix(template.after.as_slice())?;
        if text.is_empty() || !text.iter().all(|&byte| is_itself(byte)) {
            return None;
        }
        let text = str::from_utf8(text).ok()?;
        self.attempts_left = ATTEMPTS;
        Some((template.channel, text))
    }

    /// Keeps the template of an event that has no other text, no count and no end: `text` lies in
    /// `data`, as it was sent.
    pub(super) fn keep(&mut self, data: &[u8], text: &str, channel: Channel) {
        let start = text.as_ptr().addr().checked_sub(data.as_ptr().addr());
        let Some((before, rest)) = start.and_then(|start| data.split_at_checked(start)) else {
            return;
        };
        let Some(after) = rest.strip_prefix(text.as_bytes()) else {
            return;
        };
        let is_framed = before.ends_with(b"\"") && after.starts_with(b"\"");
        let is_small = before.len() + after.len() <= MAX_MOULD_BYTES;
        if !is_framed || !is_small || self.attempts_left == 0 {
            return;
        }
        self.attempts_left -= 1;
        self.last = Some(EventTemplate {
            before: before.to_vec(),
            after: after.to_vec(),
            channel,
        });
    }

    /// Forgets, so that the next event is read in full.
    #[cfg(test)]
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

/// Says whether a byte stands for itself inside a JSON string.
fn is_itself(byte: u8) -> bool {
    byte >= 0x20 && byte != b'"' && byte != b'\\'
}
