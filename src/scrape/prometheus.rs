//! Prometheus' text format, and OpenMetrics': from a page to its samples.
//!
//! Pure. A page is never refused: what is no sample is told apart from what is one, line by line.
//! Times that a page gives are left out, since a sample has the time of its scrape; so are
//! exemplars, and all that `# TYPE` and `# HELP` say.

use std::borrow::Cow;

/// One sample of a page.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Name of the metric, with the ending of its kind: `_total`, `_sum`, `_bucket`.
    pub name: &'a str,
    /// The labels as they stand between the braces, in their order and with their escapes, without
    /// spaces that mean nothing; empty where there are none.
    pub labels: Cow<'a, str>,
    /// The value, which may be infinite or no number.
    pub value: f64,
}

/// Returns the samples of a page in their order, and `None` for each line that should be one and is
/// not. A page ends at `# EOF`, where it has that.
pub fn samples(page: &str) -> impl Iterator<Item = Option<Sample<'_>>> {
    lines(page).map(sample)
}

/// Returns the lines of a page that are to be samples, in their order.
pub(super) fn lines(page: &str) -> impl Iterator<Item = &str> {
    let lines = page.lines().map(str::trim);
    let lines = lines.take_while(|line| *line != "# EOF");
    lines.filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// Reads a line such as `http_requests_total{code="200"} 3 1395066363000 # {trace_id="a"} 1`.
pub(super) fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|letter| !is_of_name(letter));
    let (name, rest) = line.split_at(end.unwrap_or(line.len()));
    let (labels, name, rest) = match rest.trim_start().strip_prefix('{') {
        Some(inside) => {
            let found = labels(inside)?;
            // Names beyond ASCII stand in quotes between the braces.
            let name = found.name.filter(|_| name.is_empty()).unwrap_or(name);
            (found.text, name, found.rest)
        }
        None => (Cow::Borrowed(""), name, rest),
    };
    let is_name = !name.is_empty() && !name.starts_with(|letter: char| letter.is_ascii_digit());
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    let rest = words.next().filter(|word| !word.starts_with('#'));
    if let Some(time) = rest {
        time.parse::<f64>().ok()?;
        let has_more = words.next().is_some_and(|word| !word.starts_with('#'));
        if has_more {
            return None;
        }
    }
    is_name.then_some(Sample {
        name,
        labels,
        value,
    })
}

fn is_of_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
}

/// What stands between braces.
struct Labels<'a> {
    text: Cow<'a, str>,
    /// A name of the metric that stands there, in quotes and without a value.
    name: Option<&'a str>,
    /// What follows the closing brace.
    rest: &'a str,
}

/// Reads labels up to the brace that closes them.
fn labels(inside: &str) -> Option<Labels<'_>> {
    let mut text = String::new();
    let mut name = None;
    let mut rest = inside.trim_start();
    while !rest.starts_with('}') {
        let (key, is_quoted, after) = match rest.strip_prefix('"') {
            Some(quoted) => in_quotes(quoted).map(|(key, after)| (key, true, after))?,
            None => {
                let end = rest.find(|letter| !is_of_name(letter))?;
                let (key, after) = rest.split_at(end);
                (key, false, after)
            }
        };
        rest = after.trim_start();
        if let Some(after) = rest.strip_prefix('=') {
            let (value, after) = in_quotes(after.trim_start().strip_prefix('"')?)?;
            if key.is_empty() {
                return None;
            }
            let quote = if is_quoted { "\"" } else { "" };
            let comma = if text.is_empty() { "" } else { "," };
            for part in [comma, quote, key, quote, "=\"", value, "\""] {
                text.push_str(part);
            }
            rest = after.trim_start();
        } else if is_quoted && name.is_none() {
            name = Some(key);
        } else {
            return None;
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
    let whole = inside.get(..inside.len() - rest.len()).unwrap_or_default();
    let text = match whole == text {
        true => Cow::Borrowed(whole),
        false => Cow::Owned(text),
    };
    let rest = rest.get(1..).unwrap_or_default();
    Some(Labels { text, name, rest })
}

/// Splits what follows a quote into what stands in the quotes, with its escapes, and what follows.
fn in_quotes(text: &str) -> Option<(&str, &str)> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The samples of a page, spelled, and the number of lines that are none.
    fn read(page: &str) -> (Vec<String>, usize) {
        let found: Vec<_> = samples(page).collect();
        let strays = found.iter().filter(|sample| sample.is_none()).count();
        let spelled = found.into_iter().flatten().map(|sample| {
            let Sample {
                name,
                labels,
                value,
            } = sample;
            format!("{name}|{labels}|{value}")
        });
        (spelled.collect(), strays)
    }

    #[test]
    fn reads_samples_with_and_without_labels() {
        let page = "# HELP vllm:num_requests_running Number of requests.\n\
            # TYPE vllm:num_requests_running gauge\n\
            vllm:num_requests_running{engine=\"0\",model_name=\"a/b\"} 3.0\n\
            llamacpp:requests_processing 2\r\n\
            \n\
            spaced { a = \"1\" , b=\"2\", }   7 \n\
            bare\t5\n\
            vllm:request_success_total{finished_reason=\"stop\"} 1.5e3\n";
        let expected = [
            "vllm:num_requests_running|engine=\"0\",model_name=\"a/b\"|3",
            "llamacpp:requests_processing||2",
            "spaced|a=\"1\",b=\"2\"|7",
            "bare||5",
            "vllm:request_success_total|finished_reason=\"stop\"|1500",
        ];
        assert_eq!(read(page), (expected.map(str::to_owned).to_vec(), 0));
    }

    #[test]
    fn escapes_in_values_stay_as_they_are_written() {
        let page = r#"m{path="C:\\DIR\\",said="a \"b\" {c}, d=\n"} 1"#;
        assert_eq!(
            read(page).0,
            [r#"m|path="C:\\DIR\\",said="a \"b\" {c}, d=\n"|1"#]
        );
    }

    #[test]
    fn reads_all_that_a_number_can_be() {
        let page = "a NaN\nb +Inf\nc -Inf\nd -0.5\ne 1e-3\nf 9223372036854775794";
        let found: Vec<f64> = samples(page).map(|it| it.unwrap().value).collect();
        assert_eq!(
            format!("{found:?}"),
            "[NaN, inf, -inf, -0.5, 0.001, 9.223372036854776e18]"
        );
    }

    #[test]
    fn times_exemplars_and_what_follows_the_end_are_left_out() {
        let page = "a 1 1395066363000\n\
            b_total{x=\"y\"} 2 1520879607.789 # {trace_id=\"KOO5S4vxi0o\"} 0.67\n\
            c_bucket{le=\"+Inf\"} 3 # {trace_id=\"q\"} 0.67 1520879607.789\n\
            # EOF\n\
            d 4\n";
        assert_eq!(
            read(page).0,
            ["a||1", "b_total|x=\"y\"|2", "c_bucket|le=\"+Inf\"|3"]
        );
    }

    #[test]
    fn names_beyond_ascii_stand_in_quotes() {
        let page = "{\"http.requests\", \"http.code\"=\"200\"} 3\n{\"alone\"} 1";
        assert_eq!(
            read(page).0,
            ["http.requests|\"http.code\"=\"200\"|3", "alone||1"]
        );
    }

    #[test]
    fn what_is_no_sample_is_told() {
        for line in [
            "<!doctype html>",
            "<p>in all 5",
            "{\"json\": true}",
            "name",
            "name{",
            "name{a} 1",
            "name{a=\"1\" b=\"2\"} 1",
            "name{=\"1\"} 1",
            "name{a=\"1} 1",
            "name{a=\"1\"}",
            "name one",
            "name 1 soon",
            "name 1 2 3",
            "9name 1",
            "{} 1",
        ] {
            assert_eq!(read(line), (Vec::new(), 1), "{line}");
        }
    }

    proptest! {
        #[test]
        fn no_page_makes_it_fail(page in "(?s).{0,200}") {
            samples(&page).count();
        }

        #[test]
        fn no_page_of_its_own_letters_makes_it_fail(page in "[a_:{}\",=\\\\ \n#0-9.N+-]{0,120}") {
            for sample in samples(&page).flatten() {
                prop_assert!(!sample.name.is_empty());
            }
        }

        #[test]
        fn what_is_written_is_read(
            name in "[a-z_:][a-z0-9_:]{0,20}",
            keys in proptest::collection::vec("[a-z_][a-z0-9_]{0,5}", 0..4),
            text in "[^\\\\\"\n\r\u{b}\u{c}\u{85}\u{2028}\u{2029}]{0,12}",
            value in -1e9_f64..1e9,
        ) {
            let labels: Vec<String> = keys.iter().map(|key| format!("{key}=\"{text}\"")).collect();
            let labels = labels.join(",");
            let page = format!("{name}{{{labels}}} {value}\n");
            let found: Vec<_> = samples(&page).collect();
            prop_assert_eq!(found, vec![Some(Sample { name: &name, labels: labels.into(), value })]);
        }
    }
}
