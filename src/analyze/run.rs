//! Runs the catalogue over tapes.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use datafusion::prelude::SessionContext;

use super::cells::rows;
use super::definitions::table_name;
use super::recount::recount;
use super::{
    Analysis, AnalyzeError, CATALOG, Column, DEFINITIONS, Query, RunFacts, SLO_METRICS, Slo,
    SloFrom, Table, TokenCounter,
};
use crate::sql::{Goal, Recounts, Settings, Tapes, collect, keep, message, open_tapes};

/// The definition that is our own.
const OURS: &str = "tokentape";

/// What an analysis is asked for beside the tapes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// The goals that goodput is measured against; without any there is no goodput.
    pub slos: Vec<Slo>,
    /// Which form of a latency the goals apply to; by default from the intended time in an open
    /// loop and from the send time in a closed one.
    pub slo_from: Option<SloFrom>,
    /// Where the steady window may begin, in nanoseconds on each tape's own axis.
    pub warmup_ns: i64,
    /// Names of the queries to answer; empty answers all that are not on request.
    pub only: Vec<String>,
    /// How many ways the engine splits its work; 0 takes one per core.
    pub partitions: usize,
    /// Names of the definitions of others to answer beside our own, or `all`.
    pub definitions: Vec<String>,
    /// Counts kept texts anew, for definitions that tokenize.
    pub count_tokens: Option<TokenCounter>,
}

/// Answers the queries of the catalogue over the tapes.
///
/// Must run inside [`crate::sql::block_on`].
///
/// # Errors
///
/// Fails when a tape cannot be opened or read, and when a goal is set on an unknown latency. A
/// tape of which nothing is known is no error: its tables have nulls and zeros.
pub async fn analyze(tapes: &[PathBuf], options: &Options) -> Result<Analysis, AnalyzeError> {
    for slo in &options.slos {
        if !SLO_METRICS.contains(&slo.metric.as_str()) {
            return Err(AnalyzeError::UnknownGoal {
                metric: slo.metric.clone(),
            });
        }
    }
    let definitions = definitions(options)?;
    let recounts = match &options.count_tokens {
        Some(counter) if !definitions.is_empty() => recount(tapes, counter).await?,
        _ => Recounts::default(),
    };
    let settings = Settings {
        goals: options.slos.iter().map(goal).collect(),
        slo_from: options.slo_from,
        warmup_ns: options.warmup_ns,
        keeps_results: true,
        partitions: options.partitions,
        recounts,
    };
    let Tapes { context, runs } = open_tapes(tapes, &settings).await?;
    let mut tables = Vec::with_capacity(CATALOG.len());
    for query in CATALOG.iter() {
        let is_wanted = if options.only.is_empty() {
            !query.is_on_request
        } else {
            options.only.iter().any(|name| name == query.name)
        };
        let has_sense = query.name != "comparison" || runs.len() > 1;
        if is_wanted && has_sense {
            tables.push(answer(&context, query).await?);
        }
    }
    for query in definitions {
        tables.push(answer_definition(&context, query).await?);
    }
    Ok(Analysis {
        runs: runs
            .into_iter()
            .map(|tape| RunFacts {
                run: tape.run,
                manifest: tape.manifest,
                notes: tape.notes,
            })
            .collect(),
        tables,
        slos: options.slos.clone(),
        command: command(tapes, options),
    })
}

fn goal(slo: &Slo) -> Goal {
    Goal {
        metric: slo.metric.clone(),
        limit_ns: slo.limit_ns,
    }
}

/// Returns the definitions that were asked for, in their own order, and ours before them.
fn definitions(options: &Options) -> Result<Vec<&'static Query>, AnalyzeError> {
    let asked = &options.definitions;
    let is_known = |name: &String| {
        name == "all" || DEFINITIONS.iter().any(|query| query.name == name.as_str())
    };
    if let Some(name) = asked.iter().find(|name| !is_known(name)) {
        return Err(AnalyzeError::UnknownDefinition { name: name.clone() });
    }
    let is_asked = |query: &&Query| {
        let is_named = asked.iter().any(|name| name == "all" || name == query.name);
        is_named || !asked.is_empty() && query.name == OURS
    };
    Ok(DEFINITIONS.iter().filter(is_asked).collect())
}

/// Answers a definition. No query builds upon it, so its result is not kept.
async fn answer_definition(context: &SessionContext, query: &Query) -> Result<Table, AnalyzeError> {
    let batches = async {
        let plan = context.state().create_logical_plan(query.sql).await?;
        collect(context, plan).await
    };
    let table = tabulate(query, batches.await)?;
    Ok(Table {
        name: table_name(query.name),
        ..table
    })
}

/// Runs one query, and leaves its result in the session for the queries after it.
async fn answer(context: &SessionContext, query: &Query) -> Result<Table, AnalyzeError> {
    tabulate(query, run(context, query).await)
}

/// Makes a table of what a query gave.
fn tabulate(
    query: &Query,
    batches: Result<Vec<RecordBatch>, DataFusionError>,
) -> Result<Table, AnalyzeError> {
    let failed = |reason: String| AnalyzeError::Query {
        query: query.name,
        reason,
    };
    let batches = batches.map_err(|error| failed(message(&error)))?;
    // Names come from the answer itself, so that a header that lags behind is found.
    let unit = |name: &str| {
        let column = query.columns.iter().find(|(column, _)| column == name);
        column.and_then(|(_, unit)| unit.clone())
    };
    let columns = batches.first().map_or_else(Vec::new, |batch| {
        let schema = batch.schema();
        let names = schema.fields().iter().map(|field| field.name());
        names
            .map(|name| Column {
                name: name.clone(),
                unit: unit(name),
            })
            .collect()
    });
    let mut cells = Vec::new();
    for batch in &batches {
        cells.extend(rows(batch).map_err(|error| failed(error.to_string()))?);
    }
    Ok(Table {
        name: query.name.to_owned(),
        purpose: query.purpose.clone(),
        columns,
        rows: cells,
        sql: query.sql.to_owned(),
    })
}

async fn run(context: &SessionContext, query: &Query) -> Result<Vec<RecordBatch>, DataFusionError> {
    let plan = context.state().create_logical_plan(query.sql).await?;
    keep(context, query.name, plan).await
}

/// Spells the command that makes the same analysis again.
fn command(tapes: &[PathBuf], options: &Options) -> String {
    let mut words = vec!["tokentape analyze".to_owned()];
    words.extend(tapes.iter().map(|tape| quoted(tape)));
    if !options.slos.is_empty() {
        words.push("--goodput".to_owned());
        words.extend(
            options
                .slos
                .iter()
                .map(|slo| format!("{}:{}", slo.metric, milliseconds(slo.limit_ns))),
        );
    }
    match options.slo_from {
        Some(SloFrom::Intended) => words.push("--slo-from intended".to_owned()),
        Some(SloFrom::Sent) => words.push("--slo-from sent".to_owned()),
        None => {}
    }
    if options.warmup_ns != 0 {
        words.push(format!("--warmup {}ms", milliseconds(options.warmup_ns)));
    }
    if !options.definitions.is_empty() {
        words.push(format!("--definitions {}", options.definitions.join(",")));
        if let Some(counter) = &options.count_tokens {
            words.push(format!("--tokenizer {}", quoted(Path::new(counter.name()))));
        }
    }
    words.join(" ")
}

/// Spells nanoseconds as milliseconds, without a fraction that is not there.
fn milliseconds(ns: i64) -> String {
    let (sign, ns) = (if ns < 0 { "-" } else { "" }, ns.unsigned_abs());
    let text = format!("{sign}{}.{:06}", ns / 1_000_000, ns % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Quotes a path for a shell where it needs that.
fn quoted(path: &Path) -> String {
    let path = path.to_string_lossy();
    let is_plain = |letter: char| letter.is_alphanumeric() || "/._-+=:@%".contains(letter);
    if !path.is_empty() && path.chars().all(is_plain) {
        path.into_owned()
    } else {
        format!("'{}'", path.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::{Options, command};
    use crate::analyze::{Slo, SloFrom};

    #[test]
    fn spells_the_command_that_makes_the_same_analysis() {
        let slo = |metric: &str, limit_ns| Slo {
            metric: metric.to_owned(),
            limit_ns,
        };
        let options = Options {
            slos: vec![slo("ttft", 200_000_000), slo("tpot", 2_500_000)],
            slo_from: Some(SloFrom::Sent),
            warmup_ns: 5_000_000_000,
            ..Options::default()
        };
        let tapes = [PathBuf::from("a.tape"), PathBuf::from("it's b.tape")];
        assert_eq!(
            command(&tapes, &options),
            "tokentape analyze a.tape 'it'\\''s b.tape' --goodput ttft:200 tpot:2.5 --slo-from sent --warmup 5000ms"
        );
    }
}
