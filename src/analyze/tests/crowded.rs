//! Percentiles and peaks of tapes whose values lie close together, so that single values decide
//! within a bin of a histogram: held to plain sorting, on one core and on four.

#![expect(
    clippy::cast_precision_loss,
    reason = "times of a short run and lengths of short lists"
)]

use std::collections::BTreeMap;

use super::analysed;
use super::model::percentile;
use super::pairs::{assert_close, numbers};
use crate::analyze::{Analysis, Options, Percentile};
use crate::sql::fixture::{MS, TapeFixture};

/// Gaps around 10 ms: 900 different ones in one microsecond, and each third chunk has 3 tokens.
fn crowded() -> TapeFixture {
    let mut tape = TapeFixture::default();
    for request in 0..40_u64 {
        let sent = i64::try_from(request).unwrap() * 13 * MS;
        let mut at = sent + 50 * MS;
        let chunks: Vec<(i64, Option<u16>)> = (0..50_u64)
            .map(|chunk| {
                at += 10 * MS + i64::try_from((request * 7_919 + chunk * 104_729) % 900).unwrap();
                (at, Some(if chunk % 3 == 2 { 3 } else { 1 }))
            })
            .collect();
        tape.answer_ns(request, [sent, sent], &chunks);
    }
    // Each seventh event shares its read with the one before.
    for chunk in &mut tape.chunks {
        chunk.read_seq = Some(chunk.seq - u32::from(chunk.seq % 7 == 6));
    }
    tape
}

fn analysis(tape: &TapeFixture, partitions: usize) -> Analysis {
    let options = Options {
        percentiles: vec![Percentile::new(12.5).unwrap()],
        partitions,
        ..Options::default()
    };
    analysed(
        &[("first", tape.clone()), ("second", tape.clone())],
        &options,
    )
    .unwrap()
}

/// Times between tokens of the tape, sorted, by metric.
fn sorted(tape: &TapeFixture) -> BTreeMap<&'static str, Vec<f64>> {
    let mut values: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    let reads = |index: usize| {
        let chunk = &tape.chunks[index];
        let same = tape.chunks.iter().filter(|other| {
            other.request_id == chunk.request_id && other.read_seq == chunk.read_seq
        });
        same.count()
    };
    for (index, chunk) in tape.chunks.iter().enumerate() {
        let Some(gap_ns) = chunk.gap_ns else { continue };
        let (gap, tokens) = (gap_ns as f64, usize::from(chunk.tokens.unwrap()));
        values.entry("icl").or_default().push(gap);
        let itl = values.entry("itl").or_default();
        itl.push(gap);
        itl.extend(vec![0.0; tokens - 1]);
        let spread = values.entry("itl_spread").or_default();
        spread.extend(vec![gap / tokens as f64; tokens]);
        if reads(index) == 1 && reads(index - 1) == 1 {
            values.entry("itl_resolved").or_default().push(gap);
        }
    }
    for values in values.values_mut() {
        values.sort_by(f64::total_cmp);
    }
    values
}

#[test]
fn percentiles_within_a_bin_are_those_of_the_sorted_values() {
    let tape = crowded();
    let sorted = sorted(&tape);
    for partitions in [1, 4] {
        let analysis = analysis(&tape, partitions);
        for run in ["first", "second"] {
            let mut seen = 0;
            for (words, row) in numbers(&analysis, "latency_percentiles", run) {
                let Some(values) = sorted.get(words[1].as_str()) else {
                    continue;
                };
                seen += 1;
                let columns = [("p12_5_ns", 0.125), ("p50_ns", 0.5), ("p90_ns", 0.9)];
                let tail = [("p95_ns", 0.95), ("p99_ns", 0.99), ("p999_ns", 0.999)];
                for (column, p) in columns.into_iter().chain(tail) {
                    let what = format!("{run} {} {column}", words[1]);
                    assert_close(row[column], percentile(values, p), 1e-6, &what);
                }
                let mean = values.iter().sum::<f64>() / values.len() as f64;
                let squares = values.iter().map(|value| (value - mean).powi(2));
                let std = (squares.sum::<f64>() / values.len() as f64).sqrt();
                assert_close(row["std_ns"], std, 1e-3, &words[1]);
            }
            assert_eq!(seen, 4);
            for (words, point) in numbers(&analysis, "latency_curve", run) {
                if let Some(values) = sorted.get(words[1].as_str()) {
                    let want = percentile(values, point["p"]);
                    assert_close(point["value_ns"], want, 1e-6, &words[1]);
                }
            }
        }
    }
}

#[test]
fn percentiles_over_time_are_those_of_the_sorted_values() {
    let tape = crowded();
    let analysis = analysis(&tape, 4);
    let mut seen = 0;
    for (_, row) in numbers(&analysis, "latency_over_time", "first") {
        let bin = row["at_ns"]..row["at_ns"] + row["width_ns"];
        let mut values: Vec<f64> = Vec::new();
        for chunk in &tape.chunks {
            if let (Some(gap_ns), true) = (chunk.gap_ns, bin.contains(&(chunk.arrival_ns as f64))) {
                values.push(gap_ns as f64);
                values.extend(vec![0.0; usize::from(chunk.tokens.unwrap()) - 1]);
            }
        }
        values.sort_by(f64::total_cmp);
        if values.is_empty() {
            continue;
        }
        seen += 1;
        for (column, p) in [
            ("itl_p50_ns", 0.5),
            ("itl_p99_ns", 0.99),
            ("itl_max_ns", 1.0),
        ] {
            assert_close(row[column], percentile(&values, p), 1e-6, column);
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_busiest_second_is_that_of_all_seconds() {
    let mut tape = crowded();
    // Two milliseconds of one second apart, whose arrivals leave and come within them.
    for (request, at) in [
        (100, 2_000_000_400),
        (101, 3_000_000_300),
        (102, 3_000_000_500),
    ] {
        tape.answer_ns(request, [MS, MS], &[(at, Some(7)), (at + 100, Some(200))]);
    }
    let arrivals: Vec<(i64, f64)> = (tape.chunks.iter())
        .map(|chunk| (chunk.arrival_ns, f64::from(chunk.tokens.unwrap())))
        .collect();
    let in_second = |end: i64| -> f64 {
        let inside = |at: i64| at > end - 1_000_000_000 && at <= end;
        arrivals
            .iter()
            .filter(|(at, _)| inside(*at))
            .map(|(_, tokens)| tokens)
            .sum()
    };
    let best = arrivals
        .iter()
        .map(|(end, _)| in_second(*end))
        .fold(0.0, f64::max);
    let first = arrivals
        .iter()
        .map(|(end, _)| *end)
        .filter(|end| in_second(*end) >= best)
        .min();
    for partitions in [1, 4] {
        let analysis = analysis(&tape, partitions);
        let rows = numbers(&analysis, "throughput_peaks", "second");
        assert_close(rows[0].1["output_tokens_peak_1s"], best, 1e-6, "peak");
        assert_close(rows[0].1["to_ns"], first.unwrap() as f64, 0.0, "end");
    }
}
