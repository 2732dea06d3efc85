//! Output files: opened before the work that fills them, never overwritten unasked.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::talk;
use crate::error::Error;

/// A place for one text: a file that is open already, or stdout.
pub(super) struct Output {
    path: PathBuf,
    file: Option<File>,
}

impl Output {
    /// Opens the file for writing; `-` is stdout.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when the file is there and may not be replaced; [`Error::File`] when it
    /// can't be made.
    pub(super) fn open(path: &Path, replaces: bool) -> Result<Self, Error> {
        if path.as_os_str() == "-" {
            return Ok(Self {
                path: path.to_owned(),
                file: None,
            });
        }
        let mut options = OpenOptions::new();
        options.write(true);
        if replaces {
            options.create(true).truncate(true)
        } else {
            options.create_new(true)
        };
        let file = options.open(path).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists(path.to_owned()),
            _ => write_error(path, source),
        })?;
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
        })
    }

    /// Writes the text.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it can't be written.
    pub(super) fn write(self, text: &str) -> Result<(), Error> {
        match self.file {
            None => talk::print(text),
            Some(mut file) => file
                .write_all(text.as_bytes())
                .map_err(|source| write_error(&self.path, source)),
        }
    }

    /// Removes the file again, when there will be nothing to write after all.
    pub(super) fn discard(self) {
        if self.file.is_some() {
            // An empty file that stays is a nuisance and nothing more.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes a folder for several files.
///
/// # Errors
///
/// [`Error::Exists`] when there is something in it that may not be replaced.
pub(super) fn make_folder(path: &Path, replaces: bool) -> Result<(), Error> {
    let has_files = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if has_files && !replaces {
        return Err(Error::Exists(path.to_owned()));
    }
    fs::create_dir_all(path).map_err(|source| write_error(path, source))
}

/// Names the file that could not be written.
pub(super) fn write_error(path: &Path, source: io::Error) -> Error {
    Error::File {
        verb: "write",
        path: path.to_owned(),
        source,
    }
}
