//! What the parts of the hot path cost, each by itself: events, prompts, schedules, the tape.
//!
//! `cargo bench --bench micro` runs all of them, `cargo bench --bench micro -- sse` those with
//! `sse` in their name. Times are of one call; throughput is of what the call worked through. What
//! a chunk takes on disk is printed before the capture benches.

mod machine;

use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use serde_json::Map;
use tokentape::backend::sse::{Decoder, Event, Kind};
use tokentape::backend::{Backend, RequestInput, RequestSpec, protocol};
use tokentape::capture::schema::{Channel, ChunkRow, TokensSource};
use tokentape::capture::{Manifest, TapeWriter, write_tape};
use tokentape::plan::Loop;
use tokentape::schedule::{ArrivalTimes, Process, Ramp};
use tokentape::workload::{Blocks, PromptSpec, Tokenizer, Workload};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    say(&machine::describe());
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    decode_sse(&mut criterion);
    read_events(&mut criterion);
    draw_schedules(&mut criterion)?;
    make_prompts(&mut criterion);
    write_bodies(&mut criterion);
    capture(&mut criterion)?;
    criterion.final_summary();
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the program's result")]
fn say(text: &str) {
    println!("{text}");
}

/// An event of a chat stream, as servers send it.
const CHAT: &str = r#"{"id":"chatcmpl-1f0c5e2b9a7d4c3e","object":"chat.completion.chunk","created":1767225600,"model":"some/model-8B","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}"#;

/// An event of a completions stream.
const COMPLETION: &str = r#"{"id":"cmpl-1f0c5e2b9a7d4c3e","object":"text_completion","created":1767225600,"model":"some/model-8B","choices":[{"index":0,"text":" word","logprobs":null,"finish_reason":null,"stop_reason":null}]}"#;

/// The same with the usage so far, as some servers send with every event.
const WITH_USAGE: &str = r#"{"id":"cmpl-1f0c5e2b9a7d4c3e","object":"text_completion","created":1767225600,"model":"some/model-8B","choices":[{"index":0,"text":" word","logprobs":null,"finish_reason":null,"stop_reason":null}],"usage":{"prompt_tokens":1024,"total_tokens":1088,"completion_tokens":64}}"#;

/// An event of each of the other protocols.
const RESPONSES: &str = r#"{"type":"response.output_text.delta","sequence_number":12,"item_id":"msg_1f0c5e2b9a7d4c3e","output_index":0,"content_index":0,"delta":" word","logprobs":[]}"#;
const MESSAGES: &str =
    r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" word"}}"#;
const TGI: &str = r#"{"index":12,"token":{"id":3409,"text":" word","logprob":-0.5,"special":false},"generated_text":null,"details":null}"#;
const LLAMA_CPP: &str = r#"{"index":0,"content":" word","tokens":[3409],"stop":false,"id_slot":-1,"tokens_predicted":12,"tokens_evaluated":1024}"#;
const OLLAMA: &str = r#"{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":" word"},"done":false}"#;

/// An event of SGLang's own, which has all of the text so far.
fn sglang(tokens: usize) -> String {
    let text = " word".repeat(tokens);
    format!(
        r#"{{"text":"{text}","meta_info":{{"id":"1f0c5e2b","finish_reason":null,"prompt_tokens":1024,"completion_tokens":{tokens},"cached_tokens":0}}}}"#
    )
}

/// Bytes into events, with so many events in one read.
fn decode_sse(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sse");
    for events in [1, 10, 1_000] {
        let bytes = format!("data: {CHAT}\n\n").repeat(events);
        group.throughput(Throughput::ElementsAndBytes {
            elements: events as u64,
            bytes: bytes.len() as u64,
        });
        group.bench_function(BenchmarkId::new("events a push", events), |bencher| {
            let mut decoder = Decoder::new();
            bencher.iter(|| {
                let pushed = decoder.push(black_box(bytes.as_bytes()), |event| {
                    black_box(event.data);
                });
                black_box(pushed).is_ok()
            });
        });
    }
    group.finish();
}

/// Returns the protocol of that name.
fn known(name: &str) -> Backend {
    protocol(name).expect("one of those that there are")
}

/// Events into meaning.
fn read_events(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("event");
    for (name, backend, event, keeps_text) in [
        ("chat", known("openai-chat"), CHAT, false),
        ("chat, text kept", known("openai-chat"), CHAT, true),
        ("completions", known("vllm"), COMPLETION, false),
        ("completions with usage", known("vllm"), WITH_USAGE, false),
        ("responses", known("openai-responses"), RESPONSES, false),
        ("messages", known("anthropic"), MESSAGES, false),
        ("tgi", known("tgi"), TGI, false),
        ("llama.cpp", known("llama.cpp"), LLAMA_CPP, false),
        ("ollama", known("ollama"), OLLAMA, false),
        (
            "sglang, 64 tokens so far",
            known("sglang"),
            &sglang(64),
            false,
        ),
    ] {
        group.throughput(Throughput::ElementsAndBytes {
            elements: 1,
            bytes: event.len() as u64,
        });
        group.bench_function(name, |bencher| {
            let mut reader = backend.reader(keeps_text);
            let read = |data| Event {
                kind: Kind::Data,
                data,
                name: None,
                wire_bytes: 0,
            };
            bencher.iter(|| reader.read_event(&read(black_box(event.as_bytes()))));
        });
    }
    group.finish();
}

/// Due times, one a call.
fn draw_schedules(criterion: &mut Criterion) -> Outcome<()> {
    let mut group = criterion.benchmark_group("schedule");
    group.throughput(Throughput::Elements(1));
    for (name, process) in [
        ("constant", Process::Constant),
        ("poisson", Process::Poisson),
        ("gamma", Process::Gamma { shape: 0.5 }),
        ("weibull", Process::Weibull { shape: 0.5 }),
    ] {
        let times = ArrivalTimes::new(process, Ramp::Steady(100.0), 1, (None, None))?;
        group.bench_function(name, |bencher| {
            let mut times = times.clone();
            bencher.iter(|| times.next());
        });
    }
    group.finish();
    Ok(())
}

/// Prompts of exact lengths; elements are tokens.
fn make_prompts(criterion: &mut Criterion) {
    let workload = Workload::new(&Arc::new(Tokenizer::embedded()), 1);
    let mut group = criterion.benchmark_group("prompt");
    let mut bench = |name: &str, tokens: u32, blocks: Option<Blocks<'_>>| {
        let mut index = 0;
        let mut prompt = || {
            index += 1;
            workload.prompt(PromptSpec {
                blocks,
                ..PromptSpec::random(index, tokens)
            })
        };
        group.throughput(Throughput::ElementsAndBytes {
            elements: u64::from(tokens),
            bytes: prompt().text.len() as u64,
        });
        group.bench_function(name, |bencher| bencher.iter(&mut prompt));
    };
    for tokens in [32, 1_024, 131_072] {
        bench(&format!("{tokens} tokens"), tokens, None);
    }
    let ids: Vec<u64> = (0..16).collect();
    let blocks = Blocks {
        ids: &ids,
        size: 512,
        tokens: &[],
        scope: 0,
    };
    bench("8192 tokens in 16 blocks", 8_192, Some(blocks));
    group.finish();
}

/// Bodies of requests.
fn write_bodies(criterion: &mut Criterion) {
    let workload = Workload::new(&Arc::new(Tokenizer::embedded()), 1);
    let extra_body = Map::new();
    let mut group = criterion.benchmark_group("body");
    for tokens in [32, 1_024, 131_072] {
        let prompt = workload.prompt(PromptSpec::random(1, tokens)).text;
        let spec = RequestSpec {
            model: "some/model-8B",
            input: RequestInput::Text(&prompt),
            max_tokens: Some(128),
            ignore_eos: true,
            temperature: None,
            extra_body: &extra_body,
        };
        group.throughput(Throughput::Bytes(prompt.len() as u64));
        group.bench_function(format!("{tokens} tokens"), |bencher| {
            bencher.iter(|| known("openai-chat").body(black_box(&spec)));
        });
    }
    group.finish();
}

/// Streams and chunks of each in the rows that are written.
const STREAMS: u64 = 200;
const CHUNKS: u32 = 400;

/// Rows in one write to the log, about what 50 ms bring.
const LOG_ROWS: usize = 4_096;

/// Rows into the log and into Parquet; elements are chunks.
fn capture(criterion: &mut Criterion) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    // The log has rows as they arrive, a tape has them by request.
    let sorted = chunks();
    let mut arriving = sorted.clone();
    arriving.sort_by_key(|chunk| chunk.arrival_ns);
    let batch = &arriving[..LOG_ROWS];
    let log_bytes = {
        let tape = folder.path().join("size.tape");
        let mut writer = new_tape(&tape)?;
        write_log(&mut writer, batch);
        size_of(&tape.join("wal"), "chunks-")?
    };
    let tape = folder.path().join("sized.tape");
    write_parquet(&tape, sorted.clone());
    let parquet_bytes = size_of(&tape.join("chunks"), "part-")?;
    say(&format!(
        "\ncapture: {:.2} bytes a chunk in the log, {:.2} in Parquet, without text",
        ratio(log_bytes, batch.len()),
        ratio(parquet_bytes, sorted.len())
    ));
    let mut group = criterion.benchmark_group("capture");
    group.throughput(Throughput::Elements(batch.len() as u64));
    group.bench_function("log", |bencher| {
        let tape = folder.path().join("log.tape");
        bencher.iter_batched_ref(
            || new_tape(&tape).expect("a temporary folder can be written"),
            |writer| write_log(writer, batch),
            BatchSize::PerIteration,
        );
    });
    group.sample_size(20);
    group.throughput(Throughput::Elements(sorted.len() as u64));
    group.bench_function("parquet", |bencher| {
        let mut number = 0;
        bencher.iter_batched(
            || {
                // A tape that is there is not overwritten; the one before is not needed.
                let _ = fs::remove_dir_all(numbered(folder.path(), number));
                number += 1;
                (numbered(folder.path(), number), sorted.clone())
            },
            |(tape, chunks)| write_parquet(&tape, chunks),
            BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}

fn numbered(folder: &Path, number: u32) -> PathBuf {
    folder.join(format!("{number}.tape"))
}

fn new_tape(tape: &Path) -> Outcome<TapeWriter> {
    let _ = fs::remove_dir_all(tape);
    let manifest = Manifest::new("micro".to_owned(), Loop::Open);
    Ok(TapeWriter::create(tape, manifest, true)?)
}

fn write_log(writer: &mut TapeWriter, chunks: &[ChunkRow]) {
    writer.push_chunks(chunks.to_vec());
    writer.flush().expect("a temporary folder can be written");
}

fn write_parquet(tape: &Path, chunks: Vec<ChunkRow>) {
    let manifest = Manifest::new("micro".to_owned(), Loop::Open);
    write_tape(tape, manifest, Vec::new(), chunks, Vec::new())
        .expect("a temporary folder can be written");
}

/// Returns the size of the files in `folder` whose names begin so, in bytes.
fn size_of(folder: &Path, prefix: &str) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

#[expect(clippy::cast_precision_loss, reason = "sizes of small files")]
fn ratio(bytes: u64, rows: usize) -> f64 {
    bytes as f64 / rows as f64
}

/// Makes the chunks of streams that run side by side, 50 ms from token to token, give or take 5.
fn chunks() -> Vec<ChunkRow> {
    let mut state = 1_u64;
    let mut below = |limit: u64| {
        // A linear congruential generator; its upper bits are the good ones.
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        i64::try_from(((state >> 33) * limit) >> 31).unwrap_or(0)
    };
    let mut rows = Vec::new();
    for request_id in 0..STREAMS {
        let mut arrival_ns = below(1_000_000_000);
        for seq in 0..CHUNKS {
            let gap_ns = 45_000_000 + below(10_000_000);
            arrival_ns += gap_ns;
            rows.push(ChunkRow {
                request_id,
                attempt: 0,
                seq,
                arrival_ns,
                gap_ns: (seq > 0).then_some(gap_ns),
                read_seq: Some(seq),
                kernel_lag_us: None,
                channel: Channel::Content,
                has_choices: true,
                tokens: Some(1),
                tokens_source: Some(TokensSource::Usage),
                bytes: 200 + u32::try_from(below(8)).unwrap_or(0),
                text: None,
            });
        }
    }
    rows
}
