//! What can keep the client's own error from being measured.

use std::io;

use crate::analyze::AnalyzeError;
use crate::load::{LoadError, RunReport};
use crate::schedule::ScheduleError;
use crate::workload::WorkloadError;

/// A rung that could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A rung would be too small or too large.
    #[error("{message}")]
    Rung {
        /// What is wrong with it.
        message: String,
        /// What would be right, as an imperative.
        hint: &'static str,
    },
    /// The simulated server did not come up.
    #[error("the simulated server did not start: {said}")]
    Server {
        /// What it said, or what was waited for.
        said: String,
    },
    /// The system refused a process or a thread.
    #[error("could not {0}")]
    System(&'static str, #[source] io::Error),
    /// The user stopped the run.
    #[error("the run was stopped")]
    Interrupted,
    /// Not one request ended well.
    #[error("no request succeeded")]
    NoSuccess(Box<RunReport>),
    /// The answers carry no stamps.
    #[error("the server at `{target}` does not write its send times into its answers")]
    NoStamps {
        /// Address of the server, without credentials.
        target: String,
    },
    /// See [`LoadError`].
    #[error(transparent)]
    Load(#[from] LoadError),
    /// See [`AnalyzeError`].
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// See [`ScheduleError`].
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// See [`WorkloadError`].
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}

impl VerifyError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Rung { hint, .. } => Some((*hint).to_owned()),
            Self::NoStamps { .. } => Some(
                "start it as `tokentape simulate --stamp`, or leave `--base-url` out and one is started"
                    .to_owned(),
            ),
            Self::Load(error) => error.hint(),
            Self::Analyze(error) => error.hint(),
            Self::Workload(error) => error.hint(),
            Self::Server { .. }
            | Self::System(..)
            | Self::Interrupted
            | Self::NoSuccess(_)
            | Self::Schedule(_) => None,
        }
    }
}
