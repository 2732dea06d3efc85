//! Tokenizers and data sets that are downloaded from a hub, which a scripted server stands for.

use serde_json::{Value, json};

use crate::mock::Mock;
use crate::program::{Folder, Outcome};

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with a model whose tokens are words, and a data set of two splits.
fn hub() -> Mock {
    let tokenizer = json!({
        "version": "1.0",
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "model": { "type": "WordLevel", "unk_token": "?", "vocab": { "?": 0 } },
    });
    let files = |names: &[&str]| {
        let siblings: Vec<Value> = names
            .iter()
            .map(|name| json!({ "rfilename": name }))
            .collect();
        json!({ "sha": REVISION, "siblings": siblings }).to_string()
    };
    Mock::showing(
        move |path| {
            let of_model = format!("/made/words/resolve/{REVISION}/");
            let of_data = format!("/datasets/made/questions/resolve/{REVISION}/");
            Some(match path {
                "/api/models/made/words/revision/main" => files(&[
                    "README.md",
                    "tokenizer.json",
                    "tokenizer_config.json",
                    "model.safetensors",
                ]),
                "/api/models/made/bare/revision/main" => files(&["model.safetensors"]),
                "/api/models/made/evil/revision/main" => {
                    json!({ "sha": "../..", "siblings": [{ "rfilename": "tokenizer.json" }] })
                        .to_string()
                }
                "/api/datasets/made/questions/revision/main" => {
                    files(&["README.md", "data/train-0.jsonl", "data/test-0.jsonl"])
                }
                _ if path == of_model.clone() + "tokenizer.json" => tokenizer.to_string(),
                _ if path == of_model + "tokenizer_config.json" => "{}".to_owned(),
                _ if path == of_data + "data/test-0.jsonl" => {
                    "{\"question\": \"what is asked?\", \"answer\": \"a thing\"}\n".to_owned()
                }
                _ => return None,
            })
        },
        |request, reply| reply.answer(request, &["yes"]),
    )
}

fn run(hub: &Mock, folder: &Folder, words: &[&str], more: &[(&str, &str)]) -> Outcome {
    let (url, cache) = (hub.url(), folder.path("cache").display().to_string());
    let variables = [
        ("HF_ENDPOINT", &*url),
        ("HF_HUB_CACHE", &*cache),
        ("HF_TOKEN", "hf_secret"),
        ("HF_HUB_OFFLINE", "0"),
    ];
    folder.run_with(words, &[&variables[..], more].concat())
}

#[test]
fn a_tokenizer_is_downloaded_once_and_found_in_the_cache_then() {
    let (hub, folder) = (hub(), Folder::new());
    folder.write("text.txt", "one two three");
    let words = ["tokenize", "text.txt", "--tokenizer", "made/words"];
    let first = run(&hub, &folder, &words, &[]).expect_code(0);
    assert!(
        first
            .stderr
            .contains("downloading `tokenizer.json` of `made/words`"),
        "{}",
        first.stderr
    );
    assert!(first.stdout.contains('3'), "{}", first.stdout);
    let asked = hub.model_requests();
    assert_eq!(asked.len(), 3, "what it has, and two files");
    assert!(
        asked
            .iter()
            .all(|one| one.header("authorization") == Some("Bearer hf_secret"))
    );
    assert!(!first.stderr.contains("hf_secret"));
    let again = run(&hub, &folder, &words, &[]).expect_code(0);
    assert_eq!(again.stdout, first.stdout);
    assert_eq!(hub.model_requests().len(), 3);
    let path = format!("cache/models--made--words/snapshots/{REVISION}/tokenizer.json");
    assert!(folder.path(&path).is_file());
}

#[test]
fn a_data_set_has_the_files_of_its_split_downloaded() {
    let (hub, folder) = (hub(), Folder::new());
    let url = hub.url();
    let words = [
        "load",
        "--base-url",
        &url,
        "--model",
        "m",
        "--backend",
        "openai-chat",
        "--dataset-name",
        "hf",
        "--dataset-path",
        "made/questions",
        "--hf-split",
        "test",
        "--hf-output-len",
        "4",
        "--num-prompts",
        "1",
        "--no-summary",
        "--out",
        "run.tape",
    ];
    run(&hub, &folder, &words, &[]).expect_code(0);
    assert_eq!(hub.requests()[0].prompt(), "what is asked?");
    let paths: Vec<String> = hub
        .model_requests()
        .into_iter()
        .map(|one| one.path)
        .collect();
    assert!(
        !paths.iter().any(|path| path.contains("train-0")),
        "{paths:?}"
    );
}

#[test]
fn what_the_hub_does_not_have_is_refused_by_name_and_nothing_is_left() {
    let (hub, folder) = (hub(), Folder::new());
    folder.write("text.txt", "one");
    for (name, message) in [
        ("made/bare", "has no `tokenizer.json`"),
        (
            "made/none",
            "`made/none` can't be had from 127.0.0.1: the server answered 404",
        ),
        ("made/evil", "lead out of their folder"),
    ] {
        let words = ["tokenize", "text.txt", "--tokenizer", name];
        let told = run(&hub, &folder, &words, &[]).expect_code(3).stderr;
        assert!(told.contains(message) && told.contains("hint: "), "{told}");
    }
    let asked = hub.model_requests().len();
    let offline = [("HF_HUB_OFFLINE", "1")];
    let words = ["tokenize", "text.txt", "--tokenizer", "made/words"];
    run(&hub, &folder, &words, &offline).expect_code(4);
    assert_eq!(hub.model_requests().len(), asked, "offline");
    assert!(!folder.path("cache").exists());
}
