//! The answer to one request, in each of the ways that a fault asks for.

use std::io::{Read as _, Write as _};
use std::thread;
use std::time::Duration;

use tokentape::time::clock::utc_now_ns;

use crate::fault::Fault;
use crate::ledger::{End, Entry, token_text};
use crate::random::draw;
use crate::server::{Connection, Shared};

/// Bytes of a head without end that are sent at most: the client gives up long before.
const ENDLESS_BYTES: usize = 64 << 20;

/// How long the server waits for a client to leave.
const LEAVING: Duration = Duration::from_secs(30);

/// Tokens of an answer that comes byte by byte.
const DRIPPED_TOKENS: usize = 4;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                       transfer-encoding: chunked\r\n\r\n";

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It takes the next request.
    Next,
    /// It takes the next request if that comes soon.
    CloseWhenIdle,
    Close,
    Reset,
}

/// One answer while it is being written.
pub(crate) struct Reply<'a> {
    shared: &'a Shared,
    connection: &'a Connection,
    fault: Fault,
    state: u64,
    serial: u32,
    started_ns: i64,
    gap: Duration,
    written_us: Vec<u32>,
    is_finished: bool,
    is_open: bool,
    has_client_left: bool,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(
        (shared, connection): (&'a Shared, &'a Connection),
        fault: Fault,
        mut state: u64,
    ) -> Self {
        Self {
            shared,
            connection,
            fault,
            serial: shared.ledger.next_serial(),
            started_ns: utc_now_ns(),
            gap: Duration::from_millis(10 + draw(&mut state) % 30),
            state,
            written_us: Vec::new(),
            is_finished: false,
            is_open: true,
            has_client_left: false,
        }
    }

    /// Returns what is to be remembered of the answer.
    pub(crate) fn into_entry(self, run: u16, prompt: u64) -> Entry {
        let is_cut = self.connection.is_cut();
        Entry {
            prompt,
            serial: self.serial,
            run,
            fault: self.fault,
            end: match (self.is_open && !self.has_client_left, is_cut) {
                (true, _) => End::AsPlanned,
                (false, true) => End::Outage,
                (false, false) => End::ClientLeft,
            },
            is_finished: self.is_finished,
            started_ns: self.started_ns,
            ended_ns: utc_now_ns(),
            written_us: self.written_us.into(),
        }
    }

    /// Writes the answer; `asked` is the number of tokens.
    pub(crate) fn answer(&mut self, asked: usize) -> Then {
        let first_ms = 5 + self.draw(60);
        self.pause(Duration::from_millis(first_ms));
        // Of an answer that breaks off.
        let some = 1 + self.draw_index(asked - 1);
        match self.fault {
            Fault::NoHead => return Then::Close,
            Fault::ResetHead => return Then::Reset,
            Fault::CutHead => {
                self.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/ev");
                return Then::Close;
            }
            Fault::EndlessHead => self.endless_head(),
            Fault::Silence => self.wait_for_client(),
            Fault::TooMany => return self.refuse("429 Too Many Requests"),
            Fault::Internal => return self.refuse("500 Internal Server Error"),
            Fault::Unavailable => return self.refuse("503 Service Unavailable"),
            Fault::Length => return self.with_length(asked),
            Fault::UntilClose => self.until_close(asked),
            Fault::Drip => return self.drip(asked.min(DRIPPED_TOKENS)),
            Fault::Crumbs => return self.crumbs(asked),
            Fault::Packed => return self.packed(asked),
            Fault::CutChunk => {
                self.begin();
                self.tokens(some - 1);
                let event = self.event(some - 1);
                let half = event.len() / 2;
                self.write(format!("{:x}\r\n{}", event.len(), &event[..half]).as_bytes());
            }
            Fault::Reset => {
                self.begin();
                self.tokens(some - 1);
                if self.draw(2) == 0 {
                    self.pause(Duration::from_millis(20));
                }
                return Then::Reset;
            }
            Fault::Stall => {
                self.begin();
                self.tokens(some);
                self.wait_for_client();
            }
            Fault::LeftOpen => {
                self.begin();
                self.tokens(asked);
                self.write_ending(asked);
                self.wait_for_client();
            }
            Fault::InStream => {
                self.begin();
                self.tokens(some);
                self.chunk("data: {\"error\":{\"message\":\"out of memory\",\"code\":500}}\n\n");
                self.chunk("data: [DONE]\n\n");
                return self.end();
            }
            Fault::NoEnd => {
                self.begin();
                self.tokens(some);
                return self.end();
            }
            _ => return self.whole(asked, some),
        }
        Then::Close
    }

    /// Writes a whole answer, event by event.
    fn whole(&mut self, asked: usize, some: usize) -> Then {
        if self.fault == Fault::Interim {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n");
            self.write(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        }
        self.begin();
        self.tokens(some);
        if self.fault == Fault::Garbage {
            self.chunk("data: {\"choices\": oops\n\n");
        }
        self.tokens(asked - some);
        self.write_ending(asked);
        self.end();
        if self.fault == Fault::IdleClose {
            Then::CloseWhenIdle
        } else {
            Then::Next
        }
    }

    /// Writes the next tokens, each at its time.
    fn tokens(&mut self, count: usize) {
        for _ in 0..count {
            self.pause(self.gap);
            let mut event = self.event(self.written_us.len());
            let fault = self.fault;
            match fault {
                Fault::CrLf => event = event.replace('\n', "\r\n"),
                Fault::Pings if self.draw(3) == 0 => self.chunk(": ping\n\n"),
                _ => {}
            }
            let framed = framed(&event);
            if self.fault == Fault::Split {
                let (first, second) = (framed.len() / 3, 2 * framed.len() / 3);
                self.write(&framed.as_bytes()[..first]);
                self.pause(Duration::from_millis(1));
                self.write(&framed.as_bytes()[first..second]);
                self.pause(Duration::from_millis(1));
                self.write(&framed.as_bytes()[second..]);
            } else {
                self.write(framed.as_bytes());
            }
            self.note(1);
        }
    }

    /// Writes several events a chunk, and two chunks a write.
    fn packed(&mut self, asked: usize) -> Then {
        self.begin();
        while self.written_us.len() < asked && self.is_open {
            self.pause(4 * self.gap);
            let first = self.written_us.len();
            let (middle, last) = (asked.min(first + 3), asked.min(first + 5));
            let mut chunks = framed(&self.events(first..middle));
            if middle < last {
                chunks.push_str(&framed(&self.events(middle..last)));
            }
            self.write(chunks.as_bytes());
            self.note(last - first);
        }
        self.write_ending(asked);
        self.end()
    }

    /// Writes all at once, in chunks of a few bytes.
    fn crumbs(&mut self, asked: usize) -> Then {
        let body = self.events(0..asked) + &self.ending(asked);
        let mut chunks = CHUNKED.to_owned();
        let mut rest = body.as_str();
        while !rest.is_empty() {
            let (crumb, after) = rest.split_at(rest.len().min(1 + self.draw_index(3)));
            chunks.push_str(&framed(crumb));
            rest = after;
        }
        chunks.push_str("0\r\n\r\n");
        self.write(chunks.as_bytes());
        self.note(asked);
        self.is_finished = self.is_open;
        Then::Next
    }

    fn with_length(&mut self, asked: usize) -> Then {
        let ending = self.ending(asked);
        let length = self.events(0..asked).len() + ending.len();
        self.write(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                 content-length: {length}\r\n\r\n"
            )
            .as_bytes(),
        );
        self.plain_tokens(asked);
        self.write(ending.as_bytes());
        self.is_finished = self.is_open;
        Then::Next
    }

    fn until_close(&mut self, asked: usize) {
        self.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n");
        self.plain_tokens(asked);
        self.write(self.ending(asked).as_bytes());
        self.is_finished = self.is_open;
    }

    /// Writes tokens of a body that has no chunks.
    fn plain_tokens(&mut self, count: usize) {
        for token in 0..count {
            self.pause(self.gap);
            self.write(self.event(token).as_bytes());
            self.note(1);
        }
    }

    /// Writes an answer byte by byte.
    fn drip(&mut self, asked: usize) -> Then {
        let mut bytes = CHUNKED.to_owned();
        let mut token_ends = Vec::new();
        for token in 0..asked {
            bytes.push_str(&framed(&self.event(token)));
            // The chunk's own end is no part of the event.
            token_ends.push(bytes.len() - 2);
        }
        let ending = self.ending(asked);
        let finish_end =
            bytes.len() + framed(&ending).find('\n').unwrap_or(0) + 1 + finish(self.serial).len();
        bytes.push_str(&framed(&ending));
        bytes.push_str("0\r\n\r\n");
        for (index, byte) in bytes.bytes().enumerate() {
            self.pause(Duration::from_millis(3));
            self.write(&[byte]);
            if token_ends.contains(&(index + 1)) {
                self.note(1);
            }
            self.is_finished |= self.is_open && index + 1 == finish_end;
        }
        Then::Next
    }

    fn endless_head(&mut self) {
        self.write(b"HTTP/1.1 200 OK\r\n");
        for _ in 0..ENDLESS_BYTES / 1_024 {
            if !self.is_open {
                return;
            }
            self.write(&b"x-more: and more\r\n".repeat(57));
        }
    }

    fn refuse(&mut self, status: &str) -> Then {
        let message = self.fault.message().unwrap_or_default();
        let body = format!("{{\"error\":{{\"message\":\"{message}\",\"type\":\"soak\"}}}}");
        self.write(
            format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n\
                 content-length: {}\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        );
        Then::Next
    }

    fn begin(&mut self) {
        self.write(CHUNKED.as_bytes());
    }

    fn end(&mut self) -> Then {
        self.write(b"0\r\n\r\n");
        Then::Next
    }

    fn chunk(&mut self, bytes: &str) {
        self.write(framed(bytes).as_bytes());
    }

    fn write_ending(&mut self, tokens: usize) {
        self.chunk(&self.ending(tokens));
        self.is_finished = self.is_open;
    }

    /// The event of one token.
    fn event(&self, token: usize) -> String {
        format!(
            "data: {{\"id\":\"s{}\",\"choices\":[{{\"index\":0,\"text\":\"{}\",\"finish_reason\":null}}]}}\n\n",
            self.serial,
            token_text(self.serial, token)
        )
    }

    fn events(&self, tokens: std::ops::Range<usize>) -> String {
        tokens.map(|token| self.event(token)).collect()
    }

    /// What comes after the last token: a finish reason, the usage, the end mark.
    fn ending(&self, tokens: usize) -> String {
        if self.fault == Fault::NoEndMark {
            return finish(self.serial);
        }
        let ending = format!(
            "{}data: {{\"id\":\"s{}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":8,\"completion_tokens\":{tokens}}}}}\n\n\
             data: [DONE]\n\n",
            finish(self.serial),
            self.serial
        );
        if self.fault == Fault::CrLf {
            ending.replace('\n', "\r\n")
        } else {
            ending
        }
    }

    /// Writes bytes as they are; none any more once that has failed.
    fn write(&mut self, bytes: &[u8]) {
        self.is_open = self.is_open && (&self.connection.stream).write_all(bytes).is_ok();
    }

    /// Notes that the next tokens have been written whole.
    fn note(&mut self, count: usize) {
        if self.is_open {
            let us = u32::try_from((utc_now_ns() - self.started_ns) / 1_000).unwrap_or(0);
            self.written_us.extend(std::iter::repeat_n(us, count));
        }
    }

    fn pause(&mut self, duration: Duration) {
        if self.is_open {
            thread::sleep(duration);
            self.is_open = !self.shared.is_over() && !self.connection.is_cut();
        }
    }

    fn wait_for_client(&mut self) {
        let mut stream = &self.connection.stream;
        let _ = stream.set_read_timeout(Some(LEAVING));
        self.has_client_left = matches!(stream.read(&mut [0]), Ok(0) | Err(_));
    }

    fn draw(&mut self, below: u64) -> u64 {
        draw(&mut self.state) % below.max(1)
    }

    fn draw_index(&mut self, below: usize) -> usize {
        let below = u64::try_from(below).unwrap_or(u64::MAX);
        usize::try_from(self.draw(below)).unwrap_or(0)
    }
}

fn framed(bytes: &str) -> String {
    format!("{:x}\r\n{bytes}\r\n", bytes.len())
}

fn finish(serial: u32) -> String {
    format!(
        "data: {{\"id\":\"s{serial}\",\"choices\":[{{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}}]}}\n\n"
    )
}
