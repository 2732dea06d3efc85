//! The report's tables: which rows and columns a reader gets, in the order of their importance.

use crate::analyze::{
    Analysis, Goodput, LatencyPercentiles, Percentile, RequestsByOutcome, RunFacts,
    ThroughputWindows, TokenCounts, Validity, WarmupEnd,
};
use crate::plan::Loop;

use super::ReportError;
use super::comparison::comparison_grid;
use super::counting;
use super::few::{FEW, percentile};
use super::fidelity;
use super::format;
use super::grid::{Field, Grid, Tone};
use super::language::{said, say};
use super::plots;
use super::requests;
use super::section::Section;
use super::server;
use super::servers;
use super::streams;
use super::sweep;
use super::timeline;
use super::tools::tools_section;
use super::uncertainty;
use super::verdict;

/// Percentiles of the headline table that are always there: heading, share, column.
const SHOWN: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];

/// Metrics of the headline table, with their short name and what they are measured from.
pub(crate) const HEADLINE: [(&str, &str, &str); 12] = [
    ("ttft", "TTFT", "send"),
    ("ttft_intended", "TTFT", "intended"),
    ("ttfa", "TTFA", "send"),
    ("tpot", "TPOT", ""),
    ("itl", "ITL", ""),
    ("itl_resolved", "ITL, resolved", ""),
    ("icl", "ICL", ""),
    ("e2el", "E2EL", "send"),
    ("e2el_intended", "E2EL", "intended"),
    ("server_queue", "Queue, by the server", ""),
    ("server_prefill", "Prefill, by the server", ""),
    ("server_decode", "Decode, by the server", ""),
];

/// Most rows in the table of outcomes.
const OUTCOMES: usize = 60;

/// The section on single requests.
const SINGLE: &str = "requests";

/// Lays out all sections but the first lines, the definitions and the queries.
pub(crate) fn sections(analysis: &Analysis) -> Result<Vec<Section>, ReportError> {
    let mut all = Vec::new();
    // Who compares runs asks first which of them is better.
    if analysis.runs.len() > 1 {
        all.push(comparison_section(analysis)?);
    }
    all.extend([
        latency_section(analysis),
        throughput_section(analysis)?,
        Section {
            id: "percentiles",
            heading: said("Latency by percentile"),
            lead: said(
                "Each curve shows every value from the fastest to the slowest; a step to the \
                   right is one more nine. Curves end where not even one value lies beyond.",
            ),
            grids: Vec::new(),
            figures: plots::percentile_figures(analysis)?,
        },
        Section {
            id: "over-time",
            heading: said("Over time"),
            lead: said(
                "A server that keeps up shows level lines. One that does not shows requests in \
                   flight, and with them the time to first token, growing until the load ends.",
            ),
            grids: uncertainty::stationarity(analysis)
                .into_iter()
                .chain(server::grids(analysis))
                .collect(),
            figures: timeline::time_figures(analysis)?,
        },
        Section {
            id: "gaps",
            heading: said("Every inter-token time"),
            lead: said(
                "Each cell counts the inter-token times of one length in one window. Bands show \
                   modes that percentiles hide, such as decoding interrupted by prefills.",
            ),
            grids: streams::smoothness(analysis).into_iter().collect(),
            figures: plots::heat_figures(analysis)?,
        },
        Section {
            id: SINGLE,
            heading: said("Single requests"),
            lead: said(
                "What the percentiles are made of: how long prompts make the first token wait, \
                   and where single requests spent their time.",
            ),
            grids: Vec::new(),
            figures: requests::figures(analysis)?,
        },
    ]);
    all.extend(session_section(analysis)?);
    all.extend([
        schedule_section(analysis)?,
        errors_section(analysis)?,
        client_section(analysis)?,
    ]);
    all.extend(tools_section(analysis));
    // Lives of single requests are drawn for one run alone.
    all.retain(|section| {
        section.id != SINGLE || is_single(analysis) || !section.figures.is_empty()
    });
    Ok(all)
}

fn is_single(analysis: &Analysis) -> bool {
    analysis.runs.len() == 1
}

/// Returns the metrics that the headline shows for a run: pairs in open loop and where requests may go
/// out again, else one form.
pub(crate) fn is_shown(run: &RunFacts, metric: &str) -> bool {
    run.manifest.arrival_loop == Loop::Open
        || run.manifest.plan.retries.is_some()
        || !metric.ends_with("_intended")
}

fn latency_section(analysis: &Analysis) -> Section {
    let mut headings = vec!["run", "metric", "from", "#n", "#mean"];
    let shown = shown(analysis);
    let names: Vec<String> = shown
        .iter()
        .map(|one| format!("#p{}", one.percent()))
        .collect();
    headings.extend(names.iter().map(String::as_str));
    headings.push("#max");
    let mut grid = Grid::new("Milliseconds; lower is better", &headings);
    for (metric, name, from) in HEADLINE {
        grid.groups.push(grid.rows.len());
        for run in analysis.runs.iter().filter(|run| is_shown(run, metric)) {
            for row in analysis.rows_of::<LatencyPercentiles<'_>>(&run.run) {
                if row.metric == Some(metric) {
                    let mut cells = vec![Field::foreign(format::name(&run.run))];
                    cells.extend([name, from].map(Field::plain));
                    cells.extend(latency_fields(analysis, row, &shown));
                    grid.push(cells);
                }
            }
        }
    }
    let mut fields = grid.rows.iter().flatten();
    if fields.any(|field| field.tone == Tone::Faint) {
        grid.notes.push(said(FEW));
    }
    grid.notes.extend(left_out(analysis));
    grid.notes.extend(uncertainty::remarks(analysis, |row| {
        let mut metrics = HEADLINE.iter();
        metrics.any(|(metric, ..)| row.metric == Some(metric))
    }));
    let is_open = analysis
        .runs
        .iter()
        .any(|run| run.manifest.arrival_loop == Loop::Open);
    let lead = if is_open {
        "Successful measured requests. “From send” is what the server did; “from intended” adds \
         the wait of a request that was due and could not leave, as its user would feel it."
    } else {
        "Successful measured requests, from the moment each was sent. In a closed loop a request \
         is due when its slot is free, so there is no second form."
    };
    if is_single(analysis) {
        grid.groups.clear();
    }
    let mut grids = vec![grid.without_run(is_single(analysis))];
    grids.extend(servers::by_server(analysis));
    grids.extend(streams::lengths(analysis));
    Section {
        id: "latency",
        heading: said("Latency"),
        lead: said(lead),
        grids,
        figures: Vec::new(),
    }
}

/// The numbers of a latency, each with its interval: n, mean, percentiles, maximum.
fn latency_fields(
    analysis: &Analysis,
    row: LatencyPercentiles<'_>,
    shown: &[Percentile],
) -> Vec<Field> {
    let n = row.n.unwrap_or(0.0);
    let metric = row.metric.unwrap_or_default();
    let interval = |stat: &str| uncertainty::latency_interval(analysis, row.run, metric, stat);
    let mut fields = vec![
        Field::plain(format::decimal(n, 0)),
        Field::plain(format::milliseconds(row.mean_ns)).within(interval("mean")),
    ];
    for one in shown {
        let field = percentile(row.percentile(*one), n, one.share());
        // What leans on the maximum has no interval worth its name.
        let is_weak = field.tone == Tone::Faint;
        let interval = (!is_weak).then(|| interval(&one.to_string())).flatten();
        fields.push(field.within(interval));
    }
    fields.push(Field::plain(format::milliseconds(row.max_ns)));
    fields
}

/// The percentiles of the headline table in order: those that are always there, and those that were
/// asked for.
fn shown(analysis: &Analysis) -> Vec<Percentile> {
    let mut all: Vec<Percentile> = SHOWN.into_iter().filter_map(Percentile::new).collect();
    for one in analysis.percentiles() {
        if !all.contains(&one) {
            all.push(one);
        }
    }
    all.sort_by(|a, b| a.share().total_cmp(&b.share()));
    all
}

/// Says how many requests the latencies leave out that were due in a warm-up, or outside of the
/// window that was asked for.
fn left_out(analysis: &Analysis) -> Vec<String> {
    let found = analysis.rows::<WarmupEnd<'_>>();
    let some = found.iter().filter_map(|row| {
        let left_out = row.left_out.filter(|n| *n > 0.0)?;
        Some((format::name(row.run), format::decimal(left_out, 0)))
    });
    let said = some.map(|(run, n)| {
        if is_single(analysis) {
            say!("{n} successful requests were due in the warm-up, or outside of the window that was asked for, and are left out.", n)
        } else {
            say!("{run}: {n} successful requests were due in the warm-up, or outside of the window that was asked for, and are left out.", run, n)
        }
    });
    said.collect()
}

fn throughput_section(analysis: &Analysis) -> Result<Section, ReportError> {
    let headings = [
        "run",
        "window",
        "#seconds",
        "#requests",
        "#requests/s",
        "#input tokens/s",
        "#output tokens/s",
        "#total tokens/s",
    ];
    let mut grid = Grid::new("Rates; higher is better", &headings);
    let mut drawn = None;
    for row in analysis.rows::<ThroughputWindows<'_>>() {
        let window = match (row.window_name, row.basis) {
            (Some("steady"), Some("asked")) => "asked for".to_owned(),
            (Some("steady"), _) => "steady".to_owned(),
            (Some("run"), _) => "whole run".to_owned(),
            (other, _) => format::clean(other.unwrap_or(format::NONE)),
        };
        if let Some(note) = row.note {
            let run = format::name(row.run);
            let whose = if is_single(analysis) {
                String::new()
            } else {
                format!("{run}, ")
            };
            grid.notes.push(format!(
                "{whose}{}: {}.",
                said(&window),
                said(&format::clean(note))
            ));
        }
        // The window that intervals are about is the first one that has a length.
        let is_drawn = row.seconds.is_some() && drawn != Some(row.run);
        if is_drawn {
            drawn = Some(row.run);
        }
        let mut cells = vec![Field::foreign(format::name(row.run)), Field::plain(window)];
        cells.extend(rates(analysis, row, is_drawn));
        grid.push(cells);
    }
    grid.notes.extend(uncertainty::remarks(analysis, |row| {
        row.stat == Some("window")
    }));
    let mut grids = vec![grid.without_run(is_single(analysis))];
    grids.extend(goodput_grid(analysis));
    grids.extend(streams::steps(analysis));
    grids.extend(streams::speeds(analysis));
    grids.extend(token_grid(analysis));
    grids.extend(counting::count_grid(analysis));
    let lead = "The steady window is the headline: it leaves out the end, when the server drains, \
                and the warm-up; an open loop without one (--warmup) begins while the server is \
                still empty. Requests are those that succeeded and ended in the window; tokens \
                are those of every request, as they passed.";
    Ok(Section {
        id: "throughput",
        heading: said("Throughput"),
        lead: said(lead),
        grids,
        figures: if is_single(analysis) {
            sweep::sweep_figures(analysis)?
        } else {
            Vec::new()
        },
    })
}

/// The numbers of a window, with their intervals if it is the one that those are about.
fn rates(analysis: &Analysis, row: ThroughputWindows<'_>, is_drawn: bool) -> [Field; 6] {
    [
        ("seconds", row.seconds, 2),
        ("requests", row.requests, 0),
        ("rps", row.rps, 2),
        ("input_tps", row.input_tps, 1),
        ("output_tps", row.output_tps, 1),
        ("total_tps", row.total_tps, 1),
    ]
    .map(|(metric, value, places)| {
        let interval =
            is_drawn.then(|| uncertainty::rate_interval(analysis, row.run, metric, places));
        Field::plain(format::optional(value, places)).within(interval.flatten())
    })
}

/// Names the goals, as a sentence has them.
fn goals(analysis: &Analysis) -> String {
    let goals = analysis.slos.iter().map(|slo| {
        let limit = format::duration(ns_from(slo.limit_ns));
        format!("{} ≤ {limit}", format::clean(&slo.metric).to_uppercase())
    });
    let goals: Vec<String> = goals.collect();
    goals.join(&said(" and "))
}

/// Lays out goodput; `None` where no goal was stated.
fn goodput_grid(analysis: &Analysis) -> Option<Grid> {
    let found = analysis.rows::<Goodput<'_>>();
    if analysis.slos.is_empty() || found.is_empty() {
        return None;
    }
    let caption = say!(
        "Goodput: requests due in the window that met {goals}",
        goals = goals(analysis)
    );
    let headings = [
        "run",
        "window",
        "#offered",
        "#met all",
        "#attainment",
        "#good/s",
        "#ok/s",
        "#good tokens/s",
        "#TTFT met",
        "#TPOT met",
        "#E2EL met",
        "#TPOT n",
    ];
    let mut grid = Grid::new(caption, &headings);
    let mut drawn = None;
    for row in found {
        let is_drawn = row.goodput_rps.is_some() && drawn != Some(row.run);
        if is_drawn {
            drawn = Some(row.run);
        }
        let count = |n| Field::plain(format::optional(n, 0));
        let share = |metric, share| {
            let interval = is_drawn.then(|| uncertainty::share_interval(analysis, row.run, metric));
            Field::plain(format::percent(share)).within(interval.flatten())
        };
        let rate = |metric, rate, places| {
            let interval =
                is_drawn.then(|| uncertainty::rate_interval(analysis, row.run, metric, places));
            Field::plain(format::optional(rate, places)).within(interval.flatten())
        };
        let window = match row.window_name {
            Some("run") | None => "whole run".to_owned(),
            Some(window) => format::clean(window),
        };
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            Field::plain(window),
            count(row.offered),
            count(row.good),
            share("attainment", row.attainment),
            rate("goodput_rps", row.goodput_rps, 2),
            Field::plain(format::optional(row.ok_rps, 2)),
            rate("goodput_tps", row.goodput_tps, 1),
            share("ttft_met", row.ttft_met),
            share("tpot_met", row.tpot_met),
            share("e2el_met", row.e2el_met),
            count(row.tpot_n),
        ]);
    }
    grid.notes.push(said(
        "Of the requests that were due in the window; throughput is of those that ended in it, so \
         that goodput can be above it.",
    ));
    Some(grid.without_run(is_single(analysis)))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a goal in nanoseconds is far below 2^53"
)]
pub(super) fn ns_from(limit_ns: i64) -> f64 {
    limit_ns as f64
}

fn token_grid(analysis: &Analysis) -> Option<Grid> {
    let headings = [
        "run",
        "tokens",
        "#planned",
        "#got",
        "#requests with exactly the plan",
    ];
    let mut grid = Grid::new("Tokens planned and got", &headings);
    for row in analysis.rows::<TokenCounts<'_>>() {
        let same = row
            .input_over_min
            .filter(|more| row.input_over_max == Some(*more));
        for (side, planned, got, exact, same) in [
            (
                "input",
                row.input_planned,
                row.input_got,
                row.input_exact,
                same,
            ),
            (
                "output",
                row.output_planned,
                row.output_got,
                row.output_exact,
                None,
            ),
        ] {
            let exact = format::percent(exact);
            let exact = match same.filter(|more| more.abs() >= 1.0) {
                Some(more) => say!(
                    "{exact} ({more} more in each)",
                    exact,
                    more = format::decimal(more, 0)
                ),
                None => exact,
            };
            grid.push(vec![
                Field::foreign(format::name(row.run)),
                Field::plain(side),
                Field::plain(format::optional(planned, 0)),
                Field::plain(format::optional(got, 0)),
                Field::plain(exact),
            ]);
        }
    }
    (!grid.rows.is_empty()).then(|| grid.without_run(is_single(analysis)))
}

/// Lays out what sessions do to latency; `None` where there are none.
fn session_section(analysis: &Analysis) -> Result<Option<Section>, ReportError> {
    let grids = fidelity::session_grids(analysis);
    if grids.is_empty() {
        return Ok(None);
    }
    let lead = "A later turn brings the whole conversation with it. Where the server keeps what it \
                has read, only what is new makes the first token wait.";
    Ok(Some(Section {
        id: "sessions",
        heading: said("Sessions and shared prefixes"),
        lead: said(lead),
        grids,
        figures: requests::turn_figures(analysis)?,
    }))
}

fn schedule_section(analysis: &Analysis) -> Result<Section, ReportError> {
    let lead = "Was the load that was asked for the load that was sent? Slip is the client's own \
                lateness; wait is the time that a cap set by the user held a request back.";
    Ok(Section {
        id: "schedule",
        heading: said("Schedule fidelity"),
        lead: said(lead),
        grids: fidelity::grids(analysis),
        figures: plots::slip_figures(analysis)?,
    })
}

fn errors_section(analysis: &Analysis) -> Result<Section, ReportError> {
    let headings = ["run", "status", "kind", "HTTP", "#requests", "example"];
    let mut grid = Grid::new("Measured requests by outcome", &headings);
    for row in analysis.rows::<RequestsByOutcome<'_>>() {
        let word = |word| match word {
            Some(text) => Field::foreign(format::clean(text)),
            None => Field::plain(format::NONE),
        };
        let status = word(row.status);
        let is_ok = row.status == Some("ok");
        let tone = if is_ok { Tone::Good } else { Tone::Bad };
        let http = row
            .http_status
            .map_or(format::NONE.to_owned(), |code| format!("{code:.0}"));
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            status.toned(tone),
            word(row.error_kind),
            Field::plain(http),
            Field::plain(format::optional(row.requests, 0)),
            word(row.example_message),
        ]);
    }
    Ok(Section {
        id: "errors",
        heading: said("Outcomes and errors"),
        lead: said("A failed request is a row of the tape like any other; latencies leave it out."),
        grids: [grid.cut(OUTCOMES).without_run(is_single(analysis))]
            .into_iter()
            .chain(servers::failed_attempts(analysis))
            .collect(),
        figures: plots::error_figures(analysis)?,
    })
}

fn client_section(analysis: &Analysis) -> Result<Section, ReportError> {
    let mut grid = Grid::new(
        "Checks on the client",
        &["run", "check", "#measured", "#limit", "result"],
    );
    for row in analysis.rows::<Validity<'_>>() {
        grid.push(check_row(row));
    }
    Ok(Section {
        id: "client",
        heading: said("Health of the client"),
        lead: said("If the client is the bottleneck, its own delays are in every latency above."),
        grids: vec![grid.without_run(is_single(analysis))],
        figures: timeline::client_figures(analysis)?,
    })
}

fn check_row(row: Validity<'_>) -> Vec<Field> {
    let unit = row.unit;
    let (result, tone) = match row.ok {
        Some(true) => ("passed", Tone::Good),
        Some(false) => ("over the limit", Tone::Bad),
        None => ("not checked", Tone::Faint),
    };
    let name = verdict::name(row);
    vec![
        Field::foreign(format::name(row.run)),
        Field::foreign(verdict::subject(&name)),
        Field::plain(verdict::quantity(row.value, unit)),
        Field::plain(verdict::quantity(row.limit_value, unit)),
        Field::plain(result).toned(tone),
    ]
}

fn comparison_section(analysis: &Analysis) -> Result<Section, ReportError> {
    let lead = "Every run against the first: verdicts on the numbers that matter most, with what \
                stands behind them, then every number. A change is coloured where its interval \
                holds no 0.";
    let mut grids: Vec<Grid> = uncertainty::verdicts(analysis).into_iter().collect();
    grids.push(comparison_grid(analysis));
    Ok(Section {
        id: "comparison",
        heading: said("Comparison"),
        lead: said(lead),
        grids,
        figures: sweep::sweep_figures(analysis)?,
    })
}
