//! The stages that need no query engine, compiled from their own sources and without the rest.
//!
//! DataFusion is most of every build, and an instrumented one takes longer still. What reads
//! untrusted bytes before an engine is asked needs none of it, so the targets beside this crate
//! are built in minutes. The crate goes by the name of the whole one: a target can't tell.
#![allow(dead_code, reason = "what the left out stages would use")]

#[path = "../../src/backend/mod.rs"]
pub mod backend;
#[path = "../../src/throttle.rs"]
mod throttle;
#[path = "../../src/capture/mod.rs"]
pub mod capture;
#[path = "../../src/plan.rs"]
pub mod plan;
#[path = "../../src/units.rs"]
mod units;
#[path = "../../src/secrets.rs"]
pub mod secrets;

/// The parts of the wires that are pure.
#[path = "../../src/wire"]
pub mod wire {
    pub mod chunked;
    pub mod response;
}
