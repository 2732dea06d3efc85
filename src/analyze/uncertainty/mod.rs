//! Intervals on the numbers of each run, whether a run is steady, and what differs between runs:
//! tables that are drawn from the blocks which SQL counted.

mod blocks;

use std::collections::{BTreeMap, BTreeSet};

use super::statistics::{
    ALARM, Difference, Drawing, Grouped, Lack, Sampled, Scale, Series, Side, Spread, Statistic,
    count, difference, group, group_from, holm, paired_difference,
};
use super::{Cell, Column, Table};
use blocks::WINDOW_BLOCKS;

pub(super) use blocks::Blocks;

/// The tables that are made here.
pub(super) const DRAWN: [&str; 3] = ["intervals", "stationarity", "differences"];

/// The queries whose answers they build upon.
pub(super) const NEEDED: [&str; 3] = [
    "latency_percentiles",
    "throughput_windows",
    "schedule_pairs",
];

/// What an interval holds the true number with.
pub(super) const CONFIDENCE: f64 = 0.95;

/// Statistics of a latency: name, column of `latency_percentiles`, what it is.
const LATENCY_STATS: [(&str, &str, Statistic); 5] = [
    ("mean", "mean_ns", Statistic::Ratio),
    ("p50", "p50_ns", Statistic::Quantile(0.5)),
    ("p90", "p90_ns", Statistic::Quantile(0.9)),
    ("p95", "p95_ns", Statistic::Quantile(0.95)),
    ("p99", "p99_ns", Statistic::Quantile(0.99)),
];

/// Rates and shares: name, unit, column that is counted, column that it is counted by.
const RATES: [(&str, &str, &str, &str); 4] = [
    ("rps", "requests/s", "requests", "seconds"),
    ("input_tps", "tokens/s", "input_tokens", "seconds"),
    ("output_tps", "tokens/s", "output_tokens", "seconds"),
    ("ok_share", "share", "ok", "offered"),
];

/// The statistic of a rate or a share, as its rows name it.
const RATE_STAT: &str = "window";

/// The numbers that verdicts are about, and that are tested together. Where both sides are open
/// loops, the form from the intended time stands for the other.
const HEADLINE: [(&str, &str); 9] = [
    ("ttft", "p50"),
    ("ttft", "p99"),
    ("tpot", "p50"),
    ("itl", "p99"),
    ("e2el", "p50"),
    ("e2el", "p99"),
    ("rps", RATE_STAT),
    ("output_tps", RATE_STAT),
    ("ok_share", RATE_STAT),
];

/// The numbers by which a run is held to be steady.
const STEADY: [(&str, &str); 4] = [
    ("ttft", "p50"),
    ("tpot", "p50"),
    ("e2el", "p50"),
    ("output_tps", RATE_STAT),
];

/// A run, as far as its place in a comparison goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    /// Its name, as in the column `run`.
    pub(super) run: String,
    /// What it repeats: runs of one group stand for each other.
    pub(super) group: String,
    pub(super) is_open: bool,
    /// It sent the same requests at the same times as the first run.
    pub(super) is_pair: bool,
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
    sampled: Result<Sampled, Lack>,
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

fn statistics(metric: &str) -> Vec<Statistic> {
    if RATES.iter().any(|(name, ..)| *name == metric) {
        vec![Statistic::Ratio]
    } else {
        LATENCY_STATS
            .iter()
            .map(|(_, _, statistic)| *statistic)
            .collect()
    }
}

/// The scale that a metric varies on.
fn scale(metric: &str) -> Scale {
    if metric == "ok_share" {
        Scale::Plain
    } else {
        Scale::Log
    }
}

fn statistic(stat: &str) -> Statistic {
    let found = LATENCY_STATS.iter().find(|(name, ..)| *name == stat);
    found.map_or(Statistic::Ratio, |(_, _, statistic)| *statistic)
}

fn unit(metric: &str) -> &'static str {
    let rate = RATES.iter().find(|(name, ..)| *name == metric);
    rate.map_or("ns", |(_, unit, ..)| unit)
}

impl Uncertainty {
    /// Draws from the blocks; `percentiles` and `windows` have the exact numbers.
    pub(super) fn new(
        blocks: &Blocks,
        members: Vec<Member>,
        percentiles: &Table,
        windows: &Table,
    ) -> Self {
        let keys = blocks.latencies.keys().chain(blocks.rates.keys());
        let drawn = keys.filter_map(|(run, metric)| {
            let series = blocks.series(run, metric)?;
            let statistics = statistics(metric);
            let sampled = group(&series, &statistics)
                .map(|grouped| Sampled::new(grouped, &statistics, Drawing(0)));
            Some(((run.clone(), metric.clone()), Drawn { series, sampled }))
        });
        let drawn: BTreeMap<_, _> = drawn.collect();
        let (low, _) = blocks.frame();
        let from = usize::try_from(-low).unwrap_or(0);
        Self {
            exact: exact(&drawn, percentiles, windows),
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

    /// All numbers of a metric, by name of the statistic.
    fn stats(metric: &str) -> Vec<&'static str> {
        if RATES.iter().any(|(name, ..)| *name == metric) {
            vec![RATE_STAT]
        } else {
            LATENCY_STATS.iter().map(|(name, ..)| *name).collect()
        }
    }

    fn spread(&self, drawn: &Drawn, metric: &str, stat: &str) -> Result<Spread, Lack> {
        let sampled = drawn.sampled.as_ref().map_err(|lack| *lack)?;
        let mut spread = sampled.spread(statistic(stat), scale(metric))?;
        if metric == "ok_share" {
            // Where nothing failed, something may yet: a share is never known better than as many
            // draws would know it (Agresti and Coull, The American Statistician 52(2), 1998).
            let (mut ok, mut offered) = (2.0, 4.0);
            for block in &drawn.series.blocks {
                ok += block.numerator;
                offered += block.denominator;
            }
            let share: f64 = ok / offered;
            spread.error = spread.error.max((share * (1.0 - share) / offered).sqrt());
        }
        Ok(spread)
    }

    /// The table `intervals`: how far each number of each run is known.
    pub(super) fn intervals(&self) -> Table {
        let mut rows = Vec::new();
        for member in &self.members {
            for metric in self.metrics(&member.run) {
                let Some(drawn) = self.drawn(&member.run, metric) else {
                    continue;
                };
                for stat in Self::stats(metric) {
                    let Some(value) = self.value(&member.run, metric, stat) else {
                        continue;
                    };
                    let spread = self.spread(drawn, metric, stat);
                    let bounds = spread.map(|spread| {
                        let (low, high) = spread.interval(value, CONFIDENCE);
                        if metric == "ok_share" {
                            (low.clamp(0.0, 1.0), high.clamp(0.0, 1.0))
                        } else {
                            (low, high)
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
                        spread.err().map_or(Cell::Null, |lack| text(lack.as_str())),
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

    /// The metrics of a run, latencies first.
    fn metrics(&self, run: &str) -> Vec<&str> {
        let metrics = self
            .drawn
            .keys()
            .filter(|(other, _)| other == run)
            .map(|(_, metric)| metric.as_str());
        let mut metrics: Vec<&str> = metrics.collect();
        const ORDER: [&str; 13] = [
            "ttft",
            "ttft_intended",
            "ttfa",
            "tpot",
            "itl",
            "itl_spread",
            "itl_resolved",
            "icl",
            "e2el",
            "e2el_intended",
            "rps",
            "input_tps",
            "output_tps",
        ];
        let place = |metric: &&str| {
            let place = ORDER.iter().position(|other| other == metric);
            place.unwrap_or(ORDER.len())
        };
        metrics.sort_by_key(place);
        metrics
    }

    /// The table `stationarity`: the first half of each run's window against the second.
    pub(super) fn stationarity(&self) -> Table {
        let mut rows = Vec::new();
        for member in &self.members {
            let halves = STEADY.map(|(metric, stat)| {
                let drawn = self.drawn(&member.run, metric)?;
                Some((metric, stat, drawn, self.halves(drawn, metric, stat)))
            });
            let halves: Vec<_> = halves.into_iter().flatten().collect();
            let chances: Vec<f64> = halves
                .iter()
                .filter_map(|(.., halves)| halves.as_ref().ok())
                .map(|halves| halves.change.chance())
                .collect();
            let mut raised = holm(&chances).into_iter();
            for (metric, stat, _, halves) in halves {
                let mut row = vec![
                    text(&member.run),
                    text(metric),
                    text(stat),
                    text(unit(metric)),
                ];
                match halves {
                    Ok(Halves {
                        first,
                        second,
                        change,
                    }) => {
                        let p = raised.next().unwrap_or(1.0);
                        let bounds = change.interval(first, CONFIDENCE);
                        row.extend([
                            float(Some(first)),
                            float(Some(second)),
                            float(change.relative(first)),
                            float(bounds.map(|(low, _)| low)),
                            float(bounds.map(|(_, high)| high)),
                            float(Some(p)),
                            text(if p < ALARM { "drifts" } else { "no drift seen" }),
                            Cell::Null,
                        ]);
                    }
                    Err(lack) => {
                        row.extend(std::iter::repeat_n(Cell::Null, 6));
                        row.extend([text("not enough data"), text(lack.as_str())]);
                    }
                }
                rows.push(row);
            }
        }
        table(
            "stationarity",
            "the first half of each run's window against the second",
            &[
                "run",
                "metric",
                "stat",
                "unit",
                "first_half",
                "second_half",
                "difference",
                "low",
                "high",
                "p",
                "verdict",
                "lack",
            ],
            rows,
        )
    }

    fn halves(&self, drawn: &Drawn, metric: &str, stat: &str) -> Result<Halves, Lack> {
        let sampled = drawn.sampled.as_ref().map_err(|lack| *lack)?;
        let middle = self.window.start + self.window.len() / 2;
        let wanted = statistic(stat);
        let half = |places| {
            let series = drawn.series.part(places).merged(sampled.grouped.by);
            if 2 * series.filled() + 2 < super::statistics::FEWEST_BLOCKS {
                return Err(Lack::Blocks);
            }
            let value = series.value(wanted).ok_or(Lack::Values)?;
            let grouped = Grouped {
                series,
                ..sampled.grouped.clone()
            };
            let spread =
                Sampled::new(grouped, &[wanted], Drawing(0)).spread(wanted, scale(metric))?;
            Ok((value, spread))
        };
        let (first, first_spread) = half(self.window.start..middle)?;
        let (second, second_spread) = half(middle..self.window.end)?;
        let side = |value, spread| Side {
            values: vec![value],
            spreads: vec![spread],
        };
        let change = difference(
            &side(first, first_spread),
            &side(second, second_spread),
            scale(metric),
        );
        Ok(Halves {
            first,
            second,
            change: change.ok_or(Lack::Values)?,
        })
    }

    /// The groups in the order of their first runs.
    fn groups(&self) -> Vec<(&str, Vec<&Member>)> {
        let mut groups: Vec<(&str, Vec<&Member>)> = Vec::new();
        for member in &self.members {
            match groups.iter_mut().find(|(name, _)| *name == member.group) {
                Some((_, members)) => members.push(member),
                None => groups.push((&member.group, vec![member])),
            }
        }
        groups
    }

    /// The table `differences`: every number of every group of runs against the first group's.
    pub(super) fn differences(&self) -> Table {
        let groups = self.groups();
        let mut compared = Vec::new();
        if let Some(((baseline, first), others)) = groups.split_first() {
            for (name, second) in others {
                compared.extend(self.compare(baseline, first, name, second));
            }
        }
        let tested: Vec<f64> = compared
            .iter()
            .filter(|one| one.is_headline)
            .filter_map(|one| one.change.as_ref().ok())
            .map(Difference::chance)
            .collect();
        let mut raised = holm(&tested).into_iter();
        let rows = compared
            .iter()
            .map(|one| {
                let raised = match &one.change {
                    Ok(_) if one.is_headline => raised.next(),
                    _ => None,
                };
                one.row(raised, tested.len())
            })
            .collect();
        table(
            "differences",
            "every number of every group of runs against the first group's, with its interval and a verdict",
            &[
                "run",
                "baseline",
                "metric",
                "stat",
                "unit",
                "runs",
                "baseline_runs",
                "paired",
                "baseline_value",
                "value",
                "difference",
                "low",
                "high",
                "p",
                "p_holm",
                "verdict",
                "smallest_seen",
                "times_as_long",
                "lack",
            ],
            rows,
        )
    }

    fn compare<'a>(
        &self,
        baseline: &'a str,
        first: &[&Member],
        name: &'a str,
        second: &[&Member],
    ) -> Vec<Compared<'a>> {
        let both_open = first.iter().chain(second).all(|member| member.is_open);
        let mut compared = Vec::new();
        let Some(lead) = first.first() else {
            return compared;
        };
        for metric in self.metrics(&lead.run) {
            if metric.ends_with("_intended") && !both_open {
                continue;
            }
            for stat in Self::stats(metric) {
                let values = |members: &[&Member]| -> Option<Vec<f64>> {
                    let values = members
                        .iter()
                        .map(|member| self.value(&member.run, metric, stat));
                    values.collect()
                };
                let (Some(from), Some(to)) = (values(first), values(second)) else {
                    continue;
                };
                let plain = metric.trim_end_matches("_intended");
                let is_form = metric.ends_with("_intended") == (both_open && has_forms(plain));
                compared.push(Compared {
                    name,
                    baseline,
                    metric: metric.to_owned(),
                    stat,
                    is_paired: is_paired(first, second),
                    is_headline: is_form && HEADLINE.contains(&(plain, stat)),
                    change: self.change(metric, stat, (first, &from), (second, &to)),
                    from,
                    to,
                });
            }
        }
        compared
    }

    fn change(
        &self,
        metric: &str,
        stat: &'static str,
        (first, from): (&[&Member], &[f64]),
        (second, to): (&[&Member], &[f64]),
    ) -> Result<Difference, Lack> {
        if let ([first], [second], [from], [to]) = (first, second, from, to)
            && second.is_pair
        {
            return self.paired(metric, stat, (first, *from), (second, *to));
        }
        let side = |members: &[&Member], values: &[f64]| {
            let spreads: Result<Vec<Spread>, Lack> = members
                .iter()
                .map(|member| {
                    let drawn = self.drawn(&member.run, metric).ok_or(Lack::Values)?;
                    self.spread(drawn, metric, stat)
                })
                .collect();
            let spreads = match spreads {
                Ok(spreads) => spreads,
                // Runs that repeat each other say by themselves how far they vary.
                Err(_) if members.len() > 1 => Vec::new(),
                Err(lack) => return Err(lack),
            };
            Ok(Side {
                values: values.to_vec(),
                spreads,
            })
        };
        let (first, second) = (side(first, from)?, side(second, to)?);
        difference(&first, &second, scale(metric)).ok_or(Lack::Values)
    }

    fn paired(
        &self,
        metric: &str,
        stat: &str,
        (first, from): (&Member, f64),
        (second, to): (&Member, f64),
    ) -> Result<Difference, Lack> {
        let drawn = |member: &Member| self.drawn(&member.run, metric).ok_or(Lack::Values);
        let (first, second) = (drawn(first)?, drawn(second)?);
        let wanted = statistic(stat);
        let sampled = |drawn: &Drawn| drawn.sampled.clone();
        let (mut one, mut other) = (sampled(first)?, sampled(second)?);
        // Blocks of one length, so that a draw means the same stretches of time.
        while one.grouped.by != other.grouped.by {
            let by = one.grouped.by.max(other.grouped.by);
            let again = |drawn: &Drawn| {
                let all = statistics(metric);
                let grouped = group_from(&drawn.series, &all, by)?;
                Ok(Sampled::new(grouped, &[wanted], Drawing(0)))
            };
            (one, other) = (again(first)?, again(second)?);
        }
        let mut change = paired_difference((&one, from), (&other, to), wanted, scale(metric))?;
        if metric == "ok_share" {
            // Two runs without a failure do not prove that neither would have one.
            for drawn in [first, second] {
                let least = self.spread(drawn, metric, stat)?.error;
                change.error = change.error.max(least);
            }
        }
        Ok(change)
    }
}

fn has_forms(metric: &str) -> bool {
    ["ttft", "e2el"].contains(&metric)
}

fn is_paired(first: &[&Member], second: &[&Member]) -> bool {
    first.len() == 1 && second.len() == 1 && second[0].is_pair
}

/// A number of the first half, of the second, and the second against the first.
struct Halves {
    first: f64,
    second: f64,
    change: Difference,
}

/// One number of a group against the first group's.
struct Compared<'a> {
    name: &'a str,
    baseline: &'a str,
    metric: String,
    stat: &'static str,
    is_paired: bool,
    is_headline: bool,
    from: Vec<f64>,
    to: Vec<f64>,
    change: Result<Difference, Lack>,
}

impl Compared<'_> {
    fn row(&self, raised: Option<f64>, tested: usize) -> Vec<Cell> {
        let middle = |values: &[f64]| {
            let scale = if values.iter().all(|value| *value > 0.0) {
                scale(&self.metric)
            } else {
                Scale::Plain
            };
            let places = values.iter().map(|value| scale.place_of(*value));
            scale.value_at(places.sum::<f64>() / count(values.len()))
        };
        let (from, to) = (middle(&self.from), middle(&self.to));
        let change = self.change.ok();
        let bounds = change.and_then(|change| change.interval(from, CONFIDENCE));
        let verdict = match (&self.change, raised) {
            (Err(_), _) if self.is_headline => text("not enough data"),
            (Ok(change), Some(p)) if p < ALARM => {
                let is_up = change.place > 0.0;
                text(if is_up == is_higher_better(&self.metric) {
                    "better"
                } else {
                    "worse"
                })
            }
            (Ok(_), Some(_)) => text("no difference seen"),
            _ => Cell::Null,
        };
        let numbers = tested.max(1);
        vec![
            text(self.name),
            text(self.baseline),
            text(&self.metric),
            text(self.stat),
            text(unit(&self.metric)),
            whole(Some(self.to.len())),
            whole(Some(self.from.len())),
            Cell::Bool(self.is_paired),
            float(Some(from)),
            float(Some(to)),
            float(change.and_then(|change| change.relative(from))),
            float(bounds.map(|(low, _)| low)),
            float(bounds.map(|(_, high)| high)),
            float(change.map(|change| change.chance())),
            float(raised),
            verdict,
            float(change.and_then(|change| change.smallest_seen(from, numbers))),
            float(change.and_then(|change| change.times_as_long(from, numbers))),
            self.change
                .err()
                .map_or(Cell::Null, |lack| text(lack.as_str())),
        ]
    }
}

/// Tells which way a metric should go.
fn is_higher_better(metric: &str) -> bool {
    RATES.iter().any(|(name, ..)| *name == metric)
}

/// The exact numbers: latencies and rates as their own queries have them, shares of the blocks.
fn exact(
    drawn: &BTreeMap<(String, String), Drawn>,
    percentiles: &Table,
    windows: &Table,
) -> BTreeMap<(String, String, &'static str), f64> {
    let mut exact = BTreeMap::new();
    for row in &percentiles.rows {
        let (Some(run), Some(metric)) = (
            word(percentiles, row, "run"),
            word(percentiles, row, "metric"),
        ) else {
            continue;
        };
        for (stat, column, _) in LATENCY_STATS {
            if let Some(value) = number(percentiles, row, column) {
                exact.insert((run.to_owned(), metric.to_owned(), stat), value);
            }
        }
    }
    for ((run, metric), drawn) in drawn {
        if metric == "ok_share"
            && let Some(share) = drawn.series.value(Statistic::Ratio)
        {
            exact.insert((run.clone(), metric.clone(), RATE_STAT), share);
        }
    }
    // The window whose blocks are drawn from: the first one that has a length, which is the steady
    // one where it has any. A rate that is unknown in it is not known from another.
    let mut seen = BTreeSet::new();
    for row in &windows.rows {
        let Some(run) = word(windows, row, "run") else {
            continue;
        };
        if number(windows, row, "seconds").is_none() || !seen.insert(run) {
            continue;
        }
        for (metric, ..) in RATES {
            if let Some(value) = number(windows, row, metric) {
                exact.insert((run.to_owned(), metric.to_owned(), RATE_STAT), value);
            }
        }
    }
    exact
}

fn word<'a>(table: &Table, row: &'a [Cell], column: &str) -> Option<&'a str> {
    table.cell(row, column)?.text()
}

fn number(table: &Table, row: &[Cell], column: &str) -> Option<f64> {
    table.cell(row, column)?.number()
}

fn text(word: &str) -> Cell {
    Cell::Text(word.to_owned())
}

fn float(value: Option<f64>) -> Cell {
    match value {
        Some(value) if value.is_finite() => Cell::Float(value),
        _ => Cell::Null,
    }
}

fn whole(value: Option<usize>) -> Cell {
    let value = value.and_then(|value| i64::try_from(value).ok());
    value.map_or(Cell::Null, Cell::Int)
}

fn table(name: &str, purpose: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        columns: columns
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
