//! A picture with what must stand beside it: title, caption, legend and the numbers drawn.
//!
//! The table of numbers replaces hovering: it works on paper, without a mouse and in a diff.

use std::collections::BTreeMap;

use serde::Serialize;

use super::ReportError;
use super::chart::{self, HeatCell, Join, Series};
use super::format;
use super::grid::{Field, Grid};
use super::language::{said, say};
use super::plot::{BarPlot, HeatCount, HeatPlot, Plot};
use super::pointing;
use super::scale::Axis;
use super::sparks::{Spark, spark};

/// Most rows in the table under a chart.
const TABLE_ROWS: usize = 30;

/// Most bars of one picture.
pub(crate) const MOST_BARS: usize = 12;

/// Most points of one line, and of all lines of a chart together.
const LINE_POINTS: usize = 360;
const CHART_POINTS: usize = 700;

/// A chart that is ready to stand on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Figure {
    /// Anchor inside the page.
    pub(crate) id: String,
    /// What is to be seen, and which way is better.
    pub(crate) title: String,
    /// Unit, n and width of a window.
    pub(crate) caption: String,
    /// Colour and name of each series; empty where there is but one.
    pub(crate) legend: Vec<Entry>,
    /// The drawing.
    pub(crate) svg: String,
    /// The numbers as JSON, as the page's script reads them; none where nothing is to be pointed at.
    pub(crate) data: Option<String>,
    /// Its lines as text, for where there are no pictures; none where they are not lines.
    pub(crate) sparks: Vec<Spark>,
    /// The numbers that were drawn.
    pub(crate) grid: Grid,
}

/// One line of a legend.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Entry {
    /// Class of the swatch: `c1` to `c8` for a series, `h1` to `h6` for a depth.
    pub(crate) class: String,
    /// What it stands for.
    pub(crate) label: String,
}

impl Plot {
    /// Draws the lines; `None` where there is not one value.
    pub(crate) fn figure(mut self) -> Result<Option<Figure>, ReportError> {
        self.series
            .retain(|one| one.points.iter().any(|point| point.1.is_some()));
        if self.series.is_empty() {
            return Ok(None);
        }
        let limit = (CHART_POINTS / self.series.len()).min(LINE_POINTS);
        let written = &self.y_written;
        let sparks = self.series.iter().filter_map(|one| spark(one, written));
        let sparks = sparks.collect();
        let mut width = 1;
        for one in &mut self.series {
            width = width.max(thin(&mut one.points, limit));
        }
        if width > 1 {
            let remark = say!(" · each point is the largest of {width} windows", width);
            self.caption.push_str(&remark);
        }
        let grid = self.grid();
        let data = pointing::lines(&self);
        let svg = chart::lines(
            &self.x,
            &self.y,
            &self.series,
            &self.bands,
            &said(&self.title),
        )?;
        let legend = if self.series.len() > 1 {
            self.series
                .iter()
                .map(|one| Entry {
                    class: format!("c{}", one.color % chart::PALETTE.len() + 1),
                    label: one.label.clone(),
                })
                .collect()
        } else {
            Vec::new()
        };
        let Self {
            id, title, caption, ..
        } = self;
        Ok(Some(Figure {
            id,
            title: said(&title),
            caption,
            legend,
            svg,
            data: Some(data),
            sparks,
            grid,
        }))
    }

    /// Lists the points: a column a series where they share their x, else a row a point.
    fn grid(&self) -> Grid {
        let first = &self.series[0].points;
        let is_shared = self.series.iter().all(|one| {
            one.points.len() == first.len()
                && one
                    .points
                    .iter()
                    .zip(first)
                    .all(|(a, b)| a.0.to_bits() == b.0.to_bits())
        });
        let x = |value: f64| Field::plain(format::decimal(value, self.x_written.places));
        let y = |value| Field::plain(format::optional(value, self.y_written.places));
        if is_shared {
            let names = self.series.iter().map(|one| match self.series.len() {
                1 => said(&self.y_written.heading),
                _ => one.label.clone(),
            });
            let x_heading = format!("#{}", self.x_written.heading);
            let mut grid = Grid::new(&self.y_written.heading, &[&x_heading]).with_numbers(names);
            for (index, point) in first.iter().enumerate() {
                let mut row = vec![x(point.0)];
                row.extend(self.series.iter().map(|one| y(one.points[index].1)));
                grid.push(row);
            }
            return grid.thinned(TABLE_ROWS);
        }
        let headings = [
            "series",
            &format!("#{}", self.x_written.heading),
            &format!("#{}", self.y_written.heading),
        ];
        let mut all = Grid::new(&self.y_written.heading, &headings);
        for one in &self.series {
            let mut grid = Grid::new("", &headings);
            for point in &one.points {
                grid.push(vec![
                    Field::foreign(one.label.clone()),
                    x(point.0),
                    y(point.1),
                ]);
            }
            let grid = grid.thinned((TABLE_ROWS / self.series.len()).max(4));
            all.notes.extend(grid.notes);
            all.rows.extend(grid.rows);
        }
        all.notes.dedup();
        all
    }
}

/// Merges neighbours until at most `limit` points remain, keeps the largest of each group so that
/// no peak is lost, and returns how many points went into one.
fn thin(points: &mut Vec<(f64, Option<f64>)>, limit: usize) -> usize {
    let width = points.len().div_ceil(limit.max(1)).max(1);
    if width > 1 {
        *points = points
            .chunks(width)
            .filter_map(|group| {
                group
                    .iter()
                    .copied()
                    .reduce(|best, next| if next.1 > best.1 { next } else { best })
            })
            .collect();
    }
    width
}

impl HeatPlot {
    /// Draws the heat map with at most `limit` rectangles; `None` where there is no value.
    pub(crate) fn figure(mut self, limit: usize) -> Result<Option<Figure>, ReportError> {
        self.cells.retain(|cell| cell.n > 0.0);
        if self.cells.is_empty() {
            return Ok(None);
        }
        self.settle_zeros();
        let merged = self.merge(limit);
        if merged > 1 {
            self.caption
                .push_str(&say!(" · {merged} windows in a column", merged));
        }
        let edge = |pick: fn(&HeatCount) -> f64, best: fn(f64, f64) -> f64| {
            self.cells.iter().map(pick).reduce(best).unwrap_or_default()
        };
        let (first, last) = (
            edge(|cell| cell.x.0, f64::min),
            edge(|cell| cell.x.1, f64::max),
        );
        let x_axis = if self.is_x_log {
            Axis::logarithmic(first, last, &self.x_unit)
        } else {
            Axis::linear(first, last, 6, "").with_suffix(&format!(" {}", self.x_unit))
        };
        let y_axis = Axis::logarithmic(
            edge(|cell| cell.y.0, f64::min),
            edge(|cell| cell.y.1, f64::max),
            &self.y_title,
        );
        let most = edge(|cell| cell.n, f64::max);
        let cells: Vec<HeatCell> = self
            .cells
            .iter()
            .map(|cell| HeatCell {
                x: cell.x,
                y: cell.y,
                level: level(cell.n, most),
            })
            .collect();
        let svg = chart::heat_map(&x_axis, &y_axis, &cells, &said(&self.title))?;
        let grid = self.grid();
        let data = pointing::cells(&self.cells, &self.x_unit, &self.y_title);
        let legend = legend(most);
        let Self {
            id, title, caption, ..
        } = self;
        Ok(Some(Figure {
            id,
            title: said(&title),
            caption,
            legend,
            svg,
            data: Some(data),
            sparks: Vec::new(),
            grid,
        }))
    }

    /// Gives the bucket of zeros a place under the smallest positive edge of the others.
    fn settle_zeros(&mut self) {
        let edges = self.cells.iter().flat_map(|cell| [cell.y.0, cell.y.1]);
        let least = edges
            .filter(|edge| *edge > 0.0)
            .reduce(f64::min)
            .unwrap_or(1.0);
        for cell in &mut self.cells {
            if cell.y.1 <= 0.0 {
                cell.y.1 = least;
            }
            if cell.y.0 <= 0.0 {
                cell.y.0 = cell.y.1 / 2.0;
            }
        }
    }

    /// Adds up neighbouring columns until the cells are at most `limit`, and returns how many
    /// windows went into one.
    fn merge(&mut self, limit: usize) -> usize {
        let mut columns: Vec<(f64, f64)> = self.cells.iter().map(|cell| cell.x).collect();
        columns.sort_by(|a, b| a.0.total_cmp(&b.0));
        columns.dedup_by(|a, b| a.0.to_bits() == b.0.to_bits());
        let mut width = 1;
        let mut cells = self.columns_of(&columns, width);
        while cells.len() > limit && width < columns.len() {
            width *= 2;
            cells = self.columns_of(&columns, width);
        }
        self.cells = cells;
        width
    }

    /// Adds up each `width` columns that stand side by side.
    fn columns_of(&self, columns: &[(f64, f64)], width: usize) -> Vec<HeatCount> {
        let mut sums: BTreeMap<(usize, u64), HeatCount> = BTreeMap::new();
        for cell in &self.cells {
            let column = columns.partition_point(|edges| edges.0 < cell.x.0) / width;
            let first = columns[column * width];
            let last = columns[(column * width + width - 1).min(columns.len() - 1)];
            // Edges of buckets are positive here, so their bits have the order of their values.
            let sum = sums
                .entry((column, cell.y.0.to_bits()))
                .or_insert(HeatCount {
                    x: (first.0, last.1),
                    y: cell.y,
                    n: 0.0,
                });
            sum.n += cell.n;
        }
        sums.into_values().collect()
    }

    fn grid(&self) -> Grid {
        let headings: Vec<String> = self
            .headings
            .iter()
            .map(|name| format!("#{name}"))
            .collect();
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let mut grid = Grid::new("non-empty cells", &headings);
        for cell in &self.cells {
            grid.push(vec![
                Field::plain(format::decimal(cell.x.0, 2)),
                Field::plain(format::decimal(cell.y.0, 3)),
                Field::plain(format::decimal(cell.y.1, 3)),
                Field::plain(format::decimal(cell.n, 0)),
            ]);
        }
        grid.thinned(TABLE_ROWS)
    }
}

/// Returns the depth of a count, by the logarithm, so that rare values stay visible.
fn level(n: f64, most: f64) -> u8 {
    let levels = chart::HEAT_LEVELS;
    if most <= 1.0 {
        return levels;
    }
    (1..levels)
        .find(|level| n <= threshold(*level, most))
        .unwrap_or(levels)
}

/// Returns the largest count of a depth.
fn threshold(level: u8, most: f64) -> f64 {
    let share = f64::from(level) / f64::from(chart::HEAT_LEVELS);
    (most.max(1.0).powf(share) + 1e-6).floor()
}

fn legend(most: f64) -> Vec<Entry> {
    if most <= 1.0 {
        let class = format!("h{}", chart::HEAT_LEVELS);
        return vec![Entry {
            class,
            label: "1".to_owned(),
        }];
    }
    let mut entries = Vec::new();
    let mut below = 0.0;
    for level in 1..=chart::HEAT_LEVELS {
        let top = if level == chart::HEAT_LEVELS {
            most
        } else {
            threshold(level, most)
        };
        if top > below {
            let first = format::decimal(below + 1.0, 0);
            let label = if top - below < 1.5 {
                first
            } else {
                say!("{first} to {last}", first, last = format::decimal(top, 0))
            };
            entries.push(Entry {
                class: format!("h{level}"),
                label,
            });
            below = top;
        }
    }
    entries
}

impl BarPlot {
    /// Draws the first bars; `None` where there is none.
    pub(crate) fn figure(self) -> Result<Option<Figure>, ReportError> {
        if self.items.is_empty() {
            return Ok(None);
        }
        let [names, numbers] = self.headings;
        let caption = said(&self.caption);
        let columns = [(said(&names), false), (said(&numbers), true)];
        let mut grid = Grid::new(&caption, &[]).with_columns(columns);
        for (name, _, written) in &self.items {
            grid.push(vec![
                Field::foreign(name.clone()),
                Field::verbatim(written.clone()),
            ]);
        }
        let mut bars = self.items;
        bars.truncate(MOST_BARS);
        let title = said(&self.title);
        Ok(Some(Figure {
            id: self.id,
            legend: Vec::new(),
            svg: chart::bars(&bars, &title)?,
            title,
            caption,
            data: None,
            sparks: Vec::new(),
            grid: grid.thinned(TABLE_ROWS),
        }))
    }
}

/// Makes a series from points.
pub(crate) fn series(
    label: impl Into<String>,
    color: usize,
    join: Join,
    points: Vec<(f64, Option<f64>)>,
) -> Series {
    Series {
        label: label.into(),
        color,
        join,
        is_backdrop: false,
        points,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_every_peak() {
        let mut points: Vec<(f64, Option<f64>)> = (0..1000)
            .map(|at| (f64::from(at), Some(f64::from(at % 100))))
            .collect();
        points[777].1 = Some(5000.0);
        assert_eq!(thin(&mut points, 100), 10);
        assert_eq!(points.len(), 100);
        assert!(points.contains(&(777.0, Some(5000.0))));
    }

    #[test]
    fn merging_columns_of_a_heat_map_loses_no_count() {
        let cells = (0..64)
            .flat_map(|at| (0..8).map(move |row| (f64::from(at), f64::from(row))))
            .filter(|(at, row)| *row > 0.0 || at % 3.0 > 0.0)
            .map(|(at, row)| HeatCount {
                x: (at, at + 1.0),
                y: (row, row + 1.0),
                n: 3.0,
            })
            .collect();
        let mut plot = HeatPlot {
            id: String::new(),
            title: String::new(),
            caption: String::new(),
            headings: ["at", "low", "high", "n"].map(str::to_owned),
            x_unit: String::new(),
            is_x_log: false,
            y_title: String::new(),
            cells,
        };
        plot.settle_zeros();
        assert_eq!(plot.merge(200), 4);
        assert_eq!(plot.cells.len(), 16 * 8);
        let total: f64 = plot.cells.iter().map(|cell| cell.n).sum();
        assert!((total - (64.0 * 8.0 - 22.0) * 3.0).abs() < 1e-9);
        assert!(
            plot.cells
                .iter()
                .all(|cell| (cell.x.1 - cell.x.0 - 4.0).abs() < 1e-9)
        );
    }

    #[test]
    fn depths_of_a_heat_map_cover_every_count_once() {
        let labels: Vec<String> = legend(1000.0)
            .into_iter()
            .map(|entry| entry.label)
            .collect();
        assert_eq!(
            labels,
            [
                "1 to 3",
                "4 to 10",
                "11 to 31",
                "32 to 100",
                "101 to 316",
                "317 to 1,000"
            ]
        );
        assert_eq!(
            (level(1.0, 1000.0), level(1000.0, 1000.0), level(1.0, 1.0)),
            (1, 6, 6)
        );
    }
}
