//! The summary of one run, of several, and of what must not break it.

use super::*;
use crate::analyze::{Cell, Column, Table};
use crate::report::columns::columns;
use crate::report::fixture;

#[test]
fn one_run_has_the_shape_that_people_know() {
    insta::assert_snapshot!(terminal(&fixture::single(), &TerminalOptions::default()), @r#"
    VALID: the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340 ms (limit
      1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 0.182 ms at p99
      (self-check)
    ====================== Serving Benchmark Result ======================
    Run:                                         demo
    Successful requests:                         990
    Failed requests:                             8
    Cancelled requests:                          2
    Peak requests in flight:                     148
    Benchmark duration (s):                      31.62
    Total input tokens:                          506880
    Total generated tokens:                      179190
    Request throughput, steady (req/s):          31.40
    Output token throughput, steady (tok/s):     5683.40
    Total token throughput, steady (tok/s):      21760.20
    Request throughput, whole run (req/s):       29.20
    Output token throughput, whole run (tok/s):  5285.56
    Total token throughput, whole run (tok/s):   20236.99
    ------------------ Latency in ms (lower is better) -------------------
    metric                 n      mean       p50       p90        p99        max
    TTFT                 990     94.92     84.00    128.05     450.25     610.00
    TTFT (intended)      990     95.37     84.40    132.91     644.45     900.00
    TPOT                 971     24.30     21.50     31.41      53.61      64.00
    ITL              178,200     22.37     19.80     32.64     217.32     310.00
    E2EL                 990  4,452.20  3,940.00  5,757.75   9,872.12  11,800.00
    E2EL (intended)      990  4,452.88  3,940.60  5,763.03  10,073.11  12,100.00
    Goodput by due time, whole run (req/s):      28.20 (89.1 % of 1000 met every goal)
    ======================================================================
    Grades: TTFT p50 84.40 ms, TPOT p50 21.50 ms excellent; TPOT p99 ÷ p50 2.49 fair; success 99.0 %
      good (built-in rules of thumb).
    Seen: 1 % of the gaps between tokens are over 217.32 ms, where the median is 19.8 ms; gaps are
      longer when more requests begin.
      Likely: prompts are read in the same steps in which answers are written, and hold those up. To
        try: chunk long prompts, give a step a smaller budget of tokens, or prefill on machines of its
        own.
    Warning: 8 of 1,000 requests failed (0.8 %): latencies cover successful requests only, and a server
      that refuses work looks fast.
      To do: see the errors by kind before you quote a latency.
    Warning: 2 requests were cancelled or never sent: the slowest requests are the ones that are cut
      off, so the tail is too good.
      To do: allow more time with --drain, or lower the load.
    "#);
}

#[test]
fn groups_stand_against_the_first_group_in_the_place_of_runs() {
    let text = terminal(&fixture::grouped(), &TerminalOptions::default());
    let from = text.find("- new (3 runs)").unwrap() + 2;
    let table: Vec<&str> = text[from..].lines().take(6).collect();
    insta::assert_snapshot!(table.join("\n"), @r#"
    new (3 runs) against old (2 runs) ------------------
    group  number          first group  this group   change           interval  verdict
    new    ttft p50 ms           80.00      100.00  +25.0 %  -2.0 % to +30.0 %  no difference
    new    ok_share share         1.00        0.90  -10.0 %  -2.0 % to +30.0 %  worse
    verdicts are over repeated runs; all together alarm falsely with a chance of 5 % at most, and each
      interval beside one is that which it stands on
    "#);
    assert!(!text.contains("Against the first run"));
}

#[test]
fn several_runs_stand_side_by_side() {
    insta::assert_snapshot!(terminal(&fixture::several(2), &TerminalOptions::default()), @r#"
    batch-1: VALID: the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340
      ms (limit 1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 0.182 ms at
      p99 (self-check)
    batch-2: VALID: the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340
      ms (limit 1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 0.182 ms at
      p99 (self-check)
    ================================ Runs ================================
    run       ok  failed  duration s  window  req/s  output tok/s  total tok/s
    batch-1  990       8        31.6  steady  31.40       5,683.4     21,760.2
    batch-2  990       8        31.6  steady  36.48       6,603.5     25,283.1
    ------------------ Latency in ms (lower is better) -------------------
    run      metric                 n      mean       p50       p90        p99        max
    batch-1  TTFT                 990     94.92     84.00    128.05     450.25     610.00
    batch-2  TTFT                 990    128.14    113.40    177.13     800.65   1,111.73
    batch-1  TTFT (intended)      990     95.37     84.40    132.91     644.45     900.00
    batch-2  TTFT (intended)      990    128.75    113.94    185.71   1,154.49   1,640.25
    batch-1  TPOT                 971     24.30     21.50     31.41      53.61      64.00
    batch-2  TPOT                 971     32.80     29.03     42.41      72.37      86.40
    batch-1  ITL              178,200     22.37     19.80     32.64     217.32     310.00
    batch-2  ITL              178,200     30.20     26.73     44.06     293.39     418.50
    batch-1  E2EL                 990  4,452.20  3,940.00  5,757.75   9,872.12  11,800.00
    batch-2  E2EL                 990  6,010.47  5,319.00  7,772.96  13,327.36  15,930.00
    batch-1  E2EL (intended)      990  4,452.88  3,940.60  5,763.03  10,073.11  12,100.00
    batch-2  E2EL (intended)      990  6,011.39  5,319.81  7,780.09  13,598.70  16,335.00
    Goodput by due time, batch-1, whole run (req/s): 28.20 (89.1 % of 1000 met every goal)
    Goodput by due time, batch-2, whole run (req/s): 20.89 (66.0 % of 1000 met every goal)
    ----------------------- Against the first run ------------------------
    number                first run   this run   change  interval  verdict
    ttft p50 ms               84.00     113.40  +35.0 %         –  not judged
    ttft p99 ms              450.25     800.65  +77.8 %         –  not judged
    ttft_intended p50 ms      84.40     113.94  +35.0 %         –  not judged
    ttft_intended p99 ms     644.45   1,154.49  +79.1 %         –  not judged
    tpot p50 ms               21.50      29.03  +35.0 %         –  not judged
    tpot p99 ms               53.61      72.37  +35.0 %         –  not judged
    itl p50 ms                19.80      26.73  +35.0 %         –  not judged
    itl p99 ms               217.32     293.39  +35.0 %         –  not judged
    e2el p50 ms            3,940.00   5,319.00  +35.0 %         –  not judged
    e2el p99 ms            9,872.12  13,327.36  +35.0 %         –  not judged
    e2el_intended p50 ms   3,940.60   5,319.81  +35.0 %         –  not judged
    e2el_intended p99 ms  10,073.11  13,598.70  +35.0 %         –  not judged
    output_tps tokens/s    5,683.40   6,603.51  +16.2 %         –  not judged
    not judged: not tested; the interval is one of 95 % by itself
    ======================================================================
    Grades of batch-1: TTFT p50 84.40 ms, TPOT p50 21.50 ms excellent; TPOT p99 ÷ p50 2.49 fair; success
      99.0 % good (built-in rules of thumb).
    Grades of batch-2: TTFT p50 113.94 ms good; TPOT p50 29.03 ms excellent; TPOT p99 ÷ p50 2.49 fair;
      success 99.0 % good (built-in rules of thumb).
    Warning, for 2 runs: latencies cover successful requests only, and a server that refuses work looks
      fast.
      batch-1: 8 of 1,000 requests failed (0.8 %)
      batch-2: 8 of 1,000 requests failed (0.8 %)
      To do: see the errors by kind before you quote a latency.
    Warning, for 2 runs: the slowest requests are the ones that are cut off, so the tail is too good.
      batch-1: 2 requests were cancelled or never sent
      batch-2: 2 requests were cancelled or never sent
      To do: allow more time with --drain, or lower the load.
    "#);
}

#[test]
fn no_line_is_wider_than_100_columns_whatever_the_input() {
    let options = TerminalOptions {
        percentiles: percentiles(&[1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9]),
        ..TerminalOptions::default()
    };
    for analysis in [fixture::single(), fixture::several(8), fixture::hostile()] {
        for line in terminal(&analysis, &options).lines() {
            assert!(columns(line) <= WIDTH, "{} columns: {line}", columns(line));
        }
    }
}

#[test]
fn text_from_outside_cannot_move_the_cursor() {
    let text = terminal(&fixture::hostile(), &TerminalOptions::default());
    assert!(
        !text
            .chars()
            .any(|letter| letter.is_control() && letter != '\n')
    );
    assert!(!text.contains('\u{202e}'));
}

#[test]
fn colour_only_when_asked_for() {
    let options = TerminalOptions {
        color: true,
        ..TerminalOptions::default()
    };
    let painted = terminal(&fixture::single(), &options);
    assert!(
        painted.starts_with("\u{1b}[1;32mVALID\u{1b}[0m"),
        "{painted}"
    );
    assert!(!terminal(&fixture::single(), &TerminalOptions::default()).contains('\u{1b}'));
}

fn percentiles(all: &[f64]) -> Vec<Percentile> {
    all.iter().filter_map(|one| Percentile::new(*one)).collect()
}

#[test]
fn a_table_that_goes_on_repeats_no_statistic() {
    let options = TerminalOptions {
        metrics: vec!["tpot".to_owned()],
        percentiles: percentiles(&[50.0, 90.0, 95.0, 99.0, 99.9]),
        width: 60,
        ..TerminalOptions::default()
    };
    let text = terminal(&fixture::single(), &options);
    assert_eq!(text.matches("  mean").count(), 1, "{text}");
    assert!(text.contains("\nmetric   p99.9\n"), "{text}");
    let wide = TerminalOptions {
        width: 100,
        ..options
    };
    assert!(!terminal(&fixture::single(), &wide).contains("\nmetric   p99.9\n"));
}

/// Takes the steady window away, as where all requests are due at once.
fn without_steady(analysis: &mut Analysis) {
    for table in &mut analysis.tables {
        let window = table
            .columns
            .iter()
            .position(|column| column.name == "window_name");
        let is_steady = |row: &Vec<Cell>| window.is_some_and(|at| row[at].text() == Some("steady"));
        if table.name == "throughput_windows" {
            let from = table
                .columns
                .iter()
                .position(|column| column.name == "seconds")
                .unwrap();
            for row in table.rows.iter_mut().filter(|row| is_steady(row)) {
                row[from..].fill(Cell::Null);
            }
        }
        table
            .rows
            .retain(|row| table.name != "comparison" || row[2].text() != Some("steady"));
    }
}

#[test]
fn the_whole_run_is_labelled_and_first_where_nothing_was_steady() {
    let mut analysis = fixture::single();
    without_steady(&mut analysis);
    let text = terminal(&analysis, &TerminalOptions::default());
    let rates: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("throughput"))
        .collect();
    insta::assert_snapshot!(rates.join("\n"), @r#"
    Request throughput, whole run (req/s):       29.20
    Output token throughput, whole run (tok/s):  5285.56
    Total token throughput, whole run (tok/s):   20236.99
    "#);
    let mut several = fixture::several(2);
    without_steady(&mut several);
    let text = terminal(&several, &TerminalOptions::default());
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("whole run  "))
        .collect();
    assert!(
        lines.iter().any(|line| line.starts_with("batch-1  ")),
        "{text}"
    );
}

#[test]
fn a_limited_client_says_so_in_words_with_its_numbers_below() {
    let text = terminal(&fixture::limited(), &TerminalOptions::default());
    let first: Vec<&str> = text.lines().take(3).collect();
    insta::assert_snapshot!(first.join("\n"), @r#"
    CLIENT-LIMITED: This computer was too busy to measure: times may be up to 7.3 ms too long. Do not
      quote them.
      p99 send slip 7.300 ms (limit 1.000 ms); before the run the client added at most 0.182 ms at p99
    "#);
    assert!(
        text.contains("TTFT p50 84.40 ms, TPOT p50 21.50 ms, TPOT p99 ÷ p50 2.49 not graded"),
        "{text}"
    );
}

#[test]
fn report_settings_that_were_given_have_their_rows() {
    let usual = terminal(&fixture::single(), &TerminalOptions::default());
    let mut analysis = fixture::single();
    let mut add = |name: &str, columns: &str, cells: Vec<Cell>| {
        analysis.tables.retain(|table| table.name != name);
        analysis.tables.push(Table {
            name: name.to_owned(),
            purpose: String::new(),
            columns: columns
                .split_whitespace()
                .map(|name| Column {
                    name: name.to_owned(),
                    unit: None,
                })
                .collect(),
            rows: vec![[vec![Cell::Text("demo".to_owned())], cells].concat()],
            sql: String::new(),
        });
    };
    let stalls = [2e8, 167.0, 3.0, 5_177.0, 4.0, 412.5e6].map(Cell::Float);
    let columns = "run bound_ns n stalled gaps stalls longest_max_ns";
    add("stalls", columns, stalls.to_vec());
    let deadlines = [10.0, 167.0, 0.982, 0.91].map(Cell::Float);
    let columns = "run reader_tps n in_time_share kept_up_share";
    add("deadlines", columns, deadlines.to_vec());
    let mut cost = ["steady", "gpu_hour"]
        .map(|word| Cell::Text(word.to_owned()))
        .to_vec();
    cost.extend([0.020_7, 3.92, 0.000_125].map(Cell::Float));
    let columns = "run window_name basis cost cost_per_m_output cost_per_request";
    add("cost", columns, cost);
    let text = terminal(&analysis, &TerminalOptions::default());
    let new: Vec<&str> = text.lines().filter(|line| !usual.contains(line)).collect();
    insta::assert_snapshot!(new.join("\n"), @r"
    Stalls, gaps over 200 ms:                    4 of 5,177 gaps, in 3 of 167 answers; longest gap 412.50 ms
    Tokens in time for a reader of 10/s:         98.2 % (all of them in 91.0 % of 167 answers)
    Cost of 1M output tokens, steady:            3.92 (by GPU hour; 0.0207 in all, 0.000125 a request)
    ");
}
