//! The engine: the only place that sets up DataFusion, for traces and for tapes.
//!
//! [`session`] makes an engine, [`tapes`] opens tapes and [`views`] puts the contract's views over
//! them; [`statements`] runs what a user typed and [`mod@format`] prints what came back. Nothing here
//! knows what a metric is: that is SQL, in `queries/`.

mod error;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod format;
mod header;
mod order;
mod recounts;
mod session;
mod split;
mod statements;
mod tapes;
mod utc;
mod views;

pub use error::SqlError;
pub use format::{Format, format_batches};
pub use header::Definition;
pub use session::block_on;
pub use tapes::{SloFrom, Span, Yardsticks};

pub(crate) use error::message;
pub(crate) use header::Header;
pub(crate) use recounts::{AnswerTokens, AttemptKey, ChunkTokens, Recounts};
pub(crate) use session::{new_bounded_session, new_session, new_spilling_session};
pub(crate) use statements::{collect, run_sql};
pub(crate) use tapes::{Goal, OpenedTape, Settings, Tapes, open_tapes};
pub(crate) use views::{PUBLIC_VIEWS, VIEWS, keep, keep_view};
