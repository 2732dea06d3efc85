//! Quantities as people type them: `10s`, `1.5h`, `4/s`.

use std::time::Duration;

/// Parses a duration with its unit (`250ms`, `10s`, `5m`, `1.5h`, `7d`) into nanoseconds; a bare
/// number is in seconds.
///
/// # Errors
///
/// Says what is accepted, for a usage message.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked before the cast"
)]
pub(crate) fn parse_duration_ns(text: &str) -> Result<i64, String> {
    const ACCEPTED: &str = "write a time with its unit: 250ms, 10s, 5m, 1.5h or 7d";
    let unit_at = text
        .find(|character: char| character.is_alphabetic())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_ns = match unit.trim() {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" | "" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3_600e9,
        "d" => 86_400e9,
        _ => return Err(ACCEPTED.to_owned()),
    };
    let number: f64 = number.trim().parse().map_err(|_| ACCEPTED.to_owned())?;
    let ns = number * unit_ns;
    // 2^53 ns are 104 days: beyond that a float no longer counts nanoseconds.
    if !(0.0..=9_007_199_254_740_992.0).contains(&ns) {
        return Err("must be between 0 and 104 days".to_owned());
    }
    Ok(ns.round() as i64)
}

/// Parses a duration that is above zero.
pub(crate) fn parse_positive_duration_ns(text: &str) -> Result<i64, String> {
    match parse_duration_ns(text)? {
        0 => Err("must be above 0".to_owned()),
        ns => Ok(ns),
    }
}

/// Converts nanoseconds, which must not be negative, for the standard library.
pub(crate) fn duration(ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(ns).unwrap_or(0))
}

/// Converts nanoseconds to seconds, for people and for JSON.
#[expect(
    clippy::cast_precision_loss,
    reason = "people read no more than a float has"
)]
pub(crate) fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// Parses a share, from 0 to 1.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a share from 0 to 1, such as 0.1".to_owned()),
    }
}

/// Parses an amount of memory with its unit (`512MiB`, `4GiB`, `2GB`), above zero, into bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.find(|letter: char| !letter.is_ascii_digit());
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let unit_bytes = match unit.trim() {
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => 0,
    };
    let number: usize = number.parse().unwrap_or(0);
    let bytes = number.checked_mul(unit_bytes).filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| "write an amount of memory with its unit: 512MiB or 4GiB".to_owned())
}

/// Parses a rate in requests a second: `4`, `0.5/s`, `30/m`, or `inf` for all at once.
pub(crate) fn parse_rate_per_s(text: &str) -> Result<f64, String> {
    const ACCEPTED: &str = "write a rate above 0, such as 4, 0.5/s or 30/m, or `inf`";
    if text.eq_ignore_ascii_case("inf") {
        return Ok(f64::INFINITY);
    }
    let (number, seconds) = match text.split_once('/') {
        None | Some((_, "s")) => (text.trim_end_matches("/s"), 1.0),
        Some((number, "m" | "min")) => (number, 60.0),
        Some((number, "h")) => (number, 3_600.0),
        Some(_) => return Err(ACCEPTED.to_owned()),
    };
    let number: f64 = number.trim().parse().map_err(|_| ACCEPTED.to_owned())?;
    let rate = number / seconds;
    if rate.is_finite() && rate > 0.0 {
        Ok(rate)
    } else {
        Err(ACCEPTED.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NS_PER_S: i64 = 1_000_000_000;

    #[test]
    fn durations_have_units_and_bare_numbers_are_seconds() {
        for (text, ns) in [
            ("250ms", 250_000_000),
            ("10s", 10 * NS_PER_S),
            ("10", 10 * NS_PER_S),
            ("1.5h", 5_400 * NS_PER_S),
            ("7d", 604_800 * NS_PER_S),
            ("0s", 0),
            ("3us", 3_000),
        ] {
            assert_eq!(parse_duration_ns(text), Ok(ns), "{text}");
        }
        for text in ["", "s", "10 parsecs", "-1s", "nan", "inf", "1e30s"] {
            assert!(parse_duration_ns(text).is_err(), "{text}");
        }
        assert!(parse_positive_duration_ns("0s").is_err());
    }

    #[test]
    fn rates_have_units_and_infinity_has_a_name() {
        assert_eq!(parse_rate_per_s("4"), Ok(4.0));
        assert_eq!(parse_rate_per_s("0.5/s"), Ok(0.5));
        assert_eq!(parse_rate_per_s("30/m"), Ok(0.5));
        assert_eq!(parse_rate_per_s("inf"), Ok(f64::INFINITY));
        for text in ["0", "-1", "nan", "4/year", "fast", ""] {
            assert!(parse_rate_per_s(text).is_err(), "{text}");
        }
    }
}
