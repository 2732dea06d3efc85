//! `prompts`: files of prompts, and a run that sends them.

use std::collections::HashSet;

use rustix::process::Signal;
use serde_json::Value;

use crate::mock::Mock;
use crate::program::{Folder, shared_file, wait_until};

const FILES: [&str; 3] = [
    "long_input_long_output_prompts.csv",
    "long_input_short_output_prompts.csv",
    "short_input_long_output_prompts.csv",
];

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn without_a_name_each_pattern_has_its_file_in_a_folder() {
    let folder = Folder::new();
    let words = ["prompts", "--pattern", "all", "--count", "3"];
    let outcome = folder.run(&words).expect_code(0);
    assert!(outcome.stdout.contains("Lengths of prompts are estimates"));
    let written = |name: &str| folder.read(&format!("input/{name}"));
    for name in FILES {
        let mut reader = csv::Reader::from_reader(written(name).leak().as_bytes());
        let names: Vec<String> = reader
            .headers()
            .unwrap()
            .iter()
            .map(str::to_owned)
            .collect();
        assert_eq!(
            names[..3],
            ["prompt", "output_tokens", "estimated_input_tokens"]
        );
        let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 3);
        let pattern = rows[0][3]
            .replace("-in-", "_input_")
            .replace("-out", "_output");
        assert!(name.starts_with(&pattern), "{name} has `{pattern}`");
    }
    let before = FILES.map(written);
    let again = folder.run(&words).expect_code(4);
    assert!(again.stderr.contains("exists already") && again.stderr.contains("`--force`"));
    folder
        .run(&[&words[..], &["--force"]].concat())
        .expect_code(0);
    assert_eq!(before, FILES.map(written), "the same seed, the same bytes");
    folder
        .run(&[&words[..], &["--force", "--seed", "1"]].concat())
        .expect_code(0);
    assert_ne!(before, FILES.map(written));
}

#[test]
fn a_run_sends_the_prompts_as_they_were_written() {
    let Some(tokenizer) = shared_file("tokenizers/qwen3/tokenizer.json.gz") else {
        return;
    };
    let folder = Folder::new();
    let tokenizer = tokenizer.display().to_string();
    let words = [
        "prompts",
        "--pattern",
        "all",
        "--count",
        "4",
        "--language",
        "both",
    ];
    let outcome = folder.run(&[&words[..], &["--tokenizer", &tokenizer, "-o", "p.jsonl"]].concat());
    let outcome = outcome.expect_code(0);
    assert!(
        outcome
            .stdout
            .contains("Every prompt has exactly the length")
    );
    let prompts = lines(&folder.read("p.jsonl"));
    let texts: HashSet<&str> = prompts
        .iter()
        .map(|line| line["prompt"].as_str().unwrap())
        .collect();
    assert_eq!((prompts.len(), texts.len()), (12, 12));
    let mock = Mock::answering(&["a"]);
    let load = [
        "--dataset-name",
        "custom",
        "--dataset-path",
        "p.jsonl",
        "--num-prompts",
        "12",
    ];
    let load = [&load[..], &["--keep", "text", "--tokenizer", &tokenizer]].concat();
    let url = mock.url();
    let mut all = vec![
        "load",
        "--base-url",
        &url,
        "--backend",
        "openai-chat",
        "--model",
        "mock",
    ];
    all.extend(["--out", "run.tape", "--no-summary"]);
    all.extend(load);
    folder.run(&all).expect_code(0);
    let sql =
        "SELECT request_id, input_tokens_planned, output_tokens_planned FROM requests ORDER BY 1";
    let rows = folder.sql("run.tape", sql);
    for (row, line) in rows.iter().zip(&prompts) {
        assert_eq!(row["input_tokens_planned"], line["input_tokens"]);
        assert_eq!(row["output_tokens_planned"], line["output_tokens"]);
    }
}

#[test]
fn what_can_not_be_made_is_refused_with_a_remedy_and_leaves_nothing() {
    let folder = Folder::new();
    folder.write("rubbish.json", "{\"a\": 1}");
    folder.write("file", "");
    let all = ["--pattern", "all", "--count", "2"];
    let long = ["--pattern", "long-in-long-out", "--count", "2"];
    let cases: [(&[&str], &[&str], i32); 13] = [
        (&[], &[], 2),
        (&[], &["--pattern", "all"], 2),
        (&[], &["--count", "2"], 2),
        (&[], &["--pattern", "all", "--count", "0"], 2),
        (&all, &["--input-tokens", "50..30"], 2),
        (&all, &["--input-tokens", "30..50"], 2),
        (&long, &["--input-tokens", "5..9"], 2),
        (&all, &["-o", "prompts.txt"], 2),
        (&all, &["-o", "no/such/folder/p.csv"], 4),
        (&all, &["-o", "file/p.csv"], 4),
        (&all, &["--tokenizer", "rubbish.json"], 4),
        (&all, &["--tokenizer", "none.json"], 4),
        (&all, &["--tokenizer", "."], 4),
    ];
    let mut shown = String::new();
    for (words, more, code) in cases {
        let words = [&["prompts"], words, more].concat();
        let said = folder.run(&words).expect_code(code).stderr;
        let said = said.lines().filter(|line| !line.is_empty());
        let said = said.filter(|line| !line.contains("try '--help'"));
        shown.extend(said.flat_map(|line| [line, "\n"]));
        assert_eq!(folder.names(), ["file", "rubbish.json"], "{words:?}");
    }
    insta::assert_snapshot!(shown, @r"
    error: nothing says which prompts to make, and how many
    hint: give `--pattern` and `--count`, such as `--pattern all --count 100`; only on a terminal are they asked for
    error: nothing says how many prompts to make
    hint: give `--pattern` and `--count`, such as `--pattern all --count 100`; only on a terminal are they asked for
    error: nothing says which prompts to make
    hint: give `--pattern` and `--count`, such as `--pattern all --count 100`; only on a terminal are they asked for
    error: invalid value '0' for '--count <N>': write how many prompts to make: a whole number from 1 to 10000000
    error: invalid value '50..30' for '--input-tokens <FROM..TO>': it is backwards: write 30..50
    error: `--input-tokens` and `--output-tokens` are those of one pattern
    hint: name it with `--pattern`, and run once for each
    error: a prompt of pattern `long-in-long-out` can't be as short as 7 tokens, the shortest of 400 that were tried had 80: raise `--input-tokens`
    error: `--out prompts.txt`: the ending of the name does not say which form the file is to have
    hint: end it with `.csv`, `.jsonl` or `.json`
    error: could not write `no/such/folder/p.csv`
      caused by: No such file or directory (os error 2)
    hint: make its folder first, or name another one
    error: could not write `file/p.csv`
      caused by: Not a directory (os error 20)
    hint: a file has the name of the folder: name another one
    error: `rubbish.json` is not a Hugging Face `tokenizer.json`: it is JSON, and has no `model`
    hint: name the `tokenizer.json` of the model, packed with gzip or not
    error: tokenizer `none.json` does not exist
    hint: name the model's `tokenizer.json` or its folder; of a model's name only what is in the cache of the Hugging Face hub is found: `hf download NAME` puts it there
    error: folder `.` has no `tokenizer.json`
    hint: name the `tokenizer.json` of the model, packed with gzip or not
    ");
}

#[test]
fn a_wish_to_stop_leaves_no_file() {
    let folder = Folder::new();
    let words = ["prompts", "--pattern", "all", "--count", "10000000"];
    let running = folder.start(&words);
    let draft = folder.path("input");
    // Prompts of the first batch come a while after the files.
    wait_until("a draft has prompts", || {
        std::fs::read_dir(&draft).is_ok_and(|entries| {
            let lengths = entries.flatten().filter_map(|entry| entry.metadata().ok());
            lengths.map(|found| found.len()).sum::<u64>() > 0
        })
    });
    running.signal(Signal::INT);
    let outcome = running.end().expect_code(130);
    assert!(
        outcome.stderr.contains("nothing was written"),
        "{}",
        outcome.stderr
    );
    assert!(folder.names().is_empty(), "{:?}", folder.names());
}

#[test]
fn on_stdout_prompts_are_lines_and_the_table_is_talk() {
    let folder = Folder::new();
    let words = [
        "prompts",
        "--pattern",
        "short-in-long-out",
        "--count",
        "5",
        "--language",
        "zh",
        "-o",
        "-",
    ];
    let outcome = folder.run(&words).expect_code(0);
    let prompts = lines(&outcome.stdout);
    assert_eq!(prompts.len(), 5);
    assert!(
        prompts
            .iter()
            .all(|line| line["language"] == "zh" && line["pattern"] == "short-in-long-out")
    );
    assert!(outcome.stderr.contains("planned output tokens"));
    assert!(folder.names().is_empty());
}
