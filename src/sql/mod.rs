//! The engine: the only place that sets up DataFusion, for traces and for tapes.
//!
//! [`session`] makes an engine, [`tapes`] opens tapes and [`views`] puts the contract's views over
//! them. [`mod@answer`] takes what a user typed past the [`door`], [`statements`] runs it and
//! [`mod@format`] writes what comes back, all of it in a [`process`] that may die. Nothing here knows
//! what a metric is: that is SQL, in `queries/`.

mod answer;
mod door;
mod error;
mod facts;
#[cfg(test)]
pub(crate) mod fixture;
mod format;
mod header;
mod opened_tape;
mod order;
mod process;
mod question;
mod recounts;
mod session;
mod settings;
mod split;
mod statements;
mod tapes;
mod utc;
mod view_files;
mod views;

pub use error::SqlError;
pub use header::Definition;
pub use settings::{ReportSettings, SloFrom, Span};
pub use statements::understood;

pub(crate) use answer::{answer, results_of};
pub(crate) use door::MOST_BYTES;
pub(crate) use error::{is_out_of_memory, message};
pub(crate) use facts::WINDOW_BLOCKS;
pub(crate) use format::Format;
pub(crate) use header::Header;
pub(crate) use opened_tape::OpenedTape;
pub(crate) use process::{Answering, Output, VERB, Word, ask, confine, hear, tell};
pub(crate) use question::{Limits, Question};
pub(crate) use recounts::{AnswerTokens, AttemptKey, Recounting, Recounts};
pub(crate) use session::{new_session, new_spilling_session};
pub(crate) use settings::{Goal, Settings};
pub(crate) use statements::collect;
pub(crate) use tapes::{Tapes, open_tapes, whole_tapes};
pub(crate) use view_files::{PUBLIC_VIEWS, VIEWS};
pub(crate) use views::{keep, keep_view};
