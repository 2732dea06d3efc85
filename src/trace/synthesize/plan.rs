//! What to make of a trace: factors, windows and copies, checked and made definite.

use super::copies::{Copies, shifts_ns};
use crate::trace::TraceError;

/// Largest factor of the rate: each copy of a row costs as much as reading one.
const RATE_SCALE_MAX: f64 = 10_000.0;
/// Largest factor of a length.
const LENGTH_SCALE_MAX: f64 = 1_000.0;

const SECOND_NS: i64 = 1_000_000_000;
/// Time from one copy to the next: longer than the bursts of the traces it was tried on.
const COPY_SHIFT_NS: i64 = 60 * SECOND_NS;
/// Most time from the first copy to the last, by default: a rate changes slowly against it.
const ALL_SHIFTS_NS: i64 = 3600 * SECOND_NS;
/// The same as a part of the trace.
const TRACE_PER_ALL_SHIFTS: i64 = 10;

/// A stretch of a trace, in nanoseconds since its first arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it begins.
    pub from_ns: i64,
    /// Where it has ended; none for the end of the trace.
    pub to_ns: Option<i64>,
}

/// What is changed about a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Requests of the output for one of the trace.
    pub rate_scale: f64,
    /// Time from one copy of a session to the next, in nanoseconds; none to choose it by the trace.
    pub copy_shift_ns: Option<i64>,
    /// Input tokens of the output for one of the trace.
    pub input_scale: f64,
    /// Output tokens of the output for one of the trace.
    pub output_scale: f64,
    /// Stretches to take, one behind the other; none for all of the trace.
    pub windows: Vec<Window>,
    /// Seed of every draw.
    pub seed: u64,
}

impl Default for Changes {
    fn default() -> Self {
        Self {
            rate_scale: 1.0,
            copy_shift_ns: None,
            input_scale: 1.0,
            output_scale: 1.0,
            windows: Vec::new(),
            seed: 0,
        }
    }
}

impl Changes {
    /// Fails where a value makes no sense.
    pub(super) fn check(&self) -> Result<(), TraceError> {
        let factors = [
            ("--rate-scale", self.rate_scale, RATE_SCALE_MAX),
            ("--input-scale", self.input_scale, LENGTH_SCALE_MAX),
            ("--output-scale", self.output_scale, LENGTH_SCALE_MAX),
        ];
        for (flag, factor, most) in factors {
            // Not a number is neither.
            if !(factor > 0.0 && factor <= most) {
                return wrong(format!("`{flag} {factor}` is not above 0 and up to {most}"));
            }
        }
        if self.copy_shift_ns.is_some_and(|shift_ns| shift_ns <= 0) {
            return wrong("`--copy-shift` is not above 0".to_owned());
        }
        let mut sorted = self.windows.clone();
        sorted.sort_by_key(|window| window.from_ns);
        for window in &sorted {
            if window.from_ns < 0 || window.to_ns.is_some_and(|to_ns| to_ns <= window.from_ns) {
                return wrong(format!("`--window {}` is empty", name(*window)));
            }
        }
        for pair in sorted.windows(2) {
            let [one, two] = pair else { continue };
            if one.to_ns.is_none_or(|to_ns| two.from_ns < to_ns) {
                return wrong(format!(
                    "`--window {}` and `--window {}` overlap, which would take requests twice",
                    name(*one),
                    name(*two)
                ));
            }
        }
        Ok(())
    }

    /// Says what is made of a trace of that length.
    pub(super) fn plan(&self, trace: Span) -> Result<Plan, TraceError> {
        let copies = Copies::of(self.rate_scale, self.seed);
        let (windows, length_ns) = splice(&self.windows, trace.length_ns)?;
        let shift_ns = self.copy_shift_ns.unwrap_or_else(|| {
            let all_ns = ALL_SHIFTS_NS.min(length_ns / TRACE_PER_ALL_SHIFTS);
            COPY_SHIFT_NS.min(all_ns / i64::from(copies.count))
        });
        let shifts_ns = shifts_ns(copies.count, shift_ns, self.seed);
        if let Some(&longest_ns) = shifts_ns.last().filter(|&&last| last >= length_ns) {
            return wrong(format!(
                "the last of {} copies would be shifted by {} s, and all that is taken of the \
                 trace is {} s long",
                copies.count,
                crate::units::seconds(longest_ns),
                crate::units::seconds(length_ns)
            ));
        }
        Ok(Plan {
            copies,
            shift_ns,
            shifts_ns,
            windows,
            zero_ns: trace.zero_ns,
            length_ns,
        })
    }
}

/// When a trace begins and how long it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Its first arrival, on its own clock.
    pub(super) zero_ns: i64,
    /// Time from there to after its last arrival; at least 1.
    pub(super) length_ns: i64,
}

/// What is made of a trace, in terms of its time since the first arrival.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    /// How often each session is taken.
    pub(super) copies: Copies,
    /// Time from one copy to the next, on average.
    pub(super) shift_ns: i64,
    /// How much later each copy is; the first one is not.
    pub(super) shifts_ns: Vec<i64>,
    /// The first arrival of the trace, which the output begins at too.
    pub(super) zero_ns: i64,
    /// Length of all windows together.
    pub(super) length_ns: i64,
    windows: Vec<Spliced>,
}

/// A window and where it comes to stand.
#[derive(Debug, Clone, Copy)]
struct Spliced {
    from_ns: i64,
    to_ns: i64,
    at_ns: i64,
}

impl Plan {
    /// Returns the number of the window that a time is in, and where that time comes to stand.
    pub(super) fn place(&self, since_zero_ns: i64) -> Option<(u32, i64)> {
        (0..)
            .zip(&self.windows)
            .find(|(_, window)| (window.from_ns..window.to_ns).contains(&since_zero_ns))
            .map(|(number, window)| (number, window.at_ns + (since_zero_ns - window.from_ns)))
    }

    /// Returns where a time comes to stand in a copy, and whether that is past the turn.
    ///
    /// What would come after the end comes as much after the start: a copy is turned round the
    /// trace, so that it is nowhere thinner than the trace, and no longer.
    pub(super) fn turned(&self, copy: u32, at_ns: i64) -> (i64, bool) {
        let copy = usize::try_from(copy).unwrap_or(usize::MAX);
        let shift_ns = self.shifts_ns.get(copy).copied().unwrap_or(0);
        let shifted_ns = at_ns.saturating_add(shift_ns);
        match shifted_ns < self.length_ns {
            true => (shifted_ns, false),
            false => (shifted_ns - self.length_ns, true),
        }
    }

    /// Returns how many windows there are.
    pub(super) fn windows(&self) -> u64 {
        u64::try_from(self.windows.len()).unwrap_or(u64::MAX)
    }
}

/// Puts windows one behind the other, and returns them with the length of all.
fn splice(windows: &[Window], trace_ns: i64) -> Result<(Vec<Spliced>, i64), TraceError> {
    let all = [Window {
        from_ns: 0,
        to_ns: None,
    }];
    let windows = if windows.is_empty() { &all } else { windows };
    let mut at_ns = 0;
    let mut spliced = Vec::new();
    for window in windows {
        if window.from_ns >= trace_ns {
            return wrong(format!(
                "`--window {}` lies after the end of the trace, which is {} s long",
                name(*window),
                crate::units::seconds(trace_ns)
            ));
        }
        let to_ns = window.to_ns.unwrap_or(trace_ns).min(trace_ns);
        spliced.push(Spliced {
            from_ns: window.from_ns,
            to_ns,
            at_ns,
        });
        at_ns += to_ns - window.from_ns;
    }
    Ok((spliced, at_ns))
}

fn name(window: Window) -> String {
    let to = window.to_ns.map_or_else(String::new, |to_ns| {
        format!("{}s", crate::units::seconds(to_ns))
    });
    format!("{}s..{to}", crate::units::seconds(window.from_ns))
}

fn wrong<T>(message: String) -> Result<T, TraceError> {
    Err(TraceError::Selection { message })
}

#[cfg(test)]
mod tests {
    use super::{Changes, Plan, SECOND_NS, Span, Window};
    use crate::trace::TraceError;

    const HOUR: Span = Span {
        zero_ns: 500,
        length_ns: 3600 * SECOND_NS,
    };

    fn window(from_s: i64, to_s: Option<i64>) -> Window {
        Window {
            from_ns: from_s * SECOND_NS,
            to_ns: to_s.map(|to_s| to_s * SECOND_NS),
        }
    }

    fn plan(windows: &[Window]) -> Result<Plan, TraceError> {
        let changes = Changes {
            windows: windows.to_vec(),
            ..Changes::default()
        };
        changes.check()?;
        changes.plan(HOUR)
    }

    #[test]
    fn windows_stand_one_behind_the_other_in_the_order_given() {
        let plan = plan(&[window(3000, None), window(60, Some(120))]).unwrap();
        assert_eq!(plan.length_ns, 660 * SECOND_NS);
        assert_eq!(plan.place(3000 * SECOND_NS), Some((0, 0)));
        assert_eq!(plan.place(60 * SECOND_NS), Some((1, 600 * SECOND_NS)));
        assert_eq!(plan.place(120 * SECOND_NS), None);
        assert_eq!(plan.place(0), None);
    }

    #[test]
    fn without_windows_all_of_the_trace_stays_where_it_is() {
        let plan = plan(&[]).unwrap();
        let last = HOUR.length_ns - 1;
        assert_eq!(plan.place(0), Some((0, 0)));
        assert_eq!(plan.place(last), Some((0, last)));
    }

    #[test]
    fn windows_that_make_no_sense_are_refused_by_name() {
        for (windows, message) in [
            (vec![window(5, Some(5))], "`--window 5s..5s` is empty"),
            (vec![window(9, Some(5))], "`--window 9s..5s` is empty"),
            (
                vec![window(9, Some(12)), window(5, Some(10))],
                "`--window 5s..10s` and `--window 9s..12s` overlap, which would take requests twice",
            ),
            (
                vec![window(5, None), window(9, None)],
                "`--window 5s..` and `--window 9s..` overlap, which would take requests twice",
            ),
            (
                vec![window(3600, None)],
                "`--window 3600s..` lies after the end of the trace, which is 3600 s long",
            ),
        ] {
            assert_eq!(plan(&windows).unwrap_err().to_string(), message);
        }
        assert!(plan(&[window(0, Some(5)), window(5, Some(6))]).is_ok());
    }

    #[test]
    fn factors_that_make_no_sense_are_refused_with_their_bound() {
        let bad = [0.0, -1.0, f64::NAN, f64::INFINITY, 1e9];
        for factor in bad {
            let rate = Changes {
                rate_scale: factor,
                ..Changes::default()
            };
            let input = Changes {
                input_scale: factor,
                ..Changes::default()
            };
            let output = Changes {
                output_scale: factor,
                ..Changes::default()
            };
            for (changes, bound) in [(rate, "up to 10000"), (input, "1000"), (output, "1000")] {
                let error = changes.check().unwrap_err().to_string();
                assert!(error.contains(bound), "{error}");
                assert!(error.contains("-scale"), "{error}");
            }
        }
    }

    #[test]
    fn copies_are_far_apart_and_close_against_the_trace() {
        let of = |rate_scale: f64| {
            let changes = Changes {
                rate_scale,
                ..Changes::default()
            };
            changes.plan(HOUR).unwrap().shifts_ns
        };
        assert_eq!(of(0.5), [0]);
        let two = of(2.0);
        assert!(
            (45 * SECOND_NS..=75 * SECOND_NS).contains(&two[1]),
            "{two:?}"
        );
        let hundred = of(100.0);
        assert!(hundred[99] < 365 * SECOND_NS, "{hundred:?}");
    }

    #[test]
    fn shifts_beyond_the_trace_are_refused() {
        let changes = Changes {
            rate_scale: 3.0,
            copy_shift_ns: Some(1900 * SECOND_NS),
            ..Changes::default()
        };
        let error = changes.plan(HOUR).unwrap_err().to_string();
        assert!(error.contains("3600 s long"), "{error}");
        let short = Span {
            zero_ns: 0,
            length_ns: 1,
        };
        let changes = Changes {
            rate_scale: 9.0,
            ..Changes::default()
        };
        assert!(changes.plan(short).is_ok());
    }

    #[test]
    fn what_would_begin_after_the_end_begins_after_the_start() {
        let changes = Changes {
            rate_scale: 2.0,
            copy_shift_ns: Some(60 * SECOND_NS),
            ..Changes::default()
        };
        let plan = changes.plan(HOUR).unwrap();
        let shift_ns = plan.shifts_ns[1];
        let last_ns = HOUR.length_ns - 1;
        assert_eq!(plan.turned(0, last_ns), (last_ns, false));
        assert_eq!(plan.turned(1, 0), (shift_ns, false));
        assert_eq!(plan.turned(1, last_ns), (shift_ns - 1, true));
        assert!(plan.turned(1, HOUR.length_ns - shift_ns).1);
        assert!(!plan.turned(1, HOUR.length_ns - shift_ns - 1).1);
    }
}
