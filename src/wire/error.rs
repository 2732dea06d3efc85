//! What can go wrong on a wire: data for the tape, not an error of the tool.

use crate::capture::schema::ErrorKind;

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
    /// Makes an error of `kind` out of the innermost causes of `error`.
    pub(super) fn new(kind: ErrorKind, error: &(dyn std::error::Error + 'static)) -> Self {
        // The outer layers say little ("error sending request"); the inner ones say what happened.
        let mut parts: Vec<String> = Vec::new();
        let mut cause = error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !parts.iter().any(|part| part.contains(&text)) {
                parts.push(text);
            }
            cause = error.source();
        }
        if parts.is_empty() {
            parts.push(error.to_string());
        }
        Self {
            kind,
            message: parts.join(": "),
        }
    }
}
