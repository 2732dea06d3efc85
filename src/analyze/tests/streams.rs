//! The answers about throughput, smoothness, lengths, phases and cost, each checked by hand.
//!
//! The two small tapes and what they are held against are those of `golden`.

use std::collections::BTreeSet;

use super::golden::{BOTH, answer, answer_where};
use super::{analysed, spelled};
use crate::analyze::{
    Analysis, CATALOG, Cell, Condition, Options, Percentile, ReportSettings, Slo, Span, metrics,
    views,
};
use crate::capture::schema::Status;
use crate::plan::Loop;
use crate::sql::fixture::{MS, TapeFixture};

// The answers of the first tape: 4 tokens in 40 ms, 6 in 50, 1 in 30; first tokens after 10, 20 and
// 30 ms, with 8 input tokens each.
#[test]
fn gives_the_speed_of_each_request() {
    let expected = "\
run metric unit n mean min p1 p10 p50 p90 p99 max
small request_tps tokens/s 3 84.4444 33.3333 34.6667 46.6667 100 116 119.6 120
small decode_tps tokens/s 2 116.6667 100 100.3333 103.3333 116.6667 130 133 133.3333
small request_total_tps tokens/s 3 293.3333 280 280.4 284 300 300 300 300
small prefill_tps tokens/s 3 488.8889 266.6667 269.3333 293.3333 400 720 792 800
small generation_tps tokens/s 2 166.6667 133.3333 134 140 166.6667 193.3333 199.3333 200
small generation_time ns 3 20000000 0 600000 6000000 30000000 30000000 30000000 30000000
closed request_tps tokens/s 4 81.6667 60 60.2 62 83.3333 100 100 100
closed decode_tps tokens/s 4 75 50 50 50 75 100 100 100
closed request_total_tps tokens/s 4 321.6667 220 223.4 254 350 366.6667 366.6667 366.6667
closed prefill_tps tokens/s 4 800 800 800 800 800 800 800 800
closed generation_tps tokens/s 4 118.75 75 75.75 82.5 125 150 150 150
closed generation_time ns 4 25000000 20000000 20000000 20000000 20000000 34000000 39399980 40000000";
    assert_eq!(answer("request_speeds"), expected);
}

// Both tapes are shorter than a second. In the third one, 3 tokens come at 900 ms, 2 at 1,000, 4 at
// 1,899 and 1 at 1,900: the second that ends at 1,899 has 9, the one that ends at 1,900 has 7, and no
// aligned second has more than 5. Usage counts twice what the chunks say.
#[test]
fn finds_the_peak_second_wherever_it_begins() {
    let expected = "\
run output_tokens_peak_1s from_ns to_ns
small 12 -648000000 352000000
closed 11 -915000000 85000000";
    assert_eq!(answer("throughput_peaks"), expected);
    let mut tape = TapeFixture::default();
    let chunks = [
        (900, Some(3)),
        (1_000, Some(2)),
        (1_899, Some(4)),
        (1_900, Some(1)),
    ];
    tape.answer(0, [0, 0], &chunks).usage_output_tokens = Some(20);
    let peak = one(tape, "throughput_peaks", Options::default());
    assert!(peak.ends_with("\nt 18 899000000 1899000000"), "{peak}");
}

// Of the 300 ms of the first window, requests take 40, 50, 5 and 34.
#[test]
fn weighs_concurrency_by_time() {
    let expected = "\
run window_name seconds mean min p50 p90 p99 max
small steady 0.3 0.43 0 0 1 1 1
small run 0.399 0.5689 0 1 1 1 1
closed steady 0.055 2 2 2 2 2 2
closed run 0.085 1.6471 1 2 2 2 2";
    assert_eq!(answer("concurrency"), expected);
}

// Gaps of the first tape: 10, 10, 10, then 10 and 20; of the second: 10, 10, then 20, 20, then 20,
// then 10, 10.
#[test]
fn counts_stalls_and_measures_jitter() {
    let expected = "\
run bound_ns n stalled stalled_share gaps stalls stalls_share stalled_time_share longest_p50_ns longest_p90_ns longest_p99_ns longest_max_ns
small 15000000 3 1 0.3333 5 1 0.2 0.3333 15000000 19000000 19900000 20000000
closed 15000000 4 2 0.5 7 3 0.4286 0.6 15000000 20000000 20000000 20000000";
    assert_eq!(answer("stalls"), expected);
    let expected = "\
run n mean_ns p50_ns p90_ns p99_ns max_ns
small 2 5000000 5000000 9000000 9900000 10000000
closed 3 0 0 0 0 0";
    assert_eq!(answer("jitter"), expected);
}

// The reader wants a token each 10 ms: in the second tape the gaps of 20 make three tokens late.
// Fluidity, first tape, from the intended time: 4 of 4 (9 ms early at first, then 1 ms less each
// time), 6 of 6, and 40 ms for the only token of request 2, which misses 1 + 20 div 9 deadlines.
// Second tape, from the send: 10 ms early, which lasts for both gaps of 10; of the gaps of 20 the
// first one misses one deadline, (20 - 10) div 9, and the second one, with nothing saved, two.
#[test]
fn holds_tokens_against_deadlines() {
    let expected = "\
run reader_tps n tokens in_time_share kept_up_share in_time_p10 deadlines fluidity fluidity_p50 fluidity_p10 fluidity_p1 fluid_share
small 100 3 11 1 1 1 13 0.7692 1 0.2 0.02 0.6667
closed 100 4 11 0.7273 0.5 0.3833 12 0.6667 0.75 0.325 0.2575 0.5";
    assert_eq!(answer("deadlines"), expected);
}

#[test]
fn sorts_latency_by_length() {
    let expected = "\
run side from_tokens to_tokens n ttft_p50_ns ttft_p99_ns tpot_p50_ns tpot_p99_ns e2el_p50_ns e2el_p99_ns
small input 8 16 3 20000000 29800000 8750000 9975000 40000000 49800000
small output 1 2 1 30000000 30000000 - - 30000000 30000000
small output 4 8 2 15000000 19900000 8750000 9975000 45000000 49900000
closed input 8 16 4 10000000 10000000 15000000 20000000 30000000 49399980
closed output 2 4 4 10000000 10000000 15000000 20000000 30000000 49399980";
    assert_eq!(answer("latency_by_length"), expected);
}

// Each request of the first tape is alone. In the second one the first is, two follow when one is in
// flight, and the last takes the place of the second at the instant when that ends.
#[test]
fn sorts_latency_by_load() {
    let expected = "\
run quarter n in_flight_min in_flight_p50 in_flight_max ttft_p50_ns ttft_p99_ns tpot_n tpot_p50_ns tpot_p99_ns
small 1 3 1 1 1 20000000 29800000 2 8750000 9975000
closed 1 1 1 1 1 10000000 10000000 1 10000000 10000000
closed 2 3 2 2 2 10000000 10000000 3 20000000 20000000";
    assert_eq!(answer("latency_by_load"), expected);
}

// By hand, of ranks 1, 2, 3, 4: TTFT 10, 20, 30, 40 with inputs 8, 8, 32, 16 is 1, 2, 3, 4 against
// 1.5, 1.5, 4, 3, which has 3.5 ÷ sqrt(5 × 4.5); with 1, 2, 1, 2 in flight it is 1, 2, 3, 4 against
// 1.5, 3.5, 1.5, 3.5, which has 2 ÷ sqrt(5 × 4).
#[test]
fn ranks_latency_by_length_and_by_load() {
    let expected = "\
run metric n with_input with_in_flight
small ttft 3 - -
small tpot 2 - -
closed ttft 4 - -
closed tpot 4 - 0.5774";
    assert_eq!(answer("latency_ranks"), expected);
    let mut tape = TapeFixture::default();
    for (id, sent, first, end, tokens) in [
        (0, 0, 10, 200, 8),
        (1, 100, 120, 210, 8),
        (2, 300, 330, 500, 32),
        (3, 400, 440, 510, 16),
    ] {
        let row = tape.answer(id, [sent, sent], &[(first, None), (end, None)]);
        row.usage_input_tokens = Some(tokens);
    }
    let answer = one(tape, "latency_ranks", Options::default());
    assert_eq!(answer.lines().nth(1), Some("t ttft 4 0.7379 0.4472"));
}

// The step of the first tape lasts from 0 to 400: 40 + 50 + 39 (two attempts) + 98 ms in flight.
#[test]
fn takes_rates_and_latencies_by_step() {
    let expected = "\
run step labels from_ns to_ns seconds offered offered_rps ok ok_share requests rps output_tokens output_tps in_flight_mean
small 0 {\"rate\":\"10\"} 0 400000000 0.4 4 10 3 0.75 3 7.5 12 30 0.5675";
    assert_eq!(answer("throughput_by_step"), expected);
    let expected = "\
run phase step labels metric n mean_ns p50_ns p90_ns p99_ns max_ns
small warmup - - ttft 1 10000000 10000000 10000000 10000000 10000000
small warmup - - itl 1 10000000 10000000 10000000 10000000 10000000
small warmup - - e2el 1 20000000 20000000 20000000 20000000 20000000
small measure 0 {\"rate\":\"10\"} ttft 3 20000000 20000000 28000000 29800000 30000000
small measure 0 {\"rate\":\"10\"} itl 7 8571428.5714 10000000 14000000 19399990 20000000
small measure 0 {\"rate\":\"10\"} e2el 3 40000000 40000000 48000000 49800000 50000000";
    let found = answer_where("latency_by_step", |cells| {
        ["ttft", "itl", "e2el"].contains(&cells[4])
    });
    assert_eq!(found, expected);
}

// By price: 24 + 4 × 11 in the steady window of the first tape. By the hour: 0.3 s of two GPUs.
#[test]
fn says_what_tokens_cost() {
    let expected = "\
run window_name basis seconds cost cost_per_m_output cost_per_m_total cost_per_request gpu_share
small steady price 0.3 68 6181818.1818 1942857.1429 22.6667 -
small run price 0.399 80 6666666.6667 1818181.8182 26.6667 -
small steady gpu_hour 0.3 0.6 54545.4545 17142.8571 0.2 1
small run gpu_hour 0.399 0.798 66500 18136.3636 0.266 1
closed steady price 0.055 56 7000000 1750000 18.6667 -
closed run price 0.085 76 6909090.9091 1767441.8605 19 -
closed steady gpu_hour 0.055 0.11 13750 3437.5 0.0367 1
closed run gpu_hour 0.085 0.17 15454.5455 3953.4884 0.0425 1";
    assert_eq!(answer("cost"), expected);
    let queries = ["throughput_windows", "concurrency", "cost"];
    let free = several(TapeFixture::small(), &queries, Options::default());
    assert!(free.table("cost").unwrap().rows.is_empty());
}

// Too few requests to say anything of a warm-up in an open loop. In the closed one the first requests
// of both slots have a token at 15, and half of the requests are due later.
#[test]
fn says_which_window_is_in_use() {
    let expected = "\
run rule given_ns n batches cut found_ns steady_from_ns steady_to_ns basis left_out
small given 0 4 0 - - 0 300000000 schedule 0
closed given 0 4 0 - 15000000 5000000 60000000 slots 0";
    assert_eq!(answer("warmup_end"), expected);
}

/// The answer of one query to one tape called `t`.
// All prompts have 8 tokens, and 10 ms lie between 2^(93/4) and 2^(94/4) ns.
#[test]
fn spreads_first_tokens_by_length() {
    let expected = "\
run from_tokens to_tokens low_ns high_ns n
small 8 9.5137 9975792 11863283 1
small 8 9.5137 19951585 23726566 1
small 8 9.5137 28215802 33554432 1
closed 8 9.5137 9975792 11863283 4";
    assert_eq!(answer("ttft_by_length"), expected);
}

// From when they were due, the requests of the first tape took 41, 50, 40 and, unfinished, 52 ms.
#[test]
fn shows_the_lives_of_the_slowest_and_of_a_sample() {
    let expected = "\
run picked place request_id intended_ns tried_ns sent_ns first_token_ns end_ns status input_tokens output_tokens
small slowest 1 3 300000000 - 302000000 352000000 352000000 timeout 8 1
small slowest 2 1 100000000 - 100000000 120000000 150000000 ok 8 6
small slowest 3 0 0 - 1000000 11000000 41000000 ok 8 4
small slowest 4 2 200000000 200000000 210000000 240000000 240000000 ok 8 1
small sample 1 0 0 - 1000000 11000000 41000000 ok 8 4
small sample 2 1 100000000 - 100000000 120000000 150000000 ok 8 6
small sample 3 2 200000000 200000000 210000000 240000000 240000000 ok 8 1
small sample 4 3 300000000 - 302000000 352000000 352000000 timeout 8 1
closed slowest 1 1 0 - 5000000 15000000 55000000 ok 8 3
closed slowest 2 0 0 - 0 10000000 30000000 ok 8 3
closed slowest 3 2 30000000 - 30000000 40000000 60000000 ok 8 2
closed slowest 4 3 55000000 - 55000000 65000000 85000000 ok 8 3
closed sample 1 0 0 - 0 10000000 30000000 ok 8 3
closed sample 2 1 0 - 5000000 15000000 55000000 ok 8 3
closed sample 3 2 30000000 - 30000000 40000000 60000000 ok 8 2
closed sample 4 3 55000000 - 55000000 65000000 85000000 ok 8 3";
    assert_eq!(answer("waterfall"), expected);
    // A reply without a chunk has an unknown number of tokens, not 0 of them.
    let mut tape = TapeFixture::default();
    tape.attempt(0, [0, 0], 9);
    let life = "0 0 - 0 - 9000000 ok - -";
    let both = format!("t slowest 1 {life}\nt sample 1 {life}");
    assert!(one(tape, "waterfall", Options::default()).ends_with(&both));
    // Of 90 requests every third, and the 20 slowest.
    let mut tape = TapeFixture::default();
    for (request_id, due) in (0_u64..).zip((0..900).step_by(10)) {
        tape.answer(
            request_id,
            [due, due],
            &[(due + 5, None), (due + 20 + due % 70, None)],
        );
    }
    let lives = one(tape, "waterfall", Options::default());
    let of = |picked: &str| lives.lines().filter(|line| line.contains(picked)).count();
    assert_eq!((of("slowest"), of("sample")), (20, 30), "{lives}");
    assert!(lives.contains("\nt sample 30 87 870000000"), "{lives}");
}

fn one(tape: TapeFixture, query: &str, options: Options) -> String {
    spelled(several(tape, &[query], options).table(query).unwrap())
}

fn several(tape: TapeFixture, queries: &[&str], options: Options) -> Analysis {
    let only = queries.iter().map(|query| (*query).to_owned()).collect();
    analysed(&[("t", tape)], &Options { only, ..options }).unwrap()
}

fn window(from: Option<i64>, to: Option<i64>) -> Options {
    Options {
        slos: vec![Slo {
            metric: "ttft".to_owned(),
            limit_ns: 20 * MS,
        }],
        span: Span {
            from_ns: from.map(|at| at * MS),
            to_ns: to.map(|at| at * MS),
            ..Span::default()
        },
        ..Options::default()
    }
}

// Requests 1 and 2 are due from 100 to 250; the last tokens of both come then too.
#[test]
fn a_window_that_was_asked_for_replaces_the_steady_one() {
    let queries = [
        "throughput_windows",
        "goodput",
        "latency_percentiles",
        "stalls",
    ];
    let options = window(Some(100), Some(250));
    let found = several(TapeFixture::small(), &queries, options);
    let line = |query: &str, begin: &str| {
        let text = spelled(found.table(query).unwrap());
        let line = text.lines().find(|line| line.starts_with(begin));
        line.unwrap_or_else(|| panic!("{begin} is not in {text}"))
            .to_owned()
    };
    assert_eq!(
        line("throughput_windows", "t steady"),
        "t steady 100000000 250000000 0.15 2 13.3333 16 106.6667 7 46.6667 153.3333 asked -"
    );
    assert!(line("throughput_windows", "t run").starts_with("t run 1000000 400000000 0.399 3 "));
    assert!(line("goodput", "t steady").starts_with("t steady 2 1 0.5 6.6667 "));
    assert!(line("goodput", "t run").starts_with("t run 4 2 0.5 "));
    assert!(line("latency_percentiles", "t ttft ").starts_with("t ttft 2 25000000 "));
    assert!(line("latency_percentiles", "t itl ").starts_with("t itl 4 7500000 "));
    assert!(line("stalls", "t ").starts_with("t 1000000000 2 0 0 2 0 "));
}

#[test]
fn a_window_is_open_where_one_end_was_asked_for() {
    let bounds = |from, to| {
        let text = one(TapeFixture::small(), "warmup_end", window(from, to));
        let words: Vec<_> = text.split_whitespace().rev().skip(1).take(3).collect();
        [words[2], words[1], words[0]].join(" ")
    };
    assert_eq!(bounds(Some(100), None), "100000000 300000000 asked");
    assert_eq!(bounds(None, Some(150)), "0 150000000 asked");
    // The run ends at 400.
    assert_eq!(bounds(None, Some(9_000)), "0 400000000 asked");
}

// Both requests are due within 10 ms, and end long after.
#[test]
fn a_rate_is_null_where_the_window_is_too_short_for_a_request() {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(90, None), (95, None)]);
    tape.answer(1, [10, 10], &[(100, None)]);
    let expected = "\
run window_name from_ns to_ns seconds requests rps input_tokens input_tps output_tokens output_tps total_tps basis note
t steady 0 10000000 0.01 0 - 0 - 0 - - schedule no_token_arrived_in_the_window
t run 0 100000000 0.1 2 20 16 160 3 30 190 whole -";
    assert_eq!(
        one(tape, "throughput_windows", Options::default()),
        expected
    );
    let mut partly = TapeFixture::default();
    partly.answer(0, [0, 0], &[(5, None), (95, None)]);
    partly.answer(1, [10, 10], &[(100, None)]);
    let found = one(partly, "throughput_windows", Options::default());
    assert!(
        found.contains("\nt steady 0 10000000 0.01 0 - 8 800 1 100 900 schedule no_ok_request_ended_in_the_window\n"),
        "{found}"
    );
}

/// A run that fills up: requests each 10 ms that stay for 300 ms, so that 30 are in flight from
/// the thirtieth on, give or take one.
fn filling(requests: u64) -> TapeFixture {
    let mut tape = TapeFixture::default();
    for request in 0..requests {
        let due = i64::try_from(request).unwrap() * 10;
        let stays = 300 + i64::try_from(request * 7 % 10).unwrap();
        tape.answer(
            request,
            [due, due],
            &[(due + 20, None), (due + stays, None)],
        );
    }
    tape
}

/// MSER-5 the plain way: for each cut, the squared error of the mean of what is left.
fn mser5(values: &[f64]) -> usize {
    let batches: Vec<f64> = values
        .chunks_exact(5)
        .map(|five| five.iter().sum::<f64>() / 5.0)
        .collect();
    let error = |cut: usize| {
        let rest = &batches[cut..];
        let n = f64::from(u32::try_from(rest.len()).unwrap());
        let mean = rest.iter().sum::<f64>() / n;
        rest.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n * n)
    };
    let cuts = 0..=batches.len() - 5;
    cuts.min_by(|a, b| error(*a).total_cmp(&error(*b))).unwrap()
}

#[test]
fn a_warm_up_is_found_where_the_run_becomes_level() {
    let options = || Options {
        span: Span {
            finds_warmup: true,
            ..Span::default()
        },
        ..Options::default()
    };
    let tape = filling(203);
    let spans: Vec<(i64, i64)> = tape
        .requests
        .iter()
        .map(|row| (row.dispatched_ns.unwrap(), row.end_ns.unwrap()))
        .collect();
    let in_flight: Vec<f64> = spans
        .iter()
        .map(|(at, _)| {
            let held = spans.iter().filter(|(from, to)| from <= at && at < to);
            f64::from(u32::try_from(held.count()).unwrap())
        })
        .collect();
    let cut = mser5(&in_flight);
    assert!((5..9).contains(&cut), "{cut}");
    let found_ns = spans[cut * 5].0;
    let expected = format!("t auto - 203 40 {cut} {found_ns} {found_ns} 2020000000 schedule 30");
    let found = one(tape, "warmup_end", options());
    assert_eq!(found.lines().nth(1), Some(expected.as_str()));
    // Nine batches are too few, and a run that only grows is never level: nothing is cut.
    let short = one(filling(49), "warmup_end", options());
    assert!(
        short.ends_with("\nt auto - 49 9 - - 0 480000000 schedule 0"),
        "{short}"
    );
    let mut growing = TapeFixture::default();
    for request in 0..100 {
        let due = i64::try_from(request).unwrap() * 10;
        growing.answer(request, [due, due], &[(5_000 + due, None)]);
    }
    let growing = one(growing, "warmup_end", options());
    let words: Vec<_> = growing.split_whitespace().rev().take(5).collect();
    assert_eq!(words[4], "-", "{growing}");
    assert_eq!(words[3], "0", "{growing}");
}

/// A closed loop of four slots: the first requests wait 400 ms for their first tokens, since all
/// slots begin together, and each later one 50 ms, give or take.
fn bursting(requests: i64) -> TapeFixture {
    let mut tape = TapeFixture::default();
    tape.manifest.arrival_loop = Loop::Closed;
    tape.manifest.plan.max_concurrency = Some(4);
    let mut free = [0_i64; 4];
    for (request_id, request) in (0_u64..).zip(0..requests) {
        let slot = usize::try_from(request % 4).unwrap();
        let due = free[slot];
        let wait = if request < 4 {
            400 + 10 * request
        } else {
            50 + request * 7 % 10
        };
        let end = due + wait + 100;
        tape.answer(request_id, [due, due], &[(due + wait, None), (end, None)]);
        free[slot] = end;
    }
    tape
}

fn warmed_up(warmup_ms: i64) -> Options {
    Options {
        span: super::after(warmup_ms * MS),
        slos: window(None, None).slos,
        ..Options::default()
    }
}

// Requests are due at 0, then each slot's next one from 500 on.
#[test]
fn what_a_warm_up_leaves_out_is_left_out_of_latencies_too() {
    let queries = [
        "latency_percentiles",
        "goodput",
        "stalls",
        "warmup_end",
        "run_summary",
    ];
    let rows = |warmup_ms| {
        let found = several(bursting(120), &queries, warmed_up(warmup_ms));
        let line = |query: &str, begin: &str| {
            let text = spelled(found.table(query).unwrap());
            text.lines()
                .find(|line| line.starts_with(begin))
                .unwrap_or_default()
                .to_owned()
        };
        let ttft = line("latency_percentiles", "t ttft ");
        let words: Vec<_> = ttft.split(' ').collect();
        let left_out = line("warmup_end", "t ");
        (
            [words[2], words[11]].join(" "),
            left_out.rsplit(' ').next().unwrap().to_owned(),
            line("stalls", "t ").split(' ').nth(2).unwrap().to_owned(),
            line("run_summary", "t ")
                .split(' ')
                .nth(3)
                .unwrap()
                .to_owned(),
        )
    };
    let owned = |ttft: &str, left: &str, n: &str, ok: &str| {
        (
            ttft.to_owned(),
            left.to_owned(),
            n.to_owned(),
            ok.to_owned(),
        )
    };
    assert_eq!(rows(0), owned("120 430000000", "0", "120", "120"));
    assert_eq!(rows(1), owned("116 59000000", "4", "116", "120"));
}

// The run with the warm-up that the query names has the 99th percentile that it promises.
#[test]
fn a_start_up_burst_is_found_with_the_warm_up_that_leaves_it_out() {
    let found = one(bursting(120), "startup_burst", Options::default());
    let words: Vec<_> = found.lines().nth(1).unwrap().split(' ').collect();
    let [warmup_ns, later_n, later_p99] = [words[1], words[4], words[5]];
    assert!(
        words[3].parse::<f64>().unwrap() > 2.0 * later_p99.parse::<f64>().unwrap(),
        "{found}"
    );
    let warmup_ms = warmup_ns.parse::<i64>().unwrap() / MS;
    let kept = one(bursting(120), "latency_percentiles", warmed_up(warmup_ms));
    let ttft = kept
        .lines()
        .find(|line| line.starts_with("t ttft "))
        .unwrap();
    let words: Vec<_> = ttft.split(' ').collect();
    assert_eq!([words[2], words[9]], [later_n, later_p99]);
    // An open loop has none.
    let open = one(filling(203), "startup_burst", Options::default());
    assert_eq!(open.lines().count(), 1, "{open}");
}

// A chunk that says 0 tokens, two that say 3 and 1, and an answer that had no chunk with a token.
#[test]
fn peaks_and_means_count_the_same_tokens() {
    let mut tape = TapeFixture::default();
    tape.answer(0, [0, 0], &[(10, Some(0)), (20, Some(3)), (30, Some(1))])
        .usage_output_tokens = Some(8);
    tape.answer(1, [0, 0], &[(40, Some(0)), (50, Some(0))])
        .usage_output_tokens = Some(6);
    let silent = tape.answer(2, [0, 0], &[]);
    silent.usage_output_tokens = Some(5);
    silent.status = Status::Ok;
    silent.end_ns = Some(60 * MS);
    let queries = [
        "throughput_windows",
        "throughput_peaks",
        "throughput_over_time",
    ];
    let found = several(tape, &queries, Options::default());
    let sum = |query: &str, column: &str| -> f64 {
        let table = found.table(query).unwrap();
        let rows = table.rows.iter();
        rows.filter_map(|row| table.cell(row, column)?.number())
            .sum()
    };
    assert!((sum("throughput_peaks", "output_tokens_peak_1s") - 19.0).abs() < 1e-6);
    assert!((sum("throughput_over_time", "output_tokens") - 19.0).abs() < 1e-6);
    let windows = spelled(found.table("throughput_windows").unwrap());
    assert!(
        windows.contains("\nt run 0 60000000 0.06 3 50 24 400 19 "),
        "{windows}"
    );
}

// Of the GPUs' 0.399 s the parts take 40 + 98 and 50 + 5 + 34 of 227 ms in flight.
#[test]
fn the_parts_of_a_tape_share_its_cost() {
    let costs = |by: Option<&str>| {
        let mut tape = TapeFixture::small();
        for row in &mut tape.requests {
            let is_short = [0, 3].contains(&row.request_id);
            row.class = Some(if is_short { "a" } else { "b" }.into());
        }
        let options = Options {
            by: by.map(str::to_owned),
            report_settings: ReportSettings {
                gpu_hour: Some(3_600.0),
                gpus: 2,
                ..ReportSettings::default()
            },
            ..Options::default()
        };
        let found = several(
            tape,
            &["throughput_windows", "concurrency", "cost"],
            options,
        );
        let table = found.table("cost").unwrap();
        let whole = table
            .rows
            .iter()
            .filter(|row| table.cell(row, "window_name").and_then(Cell::text) == Some("run"));
        whole
            .filter_map(|row| table.cell(row, "cost")?.number())
            .collect::<Vec<f64>>()
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    let (whole, parts) = (costs(None), costs(Some("class")));
    assert_eq!((whole.len(), parts.len()), (1, 2));
    close(whole[0], 0.798);
    close(parts[0], 0.798 * 138.0 / 227.0);
    close(parts[0] + parts[1], whole[0]);
}

// First tokens after 10, 20 and 30 ms.
#[test]
fn a_percentile_that_was_asked_for_is_computed_exactly() {
    let options = Options {
        percentiles: [25.0, 97.5, 50.0]
            .into_iter()
            .filter_map(Percentile::new)
            .collect(),
        ..Options::default()
    };
    let found = several(TapeFixture::small(), &["latency_percentiles"], options);
    let table = found.table("latency_percentiles").unwrap();
    let ttft = table
        .rows
        .iter()
        .find(|row| row[1].text() == Some("ttft"))
        .unwrap();
    let number = |column: &str| table.cell(ttft, column).unwrap().number().unwrap();
    assert!((number("p25_ns") - 15e6).abs() < 10.0);
    assert!((number("p97_5_ns") - 29.5e6).abs() < 10.0);
    assert!(
        table.sql.contains("p25_ns"),
        "the report shows the SQL that was run"
    );
    let keys: Vec<String> = metrics(&found, "t")
        .into_iter()
        .map(|one| one.key)
        .collect();
    assert!(keys.contains(&"ttft_p97_5".to_owned()), "{keys:?}");
    let judged = |text: &str| text.parse::<Condition>().unwrap().judge(&found);
    assert_eq!(judged("ttft_p25 > 14ms").held, ["`t` has 15.000 ms"]);
    assert_eq!(judged("ttft_p26 > 14ms").held, ["`t` has no `ttft_p26`"]);
}

// Of 60 requests that are all due at once 17 succeed: there is no steady window.
#[test]
fn success_is_of_all_requests_of_a_run_and_always_there() {
    let mut tape = TapeFixture::default();
    for request in 0..60 {
        let row = tape.answer(request, [0, 0], &[(10, None), (20, None)]);
        if request >= 17 {
            row.status = Status::Error;
        }
    }
    let found = analysed(&[("t", tape)], &Options::default()).unwrap();
    let judged = |text: &str| text.parse::<Condition>().unwrap().judge(&found);
    assert_eq!(judged("ok_share < 0.95").held, ["`t` has 0.2833"]);
    assert_eq!(judged("ok_share < 0.28").passed, ["`t` has 0.2833"]);
    // Nor is a rate below 0, however few there are of.
    let below = metrics(&found, "t")
        .into_iter()
        .find(|one| one.interval.is_some_and(|(low, _)| low < 0.0));
    assert_eq!(below, None);
    // Also where nothing was ever sent.
    let mut refused = TapeFixture::default();
    let row = refused.attempt(0, [0, 0], 5);
    row.sent_ns = None;
    row.status = Status::Error;
    let found = analysed(&[("t", refused)], &Options::default()).unwrap();
    let judged = |text: &str| text.parse::<Condition>().unwrap().judge(&found);
    assert_eq!(judged("ok_share < 0.95").held, ["`t` has 0.0000"]);
    // In a closed loop requests that the window leaves out count, too.
    let closed = analysed(&[("t", TapeFixture::closed())], &Options::default()).unwrap();
    let one = metrics(&closed, "t")
        .into_iter()
        .find(|one| one.key == "ok_share");
    assert_eq!(one.map(|one| (one.value, one.n)), Some((1.0, Some(4.0))));
}

// What a condition may name and what the JSON has are one list.
#[test]
fn every_number_of_a_run_can_be_a_condition() {
    for run in ["small", "closed"] {
        for one in metrics(&BOTH, run) {
            let bound = if one.unit == "ns" { "1s" } else { "1" };
            let condition = format!("{} > {bound}", one.key).parse::<Condition>();
            let judged = condition
                .unwrap_or_else(|error| panic!("{error}"))
                .judge(&BOTH);
            let has = |line: &String| {
                line.starts_with(&format!("`{run}` has ")) && !line.contains(" has no ")
            };
            assert!(
                judged.held.iter().chain(&judged.passed).any(has),
                "{}",
                one.key
            );
        }
    }
}

#[test]
fn every_metric_that_is_named_is_defined() {
    let queries = CATALOG.iter().flat_map(|query| query.defines.iter());
    let views = views();
    let defined: BTreeSet<&str> = queries
        .chain(views.iter().flat_map(|view| view.defines.iter()))
        .map(|definition| definition.name.as_str())
        .collect();
    for query in ["latency_percentiles", "latency_by_step", "request_speeds"] {
        let text = answer(query);
        let head: Vec<_> = text.lines().next().unwrap().split(' ').collect();
        let place = head.iter().position(|name| *name == "metric").unwrap();
        for line in text.lines().skip(1) {
            let metric = line.split(' ').nth(place).unwrap();
            assert!(defined.contains(metric), "{query} has {metric}");
        }
    }
    for column in ["rps", "output_tps", "goodput_rps", "attainment", "fluidity"] {
        assert!(defined.contains(column), "{column}");
    }
    assert!(BOTH.table("cost").is_some());
}

#[test]
fn the_usual_report_settings_are_those_of_the_headers() {
    let usual = ReportSettings::default();
    let notes = |name: &str| {
        let query = CATALOG.iter().find(|query| query.name == name).unwrap();
        query.notes.join(" ")
    };
    assert_eq!(usual.stall_ns, 1_000 * MS);
    assert!(notes("stalls").contains("`--stall`, 1 s unless said"));
    assert_eq!(usual.reader_tps.to_bits(), 5.0_f64.to_bits());
    assert!(notes("deadlines").contains("`--reader` tokens a second, 5 unless said"));
}
