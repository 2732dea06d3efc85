//! Runs what blocks for long, or needs much stack, on a thread of its own; how many cores and how
//! much memory there are for it.

use std::fs;
use std::future::Future;
use std::io;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Stack of every thread that may plan a query, in bytes: the planner of the SQL engine descends once
/// per nested expression.
pub(crate) const STACK_BYTES: usize = 16 << 20;

/// Runs a future to its end on a thread of its own, with a stack that DataFusion's planner fits
/// on and a runtime for the tasks that DataFusion starts.
///
/// Blocks the calling thread, which must not be one that drives a measurement.
///
/// # Errors
///
/// Fails when the system refuses a thread.
pub fn block_on<F>(future: F) -> io::Result<F::Output>
where
    F: Future + Send,
    F::Output: Send,
{
    thread::scope(|scope| {
        let worker = thread::Builder::new()
            .name("sql".into())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, || {
                let runtime = tokio::runtime::Builder::new_multi_thread()
                    .worker_threads(cores())
                    .thread_name("sql-worker")
                    .thread_stack_size(STACK_BYTES)
                    .enable_all()
                    .build()?;
                Ok(runtime.block_on(future))
            })?;
        worker.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Makes `count` results, each from its number, on all cores; in the order of their numbers. Where the
/// system refuses threads, on the calling one alone.
pub(crate) fn in_parallel<R: Send>(count: usize, make: impl Fn(usize) -> R + Sync) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut made = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return made;
            }
            made.push((at, make(at)));
        }
    };
    let mut made = thread::scope(|scope| {
        let helpers: Vec<_> = (1..cores().min(count))
            .filter_map(|_| {
                let builder = thread::Builder::new().name("workload".into());
                builder.spawn_scoped(scope, work).ok()
            })
            .collect();
        let mut made = work();
        for helper in helpers {
            match helper.join() {
                Ok(others) => made.extend(others),
                Err(panic) => resume_unwind(panic),
            }
        }
        made
    });
    made.sort_unstable_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, made)| made).collect()
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// Where the system says how much memory this program and others beside it may take together.
const GROUP_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// Half of the memory of this machine, or of the container that this is, in bytes.
pub(crate) fn half_of_the_memory() -> usize {
    let said = GROUP_LIMITS.iter().filter_map(|path| {
        let limit = fs::read_to_string(path).ok()?;
        limit.trim().parse().ok()
    });
    let system = rustix::system::sysinfo();
    let all = u64::from(system.mem_unit).saturating_mul(system.totalram);
    let bytes = said.fold(all, u64::min);
    usize::try_from(bytes / 2).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::{block_on, in_parallel};

    #[test]
    fn results_come_in_the_order_of_their_numbers() {
        assert_eq!(
            in_parallel(1_000, |at| 2 * at),
            (0..2_000).step_by(2).collect::<Vec<_>>()
        );
        assert!(in_parallel(0, |at| at).is_empty());
    }

    #[test]
    fn passes_a_panic_on() {
        let outcome = std::panic::catch_unwind(|| block_on(async { panic!("on purpose") }));
        assert!(outcome.is_err());
    }
}
