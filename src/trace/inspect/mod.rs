//! What a trace is like: one pass over its rows, in bounded memory.
//!
//! The rows are those of a replay (`checked`), failed ones among them. What they hold is taken in
//! the order of the file (`contents`: `tally`, `sessions`, `names`); when they arrive
//! is taken in order of time (`arrivals`: `bins`, `instants`, `sketch`). `pass` reads, puts small
//! disorder right, lets time go on where the clock starts anew, and takes what was asked for.
//!
//! This is no SQL: a trace may come from a pipe that is read once, may be larger than memory, and
//! is put in order of time while it streams by.

mod arrivals;
mod bins;
mod contents;
#[cfg(test)]
pub(super) mod fixture;
mod instants;
mod names;
mod pass;
mod sessions;
mod sketch;
mod tally;
#[cfg(test)]
mod tests;

pub(crate) use bins::Peak;
pub(crate) use names::NameFacts;
pub(crate) use pass::{Inspected, Inspection, inspect};
pub(crate) use tally::Distribution;
