//! The readers of all protocols: whatever a server sends is read without a panic, and what is said
//! of it keeps its word.
//!
//! Input: a byte that chooses the protocol, then the body of an answer. Each event is read as a
//! server sends it, and the whole body once more as that of a response that was not expected.

use tokentape::backend::{
    Event, Kind, NotAStream, Reading, error_message, protocols, read_unexpected,
};
use tokentape::secrets::Secrets;

/// Most characters of a server's words that are kept, and an ellipsis.
const MESSAGE_CHARS: usize = 501;

pub(crate) fn check(bytes: &[u8]) {
    let [protocol, stream @ ..] = bytes else {
        return;
    };
    let Some(protocol) = protocols().nth(usize::from(*protocol) % protocols().count()) else {
        return;
    };
    let mut plain = protocol.reader(false);
    let mut keeping = protocol.reader(true);
    let mut ids = 0;
    let mut compare = |event: Event<'_>| {
        let without = plain.read_event(&event);
        let with = keeping.read_event(&event);
        assert_eq!(without.text, None, "text that nobody asked for");
        let keeps_text = with.channel.is_token_bearing();
        assert_eq!(with.text.is_some(), keeps_text, "{with:?}");
        ids += usize::from(with.response_id.is_some());
        assert!(ids <= 1, "a second id of one response");
        assert_sound(&with);
        let text = with.text.as_deref().unwrap_or_default();
        for part in &with.tools {
            assert!(text.get(part.at.clone()).is_some(), "{with:?}");
        }
        let bare = Reading {
            text: None,
            tools: Vec::new(),
            ..with
        };
        assert_eq!(bare, without);
    };
    let mut decoder = protocol.framing().decoder(protocol.end_mark());
    if decoder.push(stream, &mut compare).is_ok() {
        decoder.finish(&mut compare);
    }
    assert_sound(&protocol.reader(true).read_event(&Event {
        kind: Kind::Data,
        data: stream,
        name: None,
        wire_bytes: 0,
    }));
    let secrets = Secrets::new(["sk-0123456789"]);
    assert_message(&error_message(stream, &secrets));
    match read_unexpected(stream, protocol.framing(), &secrets) {
        NotAStream::Error(error) => assert_message(&error.message),
        NotAStream::Unsupported(message) => assert!(message.chars().count() < 2 * MESSAGE_CHARS),
    }
}

fn assert_sound(reading: &Reading) {
    assert_eq!(reading.tokens.is_some(), reading.tokens_source.is_some());
    let is_bearing = reading.channel.is_token_bearing();
    assert!(is_bearing || reading.tokens.is_none(), "{reading:?}");
    if let Some(error) = &reading.error {
        assert_message(&error.message);
        error.code.as_deref().into_iter().for_each(assert_message);
    }
    let names = [&reading.finish_reason, &reading.response_id];
    for name in names.into_iter().flatten() {
        assert_message(name);
    }
}

/// What a server says stands on one line of a bounded length.
fn assert_message(text: &str) {
    assert!(text.chars().count() <= MESSAGE_CHARS, "{text}");
    assert!(!text.contains(char::is_control), "{text:?}");
}
