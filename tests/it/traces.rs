//! `replay`: traces that are wrong in every known way, and replays whose tape must have exactly the
//! times and lengths of the trace.

use std::fmt::Write as _;

use rustix::fs::{CWD, Mode, mkfifoat};
use serde_json::json;

use crate::mock::Mock;
use crate::program::{Folder, Outcome, TOKENIZER_NOTE, root, shared_file};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";
const BURSTGPT: &str = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n";

/// Replays `trace` of the folder into `run.tape`.
fn replay(folder: &Folder, url: &str, trace: &str, more: &[&str]) -> Outcome {
    let mut words = vec![
        "replay",
        trace,
        "--base-url",
        url,
        "--backend",
        "openai-chat",
    ];
    words.extend(["--model", "mock", "--no-summary", "--out", "run.tape"]);
    words.extend(more);
    folder.run(&words)
}

/// Nobody listens there; what is refused must be refused before anybody would notice.
const NOWHERE: &str = "http://127.0.0.1:9";

#[test]
fn a_trace_that_can_not_be_read_is_refused_before_anything_is_sent() {
    let cases: [(&str, &str); 7] = [
        ("empty.csv", ""),
        ("unknown.csv", "when,prompt,answer\n1,2,3\n"),
        (
            "pointer.csv",
            "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n",
        ),
        (
            "page.csv",
            "<!DOCTYPE html>\n<html><body>Not what you wanted</body></html>\n",
        ),
        ("array.json", "[{\"timestamp\": 1}]\n"),
        ("archive.csv", "PK\u{3}\u{4}..."),
        ("missing.csv", ""),
    ];
    let folder = Folder::new();
    let mut shown = String::new();
    for (name, text) in cases {
        if name != "missing.csv" {
            folder.write(name, text);
        }
        let outcome = replay(&folder, NOWHERE, name, &[]);
        writeln!(shown, "{}\n", outcome.expect_code(4).stderr).unwrap();
    }
    insta::assert_snapshot!(shown, @r"
    error: trace `empty.csv` has no rows
    hint: check that the file was downloaded or written to its end

    error: trace `unknown.csv` has columns of no known format
    found: `when`, `prompt`, `answer`
    known formats: aibrix, apex, azure, bailian, burstgpt, canonical, copilot, evalscope, freeinference, freeinference-requests, guidellm, llmservingsim, llmservingsim-run, mlperf-agentic, mooncake, mooncake-sessions, otel-spans, otlp, ragpulse, tracelab, tracelab-replay, vidur, vllm-timed-trace, weka
    hint: write a mapping for it and name it with `--map FILE.sql`; `traces/README.md` shows how

    error: trace `pointer.csv` is a Git LFS pointer, not the data
    hint: fetch the data with `git lfs pull`, or from the page that hosts the data set

    error: trace `page.csv` is a web page, not data
    hint: download the file itself; a link to a page that shows it gives the page

    error: trace `array.json` is one JSON array, not one object a line
    hint: write one object a line: `jq -c '.[]' FILE > FILE.jsonl`

    error: trace `archive.csv` is a zip archive
    hint: unpack it first; gzip is the only packing that is read as it is

    error: trace `missing.csv` does not exist
    hint: check the path; a trace is a CSV, JSONL or Parquet file, a folder or a glob of such
    ");
    assert!(!folder.path("run.tape").exists());
}

#[test]
fn a_trace_comes_through_a_pipe_and_is_looked_at_before_it_is_replayed() {
    let mock = Mock::answering(&["a"]);
    let rows: String = (0..9).map(|row| format!("{row},7,1\n")).collect();
    let head = "arrival_ns,input_tokens,output_tokens\n";
    for (first, code, requests) in [("", 0, 11), ("0,many,1\n", 4, 0)] {
        let folder = Folder::new();
        let pipe = folder.path("pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let text = format!("{head}{first}{rows}");
        let writer = std::thread::spawn(move || std::fs::write(pipe, text).unwrap());
        let warmups = ["--num-warmups", "2"];
        replay(&folder, &mock.url(), "pipe", &warmups).expect_code(code);
        writer.join().unwrap();
        assert_eq!(folder.names().contains(&"run.tape".to_owned()), code == 0);
        if code == 0 {
            let sql = "SELECT count(*) FROM attempts WHERE status = 'ok'";
            assert_eq!(folder.number("run.tape", sql), requests);
        }
    }
}

#[test]
fn a_trace_without_rows_is_told() {
    let folder = Folder::new();
    folder.write("header.csv", AZURE);
    let outcome = replay(&folder, NOWHERE, "header.csv", &[]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    error: trace `header.csv` has no rows
    hint: check that the file was downloaded or written to its end
    ");
    assert!(!folder.path("run.tape").exists(), "nothing was run");
}

#[test]
fn wrong_words_about_a_trace_are_told() {
    let folder = Folder::new();
    folder.write("trace.csv", format!("{AZURE}2023-11-16 18:17:03,10,10\n"));
    folder.write("bare.sql", "SELECT 1 AS arrival_ns FROM source\n");
    folder.write(
        "wrong.sql",
        "-- name: wrong\n-- purpose: none\n-- requires: TIMESTAMP\nSELECT nothing FROM source\n",
    );
    let cases: [(i32, &[&str]); 8] = [
        (2, &["--format", "azur"]),
        (4, &["--format", "mooncake"]),
        (4, &["--map", "missing.sql"]),
        (4, &["--map", "bare.sql"]),
        (4, &["--map", "wrong.sql"]),
        (2, &["--speed", "0"]),
        (2, &["--sample", "1.5"]),
        (2, &["--format", "azure", "--map", "bare.sql"]),
    ];
    let mut shown = String::new();
    for (code, words) in cases {
        let outcome = replay(&folder, NOWHERE, "trace.csv", words).expect_code(code);
        writeln!(shown, "{}\n", outcome.stderr).unwrap();
    }
    insta::assert_snapshot!(shown, @r#"
    error: there is no trace format `azur`; known are `aibrix`, `apex`, `azure`, `bailian`, `burstgpt`, `canonical`, `copilot`, `evalscope`, `freeinference`, `freeinference-requests`, `guidellm`, `llmservingsim`, `llmservingsim-run`, `mlperf-agentic`, `mooncake`, `mooncake-sessions`, `otel-spans`, `otlp`, `ragpulse`, `tracelab`, `tracelab-replay`, `vidur`, `vllm-timed-trace`, `weka`
    hint: name one with `--format`; `tokentape trace formats` lists them

    error: trace `trace.csv` lacks `timestamp`, `input_length`, `output_length`, `hash_ids` that format `mooncake` requires
    found: `TIMESTAMP`, `ContextTokens`, `GeneratedTokens`
    hint: leave `--format` out to have it recognised, or bring a mapping with `--map FILE.sql`

    error: cannot read mapping `missing.sql`
      caused by: No such file or directory (os error 2)

    error: mapping `bare.sql` has no `-- requires: COLUMNS` line in its header
    hint: begin the file with lines such as `-- requires: time, prompt tokens`; `traces/README.md` shows a whole one

    error: the SQL of mapping `wrong` does not work: no field named nothing.
    Valid fields are source."TIMESTAMP", source."ContextTokens", source."GeneratedTokens", source.__line
    hint: put column names in double quotes; values of CSV and JSONL are text, so CAST them

    error: `--speed 0` is not above 0

    error: `--sample 1.5` is not above 0 and up to 1

    error: the argument '--format <NAME>' cannot be used with '--map <FILE.sql>'

    Usage: tokentape replay --base-url <URL> --backend <NAME> --model <NAME> --no-summary --out <NAME.tape> --format <NAME> <TRACE>

    For more information, try '--help'.
    "#);
    assert!(!folder.path("run.tape").exists());
}

#[test]
fn a_bad_row_is_told_by_file_line_column_and_value() {
    let cases = [
        ("2023-11-16 18:17:03.5,ten,10", "letters"),
        ("2023-11-16 18:17:03.5,0,10", "zero"),
        ("2023-11-16 18:17:03.5,-1,10", "negative"),
        ("2023-11-16 18:17:03.5,10", "short"),
    ];
    let mut shown = String::new();
    for (row, name) in cases {
        let folder = Folder::new();
        folder.write(
            "trace.csv",
            format!("{AZURE}2023-11-16 18:17:03,4,1\n{row}\n"),
        );
        let outcome = replay(&folder, NOWHERE, "trace.csv", &[]);
        let error = outcome
            .stderr
            .lines()
            .find(|line| line.starts_with("error"));
        writeln!(
            shown,
            "{name}: exit code {}: {}",
            outcome.code,
            error.unwrap_or("-")
        )
        .unwrap();
    }
    insta::assert_snapshot!(shown, @r"
    letters: exit code 4: error: `trace.csv` line 3: column `ContextTokens` is `ten`: cannot cast string 'ten' to value of Int64 type
    zero: exit code 4: error: `trace.csv` line 3: column `ContextTokens` is `0`, so `input_tokens` is not a length of at least 1 token
    negative: exit code 4: error: `trace.csv` line 3: column `ContextTokens` is `-1`, so `input_tokens` is not a length of at least 1 token
    short: exit code 4: error: `trace.csv` line 3: has the wrong number of fields: expected 3 got 2
    ");
}

#[test]
fn a_bad_row_that_is_met_late_stops_the_run_and_keeps_the_tape() {
    let mut trace = BURSTGPT.to_owned();
    // The reader looks ahead by 65,536 rows and takes them in batches: the window lies in those
    // rows that have gone out when the bad one is met.
    for row in 0..74_000 {
        writeln!(
            trace,
            "{}.{:03},GPT-4,4,1,5,API log",
            row / 1000,
            row % 1000
        )
        .unwrap();
    }
    let folder = Folder::new();
    folder.write("trace.csv", format!("{trace}75,GPT-4,ten,1,11,API log\n"));
    let mock = Mock::answering(&["a"]);
    let outcome = replay(&folder, &mock.url(), "trace.csv", &["--from", "8s"]);
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    tape: run.tape
    error: `trace.csv` line 74002: column `Request tokens` is `ten`: cannot cast string 'ten' to value of Int64 type
    hint: correct or remove the row, or bring a mapping that marks it `failed`
    ");
    assert_eq!(folder.manifest("run.tape")["state"], "interrupted");
    assert!(
        folder.number(
            "run.tape",
            "SELECT count(*) FROM requests WHERE status = 'ok'"
        ) > 0
    );
}

#[test]
fn time_that_goes_back_further_than_the_look_ahead_stops_the_run_and_keeps_the_tape() {
    let mut trace = BURSTGPT.to_owned();
    for row in 0..66_000 {
        // The first rows are due at once, all others never in this test.
        let at = if row < 200 { 1_000 } else { 1_000_000 + row };
        writeln!(trace, "{at},GPT-4,4,1,5,API log").unwrap();
    }
    writeln!(trace, "1000,GPT-4,4,1,5,API log").unwrap();
    let folder = Folder::new();
    folder.write("trace.csv", trace);
    let mock = Mock::answering(&["a"]);
    let outcome = replay(
        &folder,
        &mock.url(),
        "trace.csv",
        &["--speed", "1000000000"],
    );
    insta::assert_snapshot!(outcome.shown(), @r"
    exit code 4
    --- stderr
    tape: run.tape
    error: `trace.csv` line 66002: time goes back by 999463.000 s, further than a look-ahead of 65536 rows can put right
    hint: put it in order once with `tokentape trace convert --sort TRACE -o FILE.parquet`, and use that file
    ");
    assert_eq!(folder.manifest("run.tape")["state"], "interrupted");
    assert!(
        folder.number(
            "run.tape",
            "SELECT count(*) FROM requests WHERE status = 'ok'"
        ) >= 200
    );
}

/// What a tape has of every request, as a trace had it.
const PLANNED: &str = "SELECT trace_ns, intended_ns, input_tokens_planned, output_tokens_planned, \
                       session_id, class FROM requests ORDER BY request_id";

#[test]
#[expect(clippy::too_many_lines, reason = "a table of traces")]
fn every_format_is_replayed_with_its_times_and_lengths() {
    let traces = [
        (
            "azure.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n\
             2023-11-16 18:17:03.9799600,7,3\n2023-11-16 18:17:04.0319600,9,2\r\n",
        ),
        (
            "azure2024.csv",
            "TIMESTAMP,ContextTokens,GeneratedTokens\n\
             2024-05-10 00:00:00.009930+00:00,7,3\n2024-05-10 00:00:00+00:00,9,2\n",
        ),
        (
            "burstgpt.csv",
            "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
             5,ChatGPT,7,3,10,Conversation log\n5,GPT-4,9,0,9,API log\n6,GPT-4,9,2,11,API log\n",
        ),
        (
            "burstgpt2.csv",
            "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n\
             5,s1,3,ChatGPT,7,3,10,Conversation log\n6,,2,GPT-4,9,2,11,API log\n",
        ),
        (
            "mooncake.jsonl",
            "{\"timestamp\": 27, \"input_length\": 700, \"output_length\": 3, \"hash_ids\": [1, 2]}\n\
             {\"timestamp\": 1027, \"input_length\": 600, \"output_length\": 2, \"hash_ids\": [1, 3]}\n",
        ),
    ];
    let mock = Mock::answering(&["a"]);
    let mut shown = String::new();
    for (name, text) in traces {
        let folder = Folder::new();
        folder.write(name, text);
        let outcome = replay(&folder, &mock.url(), name, &["--speed", "4"]).expect_code(0);
        for line in outcome
            .stderr
            .lines()
            .filter(|line| line.starts_with("note") && *line != TOKENIZER_NOTE)
        {
            writeln!(shown, "{line}").unwrap();
        }
        writeln!(shown, "{name}\n{}\n", folder.table("run.tape", PLANNED)).unwrap();
        // What was sent is as long as the trace says, and asks for as much.
        let words = "SELECT bool_and(input_tokens = input_tokens_planned) AS ok FROM requests";
        assert_eq!(folder.table("run.tape", words), "true");
    }
    insta::assert_snapshot!(shown, @r"
    azure.csv
    0 | 0 | 7 | 3 | - | -
    13000000 | 13000000 | 9 | 2 | - | -

    note: 1 rows stood out of order and were put right
    azure2024.csv
    0 | 0 | 9 | 2 | - | -
    2482500 | 2482500 | 7 | 3 | - | -

    note: 1 rows that the trace marks as failed were left out (`--failed replay` sends them)
    burstgpt.csv
    0 | 0 | 7 | 3 | - | conversation
    250000000 | 250000000 | 9 | 2 | - | api

    burstgpt2.csv
    0 | 0 | 7 | 3 | s1 | conversation
    250000000 | 250000000 | 9 | 2 | - | api

    mooncake.jsonl
    0 | 0 | 700 | 3 | - | -
    250000000 | 250000000 | 600 | 2 | - | -
    ");
    // The two prompts with the same first block begin with the same 512 words.
    let requests = mock.requests();
    let mut prompts = requests
        .iter()
        .map(|request| request.prompt())
        .filter(|p| p.len() > 2_000);
    let words = |prompt: &str| {
        prompt
            .split(' ')
            .take(513)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (first, second) = (
        words(prompts.next().unwrap()),
        words(prompts.next().unwrap()),
    );
    assert_eq!(first[..512], second[..512]);
    assert_ne!(first[512], second[512]);
}

#[test]
fn a_window_a_limit_and_a_speed_take_what_they_say() {
    let mut trace = BURSTGPT.to_owned();
    for second in 0..20 {
        writeln!(trace, "{},GPT-4,4,1,5,API log", 100 + second).unwrap();
    }
    let folder = Folder::new();
    folder.write("trace.csv", trace);
    let mock = Mock::answering(&["a"]);
    let words = [
        "--from", "5s", "--for", "10s", "--limit", "4", "--speed", "20",
    ];
    replay(&folder, &mock.url(), "trace.csv", &words).expect_code(0);
    let times = "SELECT intended_ns FROM requests ORDER BY request_id";
    assert_eq!(
        folder.table("run.tape", times),
        "0\n50000000\n100000000\n150000000"
    );
    let words = ["--from", "5s", "--for", "10s", "--speed", "100", "--force"];
    replay(&folder, &mock.url(), "trace.csv", &words).expect_code(0);
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM requests"),
        10
    );
}

#[test]
fn a_window_without_rows_is_refused_before_there_is_a_tape() {
    let folder = Folder::new();
    folder.write(
        "trace.csv",
        format!("{AZURE}2023-11-16 18:17:03,10,10\n2023-11-16 18:17:17.5,10,10\n"),
    );
    let refused = |words: &[&str]| {
        let outcome = replay(&folder, NOWHERE, "trace.csv", words);
        assert!(!folder.path("run.tape").exists());
        outcome.shown()
    };
    insta::assert_snapshot!(refused(&["--from", "1h"]), @r"
    exit code 2
    --- stderr
    error: `--from` is 3600 s, and trace `trace.csv` is 14.5 s long
    ");
    insta::assert_snapshot!(refused(&["--from", "5s", "--for", "5s"]), @r"
    exit code 2
    --- stderr
    error: trace `trace.csv` has no row from 5 s to 10 s
    ");
}

#[test]
fn a_sample_takes_sessions_whole() {
    let mut trace =
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
            .to_owned();
    for row in 0..60 {
        let session = row % 20;
        writeln!(trace, "{row},s{session},1,GPT-4,4,1,5,API log").unwrap();
    }
    let folder = Folder::new();
    folder.write("trace.csv", trace);
    let mock = Mock::answering(&["a"]);
    let words = ["--sample", "0.5", "--speed", "1000"];
    replay(&folder, &mock.url(), "trace.csv", &words).expect_code(0);
    let sessions = "SELECT count(*) AS sessions, min(n) AS fewest, max(n) AS most FROM \
                    (SELECT session_id, count(*) AS n FROM requests GROUP BY session_id)";
    let shown = folder.table("run.tape", sessions);
    let taken: u32 = shown.split(' ').next().unwrap().parse().unwrap();
    assert!((1..20).contains(&taken), "{shown}");
    assert!(shown.ends_with("| 3 | 3"), "{shown}");
}

#[test]
fn the_bundled_samples_are_recognised() {
    let folder = Folder::new();
    for (name, format) in [
        ("azure.csv", "azure"),
        ("burstgpt.csv", "burstgpt"),
        ("mooncake.jsonl", "mooncake"),
    ] {
        let path = root().join("traces").join(name).display().to_string();
        let outcome = replay(&folder, NOWHERE, &path, &["--dry-run"]).expect_code(0);
        let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
        assert_eq!(plan["trace"]["format"], format);
    }
}

#[test]
fn slices_of_the_published_traces_are_replayed_as_they_are() {
    let files = [
        ("traces/azure/AzureLLMInferenceTrace_code.csv", "azure"),
        ("traces/burstgpt/BurstGPT_1.head400.csv", "burstgpt"),
        ("traces/burstgpt/BurstGPT_3.head400.csv", "burstgpt"),
        ("traces/mooncake/conversation_trace.jsonl", "mooncake"),
    ];
    let mock = Mock::answering(&["a", "b"]);
    for (name, format) in files {
        let Some(path) = shared_file(name) else {
            continue;
        };
        let folder = Folder::new();
        let path = path.display().to_string();
        let words = ["--limit", "40", "--speed", "100000"];
        replay(&folder, &mock.url(), &path, &words).expect_code(0);
        assert_eq!(
            folder.manifest("run.tape")["plan"]["trace"]["format"],
            format
        );
        let facts = "SELECT count(*) AS n, bool_and(status = 'ok') AS ok, \
                     bool_and(trace_ns = intended_ns) AS on_time, min(intended_ns) AS first, \
                     bool_and(input_tokens = input_tokens_planned) AS lengths FROM requests";
        assert_eq!(
            folder.table("run.tape", facts),
            "40 | true | true | 0 | true",
            "{name}"
        );
    }
}

#[test]
fn a_turn_waits_for_its_reply_and_text_of_the_trace_is_sent_as_it_is() {
    let folder = Folder::new();
    // At its time in the trace the second turn would come after an hour.
    folder.write(
        "trace.jsonl",
        concat!(
            r#"{"arrival_ns": 0, "input_tokens": 4, "output_tokens": 1, "session_id": "a"}"#,
            "\n",
            r#"{"arrival_ns": 1000, "output_tokens": 2, "prompt": "say hi"}"#,
            "\n",
            r#"{"arrival_ns": 2000, "output_tokens": 2, "messages": "[{\"role\": \"system\", \"content\": \"be\"}, {\"role\": \"user\", \"content\": \"brief\"}]"}"#,
            "\n",
            r#"{"arrival_ns": 3600000000000, "input_tokens": 5, "output_tokens": 1, "session_id": "a", "think_ns": 3000000}"#,
            "\n",
        ),
    );
    let mock = Mock::answering(&["a"]);
    let words = ["--sessions", "think", "--keep", "text"];
    replay(&folder, &mock.url(), "trace.jsonl", &words).expect_code(0);
    let waited = "SELECT b.intended_ns - a.end_ns AS ns FROM requests a JOIN requests b \
                  ON a.session_id = b.session_id AND b.turn = a.turn + 1";
    assert_eq!(folder.table("run.tape", waited), "3000000");
    let prompts = "SELECT prompt FROM requests WHERE session_id IS NULL ORDER BY request_id";
    assert_eq!(folder.table("run.tape", prompts), "say hi\nbe\nbrief");
    let plan = &folder.manifest("run.tape")["plan"]["trace"];
    assert_eq!(plan["sessions"], "think");
    assert_eq!(plan["ties"], "keep");
    assert_eq!(plan["output_length"], "enforce");
}

#[test]
fn a_turn_holds_what_the_server_said_where_that_is_asked_for() {
    let folder = Folder::new();
    folder.write(
        "trace.jsonl",
        concat!(
            r#"{"arrival_ns": 0, "input_tokens": 1, "output_tokens": 2, "session_id": "a", "prompt": "one", "new_only": true}"#,
            "\n",
            r#"{"arrival_ns": 1000, "input_tokens": 1, "output_tokens": 2, "session_id": "a", "prompt": "two", "new_only": true}"#,
            "\n",
        ),
    );
    let mock = Mock::answering(&["never", " mind"]);
    let live = ["--session-replies", "live", "--sessions", "think"];
    replay(&folder, &mock.url(), "trace.jsonl", &live).expect_code(0);
    let second = &mock.requests()[1].body["messages"];
    assert_eq!(
        *second,
        json!([
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "never mind"},
            {"role": "user", "content": "two"},
        ])
    );
    assert_eq!(
        folder.manifest("run.tape")["plan"]["trace"]["session_replies"],
        "live"
    );
    // Of a run that asks for nothing the like, the tape keeps no text of it.
    assert_eq!(
        folder.table("run.tape", "SELECT count(output) FROM requests"),
        "0"
    );
}

#[test]
fn live_replies_are_refused_where_no_turn_could_hold_them() {
    let folder = Folder::new();
    let lengths = r#"{"arrival_ns": 0, "input_tokens": 4, "output_tokens": 1, "session_id": "a"}"#;
    folder.write("lengths.jsonl", lengths);
    let mock = Mock::answering(&["a"]);
    let refused = |words: &[&str], why: &str| {
        let words = [&["--session-replies", "live"], words].concat();
        let outcome = replay(&folder, &mock.url(), "lengths.jsonl", &words).expect_code(2);
        assert!(outcome.stderr.contains(why), "{}", outcome.stderr);
    };
    refused(&[], "needs turns that wait");
    refused(
        &["--sessions", "later"],
        "needs a trace whose turns have texts",
    );
    assert!(mock.requests().is_empty() && !folder.path("run.tape").exists());
}

#[test]
fn ties_are_spread_and_prefixes_planned_as_the_trace_has_them() {
    let folder = Folder::new();
    let mut trace = String::new();
    for row in 0_u64..40 {
        writeln!(
            trace,
            "{{\"timestamp\": {}, \"input_length\": 700, \"output_length\": 1, \"hash_ids\": [0, {}]}}",
            row / 4 * 3_000,
            row + 1
        )
        .unwrap();
    }
    folder.write("trace.jsonl", trace);
    let mock = Mock::answering(&["a"]);
    let words = ["--ties", "uniform", "--speed", "300"];
    replay(&folder, &mock.url(), "trace.jsonl", &words).expect_code(0);
    let gaps = "SELECT DISTINCT gap FROM (SELECT intended_ns - lag(intended_ns) OVER (ORDER BY \
                request_id) AS gap FROM requests) WHERE gap IS NOT NULL ORDER BY gap";
    assert_eq!(folder.table("run.tape", gaps), "2500000");
    let prefixes = "SELECT prefix_tokens_planned, count(*) FROM requests GROUP BY 1 ORDER BY 1";
    assert_eq!(folder.table("run.tape", prefixes), "0 | 1\n512 | 39");
}

#[test]
fn turns_that_hold_what_is_new_are_sent_with_their_history_and_it_is_said() {
    let folder = Folder::new();
    folder.write(
        "delta.jsonl",
        concat!(
            r#"{"session_id":"s1","input_length":5000,"output_length":4,"hash_ids":[0,1,2,3,4,5,6,7,8,9],"timestamp":0.0}"#,
            "\n",
            r#"{"session_id":"s1","input_length":300,"output_length":2,"hash_ids":[10],"delay":20.5}"#,
            "\n",
        ),
    );
    let mock = Mock::answering(&["a"]);
    let outcome = replay(&folder, &mock.url(), "delta.jsonl", &["--keep", "text"]).expect_code(0);
    assert!(
        outcome
            .stderr
            .contains("note: the turns of sessions hold only what is new in them"),
        "{}",
        outcome.stderr
    );
    let planned = "SELECT input_tokens_planned FROM requests ORDER BY request_id";
    assert_eq!(folder.table("run.tape", planned), "5000\n5304");
    let begins = "SELECT starts_with(b.prompt, a.prompt) AS it FROM requests a JOIN requests b \
                  ON a.turn = 0 AND b.turn = 1";
    assert_eq!(folder.table("run.tape", begins), "true");
    let plan = &folder.manifest("run.tape")["plan"];
    assert_eq!(plan["trace"]["session_prompts"], "auto");
    assert_eq!(plan["session_prompts"], "new");
    let report = folder.run(&["analyze", "run.tape", "--markdown", "-"]);
    assert!(
        report.stdout.contains("session\\_prompts | `new`"),
        "{}",
        report.stdout
    );
}

#[test]
fn what_a_row_says_of_its_request_is_sent_or_named() {
    let folder = Folder::new();
    folder.write(
        "messages.jsonl",
        concat!(
            r#"{"session_id": "s", "message_mode": "delta", "timestamp": 0, "messages": [{"role": "user", "content": "hi"}], "tools": [{"type": "function"}], "output_length": 3, "lora": "x"}"#,
            "\n",
            r#"{"session_id": "s", "message_mode": "delta", "delay": 5, "messages": [{"role": "user", "content": "ho"}], "response_format": {"type": "text"}, "output_length": 2, "extra": {"nvext": {"priority": 9}}}"#,
            "\n",
        ),
    );
    let mock = Mock::answering(&["a"]);
    let extra = ["--extra-body", r#"{"response_format": {"type": "mine"}}"#];
    let outcome = replay(&folder, &mock.url(), "messages.jsonl", &extra).expect_code(0);
    assert!(
        outcome
            .stderr
            .contains("note: not sent, as the format `mooncake-sessions` does not read it: lora"),
        "{}",
        outcome.stderr
    );
    let mut bodies: Vec<_> = mock
        .requests()
        .into_iter()
        .map(|request| request.body)
        .collect();
    // They are so close that the server may take the second one first.
    bodies.sort_by_key(|body| body["messages"].as_array().map(Vec::len));
    assert_eq!(bodies.len(), 2);
    assert_eq!(bodies[0]["tools"][0]["type"], "function");
    assert_eq!(bodies[1]["tools"], bodies[0]["tools"]);
    assert_eq!(bodies[1]["nvext"]["priority"], 9);
    assert_eq!(bodies[1]["response_format"]["type"], "mine");
    let roles: Vec<_> = bodies[1]["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| message["role"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(roles, ["user", "assistant", "user"]);
    assert_eq!(
        folder.manifest("run.tape")["plan"]["columns_dropped"],
        "lora"
    );
}

#[test]
fn a_dry_run_finds_the_bad_row_that_the_run_would_meet_late() {
    let mut trace = BURSTGPT.to_owned();
    for row in 0..74_000 {
        writeln!(trace, "{row},GPT-4,4,1,5,API log").unwrap();
    }
    let folder = Folder::new();
    folder.write(
        "trace.csv",
        format!("{trace}75000,GPT-4,ten,1,11,API log\n"),
    );
    let outcome = replay(&folder, NOWHERE, "trace.csv", &["--dry-run"]).expect_code(4);
    assert_eq!(outcome.stdout, "");
    assert!(
        outcome
            .stderr
            .contains("line 74002: column `Request tokens` is `ten`")
    );
    folder.write("trace.csv", trace);
    let outcome = replay(&folder, NOWHERE, "trace.csv", &["--dry-run"]).expect_code(0);
    assert!(outcome.stdout.contains("\"session_prompts\": \"auto\""));
}

#[test]
fn a_first_row_that_can_not_be_read_runs_nothing() {
    let folder = Folder::new();
    folder.write("bad.csv", format!("{BURSTGPT}1,GPT-4,abc,1,5,API log\n"));
    let outcome = replay(&folder, NOWHERE, "bad.csv", &[]).expect_code(4);
    assert!(
        outcome
            .stderr
            .starts_with("error: `bad.csv` line 2: column `Request tokens` is `abc`")
    );
    assert!(!folder.path("run.tape").exists());
}

#[test]
fn recordings_that_start_at_zero_are_refused_or_put_one_behind_the_other() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("both")).unwrap();
    let recording: String = (0..5)
        .map(|row| {
            format!("{{\"timestamp\": {}, \"input_length\": 4, \"output_length\": 1, \"hash_ids\": []}}\n", row * 20)
        })
        .collect();
    folder.write("both/a.jsonl", &recording);
    folder.write("both/b.jsonl", &recording);
    let outcome = replay(&folder, NOWHERE, "both", &[]).expect_code(4);
    assert!(
        outcome
            .stderr
            .contains("this file is a recording of its own"),
        "{}",
        outcome.stderr
    );
    assert!(outcome.stderr.contains("--restarts continue"));
    let mock = Mock::answering(&["a"]);
    replay(&folder, &mock.url(), "both", &["--restarts", "continue"]).expect_code(0);
    let span = "SELECT max(intended_ns) / 1000000 AS ms FROM requests";
    assert_eq!(folder.table("run.tape", span), "160");
}
