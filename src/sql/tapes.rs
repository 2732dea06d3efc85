//! Opens tapes: from the paths that a user typed to the views over all of them.
//!
//! Several tapes are told apart by the column `run`: the folder's name without `.tape`, and `#2`
//! after it for the second one of that name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use datafusion::prelude::SessionContext;

use super::error::{SqlError, message};
use super::opened_tape::{OpenedTape, open_tape};
use super::order::natural;
use super::session::new_bounded_session;
use super::settings::Settings;
use super::split::split;
use super::views;
use crate::capture::{CaptureError, Manifest, recover};
use crate::runtime::half_of_the_memory;

/// Tapes with the views over them.
pub(crate) struct Tapes {
    /// The session that holds the views.
    pub(crate) context: SessionContext,
    /// The tapes, in the order in which they were named.
    pub(crate) runs: Vec<OpenedTape>,
}

/// Opens tapes and sets up the views over them. A folder without a manifest that holds tapes,
/// such as a sweep's, stands for those, in the order of their names, where 2 is before 10.
///
/// # Errors
///
/// Names the path that is no tape, or whose manifest is of another version or cannot be read.
pub(crate) async fn open_tapes(paths: &[PathBuf], settings: &Settings) -> Result<Tapes, SqlError> {
    let memory_bytes = settings.memory_bytes.unwrap_or_else(half_of_the_memory);
    let context = new_bounded_session(settings.partitions, memory_bytes).map_err(|error| {
        let reason = message(&error);
        SqlError::Statement { reason }
    })?;
    let mut runs: Vec<OpenedTape> = Vec::new();
    let mut times_seen: HashMap<String, u32> = HashMap::new();
    for path in paths {
        for folder in tapes_under(path)? {
            let mut tape = open_tape(&folder, &context, runs.len())?;
            if let Some(first) = runs.iter().find(|other| other.path == tape.path) {
                tape.notes
                    .push(format!("it is the tape `{}`, named again", first.run));
            }
            let seen = times_seen.entry(tape.run.clone()).or_default();
            *seen += 1;
            if *seen > 1 {
                tape.run = format!("{}#{seen}", tape.run);
                tape.group.clone_from(&tape.run);
                tape.tape.clone_from(&tape.run);
            }
            runs.push(tape);
        }
    }
    if runs.is_empty() {
        return Err(SqlError::NoTape);
    }
    if let Some(by) = &settings.by {
        runs = split(&context, runs, by).await?;
    }
    views::register(&context, &runs, settings).await?;
    Ok(Tapes { context, runs })
}

/// Returns the tapes that paths stand for at this moment. Of a folder of tapes, those that are still
/// being written are left out: they are there when they are whole.
///
/// # Errors
///
/// Fails where a folder can't be read.
pub(crate) fn whole_tapes(paths: &[PathBuf]) -> Result<Vec<PathBuf>, SqlError> {
    let mut all = Vec::new();
    for path in paths {
        let tapes = tapes_under(path)?;
        let is_whole = |tape: &&PathBuf| {
            !matches!(
                recover(tape),
                Err(CaptureError::Busy(_) | CaptureError::Recovering(_))
            )
        };
        let whole: Vec<PathBuf> = tapes.iter().filter(is_whole).cloned().collect();
        // Where there is no other, it is said why.
        all.extend(if whole.is_empty() { tapes } else { whole });
    }
    Ok(all)
}

/// Returns the tapes that a path stands for.
fn tapes_under(path: &Path) -> Result<Vec<PathBuf>, SqlError> {
    if !path.is_dir() {
        // The manifest's reader names what is wrong with the path.
        return Ok(vec![path.to_owned()]);
    }
    // A manifest that is no plain file is a tape too, which its reader refuses by name.
    let is_tape = |path: &Path| fs::symlink_metadata(Manifest::path(path)).is_ok();
    if is_tape(path) {
        return Ok(vec![path.to_owned()]);
    }
    let read = |source| SqlError::Read {
        path: path.to_owned(),
        source,
    };
    let mut tapes = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        let entry = entry.map_err(read)?;
        let path = entry.path();
        let is_named = path.extension() == Some("tape".as_ref());
        // Whoever made the folder may have made a link to a tape that is none of theirs.
        let is_folder = entry.file_type().map_err(read)?.is_dir();
        if is_named && is_folder && is_tape(&path) {
            tapes.push(path);
        }
    }
    if tapes.is_empty() {
        tapes.push(path.to_owned());
    }
    tapes.sort_by(|a, b| natural(&a.to_string_lossy(), &b.to_string_lossy()));
    Ok(tapes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::{Settings, SqlError, Tapes, open_tapes};
    use crate::capture::manifest::LEFT_LOG;
    use crate::runtime::block_on;
    use crate::sql::fixture::TapeFixture;

    fn open(paths: &[&Path]) -> Result<Tapes, SqlError> {
        let paths: Vec<_> = paths.iter().map(|path| path.to_path_buf()).collect();
        block_on(async { open_tapes(&paths, &Settings::default()).await }).unwrap()
    }

    fn refusal(path: &Path) -> SqlError {
        open(&[path]).err().expect("refused")
    }

    #[test]
    fn tells_tapes_of_one_name_apart() {
        let folder = tempfile::tempdir().unwrap();
        let first = TapeFixture::default().write(&folder.path().join("a/base.tape"));
        let second = TapeFixture::default().write(&folder.path().join("b/base.tape"));
        let third = TapeFixture::default().write(&folder.path().join("c [1]*.tape"));
        let tapes = open(&[&first, &second, &third]).unwrap();
        let names: Vec<_> = tapes.runs.iter().map(|tape| tape.run.as_str()).collect();
        assert_eq!(names, ["base", "base#2", "c [1]*"]);
    }

    #[test]
    fn a_tape_of_any_name_is_read_and_its_name_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let parent = folder.path().join("p\n\u{1b}%41\u{202e}");
        let names = [
            "new\nline.tape",
            "\u{1b}[2Jx.tape",
            "\u{202e}gnp.tape",
            "a%20b?#.tape",
        ];
        let paths = names.map(|name| TapeFixture::small().write(&parent.join(name)));
        let paths = paths.each_ref().map(std::path::PathBuf::as_path);
        let tapes = open(&paths).unwrap();
        let runs: Vec<_> = tapes.runs.iter().map(|tape| tape.run.as_str()).collect();
        assert_eq!(
            runs,
            [r"new\nline", r"\u{1b}[2Jx", r"\u{202e}gnp", "a%20b?#"]
        );
        let counted = block_on(async {
            let sql = "SELECT run, count(*) FROM chunks GROUP BY run";
            tapes.context.sql(sql).await.unwrap().count().await
        });
        assert_eq!(counted.unwrap().unwrap(), names.len());
    }

    #[test]
    fn links_in_a_folder_of_tapes_and_manifests_that_are_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let outside = TapeFixture::default().write(&folder.path().join("private.tape"));
        let sweep = folder.path().join("sweep");
        TapeFixture::default().write(&sweep.join("a.tape"));
        symlink(&outside, sweep.join("b.tape")).unwrap();
        let tapes = open(&[&sweep]).unwrap();
        assert_eq!(tapes.runs.len(), 1);
        fs::remove_dir_all(sweep.join("a.tape")).unwrap();
        assert!(
            refusal(&sweep)
                .to_string()
                .contains("has no `manifest.json`")
        );
        // The user's own link is one that the user gave.
        assert_eq!(
            open(&[&sweep.join("b.tape")]).unwrap().runs[0].run,
            "private"
        );
        fs::create_dir(sweep.join("c.tape")).unwrap();
        symlink(
            outside.join("manifest.json"),
            sweep.join("c.tape/manifest.json"),
        )
        .unwrap();
        assert!(
            refusal(&sweep)
                .to_string()
                .contains("manifest.json` is a link")
        );
    }

    #[test]
    fn opens_every_tape_of_a_sweep() {
        let folder = tempfile::tempdir().unwrap();
        for batch in [16, 2, 1] {
            let name = format!("batch-{batch}.tape");
            TapeFixture::default().write(&folder.path().join(name));
        }
        let tapes = open(&[folder.path()]).unwrap();
        let names: Vec<_> = tapes.runs.iter().map(|tape| tape.run.as_str()).collect();
        assert_eq!(names, ["batch-1", "batch-2", "batch-16"]);
    }

    #[test]
    fn groups_of_numbers_are_an_axis_and_groups_of_words_stay_as_named() {
        let folder = tempfile::tempdir().unwrap();
        let groups = |label: &str, values: &[&str]| {
            let paths: Vec<_> = values
                .iter()
                .enumerate()
                .map(|(index, value)| {
                    let mut tape = TapeFixture::default();
                    let labels = &mut tape.manifest.labels;
                    labels.insert(label.to_owned(), (*value).to_owned());
                    tape.write(&folder.path().join(format!("{label}/{index}.tape")))
                })
                .collect();
            let settings = Settings {
                by: Some(label.to_owned()),
                ..Settings::default()
            };
            let tapes = block_on(async { open_tapes(&paths, &settings).await });
            let runs = tapes.unwrap().unwrap().runs.into_iter();
            runs.map(|tape| tape.group).collect::<Vec<_>>()
        };
        assert_eq!(
            groups("concurrency", &["1", "10", "100", "20", "5", "inf"]),
            ["1", "5", "10", "20", "100", "inf"]
        );
        assert_eq!(groups("build", &["old", "new"]), ["old", "new"]);
    }

    #[test]
    fn refuses_what_is_no_tape_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("notes.txt");
        fs::write(&file, "text").unwrap();
        assert!(matches!(open(&[]).err(), Some(SqlError::NoTape)));
        for (path, said) in [
            (folder.path().to_owned(), "it has no `manifest.json`"),
            (file, "it is a file"),
            (
                folder.path().join("absent.tape"),
                "there is nothing at that path",
            ),
        ] {
            let error = refusal(&path);
            assert!(error.to_string().contains(said), "{error}");
            assert!(
                error.to_string().contains(path.to_str().unwrap()),
                "{error}"
            );
            assert!(error.hint().is_some());
        }
    }

    #[test]
    fn refuses_another_version_before_it_reads_on() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = folder.path().join("manifest.json");
        let refused_with = |text: &str| {
            fs::write(&manifest, text).unwrap();
            refusal(folder.path())
        };
        let error = refused_with(r#"{"schema_version": 7, "anything": 1}"#);
        let said = error.to_string();
        assert!(
            said.ends_with("has schema version 7, and this build reads versions up to 4"),
            "{said}"
        );
        assert!(error.hint().unwrap().contains("a newer one"));
        for (text, said) in [
            (r#"{"schema_version": 1, "run_id":"#, "is not JSON"),
            (r#"{"run_id": "a"}"#, "has no `schema_version`"),
            (r#"{"schema_version": 1}"#, "missing field"),
        ] {
            assert!(refused_with(text).to_string().contains(said), "{text}");
        }
    }

    #[test]
    fn a_log_that_was_left_in_a_whole_tape_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = TapeFixture::small().write(&folder.path().join("a.tape"));
        let notes = |tapes: Tapes| tapes.runs.into_iter().next().unwrap().notes;
        let is_told = || notes(open(&[&path]).unwrap()).contains(&LEFT_LOG.to_owned());
        assert!(!is_told());
        fs::create_dir(path.join("wal")).unwrap();
        assert!(is_told());
    }

    #[test]
    fn recovers_a_tape_whose_writer_died_and_says_so_from_then_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tape");
        let died = crate::capture::dead_tape(&path);
        let notes = |tapes: Tapes| tapes.runs.into_iter().next().unwrap().notes;
        let first = notes(open(&[&path]).unwrap());
        assert!(
            first[0].starts_with("recovered from its log after a crash"),
            "{first:?}"
        );
        assert!(first[0].contains(&format!("{died} requests")), "{first:?}");
        assert_eq!(notes(open(&[&path]).unwrap()), first);
        // A manifest is a file that anybody may have written.
        let mut manifest = crate::capture::Manifest::read(&path).unwrap();
        manifest.recovered = Some(format!("\u{1b}[2J\n\u{202e}{}", "x".repeat(1_000)));
        manifest.write(&path).unwrap();
        let said = notes(open(&[&path]).unwrap());
        assert!(
            said[0].starts_with(r"\u{1b}[2J\n\u{202e}xxx"),
            "{}",
            said[0]
        );
        assert_eq!(said[0].len(), 200);
    }
}
