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

/// Watches the thread that it runs on and the one that reads, where that is another, and flushes the
/// recorder on its way. Never returns.
pub(super) async fn watch(
    clock: Clock,
    mut timer: PreciseTimer,
    recorder: Arc<Recorder>,
    queued: Arc<AtomicUsize>,
    reading_thread: Option<Arc<dyn ReadingThread>>,
) {
    let reading_thread = reading_thread.as_deref();
    let is_on_one_core = thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut before = Totals::read(&recorder, reading_thread);
    let (mut lag_max_ns, mut unlogged_max_ns) = (0, 0);
    let mut due_ns = clock.now_ns();
    loop {
        for tick in 1..=TICKS_A_ROW {
            due_ns += TICK_NS;
            timer.sleep_until(&clock, due_ns).await;
            if let Some(reading_thread) = reading_thread {
                reading_thread.knock();
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
        let now = Totals::read(&recorder, reading_thread);
        if let Some(reading_thread) = reading_thread {
            lag_max_ns = lag_max_ns.max(reading_thread.take_lag_max_ns());
        }
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        recorder.probe(ProbeRow {
            at_ns: clock.now_ns(),
            worker: 0,
            runtime_lag_max_ns: std::mem::take(&mut lag_max_ns),
            cpu_ns: Some(busiest_ns(
                now.cpu_ns - before.cpu_ns,
                now.reading_cpu_ns - before.reading_cpu_ns,
                is_on_one_core,
            )),
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

/// How long the thread that sends and the one that reads kept a core busy: the busier one of them,
/// and where they share one, both.
fn busiest_ns(sending_ns: i64, reading_ns: i64, is_on_one_core: bool) -> i64 {
    if is_on_one_core {
        sending_ns + reading_ns
    } else {
        sending_ns.max(reading_ns)
    }
}

/// Running totals, of which a row has the differences.
struct Totals {
    /// Of the thread that asks, which sends.
    cpu_ns: i64,
    reading_cpu_ns: i64,
    reads: u64,
    events: u64,
    stalls: u64,
}

impl Totals {
    fn read(recorder: &Recorder, reading_thread: Option<&dyn ReadingThread>) -> Self {
        Self {
            cpu_ns: thread_cpu_ns(),
            reading_cpu_ns: reading_thread.map_or(0, ReadingThread::cpu_ns),
            reads: recorder.reads(),
            events: recorder.counters().chunks(),
            stalls: recorder.stalls(),
        }
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
    fn two_threads_fill_one_core_together_and_two_cores_each_for_itself() {
        assert_eq!(busiest_ns(48, 47, false), 48);
        assert_eq!(busiest_ns(0, 90, false), 90);
        assert_eq!(busiest_ns(48, 47, true), 95);
    }
}
