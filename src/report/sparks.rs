//! Lines of a chart in one line of text, for where there are no pictures.

use serde::Serialize;

use super::chart::{Join, Series};
use super::format;
use super::language::said;
use super::plot::Written;

/// Most letters of one line.
const LETTERS: usize = 40;

/// From the least to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where there is no value.
const GAP: char = '·';

/// One line of a chart, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Spark {
    /// What the legend calls the line.
    pub(crate) label: String,
    /// A letter a stretch, as high as the largest value in it, where full height is `most`.
    pub(crate) bars: String,
    /// Its least value, as written.
    pub(crate) least: String,
    /// Its largest value, as written.
    pub(crate) most: String,
    /// Unit of the two.
    pub(crate) unit: String,
}

/// Writes a line from zero to its own largest value; `None` where it has none above zero.
pub(crate) fn spark(line: &Series, written: &Written) -> Option<Spark> {
    let mut values: Vec<Option<f64>> = line.points.iter().map(|point| point.1).collect();
    if line.join == Join::Step && values.len() > 1 {
        // The end of the last window, whose value stands before it.
        values.pop();
    }
    let known = || values.iter().copied().flatten();
    let (least, most) = (known().reduce(f64::min)?, known().reduce(f64::max)?);
    if most <= 0.0 {
        return None;
    }
    let count = values.len().min(LETTERS);
    let letter = |index: usize| {
        let stretch = &values[index * values.len() / count..(index + 1) * values.len() / count];
        let highest = stretch.iter().copied().flatten().reduce(f64::max);
        highest.map_or(GAP, |value| level(value, most))
    };
    Some(Spark {
        label: line.label.clone(),
        bars: (0..count).map(letter).collect(),
        least: format::decimal(least, written.places),
        most: format::decimal(most, written.places),
        unit: said(&written.heading),
    })
}

/// Returns the letter of a value: the lowest for nothing, the highest for the most.
fn level(value: f64, most: f64) -> char {
    let steps = (1..LEVELS.len()).zip(1_u8..);
    let reached = steps.filter(|(_, step)| value * 7.0 >= most * f64::from(*step) - most * 0.5);
    let index = if value > 0.0 {
        reached.map(|(index, _)| index).last().unwrap_or(0)
    } else {
        0
    };
    LEVELS[index]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::series;

    fn of(join: Join, values: &[Option<f64>]) -> Option<Spark> {
        let points = values.iter().zip(0_u32..);
        let points = points.map(|(value, at)| (f64::from(at), *value)).collect();
        let written = Written {
            heading: "ms".to_owned(),
            places: 1,
        };
        spark(&series("p50", 0, join, points), &written)
    }

    #[test]
    fn is_as_high_as_its_values_and_says_where_there_is_none() {
        let values = [Some(0.0), Some(1.0), None, Some(4.0), Some(7.0)];
        let drawn = of(Join::Line, &values).unwrap();
        assert_eq!(drawn.bars, "▁▂·▅█");
        assert_eq!((&*drawn.least, &*drawn.most), ("0.0", "7.0"));
    }

    #[test]
    fn a_long_line_keeps_its_peaks() {
        let mut values = vec![Some(1.0); 10_000];
        values[5_123] = Some(100.0);
        let drawn = of(Join::Line, &values).unwrap();
        assert_eq!(drawn.bars.chars().count(), LETTERS);
        assert_eq!(drawn.bars.matches('█').count(), 1);
    }

    #[test]
    fn has_a_letter_a_window_and_none_for_the_end_of_the_last() {
        let values = [Some(2.0), Some(2.0), Some(2.0)];
        assert_eq!(of(Join::Step, &values).unwrap().bars, "██");
        assert_eq!(of(Join::Step, &values[..1]).unwrap().bars, "█");
    }

    #[test]
    fn there_is_no_line_of_nothing() {
        assert_eq!(of(Join::Line, &[]), None);
        assert_eq!(of(Join::Line, &[None, None]), None);
        assert_eq!(of(Join::Line, &[Some(0.0); 3]), None);
    }
}
