//! Replays the corpus of the fuzz targets, so that what they found stays fixed.

use std::fs;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::proptest;
use proptest::sample::select;

#[path = "../fuzz/entries/events.rs"]
mod events;
#[path = "../fuzz/entries/http.rs"]
mod http;
#[path = "../fuzz/entries/metrics.rs"]
mod metrics;
#[path = "../fuzz/entries/report.rs"]
mod report;
#[path = "../fuzz/entries/sql.rs"]
mod sql;
#[path = "../fuzz/entries/sse.rs"]
mod sse;
#[path = "../fuzz/entries/tape.rs"]
mod tape;
#[path = "../fuzz/entries/trace.rs"]
mod trace;

/// Gives every file of a target's corpus to its entry; the file is named when that panics.
fn replay(target: &str, check: impl Fn(&[u8])) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = root.join("fuzz/corpus").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        let replayed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&bytes)));
        assert!(replayed.is_ok(), "{} breaks its target", path.display());
        count += 1;
    }
    assert!(count > 0, "the corpus of `{target}` is empty");
}

#[test]
fn nothing_in_the_corpus_of_event_streams_breaks_the_decoder() {
    replay("sse", sse::check);
}

#[test]
fn nothing_in_the_corpus_of_answers_breaks_the_wire() {
    replay("http", http::check);
}

#[test]
fn nothing_in_the_corpus_of_events_breaks_their_readers() {
    replay("events", events::check);
}

#[test]
fn nothing_in_the_corpus_of_logs_breaks_the_recovery() {
    replay("tape", tape::check);
}

#[test]
fn nothing_in_the_corpus_of_metrics_breaks_their_reader() {
    replay("metrics", metrics::check);
}

#[test]
fn nothing_in_the_corpus_of_texts_leaves_its_place_in_a_report() {
    replay("report", |bytes| {
        report::check(bytes, crate::report::fixture::single());
    });
}

#[test]
fn nothing_in_the_corpus_of_traces_breaks_their_readers() {
    replay("trace", trace::check);
}

#[test]
fn nothing_in_the_corpus_of_statements_breaks_the_door() {
    replay("sql", sql::check);
}

proptest! {
    /// `PROPTEST_CASES` makes it as long as one likes.
    #[test]
    fn no_words_of_the_corpus_of_statements_in_any_order_break_the_door(
        words in vec((select(words_of_statements()), 1_usize..4, 0_u32..4), 1..24)
    ) {
        let mut text = String::new();
        for (word, few, many) in words {
            let count = if many == 0 { few * few * few * 12 } else { few };
            for _ in 0..count {
                text.push_str(&word);
                text.push(' ');
            }
        }
        sql::check(text.as_bytes());
    }
}

fn words_of_statements() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/sql");
    let texts = fs::read_dir(folder).unwrap().filter_map(|entry| {
        // Those that are no UTF-8 are replayed, and lend no words.
        fs::read_to_string(entry.unwrap().path()).ok()
    });
    let mut words: Vec<String> = texts
        .flat_map(|text| {
            let words = text.split_whitespace().map(str::to_owned);
            words.collect::<Vec<_>>()
        })
        .collect();
    words.sort();
    words.dedup();
    words
}
