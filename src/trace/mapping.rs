//! Plans a mapping's SQL so that it yields canonical rows, and finds the row that it fails on.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, Field, TimeUnit};
use arrow::util::display::array_value_to_string;
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast, lit};
use datafusion::prelude::DataFrame;
use futures::StreamExt;

use crate::sql::new_session;

use super::error::{Place, TraceError};
use super::format::FormatInfo;
use super::source::{self, LINE};

/// The canonical columns, in the order in which the planned stream has them.
pub(super) const CANONICAL: [&str; 13] = [
    "arrival_ns",
    "input_tokens",
    "output_tokens",
    "session_id",
    "parent_id",
    "turn",
    "think_ns",
    "prefix_blocks",
    "block_size",
    "block_scope",
    "model",
    "class",
    "failed",
];
const REQUIRED: usize = 3;

/// A running mapping.
pub(super) struct Mapped {
    /// Canonical columns, then [`LINE`].
    pub(super) stream: SendableRecordBatchStream,
    /// For each canonical column, the columns of the file that it is made from.
    pub(super) origins: HashMap<String, Vec<String>>,
}

/// Starts `format`'s SQL over `table`.
pub(super) async fn run(
    format: &FormatInfo,
    table: Arc<dyn TableProvider>,
) -> Result<Mapped, TraceError> {
    let wrong = |error: &DataFusionError| TraceError::MappingSql {
        mapping: format.name.clone(),
        message: sql_message(error),
    };
    // One partition and no repartitioning: the file's order is the rows' order.
    let session = new_session(1);
    session
        .register_table("source", table)
        .map_err(|error| wrong(&error))?;
    let state = session.state();
    let plan = Box::pin(state.create_logical_plan(&format.sql))
        .await
        .map_err(|error| wrong(&error))?;
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(&plan)
        .map_err(|error| wrong(&error))?;
    let origins = origins(&plan);
    check_output(format, &plan)?;
    let plan = expose_line(&plan).unwrap_or(plan);
    let plan = canonical(plan).map_err(|error| wrong(&error))?;
    let stream = Box::pin(DataFrame::new(state, plan).execute_stream())
        .await
        .map_err(|error| wrong(&error))?;
    Ok(Mapped { stream, origins })
}

/// Fails where the SQL lacks a required column or has one that nobody knows.
fn check_output(format: &FormatInfo, plan: &LogicalPlan) -> Result<(), TraceError> {
    let names: Vec<&String> = plan
        .schema()
        .fields()
        .iter()
        .map(|field| field.name())
        .collect();
    let wrong = |message: String| TraceError::MappingSql {
        mapping: format.name.clone(),
        message,
    };
    for required in &CANONICAL[..REQUIRED] {
        if !names.iter().any(|name| name == required) {
            return Err(wrong(format!("it yields no column `{required}`")));
        }
    }
    for name in names {
        let is_known = CANONICAL.contains(&name.as_str()) || name == LINE;
        if !is_known && !name.starts_with("extra_") {
            return Err(wrong(format!(
                "it yields `{name}`, which is no canonical column; call it `extra_{name}` to keep it \
                 out of the way"
            )));
        }
    }
    Ok(())
}

/// Returns, for each output column of the outermost SELECT, the columns that it reads.
fn origins(plan: &LogicalPlan) -> HashMap<String, Vec<String>> {
    let LogicalPlan::Projection(projection) = plan else {
        return HashMap::new();
    };
    let names = projection.schema.fields().iter();
    let expressions = projection.expr.iter();
    names
        .zip(expressions)
        .map(|(field, expression)| {
            let mut columns: Vec<String> = expression
                .column_refs()
                .into_iter()
                .map(|column| column.name.clone())
                .collect();
            columns.sort();
            (field.name().clone(), columns)
        })
        .collect()
}

/// Lets the source's line through, where every row of the plan comes from one row of the source.
///
/// Returns none for a plan with a join, an aggregate or the like.
fn expose_line(plan: &LogicalPlan) -> Option<LogicalPlan> {
    if plan.schema().has_column_with_unqualified_name(LINE) {
        return Some(plan.clone());
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = expose_line(&projection.input)?;
            let line = line_column(&input)?;
            let expressions = projection.expr.iter().cloned().chain([line]);
            LogicalPlanBuilder::from(input)
                .project(expressions)
                .and_then(LogicalPlanBuilder::build)
                .ok()
        }
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => {
            let [input] = plan.inputs().try_into().ok()?;
            let input = expose_line(input)?;
            plan.with_new_exprs(plan.expressions(), vec![input])
                .and_then(LogicalPlan::recompute_schema)
                .ok()
        }
        _ => None,
    }
}

/// Returns the reference to the line in a plan's output, with its qualifier.
fn line_column(plan: &LogicalPlan) -> Option<Expr> {
    let schema = plan.schema();
    let position = schema
        .fields()
        .iter()
        .position(|field| field.name() == LINE)?;
    Some(Expr::Column(Column::from(schema.qualified_field(position))))
}

/// Casts the mapping's columns to their canonical types, in their canonical order.
fn canonical(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(plan.schema());
    let columns: HashMap<&String, (Expr, &DataType)> = schema
        .fields()
        .iter()
        .enumerate()
        .map(|(position, field)| {
            let column = Expr::Column(Column::from(schema.qualified_field(position)));
            (field.name(), (column, field.data_type()))
        })
        .collect();
    let mut expressions = Vec::new();
    for name in CANONICAL.into_iter().chain([LINE]) {
        let wanted = canonical_type(name);
        let expression = match columns.get(&name.to_owned()) {
            None => lit(ScalarValue::try_from(&wanted)?),
            Some((column, DataType::Timestamp(_, _))) if wanted == DataType::Int64 => {
                let in_ns = DataType::Timestamp(TimeUnit::Nanosecond, None);
                cast(cast(column.clone(), in_ns), wanted)
            }
            Some((column, has)) if **has == wanted => column.clone(),
            Some((column, _)) => cast(column.clone(), wanted),
        };
        expressions.push(expression.alias(name));
    }
    LogicalPlanBuilder::from(plan).project(expressions)?.build()
}

fn canonical_type(name: &str) -> DataType {
    match name {
        "session_id" | "parent_id" | "block_scope" | "model" | "class" => DataType::Utf8,
        "prefix_blocks" => DataType::List(Arc::new(Field::new_list_field(DataType::UInt64, true))),
        "failed" => DataType::Boolean,
        LINE => DataType::UInt64,
        _ => DataType::Int64,
    }
}

/// Finds the row of `batch` that the engine failed on, and says what is wrong with it.
///
/// The engine names a value at best. The same SQL over halves of the batch finds the row.
pub(super) async fn find_bad_row(
    format: &FormatInfo,
    path: &Path,
    is_parquet: bool,
    failed_on: Option<RecordBatch>,
    error: DataFusionError,
) -> TraceError {
    let (mut batch, mut error) = match failed_on {
        Some(batch) => (batch, error),
        None => return bad_row(path, Place::Unknown, engine_message(&error)),
    };
    while batch.num_rows() > 1 {
        let half = batch.num_rows() / 2;
        let first = batch.slice(0, half);
        let second = batch.slice(half, batch.num_rows() - half);
        if let Some(found) = failure_on(format, &first).await {
            (batch, error) = (first, found);
        } else if let Some(found) = failure_on(format, &second).await {
            (batch, error) = (second, found);
        } else {
            // Neither half fails alone: it is not about one row.
            return bad_row(path, Place::Unknown, engine_message(&error));
        }
    }
    let line = batch
        .column_by_name(LINE)
        .and_then(|column| column.as_any().downcast_ref::<UInt64Array>())
        .filter(|lines| lines.len() == 1)
        .map(|lines| lines.value(0));
    let message = engine_message(&error);
    let message = match culprit(&batch, &message) {
        Some((column, value)) => format!("column `{column}` is `{value}`: {message}"),
        None => message,
    };
    bad_row(path, source::place(is_parquet, line), message)
}

fn bad_row(path: &Path, place: Place, message: String) -> TraceError {
    TraceError::BadRow {
        path: path.to_owned(),
        place,
        message,
    }
}

async fn failure_on(format: &FormatInfo, rows: &RecordBatch) -> Option<DataFusionError> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).ok()?;
    let mut stream = Box::pin(run(format, Arc::new(table))).await.ok()?.stream;
    while let Some(result) = stream.next().await {
        if let Err(error) = result {
            return Some(error);
        }
    }
    None
}

/// Returns the column whose value the engine's message quotes.
fn culprit(row: &RecordBatch, message: &str) -> Option<(String, String)> {
    let schema = row.schema();
    let columns = schema.fields().iter().zip(row.columns());
    for (field, column) in columns {
        let value = array_value_to_string(column, 0).ok()?;
        if !value.is_empty() && message.contains(&format!("'{value}'")) {
            return Some((field.name().clone(), value));
        }
    }
    None
}

/// Returns the value of a column in the row that stands on `line`, as text; empty where it is null.
///
/// Returns none where `batch` does not hold that row.
pub(super) fn value_on_line(batch: &RecordBatch, line: u64, column: &str) -> Option<String> {
    let lines = batch.column_by_name(LINE)?;
    let lines = lines.as_any().downcast_ref::<UInt64Array>()?;
    let row = lines.values().binary_search(&line).ok()?;
    array_value_to_string(batch.column_by_name(column)?, row).ok()
}

/// Returns what the engine says about a value, without its own prefixes.
fn engine_message(error: &DataFusionError) -> String {
    let message = error.find_root().strip_backtrace();
    let prefixes = [
        "Arrow error: ",
        "Execution error: ",
        "Optimizer rule failed: ",
        "Cast error: ",
        "Parser error: ",
    ];
    let mut message = message.as_str();
    while let Some(rest) = prefixes
        .iter()
        .find_map(|prefix| message.strip_prefix(prefix))
    {
        message = rest;
    }
    first_letter_lower(message)
}

/// Returns what the engine says about the SQL.
fn sql_message(error: &DataFusionError) -> String {
    let message = error.find_root().strip_backtrace();
    let message = [
        "Error during planning: ",
        "Schema error: ",
        "SQL error: ",
        "This feature is not implemented: ",
    ]
    .iter()
    .find_map(|prefix| message.strip_prefix(prefix))
    .unwrap_or(&message)
    .to_owned();
    first_letter_lower(message.trim_end_matches('.'))
}

fn first_letter_lower(message: &str) -> String {
    let mut characters = message.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(characters).collect()
    })
}
