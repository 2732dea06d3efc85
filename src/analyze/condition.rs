//! Conditions on which an analysis fails: `ttft_p99 > +5%`, `rps < 20`.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use super::client::{added_ns, said_added};
use super::metrics::{metrics, percentile_of, unit_of};
use super::percentiles::Percentile;
use super::uncertainty::numbers;
use super::{Analysis, Differences, Validity};
use crate::units::parse_duration_ns;

/// A bound on one number, of a run or of its change against the first run.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    /// As it was typed.
    text: String,
    /// A key of the JSON's `metrics`, such as `ttft_p99` or `rps`.
    number: String,
    /// True where it holds above its bound.
    is_above: bool,
    bound: Bound,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    /// On the change against the first run, as a share of that.
    Change(f64),
    /// On a time, in nanoseconds.
    Time(f64),
    /// On any other number.
    Plain(f64),
}

/// A condition that says nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a condition: {reason}")]
pub struct ConditionError {
    text: String,
    reason: String,
}

impl ConditionError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> &'static str {
        "write a metric, < or >, and a bound: \"ttft_p99 > +5%\", \"e2el_mean > 2s\", \"rps < 20\""
    }
}

/// What became of a condition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Judged {
    /// Where it holds, or a run lacks the number: a line each.
    pub held: Vec<String>,
    /// Where it cannot be judged for want of data: a line each.
    pub undecided: Vec<String>,
    /// Where it does not: a line each, with the number.
    pub passed: Vec<String>,
}

impl Judged {
    fn held(line: &str) -> Self {
        Self {
            held: vec![line.to_owned()],
            ..Self::default()
        }
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl FromStr for Condition {
    type Err = ConditionError;

    fn from_str(text: &str) -> Result<Self, ConditionError> {
        let wrong = |reason: &str| ConditionError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let (at, sign) = text
            .char_indices()
            .find(|(_, letter)| matches!(letter, '<' | '>'))
            .ok_or_else(|| wrong("it has no < or >"))?;
        let number = text[..at].trim();
        let is_word = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
        if number.is_empty() || !number.chars().all(is_word) {
            return Err(wrong("what is before < or > is no metric"));
        }
        let known = || {
            let known = numbers::known();
            format!("`{number}`, but {known}")
        };
        if unit_of(number).is_none() && numbers::unit_of(number).is_none() {
            return Err(wrong(&format!("there is no {}", known())));
        }
        let bound = text[at + 1..].trim();
        if bound.ends_with('%') && !bound.starts_with(['+', '-']) {
            return Err(wrong(
                "a bound in percent is one on a change, and lacks its sign, as in +5%",
            ));
        }
        let bound = Bound::parse(bound).ok_or_else(|| wrong("its bound is no number"))?;
        // Of fewer numbers there is a change than there are in all.
        let (unit, what) = match bound {
            Bound::Change(_) => (numbers::unit_of(number), "no change of"),
            Bound::Time(_) | Bound::Plain(_) => (unit_of(number), "no"),
        };
        let Some(unit) = unit else {
            return Err(wrong(&format!("there is {what} {}", known())));
        };
        match bound {
            Bound::Plain(_) if unit == "ns" => {
                return Err(wrong("its bound must be a time, such as 500ms"));
            }
            Bound::Time(_) if unit != "ns" => return Err(wrong("its bound must be no time")),
            _ => {}
        }
        Ok(Self {
            text: text.to_owned(),
            number: number.to_owned(),
            is_above: sign == '>',
            bound,
        })
    }
}

impl Bound {
    fn parse(text: &str) -> Option<Self> {
        let finite = |text: &str| {
            let value: f64 = text.trim().parse().ok()?;
            value.is_finite().then_some(value)
        };
        if let Some(percent) = text.strip_suffix('%') {
            // A percentage without its sign could be a change or a share.
            return text
                .starts_with(['+', '-'])
                .then(|| finite(percent).map(|percent| Self::Change(percent / 100.0)))?;
        }
        if let Some(value) = finite(text) {
            return Some(Self::Plain(value));
        }
        #[expect(
            clippy::cast_precision_loss,
            reason = "a bound of over a hundred days is no bound on a latency"
        )]
        parse_duration_ns(text).ok().map(|ns| Self::Time(ns as f64))
    }
}

impl Condition {
    /// Holds the condition against every run, or against every one but the first.
    pub fn judge(&self, analysis: &Analysis) -> Judged {
        match self.bound {
            Bound::Change(share) => self.judge_changes(analysis, share),
            Bound::Time(bound) => self.judge_values(analysis, bound, true),
            Bound::Plain(bound) => self.judge_values(analysis, bound, false),
        }
    }

    /// Returns the percentile of a latency that the condition is about.
    pub fn percentile(&self) -> Option<Percentile> {
        percentile_of(&self.number)
    }

    fn is_over(&self, value: f64, bound: f64) -> bool {
        if self.is_above {
            value > bound
        } else {
            value < bound
        }
    }

    /// Tells whether a row of `differences` is about the number.
    fn is_about(&self, line: Differences<'_>) -> bool {
        let metric = line.metric.unwrap_or_default();
        let stat = line.stat.unwrap_or_default();
        if stat == "window" {
            metric == self.number
        } else {
            self.number
                .strip_suffix(stat)
                .and_then(|rest| rest.strip_suffix('_'))
                == Some(metric)
        }
    }

    fn judge_changes(&self, analysis: &Analysis, bound: f64) -> Judged {
        if analysis.table("differences").is_none() {
            return Judged {
                undecided: vec!["there is one run: nothing to compare it with".to_owned()],
                ..Judged::default()
            };
        }
        let all = analysis.rows::<Differences<'_>>();
        let about = all.iter().copied().filter(|line| self.is_about(*line));
        let lines: Vec<Differences<'_>> = about.collect();
        if lines.is_empty() {
            return Judged::held(&self.unknown(&all));
        }
        // A group without the number, such as one whose every request failed, is no pass.
        let mut held = self.lacking(all.iter().map(|line| line.run), &lines);
        let (mut undecided, mut passed) = (Vec::new(), Vec::new());
        for line in lines {
            let run = line.run;
            let known = [line.difference, line.low, line.high];
            let [Some(change), Some(low), Some(high)] = known else {
                let lack = line.lack.unwrap_or("the first run has 0");
                undecided.push(format!(
                    "`{run}` cannot be judged for want of data ({lack}); make the runs longer"
                ));
                continue;
            };
            if line.lack == Some("client-limited") {
                let added = line.client_ns.unwrap_or(f64::INFINITY);
                undecided.push(format!(
                    "`{run}` cannot be judged: it has {:+.1} %, which the client that was the bottleneck may have made (client-limited: {})",
                    100.0 * change,
                    said_added(added)
                ));
                continue;
            }
            let is_real = low > 0.0 || high < 0.0;
            let line = format!(
                "`{run}` has {:+.1} % (95 % interval of this number alone: {:+.1} to {:+.1} %)",
                100.0 * change,
                100.0 * low,
                100.0 * high
            );
            match (self.is_over(change, bound), is_real) {
                (true, true) => held.push(line),
                (true, false) => passed.push(format!("{line}, which can be chance")),
                (false, _) => passed.push(line),
            }
        }
        Judged {
            held,
            undecided,
            passed,
        }
    }

    /// The runs among `all` that no line is about.
    fn lacking<'a>(
        &self,
        all: impl Iterator<Item = &'a str>,
        lines: &[Differences<'_>],
    ) -> Vec<String> {
        let mut without: Vec<&str> = all
            .filter(|run| !lines.iter().any(|line| line.run == *run))
            .collect();
        without.dedup();
        let said = without.iter();
        said.map(|run| format!("`{run}` has no `{}`", self.number))
            .collect()
    }

    fn judge_values(&self, analysis: &Analysis, bound: f64, is_time: bool) -> Judged {
        let mut judged = Judged::default();
        for facts in &analysis.runs {
            let run = &facts.run;
            let number = metrics(analysis, run)
                .into_iter()
                .find(|one| one.key == self.number);
            let Some(number) = number else {
                judged
                    .held
                    .push(format!("`{run}` has no `{}`", self.number));
                continue;
            };
            let line = if is_time {
                format!("`{run}` has {:.3} ms", number.value / 1e6)
            } else {
                format!("`{run}` has {:.4}", number.value)
            };
            // What a client that was the bottleneck may have added is not the server's.
            let added_ns = added_ns(analysis.rows_of::<Validity<'_>>(run))
                .filter(|_| is_time && !is_of_client(&self.number));
            let is_over = self.is_over(number.value, bound);
            if let Some(added_ns) = added_ns
                && is_over != self.is_over(number.value - added_ns, bound)
            {
                judged.undecided.push(format!(
                    "{line}, too much of which the client that was the bottleneck may have added (client-limited: {})",
                    said_added(added_ns)
                ));
            } else if is_over {
                judged.held.push(line);
            } else {
                judged.passed.push(line);
            }
        }
        judged
    }

    fn unknown(&self, all: &[Differences<'_>]) -> String {
        let mut known: Vec<String> = all
            .iter()
            .filter(|line| line.verdict.is_some())
            .filter_map(|line| {
                let (metric, stat) = (line.metric?, line.stat?);
                Some(if stat == "window" {
                    metric.to_owned()
                } else {
                    format!("{metric}_{stat}")
                })
            })
            .collect();
        known.dedup();
        format!(
            "no run has `{}`; there are {}, and other statistics of them",
            self.number,
            known.join(", ")
        )
    }
}

/// Tells whether a number is about the client, which no fault of the client's makes doubtful.
fn is_of_client(number: &str) -> bool {
    ["slip", "queued"]
        .iter()
        .any(|metric| number.starts_with(metric))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Table};

    fn bound(text: &str) -> Option<Bound> {
        text.parse::<Condition>()
            .ok()
            .map(|condition| condition.bound)
    }

    #[test]
    fn reads_changes_times_and_plain_numbers() {
        assert_eq!(bound("ttft_p99 > +5%"), Some(Bound::Change(0.05)));
        assert_eq!(bound("rps<-2.5%"), Some(Bound::Change(-0.025)));
        assert_eq!(bound("e2el_mean > 1.5s"), Some(Bound::Time(1.5e9)));
        assert_eq!(bound("ok_share < 0.99"), Some(Bound::Plain(0.99)));
    }

    #[test]
    fn refuses_what_says_nothing() {
        for text in [
            "",
            "ttft_p99",
            "> 5",
            "ttft p99 > 5",
            "a > ",
            "a > 5%",
            "a > +x%",
            "a > nan",
            "a = 5",
            "e2el_p777 > 100ms",
            "ttft > 100ms",
            "rps_mean > 5",
            "nonsense > +5%",
            "ttft_p50 > 100",
            "rps < 20ms",
            "requests_ok < -5%",
        ] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_that_does_not_exist_is_told_those_that_do() {
        let refused = "e2el_p777 > 1s"
            .parse::<Condition>()
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("there is no `e2el_p777`, but rps, "),
            "{refused}"
        );
        assert!(refused.contains("ttft_intended"), "{refused}");
    }

    #[test]
    fn an_unknown_number_is_told_before_what_else_is_wrong() {
        for text in ["foo < 95%", "foo < x"] {
            let refused = text.parse::<Condition>().unwrap_err().to_string();
            assert!(
                refused.contains("there is no `foo`, but rps, "),
                "{refused}"
            );
        }
    }

    #[test]
    fn a_percentage_without_its_sign_is_told_what_it_lacks() {
        let refused = "ttft_p99 > 5%".parse::<Condition>().unwrap_err();
        assert!(refused.to_string().contains("lacks its sign"), "{refused}");
    }

    fn table(name: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
        Table {
            name: name.to_owned(),
            purpose: String::new(),
            columns: columns
                .iter()
                .map(|name| super::super::Column {
                    name: (*name).to_owned(),
                    unit: None,
                })
                .collect(),
            rows,
            sql: String::new(),
        }
    }

    fn text(word: &str) -> Cell {
        Cell::Text(word.to_owned())
    }

    /// One change of +6 % that is real, one that may be chance, one that nobody knows, and a run that
    /// has nothing but that one.
    fn analysis() -> Analysis {
        let row = |run: &str, metric: &str, bounds: Option<(f64, f64)>| {
            let number = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
            vec![
                text(run),
                text(metric),
                text("p99"),
                number(bounds.map(|_| 0.06)),
                number(bounds.map(|(low, _)| low)),
                number(bounds.map(|(_, high)| high)),
                text("no difference seen"),
                bounds.map_or(text("few values"), |_| Cell::Null),
            ]
        };
        let columns = [
            "run",
            "metric",
            "stat",
            "difference",
            "low",
            "high",
            "verdict",
            "lack",
        ];
        let rows = vec![
            row("b", "ttft", Some((0.01, 0.11))),
            row("b", "itl", Some((-0.02, 0.14))),
            row("b", "e2el", None),
            row("c", "e2el", None),
        ];
        Analysis {
            runs: Vec::new(),
            tables: vec![table("differences", &columns, rows)],
            slos: Vec::new(),
            thresholds: crate::analyze::Thresholds::default(),
            command: String::new(),
        }
    }

    fn held(text: &str) -> Vec<String> {
        text.parse::<Condition>().unwrap().judge(&analysis()).held
    }

    #[test]
    fn a_change_over_its_bound_counts_where_it_is_real_or_a_run_lacks_it() {
        let lacks = "`c` has no `ttft_p99`";
        assert_eq!(
            held("ttft_p99 > +5%"),
            [
                lacks,
                "`b` has +6.0 % (95 % interval of this number alone: +1.0 to +11.0 %)"
            ]
        );
        assert_eq!(held("ttft_p99 > +7%"), [lacks]);
        assert_eq!(held("ttft_p99 < -5%"), [lacks]);
        assert_eq!(held("itl_p99 > +5%"), ["`c` has no `itl_p99`"]);
        assert_eq!(held("e2el_p99 > +5%"), [""; 0]);
        assert!(held("ttfa_p50 > +5%")[0].contains("no run has `ttfa_p50`"));
    }

    #[test]
    fn what_lacks_data_or_another_run_is_undecided() {
        let undecided = |text: &str, analysis: &Analysis| {
            let judged = text.parse::<Condition>().unwrap().judge(analysis);
            assert_eq!(judged.held, [""; 0]);
            judged.undecided
        };
        let lines = undecided("e2el_p99 > +5%", &analysis());
        assert!(lines.iter().all(|line| line.contains("cannot be judged")) && lines.len() == 2);
        let alone = Analysis {
            tables: Vec::new(),
            ..analysis()
        };
        let lines = undecided("ttft_p99 > +5%", &alone);
        assert_eq!(lines, ["there is one run: nothing to compare it with"]);
    }

    #[test]
    fn what_passes_is_told_with_its_number() {
        let judged = |text: &str| text.parse::<Condition>().unwrap().judge(&analysis());
        let chance = "`b` has +6.0 % (95 % interval of this number alone: -2.0 to +14.0 %), which can be chance";
        assert_eq!(judged("itl_p99 > +5%").passed, [chance]);
        assert_eq!(
            judged("ttft_p99 > +7%").passed,
            ["`b` has +6.0 % (95 % interval of this number alone: +1.0 to +11.0 %)"]
        );
    }
}
