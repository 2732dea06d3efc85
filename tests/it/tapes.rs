//! Tapes through everything that can happen to them: outputs that are there already, crashes,
//! signals, full disks, and folders that are no tapes.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use serde_json::json;

use crate::mock::{Gate, Mock};
use crate::program::{Folder, Running, copy_folder, load_words, skipped, wait_until};

const STATUSES: &str = "SELECT status, count(*) AS n FROM requests GROUP BY status ORDER BY status";

#[test]
fn an_output_that_exists_is_kept_unless_it_is_forced() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    folder
        .load(&mock.url(), &["--num-prompts", "1"])
        .expect_code(0);
    let again = folder.load(&mock.url(), &["--num-prompts", "2"]);
    insta::assert_snapshot!(again.shown(), @r"
    exit code 4
    --- stderr
    error: output `run.tape` exists already
    hint: name another `--out`, or give `--force` to replace it
    ");
    assert_eq!(mock.requests().len(), 1, "nothing is sent in vain");
    let forced = folder.load(&mock.url(), &["--num-prompts", "2", "--force"]);
    forced.expect_code(0);
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM requests"),
        2
    );

    // Force replaces tapes, and nothing else.
    fs::create_dir(folder.path("thesis")).unwrap();
    folder.write("thesis/chapter.txt", "years of work");
    let words = ["--num-prompts", "1", "--out", "thesis", "--force"];
    folder.load(&mock.url(), &words).expect_code(4);
    assert_eq!(folder.read("thesis/chapter.txt"), "years of work");
}

#[test]
fn what_is_no_tape_is_told() {
    let folder = Folder::new();
    fs::create_dir(folder.path("empty.tape")).unwrap();
    fs::create_dir(folder.path("broken.tape")).unwrap();
    fs::create_dir(folder.path("new.tape")).unwrap();
    folder.write("file.tape", "no folder");
    folder.write("broken.tape/manifest.json", "{\"schema_version\": 1,");
    folder.write("new.tape/manifest.json", "{\"schema_version\": 7}");
    let names = [
        "missing.tape",
        "empty.tape",
        "file.tape",
        "broken.tape",
        "new.tape",
    ];
    let shown = names.map(|name| {
        let outcome = folder.run(&["sql", name, "-c", "SELECT 1"]);
        let analysis = folder.run(&["analyze", name]);
        assert_eq!(outcome.stderr, analysis.stderr);
        outcome.expect_code(4).stderr
    });
    insta::assert_snapshot!(shown.join("\n\n"), @r"
    error: `missing.tape` is not a tape: there is nothing at that path
    hint: name a folder that `tokentape load` or `replay` wrote, such as `run.tape`

    error: `empty.tape` is not a tape: it has no `manifest.json`
    hint: name a folder that `tokentape load` or `replay` wrote, such as `run.tape`

    error: `file.tape` is not a tape: it is a file, and a tape is a folder
    hint: name a folder that `tokentape load` or `replay` wrote, such as `run.tape`

    error: `broken.tape` is not a tape: its `manifest.json` is not JSON: EOF while parsing a value at line 1 column 21
    hint: name a folder that `tokentape load` or `replay` wrote, such as `run.tape`

    error: tape `new.tape` has schema version 7, and this build reads versions up to 4
    hint: read it with the version of tokentape that wrote it, or a newer one
    ");
}

#[test]
fn a_tape_that_is_being_written_is_refused() {
    let gate = Gate::default();
    let (arrived, arrivals) = channel();
    let arrived = Mutex::new(arrived);
    let mock = Mock::start({
        let gate = gate.clone();
        move |request, reply| {
            arrived.lock().unwrap().send(()).unwrap();
            gate.wait();
            reply.answer(request, &["a"]);
        }
    });
    let folder = Folder::new();
    let url = mock.url();
    let running = folder.start(&load_words(&url, &["--num-prompts", "1"]));
    arrivals.recv().unwrap();
    let outcome = folder.run(&["sql", "run.tape", "-c", "SELECT 1"]);
    let forced = folder.load(&mock.url(), &["--num-prompts", "1", "--force"]);
    gate.open();
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: tape `run.tape` is still being written
    hint: wait until the run has ended
    ");
    insta::assert_snapshot!(forced.shown(), @r"
    exit code 4
    --- stderr
    error: tape `run.tape` is still being written
    hint: wait until the run has ended
    ");
    running.end().expect_code(0);
    assert_eq!(folder.table("run.tape", STATUSES), "ok | 1");
}

/// A server whose first answer is whole and whose others go on for ever.
fn endless() -> Mock {
    Mock::start(|request, reply| {
        if request.index == 0 {
            return reply.answer(request, &["a", "b"]);
        }
        reply.begin();
        reply.delta(&json!({ "role": "assistant" }));
        for _ in 0..20 {
            reply.text("token");
        }
        reply.wait_for_client_to_leave();
    })
}

/// Starts a load of three requests, and waits until `bytes` of its chunks are in the log.
fn start_until_logged(folder: &Folder, mock: &Mock, bytes: u64) -> Running {
    let url = mock.url();
    let words = load_words(&url, &["--num-prompts", "3", "--max-concurrency", "2"]);
    let running = folder.start(&words);
    let log = folder.path("run.tape/wal/chunks-00000.arrows");
    wait_until("chunks in the log", || {
        mock.requests().len() == 3 && fs::metadata(&log).is_ok_and(|file| file.len() >= bytes)
    });
    running
}

/// Whether each request has chunks, and whether they are its first ones without a hole.
const PREFIXES: &str = "SELECT count(*) > 1 AS has_chunks, count(*) = max(seq) + 1 AS is_prefix \
                        FROM chunks GROUP BY request_id ORDER BY request_id";

#[test]
fn a_killed_run_is_recovered_when_it_is_next_opened() {
    let mock = endless();
    let folder = Folder::new();
    let running = start_until_logged(&folder, &mock, 1);
    // The log is written 50 ms at a time: both endless answers are in it before long.
    let log = folder.path("run.tape/wal");
    let size = || -> u64 {
        let entries = fs::read_dir(&log).unwrap();
        entries
            .map(|entry| entry.unwrap().metadata().unwrap().len())
            .sum()
    };
    let seen = std::cell::Cell::new((size(), 0));
    wait_until("the log grows", || {
        let (last, times) = seen.get();
        let now = size();
        seen.set((now, if now == last { times } else { times + 1 }));
        seen.get().1 >= 5
    });
    running.signal(Signal::KILL);
    assert_eq!(running.end().code, -1);
    assert_eq!(folder.manifest("run.tape")["state"], "running");

    let first = folder.run(&["sql", "run.tape", "-c", STATUSES, "--format", "csv"]);
    insta::assert_snapshot!(crate::program::without_numbers(&first.shown()), @r"
    exit code #
    --- stdout
    status,n
    interrupted,#
    ok,#
    --- stderr
    note: `run`: recovered from its log after a crash: # requests (# in flight at the end), # chunks
    ");
    let second = folder.run(&["sql", "run.tape", "-c", STATUSES, "--format", "csv"]);
    // It says the same from then on.
    assert_eq!(second.shown(), first.shown());
    assert!(
        second.stdout.contains("interrupted,2\nok,1"),
        "{}",
        second.stdout
    );
    insta::assert_snapshot!(folder.table("run.tape", PREFIXES), @r"
    true | true
    true | true
    true | true
    ");
    assert_eq!(folder.manifest("run.tape")["state"], "interrupted");
    assert!(!log.exists());
    let derived = "SELECT chunk_count > 0 AS has_chunks, dispatched_ns >= intended_ns AS is_sent, \
                   first_token_ns > dispatched_ns AS has_first, last_token_ns >= first_token_ns AS has_last \
                   FROM requests WHERE status = 'interrupted'";
    insta::assert_snapshot!(folder.table("run.tape", derived), @r"
    true | true | true | true
    true | true | true | true
    ");
}

#[test]
fn a_log_that_is_cut_anywhere_gives_back_what_came_before_the_cut() {
    let mock = endless();
    let folder = Folder::new();
    let running = start_until_logged(&folder, &mock, 1_000);
    running.signal(Signal::KILL);
    running.end();
    let mut words = vec!["sql".to_owned()];
    for table in ["chunks", "requests"] {
        let name = format!("run.tape/wal/{table}-00000.arrows");
        let length = fs::metadata(folder.path(&name)).unwrap().len();
        for part in 0..=24 {
            let tape = format!("{table}-{part:02}.tape");
            copy_folder(&folder.path("run.tape"), &folder.path(&tape));
            let log = folder.path(&format!("{tape}/wal/{table}-00000.arrows"));
            let file = fs::File::options().write(true).open(log).unwrap();
            file.set_len(length * part / 24).unwrap();
            words.push(tape);
        }
    }
    let sql = "WITH per_request AS (\
                 SELECT run, request_id, count(*) AS n, max(seq) + 1 AS next FROM chunks GROUP BY ALL\
               ), chunks_of AS (\
                 SELECT run, sum(n) AS n, bool_and(n = next) AS are_prefixes FROM per_request GROUP BY run\
               ), requests_of AS (SELECT run, count(*) AS n FROM requests GROUP BY run) \
               SELECT runs.run, coalesce(c.n, 0) AS chunks, coalesce(c.are_prefixes, true) AS are_prefixes, \
               coalesce(r.n, 0) AS requests FROM runs \
               LEFT JOIN chunks_of c ON c.run = runs.run LEFT JOIN requests_of r ON r.run = runs.run \
               ORDER BY runs.run";
    words.extend(["-c", sql, "--format", "json"].map(str::to_owned));
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = folder.run(&words).expect_code(0);
    assert_eq!(outcome.stderr.matches("recovered from its log").count(), 50);
    assert!(
        outcome
            .stderr
            .contains("the last batch was torn and is lost")
    );
    let rows: Vec<serde_json::Value> = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(rows.len(), 50);
    for (table, rows) in ["chunks", "requests"].iter().zip(rows.chunks(25)) {
        let counts: Vec<i64> = rows
            .iter()
            .map(|row| row[table].as_i64().unwrap())
            .collect();
        assert!(counts.is_sorted(), "{table}: {counts:?}");
        assert_eq!(counts[0], 0);
        assert!(counts[24] > 0);
        assert!(
            rows.iter().all(|row| row["are_prefixes"] == true),
            "{rows:?}"
        );
    }
}

#[test]
fn a_tape_that_has_lost_parts_says_what_is_missing() {
    let mock = Mock::answering(&["a", "b"]);
    let folder = Folder::new();
    folder
        .load(&mock.url(), &["--num-prompts", "3"])
        .expect_code(0);
    let question = ["sql", "run.tape", "-c", "SELECT count(*) AS n FROM chunks"];
    let whole = folder.run(&question).expect_code(0);
    assert!(!whole.stderr.contains("missing"), "{}", whole.shown());
    fs::remove_dir_all(folder.path("run.tape/chunks")).unwrap();
    let missing = "`chunks` has 0 of the 18 rows that were written: parts of it are missing";
    for words in [&question[..], &["analyze", "run.tape"]] {
        let outcome = folder.run(words).expect_code(0);
        assert!(outcome.stderr.contains(missing), "{}", outcome.shown());
    }
}

/// A load at a rate through one slot, which is stuck at its third request.
fn start_stuck(folder: &Folder, mock: &Mock, rate: &str, more: &[&str]) -> Running {
    let url = mock.url();
    let mut words = vec!["--num-prompts", "500", "--request-rate", rate];
    words.extend(["--arrivals", "constant", "--max-concurrency", "1"]);
    words.extend(more);
    folder.start(&load_words(&url, &words))
}

fn stuck_at_third(gate: &Gate) -> (Mock, std::sync::mpsc::Receiver<()>) {
    let (arrived, arrivals) = channel();
    let arrived = Mutex::new(arrived);
    let gate = gate.clone();
    let mock = Mock::start(move |request, reply| {
        if request.index == 2 {
            arrived.lock().unwrap().send(()).unwrap();
            gate.wait();
        }
        reply.answer(request, &["a", "b"]);
    });
    (mock, arrivals)
}

#[test]
fn ctrl_c_sends_nothing_more_and_waits_for_what_is_in_flight() {
    let gate = Gate::default();
    let (mock, arrivals) = stuck_at_third(&gate);
    let folder = Folder::new();
    let mut running = start_stuck(&folder, &mock, "100000", &[]);
    arrivals.recv().unwrap();
    running.signal(Signal::INT);
    running.wait_for_words("stopping");
    gate.open();
    let outcome = running.end();
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 130
    --- stderr
    stopping: nothing more is sent, waiting up to 30 s for 1 answer; Ctrl-C again gives them up
    tape: run.tape
    ");
    assert_eq!(mock.requests().len(), 3);
    let manifest = folder.manifest("run.tape");
    assert_eq!(manifest["state"], "interrupted");
    let shares = "SELECT status, count(*) > 0 AS n, min(sent_ns) IS NULL AS is_unsent, \
                  min(queued_ns) >= 0 AS was_queued, min(chunk_count) AS chunks \
                  FROM requests GROUP BY status ORDER BY status";
    insta::assert_snapshot!(folder.table("run.tape", shares), @r"
    not_sent | true | true | true | 0
    ok | true | false | true | 2
    ");
    // Every request of the schedule has a row or is counted as never due.
    let rows = folder.number("run.tape", "SELECT count(*) FROM requests");
    let never_due = manifest["counts"]["never_due"].as_i64().unwrap();
    assert_eq!(rows + never_due, 500);
}

#[test]
fn a_second_ctrl_c_right_after_the_first_gives_up_what_is_in_flight() {
    let gate = Gate::default();
    let (mock, arrivals) = stuck_at_third(&gate);
    let folder = Folder::new();
    let mut running = start_stuck(&folder, &mock, "100000", &["--drain", "1h"]);
    arrivals.recv().unwrap();
    running.signal(Signal::INT);
    running.wait_for_words("stopping");
    running.signal(Signal::INT);
    let outcome = running.end().expect_code(130);
    gate.open();
    assert!(outcome.stderr.contains("leaving"), "{}", outcome.stderr);
    let statuses = "SELECT status, count(*) > 0 AS n FROM requests GROUP BY status ORDER BY status";
    insta::assert_snapshot!(folder.table("run.tape", statuses), @r"
    cancelled | true
    not_sent | true
    ok | true
    ");
    assert_eq!(folder.manifest("run.tape")["state"], "interrupted");
}

#[test]
fn a_duration_that_is_over_leaves_late_requests_as_rows_and_is_no_interruption() {
    let gate = Gate::default();
    let (mock, _arrivals) = stuck_at_third(&gate);
    let folder = Folder::new();
    let words = ["--duration", "1s", "--drain", "0s"];
    let outcome = start_stuck(&folder, &mock, "400", &words).end();
    gate.open();
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 0
    --- stderr
    tape: run.tape
    ");
    assert_eq!(folder.manifest("run.tape")["state"], "complete");
    let statuses = "SELECT status, count(*) AS n, max(intended_ns) < 1000000000 AS was_due \
                    FROM requests GROUP BY status ORDER BY status";
    insta::assert_snapshot!(folder.table("run.tape", statuses), @r"
    cancelled | 1 | true
    not_sent | 397 | true
    ok | 2 | true
    ");
}

/// A small file system of its own in memory, until it is dropped.
struct SmallDisk<'a> {
    path: &'a Path,
}

impl<'a> SmallDisk<'a> {
    /// Mounts one, or returns none where that is not allowed.
    fn mount(path: &'a Path, size: &str) -> Option<Self> {
        fs::create_dir(path).unwrap();
        let options = format!("size={size}");
        mount(path, &["-t", "tmpfs", "-o", &options, "tokentape-test"]).then_some(Self { path })
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(mount(self.path, &["-o", &options]));
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg(self.path).status().ok();
    }
}

fn mount(path: &Path, words: &[&str]) -> bool {
    let output = Command::new("mount").args(words).arg(path).output();
    output.is_ok_and(|output| output.status.success())
}

#[test]
fn a_disk_that_is_full_stops_the_run_and_keeps_what_was_taken() {
    let folder = Folder::new();
    let path = folder.path("disk");
    let Some(disk) = SmallDisk::mount(&path, "256k") else {
        return skipped("may not mount a file system in memory");
    };
    let mock = Mock::start(|_, reply| {
        reply.begin();
        while reply.is_open() {
            reply.text("one more token that is as long as a sentence, and different from none");
        }
    });
    let words = [
        "--num-prompts",
        "1",
        "--out",
        "disk/run.tape",
        "--drain",
        "0s",
    ];
    let outcome = folder.load(&mock.url(), &words);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: could not write `disk/run.tape/wal/chunks-00000.arrows`
      caused by: No space left on device (os error 28)
    hint: free some space; what was taken is in the tape's `wal` folder, and `tokentape analyze` will recover it
    ");
    // There is no room to put the log in order either; it is kept for the next try.
    let full = folder.run(&["sql", "disk/run.tape", "-c", STATUSES]);
    insta::assert_snapshot!(full.shown(), @r"
    exit code 4
    --- stderr
    error: could not write `disk/run.tape/chunks/part-00000.parquet.tmp`
      caused by: No space left on device (os error 28)
    hint: free some space; what was taken is in the tape's `wal` folder, and `tokentape analyze` will recover it
    ");
    disk.grow("64m");
    let outcome = folder.run(&["sql", "disk/run.tape", "-c", STATUSES, "--format", "csv"]);
    assert!(outcome.stderr.contains("recovered"), "{}", outcome.stderr);
    assert_eq!(outcome.stdout, "status,n\ninterrupted,1\n");
    assert!(folder.number("disk/run.tape", "SELECT count(*) FROM chunks") > 1_000);
    assert_eq!(
        folder.number(
            "disk/run.tape",
            "SELECT count(*) - max(seq) - 1 FROM chunks"
        ),
        0
    );
}
