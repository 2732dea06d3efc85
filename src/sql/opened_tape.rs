//! Opens one tape: from its folder to a named run with its manifest.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::datasource::listing::ListingTableUrl;
use datafusion::logical_expr::Expr;
use datafusion::object_store::local::LocalFileSystem;
use datafusion::prelude::SessionContext;
use url::Url;

use super::error::SqlError;
use crate::capture::manifest::{INTERRUPTED, LEFT_LOG, Manifest, State};
use crate::capture::schema::{ChunkRow, ProbeRow, RequestRow, ServerRow, TapeRow as _};
use crate::capture::{count_rows, recover};
use crate::visible::visible;

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

/// Opens one tape: recovers it where its writer died, and names its run after its folder.
pub(super) fn open_tape(
    path: &Path,
    context: &SessionContext,
    index: usize,
) -> Result<OpenedTape, SqlError> {
    let read = |source| SqlError::Read {
        path: path.to_owned(),
        source,
    };
    // Before anything reads its tables.
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
        (ServerRow::TABLE, counts.server),
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
