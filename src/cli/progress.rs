//! A line of progress on stderr, where that is a terminal.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::{RunCounters, RunListener};

/// Time between two looks at the counters.
const REFRESH: Duration = Duration::from_millis(250);

/// The lateness of the client's own threads from which on the line names it, in nanoseconds.
const LATE_NS: i64 = 10_000_000;

/// A line that is kept up to date until it is dropped.
pub(super) struct Progress {
    counters: Arc<RunCounters>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts showing what a run has come to; nothing where nobody would see it.
pub(super) fn show(total: Option<u64>, is_hidden: bool) -> Option<Progress> {
    if is_hidden || !stderr().is_terminal() {
        return None;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let counters = Arc::new(RunCounters::default());
    let shown = Arc::clone(&counters);
    let thread = thread::Builder::new()
        .name("progress".into())
        .spawn(move || draw(&shown, total, &seen))
        .ok()?;
    Some(Progress {
        counters,
        is_over,
        thread: Some(thread),
    })
}

fn draw(counters: &RunCounters, total: Option<u64>, is_over: &AtomicBool) {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let template = if total.is_some() {
        "{bar:30} {pos}/{len} ended, {msg} [{elapsed}]"
    } else {
        "{pos} ended, {msg} [{elapsed}]"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    while !is_over.load(Ordering::Acquire) {
        bar.set_position(counters.ended());
        bar.set_message(message(counters));
        thread::park_timeout(REFRESH);
    }
    bar.finish_and_clear();
}

fn message(counters: &RunCounters) -> String {
    let (in_flight, failed) = (counters.in_flight(), counters.failed());
    let lag_ns = counters.client_lag_ns();
    let late = if lag_ns >= LATE_NS {
        format!(", client {} ms late", lag_ns / 1_000_000)
    } else {
        String::new()
    };
    format!("{in_flight} in flight, {failed} failed{late}")
}

impl Progress {
    /// The listener that the line shows.
    pub(super) fn listener(&self) -> Arc<dyn RunListener> {
        Arc::clone(&self.counters) as _
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A thread that panicked while drawing has nothing to tell.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::schema::{Phase, ProbeRow, RequestRow};
    use crate::load::RunEvent;

    fn probe(runtime_lag_max_ns: i64) -> ProbeRow {
        ProbeRow {
            at_ns: 0,
            worker: 0,
            runtime_lag_max_ns,
            cpu_ns: None,
            in_flight: 0,
            queued: 0,
            channel_fill: 0,
            rss_bytes: None,
            reads: 0,
            events: 0,
            capture_stalls: 0,
            unlogged_max_ns: None,
        }
    }

    #[test]
    fn the_line_counts_events_and_names_a_late_client() {
        let counters = RunCounters::default();
        let row = RequestRow::new(0, Phase::Measure, 0);
        counters.on_event(&RunEvent::Sent(&row));
        counters.on_event(&RunEvent::Sent(&row));
        counters.on_event(&RunEvent::AnswerRead {
            row_number: None,
            end_ns: 1,
            is_fault: false,
        });
        assert_eq!(message(&counters), "1 in flight, 0 failed");
        counters.on_event(&RunEvent::Probe(&probe(25_000_000)));
        let late = "1 in flight, 0 failed, client 25 ms late";
        assert_eq!(message(&counters), late);
        counters.on_event(&RunEvent::Probe(&probe(100_000)));
        assert_eq!(message(&counters), "1 in flight, 0 failed");
    }
}
