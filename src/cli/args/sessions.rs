//! Flags of sessions: conversations that are driven turn by turn.

use clap::Args;

use crate::plan::{FailedTurn, SessionReplies};
use crate::units::parse_rate_per_s;

/// How sessions are driven, where the data set are conversations.
#[derive(Debug, Args)]
#[command(next_help_heading = "Sessions")]
pub(crate) struct SessionArgs {
    /// Sessions to begin [default: one of each conversation; 100 where they are made up]
    ///
    /// With --duration or --num-prompts there is no limit, and a file's conversations begin again
    /// under other names.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) num_sessions: Option<u64>,
    /// Sessions at once at most: one whose user thinks keeps its place [default: --max-concurrency]
    ///
    /// Without --session-rate the next one begins when one has ended.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) max_sessions: Option<u32>,
    /// New sessions a second: a number, or `inf` for all at once [default: inf]
    ///
    /// --arrivals, --burstiness, ramps and steps are then of sessions. A turn after the first is due
    /// a think time after the reply before it.
    #[arg(long, value_name = "RATE", value_parser = parse_rate_per_s)]
    pub(crate) session_rate: Option<f64>,
    /// Whose replies a turn holds: the server's own, the data set's, or nobody's [default: live]
    ///
    /// Where a live reply has no text, made-up text of the planned length stands in its place.
    #[arg(long, value_name = "WHOSE")]
    pub(crate) session_replies: Option<SessionReplies>,
    /// What becomes of a session whose turn failed [default: end]
    #[arg(long, value_name = "WHAT")]
    pub(crate) on_failed_turn: Option<FailedTurn>,
}

impl SessionArgs {
    /// The first of the flags that was given.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--num-sessions", self.num_sessions.is_some()),
            ("--max-sessions", self.max_sessions.is_some()),
            ("--session-rate", self.session_rate.is_some()),
            ("--session-replies", self.session_replies.is_some()),
            ("--on-failed-turn", self.on_failed_turn.is_some()),
        ];
        let mut given = flags.into_iter().filter(|(_, is_given)| *is_given);
        given.next().map(|(flag, _)| flag)
    }
}
