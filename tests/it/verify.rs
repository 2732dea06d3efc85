//! `verify`: a tiny ladder, servers that stamp and that don't, and a server that must not outlive
//! its client.

use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;

use crate::program::{Folder, Running, wait_until, without_numbers};

/// A ladder of one rung in closed loop: two streams of twenty tokens.
const TINY: [&str; 7] = [
    "verify",
    "--streams",
    "2",
    "--duration",
    "200ms",
    "--loop",
    "closed",
];

fn tiny<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&TINY[..], more].concat()
}

/// Starts a server of its own. Returns it, to be held, and its address.
fn server(folder: &Folder, flags: &[&str]) -> (Running, String) {
    let words = ["simulate", "--port", "0", "--stream-rate", "100"];
    let mut server = folder.start(&[&words[..], flags].concat());
    let said = server.wait_for_words("is served on http://");
    let (_, address) = said.split_once("http://").unwrap();
    (server, format!("http://{address}"))
}

/// The address that a tape's requests went to, as `host:port`.
fn address(folder: &Folder, tape: &str) -> String {
    let target = folder.manifest(tape)["target"].as_str().unwrap().to_owned();
    let host = target.trim_start_matches("http://").split('/').next();
    host.unwrap().to_owned()
}

fn is_gone(address: &str) -> bool {
    TcpStream::connect(address).is_err()
}

#[test]
fn a_rung_is_measured_against_a_server_that_ends_with_it() {
    let folder = Folder::new();
    let words = tiny(&["--json", "v.json", "--out", "tapes", "--strict"]);
    let outcome = folder.run(&words);
    let json: Value = serde_json::from_str(&folder.read("v.json")).unwrap();
    let rungs = json["rungs"].as_array().unwrap();
    assert_eq!(rungs.len(), 1);
    let rung = &rungs[0];
    assert_eq!(
        (&rung["streams"], &rung["loop"]),
        (&2.into(), &"closed".into())
    );
    assert_eq!(rung["tape"], "tapes/closed-2.tape");
    for (key, n) in [
        ("read_lag", 40),
        ("ttft_error", 2),
        ("itl_error", 38),
        ("slip", 2),
    ] {
        for stat in ["min", "p50", "p99", "p999", "max"] {
            let metric = &rung["metrics"][format!("{key}_{stat}")];
            assert!(
                metric["value"].is_number() && metric["unit"] == "ms",
                "{key}_{stat}: {metric}"
            );
            assert_eq!(metric["n"], n, "{key}");
        }
        assert_eq!(rung["metrics"][format!("{key}_unstamped")]["value"], 0);
    }
    // On one machine and one clock, nothing arrives before it is sent.
    assert!(rung["metrics"]["read_lag_min"]["value"].as_f64().unwrap() > -1.0);
    assert_eq!(rung["metrics"]["requests_ok"]["value"], 2);
    // Whether a busy machine kept up is not known beforehand, but the exit code has to say the same.
    let is_limited = rung["validity"]["verdict"] == "CLIENT-LIMITED";
    let outcome = outcome.expect_code(i32::from(is_limited));
    let shown = without_numbers(&outcome.stdout.replace('\n', " "));
    for line in [
        "streams error n p# ms p# ms p# ms max ms events/s CPU % standing",
        "read lag #",
        "TTFT #",
        "inter-token #",
        "late send #",
        "Closed loop: at # streams x # tokens/s this client adds at most # ms to an inter-token time at p#",
    ] {
        assert!(shown.contains(line), "`{line}` is not in\n{shown}");
    }
    assert!(
        outcome
            .stderr
            .contains("closed loop, 2 streams x 100 tokens/s"),
        "{}",
        outcome.stderr
    );
    assert_eq!(
        folder.number("tapes/closed-2.tape", "SELECT count(*) FROM requests"),
        2
    );
    assert!(is_gone(&address(&folder, "tapes/closed-2.tape")));
}

#[test]
fn a_server_of_the_users_is_measured_too() {
    let folder = Folder::new();
    let (_server, url) = server(&folder, &["--stamp"]);
    let words = tiny(&[
        "--base-url",
        &url,
        "--backend",
        "openai-chat",
        "--json",
        "-",
    ]);
    let outcome = folder.run(&words).expect_code(0);
    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["server"], format!("{url}/v1/chat/completions"));
    assert_eq!(json["read_lag_left_out"], Value::Null);
    assert_eq!(json["rungs"][0]["metrics"]["itl_error_p50"]["n"], 38);
    assert_eq!(json["rungs"][0]["tape"], Value::Null);
    assert!(folder.names().is_empty());
}

#[test]
fn a_server_that_does_not_stamp_is_refused_before_it_is_loaded() {
    let folder = Folder::new();
    let (_server, url) = server(&folder, &[]);
    let words = tiny(&["--base-url", &url, "--json", "v.json"]);
    let outcome = folder.run(&words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 3
    --- stderr
    error: the server at `http://127.0.0.1:[PORT]/v1/completions` does not write its send times into its answers
    hint: start it as `tokentape simulate --stamp`, or leave `--base-url` out and one is started
    ");
    assert!(folder.names().is_empty());
}

#[test]
fn a_server_that_is_not_there_is_named_with_a_remedy() {
    let folder = Folder::new();
    let words = tiny(&["--base-url", "http://127.0.0.1:1", "--model", "any"]);
    let outcome = folder.run(&words).expect_code(3);
    for said in [
        "no request succeeded; the first failed with `connect`",
        "hint: check `--base-url`",
    ] {
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    }
    assert_eq!(outcome.stdout, "");
}

#[test]
fn tapes_of_others_are_kept_unless_it_is_forced() {
    let folder = Folder::new();
    folder.write("mine", "mine");
    folder.run(&tiny(&["--out", "."])).expect_code(4);
    folder.run(&tiny(&["--json", "mine"])).expect_code(4);
    assert_eq!(folder.read("mine"), "mine");
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let folder = Folder::new();
    for words in [
        ["--duration", "10ms"],
        ["--streams", "0"],
        ["--rate", "nan"],
        // These are for a server whose address is given.
        ["--model", "any"],
    ] {
        folder
            .run(&[&["verify"][..], &words].concat())
            .expect_code(2);
    }
    assert!(folder.names().is_empty());
}

/// Starts a rung that would last long, and waits until it runs. Returns where its server is.
fn long_rung(folder: &Folder) -> (Running, String) {
    let words = [
        "verify",
        "--streams",
        "1",
        "--duration",
        "60s",
        "--loop",
        "closed",
        "--out",
        "tapes",
    ];
    let mut running = folder.start(&words);
    running.wait_for_words("closed loop, 1 stream");
    let manifest = folder.path("tapes/closed-1.tape/manifest.json");
    wait_until("the tape is begun", || manifest.exists());
    let address = address(folder, "tapes/closed-1.tape");
    assert!(!is_gone(&address));
    (running, address)
}

#[test]
fn the_server_ends_with_a_client_that_is_interrupted() {
    let folder = Folder::new();
    let (mut running, address) = long_rung(&folder);
    running.signal(Signal::INT);
    running.wait_for_words("stopping");
    running.signal(Signal::INT);
    let outcome = running.end().expect_code(130);
    assert_eq!(outcome.stdout, "");
    assert!(is_gone(&address));
}

#[test]
fn the_server_ends_with_a_client_that_is_killed() {
    let folder = Folder::new();
    let (running, address) = long_rung(&folder);
    running.signal(Signal::KILL);
    running.end().expect_code(-1);
    wait_until("the server has ended", || is_gone(&address));
}
