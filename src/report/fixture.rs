//! An analysis made by code, for the tests of this stage: the shape of a real one, no tape needed.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use crate::analyze::{Analysis, Cell, Column, RunFacts, Slo, Table, Thresholds};
use crate::capture::manifest::{ClockAnchor, Counts, Host, Manifest, SelfCheck, Spread, State};
use crate::plan::{Loop, RunPlan};

const SECOND: i64 = 1_000_000_000;
const WINDOW: i64 = SECOND / 2;
const WINDOWS: i64 = 64;

/// What sets one run apart from another.
struct Spec {
    name: String,
    n: i64,
    slowness: f64,
    arrival_loop: Loop,
}

/// One good run of 1,000 requests in an open loop.
pub(crate) fn single() -> Analysis {
    of_size(1000)
}

/// One run of `n` requests in an open loop.
pub(crate) fn of_size(n: i64) -> Analysis {
    build(&[Spec {
        name: "demo".to_owned(),
        n,
        slowness: 1.0,
        arrival_loop: Loop::Open,
    }])
}

/// One run in a closed loop.
pub(crate) fn closed() -> Analysis {
    build(&[Spec {
        name: "demo".to_owned(),
        n: 400,
        slowness: 1.0,
        arrival_loop: Loop::Closed,
    }])
}

/// Several runs, each slower and quicker through than the one before.
pub(crate) fn several(count: u32) -> Analysis {
    let specs: Vec<Spec> = (1..=count)
        .map(|index| Spec {
            name: format!("batch-{index}"),
            n: 1000,
            slowness: 1.0 + 0.35 * f64::from(index - 1),
            arrival_loop: Loop::Open,
        })
        .collect();
    build(&specs)
}

/// A run whose client slipped.
pub(crate) fn limited() -> Analysis {
    let mut analysis = single();
    for table in &mut analysis.tables {
        if table.name == "validity" {
            table.rows[0][2] = Cell::Float(7.3e6);
            table.rows[0][5] = Cell::Bool(false);
        }
    }
    analysis
}

/// Text that tries to leave its place, in every field that comes from outside.
pub(crate) const HOSTILE: &str = "</script></svg><script>alert(1)</script><img src=x onerror=alert(2)>\
     \u{202e}\u{2066}gnp.exe | `a` | {{ 123457*8 }} {% raw %} \n\n# heading\r\n@everyone \u{1b}[2J\u{7}\
     https://example.invalid/x javascript:alert(3) &amp; \"'שלום\u{0}";

/// A run in which every text from outside is hostile, and some are very long.
pub(crate) fn hostile() -> Analysis {
    let long = format!("{HOSTILE}{}", "x<b>".repeat(2_500));
    let mut analysis = single();
    let run = &mut analysis.runs[0];
    run.run = long.clone();
    run.notes = vec![long.clone()];
    run.manifest.target = format!("https://user@{long}");
    run.manifest.run_id = long.clone();
    run.manifest.host.name = long.clone();
    run.manifest.tool_version = long.clone();
    run.manifest.labels = BTreeMap::from([(long.clone(), long.clone())]);
    run.manifest.bounds_hit = BTreeMap::from([(long.clone(), 3)]);
    run.manifest.plan = RunPlan {
        model: Some(long.clone()),
        other: Map::from_iter([(HOSTILE.to_owned(), json!([long, { "deep": HOSTILE }]))]),
        ..RunPlan::default()
    };
    analysis.command = format!("tokentape analyze '{long}'");
    for table in &mut analysis.tables {
        table.sql = format!("SELECT '{long}'\nFROM x");
        table.purpose = long.clone();
        let foreign = [
            "error_kind",
            "example_message",
            "check_name",
            "output_tokens_source",
        ];
        for row in &mut table.rows {
            row[0] = Cell::Text(long.clone());
            for (column, cell) in table.columns.iter().zip(row) {
                if foreign.contains(&column.name.as_str()) && *cell != Cell::Null {
                    *cell = Cell::Text(long.clone());
                }
            }
        }
    }
    analysis
}

fn build(specs: &[Spec]) -> Analysis {
    let mut tables = vec![
        summary(specs),
        percentiles(specs),
        curve(specs),
        windows(specs),
        goodput(specs),
        outcomes(specs),
        load_over_time(specs),
        latency_over_time(specs),
        heat_map(specs),
        fidelity(specs),
        validity(specs),
        token_counts(specs),
        health(specs),
    ];
    if specs.len() > 1 {
        tables.push(comparison(specs));
    }
    Analysis {
        runs: specs.iter().map(facts).collect(),
        tables,
        slos: vec![
            Slo {
                metric: "ttft".to_owned(),
                limit_ns: 200_000_000,
            },
            Slo {
                metric: "tpot".to_owned(),
                limit_ns: 50_000_000,
            },
        ],
        thresholds: Thresholds::default(),
        command: "tokentape analyze demo.tape --html report.html --goodput ttft:200 tpot:50"
            .to_owned(),
    }
}

fn facts(spec: &Spec) -> RunFacts {
    let manifest = Manifest {
        state: State::Complete,
        labels: BTreeMap::from([("batch".to_owned(), "4".to_owned())]),
        plan: RunPlan::sample(),
        seed: 42,
        target: "http://127.0.0.1:8000/v1".to_owned(),
        host: Host {
            name: "bench-01".to_owned(),
            system: "Linux 6.8".to_owned(),
            cores: 8,
        },
        tool_version: "0.1.0".to_owned(),
        clock_anchors: vec![ClockAnchor {
            monotonic_ns: 0,
            utc_ns: 1_790_000_000 * SECOND,
        }],
        counts: Counts {
            requests: 1010,
            chunks: 180_000,
            probes: 320,
            ..Counts::default()
        },
        self_check: Some(SelfCheck {
            streams: 64,
            events_per_s: 10_000.0,
            events: 200,
            read_lag_ns: Spread {
                n: 200,
                p50: 38_000,
                p99: 181_200,
                max: 240_000,
            },
            inter_token_error_ns: Spread {
                n: 136,
                p50: 9_000,
                p99: 120_000,
                max: 200_000,
            },
        }),
        ..Manifest::new("6f1c2a90", spec.arrival_loop)
    };
    RunFacts {
        run: spec.name.clone(),
        manifest,
        notes: Vec::new(),
        place: None,
    }
}

/// Makes a table from `columns` and rows; `null` is not a value but an absent one.
fn table(name: &str, purpose: &str, columns: &str, rows: Vec<Vec<Cell>>) -> Table {
    let columns: Vec<Column> = columns
        .split_whitespace()
        .map(|name| Column {
            name: name.to_owned(),
            unit: None,
        })
        .collect();
    for row in &rows {
        assert_eq!(row.len(), columns.len(), "{name}");
    }
    let sql =
        format!("-- {purpose}\nSELECT *\nFROM requests\nWHERE phase = 'measure' AND ttft_ns < 1e9");
    Table {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        columns,
        rows,
        sql,
    }
}

/// Several runs of two builds, whose groups were held against each other.
pub(crate) fn grouped() -> Analysis {
    let mut analysis = several(2);
    let columns = "run baseline metric stat unit runs baseline_runs baseline_value value difference \
                   low high p p_holm verdict";
    let row = |metric: &str, stat: &str, unit: &str, (from, to): (f64, f64), verdict: Cell| {
        let numbers = [from, to, to / from - 1.0, -0.02, 0.3, 0.2, 0.4];
        let mut cells = vec![
            text("new"),
            text("old"),
            text(metric),
            text(stat),
            text(unit),
        ];
        cells.extend([Cell::Int(3), Cell::Int(2)]);
        cells.extend(numbers.map(Cell::Float));
        cells.push(verdict);
        cells
    };
    analysis.tables.push(table(
        "differences",
        "groups against the first",
        columns,
        vec![
            row("ttft", "p50", "ns", (8e7, 1e8), text("no difference seen")),
            row("ttft", "p90", "ns", (8e7, 1e8), Cell::Null),
            row("ok_share", "window", "share", (1.0, 0.9), text("worse")),
        ],
    ));
    analysis
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// A number between 0 and 1 that depends on `seed` only.
fn chance(seed: i64) -> f64 {
    let mixed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    f64::from(u16::try_from((mixed >> 33) & 0xffff).expect("sixteen bits")) / 65_536.0
}

fn float(value: i64) -> f64 {
    f64::from(i32::try_from(value).expect("a small number"))
}

/// The metrics that a run of size n has, with median and tail in milliseconds.
fn metrics(spec: &Spec) -> Vec<(&'static str, i64, f64, f64)> {
    let ok = ok_of(spec);
    let slow = spec.slowness;
    let all = [
        ("ttft", ok, 84.0 * slow, 610.0 * slow * slow),
        ("ttft_intended", ok, 84.4 * slow, 900.0 * slow * slow),
        ("ttfa", ok, 85.0 * slow, 615.0 * slow * slow),
        ("tpot", ok - ok / 50, 21.5 * slow, 64.0 * slow),
        ("itl", ok * 180, 19.8 * slow, 310.0 * slow),
        ("itl_resolved", ok * 171, 20.1 * slow, 310.0 * slow),
        ("icl", ok * 178, 19.9 * slow, 312.0 * slow),
        ("e2el", ok, 3_940.0 * slow, 11_800.0 * slow),
        ("e2el_intended", ok, 3_940.6 * slow, 12_100.0 * slow),
        ("queued", ok, 0.0, 0.0),
        ("connect", ok / 40, 0.12, 0.9),
        ("slip", ok, 0.031, 0.42),
    ];
    all.into_iter().filter(|metric| metric.1 > 0).collect()
}

fn ok_of(spec: &Spec) -> i64 {
    spec.n - spec.n / 100
}

/// A latency by share of values, in nanoseconds: a long tail.
fn at_share(median: f64, most: f64, share: f64) -> f64 {
    let body = median * (0.45 + 1.1 * share);
    1e6 * (body + (most - 1.55 * median).max(0.0) * share.powi(40))
}

fn each(specs: &[Spec], mut rows: impl FnMut(&Spec) -> Vec<Vec<Cell>>) -> Vec<Vec<Cell>> {
    specs
        .iter()
        .flat_map(|spec| {
            rows(spec).into_iter().map(|mut row| {
                row.insert(0, text(&spec.name));
                row
            })
        })
        .collect()
}

fn summary(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        let (ok, failed) = (ok_of(spec), spec.n / 125);
        vec![vec![
            text(if spec.arrival_loop == Loop::Open {
                "open"
            } else {
                "closed"
            }),
            Cell::Int(spec.n),
            Cell::Int(ok),
            Cell::Int(failed),
            Cell::Int(0),
            Cell::Int(spec.n - ok - failed),
            Cell::Int(0),
            if spec.n > 0 {
                Cell::Float(float(ok) / float(spec.n))
            } else {
                Cell::Null
            },
            Cell::Int(10),
            Cell::Int(ok * 181),
            if ok > 0 { Cell::Int(0) } else { Cell::Null },
            if ok > 0 {
                Cell::Int(31 * SECOND)
            } else {
                Cell::Null
            },
            if ok > 0 {
                Cell::Float(31.62)
            } else {
                Cell::Null
            },
            Cell::Int(ok * 512),
            Cell::Int(ok * 181),
            Cell::Int(spec.n.min(148)),
            Cell::Float(float(spec.n).min(118.4)),
            text("usage"),
            Cell::Float(0.052),
            Cell::Int(0),
            Cell::Int(0),
            Cell::Int(0),
        ]]
    });
    table(
        "run_summary",
        "One row a run: counts, length and load",
        "run loop requests ok failed interrupted cancelled not_sent ok_share warmups chunks first_sent_ns last_token_ns \
         duration_s input_tokens output_tokens peak_in_flight mean_in_flight output_tokens_source \
         unresolved_share resends retried retries",
        rows,
    )
}

fn percentiles(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        metrics(spec)
            .into_iter()
            .map(|(metric, n, median, most)| {
                let at = |share| Cell::Float(at_share(median, most, share));
                let mean = Cell::Float(median * 1.13e6);
                let std = if n > 1 {
                    Cell::Float(median * 0.4e6)
                } else {
                    Cell::Float(0.0)
                };
                let all = [0.0, 0.5, 0.9, 0.95, 0.99, 0.999, 1.0].map(at);
                let mut row = vec![text(metric), Cell::Int(n), mean, std];
                row.extend(all);
                row
            })
            .collect()
    });
    table(
        "latency_percentiles",
        "Exact percentiles of each latency",
        "run metric n mean_ns std_ns min_ns p50_ns p90_ns p95_ns p99_ns p999_ns max_ns",
        rows,
    )
}

fn curve(specs: &[Spec]) -> Table {
    let grid = [
        0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.925, 0.95, 0.975, 0.99, 0.9925, 0.995,
        0.9975, 0.999, 0.9995, 0.9999, 1.0,
    ];
    let rows = each(specs, |spec| {
        let mut rows = Vec::new();
        for (metric, n, median, most) in metrics(spec) {
            for share in grid {
                let value = Cell::Float(at_share(median, most, share));
                rows.push(vec![text(metric), Cell::Float(share), value, Cell::Int(n)]);
            }
        }
        rows
    });
    table(
        "latency_curve",
        "Each latency by percentile",
        "run metric p value_ns n",
        rows,
    )
}

fn windows(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        if spec.n == 0 {
            return Vec::new();
        }
        let ok = float(ok_of(spec));
        let rate = 31.4 * spec.slowness.sqrt();
        [("steady", 2.0, 27.5, 1.0), ("run", 0.0, 31.62, 0.93)]
            .map(|(name, from, seconds, share)| {
                let number = |value: f64| Cell::Float(value * share);
                vec![
                    text(name),
                    Cell::Float(from * 1e9),
                    Cell::Float((from + seconds) * 1e9),
                    Cell::Float(seconds),
                    Cell::Float((ok * share).round()),
                    number(rate),
                    Cell::Float((ok * 512.0 * share).round()),
                    number(rate * 512.0),
                    Cell::Float((ok * 181.0 * share).round()),
                    number(rate * 181.0),
                    number(rate * 693.0),
                ]
            })
            .to_vec()
    });
    table(
        "throughput_windows",
        "Rates over the steady window and over the whole run",
        "run window_name from_ns to_ns seconds requests rps input_tokens input_tps output_tokens \
         output_tps total_tps",
        rows,
    )
}

fn goodput(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        if spec.n == 0 {
            return Vec::new();
        }
        let ok = ok_of(spec);
        vec![vec![
            text("run"),
            Cell::Int(spec.n),
            Cell::Int(ok * 9 / 10),
            Cell::Float(0.891 / spec.slowness),
            Cell::Float(28.2 / spec.slowness),
            Cell::Float(0.902),
            Cell::Float(0.981),
            Cell::Null,
            Cell::Int(ok - ok / 50),
        ]]
    });
    table(
        "goodput",
        "Requests that met every goal",
        "run window_name offered good attainment goodput_rps ttft_met tpot_met e2el_met tpot_n",
        rows,
    )
}

fn outcomes(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        let (ok, failed) = (ok_of(spec), spec.n / 125);
        let unfinished = spec.n - ok - failed;
        let row = |status, kind: Cell, http: Cell, n, message: Cell| {
            vec![text(status), kind, http, Cell::Int(n), message]
        };
        let all = [
            row("ok", Cell::Null, Cell::Int(200), ok, Cell::Null),
            row(
                "error",
                text("http_5xx"),
                Cell::Int(503),
                failed - failed / 3,
                text("engine is overloaded"),
            ),
            row(
                "error",
                text("truncated"),
                Cell::Int(200),
                failed / 3,
                text("stream ended without [DONE]"),
            ),
            row(
                "cancelled",
                Cell::Null,
                Cell::Int(200),
                unfinished,
                Cell::Null,
            ),
        ];
        all.into_iter()
            .filter(|row| row[3] != Cell::Int(0))
            .collect()
    });
    table(
        "requests_by_outcome",
        "Measured requests by status and kind of error",
        "run status error_kind http_status requests example_message",
        rows,
    )
}

/// How many windows a run has: none, a few, or all.
fn windows_of(spec: &Spec) -> i64 {
    spec.n.min(WINDOWS)
}

fn load_over_time(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        (0..windows_of(spec))
            .map(|index| {
                let wave = 1.0 + 0.35 * (float(index) / 9.0).sin();
                let due = (15.8 * wave + 3.0 * chance(index)).round();
                let is_over = index > 55;
                let due = if is_over { 0.0 } else { due };
                let done = if index < 4 {
                    0.0
                } else {
                    (15.5 * wave + 3.0 * chance(index + 99)).round()
                };
                vec![
                    Cell::Int(index * WINDOW),
                    Cell::Int(WINDOW),
                    Cell::Float(due),
                    Cell::Float(due),
                    Cell::Float(done),
                    Cell::Int(i64::from(index % 17 == 5)),
                    Cell::Float(done * 181.0),
                    Cell::Float(done * 362.0 * spec.slowness.sqrt()),
                    Cell::Float(118.0 * wave * spec.slowness * (float(index) / 5.0).min(1.0)),
                    Cell::Int(0),
                ]
            })
            .collect()
    });
    table(
        "throughput_over_time",
        "Load and tokens by window",
        "run at_ns width_ns offered sent completed failed output_tokens output_tps in_flight retried",
        rows,
    )
}

fn latency_over_time(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        (0..windows_of(spec))
            .map(|index| {
                // A window without a first token has no latency.
                if index == 20 {
                    let mut row = vec![Cell::Int(index * WINDOW), Cell::Int(WINDOW), Cell::Int(0)];
                    row.extend([
                        Cell::Null,
                        Cell::Null,
                        Cell::Null,
                        Cell::Null,
                        Cell::Null,
                        Cell::Null,
                    ]);
                    return row;
                }
                let wave = 1.0 + 0.3 * (float(index) / 9.0).sin() + 0.2 * chance(index);
                let ms = |value: f64| Cell::Float(value * wave * spec.slowness * 1e6);
                vec![
                    Cell::Int(index * WINDOW),
                    Cell::Int(WINDOW),
                    Cell::Int(15),
                    ms(84.0),
                    ms(310.0 + 90.0 * chance(index * 7)),
                    ms(480.0 + 200.0 * chance(index * 3)),
                    ms(19.8),
                    ms(48.0 + 9.0 * chance(index * 5)),
                    ms(160.0 + 140.0 * chance(index * 11)),
                ]
            })
            .collect()
    });
    table(
        "latency_over_time",
        "Latency by window",
        "run at_ns width_ns n ttft_p50_ns ttft_p99_ns ttft_max_ns itl_p50_ns itl_p99_ns itl_max_ns",
        rows,
    )
}

fn heat_map(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        let mut rows = Vec::new();
        for index in 0..windows_of(spec) {
            rows.push(vec![
                Cell::Int(index * WINDOW),
                Cell::Int(WINDOW),
                Cell::Int(0),
                Cell::Int(0),
                Cell::Int(140),
            ]);
            for bucket in 0..24_i32 {
                let low = 2e6 * 2f64.powf(f64::from(bucket) / 3.0);
                let middle = f64::from(bucket) - 10.0 - 2.0 * (float(index) / 9.0).sin();
                let stall = f64::from(bucket) - 19.0;
                let n = 1800.0 * (-middle * middle / 3.0).exp()
                    + 25.0 * (-stall * stall / 2.0).exp() * chance(index * 31 + i64::from(bucket));
                if n >= 1.0 {
                    rows.push(vec![
                        Cell::Int(index * WINDOW),
                        Cell::Int(WINDOW),
                        Cell::Float(low),
                        Cell::Float(low * 2f64.powf(1.0 / 3.0)),
                        Cell::Float(n.floor()),
                    ]);
                }
            }
        }
        rows
    });
    table(
        "itl_heatmap",
        "Inter-token times by window and length",
        "run at_ns width_ns low_ns high_ns n",
        rows,
    )
}

fn fidelity(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        if spec.n == 0 {
            return Vec::new();
        }
        let mut row = vec![Cell::Int(spec.n)];
        row.extend([31e3, 220e3, 420e3, 0.0, 0.0, 0.0, 32.1, 32.1].map(Cell::Float));
        vec![row]
    });
    table(
        "schedule_fidelity",
        "Intended against actual send time",
        "run n slip_p50_ns slip_p99_ns slip_max_ns queued_p50_ns queued_p99_ns queued_max_ns \
         intended_rate_per_s achieved_rate_per_s",
        rows,
    )
}

fn validity(specs: &[Spec]) -> Table {
    let rows = each(specs, |_| {
        let row = |name, value, limit, unit| {
            vec![
                text(name),
                Cell::Float(value),
                Cell::Float(limit),
                text(unit),
                Cell::Bool(true),
            ]
        };
        vec![
            row("slip", 220e3, 1e6, "ns"),
            row("runtime_lag", 340e3, 1e6, "ns"),
            row("cpu", 0.0, 0.05, "share"),
        ]
    });
    table(
        "validity",
        "Whether the client kept up",
        "run check_name value limit_value unit ok",
        rows,
    )
}

fn token_counts(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        let ok = ok_of(spec);
        let known = |number| {
            Some(number)
                .filter(|_| ok > 0)
                .map_or(Cell::Null, Cell::Float)
        };
        let mut row = vec![
            Cell::Int(ok * 512),
            Cell::Int(ok * 512),
            Cell::Int(ok * 182),
            Cell::Int(ok * 181),
        ];
        row.extend([1.0, 0.998, 0.0, 0.0, 0.002, 0.0, 0.0].map(known));
        row.extend([ok, ok, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].map(Cell::Int));
        row.extend([1.0, 1.0, 0.0, 0.0, 0.0].map(known));
        vec![row]
    });
    table(
        "token_counts",
        "Tokens planned and got",
        "run input_planned input_got output_planned output_got input_exact output_exact \
         input_over_min input_over_max output_short output_cut output_long answers by_usage by_ids by_limit \
         by_tokenizer by_chunks usage_refuted off off_ids off_chunks off_tokenizer without_text \
         input_both input_by_usage input_by_tokenizer input_off placed tokens_a_chunk before_first before_first_p99 after_last",
        rows,
    )
}

fn health(specs: &[Spec]) -> Table {
    let rows = each(specs, |spec| {
        (0..spec.n.min(320))
            .map(|index| {
                vec![
                    Cell::Int(index * SECOND / 10),
                    Cell::Int(index.min(118)),
                    Cell::Int(0),
                    Cell::Float(80e3 + 260e3 * chance(index).powi(6)),
                    Cell::Float(0.21 + 0.08 * chance(index * 13)),
                    Cell::Int(61_000_000),
                    Cell::Int(12),
                    Cell::Int(2_400),
                    Cell::Int(2_480),
                    Cell::Int(0),
                ]
            })
            .collect()
    });
    table(
        "client_health",
        "The client's own state by probe",
        "run at_ns in_flight queued runtime_lag_max_ns cpu_share rss_bytes channel_fill reads events \
         capture_stalls",
        rows,
    )
}

fn comparison(specs: &[Spec]) -> Table {
    let mut rows = Vec::new();
    let base = metrics(&specs[0]);
    for spec in &specs[1..] {
        for ((metric, _, median, most), (_, _, first_median, first_most)) in
            metrics(spec).into_iter().zip(&base)
        {
            for (stat, share) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
                let before = at_share(*first_median, *first_most, share);
                let after = at_share(median, most, share);
                rows.push(compared(spec, (metric, stat, "ns"), before, after));
            }
        }
        let rate = |spec: &Spec| 31.4 * 181.0 * spec.slowness.sqrt();
        rows.push(compared(
            spec,
            ("output_tps", "steady", "tokens/s"),
            rate(&specs[0]),
            rate(spec),
        ));
    }
    table(
        "comparison",
        "Every number against the first run's",
        "run metric stat unit baseline value difference ratio",
        rows,
    )
}

fn compared(
    spec: &Spec,
    (metric, stat, unit): (&str, &str, &str),
    before: f64,
    after: f64,
) -> Vec<Cell> {
    let ratio = if before > 0.0 {
        Cell::Float(after / before)
    } else {
        Cell::Null
    };
    vec![
        text(&spec.name),
        text(metric),
        text(stat),
        text(unit),
        Cell::Float(before),
        Cell::Float(after),
        Cell::Float(after - before),
        ratio,
    ]
}
