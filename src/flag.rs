//! Flags of data sets and schedules: the stage that reads them declares them, the command line offers
//! them, and the plan keeps their values under the same names.

use serde_json::{Map, Value};

/// A flag `--NAME VALUE`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Flag {
    /// Its name, without the dashes. A plan has it with underscores.
    pub name: &'static str,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// What values it takes.
    pub kind: FlagKind,
    /// What it is where it is not given.
    pub default: Option<&'static str>,
}

/// What values a flag takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagKind {
    /// A whole number from here to 4,294,967,295.
    Count(u32),
    /// A length in tokens from 1, or -1 for that of each record.
    Length,
    /// A number.
    Number,
    /// Words that the stage reads itself.
    Text,
}

impl Flag {
    /// Its name in a plan.
    pub fn key(&self) -> String {
        self.name.replace('-', "_")
    }

    /// Reads a value as a plan keeps it.
    ///
    /// # Errors
    ///
    /// Why the value can't be one of this flag.
    pub fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            FlagKind::Count(least) => match text.parse::<u32>() {
                Ok(count) if count >= least => Ok(count.into()),
                _ => Err(format!("write a whole number from {least} to {}", u32::MAX)),
            },
            FlagKind::Length => match text.parse::<i64>() {
                Ok(-1) => Ok((-1).into()),
                Ok(length) if (1..=i64::from(u32::MAX)).contains(&length) => Ok(length.into()),
                _ => Err(format!(
                    "write a whole number from 1 to {}, or -1 for the length that each record has",
                    u32::MAX
                )),
            },
            FlagKind::Number => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(number.into()),
                Ok(_) => Err("it is not finite".to_owned()),
                Err(error) => Err(error.to_string()),
            },
            FlagKind::Text => Ok(text.into()),
        }
    }
}

/// The values of flags that nobody gave.
pub fn defaults(flags: &[Flag]) -> Map<String, Value> {
    let value = |flag: &Flag| flag.read(flag.default?).ok();
    let values = flags
        .iter()
        .filter_map(|flag| Some((flag.key(), value(flag)?)));
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_below_1_is_refused_with_what_to_write() {
        let flag = |kind| Flag {
            name: "sharegpt-output-len",
            value_name: "TOKENS",
            help: "A length",
            kind,
            default: None,
        };
        for wrong in ["-1", "0", "1.5", "many", "4294967296"] {
            let why = flag(FlagKind::Count(1)).read(wrong).unwrap_err();
            assert_eq!(why, "write a whole number from 1 to 4294967295", "{wrong}");
        }
        for wrong in ["-2", "0", "1.5", "many", "4294967296"] {
            let why = flag(FlagKind::Length).read(wrong).unwrap_err();
            assert!(
                why.ends_with("or -1 for the length that each record has"),
                "{wrong}"
            );
        }
        assert_eq!(flag(FlagKind::Length).read("-1"), Ok((-1).into()));
    }
}
