//! The bundled traces and small made ones, as people and scripts see them.

use std::path::Path;

use serde_json::Value;

use super::{SKETCH_COLUMNS, advice, json, terminal};
use crate::report::columns::columns;
use crate::trace::{BUNDLED, Inspected, Inspection, inspect};

const AZURE: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

async fn look(text: &str, asked: Inspection) -> Inspected {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace");
    std::fs::write(&path, text).unwrap();
    let asked = Inspection {
        path,
        sketch_columns: SKETCH_COLUMNS,
        ..asked
    };
    inspect(&asked).await.unwrap()
}

async fn text_of(trace: &str) -> String {
    let found = look(trace, Inspection::default()).await;
    terminal::terminal(Path::new("trace"), &found, false)
}

async fn json_of(trace: &str, asked: Inspection) -> Value {
    json::json(Path::new("trace"), &look(trace, asked).await)
}

fn bundled(name: &str) -> &'static str {
    let found = BUNDLED.iter().find(|trace| trace.file_name == name);
    found.unwrap().text
}

#[tokio::test]
async fn batches_and_prefixes_are_told() {
    insta::assert_snapshot!(text_of(bundled("mooncake.jsonl")).await, @r"
    =============================== Trace ================================
    trace
    Format:                       mooncake
    Rows:                         100
    Failed rows:                  0
    Span (s):                     57.000
    ------------------------------ Arrivals ------------------------------
    Mean rate (req/s):            1.754
    Fullest second (requests):    5, from 0 s on
    Fullest minute (requests):    100, from 0 s on
    CV of the gaps:               2.052 (Poisson: 1)
    Longest gap (s):              3.000
    Dispersion by second:         3.276 (Poisson: 1)
    Distinct times:               20, 3 s apart at the median
    Rows that share a time:       100, at most 5 at once
    Clock step:                   3 s (the format: 1 ms)
    Clock restarts:               0
    Rows out of order:            0

    Requests a second over time, 950 ms a column, at most 5.26:
    █  █  █  █  █  █  █   █  █  █  █  █  █   █  █  █  █  █  █  █
    0                          28.5 s                       57 s

    -------------------------------- Rows --------------------------------
                         p50      p90      p99     max     mean
    Input tokens     2,949.5  6,710.2  9,210.5  10,847  3,484.8
    Output tokens      112.5    372.6    449.3     477    156.8
    Turns a session        –        –        –       –        –
    Think time (s)         –        –        –       –        –
    Sessions:                     0 (100 rows in none)
    Ideal prefix-cache hits:      59.2 % of 735 blocks, of which 300 differ
    ======================================================================
    Note: arrivals come in batches about every 3 s, of 5 rows on average; a replay
      sends each batch at once, and `--ties uniform` spreads it.
    ");
}

#[tokio::test]
async fn sessions_failures_and_a_coarse_clock_are_told() {
    insta::assert_snapshot!(text_of(bundled("burstgpt.csv")).await, @r"
    =============================== Trace ================================
    trace
    Format:                       burstgpt
    Rows:                         200
    Failed rows:                  7
    Span (s):                     591.000
    ------------------------------ Arrivals ------------------------------
    Mean rate (req/s):            0.338
    Fullest second (requests):    3, from 182 s on
    Fullest minute (requests):    24, from 480 s on
    CV of the gaps:               0.682 (Poisson: 1)
    Longest gap (s):              6.000
    Dispersion by second:         1.022 (Poisson: 1)
    Distinct times:               167, 4 s apart at the median
    Rows that share a time:       63, at most 3 at once
    Clock step:                   1 s (the format: 1 s)
    Clock restarts:               0
    Rows out of order:            0

    Requests a second over time, 9.85 s a column, at most 0.7107:
    ▄▅▃▃▃▅▃▄▃▃▄▄▅▄▄▂▃▄▇▅▃▄▄▄▅▅▄▆▃▄▃▅▃▃▇▅▄█▃▄▄▄▄▄█▅▅▄▄▃▅▄▅▄▇▅▆▅▂▇
    0                          295.5 s                     591 s

    -------------------------------- Rows --------------------------------
                       p50    p90    p99    max   mean
    Input tokens     219.0  735.0  935.2    959  310.4
    Output tokens    126.0  522.5  629.0    638  204.6
    Turns a session    4.0    6.2    9.0      9    4.0
    Think time (s)    74.0  208.8  404.9  440.0  101.2
    Sessions:                     39 (44 rows in none)
    Ideal prefix-cache hits:      –
    Models (rows):                ChatGPT 147, GPT-4 53
    Classes (rows):               conversation 156, api 44
    ======================================================================
    Note: the clock counts in steps of 1 s, and 63 rows share a time with another:
      when they came inside a step is not known; a replay sends them at once, and
      `--ties uniform` spreads them.
    Note: 7 rows are marked as failed; they count in all numbers here, and a replay
      leaves them out unless it has `--failed replay`.
    Note: neither read nor sent: Total tokens.
    ");
}

#[tokio::test]
async fn one_row_has_no_rate_and_no_sketch() {
    let trace = format!("{AZURE}2026-01-05 09:00:00,10,3\n");
    insta::assert_snapshot!(text_of(&trace).await, @r"
    =============================== Trace ================================
    trace
    Format:                       azure
    Rows:                         1
    Failed rows:                  0
    Span (s):                     0.000
    ------------------------------ Arrivals ------------------------------
    Mean rate (req/s):            –
    Fullest second (requests):    1, from 0 s on
    Fullest minute (requests):    1, from 0 s on
    CV of the gaps:               –
    Longest gap (s):              –
    Dispersion by second:         0.000 (Poisson: 1)
    Distinct times:               1
    Rows that share a time:       0
    Clock step:                   – (the format: 1 µs)
    Clock restarts:               0
    Rows out of order:            0
    -------------------------------- Rows --------------------------------
                      p50   p90   p99  max  mean
    Input tokens     10.0  10.0  10.0   10  10.0
    Output tokens     3.0   3.0   3.0    3   3.0
    Turns a session     –     –     –    –     –
    Think time (s)      –     –     –    –     –
    Sessions:                     0 (1 rows in none)
    Ideal prefix-cache hits:      –
    ======================================================================
    ");
}

#[tokio::test]
async fn what_does_not_exist_is_null_and_never_no_number() {
    let row = "2026-01-05 09:00:00,10,3\n";
    let window = Inspection {
        from_ns: 1,
        ..Inspection::default()
    };
    let cases = [
        (row.to_owned(), window),
        (row.to_owned(), Inspection::default()),
        (row.repeat(2), Inspection::default()),
        (row.repeat(500), Inspection::default()),
    ];
    let mut shown = Vec::new();
    for (rows, asked) in cases {
        let found = json_of(&format!("{AZURE}{rows}"), asked).await;
        let keys = "rows span_s mean_rate_per_s peak_1s peak_60s iat_cv dispersion_1s \
                    distinct_times ideal_prefix_hit iat_max_s";
        let values: Vec<String> = keys
            .split_whitespace()
            .map(|key| found[key].to_string())
            .collect();
        let p50 = &found["input_tokens"]["p50"];
        shown.push(format!("{} | {p50}", values.join(" ")));
        assert!(!found.to_string().contains("NaN"));
    }
    insta::assert_snapshot!(shown.join("\n"), @r"
    0 null null null null null null 0 null null | null
    1 0.0 null 1 1 null 0.0 1 null null | 10.0
    2 0.0 null 2 2 null 0.0 1 null 0.0 | 10.0
    500 0.0 null 500 500 null 0.0 1 null 0.0 | 10.0
    ");
}

#[tokio::test]
async fn an_empty_window_is_told() {
    let trace = format!("{AZURE}2026-01-05 09:00:00,10,3\n");
    let asked = Inspection {
        from_ns: 1,
        ..Inspection::default()
    };
    let found = look(&trace, asked).await;
    let text = terminal::terminal(Path::new("trace"), &found, true);
    assert!(text.contains("none of the 1 rows that were read"), "{text}");
    assert!(text.contains("\u{1b}[1;33mNote:\u{1b}[0m"), "{text}");
}

#[tokio::test]
async fn every_bound_and_every_disorder_is_told() {
    let trace = format!("{AZURE}2026-01-05 09:00:00,10,3\n");
    let mut found = look(&trace, Inspection::default()).await;
    assert_eq!(advice::advice(&found), Vec::<String>::new());
    found.clock_restarts = 2;
    found.out_of_order = 5;
    found.too_late = 2;
    found.contents.prefixes.rows = 1_000;
    found.contents.prefixes.rows_left_out = 3;
    found.contents.sessions.is_estimated = true;
    for tokens in [
        &mut found.contents.input_tokens,
        &mut found.contents.output_tokens,
    ] {
        tokens.as_mut().unwrap().is_exact = false;
    }
    insta::assert_snapshot!(advice::advice(&found).join("\n"), @r"
    the clock starts anew 2 times, as where several recordings stand one behind the other; here it goes on from where it was, and with `--restarts continue` in a replay; if this is one recording that is out of order, `tokentape trace convert --sort` puts it right first
    3 rows stand after a younger one and were put in order
    2 rows stand further back than a look-ahead of 65,536 rows can put right; they count with a gap of nothing where they stand, so that rates, gaps and peaks are not exact; `tokentape trace convert --sort` puts the file in order
    the prefix-cache hits are those of the first 1,000 rows with blocks: the other 3 came after more different blocks than are kept
    there are more sessions than are kept: their number is an estimate, and their turns are those of a sample
    there are more different values than are kept of input tokens, output tokens: their percentiles are rounded by up to 0.025 %
    ");
}

#[tokio::test]
async fn no_line_is_wider_than_a_terminal() {
    let name = "東京".repeat(200);
    let mut trace = "arrival_ns,input_tokens,output_tokens,model\n".to_owned();
    for row in 0_i64..200 {
        // A clock that starts anew, rows out of order, many long names.
        let at =
            [row * 1_000_000_000_000, 0, 5][usize::from(row % 7 == 6) + usize::from(row > 190)];
        trace.push_str(&format!("{at},16777216,16777216,{row}{name}\u{1b}[31m\n"));
    }
    let text = text_of(&trace).await;
    for line in text.lines() {
        assert!(columns(line) <= 80, "{} columns: {line}", columns(line));
    }
    assert!(!text.contains('\u{1b}'));
    assert!(text.contains("others 192"), "{text}");
}

#[tokio::test]
async fn every_key_of_the_contract_is_there() {
    for trace in BUNDLED {
        let found = json_of(trace.text, Inspection::default()).await;
        let keys = "rows span_s mean_rate_per_s peak_1s peak_60s iat_cv dispersion_1s \
                    distinct_times clock_restarts input_tokens output_tokens sessions failed_rows";
        for key in keys.split_whitespace() {
            assert!(!found[key].is_null(), "{}: {key}", trace.file_name);
        }
        assert!(found.get("ideal_prefix_hit").is_some());
        for key in ["p50", "p90", "p99", "max", "mean"] {
            assert!(found["input_tokens"][key].is_number(), "{key}");
            assert!(found["output_tokens"][key].is_number(), "{key}");
        }
    }
}
