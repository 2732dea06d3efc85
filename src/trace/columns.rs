//! The columns of canonical rows, by their names.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};

/// The canonical columns, in the order in which the planned stream has them.
pub(super) const CANONICAL: [&str; 21] = [
    "arrival_ns",
    "input_tokens",
    "output_tokens",
    "id",
    "session_id",
    "parent_id",
    "turn",
    "think_ns",
    "elapsed_ns",
    "prefix_tokens",
    "prefix_blocks",
    "block_size",
    "block_scope",
    "model",
    "class",
    "failed",
    "prompt",
    "messages",
    "body",
    "new_only",
    "reply",
];

/// What the names of all other columns begin with.
pub(super) const EXTRA: &str = "extra_";

/// Column with the line, or the row of a Parquet file, that a row comes from.
pub(super) const LINE: &str = "__line";

/// Column with a row's number, which orders rows of equal arrival; it is not written.
pub(super) const NUMBER: &str = "__number";
/// Where that column stands: behind the canonical ones, where a mapping has the line.
pub(super) const NUMBER_AT: usize = CANONICAL.len();

/// Returns the type of a canonical column.
pub(super) fn canonical_type(name: &str) -> DataType {
    match name {
        "id" | "session_id" | "parent_id" | "block_scope" | "model" | "class" | "prompt"
        | "messages" | "body" | "reply" => DataType::Utf8,
        "prefix_blocks" => DataType::List(Arc::new(Field::new_list_field(DataType::UInt64, true))),
        "failed" | "new_only" => DataType::Boolean,
        LINE => DataType::UInt64,
        _ => DataType::Int64,
    }
}
