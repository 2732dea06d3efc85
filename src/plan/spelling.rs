//! How values of a plan are written in JSON.

use std::path::{Path, PathBuf};

use serde::Serializer;

/// Writes a path as it is shown: its bytes need not be text.
pub(super) fn shown<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&path.to_string_lossy())
}

pub(super) fn shown_if_any<S: Serializer>(
    path: &Option<PathBuf>,
    to: S,
) -> Result<S::Ok, S::Error> {
    shown(path.as_deref().unwrap_or(Path::new("")), to)
}

/// Nanoseconds that are written as seconds.
pub(super) mod seconds {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(in crate::plan) fn serialize<S: Serializer>(
        ns: &Option<i64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        ns.map(crate::units::seconds).serialize(to)
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "a cast from a float saturates, and what is no time is refused where it is used"
    )]
    pub(in crate::plan) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<i64>, D::Error> {
        let seconds: Option<f64> = Option::deserialize(from)?;
        Ok(seconds.map(|seconds| (seconds * 1e9).round() as i64))
    }
}

/// A rate, which JSON has no number for where it is infinite.
pub(super) mod rate {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Rate {
        Number(f64),
        Word(Infinite),
    }

    #[derive(Serialize, Deserialize)]
    enum Infinite {
        #[serde(rename = "inf")]
        Infinite,
    }

    pub(in crate::plan) fn serialize<S: Serializer>(
        rate: &Option<f64>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        let rate = rate.map(|rate| match rate.is_finite() {
            true => Rate::Number(rate),
            false => Rate::Word(Infinite::Infinite),
        });
        rate.serialize(to)
    }

    pub(in crate::plan) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<f64>, D::Error> {
        let rate: Option<Rate> = Option::deserialize(from)?;
        Ok(rate.map(|rate| match rate {
            Rate::Number(rate) => rate,
            Rate::Word(Infinite::Infinite) => f64::INFINITY,
        }))
    }
}
