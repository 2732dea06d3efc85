//! The answer of a server as the direct wire reads it: a head and a chunked body, however they come.
//!
//! Input: a byte for where to split, then the bytes of the connection.

use tokentape::wire::chunked::{ChunkedDecoder, ChunkedError};
use tokentape::wire::response::{Framing, HeadError, ResponseHead, parse};

pub(crate) fn check(bytes: &[u8]) {
    let [split, stream @ ..] = bytes else {
        return;
    };
    let split = usize::from(*split).max(1);
    let whole = head(stream, stream.len().max(1));
    // A head without end is refused at its bound or, read to the end at once, not much after it.
    if stream.len() < 60_000 {
        assert_eq!(whole, head(stream, split), "a head that comes in parts");
    }
    let body = match &whole {
        Ok(Some((head, length))) if head.framing == Framing::Chunked => &stream[*length..],
        // What is no head is tried as a body.
        _ => stream,
    };
    let at_once = chunked(body, body.len().max(1));
    assert_eq!(at_once, chunked(body, 1), "a read for each byte");
    assert_eq!(at_once, chunked(body, split), "reads of equal size");
    if let Ok((taken, data, is_done)) = at_once {
        assert!(data.len() <= taken && taken <= body.len());
        assert!(is_done || taken == body.len(), "bytes of the body are left");
    }
}

/// Reads a head as its bytes come, `size` at a time.
fn head(stream: &[u8], size: usize) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    let mut end = 0;
    while end < stream.len() {
        end = (end + size).min(stream.len());
        if let Some(found) = parse(&stream[..end])? {
            assert!(found.1 <= end, "a head longer than what there is");
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Decodes a body in reads of `size`: what was taken, what it holds, whether it is whole.
fn chunked(body: &[u8], size: usize) -> Result<(usize, Vec<u8>, bool), ChunkedError> {
    let mut decoder = ChunkedDecoder::default();
    let (mut taken, mut data) = (0, Vec::new());
    for read in body.chunks(size) {
        taken += decoder.push(read, |part| data.extend_from_slice(part))?;
    }
    Ok((taken, data, decoder.is_done()))
}
