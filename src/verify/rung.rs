//! One rung of the ladder: how many streams at once, how fast and how long, and the schedule that
//! makes them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Map;

use super::VerifyError;
use crate::plan::{Arrivals, Dataset, EMBEDDED_TOKENIZER, Loop, PlanLimits, Process, RunPlan};
use crate::units::seconds;

/// Time to the first token of the server that is started for this.
pub(crate) const TTFT_NS: i64 = 50_000_000;

/// Seed of prompts and arrivals: one whose random arrivals are near their mean from the first on.
pub(super) const SEED: u64 = 1_828;

/// Tokens of each prompt: small, because it is reading that is measured.
const PROMPT_TOKENS: u32 = 32;

/// Time that a request may take beyond the one that it should.
const SLACK_NS: i64 = 30_000_000_000;

/// Time that requests in flight have after Ctrl-C.
const DRAIN_NS: i64 = 5_000_000_000;

/// Greatest length of a stream, in nanoseconds.
const LONGEST_NS: i64 = 60_000_000_000;

/// Greatest length of a stream, in tokens: what a server's context holds.
const MOST_TOKENS: f64 = 100_000.0;

/// Tokens of one rung at most, so that its tape stays within memory when it is analysed.
const MOST_TOKENS_A_RUNG: f64 = 10_000_000.0;

/// A number of streams at once for a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rung {
    /// Streams at once: exactly, in a closed loop; on average, in an open one.
    pub(crate) streams: u32,
    /// Whether a stream begins when another ends, or at its own time.
    pub(crate) arrival_loop: Loop,
    /// Tokens a second of each stream.
    pub(crate) rate_per_s: f64,
    /// Length of each stream, in nanoseconds.
    pub(crate) length_ns: i64,
}

impl Rung {
    /// Fails where the rung would measure nothing, or never end.
    ///
    /// # Errors
    ///
    /// [`VerifyError::Rung`] names what would be right.
    pub(crate) fn check(&self) -> Result<(), VerifyError> {
        let refuse = |message: String, hint| Err(VerifyError::Rung { message, hint });
        let rate = self.rate_per_s;
        if !(0.1..=10_000.0).contains(&rate) {
            return refuse(
                format!("`--rate {rate}` is not from 0.1 to 10000 tokens/s"),
                "the usual rate of a stream is 20 to 200",
            );
        }
        if self.length_ns > LONGEST_NS {
            return refuse(
                format!("a stream of {} s is too long", seconds(self.length_ns)),
                "give `--duration` at most 60s",
            );
        }
        let tokens = self.tokens();
        if tokens < 2.0 {
            return refuse(
                "a stream of less than two tokens has no inter-token time".to_owned(),
                "raise `--duration` or `--rate`",
            );
        }
        if tokens > MOST_TOKENS || tokens * f64::from(self.streams) > MOST_TOKENS_A_RUNG / 2.0 {
            return refuse(
                format!(
                    "{} streams of {tokens} tokens are too many for one rung",
                    self.streams
                ),
                "lower `--streams`, `--rate` or `--duration`",
            );
        }
        Ok(())
    }

    /// Tokens of each stream, as a float that is whole.
    fn tokens(&self) -> f64 {
        (self.rate_per_s * seconds(self.length_ns)).round()
    }

    /// Tokens of each answer.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cast from a float saturates, and `check` has bounded it"
    )]
    pub(crate) fn output_tokens(&self) -> u32 {
        self.tokens() as u32
    }

    /// How long a request takes, where the server keeps to the rate: up to its last token.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from a float saturates, and `check` has bounded it"
    )]
    pub(crate) fn request_ns(&self) -> i64 {
        let flow_ns = (self.tokens() - 1.0).max(1.0) / self.rate_per_s * 1e9;
        TTFT_NS.saturating_add(flow_ns.round() as i64)
    }

    /// Tokens a second of all streams together, where the server keeps to the rate; the times to
    /// the first token are among them.
    pub(super) fn tokens_per_s(&self) -> f64 {
        f64::from(self.streams) * self.tokens() / seconds(self.request_ns())
    }

    /// Where the steady part may begin: in an open loop, when the first streams end.
    pub(super) fn warmup_ns(&self) -> i64 {
        match self.arrival_loop {
            Loop::Closed => 0,
            Loop::Open => self.request_ns(),
        }
    }

    /// The plan of the rung, but for where it is sent: in a closed loop all streams at once; in an
    /// open loop Poisson arrivals for the time of two requests, at the rate that has this many in
    /// flight on average.
    pub(super) fn plan(&self) -> RunPlan {
        let is_open = self.arrival_loop == Loop::Open;
        let rate = f64::from(self.streams) / seconds(self.request_ns());
        RunPlan {
            verb: Some("verify".into()),
            arrivals: Some(Arrivals {
                process: if is_open {
                    Process::Poisson
                } else {
                    Process::Closed
                },
                burstiness: None,
                request_rate: is_open.then_some(rate),
                ramp_up: None,
                options: Map::new(),
            }),
            num_prompts: (!is_open).then(|| u64::from(self.streams)),
            max_concurrency: (!is_open).then_some(self.streams),
            dataset: Some(Dataset {
                options: Map::from_iter([
                    ("random_input_len".to_owned(), PROMPT_TOKENS.into()),
                    ("random_output_len".to_owned(), self.output_tokens().into()),
                ]),
                ..Dataset::named("random")
            }),
            seed: Some(SEED),
            tokenizer: Some(EMBEDDED_TOKENIZER.into()),
            limits: PlanLimits {
                duration_ns: is_open.then(|| 2 * self.request_ns()),
                drain_ns: Some(DRAIN_NS),
                request_timeout_ns: Some(
                    self.request_ns().saturating_mul(5).saturating_add(SLACK_NS),
                ),
                idle_timeout_ns: Some(SLACK_NS),
                self_check_ns: Some(0),
                keep_going: true,
                ..PlanLimits::default()
            },
            keeps_text: Some(true),
            labels: BTreeMap::from([("streams".to_owned(), self.streams.to_string())]),
            ..RunPlan::default()
        }
    }

    /// The name of the loop, as it is typed.
    pub(crate) fn loop_name(&self) -> &'static str {
        match self.arrival_loop {
            Loop::Closed => "closed",
            Loop::Open => "open",
        }
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            streams,
            rate_per_s,
            ..
        } = self;
        let plural = if *streams == 1 { "" } else { "s" };
        write!(
            out,
            "{} loop, {streams} stream{plural} x {rate_per_s} tokens/s",
            self.loop_name()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{self, ArrivalTimes, Ramp};

    const SECOND_NS: i64 = 1_000_000_000;

    fn rung(streams: u32, arrival_loop: Loop) -> Rung {
        Rung {
            streams,
            arrival_loop,
            rate_per_s: 100.0,
            length_ns: SECOND_NS,
        }
    }

    fn arrivals(rung: &Rung) -> Vec<i64> {
        let plan = rung.plan();
        let arrivals = plan.arrivals.unwrap();
        assert_eq!(arrivals.process, Process::Poisson);
        let rate = Ramp::Steady(arrivals.request_rate.unwrap());
        let bounds = (plan.num_prompts, plan.limits.duration_ns);
        let times = ArrivalTimes::new(schedule::Process::Poisson, rate, SEED, bounds);
        times.unwrap().collect()
    }

    #[test]
    fn a_stream_is_as_long_as_the_rung() {
        let rung = rung(1, Loop::Closed);
        assert_eq!(rung.output_tokens(), 100);
        // 50 ms to the first token, then 99 gaps of 10 ms.
        assert_eq!(rung.request_ns(), 1_040_000_000);
        assert!((rung.tokens_per_s() - 100.0 / 1.04).abs() < 1e-9);
        assert_eq!(rung.to_string(), "closed loop, 1 stream x 100 tokens/s");
    }

    #[test]
    fn a_closed_loop_starts_all_streams_at_once() {
        let rung = rung(10, Loop::Closed);
        let plan = rung.plan();
        assert_eq!(plan.arrivals.unwrap().process, Process::Closed);
        assert_eq!(
            (plan.max_concurrency, plan.num_prompts),
            (Some(10), Some(10))
        );
    }

    #[test]
    fn an_open_loop_keeps_its_streams_in_flight_on_average() {
        for streams in [1_u32, 10, 100, 1_000] {
            let rung = rung(streams, Loop::Open);
            assert_eq!(rung.plan().max_concurrency, None);
            let arrivals = arrivals(&rung);
            assert!(!arrivals.is_empty());
            // In flight at an instant of the steady part are those of the request time before it.
            let steady = rung.warmup_ns()..2 * rung.request_ns();
            let step = SECOND_NS / 100;
            let instants: Vec<i64> = (0..)
                .map(|k| steady.start + k * step)
                .take_while(|at| *at < steady.end)
                .collect();
            let in_flight = instants.iter().map(|at| {
                let begun = arrivals
                    .iter()
                    .filter(|due| (at - rung.request_ns()..*at).contains(*due));
                begun.count()
            });
            let mean = in_flight.sum::<usize>() / instants.len();
            let wanted = usize::try_from(streams).unwrap();
            assert!(
                mean.abs_diff(wanted) <= wanted / 10 + 1,
                "{mean} of {wanted}"
            );
        }
        assert_eq!(arrivals(&rung(1, Loop::Open)).len(), 2);
    }

    #[test]
    fn a_rung_that_measures_nothing_or_never_ends_is_refused() {
        let good = rung(1_000, Loop::Open);
        good.check().unwrap();
        for (bad, said) in [
            (
                Rung {
                    rate_per_s: 0.0,
                    ..good
                },
                "--rate 0",
            ),
            (
                Rung {
                    rate_per_s: f64::NAN,
                    ..good
                },
                "--rate NaN",
            ),
            (
                Rung {
                    length_ns: 61 * SECOND_NS,
                    ..good
                },
                "61 s",
            ),
            (
                Rung {
                    length_ns: SECOND_NS / 100,
                    ..good
                },
                "less than two tokens",
            ),
            (
                Rung {
                    length_ns: 60 * SECOND_NS,
                    ..good
                },
                "1000 streams of 6000 tokens",
            ),
        ] {
            let error = bad.check().unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
