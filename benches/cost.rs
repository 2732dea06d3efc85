//! What measuring costs: the client beside the floor, on the same streams, in one run.
//!
//! The server of `stamping_server.rs`, whose tokens say when they were sent, runs on one core; on another, in turn, the
//! bare reader of `epoll_floor.rs`, `tokentape load` that keeps the text (its stamps show how
//! precise it is), and `tokentape load` that does not (how it is used, and how large its tape is).
//! The client's CPU time is that of its whole process, from start to the finished tape; that of
//! the floor ends with the last stream.
//!
//! `cargo bench --bench cost -- --pairs 5 --streams 1000 --rate 20 --tokens 400` prints a table,
//! and exits with 1 when a bar is missed. On fewer than two cores it says so and does nothing. With
//! `--starts-per-s 1000` the requests are sent one after another; else all at once, which shows how
//! a burst is borne: most of its TTFT error is the time that the server takes to read it.
//! `--other "--readers 2"`, as often as wanted, runs `tokentape load` once more in each pair, with these
//! flags, and holds its CPU time to that of the plain one: `--other "--backend ollama"` for another
//! protocol, `--other --insecure` for TLS, with `--keep text` for its read lag. `--plain "--backend
//! openai-chat"` gives flags to the plain one and to the one with text.
//! `cost serve --rate 20 --ttft-ms 50 --core 0` runs the server alone, until its stdin closes.

mod answers;
mod connections;
#[path = "epoll_floor.rs"]
mod epoll_floor;
mod http_request;
mod machine;
mod pinned;
mod process;
mod program;
mod rows;
mod running;
mod stamping_server;
mod tape;

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use epoll_floor::{cpu_ticks, peak_rss_bytes};
use pinned::{spawn_on, two_cores};
use process::{said, silence};
use program::{Outcome, each_flag, exit_code, say};
use rcgen::{CertificateParams, KeyPair};
use running::Running;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde_json::Value;
use stamping_server::{Pace, Server};

/// The client's CPU time may be this many times the floor's.
const CPU_BAR: f64 = 1.5;
/// The client's inter-token error at p99 may be this many times the floor's.
const ERROR_BAR: f64 = 2.0;
/// The client's TTFT error at p50, in nanoseconds.
const TTFT_BAR_NS: f64 = 200_000.0;
/// The client's peak memory, in bytes.
const MEMORY_BAR: f64 = 150.0 * 1_048_576.0;
/// Bytes of the tape for each chunk, without text.
const TAPE_BAR: f64 = 9.0;

/// The server's own time to the first token.
const TTFT_NS: i64 = 50_000_000;

const NS_PER_S: i64 = 1_000_000_000;

/// How often the memory of a running client is looked at.
const GLANCE: Duration = Duration::from_millis(10);

fn main() -> ExitCode {
    // The server must not pause when its connections outgrow a table.
    tokentape::load::raise_open_files();
    match std::env::args().nth(1).as_deref() {
        Some("floor") => epoll_floor::main(),
        Some("serve") => exit_code(serve()),
        _ => exit_code(Plan::parse().and_then(|plan| run(&plan))),
    }
}

/// What is run, and where.
#[derive(Debug)]
struct Plan {
    tokentape: PathBuf,
    pairs: usize,
    streams: usize,
    tokens: usize,
    rate: u32,
    /// Requests begun in a second; `None` begins all at once.
    starts_per_s: Option<u32>,
    /// Flags of the client that is held to the floor.
    plain: String,
    /// Flags of further clients in each pair.
    others: Vec<String>,
}

impl Plan {
    fn parse() -> Outcome<Self> {
        let mut plan = Self {
            tokentape: env!("CARGO_BIN_EXE_tokentape").into(),
            pairs: 5,
            streams: 1_000,
            tokens: 400,
            rate: 20,
            starts_per_s: None,
            plain: String::new(),
            others: Vec::new(),
        };
        each_flag(|flag, value| {
            match flag {
                "--tokentape" => plan.tokentape = value()?.into(),
                "--pairs" => plan.pairs = value()?.parse()?,
                "--streams" => plan.streams = value()?.parse()?,
                "--tokens" => plan.tokens = value()?.parse()?,
                "--rate" => plan.rate = value()?.parse()?,
                "--starts-per-s" => plan.starts_per_s = Some(value()?.parse()?),
                "--plain" => plan.plain = value()?,
                "--other" => plan.others.push(value()?),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(plan)
    }
}

impl Plan {
    fn pace(&self) -> Pace {
        Pace {
            ttft_ns: TTFT_NS,
            interval_ns: NS_PER_S / i64::from(self.rate.max(1)),
        }
    }
}

/// Serves until stdin closes, for clients that others start: says its address in a line.
fn serve() -> Outcome<bool> {
    let (mut rate, mut ttft_ms, mut core) = (20_i64, 50_i64, 0);
    each_flag(|flag, value| {
        match flag {
            "serve" => {}
            "--rate" => rate = value()?.parse()?,
            "--ttft-ms" => ttft_ms = value()?.parse()?,
            "--core" => core = value()?.parse()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let pace = Pace {
        ttft_ns: ttft_ms * 1_000_000,
        interval_ns: NS_PER_S / rate.max(1),
    };
    let server = Server::start(core, pace, None)?;
    say(&format!("http://{}", server.address));
    std::io::copy(&mut std::io::stdin(), &mut std::io::sink())?;
    Ok(true)
}

/// What one program cost and how precise it was.
#[derive(Debug, Clone, Copy)]
struct Cost {
    cpu_s: f64,
    peak_rss_bytes: f64,
    /// Inter-token error, in nanoseconds; absent where no stamp was kept.
    error_p50_ns: Option<f64>,
    error_p99_ns: Option<f64>,
    lag_p99_ns: Option<f64>,
    ttft_p50_ns: Option<f64>,
    ttft_p99_ns: Option<f64>,
    bytes_per_chunk: Option<f64>,
}

/// The floor and the client, one after the other.
#[derive(Debug)]
struct Pair {
    floor: Cost,
    with_text: Cost,
    plain: Cost,
    /// In the order of the flags.
    others: Vec<Cost>,
}

/// Runs all pairs; true when every bar is met.
fn run(plan: &Plan) -> Outcome<bool> {
    let Some((server_core, client_core)) = two_cores()? else {
        say("skipped: the server and the client need a core each");
        return Ok(true);
    };
    let folder = std::env::temp_dir().join(format!("tokentape-cost-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let result = run_in(plan, &folder, (server_core, client_core));
    fs::remove_dir_all(&folder)?;
    result
}

fn run_in(plan: &Plan, folder: &Path, (server_core, client_core): (usize, usize)) -> Outcome<bool> {
    let server = Server::start(server_core, plan.pace(), None)?;
    let secured = Server::start(server_core, plan.pace(), Some(certified()?))?;
    let starts = match plan.starts_per_s {
        Some(rate) => format!("begun {rate} a second"),
        None => "begun at once".to_owned(),
    };
    say(&format!(
        "{}\n{} streams of {} tokens at {}/s each, {starts}; server on core {server_core}, client on \
         core {client_core}\n\n{HEADINGS}",
        machine::describe(),
        plan.streams,
        plan.tokens,
        plan.rate,
    ));
    let mut pairs = Vec::with_capacity(plan.pairs);
    for number in 1..=plan.pairs {
        let bench = Bench {
            plan,
            folder,
            client_core,
            address: server.address,
            secured: secured.address,
        };
        let with_text = format!("--keep text {}", plan.plain);
        // Whoever comes first in a pair meets the server as the last pair left it.
        let (floor, with_text) = if number % 2 == 1 {
            let floor = bench.floor()?;
            (floor, bench.client(&with_text)?)
        } else {
            let client = bench.client(&with_text)?;
            (bench.floor()?, client)
        };
        let plain = bench.client(&plan.plain)?;
        let others = plan.others.iter().map(|words| bench.client(words));
        let others: Vec<Cost> = others.collect::<Outcome<_>>()?;
        let names = ["floor", "with text", "plain"].into_iter();
        let names = names.chain(plan.others.iter().map(String::as_str));
        for (name, cost) in names.zip([floor, with_text, plain].iter().chain(&others)) {
            say(&cost.row(&format!("{number} {name}")));
        }
        pairs.push(Pair {
            floor,
            with_text,
            plain,
            others,
        });
    }
    drop((server, secured));
    Ok(judge(&pairs, plan))
}

/// A certificate for this machine that nobody vouches for, and what a server needs to show it.
fn certified() -> Outcome<Arc<ServerConfig>> {
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(vec!["localhost".to_owned()])?.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key.into())?;
    Ok(Arc::new(config))
}

const HEADINGS: &str = "\
| run | CPU s | peak MiB | inter-token error p50 us | p99 us | read lag p99 us | TTFT error p50 us | p99 us | bytes a chunk |
|---|---|---|---|---|---|---|---|---|";

impl Cost {
    fn row(&self, name: &str) -> String {
        let us = |ns: Option<f64>| ns.map_or("".to_owned(), |ns| format!("{:.1}", ns / 1_000.0));
        format!(
            "| {name} | {:.2} | {:.1} | {} | {} | {} | {} | {} | {} |",
            self.cpu_s,
            self.peak_rss_bytes / 1_048_576.0,
            us(self.error_p50_ns),
            us(self.error_p99_ns),
            us(self.lag_p99_ns),
            us(self.ttft_p50_ns),
            us(self.ttft_p99_ns),
            self.bytes_per_chunk
                .map_or("".to_owned(), |bytes| format!("{bytes:.2}")),
        )
    }
}

/// A figure: its name, its median over the pairs, and its bar.
type Figure = (String, f64, Option<f64>);

/// What the pairs came to; a figure that none of them has is 0.
fn figures(pairs: &[Pair], plan: &Plan) -> Vec<Figure> {
    let median = |value: &dyn Fn(&Pair) -> Option<f64>| {
        let mut values: Vec<f64> = pairs.iter().filter_map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        epoll_floor::stamped::quantile(&values, 0.5)
    };
    #[expect(clippy::cast_precision_loss, reason = "far below what a float holds")]
    let chunks = (plan.streams * plan.tokens) as f64;
    let figures = [
        (
            "CPU, plain ÷ floor",
            median(&|pair| Some(pair.plain.cpu_s / pair.floor.cpu_s)),
            Some(CPU_BAR),
        ),
        (
            "CPU, with text ÷ floor",
            median(&|pair| Some(pair.with_text.cpu_s / pair.floor.cpu_s)),
            None,
        ),
        (
            "inter-token error p99, with text ÷ floor",
            median(&|pair| Some(pair.with_text.error_p99_ns? / pair.floor.error_p99_ns?)),
            Some(ERROR_BAR),
        ),
        (
            "read lag p99, with text ÷ floor",
            median(&|pair| Some(pair.with_text.lag_p99_ns? / pair.floor.lag_p99_ns?)),
            Some(ERROR_BAR),
        ),
        (
            "TTFT error p50 us, with text",
            median(&|pair| Some(pair.with_text.ttft_p50_ns? / 1_000.0)),
            Some(TTFT_BAR_NS / 1_000.0),
        ),
        (
            "TTFT error p99, with text ÷ floor",
            median(&|pair| Some(pair.with_text.ttft_p99_ns? / pair.floor.ttft_p99_ns?)),
            Some(ERROR_BAR),
        ),
        (
            "peak MiB, plain",
            median(&|pair| Some(pair.plain.peak_rss_bytes / 1_048_576.0)),
            Some(MEMORY_BAR / 1_048_576.0),
        ),
        (
            "peak MiB, with text",
            median(&|pair| Some(pair.with_text.peak_rss_bytes / 1_048_576.0)),
            None,
        ),
        (
            "bytes a chunk, plain",
            median(&|pair| pair.plain.bytes_per_chunk),
            Some(TAPE_BAR),
        ),
        (
            "chunks a CPU second, plain",
            median(&|pair| Some(chunks / pair.plain.cpu_s)),
            None,
        ),
    ];
    let figures = figures.map(|(name, value, bar)| (name.to_owned(), value, bar));
    let mut figures = figures.to_vec();
    for (at, words) in plan.others.iter().enumerate() {
        let of = |pair: &Pair| pair.others.get(at).copied();
        let cpu = median(&|pair| Some(of(pair)?.cpu_s / pair.plain.cpu_s));
        let lag = median(&|pair| Some(of(pair)?.lag_p99_ns? / 1_000.0));
        figures.push((format!("CPU, `{words}` ÷ plain"), cpu, None));
        figures.push((format!("read lag p99 us, `{words}`"), lag, None));
    }
    figures
}

/// Prints the medians beside the bars; true when every bar is met.
fn judge(pairs: &[Pair], plan: &Plan) -> bool {
    let figures = figures(pairs, plan);
    say("\n| median of the pairs | value | bar | |\n|---|---|---|---|");
    let mut is_met = true;
    let there = figures.into_iter().filter(|(_, value, _)| *value > 0.0);
    for (name, value, bar) in there {
        let (bar_text, verdict) = match bar {
            Some(bar) if value <= bar => (format!("{bar}"), "met"),
            Some(bar) => {
                is_met = false;
                (format!("{bar}"), "MISSED")
            }
            None => (String::new(), ""),
        };
        say(&format!("| {name} | {value:.2} | {bar_text} | {verdict} |"));
    }
    is_met
}

/// One place to run a program at: the server's address and the client's core.
struct Bench<'a> {
    plan: &'a Plan,
    folder: &'a Path,
    client_core: usize,
    address: SocketAddr,
    /// The same server behind TLS.
    secured: SocketAddr,
}

impl Bench<'_> {
    fn floor(&self) -> Outcome<Cost> {
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("floor")
            .args(["--addr", &self.address.to_string()])
            .args(["--streams", &self.plan.streams.to_string()])
            .args(["--tokens", &self.plan.tokens.to_string()]);
        if let Some(rate) = self.plan.starts_per_s {
            command.args(["--starts-per-s", &rate.to_string()]);
        }
        let finished = self.measure(&mut command)?;
        let report: Value = serde_json::from_str(&finished.stdout)
            .map_err(|_| format!("the floor said `{}`", finished.stdout.trim()))?;
        let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
        if number("/failed") != Some(0.0) {
            return Err(format!("the floor lost streams: {report}").into());
        }
        Ok(Cost {
            cpu_s: number("/cpu_s").ok_or("the floor told no CPU time")?,
            peak_rss_bytes: number("/peak_rss_bytes").ok_or("the floor told no memory")?,
            error_p50_ns: number("/gap_error_ns/p50"),
            error_p99_ns: number("/gap_error_ns/p99"),
            lag_p99_ns: number("/read_lag_ns/p99"),
            ttft_p50_ns: number("/ttft_error_ns/p50"),
            ttft_p99_ns: number("/ttft_error_ns/p99"),
            bytes_per_chunk: None,
        })
    }

    /// Runs the client with these flags.
    fn client(&self, flags: &str) -> Outcome<Cost> {
        let words: Vec<&str> = flags.split_whitespace().collect();
        let keeps_text = words.contains(&"--keep");
        let url = if words.contains(&"--insecure") {
            format!("https://{}", self.secured)
        } else {
            format!("http://{}", self.address)
        };
        let out = self.folder.join("cost.tape");
        let streams = self.plan.streams.to_string();
        let mut command = Command::new(&self.plan.tokentape);
        command
            .args(["load", "--model", "simulated", "--base-url", &url])
            .args(["--dataset-name", "random", "--random-input-len", "32"])
            .args(["--random-output-len", &self.plan.tokens.to_string()])
            .args(["--num-prompts", &streams])
            .args(["--no-summary", "--force"])
            .arg("--out")
            .arg(&out);
        match self.plan.starts_per_s {
            Some(rate) => command
                .args(["--arrivals", "constant", "--request-rate"])
                .arg(rate.to_string()),
            None => command.args(["--max-concurrency", &streams]),
        };
        if !words.contains(&"--backend") {
            command.args(["--backend", "vllm", "--ignore-eos"]);
        }
        command.args(words);
        let finished = self.measure(&mut command)?;
        let tape = tape::read(&out)?;
        if tape.complete_requests != self.plan.streams {
            return Err(format!(
                "only {} of {} requests succeeded",
                tape.complete_requests, self.plan.streams
            )
            .into());
        }
        fs::remove_dir_all(&out)?;
        let (gap, lag, ttft) = (tape.errors.gap(), tape.errors.lag(), tape.errors.ttft());
        Ok(Cost {
            cpu_s: finished.cpu_s,
            peak_rss_bytes: finished.peak_rss_bytes,
            error_p50_ns: keeps_text.then_some(gap.p50),
            error_p99_ns: keeps_text.then_some(gap.p99),
            lag_p99_ns: keeps_text.then_some(lag.p99),
            ttft_p50_ns: keeps_text.then_some(ttft.p50),
            ttft_p99_ns: keeps_text.then_some(ttft.p99),
            bytes_per_chunk: Some(tape.bytes_per_chunk),
        })
    }

    /// Runs `command` on the client's core to its end.
    fn measure(&self, command: &mut Command) -> Outcome<Finished> {
        let errors = self.folder.join("stderr");
        silence(command, &errors)?;
        command.stdout(Stdio::piped());
        let mut child = Running(spawn_on(self.client_core, command)?);
        let mut finished = watch(&child.0)?;
        if let Some(mut stdout) = child.0.stdout.take() {
            stdout.read_to_string(&mut finished.stdout)?;
        }
        let status = child.0.wait()?;
        if !status.success() {
            return Err(format!("{command:?} ended with {status}: {}", said(&errors)?).into());
        }
        Ok(finished)
    }
}

#[derive(Debug, Default)]
struct Finished {
    stdout: String,
    cpu_s: f64,
    peak_rss_bytes: f64,
}

/// Waits for the child to end, and takes its costs before it is buried.
///
/// CPU time is exact to 10 ms. The peak of the memory is the kernel's own, as of at most
/// [`GLANCE`] before the end.
fn watch(child: &Child) -> Outcome<Finished> {
    let process = child.id().to_string();
    let waited_for = WaitId::Pid(Pid::from_child(child));
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let mut finished = Finished::default();
    while waitid(waited_for.clone(), options)?.is_none() {
        // Fails between the process's end and our hearing of it.
        if let Ok(bytes) = peak_rss_bytes(&process) {
            let pages = u32::try_from(bytes / 4_096)?;
            finished.peak_rss_bytes = f64::from(pages) * 4_096.0;
        }
        std::thread::sleep(GLANCE);
    }
    let (user, system) = cpu_ticks(&fs::read_to_string(format!("/proc/{process}/stat"))?)?;
    finished.cpu_s = f64::from(user + system) / 100.0;
    Ok(finished)
}
