//! The only place that draws: a small face over plotters and its SVG back end.
//!
//! A chart is drawn larger than it is shown, because the back end works in whole pixels, and it
//! carries no fonts, no size and no colours of its own that the page could not override: the style
//! sheet maps each of [`PALETTE`] to a variable by attribute, which is how one drawing serves a
//! light page, a dark page and paper.

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ReportError;
use super::language::said;
use super::scale::Axis;

/// Colours of series, in order; told apart by people with the common colour vision deficiencies.
pub(crate) const PALETTE: [RGBColor; 8] = [
    RGBColor(0x44, 0x77, 0xAA),
    RGBColor(0xEE, 0x66, 0x77),
    RGBColor(0x22, 0x88, 0x33),
    RGBColor(0xCC, 0xBB, 0x44),
    RGBColor(0x66, 0xCC, 0xEE),
    RGBColor(0xAA, 0x33, 0x77),
    RGBColor(0xEE, 0x77, 0x33),
    RGBColor(0x88, 0x88, 0x88),
];

/// Text, grid lines and shaded bands.
const INK: RGBColor = RGBColor(0x66, 0x66, 0x66);
const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);
const BAND: RGBColor = RGBColor(0xEE, 0xEE, 0xEE);

const WIDTH: i32 = 1280;
const HEIGHT: i32 = 600;
const LEFT: i32 = 116;
const RIGHT: i32 = 40;
const TOP: i32 = 66;
const BOTTOM: i32 = 76;
const FONT: i32 = 26;

/// Steps of depth in a heat map.
pub(crate) const HEAT_LEVELS: u8 = 6;

/// How a series' points are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Join {
    /// Straight from point to point.
    Line,
    /// Level until the next point: a value that holds over a window.
    Step,
    /// Not at all.
    Dots,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    /// What the legend calls it.
    pub(crate) label: String,
    /// Index into [`PALETTE`], modulo its length.
    pub(crate) color: usize,
    /// How its points are joined.
    pub(crate) join: Join,
    /// Whether it is drawn broad and behind the others, as what they are measured against.
    pub(crate) is_backdrop: bool,
    /// Points in order; `None` interrupts the line.
    pub(crate) points: Vec<(f64, Option<f64>)>,
}

/// One rectangle of a heat map, in the axes' own values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HeatCell {
    /// Left and right edge.
    pub(crate) x: (f64, f64),
    /// Lower and upper edge.
    pub(crate) y: (f64, f64),
    /// Depth, from 1 to [`HEAT_LEVELS`].
    pub(crate) level: u8,
}

type Canvas<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Plane = Cartesian2d<RangedCoordf64, RangedCoordf64>;

/// Draws lines, with `bands` of x shaded behind them. Each series is a group of its own, by its
/// number, so that a reader can be shown some of them.
pub(crate) fn lines(
    x: &Axis,
    y: &Axis,
    series: &[Series],
    bands: &[(f64, f64)],
    alt: &str,
) -> Result<String, ReportError> {
    let mut body = paint(HEIGHT, |root| {
        let area = root.apply_coord_spec(plane(x, y, HEIGHT));
        for (from, to) in bands {
            let corners = [(x.place(*from), y.from), (x.place(*to), y.to)];
            area.draw(&Rectangle::new(corners, BAND.filled()))
                .map_err(drawing)?;
        }
        frame(root, &area, (x, y), HEIGHT)
    })?;
    for (index, one) in series.iter().enumerate() {
        let drawn = paint(HEIGHT, |root| {
            join(&root.apply_coord_spec(plane(x, y, HEIGHT)), x, y, one)
        })?;
        body.push_str(&format!("<g data-s=\"{index}\">{drawn}</g>"));
    }
    Ok(wrap(&body, HEIGHT, alt))
}

/// Where a drawing of lines has its plane, in its own units: left, right, top, bottom.
pub(crate) const PLANE: [i32; 4] = [LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM];

/// Draws a grid of rectangles, the deeper the more there is.
pub(crate) fn heat_map(
    x: &Axis,
    y: &Axis,
    cells: &[HeatCell],
    alt: &str,
) -> Result<String, ReportError> {
    let body = paint(HEIGHT, |root| {
        let area = root.apply_coord_spec(plane(x, y, HEIGHT));
        frame(root, &area, (x, y), HEIGHT)?;
        for cell in cells {
            let corners = [
                (x.place(cell.x.0), y.place(cell.y.0)),
                (x.place(cell.x.1), y.place(cell.y.1)),
            ];
            let depth = f64::from(cell.level.clamp(1, HEAT_LEVELS)) / f64::from(HEAT_LEVELS);
            // Two decimals: a heat map has thousands of these.
            let style = PALETTE[0].mix((depth * 100.0).round() / 100.0).filled();
            area.draw(&Rectangle::new(corners, style))
                .map_err(drawing)?;
        }
        Ok(())
    })?;
    // The style sheet fills all rectangles at once, which takes a fifth off the drawing.
    let body = body.replace(" fill=\"#4477AA\"", "");
    Ok(wrap(&body, HEIGHT, alt).replacen("<svg ", "<svg class=\"heat\" ", 1))
}

/// One lane of a waterfall: stretches of x, each with the index of its colour.
pub(crate) type Lane = Vec<((f64, f64), usize)>;

/// Draws a lane an item, the first one on top.
pub(crate) fn lanes(x: &Axis, lanes: &[Lane], alt: &str) -> Result<String, ReportError> {
    const ROOM: i32 = 24;
    let count = i32::try_from(lanes.len()).unwrap_or(i32::MAX / 100);
    let height = count.saturating_mul(ROOM).saturating_add(TOP + BOTTOM);
    let mut y = Axis::linear(0.0, f64::from(count.max(1)), 1, "");
    y.ticks.clear();
    let body = paint(height, |root| {
        let area = root.apply_coord_spec(plane(x, &y, height));
        frame(root, &area, (x, &y), height)?;
        // The plane counts upwards.
        for (lane, from_top) in lanes.iter().zip(1..) {
            let foot = y.to - f64::from(from_top);
            for ((from, to), color) in lane {
                let corners = [(x.place(*from), foot + 0.18), (x.place(*to), foot + 0.82)];
                let style = PALETTE[color % PALETTE.len()].filled();
                area.draw(&Rectangle::new(corners, style))
                    .map_err(drawing)?;
            }
        }
        Ok(())
    })?;
    Ok(wrap(&body, height, alt))
}

/// Draws one bar an item, each with its name above and its value behind it.
pub(crate) fn bars(items: &[(String, f64, String)], alt: &str) -> Result<String, ReportError> {
    let room = 84;
    let count = i32::try_from(items.len()).unwrap_or(i32::MAX / room);
    let height = count.saturating_mul(room).saturating_add(20);
    let most = items
        .iter()
        .map(|item| item.1)
        .fold(0.0, f64::max)
        .max(f64::MIN_POSITIVE);
    let body = paint(height, |root| {
        let length = Axis::linear(0.0, most, 1, "");
        let area = root.apply_coord_spec(Plane::new(
            0.0..length.to,
            0.0..f64::from(height),
            (8..WIDTH - 220, 0..height),
        ));
        let mut top = 6;
        for (name, value, written) in items {
            root.draw_text(name, &text(HPos::Left, VPos::Top), (8, top))
                .map_err(drawing)?;
            let edge = f64::from(top + 34);
            let bar = [(0.0, edge), (*value, edge + 34.0)];
            area.draw(&Rectangle::new(bar, PALETTE[1].filled()))
                .map_err(drawing)?;
            let (end, _) = area.map_coordinate(&(*value, edge));
            root.draw_text(
                written,
                &text(HPos::Left, VPos::Center),
                (end + 14, top + 52),
            )
            .map_err(drawing)?;
            top += room;
        }
        Ok(())
    })?;
    Ok(wrap(&body, height, alt))
}

/// Opens a canvas, lets `fill` paint on it, and returns what was drawn, without what inline SVG
/// does not need: the name space (an address), the fixed size, and what the style sheet sets.
fn paint(
    height: i32,
    fill: impl FnOnce(&Canvas<'_>) -> Result<(), ReportError>,
) -> Result<String, ReportError> {
    let mut svg = String::new();
    {
        let size = (
            u32::try_from(WIDTH).unwrap_or(1),
            u32::try_from(height).unwrap_or(1),
        );
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        fill(&root)?;
        root.present().map_err(drawing)?;
    }
    let body = svg.split_once(">\n").map_or("", |(_, body)| body);
    Ok(body
        .trim_end()
        .trim_end_matches("</svg>")
        .replace(" opacity=\"1\"", "")
        .replace(" stroke=\"none\"", "")
        .replace(" font-family=\"sans-serif\"", "")
        .replace(&format!(" font-size=\"{}\"", f64::from(FONT) / 1.24), "")
        .replace(" \"", "\"")
        // Not even text in a chart may read as an address.
        .replace("://", ":&#47;&#47;")
        .replace('\n', ""))
}

/// Makes SVG that can stand inside HTML of what was drawn.
fn wrap(body: &str, height: i32, alt: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\">{body}</svg>",
        escape(alt)
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('/', "&#47;")
}

/// Returns the plane that the two axes span inside the margins.
fn plane(x: &Axis, y: &Axis, height: i32) -> Plane {
    // Pixels count downwards, values upwards.
    Plane::new(
        x.from..x.to,
        y.to..y.from,
        (LEFT..WIDTH - RIGHT, TOP..height - BOTTOM),
    )
}

/// Draws grid lines, ticks and titles.
fn frame(
    root: &Canvas<'_>,
    area: &DrawingArea<SVGBackend<'_>, Plane>,
    (x, y): (&Axis, &Axis),
    height: i32,
) -> Result<(), ReportError> {
    for tick in &y.ticks {
        let line = vec![(x.from, tick.at), (x.to, tick.at)];
        area.draw(&PathElement::new(line, GRID.stroke_width(2)))
            .map_err(drawing)?;
        let (_, at) = area.map_coordinate(&(x.from, tick.at));
        root.draw_text(
            &tick.label,
            &text(HPos::Right, VPos::Center),
            (LEFT - 14, at),
        )
        .map_err(drawing)?;
    }
    for tick in &x.ticks {
        let line = vec![(tick.at, y.from), (tick.at, y.to)];
        area.draw(&PathElement::new(line, GRID.stroke_width(1)))
            .map_err(drawing)?;
        let (at, _) = area.map_coordinate(&(tick.at, y.from));
        root.draw_text(
            &tick.label,
            &text(HPos::Center, VPos::Top),
            (at, height - BOTTOM + 14),
        )
        .map_err(drawing)?;
    }
    root.draw_text(&said(&y.title), &text(HPos::Left, VPos::Top), (8, 0))
        .map_err(drawing)?;
    let inside = (WIDTH - RIGHT - 8, height - BOTTOM - 14);
    root.draw_text(&said(&x.title), &text(HPos::Right, VPos::Bottom), inside)
        .map_err(drawing)?;
    Ok(())
}

/// Draws one series: a path for each stretch without a gap, a dot where a stretch is one point.
fn join(
    area: &DrawingArea<SVGBackend<'_>, Plane>,
    x: &Axis,
    y: &Axis,
    series: &Series,
) -> Result<(), ReportError> {
    let color = PALETTE[series.color % PALETTE.len()];
    for stretch in series.points.split(|point| point.1.is_none()) {
        let mut path: Vec<(f64, f64)> = Vec::with_capacity(stretch.len() * 2);
        for (at, value) in stretch {
            let Some(value) = value else { continue };
            let point = (x.place(*at), y.place(*value));
            if let (Join::Step, Some(last)) = (series.join, path.last()) {
                path.push((point.0, last.1));
            }
            path.push(point);
        }
        if series.join == Join::Dots || path.len() == 1 {
            for point in path {
                area.draw(&Circle::new(point, 7, color.filled()))
                    .map_err(drawing)?;
            }
        } else if path.len() > 1 {
            area.draw(&PathElement::new(
                path,
                color.stroke_width(if series.is_backdrop { 12 } else { 4 }),
            ))
            .map_err(drawing)?;
        }
    }
    Ok(())
}

/// Returns the style of all text, anchored as asked.
fn text(horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    TextStyle::from(("sans-serif", FONT).into_font())
        .color(&INK)
        .pos(Pos::new(horizontal, vertical))
}

fn drawing<E: std::error::Error + Send + Sync>(source: DrawingAreaErrorKind<E>) -> ReportError {
    ReportError::Draw(source.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(join: Join, points: Vec<(f64, Option<f64>)>) -> String {
        let series = Series {
            label: "p50".to_owned(),
            color: 0,
            join,
            is_backdrop: false,
            points,
        };
        let x = Axis::linear(0.0, 2.0, 2, "s");
        lines(&x, &Axis::from_zero(4.0, "ms"), &[series], &[], "sample").unwrap()
    }

    #[test]
    fn carries_no_address_no_size_and_no_font() {
        let svg = sample(Join::Line, vec![(0.0, Some(1.0)), (2.0, Some(4.0))]);
        assert!(
            !svg.contains("http") && !svg.contains("xmlns") && !svg.contains("font"),
            "{svg}"
        );
        assert!(svg.starts_with("<svg viewBox=") && svg.ends_with("</svg>"));
    }

    #[test]
    fn a_gap_interrupts_the_line_and_a_lone_point_is_a_dot() {
        let svg = sample(
            Join::Line,
            vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(4.0))],
        );
        assert_eq!(svg.matches("<circle").count(), 2);
        assert!(!svg.contains("stroke-width=\"4\""));
    }

    #[test]
    fn a_step_holds_its_value_until_the_next() {
        let svg = sample(Join::Step, vec![(0.0, Some(1.0)), (2.0, Some(4.0))]);
        assert!(svg.contains("points=\"116,409 1240,409 1240,66\""), "{svg}");
    }

    #[test]
    fn what_is_written_in_a_chart_is_escaped() {
        let items = [("<script>".to_owned(), 3.0, "3".to_owned())];
        let svg = bars(&items, "\"><script>").unwrap();
        assert!(!svg.contains("<script"), "{svg}");
    }

    #[test]
    fn draws_a_small_chart_in_full() {
        let x = Axis::linear(0.0, 2.0, 1, "s");
        let cell = HeatCell {
            x: (0.0, 2.0),
            y: (0.0, 1.0),
            level: 3,
        };
        let svg = heat_map(&x, &Axis::from_zero(1.0, "ms"), &[cell], "heat").unwrap();
        assert!(svg.contains("height=\"458\" opacity=\"0.5\"/>"), "{svg}");
    }
}
