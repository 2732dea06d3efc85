//! Goals on latencies, as they are typed: `ttft:200`.

use std::path::{Path, PathBuf};

use super::args::GoalArgs;
use crate::analyze::{SLO_METRICS, Slo};
use crate::error::Error;

impl GoalArgs {
    /// Parses the goals.
    pub(super) fn parse(&self) -> Result<Vec<Slo>, Error> {
        self.goodput
            .iter()
            .filter(|word| is_goal(word))
            .map(|word| parse(word))
            .collect()
    }

    /// Returns what was typed behind the goals and is none: the flag takes several values, so a
    /// path that follows it lands among them.
    pub(super) fn strays(&self) -> Vec<PathBuf> {
        self.goodput
            .iter()
            .filter(|word| !is_goal(word))
            .map(PathBuf::from)
            .collect()
    }
}

/// A word with a colon is meant as a goal, unless it names something that is there.
fn is_goal(word: &str) -> bool {
    word.contains(':') && !Path::new(word).exists()
}

/// Refuses a word that should have been a goal.
pub(super) fn not_a_goal(word: &str) -> Error {
    Error::usage(
        format!("`{word}` is not a goal"),
        "write METRIC:MILLISECONDS with ttft, tpot or e2el, such as ttft:200",
    )
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before the cast"
)]
fn parse(word: &str) -> Result<Slo, Error> {
    let (metric, limit) = word.split_once(':').ok_or_else(|| not_a_goal(word))?;
    let limit_ms: f64 = limit.parse().map_err(|_| not_a_goal(word))?;
    let is_sensible = limit_ms > 0.0 && limit_ms < 1e9;
    if !SLO_METRICS.contains(&metric) || !is_sensible {
        return Err(not_a_goal(word));
    }
    Ok(Slo {
        metric: metric.to_owned(),
        limit_ns: (limit_ms * 1e6).round() as i64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &[&str]) -> GoalArgs {
        GoalArgs {
            goodput: words.iter().map(|word| (*word).to_owned()).collect(),
        }
    }

    #[test]
    fn goals_are_milliseconds_and_a_path_behind_them_is_none() {
        let goals = typed(&["ttft:200", "tpot:0.5", "run.tape"]);
        let limits: Vec<i64> = goals
            .parse()
            .unwrap()
            .iter()
            .map(|slo| slo.limit_ns)
            .collect();
        assert_eq!(limits, [200_000_000, 500_000]);
        assert_eq!(goals.strays(), [PathBuf::from("run.tape")]);
    }

    #[test]
    fn what_is_meant_as_a_goal_and_is_none_is_refused_by_name() {
        for word in ["itl:5", "ttft:", "ttft:-1", "ttft:nan", "ttft:inf", ":5"] {
            let error = typed(&[word]).parse().unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.hint().is_some());
        }
    }
}
