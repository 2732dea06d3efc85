//! JSON that is read for what is there: a value of an unexpected type counts as absent.
//!
//! Servers differ in what they leave null, send as a number or wrap in a list. One odd field must
//! not cost the event that it came in, so every field is read through [`Lenient`]; only text that
//! is not JSON at all is an error. Strings without escapes are borrowed, and what nobody asks for
//! is skipped without being built.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A value that is its default where the JSON has another type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Lenient<T>(pub(super) T);

/// Text, a number, a truth, a list or an object that a type can be read from; the rest is the default.
pub(super) trait FromJson<'de>: Default {
    /// Reads a string.
    fn from_text(_text: Cow<'de, str>) -> Self {
        Self::default()
    }

    /// Reads a whole number that is not negative.
    fn from_whole(_number: u64) -> Self {
        Self::default()
    }

    /// Reads a number that has a fraction or is negative.
    fn from_fraction(_number: f64) -> Self {
        Self::default()
    }

    /// Reads `true` or `false`.
    fn from_truth(_truth: bool) -> Self {
        Self::default()
    }

    /// Reads a list, all of it.
    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }

    /// Reads an object, all of it.
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self::default())
    }
}

/// Reads `text` as JSON of any shape; `None` when it is not JSON. A number that no reader here could
/// hold, such as `1e400`, is null, and half of a surrogate pair is U+FFFD.
pub(super) fn any(text: &[u8]) -> Option<Value> {
    let read = |text: &[u8]| serde_json::from_slice(text).ok();
    read(text).or_else(|| {
        let whole = without_lone_surrogates(text);
        let text = whole.as_deref().unwrap_or(text);
        read(text).or_else(|| read(&without_huge_numbers(text)?))
    })
}

/// Returns the JSON with U+FFFD in place of each half of a surrogate pair without the other, which is
/// legal (RFC 8259, section 8.2) and no text; `None` where there is none.
fn without_lone_surrogates(text: &[u8]) -> Option<Vec<u8>> {
    let unit = |at: usize| -> Option<u32> {
        let digits = text.get(at..)?.strip_prefix(b"\\u")?.get(..4)?;
        u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
    };
    let mut whole = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += match (byte, unit(at)) {
            (b'\\', Some(0xd800..=0xdbff)) if matches!(unit(at + 6), Some(0xdc00..=0xdfff)) => 12,
            (b'\\', Some(0xd800..=0xdfff)) => {
                whole.extend_from_slice(&text[kept..at]);
                whole.extend_from_slice(b"\\ufffd");
                kept = at + 6;
                6
            }
            (b'\\', _) => 2,
            _ => 1,
        };
    }
    if kept == 0 {
        return None;
    }
    whole.extend_from_slice(&text[kept..]);
    Some(whole)
}

/// Returns the JSON with null in place of each number that is too large; `None` where there is none.
fn without_huge_numbers(text: &[u8]) -> Option<Vec<u8>> {
    // What is passed over may have any size, but has to be JSON.
    serde_json::from_slice::<IgnoredAny>(text).ok()?;
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let mut plain = Vec::new();
    let mut kept = 0;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte == b'"' {
            at += 1;
            // A quote behind a backslash is part of the text.
            while let Some(byte) = text.get(at).filter(|byte| **byte != b'"') {
                at += if *byte == b'\\' { 2 } else { 1 };
            }
            at += 1;
        } else if byte.is_ascii_digit() || *byte == b'-' {
            let rest = &text[at..];
            let length = rest.iter().take_while(|byte| is_of_number(byte)).count();
            let number = str::from_utf8(&rest[..length]).ok()?;
            if number.parse().is_ok_and(f64::is_infinite) {
                plain.extend_from_slice(&text[kept..at]);
                plain.extend_from_slice(b"null");
                kept = at + length;
            }
            at += length;
        } else {
            at += 1;
        }
    }
    if kept == 0 {
        return None;
    }
    plain.extend_from_slice(&text[kept..]);
    Some(plain)
}

/// Reads `text` as JSON; `None` when it is not JSON.
pub(super) fn parse<'a, T: FromJson<'a>>(text: &'a [u8]) -> Option<T> {
    serde_json::from_slice::<Lenient<T>>(text)
        .ok()
        .map(|lenient| lenient.0)
}

impl<'de, T: FromJson<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LenientVisitor(PhantomData))
    }
}

struct LenientVisitor<T>(PhantomData<T>);

impl<'de, T: FromJson<'de>> Visitor<'de> for LenientVisitor<T> {
    type Value = Lenient<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Lenient::default())
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Lenient(T::from_truth(truth)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Lenient(T::from_whole(number)))
    }

    fn visit_i64<E>(self, _negative: i64) -> Result<Self::Value, E> {
        Ok(Lenient::default())
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        let read = whole(number).map_or_else(|| T::from_fraction(number), T::from_whole);
        Ok(Lenient(read))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Lenient(T::from_text(Cow::Owned(text.to_owned()))))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Lenient(T::from_text(Cow::Borrowed(text))))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Self::Value, A::Error> {
        T::from_list(list).map(Lenient)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        T::from_object(object).map(Lenient)
    }
}

/// Returns `number` where it is whole and not negative, as in `12.0`; one that is too large, as
/// `1e30`, saturates.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, and the sign and the fraction are checked first"
)]
fn whole(number: f64) -> Option<u64> {
    let is_whole = number >= 0.0 && number.fract().abs() < f64::MIN_POSITIVE;
    is_whole.then_some(number as u64)
}

impl<'de: 'a, 'a> FromJson<'de> for Option<Cow<'a, str>> {
    fn from_text(text: Cow<'de, str>) -> Self {
        Some(text)
    }
}

impl FromJson<'_> for Option<u32> {
    fn from_whole(number: u64) -> Self {
        // What is too large for a count of tokens is none.
        u32::try_from(number).ok()
    }
}

impl FromJson<'_> for Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "no time is that long")]
    fn from_whole(number: u64) -> Self {
        Some(number as f64)
    }

    fn from_fraction(number: f64) -> Self {
        Some(number)
    }
}

impl FromJson<'_> for bool {
    fn from_truth(truth: bool) -> Self {
        truth
    }
}

/// Whether there is a text or an object, whatever it says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Present(pub(super) bool);

impl<'de> FromJson<'de> for Present {
    fn from_text(_text: Cow<'de, str>) -> Self {
        Self(true)
    }

    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(true))
    }
}

/// How many elements a list has, without the elements; `None` where there is no list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Length(pub(super) Option<u32>);

impl<'de> FromJson<'de> for Length {
    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut length = 0_u32;
        while list.next_element::<IgnoredAny>()?.is_some() {
            length = length.saturating_add(1);
        }
        Ok(Self(Some(length)))
    }
}

/// Whether there is a list whose first element is null.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct StartsWithNull(pub(super) bool);

impl<'de> FromJson<'de> for StartsWithNull {
    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let first = list.next_element::<Option<IgnoredAny>>()?;
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Self(matches!(first, Some(None))))
    }
}

/// Elements of a list that are kept. An element takes some hundred times the memory of the bytes
/// that it may be written in.
const MAX_ELEMENTS: usize = 256;

/// The elements of a list that have the expected type, but for those after the first 256. An object
/// in its place is a list of one: TGI sends a call of a tool so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct List<T>(pub(super) Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T> FromJson<'de> for List<T>
where
    Option<T>: FromJson<'de>,
{
    fn from_list<A: SeqAccess<'de>>(mut list: A) -> Result<Self, A::Error> {
        let mut elements = Vec::new();
        while let Some(Lenient(element)) = list.next_element::<Lenient<Option<T>>>()? {
            elements.extend(element.filter(|_| elements.len() < MAX_ELEMENTS));
        }
        Ok(Self(elements))
    }

    fn from_object<A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        Ok(Self(Option::<T>::from_object(map)?.into_iter().collect()))
    }
}

/// Reads an object into a struct that derives `Deserialize`.
pub(super) fn object<'de, T, A>(object: A) -> Result<Option<T>, A::Error>
where
    T: Deserialize<'de>,
    A: MapAccess<'de>,
{
    T::deserialize(MapAccessDeserializer::new(object)).map(Some)
}

/// Lets a struct stand where a server may send something else instead of an object.
macro_rules! read_from_object {
    ($($shape:ident $(<$lifetime:lifetime>)?),+ $(,)?) => {$(
        impl<'de $(: $lifetime, $lifetime)?> $crate::backend::lenient::FromJson<'de>
            for Option<$shape $(<$lifetime>)?>
        {
            fn from_object<A: serde::de::MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
                $crate::backend::lenient::object(map)
            }
        }
    )+};
}
pub(super) use read_from_object;

/// A text of any length.
pub(super) type Text<'a> = Lenient<Option<Cow<'a, str>>>;
/// A count of tokens.
pub(super) type Count = Lenient<Option<u32>>;
/// A number with a fraction.
pub(super) type Number = Lenient<Option<f64>>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_surrogate_pair_is_no_text_and_breaks_nothing() {
        for (text, read) in [
            (r#"{"a":"\ud83d"}"#, "{\"a\":\"\u{fffd}\"}"),
            (
                r#"{"a":"x\ude00y","b":1e400}"#,
                "{\"a\":\"x\u{fffd}y\",\"b\":null}",
            ),
            (
                r#"{"a":"\ud83d\ude00 \ud83d\ud83d\ude00"}"#,
                "{\"a\":\"😀 \u{fffd}😀\"}",
            ),
            (r#"{"a":"\\ud83d"}"#, r#"{"a":"\\ud83d"}"#),
        ] {
            let read: Value = serde_json::from_str(read).unwrap();
            assert_eq!(any(text.as_bytes()), Some(read), "{text}");
        }
        assert_eq!(any(b"{\"a\":\"\\ud83d"), None);
        assert_eq!(any(b"{\"a\":\"\\ud8\"}"), None);
    }

    #[test]
    fn a_number_that_nobody_can_hold_is_null_and_what_is_no_json_stays_none() {
        for (text, read) in [
            (
                r#"{"a":1e400,"b":[-2E+999,3]}"#,
                r#"{"a":null,"b":[null,3]}"#,
            ),
            (
                r#"{"a":"1e400 \" 1e400","b":1e400}"#,
                r#"{"a":"1e400 \" 1e400","b":null}"#,
            ),
            (r#"{"a":1e300}"#, r#"{"a":1e300}"#),
        ] {
            let read: Value = serde_json::from_str(read).unwrap();
            assert_eq!(any(text.as_bytes()), Some(read), "{text}");
        }
        for text in [
            "1e400x",
            "{\"a\":NaN,\"b\":1e400}",
            "{\"a\":Infinity}",
            "{\"a\":1e400",
            "\"\\",
            "01e999",
        ] {
            assert_eq!(any(text.as_bytes()), None, "{text}");
        }
    }
}
