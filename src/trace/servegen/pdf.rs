//! A distribution of whole or fractional values, as ServeGen writes it: a Python `dict` in a text.

use std::fmt;

/// How far probabilities may sum to something else than 1, before they are taken for damaged.
const SUM_TOLERANCE: f64 = 0.01;
/// Most values of one distribution.
const VALUES_MAX: usize = 1 << 20;

/// Why a text is no distribution.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum PdfError {
    /// The text ends or goes on where it should not.
    Syntax {
        /// Place of the character, in bytes from 0.
        at: usize,
        /// What should stand there.
        wanted: &'static str,
    },
    /// A number is not one.
    Number(String),
    /// A value is below 0.
    Value(f64),
    /// A value stands there twice.
    Twice(f64),
    /// A probability is below 0 or above 1.
    Probability(f64),
    /// Probabilities don't sum to 1.
    Sum(f64),
    /// There are more values than any length has.
    TooMany,
}

impl fmt::Display for PdfError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax { at, wanted } => write!(out, "has no {wanted} at byte {at}"),
            Self::Number(text) => write!(out, "`{text}` is not a number"),
            Self::Value(value) => write!(out, "the value `{value}` is below 0"),
            Self::Twice(value) => write!(out, "the value `{value}` is there twice"),
            Self::Probability(share) => write!(out, "the probability `{share}` is not in 0 to 1"),
            Self::Sum(sum) => write!(out, "the probabilities sum to {sum}, not to 1"),
            Self::TooMany => write!(out, "has more than {VALUES_MAX} values"),
        }
    }
}

/// Values with their probabilities, ready to draw from.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pdf {
    /// Values, rising, each with the probability of it or a smaller one; the last one is 1.
    values: Vec<(f64, f64)>,
}

impl Pdf {
    /// Parses `{45: 0.25, 46: 0.75}`; none for `{}`, which says that nothing was seen.
    ///
    /// Probabilities that sum to 1 but for rounding are made to.
    pub(super) fn parse(text: &str) -> Result<Option<Self>, PdfError> {
        let mut values = parse_dict(text)?;
        if values.is_empty() {
            return Ok(None);
        }
        values.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut sum = 0.0;
        let mut last = None;
        for (value, share) in &mut values {
            if *value < 0.0 {
                return Err(PdfError::Value(*value));
            }
            if last == Some(value.to_bits()) {
                return Err(PdfError::Twice(*value));
            }
            last = Some(value.to_bits());
            if !(0.0..=1.0 + SUM_TOLERANCE).contains(share) {
                return Err(PdfError::Probability(*share));
            }
            sum += *share;
            *share = sum;
        }
        if (sum - 1.0).abs() > SUM_TOLERANCE {
            return Err(PdfError::Sum(sum));
        }
        for (_, share) in &mut values {
            *share /= sum;
        }
        Ok(Some(Self { values }))
    }

    /// Returns the value that a share of the distribution, from 0 to below 1, lies at.
    pub(super) fn value_at(&self, share: f64) -> f64 {
        let at = self.values.partition_point(|(_, up_to)| *up_to <= share);
        // The last one is found only where rounding left it a little under 1.
        let at = at.min(self.values.len() - 1);
        self.values[at].0
    }

    /// Returns the largest value.
    pub(super) fn largest(&self) -> f64 {
        self.values.last().map_or(0.0, |(value, _)| *value)
    }

    /// Returns the first value with a fraction.
    pub(super) fn fractional(&self) -> Option<f64> {
        let mut values = self.values.iter().map(|(value, _)| *value);
        values.find(|value| value.fract() != 0.0)
    }

    /// Returns the mean.
    #[cfg(test)]
    pub(super) fn mean(&self) -> f64 {
        let before = std::iter::once(0.0).chain(self.values.iter().map(|(_, up_to)| *up_to));
        let values = self.values.iter().zip(before);
        values
            .map(|((value, up_to), before)| value * (up_to - before))
            .sum()
    }
}

/// Parses pairs of plain numbers. Nothing is evaluated, and nothing is nested.
fn parse_dict(text: &str) -> Result<Vec<(f64, f64)>, PdfError> {
    let mut rest = Rest { text, at: 0 };
    rest.expect('{', "`{`")?;
    let mut values = Vec::new();
    while !rest.has('}') {
        let value = rest.number()?;
        rest.expect(':', "`:`")?;
        let share = rest.number()?;
        if values.len() == VALUES_MAX {
            return Err(PdfError::TooMany);
        }
        values.push((value, share));
        if !rest.has(',') {
            rest.expect('}', "`,` or `}`")?;
            break;
        }
    }
    rest.skip_spaces();
    if rest.at < text.len() {
        return Err(rest.wanted("end"));
    }
    Ok(values)
}

/// What is left of a text.
struct Rest<'a> {
    text: &'a str,
    at: usize,
}

impl Rest<'_> {
    fn left(&self) -> &str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn skip_spaces(&mut self) {
        let left = self.left();
        self.at += left.len() - left.trim_start().len();
    }

    /// Takes a character, where it is the next one.
    fn has(&mut self, wanted: char) -> bool {
        self.skip_spaces();
        let is_there = self.left().starts_with(wanted);
        self.at += if is_there { wanted.len_utf8() } else { 0 };
        is_there
    }

    fn expect(&mut self, wanted: char, name: &'static str) -> Result<(), PdfError> {
        match self.has(wanted) {
            true => Ok(()),
            false => Err(self.wanted(name)),
        }
    }

    fn number(&mut self) -> Result<f64, PdfError> {
        self.skip_spaces();
        let left = self.left();
        let length = left
            .find(|character: char| !matches!(character, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(left.len());
        if length == 0 {
            return Err(self.wanted("number"));
        }
        let text = &left[..length];
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        let number = number.ok_or_else(|| PdfError::Number(text.to_owned()))?;
        self.at += length;
        Ok(number)
    }

    fn wanted(&self, wanted: &'static str) -> PdfError {
        PdfError::Syntax {
            at: self.at,
            wanted,
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_precision_loss, reason = "counts of a few values")]
mod tests {
    use proptest::prelude::*;

    use super::{Pdf, PdfError};

    fn message(text: &str) -> String {
        Pdf::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn a_value_is_drawn_as_often_as_its_probability_says() {
        let pdf = Pdf::parse("{45: 0.25, 7: 0.5, 0.5: 2.5e-1}")
            .unwrap()
            .unwrap();
        for (share, value) in [
            (0.0, 0.5),
            (0.2499, 0.5),
            (0.25, 7.0),
            (0.749, 7.0),
            (0.75, 45.0),
        ] {
            assert_eq!(
                pdf.value_at(share).to_bits(),
                f64::to_bits(value),
                "{share}"
            );
        }
        assert_eq!(
            pdf.value_at(1.0 - f64::EPSILON / 2.0).to_bits(),
            45.0_f64.to_bits()
        );
        assert!((pdf.mean() - 14.875).abs() < 1e-12);
        assert_eq!(pdf.largest().to_bits(), 45.0_f64.to_bits());
        assert_eq!(pdf.fractional(), Some(0.5));
    }

    #[test]
    fn nothing_seen_is_no_distribution() {
        assert_eq!(Pdf::parse("{}"), Ok(None));
        assert_eq!(Pdf::parse(" { } "), Ok(None));
    }

    #[test]
    fn probabilities_are_made_to_sum_to_one_and_refused_where_they_are_far_off() {
        let rounded = Pdf::parse("{1: 0.333, 2: 0.333, 3: 0.333}")
            .unwrap()
            .unwrap();
        assert!((rounded.mean() - 2.0).abs() < 1e-12);
        assert_eq!(Pdf::parse("{1: 0.5, 2: 0.25}"), Err(PdfError::Sum(0.75)));
        assert_eq!(message("{1: 0.0}"), "the probabilities sum to 0, not to 1");
    }

    #[test]
    fn anything_but_plain_pairs_of_numbers_is_refused() {
        for (text, expected) in [
            ("", "has no `{` at byte 0"),
            ("[1, 2]", "has no `{` at byte 0"),
            ("{1: 0.5", "has no `,` or `}` at byte 7"),
            ("{1: 0.5, 2", "has no `:` at byte 10"),
            ("{'a': 1}", "has no number at byte 1"),
            ("{__import__('os'): 1}", "has no number at byte 1"),
            ("{1: nan}", "has no number at byte 4"),
            ("{1: 1e999}", "`1e999` is not a number"),
            ("{1-2: 1}", "`1-2` is not a number"),
            ("{1: {2: 1}}", "has no number at byte 4"),
            ("{1: 1.0} or 2", "has no end at byte 9"),
            ("{-1: 1.0}", "the value `-1` is below 0"),
            ("{1: 0.5, 1.0: 0.5}", "the value `1` is there twice"),
            (
                "{1: -0.5, 2: 1.5}",
                "the probability `-0.5` is not in 0 to 1",
            ),
            ("{1: 1.0}é", "has no end at byte 8"),
        ] {
            assert_eq!(message(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_parser(text in "[{}0-9:,. e+-]{0,40}|.{0,40}") {
            let _ = Pdf::parse(&text);
        }

        #[test]
        fn what_is_drawn_is_one_of_the_values(
            weights in prop::collection::vec(1_u32..1000, 1..50),
            share in 0.0_f64..1.0,
        ) {
            let sum: u32 = weights.iter().sum();
            let pairs: Vec<String> = weights
                .iter()
                .enumerate()
                .map(|(value, weight)| format!("{value}: {}", f64::from(*weight) / f64::from(sum)))
                .collect();
            let pdf = Pdf::parse(&format!("{{{}}}", pairs.join(", "))).unwrap().unwrap();
            let value = pdf.value_at(share);
            prop_assert!(value.fract() == 0.0 && value < weights.len() as f64);
        }
    }
}
