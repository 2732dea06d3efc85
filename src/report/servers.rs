//! The tables about several servers and several attempts: what each server did, and which attempts
//! failed.

use std::collections::BTreeMap;

use crate::analyze::{Analysis, FailedAttempts, LatencyByServer};
use crate::server_names::short_names;

use super::few::{FEW, percentile};
use super::format;
use super::grid::{Field, Grid, Tone};
use super::language::said;

/// Rows of the table of attempts that failed.
const FAILURES: usize = 60;

/// Headings of the table by server, but for the run and the server.
const BY_SERVER: [&str; 9] = [
    "#requests",
    "#share",
    "#failed attempts",
    "#TTFT p50",
    "#TTFT p99",
    "#TPOT p50",
    "#TPOT p99",
    "#E2EL p50",
    "#output tokens/s",
];

/// The same headings where a line is narrow.
const BY_SERVER_NARROW: [&str; 9] = [
    "#sent",
    "#share",
    "#failed",
    "#TTFT p50",
    "#p99",
    "#TPOT p50",
    "#p99",
    "#E2EL p50",
    "#tok/s",
];

/// What each server of the runs is called, by its address.
fn names(analysis: &Analysis) -> BTreeMap<&str, String> {
    let plans = analysis.runs.iter().map(|run| &run.manifest.plan);
    let planned = plans.flat_map(|plan| plan.urls().map(String::as_str));
    let of_failures = analysis.rows::<FailedAttempts<'_>>().into_iter();
    let of_servers = analysis.rows::<LatencyByServer<'_>>().into_iter();
    let addresses: Vec<&str> = planned
        .chain(of_failures.filter_map(|row| row.target))
        .chain(of_servers.filter_map(|row| row.target))
        .collect();
    let names = short_names(&addresses);
    addresses.into_iter().zip(names).collect()
}

fn server(names: &BTreeMap<&str, String>, target: Option<&str>) -> Field {
    match target.and_then(|target| names.get(target)) {
        Some(name) => Field::foreign(format::name(name)),
        None => Field::plain(format::NONE),
    }
}

fn count(value: Option<f64>) -> Field {
    Field::plain(format::optional(value, 0))
}

/// Lays out what each server did; nothing of runs on one alone.
pub(super) fn by_server(analysis: &Analysis) -> Option<Grid> {
    let mut grid = server_grid(analysis, &BY_SERVER)?;
    if grid
        .rows
        .iter()
        .flatten()
        .any(|one| one.tone == Tone::Faint)
    {
        grid.notes.push(said(FEW));
    }
    grid.notes.push(said(
        "A request counts for the server of its last attempt; failed attempts are those that were \
         followed by another one too. Output tokens are those of the first window of the rates.",
    ));
    Some(grid)
}

/// As [`by_server`], with short headings and without remarks.
pub(super) fn by_server_narrow(analysis: &Analysis) -> Option<Grid> {
    server_grid(analysis, &BY_SERVER_NARROW)
}

fn server_grid(analysis: &Analysis, headings: &[&str]) -> Option<Grid> {
    let names = names(analysis);
    let headings = [&["run", "server"], headings].concat();
    let mut grid = Grid::new(
        "By server; latencies in milliseconds from the send",
        &headings,
    );
    for row in analysis.rows::<LatencyByServer<'_>>() {
        let [n, tpot_n] = [row.n, row.tpot_n].map(Option::unwrap_or_default);
        let is_any = row.failed_attempts.is_some_and(|failed| failed > 0.0);
        let tone = if is_any { Tone::Bad } else { Tone::Plain };
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            server(&names, row.target),
            count(row.requests),
            Field::plain(format::percent(row.requests_share)),
            count(row.failed_attempts).toned(tone),
            percentile(row.ttft_p50_ns, n, 0.5),
            percentile(row.ttft_p99_ns, n, 0.99),
            percentile(row.tpot_p50_ns, tpot_n, 0.5),
            percentile(row.tpot_p99_ns, tpot_n, 0.99),
            percentile(row.e2el_p50_ns, n, 0.5),
            Field::plain(format::optional(row.output_tps, 1)),
        ]);
    }
    kept(grid, analysis)
}

/// Lays out the attempts that failed; nothing where no request took more than one attempt.
pub(super) fn failed_attempts(analysis: &Analysis) -> Option<Grid> {
    let names = names(analysis);
    let headings = [
        "run",
        "server",
        "#HTTP",
        "kind",
        "#failed attempts",
        "#requests",
        "#of them ok later",
    ];
    let mut grid = Grid::new(
        "Attempts that failed, those before another one too",
        &headings,
    );
    for row in analysis.rows::<FailedAttempts<'_>>() {
        let status = row.http_status;
        let status = status.map_or(format::NONE.to_owned(), |code| format!("{code:.0}"));
        let kind = row.error_kind;
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            server(&names, row.target),
            Field::plain(status),
            kind.map_or(Field::plain(format::NONE), |kind| {
                Field::foreign(format::clean(kind))
            }),
            count(row.attempts),
            count(row.requests),
            count(row.later_ok),
        ]);
    }
    grid.notes.push(said(
        "A request that a later attempt answered is a success in every other table.",
    ));
    kept(grid.cut(FAILURES), analysis)
}

/// Returns the table if it has a row, without the run where there is one.
fn kept(grid: Grid, analysis: &Analysis) -> Option<Grid> {
    let is_single = analysis.runs.len() == 1;
    (!grid.rows.is_empty()).then(|| grid.without_run(is_single))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Column, Table};
    use crate::report::fixture;

    const ADDRESSES: [&str; 2] = ["http://10.0.0.1:8000/v1/x", "http://10.0.0.1:8001/v1/x"];

    /// The usual run over two servers with one more table: the names of columns, and rows.
    fn with(table: &str, columns: &str, rows: &[(&str, &str)]) -> Analysis {
        let mut analysis = fixture::single();
        let plan = &mut analysis.runs[0].manifest.plan;
        plan.url = Some(ADDRESSES[0].to_owned());
        plan.more_urls = vec![ADDRESSES[1].to_owned()];
        let run = analysis.runs[0].run.clone();
        let cell = |word: &str| match word.parse() {
            Ok(number) => Cell::Float(number),
            Err(_) if word == "-" => Cell::Null,
            Err(_) => Cell::Text(word.to_owned()),
        };
        let row = |(target, words): &(&str, &str)| {
            let mut cells = vec![Cell::Text(run.clone()), cell(target)];
            cells.extend(words.split(' ').map(cell));
            cells
        };
        analysis.tables.push(Table {
            name: table.to_owned(),
            purpose: String::new(),
            columns: ["run", "target"]
                .into_iter()
                .chain(columns.split(' '))
                .map(|name| Column {
                    name: name.to_owned(),
                    unit: None,
                })
                .collect(),
            rows: rows.iter().map(row).collect(),
            sql: String::new(),
        });
        analysis
    }

    fn spelled(grid: &Grid) -> Vec<String> {
        let line = |row: &Vec<Field>| {
            let texts: Vec<_> = row.iter().map(|field| field.text.as_str()).collect();
            texts.join(" | ")
        };
        grid.rows.iter().map(line).collect()
    }

    #[test]
    fn servers_stand_side_by_side_under_what_tells_them_apart() {
        let columns = "requests requests_share failed_attempts n tpot_n ttft_p50_ns ttft_p99_ns \
                       tpot_p50_ns tpot_p99_ns e2el_p50_ns output_tps";
        let rows = [
            (ADDRESSES[0], "150 0.75 3 150 150 1e6 2e6 3e6 4e6 5e6 66.66"),
            (ADDRESSES[1], "50 0.25 0 50 0 1e6 2e6 - - 5e6 0"),
        ];
        let analysis = with("latency_by_server", columns, &rows);
        let grid = by_server(&analysis).unwrap();
        assert_eq!(
            spelled(&grid),
            [
                "10.0.0.1:8000 | 150 | 75.0 % | 3 | 1.00 | 2.00 | 3.00 | 4.00 | 5.00 | 66.7",
                "10.0.0.1:8001 | 50 | 25.0 % | 0 | 1.00 | †2.00 | – | – | 5.00 | 0.0",
            ]
        );
        assert_eq!(grid.notes[0], FEW);
        assert_eq!(by_server_narrow(&analysis).unwrap().rows, grid.rows);
    }

    #[test]
    fn attempts_that_failed_say_how_many_were_made_good() {
        let rows = [
            (ADDRESSES[1], "429 http_429 7 5 4"),
            ("-", "- connect 1 1 0"),
        ];
        let columns = "http_status error_kind attempts requests later_ok";
        let analysis = with("failed_attempts", columns, &rows);
        assert_eq!(
            spelled(&failed_attempts(&analysis).unwrap()),
            [
                "10.0.0.1:8001 | 429 | http_429 | 7 | 5 | 4",
                "– | – | connect | 1 | 1 | 0",
            ]
        );
    }

    #[test]
    fn one_server_and_one_attempt_have_no_table() {
        let analysis = fixture::single();
        assert_eq!(by_server(&analysis), None);
        assert_eq!(failed_attempts(&analysis), None);
    }
}
