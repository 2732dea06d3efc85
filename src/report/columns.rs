//! Text in the columns of a terminal: tables, rules, wrapping, colour.
//!
//! What is measured here is columns, not bytes or letters: a run's name may be in any script.

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use super::grid::{Grid, Tone, VERDICT};

/// Widest line where nobody said how wide the terminal is, in columns.
pub(crate) const WIDTH: usize = 100;

/// Writes a table of at most `width` columns: each column as wide as it needs, and texts cut where
/// the line is full, names in their middle, a verdict never.
pub(crate) fn table(out: &mut String, grid: &Grid, width: usize, color: bool) {
    let widths = widths(grid, width);
    let mut line = |fields: &[(&str, Tone)]| {
        let mut text = String::new();
        for (index, (field, tone)) in fields.iter().enumerate() {
            let shown = match tone {
                Tone::Foreign => fit_middle(field, widths[index]),
                _ => fit(field, widths[index]),
            };
            let pad = " ".repeat(widths[index].saturating_sub(columns(&shown)));
            let shown = match tone {
                Tone::Good => paint(&shown, "32", color),
                Tone::Bad => paint(&shown, "31", color),
                Tone::Faint => paint(&shown, "2", color),
                Tone::Plain | Tone::Foreign => shown,
            };
            if index > 0 {
                text.push_str("  ");
            }
            if grid.headings[index].is_number {
                text.push_str(&pad);
                text.push_str(&shown);
            } else {
                text.push_str(&shown);
                text.push_str(&pad);
            }
        }
        push_line(out, &text);
    };
    let head: Vec<(&str, Tone)> = grid
        .headings
        .iter()
        .map(|heading| (heading.name.as_str(), Tone::Plain))
        .collect();
    line(&head);
    for row in &grid.rows {
        let fields: Vec<(&str, Tone)> = row
            .iter()
            .map(|field| (field.text.as_str(), field.tone))
            .collect();
        line(&fields);
    }
}

/// Leaves out the last columns of a table until it fits into `width`.
pub(crate) fn fitting(mut grid: Grid, width: usize) -> Grid {
    while natural_width(&grid) > width && grid.headings.len() > 2 {
        grid.headings.pop();
        for row in &mut grid.rows {
            row.pop();
        }
    }
    grid
}

/// Returns how wide a table is of which nothing is cut.
pub(crate) fn natural_width(grid: &Grid) -> usize {
    let widths = natural_widths(grid);
    widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)
}

fn natural_widths(grid: &Grid) -> Vec<usize> {
    let mut widths: Vec<usize> = grid.headings.iter().map(|h| columns(&h.name)).collect();
    for row in &grid.rows {
        for (width, field) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(&field.text));
        }
    }
    widths
}

/// Decides how wide each column is, and narrows the widest text until a line fits.
fn widths(grid: &Grid, width: usize) -> Vec<usize> {
    let mut widths = natural_widths(grid);
    let between = 2 * widths.len().saturating_sub(1);
    while widths.iter().sum::<usize>() + between > width {
        let texts = widths
            .iter_mut()
            .zip(&grid.headings)
            .filter(|(_, h)| !h.is_number && h.name != VERDICT);
        let Some((widest, _)) = texts.max_by_key(|(width, _)| **width) else {
            break;
        };
        if *widest <= 6 {
            break;
        }
        *widest -= 1;
    }
    widths
}

/// Cuts text to `width` columns.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for letter in text.chars() {
        if columns(&kept) + wide(letter) + 1 > width {
            break;
        }
        kept.push(letter);
    }
    kept.push('…');
    kept
}

/// Cuts text to `width` columns in its middle: what tells names apart is at their ends.
pub(crate) fn fit_middle(text: &str, width: usize) -> String {
    if columns(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let take = |letters: &mut dyn Iterator<Item = char>, room: usize| {
        let mut used = 0;
        letters
            .take_while(|letter| {
                used += wide(*letter);
                used <= room
            })
            .collect::<Vec<char>>()
    };
    let start = take(&mut text.chars(), room / 2);
    let mut end = take(&mut text.chars().rev(), room - room / 2);
    end.reverse();
    format!("{}…{}", String::from_iter(start), String::from_iter(end))
}

/// Counts the columns that text takes in a terminal.
pub(crate) fn columns(text: &str) -> usize {
    text.width()
}

fn wide(letter: char) -> usize {
    letter.width().unwrap_or(0)
}

/// Breaks text into lines of at most `width` columns, with `indent` before all but the first.
pub(crate) fn wrap(text: &str, width: usize, indent: &str) -> Vec<String> {
    let first: String = text.chars().take_while(|letter| *letter == ' ').collect();
    let mut lines = Vec::new();
    let mut line = first.clone();
    for word in text.split_whitespace() {
        let word = fit(word, width - indent.len());
        let is_start = line.trim().is_empty();
        if !is_start && columns(&line) + 1 + columns(&word) > width {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
        } else if !is_start {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines
}

/// Writes a line across, with a title in its middle.
pub(crate) fn rule(out: &mut String, letter: char, title: &str) {
    let room = 70_usize.saturating_sub(title.chars().count());
    let left = room / 2;
    let line = |count: usize| letter.to_string().repeat(count);
    push_line(out, &format!("{}{title}{}", line(left), line(room - left)));
}

/// Adds a line, without blanks at its end.
pub(crate) fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

/// Colours text where colour is wanted.
pub(crate) fn paint(text: &str, code: &str, color: bool) -> String {
    if color {
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::grid::Field;

    #[test]
    fn counts_two_columns_for_wide_letters_and_none_for_marks() {
        assert_eq!(columns("ab"), 2);
        assert_eq!(columns("東京"), 4);
        assert_eq!(columns("e\u{301}"), 1);
        assert_eq!(fit("東京タワー", 6), "東京…");
    }

    #[test]
    fn names_that_begin_alike_stay_apart_when_they_are_cut() {
        let cut = |name: &str| fit_middle(name, 14);
        assert_eq!(cut("tokentape-20261128T172601Z"), "tokent…172601Z");
        assert_ne!(
            cut("tokentape-20261128T172601Z"),
            cut("tokentape-20261128T172733Z")
        );
        assert_eq!(cut("short"), "short");
        assert_eq!(columns(&fit_middle("東京タワー東京タワー", 10)), 9);
    }

    #[test]
    fn a_table_that_is_too_wide_loses_its_last_columns() {
        let mut grid = Grid::new("", &["server", "#sent", "#share"]);
        grid.push(["a", "12", "50.0 %"].map(Field::plain).to_vec());
        assert_eq!(fitting(grid.clone(), 20), grid);
        let narrow = fitting(grid, 19);
        assert_eq!((narrow.headings.len(), narrow.rows[0].len()), (2, 2));
        assert_eq!(fitting(narrow.clone(), 3), narrow);
    }

    #[test]
    fn a_verdict_is_never_cut() {
        let mut grid = Grid::new("", &["run", VERDICT]);
        grid.push(vec![
            Field::foreign("x".repeat(60)),
            Field::plain("not enough data"),
        ]);
        let mut out = String::new();
        table(&mut out, &grid, 30, false);
        assert!(out.ends_with("  not enough data\n"), "{out}");
        assert!(out.lines().all(|line| columns(line) <= 30), "{out}");
    }

    #[test]
    fn wrapping_indents_what_follows_and_cuts_a_word_that_cannot_fit() {
        assert_eq!(
            wrap("  one two three", 9, "    "),
            ["  one two", "    three"]
        );
        assert!(
            wrap(&"x".repeat(300), 20, "  ")
                .iter()
                .all(|line| columns(line) <= 20)
        );
    }
}
