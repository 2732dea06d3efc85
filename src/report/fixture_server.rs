//! An analysis of a run whose server was scraped, for the tests of this stage.

use crate::analyze::{Analysis, CATALOG, Cell, Column, Table};
use crate::capture::manifest::MetricSource;

use super::fixture::single;

/// The run of [`single`], with a server that has gaps, serves others, and uses power.
pub(crate) fn scraped() -> Analysis {
    let mut analysis = single();
    let manifest = &mut analysis.runs[0].manifest;
    manifest.counts.server = 9_000;
    manifest.metric_sources = vec![MetricSource {
        source: "http://127.0.0.1:8000/metrics".to_owned(),
        scrapes: 25,
        failed: 8,
        longest_gap_ns: 8_000_000_000,
        last_failure: Some("operation timed out".to_owned()),
        series: 360,
        left_out: 0,
    }];
    analysis
        .tables
        .extend([over_time(), latencies(), counts(), energy()]);
    analysis
}

fn text(value: &str) -> Cell {
    Cell::Text(value.to_owned())
}

/// Bins of half a second, with a gap in the middle.
fn over_time() -> Table {
    let bins = (0..64).map(|bin| {
        let level = f64::from(bin) / 64.0;
        let width_ns = 500_000_000;
        let at_ns = i64::from(bin) * width_ns;
        let mut row = vec![text("demo"), Cell::Int(at_ns), Cell::Int(width_ns)];
        let is_known = !(24..40).contains(&bin);
        let busy = [120.0 * level, 9.0 * level, 0.8 * level];
        let steady = [0.97, 700.0, 0.2, 0.5, 90.0];
        let values = busy.into_iter().chain(steady);
        row.extend(values.map(|value| match is_known {
            true => Cell::Float(value),
            false => Cell::Null,
        }));
        row
    });
    table("server_over_time", bins.collect())
}

fn latencies() -> Table {
    let row = |metric: &str, mean_ns: f64| {
        let start = [text("demo"), text("SGLang"), text(metric)];
        let own = [Cell::Int(1_000), Cell::Float(mean_ns)];
        start.into_iter().chain(own).collect::<Vec<_>>()
    };
    let mut ttft = row("ttft", 91.25e6);
    ttft.extend([Cell::Int(990), Cell::Float(94.92e6), Cell::Float(3.67e6)]);
    let mut queue = row("queue", 4.5e6);
    queue.extend([Cell::Null, Cell::Null, Cell::Null]);
    table("server_latencies", vec![ttft, queue])
}

fn counts() -> Table {
    let row = |quantity: &str, unit: &str, counts: [Cell; 3]| {
        let start = [text("demo"), text("SGLang"), text(quantity), text(unit)];
        start.into_iter().chain(counts).collect::<Vec<_>>()
    };
    let requests = [1_300, 1_000, 300].map(Cell::Int);
    let hits = [Cell::Int(2_048), Cell::Null, Cell::Null];
    let rows = vec![
        row("requests", "requests", requests),
        row("prefix_hits", "tokens", hits),
    ];
    table("server_counts", rows)
}

fn energy() -> Table {
    let numbers = [
        31.62, 0.99, 22_134.0, 700.0, 0.1235, 22.3576, 8.0956, 5_100.0, 17_034.0,
    ];
    let mut row = vec![text("demo"), text("gpu")];
    row.extend(numbers.map(Cell::Float));
    row.push(Cell::Null);
    table("energy", vec![row])
}

/// A table with the columns of the query of that name.
fn table(name: &str, rows: Vec<Vec<Cell>>) -> Table {
    let mut queries = CATALOG.iter();
    let query = queries
        .find(|query| query.name == name)
        .expect("it is in the catalogue");
    let columns = query.columns.iter().map(|(name, unit)| Column {
        name: name.clone(),
        unit: unit.clone(),
    });
    let columns: Vec<Column> = columns.collect();
    for row in &rows {
        assert_eq!(row.len(), columns.len(), "{name}");
    }
    Table {
        name: name.to_owned(),
        purpose: query.purpose.clone(),
        columns,
        rows,
        sql: query.sql.to_owned(),
    }
}
