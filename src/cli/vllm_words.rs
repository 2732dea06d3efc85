//! The command lines of vLLM's `bench serve` and `benchmark_serving_multi_turn.py`, in the flags of
//! `load`, as far as these have other names.
//!
//! `load` with `-i` or `--input-file` is read as the script of several turns reads it: a conversation for
//! each of its clients, of the chat API, with the server's own answers in later turns.

use std::ffi::OsString;
use std::path::Path;

use crate::backend::DEFAULT_CHAT;
use crate::workload;

/// Rewrites the words of `load`; none where they are its own already.
pub(super) fn translated(words: &[OsString]) -> Option<Vec<OsString>> {
    let [_, verb, rest @ ..] = words else {
        return None;
    };
    let is_input = |word: &OsString| {
        let word = word.to_string_lossy();
        matches!(&*word, "-i" | "--input-file") || word.starts_with("--input-file=")
    };
    if verb != "load" {
        return None;
    }
    match rest.iter().any(is_input) {
        true => several_turns(words),
        false => bench_serve(words),
    }
}

/// The flags of `bench serve` that have other names here.
fn bench_serve(words: &[OsString]) -> Option<Vec<OsString>> {
    let dataset = value_of(words, "--dataset-name").unwrap_or_else(|| "random".to_owned());
    let dataset = dataset.replace('_', "-");
    let has_own_name = value_of(words, "--served-model-name").is_some();
    let has_tokenizer = value_of(words, "--tokenizer").is_some();
    let (mut host, mut port) = (None, None);
    let (mut read, mut is_other) = (Vec::new(), false);
    let mut rest = words.iter().peekable();
    while let Some(word) = rest.next() {
        let text = word.to_string_lossy();
        let (flag, glued) = match text.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (&*text, None),
        };
        let known = match flag {
            "--host" | "--port" | "--metadata" => String::new(),
            "--served-model-name" => "--model".to_owned(),
            // The model's files; the name that the server knows is given beside it.
            "--model" if has_own_name => String::new(),
            "--input-len" | "--output-len" => format!("--{dataset}-{}", &flag[2..]),
            _ => {
                read.push(word.clone());
                continue;
            }
        };
        let mut values: Vec<String> = glued.into_iter().collect();
        while (values.is_empty() || flag == "--metadata")
            && let Some(value) = rest.next_if(|next| !next.to_string_lossy().starts_with("--"))
        {
            values.push(value.to_string_lossy().into_owned());
        }
        if values.is_empty() {
            // For the command line to refuse.
            read.push(word.clone());
            continue;
        }
        is_other = true;
        for value in values {
            match flag {
                "--host" => host = Some(value),
                "--port" => port = Some(value),
                "--metadata" => read.extend(["--label".into(), value.into()]),
                "--model" if !has_tokenizer && workload::has_tokenizer(Path::new(&value)) => {
                    read.extend(["--tokenizer".into(), value.into()]);
                }
                _ if known.is_empty() => {}
                _ => read.extend([known.clone().into(), value.into()]),
            }
        }
    }
    if host.is_some() || port.is_some() {
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let port = port.unwrap_or_else(|| "8000".to_owned());
        read.extend(["--base-url".into(), format!("http://{host}:{port}").into()]);
    }
    is_other.then_some(read)
}

/// The value of a flag that takes one.
fn value_of(words: &[OsString], flag: &str) -> Option<String> {
    let mut words = words.iter().map(|word| word.to_string_lossy());
    let found = words.find(|word| {
        word.strip_prefix(flag)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
    })?;
    match found.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        None => words.next().map(|value| value.into_owned()),
    }
}

/// The words of the script of several turns.
fn several_turns(words: &[OsString]) -> Option<Vec<OsString>> {
    let [program, verb, rest @ ..] = words else {
        return None;
    };
    let mut command = Command::default();
    let mut rest = rest.iter();
    while let Some(word) = rest.next() {
        command.take(word, &mut rest);
    }
    Some([vec![program.clone(), verb.clone()], command.words()].concat())
}

/// A command as it is read.
#[derive(Default)]
struct Command {
    words: Vec<OsString>,
    has_backend: bool,
    has_clients: bool,
}

impl Command {
    /// Takes a word, and its value where it has one.
    fn take<'a>(&mut self, word: &OsString, rest: &mut impl Iterator<Item = &'a OsString>) {
        let text = word.to_string_lossy();
        let (flag, glued) = match text.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(OsString::from(value))),
            _ => (&*text, None),
        };
        if matches!(
            flag,
            "--no-early-stop" | "--verbose" | "-v" | "--trust-remote-code"
        ) {
            // Sessions are driven to their end here, and no code is loaded.
            return;
        }
        if matches!(flag, "-e" | "--excel-output") {
            self.words.push("--excel-output".into());
            return;
        }
        let Some(known) = known_as(flag) else {
            self.has_backend |= matches!(flag, "--backend" | "--backend-template");
            self.words.push(word.clone());
            return;
        };
        self.has_clients |= known == "--max-concurrency";
        let Some(value) = glued.or_else(|| rest.next().cloned()) else {
            self.words.push(word.clone());
            return;
        };
        if known == "--dataset-path" {
            let name = ["--dataset-name", "conversations"];
            self.words.extend(name.map(OsString::from));
        }
        if let Some(value) = in_our_units(flag, value) {
            self.words.extend([OsString::from(known), value]);
        }
    }

    fn words(mut self) -> Vec<OsString> {
        if !self.has_backend {
            let chat = ["--backend", DEFAULT_CHAT];
            self.words.extend(chat.map(OsString::from));
        }
        if !self.has_clients {
            // The script's own default.
            let one = ["--max-concurrency", "1"];
            self.words.extend(one.map(OsString::from));
        }
        self.words
    }
}

/// What a flag of the script with a value is called here; none where it is the same or unknown.
fn known_as(flag: &str) -> Option<&'static str> {
    Some(match flag {
        "-i" | "--input-file" => "--dataset-path",
        "-m" => "--model",
        "-u" | "--url" => "--base-url",
        "-p" | "--num-clients" | "--max-concurrency" => "--max-concurrency",
        "-k" | "--max-active-conversations" => "--max-sessions",
        "-n" | "--max-num-requests" => "--num-prompts",
        "--request-rate" => "--think-time",
        "--max-turns" => "--max-turns",
        "--max-retries" => "--retries",
        "--limit-max-tokens" => "--conversation-output-len",
        "--request-timeout-sec" => "--request-timeout",
        _ => return None,
    })
}

/// The value of a flag of the script as ours has it; none where it says what is so anyway.
fn in_our_units(flag: &str, value: OsString) -> Option<OsString> {
    let text = value.to_string_lossy();
    let number = text.trim().parse::<f64>().ok();
    match (flag, number) {
        // A rate of each client: its requests are so far apart, on average.
        ("--request-rate", Some(rate)) if rate > 0.0 && rate.is_finite() => {
            Some(format!("exponential:{}", 1.0 / rate).into())
        }
        ("--request-rate", Some(_)) => Some("0".into()),
        // It counts the answers too.
        ("--max-turns", Some(messages)) if messages >= 1.0 => {
            Some(format!("{}", (messages / 2.0).ceil()).into())
        }
        ("--limit-max-tokens", Some(tokens)) if tokens <= 0.0 => None,
        ("--request-timeout-sec", Some(_)) => Some(format!("{text}s").into()),
        _ => Some(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let read = translated(&words)?;
        let words: Vec<_> = read.iter().map(|word| word.to_string_lossy()).collect();
        Some(words.join(" "))
    }

    #[test]
    fn the_script_of_several_turns_is_understood() {
        let long = "tokentape load -i ./data/conversations.json -m gpt-4 -u https://api.openai.com -p 10 \
                    -k 50 --request-rate 5 --max-num-requests 1000 --excel-output";
        assert_eq!(
            read(long).unwrap(),
            "tokentape load --dataset-name conversations --dataset-path ./data/conversations.json \
             --model gpt-4 --base-url https://api.openai.com --max-concurrency 10 --max-sessions 50 \
             --think-time exponential:0.2 --num-prompts 1000 --excel-output --backend openai-chat"
        );
        let with =
            |words: &str| read(&format!("tokentape load --input-file=a.json {words}")).unwrap();
        let start = "tokentape load --dataset-name conversations --dataset-path a.json";
        assert_eq!(
            with("--backend vllm-chat --max-turns 5 --request-timeout-sec 9 -v"),
            format!(
                "{start} --backend vllm-chat --max-turns 3 --request-timeout 9s --max-concurrency 1"
            )
        );
        assert_eq!(
            with("--request-rate 0 --limit-max-tokens -1 --num-clients 2"),
            format!("{start} --think-time 0 --max-concurrency 2 --backend openai-chat")
        );
    }

    #[test]
    fn flags_of_bench_serve_with_other_names_are_understood() {
        let long = "tokentape load --host gpu7 --port 8080 --model meta/x --served-model-name x \
                    --input-len 64 --output-len=8 --metadata a=1 b=2 --num-prompts 5";
        assert_eq!(
            read(long).unwrap(),
            "tokentape load --model x --random-input-len 64 --random-output-len 8 --label a=1 --label b=2 \
             --num-prompts 5 --base-url http://gpu7:8080"
        );
        assert_eq!(
            read("tokentape load --dataset-name prefix_repetition --output-len 8 --port 9")
                .unwrap(),
            "tokentape load --dataset-name prefix_repetition --prefix-repetition-output-len 8 \
             --base-url http://127.0.0.1:9"
        );
    }

    #[test]
    fn a_model_that_has_its_tokenizer_here_is_counted_with_that() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().display();
        let line = |more: &str| {
            let line = format!("tokentape load --served-model-name x --model {model}{more}");
            read(&line).unwrap()
        };
        assert_eq!(line(""), "tokentape load --model x");
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        let with = format!("tokentape load --model x --tokenizer {model}");
        assert_eq!(line(""), with);
        assert_eq!(
            line(" --tokenizer y"),
            "tokentape load --model x --tokenizer y"
        );
    }

    #[test]
    fn other_commands_stay_as_they_are() {
        for line in [
            "tokentape load --dataset-name custom --request-rate 5",
            "tokentape load --model m --host",
            "tokentape replay -i a.json",
            "tokentape",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
        // What it does not have is for the command line to refuse.
        let strange = read("tokentape load -i a.json --warmup-step -p").unwrap();
        assert!(
            strange.contains("--warmup-step") && strange.contains(" -p "),
            "{strange}"
        );
    }
}
