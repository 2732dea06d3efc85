//! The shape of a load: when its requests or sessions are due, and how many there are.

use super::args::{ArrivalsArg, LoadArgs, ShapeArgs};
use crate::error::Error;
use crate::plan::{Arrivals, Process, RampStrategy, RampUp, SessionReplies, SessionsPlan};
use crate::workload::dataset_kind;

/// Requests of a schedule that has neither a number nor a length.
const DEFAULT_NUM_PROMPTS: u64 = 1_000;

/// Sessions of a schedule that has neither, where conversations are made up.
const DEFAULT_NUM_SESSIONS: u64 = 100;

/// When what is due, and how much of it.
pub(super) struct Shape {
    pub(super) arrivals: Arrivals,
    pub(super) num_prompts: Option<u64>,
    pub(super) sessions: Option<SessionsPlan>,
}

impl Shape {
    /// Makes the shape of what was typed.
    ///
    /// # Errors
    ///
    /// Flags that contradict each other, or have no effect on the data set.
    pub(super) fn of(args: &LoadArgs) -> Result<Self, Error> {
        let dataset = &args.dataset.dataset;
        let kind = dataset_kind(&dataset.name);
        match kind.is_some_and(|kind| kind.conversations().is_some()) {
            true => Self::of_sessions(args),
            false => Self::of_requests(args),
        }
    }

    fn of_requests(args: &LoadArgs) -> Result<Self, Error> {
        if let Some(flag) = args.sessions.given() {
            return Err(Error::usage(
                format!(
                    "`{flag}` has no effect on the data set `{}`, whose requests belong to no session",
                    args.dataset.dataset.name
                ),
                "add `--dataset-name conversations`, or leave it out",
            ));
        }
        let limits = &args.common.limits;
        // A schedule of another kind ends by itself.
        let is_endless = limits.duration.is_none() && args.shape.own.options.is_empty();
        let num_prompts = args.shape.num_prompts;
        let num_prompts = num_prompts.or(is_endless.then_some(DEFAULT_NUM_PROMPTS));
        let rate = ("--request-rate", args.shape.request_rate);
        let arrivals = arrivals(&args.shape, rate, limits.max_concurrency)?;
        if arrivals.process == Process::Burst && num_prompts.is_none() {
            return Err(Error::usage(
                "all requests at once, without end",
                "give `--num-prompts`, a finite `--request-rate`, or `--max-concurrency`",
            ));
        }
        Ok(Self {
            arrivals,
            num_prompts,
            sessions: None,
        })
    }

    fn of_sessions(args: &LoadArgs) -> Result<Self, Error> {
        let limits = &args.common.limits;
        let num_prompts = args.shape.num_prompts;
        if args.shape.request_rate.is_finite() {
            return Err(Error::usage(
                "`--request-rate` has no effect on conversations, whose turns wait for the replies before \
                 them",
                "`--session-rate` says how many begin a second, `--think-time` how long users wait",
            ));
        }
        let rate = (
            "--session-rate",
            args.sessions.session_rate.unwrap_or(f64::INFINITY),
        );
        // Requests at once without a word on sessions: a user each, as in vLLM's multi-turn benchmark.
        let slots = args.sessions.max_sessions.or(limits.max_concurrency);
        let arrivals = arrivals(&args.shape, rate, slots)?;
        let is_endless = limits.duration.is_none() && num_prompts.is_none();
        let is_made_up = args.dataset.dataset.path.is_none();
        let num_sessions = args.sessions.num_sessions;
        let num_sessions =
            num_sessions.or((is_endless && is_made_up).then_some(DEFAULT_NUM_SESSIONS));
        if arrivals.process == Process::Burst && num_sessions.is_none() && !is_endless {
            return Err(Error::usage(
                "all sessions at once, without end",
                "give `--num-sessions`, a finite `--session-rate`, or `--max-sessions`",
            ));
        }
        let sessions = SessionsPlan {
            num_sessions,
            max_sessions: match arrivals.process {
                Process::Closed => slots,
                _ => args.sessions.max_sessions,
            },
            replies: args
                .sessions
                .session_replies
                .unwrap_or(SessionReplies::Live),
            on_failed_turn: args.sessions.on_failed_turn.unwrap_or_default(),
        };
        Ok(Self {
            arrivals,
            num_prompts,
            sessions: Some(sessions),
        })
    }
}

/// When requests or sessions are due: `rate` of them a second, or `slots` at once.
///
/// A cap without a finite rate is a closed loop, as in `vllm bench serve`.
fn arrivals(
    args: &ShapeArgs,
    (flag, rate): (&str, f64),
    slots: Option<u32>,
) -> Result<Arrivals, Error> {
    let has_rate = rate.is_finite();
    if args.ramp_up_strategy.is_some() && has_rate {
        return Err(Error::usage(
            format!("`--ramp-up-strategy` and a finite `{flag}` contradict each other"),
            "leave out one of them",
        ));
    }
    let options = args.own.options.clone();
    if let Some(name) = options.keys().next()
        && (has_rate || args.ramp_up_strategy.is_some())
    {
        let flag = name.replace('_', "-");
        return Err(Error::usage(
            format!("`--{flag}` and another rate contradict each other"),
            format!("leave out `{flag}` and `--ramp-up-strategy`, or this flag"),
        ));
    }
    let ramp_up = args.ramp_up_strategy.map(|strategy| RampUp {
        strategy,
        along: Some(match strategy {
            RampStrategy::Linear | RampStrategy::Exponential => "time".into(),
            RampStrategy::LinearIndex | RampStrategy::ExponentialIndex => "requests".into(),
        }),
        start_rps: args.ramp_up_start_rps.unwrap_or(0.0),
        end_rps: args.ramp_up_end_rps.unwrap_or(0.0),
    });
    let process = match args.arrivals {
        _ if ramp_up.is_none() && !has_rate && options.is_empty() => match slots {
            Some(_) => Process::Closed,
            None => Process::Burst,
        },
        Some(ArrivalsArg::Constant) => Process::Constant,
        Some(ArrivalsArg::Poisson) => Process::Poisson,
        Some(ArrivalsArg::Gamma) | None => Process::Gamma,
        Some(ArrivalsArg::Weibull) => Process::Weibull,
    };
    let has_shape = matches!(process, Process::Gamma | Process::Weibull);
    let is_rising = ramp_up.is_some();
    Ok(Arrivals {
        process,
        burstiness: has_shape.then_some(args.burstiness),
        request_rate: match process {
            Process::Closed => None,
            _ => Some(rate).filter(|_| !is_rising && options.is_empty()),
        },
        ramp_up,
        options,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{App, Verb};
    use super::*;
    use crate::plan::FailedTurn;

    fn shape(flags: &[&str]) -> Result<Shape, Error> {
        let words = ["tokentape", "load"].iter().chain(flags);
        let Verb::Load(args) = App::parse_from(words).verb else {
            panic!("not load")
        };
        Shape::of(&args)
    }

    fn process(shape: &Shape) -> Process {
        shape.arrivals.process
    }

    #[test]
    fn a_cap_without_a_finite_rate_is_a_closed_loop() {
        for flags in [
            &["--max-concurrency", "8"][..],
            &["--max-concurrency", "8", "--request-rate", "inf"],
        ] {
            let shape = shape(flags).unwrap();
            assert_eq!(process(&shape), Process::Closed);
            assert_eq!(shape.num_prompts, Some(1_000));
        }
    }

    #[test]
    fn a_cap_with_a_rate_stays_an_open_loop() {
        let shape = shape(&["--max-concurrency", "8", "--request-rate", "4"]).unwrap();
        assert_eq!(process(&shape), Process::Gamma);
        assert_eq!(shape.arrivals.request_rate, Some(4.0));
    }

    #[test]
    fn without_rate_and_cap_all_is_due_at_once_and_needs_a_number() {
        assert_eq!(process(&shape(&[]).unwrap()), Process::Burst);
        assert!(shape(&["--duration", "10s"]).is_err());
        let bounded = shape(&["--duration", "10s", "--num-prompts", "5"]).unwrap();
        assert_eq!(bounded.num_prompts, Some(5));
    }

    #[test]
    fn a_duration_alone_leaves_the_number_open() {
        let shape = shape(&["--duration", "10s", "--request-rate", "4/s"]).unwrap();
        assert_eq!(shape.num_prompts, None);
    }

    /// The shape of a load of conversations.
    fn sessions(flags: &[&str]) -> Result<(Shape, SessionsPlan), Error> {
        let flags = [&["--dataset-name", "conversations"], flags].concat();
        let shape = shape(&flags)?;
        let sessions = shape.sessions.clone().unwrap();
        Ok((shape, sessions))
    }

    #[test]
    fn sessions_fill_places_or_come_at_a_rate() {
        let (shape, plan) = sessions(&["--max-sessions", "8"]).unwrap();
        assert_eq!(
            (process(&shape), plan.max_sessions),
            (Process::Closed, Some(8))
        );
        assert_eq!(plan.num_sessions, Some(DEFAULT_NUM_SESSIONS));
        assert_eq!(plan.replies, SessionReplies::Live);
        // A user each, where requests at once are all that is said.
        let (shape, plan) = sessions(&["--max-concurrency", "4"]).unwrap();
        assert_eq!(
            (process(&shape), plan.max_sessions),
            (Process::Closed, Some(4))
        );
        let (shape, plan) = sessions(&["--session-rate", "2", "--max-sessions", "8"]).unwrap();
        assert_eq!(
            (process(&shape), plan.max_sessions),
            (Process::Gamma, Some(8))
        );
        assert_eq!(shape.arrivals.request_rate, Some(2.0));
        let (shape, plan) = sessions(&["--session-rate", "2", "--max-concurrency", "8"]).unwrap();
        assert_eq!((process(&shape), plan.max_sessions), (Process::Gamma, None));
        let words = ["--session-replies", "none", "--on-failed-turn", "retry"];
        let (_, plan) = sessions(&words).unwrap();
        assert_eq!(plan.replies, SessionReplies::None);
        assert_eq!(plan.on_failed_turn, FailedTurn::Retry);
    }

    #[test]
    fn a_length_of_the_run_leaves_the_number_of_sessions_open() {
        let of = |flags: &[&str]| {
            let flags = [&["--max-sessions", "2"], flags].concat();
            let (shape, plan) = sessions(&flags).unwrap();
            (shape.num_prompts, plan.num_sessions)
        };
        assert_eq!(of(&["--duration", "10s"]), (None, None));
        assert_eq!(of(&["--num-prompts", "7"]), (Some(7), None));
        assert_eq!(of(&["--num-sessions", "7"]), (None, Some(7)));
        // A file says how many conversations it has.
        assert_eq!(of(&["--dataset-path", "a.json"]), (None, None));
        assert!(
            sessions(&["--duration", "10s"]).is_err(),
            "all at once, without end"
        );
    }

    #[test]
    fn flags_of_requests_and_of_sessions_are_not_mixed_up() {
        let refused = |result: Result<Shape, Error>| result.map(|_| ()).unwrap_err().to_string();
        let rate = refused(sessions(&["--request-rate", "4"]).map(|(shape, _)| shape));
        assert!(rate.contains("`--request-rate`"), "{rate}");
        for flags in [
            ["--max-sessions", "4"],
            ["--session-rate", "4"],
            ["--on-failed-turn", "skip"],
        ] {
            let stray = refused(shape(&flags));
            assert!(
                stray.contains(flags[0]) && stray.contains("`random`"),
                "{stray}"
            );
        }
    }
}
