//! A client's rates: `chunk-N-trace.csv`, one window a line, without a header.

use std::path::Path;

use super::gaps::Gaps;
use crate::trace::error::ServeGenError;

/// Length of a window, in seconds.
pub(super) const WINDOW_S: u32 = 600;
/// Largest rate of a window, in requests a second.
const RATE_MAX_PER_S: f64 = 1e6;
/// Latest start of a window, in seconds: some 30 years.
const START_MAX_S: f64 = 1e9;

/// A window with traffic.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct RateWindow {
    /// Where it begins, in seconds; whole.
    pub(super) start_s: u32,
    /// Mean rate, in requests a second.
    pub(super) rate_per_s: f64,
    /// How gaps are distributed.
    pub(super) gaps: Gaps,
    /// Coefficient of variation that the file states.
    #[cfg(test)]
    pub(super) stated_variation: f64,
}

/// A client's windows with traffic, in order, and where the last window of all ends.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Rates {
    /// The windows.
    pub(super) windows: Vec<RateWindow>,
    /// End of the last line's window, in seconds.
    pub(super) end_s: u32,
}

/// Parses the lines `window_start_s,rate_rps,cv,pattern,shape,scale`.
pub(super) fn parse(path: &Path, text: &str) -> Result<Rates, ServeGenError> {
    let mut rates = Rates {
        windows: Vec::new(),
        end_s: 0,
    };
    let mut has_lines = false;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            continue;
        }
        let wrong = |message: String| ServeGenError::Rates {
            path: path.to_owned(),
            line: at + 1,
            message,
        };
        let (start_s, window) = parse_line(line).map_err(wrong)?;
        if has_lines && start_s < rates.end_s {
            let end_s = rates.end_s;
            return Err(wrong(format!(
                "the window begins at {start_s} s, before the one above ends at {end_s} s"
            )));
        }
        has_lines = true;
        rates.end_s = start_s + WINDOW_S;
        rates.windows.extend(window);
    }
    if !has_lines {
        return Err(ServeGenError::NoRates {
            path: path.to_owned(),
        });
    }
    Ok(rates)
}

/// Parses one line: a start, and a window where there is traffic.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before the cast"
)]
fn parse_line(line: &str) -> Result<(u32, Option<RateWindow>), String> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [start, rate, variation, pattern, shape, scale] = fields[..] else {
        return Err(format!("has {} fields, not 6", fields.len()));
    };
    let start = number("window start", start)?;
    if !(0.0..=START_MAX_S).contains(&start) || start.fract() > 0.0 {
        return Err(format!(
            "the window start `{start}` is not a whole second from 0"
        ));
    }
    let rate_per_s = number("rate", rate)?;
    if !(0.0..=RATE_MAX_PER_S).contains(&rate_per_s) {
        return Err(format!(
            "the rate `{rate}` is not between 0 and {RATE_MAX_PER_S}"
        ));
    }
    let stated_variation = number("cv", variation)?;
    let (shape_number, _) = (number("shape", shape)?, number("scale", scale)?);
    let gaps = match pattern {
        "Gamma" => Gaps::gamma(shape_number),
        "Weibull" => Gaps::weibull(shape_number),
        "" if rate_per_s > 0.0 => {
            return Err(format!("has a rate of `{rate}` and no pattern"));
        }
        "" => return Ok((start as u32, None)),
        other => {
            return Err(format!(
                "the pattern `{other}` is not Gamma, Weibull or empty"
            ));
        }
    };
    let gaps = gaps.ok_or_else(|| format!("the shape `{shape}` is none of a {pattern} gap"))?;
    if stated_variation < 0.0 {
        return Err(format!("the cv `{variation}` is below 0"));
    }
    let window = (rate_per_s > 0.0).then_some(RateWindow {
        start_s: start as u32,
        rate_per_s,
        gaps,
        #[cfg(test)]
        stated_variation,
    });
    Ok((start as u32, window))
}

fn number(what: &str, text: &str) -> Result<f64, String> {
    let number: Result<f64, _> = text.parse();
    number
        .ok()
        .filter(|number| number.is_finite())
        .ok_or_else(|| format!("the {what} `{text}` is not a number"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Gaps, parse};

    fn message(text: &str) -> String {
        parse(Path::new("chunk-0-trace.csv"), text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn lines_are_windows_and_those_without_traffic_are_none() {
        let text = "0,1.5,2,Gamma,0.25,7\r\n600,0,0,,0,0\r\n1200,0.1,0.9,Weibull,1.1,3\r\n";
        let rates = parse(Path::new("x"), text).unwrap();
        assert_eq!(rates.end_s, 1800);
        let starts: Vec<u32> = rates.windows.iter().map(|window| window.start_s).collect();
        assert_eq!(starts, [0, 1200]);
        assert_eq!(Some(rates.windows[0].gaps), Gaps::gamma(0.25));
        assert_eq!(Some(rates.windows[1].gaps), Gaps::weibull(1.1));
        assert_eq!(
            rates.windows[0].stated_variation.to_bits(),
            2.0_f64.to_bits()
        );
    }

    #[test]
    fn a_broken_line_is_named_with_what_is_wrong() {
        let good = "0,1,1,Gamma,1,1\n";
        for (line, expected) in [
            ("600,x,1,Gamma,1,1", "the rate `x` is not a number"),
            (
                "600,-1,1,Gamma,1,1",
                "the rate `-1` is not between 0 and 1000000",
            ),
            ("600,NaN,1,Gamma,1,1", "the rate `NaN` is not a number"),
            (
                "600,1,1,Pareto,1,1",
                "the pattern `Pareto` is not Gamma, Weibull or empty",
            ),
            ("600,1,1,,1,1", "has a rate of `1` and no pattern"),
            ("600,1,1,Gamma,0,1", "the shape `0` is none of a Gamma gap"),
            ("600,1,-1,Gamma,1,1", "the cv `-1` is below 0"),
            ("600,1,1,Gamma,1", "has 5 fields, not 6"),
            (
                "0.5,1,1,Gamma,1,1",
                "the window start `0.5` is not a whole second from 0",
            ),
            (
                "300,1,1,Gamma,1,1",
                "the window begins at 300 s, before the one above ends at 600 s",
            ),
        ] {
            let expected = format!("`chunk-0-trace.csv` line 2: {expected}");
            assert_eq!(message(&format!("{good}{line}\n")), expected);
        }
        assert_eq!(message("\r\n"), "`chunk-0-trace.csv` has no lines");
    }
}
