//! Formats of reports: what `analyze` can write of an analysis.
//!
//! Adding one is a file with an [`Exporter`] and a line in [`EXPORTERS`](super::EXPORTERS); its flag, and that nothing is
//! written half, come with that.

use super::ReportError;
use super::page::PageOptions;
use crate::analyze::{Analysis, Condition, Judged};

/// What a report is made of.
pub struct Exported<'a> {
    /// The numbers.
    pub analysis: &'a Analysis,
    /// How pages are to look.
    pub page: &'a PageOptions,
    /// The conditions of `--fail-if`, with what became of them.
    pub conditions: &'a [(Condition, Judged)],
}

/// A file of a folder: its name, and what is in it.
pub type NamedFile = (String, String);

/// Renders a report as one text.
pub type RenderFile = fn(&Exported<'_>) -> Result<String, ReportError>;

/// Renders a report as files.
pub type RenderFolder = fn(&Exported<'_>) -> Result<Vec<NamedFile>, ReportError>;

/// How a report is rendered.
#[derive(Debug)]
pub enum Render {
    /// As one file.
    File(RenderFile),
    /// As a folder of files.
    Folder {
        /// Renders them.
        files: RenderFolder,
        /// Tells by its name a file that this format may have written for another analysis, which is
        /// removed.
        is_own: fn(&str) -> bool,
    },
}

/// One format.
#[derive(Debug)]
pub struct Exporter {
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// What stands for the place in the help; `DIR` for one that writes a folder.
    pub value_name: &'static str,
    /// What it writes, in a sentence.
    pub help: &'static str,
    /// Renders it.
    pub render: Render,
}
