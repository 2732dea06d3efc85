//! The decoder beside a plain reading of the format, and beside itself on other splits.

use proptest::prelude::*;

use super::*;

/// An event with storage of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Owned {
    kind: Kind,
    data: Vec<u8>,
    name: Option<Vec<u8>>,
    wire_bytes: u32,
}

impl From<Event<'_>> for Owned {
    fn from(event: Event<'_>) -> Self {
        Self {
            kind: event.kind,
            data: event.data.to_vec(),
            name: event.name.map(<[u8]>::to_vec),
            wire_bytes: event.wire_bytes,
        }
    }
}

/// Decodes the reads in order; the events and the end of the stream, or the decoder's error.
fn decode_with(mut decoder: Decoder, reads: &[&[u8]]) -> (Vec<Owned>, Result<Tail, TooLarge>) {
    let mut events = Vec::new();
    for read in reads {
        if let Err(error) = decoder.push(read, |event| events.push(Owned::from(event))) {
            return (events, Err(error));
        }
    }
    let tail = decoder.finish(|event| events.push(Owned::from(event)));
    (events, Ok(tail))
}

fn decode(reads: &[&[u8]]) -> (Vec<Owned>, Tail) {
    let (events, tail) = decode_with(Decoder::new().with_end_mark(Some("[DONE]")), reads);
    (events, tail.expect("the input is small"))
}

/// Returns the data of the events that are not comments, as text.
fn data(input: &[u8]) -> Vec<String> {
    decode(&[input])
        .0
        .into_iter()
        .filter(|event| event.kind == Kind::Data)
        .map(|event| String::from_utf8(event.data).expect("the test's data is text"))
        .collect()
}

const CORPUS: &[&[u8]] = &[
    b"",
    b"\n",
    b"\r\n\r\n",
    b"data: {\"a\":1}\n\ndata: [DONE]\n\n",
    b"data: {\"a\":1}\r\n\r\ndata: [DONE]\r\n\r\n",
    b"data: one\r\rdata: two\r\r",
    b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\n\r",
    b"\xEF\xBB\xBFdata: marked\n\n",
    b"\xEF\xBB\xBF\xEF\xBB\xBFdata: marked twice\n\n",
    b"\xEF\xBBdata: half a mark\n\n",
    b"\xEF\xBB\xBF",
    b"\xEF\xBB",
    b"data:tight\n\ndata:  two spaces\n\ndata\n\ndata:\n\n",
    b"data: one\ndata: two\ndata:\ndata: four\n\n",
    b": ping\n\n:\n\n: between\ndata: x\n: inside\ndata: y\n\n",
    b"event: error\nid: 7\nretry: 10\ndata: {}\n\nevent: ping\n\ndata: later\n\n",
    "data: caf\u{e9} \u{2028}\u{2029}\u{85} \u{1F600}\n\n".as_bytes(),
    b"data: whole line\n",
    b"data: whole line\r\n",
    b"data: [DONE]",
    b"data:[DONE]\r",
    b"data: {\"half\":",
    b"data: first\ndata: [DONE]",
    b"database: no\nDATA: no\n data: no\n\n",
    b"data: a\0b\n\nid: \0\n\n",
    b"event: only a name\n",
];

#[test]
fn every_split_in_two_gives_the_same_events() {
    for input in CORPUS {
        let whole = decode(&[input]);
        for at in 0..=input.len() {
            let split = decode(&[&input[..at], &input[at..]]);
            assert_eq!(split, whole, "{:?} split at {at}", input.escape_ascii());
        }
        let bytes: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(decode(&bytes), whole, "{:?} by bytes", input.escape_ascii());
    }
}

#[test]
fn accepts_every_line_end_and_mixtures() {
    assert_eq!(data(CORPUS[3]), data(CORPUS[4]));
    assert_eq!(data(CORPUS[5]), ["one", "two"]);
    assert_eq!(data(CORPUS[6]), ["a", "b", "c", "d"]);
}

#[test]
fn drops_one_byte_order_mark_at_the_start_alone() {
    assert_eq!(data(CORPUS[7]), ["marked"]);
    assert!(data(CORPUS[8]).is_empty());
    assert!(data(CORPUS[9]).is_empty());
}

#[test]
fn drops_one_space_after_the_colon() {
    assert_eq!(data(CORPUS[12]), ["tight", " two spaces", "", ""]);
}

#[test]
fn joins_data_lines_with_line_feeds() {
    assert_eq!(data(CORPUS[13]), ["one\ntwo\n\nfour"]);
}

#[test]
fn hands_out_comments_where_they_stand() {
    let (events, _) = decode(&[CORPUS[14]]);
    let seen: Vec<(Kind, &[u8])> = events
        .iter()
        .map(|event| (event.kind, event.data.as_slice()))
        .collect();
    let expected: &[(Kind, &[u8])] = &[
        (Kind::Comment, b"ping"),
        (Kind::Comment, b""),
        (Kind::Comment, b"between"),
        (Kind::Comment, b"inside"),
        (Kind::Data, b"x\ny"),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn keeps_the_name_of_an_event_and_no_longer() {
    let (events, _) = decode(&[CORPUS[15]]);
    let names: Vec<Option<&[u8]>> = events.iter().map(|event| event.name.as_deref()).collect();
    assert_eq!(names, [Some(b"error".as_slice()), None]);
}

#[test]
fn unicode_line_separators_end_no_line() {
    assert_eq!(
        data(CORPUS[16]),
        ["caf\u{e9} \u{2028}\u{2029}\u{85} \u{1F600}"]
    );
}

#[test]
fn says_how_the_stream_ended() {
    let tails = [
        (&b"data: x\n\n"[..], Tail::Clean, 1),
        (b": ping\n", Tail::Clean, 1),
        (b"event: only a name\n", Tail::Clean, 0),
        (b"data: whole line\n", Tail::NoBlankLine, 1),
        (b"data: [DONE]", Tail::NoBlankLine, 1),
        (b"data: {\"half\":", Tail::Cut { bytes: 14 }, 0),
        (b"data: first\ndata: [DONE]", Tail::Cut { bytes: 24 }, 0),
        (b"data: x\n\ndata", Tail::Cut { bytes: 4 }, 1),
        (b"\xEF\xBB", Tail::Cut { bytes: 2 }, 0),
    ];
    for (input, tail, events) in tails {
        let (seen, end) = decode(&[input]);
        assert_eq!(
            (end, seen.len()),
            (tail, events),
            "{:?}",
            input.escape_ascii()
        );
    }
}

#[test]
fn is_fresh_after_the_end_of_a_stream() {
    let mut decoder = Decoder::new();
    let mut events = Vec::new();
    for _ in 0..2 {
        decoder
            .push(b"\xEF\xBB\xBFdata: x\n\nevent: name\ndata: ha", |event| {
                events.push(Owned::from(event));
            })
            .expect("the input is small");
        assert_eq!(decoder.finish(|_| {}), Tail::Cut { bytes: 20 });
    }
    assert_eq!(events[0], events[1]);
}

#[test]
fn counts_the_bytes_of_each_event_on_the_wire() {
    let sizes = |input: &[u8]| -> Vec<u32> {
        let (events, _) = decode(&[input]);
        events.iter().map(|event| event.wire_bytes).collect()
    };
    assert_eq!(sizes(b"data: x\n\ndata: xyz\n\n"), [9, 11]);
    assert_eq!(sizes(b"event: e\ndata: x\n\n"), [18]);
    assert_eq!(sizes(b": ping\n\ndata: x\n\n"), [7, 9]);
    // The last LF of an event counts to the next one.
    assert_eq!(sizes(b"data: x\r\n\r\ndata: x\r\n\r\n"), [10, 11]);
}

#[test]
fn refuses_an_event_that_outgrows_the_limit_wherever_it_is_split() {
    let inputs: &[&[u8]] = &[
        b"data: 1\n\ndata: 0123456789abcdef\n\ndata: 3\n\n",
        b"data: 1\n\ndata: 234567\ndata: 89abcd\n\ndata: 3\n\n",
        b"data: 1\n\n: 0123456789abcdefghi\n\ndata: 3\n\n",
        b"data: 1\n\nid: 0\nid: 1\nid: 2\nid: 3\nid: 4\nid: 5\n",
    ];
    for input in inputs {
        for at in 0..=input.len() {
            let (events, end) = decode_with(Decoder::with_limit(20), &[&input[..at], &input[at..]]);
            assert_eq!(end, Err(TooLarge { limit: 20 }), "split at {at}");
            assert_eq!(events.len(), 1, "split at {at}");
        }
    }
    let mut decoder = Decoder::with_limit(20);
    assert!(decoder.push(inputs[0], |_| {}).is_err());
    assert!(
        decoder
            .push(b"data: 4\n\n", |_| panic!("decodes on"))
            .is_err()
    );
}

#[test]
fn a_comment_does_not_count_against_the_event_around_it() {
    let input = b"data: 1\n: 0123456789abc\ndata: 2\n\n";
    for at in 0..=input.len() {
        let (events, end) = decode_with(Decoder::with_limit(20), &[&input[..at], &input[at..]]);
        assert_eq!((end, events.len()), (Ok(Tail::Clean), 2), "split at {at}");
    }
}

#[test]
fn gives_the_memory_of_a_large_event_back() {
    let mut decoder = Decoder::new();
    let mut large = b"data: ".to_vec();
    large.resize(1 << 20, b'x');
    decoder.push(&large, |_| {}).expect("is under the limit");
    decoder.push(b"\n\n", |_| {}).expect("is under the limit");
    decoder
        .push(b"data: x", |_| {})
        .expect("is under the limit");
    assert!(decoder.line.capacity() + decoder.pending.data.capacity() <= 2 * KEPT_CAPACITY);
}

/// Decodes by the letter of the format, from the whole input: events of data alone.
fn by_the_letter(input: &[u8]) -> Vec<(Option<Vec<u8>>, Vec<u8>)> {
    let input = input.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(input);
    let mut lines = vec![Vec::new()];
    let mut bytes = input.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\n' => lines.push(Vec::new()),
            b'\r' => {
                bytes.next_if_eq(&b'\n');
                lines.push(Vec::new());
            }
            byte => lines.last_mut().expect("starts with one").push(byte),
        }
    }
    let unfinished = lines.pop();
    assert!(unfinished.is_some());
    let (mut events, mut name, mut data) = (Vec::new(), None, Vec::new());
    for line in lines {
        if line.is_empty() {
            if data.pop().is_some() {
                events.push((name.take(), std::mem::take(&mut data)));
            }
            name = None;
            continue;
        }
        let colon = line.iter().position(|&byte| byte == b':');
        let field = &line[..colon.unwrap_or(line.len())];
        let value = colon.map_or(&[][..], |colon| &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => data.extend(value.iter().chain(b"\n")),
            b"event" => name = Some(value.to_vec()),
            _ => {}
        }
    }
    events
}

/// Bytes in which the structure of a stream is frequent.
fn stream_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        3 => Just(b"\n".to_vec()),
        2 => Just(b"\r".to_vec()),
        2 => Just(b"\r\n".to_vec()),
        3 => Just(b"data:".to_vec()),
        1 => Just(b"data".to_vec()),
        1 => Just(b"event: ".to_vec()),
        1 => Just(b":".to_vec()),
        1 => Just(b" ".to_vec()),
        1 => Just(BYTE_ORDER_MARK.to_vec()),
        1 => Just(b"[DONE]".to_vec()),
        2 => proptest::collection::vec(any::<u8>(), 0..12),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Cuts `input` at the given positions, taken modulo its length.
fn cut<'a>(input: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &input[pair[0]..pair[1]]).collect()
}

proptest! {
    #[test]
    fn random_splits_give_the_same_events(
        input in stream_bytes(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
    ) {
        prop_assert_eq!(decode(&cut(&input, &cuts)), decode(&[&input]));
    }

    #[test]
    fn random_splits_meet_the_same_limit(
        input in stream_bytes(),
        cuts in proptest::collection::vec(any::<usize>(), 0..8),
        limit in 0_usize..40,
    ) {
        let whole = decode_with(Decoder::with_limit(limit), &[&input]);
        let split = decode_with(Decoder::with_limit(limit), &cut(&input, &cuts));
        prop_assert_eq!(split, whole);
    }

    #[test]
    fn agrees_with_the_letter_of_the_format(input in stream_bytes()) {
        let mut events = Vec::new();
        let mut decoder = Decoder::new();
        decoder.push(&input, |event| {
            if event.kind == Kind::Data {
                events.push((event.name.map(<[u8]>::to_vec), event.data.to_vec()));
            }
        }).expect("the input is small");
        prop_assert_eq!(events, by_the_letter(&input));
    }

    #[test]
    fn finds_the_first_line_end(bytes in proptest::collection::vec(
        prop_oneof![Just(b'\n'), Just(b'\r'), Just(0x0B), Just(0x8A), any::<u8>()], 0..40,
    )) {
        let expected = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        prop_assert_eq!(line_end(&bytes), expected);
    }
}
