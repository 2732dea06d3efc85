//! Two runs of one schedule, drawn from together: each sample takes the same stretches of time of
//! both, so that what the schedule does to both of them cancels out.

use super::bootstrap::{
    Drawing, Grouped, HOPELESS_FROM, InsufficientData, JOINED_FROM, Sampled, deviation,
    ensure_sources, is_fillable, small_sample, widening,
};
use super::difference::Difference;
use super::series::{Scale, Series, Statistic, count, lag_one};

/// Samples of two runs, number by number from the same stretches of time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pair {
    first: Sampled,
    second: Sampled,
}

impl Pair {
    /// Joins the blocks of both runs until what differs between them hardly correlates from one
    /// block to the next, for all statistics of `joined_by` at once, and draws `statistics`.
    ///
    /// What both runs do at the same time is no matter here, however long it lasts. What does
    /// matter is an event that falls on the two sides of a border in the two runs, such as a
    /// request's end: it is missing in one block and surplus in the next, so that neighbours
    /// correlate negatively, and short blocks say too much of the spread.
    pub(crate) fn new(
        (first, second): (&Series, &Series),
        (joined_by, statistics): (&[Statistic], &[Statistic]),
        scale: Scale,
    ) -> Result<Self, InsufficientData> {
        let mut by = 1;
        loop {
            let (one, other) = (first.merged(by), second.merged(by));
            if !is_fillable(&one) || !is_fillable(&other) {
                return Err(InsufficientData::Blocks);
            }
            let is_last =
                !is_fillable(&first.merged(2 * by)) || !is_fillable(&second.merged(2 * by));
            let (low, high) = correlations((&one, &other), joined_by, scale);
            // Twice what independent blocks show by chance.
            let noise = 2.0 / count(one.blocks.len()).sqrt();
            if !is_last && (high > JOINED_FROM || low < -JOINED_FROM.max(noise)) {
                by *= 2;
                continue;
            }
            if high > HOPELESS_FROM {
                return Err(InsufficientData::Independence);
            }
            let [first, second] = [one, other].map(|series| {
                let grouped = Grouped {
                    series,
                    widening: widening(high),
                    by,
                };
                Sampled::new(grouped, statistics, Drawing(0))
            });
            return Ok(Self { first, second });
        }
    }

    /// The second run's number against the first's.
    pub(crate) fn difference(
        &self,
        (from, to): (f64, f64),
        statistic: Statistic,
        preferred: Scale,
    ) -> Result<Difference, InsufficientData> {
        let series = [&self.first.grouped.series, &self.second.grouped.series];
        let sources = series.map(|series| series.effective_blocks_beyond(statistic));
        let sources = sources[0].min(sources[1]);
        ensure_sources(sources)?;
        let (drawn_from, drawn_to) = (self.first.drawn(statistic), self.second.drawn(statistic));
        // A sample without a value would shift all pairs behind it.
        if drawn_from.len() != drawn_to.len() || drawn_from.len() < 2 {
            return Err(InsufficientData::Values);
        }
        let drawn = drawn_from.iter().zip(drawn_to);
        let pairs: Vec<(f64, f64)> = drawn.map(|(from, to)| (*from, *to)).collect();
        let is_positive = |(from, to): &(f64, f64)| *from > 0.0 && *to > 0.0;
        let scale = if pairs.iter().all(is_positive) && is_positive(&(from, to)) {
            preferred
        } else {
            Scale::Plain
        };
        let change = |(from, to): &(f64, f64)| scale.place_of(*to) - scale.place_of(*from);
        let changes: Vec<f64> = pairs.iter().map(change).collect();
        let blocks = series[0].filled().min(series[1].filled());
        Ok(Difference {
            scale,
            place: change(&(from, to)),
            error: deviation(&changes) * self.first.grouped.widening * small_sample(blocks),
            freedom: count(blocks).min(sources) - 1.0,
        })
    }
}

/// The weakest and the strongest correlation of neighbouring blocks that the difference in one of
/// the statistics shows.
fn correlations(
    (first, second): (&Series, &Series),
    statistics: &[Statistic],
    scale: Scale,
) -> (f64, f64) {
    let of_one = |statistic: &Statistic| {
        let from = first.influences(*statistic, scale)?;
        let to = second.influences(*statistic, scale)?;
        let apart: Vec<f64> = to.iter().zip(&from).map(|(to, from)| to - from).collect();
        Some(lag_one(&apart))
    };
    let all = statistics.iter().filter_map(of_one);
    all.fold((0.0, 0.0), |(low, high): (f64, f64), one| {
        (low.min(one), high.max(one))
    })
}
