//! Gaps between the requests of one client in one window: a stationary renewal process.

use rand_distr::{Distribution, Exp1, Gamma};

use crate::draw::Draw;

/// How gaps are distributed around their mean.
///
/// ServeGen gives a scale beside the shape and then stretches what it drew to the window's rate, so
/// only the shape counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Gaps {
    /// Gamma gaps.
    Gamma {
        /// Shape, above 0.
        shape: f64,
        /// Gaps with that shape and a scale of 1.
        unit: Gamma<f64>,
        /// The same, where each gap counts as much as it is long.
        by_length: Gamma<f64>,
    },
    /// Weibull gaps.
    Weibull {
        /// Shape, above 0.
        shape: f64,
        /// Mean of gaps with that shape and a scale of 1.
        unit_mean: f64,
        /// The power of a gap that is exponential, where each gap counts as much as it is long.
        by_length: Gamma<f64>,
    },
}

impl Gaps {
    /// Returns gamma gaps; none for a shape that has no such distribution.
    pub(super) fn gamma(shape: f64) -> Option<Self> {
        Some(Self::Gamma {
            shape: positive(shape)?,
            unit: Gamma::new(shape, 1.0).ok()?,
            by_length: Gamma::new(shape + 1.0, 1.0).ok()?,
        })
    }

    /// Returns Weibull gaps; none for a shape that has no such distribution, or one with a mean
    /// beyond counting.
    pub(super) fn weibull(shape: f64) -> Option<Self> {
        let shape = positive(shape)?;
        let inverse = positive(1.0 / shape)?;
        Some(Self::Weibull {
            shape,
            unit_mean: positive(libm::tgamma(1.0 + inverse))?,
            by_length: Gamma::new(1.0 + inverse, 1.0).ok()?,
        })
    }

    /// Draws a gap, in units of its mean.
    pub(super) fn gap(&self, draw: &mut Draw) -> f64 {
        match self {
            Self::Gamma { shape, unit, .. } => unit.sample(draw) / shape,
            Self::Weibull {
                shape, unit_mean, ..
            } => {
                let power: f64 = Exp1.sample(draw);
                power.powf(1.0 / shape) / unit_mean
            }
        }
    }

    /// Draws the time from a window's start to its first request, in units of the mean gap.
    ///
    /// A window opens at a time that has nothing to do with the requests, and so rather inside a
    /// long gap than a short one: the gap that it opens in is drawn by length, and a part of it is
    /// left. With that the expected number of requests in any stretch of a window is its rate times
    /// its length. Beginning each window with a whole gap would give (cv² − 1) / 2 too many.
    pub(super) fn first(&self, draw: &mut Draw) -> f64 {
        let left = draw.fraction();
        left * match self {
            Self::Gamma {
                shape, by_length, ..
            } => by_length.sample(draw) / shape,
            Self::Weibull {
                shape,
                unit_mean,
                by_length,
            } => by_length.sample(draw).powf(1.0 / shape) / unit_mean,
        }
    }

    /// Returns the coefficient of variation of the gaps.
    #[cfg(test)]
    pub(super) fn variation(&self) -> f64 {
        match self {
            Self::Gamma { shape, .. } => shape.powf(-0.5),
            Self::Weibull {
                shape, unit_mean, ..
            } => (libm::tgamma(1.0 + 2.0 / shape) / unit_mean.powi(2) - 1.0).sqrt(),
        }
    }
}

fn positive(value: f64) -> Option<f64> {
    (value.is_finite() && value > 0.0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::Gaps;
    use crate::draw::Draw;

    const GAPS: [fn(f64) -> Option<Gaps>; 2] = [Gaps::gamma, Gaps::weibull];

    #[test]
    fn gaps_have_a_mean_of_one_and_their_own_variation() {
        const COUNT: u32 = 200_000;
        for (make, shape) in [
            (GAPS[0], 0.3),
            (GAPS[0], 4.0),
            (GAPS[1], 0.6),
            (GAPS[1], 2.0),
        ] {
            let gaps = make(shape).unwrap();
            let drawn: Vec<f64> = (0..COUNT)
                .map(|index| gaps.gap(&mut Draw::new(1, u64::from(index), 1)))
                .collect();
            let mean = drawn.iter().sum::<f64>() / f64::from(COUNT);
            let squares = drawn.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>();
            let variation = (squares / f64::from(COUNT)).sqrt() / mean;
            // Five standard errors of the mean; the variation of heavy tails needs more room.
            let error = gaps.variation() / f64::from(COUNT).sqrt();
            assert!((mean - 1.0).abs() < 5.0 * error, "{gaps:?}: {mean}");
            assert!(
                (variation / gaps.variation() - 1.0).abs() < 0.05,
                "{gaps:?}: {variation}"
            );
        }
    }

    #[test]
    fn a_window_has_as_many_requests_as_its_rate_says_however_bursty() {
        const WINDOWS: u32 = 20_000;
        const LENGTH: f64 = 10.0;
        for gaps in [
            Gaps::gamma(0.05).unwrap(),
            Gaps::gamma(3.0).unwrap(),
            Gaps::weibull(0.4).unwrap(),
        ] {
            let count_from = |first: fn(&Gaps, &mut Draw) -> f64| -> f64 {
                let mut count = 0;
                for window in 0..WINDOWS {
                    let mut draw = Draw::new(7, u64::from(window), 1);
                    let mut at = first(&gaps, &mut draw);
                    while at < LENGTH {
                        count += 1;
                        at += gaps.gap(&mut draw);
                    }
                }
                f64::from(count) / f64::from(WINDOWS)
            };
            let counts = count_from(Gaps::first);
            // Five standard errors: a count varies by about the mean times the squared variation.
            let error = gaps.variation() * (LENGTH / f64::from(WINDOWS)).sqrt();
            assert!((counts - LENGTH).abs() < 5.0 * error, "{gaps:?}: {counts}");
            // What is avoided.
            if gaps.variation() > 2.0 {
                assert!(count_from(Gaps::gap) > LENGTH + 1.0, "{gaps:?}");
            }
        }
    }

    #[test]
    fn shapes_without_a_distribution_are_none() {
        for shape in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(Gaps::gamma(shape), None);
            assert_eq!(Gaps::weibull(shape), None);
        }
        // The mean of its gaps is beyond any float.
        assert_eq!(Gaps::weibull(0.001), None);
    }
}
