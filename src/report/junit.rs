//! Verdicts as JUnit XML, which CI systems show beside the results of tests.
//!
//! A suite for the conditions of `--fail-if`, a test case each: one that holds has a `failure`, one that
//! can't be judged for want of data is `skipped`. A suite for each run: whether any request succeeded, and
//! whether the client was fast enough to be believed. The format has no standard; what is written is
//! what the schemas of Jenkins and of GitLab have in common.

use super::export::{Exported, Exporter, Render};
use super::model::run_views;
use super::verdict::Verdict;
use crate::analyze::{Condition, Judged, Standing};

/// Verdicts for CI systems.
pub(super) const JUNIT: Exporter = Exporter {
    flag: "junit",
    value_name: "FILE",
    help: "Write the verdicts and what became of --fail-if as JUnit XML, for CI systems",
    render: Render::File(|exported| Ok(junit(exported))),
};

fn junit(exported: &Exported<'_>) -> String {
    let mut suites = Vec::new();
    if !exported.conditions.is_empty() {
        let cases = exported.conditions.iter().map(of_condition).collect();
        suites.push(("conditions".to_owned(), cases));
    }
    let views = run_views(exported.analysis);
    for (run, view) in exported.analysis.runs.iter().zip(&views) {
        suites.push((run.run.clone(), of_run(&view.verdict)));
    }
    written(&suites)
}

/// A test case.
struct Case {
    name: String,
    outcome: Outcome,
    /// What is said of it.
    lines: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped,
}

fn of_condition((condition, judged): &(Condition, Judged)) -> Case {
    let (outcome, lines) = if !judged.held.is_empty() {
        (Outcome::Failed, &judged.held)
    } else if !judged.undecided.is_empty() {
        (Outcome::Skipped, &judged.undecided)
    } else {
        (Outcome::Passed, &judged.passed)
    };
    Case {
        name: format!("--fail-if \"{condition}\""),
        outcome,
        lines: lines.clone(),
    }
}

fn of_run(verdict: &Verdict) -> Vec<Case> {
    let line = format!("{}: {}", verdict.word, verdict.reason);
    let case = |name: &str, outcome| Case {
        name: name.to_owned(),
        outcome,
        lines: vec![line.clone()],
    };
    let has_result = verdict.standing != Standing::NoResult;
    let succeeded = if has_result {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
    let kept_up = match verdict.standing {
        Standing::Valid => Outcome::Passed,
        Standing::ClientLimited => Outcome::Failed,
        Standing::NotChecked | Standing::NoResult => Outcome::Skipped,
    };
    vec![
        case("a request succeeded", succeeded),
        case("the client kept up", kept_up),
    ]
}

fn written(suites: &[(String, Vec<Case>)]) -> String {
    let count = |cases: &[Case], outcome| {
        let of_it = cases.iter().filter(|case| case.outcome == outcome);
        of_it.count()
    };
    let totals = |cases: &[&[Case]]| {
        let sum = |outcome| {
            cases
                .iter()
                .map(|cases| count(cases, outcome))
                .sum::<usize>()
        };
        format!(
            "tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\"",
            cases.iter().map(|cases| cases.len()).sum::<usize>(),
            sum(Outcome::Failed),
            sum(Outcome::Skipped)
        )
    };
    let all: Vec<&[Case]> = suites.iter().map(|(_, cases)| cases.as_slice()).collect();
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tokentape\" {}>\n",
        totals(&all)
    );
    for (name, cases) in suites {
        let name = escaped(name);
        xml += &format!("  <testsuite name=\"{name}\" {}>\n", totals(&[cases]));
        for case in cases {
            xml += &written_case(&name, case);
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

fn written_case(suite: &str, case: &Case) -> String {
    let name = escaped(&case.name);
    let said = escaped(&case.lines.join("\n"));
    let first = escaped(case.lines.first().map_or("", String::as_str));
    let what = match case.outcome {
        Outcome::Passed => format!("<system-out>{said}</system-out>"),
        Outcome::Failed => format!("<failure message=\"{first}\">{said}</failure>"),
        Outcome::Skipped => format!("<skipped message=\"{first}\"/>"),
    };
    format!(
        "    <testcase classname=\"tokentape.{suite}\" name=\"{name}\">\n      {what}\n    </testcase>\n"
    )
}

/// Escapes text for content and attributes. What XML 1.0 has no way to write is replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(letter),
            letter if letter.is_control() || matches!(letter, '\u{fffe}' | '\u{ffff}') => {
                out.push('\u{fffd}');
            }
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::report::page::PageOptions;

    #[test]
    fn each_run_and_each_condition_is_told() {
        let analysis = fixture::single();
        let condition: Condition = "rps < 1".parse().unwrap();
        let conditions = [
            (condition.clone(), Judged::default()),
            (
                condition.clone(),
                Judged {
                    held: vec!["a <b> & \"c\"".to_owned(), "two\u{1b}[2J".to_owned()],
                    ..Judged::default()
                },
            ),
            (
                condition,
                Judged {
                    undecided: vec!["too few".to_owned()],
                    ..Judged::default()
                },
            ),
        ];
        let exported = Exported {
            analysis: &analysis,
            page: &PageOptions::default(),
            conditions: &conditions,
        };
        let xml = junit(&exported);
        let conditions = xml.split("</testsuite>").next().unwrap();
        insta::assert_snapshot!(conditions, @r#"
        <?xml version="1.0" encoding="UTF-8"?>
        <testsuites name="tokentape" tests="5" failures="1" errors="0" skipped="1">
          <testsuite name="conditions" tests="3" failures="1" errors="0" skipped="1">
            <testcase classname="tokentape.conditions" name="--fail-if &quot;rps &lt; 1&quot;">
              <system-out></system-out>
            </testcase>
            <testcase classname="tokentape.conditions" name="--fail-if &quot;rps &lt; 1&quot;">
              <failure message="a &lt;b&gt; &amp; &quot;c&quot;">a &lt;b&gt; &amp; &quot;c&quot;
        two�[2J</failure>
            </testcase>
            <testcase classname="tokentape.conditions" name="--fail-if &quot;rps &lt; 1&quot;">
              <skipped message="too few"/>
            </testcase>
        "#);
        // Of each run two: whether a request succeeded, and whether the client kept up.
        let runs = xml.matches("classname=\"tokentape.").count() - 3;
        assert_eq!(runs, 2 * analysis.runs.len());
    }
}
