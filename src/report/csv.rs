//! Tables as CSV: the raw results, for spreadsheets and scripts.
//!
//! Nothing is rounded and no unit is changed; times stay in nanoseconds, as their names say.

use super::ReportError;
use super::export::{Exporter, Render};
use crate::analyze::{Analysis, Cell, Table, table_names};

/// The tables for spreadsheets.
pub(super) const CSV: Exporter = Exporter {
    flag: "csv",
    value_name: "DIR",
    help: "Write every table as CSV into a folder",
    render: Render::Folder {
        files: |exported| csv_files(exported.analysis),
        is_own: is_csv_file,
    },
};

/// Renders every table as a CSV file, and returns file names with their contents.
///
/// Null is an empty field; lines end in a line feed; a field is quoted where it has to be.
pub(crate) fn csv_files(analysis: &Analysis) -> Result<Vec<(String, String)>, ReportError> {
    analysis
        .tables
        .iter()
        .map(|table| Ok((format!("{}.csv", table.name), render(table)?)))
        .collect()
}

/// Says whether a file is called as one of [`csv_files`] may be, of whatever analysis.
pub(crate) fn is_csv_file(name: &str) -> bool {
    let table = name.strip_suffix(".csv");
    table.is_some_and(|table| table_names().any(|known| known == table))
}

fn render(table: &Table) -> Result<String, ReportError> {
    let write = || {
        let mut out = csv::Writer::from_writer(Vec::new());
        out.write_record(table.columns.iter().map(|column| &column.name))?;
        for row in &table.rows {
            out.write_record(row.iter().map(field))?;
        }
        out.into_inner().map_err(|error| error.into_error().into())
    };
    let bytes: Result<Vec<u8>, csv::Error> = write();
    let bytes = bytes.map_err(ReportError::Csv)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
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
            render(&table).unwrap(),
            "run,value_ns,ok\n\"a \"\"b\"\", c\nd\",0.5,true\nplain,-3,\n,,false\n"
        );
    }
}
