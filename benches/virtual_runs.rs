//! How long many runs in virtual time take, tapes included.
//!
//! `cargo bench --bench virtual_runs -- [RUNS] [REQUESTS]` simulates RUNS open loops of REQUESTS
//! requests each (1,000 and 1,000 by default), of 256 input and 80 output tokens at a rate just
//! below saturation, and writes each as a tape into a temporary folder. Statistics that need
//! hundreds of runs stand on this.

use std::path::Path;
use std::process::ExitCode;

use tokentape::capture::Manifest;
use tokentape::plan::Loop;
use tokentape::simulate::EngineSettings;
use tokentape::simulate::virtual_time::{Arrival, Lengths, open_loop};
use tokentape::time::clock::Clock;

fn main() -> ExitCode {
    // Cargo adds a flag of its own.
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|word| word.parse::<u32>().ok());
    let runs = numbers.next().unwrap_or(1_000);
    let requests = numbers.next().unwrap_or(1_000);
    match run_all(runs, requests) {
        Ok(report) => {
            print(&report);
            ExitCode::SUCCESS
        }
        Err(error) => {
            print(&format!("failed: {error}"));
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the program's result")]
fn print(text: &str) {
    println!("{text}");
}

fn run_all(runs: u32, requests: u32) -> Result<String, Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let clock = Clock::start();
    let (mut chunks, mut engine_ns) = (0, 0);
    for run in 0..runs {
        let before_ns = clock.now_ns();
        let recording = simulate(run, requests)?;
        engine_ns += clock.now_ns() - before_ns;
        let tape = folder.path().join(format!("run-{run}.tape"));
        let manifest = recording.write(&tape, Manifest::new(format!("run-{run}"), Loop::Open))?;
        chunks += manifest.counts.chunks;
        remove(&tape)?;
    }
    let all_ns = clock.now_ns();
    let seconds = |ns: i64| std::time::Duration::from_nanos(ns.unsigned_abs()).as_secs_f64();
    Ok(format!(
        "{runs} runs of {requests} requests, {chunks} chunks: {:.1} s, of which the engine {:.1} s",
        seconds(all_ns),
        seconds(engine_ns),
    ))
}

fn simulate(
    run: u32,
    requests: u32,
) -> Result<tokentape::simulate::virtual_time::Recording, Box<dyn std::error::Error>> {
    let settings = EngineSettings {
        jitter: 0.1,
        seed: u64::from(run),
        ..EngineSettings::default()
    };
    // Twenty a second, each at another offset in every run.
    let arrivals: Vec<Arrival> = (0..requests)
        .map(|index| Arrival {
            at_ns: i64::from(index) * 50_000_000 + i64::from(run % 50) * 1_000_000,
            lengths: Lengths {
                input_tokens: 256,
                output_tokens: 80,
            },
        })
        .collect();
    Ok(open_loop(&settings, &arrivals)?)
}

/// A thousand tapes at once would fill small disks.
fn remove(tape: &Path) -> std::io::Result<()> {
    std::fs::remove_dir_all(tape)
}
