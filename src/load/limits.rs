//! The bounds that a run is driven within.

use super::error::LoadError;
use super::retries::Retries;

/// The bounds that a run is driven within. Durations are in nanoseconds.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests in flight at most.
    pub max_concurrency: Option<usize>,
    /// Requests in flight at most where the user named no cap: sockets are finite.
    pub max_in_flight: usize,
    /// Time that requests in flight have after a stop before they are cancelled.
    pub drain_ns: i64,
    /// How often a request that failed goes out again.
    pub retries: Retries,
    /// Connections that are opened to each server before the schedule starts, at least.
    pub prewarm_connections: usize,
    /// Time that one attempt may take.
    pub request_timeout_ns: i64,
    /// Time until the first token.
    pub first_timeout_ns: Option<i64>,
    /// Time between two reads of one answer.
    pub idle_timeout_ns: Option<i64>,
    /// The run ends early where nothing but one and the same refusal comes back from the first request
    /// on.
    pub gives_up: bool,
}

impl Limits {
    /// Refuses a cap that could never be reached, and a system without room for any request.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let room = self.max_in_flight;
        if room < self.max_concurrency.unwrap_or(1) {
            return Err(LoadError::OpenFiles { room });
        }
        Ok(())
    }
}
