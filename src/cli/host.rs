//! The machine that drives the load, for the manifest.

use std::thread;

use crate::capture::manifest::Host;

/// Describes this machine.
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
