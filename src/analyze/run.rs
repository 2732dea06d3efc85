//! Runs the catalogue over tapes.

use std::path::{Path, PathBuf};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;
use datafusion::prelude::SessionContext;

use super::catalog::{OF_SERVER, OF_SEVERAL, OF_TARGETS};
use super::cells::rows;
use super::client::added_ns;
use super::definitions::table_name;
use super::percentiles::{Percentile, with_percentiles};
use super::recount::recount;
use super::results::of_table;
use super::sweep::{Labelled, places};
use super::uncertainty::{Blocks, DRAWN, Exact, Member, NEEDED, Uncertainty, is_pair};
use super::{
    Analysis, AnalyzeError, CATALOG, Cell, Column, DEFINITIONS, Query, RunFacts, SLO_METRICS, Slo,
    SloFrom, Table, Thresholds, TokenCounter, Validity,
};
use crate::plan::Loop;
use crate::sql::{
    Goal, OpenedTape, Recounts, ReportSettings, Settings, Span, Tapes, collect, keep, keep_view,
    message, open_tapes,
};

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
    /// Percentiles of latencies beside those that are always there.
    pub percentiles: Vec<Percentile>,
    /// Which part of each run is looked at.
    pub span: Span,
    /// What some numbers are held against, and what they cost.
    pub report_settings: ReportSettings,
    /// What runs are grouped by, and tapes are split by: a label or a column of `requests`.
    pub by: Option<String>,
    /// Names of the queries to answer, and of the tables drawn from them; empty answers all that
    /// are not on request.
    pub only: Vec<String>,
    /// How many ways the engine splits its work; 0 takes one per core.
    pub partitions: usize,
    /// Names of the definitions of others to answer beside our own, or `all`.
    pub definitions: Vec<String>,
    /// What grades are given by.
    pub thresholds: Thresholds,
    /// Flags about the files that are made of the analysis, with their values: the command that
    /// makes it again names them.
    pub outputs: Vec<(&'static str, PathBuf)>,
    /// Counts kept texts anew, for definitions that tokenize.
    pub count_tokens: Option<TokenCounter>,
    /// Most memory that the engine may take, beyond which it goes to disk or gives up; none for
    /// half of that of this machine.
    pub memory_bytes: Option<usize>,
}

impl Options {
    /// What the views need to know of this.
    pub(crate) fn settings(&self) -> Settings {
        Settings {
            goals: self.slos.iter().map(goal).collect(),
            slo_from: self.slo_from,
            span: self.span,
            report_settings: self.report_settings.clone(),
            by: self.by.clone(),
            partitions: self.partitions,
            memory_bytes: self.memory_bytes,
            ..Settings::default()
        }
    }
}

/// Answers the queries of the catalogue over the tapes.
///
/// Must run inside [`crate::runtime::block_on`].
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
        Some(counter) if !definitions.is_empty() => {
            recount(tapes, counter, &options.settings()).await?
        }
        _ => Recounts::default(),
    };
    let settings = Settings {
        keeps_results: true,
        recounts,
        ..options.settings()
    };
    let Tapes { context, runs } = open_tapes(tapes, &settings).await?;
    ensure_single(&context).await?;
    let has_metrics = runs.iter().any(|run| run.manifest.counts.server > 0);
    let has_targets = (runs.iter()).any(|run| !run.manifest.plan.more_urls.is_empty());
    let draws = |name: &str| options.only.iter().any(|wanted| wanted == name);
    let mut tables = Vec::with_capacity(CATALOG.len());
    let mut shared = SHARED.to_vec();
    for query in CATALOG.iter() {
        let is_wanted = if options.only.is_empty() {
            !query.is_on_request
        } else {
            let is_needed = DRAWN.iter().any(|name| draws(name)) && NEEDED.contains(&query.name);
            is_needed || options.only.iter().any(|name| name == query.name)
        };
        let has_sense = (!OF_SEVERAL.contains(&query.name) || runs.len() > 1)
            && (!OF_SERVER.contains(&query.name) || has_metrics)
            && (!OF_TARGETS.contains(&query.name) || has_targets);
        if is_wanted && has_sense {
            let (read, rest) = shared
                .into_iter()
                .partition(|view| query.input.iter().any(|input| input == view));
            shared = rest;
            prepare(&context, query, read).await?;
            let sql = match query.name {
                "latency_percentiles" => with_percentiles(query.sql, &options.percentiles),
                _ => query.sql.to_owned(),
            };
            tables.push(answer(&context, query, sql).await?);
        }
    }
    if options.only.is_empty() || DRAWN.iter().any(|name| draws(name)) {
        tables.extend(uncertain(&context, &runs, &tables).await?);
    }
    for query in definitions {
        tables.push(answer_definition(&context, query).await?);
    }
    Ok(Analysis {
        runs: facts(runs, options.by.as_deref()),
        tables,
        slos: options.slos.clone(),
        thresholds: options.thresholds.clone(),
        command: command(tapes, options),
    })
}

/// What is known of each run, and where it lies on the axis of a sweep.
fn facts(runs: Vec<OpenedTape>, by: Option<&str>) -> Vec<RunFacts> {
    let labelled: Vec<Labelled<'_>> = runs
        .iter()
        .map(|tape| Labelled {
            labels: &tape.manifest.labels,
            part: tape.part.is_some().then_some(tape.group.as_str()),
        })
        .collect();
    let places = places(&labelled, by);
    runs.into_iter()
        .zip(places)
        .map(|(tape, place)| RunFacts {
            run: tape.run,
            manifest: tape.manifest,
            notes: tape.notes,
            place,
        })
        .collect()
}

/// Finds a request that is in a tape twice. Chunks are joined with requests by their number: each
/// would count for both, and nothing would be right.
const REPEATED: &str = "SELECT run, request_id, attempt, count(*) AS times FROM tape_requests \
    GROUP BY run, request_id, attempt HAVING count(*) > 1 ORDER BY run, request_id, attempt LIMIT 1";

/// Refuses tapes in which a request is there twice.
async fn ensure_single(context: &SessionContext) -> Result<(), AnalyzeError> {
    let failed = |reason: String| AnalyzeError::Query {
        query: "requests",
        reason,
    };
    let batches = async {
        let plan = context.state().create_logical_plan(REPEATED).await?;
        collect(context, plan).await
    };
    let batches = batches.await.map_err(|error| failed(message(&error)))?;
    for batch in &batches {
        let found = rows(batch).map_err(|error| failed(error.to_string()))?;
        if let Some(
            [
                Cell::Text(run),
                Cell::Int(request_id),
                Cell::Int(attempt),
                Cell::Int(times),
            ],
        ) = found.first().map(Vec::as_slice)
        {
            return Err(AnalyzeError::Repeated {
                run: run.clone(),
                request_id: *request_id,
                attempt: *attempt,
                times: *times,
            });
        }
    }
    Ok(())
}

/// Views that read every chunk and that several queries build upon: the first one that is wanted
/// has them computed, and the others read the result.
const SHARED: [&str; 2] = ["rates", "smoothness"];

/// Computes the shared views that a query is the first to read.
async fn prepare(
    context: &SessionContext,
    query: &Query,
    views: Vec<&str>,
) -> Result<(), AnalyzeError> {
    for view in views {
        keep_view(context, view)
            .await
            .map_err(|error| AnalyzeError::Query {
                query: query.name,
                reason: message(&error),
            })?;
    }
    Ok(())
}

fn goal(slo: &Slo) -> Goal {
    Goal {
        metric: slo.metric.clone(),
        limit_ns: slo.limit_ns,
    }
}

/// Says whether a run is the requests of one kind of a tape; those of a step had a time of their own.
fn is_kind(tape: &OpenedTape) -> bool {
    let by = tape.group.split_once('=').map_or("", |(by, _)| by);
    let is_label = (tape.manifest.steps.iter()).any(|step| step.labels.contains_key(by));
    tape.part.is_some() && !is_label && by != "step"
}

/// Draws the tables of [`Uncertainty`] from the blocks that SQL counts.
async fn uncertain(
    context: &SessionContext,
    runs: &[OpenedTape],
    tables: &[Table],
) -> Result<Vec<Table>, AnalyzeError> {
    let [latencies, rates] = [
        batches(context, "block_latencies").await?,
        batches(context, "block_rates").await?,
    ];
    let failed = |error: ArrowError| AnalyzeError::Query {
        query: "block_latencies",
        reason: error.to_string(),
    };
    let blocks = Blocks::read(&latencies, &rates).map_err(failed)?;
    let table = |name: &str| tables.iter().find(|table| table.name == name);
    let members = runs
        .iter()
        .map(|tape| Member {
            run: tape.run.clone(),
            group: tape.group.clone(),
            mix: is_kind(tape).then(|| tape.tape.clone()),
            is_open: tape.manifest.arrival_loop == Loop::Open,
            is_pair: table("schedule_pairs").is_some_and(|pairs| is_pair(pairs, &tape.run)),
            added_ns: table("validity").and_then(|checks| {
                added_ns(of_table::<Validity<'_>>(checks).filter(|check| check.run == tape.run))
            }),
        })
        .collect();
    let needed = [
        "run_summary",
        "latency_percentiles",
        "throughput_windows",
        "goodput",
    ];
    let [
        Some(summary),
        Some(percentiles),
        Some(windows),
        Some(goodput),
    ] = needed.map(table)
    else {
        return Ok(Vec::new());
    };
    let exact = Exact {
        summary,
        percentiles,
        windows,
        goodput,
    };
    let uncertainty = Uncertainty::new(&blocks, members, &exact);
    let mut drawn = vec![uncertainty.intervals(), uncertainty.stationarity()];
    if runs.len() > 1 {
        drawn.push(uncertainty.differences());
    }
    Ok(drawn)
}

/// Answers a query of the catalogue whose result is no table of the analysis.
async fn batches(
    context: &SessionContext,
    name: &'static str,
) -> Result<Vec<RecordBatch>, AnalyzeError> {
    let failed = |error: DataFusionError| AnalyzeError::Query {
        query: name,
        reason: message(&error),
    };
    let Some(query) = CATALOG.iter().find(|query| query.name == name) else {
        return Ok(Vec::new());
    };
    let plan = context
        .state()
        .create_logical_plan(query.sql)
        .await
        .map_err(failed)?;
    collect(context, plan).await.map_err(failed)
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
    let table = tabulate(query, query.sql.to_owned(), batches.await)?;
    Ok(Table {
        name: table_name(query.name),
        ..table
    })
}

/// Runs one query, and leaves its result in the session for the queries after it.
async fn answer(
    context: &SessionContext,
    query: &Query,
    sql: String,
) -> Result<Table, AnalyzeError> {
    let batches = async {
        let plan = context.state().create_logical_plan(&sql).await?;
        keep(context, query.name, plan).await
    };
    let batches = batches.await;
    tabulate(query, sql, batches)
}

/// Makes a table of what a query gave.
fn tabulate(
    query: &Query,
    sql: String,
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
        sql,
    })
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
    words.extend(span_words(&options.span));
    words.extend(setting_words(&options.report_settings));
    if let Some(by) = &options.by {
        words.push(format!("--by {}", quoted(Path::new(by))));
    }
    if !options.definitions.is_empty() {
        words.push(format!("--definitions {}", options.definitions.join(",")));
        if let Some(counter) = &options.count_tokens {
            words.push(format!("--tokenizer {}", quoted(Path::new(counter.name()))));
        }
    }
    let outputs = options.outputs.iter();
    words.extend(outputs.map(|(flag, path)| format!("--{flag} {}", quoted(path))));
    words.join(" ")
}

fn span_words(span: &Span) -> Vec<String> {
    let mut words = Vec::new();
    if span.finds_warmup {
        words.push("--warmup auto".to_owned());
    } else if span.warmup_ns != 0 {
        words.push(format!("--warmup {}ms", milliseconds(span.warmup_ns)));
    }
    for (flag, at_ns) in [("--from", span.from_ns), ("--to", span.to_ns)] {
        words.extend(at_ns.map(|at_ns| format!("{flag} {}ms", milliseconds(at_ns))));
    }
    words
}

fn setting_words(report_settings: &ReportSettings) -> Vec<String> {
    let usual = ReportSettings::default();
    let mut words = Vec::new();
    if report_settings.stall_ns != usual.stall_ns {
        words.push(format!(
            "--stall {}ms",
            milliseconds(report_settings.stall_ns)
        ));
    }
    if report_settings.reader_tps.to_bits() != usual.reader_tps.to_bits() {
        words.push(format!("--reader {}", report_settings.reader_tps));
    }
    for (flag, price) in [
        ("--price-input", report_settings.price_input),
        ("--price-output", report_settings.price_output),
        ("--gpu-hour", report_settings.gpu_hour),
    ] {
        words.extend(price.map(|price| format!("{flag} {price}")));
    }
    if report_settings.gpus != usual.gpus {
        words.push(format!("--gpus {}", report_settings.gpus));
    }
    words
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
    use crate::analyze::{ReportSettings, Slo, SloFrom, Span};

    #[test]
    fn spells_the_command_that_makes_the_same_analysis() {
        let slo = |metric: &str, limit_ns| Slo {
            metric: metric.to_owned(),
            limit_ns,
        };
        let options = Options {
            slos: vec![slo("ttft", 200_000_000), slo("tpot", 2_500_000)],
            slo_from: Some(SloFrom::Sent),
            span: Span {
                warmup_ns: 5_000_000_000,
                ..Span::default()
            },
            ..Options::default()
        };
        let tapes = [PathBuf::from("a.tape"), PathBuf::from("it's b.tape")];
        assert_eq!(
            command(&tapes, &options),
            "tokentape analyze a.tape 'it'\\''s b.tape' --goodput ttft:200 tpot:2.5 --slo-from sent --warmup 5000ms"
        );
    }

    #[test]
    fn spells_the_files_that_are_made_again() {
        let options = Options {
            outputs: vec![
                ("html", PathBuf::from("report.html")),
                ("csv", PathBuf::from("my tables")),
            ],
            ..Options::default()
        };
        assert_eq!(
            command(&[PathBuf::from("a.tape")], &options),
            "tokentape analyze a.tape --html report.html --csv 'my tables'"
        );
    }

    #[test]
    fn spells_windows_and_settings_where_they_are_not_the_usual_ones() {
        let options = Options {
            span: Span {
                finds_warmup: true,
                from_ns: Some(1_500_000_000),
                to_ns: Some(20_000_000_000),
                ..Span::default()
            },
            report_settings: ReportSettings {
                stall_ns: 250_000_000,
                reader_tps: 7.5,
                price_input: Some(0.5),
                price_output: Some(2.0),
                gpu_hour: Some(3.25),
                gpus: 8,
            },
            ..Options::default()
        };
        let tape = [PathBuf::from("a.tape")];
        assert_eq!(
            command(&tape, &options),
            "tokentape analyze a.tape --warmup auto --from 1500ms --to 20000ms --stall 250ms \
             --reader 7.5 --price-input 0.5 --price-output 2 --gpu-hour 3.25 --gpus 8"
        );
        assert_eq!(
            command(&tape, &Options::default()),
            "tokentape analyze a.tape"
        );
    }
}
