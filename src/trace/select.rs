//! Which rows of a trace are taken: pure functions of a row.

use crate::draw::{Draw, field, hash_text};
use crate::plan::Ties;

use super::error::TraceError;

/// What to take from a trace, and how fast.
#[derive(Debug, Clone, PartialEq)]
pub struct Selection {
    /// Start of the window, in nanoseconds of trace time since the first arrival.
    pub from_ns: i64,
    /// Length of the window, in nanoseconds of trace time; none for the rest of the trace.
    pub for_ns: Option<i64>,
    /// Trace time that passes in one unit of real time.
    pub speed: f64,
    /// Most rows to take.
    pub limit: Option<u64>,
    /// Share of the sessions to take, above 0 and up to 1.
    pub sample: Option<f64>,
    /// Seed that chooses the sessions.
    pub seed: u64,
    /// Whether rows that the trace marks as failed are taken too.
    pub keeps_failed: bool,
    /// What becomes of rows with equal times.
    pub ties: Ties,
    /// Longest time without an arrival, and longest pause of a session, in nanoseconds of trace time;
    /// what is longer is cut to it.
    pub max_idle_ns: Option<i64>,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            from_ns: 0,
            for_ns: None,
            speed: 1.0,
            limit: None,
            sample: None,
            seed: 0,
            keeps_failed: false,
            ties: Ties::Keep,
            max_idle_ns: None,
        }
    }
}

/// Where a row stands relative to the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Before the window.
    Before,
    /// Inside, so many nanoseconds of trace time after the window's start.
    Inside(i64),
    /// After the window, as all later rows.
    After,
}

impl Selection {
    /// Fails where a value makes no sense.
    pub(super) fn check(&self) -> Result<(), TraceError> {
        let wrong = |message: String| Err(TraceError::Selection { message });
        if !(self.speed.is_finite() && self.speed > 0.0) {
            return wrong(format!("`--speed {}` is not above 0", self.speed));
        }
        if let Some(sample) = self.sample.filter(|&share| !(share > 0.0 && share <= 1.0)) {
            return wrong(format!("`--sample {sample}` is not above 0 and up to 1"));
        }
        if self.from_ns < 0 {
            return wrong("`--from` lies before the trace".to_owned());
        }
        if self.for_ns.is_some_and(|length| length <= 0) {
            return wrong("`--for` is not above 0".to_owned());
        }
        if self.max_idle_ns.is_some_and(|longest| longest < 0) {
            return wrong("`--max-idle` is below 0".to_owned());
        }
        Ok(())
    }

    /// Places a row by its time since the first arrival.
    pub(super) fn position(&self, since_first_ns: i64) -> Position {
        let Some(inside_ns) = since_first_ns
            .checked_sub(self.from_ns)
            .filter(|&inside_ns| inside_ns >= 0)
        else {
            return Position::Before;
        };
        if self.for_ns.is_some_and(|length| inside_ns >= length) {
            return Position::After;
        }
        Position::Inside(inside_ns)
    }

    /// Returns whether a row is in the sample.
    ///
    /// All rows of a session are, or none. A row without one is a session of its own, known by its
    /// place in the file, so that other flags don't change the choice.
    pub(super) fn is_sampled(&self, session_id: Option<&str>, place_in_file: u64) -> bool {
        let Some(share) = self.sample else {
            return true;
        };
        // Two hash families, so that row 7 and a session called by the hash of 7 don't meet.
        let mut draw = match session_id {
            Some(session) => Draw::new(self.seed, hash_text(session), field::SAMPLE),
            None => Draw::new(!self.seed, place_in_file, field::SAMPLE),
        };
        draw.fraction() < share
    }
}

#[cfg(test)]
mod tests {
    use super::{Position, Selection};

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_window_is_in_trace_time() {
        let selection = Selection {
            from_ns: 10 * SECOND,
            for_ns: Some(5 * SECOND),
            speed: 2.0,
            ..Selection::default()
        };
        assert_eq!(selection.position(10 * SECOND - 1), Position::Before);
        assert_eq!(selection.position(10 * SECOND), Position::Inside(0));
        assert_eq!(
            selection.position(12 * SECOND),
            Position::Inside(2 * SECOND)
        );
        assert_eq!(
            selection.position(15 * SECOND - 2),
            Position::Inside(5 * SECOND - 2)
        );
        assert_eq!(selection.position(15 * SECOND), Position::After);
    }

    #[test]
    fn speed_one_keeps_every_nanosecond_of_years() {
        let selection = Selection::default();
        let years = 9_007_199_254_740_993;
        assert_eq!(selection.position(years), Position::Inside(years));
    }

    #[test]
    fn a_session_is_taken_whole_or_not_at_all() {
        let selection = Selection {
            sample: Some(0.5),
            seed: 1,
            ..Selection::default()
        };
        for session in ["a", "b", "c", "d"] {
            let first = selection.is_sampled(Some(session), 0);
            assert!((1..100).all(|row| selection.is_sampled(Some(session), row) == first));
        }
    }

    #[test]
    fn a_sample_has_about_the_share_that_was_asked_for() {
        let selection = Selection {
            sample: Some(0.1),
            ..Selection::default()
        };
        let rows = (0..10_000)
            .filter(|&row| selection.is_sampled(None, row))
            .count();
        let sessions = (0..10_000)
            .filter(|&row| selection.is_sampled(Some(&format!("session {row}")), 0))
            .count();
        // Five standard deviations of a binomial with n = 10,000 and p = 0.1.
        assert!(rows.abs_diff(1000) < 150, "{rows}");
        assert!(sessions.abs_diff(1000) < 150, "{sessions}");
    }

    #[test]
    fn a_larger_sample_holds_the_smaller_one() {
        let small = Selection {
            sample: Some(0.2),
            ..Selection::default()
        };
        let large = Selection {
            sample: Some(0.6),
            ..Selection::default()
        };
        assert!((0..1000).all(|row| !small.is_sampled(None, row) || large.is_sampled(None, row)));
    }

    #[test]
    fn senseless_values_are_refused() {
        let wrong = [
            Selection {
                speed: 0.0,
                ..Selection::default()
            },
            Selection {
                speed: f64::NAN,
                ..Selection::default()
            },
            Selection {
                sample: Some(0.0),
                ..Selection::default()
            },
            Selection {
                sample: Some(1.5),
                ..Selection::default()
            },
            Selection {
                from_ns: -1,
                ..Selection::default()
            },
            Selection {
                for_ns: Some(0),
                ..Selection::default()
            },
        ];
        assert!(wrong.iter().all(|selection| selection.check().is_err()));
        assert!(Selection::default().check().is_ok());
    }
}
