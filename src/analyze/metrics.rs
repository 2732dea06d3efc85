//! The numbers of a run by the names that scripts know: the keys of the JSON's `metrics`, and what
//! `--fail-if` takes.

use super::metric_table::{Kind, METRICS, metric_row};
use super::percentiles::Percentile;
use super::rows::{Row, rows_of};
use super::uncertainty::numbers;
use super::{Analysis, CATALOG};

/// One number of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// `<metric>_<stat>`, such as `ttft_p99`, or a word, such as `rps`.
    pub key: String,
    /// The number.
    pub value: f64,
    /// Its unit; times are in `ns`, what a window lasts in `s`.
    pub unit: &'static str,
    /// How many values stand behind it.
    pub n: Option<f64>,
    /// The ends of its 95 % confidence interval; none where it has none.
    pub interval: Option<(f64, f64)>,
}

/// Statistics of a latency beside its percentiles: key, column.
const STATS: [(&str, &str); 4] = [
    ("mean", "mean_ns"),
    ("std", "std_ns"),
    ("min", "min_ns"),
    ("max", "max_ns"),
];

/// A number that is one column of a query with one row a run: query, key, column. The query's header
/// has its unit.
type Single = (&'static str, &'static str, &'static str);

const SINGLE: [Single; 35] = [
    ("run_summary", "requests_total", "requests"),
    ("run_summary", "requests_ok", "ok"),
    ("run_summary", "requests_failed", "failed"),
    ("run_summary", "requests_interrupted", "interrupted"),
    ("run_summary", "requests_cancelled", "cancelled"),
    ("run_summary", "requests_hung_up", "hung_up"),
    ("run_summary", "requests_not_sent", "not_sent"),
    ("run_summary", "chunks_total", "chunks"),
    ("run_summary", "input_tokens_total", "input_tokens"),
    ("run_summary", "output_tokens_total", "output_tokens"),
    ("run_summary", "duration_run", "duration_s"),
    ("run_summary", "in_flight_peak", "peak_in_flight"),
    ("run_summary", "in_flight_mean", "mean_in_flight"),
    ("run_summary", "gaps_unresolved_share", "unresolved_share"),
    ("schedule_fidelity", "rate_intended", "intended_rate_per_s"),
    ("schedule_fidelity", "rate_achieved", "achieved_rate_per_s"),
    ("arrival_fidelity", "arrival_within_1ms", "within_1ms"),
    ("arrival_fidelity", "arrival_gap_ks", "gap_ks"),
    ("arrival_fidelity", "arrival_count_off_max", "count_off_max"),
    ("session_fidelity", "sessions_total", "sessions"),
    ("session_fidelity", "turns_out_of_order", "out_of_order"),
    ("session_fidelity", "turns_before_reply", "before_reply"),
    ("prefix_hits", "prefix_hit_ideal", "ideal_hit"),
    ("prefix_hits", "prefix_hit_achieved", "achieved_hit"),
    (
        "throughput_peaks",
        "output_tokens_peak_1s",
        "output_tokens_peak_1s",
    ),
    ("stalls", "stalled_share", "stalled_share"),
    ("stalls", "stalls_total", "stalls"),
    ("stalls", "longest_gap_p50", "longest_p50_ns"),
    ("stalls", "longest_gap_p99", "longest_p99_ns"),
    ("stalls", "longest_gap_max", "longest_max_ns"),
    ("jitter", "jitter_p50", "p50_ns"),
    ("jitter", "jitter_p99", "p99_ns"),
    ("deadlines", "in_time_share", "in_time_share"),
    ("deadlines", "fluidity_all", "fluidity"),
    ("deadlines", "fluidity_p10", "fluidity_p10"),
];

/// A number of each window: query, first part of the key, column, column with its n. The window's
/// name is the key's second part.
type Windowed = (&'static str, &'static str, &'static str, &'static str);

const WINDOWED: [Windowed; 16] = [
    ("throughput_windows", "window", "seconds", "requests"),
    ("throughput_windows", "rps", "rps", "requests"),
    ("throughput_windows", "input_tps", "input_tps", "requests"),
    ("throughput_windows", "output_tps", "output_tps", "requests"),
    ("throughput_windows", "total_tps", "total_tps", "requests"),
    ("goodput", "goodput", "goodput_rps", "offered"),
    ("goodput", "attainment", "attainment", "offered"),
    ("goodput", "offered_rps", "offered_rps", "offered"),
    ("goodput", "ok_rps", "ok_rps", "offered"),
    ("goodput", "goodput_tps", "goodput_tps", "offered"),
    ("goodput", "token_attainment", "token_attainment", "offered"),
    ("concurrency", "concurrency_mean", "mean", ""),
    ("concurrency", "concurrency_p50", "p50", ""),
    ("concurrency", "concurrency_p90", "p90", ""),
    ("concurrency", "concurrency_p99", "p99", ""),
    ("concurrency", "concurrency_max", "max", ""),
];

const WINDOWS: [&str; 2] = ["steady", "run"];

/// Statistics of the speeds of single requests.
const SPEED_STATS: [&str; 8] = ["mean", "min", "p1", "p10", "p50", "p90", "p99", "max"];

const COSTS: [&str; 2] = ["cost_per_m_output", "cost_per_m_total"];
const COST_BASES: [&str; 2] = ["price", "gpu_hour"];
const MONEY: &str = "money/million tokens";

/// Collects every number of a run; one that is unknown is left out.
pub fn metrics(analysis: &Analysis, run: &str) -> Vec<Metric> {
    let mut found = Vec::new();
    let intervals = rows_of(analysis, "intervals", run);
    latencies(&mut found, analysis, run, &intervals);
    for (query, key, column, n) in WINDOWED {
        for row in rows_of(analysis, query, run) {
            let window = row.text("window_name").unwrap_or("run");
            let interval =
                (window == "steady").then(|| interval(&intervals, column, numbers::RATE_STAT));
            let key = format!("{key}_{window}");
            push(
                &mut found,
                key,
                unit_in(query, column),
                (row.number(column), row.number(n), interval.flatten()),
            );
        }
    }
    headline(&mut found, analysis, run, &intervals);
    for (query, key, column) in SINGLE {
        for row in rows_of(analysis, query, run) {
            let n = ["n", "turns", "requests"]
                .into_iter()
                .find_map(|n| row.number(n));
            push(
                &mut found,
                key.to_owned(),
                unit_in(query, column),
                (row.number(column), n, None),
            );
        }
    }
    for row in rows_of(analysis, "request_speeds", run) {
        let Some(speed) = speeds().find(|speed| row.text("metric") == Some(speed)) else {
            continue;
        };
        for stat in SPEED_STATS {
            let key = format!("{speed}_{stat}");
            push(
                &mut found,
                key,
                "tokens/s",
                (row.number(stat), row.number("n"), None),
            );
        }
    }
    for row in rows_of(analysis, "cost", run) {
        let window = row.text("window_name").unwrap_or("run");
        let basis = row.text("basis").unwrap_or("price");
        for column in COSTS {
            let key = format!("{column}_{basis}_{window}");
            push(&mut found, key, MONEY, (row.number(column), None, None));
        }
    }
    found
}

fn latencies(found: &mut Vec<Metric>, analysis: &Analysis, run: &str, intervals: &[Row<'_>]) {
    let columns = analysis
        .table("latency_percentiles")
        .map_or(&[][..], |table| &table.columns);
    let percentiles = columns.iter().filter_map(|column| {
        let stat = column.name.strip_suffix("_ns")?;
        Percentile::named(stat).map(|_| (stat, column.name.as_str()))
    });
    let stats: Vec<(&str, &str)> = STATS.into_iter().chain(percentiles).collect();
    for row in rows_of(analysis, "latency_percentiles", run) {
        let Some(metric) = row.text("metric") else {
            continue;
        };
        for (stat, column) in &stats {
            let key = format!("{metric}_{stat}");
            let interval = interval(intervals, metric, stat);
            push(
                found,
                key,
                "ns",
                (row.number(column), row.number("n"), interval),
            );
        }
    }
}

/// Adds the rates and shares that have one number a run: of the window that is the headline, and
/// success of all requests.
fn headline(found: &mut Vec<Metric>, analysis: &Analysis, run: &str, intervals: &[Row<'_>]) {
    let requests = rows_of(analysis, "run_summary", run)
        .first()
        .and_then(|row| row.number("requests"));
    for row in intervals
        .iter()
        .filter(|row| row.text("stat") == Some(numbers::RATE_STAT))
    {
        let Some(metric) = row.text("metric") else {
            continue;
        };
        let window = rows_of(analysis, "throughput_windows", run)
            .into_iter()
            .find(|row| row.number("seconds").is_some())
            .and_then(|row| row.text("window_name"))
            .unwrap_or("run");
        let of_window = WINDOWED.iter().find(|(_, _, column, ..)| *column == metric);
        let n = of_window.and_then(|(_, key, ..)| {
            let key = format!("{key}_{window}");
            found.iter().find(|one| one.key == key)?.n
        });
        let n = if metric == numbers::OK_SHARE {
            requests
        } else {
            n
        };
        let interval = row.number("low").zip(row.number("high"));
        push(
            found,
            metric.to_owned(),
            numbers::unit(metric),
            (row.number("value"), n, interval),
        );
    }
}

fn interval(intervals: &[Row<'_>], metric: &str, stat: &str) -> Option<(f64, f64)> {
    let found = intervals
        .iter()
        .find(|row| row.text("metric") == Some(metric) && row.text("stat") == Some(stat))?;
    found.number("low").zip(found.number("high"))
}

/// What is known of a number: its value, its n and its interval.
type Known = (Option<f64>, Option<f64>, Option<(f64, f64)>);

fn push(found: &mut Vec<Metric>, key: String, unit: &'static str, (value, n, interval): Known) {
    if let Some(value) = value {
        found.push(Metric {
            key,
            value,
            unit,
            n,
            interval,
        });
    }
}

/// The unit of a number by its key; `None` where no analysis has such a number.
pub(super) fn unit_of(key: &str) -> Option<&'static str> {
    let single = SINGLE.iter().find(|(_, name, _)| *name == key);
    single
        .map(|(query, _, column)| unit_in(query, column))
        .or_else(|| numbers::unit_of(key))
        .or_else(|| windowed_unit(key))
        .or_else(|| latency_unit(key))
        .or_else(|| {
            let (speed, stat) = key.rsplit_once('_')?;
            (speeds().any(|name| name == speed) && SPEED_STATS.contains(&stat))
                .then_some("tokens/s")
        })
        .or_else(|| cost_unit(key))
}

/// The unit that a query's header gives a column.
fn unit_in(query: &str, column: &str) -> &'static str {
    let query = CATALOG.iter().find(|known| known.name == query);
    let columns = query.map_or(&[][..], |query| &query.columns);
    let column = columns.iter().find(|(name, _)| name == column);
    column.and_then(|(_, unit)| unit.as_deref()).unwrap_or("")
}

/// The speeds of single requests, but for the time that is among them.
fn speeds() -> impl Iterator<Item = &'static str> {
    let rows = METRICS.iter().filter(|row| row.kind == Kind::Speed);
    rows.filter(|row| row.unit == "tokens/s")
        .map(|row| row.name)
}

fn windowed_unit(key: &str) -> Option<&'static str> {
    let (name, window) = key.rsplit_once('_')?;
    let known = WINDOWED.iter().find(|(_, known, ..)| *known == name)?;
    WINDOWS.contains(&window).then(|| unit_in(known.0, known.2))
}

fn latency_unit(key: &str) -> Option<&'static str> {
    percentile_of(key).map(|_| "ns").or_else(|| {
        let (metric, stat) = key.rsplit_once('_')?;
        let is_stat = STATS.iter().any(|(name, _)| *name == stat);
        (is_latency(metric) && is_stat).then_some("ns")
    })
}

fn is_latency(metric: &str) -> bool {
    metric_row(metric).is_some_and(|row| matches!(row.kind, Kind::Latency | Kind::Client))
}

/// The percentile of a latency that a key names.
pub(super) fn percentile_of(key: &str) -> Option<Percentile> {
    let (metric, stat) = key.split_once("_p")?;
    Percentile::named(&format!("p{stat}")).filter(|_| is_latency(metric))
}

fn cost_unit(key: &str) -> Option<&'static str> {
    let (rest, window) = key.rsplit_once('_')?;
    let is_known = COSTS.iter().any(|cost| {
        let basis = rest
            .strip_prefix(cost)
            .and_then(|rest| rest.strip_prefix('_'));
        basis.is_some_and(|basis| COST_BASES.contains(&basis))
    });
    (is_known && WINDOWS.contains(&window)).then_some(MONEY)
}

#[cfg(test)]
mod tests {
    use super::{CATALOG, SINGLE, WINDOWED};

    #[test]
    fn every_number_is_a_column_of_its_query() {
        let single = SINGLE.map(|(query, _, column)| (query, column));
        let windowed = WINDOWED.map(|(query, _, column, _)| (query, column));
        let counts = WINDOWED.map(|(query, .., n)| (query, n));
        let counts = counts.into_iter().filter(|(_, n)| !n.is_empty());
        for (query, column) in single.into_iter().chain(windowed).chain(counts) {
            let found = CATALOG.iter().find(|known| known.name == query).unwrap();
            let mut columns = found.columns.iter().map(|(name, _)| name);
            assert!(columns.any(|name| name == column), "{query}.{column}");
        }
    }
}
