//! Keys and passwords: sent to the server, and found in nothing that a run leaves, whatever the
//! server does with them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::mock::{Mock, Reply, Request};
use crate::program::{Folder, Outcome, load_words};

/// What every secret holds, which no encoding but those of every letter changes.
const CORE: &str = "q7Zx9Kw2";

/// The places from which a secret comes.
const PLACES: [&str; 11] = [
    "environment",
    "header",
    "cookie",
    "password",
    "base-query",
    "endpoint-query",
    "body",
    "deep-body",
    "auth-body",
    "keylike-body",
    "proxy",
];

/// The secret of a place, with characters that every encoding writes in another way.
fn secret(place: &str) -> String {
    let start = if place == "keylike-body" { "sk-" } else { "s/" };
    format!("{start}{CORE}+{place}=1&\"")
}

fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// The ways in which a server may write a secret.
const WRITINGS: [fn(&str) -> String; 8] = [
    |text| text.to_owned(),
    |text| format!("Bearer {text}"),
    percent,
    |text| percent(text).replace('%', "%25"),
    |text| STANDARD.encode(text),
    |text| STANDARD.encode(format!("me:{text}")),
    |text| {
        text.chars()
            .map(|c| format!("\\u{:04x}", u32::from(c)))
            .collect()
    },
    |text| {
        text.replace('/', "\\/")
            .replace('"', "&quot;")
            .replace('&', "&amp;")
    },
];

/// Whatever of a secret would still be one, in each of the writings.
fn traces() -> Vec<String> {
    let mut traces = vec![
        CORE.to_owned(),
        percent(CORE),
        percent(CORE).replace('%', "%25"),
    ];
    traces.push(WRITINGS[6](CORE));
    for before in 0..3 {
        let whole = STANDARD.encode(format!("{}{CORE}", "a".repeat(before)));
        let own = (before * 8).div_ceil(6)..(before + CORE.len()) * 8 / 6;
        traces.push(whole[own].to_owned());
    }
    traces
}

#[track_caller]
fn assert_clean(what: &str, text: &str) {
    for trace in traces() {
        let found = text.find(&trace).map(|at| &text[at.saturating_sub(60)..]);
        assert_eq!(
            found.map(|part| &part[..part.len().min(200)]),
            None,
            "{what}"
        );
    }
}

/// Repeats all secrets in one writing, in every place in which a server can say something.
fn repeat(request: &Request, reply: &mut Reply) {
    let write = WRITINGS[request.index / 6 % WRITINGS.len()];
    // What was not given can't be known for a secret.
    let has_body = !request.body["auth"].is_null();
    let is_given = |place: &str| has_body || !(place.ends_with("body") || place == "cookie");
    let given = PLACES.iter().filter(|place| is_given(place));
    let said: Vec<String> = given.map(|place| write(&secret(place))).collect();
    let said = said[request.index * 3 % said.len()..].join(" ");
    match request.index % 6 {
        0 => reply.refuse("401 Unauthorized", &format!("bad key: {said}")),
        // Where a message is cut.
        1 => reply.body(
            "403 Forbidden",
            "text/plain",
            &format!("{}{said}", "x".repeat(492)),
        ),
        2 => {
            reply.begin();
            reply.event(
                &json!({ "id": said, "choices": [{ "delta": { said.as_str(): "x" } }] })
                    .to_string(),
            );
            reply.event(&json!({ "error": { "message": said, "code": said } }).to_string());
            reply.end();
        }
        3 => {
            reply.begin();
            reply.text(&said);
            for part in said.as_bytes().chunks(3) {
                reply.text(&String::from_utf8_lossy(part));
            }
            let finish = json!({ "choices": [{ "delta": {}, "finish_reason": said }] });
            reply.event(&finish.to_string());
            reply.done();
            reply.end();
        }
        4 => reply.body(
            "200 OK",
            "application/json",
            &json!({ "status": said }).to_string(),
        ),
        _ => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-encoding: {said}\r\n\r\n");
            reply.raw(head.as_bytes());
            reply.close();
        }
    }
}

/// The words of a load that has a secret of every place.
fn words<'a>(url: &'a str, of: &'a Typed, more: &[&'a str]) -> Vec<&'a str> {
    let own = [
        "--endpoint",
        &of.endpoint,
        "--header",
        &of.header,
        "--header",
        &of.cookie,
        "--extra-body",
        &of.body,
    ];
    load_words(url, &[&own[..], more].concat())
}

struct Typed {
    endpoint: String,
    header: String,
    cookie: String,
    body: String,
}

impl Typed {
    fn new() -> Self {
        Self {
            endpoint: format!(
                "/v1/chat?key={}&api-version=1",
                percent(&secret("endpoint-query"))
            ),
            header: format!("X-Own: Token {}", secret("header")),
            cookie: format!("Cookie: a=b; id={}", secret("cookie")),
            body: json!({
                "api_key": secret("body"),
                "m": { "n": [{ "password": secret("deep-body") }] },
                "auth": secret("auth-body"),
                "note": secret("keylike-body"),
                "top_k": 3,
            })
            .to_string(),
        }
    }
}

/// The address with its own secrets.
fn address(authority: &str) -> String {
    let (password, query) = (percent(&secret("password")), percent(&secret("base-query")));
    format!("http://me:{password}@{authority}/?sig={query}")
}

fn with_environment(folder: &Folder, words: &[&str]) -> Outcome {
    let proxy = format!("http://me:{}@127.0.0.1:1", percent(&secret("proxy")));
    let key = secret("environment");
    folder.run_with(words, &[("OPENAI_API_KEY", &key), ("https_proxy", &proxy)])
}

/// Says that the server was given the secrets, and the query as one.
fn assert_sent(mock: &Mock) {
    let request = mock.requests().remove(0);
    assert!(
        request.path.starts_with("/v1/chat?sig="),
        "{}",
        request.path
    );
    assert!(request.path.ends_with("&api-version=1"), "{}", request.path);
    assert!(request.path.contains(&percent(&secret("endpoint-query"))));
    assert_eq!(request.body["auth"], secret("auth-body"));
    let basic = STANDARD.encode(format!("me:{}", secret("password")));
    assert_eq!(
        request.header("authorization"),
        Some(format!("Basic {basic}").as_str())
    );
    assert!(
        request
            .header("cookie")
            .unwrap()
            .ends_with(&secret("cookie"))
    );
}

/// Makes every report of a tape, and prints all its texts.
fn reports(folder: &Folder, tape: &str) -> [Outcome; 2] {
    let name = |end: &str| format!("{tape}.{end}");
    let (html, markdown, json, csv) = (name("html"), name("md"), name("json"), name("csv"));
    let outputs = [
        "analyze",
        tape,
        "--html",
        &html,
        "--markdown",
        &markdown,
        "--json",
        &json,
        "--csv",
        &csv,
    ];
    let texts = "SELECT *, (SELECT string_agg(text, '' ORDER BY seq) FROM chunks c \
                 WHERE c.request_id = r.request_id) AS parts FROM requests r";
    let question = ["sql", tape, "-c", texts, "--format", "json"];
    let said = [&outputs[..], &question].map(|words| with_environment(folder, words));
    assert!(folder.read(&html).contains("</html>"));
    assert_eq!(said[1].code, 0, "{}", said[1].shown());
    said
}

/// Says that what is not secret stays.
fn assert_rest_stays(folder: &Folder) {
    let texts = "SELECT count(*) FROM requests WHERE error_message LIKE 'bad key: %***%'";
    assert_eq!(
        folder.number("run.tape", texts),
        i64::try_from(WRITINGS.len()).unwrap()
    );
    let plan = &folder.manifest("run.tape")["plan"];
    assert_eq!(plan["extra_body"]["top_k"], 3);
    assert!(
        plan["url"]
            .as_str()
            .unwrap()
            .ends_with("?sig=***&key=***&api-version=1"),
        "{plan}"
    );
    assert!(
        plan["command"]
            .as_str()
            .unwrap()
            .contains("'/v1/chat?key=***&api-version=1'"),
        "{plan}"
    );
}

#[test]
fn nothing_that_a_run_leaves_has_a_secret() {
    let mock = Mock::start(repeat);
    let url = address(&mock.authority());
    let typed = Typed::new();
    let folder = Folder::new();
    let count = (6 * WRITINGS.len()).to_string();
    let more = [
        "--num-prompts",
        &count,
        "--max-concurrency",
        "4",
        "--keep",
        "text",
    ];
    let mut said = vec![with_environment(&folder, &words(&url, &typed, &more))];

    assert_sent(&mock);

    let with = |verb: &[&str]| with_environment(&folder, verb);
    said.push(with(&words(&url, &typed, &["--dry-run"])));
    let nobody = address("127.0.0.1:1");
    said.push(with(&words(
        &nobody,
        &typed,
        &["--out", "none.tape", "--num-prompts", "2"],
    )));
    said.push(with(&[
        "verify",
        "--base-url",
        &url,
        "--endpoint",
        &typed.endpoint,
        "--model",
        "mock",
        "--header",
        &typed.header,
        "--streams",
        "1",
        "--duration",
        "100ms",
        "--out",
        "verified",
    ]));
    said.push(with(&[
        "load",
        "--base-url",
        &nobody,
        "--endpoint",
        &typed.endpoint,
    ]));
    for tape in ["run.tape", "none.tape"] {
        said.extend(reports(&folder, tape));
    }
    for outcome in &said {
        assert_clean("what was said", &outcome.shown());
        assert!(outcome.code != 2, "{}", outcome.shown());
    }
    for (path, bytes) in folder.files() {
        assert_clean(&path, &String::from_utf8_lossy(&bytes));
    }
    assert_rest_stays(&folder);
}

#[test]
fn a_flag_with_underscores_is_the_same_flag_and_masked_alike() {
    let folder = Folder::new();
    let body = json!({ "api_key": secret("body") }).to_string();
    let words = [
        "load",
        "--dry_run",
        "--dataset_name",
        "prefix_repetition",
        "--extra_body",
        &body,
    ];
    let plan = folder.run(&words).expect_code(0).stdout;
    assert!(plan.contains(r#""name": "prefix-repetition""#), "{plan}");
    assert!(!plan.contains(CORE), "{plan}");
}
