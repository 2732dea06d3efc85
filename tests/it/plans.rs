//! `run`: the plan of a tape, or one in a file, driven once more.

use serde_json::{Value, json};

use crate::mock::{Mock, Request};
use crate::program::{Folder, Outcome, load_words};

/// Bodies in an order that does not depend on which of them came first.
fn bodies(requests: &[Request]) -> Vec<String> {
    let mut bodies: Vec<String> = requests.iter().map(|it| it.body.to_string()).collect();
    bodies.sort();
    bodies
}

fn again(folder: &Folder, words: &[&str]) -> Outcome {
    let words = [&["run"], words, &["--no-summary", "--out", "again.tape"]].concat();
    folder.run(&words)
}

#[test]
fn the_plan_of_a_tape_sends_the_same_requests_at_the_same_times() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    folder.write(
        "trace.csv",
        "arrival_ns,input_tokens,output_tokens\n0,7,3\n2000000,9,2\n50000000,5,1\n",
    );
    let load = [
        "--request-rate",
        "200",
        "--num-prompts",
        "8",
        "--label",
        "a=1",
    ];
    let more = [
        "--temperature",
        "0.5",
        "--extra-body",
        r#"{"top_k": 3}"#,
        "--header",
        "x-title: t",
    ];
    let url = mock.url();
    let load = [&load[..], &more].concat();
    let load = load_words(&url, &load);
    let replay = [
        "replay",
        "trace.csv",
        "--speed",
        "4",
        "--base-url",
        &url,
        "--model",
        "mock",
    ];
    let replay = [
        &replay[..],
        &["--out", "run.tape", "--no-summary", "--force"],
    ]
    .concat();
    for words in [load, replay] {
        let before = mock.requests().len();
        folder.run(&words).expect_code(0);
        let middle = mock.requests().len();
        again(&folder, &["run.tape", "--force"]).expect_code(0);
        let requests = mock.requests();
        let (first, second) = (&requests[before..middle], &requests[middle..]);
        assert_eq!(bodies(first), bodies(second));
        assert_eq!(first[0].header("x-title"), second[0].header("x-title"));
        let times = "SELECT intended_ns, input_tokens, output_tokens_planned FROM requests \
                     ORDER BY request_id";
        assert_eq!(
            folder.table("run.tape", times),
            folder.table("again.tape", times)
        );
        let plan = |tape: &str| {
            let mut plan = folder.manifest(tape)["plan"].clone();
            let command = plan["command"].take();
            (command.as_str().unwrap().contains(" run "), plan)
        };
        let (is_again, second) = plan("again.tape");
        assert!(is_again);
        assert_eq!(plan("run.tape").1, second);
    }
}

#[test]
fn a_plan_in_a_file_is_what_a_dry_run_prints() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let words = ["--max-concurrency", "2", "--num-prompts", "4", "--dry-run"];
    let plan = folder
        .load("http://127.0.0.1:9", &words)
        .expect_code(0)
        .stdout;
    folder.write("plan.json", &plan);
    let other = ["--base-url", &mock.url(), "--label", "server=other"];
    let words = [&["plan.json"], &other[..]].concat();
    let shown = again(&folder, &[&words[..], &["--dry-run"]].concat()).expect_code(0);
    let shown: Value = serde_json::from_str(&shown.stdout).unwrap();
    assert_eq!(shown["labels"], json!({ "server": "other" }));
    assert!(mock.requests().is_empty());
    again(&folder, &words).expect_code(0);
    assert_eq!(mock.requests().len(), 4);
    assert_eq!(mock.requests()[0].path, "/v1/chat/completions");
    assert_eq!(folder.manifest("again.tape")["labels"]["server"], "other");
}

#[test]
fn what_a_plan_does_not_keep_has_to_be_given_again() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    let endpoint = "/v1/chat/completions?key=very-secret";
    let secret = ["--endpoint", endpoint, "--header", "x-key: very-secret"];
    let body = [
        "--extra-body",
        r#"{"api_key": "very-secret"}"#,
        "--num-prompts",
        "1",
    ];
    folder
        .load(&mock.url(), &[&secret[..], &body].concat())
        .expect_code(0);
    let first = mock.requests().remove(0);
    for (given, said) in [
        (&[][..], "--endpoint"),
        (&secret[..2], "--extra-body"),
        (
            &[&secret[..2], &body[..2]].concat(),
            "--header \"x-key: VALUE\"",
        ),
    ] {
        let outcome = again(&folder, &[&["run.tape"], given].concat()).expect_code(2);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        assert!(!folder.path("again.tape").exists());
    }
    again(&folder, &[&["run.tape"], &secret[..], &body[..2]].concat()).expect_code(0);
    let second = mock.requests().remove(1);
    assert_eq!((&first.path, &first.body), (&second.path, &second.body));
    assert_eq!(second.header("x-key"), Some("very-secret"));
    assert!(
        !folder
            .read("again.tape/manifest.json")
            .contains("very-secret")
    );
}

#[test]
fn a_key_goes_only_where_the_plan_had_one_or_the_user_says_so() {
    let mock = Mock::answering(&["a"]);
    let folder = Folder::new();
    folder
        .load(&mock.url(), &["--num-prompts", "1"])
        .expect_code(0);
    let key = [("OPENAI_API_KEY", "very-secret")];
    let words = [
        "run",
        "run.tape",
        "--no-summary",
        "--force",
        "--out",
        "again.tape",
    ];
    let url = mock.url();
    for (more, has_key) in [(&[][..], false), (&["--base-url", &url], true)] {
        let outcome = folder.run_with(&[&words[..], more].concat(), &key);
        let outcome = outcome.expect_code(0);
        let note = format!("note: the plan sends its requests to `{url}/v1/chat/completions`");
        assert!(outcome.stderr.contains(&note), "{}", outcome.stderr);
        let requests = mock.requests();
        let sent = requests.last().unwrap().header("authorization");
        assert_eq!(sent.is_some(), has_key);
    }
}

/// A plan with more in it, as text.
fn plan(more: &Value) -> String {
    let mut plan = json!({
        "backend": "openai", "url": "http://127.0.0.1:9/v1/completions", "model": "m",
        "arrivals": { "process": "poisson", "request_rate": 4 }, "num_prompts": 3,
    });
    plan.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    plan.to_string()
}

#[test]
fn what_is_no_plan_is_refused() {
    let folder = Folder::new();
    let mut shown = String::new();
    for (name, text) in [
        ("empty.json", String::new()),
        ("list.json", "[]".to_owned()),
        ("typo.json", plan(&json!({ "num_prompt": 3 }))),
        ("backend.json", plan(&json!({ "backend": "grpc" }))),
        ("when.json", plan(&json!({ "arrivals": null }))),
        (
            "rate.json",
            plan(&json!({ "arrivals": { "process": "poisson", "request_rate": -4 } })),
        ),
        (
            "process.json",
            plan(&json!({ "arrivals": { "process": "often" } })),
        ),
        (
            "burst.json",
            plan(&json!({ "arrivals": { "process": "all at once" }, "num_prompts": null })),
        ),
        ("address.json", plan(&json!({ "url": "nowhere" }))),
        ("slots.json", plan(&json!({ "max_concurrency": 0 }))),
        (
            "time.json",
            plan(&json!({ "limits": { "drain_s": "long" } })),
        ),
    ] {
        folder.write(name, text);
        let outcome = again(&folder, &[name]);
        shown += &format!("{} {}\n", outcome.code, outcome.stderr);
    }
    let missing = again(&folder, &["missing.json"]);
    shown += &format!("{} {}\n", missing.code, missing.stderr);
    assert!(!folder.path("again.tape").exists());
    insta::assert_snapshot!(shown, @r#"
    2 error: `empty.json` is no plan: EOF while parsing a value at line 1 column 0
    hint: name a tape, or a file as `tokentape load --dry-run` or `replay --dry-run` prints it
    2 error: `list.json` is no plan: invalid type: sequence, expected struct RunPlan at line 1 column 0
    hint: name a tape, or a file as `tokentape load --dry-run` or `replay --dry-run` prints it
    2 error: `typo.json` is no plan: there is no field `num_prompt`
    hint: name a tape, or a file as `tokentape load --dry-run` or `replay --dry-run` prints it
    2 error: the plan's backend `grpc` is not known
    hint: see `tokentape load --help` for those that there are
    2 error: the plan can't be driven: it has neither a trace nor arrivals
    2 error: a request rate of -4 is not a positive number
    2 error: `process.json` is no plan: unknown variant `often`, expected one of `closed loop`, `all at once`, `constant`, `poisson`, `gamma`, `weibull` at line 1 column 103
    hint: name a tape, or a file as `tokentape load --dry-run` or `replay --dry-run` prints it
    2 error: all requests are due at once, and nothing says how many
    2 error: the plan has no address to send to: relative URL without a base
    hint: give `--base-url`, and `--endpoint` where that holds a secret
    2 error: the plan can't be driven: `max_concurrency` is 0
    2 error: `time.json` is no plan: invalid type: string "long", expected f64 at line 1 column 166
    hint: name a tape, or a file as `tokentape load --dry-run` or `replay --dry-run` prints it
    4 error: could not read `missing.json`
      caused by: No such file or directory (os error 2)
    "#);
}

#[test]
fn a_plan_of_what_no_schedule_or_data_set_knows_is_refused() {
    let folder = Folder::new();
    let mut shown = String::new();
    for (name, text) in [
        (
            "arrivals.json",
            plan(&json!({ "arrivals": { "process": "poisson", "rate": 4 } })),
        ),
        (
            "steps.json",
            plan(&json!({ "arrivals": { "process": "poisson", "rate_steps": 4 } })),
        ),
        (
            "dataset.json",
            plan(&json!({ "dataset": { "name": "sestina" } })),
        ),
        (
            "options.json",
            plan(&json!({ "dataset": { "name": "random", "random_input_length": 4 } })),
        ),
    ] {
        folder.write(name, text);
        let outcome = again(&folder, &[name]);
        shown += &format!("{} {}\n", outcome.code, outcome.stderr);
    }
    assert!(!folder.path("again.tape").exists());
    insta::assert_snapshot!(shown, @r#"
    2 error: arrivals have no field `rate`
    2 error: `` of the steps of the rate is not RATE:TIME, such as 2/s:30s: it has no `:`
    2 error: the plan can't be driven: its data set `sestina` is not known
    2 error: the plan can't be driven: its data set `random` has no field `random_input_length`
    "#);
}
