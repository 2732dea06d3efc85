//! Turns rows back into batches of canonical columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListBuilder, RecordBatch, StringArray, UInt64Builder,
};

use super::columns::CANONICAL;
use super::decode::FileRow;
use super::row::{BlockScope, RowText, TraceRow};

/// Returns the canonical columns of rows, in their order.
pub(super) fn columns<'a>(rows: impl Iterator<Item = &'a TraceRow> + Clone) -> Vec<ArrayRef> {
    let number = |value: fn(&TraceRow) -> Option<i64>| -> ArrayRef {
        Arc::new(rows.clone().map(value).collect::<Int64Array>())
    };
    let text = |value: fn(&TraceRow) -> Option<&str>| -> ArrayRef {
        Arc::new(rows.clone().map(value).collect::<StringArray>())
    };
    let flag = |value: fn(&TraceRow) -> Option<bool>| -> ArrayRef {
        Arc::new(rows.clone().map(value).collect::<BooleanArray>())
    };
    CANONICAL
        .iter()
        .map(|name| match *name {
            "arrival_ns" => number(|row| Some(row.arrival_ns)),
            // Null where the text alone is known; 0 is what a failed request may have.
            "input_tokens" => number(|row| {
                let is_known = row.input_tokens > 0 || row.failed;
                is_known.then_some(i64::from(row.input_tokens))
            }),
            "output_tokens" => number(|row| {
                let is_known = row.output_tokens > 0 || row.failed;
                is_known.then_some(i64::from(row.output_tokens))
            }),
            "id" => text(|row| row.id.as_deref()),
            "session_id" => text(|row| row.session_id.as_deref()),
            "parent_id" => text(|row| row.parent_id.as_deref()),
            "turn" => number(|row| row.turn.map(i64::from)),
            "think_ns" => number(|row| row.think_ns),
            "elapsed_ns" => number(|row| row.elapsed_ns),
            // Has become blocks.
            "prefix_tokens" => number(|_| None),
            "prefix_blocks" => blocks(rows.clone()),
            "block_size" => number(|row| row.block_size.map(i64::from)),
            "block_scope" => text(|row| {
                let scope = match row.block_scope {
                    BlockScope::Trace => "trace",
                    BlockScope::File => "file",
                    BlockScope::Session => "session",
                };
                row.block_size.map(|_| scope)
            }),
            "model" => text(|row| row.model.as_deref()),
            "class" => text(|row| row.class.as_deref()),
            "failed" => flag(|row| Some(row.failed)),
            "prompt" => text(|row| match &row.text {
                Some(RowText::Prompt(prompt)) => Some(prompt),
                _ => None,
            }),
            "messages" => text(|row| match &row.text {
                Some(RowText::Messages(messages)) => Some(messages),
                _ => None,
            }),
            "body" => text(|row| row.body.as_deref()),
            "reply" => text(|row| row.reply.as_deref()),
            _ => flag(|row| row.new_only),
        })
        .collect()
}

fn blocks<'a>(rows: impl Iterator<Item = &'a TraceRow>) -> ArrayRef {
    let mut lists = ListBuilder::new(UInt64Builder::new());
    for row in rows {
        if row.block_size.is_none() {
            lists.append_null();
        } else {
            lists.values().append_slice(&row.prefix_blocks);
            lists.append(true);
        }
    }
    Arc::new(lists.finish())
}

/// Puts `rows` in place of the canonical columns of the batch that they come from.
pub(super) fn replace(batch: RecordBatch, rows: &[FileRow]) -> RecordBatch {
    let canonical = columns(rows.iter().map(|row| &row.row));
    let rest = batch.columns().iter().skip(CANONICAL.len()).cloned();
    RecordBatch::try_new(batch.schema(), canonical.into_iter().chain(rest).collect())
        .expect("the columns have the types that the plan cast them to")
}
