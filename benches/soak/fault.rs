//! What the server does to a request, how often, and what the tape must say of it.

use tokentape::capture::schema::{ErrorKind, Status};

use crate::random::draw;

/// Declares the faults: each with its name, its share in a thousand, and its row on the tape.
macro_rules! faults {
    ($($(#[$doc:meta])* $fault:ident: $share:literal, $status:ident $($kind:ident)?, $http:expr;)+) => {
        /// What becomes of a request.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub(crate) enum Fault {
            $($(#[$doc])* $fault),+
        }

        impl Fault {
            /// Each with its share in a thousand; the first one has the rest.
            const SHARES: &[(Self, u64)] = &[$((Self::$fault, $share)),+];

            /// What the tape must say.
            pub(crate) fn expected(self) -> Expected {
                match self {
                    $(Self::$fault => Expected {
                        status: Status::$status,
                        kind: [$(ErrorKind::$kind)?].first().copied(),
                        http_status: $http,
                    }),+
                }
            }
        }
    };
}

/// The columns `status`, `error_kind` and `http_status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) status: Status,
    pub(crate) kind: Option<ErrorKind>,
    pub(crate) http_status: Option<u16>,
}

faults! {
    /// An event a chunk, at an even pace.
    Fine: 0, Ok, Some(200);
    /// Several events in one chunk, and several chunks in one write.
    Packed: 40, Ok, Some(200);
    /// The whole answer at once, in chunks of a few bytes.
    Crumbs: 20, Ok, Some(200);
    /// Each event, with its chunk's size, in several writes.
    Split: 40, Ok, Some(200);
    /// Lines of events that end in CR LF.
    CrLf: 30, Ok, Some(200);
    /// Comments between the events.
    Pings: 30, Ok, Some(200);
    /// Interim heads before the answer's own.
    Interim: 20, Ok, Some(200);
    /// A body of a known length.
    Length: 20, Ok, Some(200);
    /// A body that ends with the connection.
    UntilClose: 20, Ok, Some(200);
    /// A byte each few milliseconds.
    Drip: 8, Ok, Some(200);
    /// A finish reason and no end mark.
    NoEndMark: 20, Ok, Some(200);
    /// Nothing after the end mark, on a connection that stays open.
    LeftOpen: 10, Ok, Some(200);
    /// The connection is closed a while after the answer.
    IdleClose: 60, Ok, Some(200);
    /// Closed instead of an answer.
    NoHead: 15, Error Send, None;
    /// Reset instead of an answer.
    ResetHead: 15, Error Send, None;
    /// Closed inside of the head.
    CutHead: 15, Error Send, None;
    /// A head without end.
    EndlessHead: 5, Error TooLarge, None;
    /// No answer at all.
    Silence: 5, Timeout TimeoutFirst, None;
    /// Refused for now.
    TooMany: 15, Error Http429, Some(429);
    /// A failure of the server.
    Internal: 10, Error Http5xx, Some(500);
    /// A server that is down behind its proxy.
    Unavailable: 10, Error Http5xx, Some(503);
    /// Closed inside of a chunk.
    CutChunk: 30, Error Truncated, Some(200);
    /// Reset between two events.
    Reset: 25, Error Truncated, Some(200);
    /// Nothing more after a few tokens.
    Stall: 10, Timeout TimeoutIdle, Some(200);
    /// An error object after a few tokens.
    InStream: 20, Error InStream, Some(200);
    /// A whole body without finish reason and end mark.
    NoEnd: 20, Error Truncated, Some(200);
    /// An event that is no JSON.
    Garbage: 20, Error BadEvent, Some(200);
}

impl Fault {
    /// Draws what becomes of a request.
    pub(crate) fn draw(state: &mut u64) -> Self {
        let mut rest = draw(state) % 1_000;
        for (fault, share) in Self::SHARES {
            if rest < *share {
                return *fault;
            }
            rest -= share;
        }
        Self::Fine
    }

    /// True where the answer goes on until the client leaves.
    pub(crate) fn lasts_until_client_leaves(self) -> bool {
        matches!(
            self,
            Self::EndlessHead | Self::Silence | Self::Stall | Self::LeftOpen
        )
    }

    /// True where the connection is reset, which destroys what the client has not read.
    pub(crate) fn is_reset(self) -> bool {
        matches!(self, Self::Reset | Self::ResetHead)
    }

    /// What the server says in words, where it does.
    pub(crate) fn message(self) -> Option<&'static str> {
        match self {
            Self::TooMany => Some("slow down"),
            Self::Internal => Some("it broke"),
            Self::Unavailable => Some("nobody is at home"),
            Self::InStream => Some("out of memory (500)"),
            _ => None,
        }
    }
}
