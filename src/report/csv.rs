//! Tables as CSV: the raw results, for spreadsheets and scripts.
//!
//! Nothing is rounded and no unit is changed; times stay in nanoseconds, as their names say.

use super::export::{Exporter, Render};
use crate::analyze::{Analysis, Cell, Table, table_names};

/// The tables for spreadsheets.
pub(super) const CSV: Exporter = Exporter {
    flag: "csv",
    value_name: "DIR",
    help: "Write every table as CSV into a folder",
    render: Render::Folder {
        files: |exported| Ok(csv_files(exported.analysis)),
        is_own: is_csv_file,
    },
};

/// Renders every table as a CSV file, and returns file names with their contents.
///
/// Null is an empty field; lines end in a line feed; a field is quoted where it has to be.
fn csv_files(analysis: &Analysis) -> Vec<(String, String)> {
    analysis
        .tables
        .iter()
        .map(|table| (format!("{}.csv", table.name), render(table)))
        .collect()
}

/// Says whether a file is called as one of [`csv_files`] may be, of whatever analysis.
fn is_csv_file(name: &str) -> bool {
    let table = name.strip_suffix(".csv");
    table.is_some_and(|table| table_names().any(|known| known == table))
}

fn render(table: &Table) -> String {
    let mut out = String::new();
    line(
        &mut out,
        table.columns.iter().map(|column| column.name.clone()),
    );
    for row in &table.rows {
        line(&mut out, row.iter().map(field));
    }
    out
}

fn line(out: &mut String, fields: impl Iterator<Item = String>) {
    for (index, field) in fields.enumerate() {
        if index > 0 {
            out.push(',');
        }
        if field.contains(['"', ',', '\n', '\r']) {
            out.push('"');
            out.push_str(&field.replace('"', "\"\""));
            out.push('"');
        } else {
            out.push_str(&field);
        }
    }
    out.push('\n');
}

fn field(cell: &Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Int(value) => value.to_string(),
        Cell::Float(value) if value.is_finite() => value.to_string(),
        Cell::Float(_) => String::new(),
        Cell::Text(text) => text.clone(),
        Cell::Bool(flag) => flag.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::Column;

    #[test]
    fn quotes_only_what_needs_it_and_leaves_null_empty() {
        let column = |name: &str| Column {
            name: name.to_owned(),
            unit: None,
        };
        let table = Table {
            name: "sample".to_owned(),
            purpose: String::new(),
            columns: vec![column("run"), column("value_ns"), column("ok")],
            rows: vec![
                vec![
                    Cell::Text("a \"b\", c\nd".to_owned()),
                    Cell::Float(0.5),
                    Cell::Bool(true),
                ],
                vec![Cell::Text("plain".to_owned()), Cell::Int(-3), Cell::Null],
                vec![Cell::Null, Cell::Float(f64::NAN), Cell::Bool(false)],
            ],
            sql: String::new(),
        };
        assert_eq!(
            render(&table),
            "run,value_ns,ok\n\"a \"\"b\"\", c\nd\",0.5,true\nplain,-3,\n,,false\n"
        );
    }
}
