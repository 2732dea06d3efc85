//! What a run has come to so far, in numbers that any thread may read.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use super::events::{RunEvent, RunListener};
use crate::capture::Label;
use crate::capture::schema::{ErrorKind, Phase, RequestRow, Status};

/// Counts the events of a run.
#[derive(Debug, Default)]
pub struct RunCounters {
    sent: AtomicU64,
    read: AtomicU64,
    ok: AtomicU64,
    failed: AtomicU64,
    resends: AtomicU64,
    /// Attempts that failed and were to be followed by another one.
    to_retry: AtomicU64,
    /// Attempts after the first one.
    retried: AtomicU64,
    chunks: AtomicU64,
    client_lag_ns: AtomicI64,
    is_over: AtomicBool,
    first_failure: OnceLock<Failure>,
    first_to_retry: OnceLock<Failure>,
    /// Attempts that failed with the first one's refusal, of the kind that comes again: see
    /// [`Failure::comes_again`].
    refused_alike: AtomicU64,
    /// An attempt ended in another way.
    has_other_end: AtomicBool,
}

impl RunListener for RunCounters {
    fn on_event(&self, event: &RunEvent<'_>) {
        match event {
            RunEvent::Started { .. } => {}
            RunEvent::Sent(row) => {
                add(&self.sent, 1);
                add(&self.retried, u64::from(row.attempt > 0));
            }
            RunEvent::AnswerRead { .. } => add(&self.read, 1),
            RunEvent::Chunks(chunks) => add(&self.chunks, chunks.len() as u64),
            RunEvent::AnswerDecoded {
                row,
                is_retried: true,
                ..
            } => {
                add(&self.to_retry, 1);
                self.first_to_retry.get_or_init(|| Failure::of(row));
            }
            RunEvent::AnswerDecoded { row, .. } => self.count_end(row),
            RunEvent::Probe(probe) => self.client_lag_ns.store(probe.runtime_lag_max_ns, Relaxed),
            RunEvent::Over => self.is_over.store(true, Relaxed),
        }
    }
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Relaxed);
}

impl RunCounters {
    /// Attempts whose answer has ended, failed ones included.
    pub fn ended(&self) -> u64 {
        self.read.load(Relaxed)
    }

    /// Attempts that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.sent.load(Relaxed).saturating_sub(self.ended())
    }

    /// Measured attempts that ended well.
    pub fn ok(&self) -> u64 {
        self.ok.load(Relaxed)
    }

    /// Requests that failed for good so far, warm-ups included.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Requests that were to go out again, and did not before the run was over.
    pub(super) fn unretried(&self) -> u64 {
        let to_retry = self.to_retry.load(Relaxed);
        to_retry.saturating_sub(self.retried())
    }

    /// Attempts at requests after their first one.
    pub fn retried(&self) -> u64 {
        self.retried.load(Relaxed)
    }

    /// Times that a request went out anew, since the connection that had waited for it had ended.
    pub fn resends(&self) -> u64 {
        self.resends.load(Relaxed)
    }

    /// Streamed events that were decoded.
    pub fn chunks(&self) -> u64 {
        self.chunks.load(Relaxed)
    }

    /// How late the client's own threads woke up at most, in nanoseconds, in the last tenth of a
    /// second.
    pub fn client_lag_ns(&self) -> i64 {
        self.client_lag_ns.load(Relaxed)
    }

    /// Says whether nothing more is sent or read: the tape is being finished.
    pub fn is_over(&self) -> bool {
        self.is_over.load(Relaxed)
    }

    /// The first request that failed: usually of what the others failed of too.
    pub fn first_failure(&self) -> Option<&Failure> {
        let unretried = self.first_to_retry.get();
        let unretried = unretried.filter(|_| self.unretried() > 0);
        self.first_failure.get().or(unretried)
    }

    /// How many attempts have failed alike, where none has ended in another way.
    pub(super) fn alike(&self) -> u64 {
        if self.has_other_end.load(Relaxed) {
            return 0;
        }
        self.refused_alike.load(Relaxed)
    }

    fn count_end(&self, row: &RequestRow) {
        let was_hung_up_on = row.error_kind == Some(ErrorKind::HungUp.into());
        if was_hung_up_on {
            self.has_other_end.store(true, Relaxed);
            return;
        }
        if row.status != Status::Ok {
            add(&self.failed, 1);
        } else if row.phase == Phase::Measure {
            add(&self.ok, 1);
        }
        let resends = u64::try_from(row.resends.unwrap_or(0)).unwrap_or(0);
        add(&self.resends, resends);
        let Some(kind) = &row.error_kind else {
            self.has_other_end.store(true, Relaxed);
            return;
        };
        let first = self.first_failure.get_or_init(|| Failure::of(row));
        let is_alike = first.kind == kind.as_str() && first.http_status == row.http_status;
        if is_alike && first.comes_again() {
            add(&self.refused_alike, 1);
        } else {
            self.has_other_end.store(true, Relaxed);
        }
    }
}

/// Why an attempt failed, as its row has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The column `error_kind`.
    pub kind: String,
    /// The column `error_message`.
    pub message: Option<String>,
    /// The column `http_status`.
    pub http_status: Option<u16>,
    /// The column `target`: the server, where there are several.
    pub target: Option<String>,
}

impl Failure {
    fn of(row: &RequestRow) -> Self {
        let text = |label: &Option<Label>| label.as_ref().map(|label| label.as_str().to_owned());
        Self {
            kind: text(&row.error_kind).unwrap_or_default(),
            message: row.error_message.clone(),
            http_status: row.http_status,
            target: text(&row.target),
        }
    }

    /// Says whether the same request would fail again in the same way: nobody listens, or the server
    /// refuses what it is asked for, and not for want of time or room.
    fn comes_again(&self) -> bool {
        let is_refused = |status: u16| (400..500).contains(&status);
        let is_for_now = |status: u16| [408, 409, 425, 429].contains(&status);
        match self.http_status {
            Some(status) => is_refused(status) && !is_for_now(status),
            None => ["dns", "connect", "tls"].contains(&self.kind.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_that_was_not_made_leaves_a_failure() {
        let counters = RunCounters::default();
        let row = |attempt| {
            let mut row = RequestRow::new(0, Phase::Measure, 0);
            row.attempt = attempt;
            row.status = Status::Error;
            row.error_kind = Some(ErrorKind::Http429.into());
            row
        };
        let failed = |attempt| {
            let event = row(attempt);
            counters.on_event(&RunEvent::Sent(&event));
            counters.on_event(&RunEvent::AnswerDecoded {
                row: &event,
                reply: None,
                is_retried: true,
            });
        };
        failed(0);
        assert_eq!((counters.retried(), counters.unretried()), (0, 1));
        failed(1);
        // It waits, or never went out again.
        assert_eq!((counters.retried(), counters.unretried()), (1, 1));
        assert_eq!(counters.first_failure().unwrap().kind, "http_429");
        let last = row(2);
        counters.on_event(&RunEvent::Sent(&last));
        assert_eq!((counters.retried(), counters.unretried()), (2, 0));
        assert_eq!((counters.failed(), counters.first_failure()), (0, None));
    }

    #[test]
    fn a_failure_comes_again_where_nobody_listens_or_the_request_itself_is_refused() {
        let comes_again = |kind: &str, http_status| {
            Failure {
                kind: kind.to_owned(),
                message: None,
                http_status,
                target: None,
            }
            .comes_again()
        };
        for status in [400, 401, 403, 404, 405, 422] {
            assert!(comes_again("http_4xx", Some(status)), "{status}");
        }
        for status in [200, 408, 425, 429, 500, 503] {
            assert!(!comes_again("http_5xx", Some(status)), "{status}");
        }
        assert!(comes_again("connect", None) && comes_again("dns", None));
        assert!(!comes_again("send", None) && !comes_again("timeout_idle", None));
    }
}
