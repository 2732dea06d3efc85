//! What is on the pages: reports, kept while nothing changes, and answers to questions.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::{CSV_ROWS, Fields, Reader, View, Wanted, page, plain, typed};
use crate::analyze::{Table, analyze, needed_by, result_tables, shown};
use crate::load::clock::Clock;
use crate::report::{Drawing, Language, Live, PageOptions, SqlAsked, html, refused_page, sql_page};
use crate::sql::{Format, SqlError, format_batches, run_sql};

/// Longest that one question may take.
const PATIENCE: Duration = Duration::from_mins(2);

/// Most memory that one question may take, in bytes.
const QUESTION_BYTES: usize = 1 << 30;

/// Most questions that are answered at a time, and most reports that are kept.
const AT_ONCE: usize = 2;
const KEPT: usize = 6;

/// Most rows that a page is given of a result; it shows fewer and says that there are more.
const PAGE_ROWS: usize = 5_000;

/// How the tapes stood when a report was made of them: the size and the time of each manifest.
type Stand = Vec<Option<(u64, SystemTime)>>;

/// Makes the pages.
pub(super) struct Pages {
    tapes: Vec<PathBuf>,
    fields: Fields,
    reader: Reader,
    /// Reports by what was asked for; one is made at a time.
    reports: Mutex<Vec<(Fields, Stand, Arc<str>)>>,
    questions: Semaphore,
    /// What can be asked about, once it is known.
    relations: Mutex<Option<Relations>>,
}

impl Pages {
    pub(super) fn new(view: View) -> Self {
        Self {
            tapes: view.tapes,
            fields: view.fields,
            reader: view.reader,
            reports: Mutex::default(),
            questions: Semaphore::new(AT_ONCE),
            relations: Mutex::default(),
        }
    }

    /// The report, as the form asks for it.
    pub(super) async fn report(&self, fields: &Fields) -> Response {
        let fields = fields.on(&self.fields);
        let wanted = match (self.reader)(&fields) {
            Ok(wanted) => wanted,
            Err(reason) => return refused(&fields, reason),
        };
        let stand = self.stand();
        let mut reports = self.reports.lock().await;
        let is_fresh = |kept: &&(Fields, Stand, Arc<str>)| kept.0 == fields && kept.1 == stand;
        if let Some((.., html)) = reports.iter().find(is_fresh) {
            return page(StatusCode::OK, html.to_string());
        }
        match self.rendered(&fields, wanted).await {
            Ok(html) => {
                reports.retain(|kept| kept.0 != fields);
                reports.truncate(KEPT - 1);
                reports.insert(0, (fields, stand, Arc::from(html.as_str())));
                page(StatusCode::OK, html)
            }
            Err(reason) => refused(&fields, reason),
        }
    }

    async fn rendered(&self, fields: &Fields, wanted: Wanted) -> Result<String, String> {
        let analysis = analyze(&self.tapes, &wanted.options)
            .await
            .map_err(|error| {
                let hint = error
                    .hint()
                    .map_or_else(String::new, |hint| format!(" – {hint}"));
                format!("{error}{hint}")
            })?;
        let options = PageOptions {
            live: Some(live(fields, None)),
            ..wanted.page
        };
        let rendered = spawn_blocking(move || html(&analysis, &options)).await;
        rendered
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }

    /// The page of questions, with what the last one came to.
    pub(super) async fn sql(&self, fields: &Fields) -> Response {
        let Ok(wanted) = (self.reader)(&self.fields) else {
            return refused(&self.fields, "the command line is wrong".to_owned());
        };
        let named = fields.some("name").and_then(shown).map(str::trim);
        let sql = fields.some("q").or(named).unwrap_or_default();
        let mut asked = SqlAsked {
            sql: sql.to_owned(),
            drawing: Drawing::of(fields.get("draw")).unwrap_or_default(),
            x: fields.some("x").map(str::to_owned),
            y: fields.some("y").map(str::to_owned),
            row_limit: Some(PAGE_ROWS),
            relations: self.relations(&wanted).await,
            ..SqlAsked::default()
        };
        let mut status = StatusCode::OK;
        if !sql.is_empty() {
            let clock = Clock::start();
            match self.tables(sql, &wanted).await {
                Ok(tables) => {
                    asked.results = tables;
                    let elapsed = Duration::from_nanos(clock.now_ns().unsigned_abs());
                    asked.seconds = Some(elapsed.as_secs_f64());
                }
                Err((error, hint)) => {
                    status = StatusCode::BAD_REQUEST;
                    (asked.error, asked.hint) = (Some(error), hint);
                }
            }
        }
        let options = PageOptions {
            live: Some(live(&self.fields, None)),
            ..wanted.page
        };
        match spawn_blocking(move || sql_page(&asked, &options)).await {
            Ok(Ok(html)) => page(status, html),
            Ok(Err(error)) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
            Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
        }
    }

    /// The answer to a question as CSV, for other programs.
    pub(super) async fn csv(&self, fields: &Fields) -> Response {
        let Ok(wanted) = (self.reader)(&self.fields) else {
            return plain(StatusCode::BAD_REQUEST, "the command line is wrong");
        };
        let answered = self.answers(fields.get("q"), &wanted, CSV_ROWS).await;
        let text = answered.and_then(|results| {
            let texts = results
                .iter()
                .map(|batches| format_batches(batches, Format::Csv));
            texts
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| told(&error))
        });
        match text {
            Ok(texts) => {
                let mut response =
                    typed(StatusCode::OK, "text/csv; charset=utf-8", texts.join("\n"));
                let name = HeaderValue::from_static("attachment; filename=\"tokentape.csv\"");
                response
                    .headers_mut()
                    .insert(header::CONTENT_DISPOSITION, name);
                response
            }
            Err((error, hint)) => {
                let hint = hint.map_or_else(String::new, |hint| format!("\n{hint}"));
                plain(StatusCode::BAD_REQUEST, &format!("{error}{hint}"))
            }
        }
    }

    async fn tables(&self, sql: &str, wanted: &Wanted) -> Result<Vec<Table>, Told> {
        let results = self.answers(sql, wanted, PAGE_ROWS).await?;
        result_tables(&results).map_err(|error| (error.to_string(), None))
    }

    /// Runs statements over the tapes, each result cut at `rows`.
    async fn answers(&self, sql: &str, wanted: &Wanted, rows: usize) -> Result<Results, Told> {
        let _turn = self.questions.acquire().await;
        let mut settings = wanted.options.settings();
        settings.row_limit = Some(rows);
        settings.memory_bytes = Some(QUESTION_BYTES);
        let needed = needed_by(sql);
        let run = run_sql(&self.tapes, sql, &needed, settings);
        let answers = timeout(PATIENCE, run)
            .await
            .map_err(|_| {
                let hint = "ask of fewer rows, or use `tokentape sql`, which waits";
                (
                    format!("no answer within {} s", PATIENCE.as_secs()),
                    Some(hint.to_owned()),
                )
            })?
            .map_err(|error| told(&error))?;
        answers.results.map_err(|error| told(&error))
    }

    /// Names what can be asked about, with its columns; nothing where even that fails.
    async fn relations(&self, wanted: &Wanted) -> Relations {
        const SQL: &str = "SELECT table_name, column_name FROM information_schema.columns \
                           WHERE table_schema = 'public' ORDER BY ordinal_position";
        let mut known = self.relations.lock().await;
        if known.is_none() {
            let found = self.answers(SQL, wanted, PAGE_ROWS).await;
            let tables = found.ok().and_then(|results| result_tables(&results).ok());
            let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for row in tables.iter().flatten().flat_map(|table| &table.rows) {
                if let [Some(table), Some(column)] = [row[0].text(), row[1].text()] {
                    columns
                        .entry(table.to_owned())
                        .or_default()
                        .push(column.to_owned());
                }
            }
            let public = crate::analyze::views()
                .into_iter()
                .filter(|view| view.is_public);
            let relations = public.filter_map(|view| {
                let columns = columns.remove(view.name)?;
                Some((view.name.to_owned(), columns))
            });
            *known = Some(relations.collect()).filter(|all: &Vec<_>| !all.is_empty());
        }
        known.clone().unwrap_or_default()
    }

    fn stand(&self) -> Stand {
        let facts = |tape: &PathBuf| {
            let facts = fs::metadata(tape.join("manifest.json")).ok()?;
            Some((facts.len(), facts.modified().ok()?))
        };
        self.tapes.iter().map(facts).collect()
    }
}

/// What the engine returned: batches a statement.
type Results = Vec<Vec<arrow::array::RecordBatch>>;

/// Names of what can be asked about, each with its columns.
type Relations = Vec<(String, Vec<String>)>;

/// What is wrong, and what can be done about it.
type Told = (String, Option<String>);

fn told(error: &SqlError) -> Told {
    (error.to_string(), error.hint())
}

fn live(fields: &Fields, refused: Option<String>) -> Live {
    Live {
        fields: fields.all().clone(),
        refused,
    }
}

/// The page that stands where a report cannot.
fn refused(fields: &Fields, reason: String) -> Response {
    let language = match fields.get("lang") {
        "zh" => Language::Chinese,
        _ => Language::English,
    };
    let options = PageOptions {
        language,
        live: Some(live(fields, Some(reason))),
        ..PageOptions::default()
    };
    match refused_page(&options) {
        Ok(html) => page(StatusCode::BAD_REQUEST, html),
        Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}
