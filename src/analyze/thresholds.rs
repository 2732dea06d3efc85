//! From which value on a number is excellent, good, or needs work: rules of thumb in a file.
//!
//! ```json
//! { "ttft_p50": { "excellent": 100, "good": 200, "needs_work": 500 } }
//! ```
//!
//! Times are in milliseconds. A number that is better than `excellent` is excellent, one that is
//! better than `good` is good, and one that is worse than `needs_work` needs work; what is between
//! the last two is fair. The order of the three says which way is better.

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

/// What grades are given by where nothing else is said: values for a chat with a person.
const DEFAULT: &str = include_str!("thresholds.json");

/// Latencies that can be graded, each at any of [`STATS`].
const LATENCIES: [&str; 6] = ["ttft", "ttfa", "tpot", "itl", "icl", "e2el"];

/// Statistics of a latency.
const STATS: [&str; 6] = ["mean", "p50", "p90", "p95", "p99", "max"];

/// Other numbers that can be graded.
const OTHERS: [&str; 5] = [
    "rps",
    "output_tps",
    "ok_share",
    "attainment",
    "tpot_p99_by_p50",
];

/// The grades of one number.
#[derive(Debug, Clone, PartialEq)]
pub struct Threshold {
    /// Its name, such as `ttft_p50` or `rps`.
    pub number: String,
    /// From here on it is excellent.
    pub excellent: f64,
    /// From here on it is good.
    pub good: f64,
    /// From here on it needs work.
    pub needs_work: f64,
}

/// All grades, and where they are from.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// Name of the file; none for those that are built in.
    pub source: Option<String>,
    /// In the order of the file.
    pub all: Vec<Threshold>,
}

/// A file of thresholds that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ThresholdsError {
    /// It is no JSON object.
    #[error("the thresholds are no JSON object: {0}")]
    Json(String),
    /// A name that nothing is called.
    #[error("`{0}` is no number that can be graded")]
    Unknown(String),
    /// A number whose three values are not there.
    #[error(
        "the thresholds of `{0}` are not three numbers `excellent`, `good` and `needs_work`: {1}"
    )]
    Values(String, String),
    /// Values that contradict each other.
    #[error("the thresholds of `{0}` neither rise nor fall from excellent over good to needs_work")]
    Order(String),
}

impl ThresholdsError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> String {
        match self {
            Self::Unknown(_) => format!(
                "use {}, or one of {} with one of {}, as in ttft_p50",
                OTHERS.join(", "),
                LATENCIES.join(", "),
                STATS.join(", ")
            ),
            _ => "write it as in {\"ttft_p50\": {\"excellent\": 100, \"good\": 200, \"needs_work\": 500}}"
                .to_owned(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    excellent: f64,
    good: f64,
    needs_work: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self::parse(None, DEFAULT).unwrap_or(Self {
            source: None,
            all: Vec::new(),
        })
    }
}

impl Thresholds {
    /// Reads a file's text.
    ///
    /// # Errors
    ///
    /// Names the number whose thresholds are unknown, incomplete or out of order.
    pub fn parse(source: Option<String>, text: &str) -> Result<Self, ThresholdsError> {
        let json: serde_json::Map<String, Value> =
            serde_json::from_str(text).map_err(|error| ThresholdsError::Json(error.to_string()))?;
        let mut all = Vec::with_capacity(json.len());
        for (number, value) in json {
            if !is_known(&number) {
                return Err(ThresholdsError::Unknown(number));
            }
            let values: Values = serde_json::from_value(value)
                .map_err(|error| ThresholdsError::Values(number.clone(), error.to_string()))?;
            let Values {
                excellent,
                good,
                needs_work,
            } = values;
            let rises = excellent < good && good <= needs_work;
            let falls = excellent > good && good >= needs_work;
            if !rises && !falls {
                return Err(ThresholdsError::Order(number));
            }
            all.push(Threshold {
                number,
                excellent,
                good,
                needs_work,
            });
        }
        Ok(Self { source, all })
    }
}

fn is_known(number: &str) -> bool {
    let is_latency = number
        .rsplit_once('_')
        .is_some_and(|(metric, stat)| LATENCIES.contains(&metric) && STATS.contains(&stat));
    is_latency || OTHERS.contains(&number)
}

impl Threshold {
    /// Grades a value: `excellent`, `good`, `fair` or `needs work`.
    pub fn grade(&self, value: f64) -> &'static str {
        // Upside down, what falls rises.
        let sign = if self.excellent < self.needs_work {
            1.0
        } else {
            -1.0
        };
        let is_within = |bound: f64| sign * value < sign * bound;
        if is_within(self.excellent) {
            "excellent"
        } else if is_within(self.good) {
            "good"
        } else if sign * value <= sign * self.needs_work {
            "fair"
        } else {
            "needs work"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Result<Threshold, ThresholdsError> {
        Thresholds::parse(None, text).map(|thresholds| thresholds.all[0].clone())
    }

    #[test]
    fn grades_by_where_a_value_stands_whichever_way_is_better() {
        let time =
            one(r#"{"ttft_p50": {"excellent": 100, "good": 200, "needs_work": 500}}"#).unwrap();
        let grades = [50.0, 100.0, 199.0, 200.0, 500.0, 501.0].map(|value| time.grade(value));
        assert_eq!(
            grades,
            ["excellent", "good", "good", "fair", "fair", "needs work"]
        );
        let share =
            one(r#"{"ok_share": {"excellent": 0.99, "good": 0.95, "needs_work": 0.9}}"#).unwrap();
        let grades = [1.0, 0.97, 0.92, 0.5].map(|value| share.grade(value));
        assert_eq!(grades, ["excellent", "good", "fair", "needs work"]);
    }

    #[test]
    fn the_built_in_file_is_sound() {
        let built_in = Thresholds::parse(None, DEFAULT).unwrap();
        assert_eq!(built_in, Thresholds::default());
        assert_eq!(built_in.all.len(), 5);
    }

    #[test]
    fn refuses_what_is_unknown_incomplete_or_out_of_order_by_name() {
        for (text, name) in [
            (
                r#"{"ttft_p98": {"excellent": 1, "good": 2, "needs_work": 3}}"#,
                "ttft_p98",
            ),
            (
                r#"{"speed": {"excellent": 1, "good": 2, "needs_work": 3}}"#,
                "speed",
            ),
            (r#"{"rps": {"excellent": 3, "good": 2}}"#, "rps"),
            (
                r#"{"rps": {"excellent": 3, "good": 2, "needs_work": 1, "bad": 0}}"#,
                "rps",
            ),
            (
                r#"{"rps": {"excellent": 3, "good": 5, "needs_work": 1}}"#,
                "rps",
            ),
            (
                r#"{"rps": {"excellent": "3", "good": 5, "needs_work": 1}}"#,
                "rps",
            ),
            ("[1]", "JSON"),
            ("", "JSON"),
        ] {
            let refused = one(text).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
            assert!(!refused.hint().is_empty());
        }
    }
}
