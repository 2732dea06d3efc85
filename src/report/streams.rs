//! The tables about single requests: their speed, how smoothly they were streamed, and what their
//! length does to them.

use crate::analyze::Analysis;

use super::format;
use super::grid::{Field, Grid};
use super::language::say;
use super::rows::{Row, rows};
use super::sections::percentile;
use super::sweep::step_name;

/// Rows of the table by length a run and side.
const LENGTHS: usize = 60;

fn run(row: &Row<'_>) -> Field {
    Field::foreign(format::name(row.run()))
}

fn count(row: &Row<'_>, column: &str) -> Field {
    Field::plain(format::optional(row.number(column), 0))
}

fn share(row: &Row<'_>, column: &str) -> Field {
    Field::plain(format::percent(row.number(column)))
}

fn ms(row: &Row<'_>, column: &str) -> Field {
    Field::plain(format::milliseconds(row.number(column)))
}

/// Returns the table if it has a row, without the run where there is one.
fn kept(grid: Grid, analysis: &Analysis) -> Option<Grid> {
    let is_single = analysis.runs.len() == 1;
    (!grid.rows.is_empty()).then(|| grid.without_run(is_single))
}

/// Lays out how fast each request was served.
pub(super) fn speeds(analysis: &Analysis) -> Option<Grid> {
    let headings = [
        "run", "speed", "is", "#n", "#mean", "#p1", "#p10", "#p50", "#p90", "#max",
    ];
    let caption = "Speed of each request in tokens/s; higher is better, and p1 is the slow end";
    let mut grid = Grid::new(caption, &headings);
    for row in rows(analysis, "request_speeds") {
        let (name, is) = match row.text("metric") {
            Some("request_tps") => ("request", "output tokens ÷ E2EL"),
            Some("decode_tps") => ("decode", "1 ÷ TPOT"),
            Some("prefill_tps") => ("prefill", "input tokens ÷ TTFT"),
            _ => continue,
        };
        let speed = |column| Field::plain(format::optional(row.number(column), 1));
        grid.push(vec![
            run(&row),
            Field::plain(name),
            Field::plain(is),
            count(&row, "n"),
            speed("mean"),
            speed("p1"),
            speed("p10"),
            speed("p50"),
            speed("p90"),
            speed("max"),
        ]);
    }
    kept(grid, analysis)
}

/// Lays out the steps of each tape: the rungs of a ladder, the probes of a search.
pub(super) fn steps(analysis: &Analysis) -> Option<Grid> {
    let headings = [
        "run",
        "step",
        "#seconds",
        "#offered/s",
        "#requests/s",
        "#output tokens/s",
        "#in flight",
        "#ok",
        "#TTFT p50",
        "#TTFT p99",
        "#TPOT p50",
        "#TPOT p99",
    ];
    let mut grid = Grid::new("By step; latencies in milliseconds", &headings);
    for row in rows(analysis, "throughput_by_step") {
        let latencies = rows(analysis, "latency_by_step");
        let at = |metric, column, rank| {
            let found = latencies.iter().find(|other| {
                other.run() == row.run()
                    && other.number("step") == row.number("step")
                    && other.text("phase") == Some("measure")
                    && other.text("metric") == Some(metric)
            });
            let n = found.and_then(|found| found.number("n")).unwrap_or(0.0);
            percentile(found.and_then(|found| found.number(column)), n, rank)
        };
        let rate = |column, places| Field::plain(format::optional(row.number(column), places));
        grid.push(vec![
            run(&row),
            Field::foreign(step_name(row)),
            rate("seconds", 1),
            rate("offered_rps", 2),
            rate("rps", 2),
            rate("output_tps", 1),
            rate("in_flight_mean", 1),
            share(&row, "ok_share"),
            at("ttft", "p50_ns", 0.5),
            at("ttft", "p99_ns", 0.99),
            at("tpot", "p50_ns", 0.5),
            at("tpot", "p99_ns", 0.99),
        ]);
    }
    kept(grid.cut(LENGTHS), analysis)
}

/// Lays out how smoothly answers were streamed.
pub(super) fn smoothness(analysis: &Analysis) -> Option<Grid> {
    let all = rows(analysis, "stalls");
    let bound = all.first().and_then(|row| row.number("bound_ns"));
    let bound = format::duration(bound.unwrap_or_default());
    let caption = say!(
        "Smoothness: stalls are gaps over {bound}, gaps and jitter in milliseconds",
        bound
    );
    let headings = [
        "run",
        "#n",
        "#stalled",
        "#stalls",
        "#longest gap p50",
        "#p99",
        "#max",
        "#jitter p50",
        "#p99",
        "#in time",
        "#fluidity",
    ];
    let mut grid = Grid::new(caption, &headings);
    for row in all {
        let of = |query| {
            let found = rows(analysis, query).into_iter();
            found.rev().find(|other| other.run() == row.run())
        };
        let jitter = |column| {
            let value = of("jitter").and_then(|other| other.number(column));
            Field::plain(format::milliseconds(value))
        };
        let deadline = |column| {
            let value = of("deadlines").and_then(|other| other.number(column));
            Field::plain(format::percent(value))
        };
        grid.push(vec![
            run(&row),
            count(&row, "n"),
            share(&row, "stalled_share"),
            count(&row, "stalls"),
            ms(&row, "longest_p50_ns"),
            ms(&row, "longest_p99_ns"),
            ms(&row, "longest_max_ns"),
            jitter("p50_ns"),
            jitter("p99_ns"),
            deadline("in_time_share"),
            deadline("fluidity"),
        ]);
    }
    if let Some(row) = rows(analysis, "deadlines").first() {
        let speed = format::optional(row.number("reader_tps"), 1);
        let text = say!(
            "In time: tokens that came no later than a reader of {speed} tokens/s needs them.",
            speed
        );
        grid.notes.push(text);
    }
    kept(grid, analysis)
}

/// Lays out latency by how long prompts and answers were; nothing where all have one length.
pub(super) fn lengths(analysis: &Analysis) -> Option<Grid> {
    let all = rows(analysis, "latency_by_length");
    let headings = [
        "run",
        "tokens",
        "length",
        "#n",
        "#TTFT p50",
        "#TTFT p99",
        "#TPOT p50",
        "#TPOT p99",
        "#E2EL p50",
        "#E2EL p99",
    ];
    let mut grid = Grid::new("By length, in milliseconds from the send", &headings);
    for row in &all {
        let is_alike =
            |other: &Row<'_>| other.run() == row.run() && other.text("side") == row.text("side");
        if all.iter().filter(|other| is_alike(other)).count() < 2 {
            continue;
        }
        let (Some(from), Some(to)) = (row.number("from_tokens"), row.number("to_tokens")) else {
            continue;
        };
        let n = row.number("n").unwrap_or_default();
        let at = |column, rank| percentile(row.number(column), n, rank);
        let range = say!(
            "{from} to {to}",
            from = format::decimal(from, 0),
            to = format::decimal(to - 1.0, 0)
        );
        grid.push(vec![
            run(row),
            Field::plain(format::clean(row.text("side").unwrap_or_default())),
            Field::plain(range),
            count(row, "n"),
            at("ttft_p50_ns", 0.5),
            at("ttft_p99_ns", 0.99),
            at("tpot_p50_ns", 0.5),
            at("tpot_p99_ns", 0.99),
            at("e2el_p50_ns", 0.5),
            at("e2el_p99_ns", 0.99),
        ]);
    }
    kept(grid.cut(LENGTHS), analysis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Column, Table};
    use crate::report::fixture;

    /// The usual run with one more table: a line of names, then a line a row; words in quotes.
    fn with(tables: &[(&str, &str)]) -> Analysis {
        let mut analysis = fixture::single();
        for (name, text) in tables {
            let mut lines = text.lines();
            let columns = lines.next().unwrap().split(' ').map(|name| Column {
                name: name.to_owned(),
                unit: None,
            });
            let cell = |word: &str| match word.parse() {
                Ok(number) => Cell::Float(number),
                Err(_) if word == "-" => Cell::Null,
                Err(_) => Cell::Text(word.to_owned()),
            };
            analysis.tables.push(Table {
                name: (*name).to_owned(),
                purpose: String::new(),
                columns: columns.collect(),
                rows: lines
                    .map(|line| line.split(' ').map(cell).collect())
                    .collect(),
                sql: String::new(),
            });
        }
        analysis
    }

    fn spelled(grid: Option<Grid>) -> Vec<String> {
        let grid = grid.expect("a table");
        let rows = grid.rows.iter().map(|row| {
            let texts: Vec<_> = row.iter().map(|field| field.text.as_str()).collect();
            texts.join(" | ")
        });
        rows.chain(grid.notes.iter().cloned()).collect()
    }

    #[test]
    fn nothing_is_said_of_a_run_without_answers() {
        let analysis = fixture::of_size(0);
        for table in [speeds(&analysis), smoothness(&analysis), lengths(&analysis)] {
            assert_eq!(table, None);
        }
    }

    #[test]
    fn shows_the_three_speeds_that_people_compare() {
        let analysis = with(&[(
            "request_speeds",
            "run metric unit n mean min p1 p10 p50 p90 p99 max\n\
             demo request_tps tokens/s 4 81.67 60 60.2 62 83.33 100 100 100\n\
             demo generation_time ns 4 25000000 2 2 2 2 2 2 2",
        )]);
        assert_eq!(
            spelled(speeds(&analysis)),
            ["request | output tokens ÷ E2EL | 4 | 81.7 | 60.2 | 62.0 | 83.3 | 100.0 | 100.0"]
        );
    }

    #[test]
    fn puts_stalls_jitter_and_deadlines_side_by_side() {
        let analysis = with(&[
            (
                "stalls",
                "run bound_ns n stalled_share stalls longest_p50_ns longest_p99_ns longest_max_ns\n\
                 demo 1000000000 4 0.5 3 15000000 20000000 20000000",
            ),
            ("jitter", "run p50_ns p99_ns\ndemo 5000000 9900000"),
            (
                "deadlines",
                "run reader_tps in_time_share fluidity\ndemo 5 0.7273 -",
            ),
        ]);
        assert!(
            smoothness(&analysis)
                .unwrap()
                .caption
                .contains("gaps over 1 s")
        );
        assert_eq!(
            spelled(smoothness(&analysis)),
            [
                "4 | 50.0 % | 3 | 15.00 | 20.00 | 20.00 | 5.00 | 9.90 | 72.7 % | –",
                "In time: tokens that came no later than a reader of 5.0 tokens/s needs them."
            ]
        );
    }

    #[test]
    fn leaves_out_a_side_whose_lengths_are_all_alike() {
        let head = "run side from_tokens to_tokens n ttft_p50_ns ttft_p99_ns tpot_p50_ns tpot_p99_ns e2el_p50_ns e2el_p99_ns\n";
        let rows = "demo input 8 16 200 1000000 2000000 1000000 2000000 3000000 4000000\n\
                    demo output 1 2 200 1000000 2000000 - - 3000000 4000000\n\
                    demo output 4 8 20 1000000 2000000 1000000 2000000 3000000 4000000";
        let analysis = with(&[("latency_by_length", &format!("{head}{rows}"))]);
        assert_eq!(
            spelled(lengths(&analysis)),
            [
                "output | 1 to 1 | 200 | 1.00 | 2.00 | – | – | 3.00 | 4.00",
                "output | 4 to 7 | 20 | 1.00 | †2.00 | 1.00 | †2.00 | 3.00 | †4.00"
            ]
        );
    }
}
