//! Answers a question over some tapes, result by result, as its rows come.

use std::io::Write;
use std::path::PathBuf;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ipc::reader::StreamReader;

use super::error::{SqlError, refused};
use super::question::Question;
use super::settings::Settings;
use super::statements::Statements;
use super::tapes::open_tapes;
use super::views::keep;

/// Returns the queries of the catalogue, with their SQL, that names of relations stand for, each
/// after those that it reads.
pub(crate) type Catalog<'a> = &'a (dyn Fn(&[String]) -> Vec<(&'static str, &'static str)> + Sync);

/// Answers every statement of a question into `out`. `told` hears what has to be said about the
/// tapes, such as a recovery: the run and a sentence.
///
/// No statement is run before all are understood. Must run inside [`crate::runtime::block_on`].
///
/// # Errors
///
/// Fails when a tape cannot be opened, at the first statement that is wrong or no query, and when
/// `out` does; what was written until then stays.
pub(crate) async fn answer(
    tapes: &[PathBuf],
    question: &Question,
    catalog: Catalog<'_>,
    mut told: impl FnMut(&str, &str) + Send,
    out: &mut (dyn Write + Send),
) -> Result<(), SqlError> {
    let statements = Statements::parse(&question.sql)?;
    let needed = catalog(&statements.relations()?);
    let settings = Settings {
        keeps_results: !needed.is_empty(),
        // The engine goes to disk, or gives up with a reason, before the system's limit is met.
        memory_bytes: Some(question.limits.memory_bytes / 4 * 3),
        ..question.settings.clone()
    };
    let tapes = open_tapes(tapes, &settings).await?;
    for tape in &tapes.runs {
        for note in &tape.notes {
            told(&tape.run, note);
        }
    }
    // Each is computed once: as a view it would be planned anew wherever it is read.
    for (name, sql) in needed {
        let plan = tapes.context.state().create_logical_plan(sql).await;
        let plan = plan.map_err(|error| refused(&error))?;
        keep(&tapes.context, name, plan)
            .await
            .map_err(|error| refused(&error))?;
    }
    let limit = settings.row_limit;
    statements
        .run(&tapes.context, limit, question.format, out)
        .await
}

/// Reads an answer in [`Format::Arrow`](super::format::Format::Arrow): the batches of each statement, at least one, so that the
/// columns are known also where there is no row.
///
/// # Errors
///
/// Fails when the bytes are no such answer.
pub(crate) fn results_of(mut bytes: &[u8]) -> Result<Vec<Vec<RecordBatch>>, ArrowError> {
    let mut results = Vec::new();
    while !bytes.is_empty() {
        let batches = StreamReader::try_new(&mut bytes, None)?;
        results.push(batches.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(results)
}
