//! Backends: each protocol against a server that speaks it, and against one that does not.

use std::fs;

use serde_json::{Value, json};

use crate::mock::{Mock, Reply};
use crate::program::{Folder, load_words};

#[test]
fn a_server_that_speaks_messages_is_measured_as_any_other() {
    let mock = Mock::start(|request, reply| {
        assert_eq!(request.path, "/v1/messages");
        assert_eq!(request.header("anthropic-version"), Some("2023-06-01"));
        assert_eq!(request.body["max_tokens"], 4);
        reply.begin();
        for event in [
            r#"{"type":"message_start","message":{"id":"msg_1","usage":{"input_tokens":1,"cache_read_input_tokens":3,"output_tokens":1}}}"#,
            r#"{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"one"}}"#,
            r#"{"type":"ping"}"#,
            r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" two"}}"#,
            r#"{"type":"content_block_stop","index":0}"#,
            r#"{"type":"message_delta","delta":{"stop_reason":"max_tokens"},"usage":{"output_tokens":2}}"#,
            r#"{"type":"message_stop"}"#,
        ] {
            reply.event(event);
        }
        reply.end();
    });
    let folder = Folder::new();
    let words = [
        "--backend",
        "anthropic",
        "--num-prompts",
        "2",
        "--keep",
        "text",
    ];
    folder.load(&mock.url(), &words).expect_code(0);
    let facts = "SELECT status, output_tokens, output_tokens_source, input_tokens, usage_cached_tokens, \
                 finish_reason, output, ttft_ns > 0 FROM requests";
    assert_eq!(
        folder.table("run.tape", facts),
        ["ok | 2 | usage | 4 | 3 | length | one two | true"; 2].join("\n")
    );
}

#[test]
fn a_server_is_asked_for_its_models_as_its_protocol_wants_it() {
    for (backend, endpoint, path, version) in [
        ("openai-chat", None, "/v1/models", None),
        ("anthropic", None, "/v1/models", Some("2023-06-01")),
        ("ollama", None, "/api/tags", None),
        (
            "ollama",
            Some("/api/chat?version=1"),
            "/api/tags?version=1",
            None,
        ),
    ] {
        let mock = Mock::start(|_, reply| reply.refuse("400 Bad Request", "no"));
        let folder = Folder::new();
        let url = format!("{}/base", mock.url());
        let mut words = vec!["load", "--base-url", &url, "--backend", backend];
        words.extend(["--num-prompts", "1", "--out", "run.tape"]);
        words.extend(endpoint.into_iter().flat_map(|path| ["--endpoint", path]));
        folder.run(&words).expect_code(3);
        let [asked] = &mock.model_requests()[..] else {
            panic!("{backend} asks once")
        };
        assert_eq!(asked.path, format!("/base{path}"));
        assert_eq!(asked.header("anthropic-version"), version);
        assert_eq!(mock.requests()[0].body["model"], "mock");
        // A plan that names no model asks at the same place.
        let plan = folder.run(&[&words[..], &["--dry-run", "--force"]].concat());
        folder.write("plan.json", &plan.expect_code(0).stdout);
        let again = ["run", "plan.json", "--out", "again.tape"];
        folder.run(&again).expect_code(3);
        let asked = mock.model_requests();
        let places = asked.iter().map(|asked| asked.path.as_str());
        assert_eq!(places.collect::<Vec<_>>(), [&format!("/base{path}"); 2]);
    }
}

/// Lines of an answer of Ollama.
const OLLAMA: [&str; 4] = [
    r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#,
    r#"{"model":"m","created_at":"2026-01-01T00:00:01Z","message":{"role":"assistant","content":"one"},"done":false}"#,
    r#"{"model":"m","created_at":"2026-01-01T00:00:02Z","message":{"role":"assistant","content":" two"},"done":false}"#,
    r#"{"model":"m","created_at":"2026-01-01T00:00:03Z","message":{"role":"assistant","content":""},"done":true,"done_reason":"length","total_duration":9,"prompt_eval_count":4,"eval_count":3}"#,
];

#[test]
fn a_server_that_sends_json_lines_is_measured_as_any_other() {
    let mock = Mock::start(|request, reply| {
        assert_eq!(request.path, "/api/chat");
        assert_eq!(request.header("accept"), Some("application/x-ndjson"));
        assert_eq!(request.body["options"]["num_predict"], 4);
        assert_eq!(request.body["stream"], true);
        reply.begin_as("application/x-ndjson");
        match request.index {
            // A line in two pieces, and two lines in one, the last without its end.
            0 => {
                let (start, rest) = OLLAMA[0].split_at(20);
                reply.piece(start);
                reply.piece(&format!("{rest}\n{}\r\n", OLLAMA[1]));
                reply.piece(&format!("{}\n{}", OLLAMA[2], OLLAMA[3]));
            }
            1 => {
                reply.piece(&format!("{}\n", OLLAMA[0]));
                reply.piece("{\"error\":\"the model is gone\"}\n");
            }
            2 => reply.piece(&format!("{}\n{}", OLLAMA[1], &OLLAMA[2][..50])),
            _ => reply.piece(&format!("{}\n{}", OLLAMA[1], "x".repeat(5 << 20))),
        }
        reply.end();
    });
    let folder = Folder::new();
    let words = [
        "--backend",
        "ollama",
        "--num-prompts",
        "4",
        "--keep",
        "text",
    ];
    let alone = ["--max-concurrency", "1"];
    let outcome = folder.load(&mock.url(), &[&words[..], &alone].concat());
    outcome.expect_code(0);
    let facts = "SELECT status, error_kind, output_tokens, output_tokens_source, input_tokens, \
                 finish_reason, output, ttft_ns > 0, error_message FROM requests ORDER BY request_id";
    insta::assert_snapshot!(folder.table("run.tape", facts), @r"
    ok | - | 3 | usage | 4 | length | hmone two | true | -
    error | in_stream | 1 | chunks | - | - | hm | true | the model is gone
    error | truncated | 1 | chunks | - | - | one | true | the stream ended inside an event (50 bytes of it)
    error | too_large | 1 | chunks | - | - | one | true | a streamed event is larger than 4194304 bytes
    ");
    let channels = "SELECT channel, tokens, bytes FROM chunks WHERE request_id = 0 ORDER BY seq";
    insta::assert_snapshot!(folder.table("run.tape", channels), @r"
    reasoning | 1 | 123
    content | 1 | 111
    content | 1 | 111
    finish | - | 184
    ");
}

#[test]
fn an_answer_in_another_framing_or_of_another_status_is_told_with_what_was_expected() {
    for (backend, content_type, body, message) in [
        (
            "ollama",
            "text/event-stream",
            "data: {}",
            "text instead of a stream of JSON lines (`application/x-ndjson`): data: {}",
        ),
        (
            "ollama",
            "application/json",
            OLLAMA[3],
            "the whole answer as one JSON object instead of a stream of JSON lines (`application/x-ndjson`): it ignores `\"stream\": true`",
        ),
        (
            "openai",
            "application/x-ndjson",
            OLLAMA[0],
            "JSON instead of an event stream (`text/event-stream`): ",
        ),
    ] {
        let mock = Mock::start(move |_, reply| reply.body("200 OK", content_type, body));
        let folder = Folder::new();
        let words = ["--backend", backend, "--num-prompts", "1"];
        folder.load(&mock.url(), &words).expect_code(3);
        let said = folder.table("run.tape", "SELECT error_kind, error_message FROM requests");
        assert!(
            said.starts_with(&format!("unsupported | the server sent {message}")),
            "{said}"
        );
    }
    let mock = Mock::start(|_, reply| {
        reply.body(
            "404 Not Found",
            "application/json",
            r#"{"error":"model 'm' not found"}"#,
        );
    });
    let folder = Folder::new();
    let words = ["--backend", "ollama", "--num-prompts", "1"];
    folder.load(&mock.url(), &words).expect_code(3);
    let facts = "SELECT error_kind, http_status, error_message FROM requests";
    assert_eq!(
        folder.table("run.tape", facts),
        "http_4xx | 404 | model 'm' not found"
    );
}

#[test]
fn exact_lengths_are_refused_where_the_backend_has_no_word_for_them() {
    let folder = Folder::new();
    for backend in ["anthropic", "ollama"] {
        let words = ["--backend", backend, "--ignore-eos", "--dry-run"];
        let outcome = folder.load("http://127.0.0.1:9", &words);
        let said = outcome.expect_code(2).stderr;
        let expected = format!("the backend `{backend}` can't ask for exact output lengths");
        assert!(said.contains(&expected), "{said}");
        assert!(said.contains("leave out `--ignore-eos`"), "{said}");
    }
}

/// Writes events with this data, and ends the stream.
fn stream(reply: &mut Reply, events: &[&str]) {
    reply.begin();
    for event in events {
        reply.event(event);
    }
    reply.end();
}

/// A backend, where it asks, and a stream of its server: two tokens for a prompt of four.
const STREAMS: [(&str, &str, &[&str]); 5] = [
    (
        "openai-responses",
        "/v1/responses",
        &[
            r#"{"type":"response.created","response":{"id":"resp_1"}}"#,
            r#"{"type":"response.output_text.delta","delta":"one"}"#,
            r#"{"type":"response.output_text.delta","delta":" two"}"#,
            r#"{"type":"response.output_text.done","text":"one two"}"#,
            r#"{"type":"response.completed","response":{"incomplete_details":{"reason":"max_output_tokens"},"usage":{"input_tokens":4,"output_tokens":2}}}"#,
        ],
    ),
    (
        "sglang",
        "/generate",
        &[
            r#"{"text":"one","meta_info":{"id":"a","finish_reason":null,"prompt_tokens":4,"completion_tokens":1}}"#,
            r#"{"text":"one two","meta_info":{"id":"a","finish_reason":{"type":"length","length":2},"prompt_tokens":4,"completion_tokens":2}}"#,
            "[DONE]",
        ],
    ),
    (
        "tgi",
        "/generate_stream",
        &[
            r#"{"index":1,"token":{"id":1,"text":"one","special":false},"generated_text":null,"details":null}"#,
            r#"{"index":2,"token":{"id":2,"text":" two","special":false},"generated_text":"one two","details":{"finish_reason":"length","generated_tokens":2,"input_length":4}}"#,
        ],
    ),
    (
        "llama.cpp",
        "/completion",
        &[
            r#"{"content":"one","tokens":[1],"stop":false,"tokens_predicted":1,"tokens_evaluated":4}"#,
            r#"{"content":" two","tokens":[2],"stop":false,"tokens_predicted":2,"tokens_evaluated":4}"#,
            r#"{"content":"","tokens":[],"stop":true,"stop_type":"limit","tokens_predicted":2,"tokens_evaluated":4,"timings":{"cache_n":0}}"#,
        ],
    ),
    (
        "tensorrt-llm",
        "/v2/models/ensemble/generate_stream",
        &[
            r#"{"model_name":"ensemble","text_output":"one"}"#,
            r#"{"model_name":"ensemble","text_output":" two"}"#,
        ],
    ),
];

const FACTS: &str = "SELECT status, output_tokens, input_tokens, usage_input_tokens, finish_reason, output, \
                     error_message FROM requests";

#[test]
fn an_engine_is_measured_by_its_own_stream() {
    for (backend, path, events) in STREAMS {
        let mock = Mock::start(move |request, reply| {
            assert_eq!(request.path, path);
            assert!(request.body.to_string().contains("4"), "{}", request.body);
            stream(reply, events);
        });
        let folder = Folder::new();
        let words = ["--backend", backend, "--num-prompts", "1", "--keep", "text"];
        folder.load(&mock.url(), &words).expect_code(0);
        let (told, reason) = match backend {
            // Nobody counts.
            "tensorrt-llm" => ("-", "-"),
            _ => ("4", "length"),
        };
        let said = folder.table("run.tape", FACTS);
        let said = said.split(" | ").collect::<Vec<_>>();
        assert_eq!(said[..2], ["ok", "2"], "{backend}");
        assert_eq!(said[3..], [told, reason, "one two", "-"], "{backend}");
    }
}

#[test]
fn a_stream_of_another_protocol_names_the_backend_that_reads_it() {
    for (backend, _, events) in STREAMS {
        let mock = Mock::start(move |_, reply| stream(reply, events));
        for other in ["openai-chat", "anthropic", "tgi", "llama.cpp"] {
            if other == backend {
                continue;
            }
            let folder = Folder::new();
            let words = ["--backend", other, "--num-prompts", "1"];
            let said = folder.load(&mock.url(), &words).expect_code(3).stderr;
            let expected = format!("the events are those of `--backend {backend}`");
            assert!(said.contains(&expected), "{other} of {backend}: {said}");
        }
    }
    // A stream in another framing is told from its first bytes.
    let mock = Mock::start(|_, reply| {
        reply.begin_as("application/x-ndjson");
        reply.piece(&format!("{}\n{}\n", OLLAMA[1], OLLAMA[2]));
        reply.end();
    });
    let folder = Folder::new();
    let said = folder.load(
        &mock.url(),
        &["--backend", "openai-chat", "--num-prompts", "1"],
    );
    let said = said.expect_code(3).stderr;
    assert!(said.contains("it is read by `--backend ollama`"), "{said}");
}

#[test]
fn an_answer_of_a_protocol_without_an_end_is_whole_only_where_its_body_ended_in_order() {
    let mock = Mock::start(|request, reply| {
        reply.begin();
        reply.event(r#"{"model_name":"ensemble","text_output":"one"}"#);
        match request.index {
            0 => reply.end(),
            _ => reply.close(),
        }
    });
    let folder = Folder::new();
    let words = ["--backend", "tensorrt-llm", "--num-prompts", "2"];
    let alone = ["--max-concurrency", "1"];
    folder
        .load(&mock.url(), &[&words[..], &alone].concat())
        .expect_code(0);
    let facts = "SELECT status, error_kind FROM requests ORDER BY request_id";
    assert_eq!(folder.table("run.tape", facts), "ok | -\nerror | truncated");
}

#[test]
fn embeddings_are_measured_without_tokens_and_nothing_is_said_of_their_length() {
    let mock = Mock::start(|request, reply| {
        assert_eq!(request.path, "/v1/embeddings");
        assert!(request.body["input"].is_string());
        let body = r#"{"object":"list","data":[{"index":0,"embedding":[0.5]}],"usage":{"prompt_tokens":4}}"#;
        match request.index {
            0 => reply.body(
                "200 OK",
                "application/json",
                r#"{"object":"list","data":[]}"#,
            ),
            _ => reply.body("200 OK", "application/json", body),
        }
    });
    let folder = Folder::new();
    let words = [
        "load",
        "--base-url",
        &mock.url(),
        "--backend",
        "openai-embeddings",
    ];
    let more = [
        "--num-prompts",
        "40",
        "--max-concurrency",
        "1",
        "--out",
        "run.tape",
    ];
    let said = folder.run(&[&words[..], &more].concat()).expect_code(0);
    let facts = "SELECT status, count(*), max(usage_input_tokens), count(ttft_ns), min(e2el_ns) > 0 \
                 FROM requests GROUP BY status ORDER BY status";
    insta::assert_snapshot!(folder.table("run.tape", facts), @r#"
    error | 1 | - | 0 | -
    ok | 39 | 4 | 0 | true
    "#);
    assert!(
        !said.stdout.contains("shorter than planned"),
        "{}",
        said.stdout
    );
}

/// Loads two requests of audio.
fn load_audio(
    folder: &Folder,
    mock: &Mock,
    backend: &str,
    more: &[&str],
) -> crate::program::Outcome {
    let url = mock.url();
    let words = [
        "load",
        "--base-url",
        &url,
        "--model",
        "w",
        "--no-summary",
        "--num-prompts",
        "2",
        "--max-concurrency",
        "1",
        "--backend",
        backend,
        "--out",
        "run.tape",
        "--force",
    ];
    folder.run(&[&words[..], more].concat())
}

#[test]
fn audio_goes_up_as_a_form_and_its_text_is_streamed() {
    let mock = Mock::start(|_, reply| {
        reply.begin();
        reply.event(r#"{"type":"transcript.text.delta","delta":"Say"}"#);
        reply.event(r#"{"type":"transcript.text.delta","delta":" cheese"}"#);
        reply.event(
            r#"{"type":"transcript.text.done","text":"Say cheese","usage":{"input_tokens":14,"output_tokens":2}}"#,
        );
        reply.end();
    });
    let folder = Folder::new();
    fs::create_dir(folder.path("clips")).unwrap();
    folder.write("clips/one.wav", "RIFF-one");
    folder.write("clips/two.mp3", "ID3-two");
    let files = ["--dataset-name", "audio", "--dataset-path", "clips"];
    load_audio(&folder, &mock, "openai-audio", &files).expect_code(0);
    let facts = "SELECT status, chunk_count, usage_input_tokens, output_tokens, finish_reason, output_tokens_planned \
                 FROM requests";
    assert_eq!(
        folder.table("run.tape", facts),
        "ok | 2 | 14 | 2 | stop | -\nok | 2 | 14 | 2 | stop | -"
    );
    let sent = mock.requests();
    let bodies: Vec<_> = sent.iter().map(|it| it.body.as_str().unwrap()).collect();
    for (body, request) in bodies.iter().zip(&sent) {
        assert_eq!(request.path, "/v1/audio/transcriptions");
        let boundary = request.header("content-type").unwrap();
        let boundary = boundary
            .strip_prefix("multipart/form-data; boundary=")
            .unwrap();
        assert!(body.ends_with(&format!("--{boundary}--\r\n")), "{body}");
    }
    let wav = "filename=\"one.wav\"\r\ncontent-type: audio/wav\r\n\r\nRIFF-one";
    for part in [wav, "ID3-two"] {
        assert!(
            bodies.iter().any(|body| body.contains(part)),
            "{part}: {bodies:?}"
        );
    }
}

#[test]
fn audio_is_part_of_a_message_in_chat_and_of_no_other_request() {
    let mock = Mock::answering(&["Say", " cheese"]);
    let folder = Folder::new();
    let made_up = ["--dataset-name", "audio", "--audio-seconds", "0.2"];
    let said = load_audio(&folder, &mock, "openai-chat", &made_up).expect_code(0);
    assert!(said.stderr.contains("the audio is made up"));
    let message = &mock.requests()[0].body["messages"][0]["content"][1];
    assert_eq!(message["input_audio"]["format"], "wav");
    for (backend, words, message) in [
        ("openai-audio", &[][..], "can't send text"),
        ("vllm", &made_up, "the backend `vllm` can't send audio"),
    ] {
        let refused = load_audio(&folder, &mock, backend, words).expect_code(2);
        assert!(
            refused.stderr.contains(message) && refused.stderr.contains("hint: "),
            "{}",
            refused.shown()
        );
    }
}

#[test]
fn a_backend_of_ones_own_is_driven_kept_in_the_plan_and_driven_again() {
    let mock = Mock::start(|request, reply| {
        assert_eq!(request.path, "/api/generate");
        assert_eq!(request.body["max"], 4);
        assert_eq!(request.body["top_k"], 2);
        stream(
            reply,
            &[
                r#"{"out":{"text":"one"}}"#,
                r#"{"out":{"text":" two","why":"length"},"n":2}"#,
            ],
        );
    });
    let folder = Folder::new();
    folder.write(
        "own.json",
        "{# endpoint: /api/generate\ntext: /out/text\nfinish_reason: /out/why\noutput_tokens: /n #}\n\
         {\"prompt\": {{ prompt | tojson }}, \"max\": {{ max_tokens | tojson }}}",
    );
    let words = [
        "--backend-template",
        "own.json",
        "--num-prompts",
        "1",
        "--keep",
        "text",
    ];
    let more = ["--extra-body", r#"{"top_k": 2}"#];
    folder
        .load(&mock.url(), &[&words[..], &more].concat())
        .expect_code(0);
    let again = ["run", "run.tape", "--out", "again.tape", "--no-summary"];
    folder.run(&again).expect_code(0);
    assert_eq!(mock.requests().len(), 2);
    for tape in ["run.tape", "again.tape"] {
        assert!(folder.table(tape, FACTS).starts_with("ok | 2 | "));
    }
    for (file, said) in [
        ("there.is.none", "could not read `there.is.none`"),
        (
            "wrong",
            "`wrong` is no template of a backend: its setting `text` is not there",
        ),
    ] {
        folder.write("wrong", "{# endpoint: /x #}{}");
        let outcome = folder.load(&mock.url(), &["--backend-template", file]);
        assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
        assert_ne!(outcome.code, 0);
    }
}

/// Has a server asked what it is that answers at this path alone, and holds what is said of it, and
/// where its request goes, to what is expected.
fn ask_what_it_is(
    (path, answer): (&'static str, &Value),
    endpoint: Option<&str>,
    (said, asked): (&str, &str),
) {
    let answer = answer.to_string();
    let mock = Mock::showing(
        move |asked| (asked == path).then(|| answer.clone()),
        |_, reply| reply.refuse("400 Bad Request", "no"),
    );
    let folder = Folder::new();
    let url = format!("{}/v1", mock.url());
    let mut words = vec![
        "load",
        "--base-url",
        &url,
        "--model",
        "m",
        "--backend",
        "auto",
    ];
    words.extend(["--num-prompts", "1", "--out", "run.tape"]);
    if asked.contains("/audio/") {
        words.extend(["--dataset-name", "audio"]);
    }
    words.extend(endpoint.into_iter().flat_map(|path| ["--endpoint", path]));
    let outcome = folder.run(&words).expect_code(3);
    assert!(outcome.stderr.contains(said), "{}", outcome.stderr);
    assert!(
        mock.requests()[0].path.ends_with(asked),
        "{}",
        mock.requests()[0].path
    );
}

#[test]
fn a_server_is_asked_what_it_is() {
    for (path, answer, endpoint, said, asked) in [
        (
            "/v1/models",
            json!({ "data": [{ "id": "m", "owned_by": "vllm" }] }),
            None,
            "backend: vllm-chat, by `/v1/models`",
            "/v1/chat/completions",
        ),
        (
            "/v1/models",
            json!({ "data": [{ "id": "m", "owned_by": "vllm" }] }),
            Some("/v1/completions"),
            "backend: vllm, by `/v1/models`",
            "/v1/completions",
        ),
        (
            "/api/version",
            json!({ "version": "0.9" }),
            None,
            "backend: ollama, by `/api/version`",
            "/api/chat",
        ),
        (
            "/openapi.json",
            json!({ "paths": { "/load_model": {}, "/reset": {} } }),
            None,
            "backend: transformers, by `/openapi.json`",
            "/v1/chat/completions",
        ),
        (
            "/openapi.json",
            json!({ "paths": { "/v1/audio/transcriptions": {}, "/v1/audio/translations": {} } }),
            None,
            "backend: openai-audio, by `/openapi.json`: it lists transcriptions of audio",
            "/v1/audio/transcriptions",
        ),
        (
            "/elsewhere",
            Value::Null,
            None,
            "backend: openai-chat, since nothing that the server says tells what it is",
            "/v1/chat/completions",
        ),
    ] {
        ask_what_it_is((path, &answer), endpoint, (said, asked));
    }
}

#[test]
fn a_gateway_is_driven_by_chat_completions_and_named() {
    for (path, answer, endpoint, said, asked) in [
        (
            "/readiness",
            json!({ "status": "ready", "healthy_workers": 2, "total_workers": 2 }),
            None,
            "backend: openai-chat, by `/readiness`: a gateway that counts its workers, as smg and \
             vllm-router do; it need not pass on what the server behind it takes beyond that",
            "/v1/chat/completions",
        ),
        (
            "/health/liveliness",
            json!("I'm alive!"),
            Some("/v1/completions"),
            "backend: openai, by `/health/liveliness`: the gateway LiteLLM",
            "/v1/completions",
        ),
    ] {
        ask_what_it_is((path, &answer), endpoint, (said, asked));
    }
}

#[test]
fn a_server_that_can_not_be_asked_has_no_backend() {
    let folder = Folder::new();
    let words = [
        "load",
        "--base-url",
        "http://127.0.0.1:1",
        "--backend",
        "auto",
    ];
    let dry = folder.run(&[&words[..], &["--dry-run"]].concat());
    let said = dry.expect_code(2).stderr;
    assert!(said.contains("`--dry-run` asks nobody"), "{said}");
    let outcome = folder.run(&words);
    assert!(
        outcome
            .stderr
            .contains("could not ask `http://127.0.0.1:1/readiness` what it is"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn headers_of_answers_are_kept_by_name_and_without_the_key() {
    let mock = Mock::start(|_, reply| {
        reply.raw(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nX-Worker: w-1\r\nx-worker: w-2\r\n\
              x-echo: sk-0123456789\r\nx-other: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        reply.text("one");
        reply.finish();
        reply.done();
        reply.end();
    });
    let folder = Folder::new();
    for wire in ["direct", "reqwest"] {
        let words = ["--num-prompts", "1", "--wire", wire, "--force"];
        let kept = ["--keep-header", "X-Worker", "--keep-header", "x-echo"];
        let url = mock.url();
        let words = load_words(&url, &[&words[..], &kept].concat());
        let key = [("OPENAI_API_KEY", "sk-0123456789")];
        folder.run_with(&words, &key).expect_code(0);
        assert_eq!(
            folder.table("run.tape", "SELECT response_headers FROM requests"),
            r#"{"x-worker":"w-1, w-2","x-echo":"***"}"#
        );
    }
    let outcome = folder.load(&mock.url(), &["--keep-header", "a b", "--dry-run"]);
    let said = outcome.expect_code(2).stderr;
    assert!(
        said.contains("`--keep-header a b` is no name of a header"),
        "{said}"
    );
}
