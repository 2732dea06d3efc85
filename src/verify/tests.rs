//! What is said of rungs that were measured, by hand-made results.

use super::cores::Cores;
use super::json::json;
use super::ladder::Verification;
use super::measure::Measurement;
use super::rung::Rung;
use super::terminal::terminal;
use crate::analyze::{Analysis, Cell, Column, RunFacts, Table};
use crate::capture::Manifest;
use crate::load::RunReport;
use crate::plan::Loop;
use crate::report::columns::{WIDTH, columns};

fn table(name: &str, names: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        name: name.to_owned(),
        purpose: String::new(),
        columns: names
            .iter()
            .map(|name| Column {
                name: (*name).to_owned(),
                unit: None,
            })
            .collect(),
        rows,
        sql: String::new(),
    }
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

/// The tables of a rung whose errors grow with its streams.
fn tables(streams: u32, slip_ms: f64) -> Vec<Table> {
    let many = i64::from(streams);
    let error = |metric: &str, n: i64, p50_ns: i64| {
        let values = [p50_ns / 2, p50_ns, 3 * p50_ns, 5 * p50_ns, 8 * p50_ns];
        let mut row = vec![text("a"), text(metric), Cell::Int(n), Cell::Int(0)];
        row.extend(values.map(Cell::Int));
        row
    };
    let errors = vec![
        error("read_lag", 100 * many, 20_000 + 50 * many),
        error("ttft_error", many, 90_000 + 900 * many),
        error("itl_error", 99 * many, 12_000 + 40 * many),
        error("slip", many, 8_000 + 300 * many),
    ];
    let error_columns = [
        "run",
        "metric",
        "n",
        "unstamped",
        "min_ns",
        "p50_ns",
        "p99_ns",
        "p999_ns",
        "max_ns",
    ];
    let throughput = vec![
        text("a"),
        Cell::Float(99.0 * f64::from(streams)),
        Cell::Float(f64::from(streams) * 0.0007),
        Cell::Int(many),
        Cell::Int(many),
    ];
    let slip = vec![
        text("a"),
        text("slip"),
        Cell::Float(slip_ms * 1e6),
        Cell::Float(1e6),
        text("ns"),
        Cell::Bool(slip_ms <= 1.0),
    ];
    vec![
        table("client_error", &error_columns, errors),
        table(
            "client_throughput",
            &["run", "events_per_s", "cpu_share", "requests", "ok"],
            vec![throughput],
        ),
        table(
            "validity",
            &["run", "check_name", "value", "limit_value", "unit", "ok"],
            vec![slip],
        ),
    ]
}

/// A rung; `slip_ms` is the p99 that it is judged by.
fn measured(streams: u32, arrival_loop: Loop, slip_ms: f64) -> Measurement {
    let manifest = Manifest::new("a", arrival_loop);
    let requests = u64::from(streams);
    Measurement {
        rung: Rung {
            streams,
            arrival_loop,
            rate_per_s: 100.0,
            length_ns: 1_000_000_000,
        },
        report: RunReport {
            manifest: manifest.clone(),
            ok: requests,
            resends: 0,
            retried: 0,
            failed: 0,
            faults: 0,
            has_given_up: false,
            taken: requests,
            first_failure: None,
            made_up_replies: 0,
            trace: None,
            trace_error: None,
        },
        analysis: Analysis {
            runs: vec![RunFacts {
                run: "a".to_owned(),
                manifest,
                notes: Vec::new(),
                place: None,
            }],
            tables: tables(streams, slip_ms),
            slos: Vec::new(),
            thresholds: crate::analyze::Thresholds::default(),
            command: String::new(),
        },
    }
}

fn verification() -> Verification {
    Verification {
        target: None,
        cores: Some(Cores {
            server: vec![0],
            client: vec![1, 2, 3],
        }),
        shares_clock: true,
        rungs: vec![
            measured(1, Loop::Closed, 0.01),
            measured(1_000, Loop::Closed, 7.3),
            measured(1, Loop::Open, 0.01),
            measured(1_000, Loop::Open, 0.4),
        ],
    }
}

/// Replaces the value of a metric's column in a rung.
fn set(measured: &mut Measurement, (table, row): (&str, usize), column: &str, value: Cell) {
    let mut tables = measured.analysis.tables.iter_mut();
    let table = tables.find(|candidate| candidate.name == table).unwrap();
    let mut columns = table.columns.iter();
    let place = columns.position(|candidate| candidate.name == column);
    table.rows[row][place.unwrap()] = value;
}

#[test]
fn people_get_a_table_a_loop_and_what_it_means() {
    let shown = terminal(&verification(), false);
    insta::assert_snapshot!(shown, @"
    This client's own error against a simulated server; server on core 0, client on 1-3
    ---------------------------- Closed loop -----------------------------
    streams  error              n  p50 ms  p99 ms  p99.9 ms  max ms  events/s  CPU %  standing
          1  read lag         100   0.020   0.060    †0.100   0.160        99      0  valid
             TTFT               1  †0.091  †0.273    †0.455   0.727
             inter-token       99   0.012  †0.036    †0.060   0.096
             late send          1  †0.008  †0.025    †0.042   0.066
      1,000  read lag     100,000   0.070   0.210     0.350   0.560    99,000     70  LIMITED
             TTFT           1,000   0.990   2.970     4.950   7.920
             inter-token   99,000   0.052   0.156     0.260   0.416
             late send      1,000   0.308   0.924     1.540   2.464
    CLIENT-LIMITED at 1,000 streams: p99 send slip 7.300 ms (limit 1.000 ms)
    ----------------------------- Open loop ------------------------------
    streams  error              n  p50 ms  p99 ms  p99.9 ms  max ms  events/s  CPU %  standing
          1  read lag         100   0.020   0.060    †0.100   0.160        99      0  valid
             TTFT               1  †0.091  †0.273    †0.455   0.727
             inter-token       99   0.012  †0.036    †0.060   0.096
             late send          1  †0.008  †0.025    †0.042   0.066
      1,000  read lag     100,000   0.070   0.210     0.350   0.560    99,000     70  valid
             TTFT           1,000   0.990   2.970     4.950   7.920
             inter-token   99,000   0.052   0.156     0.260   0.416
             late send      1,000   0.308   0.924     1.540   2.464
    ----------------------------------------------------------------------
    † fewer values than this percentile needs (at least one beyond it); it leans on the maximum.
    read lag: when the client stamped an event, less when the server sent it. TTFT and inter-token: how
      far the client's time is from the server's own. late send: when a request was sent, less when it
      was due. events/s, and the CPU of the thread that reads them (with one core of the one that sends,
      too), are those of the steady part, times to first tokens included.
    In a closed loop all streams begin at once: its late sends and its TTFT are those of a burst.
    Closed loop: at 1,000 streams x 100 tokens/s this client adds at most 0.156 ms to an inter-token
      time at p99. Its numbers may be believed up to 1 stream, not beyond.
    Open loop: at 1,000 streams x 100 tokens/s this client adds at most 0.156 ms to an inter-token time
      at p99. Its numbers may be believed up to 1,000 streams.
    ");
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let mut wide = verification();
    wide.target = Some(format!(
        "https://{}.example.org/v1/completions",
        "a".repeat(120)
    ));
    wide.rungs = [1, 10, 100, 20_000]
        .into_iter()
        .flat_map(|streams| [Loop::Closed, Loop::Open].map(|kind| measured(streams, kind, 7.3)))
        .collect();
    for row in 0..4 {
        for column in ["p50_ns", "p99_ns", "p999_ns", "max_ns"] {
            set(
                &mut wide.rungs[7],
                ("client_error", row),
                column,
                Cell::Int(12_345_678_901),
            );
        }
        set(
            &mut wide.rungs[7],
            ("client_error", row),
            "n",
            Cell::Int(4_000_000),
        );
    }
    for line in terminal(&wide, false).lines() {
        assert!(columns(line) <= WIDTH, "{line}");
    }
}

#[test]
fn numbers_are_believed_up_to_the_heaviest_rung_that_was_valid() {
    let mut verification = verification();
    assert_eq!(verification.believed_up_to(Loop::Closed), Some(1));
    assert_eq!(verification.believed_up_to(Loop::Open), Some(1_000));
    assert!(verification.is_client_limited());
    // A hiccup at a light rung is none of the heavier one's, which was borne.
    verification.rungs.push(measured(10, Loop::Open, 2.0));
    assert_eq!(verification.believed_up_to(Loop::Open), Some(1_000));
    assert_eq!(verification.disturbed(Loop::Open), [10]);
    assert!(verification.disturbed(Loop::Closed).is_empty());
    let shown = terminal(&verification, false);
    assert!(
        shown.contains("up to 1,000 streams. Not those at 10 streams:"),
        "{shown}"
    );
    verification.rungs.clear();
    assert_eq!(verification.believed_up_to(Loop::Open), None);
    assert!(!verification.is_client_limited());
}

#[test]
fn the_read_lag_needs_one_clock() {
    let mut elsewhere = verification();
    elsewhere.shares_clock = false;
    let shown = terminal(&elsewhere, false);
    assert!(
        shown.contains("read lag is left out: the server is on another machine"),
        "{shown}"
    );
    assert_eq!(shown.matches("read lag").count(), 1, "{shown}");
    assert_eq!(
        json(&elsewhere, |_| None)["rungs"][0]["metrics"].get("read_lag_p50"),
        None
    );
    // A tunnel makes another machine look like this one, until its clock is seen.
    let mut tunnelled = verification();
    set(
        &mut tunnelled.rungs[0],
        ("client_error", 0),
        "min_ns",
        Cell::Int(-40_000_000),
    );
    let shown = terminal(&tunnelled, false);
    assert!(
        shown.contains("read lag is left out: events came before they were sent"),
        "{shown}"
    );
}

#[test]
fn a_server_that_fell_behind_is_named() {
    let mut slow = verification();
    set(
        &mut slow.rungs[1],
        ("client_throughput", 0),
        "events_per_s",
        Cell::Float(61_000.0),
    );
    let said = "At 1,000 streams the events came slower than asked for";
    assert!(!terminal(&verification(), false).contains(said));
    assert!(terminal(&slow, false).contains(said));
    // What another server's pace is, nobody asked for.
    slow.target = Some("http://10.0.0.1".to_owned());
    assert!(!terminal(&slow, false).contains(said));
}

#[test]
fn events_without_a_stamp_are_counted() {
    let mut holed = verification();
    set(
        &mut holed.rungs[0],
        ("client_error", 2),
        "unstamped",
        Cell::Int(3),
    );
    let shown = terminal(&holed, false);
    assert!(
        shown.contains("At 1 stream, 3 inter-token times had no stamp"),
        "{shown}"
    );
    assert_eq!(
        json(&holed, |_| None)["rungs"][0]["metrics"]["itl_error_unstamped"]["value"],
        3
    );
}

#[test]
fn scripts_get_stable_keys() {
    let value = json(&verification(), |measured| {
        Some(measured.rung.loop_name().into())
    });
    let keys: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "schema",
            "server",
            "cores",
            "read_lag_left_out",
            "believed_up_to",
            "rungs"
        ]
    );
    insta::assert_snapshot!(value["believed_up_to"], @r#"{"closed":1,"open":1000}"#);
    insta::assert_snapshot!(value["cores"], @r#"{"server":[0],"client":[1,2,3]}"#);
    let rung = &value["rungs"][1];
    assert_eq!(rung["tape"], "closed");
    assert_eq!(rung["validity"]["verdict"], "CLIENT-LIMITED");
    insta::assert_snapshot!(rung["metrics"]["itl_error_p99"], @r#"{"value":0.156,"unit":"ms","n":99000,"low":null,"high":null}"#);
    let keys: Vec<&String> = rung["metrics"].as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 4 * 6 + 4, "{keys:?}");
}
