//! Arrival processes: constant, Poisson, gamma and Weibull gaps, at a steady or a rising rate.

use rand_distr::{Distribution, Exp1, Gamma};

use super::error::ScheduleError;
use super::kind::{Bounds, Due, Schedule, ScheduleKind};
use crate::draw::{Draw, field};
use crate::plan::{self, Arrivals, RampStrategy, RampUp};

/// Gaps that are drawn, at a steady or a rising rate.
pub(super) const DRAWN: ScheduleKind = ScheduleKind {
    flags: &[],
    open: |arrivals, bounds| Some(open(arrivals, bounds)),
};

fn open(arrivals: &Arrivals, bounds: Bounds) -> Result<Box<dyn Schedule>, ScheduleError> {
    let process = drawn(arrivals).ok_or(ScheduleError::NoRate)?;
    let ramp = match (&arrivals.ramp_up, arrivals.request_rate) {
        (Some(ramp), _) => Ramp::of_plan(ramp),
        (None, Some(rate)) => Ramp::Steady(rate),
        (None, None) => return Err(ScheduleError::NoRate),
    };
    let ends = (bounds.count, bounds.duration_ns);
    Ok(Box::new(ArrivalTimes::new(
        process,
        ramp,
        bounds.seed,
        ends,
    )?))
}

/// How a plan's gaps are drawn; none where they are not.
fn drawn(arrivals: &Arrivals) -> Option<Process> {
    let shape = arrivals.burstiness.unwrap_or(1.0);
    Some(match arrivals.process {
        plan::Process::Closed | plan::Process::Burst => return None,
        plan::Process::Constant => Process::Constant,
        plan::Process::Poisson => Process::Poisson,
        plan::Process::Gamma => Process::Gamma { shape },
        plan::Process::Weibull => Process::Weibull { shape },
    })
}

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

/// Along what a rate rises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RampAxis {
    /// Along time: half of the rise is done after half of the time.
    Time,
    /// Along the requests, as `vllm bench serve` does: half of the rise is done after half of the
    /// requests. In time, what rises by equal steps a request rises by equal factors, and what rises
    /// by equal factors a request rises like 1 / (time left).
    Requests,
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
        /// Along what it rises.
        axis: RampAxis,
        /// Rate at the start.
        from_per_s: f64,
        /// Rate at the end.
        to_per_s: f64,
    },
}

impl Ramp {
    fn of_plan(ramp: &RampUp) -> Self {
        use RampStrategy::{Exponential, ExponentialIndex, Linear, LinearIndex};
        Self::Rising {
            shape: match ramp.strategy {
                Linear | LinearIndex => RampShape::Linear,
                Exponential | ExponentialIndex => RampShape::Exponential,
            },
            axis: match ramp.strategy {
                Linear | Exponential => RampAxis::Time,
                LinearIndex | ExponentialIndex => RampAxis::Requests,
            },
            from_per_s: ramp.start_rps,
            to_per_s: ramp.end_rps,
        }
    }

    fn peak_per_s(self) -> f64 {
        match self {
            Self::Steady(per_s) => per_s,
            Self::Rising {
                from_per_s,
                to_per_s,
                ..
            } => from_per_s.max(to_per_s),
        }
    }
}

/// The gaps of a process, in units of their mean.
#[derive(Debug, Clone)]
pub(super) struct UnitGaps {
    process: Process,
    seed: u64,
    /// Mean of what is drawn, by which draws are divided.
    mean: f64,
}

fn positive(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

impl UnitGaps {
    fn new(process: Process, seed: u64) -> Result<Self, ScheduleError> {
        let mean = match process {
            Process::Constant | Process::Poisson => 1.0,
            Process::Gamma { shape } | Process::Weibull { shape } if !positive(shape) => {
                return Err(ScheduleError::Shape(shape));
            }
            Process::Gamma { shape } => shape,
            Process::Weibull { shape } => libm::tgamma(1.0 + 1.0 / shape),
        };
        if !positive(mean) {
            return Err(ScheduleError::Shape(mean));
        }
        Ok(Self {
            process,
            seed,
            mean,
        })
    }

    /// The gaps that a plan's arrivals ask for.
    pub(super) fn of_plan(arrivals: &Arrivals, seed: u64) -> Result<Self, ScheduleError> {
        Self::new(drawn(arrivals).ok_or(ScheduleError::NoRate)?, seed)
    }

    /// Draws gap number `index`.
    pub(super) fn gap(&self, index: u64) -> f64 {
        let mut draw = Draw::new(self.seed, index, field::ARRIVAL_GAP);
        let gap = match self.process {
            // The first arrival of an even schedule is at its start.
            Process::Constant => return if index == 0 { 0.0 } else { 1.0 },
            Process::Poisson => Exp1.sample(&mut draw),
            Process::Gamma { shape } => match Gamma::new(shape, 1.0) {
                Ok(gamma) => gamma.sample(&mut draw),
                Err(_) => self.mean,
            },
            Process::Weibull { shape } => {
                let unit: f64 = Exp1.sample(&mut draw);
                unit.powf(1.0 / shape)
            }
        };
        gap / self.mean
    }
}

/// The due times of a schedule, in order, in nanoseconds since its start.
#[derive(Debug, Clone)]
pub struct ArrivalTimes {
    gaps: UnitGaps,
    ramp: Ramp,
    count: Option<u64>,
    duration_ns: Option<i64>,
    next_index: u64,
    /// Sum of the gaps so far. Kept as a float of nanoseconds: exact to a nanosecond for 104 days.
    elapsed_ns: f64,
    /// Sum of the gaps so far, in units of their mean: arrivals at a rate of one.
    units: f64,
}

pub(super) const NS_PER_S: f64 = 1e9;

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
        let is_by_requests = matches!(
            ramp,
            Ramp::Rising {
                axis: RampAxis::Requests,
                ..
            }
        );
        if is_by_requests && count.is_none() {
            return Err(ScheduleError::UncountedRamp);
        }
        Ok(Self {
            gaps: UnitGaps::new(process, seed)?,
            ramp,
            count,
            duration_ns,
            next_index: 0,
            elapsed_ns: 0.0,
            units: 0.0,
        })
    }

    /// When arrival `index` is due, in nanoseconds since the start, if `gap` is the gap before it in
    /// units of the mean.
    fn due_ns(&self, index: u64, gap: f64) -> f64 {
        match self.ramp {
            Ramp::Steady(per_s) => self.elapsed_ns + gap * NS_PER_S / per_s,
            Ramp::Rising {
                shape,
                axis: RampAxis::Requests,
                from_per_s,
                to_per_s,
            } => {
                let progress = self.progress(index);
                let per_s = match shape {
                    RampShape::Linear => from_per_s + (to_per_s - from_per_s) * progress,
                    RampShape::Exponential => from_per_s * (to_per_s / from_per_s).powf(progress),
                };
                self.elapsed_ns + gap * NS_PER_S / per_s
            }
            Ramp::Rising {
                shape,
                axis: RampAxis::Time,
                from_per_s,
                to_per_s,
            } => {
                let ends = (from_per_s, to_per_s);
                shape.arrival_s(ends, self.ramp_s(shape, ends), self.units + gap) * NS_PER_S
            }
        }
    }

    /// How much of the requests is behind arrival `index`.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share needs no more than a float has"
    )]
    fn progress(&self, index: u64) -> f64 {
        let last = self.count.unwrap_or_default().saturating_sub(1).max(1);
        (index as f64 / last as f64).clamp(0.0, 1.0)
    }

    /// How long the rise takes, in seconds: as long as the number of requests needs, where there is
    /// one, else the whole duration.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a length needs no more than a float has"
    )]
    fn ramp_s(&self, shape: RampShape, ends: (f64, f64)) -> f64 {
        match (self.count, self.duration_ns) {
            (Some(count), _) => count as f64 / shape.mean_per_s(ends),
            (None, Some(duration_ns)) => duration_ns as f64 / NS_PER_S,
            (None, None) => 0.0,
        }
    }
}

impl RampShape {
    /// Mean over time of a rate that rises between these ends.
    fn mean_per_s(self, (from, to): (f64, f64)) -> f64 {
        let growth = (to / from).ln();
        match self {
            Self::Exponential if growth.abs() > 1e-9 => (to - from) / growth,
            Self::Linear | Self::Exponential => f64::midpoint(from, to),
        }
    }

    /// When `units` arrivals have come at a rate that rises between these ends within `ramp_s`
    /// seconds and then stays: the inverse of the rate's integral, in seconds.
    fn arrival_s(self, (from, to): (f64, f64), ramp_s: f64, units: f64) -> f64 {
        let within = units - self.mean_per_s((from, to)) * ramp_s;
        if within > 0.0 {
            return ramp_s + within / to;
        }
        let growth = (to / from).ln();
        match self {
            Self::Exponential if growth.abs() > 1e-9 => {
                ramp_s / growth * (units * growth / (from * ramp_s)).ln_1p()
            }
            Self::Linear | Self::Exponential => {
                // The form of the root that takes no difference of near equals.
                let slope = (to - from) / ramp_s;
                let root = (from * from + 2.0 * slope * units).max(0.0).sqrt();
                2.0 * units / (from + root)
            }
        }
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
        let gap = self.gaps.gap(index);
        let due_ns = self.due_ns(index, gap);
        let at_ns = due_ns.round() as i64;
        if self
            .duration_ns
            .is_some_and(|duration_ns| at_ns >= duration_ns)
        {
            return None;
        }
        self.elapsed_ns = due_ns;
        self.units += gap;
        self.next_index += 1;
        Some(at_ns)
    }
}

impl Schedule for ArrivalTimes {
    fn next_due(&mut self) -> Option<Due> {
        self.next().map(Due::At)
    }

    /// With times that end by themselves, the number is not known beforehand.
    fn known_count(&self) -> Option<u64> {
        self.count
    }

    fn peak_per_s(&self) -> f64 {
        self.ramp.peak_per_s()
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

    fn rising(shape: RampShape, axis: RampAxis, (from_per_s, to_per_s): (f64, f64)) -> Ramp {
        Ramp::Rising {
            shape,
            axis,
            from_per_s,
            to_per_s,
        }
    }

    /// The exact number of arrivals within `at_s` of a rate that rises along time for `ramp_s`.
    fn integral(shape: RampShape, (from, to): (f64, f64), ramp_s: f64, at_s: f64) -> f64 {
        match shape {
            RampShape::Linear => from * at_s + (to - from) * at_s * at_s / (2.0 * ramp_s),
            RampShape::Exponential => {
                let growth = (to / from).ln();
                from * ramp_s / growth * ((growth * at_s / ramp_s).exp() - 1.0)
            }
        }
    }

    #[test]
    fn arrivals_of_a_ramp_are_where_the_integral_of_its_rate_says() {
        for shape in [RampShape::Linear, RampShape::Exponential] {
            for ends in [(1.0, 100.0), (100.0, 1.0), (2.0, 3.0)] {
                let ramp = rising(shape, RampAxis::Time, ends);
                let mean = match shape {
                    RampShape::Linear => (ends.0 + ends.1) / 2.0,
                    RampShape::Exponential => (ends.1 - ends.0) / (ends.1 / ends.0).ln(),
                };
                for (bounds, ramp_s) in [
                    ((Some(1_000), None), 1_000.0 / mean),
                    ((None, Some(20_000_000_000)), 20.0),
                ] {
                    let times = ArrivalTimes::new(Process::Constant, ramp, 0, bounds).unwrap();
                    let times: Vec<i64> = times.collect();
                    let expected = bounds.0.map_or(mean * ramp_s, |count| count as f64);
                    assert!(
                        (times.len() as f64 - expected).abs() <= 1.0,
                        "{shape:?} {ends:?}"
                    );
                    for (index, at_ns) in times.iter().enumerate() {
                        let came = integral(shape, ends, ramp_s, *at_ns as f64 / NS_PER_S);
                        let off = (came - index as f64).abs();
                        // Times are whole nanoseconds.
                        assert!(
                            off < 1e-6,
                            "{shape:?} {ends:?}: {index} at {at_ns} ns: {came}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn random_arrivals_of_a_ramp_are_as_many_as_its_rate_says_in_every_part() {
        let ramp = rising(RampShape::Linear, RampAxis::Time, (10.0, 90.0));
        let bounds = (None, Some(10_000_000_000));
        let mut parts = [0.0; 10];
        for seed in 0..200 {
            let times = ArrivalTimes::new(Process::Poisson, ramp, seed, bounds).unwrap();
            for at_ns in times {
                parts[usize::try_from(at_ns / 1_000_000_000).unwrap()] += 1.0 / 200.0;
            }
        }
        for (second, came) in parts.into_iter().enumerate() {
            let expected = 14.0 + 8.0 * second as f64;
            assert!(
                (came - expected).abs() < 0.05 * expected + 0.5,
                "{second}: {came}"
            );
        }
    }

    /// The formulas of `_get_current_request_rate` in `vllm bench serve` 0.32.
    #[test]
    fn a_ramp_along_the_requests_is_that_of_vllm() {
        for shape in [RampShape::Linear, RampShape::Exponential] {
            let ramp = rising(shape, RampAxis::Requests, (1.0, 100.0));
            let times = ArrivalTimes::new(Process::Constant, ramp, 0, (Some(1_000), None));
            let times: Vec<i64> = times.unwrap().collect();
            for (index, pair) in (1_u32..).zip(times.windows(2)) {
                let progress = f64::from(index) / 999.0;
                let rate = match shape {
                    RampShape::Linear => 1.0 + 99.0 * progress,
                    RampShape::Exponential => 100_f64.powf(progress),
                };
                let gap_ns = (pair[1] - pair[0]) as f64;
                assert!((gap_ns - NS_PER_S / rate).abs() <= 1.0, "{shape:?} {index}");
            }
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
            axis: RampAxis::Time,
            from_per_s: 1.0,
            to_per_s: 2.0,
        };
        let endless = ArrivalTimes::new(Process::Poisson, ramp, 0, (None, None)).unwrap_err();
        assert_eq!(endless, ScheduleError::EndlessRamp);
        let ramp = rising(RampShape::Linear, RampAxis::Requests, (1.0, 2.0));
        let uncounted = ArrivalTimes::new(Process::Poisson, ramp, 0, (None, Some(1)));
        assert_eq!(uncounted.unwrap_err(), ScheduleError::UncountedRamp);
    }
}
