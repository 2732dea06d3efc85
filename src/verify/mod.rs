//! The client's own error: how far its times are from those of a server that writes down its own.
//!
//! A stamping server, such as `simulate --stamp`, writes into its tokens when it had read the
//! request and when it sent each event. [`measure()`] drives one against it for one [`Rung`], a number
//! of streams at once, with the same machinery as any run, tape writing included, and reads the
//! errors off the tape by SQL (`queries/client_error.sql`). The server has to be another process,
//! or it would share what it is to measure; [`OwnServer`] starts one, and [`Cores`] keeps the two
//! from taking each other's time.

mod cores;
mod error;
mod json;
mod ladder;
mod measure;
mod rung;
mod server;
mod terminal;
#[cfg(test)]
mod tests;

pub use error::VerifyError;

pub(crate) use cores::{Cores, listed, on};
pub(crate) use json::json;
pub(crate) use ladder::Verification;
pub(crate) use measure::{LadderSetup, Measurement, StampingServer, drive, measure};
pub(crate) use rung::Rung;
pub(crate) use server::OwnServer;
pub(crate) use terminal::terminal;
