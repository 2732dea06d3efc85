//! Output files: checked before the work that fills them, never overwritten unasked, and never half
//! there: what failed leaves nothing behind and nothing changed.
//!
//! All are written under other names first, and get their own when everything is whole.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::talk;
use crate::error::Error;

/// A place for one text: stdout, or a file.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    kind: Kind,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Stdout,
    /// A pipe or a device, which has no other name to be written under.
    Direct,
    File {
        replaces: bool,
    },
}

impl Output {
    /// Finds out whether the file can be written; `-` is stdout.
    ///
    /// # Errors
    ///
    /// [`Error::Exists`] when the file is there and may not be replaced; [`Error::File`] when it
    /// can't be made.
    pub(super) fn open(path: &Path, replaces: bool) -> Result<Self, Error> {
        let is_special = |found: fs::Metadata| !found.is_file() && !found.is_dir();
        let kind = if path.as_os_str() == "-" {
            Kind::Stdout
        } else if replaces && fs::metadata(path).is_ok_and(is_special) {
            Kind::Direct
        } else {
            // Whoever is interrupted before there is something to write leaves nothing behind.
            drop(WholeFile::open(path, replaces)?);
            Kind::File { replaces }
        };
        let path = path.to_owned();
        Ok(Self { path, kind })
    }

    /// Says whether the text goes to stdout.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self.kind, Kind::Stdout)
    }

    /// Writes the text, not yet under its name.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it can't be written; as [`Output::open`] otherwise.
    pub(super) fn draft(self, text: String) -> Result<Draft, Error> {
        let Kind::File { replaces } = self.kind else {
            return Ok(Draft::Text(self, text));
        };
        let file = WholeFile::open(&self.path, replaces)?;
        file.file()
            .write_all(text.as_bytes())
            .map_err(|source| write_error(&self.path, source))?;
        Ok(Draft::File(file))
    }

    /// Writes the text, and says where to.
    ///
    /// # Errors
    ///
    /// As [`Output::draft`].
    pub(super) fn write(self, text: String) -> Result<(), Error> {
        self.draft(text)?.keep()
    }
}

/// A text that is ready to be handed out.
#[derive(Debug)]
pub(super) enum Draft {
    Text(Output, String),
    File(WholeFile),
}

impl Draft {
    /// Says whether it gets its name in one step, which hardly ever fails.
    pub(super) fn is_file(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Hands the text out, and says where to.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when it can't be written; as [`WholeFile::keep`].
    pub(super) fn keep(self) -> Result<(), Error> {
        let path = match self {
            Self::Text(output, text) if output.is_stdout() => return talk::print(&text),
            Self::Text(output, text) => {
                let opened = OpenOptions::new().write(true).open(&output.path);
                opened
                    .and_then(|mut file| file.write_all(text.as_bytes()))
                    .map_err(|source| write_error(&output.path, source))?;
                output.path
            }
            Self::File(file) => {
                let path = file.path.clone();
                file.keep()?;
                path
            }
        };
        talk::say(&format!("wrote `{}`", path.display()));
        Ok(())
    }
}

/// A folder of files that are all there when they are whole.
///
/// Until then they are in a folder inside it. Dropping it removes that.
#[derive(Debug)]
pub(super) struct WholeFolder {
    path: PathBuf,
    drafts: PathBuf,
    names: BTreeSet<String>,
    is_new: bool,
}

impl WholeFolder {
    /// Finds out whether the folder can be made and written to.
    ///
    /// # Errors
    ///
    /// As [`make_folder`].
    pub(super) fn check(path: &Path, replaces: bool) -> Result<(), Error> {
        Self::open(path, replaces).map(drop)
    }

    fn open(path: &Path, replaces: bool) -> Result<Self, Error> {
        let is_new = fs::symlink_metadata(path).is_err();
        make_folder(path, replaces)?;
        let drafts = path.join(format!(".{}.tmp", std::process::id()));
        let made = fs::create_dir(&drafts).map_err(|source| write_error(path, source));
        let folder = Self {
            path: path.to_owned(),
            drafts,
            names: BTreeSet::new(),
            is_new,
        };
        made.map(|()| folder)
    }

    /// Opens the folder and writes files by their names, not yet under their own.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when one can't be written; as [`WholeFolder::check`].
    pub(super) fn draft(
        path: &Path,
        replaces: bool,
        files: &[(String, String)],
    ) -> Result<Self, Error> {
        let mut folder = Self::open(path, replaces)?;
        for (name, text) in files {
            let written = File::create_new(folder.drafts.join(name)).and_then(|mut file| {
                file.write_all(text.as_bytes())
                    .and_then(|()| file.sync_all())
            });
            written.map_err(|source| write_error(&path.join(name), source))?;
            folder.names.insert(name.clone());
        }
        Ok(folder)
    }

    /// Gives the files their names, and removes those of an earlier time, which `is_stale` tells from
    /// other people's.
    ///
    /// # Errors
    ///
    /// [`Error::File`] when one can't be renamed or removed.
    pub(super) fn keep(mut self, is_stale: impl Fn(&str) -> bool) -> Result<(), Error> {
        self.is_new = false;
        for name in &self.names {
            let path = self.path.join(name);
            fs::rename(self.drafts.join(name), &path)
                .map_err(|source| write_error(&path, source))?;
        }
        let unread = |source| write_error(&self.path, source);
        for entry in fs::read_dir(&self.path).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let is_left = |name: &str| is_stale(name) && !self.names.contains(name);
            if entry.file_name().to_str().is_some_and(is_left) {
                fs::remove_file(entry.path())
                    .map_err(|source| write_error(&entry.path(), source))?;
            }
        }
        Ok(())
    }
}

impl Drop for WholeFolder {
    fn drop(&mut self) {
        // What stays is a nuisance and nothing more; of the folder itself, what others put there.
        let _ = fs::remove_dir_all(&self.drafts);
        if self.is_new {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// A file that appears under its name when it is whole, or not at all.
///
/// Until then it stands beside that name under another one. Dropping it removes it.
#[derive(Debug)]
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
        // A link of the user's stays one: what it leads to is replaced.
        let replaced = fs::canonicalize(path).ok();
        let path = replaced.as_deref().unwrap_or(path);
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

    /// Opens the file that a trace is written to.
    ///
    /// # Errors
    ///
    /// As [`WholeFile::open`], and for stdout and names that promise text.
    pub(super) fn open_parquet(path: &Path, replaces: bool) -> Result<Self, Error> {
        if path.as_os_str() == "-" {
            return Err(Error::usage(
                "`--out -`: Parquet does not go to stdout",
                "name a file, such as `--out trace.parquet`",
            ));
        }
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        if ["csv", "json", "jsonl", "ndjson", "gz", "txt"].contains(&&*ending.to_ascii_lowercase())
        {
            return Err(Error::usage(
                format!("`--out {}`: what is written is Parquet", path.display()),
                "name a file, such as `--out trace.parquet`",
            ));
        }
        Self::open(path, replaces)
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
        let kept = fs::metadata(&self.path).map(|replaced| replaced.permissions());
        if let Ok(permissions) = kept {
            // Not every file system has them.
            let _ = self.file.set_permissions(permissions);
        }
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
mod tests;
