//! Record-and-replay trace analysis for LLM serving.
//!
//! The library behind the `tokentape` command. It makes no promise of a stable API: the command,
//! the tape and the SQL views are what people build on.
//!
//! # Glossary
//!
//! | word | meaning |
//! |---|---|
//! | request | one entry of the schedule |
//! | attempt | one try at sending a request |
//! | chunk | one streamed event that arrived; a chunk is not a token |
//! | token | a unit of the model's vocabulary |
//! | TTFT | first token-bearing event less send time |
//! | inter-token gap (ITL) | time between two tokens of one answer |
//! | TPOT | mean time per output token after the first chunk |
//! | end-to-end (E2EL) | last token-bearing event less send time |
//! | intended | when a request was due |
//! | actual | when it was sent |
//! | slip | the client's own lateness: actual less intended, less what a cap or a connect took |
//! | goodput | requests a second that met every stated goal |

pub mod analyze;
pub mod backend;
pub mod capture;
pub mod cli;
#[cfg(test)]
mod corpus;
mod draw;
pub mod error;
pub mod flag;
mod http_server;
pub mod load;
pub mod plan;
pub mod report;
pub mod runtime;
pub mod schedule;
pub mod scrape;
pub mod secrets;
mod server_names;
pub mod simulate;
pub mod sql;
#[cfg(test)]
mod testing;
mod throttle;
pub mod time;
pub mod trace;
mod units;
pub mod verify;
mod view;
mod visible;
pub mod wire;
pub mod workload;

// The entries of the fuzz targets name the crate as one that stands outside does.
#[cfg(test)]
extern crate self as tokentape;

/// Returns the analysis of a made-up run, into which a fuzz target puts its texts.
#[cfg(fuzzing)]
pub fn sample_analysis() -> analyze::Analysis {
    report::fixture::single()
}
