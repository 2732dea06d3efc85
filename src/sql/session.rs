//! The only set-up of the SQL engine.

use datafusion::prelude::{SessionConfig, SessionContext};

/// Returns a session that runs a plan in `target_partitions` parallel parts.
///
/// One part keeps the order of its input and adds no buffering between operators.
pub(crate) fn new_session(target_partitions: usize) -> SessionContext {
    let config = SessionConfig::new()
        .with_target_partitions(target_partitions)
        .with_information_schema(false);
    SessionContext::new_with_config(config)
}
