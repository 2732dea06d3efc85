//! Pictures that decide between runs, or between the steps of one: what each gave for what it took.
//!
//! Where the runs of a sweep, or the steps of a run, have a label of numbers, that label is an axis:
//! their points are joined along it, and marked where the server is full.

use std::collections::BTreeMap;

use crate::analyze::{
    Analysis, LatencyByStep, LatencyPercentiles, Place, RunFacts, ThroughputByStep,
    ThroughputWindows, outcomes,
};

use super::ReportError;
use super::chart::{Join, Series};
use super::figures::{Figure, series};
use super::format::{self, NS_PER_MS};
use super::language::{said, say};
use super::plot::{Plot, Written};
use super::plots::full_name;
use super::scale::Axis;

/// Fewest values of a label that make a line.
const FEWEST_PLACES: usize = 3;

/// The values of an axis are drawn by their logarithm where the largest is this many times the
/// smallest.
const WIDE: f64 = 20.0;

/// Throughput has stopped to rise where all that follows is at most this many times as much.
const RISE: f64 = 1.05;

/// Success below this share is marked.
const SUCCESS: f64 = 0.95;

/// One run, or one step of a run.
struct Dot {
    name: String,
    place: Option<Place>,
    output_tps: f64,
    ok_share: Option<f64>,
    /// p50 and p99, in milliseconds.
    ttft_ms: [Option<f64>; 2],
    tpot_ms: [Option<f64>; 2],
}

/// Draws throughput against latency, and both along the axis of a sweep where there is one: a dot a
/// run, or a dot a step of the only run.
pub(crate) fn sweep_figures(analysis: &Analysis) -> Result<Vec<Figure>, ReportError> {
    let (dots, of) = match analysis.runs.as_slice() {
        [run] => (step_dots(analysis, run), said("steps")),
        runs => (
            runs.iter()
                .filter_map(|run| run_dot(analysis, run))
                .collect(),
            said("runs"),
        ),
    };
    let mut figures = along(&dots, &of)?;
    figures.extend(knee(&dots, &of, ("ttft", "p99 TTFT, ms"), |dot| {
        dot.ttft_ms[1]
    })?);
    figures.extend(knee(&dots, &of, ("tpot", "p99 TPOT, ms"), |dot| {
        dot.tpot_ms[1]
    })?);
    Ok(figures)
}

fn run_dot(analysis: &Analysis, run: &RunFacts) -> Option<Dot> {
    let windows = analysis.rows_of::<ThroughputWindows<'_>>(&run.run);
    let steady = windows.iter().find(|row| row.window_name == Some("steady"));
    let rate = steady.or(windows.first()).and_then(|row| row.output_tps);
    let latencies = analysis.rows_of::<LatencyPercentiles<'_>>(&run.run);
    let of = |metric| {
        let row = latencies.iter().find(|row| row.metric == Some(metric));
        milliseconds(row.map(|row| [row.p50_ns, row.p99_ns]))
    };
    Some(Dot {
        name: format::name(&run.run),
        place: run.place.clone(),
        output_tps: rate?,
        ok_share: outcomes(analysis, run).and_then(|outcomes| outcomes.ok_share()),
        ttft_ms: of("ttft"),
        tpot_ms: of("tpot"),
    })
}

/// Two percentiles in milliseconds.
fn milliseconds(percentiles_ns: Option<[Option<f64>; 2]>) -> [Option<f64>; 2] {
    let percentiles_ns = percentiles_ns.unwrap_or_default();
    percentiles_ns.map(|ns| ns.map(|ns| ns / NS_PER_MS))
}

fn step_dots(analysis: &Analysis, run: &RunFacts) -> Vec<Dot> {
    let latencies = analysis.rows_of::<LatencyByStep<'_>>(&run.run);
    let steps = analysis.rows_of::<ThroughputByStep<'_>>(&run.run);
    let axis = step_axis(&steps);
    let dot = |step: &ThroughputByStep<'_>| {
        let number = step.step;
        let of = |metric| {
            let row = latencies.iter().find(|row| {
                row.step == number && row.phase == Some("measure") && row.metric == Some(metric)
            });
            milliseconds(row.map(|row| [row.p50_ns, row.p99_ns]))
        };
        let place = axis.as_ref().and_then(|label| {
            Some(Place {
                label: label.clone(),
                value: *step_numbers(*step).get(label)?,
                line: String::new(),
            })
        });
        Some(Dot {
            name: step_name(*step),
            place,
            output_tps: step.output_tps?,
            ok_share: step.ok_share,
            ttft_ms: of("ttft"),
            tpot_ms: of("tpot"),
        })
    };
    steps.iter().filter_map(dot).collect()
}

/// The only label that all steps have with different numbers.
fn step_axis(steps: &[ThroughputByStep<'_>]) -> Option<String> {
    let numbers: Vec<BTreeMap<String, f64>> = steps.iter().copied().map(step_numbers).collect();
    let mut axes = numbers.first()?.iter().filter(|(label, first)| {
        let values = || numbers.iter().map(|own| own.get(*label));
        let differs =
            |value: Option<&f64>| value.is_some_and(|value| value.total_cmp(first).is_ne());
        values().all(|value| value.is_some()) && values().any(differs)
    });
    let (axis, _) = axes.next()?;
    axes.next().is_none().then(|| axis.clone())
}

/// The labels of a step that are numbers.
fn step_numbers(step: ThroughputByStep<'_>) -> BTreeMap<String, f64> {
    let number = |value: &serde_json::Value| match value.as_str() {
        Some(text) => text.parse().ok().filter(|value: &f64| value.is_finite()),
        None => value.as_f64(),
    };
    let labels = step_labels(step);
    let numbers = labels
        .iter()
        .filter_map(|(label, value)| Some((label.clone(), number(value)?)));
    numbers.collect()
}

fn step_labels(step: ThroughputByStep<'_>) -> serde_json::Map<String, serde_json::Value> {
    let labels = step.labels.unwrap_or_default();
    serde_json::from_str(labels).unwrap_or_default()
}

/// What a step is called: its labels, or its number.
pub(crate) fn step_name(step: ThroughputByStep<'_>) -> String {
    let labels = step_labels(step);
    let words = labels.iter().map(|(name, value)| match value.as_str() {
        Some(text) => format!("{name}={text}"),
        None => format!("{name}={value}"),
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        return say!("step {step}", step = format::optional(step.step, 0));
    }
    format::clean_to(&words.join(", "), 60)
}

/// The runs of one line of a sweep, in the order of the axis.
struct Line<'a> {
    name: &'a str,
    /// Each value of the axis with the dots that lie on it.
    places: Vec<(f64, Vec<&'a Dot>)>,
}

impl Line<'_> {
    /// What the legend calls a number of this line.
    fn named(&self, what: &str) -> String {
        match self.name {
            "" => said(what),
            name => format::clean_to(&format!("{name}, {}", said(what)), 60),
        }
    }

    /// The points of a number, each the median of those on its place.
    fn points(&self, number: impl Fn(&Dot) -> Option<f64>) -> Vec<(f64, Option<f64>)> {
        let median = |dots: &[&Dot]| {
            let mut numbers: Vec<f64> = dots.iter().copied().filter_map(&number).collect();
            numbers.sort_by(f64::total_cmp);
            let last = numbers.len().checked_sub(1)?;
            Some(numbers[last / 2].midpoint(numbers[last.div_ceil(2)]))
        };
        let points = self.places.iter();
        points.map(|(at, dots)| (*at, median(dots))).collect()
    }

    /// The first place after which throughput rises no more; none where it rises to the end.
    fn full(&self) -> Option<(f64, f64)> {
        let rates: Vec<(f64, f64)> = self
            .points(|dot| Some(dot.output_tps))
            .into_iter()
            .filter_map(|(at, rate)| Some((at, rate?)))
            .collect();
        let before_last = rates.len().checked_sub(1)?;
        (0..before_last)
            .find(|place| {
                let (_, here) = rates[*place];
                rates[place + 1..]
                    .iter()
                    .all(|(_, rate)| *rate <= here * RISE)
            })
            .map(|place| rates[place])
    }

    /// The places where requests fail, with the throughput there.
    fn failing(&self) -> Vec<(f64, Option<f64>)> {
        let rates = self.points(|dot| Some(dot.output_tps));
        let shares = self.points(|dot| dot.ok_share);
        let pairs = rates.into_iter().zip(shares);
        pairs
            .filter(|(_, (_, share))| share.is_some_and(|share| share < SUCCESS))
            .map(|(rate, _)| rate)
            .collect()
    }
}

/// Puts dots that have a place on lines, in the order in which lines are met.
fn lines_of(dots: &[Dot]) -> Vec<Line<'_>> {
    let mut lines: Vec<Line<'_>> = Vec::new();
    for dot in dots {
        let Some(place) = &dot.place else { continue };
        let index = lines
            .iter()
            .position(|line| line.name == place.line)
            .unwrap_or_else(|| {
                lines.push(Line {
                    name: &place.line,
                    places: Vec::new(),
                });
                lines.len() - 1
            });
        let places = &mut lines[index].places;
        match places.binary_search_by(|(at, _)| at.total_cmp(&place.value)) {
            Ok(found) => places[found].1.push(dot),
            Err(gap) => places.insert(gap, (place.value, vec![dot])),
        }
    }
    lines
}

/// What a sweep is drawn by.
struct Sweep<'a> {
    label: String,
    lines: Vec<Line<'a>>,
    /// How many dots there are, and of what.
    n: usize,
    of: &'a str,
}

/// Draws throughput and latencies along the axis of a sweep.
fn along(dots: &[Dot], of: &str) -> Result<Vec<Figure>, ReportError> {
    let lines = lines_of(dots);
    let longest = lines.iter().map(|line| line.places.len()).max();
    let first = dots.iter().find_map(|dot| dot.place.as_ref());
    let (Some(FEWEST_PLACES..), Some(place)) = (longest, first) else {
        return Ok(Vec::new());
    };
    let places = lines.iter().flat_map(|line| &line.places);
    let sweep = Sweep {
        label: format::clean_to(&place.label, 30),
        n: places.map(|(_, dots)| dots.len()).sum(),
        lines,
        of,
    };
    let figures = [
        sweep.throughput()?,
        sweep.latency("ttft", |dot| dot.ttft_ms)?,
        sweep.latency("tpot", |dot| dot.tpot_ms)?,
    ];
    Ok(figures.into_iter().flatten().collect())
}

impl Sweep<'_> {
    fn throughput(&self) -> Result<Option<Figure>, ReportError> {
        let Self {
            label,
            lines,
            n,
            of,
        } = self;
        let mut rates = Vec::new();
        let (mut full, mut failing) = (Vec::new(), Vec::new());
        for (color, line) in lines.iter().enumerate() {
            let points = line.points(|dot| Some(dot.output_tps));
            rates.push(series(
                line.named("output tokens/s"),
                color,
                Join::Line,
                points,
            ));
            full.extend(line.full().map(|(at, rate)| (at, Some(rate))));
            failing.extend(line.failing());
        }
        let mut caption = say!("output tokens/s along {label} · n = {n} {of}", label, n, of);
        let places = |points: &[(f64, Option<f64>)]| {
            let places = points.iter().map(|(at, _)| format::trimmed(*at, 2));
            places.collect::<Vec<_>>().join(", ")
        };
        if !full.is_empty() {
            let remark = say!(
                " · rises by at most 5 % beyond {places}",
                places = places(&full)
            );
            caption.push_str(&remark);
            let label = said("rises no more");
            rates.push(series(label, lines.len() + 1, Join::Dots, full));
        }
        if !failing.is_empty() {
            let remark = say!(
                " · less than 95 % succeed at {places}",
                places = places(&failing)
            );
            caption.push_str(&remark);
            let label = said("less than 95 % succeed");
            rates.push(series(label, lines.len(), Join::Dots, failing));
        }
        let title = say!("Output throughput along {label} (higher is better)", label);
        let id = "sweep-output-tps";
        drawn(
            id,
            (title, caption),
            (label, lines),
            ("output tokens/s", rates),
        )
    }

    /// Draws p50 and p99 of a latency.
    fn latency(
        &self,
        metric: &str,
        pick: fn(&Dot) -> [Option<f64>; 2],
    ) -> Result<Option<Figure>, ReportError> {
        let Self {
            label,
            lines,
            n,
            of,
        } = self;
        let mut curves = Vec::new();
        for (color, line) in lines.iter().enumerate() {
            for (index, what) in ["p50", "p99"].into_iter().enumerate() {
                let points = line.points(|dot| pick(dot)[index]);
                curves.push(series(
                    line.named(what),
                    color * 2 + index,
                    Join::Line,
                    points,
                ));
            }
        }
        let title = say!(
            "{metric} along {label} (lower is better)",
            metric = full_name(metric),
            label
        );
        let caption = say!("ms along {label} · n = {n} {of}", label, n, of);
        let id = format!("sweep-{metric}");
        drawn(&id, (title, caption), (label, lines), ("ms", curves))
    }
}

/// Draws lines along the axis of a sweep.
fn drawn(
    id: &str,
    (title, caption): (String, String),
    (label, lines): (&str, &[Line<'_>]),
    (unit, series): (&str, Vec<Series>),
) -> Result<Option<Figure>, ReportError> {
    let places = || {
        lines
            .iter()
            .flat_map(|line| &line.places)
            .map(|(at, _)| *at)
    };
    let (low, high) = (
        places().fold(f64::INFINITY, f64::min),
        places().fold(f64::NEG_INFINITY, f64::max),
    );
    let x = if low > 0.0 && high / low >= WIDE {
        Axis::logarithmic(low, high, label)
    } else if low >= 0.0 {
        Axis::from_zero(high, label)
    } else {
        Axis::linear(low, high, 5, label)
    };
    let values = series.iter().flat_map(|one| &one.points);
    let most = values.filter_map(|point| point.1).fold(0.0, f64::max);
    Plot {
        id: id.to_owned(),
        title,
        caption,
        x,
        x_written: Written {
            heading: label.to_owned(),
            places: usize::from(places().any(|at| at.fract() != 0.0)) * 2,
        },
        y: Axis::from_zero(most, unit),
        y_written: Written {
            heading: unit.to_owned(),
            places: 2,
        },
        series,
        bands: Vec::new(),
    }
    .figure()
}

fn knee(
    dots: &[Dot],
    of: &str,
    (metric, unit): (&str, &str),
    latency: fn(&Dot) -> Option<f64>,
) -> Result<Option<Figure>, ReportError> {
    let placed: Vec<(&Dot, f64)> = dots
        .iter()
        .filter_map(|dot| Some((dot, latency(dot)?)))
        .collect();
    if placed.len() < 2 {
        return Ok(None);
    }
    let fastest = placed
        .iter()
        .map(|(dot, _)| dot.output_tps)
        .fold(0.0, f64::max);
    let slowest = placed.iter().map(|(_, ms)| *ms).fold(0.0, f64::max);
    let dots = placed.iter().enumerate().map(|(index, (dot, ms))| {
        let points = vec![(dot.output_tps, Some(*ms))];
        series(dot.name.clone(), index, Join::Dots, points)
    });
    Plot {
        id: format!("knee-{metric}"),
        title: say!(
            "{metric} against throughput (right and down is better)",
            metric = full_name(metric)
        ),
        caption: say!(
            "{unit} over output tokens/s · n = {n} {of}",
            unit = said(unit),
            n = placed.len(),
            of
        ),
        x: Axis::from_zero(fastest, "output tokens/s"),
        x_written: Written {
            heading: "output tokens/s".to_owned(),
            places: 2,
        },
        y: Axis::from_zero(slowest, unit),
        y_written: Written {
            heading: unit.to_owned(),
            places: 2,
        },
        series: dots.collect(),
        bands: Vec::new(),
    }
    .figure()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::{Cell, Table};
    use crate::report::fixture;

    /// Dots of one line, each as its place, tokens a second and success.
    fn dots(points: &[(f64, f64, f64)]) -> Vec<Dot> {
        let dot = |(value, output_tps, ok_share): &(f64, f64, f64)| Dot {
            name: String::new(),
            place: Some(Place {
                label: "concurrency".to_owned(),
                value: *value,
                line: String::new(),
            }),
            output_tps: *output_tps,
            ok_share: Some(*ok_share),
            ttft_ms: [Some(10.0), Some(20.0)],
            tpot_ms: [None, None],
        };
        points.iter().map(dot).collect()
    }

    #[test]
    fn throughput_that_rises_by_less_than_a_twentieth_has_stopped_to_rise() {
        let full = |points: &[(f64, f64, f64)]| lines_of(&dots(points))[0].full();
        let rising = [(1.0, 10.0, 1.0), (2.0, 20.0, 1.0), (4.0, 40.0, 1.0)];
        assert_eq!(full(&rising), None);
        // In another order, with a plateau, and with a fall.
        let plateau = [
            (4.0, 40.0, 1.0),
            (1.0, 10.0, 1.0),
            (8.0, 41.0, 1.0),
            (16.0, 30.0, 1.0),
        ];
        assert_eq!(full(&plateau), Some((4.0, 40.0)));
        // A dip before the rise is no end of it.
        let dip = [(1.0, 30.0, 1.0), (2.0, 20.0, 1.0), (4.0, 60.0, 1.0)];
        assert_eq!(full(&dip), None);
    }

    #[test]
    fn runs_that_share_a_place_are_one_point_at_their_median() {
        let dots = dots(&[
            (1.0, 10.0, 1.0),
            (1.0, 30.0, 0.8),
            (2.0, 50.0, 0.94),
            (2.0, 70.0, 0.95),
        ]);
        let lines = lines_of(&dots);
        let rates = lines[0].points(|dot| Some(dot.output_tps));
        assert_eq!(rates, [(1.0, Some(20.0)), (2.0, Some(60.0))]);
        let failing: Vec<f64> = lines[0].failing().into_iter().map(|(at, _)| at).collect();
        assert_eq!(failing, [1.0, 2.0]);
    }

    #[test]
    fn marks_say_where_the_server_is_full_and_where_it_fails() {
        let points = [
            (1.0, 10.0, 1.0),
            (10.0, 90.0, 1.0),
            (20.0, 92.0, 0.95),
            (100.0, 93.0, 0.5),
        ];
        let figures = along(&dots(&points), "runs").unwrap();
        let ids: Vec<&str> = figures.iter().map(|figure| figure.id.as_str()).collect();
        assert_eq!(
            ids,
            ["sweep-output-tps", "sweep-ttft"],
            "no value of TPOT, no picture"
        );
        assert_eq!(
            figures[0].caption,
            "output tokens/s along concurrency · n = 4 runs · rises by at most 5 % beyond 10 · less \
             than 95 % succeed at 100"
        );
        assert!(along(&dots(&points[..2]), "runs").unwrap().is_empty());
    }

    #[test]
    fn a_sweep_over_two_models_is_two_lines() {
        let mut analysis = fixture::several(6);
        for (run, value) in analysis.runs.iter_mut().zip([1, 2, 4, 1, 2, 4]) {
            let line = if run.run.as_str() < "batch-4" {
                "model=a"
            } else {
                "model=b"
            };
            run.place = Some(Place {
                label: "concurrency".to_owned(),
                value: f64::from(value),
                line: line.to_owned(),
            });
        }
        let figures = sweep_figures(&analysis).unwrap();
        let rates = &figures[0];
        let names: Vec<&str> = rates
            .legend
            .iter()
            .map(|entry| entry.label.as_str())
            .collect();
        assert_eq!(
            names[..2],
            ["model=a, output tokens/s", "model=b, output tokens/s"]
        );
    }

    #[test]
    fn steps_lie_where_their_only_label_of_numbers_says() {
        let cell = |text: &str| Cell::Text(text.to_owned());
        let axis = |labels: [&str; 2]| {
            let mut analysis = fixture::single();
            let columns = ["run", "labels"].map(|name| crate::analyze::Column {
                name: name.to_owned(),
                unit: None,
            });
            analysis
                .tables
                .retain(|table| table.name != "throughput_by_step");
            analysis.tables.push(Table {
                name: "throughput_by_step".to_owned(),
                purpose: String::new(),
                columns: columns.to_vec(),
                rows: labels
                    .map(|labels| vec![cell("demo"), cell(labels)])
                    .to_vec(),
                sql: String::new(),
            });
            step_axis(&analysis.rows_of("demo"))
        };
        let found = axis([r#"{"rate":"1","gpu":8}"#, r#"{"rate":"2","gpu":8}"#]);
        assert_eq!(found.as_deref(), Some("rate"));
        assert_eq!(axis([r#"{"rate":"1"}"#, r#"{"rate":"inf"}"#]), None);
        assert_eq!(axis([r#"{"a":1,"b":1}"#, r#"{"a":2,"b":2}"#]), None);
    }
}
