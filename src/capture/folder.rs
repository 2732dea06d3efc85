//! A folder of a tape. A tape is somebody else's: what stands in it is reached by its name in this
//! folder, and never through a link.
//!
//! Files are opened relative to the folder that was opened first. A link, a pipe or a device is
//! refused before it is opened, so that nothing outside the tape is read and nobody waits for it.
//! No file that is there is written to or emptied, as it may be a second name of a file elsewhere:
//! a new file takes the place of an old one.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, fstat, fsync, mkdirat, open, openat, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;

use super::error::{CaptureError, read_error, write_error};

/// What every opening here asks for: no link, no waiting for the other end of a pipe, no terminal
/// that becomes ours, nothing that a child process inherits.
const PLAIN: OFlags = OFlags::NOFOLLOW
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);

/// What the name of a file ends in that is not yet whole.
pub(super) const DRAFT: &str = ".tmp";

/// A folder that is open. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    folder: Arc<OwnedFd>,
    /// Where it was found, for messages.
    path: PathBuf,
}

impl Folder {
    /// Opens the folder at a path that the user gave, which may lead through links.
    pub(super) fn open(path: &Path) -> Result<Self, CaptureError> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = open(path, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(read_error(path))?;
        Ok(Self {
            folder: Arc::new(folder),
            path: path.to_owned(),
        })
    }

    /// Returns where something in the folder is, for messages.
    pub(super) fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// Returns where the folder is, for messages.
    pub(super) fn place(&self) -> &Path {
        &self.path
    }

    /// Says what stands under a name: the link and not what it leads to.
    pub(super) fn kind(&self, name: impl AsRef<OsStr>) -> Result<Option<FileType>, CaptureError> {
        let name = name.as_ref();
        match statat(&self.folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(read_error(&self.path(name))(error.into())),
        }
    }

    /// Opens a folder in this one; none where nothing has that name.
    pub(super) fn folder(&self, name: &str) -> Result<Option<Self>, CaptureError> {
        match self.kind(name)? {
            None => return Ok(None),
            Some(FileType::Directory) => {}
            Some(other) => return Err(self.foreign(name, other)),
        }
        let flags = PLAIN | OFlags::DIRECTORY;
        let folder = openat(&self.folder, name, flags, Mode::empty())
            .map_err(io::Error::from)
            .map_err(read_error(&self.path(name)))?;
        Ok(Some(Self {
            folder: Arc::new(folder),
            path: self.path(name),
        }))
    }

    /// Makes a folder in this one and opens it.
    pub(super) fn make_folder(&self, name: &str) -> Result<Self, CaptureError> {
        mkdirat(&self.folder, name, Mode::from_raw_mode(0o777))
            .map_err(io::Error::from)
            .map_err(write_error(&self.path(name)))?;
        self.folder(name)?
            .ok_or_else(|| write_error(&self.path(name))(io::ErrorKind::NotFound.into()))
    }

    /// Opens a plain file for reading; none where nothing has that name.
    pub(super) fn file(&self, name: impl AsRef<OsStr>) -> Result<Option<File>, CaptureError> {
        self.open_file(name.as_ref(), OFlags::RDONLY)
    }

    /// Opens a file that is locked and never written to, and makes it where nothing has that name.
    pub(super) fn lock_file(&self, name: &str) -> Result<File, CaptureError> {
        // Some network file systems lock only what may be written to.
        let found = match self.open_file(name.as_ref(), OFlags::RDWR) {
            Err(CaptureError::Read { source, .. }) if is_read_only(&source) => {
                self.open_file(name.as_ref(), OFlags::RDONLY)
            }
            found => found,
        };
        match found? {
            Some(file) => Ok(file),
            None => self.make_file(name).map_err(write_error(&self.path(name))),
        }
    }

    fn open_file(&self, name: &OsStr, way: OFlags) -> Result<Option<File>, CaptureError> {
        match self.kind(name)? {
            None => return Ok(None),
            Some(FileType::RegularFile) => {}
            Some(other) => return Err(self.foreign(name, other)),
        }
        let path = self.path(name);
        let file = openat(&self.folder, name, PLAIN | way, Mode::empty())
            .map_err(io::Error::from)
            .map_err(read_error(&path))?;
        // It may have been exchanged since it was looked at.
        let found = fstat(&file).map_err(|error| read_error(&path)(error.into()))?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile => Ok(Some(file.into())),
            other => Err(self.foreign(name, other)),
        }
    }

    /// Makes a file that was not there before, in place of what has that name.
    pub(super) fn new_file(&self, name: &str) -> Result<File, CaptureError> {
        note("make", name);
        let made = match self.make_file(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(name)?;
                self.make_file(name)
            }
            made => made,
        };
        made.map_err(write_error(&self.path(name)))
    }

    fn make_file(&self, name: &str) -> io::Result<File> {
        let flags = PLAIN | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let made = openat(&self.folder, name, flags, Mode::from_raw_mode(0o666));
        Ok(made.map(File::from)?)
    }

    /// Writes a file whole or not at all: under another name first. With `is_durable` it survives a
    /// loss of power from here on.
    pub(super) fn write(
        &self,
        name: &str,
        bytes: &[u8],
        is_durable: bool,
    ) -> Result<(), CaptureError> {
        let draft = format!("{name}{DRAFT}");
        let mut file = self.new_file(&draft)?;
        file.write_all(bytes)
            .map_err(write_error(&self.path(&draft)))?;
        if is_durable {
            self.sync_file(&file, &draft)?;
        }
        self.rename(&draft, name)?;
        if is_durable { self.sync() } else { Ok(()) }
    }

    /// Makes what was written to a file of this folder survive a loss of power.
    pub(super) fn sync_file(&self, file: &File, name: &str) -> Result<(), CaptureError> {
        note("sync", name);
        file.sync_all().map_err(write_error(&self.path(name)))
    }

    /// Gives a file another name, in place of what has that one.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), CaptureError> {
        note("rename", to);
        renameat(&self.folder, from, &self.folder, to)
            .map_err(|error| write_error(&self.path(to))(error.into()))
    }

    /// Takes a name away: a link and not what it leads to.
    pub(super) fn remove(&self, name: impl AsRef<OsStr>) -> Result<(), CaptureError> {
        self.unlink(name.as_ref(), AtFlags::empty())
    }

    /// Takes a folder in this one away, which must be empty.
    pub(super) fn remove_folder(&self, name: &str) -> Result<(), CaptureError> {
        self.unlink(name.as_ref(), AtFlags::REMOVEDIR)
    }

    fn unlink(&self, name: &OsStr, flags: AtFlags) -> Result<(), CaptureError> {
        note("remove", &name.to_string_lossy());
        match unlinkat(&self.folder, name, flags) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(write_error(&self.path(name))(error.into())),
        }
    }

    /// Lists what is in the folder, in the order of names, which need not be text.
    pub(super) fn names(&self) -> Result<Vec<OsString>, CaptureError> {
        let unread = |error: Errno| read_error(&self.path)(error.into());
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.folder).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Makes what was made, renamed and removed in the folder survive a loss of power.
    pub(super) fn sync(&self) -> Result<(), CaptureError> {
        note(
            "sync",
            &self.path.file_name().unwrap_or_default().to_string_lossy(),
        );
        fsync(&self.folder).map_err(|error| write_error(&self.path)(error.into()))
    }

    /// Returns the error for something that a tape does not have.
    pub(super) fn foreign(&self, name: impl AsRef<OsStr>, kind: FileType) -> CaptureError {
        CaptureError::Foreign {
            path: self.path(name),
            what: match kind {
                FileType::Symlink => "a link",
                FileType::Fifo => "a pipe",
                FileType::Socket => "a socket",
                FileType::Directory => "a folder",
                FileType::RegularFile => "a file",
                _ => "a device",
            },
        }
    }
}

/// Says whether a failure is that nothing may be written there.
pub(super) fn is_read_only(error: &io::Error) -> bool {
    use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem};
    matches!(error.kind(), PermissionDenied | ReadOnlyFilesystem)
}

/// Keeps what is done that must be done in order, for the test that holds the order.
#[cfg(test)]
fn note(what: &str, name: &str) {
    DONE.with_borrow_mut(|done| done.push(format!("{what} {name}")));
}

#[cfg(not(test))]
fn note(_: &str, _: &str) {}

#[cfg(test)]
thread_local! {
    /// What this thread did in folders.
    pub(super) static DONE: std::cell::RefCell<Vec<String>> = const { std::cell::RefCell::new(Vec::new()) };
}
