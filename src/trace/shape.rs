//! Column types of JSON lines.
//!
//! Every plain value is text, whether it was written as a number, a string or a truth value: a
//! later line can then not break what the first lines seemed to promise, and a mapping casts what
//! it needs, as with CSV. Lists and objects keep their shape. A list of whole numbers from 0 stays
//! one of numbers, because traces list block ids by the hundred.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use serde_json::{Map, Value};

/// The shape of a value, as far as it has been seen.
#[derive(Debug, Clone, PartialEq)]
enum Shape {
    Unknown,
    Plain,
    WholeNumber,
    List(Box<Self>),
    Object(Vec<(String, Self)>),
}

/// Finds the columns of JSON lines from some of them.
#[derive(Debug, Default)]
pub(super) struct Columns {
    seen: Vec<(String, Shape)>,
}

impl Columns {
    /// Takes one more object into account.
    pub(super) fn add(&mut self, object: &Map<String, Value>) {
        merge_object(&mut self.seen, object);
    }

    /// Returns the columns, in the order in which they were first seen.
    pub(super) fn fields(&self) -> Fields {
        fields(&self.seen)
    }
}

fn merge_object(seen: &mut Vec<(String, Shape)>, object: &Map<String, Value>) {
    for (key, value) in object {
        let position = seen.iter().position(|(name, _)| name == key);
        let position = position.unwrap_or_else(|| {
            seen.push((key.clone(), Shape::Unknown));
            seen.len() - 1
        });
        seen[position].1.merge(value);
    }
}

impl Shape {
    fn merge(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Number(number) if number.is_u64() => match self {
                Self::Unknown => *self = Self::WholeNumber,
                Self::WholeNumber | Self::Plain | Self::List(_) | Self::Object(_) => {}
            },
            Value::Bool(_) | Value::Number(_) | Value::String(_) => match self {
                Self::Unknown | Self::WholeNumber => *self = Self::Plain,
                Self::Plain | Self::List(_) | Self::Object(_) => {}
            },
            Value::Array(items) => {
                if !matches!(self, Self::List(_)) {
                    *self = Self::List(Box::new(Self::Unknown));
                }
                if let Self::List(of) = self {
                    items.iter().for_each(|item| of.merge(item));
                }
            }
            Value::Object(object) => {
                if !matches!(self, Self::Object(_)) {
                    *self = Self::Object(Vec::new());
                }
                if let Self::Object(seen) = self {
                    merge_object(seen, object);
                }
            }
        }
    }

    fn data_type(&self, is_in_list: bool) -> DataType {
        match self {
            Self::WholeNumber if is_in_list => DataType::UInt64,
            Self::Unknown | Self::Plain | Self::WholeNumber => DataType::Utf8,
            Self::List(of) => {
                DataType::List(Arc::new(Field::new_list_field(of.data_type(true), true)))
            }
            Self::Object(seen) => DataType::Struct(fields(seen)),
        }
    }
}

fn fields(seen: &[(String, Shape)]) -> Fields {
    seen.iter()
        .map(|(name, shape)| Field::new(name, shape.data_type(false), true))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Columns;

    fn types(lines: &[&str]) -> Vec<String> {
        let mut columns = Columns::default();
        for line in lines {
            columns.add(&serde_json::from_str(line).unwrap());
        }
        columns
            .fields()
            .iter()
            .map(|field| format!("{}: {}", field.name(), field.data_type()))
            .collect()
    }

    #[test]
    fn plain_values_are_text() {
        assert_eq!(
            types(&[r#"{"a": 1, "b": "x", "c": null, "d": true}"#]),
            ["a: Utf8", "b: Utf8", "c: Utf8", "d: Utf8"]
        );
    }

    #[test]
    fn lists_of_whole_numbers_stay_numbers() {
        assert_eq!(
            types(&[r#"{"ids": []}"#, r#"{"ids": [1, 2]}"#]),
            ["ids: List(UInt64)"]
        );
        assert_eq!(
            types(&[r#"{"ids": [1]}"#, r#"{"ids": ["a", 1]}"#]),
            ["ids: List(Utf8)"]
        );
    }

    #[test]
    fn keys_that_come_later_and_objects_are_columns() {
        assert_eq!(
            types(&[r#"{"a": 1}"#, r#"{"b": {"c": [1]}}"#, r#"{"b": {"d": 2}}"#]),
            ["a: Utf8", "b: Struct(\"c\": List(UInt64), \"d\": Utf8)"]
        );
    }
}
