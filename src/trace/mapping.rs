//! Plans a mapping's SQL so that it yields canonical rows, and finds the row that it fails on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt64Array};
use arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, ScalarValue};
use datafusion::datasource::MemTable;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::session_state::SessionState;
use datafusion::functions::expr_fn::{regexp_like, regexp_replace};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    Cast, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, cast, lit, try_cast, when,
};
use datafusion::prelude::DataFrame;
use futures::StreamExt;

use crate::sql::new_session;

use super::columns::{CANONICAL, EXTRA, LINE, canonical_type};
use super::error::TraceError;
use super::format::FormatInfo;
use super::json::BODY;
use super::quote::{Quoted, quoted};

/// How many of the canonical columns, the first ones, every mapping has to make.
const REQUIRED: usize = 3;

/// What becomes of a mapping's `extra_` columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extras {
    /// They are not even computed.
    LeftOut,
    /// They stand behind the others, with the types that the mapping gives them, and with them the
    /// columns of the file that the mapping does not read.
    Kept,
}

/// A running mapping.
pub(super) struct Mapped {
    /// Canonical columns, then [`LINE`], then the extra columns that are kept.
    pub(super) stream: SendableRecordBatchStream,
    /// For each canonical column, the columns of the file that it is made from.
    pub(super) origins: HashMap<String, Vec<String>>,
}

/// Starts `format`'s SQL over `table`.
pub(super) async fn run(
    format: &FormatInfo,
    table: Arc<dyn TableProvider>,
    extras: Extras,
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
    let passed = match extras {
        Extras::Kept => unread_copies(&state, &plan),
        Extras::LeftOut => Vec::new(),
    };
    let plan = expose(&plan, LINE).unwrap_or(plan);
    let plan = match format.body.is_empty() {
        true => plan,
        false => expose(&plan, BODY).unwrap_or(plan),
    };
    let plan = passed
        .iter()
        .fold(plan, |plan, name| expose(&plan, name).unwrap_or(plan));
    let plan = canonical(plan, extras).map_err(|error| wrong(&error))?;
    let plan = with_written_numbers(plan).map_err(|error| wrong(&error))?;
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
        if !is_known && !name.starts_with(EXTRA) {
            return Err(TraceError::UnknownOutput {
                mapping: format.name.clone(),
                column: name.clone(),
            });
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

/// Returns the columns of `source` that `format`'s SQL has no need of.
pub(super) async fn unread_columns(
    format: &FormatInfo,
    source: &SchemaRef,
) -> Result<Vec<String>, DataFusionError> {
    let session = new_session(1);
    session.register_table("source", Arc::new(EmptyTable::new(Arc::clone(source))))?;
    let state = session.state();
    let plan = Box::pin(state.create_logical_plan(&format.sql)).await?;
    let read = names_read(&state.optimize(&plan)?);
    let fields = source.fields().iter().map(|field| field.name().clone());
    Ok(fields.filter(|name| !read.contains(name)).collect())
}

/// Returns what an optimised plan reads of its source.
fn names_read(plan: &LogicalPlan) -> HashSet<String> {
    let mut read = HashSet::new();
    // The closure never fails, and so the walk does not.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let fields = scan.projected_schema.fields().iter();
            read.extend(fields.map(|field| field.name().clone()));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    read
}

/// Returns the copies of unread columns that a plan's source has and its output does not.
fn unread_copies(state: &SessionState, plan: &LogicalPlan) -> Vec<String> {
    let Ok(optimised) = state.optimize(plan) else {
        return Vec::new();
    };
    let read = names_read(&optimised);
    let mut copies = Vec::new();
    // The closure never fails, and so the walk does not.
    let _ = plan.apply(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            let fields = scan.source.schema();
            let names = fields.fields().iter().map(|field| field.name().clone());
            copies.extend(names.filter(|name| name.starts_with(EXTRA) && !read.contains(name)));
        }
        Ok(TreeNodeRecursion::Continue)
    });
    copies.retain(|name| !plan.schema().has_column_with_unqualified_name(name));
    copies
}

/// Lets a column of the source through, where every row of the plan comes from one row of it.
///
/// Returns none for a plan with a join, an aggregate or the like.
fn expose(plan: &LogicalPlan, name: &str) -> Option<LogicalPlan> {
    if plan.schema().has_column_with_unqualified_name(name) {
        return Some(plan.clone());
    }
    match plan {
        LogicalPlan::Projection(projection) => {
            let input = expose(&projection.input, name)?;
            let column = passed_column(&input, name)?;
            let expressions = projection.expr.iter().cloned().chain([column]);
            LogicalPlanBuilder::from(input)
                .project(expressions)
                .and_then(LogicalPlanBuilder::build)
                .ok()
        }
        LogicalPlan::Unnest(unnest) => {
            let input = expose(&unnest.input, name)?;
            LogicalPlanBuilder::from(input)
                .unnest_columns_with_options(unnest.exec_columns.clone(), unnest.options.clone())
                .and_then(LogicalPlanBuilder::build)
                .ok()
        }
        LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) | LogicalPlan::Window(_) => {
            let [input] = plan.inputs().try_into().ok()?;
            let input = expose(input, name)?;
            plan.with_new_exprs(plan.expressions(), vec![input])
                .and_then(LogicalPlan::recompute_schema)
                .ok()
        }
        _ => None,
    }
}

/// Returns the reference to a column in a plan's output, with its qualifier.
fn passed_column(plan: &LogicalPlan, name: &str) -> Option<Expr> {
    let schema = plan.schema();
    let mut fields = schema.fields().iter();
    let position = fields.position(|field| field.name() == name)?;
    Some(Expr::Column(Column::from(schema.qualified_field(position))))
}

/// Casts the mapping's columns to their canonical types, in their canonical order.
fn canonical(plan: LogicalPlan, extras: Extras) -> Result<LogicalPlan, DataFusionError> {
    let schema = Arc::clone(plan.schema());
    let column = |position: usize| Expr::Column(Column::from(schema.qualified_field(position)));
    let mut expressions = Vec::new();
    for name in CANONICAL.into_iter().chain([LINE]) {
        let wanted = canonical_type(name);
        let find = |name: &str| {
            let mut fields = schema.fields().iter();
            fields.position(|field| field.name() == name)
        };
        let position = match name {
            "body" => find(name).or_else(|| find(BODY)),
            name => find(name),
        };
        let expression = match position {
            None => lit(ScalarValue::try_from(&wanted)?),
            Some(position) => {
                canonical_cast(column(position), schema.field(position).data_type(), wanted)?
            }
        };
        expressions.push(expression.alias(name));
    }
    if extras == Extras::Kept {
        let fields = schema.fields().iter().enumerate();
        let extras = fields.filter(|(_, field)| field.name().starts_with(EXTRA));
        expressions.extend(extras.map(|(position, field)| column(position).alias(field.name())));
    }
    LogicalPlanBuilder::from(plan).project(expressions)?.build()
}

/// Lets the plan's casts of text to whole numbers take what is written as a float, such as `1087.0`,
/// and what stands for nothing, such as `NaN`; those to decimal numbers what has an exponent.
///
/// Other fractions stay an error: no length and no count has one.
fn with_written_numbers(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let rewritten = plan.transform_up(|node| {
        let schema = merge_schema(&node.inputs());
        let names = NamePreserver::new(&node);
        let rewritten = node.map_expressions(|expression| {
            let name = names.save(&expression);
            let rewritten = expression.transform_up(|expression| match expression {
                Expr::Cast(Cast { expr, field }) if expr.get_type(&schema)? == DataType::Utf8 => {
                    Ok(match field.data_type() {
                        DataType::Int64 => Transformed::yes(whole_number(*expr)?),
                        DataType::Decimal128(_, _) => {
                            Transformed::yes(decimal_number(*expr, field.data_type())?)
                        }
                        _ => Transformed::no(Expr::Cast(Cast { expr, field })),
                    })
                }
                other => Ok(Transformed::no(other)),
            })?;
            Ok(rewritten.update_data(|expression| name.restore(expression)))
        })?;
        rewritten.map_data(LogicalPlan::recompute_schema)
    })?;
    Ok(rewritten.data)
}

/// Reads a text as a whole number; null where it stands for nothing.
fn whole_number(text: Expr) -> Result<Expr, DataFusionError> {
    let nothing = regexp_like(
        text.clone(),
        lit(r"^\s*(nan|null|none|n/a)?\s*$"),
        Some(lit("i")),
    );
    let digits = regexp_replace(
        text.clone(),
        lit(r"^\s*([+-]?[0-9]+)([.]0*)?\s*$"),
        lit(r"\1"),
        None,
    );
    let told =
        when(nothing, lit(ScalarValue::Int64(None))).otherwise(cast(digits, DataType::Int64))?;
    // Hardly any number takes more than the first try.
    let number = try_cast(text, DataType::Int64);
    when(number.clone().is_not_null(), number).otherwise(told)
}

/// Reads a text as a decimal number, which a small one such as `1e-05` is not written as.
fn decimal_number(text: Expr, wanted: &DataType) -> Result<Expr, DataFusionError> {
    let number = try_cast(text.clone(), wanted.clone());
    let rounded = cast(cast(text, DataType::Float64), wanted.clone());
    when(number.clone().is_not_null(), number).otherwise(rounded)
}

fn canonical_cast(column: Expr, has: &DataType, wanted: DataType) -> Result<Expr, DataFusionError> {
    Ok(match (has, &wanted) {
        (has, wanted) if has == wanted => column,
        (DataType::Timestamp(_, _), DataType::Int64) => {
            let in_ns = DataType::Timestamp(TimeUnit::Nanosecond, None);
            cast(cast(column, in_ns), wanted)
        }
        // The engine makes a list of one null of a text that is null, as in a column that the file
        // lacks.
        (DataType::Utf8, DataType::List(_)) => {
            when(column.clone().is_not_null(), cast(column, wanted.clone()))
                .otherwise(lit(ScalarValue::try_from(&wanted)?))?
        }
        _ => cast(column, wanted),
    })
}

/// Finds the row that the engine failed on: the line it stands on, and what is wrong with it.
///
/// The engine names a value at best. The same SQL over halves of the batch finds the row.
pub(super) async fn find_bad_row(
    format: &FormatInfo,
    extras: Extras,
    failed_on: Option<RecordBatch>,
    error: DataFusionError,
) -> (Option<u64>, String) {
    let (mut batch, mut error) = match failed_on {
        Some(batch) => (batch, error),
        None => return (None, engine_message(&error)),
    };
    while batch.num_rows() > 1 {
        let half = batch.num_rows() / 2;
        let first = batch.slice(0, half);
        let second = batch.slice(half, batch.num_rows() - half);
        if let Some(found) = failure_on(format, extras, &first).await {
            (batch, error) = (first, found);
        } else if let Some(found) = failure_on(format, extras, &second).await {
            (batch, error) = (second, found);
        } else {
            // Neither half fails alone: it is not about one row.
            return (None, engine_message(&error));
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
    (line, message)
}

async fn failure_on(
    format: &FormatInfo,
    extras: Extras,
    rows: &RecordBatch,
) -> Option<DataFusionError> {
    let table = MemTable::try_new(rows.schema(), vec![vec![rows.clone()]]).ok()?;
    let mut stream = Box::pin(run(format, Arc::new(table), extras))
        .await
        .ok()?
        .stream;
    while let Some(result) = stream.next().await {
        if let Err(error) = result {
            return Some(error);
        }
    }
    None
}

/// Returns the column whose value the engine's message quotes.
fn culprit(row: &RecordBatch, message: &str) -> Option<(String, String)> {
    let on_one_line = |letter: char| if letter.is_control() { ' ' } else { letter };
    let message: String = message.chars().map(on_one_line).collect();
    let schema = row.schema();
    let columns = schema.fields().iter().zip(row.columns());
    for (field, column) in columns {
        let value = shown(column, 0)?;
        let in_quotes = match value.strip_suffix('…') {
            Some(start) => format!("'{start}"),
            None => format!("'{value}'"),
        };
        if !value.is_empty() && message.contains(&in_quotes) {
            return Some((quoted(field.name()), value));
        }
    }
    None
}

/// Returns the value of a column in the row that stands on `line`, as text of which a message can
/// quote all; empty where it is null.
///
/// Returns none where `batch` does not hold that row.
pub(super) fn value_on_line(batch: &RecordBatch, line: u64, column: &str) -> Option<String> {
    let lines = batch.column_by_name(LINE)?;
    let lines = lines.as_any().downcast_ref::<UInt64Array>()?;
    let row = lines.values().binary_search(&line).ok()?;
    shown(batch.column_by_name(column)?, row)
}

/// Returns the start of a value as text; none where it can't be shown.
fn shown(column: &ArrayRef, row: usize) -> Option<String> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column.as_ref(), &options).ok()?;
    let mut start = Quoted::default();
    let written = formatter.value(row).write(&mut start);
    (written.is_ok() || !start.text.is_empty()).then_some(start.text)
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
