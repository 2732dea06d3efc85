//! The driver of load: due time → request → stamped reads.
//!
//! Three threads share the work, joined by bounded channels, with a fourth of the wire. The *feed*
//! prepares requests ahead of time; the *driver*, one thread with a runtime of its own, sends them
//! when they are due; the wire's *reader* stamps what comes back; the *scribe* decodes the bytes and
//! writes the tape. Between a read and its stamp nothing is done at all; after it, the bytes are
//! copied.

mod allowance;
mod anchors;
mod attempt;
mod backlog;
pub mod clock;
mod driver;
mod error;
mod feed;
mod health;
mod open_files;
mod planned;
mod prepare;
mod recorder;
mod run;
mod scribe;
mod self_check;
mod supply;
mod template;
#[cfg(test)]
mod tests;
pub mod timer;
mod transcript;
mod turn_feed;
mod turns;

pub use driver::{Driven, Driver, Limits, Stop};
pub use error::LoadError;
pub use feed::{Feed, Source, TraceReplay};
pub use open_files::{max_in_flight, raise_open_files};
pub use planned::Planned;
pub use prepare::{Private, Setup};
pub use recorder::{Failure, Recorder, Stats};
pub use run::{Run, RunReport, run};
pub use scribe::{Scribe, TokenCounter};
pub use self_check::SelfCheckPlan;
pub use supply::Supply;
pub use template::RequestTemplate;
