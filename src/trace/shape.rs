//! Column types of JSON lines.
//!
//! Every plain value is text, whether it was written as a number, a string or a truth value: a
//! later line can then not break what the first lines seemed to promise, and a mapping casts what
//! it needs, as with CSV. Lists and objects keep their shape. A list of whole numbers from 0 stays
//! one of numbers, because traces list block ids by the hundred.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use serde_json::{Map, Number, Value};

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
#[derive(Debug, Default, Clone)]
pub(super) struct Columns {
    seen: Vec<(String, Shape)>,
}

impl Columns {
    /// Takes one more object into account.
    pub(super) fn add(&mut self, object: &Map<String, Value>) {
        merge_object(&mut self.seen, object);
    }

    /// Takes all that another file's objects had into account.
    pub(super) fn add_all(&mut self, other: &Self) {
        merge_fields(&mut self.seen, &other.seen);
    }

    /// Has what stands at a path, with dots, be text; lists on the way are gone through.
    pub(super) fn set_plain(&mut self, path: &str) {
        set_plain(&mut self.seen, path);
    }

    /// Leaves out the fields that objects like `like` do not have, in columns that those have.
    pub(super) fn narrow(&mut self, like: &Self) {
        for (name, like) in &like.seen {
            if let Some((_, shape)) = self.seen.iter_mut().find(|(known, _)| known == name) {
                shape.narrow(like);
            }
        }
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

fn set_plain(seen: &mut [(String, Shape)], path: &str) {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let Some((_, shape)) = seen.iter_mut().find(|(known, _)| known == name) else {
        return;
    };
    let mut shape = shape;
    if rest.is_empty() {
        *shape = Shape::Plain;
        return;
    }
    while let Shape::List(of) = shape {
        shape = of;
    }
    if let Shape::Object(fields) = shape {
        set_plain(fields, rest);
    }
}

fn merge_fields(seen: &mut Vec<(String, Shape)>, others: &[(String, Shape)]) {
    for (name, other) in others {
        match seen.iter_mut().find(|(known, _)| known == name) {
            Some((_, shape)) => shape.merge_shape(other),
            None => seen.push((name.clone(), other.clone())),
        }
    }
}

impl Shape {
    /// Brings two shapes together, as if all values of both had been seen.
    fn merge_shape(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::List(of), Self::List(other)) => of.merge_shape(other),
            (Self::Object(seen), Self::Object(others)) => merge_fields(seen, others),
            (Self::Unknown, _)
            | (Self::WholeNumber, Self::Plain)
            | (Self::WholeNumber | Self::Plain, Self::List(_) | Self::Object(_)) => {
                *self = other.clone();
            }
            _ => {}
        }
    }

    fn narrow(&mut self, like: &Self) {
        match (self, like) {
            (Self::List(of), Self::List(like)) => of.narrow(like),
            (Self::Object(seen), Self::Object(like)) => {
                seen.retain(|(name, _)| like.iter().any(|(known, _)| known == name));
                for (name, shape) in seen {
                    if let Some((_, like)) = like.iter().find(|(known, _)| known == name) {
                        shape.narrow(like);
                    }
                }
            }
            _ => {}
        }
    }

    fn merge(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Number(number) if is_whole(number) => match self {
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

/// Returns whether a number is whole and not below 0, also where it is written as a float.
fn is_whole(number: &Number) -> bool {
    let whole = |value: f64| (0.0..9e15).contains(&value) && value.fract().abs() <= 0.0;
    number.is_u64() || number.as_f64().is_some_and(whole)
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
        assert_eq!(types(&[r#"{"ids": [1.0, 2]}"#]), ["ids: List(UInt64)"]);
        assert_eq!(
            types(&[r#"{"ids": [1]}"#, r#"{"ids": ["a", 1]}"#]),
            ["ids: List(Utf8)"]
        );
    }

    #[test]
    fn what_a_like_object_lacks_is_left_out_of_its_column_alone() {
        let columns = |line: &str| {
            let mut columns = Columns::default();
            columns.add(&serde_json::from_str(line).unwrap());
            columns
        };
        let mut found = columns(r#"{"a": [{"b": 1, "c": {"d": 2, "e": 3}}], "f": {"g": 1}}"#);
        found.narrow(&columns(r#"{"a": [{"c": {"d": "0"}}], "h": 1}"#));
        let names: Vec<String> = found
            .fields()
            .iter()
            .map(|field| format!("{}: {}", field.name(), field.data_type()))
            .collect();
        assert_eq!(
            names,
            [
                "a: List(Struct(\"c\": Struct(\"d\": Utf8)))",
                "f: Struct(\"g\": Utf8)"
            ]
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
