//! Turns batches of canonical columns into rows, and refuses values that no request can have.

use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Int64Type, Schema, UInt64Type};
use serde_json::{Map, Value};

use super::columns::{CANONICAL, LINE, canonical_type};
use super::row::{BlockScope, RowText, TraceRow};
use super::source::file_of;

/// Blocks that a row may have beyond what its length needs: published lengths are a few tokens off.
const SPARE_BLOCKS: usize = 1;

/// Most tokens of a prompt or an answer: a longer one would take the memory of all others.
pub(super) const TOKENS_MAX: u32 = 1 << 24;

/// Fields of a request's body that a row can't bring: the plan, or another column, says what is sent.
const OF_THE_PLAN: [&str; 10] = [
    "model",
    "messages",
    "prompt",
    "input",
    "n",
    "best_of",
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
];

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

/// A row as the mapping yields it, with what only rows before it tell still open.
#[derive(Debug)]
pub(super) struct Decoded {
    /// The row; without an arrival it is at 0.
    pub(super) file_row: FileRow,
    /// Whether the row has an arrival of its own.
    pub(super) has_arrival: bool,
    /// Tokens at the prompt's start that the session's previous request had too.
    pub(super) prefix_tokens: Option<u32>,
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
pub(super) fn rows(batch: &RecordBatch, first_number: u64) -> Result<Vec<Decoded>, Problem> {
    let batch = typed(batch)?;
    let columns = Columns::of(&batch);
    (0..batch.num_rows())
        .zip(first_number..)
        .map(|(at, number)| columns.row(at, number))
        .collect()
}

/// Returns the batch with its columns in their canonical types. The plan has cast them, but the
/// engine may leave a list inside a `CASE` as the file has it.
fn typed(batch: &RecordBatch) -> Result<RecordBatch, Problem> {
    let unsafely = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut fields = Vec::with_capacity(batch.num_columns());
    let mut columns = Vec::with_capacity(batch.num_columns());
    for (position, column) in batch.columns().iter().enumerate() {
        let field = batch.schema().field(position).clone();
        let wanted = match CANONICAL.get(position) {
            Some(name) => canonical_type(name),
            None => field.data_type().clone(),
        };
        let column = if *column.data_type() == wanted {
            Arc::clone(column)
        } else {
            cast_with_options(column, &wanted, &unsafely).map_err(|error| Problem {
                line: None,
                column: CANONICAL.get(position).copied().unwrap_or(LINE),
                what: format!("can't be read: {error}"),
            })?
        };
        fields.push(field.with_data_type(wanted));
        columns.push(column);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| Problem {
        line: None,
        column: LINE,
        what: format!("can't be read: {error}"),
    })
}

/// A batch's columns by name, in their canonical types.
struct Columns<'a> {
    arrival_ns: &'a Int64Array,
    input_tokens: &'a Int64Array,
    output_tokens: &'a Int64Array,
    id: &'a StringArray,
    session_id: &'a StringArray,
    parent_id: &'a StringArray,
    turn: &'a Int64Array,
    think_ns: &'a Int64Array,
    elapsed_ns: &'a Int64Array,
    prefix_tokens: &'a Int64Array,
    prefix_blocks: &'a ListArray,
    block_size: &'a Int64Array,
    block_scope: &'a StringArray,
    model: &'a StringArray,
    class: &'a StringArray,
    failed: &'a BooleanArray,
    prompt: &'a StringArray,
    messages: &'a StringArray,
    body: &'a StringArray,
    new_only: &'a BooleanArray,
    reply: &'a StringArray,
    line: &'a arrow::array::UInt64Array,
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Self {
        let column = |name: &str| {
            let position = CANONICAL.iter().position(|known| *known == name);
            batch.column(position.unwrap_or(CANONICAL.len()))
        };
        let number = |name: &str| column(name).as_primitive::<Int64Type>();
        let text = |name: &str| column(name).as_string::<i32>();
        Self {
            arrival_ns: number("arrival_ns"),
            input_tokens: number("input_tokens"),
            output_tokens: number("output_tokens"),
            id: text("id"),
            session_id: text("session_id"),
            parent_id: text("parent_id"),
            turn: number("turn"),
            think_ns: number("think_ns"),
            elapsed_ns: number("elapsed_ns"),
            prefix_tokens: number("prefix_tokens"),
            prefix_blocks: column("prefix_blocks").as_list(),
            block_size: number("block_size"),
            block_scope: text("block_scope"),
            model: text("model"),
            class: text("class"),
            failed: column("failed").as_boolean(),
            prompt: text("prompt"),
            messages: text("messages"),
            body: text("body"),
            new_only: column("new_only").as_boolean(),
            reply: text("reply"),
            line: batch.column(CANONICAL.len()).as_primitive::<UInt64Type>(),
        }
    }

    fn row(&self, at: usize, number: u64) -> Result<Decoded, Problem> {
        let line = self.line.is_valid(at).then(|| self.line.value(at));
        let problem = |(column, what): (&'static str, &str)| Problem {
            line,
            column,
            what: what.to_owned(),
        };
        let mut row = self.lengths(at).map_err(problem)?;
        self.place_in_session(at, &mut row).map_err(problem)?;
        self.prefix(at, &mut row).map_err(problem)?;
        row.number = number;
        row.file = line.map_or(0, file_of);
        row.model = text(self.model, at);
        row.class = text(self.class, at);
        let arrival_ns = value(self.arrival_ns, at);
        // A turn may be told by its pause alone.
        let is_told_by_pause = row.think_ns.is_some() && row.session_id.is_some();
        if arrival_ns.is_none() && !is_told_by_pause {
            return Err(problem(("arrival_ns", "is not a time")));
        }
        row.arrival_ns = arrival_ns.unwrap_or(0);
        Ok(Decoded {
            has_arrival: arrival_ns.is_some(),
            prefix_tokens: small(self.prefix_tokens, at)
                .map_err(|()| problem(("prefix_tokens", "is not a whole number from 0")))?,
            file_row: FileRow { row, line, number },
        })
    }

    fn lengths(&self, at: usize) -> Result<TraceRow, (&'static str, &'static str)> {
        let told = flag(self.failed, at);
        let reply = text(self.reply, at).filter(|reply| !reply.is_empty());
        let text = match (text(self.messages, at), text(self.prompt, at)) {
            (Some(messages), _) if !is_list_of_messages(&messages) => {
                return Err(("messages", "is no JSON array of objects"));
            }
            (Some(messages), _) => Some(RowText::Messages(messages)),
            // Nothing to send is no text, as in a CSV field that is empty.
            (None, prompt) => prompt.filter(|text| !text.is_empty()).map(RowText::Prompt),
        };
        let output = value(self.output_tokens, at);
        // Text can be sent without a bound on its answer, where the trace says that it got one.
        let is_unbounded = output.is_none() && told == Some(false) && text.is_some();
        // An answer without a token is none, in whatever format.
        let is_without_output = output.is_none_or(|tokens| tokens <= 0) && !is_unbounded;
        let failed = told == Some(true) || is_without_output;
        let tokens = |array: &Int64Array, column: &'static str, may_lack: bool| {
            let tokens = value(array, at).map(u32::try_from);
            let is_huge = value(array, at).is_some_and(|tokens| tokens > i64::from(TOKENS_MAX));
            match tokens {
                _ if is_huge => Err((column, "is more than 16,777,216 tokens")),
                Some(Ok(tokens)) if tokens > 0 || failed => Ok(tokens),
                None if may_lack => Ok(0),
                // What a failed request was to have is often unknown, and nobody sends it.
                _ if failed => Ok(0),
                _ => Err((column, "is not a length of at least 1 token")),
            }
        };
        Ok(TraceRow {
            input_tokens: tokens(self.input_tokens, "input_tokens", text.is_some())?,
            output_tokens: tokens(self.output_tokens, "output_tokens", is_unbounded)?,
            failed,
            text,
            body: self.body(at)?,
            new_only: flag(self.new_only, at),
            reply,
            ..TraceRow::default()
        })
    }

    /// Returns the fields of the request's body that the row brings, without those that the plan
    /// decides.
    fn body(&self, at: usize) -> Result<Option<String>, (&'static str, &'static str)> {
        let Some(json) = text(self.body, at) else {
            return Ok(None);
        };
        let Ok(mut fields) = serde_json::from_str::<Map<String, Value>>(&json) else {
            return Err(("body", "is no JSON object"));
        };
        for name in ["n", "best_of"] {
            if fields.get(name).and_then(Value::as_u64).unwrap_or(1) > 1 {
                return Err(("body", "asks for several answers, which is no one stream"));
            }
        }
        let count = fields.len();
        fields.retain(|name, value| !OF_THE_PLAN.contains(&name.as_str()) && !value.is_null());
        Ok(match fields.len() {
            0 => None,
            left if left == count => Some(json),
            _ => Some(Value::Object(fields).to_string()),
        })
    }

    fn place_in_session(
        &self,
        at: usize,
        row: &mut TraceRow,
    ) -> Result<(), (&'static str, &'static str)> {
        row.id = text(self.id, at);
        row.session_id = text(self.session_id, at);
        row.parent_id = text(self.parent_id, at);
        row.turn = small(self.turn, at).map_err(|()| ("turn", "is not a whole number from 0"))?;
        row.think_ns = value(self.think_ns, at);
        row.elapsed_ns = value(self.elapsed_ns, at);
        if row.think_ns.is_some_and(|think_ns| think_ns < 0) {
            return Err(("think_ns", "is a pause below 0"));
        }
        if row.elapsed_ns.is_some_and(|elapsed_ns| elapsed_ns < 0) {
            return Err(("elapsed_ns", "is a duration below 0"));
        }
        Ok(())
    }

    fn prefix(&self, at: usize, row: &mut TraceRow) -> Result<(), (&'static str, &'static str)> {
        row.block_size = small(self.block_size, at)
            .map_err(|()| ("block_size", "is not a whole number from 0"))?;
        row.block_scope = match text(self.block_scope, at).as_deref() {
            None | Some("trace") => BlockScope::Trace,
            Some("file") => BlockScope::File,
            Some("session") => BlockScope::Session,
            Some(_) => return Err(("block_scope", "is not trace, file or session")),
        };
        // Before they are copied.
        let count = match self.prefix_blocks.is_null(at) {
            true => 0,
            false => usize::try_from(self.prefix_blocks.value_length(at)).unwrap_or(usize::MAX),
        };
        if count == 0 {
            return Ok(());
        }
        let size = row.block_size.unwrap_or(0);
        if size == 0 {
            let what = "is not a size of at least 1 token, which `prefix_blocks` needs";
            return Err(("block_size", what));
        }
        let is_known = row.input_tokens > 0 && !row.failed;
        let tokens = if is_known {
            row.input_tokens
        } else {
            TOKENS_MAX
        };
        let needed = usize::try_from(tokens.div_ceil(size)).unwrap_or(usize::MAX);
        if count > needed.saturating_add(SPARE_BLOCKS) {
            let what = "holds more blocks of `block_size` tokens than the prompt is long: the \
                        blocks are smaller than this format has them";
            return Err(("prefix_blocks", what));
        }
        row.prefix_blocks = self
            .blocks(at)
            .ok_or(("prefix_blocks", "holds an id that is empty"))?;
        Ok(())
    }

    /// Returns the block ids; none where one of them is null.
    fn blocks(&self, at: usize) -> Option<Vec<u64>> {
        let ids = self.prefix_blocks.value(at);
        let ids = ids.as_primitive::<UInt64Type>();
        (ids.null_count() == 0).then(|| ids.values().to_vec())
    }
}

fn is_list_of_messages(json: &str) -> bool {
    let messages = serde_json::from_str::<Vec<Map<String, Value>>>(json);
    messages.is_ok_and(|messages| !messages.is_empty())
}

fn value(array: &Int64Array, at: usize) -> Option<i64> {
    array.is_valid(at).then(|| array.value(at))
}

fn flag(array: &BooleanArray, at: usize) -> Option<bool> {
    array.is_valid(at).then(|| array.value(at))
}

fn small(array: &Int64Array, at: usize) -> Result<Option<u32>, ()> {
    let value = value(array, at).map(u32::try_from);
    value.transpose().map_err(|_| ())
}

fn text(array: &StringArray, at: usize) -> Option<String> {
    array.is_valid(at).then(|| array.value(at).to_owned())
}
