//! When a request that failed goes out again.
//!
//! As OpenAI's own clients do (openai-python, `_should_retry` and `_calculate_retry_timeout`): where the
//! server asked for another try or was not reached, after what it asks for, else after half a second
//! that doubles each time, less up to a quarter by chance.

use super::recorder::Outcome;
use crate::capture::schema::ErrorKind;
use crate::draw::{Draw, field};

/// The first wait, in nanoseconds.
const FIRST_WAIT_NS: i64 = 500_000_000;

/// The longest wait that is of the client's own making, in nanoseconds.
const MAX_WAIT_NS: i64 = 8_000_000_000;

/// The longest wait that a server may ask for, in nanoseconds. A request that is to wait for longer is
/// given up: whoever comes back sooner does not heed the server.
const MAX_ASKED_NS: i64 = 60_000_000_000;

/// How often a request that failed goes out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retries {
    /// Attempts after the first one, at most.
    pub most: u8,
    /// Seed of the chance in the waits.
    pub seed: u64,
}

/// How an attempt failed, as far as retries care.
#[derive(Debug, Clone, Copy)]
pub(super) struct FailedAttempt<'a> {
    pub(super) request_id: u64,
    /// 0 for the first.
    pub(super) attempt: u8,
    pub(super) outcome: &'a Outcome,
    pub(super) http_status: Option<u16>,
    /// How long the server asks to wait, in nanoseconds.
    pub(super) asked_ns: Option<i64>,
}

impl Retries {
    /// Says whether an attempt may have another one after it.
    pub(super) fn may_follow(self, attempt: u8) -> bool {
        attempt < self.most
    }

    /// Returns how long after its end an attempt is followed by another one, in nanoseconds; `None`
    /// where it is the last.
    pub(super) fn wait_ns(self, failed: FailedAttempt<'_>) -> Option<i64> {
        let is_for_now = match failed.outcome {
            Outcome::Failed(kind, _) => is_unreached(*kind),
            Outcome::NotAStream(_) => failed.http_status.is_some_and(asks_for_another),
            Outcome::EndOfStream | Outcome::Cancelled | Outcome::HungUp => false,
        };
        if !is_for_now || !self.may_follow(failed.attempt) {
            return None;
        }
        match failed.asked_ns {
            Some(asked_ns) => (asked_ns <= MAX_ASKED_NS).then_some(asked_ns),
            None => Some(self.own_wait_ns(failed.request_id, failed.attempt)),
        }
    }

    fn own_wait_ns(self, request_id: u64, attempt: u8) -> i64 {
        let doublings = u32::from(attempt).min(16);
        let whole_ns = (FIRST_WAIT_NS << doublings).min(MAX_WAIT_NS);
        let mut draw = Draw::new(self.seed, request_id, field::RETRY);
        let quarter_ns = (whole_ns / 4).unsigned_abs();
        let less_ns = (0..=attempt).fold(0, |_, _| draw.below(quarter_ns + 1));
        whole_ns.saturating_sub_unsigned(less_ns)
    }
}

/// The server had no part in it, or did not answer at all.
fn is_unreached(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Dns | ErrorKind::Connect | ErrorKind::Send | ErrorKind::TimeoutConnect
    )
}

/// The server says that another try may fare better.
fn asks_for_another(status: u16) -> bool {
    matches!(status, 408 | 409 | 429 | 500..)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const MS: i64 = 1_000_000;

    fn wait_ns(outcome: &Outcome, http_status: Option<u16>, asked_ns: Option<i64>) -> Option<i64> {
        let retries = Retries { most: 2, seed: 7 };
        retries.wait_ns(FailedAttempt {
            request_id: 3,
            attempt: 0,
            outcome,
            http_status,
            asked_ns,
        })
    }

    #[test]
    fn what_may_fare_better_is_tried_again_and_nothing_else() {
        let refused = Outcome::NotAStream(Bytes::new());
        for status in [408, 409, 429, 500, 502, 503, 529] {
            assert!(wait_ns(&refused, Some(status), None).is_some(), "{status}");
        }
        // A page where a stream should be is no refusal; what is refused for good is refused again.
        for status in [200, 400, 401, 404, 422] {
            assert_eq!(wait_ns(&refused, Some(status), None), None, "{status}");
        }
        let failed = |kind| Outcome::Failed(kind, String::new());
        for kind in [ErrorKind::Connect, ErrorKind::Send, ErrorKind::Dns] {
            assert!(wait_ns(&failed(kind), None, None).is_some(), "{kind:?}");
        }
        // What had begun has been paid for, and its tokens count.
        for kind in [ErrorKind::Truncated, ErrorKind::TimeoutIdle, ErrorKind::Tls] {
            assert_eq!(wait_ns(&failed(kind), None, None), None, "{kind:?}");
        }
        for outcome in [Outcome::EndOfStream, Outcome::HungUp, Outcome::Cancelled] {
            assert_eq!(wait_ns(&outcome, Some(200), None), None);
        }
    }

    #[test]
    fn a_server_is_given_the_time_that_it_asks_for_up_to_a_minute() {
        let busy = Outcome::NotAStream(Bytes::new());
        assert_eq!(wait_ns(&busy, Some(429), Some(0)), Some(0));
        assert_eq!(
            wait_ns(&busy, Some(503), Some(1_500 * MS)),
            Some(1_500 * MS)
        );
        assert_eq!(wait_ns(&busy, Some(429), Some(60_001 * MS)), None);
    }

    #[test]
    fn waits_double_and_differ_and_are_the_same_again() {
        let retries = Retries { most: 9, seed: 7 };
        let waits = |request| -> Vec<i64> {
            (0..9)
                .map(|attempt| retries.own_wait_ns(request, attempt) / MS)
                .collect()
        };
        for (attempt, wait) in waits(1).into_iter().enumerate() {
            let whole = (500 << attempt).min(8_000);
            assert!((whole * 3 / 4..=whole).contains(&wait), "{attempt}: {wait}");
        }
        assert_eq!(waits(1), waits(1));
        assert_ne!(waits(1), waits(2));
        assert!(!retries.may_follow(9) && retries.may_follow(8));
    }
}
