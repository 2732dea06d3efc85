//! The table `differences`: every number of every group of runs against the first group's.

use super::numbers::{
    HEADLINE, RPS, is_higher_better, is_rate, is_share, joined_by, scale, statistic, statistics,
    stats, unit,
};
use super::rows::{float, table, text, whole};
use super::{CONFIDENCE, Member, Uncertainty};
use crate::analyze::statistics::{
    ALARM, Difference, InsufficientData, Pair, Raised, Scale, Side, Spread, count, difference, holm,
};
use crate::analyze::{Cell, Table};

impl Uncertainty {
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
    pub(in crate::analyze) fn differences(&self) -> Table {
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
            "every number of every group of runs against the first group's, with its 95 % interval, a verdict, and the interval that the verdict stands on",
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
                "tested_low",
                "tested_high",
                "tested_confidence",
                "smallest_seen",
                "times_as_long",
                "runs_needed",
                "lack",
                "client_ns",
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
        let added = first.iter().chain(second);
        let added_ns = added.filter_map(|member| member.added_ns).reduce(f64::max);
        let mut all = first.iter().chain(second);
        let are_of_one_mix = all.all(|member| member.mix.is_some() && member.mix == lead.mix);
        for metric in self.metrics(&lead.run) {
            // How large a part of a mix is says nothing of the server.
            if are_of_one_mix && is_rate(metric) && !is_share(metric) {
                continue;
            }
            if metric.ends_with("_intended") && !both_open {
                continue;
            }
            let pair = self.pair(metric, first, second);
            for stat in stats(metric) {
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
                    added_ns,
                    change: match &pair {
                        Some(pair) => self.paired(
                            (metric, stat),
                            pair,
                            (first[0], from[0]),
                            (second[0], to[0]),
                        ),
                        None => self.change(metric, stat, (first, &from), (second, &to)),
                    },
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
    ) -> Result<Difference, InsufficientData> {
        let side = |members: &[&Member], values: &[f64]| {
            let spreads: Result<Vec<Spread>, InsufficientData> = members
                .iter()
                .map(|member| self.spread(&member.run, metric, stat))
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
        let sides = (side(first, from)?, side(second, to)?);
        let mut change =
            difference(&sides.0, &sides.1, scale(metric)).ok_or(InsufficientData::Values)?;
        // Runs that were alike to the last digit do not prove that others would be, either.
        let least = self
            .least_error(metric, first)
            .hypot(self.least_error(metric, second));
        if change.scale == Scale::Plain {
            change.error = change.error.max(least);
        }
        if change.error > 0.0 {
            Ok(change)
        } else {
            Err(InsufficientData::Values)
        }
    }

    /// How well the mean of some runs of a number that counts successes is known at best.
    fn least_error(&self, metric: &str, members: &[&Member]) -> f64 {
        let errors = members
            .iter()
            .map(|member| self.least(&member.run, metric).powi(2));
        errors.sum::<f64>().sqrt() / count(members.len())
    }

    /// Two runs of one schedule, drawn from together; `None` where there are none such.
    fn pair(
        &self,
        metric: &str,
        first: &[&Member],
        second: &[&Member],
    ) -> Option<Result<Pair, InsufficientData>> {
        let ([first], [second]) = (first, second) else {
            return None;
        };
        let series = |member: &Member| Some(&self.drawn(&member.run, metric)?.series);
        second.is_pair.then(|| {
            let series = series(first)
                .zip(series(second))
                .ok_or(InsufficientData::Values)?;
            Pair::new(
                series,
                (&joined_by(metric), &statistics(metric)),
                scale(metric),
            )
        })
    }

    fn paired(
        &self,
        (metric, stat): (&str, &str),
        pair: &Result<Pair, InsufficientData>,
        (first, from): (&Member, f64),
        (second, to): (&Member, f64),
    ) -> Result<Difference, InsufficientData> {
        let pair = pair.as_ref().map_err(|lack| *lack)?;
        let mut change = pair.difference((from, to), statistic(stat), scale(metric))?;
        // Two runs without a failure do not prove that neither would have one: as if one more
        // request had gone well in just one of them (Agresti and Min, Statistics in Medicine 24(5),
        // 2005, where nothing went differently).
        for (member, value) in [(first, from), (second, to)] {
            let least = if metric == RPS {
                // Nor do two runs that ended as many prove that they always would.
                let ended = self
                    .drawn(&member.run, metric)
                    .map(|drawn| drawn.series.sums().0);
                value / (ended.unwrap_or(0.0) + 2.0)
            } else {
                let Some((_, offered)) = self.successes(&member.run, metric) else {
                    continue;
                };
                self.in_unit(&member.run, metric, 1.0 / (offered + 2.0))
            };
            let least = match change.scale {
                Scale::Log => least / value,
                Scale::Plain => least,
            };
            change.error = change.error.max(least);
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
    change: Result<Difference, InsufficientData>,
    /// How much longer the client of a run may have made its latencies.
    added_ns: Option<f64>,
}

impl Compared<'_> {
    /// Tells whether the client may have made the difference: that of a latency where it is no larger
    /// than what the client may have added, and any where nobody knows how much that is.
    fn is_clients(&self, from: f64, to: f64) -> bool {
        let is_latency = unit(&self.metric) == "ns";
        self.added_ns.is_some_and(|added_ns| {
            added_ns.is_infinite() || is_latency && (to - from).abs() <= added_ns
        })
    }

    fn row(&self, raised: Option<Raised>, tested: usize) -> Vec<Cell> {
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
        // What is so far off that it shows all the same is told; else the interval says nothing. It
        // is the one that a verdict would stand on, which is wider where there are few runs a side.
        let shown = raised.map_or(CONFIDENCE, |raised| raised.confidence);
        let is_below_zero = |change: &Difference| {
            let bounds = change.interval(from, shown);
            // No time and no rate falls by more than all of it.
            !is_share(&self.metric) && bounds.is_some_and(|(low, _)| low < -1.0)
        };
        let is_wide = change.is_some_and(|change| change.is_wide(shown) || is_below_zero(&change))
            && raised.is_none_or(|raised| raised.p >= ALARM);
        let told = change.filter(|_| !is_wide);
        let bounds = told.and_then(|change| change.interval(from, CONFIDENCE));
        let confidence = raised.map(|raised| raised.confidence);
        let tested_bounds = told
            .zip(confidence)
            .and_then(|(change, at)| change.interval(from, at));
        // As many runs on each side as would be known as well.
        let sides = [&self.from, &self.to].map(|values| count(values.len()));
        let runs = 2.0 / (1.0 / sides[0] + 1.0 / sides[1]);
        let repeats = sides.iter().all(|runs| *runs > 1.0);
        let is_clients = self.is_clients(from, to);
        let lack = match &self.change {
            _ if is_wide => Some(InsufficientData::Width),
            Err(lack) => Some(*lack),
            Ok(_) => is_clients.then_some(InsufficientData::Client),
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
            float(raised.map(|raised| raised.p)),
            self.verdict(raised, lack),
            float(tested_bounds.map(|(low, _)| low)),
            float(tested_bounds.map(|(_, high)| high)),
            float(confidence.filter(|_| tested_bounds.is_some())),
            float(told.and_then(|change| change.smallest_seen(from, numbers))),
            float(change.and_then(|change| change.times_as_long(from, numbers))),
            whole(
                change
                    .filter(|_| self.is_headline && repeats)
                    .and_then(|change| change.runs_needed(from, numbers, runs)),
            ),
            lack.map_or(Cell::Null, |lack| text(lack.as_str())),
            float(self.added_ns),
        ]
    }

    /// What the test says, in words; null for a number that is not tested.
    fn verdict(&self, raised: Option<Raised>, lack: Option<InsufficientData>) -> Cell {
        match (&self.change, raised) {
            (Err(_), _) if self.is_headline => text("not enough data"),
            (Ok(_), Some(_)) if lack == Some(InsufficientData::Client) => text("client-limited"),
            (Ok(change), Some(raised)) if raised.p < ALARM => {
                let is_up = change.place > 0.0;
                text(if is_up == is_higher_better(&self.metric) {
                    "better"
                } else {
                    "worse"
                })
            }
            (Ok(_), Some(_)) if lack.is_some() => text("not enough data"),
            (Ok(_), Some(_)) => text("no difference seen"),
            _ => Cell::Null,
        }
    }
}
