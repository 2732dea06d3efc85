//! Finds the files that a trace is made of: one file, all in a folder, or those that a glob names.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::TraceError;

/// What the names of trace files end in, where a folder is read; each also with `.gz`.
const ENDINGS: [&str; 5] = ["csv", "jsonl", "ndjson", "json", "parquet"];
/// Most files of one trace: more are a sign that the wrong folder was named.
const FILES_MAX: usize = 100_000;

/// Returns the files of a trace in the order in which they are read: by name, folder by folder.
///
/// A folder stands for the trace files in it and below, by their endings; hidden ones are left out.
/// A path that does not exist and holds `*`, `?` or `[` is a glob.
pub(super) fn resolve(path: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let mut files = Vec::new();
    if path.is_dir() {
        append_folder(path, &mut files)?;
        if files.is_empty() {
            return Err(TraceError::Folder {
                path: path.to_owned(),
            });
        }
        return Ok(files);
    }
    let pattern = path.to_string_lossy();
    if !path.exists() && pattern.contains(['*', '?', '[']) {
        let matched = glob::glob(&pattern).map_err(|error| TraceError::Glob {
            pattern: pattern.to_string(),
            message: error.to_string(),
        })?;
        for entry in matched {
            let entry = entry.map_err(|error| TraceError::Open {
                path: error.path().to_owned(),
                source: error.into(),
            })?;
            if entry.is_file() {
                push(entry, &mut files)?;
            }
        }
        if files.is_empty() {
            return Err(TraceError::Missing {
                path: path.to_owned(),
            });
        }
        files.sort();
        return Ok(files);
    }
    Ok(vec![path.to_owned()])
}

fn append_folder(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), TraceError> {
    let cannot_open = |source| TraceError::Open {
        path: folder.to_owned(),
        source,
    };
    let mut entries = fs::read_dir(folder)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(cannot_open)?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // A link to a folder could lead back up.
        if entry.file_type().map_err(cannot_open)?.is_dir() {
            append_folder(&path, files)?;
        } else if path.is_file() && has_ending_of_a_trace(&path) {
            push(path, files)?;
        }
    }
    Ok(())
}

fn push(file: PathBuf, files: &mut Vec<PathBuf>) -> Result<(), TraceError> {
    if files.len() == FILES_MAX {
        return Err(TraceError::TooManyFiles {
            path: file,
            most: FILES_MAX,
        });
    }
    files.push(file);
    Ok(())
}

fn has_ending_of_a_trace(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let name = name.to_ascii_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    // What describes a data set beside its files.
    if matches!(name, "manifest.json" | "meta.json" | "schema.json") {
        return false;
    }
    name.rsplit_once('.')
        .is_some_and(|(stem, ending)| !stem.is_empty() && ENDINGS.contains(&ending))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    use super::{TraceError, resolve};

    fn folder_with(names: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        }
        folder
    }

    fn names(folder: &Path, files: Vec<PathBuf>) -> Vec<String> {
        let files = files.iter().map(|file| file.strip_prefix(folder).unwrap());
        files.map(|file| file.display().to_string()).collect()
    }

    #[test]
    fn a_folder_stands_for_the_traces_in_it_and_below() {
        let folder = folder_with(&[
            "b.csv",
            "a.jsonl.gz",
            "LICENSE",
            "README.md",
            "manifest.json",
            ".hidden.csv",
            "date=2/s.parquet",
            "date=1/s.JSON",
        ]);
        let files = resolve(folder.path()).unwrap();
        assert_eq!(
            names(folder.path(), files),
            ["a.jsonl.gz", "b.csv", "date=1/s.JSON", "date=2/s.parquet"]
        );
    }

    #[test]
    fn a_glob_stands_for_what_it_matches_by_name() {
        let folder = folder_with(&["t2.csv", "t10.csv", "t1.csv", "u.csv"]);
        let files = resolve(&folder.path().join("t?.csv")).unwrap();
        assert_eq!(names(folder.path(), files), ["t1.csv", "t2.csv"]);
        let error = resolve(&folder.path().join("v*.csv")).unwrap_err();
        assert!(matches!(error, TraceError::Missing { .. }), "{error}");
        let error = resolve(&folder.path().join("v[.csv")).unwrap_err();
        assert!(matches!(error, TraceError::Glob { .. }), "{error}");
    }

    #[test]
    fn a_file_may_have_any_name() {
        let folder = folder_with(&["odd[1]*.txt"]);
        let path = folder.path().join("odd[1]*.txt");
        assert_eq!(resolve(&path).unwrap(), [path]);
        let path = folder.path().join("missing.csv");
        assert_eq!(resolve(&path).unwrap(), [path], "opening it will tell");
    }

    #[test]
    fn a_folder_without_traces_is_told_of() {
        let folder = folder_with(&["LICENSE"]);
        let error = resolve(folder.path()).unwrap_err();
        assert!(matches!(error, TraceError::Folder { .. }), "{error}");
    }
}
