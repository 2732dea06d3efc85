//! The head of a response, and what it says about the body behind it (RFC 9112, section 6).

use chrono::DateTime;
use httparse::{EMPTY_HEADER, Header, Status};

use crate::time::clock::utc_now_ns;

/// Bytes of a response's head at most.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// Headers of a response at most.
const MAX_HEADERS: usize = 256;

/// Values of one header that are kept.
const MAX_VALUES: usize = 8;

/// Bytes of a value that are kept.
const MAX_VALUE_BYTES: usize = 500;

/// What is wrong with a head. The connection is of no use after it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// The bytes are no response of HTTP/1.
    #[error("the answer is not HTTP/1.1: {0}")]
    NotHttp(&'static str),
    /// It does not end.
    #[error("the head of the answer is over {MAX_HEAD_BYTES} bytes or {MAX_HEADERS} headers")]
    TooLarge,
    /// What it says can't be, or can't be read here.
    #[error("{0}")]
    Unsupported(String),
}

/// How the end of a body is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Chunks, with an empty one at the end.
    Chunked,
    /// That many bytes.
    Length(u64),
    /// All until the server closes the connection.
    UntilClose,
}

/// What the head of a response says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// The status code.
    pub status: u16,
    /// The media type, lower case, without parameters; empty where the server named none.
    pub content_type: String,
    /// How the end of the body is known.
    pub framing: Framing,
    /// The server leaves the connection open after the body.
    pub keeps_alive: bool,
    /// How long it asks to wait before another try, in nanoseconds.
    pub retry_after_ns: Option<i64>,
}

/// Reads the head at the start of `bytes`. Returns it with its length, or `None` when more bytes
/// are needed.
///
/// # Errors
///
/// [`HeadError`] when no more bytes can make it a head.
pub fn parse(bytes: &[u8]) -> Result<Option<(ResponseHead, usize)>, HeadError> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(bytes) {
        Ok(Status::Complete(length)) if length <= MAX_HEAD_BYTES => length,
        Ok(Status::Partial) if bytes.len() < MAX_HEAD_BYTES => return Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(error) => return Err(HeadError::NotHttp(plain(error))),
    };
    let status = response.code.unwrap_or_default();
    let is_old = response.version == Some(0);
    let fields = Fields::read(response.headers)?;
    let framing = match status {
        100..=199 | 204 | 304 => Framing::Length(0),
        _ => fields.framing()?,
    };
    let is_open = if is_old {
        fields.says_keep_alive
    } else {
        !fields.says_close
    };
    let head = ResponseHead {
        status,
        content_type: fields.content_type,
        retry_after_ns: fields.retry_after.ns(),
        // A body that has both could be read in two ways; the next answer might start in either.
        keeps_alive: is_open
            && framing != Framing::UntilClose
            && !(fields.is_chunked && fields.length.is_some()),
        framing,
    };
    Ok(Some((head, length)))
}

/// Returns the headers of these names, in lower case, of a head that was read, in its order. Of one
/// header the first values are kept, 8 at most, and of each value 500 bytes.
pub fn values_of(head: &[u8], names: &[String]) -> Vec<(String, String)> {
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    if names.is_empty() || response.parse(head).is_err() {
        return Vec::new();
    }
    let of_head = response.headers.iter().map(|it| (it.name, it.value));
    kept(of_head, names)
}

/// Of these headers, those that are to be kept.
pub(super) fn kept<'a>(
    headers: impl Iterator<Item = (&'a str, &'a [u8])>,
    names: &[String],
) -> Vec<(String, String)> {
    let mut kept: Vec<(String, String)> = Vec::new();
    for (name, value) in headers {
        let name = name.to_ascii_lowercase();
        let known = kept.iter().filter(|(known, _)| *known == name).count();
        if names.contains(&name) && known < MAX_VALUES {
            let value = &value[..value.len().min(MAX_VALUE_BYTES)];
            kept.push((name, String::from_utf8_lossy(value).into_owned()));
        }
    }
    kept
}

fn plain(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::Version | httparse::Error::Token => "it has no status line",
        httparse::Error::Status => "its status is no number",
        httparse::Error::HeaderName => "a header's name has a character that none may have",
        httparse::Error::HeaderValue => "a header's value has a character that none may have",
        httparse::Error::NewLine => "a line ends in the wrong place",
        httparse::Error::TooManyHeaders => "it has too many headers",
    }
}

/// How long a server asks to wait before another try: `Retry-After` (RFC 9110, section 10.2.3), in the
/// milliseconds of Azure and OpenAI, and under the name that LiteLLM gives it.
#[derive(Debug, Default)]
pub(super) struct RetryAfter {
    by_ms: Option<i64>,
    by_s: Option<i64>,
}

impl RetryAfter {
    /// Takes in a header, whose name is in lower case.
    pub(super) fn take(&mut self, name: &str, value: &[u8]) {
        let name = name.strip_prefix("llm_provider-").unwrap_or(name);
        let value = || String::from_utf8_lossy(value);
        match name {
            "retry-after-ms" | "x-ms-retry-after-ms" => self.by_ms = ns(&value(), 1e6),
            "retry-after" => self.by_s = ns(&value(), 1e9).or_else(|| until_ns(&value())),
            _ => {}
        }
    }

    /// The wait in nanoseconds: by the finer of two headers.
    pub(super) fn ns(&self) -> Option<i64> {
        self.by_ms.or(self.by_s)
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast from a float saturates, and who asks for that long is not waited for"
)]
fn ns(number: &str, unit_ns: f64) -> Option<i64> {
    let number: f64 = number.trim().parse().ok()?;
    number
        .is_finite()
        .then(|| (number.max(0.0) * unit_ns) as i64)
}

fn until_ns(date: &str) -> Option<i64> {
    let at = DateTime::parse_from_rfc2822(date.trim()).ok()?;
    Some(
        at.timestamp_nanos_opt()?
            .saturating_sub(utc_now_ns())
            .max(0),
    )
}

/// The headers that decide how to read on.
#[derive(Debug, Default)]
struct Fields {
    content_type: String,
    is_chunked: bool,
    length: Option<u64>,
    says_close: bool,
    says_keep_alive: bool,
    retry_after: RetryAfter,
}

impl Fields {
    fn read(headers: &[Header<'_>]) -> Result<Self, HeadError> {
        let mut fields = Self::default();
        for header in headers {
            let value = String::from_utf8_lossy(header.value);
            match header.name.to_ascii_lowercase().as_str() {
                "content-type" => {
                    let media_type = value.split(';').next().unwrap_or_default();
                    fields.content_type = media_type.trim().to_ascii_lowercase();
                }
                "content-length" => fields.take_length(&value)?,
                "transfer-encoding" => fields.take_coding(&value)?,
                "content-encoding" => refuse_compression(&value)?,
                "connection" => {
                    for word in words(&value) {
                        fields.says_close |= word == "close";
                        fields.says_keep_alive |= word == "keep-alive";
                    }
                }
                name => fields.retry_after.take(name, header.value),
            }
        }
        Ok(fields)
    }

    fn take_length(&mut self, value: &str) -> Result<(), HeadError> {
        // Some proxies join equal headers into a list.
        for word in words(value) {
            let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
            let length = word.parse().ok().filter(|_| is_number);
            if length.is_none() || self.length.is_some_and(|other| Some(other) != length) {
                let message = "the answer's content-length is no number, or several".to_owned();
                return Err(HeadError::Unsupported(message));
            }
            self.length = length;
        }
        Ok(())
    }

    fn take_coding(&mut self, value: &str) -> Result<(), HeadError> {
        for word in words(value) {
            match word.as_str() {
                "chunked" if !self.is_chunked => self.is_chunked = true,
                "identity" => {}
                _ => {
                    let message =
                        format!("the answer's transfer-encoding is `{}`", shortened(value));
                    return Err(HeadError::Unsupported(message));
                }
            }
        }
        Ok(())
    }

    fn framing(&self) -> Result<Framing, HeadError> {
        Ok(match self.length {
            _ if self.is_chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        })
    }
}

fn refuse_compression(value: &str) -> Result<(), HeadError> {
    let is_plain = words(value).all(|word| word == "identity");
    if is_plain {
        return Ok(());
    }
    Err(HeadError::Unsupported(format!(
        "the answer is compressed (content-encoding `{}`), though that was not asked for",
        shortened(value)
    )))
}

fn words(value: &str) -> impl Iterator<Item = String> {
    value
        .split(',')
        .map(|word| word.trim().to_ascii_lowercase())
        .filter(|word| !word.is_empty())
}

/// A server's own words, at a length that a message can bear.
fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn headers_are_kept_by_their_names_and_within_bounds() {
        let values: String = (0..9).map(|n| format!("x-many: {n}\r\n")).collect();
        let long = "a".repeat(600);
        let head = format!(
            "HTTP/1.1 200 OK\r\nX-Request-ID: r1\r\nother: 1\r\n{values}x-long: {long}\r\n\r\n"
        );
        let names = ["x-long", "x-request-id", "x-many", "x-none"].map(str::to_owned);
        let kept = values_of(head.as_bytes(), &names);
        assert_eq!(kept[0], ("x-request-id".to_owned(), "r1".to_owned()));
        assert_eq!(kept.len(), 1 + MAX_VALUES + 1);
        assert_eq!(kept.last().unwrap().1.len(), MAX_VALUE_BYTES);
        assert_eq!(values_of(head.as_bytes(), &[]), []);
    }

    fn head(text: &str) -> ResponseHead {
        let (head, length) = parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(length, text.len());
        head
    }

    fn refusal(fields: &str) -> String {
        let text = format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n");
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_stream_is_read_and_its_connection_kept() {
        let expected = ResponseHead {
            status: 200,
            content_type: "text/event-stream".into(),
            framing: Framing::Chunked,
            keeps_alive: true,
            retry_after_ns: None,
        };
        let text = "HTTP/1.1 200 OK\r\nContent-Type: Text/Event-Stream; charset=utf-8\r\n\
                    Transfer-Encoding: Chunked\r\n\r\n";
        assert_eq!(head(text), expected);
    }

    #[test]
    fn the_end_of_a_body_is_told_in_the_order_that_the_standard_gives() {
        for (fields, framing, keeps_alive) in [
            ("content-length: 12\r\n", Framing::Length(12), true),
            ("content-length: 12, 12\r\n", Framing::Length(12), true),
            ("content-length: 0\r\n", Framing::Length(0), true),
            ("", Framing::UntilClose, false),
            (
                "transfer-encoding: identity\r\n",
                Framing::UntilClose,
                false,
            ),
            (
                "content-length: 3\r\ntransfer-encoding: chunked\r\n",
                Framing::Chunked,
                false,
            ),
            (
                "connection: Keep-Alive, Close\r\ncontent-length: 1\r\n",
                Framing::Length(1),
                false,
            ),
        ] {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
            assert_eq!((head.framing, head.keeps_alive), (framing, keeps_alive));
        }
    }

    #[test]
    fn the_wait_before_another_try_is_read_in_every_form() {
        let asked_ns = |fields: &str| {
            let text = format!("HTTP/1.1 429 X\r\ncontent-length: 0\r\n{fields}\r\n\r\n");
            head(&text).retry_after_ns
        };
        for (fields, expected) in [
            ("Retry-After: 2", Some(2_000_000_000)),
            ("retry-after: 0.5", Some(500_000_000)),
            ("retry-after-ms: 20", Some(20_000_000)),
            (
                "Retry-After: 1\r\nx-ms-retry-after-ms: 700",
                Some(700_000_000),
            ),
            ("llm_provider-retry-after: 3", Some(3_000_000_000)),
            ("retry-after: Wed, 21 Oct 2015 07:28:00 GMT", Some(0)),
            ("retry-after: -1", Some(0)),
            ("retry-after: soon", None),
            ("retry-after: inf", None),
            ("server: x", None),
        ] {
            assert_eq!(asked_ns(fields), expected, "{fields}");
        }
        let far = asked_ns("retry-after: Wed, 21 Oct 2116 07:28:00 GMT").unwrap();
        assert!(far > 60_000_000_000, "{far}");
    }

    #[test]
    fn old_servers_close_unless_they_say_otherwise() {
        assert!(!head("HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\n").keeps_alive);
        let kept = "HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 1\r\n\r\n";
        assert!(head(kept).keeps_alive);
    }

    #[test]
    fn answers_without_a_body_have_none_whatever_they_say() {
        for status in [100, 103, 204, 304] {
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 5\r\n\r\n");
            assert_eq!(head(&text).framing, Framing::Length(0));
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(refusal("content-length: 1\r\ncontent-length: 2").contains("content-length"));
        assert!(refusal("content-length: -1").contains("content-length"));
        assert!(refusal("content-length: 99999999999999999999").contains("content-length"));
        assert!(refusal("content-encoding: gzip").contains("`gzip`"));
        assert!(refusal("transfer-encoding: gzip, chunked").contains("`gzip, chunked`"));
        assert!(refusal("transfer-encoding: chunked, chunked").contains("transfer-encoding"));
        assert!(refusal("a b: c").contains("header's name"));
        for text in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/2 200\r\n\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(matches!(error, HeadError::NotHttp(_)), "{text}: {error}");
        }
    }

    #[test]
    fn heads_without_end_are_refused() {
        let lines = "HTTP/1.1 200 OK\r\n".to_owned() + &"a: b\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(parse(lines.as_bytes()), Err(HeadError::TooLarge));
        let long = "HTTP/1.1 200 OK\r\na: ".to_owned() + &"b".repeat(MAX_HEAD_BYTES);
        assert_eq!(parse(long.as_bytes()), Err(HeadError::TooLarge));
        assert_eq!(parse(&long.as_bytes()[..MAX_HEAD_BYTES - 1]), Ok(None));
    }

    proptest! {
        #[test]
        fn any_start_of_a_head_asks_for_more(length in 0_usize..75) {
            let text = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: 10\r\n\r\n";
            prop_assert_eq!(parse(&text.as_bytes()[..length.min(text.len() - 1)]), Ok(None));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
            let mut behind = b"HTTP/1.1 200 OK\r\n".to_vec();
            behind.extend_from_slice(&bytes);
            let _ = parse(&behind);
        }
    }
}
