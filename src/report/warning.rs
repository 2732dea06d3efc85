//! One warning: what was seen, why it matters, what to do.

use serde::Serialize;

use super::language::said;

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Advice {
    /// What was seen.
    pub(crate) what: String,
    /// Why it matters.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) act: String,
}

/// Makes a warning of sentences; those that have no values are said in the report's language.
pub(super) fn warning(what: impl AsRef<str>, why: &str, act: &str) -> Advice {
    Advice {
        what: said(what.as_ref()),
        why: said(why),
        act: said(act),
    }
}
