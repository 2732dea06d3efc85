//! Reads any arrival trace through a SQL mapping into canonical rows.
//!
//! A file is opened by what is in it (`file`), split into records that know their line (`lines`),
//! read in batches (`text`, `shape`), and handed to DataFusion as a stream (`source`), where a
//! format's SQL (`format`, `mapping`) makes canonical columns of it. Those become rows (`decode`),
//! small disorder is put right (`reorder`), and what was asked for is taken (`select`). Or they are
//! written as Parquet (`convert`), in order if that is wanted (`sort`). Or they are looked at
//! (`inspect`), where time goes on if the file's clock starts anew (`restart`).

mod bundled;
mod checked;
mod convert;
mod decode;
mod error;
mod file;
mod format;
mod inspect;
mod lines;
mod mapping;
mod reader;
mod reorder;
mod restart;
mod row;
#[cfg(test)]
mod samples;
mod select;
mod shape;
mod sort;
mod source;
#[cfg(test)]
mod tests;
mod text;

pub use bundled::{BUNDLED, BundledTrace, DEMO};
pub use convert::{Conversion, Converted, convert};
pub use error::{Place, TraceError};
pub use format::{FormatInfo, formats};
pub(crate) use inspect::{Distribution, Inspected, Inspection, NameFacts, Peak, inspect};
pub use reader::{LOOK_AHEAD_ROWS, TraceCounts, TraceOptions, TraceReader, open};
pub use row::{BlockScope, TraceRow};
pub use select::Selection;
