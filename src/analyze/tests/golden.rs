//! The answer of every query to the two small tapes, each number checked by hand.
//!
//! The fixture's own documentation draws the tapes. Where an answer is not obvious, a comment says
//! how it comes about.

use std::sync::LazyLock;

use super::{analysed, spelled};
use crate::analyze::results::READ;
use crate::analyze::{Analysis, CATALOG, Options, ReportSettings, Slo};
use crate::sql::fixture::{MS, TapeFixture};

/// Both tapes, with goals of 20 ms on TTFT and 9 ms on TPOT. A stall is longer than 15 ms, the
/// reader takes a token each 10 ms, an input token costs 1 and an output token 4, and each of two
/// GPUs costs 1 a second.
pub(super) static BOTH: LazyLock<Analysis> = LazyLock::new(|| both(0));

/// The same on so many cores; 0 takes all that there are.
fn both(partitions: usize) -> Analysis {
    let slo = |metric: &str, limit| Slo {
        metric: metric.to_owned(),
        limit_ns: limit * MS,
    };
    let options = Options {
        slos: vec![slo("ttft", 20), slo("tpot", 9)],
        report_settings: ReportSettings {
            stall_ns: 15 * MS,
            reader_tps: 100.0,
            price_input: Some(1e6),
            price_output: Some(4e6),
            gpu_hour: Some(3_600.0),
            gpus: 2,
        },
        only: CATALOG.iter().map(|query| query.name.to_owned()).collect(),
        partitions,
        ..Options::default()
    };
    // What the tables about servers have is checked in `server.rs`.
    let mut small = TapeFixture::small();
    // Even requests go to the one server, odd ones to the other.
    small.manifest.plan.more_urls = vec!["http://b".to_owned()];
    for row in &mut small.requests {
        let is_odd = row.request_id % 2 == 1;
        row.target = Some(if is_odd { "http://b" } else { "http://a" }.into());
    }
    for (at, count) in [(-100, 0.0), (500, 3.0)] {
        let page = [
            ("vllm:num_requests_running", 1.0),
            ("vllm:request_success_total", count),
            ("vllm:time_to_first_token_seconds_sum", count / 50.0),
            ("vllm:time_to_first_token_seconds_count", count),
        ];
        small.scrape(at, "http://127.0.0.1:8000/metrics", &page);
    }
    analysed(
        &[("small", small), ("closed", TapeFixture::closed())],
        &options,
    )
    .unwrap()
}

pub(super) fn answer(query: &str) -> String {
    spelled(BOTH.table(query).expect("every query has an answer"))
}

/// The answer's header and those of its rows that `keep` takes.
pub(super) fn answer_where(query: &str, keep: impl Fn(&[&str]) -> bool) -> String {
    let text = answer(query);
    text.lines()
        .enumerate()
        .filter(|(index, line)| *index == 0 || keep(&line.split(' ').collect::<Vec<_>>()))
        .map(|(_, line)| line)
        .collect::<Vec<_>>()
        .join("\n")
}

/// Rows that say more than that nothing happened.
fn has_events(cells: &[&str]) -> bool {
    let mut counts = cells[3..8].iter().chain(cells.last());
    counts.any(|cell| *cell != "0")
}

#[test]
fn every_answer_has_the_columns_of_its_header() {
    for query in CATALOG.iter() {
        let table = BOTH.table(query.name).expect("every query has an answer");
        let names: Vec<_> = table.columns.iter().map(|column| &column.name).collect();
        let header: Vec<_> = query.columns.iter().map(|(name, _)| name).collect();
        assert_eq!(names, header, "{}", query.name);
        assert_eq!(table.columns[0].name, "run", "{}", query.name);
    }
}

// The engine plans otherwise where there is one core, and may refuse what it takes where there are several.
#[test]
fn every_answer_is_the_same_on_one_core() {
    let (one, several) = (both(1), both(4));
    for query in CATALOG.iter() {
        let [one, several] = [&one, &several].map(|both| {
            let text = spelled(both.table(query.name).expect("every query has an answer"));
            // Some answers have no order.
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        });
        assert_eq!(one, several, "{}", query.name);
    }
}

#[test]
fn every_column_that_is_read_is_one_that_is_returned() {
    let tapes = [
        ("small", TapeFixture::small()),
        ("closed", TapeFixture::closed()),
    ];
    let options = Options {
        definitions: vec!["vllm".to_owned()],
        ..Options::default()
    };
    let usual = analysed(&tapes, &options).unwrap();
    for (name, read) in READ {
        let name = name.replace('*', "vllm");
        let table = BOTH.table(&name).or_else(|| usual.table(&name));
        let table = table.unwrap_or_else(|| panic!("nothing returns {name}"));
        for column in *read {
            let mut names = table.columns.iter().map(|column| column.name.as_str());
            assert!(names.any(|other| other == *column), "{name}.{column}");
        }
    }
}

// Request 3 sent no usage: its one chunk counts, but it was not ok. Of the five gaps of ok requests, the two beside the
// read that brought two chunks are unresolved. In flight: 40 + 50 + 5 + 34 + 98 of 399 ms, up to when request 3 ran out of time.
#[test]
fn summarises_each_run() {
    let expected = "\
run loop requests ok failed interrupted cancelled hung_up not_sent ok_share warmups chunks first_sent_ns last_token_ns last_end_ns duration_s input_tokens output_tokens peak_in_flight mean_in_flight output_tokens_source unresolved_share resends retried retries
small open 4 3 1 0 0 0 0 0.75 1 9 1000000 352000000 400000000 0.399 32 12 1 0.5689 usage 0.4 - 1 1
closed closed 4 4 0 0 0 0 0 1 0 11 0 85000000 85000000 0.085 32 11 2 1.6471 usage 0 - 0 0";
    assert_eq!(answer("run_summary"), expected);
}

// The failed attempt at request 2 was made good by the next one, so it is no outcome.
#[test]
fn tells_outcomes_apart() {
    let expected = "\
run status error_kind http_status requests first_ns example_message
small ok - 200 3 41000000 -
small timeout timeout_idle 200 1 400000000 no_event_for_48_ms
closed ok - 200 4 30000000 -";
    assert_eq!(answer("requests_by_outcome"), expected);
}

// Inter-token times of the first tape: 10, 10, 10, then 10, 0, 0 (a chunk of three tokens), then 20;
// spread, that chunk has 3.33 three times.
// TPOT: 30 / (4 - 1) and 30 / (6 - 2); the answer of one token has none.
// DataFusion truncates the place between two neighbours to a millionth, hence 28999990.
#[test]
fn gives_every_latency_with_percentiles() {
    let expected = "\
run metric n mean_ns std_ns min_ns p50_ns p90_ns p95_ns p99_ns p999_ns max_ns
small ttft 3 20000000 8164965.8093 10000000 20000000 28000000 28999990 29800000 29980000 30000000
small ttft_intended 3 23666666.6667 12119772.6418 11000000 20000000 36000000 37999980 39600000 39960000 40000000
small ttfa 3 20000000 8164965.8093 10000000 20000000 28000000 28999990 29800000 29980000 30000000
small tpot 2 8750000 1250000 7500000 8750000 9750000 9875000 9975000 9997500 10000000
small itl 7 8571428.5714 6388765.65 0 10000000 14000000 16999990 19399990 19939990 20000000
small itl_spread 7 8571428.5714 5593971.4878 3333333.3333 10000000 14000000 16999990 19399990 19939990 20000000
small itl_resolved 3 10000000 0 10000000 10000000 10000000 10000000 10000000 10000000 10000000
small icl 5 12000000 4000000 10000000 10000000 16000000 17999990 19600000 19960000 20000000
small e2el 3 40000000 8164965.8093 30000000 40000000 48000000 48999990 49800000 49980000 50000000
small e2el_intended 3 43666666.6667 4496912.5211 40000000 41000000 48200000 49099991 49820000 49982000 50000000
small queued 3 0 0 0 0 0 0 0 0 0
small connect 1 4000000 0 4000000 4000000 4000000 4000000 4000000 4000000 4000000
small slip 2 500000 500000 0 500000 900000 950000 990000 999000 1000000
closed ttft 4 10000000 0 10000000 10000000 10000000 10000000 10000000 10000000 10000000
closed ttft_intended 4 11250000 2165063.5095 10000000 10000000 13500000 14249995 14849995 14984995 15000000
closed ttfa 4 10000000 0 10000000 10000000 10000000 10000000 10000000 10000000 10000000
closed tpot 4 15000000 5000000 10000000 15000000 20000000 20000000 20000000 20000000 20000000
closed itl 7 14285714.2857 4948716.5931 10000000 10000000 20000000 20000000 20000000 20000000 20000000
closed itl_spread 7 14285714.2857 4948716.5931 10000000 10000000 20000000 20000000 20000000 20000000 20000000
closed itl_resolved 7 14285714.2857 4948716.5931 10000000 10000000 20000000 20000000 20000000 20000000 20000000
closed icl 7 14285714.2857 4948716.5931 10000000 10000000 20000000 20000000 20000000 20000000 20000000
closed e2el 4 35000000 8660254.0378 30000000 30000000 44000000 46999980 49399980 49939980 50000000
closed e2el_intended 4 36250000 10825317.5473 30000000 30000000 47500000 51249975 54249975 54924975 55000000
closed queued 4 0 0 0 0 0 0 0 0 0
closed slip 4 1250000 2165063.5095 0 0 3500000 4249995 4849995 4984995 5000000";
    assert_eq!(answer("latency_percentiles"), expected);
}

#[test]
fn draws_a_curve_from_minimum_to_maximum() {
    let expected = "\
run metric p value_ns n
small itl 0 0 7
small itl 0.1 0 7
small itl 0.2 2000000 7
small itl 0.3 8000000 7
small itl 0.4 10000000 7
small itl 0.5 10000000 7
small itl 0.6 10000000 7
small itl 0.7 10000000 7
small itl 0.8 10000000 7
small itl 0.9 14000000 7
small itl 0.95 17000000 7
small itl 0.98 18800000 7
small itl 0.99 19400000 7
small itl 0.995 19700000 7
small itl 0.998 19880000 7
small itl 0.999 19940000 7
small itl 0.9995 19970000 7
small itl 0.9998 19988000 7
small itl 0.9999 19994000 7
small itl 1 19999400 7
small itl 1 20000000 7";
    assert_eq!(
        answer_where("latency_curve", |cells| cells[..2] == ["small", "itl"]),
        expected
    );
}

// Steady: 0 to the last arrival at 300; and 5, when both slots are busy, to 60, when one is idle.
// In the latter: requests 0, 1 and 2 end, with 3 + 3 + 2 tokens.
#[test]
fn takes_rates_over_windows() {
    let expected = "\
run window_name from_ns to_ns seconds requests rps input_tokens input_tps output_tokens output_tps total_tps basis note
small steady 0 300000000 0.3 3 10 24 80 11 36.6667 116.6667 schedule -
small run 1000000 400000000 0.399 3 7.5188 32 80.2005 12 30.0752 110.2757 whole -
closed steady 5000000 60000000 0.055 3 54.5455 24 436.3636 8 145.4545 581.8182 slots -
closed run 0 85000000 0.085 4 47.0588 32 376.4706 11 129.4118 505.8824 whole -";
    assert_eq!(answer("throughput_windows"), expected);
}

// Open loop, from the intended time: TTFT 11 and 20 pass, 40 and the timeout do not; TPOT 7.5 and
// none at all pass, 10 does not. In the closed loop no TPOT is below 10. Of the tokens 6 are good; the
// offered ones are 4, 6 and 1, and 4 that were planned for the request that failed after one.
#[test]
fn counts_what_met_every_goal() {
    let expected = "\
run window_name offered good attainment goodput_rps ttft_met tpot_met e2el_met tpot_n ok offered_rps ok_rps good_tokens goodput_tps token_attainment
small steady 4 1 0.25 3.3333 0.5 0.5 - 2 3 13.3333 10 6 20 0.4
small run 4 1 0.25 2.5063 0.5 0.5 - 2 3 10.0251 7.5188 6 15.0376 0.4
closed steady 2 0 0 0 1 0 - 2 2 36.3636 36.3636 0 0 0
closed run 4 0 0 0 1 0 - 4 4 47.0588 47.0588 0 0 0";
    assert_eq!(answer("goodput"), expected);
}

// Request 2 is sent first at 200, fails at 205 and goes out again.
#[test]
fn follows_throughput_over_time() {
    let expected = "\
run at_ns width_ns offered sent completed failed output_tokens output_tps in_flight retried
small 0 5000000 1 1 0 0 0 0 0.8 0
small 10000000 5000000 0 0 0 0 1 200 1 0
small 20000000 5000000 0 0 0 0 1 200 1 0
small 30000000 5000000 0 0 0 0 1 200 1 0
small 40000000 5000000 0 0 1 0 1 200 0.2 0
small 100000000 5000000 1 1 0 0 0 0 1 0
small 120000000 5000000 0 0 0 0 2 400 1 0
small 130000000 5000000 0 0 0 0 3 600 1 0
small 150000000 5000000 0 0 1 0 1 200 0 0
small 200000000 5000000 1 1 0 0 0 0 1 0
small 205000000 5000000 0 0 0 0 0 0 0.8 1
small 240000000 5000000 0 0 1 0 1 200 0 0
small 300000000 5000000 1 1 0 0 0 0 0.6 0
small 350000000 5000000 0 0 0 0 1 200 1 0
small 400000000 5000000 0 0 0 1 0 0 0 0
closed 0 1000000 2 1 0 0 0 0 1 0
closed 5000000 1000000 0 1 0 0 0 0 2 0
closed 10000000 1000000 0 0 0 0 1 1000 2 0
closed 15000000 1000000 0 0 0 0 1 1000 2 0
closed 20000000 1000000 0 0 0 0 1 1000 2 0
closed 30000000 1000000 1 1 1 0 1 1000 2 0
closed 35000000 1000000 0 0 0 0 1 1000 2 0
closed 40000000 1000000 0 0 0 0 1 1000 2 0
closed 55000000 1000000 1 1 1 0 1 1000 2 0
closed 60000000 1000000 0 0 1 0 1 1000 1 0
closed 65000000 1000000 0 0 0 0 1 1000 1 0
closed 75000000 1000000 0 0 0 0 1 1000 1 0
closed 85000000 1000000 0 0 1 0 1 1000 0 0";
    assert_eq!(answer_where("throughput_over_time", has_events), expected);
}

#[test]
fn follows_latency_over_time() {
    let expected = "\
run at_ns width_ns n ttft_p50_ns ttft_p99_ns ttft_max_ns itl_p50_ns itl_p99_ns itl_max_ns
small 0 5000000 1 10000000 10000000 10000000 - - -
small 20000000 5000000 0 - - - 10000000 10000000 10000000
small 30000000 5000000 0 - - - 10000000 10000000 10000000
small 40000000 5000000 0 - - - 10000000 10000000 10000000
small 100000000 5000000 1 20000000 20000000 20000000 - - -
small 130000000 5000000 0 - - - 0 9800000 10000000
small 150000000 5000000 0 - - - 20000000 20000000 20000000
small 210000000 5000000 1 30000000 30000000 30000000 - - -
closed 0 1000000 1 10000000 10000000 10000000 - - -
closed 5000000 1000000 1 10000000 10000000 10000000 - - -
closed 20000000 1000000 0 - - - 10000000 10000000 10000000
closed 30000000 1000000 1 10000000 10000000 10000000 10000000 10000000 10000000
closed 35000000 1000000 0 - - - 20000000 20000000 20000000
closed 55000000 1000000 1 10000000 10000000 10000000 20000000 20000000 20000000
closed 60000000 1000000 0 - - - 20000000 20000000 20000000
closed 75000000 1000000 0 - - - 10000000 10000000 10000000
closed 85000000 1000000 0 - - - 10000000 10000000 10000000";
    assert_eq!(
        answer_where("latency_over_time", |cells| cells[4..]
            .iter()
            .any(|cell| *cell != "-")),
        expected
    );
}

// Cells are half octaves: 2^23 to 2^23.5, 2^24 to 2^24.5.
#[test]
fn spreads_times_between_tokens_over_cells() {
    let expected = "\
run at_ns width_ns low_ns high_ns n
small 20000000 5000000 8388608 11863283 1
small 30000000 5000000 8388608 11863283 1
small 40000000 5000000 8388608 11863283 1
small 130000000 5000000 0 1024 2
small 130000000 5000000 8388608 11863283 1
small 150000000 5000000 16777216 23726566 1
closed 20000000 1000000 8388608 11863283 1
closed 30000000 1000000 8388608 11863283 1
closed 35000000 1000000 16777216 23726566 1
closed 55000000 1000000 16777216 23726566 1
closed 60000000 1000000 16777216 23726566 1
closed 75000000 1000000 8388608 11863283 1
closed 85000000 1000000 8388608 11863283 1";
    assert_eq!(answer("itl_heatmap"), expected);
}

// Slips of 1, 0, 0 and 2 ms: of the request that took two attempts that of the first.
#[test]
fn measures_how_the_schedule_was_kept() {
    let expected = "\
run n slip_p50_ns slip_p99_ns slip_max_ns queued_p50_ns queued_p99_ns queued_max_ns intended_rate_per_s achieved_rate_per_s
small 4 500000 1969999 2000000 0 0 0 10 9.9668
closed 4 0 4849995 5000000 0 0 0 54.5455 54.5455";
    assert_eq!(answer("schedule_fidelity"), expected);
}

// The second tape has no probes: nothing is known.
#[test]
fn judges_the_client() {
    let expected = "\
run check_name value limit_value unit ok
small slip 1980000 1000000 ns false
small runtime_lag 50000 1000000 ns true
small cpu 0 0.05 share true
closed slip 4849995 1000000 ns false
closed runtime_lag - 1000000 ns -
closed cpu - 0.05 share -";
    assert_eq!(answer("validity"), expected);
}

#[test]
fn compares_lengths_with_the_plan() {
    let expected = "\
run input_planned input_got output_planned output_got input_exact output_exact input_over_min \
input_over_max output_short output_cut output_long answers by_usage by_ids by_limit by_tokenizer by_chunks \
usage_refuted off off_ids off_chunks off_tokenizer without_text input_both input_by_usage \
input_by_tokenizer input_off placed tokens_a_chunk before_first \
before_first_p99 after_last
small 24 24 12 11 1 0.3333 0 0 0.3333 0 0.3333 3 3 0 0 0 0 0 0 0 0 0 0 0 - - 0 0.3333 1 1 1 0
closed 32 32 16 11 1 0 0 0 1 0 0 4 4 0 0 0 0 0 0 0 0 0 0 0 - - 0 0 1 - - 0";
    assert_eq!(answer("token_counts"), expected);
}

#[test]
fn follows_the_client_itself() {
    let expected = "\
run at_ns in_flight queued runtime_lag_max_ns cpu_share rss_bytes channel_fill reads events capture_stalls
small 0 1 0 50000 0.02 1048576 0 2 3 0
small 100000000 1 0 50000 0.02 1048576 0 2 3 0
small 200000000 1 0 50000 0.02 1048576 0 2 3 0
small 300000000 1 0 50000 0.02 1048576 0 2 3 0";
    assert_eq!(answer("client_health"), expected);
}

#[test]
fn compares_each_run_with_the_first() {
    // The form from the intended time is left out: one of the runs is a closed loop.
    let expected = "\
run metric stat unit baseline value difference ratio
closed requests ok requests 3 4 1 1.3333
closed requests not_ok requests 1 0 -1 0
closed ok_share run share 0.75 1 0.25 1.3333
closed rps steady requests/s 10 54.5455 44.5455 5.4545
closed output_tps steady tokens/s 36.6667 145.4545 108.7879 3.9669
closed total_tps steady tokens/s 116.6667 581.8182 465.1515 4.987
closed rps run requests/s 7.5188 47.0588 39.54 6.2588
closed output_tps run tokens/s 30.0752 129.4118 99.3366 4.3029
closed goodput steady requests/s 3.3333 0 -3.3333 0
closed attainment steady share 0.25 0 -0.25 0
closed attainment run share 0.25 0 -0.25 0
closed ttft mean ns 20000000 10000000 -10000000 0.5
closed ttft p50 ns 20000000 10000000 -10000000 0.5
closed ttft p90 ns 28000000 10000000 -18000000 0.3571
closed ttft p99 ns 29800000 10000000 -19800000 0.3356
closed ttft max ns 30000000 10000000 -20000000 0.3333
closed ttfa mean ns 20000000 10000000 -10000000 0.5
closed ttfa p50 ns 20000000 10000000 -10000000 0.5
closed ttfa p90 ns 28000000 10000000 -18000000 0.3571
closed ttfa p99 ns 29800000 10000000 -19800000 0.3356
closed ttfa max ns 30000000 10000000 -20000000 0.3333
closed tpot mean ns 8750000 15000000 6250000 1.7143
closed tpot p50 ns 8750000 15000000 6250000 1.7143
closed tpot p90 ns 9750000 20000000 10250000 2.0513
closed tpot p99 ns 9975000 20000000 10025000 2.005
closed tpot max ns 10000000 20000000 10000000 2
closed itl mean ns 8571428.5714 14285714.2857 5714285.7143 1.6667
closed itl p50 ns 10000000 10000000 0 1
closed itl p90 ns 14000000 20000000 6000000 1.4286
closed itl p99 ns 19399990 20000000 600010 1.0309
closed itl max ns 20000000 20000000 0 1
closed e2el mean ns 40000000 35000000 -5000000 0.875
closed e2el p50 ns 40000000 30000000 -10000000 0.75
closed e2el p90 ns 48000000 44000000 -4000000 0.9167
closed e2el p99 ns 49800000 49399980 -400020 0.992
closed e2el max ns 50000000 50000000 0 1";
    assert_eq!(answer("comparison"), expected);
}

#[test]
fn bins_have_no_hole() {
    for query in ["throughput_over_time", "latency_over_time"] {
        let rows = answer(query)
            .lines()
            .filter(|line| line.starts_with("small "))
            .count();
        // 0 to 400 ms in bins of 5 ms, and the one that starts at 400.
        assert_eq!(rows, 81, "{query}");
    }
}

#[test]
fn leaves_comparison_and_goodput_out_where_there_is_nothing_to_say() {
    let alone = analysed(&[("small", TapeFixture::small())], &Options::default()).unwrap();
    assert_eq!(alone.table("comparison"), None);
    assert!(alone.table("goodput").unwrap().rows.is_empty());
    for query in CATALOG.iter().filter(|query| query.is_on_request) {
        assert_eq!(alone.table(query.name), None);
    }
}
