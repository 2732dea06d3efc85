//! Opens tapes: from the paths that a user typed to named runs with their manifests.
//!
//! Several tapes are told apart by the column `run`: the folder's name without `.tape`, and `#2`
//! after it for the second one of that name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::logical_expr::Expr;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::prelude::SessionContext;
use serde::{Deserialize, Serialize};
use url::Url;

use super::order::natural;
use super::split::split;
use super::{Recounts, SqlError, message, new_bounded_session, new_session, views};
use crate::capture::manifest::{INTERRUPTED, LEFT_LOG, Manifest, State};
use crate::capture::schema::{ChunkRow, ProbeRow, RequestRow, TapeRow as _};
use crate::capture::{CaptureError, count_rows, recover};
use crate::visible::visible;

/// Which form of a latency a goal applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SloFrom {
    /// From when the request was due.
    Intended,
    /// From when the request was sent.
    Sent,
}

/// A goal on one latency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Goal {
    /// Name of the latency.
    pub(crate) metric: String,
    /// Upper bound, in nanoseconds.
    pub(crate) limit_ns: i64,
}

/// What some numbers are held against, and what they cost. Money has the unit that it is given in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportSettings {
    /// A longer gap between chunks is a stall, in nanoseconds.
    pub stall_ns: i64,
    /// How fast a reader reads, in tokens a second.
    pub reader_tps: f64,
    /// Price of a million input tokens.
    pub price_input: Option<f64>,
    /// Price of a million output tokens.
    pub price_output: Option<f64>,
    /// Price of a GPU for an hour.
    pub gpu_hour: Option<f64>,
    /// How many GPUs the server has.
    pub gpus: u32,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self {
            stall_ns: 1_000_000_000,
            reader_tps: 5.0,
            price_input: None,
            price_output: None,
            gpu_hour: None,
            gpus: 1,
        }
    }
}

/// Which part of a run is looked at, in nanoseconds on its own axis.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// Where the steady window may begin.
    pub warmup_ns: i64,
    /// True where the run itself says where its warm-up ends, in place of `warmup_ns`.
    pub finds_warmup: bool,
    /// Begin of a window that replaces the steady one.
    pub from_ns: Option<i64>,
    /// End of a window that replaces the steady one; without it that window is open.
    pub to_ns: Option<i64>,
}

impl Span {
    /// Returns the begin and the end of the window that was asked for: from 0, where only its end
    /// was.
    pub(super) fn asked_ns(&self) -> (Option<i64>, Option<i64>) {
        (self.from_ns.or(self.to_ns.map(|_| 0)), self.to_ns)
    }
}

/// What the views need to know beside the tapes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// The goals of goodput.
    pub(crate) goals: Vec<Goal>,
    /// Which form they apply to; by default the intended one in an open loop.
    pub(crate) slo_from: Option<SloFrom>,
    /// Which part of each run is looked at.
    pub(crate) span: Span,
    /// What some numbers are held against.
    pub(crate) report_settings: ReportSettings,
    /// What runs are grouped by, and tapes are split by: a label or a column of `requests`.
    pub(crate) by: Option<String>,
    /// True when the small views that many queries build upon are computed once, at the start.
    pub(crate) keeps_results: bool,
    /// How many ways the engine splits its work; 0 takes one per core.
    pub(crate) partitions: usize,
    /// Tokens of kept texts that were counted anew.
    #[serde(skip)]
    pub(crate) recounts: Recounts,
    /// Most rows of the result of a statement that a user typed; none for all.
    pub(crate) row_limit: Option<usize>,
    /// Most memory that a statement may take, beyond which the engine goes to disk or gives up;
    /// none for all there is.
    pub(crate) memory_bytes: Option<usize>,
}

/// One tape that has been opened.
#[derive(Debug, Clone)]
pub(crate) struct OpenedTape {
    /// Name in the column `run`.
    pub(crate) run: String,
    /// Name of the tape; the parts of one share it.
    pub(crate) tape: String,
    /// The runs of one group repeat each other; by default each is a group of its own.
    pub(crate) group: String,
    /// The folder, absolute.
    pub(crate) path: PathBuf,
    /// Where the engine finds what is in it.
    pub(super) address: Url,
    /// Its manifest.
    pub(crate) manifest: Manifest,
    /// What has to be said about it.
    pub(crate) notes: Vec<String>,
    /// What tells the run's requests from others of the tape, where it is a part of one.
    pub(crate) part: Option<Expr>,
}

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
    let context = match settings.memory_bytes {
        None => new_session(settings.partitions),
        Some(bytes) => new_bounded_session(settings.partitions, bytes).map_err(|error| {
            let reason = message(&error);
            SqlError::Statement { reason }
        })?,
    };
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

fn open_tape(path: &Path, context: &SessionContext, index: usize) -> Result<OpenedTape, SqlError> {
    let read = |source| SqlError::Read {
        path: path.to_owned(),
        source,
    };
    // A tape whose writer died is recovered here, before anything reads its tables.
    recover(path)?;
    let manifest = Manifest::read(path)?;
    let mut notes: Vec<String> = manifest
        .recovered
        .as_deref()
        .map(|note| visible(note).chars().take(NOTE_LETTERS).collect())
        .into_iter()
        .collect();
    let path = fs::canonicalize(path).map_err(read)?;
    match manifest.state {
        State::Interrupted if notes.is_empty() => {
            notes.push(INTERRUPTED.to_owned());
        }
        State::Running | State::Interrupted | State::Complete => {}
    }
    if manifest.state == State::Complete && fs::symlink_metadata(path.join("wal")).is_ok() {
        notes.push(LEFT_LOG.to_owned());
    }
    notes.extend(missing_rows(&path, &manifest));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let run = visible(name.strip_suffix(".tape").unwrap_or(&name)).into_owned();
    Ok(OpenedTape {
        address: address(&path, context, index)?,
        group: run.clone(),
        tape: run.clone(),
        run,
        path,
        manifest,
        notes,
        part: None,
    })
}

/// Most letters that are said of what a manifest notes: it may be anybody's file.
const NOTE_LETTERS: usize = 200;

/// Returns the address of a tape's folder, for the engine. One whose name no address can have, such as
/// one with a line end, gets a scheme of its own.
fn address(path: &Path, context: &SessionContext, index: usize) -> Result<Url, SqlError> {
    let is_usable = |url: &Url| ListingTableUrl::try_new(url.clone(), None).is_ok();
    if let Some(url) = Url::from_directory_path(path).ok().filter(is_usable) {
        return Ok(url);
    }
    let unusable = |error: String| SqlError::Read {
        path: path.to_owned(),
        source: std::io::Error::other(error),
    };
    let url =
        Url::parse(&format!("tape://{index}/")).map_err(|error| unusable(error.to_string()))?;
    let files =
        LocalFileSystem::new_with_prefix(path).map_err(|error| unusable(error.to_string()))?;
    context.register_object_store(&url, Arc::new(files));
    Ok(url)
}

/// Says which tables have other rows than the manifest counted when the tape was finished.
fn missing_rows(path: &Path, manifest: &Manifest) -> Vec<String> {
    let counts = &manifest.counts;
    let tables = [
        (RequestRow::TABLE, counts.requests),
        (ChunkRow::TABLE, counts.chunks),
        (ProbeRow::TABLE, counts.probes),
    ];
    let found = tables.map(|(table, counted)| (table, counted, count_rows(path, table)));
    // A part that can't be read is told of by whoever reads it.
    let differs = |(table, counted, found): (&str, u64, Option<u64>)| {
        let found = found.filter(|found| *found != counted)?;
        Some(format!(
            "`{table}` has {found} of the {counted} rows that were written: parts of it are missing"
        ))
    };
    found.into_iter().filter_map(differs).collect()
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
