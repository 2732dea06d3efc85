//! Which pictures there are, and from which tables.
//!
//! With one run a chart shows that run from several sides (due and done, p50 and max); with
//! several runs it shows one side, a line a run, so that the lines can be compared.

use crate::analyze::{Analysis, ItlHeatmap, LatencyCurve, RequestsByOutcome, RunFacts};
use crate::plan::Loop;

use super::ReportError;
use super::chart::{Join, Series};
use super::few::carries;
use super::figures::{Figure, series};
use super::format::{self, NS_PER_MS};
use super::language::{said, say};
use super::plot::{BarPlot, HeatCount, HeatPlot, Plot, Written};
use super::scale::Axis;
use super::timeline::Clock;

/// Most rectangles in all heat maps of a page together.
const HEAT_CELLS: usize = 1100;

/// A line's points.
type Points = Vec<(f64, Option<f64>)>;

/// What a metric is called in a title.
pub(crate) fn full_name(metric: &str) -> String {
    match metric {
        "ttft" | "ttft_intended" => said("Time to first token"),
        "ttfa" => said("Time to first answer token"),
        "tpot" => said("Time per output token"),
        "itl" => said("Inter-token time"),
        "itl_spread" => said("Inter-token time, spread"),
        "itl_resolved" => said("Inter-token time, resolved"),
        "icl" => said("Inter-chunk time"),
        "e2el" | "e2el_intended" => said("End-to-end latency"),
        "server_queue" => said("Queue, by the server"),
        "server_prefill" => said("Prefill, by the server"),
        "server_decode" => said("Decode, by the server"),
        "queued" => said("Wait for a slot"),
        "connect" => said("Connect"),
        "slip" => said("Send slip"),
        other => other.to_owned(),
    }
}

/// Draws the percentile curves of the four latencies.
pub(crate) fn percentile_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let mut figures = Vec::new();
    for metric in ["ttft", "tpot", "itl", "e2el"] {
        figures.extend(curve(analysis, metric, &format!("{metric}-curve"))?);
    }
    Ok(figures)
}

/// Draws the percentile curve of the client's own lateness.
pub(crate) fn slip_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    Ok(curve(analysis, "slip", "slip-curve")?.into_iter().collect())
}

/// Draws one metric by percentile: both forms of one run, or one form of several.
fn curve(analysis: &Analysis, metric: &str, id: &str) -> Result<Option<Figure>, ReportError> {
    let is_single = analysis.runs.len() == 1;
    let intended = format!("{metric}_intended");
    let mut lines = Vec::new();
    let mut counts = Vec::new();
    for (index, run) in analysis.runs.iter().enumerate() {
        let (points, n) = curve_points(analysis, &run.run, metric);
        counts.push(n);
        if !is_single {
            lines.push(series(format::name(&run.run), index, Join::Line, points));
            continue;
        }
        lines.push(series(said("from the send"), 0, Join::Line, points));
        if run.manifest.arrival_loop == Loop::Open {
            let points = curve_points(analysis, &run.run, &intended).0;
            lines.push(series(
                said("from the intended time"),
                1,
                Join::Line,
                points,
            ));
        }
    }
    let shares = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.0);
    let highest = shares
        .filter(|share| *share < 1.0)
        .reduce(f64::max)
        .unwrap_or(0.5);
    let y = latency_axis(&lines);
    Plot {
        id: id.to_owned(),
        title: say!(
            "{metric} by percentile (lower is better)",
            metric = full_name(metric)
        ),
        caption: say!(
            "{unit}; p90, p99 and p99.9 at equal steps · n = {n}",
            unit = said(&y.title),
            n = format::counts(&counts)
        ),
        x: Axis::nines(highest),
        x_written: Written {
            heading: "share of values".to_owned(),
            places: 4,
        },
        y,
        y_written: Written {
            heading: "ms".to_owned(),
            places: 3,
        },
        series: lines,
        bands: Vec::new(),
    }
    .figure()
}

/// Returns a metric's curve in milliseconds as far as its n carries it, and n.
fn curve_points(analysis: &Analysis, run: &str, metric: &str) -> (Points, f64) {
    let mut n = 0.0;
    let mut points: Points = Vec::new();
    for row in analysis.rows_of::<LatencyCurve<'_>>(run) {
        if row.metric != Some(metric) {
            continue;
        }
        let (Some(share), Some(value)) = (row.p, row.value_ns) else {
            continue;
        };
        n = row.n.unwrap_or(n);
        if share >= 1.0 || carries(n, share) {
            points.push((share, Some(value / NS_PER_MS)));
        }
    }
    (points, n)
}

/// Lays out milliseconds from zero, or by their logarithm where the tail would flatten the body.
fn latency_axis(lines: &[Series]) -> Axis {
    let mut values: Vec<f64> = lines
        .iter()
        .flat_map(|line| &line.points)
        .filter_map(|p| p.1)
        .collect();
    values.sort_by(f64::total_cmp);
    let most = values.last().copied().unwrap_or(0.0);
    let middle = values.get(values.len() / 2).copied().unwrap_or(0.0);
    if middle > 0.0 && most > 40.0 * middle {
        let least = values
            .iter()
            .copied()
            .find(|value| *value > 0.0)
            .unwrap_or(middle);
        return Axis::logarithmic(least.max(middle / 1000.0), most, "ms");
    }
    Axis::from_zero(most, "ms")
}

/// Draws each run's inter-token times over time as a heat map.
pub(crate) fn heat_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let limit = HEAT_CELLS / analysis.runs.len().max(1);
    let mut figures = Vec::new();
    for (index, run) in analysis.runs.iter().enumerate() {
        figures.extend(heat_plot(analysis, run, index).figure(limit)?);
    }
    Ok(figures)
}

fn heat_plot(analysis: &Analysis, run: &RunFacts, index: usize) -> HeatPlot {
    let clock = Clock::of::<ItlHeatmap<'_>>(analysis);
    let mut cells = Vec::new();
    for row in analysis.rows_of::<ItlHeatmap<'_>>(&run.run) {
        let edges = [row.at_ns, row.low_ns, row.high_ns];
        let [Some(at), Some(low), Some(high)] = edges else {
            continue;
        };
        let width = row.width_ns.unwrap_or(0.0);
        cells.push(HeatCount {
            x: (clock.at(at), clock.at(at + width)),
            y: (low / NS_PER_MS, high / NS_PER_MS),
            n: row.n.unwrap_or(0.0),
        });
    }
    let total: f64 = cells.iter().map(|cell| cell.n).sum();
    let whose = if analysis.runs.len() == 1 {
        String::new()
    } else {
        format!(", {}", format::name(&run.run))
    };
    HeatPlot {
        id: format!("gaps-{}", index + 1),
        title: say!(
            "Inter-token times over time{whose} (lower is better)",
            whose
        ),
        caption: say!(
            "ms{window} · n = {n} inter-token times · zeros stand at the foot",
            window = clock.window(),
            n = format::decimal(total, 0)
        ),
        headings: [&clock.heading(), "from ms", "to ms", "n"].map(str::to_owned),
        x_unit: clock.unit.to_owned(),
        is_x_log: false,
        y_title: "ms".to_owned(),
        cells,
    }
}

/// Draws what went wrong, by kind; nothing where nothing did.
pub(crate) fn error_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let mut kinds: Vec<(String, f64)> = Vec::new();
    let mut total = 0.0;
    for row in analysis.rows::<RequestsByOutcome<'_>>() {
        let (status, n) = (row.status.unwrap_or_default(), row.requests);
        let n = n.unwrap_or(0.0);
        total += n;
        if status == "ok" || n <= 0.0 {
            continue;
        }
        let kind = row
            .error_kind
            .map(|kind| format!(": {kind}"))
            .unwrap_or_default();
        let name = format::clean_to(&format!("{status}{kind}"), 60);
        match kinds.iter_mut().find(|known| known.0 == name) {
            Some(known) => known.1 += n,
            None => kinds.push((name, n)),
        }
    }
    let caption = say!(
        "requests by kind of failure · n = {n} requests",
        n = format::decimal(total, 0)
    );
    let items = kinds
        .into_iter()
        .map(|(name, n)| (name, n, format::decimal(n, 0)))
        .collect();
    let plot = BarPlot {
        id: "errors-by-kind".to_owned(),
        title: "Requests that did not succeed (lower is better)".to_owned(),
        caption,
        headings: ["kind", "requests"].map(str::to_owned),
        items,
    };
    Ok(plot.figure()?.into_iter().collect())
}
