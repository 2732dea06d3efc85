//! A body out of its framing: chunked, of a known length, or until the connection closes.

use crate::capture::schema::ErrorKind;
use crate::wire::WireError;
use crate::wire::chunked::{ChunkedDecoder, ChunkedError};
use crate::wire::response::Framing;

/// Takes a body out of its framing, whatever that is.
#[derive(Debug, Default)]
pub(super) struct BodyDecoder {
    framing: BodyFraming,
    pub(super) is_done: bool,
    /// The server sent more than the body: nobody knows what that is.
    pub(super) has_excess: bool,
}

#[derive(Debug, Default)]
enum BodyFraming {
    Chunked(ChunkedDecoder),
    Length {
        left: u64,
    },
    #[default]
    UntilClose,
}

/// What a body that ended too early lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Bytes(u64),
    LastChunk,
}

impl BodyDecoder {
    pub(super) fn new(framing: Framing) -> Self {
        let framing = match framing {
            Framing::Chunked => BodyFraming::Chunked(ChunkedDecoder::default()),
            Framing::Length(left) => BodyFraming::Length { left },
            Framing::UntilClose => BodyFraming::UntilClose,
        };
        Self {
            is_done: matches!(framing, BodyFraming::Length { left: 0 }),
            framing,
            has_excess: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8], body: &mut Vec<u8>) -> Result<(), ChunkedError> {
        let taken = match &mut self.framing {
            BodyFraming::Chunked(decoder) => {
                let taken = decoder.push(bytes, |part| body.extend_from_slice(part))?;
                self.is_done = decoder.is_done();
                taken
            }
            BodyFraming::Length { left } => {
                let taken = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                body.extend_from_slice(&bytes[..taken]);
                *left -= taken as u64;
                self.is_done = *left == 0;
                taken
            }
            BodyFraming::UntilClose => {
                body.extend_from_slice(bytes);
                bytes.len()
            }
        };
        self.has_excess |= taken < bytes.len();
        Ok(())
    }

    /// Takes the end of the connection.
    pub(super) fn end(&mut self) -> Result<(), Missing> {
        self.has_excess = true;
        match &self.framing {
            BodyFraming::UntilClose => {
                self.is_done = true;
                Ok(())
            }
            BodyFraming::Length { left } => Err(Missing::Bytes(*left)),
            BodyFraming::Chunked(_) => Err(Missing::LastChunk),
        }
    }
}

/// Says that a body is not framed as it should be.
pub(super) fn bad_body(error: ChunkedError) -> WireError {
    let kind = match error {
        ChunkedError::Aside => ErrorKind::TooLarge,
        ChunkedError::Size | ChunkedError::End => ErrorKind::Truncated,
    };
    WireError {
        kind,
        message: error.to_string(),
    }
}

/// Says that a body ended too early.
pub(super) fn cut_short(missing: Missing) -> WireError {
    let message = match missing {
        Missing::Bytes(bytes) => format!(
            "the server closed the connection {bytes} bytes before the end that it had announced"
        ),
        Missing::LastChunk => {
            "the server closed the connection before the body's last chunk".to_owned()
        }
    };
    WireError {
        kind: ErrorKind::Truncated,
        message,
    }
}
