//! Server-sent events: bytes in, events out, wherever the bytes were split.
//!
//! A decoder of the WHATWG event stream format that works on bytes. A line ends with LF, CRLF or a
//! lone CR and with nothing else: U+2028, U+2029 and U+0085 are legal inside JSON. Reads are never
//! trimmed or turned into text here, since one may end inside a UTF-8 sequence or between CR and
//! LF. A whole event inside one read is handed out in place; only what spans reads is copied.

#[cfg(test)]
mod tests;

/// The largest event that a [`Decoder`] accepts unless it is told otherwise, in bytes.
pub const MAX_EVENT_BYTES: usize = 4 << 20;

/// A buffer that an unusually large event has grown beyond this is given back, so that one such
/// event a stream does not fix the memory of the whole run.
pub(super) const KEPT_CAPACITY: usize = 64 << 10;

const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// What a block of an event stream is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// One or more `data:` lines, ended by a blank line.
    Data,
    /// One line that starts with a colon, such as a keep-alive ping; handed out at its line end.
    Comment,
}

/// One event, valid until the sink that is given it returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Data or a comment.
    pub kind: Kind,
    /// The values of the `data:` lines, joined by LF; of a comment, what follows the colon.
    pub data: &'a [u8],
    /// The value of the `event:` line, if there was one.
    pub name: Option<&'a [u8]>,
    /// Size of the event on the wire, in bytes, with field names and line ends.
    ///
    /// The event is complete at the CR of a closing CRLF, so that LF counts to the next event.
    pub wire_bytes: u32,
}

/// An event outgrew the decoder's limit; nothing after it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a streamed event is larger than {limit} bytes")]
pub struct TooLarge {
    /// The limit, in bytes.
    pub limit: usize,
}

/// How a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// After a whole event.
    Clean,
    /// After whole lines, without the blank line that completes the last event. The event was
    /// handed out all the same: many servers leave that line away after `data: [DONE]`. Of JSON
    /// lines: without the last line feed.
    NoBlankLine,
    /// Inside a line. What the line and its event held was discarded: it may be half an event.
    Cut {
        /// Size of what was discarded, in bytes.
        bytes: u32,
    },
}

/// An incremental decoder of one event stream.
#[derive(Debug)]
pub struct Decoder {
    /// Largest accepted event, in bytes.
    limit: usize,
    /// The data of the event that ends the stream.
    end_mark: Option<&'static str>,
    /// An event outgrew the limit.
    is_over_limit: bool,
    /// How many bytes of a byte order mark the stream has begun with; `None` past its start.
    mark_bytes: Option<usize>,
    /// The last byte was a CR: an LF that follows belongs to the same line end.
    follows_cr: bool,
    /// The start of a line whose end has not arrived.
    line: Vec<u8>,
    /// The event whose blank line has not arrived.
    pending: Pending,
}

/// An event in the making.
#[derive(Debug, Default)]
struct Pending {
    /// Values of the data lines that came with earlier reads, joined by LF.
    data: Vec<u8>,
    /// There was a data line, here or still in place.
    has_data: bool,
    name: Vec<u8>,
    has_name: bool,
    /// Wire size of the event's lines so far.
    bytes: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new()
    }
}

impl Decoder {
    /// Creates a decoder for one stream, with the limit [`MAX_EVENT_BYTES`].
    pub fn new() -> Self {
        Self::with_limit(MAX_EVENT_BYTES)
    }

    /// Creates a decoder that accepts events of at most `limit` bytes on the wire.
    pub fn with_limit(limit: usize) -> Self {
        Self {
            limit,
            end_mark: None,
            is_over_limit: false,
            mark_bytes: Some(0),
            follows_cr: false,
            line: Vec::new(),
            pending: Pending::default(),
        }
    }

    /// The same decoder of a stream that ends with an event of this data.
    pub fn with_end_mark(self, end_mark: Option<&'static str>) -> Self {
        Self { end_mark, ..self }
    }

    /// Decodes the bytes of one read and hands each event that they complete to `sink`, in order.
    ///
    /// # Errors
    ///
    /// [`TooLarge`] when an event outgrows the limit, and for every push after that. The events
    /// before it were handed out.
    pub fn push<'a>(
        &mut self,
        bytes: &'a [u8],
        mut sink: impl FnMut(Event<'_>),
    ) -> Result<(), TooLarge> {
        let over_limit = TooLarge { limit: self.limit };
        if self.is_over_limit {
            return Err(over_limit);
        }
        let mut rest = self.without_byte_order_mark(bytes);
        // The one data line of the event in the making, while it can stay in place.
        let mut sole: Option<&'a [u8]> = None;
        loop {
            rest = self.without_second_half_of_crlf(rest);
            let Some(end) = line_end(rest) else { break };
            let line = &rest[..end];
            self.follows_cr = rest[end] == b'\r';
            rest = &rest[end + 1..];
            let is_within_limit = if self.line.is_empty() {
                self.pending
                    .take_line(line, self.limit, &mut sole, &mut sink)
            } else {
                self.take_carried_line(line, &mut sink)
            };
            if !is_within_limit {
                self.is_over_limit = true;
                return Err(over_limit);
            }
        }
        if let Some(data) = sole {
            self.pending.data.extend_from_slice(data);
        }
        if self.is_outgrown_by(rest) {
            self.is_over_limit = true;
            return Err(over_limit);
        }
        self.line.extend_from_slice(rest);
        Ok(())
    }

    /// Ends the stream: says how it ended, and makes the decoder ready for another one.
    ///
    /// An event of whole lines that only lacks its blank line goes to `sink`, and so does an end
    /// mark without any line end. The format would discard both; servers that leave them so are
    /// common, and what they sent is whole.
    pub fn finish(&mut self, mut sink: impl FnMut(Event<'_>)) -> Tail {
        let next = Self::with_limit(self.limit).with_end_mark(self.end_mark);
        let ended = std::mem::replace(self, next);
        if ended.is_over_limit {
            return Tail::Cut {
                bytes: saturating_u32(ended.pending.bytes + ended.line.len()),
            };
        }
        let mut pending = ended.pending;
        let cut_bytes = ended.line.len() + ended.mark_bytes.unwrap_or(0);
        if cut_bytes > 0 {
            let end_mark = ended.end_mark.map(str::as_bytes).filter(|mark| {
                !pending.has_data && field_value(&ended.line, b"data") == Some(mark)
            });
            let Some(end_mark) = end_mark else {
                return Tail::Cut {
                    bytes: saturating_u32(pending.bytes + cut_bytes),
                };
            };
            pending.data.extend_from_slice(end_mark);
            pending.has_data = true;
            pending.bytes += cut_bytes;
        }
        if !pending.has_data {
            return Tail::Clean;
        }
        pending.dispatch(None, &mut sink);
        Tail::NoBlankLine
    }

    /// Returns how much memory the decoder takes, most of it for an event that is not yet whole.
    pub fn held_bytes(&self) -> usize {
        self.line.capacity() + self.pending.data.capacity() + self.pending.name.capacity()
    }

    /// Drops the byte order mark that a stream may start with, itself wherever it is split.
    fn without_byte_order_mark<'a>(&mut self, mut bytes: &'a [u8]) -> &'a [u8] {
        while let (Some(matched), [first, rest @ ..]) = (self.mark_bytes, bytes) {
            if *first != BYTE_ORDER_MARK[matched] {
                // Not a mark after all: what looked like one is the start of the first line.
                self.line.extend_from_slice(&BYTE_ORDER_MARK[..matched]);
                self.mark_bytes = None;
                break;
            }
            bytes = rest;
            self.mark_bytes = Some(matched + 1).filter(|&matched| matched < BYTE_ORDER_MARK.len());
        }
        bytes
    }

    fn without_second_half_of_crlf<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if !self.follows_cr || bytes.is_empty() {
            return bytes;
        }
        self.follows_cr = false;
        match bytes.strip_prefix(b"\n") {
            Some(rest) => {
                self.pending.bytes += 1;
                rest
            }
            None => bytes,
        }
    }

    /// Takes a line that began in an earlier read and ends with `end_of_line`.
    fn take_carried_line(&mut self, end_of_line: &[u8], sink: &mut impl FnMut(Event<'_>)) -> bool {
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(end_of_line);
        let mut sole = None;
        let is_within_limit = self.pending.take_line(&line, self.limit, &mut sole, sink);
        if let Some(data) = sole {
            self.pending.data.extend_from_slice(data);
        }
        line.clear();
        if line.capacity() <= KEPT_CAPACITY {
            self.line = line;
        }
        is_within_limit
    }

    /// True when the line in the making will be too large, however it ends.
    fn is_outgrown_by(&self, rest: &[u8]) -> bool {
        let is_comment = self.line.first().or(rest.first()) == Some(&b':');
        let line_bytes = self.line.len() + rest.len();
        if line_bytes == 0 {
            return false;
        }
        let event_bytes = if is_comment { 0 } else { self.pending.bytes };
        event_bytes + line_bytes + 1 > self.limit
    }
}

impl Pending {
    /// Takes one line without its end; false when the event is larger than `limit`.
    ///
    /// `sole` is the value of the only data line so far, where it can still be handed out in
    /// place. Several are joined in `self.data`.
    fn take_line<'a>(
        &mut self,
        line: &'a [u8],
        limit: usize,
        sole: &mut Option<&'a [u8]>,
        sink: &mut impl FnMut(Event<'_>),
    ) -> bool {
        let line_bytes = line.len() + 1;
        if let Some(comment) = line.strip_prefix(b":") {
            if line_bytes > limit {
                return false;
            }
            sink(Event {
                kind: Kind::Comment,
                data: comment.strip_prefix(b" ").unwrap_or(comment),
                name: None,
                wire_bytes: saturating_u32(line_bytes),
            });
            return true;
        }
        self.bytes += line_bytes;
        if self.bytes > limit {
            return false;
        }
        if line.is_empty() {
            self.dispatch(sole.take(), sink);
        } else if let Some(value) = field_value(line, b"data") {
            self.take_data(value, sole);
        } else if let Some(name) = field_value(line, b"event") {
            self.name(name);
        } else if let Some(value) = field_value(line, b"error") {
            // No field of the format: llama.cpp has written its errors so.
            self.name(b"error");
            self.take_data(value, sole);
        }
        true
    }

    fn name(&mut self, name: &[u8]) {
        self.name.clear();
        self.name.extend_from_slice(name);
        self.has_name = true;
    }

    fn take_data<'a>(&mut self, value: &'a [u8], sole: &mut Option<&'a [u8]>) {
        if !self.has_data {
            self.has_data = true;
            *sole = Some(value);
            return;
        }
        if let Some(first) = sole.take() {
            self.data.extend_from_slice(first);
        }
        self.data.push(b'\n');
        self.data.extend_from_slice(value);
    }

    /// Hands the event out, unless it has no data, and starts the next one.
    fn dispatch(&mut self, sole: Option<&[u8]>, sink: &mut impl FnMut(Event<'_>)) {
        if self.has_data {
            sink(Event {
                kind: Kind::Data,
                data: sole.unwrap_or(&self.data),
                name: self.has_name.then_some(self.name.as_slice()),
                wire_bytes: saturating_u32(self.bytes),
            });
        }
        self.data.clear();
        self.data.shrink_to(KEPT_CAPACITY);
        self.name.clear();
        self.name.shrink_to(KEPT_CAPACITY);
        self.has_data = false;
        self.has_name = false;
        self.bytes = 0;
    }
}

/// Returns the value of `line` when its field is `name`; a line without a colon is all name.
fn field_value<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.strip_prefix(name)? {
        [] => Some(&[]),
        [b':', b' ', value @ ..] | [b':', value @ ..] => Some(value),
        _ => None,
    }
}

/// Returns where the first CR or LF is.
fn line_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr2(b'\n', b'\r', bytes)
}

pub(super) fn saturating_u32(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
