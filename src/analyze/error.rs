//! What can go wrong in an analysis.

use thiserror::Error;

use super::{DEFINITIONS, SLO_METRICS};
use crate::sql::SqlError;

/// An analysis that could not be made.
#[derive(Debug, Error)]
pub enum AnalyzeError {
    /// A tape could not be opened.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// A goal names a latency that goals cannot be set on.
    #[error("a goal cannot be set on `{metric}`")]
    UnknownGoal {
        /// The name as it was given.
        metric: String,
    },
    /// A definition was asked for that there is not.
    #[error("there is no definition `{name}`")]
    UnknownDefinition {
        /// The name as it was given.
        name: String,
    },
    /// A tape has an attempt of a request twice, so that its chunks belong to nobody.
    #[error("the tape `{run}` has attempt {attempt} of request {request_id} in {times} rows")]
    Repeated {
        /// Name of the run.
        run: String,
        /// The first such request.
        request_id: i64,
        /// Its attempt.
        attempt: i64,
        /// How often it is there.
        times: i64,
    },
    /// A query of the catalogue did not run.
    #[error("could not run the query `{query}`: {reason}")]
    Query {
        /// Name of the query.
        query: &'static str,
        /// What the engine says.
        reason: String,
    },
}

impl AnalyzeError {
    /// Returns what to do about it, as an imperative.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Sql(error) => error.hint(),
            Self::UnknownGoal { .. } => Some(format!("use one of {}", SLO_METRICS.join(", "))),
            Self::UnknownDefinition { .. } => {
                let names: Vec<_> = DEFINITIONS.iter().map(|query| query.name).collect();
                Some(format!("use all, or some of {}", names.join(", ")))
            }
            Self::Repeated { .. } => Some(
                "take out of the tape's folder what was copied into it: a file of `requests` that \
                 is there under two names, or those of another tape"
                    .to_owned(),
            ),
            Self::Query { .. } => Some(
                "check that the tape's Parquet files are whole: `tokentape sql TAPE -c 'SELECT * FROM chunks LIMIT 1'`"
                    .to_owned(),
            ),
        }
    }
}
