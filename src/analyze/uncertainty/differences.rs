//! The table `differences`: every number of every group of runs against the first group's.

use super::numbers::{HEADLINE, is_higher_better, scale, statistic, statistics, stats, unit};
use super::rows::{float, table, text, whole};
use super::{CONFIDENCE, Drawn, Member, Uncertainty};
use crate::analyze::statistics::{
    ALARM, Difference, Drawing, Lack, Sampled, Scale, Side, Spread, count, difference, group_from,
    holm, paired_difference,
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
