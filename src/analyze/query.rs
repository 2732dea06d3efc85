//! One query: a SQL file, and what its header says of it.

use crate::sql::{Definition, Header};

/// One query of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What it is about, with others.
    pub group: &'static str,
    /// Name of the file without its ending, and of the result.
    pub name: &'static str,
    /// What it answers, in one line.
    pub purpose: String,
    /// Relations that it reads.
    pub input: Vec<String>,
    /// Names of its columns in order, each with its unit where it has one.
    pub columns: Vec<(String, Option<String>)>,
    /// What a reader must know besides, a sentence each.
    pub notes: Vec<String>,
    /// The metrics that it defines.
    pub defines: Vec<Definition>,
    /// The whole file.
    pub sql: &'static str,
    /// Answered only where it is asked for by name: it means nothing for most tapes.
    pub is_on_request: bool,
}

/// Makes a query of a file and its header.
pub(super) fn read(
    group: &'static str,
    (name, sql): (&'static str, &'static str),
    is_on_request: bool,
) -> Query {
    let header = parsed(sql);
    Query {
        group,
        name,
        purpose: header.purpose,
        input: header.input,
        columns: header.columns,
        notes: header.notes,
        defines: header.defines,
        sql,
        is_on_request,
    }
}

/// Reads the header of a file of this build.
pub(super) fn parsed(sql: &str) -> Header {
    Header::parse(sql).expect("the tests parse every header of this build")
}
