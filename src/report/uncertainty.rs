//! How surely the numbers are known, and what differs between runs, as tables.

use crate::analyze::{Analysis, Differences, Intervals, Stationarity};

use super::format::{self, NS_PER_MS};
use super::grid::{Field, Grid, Tone, VERDICT};
use super::language::{said, say};

/// Stands in the place of a verdict where the client may have made the difference, and is why a
/// number has none.
pub(crate) const CLIENTS: &str = "client-limited";

/// The largest change that is told as one that would have been seen, as a share: more says nothing.
const LARGEST_SEEN: f64 = 10.0;

/// The interval of one number of a run, in the unit of its table.
pub(crate) fn interval(
    analysis: &Analysis,
    run: &str,
    metric: &str,
    stat: &str,
) -> Option<(f64, f64)> {
    let found = analysis
        .rows_of::<Intervals<'_>>(run)
        .into_iter()
        .find(|row| row.metric == Some(metric) && row.stat == Some(stat))?;
    found.low.zip(found.high)
}

/// What was tested of one number of a run against the first.
pub(crate) fn difference<'a>(
    analysis: &'a Analysis,
    run: &str,
    metric: &str,
    stat: &str,
) -> Option<Differences<'a>> {
    // A rate has one number for the window that is its headline.
    let stat = if stat == "steady" || metric == "ok_share" {
        "window"
    } else {
        stat
    };
    let metric = if metric == "goodput" {
        "goodput_rps"
    } else {
        metric
    };
    analysis
        .rows_of::<Differences<'_>>(run)
        .into_iter()
        .find(|row| row.metric == Some(metric) && row.stat == Some(stat))
}

/// What was tested of groups of runs; nothing where each run stands for itself.
pub(crate) fn of_groups(analysis: &Analysis) -> Vec<Differences<'_>> {
    let is_group = |row: &Differences<'_>| analysis.runs.iter().all(|run| run.run != row.run);
    let mut tested = analysis.rows::<Differences<'_>>();
    if !tested.iter().any(is_group) {
        tested.clear();
    }
    tested
}

/// The groups that are compared, each with its number of runs: `b (3 runs) against a (3 runs)`;
/// `None` where each run stands for itself.
pub(crate) fn groups(analysis: &Analysis) -> Option<String> {
    let rows = of_groups(analysis);
    let spelled = |name: &str, runs: Option<f64>| {
        let name = format::name(name);
        match runs.filter(|runs| *runs > 1.0) {
            Some(runs) => say!(
                "{name} ({runs} runs)",
                name,
                runs = format::decimal(runs, 0)
            ),
            None => name,
        }
    };
    let first = rows.first()?;
    let baseline = spelled(first.baseline.unwrap_or_default(), first.baseline_runs);
    let mut others: Vec<String> = Vec::new();
    for row in &rows {
        let other = spelled(row.run, row.runs);
        if !others.contains(&other) {
            others.push(other);
        }
    }
    let others = others.join(&said(", "));
    Some(say!("{others} against {baseline}", others, baseline))
}

/// The interval of a change, as a reader is told it: where there is a verdict, the one that it
/// stands on.
pub(crate) fn interval_of(row: Option<Differences<'_>>) -> String {
    row.map_or_else(
        || format::NONE.to_owned(),
        |row| {
            if row.verdict.is_some() && row.tested_low.is_some() {
                percent_bounds(row.tested_low, row.tested_high)
            } else {
                percent_bounds(row.low, row.high)
            }
        },
    )
}

/// Spells the interval of a latency, in milliseconds; `None` where there is none.
pub(crate) fn latency_interval(
    analysis: &Analysis,
    run: &str,
    metric: &str,
    stat: &str,
) -> Option<String> {
    let (low, high) = interval(analysis, run, metric, stat)?;
    Some(between(
        format::milliseconds(Some(low)),
        format::milliseconds(Some(high)),
    ))
}

/// Spells the interval of a rate.
pub(crate) fn rate_interval(
    analysis: &Analysis,
    run: &str,
    metric: &str,
    places: usize,
) -> Option<String> {
    let (low, high) = interval(analysis, run, metric, "window")?;
    Some(between(
        format::decimal(low, places),
        format::decimal(high, places),
    ))
}

/// Spells the interval of a share.
pub(crate) fn share_interval(analysis: &Analysis, run: &str, metric: &str) -> Option<String> {
    let (low, high) = interval(analysis, run, metric, "window")?;
    Some(between(
        format::percent(Some(low)),
        format::percent(Some(high)),
    ))
}

fn between(low: String, high: String) -> String {
    let low = low.trim_end_matches(" %");
    format!("{low} – {high}")
}

/// What is to be said of the intervals of some metrics: what they are, and which are missing for
/// what reason.
pub(crate) fn remarks(
    analysis: &Analysis,
    is_about: impl Fn(Intervals<'_>) -> bool,
) -> Vec<String> {
    let all: Vec<Intervals<'_>> = analysis
        .rows::<Intervals<'_>>()
        .into_iter()
        .filter(|row| is_about(*row))
        .collect();
    if all.is_empty() {
        return Vec::new();
    }
    let mut remarks = Vec::new();
    let has_interval = |row: &Intervals<'_>| row.low.zip(row.high).is_some();
    if all.iter().any(has_interval) {
        remarks.push(said("In small print or in brackets: the interval that holds the true value with 95 % confidence, were \
             the run to go on (block bootstrap over time). What differs from run to run is not in \
             it."));
        if all.iter().all(has_interval) {
            return remarks;
        }
        remarks.push(said("Numbers without an interval:"));
    } else {
        remarks.push(said("No number here has a confidence interval:"));
    }
    let reasons = lacks(all.iter().map(|row| row.lack));
    let last = remarks.len() - 1;
    let reasons = reasons.join(&said("; "));
    remarks[last] = say!("{numbers} {reasons}.", numbers = remarks[last], reasons);
    remarks
}

/// What keeps numbers from having an interval, one remark a reason that occurs.
fn lacks<'a>(lacks: impl Iterator<Item = Option<&'a str>>) -> Vec<String> {
    let mut found: Vec<&str> = lacks.flatten().filter(|lack| *lack != CLIENTS).collect();
    found.sort_unstable();
    found.dedup();
    let remark = |lack: &str| match lack {
        "few blocks" => "under 20 stretches of time have a value (few blocks)",
        "few values" => {
            "those beyond the percentile come from fewer than 3 stretches of time (few values)"
        }
        "correlated blocks" => {
            "the run is too short: neighbouring twentieths of it are not independent (correlated blocks)"
        }
        "wide interval" => "it would span more than a factor of ten (wide interval)",
        _ => "nothing is known of their spread",
    };
    found.into_iter().map(|lack| said(remark(lack))).collect()
}

/// Why some rows have no result.
fn not_enough<'a>(all: impl Iterator<Item = Option<&'a str>>) -> Option<String> {
    let reasons = lacks(all);
    (!reasons.is_empty()).then(|| {
        say!(
            "Not enough data: {reasons}.",
            reasons = reasons.join(&said("; "))
        )
    })
}

/// The first half of each run against the second.
pub(crate) fn stationarity(analysis: &Analysis) -> Option<Grid> {
    let headings = [
        "run",
        "metric",
        "stat",
        "unit",
        "#first half",
        "#second half",
        "#change",
        "#interval",
        "result",
    ];
    let mut grid = Grid::new("First half of the window against the second", &headings);
    let all = analysis.rows::<Stationarity<'_>>();
    for row in &all {
        let (unit, by) = shown_unit(row.unit);
        let shown = |value: Option<f64>| format::optional(value.map(|value| value / by), 2);
        let verdict = row.verdict.unwrap_or_default();
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            Field::verbatim(row.metric.unwrap_or_default()),
            Field::verbatim(row.stat.unwrap_or_default()),
            Field::plain(unit),
            Field::plain(shown(row.first_half)),
            Field::plain(shown(row.second_half)),
            Field::plain(signed_percent(row.difference)),
            Field::plain(percent_bounds(row.low, row.high)),
            Field::plain(verdict).toned(match verdict {
                "drifts" => Tone::Bad,
                "not enough data" => Tone::Faint,
                _ => Tone::Plain,
            }),
        ]);
    }
    grid.notes
        .extend(not_enough(all.iter().map(|row| row.lack)));
    (!grid.rows.is_empty()).then(|| grid.without_run(analysis.runs.len() == 1))
}

/// Unit that a row is shown in, and what its numbers are divided by for it.
pub(crate) fn shown_unit(unit: Option<&str>) -> (String, f64) {
    match unit {
        Some("ns") => ("ms".to_owned(), NS_PER_MS),
        other => (format::clean(other.unwrap_or_default()), 1.0),
    }
}

/// Spells a share as a change in percent, with its sign.
pub(crate) fn signed_percent(share: Option<f64>) -> String {
    share.map_or_else(
        || format::NONE.to_owned(),
        |share| {
            let sign = if share >= 0.0 { "+" } else { "" };
            format!("{sign}{} %", format::decimal(share * 100.0, 1))
        },
    )
}

fn percent_bounds(low: Option<f64>, high: Option<f64>) -> String {
    match (low, high) {
        (Some(low), Some(high)) => say!(
            "{from} to {to}",
            from = signed_percent(Some(low)),
            to = signed_percent(Some(high))
        ),
        _ => format::NONE.to_owned(),
    }
}

/// The headline numbers of every group of runs against the first, each with a verdict.
pub(crate) fn verdicts(analysis: &Analysis) -> Option<Grid> {
    let headings = [
        "run",
        "metric",
        "stat",
        "unit",
        "#first",
        "#this",
        "#change",
        "#interval",
        VERDICT,
        "#smallest seen",
        "#5 % takes",
    ];
    let mut grid = Grid::new("Against the first", &headings);
    let headline = judged(analysis);
    for row in &headline {
        let (unit, by) = shown_unit(row.unit);
        let shown = |value: Option<f64>| format::optional(value.map(|value| value / by), 2);
        let verdict = row.verdict.unwrap_or_default();
        let needs = row.times_as_long.map_or_else(
            || format::NONE.to_owned(),
            |times| {
                if times <= 1.0 {
                    "this".to_owned()
                } else {
                    format!("{}×", format::decimal(times, 1))
                }
            },
        );
        grid.push(vec![
            Field::foreign(format::name(row.run)),
            Field::verbatim(row.metric.unwrap_or_default()),
            Field::verbatim(row.stat.unwrap_or_default()),
            Field::plain(unit),
            Field::plain(shown(row.baseline_value)),
            Field::plain(shown(row.value)),
            Field::plain(signed_percent(row.difference)),
            Field::plain(interval_of(Some(*row))),
            Field::plain(verdict).toned(verdict_tone(verdict)),
            Field::plain(match row.smallest_seen {
                Some(share) if share > LARGEST_SEEN => size(share),
                share => signed_percent(share).replace('+', "±"),
            }),
            Field::plain(needs),
        ]);
    }
    if grid.rows.is_empty() {
        return None;
    }
    grid.notes.push(scope(&headline));
    grid.notes.push(said(
        "All verdicts together raise a false alarm with a chance of at most 5 % (Holm), and the \
         interval of each is the one that its verdict stands on: wider than one of 95 % by itself. \
         Smallest seen: the smallest change that would be found 4 times in 5. 5 % takes: how many times as \
         long both sides would have to be to find a change of 5 % as surely.",
    ));
    grid.notes.extend(power(analysis));
    grid.notes.extend(of_clients(headline.iter().copied()));
    grid.notes
        .extend(not_enough(headline.iter().map(|row| row.lack)));
    let is_one = analysis.runs.len() == 2 && of_groups(analysis).is_empty();
    Some(grid.without_run(is_one))
}

/// The rows that have a verdict.
fn judged(analysis: &Analysis) -> Vec<Differences<'_>> {
    let all = analysis.rows::<Differences<'_>>().into_iter();
    all.filter(|row| row.verdict.is_some()).collect()
}

fn has_repeats(judged: &[Differences<'_>]) -> bool {
    let repeats = |runs: Option<f64>| runs.is_some_and(|runs| runs > 1.0);
    judged
        .iter()
        .all(|row| repeats(row.runs) && repeats(row.baseline_runs))
}

/// What size of a change the comparison can show, and what it would take to show 20 %; `None` where
/// nothing was tested.
pub(crate) fn power(analysis: &Analysis) -> Option<String> {
    let judged = judged(analysis);
    let named = |row: &Differences<'_>| {
        let metric = row.metric.unwrap_or_default();
        match row.stat {
            Some("window") | None => metric.to_owned(),
            Some(stat) => format!("{metric} {stat}"),
        }
    };
    let mut sizes: Vec<(f64, String)> = judged
        .iter()
        .filter_map(|row| Some((row.smallest_seen?, named(row))))
        .collect();
    sizes.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let ((least, easy), (most, hard)) = (sizes.first()?, sizes.last()?);
    let (least, most) = (size(*least), size(*most));
    if !has_repeats(&judged) {
        return Some(say!(
            "Within these runs a change shows from {least} ({easy}) to {most} ({hard}) on; repeated runs, compared with --by, say how many would show 20 %.",
            least,
            easy,
            most,
            hard
        ));
    }
    let sides = judged.iter().flat_map(|row| [row.runs, row.baseline_runs]);
    let fewest = sides.flatten().reduce(f64::min)?;
    let runs = format::decimal(fewest, 0);
    let mut needed: Vec<f64> = judged.iter().filter_map(|row| row.runs_needed).collect();
    needed.sort_by(f64::total_cmp);
    let least_needed = needed
        .first()
        .map_or_else(|| said("over 200"), |runs| format::decimal(*runs, 0));
    let most_needed = if needed.len() < sizes.len() {
        said("over 200")
    } else {
        needed
            .last()
            .map_or_else(|| said("over 200"), |runs| format::decimal(*runs, 0))
    };
    Some(say!(
        "With {runs} runs a side a change shows from {least} ({easy}) to {most} ({hard}) on; to show 20 % takes {least_needed} to {most_needed} runs a side, by the number.",
        runs,
        least,
        easy,
        most,
        hard,
        least_needed,
        most_needed
    ))
}

/// Spells the size of a change; one beyond all bounds is no number.
fn size(share: f64) -> String {
    if share > LARGEST_SEEN {
        said("over 1,000 %")
    } else {
        format::percent(Some(share))
    }
}

/// How far verdicts reach, in a few words; `None` where there are none.
pub(crate) fn reach(analysis: &Analysis) -> Option<&'static str> {
    let judged = judged(analysis);
    if judged.is_empty() {
        return None;
    }
    Some(if has_repeats(&judged) {
        "over repeated runs"
    } else {
        "within these runs"
    })
}

/// How far the verdicts reach.
fn scope(judged: &[Differences<'_>]) -> String {
    let reach = if has_repeats(judged) {
        "Over runs that repeat each other: what differs from run to run is in the intervals."
    } else {
        "Within these runs: what would differ from one run to the next, such as a warmer cache or \
         a busier host, is not in the intervals; repeat the runs and use --by for that."
    };
    if judged.iter().any(|row| row.paired == Some(true)) {
        say!(
            "{reach} Runs with the same schedule are compared pair by pair.",
            reach = said(reach)
        )
    } else {
        said(reach)
    }
}

/// How a verdict is coloured.
pub(crate) fn verdict_tone(verdict: &str) -> Tone {
    match verdict {
        "better" => Tone::Good,
        "worse" => Tone::Bad,
        "not enough data" | CLIENTS => Tone::Faint,
        _ => Tone::Plain,
    }
}

/// Says what a verdict means that is none, since the client may have made the difference.
pub(crate) fn of_clients<'a>(mut rows: impl Iterator<Item = Differences<'a>>) -> Option<String> {
    let is_any = rows.any(|row| row.verdict == Some(CLIENTS));
    is_any.then(|| {
        said(
            "client-limited: a client was the bottleneck and may have made a difference of this size, \
             so it is not judged.",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_nobody_could_miss_is_no_number() {
        assert_eq!(size(0.25), "25.0 %");
        assert_eq!(size(378_878_243.243), "over 1,000 %");
    }

    #[test]
    fn a_change_has_its_sign() {
        assert_eq!(signed_percent(Some(0.0512)), "+5.1 %");
        assert_eq!(signed_percent(Some(-0.0512)), "-5.1 %");
        assert_eq!(signed_percent(None), format::NONE);
    }
}
