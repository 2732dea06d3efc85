//! Answers of every kind, cut into reads in every way, and the rows that come of them.

use super::*;
use crate::backend::protocol;
use crate::capture::schema::Phase;
use crate::load::memory_budget::{Bounds, MemoryBudget};

mod corpus;

const KIB: usize = 1 << 10;

/// A decoder of an answer to a request that was sent at 0, whose text is kept.
fn decoder(budget: &MemoryBudget) -> (AttemptDecoder, Arc<Progress>) {
    let progress = Arc::new(Progress::default());
    let mut row = RequestRow::new(0, Phase::Measure, 0);
    row.dispatched_ns = Some(0);
    let opened = Opened {
        key: 0,
        row,
        progress: Arc::clone(&progress),
        reply_to: None,
    };
    let keeping = Keeping {
        text: true,
        counts_tokens: true,
    };
    let backend = protocol("openai").unwrap();
    let decoder = AttemptDecoder::new(opened, backend, keeping, budget.reserve());
    (decoder, progress)
}

fn bounds(answer_bytes: usize, total_bytes: usize) -> MemoryBudget {
    MemoryBudget::new(Bounds {
        answer_bytes,
        total_bytes,
    })
}

fn entry(at_ns: i64, kernel_lag_us: Option<i32>) -> ReadEntry {
    ReadEntry {
        key: 0,
        at_ns,
        length: 0,
        read_seq: Some(0),
        kernel_lag_us,
    }
}

/// An event with a text of so many bytes.
fn event(text_bytes: usize) -> Vec<u8> {
    let text = "x".repeat(text_bytes);
    format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"{text}\"}}]}}\n\n").into_bytes()
}

/// A whole answer.
const END: End = End {
    is_retried: false,
    kept_headers: Vec::new(),
    connect_ns: None,
    sent_ns: Some(0),
    resends: 0,
    body_sent_ns: Some(0),
    headers_ns: Some(0),
    http_status: Some(200),
    end_ns: 1_000,
    outcome: Outcome::EndOfStream,
};

fn end(decoder: AttemptDecoder, chunks: &mut Vec<ChunkRow>) -> RequestRow {
    let count: TokenCounter = Arc::new(|_| Some(7));
    decoder.finish(&END, Some(&count), chunks).0
}

fn is_given_up(progress: &Progress) -> bool {
    progress.is_undecodable.load(Ordering::Acquire)
}

#[test]
fn what_is_read_after_the_end_does_not_count() {
    let (mut decoder, _) = decoder(&bounds(100 * KIB, 1 << 30));
    let mut chunks = Vec::new();
    let event = event(10);
    decoder.ends_at(1_000);
    for at_ns in [999, 1_000, 1_001] {
        decoder.read(&event, &entry(at_ns, None), &mut chunks);
    }
    let row = end(decoder, &mut chunks);
    assert_eq!(chunks.len(), 2);
    assert_eq!((row.last_token_ns, row.end_ns), (Some(1_000), Some(1_000)));
    assert_eq!(row.response_bytes, 2 * i64::try_from(event.len()).unwrap());
}

#[test]
fn names_of_fields_that_a_server_makes_up_are_bounded() {
    let (mut decoder, _) = decoder(&MemoryBudget::default());
    let mut chunks = Vec::new();
    for field in 0..1_000 {
        let event = format!("data: {{\"choices\":[{{\"delta\":{{\"f{field}\":\"x\"}}}}]}}\n\n");
        decoder.read(event.as_bytes(), &entry(100, None), &mut chunks);
    }
    let counts = decoder.unread_texts();
    assert_eq!((counts.len(), counts.values().sum::<u64>()), (17, 1_000));
}

#[test]
fn texts_of_a_letter_each_take_of_the_allowance_what_they_take_of_memory() {
    let budget = bounds(10 * KIB, 1 << 30);
    let (mut decoder, progress) = decoder(&budget);
    let mut chunks = Vec::new();
    for at_ns in 0..2_000 {
        decoder.read(&event(1), &entry(at_ns, None), &mut chunks);
    }
    assert!(is_given_up(&progress));
}

/// The row of an answer that comes whole, in parts of that size, and the number of its events.
fn row_of(answer: &str, size: usize) -> (RequestRow, usize) {
    let (mut decoder, _) = decoder(&MemoryBudget::default());
    let mut chunks = Vec::new();
    for (at_ns, part) in (0..).zip(answer.as_bytes().chunks(size)) {
        decoder.read(part, &entry(at_ns, None), &mut chunks);
    }
    let row = end(decoder, &mut chunks);
    (row, chunks.len())
}

#[test]
fn what_is_passed_on_of_an_event_with_reasoning_and_content_is_the_content() {
    let opened = Opened {
        key: 0,
        row: RequestRow::new(0, Phase::Measure, 0),
        progress: Arc::default(),
        reply_to: Some(1),
    };
    let (backend, budget) = (protocol("openai-chat").unwrap(), MemoryBudget::default());
    let mut decoder = AttemptDecoder::new(opened, backend, Keeping::default(), budget.reserve());
    let answer = "data: {\"choices\":[{\"delta\":{\"reasoning\":\"Hm.\",\"content\":\"Yes\"}}]}\n\n\
                  data: {\"choices\":[{\"delta\":{\"content\":\", do.\"},\"finish_reason\":\"stop\"}]}\n\n";
    let mut chunks = Vec::new();
    decoder.read(answer.as_bytes(), &entry(1, None), &mut chunks);
    let (_, reply) = decoder.finish(&END, None, &mut chunks);
    assert_eq!(reply.as_deref(), Some("Yes, do."));
}

#[test]
fn what_a_server_tells_of_its_own_time_is_in_the_row() {
    let of = |last: &str| {
        let answer = format!(
            "data: {{\"choices\":[{{\"text\":\"a\",\"finish_reason\":\"stop\"}}],{last}}}\n\ndata: [DONE]\n\n"
        );
        let (row, _) = row_of(&answer, 50);
        [
            row.server_queue_ns,
            row.server_prefill_ns,
            row.server_decode_ns,
        ]
    };
    // llama.cpp; mistral.rs; Groq; Cerebras; NVIDIA Dynamo.
    for (last, expected) in [
        (
            "\"timings\":{\"cache_n\":0,\"prompt_ms\":12.5,\"predicted_ms\":100}",
            [None, Some(12_500_000), Some(100_000_000)],
        ),
        (
            "\"usage\":{\"completion_tokens\":1,\"total_prompt_time_sec\":0.25,\"total_completion_time_sec\":1}",
            [None, Some(250_000_000), Some(1_000_000_000)],
        ),
        (
            "\"usage\":{\"queue_time\":0.02,\"prompt_time\":0.001,\"completion_time\":0.5}",
            [Some(20_000_000), Some(1_000_000), Some(500_000_000)],
        ),
        (
            "\"time_info\":{\"queue_time\":0.02,\"prompt_time\":0.001,\"completion_time\":0.5}",
            [Some(20_000_000), Some(1_000_000), Some(500_000_000)],
        ),
        (
            "\"nvext\":{\"timing\":{\"prefill_wait_time_ms\":1,\"prefill_time_ms\":2,\"ttft_ms\":3,\"total_time_ms\":9}}",
            [Some(1_000_000), Some(2_000_000), Some(6_000_000)],
        ),
        (
            "\"timings\":{\"prompt_ms\":-1,\"predicted_ms\":\"x\"}",
            [None; 3],
        ),
        ("\"usage\":{\"completion_tokens\":1}", [None; 3]),
    ] {
        assert_eq!(of(last), expected, "{last}");
    }
}

#[test]
fn what_is_behind_the_end_mark_does_not_count_however_it_is_cut() {
    let answer = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\n\
                  data: [DONE]\n\n";
    for behind in [
        "data: {\"error\":{\"message\":\"late\"}}\n\n",
        "event: error\ndata: late\n\n",
        "data: {\"choices\":[{\"text\":\"b\"}]}\n\n",
        "data: no JSON\n\ndata: {",
        &format!("data: {}", "x".repeat(5 << 20)),
    ] {
        let whole = format!("{answer}{behind}");
        let sizes = if behind.len() < KIB { 1 } else { 1 << 20 };
        for size in [sizes, 7.max(sizes), 64.max(sizes), whole.len()] {
            let (row, events) = row_of(&whole, size);
            assert_eq!(row.status, Status::Ok, "{behind:.40} by {size}");
            assert_eq!((row.chunk_count, events), (1, 2), "{behind:.40} by {size}");
            assert_eq!(row.output.as_deref(), Some("a"));
        }
    }
}

#[test]
fn a_count_that_nobody_can_hold_is_left_out() {
    let answer = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}],\
                  \"usage\":{\"prompt_tokens\":7,\"completion_tokens\":1e400}}\n\n";
    let (row, _) = row_of(answer, answer.len());
    assert_eq!(row.status, Status::Ok);
    let usage = (row.usage_input_tokens, row.usage_output_tokens);
    assert_eq!(usage, (Some(7), None));
    let broken = answer.replace("1e400", "NaN");
    let (row, _) = row_of(&broken, broken.len());
    assert_eq!(row.error_kind.unwrap().as_str(), "bad_event");
}

#[test]
fn calls_of_tools_are_kept_apart_from_the_text_and_from_each_other() {
    let delta = |fields: &str| {
        format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{{fields}}}}}]}}\n\n")
    };
    let part = |index, fields: &str| {
        delta(&format!(
            "\"tool_calls\":[{{\"index\":{index},\"function\":{{{fields}}}}}]"
        ))
    };
    let answer = [
        delta("\"content\":\"Let me see.\""),
        part(0, "\"name\":\"weather\",\"arguments\":\"\""),
        part(0, "\"arguments\":\"{\\\"city\\\": \""),
        part(1, "\"name\":\"time\",\"arguments\":\"{\""),
        part(0, "\"arguments\":\"\\\"Bern\\\"}\""),
        part(1, "\"arguments\":\"}\""),
        "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"tool_calls\",\"stop_reason\":128008}]}\n\n"
            .to_owned(),
    ]
    .concat();
    let (row, _) = row_of(&answer, answer.len());
    let output = row.output.unwrap();
    let (said, calls) = output.split_once('\n').unwrap();
    assert_eq!(said, "Let me see.");
    let calls: Value = serde_json::from_str(calls).unwrap();
    let expected = json!({ "tool_calls": [
        { "name": "weather", "arguments": "{\"city\": \"Bern\"}" },
        { "name": "time", "arguments": "{}" },
    ] });
    assert_eq!(calls, expected);
    assert_eq!(row.stop_reason.as_deref(), Some("128008"));
    let stop = "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\",\"stop_reason\":\"\\n\\n\"}]}\n\n";
    let (row, _) = row_of(stop, stop.len());
    assert_eq!(row.stop_reason.as_deref(), Some("\n\n"));
    assert_eq!(row.output.as_deref(), Some("a"));
    let stop = stop.replace("stop_reason", "matched_stop");
    assert_eq!(
        row_of(&stop, stop.len()).0.stop_reason.as_deref(),
        Some("\n\n")
    );
}

#[test]
fn an_event_that_only_the_end_completes_has_the_stamp_of_the_read_that_brought_it() {
    let (mut decoder, _) = decoder(&MemoryBudget::default());
    let mut chunks = Vec::new();
    decoder.read(&event(1), &entry(100, None), &mut chunks);
    let last = event(1);
    // Its line is whole; the blank line after it never comes.
    let last = last.strip_suffix(b"\n").unwrap();
    let (start, rest) = last.split_at(20);
    decoder.read(start, &entry(700, None), &mut chunks);
    let brought = ReadEntry {
        read_seq: Some(2),
        ..entry(800, Some(0))
    };
    decoder.read(rest, &brought, &mut chunks);
    let row = end(decoder, &mut chunks);
    assert_eq!(row.last_token_ns, Some(800));
    let last = chunks.last().unwrap();
    assert_eq!((last.arrival_ns, last.gap_ns), (800, Some(700)));
    assert_eq!((last.read_seq, last.kernel_lag_us), (Some(2), Some(0)));
}

#[test]
fn an_answer_that_is_too_long_is_given_up_and_keeps_what_came() {
    let budget = bounds(100 * KIB, 1 << 30);
    let (mut decoder, progress) = decoder(&budget);
    let mut chunks = Vec::new();
    let event = event(40 * KIB);
    for at_ns in 0..2 {
        decoder.read(&event, &entry(at_ns, None), &mut chunks);
    }
    assert!(!is_given_up(&progress));
    for at_ns in 2..4 {
        decoder.read(&event, &entry(at_ns, None), &mut chunks);
        assert!(is_given_up(&progress));
    }
    let row = end(decoder, &mut chunks);
    assert_eq!(row.status, Status::Error);
    assert_eq!(row.error_kind.unwrap().as_str(), "too_large");
    assert_eq!(row.output.unwrap().len(), 80 * KIB);
    assert_eq!(row.output_tokens_counted, None, "of half a text");
    assert_eq!(row.response_bytes, 4 * i64::try_from(event.len()).unwrap());
    let texts: Vec<Option<usize>> = chunks
        .iter()
        .map(|chunk| chunk.text.as_ref().map(String::len))
        .collect();
    // The event that was too much is there, without its text; what came after is not decoded.
    assert_eq!(texts, [Some(40 * KIB), Some(40 * KIB), None]);
    assert_eq!(budget.taken_bytes(), 0);
}

#[test]
fn answers_are_given_up_when_all_of_them_hold_too_much() {
    let budget = bounds(1 << 30, 128 * KIB);
    let (mut first, _) = decoder(&budget);
    let (mut second, progress) = decoder(&budget);
    let mut chunks = Vec::new();
    first.read(&event(100 * KIB), &entry(0, None), &mut chunks);
    second.read(&event(100 * KIB), &entry(0, None), &mut chunks);
    assert!(is_given_up(&progress));
    let row = end(second, &mut chunks);
    assert_eq!(row.error_kind.unwrap().as_str(), "too_large");
    // What the first one held is there for others once it is gone.
    drop(first);
    let (mut third, progress) = decoder(&budget);
    third.read(&event(100 * KIB), &entry(0, None), &mut chunks);
    assert!(!is_given_up(&progress));
}

#[test]
fn events_that_are_never_whole_are_held_within_the_same_bound() {
    let budget = bounds(1 << 30, 128 * KIB);
    let mut chunks = Vec::new();
    let (mut whole, _) = decoder(&budget);
    let (mut half, progress) = decoder(&budget);
    whole.read(&event(100 * KIB), &entry(0, None), &mut chunks);
    half.read(&event(100 * KIB)[..80 * KIB], &entry(0, None), &mut chunks);
    assert!(is_given_up(&progress));
    // What it had of the event is gone at once, and not only when the attempt ends.
    assert!(half.decoder.is_none());
    let row = end(half, &mut chunks);
    assert_eq!(row.error_kind.unwrap().as_str(), "too_large");
}

#[test]
fn a_wait_in_the_kernel_that_can_not_be_is_unknown() {
    let budget = MemoryBudget::default();
    let (mut decoder, _) = decoder(&budget);
    let mut chunks = Vec::new();
    let read_at_ns = 5_000_000;
    // The last three are what is seen of a wall clock that is set back or forward by an hour,
    // and of one that is set by more than the column holds.
    for lag_us in [0, 4_999, -3_600_000, 3_600_000, i32::MAX] {
        let entry = entry(read_at_ns, Some(lag_us));
        decoder.read(&event(1), &entry, &mut chunks);
    }
    let lags: Vec<Option<i32>> = chunks.iter().map(|chunk| chunk.kernel_lag_us).collect();
    assert_eq!(lags, [Some(0), Some(4_999), None, None, None]);
}

#[test]
fn a_secret_that_the_server_repeats_is_not_in_the_reply_that_is_passed_on() {
    let opened = Opened {
        key: 0,
        row: RequestRow::new(0, Phase::Measure, 0),
        progress: Arc::default(),
        reply_to: Some(7),
    };
    let budget = MemoryBudget::default();
    let backend = protocol("openai").unwrap();
    let secrets = Secrets::new(["sk-secret-0123456789"]);
    let mut decoder = AttemptDecoder::new(opened, backend, Keeping::default(), budget.reserve())
        .masking(&secrets);
    let mut chunks = Vec::new();
    for part in ["your key is sk-secret", "-0123456789."] {
        let event = format!("data: {{\"choices\":[{{\"index\":0,\"text\":\"{part}\"}}]}}\n\n");
        decoder.read(event.as_bytes(), &entry(1, None), &mut chunks);
    }
    assert_eq!(decoder.reply_to(), Some(7));
    let (row, reply) = decoder.finish(&END, None, &mut chunks);
    assert_eq!(reply.unwrap(), "your key is ***.");
    // Nobody asked to keep anything.
    assert_eq!(row.output, None);
    assert!(chunks.iter().all(|chunk| chunk.text.is_none()));
}
