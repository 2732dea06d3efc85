//! Intervals on the numbers of each run, whether a run is steady, and what differs between runs:
//! tables that are drawn from the blocks which SQL counted.

mod blocks;
mod differences;
mod halves;
pub(super) mod numbers;
mod rows;

use std::collections::{BTreeMap, BTreeSet};

use super::statistics::{Drawing, InsufficientData, Sampled, Scale, Series, Spread, group};
use super::{Cell, Table};
use crate::sql::WINDOW_BLOCKS;
use numbers::{
    ATTAINMENT, GOODPUT, LATENCY_STATS, OK_SHARE, RATE_STAT, RATES, RPS, TOKEN_ATTAINMENT,
    TOKEN_GOODPUT, is_share, joined_by, latencies, scale, statistic, statistics, stats, unit,
};
use rows::{float, table, text, whole};

pub(super) use blocks::Blocks;

/// The tables that are made here.
pub(super) const DRAWN: [&str; 3] = ["intervals", "stationarity", "differences"];

/// The queries whose answers they build upon.
pub(super) const NEEDED: [&str; 6] = [
    "run_summary",
    "latency_percentiles",
    "throughput_windows",
    "goodput",
    "schedule_pairs",
    "validity",
];

/// What an interval holds the true number with.
pub(super) const CONFIDENCE: f64 = 0.95;

/// A run, as far as its place in a comparison goes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Member {
    /// Its name, as in the column `run`.
    pub(super) run: String,
    /// What it repeats: runs of one group stand for each other.
    pub(super) group: String,
    pub(super) is_open: bool,
    /// The tape whose requests it is a kind of, such as those of a class: they were sent side by side.
    pub(super) mix: Option<String>,
    /// It sent the same requests at the same times as the first run.
    pub(super) is_pair: bool,
    /// How much longer its client may have made its latencies; none where it kept up.
    pub(super) added_ns: Option<f64>,
}

/// Tells whether `schedule_pairs` has a run for a pair of the first one.
pub(super) fn is_pair(pairs: &Table, run: &str) -> bool {
    let of_run = |row: &&Vec<Cell>| word(pairs, row, "run") == Some(run);
    let flag = |row: &Vec<Cell>| pairs.cell(row, "is_pair") == Some(&Cell::Bool(true));
    pairs.rows.iter().find(of_run).is_some_and(flag)
}

/// What is drawn of one metric of one run.
struct Drawn {
    series: Series,
    sampled: Result<Sampled, InsufficientData>,
}

/// All that is drawn.
pub(super) struct Uncertainty {
    members: Vec<Member>,
    drawn: BTreeMap<(String, String), Drawn>,
    /// The numbers themselves, which are exact: by run, metric and statistic.
    exact: BTreeMap<(String, String, &'static str), f64>,
    /// First and last place of the window inside each series.
    window: std::ops::Range<usize>,
}

impl Uncertainty {
    /// Draws from the blocks; the tables have the exact numbers.
    pub(super) fn new(blocks: &Blocks, members: Vec<Member>, exact: &Exact<'_>) -> Self {
        let keys = blocks.latencies.keys().chain(blocks.rates.keys());
        let drawn = keys.filter_map(|(run, metric)| {
            let series = blocks.series(run, metric)?;
            let statistics = statistics(metric);
            let sampled = group(&series, &joined_by(metric))
                .map(|grouped| Sampled::new(grouped, &statistics, Drawing(0)));
            Some(((run.clone(), metric.clone()), Drawn { series, sampled }))
        });
        let drawn: BTreeMap<_, _> = drawn.collect();
        let (low, _) = blocks.frame();
        let from = usize::try_from(-low).unwrap_or(0);
        Self {
            exact: exact.numbers(),
            members,
            drawn,
            window: from..from + usize::try_from(WINDOW_BLOCKS).unwrap_or(0),
        }
    }

    fn drawn(&self, run: &str, metric: &str) -> Option<&Drawn> {
        self.drawn.get(&(run.to_owned(), metric.to_owned()))
    }

    fn value(&self, run: &str, metric: &str, stat: &'static str) -> Option<f64> {
        let key = (run.to_owned(), metric.to_owned(), stat);
        self.exact.get(&key).copied()
    }

    fn spread(&self, run: &str, metric: &str, stat: &str) -> Result<Spread, InsufficientData> {
        let drawn = self.drawn(run, metric).ok_or(InsufficientData::Values)?;
        let sampled = drawn.sampled.as_ref().map_err(|lack| *lack)?;
        let mut spread = sampled.spread(statistic(stat), scale(metric))?;
        let least = self.least(run, metric);
        let least = match (spread.scale, drawn.series.sums()) {
            (Scale::Log, (numerator, denominator)) => least * denominator / numerator,
            (Scale::Plain, _) => least,
        };
        spread.error = spread.error.max(least);
        Ok(spread)
    }

    /// The least error of a number that counts successes, in its unit; 0 for others. Where nothing
    /// failed, something may yet: a share is never known better than as many draws would know it
    /// (Agresti and Coull, The American Statistician 52(2), 1998).
    fn least(&self, run: &str, metric: &str) -> f64 {
        let least = self.successes(run, metric).map_or(0.0, |(good, offered)| {
            let share = (good + 2.0) / (offered + 4.0);
            (share * (1.0 - share) / (offered + 4.0)).sqrt()
        });
        self.in_unit(run, metric, least)
    }

    /// What a number that counts successes counts, and of how many; `None` for other numbers.
    fn successes(&self, run: &str, metric: &str) -> Option<(f64, f64)> {
        let counted = match metric {
            OK_SHARE => OK_SHARE,
            ATTAINMENT | TOKEN_ATTAINMENT | GOODPUT | TOKEN_GOODPUT => ATTAINMENT,
            _ => return None,
        };
        Some(self.drawn(run, counted)?.series.sums())
    }

    /// An error of a share of the requests, in the unit of a number that counts the same successes:
    /// of a rate, as what there would be a second, were all of it good.
    fn in_unit(&self, run: &str, metric: &str, error: f64) -> f64 {
        let sums = |metric: &str| self.drawn(run, metric).map(|drawn| drawn.series.sums());
        let whole = match metric {
            GOODPUT => sums(ATTAINMENT),
            TOKEN_GOODPUT => sums(TOKEN_ATTAINMENT),
            _ => None,
        };
        match (whole, sums(metric)) {
            (Some((_, whole)), Some((_, seconds))) if seconds > 0.0 => error * whole / seconds,
            _ => error,
        }
    }

    /// The table `intervals`: how far each number of each run is known.
    pub(super) fn intervals(&self) -> Table {
        let mut rows = Vec::new();
        for member in &self.members {
            for metric in self.metrics(&member.run) {
                for stat in stats(metric) {
                    let Some(value) = self.value(&member.run, metric, stat) else {
                        continue;
                    };
                    let spread = self.spread(&member.run, metric, stat);
                    let bounds = spread.and_then(|spread| {
                        let (low, high) = spread.interval(value, CONFIDENCE);
                        match is_share(metric) {
                            true => Ok((low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))),
                            // No time and no rate is below 0: one that may be so is not known,
                            // unless there was none.
                            false if low < 0.0 && value > 0.0 => Err(InsufficientData::Width),
                            false => Ok((low, high)),
                        }
                    });
                    rows.push(vec![
                        text(&member.run),
                        text(metric),
                        text(stat),
                        text(unit(metric)),
                        float(Some(value)),
                        float(bounds.ok().map(|(low, _)| low)),
                        float(bounds.ok().map(|(_, high)| high)),
                        whole(spread.ok().map(|spread| spread.blocks)),
                        bounds.err().map_or(Cell::Null, |lack| text(lack.as_str())),
                    ]);
                }
            }
        }
        table(
            "intervals",
            "every number of each run with the interval that holds its true value with 95 % confidence",
            &[
                "run", "metric", "stat", "unit", "value", "low", "high", "blocks", "lack",
            ],
            rows,
        )
    }

    /// The metrics of a run, latencies first; also those that nothing could be drawn of.
    fn metrics(&self, run: &str) -> Vec<&str> {
        let drawn = self.drawn.keys().map(|(run, metric)| (run, metric));
        let exact = self.exact.keys().map(|(run, metric, _)| (run, metric));
        let of_run = drawn.chain(exact).filter(|(other, _)| *other == run);
        let metrics: BTreeSet<&str> = of_run.map(|(_, metric)| metric.as_str()).collect();
        let mut metrics: Vec<&str> = metrics.into_iter().collect();
        let order = || latencies().chain([RPS, "input_tps", "output_tps"]);
        let place = |metric: &&str| {
            let place = order().position(|other| other == *metric);
            place.unwrap_or(usize::MAX)
        };
        metrics.sort_by_key(place);
        metrics
    }
}

/// The tables that have the numbers themselves.
pub(super) struct Exact<'a> {
    pub(super) summary: &'a Table,
    pub(super) percentiles: &'a Table,
    pub(super) windows: &'a Table,
    pub(super) goodput: &'a Table,
}

impl Exact<'_> {
    /// The numbers, by run, metric and statistic, as their own queries have them.
    fn numbers(&self) -> BTreeMap<(String, String, &'static str), f64> {
        let mut exact = BTreeMap::new();
        let table = self.percentiles;
        for row in &table.rows {
            let (Some(run), Some(metric)) = (word(table, row, "run"), word(table, row, "metric"))
            else {
                continue;
            };
            for (stat, column, _) in LATENCY_STATS {
                if let Some(value) = number(table, row, column) {
                    exact.insert((run.to_owned(), metric.to_owned(), stat), value);
                }
            }
        }
        // Of all requests, whatever window there is.
        for row in &self.summary.rows {
            let share = number(self.summary, row, OK_SHARE);
            if let (Some(run), Some(share)) = (word(self.summary, row, "run"), share) {
                exact.insert((run.to_owned(), OK_SHARE.to_owned(), RATE_STAT), share);
            }
        }
        // The window whose blocks are drawn from: the first one that has a length, which is the
        // steady one where it has any. A rate that is unknown in it is not known from another.
        let mut seen = BTreeMap::new();
        for row in &self.windows.rows {
            let name = |column| word(self.windows, row, column);
            if let (Some(run), Some(window)) = (name("run"), name("window_name"))
                && number(self.windows, row, "seconds").is_some()
            {
                seen.entry(run).or_insert(window);
            }
        }
        for table in [self.windows, self.goodput] {
            for row in &table.rows {
                let Some(run) = word(table, row, "run") else {
                    continue;
                };
                if word(table, row, "window_name") != seen.get(run).copied() {
                    continue;
                }
                for (metric, ..) in RATES {
                    if let Some(value) = number(table, row, metric) {
                        exact.insert((run.to_owned(), metric.to_owned(), RATE_STAT), value);
                    }
                }
            }
        }
        exact
    }
}

fn word<'a>(table: &Table, row: &'a [Cell], column: &str) -> Option<&'a str> {
    table.cell(row, column)?.text()
}

fn number(table: &Table, row: &[Cell], column: &str) -> Option<f64> {
    table.cell(row, column)?.number()
}
