//! Whether the numbers of a run may be believed: what the checks on its client came to.
//!
//! The checks themselves are SQL (`queries/validity.sql`). Reports say in words what is decided
//! here.

use serde::Serialize;

use super::{Analysis, PrefixHits, RunSummary, ThroughputWindows, Validity};

/// What the checks on the client came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Every check passed.
    Valid,
    /// The client was the bottleneck, so the latencies are partly its own.
    ClientLimited,
    /// The tape lacks what the checks need, or some of them.
    NotChecked,
    /// No request succeeded: there is nothing to be valid.
    NoResult,
}

/// The checks on the client of one run.
#[derive(Debug, Clone)]
pub struct Checks<'a> {
    /// All of them, also those that could not be made.
    pub all: Vec<Validity<'a>>,
    /// Whether a request succeeded; `None` where nobody counted.
    pub has_success: Option<bool>,
}

impl<'a> Checks<'a> {
    /// Reads the checks of a run.
    pub fn of(analysis: &'a Analysis, run: &str) -> Self {
        Self {
            all: analysis.rows_of(run),
            has_success: succeeded(analysis, run),
        }
    }

    /// Returns those that failed.
    pub fn failed(&self) -> Vec<Validity<'a>> {
        self.with(Some(false))
    }

    /// Returns those that could not be made.
    pub fn unmade(&self) -> Vec<Validity<'a>> {
        self.with(None)
    }

    fn with(&self, ok: Option<bool>) -> Vec<Validity<'a>> {
        let found = self.all.iter().filter(|check| check.ok == ok);
        found.copied().collect()
    }

    /// Returns what they came to.
    pub fn standing(&self) -> Standing {
        if !self.failed().is_empty() {
            return Standing::ClientLimited;
        }
        let unmade = self.unmade().len();
        if unmade == self.all.len() {
            Standing::NotChecked
        } else if self.has_success == Some(false) {
            Standing::NoResult
        } else if unmade > 0 {
            Standing::NotChecked
        } else {
            Standing::Valid
        }
    }
}

/// Returns what the checks on the client of a run came to.
pub fn standing(analysis: &Analysis, run: &str) -> Standing {
    Checks::of(analysis, run).standing()
}

/// Tells whether any run was limited by the client that measured it.
///
/// With `--strict` such a run ends with exit code 1.
pub fn is_client_limited(analysis: &Analysis) -> bool {
    let mut runs = analysis.runs.iter();
    runs.any(|run| standing(analysis, &run.run) == Standing::ClientLimited)
}

/// Tells whether a request of any run succeeded.
pub fn has_success(analysis: &Analysis) -> bool {
    let mut runs = analysis.runs.iter();
    runs.any(|run| succeeded(analysis, &run.run) != Some(false))
}

fn succeeded(analysis: &Analysis, run: &str) -> Option<bool> {
    let summary = analysis.row_of::<RunSummary<'_>>(run)?;
    Some(summary.ok? > 0.0)
}

/// Shares of the prompt tokens of a run.
#[derive(Debug, Clone, Copy)]
pub struct Cached {
    /// What the server had in its prefix cache.
    pub had: f64,
    /// What it could have had of earlier requests of the run.
    pub shared: f64,
}

/// Share of the prompt tokens that a server may have cached beyond what requests share.
const CACHED_UNSEEN: f64 = 0.05;

/// Tells whether a server answered from prompts that the run itself did not send before.
pub fn cached_beyond(analysis: &Analysis, run: &str) -> Option<Cached> {
    let row = analysis.row_of::<PrefixHits<'_>>(run)?;
    let cached = Cached {
        had: row.achieved_hit?,
        shared: row.ideal_hit?,
    };
    // What a chat template and tools add is the same in each prompt.
    let or_none = |n: Option<f64>| n.unwrap_or(0.0);
    let planned = or_none(row.input_planned) * or_none(row.n_told) / or_none(row.n).max(1.0);
    let added = 1.0 - planned / or_none(row.input_told).max(1.0);
    (cached.had > cached.shared + added.max(0.0) + CACHED_UNSEEN).then_some(cached)
}

/// Why no rate of a run is one that lasted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unsteady {
    /// The load was made to rise.
    Ramp,
    /// The steady window has less than half of the requests a second of the whole run.
    Requests {
        /// Requests/s of the steady window.
        steady: f64,
        /// Requests/s of the whole run.
        whole: f64,
    },
    /// The same of output tokens.
    OutputTokens {
        /// Output tokens/s of the steady window.
        steady: f64,
        /// Output tokens/s of the whole run.
        whole: f64,
    },
}

/// Tells whether the rates of the steady window are none that lasted; `None` where they are, or
/// where the user asked for the window.
pub fn unsteady(analysis: &Analysis, run: &str) -> Option<Unsteady> {
    let mut runs = analysis.runs.iter().filter(|facts| facts.run == run);
    let plan = &runs.next()?.manifest.plan;
    let windows = analysis.rows_of::<ThroughputWindows<'_>>(run);
    let of = |name| {
        let mut windows = windows.iter();
        windows.find(|row| row.window_name == Some(name))
    };
    let (steady, whole) = (of("steady")?, of("run")?);
    if steady.basis == Some("asked") {
        return None;
    }
    let ramp = plan.arrivals.as_ref().and_then(|one| one.ramp_up.as_ref());
    if ramp.is_some() {
        return Some(Unsteady::Ramp);
    }
    let is_less = |(steady, whole): &(f64, f64)| *steady < 0.5 * whole;
    let requests = steady.rps.zip(whole.rps).filter(is_less);
    if let Some((steady, whole)) = requests {
        return Some(Unsteady::Requests { steady, whole });
    }
    let tokens = steady.output_tps.zip(whole.output_tps).filter(is_less);
    tokens.map(|(steady, whole)| Unsteady::OutputTokens { steady, whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_that_failed_come_before_a_run_without_a_success_and_before_what_was_not_checked() {
        let check = |ok| Validity {
            run: "a",
            check_name: Some("pacing"),
            unit: Some("ns"),
            value: None,
            limit_value: None,
            ok,
        };
        let of = |results: &[Option<bool>], has_success| {
            let all = results.iter().copied().map(check).collect();
            Checks { all, has_success }.standing()
        };
        let (passed, failed, unmade) = (Some(true), Some(false), None);
        for (results, has_success, standing) in [
            (&[][..], None, Standing::NotChecked),
            (&[], Some(false), Standing::NotChecked),
            (&[unmade, unmade], Some(true), Standing::NotChecked),
            (&[unmade], Some(false), Standing::NotChecked),
            (&[passed, passed], Some(true), Standing::Valid),
            (&[passed], None, Standing::Valid),
            (&[passed, unmade], Some(true), Standing::NotChecked),
            (&[passed, unmade], Some(false), Standing::NoResult),
            (&[passed], Some(false), Standing::NoResult),
            (&[passed, failed], Some(true), Standing::ClientLimited),
            (&[failed, unmade], Some(false), Standing::ClientLimited),
        ] {
            assert_eq!(
                of(results, has_success),
                standing,
                "{results:?} {has_success:?}"
            );
        }
    }
}
