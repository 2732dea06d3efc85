//! What can be wrong with a ServeGen folder, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::trace::quote::Short;

/// Why no trace can be made of a ServeGen folder.
#[derive(Debug, thiserror::Error)]
pub enum ServeGenError {
    /// The folder or a file of it can't be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The folder or the file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is larger than any of its kind is.
    #[error("`{}` has more than {most_bytes} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Most bytes of a file.
        most_bytes: u64,
    },
    /// The folder has no client whose two files are there.
    #[error(
        "`{}` has no client: no pair of `chunk-N-trace.csv` and `chunk-N-dataset.json`",
        path.display()
    )]
    NoClient {
        /// The folder.
        path: PathBuf,
    },
    /// A line of a client's rates is wrong.
    #[error("`{}` line {line}: {}", path.display(), Short(message))]
    Rates {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A client's rates have no line.
    #[error("`{}` has no lines", path.display())]
    NoRates {
        /// The file.
        path: PathBuf,
    },
    /// A client's lengths are not what they should be.
    #[error("`{}`{}: {}", path.display(), Short(key), Short(message))]
    Lengths {
        /// The file.
        path: PathBuf,
        /// Where in it, as ` key "a" "b"`; empty for the whole file.
        key: String,
        /// What is wrong.
        message: String,
    },
}

impl ServeGenError {
    /// Returns what the user can do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Read { .. } | Self::NoClient { .. } => {
                "name the folder of one model, such as `data/language/m-large` of a ServeGen checkout"
            }
            Self::TooLarge { .. } => "check that it is a file of ServeGen's",
            Self::Rates { .. } | Self::NoRates { .. } | Self::Lengths { .. } => {
                "correct the file, or move both files of the client out of the folder"
            }
        };
        Some(hint.to_owned())
    }
}
