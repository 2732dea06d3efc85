//! `view`: the report as a page that is served, until Ctrl-C.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;

use crate::program::{Folder, Running};
use crate::reports::tape;

/// Longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

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
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let ask = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).unwrap();
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
