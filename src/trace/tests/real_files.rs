//! The published files, against facts that were measured without this code.

use std::collections::HashSet;
use std::fs::File;

use crate::testing::shared_file;
use crate::trace::{BlockScope, Conversion, Selection, convert};

use super::{Scratch, gzip, read, read_selected};

const MS: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MS;

#[tokio::test]
async fn azure_2023_code_has_its_known_rows_and_span() {
    let Some(path) = shared_file("traces/azure/AzureLLMInferenceTrace_code.csv") else {
        return;
    };
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.format.name, "azure");
    assert_eq!(replay.rows.len(), 8_819);
    assert_eq!(replay.span_ns() / MS, 3_435_948);
    assert_eq!(replay.counts.out_of_order, 0);
    assert_eq!(replay.lengths()[..3], [(4808, 10), (3180, 8), (110, 27)]);
    assert_eq!(
        replay.arrivals_ns()[..3],
        [0, 52_000_000, 98_189_000],
        "seven fraction digits are read to the microsecond"
    );
    let inputs: u64 = replay
        .rows
        .iter()
        .map(|row| u64::from(row.input_tokens))
        .sum();
    assert_eq!(inputs * 10 / 8_819, 20_478, "mean input length, in tenths");
    assert_eq!(
        replay.rows.iter().map(|row| row.input_tokens).max(),
        Some(7_437)
    );
    assert_eq!(
        replay.rows.iter().map(|row| row.output_tokens).max(),
        Some(1_899)
    );
    assert_eq!(peak_per_second(&replay.arrivals_ns()), 67);
    let utc_2023_11_16_18_17_03_979_96 = 1_700_158_623_979_960_000;
    assert_eq!(replay.zero_ns, Some(utc_2023_11_16_18_17_03_979_96));
}

#[tokio::test]
async fn azure_time_stamps_of_all_three_styles_are_read() {
    let known = [
        (
            "azure2024_code_head5",
            [0, 7_405_000, 12_384_000],
            (2162, 5),
        ),
        (
            "azure2024_conv_head5",
            [0, 40_520_000, 156_825_000],
            (1452, 3),
        ),
        (
            "azure2025_multimodal_head5",
            [0, 5_550 * MS, 6_244 * MS],
            (770, 491),
        ),
    ];
    for (name, arrivals, first_lengths) in known {
        let path = format!("traces/azure_formats/{name}.SPECIMEN.csv");
        let Some(path) = shared_file(&path) else {
            return;
        };
        let replay = read(&path).await.unwrap();
        assert_eq!(replay.rows.len(), 5, "{name}");
        assert_eq!(replay.arrivals_ns()[..3], arrivals, "{name}");
        assert_eq!(replay.lengths()[0], first_lengths, "{name}");
    }
}

#[tokio::test]
async fn burstgpt_without_sessions_has_its_known_rows_and_span() {
    let Some(path) = shared_file("traces/burstgpt/BurstGPT_1.head400.csv") else {
        return;
    };
    let everything = Selection {
        keeps_failed: true,
        ..Selection::default()
    };
    let replay = read_selected(&path, everything).await.unwrap();
    assert_eq!(replay.format.name, "burstgpt");
    assert_eq!(replay.rows.len(), 400);
    assert_eq!(replay.span_ns(), 37_269 * SECOND);
    assert_eq!(replay.zero_ns, Some(5 * SECOND));
    assert_eq!(peak_per_second(&replay.arrivals_ns()), 2);
    assert!(replay.rows.iter().all(|row| row.session_id.is_none()));
    assert!(
        replay
            .rows
            .iter()
            .all(|row| row.failed == (row.output_tokens == 0))
    );
    assert_eq!(
        replay.rows.iter().map(|row| row.output_tokens).max(),
        Some(2_019)
    );
    assert_eq!(replay.rows[2].model.as_deref(), Some("GPT-4"));
    assert_eq!(replay.rows[2].class.as_deref(), Some("conversation"));
}

#[tokio::test]
async fn failed_requests_of_burstgpt_are_left_out_and_counted() {
    let mut left_out = Vec::new();
    for file in ["BurstGPT_1.head400.csv", "BurstGPT_3.head400.csv"] {
        let Some(path) = shared_file(&format!("traces/burstgpt/{file}")) else {
            return;
        };
        let replay = read(&path).await.unwrap();
        assert_eq!(replay.counts.read, 400);
        assert_eq!(replay.counts.taken + replay.counts.failed, 400);
        assert!(replay.rows.iter().all(|row| row.output_tokens > 0));
        left_out.push(replay.counts.failed);
    }
    left_out.sort_unstable();
    assert_eq!(left_out, [1, 17]);
}

#[tokio::test]
async fn burstgpt_with_sessions_is_read_by_name_not_by_position() {
    let Some(path) = shared_file("traces/burstgpt/BurstGPT_3.head400.csv") else {
        return;
    };
    let everything = Selection {
        keeps_failed: true,
        ..Selection::default()
    };
    let replay = read_selected(&path, everything).await.unwrap();
    assert_eq!(replay.format.name, "burstgpt");
    assert_eq!(replay.rows.len(), 400);
    assert_eq!(replay.span_ns(), 41_453 * SECOND);
    assert_eq!(replay.zero_ns, Some(19_440_110 * SECOND));
    assert_eq!(replay.lengths()[0], (906, 446));
    let sessions: HashSet<_> = replay
        .rows
        .iter()
        .filter_map(|row| row.session_id.as_deref())
        .collect();
    assert_eq!(sessions.len(), 135);
    let of_the_api = replay
        .rows
        .iter()
        .filter(|row| row.class.as_deref() == Some("api"));
    assert!(of_the_api.clone().all(|row| row.session_id.is_none()));
    assert_eq!(of_the_api.count(), 6);
}

#[tokio::test]
async fn mooncake_has_its_known_rows_span_and_blocks() {
    let Some(path) = shared_file("traces/mooncake/conversation_trace.jsonl") else {
        return;
    };
    let replay = read(&path).await.unwrap();
    assert_eq!(replay.format.name, "mooncake");
    assert_eq!(replay.rows.len(), 12_031);
    assert_eq!(replay.span_ns(), 3_536_999 * MS);
    let instants: HashSet<i64> = replay.arrivals_ns().into_iter().collect();
    assert_eq!(instants.len(), 1_180);
    assert_eq!(
        replay.rows.iter().map(|row| row.input_tokens).max(),
        Some(126_195)
    );
    assert_eq!(
        replay.rows.iter().map(|row| row.output_tokens).max(),
        Some(2_000)
    );
    for row in &replay.rows {
        assert_eq!(row.block_size, Some(512));
        assert_eq!(row.block_scope, BlockScope::Trace);
        assert_eq!(
            row.prefix_blocks.len(),
            row.input_tokens.div_ceil(512) as usize
        );
        assert_eq!(row.prefix_blocks[0], 0, "all share the first block");
    }
}

#[tokio::test]
async fn a_gzipped_file_under_any_name_reads_the_same() {
    let Some(path) = shared_file("traces/azure/AzureLLMInferenceTrace_code.csv") else {
        return;
    };
    let scratch = Scratch::new();
    let packed = scratch.write("no_extension", gzip(&std::fs::read(&path).unwrap()));
    assert_eq!(
        read(&packed).await.unwrap().rows,
        read(&path).await.unwrap().rows
    );
}

#[tokio::test]
async fn files_are_told_apart_by_their_columns() {
    for (path, format) in [
        ("azure_formats/qwen_thinking_row1.SPECIMEN.jsonl", "bailian"),
        ("aibrix/ten_requests.jsonl", "aibrix"),
        ("tracelab/sanitized_round_trace.jsonl", "tracelab"),
        ("llmservingsim/requests.jsonl", "llmservingsim-run"),
        ("kv-cache-tester/trace_0026.json", "weka"),
        ("kv-cache-tester", "weka"),
    ] {
        let Some(path) = shared_file(&format!("traces/{path}")) else {
            return;
        };
        assert_eq!(read(&path).await.unwrap().format.name, format);
    }
}

fn peak_per_second(arrivals_ns: &[i64]) -> usize {
    let mut seconds: Vec<i64> = arrivals_ns.iter().map(|at_ns| at_ns / SECOND).collect();
    seconds.dedup_by(|one, two| one == two);
    let first = |second: i64| arrivals_ns.partition_point(|&at_ns| at_ns < second * SECOND);
    let counts = seconds
        .iter()
        .map(|&second| first(second + 1) - first(second));
    counts.max().unwrap_or(0)
}

#[tokio::test]
async fn published_files_read_the_same_after_a_conversion() {
    for name in [
        "traces/azure/AzureLLMInferenceTrace_code.csv",
        "traces/burstgpt/BurstGPT_3.head400.csv",
        "traces/mooncake/conversation_trace.jsonl",
    ] {
        let Some(path) = shared_file(name) else {
            return;
        };
        let direct = read(&path).await.unwrap();
        let scratch = Scratch::new();
        for is_sorted in [false, true] {
            let conversion = Conversion {
                path: path.clone(),
                is_sorted,
                output: scratch.folder.path().join("out.parquet"),
                ..Conversion::default()
            };
            let file = File::create(&conversion.output).unwrap();
            convert(&conversion, file).await.unwrap();
            let found = read(&conversion.output).await.unwrap();
            assert!(found.facts() == direct.facts(), "{name}");
            assert_eq!(found.zero_ns, direct.zero_ns, "{name}");
            assert_eq!(found.counts.failed, direct.counts.failed, "{name}");
        }
    }
}
