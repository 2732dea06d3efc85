//! How many sockets the limit on open files has room for.
//!
//! A socket too many must not cost the tape: the log, the manifest and the sorting of both need
//! files of their own, so those are set aside before the first request is sent.

use rustix::process::{Resource, getrlimit};

use super::driver::Limits;
use super::error::LoadError;

/// Requests in flight at most, however many files may be open.
const MAX_IN_FLIGHT: usize = 50_000;

/// Files that a run opens beside its sockets, with room to spare.
const OWN_FILES: u64 = 64;

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

impl Limits {
    /// Refuses a cap that could never be reached, and a system without room for any request.
    pub(super) fn check(&self) -> Result<(), LoadError> {
        let room = self.max_in_flight;
        if room < self.max_concurrency.unwrap_or(1) {
            return Err(LoadError::OpenFiles { room });
        }
        Ok(())
    }
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
