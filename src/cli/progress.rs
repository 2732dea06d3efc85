//! A line of progress on stderr, where that is a terminal.

use std::io::{IsTerminal, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::Stats;

/// Time between two looks at the counters.
const REFRESH: Duration = Duration::from_millis(250);

/// A line that is kept up to date until it is dropped.
pub(super) struct Progress {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Starts showing the counters; nothing where nobody would see it.
pub(super) fn show(stats: Arc<Stats>, total: Option<u64>, is_hidden: bool) -> Option<Progress> {
    if is_hidden || !stderr().is_terminal() {
        return None;
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_over);
    let thread = thread::Builder::new()
        .name("progress".into())
        .spawn(move || draw(&stats, total, &seen))
        .ok()?;
    Some(Progress {
        is_over,
        thread: Some(thread),
    })
}

fn draw(stats: &Stats, total: Option<u64>, is_over: &AtomicBool) {
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
        let ended = stats.ended.load(Ordering::Relaxed);
        let in_flight = stats.in_flight();
        let failed = stats.failed.load(Ordering::Relaxed);
        bar.set_position(ended);
        bar.set_message(format!("{in_flight} in flight, {failed} failed"));
        thread::park_timeout(REFRESH);
    }
    bar.finish_and_clear();
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
