//! A timer that fires at the microsecond that it was asked for.
//!
//! The runtime's own timer counts whole milliseconds and rounds up, so that every request of a
//! schedule, and every token of the simulated server, would leave up to a millisecond late. On Linux
//! this timer is a `timerfd`, which the runtime watches like a socket; elsewhere, and in tests
//! whose time is virtual, it is the runtime's own.
//!
//! What is left of the lateness is the wake-up itself. A caller that must be better wakes early
//! and waits out the rest on the clock.

use std::io;

use super::clock::Clock;

/// A timer for one waiter, which waits for one instant after another.
#[derive(Debug)]
pub struct PreciseTimer {
    source: Source,
}

#[derive(Debug)]
enum Source {
    #[cfg(target_os = "linux")]
    Kernel(linux::KernelTimer),
    Runtime,
}

impl PreciseTimer {
    /// Opens the most precise timer of this system; call it inside a runtime with I/O enabled.
    ///
    /// It waits in real time. Tests that pause the runtime's time use [`PreciseTimer::tokio`],
    /// because a paused runtime can't be told from a running one.
    ///
    /// # Errors
    ///
    /// When the process may open no more files.
    pub fn new() -> io::Result<Self> {
        #[cfg(target_os = "linux")]
        let source = Source::Kernel(linux::KernelTimer::new()?);
        #[cfg(not(target_os = "linux"))]
        let source = Source::Runtime;
        Ok(Self { source })
    }

    /// Makes a timer of the runtime's own, in steps of a millisecond, which follows paused time.
    pub fn tokio() -> Self {
        Self {
            source: Source::Runtime,
        }
    }

    /// Waits until the clock reads at least `at_ns`; returns at once where that is past.
    ///
    /// It never returns early. Dropping the future leaves the timer fit for the next wait.
    pub async fn sleep_until(&mut self, clock: &Clock, at_ns: i64) {
        // A caller whose instants are all past would otherwise never give way to other tasks.
        tokio::task::coop::consume_budget().await;
        loop {
            let left_ns = at_ns.saturating_sub(clock.now_ns());
            if left_ns <= 0 {
                return;
            }
            match &mut self.source {
                #[cfg(target_os = "linux")]
                Source::Kernel(timer) => {
                    if timer.wait(left_ns).await.is_err() {
                        self.source = Source::Runtime;
                    }
                }
                Source::Runtime => tokio::time::sleep_until(clock.instant(at_ns)).await,
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    //! The kernel's timer behind a file descriptor.

    use std::io;
    use std::os::fd::OwnedFd;

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    };
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    const NS_PER_S: i64 = 1_000_000_000;

    #[derive(Debug)]
    pub(super) struct KernelTimer {
        descriptor: AsyncFd<OwnedFd>,
    }

    impl KernelTimer {
        #[expect(
            deprecated,
            reason = "its successor is `unsafe` and asks for what an `OwnedFd` always upholds"
        )]
        pub(super) fn new() -> io::Result<Self> {
            let descriptor = timerfd_create(
                TimerfdClockId::Monotonic,
                TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
            )?;
            Ok(Self {
                descriptor: AsyncFd::with_interest(descriptor, Interest::READABLE)?,
            })
        }

        /// Waits for `left_ns` > 0. Arming forgets whatever an earlier wait left behind.
        pub(super) async fn wait(&self, left_ns: i64) -> io::Result<()> {
            let once = Itimerspec {
                it_interval: timespec(0),
                it_value: timespec(left_ns),
            };
            timerfd_settime(self.descriptor.get_ref(), TimerfdTimerFlags::empty(), &once)?;
            self.descriptor
                .async_io(Interest::READABLE, |timer| {
                    let mut expirations = [0_u8; 8];
                    rustix::io::read(timer, &mut expirations)?;
                    Ok(())
                })
                .await
        }
    }

    fn timespec(duration_ns: i64) -> Timespec {
        Timespec {
            tv_sec: duration_ns / NS_PER_S,
            tv_nsec: duration_ns % NS_PER_S,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn never_fires_early_and_returns_at_once_for_the_past() {
        let clock = Clock::start();
        let mut timer = PreciseTimer::new().unwrap();
        for _ in 0..20 {
            let due_ns = clock.now_ns() + 300_000;
            timer.sleep_until(&clock, due_ns).await;
            assert!(clock.now_ns() >= due_ns);
        }
        timer.sleep_until(&clock, -1).await;
        timer.sleep_until(&clock, i64::MIN).await;
    }

    #[tokio::test]
    async fn a_dropped_wait_leaves_the_timer_fit_for_the_next_one() {
        let clock = Clock::start();
        let mut timer = PreciseTimer::new().unwrap();
        let far_ns = clock.now_ns() + 3_600_000_000_000;
        let gave_up =
            tokio::time::timeout(Duration::from_millis(1), timer.sleep_until(&clock, far_ns)).await;
        assert!(gave_up.is_err());
        let due_ns = clock.now_ns() + 100_000;
        timer.sleep_until(&clock, due_ns).await;
        let now_ns = clock.now_ns();
        assert!(now_ns >= due_ns && now_ns < far_ns);
    }

    #[tokio::test(start_paused = true)]
    async fn follows_paused_time_where_it_is_the_runtimes_own() {
        let clock = Clock::start();
        let mut timer = PreciseTimer::tokio();
        timer.sleep_until(&clock, 3_600_000_000_000).await;
        let late_ns = clock.now_ns() - 3_600_000_000_000;
        assert!((0..=1_000_000).contains(&late_ns), "{late_ns}");
    }
}
