//! A rate that goes in steps: `--rate-steps 2/s:30s,8/s:30s,2/s:1m`.
//!
//! Arrivals are those of a process at a rate of one, at the times at which the integral of the rate
//! has come to them: what is drawn does not begin anew where a step does.

use super::error::ScheduleError;
use super::kind::{Bounds, Due, Schedule, ScheduleKind};
use super::process::{NS_PER_S, UnitGaps};
use crate::flag::{Flag, FlagKind};
use crate::plan::Arrivals;
use crate::units::{parse_positive_duration_ns, parse_rate_per_s, seconds};

/// Steps of a rate.
pub(super) const STEPS: ScheduleKind = ScheduleKind {
    flags: &[Flag {
        name: "rate-steps",
        value_name: "RATE:TIME,...",
        help: "Rates one after the other, each for its time: 2/s:30s,8/s:30s. Ends the load after \
               the last one; gaps are drawn as --arrivals says",
        kind: FlagKind::Text,
        default: None,
    }],
    open: |arrivals, bounds| {
        let text = arrivals.options.get("rate_steps")?;
        Some(Steps::new(
            text.as_str().unwrap_or_default(),
            arrivals,
            bounds,
        ))
    },
};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Step {
    per_s: f64,
    length_s: f64,
}

struct Steps {
    gaps: UnitGaps,
    steps: Vec<Step>,
    count: Option<u64>,
    duration_ns: Option<i64>,
    taken: u64,
    /// Arrivals so far, at a rate of one.
    units: f64,
}

impl Steps {
    #[expect(
        clippy::new_ret_no_self,
        reason = "a schedule is used as a trait object"
    )]
    fn new(
        text: &str,
        arrivals: &Arrivals,
        bounds: Bounds,
    ) -> Result<Box<dyn Schedule>, ScheduleError> {
        Ok(Box::new(Self {
            gaps: UnitGaps::of_plan(arrivals, bounds.seed)?,
            steps: parse(text).map_err(ScheduleError::Steps)?,
            count: bounds.count,
            duration_ns: bounds.duration_ns,
            taken: 0,
            units: 0.0,
        }))
    }

    /// When `units` arrivals have come, in seconds; none where the steps are over before.
    fn arrival_s(&self, units: f64) -> Option<f64> {
        let (mut at_s, mut left) = (0.0, units);
        for step in &self.steps {
            let in_step = step.per_s * step.length_s;
            if left < in_step {
                return Some(at_s + left / step.per_s);
            }
            left -= in_step;
            at_s += step.length_s;
        }
        None
    }
}

impl Schedule for Steps {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a float beyond the range saturates, and no run is that long"
    )]
    fn next_due(&mut self) -> Option<Due> {
        if self.count.is_some_and(|count| self.taken >= count) {
            return None;
        }
        let units = self.units + self.gaps.gap(self.taken);
        let at_ns = (self.arrival_s(units)? * NS_PER_S).round() as i64;
        if self.duration_ns.is_some_and(|end_ns| at_ns >= end_ns) {
            return None;
        }
        self.units = units;
        self.taken += 1;
        Some(Due::At(at_ns))
    }

    fn known_count(&self) -> Option<u64> {
        None
    }

    fn peak_per_s(&self) -> f64 {
        self.steps.iter().map(|step| step.per_s).fold(0.0, f64::max)
    }
}

fn parse(text: &str) -> Result<Vec<Step>, String> {
    let wrong = |part: &str, why: &str| {
        format!("`{part}` of the steps of the rate is not RATE:TIME, such as 2/s:30s: {why}")
    };
    let steps = text.split(',').map(str::trim).map(|part| {
        let (rate, time) = part
            .split_once(':')
            .ok_or_else(|| wrong(part, "it has no `:`"))?;
        let per_s = match rate.trim() {
            "0" | "0/s" => 0.0,
            rate => parse_rate_per_s(rate).map_err(|why| wrong(part, &why))?,
        };
        if !per_s.is_finite() {
            return Err(wrong(part, "the rate is infinite"));
        }
        let length = parse_positive_duration_ns(time.trim()).map_err(|why| wrong(part, &why))?;
        Ok(Step {
            per_s,
            length_s: seconds(length),
        })
    });
    let steps: Vec<Step> = steps.collect::<Result<_, _>>()?;
    if steps.iter().all(|step| step.per_s == 0.0) {
        return Err(wrong(text, "no step has a rate"));
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::plan::Process;
    use crate::schedule::schedule;

    fn due_ms(process: Process, steps: &str, bounds: Bounds) -> Vec<i64> {
        let arrivals = Arrivals {
            process,
            burstiness: None,
            request_rate: None,
            ramp_up: None,
            options: Map::from_iter([("rate_steps".to_owned(), json!(steps))]),
        };
        let mut schedule = schedule(&arrivals, bounds).unwrap();
        std::iter::from_fn(|| schedule.next_due()?.at_ns())
            .map(|at_ns| at_ns / 1_000_000)
            .collect()
    }

    #[test]
    fn each_step_has_its_rate_and_the_last_one_ends_the_schedule() {
        let constant = |steps, bounds| due_ms(Process::Constant, steps, bounds);
        let all = Bounds::default();
        assert_eq!(
            constant("2/s:1s,4/s:1s", all),
            [0, 500, 1_000, 1_250, 1_500, 1_750]
        );
        assert_eq!(
            constant("2/s:1s,0:10s, 2/s:1s", all),
            [0, 500, 11_000, 11_500],
            "a pause"
        );
        let bounded = Bounds {
            count: Some(2),
            ..all
        };
        assert_eq!(constant("2/s:1s,4/s:1s", bounded), [0, 500]);
        let short = Bounds {
            duration_ns: Some(1_300_000_000),
            ..all
        };
        assert_eq!(constant("2/s:1s,4/s:1s", short), [0, 500, 1_000, 1_250]);
    }

    #[test]
    fn poisson_arrivals_of_a_step_are_as_many_as_its_rate_says() {
        let due = due_ms(Process::Poisson, "100/s:100s,400/s:100s", Bounds::default());
        let first = due.iter().filter(|&&ms| ms < 100_000).count();
        let second = due.len() - first;
        // Five standard deviations of the counts.
        assert!(first.abs_diff(10_000) < 500 && second.abs_diff(40_000) < 1_000);
        assert!(due.is_sorted());
    }

    #[test]
    fn what_are_no_steps_is_refused() {
        for text in [
            "", "2/s", "2/s:0s", "x:1s", "inf:1s", "-1/s:1s", "0:5s", "2/s:1s,",
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains("RATE:TIME"), "{why}");
        }
    }
}
