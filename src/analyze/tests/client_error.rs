//! The client's own error and its throughput: by hand on small tapes of stamped answers, and a
//! second way in plain Rust on a large one.

use std::collections::BTreeMap;

use super::model::{float, percentile};
use super::{analysed, spelled};
use crate::analyze::{Analysis, Cell, Options};
use crate::capture::schema::{FIRST_WARMUP_ID, Phase, Status};
use crate::draw::Draw;
use crate::sql::fixture::{MS, START_UTC_NS, TapeFixture};

/// The stamp of a point on the tape's axis, in nanoseconds.
fn stamp(at_ns: i64) -> String {
    (START_UTC_NS + at_ns).to_string()
}

/// The text of an answer's first token, by when the server had the request and when it sent it.
fn first(received_ns: i64, sent_ns: i64) -> String {
    format!(" {}:{}", stamp(received_ns), stamp(sent_ns))
}

/// The text of a later token.
fn later(sent_ns: i64) -> String {
    format!(" {}", stamp(sent_ns))
}

/// Adds an attempt whose chunks have a text each; times in nanoseconds.
fn answer(
    tape: &mut TapeFixture,
    request_id: u64,
    due_and_sent_ns: [i64; 2],
    chunks: &[(i64, String)],
) {
    let arrivals: Vec<_> = chunks.iter().map(|(at_ns, _)| (*at_ns, None)).collect();
    let from = tape.chunks.len();
    tape.answer_ns(request_id, due_and_sent_ns, &arrivals);
    for (chunk, (_, text)) in tape.chunks[from..].iter_mut().zip(chunks) {
        chunk.text = Some(text.clone());
    }
}

/// Four requests, of which two are stamped throughout.
///
/// | request | due | sent | arrivals (what the text says of them) | ends |
/// |---|---|---|---|---|
/// | warm-up | -90 | -90 | -80 (received -90, sent -89) | ok |
/// | 0 | 0 | 1 | 13 (received 2, sent 12), 23 (sent 21, 22), 36 (sent 32) | ok |
/// | 1 | 100 | 100 | 120 (received 110, sent 118), 130 (a word), 140 (sent 139), 150 (a stamp and a word) | ok |
/// | 2 | 200 | 203 | 211 (sent 210), 221 (a small number) | ok |
/// | 3 | 300 | 300 | 390 (received 301, sent 302) | timeout |
fn stamped() -> TapeFixture {
    let mut tape = TapeFixture::default();
    let ms = |at: i64| at * MS;
    let warmup = [(ms(-80), first(ms(-90), ms(-89)))];
    answer(&mut tape, FIRST_WARMUP_ID, [ms(-90), ms(-90)], &warmup);
    tape.requests[0].phase = Phase::Warmup;
    let two = format!("{}{}", later(ms(21)), later(ms(22)));
    let whole = [
        (ms(13), first(ms(2), ms(12))),
        (ms(23), two),
        (ms(36), later(ms(32))),
    ];
    answer(&mut tape, 0, [0, ms(1)], &whole);
    let holed = [
        (ms(120), first(ms(110), ms(118))),
        (ms(130), " water".to_owned()),
        (ms(140), later(ms(139))),
        (ms(150), format!("{} water", later(ms(149)))),
    ];
    answer(&mut tape, 1, [ms(100), ms(100)], &holed);
    let unreceived = [(ms(211), later(ms(210))), (ms(221), " 12".to_owned())];
    answer(&mut tape, 2, [ms(200), ms(203)], &unreceived);
    let late = [(ms(390), first(ms(301), ms(302)))];
    answer(&mut tape, 3, [ms(300), ms(300)], &late);
    tape.requests.last_mut().expect("just written").status = Status::Timeout;
    tape
}

fn both_queries() -> Options {
    Options {
        only: vec!["client_error".into(), "client_throughput".into()],
        ..Options::default()
    }
}

fn answered(tapes: &[(&str, TapeFixture)], query: &str) -> String {
    let analysis = analysed(tapes, &both_queries()).unwrap();
    spelled(analysis.table(query).unwrap())
}

// Read lags of 1, 1, 4, 2, 1 and 1 ms; TTFT of 12 against 10 and 20 against 8 ms; gaps of 10 and 13
// against 10 ms; slips of 1, 0, 3 and 0 ms. What has no stamp has no error, the failed request
// counts for slip alone, and the warm-up for nothing. The engine truncates the place between two
// neighbours to a millionth, hence 2939998.
#[test]
fn compares_the_clients_times_with_the_servers() {
    let expected = "\
run metric n unstamped min_ns p50_ns p99_ns p999_ns max_ns
stamped read_lag 6 3 1000000 1000000 3900000 3990000 4000000
stamped ttft_error 2 1 2000000 7000000 11900000 11990000 12000000
stamped itl_error 2 4 0 1500000 2970000 2997000 3000000
stamped slip 4 0 0 500000 2939998 2993998 3000000
silent read_lag 0 11 - - - - -
silent ttft_error 0 4 - - - - -
silent itl_error 0 7 - - - - -
silent slip 4 0 0 0 4849995 4984995 5000000
empty read_lag 0 0 - - - - -
empty ttft_error 0 0 - - - - -
empty itl_error 0 0 - - - - -
empty slip 0 0 - - - - -";
    let tapes = [
        ("stamped", stamped()),
        ("silent", TapeFixture::closed()),
        ("empty", TapeFixture::default()),
    ];
    assert_eq!(answered(&tapes, "client_error"), expected);
}

// Steady: 0 to 300 ms, and 5 to 60 ms; a single request has no steady window.
#[test]
fn counts_what_the_client_took_in_a_second() {
    let mut single = TapeFixture::default();
    single.answer(0, [0, 0], &[(10, None), (20, None)]);
    let expected = "\
run window_name seconds events events_per_s cpu_share requests ok
small steady 0.3 8 26.6667 0.02 4 3
closed steady 0.055 8 145.4545 - 4 4
single run 0.02 2 100 - 1 1
empty steady - 0 - - 0 0";
    let tapes = [
        ("small", TapeFixture::small()),
        ("closed", TapeFixture::closed()),
        ("single", single),
        ("empty", TapeFixture::default()),
    ];
    assert_eq!(answered(&tapes, "client_throughput"), expected);
}

/// The row of a metric, by column.
fn row(analysis: &Analysis, metric: &str) -> BTreeMap<String, f64> {
    let table = analysis.table("client_error").unwrap();
    let mut rows = table.rows.iter();
    let row = rows
        .find(|row| row[1] == Cell::Text(metric.into()))
        .unwrap();
    let columns = table.columns.iter().zip(row);
    columns
        .filter_map(|(column, cell)| match cell {
            Cell::Int(number) => Some((column.name.clone(), float(*number))),
            Cell::Float(number) => Some((column.name.clone(), *number)),
            _ => None,
        })
        .collect()
}

#[test]
fn sql_and_rust_agree_on_a_large_tape() {
    let mut tape = TapeFixture::default();
    let mut errors: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for request_id in 0..60 {
        let mut draw = Draw::new(7, request_id, 0);
        let mut random = |below: u64| i64::try_from(draw.below(below)).unwrap();
        let due_ns = i64::try_from(request_id).unwrap() * 5 * MS;
        let slip_ns = random(3_000_000);
        let sent_ns = due_ns + slip_ns;
        let received_ns = sent_ns + random(900_000);
        let mut server_ns = received_ns + 10 * MS + random(5_000_000);
        let mut arrival_ns = server_ns + random(2_000_000);
        let mut chunks = vec![(arrival_ns, first(received_ns, server_ns))];
        let mut note = |metric, value: i64| errors.entry(metric).or_default().push(float(value));
        note("slip", slip_ns);
        note("read_lag", arrival_ns - server_ns);
        note(
            "ttft_error",
            (arrival_ns - sent_ns - (server_ns - received_ns)).abs(),
        );
        for _ in 0..40 {
            let (server_before_ns, arrival_before_ns) = (server_ns, arrival_ns);
            server_ns += 8 * MS + random(4_000_000);
            arrival_ns = arrival_ns.max(server_ns + random(3_000_000));
            chunks.push((arrival_ns, later(server_ns)));
            let (sent_gap_ns, gap_ns) =
                (server_ns - server_before_ns, arrival_ns - arrival_before_ns);
            note("read_lag", arrival_ns - server_ns);
            note("itl_error", (gap_ns - sent_gap_ns).abs());
        }
        answer(&mut tape, request_id, [due_ns, sent_ns], &chunks);
    }
    let analysis = analysed(&[("large", tape)], &both_queries()).unwrap();
    for (metric, mut values) in errors {
        values.sort_by(f64::total_cmp);
        let row = row(&analysis, metric);
        assert_eq!(row["n"].to_string(), values.len().to_string(), "{metric}");
        let range = values[values.len() - 1] - values[0];
        for (column, p) in [
            ("min_ns", 0.0),
            ("p50_ns", 0.5),
            ("p99_ns", 0.99),
            ("p999_ns", 0.999),
            ("max_ns", 1.0),
        ] {
            let (have, want) = (row[column], percentile(&values, p));
            // The engine truncates the place between two neighbours to a millionth.
            assert!(
                (have - want).abs() <= range * 1.1e-6 + 1e-3,
                "{metric} {column}: SQL has {have}, Rust has {want}"
            );
        }
    }
}
