//! What can go wrong with a tape.

use std::io;
use std::path::{Path, PathBuf};

/// The tool could not keep or read a tape.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The output is there already.
    #[error("output `{}` exists already", .0.display())]
    Exists(PathBuf),
    /// The output is there already, and is not replaced even where that was asked for.
    #[error("output `{}` exists already and is not replaced: {reason}", path.display())]
    Kept {
        /// The output.
        path: PathBuf,
        /// What there is that is no tape's.
        reason: String,
    },
    /// The folder of a new tape could not be made.
    #[error("could not make tape `{}`", path.display())]
    Make {
        /// The tape.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// What is to be written of a run is more than is ever read.
    #[error("could not make tape `{}`: its manifest {reason}", path.display())]
    TooLarge {
        /// The tape.
        path: PathBuf,
        /// What there is too much of.
        reason: String,
    },
    /// A file or folder could not be written.
    #[error("could not write `{}`", path.display())]
    Write {
        /// What was being written.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A file or folder could not be read.
    #[error("could not read `{}`", path.display())]
    Read {
        /// What was being read.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Arrow or Parquet refused a file.
    #[error("could not {verb} `{}`: {message}", path.display())]
    Format {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        path: PathBuf,
        /// What was refused.
        message: String,
    },
    /// The path holds no tape.
    #[error("`{}` is not a tape: {reason}", path.display())]
    NotATape {
        /// The path.
        path: PathBuf,
        /// What is missing or wrong.
        reason: String,
    },
    /// The tape has a layout that this build can't read.
    #[error("tape `{}` has schema version {found}, and this build reads versions up to {known}", path.display())]
    Version {
        /// The tape.
        path: PathBuf,
        /// The tape's version.
        found: u64,
        /// The newest version that is read.
        known: u32,
    },
    /// Something in a tape is no plain file or folder, and may lead out of it.
    #[error("`{}` is {what}: a tape has plain files in plain folders", path.display())]
    Foreign {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The run was never ended, and what was taken is not there.
    #[error("tape `{}` was left by a run that did not end, and its log is missing", .0.display())]
    NoLog(PathBuf),
    /// The log, or a part of it, was removed while it was being written.
    #[error("the log `{}` was removed while it was being written", .0.display())]
    LogGone(PathBuf),
    /// The tape is to be recovered, and nothing may be written there.
    #[error("tape `{}` was left by a run that did not end, and can't be recovered where it is", path.display())]
    ReadOnly {
        /// The tape.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another process is writing the tape.
    #[error("tape `{}` is still being written", .0.display())]
    Busy(PathBuf),
    /// Another process is recovering the tape.
    #[error("tape `{}` is being recovered by another process", .0.display())]
    Recovering(PathBuf),
}

impl CaptureError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Exists(_) => Some("name another `--out`, or give `--force` to replace it".into()),
            Self::Kept { .. } => Some("name another `--out`, or move away what is there".into()),
            Self::Make { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Some("free some space, or name another `--out`".into()),
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                    Some("name an `--out` in a folder that you may write to".into())
                }
                _ => None,
            },
            Self::TooLarge { .. } => Some("give less in `--extra-body`".into()),
            Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::StorageFull => Some(
                    "free some space; what was taken is in the tape's `wal` folder, and `tokentape \
                     analyze` will recover it"
                        .into(),
                ),
                io::ErrorKind::FileTooLarge => Some(
                    "raise the limit on the size of files (`ulimit -f`); what was taken is in the \
                     tape's `wal` folder, and `tokentape analyze` will recover it"
                        .into(),
                ),
                io::ErrorKind::PermissionDenied => Some("choose a folder that you may write to".into()),
                _ => None,
            },
            Self::NotATape { .. } => {
                Some("name a folder that `tokentape load` or `replay` wrote, such as `run.tape`".into())
            }
            Self::Version { found, known, .. } if *found > u64::from(*known) => {
                Some("read it with the version of tokentape that wrote it, or a newer one".into())
            }
            Self::Version { .. } => Some("read it with the version of tokentape that wrote it".into()),
            Self::Foreign { .. } => Some(
                "look at where it came from before you trust it; nothing that it leads to was read or \
                 written"
                    .into(),
            ),
            Self::NoLog(_) => Some(
                "put its `wal` folder back, if it was moved; without it nothing of the run is known"
                    .into(),
            ),
            Self::LogGone(_) => Some("leave a tape alone until its run has ended".into()),
            Self::ReadOnly { .. } => {
                Some("copy it to a folder that you may write to, and open it there".into())
            }
            Self::Busy(_) => Some("wait until the run has ended".into()),
            Self::Recovering(_) => Some("wait until it has been recovered".into()),
            _ => None,
        }
    }
}

/// Adds the path to a failed write.
pub(super) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> CaptureError + '_ {
    move |source| CaptureError::Write {
        path: path.to_owned(),
        source,
    }
}

/// Adds the path to a failed read.
pub(super) fn read_error(path: &Path) -> impl FnOnce(io::Error) -> CaptureError + '_ {
    move |source| CaptureError::Read {
        path: path.to_owned(),
        source,
    }
}

/// Names the file that Arrow or Parquet could not write, and keeps an I/O failure recognisable.
pub(super) fn encode_error<E>(path: &Path) -> impl FnOnce(E) -> CaptureError + '_
where
    E: std::error::Error + 'static,
{
    move |error| match io_cause(&error) {
        Some(source) => CaptureError::Write {
            path: path.to_owned(),
            source,
        },
        None => CaptureError::Format {
            verb: "write",
            path: path.to_owned(),
            message: error.to_string(),
        },
    }
}

/// Names the file that Arrow or Parquet could not read.
pub(super) fn decode_error<E>(path: &Path) -> impl FnOnce(E) -> CaptureError + '_
where
    E: std::error::Error + 'static,
{
    move |error| CaptureError::Format {
        verb: "read",
        path: path.to_owned(),
        message: error.to_string(),
    }
}

/// Finds an I/O error among the causes; its kind and text are copied, as errors can't be cloned.
fn io_cause(error: &(dyn std::error::Error + 'static)) -> Option<io::Error> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<io::Error>() {
            return Some(io::Error::new(found.kind(), found.to_string()));
        }
        cause = error.source();
    }
    // Parquet keeps only the text of an I/O error, and here and there puts words of its own around
    // it.
    let text = error.to_string();
    text.contains("No space left on device")
        .then(|| io::Error::from(rustix::io::Errno::NOSPC))
}

#[cfg(test)]
mod tests {
    use parquet::errors::ParquetError;

    use super::*;

    #[test]
    fn a_full_disk_is_told_in_the_same_words_wherever_parquet_met_it() {
        let met = [
            ParquetError::External(Box::new(io::Error::from(rustix::io::Errno::NOSPC))),
            ParquetError::General(
                "fail to get inner writer: \"No space left on device (os error 28)\"".to_owned(),
            ),
        ];
        for error in met {
            let error = encode_error(Path::new("a"))(error);
            let CaptureError::Write { source, .. } = error else {
                panic!("{error:?}");
            };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull);
            assert_eq!(source.to_string(), "No space left on device (os error 28)");
        }
    }
}
