//! How a plan drives conversations.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::trace::SessionReplies;

/// How sessions are driven, where the data set is one of conversations. Arrivals are those of sessions
/// then: a turn is due a think time after the reply before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionsPlan {
    /// Number of sessions; none for one of each conversation that there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_sessions: Option<u64>,
    /// Sessions at once at most: one in think time is among them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// Whose replies a turn holds.
    pub replies: SessionReplies,
    /// What becomes of a session whose turn failed.
    #[serde(default)]
    pub on_failed_turn: FailedTurn,
}

/// What becomes of a session whose turn failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum FailedTurn {
    /// It ends; its later turns are not sent
    #[default]
    End,
    /// It goes on with the next turn, as if this one had not been
    Skip,
    /// The turn is sent again, up to 3 times; then the session ends
    Retry,
}
