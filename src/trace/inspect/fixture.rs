//! Rows for the tests of this folder.

use crate::trace::TraceRow;

/// Returns a row that arrives so many seconds after the zero of its clock, and has nothing else.
pub(in crate::trace) fn row(second: i64) -> TraceRow {
    TraceRow {
        arrival_ns: second * 1_000_000_000,
        input_tokens: 10,
        output_tokens: 2,
        ..TraceRow::default()
    }
}
