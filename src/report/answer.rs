//! The page on which a reader asks SQL: the statement, what it came to, and a picture of that.

use serde::Serialize;

use crate::analyze::{CATALOG, Cell, Table, views};

use super::ReportError;
use super::chart::{Join, Series};
use super::figures::{Figure, MOST_BARS, series};
use super::format::{self, NS_PER_MS};
use super::grid::{Field, Grid};
use super::language::{said, say};
use super::page::{self, PageOptions};
use super::plot::{BarPlot, Plot, Written};
use super::scale::Axis;

/// Most rows of a result that a page shows.
pub(crate) const SHOWN_ROWS: usize = 500;

/// Most columns of a result that is drawn without being asked for.
const FEW_COLUMNS: usize = 5;

/// Most lines, or groups of dots, of a picture.
const MOST_SERIES: usize = 8;

/// Most dots of one group.
const MOST_DOTS: usize = 300;

/// Longest word in a cell, in characters.
const CELL_LETTERS: usize = 200;

/// A line's points.
type Points = Vec<(f64, Option<f64>)>;

/// How results are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Drawing {
    /// As their columns suggest.
    #[default]
    Auto,
    /// As lines over a number.
    Lines,
    /// As dots over a number.
    Dots,
    /// As a bar a row.
    Bars,
    /// Not at all.
    None,
}

impl Drawing {
    /// Every way, with the word for it.
    pub const ALL: [(&'static str, Self); 5] = [
        ("auto", Self::Auto),
        ("lines", Self::Lines),
        ("dots", Self::Dots),
        ("bars", Self::Bars),
        ("none", Self::None),
    ];

    /// Finds a way by its word.
    pub fn of(word: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == word);
        found.map(|(_, drawing)| *drawing)
    }
}

/// What a reader asked, and what it came to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SqlAsked {
    /// The statements, as they were typed.
    pub sql: String,
    /// How results are drawn.
    pub drawing: Drawing,
    /// Column that lies along a picture; none for the one that fits.
    pub x: Option<String>,
    /// Column that stands in a picture; none for those that fit.
    pub y: Option<String>,
    /// A result a statement.
    pub results: Vec<Table>,
    /// Most rows that a result could have.
    pub row_limit: Option<usize>,
    /// What is wrong with a statement.
    pub error: Option<String>,
    /// What can be done about that.
    pub hint: Option<String>,
    /// How long it took, in seconds; none where nothing was asked.
    pub seconds: Option<f64>,
    /// Names of what can be asked about, each with its columns.
    pub relations: Vec<(String, Vec<String>)>,
}

/// The page, as its template sees it.
#[derive(Debug, Serialize)]
struct Page<'a> {
    title: String,
    sql: &'a str,
    drawings: Vec<Choice>,
    columns: Vec<&'a str>,
    x: &'a str,
    y: &'a str,
    error: Option<String>,
    hint: Option<String>,
    took: Option<String>,
    answers: Vec<Answer>,
    relations: Vec<Relation<'a>>,
    queries: Vec<Named>,
    tool_version: &'static str,
}

/// One way to draw.
#[derive(Debug, Serialize)]
struct Choice {
    word: &'static str,
    label: String,
    is_chosen: bool,
}

/// One result.
#[derive(Debug, Serialize)]
struct Answer {
    grid: Grid,
    figure: Option<Figure>,
}

/// What can be asked about.
#[derive(Debug, Serialize)]
struct Relation<'a> {
    name: &'a str,
    purpose: String,
    columns: &'a [String],
}

/// A query of the report, to begin from.
#[derive(Debug, Serialize)]
struct Named {
    name: &'static str,
    purpose: String,
}

/// Renders the page.
///
/// # Errors
///
/// As [`super::html()`].
pub fn sql_page(asked: &SqlAsked, options: &PageOptions) -> Result<String, ReportError> {
    options.language.speaking(|| {
        let environment = page::environment(options)?;
        page::fill(&environment, "sql.html", &laid_out(asked)?)
    })
}

fn laid_out(asked: &SqlAsked) -> Result<Page<'_>, ReportError> {
    let answers = asked.results.iter().enumerate().map(|(index, table)| {
        Ok(Answer {
            grid: grid(asked, table),
            figure: picture(asked, table, index)?,
        })
    });
    let known = views();
    let purpose = |name: &str| {
        let view = known.iter().find(|view| view.name == name);
        view.map_or_else(String::new, |view| said(&view.purpose))
    };
    let mut columns: Vec<&str> = Vec::new();
    for column in asked.results.iter().flat_map(|table| &table.columns) {
        if !columns.contains(&column.name.as_str()) {
            columns.push(&column.name);
        }
    }
    Ok(Page {
        title: said("Questions to the tape"),
        sql: &asked.sql,
        drawings: Drawing::ALL
            .iter()
            .map(|(word, drawing)| Choice {
                word,
                label: said(drawing.label()),
                is_chosen: *drawing == asked.drawing,
            })
            .collect(),
        columns,
        x: asked.x.as_deref().unwrap_or_default(),
        y: asked.y.as_deref().unwrap_or_default(),
        error: asked
            .error
            .as_deref()
            .map(|text| format::clean_to(text, 2_000)),
        hint: asked
            .hint
            .as_deref()
            .map(|text| format::clean_to(text, 2_000)),
        took: asked
            .seconds
            .map(|seconds| format::duration(seconds * format::NS_PER_S)),
        answers: answers.collect::<Result<_, ReportError>>()?,
        relations: asked
            .relations
            .iter()
            .map(|(name, columns)| Relation {
                name,
                purpose: purpose(name),
                columns,
            })
            .collect(),
        queries: CATALOG
            .iter()
            .map(|query| Named {
                name: query.name,
                purpose: said(&query.purpose),
            })
            .collect(),
        tool_version: env!("CARGO_PKG_VERSION"),
    })
}

impl Drawing {
    fn label(self) -> &'static str {
        match self {
            Self::Auto => "what fits",
            Self::Lines => "lines",
            Self::Dots => "dots",
            Self::Bars => "bars",
            Self::None => "no picture",
        }
    }
}

/// Lays out a result as it came: names as they are in SQL, numbers whole.
fn grid(asked: &SqlAsked, table: &Table) -> Grid {
    let total = table.rows.len();
    let caption = if Some(total) == asked.row_limit {
        let (shown, n) = (format::whole(SHOWN_ROWS), format::whole(total));
        say!(
            "The first {shown} of {n} rows or more; a million of them are in the CSV",
            shown,
            n
        )
    } else if total == 1 {
        said("1 row")
    } else if total > SHOWN_ROWS {
        say!(
            "The first {n} rows; the others are in the CSV",
            n = format::whole(SHOWN_ROWS)
        )
    } else {
        say!("{n} rows", n = format::whole(total))
    };
    let columns = table.columns.iter().enumerate().map(|(at, column)| {
        let name = format::clean_to(&column.name, CELL_LETTERS);
        (name, Kind::of(table, at) == Kind::Number)
    });
    let mut grid = Grid::new(caption, &[]).with_columns(columns);
    for row in table.rows.iter().take(SHOWN_ROWS) {
        grid.push(row.iter().map(field).collect());
    }
    grid
}

fn field(cell: &Cell) -> Field {
    match cell {
        Cell::Null => Field::verbatim(format::NONE),
        Cell::Int(value) => Field::verbatim(value.to_string()),
        Cell::Float(value) => Field::verbatim(real(*value)),
        Cell::Bool(value) => Field::verbatim(value.to_string()),
        Cell::Text(text) => Field::foreign(format::clean_to(text, CELL_LETTERS)),
    }
}

/// Writes a number with seven digits: as many as a reader can make use of, and no fewer.
fn real(value: f64) -> String {
    let size = value.abs();
    if size >= 1e15 || (size > 0.0 && size < 1e-4) {
        return format!("{value:.6e}");
    }
    let places = (0..=10).find(|places| size * 10_f64.powi(*places) >= 1e6);
    let text = format!(
        "{value:.*}",
        usize::try_from(places.unwrap_or(10)).unwrap_or(0)
    );
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Number,
    Word,
}

impl Kind {
    fn of(table: &Table, at: usize) -> Self {
        let mut is_any = false;
        for cell in table.rows.iter().filter_map(|row| row.get(at)) {
            match cell {
                Cell::Null => {}
                Cell::Int(_) | Cell::Float(_) => is_any = true,
                Cell::Text(_) | Cell::Bool(_) => return Self::Word,
            }
        }
        if is_any { Self::Number } else { Self::Word }
    }
}

/// A column's numbers, in milliseconds where they are nanoseconds.
struct Numbers<'a> {
    table: &'a Table,
    at: usize,
    heading: String,
    by: f64,
}

impl<'a> Numbers<'a> {
    fn of(table: &'a Table, at: usize) -> Self {
        let name = format::name(&table.columns[at].name);
        match name.strip_suffix("_ns") {
            Some(rest) => Self {
                table,
                at,
                heading: format!("{rest}, ms"),
                by: NS_PER_MS,
            },
            None => Self {
                table,
                at,
                heading: name,
                by: 1.0,
            },
        }
    }

    fn of_row(&self, row: usize) -> Option<f64> {
        let cell = self.table.rows.get(row)?.get(self.at)?;
        Some(cell.number()? / self.by)
    }

    /// The least and the largest; none where there is no number.
    fn ends(&self) -> Option<(f64, f64)> {
        let all = || (0..self.table.rows.len()).filter_map(|row| self.of_row(row));
        Some((all().reduce(f64::min)?, all().reduce(f64::max)?))
    }

    fn written(&self) -> Written {
        Written {
            heading: self.heading.clone(),
            places: 3,
        }
    }
}

/// Lays out an axis that all numbers of some columns fit on; none where there is no number.
fn axis(columns: &[Numbers<'_>], title: &str) -> Option<Axis> {
    let ends = || columns.iter().filter_map(Numbers::ends);
    let least = ends().map(|ends| ends.0).reduce(f64::min)?;
    let most = ends().map(|ends| ends.1).reduce(f64::max)?;
    Some(if least >= 0.0 && least <= 0.5 * most {
        Axis::from_zero(most, title)
    } else {
        Axis::linear(least, most, 6, title)
    })
}

/// What stands where in a picture.
struct Placed {
    drawing: Drawing,
    /// A word a bar, or a word a line.
    words: Option<usize>,
    x: Option<usize>,
    ys: Vec<usize>,
}

/// Decides what stands where; `None` where a picture would show nothing.
fn placed(asked: &SqlAsked, table: &Table) -> Option<Placed> {
    if table.rows.len() < 2 || asked.drawing == Drawing::None {
        return None;
    }
    let kinds: Vec<Kind> = (0..table.columns.len())
        .map(|at| Kind::of(table, at))
        .collect();
    let of_kind = |kind| {
        let places = kinds.iter().enumerate();
        places.filter_map(move |(at, other)| (*other == kind).then_some(at))
    };
    let named = |name: &Option<String>| {
        let name = name.as_deref()?;
        let at = table
            .columns
            .iter()
            .position(|column| column.name == name)?;
        (kinds[at] == Kind::Number).then_some(at)
    };
    let (x, y) = (named(&asked.x), named(&asked.y));
    let words = of_kind(Kind::Word).next();
    let is_label = words.is_some_and(|at| is_distinct(table, at));
    // A raw view has many columns, and no picture of it means anything unless it is asked for.
    let is_chosen = x.is_some() || y.is_some();
    if asked.drawing == Drawing::Auto && table.columns.len() > FEW_COLUMNS && !is_chosen {
        return None;
    }
    let wants_bars = match asked.drawing {
        Drawing::Bars => true,
        Drawing::Auto => is_label && x.is_none() && table.rows.len() <= MOST_BARS,
        _ => false,
    };
    if wants_bars {
        let value = y.or_else(|| of_kind(Kind::Number).next())?;
        let name = words.or_else(|| of_kind(Kind::Number).find(|at| *at != value))?;
        return Some(Placed {
            drawing: Drawing::Bars,
            words: Some(name),
            x: None,
            ys: vec![value],
        });
    }
    let x = x.or_else(|| of_kind(Kind::Number).find(|at| Some(*at) != y))?;
    // A line a word has one number up; without words there is a line a column.
    let words = words.filter(|_| !is_label);
    let rest = of_kind(Kind::Number).filter(|at| *at != x);
    let ys: Vec<usize> = match (y, words) {
        (Some(y), _) => vec![y],
        (None, Some(_)) => rest.take(1).collect(),
        (None, None) => rest.take(MOST_SERIES).collect(),
    };
    (!ys.is_empty()).then_some(Placed {
        drawing: asked.drawing,
        words,
        x: Some(x),
        ys,
    })
}

fn is_distinct(table: &Table, at: usize) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    table
        .rows
        .iter()
        .all(|row| seen.insert(row.get(at).and_then(Cell::text)))
}

/// Draws a result; `None` where a picture would show nothing.
fn picture(asked: &SqlAsked, table: &Table, index: usize) -> Result<Option<Figure>, ReportError> {
    let Some(placed) = placed(asked, table) else {
        return Ok(None);
    };
    let id = format!("picture-{}", index + 1);
    match placed.x {
        None => bars(&placed, table, &id),
        Some(x) => plot(&placed, x, table, id),
    }
}

fn bars(placed: &Placed, table: &Table, id: &str) -> Result<Option<Figure>, ReportError> {
    let values = Numbers::of(table, placed.ys[0]);
    let name = |row: &Vec<Cell>| {
        let text = placed
            .words
            .and_then(|at| row.get(at))
            .map(|cell| field(cell).text);
        format::clean_to(&text.unwrap_or_default(), 60)
    };
    let items = table.rows.iter().enumerate().filter_map(|(at, row)| {
        let value = values.of_row(at)?;
        Some((name(row), value, real(value)))
    });
    let n = table.rows.len();
    let (unit, shown) = (&values.heading, MOST_BARS);
    let caption = if n > MOST_BARS {
        say!(
            "{unit} · the first {shown} of {n} rows",
            unit,
            shown,
            n = format::whole(n)
        )
    } else {
        say!("{unit} · n = {n} rows", unit, n = format::whole(n))
    };
    BarPlot {
        id: id.to_owned(),
        title: values.heading.clone(),
        caption,
        headings: ["row".to_owned(), values.heading.clone()],
        items: items.collect(),
    }
    .figure()
}

fn plot(
    placed: &Placed,
    x: usize,
    table: &Table,
    id: String,
) -> Result<Option<Figure>, ReportError> {
    let along = Numbers::of(table, x);
    let ups = placed.ys.iter().map(|at| Numbers::of(table, *at));
    let ups: Vec<Numbers<'_>> = ups.collect();
    let (lines, is_cut) = lines(placed, table, &along, &ups);
    // All lines stand on one axis, which has a name where it is about one column.
    let (up, heading, title) = match ups.as_slice() {
        [one] => (
            one.heading.clone(),
            one.heading.clone(),
            one.heading.as_str(),
        ),
        _ => (said("columns"), said("value"), ""),
    };
    let x_axis = axis(std::slice::from_ref(&along), &along.heading);
    let (Some(x_axis), Some(y_axis)) = (x_axis, axis(&ups, title)) else {
        return Ok(None);
    };
    let mut caption = say!("n = {n} rows", n = format::whole(table.rows.len()));
    if is_cut {
        let shown = MOST_SERIES;
        caption.push_str(&say!(" · the first {shown} of more groups", shown));
    }
    Plot {
        id,
        title: say!("{up} by {along}", up, along = along.heading),
        caption,
        x: x_axis,
        x_written: along.written(),
        y: y_axis,
        y_written: Written { heading, places: 3 },
        series: lines,
        bands: Vec::new(),
    }
    .figure()
}

/// Makes a line a column, or a line a word; and tells whether there are more words than lines.
fn lines(
    placed: &Placed,
    table: &Table,
    along: &Numbers<'_>,
    ups: &[Numbers<'_>],
) -> (Vec<Series>, bool) {
    let mut lines: Vec<Series> = Vec::new();
    let mut is_cut = false;
    for up in ups {
        let mut groups: Vec<(String, Points)> = Vec::new();
        for (at, row) in table.rows.iter().enumerate() {
            let label = match placed.words {
                Some(words) => format::name(&field(&row[words]).text),
                None => up.heading.clone(),
            };
            let Some(place) = along.of_row(at) else {
                continue;
            };
            let point = (place, up.of_row(at));
            match groups.iter().position(|group| group.0 == label) {
                Some(known) => groups[known].1.push(point),
                None if groups.len() < MOST_SERIES => groups.push((label, vec![point])),
                None => is_cut = true,
            }
        }
        for (label, points) in groups {
            let join = match placed.drawing {
                Drawing::Lines => Join::Line,
                Drawing::Dots => Join::Dots,
                _ if points.is_sorted_by(|a, b| a.0 < b.0) => Join::Line,
                _ => Join::Dots,
            };
            lines.push(series(label, lines.len(), join, settled(points, join)));
        }
    }
    (lines, is_cut)
}

/// Puts the points of a line in order, and of many dots takes some, evenly.
fn settled(mut points: Points, join: Join) -> Points {
    if join == Join::Dots {
        let every = points.len().div_ceil(MOST_DOTS).max(1);
        return points.into_iter().step_by(every).collect();
    }
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::Column;

    /// A result: a line of names, then a line a row.
    fn table(text: &str) -> Table {
        let mut lines = text.lines();
        let names = lines.next().unwrap().split(' ');
        let cell = |word: &str| match (word.parse(), word.parse()) {
            _ if word == "-" => Cell::Null,
            (Ok(whole), _) => Cell::Int(whole),
            (_, Ok(real)) => Cell::Float(real),
            _ => Cell::Text(word.to_owned()),
        };
        Table {
            name: "1".to_owned(),
            purpose: String::new(),
            columns: names
                .map(|name| Column {
                    name: name.to_owned(),
                    unit: None,
                })
                .collect(),
            rows: lines
                .map(|line| line.split(' ').map(cell).collect())
                .collect(),
            sql: String::new(),
        }
    }

    fn drawn(drawing: Drawing, text: &str) -> Option<Figure> {
        let asked = SqlAsked {
            drawing,
            ..SqlAsked::default()
        };
        picture(&asked, &table(text), 0).unwrap()
    }

    fn title(text: &str) -> Option<String> {
        drawn(Drawing::Auto, text).map(|figure| figure.title)
    }

    #[test]
    fn a_row_a_word_is_bars() {
        let figure = drawn(Drawing::Auto, "status n\nok 10\nfailed -").unwrap();
        assert_eq!(figure.title, "n");
        assert_eq!(figure.caption, "n · n = 2 rows");
        assert_eq!(figure.grid.rows.len(), 1);
    }

    #[test]
    fn numbers_over_a_number_are_lines_and_nanoseconds_are_milliseconds() {
        let figure = drawn(
            Drawing::Auto,
            "at_ns p50_ns n\n0 1000000 3\n1000000 2500000 4",
        )
        .unwrap();
        assert_eq!(figure.title, "columns by at, ms");
        let labels: Vec<_> = figure
            .legend
            .iter()
            .map(|entry| entry.label.as_str())
            .collect();
        assert_eq!(labels, ["p50, ms", "n"]);
        assert!(figure.svg.contains("<polyline"));
    }

    #[test]
    fn all_lines_fit_on_the_axis() {
        let table = table("at a b\n0 100 -5\n1 120 -9\n2 110 7");
        let ups = [Numbers::of(&table, 1), Numbers::of(&table, 2)];
        let axis = axis(&ups, "").unwrap();
        assert!(axis.from <= -9.0 && axis.to >= 120.0, "{axis:?}");
    }

    #[test]
    fn a_word_that_repeats_is_a_line_each() {
        let text = "run turn ttft_ns\na 1 5000000\na 2 6000000\nb 1 7000000\nb 2 8000000";
        let figure = drawn(Drawing::Auto, text).unwrap();
        assert_eq!(figure.title, "ttft, ms by turn");
        assert_eq!(figure.legend.len(), 2);
    }

    #[test]
    fn numbers_in_no_order_are_dots() {
        let figure = drawn(Drawing::Auto, "a b\n3 1\n1 2\n2 5").unwrap();
        assert_eq!(figure.svg.matches("<circle").count(), 3);
        let figure = drawn(Drawing::Lines, "a b\n3 1\n1 2\n2 5").unwrap();
        assert_eq!(figure.svg.matches("<circle").count(), 0);
    }

    #[test]
    fn what_has_no_picture_has_none() {
        assert_eq!(title("n\n1"), None);
        assert_eq!(title("n\n1\n2"), None);
        assert_eq!(title("word other\na b\nc d"), None);
        assert_eq!(title("n\n-\n-"), None);
        assert_eq!(drawn(Drawing::None, "a b\n1 2\n3 4"), None);
    }

    #[test]
    fn columns_that_are_named_are_taken() {
        let asked = SqlAsked {
            x: Some("c".to_owned()),
            y: Some("a".to_owned()),
            ..SqlAsked::default()
        };
        let figure = picture(&asked, &table("a b c\n1 2 3\n4 5 6"), 0).unwrap();
        assert_eq!(figure.unwrap().title, "a by c");
        let asked = SqlAsked {
            x: Some("word".to_owned()),
            y: Some("no column".to_owned()),
            ..SqlAsked::default()
        };
        let figure = picture(&asked, &table("word a b\nx 1 2\nx 3 4"), 0).unwrap();
        assert_eq!(figure.unwrap().title, "b by a");
    }

    #[test]
    fn many_dots_and_groups_stay_few() {
        let rows: Vec<String> = (0..5_000)
            .map(|n| format!("g{} {} {n}", n % 20, n % 7))
            .collect();
        let figure = drawn(Drawing::Dots, &format!("word a b\n{}", rows.join("\n"))).unwrap();
        assert_eq!(figure.legend.len(), MOST_SERIES);
        assert!(figure.svg.matches("<circle").count() <= MOST_SERIES * MOST_DOTS);
        assert!(figure.caption.contains("the first 8 of more groups"));
    }

    #[test]
    fn numbers_are_written_in_full_as_far_as_they_mean_something() {
        assert_eq!(real(1.0 / 3.0), "0.3333333");
        assert_eq!(real(1_234_567.891), "1234568");
        assert_eq!(real(0.0), "0");
        assert_eq!(real(1e-7), "1.000000e-7");
        assert_eq!(real(-2.5), "-2.5");
        assert_eq!(real(3e18), "3.000000e18");
    }
}
