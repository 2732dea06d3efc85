//! Puts the views over opened tapes.
//!
//! A view is a file in `queries/views/`, written over relations `tape_*` that this module makes:
//! the tables of all tapes, one below the other, with a column `run` and with `X_utc` beside each
//! point in time `X_ns`; and small tables of what the manifests say. These are plans without any
//! SQL text of their own, so that no name of a run and no label can break out of a string.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DFSchema, DataFusionError, ScalarValue};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::logical_expr::{EmptyRelation, Expr, LogicalPlan, LogicalPlanBuilder, Union, lit};
use datafusion::prelude::SessionContext;
use url::Url;

use super::statements::collect;
use super::utc::{Offset, offsets, to_utc, utc_type};
use super::{OpenedTape, Settings, SloFrom, SqlError, message};
use crate::capture::manifest::Loop;
use crate::capture::schema::{ChunkRow, ProbeRow, RequestRow};

/// The views that people query, as the tape's contract names them.
pub(crate) const PUBLIC_VIEWS: [&str; 8] = [
    "requests",
    "attempts",
    "chunks",
    "tokens",
    "probes",
    "server_metrics",
    "runs",
    "steps",
];

macro_rules! view {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../../queries/views/", $name, ".sql")),
        )
    };
}

/// Every view and its SQL, each after those that it reads.
pub(crate) const VIEWS: &[(&str, &str)] = &[
    view!("runs"),
    view!("steps"),
    view!("clock_anchors"),
    view!("slos"),
    view!("probes"),
    view!("server_metrics"),
    view!("chunks"),
    view!("tokens"),
    view!("last_attempts"),
    view!("measured"),
    view!("first_chunks"),
    view!("attempts"),
    view!("requests"),
    view!("run_spans"),
    view!("time_bins"),
    view!("in_flight"),
    view!("windows"),
    view!("latencies"),
];

/// Views that an analysis computes once and keeps: small ones that many queries build upon. What
/// they save is mostly planning, which otherwise takes longer than running for a small tape.
const KEPT: [&str; 5] = [
    "first_chunks",
    "run_spans",
    "time_bins",
    "in_flight",
    "windows",
];

/// Columns that are points in time, by table; each gets a `_utc` column beside it.
const POINTS: [&str; 11] = [
    "intended_ns",
    "dispatched_ns",
    "sent_ns",
    "body_sent_ns",
    "headers_ns",
    "first_token_ns",
    "first_answer_ns",
    "last_token_ns",
    "end_ns",
    "arrival_ns",
    "at_ns",
];

/// Sets up the relations and the views.
///
/// # Errors
///
/// Names the folder that cannot be listed, or the view that does not stand.
pub(super) async fn register(
    context: &SessionContext,
    tapes: &[OpenedTape],
    settings: &Settings,
) -> Result<(), SqlError> {
    for (folder, schema) in [
        ("requests", RequestRow::schema()),
        ("chunks", ChunkRow::schema()),
        ("probes", ProbeRow::schema()),
        ("server", server_schema()),
    ] {
        let name = format!("tape_{folder}");
        let plan = tables(tapes, folder, &schema)?.map_err(|error| failed_view(&name, &error))?;
        add_view(context, &name, plan, None)?;
    }
    for (name, plan) in [
        ("tape_runs", runs(tapes, settings)),
        ("tape_steps", steps(tapes)),
        ("tape_clock_anchors", clock_anchors(tapes)),
        ("tape_slos", slos(settings)),
    ] {
        let plan = plan.map_err(|error| failed_view(name, &error))?;
        add_view(context, name, plan, None)?;
    }
    for (name, sql) in VIEWS {
        let plan = context
            .state()
            .create_logical_plan(sql)
            .await
            .map_err(|error| failed_view(name, &error))?;
        if settings.keeps_results && KEPT.contains(name) {
            keep(context, name, plan)
                .await
                .map_err(|error| failed_view(name, &error))?;
        } else {
            add_view(context, name, plan, Some((*sql).to_owned()))?;
        }
    }
    Ok(())
}

/// Runs a plan and makes `name` stand for its result, which it returns.
///
/// # Errors
///
/// Passes on what the engine says.
pub(crate) async fn keep(
    context: &SessionContext,
    name: &str,
    plan: LogicalPlan,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let batches = collect(context, plan).await?;
    if let Some(first) = batches.first() {
        let result = MemTable::try_new(first.schema(), vec![batches.clone()])?;
        context.register_table(name, Arc::new(result))?;
    }
    Ok(batches)
}

fn add_view(
    context: &SessionContext,
    name: &str,
    plan: LogicalPlan,
    sql: Option<String>,
) -> Result<(), SqlError> {
    context
        .register_table(name, Arc::new(ViewTable::new(plan, sql)))
        .map(|_| ())
        .map_err(|error| failed_view(name, &error))
}

fn failed_view(name: &str, error: &DataFusionError) -> SqlError {
    SqlError::View {
        name: name.to_owned(),
        reason: message(error),
    }
}

/// Returns the schema of the scraped metrics of a server.
fn server_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("at_ns", DataType::Int64, false),
        Field::new("source", DataType::Utf8, true),
        Field::new("name", DataType::Utf8, false),
        Field::new("labels", DataType::Utf8, true),
        Field::new("value", DataType::Float64, true),
    ]))
}

/// Stacks one table of all tapes. The outer result is about the disk, the inner one about plans.
fn tables(
    tapes: &[OpenedTape],
    folder: &str,
    schema: &SchemaRef,
) -> Result<Result<LogicalPlan, DataFusionError>, SqlError> {
    let mut parts = Vec::new();
    for tape in tapes {
        let files = parquet_files(&tape.path.join(folder))?;
        parts.push((tape, files));
    }
    Ok(parts
        .into_iter()
        .map(|(tape, files)| table(tape, files, schema).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()
        .and_then(stack))
}

fn stack(mut plans: Vec<Arc<LogicalPlan>>) -> Result<LogicalPlan, DataFusionError> {
    match plans.pop() {
        Some(only) if plans.is_empty() => Ok(Arc::unwrap_or_clone(only)),
        last => {
            plans.extend(last);
            Ok(LogicalPlan::Union(Union::try_new(plans)?))
        }
    }
}

/// Reads one table of one tape, names its run and puts UTC beside its points in time.
fn table(
    tape: &OpenedTape,
    files: Vec<ListingTableUrl>,
    schema: &SchemaRef,
) -> Result<LogicalPlan, DataFusionError> {
    let provider: Arc<dyn TableProvider> = if files.is_empty() {
        Arc::new(EmptyTable::new(Arc::clone(schema)))
    } else {
        let options =
            ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
        let config = ListingTableConfig::new_with_multi_paths(files)
            .with_listing_options(options)
            .with_schema(Arc::clone(schema));
        Arc::new(ListingTable::try_new(config)?)
    };
    let clock = offsets(&tape.manifest.clock_anchors);
    let mut columns = vec![lit(tape.run.as_str()).alias("run")];
    for field in schema.fields() {
        let column = Expr::Column(Column::from_name(field.name()));
        columns.push(column.clone().alias(field.name()));
        if POINTS.contains(&field.name().as_str()) {
            let stem = field.name().trim_end_matches("_ns");
            columns.push(to_utc(column, &clock)?.alias(format!("{stem}_utc")));
        }
    }
    LogicalPlanBuilder::scan("tape", provider_as_source(provider), None)?
        .project(columns)?
        .build()
}

/// Lists the finished Parquet files of a table, in order; a folder that is not there has none.
fn parquet_files(folder: &Path) -> Result<Vec<ListingTableUrl>, SqlError> {
    let read = |source| SqlError::Read {
        path: folder.to_owned(),
        source,
    };
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(read)? {
        let path = entry.map_err(read)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "parquet")
        {
            paths.push(path);
        }
    }
    paths.sort();
    // A URL made from a path, because a path given as text would be read as a pattern.
    let url = |path: &Path| {
        let url = Url::from_file_path(path).ok()?;
        ListingTableUrl::try_new(url, None).ok()
    };
    paths
        .iter()
        .map(|path| {
            url(path).ok_or_else(|| SqlError::Read {
                path: path.clone(),
                source: std::io::Error::other("its path cannot be written as an address"),
            })
        })
        .collect()
}

/// Makes a relation of literal rows.
fn literals(
    columns: &[(&str, DataType)],
    rows: Vec<Vec<ScalarValue>>,
) -> Result<LogicalPlan, DataFusionError> {
    let fields: Vec<_> = columns
        .iter()
        .map(|(name, data_type)| Field::new(*name, data_type.clone(), true))
        .collect();
    let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
    if rows.is_empty() {
        return Ok(LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema,
        }));
    }
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().map(lit).collect())
        .collect();
    let values = LogicalPlanBuilder::values_with_schema(rows, &schema)?;
    let names: Vec<_> = values
        .schema()
        .columns()
        .into_iter()
        .zip(columns)
        .map(|(column, (name, _))| Expr::Column(column).alias(*name))
        .collect();
    values.project(names)?.build()
}

fn text(value: impl Into<String>) -> ScalarValue {
    ScalarValue::Utf8(Some(value.into()))
}

fn json(value: &impl serde::Serialize) -> ScalarValue {
    ScalarValue::Utf8(serde_json::to_string(value).ok())
}

fn utc(at_ns: i64, clock: &[Offset]) -> ScalarValue {
    ScalarValue::TimestampNanosecond(Offset::utc_ns(clock, at_ns), Some("UTC".into()))
}

fn runs(tapes: &[OpenedTape], settings: &Settings) -> Result<LogicalPlan, DataFusionError> {
    let rows = tapes.iter().zip(0_i64..).map(|(tape, index)| {
        let manifest = &tape.manifest;
        let is_open = manifest.arrival_loop == Loop::Open;
        let slo_from = settings.slo_from.unwrap_or(if is_open {
            SloFrom::Intended
        } else {
            SloFrom::Sent
        });
        let planned = |key| manifest.plan.get(key);
        let slots = planned("max_concurrency").and_then(serde_json::Value::as_i64);
        let model = planned("model").and_then(serde_json::Value::as_str);
        let state = serde_json::to_value(manifest.state).unwrap_or_default();
        vec![
            text(&tape.run),
            index.into(),
            text(&manifest.run_id),
            text(state.as_str().unwrap_or_default()),
            text(if is_open { "open" } else { "closed" }),
            text(&manifest.target),
            ScalarValue::Utf8(model.map(str::to_owned)),
            text(&manifest.tool_version),
            i64::from(manifest.schema_version).into(),
            manifest.seed.into(),
            json(&manifest.labels),
            json(&manifest.plan),
            text(&manifest.host.name),
            i64::from(manifest.host.cores).into(),
            slots.into(),
            settings.warmup_ns.into(),
            text(match slo_from {
                SloFrom::Intended => "intended",
                SloFrom::Sent => "sent",
            }),
            utc(0, &offsets(&manifest.clock_anchors)),
        ]
    });
    literals(
        &[
            ("run", DataType::Utf8),
            ("run_index", DataType::Int64),
            ("run_id", DataType::Utf8),
            ("state", DataType::Utf8),
            ("loop", DataType::Utf8),
            ("target", DataType::Utf8),
            ("model", DataType::Utf8),
            ("tool_version", DataType::Utf8),
            ("schema_version", DataType::Int64),
            ("seed", DataType::UInt64),
            ("labels", DataType::Utf8),
            ("plan", DataType::Utf8),
            ("host", DataType::Utf8),
            ("cores", DataType::Int64),
            ("max_concurrency", DataType::Int64),
            ("warmup_ns", DataType::Int64),
            ("slo_from", DataType::Utf8),
            ("started_utc", utc_type()),
        ],
        rows.collect(),
    )
}

fn steps(tapes: &[OpenedTape]) -> Result<LogicalPlan, DataFusionError> {
    let rows = tapes.iter().flat_map(|tape| {
        let clock = offsets(&tape.manifest.clock_anchors);
        tape.manifest.steps.iter().map(move |step| {
            vec![
                text(&tape.run),
                i64::from(step.step).into(),
                json(&step.labels),
                step.from_ns.into(),
                utc(step.from_ns, &clock),
                step.to_ns.into(),
                utc(step.to_ns, &clock),
            ]
        })
    });
    literals(
        &[
            ("run", DataType::Utf8),
            ("step", DataType::Int64),
            ("labels", DataType::Utf8),
            ("from_ns", DataType::Int64),
            ("from_utc", utc_type()),
            ("to_ns", DataType::Int64),
            ("to_utc", utc_type()),
        ],
        rows.collect(),
    )
}

fn clock_anchors(tapes: &[OpenedTape]) -> Result<LogicalPlan, DataFusionError> {
    let rows = tapes.iter().flat_map(|tape| {
        tape.manifest.clock_anchors.iter().map(|anchor| {
            vec![
                text(&tape.run),
                anchor.monotonic_ns.into(),
                anchor.utc_ns.into(),
            ]
        })
    });
    literals(
        &[
            ("run", DataType::Utf8),
            ("monotonic_ns", DataType::Int64),
            ("utc_ns", DataType::Int64),
        ],
        rows.collect(),
    )
}

fn slos(settings: &Settings) -> Result<LogicalPlan, DataFusionError> {
    let rows = settings
        .goals
        .iter()
        .map(|goal| vec![text(&goal.metric), goal.limit_ns.into()]);
    literals(
        &[("metric", DataType::Utf8), ("limit_ns", DataType::Int64)],
        rows.collect(),
    )
}
