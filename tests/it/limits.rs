//! What the system refuses in the middle of a run, and servers that vanish: a clear message, a tape
//! that can be read, and the exit code that says which.

use std::fs;

use rustix::process::Signal;

use crate::mock::{Gate, Mock};
use crate::program::{Folder, load_words, skipped, wait_until};

/// Runs a load in a shell that has first run `setting`, which only lowers limits.
fn load_under(
    folder: &Folder,
    setting: &str,
    url: &str,
    words: &[&str],
) -> crate::program::Outcome {
    let script = format!("{setting}; exec \"$0\" \"$@\"");
    folder.run_through(&["sh", "-c", &script], &load_words(url, words))
}

#[test]
fn a_limit_on_open_files_that_is_too_low_is_named_before_anything_is_sent() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let words = ["--num-prompts", "9", "--max-concurrency", "200"];
    let outcome = load_under(&folder, "ulimit -n 100", &mock.url(), &words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: the limit on open files leaves room for 36 requests in flight
    hint: raise the limit (`ulimit -n`), or lower `--max-concurrency`
    ");
    assert!(mock.requests().is_empty());
    assert!(folder.names().is_empty(), "a tape of nothing");
}

#[test]
fn without_a_cap_requests_leave_the_tape_the_files_that_it_needs() {
    let gate = Gate::default();
    let mock = Mock::start({
        let gate = gate.clone();
        move |request, reply| {
            if request.index + 1 == 8 {
                gate.open();
            }
            gate.wait();
            reply.answer(request, &["a"]);
        }
    });
    let folder = Folder::new();
    let words = ["--num-prompts", "40"];
    let outcome = load_under(&folder, "ulimit -n 72", &mock.url(), &words);
    let outcome = outcome.expect_code(0);
    assert!(outcome.stderr.contains("in_flight"), "{}", outcome.shown());
    assert_eq!(mock.in_flight_max(), 8);
    let statuses = "SELECT status, count(*) AS n FROM requests GROUP BY status";
    assert_eq!(folder.table("run.tape", statuses), "ok | 40");
}

#[test]
fn a_file_that_may_not_grow_stops_the_run_and_keeps_what_was_taken() {
    let folder = Folder::new();
    let mock = Mock::start(|_, reply| {
        reply.begin();
        while reply.is_open() {
            reply.text("one more token that is as long as a sentence, and different from none");
        }
    });
    let words = ["--num-prompts", "1", "--drain", "0s"];
    // The signal that would end the process is ignored, so that the write itself fails.
    let setting = "trap '' XFSZ; ulimit -f 96";
    let outcome = load_under(&folder, setting, &mock.url(), &words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: could not write `run.tape/wal/chunks-00000.arrows`
      caused by: File too large (os error 27)
    hint: raise the limit on the size of files (`ulimit -f`); what was taken is in the tape's `wal` folder, and `tokentape analyze` will recover it
    ");
    let statuses = "SELECT status, chunk_count > 100 AS has_chunks FROM requests";
    assert_eq!(folder.table("run.tape", statuses), "interrupted | true");
    let holes = "SELECT count(*) - max(seq) - 1 FROM chunks";
    assert_eq!(folder.number("run.tape", holes), 0);
}

#[test]
fn a_folder_that_may_not_be_written_to_is_named_before_anything_is_sent() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    folder.write("file", "no folder");
    let words = ["--num-prompts", "1", "--out", "file/run.tape"];
    let outcome = folder.load(&mock.url(), &words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: could not make tape `file/run.tape`
      caused by: Not a directory (os error 20)
    ");
    assert!(mock.requests().is_empty());
    if rustix::process::geteuid().is_root() {
        return skipped("may write everywhere, being root");
    }
    fs::create_dir(folder.path("kept")).unwrap();
    let mut permissions = fs::metadata(folder.path("kept")).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(folder.path("kept"), permissions).unwrap();
    let words = ["--num-prompts", "1", "--out", "kept/run.tape"];
    let outcome = folder.load(&mock.url(), &words).expect_code(4);
    assert!(outcome.stderr.contains("a folder that you may write to"));
    assert!(mock.requests().is_empty());
}

/// Lets a process have a network of its own, of nothing but loopback.
const OWN_NETWORK: [&str; 5] = [
    "unshare",
    "-rn",
    "sh",
    "-c",
    "ip link set lo up && exec \"$0\" \"$@\"",
];

/// Leaves the network of a process so few ports for connections, from `first` on.
fn few_ports(first: u16) -> String {
    let last = first + 15;
    format!("echo {first} {last} > /proc/sys/net/ipv4/ip_local_port_range")
}

#[test]
fn ports_that_run_out_are_named_and_cost_only_the_requests_that_found_none() {
    let folder = Folder::new();
    let has_networks = std::process::Command::new(OWN_NETWORK[0])
        .args(&OWN_NETWORK[1..])
        .args(["sh", "-c", &few_ports(40_000)])
        .status()
        .is_ok_and(|status| status.success());
    if !has_networks {
        return skipped("may not make a network of its own");
    }
    let words = ["simulate", "--port", "0", "--stream-ttft", "1s"];
    let mut server = folder.start_through(&OWN_NETWORK, &words);
    let said = server.wait_for_words("http://");
    let url = said.split_whitespace().last().unwrap().to_owned();
    let pid = server.pid().to_string();
    let inside = ["nsenter", "-t", &pid, "-U", "-n", "--preserve-credentials"];
    let words = [
        "--model",
        "simulated",
        "--backend",
        "openai",
        "--num-prompts",
        "40",
        // Its connections would take the few ports.
        "--self-check",
        "0",
    ];
    let load = |first_port: u16, more: &[&str]| {
        let script = format!("{} && exec \"$0\" \"$@\"", few_ports(first_port));
        let before = [&inside[..], &["sh", "-c", &script]].concat();
        let words = [&words[..], more].concat();
        folder.run_through(&before, &load_words(&url, &words))
    };
    let outcome = load(40_000, &["--max-concurrency", "40"]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 0
    --- stderr
    warning: some requests failed; the first failed with `connect`: no local port is left for another connection: Cannot assign requested address (os error 99) (connecting to 127.0.0.1:[PORT])
    hint: raise the range of ports (`sysctl net.ipv4.ip_local_port_range`), or lower `--max-concurrency`
    tape: run.tape
    ");
    assert_eq!(folder.manifest("run.tape")["state"], "complete");
    let rows = "SELECT status, error_kind, count(*) > 0 AS are_there FROM requests \
                GROUP BY status, error_kind ORDER BY status";
    insta::assert_snapshot!(folder.table("run.tape", rows), @r"
    error | connect | true
    ok | - | true
    ");
    let count = "SELECT count(*) FROM requests";
    assert_eq!(folder.number("run.tape", count), 40);
    // What the hint says helps. The ports of before are taken for a minute more.
    let words = ["--max-concurrency", "4", "--out", "fewer.tape"];
    load(41_000, &words).expect_code(0);
    let statuses = "SELECT status, count(*) AS n FROM requests GROUP BY status";
    assert_eq!(folder.table("fewer.tape", statuses), "ok | 40");
}

#[test]
fn a_wish_to_terminate_drains_like_ctrl_c() {
    let gate = Gate::default();
    let mock = Mock::start({
        let gate = gate.clone();
        move |request, reply| {
            gate.wait();
            reply.answer(request, &["a", "b"]);
        }
    });
    let folder = Folder::new();
    let url = mock.url();
    let words = ["--num-prompts", "50", "--max-concurrency", "2"];
    let mut running = folder.start(&load_words(&url, &words));
    wait_until("two requests", || mock.requests().len() == 2);
    running.signal(Signal::TERM);
    running.wait_for_words("stopping");
    gate.open();
    running.end().expect_code(130);
    assert_eq!(folder.manifest("run.tape")["state"], "interrupted");
    let statuses = "SELECT status, count(*) AS n FROM requests GROUP BY status";
    assert_eq!(folder.table("run.tape", statuses), "ok | 2");
}

#[test]
fn a_server_that_vanishes_costs_what_was_in_flight_and_what_came_after() {
    let folder = Folder::new();
    let words = [
        "simulate",
        "--port",
        "0",
        "--stream-rate",
        "100",
        "--stream-ttft",
        "5ms",
    ];
    let mut server = folder.start(&words);
    let said = server.wait_for_words("http://");
    let url = said.split_whitespace().last().unwrap().to_owned();
    let words = [
        "--model",
        "simulated",
        "--backend",
        "openai",
        "--num-prompts",
        "60",
    ];
    let shape = [
        "--request-rate",
        "30",
        "--arrivals",
        "constant",
        "--random-output-len",
        "10",
    ];
    let running = folder.start(&load_words(&url, &[words, shape].concat()));
    let log = folder.path("run.tape/wal/chunks-00000.arrows");
    wait_until("many chunks", || {
        fs::metadata(&log).is_ok_and(|file| file.len() > 12_000)
    });
    server.signal(Signal::KILL);
    server.end();
    let outcome = running.end().expect_code(0);
    assert!(
        outcome.stderr.contains("some requests failed"),
        "{}",
        outcome.shown()
    );
    assert_eq!(folder.manifest("run.tape")["state"], "complete");
    let rows = "SELECT status, error_kind, count(*) > 0 AS n FROM requests \
                GROUP BY status, error_kind ORDER BY status, error_kind";
    let shown = folder.table("run.tape", rows);
    assert!(shown.contains("error | truncated | true"), "{shown}");
    assert!(shown.contains("error | connect | true"), "{shown}");
    assert!(shown.contains("ok | - | true"), "{shown}");
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM requests"),
        60
    );
}

#[test]
fn requests_that_the_client_hangs_up_on_are_told_apart_and_are_no_failures() {
    let mock = Mock::start(|_, reply| {
        reply.begin();
        reply.text("one");
        reply.wait_for_client_to_leave();
    });
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "4",
        "--cancel-rate",
        "1",
        "--cancel-after",
        "60ms",
        "--seed",
        "1",
    ];
    folder.load(&mock.url(), &words).expect_code(3);
    let facts = "SELECT status, error_kind, chunk_count, end_ns - sent_ns >= 50e6, error_message \
                 FROM requests";
    assert_eq!(
        folder.table("run.tape", facts),
        ["cancelled | hung_up | 1 | true | -"; 4].join("\n")
    );
    let summary = "SELECT requests, ok, failed, cancelled, hung_up, ok_share FROM run_summary";
    assert_eq!(folder.table("run.tape", summary), "4 | 0 | 0 | 0 | 4 | -");
    let outcome = folder.load(
        &mock.url(),
        &["--cancel-rate", "0.5", "--dry-run", "--force"],
    );
    assert!(outcome.expect_code(2).stderr.contains("--cancel-after"));
}
