//! Output files: opened before the work that fills them, never overwritten unasked.
//!
//! A text is written at once, into its file. What takes long to write gets its name when it is whole.

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

    /// Writes the text, and says where to.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it can't be written.
    pub(super) fn write(self, text: &str) -> Result<(), Error> {
        match self.file {
            None => talk::print(text),
            Some(mut file) => {
                file.write_all(text.as_bytes())
                    .map_err(|source| write_error(&self.path, source))?;
                talk::say(&format!("wrote `{}`", self.path.display()));
                Ok(())
            }
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

/// A file that appears under its name when it is whole, or not at all.
///
/// Until then it stands beside that name under another one. Dropping it removes it.
pub(super) struct WholeFile {
    path: PathBuf,
    draft: PathBuf,
    file: File,
    replaces: bool,
}

impl WholeFile {
    /// Opens the file for writing.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when the name is taken and may not be replaced; [`Error::File`] when there
    /// can be no such file.
    pub(super) fn open(path: &Path, replaces: bool) -> Result<Self, Error> {
        check_name(path, replaces)?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.tmp", std::process::id()));
        let draft = path.with_file_name(name);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&draft)
            .map_err(|source| write_error(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            draft,
            file,
            replaces,
        })
    }

    /// Returns what to write to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name.
    ///
    /// # Errors
    ///
    /// As [`WholeFile::open`]: the name may have been taken since.
    pub(super) fn keep(self) -> Result<(), Error> {
        check_name(&self.path, self.replaces)?;
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.draft, &self.path))
            .map_err(|source| write_error(&self.path, source))
    }
}

impl Drop for WholeFile {
    fn drop(&mut self) {
        // It is gone already where it was kept, and a nuisance and nothing more where it stays.
        let _ = fs::remove_file(&self.draft);
    }
}

/// Fails where a file may not get that name.
fn check_name(path: &Path, replaces: bool) -> Result<(), Error> {
    match fs::symlink_metadata(path) {
        Err(_) => Ok(()),
        Ok(_) if !replaces => Err(Error::Exists(path.to_owned())),
        // A folder can't be replaced by a file, and a device must not be.
        Ok(found) if !found.is_file() && !found.is_symlink() => Err(write_error(
            path,
            io::Error::other("there is something else of that name that is no file"),
        )),
        Ok(_) => Ok(()),
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use super::{Error, WholeFile};

    #[test]
    fn a_whole_file_appears_when_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        let output = WholeFile::open(&path, false).unwrap();
        output.file().write_all(b"rows").unwrap();
        assert!(!path.exists());
        output.keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"rows");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_is_not_kept_leaves_nothing_and_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        fs::write(&path, "before").unwrap();
        assert!(matches!(
            WholeFile::open(&path, false),
            Err(Error::Exists(_))
        ));
        drop(WholeFile::open(&path, true).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"before");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        WholeFile::open(&path, true).unwrap().keep().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_name_that_was_taken_meanwhile_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.parquet");
        let output = WholeFile::open(&path, false).unwrap();
        fs::write(&path, "other").unwrap();
        assert!(matches!(output.keep(), Err(Error::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn folders_and_devices_are_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(
            WholeFile::open(folder.path(), true),
            Err(Error::File { .. })
        ));
        assert!(WholeFile::open("/dev/null".as_ref(), true).is_err());
        assert!(WholeFile::open(&folder.path().join("no/such/out"), false).is_err());
    }
}
