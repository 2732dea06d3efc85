//! Pictures of single requests: their lives side by side, and what the length of a prompt does.

use crate::analyze::{Analysis, TtftByLength, TtftByTurn, Waterfall};

use super::ReportError;
use super::chart::{self, Join, Lane};
use super::figures::{Entry, Figure, series};
use super::format::{self, NS_PER_MS, NS_PER_S};
use super::grid::{Field, Grid, Tone};
use super::language::{said, say};
use super::plot::{HeatCount, HeatPlot, Plot, Written};
use super::scale::Axis;

/// Most rectangles in all pictures by length together.
const LENGTH_CELLS: usize = 600;

/// Colours of a life's parts: due and not sent, tried before and waiting for the next attempt, sent and
/// silent, streaming, ended otherwise.
const WAITING: usize = 7;
const RETRYING: usize = 3;
const SILENT: usize = 0;
const STREAMING: usize = 2;
const FAILED: usize = 1;

/// Turns that the query counts as one, from this one on.
const GATHERED: f64 = 64.0;

/// Draws all of them.
pub(crate) fn figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let mut figures = length_figures(analysis)?;
    figures.extend(waterfalls(analysis)?);
    Ok(figures)
}

/// Draws how the time to first token spreads by the length of the prompt.
fn length_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let limit = LENGTH_CELLS / analysis.runs.len().max(1);
    let mut figures = Vec::new();
    for (index, run) in analysis.runs.iter().enumerate() {
        let found = analysis.rows_of::<TtftByLength<'_>>(&run.run);
        let cells: Vec<HeatCount> = found.iter().filter_map(|row| length_cell(*row)).collect();
        let first = cells.first().map(|cell| cell.x.0.to_bits());
        // Prompts of one length have nothing to tell.
        if cells.iter().all(|cell| Some(cell.x.0.to_bits()) == first) {
            continue;
        }
        let total: f64 = cells.iter().map(|cell| cell.n).sum();
        let whose = if analysis.runs.len() == 1 {
            String::new()
        } else {
            format!(", {}", format::name(&run.run))
        };
        let plot = HeatPlot {
            id: format!("ttft-by-length-{}", index + 1),
            title: say!(
                "Time to first token by input length{whose} (lower is better)",
                whose
            ),
            caption: say!(
                "ms by input tokens · n = {n} requests",
                n = format::decimal(total, 0)
            ),
            headings: ["input tokens from", "from ms", "to ms", "n"].map(str::to_owned),
            x_unit: "input tokens".to_owned(),
            is_x_log: true,
            y_title: "ms".to_owned(),
            cells,
        };
        figures.extend(plot.figure(limit)?);
    }
    Ok(figures)
}

/// Draws the time to first token turn by turn: two percentiles of one run, or one of several.
pub(crate) fn turn_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let is_single = analysis.runs.len() == 1;
    let turns = analysis.rows::<TtftByTurn<'_>>();
    let turns = turns.iter().filter_map(|row| row.turn);
    let longest = turns.fold(0.0, f64::max) + 1.0;
    let (mut lines, mut counts) = (Vec::new(), Vec::new());
    for (index, run) in analysis.runs.iter().enumerate() {
        let found = analysis.rows_of::<TtftByTurn<'_>>(&run.run);
        counts.push(found.iter().filter_map(|row| row.n).sum());
        let points = |value_ns: fn(&TtftByTurn<'_>) -> Option<f64>| -> Vec<(f64, Option<f64>)> {
            let place = |row: &TtftByTurn<'_>| {
                Some((row.turn? + 1.0, value_ns(row).map(|ns| ns / NS_PER_MS)))
            };
            found.iter().filter_map(place).collect()
        };
        if is_single {
            lines.push(series("p50", 0, Join::Line, points(|row| row.ttft_p50_ns)));
            lines.push(series("p90", 1, Join::Line, points(|row| row.ttft_p90_ns)));
        } else {
            let name = format::name(&run.run);
            lines.push(series(
                name,
                index,
                Join::Line,
                points(|row| row.ttft_p50_ns),
            ));
        }
    }
    // One turn is no course of a conversation.
    if longest < 2.0 {
        return Ok(Vec::new());
    }
    let values = lines.iter().flat_map(|line| &line.points);
    let most = values.filter_map(|point| point.1).fold(0.0, f64::max);
    let what = if is_single {
        said("Time to first token")
    } else {
        said("Median time to first token")
    };
    let plot = Plot {
        id: "ttft-by-turn".to_owned(),
        title: say!("{what} by turn (lower is better)", what),
        caption: say!(
            "ms by turn{gathered} · n = {n} requests",
            gathered = if longest < GATHERED {
                String::new()
            } else {
                said(", those from the 64th on together")
            },
            n = format::counts(&counts)
        ),
        x: Axis::linear(1.0, longest, 8, "turn"),
        x_written: Written {
            heading: "turn".to_owned(),
            places: 0,
        },
        y: Axis::from_zero(most, "ms"),
        y_written: Written {
            heading: "ms".to_owned(),
            places: 2,
        },
        series: lines,
        bands: Vec::new(),
    };
    Ok(plot.figure()?.into_iter().collect())
}

fn length_cell(row: TtftByLength<'_>) -> Option<HeatCount> {
    Some(HeatCount {
        x: (row.from_tokens?, row.to_tokens?),
        y: (row.low_ns? / NS_PER_MS, row.high_ns? / NS_PER_MS),
        n: row.n?,
    })
}

/// One request's life, in nanoseconds.
struct Life<'a> {
    row: Waterfall<'a>,
    intended: f64,
    /// When the first of several attempts was made.
    tried: Option<f64>,
    sent: f64,
    first: Option<f64>,
    end: f64,
}

impl<'a> Life<'a> {
    fn of(row: Waterfall<'a>) -> Option<Self> {
        Some(Self {
            row,
            intended: row.intended_ns?,
            tried: row.tried_ns,
            sent: row.sent_ns?,
            first: row.first_token_ns,
            end: row.end_ns?,
        })
    }

    /// When the first attempt was made, which may be the only one.
    fn begun(&self) -> f64 {
        self.tried.unwrap_or(self.sent)
    }

    fn is_ok(&self) -> bool {
        self.row.status == Some("ok")
    }

    /// The parts of the life, from `start` on and in seconds.
    fn lane(&self, start: f64) -> Lane {
        let at = |ns: f64| (ns - start) / NS_PER_S;
        let first = self.first.unwrap_or(self.end);
        let rest = if self.is_ok() { STREAMING } else { FAILED };
        let silent = if self.first.is_some() || self.is_ok() {
            SILENT
        } else {
            FAILED
        };
        [
            ((at(self.intended), at(self.begun())), WAITING),
            ((at(self.begun()), at(self.sent)), RETRYING),
            ((at(self.sent), at(first)), silent),
            ((at(first), at(self.end)), rest),
        ]
        .into_iter()
        .filter(|((from, to), _)| to > from)
        .collect()
    }
}

/// Draws the lives of the slowest requests of the only run, and of a sample.
fn waterfalls(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    if analysis.runs.len() != 1 {
        return Ok(Vec::new());
    }
    let lives = |picked: &str| -> Vec<Life<'_>> {
        analysis
            .rows::<Waterfall<'_>>()
            .into_iter()
            .filter(|row| row.picked == Some(picked))
            .filter_map(Life::of)
            .collect()
    };
    let (slowest, sample) = (lives("slowest"), lives("sample"));
    let mut figures = Vec::new();
    figures.extend(waterfall(
        (
            "slowest-requests",
            "The slowest requests, each from when it was due",
        ),
        &slowest,
        None,
    )?);
    let start = sample.iter().map(|life| life.intended).reduce(f64::min);
    figures.extend(waterfall(
        ("sampled-requests", "A sample of requests, when each ran"),
        &sample,
        start,
    )?);
    Ok(figures)
}

/// Draws a lane a life: on one axis of time from `start`, or each from its own beginning.
fn waterfall(
    (id, title): (&str, &str),
    lives: &[Life<'_>],
    start: Option<f64>,
) -> Result<Option<Figure>, ReportError> {
    if lives.is_empty() {
        return Ok(None);
    }
    let origin = |life: &Life<'_>| start.map_or(life.intended, |_| 0.0);
    let lanes: Vec<Lane> = lives.iter().map(|life| life.lane(origin(life))).collect();
    let ends = lives
        .iter()
        .map(|life| (life.end - origin(life)) / NS_PER_S);
    let last = ends.fold(0.0, f64::max);
    let first = start.map_or(0.0, |start| (start / NS_PER_S).min(last));
    let axis = Axis::linear(first, last, 6, "").with_suffix(" s");
    let n = format::decimal(f64::from(u32::try_from(lives.len()).unwrap_or(u32::MAX)), 0);
    let since = if start.is_some() {
        "s since the start of the schedule"
    } else {
        "s since each was due"
    };
    let is_used = |color: usize| {
        let mut parts = lanes.iter().flatten();
        parts.any(|(_, other)| *other == color)
    };
    let entries = [
        (WAITING, "due, not sent yet"),
        (RETRYING, "an attempt failed, waiting for the next"),
        (SILENT, "sent, no token yet"),
        (STREAMING, "streaming"),
        (FAILED, "did not succeed"),
    ];
    let legend = entries.into_iter().filter(|(color, _)| is_used(*color));
    Ok(Some(Figure {
        id: id.to_owned(),
        title: said(title),
        caption: say!(
            "{since} · n = {n} requests, a lane each",
            since = said(since),
            n
        ),
        legend: legend
            .map(|(color, label)| Entry {
                class: format!("c{}", color + 1),
                label: said(label),
            })
            .collect(),
        svg: chart::lanes(&axis, &lanes, &said(title))?,
        data: None,
        sparks: Vec::new(),
        grid: table(lives),
    }))
}

fn table(lives: &[Life<'_>]) -> Grid {
    let is_retried = lives.iter().any(|life| life.tried.is_some());
    let mut headings = vec!["#request", "status", "#due, s", "#waited, ms"];
    headings.extend(is_retried.then_some("#attempts before, ms"));
    headings.extend([
        "#TTFT, ms",
        "#streamed, ms",
        "#in all, ms",
        "#input tokens",
        "#output tokens",
    ]);
    let mut grid = Grid::new("One request a row; times as in the picture", &headings);
    for life in lives {
        let ms = |ns: Option<f64>| Field::plain(format::milliseconds(ns));
        let count = |n| Field::plain(format::optional(n, 0));
        let status = format::clean(life.row.status.unwrap_or_default());
        let tone = if life.is_ok() { Tone::Plain } else { Tone::Bad };
        let mut cells = vec![
            count(life.row.request_id),
            Field::plain(status).toned(tone),
            Field::plain(format::decimal(life.intended / NS_PER_S, 3)),
            ms(Some(life.begun() - life.intended)),
        ];
        if is_retried {
            cells.push(ms(life.tried.map(|tried| life.sent - tried)));
        }
        cells.extend([
            ms(life.first.map(|first| first - life.sent)),
            ms(life.first.map(|first| life.end - first)),
            ms(Some(life.end - life.intended)),
            count(life.row.input_tokens),
            count(life.row.output_tokens),
        ]);
        grid.push(cells);
    }
    grid
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Column, Table};
    use crate::report::fixture;

    fn with(table: &str, columns: &str, rows: Vec<Vec<Cell>>) -> Analysis {
        let mut analysis = fixture::single();
        let columns = columns.split_whitespace().map(|name| Column {
            name: name.to_owned(),
            unit: None,
        });
        analysis.tables.push(Table {
            name: table.to_owned(),
            purpose: String::new(),
            columns: columns.collect(),
            rows,
            sql: String::new(),
        });
        analysis
    }

    fn text(word: &str) -> Cell {
        Cell::Text(word.to_owned())
    }

    /// A request that was due at 1 s, was sent after 100 ms and ended after 2 s.
    fn life(picked: &str, first_ns: Option<i64>, status: &str) -> Vec<Cell> {
        vec![
            text("demo"),
            text(picked),
            Cell::Int(1),
            Cell::Int(7),
            Cell::Int(1_000_000_000),
            Cell::Null,
            Cell::Int(1_100_000_000),
            first_ns.map_or(Cell::Null, Cell::Int),
            Cell::Int(3_000_000_000),
            text(status),
            Cell::Int(512),
            Cell::Null,
        ]
    }

    const COLUMNS: &str = "run picked place request_id intended_ns tried_ns sent_ns first_token_ns end_ns \
                           status input_tokens output_tokens";

    #[test]
    fn a_life_is_drawn_in_parts_and_told_in_milliseconds() {
        let rows = vec![life("slowest", Some(1_500_000_000), "ok")];
        let figures = waterfalls(&with("waterfall", COLUMNS, rows)).unwrap();
        let [figure] = figures.as_slice() else {
            panic!("{} figures", figures.len());
        };
        let labels: Vec<&str> = figure.legend.iter().map(|one| one.label.as_str()).collect();
        assert_eq!(
            labels,
            ["due, not sent yet", "sent, no token yet", "streaming"]
        );
        let cells: Vec<&str> = figure.grid.rows[0]
            .iter()
            .map(|cell| cell.text.as_str())
            .collect();
        assert_eq!(
            cells,
            [
                "7", "ok", "1.000", "100.00", "400.00", "1,500.00", "2,000.00", "512", "–"
            ]
        );
    }

    #[test]
    fn a_life_without_a_token_that_ended_badly_is_all_one_colour() {
        let life = life("sample", None, "error");
        let analysis = with("waterfall", COLUMNS, vec![life]);
        let row = analysis.rows::<Waterfall<'_>>()[0];
        let lane = Life::of(row).unwrap().lane(0.0);
        assert_eq!(lane, [((1.0, 1.1), WAITING), ((1.1, 3.0), FAILED)]);
    }

    #[test]
    fn a_wait_for_another_attempt_is_not_one_for_the_first() {
        let mut retried = life("slowest", Some(1_500_000_000), "ok");
        retried[5] = Cell::Int(1_020_000_000);
        let analysis = with("waterfall", COLUMNS, vec![retried]);
        let row = analysis.rows::<Waterfall<'_>>()[0];
        let lane = Life::of(row).unwrap().lane(0.0);
        let parts = [
            ((1.0, 1.02), WAITING),
            ((1.02, 1.1), RETRYING),
            ((1.1, 1.5), SILENT),
            ((1.5, 3.0), STREAMING),
        ];
        assert_eq!(lane, parts);
        let figures = waterfalls(&analysis).unwrap();
        assert_eq!(
            figures[0].legend[1].label,
            "an attempt failed, waiting for the next"
        );
        let row = &figures[0].grid.rows[0];
        assert_eq!(
            (row[3].text.as_str(), row[4].text.as_str()),
            ("20.00", "80.00")
        );
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_of_several_runs() {
        assert!(figures(&fixture::single()).unwrap().is_empty());
        let mut analysis = with("waterfall", COLUMNS, vec![life("sample", None, "ok")]);
        let again = analysis.runs[0].clone();
        analysis.runs.push(again);
        assert!(waterfalls(&analysis).unwrap().is_empty());
    }

    #[test]
    fn prompts_of_one_length_have_no_picture_by_length() {
        let cell = |from: f64, low: i64| {
            vec![
                text("demo"),
                Cell::Float(from),
                Cell::Float(from * 1.19),
                Cell::Int(low),
                Cell::Int(low * 2),
                Cell::Int(3),
            ]
        };
        let columns = "run from_tokens to_tokens low_ns high_ns n";
        let alike = with(
            "ttft_by_length",
            columns,
            vec![cell(64.0, 1_000_000), cell(64.0, 9_000_000)],
        );
        assert!(length_figures(&alike).unwrap().is_empty());
        let spread = with(
            "ttft_by_length",
            columns,
            vec![cell(64.0, 1_000_000), cell(512.0, 9_000_000)],
        );
        let figures = length_figures(&spread).unwrap();
        assert!(
            figures[0].caption.contains("n = 6 requests"),
            "{}",
            figures[0].caption
        );
        assert!(figures[0].data.is_some());
    }
}
