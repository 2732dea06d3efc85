//! A label of numbers as an axis: where each run of a sweep lies on it.
//!
//! `--label concurrency=16` on every run of a series makes that label what the series is drawn over.

use std::collections::{BTreeMap, BTreeSet};

/// Where a run lies on the axis of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// The label, such as `concurrency`.
    pub label: String,
    /// Its value.
    pub value: f64,
    /// The other labels by which runs differ, such as `model=a`; empty where there are none. Runs
    /// that share them lie on one line.
    pub line: String,
}

/// What tells a run from others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labelled<'a> {
    /// The labels of its tape.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Where it is a part of a tape, which one, as `class=2`.
    pub(crate) part: Option<&'a str>,
}

/// Finds the place of each run, in the order of `runs`; none where there is no axis.
///
/// The axis is what `by` names, where its values are all numbers; else the only label that has
/// different values, all of them numbers.
pub(crate) fn places(runs: &[Labelled<'_>], by: Option<&str>) -> Vec<Option<Place>> {
    let varying = varying_labels(runs);
    let is_axis = |label: &&str| runs.iter().all(|run| run.number(label, by).is_some());
    let axis = by.filter(is_axis).or_else(|| {
        let mut axes = varying.iter().copied().filter(is_axis);
        axes.next().filter(|_| axes.next().is_none())
    });
    let Some(axis) = axis else {
        return vec![None; runs.len()];
    };
    let place = |run: &Labelled<'_>| {
        let others = varying.iter().filter(|label| **label != axis);
        let line: Vec<String> = others
            .map(|label| {
                let value = run.labels.get(*label).map_or("", String::as_str);
                format!("{label}={value}")
            })
            .collect();
        Some(Place {
            label: axis.to_owned(),
            value: run.number(axis, by)?,
            line: line.join(", "),
        })
    };
    runs.iter().map(place).collect()
}

/// The labels that some runs have with other values than others, or not at all.
fn varying_labels<'a>(runs: &[Labelled<'a>]) -> BTreeSet<&'a str> {
    let labels = runs.iter().flat_map(|run| run.labels.keys());
    labels
        .filter(|label| {
            let mut pairs = runs.windows(2);
            pairs.any(|pair| pair[0].labels.get(*label) != pair[1].labels.get(*label))
        })
        .map(String::as_str)
        .collect()
}

impl Labelled<'_> {
    /// The number that a run has under a label, or as a part of its tape.
    fn number(&self, label: &str, by: Option<&str>) -> Option<f64> {
        let text = match (self.labels.get(label), self.part) {
            (Some(text), _) => text,
            (None, Some(part)) if by == Some(label) => {
                part.strip_prefix(label)?.strip_prefix('=')?
            }
            _ => return None,
        };
        text.parse().ok().filter(|value: &f64| value.is_finite())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Labels, from `concurrency=5 model=a`.
    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split_whitespace()
            .filter_map(|label| label.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()
    }

    fn found(runs: &[&str], by: Option<&str>) -> Vec<String> {
        let runs: Vec<_> = runs.iter().map(|text| labels(text)).collect();
        let runs: Vec<Labelled<'_>> = runs
            .iter()
            .map(|labels| Labelled { labels, part: None })
            .collect();
        let shown = |place: Option<Place>| {
            place.map_or("none".to_owned(), |place| {
                format!("{} {} {}", place.label, place.value, place.line)
            })
        };
        places(&runs, by).into_iter().map(shown).collect()
    }

    #[test]
    fn the_only_label_of_numbers_that_differs_is_the_axis() {
        let runs = ["c=1 gpu=8 m=x", "c=10 gpu=8 m=x", "c=2.5 gpu=8 m=x"];
        assert_eq!(found(&runs, None), ["c 1 ", "c 10 ", "c 2.5 "]);
        let runs = ["c=1 m=a", "c=2 m=a", "c=1 m=b", "c=2 m=b"];
        let lines = ["c 1 m=a", "c 2 m=a", "c 1 m=b", "c 2 m=b"];
        assert_eq!(found(&runs, None), lines);
        // Runs that are grouped by words are still drawn over the numbers.
        assert_eq!(found(&runs, Some("m")), lines);
    }

    #[test]
    fn of_two_labels_of_numbers_the_named_one_is_the_axis() {
        let runs = ["c=1 gpu=1", "c=2 gpu=2", "c=4 gpu=2"];
        assert_eq!(found(&runs, None), ["none", "none", "none"]);
        assert_eq!(
            found(&runs, Some("c")),
            ["c 1 gpu=1", "c 2 gpu=2", "c 4 gpu=2"]
        );
    }

    #[test]
    fn words_and_missing_values_are_no_axis() {
        assert_eq!(found(&["c=1", "c=inf"], None), ["none", "none"]);
        assert_eq!(found(&["c=1", "c=NaN"], None), ["none", "none"]);
        assert_eq!(found(&["c=1", "m=a"], Some("c")), ["none", "none"]);
        assert_eq!(found(&["c=1", "c=1"], None), ["none", "none"]);
    }

    #[test]
    fn parts_of_a_tape_lie_where_their_value_says() {
        let none = BTreeMap::new();
        let parts = |names: [&'static str; 2]| {
            let runs = names.map(|name| Labelled {
                labels: &none,
                part: Some(name),
            });
            let places = places(&runs, Some("class")).into_iter();
            places.map(|place| Some(place?.value)).collect::<Vec<_>>()
        };
        assert_eq!(parts(["class=1", "class=2"]), [Some(1.0), Some(2.0)]);
        assert_eq!(parts(["class=chat", "class=2"]), [None, None]);
    }
}
