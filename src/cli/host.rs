//! The machine that this program runs on, and whether it leaves room for the work.

use std::thread;

use rustix::process::{Resource, getrlimit};

use crate::capture::manifest::Host;
use crate::error::Error;

/// Address space that a run or an analysis needs, in bytes: below it a thread or an engine fails to
/// start, which nobody can put into words any more.
const ADDRESS_SPACE: u64 = 768 << 20;

/// Refuses to work in less address space than it takes.
///
/// # Errors
///
/// [`Error::AddressSpace`] where the limit (`ulimit -v`) is lower.
pub(super) fn ensure_address_space() -> Result<(), Error> {
    enough(getrlimit(Resource::As).current)
}

fn enough(limit: Option<u64>) -> Result<(), Error> {
    match limit {
        Some(limit) if limit < ADDRESS_SPACE => Err(Error::AddressSpace {
            kib: limit >> 10,
            needed_kib: ADDRESS_SPACE >> 10,
        }),
        _ => Ok(()),
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_little_address_space_is_refused_with_the_limit_that_would_do() {
        assert!(enough(None).is_ok() && enough(Some(ADDRESS_SPACE)).is_ok());
        let error = enough(Some(300_000 << 10)).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::exit::IO);
        assert!(error.to_string().contains("300000 KiB"), "{error}");
    }
}
