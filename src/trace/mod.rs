//! Reads any arrival trace through a SQL mapping into canonical rows.

mod row;

pub use row::{BlockScope, TraceRow};
