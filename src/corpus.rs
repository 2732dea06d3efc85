//! Replays the corpus of the fuzz targets, so that what they found stays fixed.

use std::fs;
use std::path::Path;

#[path = "../fuzz/entries/events.rs"]
mod events;
#[path = "../fuzz/entries/http.rs"]
mod http;
#[path = "../fuzz/entries/report.rs"]
mod report;
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
fn nothing_in_the_corpus_of_texts_leaves_its_place_in_a_report() {
    replay("report", |bytes| {
        report::check(bytes, crate::report::fixture::single());
    });
}

#[test]
fn nothing_in_the_corpus_of_traces_breaks_their_readers() {
    replay("trace", trace::check);
}
