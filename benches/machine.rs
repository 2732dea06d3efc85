//! What the machine is that a bench runs on.

use std::fs;
use std::thread;

/// Describes the machine in one line: cores, model of the CPU, kernel.
pub(crate) fn describe() -> String {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let names = rustix::system::uname();
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == "model name")
        .map_or("unknown CPU", |(_, model)| model.trim());
    format!(
        "{cores} cores of {model}, {} {}, {} build",
        names.sysname().to_string_lossy(),
        names.release().to_string_lossy(),
        if cfg!(debug_assertions) {
            "debug"
        } else {
            "release"
        },
    )
}
