//! The tape: what a run leaves on disk, and how it gets there without loss.

mod contents;
mod error;
mod extent;
mod folder;
pub mod manifest;
mod merge;
mod parquet;
pub mod schema;
mod tape;
#[cfg(test)]
mod tests;
pub(crate) mod value;
mod wal;

pub use error::CaptureError;
pub use manifest::Manifest;
pub(crate) use parquet::{count_rows, parts};
pub(crate) use tape::count_unread;
pub use tape::{Ending, TapeWriter, recover, write_tape};
#[cfg(test)]
pub(crate) use tests::dead_tape;
pub use value::{ColumnValue, Label, Word};
