//! How often comparisons alarm falsely, and whether they find what they say they would.
//!
//! `cargo bench --bench false_alarms -- [apart|paired|repeats] [PAIRS [SLOWER [FIRST]]]` (200 pairs of
//! runs that have nothing in common by default, from number 0 on) simulates pairs of runs in virtual
//! time that differ in nothing but their draws, analyses each pair as `analyze` does, and counts
//! those with any verdict of better or worse: of 200, 3 to 19 are what a chance of 5 percent gives
//! with 95 percent confidence. Then it slows the server of every second run by 5 percent, in runs as
//! long as the pilot pairs said was needed, and counts how often that is found (SLOWER pairs, by
//! default a fifth).
//!
//! `paired` replays one schedule in both runs, with other times of the server's steps. `repeats`
//! compares two groups of three runs each.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tokentape::analyze::{Analysis, Cell, Options, Slo, analyze};
use tokentape::capture::Manifest;
use tokentape::plan::Loop;
use tokentape::runtime::block_on;
use tokentape::schedule::{ArrivalTimes, Process, Ramp};
use tokentape::simulate::EngineSettings;
use tokentape::simulate::virtual_time::{Arrival, Lengths, open_loop};

type Failure = Box<dyn std::error::Error>;

/// Requests a second: about two thirds of what the server can do.
const RATE: f64 = 6.0;

/// Requests of one run of an A/A pair.
const REQUESTS: u32 = 2_000;

/// The most requests that a run is made long to.
const MOST_REQUESTS: u32 = 60_000;

/// The number by which a slower server is to be found.
const SOUGHT: (&str, &str) = ("tpot", "p50");

/// Half of the requests meet it.
const TTFT_GOAL_NS: i64 = 150_000_000;

/// What the two sides of a comparison have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Design {
    Apart,
    Paired,
    Repeats,
}

/// Runs of one side that repeat each other.
const REPEATS: u64 = 3;

/// What a side is grouped by.
const SIDE: &str = "side";

fn main() -> ExitCode {
    // Cargo adds a flag of its own.
    let words: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = words.iter().filter_map(|word| word.parse::<u32>().ok());
    let pairs = numbers.next().unwrap_or(200);
    let slower = numbers.next().unwrap_or(pairs.div_ceil(5));
    let first = numbers.next().unwrap_or(0);
    let has = |name: &str| words.iter().any(|word| word == name);
    let design = match (has("paired"), has("repeats")) {
        (true, _) => Design::Paired,
        (_, true) => Design::Repeats,
        _ => Design::Apart,
    };
    let outcome = false_alarms(design, first..first + pairs)
        .and_then(|()| slowdowns(design, first..first + slower));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
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

fn false_alarms(design: Design, pairs: Range<u32>) -> Result<(), Failure> {
    let count = pairs.len();
    let mut alarms = 0;
    let mut by_number = std::collections::BTreeMap::<String, [u32; 3]>::new();
    for pair in pairs {
        let seeds = [2 * u64::from(pair), 2 * u64::from(pair) + 1];
        let analysis = compared(design, seeds, REQUESTS, 1.0)?;
        let mut is_alarm = false;
        for (number, verdict) in verdicts(&analysis) {
            let counts = by_number.entry(number).or_default();
            match verdict.as_str() {
                "better" | "worse" => {
                    is_alarm = true;
                    counts[0] += 1;
                }
                "no difference seen" => counts[1] += 1,
                _ => counts[2] += 1,
            }
        }
        alarms += u32::from(is_alarm);
    }
    print(&format!(
        "{count} pairs without a difference: {alarms} with an alarm"
    ));
    for (number, [alarmed, none, lacking]) in by_number {
        print(&format!(
            "  {number:<24} {alarmed} alarms, {none} no difference seen, {lacking} not enough data"
        ));
    }
    Ok(())
}

fn slowdowns(design: Design, pairs: Range<u32>) -> Result<(), Failure> {
    let count = pairs.len();
    if count == 0 {
        return Ok(());
    }
    let (mut found, mut needed) = (0, Vec::new());
    for pair in pairs {
        let seeds = [
            1_000_000 + 2 * u64::from(pair),
            1_000_001 + 2 * u64::from(pair),
        ];
        let pilot = compared(design, seeds, REQUESTS, 1.0)?;
        let Some(times) = number(&pilot, SOUGHT, "times_as_long") else {
            needed.push(f64::NAN);
            continue;
        };
        needed.push(times);
        let requests = (f64::from(REQUESTS) * times.max(0.5)).ceil();
        let requests = requests.min(f64::from(MOST_REQUESTS));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and the most"
        )]
        let requests = requests as u32;
        let seeds = seeds.map(|seed| seed + 1_000_000);
        let slower = compared(design, seeds, requests, 1.05)?;
        let is_found = verdicts(&slower).into_iter().any(|(number, verdict)| {
            number == format!("{} {}", SOUGHT.0, SOUGHT.1) && verdict == "worse"
        });
        found += u32::from(is_found);
    }
    needed.sort_by(f64::total_cmp);
    let middle = needed.get(needed.len() / 2).copied().unwrap_or(f64::NAN);
    print(&format!(
        "{count} pairs with a server that is 5 % slower, {middle:.2} times as long (median) as \
         {REQUESTS} requests: {found} found by {} {}",
        SOUGHT.0, SOUGHT.1
    ));
    Ok(())
}

/// The verdicts of a comparison, by number.
fn verdicts(analysis: &Analysis) -> Vec<(String, String)> {
    let Some(table) = analysis.table("differences") else {
        return Vec::new();
    };
    let verdict = |row: &Vec<Cell>| {
        let text = |column| table.cell(row, column)?.text();
        let number = format!("{} {}", text("metric")?, text("stat")?);
        Some((number.replace("_intended", ""), text("verdict")?.to_owned()))
    };
    table.rows.iter().filter_map(verdict).collect()
}

fn number(analysis: &Analysis, (metric, stat): (&str, &str), column: &str) -> Option<f64> {
    let table = analysis.table("differences")?;
    let is = |row: &[Cell], column, word| {
        let cell = table.cell(row, column);
        cell.and_then(Cell::text) == Some(word)
    };
    let row = table
        .rows
        .iter()
        .find(|row| is(row, "metric", metric) && is(row, "stat", stat))?;
    table.cell(row, column)?.number()
}

/// Two sides, the second on a server that is `slower` times as slow, analysed.
fn compared(
    design: Design,
    seeds: [u64; 2],
    requests: u32,
    slower: f64,
) -> Result<Analysis, Failure> {
    let folder = tempfile::tempdir()?;
    let mut tapes = Vec::new();
    let repeats = if design == Design::Repeats {
        REPEATS
    } else {
        1
    };
    for (side, factor) in [(0, 1.0), (1, slower)] {
        for repeat in 0..repeats {
            let seed = seeds[side] + 10_000_000 * repeat;
            let run = Run {
                name: format!("{}{repeat}", ["a", "b"][side]),
                side: ["a", "b"][side],
                seed,
                schedule: if design == Design::Paired {
                    seeds[0]
                } else {
                    seed
                },
                requests,
                slower: factor,
            };
            let tape = folder.path().join(format!("{}.tape", run.name));
            run.record(&tape)?;
            tapes.push(tape);
        }
    }
    let options = Options {
        only: vec!["differences".to_owned()],
        by: (design == Design::Repeats).then(|| SIDE.to_owned()),
        slos: vec![Slo {
            metric: "ttft".to_owned(),
            limit_ns: TTFT_GOAL_NS,
        }],
        ..Options::default()
    };
    let tapes: &[PathBuf] = &tapes;
    Ok(block_on(async { analyze(tapes, &options).await })??)
}

/// One run.
struct Run {
    name: String,
    side: &'static str,
    /// Draws the times of the server's steps.
    seed: u64,
    /// Draws arrivals and lengths.
    schedule: u64,
    requests: u32,
    slower: f64,
}

impl Run {
    fn record(&self, tape: &Path) -> Result<(), Failure> {
        let settings = EngineSettings {
            jitter: 0.1,
            seed: self.seed,
            decode_base_ns: scaled(12_000_000, self.slower),
            decode_per_sequence_ns: scaled(150_000, self.slower),
            step_overhead_ns: scaled(500_000, self.slower),
            ..EngineSettings::default()
        };
        let count = (Some(u64::from(self.requests)), None);
        let ramp = Ramp::Steady(RATE);
        let times = ArrivalTimes::new(Process::Poisson, ramp, self.schedule, count)?;
        let arrivals: Vec<Arrival> = (0..)
            .zip(times)
            .map(|(index, at_ns)| Arrival {
                at_ns,
                lengths: lengths(self.schedule, index),
            })
            .collect();
        let recording = open_loop(&settings, &arrivals)?;
        let mut manifest = Manifest::new(self.name.clone(), Loop::Open);
        manifest
            .labels
            .insert(SIDE.to_owned(), self.side.to_owned());
        recording.write(tape, manifest)?;
        Ok(())
    }
}

/// Lengths that vary as those of conversations do: a few are ten times as long as most.
fn lengths(seed: u64, index: u64) -> Lengths {
    // Two words out of a hash: prompts and answers are independent.
    let word = |salt: u64| {
        let mut state = seed
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .wrapping_add(index.wrapping_mul(0xbf58_476d_1ce4_e5b9))
            .wrapping_add(salt);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    };
    let long = |word: u64| if word.is_multiple_of(10) { 5 } else { 1 };
    let [input, output] = [word(1), word(2)];
    let spread =
        |word: u64, from: u32, width: u64| from + u32::try_from((word >> 8) % width).unwrap_or(0);
    Lengths {
        input_tokens: spread(input, 64, 512) * long(input),
        output_tokens: spread(output, 16, 160) * long(output),
    }
}

fn scaled(ns: i64, factor: f64) -> i64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "milliseconds in nanoseconds"
    )]
    let scaled = (ns as f64 * factor).round() as i64;
    scaled
}
