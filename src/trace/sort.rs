//! Sorts rows by arrival in bounded memory: what does not fit goes to disk and is merged from there.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::ident;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;

use crate::sql::new_spilling_session;

use super::columns::NUMBER;

/// Returns `rows` in order of arrival; rows with equal arrivals keep the order of their numbers.
///
/// At most `memory_bytes` of them are held; the rest waits in a folder inside `spill_folder` that
/// goes away with the stream.
pub(super) async fn by_arrival(
    rows: SendableRecordBatchStream,
    spill_folder: &Path,
    memory_bytes: usize,
) -> Result<SendableRecordBatchStream, DataFusionError> {
    let session = new_spilling_session(spill_folder, memory_bytes)?;
    let schema = rows.schema();
    let once = Once {
        schema: Arc::clone(&schema),
        rows: Mutex::new(Some(rows)),
    };
    let table = StreamingTable::try_new(schema, vec![Arc::new(once)])?;
    let key = |name: &str| ident(name).sort(true, true);
    session
        .read_table(Arc::new(table))?
        .sort(vec![key("arrival_ns"), key(NUMBER)])?
        .execute_stream()
        .await
}

/// A stream as a partition that can be read once.
struct Once {
    schema: SchemaRef,
    rows: Mutex<Option<SendableRecordBatchStream>>,
}

impl fmt::Debug for Once {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Once").finish_non_exhaustive()
    }
}

impl PartitionStream for Once {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        rows.take().unwrap_or_else(|| {
            let error = DataFusionError::Internal("a sort read its rows twice".to_owned());
            let failed = futures::stream::iter([Err(error)]);
            Box::pin(RecordBatchStreamAdapter::new(
                Arc::clone(&self.schema),
                failed,
            ))
        })
    }
}
