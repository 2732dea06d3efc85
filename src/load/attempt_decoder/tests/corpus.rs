//! The streams in `tests/streams/`: what engines and gateways send, with the truth beside each.
//!
//! Each is read whole, cut in two at each byte, and byte by byte: nothing but the times may differ.

use std::fs;
use std::path::Path;

use super::*;
use crate::capture::Label;

/// A stream: the protocol that it is of, what is true of it, and its bytes.
struct Stream {
    name: String,
    backend: Backend,
    truth: Value,
    bytes: Vec<u8>,
}

/// Reads a file: lines that begin with `#`, of which `# backend: ` and `# truth: ` are read here, an
/// empty line, and the bytes of the answer's body.
fn read(path: &Path) -> Stream {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let file = fs::read(path).unwrap();
    let head_end = file.windows(2).position(|pair| pair == b"\n\n");
    let head_end = head_end.unwrap_or_else(|| panic!("{name} has no head"));
    let head = String::from_utf8(file[..head_end].to_vec()).unwrap();
    let field = |field: &str| {
        let mut lines = head.lines();
        let value = lines.find_map(|line| line.strip_prefix(&format!("# {field}: ")));
        value.unwrap_or_else(|| panic!("{name} has no `{field}`"))
    };
    let truth = field("truth");
    Stream {
        backend: protocol(field("backend")).unwrap_or_else(|| panic!("{name}: backend")),
        truth: serde_json::from_str(truth).unwrap_or_else(|error| panic!("{name}: {error}")),
        bytes: file[head_end + 2..].to_vec(),
        name,
    }
}

impl Stream {
    /// What is read of it, where it comes in these parts.
    fn read_in<'a>(&self, parts: impl Iterator<Item = &'a [u8]>) -> Value {
        let mut row = RequestRow::new(0, Phase::Measure, 0);
        row.dispatched_ns = Some(0);
        let opened = Opened {
            key: 0,
            row,
            progress: Arc::default(),
            reply_to: None,
        };
        let keeping = Keeping {
            text: true,
            counts_tokens: false,
        };
        let budget = MemoryBudget::default();
        let mut decoder = AttemptDecoder::new(opened, self.backend, keeping, budget.reserve());
        let mut chunks = Vec::new();
        for (at_ns, part) in (1..).zip(parts) {
            decoder.read(part, &entry(at_ns, None), &mut chunks);
        }
        let end = End {
            end_ns: i64::MAX - 1,
            ..END
        };
        let (row, _) = decoder.finish(&end, None, &mut chunks);
        told(&row, &chunks)
    }
}

/// What is said of an answer, without what is absent.
fn told(row: &RequestRow, chunks: &[ChunkRow]) -> Value {
    let mut told = json!({ "status": row.status.to_string() });
    let mut tell = |name: &str, value: Value| {
        if !value.is_null() {
            told[name] = value;
        }
    };
    tell("events", events(chunks).into());
    let bearing = chunks
        .iter()
        .filter(|chunk| chunk.channel.is_token_bearing());
    let tokens: u32 = bearing.map(|chunk| chunk.tokens.map_or(1, u32::from)).sum();
    tell("tokens", tokens.into());
    for channel in [Channel::Content, Channel::Reasoning, Channel::Tool] {
        let texts = chunks.iter().filter(|chunk| chunk.channel == channel);
        let text: String = texts.filter_map(|chunk| chunk.text.as_deref()).collect();
        if !text.is_empty() {
            tell(&channel.to_string(), text.into());
        }
    }
    let usage = [
        row.usage_input_tokens,
        row.usage_output_tokens,
        row.usage_reasoning_tokens,
        row.usage_cached_tokens,
    ];
    if usage.iter().any(Option::is_some) {
        tell("usage", json!(usage));
    }
    tell("ids", json!(row.ids_output_tokens));
    tell("after_last", json!(row.tokens_after_last));
    tell(
        "finish",
        json!(row.finish_reason.as_ref().map(Label::as_str)),
    );
    tell("stop", json!(row.stop_reason));
    tell("id", json!(row.response_id));
    tell("error", json!(row.error_kind.as_ref().map(Label::as_str)));
    tell("message", json!(row.error_message));
    let times = [
        row.server_queue_ns,
        row.server_prefill_ns,
        row.server_decode_ns,
    ];
    if times.iter().any(Option::is_some) {
        tell("server_ns", json!(times));
    }
    told
}

/// The channels of the events, in their order: `role content*3 done`.
fn events(chunks: &[ChunkRow]) -> String {
    let mut runs: Vec<(Channel, u32)> = Vec::new();
    for chunk in chunks {
        match runs.last_mut() {
            Some((last, count)) if *last == chunk.channel => *count += 1,
            _ => runs.push((chunk.channel, 1)),
        }
    }
    let runs = runs.iter().map(|(channel, count)| match count {
        1 => channel.to_string(),
        count => format!("{channel}*{count}"),
    });
    runs.collect::<Vec<_>>().join(" ")
}

#[test]
fn every_stream_says_what_is_true_of_it_however_it_is_cut() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/streams");
    let mut paths: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "stream"))
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    let mut wrong = Vec::new();
    for path in paths {
        let stream = read(&path);
        let bytes = stream.bytes.as_slice();
        let whole = stream.read_in(std::iter::once(bytes));
        if whole != stream.truth {
            wrong.push(format!("{}: read\n# truth: {whole}", stream.name));
            continue;
        }
        let by_byte = stream.read_in(bytes.chunks(1));
        assert_eq!(by_byte, whole, "{} byte by byte", stream.name);
        for cut in 1..bytes.len() {
            let (first, rest) = bytes.split_at(cut);
            let read = stream.read_in([first, rest].into_iter());
            assert_eq!(read, whole, "{} cut at {cut}", stream.name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
