//! The tables about single requests: their speed, how smoothly they were streamed, and what their
//! length does to them.

use crate::analyze::{
    Analysis, Deadlines, Jitter, LatencyByLength, LatencyByStep, RequestSpeeds, Stalls,
    ThroughputByStep,
};

use super::few::percentile;
use super::format;
use super::grid::{Field, Grid};
use super::language::say;
use super::sweep::step_name;

/// Rows of the table by length a run and side.
const LENGTHS: usize = 60;

fn run(name: &str) -> Field {
    Field::foreign(format::name(name))
}

fn count(value: Option<f64>) -> Field {
    Field::plain(format::optional(value, 0))
}

fn share(value: Option<f64>) -> Field {
    Field::plain(format::percent(value))
}

fn ms(ns: Option<f64>) -> Field {
    Field::plain(format::milliseconds(ns))
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
    for row in analysis.rows::<RequestSpeeds<'_>>() {
        let (name, is) = match row.metric {
            Some("request_tps") => ("request", "output tokens ÷ E2EL"),
            Some("decode_tps") => ("decode", "1 ÷ TPOT"),
            Some("prefill_tps") => ("prefill", "input tokens ÷ TTFT"),
            _ => continue,
        };
        let speed = |speed| Field::plain(format::optional(speed, 1));
        grid.push(vec![
            run(row.run),
            Field::plain(name),
            Field::plain(is),
            count(row.n),
            speed(row.mean),
            speed(row.p1),
            speed(row.p10),
            speed(row.p50),
            speed(row.p90),
            speed(row.max),
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
    for row in analysis.rows::<ThroughputByStep<'_>>() {
        let latencies = analysis.rows::<LatencyByStep<'_>>();
        let of = |metric| {
            let found = latencies.iter().find(|other| {
                other.run == row.run
                    && other.step == row.step
                    && other.phase == Some("measure")
                    && other.metric == Some(metric)
            });
            let n = found.and_then(|found| found.n).unwrap_or(0.0);
            let [p50_ns, p99_ns] = [
                found.and_then(|found| found.p50_ns),
                found.and_then(|found| found.p99_ns),
            ];
            [percentile(p50_ns, n, 0.5), percentile(p99_ns, n, 0.99)]
        };
        let rate = |rate, places| Field::plain(format::optional(rate, places));
        let mut cells = vec![
            run(row.run),
            Field::foreign(step_name(row)),
            rate(row.seconds, 1),
            rate(row.offered_rps, 2),
            rate(row.rps, 2),
            rate(row.output_tps, 1),
            rate(row.in_flight_mean, 1),
            share(row.ok_share),
        ];
        cells.extend(["ttft", "tpot"].into_iter().flat_map(of));
        grid.push(cells);
    }
    kept(grid.cut(LENGTHS), analysis)
}

/// Lays out how smoothly answers were streamed.
pub(super) fn smoothness(analysis: &Analysis) -> Option<Grid> {
    let all = analysis.rows::<Stalls<'_>>();
    let bound = all.first().and_then(|row| row.bound_ns);
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
        let jitter = analysis.row_of::<Jitter<'_>>(row.run);
        let deadlines = analysis.row_of::<Deadlines<'_>>(row.run);
        grid.push(vec![
            run(row.run),
            count(row.n),
            share(row.stalled_share),
            count(row.stalls),
            ms(row.longest_p50_ns),
            ms(row.longest_p99_ns),
            ms(row.longest_max_ns),
            ms(jitter.and_then(|row| row.p50_ns)),
            ms(jitter.and_then(|row| row.p99_ns)),
            share(deadlines.and_then(|row| row.in_time_share)),
            share(deadlines.and_then(|row| row.fluidity)),
        ]);
    }
    if let Some(row) = analysis.rows::<Deadlines<'_>>().first() {
        let speed = format::optional(row.reader_tps, 1);
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
    let all = analysis.rows::<LatencyByLength<'_>>();
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
        let is_alike = |other: &LatencyByLength<'_>| other.run == row.run && other.side == row.side;
        if all.iter().filter(|other| is_alike(other)).count() < 2 {
            continue;
        }
        let (Some(from), Some(to)) = (row.from_tokens, row.to_tokens) else {
            continue;
        };
        let n = row.n.unwrap_or_default();
        let at = |ns, rank| percentile(ns, n, rank);
        let range = say!(
            "{from} to {to}",
            from = format::decimal(from, 0),
            to = format::decimal(to - 1.0, 0)
        );
        grid.push(vec![
            run(row.run),
            Field::plain(format::clean(row.side.unwrap_or_default())),
            Field::plain(range),
            count(row.n),
            at(row.ttft_p50_ns, 0.5),
            at(row.ttft_p99_ns, 0.99),
            at(row.tpot_p50_ns, 0.5),
            at(row.tpot_p99_ns, 0.99),
            at(row.e2el_p50_ns, 0.5),
            at(row.e2el_p99_ns, 0.99),
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
