//! Arrival processes: constant, Poisson, gamma and Weibull gaps, at a steady or a rising rate.

use rand_distr::{Distribution, Exp1, Gamma};

use crate::draw::{Draw, field};

/// How the gaps between arrivals are distributed around their mean, which is one over the rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Process {
    /// Every gap is the mean; the first arrival is at 0.
    Constant,
    /// Exponential gaps: a true Poisson process, whose total is not rescaled to fit a length.
    Poisson,
    /// Gamma gaps. A shape below 1 is burstier than Poisson, 1 is Poisson, above 1 is smoother;
    /// the coefficient of variation is `shape^-0.5` (the `--burstiness` of `vllm bench serve`).
    Gamma {
        /// Shape of the distribution, above 0.
        shape: f64,
    },
    /// Weibull gaps, with the same sense of the shape.
    Weibull {
        /// Shape of the distribution, above 0.
        shape: f64,
    },
}

/// How a rate rises over a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RampShape {
    /// By equal steps.
    Linear,
    /// By equal factors.
    Exponential,
}

/// A rate, steady or rising.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Ramp {
    /// The same rate all along, in requests a second.
    Steady(f64),
    /// From one rate to another over the run, in requests a second.
    Rising {
        /// How it rises.
        shape: RampShape,
        /// Rate at the start.
        from_per_s: f64,
        /// Rate at the end.
        to_per_s: f64,
    },
}

/// Why a schedule can't be made.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum ScheduleError {
    /// A rate must be a positive number.
    #[error("a request rate of {0} is not a positive number")]
    Rate(f64),
    /// A shape must be a positive number.
    #[error("a burstiness of {0} is not a positive number")]
    Shape(f64),
    /// A rising rate needs an end.
    #[error("a ramp needs `--num-prompts` or `--duration` to know where it ends")]
    EndlessRamp,
}

/// The due times of a schedule, in order, in nanoseconds since its start.
#[derive(Debug, Clone)]
pub struct ArrivalTimes {
    process: Process,
    ramp: Ramp,
    seed: u64,
    /// Mean of a unit gap, by which draws are divided.
    unit_mean: f64,
    count: Option<u64>,
    duration_ns: Option<i64>,
    next_index: u64,
    /// Sum of the gaps so far. Kept as a float of nanoseconds: exact to a nanosecond for 104 days.
    elapsed_ns: f64,
}

const NS_PER_S: f64 = 1e9;

impl ArrivalTimes {
    /// Makes a schedule of at most `count` arrivals before `duration_ns`, without end where both
    /// are `None`.
    ///
    /// # Errors
    ///
    /// [`ScheduleError`] for a rate or a shape that is not positive and finite, and for a ramp
    /// without an end.
    pub fn new(
        process: Process,
        ramp: Ramp,
        seed: u64,
        (count, duration_ns): (Option<u64>, Option<i64>),
    ) -> Result<Self, ScheduleError> {
        let positive = |value: f64| value.is_finite() && value > 0.0;
        let rates = match ramp {
            Ramp::Steady(rate) => vec![rate],
            Ramp::Rising {
                from_per_s,
                to_per_s,
                ..
            } => vec![from_per_s, to_per_s],
        };
        if let Some(rate) = rates.into_iter().find(|rate| !positive(*rate)) {
            return Err(ScheduleError::Rate(rate));
        }
        if matches!(ramp, Ramp::Rising { .. }) && count.is_none() && duration_ns.is_none() {
            return Err(ScheduleError::EndlessRamp);
        }
        let unit_mean = match process {
            Process::Constant | Process::Poisson => 1.0,
            Process::Gamma { shape } | Process::Weibull { shape } if !positive(shape) => {
                return Err(ScheduleError::Shape(shape));
            }
            Process::Gamma { shape } => shape,
            Process::Weibull { shape } => libm::tgamma(1.0 + 1.0 / shape),
        };
        if !positive(unit_mean) {
            return Err(ScheduleError::Shape(unit_mean));
        }
        Ok(Self {
            process,
            ramp,
            seed,
            unit_mean,
            count,
            duration_ns,
            next_index: 0,
            elapsed_ns: 0.0,
        })
    }

    /// Draws gap number `index` in units of its mean.
    fn unit_gap(&self, index: u64) -> f64 {
        let mut draw = Draw::new(self.seed, index, field::ARRIVAL_GAP);
        let gap = match self.process {
            // The first arrival of an even schedule is at its start.
            Process::Constant => return if index == 0 { 0.0 } else { 1.0 },
            Process::Poisson => Exp1.sample(&mut draw),
            Process::Gamma { shape } => match Gamma::new(shape, 1.0) {
                Ok(gamma) => gamma.sample(&mut draw),
                Err(_) => self.unit_mean,
            },
            Process::Weibull { shape } => {
                let unit: f64 = Exp1.sample(&mut draw);
                unit.powf(1.0 / shape)
            }
        };
        gap / self.unit_mean
    }

    /// The rate that gap number `index` is drawn at.
    fn rate_per_s(&self, index: u64) -> f64 {
        match self.ramp {
            Ramp::Steady(rate) => rate,
            Ramp::Rising {
                shape,
                from_per_s,
                to_per_s,
            } => {
                let progress = self.progress(index);
                match shape {
                    RampShape::Linear => from_per_s + (to_per_s - from_per_s) * progress,
                    RampShape::Exponential => from_per_s * (to_per_s / from_per_s).powf(progress),
                }
            }
        }
    }

    /// How much of the run is behind arrival `index`: by number where there is one, else by time.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share needs no more than a float has"
    )]
    fn progress(&self, index: u64) -> f64 {
        let share = match (self.count, self.duration_ns) {
            (Some(count), _) => index as f64 / count.saturating_sub(1).max(1) as f64,
            (None, Some(duration_ns)) => self.elapsed_ns / duration_ns.max(1) as f64,
            (None, None) => 0.0,
        };
        share.clamp(0.0, 1.0)
    }
}

impl Iterator for ArrivalTimes {
    type Item = i64;

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float beyond the range saturates, and no run is that long"
    )]
    fn next(&mut self) -> Option<i64> {
        let index = self.next_index;
        if self.count.is_some_and(|count| index >= count) {
            return None;
        }
        let gap_ns = self.unit_gap(index) * NS_PER_S / self.rate_per_s(index);
        let at_ns = (self.elapsed_ns + gap_ns).round() as i64;
        if self
            .duration_ns
            .is_some_and(|duration_ns| at_ns >= duration_ns)
        {
            return None;
        }
        self.elapsed_ns += gap_ns;
        self.next_index += 1;
        Some(at_ns)
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "statistics of small samples")]
mod tests {
    use super::*;

    fn times(process: Process, rate: f64, count: u64) -> Vec<i64> {
        ArrivalTimes::new(process, Ramp::Steady(rate), 42, (Some(count), None))
            .unwrap()
            .collect()
    }

    /// Mean and coefficient of variation of the gaps, in seconds.
    fn gap_statistics(times: &[i64]) -> (f64, f64) {
        let gaps: Vec<f64> = times
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) as f64 / NS_PER_S)
            .collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        (mean, variance.sqrt() / mean)
    }

    #[test]
    fn constant_arrivals_are_multiples_of_the_gap_and_start_at_zero() {
        assert_eq!(
            times(Process::Constant, 4.0, 4),
            [0, 250_000_000, 500_000_000, 750_000_000]
        );
    }

    #[test]
    fn every_process_has_the_mean_and_the_variation_that_its_shape_says() {
        let weibull_cv = {
            let (one, two) = (libm::tgamma(1.0 + 1.0 / 0.7), libm::tgamma(1.0 + 2.0 / 0.7));
            (two / (one * one) - 1.0).sqrt()
        };
        for (process, cv) in [
            (Process::Poisson, 1.0),
            (Process::Gamma { shape: 1.0 }, 1.0),
            (Process::Gamma { shape: 0.25 }, 2.0),
            (Process::Gamma { shape: 4.0 }, 0.5),
            (Process::Weibull { shape: 0.7 }, weibull_cv),
        ] {
            let (mean, measured_cv) = gap_statistics(&times(process, 50.0, 200_000));
            assert!(
                (mean * 50.0 - 1.0).abs() < 0.03,
                "{process:?}: mean gap {mean}"
            );
            assert!(
                (measured_cv / cv - 1.0).abs() < 0.05,
                "{process:?}: CV {measured_cv}"
            );
        }
    }

    #[test]
    fn poisson_counts_vary_as_a_poisson_process_does() {
        // A process that is rescaled to its length would always have the same count; a true one
        // has a variance of the count equal to its mean.
        let counts: Vec<f64> = (0..400)
            .map(|seed| {
                ArrivalTimes::new(
                    Process::Poisson,
                    Ramp::Steady(20.0),
                    seed,
                    (None, Some(5_000_000_000)),
                )
                .unwrap()
                .count() as f64
            })
            .collect();
        let mean = counts.iter().sum::<f64>() / 400.0;
        let variance = counts
            .iter()
            .map(|count| (count - mean).powi(2))
            .sum::<f64>()
            / 400.0;
        assert!((mean - 100.0).abs() < 2.5, "mean {mean}");
        assert!(
            (0.75..1.3).contains(&(variance / mean)),
            "dispersion {}",
            variance / mean
        );
    }

    #[test]
    fn a_longer_schedule_begins_like_a_shorter_one() {
        let short = times(Process::Gamma { shape: 0.5 }, 10.0, 100);
        let long = times(Process::Gamma { shape: 0.5 }, 10.0, 1_000);
        assert_eq!(short, long[..100]);
    }

    #[test]
    fn a_duration_ends_the_schedule_before_it() {
        let times: Vec<i64> = ArrivalTimes::new(
            Process::Constant,
            Ramp::Steady(10.0),
            0,
            (None, Some(1_000_000_000)),
        )
        .unwrap()
        .collect();
        assert_eq!(times.len(), 10);
        assert_eq!(times.last(), Some(&900_000_000));
    }

    #[test]
    fn a_ramp_rises_from_one_rate_to_the_other() {
        for shape in [RampShape::Linear, RampShape::Exponential] {
            let ramp = Ramp::Rising {
                shape,
                from_per_s: 1.0,
                to_per_s: 100.0,
            };
            let times: Vec<i64> =
                ArrivalTimes::new(Process::Constant, ramp, 0, (Some(1_000), None))
                    .unwrap()
                    .collect();
            let first = times[1] - times[0];
            let last = times[999] - times[998];
            assert!(
                (900_000_000..=1_000_000_000).contains(&first),
                "{shape:?}: {first}"
            );
            assert_eq!(last, 10_000_000, "{shape:?}");
        }
    }

    #[test]
    fn rates_and_shapes_must_be_positive() {
        let new = |process, ramp| ArrivalTimes::new(process, ramp, 0, (Some(1), None)).unwrap_err();
        assert_eq!(
            new(Process::Poisson, Ramp::Steady(0.0)),
            ScheduleError::Rate(0.0)
        );
        assert_eq!(
            new(Process::Gamma { shape: -1.0 }, Ramp::Steady(1.0)),
            ScheduleError::Shape(-1.0)
        );
        let ramp = Ramp::Rising {
            shape: RampShape::Linear,
            from_per_s: 1.0,
            to_per_s: 2.0,
        };
        let endless = ArrivalTimes::new(Process::Poisson, ramp, 0, (None, None)).unwrap_err();
        assert_eq!(endless, ScheduleError::EndlessRamp);
    }
}
