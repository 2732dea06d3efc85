//! What can go wrong on a wire: data for the tape, not an error of the tool.

use std::error::Error;
use std::io;

use http::StatusCode;

use crate::capture::schema::ErrorKind;

/// What the message begins with when the system has no local port left for another connection.
pub(crate) const NO_LOCAL_PORT: &str = "no local port is left for another connection";

/// What the message says of a connection under TLS that was closed as an attacker could close it.
const UNANNOUNCED_CLOSE: &str = "the server closed the connection without announcing it";

/// A failed exchange, as the tape's `error_kind` and `error_message` have it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct WireError {
    /// What failed.
    pub kind: ErrorKind,
    /// What failed, in the words of the system; without addresses' credentials.
    pub message: String,
}

impl WireError {
    /// Whether the server is there and answered with a status that is no success.
    pub fn is_status(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::Http4xx | ErrorKind::Http429 | ErrorKind::Http5xx
        )
    }

    /// Makes an error of a status that is no success.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let kind = match status.as_u16() {
            429 => ErrorKind::Http429,
            500.. => ErrorKind::Http5xx,
            _ => ErrorKind::Http4xx,
        };
        Self {
            kind,
            message: format!("the server answered {status}"),
        }
    }

    /// Makes an error of `kind` out of the innermost causes of `error`.
    pub(super) fn new(kind: ErrorKind, error: &(dyn Error + 'static)) -> Self {
        // The outer layers say little ("error sending request"); the inner ones say what happened.
        let mut parts: Vec<String> = Vec::new();
        for cause in causes(error).skip(1) {
            let text = cause.to_string();
            if !parts.iter().any(|part| part.contains(&text)) {
                parts.push(text);
            }
        }
        if parts.is_empty() {
            parts.push(error.to_string());
        }
        for part in &mut parts {
            // What the library says of it is advice to programmers, with an address.
            if part.contains("close_notify") {
                UNANNOUNCED_CLOSE.clone_into(part);
            }
        }
        if kind == ErrorKind::Connect && is_about_local_ports(error) {
            parts.insert(0, NO_LOCAL_PORT.to_owned());
        }
        Self {
            kind,
            message: parts.join(": "),
        }
    }
}

/// Says whether an error of the system is the end of a connection.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::NotConnected
            | io::ErrorKind::UnexpectedEof
    )
}

/// Says whether the system refused a connection because of this end of it.
fn is_about_local_ports(error: &(dyn Error + 'static)) -> bool {
    causes(error).any(|cause| {
        let system = cause.downcast_ref::<io::Error>();
        system.is_some_and(|error| error.kind() == io::ErrorKind::AddrNotAvailable)
    })
}

/// An error and its causes, the outermost first. An I/O error does not name what it wraps as its
/// source but that one's source, and several may lie in each other.
pub(super) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| {
        let error: &'a (dyn Error + 'static) = *error;
        let wrapped = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        match wrapped {
            Some(wrapped) => Some(wrapped as &(dyn Error + 'static)),
            None => error.source(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_local_ports_is_named() {
        let refused = io::Error::from(io::ErrorKind::AddrNotAvailable);
        let error = WireError::new(ErrorKind::Connect, &refused);
        assert!(error.message.starts_with(NO_LOCAL_PORT), "{error}");
        let other = io::Error::from(io::ErrorKind::ConnectionRefused);
        let error = WireError::new(ErrorKind::Connect, &other);
        assert!(!error.message.contains(NO_LOCAL_PORT), "{error}");
    }

    #[test]
    fn what_io_errors_wrap_is_found_in_them() {
        let inner = rustls::Error::HandshakeNotComplete;
        let twice = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, inner));
        assert!(causes(&twice).any(|cause| cause.is::<rustls::Error>()));
        let error = WireError::new(ErrorKind::Tls, &twice);
        assert_eq!(error.message, "handshake not complete");
    }
}
