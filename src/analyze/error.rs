//! What can go wrong in an analysis.

use thiserror::Error;

use super::{DEFINITIONS, SLO_METRICS};
use crate::sql::{SqlError, is_out_of_memory};

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
    /// Tells whether the command line is at fault, and not a file.
    pub(crate) fn is_usage(&self) -> bool {
        match self {
            Self::Sql(error) => error.is_usage(),
            Self::UnknownGoal { .. } | Self::UnknownDefinition { .. } => true,
            Self::Repeated { .. } => false,
            Self::Query { reason, .. } => is_out_of_memory(reason),
        }
    }

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
            Self::Query { reason, .. } if is_out_of_memory(reason) => Some(
                "give `tokentape analyze` more by `--memory-limit`, or fewer tapes at once"
                    .to_owned(),
            ),
            Self::Query { .. } => Some(
                "check that the tape's Parquet files are whole: `tokentape sql TAPE -c 'SELECT * FROM chunks LIMIT 1'`"
                    .to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::analyze::{Options, analyze};
    use crate::runtime::block_on;
    use crate::sql::fixture::TapeFixture;

    #[test]
    fn an_analysis_that_lacks_memory_names_the_flag() {
        let folder = tempfile::tempdir().unwrap();
        let tapes = [TapeFixture::small().write(&folder.path().join("t.tape"))];
        for bytes in [1, 1 << 10, 1 << 15] {
            let options = Options {
                memory_bytes: Some(bytes),
                ..Options::default()
            };
            let error = block_on(async { analyze(&tapes, &options).await });
            let error = error.unwrap().unwrap_err();
            let hint = error.hint().unwrap_or_default();
            assert!(error.is_usage(), "{bytes}: {error}");
            assert!(
                error
                    .to_string()
                    .ends_with("it takes more memory than it may"),
                "{bytes}: {error}"
            );
            assert!(hint.contains("`--memory-limit`"), "{bytes}: {hint}");
        }
    }
}
