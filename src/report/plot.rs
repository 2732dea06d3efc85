//! Pictures before they are drawn: their numbers, words and axes.

use super::chart::Series;
use super::scale::Axis;

/// How a column of numbers is written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Written {
    /// Heading, with the unit.
    pub(crate) heading: String,
    /// Decimals.
    pub(crate) places: usize,
}

/// Lines over an axis, before they are drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plot {
    /// Anchor inside the page.
    pub(crate) id: String,
    /// What is to be seen, and which way is better.
    pub(crate) title: String,
    /// Unit, n and width of a window.
    pub(crate) caption: String,
    /// Horizontal axis.
    pub(crate) x: Axis,
    /// How x is written in the table.
    pub(crate) x_written: Written,
    /// Vertical axis.
    pub(crate) y: Axis,
    /// How y is written in the table.
    pub(crate) y_written: Written,
    /// The lines.
    pub(crate) series: Vec<Series>,
    /// Ranges of x that are shaded.
    pub(crate) bands: Vec<(f64, f64)>,
}

/// A heat map, before it is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HeatPlot {
    /// Anchor inside the page.
    pub(crate) id: String,
    /// What is to be seen.
    pub(crate) title: String,
    /// Unit, n and width of a window.
    pub(crate) caption: String,
    /// Headings of the table: time, lower edge, upper edge, count.
    pub(crate) headings: [String; 4],
    /// Unit of the horizontal axis.
    pub(crate) x_unit: String,
    /// Whether that axis is by the logarithm.
    pub(crate) is_x_log: bool,
    /// Title of the vertical axis.
    pub(crate) y_title: String,
    /// Edges of each cell in the axes' units, and its count.
    pub(crate) cells: Vec<HeatCount>,
}

/// One cell of a heat map, with its count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct HeatCount {
    /// Left and right edge.
    pub(crate) x: (f64, f64),
    /// Lower and upper edge.
    pub(crate) y: (f64, f64),
    /// How many values fell into it.
    pub(crate) n: f64,
}

/// Bars, before they are drawn: one an item, with its number behind it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct BarPlot {
    /// Anchor inside the page.
    pub(crate) id: String,
    /// What is to be seen, and which way is better.
    pub(crate) title: String,
    /// Unit and n.
    pub(crate) caption: String,
    /// Headings of the table: the names, the numbers.
    pub(crate) headings: [String; 2],
    /// Name, number, and the number as it is written.
    pub(crate) items: Vec<(String, f64, String)>,
}
