//! Rows of the tables that are made here.

use crate::analyze::{Cell, Column, Table};

pub(super) fn text(word: &str) -> Cell {
    Cell::Text(word.to_owned())
}

pub(super) fn float(value: Option<f64>) -> Cell {
    match value {
        Some(value) if value.is_finite() => Cell::Float(value),
        _ => Cell::Null,
    }
}

pub(super) fn whole(value: Option<usize>) -> Cell {
    let value = value.and_then(|value| i64::try_from(value).ok());
    value.map_or(Cell::Null, Cell::Int)
}

pub(super) fn table(name: &str, purpose: &str, columns: &[&str], rows: Vec<Vec<Cell>>) -> Table {
    Table {
        name: name.to_owned(),
        purpose: purpose.to_owned(),
        columns: columns
            .iter()
            .map(|name| Column {
                name: (*name).to_owned(),
                unit: None,
            })
            .collect(),
        rows,
        sql: String::new(),
    }
}
