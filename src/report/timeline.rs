//! Pictures over time: load, latency and the client itself, by window or probe.

use crate::analyze::{
    Analysis, ClientHealth, ItlHeatmap, LatencyOverTime, ResultRow, ServerOverTime,
    ThroughputOverTime, ThroughputWindows,
};

use super::ReportError;
use super::chart::Join;
use super::figures::{Figure, series};
use super::format::{self, NS_PER_MS, NS_PER_S};
use super::language::{said, say};
use super::plot::{Plot, Written};
use super::scale::Axis;

/// A line's points.
type Points = Vec<(f64, Option<f64>)>;

/// Colour of what the others are measured against.
const BACKDROP: usize = 7;

/// Name of the lines of maxima.
const HIGHEST: &str = "max";

/// Name of the line that shows how many requests were due, which the others are measured against.
const OFFERED: &str = "offered";

/// Said below the chart of rates where attempts failed that were followed by another one.
const RETRIED: &str = " · sent: first attempts; failed: requests whose last attempt failed; attempts \
                       that were followed by another one have a line of their own";

/// A row of a table over time.
pub(crate) trait OverTime<'a>: ResultRow<'a> {
    /// When its window begins, or when it was probed.
    fn at_ns(&self) -> Option<f64>;
    /// How long its window is; none for a probe.
    fn width_ns(&self) -> Option<f64> {
        None
    }
    /// How many requests it counts; none for what counts none.
    fn requests(&self) -> Option<f64> {
        None
    }
}

impl<'a> OverTime<'a> for ThroughputOverTime<'a> {
    fn at_ns(&self) -> Option<f64> {
        self.at_ns
    }
    fn width_ns(&self) -> Option<f64> {
        self.width_ns
    }
    fn requests(&self) -> Option<f64> {
        self.completed
    }
}

impl<'a> OverTime<'a> for LatencyOverTime<'a> {
    fn at_ns(&self) -> Option<f64> {
        self.at_ns
    }
    fn width_ns(&self) -> Option<f64> {
        self.width_ns
    }
    fn requests(&self) -> Option<f64> {
        self.n
    }
}

impl<'a> OverTime<'a> for ItlHeatmap<'a> {
    fn at_ns(&self) -> Option<f64> {
        self.at_ns
    }
    fn width_ns(&self) -> Option<f64> {
        self.width_ns
    }
}

impl<'a> OverTime<'a> for ClientHealth<'a> {
    fn at_ns(&self) -> Option<f64> {
        self.at_ns
    }
}

impl<'a> OverTime<'a> for ServerOverTime<'a> {
    fn at_ns(&self) -> Option<f64> {
        self.at_ns
    }
    fn width_ns(&self) -> Option<f64> {
        self.width_ns
    }
}

/// A column over time: its value, its name in the legend, and what makes the value fit the unit.
type Line<R> = (fn(&R) -> Option<f64>, &'static str, Scale);

/// Columns of a table over time, and how to draw them.
struct Track<'a, R> {
    id: &'a str,
    title: &'a str,
    /// Its title where it shows one side of several runs.
    title_of_several: &'a str,
    unit: &'a str,
    places: usize,
    join: Join,
    columns: Vec<Line<R>>,
    /// The one of `columns` that is shown with several runs.
    leading: usize,
    /// What its caption says besides, of one run.
    remark: &'a str,
}

/// What makes a column fit the axis's unit.
#[derive(Debug, Clone, Copy)]
enum Scale {
    AsIs,
    PerSecond,
    Milliseconds,
    Percent,
}

impl Scale {
    fn apply(self, value: f64, width_ns: Option<f64>) -> Option<f64> {
        match self {
            Self::AsIs => Some(value),
            Self::PerSecond => {
                let width = width_ns.filter(|width| *width > 0.0)?;
                Some(value * NS_PER_S / width)
            }
            Self::Milliseconds => Some(value / NS_PER_MS),
            Self::Percent => Some(value * 100.0),
        }
    }
}

/// Draws load and latency over time.
pub(crate) fn time_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let mut figures = load_figures(analysis)?;
    figures.extend(latency_figures(analysis)?);
    figures.extend(server_figures(analysis)?);
    Ok(figures)
}

fn load_figures<'a>(analysis: &'a Analysis) -> Result<Vec<Figure>, ReportError> {
    use Scale::{AsIs, PerSecond};
    let load = |id,
                (title, title_of_several),
                unit,
                columns: Vec<Line<ThroughputOverTime<'a>>>,
                leading| Track {
        id,
        title,
        title_of_several,
        unit,
        places: 2,
        join: Join::Step,
        columns,
        leading,
        remark: "",
    };
    let mut tracks = [
        load(
            "rate-over-time",
            (
                "Offered and achieved rate of requests",
                "Achieved rate of requests (higher is better)",
            ),
            "requests/s",
            vec![
                (|row| row.offered, OFFERED, PerSecond),
                (|row| row.sent, "sent", PerSecond),
                (|row| row.completed, "achieved", PerSecond),
                (|row| row.failed, "failed", PerSecond),
            ],
            2,
        ),
        load(
            "in-flight-over-time",
            ("Requests in flight", "Requests in flight"),
            "requests",
            vec![(|row| row.in_flight, "in flight", AsIs)],
            0,
        ),
        load(
            "tokens-over-time",
            (
                "Output tokens arriving (higher is better)",
                "Output tokens arriving (higher is better)",
            ),
            "tokens/s",
            vec![(|row| row.output_tps, "output tokens/s", AsIs)],
            0,
        ),
    ];
    let rows = analysis.rows::<ThroughputOverTime<'_>>();
    if rows.iter().any(|row| row.retried.is_some_and(|n| n > 0.0)) {
        let columns = &mut tracks[0].columns;
        columns.push((|row| row.retried, "failed, then tried again", PerSecond));
        tracks[0].remark = RETRIED;
    }
    draw_all(analysis, &tracks)
}

fn latency_figures<'a>(analysis: &'a Analysis) -> Result<Vec<Figure>, ReportError> {
    use Scale::Milliseconds;
    let latency = |id, title, title_of_several, columns: Vec<Line<LatencyOverTime<'a>>>| Track {
        id,
        title,
        title_of_several,
        unit: "ms",
        places: 2,
        join: Join::Line,
        columns,
        leading: 1,
        remark: "",
    };
    let tracks = [
        latency(
            "ttft-over-time",
            "Time to first token over time (lower is better)",
            "p99 time to first token over time (lower is better)",
            vec![
                (|row| row.ttft_p50_ns, "p50", Milliseconds),
                (|row| row.ttft_p99_ns, "p99", Milliseconds),
                (|row| row.ttft_max_ns, HIGHEST, Milliseconds),
            ],
        ),
        latency(
            "itl-over-time",
            "Inter-token time over time (lower is better)",
            "p99 inter-token time over time (lower is better)",
            vec![
                (|row| row.itl_p50_ns, "p50", Milliseconds),
                (|row| row.itl_p99_ns, "p99", Milliseconds),
                (|row| row.itl_max_ns, HIGHEST, Milliseconds),
            ],
        ),
    ];
    draw_all(analysis, &tracks)
}

/// Draws what servers and machines said of themselves, as far as they did.
fn server_figures<'a>(analysis: &'a Analysis) -> Result<Vec<Figure>, ReportError> {
    let track =
        |id, (title, title_of_several), unit, columns: Vec<Line<ServerOverTime<'a>>>| Track {
            id,
            title,
            title_of_several,
            unit,
            places: 2,
            join: Join::Line,
            columns,
            leading: 0,
            remark: "",
        };
    let tracks = [
        track(
            "server-requests",
            (
                "Requests in the server, as it says",
                "Requests running in the server, as it says",
            ),
            "requests",
            vec![
                (|row| row.running, "running", Scale::AsIs),
                (|row| row.waiting, "waiting", Scale::AsIs),
            ],
        ),
        track(
            "server-use",
            (
                "Use of the server, and of machines that were scraped",
                "How much of the server's KV cache is in use",
            ),
            "%",
            vec![
                (|row| row.kv_use, "KV cache", Scale::Percent),
                (|row| row.gpu_use, "GPUs", Scale::Percent),
                (|row| row.cpu_use, "CPU", Scale::Percent),
                (|row| row.memory_use, "memory", Scale::Percent),
            ],
        ),
        track(
            "server-power",
            (
                "Power (lower is better)",
                "Power of the GPUs (lower is better)",
            ),
            "W",
            vec![
                (|row| row.gpu_power_w, "GPUs", Scale::AsIs),
                (
                    |row| row.cpu_power_w,
                    "processors and their memory",
                    Scale::AsIs,
                ),
            ],
        ),
    ];
    draw_all(analysis, &tracks)
}

/// Draws the client's own state over time.
pub(crate) fn client_figures<'a>(analysis: &'a Analysis) -> Result<Vec<Figure>, ReportError> {
    let track = |id, title, unit, columns: Vec<Line<ClientHealth<'a>>>| Track {
        id,
        title,
        title_of_several: title,
        unit,
        places: 3,
        join: Join::Line,
        columns,
        leading: 0,
        remark: "",
    };
    let tracks = [
        track(
            "client-lag",
            "How late the client's own runtime woke up (lower is better)",
            "ms",
            vec![(
                |row| row.runtime_lag_max_ns,
                "longest lag",
                Scale::Milliseconds,
            )],
        ),
        track(
            "client-cpu",
            "CPU share of the client",
            "%",
            vec![(|row| row.cpu_share, "CPU", Scale::Percent)],
        ),
    ];
    draw_all(analysis, &tracks)
}

fn draw_all<'a, R: OverTime<'a>>(
    analysis: &'a Analysis,
    tracks: &[Track<'_, R>],
) -> Result<Vec<Figure>, ReportError> {
    let mut figures = Vec::new();
    for track in tracks {
        figures.extend(draw_track(analysis, track)?);
    }
    Ok(figures)
}

fn draw_track<'a, R: OverTime<'a>>(
    analysis: &'a Analysis,
    track: &Track<'_, R>,
) -> Result<Option<Figure>, ReportError> {
    let clock = Clock::of::<R>(analysis);
    let is_single = analysis.runs.len() == 1;
    let mut lines = Vec::new();
    for (index, run) in analysis.runs.iter().enumerate() {
        let rows = analysis.rows_of::<R>(&run.run);
        for (order, (value, label, scale)) in track.columns.iter().enumerate() {
            let points = clock.points(&rows, *value, *scale, track.join);
            if is_single {
                let mut line = series(said(label), order, track.join, points);
                if *label == OFFERED {
                    line.is_backdrop = true;
                    line.color = BACKDROP;
                }
                // Where a window has few values, its p99 is its maximum: both are to be seen.
                line.is_backdrop |= *label == HIGHEST;
                lines.push(line);
            } else if order == track.leading {
                lines.push(series(format::name(&run.run), index, track.join, points));
            }
        }
    }
    let title = if is_single {
        track.title
    } else {
        track.title_of_several
    };
    let most = lines
        .iter()
        .flat_map(|line| &line.points)
        .filter_map(|point| point.1);
    let most = most.fold(0.0, f64::max);
    let (bands, shade) = if is_single {
        outside(analysis, &clock)
    } else {
        (Vec::new(), String::new())
    };
    let remark = match track.remark {
        remark if is_single && !remark.is_empty() => said(remark),
        _ => String::new(),
    };
    Plot {
        id: track.id.to_owned(),
        title: title.to_owned(),
        caption: format!(
            "{}{}{}{remark}{shade}",
            said(track.unit),
            clock.window(),
            counts::<R>(analysis)
        ),
        x: clock.axis(),
        x_written: Written {
            heading: clock.heading(),
            places: 2,
        },
        y: Axis::from_zero(most, track.unit),
        y_written: Written {
            heading: track.unit.to_owned(),
            places: track.places,
        },
        series: lines,
        bands,
    }
    .figure()
}

/// Writes how many values stand behind a table over time.
fn counts<'a, R: OverTime<'a>>(analysis: &'a Analysis) -> String {
    if R::TABLE == ClientHealth::TABLE {
        let n = u32::try_from(analysis.rows::<R>().len()).unwrap_or(u32::MAX);
        return say!(" · n = {n} probes", n = format::decimal(f64::from(n), 0));
    }
    if R::TABLE == ServerOverTime::TABLE {
        let sources = analysis
            .runs
            .iter()
            .flat_map(|run| &run.manifest.metric_sources);
        let n: u64 = sources.map(|source| source.scrapes).sum();
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        return say!(" · n = {n} scrapes", n = format::decimal(f64::from(n), 0));
    }
    let sums: Vec<f64> = analysis
        .runs
        .iter()
        .map(|run| analysis.rows_of::<R>(&run.run))
        .map(|rows| rows.iter().filter_map(R::requests).sum())
        .collect();
    say!(" · n = {n} requests", n = format::counts(&sums))
}

/// Returns what lies outside the headline's window of the only run, and what a caption says of it.
fn outside(analysis: &Analysis, clock: &Clock) -> (Vec<(f64, f64)>, String) {
    let windows = analysis.rows::<ThroughputWindows<'_>>();
    let steady = windows
        .into_iter()
        .find(|row| row.window_name == Some("steady"));
    let edges = steady.and_then(|row| row.from_ns.zip(row.to_ns));
    let Some((from, to)) = edges else {
        return (Vec::new(), String::new());
    };
    let is_asked = steady.is_some_and(|row| row.basis == Some("asked"));
    let (begin, end) = (clock.at(from), clock.at(to));
    let (mut bands, mut parts) = (Vec::new(), Vec::new());
    if begin > clock.first && from > 0.0 {
        bands.push((clock.first, begin));
        parts.push(say!("warm-up until {end}", end = format::duration(from)));
    }
    if end < clock.last {
        bands.push((end, clock.last));
        parts.push(say!("drain from {start}", start = format::duration(to)));
    }
    let shade = match (bands.is_empty(), is_asked) {
        (true, _) => String::new(),
        (false, true) => said(" · shaded: outside the window asked for"),
        (false, false) => say!(" · shaded: {parts}", parts = parts.join(&said(", "))),
    };
    (bands, shade)
}

/// The time axis of a table: seconds or minutes since the schedule's start.
pub(crate) struct Clock {
    unit_ns: f64,
    /// Name of the axis's unit.
    pub(crate) unit: &'static str,
    first: f64,
    last: f64,
    width_ns: Option<f64>,
}

impl Clock {
    /// Lays out the times of a table.
    pub(crate) fn of<'a, R: OverTime<'a>>(analysis: &'a Analysis) -> Self {
        let rows = analysis.rows::<R>();
        let width = |row: &R| row.width_ns().unwrap_or(0.0);
        let starts = rows.iter().filter_map(R::at_ns);
        let ends = rows
            .iter()
            .filter_map(|row| row.at_ns().map(|at| at + width(row)));
        let first = starts.reduce(f64::min).unwrap_or(0.0);
        let last = ends.reduce(f64::max).unwrap_or(0.0);
        let is_long = last - first >= 600.0 * NS_PER_S;
        let (unit_ns, unit) = if is_long {
            (60.0 * NS_PER_S, "min")
        } else {
            (NS_PER_S, "s")
        };
        let width_ns = rows.first().and_then(R::width_ns);
        Self {
            unit_ns,
            unit,
            first: first / unit_ns,
            last: last / unit_ns,
            width_ns,
        }
    }

    /// Returns a time in the axis's unit.
    pub(crate) fn at(&self, ns: f64) -> f64 {
        ns / self.unit_ns
    }

    fn axis(&self) -> Axis {
        Axis::linear(self.first, self.last, 6, "").with_suffix(&format!(" {}", self.unit))
    }

    /// Returns the heading of a column of times.
    pub(crate) fn heading(&self) -> String {
        say!("{unit} since start", unit = said(self.unit))
    }

    /// Writes the width of a window, for a caption.
    pub(crate) fn window(&self) -> String {
        match self.width_ns {
            Some(width) if width > 0.0 => {
                say!(" per window of {width}", width = format::duration(width))
            }
            _ => String::new(),
        }
    }

    /// Returns a column over time; a level line also gets the end of its last window.
    fn points<'a, R: OverTime<'a>>(
        &self,
        rows: &[R],
        value: fn(&R) -> Option<f64>,
        scale: Scale,
        join: Join,
    ) -> Points {
        let mut points: Points = Vec::with_capacity(rows.len() + 1);
        for row in rows {
            let Some(at) = row.at_ns() else {
                continue;
            };
            let value = value(row).and_then(|value| scale.apply(value, row.width_ns()));
            points.push((self.at(at), value));
        }
        if join == Join::Step
            && let Some((start, value)) = points.last().copied()
        {
            let width = self.width_ns.unwrap_or(0.0);
            points.push((start + self.at(width), value));
        }
        points
    }
}
