//! How distributions are written: in flags as words, in files as JSON.

use std::io::{BufRead, Read};
use std::path::Path;

use serde_json::{Map, Value};

use super::super::text_file::{self, Unreadable};
use super::distribution::{Distribution, MAX};

/// What can be written in a flag.
pub(super) const FORMS: &str = "write a number, uniform:LOW:HIGH, normal:MEAN:SD, lognormal:MEAN:SD, \
                                gamma:MEAN:SD, exponential:MEAN, poisson:MEAN, zipf:ALPHA:MAX, or \
                                file:PATH with a number a line";

/// Names in a flag, each with the numbers that it takes.
const NAMES: [(&str, usize); 7] = [
    ("uniform", 2),
    ("normal", 2),
    ("lognormal", 2),
    ("gamma", 2),
    ("exponential", 1),
    ("poisson", 1),
    ("zipf", 2),
];

/// Numbers of a file at most.
const MAX_NUMBERS: usize = 1_000_000;

/// Bytes of one line of such a file.
const MAX_LINE_BYTES: u64 = 1_024;

/// How far a median is below the mean where a file does not say it, as in vLLM's benchmark.
const MEDIAN_RATIO: f64 = 0.85;

/// Reads a distribution as a flag has it.
///
/// # Errors
///
/// What is wrong with it, as a fragment.
pub(super) fn parse(text: &str) -> Result<Distribution, String> {
    let text = text.trim();
    let Some((name, rest)) = text.split_once(':') else {
        return number(text).map(Distribution::constant);
    };
    let name = name.trim();
    if name == "file" {
        return read(Path::new(rest));
    }
    let known = NAMES.iter().find(|(known, _)| *known == name);
    let &(_, count) = known.ok_or_else(|| format!("`{name}` is no distribution"))?;
    let numbers: Vec<f64> = rest.split(':').map(number).collect::<Result<_, _>>()?;
    match (name, &numbers[..]) {
        ("uniform", &[low, high]) => Distribution::uniform(low, high),
        ("normal", &[mean, sd]) => Distribution::normal(mean, sd),
        ("lognormal", &[mean, sd]) => Distribution::lognormal(mean, sd),
        ("gamma", &[mean, sd]) => Distribution::gamma(mean, sd),
        ("exponential", &[mean]) => Distribution::exponential(mean),
        ("poisson", &[mean]) => Distribution::poisson(mean),
        ("zipf", &[alpha, max]) => Distribution::zipf(alpha)?.at_most(max),
        _ => Err(format!(
            "`{name}` takes {count} {}, and has {}",
            if count == 1 { "number" } else { "numbers" },
            numbers.len()
        )),
    }
}

/// Reads a number as a flag or a line of a file has it.
fn number(text: &str) -> Result<f64, String> {
    let text = text.trim();
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => in_range(number),
        _ => Err(format!("`{text}` is no number")),
    }
}

fn in_range(number: f64) -> Result<f64, String> {
    if number < 0.0 {
        return Err(format!("{number} is below 0"));
    }
    match number <= MAX {
        // Without the sign of -0.
        true => Ok(number.abs()),
        false => Err(format!("{number} is above {MAX}")),
    }
}

/// Reads a file with a number a line.
fn read(path: &Path) -> Result<Distribution, String> {
    let unread = |why: Unreadable| format!("`{}`: {why}", path.display());
    let mut text = text_file::open(path).map_err(unread)?;
    let mut numbers = Vec::new();
    let mut line = Vec::new();
    for place in 1_u64.. {
        line.clear();
        let mut limited = text.by_ref().take(MAX_LINE_BYTES);
        let read = limited.read_until(b'\n', &mut line);
        if read.map_err(|error| unread(error.into()))? == 0 {
            break;
        }
        let wrong = |why: &str| format!("`{}` line {place}: {why}", path.display());
        if line.len() as u64 == MAX_LINE_BYTES {
            return Err(wrong(&format!("it is longer than {MAX_LINE_BYTES} bytes")));
        }
        let line = std::str::from_utf8(&line).map_err(|_| wrong("it is no UTF-8 text"))?;
        if line.trim().is_empty() {
            continue;
        }
        if numbers.len() == MAX_NUMBERS {
            return Err(wrong(&format!("there are more than {MAX_NUMBERS} numbers")));
        }
        numbers.push(number(line).map_err(|why| wrong(&why))?);
    }
    Distribution::one_of(numbers).map_err(|why| format!("`{}`: {why}", path.display()))
}

/// Reads a distribution as a file of vLLM's benchmark of conversations has it.
///
/// # Errors
///
/// What is wrong with it, as a fragment.
pub(super) fn from_json(value: &Value) -> Result<Distribution, String> {
    let object = value.as_object();
    let object =
        object.ok_or("it is no object such as {\"distribution\": \"constant\", \"value\": 5}")?;
    let name = object.get("distribution").and_then(Value::as_str);
    let name = name.ok_or("it has no `distribution`")?;
    let in_range = |field: &str| {
        let number = of_field(object, field)?;
        in_range(number).map_err(|why| format!("its `{field}` {why}"))
    };
    let drawn = match name {
        "constant" => return Ok(Distribution::constant(in_range("value")?)),
        "uniform" => return Distribution::uniform(in_range("min")?, in_range("max")?),
        "lognormal" if object.contains_key("average") => {
            let ratio = match object.get("median_ratio") {
                None | Some(Value::Null) => MEDIAN_RATIO,
                Some(_) => in_range("median_ratio")?,
            };
            of_median(in_range("average")?, ratio)?
        }
        "lognormal" => {
            Distribution::lognormal_of_logs(of_field(object, "mean")?, of_field(object, "sigma")?)?
        }
        "zipf" => Distribution::zipf(in_range("alpha")?)?,
        "poisson" => Distribution::poisson(in_range("alpha")?)?,
        other => {
            return Err(format!(
                "`{other}` is none of constant, uniform, lognormal, zipf and poisson"
            ));
        }
    };
    match object.get("max") {
        None | Some(Value::Null) => Ok(drawn),
        Some(_) => drawn.at_most(in_range("max")?),
    }
}

fn of_field(object: &Map<String, Value>, field: &str) -> Result<f64, String> {
    let value = object.get(field);
    let value = value.ok_or_else(|| format!("it has no `{field}`"))?;
    value
        .as_f64()
        .ok_or_else(|| format!("its `{field}` is no number"))
}

/// Log-normal, of its mean and of what its median is of that.
fn of_median(mean: f64, ratio: f64) -> Result<Distribution, String> {
    if mean <= 0.0 {
        return Err(format!("its `average` {mean} is not above 0"));
    }
    if ratio <= 0.0 || ratio >= 1.0 {
        return Err(format!("its `median_ratio` {ratio} is not between 0 and 1"));
    }
    // The mean is exp(m + s^2 / 2) and the median exp(m).
    Distribution::lognormal_of_logs((mean * ratio).ln(), (-2.0 * ratio.ln()).sqrt())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_json::json;

    use super::*;
    use crate::draw::Draw;

    fn drawn(distribution: &Distribution) -> Vec<f64> {
        let mut draw = Draw::new(1, 2, 3);
        (0..1_000).map(|_| distribution.sample(&mut draw)).collect()
    }

    #[test]
    fn each_form_is_the_distribution_that_it_names() {
        let same = [
            ("5", Distribution::constant(5.0)),
            (" 0.5 ", Distribution::constant(0.5)),
            ("-0", Distribution::constant(0.0)),
            ("uniform:1:9", Distribution::uniform(1.0, 9.0).unwrap()),
            ("normal:9:2", Distribution::normal(9.0, 2.0).unwrap()),
            ("lognormal:9:2", Distribution::lognormal(9.0, 2.0).unwrap()),
            ("gamma:9: 2", Distribution::gamma(9.0, 2.0).unwrap()),
            ("exponential:9", Distribution::exponential(9.0).unwrap()),
            ("poisson:9", Distribution::poisson(9.0).unwrap()),
            (
                "zipf:1.5:20",
                Distribution::zipf(1.5).unwrap().at_most(20.0).unwrap(),
            ),
        ];
        for (text, wanted) in same {
            assert_eq!(parse(text).unwrap(), wanted, "{text}");
        }
        let zipf = drawn(&parse("zipf:1.5:20").unwrap());
        assert!(
            zipf.iter()
                .all(|one| (1.0..=20.0).contains(one) && one.fract() == 0.0)
        );
    }

    #[test]
    fn what_is_no_distribution_is_told() {
        let messages = [
            "",
            "many",
            "nan",
            "inf",
            "-1",
            "1e12",
            "uniform:9:1",
            "uniform:1",
            "uniform:1:2:3",
            "poisson:1:2",
            "normal:-5:1",
            "normal:5:-1",
            "normal:5:x",
            "zipf:1:10",
            "zipf:2:0",
            "pareto:1:2",
            "file:/no/such/file",
        ]
        .map(|text| parse(text).unwrap_err());
        insta::assert_snapshot!(messages.join("\n"), @"
        `` is no number
        `many` is no number
        `nan` is no number
        `inf` is no number
        -1 is below 0
        1000000000000 is above 4294967295
        its lowest value 9 is above its highest 1
        `uniform` takes 2 numbers, and has 1
        `uniform` takes 2 numbers, and has 3
        `poisson` takes 1 number, and has 2
        -5 is below 0
        -1 is below 0
        `x` is no number
        its alpha 1 is not above 1
        its max 0 is not above 0
        `pareto` is no distribution
        `/no/such/file`: No such file or directory (os error 2)
        ");
    }

    #[test]
    fn the_numbers_of_a_file_come_as_often_as_each_other() {
        let of = |bytes: &[u8]| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            let parsed = parse(&format!("file:{}", file.path().display()));
            parsed.map_err(|why| why.replace(&file.path().display().to_string(), "FILE"))
        };
        let file = of(b"\xef\xbb\xbf1\n\n 2.5\r\n40").unwrap();
        assert_eq!(file, Distribution::one_of(vec![1.0, 2.5, 40.0]).unwrap());
        let often = drawn(&file).iter().filter(|one| **one > 39.0).count();
        assert!(often.abs_diff(333) < 75, "{often}");
        let long = [b'1'; 2_000];
        let broken: [&[u8]; 5] = [b"", b"1\n\nabc\n", b"1\n-2", b"1\n\xff", &long];
        let messages = broken.map(|bytes| of(bytes).unwrap_err());
        insta::assert_snapshot!(messages.join("\n"), @"
        `FILE`: it has no number
        `FILE` line 3: `abc` is no number
        `FILE` line 2: -2 is below 0
        `FILE` line 2: it is no UTF-8 text
        `FILE` line 1: it is longer than 1024 bytes
        ");
    }

    #[test]
    fn json_has_the_forms_of_the_benchmark_of_conversations() {
        let read = |value: Value| from_json(&value).unwrap();
        let constant = read(json!({ "distribution": "constant", "value": 500 }));
        assert_eq!(constant, Distribution::constant(500.0));
        let uniform = read(json!({ "distribution": "uniform", "min": 12, "max": 18 }));
        assert_eq!(uniform, Distribution::uniform(12.0, 18.0).unwrap());
        let average = read(json!({ "distribution": "lognormal", "average": 1000 }));
        assert!((average.mean() - 1000.0).abs() < 1e-6);
        let mut values = drawn(&average);
        values.sort_by(f64::total_cmp);
        // The median is 0.85 of the mean.
        assert!((values[500] - 850.0).abs() < 60.0, "{}", values[500]);
        let bounded = json!({ "distribution": "lognormal", "average": 1000, "median_ratio": 0.5, "max": 900 });
        assert!(drawn(&read(bounded)).iter().all(|value| *value <= 900.0));
        let logs =
            read(json!({ "distribution": "lognormal", "mean": 2.0, "sigma": 0.5, "max": null }));
        assert_eq!(logs, Distribution::lognormal_of_logs(2.0, 0.5).unwrap());
        let zipf = read(json!({ "distribution": "zipf", "alpha": 1.2, "max": 7 }));
        assert!(drawn(&zipf).iter().all(|value| (1.0..=7.0).contains(value)));
        let poisson = read(json!({ "distribution": "poisson", "alpha": 6 }));
        assert_eq!(poisson, Distribution::poisson(6.0).unwrap());
    }

    #[test]
    fn what_is_no_distribution_in_json_is_told() {
        let messages = [
            json!(5),
            json!({}),
            json!({ "distribution": "normal" }),
            json!({ "distribution": "constant" }),
            json!({ "distribution": "constant", "value": "5" }),
            json!({ "distribution": "constant", "value": -5 }),
            json!({ "distribution": "uniform", "min": 5, "max": 2 }),
            json!({ "distribution": "lognormal", "mean": 1 }),
            json!({ "distribution": "lognormal", "average": 0 }),
            json!({ "distribution": "lognormal", "average": 5, "median_ratio": 1 }),
            json!({ "distribution": "zipf", "alpha": 0.5 }),
            json!({ "distribution": "poisson", "alpha": 2, "max": 0 }),
        ]
        .map(|value| from_json(&value).unwrap_err());
        insta::assert_snapshot!(messages.join("\n"), @r#"
        it is no object such as {"distribution": "constant", "value": 5}
        it has no `distribution`
        `normal` is none of constant, uniform, lognormal, zipf and poisson
        it has no `value`
        its `value` is no number
        its `value` -5 is below 0
        its lowest value 5 is above its highest 2
        it has no `sigma`
        its `average` 0 is not above 0
        its `median_ratio` 1 is not between 0 and 1
        its alpha 0.5 is not above 1
        its max 0 is not above 0
        "#);
    }
}
