//! What ends the program with a message: the stages' errors, and what the user can do.

use std::io;
use std::path::PathBuf;

use crate::analyze::AnalyzeError;
use crate::capture::CaptureError;
use crate::load::LoadError;
use crate::report::ReportError;
use crate::simulate::SimulateError;
use crate::sql::SqlError;
use crate::trace::TraceError;
use crate::verify::VerifyError;
use crate::workload::WorkloadError;

/// The program could not do its own work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line asks for something that can't be.
    #[error("{message}")]
    Usage {
        /// What is wrong with it.
        message: String,
        /// What would be right.
        hint: Option<String>,
    },
    /// The server could not be asked something before the run.
    #[error("{message}")]
    Target {
        /// What could not be learnt.
        message: String,
        /// What the user can do about it.
        hint: Option<String>,
    },
    /// A file could not be read or written.
    #[error("could not {verb} `{}`", path.display())]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// An output is there already.
    #[error("output `{}` exists already", .0.display())]
    Exists(PathBuf),
    /// The process may have too little address space.
    #[error("the address space is limited to {kib} KiB, and the work needs {needed_kib} KiB")]
    AddressSpace {
        /// The limit, in KiB.
        kib: u64,
        /// What would do, in KiB.
        needed_kib: u64,
    },
    /// The system refused a thread, a socket or a signal handler.
    #[error("could not {0}")]
    System(String, #[source] io::Error),
    /// See [`TraceError`].
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// See [`WorkloadError`].
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// See [`CaptureError`].
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// See [`LoadError`].
    #[error(transparent)]
    Load(#[from] LoadError),
    /// See [`SqlError`].
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// See [`AnalyzeError`].
    #[error(transparent)]
    Analyze(#[from] AnalyzeError),
    /// See [`ReportError`].
    #[error(transparent)]
    Report(#[from] ReportError),
    /// See [`SimulateError`].
    #[error(transparent)]
    Simulate(#[from] SimulateError),
    /// See [`VerifyError`].
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl Error {
    /// Names a wrong command line and what would be right.
    pub(crate) fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: Some(hint.into()),
        }
    }

    /// Returns what the user can do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Target { hint, .. } => hint.clone(),
            Self::Exists(_) => Some("name another file, or give `--force` to replace it".into()),
            Self::AddressSpace { needed_kib, .. } => Some(format!(
                "raise it: `ulimit -v {needed_kib}`, or `ulimit -v unlimited`"
            )),
            Self::Trace(error) => error.hint(),
            Self::Workload(error) => error.hint(),
            Self::Capture(error) => error.hint(),
            Self::Load(error) => error.hint(),
            Self::Sql(error) => error.hint(),
            Self::Analyze(error) => error.hint(),
            Self::Verify(error) => error.hint(),
            Self::File {
                verb: "write",
                source,
                ..
            } => remedy(source.kind()),
            Self::File { .. } | Self::System(..) | Self::Report(_) | Self::Simulate(_) => None,
        }
    }

    /// Returns the exit code that the program ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage { .. } => exit::USAGE,
            Self::Load(
                LoadError::Plan(_)
                | LoadError::Backend(_)
                | LoadError::Schedule(_)
                | LoadError::Workload(WorkloadError::Lengths { .. }),
            ) => exit::USAGE,
            Self::Simulate(SimulateError::Setting { .. }) => exit::USAGE,
            Self::Target { .. } => exit::NO_SUCCESS,
            Self::Verify(VerifyError::Rung { .. } | VerifyError::Schedule(_)) => exit::USAGE,
            Self::Verify(VerifyError::NoStamps { .. } | VerifyError::NoSuccess(_)) => {
                exit::NO_SUCCESS
            }
            Self::Verify(VerifyError::Interrupted) => exit::INTERRUPTED,
            Self::Trace(TraceError::Selection { .. } | TraceError::UnknownFormat { .. })
            | Self::Workload(WorkloadError::Lengths { .. }) => exit::USAGE,
            Self::Sql(error) if error.is_usage() => exit::USAGE,
            Self::Analyze(error) if error.is_usage() => exit::USAGE,
            _ => exit::IO,
        }
    }
}

/// What the user can do about a file that can't be made.
fn remedy(kind: io::ErrorKind) -> Option<String> {
    let hint = match kind {
        io::ErrorKind::NotFound => "make its folder first, or name another one",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file has the name of the folder: name another one"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a file in a folder that you may write to"
        }
        _ => return None,
    };
    Some(hint.to_owned())
}

/// Exit codes, as the help and the README list them.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Ran, but a stated goal was missed.
    pub const GOAL_MISSED: u8 = 1;
    /// Wrong usage.
    pub const USAGE: u8 = 2;
    /// No request succeeded.
    pub const NO_SUCCESS: u8 = 3;
    /// Could not read or write.
    pub const IO: u8 = 4;
    /// A condition could not be decided for want of data.
    pub const UNDECIDED: u8 = 5;
    /// Interrupted; the tape is complete up to then.
    pub const INTERRUPTED: u8 = 130;
}
