//! The numbers that have an interval, and what each is computed from.

use crate::analyze::metric_table::{Kind, metric_row, names_of};
use crate::analyze::statistics::{Scale, Statistic};

/// The latencies, which have intervals, in the order in which they are told.
pub(super) fn latencies() -> impl Iterator<Item = &'static str> {
    names_of(Kind::Latency)
}

/// Statistics of a latency: name, column of `latency_percentiles`, what it is.
pub(super) const LATENCY_STATS: [(&str, &str, Statistic); 6] = [
    ("mean", "mean_ns", Statistic::Ratio),
    ("p50", "p50_ns", Statistic::Quantile(0.5)),
    ("p90", "p90_ns", Statistic::Quantile(0.9)),
    ("p95", "p95_ns", Statistic::Quantile(0.95)),
    ("p99", "p99_ns", Statistic::Quantile(0.99)),
    ("p999", "p999_ns", Statistic::Quantile(0.999)),
];

/// Shares and rates that count successes.
pub(super) const RPS: &str = "rps";
pub(in crate::analyze) const OK_SHARE: &str = "ok_share";
pub(super) const GOODPUT: &str = "goodput_rps";
pub(super) const TOKEN_GOODPUT: &str = "goodput_tps";
pub(super) const ATTAINMENT: &str = "attainment";
pub(super) const TOKEN_ATTAINMENT: &str = "token_attainment";

/// Rates and shares that have intervals: name, column that is counted, column that it is counted by.
/// Those of goodput have no value where no goal was set.
pub(super) const RATES: [(&str, &str, &str); 8] = [
    (RPS, "requests", "seconds"),
    ("input_tps", "input_tokens", "seconds"),
    ("output_tps", "output_tokens", "seconds"),
    (OK_SHARE, "due_ok", "due"),
    (GOODPUT, "good", "seconds"),
    (TOKEN_GOODPUT, "good_tokens", "seconds"),
    (ATTAINMENT, "good", "offered"),
    (TOKEN_ATTAINMENT, "good_tokens", "owed_tokens"),
];

/// The statistic of a rate or a share, as its rows name it.
pub(in crate::analyze) const RATE_STAT: &str = "window";

/// The numbers that verdicts are about, and that are tested together. Where both sides are open
/// loops, the form from the intended time stands for the other.
pub(super) const HEADLINE: [(&str, &str); 11] = [
    ("ttft", "p50"),
    ("ttft", "p99"),
    ("tpot", "p50"),
    ("itl", "p99"),
    ("e2el", "p50"),
    ("e2el", "p99"),
    (RPS, RATE_STAT),
    ("output_tps", RATE_STAT),
    (OK_SHARE, RATE_STAT),
    (GOODPUT, RATE_STAT),
    (ATTAINMENT, RATE_STAT),
];

/// The numbers by which a run is held to be steady.
pub(super) const STEADY: [(&str, &str); 4] = [
    ("ttft", "p50"),
    ("tpot", "p50"),
    ("e2el", "p50"),
    ("output_tps", RATE_STAT),
];

/// What is drawn of a metric.
pub(super) fn statistics(metric: &str) -> Vec<Statistic> {
    if is_rate(metric) {
        vec![Statistic::Ratio]
    } else {
        let all = LATENCY_STATS.iter();
        all.map(|(_, _, statistic)| *statistic).collect()
    }
}

/// By which of them blocks are joined: a run has too few values beyond its 99.9th percentile for
/// their correlation to be more than noise.
pub(super) fn joined_by(metric: &str) -> Vec<Statistic> {
    let mut statistics = statistics(metric);
    statistics.retain(|one| !matches!(one, Statistic::Quantile(share) if *share > 0.99));
    statistics
}

pub(super) fn is_rate(metric: &str) -> bool {
    RATES.iter().any(|(name, ..)| *name == metric)
}

pub(super) fn is_share(metric: &str) -> bool {
    unit(metric) == "share"
}

/// The scale that a metric varies on.
pub(super) fn scale(metric: &str) -> Scale {
    if is_share(metric) {
        Scale::Plain
    } else {
        Scale::Log
    }
}

pub(super) fn statistic(stat: &str) -> Statistic {
    let found = LATENCY_STATS.iter().find(|(name, ..)| *name == stat);
    found.map_or(Statistic::Ratio, |(_, _, statistic)| *statistic)
}

pub(in crate::analyze) fn unit(metric: &str) -> &'static str {
    metric_row(metric).map_or("ns", |row| row.unit)
}

/// All numbers of a metric, by name of the statistic.
pub(super) fn stats(metric: &str) -> Vec<&'static str> {
    if is_rate(metric) {
        vec![RATE_STAT]
    } else {
        LATENCY_STATS.iter().map(|(name, ..)| *name).collect()
    }
}

/// Tells which way a metric should go.
pub(super) fn is_higher_better(metric: &str) -> bool {
    metric_row(metric).is_some_and(|row| row.is_higher_better == Some(true))
}

/// The unit of a number by the name that conditions give it, such as `ttft_p99` or `rps`; `None`
/// where no analysis has such a number.
pub(in crate::analyze) fn unit_of(number: &str) -> Option<&'static str> {
    if is_rate(number) {
        return Some(unit(number));
    }
    let (metric, stat) = number.rsplit_once('_')?;
    let is_known = latencies().any(|name| name == metric) && stats(metric).contains(&stat);
    is_known.then(|| unit(metric))
}

/// The names that [`unit_of`] knows, as a sentence's end.
pub(in crate::analyze) fn known() -> String {
    let rates: Vec<&str> = RATES.iter().map(|(name, ..)| *name).collect();
    let latencies: Vec<&str> = latencies().collect();
    let stats: Vec<&str> = LATENCY_STATS.iter().map(|(name, ..)| *name).collect();
    format!(
        "{}; and {}, each with _{}",
        rates.join(", "),
        latencies.join(", "),
        stats.join(", _")
    )
}
