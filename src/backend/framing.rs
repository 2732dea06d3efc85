//! How the body of an answer is cut into frames: server-sent events, JSON lines, or one JSON value.
//!
//! A protocol says which of them it has. Whichever it is, its frames come out as [`Event`]s, with
//! one bound on their size, and no cut of the network changes them.

#[cfg(test)]
mod tests;

use serde::de::IgnoredAny;

use super::sse::{self, Event, KEPT_CAPACITY, Kind, MAX_EVENT_BYTES, Tail, TooLarge};

/// How the frames of an answer follow each other in its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Server-sent events.
    Sse,
    /// A JSON value a line.
    JsonLines,
    /// One JSON value, which is there when the body has ended.
    Unary,
}

/// Media types that are no answer in any framing.
const DOCUMENTS: [&str; 2] = ["application/problem+json", "text/html"];

impl Framing {
    const ALL: [Self; 3] = [Self::Sse, Self::JsonLines, Self::Unary];

    /// The media type that requests ask for and answers have.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::JsonLines => "application/x-ndjson",
            Self::Unary => "application/json",
        }
    }

    /// What an answer is to be, for people.
    pub fn described(self) -> &'static str {
        match self {
            Self::Sse => "an event stream (`text/event-stream`)",
            Self::JsonLines => "a stream of JSON lines (`application/x-ndjson`)",
            Self::Unary => "one JSON value (`application/json`)",
        }
    }

    /// Says whether a body of this media type may be such an answer. Servers that name no type, or a
    /// vague one, are believed to do what they were asked for; those that name a document or
    /// another framing are not.
    pub fn takes(self, media_type: &str) -> bool {
        let mut others = Self::ALL.into_iter().filter(|other| *other != self);
        !DOCUMENTS.contains(&media_type) && others.all(|other| other.media_type() != media_type)
    }

    /// Makes a decoder for one answer, whose end mark is that.
    pub fn decoder(self, end_mark: Option<&'static str>) -> FrameDecoder {
        match self {
            Self::Sse => FrameDecoder::Sse(sse::Decoder::new().with_end_mark(end_mark)),
            Self::JsonLines => FrameDecoder::Json(JsonDecoder::new(true, MAX_EVENT_BYTES)),
            Self::Unary => FrameDecoder::Json(JsonDecoder::new(false, MAX_EVENT_BYTES)),
        }
    }
}

/// An incremental decoder of one answer's body.
#[derive(Debug)]
pub enum FrameDecoder {
    /// Of server-sent events.
    Sse(sse::Decoder),
    /// Of JSON lines, or of one JSON value.
    Json(JsonDecoder),
}

impl FrameDecoder {
    /// Decodes the bytes of one read and hands each frame that they complete to `sink`, in order.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when a frame outgrows the limit, and for every push after that. The frames
    /// before it were handed out.
    pub fn push(&mut self, bytes: &[u8], sink: impl FnMut(Event<'_>)) -> Result<(), TooLarge> {
        match self {
            Self::Sse(decoder) => decoder.push(bytes, sink),
            Self::Json(decoder) => decoder.push(bytes, sink),
        }
    }

    /// Ends the body: says how it ended, and hands out a last frame that only the end completes.
    pub fn finish(self, sink: impl FnMut(Event<'_>)) -> Tail {
        match self {
            Self::Sse(mut decoder) => decoder.finish(sink),
            Self::Json(decoder) => decoder.finish(sink),
        }
    }

    /// Returns how much memory the decoder takes, most of it for a frame that is not yet whole.
    pub fn held_bytes(&self) -> usize {
        match self {
            Self::Sse(decoder) => decoder.held_bytes(),
            Self::Json(decoder) => decoder.held.capacity(),
        }
    }
}

/// A decoder of JSON values, each on a line of its own or one that is the whole body.
#[derive(Debug)]
pub struct JsonDecoder {
    /// A line feed ends a frame, with the carriage return before it.
    has_lines: bool,
    /// Largest accepted frame, in bytes.
    limit: usize,
    is_over_limit: bool,
    /// The start of a frame whose end has not arrived.
    held: Vec<u8>,
}

impl JsonDecoder {
    fn new(has_lines: bool, limit: usize) -> Self {
        Self {
            has_lines,
            limit,
            is_over_limit: false,
            held: Vec::new(),
        }
    }

    fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(Event<'_>)) -> Result<(), TooLarge> {
        let mut rest = bytes;
        while let Some(end) = self.line_end(rest) {
            let (line, after) = rest.split_at(end);
            rest = after;
            self.check(line.len())?;
            if self.held.is_empty() {
                hand_out(line, &mut sink);
            } else {
                self.held.extend_from_slice(line);
                hand_out(&self.held, &mut sink);
                self.held.clear();
                self.held.shrink_to(KEPT_CAPACITY);
            }
        }
        // Of a line at least the line feed is still to come.
        self.check(rest.len() + usize::from(self.has_lines && !rest.is_empty()))?;
        self.held.extend_from_slice(rest);
        Ok(())
    }

    /// Returns where the first line ends, its line feed included.
    fn line_end(&self, bytes: &[u8]) -> Option<usize> {
        let at = memchr::memchr(b'\n', bytes).filter(|_| self.has_lines)?;
        Some(at + 1)
    }

    /// Refuses a frame that has so many bytes beside those that are held.
    fn check(&mut self, more_bytes: usize) -> Result<(), TooLarge> {
        self.is_over_limit |= self.held.len() + more_bytes > self.limit;
        match self.is_over_limit {
            true => Err(TooLarge { limit: self.limit }),
            false => Ok(()),
        }
    }

    /// What is held at the end is whole where it is JSON: a last line often has no line feed.
    fn finish(self, mut sink: impl FnMut(Event<'_>)) -> Tail {
        let data = self.held.trim_ascii();
        if data.is_empty() && !self.is_over_limit {
            return Tail::Clean;
        }
        if self.is_over_limit || serde_json::from_slice::<IgnoredAny>(data).is_err() {
            return Tail::Cut {
                bytes: sse::saturating_u32(self.held.len()),
            };
        }
        hand_out(&self.held, &mut sink);
        match self.has_lines {
            true => Tail::NoBlankLine,
            false => Tail::Clean,
        }
    }
}

/// Hands out what stands in a frame, unless that is nothing: a server may send blank lines to keep
/// a connection alive.
fn hand_out(frame: &[u8], sink: &mut impl FnMut(Event<'_>)) {
    let data = frame.trim_ascii();
    if !data.is_empty() {
        sink(Event {
            kind: Kind::Data,
            data,
            name: None,
            wire_bytes: sse::saturating_u32(frame.len()),
        });
    }
}
