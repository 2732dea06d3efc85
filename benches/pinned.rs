//! Work that stays on one core, so that what is measured and what serves it do not share one.

use std::process::{Child, Command};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Returns a core for the server and one for the client.
pub(crate) fn two_cores() -> Outcome<Option<(usize, usize)>> {
    let allowed = sched_getaffinity(None)?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
    Ok(cores.next().zip(cores.next()))
}

/// Runs `work` with this thread on one core alone.
pub(crate) fn on_core<T>(core: usize, work: impl FnOnce() -> T) -> Outcome<T> {
    let before = sched_getaffinity(None)?;
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only)?;
    let done = work();
    sched_setaffinity(None, &before)?;
    Ok(done)
}

/// Starts `command` on one core alone: a child inherits the core of the thread that starts it.
pub(crate) fn spawn_on(core: usize, command: &mut Command) -> Outcome<Child> {
    let child = on_core(core, || command.spawn())?;
    Ok(child.map_err(|error| format!("could not start {command:?}: {error}"))?)
}
