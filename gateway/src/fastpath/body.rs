//! Where the body of an answer ends. Pure; fed with all bytes that pass.

/// Bytes that a chunk's extension may have, and all lines of trailers together.
const LINES_MAX: u16 = 16 * 1024;

/// How a body ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many more bytes.
    Length(u64),
    /// After the last chunk and its trailers.
    Chunked(Chunk),
    /// With the connection.
    UntilClose,
}

/// Where in a chunked body we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Chunk {
    /// In a size, of which so many digits were read.
    Size { value: u64, digits: u8 },
    /// After a size, before the end of its line, which may take so many more bytes.
    Extension { value: u64, left: u16 },
    /// Before the newline of a size.
    SizeEnd { value: u64 },
    /// In data.
    Data { left: u64 },
    /// Before the line end after data.
    DataEnd,
    /// Before the newline after data.
    DataNewline,
    /// At the start of a line of the trailers, which may take so many more bytes.
    Trailer { left: u16 },
    /// Within such a line.
    TrailerLine { left: u16 },
    /// Before the newline of such a line.
    TrailerEnd { left: u16 },
    /// Before the very last newline.
    Last,
    /// After it.
    Done,
}

/// A body that breaks its own framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken;

impl Framing {
    /// A chunked body before its first byte.
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunk::Size {
            value: 0,
            digits: 0,
        })
    }

    /// True when nothing more belongs to the body.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Done))
    }

    /// Goes over `data`, which may reach beyond the body.
    ///
    /// # Errors
    /// The body is not chunked as it should be.
    pub(crate) fn feed(&mut self, data: &[u8]) -> Result<Fed, Broken> {
        self.feed_to(data, |_| {})
    }

    /// The same; `each` gets every piece of the body itself, without its framing.
    ///
    /// # Errors
    /// The body is not chunked as it should be.
    pub(crate) fn feed_to(
        &mut self,
        data: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<Fed, Broken> {
        let mut part = |from: usize, count: usize| {
            each(data.get(from..from + count).unwrap_or_default());
        };
        match self {
            Self::UntilClose => {
                part(0, data.len());
                Ok(Fed::plain(data.len()))
            }
            Self::Length(left) => {
                let count = take(left, data.len());
                part(0, count);
                Ok(Fed::plain(count))
            }
            Self::Chunked(chunk) => {
                let mut fed = Fed::plain(0);
                while let Some(byte) = data.get(fed.taken) {
                    match chunk {
                        Chunk::Done => break,
                        Chunk::Data { left } => {
                            let count = take(left, data.len() - fed.taken);
                            part(fed.taken, count);
                            fed.taken += count;
                            fed.payload += count;
                            if *left == 0 {
                                *chunk = Chunk::DataEnd;
                            }
                        }
                        _ => {
                            *chunk = chunk.next(*byte)?;
                            fed.taken += 1;
                        }
                    }
                }
                Ok(fed)
            }
        }
    }
}

/// What a piece of data brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fed {
    /// Bytes that belong to the body, framing included.
    pub(crate) taken: usize,
    /// Bytes of the body itself.
    pub(crate) payload: usize,
}

impl Fed {
    fn plain(bytes: usize) -> Self {
        Self {
            taken: bytes,
            payload: bytes,
        }
    }
}

impl Chunk {
    fn next(self, byte: u8) -> Result<Self, Broken> {
        match (self, byte) {
            (Self::Size { value, digits }, byte) => match char::from(byte).to_digit(16) {
                Some(digit) if digits < 15 => Ok(Self::Size {
                    value: value * 16 + u64::from(digit),
                    digits: digits + 1,
                }),
                None if digits > 0 && byte == b'\r' => Ok(Self::SizeEnd { value }),
                None if digits > 0 && byte == b';' => Ok(Self::Extension {
                    value,
                    left: LINES_MAX,
                }),
                Some(_) | None => Err(Broken),
            },
            (Self::Extension { value, .. }, b'\r') => Ok(Self::SizeEnd { value }),
            (Self::Extension { left: 0, .. }, _) | (Self::Extension { .. }, b'\n') => Err(Broken),
            (Self::Extension { value, left }, _) => Ok(Self::Extension {
                value,
                left: left - 1,
            }),
            (Self::SizeEnd { value: 0 }, b'\n') => Ok(Self::Trailer { left: LINES_MAX }),
            (Self::SizeEnd { value: left }, b'\n') => Ok(Self::Data { left }),
            (Self::DataEnd, b'\r') => Ok(Self::DataNewline),
            (Self::DataNewline, b'\n') => Ok(Self::Size {
                value: 0,
                digits: 0,
            }),
            (Self::Trailer { .. }, b'\r') => Ok(Self::Last),
            (Self::TrailerLine { left }, b'\r') => Ok(Self::TrailerEnd { left }),
            (Self::TrailerEnd { left }, b'\n') => Ok(Self::Trailer { left }),
            (Self::Trailer { left: 0 } | Self::TrailerLine { left: 0 }, _)
            | (Self::Trailer { .. } | Self::TrailerLine { .. }, b'\n')
            | (Self::TrailerEnd { .. }, _) => Err(Broken),
            (Self::Trailer { left } | Self::TrailerLine { left }, _) => {
                Ok(Self::TrailerLine { left: left - 1 })
            }
            (Self::Last, b'\n') => Ok(Self::Done),
            (Self::SizeEnd { .. } | Self::DataEnd | Self::DataNewline | Self::Last, _) => {
                Err(Broken)
            }
            (Self::Data { .. } | Self::Done, _) => Ok(self),
        }
    }
}

fn take(left: &mut u64, there: usize) -> usize {
    let count = usize::try_from(*left).unwrap_or(usize::MAX).min(there);
    *left -= u64::try_from(count).unwrap_or(*left);
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunked_body_ends_where_it_says_however_it_is_cut() {
        let body = b"4;x=y\r\nwiki\r\n0A\r\n0123456789\r\n0\r\nT: x\r\n\r\nHTTP/1.1";
        let end = body.len() - b"HTTP/1.1".len();
        for step in 1..body.len() {
            let mut framing = Framing::chunked();
            let (mut taken, mut payload) = (0, 0);
            for part in body.chunks(step) {
                let fed = framing.feed(part).expect("a sound body");
                taken += fed.taken;
                payload += fed.payload;
            }
            let seen = (taken, payload, framing.is_done());
            assert_eq!(seen, (end, 14, true), "{step}");
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for body in [
            "\r\n",
            "x\r\n",
            "4\n",
            "4\r\nwikix",
            "1\r\na\n",
            "ffffffffffffffff",
            "0\r\n\r\r",
            "0\r\n\n",
            "0\r\nA: b\n\r\n",
            "0\r\nA: b\rc\r\n\r\n",
        ] {
            assert_eq!(
                Framing::chunked().feed(body.as_bytes()),
                Err(Broken),
                "{body:?}"
            );
        }
    }

    #[test]
    fn a_length_is_counted_down() {
        let mut framing = Framing::Length(5);
        assert_eq!(framing.feed(b"abc"), Ok(Fed::plain(3)));
        assert!(!framing.is_done());
        assert_eq!(framing.feed(b"defg"), Ok(Fed::plain(2)));
        assert!(framing.is_done());
    }
}
