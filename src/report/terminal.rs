//! The summary that ends a run: the shape that people know from `vllm bench serve`, with the
//! verdict first and the latencies as one table.
//!
//! At most 100 columns, no control character from outside, colour only when asked for.

use crate::analyze::{Analysis, RunFacts};

use super::advice::{Advice, advice};
use super::columns::{WIDTH, fit, paint, push_line, rule, table, wrap};
use super::comparison::{changes, is_higher_better, percent_change, tone};
use super::diagnosis::diagnoses;
use super::format;
use super::grades::{grades, source};
use super::grid::{Field, Grid, Tone};
use super::rows::{Row, rows_of};
use super::run_card::differs;
use super::sections::{FEW, HEADLINE, is_shown};
use super::tools;
use super::uncertainty::{
    difference, interval_of, of_groups, reach, shown_unit, signed_percent, verdict_tone,
};
use super::verdict::{Standing, Verdict, verdict};

/// Most definitions of other tools side by side.
const TOOLS_A_ROW: usize = 4;

/// Most percentiles side by side, with one run and with several.
const PERCENTILES_A_ROW: [usize; 2] = [4, 3];

/// What the terminal summary shows, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct TerminalOptions {
    /// Metrics: `ttft`, `tpot`, `itl`, `e2el`, and any other of `latency_percentiles`.
    pub metrics: Vec<String>,
    /// Percentiles, from 0 to 100.
    pub percentiles: Vec<f64>,
    /// Whether the terminal takes colour.
    pub color: bool,
}

impl Default for TerminalOptions {
    fn default() -> Self {
        Self {
            metrics: ["ttft", "tpot", "itl", "e2el"].map(str::to_owned).to_vec(),
            percentiles: vec![50.0, 90.0, 99.0],
            color: false,
        }
    }
}

/// Renders the summary for a terminal.
pub fn terminal(analysis: &Analysis, options: &TerminalOptions) -> String {
    let mut out = String::new();
    let is_single = analysis.runs.len() == 1;
    for run in &analysis.runs {
        let verdict = verdict(analysis, &run.run);
        first_line(&mut out, run, &verdict, is_single, options.color);
    }
    if is_single {
        for run in &analysis.runs {
            run_block(&mut out, analysis, run);
        }
    } else {
        runs_table(&mut out, analysis, options);
    }
    latency_tables(&mut out, analysis, options);
    goodput_lines(&mut out, analysis);
    if !is_single {
        comparison_table(&mut out, analysis, options);
    }
    tool_tables(&mut out, analysis, options);
    rule(&mut out, '=', "");
    grade_lines(&mut out, analysis, is_single);
    diagnosis_lines(&mut out, analysis, options.color);
    warnings(&mut out, analysis, options.color);
    out
}

/// Writes the verdict, with why.
fn first_line(out: &mut String, run: &RunFacts, verdict: &Verdict, is_single: bool, color: bool) {
    let code = match verdict.standing {
        Standing::Valid => "1;32",
        Standing::ClientLimited => "1;31",
        Standing::NotChecked | Standing::NoResult => "1;33",
    };
    let whose = if is_single {
        String::new()
    } else {
        format!("{}: ", format::name(&run.run))
    };
    let text = format!("{whose}{}: {}", verdict.word, verdict.reason);
    let painted = paint(&verdict.word, code, color);
    for (index, line) in wrap(&text, WIDTH, "  ").into_iter().enumerate() {
        let line = if index == 0 {
            line.replacen(&verdict.word, &painted, 1)
        } else {
            line
        };
        push_line(out, &line);
    }
}

/// Writes counts and rates in the order that `vllm bench serve` has them.
fn run_block(out: &mut String, analysis: &Analysis, run: &RunFacts) {
    rule(out, '=', " Serving Benchmark Result ");
    let summary = rows_of(analysis, "run_summary", &run.run)
        .into_iter()
        .next();
    let number = |column| summary.and_then(|row| row.number(column));
    let mut fact = |name: &str, value: String| push_line(out, &format!("{name:<44} {value}"));
    let count = |column| plain(number(column), 0);
    fact("Run:", fit(&format::name(&run.run), 50));
    fact("Successful requests:", count("ok"));
    fact("Failed requests:", count("failed"));
    for (name, column) in [
        ("Interrupted requests:", "interrupted"),
        ("Cancelled requests:", "cancelled"),
        ("Never sent:", "not_sent"),
    ] {
        if number(column).is_some_and(|value| value > 0.0) {
            fact(name, count(column));
        }
    }
    fact("Peak requests in flight:", count("peak_in_flight"));
    fact("Benchmark duration (s):", plain(number("duration_s"), 2));
    fact("Total input tokens:", count("input_tokens"));
    fact("Total generated tokens:", count("output_tokens"));
    let windows = rows_of(analysis, "throughput_windows", &run.run);
    for (window, suffix) in [("steady", ""), ("run", ", whole run")] {
        let row = windows
            .iter()
            .find(|row| row.text("window_name") == Some(window));
        let rate = |column| row.and_then(|row| row.number(column));
        for (name, unit, column) in [
            ("Request throughput", "req/s", "rps"),
            ("Output token throughput", "tok/s", "output_tps"),
            ("Total token throughput", "tok/s", "total_tps"),
        ] {
            let why = row.and_then(|row| row.text("note"));
            let value = match (rate(column), why) {
                (None, Some(why)) => format!("{} ({})", plain(None, 2), format::clean(why)),
                (rate, _) => plain(rate, 2),
            };
            fact(&format!("{name}{suffix} ({unit}):"), value);
        }
    }
}

/// Writes one row a run.
fn runs_table(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    let headings = [
        "run",
        "#ok",
        "#failed",
        "#duration s",
        "#req/s",
        "#output tok/s",
        "#total tok/s",
    ];
    let mut grid = Grid::new("", &headings);
    for run in &analysis.runs {
        let summary = rows_of(analysis, "run_summary", &run.run)
            .into_iter()
            .next();
        let windows = rows_of(analysis, "throughput_windows", &run.run);
        let steady = windows
            .iter()
            .find(|row| row.text("window_name") == Some("steady"))
            .copied();
        let cell = |row: Option<Row<'_>>, column, places| {
            Field::plain(format::optional(
                row.and_then(|row| row.number(column)),
                places,
            ))
        };
        grid.push(vec![
            Field::foreign(format::name(&run.run)),
            cell(summary, "ok", 0),
            cell(summary, "failed", 0),
            cell(summary, "duration_s", 1),
            cell(steady, "rps", 2),
            cell(steady, "output_tps", 1),
            cell(steady, "total_tps", 1),
        ]);
    }
    rule(out, '=', " Runs (rates: steady window) ");
    table(out, &grid, options.color);
}

/// Writes the latencies, in as many tables as the percentiles need.
fn latency_tables(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    rule(out, '-', " Latency in ms (lower is better) ");
    let groups: Vec<&[f64]> = if options.percentiles.is_empty() {
        vec![&[]]
    } else {
        let most = PERCENTILES_A_ROW[usize::from(analysis.runs.len() > 1)];
        options.percentiles.chunks(most).collect()
    };
    let mut is_any_weak = false;
    for group in groups {
        let grid = latency_grid(analysis, options, group);
        is_any_weak |= grid
            .rows
            .iter()
            .flatten()
            .any(|field| field.tone == Tone::Faint);
        if grid.rows.is_empty() {
            push_line(out, "no request succeeded, so there is no latency");
            return;
        }
        table(out, &grid, options.color);
    }
    if is_any_weak {
        push_line(out, FEW);
    }
}

fn latency_grid(analysis: &Analysis, options: &TerminalOptions, percentiles: &[f64]) -> Grid {
    let is_single = analysis.runs.len() == 1;
    let mut headings = vec![
        "run".to_owned(),
        "metric".to_owned(),
        "#n".to_owned(),
        "#mean".to_owned(),
    ];
    headings.extend(percentiles.iter().map(|rank| format!("#p{rank}")));
    headings.push("#max".to_owned());
    let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
    let mut grid = Grid::new("", &headings);
    for asked in &options.metrics {
        for form in [asked.clone(), format!("{asked}_intended")] {
            for run in analysis.runs.iter().filter(|run| is_shown(run, &form)) {
                for row in rows_of(analysis, "latency_percentiles", &run.run) {
                    if row.text("metric") != Some(form.as_str()) {
                        continue;
                    }
                    let n = row.number("n").unwrap_or(0.0);
                    let mut cells = vec![
                        Field::foreign(format::name(&run.run)),
                        Field::plain(metric_name(&form)),
                        Field::plain(format::decimal(n, 0)),
                        Field::plain(format::milliseconds(row.number("mean_ns"))),
                    ];
                    cells.extend(percentiles.iter().map(|rank| {
                        let ns = percentile_ns(analysis, row, &form, *rank);
                        super::sections::percentile(ns, n, rank / 100.0)
                    }));
                    cells.push(Field::plain(format::milliseconds(row.number("max_ns"))));
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

/// Finds an exact percentile: a column of its own (`p75_ns`), else a point of the curve.
fn percentile_ns(analysis: &Analysis, row: Row<'_>, metric: &str, rank: f64) -> Option<f64> {
    let digits: String = rank
        .to_string()
        .chars()
        .filter(char::is_ascii_digit)
        .collect();
    row.number(&format!("p{digits}_ns")).or_else(|| {
        rows_of(analysis, "latency_curve", row.run())
            .into_iter()
            .filter(|point| point.text("metric") == Some(metric))
            .find(|point| {
                point
                    .number("p")
                    .is_some_and(|p| (p - rank / 100.0).abs() < 1e-9)
            })
            .and_then(|point| point.number("value_ns"))
    })
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
            format!(", {}", fit(&format::name(&run.run), 20))
        };
        for row in rows_of(analysis, "goodput", &run.run) {
            let is_whole = row.text("window_name") == Some("run");
            let window = if is_whole { ", whole run" } else { "" };
            let name = format!("Goodput by due time{whose}{window} (req/s):");
            let text = format!(
                "{name:<44} {} ({} of {} met every goal)",
                plain(row.number("goodput_rps"), 2),
                format::percent(row.number("attainment")),
                plain(row.number("offered"), 0),
            );
            push_line(out, &text);
        }
    }
}

/// Writes what changed against the first run, or from group to group, in the numbers that are
/// quoted most.
fn comparison_table(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    let groups = of_groups(analysis);
    let (title, grid) = if groups.is_empty() {
        (" Against the first run ", run_changes(analysis, options))
    } else {
        (" Against the first group ", group_changes(&groups, options))
    };
    if grid.rows.is_empty() {
        return;
    }
    rule(out, '-', title);
    let is_one = groups.is_empty() && analysis.runs.len() == 2;
    table(out, &grid.without_run(is_one), options.color);
    if let Some(reach) = reach(analysis) {
        push_line(
            out,
            &format!(
                "verdicts are {reach}; all together alarm falsely with a chance of 5 % at most"
            ),
        );
    }
    if let Some(said) = differs(analysis) {
        for line in wrap(&said, WIDTH, "  ") {
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
    let is_rate = is_higher_better(metric, stat) == Some(true);
    (is_latency && is_quoted || is_rate && stat != "run").then_some(is_rate)
}

/// The headline numbers of each group of runs beside the first group's.
fn group_changes(groups: &[Row<'_>], options: &TerminalOptions) -> Grid {
    let headings = [
        "group",
        "number",
        "#first group",
        "#this group",
        "#change",
        "#95 % interval",
        "verdict",
    ];
    let mut grid = Grid::new("", &headings);
    for row in groups {
        let (metric, stat) = (row.text("metric"), row.text("stat"));
        let (metric, stat) = (metric.unwrap_or_default(), stat.unwrap_or_default());
        let verdict = row.text("verdict").unwrap_or("");
        if verdict.is_empty() && shown_as_rate(metric, stat, options).is_none() {
            continue;
        }
        let (unit, by) = shown_unit(*row);
        let number = |column| row.number(column).map(|value| value / by);
        let stat = if stat == "window" { "" } else { stat };
        let named = format!("{metric} {stat} {unit}");
        let words: Vec<&str> = named.split_whitespace().collect();
        grid.push(vec![
            Field::foreign(fit(&format::name(row.run()), 20)),
            Field::plain(words.join(" ")),
            Field::plain(format::optional(number("baseline_value"), 2)),
            Field::plain(format::optional(number("value"), 2)),
            Field::plain(signed_percent(row.number("difference"))).toned(verdict_tone(verdict)),
            Field::plain(interval_of(Some(*row))),
            Field::plain(verdict).toned(verdict_tone(verdict)),
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
        "#95 % interval",
        "verdict",
    ];
    let mut grid = Grid::new("", &headings);
    for change in changes(analysis) {
        let Some(is_rate) = shown_as_rate(&change.metric, &change.stat, options) else {
            continue;
        };
        let text = percent_change(&change).unwrap_or_else(|| format::NONE.to_owned());
        let tested = difference(analysis, &change.run, &change.metric, &change.stat);
        let verdict = tested.and_then(|row| row.text("verdict")).unwrap_or("");
        let stat = if is_rate { "" } else { change.stat.as_str() };
        let unit = change.unit.clone().unwrap_or_default();
        let number = format!("{} {stat} {unit}", change.metric);
        let words: Vec<&str> = number.split_whitespace().collect();
        grid.push(vec![
            Field::foreign(fit(&format::name(&change.run), 20)),
            Field::plain(words.join(" ")),
            Field::plain(format::optional(change.baseline, 2)),
            Field::plain(format::optional(change.value, 2)),
            Field::plain(text).toned(tone(analysis, &change)),
            Field::plain(interval_of(tested)),
            Field::plain(verdict).toned(verdict_tone(verdict)),
        ]);
    }
    grid
}

/// Writes the numbers of other tools beside ours, and what each of them means by its words.
fn tool_tables(out: &mut String, analysis: &Analysis, options: &TerminalOptions) {
    for run in &analysis.runs {
        for grid in tools::number_grids(analysis, &run.run, TOOLS_A_ROW) {
            rule(out, '-', &format!(" {} ", fit(&grid.caption, 60)));
            table(out, &grid, options.color);
            for note in &grid.notes {
                wrap(note, WIDTH, "  ")
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

/// Writes the grades of each run.
fn grade_lines(out: &mut String, analysis: &Analysis, is_single: bool) {
    for run in &analysis.runs {
        let graded: Vec<String> = grades(analysis, run)
            .iter()
            .map(|one| format!("{} {} {}", one.label, one.value, one.grade))
            .collect();
        if graded.is_empty() {
            continue;
        }
        let whose = if is_single {
            String::new()
        } else {
            format!(" of {}", fit(&format::name(&run.run), 24))
        };
        let text = format!(
            "Grades{whose}: {} ({}).",
            graded.join(", "),
            source(analysis)
        );
        for line in wrap(&text, WIDTH, "  ") {
            push_line(out, &line);
        }
    }
}

/// Writes what the only run shows of its server; of several, a report has it.
fn diagnosis_lines(out: &mut String, analysis: &Analysis, color: bool) {
    let [run] = analysis.runs.as_slice() else {
        return;
    };
    for one in diagnoses(analysis, run).iter().take(3) {
        let text = format!("Seen: {}.", one.what);
        for line in wrap(&text, WIDTH, "  ") {
            push_line(
                out,
                &line.replacen("Seen", &paint("Seen", "1;36", color), 1),
            );
        }
        let text = format!("  Likely: {}. To try: {}.", one.why, one.act);
        for line in wrap(&text, WIDTH, "    ") {
            push_line(out, &line);
        }
    }
}

/// Writes the warnings: what, why, what to do; one that several runs share is written once.
fn warnings(out: &mut String, analysis: &Analysis, color: bool) {
    let is_single = analysis.runs.len() == 1;
    let mut groups: Vec<(Advice, Vec<String>)> = Vec::new();
    for run in &analysis.runs {
        for one in advice(analysis, run, &verdict(analysis, &run.run)) {
            let seen = format!("{}: {}", fit(&format::name(&run.run), 24), one.what);
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
        for line in wrap(&text, WIDTH, "  ") {
            push_line(
                out,
                &line.replacen("Warning", &paint("Warning", "1;33", color), 1),
            );
        }
        if seen_in.len() > 1 && !is_single {
            for line in seen_in
                .iter()
                .flat_map(|seen| wrap(&format!("  {seen}"), WIDTH, "    "))
            {
                push_line(out, &line);
            }
        }
        for line in wrap(&format!("  To do: {}.", one.act), WIDTH, "    ") {
            push_line(out, &line);
        }
    }
}

/// Writes a number without commas, as scripts that read this summary expect it.
fn plain(value: Option<f64>, places: usize) -> String {
    format::optional(value, places).replace(',', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::columns::columns;
    use crate::report::fixture;

    #[test]
    fn one_run_has_the_shape_that_people_know() {
        insta::assert_snapshot!(terminal(&fixture::single(), &TerminalOptions::default()), @r#"
        VALID: the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340 ms (limit
          1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 182 µs at p99
          (self-check)
        ====================== Serving Benchmark Result ======================
        Run:                                         demo
        Successful requests:                         990
        Failed requests:                             8
        Cancelled requests:                          2
        Peak requests in flight:                     148
        Benchmark duration (s):                      31.62
        Total input tokens:                          506880
        Total generated tokens:                      179190
        Request throughput (req/s):                  31.40
        Output token throughput (tok/s):             5683.40
        Total token throughput (tok/s):              21760.20
        Request throughput, whole run (req/s):       29.20
        Output token throughput, whole run (tok/s):  5285.56
        Total token throughput, whole run (tok/s):   20236.99
        ------------------ Latency in ms (lower is better) -------------------
        metric                 n      mean       p50       p90        p99        max
        TTFT                 990     94.92     84.00    128.05     450.25     610.00
        TTFT (intended)      990     95.37     84.40    132.91     644.45     900.00
        TPOT                 971     24.30     21.50     31.41      53.61      64.00
        ITL              178,200     22.37     19.80     32.64     217.32     310.00
        E2EL                 990  4,452.20  3,940.00  5,757.75   9,872.12  11,800.00
        E2EL (intended)      990  4,452.88  3,940.60  5,763.03  10,073.11  12,100.00
        Goodput by due time, whole run (req/s):      28.20 (89.1 % of 1000 met every goal)
        ======================================================================
        Grades: TTFT p50 84.40 ms excellent, TPOT p50 21.50 ms excellent, TPOT p99 ÷ p50 2.49 fair, success
          99.0 % good (built-in rules of thumb).
        Seen: 1 % of the gaps between tokens are over 217.32 ms, where the median is 19.8 ms; gaps are
          longer when more requests begin.
          Likely: prompts are read in the same steps in which answers are written, and hold those up. To
            try: chunk long prompts, give a step a smaller budget of tokens, or prefill on machines of its
            own.
        Warning: 8 of 1,000 requests failed (0.8 %): latencies cover successful requests only, and a server
          that refuses work looks fast.
          To do: see the errors by kind before you quote a latency.
        Warning: 2 requests were cancelled or never sent: the slowest requests are the ones that are cut
          off, so the tail is too good.
          To do: allow more time with --drain, or lower the load.
        "#);
    }

    #[test]
    fn groups_stand_against_the_first_group_in_the_place_of_runs() {
        let text = terminal(&fixture::grouped(), &TerminalOptions::default());
        let from = text.find("--- Against").unwrap() + 4;
        let table: Vec<&str> = text[from..].lines().take(5).collect();
        insta::assert_snapshot!(table.join("\n"), @r#"
        Against the first group -----------------------
        group  number          first group  this group   change      95 % interval  verdict
        new    ttft p50 ms           80.00      100.00  +25.0 %  -2.0 % to +30.0 %  no difference seen
        new    ok_share share         1.00        0.90  -10.0 %  -2.0 % to +30.0 %  worse
        verdicts are over repeated runs; all together alarm falsely with a chance of 5 % at most
        "#);
        assert!(!text.contains("Against the first run"));
    }

    #[test]
    fn several_runs_stand_side_by_side() {
        insta::assert_snapshot!(terminal(&fixture::several(2), &TerminalOptions::default()), @r#"
        batch-1: VALID: the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340
          ms (limit 1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 182 µs at
          p99 (self-check)
        batch-2: VALID: the client kept up: p99 send slip 0.220 ms (limit 1.000 ms); p99 runtime lag 0.340
          ms (limit 1.000 ms); probes over 90 % CPU 0.0 % (limit 5.0 %); the client adds at most 182 µs at
          p99 (self-check)
        ==================== Runs (rates: steady window) =====================
        run       ok  failed  duration s  req/s  output tok/s  total tok/s
        batch-1  990       8        31.6  31.40       5,683.4     21,760.2
        batch-2  990       8        31.6  36.48       6,603.5     25,283.1
        ------------------ Latency in ms (lower is better) -------------------
        run      metric                 n      mean       p50       p90        p99        max
        batch-1  TTFT                 990     94.92     84.00    128.05     450.25     610.00
        batch-2  TTFT                 990    128.14    113.40    177.13     800.65   1,111.73
        batch-1  TTFT (intended)      990     95.37     84.40    132.91     644.45     900.00
        batch-2  TTFT (intended)      990    128.75    113.94    185.71   1,154.49   1,640.25
        batch-1  TPOT                 971     24.30     21.50     31.41      53.61      64.00
        batch-2  TPOT                 971     32.80     29.03     42.41      72.37      86.40
        batch-1  ITL              178,200     22.37     19.80     32.64     217.32     310.00
        batch-2  ITL              178,200     30.20     26.73     44.06     293.39     418.50
        batch-1  E2EL                 990  4,452.20  3,940.00  5,757.75   9,872.12  11,800.00
        batch-2  E2EL                 990  6,010.47  5,319.00  7,772.96  13,327.36  15,930.00
        batch-1  E2EL (intended)      990  4,452.88  3,940.60  5,763.03  10,073.11  12,100.00
        batch-2  E2EL (intended)      990  6,011.39  5,319.81  7,780.09  13,598.70  16,335.00
        Goodput by due time, batch-1, whole run (req/s): 28.20 (89.1 % of 1000 met every goal)
        Goodput by due time, batch-2, whole run (req/s): 20.89 (66.0 % of 1000 met every goal)
        ----------------------- Against the first run ------------------------
        number                first run   this run   change  95 % interval  verdict
        ttft p50 ms               84.00     113.40  +35.0 %              –
        ttft p99 ms              450.25     800.65  +77.8 %              –
        ttft_intended p50 ms      84.40     113.94  +35.0 %              –
        ttft_intended p99 ms     644.45   1,154.49  +79.1 %              –
        tpot p50 ms               21.50      29.03  +35.0 %              –
        tpot p99 ms               53.61      72.37  +35.0 %              –
        itl p50 ms                19.80      26.73  +35.0 %              –
        itl p99 ms               217.32     293.39  +35.0 %              –
        e2el p50 ms            3,940.00   5,319.00  +35.0 %              –
        e2el p99 ms            9,872.12  13,327.36  +35.0 %              –
        e2el_intended p50 ms   3,940.60   5,319.81  +35.0 %              –
        e2el_intended p99 ms  10,073.11  13,598.70  +35.0 %              –
        output_tps tokens/s    5,683.40   6,603.51  +16.2 %              –
        ======================================================================
        Grades of batch-1: TTFT p50 84.40 ms excellent, TPOT p50 21.50 ms excellent, TPOT p99 ÷ p50 2.49
          fair, success 99.0 % good (built-in rules of thumb).
        Grades of batch-2: TTFT p50 113.94 ms good, TPOT p50 29.03 ms excellent, TPOT p99 ÷ p50 2.49 fair,
          success 99.0 % good (built-in rules of thumb).
        Warning, for 2 runs: latencies cover successful requests only, and a server that refuses work looks
          fast.
          batch-1: 8 of 1,000 requests failed (0.8 %)
          batch-2: 8 of 1,000 requests failed (0.8 %)
          To do: see the errors by kind before you quote a latency.
        Warning, for 2 runs: the slowest requests are the ones that are cut off, so the tail is too good.
          batch-1: 2 requests were cancelled or never sent
          batch-2: 2 requests were cancelled or never sent
          To do: allow more time with --drain, or lower the load.
        "#);
    }

    #[test]
    fn no_line_is_wider_than_100_columns_whatever_the_input() {
        let options = TerminalOptions {
            percentiles: vec![1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.9],
            ..TerminalOptions::default()
        };
        for analysis in [fixture::single(), fixture::several(8), fixture::hostile()] {
            for line in terminal(&analysis, &options).lines() {
                assert!(columns(line) <= WIDTH, "{} columns: {line}", columns(line));
            }
        }
    }

    #[test]
    fn text_from_outside_cannot_move_the_cursor() {
        let text = terminal(&fixture::hostile(), &TerminalOptions::default());
        assert!(
            !text
                .chars()
                .any(|letter| letter.is_control() && letter != '\n')
        );
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn colour_only_when_asked_for() {
        let options = TerminalOptions {
            color: true,
            ..TerminalOptions::default()
        };
        let painted = terminal(&fixture::single(), &options);
        assert!(
            painted.starts_with("\u{1b}[1;32mVALID\u{1b}[0m"),
            "{painted}"
        );
        assert!(!terminal(&fixture::single(), &TerminalOptions::default()).contains('\u{1b}'));
    }

    #[test]
    fn a_percentile_without_a_column_is_read_off_the_curve() {
        let options = TerminalOptions {
            metrics: vec!["tpot".to_owned()],
            percentiles: vec![70.0],
            color: false,
        };
        let text = terminal(&fixture::single(), &options);
        let line = text.lines().find(|line| line.starts_with("TPOT")).unwrap();
        assert!(!line.contains(format::NONE), "{line}");
    }
}
