//! How far a number would move if the run were done again: a block bootstrap over time.
//!
//! Requests that queue behind each other and tokens that share a step are no independent values,
//! so whole stretches of time are drawn, not values. Stretches that are too short still depend on
//! each other: they are joined, pair by pair, until neighbours hardly correlate (Fishman, "Grouping
//! Observations in Digital Simulation", Management Science 24(5), 1978), and what correlation is
//! left widens the interval. The interval is Student's, with a degree of freedom less than blocks,
//! since few blocks know little of their own spread.

use statrs::distribution::{ContinuousCDF, StudentsT};

use super::series::{Scale, Series, Statistic, count};
use crate::draw::{Draw, field};

/// Fewer blocks than this know too little of their own spread.
pub(crate) const FEWEST_BLOCKS: usize = 20;

/// Samples that are drawn with replacement: the spread is known to about 3 percent then.
const REPLICATES: u64 = 500;

/// Blocks that the values beyond a quantile must come from before anything is said of its spread:
/// a hundred values of one pile-up are one observation of it.
///
/// They also bound the degrees of freedom, so that an interval from few of them is wide.
const SOURCES_BEYOND: f64 = 2.5;

/// An interval whose upper bound is more times the lower one than this says nothing.
pub(super) const WIDEST: f64 = 10.0;

/// Correlation of neighbours from which on blocks are joined.
pub(super) const JOINED_FROM: f64 = 0.1;

/// Correlation of the longest blocks from which on nothing is said.
pub(super) const HOPELESS_FROM: f64 = 0.5;

/// Why nothing is said of a number's spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InsufficientData {
    /// Under 20 blocks have any value.
    Blocks,
    /// The values beyond the quantile come from too few blocks.
    Values,
    /// The longest blocks still depend on each other: the run is too short for its own swings.
    Independence,
    /// The interval would span more than a factor of ten.
    Width,
    /// The client that was the bottleneck may have made the difference.
    Client,
}

impl InsufficientData {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Blocks => "few blocks",
            Self::Values => "few values",
            Self::Independence => "correlated blocks",
            Self::Width => "wide interval",
            Self::Client => "client-limited",
        }
    }
}

/// How far a number is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) scale: Scale,
    /// Standard error on that scale.
    pub(crate) error: f64,
    /// Blocks that the spread was learnt from.
    pub(crate) blocks: usize,
    /// Degrees of freedom: one less than the blocks that have a say in it.
    pub(crate) freedom: f64,
}

impl Spread {
    /// Bounds of the interval that holds the true number with `confidence`.
    pub(crate) fn interval(&self, value: f64, confidence: f64) -> (f64, f64) {
        let reach = self.error * t_quantile(0.5 + confidence / 2.0, self.freedom);
        let place = self.scale.place_of(value);
        (
            self.scale.value_at(place - reach),
            self.scale.value_at(place + reach),
        )
    }
}

/// The quantile of Student's distribution.
pub(crate) fn t_quantile(share: f64, freedom: f64) -> f64 {
    student(freedom).map_or(f64::INFINITY, |student| student.inverse_cdf(share))
}

/// How likely a number at least `errors` standard errors from 0 is, to either side.
pub(crate) fn two_sided(errors: f64, freedom: f64) -> f64 {
    student(freedom).map_or(1.0, |student| 2.0 * student.cdf(-errors.abs()))
}

fn student(freedom: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, freedom).ok()
}

/// The samples of one draw. The same draw of two series with the same blocks takes the same
/// stretches of time of both, which is what makes a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Drawing(pub(crate) u64);

impl Drawing {
    /// How often sample number `replicate` has each of `blocks`.
    fn weights(self, replicate: u64, blocks: usize, weights: &mut Vec<f64>) {
        weights.clear();
        weights.resize(blocks, 0.0);
        let mut draw = Draw::new(self.0, replicate, field::RESAMPLE);
        let bound = blocks as u64;
        for _ in 0..blocks {
            let index = usize::try_from(draw.below(bound)).unwrap_or(0);
            weights[index] += 1.0;
        }
    }

    /// The statistics of each sample, a list of samples a statistic. One that a sample lacks is
    /// left out.
    fn sample(self, series: &Series, statistics: &[Statistic]) -> Vec<Vec<f64>> {
        let mut weights = Vec::new();
        let mut scratch = Vec::new();
        let mut drawn = vec![Vec::new(); statistics.len()];
        for replicate in 0..REPLICATES {
            self.weights(replicate, series.blocks.len(), &mut weights);
            let values = series.statistics(statistics, &weights, &mut scratch);
            for (drawn, value) in drawn.iter_mut().zip(values) {
                drawn.extend(value);
            }
        }
        drawn
    }
}

/// A series whose blocks are independent enough.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Grouped {
    pub(crate) series: Series,
    /// What is left of the correlation widens errors by this factor.
    pub(crate) widening: f64,
    /// Blocks at first that are now one.
    pub(crate) by: usize,
}

/// Joins blocks until neighbours are independent enough, for all of `statistics` at once: how long
/// a run remembers is a matter of the run, and its rarest values show it least.
pub(crate) fn group(
    series: &Series,
    statistics: &[Statistic],
) -> Result<Grouped, InsufficientData> {
    let mut by = 1;
    loop {
        let merged = series.merged(by);
        if !is_fillable(&merged) {
            return Err(InsufficientData::Blocks);
        }
        let correlation = merged.correlation(statistics);
        let is_last = !is_fillable(&series.merged(2 * by));
        if correlation > JOINED_FROM && !is_last {
            by *= 2;
            continue;
        }
        if correlation > HOPELESS_FROM {
            return Err(InsufficientData::Independence);
        }
        return Ok(Grouped {
            series: merged,
            widening: widening(correlation),
            by,
        });
    }
}

/// Tells whether enough blocks have a value.
pub(super) fn is_fillable(series: &Series) -> bool {
    series.filled() >= FEWEST_BLOCKS
}

/// The factor by which what is left of a correlation widens errors.
pub(super) fn widening(correlation: f64) -> f64 {
    let left = correlation.max(0.0);
    ((1.0 + left) / (1.0 - left)).sqrt()
}

/// Standard deviation of a sample.
pub(crate) fn deviation(places: &[f64]) -> f64 {
    let n = count(places.len());
    let mean = places.iter().sum::<f64>() / n;
    let square: f64 = places.iter().map(|place| (place - mean).powi(2)).sum();
    (square / (n - 1.0)).sqrt()
}

/// A series and what its samples say of each of some statistics.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sampled {
    pub(crate) grouped: Grouped,
    pub(crate) statistics: Vec<Statistic>,
    /// By statistic.
    pub(crate) drawn: Vec<Vec<f64>>,
}

impl Sampled {
    pub(crate) fn new(grouped: Grouped, statistics: &[Statistic], drawing: Drawing) -> Self {
        Self {
            drawn: drawing.sample(&grouped.series, statistics),
            grouped,
            statistics: statistics.to_vec(),
        }
    }

    /// What the samples have for a statistic.
    pub(crate) fn drawn(&self, statistic: Statistic) -> &[f64] {
        let at = self.statistics.iter().position(|other| *other == statistic);
        at.map_or(&[], |at| self.drawn[at].as_slice())
    }

    /// How far a statistic is known.
    pub(crate) fn spread(
        &self,
        statistic: Statistic,
        preferred: Scale,
    ) -> Result<Spread, InsufficientData> {
        let series = &self.grouped.series;
        let sources = series.effective_blocks_beyond(statistic);
        ensure_sources(sources)?;
        let values = self.drawn(statistic);
        if values.len() < 2 {
            return Err(InsufficientData::Values);
        }
        let scale = if values.iter().any(|value| *value <= 0.0) {
            Scale::Plain
        } else {
            preferred
        };
        let places: Vec<f64> = values.iter().map(|value| scale.place_of(*value)).collect();
        let blocks = series.filled();
        let spread = Spread {
            scale,
            error: deviation(&places) * self.grouped.widening * small_sample(blocks),
            blocks,
            freedom: count(blocks).min(sources) - 1.0,
        };
        let (low, high) = spread.interval(1.0, 0.95);
        if scale == Scale::Log && high > WIDEST * low {
            return Err(InsufficientData::Width);
        }
        Ok(spread)
    }
}

/// Refuses a quantile beyond which too few blocks have anything.
pub(crate) fn ensure_sources(sources: f64) -> Result<(), InsufficientData> {
    if sources < SOURCES_BEYOND {
        Err(InsufficientData::Values)
    } else {
        Ok(())
    }
}

/// Drawing K of K blocks underestimates their variance by (K-1)/K.
pub(crate) fn small_sample(blocks: usize) -> f64 {
    let blocks = count(blocks);
    (blocks / (blocks - 1.0)).sqrt()
}
