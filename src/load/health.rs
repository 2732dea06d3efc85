//! The client's own health: every run carries its own proof.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use super::recorder::Recorder;
use crate::capture::schema::ProbeRow;
use crate::throttle::thread_cpu_ns;
use crate::time::clock::Clock;
use crate::time::timer::PreciseTimer;
use crate::wire::ReadingThread;

/// Distance of the wake-ups whose lateness is the runtime's lag.
const TICK_NS: i64 = 10_000_000;

/// Wake-ups between two flushes of the recorder's batch.
const TICKS_A_FLUSH: u32 = 5;

/// Wake-ups between two rows.
const TICKS_A_ROW: u32 = 10;

/// Watches the thread that it runs on and those that read, where they are others, and flushes the
/// recorder on its way. Never returns.
pub(super) async fn watch(
    clock: Clock,
    mut timer: PreciseTimer,
    recorder: Arc<Recorder>,
    queued: Arc<AtomicUsize>,
    reading_threads: Vec<Arc<dyn ReadingThread>>,
) {
    let is_on_one_core = thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut before = Totals::read(&recorder, &reading_threads);
    let (mut lag_max_ns, mut unlogged_max_ns) = (0, 0);
    let mut due_ns = clock.now_ns();
    loop {
        for tick in 1..=TICKS_A_ROW {
            due_ns += TICK_NS;
            timer.sleep_until(&clock, due_ns).await;
            for thread in &reading_threads {
                thread.knock();
            }
            let now_ns = clock.now_ns();
            lag_max_ns = lag_max_ns.max(now_ns - due_ns);
            unlogged_max_ns = unlogged_max_ns.max(recorder.unlogged_ns(now_ns));
            // A thread that was held up for long is late once, not once a tick.
            due_ns = due_ns.max(now_ns - TICK_NS);
            if tick % TICKS_A_FLUSH == 0 && tick != TICKS_A_ROW {
                recorder.flush().await;
            }
        }
        let now = Totals::read(&recorder, &reading_threads);
        for thread in &reading_threads {
            lag_max_ns = lag_max_ns.max(thread.take_lag_max_ns());
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        recorder.probe(ProbeRow {
            at_ns: clock.now_ns(),
            worker: 0,
            runtime_lag_max_ns: std::mem::take(&mut lag_max_ns),
            cpu_ns: Some(busiest_ns(now.cpu_since(&before), is_on_one_core)),
            in_flight: u32::try_from(recorder.counters().in_flight()).unwrap_or(u32::MAX),
            queued: count(queued.load(Relaxed)),
            channel_fill: count(recorder.channel_fill()),
            rss_bytes: resident_bytes(),
            reads: signed(now.reads - before.reads),
            events: signed(now.events - before.events),
            capture_stalls: signed(now.stalls - before.stalls),
            unlogged_max_ns: Some(std::mem::take(&mut unlogged_max_ns)),
        });
        before = now;
        recorder.flush().await;
    }
}

/// How long the thread that sends and those that read kept a core busy: the busiest one of them, and
/// where they share one, all.
fn busiest_ns(of_threads: impl Iterator<Item = i64>, is_on_one_core: bool) -> i64 {
    if is_on_one_core {
        of_threads.sum()
    } else {
        of_threads.max().unwrap_or_default()
    }
}

/// Running totals, of which a row has the differences.
struct Totals {
    /// Of the thread that asks, which sends, and of those that read.
    cpu_ns: Vec<i64>,
    reads: u64,
    events: u64,
    stalls: u64,
}

impl Totals {
    fn read(recorder: &Recorder, reading_threads: &[Arc<dyn ReadingThread>]) -> Self {
        let reading = reading_threads.iter().map(|thread| thread.cpu_ns());
        Self {
            cpu_ns: std::iter::once(thread_cpu_ns()).chain(reading).collect(),
            reads: recorder.reads(),
            events: recorder.counters().chunks(),
            stalls: recorder.stalls(),
        }
    }

    /// What each thread has taken since then, in nanoseconds.
    fn cpu_since(&self, before: &Self) -> impl Iterator<Item = i64> {
        self.cpu_ns
            .iter()
            .zip(&before.cpu_ns)
            .map(|(now, then)| now - then)
    }
}

/// A count as the tape has it.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Resident memory of this process, where the system says.
fn resident_bytes() -> Option<i64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_fill_one_core_together_and_several_cores_each_for_itself() {
        assert_eq!(busiest_ns([48, 47].into_iter(), false), 48);
        assert_eq!(busiest_ns([0, 70, 90].into_iter(), false), 90);
        assert_eq!(busiest_ns([48, 40, 7].into_iter(), true), 95);
    }
}
