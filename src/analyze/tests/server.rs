//! What was scraped of servers, by hand: their state over time, their latencies and counts beside
//! those of the client, and energy.

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::{analysed, spelled};
use crate::analyze::{Analysis, Energy, Options, ServerCounts};
use crate::sql::fixture::TapeFixture;

const VLLM: &str = "http://127.0.0.1:8000/metrics";

/// One request from 0 to 4 s with its first token at 1 s, and a scrape a second from -0.5 s on:
///
/// | at | running | kv | ttft sum, count | stop | length | tokens | GPU | package |
/// |---|---|---|---|---|---|---|---|---|
/// | -0.5 | 0 + 0 | 0.1, 0.3 | 10, 5 | 5 | | 100 | 100 W | 1000 J |
/// | 0.5 | 1 + 2 | 0.1, 0.3 | 10, 5 | 5 | | 100 | 200 W | 1010 J |
/// | 1.5 | 1 + 2 | 0.5, 0.3 | 10.9, 6 | 5 | | 101 | 200 W | 1020 J |
/// | 2.5 | 1 + 2 | 0.5, 0.3 | 10.9, 6 | 5 | 3 | 104 | 200 W | 1030 J |
/// | 3.5 | 1 + 0 | 0.5, 0.3 | 10.9, 6 | 5 | 3 | 1 | 200 W | 1040 J |
/// | 4.5 | 0 + 0 | 0, 0.3 | 10.9, 6 | 6 | 3 | 2 | 100 W | 1050 J |
///
/// The counter of tokens begins anew at 3.5 s, and that of `length` is not there before 2.5 s.
fn scraped() -> TapeFixture {
    let mut tape = TapeFixture::default();
    tape.answer(
        0,
        [0, 0],
        &[(1_000, None), (2_000, None), (3_000, None), (4_000, None)],
    );
    let rows = [
        (0.0, 0.0, 0.1, 10.0, 5.0, 5.0, f64::NAN, 100.0, 100.0),
        (1.0, 2.0, 0.1, 10.0, 5.0, 5.0, f64::NAN, 100.0, 200.0),
        (1.0, 2.0, 0.5, 10.9, 6.0, 5.0, f64::NAN, 101.0, 200.0),
        (1.0, 2.0, 0.5, 10.9, 6.0, 5.0, 3.0, 104.0, 200.0),
        (1.0, 0.0, 0.5, 10.9, 6.0, 5.0, 3.0, 1.0, 200.0),
        (0.0, 0.0, 0.0, 10.9, 6.0, 6.0, 3.0, 2.0, 100.0),
    ];
    let mut at = -500;
    let mut second = 0.0;
    for (one, two, kv, ttft_s, ttft_n, stop, length, tokens, watts) in rows {
        let page = [
            ("vllm:num_requests_running{engine=\"0\"}", one),
            ("vllm:num_requests_running{engine=\"1\"}", two),
            ("vllm:kv_cache_usage_perc{engine=\"0\"}", kv),
            ("vllm:kv_cache_usage_perc{engine=\"1\"}", 0.3),
            ("vllm:time_to_first_token_seconds_sum", ttft_s),
            ("vllm:time_to_first_token_seconds_count", ttft_n),
            ("vllm:request_success_total{finished_reason=\"stop\"}", stop),
            (
                "vllm:request_success_total{finished_reason=\"length\"}",
                length,
            ),
            ("vllm:generation_tokens_total", tokens),
        ];
        // What is not there yet is not on the page.
        let page: Vec<_> = page.into_iter().filter(|(_, it)| !it.is_nan()).collect();
        tape.scrape(at, VLLM, &page);
        let machine = [
            ("DCGM_FI_DEV_POWER_USAGE{gpu=\"0\",UUID=\"GPU-a\"}", watts),
            ("DCGM_FI_DEV_GPU_UTIL{gpu=\"0\",UUID=\"GPU-a\"}", 90.0),
            (
                "node_rapl_package_joules_total{zone=\"p0\"}",
                1_000.0 + 10.0 * second,
            ),
            (
                "node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"}",
                7.0 + 0.25 * second,
            ),
            (
                "node_cpu_seconds_total{cpu=\"0\",mode=\"user\"}",
                3.0 + 0.75 * second,
            ),
            ("node_memory_MemTotal_bytes", 1_000.0),
            ("node_memory_MemAvailable_bytes", 400.0),
        ];
        tape.scrape(at, "host", &machine);
        at += 1_000;
        second += 1.0;
    }
    tape
}

fn answers(tape: TapeFixture) -> Analysis {
    analysed(&[("one", tape)], &Options::default()).unwrap()
}

fn answer(analysis: &Analysis, query: &str) -> String {
    spelled(analysis.table(query).expect("something was scraped"))
}

/// The rows of bins that begin at those milliseconds.
fn bins(analysis: &Analysis, at_ms: &[i64]) -> Vec<String> {
    let text = answer(analysis, "server_over_time");
    let starts: Vec<String> = at_ms.iter().map(|ms| format!("one {ms}000000 ")).collect();
    let rows = text.lines().filter(|line| {
        let mut starts = starts.iter();
        starts.any(|start| line.starts_with(start.as_str()))
    });
    rows.map(str::to_owned).collect()
}

// 81 bins of 50 ms. What is said at -0.5 s stands until 0.5 s; what is said of CPU and energy is of
// the time before the scrape.
#[test]
fn the_state_of_a_server_stands_on_the_axis_of_the_latencies() {
    let analysis = answers(scraped());
    let text = answer(&analysis, "server_over_time");
    assert_eq!(
        text.lines().next(),
        Some(
            "run at_ns width_ns running waiting kv_use gpu_use gpu_power_w cpu_use memory_use cpu_power_w"
        )
    );
    assert_eq!(text.lines().count(), 82);
    assert_eq!(
        bins(&analysis, &[50, 500, 1_500, 3_500, 4_000]),
        [
            "one 50000000 50000000 0 - 0.2 0.9 100 0.75 0.6 10",
            "one 500000000 50000000 3 - 0.2 0.9 200 0.75 0.6 10",
            "one 1500000000 50000000 3 - 0.4 0.9 200 0.75 0.6 10",
            "one 3500000000 50000000 1 - 0.4 0.9 200 0.75 0.6 10",
            "one 4000000000 50000000 1 - 0.4 0.9 200 0.75 0.6 10",
        ]
    );
}

#[test]
fn a_value_stands_for_three_seconds_and_then_there_is_a_gap() {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(1_000, None), (10_000, None)]);
    for (at, running) in [(0, 1.0), (9_000, 2.0)] {
        tape.scrape(at, VLLM, &[("vllm:num_requests_running", running)]);
    }
    let analysis = answers(tape);
    // Bins of 100 ms.
    assert_eq!(
        bins(&analysis, &[2_900, 3_000, 8_900, 9_000]),
        [
            "one 2900000000 100000000 1 - - - - - - -",
            "one 3000000000 100000000 - - - - - - - -",
            "one 8900000000 100000000 - - - - - - - -",
            "one 9000000000 100000000 2 - - - - - - -",
        ]
    );
}

#[test]
fn a_gateway_is_left_out_where_the_server_behind_it_tells() {
    let mut tape = scraped();
    let page = [("dynamo_frontend_inflight_requests{model=\"m\"}", 50.0)];
    tape.scrape(400, "http://127.0.0.1:9000/metrics", &page);
    let analysis = answers(tape);
    assert_eq!(
        bins(&analysis, &[500]),
        ["one 500000000 50000000 3 - 0.2 0.9 200 0.75 0.6 10"]
    );
}

// 10.9 - 10 s over one value; the client's first token came after 1 s.
#[test]
fn the_latencies_of_the_server_stand_beside_those_of_the_client() {
    let analysis = answers(scraped());
    assert_eq!(
        answer(&analysis, "server_latencies"),
        "run server metric n mean_ns client_n client_mean_ns difference_ns\n\
         one vLLM ttft 1 900000000 1 1000000000 100000000"
    );
}

// Requests: one that stopped, and three of a reason that was not counted before. Tokens: 4 until the
// server began anew, and 2 after: 2 more than the client's are too few to speak of others.
#[test]
fn a_server_that_served_others_is_found_by_its_counts() {
    let analysis = answers(scraped());
    assert_eq!(
        answer(&analysis, "server_counts"),
        "run server quantity unit server_count client_count of_others\n\
         one vLLM requests requests 4 1 3\n\
         one vLLM output_tokens tokens 6 4 -"
    );
}

#[test]
fn what_dynamo_had_cached_is_among_its_counts() {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(1_000, None), (4_000, None)]);
    for (at, requests, cached) in [(-500, 3.0, 16.0), (4_500, 4.0, 48.0)] {
        let page = [
            (
                "dynamo_frontend_requests_total{status=\"success\"}",
                requests,
            ),
            ("dynamo_frontend_cached_tokens_sum{model=\"m\"}", cached),
        ];
        tape.scrape(at, "http://127.0.0.1:8000/metrics", &page);
    }
    assert_eq!(
        answer(&answers(tape), "server_counts"),
        "run server quantity unit server_count client_count of_others\n\
         one Dynamo requests requests 1 1 -\n\
         one Dynamo prefix_hits tokens 32 - -"
    );
}

// The GPU: 150 W for half a second, 200 W for three, 150 W for another half: 750 J. Prefill has it
// until the first token: 75 + 100 J.
#[test]
fn energy_is_power_over_the_run_split_by_phase() {
    let analysis = answers(scraped());
    assert_eq!(
        answer(&analysis, "energy"),
        "run part seconds covered_share joules mean_w joules_per_output_token joules_per_request tokens_per_joule prefill_joules decode_joules note\n\
         one all 4 1 790 197.5 197.5 790 0.0051 185 605 -\n\
         one cpu 4 1 40 10 10 40 0.1 10 30 -\n\
         one gpu 4 1 750 187.5 187.5 750 0.0053 175 575 -"
    );
}

#[test]
fn energy_without_power_or_with_gaps_is_null_with_its_reason() {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(1_000, None), (4_000, None)]);
    tape.scrape(0, VLLM, &[("vllm:num_requests_running", 1.0)]);
    let header = "run part seconds covered_share joules mean_w joules_per_output_token joules_per_request tokens_per_joule prefill_joules decode_joules note\n";
    assert_eq!(
        answer(&answers(tape), "energy"),
        format!("{header}one all 4 - - - - - - - - no_power_was_scraped")
    );
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(1_000, None), (4_000, None)]);
    for at in [0, 1_000] {
        let page = [("DCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-a\"}", 100.0)];
        tape.scrape(at, "host", &page);
    }
    assert_eq!(
        answer(&answers(tape), "energy"),
        format!(
            "{header}one gpu 4 0.25 - - - - - - - power_is_known_for_less_than_90_%_of_the_run"
        )
    );
}

#[test]
fn a_gpu_that_two_sources_tell_of_counts_once() {
    let mut tape = scraped();
    let mut at = -500;
    for watts in [100.0, 200.0, 200.0, 200.0, 200.0, 100.0] {
        let page = [("DCGM_FI_DEV_POWER_USAGE{gpu=\"7\",UUID=\"GPU-a\"}", watts)];
        tape.scrape(at, "http://127.0.0.1:9400/metrics", &page);
        at += 1_000;
    }
    let text = answer(&answers(tape), "energy");
    assert!(text.contains("\none gpu 4 1 750 "), "{text}");
}

#[test]
fn a_run_that_scraped_nothing_has_no_such_tables() {
    let analysis = answers(TapeFixture::small());
    for query in [
        "server_over_time",
        "server_latencies",
        "server_counts",
        "energy",
    ] {
        assert_eq!(analysis.table(query), None, "{query}");
    }
}

/// What a counter grew by, value by value.
fn grown(values: &[u32]) -> u32 {
    let pairs = values.windows(2);
    pairs
        .map(|pair| match pair[1] < pair[0] {
            true => pair[1],
            false => pair[1] - pair[0],
        })
        .sum()
}

/// Joules from 0 to 4 s, and the milliseconds of which power is known, asked millisecond by
/// millisecond.
fn integrated(power: &[(i64, f64)]) -> (f64, u32) {
    let (mut joules, mut known_ms) = (0.0, 0);
    for ms in 0..4_000 {
        let mut pairs = power.windows(2);
        let span = pairs.find(|pair| pair[0].0 <= ms && ms < pair[1].0);
        if let Some([(_, before), (_, after)]) = span {
            joules += (before + after) / 2.0 / 1e3;
            known_ms += 1;
        }
    }
    (joules, known_ms)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]
    #[test]
    fn growth_and_energy_agree_with_a_second_way(
        first_ms in -1_500_i64..1_000,
        scrapes in vec((100_i64..1_500, 0.0_f64..500.0, 0_u32..40), 2..10),
    ) {
        let mut tape = TapeFixture::default();
        tape.answer(0, [0, 0], &[(1_000, None), (4_000, None)]);
        let mut at_ms = first_ms;
        let mut power = Vec::new();
        for (gap_ms, watts, count) in &scrapes {
            let page = [
                ("DCGM_FI_DEV_POWER_USAGE{UUID=\"GPU-a\"}", *watts),
                ("sglang:num_requests_total", f64::from(*count)),
            ];
            tape.scrape(at_ms, "host", &page);
            power.push((at_ms, *watts));
            at_ms += gap_ms;
        }
        let analysis = answers(tape);
        let counts: Vec<u32> = scrapes.iter().map(|(.., count)| *count).collect();
        let counted = analysis.row_of::<ServerCounts<'_>>("one").unwrap();
        prop_assert_eq!(counted.server_count, Some(f64::from(grown(&counts))));
        let (joules, known_ms) = integrated(&power);
        let energy = analysis.row_of::<Energy<'_>>("one").unwrap();
        match energy.joules {
            Some(found) => {
                prop_assert!(known_ms >= 3_600);
                prop_assert!((found - joules).abs() <= 1e-6 * joules.max(1.0), "{} {}", found, joules);
                let split = energy.prefill_joules.unwrap() + energy.decode_joules.unwrap();
                prop_assert!((split - found).abs() <= 1e-6 * found.max(1.0), "{} {}", split, found);
            }
            None => prop_assert!(known_ms <= 3_600, "{:?}", energy),
        }
    }
}
