//! The server as its browser sees it, without a socket.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::thread;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};
use tower_service::Service as _;

use super::questions::Ask;
use super::*;
use crate::analyze::{Options, Slo, needed_by};
use crate::report::{Language, PageOptions};
use crate::runtime::block_on;
use crate::sql::fixture::TapeFixture;
use crate::sql::{Answering, Limits, answer};

/// A page as it came: its status, its headers, its text.
type Came = (StatusCode, HeaderMap, String);

/// Reads a form that has a goal on TTFT, in milliseconds, and a language.
fn reader() -> Reader {
    Box::new(|fields| {
        let goal = fields.some("goodput").map(|goal| {
            let limit_ns = goal
                .parse::<i64>()
                .map_err(|_| format!("`{goal}` is no goal"))?;
            Ok::<_, String>(Slo {
                metric: "ttft".to_owned(),
                limit_ns: limit_ns * 1_000_000,
            })
        });
        Ok(Wanted {
            options: Options {
                slos: goal.transpose()?.into_iter().collect(),
                partitions: 1,
                ..Options::default()
            },
            page: PageOptions {
                language: match fields.get("lang") {
                    "zh" => Language::Chinese,
                    _ => Language::English,
                },
                ..PageOptions::default()
            },
        })
    })
}

/// Answers in this process, with a catalogue, as another process would.
fn here() -> Ask {
    Box::new(|tapes, question| {
        let (sender, pieces) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        let (tapes, question) = (tapes.to_vec(), question.clone());
        let limits = question.limits;
        thread::spawn(move || {
            let mut out = Vec::new();
            let told = |_: &str, _: &str| {};
            let answered = block_on(answer(&tapes, &question, &needed_by, told, &mut out));
            if !out.is_empty() {
                sender.blocking_send(out.into()).ok();
            }
            drop(sender);
            end.send(answered.unwrap()).ok();
        });
        Ok(Answering::new(pieces, ended, limits, None))
    })
}

struct Looked {
    folder: TempDir,
    desk: Arc<AppState>,
    router: Router,
}

impl Looked {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
        Self::at(folder, tape, here())
    }

    fn at(folder: TempDir, tape: PathBuf, ask: Ask) -> Self {
        let names = ["goodput", "warmup", "from", "to", "by", "lang"];
        let view = View {
            tapes: vec![tape],
            fields: Fields::new(names.map(|name| (name, String::new()))),
            reader: reader(),
            ask,
            limits: Limits {
                memory_bytes: 1 << 30,
                timeout: None,
                gives_way: true,
            },
            token: "secret".to_owned(),
        };
        let desk = AppState::new(view, SocketAddr::from(([127, 0, 0, 1], 8080)));
        let router = router(Arc::clone(&desk));
        Self {
            folder,
            desk,
            router,
        }
    }

    /// Asks as one who has the token.
    fn get(&self, target: &str) -> Came {
        self.ask("GET", &format!("/secret{target}"))
    }

    fn ask(&self, method: &str, target: &str) -> Came {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("host", "127.0.0.1:8080");
        let request = request.body(Body::empty()).unwrap();
        let mut router = self.router.clone();
        let came = block_on(async move {
            let response = router.call(request).await.unwrap();
            let (parts, body) = response.into_parts();
            let text = to_bytes(body, 1 << 24).await.unwrap();
            (parts.status, parts.headers, text)
        });
        let (status, headers, text) = came.unwrap();
        (status, headers, String::from_utf8(text.to_vec()).unwrap())
    }
}

fn sql(text: &str) -> String {
    let query = url::form_urlencoded::Serializer::new(String::new())
        .append_pair("q", text)
        .finish();
    format!("/sql?{query}")
}

#[test]
fn nothing_is_shown_without_the_token() {
    let looked = Looked::new();
    for target in [
        "/",
        "/?token=secret",
        "/other/",
        "/sql?q=SELECT+1",
        "/secret",
    ] {
        let (status, _, text) = looked.ask("GET", target);
        assert_eq!(status, StatusCode::FORBIDDEN, "{target}");
        assert!(text.len() < 200 && !text.contains("small"), "{text}");
    }
}

#[test]
fn the_page_is_the_report_with_a_form() {
    let looked = Looked::new();
    let (status, headers, text) = looked.get("/");
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("<form class=\"live\"") && text.contains("id=\"latency\""));
    assert!(!text.contains("Goodput: requests due"));
    assert_eq!(headers[header::CACHE_CONTROL], "no-store");
    assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    assert_eq!(headers[header::REFERRER_POLICY], "no-referrer");
}

#[test]
fn a_goal_in_the_form_gives_goodput_and_another_language_another_page() {
    let looked = Looked::new();
    let (_, _, text) = looked.get("/?goodput=20");
    assert!(text.contains("Goodput: requests due in the window that met TTFT ≤ 20 ms"));
    assert!(text.contains("name=\"goodput\" value=\"20\""));
    let (_, _, text) = looked.get("/?lang=zh");
    assert!(text.contains("<html lang=\"zh-Hans\">"));
}

#[test]
fn a_form_that_is_wrong_is_given_back_with_the_reason() {
    let looked = Looked::new();
    let (status, _, text) = looked.get("/?goodput=%3Cfast%3E");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(
        text.contains("role=\"alert\"") && text.contains("`&lt;fast&gt;` is no goal"),
        "{text}"
    );
    assert!(text.contains("value=\"&lt;fast&gt;\""), "{text}");
}

#[test]
fn a_report_is_made_anew_when_its_tape_has_changed() {
    let looked = Looked::new();
    let before = looked.get("/").2;
    assert_eq!(looked.get("/").2, before);
    let manifest = looked.folder.path().join("small.tape/manifest.json");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let changed = text.replace("\"target\": \"", "\"target\": \"changed-");
    assert_ne!(changed, text);
    std::fs::write(&manifest, changed).unwrap();
    assert!(looked.get("/").2.contains("changed-"));
}

#[test]
fn a_question_gets_a_table_and_a_picture() {
    let looked = Looked::new();
    let query = "SELECT request_id, ttft_ns FROM requests WHERE ttft_ns IS NOT NULL ORDER BY 1";
    let (status, _, text) = looked.get(&sql(query));
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("ttft, ms by request_id"), "{text}");
    assert!(
        text.contains("<polyline") && text.contains("<th scope=\"col\" class=\"n\"><bdi>ttft_ns")
    );
    assert!(text.contains("answered in"));
}

#[test]
fn a_page_of_questions_says_what_can_be_asked() {
    let looked = Looked::new();
    let text = looked.get("/sql").2;
    for said in [
        "<code>requests</code>",
        "<code>first_token_ns</code>",
        "sql?name=goodput",
    ] {
        assert!(text.contains(said), "{said}");
    }
    let text = looked.get("/sql?name=run_summary").2;
    assert!(
        text.contains("-- name: run_summary") && text.contains("1 row"),
        "{text}"
    );
}

#[test]
fn questions_can_read_the_results_of_named_queries() {
    let looked = Looked::new();
    let (status, _, text) = looked.get(&sql("SELECT metric, p50_ns FROM latency_percentiles"));
    assert_eq!(status, StatusCode::OK);
    assert!(text.contains("<bdi>e2el</bdi>"), "{text}");
}

#[test]
fn nothing_can_be_changed_or_read_but_tapes() {
    let looked = Looked::new();
    for query in [
        "DROP VIEW requests",
        "CREATE TABLE t AS SELECT 1",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
        "INSERT INTO requests SELECT * FROM requests",
        "SET datafusion.execution.batch_size = 1",
        "SELECT * FROM '/etc/passwd'",
        "SELECT 1; DROP VIEW requests",
    ] {
        let (status, _, text) = looked.get(&sql(query));
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        assert!(text.contains("role=\"alert\""), "{query}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let (status, ..) = looked.ask(method, "/secret/sql?q=SELECT+1");
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}

#[test]
fn what_is_typed_stays_text() {
    let looked = Looked::new();
    let text = looked
        .get(&sql("SELECT '</textarea><script>x()</script>' AS \"<b>\""))
        .2;
    assert!(
        !text.contains("<script>x()") && !text.contains("<b>"),
        "{text}"
    );
    let text = looked
        .get(&sql("SELECT * FROM \"</textarea><script>x()</script>\""))
        .2;
    assert!(!text.contains("<script>x()"), "{text}");
}

#[test]
fn an_answer_of_many_rows_is_cut_on_the_page_and_whole_as_csv() {
    let looked = Looked::new();
    let query = "SELECT value FROM generate_series(1, 7000)";
    let text = looked.get(&sql(query)).2;
    assert!(
        text.contains("The first 500 of 5,000 rows or more"),
        "{}",
        &text[..400]
    );
    let (status, headers, csv) = looked.get(&sql(query).replace("/sql?", "/sql.csv?"));
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    assert_eq!(csv.lines().count(), 7_001);
    let (status, _, text) = looked.get("/sql.csv?q=SELEC");
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(text.contains("SELEC"), "{text}");
}

#[test]
fn a_folder_s_report_has_tapes_that_came_later_and_none_that_is_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    TapeFixture::small().write(&path.join("early-run.tape"));
    let looked = Looked::at(folder, path.clone(), here());
    let before = looked.get("/").2;
    assert!(before.contains("early-run") && !before.contains("later-run"));
    TapeFixture::small().write(&path.join("later-run.tape"));
    let after = looked.get("/").2;
    assert!(after.contains("early-run") && after.contains("later-run"));
    let rows = looked
        .get("/sql.csv?q=SELECT+DISTINCT+run+FROM+requests+ORDER+BY+1")
        .2;
    assert_eq!(rows, "run\nearly-run\nlater-run\n");
    let _writer = TapeFixture::small().begin(&path.join("open-run.tape"));
    let (status, _, text) = looked.get("/");
    assert_eq!((status, text), (StatusCode::OK, after));
}

#[test]
fn a_report_that_is_there_does_not_wait_for_one_that_is_made() {
    let looked = Looked::new();
    let (status, _, made) = looked.get("/");
    // Another one would wait for the hold.
    assert_eq!(status, StatusCode::OK);
    let making = looked.desk.pages.hold_making();
    let request = Request::builder()
        .uri("/secret/?goodput=20")
        .header("host", "127.0.0.1:8080");
    let request = request.body(Body::empty()).unwrap();
    let mut router = looked.router.clone();
    let came = block_on(async {
        let mut other = Box::pin(router.call(request));
        assert!(futures::poll!(other.as_mut()).is_pending());
        let home = looked.desk.pages.report(&Fields::default()).await;
        let home = to_bytes(home.into_body(), 1 << 24).await.unwrap();
        drop(making);
        (home, other.await.unwrap().status())
    });
    let (home, other) = came.unwrap();
    assert_eq!(home, made.as_bytes());
    assert_eq!(other, StatusCode::OK);
}

#[test]
fn a_question_that_finds_no_turn_is_told_so_and_one_that_is_left_frees_its_own() {
    let stuck: Ask = Box::new(|_, question| {
        let (_, pieces) = mpsc::channel(1);
        let (end, ended) = oneshot::channel();
        // An answer that never comes to its end.
        std::mem::forget(end);
        Ok(Answering::new(pieces, ended, question.limits, None))
    });
    let folder = tempfile::tempdir().unwrap();
    let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
    let looked = Looked::at(folder, tape, stuck);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let ask = || {
            let request = Request::builder().uri("/secret/sql.csv?q=SELECT+1");
            let request = request.header("host", "127.0.0.1:8080");
            let mut router = looked.router.clone();
            Box::pin(async move { router.call(request.body(Body::empty()).unwrap()).await })
        };
        let (mut first, mut second) = (ask(), ask());
        assert!(futures::poll!(first.as_mut()).is_pending());
        assert!(futures::poll!(second.as_mut()).is_pending());
        let third = ask().await.unwrap();
        assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);
        let said = to_bytes(third.into_body(), 1 << 10).await.unwrap();
        assert!(said.starts_with(b"2 questions are being answered"));
        drop(first);
        let mut fourth = ask();
        assert!(futures::poll!(fourth.as_mut()).is_pending());
        let fifth = ask().await.unwrap();
        assert_eq!(fifth.status(), StatusCode::SERVICE_UNAVAILABLE);
    });
}
