//! Reads any arrival trace through a SQL mapping into canonical rows.
//!
//! A file is opened by what is in it (`file`), split into records that know their line (`lines`),
//! read in batches (`text`, `shape`), and handed to DataFusion as a stream (`source`), where a
//! format's SQL (`format`, `mapping`) makes canonical columns of it. Those become rows (`decode`),
//! small disorder is put right (`reorder`), and what was asked for is taken (`select`). Or they are
//! converted (`convert`) and written as Parquet (`write`), in order if that is wanted (`sort`).
//! Or another trace is made of them (`synthesize`). Rates and lengths without requests become a trace
//! in `servegen`.

mod bundled;
mod checked;
mod convert;
mod decode;
mod error;
mod file;
mod format;
mod lines;
mod mapping;
mod reader;
mod reorder;
mod row;
#[cfg(test)]
mod samples;
mod select;
mod servegen;
mod shape;
mod sort;
mod source;
mod synthesize;
#[cfg(test)]
mod tests;
mod text;
mod write;

pub use bundled::{BUNDLED, BundledTrace, DEMO};
pub use convert::{Conversion, Converted, convert};
pub use error::{Place, TraceError};
pub use format::{FormatInfo, formats};
pub use reader::{LOOK_AHEAD_ROWS, TraceCounts, TraceOptions, TraceReader, open};
pub use row::{BlockScope, TraceRow};
pub use select::Selection;
pub use servegen::{ServeGen, ServeGenError, ServeGenMade, generate};
pub use synthesize::{Changes, Synthesis, Synthesized, Window, synthesize};
