//! Everything about rows but their times, in the order of the file.

use crate::trace::row::TraceRow;

use super::names::{NameFacts, Names};
use super::sessions::{SESSIONS_MAX, SessionFacts, Sessions};
use super::tally::{Distribution, Tally};
use crate::trace::prefixes::{BLOCKS_MAX, PrefixFacts, Prefixes};

/// Different lengths that are told apart; no prompt is longer today.
const DIFFERENT_LENGTHS_MAX: usize = 1 << 20;
/// Different think times that are told apart.
const DIFFERENT_PAUSES_MAX: usize = 1 << 16;

/// Follows rows in the order of the file.
#[derive(Debug)]
pub(super) struct Contents {
    rows: u64,
    failed: u64,
    input_tokens: Tally,
    output_tokens: Tally,
    think_ns: Tally,
    sessions: Sessions,
    rows_without_session: u64,
    prefixes: Prefixes,
    models: Names,
    classes: Names,
}

/// What rows hold, rows that the trace marks as failed among them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ContentFacts {
    /// Number of rows.
    pub(crate) rows: u64,
    /// Rows that the trace marks as failed.
    pub(crate) failed: u64,
    /// Lengths of prompts, in tokens; none without rows.
    pub(crate) input_tokens: Option<Distribution>,
    /// Lengths of answers, in tokens; none without rows.
    pub(crate) output_tokens: Option<Distribution>,
    /// Pauses since the previous reply, in nanoseconds; none where no row has one.
    pub(crate) think_ns: Option<Distribution>,
    /// Sessions and their turns.
    pub(crate) sessions: SessionFacts,
    /// Rows that belong to no session.
    pub(crate) rows_without_session: u64,
    /// Prefix blocks.
    pub(crate) prefixes: PrefixFacts,
    /// Rows by model, where they have one.
    pub(crate) models: NameFacts,
    /// Rows by class, where they have one.
    pub(crate) classes: NameFacts,
}

impl Contents {
    /// Returns what has seen no row.
    pub(super) fn new() -> Self {
        Self {
            rows: 0,
            failed: 0,
            input_tokens: Tally::new(DIFFERENT_LENGTHS_MAX),
            output_tokens: Tally::new(DIFFERENT_LENGTHS_MAX),
            think_ns: Tally::new(DIFFERENT_PAUSES_MAX),
            sessions: Sessions::new(SESSIONS_MAX),
            rows_without_session: 0,
            prefixes: Prefixes::new(BLOCKS_MAX),
            models: Names::default(),
            classes: Names::default(),
        }
    }

    /// Takes the next row of the file.
    pub(super) fn add(&mut self, row: &TraceRow) {
        self.rows += 1;
        self.failed += u64::from(row.failed);
        // Where the trace brings the text, it may not say how long that is.
        if row.input_tokens > 0 || row.text.is_none() {
            self.input_tokens.add(row.input_tokens.into());
        }
        self.output_tokens.add(row.output_tokens.into());
        if let Some(think_ns) = row.think_ns {
            // No mapping lets a pause below zero through.
            self.think_ns.add(u64::try_from(think_ns).unwrap_or(0));
        }
        match &row.session_id {
            Some(session) => self.sessions.add(session),
            None => self.rows_without_session += 1,
        }
        self.prefixes.add(row);
        if let Some(model) = &row.model {
            self.models.add(model);
        }
        if let Some(class) = &row.class {
            self.classes.add(class);
        }
    }

    /// Returns what was found.
    pub(super) fn facts(&self) -> ContentFacts {
        ContentFacts {
            rows: self.rows,
            failed: self.failed,
            input_tokens: self.input_tokens.distribution(),
            output_tokens: self.output_tokens.distribution(),
            think_ns: self.think_ns.distribution(),
            sessions: self.sessions.facts(),
            rows_without_session: self.rows_without_session,
            prefixes: self.prefixes.facts(),
            models: self.models.facts(),
            classes: self.classes.facts(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Contents;
    use crate::trace::TraceRow;
    use crate::trace::inspect::fixture::row;

    #[test]
    fn failed_rows_count_in_the_lengths() {
        let mut contents = Contents::new();
        contents.add(&TraceRow {
            input_tokens: 100,
            output_tokens: 3,
            ..row(0)
        });
        contents.add(&TraceRow {
            input_tokens: 0,
            output_tokens: 0,
            failed: true,
            ..row(1)
        });
        let found = contents.facts();
        assert_eq!((found.rows, found.failed), (2, 1));
        assert!((found.input_tokens.unwrap().p50 - 50.0).abs() < 1e-12);
        assert_eq!(found.output_tokens.unwrap().max, 3);
    }

    #[test]
    fn pauses_sessions_models_and_classes_count_where_a_row_has_them() {
        let mut contents = Contents::new();
        contents.add(&row(0));
        contents.add(&TraceRow {
            session_id: Some("s".to_owned()),
            think_ns: Some(5),
            model: Some("m".to_owned()),
            class: Some("c".to_owned()),
            ..row(1)
        });
        let found = contents.facts();
        assert_eq!(found.think_ns.unwrap().n, 1);
        assert_eq!(found.sessions.sessions, 1);
        assert_eq!(found.rows_without_session, 1);
        assert_eq!(found.models.rows, [("m".to_owned(), 1)]);
        assert_eq!(found.classes.rows, [("c".to_owned(), 1)]);
    }

    #[test]
    fn nothing_has_no_lengths() {
        let found = Contents::new().facts();
        assert_eq!(found.rows, 0);
        assert!(found.input_tokens.is_none() && found.think_ns.is_none());
        assert_eq!(found.prefixes.hit_share(), None);
    }
}
