//! Rows for the tests of this folder.

use crate::trace::{BlockScope, TraceRow};

/// Returns a row that arrives so many seconds after the zero of its clock, and has nothing else.
pub(super) fn row(second: i64) -> TraceRow {
    TraceRow {
        arrival_ns: second * 1_000_000_000,
        input_tokens: 10,
        output_tokens: 2,
        session_id: None,
        parent_id: None,
        turn: None,
        think_ns: None,
        prefix_blocks: Vec::new(),
        block_size: None,
        block_scope: BlockScope::Trace,
        model: None,
        class: None,
        failed: false,
    }
}
