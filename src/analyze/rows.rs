//! Reads result tables by column name, and forgives what is not there.
//!
//! A tape of an older version, or an empty run, has tables without rows or no table at all. A
//! missing value is `None` here, and a dash on a page; it is never a zero.

use super::{Analysis, Cell, Table};

/// One row of a result.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    table: &'a Table,
    cells: &'a [Cell],
}

/// Returns the rows of the table `name`; none where it is missing.
pub(super) fn rows<'a>(analysis: &'a Analysis, name: &str) -> Vec<Row<'a>> {
    analysis
        .table(name)
        .map_or_else(Vec::new, |table| of_table(table).collect())
}

/// Returns the rows of a table.
pub(super) fn of_table(table: &Table) -> impl Iterator<Item = Row<'_>> {
    table.rows.iter().map(move |cells| Row {
        table,
        cells: cells.as_slice(),
    })
}

/// Returns the rows of the table `name` that belong to `run`.
pub(super) fn rows_of<'a>(analysis: &'a Analysis, name: &str, run: &str) -> Vec<Row<'a>> {
    rows(analysis, name)
        .into_iter()
        .filter(|row| row.run() == run)
        .collect()
}

impl<'a> Row<'a> {
    /// Returns the run that the row belongs to.
    pub(super) fn run(self) -> &'a str {
        self.text("run").unwrap_or_default()
    }

    fn cell(self, column: &str) -> Option<&'a Cell> {
        self.table.cell(self.cells, column)
    }

    /// Returns the number in `column`; `None` where it is null, not finite, or not a number.
    pub(super) fn number(self, column: &str) -> Option<f64> {
        self.cell(column)?.number()
    }

    /// Returns the word in `column`.
    pub(super) fn text(self, column: &str) -> Option<&'a str> {
        self.cell(column)?.text()
    }

    /// Returns the truth value in `column`.
    pub(super) fn flag(self, column: &str) -> Option<bool> {
        match self.cell(column)? {
            Cell::Bool(flag) => Some(*flag),
            _ => None,
        }
    }
}
