//! One run of the client: started, watched, held up, and ended in one of three ways.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddrV4;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokentape::time::clock::utc_now_ns;

use crate::Plan;
use crate::process::{said, silence};
use crate::program::Outcome;
use crate::random::draw;
use crate::running::Running;
use crate::server::Server;

const MS: i64 = 1_000_000;
const S: i64 = 1_000 * MS;

/// How often the client is looked at.
const TICK_MS: u32 = 100;

/// How long a client may take to its first request, and to its end once it has been told to end.
const PATIENCE_NS: i64 = 120 * S;

/// Nothing is held up or down so short before the end of a run.
const QUIET_NS: i64 = 5 * S;

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// `kill -9`.
    Kill,
    /// SIGTERM.
    Terminate,
    /// By itself, when its time is over.
    Whole,
}

/// What is run: the number of the run, its length, how it ends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Task {
    pub(crate) run: u16,
    pub(crate) seconds: u32,
    pub(crate) ending: Ending,
    pub(crate) is_constant: bool,
}

/// What was seen of a run from outside. Times are UTC, in nanoseconds.
pub(crate) struct Ran {
    pub(crate) task: Task,
    pub(crate) tape: PathBuf,
    pub(crate) status: ExitStatus,
    /// When it was killed or told to end.
    pub(crate) end_ns: i64,
    /// When it was stopped (SIGSTOP), from and to.
    pub(crate) stops: Vec<(i64, i64)>,
    /// Open file descriptors and threads, once a second.
    pub(crate) samples: Vec<(usize, usize)>,
    /// CPU time, as last seen, and when that was, both since its start, in seconds.
    pub(crate) cpu_s: (f64, f64),
    /// The worst lateness of this program's own naps in the two seconds before the end: what the
    /// machine does to anyone.
    pub(crate) napped_late_ns: i64,
    /// What must not be.
    pub(crate) faults: Vec<String>,
    /// What the client said.
    pub(crate) said: String,
}

/// What happens to a run while it goes on.
#[derive(Debug, Clone, Copy)]
enum Event {
    Stop,
    Outage,
}

/// Runs the client against the server.
pub(crate) fn run(
    (plan, folder): (&Plan, &Path),
    server: &Server,
    task: Task,
    state: &mut u64,
    is_over: &AtomicBool,
) -> Outcome<Ran> {
    let tape = folder.join(format!("{}.tape", task.run));
    let errors = folder.join(format!("{}.stderr", task.run));
    server.begin(task.run);
    let mut command = command(plan, server.address, task);
    command.arg("--out").arg(&tape);
    silence(&mut command, &errors)?;
    let began_ns = utc_now_ns();
    let mut running = Running(command.spawn()?);
    let mut watch = Watch {
        server,
        pid: Pid::from_child(&running.0),
        process: format!("/proc/{}", running.0.id()),
        began_ns,
        late_ns: Vec::new(),
        ran: Ran {
            task,
            tape,
            status: ExitStatus::from_raw(0),
            end_ns: 0,
            stops: Vec::new(),
            samples: Vec::new(),
            cpu_s: (0.0, 0.0),
            napped_late_ns: 0,
            faults: Vec::new(),
            said: String::new(),
        },
    };
    while server.requests() == 0 {
        if running.0.try_wait()?.is_some() || utc_now_ns() - began_ns > PATIENCE_NS {
            return Err(format!("no request came: {}", said(&errors)?).into());
        }
        watch.nap();
    }
    watch.ran.status = watch.follow(&mut running, events(task.seconds, state), is_over)?;
    watch.ran.said = said(&errors)?;
    Ok(watch.ran)
}

fn command(plan: &Plan, address: SocketAddrV4, task: Task) -> Command {
    let mut command = Command::new(&plan.tokentape);
    // One that is ended from outside would go on for longer, but not for ever.
    let seconds = match task.ending {
        Ending::Whole => task.seconds,
        Ending::Kill | Ending::Terminate => task.seconds + 60,
    };
    let arrivals = if task.is_constant {
        "constant"
    } else {
        "poisson"
    };
    command
        .args(["load", "--backend", "openai", "--model", "soak"])
        .args(["--base-url", &format!("http://{address}/{}", task.run)])
        .args(["--request-rate", &plan.rate.to_string()])
        .args(["--arrivals", arrivals])
        .args(["--duration", &format!("{seconds}s")])
        .args(["--random-input-len", "16"])
        .args(["--random-output-len", &plan.tokens.to_string()])
        .args(["--random-range-ratio", "0.5"])
        // No two runs ask the same.
        .args(["--seed", &(plan.seed + u64::from(task.run)).to_string()])
        .args(["--connect-timeout", "5s", "--first-timeout", "5s"])
        .args(["--idle-timeout", "3s", "--request-timeout", "20s"])
        .args(["--drain", "25s", "--keep", "text"])
        .args(["--no-summary", "--disable-tqdm"]);
    command
}

/// Draws what happens to a run that goes on for so long, and when, in order.
fn events(seconds: u32, state: &mut u64) -> Vec<(i64, Event)> {
    let span_ns = i64::from(seconds) * S - 2 * QUIET_NS;
    if span_ns <= 0 {
        return Vec::new();
    }
    let mut events = Vec::new();
    let kinds = [(Event::Stop, seconds / 20), (Event::Outage, seconds / 90)];
    for (event, count) in kinds {
        for _ in 0..count.max(1) {
            let at_ns = QUIET_NS + draw(state).cast_signed().rem_euclid(span_ns);
            events.push((at_ns, event));
        }
    }
    events.sort_unstable_by_key(|(at_ns, _)| *at_ns);
    events
}

/// A run while it goes on.
struct Watch<'a> {
    server: &'a Server,
    pid: Pid,
    /// Its folder under `/proc`.
    process: String,
    began_ns: i64,
    /// How late the last naps ended.
    late_ns: Vec<i64>,
    ran: Ran,
}

impl Watch<'_> {
    /// Watches it until it has ended by itself or been ended, and lets things happen to it.
    fn follow(
        &mut self,
        running: &mut Running,
        events: Vec<(i64, Event)>,
        is_over: &AtomicBool,
    ) -> Outcome<ExitStatus> {
        let first_ns = utc_now_ns();
        let length_ns = i64::from(self.ran.task.seconds) * S;
        let mut events = events.into_iter().peekable();
        let mut ticks = 0_u32;
        loop {
            if let Some(status) = running.0.try_wait()? {
                return Ok(status);
            }
            if is_over.load(Ordering::Acquire) {
                return Err("interrupted".into());
            }
            let at_ns = utc_now_ns() - first_ns;
            if at_ns < length_ns {
                while let Some((_, event)) = events.next_if(|(due_ns, _)| *due_ns <= at_ns) {
                    self.happen(event)?;
                }
                if ticks.is_multiple_of(10) {
                    self.sample();
                }
                if ticks.is_multiple_of(50) {
                    self.look_at_sockets();
                }
                ticks += 1;
            } else if self.ran.end_ns == 0 {
                self.end(running)?;
            } else if at_ns > length_ns + PATIENCE_NS {
                self.ran.faults.push("it did not end".to_owned());
                running.0.kill()?;
            }
            self.nap();
        }
    }

    fn nap(&mut self) {
        let from_ns = utc_now_ns();
        thread::sleep(Duration::from_millis(u64::from(TICK_MS)));
        self.late_ns
            .push(utc_now_ns() - from_ns - i64::from(TICK_MS) * MS);
        if self.late_ns.len() > 20 {
            self.late_ns.remove(0);
        }
    }

    /// Ends the run in the way that it is to end.
    fn end(&mut self, running: &mut Running) -> Outcome<()> {
        self.ran.napped_late_ns = self.late_ns.iter().copied().max().unwrap_or(0);
        self.ran.end_ns = utc_now_ns();
        match self.ran.task.ending {
            Ending::Kill => running.0.kill()?,
            Ending::Terminate => kill_process(self.pid, Signal::TERM)?,
            Ending::Whole => {}
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Outcome<()> {
        match event {
            Event::Stop => {
                let from_ns = utc_now_ns();
                kill_process(self.pid, Signal::STOP)?;
                thread::sleep(Duration::from_secs(1));
                kill_process(self.pid, Signal::CONT)?;
                self.ran.stops.push((from_ns, utc_now_ns()));
            }
            Event::Outage => self.server.go_down(2 * S),
        }
        Ok(())
    }

    /// Counts what the client holds. It may have ended meanwhile, which is no fault.
    fn sample(&mut self) {
        let count =
            |folder| fs::read_dir(format!("{}/{folder}", self.process)).map(Iterator::count);
        let stat = fs::read_to_string(format!("{}/stat", self.process));
        if let (Ok(descriptors), Ok(threads), Ok(stat)) = (count("fd"), count("task"), stat) {
            self.ran.samples.push((descriptors, threads));
            let since_s = (utc_now_ns() - self.began_ns) / MS;
            let since_s = f64::from(u32::try_from(since_s).unwrap_or(0)) / 1_000.0;
            self.ran.cpu_s = (cpu_s(&stat).unwrap_or(0.0), since_s);
        }
    }

    /// Looks for sockets of the client that lead anywhere but to loopback.
    fn look_at_sockets(&mut self) {
        let Ok(descriptors) = fs::read_dir(format!("{}/fd", self.process)) else {
            return;
        };
        let sockets: HashSet<String> = descriptors
            .filter_map(|entry| {
                let target = fs::read_link(entry.ok()?.path()).ok()?;
                let inode = target.to_str()?.strip_prefix("socket:[")?;
                Some(inode.trim_end_matches(']').to_owned())
            })
            .collect();
        for table in ["tcp", "tcp6", "udp", "udp6"] {
            let lines = fs::read_to_string(format!("{}/net/{table}", self.process));
            for line in lines.unwrap_or_default().lines().skip(1) {
                let fields: Vec<&str> = line.split_whitespace().collect();
                let [_, near, far, ..] = fields[..] else {
                    continue;
                };
                let is_ours = fields.get(9).is_some_and(|inode| sockets.contains(*inode));
                if is_ours && !(is_loopback(near) && is_loopback(far)) {
                    let fault = format!("a socket ({table}) from {near} to {far}");
                    self.ran.faults.push(fault);
                }
            }
        }
    }
}

/// Reads an address as the kernel prints it; one that is not set yet leads nowhere.
fn is_loopback(address: &str) -> bool {
    let host = address.split(':').next().unwrap_or_default();
    host.ends_with("7F") && host.len() == 8
        || host.ends_with("0000000000000000FFFF00000100007F")
        || host == "00000000000000000000000001000000"
        || host.bytes().all(|digit| digit == b'0')
}

/// Reads the CPU time out of `/proc/PID/stat`, in seconds.
pub(crate) fn cpu_s(stat: &str) -> Option<f64> {
    // The name of the program comes second, in parentheses, and may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(2);
    let ticks: Option<u32> = times.map(|time| time.parse::<u32>().ok()).sum();
    Some(f64::from(ticks?) / 100.0)
}
