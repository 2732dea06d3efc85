//! Writes results as their rows come: for the eye, for other programs, and for documents.
//!
//! Nothing here holds a whole result, so that one without end takes no more memory than one page.

use std::io::Write;
use std::mem;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::csv;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::arrow::util::pretty::pretty_format_batches_with_options;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt as _;
use serde::{Deserialize, Serialize};

use super::error::{SqlError, refused};
use crate::visible::visible_lines;

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Format {
    /// A table with borders, for the eye; a long result is several of them, one below the other.
    Table,
    /// Comma-separated values with a header; a null is empty.
    Csv,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// A table in Markdown.
    Markdown,
    /// An Arrow IPC stream.
    Arrow,
}

/// Most rows, and bytes, of one table with borders: its columns are as wide as its widest cells.
const TABLE_ROWS: usize = 10_000;
const TABLE_BYTES: usize = 32 << 20;

/// Writes one result to its end.
///
/// # Errors
///
/// Fails where the engine or `out` does, or where the result has no place in the format.
pub(super) async fn write_rows(
    rows: &mut SendableRecordBatchStream,
    format: Format,
    out: &mut (dyn Write + Send),
) -> Result<(), SqlError> {
    let failed = |error: ArrowError| SqlError::Output {
        reason: error.to_string(),
    };
    let schema = rows.schema();
    let mut writer = writer(format, &schema, out).map_err(failed)?;
    let mut is_empty = true;
    while let Some(batch) = rows.next().await {
        let batch = batch.map_err(|error| refused(&error))?;
        writer.write(batch).map_err(failed)?;
        is_empty = false;
    }
    if is_empty {
        // The names of the columns are told also where there is no row.
        let nothing = RecordBatch::new_empty(schema);
        writer.write(nothing).map_err(failed)?;
    }
    writer.finish().map_err(failed)
}

/// Writes the batches of one result.
trait Writer: Send {
    fn write(&mut self, batch: RecordBatch) -> Result<(), ArrowError>;
    fn finish(&mut self) -> Result<(), ArrowError>;
}

type Out<'a> = &'a mut (dyn Write + Send);

fn writer<'a>(
    format: Format,
    schema: &Schema,
    out: Out<'a>,
) -> Result<Box<dyn Writer + 'a>, ArrowError> {
    Ok(match format {
        Format::Table => Box::new(Tables {
            out,
            waiting: Vec::new(),
        }),
        Format::Csv => Box::new(csv::WriterBuilder::new().with_header(true).build(out)),
        Format::Json => Box::new(Objects {
            writer: json_options().build::<_, json::writer::JsonArray>(out),
            end: "\n",
        }),
        Format::Ndjson => Box::new(Objects {
            writer: json_options().build::<_, json::writer::LineDelimited>(out),
            end: "",
        }),
        Format::Markdown => Box::new(Markdown {
            out,
            has_head: false,
        }),
        Format::Arrow => Box::new(StreamWriter::try_new(out, schema)?),
    })
}

fn options() -> FormatOptions<'static> {
    FormatOptions::default().with_null("")
}

fn json_options() -> json::WriterBuilder {
    json::WriterBuilder::new().with_explicit_nulls(true)
}

/// Tables with borders.
struct Tables<'a> {
    out: Out<'a>,
    waiting: Vec<RecordBatch>,
}

impl Writer for Tables<'_> {
    fn write(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        self.waiting.push(batch);
        let rows: usize = self.waiting.iter().map(RecordBatch::num_rows).sum();
        let bytes = self.waiting.iter().map(RecordBatch::get_array_memory_size);
        if rows >= TABLE_ROWS || bytes.sum::<usize>() >= TABLE_BYTES {
            self.finish()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        let batches = mem::take(&mut self.waiting);
        if batches.is_empty() {
            return Ok(());
        }
        let table = pretty_format_batches_with_options(&batches, &options())?;
        // A table is for the eye, wherever it goes.
        Ok(writeln!(self.out, "{}", visible_lines(&table.to_string()))?)
    }
}

impl Writer for csv::Writer<Out<'_>> {
    fn write(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        Self::write(self, &flat(&batch)?)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        Ok(())
    }
}

impl Writer for StreamWriter<Out<'_>> {
    fn write(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        Self::write(self, &batch)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        Self::finish(self)
    }
}

/// Objects of JSON, and what stands behind the last one.
struct Objects<'a, F: json::writer::JsonFormat> {
    writer: json::Writer<Out<'a>, F>,
    end: &'static str,
}

impl<F: json::writer::JsonFormat + Send> Writer for Objects<'_, F> {
    fn write(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        self.writer.write(&batch)
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        self.writer.finish()?;
        Ok(self.writer.get_mut().write_all(self.end.as_bytes())?)
    }
}

/// A table in Markdown.
struct Markdown<'a> {
    out: Out<'a>,
    has_head: bool,
}

impl Writer for Markdown<'_> {
    fn write(&mut self, batch: RecordBatch) -> Result<(), ArrowError> {
        if !mem::replace(&mut self.has_head, true) {
            let schema = batch.schema();
            let fields = schema.fields().iter();
            let names = line(fields.clone().map(|field| escape(field.name())));
            let sides = line(fields.map(|field| {
                let is_number = field.data_type().is_numeric();
                if is_number { "---:" } else { "---" }.to_owned()
            }));
            write!(self.out, "{}{sides}", visible_lines(&names))?;
        }
        let options = options();
        let columns = batch.columns().iter();
        let printers = columns
            .map(|column| ArrayFormatter::try_new(column, &options))
            .collect::<Result<Vec<_>, _>>()?;
        for row in 0..batch.num_rows() {
            let cells = printers.iter();
            let cells = cells.map(|printer| escape(&printer.value(row).to_string()));
            let line = line(cells);
            self.out.write_all(visible_lines(&line).as_bytes())?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), ArrowError> {
        Ok(())
    }
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

#[cfg(test)]
mod tests {
    use super::{Format, TABLE_ROWS, write_rows};
    use crate::runtime::block_on;
    use crate::sql::new_session;

    fn print(sql: &str, format: Format) -> String {
        let mut out = Vec::new();
        block_on(async {
            let context = new_session(1);
            let frame = context.sql(sql).await.unwrap();
            let mut rows = frame.execute_stream().await.unwrap();
            write_rows(&mut rows, format, &mut out).await.unwrap();
        })
        .unwrap();
        String::from_utf8(out).unwrap()
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
    #[test]
    fn a_long_table_is_several_and_every_other_format_is_one() {
        let sql = format!(
            "SELECT value AS n FROM generate_series(1, {})",
            2 * TABLE_ROWS + 1
        );
        let count = |format, part: &str| {
            let text = print(&sql, format);
            text.lines().filter(|line| line.contains(part)).count()
        };
        assert!(count(Format::Table, " n ") > 1);
        assert_eq!(count(Format::Csv, "n"), 1);
        assert_eq!(count(Format::Json, "["), 1);
        assert_eq!(count(Format::Markdown, "---"), 1);
        for format in [Format::Table, Format::Csv, Format::Json, Format::Ndjson] {
            let last = (2 * TABLE_ROWS + 1).to_string();
            assert_eq!(count(format, &last), 1, "{format:?}");
        }
    }
}
