//! How many sockets the limit on open files has room for.
//!
//! A socket too many must not cost the tape: the log, the manifest and the sorting of both need
//! files of their own, so those are set aside before the first request is sent.

use std::fs::File;

use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Resource, getrlimit, setrlimit};

/// Requests in flight at most, however many files may be open.
const MAX_IN_FLIGHT: usize = 50_000;

/// Files that a run opens beside its sockets, with room to spare.
const OWN_FILES: u64 = 64;

/// Lets the process open as many sockets as the system allows it without asking anyone, and has the
/// system make room for them now: call it before there are threads.
///
/// Linux doubles its table of a process's files as it fills, and in a process of several threads
/// each doubling halts the one that opens a file for 10 to 20 ms: a run's sends and reads, at 256,
/// 512, 1,024 … connections.
pub fn raise_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || limit.maximum.is_none() {
        limit.current = limit.maximum;
        // Where it can't be raised, connections fail by name when they run out.
        let _ = setrlimit(Resource::Nofile, limit);
    }
    let highest = room(getrlimit(Resource::Nofile).current);
    // A file of a high number, if only for a moment, needs the whole table.
    if let (Ok(highest), Ok(file)) = (i32::try_from(highest), File::open("/dev/null")) {
        let _ = fcntl_dupfd_cloexec(&file, highest);
    }
}

/// Returns how many requests may be in flight under the limit that is in force.
pub fn max_in_flight() -> usize {
    room(getrlimit(Resource::Nofile).current)
}

fn room(open_files: Option<u64>) -> usize {
    open_files.map_or(MAX_IN_FLIGHT, |limit| {
        let left = usize::try_from(limit.saturating_sub(OWN_FILES)).unwrap_or(MAX_IN_FLIGHT);
        left.min(MAX_IN_FLIGHT)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_its_own_are_set_aside() {
        assert_eq!(room(Some(1_024)), 960);
        assert_eq!(room(Some(10)), 0);
        assert_eq!(room(Some(u64::MAX)), MAX_IN_FLIGHT);
        assert_eq!(room(None), MAX_IN_FLIGHT);
    }
}
