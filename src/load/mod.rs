//! The driver of load: due time → request → stamped reads.
//!
//! Three threads share the work, joined by bounded channels, with a fourth of the wire. The *feed*
//! prepares requests ahead of time; the *driver*, one thread with a runtime of its own, sends them
//! when they are due; the wire's *reader* stamps what comes back; the *decoder* thread decodes the bytes and
//! writes the tape. Between a read and its stamp nothing is done at all; after it, the bytes are
//! copied.

mod adapters;
mod attempt;
mod attempt_decoder;
mod attempts;
mod backlog;
mod clock_sync;
mod counters;
mod decoder_thread;
mod driver;
mod error;
mod events;
mod feed;
mod hang_up;
mod health;
mod limits;
mod listeners;
mod memory_budget;
mod open_files;
mod prepare;
mod prepared;
mod recorder;
mod replies;
mod request_sender;
mod retries;
mod run;
mod scraping;
mod self_check;
mod server_tokenizer;
mod session_turns;
mod stop;
mod supply;
mod targets;
mod template;
#[cfg(test)]
mod tests;
mod threads;
mod trace_turns;
mod turn_feed;
mod turns;

pub use counters::{Failure, RunCounters};
pub use decoder_thread::DecoderThread;
pub use driver::{Driven, Driver};
pub use error::{CountError, LoadError};
pub use events::{Reply, RunEvent, RunListener};
pub use feed::{Feed, Source, TraceReplay};
pub use limits::Limits;
pub use listeners::RunEvents;
pub use open_files::{max_in_flight, raise_open_files};
pub use prepare::{Private, Setup};
pub use prepared::PreparedRequest;
pub use recorder::Recorder;
pub use retries::Retries;
pub use run::{Run, RunReport, run};
pub use self_check::SelfCheckPlan;
pub use server_tokenizer::ServerTokenizer;
pub use session_turns::SessionLoad;
pub use stop::Stop;
pub use supply::Supply;
pub use targets::Targets;
pub use template::RequestTemplate;
