//! How long the client takes from its start to its first request.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::time::ClockId;

use crate::process::{said, silence};
use crate::program::{Outcome, say};
use crate::stamping_server::{Server, now_ns};

/// The first byte of the first request arrives within this time of the process's start, at the
/// median, where no tokenizer is needed.
const BAR_MS: f64 = 50.0;

const CASES: [(&str, &str); 4] = [
    ("10/s", "--request-rate 10 --num-prompts 2"),
    ("burst of 1,000", "--num-prompts 1000"),
    ("8 at once", "--max-concurrency 8 --num-prompts 100"),
    (
        "128k tokens at 20/s",
        "--request-rate 20 --num-prompts 10 --random-input-len 131072",
    ),
];

/// Prints the times of `runs` starts of each case; true when the bar is met by every one.
pub(crate) fn measure(
    tokentape: &Path,
    (server, folder): (&Server, &Path),
    runs: usize,
) -> Outcome<bool> {
    say(&format!(
        "start of the program to the first byte of a request, {runs} runs each, bar {BAR_MS:.0} ms\n\n\
         | load | connected, median ms | first byte, min ms | median ms | max ms | |\n\
         |---|---|---|---|---|---|"
    ));
    let mut is_met = true;
    for (name, flags) in CASES {
        let (mut connected_ms, mut byte_ms) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let (connected, byte) = start(tokentape, (server, folder), flags)?;
            connected_ms.push(connected);
            byte_ms.push(byte);
        }
        connected_ms.sort_unstable_by(f64::total_cmp);
        byte_ms.sort_unstable_by(f64::total_cmp);
        let median_ms = byte_ms[runs / 2];
        let is_in_time = median_ms <= BAR_MS;
        is_met &= is_in_time;
        say(&format!(
            "| {name} | {:.1} | {:.1} | {median_ms:.1} | {:.1} | {} |",
            connected_ms[runs / 2],
            byte_ms[0],
            byte_ms[runs - 1],
            if is_in_time { "met" } else { "MISSED" },
        ));
    }
    say("");
    Ok(is_met)
}

/// Returns the milliseconds from the start of one process to its first connection and to the first
/// byte of a request.
fn start(tokentape: &Path, (server, folder): (&Server, &Path), flags: &str) -> Outcome<(f64, f64)> {
    let errors = folder.join("stderr");
    let mut command = Command::new(tokentape);
    command
        .args(["load", "--backend", "vllm", "--model", "minimal"])
        .args(["--arrivals", "constant", "--random-output-len", "1"])
        .args(["--no-summary", "--disable-tqdm", "--force", "--base-url"])
        .arg(format!("http://{}", server.address))
        .arg("--out")
        .arg(folder.join("startup.tape"))
        .args(flags.split(' '));
    silence(&mut command, &errors)?;
    take_firsts_ns(server);
    let started_ns = now_ns(ClockId::Monotonic);
    let status = command.spawn()?.wait()?;
    if !status.success() {
        return Err(said(&errors)?.into());
    }
    let firsts = take_firsts_ns(server);
    let (connected_ns, byte_ns) = firsts.ok_or("no request arrived at the server")?;
    let ms = |at_ns: i64| -> Outcome<f64> {
        let us = u32::try_from((at_ns - started_ns) / 1_000)?;
        Ok(f64::from(us) / 1_000.0)
    };
    Ok((ms(connected_ns)?, ms(byte_ns)?))
}

/// Returns when, since the last call, the first connection and the first byte of a request arrived,
/// on the monotonic clock.
fn take_firsts_ns(server: &Server) -> Option<(i64, i64)> {
    let take = |at_ns: &AtomicI64| at_ns.swap(0, Ordering::AcqRel);
    let connection_ns = take(&server.shared.first_connection_ns);
    let byte_ns = take(&server.shared.first_byte_ns);
    (byte_ns > 0).then_some((connection_ns, byte_ns))
}
