//! Proof of the shipped SQL: by hand on two small tapes, a second way in plain Rust on random
//! ones, and on tapes that have nothing to say.

mod blocks;
mod client_error;
mod counts;
mod definitions;
mod fidelity;
mod golden;
mod model;
mod odd;
mod page;
mod pairs;
mod server;
mod servers;
mod sessions;
mod streams;

use std::path::PathBuf;

use tempfile::TempDir;

use super::{Analysis, AnalyzeError, Cell, Options, Span, Table, analyze};
use crate::runtime::block_on;
use crate::sql::fixture::TapeFixture;

/// Analyses tapes, each under its name.
fn analysed(tapes: &[(&str, TapeFixture)], options: &Options) -> Result<Analysis, AnalyzeError> {
    let folder = TempDir::new().unwrap();
    let paths: Vec<PathBuf> = tapes
        .iter()
        .map(|(name, tape)| tape.write(&folder.path().join(format!("{name}.tape"))))
        .collect();
    block_on(async { analyze(&paths, options).await }).unwrap()
}

/// All of a run, with a warm-up of so long.
fn after(warmup_ns: i64) -> Span {
    Span {
        warmup_ns,
        ..Span::default()
    }
}

/// Spells a table: a line of names, then a line a row, with numbers as short as they are exact.
fn spelled(table: &Table) -> String {
    let names: Vec<_> = table
        .columns
        .iter()
        .map(|column| column.name.as_str())
        .collect();
    let mut lines = vec![names.join(" ")];
    for row in &table.rows {
        let cells: Vec<_> = row.iter().map(word).collect();
        lines.push(cells.join(" "));
    }
    lines.join("\n")
}

fn word(cell: &Cell) -> String {
    match cell {
        Cell::Null => "-".to_owned(),
        Cell::Int(number) => number.to_string(),
        Cell::Float(number) => {
            let text = format!("{number:.4}");
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        }
        Cell::Text(text) => text.replace(' ', "_"),
        Cell::Bool(flag) => flag.to_string(),
    }
}
