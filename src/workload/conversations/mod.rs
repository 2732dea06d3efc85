//! The data set `conversations`: recorded ones of a file, or made-up ones.

mod config;
mod distribution;
mod file;
mod flags;
mod forms;
mod kind;
mod made_up;
mod prefixes;
mod recorded;
mod rounds;

pub(super) use kind::CONVERSATIONS;

#[cfg(test)]
mod tests;
