//! The decoders beside a plain reading of their formats, and beside themselves on other cuts.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A frame: its data, and its size on the wire.
type Seen = (String, u32);

/// Decodes the reads in order; the frames and the end of the body, or the decoder's error.
fn decode<'a>(
    mut decoder: JsonDecoder,
    reads: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Seen>, Result<Tail, TooLarge>) {
    let mut frames = Vec::new();
    let mut note = |event: Event<'_>| {
        assert_eq!((event.kind, event.name), (Kind::Data, None));
        let data = String::from_utf8_lossy(event.data).into_owned();
        frames.push((data, event.wire_bytes));
    };
    for read in reads {
        if let Err(error) = decoder.push(read, &mut note) {
            return (frames, Err(error));
        }
    }
    let tail = decoder.finish(&mut note);
    (frames, Ok(tail))
}

fn lines(limit: usize) -> JsonDecoder {
    JsonDecoder::new(true, limit)
}

fn unary(limit: usize) -> JsonDecoder {
    JsonDecoder::new(false, limit)
}

fn seen(frames: &[(&str, u32)]) -> Vec<Seen> {
    let frames = frames.iter();
    frames
        .map(|(data, bytes)| ((*data).to_owned(), *bytes))
        .collect()
}

#[test]
fn a_line_is_a_frame_whether_it_ends_with_lf_or_crlf() {
    for (body, frames, tail) in [
        ("", &[][..], Tail::Clean),
        ("\n\r\n \n", &[], Tail::Clean),
        (
            "{\"a\":1}\n[2]\r\n",
            &[("{\"a\":1}", 8), ("[2]", 5)],
            Tail::Clean,
        ),
        ("1\n\n 2 \n", &[("1", 2), ("2", 4)], Tail::Clean),
        // U+2028 and a lone CR end no line.
        (
            "\"\u{2028}\"\n1\r2\n",
            &[("\"\u{2028}\"", 6), ("1\r2", 4)],
            Tail::Clean,
        ),
        (
            "{\"a\":1}\n{\"b\":2}",
            &[("{\"a\":1}", 8), ("{\"b\":2}", 7)],
            Tail::NoBlankLine,
        ),
        (
            "{\"a\":1}\n{\"b\":2}\r",
            &[("{\"a\":1}", 8), ("{\"b\":2}", 8)],
            Tail::NoBlankLine,
        ),
        // It may be half of what the server meant to send.
        (
            "{\"a\":1}\n{\"b\":",
            &[("{\"a\":1}", 8)],
            Tail::Cut { bytes: 5 },
        ),
        ("no JSON\n1\n", &[("no JSON", 8), ("1", 2)], Tail::Clean),
    ] {
        let expected = (seen(frames), Ok(tail));
        let whole = decode(lines(MAX_EVENT_BYTES), [body.as_bytes()]);
        assert_eq!(whole, expected, "{body:?}");
        let by_byte = decode(lines(MAX_EVENT_BYTES), body.as_bytes().chunks(1));
        assert_eq!(by_byte, expected, "{body:?} by bytes");
    }
}

#[test]
fn a_whole_body_is_one_frame_at_its_end() {
    for (body, frames, tail) in [
        ("", &[][..], Tail::Clean),
        (
            "{\n\"a\": 1\r\n}\n",
            &[("{\n\"a\": 1\r\n}", 12)],
            Tail::Clean,
        ),
        ("{\"a\": 1", &[], Tail::Cut { bytes: 7 }),
    ] {
        let body = body.as_bytes();
        let expected = (seen(frames), Ok(tail));
        assert_eq!(decode(unary(MAX_EVENT_BYTES), [body]), expected);
        assert_eq!(decode(unary(MAX_EVENT_BYTES), body.chunks(1)), expected);
    }
    let mut decoder = unary(MAX_EVENT_BYTES);
    let pushed = decoder.push(b"{}\n{}\n", |_| panic!("the body has not ended"));
    assert_eq!(pushed, Ok(()));
}

#[test]
fn a_frame_that_is_too_large_ends_the_body_and_those_before_it_stay() {
    let over = Err(TooLarge { limit: 10 });
    for (body, is_within) in [
        ("12345678\r\n", true),
        ("123456789\n", true),
        ("123456789\r\n", false),
        ("1234567890\n", false),
        ("1234567890", false),
        ("          \n", false),
    ] {
        let body = format!("{{}}\n{body}{{}}\n");
        let (frames, end) = decode(lines(10), [body.as_bytes()]);
        assert_eq!(decode(lines(10), body.as_bytes().chunks(1)).0, frames);
        assert_eq!(end, if is_within { Ok(Tail::Clean) } else { over });
        assert_eq!(frames.len(), if is_within { 3 } else { 1 }, "{body:?}");
    }
    let body = b"[1, 2, 34]".as_slice();
    assert_eq!(
        decode(unary(10), [body]),
        (seen(&[("[1, 2, 34]", 10)]), Ok(Tail::Clean))
    );
    assert_eq!(
        decode(unary(9), body.chunks(1)).1,
        Err(TooLarge { limit: 9 })
    );
}

#[test]
fn a_large_frame_does_not_fix_the_memory_of_the_stream() {
    let mut decoder = Framing::JsonLines.decoder(None);
    let line = format!("\"{}\"\n", "x".repeat(1 << 20));
    let (start, rest) = line.as_bytes().split_at(1 << 19);
    assert_eq!(decoder.push(start, |_| ()), Ok(()));
    assert!(decoder.held_bytes() >= 1 << 19);
    assert_eq!(decoder.push(rest, |_| ()), Ok(()));
    assert!(decoder.held_bytes() <= KEPT_CAPACITY);
}

#[test]
fn a_framing_takes_its_own_type_and_vague_ones_and_no_other_framing_or_document() {
    for framing in Framing::ALL {
        for media_type in ["", "text/plain", "application/octet-stream"] {
            assert!(framing.takes(media_type));
        }
        for other in Framing::ALL {
            assert_eq!(framing.takes(other.media_type()), framing == other);
        }
        assert!(!framing.takes("text/html"));
        assert!(framing.described().contains(framing.media_type()));
    }
}

proptest! {
    #[test]
    fn no_cut_changes_the_frames(
        parts in vec(prop_oneof![
            Just("{\"a\":\"é\"}"), Just("\n"), Just("\r\n"), Just("\r"), Just(" "), Just("[1,2]"),
            Just("{\"half\":"), Just("\u{2028}"),
        ], 0..24),
        cuts in vec(1_usize..9, 1..40),
        limit in 1_usize..64,
    ) {
        let body = parts.concat();
        let mut reads = Vec::new();
        let mut rest = body.as_bytes();
        for cut in cuts {
            let (read, after) = rest.split_at(cut.min(rest.len()));
            reads.push(read);
            rest = after;
        }
        reads.push(rest);
        for make in [lines, unary] {
            let whole = decode(make(limit), [body.as_bytes()]);
            prop_assert_eq!(decode(make(limit), reads.iter().copied()), whole.clone());
            prop_assert_eq!(decode(make(limit), body.as_bytes().chunks(1)), whole);
        }
        // The lines of the body are its frames, where none is too large.
        let (frames, _) = decode(lines(MAX_EVENT_BYTES), [body.as_bytes()]);
        let plain: Vec<&str> = body.split('\n').map(|line| line.trim_matches(|c: char| c.is_ascii_whitespace())).collect();
        let plain: Vec<&str> = plain.into_iter().filter(|line| !line.is_empty()).collect();
        let frames: Vec<&str> = frames.iter().map(|(data, _)| data.as_str()).collect();
        prop_assert!(frames == plain || frames == plain[..plain.len() - 1], "{frames:?} {plain:?}");
    }
}
