//! Runs statements that a user typed, over the views of some tapes.

use std::path::PathBuf;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};

use super::views::keep;
use super::{Settings, SqlError, message, open_tapes};

/// What statements over some tapes came to.
#[derive(Debug)]
pub(crate) struct Answers {
    /// What has to be said about the tapes, such as a recovery: the run and a sentence.
    pub(crate) notes: Vec<(String, String)>,
    /// A result each: its batches, at least one, so that the columns are known also where there is
    /// no row; or what is wrong with a statement.
    pub(crate) results: Result<Vec<Vec<RecordBatch>>, SqlError>,
}

/// Runs every statement of `sql` (separated by `;`) over tapes. `queries` are names with their SQL
/// that the statements may read like views, each after those that it reads: they are run first.
/// `settings` has what they judge by.
///
/// Must run inside [`super::block_on`].
///
/// # Errors
///
/// Fails when a tape cannot be opened. A statement that is wrong or no query fails the results
/// alone, so that what was done to open the tapes is still told.
pub(crate) async fn run_sql(
    tapes: &[PathBuf],
    sql: &str,
    queries: &[(&str, &str)],
    settings: Settings,
) -> Result<Answers, SqlError> {
    let settings = Settings {
        keeps_results: !queries.is_empty(),
        ..settings
    };
    let row_limit = settings.row_limit;
    let tapes = open_tapes(tapes, &settings).await?;
    // Each is computed once: as a view it would be planned anew wherever it is read.
    for (name, sql) in queries {
        let plan = tapes.context.state().create_logical_plan(sql).await;
        let plan = plan.map_err(|error| refused(&error))?;
        keep(&tapes.context, name, plan)
            .await
            .map_err(|error| refused(&error))?;
    }
    let results = run_statements(&tapes.context, sql, row_limit).await;
    let notes = tapes
        .runs
        .into_iter()
        .flat_map(|tape| {
            tape.notes
                .into_iter()
                .map(move |note| (tape.run.clone(), note))
        })
        .collect();
    Ok(Answers { notes, results })
}

/// Runs every statement of `sql` in a session that is set up already, each for its first
/// `row_limit` rows.
///
/// # Errors
///
/// Fails at the first statement that is wrong or that is no query; none after it is run.
pub(crate) async fn run_statements(
    context: &SessionContext,
    sql: &str,
    row_limit: Option<usize>,
) -> Result<Vec<Vec<RecordBatch>>, SqlError> {
    ensure_shallow(sql)?;
    let statements = DFParser::parse_sql(sql).map_err(|error| refused(&error))?;
    if statements.is_empty() {
        return Err(SqlError::Statement {
            reason: "there is no statement".to_owned(),
        });
    }
    let mut results = Vec::with_capacity(statements.len());
    for statement in statements {
        results.push(run_statement(context, statement, row_limit).await?);
    }
    Ok(results)
}

/// Most operators of all statements together. An expression is as deep as it has operators in a
/// row, and the engine descends once per level: 8,000 overflow even the stack that it is given.
const MOST_OPERATORS: usize = 2_000;

/// Refuses text whose expressions could be too deep to be planned.
fn ensure_shallow(sql: &str) -> Result<(), SqlError> {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else {
        // The parser says better what is wrong.
        return Ok(());
    };
    let is_operator = |token: &&Token| match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::SIMILAR
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::CASE
                | Keyword::UNION
                | Keyword::EXCEPT
                | Keyword::INTERSECT
                | Keyword::JOIN
                | Keyword::SELECT
        ),
        Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::RParen
        | Token::Number(..)
        | Token::SingleQuotedString(_) => false,
        _ => true,
    };
    let operators = tokens.iter().filter(is_operator).count();
    if operators > MOST_OPERATORS {
        return Err(SqlError::Statement {
            reason: format!(
                "there are {operators} operators and parentheses, and at most {MOST_OPERATORS} can be planned"
            ),
        });
    }
    Ok(())
}

async fn run_statement(
    context: &SessionContext,
    statement: Statement,
    row_limit: Option<usize>,
) -> Result<Vec<RecordBatch>, SqlError> {
    let words = statement.to_string();
    let plan = context
        .state()
        .statement_to_plan(statement)
        .await
        .map_err(|error| refused(&error))?;
    let read_only = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    let is_query = !matches!(plan, LogicalPlan::Copy(_));
    if !is_query || read_only.verify_plan(&plan).is_err() {
        return Err(SqlError::NotAQuery {
            statement: words
                .split_whitespace()
                .take(4)
                .collect::<Vec<_>>()
                .join(" "),
        });
    }
    let plan = bounded(plan, row_limit).map_err(|error| refused(&error))?;
    collect(context, plan)
        .await
        .map_err(|error| refused(&error))
}

/// Ends a query after so many rows. What explains or describes is short, and has to be the root of
/// its plan.
fn bounded(plan: LogicalPlan, row_limit: Option<usize>) -> Result<LogicalPlan, DataFusionError> {
    let explains = matches!(
        plan,
        LogicalPlan::Explain(_) | LogicalPlan::Analyze(_) | LogicalPlan::DescribeTable(_)
    );
    match row_limit {
        Some(limit) if !explains => LogicalPlanBuilder::from(plan)
            .limit(0, Some(limit))?
            .build(),
        _ => Ok(plan),
    }
}

/// Runs a plan and returns its batches, at least one.
pub(crate) async fn collect(
    context: &SessionContext,
    plan: LogicalPlan,
) -> Result<Vec<RecordBatch>, DataFusionError> {
    let frame = context.execute_logical_plan(plan).await?;
    let schema = frame.schema().inner().clone();
    let mut batches = frame.collect().await?;
    if batches.is_empty() {
        batches.push(RecordBatch::new_empty(schema));
    }
    Ok(batches)
}

fn refused(error: &DataFusionError) -> SqlError {
    SqlError::Statement {
        reason: message(error),
    }
}

#[cfg(test)]
mod tests {
    use super::{RecordBatch, run_sql};
    use crate::sql::fixture::TapeFixture;
    use crate::sql::{Format, Settings, SqlError, block_on, format_batches};

    fn run(sql: &str) -> Result<Vec<String>, SqlError> {
        let folder = tempfile::tempdir().unwrap();
        let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
        block_on(async { run_sql(&[tape], sql, &[], Settings::default()).await })
            .unwrap()?
            .results?
            .iter()
            .map(|batches| format_batches(batches, Format::Csv))
            .collect()
    }

    #[test]
    fn runs_each_statement_in_turn() {
        let results = run("SELECT count(*) AS n FROM requests; SELECT run, status FROM requests WHERE request_id = 0;").unwrap();
        assert_eq!(results, ["n\n4\n", "run,status\nsmall,ok\n"]);
    }

    #[test]
    fn keeps_the_columns_of_an_empty_result() {
        assert_eq!(
            run("SELECT run, ttft_ns FROM requests WHERE false").unwrap(),
            ["run,ttft_ns\n"]
        );
    }

    #[test]
    fn puts_utc_beside_each_point_in_time() {
        let results = run("SELECT sent_ns, sent_utc FROM requests WHERE request_id = 0").unwrap();
        assert_eq!(
            results,
            ["sent_ns,sent_utc\n1000000,2026-11-22T00:00:00.001Z\n"]
        );
        let described = &run("DESCRIBE requests").unwrap()[0];
        for column in ["intended_utc", "first_token_utc", "end_utc"] {
            assert!(described.contains(column), "{described}");
        }
    }

    #[test]
    fn says_what_is_wrong_and_what_there_is() {
        let error = run("SELECT nonsense FROM requests").unwrap_err();
        assert!(
            error.to_string().starts_with("No field named nonsense"),
            "{error}"
        );
        assert!(error.hint().unwrap().contains("server_metrics"));
        let error = run("SELEC 1").unwrap_err();
        assert!(error.to_string().contains("SELEC"), "{error}");
        let error = run("SELECT * FROM request").unwrap_err();
        assert!(error.to_string().contains("request"), "{error}");
        assert!(run(" ").is_err());
    }

    #[test]
    fn ends_a_result_where_it_is_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
        let settings = Settings {
            row_limit: Some(2),
            ..Settings::default()
        };
        let sql = "SELECT request_id FROM requests ORDER BY 1 DESC; DESCRIBE runs; EXPLAIN SELECT 1; \
                   SELECT 1 AS one LIMIT 1";
        let answers = block_on(async { run_sql(&[tape], sql, &[], settings).await });
        let results = answers.unwrap().unwrap().results.unwrap();
        let rows = |batches: &[RecordBatch]| -> usize {
            let rows = batches.iter();
            rows.map(RecordBatch::num_rows).sum()
        };
        let [ordered, described, explained, one] = results.as_slice() else {
            panic!("four results");
        };
        assert_eq!((rows(ordered), rows(one)), (2, 1));
        assert!(rows(described) > 2 && rows(explained) == 2);
    }

    #[test]
    fn an_expression_that_is_too_deep_is_refused_and_no_overflow() {
        let sum = |terms: usize| format!("SELECT {} AS total", vec!["1"; terms].join(" + "));
        assert_eq!(run(&sum(700)).unwrap(), ["total\n700\n"]);
        for sql in [
            sum(8_000),
            format!("SELECT {}", vec!["true"; 9_000].join(" AND ")),
            format!("SELECT {}1", "NOT ".repeat(9_000)),
            format!("SELECT {}1{}", "(".repeat(9_000), ")".repeat(9_000)),
            vec!["SELECT 1"; 4_000].join(" UNION ALL "),
            format!("SELECT {}", vec!["'a'"; 9_000].join(" || ")),
            format!("SELECT {}1", "- ".repeat(9_000)),
            format!("SELECT {}1{}", "abs(".repeat(9_000), ")".repeat(9_000)),
            format!("SELECT 1{}", "::int".repeat(9_000)),
            format!(
                "SELECT {}1{}",
                "CASE WHEN true THEN ".repeat(5_000),
                " END".repeat(5_000)
            ),
        ] {
            let error = run(&sql).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("operators"), "{}: {text}", &sql[..40]);
        }
        // A long list is no deep expression.
        let list = (0..5_000)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(", ");
        let found = run(&format!(
            "SELECT count(*) AS n FROM requests WHERE request_id IN ({list})"
        ));
        assert_eq!(found.unwrap(), ["n\n4\n"]);
    }

    #[test]
    fn refuses_what_would_change_something() {
        for sql in [
            "CREATE TABLE t AS SELECT 1",
            "DROP VIEW requests",
            "COPY (SELECT 1) TO 'out.csv'",
            "SET datafusion.execution.batch_size = 1",
        ] {
            let error = run(sql).unwrap_err();
            assert!(
                matches!(error, SqlError::NotAQuery { .. }),
                "{sql}: {error}"
            );
        }
    }
}
