//! Several runs side by side: every number against the first run's.

use crate::analyze::{Analysis, Comparison, metric_row};

use super::format::{self, NS_PER_MS};
use super::grid::{Field, Grid, Tone};
use super::uncertainty::{CLIENTS, difference, verdict_tone};

/// One number of a run and of the first run, in the unit that is shown.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    /// Name of the run, as it is in the table.
    pub(crate) run: String,
    /// What is compared.
    pub(crate) metric: String,
    /// Which of its statistics.
    pub(crate) stat: String,
    /// Unit of the numbers.
    pub(crate) unit: Option<String>,
    /// The first run's number.
    pub(crate) baseline: Option<f64>,
    /// This run's number.
    pub(crate) value: Option<f64>,
    /// The second less the first.
    pub(crate) difference: Option<f64>,
    /// The second by the first.
    pub(crate) ratio: Option<f64>,
}

/// Reads the comparison; times become milliseconds.
pub(crate) fn changes(analysis: &Analysis) -> Vec<Change> {
    analysis
        .rows::<Comparison<'_>>()
        .into_iter()
        .map(change)
        .collect()
}

fn change(row: Comparison<'_>) -> Change {
    let text = |word: Option<&str>| format::clean(word.unwrap_or_default());
    let is_time = row.unit == Some("ns");
    let number =
        |value: Option<f64>| value.map(|value| if is_time { value / NS_PER_MS } else { value });
    let unit = row.unit.map(|unit| {
        if is_time {
            "ms".to_owned()
        } else {
            format::clean(unit)
        }
    });
    Change {
        run: row.run.to_owned(),
        metric: text(row.metric),
        stat: text(row.stat),
        unit,
        baseline: number(row.baseline),
        value: number(row.value),
        difference: number(row.difference),
        ratio: row.ratio,
    }
}

/// Lays out a row a number and a column a run.
pub(crate) fn comparison_grid(analysis: &Analysis) -> Grid {
    let changes = changes(analysis);
    let names = analysis.runs.iter().map(|run| format::name(&run.run));
    let caption = "Value, and change against the first run";
    let mut grid = Grid::new(caption, &["metric", "stat", "unit"]).with_numbers(names);
    let mut seen: Vec<(&str, &str)> = Vec::new();
    for change in &changes {
        let key = (change.metric.as_str(), change.stat.as_str());
        if seen.contains(&key) {
            continue;
        }
        seen.push(key);
        let mut cells = vec![
            Field::verbatim(key.0),
            Field::verbatim(key.1),
            Field::plain(change.unit.clone().unwrap_or_default()),
            Field::plain(format::optional(change.baseline, places(change))),
        ];
        for run in analysis.runs.iter().skip(1) {
            let found = changes.iter().find(|other| {
                other.run == run.run && (other.metric.as_str(), other.stat.as_str()) == key
            });
            cells.push(found.map_or_else(
                || Field::plain(format::NONE),
                |change| against(analysis, change),
            ));
        }
        grid.push(cells);
    }
    grid
}

/// Returns how many decimals a number has: counts have none.
fn places(change: &Change) -> usize {
    match change.unit.as_deref() {
        Some("requests" | "tokens") => 0,
        _ => 2,
    }
}

/// Writes a value with its change in percent.
fn against(analysis: &Analysis, change: &Change) -> Field {
    let text = match percent_change(change) {
        Some(percent) => format!(
            "{} ({percent})",
            format::optional(change.value, places(change))
        ),
        None => format::optional(change.value, places(change)),
    };
    Field::plain(text).toned(tone(analysis, change))
}

/// Writes the change in percent, with its sign.
pub(crate) fn percent_change(change: &Change) -> Option<String> {
    let ratio = change.ratio?;
    let sign = if ratio >= 1.0 { "+" } else { "" };
    Some(format!(
        "{sign}{} %",
        format::decimal((ratio - 1.0) * 100.0, 1)
    ))
}

/// Tells which way a change goes: by its verdict where it has one, else where its interval holds
/// no 0; a change of which neither is known goes no way.
pub(crate) fn tone(analysis: &Analysis, change: &Change) -> Tone {
    let Some(tested) = difference(analysis, &change.run, &change.metric, &change.stat) else {
        return Tone::Plain;
    };
    if let Some(verdict) = tested.verdict {
        return verdict_tone(verdict);
    }
    if tested.lack == Some(CLIENTS) {
        return Tone::Plain;
    }
    let is_up = match (tested.low, tested.high) {
        (Some(low), _) if low > 0.0 => true,
        (_, Some(high)) if high < 0.0 => false,
        _ => return Tone::Plain,
    };
    match is_higher_better(&change.metric) {
        None => Tone::Plain,
        Some(is_higher_better) if is_up == is_higher_better => Tone::Good,
        Some(_) => Tone::Bad,
    }
}

/// Tells which way a metric should go; `None` where neither is better.
pub(crate) fn is_higher_better(metric: &str) -> Option<bool> {
    metric_row(metric)?.is_higher_better
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Column, Table};
    use crate::report::fixture;

    fn sample(metric: &str) -> Change {
        Change {
            run: "b".to_owned(),
            metric: metric.to_owned(),
            stat: "p99".to_owned(),
            unit: Some("ms".to_owned()),
            baseline: Some(100.0),
            value: Some(120.0),
            difference: Some(20.0),
            ratio: Some(1.2),
        }
    }

    /// The tone of a change of which this much is known: bounds, and a verdict.
    fn tone_of(metric: &str, bounds: Option<(f64, f64)>, verdict: Option<&str>) -> Tone {
        let text = |word: &str| Cell::Text(word.to_owned());
        let number = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
        let columns = ["run", "metric", "stat", "low", "high", "verdict"];
        let mut analysis = fixture::several(2);
        analysis.tables.push(Table {
            name: "differences".to_owned(),
            purpose: String::new(),
            columns: columns
                .iter()
                .map(|name| Column {
                    name: (*name).to_owned(),
                    unit: None,
                })
                .collect(),
            rows: vec![vec![
                text("b"),
                text(metric),
                text("p99"),
                number(bounds.map(|(low, _)| low)),
                number(bounds.map(|(_, high)| high)),
                verdict.map_or(Cell::Null, text),
            ]],
            sql: String::new(),
        });
        tone(&analysis, &sample(metric))
    }

    #[test]
    fn a_change_goes_as_its_verdict_says_or_its_interval() {
        let above = Some((0.01, 0.3));
        assert_eq!(tone_of("ttft", above, Some("worse")), Tone::Bad);
        assert_eq!(
            tone_of("ttft", above, Some("no difference seen")),
            Tone::Plain
        );
        assert_eq!(tone_of("ttft", above, None), Tone::Bad);
        assert_eq!(tone_of("output_tps", above, None), Tone::Good);
        assert_eq!(tone_of("ttft", Some((-0.3, -0.1)), None), Tone::Good);
        assert_eq!(tone_of("ttft", Some((-0.1, 0.5)), None), Tone::Plain);
        assert_eq!(tone_of("chunks", above, None), Tone::Plain);
        assert_eq!(tone_of("ttft", None, None), Tone::Plain);
        // A change of 20 % of which nothing is known.
        assert_eq!(tone(&fixture::several(2), &sample("ttft")), Tone::Plain);
    }

    #[test]
    fn every_other_run_has_a_column_with_its_change() {
        let grid = comparison_grid(&fixture::several(3));
        assert_eq!(grid.headings.len(), 3 + 3);
        assert!(grid.rows[0][4].text.ends_with(" %)"), "{:?}", grid.rows[0]);
    }
}
