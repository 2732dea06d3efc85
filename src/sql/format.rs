//! Prints results: for the eye, for other programs, and for documents.

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv::WriterBuilder;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use std::sync::Arc;

use super::SqlError;

/// How a result is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A table with borders, for the eye.
    Table,
    /// Comma-separated values with a header; a null is empty.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// A table in Markdown.
    Markdown,
}

/// Prints one result; the text ends with a line feed.
///
/// # Errors
///
/// Fails when the batches do not belong together.
pub fn format_batches(batches: &[RecordBatch], format: Format) -> Result<String, SqlError> {
    let written = match format {
        Format::Table => pretty_format_batches_with_options(batches, &options())
            .map(|table| format!("{table}\n")),
        Format::Csv => csv(batches),
        Format::Json => objects::<json::writer::JsonArray>(batches).map(|text| {
            if text.is_empty() {
                "[]\n".to_owned()
            } else {
                text + "\n"
            }
        }),
        Format::Ndjson => objects::<json::writer::LineDelimited>(batches),
        Format::Markdown => markdown(batches),
    };
    written.map_err(|error| SqlError::Output {
        reason: error.to_string(),
    })
}

fn options() -> FormatOptions<'static> {
    FormatOptions::default().with_null("")
}

fn csv(batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = WriterBuilder::new().with_header(true).build(&mut bytes);
    for batch in batches {
        writer.write(&flat(batch)?)?;
    }
    drop(writer);
    text(bytes)
}

/// Spells out the columns that CSV has no place for: lists and structures.
fn flat(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if column.data_type().is_nested() {
            let options = options();
            let printer = ArrayFormatter::try_new(column, &options)?;
            let words: StringArray = (0..column.len())
                .map(|row| column.is_valid(row).then(|| printer.value(row).to_string()))
                .collect();
            fields.push(Arc::new(Field::new(field.name(), DataType::Utf8, true)));
            columns.push(Arc::new(words));
        } else {
            fields.push(Arc::clone(field));
            columns.push(Arc::clone(column));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

fn objects<F: json::writer::JsonFormat>(batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut bytes = Vec::new();
    let mut writer = json::WriterBuilder::new()
        .with_explicit_nulls(true)
        .build::<_, F>(&mut bytes);
    for batch in batches {
        writer.write(batch)?;
    }
    writer.finish()?;
    drop(writer);
    text(bytes)
}

fn markdown(batches: &[RecordBatch]) -> Result<String, ArrowError> {
    let mut lines = Vec::new();
    let options = options();
    for (index, batch) in batches.iter().enumerate() {
        if index == 0 {
            let schema = batch.schema();
            let fields = schema.fields();
            lines.push(line(fields.iter().map(|field| escape(field.name()))));
            lines.push(line(fields.iter().map(|field| {
                let is_number = field.data_type().is_numeric();
                if is_number { "---:" } else { "---" }.to_owned()
            })));
        }
        let printers = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            lines.push(line(
                printers
                    .iter()
                    .map(|printer| escape(&printer.value(row).to_string())),
            ));
        }
    }
    Ok(lines.concat())
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let mut line = String::from("|");
    for cell in cells {
        line.push(' ');
        line.push_str(&cell);
        line.push_str(" |");
    }
    line.push('\n');
    line
}

fn escape(cell: &str) -> String {
    cell.replace('\\', "\\\\")
        .replace('|', "\\|")
        .replace(['\r', '\n'], " ")
}

fn text(bytes: Vec<u8>) -> Result<String, ArrowError> {
    String::from_utf8(bytes).map_err(|error| ArrowError::ExternalError(Box::new(error)))
}

#[cfg(test)]
mod tests {
    use super::{Format, format_batches};
    use crate::sql::{block_on, new_session};

    fn print(sql: &str, format: Format) -> String {
        let batches = block_on(async {
            let context = new_session(1);
            let frame = context.sql(sql).await.unwrap();
            frame.collect().await.unwrap()
        })
        .unwrap();
        format_batches(&batches, format).unwrap()
    }

    const SQL: &str = "SELECT arrow_cast('a|b', 'Dictionary(Int32, Utf8)') AS word, \
        make_array(1, NULL) AS list, 1.5 AS number, arrow_cast(NULL, 'Int64') AS missing";

    #[test]
    fn prints_a_table() {
        let expected = "\
+------+-------+--------+---------+
| word | list  | number | missing |
+------+-------+--------+---------+
| a|b  | [1, ] | 1.5    |         |
+------+-------+--------+---------+
";
        assert_eq!(print(SQL, Format::Table), expected);
    }

    #[test]
    fn prints_what_other_programs_read() {
        assert_eq!(
            print(SQL, Format::Csv),
            "word,list,number,missing\na|b,\"[1, ]\",1.5,\n"
        );
        let object = r#"{"word":"a|b","list":[1,null],"number":1.5,"missing":null}"#;
        assert_eq!(print(SQL, Format::Ndjson), format!("{object}\n"));
        assert_eq!(print(SQL, Format::Json), format!("[{object}]\n"));
    }

    #[test]
    fn prints_markdown_whose_cells_stay_cells() {
        assert_eq!(
            print(SQL, Format::Markdown),
            "| word | list | number | missing |\n| --- | --- | ---: | ---: |\n| a\\|b | [1, ] | 1.5 |  |\n"
        );
    }

    #[test]
    fn prints_nothing_as_nothing() {
        let sql = "SELECT 1 AS n WHERE false";
        assert_eq!(print(sql, Format::Json), "[]\n");
        assert_eq!(print(sql, Format::Ndjson), "");
    }
}
