//! From tapes to what people read: every report, every format of `sql`, and the demo.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use serde_json::Value;

use crate::mock::Mock;
use crate::program::{Folder, without_numbers};

/// A folder with two tapes, `run.tape` and `other.tape`, that every test here reads.
static TAPES: LazyLock<PathBuf> = LazyLock::new(|| {
    let mock = Mock::answering_slowly(&["a", "b", "c"]);
    let folder = Folder::new();
    for (name, cap) in [("run.tape", "1"), ("other.tape", "2")] {
        let label = format!("cap={cap}");
        let words = [
            "--num-prompts",
            "12",
            "--max-concurrency",
            cap,
            "--out",
            name,
            "--label",
            &label,
        ];
        folder.load(&mock.url(), &words).expect_code(0);
    }
    // A static is never dropped, so the tapes move to where the build keeps such things.
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("reports");
    if kept.exists() {
        std::fs::remove_dir_all(&kept).unwrap();
    }
    crate::program::copy_folder(&folder.path(""), &kept);
    kept
});

pub(crate) fn tape(name: &str) -> String {
    TAPES.join(name).display().to_string()
}

#[test]
fn an_analysis_is_written_in_every_form_at_once() {
    let folder = Folder::new();
    let tape = tape("run.tape");
    let words = [
        "analyze",
        &tape,
        "--html",
        "r.html",
        "--markdown",
        "r.md",
        "--json",
        "-",
        "--csv",
        "tables",
        "--goodput",
        "ttft:60000",
        "tpot:60000",
    ];
    let outcome = folder.run(&words).expect_code(0);
    assert_eq!(folder.names(), ["r.html", "r.md", "tables"]);

    let json: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["comparisons"], serde_json::json!([]));
    let run = &json["runs"][0];
    assert_eq!(run["run"], "run");
    assert_eq!(run["labels"]["cap"], "1");
    for key in [
        "ttft_p99",
        "tpot_mean",
        "itl_p50",
        "e2el_max",
        "rps_run",
        "goodput_run",
        "goodput_tps_run",
        "request_tps_p50",
        "concurrency_mean_run",
        "output_tokens_peak_1s",
        "stalls_total",
        "in_time_share",
        "fluidity_all",
    ] {
        let metric = &run["metrics"][key];
        assert!(
            metric["value"].is_number() && metric["unit"].is_string(),
            "{key}: {metric}"
        );
        let fields: Vec<&String> = metric.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["value", "unit", "n", "low", "high"], "{key}");
    }
    assert_eq!(run["metrics"]["requests_ok"]["value"], 12.0);
    assert_eq!(run["metrics"]["attainment_run"]["value"], 1.0);

    let html = folder.read("r.html");
    assert!(html.starts_with("<!doctype html>") || html.starts_with("<!DOCTYPE html>"));
    assert!(
        html.contains("<svg") && html.len() < 500_000,
        "{} bytes",
        html.len()
    );
    // The namespace of SVG is a name, and nothing is fetched from it.
    let html = html.replace("http://www.w3.org/2000/svg", "");
    for address in ["http://", "https://", "src=\"//", "@import", "url("] {
        assert!(!html.contains(address), "{address}");
    }
    assert!(folder.read("r.md").starts_with("# "));
    assert!(
        folder
            .read("tables/latency_percentiles.csv")
            .contains("ttft")
    );
}

#[test]
fn verdicts_are_written_for_ci_systems() {
    let folder = Folder::new();
    let mock = Mock::answering(&["a", "b"]);
    folder.load(
        &mock.url(),
        &["--num-prompts", "5", "--max-concurrency", "1"],
    );
    let analyze = ["analyze", "run.tape", "--junit", "ci.xml", "--fail-if"];
    let conditions = ["ok_share < 0.5", "--fail-if", "e2el_p50 < 1h"];
    folder
        .run(&[&analyze[..], &conditions].concat())
        .expect_code(1);
    // A reader of XML that is not ours.
    let read = "import sys, xml.etree.ElementTree as xml
root = xml.parse(sys.argv[1]).getroot()
for case in root.iter('testcase'):
    # A run this short may have no probe, by which the client is judged.
    is_timed = case.get('name') == 'the client kept up'
    print(case.get('classname'), case.get('name'), *([] if is_timed else [it.tag for it in case]))
# How many there are depends on the client, too.
print(root.get('tests'), root.get('failures') == str(len(list(root.iter('failure')))))";
    let shown = Command::new("python3")
        .args(["-c", read])
        .arg(folder.path("ci.xml"))
        .output()
        .unwrap();
    insta::assert_snapshot!(String::from_utf8(shown.stdout).unwrap(), @r#"
    tokentape.conditions --fail-if "ok_share < 0.5" system-out
    tokentape.conditions --fail-if "e2el_p50 < 1h" failure
    tokentape.run a request succeeded system-out
    tokentape.run the client kept up
    4 True
    "#);
}

#[test]
fn the_catalogue_is_listed_shown_and_run_by_name() {
    let folder = Folder::new();
    let listing = folder.run(&["sql", "--list"]).expect_code(0).stdout;
    assert!(listing.contains("\nThroughput\n  throughput_windows "));
    assert!(listing.contains("\nViews\n  requests "));
    let shown = folder.run(&["sql", "--show", "latencies"]).expect_code(0);
    assert!(shown.stdout.starts_with("-- name: latencies\n"));
    let outcome = folder.run(&["sql", "--show", "nonsense"]).expect_code(2);
    assert!(outcome.stderr.contains("`nonsense` is no query"));
    folder.run(&["sql"]).expect_code(2);

    let (run, other) = (tape("run.tape"), tape("other.tape"));
    let words = ["sql", &run, "-q", "stalls", "--format", "csv"];
    let stalls = folder.run(&words).expect_code(0).stdout;
    assert!(stalls.contains("\nrun,1000000000,12,"), "{stalls}");
    // One that reads other queries, and a statement that reads one.
    let words = ["sql", &run, &other, "-q", "comparison", "--format", "csv"];
    let compared = folder.run(&words).expect_code(0).stdout;
    assert!(compared.contains("\nother,ttft,p50,ns,"), "{compared}");
    let sql = "SELECT sum(requests) AS n FROM throughput_windows WHERE window_name = 'run'";
    assert_eq!(folder.number(&run, sql), 12);
}

#[test]
fn sql_judges_by_the_goals_and_settings_that_it_is_given() {
    let folder = Folder::new();
    let run = tape("run.tape");
    let answer = |flags: &[&str], query: &str| {
        let words = ["sql", run.as_str(), "-q", query, "--format", "csv"];
        let outcome = folder.run(&[&words, flags].concat()).expect_code(0);
        outcome.stdout.lines().count()
    };
    // No goal, no rows; one of the steady window and one of the run where there is one.
    assert_eq!(answer(&[], "goodput"), 1);
    assert_eq!(answer(&["--goodput", "ttft:200"], "goodput"), 3);
    let goals = ["sql", "-q", "goodput", "--goodput", "itl:5", &run];
    let refused = folder.run(&goals).expect_code(2);
    assert!(refused.stderr.contains("itl:5"), "{}", refused.stderr);
}

#[test]
fn an_analysis_looks_at_the_window_and_by_the_settings_that_it_is_given() {
    let folder = Folder::new();
    let run = tape("run.tape");
    let row = |table: &str, flags: &[&str]| {
        let words = ["analyze", run.as_str(), "--csv", "tables", "--force"];
        folder.run(&[&words, flags].concat()).expect_code(0);
        let text = folder.read(&format!("tables/{table}.csv"));
        text.lines().nth(1).unwrap_or_default().to_owned()
    };
    let stalls = row("stalls", &["--stall", "1ns", "--to", "7d"]);
    assert!(stalls.starts_with("run,1,12,"), "{stalls}");
    let cost = row("cost", &["--price-input", "1", "--price-output", "2"]);
    assert!(cost.starts_with("run,steady,price,"), "{cost}");
    let warmup = row("warmup_end", &["--warmup", "auto"]);
    assert!(warmup.starts_with("run,auto,,12,2,"), "{warmup}");
    let none = row("latency_percentiles", &["--from", "1h"]);
    assert_eq!(none, "", "nothing is due that late");
    for (flags, words) in [
        (&["--from", "2s", "--to", "1s"][..], "ends before it begins"),
        (
            &["--warmup", "1s", "--from", "2s"][..],
            "cannot be used with",
        ),
        (&["--price-input", "1"][..], "--price-output"),
        (&["--gpus", "2"][..], "--gpu-hour"),
        (&["--reader", "0"][..], "above 0"),
    ] {
        let outcome = folder
            .run(&[&["analyze", run.as_str()], flags].concat())
            .expect_code(2);
        assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    }
}

#[test]
fn several_tapes_are_compared() {
    let folder = Folder::new();
    let words = [
        "analyze",
        &tape("run.tape"),
        &tape("other.tape"),
        "--json",
        "r.json",
    ];
    let outcome = folder.run(&words).expect_code(0);
    let json: Value = serde_json::from_str(&folder.read("r.json")).unwrap();
    assert_eq!(json["runs"].as_array().unwrap().len(), 2);
    assert!(!json["comparisons"].as_array().unwrap().is_empty());
    for name in ["run", "other"] {
        assert!(outcome.stdout.contains(name), "{}", outcome.stdout);
    }
}

#[test]
fn reports_that_exist_are_kept_unless_it_is_forced() {
    let folder = Folder::new();
    let tape = tape("run.tape");
    for flag in ["--html", "--markdown", "--json"] {
        folder.write("mine", "mine");
        let outcome = folder.run(&["analyze", &tape, flag, "mine"]).expect_code(4);
        assert!(
            outcome.stderr.contains("`mine` exists already"),
            "{}",
            outcome.stderr
        );
        assert!(outcome.stderr.contains("--force"));
        assert_eq!(folder.read("mine"), "mine");
    }
    std::fs::create_dir(folder.path("tables")).unwrap();
    folder.write("tables/mine.csv", "mine");
    folder
        .run(&["analyze", &tape, "--csv", "tables"])
        .expect_code(4);
    folder
        .run(&["analyze", &tape, "--json", "-", "--markdown", "-"])
        .expect_code(2);
    folder
        .run(&["analyze", &tape, "--json", "no/such/folder.json"])
        .expect_code(4);
    let nameless = folder.run(&["analyze", "--json", "r.json"]).expect_code(2);
    assert!(
        nameless.stderr.contains("no tape was named"),
        "{}",
        nameless.stderr
    );
    // Nothing half-made stays behind when the analysis can't be made.
    folder
        .run(&["analyze", "missing.tape", "--json", "r.json"])
        .expect_code(4);
    assert!(!folder.path("r.json").exists());
}

#[test]
fn what_was_written_before_stays_until_all_that_replaces_it_is_whole() {
    let folder = Folder::new();
    let tape = tape("run.tape");
    folder.write("old.html", "old");
    let half = [
        "analyze",
        &tape,
        "--html",
        "old.html",
        "--markdown",
        "new.md",
        "--csv",
        "tables",
        "--json",
        "/dev/full",
    ];
    let failing = [
        // What can't be made is told before any work, and what can't be written at its end.
        &[
            "analyze",
            &tape,
            "--html",
            "old.html",
            "--json",
            "no/such/r.json",
        ][..],
        &["analyze", "missing.tape", "--html", "old.html"],
        &half,
    ];
    for words in failing {
        let forced = [words, &["--force"]].concat();
        folder.run(&forced).expect_code(4);
        assert_eq!(folder.read("old.html"), "old", "{words:?}");
        assert_eq!(folder.names(), ["old.html"], "{words:?}");
    }
    let twice = ["analyze", &tape, "--html", "r", "--json", "r"];
    let told = folder.run(&twice).expect_code(2).stderr;
    assert!(told.contains("only one output can be `r`"), "{told}");
    // Tables of an analysis that had more go, and what others put there stays.
    std::fs::create_dir(folder.path("tables")).unwrap();
    folder.write("tables/comparison.csv", "old");
    folder.write("tables/mine.csv", "mine");
    let forced = [
        "analyze", &tape, "--csv", "tables", "--html", "old.html", "--force",
    ];
    folder.run(&forced).expect_code(0);
    assert!(folder.read("old.html").contains("<html"));
    assert!(!folder.path("tables/comparison.csv").exists());
    assert_eq!(folder.read("tables/mine.csv"), "mine");
}

#[test]
fn a_report_is_rendered_by_ones_own_templates_and_thresholds() {
    let folder = Folder::new();
    let run = tape("run.tape");
    std::fs::create_dir(folder.path("mine")).unwrap();
    folder.write(
        "mine/report.html",
        "{{ report.runs[0].grades[0].value }} {% include 'part.txt' %}",
    );
    folder.write(
        "mine/part.txt",
        "by {{ report.thresholds }} {{ report.command }}",
    );
    let graded = r#"{"ok_share": {"excellent": 0.99, "good": 0.9, "needs_work": 0.5}}"#;
    folder.write("mine.json", graded);
    let words = [
        "analyze",
        &run,
        "--html",
        "r.html",
        "--template",
        "mine",
        "--thresholds",
        "mine.json",
    ];
    folder.run(&words).expect_code(0);
    let page = folder.read("r.html");
    assert!(
        page.starts_with("100.0 % by mine.json tokentape analyze "),
        "{page}"
    );
    assert!(
        page.ends_with("--thresholds mine.json --template mine --html r.html"),
        "{page}"
    );
}

#[test]
fn wrong_templates_and_thresholds_are_named_and_leave_no_file() {
    let folder = Folder::new();
    let run = tape("run.tape");
    std::fs::create_dir(folder.path("mine")).unwrap();
    folder.write("mine/report.html", "\n{{ report.nothing }}");
    let words = [
        "analyze",
        &run,
        "--html",
        "s.html",
        "--markdown",
        "s.md",
        "--template",
        "mine",
    ];
    let refused = folder.run(&words).expect_code(4);
    assert!(
        refused.stderr.contains("report.html:2"),
        "{}",
        refused.stderr
    );
    assert!(!folder.path("s.html").exists() && !folder.path("s.md").exists());

    folder.write(
        "mine.json",
        r#"{"ok_share": {"excellent": 0.9, "good": 0.99, "needs_work": 0.5}}"#,
    );
    let refused = folder
        .run(&["analyze", &run, "--thresholds", "mine.json"])
        .expect_code(2);
    assert!(refused.stderr.contains("`ok_share`"), "{}", refused.stderr);
    std::fs::create_dir(folder.path("empty")).unwrap();
    let refused = folder
        .run(&["analyze", &run, "--template", "empty"])
        .expect_code(2);
    assert!(
        refused.stderr.contains("has no template"),
        "{}",
        refused.stderr
    );
    folder
        .run(&["analyze", &run, "--template", "missing"])
        .expect_code(4);
}

#[test]
fn the_summary_reads_like_the_ones_people_know() {
    let folder = Folder::new();
    let mock = Mock::answering(&["a", "b"]);
    let words = [
        "load",
        "--base-url",
        &mock.url(),
        "--num-prompts",
        "5",
        "--max-concurrency",
        "1",
        "--random-input-len",
        "4",
        "--out",
        "run.tape",
        "--save-result",
        "--result-dir",
        "results",
    ];
    let outcome = folder.run(&words).expect_code(0);
    let shown = without_numbers(&outcome.stdout);
    for line in [
        "Successful requests: #",
        "Failed requests: #",
        "Total generated tokens: #",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    let json: Value = serde_json::from_str(&folder.read("results/run.json")).unwrap();
    assert_eq!(json["runs"][0]["metrics"]["requests_ok"]["value"], 5.0);
    assert_eq!(
        folder.table("run.tape", "SELECT sum(output_tokens) AS n FROM requests"),
        "10"
    );
}

#[test]
fn sql_prints_in_every_format_and_tells_tapes_apart() {
    let folder = Folder::new();
    let (run, other) = (tape("run.tape"), tape("other.tape"));
    let sql = "SELECT run, count(*) AS n FROM requests GROUP BY run ORDER BY run DESC";
    let mut shown = String::new();
    for format in ["table", "csv", "json", "ndjson", "markdown"] {
        let words = ["sql", &run, &other, "-c", sql, "--format", format];
        shown += &format!("{format}\n{}\n", folder.run(&words).expect_code(0).stdout);
    }
    insta::assert_snapshot!(shown, @r#"
    table
    +-------+----+
    | run   | n  |
    +-------+----+
    | run   | 12 |
    | other | 12 |
    +-------+----+

    csv
    run,n
    run,12
    other,12

    json
    [{"run":"run","n":12},{"run":"other","n":12}]

    ndjson
    {"run":"run","n":12}
    {"run":"other","n":12}

    markdown
    | run | n |
    | --- | ---: |
    | run | 12 |
    | other | 12 |
    "#);
    let twice = folder.run(&["sql", &run, &run, "-c", sql, "--format", "csv"]);
    assert_eq!(twice.stdout, "run,n\nrun#2,12\nrun,12\n");
    let told = "note: `run#2`: it is the tape `run`, named again";
    assert!(twice.stderr.contains(told), "{}", twice.stderr);
    folder.write("two.sql", "SELECT 1 AS one; SELECT 2 AS two;");
    let file = folder.run(&["sql", &run, "-f", "two.sql", "--format", "csv"]);
    assert_eq!(file.stdout, "one\n1\ntwo\n2\n");
}

#[test]
fn times_have_their_wall_clock_beside_them() {
    let folder = Folder::new();
    let sql = "SELECT count(*) FROM requests WHERE sent_utc > '2025-01-01' AND sent_utc <= first_token_utc \
               AND abs(CAST(first_token_utc AS BIGINT) - CAST(sent_utc AS BIGINT) - ttft_ns) < 1000000";
    assert_eq!(folder.number(&tape("run.tape"), sql), 12);
}

#[test]
fn sql_with_an_error_is_wrong_usage_and_told() {
    let folder = Folder::new();
    let tape = tape("run.tape");
    let statements = [
        "SELEC 1",
        "SELECT ttft FROM requests",
        "SELECT * FROM nothing",
        "DELETE FROM requests",
        "COPY requests TO 'stolen.csv'",
        "",
    ];
    let shown = statements.map(|sql| {
        let outcome = folder.run(&["sql", &tape, "-c", sql]).expect_code(2);
        let lines: Vec<String> = (outcome.stderr.lines())
            .map(|line| line.chars().take(100).collect())
            .collect();
        lines.join("\n")
    });
    insta::assert_snapshot!(shown.join("\n\n"), @r"
    error: Expected: an SQL statement, found: SELEC at Line: 1, Column: 1

    error: No field named ttft. Did you mean 'requests.ttft_ns'? Valid fields are requests.run, requests
    hint: query the views requests, attempts, chunks, tokens, probes, server_metrics, runs, steps; `DESC

    error: table 'datafusion.public.nothing' not found
    hint: query the views requests, attempts, chunks, tokens, probes, server_metrics, runs, steps; `DESC

    error: `DELETE FROM requests` is not a query: a tape is read, never changed
    hint: use SELECT, WITH, EXPLAIN, SHOW or DESCRIBE

    error: `COPY requests TO stolen.csv` is not a query: a tape is read, never changed
    hint: use SELECT, WITH, EXPLAIN, SHOW or DESCRIBE

    error: there is no statement
    ");
    assert!(folder.names().is_empty());
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tokentape"))
        .args(["sql", &tape("run.tape"), "--format", "csv", "-c"])
        .arg("SELECT a.value, b.value FROM range(1000) a, range(1000) b")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_demo_does_all_of_it_and_takes_no_folder_of_others() {
    let folder = Folder::new();
    let outcome = folder.run(&["demo", "--out", "demo"]).expect_code(0);
    for name in ["demo.tape", "report.html", "report.md"] {
        assert!(folder.path("demo").join(name).exists(), "{name}");
        assert!(
            outcome.stderr.contains(&format!("demo/{name}")),
            "{}",
            outcome.stderr
        );
    }
    let facts = "SELECT bool_and(status = 'ok') AS ok, count(*) > 20 AS has_many, \
                 max(end_ns) < 60000000000 AS is_short FROM requests";
    assert_eq!(folder.table("demo/demo.tape", facts), "true | true | true");
    // Another folder is not taken for one's own.
    folder.write("letter.txt", "dear");
    folder.run(&["demo", "--out", "."]).expect_code(4);
    assert_eq!(folder.read("letter.txt"), "dear");
}
