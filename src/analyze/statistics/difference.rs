//! How two numbers differ, how surely, and what it would take to be surer.

use super::bootstrap::{Spread, WIDEST, deviation, t_quantile, two_sided};
use super::series::{Scale, count};

/// Chance of a false alarm over all headline numbers together.
pub(crate) const ALARM: f64 = 0.05;

/// Chance with which a difference of the size that is asked for is to be found.
const POWER: f64 = 0.8;

/// The difference that a run should be long enough to show, as a factor.
const SOUGHT: f64 = 1.05;

/// The difference that runs which repeat each other should be enough to show, as a factor.
const CLEAR: f64 = 1.2;

/// Most repeats of a run that anybody is told to make.
const MOST_RUNS: usize = 200;

/// A number of one side: of one run, or of several that repeat each other.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Side {
    /// The number of each run.
    pub(crate) values: Vec<f64>,
    /// How far that of each run is known from the run alone.
    pub(crate) spreads: Vec<Spread>,
}

/// The second of two numbers against the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Difference {
    pub(crate) scale: Scale,
    /// The second less the first, on that scale.
    pub(crate) place: f64,
    /// Its standard error.
    pub(crate) error: f64,
    /// Degrees of freedom of that error.
    pub(crate) freedom: f64,
}

impl Side {
    /// The middle of the runs and its error, on `scale`. The error of several runs is what they
    /// differ by, which holds what each varies by inside; it is never less than that alone.
    fn summary(&self, scale: Scale) -> Option<(f64, f64, f64)> {
        let places: Vec<f64> = self
            .values
            .iter()
            .map(|value| scale.place_of(*value))
            .collect();
        let runs = count(places.len());
        let place = places.iter().sum::<f64>() / runs;
        let variance = self
            .spreads
            .iter()
            .map(|spread| spread.error.powi(2))
            .sum::<f64>()
            / runs.powi(2);
        let inside = variance.sqrt();
        let freedom: f64 = self.spreads.iter().map(|spread| spread.freedom).sum();
        if places.len() < 2 {
            return self.spreads.first().map(|_| (place, inside, freedom));
        }
        let between = deviation(&places) / runs.sqrt();
        Some(if between >= inside || self.spreads.is_empty() {
            (place, between, runs - 1.0)
        } else {
            (place, inside, freedom)
        })
    }

    fn scale(&self, preferred: Scale) -> Scale {
        let is_plain = self.values.iter().any(|value| *value <= 0.0)
            || self
                .spreads
                .iter()
                .any(|spread| spread.scale == Scale::Plain);
        if is_plain { Scale::Plain } else { preferred }
    }
}

/// The second side against the first, where nothing ties one to the other.
pub(crate) fn difference(first: &Side, second: &Side, preferred: Scale) -> Option<Difference> {
    let scale = match (first.scale(preferred), second.scale(preferred)) {
        (Scale::Log, Scale::Log) => Scale::Log,
        _ => Scale::Plain,
    };
    let (from, from_error, from_freedom) = first.on(scale)?.summary(scale)?;
    let (to, to_error, to_freedom) = second.on(scale)?.summary(scale)?;
    let variance = from_error.powi(2) + to_error.powi(2);
    // Welch and Satterthwaite's degrees of freedom.
    let parts = from_error.powi(4) / from_freedom + to_error.powi(4) / to_freedom;
    Some(Difference {
        scale,
        place: to - from,
        error: variance.sqrt(),
        freedom: if parts > 0.0 {
            variance.powi(2) / parts
        } else {
            from_freedom + to_freedom
        },
    })
}

impl Side {
    /// The same side with its errors on `scale`; an error by factors is one by amounts at the
    /// number itself.
    fn on(&self, scale: Scale) -> Option<Self> {
        let spreads = self
            .spreads
            .iter()
            .zip(&self.values)
            .map(|(spread, value)| {
                let error = match (spread.scale, scale) {
                    (Scale::Log, Scale::Plain) => spread.error * value.abs(),
                    (Scale::Plain, Scale::Log) => return None,
                    _ => spread.error,
                };
                Some(Spread {
                    scale,
                    error,
                    ..*spread
                })
            });
        Some(Self {
            values: self.values.clone(),
            spreads: spreads.collect::<Option<_>>()?,
        })
    }
}

impl Difference {
    /// How likely a difference of at least this size is where there is none.
    pub(crate) fn chance(&self) -> f64 {
        if self.place == 0.0 {
            1.0
        } else if self.error > 0.0 {
            two_sided(self.place / self.error, self.freedom)
        } else {
            0.0
        }
    }

    /// Turns a place on the difference's scale into a share of `baseline`.
    fn share(&self, place: f64, baseline: f64) -> Option<f64> {
        let share = match self.scale {
            Scale::Log => place.exp() - 1.0,
            Scale::Plain => place / baseline,
        };
        share.is_finite().then_some(share)
    }

    /// The difference as a share of `baseline`.
    pub(crate) fn relative(&self, baseline: f64) -> Option<f64> {
        self.share(self.place, baseline)
    }

    /// Bounds of the interval that holds the true difference with `confidence`, as shares of
    /// `baseline`.
    pub(crate) fn interval(&self, baseline: f64, confidence: f64) -> Option<(f64, f64)> {
        let reach = self.error * t_quantile(0.5 + confidence / 2.0, self.freedom);
        let low = self.share(self.place - reach, baseline)?;
        Some((low, self.share(self.place + reach, baseline)?))
    }

    /// Tells whether the interval spans so much that it says nothing.
    pub(crate) fn is_wide(&self, confidence: f64) -> bool {
        let reach = self.error * t_quantile(0.5 + confidence / 2.0, self.freedom);
        self.scale == Scale::Log && 2.0 * reach > WIDEST.ln()
    }

    /// The smallest difference, as a share of `baseline`, that would be found with a chance of 80
    /// percent, were it one of `numbers` that are tested together.
    pub(crate) fn smallest_seen(&self, baseline: f64, numbers: usize) -> Option<f64> {
        let errors = self.errors_needed(numbers);
        self.share(errors * self.error, baseline).map(f64::abs)
    }

    /// How many times as long both runs would have to be for a difference of 5 percent to be found
    /// with a chance of 80 percent, were it one of `numbers` that are tested together.
    pub(crate) fn times_as_long(&self, baseline: f64, numbers: usize) -> Option<f64> {
        let sought = match self.scale {
            Scale::Log => SOUGHT.ln(),
            Scale::Plain => (SOUGHT - 1.0) * baseline.abs(),
        };
        let times = (self.errors_needed(numbers) * self.error / sought).powi(2);
        times.is_finite().then_some(times)
    }

    /// How many runs a side, where there are `runs` of each, would find a difference of 20 percent
    /// with a chance of 80 percent, were it one of `numbers` that are tested together; `None` where
    /// even [`MOST_RUNS`] would not.
    pub(crate) fn runs_needed(&self, baseline: f64, numbers: usize, runs: f64) -> Option<usize> {
        let sought = match self.scale {
            Scale::Log => CLEAR.ln(),
            Scale::Plain => (CLEAR - 1.0) * baseline.abs(),
        };
        let finds = |side: &usize| {
            let error = self.error * (runs / count(*side)).sqrt();
            errors_needed(numbers, 2.0 * (count(*side) - 1.0)) * error <= sought
        };
        (2..=MOST_RUNS).find(finds)
    }

    /// Standard errors that a difference must measure.
    fn errors_needed(&self, numbers: usize) -> f64 {
        errors_needed(numbers, self.freedom)
    }
}

/// Standard errors that a difference must measure, to be found among `numbers` with [`POWER`].
fn errors_needed(numbers: usize, freedom: f64) -> f64 {
    let alarm = ALARM / count(numbers.max(1));
    t_quantile(1.0 - alarm / 2.0, freedom) + t_quantile(POWER, freedom)
}

/// A chance among others that are tested together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Raised {
    /// The chance, raised so that it can be held against [`ALARM`].
    pub(crate) p: f64,
    /// The confidence of the interval that the test stands on: it leaves 0 out where `p` is under
    /// [`ALARM`], and holds it where not.
    pub(crate) confidence: f64,
}

/// Chances, each raised so that rejecting those under a level rejects any true one with at most
/// that chance, whatever depends on what (Holm, "A Simple Sequentially Rejective Multiple Test
/// Procedure", Scandinavian Journal of Statistics 6(2), 1979).
///
/// The one of rank k among m, from 0, is tested at the level of all ÷ (m - k); the first that is
/// kept ends the procedure, and its level is that of all after it.
pub(crate) fn holm(chances: &[f64]) -> Vec<Raised> {
    let mut order: Vec<usize> = (0..chances.len()).collect();
    order.sort_by(|a, b| chances[*a].total_cmp(&chances[*b]));
    let mut raised = vec![
        Raised {
            p: 1.0,
            confidence: 1.0 - ALARM,
        };
        chances.len()
    ];
    let mut highest: f64 = 0.0;
    let mut kept_at = None;
    for (rank, index) in order.into_iter().enumerate() {
        let factor = count(chances.len() - rank);
        highest = highest.max((chances[index] * factor).min(1.0));
        let level = kept_at.unwrap_or(ALARM / factor);
        if highest >= ALARM {
            kept_at = Some(level);
        }
        raised[index] = Raised {
            p: highest,
            confidence: 1.0 - level,
        };
    }
    raised
}
