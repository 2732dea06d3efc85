//! Percentiles that the shipped query has no column for: they are put into its SQL.

use std::fmt;

/// The percentiles that `latency_percentiles` has by itself.
const SHIPPED: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];

/// Where columns of percentiles end in the query.
const BEFORE: &str = "    max(value_ns) AS max_ns\n";

/// A percentile by the name that its column and its keys have: `p25`, `p97_5`, and `p999` for the
/// 99.9th.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Percentile {
    /// From 0 to 100.
    percent: f64,
}

impl Percentile {
    /// Returns `None` for what is not between 0 and 100.
    pub fn new(percent: f64) -> Option<Self> {
        // A minus sign before 0 would be in the name.
        (0.0..=100.0).contains(&percent).then_some(Self {
            percent: percent.abs(),
        })
    }

    /// Reads a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let digits = name.strip_prefix('p')?;
        if digits == "999" {
            return Self::new(99.9);
        }
        let is_plain =
            |text: &str| !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_digit());
        let (whole, part) = digits.split_once('_').unwrap_or((digits, "0"));
        if !is_plain(whole) || !is_plain(part) {
            return None;
        }
        let found = Self::new(format!("{whole}.{part}").parse().ok()?)?;
        // One name a percentile: `p099` and `p99_9` are none.
        (found.to_string() == name).then_some(found)
    }

    /// Returns the percentile, from 0 to 100.
    pub fn percent(self) -> f64 {
        self.percent
    }

    /// Returns the percentile as a share, from 0 to 1.
    pub fn share(self) -> f64 {
        self.percent / 100.0
    }

    /// Returns the name of its column.
    pub fn column(self) -> String {
        format!("{self}_ns")
    }

    fn is(self, percent: f64) -> bool {
        (self.percent - percent).abs() < f64::EPSILON
    }
}

impl fmt::Display for Percentile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is(99.9) {
            return formatter.write_str("p999");
        }
        write!(formatter, "p{}", self.percent.to_string().replace('.', "_"))
    }
}

/// Adds columns for those of `asked` that the query `latency_percentiles` lacks.
pub(super) fn with_percentiles(sql: &str, asked: &[Percentile]) -> String {
    let mut columns: Vec<String> = Vec::new();
    for one in asked {
        let column = format!(
            "    percentile_cont({}) WITHIN GROUP (ORDER BY value_ns) AS {},\n",
            one.share(),
            one.column()
        );
        let is_shipped = SHIPPED.into_iter().any(|percent| one.is(percent));
        if !is_shipped && !columns.contains(&column) {
            columns.push(column);
        }
    }
    sql.replacen(BEFORE, &format!("{}{BEFORE}", columns.concat()), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analyze::shown;

    #[test]
    fn a_percentile_has_one_name_that_reads_back() {
        for (percent, name) in [
            (0.0, "p0"),
            (-0.0, "p0"),
            (25.0, "p25"),
            (9.99, "p9_99"),
            (97.5, "p97_5"),
            (99.9, "p999"),
            (100.0, "p100"),
        ] {
            let one = Percentile::new(percent).unwrap();
            assert_eq!(one.to_string(), name);
            assert_eq!(Percentile::named(name), Some(one));
        }
        for name in [
            "", "p", "x5", "p101", "p777", "p99_9", "p05", "p5_", "p-1", "p5_0",
        ] {
            assert_eq!(Percentile::named(name), None, "{name}");
        }
        assert_eq!(Percentile::new(f64::NAN), None);
        assert_eq!(Percentile::new(100.1), None);
    }

    #[test]
    fn only_what_the_query_lacks_is_put_into_it() {
        let sql = shown("latency_percentiles").unwrap();
        let asked = |percents: &[f64]| {
            let all: Vec<_> = percents
                .iter()
                .filter_map(|one| Percentile::new(*one))
                .collect();
            with_percentiles(sql, &all)
        };
        assert_eq!(asked(&[50.0, 99.9]), sql);
        let more = asked(&[25.0, 99.0, 25.0]);
        assert_eq!(more.matches(" AS p25_ns,").count(), 1);
        assert_eq!(more.matches("percentile_cont(0.25)").count(), 1);
    }
}
