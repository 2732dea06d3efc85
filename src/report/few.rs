//! What is said of a percentile that too few values stand behind.

use super::format;
use super::grid::{Field, Tone};
use super::language::said;

/// Said where a percentile has fewer values behind it than it needs.
pub(crate) const FEW: &str =
    "† fewer values than this percentile needs (at least one beyond it); it leans on the maximum.";

/// Tells whether `n` values have at least one beyond the percentile `share`.
pub(crate) fn carries(n: f64, share: f64) -> bool {
    n * (1.0 - share) >= 1.0 - 1e-6
}

/// Writes a percentile in milliseconds, marked where `n` is too small for it.
pub(crate) fn percentile(ns: Option<f64>, n: f64, share: f64) -> Field {
    let text = format::milliseconds(ns);
    if ns.is_some() && !carries(n, share) {
        return Field::plain(format!("†{text}")).toned(Tone::Faint);
    }
    Field::plain(text)
}

/// Returns the mark for a single number that too few values stand behind.
pub(crate) fn carries_note(value: Option<f64>, n: f64, share: f64) -> String {
    if value.is_some() && !carries(n, share) {
        said(" · † few values")
    } else {
        String::new()
    }
}
