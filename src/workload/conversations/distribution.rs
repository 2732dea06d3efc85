//! How lengths, numbers of turns and pauses are distributed.
//!
//! What is drawn is never below 0, and never above a bound where there is one. Rounding and both bounds
//! come after the draw: they move the mean where much of a distribution lies beyond them.

use std::sync::Arc;

use rand_distr::{Distribution as _, Exp, Gamma, LogNormal, Normal, Poisson, Zeta};

use crate::draw::Draw;

/// Largest number in a distribution, and the largest that is drawn.
pub(super) const MAX: f64 = 4_294_967_295.0;

/// Draws of which a mean is taken that no formula gives.
const TRIALS: u64 = 4_096;

/// How a number is distributed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Distribution {
    shape: Shape,
    /// What is above it is drawn as this.
    max: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Constant(f64),
    Uniform {
        low: f64,
        high: f64,
    },
    Normal(Normal<f64>),
    LogNormal {
        mean: f64,
        logs: LogNormal<f64>,
    },
    Gamma {
        mean: f64,
        drawn: Gamma<f64>,
    },
    Exponential {
        mean: f64,
        drawn: Exp<f64>,
    },
    Poisson {
        mean: f64,
        drawn: Poisson<f64>,
    },
    Zipf(Zeta<f64>),
    /// One of these, at least one, each as likely as the others.
    OneOf(Arc<[f64]>),
}

impl From<Shape> for Distribution {
    fn from(shape: Shape) -> Self {
        Self { shape, max: MAX }
    }
}

impl Distribution {
    /// Always the same.
    pub(super) fn constant(value: f64) -> Self {
        Shape::Constant(value).into()
    }

    /// Anything between two numbers. Counts are whole numbers from the one to the other, each as likely
    /// as the others, where both are whole.
    pub(super) fn uniform(low: f64, high: f64) -> Result<Self, String> {
        match low > high {
            true => Err(format!(
                "its lowest value {low} is above its highest {high}"
            )),
            false => Ok(Shape::Uniform { low, high }.into()),
        }
    }

    /// Normal, of a mean and a standard deviation before what is below 0 is cut.
    pub(super) fn normal(mean: f64, sd: f64) -> Result<Self, String> {
        let drawn = Normal::new(mean, sd).map_err(|error| error.to_string())?;
        Ok(Shape::Normal(drawn).into())
    }

    /// Log-normal, of the mean and the standard deviation of the values themselves.
    pub(super) fn lognormal(mean: f64, sd: f64) -> Result<Self, String> {
        above_0("mean", mean)?;
        let variance = (sd / mean).powi(2).ln_1p();
        Self::lognormal_of_logs(mean.ln() - variance / 2.0, variance.sqrt())
    }

    /// Log-normal, of the mean and the standard deviation of the logarithms.
    pub(super) fn lognormal_of_logs(mean: f64, sd: f64) -> Result<Self, String> {
        if sd < 0.0 {
            return Err("the standard deviation of its logarithms is below 0".to_owned());
        }
        let logs = LogNormal::new(mean, sd).map_err(|error| error.to_string())?;
        let mean = (mean + sd * sd / 2.0).exp();
        match mean <= MAX {
            true => Ok(Shape::LogNormal { mean, logs }.into()),
            false => Err(format!("its mean is above {MAX}")),
        }
    }

    /// Gamma, of a mean and a standard deviation.
    pub(super) fn gamma(mean: f64, sd: f64) -> Result<Self, String> {
        above_0("mean", mean)?;
        if sd == 0.0 {
            return Ok(Self::constant(mean));
        }
        let drawn = Gamma::new((mean / sd).powi(2), sd * sd / mean);
        let drawn = drawn
            .map_err(|_| "its mean and its standard deviation are too far apart".to_owned())?;
        Ok(Shape::Gamma { mean, drawn }.into())
    }

    /// Exponential.
    pub(super) fn exponential(mean: f64) -> Result<Self, String> {
        above_0("mean", mean)?;
        let drawn = Exp::new(1.0 / mean).map_err(|error| error.to_string())?;
        Ok(Shape::Exponential { mean, drawn }.into())
    }

    /// Poisson: whole numbers around a mean.
    pub(super) fn poisson(mean: f64) -> Result<Self, String> {
        if mean == 0.0 {
            return Ok(Self::constant(mean));
        }
        let drawn = Poisson::new(mean).map_err(|error| error.to_string())?;
        Ok(Shape::Poisson { mean, drawn }.into())
    }

    /// Zipf: whole numbers from 1, of which k is as likely as 1 / k^alpha.
    pub(super) fn zipf(alpha: f64) -> Result<Self, String> {
        let drawn = Zeta::new(alpha).map_err(|_| format!("its alpha {alpha} is not above 1"))?;
        Ok(Shape::Zipf(drawn).into())
    }

    /// One of these numbers, each as likely as the others.
    pub(super) fn one_of(values: Vec<f64>) -> Result<Self, String> {
        match values.is_empty() {
            true => Err("it has no number".to_owned()),
            false => Ok(Shape::OneOf(values.into()).into()),
        }
    }

    /// Draws what is above a bound as the bound.
    pub(super) fn at_most(self, max: f64) -> Result<Self, String> {
        above_0("max", max)?;
        Ok(Self { max, ..self })
    }

    /// Draws a number.
    pub(super) fn sample(&self, draw: &mut Draw) -> f64 {
        let drawn = match &self.shape {
            Shape::Constant(value) => *value,
            Shape::Uniform { low, high } => low + (high - low) * draw.fraction(),
            Shape::Normal(normal) => normal.sample(draw),
            Shape::LogNormal { logs, .. } => logs.sample(draw),
            Shape::Gamma { drawn, .. } => drawn.sample(draw),
            Shape::Exponential { drawn, .. } => drawn.sample(draw),
            Shape::Poisson { drawn, .. } => drawn.sample(draw),
            Shape::Zipf(drawn) => drawn.sample(draw),
            Shape::OneOf(values) => {
                let at = usize::try_from(draw.below(values.len() as u64));
                values[at.unwrap_or(0)]
            }
        };
        drawn.clamp(0.0, self.max)
    }

    /// Draws a whole number, at least `least`.
    pub(super) fn sample_count(&self, draw: &mut Draw, least: u32) -> u32 {
        let drawn = match self.shape {
            // Rounded, the first and the last would come half as often as the others.
            Shape::Uniform { low, high } if low.fract() == 0.0 && high.fract() == 0.0 => {
                let choices = u64::from(rounded(high - low)) + 1;
                let above = u32::try_from(draw.below(choices)).unwrap_or(0);
                rounded(low.min(self.max)).saturating_add(above)
            }
            _ => rounded(self.sample(draw)),
        };
        drawn.min(rounded(self.max)).max(least)
    }

    /// The mean of what is drawn: of a formula where nothing is cut, and otherwise of a few thousand
    /// draws.
    pub(super) fn mean(&self) -> f64 {
        let of_draws = || {
            let mut draw = Draw::new(0, 0, 0);
            let sum: f64 = (0..TRIALS).map(|_| self.sample(&mut draw)).sum();
            sum / f64::from(u32::try_from(TRIALS).unwrap_or(u32::MAX))
        };
        match &self.shape {
            _ if self.max < MAX => of_draws(),
            Shape::Constant(value) => *value,
            Shape::Uniform { low, high } => f64::midpoint(*low, *high),
            Shape::LogNormal { mean, .. }
            | Shape::Gamma { mean, .. }
            | Shape::Exponential { mean, .. }
            | Shape::Poisson { mean, .. } => *mean,
            Shape::Normal(_) | Shape::Zipf(_) | Shape::OneOf(_) => of_draws(),
        }
    }

    /// The mean as a whole number, at least `least`.
    pub(super) fn mean_count(&self, least: u32) -> u32 {
        rounded(self.mean()).max(least)
    }
}

fn above_0(name: &str, value: f64) -> Result<(), String> {
    match value > 0.0 {
        true => Ok(()),
        false => Err(format!("its {name} {value} is not above 0")),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers are cut at 0; the cast saturates"
)]
fn rounded(number: f64) -> u32 {
    number.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: u64 = 200_000;

    /// Mean and standard deviation of many draws.
    #[expect(clippy::cast_precision_loss, reason = "200,000 are exact in a double")]
    fn moments(of: &Distribution) -> (f64, f64) {
        let drawn: Vec<f64> = (0..COUNT)
            .map(|index| of.sample(&mut Draw::new(7, index, 1)))
            .collect();
        assert!(drawn.iter().all(|value| (0.0..=MAX).contains(value)));
        let mean = drawn.iter().sum::<f64>() / COUNT as f64;
        let squares = drawn.iter().map(|value| (value - mean).powi(2));
        (mean, (squares.sum::<f64>() / COUNT as f64).sqrt())
    }

    #[test]
    fn draws_have_the_mean_and_the_deviation_that_were_asked_for() {
        let of = [
            (Distribution::constant(5.0), 5.0, 0.0),
            (Distribution::uniform(10.0, 30.0).unwrap(), 20.0, 5.774),
            (Distribution::normal(100.0, 15.0).unwrap(), 100.0, 15.0),
            (Distribution::lognormal(100.0, 50.0).unwrap(), 100.0, 50.0),
            (Distribution::gamma(100.0, 50.0).unwrap(), 100.0, 50.0),
            (Distribution::gamma(2.0, 4.0).unwrap(), 2.0, 4.0),
            (Distribution::exponential(3.0).unwrap(), 3.0, 3.0),
            (Distribution::poisson(4.0).unwrap(), 4.0, 2.0),
            (Distribution::poisson(400.0).unwrap(), 400.0, 20.0),
            (
                Distribution::one_of(vec![1.0, 2.0, 6.0]).unwrap(),
                3.0,
                2.1602,
            ),
        ];
        for (distribution, wanted_mean, wanted_sd) in of {
            let (mean, sd) = moments(&distribution);
            let near = |is: f64, wanted: f64| (is - wanted).abs() <= 0.02 * wanted;
            assert!(near(mean, wanted_mean), "{distribution:?}: mean {mean}");
            assert!(near(sd, wanted_sd), "{distribution:?}: deviation {sd}");
            let said = distribution.mean();
            assert!((said - wanted_mean).abs() <= 0.05 * wanted_mean, "{said}");
        }
        // The sum of 1 / k^3 over that of 1 / k^4.
        let zipf = Distribution::zipf(4.0).unwrap();
        assert!((moments(&zipf).0 - 1.1106).abs() < 0.01);
        assert!((zipf.mean() - 1.1106).abs() < 0.05);
    }

    #[test]
    fn what_is_below_0_or_above_a_bound_is_cut() {
        let cut = Distribution::normal(0.0, 10.0).unwrap();
        let (mean, _) = moments(&cut);
        // 10 / sqrt(2 pi).
        assert!((mean - 3.989).abs() < 0.05, "{mean}");
        assert!((cut.mean() - mean).abs() < 0.5);
        let bounded = Distribution::exponential(10.0)
            .unwrap()
            .at_most(2.0)
            .unwrap();
        assert!(moments(&bounded).0 < 2.0 && bounded.mean() < 2.0);
        let endless = Distribution::zipf(1.01).unwrap();
        assert!(moments(&endless).0 <= MAX);
    }

    #[test]
    fn counts_are_rounded_and_whole_bounds_come_as_often_as_what_is_between() {
        let uniform = Distribution::uniform(2.0, 4.0).unwrap();
        let mut counts = [0_u32; 5];
        for index in 0..30_000 {
            let count = uniform.sample_count(&mut Draw::new(1, index, 1), 0);
            counts[usize::try_from(count).unwrap()] += 1;
        }
        // Five standard deviations of a binomial with n = 30,000 and p = 1/3.
        assert!(
            counts[2..].iter().all(|n| n.abs_diff(10_000) < 409),
            "{counts:?}"
        );
        let mut draw = Draw::new(1, 1, 1);
        let half = Distribution::constant(2.5);
        assert_eq!(half.sample_count(&mut draw, 1), 3);
        assert_eq!(half.sample_count(&mut draw, 8), 8);
        assert_eq!(half.mean_count(1), 3);
        let capped = Distribution::uniform(5.0, 9.0)
            .unwrap()
            .at_most(4.0)
            .unwrap();
        assert_eq!(capped.sample_count(&mut draw, 0), 4);
    }

    #[test]
    fn what_makes_no_sense_is_no_distribution() {
        let refused = [
            Distribution::uniform(9.0, 1.0),
            Distribution::lognormal(0.0, 1.0),
            Distribution::lognormal_of_logs(30.0, 1.0),
            Distribution::lognormal_of_logs(1.0, -1.0),
            Distribution::gamma(0.0, 1.0),
            Distribution::gamma(1e-300, 1e9),
            Distribution::exponential(0.0),
            Distribution::zipf(1.0),
            Distribution::one_of(Vec::new()),
            Distribution::constant(1.0).at_most(0.0),
        ];
        let messages: Vec<String> = refused.into_iter().map(|one| one.unwrap_err()).collect();
        insta::assert_snapshot!(messages.join("\n"), @"
        its lowest value 9 is above its highest 1
        its mean 0 is not above 0
        its mean is above 4294967295
        the standard deviation of its logarithms is below 0
        its mean 0 is not above 0
        its mean and its standard deviation are too far apart
        its mean 0 is not above 0
        its alpha 1 is not above 1
        it has no number
        its max 0 is not above 0
        ");
    }
}
