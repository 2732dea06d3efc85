//! The tape: what a run leaves on disk, and how it gets there without loss.

pub mod manifest;
pub mod schema;
pub(crate) mod value;

pub use value::{ColumnValue, Label, Word};
