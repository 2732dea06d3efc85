//! What a tape consists of, by name: only that is ever removed, and only a folder that has nothing
//! else is replaced by a new tape.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::error::{CaptureError, write_error};
use super::folder::{DRAFT, Folder};
use super::manifest::Manifest;
use super::merge::RUN;
use super::wal::{self, RECOVERY, SEGMENT};

/// Folders of tables, of which `server` may be missing.
const TABLES: [&str; 4] = ["requests", "chunks", "probes", "server"];

/// An empty folder for a tape.
pub(super) struct Room {
    pub(super) folder: Folder,
    /// It was not there before.
    pub(super) is_new: bool,
}

/// Makes an empty folder for a tape at `tape`. With `replaces`, a tape that is there is removed.
pub(super) fn make_room(tape: &Path, replaces: bool) -> Result<Room, CaptureError> {
    let kept = |reason: String| CaptureError::Kept {
        path: tape.to_owned(),
        reason,
    };
    let Ok(found) = fs::symlink_metadata(tape) else {
        return new_folder(tape);
    };
    if !tape.is_dir() {
        return Err(match replaces {
            false => CaptureError::Exists(tape.to_owned()),
            true => kept("it is no folder".to_owned()),
        });
    }
    let folder = Folder::open(tape)?;
    if folder.names()?.is_empty() {
        let is_new = false;
        return Ok(Room { folder, is_new });
    }
    if !replaces {
        return Err(CaptureError::Exists(tape.to_owned()));
    }
    if let Some(reason) = why_no_tape(&folder)? {
        return Err(kept(reason));
    }
    let _lock = match folder.folder(wal::FOLDER) {
        // A run that is still going on would lose its tape under its feet.
        Ok(Some(log)) => Some(wal::lock(&log, tape)?),
        // Whoever made a link of it writes no log there.
        Ok(None) | Err(CaptureError::Foreign { .. }) => None,
        Err(error) => return Err(error),
    };
    if found.is_symlink() {
        fs::remove_file(tape).map_err(write_error(tape))?;
        return new_folder(tape);
    }
    for table in TABLES {
        remove(&folder, table)?;
    }
    remove(&folder, wal::FOLDER)?;
    folder.remove(draft())?;
    // The last, as what is left without it may not be replaced.
    folder.remove(Manifest::FILE)?;
    let is_new = false;
    Ok(Room { folder, is_new })
}

fn new_folder(tape: &Path) -> Result<Room, CaptureError> {
    fs::create_dir_all(tape).map_err(write_error(tape))?;
    let is_new = true;
    Folder::open(tape).map(|folder| Room { folder, is_new })
}

impl Room {
    /// Takes away what was made of a tape that could not be made.
    pub(super) fn clear(&self, tape: &Path) {
        // What stays says that a tape was begun, and may be replaced.
        let _ = remove(&self.folder, wal::FOLDER);
        let _ = self.folder.remove(draft());
        let _ = self.folder.remove(Manifest::FILE);
        if self.is_new {
            let _ = fs::remove_dir(tape);
        }
    }
}

/// Removes the log, as far as it is one: a file that is no part of it stays.
pub(super) fn remove_log(tape: &Folder) -> Result<(), CaptureError> {
    match remove(tape, wal::FOLDER) {
        Err(CaptureError::Write { source, .. })
            if source.kind() == io::ErrorKind::DirectoryNotEmpty =>
        {
            Ok(())
        }
        removed => removed,
    }
}

/// Removes the parts of a table that are there, and opens its folder; makes it where there is none.
pub(super) fn empty_table(tape: &Folder, table: &str) -> Result<Folder, CaptureError> {
    let Some(folder) = tape.folder(table)? else {
        return tape.make_folder(table);
    };
    remove_own(&folder, table)?;
    Ok(folder)
}

/// Removes a folder of a tape with what it has of a tape; of a link, the link.
fn remove(tape: &Folder, name: &str) -> Result<(), CaptureError> {
    match tape.kind(name)? {
        None => Ok(()),
        Some(FileType::Directory) => {
            if let Some(folder) = tape.folder(name)? {
                remove_own(&folder, name)?;
            }
            tape.remove_folder(name)
        }
        Some(_) => tape.remove(name),
    }
}

fn remove_own(folder: &Folder, place: &str) -> Result<(), CaptureError> {
    for name in folder.names()? {
        if is_own(place, &name) {
            folder.remove(&name)?;
        }
    }
    Ok(())
}

/// Says why a folder with something in it is not a tape, begun or whole, and nothing else.
fn why_no_tape(folder: &Folder) -> Result<Option<String>, CaptureError> {
    if let Some(stranger) = stranger(folder)? {
        let stranger = stranger.display();
        return Ok(Some(format!("`{stranger}` is no part of a tape")));
    }
    let has_log = folder.kind(wal::FOLDER)?.is_some();
    if has_log || Manifest::is_in(folder) {
        return Ok(None);
    }
    Ok(Some(format!("it has no `{}` of a tape", Manifest::FILE)))
}

/// Finds something in a folder that is no part of a tape.
fn stranger(tape: &Folder) -> Result<Option<PathBuf>, CaptureError> {
    for name in tape.names()? {
        let kind = tape.kind(&name)?;
        let is_folder = kind == Some(FileType::Directory);
        let place = TABLES.into_iter().chain([wal::FOLDER]);
        let Some(place) = place.into_iter().find(|place| name == *place) else {
            let is_file = name == Manifest::FILE || name == draft().as_str();
            if is_folder || !is_file {
                return Ok(Some(tape.path(&name)));
            }
            continue;
        };
        if kind == Some(FileType::Symlink) {
            continue;
        }
        let Some(folder) = is_folder.then(|| tape.folder(place)).transpose()?.flatten() else {
            return Ok(Some(tape.path(&name)));
        };
        for name in folder.names()? {
            if !is_own(place, &name) || folder.kind(&name)? == Some(FileType::Directory) {
                return Ok(Some(folder.path(&name)));
            }
        }
    }
    Ok(None)
}

/// Says whether a name in a folder of a tape is one that a tape has there.
fn is_own(place: &str, name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    if place == wal::FOLDER {
        let rest = name.strip_prefix("sorted-").unwrap_or(name);
        let stem = rest.strip_suffix(SEGMENT).or(rest.strip_suffix(RUN));
        let is_table = |stem: &str| {
            let numbered = stem.rsplit_once('-');
            numbered.is_some_and(|(table, number)| TABLES.contains(&table) && is_number(number))
        };
        return [wal::LOCK, RECOVERY].contains(&name) || stem.is_some_and(is_table);
    }
    let name = name.strip_suffix(DRAFT).unwrap_or(name);
    let stem = name.strip_suffix(".parquet");
    stem.and_then(|stem| stem.strip_prefix("part-"))
        .is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    text.len() >= 5 && text.bytes().all(|digit| digit.is_ascii_digit())
}

fn draft() -> String {
    format!("{}{DRAFT}", Manifest::FILE)
}
