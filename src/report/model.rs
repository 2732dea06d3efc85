//! The view model: everything a reader is told, decided once for all formats.

use serde::Serialize;

use crate::analyze::{
    Analysis, Goodput, LatencyPercentiles, Percentile, RunFacts, RunSummary, ThroughputWindows,
};
use crate::plan::Loop;

use super::ReportError;
use super::advice::advice;
use super::definitions::{Definition, definitions};
use super::diagnosis::diagnoses;
use super::few::carries_note;
use super::format;
use super::grades::{self, Grade, grades};
use super::language::{said, say};
use super::run_card::{self, Fact, run_card};
use super::section::Section;
use super::sections::{self, sections};
use super::seen::Diagnosis;
use super::uncertainty;
use super::verdict::{Verdict, verdict};
use super::warning::Advice;

/// Longest SQL text and longest plan that a page shows, in bytes.
const LONG_TEXT: usize = 6_000;

/// All that stands on a page, in its order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Report {
    /// What the page is called.
    pub(crate) title: String,
    /// The runs: first lines, run card, headline numbers.
    pub(crate) runs: Vec<RunView>,
    /// Whether there are several runs.
    pub(crate) is_comparison: bool,
    /// In what the plans of several runs differ; none where they do not.
    pub(crate) differs: Option<String>,
    /// Where the thresholds of grades are from.
    pub(crate) thresholds: String,
    /// Tables and pictures.
    pub(crate) sections: Vec<Section>,
    /// What the words mean.
    pub(crate) definitions: Vec<Definition>,
    /// The SQL of each number.
    pub(crate) queries: Vec<Query>,
    /// What a format that is bounded had no room for.
    pub(crate) left_out: Vec<String>,
    /// Command that makes the report again.
    pub(crate) command: String,
    /// Version of the tool that made the report.
    pub(crate) tool_version: String,
}

/// One run's first lines and card.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RunView {
    /// Its name.
    pub(crate) run: String,
    /// Class of its colour, `c1` to `c8`.
    pub(crate) class: String,
    /// May its numbers be believed?
    pub(crate) verdict: Verdict,
    /// What was measured, in one line.
    pub(crate) subtitle: String,
    /// How far the goals were met; none where none was stated.
    pub(crate) goals: Option<String>,
    /// Warnings.
    pub(crate) advice: Vec<Advice>,
    /// What it shows of the server.
    pub(crate) diagnoses: Vec<Diagnosis>,
    /// How its numbers are graded.
    pub(crate) grades: Vec<Grade>,
    /// The few numbers that most readers came for.
    pub(crate) tiles: Vec<Tile>,
    /// Where, when and how it was run.
    pub(crate) card: Vec<Fact>,
    /// The plan, as JSON.
    pub(crate) plan: String,
}

/// A number in large print.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Tile {
    /// What it is.
    pub(crate) label: String,
    /// The number.
    pub(crate) value: String,
    /// Its unit.
    pub(crate) unit: String,
    /// What it covers.
    pub(crate) note: String,
}

/// One query, as it was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Query {
    /// File name without its ending.
    pub(crate) name: String,
    /// What it answers.
    pub(crate) purpose: String,
    /// The SQL.
    pub(crate) sql: String,
}

/// Decides what stands on the page.
pub(crate) fn report(analysis: &Analysis) -> Result<Report, ReportError> {
    let runs = run_views(analysis);
    let title = match runs.as_slice() {
        [] => said("No run"),
        [run] => run.run.clone(),
        several => uncertainty::groups(analysis)
            .unwrap_or_else(|| say!("{n} runs compared", n = several.len())),
    };
    let queries = analysis
        .tables
        .iter()
        .map(|table| Query {
            name: format::clean(&table.name),
            purpose: said(&format::clean(&table.purpose)),
            sql: format::clean_lines(table.sql.trim(), LONG_TEXT),
        })
        .collect();
    Ok(Report {
        title,
        is_comparison: runs.len() > 1,
        runs,
        differs: run_card::differs(analysis),
        thresholds: grades::source(analysis),
        sections: sections(analysis)?,
        definitions: definitions(analysis),
        queries,
        left_out: Vec::new(),
        command: format::clean_to(&analysis.command, 4_000),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

/// Decides what is said of each run: the part that every format has, also those without sections.
pub(super) fn run_views(analysis: &Analysis) -> Vec<RunView> {
    let runs = analysis.runs.iter().enumerate();
    runs.map(|(index, run)| run_view(analysis, run, index))
        .collect()
}

fn run_view(analysis: &Analysis, run: &RunFacts, index: usize) -> RunView {
    let verdict = verdict(analysis, &run.run);
    let advice = advice(analysis, run, &verdict);
    let plan = serde_json::to_string_pretty(&run.manifest.plan).unwrap_or_default();
    RunView {
        run: format::name(&run.run),
        class: format!("c{}", index % 8 + 1),
        verdict,
        subtitle: run_card::subtitle(analysis, run),
        goals: goals(analysis, run),
        advice,
        diagnoses: diagnoses(analysis, run),
        grades: grades(analysis, run),
        tiles: tiles(analysis, run),
        card: run_card(analysis, run),
        plan: format::clean_lines(&plan, LONG_TEXT),
    }
}

/// Says how far the goals were met, in one line.
fn goals(analysis: &Analysis, run: &RunFacts) -> Option<String> {
    let found = analysis.rows_of::<Goodput<'_>>(&run.run);
    let row = found
        .iter()
        .find(|row| row.offered.is_some_and(|offered| offered > 0.0))?;
    let (offered, good) = (row.offered.unwrap_or(0.0), row.good.unwrap_or(0.0));
    let each = analysis.slos.iter().map(|slo| {
        let limit = format::duration(sections::ns_from(slo.limit_ns));
        let name = format::clean(&slo.metric);
        let met = match slo.metric.as_str() {
            "ttft" => row.ttft_met,
            "tpot" => row.tpot_met,
            "e2el" => row.e2el_met,
            _ => None,
        };
        let met = format::percent(met);
        let metric = name.to_uppercase();
        say!("{metric} ≤ {limit}: {met}", metric, limit, met)
    });
    let each: Vec<String> = each.collect();
    let each = each.join(&said(", "));
    let interval = uncertainty::share_interval(analysis, &run.run, "attainment")
        .map_or_else(String::new, |interval| {
            say!(" (95 % interval {interval})", interval)
        });
    let attainment = format::percent(Some(good / offered));
    let (good, offered) = (format::decimal(good, 0), format::decimal(offered, 0));
    Some(say!(
        "{good} of {offered} requests met every goal: attainment {attainment}{interval}. Met: {each}",
        good,
        offered,
        attainment,
        interval,
        each
    ))
}

/// Picks the numbers that most readers came for.
fn tiles(analysis: &Analysis, run: &RunFacts) -> Vec<Tile> {
    let windows = analysis.rows_of::<ThroughputWindows<'_>>(&run.run);
    let steady = windows.iter().find(|row| row.window_name == Some("steady"));
    let is_steady = steady.is_some_and(|row| row.rps.is_some());
    let window = if is_steady { steady } else { windows.last() };
    let is_asked = steady.is_some_and(|row| row.basis == Some("asked"));
    let over = match (is_steady, is_asked) {
        (true, true) => {
            let edges = window
                .map(|row| [row.from_ns, row.to_ns])
                .unwrap_or_default();
            let [from, to] = edges.map(|edge| format::duration(edge.unwrap_or(0.0)));
            say!("from {from} to {to}", from, to)
        }
        (true, false) => said("steady window"),
        (false, _) => said("whole run"),
    };
    let is_open = run.manifest.arrival_loop == Loop::Open;
    let (ttft, from) = if is_open {
        ("ttft_intended", "from intended")
    } else {
        ("ttft", "from send")
    };
    let summary = analysis.row_of::<RunSummary<'_>>(&run.run);
    // What the client hung up on was to end so.
    let requests = summary.and_then(|row| Some(row.requests? - row.hung_up.unwrap_or(0.0)));
    let ok = summary.and_then(|row| row.ok);
    let share = ok.zip(requests).filter(|(_, all)| *all > 0.0);
    vec![
        Tile {
            label: said("Output"),
            value: format::optional(window.and_then(|row| row.output_tps), 0),
            unit: said("tokens/s"),
            note: over.clone(),
        },
        Tile {
            label: said("Requests"),
            value: format::optional(window.and_then(|row| row.rps), 2),
            unit: said("/s"),
            note: over.clone(),
        },
        latency_tile(analysis, run, ("TTFT p50", ttft, 50.0), from),
        latency_tile(analysis, run, ("TTFT p99", ttft, 99.0), from),
        latency_tile(
            analysis,
            run,
            ("TPOT p50", "tpot", 50.0),
            "per output token",
        ),
        Tile {
            label: said("Succeeded"),
            value: format::percent(share.map(|(ok, all)| ok / all)),
            unit: said(""),
            note: say!(
                "{ok} of {requests} requests",
                ok = format::optional(ok, 0),
                requests = format::optional(requests, 0)
            ),
        },
    ]
}

fn latency_tile(
    analysis: &Analysis,
    run: &RunFacts,
    (label, metric, percent): (&'static str, &str, f64),
    note: &str,
) -> Tile {
    let found = analysis.rows_of::<LatencyPercentiles<'_>>(&run.run);
    let row = found.iter().find(|row| row.metric == Some(metric));
    let value = row.and_then(|row| row.percentile(Percentile::new(percent)?));
    let n = row.and_then(|row| row.n).unwrap_or(0.0);
    Tile {
        label: said(label),
        value: format::milliseconds(value),
        unit: if value.is_some() { "ms" } else { "" }.to_owned(),
        note: format!("{}{}", said(note), carries_note(value, n, percent / 100.0)),
    }
}
