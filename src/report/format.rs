//! Numbers and strangers' text as words on a page.
//!
//! Every format shows the same number in the same way, so the rounding lives here and nowhere
//! else. Text that came from outside (model names, error messages, labels) passes through
//! [`clean`] before it enters the view model, so that no format has to remember to.

use super::language::{said, say};
use crate::visible::is_hidden;

/// What stands where a value is unknown or does not apply.
pub(crate) const NONE: &str = "–";

/// Longest text from outside that a report shows, in characters.
pub(crate) const TEXT_LIMIT: usize = 240;

/// Longest name that a report shows, in characters.
const NAME_LIMIT: usize = 64;

/// Nanoseconds in a millisecond.
pub(crate) const NS_PER_MS: f64 = 1e6;

/// Nanoseconds in a second.
pub(crate) const NS_PER_S: f64 = 1e9;

/// Writes `value` with `places` decimals and commas between thousands.
pub(crate) fn decimal(value: f64, places: usize) -> String {
    if !value.is_finite() {
        return NONE.to_owned();
    }
    let plain = format!("{value:.places$}");
    let (sign, digits) = match plain.strip_prefix('-') {
        // A negative number that rounds to nothing is nothing.
        Some(digits) if digits.bytes().all(|byte| matches!(byte, b'0' | b'.')) => ("", digits),
        Some(digits) => ("-", digits),
        None => ("", plain.as_str()),
    };
    let (whole, rest) = digits.split_at(digits.find('.').unwrap_or(digits.len()));
    let mut grouped = String::with_capacity(plain.len() + whole.len() / 3);
    for (index, digit) in whole.char_indices() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{rest}")
}

/// Writes a count of things in memory.
pub(crate) fn whole(count: usize) -> String {
    decimal(f64::from(u32::try_from(count).unwrap_or(u32::MAX)), 0)
}

/// Writes an optional number with `places` decimals.
pub(crate) fn optional(value: Option<f64>, places: usize) -> String {
    value.map_or_else(|| NONE.to_owned(), |value| decimal(value, places))
}

/// Writes nanoseconds as milliseconds with two decimals.
pub(crate) fn milliseconds(ns: Option<f64>) -> String {
    optional(ns.map(|ns| ns / NS_PER_MS), 2)
}

/// Writes nanoseconds as milliseconds with three decimals, for the client's own small errors.
pub(crate) fn fine_milliseconds(ns: Option<f64>) -> String {
    optional(ns.map(|ns| ns / NS_PER_MS), 3)
}

/// Writes a share of one as a percentage with one decimal; a small share never reads as none.
pub(crate) fn percent(share: Option<f64>) -> String {
    match share {
        Some(share) if share > 0.0 && share < 0.0005 => "<0.1 %".to_owned(),
        Some(share) if share < 1.0 && share > 0.9995 => ">99.9 %".to_owned(),
        Some(share) => format!("{} %", decimal(share * 100.0, 1)),
        None => NONE.to_owned(),
    }
}

/// Writes a length of time in the unit that suits its size.
pub(crate) fn duration(ns: f64) -> String {
    let seconds = ns / NS_PER_S;
    if seconds.abs() >= 600.0 {
        format!("{} {}", decimal(seconds / 60.0, 1), said("min"))
    } else if seconds.abs() >= 1.0 {
        format!("{} s", trimmed(seconds, 2))
    } else {
        format!("{} ms", trimmed(ns / NS_PER_MS, 2))
    }
}

/// Writes a number with at most `places` decimals, without trailing zeros.
pub(crate) fn trimmed(value: f64, places: usize) -> String {
    let text = decimal(value, places);
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// Writes how many values stand behind a picture: one count, or the range over several runs.
pub(crate) fn counts(of_runs: &[f64]) -> String {
    let least = of_runs.iter().copied().reduce(f64::min).unwrap_or(0.0);
    let most = of_runs.iter().copied().reduce(f64::max).unwrap_or(0.0);
    match (decimal(least, 0), decimal(most, 0)) {
        (_, most) if of_runs.len() < 2 => most,
        (least, most) if least == most => say!("{most} each", most),
        (least, most) => say!("{least} to {most}", least, most),
    }
}

/// Writes an instant, given in nanoseconds since 1970, in UTC.
pub(crate) fn utc(ns: i64) -> String {
    chrono::DateTime::from_timestamp_nanos(ns)
        .format("%Y-%m-%d %H:%M:%S UTC")
        .to_string()
}

/// Makes text from outside harmless: one line, without control or direction characters, and of
/// bounded length.
pub(crate) fn clean(text: &str) -> String {
    clean_to(text, TEXT_LIMIT)
}

/// As [`clean`], for names, which stand in headings, legends and first columns.
///
/// One that is too long loses its middle: names differ at their ends.
pub(crate) fn name(text: &str) -> String {
    let letters: Vec<char> = text.chars().map(tame).collect();
    if letters.len() <= NAME_LIMIT {
        return letters.into_iter().collect();
    }
    let (start, end) = (NAME_LIMIT / 2, letters.len() - NAME_LIMIT / 2);
    let [start, end] = [&letters[..start], &letters[end..]].map(String::from_iter);
    format!("{start}…{end}")
}

/// As [`clean`], with a limit of its own.
pub(crate) fn clean_to(text: &str, limit: usize) -> String {
    let mut kept: String = text.chars().take(limit).map(tame).collect();
    let length = text.chars().count();
    if length > limit {
        kept.push_str(&say!("… ({length} characters)", length));
    }
    kept
}

/// As [`clean_to`], but keeps line ends; for SQL and JSON.
///
/// `limit` is in bytes of the escaped page, so that a page stays light whatever it quotes.
pub(crate) fn clean_lines(text: &str, limit: usize) -> String {
    let mut kept = String::new();
    let mut size = 0;
    for letter in text.chars() {
        size += if "<>&\"'/".contains(letter) {
            6
        } else {
            letter.len_utf8()
        };
        if size > limit {
            kept.push('\n');
            kept.push_str(&said("… (cut here)"));
            break;
        }
        kept.push(if letter == '\n' { letter } else { tame(letter) });
    }
    kept
}

/// Replaces a character that could move the cursor or turn the direction of what follows.
fn tame(letter: char) -> char {
    match letter {
        '\n' | '\r' | '\t' | '\u{2028}' | '\u{2029}' => ' ',
        letter if is_hidden(letter) => '\u{fffd}',
        letter => letter,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_thousands_and_keeps_the_sign() {
        assert_eq!(decimal(1_234_567.891, 2), "1,234,567.89");
        assert_eq!(decimal(-1_234.5, 1), "-1,234.5");
        assert_eq!(decimal(999.0, 0), "999");
        assert_eq!(decimal(-0.001, 2), "0.00");
    }

    #[test]
    fn never_writes_what_is_not_a_number() {
        assert_eq!(decimal(f64::NAN, 2), NONE);
        assert_eq!(decimal(f64::INFINITY, 2), NONE);
        assert_eq!(milliseconds(None), NONE);
    }

    #[test]
    fn small_and_nearly_whole_shares_stay_visible() {
        assert_eq!(percent(Some(0.0001)), "<0.1 %");
        assert_eq!(percent(Some(0.9999)), ">99.9 %");
        assert_eq!(percent(Some(1.0)), "100.0 %");
        assert_eq!(percent(Some(0.0)), "0.0 %");
    }

    #[test]
    fn strangers_text_becomes_one_harmless_line() {
        assert_eq!(clean("a\nb\u{1b}[31m\u{202e}c"), "a b\u{fffd}[31m\u{fffd}c");
        let long = clean(&"x".repeat(10_000));
        assert!(long.ends_with("… (10000 characters)"));
        assert!(long.chars().count() < TEXT_LIMIT + 40);
    }

    #[test]
    fn a_long_name_keeps_both_of_its_ends() {
        let long = |port: u32| format!("target=http://{}.example:{port}/v1", "x".repeat(90));
        let cut = name(&long(8000));
        assert_eq!(cut.chars().count(), NAME_LIMIT + 1);
        assert!(cut.starts_with("target=http://x") && cut.ends_with(":8000/v1"));
        assert_ne!(cut, name(&long(8001)));
        assert_eq!(name("short\nname"), "short name");
    }
}
