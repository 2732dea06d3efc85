//! Whole files: the published ones against numbers that were measured without this code, and made
//! ones with every kind of disorder.
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "the numbers of these tests are small"
)]

use std::fmt::Write as _;

use proptest::prelude::*;

use super::pass::inspect_within;
use super::{Distribution, Inspected, Inspection, inspect};
use crate::testing::shared_file;
use crate::trace::{LOOK_AHEAD_ROWS, TraceError};

const SECOND: u64 = 1_000_000_000;

/// What `research/traces.md` has of a trace, rounded as it has it.
struct Known {
    file: &'static str,
    rows: u64,
    span_s: f64,
    mean_rate_per_s: &'static str,
    peak_1s: u64,
    /// Where it is measured there.
    peak_60s: Option<u64>,
    gap_cv: &'static str,
    gap_max_s: Option<&'static str>,
    dispersion_1s: Option<&'static str>,
    distinct: Option<u64>,
    /// p50, p90, p99, max, and the mean with one decimal where it is measured there.
    input: [&'static str; 5],
    output: [&'static str; 5],
    prefix_hit: Option<&'static str>,
    sessions: u64,
    failed: u64,
}

const PUBLISHED: [Known; 4] = [
    Known {
        file: "azure/AzureLLMInferenceTrace_code.csv",
        rows: 8_819,
        span_s: 3_435.948,
        mean_rate_per_s: "2.567",
        peak_1s: 67,
        peak_60s: Some(632),
        gap_cv: "13.15",
        gap_max_s: Some("217.2"),
        dispersion_1s: Some("13.2"),
        distinct: Some(8_819),
        input: ["1469", "5188", "7436", "7437", "2047.8"],
        output: ["13", "55", "251", "1899", "27.9"],
        prefix_hit: None,
        sessions: 0,
        failed: 0,
    },
    Known {
        file: "mooncake/conversation_trace.jsonl",
        rows: 12_031,
        span_s: 3_536.999,
        mean_rate_per_s: "3.40",
        peak_1s: 28,
        peak_60s: Some(247),
        gap_cv: "3.03",
        gap_max_s: None,
        dispersion_1s: Some("7.9"),
        distinct: Some(1_180),
        input: ["6909", "27367", "85400", "126195", "12035"],
        output: ["350", "597", "1118", "2000", "343"],
        prefix_hit: Some("0.3664"),
        sessions: 0,
        failed: 0,
    },
    Known {
        file: "burstgpt/BurstGPT_1.head400.csv",
        rows: 400,
        span_s: 37_269.0,
        mean_rate_per_s: "0.0107",
        peak_1s: 2,
        peak_60s: None,
        gap_cv: "4.56",
        gap_max_s: None,
        dispersion_1s: None,
        distinct: None,
        input: ["314", "1418", "1958", "2126", ""],
        output: ["230", "571", "1421", "2019", ""],
        prefix_hit: None,
        sessions: 0,
        failed: 17,
    },
    Known {
        file: "burstgpt/BurstGPT_3.head400.csv",
        rows: 400,
        span_s: 41_453.0,
        mean_rate_per_s: "0.0096",
        peak_1s: 2,
        peak_60s: None,
        gap_cv: "2.87",
        gap_max_s: None,
        dispersion_1s: None,
        distinct: None,
        input: ["308", "1134", "5929", "25085", ""],
        output: ["101", "422", "862", "1101", ""],
        prefix_hit: None,
        sessions: 135,
        failed: 1,
    },
];

/// Rounds as the published number is rounded: to as many decimals, and halves to the even side.
fn agrees(found: f64, published: &str) -> bool {
    let places = published.split_once('.').map_or(0, |(_, rest)| rest.len());
    // An empty text stands for a number that was not measured there.
    published.is_empty() || format!("{found:.places$}") == published
}

fn assert_agrees(found: Option<f64>, published: Option<&str>, what: &str) {
    if let Some(published) = published {
        let found = found.unwrap_or(f64::NAN);
        assert!(agrees(found, published), "{what}: {found}, not {published}");
    }
}

fn assert_lengths(found: Option<Distribution>, published: [&str; 5], what: &str) {
    let found = found.unwrap();
    assert!(found.is_exact);
    let numbers = [
        found.p50,
        found.p90,
        found.p99,
        found.max as f64,
        found.mean,
    ];
    for (number, published) in numbers.into_iter().zip(published) {
        assert!(
            agrees(number, published),
            "{what}: {number}, not {published}"
        );
    }
}

#[tokio::test]
async fn the_published_files_have_the_numbers_that_were_measured_without_this() {
    for known in PUBLISHED {
        let Some(path) = shared_file(&format!("traces/{}", known.file)) else {
            return;
        };
        let asked = Inspection {
            path,
            ..Inspection::default()
        };
        let found = inspect(&asked).await.unwrap();
        let (arrivals, contents) = (&found.arrivals, &found.contents);
        let name = known.file;
        assert_eq!(
            (arrivals.rows, contents.rows),
            (known.rows, known.rows),
            "{name}"
        );
        let span_s = arrivals.span_ns.unwrap() as f64 / 1e9;
        assert!((span_s - known.span_s).abs() < 0.001, "{name}: {span_s}");
        assert_agrees(arrivals.mean_rate_per_s, Some(known.mean_rate_per_s), name);
        assert_eq!(arrivals.peak_1s.unwrap().requests, known.peak_1s, "{name}");
        if let Some(peak_60s) = known.peak_60s {
            assert_eq!(arrivals.peak_60s.unwrap().requests, peak_60s, "{name}");
        }
        assert_agrees(arrivals.gap_cv, Some(known.gap_cv), name);
        let longest = arrivals.gap_ns_max.map(|gap_ns| gap_ns as f64 / 1e9);
        assert_agrees(longest, known.gap_max_s, name);
        assert_agrees(arrivals.dispersion_1s, known.dispersion_1s, name);
        if let Some(distinct) = known.distinct {
            assert_eq!(arrivals.instants.distinct, distinct, "{name}");
        }
        assert_lengths(contents.input_tokens, known.input, name);
        assert_lengths(contents.output_tokens, known.output, name);
        assert_agrees(contents.prefixes.hit_share(), known.prefix_hit, name);
        assert_eq!(
            contents.prefixes.hit_share().is_some(),
            known.prefix_hit.is_some()
        );
        assert_eq!(contents.sessions.sessions, known.sessions, "{name}");
        assert_eq!(contents.failed, known.failed, "{name}");
        assert_eq!((found.clock_restarts, found.out_of_order), (0, 0), "{name}");
    }
}

#[tokio::test]
async fn mooncake_comes_in_batches_about_every_three_seconds() {
    let Some(path) = shared_file("traces/mooncake/conversation_trace.jsonl") else {
        return;
    };
    let asked = Inspection {
        path,
        ..Inspection::default()
    };
    let found = inspect(&asked).await.unwrap();
    let instants = found.arrivals.instants;
    let (period_ns, rows) = instants.batches(found.arrivals.rows).unwrap();
    assert!((2.997e9..=3.003e9).contains(&period_ns), "{period_ns}");
    assert!((10.0..10.5).contains(&rows), "{rows}");
    assert!(!instants.is_step(period_ns));
    assert_eq!(instants.step_ns, Some(SECOND / 1_000));
    assert_eq!(instants.largest_tie, 28);
}

/// Rows of a canonical trace at these seconds, each with as many input tokens as its number.
fn canonical(seconds: &[i64]) -> String {
    let mut trace = "arrival_ns,input_tokens,output_tokens,session_id\n".to_owned();
    for (row, second) in seconds.iter().enumerate() {
        let at_ns = second * 1_000_000_000;
        writeln!(trace, "{at_ns},{},1,s{}", row + 1, row % 3).unwrap();
    }
    trace
}

async fn look_within(
    look_ahead: usize,
    trace: &str,
    asked: Inspection,
) -> Result<Inspected, TraceError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.csv");
    std::fs::write(&path, trace).unwrap();
    inspect_within(look_ahead, &Inspection { path, ..asked }).await
}

async fn look(seconds: &[i64]) -> Inspected {
    look_within(LOOK_AHEAD_ROWS, &canonical(seconds), Inspection::default())
        .await
        .unwrap()
}

fn spans_s(found: &Inspected) -> u64 {
    found.arrivals.span_ns.unwrap() / SECOND
}

#[tokio::test]
async fn two_recordings_one_below_the_other_are_as_long_as_both() {
    // As RAGPulse has it: two weeks, each from its own zero.
    let week = [82, 1_000, 300_000, 604_453];
    let next = [0, 500, 300_000, 604_603];
    let lines = week.iter().chain(&next).map(|second| {
        format!(
            "{{\"timestamp\": \"{second}\", \"input_length\": 1, \"output_length\": 1, \
             \"hash_ids\": {{\"user_input\": [1]}}, \"session_id\": \"{second}\"}}\n"
        )
    });
    let lines: String = lines.collect();
    let found = look_within(100, &lines, Inspection::default())
        .await
        .unwrap();
    assert_eq!(found.clock_restarts, 1);
    assert_eq!(found.out_of_order, 0);
    assert_eq!(spans_s(&found), 604_453 - 82 + 604_603);
    assert_eq!(found.arrivals.rows, 8);
    // The first row of the second week stands where the last one of the first stood.
    assert_eq!(found.arrivals.instants.tied_rows, 2);
}

#[tokio::test]
async fn small_disorder_is_put_right_for_times_and_kept_for_contents() {
    let found = look(&[0, 5, 3, 3, 10]).await;
    assert_eq!((found.out_of_order, found.too_late), (2, 0));
    assert_eq!(spans_s(&found), 10);
    assert_eq!(found.arrivals.gap_ns_max, Some(5 * SECOND));
    assert_eq!(found.arrivals.instants.distinct, 4);
    assert_eq!(found.arrivals.instants.tied_rows, 2);
}

#[tokio::test]
async fn rows_beyond_the_look_ahead_are_counted_and_stand_where_they_are() {
    let trace = canonical(&[0, 10, 20, 30, 1, 40]);
    let found = look_within(2, &trace, Inspection::default()).await.unwrap();
    assert_eq!((found.out_of_order, found.too_late), (1, 1));
    assert_eq!((found.arrivals.rows, found.contents.rows), (6, 6));
    assert_eq!(spans_s(&found), 40);
    assert_eq!(found.arrivals.gap_ns_max, Some(10 * SECOND));
    assert_eq!(found.arrivals.instants.tied_rows, 0);
}

#[tokio::test]
async fn a_window_takes_the_same_rows_for_times_and_for_contents() {
    let trace = canonical(&[100, 103, 101, 110, 104, 120]);
    let asked = Inspection {
        from_ns: 3_000_000_000,
        for_ns: Some(7_000_000_000),
        ..Inspection::default()
    };
    for look_ahead in [2, LOOK_AHEAD_ROWS] {
        let found = look_within(look_ahead, &trace, asked.clone())
            .await
            .unwrap();
        // 103 and 104; 110 is the first one after the window.
        assert_eq!((found.arrivals.rows, found.contents.rows), (2, 2));
        assert_eq!(spans_s(&found), 1);
        assert_eq!(found.zero_ns, Some(100_000_000_000));
        let inputs = found.contents.input_tokens.unwrap();
        assert!((inputs.mean - (2.0 + 5.0) / 2.0).abs() < 1e-12);
    }
}

#[tokio::test]
async fn a_window_ends_the_reading_of_a_long_file() {
    let seconds: Vec<i64> = (0..100_000).collect();
    let asked = Inspection {
        for_ns: Some(1_000_000_000),
        ..Inspection::default()
    };
    let found = look_within(10, &canonical(&seconds), asked).await.unwrap();
    assert_eq!(found.contents.rows, 1);
    assert!(found.rows_read < 20_000, "{}", found.rows_read);
}

#[tokio::test]
async fn a_sample_takes_whole_sessions_and_a_limit_takes_the_first_rows() {
    let seconds: Vec<i64> = (0..300).collect();
    let trace = canonical(&seconds);
    let asked = Inspection {
        sample: Some(0.5),
        seed: 1,
        ..Inspection::default()
    };
    let found = look_within(LOOK_AHEAD_ROWS, &trace, asked).await.unwrap();
    let taken = found.contents.rows;
    assert_eq!(taken, found.arrivals.rows);
    assert_eq!(taken % 100, 0);
    assert_eq!(taken, 100 * found.contents.sessions.sessions);
    assert_eq!(taken + found.rows_not_sampled, 300);
    let asked = Inspection {
        limit: Some(7),
        ..Inspection::default()
    };
    let found = look_within(LOOK_AHEAD_ROWS, &trace, asked).await.unwrap();
    assert_eq!((found.rows_read, found.contents.rows), (7, 7));
    assert_eq!(spans_s(&found), 6);
}

#[tokio::test]
async fn a_file_without_rows_and_senseless_words_are_refused() {
    let refused = look_within(10, &canonical(&[]), Inspection::default()).await;
    assert!(matches!(refused, Err(TraceError::Empty { .. })));
    let asked = Inspection {
        sample: Some(1.5),
        ..Inspection::default()
    };
    let refused = look_within(10, &canonical(&[1]), asked).await;
    assert!(matches!(refused, Err(TraceError::Selection { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_order_of_rows_ends_the_pass_or_loses_a_row(
        seconds in prop::collection::vec(0_i64..400, 1..60),
        look_ahead in 0_usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let trace = canonical(&seconds);
        let pass = look_within(look_ahead, &trace, Inspection::default());
        let found = runtime.block_on(pass).unwrap();
        let rows = seconds.len() as u64;
        prop_assert_eq!((found.arrivals.rows, found.contents.rows), (rows, rows));
        prop_assert!(found.too_late <= found.out_of_order);
        if found.clock_restarts == 0 && found.too_late == 0 {
            let first = seconds.iter().min().unwrap();
            let last = seconds.iter().max().unwrap();
            prop_assert_eq!(spans_s(&found), (last - first) as u64);
        }
    }
}
