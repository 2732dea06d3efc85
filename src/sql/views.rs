//! Puts the views over opened tapes.
//!
//! A view is a file in `queries/views/`, written over relations `tape_*` that this module makes:
//! the tables of all tapes, one below the other, with a column `run` and with `X_utc` beside each
//! point in time `X_ns`; and small tables of what the manifests say. These are plans without any
//! SQL text of their own, so that no name of a run and no label can break out of a string.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::{Column, DataFusionError, JoinType};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::{MemTable, ViewTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Union, lit};
use datafusion::prelude::SessionContext;

use super::error::{SqlError, message};
use super::facts;
use super::opened_tape::OpenedTape;
use super::session::charge;
use super::settings::Settings;
use super::statements::collect;
use super::utc::{offsets, to_utc};
use super::view_files::{KEPT, VIEWS};
use crate::capture::parts;
use crate::capture::schema::{ChunkRow, ProbeRow, RequestRow, ServerRow};

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
        ("server", ServerRow::schema()),
    ] {
        let plans = tapes.iter().map(|tape| part(tape, folder, &schema));
        let plans = plans
            .map(|plan| plan.map(Arc::new))
            .collect::<Result<_, _>>()?;
        let name = format!("tape_{folder}");
        let plan = stack(plans).map_err(|error| failed_view(&name, &error))?;
        add_view(context, &name, plan, None)?;
    }
    for (name, plan) in [
        ("tape_runs", facts::runs(tapes, settings)),
        ("tape_steps", facts::steps(tapes)),
        ("tape_clock_anchors", facts::clock_anchors(tapes)),
        ("tape_slos", facts::slos(settings)),
        ("tape_settings", facts::settings(settings)),
        ("tape_recounts", settings.recounts.plan(context)),
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

/// Runs a plan and makes `name` stand for its result, which it returns. The result counts against
/// the session's memory until the session ends.
///
/// # Errors
///
/// Passes on what the engine says, such as that there is no room for the result.
pub(crate) async fn keep(
    context: &SessionContext,
    name: &str,
    plan: LogicalPlan,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let batches = collect(context, plan).await?;
    if let Some(first) = batches.first() {
        charge(context, name, &batches)?;
        let result = MemTable::try_new(first.schema(), vec![batches.clone()])?;
        context.register_table(name, Arc::new(result))?;
    }
    Ok(batches)
}

/// Computes a view that stands already, and makes its name stand for the result.
///
/// # Errors
///
/// Passes on what the engine says.
pub(crate) async fn keep_view(context: &SessionContext, name: &str) -> Result<(), DataFusionError> {
    let plan = context.table(name).await?.into_unoptimized_plan();
    context.deregister_table(name)?;
    keep(context, name, plan).await.map(|_| ())
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

/// One table of a tape, or of the part of it that a run stands for: requests by their own columns,
/// chunks by their request. What client and server said of themselves is about all of a tape.
fn part(tape: &OpenedTape, folder: &str, schema: &SchemaRef) -> Result<LogicalPlan, SqlError> {
    let failed = |error| failed_view(&format!("tape_{folder}"), &error);
    let whole = whole(tape, folder, schema)?;
    let Some(filter) = &tape.part else {
        return Ok(whole);
    };
    let builder = LogicalPlanBuilder::from(whole);
    let kept = match folder {
        "requests" => builder.filter(filter.clone()),
        "chunks" => {
            let requests = LogicalPlanBuilder::from(requests_of(tape)?)
                .filter(filter.clone())
                .and_then(|requests| requests.alias("requests_of_part"))
                .and_then(LogicalPlanBuilder::build)
                .map_err(failed)?;
            let key = vec!["request_id"];
            builder.alias("chunks_of_tape").and_then(|chunks| {
                chunks.join(requests, JoinType::LeftSemi, (key.clone(), key), None)
            })
        }
        _ => return builder.build().map_err(failed),
    };
    kept.and_then(LogicalPlanBuilder::build).map_err(failed)
}

/// All attempts at requests of a tape.
pub(super) fn requests_of(tape: &OpenedTape) -> Result<LogicalPlan, SqlError> {
    whole(tape, "requests", &RequestRow::schema())
}

/// One table of a tape.
fn whole(tape: &OpenedTape, folder: &str, schema: &SchemaRef) -> Result<LogicalPlan, SqlError> {
    let files = parquet_files(tape, folder)?;
    table(tape, files, schema).map_err(|error| failed_view(&format!("tape_{folder}"), &error))
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

/// Returns a table's schema with counts as queries have them, in BIGINT: they can be subtracted and
/// summed without a care, also those that an older tape has unsigned.
fn widened(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| {
        let field = field.as_ref().clone();
        match field.data_type() {
            DataType::Int32 => field.with_data_type(DataType::Int64),
            _ => field,
        }
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Reads one table of one tape, names its run and puts UTC beside its points in time.
fn table(
    tape: &OpenedTape,
    files: Vec<ListingTableUrl>,
    schema: &SchemaRef,
) -> Result<LogicalPlan, DataFusionError> {
    let schema = widened(schema);
    let provider: Arc<dyn TableProvider> = if files.is_empty() {
        Arc::new(EmptyTable::new(Arc::clone(&schema)))
    } else {
        let options =
            ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
        let config = ListingTableConfig::new_with_multi_paths(files)
            .with_listing_options(options)
            .with_schema(Arc::clone(&schema));
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
fn parquet_files(tape: &OpenedTape, folder: &str) -> Result<Vec<ListingTableUrl>, SqlError> {
    let file = |name: OsString| {
        let path = tape.path.join(folder).join(&name);
        ensure_whole(&path)?;
        // A URL made from names, because a path given as text would be read as a pattern.
        let url = name.to_str().and_then(|name| {
            let mut url = tape.address.clone();
            let segments = url.path_segments_mut();
            segments.ok()?.pop_if_empty().extend([folder, name]);
            ListingTableUrl::try_new(url, None).ok()
        });
        url.ok_or_else(|| SqlError::Read {
            path,
            source: std::io::Error::other("its path cannot be written as an address"),
        })
    };
    parts(&tape.path, folder)?.into_iter().map(file).collect()
}

/// Refuses a file without the mark that ends every Parquet file: the engine would not name it.
fn ensure_whole(path: &Path) -> Result<(), SqlError> {
    const MARK: [u8; 4] = *b"PAR1";
    let read = |source| SqlError::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    let mut end = [0; MARK.len()];
    let found = file
        .seek(SeekFrom::End(-4))
        .and_then(|_| file.read_exact(&mut end));
    match found {
        Ok(()) if end == MARK => Ok(()),
        // A file shorter than the mark cannot be sought in that far.
        Ok(()) | Err(_) => Err(SqlError::TornFile {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::util::pretty::pretty_format_batches;

    use super::super::fixture::TapeFixture;
    use super::super::{Settings, open_tapes};
    use crate::capture::Word;
    use crate::capture::schema::Channel;
    use crate::runtime::block_on;

    /// Behind `unnest` the engine takes a grouped column for a key: `findings/` has it.
    #[test]
    fn no_view_repeats_a_run_behind_distinct() {
        let folder = tempfile::tempdir().unwrap();
        let path = TapeFixture::small().write(&folder.path().join("t.tape"));
        let repeated = block_on(async {
            let tapes = open_tapes(&[path], &Settings::default()).await.unwrap();
            let mut repeated = Vec::new();
            for (view, _) in super::VIEWS {
                let sql = format!("SELECT DISTINCT run FROM {view}");
                // Some have no run.
                let Ok(rows) = tapes.context.sql(&sql).await else {
                    continue;
                };
                let batches = rows.collect().await.unwrap();
                let rows: usize = batches.iter().map(|batch| batch.num_rows()).sum();
                if rows > 1 {
                    repeated.push(*view);
                }
            }
            repeated
        });
        assert!(repeated.unwrap().is_empty());
    }

    #[test]
    fn sql_and_the_driver_agree_on_which_channels_bear_tokens() {
        let all = Channel::WORDS;
        let mut tape = TapeFixture::default();
        tape.answer(0, [0, 0], &vec![(1, None); all.len()]);
        for (chunk, (channel, _)) in tape.chunks.iter_mut().zip(all) {
            chunk.channel = *channel;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = tape.write(&folder.path().join("t.tape"));
        let sql = "SELECT string_agg(channel, ' ' ORDER BY seq) AS bearing FROM chunks \
                   WHERE is_token_bearing";
        let batches = block_on(async {
            let tapes = open_tapes(&[path], &Settings::default()).await.unwrap();
            tapes.context.sql(sql).await.unwrap().collect().await
        });
        let found = pretty_format_batches(&batches.unwrap().unwrap()).unwrap();
        let bearing = all.iter().filter(|(channel, _)| channel.is_token_bearing());
        let words: Vec<&str> = bearing.map(|(_, word)| *word).collect();
        let line = format!("| {} |", words.join(" "));
        assert!(found.to_string().contains(&line), "{found}");
    }
}
