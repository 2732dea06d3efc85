//! The table `stationarity`: the first half of each run's window against the second.

use super::numbers::{STEADY, scale, statistic, unit};
use super::rows::{float, table, text};
use super::{CONFIDENCE, Drawn, Uncertainty};
use crate::analyze::statistics::{
    ALARM, Difference, Drawing, FEWEST_BLOCKS, Grouped, InsufficientData, Sampled, Side,
    difference, holm,
};
use crate::analyze::{Cell, Table};

impl Uncertainty {
    /// The table `stationarity`: the first half of each run's window against the second.
    pub(in crate::analyze) fn stationarity(&self) -> Table {
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
                        let tested = raised.next();
                        let p = tested.map_or(1.0, |tested| tested.p);
                        let confidence = tested.map_or(CONFIDENCE, |tested| tested.confidence);
                        let bounds = change.interval(first, confidence);
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
            "the first half of each run's window against the second, with the interval that the verdict stands on",
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

    fn halves(&self, drawn: &Drawn, metric: &str, stat: &str) -> Result<Halves, InsufficientData> {
        let sampled = drawn.sampled.as_ref().map_err(|lack| *lack)?;
        let middle = self.window.start + self.window.len() / 2;
        let wanted = statistic(stat);
        let half = |places| {
            let series = drawn.series.part(places).merged(sampled.grouped.by);
            if 2 * series.filled() + 2 < FEWEST_BLOCKS {
                return Err(InsufficientData::Blocks);
            }
            let value = series.value(wanted).ok_or(InsufficientData::Values)?;
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
            change: change.ok_or(InsufficientData::Values)?,
        })
    }
}

/// A number of the first half, of the second, and the second against the first.
struct Halves {
    first: f64,
    second: f64,
    change: Difference,
}
