//! `load`: the shapes of load, what is sent, and what must never be seen.

use std::collections::HashSet;

use crate::mock::{Mock, Request};
use crate::program::{Folder, Outcome, TOKENIZER_NOTE, load_words};

fn prompts(requests: &[Request]) -> Vec<String> {
    let mut prompts: Vec<String> = requests.iter().map(|r| r.prompt().to_owned()).collect();
    prompts.sort();
    prompts
}

#[test]
fn a_closed_loop_never_has_more_in_flight_and_each_request_is_due_when_its_slot_is_free() {
    let mock = Mock::answering(&["a", "b", "c"]);
    let folder = Folder::new();
    let words = ["--num-prompts", "40", "--max-concurrency", "3"];
    folder.load(&mock.url(), &words).expect_code(0);
    assert_eq!(mock.requests().len(), 40);
    assert!(mock.in_flight_max() <= 3, "{}", mock.in_flight_max());
    assert_eq!(folder.manifest("run.tape")["loop"], "closed");
    // The first three are due at the start, every other one when an earlier one has ended.
    let due = "SELECT count(*) AS n, count(*) FILTER (WHERE intended_ns = 0) AS first, \
               max(queued_ns) AS queued, min(dispatched_ns - intended_ns) >= 0 AS is_never_early \
               FROM requests";
    assert_eq!(folder.table("run.tape", due), "40 | 3 | 0 | true");
    let later =
        "SELECT count(*) FROM requests a LEFT SEMI JOIN requests b ON a.intended_ns = b.end_ns";
    assert_eq!(folder.number("run.tape", later), 37);
    let overlaps = "SELECT max(n) AS n FROM (SELECT a.request_id, count(*) AS n FROM requests a \
                    JOIN requests b ON b.dispatched_ns <= a.dispatched_ns AND b.end_ns > a.dispatched_ns \
                    GROUP BY a.request_id)";
    assert!(folder.number("run.tape", overlaps) <= 3);
}

#[test]
fn a_cap_under_a_rate_queues_and_the_wait_is_not_the_clients_own_lateness() {
    let mock = Mock::start(|request, reply| {
        // Slower than the rate, so that all but the first wait.
        std::thread::park_timeout(std::time::Duration::from_millis(10));
        reply.answer(request, &["a"]);
    });
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "30",
        "--request-rate",
        "1000/s",
        "--arrivals",
        "constant",
        "--max-concurrency",
        "1",
    ];
    folder.load(&mock.url(), &words).expect_code(0);
    assert_eq!(mock.in_flight_max(), 1);
    assert_eq!(folder.manifest("run.tape")["loop"], "open");
    let facts = "SELECT count(*) AS n, \
                 bool_and(intended_ns = request_id * 1000000) AS is_on_schedule, \
                 max(queued_ns) > 100000000 AS has_queued, \
                 bool_and(dispatched_ns >= intended_ns + queued_ns) AS adds_up, \
                 median(slip_ns) < 100000000 AS is_punctual FROM requests";
    assert_eq!(
        folder.table("run.tape", facts),
        "30 | true | true | true | true"
    );
}

#[test]
fn without_rate_and_cap_all_are_due_at_once() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let outcome = folder.load(&mock.url(), &["--num-prompts", "20"]);
    let outcome = outcome.expect_code(0);
    let said = outcome
        .stderr
        .lines()
        .filter(|line| *line == TOKENIZER_NOTE);
    assert_eq!(said.count(), 1, "{}", outcome.stderr);
    let due = "SELECT count(*) AS n, min(intended_ns) AS low, max(intended_ns) AS high, \
               max(queued_ns) AS queued FROM requests";
    assert_eq!(folder.table("run.tape", due), "20 | 0 | 0 | 0");
}

#[test]
fn warm_ups_come_before_zero_and_count_for_nothing() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let words = [
        "--num-prompts",
        "5",
        "--num-warmups",
        "3",
        "--max-concurrency",
        "2",
    ];
    folder.load(&mock.url(), &words).expect_code(0);
    let requests = mock.requests();
    assert_eq!(requests.len(), 8);
    assert_eq!(prompts(&requests).iter().collect::<HashSet<_>>().len(), 8);
    let phases = "SELECT phase, count(*) AS n, bool_and(intended_ns < 0 AND end_ns < 0) AS is_before, \
                  min(request_id) >= 9223372036854775808 AS has_high_id \
                  FROM attempts GROUP BY phase ORDER BY phase";
    insta::assert_snapshot!(folder.table("run.tape", phases), @r"
    measure | 5 | false | false
    warmup | 3 | true | true
    ");
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM requests"),
        5
    );
    assert_eq!(
        folder.number("run.tape", "SELECT count(*) FROM attempts"),
        8
    );
}

#[test]
fn the_same_seed_sends_the_same_bodies_at_the_same_times() {
    let words = [
        "--num-prompts",
        "12",
        "--request-rate",
        "200",
        "--random-range-ratio",
        "0.5",
        "--seed",
    ];
    let [first, again, other] = ["1", "1", "2"].map(|seed| {
        let mock = Mock::answering(&["a"]);
        let folder = Folder::new();
        let words: Vec<&str> = words.iter().copied().chain([seed]).collect();
        folder.load(&mock.url(), &words).expect_code(0);
        let mut bodies: Vec<String> = mock
            .requests()
            .iter()
            .map(|request| request.body.to_string())
            .collect();
        bodies.sort();
        let due = "SELECT intended_ns, input_tokens_planned, output_tokens_planned \
                   FROM requests ORDER BY request_id";
        (bodies, folder.table("run.tape", due))
    });
    assert_eq!(first, again);
    assert_ne!(first.0, other.0);
    assert_ne!(first.1, other.1);
}

/// The prompts of one run, and what its plan has as salt.
fn salted_run(words: &[&str]) -> (Vec<String>, Option<u64>) {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let words: Vec<&str> = ["--num-prompts", "5"]
        .iter()
        .chain(words)
        .copied()
        .collect();
    folder.load(&mock.url(), &words).expect_code(0);
    let manifest = std::fs::read_to_string(folder.path("run.tape/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    (
        prompts(&mock.requests()),
        manifest["plan"]["prompt_salt"].as_u64(),
    )
}

#[test]
fn a_run_shares_no_prompt_with_the_run_before_unless_it_is_asked_to() {
    let (first, salt) = salted_run(&[]);
    let (second, other) = salted_run(&[]);
    assert!(salt.is_some() && other.is_some() && salt != other);
    assert!(first.iter().all(|prompt| !second.contains(prompt)));
    let salt = salt.unwrap().to_string();
    assert_eq!(salted_run(&["--prompt-salt", &salt]).0, first);
    let seeded = salted_run(&["--seed", "0"]);
    assert_eq!(seeded.1, None);
    assert_eq!(salted_run(&["--seed", "0"]), seeded);
}

#[test]
fn a_duration_ends_a_schedule_that_has_no_number() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let words = [
        "--duration",
        "500ms",
        "--request-rate",
        "100",
        "--arrivals",
        "constant",
    ];
    folder.load(&mock.url(), &words).expect_code(0);
    let facts = "SELECT count(*) AS n, max(intended_ns) AS last FROM requests";
    assert_eq!(folder.table("run.tape", facts), "50 | 490000000");
    assert_eq!(folder.manifest("run.tape")["state"], "complete");
}

#[test]
fn bodies_ask_for_a_stream_with_usage_and_the_planned_length() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    for (backend, path) in [
        ("openai-chat", "/v1/chat/completions"),
        ("openai", "/v1/completions"),
        ("vllm", "/v1/completions"),
    ] {
        let words = [
            "--num-prompts",
            "1",
            "--backend",
            backend,
            "--force",
            "--ignore-eos",
        ];
        folder.load(&mock.url(), &words).expect_code(0);
        let request = mock.requests().pop().unwrap();
        assert_eq!(request.path, path);
        assert_eq!(request.body["stream"], true);
        assert_eq!(request.body["stream_options"]["include_usage"], true);
        assert_eq!(request.prompt().split(' ').count(), 4);
        assert_eq!(request.body["model"], "mock");
        let asked = [
            &request.body["max_tokens"],
            &request.body["max_completion_tokens"],
        ];
        assert!(asked.iter().any(|tokens| **tokens == 4), "{}", request.body);
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
}

#[test]
fn a_version_in_the_base_address_is_not_doubled_and_the_model_is_asked_for() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let url = format!("{}/v1/", mock.url());
    let words = [
        "load",
        "--base-url",
        &url,
        "--num-prompts",
        "1",
        "--no-summary",
        "--out",
        "run.tape",
    ];
    folder.run(&words).expect_code(0);
    let request = mock.requests().remove(0);
    assert_eq!(request.path, "/v1/completions");
    assert_eq!(request.body["model"], "mock");
    assert_eq!(
        folder.table("run.tape", "SELECT model FROM requests"),
        "mock"
    );
}

#[test]
fn the_key_of_the_environment_is_sent_unless_the_user_names_another() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let urls = [mock.url(), format!("http://me:pw@{}", mock.authority())];
    let cases: [(&str, &[&str], &str); 3] = [
        (&urls[0], &[], "Bearer sk-env"),
        (&urls[1], &[], "Basic bWU6cHc="),
        (
            &urls[1],
            &["--header", "Authorization: Bearer own"],
            "Bearer own",
        ),
    ];
    for (url, more, wanted) in cases {
        let more: Vec<&str> = [&["--num-prompts", "1", "--force"], more].concat();
        let variables = [("OPENAI_API_KEY", "sk-env")];
        folder
            .run_with(&load_words(url, &more), &variables)
            .expect_code(0);
        let request = mock.requests().pop().unwrap();
        let sent = request
            .headers
            .iter()
            .filter(|(name, _)| name == "authorization");
        let sent: Vec<&str> = sent.map(|(_, value)| value.as_str()).collect();
        assert_eq!(sent, [wanted]);
    }
}

#[test]
fn texts_are_kept_only_when_asked_for() {
    let mock = Mock::answering(&["lorem", "ipsum"]);
    let folder = Folder::new();
    folder
        .load(&mock.url(), &["--num-prompts", "1"])
        .expect_code(0);
    let texts = "SELECT prompt IS NOT NULL AS has_prompt, output FROM requests";
    assert_eq!(folder.table("run.tape", texts), "false | -");
    let words = ["--num-prompts", "1", "--keep", "text", "--force"];
    folder.load(&mock.url(), &words).expect_code(0);
    assert_eq!(folder.table("run.tape", texts), "true | loremipsum");
    let chunks = "SELECT text FROM chunks WHERE text IS NOT NULL ORDER BY seq";
    assert_eq!(folder.table("run.tape", chunks), "lorem\nipsum");
}

#[test]
fn a_dry_run_prints_the_plan_and_sends_nothing() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let outcome = folder.load(&mock.url(), &["--request-rate", "5", "--dry-run"]);
    let outcome = outcome.expect_code(0);
    let plan: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(plan["num_prompts"], 1000);
    assert_eq!(plan["arrivals"]["request_rate"], 5.0);
    assert_eq!(plan["model"], "mock");
    assert!(mock.requests().is_empty());
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn what_can_not_be_meant_is_refused_before_anything_is_sent() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let url = mock.url();
    let cases: [&[&str]; 9] = [
        &["--extra-body", "{\"n\": 2}"],
        &["--extra-body", "[1]"],
        &["--extra-body", "{"],
        &["--header", "no-colon"],
        &["--label", "batch"],
        &["--goodput", "speed:3"],
        &["--metric-percentiles", "101"],
        &["--duration", "10s"],
        &["--request-rate", "5", "--burstiness", "0"],
    ];
    let shown = cases.map(|more| folder.run(&load_words(&url, more)).expect_code(2).stderr);
    insta::assert_snapshot!(shown.join("\n\n"), @r#"
    error: `n` in the extra body asks for several answers, which can't be measured as one stream
    hint: send more requests instead

    error: `--extra-body` is not a JSON object
    hint: write {"field": value}

    error: `--extra-body` is not JSON: EOF while parsing an object at line 1 column 1
    hint: quote it for the shell: '{"field": value}'

    error: a `--header` is not `Name: value`
    hint: write it as Name: value

    error: `--label batch` is not AXIS=VALUE
    hint: write it as in batch=4

    error: `speed:3` is not a goal
    hint: write METRIC:MILLISECONDS with ttft, tpot or e2el, such as ttft:200

    error: `--metric-percentiles 101` is not between 0 and 100
    hint: write percentiles such as 50,90,99

    error: all requests at once, without end
    hint: give `--num-prompts`, a finite `--request-rate`, or `--max-concurrency`

    error: a burstiness of 0 is not a positive number
    "#);
    for words in [
        &["--base-url", "localhost:8000"][..],
        &["--backend", "openai"],
    ] {
        let mut words = words.to_vec();
        words.extend([
            "--tokenizer",
            "Qwen/Qwen3-8B",
            "--model",
            "m",
            "--num-prompts",
            "1",
        ]);
        words.insert(0, "load");
        let code = if words[1] == "--base-url" { 2 } else { 4 };
        folder.run(&words).expect_code(code);
    }
    assert!(mock.requests().is_empty());
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

const SHAREGPT: &str = r#"[
  {"id": "a", "conversations": [{"from": "human", "value": "What is the tallest mountain?"},
                                {"from": "gpt", "value": "It is Mount Everest."}]},
  {"id": "b", "conversations": [{"from": "gpt", "value": "Cut."}]},
  {"id": "c", "conversations": [{"role": "user", "content": "How many legs has a spider?"},
                                {"role": "assistant", "content": "Eight."}]}
]"#;

/// A load without flags on what is sent.
fn load_of(folder: &Folder, url: &str, more: &[&str]) -> Outcome {
    let words = ["load", "--base-url", url, "--model", "m", "--no-summary"];
    let output = ["--out", "run.tape", "--num-warmups", "0"];
    folder.run(&[&words[..], &output, more].concat())
}

#[test]
fn recorded_prompts_are_sent_with_a_length_that_is_asked_for_and_again_where_they_are_too_few() {
    let folder = Folder::new();
    folder.write("share.json", SHAREGPT);
    let mock = Mock::answering(&["a"]);
    let words = ["--dataset-name", "sharegpt", "--dataset-path", "share.json"];
    let length = ["--sharegpt-output-len", "7", "--num-prompts", "4"];
    let outcome = load_of(&folder, &mock.url(), &[words, length].concat()).expect_code(0);
    let again = "note: 2 of 2 conversations are sent, then the same ones again";
    assert!(outcome.stderr.contains(again), "{}", outcome.stderr);
    assert_eq!(
        prompts(&mock.requests()),
        [
            "How many legs has a spider?",
            "How many legs has a spider?",
            "What is the tallest mountain?",
            "What is the tallest mountain?"
        ]
    );
    let planned = "SELECT DISTINCT output_tokens_planned FROM requests";
    assert_eq!(folder.number("run.tape", planned), 7);
    let dataset = &folder.manifest("run.tape")["plan"]["dataset"];
    assert_eq!(dataset["name"], "sharegpt");
    assert_eq!(dataset["path"], "share.json");
    // The tape's plan drives the same again.
    let again = ["run", "run.tape", "--out", "again.tape", "--no-summary"];
    folder.run(&again).expect_code(0);
    assert_eq!(
        prompts(&mock.requests()[4..]),
        prompts(&mock.requests()[..4])
    );
}

#[test]
fn the_server_counts_a_data_set_before_the_run_and_never_during_it() {
    let folder = Folder::new();
    folder.write("share.json", SHAREGPT);
    let mock = Mock::start(|request, reply| match request.path.as_str() {
        "/tokenize" => {
            assert_eq!(request.body["add_special_tokens"], false);
            let count = 2 * request.prompt().split(' ').count();
            let body = serde_json::json!({ "count": count, "tokens": [] });
            reply.body("200 OK", "application/json", &body.to_string());
        }
        _ => reply.answer(request, &["a"]),
    });
    let words = ["--dataset-name", "sharegpt", "--dataset-path", "share.json"];
    let server = ["--tokenizer", "server", "--num-prompts", "3"];
    let words = [&words[..], &server].concat();
    let outcome = load_of(&folder, &mock.url(), &words).expect_code(0);
    assert!(
        outcome.stderr.contains("note: the server counts"),
        "{}",
        outcome.stderr
    );
    let paths = mock.requests().into_iter().map(|request| request.path);
    let wanted = ["/tokenize"; 4].into_iter().chain(["/v1/completions"; 3]);
    assert!(paths.eq(wanted));
    // The one-word reply has 2 tokens, fewer than an answer may have.
    let planned =
        "SELECT DISTINCT 1000 * input_tokens_planned + output_tokens_planned FROM requests";
    assert_eq!(folder.number("run.tape", planned), 10_008);
    assert_eq!(folder.manifest("run.tape")["plan"]["tokenizer"], "server");
    let dry = folder.run(&[
        "load",
        "--base-url",
        "http://h",
        "--tokenizer",
        "server",
        "--dry-run",
    ]);
    assert!(dry.expect_code(2).stderr.contains("a dry run asks nobody"));
    let none = Mock::start(|_, reply| reply.refuse("404 Not Found", "no such path"));
    let outcome = load_of(&folder, &none.url(), &words);
    let said = outcome.stderr.replace(&none.url(), "URL");
    assert!(said.contains("`URL` does not count prompts"), "{said}");
    let words = [
        "--dataset-name",
        "conversations",
        "--dataset-path",
        "share.json",
    ];
    let words = [&words[..], &server, &["--max-sessions", "1"]].concat();
    let refused = load_of(&folder, &mock.url(), &words);
    assert!(
        refused
            .stderr
            .contains("name the model's tokenizer as a file")
    );
}

#[test]
fn requests_of_the_users_own_are_sent_as_they_are_written() {
    let folder = Folder::new();
    folder.write(
        "own.jsonl",
        r#"{"prompt": "Say hello.", "output_tokens": 3}
{"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Hi"}], "output_tokens": 5, "tools": [{"type": "function", "function": {"name": "f"}}]}"#,
    );
    let mock = Mock::answering(&["a"]);
    let words = ["--dataset-name", "custom", "--dataset-path", "own.jsonl"];
    let chat = ["--backend", "openai-chat", "--num-prompts", "2"];
    load_of(&folder, &mock.url(), &[words, chat].concat()).expect_code(0);
    let mut requests = mock.requests();
    requests.sort_by_key(|request| request.body["messages"].as_array().map(Vec::len));
    let [first, second] = requests.try_into().unwrap();
    assert_eq!(
        first.body["messages"],
        serde_json::json!([{ "role": "user", "content": "Say hello." }])
    );
    assert_eq!(first.body.get("tools"), None);
    assert_eq!(second.body["messages"][0]["content"], "Be short.");
    assert_eq!(second.body["tools"][0]["function"]["name"], "f");
    let planned = "SELECT output_tokens_planned FROM requests ORDER BY 1";
    assert_eq!(folder.table("run.tape", planned), "3\n5");
}

#[test]
fn images_go_to_chats_and_tools_stay_out_of_completions() {
    let folder = Folder::new();
    std::fs::write(folder.path("a.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let line = r#"{"prompt": "What is it?", "images": ["a.png"]}"#;
    folder.write("seen.jsonl", line);
    folder.write(
        "tools.jsonl",
        r#"{"prompt": "Hi", "tools": [{"type": "function"}]}"#,
    );
    let mock = Mock::answering(&["a"]);
    let seen = ["--dataset-name", "custom", "--dataset-path", "seen.jsonl"];
    let chat = ["--backend", "openai-chat", "--num-prompts", "1"];
    let outcome = load_of(&folder, &mock.url(), &[seen, chat].concat()).expect_code(0);
    let length =
        "1 of its lines does not say how long its answer is to be, and asks for 256 tokens";
    assert!(outcome.stderr.contains(length), "{}", outcome.stderr);
    let [request] = mock.requests().try_into().unwrap();
    assert_eq!(request.body["max_completion_tokens"], 256);
    assert_eq!(
        request.body["messages"][0]["content"],
        serde_json::json!([
            { "type": "text", "text": "What is it?" },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,iVBORw0KGgo=" } },
        ])
    );
    let words = [&seen[..], &["--force"]].concat();
    let outcome = load_of(&folder, &mock.url(), &words).expect_code(2);
    let refused = "the backend `openai` can't send the images";
    assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
    let tools = ["--dataset-name", "custom", "--dataset-path", "tools.jsonl"];
    let words = [&tools[..], &["--num-prompts", "1", "--force"]].concat();
    let outcome = load_of(&folder, &mock.url(), &words).expect_code(0);
    assert!(
        outcome.stderr.contains("this backend is not: tools"),
        "{}",
        outcome.stderr
    );
    let [_, request] = mock.requests().try_into().unwrap();
    assert_eq!(request.body.get("tools"), None);
}

#[test]
fn a_run_ends_with_its_data_set_where_it_is_not_to_repeat() {
    let folder = Folder::new();
    folder.write("own.csv", "prompt,output_tokens\none,1\ntwo,1\nthree,1\n");
    let words = [
        "--dataset-name",
        "custom",
        "--dataset-path",
        "own.csv",
        "--no-oversample",
    ];
    for shape in [
        &["--num-prompts", "9"][..],
        &["--num-prompts", "9", "--max-concurrency", "2"],
        &["--duration", "20s", "--request-rate", "50"],
    ] {
        let mock = Mock::answering(&["a"]);
        let words = [&words[..], shape, &["--force"]].concat();
        let outcome = load_of(&folder, &mock.url(), &words).expect_code(0);
        let ends = "note: the 3 lines of the data set are sent, and the run ends with them";
        assert!(outcome.stderr.contains(ends), "{}", outcome.stderr);
        assert_eq!(prompts(&mock.requests()), ["one", "three", "two"]);
        let again = ["run", "run.tape", "--out", "again.tape"];
        let again = [&again[..], &["--no-summary", "--force"]].concat();
        folder.run(&again).expect_code(0);
        assert_eq!(mock.requests().len(), 6, "the plan ends with it as well");
    }
    let mock = Mock::answering(&["a"]);
    let outcome = load_of(&folder, &mock.url(), &["--no-oversample"]).expect_code(2);
    let refused = "`--no-oversample` has no effect on the data set `random`";
    assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
}

#[test]
fn the_prompts_of_a_tape_are_sent_again_with_their_lengths() {
    let folder = Folder::new();
    let mock = Mock::answering(&["a"]);
    let lengths = [
        "--random-input-len",
        "9",
        "--random-output-len",
        "5",
        "--random-range-ratio",
        "0.5",
    ];
    let kept = ["--num-prompts", "6", "--keep", "text"];
    load_of(&folder, &mock.url(), &[&lengths[..], &kept].concat()).expect_code(0);
    let recorded = mock.requests();
    let tape = [
        "load",
        "--base-url",
        &mock.url(),
        "--model",
        "m",
        "--no-summary",
        "--num-warmups",
        "0",
    ];
    let tape = [&tape[..], &["--dataset-name", "tape", "--num-prompts", "6"]].concat();
    let words = [
        &tape[..],
        &["--dataset-path", "run.tape", "--out", "again.tape"],
    ]
    .concat();
    folder.run(&words).expect_code(0);
    let again = &mock.requests()[6..];
    assert_eq!(prompts(again), prompts(&recorded));
    let planned = "SELECT output_tokens_planned FROM requests ORDER BY request_id";
    assert_eq!(
        folder.table("again.tape", planned),
        folder.table("run.tape", planned)
    );
    let words = [
        &tape[..],
        &["--dataset-path", "again.tape", "--out", "third.tape"],
    ]
    .concat();
    let outcome = folder.run(&words).expect_code(4);
    let refused = "it has no prompts: it was recorded without `--keep text`";
    assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
}

#[test]
fn a_mix_sends_its_parts_with_their_own_flags_and_the_tape_tells_them_apart() {
    let folder = Folder::new();
    folder.write("own.csv", "prompt\none\ntwo\nthree\n");
    let mock = Mock::answering(&["a"]);
    let mix = [
        "--dataset-name",
        "mix",
        "--dataset-mix",
        "random:1,custom=own.csv:1",
    ];
    let flags = [
        "--random-input-len",
        "7",
        "--custom-output-len",
        "3",
        "--num-prompts",
        "40",
    ];
    let words = [mix, ["--seed", "1", "--max-concurrency", "4"]].concat();
    load_of(&folder, &mock.url(), &[&words[..], &flags].concat()).expect_code(0);
    let classes = "SELECT class, min(output_tokens_planned), max(output_tokens_planned), \
                   count(*) > 9 FROM requests GROUP BY class ORDER BY class";
    assert_eq!(
        folder.table("run.tape", classes),
        "custom | 3 | 3 | true\nrandom | 128 | 128 | true"
    );
    let sent = mock.requests();
    folder
        .run(&["run", "run.tape", "--out", "again.tape", "--no-summary"])
        .expect_code(0);
    assert_eq!(prompts(&mock.requests()[40..]), prompts(&sent));
    let stray = ["--sharegpt-output-len", "4"];
    let outcome = load_of(&folder, &mock.url(), &[&mix[..], &stray].concat()).expect_code(2);
    let refused = "`--sharegpt-output-len` has no effect on the data set `mix`";
    assert!(outcome.stderr.contains(refused), "{}", outcome.stderr);
}

#[test]
fn a_few_prefixes_are_shared_by_many_prompts() {
    let folder = Folder::new();
    let mock = Mock::answering(&["a"]);
    let words = "--dataset-name prefix-repetition --prefix-repetition-num-prefixes 2 \
                 --prefix-repetition-prefix-len 40 --prefix-repetition-suffix-len 8 --num-prompts 6";
    let words: Vec<&str> = words.split_whitespace().collect();
    load_of(&folder, &mock.url(), &words).expect_code(0);
    let begins = |prompt: &String| prompt.split(' ').take(40).collect::<Vec<_>>().join(" ");
    let mut prefixes: Vec<String> = prompts(&mock.requests()).iter().map(begins).collect();
    prefixes.sort_unstable();
    assert_eq!(prefixes[0], prefixes[2]);
    assert_eq!(prefixes[3], prefixes[5]);
    assert_ne!(prefixes[2], prefixes[3]);
    let shared = "SELECT count(*) FILTER (WHERE prefix_tokens_planned = 40) FROM requests";
    assert_eq!(folder.number("run.tape", shared), 4);
}

#[test]
fn what_a_data_set_does_not_heed_or_lacks_is_refused_before_anything_is_sent() {
    let folder = Folder::new();
    folder.write("share.json", SHAREGPT);
    folder.write("broken.json", "[{\"conversations\": [");
    let mock = Mock::answering(&["a"]);
    let share = ["--dataset-name", "sharegpt", "--dataset-path"];
    for (words, why) in [
        (&["--dataset-name", "sharegpt"][..], "`--dataset-path`"),
        (&[&share[..], &["share.json"]].concat(), "`--tokenizer`"),
        (
            &[&share[..], &["share.json", "--random-input-len", "5"]].concat(),
            "`--random-input-len` has no effect",
        ),
        (
            &[
                "--dataset-name",
                "audio",
                "--dataset-path",
                "clips",
                "--audio-seconds",
                "3",
            ],
            "`--audio-seconds` has no effect on files",
        ),
        (
            &["--dataset-path", "share.json"],
            "`--dataset-path` has no effect",
        ),
        (
            &["--sharegpt-output-len", "5"],
            "`--sharegpt-output-len` has no effect",
        ),
        (&["--rate-steps", "2/s"], "RATE:TIME"),
        (
            &["--rate-steps", "2/s:1s", "--request-rate", "4"],
            "`--rate-steps` and another rate contradict",
        ),
    ] {
        let outcome = load_of(&folder, &mock.url(), words).expect_code(2);
        assert!(
            outcome.stderr.contains(why),
            "{words:?}: {}",
            outcome.stderr
        );
    }
    for file in ["broken.json", "missing.json"] {
        let words = [&share[..], &[file, "--sharegpt-output-len", "5"]].concat();
        let outcome = load_of(&folder, &mock.url(), &words).expect_code(4);
        assert!(outcome.stderr.contains(file), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("hint: "), "{}", outcome.stderr);
    }
    assert!(mock.requests().is_empty() && !folder.path("run.tape").exists());
}

#[test]
fn steps_of_a_rate_end_the_load_by_themselves() {
    let folder = Folder::new();
    let mock = Mock::answering(&["a"]);
    let steps = [
        "--rate-steps",
        "20/s:200ms,100/s:100ms",
        "--arrivals",
        "constant",
    ];
    load_of(&folder, &mock.url(), &steps).expect_code(0);
    let due = "SELECT count(*) FILTER (WHERE intended_ns < 200000000) AS first, count(*) AS n, \
               max(intended_ns) AS last FROM requests";
    assert_eq!(folder.table("run.tape", due), "4 | 14 | 290000000");
    let manifest = folder.manifest("run.tape");
    assert_eq!(manifest["loop"], "open");
    assert_eq!(
        manifest["plan"]["arrivals"]["rate_steps"],
        "20/s:200ms,100/s:100ms"
    );
}
