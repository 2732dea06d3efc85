//! What is on the pages: reports, kept while nothing changes, and answers to questions.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::{StreamExt as _, stream};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::spawn_blocking;

use super::fields::Fields;
use super::questions::{Ask, Questions, Turn};
use super::response::{page, plain, streamed};
use crate::analyze::{Options, Table, analyze, result_tables, shown};
use crate::report::{Drawing, Language, Live, PageOptions, SqlAsked, html, refused_page, sql_page};
use crate::sql::{
    Format, Limits, Question, SqlError, collect, open_tapes, results_of, whole_tapes,
};
use crate::time::clock::Clock;

/// Largest answer to a question of CSV, in rows.
const CSV_ROWS: usize = 1_000_000;

/// Most reports that are kept.
const KEPT: usize = 6;

/// Most rows that a page is given of a result; it shows fewer and says that there are more.
const PAGE_ROWS: usize = 5_000;

/// Longest answer that a page is given, in bytes.
const PAGE_BYTES: usize = 32 << 20;

/// What a form asks for, in the words of an analysis and of its page.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// What the analysis is asked for.
    pub(crate) options: Options,
    /// How its page is written.
    pub(crate) page: PageOptions,
}

/// Reads a form, or says what is wrong with it.
pub(crate) type Reader = Box<dyn Fn(&Fields) -> Result<Wanted, String> + Send + Sync>;

/// What is viewed.
pub(crate) struct View {
    /// The tapes, the first one being what the others are compared with.
    pub(crate) tapes: Vec<PathBuf>,
    /// What the form has in it at first.
    pub(crate) fields: Fields,
    /// Reads the form.
    pub(crate) reader: Reader,
    /// Has questions answered.
    pub(crate) ask: Ask,
    /// What one question may take.
    pub(crate) limits: Limits,
    /// Whoever has it may look.
    pub(crate) token: String,
}

/// How the tapes stood when a report was made of them: each with the size and the time of its
/// manifest.
type Stand = Vec<(PathBuf, Option<(u64, SystemTime)>)>;

/// A report, and how the tapes stood; none where there is none yet. Whoever makes it holds the lock.
type Report = Arc<Mutex<Option<(Stand, Arc<str>)>>>;

/// Makes the pages.
pub(super) struct Pages {
    tapes: Vec<PathBuf>,
    fields: Fields,
    reader: Reader,
    /// Reports by what was asked for, the last one first.
    reports: std::sync::Mutex<Vec<(Fields, Report)>>,
    /// One report is made at a time; those that are there do not wait for it.
    making: Semaphore,
    questions: Questions,
    limits: Limits,
    /// What can be asked about, once it is known.
    relations: Mutex<Option<Relations>>,
}

impl Pages {
    pub(super) fn new(view: View) -> Self {
        Self {
            tapes: view.tapes,
            fields: view.fields,
            reader: view.reader,
            reports: std::sync::Mutex::default(),
            making: Semaphore::new(1),
            questions: Questions::new(view.ask),
            limits: view.limits,
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
        match self.html(&fields, wanted).await {
            Ok(html) => page(StatusCode::OK, html.to_string()),
            Err(reason) => refused(&fields, reason),
        }
    }

    /// Returns a report that is kept, or makes it where a tape has changed.
    async fn html(&self, fields: &Fields, wanted: Wanted) -> Result<Arc<str>, String> {
        let report = self.place_of(fields);
        let mut report = report.lock().await;
        let tapes = whole_tapes(&self.tapes).map_err(|error| with_hint(&told(&error)))?;
        let stand = stand(tapes.clone());
        if let Some((_, html)) = report.as_ref().filter(|kept| kept.0 == stand) {
            return Ok(Arc::clone(html));
        }
        let _turn = self.making.acquire().await;
        let html = Arc::<str>::from(rendered(&tapes, fields, wanted).await?);
        *report = Some((stand, Arc::clone(&html)));
        Ok(html)
    }

    /// Makes every report wait that is not there yet.
    #[cfg(test)]
    pub(super) fn hold_making(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.making.try_acquire().expect("nothing is being made")
    }

    fn place_of(&self, fields: &Fields) -> Report {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let known = reports.iter().position(|(known, _)| known == fields);
        let place = known.map_or_else(
            || (fields.clone(), Report::default()),
            |at| reports.remove(at),
        );
        let report = Arc::clone(&place.1);
        reports.truncate(KEPT - 1);
        reports.insert(0, place);
        report
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
                Err(error) => {
                    status = status_of(&error);
                    let (reason, hint) = told(&error);
                    (asked.error, asked.hint) = (Some(reason), hint);
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

    /// The answer to a question as CSV, for other programs, as it comes.
    pub(super) async fn csv(&self, fields: &Fields) -> Response {
        let Ok(wanted) = (self.reader)(&self.fields) else {
            return plain(StatusCode::BAD_REQUEST, "the command line is wrong");
        };
        let begun = async {
            let question = self.question(fields.get("q"), &wanted, (Format::Csv, CSV_ROWS));
            let mut turn = self.asked(&question).await?;
            // What is wrong with a statement is known before its first row.
            let first = turn.next().await?;
            Ok((first, turn))
        };
        match begun.await {
            Ok((first, turn)) => {
                let body = first.map_or_else(Body::empty, |first| {
                    // An answer that breaks off breaks the connection, so that nobody takes a
                    // part for the whole.
                    let rest = stream::try_unfold(turn, async |mut turn| {
                        let piece = turn.next().await?;
                        Ok::<_, SqlError>(piece.map(|piece| (piece, turn)))
                    });
                    Body::from_stream(stream::iter([Ok(first)]).chain(rest))
                });
                let mut response = streamed(StatusCode::OK, "text/csv; charset=utf-8", body);
                let name = HeaderValue::from_static("attachment; filename=\"tokentape.csv\"");
                response
                    .headers_mut()
                    .insert(header::CONTENT_DISPOSITION, name);
                response
            }
            Err(error) => {
                let (reason, hint) = told(&error);
                let hint = hint.map_or_else(String::new, |hint| format!("\n{hint}"));
                plain(status_of(&error), &format!("{reason}{hint}"))
            }
        }
    }

    async fn tables(&self, sql: &str, wanted: &Wanted) -> Result<Vec<Table>, SqlError> {
        let question = self.question(sql, wanted, (Format::Arrow, PAGE_ROWS));
        let bytes = self.asked(&question).await?.whole(PAGE_BYTES).await?;
        let tables = results_of(&bytes).and_then(|results| result_tables(&results));
        tables.map_err(|error| SqlError::Output {
            reason: error.to_string(),
        })
    }

    /// Answers a question of this program's own, which needs no turn; nothing where even that fails.
    async fn own(&self, sql: &str, wanted: &Wanted) -> Vec<Table> {
        let answered = async {
            let tapes = whole_tapes(&self.tapes).ok()?;
            let tapes = open_tapes(&tapes, &wanted.options.settings()).await.ok()?;
            let plan = tapes.context.state().create_logical_plan(sql).await.ok()?;
            let batches = collect(&tapes.context, plan).await.ok()?;
            result_tables(&[batches]).ok()
        };
        answered.await.unwrap_or_default()
    }

    /// Puts statements into a question whose results are each cut at so many rows.
    fn question(&self, sql: &str, wanted: &Wanted, (format, rows): (Format, usize)) -> Question {
        let mut settings = wanted.options.settings();
        settings.row_limit = Some(rows);
        Question {
            sql: sql.to_owned(),
            format,
            settings,
            limits: self.limits,
        }
    }

    async fn asked(&self, question: &Question) -> Result<Turn, SqlError> {
        let tapes = whole_tapes(&self.tapes)?;
        self.questions.ask(&tapes, question).await
    }

    /// Names what can be asked about, with its columns; nothing where even that fails.
    async fn relations(&self, wanted: &Wanted) -> Relations {
        const SQL: &str = "SELECT table_name, column_name FROM information_schema.columns \
                           WHERE table_schema = 'public' ORDER BY ordinal_position";
        let mut known = self.relations.lock().await;
        if known.is_none() {
            let tables = self.own(SQL, wanted).await;
            let mut columns: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for row in tables.iter().flat_map(|table| &table.rows) {
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
}

/// Says how tapes stand.
fn stand(tapes: Vec<PathBuf>) -> Stand {
    let facts = |tape: PathBuf| {
        let facts = fs::metadata(tape.join("manifest.json")).ok();
        let facts = facts.and_then(|facts| Some((facts.len(), facts.modified().ok()?)));
        (tape, facts)
    };
    tapes.into_iter().map(facts).collect()
}

async fn rendered(tapes: &[PathBuf], fields: &Fields, wanted: Wanted) -> Result<String, String> {
    let analysis = analyze(tapes, &wanted.options)
        .await
        .map_err(|error| with_hint(&(error.to_string(), error.hint())))?;
    let options = PageOptions {
        live: Some(live(fields, None)),
        ..wanted.page
    };
    let rendered = spawn_blocking(move || html(&analysis, &options)).await;
    rendered
        .map_err(|error| error.to_string())?
        .map_err(|error| error.to_string())
}

/// Names of what can be asked about, each with its columns.
type Relations = Vec<(String, Vec<String>)>;

/// What is wrong, and what can be done about it.
type Told = (String, Option<String>);

fn told(error: &SqlError) -> Told {
    (error.to_string(), error.hint())
}

fn with_hint((reason, hint): &Told) -> String {
    let hint = hint.as_deref();
    hint.map_or_else(|| reason.clone(), |hint| format!("{reason} – {hint}"))
}

fn status_of(error: &SqlError) -> StatusCode {
    match error {
        SqlError::Busy { .. } => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::BAD_REQUEST,
    }
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
