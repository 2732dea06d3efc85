//! How late requests are sent, beside a bare loop that sleeps until the same due times.
//!
//! `tokentape` runs on one core against a server that answers at once on another, and its tape says for every
//! request when it was due and when it was sent. The bare loop sleeps with `clock_nanosleep` on the
//! client's core, and has nothing else to do. Both have the lateness of this machine in them, so
//! their ratio is the client's own.
//!
//! `cargo bench --bench pacing -- --pairs 3 --seconds 3` prints the tables, and exits with 1 when a
//! bar is missed; `--quick` is a short run. `--input-tokens 1024 --tokenizer PATH` has prompts made of that
//! length, which must not be in the way of a send: a run with 8 tokens beside it shows that. Before that stands how long the client takes to its
//! first request (`startup.rs`). On fewer than two cores it says so and does nothing.

mod answers;
mod connections;
mod http_request;
mod machine;
mod pinned;
mod process;
mod program;
mod rows;
mod stamping_server;
mod startup;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use pinned::{on_core, spawn_on, two_cores};
use process::{said, silence};
use program::{Outcome, each_flag, exit_code, say};
use rustix::io::Errno;
use rustix::thread::clock_nanosleep_absolute;
use rustix::time::{ClockId, Timespec};
use stamping_server::{Pace, Server, now_ns};
use tokentape::capture::schema::{RequestRow, Status};

/// The client's lateness at p99 may be this many times the bare loop's.
const RATIO_BAR: f64 = 2.0;
/// Lateness at p99 that is aimed at, at so many requests a second, in microseconds.
const AIMS_US: [(u32, f64); 2] = [(1_000, 200.0), (10_000, 1_000.0)];
/// A burst of this many is sent within so many microseconds.
const BURST_BAR_US: (u32, f64) = (256, 5_000.0);

const RATES_PER_S: [u32; 4] = [10, 100, 1_000, 10_000];
const BURSTS: [u32; 3] = [32, 256, 1_000];

/// The least that a client can meet: an answer at once.
const AT_ONCE: Pace = Pace {
    ttft_ns: 0,
    interval_ns: 0,
};

/// Time from the start of the bare loop to its first due time.
const LEAD_NS: i64 = 10_000_000;

const NS_PER_S: i64 = 1_000_000_000;

fn main() -> ExitCode {
    exit_code(Plan::parse().and_then(|plan| run(&plan)))
}

/// What is run.
#[derive(Debug)]
struct Plan {
    tokentape: PathBuf,
    pairs: usize,
    seconds: u32,
    starts: usize,
    /// Length of the prompts of `load`.
    input_tokens: u32,
    tokenizer: Option<PathBuf>,
}

impl Plan {
    fn parse() -> Outcome<Self> {
        let mut plan = Self {
            tokentape: env!("CARGO_BIN_EXE_tokentape").into(),
            pairs: 3,
            seconds: 3,
            starts: 20,
            input_tokens: 8,
            tokenizer: None,
        };
        each_flag(|flag, value| {
            match flag {
                "--tokentape" => plan.tokentape = value()?.into(),
                "--pairs" => plan.pairs = value()?.parse::<usize>()?.max(1),
                "--seconds" => plan.seconds = value()?.parse::<u32>()?.max(1),
                "--starts" => plan.starts = value()?.parse::<usize>()?.max(1),
                "--input-tokens" => plan.input_tokens = value()?.parse::<u32>()?.max(1),
                "--tokenizer" => plan.tokenizer = Some(value()?.into()),
                "--quick" => (plan.pairs, plan.seconds, plan.starts) = (1, 1, 3),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(plan)
    }
}

/// Runs everything; true when every bar is met.
fn run(plan: &Plan) -> Outcome<bool> {
    let Some((server_core, client_core)) = two_cores()? else {
        say("skipped: the server and the client need a core each");
        return Ok(true);
    };
    say(&format!(
        "{}; server on core {server_core}, client on core {client_core}\n",
        machine::describe()
    ));
    let folder = std::env::temp_dir().join(format!("tokentape-pacing-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = Server::start(server_core, AT_ONCE, None).and_then(|server| {
        let place = (&server, folder.as_path());
        let is_quick = startup::measure(&plan.tokentape, place, plan.starts)?;
        let bench = Bench {
            plan,
            folder: &folder,
            server: &server,
            client_core,
        };
        let is_punctual = bench.rates()?;
        let is_together = bench.bursts()?;
        Ok(is_quick && is_punctual && is_together)
    });
    fs::remove_dir_all(&folder)?;
    result
}

/// How requests fall due.
#[derive(Debug, Clone, Copy)]
enum Arrivals {
    Constant,
    Poisson,
    Trace,
}

/// What one run of the client showed; all times in nanoseconds, in the order of the due times.
struct Sends {
    due_ns: Vec<i64>,
    /// From due to handed to the wire.
    dispatch_late_ns: Vec<i64>,
    /// From due to sent, without the time that a connection took.
    send_late_ns: Vec<i64>,
    /// From the first due time to the last send.
    span_ns: i64,
}

/// One place to run programs at.
struct Bench<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    server: &'a Server,
    client_core: usize,
}

const RATE_HEADINGS: &str = "\
| arrivals | requests/s | n | sent late p50 us | p99 us | max us | dispatched late p99 us \
| bare p50 us | p99 us | max us | p99 to bare | |
|---|---|---|---|---|---|---|---|---|---|---|---|";

impl Bench<'_> {
    /// Measures schedules at a rate; true when every bar is met.
    fn rates(&self) -> Outcome<bool> {
        say(&format!(
            "lateness, medians of {} pairs of {} s, bar {RATIO_BAR:.0} times the bare loop\n\n\
             {RATE_HEADINGS}",
            self.plan.pairs, self.plan.seconds
        ));
        let mut is_met = true;
        for arrivals in [Arrivals::Constant, Arrivals::Poisson, Arrivals::Trace] {
            for rate_per_s in RATES_PER_S {
                is_met &= self.rate(arrivals, rate_per_s)?;
            }
        }
        say("");
        Ok(is_met)
    }

    fn rate(&self, arrivals: Arrivals, rate_per_s: u32) -> Outcome<bool> {
        let count = rate_per_s * self.plan.seconds;
        let mut pairs = Vec::with_capacity(self.plan.pairs);
        for _ in 0..self.plan.pairs {
            let sends = self.client(&mut self.paced(arrivals, rate_per_s, count)?, count)?;
            let bare = on_core(self.client_core, || sleep_until_each(&sends.due_ns))??;
            let [sent, dispatched, bare] =
                [sends.send_late_ns, sends.dispatch_late_ns, bare].map(Lateness::of);
            pairs.push((sent, dispatched, bare));
        }
        let sent = Lateness::median(pairs.iter().map(|pair| pair.0));
        let dispatched = Lateness::median(pairs.iter().map(|pair| pair.1));
        let bare = Lateness::median(pairs.iter().map(|pair| pair.2));
        let ratio = median(pairs.iter().map(|pair| pair.0.p99_us / pair.2.p99_us));
        let mut verdict = if ratio <= RATIO_BAR { "met" } else { "MISSED" }.to_owned();
        if let Some((_, aim_us)) = AIMS_US.iter().find(|(rate, _)| *rate == rate_per_s) {
            let word = if sent.p99_us <= *aim_us {
                "reached"
            } else {
                "missed"
            };
            write!(verdict, ", aim {aim_us:.0} us {word}")?;
        }
        say(&format!(
            "| {arrivals:?} | {rate_per_s} | {count} | {sent} | {:.1} | {bare} | {ratio:.2} | {verdict} |",
            dispatched.p99_us
        ));
        Ok(ratio <= RATIO_BAR)
    }

    /// Measures requests that are due at once; true when the bar is met.
    fn bursts(&self) -> Outcome<bool> {
        let (bar_count, bar_us) = BURST_BAR_US;
        say(&format!(
            "bursts, medians of {} runs\n\n\
             | released together | dispatched within us | sent within us, connects included | |\n\
             |---|---|---|---|",
            self.plan.pairs
        ));
        let mut is_met = true;
        for count in BURSTS {
            let mut runs = Vec::with_capacity(self.plan.pairs);
            for _ in 0..self.plan.pairs {
                let sends = self.client(&mut self.load(count), count)?;
                let dispatched_ns = sends.dispatch_late_ns.iter().copied().max();
                runs.push((us(dispatched_ns.unwrap_or(0)), us(sends.span_ns)));
            }
            let dispatched_us = median(runs.iter().map(|run| run.0));
            let span_us = median(runs.iter().map(|run| run.1));
            let verdict = match (count == bar_count, span_us <= bar_us) {
                (false, _) => "",
                (true, true) => "met",
                (true, false) => {
                    is_met = false;
                    "MISSED"
                }
            };
            say(&format!(
                "| {count} | {dispatched_us:.0} | {span_us:.0} | {verdict} |"
            ));
        }
        Ok(is_met)
    }

    /// Returns the command that sends `count` requests at a rate.
    fn paced(&self, arrivals: Arrivals, rate_per_s: u32, count: u32) -> Outcome<Command> {
        let rate = rate_per_s.to_string();
        let process = match arrivals {
            Arrivals::Trace => {
                let path = self.folder.join("trace.csv");
                fs::write(&path, trace(rate_per_s, count))?;
                let mut command = self.command("replay");
                command.arg(path).args(["--format", "canonical"]);
                return Ok(command);
            }
            Arrivals::Constant => "constant",
            Arrivals::Poisson => "poisson",
        };
        let mut command = self.load(count);
        command.args(["--arrivals", process, "--request-rate", &rate]);
        Ok(command)
    }

    /// Returns the command that sends `count` requests at once.
    fn load(&self, count: u32) -> Command {
        let mut command = self.command("load");
        command
            .args(["--num-prompts", &count.to_string()])
            .args(["--random-input-len", &self.plan.input_tokens.to_string()])
            .args(["--random-output-len", "1"]);
        if let Some(tokenizer) = &self.plan.tokenizer {
            command.arg("--tokenizer").arg(tokenizer);
        }
        command
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = Command::new(&self.plan.tokentape);
        command
            .args([verb, "--backend", "vllm", "--model", "minimal"])
            .args(["--no-summary", "--disable-tqdm", "--force", "--base-url"])
            .arg(format!("http://{}", self.server.address))
            .arg("--out")
            .arg(self.tape());
        command
    }

    fn tape(&self) -> PathBuf {
        self.folder.join("pacing.tape")
    }

    /// Runs the client on its core to its end, and reads its tape.
    fn client(&self, command: &mut Command, count: u32) -> Outcome<Sends> {
        let errors = self.folder.join("stderr");
        silence(command, &errors)?;
        let status = spawn_on(self.client_core, command)?.wait()?;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}: {}", said(&errors)?).into());
        }
        let mut requests = Vec::new();
        rows::each(&self.tape().join("requests"), RequestRow::rows, |row| {
            requests.push(row);
        })?;
        let sends = Sends::of(requests)?;
        if sends.due_ns.len() != usize::try_from(count)? {
            return Err(format!("{} of {count} requests were sent", sends.due_ns.len()).into());
        }
        Ok(sends)
    }
}

impl Sends {
    fn of(mut requests: Vec<RequestRow>) -> Outcome<Self> {
        requests.sort_by_key(|row| row.intended_ns);
        let mut sends = Self {
            due_ns: Vec::new(),
            dispatch_late_ns: Vec::new(),
            send_late_ns: Vec::new(),
            span_ns: 0,
        };
        for row in &requests {
            let (Status::Ok, Some(dispatched_ns), Some(sent_ns)) =
                (row.status, row.dispatched_ns, row.sent_ns)
            else {
                let message = row.error_message.as_deref().unwrap_or("");
                return Err(format!("request {} failed: {message}", row.request_id).into());
            };
            let due_ns = row.intended_ns + row.queued_ns;
            sends.due_ns.push(due_ns);
            sends.dispatch_late_ns.push(dispatched_ns - due_ns);
            sends
                .send_late_ns
                .push(sent_ns - due_ns - row.connect_ns.unwrap_or(0));
            sends.span_ns = sends.span_ns.max(sent_ns - requests[0].intended_ns);
        }
        Ok(sends)
    }
}

/// Writes a trace of `count` requests whose gaps are even between 0 and twice their mean.
fn trace(rate_per_s: u32, count: u32) -> String {
    let mut text = "arrival_ns,input_tokens,output_tokens\n".to_owned();
    let mean_gap_ns = 1_000_000_000 / u64::from(rate_per_s);
    let (mut at_ns, mut state) = (0, 1_u64);
    for _ in 0..count {
        text.push_str(&format!("{at_ns},8,1\n"));
        // A linear congruential generator; its upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        at_ns += ((state >> 33) * 2 * mean_gap_ns) >> 31;
    }
    text
}

/// The bare loop: sleeps until each due time, and returns how late it woke, in nanoseconds.
fn sleep_until_each(due_ns: &[i64]) -> Outcome<Vec<i64>> {
    let start_ns = now_ns(ClockId::Monotonic) + LEAD_NS - due_ns.first().copied().unwrap_or(0);
    let mut late_ns = Vec::with_capacity(due_ns.len());
    for due_ns in due_ns {
        let at_ns = start_ns + due_ns;
        let at = Timespec {
            tv_sec: at_ns / NS_PER_S,
            tv_nsec: at_ns % NS_PER_S,
        };
        loop {
            match clock_nanosleep_absolute(ClockId::Monotonic, &at) {
                Ok(()) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        late_ns.push(now_ns(ClockId::Monotonic) - at_ns);
    }
    Ok(late_ns)
}

/// Percentiles of lateness, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Lateness {
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

impl Lateness {
    fn of(mut late_ns: Vec<i64>) -> Self {
        late_ns.sort_unstable();
        // The nearest rank that at least so many percent are at or below.
        let at = |percent: usize| {
            let rank = (late_ns.len() * percent).div_ceil(100).max(1);
            us(late_ns.get(rank - 1).copied().unwrap_or(0))
        };
        Self {
            p50_us: at(50),
            p99_us: at(99),
            max_us: at(100),
        }
    }

    fn median(all: impl Iterator<Item = Self> + Clone) -> Self {
        Self {
            p50_us: median(all.clone().map(|late| late.p50_us)),
            p99_us: median(all.clone().map(|late| late.p99_us)),
            max_us: median(all.map(|late| late.max_us)),
        }
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{:.1} | {:.1} | {:.1}",
            self.p50_us, self.p99_us, self.max_us
        )
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "hours, to the nanosecond, still fit"
)]
fn us(ns: i64) -> f64 {
    ns as f64 / 1_000.0
}

/// The middle value, or the upper of the two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
