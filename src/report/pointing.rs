//! The numbers of a chart as JSON, for the page's script to tell what is under the pointer.
//!
//! `templates/_script.js` reads them. Numbers have five digits, as many as a tip can show.

use serde_json::{Value, json};

use super::chart::{Join, PALETTE, PLANE};
use super::plot::{HeatCount, Plot};
use super::scale::Axis;

/// The lines of a plot: `{box: [left, right, top, bottom], x: axis, y: axis, s: [series]}`.
///
/// An axis is `{k: linear, log or nines, f: from, t: to, u: unit}`, and a series `[name, class of
/// its colour, how its points are joined, xs or null, ys]`: null for those of the first series.
pub(super) fn lines(plot: &Plot) -> String {
    let xs = |points: &[(f64, Option<f64>)]| -> Vec<Value> {
        points.iter().map(|point| short(point.0)).collect()
    };
    let first = plot.series.first().map(|one| xs(&one.points));
    let series = plot.series.iter().enumerate().map(|(index, one)| {
        let own = xs(&one.points);
        let is_shared = index > 0 && Some(&own) == first.as_ref();
        let ys = one
            .points
            .iter()
            .map(|point| point.1.map_or(Value::Null, short));
        let join = match one.join {
            Join::Line => "line",
            Join::Step => "step",
            Join::Dots => "dots",
        };
        json!([
            one.label,
            format!("c{}", one.color % PALETTE.len() + 1),
            join,
            if is_shared { Value::Null } else { own.into() },
            ys.collect::<Vec<Value>>(),
        ])
    });
    json!({
        "box": PLANE,
        "x": axis(&plot.x, &plot.x_written.heading),
        "y": axis(&plot.y, &plot.y_written.heading),
        "s": series.collect::<Vec<Value>>(),
    })
    .to_string()
}

/// The cells of a heat map in the order in which they are drawn: `{x: {u: unit}, y: {u: unit}, xs:
/// edges, ys: edges, c: [[left, right, low, high, n]]}`, where a cell names its edges by number.
pub(super) fn cells(cells: &[HeatCount], x_unit: &str, y_unit: &str) -> String {
    let edges = |pick: fn(&HeatCount) -> (f64, f64)| {
        let mut edges: Vec<f64> = cells.iter().map(pick).flat_map(|(a, b)| [a, b]).collect();
        edges.sort_by(f64::total_cmp);
        edges.dedup_by(|a, b| a.to_bits() == b.to_bits());
        edges
    };
    let (xs, ys) = (edges(|cell| cell.x), edges(|cell| cell.y));
    let place = |edges: &[f64], value: f64| edges.partition_point(|edge| *edge < value);
    let numbered = cells.iter().map(|cell| {
        json!([
            place(&xs, cell.x.0),
            place(&xs, cell.x.1),
            place(&ys, cell.y.0),
            place(&ys, cell.y.1),
            short(cell.n),
        ])
    });
    json!({
        "x": { "u": x_unit },
        "y": { "u": y_unit },
        "xs": xs.iter().copied().map(short).collect::<Vec<Value>>(),
        "ys": ys.iter().copied().map(short).collect::<Vec<Value>>(),
        "c": numbered.collect::<Vec<Value>>(),
    })
    .to_string()
}

fn axis(axis: &Axis, unit: &str) -> Value {
    json!({ "k": axis.kind(), "f": axis.from, "t": axis.to, "u": unit })
}

/// A number of at most five digits; one that is not finite is none.
fn short(value: f64) -> Value {
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::float_cmp,
        reason = "a whole number below 2^53 is written without its point"
    )]
    if rounded.trunc() == rounded && rounded.abs() < 9e15 {
        return Value::from(rounded as i64);
    }
    // What is not finite becomes null.
    Value::from(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::series;
    use crate::report::plot::Written;

    #[test]
    fn numbers_are_short_and_what_is_none_is_null() {
        let written = |value| short(value).to_string();
        assert_eq!(written(123_456.789), "123460");
        assert_eq!(written(0.001_234_56), "0.0012346");
        assert_eq!(written(12.0), "12");
        assert_eq!(written(f64::NAN), "null");
    }

    #[test]
    fn series_on_the_same_places_name_them_once() {
        let points = |by: f64| vec![(0.0, Some(by)), (1.0, None), (2.0, Some(3.0 * by))];
        let plot = Plot {
            id: String::new(),
            title: String::new(),
            caption: String::new(),
            x: Axis::linear(0.0, 2.0, 2, ""),
            x_written: Written {
                heading: "s".to_owned(),
                places: 1,
            },
            y: Axis::from_zero(6.0, "ms"),
            y_written: Written {
                heading: "ms".to_owned(),
                places: 1,
            },
            series: vec![
                series("a", 0, Join::Line, points(1.0)),
                series("b", 1, Join::Step, points(2.0)),
            ],
            bands: Vec::new(),
        };
        let data: Value = serde_json::from_str(&lines(&plot)).unwrap();
        assert_eq!(
            data["s"][0],
            json!(["a", "c1", "line", [0, 1, 2], [1, null, 3]])
        );
        assert_eq!(data["s"][1], json!(["b", "c2", "step", null, [2, null, 6]]));
        assert_eq!(
            data["y"],
            json!({"k": "linear", "f": 0.0, "t": 6.0, "u": "ms"})
        );
    }

    #[test]
    fn a_cell_names_its_edges() {
        let cell = |x: f64, n| HeatCount {
            x: (x, x + 1.0),
            y: (2.0, 4.0),
            n,
        };
        let text = cells(&[cell(0.0, 3.0), cell(1.0, 5.0)], "s", "ms");
        let data: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(data["xs"], json!([0, 1, 2]));
        assert_eq!(data["c"], json!([[0, 1, 0, 1, 3], [1, 2, 0, 1, 5]]));
    }
}
