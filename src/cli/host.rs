//! The machine that this program runs on.

use std::fs;
use std::thread;

use crate::capture::manifest::Host;

/// Describes this machine, for the manifest of a load that it drives.
pub(super) fn describe() -> Host {
    let names = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    let cores = thread::available_parallelism().map_or(0, usize::from);
    Host {
        name: text(names.nodename()),
        system: format!(
            "{} {} {}",
            text(names.sysname()),
            text(names.release()),
            text(names.machine())
        ),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
    }
}

/// Where the system says how much memory this program and others beside it may take together.
const GROUP_LIMITS: [&str; 2] = [
    "/sys/fs/cgroup/memory.max",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
];

/// Half of the memory of this machine, or of the container that this is, in bytes.
pub(super) fn half_of_the_memory() -> usize {
    let said = GROUP_LIMITS.iter().filter_map(|path| {
        let limit = fs::read_to_string(path).ok()?;
        limit.trim().parse().ok()
    });
    let system = rustix::system::sysinfo();
    let all = u64::from(system.mem_unit).saturating_mul(system.totalram);
    let bytes = said.fold(all, u64::min);
    usize::try_from(bytes / 2).unwrap_or(usize::MAX)
}
