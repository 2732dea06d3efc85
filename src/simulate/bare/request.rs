//! Requests as the bare front hears them; pure.

use bytes::{Buf as _, Bytes, BytesMut};
use http::StatusCode;
use httparse::{EMPTY_HEADER, Header, Status};

use crate::simulate::protocol::Refusal;

/// Bytes of a request's head at most.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// Headers of a request at most.
const MAX_HEADERS: usize = 128;

/// A request that has been read whole.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    /// What it bears to be let in.
    pub(super) authorization: Option<String>,
    pub(super) body: Bytes,
}

/// Takes the request at the start of `bytes` out of them; `None` when more bytes are needed.
///
/// # Errors
///
/// A [`Refusal`] when no more bytes can make it a request, or one that may be answered. The
/// connection is of no use after it.
pub(super) fn take(
    bytes: &mut BytesMut,
    max_body_bytes: usize,
) -> Result<Option<Request>, Refusal> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let head_bytes = match head.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            let message = "The head of the request is too large.";
            return Err(Refusal::new(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                message,
            ));
        }
        Err(error) => {
            return Err(Refusal::bad_request(format!(
                "This is no HTTP/1.1: {error}."
            )));
        }
    };
    if named(head.headers, "transfer-encoding").is_some() {
        let message = "A body must say its length: `--bare` reads no chunks.";
        return Err(Refusal::new(StatusCode::LENGTH_REQUIRED, message));
    }
    let body_bytes = match named(head.headers, "content-length") {
        None => 0,
        Some(length) => str::from_utf8(length)
            .ok()
            .and_then(|length| length.trim().parse::<usize>().ok())
            .ok_or_else(|| Refusal::bad_request("`Content-Length` is no number."))?,
    };
    if body_bytes > max_body_bytes {
        return Err(Refusal::too_large(max_body_bytes));
    }
    if bytes.len() - head_bytes < body_bytes {
        return Ok(None);
    }
    let text = |part: Option<&str>| part.unwrap_or_default().to_owned();
    let (method, path) = (text(head.method), text(head.path));
    let authorization = named(head.headers, "authorization")
        .map(|value| String::from_utf8_lossy(value).into_owned());
    bytes.advance(head_bytes);
    Ok(Some(Request {
        method,
        path,
        authorization,
        body: bytes.split_to(body_bytes).freeze(),
    }))
}

fn named<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a [u8]> {
    let header = headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case(name));
    header.map(|header| header.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 64;

    #[test]
    fn requests_are_taken_one_after_another_however_they_are_cut() {
        let first = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer k\r\n\
                      content-length: 2\r\n\r\n{}";
        let mut bytes = BytesMut::new();
        for byte in first {
            assert_eq!(take(&mut bytes, LIMIT), Ok(None));
            bytes.extend_from_slice(&[*byte]);
        }
        bytes.extend_from_slice(b"GET /health HTTP/1.1\r\n\r\nGET");
        let expected = Request {
            method: "POST".to_owned(),
            path: "/v1/completions".to_owned(),
            authorization: Some("Bearer k".to_owned()),
            body: Bytes::from_static(b"{}"),
        };
        assert_eq!(take(&mut bytes, LIMIT), Ok(Some(expected)));
        let second = take(&mut bytes, LIMIT).unwrap().unwrap();
        assert_eq!((&*second.path, second.body.len()), ("/health", 0));
        assert_eq!(take(&mut bytes, LIMIT), Ok(None));
        assert_eq!(&*bytes, b"GET");
    }

    #[test]
    fn what_can_never_be_answered_is_refused() {
        let status = |request: &[u8]| {
            let refusal = take(&mut BytesMut::from(request), LIMIT).unwrap_err();
            refusal.status().as_u16()
        };
        assert_eq!(status(b"\x16\x03\x01\x02"), 400);
        assert_eq!(
            status(b"POST / HTTP/1.1\r\ncontent-length: many\r\n\r\n"),
            400
        );
        assert_eq!(
            status(b"POST / HTTP/1.1\r\ncontent-length: 65\r\n\r\n"),
            413
        );
        assert_eq!(
            status(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n"),
            411
        );
        let mut endless = b"POST / HTTP/1.1\r\nx: ".to_vec();
        endless.resize(MAX_HEAD_BYTES, b'a');
        assert_eq!(status(&endless), 431);
        let mut many = b"POST / HTTP/1.1\r\n".to_vec();
        for _ in 0..=MAX_HEADERS {
            many.extend_from_slice(b"x: a\r\n");
        }
        assert_eq!(status(&many), 431);
    }
}
