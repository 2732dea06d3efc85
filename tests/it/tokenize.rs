//! How prompts are counted: by a tokenizer and a chat template, and by servers that tell.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use crate::mock::Mock;
use crate::program::Folder;

/// A model's files: each word of the alphabet's first letters is a token, and so is anything else.
fn model(folder: &Folder) {
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": [
            { "id": 0, "content": "<s>", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true },
        ],
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{ "SpecialToken": { "id": "<s>", "type_id": 0 } }, { "Sequence": { "id": "A", "type_id": 0 } }],
            "pair": [{ "Sequence": { "id": "A", "type_id": 0 } }, { "Sequence": { "id": "B", "type_id": 1 } }],
            "special_tokens": { "<s>": { "id": "<s>", "ids": [0], "tokens": ["<s>"] } },
        },
        "model": { "type": "WordLevel", "unk_token": "?", "vocab": { "<s>": 0, "?": 1, "alpha": 2, "beta": 3, "gamma": 4 } },
    });
    let template = "{{ bos_token }} {% for m in messages %}{% if m.role == 'nobody' %}{{ raise_exception('nobody may not speak') }}\
                    {% endif %}[ {{ m.role }} ] {{ m.content }} {% endfor %}\
                    {% for tool in tools or [] %}T {{ tool.function.name }} {% endfor %}> ";
    std::fs::create_dir(folder.path("model")).unwrap();
    folder.write("model/tokenizer.json", tokenizer.to_string());
    folder.write(
        "model/tokenizer_config.json",
        json!({ "bos_token": "<s>", "chat_template": template }).to_string(),
    );
}

const LINES: &str = r#"{"prompt": "one two three"}

{"messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hi there"}]}], "tools": [{"type": "function", "function": {"name": "w"}}]}
"#;

/// A folder with a model and files to count.
fn folder() -> Folder {
    let folder = Folder::new();
    model(&folder);
    folder.write("lines.jsonl", LINES);
    folder.write("text.txt", "one two\nthree four\n");
    folder
}

#[test]
fn prompts_are_counted_as_a_chat_and_as_completions() {
    let folder = folder();
    let count = |more: &[&str]| {
        let words = [
            "tokenize",
            "lines.jsonl",
            "text.txt",
            "--tokenizer",
            "model",
        ];
        let outcome = folder.run(&[&words, more].concat()).expect_code(0);
        outcome.stdout
    };
    insta::assert_snapshot!(count(&["--backend", "openai-chat"]), @r"
    file         prompts  characters  tokens  mean  min  max
    lines.jsonl        2          31      22  11.0    8   14
    text.txt           1          19       9   9.0    9    9
    ");
    insta::assert_snapshot!(count(&["--backend", "openai", "--format", "csv"]), @r#"
    file,prompt,characters,tokens,server_tokens
    "lines.jsonl",1,13,4,
    "lines.jsonl",2,18,5,
    "text.txt",1,19,5,
    "#);
}

#[test]
fn a_server_that_counts_otherwise_is_told_prompt_by_prompt() {
    let mock = Mock::start(|request, reply| {
        assert_eq!(request.path, "/tokenize");
        assert_eq!(request.body["model"], "mock");
        let is_whole = request.body["messages"][1].is_null();
        let count = if is_whole { 8 } else { 99 };
        reply.body(
            "200 OK",
            "application/json",
            &json!({ "count": count, "tokens": [] }).to_string(),
        );
    });
    let folder = folder();
    let url = mock.url();
    let words = [
        "tokenize",
        "lines.jsonl",
        "--backend",
        "openai-chat",
        "--base-url",
        &url,
    ];
    let outcome = folder
        .run(&[&words[..], &["--tokenizer", "model"]].concat())
        .expect_code(0);
    insta::assert_snapshot!(outcome.stdout, @r"
    file         prompts  characters  tokens  mean  min  max  by the server   equal
    lines.jsonl        2          31      22  11.0    8   14            107  1 of 2
    ");
    insta::assert_snapshot!(outcome.stderr, @"`lines.jsonl`, prompt 2: 14 tokens here, 99 by the server");
    assert_eq!(mock.requests()[1].body["tools"][0]["function"]["name"], "w");
    // Without a tokenizer it is the server's count that is shown.
    let outcome = folder.run(&words);
    insta::assert_snapshot!(outcome.stdout, @r"
    file         prompts  characters  tokens  mean  min  max
    lines.jsonl        2          31     107  53.5    8   99
    ");
}

#[test]
fn a_server_of_another_dialect_is_asked_in_its_own() {
    let mock = Mock::start(|request, reply| {
        let answer = match request.path.as_str() {
            "/apply-template" => json!({ "prompt": "<s>made" }),
            "/tokenize" if request.body["content"] == "<s>made" => json!({ "tokens": [1, 2, 3] }),
            _ => return reply.refuse("400 Bad Request", "`content` is missing"),
        };
        reply.body("200 OK", "application/json", &answer.to_string());
    });
    let folder = folder();
    let words = [
        "tokenize",
        "text.txt",
        "--backend",
        "openai-chat",
        "--format",
        "csv",
        "--base-url",
        &mock.url(),
    ];
    let outcome = folder.run(&words);
    insta::assert_snapshot!(outcome.stdout, @r#"
    file,prompt,characters,tokens,server_tokens
    "text.txt",1,19,,3
    "#);
    let none = Mock::start(|_, reply| reply.refuse("404 Not Found", "no such path"));
    let words = ["tokenize", "text.txt", "--base-url", &none.url()];
    let outcome = folder.run(&words).expect_code(3);
    let said = outcome.stderr.replace(&none.url(), "URL");
    insta::assert_snapshot!(said, @r"
    error: `URL` does not count prompts: the server answered 404 Not Found
    hint: leave `--base-url` out: vLLM, SGLang, llama.cpp and TGI are known to count
    ");
}

#[test]
fn what_cannot_be_counted_is_told_with_its_line() {
    let folder = folder();
    folder.write("bad.jsonl", "{\"prompt\": \"a\"}\n{\"text\": \"b\"}\n");
    folder.write("broken.jsonl", "{\"prompt\": \"a\"\n");
    folder.write(
        "nobody.jsonl",
        "{\"messages\": [{\"role\": \"nobody\", \"content\": \"a\"}]}\n",
    );
    folder.write("bytes.bin", b"\xff\xfe\x00");
    let mut said = String::new();
    folder.write("bom.jsonl", "\u{feff}\n");
    for file in [
        "bad.jsonl",
        "bom.jsonl",
        "broken.jsonl",
        "nobody.jsonl",
        "bytes.bin",
        "none.txt",
        "model",
    ] {
        let words = [
            "tokenize",
            file,
            "--tokenizer",
            "model",
            "--backend",
            "openai-chat",
        ];
        let outcome = folder.run(&words);
        assert_ne!(outcome.code, 0, "{file}");
        said.push_str(&outcome.stderr);
        said.push('\n');
    }
    insta::assert_snapshot!(said, @r#"
    error: data set `bad.jsonl`: line 2: it has no `prompt` and no `messages`
    hint: a line is a JSON object, such as {"prompt": "Hello", "output_tokens": 16}, or CSV below a header with `prompt`
    error: data set `bom.jsonl`: it has no line
    hint: a line is a JSON object, such as {"prompt": "Hello", "output_tokens": 16}, or CSV below a header with `prompt`
    error: data set `broken.jsonl`: line 1: EOF while parsing an object at column 14
    hint: put each object on one line, as `jq -c . FILE` does; fetch the file again where it is cut off
    error: `nobody.jsonl`, prompt 1: chat template `model/tokenizer_config.json`: line 1: nobody may not speak
    hint: see which roles and contents the template takes, and in which order
    error: data set `bytes.bin`: it is text in UTF-16
    hint: save it as UTF-8
    error: data set `none.txt`: No such file or directory (os error 2)
    hint: name a file that is there
    error: data set `model`: Is a directory (os error 21)
    hint: name a file in it; `load --dataset-name hf` takes folders
    "#);
}

/// Prompts of a trace have, at the server, the lengths of the trace: what the template adds is left
/// room for.
#[test]
fn a_prompt_of_a_trace_is_as_long_at_the_server_as_in_the_trace() {
    let folder = folder();
    folder.write(
        "t.csv",
        "arrival_ns,input_tokens,output_tokens\n0,20,2\n1000,31,2\n2000,3,2\n",
    );
    let mock = Mock::start(|request, reply| {
        // What the template and the tokenizer make of it: five tokens beside the words.
        let words = request.prompt().split_whitespace().count();
        reply.begin();
        reply.text("a");
        reply.text(" b");
        reply.finish();
        reply.usage(words + 5, 2);
        reply.done();
        reply.end();
    });
    let url = mock.url();
    let words = [
        "replay",
        "t.csv",
        "--base-url",
        &url,
        "--backend",
        "openai-chat",
        "--tokenizer",
        "model",
        "--out",
        "run.tape",
        "--self-check",
        "0s",
    ];
    let outcome = folder.run(&words).expect_code(0);
    let rows = "SELECT input_tokens_planned, input_tokens_counted, usage_input_tokens FROM requests ORDER BY request_id";
    insta::assert_snapshot!(folder.table("run.tape", rows), @r"
    20 | 20 | 20
    31 | 31 | 31
    3 | 6 | 6
    ");
    assert!(
        !outcome.stderr.contains("planned length"),
        "{}",
        outcome.stderr
    );
}

/// A tokenizer that is not the server's is told by the prompts that both count.
#[test]
fn a_tokenizer_that_is_not_the_servers_is_warned_of() {
    let folder = folder();
    let mock = Mock::start(|request, reply| reply.answer(request, &["a", " b"]));
    let words = [
        "--tokenizer",
        "model",
        "--num-prompts",
        "4",
        "--random-input-len",
        "100",
    ];
    folder.load(&mock.url(), &words).expect_code(0);
    let said = folder.run(&["analyze", "run.tape"]).stdout;
    let at = said
        .find("in 4 of 4 prompts")
        .unwrap_or_else(|| panic!("{said}"));
    insta::assert_snapshot!(said[at..].split("Warning").next().unwrap(), @r"
    in 4 of 4 prompts the server and the tokenizer are more than 1 % apart: 400 tokens by the
      server in all of them, 420 by the tokenizer: the tokenizer that was named is not the server's, or
      the server has another chat template.
      To do: compare prompt by prompt with `tokentape tokenize --base-url`, and name the server's files
        with --tokenizer and --chat-template.
    ");
}

#[test]
fn a_model_in_the_cache_of_the_hub_is_found_by_its_name() {
    let folder = folder();
    let cached = folder.path("hub/models--lab--tiny");
    std::fs::create_dir_all(cached.join("snapshots")).unwrap();
    std::fs::create_dir_all(cached.join("refs")).unwrap();
    folder.write("hub/models--lab--tiny/refs/main", "1f");
    std::fs::rename(folder.path("model"), cached.join("snapshots/1f")).unwrap();
    let hub = folder.path("hub").display().to_string();
    let count = |name: &str| {
        let words = [
            "tokenize",
            "text.txt",
            "--tokenizer",
            name,
            "--backend",
            "openai-chat",
            "--format",
            "csv",
        ];
        folder.run_with(&words, &[("HF_HUB_CACHE", &hub)])
    };
    assert!(count("lab/tiny").expect_code(0).stdout.contains(",1,19,9,"));
    let unknown = count("lab/none").expect_code(4).stderr;
    insta::assert_snapshot!(unknown, @"
    error: tokenizer `lab/none` does not exist
    hint: name the model's `tokenizer.json` or its folder; of a model's name only what is in the cache of the Hugging Face hub is found: `hf download NAME` puts it there
    ");
}

#[test]
fn requests_in_csv_packed_or_behind_a_mark_are_counted_one_by_one() {
    let folder = folder();
    folder.write("a.csv", "prompt,output_tokens\n\"one, two\",4\nthree,5\n");
    folder.write(
        "b.txt",
        "\u{feff}{\"prompt\": \"one two\"}\n{\"prompt\": \"three\"}\n",
    );
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer
        .write_all(b"{\"prompt\": \"one two\"}\n{\"prompt\": \"three\"}\n")
        .unwrap();
    folder.write("c.jsonl.gz", packer.finish().unwrap());
    let words = [
        "tokenize",
        "a.csv",
        "b.txt",
        "c.jsonl.gz",
        "--tokenizer",
        "model",
        "--backend",
        "openai",
        "--format",
        "csv",
    ];
    let counted = folder.run(&words).expect_code(0).stdout;
    insta::assert_snapshot!(counted, @r#"
    file,prompt,characters,tokens,server_tokens
    "a.csv",1,8,3,
    "a.csv",2,5,2,
    "b.txt",1,7,3,
    "b.txt",2,5,2,
    "c.jsonl.gz",1,7,3,
    "c.jsonl.gz",2,5,2,
    "#);
}

#[test]
fn a_chat_template_that_cannot_count_is_refused() {
    let folder = folder();
    folder.write("raise.jinja", "{{ raise_exception('no') }}");
    folder.write("empty.jinja", "");
    let mut said = String::new();
    for (template, backend) in [
        ("raise.jinja", "openai-chat"),
        ("empty.jinja", "openai-chat"),
        ("none.jinja", "openai-chat"),
        ("empty.jinja", "openai"),
    ] {
        let words = ["load", "--dry-run", "--model", "m", "--tokenizer", "model"];
        let more = ["--chat-template", template, "--backend", backend];
        let outcome = folder.run(&[&words[..], &more].concat());
        assert_ne!(outcome.code, 0, "{template}");
        said.push_str(&outcome.stderr);
        said.push('\n');
    }
    insta::assert_snapshot!(said, @"
    error: chat template `raise.jinja`: line 1: no
    hint: name the template that the server has with `--chat-template`, as a file of Jinja
    error: chat template `empty.jinja`: what it makes does not have the messages
    hint: name the template that the server has with `--chat-template`, as a file of Jinja
    error: chat template `none.jinja`: it does not exist
    hint: name the template that the server has with `--chat-template`, as a file of Jinja
    error: the plan can't be driven: it has a chat template, and its backend `openai` is no chat
    ");
}
