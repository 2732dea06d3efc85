//! The page that is handed on: one file, no address in it, one script of ours, light and dark.
//!
//! Everything that comes from a tape passes through the template engine's escaping. The only raw
//! part is the SVG, which `chart.rs` writes and escapes itself.

use crate::analyze::Analysis;

use super::ReportError;
use super::export::{Exporter, Render};
use super::model::report;
use super::page::{self, PageOptions};

/// A page.
pub(super) const HTML: Exporter = Exporter {
    flag: "html",
    value_name: "FILE",
    help: "Write an HTML report: one file that opens offline",
    render: Render::File(|exported| html(exported.analysis, exported.page)),
};

/// Renders the analysis as one self-contained HTML page.
///
/// # Errors
///
/// Fails where a template and the view model do not fit, or a chart cannot be drawn: with the
/// built-in templates both are faults of this program.
pub fn html(analysis: &Analysis, options: &PageOptions) -> Result<String, ReportError> {
    options.language.speaking(|| {
        page::fill(
            &page::environment(options)?,
            "report.html",
            &report(analysis)?,
        )
    })
}
