//! `trace inspect`: what is printed, in which form, and what ends it.

use serde_json::Value;

use crate::program::{Folder, root};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

fn bundled(name: &str) -> String {
    root().join("traces").join(name).display().to_string()
}

#[test]
fn a_trace_is_told_as_text_and_as_one_object() {
    let folder = Folder::new();
    let trace = bundled("burstgpt.csv");
    let text = folder.run(&["trace", "inspect", &trace]).expect_code(0);
    assert_eq!(text.stderr, "");
    assert!(!text.stdout.contains('\u{1b}'), "a pipe takes no colour");
    assert!(text.stdout.contains("Failed rows:                  7\n"));
    let json = folder
        .run(&["trace", "inspect", &trace, "--json"])
        .expect_code(0);
    assert_eq!(json.stderr, "");
    let found: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(found["format"], "burstgpt");
    assert_eq!(found["rows"], 200);
    assert_eq!(found["failed_rows"], 7);
    assert_eq!(found["sessions"], 39);
    assert_eq!(found["span_s"], 591.0);
    assert_eq!(found["ideal_prefix_hit"], Value::Null);
    assert_eq!(found["quantum_s"]["detected"], 1.0);
}

#[test]
fn a_window_a_limit_and_a_mapping_are_obeyed() {
    let folder = Folder::new();
    folder.write("log.csv", "at,in,out\n100,5,1\n101,6,1\n105,7,1\n300,8,1\n");
    folder.write(
        "log.sql",
        "-- name: log\n-- requires: at, in, out\n\
         SELECT CAST(\"at\" AS BIGINT) * 1000000000 AS arrival_ns,\n\
         CAST(\"in\" AS BIGINT) AS input_tokens, CAST(\"out\" AS BIGINT) AS output_tokens\n\
         FROM source\n",
    );
    let look = |more: &[&str]| -> Value {
        let words = ["trace", "inspect", "log.csv", "--map", "log.sql", "--json"];
        let outcome = folder.run(&[&words, more].concat()).expect_code(0);
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    let all = look(&[]);
    assert_eq!((&all["rows"], &all["format"]), (&4.into(), &"log".into()));
    assert_eq!(all["span_s"], 200.0);
    let window = look(&["--from", "1s", "--for", "100s"]);
    assert_eq!(
        (&window["rows"], &window["span_s"]),
        (&2.into(), &4.0.into())
    );
    assert_eq!(window["input_tokens"]["max"], 7);
    assert_eq!(look(&["--limit", "3"])["rows"], 3);
}

#[test]
fn what_can_not_be_looked_at_is_told() {
    let folder = Folder::new();
    folder.write("header.csv", AZURE);
    folder.write("bad.csv", format!("{AZURE}2026-01-05 09:00:00,ten,1\n"));
    folder.write("good.csv", format!("{AZURE}2026-01-05 09:00:00,10,1\n"));
    let cases: [(i32, &[&str]); 5] = [
        (4, &["header.csv"]),
        (4, &["bad.csv"]),
        (4, &["missing.csv"]),
        (2, &["good.csv", "--sample", "2"]),
        (2, &["good.csv", "--format", "azur"]),
    ];
    let mut shown = String::new();
    for (code, words) in cases {
        let outcome = folder
            .run(&[&["trace", "inspect", "--json"], words].concat())
            .expect_code(code);
        assert_eq!(outcome.stdout, "", "{words:?}");
        shown += outcome.stderr.trim_end();
        shown += "\n\n";
    }
    insta::assert_snapshot!(shown, @r"
    error: trace `header.csv` has no rows
    hint: check that the file was downloaded or written to its end

    error: `bad.csv` line 2: column `ContextTokens` is `ten`: cannot cast string 'ten' to value of Int64 type
    hint: correct or remove the row, or bring a mapping that marks it `failed`

    error: trace `missing.csv` does not exist
    hint: check the path; a trace is a CSV, JSONL or Parquet file, a folder or a glob of such

    error: `--sample 2` is not above 0 and up to 1

    error: there is no trace format `azur`; known are `aibrix`, `apex`, `azure`, `bailian`, `burstgpt`, `canonical`, `copilot`, `evalscope`, `freeinference`, `freeinference-requests`, `guidellm`, `llmservingsim`, `llmservingsim-run`, `mlperf-agentic`, `mooncake`, `mooncake-sessions`, `otel-spans`, `otlp`, `ragpulse`, `tracelab`, `tracelab-replay`, `vidur`, `vllm-timed-trace`, `weka`
    hint: name one with `--format`; `tokentape trace formats` lists them
    ");
}

#[test]
fn time_that_goes_back_ends_no_inspection() {
    let mut trace = "arrival_ns,input_tokens,output_tokens\n".to_owned();
    // More rows than the look-ahead, then some from far back.
    for row in 0_i64..70_000 {
        trace += &format!("{},1,1\n", row * 1_000_000_000);
    }
    trace += "40000000000000,1,1\n69999000000000,1,1\n0,1,1\n5000000000,1,1\n";
    let folder = Folder::new();
    folder.write("trace.csv", trace);
    let outcome = folder
        .run(&["trace", "inspect", "trace.csv", "--json"])
        .expect_code(0);
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(found["rows"], 70_004);
    assert_eq!(found["clock_restarts"], 0, "of dates no clock starts again");
    assert_eq!(found["out_of_order"], 3);
    assert_eq!(found["span_s"], 69_999.0);
}
