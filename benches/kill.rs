//! What a killed run has lost: `tokentape load` is killed at random moments, and what its tape
//! gives back is held against what had been sent to it.
//!
//! A simulated server writes its send time into every token (`simulate --stamp`). Between it and
//! the client stands a tap, which passes bytes on and keeps a copy. After the kill, `tokentape sql`
//! recovers the tape (every tenth time after `tokentape analyze`). Every token that had a stamp
//! older than 250 ms at the kill must be on the tape, none twice, and each answer without a hole.
//!
//! `cargo bench --bench kill -- --times 100` prints what was lost, and exits with 1 when anything
//! else was. The machine wants a core to spare: a client that is not let run for a fifth of a
//! second takes nothing in that time, which can't be told from a loss.

mod program;
mod random;
mod running;
mod simulated;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use program::{Outcome, each_flag, exit_code, say};
use random::draw;
use running::Running;
use simulated::Simulated;
use tokentape::time::clock::utc_now_ns;

/// What a kill may cost, by the tape's contract.
const LOSS_BAR_NS: i64 = 250_000_000;

/// The exit code of `tokentape analyze` where no request has succeeded, as where all were killed.
const NOTHING_SUCCEEDED: i32 = 3;

/// How long a client may take to send its first request, in milliseconds.
const START_PATIENCE_MS: u32 = 60_000;

const MS: i64 = 1_000_000;

fn main() -> ExitCode {
    exit_code(Plan::parse().and_then(|plan| run(&plan)))
}

/// How often is killed, and what.
#[derive(Debug)]
struct Plan {
    tokentape: PathBuf,
    times: u32,
    streams: usize,
    rate: u32,
    seed: u64,
}

impl Plan {
    fn parse() -> Outcome<Self> {
        let mut plan = Self {
            tokentape: env!("CARGO_BIN_EXE_tokentape").into(),
            times: 100,
            streams: 32,
            rate: 50,
            seed: 1,
        };
        each_flag(|flag, value| {
            match flag {
                "--tokentape" => plan.tokentape = value()?.into(),
                "--times" => plan.times = value()?.parse()?,
                "--streams" => plan.streams = value()?.parse()?,
                "--rate" => plan.rate = value()?.parse()?,
                "--seed" => plan.seed = value()?.parse()?,
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(plan)
    }
}

/// Kills as often as was asked for; true when no more was lost than may be.
fn run(plan: &Plan) -> Outcome<bool> {
    let rate = plan.rate.to_string();
    let flags = ["--stream-ttft", "20ms", "--stream-rate", &rate];
    let server = Simulated::start(&plan.tokentape, &flags, |command| Ok(command.spawn()?))?;
    say(&format!(
        "{} kills, seed {}; {} streams at {} tokens a second each\n",
        plan.times, plan.seed, plan.streams, plan.rate
    ));
    let mut draws = plan.seed;
    let mut losses = Vec::new();
    let mut faults = 0_u32;
    for number in 1..=plan.times {
        let folder = std::env::temp_dir().join(format!("tokentape-kill-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        // From the first token up to when many answers have ended and others begun.
        let after_ms = draw(&mut draws) % 3_000;
        let killed = kill_once(plan, &folder, server.address, after_ms);
        let found = killed.and_then(|killed| {
            let is_analyzed_first = number % 10 == 0;
            let kept = recover(plan, &folder, is_analyzed_first)?;
            Ok((killed.compare(&kept), kept.len()))
        });
        fs::remove_dir_all(&folder)?;
        let (loss, kept) = found?;
        if !loss.faults.is_empty() {
            faults += 1;
            say(&format!(
                "{number}, killed after {after_ms} ms: {}",
                loss.faults.join("; ")
            ));
        }
        if number % 10 == 0 {
            say(&format!("{number} done; {kept} tokens on the last tape"));
        }
        losses.push(loss);
    }
    summarize(losses);
    say(&format!(
        "{faults} of {} kills broke the promise",
        plan.times
    ));
    Ok(faults == 0)
}

/// Prints the distribution of what was lost.
fn summarize(losses: Vec<Loss>) {
    let tokens: usize = losses.iter().map(|loss| loss.tokens).sum();
    let passed: usize = losses.iter().map(|loss| loss.passed).sum();
    let mut ages_ns: Vec<i64> = losses.iter().map(|loss| loss.oldest_ns).collect();
    ages_ns.sort_unstable();
    let at = |percent: usize| {
        let rank = (ages_ns.len().saturating_sub(1) * percent).div_ceil(100);
        let age_ns = ages_ns.get(rank).copied().unwrap_or(0);
        format!("{}.{:01} ms", age_ns / MS, age_ns % MS / (MS / 10))
    };
    say(&format!(
        "\n{tokens} of {passed} tokens lost; age of the oldest lost token at the kill: \
         p50 {}, p90 {}, max {}",
        at(50),
        at(90),
        at(100)
    ));
}

/// A client that has been killed, and what had been passed on to it.
struct Killed {
    at_ns: i64,
    /// The stamp of every token that was written to the client's socket, and how often.
    passed: HashMap<i64, u32>,
}

/// What a kill has cost.
struct Loss {
    passed: usize,
    tokens: usize,
    /// Age of the oldest lost token when the client was killed; 0 where none was lost.
    oldest_ns: i64,
    /// What must not be.
    faults: Vec<String>,
}

/// A token on the tape.
struct Kept {
    key: (u64, u8),
    seq: u32,
    /// One a token; none on events that bear none.
    stamps_ns: Vec<i64>,
}

/// Starts a load and kills it `after_ms` after the first byte that it is sent.
fn kill_once(plan: &Plan, folder: &Path, server: SocketAddr, after_ms: u64) -> Outcome<Killed> {
    let tap = Tap::start(server)?;
    let url = format!("http://{}", tap.address);
    let streams = plan.streams.to_string();
    let mut command = Command::new(&plan.tokentape);
    command
        .args([
            "load",
            "--base-url",
            &url,
            "--backend",
            "openai",
            "--model",
            "simulated",
        ])
        .args(["--num-prompts", "100000", "--max-concurrency", &streams])
        .args(["--random-input-len", "8", "--random-output-len", "40"])
        .args(["--keep", "text", "--no-summary", "--out", "run.tape"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut client = Running(command.spawn()?);
    // Starting takes a while of its own, on a busy machine seconds.
    for _ in 0..START_PATIENCE_MS {
        if tap.passed.has_begun.load(Ordering::Acquire) {
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    thread::sleep(Duration::from_millis(after_ms));
    let at_ns = utc_now_ns();
    client.0.kill()?;
    client.0.wait()?;
    let passed = tap.stop();
    Ok(Killed { at_ns, passed })
}

impl Killed {
    /// Holds what is on the tape against what was passed on.
    fn compare(&self, kept: &[Kept]) -> Loss {
        let mut faults = Vec::new();
        let mut stamps: HashMap<i64, u32> = HashMap::new();
        let mut answers: BTreeMap<(u64, u8), Vec<u32>> = BTreeMap::new();
        for row in kept {
            answers.entry(row.key).or_default().push(row.seq);
            for stamp_ns in &row.stamps_ns {
                *stamps.entry(*stamp_ns).or_default() += 1;
            }
        }
        for ((request_id, attempt), mut seqs) in answers {
            seqs.sort_unstable();
            if !seqs.iter().copied().eq((0..).take(seqs.len())) {
                faults.push(format!(
                    "request {request_id}.{attempt} has a hole or a double"
                ));
            }
        }
        let mut lost = Vec::new();
        for (stamp_ns, times) in &self.passed {
            let on_tape = stamps.remove(stamp_ns).unwrap_or(0);
            if on_tape > *times {
                faults.push(format!("the token of {stamp_ns} is there {on_tape} times"));
            } else if on_tape < *times {
                lost.push(self.at_ns - stamp_ns);
            }
        }
        if !stamps.is_empty() {
            faults.push(format!("{} tokens that nobody sent", stamps.len()));
        }
        let too_old = lost.iter().filter(|age_ns| **age_ns > LOSS_BAR_NS).count();
        if too_old > 0 {
            faults.push(format!("{too_old} lost tokens were older than 250 ms"));
        }
        Loss {
            passed: self.passed.len(),
            tokens: lost.len(),
            oldest_ns: lost.into_iter().max().unwrap_or(0).max(0),
            faults,
        }
    }
}

/// Lets the program recover the tape, and returns its events; none where the client was killed
/// before it had a tape.
fn recover(plan: &Plan, folder: &Path, is_analyzed_first: bool) -> Outcome<Vec<Kept>> {
    if !folder.join("run.tape/manifest.json").exists() {
        return Ok(Vec::new());
    }
    let sql = "SELECT request_id, attempt, seq, coalesce(text, '') AS text FROM chunks";
    let ask = |words: &[&str]| -> Outcome<String> {
        let output = Command::new(&plan.tokentape)
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .output()?;
        if !matches!(output.status.code(), Some(0 | NOTHING_SUCCEEDED)) {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("`tokentape {}`: {said}", words[0]).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    };
    if is_analyzed_first {
        ask(&["analyze", "run.tape"])?;
    }
    let table = ask(&["sql", "run.tape", "-c", sql, "--format", "csv"])?;
    table.lines().skip(1).map(parse_row).collect()
}

fn parse_row(line: &str) -> Outcome<Kept> {
    let mut fields = line.splitn(4, ',');
    let mut field = || fields.next().ok_or(format!("`{line}` has too few fields"));
    let key = (field()?.parse()?, field()?.parse()?);
    let seq = field()?.parse()?;
    Ok(Kept {
        key,
        seq,
        stamps_ns: stamps(field()?.trim_matches('"')).collect(),
    })
}

/// Reads the send times in a text, ` RECEIVED:SENT` or ` SENT` a token.
fn stamps(text: &str) -> impl Iterator<Item = i64> {
    let tokens = text.split_whitespace();
    tokens.filter_map(|token| token.rsplit(':').next()?.parse().ok())
}

/// What the threads of a tap share.
struct Passed {
    /// What every connection wrote to the client; the pumps append, the bench reads at the end.
    streams: Mutex<Vec<Vec<u8>>>,
    /// The client has been sent something.
    has_begun: AtomicBool,
    is_over: AtomicBool,
}

/// A relay between the client and the server that keeps what it passes on to the client.
struct Tap {
    address: SocketAddr,
    passed: Arc<Passed>,
    acceptor: thread::JoinHandle<()>,
}

impl Tap {
    fn start(server: SocketAddr) -> Outcome<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let passed = Arc::new(Passed {
            streams: Mutex::default(),
            has_begun: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let shared = Arc::clone(&passed);
        let acceptor = thread::spawn(move || accept(&listener, server, &shared));
        Ok(Self {
            address,
            passed,
            acceptor,
        })
    }

    /// Ends with the client, and returns the stamps that were passed on to it.
    fn stop(self) -> HashMap<i64, u32> {
        self.passed.is_over.store(true, Ordering::Release);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
        let _ = self.acceptor.join();
        let streams = self.passed.streams.lock();
        let mut stamps = HashMap::new();
        for stream in streams.unwrap_or_else(PoisonError::into_inner).iter() {
            count_stamps(&String::from_utf8_lossy(stream), &mut stamps);
        }
        stamps
    }
}

/// Takes connections until the tap is over, then waits for the pumps of all of them.
fn accept(listener: &TcpListener, server: SocketAddr, passed: &Arc<Passed>) {
    let mut pumps = Vec::new();
    while let Ok((client, _)) = listener.accept() {
        if passed.is_over.load(Ordering::Acquire) {
            break;
        }
        let Ok(upstream) = TcpStream::connect(server) else {
            continue;
        };
        let both = (client.try_clone(), upstream.try_clone());
        let (Ok(client_out), Ok(upstream_out)) = both else {
            continue;
        };
        let _ = client.set_nodelay(true);
        let _ = upstream.set_nodelay(true);
        pumps.push(thread::spawn(move || {
            drop(pump(client, upstream_out, &AtomicBool::default()));
        }));
        let passed = Arc::clone(passed);
        pumps.push(thread::spawn(move || {
            let copy = pump(upstream, client_out, &passed.has_begun);
            let streams = passed.streams.lock();
            streams.unwrap_or_else(PoisonError::into_inner).push(copy);
        }));
    }
    for pump in pumps {
        let _ = pump.join();
    }
}

/// Passes bytes on until either side is gone, and returns those that were taken.
fn pump(mut from: TcpStream, mut to: TcpStream, has_begun: &AtomicBool) -> Vec<u8> {
    let mut passed = Vec::new();
    let mut buffer = [0; 16 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
        passed.extend_from_slice(&buffer[..read]);
        has_begun.store(true, Ordering::Release);
    }
    // The other direction's pump ends with this one.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    passed
}

/// Counts the stamps in whole events of a stream.
fn count_stamps(stream: &str, stamps: &mut HashMap<i64, u32>) {
    for part in stream.split("\"text\":\"").skip(1) {
        // An event that was cut, or whose blank line did not come, was never whole.
        let Some((event, _)) = part.split_once("\n\n") else {
            continue;
        };
        let text = event.split('"').next().unwrap_or_default();
        for stamp_ns in self::stamps(text) {
            *stamps.entry(stamp_ns).or_default() += 1;
        }
    }
}
