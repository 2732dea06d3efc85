//! How one Rust value becomes one cell of an Arrow column, and back.
//!
//! `schema.rs` declares the tables field by field; this file holds the few value types that a
//! field may have, so that a column is declared once and written, read and documented from there.

use std::sync::{Arc, LazyLock};

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Float64Array, Int32Array,
    PrimitiveArray, StringArray, StringDictionaryBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Float64Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};

/// A value that has a column type of its own.
pub trait ColumnValue: Sized {
    /// True when the column may hold nulls.
    const NULLABLE: bool;

    /// The Arrow type of the column.
    fn data_type() -> DataType;

    /// Builds the column from its values, in order.
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef
    where
        Self: 'a;

    /// Reads the value at `row`; `None` when the column has another type or an unexpected null.
    fn read(array: &dyn Array, row: usize) -> Option<Self>;

    /// Says whether a column of a closed vocabulary has that one as its dictionary; true for others.
    fn has_vocabulary(_array: &dyn Array) -> bool {
        true
    }
}

/// Declares a number: its column's type, and the type that tapes of version 2 and before have for
/// it. Counts are signed: the difference of two unsigned columns wraps round in most engines,
/// without a word. A count that no column holds is not known.
macro_rules! number_value {
    ($rust:ty, $arrow:ty, $before:ty) => {
        impl ColumnValue for $rust {
            const NULLABLE: bool = false;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                type Native = <$arrow as ArrowPrimitiveType>::Native;
                let values = values.map(|&number| Native::try_from(number).unwrap_or(Native::MAX));
                Arc::new(PrimitiveArray::<$arrow>::from_iter_values(values))
            }
            fn read(array: &dyn Array, row: usize) -> Option<Self> {
                <Option<$rust> as ColumnValue>::read(array, row)?
            }
        }
        impl ColumnValue for Option<$rust> {
            const NULLABLE: bool = true;
            fn data_type() -> DataType {
                <$arrow>::DATA_TYPE
            }
            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
                type Native = <$arrow as ArrowPrimitiveType>::Native;
                let values = values.map(|number| number.and_then(|it| Native::try_from(it).ok()));
                Arc::new(values.collect::<PrimitiveArray<$arrow>>())
            }
            fn read(array: &dyn Array, row: usize) -> Option<Self> {
                let number = match array.as_primitive_opt::<$arrow>() {
                    Some(_) if array.is_null(row) => return Some(None),
                    Some(array) => <$rust>::try_from(array.value(row)).ok()?,
                    None => {
                        let array = array.as_primitive_opt::<$before>()?;
                        if array.is_null(row) {
                            return Some(None);
                        }
                        <$rust>::try_from(array.value(row)).ok()?
                    }
                };
                Some(Some(number))
            }
        }
    };
}

number_value!(u8, Int32Type, UInt8Type);
number_value!(u16, Int32Type, UInt16Type);
number_value!(u32, Int32Type, UInt32Type);
number_value!(i32, Int32Type, Int32Type);
number_value!(i64, Int64Type, UInt64Type);
// Of ids alone, which are not subtracted.
number_value!(u64, UInt64Type, UInt64Type);

impl ColumnValue for Option<f64> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        DataType::Float64
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.copied().collect::<Float64Array>())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_primitive_opt::<Float64Type>()?;
        Some((!array.is_null(row)).then(|| array.value(row)))
    }
}

impl ColumnValue for Option<bool> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.copied().collect::<BooleanArray>())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_boolean_opt()?;
        Some((!array.is_null(row)).then(|| array.value(row)))
    }
}

impl ColumnValue for bool {
    const NULLABLE: Self = false;
    fn data_type() -> DataType {
        DataType::Boolean
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.map(|value| Some(*value)).collect::<BooleanArray>())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_boolean_opt()?;
        (!array.is_null(row)).then(|| array.value(row))
    }
}

impl ColumnValue for Option<String> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        DataType::Utf8
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        Arc::new(values.map(Self::as_deref).collect::<StringArray>())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        let array = array.as_string_opt::<i32>()?;
        Some((!array.is_null(row)).then(|| array.value(row).to_owned()))
    }
}

/// A word from a small, open vocabulary (a model's name, an error kind): dictionary-encoded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label(Arc<str>);

impl Label {
    /// The word itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Label {
    fn from(word: &str) -> Self {
        Self(word.into())
    }
}

impl From<String> for Label {
    fn from(word: String) -> Self {
        Self(word.into())
    }
}

fn dictionary_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn read_word(array: &dyn Array, row: usize) -> Option<Option<&str>> {
    let dictionary = array.as_dictionary_opt::<Int32Type>()?;
    if dictionary.is_null(row) {
        return Some(None);
    }
    let key = usize::try_from(dictionary.keys().value(row)).ok()?;
    Some(Some(dictionary.values().as_string_opt::<i32>()?.value(key)))
}

impl ColumnValue for Option<Label> {
    const NULLABLE: bool = true;
    fn data_type() -> DataType {
        dictionary_type()
    }
    fn array<'a>(values: impl Iterator<Item = &'a Self>) -> ArrayRef {
        let mut builder = StringDictionaryBuilder::<Int32Type>::new();
        for value in values {
            match value {
                Some(label) => builder.append_value(label.as_str()),
                None => builder.append_null(),
            }
        }
        Arc::new(builder.finish())
    }
    fn read(array: &dyn Array, row: usize) -> Option<Self> {
        Some(read_word(array, row)?.map(Label::from))
    }
}

/// A word from a closed vocabulary, one of the contract's enumerations.
pub trait Word: Copy + 'static {
    /// Every word, at the index that [`Word::index`] gives.
    const WORDS: &'static [(Self, &'static str)];

    /// The position of this word in [`Word::WORDS`].
    fn index(self) -> i32;

    /// The word as the tape spells it.
    fn as_str(self) -> &'static str {
        usize::try_from(self.index())
            .ok()
            .and_then(|index| Self::WORDS.get(index))
            .map_or("", |(_, word)| word)
    }

    /// The value that the tape spells `word`.
    fn parse(word: &str) -> Option<Self> {
        Self::WORDS
            .iter()
            .find(|(_, spelling)| *spelling == word)
            .map(|(value, _)| *value)
    }
}

/// Builds a dictionary column whose dictionary is the whole vocabulary, so that every batch of a
/// stream carries the same dictionary and none is written twice.
pub(super) fn word_array<W: Word>(
    indices: Int32Array,
    vocabulary: &LazyLock<ArrayRef>,
) -> ArrayRef {
    let _: &'static [(W, &'static str)] = W::WORDS;
    let array = DictionaryArray::<Int32Type>::try_new(indices, Arc::clone(vocabulary))
        .expect("an index of a word is an index of its vocabulary");
    Arc::new(array)
}

/// Reads a word of a closed vocabulary; the outer `None` is a wrong type or an unknown word.
pub(super) fn read_closed<W: Word>(array: &dyn Array, row: usize) -> Option<Option<W>> {
    match read_word(array, row)? {
        None => Some(None),
        Some(word) => Some(Some(W::parse(word)?)),
    }
}

/// Says whether a column's dictionary is this vocabulary.
pub(super) fn is_vocabulary(array: &dyn Array, vocabulary: &LazyLock<ArrayRef>) -> bool {
    array
        .as_dictionary_opt::<Int32Type>()
        .is_some_and(|words| words.values() == &**vocabulary)
}

pub(super) fn word_type() -> DataType {
    dictionary_type()
}

/// Declares a closed vocabulary: the enum, its words and its column type.
macro_rules! words {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vmeta])* $variant),+ }

        impl $crate::capture::value::Word for $name {
            const WORDS: &'static [(Self, &'static str)] = &[$((Self::$variant, $word)),+];
            fn index(self) -> i32 {
                self as i32
            }
        }

        impl $name {
            fn vocabulary() -> &'static std::sync::LazyLock<arrow::array::ArrayRef> {
                static VALUES: std::sync::LazyLock<arrow::array::ArrayRef> =
                    std::sync::LazyLock::new(|| {
                        std::sync::Arc::new(arrow::array::StringArray::from(vec![$($word),+]))
                    });
                &VALUES
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str($crate::capture::value::Word::as_str(*self))
            }
        }

        impl $crate::capture::value::ColumnValue for $name {
            const NULLABLE: bool = false;
            fn data_type() -> arrow::datatypes::DataType {
                $crate::capture::value::word_type()
            }
            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> arrow::array::ArrayRef {
                use $crate::capture::value::Word;
                let indices = values.map(|value| Some(value.index())).collect();
                $crate::capture::value::word_array::<Self>(indices, Self::vocabulary())
            }
            fn read(array: &dyn arrow::array::Array, row: usize) -> Option<Self> {
                $crate::capture::value::read_closed(array, row)?
            }
            fn has_vocabulary(array: &dyn arrow::array::Array) -> bool {
                $crate::capture::value::is_vocabulary(array, Self::vocabulary())
            }
        }

        impl $crate::capture::value::ColumnValue for Option<$name> {
            const NULLABLE: bool = true;
            fn data_type() -> arrow::datatypes::DataType {
                $crate::capture::value::word_type()
            }
            fn array<'a>(values: impl Iterator<Item = &'a Self>) -> arrow::array::ArrayRef {
                use $crate::capture::value::Word;
                let indices = values.map(|value| value.map(Word::index)).collect();
                $crate::capture::value::word_array::<$name>(indices, $name::vocabulary())
            }
            fn read(array: &dyn arrow::array::Array, row: usize) -> Option<Self> {
                $crate::capture::value::read_closed(array, row)
            }
            fn has_vocabulary(array: &dyn arrow::array::Array) -> bool {
                $crate::capture::value::is_vocabulary(array, $name::vocabulary())
            }
        }
    };
}
pub(crate) use words;
