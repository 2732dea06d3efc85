//! The chunked transfer coding (RFC 9112, section 7.1): bytes in, bytes of the body out.
//!
//! Pure and incremental: where the bytes are cut makes no difference. Lines may end in a line feed
//! alone. What a server may send beside the body, extensions and trailers, is bounded and skipped.

/// Bytes of one line of a chunk's size with its extensions, and of all trailers together.
const MAX_ASIDE_BYTES: usize = 16 << 10;

/// What is wrong with a body. The connection is of no use after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChunkedError {
    /// A chunk's size is not a hexadecimal number of at most 64 bits.
    #[error("a chunk of the body has no valid size")]
    Size,
    /// There is something else where a line has to end.
    #[error("a chunk of the body does not end where its size says")]
    End,
    /// A size's extensions or the trailers don't end.
    #[error("the extensions or trailers of the body are over {MAX_ASIDE_BYTES} bytes")]
    Aside,
}

/// What the next byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The digits of a size; whether there was one, and what they come to.
    Size {
        has_digit: bool,
        size: u64,
    },
    /// White space, extensions, and the line feed behind a size.
    Extension {
        size: u64,
    },
    /// That many bytes of the body, at least one.
    Data {
        left: u64,
    },
    /// The line end behind a chunk; true behind its carriage return.
    DataEnd {
        has_return: bool,
    },
    /// A line of the trailers, with what it has so far but for line ends.
    Trailer {
        is_empty: bool,
    },
    Done,
}

const START: State = State::Size {
    has_digit: false,
    size: 0,
};

/// Takes a chunked body apart.
#[derive(Debug, Clone)]
pub struct ChunkedDecoder {
    state: State,
    aside_bytes: usize,
}

impl Default for ChunkedDecoder {
    fn default() -> Self {
        Self {
            state: START,
            aside_bytes: 0,
        }
    }
}

impl ChunkedDecoder {
    /// Says whether the whole body, trailers included, has been seen.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes bytes from the wire and hands the body's bytes among them to `body`, in order.
    ///
    /// Returns how many of `bytes` belong to this body; fewer than all only when it is done.
    ///
    /// # Errors
    ///
    /// [`ChunkedError`] when the bytes are no chunked body. What came before has been handed over.
    pub fn push(
        &mut self,
        bytes: &[u8],
        mut body: impl FnMut(&[u8]),
    ) -> Result<usize, ChunkedError> {
        let mut at = 0;
        while at < bytes.len() && self.state != State::Done {
            if let State::Data { left } = self.state {
                let here = usize::try_from(left).unwrap_or(usize::MAX);
                let end = at + here.min(bytes.len() - at);
                body(&bytes[at..end]);
                let left = left - (end - at) as u64;
                self.state = if left == 0 {
                    State::DataEnd { has_return: false }
                } else {
                    State::Data { left }
                };
                at = end;
            } else {
                self.state = self.step(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// Takes a byte that is not of the body.
    fn step(&mut self, byte: u8) -> Result<State, ChunkedError> {
        match self.state {
            State::Size { has_digit, size } => self.size(byte, has_digit, size),
            State::Extension { size } => self.extension(byte, size),
            State::DataEnd { has_return } => match byte {
                b'\r' if !has_return => Ok(State::DataEnd { has_return: true }),
                b'\n' => Ok(START),
                _ => Err(ChunkedError::End),
            },
            State::Trailer { is_empty } => match byte {
                b'\n' if is_empty => Ok(State::Done),
                b'\n' => Ok(State::Trailer { is_empty: true }),
                _ => {
                    self.note_aside()?;
                    let is_empty = is_empty && byte == b'\r';
                    Ok(State::Trailer { is_empty })
                }
            },
            State::Data { .. } | State::Done => Ok(self.state),
        }
    }

    fn size(&mut self, byte: u8, has_digit: bool, size: u64) -> Result<State, ChunkedError> {
        if let Some(digit) = char::from(byte).to_digit(16) {
            if size >> 60 != 0 {
                return Err(ChunkedError::Size);
            }
            let size = size << 4 | u64::from(digit);
            // Leading zeros are without end to a counter of bits alone.
            self.note_aside()?;
            return Ok(State::Size {
                has_digit: true,
                size,
            });
        }
        if !has_digit {
            return Err(ChunkedError::Size);
        }
        match byte {
            b'\r' | b';' | b' ' | b'\t' => Ok(State::Extension { size }),
            b'\n' => self.extension(byte, size),
            _ => Err(ChunkedError::Size),
        }
    }

    fn extension(&mut self, byte: u8, size: u64) -> Result<State, ChunkedError> {
        if byte != b'\n' {
            self.note_aside()?;
            return Ok(State::Extension { size });
        }
        self.aside_bytes = 0;
        Ok(match size {
            0 => State::Trailer { is_empty: true },
            left => State::Data { left },
        })
    }

    fn note_aside(&mut self) -> Result<(), ChunkedError> {
        self.aside_bytes += 1;
        if self.aside_bytes > MAX_ASIDE_BYTES {
            return Err(ChunkedError::Aside);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes `bytes`, cut after each of `cuts`; the body, what was taken, whether it is done.
    fn decode(bytes: &[u8], cuts: &[usize]) -> Result<(Vec<u8>, usize, bool), ChunkedError> {
        let mut decoder = ChunkedDecoder::default();
        let mut body = Vec::new();
        let mut taken = 0;
        let mut start = 0;
        for end in cuts.iter().copied().chain([bytes.len()]) {
            let end = end.clamp(start, bytes.len());
            taken += decoder.push(&bytes[start..end], |part| body.extend_from_slice(part))?;
            start = end;
        }
        Ok((body, taken, decoder.is_done()))
    }

    fn whole(bytes: &str) -> Result<(String, usize, bool), ChunkedError> {
        let (body, taken, is_done) = decode(bytes.as_bytes(), &[])?;
        Ok((String::from_utf8(body).unwrap(), taken, is_done))
    }

    #[test]
    fn chunks_are_joined_and_what_follows_is_left() {
        let body = "4\r\nWiki\r\n6\r\npedia \r\nE\r\nin \r\n\r\nchunks.\r\n0\r\n\r\nHTTP";
        let expected = (
            "Wikipedia in \r\n\r\nchunks.".to_owned(),
            body.len() - 4,
            true,
        );
        assert_eq!(whole(body), Ok(expected));
    }

    #[test]
    fn extensions_trailers_bare_feeds_and_capitals_are_taken() {
        let body =
            "00a;name=\"v\"\n0123456789\n1 \t\r\nx\r\n0;x\r\nserver-timing: a\r\nb: c\r\n\r\n";
        let expected = ("0123456789x".to_owned(), body.len(), true);
        assert_eq!(whole(body), Ok(expected));
        let text = "A\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(whole(text).unwrap().0.len(), 10);
    }

    #[test]
    fn a_body_that_is_cut_short_is_not_done() {
        for end in 0.."3\r\nabc\r\n0\r\n\r".len() {
            let (_, taken, is_done) = whole(&"3\r\nabc\r\n0\r\n\r\n"[..=end]).unwrap();
            assert_eq!((taken, is_done), (end + 1, false));
        }
    }

    #[test]
    fn what_is_no_chunk_is_told() {
        for (bytes, error) in [
            ("\r\n", ChunkedError::Size),
            ("x\r\n", ChunkedError::Size),
            ("-1\r\n", ChunkedError::Size),
            ("1g\r\n", ChunkedError::Size),
            ("10000000000000000\r\n", ChunkedError::Size),
            ("1\r\nab", ChunkedError::End),
            ("1\r\na\r\r\n", ChunkedError::End),
            ("HTTP/1.1 200 OK", ChunkedError::Size),
        ] {
            assert_eq!(whole(bytes), Err(error), "{bytes:?}");
        }
    }

    #[test]
    fn the_largest_size_is_taken_as_it_is() {
        let (body, _, is_done) = whole("ffffffffffffffff\r\nabc").unwrap();
        assert_eq!((body.as_str(), is_done), ("abc", false));
    }

    #[test]
    fn endless_extensions_zeros_and_trailers_are_refused() {
        let long = "a".repeat(MAX_ASIDE_BYTES + 1);
        let zeros = "0".repeat(MAX_ASIDE_BYTES + 1);
        for bytes in [
            format!("1;{long}"),
            zeros,
            format!("0\r\n{long}"),
            "0\r\n".to_owned() + &"a: b\r\n".repeat(MAX_ASIDE_BYTES / 5 + 1),
        ] {
            assert_eq!(whole(&bytes), Err(ChunkedError::Aside));
        }
        // Each chunk may have its own.
        let some = format!("1;{}\r\na\r\n", "x".repeat(1_000)).repeat(100);
        assert_eq!(whole(&some).unwrap().0.len(), 100);
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_makes_no_difference(
            parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
            cuts in prop::collection::vec(0_usize..400, 0..12),
            noise in prop::option::of((0_usize..400, any::<u8>())),
        ) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend_from_slice(format!("{:x};e=1\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\nt: 1\r\n\r\n");
            if let Some((at, byte)) = noise {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let mut cuts = cuts;
            cuts.sort_unstable();
            let one = decode(&bytes, &[]);
            let many = decode(&bytes, &cuts);
            prop_assert_eq!(&one, &many);
            if noise.is_none() {
                prop_assert_eq!(one, Ok((parts.concat(), bytes.len(), true)));
            }
        }
    }
}
