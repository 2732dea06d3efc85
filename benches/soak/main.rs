//! A long run against a server that fails in every way that is known: `tokentape load` is driven
//! for the time given, and its tapes are held against the server's own ledger.
//!
//! The server writes down each token that it has handed to the system, and how each request ended.
//! The client is held up now and then (SIGSTOP), killed several times and started again at once
//! with a new tape, ended once by SIGTERM, and in the last run, which is half of the time, by
//! itself. Every token of an answer that ended well must be on the tape once and in its place, and
//! of a broken one every token that was written before the break. Two things may cost tokens: a
//! reset destroys what the client has not yet read, and a kill what is younger than 250 ms.
//!
//! `cargo bench --bench soak -- --minutes 60` prints what became of each fault, and exits with 1
//! when the tapes, the exit codes, or the client's memory, threads and files are not as they must
//! be. `--seconds 120` is a short run. All of it stays on loopback.

mod client;
mod fault;
mod judge;
mod ledger;
#[path = "../machine.rs"]
mod machine;
#[path = "../process.rs"]
mod process;
#[path = "../program.rs"]
mod program;
#[path = "../random.rs"]
mod random;
mod reply;
#[path = "../rows.rs"]
mod rows;
#[path = "../running.rs"]
mod running;
mod server;
mod tape;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};

use client::{Ending, Ran, Task, cpu_s};
use judge::Judge;
use program::{Outcome, each_flag, exit_code, say};
use server::Server;

fn main() -> ExitCode {
    exit_code(Plan::parse().and_then(|plan| run(&plan)))
}

/// What is run, for how long.
#[derive(Debug)]
struct Plan {
    tokentape: PathBuf,
    seconds: u32,
    rate: f64,
    tokens: u32,
    /// Kills; one for each ten minutes, and at least three, where nothing is said.
    kills: Option<u16>,
    seed: u64,
}

impl Plan {
    fn parse() -> Outcome<Self> {
        let mut plan = Self {
            tokentape: env!("CARGO_BIN_EXE_tokentape").into(),
            seconds: 3_600,
            rate: 40.0,
            tokens: 40,
            kills: None,
            seed: 1,
        };
        each_flag(|flag, value| {
            match flag {
                "--tokentape" => plan.tokentape = value()?.into(),
                "--minutes" => plan.seconds = value()?.parse::<u32>()? * 60,
                "--seconds" => plan.seconds = value()?.parse()?,
                "--rate" => plan.rate = value()?.parse()?,
                "--tokens" => plan.tokens = value()?.parse::<u32>()?.max(4),
                "--kills" => plan.kills = Some(value()?.parse()?),
                "--seed" => plan.seed = value()?.parse()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(plan)
    }

    /// The runs, of which the last one takes half of the time and the others share the rest.
    fn tasks(&self) -> Vec<Task> {
        let by_length = u16::try_from(self.seconds / 600).unwrap_or(u16::MAX).max(3);
        let kills = self.kills.unwrap_or(by_length);
        let half = self.seconds / 2;
        (0..kills + 2)
            .map(|run| {
                let (ending, seconds) = match run {
                    run if run < kills => (Ending::Kill, half / (u32::from(kills) + 1)),
                    run if run == kills => (Ending::Terminate, half / (u32::from(kills) + 1)),
                    _ => (Ending::Whole, half),
                };
                Task {
                    run,
                    seconds: seconds.max(1),
                    ending,
                    // Of even arrivals it is known how many there must be.
                    is_constant: ending == Ending::Whole || run % 2 == 1,
                }
            })
            .collect()
    }
}

/// Soaks, and judges; true when everything is as it must be.
fn run(plan: &Plan) -> Outcome<bool> {
    let is_over = Arc::new(AtomicBool::new(false));
    listen_for_signals(&is_over)?;
    let folder = std::env::temp_dir().join(format!("tokentape-soak-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    say(&format!(
        "# Soak\n\n{} s at {} requests/s of about {} tokens, seed {}; {}\n",
        plan.seconds,
        plan.rate,
        plan.tokens,
        plan.seed,
        machine::describe()
    ));
    let is_clean = soak(plan, &folder, &is_over);
    if matches!(is_clean, Ok(true)) {
        fs::remove_dir_all(&folder)?;
    } else {
        say(&format!("the tapes stay in {}", folder.display()));
    }
    is_clean
}

fn soak(plan: &Plan, folder: &Path, is_over: &AtomicBool) -> Outcome<bool> {
    let server = Server::start(plan.seed)?;
    let mut state = plan.seed;
    let mut runs: Vec<Ran> = Vec::new();
    for task in plan.tasks() {
        let ran = client::run((plan, folder), &server, task, &mut state, is_over)?;
        runs.push(ran);
    }
    let served_s = cpu_s(&fs::read_to_string("/proc/self/stat")?).unwrap_or(0.0);
    let shared = server.finish()?;
    let entries = shared.ledger.entries();
    let mut judge = Judge::new(plan, &shared.ledger, &entries);
    for ran in &runs {
        if is_over.load(Ordering::Acquire) {
            return Err("interrupted".into());
        }
        judge.judge(ran)?;
    }
    judge.summarize(served_s);
    Ok(judge.is_clean())
}

/// Has a signal end this program as any failure would: what it started ends with it.
fn listen_for_signals(is_over: &Arc<AtomicBool>) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let context = runtime.enter();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    drop(context);
    let is_over = Arc::clone(is_over);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        is_over.store(true, Ordering::Release);
    });
    Ok(())
}
