//! Published traces made larger and smaller: what holds of their bursts and their prefixes.
//!
//! Bounds are what was measured, with room for other seeds; `traces/README.md` says the numbers.

use super::statistics::{Shape, ideal_prefix_hit, shape};
use super::synthesis::{changed, rows_of};
use super::{Scratch, read};
use crate::testing::shared_file;
use crate::trace::{Changes, TraceRow};

const AZURE: &str = "traces/azure/AzureLLMInferenceTrace_code.csv";
const MOONCAKE: &str = "traces/mooncake/conversation_trace.jsonl";
const BURSTGPT: &str = "traces/burstgpt/BurstGPT_3.head400.csv";

fn rate(factor: f64, seed: u64) -> Changes {
    Changes {
        rate_scale: factor,
        seed,
        ..Changes::default()
    }
}

async fn rows_at(path: &std::path::Path, factor: f64, seed: u64) -> Vec<TraceRow> {
    let scratch = Scratch::new();
    rows_of(&changed(&scratch, path, rate(factor, seed)).await.0).await
}

fn shape_of(rows: &[TraceRow]) -> Shape {
    let arrivals: Vec<i64> = rows.iter().map(|row| row.arrival_ns).collect();
    shape(&arrivals)
}

/// Fails where a measure is not within a share of what is expected.
fn assert_near(measured: f64, expected: f64, share: f64, what: &str) {
    let off = (measured / expected - 1.0).abs();
    assert!(off <= share, "{what}: {measured}, not {expected}");
}

/// One of the burstiest traces there is, a row a session.
#[tokio::test]
async fn azure_code_keeps_its_bursts_at_a_higher_rate() {
    let Some(path) = shared_file(AZURE) else {
        return;
    };
    let before = shape_of(&read(&path).await.unwrap().rows);
    for (factor, seed) in [(2.0, 0), (2.5, 1), (4.0, 2)] {
        let after = shape_of(&rows_at(&path, factor, seed).await);
        let what = format!("times {factor}");
        assert_near(after.rate_per_s, before.rate_per_s * factor, 0.01, &what);
        assert_near(after.dispersion_1s, before.dispersion_1s, 0.25, &what);
        assert_near(after.dispersion_60s, before.dispersion_60s, 0.45, &what);
        // Copies that coincide would have it `factor` times as high.
        assert!(after.peak_1s < before.peak_1s * 1.6, "{what}: {after:?}");
        // What no shift can keep: requests of one copy fall into the gaps of another.
        assert!(
            after.gap_variation < before.gap_variation,
            "{what}: {after:?}"
        );
        assert!(after.gap_variation > 4.0, "{what}: {after:?}");
    }
}

#[tokio::test]
async fn azure_code_at_a_lower_rate_goes_towards_a_poisson_process_as_any_choice_does() {
    let Some(path) = shared_file(AZURE) else {
        return;
    };
    let before = shape_of(&read(&path).await.unwrap().rows);
    for share in [0.25, 0.5] {
        let after = shape_of(&rows_at(&path, share, 0).await);
        let what = format!("times {share}");
        assert_near(after.rate_per_s, before.rate_per_s * share, 0.06, &what);
        let expected = 1.0 + share * (before.dispersion_1s - 1.0);
        assert_near(after.dispersion_1s, expected, 0.15, &what);
        let expected = 1.0 + share * (before.dispersion_60s - 1.0);
        assert_near(after.dispersion_60s, expected, 0.15, &what);
    }
}

/// In batches of three seconds and without sessions: its blocks tell them.
#[tokio::test]
async fn mooncake_keeps_its_shared_prefixes_at_other_rates() {
    let Some(path) = shared_file(MOONCAKE) else {
        return;
    };
    let rows = read(&path).await.unwrap().rows;
    let (before, hit_before) = (shape_of(&rows), ideal_prefix_hit(&rows));
    for factor in [0.5, 2.0] {
        let rows = rows_at(&path, factor, 0).await;
        let (after, what) = (shape_of(&rows), format!("times {factor}"));
        assert_near(after.rate_per_s, before.rate_per_s * factor, 0.06, &what);
        let hit = ideal_prefix_hit(&rows);
        assert!(
            (hit - hit_before).abs() < 0.02,
            "{what}: {hit}, not {hit_before}"
        );
        // Two copies of what is nearly even stay nearly even.
        assert!(after.dispersion_60s < 6.0, "{what}: {after:?}");
    }
}

#[tokio::test]
async fn mooncake_keeps_its_shared_prefixes_at_other_lengths() {
    let Some(path) = shared_file(MOONCAKE) else {
        return;
    };
    let hit_before = ideal_prefix_hit(&read(&path).await.unwrap().rows);
    for factor in [0.5, 2.0] {
        let changes = Changes {
            input_scale: factor,
            ..Changes::default()
        };
        let scratch = Scratch::new();
        let rows = rows_of(&changed(&scratch, &path, changes).await.0).await;
        let hit = ideal_prefix_hit(&rows);
        assert!(
            (hit - hit_before).abs() < 0.04,
            "times {factor}: {hit}, not {hit_before}"
        );
        for row in &rows {
            let blocks = row.input_tokens.div_ceil(512) as usize;
            assert_eq!(row.prefix_blocks.len(), blocks);
        }
    }
}

#[tokio::test]
async fn burstgpt_gives_each_copy_its_own_sessions() {
    let Some(path) = shared_file(BURSTGPT) else {
        return;
    };
    let sessions = |rows: &[TraceRow]| {
        let ids = rows.iter().filter_map(|row| row.session_id.clone());
        ids.collect::<std::collections::BTreeSet<_>>().len()
    };
    let before = rows_at(&path, 1.0, 0).await;
    let after = rows_at(&path, 3.0, 0).await;
    assert_eq!(after.len(), 3 * before.len());
    // And a few that a copy cuts at its end.
    let least = 3 * sessions(&before);
    assert!((least..least + 40).contains(&sessions(&after)));
}
