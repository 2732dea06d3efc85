//! `sql`: questions that would take the machine, and how they end.

use rustix::process::Signal;

use crate::program::{Folder, wait_until};
use crate::reports::tape;

/// Never ends, and never yields a row.
const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a, \
                       generate_series(1, 1000000) b WHERE a.value * b.value = -1";

#[test]
fn a_function_that_makes_gigabytes_is_ended_with_the_limit_named() {
    let folder = Folder::new();
    let run = tape("run.tape");
    for sql in [
        "SELECT repeat('x', 2000000000)",
        "SELECT lpad('x', 2000000000)",
    ] {
        let words = ["sql", &run, "--memory-limit", "300MiB", "-c", sql];
        insta::allow_duplicates! {
            insta::assert_snapshot!(folder.run(&words).shown(), @r"
            exit code 2
            --- stderr
            error: the question takes more than 300 MiB of memory
            hint: ask for fewer rows or columns at once, or raise `--memory-limit`
            ");
        }
    }
}

#[test]
fn an_answer_without_end_comes_row_by_row_in_every_format() {
    let folder = Folder::new();
    let run = tape("run.tape");
    let sql = "SELECT value FROM generate_series(1, 1000000000000)";
    for (format, first) in [
        ("table", "+-"),
        ("csv", "value\n1\n"),
        ("json", "[{\"value\":1},{\"value\":2}"),
        ("ndjson", "{\"value\":1}\n"),
        ("markdown", "| value |\n"),
    ] {
        let before = ["sh", "-c", "\"$0\" \"$@\" | head -c 100"];
        let words = ["sql", &run, "--format", format, "-c", sql];
        let outcome = folder.run_through(&before, &words).expect_code(0);
        assert!(outcome.stdout.starts_with(first), "{}", outcome.shown());
        assert_eq!(outcome.stderr, "", "{format}");
    }
}

#[test]
fn text_that_is_too_deep_is_refused_and_no_crash() {
    let folder = Folder::new();
    let run = tape("run.tape");
    for (name, sql, said) in [
        (
            "interval.sql",
            format!("SELECT {}'1' day", "INTERVAL ".repeat(5_000)),
            "levels of operators",
        ),
        (
            "zone.sql",
            format!("SELECT 1{}", " AT TIME ZONE 'UTC'".repeat(20_000)),
            "levels of operators",
        ),
        (
            "cast.sql",
            format!("SELECT {}1{}", "CAST(".repeat(100), " AS INT)".repeat(100)),
            "100 parentheses are nested",
        ),
        (
            "mistake.sql",
            format!("SELECT {}1 1{}", "CAST(".repeat(39), " AS INT)".repeat(39)),
            "was not parsed within 2 s",
        ),
        // It passes the door; what the engine says quotes all of it.
        (
            "quoted.sql",
            format!("SELECT {}'1' day", "INTERVAL ".repeat(1_900)),
            "Unsupported interval argument",
        ),
    ] {
        folder.write(name, sql);
        let outcome = folder.run(&["sql", &run, "-f", name]).expect_code(2);
        assert!(outcome.stderr.contains(said), "{}", outcome.shown());
        assert!(
            outcome.stderr.len() < 2_000,
            "{} bytes",
            outcome.stderr.len()
        );
    }
}

#[test]
fn a_file_of_statements_without_end_is_refused() {
    let folder = Folder::new();
    let outcome = folder.run(&["sql", "a.tape", "-f", "/dev/zero"]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 2
    --- stderr
    error: the statement has more than 1048576 bytes
    hint: take it apart (WITH, a list after IN, several statements), and look for a mistake in its innermost parentheses
    ");
    folder.write("latin.sql", b"SELECT '\xe9'");
    let outcome = folder
        .run(&["sql", "a.tape", "-f", "latin.sql"])
        .expect_code(4);
    assert!(
        outcome.stderr.contains("it is no UTF-8"),
        "{}",
        outcome.shown()
    );
}

#[test]
fn a_question_without_end_ends_when_it_is_late_and_at_ctrl_c() {
    let folder = Folder::new();
    let run = tape("run.tape");
    let spill = format!("TMPDIR={}", folder.path("").display());
    let before = ["env", &spill];
    let words = ["sql", &run, "-c", ENDLESS, "--timeout", "200ms"];
    insta::assert_snapshot!(folder.run_through(&before, &words).shown(), @r"
    exit code 2
    --- stderr
    error: no answer within 0.2 s
    hint: ask of fewer rows, or raise `--timeout`
    ");
    for signal in [Signal::INT, Signal::TERM] {
        let running = folder.start_through(&before, &["sql", &run, "-c", ENDLESS]);
        wait_until("a question", || !folder.names().is_empty());
        running.signal(signal);
        running.end().expect_code(130);
        assert_eq!(folder.names(), [""; 0], "left behind");
    }
}

#[test]
fn a_word_that_is_also_a_query_s_name_reads_no_query() {
    let folder = Folder::new();
    let run = tape("run.tape");
    let plan = |sql: &str| {
        let words = ["sql", &run, "--format", "csv", "-c", sql];
        folder.run(&words).expect_code(0).stdout
    };
    assert_eq!(plan("SELECT 1 AS cost"), "cost\n1\n");
    let queries = "SELECT count(*) AS n FROM information_schema.tables WHERE table_name = 'cost'";
    assert_eq!(plan(queries), "n\n0\n");
    let read = format!("{queries}; SELECT count(*) >= 0 AS is_there FROM Cost");
    assert_eq!(plan(&read), "n\n1\nis_there\ntrue\n");
}

#[test]
fn what_is_wrong_with_a_limit_is_said() {
    let folder = Folder::new();
    for limit in ["1", "-1GiB", "0MiB", "1.5GiB", "99999999999999999999GiB"] {
        let limit = format!("--memory-limit={limit}");
        let words = ["sql", "a.tape", "-c", "SELECT 1", &limit];
        let outcome = folder.run(&words).expect_code(2);
        assert!(
            outcome.stderr.contains("--memory-limit"),
            "{}",
            outcome.shown()
        );
    }
    // Too little to start with is said, and no crash.
    let run = tape("run.tape");
    let words = [
        "sql",
        &run,
        "-c",
        "SELECT count(*) FROM chunks",
        "--memory-limit",
        "1MiB",
    ];
    let outcome = folder.run(&words);
    assert!([0, 2].contains(&outcome.code), "{}", outcome.shown());
}
