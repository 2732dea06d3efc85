//! What is scraped while a run goes on: what comes onto the tape, what becomes of pages that fail, and
//! what is refused before anything is sent.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::json;

use crate::mock::{Mock, Reply};
use crate::program::{Folder, wait_until, without_numbers};

/// Answers a scrape with a page.
fn page(reply: &mut Reply, text: &str) {
    reply.body("200 OK", "text/plain; version=0.0.4", text);
}

/// The page of a server that has counted so many requests.
fn vllm(count: usize) -> String {
    format!(
        "# TYPE vllm:num_requests_running gauge\n\
         vllm:num_requests_running{{engine=\"0\"}} 1.0\n\
         vllm:kv_cache_usage_perc{{engine=\"0\"}} 0.25\n\
         vllm:request_success_total{{engine=\"0\",finished_reason=\"length\"}} {count}\n\
         vllm:time_to_first_token_seconds_bucket{{engine=\"0\",le=\"+Inf\"}} 7\n\
         vllm:time_to_first_token_seconds_sum{{engine=\"0\"}} {}\n\
         vllm:time_to_first_token_seconds_count{{engine=\"0\"}} {count}\n",
        count * 2
    )
}

/// A server whose scrapes are answered by `metrics`, and whose requests are when so many have begun:
/// all but the last of them are on the tape then, while the run's end may come before the last one's
/// answer is read.
fn server(wanted: usize, metrics: impl Fn(usize, &mut Reply) + Send + Sync + 'static) -> Mock {
    let scrapes = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&scrapes);
    let metrics = move |number: usize, reply: &mut Reply| {
        scrapes.fetch_max(number + 1, Ordering::AcqRel);
        metrics(number, reply);
    };
    Mock::start_with_metrics(metrics, move |request, reply| {
        wait_until("so many scrapes", || seen.load(Ordering::Acquire) >= wanted);
        reply.answer(request, &["a", "b", "c", "d"]);
    })
}

#[test]
fn what_a_server_says_is_on_the_tape_and_a_run_of_the_plan_asks_again() {
    // One before the run, one at its start, and one a second later that is read to its end.
    let mock = server(4, |number, reply| page(reply, &vllm(10 + number * 5)));
    let folder = Folder::new();
    let url = mock.url();
    let metrics = format!("{url}/metrics");
    let words = [
        "--num-prompts",
        "1",
        "--server-metrics",
        &url,
        "--host-metrics",
    ];
    folder.load(&url, &words).expect_code(0);
    // The page before the run is not on the tape; the one after it is.
    let rows = folder.table(
        "run.tape",
        "SELECT name, labels, count(*) >= 3 AS is_repeated, min(value) AS low FROM server_metrics \
         WHERE name LIKE 'vllm:%' GROUP BY name, labels ORDER BY name",
    );
    assert_eq!(
        rows,
        "vllm:kv_cache_usage_perc | engine=\"0\" | true | 0.25\n\
         vllm:num_requests_running | engine=\"0\" | true | 1.0\n\
         vllm:request_success_total | engine=\"0\",finished_reason=\"length\" | true | 15.0\n\
         vllm:time_to_first_token_seconds_bucket | engine=\"0\",le=\"+Inf\" | false | 7.0\n\
         vllm:time_to_first_token_seconds_count | engine=\"0\" | true | 15.0\n\
         vllm:time_to_first_token_seconds_sum | engine=\"0\" | true | 30.0"
    );
    let sources = folder.table(
        "run.tape",
        "SELECT source, count(DISTINCT at_ns) >= 2 AS is_repeated, min(at_ns) < 0 AS is_before \
         FROM server_metrics GROUP BY source ORDER BY source",
    );
    assert_eq!(
        sources,
        format!("host | true | true\n{metrics} | true | true")
    );
    let of_host = "SELECT count(*) FROM server_metrics WHERE name = 'node_memory_MemTotal_bytes' \
                   AND value > 0";
    assert!(folder.number("run.tape", of_host) >= 3);
    let found = folder.manifest("run.tape");
    assert_eq!(found["plan"]["server_metrics"], json!([metrics]));
    assert_eq!(found["plan"]["host_metrics"], json!(true));
    assert_eq!(found["metric_sources"][0]["source"], json!(metrics));
    assert!(found["metric_sources"][0]["scrapes"].as_u64().unwrap() >= 3);
    assert_eq!(found["metric_sources"][0]["failed"], json!(0));

    // The server counted ten requests, of which this client sent one.
    let told = folder
        .run(&["analyze", "run.tape", "--html", "report.html"])
        .expect_code(0);
    assert!(
        told.stdout.contains("requests more than this client did"),
        "{}",
        told.stdout
    );
    let html = folder.read("report.html");
    for figure in ["server-requests", "server-use"] {
        assert!(html.contains(&format!("id=\"{figure}\"")), "{figure}");
    }

    let again = ["run", "run.tape", "--no-summary", "--out", "again.tape"];
    let said = folder.run(&again).expect_code(0).stderr;
    assert!(
        said.contains(&format!("and reads metrics from `{metrics}`")),
        "{said}"
    );
    // A run may be over before its first page is read; one more is read then.
    let pages = "SELECT count(DISTINCT at_ns) FROM server_metrics WHERE source <> 'host'";
    assert!(folder.number("again.tape", pages) >= 1);
}

#[test]
fn a_scrape_that_fails_is_a_gap_that_is_told() {
    let mock = server(5, |number, reply| match number {
        2 => reply.body("503 Service Unavailable", "text/plain", "busy"),
        3 => reply.body("200 OK", "text/html", "<html>a proxy says sorry</html>"),
        _ => page(reply, "llamacpp:requests_processing 1\nno sample\n"),
    });
    let folder = Folder::new();
    let url = mock.url();
    let words = ["--num-prompts", "1", "--server-metrics", &url];
    let said = folder.load(&url, &words).expect_code(0).shown();
    let told = without_numbers(&said);
    assert!(
        told.contains(
            "warning: `http://#:[PORT]/metrics` had metrics in # of # scrapes; the others are gaps in \
             `server_metrics`, and the last one that failed did so since: it served a web page (HTML)"
        ),
        "{said}"
    );
    assert_eq!(said.matches("/metrics` had metrics").count(), 1, "{said}");
    assert!(
        said.contains("beyond its bounds or no samples: 1"),
        "{said}"
    );
    let rows = "SELECT count(*) FROM server_metrics";
    let source = &folder.manifest("run.tape")["metric_sources"][0];
    assert_eq!(json!(folder.number("run.tape", rows)), source["scrapes"]);
    assert_eq!(source["failed"], json!(2));
    let gap_ns = source["longest_gap_ns"].as_i64().unwrap();
    assert!(gap_ns > 2_000_000_000, "{source}");
    let told = folder.run(&["analyze", "run.tape"]).expect_code(0).stdout;
    assert!(told.contains("scrapes of `http"), "{told}");
}

#[test]
fn a_page_that_hangs_holds_up_nothing() {
    // What was scraped before the run, and at its start, is answered; nothing later is.
    let mock = server(3, |number, reply| match number {
        0 | 1 => page(reply, "tgi_queue_size 0\n"),
        _ => reply.wait_for_client_to_leave(),
    });
    let folder = Folder::new();
    let url = mock.url();
    let words = ["--num-prompts", "20", "--server-metrics", &url];
    let said = folder.load(&url, &words).expect_code(0).stderr;
    assert!(
        said.contains("no answer within 2 s of the end of the run"),
        "{said}"
    );
    let slow = "SELECT count(*) FROM requests WHERE status <> 'ok'";
    assert_eq!(folder.number("run.tape", slow), 0);
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM server_metrics"),
        1
    );
}

#[test]
fn what_serves_no_metrics_is_refused_before_anything_is_sent() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/metrics", free.local_addr().unwrap());
    drop(free);
    let html = "<!doctype html><title>Grafana</title>";
    let mock = Mock::start_with_metrics(
        move |number, reply| match number {
            0 => reply.body("200 OK", "text/html; charset=utf-8", html),
            1 => reply.body("200 OK", "application/json", "{\"status\": \"ok\"}"),
            _ => reply.body("501 Not Implemented", "text/plain", "start with --metrics"),
        },
        |request, reply| reply.answer(request, &["a"]),
    );
    let folder = Folder::new();
    let page = format!("{}/metrics", mock.url());
    for (url, code, message) in [
        (page.as_str(), 3, "serves a web page (HTML), not metrics"),
        (&page, 3, "serves a page without a sample, not metrics"),
        (
            &page,
            3,
            "could not read metrics from `http://127.0.0.1:[PORT]/metrics`: the server answered 501",
        ),
        (
            &closed,
            3,
            "could not read metrics from `http://127.0.0.1:[PORT]/metrics`",
        ),
        ("127.0.0.1:8000", 2, "`--server-metrics` is not an address"),
    ] {
        let outcome = folder
            .load(&mock.url(), &["--server-metrics", url])
            .expect_code(code);
        let said = outcome.shown();
        assert!(
            said.contains(message) && said.contains("hint: "),
            "{message}: {said}"
        );
    }
    assert_eq!(mock.requests().len(), 0);
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_run_that_is_killed_keeps_what_was_scraped() {
    let mock = Mock::start_with_metrics(
        |number, reply| page(reply, &vllm(number)),
        |_, reply| reply.wait_for_client_to_leave(),
    );
    let folder = Folder::new();
    let url = mock.url();
    let words = crate::program::load_words(&url, &["--num-prompts", "1", "--server-metrics", &url]);
    let running = folder.start(&words);
    // A scrape is on its way to the log when the next one comes.
    wait_until("four scrapes", || mock.scrapes() >= 4);
    running.signal(Signal::KILL);
    running.end();
    let scrapes = "SELECT count(DISTINCT at_ns) FROM server_metrics";
    assert!(folder.number("run.tape", scrapes) >= 2);
    assert!(
        folder.manifest("run.tape")["counts"]["server"]
            .as_u64()
            .unwrap()
            >= 10
    );
}

#[test]
fn a_secret_of_a_page_is_in_nothing_that_a_run_leaves() {
    const SECRET: &str = "q7Zx9Kw2+metrics";
    let mock = server(4, |number, reply| match number {
        2 => reply.body("401 Unauthorized", "text/plain", SECRET),
        _ => page(
            reply,
            &format!("up{{url=\"http://h/?token={SECRET}\",path=\"/x\"}} 1\n"),
        ),
    });
    let folder = Folder::new();
    let authority = mock.authority();
    let metrics = format!("http://me:{SECRET}@{authority}/metrics?token=q7Zx9Kw2%2Bmetrics");
    let words = ["--num-prompts", "1", "--server-metrics", &metrics];
    let outcome = folder.load(&mock.url(), &words).expect_code(0);
    let report = [
        "analyze",
        "run.tape",
        "--html",
        "report.html",
        "--csv",
        "tables",
    ];
    let report = folder.run(&report).expect_code(0);
    // One whose password was not given, and one that can't be reached.
    let again = folder
        .run(&["run", "run.tape", "--out", "again.tape"])
        .expect_code(2);
    assert!(
        again.stderr.contains("give all pages again"),
        "{}",
        again.stderr
    );
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = free.local_addr().unwrap();
    drop(free);
    let closed = format!("http://me:{SECRET}@{closed}/metrics");
    let words = ["--out", "no.tape", "--server-metrics", &closed];
    let refused = folder.load(&mock.url(), &words).expect_code(3);
    for said in [&outcome, &report, &again, &refused] {
        for text in [&said.stdout, &said.stderr] {
            assert!(!text.contains("q7Zx9Kw2"), "{text}");
        }
    }
    for (path, bytes) in folder.files() {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!text.contains("q7Zx9Kw2"), "{path}");
    }
    let labels = "SELECT DISTINCT labels FROM server_metrics";
    assert_eq!(
        folder.table("run.tape", labels),
        "url=\"http://h/?token=***\",path=\"/x\""
    );
}
