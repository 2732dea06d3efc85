//! A question to tapes, and what its answer may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::format::Format;
use super::settings::Settings;

/// Statements over tapes, and what their answer may take.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The statements, separated by `;`.
    pub(crate) sql: String,
    /// How results are written.
    pub(crate) format: Format,
    /// What the statements judge by.
    pub(crate) settings: Settings,
    /// What the answer may take.
    pub(crate) limits: Limits,
}

#[cfg(test)]
impl Question {
    /// Makes a question that may take what is usual.
    pub(crate) fn new(sql: &str, format: Format) -> Self {
        Self {
            sql: sql.to_owned(),
            format,
            settings: Settings::default(),
            limits: Limits {
                memory_bytes: 1 << 30,
                timeout: None,
                gives_way: false,
            },
        }
    }
}

/// What one question may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Limits {
    /// Memory in bytes, beyond what every process takes.
    pub(crate) memory_bytes: usize,
    /// Time from the start to the end of the answer; none for as long as it takes.
    pub(crate) timeout: Option<Duration>,
    /// True where it gets the processor only when nobody else wants it.
    pub(crate) gives_way: bool,
}
