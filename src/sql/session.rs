//! Makes a DataFusion session.
//!
//! DataFusion is built without its recursion guard. Its planner descends once per nested
//! expression, so that a long query overflows the usual stack of 2 MB: everything that plans runs
//! inside [`block_on`](crate::runtime::block_on).

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::utils::memory::get_record_batch_memory_size;
use datafusion::error::DataFusionError;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::runtime::cores;

/// How many times its memory a bounded session may take on disk.
const SPILLS: u64 = 8;

/// Makes an empty session that splits its work `target_partitions` ways; 0 takes one per core.
pub(crate) fn new_session(target_partitions: usize) -> SessionContext {
    SessionContext::new_with_config(config(target_partitions))
}

/// As [`new_session`], for a session that goes to disk, or gives up, rather than past
/// `memory_bytes`.
pub(crate) fn new_bounded_session(
    target_partitions: usize,
    memory_bytes: usize,
) -> Result<SessionContext, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory_bytes, 1.0)
        .with_max_temp_directory_size(SPILLS * memory_bytes as u64)
        .build_arc()?;
    let config = config(target_partitions);
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

fn config(target_partitions: usize) -> SessionConfig {
    let partitions = match target_partitions {
        0 => cores(),
        given => given,
    };
    SessionConfig::new()
        .with_target_partitions(partitions)
        .with_information_schema(true)
        .with_extension(Arc::<Kept>::default())
}

/// The memory of results that a session keeps between queries: the engine counts what a query takes
/// while it runs, and not what stays. Locked to add to it; given back when the session is dropped.
#[derive(Default)]
struct Kept(Mutex<Vec<MemoryReservation>>);

/// Counts batches that a session keeps, under `name`, against its memory.
///
/// # Errors
///
/// Fails where there is no room for them.
pub(super) fn charge(
    context: &SessionContext,
    name: &str,
    batches: &[RecordBatch],
) -> Result<(), DataFusionError> {
    let runtime = context.runtime_env();
    let reservation = MemoryConsumer::new(name).register(&runtime.memory_pool);
    reservation.try_grow(batches.iter().map(get_record_batch_memory_size).sum())?;
    if let Some(kept) = context.copied_config().get_extension::<Kept>() {
        let mut kept = kept.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(reservation);
    }
    Ok(())
}

/// Makes an empty session on one partition that goes to disk rather than past `memory_bytes`.
///
/// It writes to a new folder inside `folder`, which goes away with the session and its streams.
pub(crate) fn new_spilling_session(
    folder: &Path,
    memory_bytes: usize,
) -> Result<SessionContext, DataFusionError> {
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_limit(memory_bytes, 1.0)
        .with_temp_file_path(folder)
        .build_arc()?;
    let config = SessionConfig::new().with_target_partitions(1);
    Ok(SessionContext::new_with_config_rt(config, runtime))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int64Array, RecordBatch};
    use datafusion::error::DataFusionError;

    use super::{charge, new_bounded_session, new_session};
    use crate::runtime::block_on;

    #[test]
    fn what_is_kept_counts_against_the_memory_of_its_session() {
        let numbers = Arc::new(Int64Array::from_iter_values(0..60_000));
        let batch = RecordBatch::try_from_iter([("number", numbers as _)]).unwrap();
        let context = new_bounded_session(1, 1 << 20).unwrap();
        let batches = [batch];
        charge(&context, "first", &batches).unwrap();
        charge(&context, "second", &batches).unwrap();
        let error = charge(&context, "third", &batches).unwrap_err();
        assert!(
            matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)),
            "{error}"
        );
    }

    #[test]
    fn plans_a_deeply_nested_expression() {
        let sql = format!("SELECT {}1{} AS one", "(".repeat(40), ")".repeat(40));
        let sum = (0..600).map(|_| "1").collect::<Vec<_>>().join(" + ");
        let batches = block_on(async {
            let context = new_session(1);
            context.sql(&sql).await?.collect().await?;
            context
                .sql(&format!("SELECT {sum} AS total"))
                .await?
                .collect()
                .await
        })
        .unwrap()
        .unwrap();
        assert_eq!(batches[0].num_rows(), 1);
    }
}
