//! The decoder of event streams: no bytes make it panic, and no split of them changes what it says.
//!
//! Input: a byte for the limit of an event, a byte for where to split, then the stream.

use tokentape::backend::sse::{Decoder, Event, Kind, Tail};

/// An event: its kind, data, name and size on the wire.
type Seen = (Kind, Vec<u8>, Option<Vec<u8>>, u32);

/// What a decoder said of a stream.
#[derive(Debug, PartialEq)]
struct Said {
    events: Vec<Seen>,
    is_too_large: bool,
    /// Nothing is promised of it past the limit.
    tail: Option<Tail>,
}

pub(crate) fn check(bytes: &[u8]) {
    let [limit, split, stream @ ..] = bytes else {
        return;
    };
    // Small limits are met often, and the usual one is never in the way.
    let limit = match limit {
        0..=127 => usize::from(*limit),
        _ => 1 << 20,
    };
    let whole = decode(limit, std::iter::once(stream));
    let by_byte = decode(limit, stream.chunks(1));
    assert_eq!(whole, by_byte, "a read for each byte");
    let by_size = decode(limit, stream.chunks(usize::from(*split).max(1)));
    assert_eq!(whole, by_size, "reads of equal size");
    let (first, second) = stream.split_at(usize::from(*split).min(stream.len()));
    let empty: &[u8] = &[];
    let in_two = decode(limit, [first, empty, second].into_iter());
    assert_eq!(whole, in_two, "two reads and an empty one");
    let total: usize = whole.events.iter().map(|event| event.1.len()).sum();
    assert!(total <= stream.len(), "more data came out than went in");
}

fn decode<'a>(limit: usize, reads: impl Iterator<Item = &'a [u8]>) -> Said {
    let mut decoder = Decoder::with_limit(limit);
    let mut events = Vec::new();
    let mut note = |event: Event<'_>| {
        let name = event.name.map(<[u8]>::to_vec);
        events.push((event.kind, event.data.to_vec(), name, event.wire_bytes));
    };
    let mut is_too_large = false;
    for read in reads {
        is_too_large = decoder.push(read, &mut note).is_err();
        if is_too_large {
            break;
        }
    }
    let tail = decoder.finish(&mut note);
    Said {
        events,
        is_too_large,
        tail: (!is_too_large).then_some(tail),
    }
}
