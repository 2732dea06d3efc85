//! The summary that ends a run: the shape that people know from `vllm bench serve`, with the
//! verdict first and the latencies as one table.
//!
//! As wide as the terminal where that is known, else at most 100 columns; no control character from
//! outside, colour only when asked for.

#[cfg(test)]
mod tests;

use crate::analyze::{
    Analysis, Differences, Goodput, LatencyPercentiles, Percentile, RunFacts, RunSummary, Standing,
    ThroughputWindows, empty_window, has_success,
};

use super::advice::nothing_in_window;
use super::asked::asked;
use super::columns::{
    WIDTH, fit, fit_middle, fitting, natural_width, paint, push_line, rule, table, wrap,
};
use super::comparison::{changes, is_higher_better, percent_change, tone};
use super::few::FEW;
use super::format;
use super::grades::source;
use super::grid::{Field, Grid, Tone, VERDICT};
use super::model::{RunView, run_views};
use super::run_card::differs;
use super::sections::{HEADLINE, is_shown};
use super::servers;
use super::tools;
use super::uncertainty::{
    difference, groups as named_groups, interval_of, of_clients, of_groups, power, reach,
    shown_unit, signed_percent, verdict_tone,
};
use super::verdict::failures;
use super::warning::Advice;

/// Stands in the place of a verdict on a number that is not tested.
const NOT_JUDGED: &str = "not judged";

/// Most definitions of other tools side by side.
const TOOLS_A_ROW: usize = 4;

/// Columns of a name beside many numbers, at most.
const LONGEST_NAME: usize = 28;

/// Columns that a table needs at least.
const NARROWEST: usize = 60;

/// What the terminal summary shows, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TerminalOptions {
    /// Metrics: `ttft`, `tpot`, `itl`, `e2el`, and any other of `latency_percentiles`.
    pub metrics: Vec<String>,
    /// Percentiles of the latencies.
    pub percentiles: Vec<Percentile>,
    /// Columns of the terminal.
    pub width: usize,
    /// Whether the terminal takes colour.
    pub color: bool,
}

impl TerminalOptions {
    /// Columns of sentences: long lines are hard to read.
    fn prose(&self) -> usize {
        self.width.min(WIDTH)
    }
}

impl Default for TerminalOptions {
    fn default() -> Self {
        Self {
            metrics: ["ttft", "tpot", "itl", "e2el"].map(str::to_owned).to_vec(),
            percentiles: [50.0, 90.0, 99.0]
                .into_iter()
                .filter_map(Percentile::new)
                .collect(),
            width: WIDTH,
            color: false,
        }
    }
}

/// Renders the summary for a terminal.
pub fn terminal(analysis: &Analysis, options: &TerminalOptions) -> String {
    let options = &TerminalOptions {
        width: options.width.max(NARROWEST),
        ..options.clone()
    };
    let mut out = String::new();
    let is_single = analysis.runs.len() == 1;
    let views = run_views(analysis);
    for view in &views {
        first_line(&mut out, view, is_single, options);
    }
    if is_single && !has_success(analysis) {
        for run in &analysis.runs {
            failed_block(&mut out, analysis, run, options);
        }
        warnings(&mut out, &views, options);
        return out;
    }
    if is_single {
        for run in &analysis.runs {
            run_block(&mut out, analysis, run, options);
        }
    } else {
        runs_table(&mut out, analysis, options);
    }
    latency_tables(&mut out, analysis, options);
    server_tables(&mut out, analysis, options);
    goodput_lines(&mut out, analysis);
    for (name, value) in asked(analysis) {
        push_line(&mut out, &format!("{name:<44} {value}"));
    }
    if !is_single {
        comparison_table(&mut out, analysis, options);
    }
    tool_tables(&mut out, analysis, options);
    rule(&mut out, '=', "");
    grade_lines(&mut out, &views, &source(analysis), options);
    diagnosis_lines(&mut out, &views, options);
    warnings(&mut out, &views, options);
    out
}

/// Writes the verdict, with why.
fn first_line(out: &mut String, view: &RunView, is_single: bool, options: &TerminalOptions) {
    let verdict = &view.verdict;
    let color = options.color;
    let code = match verdict.standing {
        Standing::Valid => "1;32",
        Standing::ClientLimited => "1;31",
        Standing::NotChecked | Standing::NoResult => "1;33",
    };
    let whose = if is_single {
        String::new()
    } else {
        format!("{}: ", view.run)
    };
    let text = format!("{whose}{}: {}", verdict.word, verdict.reason);
    let painted = paint(&verdict.word, code, color);
    for (index, line) in wrap(&text, options.prose(), "  ").into_iter().enumerate() {
        let line = if index == 0 {
            line.replacen(&verdict.word, &painted, 1)
        } else {
            line
        };
        push_line(out, &line);
    }
    if !verdict.details.is_empty() {
        for line in wrap(&format!("  {}", verdict.details), options.prose(), "  ") {
            push_line(out, &paint(&line, "2", color));
        }
    }
}

/// Writes what became of a run without a success: nothing of it can be measured.
fn failed_block(out: &mut String, analysis: &Analysis, run: &RunFacts, options: &TerminalOptions) {
    rule(out, '=', " No request succeeded ");
    for failure in failures(analysis, &run.run) {
        for line in wrap(&failure, options.prose(), "  ") {
            push_line(out, &line);
        }
    }
    rule(out, '=', "");
}

/// Writes counts and rates in the order that `vllm bench serve` has them.
fn run_block(out: &mut String, analysis: &Analysis, run: &RunFacts, options: &TerminalOptions) {
    rule(out, '=', " Serving Benchmark Result ");
    let Some(summary) = analysis.row_of::<RunSummary<'_>>(&run.run) else {
        return;
    };
    let mut fact = |name: &str, value: String| push_line(out, &format!("{name:<44} {value}"));
    let count = |n| plain(n, 0);
    fact(
        "Run:",
        fit_middle(&format::name(&run.run), options.width - 45),
    );
    fact("Successful requests:", count(summary.ok));
    fact("Failed requests:", count(summary.failed));
    for (name, n) in [
        ("Interrupted requests:", summary.interrupted),
        ("Cancelled requests:", summary.cancelled),
        ("Hung up on:", summary.hung_up),
        ("Never sent:", summary.not_sent),
        ("Sent more than once (--retries):", summary.retried),
    ] {
        if n.is_some_and(|n| n > 0.0) {
            fact(name, count(n));
        }
    }
    fact("Peak requests in flight:", count(summary.peak_in_flight));
    fact("Benchmark duration (s):", plain(summary.duration_s, 2));
    fact("Total input tokens:", count(summary.input_tokens));
    fact("Total generated tokens:", count(summary.output_tokens));
    for row in rated_windows(analysis, &run.run) {
        let suffix = window_name(row);
        for (name, unit, rate) in [
            ("Request throughput", "req/s", row.rps),
            ("Output token throughput", "tok/s", row.output_tps),
            ("Total token throughput", "tok/s", row.total_tps),
        ] {
            let value = match (rate, row.note) {
                (None, Some(why)) => format!("{} ({})", plain(None, 2), format::clean(why)),
                (rate, _) => plain(rate, 2),
            };
            fact(&format!("{name}, {suffix} ({unit}):"), value);
        }
    }
}

/// The windows of a run that have any rate, the headline first.
fn rated_windows<'a>(analysis: &'a Analysis, run: &str) -> Vec<ThroughputWindows<'a>> {
    let has_rate = |row: &ThroughputWindows<'_>| row.rps.or(row.output_tps).is_some();
    let windows = analysis.rows_of::<ThroughputWindows<'_>>(run).into_iter();
    windows.filter(has_rate).collect()
}

/// Says which window a row is about.
fn window_name(row: ThroughputWindows<'_>) -> &'static str {
    match (row.window_name, row.basis) {
        (Some("steady"), Some("asked")) => "asked for",
        (Some("steady"), _) => "steady",
        _ => "whole run",
    }
}

/// Writes one row a run.
fn runs_table(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    let headings = [
        "run",
        "#ok",
        "#failed",
        "#duration s",
        "window",
        "#req/s",
        "#output tok/s",
        "#total tok/s",
    ];
    let mut grid = Grid::new("", &headings);
    for run in &analysis.runs {
        let summary = analysis.row_of::<RunSummary<'_>>(&run.run);
        let window = rated_windows(analysis, &run.run).into_iter().next();
        let cell = |value, places| Field::plain(format::optional(value, places));
        let rates = window.map(|row| (row.rps, row.output_tps, row.total_tps));
        let (rps, output_tps, total_tps) = rates.unwrap_or_default();
        grid.push(vec![
            Field::foreign(format::name(&run.run)),
            cell(summary.and_then(|row| row.ok), 0),
            cell(summary.and_then(|row| row.failed), 0),
            cell(summary.and_then(|row| row.duration_s), 1),
            Field::plain(window.map_or(format::NONE, window_name)),
            cell(rps, 2),
            cell(output_tps, 1),
            cell(total_tps, 1),
        ]);
    }
    rule(out, '=', " Runs ");
    table(out, &grid, options.width, options.color);
}

/// Writes the latencies, in as many tables as the percentiles need.
fn latency_tables(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    rule(out, '-', " Latency in ms (lower is better) ");
    // As many percentiles side by side as the line has room for.
    let all = &options.percentiles;
    let fits = |most: &usize| {
        let grid = latency_grid(analysis, options, &all[..*most], true);
        natural_width(&grid) <= options.width
    };
    let most = (1..=all.len()).rev().find(fits).unwrap_or(1);
    let groups: Vec<&[Percentile]> = if all.is_empty() {
        vec![&[]]
    } else {
        all.chunks(most).collect()
    };
    let mut is_any_weak = false;
    for (index, group) in groups.into_iter().enumerate() {
        let grid = latency_grid(analysis, options, group, index == 0);
        is_any_weak |= grid
            .rows
            .iter()
            .flatten()
            .any(|field| field.tone == Tone::Faint);
        if grid.rows.is_empty() {
            let lasted = analysis
                .runs
                .iter()
                .find_map(|run| empty_window(analysis, &run.run));
            let said = lasted.map_or_else(
                || "no request succeeded, so there is no latency".to_owned(),
                nothing_in_window,
            );
            wrap(&said, options.prose(), "  ")
                .iter()
                .for_each(|line| push_line(out, line));
            return;
        }
        table(out, &grid, options.width, options.color);
    }
    if is_any_weak {
        push_line(out, FEW);
    }
}

/// Writes what each of several servers did, and which attempts failed.
fn server_tables(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    for (title, grid) in [
        (" By server, in ms ", servers::by_server_narrow(analysis)),
        (" Attempts that failed ", servers::failed_attempts(analysis)),
    ] {
        if let Some(grid) = grid {
            rule(out, '-', title);
            let grid = fitting(with_short_names(grid), options.width);
            table(out, &grid, options.width, options.color);
        }
    }
}

/// Cuts names in their middle, so that they leave room for numbers.
fn with_short_names(mut grid: Grid) -> Grid {
    let fields = grid.rows.iter_mut().flatten();
    for field in fields.filter(|field| field.tone == Tone::Foreign) {
        field.text = fit_middle(&field.text, LONGEST_NAME);
    }
    grid
}

/// One table of percentiles; the first one has the other statistics as well.
fn latency_grid(
    analysis: &Analysis,
    options: &TerminalOptions,
    percentiles: &[Percentile],
    is_first: bool,
) -> Grid {
    let is_single = analysis.runs.len() == 1;
    let mut headings = vec!["run".to_owned(), "metric".to_owned()];
    if is_first {
        headings.extend(["#n", "#mean"].map(str::to_owned));
    }
    headings.extend(percentiles.iter().map(|one| format!("#p{}", one.percent())));
    if is_first {
        headings.push("#max".to_owned());
    }
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut grid = Grid::new("", &headings);
    for asked in &options.metrics {
        for form in [asked.clone(), format!("{asked}_intended")] {
            for run in analysis.runs.iter().filter(|run| is_shown(run, &form)) {
                for row in analysis.rows_of::<LatencyPercentiles<'_>>(&run.run) {
                    if row.metric != Some(form.as_str()) {
                        continue;
                    }
                    let n = row.n.unwrap_or(0.0);
                    let mut cells = vec![
                        Field::foreign(format::name(&run.run)),
                        Field::plain(metric_name(&form)),
                    ];
                    if is_first {
                        cells.push(Field::plain(format::decimal(n, 0)));
                        cells.push(Field::plain(format::milliseconds(row.mean_ns)));
                    }
                    cells.extend(
                        percentiles.iter().map(|one| {
                            super::few::percentile(row.percentile(*one), n, one.share())
                        }),
                    );
                    if is_first {
                        cells.push(Field::plain(format::milliseconds(row.max_ns)));
                    }
                    grid.push(cells);
                }
            }
        }
    }
    grid.without_run(is_single)
}

/// Names a metric in few letters.
fn metric_name(metric: &str) -> String {
    let known = HEADLINE.iter().find(|(key, ..)| *key == metric);
    match known {
        Some((_, name, "intended")) => format!("{name} (intended)"),
        Some((_, name, _)) => (*name).to_owned(),
        None => format::clean(metric),
    }
}

/// Writes goodput, where goals were stated.
fn goodput_lines(out: &mut String, analysis: &Analysis) {
    if analysis.slos.is_empty() {
        return;
    }
    for run in &analysis.runs {
        let whose = if analysis.runs.len() == 1 {
            String::new()
        } else {
            format!(", {}", fit_middle(&format::name(&run.run), 20))
        };
        for row in analysis.rows_of::<Goodput<'_>>(&run.run) {
            let is_whole = row.window_name == Some("run");
            let window = if is_whole { ", whole run" } else { "" };
            let name = format!("Goodput by due time{whose}{window} (req/s):");
            let text = format!(
                "{name:<44} {} ({} of {} met every goal)",
                plain(row.goodput_rps, 2),
                format::percent(row.attainment),
                plain(row.offered, 0),
            );
            push_line(out, &text);
        }
    }
}

/// Writes what changed against the first run, or from group to group, in the numbers that are
/// quoted most.
fn comparison_table(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    let groups = of_groups(analysis);
    let (title, grid) = match named_groups(analysis) {
        None => (
            " Against the first run ".to_owned(),
            run_changes(analysis, options),
        ),
        Some(named) => (
            format!(" {} ", fit_middle(&named, 66)),
            group_changes(&groups, options),
        ),
    };
    if grid.rows.is_empty() {
        return;
    }
    rule(out, '-', &title);
    let is_any_unjudged = grid
        .rows
        .iter()
        .any(|row| row.last().is_some_and(|field| field.text == NOT_JUDGED));
    let is_one = groups.is_empty() && analysis.runs.len() == 2;
    table(out, &grid.without_run(is_one), options.width, options.color);
    let mut notes = Vec::new();
    if let Some(reach) = reach(analysis) {
        notes.push(format!(
            "verdicts are {reach}; all together alarm falsely with a chance of 5 % at most, and \
             each interval beside one is that which it stands on"
        ));
    }
    notes.extend(power(analysis));
    notes.extend(of_clients(analysis.rows::<Differences<'_>>().into_iter()));
    if is_any_unjudged {
        notes.push(format!(
            "{NOT_JUDGED}: not tested; the interval is one of 95 % by itself"
        ));
    }
    for note in notes {
        wrap(&note, options.prose(), "  ")
            .iter()
            .for_each(|line| push_line(out, line));
    }
    if let Some(said) = differs(analysis) {
        for line in wrap(&said, options.prose(), "  ") {
            push_line(out, &line);
        }
    }
}

/// Whether the text shows a number of a comparison, and whether that is a rate.
fn shown_as_rate(metric: &str, stat: &str, options: &TerminalOptions) -> Option<bool> {
    let is_latency = options
        .metrics
        .iter()
        .any(|known| metric == *known || metric.strip_suffix("_intended") == Some(known));
    let is_quoted = matches!(stat, "p50" | "p99");
    let is_rate = is_higher_better(metric) == Some(true);
    (is_latency && is_quoted || is_rate).then_some(is_rate)
}

/// A verdict in few letters.
fn verdict_field(verdict: Option<&str>) -> Field {
    match verdict {
        Some("no difference seen") => Field::plain("no difference"),
        Some(verdict) => Field::plain(verdict).toned(verdict_tone(verdict)),
        None => Field::plain(NOT_JUDGED).toned(Tone::Faint),
    }
}

/// The headline numbers of each group of runs beside the first group's.
fn group_changes(groups: &[Differences<'_>], options: &TerminalOptions) -> Grid {
    let headings = [
        "group",
        "number",
        "#first group",
        "#this group",
        "#change",
        "#interval",
        VERDICT,
    ];
    let mut grid = Grid::new("", &headings);
    for row in groups {
        let (metric, stat) = (row.metric, row.stat);
        let (metric, stat) = (metric.unwrap_or_default(), stat.unwrap_or_default());
        let verdict = row.verdict;
        if verdict.is_none() && shown_as_rate(metric, stat, options).is_none() {
            continue;
        }
        let (unit, by) = shown_unit(row.unit);
        let shown = |value: Option<f64>| format::optional(value.map(|value| value / by), 2);
        let stat = if stat == "window" { "" } else { stat };
        let named = format!("{metric} {stat} {unit}");
        let words: Vec<&str> = named.split_whitespace().collect();
        grid.push(vec![
            Field::foreign(fit_middle(&format::name(row.run), 20)),
            Field::plain(words.join(" ")),
            Field::plain(shown(row.baseline_value)),
            Field::plain(shown(row.value)),
            Field::plain(signed_percent(row.difference))
                .toned(verdict_tone(verdict.unwrap_or_default())),
            Field::plain(interval_of(Some(*row))),
            verdict_field(verdict),
        ]);
    }
    grid
}

/// The most quoted numbers of each run beside the first run's.
fn run_changes(analysis: &Analysis, options: &TerminalOptions) -> Grid {
    let headings = [
        "run",
        "number",
        "#first run",
        "#this run",
        "#change",
        "#interval",
        VERDICT,
    ];
    let mut grid = Grid::new("", &headings);
    let all = changes(analysis);
    for change in &all {
        let Some(is_rate) = shown_as_rate(&change.metric, &change.stat, options) else {
            continue;
        };
        // The whole run stands for the steady window where that is missing.
        let is_whole = change.stat == "run";
        let is_steady_there = all.iter().any(|other| {
            (&other.run, &other.metric) == (&change.run, &change.metric) && other.stat == "steady"
        });
        if is_rate && is_whole && is_steady_there {
            continue;
        }
        let text = percent_change(change).unwrap_or_else(|| format::NONE.to_owned());
        let stat = if is_rate {
            "steady"
        } else {
            change.stat.as_str()
        };
        let tested = difference(analysis, &change.run, &change.metric, stat);
        let verdict = tested.and_then(|row| row.verdict);
        let stat = match (is_rate, is_whole) {
            (true, true) => "whole run",
            (true, false) => "",
            (false, _) => stat,
        };
        let unit = change.unit.clone().unwrap_or_default();
        let number = format!("{} {stat} {unit}", change.metric);
        let words: Vec<&str> = number.split_whitespace().collect();
        grid.push(vec![
            Field::foreign(fit_middle(&format::name(&change.run), 20)),
            Field::plain(words.join(" ")),
            Field::plain(format::optional(change.baseline, 2)),
            Field::plain(format::optional(change.value, 2)),
            Field::plain(text).toned(tone(analysis, change)),
            Field::plain(interval_of(tested)),
            verdict_field(verdict),
        ]);
    }
    grid
}

/// Writes the numbers of other tools beside ours, and what each of them means by its words.
fn tool_tables(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    for run in &analysis.runs {
        for grid in tools::number_grids(analysis, &run.run, TOOLS_A_ROW) {
            rule(out, '-', &format!(" {} ", fit(&grid.caption, 60)));
            table(out, &grid, options.width, options.color);
            for note in &grid.notes {
                wrap(note, options.width, "  ")
                    .iter()
                    .for_each(|line| push_line(out, line));
            }
        }
    }
    let meanings = tools::meanings(analysis);
    if meanings.iter().any(|(_, said)| !said.is_empty()) {
        rule(out, '-', " Why they differ ");
    }
    for (metric, said) in meanings {
        for (tool, meaning) in said {
            let text = format!("{metric}, {tool}: {meaning}.");
            wrap(&text, WIDTH, "  ")
                .iter()
                .for_each(|line| push_line(out, line));
        }
    }
}

/// Writes the grades of each run; what shares a grade that is none is named once.
fn grade_lines(out: &mut String, views: &[RunView], source: &str, options: &TerminalOptions) {
    for view in views {
        let mut graded: Vec<(String, &str)> = Vec::new();
        for one in &view.grades {
            let number = format!("{} {}", one.label, one.value);
            match graded.last_mut() {
                Some((numbers, grade)) if *grade == one.grade => {
                    numbers.push_str(&format!(", {number}"));
                }
                _ => graded.push((number, &one.grade)),
            }
        }
        if graded.is_empty() {
            continue;
        }
        let whose = if views.len() == 1 {
            String::new()
        } else {
            format!(" of {}", fit_middle(&view.run, 32))
        };
        let graded: Vec<String> = graded
            .into_iter()
            .map(|(numbers, grade)| format!("{numbers} {grade}"))
            .collect();
        let text = format!("Grades{whose}: {} ({source}).", graded.join("; "));
        for line in wrap(&text, options.prose(), "  ") {
            push_line(out, &line);
        }
    }
}

/// Writes what the only run shows of its server; of several, a report has it.
fn diagnosis_lines(out: &mut String, views: &[RunView], options: &TerminalOptions) {
    let [view] = views else {
        return;
    };
    for one in view.diagnoses.iter().take(3) {
        let text = format!("Seen: {}.", one.what);
        for line in wrap(&text, options.prose(), "  ") {
            push_line(
                out,
                &line.replacen("Seen", &paint("Seen", "1;36", options.color), 1),
            );
        }
        let text = format!("  Likely: {}. To try: {}.", one.why, one.act);
        for line in wrap(&text, options.prose(), "    ") {
            push_line(out, &line);
        }
    }
}

/// Writes the warnings: what, why, what to do; one that several runs share is written once.
fn warnings(out: &mut String, views: &[RunView], options: &TerminalOptions) {
    let is_single = views.len() == 1;
    let mut groups: Vec<(&Advice, Vec<String>)> = Vec::new();
    for view in views {
        for one in &view.advice {
            let seen = format!("{}: {}", fit_middle(&view.run, 32), one.what);
            match groups.iter_mut().find(|(known, _)| known.why == one.why) {
                Some((_, seen_in)) => seen_in.push(seen),
                None => groups.push((one, vec![seen])),
            }
        }
    }
    for (one, seen_in) in groups {
        let text = match seen_in.as_slice() {
            _ if is_single => format!("Warning: {}: {}.", one.what, one.why),
            [only] => format!("Warning: {only}: {}.", one.why),
            several => format!("Warning, for {} runs: {}.", several.len(), one.why),
        };
        for line in wrap(&text, options.prose(), "  ") {
            push_line(
                out,
                &line.replacen("Warning", &paint("Warning", "1;33", options.color), 1),
            );
        }
        if seen_in.len() > 1 && !is_single {
            for line in seen_in
                .iter()
                .flat_map(|seen| wrap(&format!("  {seen}"), options.prose(), "    "))
            {
                push_line(out, &line);
            }
        }
        for line in wrap(&format!("  To do: {}.", one.act), options.prose(), "    ") {
            push_line(out, &line);
        }
    }
}

/// Writes a number without commas, as scripts that read this summary expect it.
fn plain(value: Option<f64>, places: usize) -> String {
    format::optional(value, places).replace(',', "")
}
