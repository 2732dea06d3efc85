//! Formats of reports: what `analyze` can write of an analysis.
//!
//! Adding one is a file with an [`Exporter`] and a line in [`EXPORTERS`]; its flag, and that nothing is
//! written half, come with that.

use super::page::PageOptions;
use super::{ReportError, csv, html, json, junit, markdown};
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

/// A report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Export {
    /// One file.
    File(String),
    /// A folder of files, each with its name.
    Folder(Vec<(String, String)>),
}

/// Renders a report.
pub(super) type Render = fn(&Exported<'_>) -> Result<Export, ReportError>;

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
    /// Tells the files of a folder that it may have written, of whatever analysis: those of an earlier
    /// one are removed. None of a format of one file.
    pub is_own_file: Option<fn(&str) -> bool>,
}

/// All formats that there are.
pub const EXPORTERS: &[Exporter] = &[
    html::HTML,
    markdown::MARKDOWN,
    json::JSON,
    csv::CSV,
    junit::JUNIT,
];

impl PartialEq for Exporter {
    fn eq(&self, other: &Self) -> bool {
        self.flag == other.flag
    }
}

/// Returns the format with that flag.
pub fn exporter(flag: &str) -> Option<&'static Exporter> {
    EXPORTERS.iter().find(|exporter| exporter.flag == flag)
}
