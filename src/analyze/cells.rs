//! From Arrow to plain cells.

use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};

use super::{Cell, Column, Table};

/// Returns the rows of a batch. NaN and infinity become null: they are no answers.
///
/// # Errors
///
/// Fails where a value does not fit, such as an unsigned number beyond the signed ones.
pub(super) fn rows(batch: &RecordBatch) -> Result<Vec<Vec<Cell>>, ArrowError> {
    let columns = batch
        .columns()
        .iter()
        .map(|column| cells(column.as_ref()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    Ok((0..batch.num_rows())
        .map(|_| columns.iter_mut().filter_map(Iterator::next).collect())
        .collect())
}

/// Makes tables of the results of statements, each called by its place.
///
/// # Errors
///
/// As [`rows`].
pub(crate) fn result_tables(results: &[Vec<RecordBatch>]) -> Result<Vec<Table>, ArrowError> {
    let table = |(index, batches): (usize, &Vec<RecordBatch>)| {
        let schema = batches.first().map(RecordBatch::schema);
        let fields = schema.iter().flat_map(|schema| schema.fields());
        let columns = fields.map(|field| Column {
            name: field.name().clone(),
            unit: None,
        });
        let mut all = Vec::new();
        for batch in batches {
            all.extend(rows(batch)?);
        }
        Ok(Table {
            name: format!("{}", index + 1),
            purpose: String::new(),
            columns: columns.collect(),
            rows: all,
            sql: String::new(),
        })
    };
    results.iter().enumerate().map(table).collect()
}

fn cells(column: &dyn Array) -> Result<Vec<Cell>, ArrowError> {
    let data_type = column.data_type();
    if data_type.is_integer() {
        let numbers = cast(column, &DataType::Int64)?;
        let numbers = numbers.as_primitive::<Int64Type>();
        return Ok(numbers
            .iter()
            .map(|number| number.map_or(Cell::Null, Cell::Int))
            .collect());
    }
    if data_type.is_numeric() {
        let numbers = cast(column, &DataType::Float64)?;
        let numbers = numbers.as_primitive::<Float64Type>();
        return Ok(numbers
            .iter()
            .map(|number| match number {
                Some(number) if number.is_finite() => Cell::Float(number),
                _ => Cell::Null,
            })
            .collect());
    }
    if let Some(flags) = column.as_boolean_opt() {
        return Ok(flags
            .iter()
            .map(|flag| flag.map_or(Cell::Null, Cell::Bool))
            .collect());
    }
    let options = FormatOptions::default();
    let printer = ArrayFormatter::try_new(column, &options)?;
    let is_null = column.logical_nulls();
    Ok((0..column.len())
        .map(|row| {
            let is_null = is_null.as_ref().is_some_and(|nulls| nulls.is_null(row));
            if is_null {
                Cell::Null
            } else {
                Cell::Text(printer.value(row).to_string())
            }
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array,
    };

    use super::super::Cell;
    use super::rows;

    #[test]
    fn nan_and_infinity_become_null() {
        let batch = RecordBatch::try_from_iter([
            (
                "a",
                Arc::new(Float64Array::from(vec![f64::NAN, f64::INFINITY, 0.5])) as ArrayRef,
            ),
            (
                "b",
                Arc::new(UInt64Array::from(vec![Some(1), None, Some(3)])),
            ),
            (
                "c",
                Arc::new(StringArray::from(vec![Some("x"), None, Some("")])),
            ),
            (
                "d",
                Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)])),
            ),
        ])
        .unwrap();
        let expected = [
            vec![
                Cell::Null,
                Cell::Int(1),
                Cell::Text("x".into()),
                Cell::Bool(true),
            ],
            vec![Cell::Null, Cell::Null, Cell::Null, Cell::Null],
            vec![
                Cell::Float(0.5),
                Cell::Int(3),
                Cell::Text(String::new()),
                Cell::Bool(false),
            ],
        ];
        assert_eq!(rows(&batch).unwrap(), expected);
    }
}
