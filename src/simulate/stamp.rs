//! Times that the server writes into the text of its tokens, with `--stamp`.
//!
//! Whoever reads such a stream on the same machine learns how late its own time stamps are. The
//! times are of the wall clock, in UTC nanoseconds, because processes share no monotonic epoch.

use bytes::BytesMut;

/// The times that one token's text carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When the request had been read whole; on the first token of an answer only. UTC
    /// nanoseconds.
    pub received_ns: Option<i64>,
    /// Just before the event was written. UTC nanoseconds.
    pub sent_ns: i64,
}

impl Stamp {
    /// Writes the text of the token: ` RECEIVED:SENT` or ` SENT`.
    pub(super) fn write(self, out: &mut BytesMut) {
        out.extend_from_slice(b" ");
        if let Some(received_ns) = self.received_ns {
            write_decimal(out, received_ns);
            out.extend_from_slice(b":");
        }
        write_decimal(out, self.sent_ns);
    }

    /// Reads the stamps of a text that one or several tokens make up; what is no stamp is `None`.
    pub fn parse_all(text: &str) -> impl Iterator<Item = Option<Self>> {
        text.split_whitespace().map(|token| {
            let (received_ns, sent) = match token.split_once(':') {
                Some((received, sent)) => (Some(received.parse().ok()?), sent),
                None => (None, token),
            };
            Some(Self {
                received_ns,
                sent_ns: sent.parse().ok()?,
            })
        })
    }
}

/// Writes a number in decimal, without an allocation; negative ones count as 0.
pub(super) fn write_decimal(out: &mut BytesMut, number: i64) {
    let mut digits = [0_u8; 20];
    let mut from = digits.len();
    let mut left = u64::try_from(number).unwrap_or(0);
    loop {
        from -= 1;
        digits[from] = b'0' + u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let first = Stamp {
            received_ns: Some(1_700_000_000_123_456_789),
            sent_ns: 1_700_000_000_200_000_000,
        };
        let later = Stamp {
            received_ns: None,
            sent_ns: 0,
        };
        let mut text = BytesMut::new();
        first.write(&mut text);
        later.write(&mut text);
        assert_eq!(
            text,
            " 1700000000123456789:1700000000200000000 0".as_bytes()
        );
        let text = std::str::from_utf8(&text).unwrap();
        let stamps: Vec<_> = Stamp::parse_all(text).collect();
        assert_eq!(stamps, [Some(first), Some(later)]);
        assert_eq!(Stamp::parse_all(" water").next(), Some(None));
    }
}
