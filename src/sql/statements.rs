//! Runs statements that a user typed, in a session that is set up already.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::{DFParser, Statement};
use datafusion::sql::resolve::resolve_table_references;

use super::door;
use super::error::{SqlError, refused};
use super::format::{self, Format};
use crate::runtime::STACK_BYTES;

/// Longest that a text may take to be parsed; one of 1 MiB takes a small part of it.
const PARSE_TIME: Duration = Duration::from_secs(2);

/// Statements that have been understood.
#[derive(Debug)]
pub(super) struct Statements(Vec<Statement>);

impl Statements {
    /// Parses statements that are separated by `;`.
    ///
    /// # Errors
    ///
    /// Fails where there is none, or one that is no SQL or too much of it.
    pub(super) fn parse(sql: &str) -> Result<Self, SqlError> {
        door::check(sql)?;
        let statements = parsed(sql)?;
        if statements.is_empty() {
            return Err(SqlError::Statement {
                reason: "there is no statement".to_owned(),
            });
        }
        Ok(Self(statements.into()))
    }

    /// Returns the names of the relations that the statements read.
    ///
    /// # Errors
    ///
    /// Fails where a name can't be one of a relation.
    pub(super) fn relations(&self) -> Result<Vec<String>, SqlError> {
        let mut names = Vec::new();
        for statement in &self.0 {
            let (relations, _) =
                resolve_table_references(statement, true).map_err(|error| refused(&error))?;
            names.extend(relations.iter().map(|relation| relation.table().to_owned()));
        }
        Ok(names)
    }

    /// Runs every statement and writes its result, each for its first `row_limit` rows.
    ///
    /// # Errors
    ///
    /// Fails where a statement is wrong or no query, before any is run, and at the first that fails.
    pub(super) async fn run(
        self,
        context: &SessionContext,
        row_limit: Option<usize>,
        format: Format,
        out: &mut (dyn Write + Send),
    ) -> Result<(), SqlError> {
        let mut plans = Vec::with_capacity(self.0.len());
        for statement in self.0 {
            plans.push(planned(context, statement, row_limit).await?);
        }
        for plan in plans {
            let rows = context.execute_logical_plan(plan).await;
            let rows = rows
                .map_err(|error| refused(&error))?
                .execute_stream()
                .await;
            let mut rows = rows.map_err(|error| refused(&error))?;
            format::write_rows(&mut rows, format, out).await?;
        }
        Ok(())
    }
}

/// Parses on a thread that is left behind where it does not come to an end: at a mistake inside of
/// many parentheses the parser tries every alternative on its way out, twice as many with each
/// pair. A process that answers ends with its answer, and takes the thread along.
fn parsed(sql: &str) -> Result<VecDeque<Statement>, SqlError> {
    let (sender, receiver) = sync_channel(1);
    let text = sql.to_owned();
    let thread = thread::Builder::new()
        .name("sql-parser".into())
        .stack_size(STACK_BYTES)
        .spawn(move || {
            // Whoever waited may have given up.
            let _ = sender.send(DFParser::parse_sql(&text));
        });
    thread.map_err(|source| SqlError::System {
        verb: "start a thread that parses",
        source,
    })?;
    match receiver.recv_timeout(PARSE_TIME) {
        Ok(parsed) => parsed.map_err(|error| refused(&error)),
        Err(_) => Err(SqlError::TooDeep {
            reason: format!(
                "the statement was not parsed within {} s",
                PARSE_TIME.as_secs()
            ),
        }),
    }
}

/// Returns how many statements a text has, where it is understood.
///
/// # Errors
///
/// Says what is wrong with it, or what there is too much of.
pub fn understood(sql: &str) -> Result<usize, SqlError> {
    let statements = Statements::parse(sql)?;
    statements.relations()?;
    Ok(statements.0.len())
}

/// Plans a statement that only reads.
async fn planned(
    context: &SessionContext,
    statement: Statement,
    row_limit: Option<usize>,
) -> Result<LogicalPlan, SqlError> {
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
    bounded(plan, row_limit).map_err(|error| refused(&error))
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

#[cfg(test)]
mod tests {
    use super::{RecordBatch, Statements};
    use crate::runtime::block_on;
    use crate::sql::fixture::TapeFixture;
    use crate::sql::{Format, Question, SqlError, answer, results_of};

    fn answered(question: &Question) -> Result<Vec<u8>, SqlError> {
        let folder = tempfile::tempdir().unwrap();
        let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
        let mut out = Vec::new();
        let told = |_: &str, _: &str| {};
        block_on(answer(&[tape], question, &|_| Vec::new(), told, &mut out)).unwrap()?;
        Ok(out)
    }

    fn run(sql: &str) -> Result<String, SqlError> {
        let out = answered(&Question::new(sql, Format::Csv))?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn runs_each_statement_in_turn() {
        let results = run("SELECT count(*) AS n FROM requests; SELECT run, status FROM requests WHERE request_id = 0;").unwrap();
        assert_eq!(results, "n\n4\nrun,status\nsmall,ok\n");
    }

    #[test]
    fn runs_none_where_one_is_no_query() {
        let folder = tempfile::tempdir().unwrap();
        let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
        for wrong in [
            "COPY (SELECT 1) TO 'x.csv'",
            "SELECT nonsense FROM requests",
        ] {
            let question = Question::new(&format!("SELECT 1; {wrong}"), Format::Csv);
            let mut out = Vec::new();
            let tapes = [tape.clone()];
            let answered = answer(&tapes, &question, &|_| Vec::new(), |_, _| {}, &mut out);
            assert!(block_on(answered).unwrap().is_err(), "{wrong}");
            assert!(out.is_empty(), "{wrong}");
        }
    }

    #[test]
    fn keeps_the_columns_of_an_empty_result() {
        assert_eq!(
            run("SELECT run, ttft_ns FROM requests WHERE false").unwrap(),
            "run,ttft_ns\n"
        );
    }

    #[test]
    fn puts_utc_beside_each_point_in_time() {
        let results = run("SELECT sent_ns, sent_utc FROM requests WHERE request_id = 0").unwrap();
        assert_eq!(
            results,
            "sent_ns,sent_utc\n1000000,2026-11-22T00:00:00.001Z\n"
        );
        let described = run("DESCRIBE requests").unwrap();
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
        assert_eq!(error.hint(), None);
        let error = run("SELECT * FROM request").unwrap_err();
        assert!(error.to_string().contains("request"), "{error}");
        assert!(error.hint().unwrap().contains("server_metrics"));
        // No view helps against these.
        for sql in ["SELECT 1 / 0", "SELECT CAST('x' AS INT)", "SELECT nofn(1)"] {
            assert_eq!(run(sql).unwrap_err().hint(), None, "{sql}");
        }
        assert!(run(" ").is_err());
    }

    #[test]
    fn ends_a_result_where_it_is_told_to() {
        let sql = "SELECT request_id FROM requests ORDER BY 1 DESC; DESCRIBE runs; EXPLAIN SELECT 1; \
                   SELECT 1 AS one LIMIT 1";
        let mut question = Question::new(sql, Format::Arrow);
        question.settings.row_limit = Some(2);
        let results = results_of(&answered(&question).unwrap()).unwrap();
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
        assert_eq!(run(&sum(700)).unwrap(), "total\n700\n");
        let error = run(&sum(8_000)).unwrap_err();
        assert!(error.to_string().contains("levels"), "{error}");
        // A long list is no deep expression.
        let list = |sign: &str| {
            let list = (0..5_000).map(|n| format!("{sign}{n}"));
            list.collect::<Vec<_>>().join(", ")
        };
        for (sign, count) in [("", 4), ("-", 1)] {
            let list = list(sign);
            let found = run(&format!(
                "SELECT count(*) AS n FROM requests WHERE request_id IN ({list})"
            ));
            assert_eq!(found.unwrap(), format!("n\n{count}\n"));
        }
    }

    #[test]
    fn only_relations_that_are_read_have_names() {
        let names = |sql| Statements::parse(sql).unwrap().relations().unwrap();
        assert_eq!(
            names("SELECT 1 AS cost, goodput FROM requests"),
            ["requests"]
        );
        assert_eq!(names("-- of goodput\nSELECT 'goodput'"), [""; 0]);
        assert_eq!(names("WITH cost AS (SELECT 1) SELECT * FROM cost"), [""; 0]);
        assert_eq!(
            names("SELECT cost FROM COST; SELECT (SELECT max(n) FROM stalls) FROM jitter"),
            ["cost", "jitter", "stalls"]
        );
        assert_eq!(names("DESCRIBE goodput"), ["goodput"]);
        assert_eq!(names("EXPLAIN SELECT * FROM stalls"), ["stalls"]);
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
