//! What can keep a run from being driven.

use std::io;

use crate::backend::{BackendError, COUNTING_SERVERS};
use crate::capture::CaptureError;
use crate::schedule::ScheduleError;
use crate::trace::TraceError;
use crate::wire::WireError;
use crate::workload::WorkloadError;

/// The tool could not drive or record a run. A request that fails is not one of these.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The tape could not be written.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The trace could not be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The plan makes no sense.
    #[error("the plan can't be driven: {0}")]
    Plan(String),
    /// See [`BackendError`].
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// See [`ScheduleError`].
    #[error(transparent)]
    Schedule(#[from] ScheduleError),
    /// See [`WorkloadError`].
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// See [`CountError`].
    #[error(transparent)]
    Count(#[from] CountError),
    /// The client could not be set up.
    #[error("could not set up the connection to the server")]
    Wire(#[from] WireError),
    /// More requests are to be in flight than files may be open.
    #[error("the limit on open files leaves room for {room} requests in flight")]
    OpenFiles {
        /// How many it leaves room for.
        room: usize,
    },
    /// The system refused a thread, a timer or a runtime.
    #[error("could not start the {0}")]
    System(&'static str, #[source] io::Error),
    /// A thread of ours died.
    #[error("the {0} stopped unexpectedly; this is a bug in tokentape")]
    Died(&'static str),
}

impl LoadError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Capture(error) => error.hint(),
            Self::Trace(error) => error.hint(),
            Self::Backend(error) => Some(error.hint().into()),
            Self::Workload(error) => error.hint(),
            Self::Count(error) => Some(error.hint()),
            Self::OpenFiles { .. } => {
                Some("raise the limit (`ulimit -n`), or lower `--max-concurrency`".into())
            }
            Self::System(..) => {
                Some("raise the limit on open files or threads (`ulimit -a`)".into())
            }
            Self::Plan(_) | Self::Schedule(_) | Self::Wire(_) | Self::Died(_) => None,
        }
    }
}

/// Why a server gives no count.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CountError {
    /// Nothing came from there.
    #[error("could not ask `{url}` for a count: {message}")]
    Unreachable {
        /// What was asked, without secrets.
        url: String,
        /// Why.
        message: String,
    },
    /// It answers, and does not count.
    #[error("`{base}` does not count prompts: {why}")]
    Refused {
        /// The server, without secrets.
        base: String,
        /// What it says.
        why: String,
    },
}

impl CountError {
    /// What the user can do about it.
    pub fn hint(&self) -> String {
        match self {
            Self::Unreachable { .. } => "check `--base-url`".to_owned(),
            Self::Refused { .. } => format!(
                "name a file with `--tokenizer`: {COUNTING_SERVERS} are known to count by themselves"
            ),
        }
    }
}
