//! All attempts at one request: the first, and those after it where it failed and may go out again.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, AttemptEnd, Shared};
use super::prepared::PreparedRequest;
use super::stop::Stop;
use crate::capture::schema::RequestRow;
use crate::wire::Wire;

/// Sends a request until it is answered or fails for good, with `row` as what is known of it. The
/// future says when it ended: between attempts it keeps its slot, as a caller who waits does.
///
/// The first attempt is there before the future is polled, so that one that never is has a row too.
pub(super) fn attempt_all<W: Wire>(
    shared: Arc<Shared<W>>,
    row: RequestRow,
    planned: PreparedRequest,
) -> impl Future<Output = i64> + Send {
    // Nothing is copied of a request that goes out once.
    let again = shared.limits.retries.may_follow(0).then(|| row.clone());
    let first = Attempt::new(Arc::clone(&shared), row);
    follow(shared, first, again, planned)
}

/// Runs an attempt, and others as long as they are wanted, with `again` as what is known of each.
async fn follow<W: Wire>(
    shared: Arc<Shared<W>>,
    mut attempt: Attempt<W>,
    again: Option<RequestRow>,
    mut planned: PreparedRequest,
) -> i64 {
    let mut stop = shared.stop.clone();
    let mut number = 0;
    loop {
        let AttemptEnd { end_ns, retry_ns } = attempt.run(&mut planned).await;
        let (Some(wait_ns), Some(row)) = (retry_ns, &again) else {
            return end_ns;
        };
        let wait = Duration::from_nanos(wait_ns.unsigned_abs());
        tokio::select! {
            biased;
            // Nothing more is sent then: the attempt that failed was the last one.
            _ = stop.wait_for(|stop| *stop != Stop::No) => return shared.clock.now_ns(),
            () = tokio::time::sleep(wait) => {}
        }
        number += 1;
        let mut row = row.clone();
        row.attempt = number;
        attempt = Attempt::new(Arc::clone(&shared), row);
    }
}
