//! The columns of a copy that differ from those of the trace by more than their rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::Int64Type;
use arrow::error::ArrowError;

use super::lengths::scale_tokens;
use crate::trace::row::TraceRow;

/// A row that a copy takes, and where it stands there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken<'a> {
    pub(super) row: &'a TraceRow,
    /// Its place in the batch.
    pub(super) at: u32,
    pub(super) number: u64,
    pub(super) at_ns: i64,
    /// What tells its session from the other ones that are made of the same; 0 for the first.
    pub(super) instance: u64,
    /// The first row of its session.
    pub(super) start: Start,
}

impl Taken<'_> {
    /// Returns whether the row that it follows is not in its session any more.
    fn is_cut(&self) -> bool {
        self.start.is_cut && self.start.number == self.number
    }
}

/// The first row of what is a session of its own in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Start {
    pub(super) number: u64,
    pub(super) turn: Option<u32>,
    /// Whether the session had earlier rows, which are not in this part of it.
    pub(super) is_cut: bool,
}

/// What is wrong with a row after scaling.
#[derive(Debug)]
pub(super) enum Problem {
    /// The row at this place of the batch becomes too long.
    TooLong(u32),
    /// The engine refuses a batch.
    Arrow(ArrowError),
}

impl From<ArrowError> for Problem {
    fn from(error: ArrowError) -> Self {
        Self::Arrow(error)
    }
}

/// Gives sessions and parents names of their own: the first instance of a session keeps its name,
/// the second one gets a `#` and `first_suffix`.
pub(super) fn ids(rows: &[Taken<'_>], column: &ArrayRef, first_suffix: u64) -> ArrayRef {
    let ids = column.as_string::<i32>();
    let ids = rows.iter().map(|taken| {
        let place = usize::try_from(taken.at).ok()?;
        if ids.is_null(place) {
            return None;
        }
        let id = ids.value(place);
        Some(match taken.instance.checked_sub(1) {
            None => id.to_owned(),
            Some(further) => format!("{id}#{}", first_suffix + further),
        })
    });
    Arc::new(ids.collect::<StringArray>())
}

/// Names parents like sessions, and leaves out those that were not taken.
pub(super) fn parents(rows: &[Taken<'_>], column: &ArrayRef, first_suffix: u64) -> ArrayRef {
    let ids = ids(rows, column, first_suffix);
    let ids = ids.as_string::<i32>().iter().zip(rows);
    let ids = ids.map(|(id, taken)| id.filter(|_| !taken.is_cut()));
    Arc::new(ids.collect::<StringArray>())
}

/// Returns the input tokens of a row.
pub(super) fn input(row: &TraceRow) -> u32 {
    row.input_tokens
}

/// Returns the output tokens of a row.
pub(super) fn output(row: &TraceRow) -> u32 {
    row.output_tokens
}

/// Scales lengths. What a failed row says in place of a length stays as it is.
pub(super) fn tokens(
    rows: &[Taken<'_>],
    column: &ArrayRef,
    factor: f64,
    of: fn(&TraceRow) -> u32,
) -> Result<ArrayRef, Problem> {
    let raw = column.as_primitive::<Int64Type>();
    let scaled = rows.iter().map(|taken| {
        let tokens = of(taken.row);
        if tokens == 0 {
            return Ok(raw_value(raw, taken));
        }
        let scaled = scale_tokens(tokens, factor).ok_or(Problem::TooLong(taken.at))?;
        Ok(Some(i64::from(scaled)))
    });
    let scaled: Result<Int64Array, Problem> = scaled.collect();
    Ok(Arc::new(scaled?))
}

/// Lets the turns of a session whose first ones were not taken begin at 0.
pub(super) fn turns(rows: &[Taken<'_>], column: &ArrayRef) -> ArrayRef {
    let raw = column.as_primitive::<Int64Type>();
    let turns = rows.iter().map(|taken| {
        let cut = taken
            .start
            .turn
            .filter(|_| taken.start.is_cut)
            .map_or(0, i64::from);
        raw_value(raw, taken).map(|turn| (turn - cut).max(0))
    });
    Arc::new(turns.collect::<Int64Array>())
}

/// Leaves out the pause after a reply that was not taken.
pub(super) fn thinks(rows: &[Taken<'_>], column: &ArrayRef) -> ArrayRef {
    let raw = column.as_primitive::<Int64Type>();
    let thinks = rows
        .iter()
        .map(|taken| raw_value(raw, taken).filter(|_| !taken.is_cut()));
    Arc::new(thinks.collect::<Int64Array>())
}

fn raw_value(raw: &Int64Array, taken: &Taken<'_>) -> Option<i64> {
    let place = usize::try_from(taken.at).ok()?;
    raw.is_valid(place).then(|| raw.value(place))
}
