//! Why a source of metrics can't be used, as it is found before a run.

/// A source that gives no metrics.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScrapeError {
    /// Nothing came from there.
    #[error("could not read metrics from `{shown}`: {reason}")]
    Unread {
        /// The source, without secrets.
        shown: String,
        /// What went wrong.
        reason: String,
    },
    /// What came is no page of metrics.
    #[error("`{shown}` serves {what}, not metrics in Prometheus' text format")]
    NoMetrics {
        /// The source, without secrets.
        shown: String,
        /// What it serves instead.
        what: &'static str,
    },
}

impl ScrapeError {
    /// Says what to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unread { .. } => {
                "check `--server-metrics` and that the server has metrics on: SGLang needs \
                 `--enable-metrics`, llama.cpp `--metrics`"
            }
            Self::NoMetrics { .. } => {
                "give `--server-metrics` the page of metrics itself, such as http://127.0.0.1:8000/metrics"
            }
        }
    }

    /// What went wrong, without the source.
    pub(super) fn reason(&self) -> String {
        match self {
            Self::Unread { reason, .. } => reason.clone(),
            Self::NoMetrics { what, .. } => format!("it served {what}"),
        }
    }
}
