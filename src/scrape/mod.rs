//! What servers, exporters and this machine say of themselves: pages of metrics in Prometheus' text
//! format, read each second while a run goes on.
//!
//! It happens on a thread of its own, beside the measurement: nothing that drives load waits for it,
//! and a page that fails or hangs is a gap and no more. This machine is a page like the others,
//! which is written here.

mod error;
mod host;
mod nvml;
mod prometheus;
mod scraper;
mod series;
mod source;

pub use error::ScrapeError;
pub use prometheus::{Sample, samples};
pub use scraper::{Scraper, ServerRows};
pub use source::Source;
