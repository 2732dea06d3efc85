//! A client's lengths: `chunk-N-dataset.json`, distributions by window of the day.
//!
//! Fields are drawn independently of each other, but for those of one kind (`image_tokens` and
//! `image_count`), which take the same share of their distributions. `input_tokens` and
//! `output_tokens` are what a request has; where there is no `input_tokens`, the input is the sum of
//! all other tokens. Everything else is kept beside it.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::pdf::Pdf;
use crate::draw::{Draw, field, hash_text};
use crate::trace::error::ServeGenError;

const INPUT: &str = "input_tokens";
const OUTPUT: &str = "output_tokens";
/// What the names of lengths end in.
const TOKENS: &str = "_tokens";
/// What the names of shares end in, which need not be whole.
const RATIO: &str = "_ratio";
/// Largest length or count of a distribution.
const VALUE_MAX: f64 = 1e8;
/// Most fields of a window.
const FIELDS_MAX: usize = 32;

/// A client's lengths by window.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lengths {
    /// Windows in which something was seen, by their start in seconds; at least one.
    windows: BTreeMap<u32, Window>,
}

/// The distributions of one window, by the names of their fields.
type Window = BTreeMap<String, Pdf>;

/// The lengths of one request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Drawn {
    /// Input tokens, at least 1.
    pub(super) input_tokens: i64,
    /// Output tokens, at least 1.
    pub(super) output_tokens: i64,
    /// All other fields, in the order in which they were asked for.
    pub(super) extras: Vec<Option<f64>>,
}

impl Lengths {
    /// Parses a file.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ServeGenError> {
        let wrong = |key: String, message: String| ServeGenError::Lengths {
            path: path.to_owned(),
            key,
            message,
        };
        let file: Value = serde_json::from_str(text)
            .map_err(|error| wrong(String::new(), format!("is not JSON: {error}")))?;
        let Value::Object(file) = file else {
            let message = "is not an object of windows".to_owned();
            return Err(wrong(String::new(), message));
        };
        let mut windows = BTreeMap::new();
        for (start, fields) in &file {
            let start_s = start
                .parse::<u32>()
                .map_err(|_| wrong(key(start, None), "is not a whole second".to_owned()))?;
            let window = window(fields)
                .map_err(|(name, message)| wrong(key(start, name.as_deref()), message))?;
            windows.extend(window.map(|window| (start_s, window)));
        }
        if windows.is_empty() {
            let message = "has no window with lengths".to_owned();
            return Err(wrong(String::new(), message));
        }
        Ok(Self { windows })
    }

    /// Returns the names of all fields beside the input's and the output's own.
    pub(super) fn extra_names(&self) -> impl Iterator<Item = &str> {
        let fields = self.windows.values().flat_map(BTreeMap::keys);
        fields
            .map(String::as_str)
            .filter(|name| *name != INPUT && *name != OUTPUT)
    }

    /// Returns whether a time lies in a window in which no length was seen, so that those of another
    /// one are drawn.
    pub(super) fn is_borrowed(&self, at_s: u32) -> bool {
        // Windows are told apart by their starts alone: there is one every six hours.
        const STEP_S: u32 = 21_600;
        let before = self.windows.range(..=at_s).next_back();
        before.is_none_or(|(start_s, _)| at_s - start_s >= STEP_S)
    }

    /// Draws the lengths of a client's request at a time.
    ///
    /// They are those of the window that the time is in; where nothing was seen in it, of the last
    /// one before it, or of the first one of all.
    pub(super) fn draw(
        &self,
        at_s: u32,
        seed: u64,
        index: u64,
        extras: &[String],
    ) -> Option<Drawn> {
        let before = self.windows.range(..=at_s).next_back();
        let (_, window) = before.or_else(|| self.windows.first_key_value())?;
        let value = |name: &str| Some(window.get(name)?.value_at(share(name, seed, index)));
        let input = value(INPUT).unwrap_or_else(|| {
            let tokens = window.keys().filter(|name| is_input_part(name));
            tokens.filter_map(|name| value(name)).sum()
        });
        Some(Drawn {
            input_tokens: tokens(input),
            output_tokens: tokens(value(OUTPUT)?),
            extras: extras.iter().map(|name| value(name)).collect(),
        })
    }

    /// Returns the mean of a field in a window.
    #[cfg(test)]
    pub(super) fn mean(&self, start_s: u32, name: &str) -> Option<f64> {
        Some(self.windows.get(&start_s)?.get(name)?.mean())
    }
}

/// Returns whether a field's values are always whole.
pub(super) fn is_whole(name: &str) -> bool {
    !name.ends_with(RATIO)
}

/// Parses a window; none where nothing was seen in it. Failures come with their field.
fn window(fields: &Value) -> Result<Option<Window>, (Option<String>, String)> {
    let Value::Object(fields) = fields else {
        return Err((None, "is not an object of fields".to_owned()));
    };
    if fields.len() > FIELDS_MAX {
        return Err((None, format!("has more than {FIELDS_MAX} fields")));
    }
    let mut window = Window::new();
    for (name, text) in fields {
        let wrong = |message: String| (Some(name.clone()), message);
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || !name.bytes().all(is_name) {
            return Err(wrong("is no name of a field".to_owned()));
        }
        let Value::String(text) = text else {
            return Err(wrong("is not a text with a dict".to_owned()));
        };
        let pdf = Pdf::parse(text).map_err(|error| wrong(error.to_string()))?;
        let Some(pdf) = pdf else { continue };
        if let Some(value) = pdf.fractional().filter(|_| is_whole(name)) {
            return Err(wrong(format!("the value `{value}` is not whole")));
        }
        if pdf.largest() > VALUE_MAX {
            return Err(wrong(format!("the value `{}` is too large", pdf.largest())));
        }
        window.insert(name.clone(), pdf);
    }
    if window.is_empty() {
        return Ok(None);
    }
    let has_input = window.contains_key(INPUT) || window.keys().any(|name| is_input_part(name));
    if !has_input || !window.contains_key(OUTPUT) {
        let message = "has no values for `output_tokens`, or none for `input_tokens` or its parts";
        return Err((None, message.to_owned()));
    }
    Ok(Some(window))
}

fn is_input_part(name: &str) -> bool {
    name.ends_with(TOKENS) && name != OUTPUT && name != INPUT
}

/// Draws what share of its distribution a field's value lies at. Fields of one kind have the same.
fn share(name: &str, seed: u64, index: u64) -> f64 {
    let kind = name.split('_').next().unwrap_or(name);
    Draw::new(seed ^ hash_text(kind), index, field::SERVEGEN_LENGTH).fraction()
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a sum of a few values that were checked to be small"
)]
fn tokens(value: f64) -> i64 {
    (value as i64).max(1)
}

/// Says where in a file something stands.
fn key(start: &str, name: Option<&str>) -> String {
    let name = name.map_or_else(String::new, |name| format!(" `{name}`"));
    format!(" window `{start}`{name}")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Lengths, tokens};

    fn parse(text: &str) -> Lengths {
        Lengths::parse(Path::new("d.json"), text).unwrap()
    }

    fn message(text: &str) -> String {
        Lengths::parse(Path::new("d.json"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn windows_without_lengths_borrow_those_of_the_last_one() {
        let lengths = parse(
            r#"{
                "0": {"input_tokens": "{}", "output_tokens": "{}"},
                "21600": {"input_tokens": "{5: 1.0}", "output_tokens": "{6: 1.0}"},
                "43200": {"input_tokens": "{}", "output_tokens": "{}"},
                "64800": {"input_tokens": "{7: 1.0}", "output_tokens": "{8: 1.0}"}
            }"#,
        );
        for (at_s, input, is_borrowed) in [
            (0, 5, true),
            (21_600, 5, false),
            (43_199, 5, false),
            (43_200, 5, true),
            (64_800, 7, false),
        ] {
            assert_eq!(lengths.draw(at_s, 1, 1, &[]).unwrap().input_tokens, input);
            assert_eq!(lengths.is_borrowed(at_s), is_borrowed, "{at_s}");
        }
    }

    #[test]
    fn the_parts_of_an_input_are_summed_and_kept() {
        let lengths = parse(
            r#"{"0": {"text_tokens": "{10: 0.5, 20: 0.5}", "image_tokens": "{0: 0.5, 100: 0.5}",
                      "image_count": "{0: 0.5, 1: 0.5}", "output_tokens": "{0: 1.0}"}}"#,
        );
        let names: Vec<String> = lengths.extra_names().map(str::to_owned).collect();
        assert_eq!(names, ["image_count", "image_tokens", "text_tokens"]);
        let mut seen = std::collections::BTreeSet::new();
        for index in 0..200 {
            let drawn = lengths.draw(0, 1, index, &names).unwrap();
            let extras: Vec<f64> = drawn.extras.iter().map(|value| value.unwrap()).collect();
            // An image has tokens, and no image has none.
            assert_eq!(extras[1].to_bits(), (extras[0] * 100.0).to_bits());
            assert_eq!(drawn.input_tokens, tokens(extras[1] + extras[2]));
            assert_eq!(drawn.output_tokens, 1);
            seen.insert(drawn.input_tokens);
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [10, 20, 110, 120]);
    }

    #[test]
    fn a_ratio_may_be_a_fraction_and_a_length_may_not() {
        let lengths = parse(
            r#"{"0": {"input_tokens": "{1: 1.0}", "output_tokens": "{2: 1.0}",
                      "reason_ratio": "{0.25: 1.0}"}}"#,
        );
        let drawn = lengths.draw(0, 1, 1, &["reason_ratio".to_owned()]).unwrap();
        assert_eq!(drawn.extras, [Some(0.25)]);
        let text = r#"{"0": {"input_tokens": "{1.5: 1.0}", "output_tokens": "{2: 1.0}"}}"#;
        assert_eq!(
            message(text),
            "`d.json` window `0` `input_tokens`: the value `1.5` is not whole"
        );
    }

    #[test]
    fn what_is_wrong_is_named_by_its_window_and_field() {
        let all = "`output_tokens`, or none for `input_tokens` or its parts";
        for (text, expected) in [
            (
                "{\"0\":",
                "`d.json`: is not JSON: EOF while parsing a value at line 1 column 5",
            ),
            ("[]", "`d.json`: is not an object of windows"),
            ("{}", "`d.json`: has no window with lengths"),
            (r#"{"x": {}}"#, "`d.json` window `x`: is not a whole second"),
            (
                r#"{"0": 1}"#,
                "`d.json` window `0`: is not an object of fields",
            ),
            (
                r#"{"0": {"output_tokens": "{1: 0.5}"}}"#,
                "`d.json` window `0` `output_tokens`: the probabilities sum to 0.5, not to 1",
            ),
            (
                r#"{"0": {"output_tokens": {"1": 1}}}"#,
                "`d.json` window `0` `output_tokens`: is not a text with a dict",
            ),
            (
                r#"{"0": {"A": "{1: 1.0}"}}"#,
                "`d.json` window `0` `A`: is no name of a field",
            ),
            (
                r#"{"0": {"input_tokens": "{1e9: 1.0}"}}"#,
                "`d.json` window `0` `input_tokens`: the value `1000000000` is too large",
            ),
            (
                r#"{"0": {"input_tokens": "{1: 1.0}", "output_tokens": "{}"}}"#,
                &format!("`d.json` window `0`: has no values for {all}"),
            ),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
    }
}
