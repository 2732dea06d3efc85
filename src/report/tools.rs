//! The same requests in the words of other tools: their numbers beside ours, and why they differ.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::analyze::{Analysis, Query, Table, definition_of_table};

use super::format::{self, NS_PER_MS};
use super::grid::{Field, Grid, Tone};
use super::language::{said, say};
use super::section::Section;

/// One number of a definition, in the unit that is shown.
#[derive(Debug, Clone, PartialEq)]
struct Number {
    metric: String,
    stat: String,
    unit: String,
    value: Option<f64>,
    note: Option<String>,
}

/// Returns the definitions that were answered, with the names of their tables.
fn answered(analysis: &Analysis) -> Vec<(&'static Query, &str)> {
    let known = |table: &Table| definition_of_table(&table.name);
    analysis
        .tables
        .iter()
        .filter_map(|table| Some((known(table)?, table.name.as_str())))
        .collect()
}

/// Reads what a definition says of a run; times become milliseconds.
fn numbers(analysis: &Analysis, table: &str, run: &str) -> Vec<Number> {
    let text = |value: Option<&str>| format::clean(value.unwrap_or_default());
    analysis
        .definition(table, run)
        .into_iter()
        .map(|row| {
            let is_time = row.unit == Some("ns");
            let value = row.value;
            Number {
                metric: text(row.metric),
                stat: text(row.stat),
                unit: if is_time {
                    "ms".to_owned()
                } else {
                    text(row.unit)
                },
                value: value.map(|value| if is_time { value / NS_PER_MS } else { value }),
                note: row.note.map(format::clean),
            }
        })
        .collect()
}

/// Lays out a run's numbers: a row a metric and statistic, a column a definition. The first
/// definition is in every table; of the others, each table has at most `most`.
pub(crate) fn number_grids(analysis: &Analysis, run: &str, most: usize) -> Vec<Grid> {
    let answered = answered(analysis);
    let Some(((ours, our_table), others)) = answered.split_first() else {
        return Vec::new();
    };
    others
        .chunks(most.max(1))
        .map(|some| {
            let mut columns = vec![(*ours, *our_table)];
            columns.extend(some);
            number_grid(analysis, run, &columns)
        })
        .collect()
}

fn number_grid(analysis: &Analysis, run: &str, columns: &[(&'static Query, &str)]) -> Grid {
    let tools = columns.iter().map(|(query, _)| query.name.to_owned());
    let caption = if analysis.runs.len() > 1 {
        say!("{run}, as each tool would say it", run = format::name(run))
    } else {
        said("As each tool would say it")
    };
    let mut grid = Grid::new(caption, &["metric", "stat", "unit"]).with_numbers(tools);
    let found: Vec<Vec<Number>> = columns
        .iter()
        .map(|(_, table)| numbers(analysis, table, run))
        .collect();
    for (metric, stat, unit) in keys(&found) {
        let mut cells = vec![
            Field::verbatim(metric.as_str()),
            Field::verbatim(stat.as_str()),
            Field::verbatim(unit.as_str()),
        ];
        cells.extend(found.iter().map(|numbers| {
            let number = numbers
                .iter()
                .find(|number| number.metric == metric && number.stat == stat);
            cell(number)
        }));
        grid.push(cells);
    }
    for ((query, _), numbers) in columns.iter().zip(&found) {
        grid.notes.extend(notes(query, numbers));
    }
    grid
}

/// Returns every metric and statistic that any definition has, where it first stands.
fn keys(found: &[Vec<Number>]) -> Vec<(String, String, String)> {
    const METRICS: [&str; 15] = [
        "ttft",
        "itl",
        "icl",
        "tpot",
        "ntpot",
        "e2el",
        "duration",
        "completed",
        "failed",
        "input_tokens",
        "output_tokens",
        "request_throughput",
        "input_throughput",
        "output_throughput",
        "total_throughput",
    ];
    const STATS: [&str; 9] = [
        "run", "mean", "std", "min", "p50", "p90", "p95", "p99", "max",
    ];
    let place = |list: &[&str], word: &str| {
        let found = list.iter().position(|known| *known == word);
        found.unwrap_or(list.len())
    };
    let mut keys: Vec<(String, String, String)> = Vec::new();
    for number in found.iter().flatten() {
        let is_known = keys
            .iter()
            .any(|(metric, stat, _)| *metric == number.metric && *stat == number.stat);
        if !is_known {
            keys.push((
                number.metric.clone(),
                number.stat.clone(),
                number.unit.clone(),
            ));
        }
    }
    keys.sort_by_key(|(metric, stat, _)| (place(&METRICS, metric), place(&STATS, stat)));
    keys
}

fn cell(number: Option<&Number>) -> Field {
    let Some(number) = number else {
        // A statistic that the tool does not have.
        return Field::plain("");
    };
    let is_count = matches!(number.unit.as_str(), "requests" | "tokens");
    let text = format::optional(number.value, if is_count { 0 } else { 2 });
    if number.note.is_some() {
        return Field::plain(format!("*{text}")).toned(Tone::Faint);
    }
    Field::plain(text)
}

/// Writes a definition's notes, each once with the metrics that it is about.
fn notes(query: &Query, numbers: &[Number]) -> Vec<String> {
    let mut about: Vec<(&str, Vec<&str>)> = Vec::new();
    for number in numbers {
        let Some(note) = number.note.as_deref() else {
            continue;
        };
        match about.iter_mut().find(|(known, _)| *known == note) {
            Some((_, metrics)) if metrics.contains(&number.metric.as_str()) => {}
            Some((_, metrics)) => metrics.push(&number.metric),
            None => about.push((note, vec![&number.metric])),
        }
    }
    about
        .into_iter()
        .map(|(note, metrics)| format!("* {}, {}: {note}.", query.name, metrics.join(", ")))
        .collect()
}

/// Lays out what each definition means by each metric: a line why numbers differ.
pub(crate) fn meaning_grid(analysis: &Analysis) -> Grid {
    let mut grid = Grid::new(
        "What each tool means",
        &["metric", "tool", "how it is measured there"],
    );
    for (metric, meanings) in meanings(analysis) {
        grid.groups.push(grid.rows.len());
        for (tool, meaning) in meanings {
            grid.push(vec![
                Field::verbatim(metric.clone()),
                Field::verbatim(tool),
                Field::verbatim(meaning),
            ]);
        }
    }
    grid
}

/// Returns the meanings of each metric, by tool.
pub(crate) fn meanings(analysis: &Analysis) -> Vec<(String, Vec<(&'static str, &'static str)>)> {
    let answered = answered(analysis);
    let found: Vec<Vec<Number>> = analysis
        .runs
        .first()
        .map(|run| {
            answered
                .iter()
                .map(|(_, table)| numbers(analysis, table, &run.run))
                .collect()
        })
        .unwrap_or_default();
    let mut metrics: Vec<String> = Vec::new();
    for (metric, ..) in keys(&found) {
        if !metrics.contains(&metric) {
            metrics.push(metric);
        }
    }
    metrics.push("percentiles".to_owned());
    metrics
        .into_iter()
        .map(|metric| {
            let said = answered
                .iter()
                .filter_map(|(query, _)| Some((query.name, query.meaning(&metric)?)));
            let said = said.collect();
            (metric, said)
        })
        .collect()
}

/// Lays out the section; `None` where no definition was asked for.
pub(crate) fn tools_section(analysis: &Analysis) -> Option<Section> {
    if answered(analysis).is_empty() {
        return None;
    }
    let mut grids: Vec<Grid> = analysis
        .runs
        .iter()
        .flat_map(|run| number_grids(analysis, &run.run, usize::MAX))
        .collect();
    grids.push(meaning_grid(analysis));
    Some(Section {
        id: "tools",
        heading: said("In the words of other tools"),
        lead: said(
            "The same requests and the same times, by each tool's own definitions: what that \
               tool would have said of them. An empty cell is a statistic that it does not have.",
        ),
        grids,
        figures: Vec::new(),
    })
}

/// Renders what the definitions say of a run as
/// `{tool: {source, metrics: {key: {value, unit, note}}, meanings: {metric: text}}}`.
pub(crate) fn tools_json(analysis: &Analysis, run: &str) -> Option<Value> {
    let answered = answered(analysis);
    if answered.is_empty() {
        return None;
    }
    let tools: Map<String, Value> = answered
        .into_iter()
        .map(|(query, table)| {
            let numbers = numbers(analysis, table, run);
            let meanings: BTreeMap<&str, &str> = numbers
                .iter()
                .map(|number| number.metric.as_str())
                .filter_map(|metric| Some((metric, query.meaning(metric)?)))
                .collect();
            let metrics: Map<String, Value> = numbers
                .iter()
                .map(|number| {
                    let key = format!("{}_{}", number.metric, number.stat);
                    let entry = json!({
                        "value": number.value, "unit": number.unit, "note": number.note,
                    });
                    (key, entry)
                })
                .collect();
            let tool = json!({
                "source": query.purpose, "metrics": metrics, "meanings": meanings,
            });
            (query.name.to_owned(), tool)
        })
        .collect();
    Some(Value::Object(tools))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Column, DEFINITION_COLUMNS};
    use crate::report::fixture;

    /// Adds a definition's answer: metric, statistic, unit, value and note a row.
    fn add(analysis: &mut Analysis, tool: &str, rows: &[(&str, &str, &str, Option<f64>, &str)]) {
        let run = analysis.runs[0].run.clone();
        let text = |text: &str| Cell::Text(text.to_owned());
        let cells = |row: &(&str, &str, &str, Option<f64>, &str)| {
            let (metric, stat, unit, value, note) = *row;
            let note = if note.is_empty() {
                Cell::Null
            } else {
                text(note)
            };
            let value = value.map_or(Cell::Null, Cell::Float);
            vec![
                text(&run),
                text(metric),
                text(stat),
                text(unit),
                value,
                note,
            ]
        };
        analysis.tables.push(Table {
            name: format!("definition_{tool}"),
            purpose: String::new(),
            columns: DEFINITION_COLUMNS
                .map(|name| Column {
                    name: name.to_owned(),
                    unit: None,
                })
                .to_vec(),
            rows: rows.iter().map(cells).collect(),
            sql: String::new(),
        });
    }

    fn asked() -> Analysis {
        let mut analysis = fixture::single();
        add(
            &mut analysis,
            "tokentape",
            &[
                ("ttft", "p50", "ns", Some(12.5e6), ""),
                ("ttft", "max", "ns", Some(40e6), ""),
                ("completed", "run", "requests", Some(1990.0), ""),
            ],
        );
        add(
            &mut analysis,
            "vllm",
            &[
                ("ttft", "p50", "ns", Some(3.25e6), ""),
                ("tpot", "p50", "ns", None, "not available: no counts"),
                ("completed", "run", "requests", Some(2000.0), ""),
            ],
        );
        analysis
    }

    #[test]
    fn tools_stand_side_by_side_with_what_they_lack() {
        let grids = number_grids(&asked(), &asked().runs[0].run, 4);
        let [grid] = grids.as_slice() else {
            panic!("one table holds two tools");
        };
        let rows: Vec<String> = grid
            .rows
            .iter()
            .map(|row| {
                let texts: Vec<_> = row.iter().map(|field| field.text.as_str()).collect();
                texts.join("|")
            })
            .collect();
        assert_eq!(
            rows,
            [
                "ttft|p50|ms|12.50|3.25",
                "ttft|max|ms|40.00|",
                "tpot|p50|ms||*–",
                "completed|run|requests|1,990|2,000",
            ]
        );
        assert_eq!(grid.notes, ["* vllm, tpot: not available: no counts."]);
    }

    #[test]
    fn a_narrow_page_repeats_ours_beside_the_rest() {
        let mut analysis = asked();
        add(&mut analysis, "sglang", &[]);
        let headings: Vec<Vec<String>> = number_grids(&analysis, &analysis.runs[0].run, 1)
            .iter()
            .map(|grid| {
                grid.headings
                    .iter()
                    .skip(3)
                    .map(|one| one.name.clone())
                    .collect()
            })
            .collect();
        assert_eq!(headings, [["tokentape", "vllm"], ["tokentape", "sglang"]]);
    }

    #[test]
    fn each_number_has_its_meaning_by_tool() {
        let found = meanings(&asked());
        let (metric, said) = &found[0];
        assert_eq!(metric, "ttft");
        assert_eq!(said[0].0, "tokentape");
        assert!(said[1].1.contains("first event with choices"), "{said:?}");
        assert_eq!(found.last().unwrap().0, "percentiles");
    }

    #[test]
    fn scripts_find_values_notes_and_meanings() {
        let analysis = asked();
        let value = tools_json(&analysis, &analysis.runs[0].run).unwrap();
        let vllm = &value["vllm"];
        assert_eq!(vllm["metrics"]["ttft_p50"]["value"], 3.25);
        assert_eq!(vllm["metrics"]["tpot_p50"]["value"], Value::Null);
        assert_eq!(
            vllm["metrics"]["tpot_p50"]["note"],
            "not available: no counts"
        );
        assert!(vllm["meanings"]["tpot"].is_string());
    }

    #[test]
    fn nothing_is_said_that_was_not_asked_for() {
        let analysis = fixture::single();
        assert!(tools_section(&analysis).is_none());
        assert!(tools_json(&analysis, "demo").is_none());
        assert!(number_grids(&analysis, "demo", 4).is_empty());
    }
}
