//! Which cores the server and the client get, so that neither takes the other's time.

use std::io;

/// A core for the server, and the others for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores {
    /// The server's core.
    pub(crate) server: Vec<usize>,
    /// The client's cores.
    pub(crate) client: Vec<usize>,
}

impl Cores {
    /// Parts the cores that this thread may use.
    ///
    /// # Errors
    ///
    /// Says why the two can't be kept apart.
    pub(crate) fn part() -> Result<Self, String> {
        let allowed = system::allowed().map_err(|error| error.to_string())?;
        match allowed.split_first() {
            Some((first, others)) if !others.is_empty() => Ok(Self {
                server: vec![*first],
                client: others.to_vec(),
            }),
            _ => Err("there is one core".to_owned()),
        }
    }
}

/// Does some work on these cores alone. Threads and processes that it starts inherit them.
///
/// # Errors
///
/// Fails before the work begins, when the system refuses.
pub(crate) fn on<T>(cores: &[usize], work: impl FnOnce() -> T) -> io::Result<T> {
    let before = system::allowed()?;
    system::allow(cores)?;
    let done = work();
    // What was allowed a moment ago is still.
    let _ = system::allow(&before);
    Ok(done)
}

/// Writes cores as people do: `0`, `1-3`, `0,2,5-7`.
pub(crate) fn listed(cores: &[usize]) -> String {
    let mut spans: Vec<(usize, usize)> = Vec::new();
    for core in cores {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == *core => *last = *core,
            _ => spans.push((*core, *core)),
        }
    }
    let spans = spans.into_iter().map(|(first, last)| {
        if first == last {
            first.to_string()
        } else {
            format!("{first}-{last}")
        }
    });
    spans.collect::<Vec<_>>().join(",")
}

#[cfg(target_os = "linux")]
mod system {
    use std::io;

    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(super) fn allowed() -> io::Result<Vec<usize>> {
        let set = sched_getaffinity(None)?;
        Ok((0..CpuSet::MAX_CPU)
            .filter(|core| set.is_set(*core))
            .collect())
    }

    pub(super) fn allow(cores: &[usize]) -> io::Result<()> {
        let mut set = CpuSet::new();
        for core in cores {
            set.set(*core);
        }
        Ok(sched_setaffinity(None, &set)?)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::io;

    pub(super) fn allowed() -> io::Result<Vec<usize>> {
        Err(io::Error::other("this system binds no thread to a core"))
    }

    pub(super) fn allow(_cores: &[usize]) -> io::Result<()> {
        allowed().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cores_are_listed_as_spans() {
        assert_eq!(listed(&[0]), "0");
        assert_eq!(listed(&[1, 2, 3]), "1-3");
        assert_eq!(listed(&[0, 2, 5, 6, 7]), "0,2,5-7");
        assert_eq!(listed(&[]), "");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn work_runs_on_its_cores_and_leaves_the_thread_as_it_was() {
        let before = system::allowed().unwrap();
        let one = &before[..1];
        let during = on(one, || std::thread::spawn(system::allowed).join().unwrap());
        assert_eq!(during.unwrap().unwrap(), one);
        assert_eq!(system::allowed().unwrap(), before);
        if let Ok(cores) = Cores::part() {
            assert_eq!([cores.server, cores.client].concat(), before);
        } else {
            assert_eq!(before.len(), 1);
        }
    }
}
