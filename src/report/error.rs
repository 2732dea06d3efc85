//! Why a report could not be rendered.

/// Why a report could not be rendered.
///
/// With the built-in templates each case is a fault of this program, not of its input: any analysis
/// has a report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A template does not fit the view model.
    #[error("fill in the template `{template}`")]
    Template {
        /// File name under `templates/`.
        template: String,
        /// What the template engine says.
        #[source]
        source: minijinja::Error,
    },
    /// The view model has a value that JSON cannot hold.
    #[error("lay out the report")]
    Model(#[source] serde_json::Error),
    /// A table has rows of other lengths than its header.
    #[error("write a table as CSV")]
    Csv(#[source] csv::Error),
    /// The chart library refused.
    #[error("draw a chart: {0}")]
    Draw(String),
}
