//! Keeps the result of a view on disk, made in slices of whole requests.
//!
//! What goes along each request's chunks, such as the gap before, is computed over files that are
//! sorted by request: planned on one core, the engine takes the rows as they come, in memory that
//! does not grow with them. On several cores it would part and sort them first, which takes three
//! times as long. So as many slices as there are cores are computed beside each other, each by a
//! plan of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::iter;
use std::path::PathBuf;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::catalog::TableProvider as _;
use datafusion::common::DataFusionError;
use datafusion::common::tree_node::Transformed;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, SortExpr, col, lit};
use datafusion::physical_plan::execute_stream;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use tokio::task::{JoinError, JoinSet};
use url::Url;

use super::session::{hold, on_one_core};
use super::statements::collect;
use crate::capture::schema::{ChunkRow, TapeRow as _};

/// Requests of a run below which one slice is enough: planning a second one would take longer.
const MIN_REQUESTS: i64 = if cfg!(test) { 2 } else { 2_000 };

/// Rows that are encoded before they are written, which bounds the memory of a slice.
const GROUP_ROWS: usize = 1 << 17;

/// The first request of each slice of each run.
const FIRST_REQUESTS: &str = "SELECT run, min(request_id) AS first_id FROM (
    SELECT run, request_id, least(ntile({slices}) OVER (PARTITION BY run ORDER BY request_id),
      1 + count(*) OVER (PARTITION BY run) / {min}) AS slice
    FROM tape_requests
  ) GROUP BY run, slice";

/// Requests of one run that are computed together.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slice {
    run: String,
    /// From this one on; none from the first.
    from: Option<i64>,
    /// Up to before this one; none to the last.
    to: Option<i64>,
}

impl Slice {
    /// What tells its rows from others of a view with the columns `run` and `request_id`.
    fn filter(&self) -> Expr {
        let from = self.from.map(|id| col("request_id").gt_eq(lit(id)));
        let to = self.to.map(|id| col("request_id").lt(lit(id)));
        let ends = from.into_iter().chain(to);
        ends.fold(col("run").eq(lit(self.run.as_str())), Expr::and)
    }
}

/// Computes a view with the columns `run` and `request_id`, writes its rows to a folder that goes
/// with the session, and makes `name` stand for them. `is_sorted` says that the chunks of all tapes are
/// in the order of their key.
///
/// # Errors
///
/// Passes on what the engine says, and that the disk is full.
pub(super) async fn keep_on_disk(
    context: &SessionContext,
    name: &str,
    plan: LogicalPlan,
    is_sorted: bool,
) -> Result<(), DataFusionError> {
    let slices = slices(context).await?;
    let state = on_one_core(context);
    let plan = if is_sorted { in_order(plan)? } else { plan };
    let folder = tempfile::Builder::new().prefix("tokentape-").tempdir()?;
    let schema: SchemaRef = Arc::clone(plan.schema().inner());
    let cores = context.copied_config().target_partitions();
    let mut writing = JoinSet::new();
    for (index, slice) in slices.iter().enumerate() {
        if writing.len() >= cores {
            written(writing.join_next().await)?;
        }
        let part = LogicalPlanBuilder::from(plan.clone())
            .filter(slice.filter())?
            .build()?;
        let path = folder.path().join(format!("part-{index:05}.parquet"));
        writing.spawn(write(state.clone(), part, path));
    }
    while !writing.is_empty() {
        written(writing.join_next().await)?;
    }
    let url = Url::from_directory_path(folder.path())
        .map_err(|()| DataFusionError::Execution("a temporary folder has no address".to_owned()))?;
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config = ListingTableConfig::new(ListingTableUrl::try_new(url, None)?)
        .with_listing_options(options)
        .with_schema(schema);
    context.register_table(name, Arc::new(ListingTable::try_new(config)?))?;
    hold(context, folder);
    Ok(())
}

/// What became of a slice.
fn written(
    slice: Option<Result<Result<(), DataFusionError>, JoinError>>,
) -> Result<(), DataFusionError> {
    slice.map_or(Ok(()), |slice| {
        slice.map_err(|error| DataFusionError::External(error.into()))?
    })
}

/// Cuts the requests of each run into slices of about equal numbers.
async fn slices(context: &SessionContext) -> Result<Vec<Slice>, DataFusionError> {
    let cores = context.copied_config().target_partitions();
    let sql = FIRST_REQUESTS
        .replace("{slices}", &cores.to_string())
        .replace("{min}", &MIN_REQUESTS.to_string());
    let plan = context.state().create_logical_plan(&sql).await?;
    // Sorted here: the engine takes the run of a tape for one constant, and may not sort by it.
    let mut firsts: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    for batch in collect(context, plan).await? {
        for (run, first) in first_requests(&batch)? {
            firsts.entry(run).or_default().insert(first);
        }
    }
    let of_run = |(run, firsts): (String, BTreeSet<i64>)| {
        let begins = iter::once(None).chain(firsts.iter().skip(1).copied().map(Some));
        let ends = firsts.iter().skip(1).copied().map(Some).chain([None]);
        begins
            .zip(ends)
            .map(|(from, to)| Slice {
                run: run.clone(),
                from,
                to,
            })
            .collect::<Vec<_>>()
    };
    Ok(firsts.into_iter().flat_map(of_run).collect())
}

fn first_requests(batch: &RecordBatch) -> Result<Vec<(String, i64)>, ArrowError> {
    let runs = cast(batch.column(0), &DataType::Utf8)?;
    let firsts = cast(batch.column(1), &DataType::Int64)?;
    let runs = runs.as_string::<i32>().iter().flatten().map(str::to_owned);
    let firsts = firsts.as_primitive::<Int64Type>().values().iter().copied();
    Ok(runs.zip(firsts).collect())
}

/// Tells the engine that chunks come in the order of their key.
///
/// It is told here alone, where a plan is of one run: over several on one core DataFusion 55 takes
/// the run for the same everywhere, and returns a group more than once.
fn in_order(plan: LogicalPlan) -> Result<LogicalPlan, DataFusionError> {
    let keys = ChunkRow::SORTED_BY;
    let order: Vec<SortExpr> = keys.iter().map(|key| col(*key).sort(true, false)).collect();
    let plan = plan.transform_down_with_subqueries(|node| {
        let LogicalPlan::TableScan(scan) = &node else {
            return Ok(Transformed::no(node));
        };
        let provider = source_as_provider(&scan.source)?;
        let Some(table) = provider.downcast_ref::<ListingTable>() else {
            return Ok(Transformed::no(node));
        };
        let schema = table.schema();
        if !keys.iter().all(|key| schema.index_of(key).is_ok()) {
            return Ok(Transformed::no(node));
        }
        let options = table.options().clone();
        let config = ListingTableConfig::new_with_multi_paths(table.table_paths().clone())
            .with_listing_options(options.with_file_sort_order(vec![order.clone()]))
            .with_schema(schema);
        let mut scan = scan.clone();
        scan.source = provider_as_source(Arc::new(ListingTable::try_new(config)?));
        Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
    })?;
    Ok(plan.data)
}

/// Runs a plan, and writes its rows to a file.
async fn write(
    state: SessionState,
    plan: LogicalPlan,
    path: PathBuf,
) -> Result<(), DataFusionError> {
    let plan = state.create_physical_plan(&plan).await?;
    let mut rows = execute_stream(plan, state.task_ctx())?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(ColumnPath::from("run"), true)
        .set_max_row_group_row_count(Some(GROUP_ROWS))
        .build();
    let mut writer = ArrowWriter::try_new(File::create(path)?, rows.schema(), Some(properties))?;
    while let Some(batch) = rows.try_next().await? {
        writer.write(&batch)?;
    }
    writer.close()?;
    Ok(())
}
