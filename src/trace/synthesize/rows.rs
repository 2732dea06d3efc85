//! Makes the rows of each copy out of a batch of the trace.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int64Array, ListBuilder, RecordBatch, UInt32Array, UInt64Array, UInt64Builder,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::chains::Group;
use super::columns::{Problem, Start, Taken, ids, input, output, parents, thinks, tokens, turns};
use super::lengths::{Blocks, copy_id, scale_blocks, scale_tokens};
use super::plan::{Changes, Plan};
use super::survey::Survey;
use crate::trace::columns::NUMBER_AT;
use crate::trace::decode::FileRow;
use crate::trace::row::{BlockScope, TraceRow};

/// Canonical columns by their place; the others are taken as they are.
mod at {
    pub(super) const ARRIVAL: usize = 0;
    pub(super) const INPUT: usize = 1;
    pub(super) const OUTPUT: usize = 2;
    pub(super) const ID: usize = 3;
    pub(super) const SESSION: usize = 4;
    pub(super) const PARENT: usize = 5;
    pub(super) const TURN: usize = 6;
    pub(super) const THINK: usize = 7;
    pub(super) const BLOCKS: usize = 10;
}

/// Rewrites batches, one copy after the other.
///
/// Memory: about 60 bytes a session that was taken, beside the survey, and 24 a copy for those
/// that some copies cut at the end of the trace.
#[derive(Debug)]
pub(super) struct Rewriter {
    changes: Changes,
    plan: Plan,
    survey: Survey,
    /// What tells new block ids from old ones.
    salt: u64,
    schema: SchemaRef,
    parts: HashMap<(Group, u32), Part>,
    taken: u64,
}

/// The rows of one session in one window.
#[derive(Debug, Clone)]
struct Part {
    /// Where it begins.
    start: Start,
    /// The first row that comes past the turn, for the last copy, the one before it, and so on.
    turned: Vec<Start>,
}

/// A batch of the trace whose rows have their places in the output.
#[derive(Debug)]
pub(super) struct PlacedBatch {
    columns: RecordBatch,
    rows: Vec<FileRow>,
    places: Vec<Place>,
}

impl PlacedBatch {
    /// Returns the line of the row at a place of the batch.
    pub(super) fn line(&self, at: u32) -> Option<u64> {
        self.rows.get(usize::try_from(at).ok()?)?.line
    }
}

/// Where a row that lies in a window stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Its place in the batch.
    at: u32,
    number: u64,
    first_number: u64,
    window: u32,
    at_ns: i64,
    group: Option<Group>,
    start: Start,
}

impl Rewriter {
    /// Makes rows with the columns of `schema`.
    pub(super) fn new(changes: Changes, plan: Plan, survey: Survey, schema: SchemaRef) -> Self {
        Self {
            changes,
            plan,
            salt: survey.salt(),
            survey,
            schema,
            parts: HashMap::new(),
            taken: 0,
        }
    }

    /// Returns the number of copies, of which the last may be thinned.
    pub(super) fn copies(&self) -> u32 {
        self.plan.copies.count
    }

    /// Returns the columns of what is made.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Returns how many rows the trace had when it was surveyed.
    pub(super) fn surveyed_rows(&self) -> u64 {
        self.survey.rows()
    }

    /// Returns how many rows of the trace lay in a window.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Gives the rows of a batch that lie in a window their places. Batches are to come in the
    /// trace's order.
    pub(super) fn place(&mut self, columns: RecordBatch, rows: Vec<FileRow>) -> PlacedBatch {
        let numbered = (0..).zip(&rows);
        let places: Vec<Place> = numbered
            .filter_map(|(at, row)| self.place_row(at, row))
            .collect();
        self.taken += u64::try_from(places.len()).unwrap_or(u64::MAX);
        PlacedBatch {
            columns,
            rows,
            places,
        }
    }

    fn place_row(&mut self, at: u32, file_row: &FileRow) -> Option<Place> {
        let FileRow { row, number, .. } = file_row;
        let since_zero_ns = row.arrival_ns.saturating_sub(self.plan.zero_ns);
        let (window, at_ns) = self.plan.place(since_zero_ns)?;
        let group = self.survey.group(*number);
        let first_number = self.survey.first_number(group, *number);
        let here = Start {
            number: *number,
            turn: row.turn,
            is_cut: first_number != *number,
        };
        let mut start = here;
        if let Some(group) = group {
            let part = self.parts.entry((group, window)).or_insert_with(|| Part {
                start: here,
                turned: Vec::new(),
            });
            start = part.start;
            // A copy turns no row that a later one does not.
            while let Some(copy) = earlier(self.plan.copies.count, part.turned.len()) {
                if !self.plan.turned(copy, at_ns).1 {
                    break;
                }
                part.turned.push(here);
            }
        }
        Some(Place {
            at,
            number: *number,
            first_number,
            window,
            at_ns,
            group,
            start,
        })
    }

    /// Makes the rows of a copy; none where it has none of these.
    pub(super) fn copy(
        &self,
        copy: u32,
        batch: &PlacedBatch,
    ) -> Result<Option<RecordBatch>, Problem> {
        let rows: Vec<Taken<'_>> = batch
            .places
            .iter()
            .filter_map(|&place| {
                let row = &batch.rows.get(usize::try_from(place.at).ok()?)?.row;
                let session = row.session_id.as_deref();
                let is_taken = self.plan.copies.holds(copy, session, place.first_number);
                is_taken.then(|| self.taken_by(copy, row, place))
            })
            .collect();
        if rows.is_empty() {
            return Ok(None);
        }
        let indices = UInt32Array::from_iter_values(rows.iter().map(|taken| taken.at));
        let mut columns = Vec::with_capacity(batch.columns.num_columns());
        for (at, column) in batch.columns.columns().iter().enumerate() {
            columns.push(match at {
                at::ARRIVAL => self.arrivals(&rows),
                at::INPUT => tokens(&rows, column, self.changes.input_scale, input)?,
                at::OUTPUT => tokens(&rows, column, self.changes.output_scale, output)?,
                at::ID | at::SESSION => ids(&rows, column, self.survey.first_suffix()),
                at::PARENT => parents(&rows, column, self.survey.first_suffix()),
                at::TURN => turns(&rows, column),
                at::THINK => thinks(&rows, column),
                at::BLOCKS if self.changes_blocks(copy) => self.blocks(&rows, copy)?,
                NUMBER_AT => self.numbers(&rows, copy),
                _ => take(column, &indices, None)?,
            });
        }
        Ok(Some(RecordBatch::try_new(self.schema(), columns)?))
    }

    /// Places a row in a copy.
    fn taken_by<'a>(&self, copy: u32, row: &'a TraceRow, place: Place) -> Taken<'a> {
        let (at_ns, is_turned) = self.plan.turned(copy, place.at_ns);
        let copies = u64::from(self.copies());
        let instance = u64::from(place.window) * copies + u64::from(copy);
        let mut taken = Taken {
            row,
            at: place.at,
            number: place.number,
            at_ns,
            instance,
            start: place.start,
        };
        let part = (place.group).and_then(|group| self.parts.get(&(group, place.window)));
        let turned = part.filter(|_| is_turned).and_then(|part| {
            let places = usize::try_from(self.copies() - 1 - copy).ok()?;
            part.turned.get(places).copied()
        });
        // A session that does not begin past the turn goes on there as one of its own.
        if let Some(start) = turned.filter(|start| start.number != place.start.number) {
            taken.instance += self.plan.windows() * copies;
            taken.start = Start {
                is_cut: true,
                ..start
            };
        }
        taken
    }

    fn arrivals(&self, rows: &[Taken<'_>]) -> ArrayRef {
        let arrivals = rows
            .iter()
            .map(|taken| self.plan.zero_ns.saturating_add(taken.at_ns));
        Arc::new(Int64Array::from_iter_values(arrivals))
    }

    /// Numbers rows so that equal arrivals keep the order of the trace, and copies that of theirs.
    fn numbers(&self, rows: &[Taken<'_>], copy: u32) -> ArrayRef {
        let copies = u64::from(self.copies());
        let numbers = rows.iter().map(|taken| {
            let before = taken.number.saturating_mul(copies);
            before.saturating_add(u64::from(copy))
        });
        Arc::new(UInt64Array::from_iter_values(numbers))
    }

    fn changes_blocks(&self, copy: u32) -> bool {
        copy > 0 || self.changes.input_scale.to_bits() != 1.0_f64.to_bits()
    }

    fn blocks(&self, rows: &[Taken<'_>], copy: u32) -> Result<ArrayRef, Problem> {
        let field = match self.schema.field(at::BLOCKS).data_type() {
            DataType::List(field) => Arc::clone(field),
            other => {
                let message = format!("prefix_blocks is {other}");
                return Err(Problem::Arrow(ArrowError::SchemaError(message)));
            }
        };
        let mut lists = ListBuilder::new(UInt64Builder::new()).with_field(field);
        for taken in rows {
            let row = taken.row;
            if row.prefix_blocks.is_empty() {
                lists.append_null();
                continue;
            }
            let blocks = self
                .row_blocks(row, copy)
                .ok_or(Problem::TooLong(taken.at))?;
            lists.values().append_slice(&blocks);
            lists.append(true);
        }
        Ok(Arc::new(lists.finish()))
    }

    /// Returns the blocks of a row in a copy; none where they are too many.
    fn row_blocks(&self, row: &TraceRow, copy: u32) -> Option<Vec<u64>> {
        let salt = self.salt;
        // Where ids have meaning in their session alone, a session of its own is enough.
        let is_own = |id: u64| {
            row.block_scope != BlockScope::Session && self.survey.is_private(row.block_scope, id)
        };
        let ids: Vec<u64> = row
            .prefix_blocks
            .iter()
            .map(|&id| {
                if is_own(id) {
                    copy_id(id, copy, salt)
                } else {
                    id
                }
            })
            .collect();
        let factor = self.changes.input_scale;
        if factor.to_bits() == 1.0_f64.to_bits() || row.input_tokens == 0 {
            return Some(ids);
        }
        let blocks = Blocks {
            ids: &ids,
            size: row.block_size?,
            tokens_before: row.input_tokens,
            tokens_after: scale_tokens(row.input_tokens, factor)?,
        };
        scale_blocks(blocks, factor, self.survey.rounding(), salt)
    }
}

/// Returns the copy that stands `places` before the last one; none from the first one on.
fn earlier(copies: u32, places: usize) -> Option<u32> {
    let places = u32::try_from(places).ok()?;
    copies
        .checked_sub(places.checked_add(1)?)
        .filter(|&copy| copy > 0)
}

#[cfg(test)]
mod tests {
    use super::at;
    use crate::trace::columns::CANONICAL;

    #[test]
    fn columns_stand_where_they_are_looked_for() {
        for (at, name) in [
            (at::ARRIVAL, "arrival_ns"),
            (at::INPUT, "input_tokens"),
            (at::OUTPUT, "output_tokens"),
            (at::ID, "id"),
            (at::SESSION, "session_id"),
            (at::PARENT, "parent_id"),
            (at::TURN, "turn"),
            (at::THINK, "think_ns"),
            (at::BLOCKS, "prefix_blocks"),
        ] {
            assert_eq!(CANONICAL[at], name);
        }
    }
}
