//! The server as its browser sees it, without a socket.

use std::net::SocketAddr;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use tempfile::TempDir;
use tower_service::Service as _;

use super::*;
use crate::analyze::Slo;
use crate::report::Language;
use crate::sql::block_on;
use crate::sql::fixture::TapeFixture;

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

struct Looked {
    folder: TempDir,
    router: Router,
}

impl Looked {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tape = TapeFixture::small().write(&folder.path().join("small.tape"));
        let names = ["goodput", "warmup", "from", "to", "by", "lang"];
        let view = View {
            tapes: vec![tape],
            fields: Fields::new(names.map(|name| (name, String::new()))),
            reader: reader(),
            token: "secret".to_owned(),
        };
        let desk = Desk::new(view, SocketAddr::from(([127, 0, 0, 1], 8080)));
        let router = router(desk);
        Self { folder, router }
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
