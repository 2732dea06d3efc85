//! Reads any arrival trace through a SQL mapping into canonical rows.
//!
//! The files of a trace are found (`files`). Each is opened by what is in it (`file`), split into
//! records that know their line (`lines`), read in batches (`csv`, `json`, `shape`), and handed to
//! DataFusion as one stream (`source`), where a format's SQL (`format`, `mapping`) makes canonical
//! columns of it. Those become rows (`decode`), which are put where the clock (`restart`) and their
//! session (`sessions`) have them, with what was said before in it where they hold only what is new (`history`). Small disorder is put right (`reorder`), what was asked for is taken
//! (`select`) and placed in time (`timeline`, `ties`). Or they are converted (`convert`) and written as
//! Parquet (`write`), in order if that is wanted (`sort`), or looked at (`inspect`).
//! Or another trace is made of them (`synthesize`). Rates and lengths without requests become a trace
//! in `servegen`.

mod bundled;
mod checked;
mod columns;
mod convert;
mod csv;
mod decode;
mod encode;
mod error;
mod file;
mod files;
mod format;
mod history;
mod inspect;
mod json;
mod lines;
mod mapping;
mod pipe;
mod prefixes;
mod quote;
mod ratio;
mod reader;
mod recent;
mod reorder;
mod restart;
mod row;
#[cfg(test)]
mod samples;
mod select;
mod servegen;
mod sessions;
mod shape;
mod sort;
mod source;
mod synthesize;
#[cfg(test)]
mod tests;
mod ties;
mod timeline;
mod write;

pub use bundled::{BUNDLED, BundledTrace, DEMO};
pub use convert::{Conversion, Converted, convert};
pub use error::{Place, ServeGenError, TraceError};
pub use format::{BodyField, FormatInfo, TraceClock, formats};
pub use history::{PromptFacts, reply_id};
pub(crate) use inspect::{Distribution, Inspected, Inspection, NameFacts, Peak, inspect};
pub use pipe::Pipe;
pub use reader::{LOOK_AHEAD_ROWS, TraceCounts, TraceOptions, TraceReader, open};
pub use row::{BlockScope, RowText, Said, TraceRow};
pub use select::Selection;
pub use servegen::{ServeGen, ServeGenMade, generate};
pub use synthesize::{Changes, Synthesis, Synthesized, Window, synthesize};
