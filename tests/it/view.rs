//! `view`: the report as a page that is served, until Ctrl-C.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Folder, Running, wait_until};
use crate::reports::tape;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks for a path without waiting for the answer.
fn ask(host: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
    stream
}

/// Waits for the address that the program says: host with port, and path with the token.
fn home(running: &mut Running) -> (String, String) {
    let line = running.wait_for_words("the report is on http://");
    let (_, after) = line.split_once("http://").unwrap();
    let address = after.split_whitespace().next().unwrap();
    let (host, path) = address.split_once('/').unwrap();
    (host.to_owned(), format!("/{path}"))
}

/// Asks for a path; returns head and body.
fn get(host: &str, path: &str) -> (String, String) {
    let mut stream = ask(host, path);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_owned(), body.to_owned())
}

#[test]
fn a_report_is_served_to_whoever_has_its_address_until_ctrl_c() {
    let folder = Folder::new();
    let (run, other) = (tape("run.tape"), tape("other.tape"));
    let before = fs::metadata(format!("{run}/manifest.json")).unwrap();
    let words = [
        "view",
        &run,
        &other,
        "--goodput",
        "ttft:60000",
        "--lang",
        "zh",
    ];
    let mut running = folder.start(&words);
    let (host, path) = home(&mut running);
    assert!(host.starts_with("127.0.0.1:") && path.len() > 30, "{path}");

    let (head, body) = get(&host, &path);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains("<html lang=\"zh-Hans\">") && body.contains("value=\"ttft:60000\""));
    let (head, body) = get(
        &host,
        &format!("{path}sql.csv?q=SELECT+count(*)+AS+n+FROM+requests"),
    );
    assert!(
        head.starts_with("HTTP/1.1 200") && body.contains("n\n24\n"),
        "{body}"
    );
    let (head, body) = get(&host, &format!("{path}?warmup=soon"));
    assert!(
        head.starts_with("HTTP/1.1 400") && body.contains("soon"),
        "{body}"
    );
    for elsewhere in ["/", "/sql", &path[..path.len() - 1]] {
        let (head, _) = get(&host, elsewhere);
        assert!(head.starts_with("HTTP/1.1 403"), "{elsewhere}: {head}");
    }
    running.signal(Signal::INT);
    let outcome = running.end().expect_code(0);
    assert_eq!(outcome.stdout, "");
    assert!(folder.names().is_empty());
    let after = fs::metadata(format!("{run}/manifest.json")).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}

/// How many processes answer questions of this one at this moment.
fn answering(running: &Running) -> usize {
    let pid = running.pid();
    let children = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(children).unwrap();
    let of_task = |task: fs::DirEntry| fs::read_to_string(task.path().join("children"));
    let tasks = tasks.filter_map(|task| of_task(task.ok()?).ok());
    tasks.map(|pids| pids.split_whitespace().count()).sum()
}

#[test]
fn hostile_questions_cost_nobody_else_the_page() {
    let folder = Folder::new();
    let mut running = folder.start(&["view", &tape("run.tape")]);
    let (host, path) = home(&mut running);
    let csv = |sql: &str| format!("{path}sql.csv?q={}", sql.replace(' ', "+"));
    let report = get(&host, &path).1;
    let (head, body) = get(&host, &csv("SELECT repeat('x', 2000000000)"));
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    assert!(
        body.starts_with("the question takes more than 1024 MiB"),
        "{body}"
    );
    let (head, body) = get(
        &host,
        &csv(&format!("SELECT {}1", "INTERVAL ".repeat(5_000))),
    );
    assert!(
        head.starts_with("HTTP/1.1 400") && body.contains("levels"),
        "{body}"
    );

    let endless = "SELECT count(*) FROM generate_series(1, 1000000) a, \
                   generate_series(1, 1000000) b WHERE a.value * b.value = -1";
    let asked = [(); 2].map(|()| ask(&host, &csv(endless)));
    wait_until("two answers", || answering(&running) == 2);
    assert!(get(&host, &path).1 == report, "the page is another");
    // Who leaves takes the question along.
    drop(asked);
    let (_, body) = get(&host, &csv("SELECT 1 AS one"));
    assert!(body.contains("one\n1\n"), "{body}");
    wait_until("no answers", || answering(&running) == 0);
    running.signal(Signal::TERM);
    running.end().expect_code(0);
}

#[test]
fn idle_connections_block_nobody_where_files_are_few() {
    let folder = Folder::new();
    let before = ["sh", "-c", "ulimit -n 40; exec \"$0\" \"$@\""];
    let mut running = folder.start_through(&before, &["view", &tape("run.tape")]);
    let (host, path) = home(&mut running);
    let idle: Vec<_> = (0..60)
        .map(|_| TcpStream::connect(&host).unwrap())
        .collect();
    let (_, body) = get(&host, &format!("{path}sql.csv?q=SELECT+1+AS+one"));
    assert!(body.contains("one\n1\n"), "{body}");
    drop(idle);
    running.signal(Signal::INT);
    running.end().expect_code(0);
}

#[test]
fn what_cannot_be_viewed_is_named_before_anything_is_served() {
    let folder = Folder::new();
    let outcome = folder.run(&["view", "missing.tape"]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: `missing.tape` is not a tape: there is nothing at that path
    hint: name a folder that `tokentape load` or `replay` wrote, such as `run.tape`
    ");
    let outcome = folder.run(&["view", &tape("run.tape"), "--goodput", "fast:1"]);
    outcome.expect_code(2);
    folder.run(&["view"]).expect_code(2);
}
