//! Turns batches of canonical columns into rows, and refuses values that no request can have.

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, UInt64Type};

use super::mapping::CANONICAL;
use super::row::{BlockScope, TraceRow};

/// A row and where it stands in the file.
#[derive(Debug)]
pub(super) struct FileRow {
    /// The row; its arrival is in the file's own time.
    pub(super) row: TraceRow,
    /// Line or Parquet row, where the mapping lets it through.
    pub(super) line: Option<u64>,
    /// Number of the row in the mapping's output, from 0.
    pub(super) number: u64,
}

/// A canonical value that can't be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Line or Parquet row.
    pub(super) line: Option<u64>,
    /// The canonical column.
    pub(super) column: &'static str,
    /// What is wrong with it, as a predicate.
    pub(super) what: String,
}

/// Decodes a batch; its first row is the `first_number`th of the trace.
pub(super) fn rows(batch: &RecordBatch, first_number: u64) -> Result<Vec<FileRow>, Problem> {
    let columns = Columns::of(batch);
    (0..batch.num_rows())
        .zip(first_number..)
        .map(|(at, number)| columns.row(at, number))
        .collect()
}

/// A batch's columns by name; the plan has cast them to these types.
struct Columns<'a> {
    arrival_ns: &'a Int64Array,
    input_tokens: &'a Int64Array,
    output_tokens: &'a Int64Array,
    session_id: &'a StringArray,
    parent_id: &'a StringArray,
    turn: &'a Int64Array,
    think_ns: &'a Int64Array,
    prefix_blocks: &'a ListArray,
    block_size: &'a Int64Array,
    block_scope: &'a StringArray,
    model: &'a StringArray,
    class: &'a StringArray,
    failed: &'a BooleanArray,
    line: &'a arrow::array::UInt64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        let number = |at: usize| batch.column(at).as_primitive::<Int64Type>();
        let text = |at: usize| batch.column(at).as_string::<i32>();
        Self {
            arrival_ns: number(0),
            input_tokens: number(1),
            output_tokens: number(2),
            session_id: text(3),
            parent_id: text(4),
            turn: number(5),
            think_ns: number(6),
            prefix_blocks: batch.column(7).as_list(),
            block_size: number(8),
            block_scope: text(9),
            model: text(10),
            class: text(11),
            failed: batch.column(12).as_boolean(),
            line: batch.column(CANONICAL.len()).as_primitive::<UInt64Type>(),
        }
    }

    fn row(&self, at: usize, number: u64) -> Result<FileRow, Problem> {
        let line = self.line.is_valid(at).then(|| self.line.value(at));
        let problem = |column: &'static str, what: &str| Problem {
            line,
            column,
            what: what.to_owned(),
        };
        let failed = self.failed.is_valid(at) && self.failed.value(at);
        let tokens = |array: &Int64Array, column: &'static str| {
            let value = array.is_valid(at).then(|| array.value(at));
            let tokens = value.and_then(|value| u32::try_from(value).ok());
            match tokens {
                Some(tokens) if tokens > 0 || failed => Ok(tokens),
                // What a failed request was to have is often unknown, and nobody sends it.
                _ if failed => Ok(0),
                _ => Err(problem(column, "is not a length of at least 1 token")),
            }
        };
        let small = |array: &Int64Array, column: &'static str| {
            array
                .is_valid(at)
                .then(|| u32::try_from(array.value(at)))
                .transpose()
                .map_err(|_| problem(column, "is not a whole number from 0"))
        };
        let arrival_ns = (self
            .arrival_ns
            .is_valid(at)
            .then(|| self.arrival_ns.value(at)))
        .ok_or_else(|| problem("arrival_ns", "is not a time"))?;
        let think_ns = self.think_ns.is_valid(at).then(|| self.think_ns.value(at));
        if think_ns.is_some_and(|think_ns| think_ns < 0) {
            return Err(problem("think_ns", "is a pause below 0"));
        }
        let prefix_blocks = (self.blocks(at))
            .ok_or_else(|| problem("prefix_blocks", "holds an id that is empty"))?;
        let block_size = small(self.block_size, "block_size")?;
        if !prefix_blocks.is_empty() && block_size.unwrap_or(0) == 0 {
            return Err(problem(
                "block_size",
                "is not a size of at least 1 token, which `prefix_blocks` needs",
            ));
        }
        let block_scope = match text(self.block_scope, at).as_deref() {
            None | Some("trace") => BlockScope::Trace,
            Some("file") => BlockScope::File,
            Some("session") => BlockScope::Session,
            Some(_) => return Err(problem("block_scope", "is not trace, file or session")),
        };
        let row = TraceRow {
            arrival_ns,
            input_tokens: tokens(self.input_tokens, "input_tokens")?,
            output_tokens: tokens(self.output_tokens, "output_tokens")?,
            session_id: text(self.session_id, at),
            parent_id: text(self.parent_id, at),
            turn: small(self.turn, "turn")?,
            think_ns,
            prefix_blocks,
            block_size,
            block_scope,
            model: text(self.model, at),
            class: text(self.class, at),
            failed,
        };
        Ok(FileRow { row, line, number })
    }

    /// Returns the block ids; none where one of them is null.
    fn blocks(&self, at: usize) -> Option<Vec<u64>> {
        if self.prefix_blocks.is_null(at) {
            return Some(Vec::new());
        }
        let ids = self.prefix_blocks.value(at);
        let ids = ids.as_primitive::<UInt64Type>();
        (ids.null_count() == 0).then(|| ids.values().to_vec())
    }
}

fn text(array: &StringArray, at: usize) -> Option<String> {
    array.is_valid(at).then(|| array.value(at).to_owned())
}
