//! Loads of conversations: what turns hold, how many sessions are open, and what is said of them.

use serde_json::{Value, json};

use crate::mock::Mock;
use crate::program::{Folder, Outcome};

/// Two conversations: one of two turns in ShareGPT's form, one of three with a system's words.
fn file(folder: &Folder) {
    let conversations = json!([
        { "id": "a", "conversations": [
            { "from": "human", "value": "A one?" }, { "from": "gpt", "value": "told a1" },
            { "from": "human", "value": "A two?" }, { "from": "gpt", "value": "told a2" },
        ] },
        { "id": "b", "messages": [
            { "role": "system", "content": "Be brief." },
            { "role": "user", "content": "B one?" }, { "role": "assistant", "content": "told b1" },
            { "role": "user", "content": "B two?" }, { "role": "assistant", "content": "told b2" },
            { "role": "user", "content": "B three?" },
        ] },
    ]);
    folder.write("talks.json", conversations.to_string());
}

/// Runs a load of conversations.
fn run(mock: &Mock, folder: &Folder, more: &[&str]) -> Outcome {
    let url = mock.url();
    let words = ["load", "--base-url", &url, "--model", "m", "--no-summary"];
    let set = [
        "--dataset-name",
        "conversations",
        "--out",
        "run.tape",
        "--force",
    ];
    folder.run(&[&words[..], &set, more].concat())
}

/// The same, of the file's, as chats.
fn load(mock: &Mock, folder: &Folder, more: &[&str]) -> Outcome {
    let words = ["--dataset-path", "talks.json", "--backend", "openai-chat"];
    run(mock, folder, &[&words[..], more].concat())
}

/// The messages of the request whose last one is this, as role and content.
fn messages(mock: &Mock, last: &str) -> Vec<(String, String)> {
    let requests = mock.requests();
    let said = |request: &crate::mock::Request| -> Vec<(String, String)> {
        let messages = request.body["messages"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        messages
            .map(|one| (text(&one["role"]), text(&one["content"])))
            .collect()
    };
    let mut all = requests.iter().map(said);
    all.find(|said| said.last().unwrap().1 == last).unwrap()
}

fn contents(said: &[(String, String)]) -> Vec<&str> {
    said.iter().map(|(_, content)| content.as_str()).collect()
}

#[test]
fn later_turns_hold_what_the_server_said_the_files_replies_or_none() {
    for (replies, held) in [
        (
            "live",
            &[
                "Be brief.",
                "B one?",
                "so it is",
                "B two?",
                "so it is",
                "B three?",
            ][..],
        ),
        (
            "trace",
            &[
                "Be brief.",
                "B one?",
                "told b1",
                "B two?",
                "told b2",
                "B three?",
            ],
        ),
        ("none", &["Be brief.", "B one?", "B two?", "B three?"]),
    ] {
        let mock = Mock::answering(&["so", " it is"]);
        let folder = Folder::new();
        file(&folder);
        load(
            &mock,
            &folder,
            &["--max-sessions", "1", "--session-replies", replies],
        )
        .expect_code(0);
        assert_eq!(contents(&messages(&mock, "B three?")), held);
        let mut roles = messages(&mock, "B three?")
            .into_iter()
            .map(|(role, _)| role);
        assert_eq!(roles.next_back().as_deref(), Some("user"));
        let rows = "SELECT session_id, turn, status FROM requests ORDER BY session_id, turn";
        assert_eq!(
            folder.table("run.tape", rows),
            "a | 0 | ok\na | 1 | ok\nb | 0 | ok\nb | 1 | ok\nb | 2 | ok"
        );
        let manifest = folder.manifest("run.tape");
        let counts = &manifest["sessions"];
        assert_eq!(
            (&counts["started"], &counts["finished"]),
            (&json!(2), &json!(2))
        );
        assert_eq!(manifest["plan"]["sessions"]["replies"], replies);
    }
}

#[test]
fn one_session_at_a_time_is_one_request_at_a_time_and_a_file_begins_again_under_other_names() {
    let mock = Mock::answering(&["yes"]);
    let folder = Folder::new();
    file(&folder);
    let told = load(
        &mock,
        &folder,
        &["--max-sessions", "1", "--num-sessions", "4"],
    )
    .expect_code(0);
    assert_eq!((mock.requests().len(), mock.in_flight_max()), (10, 1));
    assert!(told.stderr.contains("2 conversations"), "{}", told.stderr);
    let names = "SELECT DISTINCT session_id FROM requests ORDER BY 1";
    assert_eq!(folder.table("run.tape", names), "a\na-2\nb\nb-2");
    load(
        &mock,
        &folder,
        &["--max-sessions", "2", "--num-prompts", "7"],
    )
    .expect_code(0);
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM requests"),
        7
    );
}

#[test]
fn a_turn_that_fails_ends_its_session_and_is_said() {
    let mock = Mock::start(|request, reply| {
        let text = request.body.to_string();
        match text.contains("B two?") {
            true => reply.refuse("500 Internal Server Error", "no"),
            false => reply.answer(request, &["yes"]),
        }
    });
    let folder = Folder::new();
    file(&folder);
    let told = load(&mock, &folder, &["--max-sessions", "2"])
        .expect_code(0)
        .stderr;
    let ended =
        "sessions that ended at a turn that failed: 1 of 2; turns that were not sent for that: 1";
    assert!(told.contains(ended), "{told}");
    folder
        .run(&["analyze", "run.tape", "--html", "r.html", "--force"])
        .expect_code(0);
    let page = folder.read("r.html");
    assert!(page.contains("1 of 2 sessions ended at a turn that failed"));
    let skip = load(
        &mock,
        &folder,
        &["--max-sessions", "2", "--on-failed-turn", "skip"],
    );
    assert!(
        skip.expect_code(0).stderr.contains("passed over: 1"),
        "the next turn is sent without it"
    );
}

#[test]
fn the_command_line_of_vllms_multi_turn_benchmark_is_understood() {
    let mock = Mock::answering(&["yes"]);
    let folder = Folder::new();
    file(&folder);
    let url = mock.url();
    let words = [
        "load",
        "-i",
        "talks.json",
        "-m",
        "gpt-4",
        "-u",
        &url,
        "-p",
        "1",
        "-k",
        "2",
        "--max-num-requests",
        "4",
        "--request-rate",
        "1000",
        "--excel-output",
        "--out",
        "run.tape",
    ];
    let outcome = folder.run(&words).expect_code(0);
    let read = "--dataset-name conversations --dataset-path talks.json --model gpt-4";
    assert!(outcome.stderr.contains(read), "{}", outcome.stderr);
    assert_eq!((mock.requests().len(), mock.in_flight_max()), (4, 1));
    assert!(
        mock.requests()
            .iter()
            .all(|request| request.path == "/v1/chat/completions")
    );
    let plan = folder.manifest("run.tape")["plan"].clone();
    assert_eq!(plan["sessions"]["max_sessions"], 2);
    assert_eq!(
        (&plan["max_concurrency"], &plan["model"]),
        (&json!(1), &json!("gpt-4"))
    );
    assert!(
        folder
            .read("run.csv/latency_by_turn.csv")
            .starts_with("run,turns,n,")
    );
}

#[test]
fn flags_of_sessions_without_conversations_and_files_that_are_none_are_refused() {
    let mock = Mock::answering(&["no"]);
    let folder = Folder::new();
    file(&folder);
    folder.write("no.json", "{\"conversations\": [");
    folder.write("table.csv", "id,prompt\n1,a\n");
    let path = |name: &'static str| vec!["--max-sessions", "1", "--dataset-path", name];
    for (words, message) in [
        (
            vec!["--request-rate", "2"],
            "`--request-rate` has no effect on conversations",
        ),
        (
            vec!["--conversation-turns", "uniform:9:1"],
            "--conversation-turns",
        ),
        (vec!["--think-time=-1"], "--think-time"),
        (path("no.json"), "no.json"),
        (path("table.csv"), "table.csv"),
        (path("gone.json"), "gone.json"),
    ] {
        let outcome = run(&mock, &folder, &words);
        assert_ne!(outcome.code, 0, "{words:?}");
        assert!(outcome.stderr.contains(message), "{}", outcome.stderr);
    }
    let outcome = folder
        .load(&mock.url(), &["--max-sessions", "2"])
        .expect_code(2);
    let stray = "`--max-sessions` has no effect on the data set `random`";
    assert!(outcome.stderr.contains(stray), "{}", outcome.stderr);
    assert!(mock.requests().is_empty());
    // A completion has no messages, so that a turn is one text.
    let told = run(&mock, &folder, &path("talks.json"))
        .expect_code(0)
        .stderr;
    assert!(
        told.contains("`--backend openai-chat` sends them as messages"),
        "{told}"
    );
}
