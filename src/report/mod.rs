//! From numbers to pages: one view model, rendered as terminal text, HTML, Markdown, JSON and CSV.
//!
//! The formats are pure functions from an [`Analysis`](crate::analyze::Analysis) to strings; they
//! touch no file and know no SQL. What a reader is told (rows, warnings, definitions, charts) is
//! decided once in the view model, so that the formats cannot disagree. Milliseconds exist only
//! from here on.

mod advice;
mod answer;
mod asked;
mod causes;
mod chart;
pub(crate) mod columns;
mod comparison;
mod counting;
mod csv;
mod definitions;
mod diagnosis;
mod error;
mod export;
mod few;
mod fidelity;
mod figures;
#[cfg(any(test, fuzzing))]
pub(crate) mod fixture;
#[cfg(test)]
pub(crate) mod fixture_server;
pub(crate) mod format;
mod grades;
pub(crate) mod grid;
mod html;
mod json;
mod junit;
mod language;
mod markdown;
mod model;
mod page;
mod plot;
mod plots;
mod pointing;
mod requests;
mod run_card;
mod scale;
mod section;
mod sections;
mod seen;
mod server;
mod servers;
mod sparks;
mod streams;
mod sweep;
mod terminal;
#[cfg(test)]
mod tests;
mod timeline;
mod tools;
mod uncertainty;
pub(crate) mod verdict;
mod warning;

pub use answer::{Drawing, SqlAsked, sql_page};
pub use error::ReportError;
pub use export::{Exported, Exporter, NamedFile, Render, RenderFile, RenderFolder};
pub use html::html;
pub use json::json;
pub use language::Language;
pub use markdown::markdown;
pub use page::{Live, PageOptions, Templates, refused_page};
pub use terminal::{TerminalOptions, terminal};

pub(crate) use csv::{csv_files, is_csv_file};
pub(crate) use few::{FEW, carries};
pub(crate) use json::add_metric;

/// All formats that there are.
pub const EXPORTERS: &[Exporter] = &[
    html::HTML,
    markdown::MARKDOWN,
    json::JSON,
    csv::CSV,
    junit::JUNIT,
];

/// Returns the format with that flag.
pub fn exporter(flag: &str) -> Option<&'static Exporter> {
    EXPORTERS.iter().find(|exporter| exporter.flag == flag)
}
