//! The body of an answer on its way to the client: as it came, or compressed. Over HTTP/1.1, one that
//! ends with the connection of the service gets chunks, so that the client can tell an end from a
//! break; over HTTP/2 frames say so, and bodies have no framing of their own.

use pingora_error::Result;

use super::body::{Broken, Fed, Framing};
use super::text::push;
use crate::filter::compress::{Coding, Stream};

/// The body of one answer.
pub(super) struct Passage {
    framing: Framing,
    form: Form,
    /// Bytes of the body that the client got, without framing.
    pub(super) bytes: usize,
}

/// What a body looks like to the client.
enum Form {
    AsItCame,
    /// In chunks that the service did not make.
    Chunks,
    /// Without the chunks that the service made.
    Bare,
    Compressed(Box<Stream>, Wrap),
}

/// How compressed pieces are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrap {
    Chunks,
    None,
}

/// Why a body cannot go on.
#[derive(Debug)]
pub(super) enum Stuck {
    /// The service broke the framing.
    Broken,
    /// It could not be compressed.
    Coding,
}

impl From<Broken> for Stuck {
    fn from(_: Broken) -> Self {
        Self::Broken
    }
}

impl Passage {
    /// A body before its first byte. `is_framed` says that the client needs HTTP/1.1's framing.
    ///
    /// # Errors
    /// The encoder cannot be made.
    pub(super) fn new(
        framing: Framing,
        coding: Option<Coding>,
        length: Option<u64>,
        is_framed: bool,
    ) -> Result<Self> {
        let wrap = if is_framed { Wrap::Chunks } else { Wrap::None };
        let form = match (coding, &framing) {
            (Some(coding), _) => Form::Compressed(Box::new(Stream::new(coding, length)?), wrap),
            (None, Framing::UntilClose) if is_framed => Form::Chunks,
            (None, Framing::Chunked(_)) if !is_framed => Form::Bare,
            (None, _) => Form::AsItCame,
        };
        Ok(Self {
            framing,
            form,
            bytes: 0,
        })
    }

    /// True when nothing more belongs to the body.
    pub(super) fn is_done(&self) -> bool {
        self.framing.is_done()
    }

    /// True when the body ends with the connection of the service.
    pub(super) fn is_until_close(&self) -> bool {
        self.framing == Framing::UntilClose
    }

    /// Bytes that are left of a body that passes as it is, if its length is known.
    pub(super) fn left(&self) -> Option<u64> {
        match (&self.form, &self.framing) {
            (Form::AsItCame, Framing::Length(left)) => Some(*left),
            _ => None,
        }
    }

    /// So many bytes of such a body went by.
    pub(super) fn went_by(&mut self, count: usize) {
        if let Framing::Length(left) = &mut self.framing {
            *left = left.saturating_sub(count as u64);
        }
        self.bytes += count;
    }

    /// Takes data of the service. Gives what the client gets of it, which is put into `room` where
    /// it is not the data itself; and how much of the data belonged to the body.
    ///
    /// # Errors
    /// The body cannot go on.
    pub(super) fn pass<'a>(
        &mut self,
        data: &'a [u8],
        room: &'a mut Vec<u8>,
    ) -> Result<(&'a [u8], usize), Stuck> {
        room.clear();
        let (coder, wrap) = match &mut self.form {
            Form::AsItCame => {
                let Fed { taken, payload } = self.framing.feed(data)?;
                self.bytes += payload;
                return Ok((data.get(..taken).unwrap_or_default(), taken));
            }
            Form::Chunks => {
                self.bytes += push_chunk(data, room);
                return Ok((room, data.len()));
            }
            Form::Bare => {
                let fed = self.framing.feed_to(data, |part| push(room, &[part]))?;
                self.bytes += fed.payload;
                return Ok((room, fed.taken));
            }
            Form::Compressed(coder, wrap) => (coder, *wrap),
        };
        let mut failed = false;
        let mut bytes = 0;
        let fed = self.framing.feed_to(data, |part| {
            match coder.push(part, false) {
                Ok(coded) => bytes += wrap.push(&coded, room),
                Err(_) => failed = true,
            };
        })?;
        if self.framing.is_done() {
            bytes += end(coder, wrap, room)?;
        }
        self.bytes += bytes;
        if failed {
            return Err(Stuck::Coding);
        }
        Ok((room, fed.taken))
    }

    /// What the client gets when the service has closed a body that ends so.
    ///
    /// # Errors
    /// It could not be compressed.
    pub(super) fn close<'a>(&mut self, room: &'a mut Vec<u8>) -> Result<&'a [u8], Stuck> {
        room.clear();
        match &mut self.form {
            Form::AsItCame | Form::Bare => {}
            Form::Chunks => push(room, &[LAST_CHUNK]),
            Form::Compressed(coder, wrap) => self.bytes += end(coder, *wrap, room)?,
        }
        Ok(room)
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

impl Wrap {
    /// Appends a piece. Gives its bytes without framing.
    fn push(self, data: &[u8], room: &mut Vec<u8>) -> usize {
        match self {
            Self::Chunks => push_chunk(data, room),
            Self::None => {
                push(room, &[data]);
                data.len()
            }
        }
    }
}

fn end(coder: &mut Stream, wrap: Wrap, room: &mut Vec<u8>) -> Result<usize, Stuck> {
    let last = coder.push(b"", true).map_err(|_| Stuck::Coding)?;
    let bytes = wrap.push(&last, room);
    if wrap == Wrap::Chunks {
        push(room, &[LAST_CHUNK]);
    }
    Ok(bytes)
}

/// Appends a chunk; an empty one would end the body.
fn push_chunk(data: &[u8], room: &mut Vec<u8>) -> usize {
    if !data.is_empty() {
        let size = format!("{:x}\r\n", data.len());
        push(room, &[size.as_bytes(), data, b"\r\n"]);
    }
    data.len()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// What a client reads of a body that came in pieces of this size.
    fn coded(framing: Framing, data: &[u8], piece: usize) -> String {
        let mut passage =
            Passage::new(framing, Some(Coding::Gzip), None, true).expect("an encoder");
        let (mut room, mut sent) = (Vec::new(), Vec::new());
        for part in data.chunks(piece) {
            let (out, taken) = passage.pass(part, &mut room).expect("it goes on");
            assert_eq!(taken, part.len());
            sent.extend_from_slice(out);
        }
        if passage.is_until_close() {
            sent.extend_from_slice(passage.close(&mut room).expect("it ends"));
        }
        let mut chunks = Framing::chunked();
        let mut body = Vec::new();
        let fed = chunks.feed_to(&sent, |part| body.extend_from_slice(part));
        assert_eq!(fed.map(|fed| fed.taken), Ok(sent.len()));
        assert!(chunks.is_done());
        assert_eq!(body.len(), passage.bytes);
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(body.as_slice());
        decoder.read_to_string(&mut text).expect("gzip");
        text
    }

    #[test]
    fn a_compressed_body_is_the_same_however_it_came() {
        let text = "well, well. ".repeat(200);
        let chunked = format!(
            "5\r\nwell,\r\n{:x}\r\n{}\r\n0\r\n\r\n",
            text.len() - 5,
            &text[5..]
        );
        for piece in [1, 7, 100, 10_000] {
            let length = Framing::Length(u64::try_from(text.len()).expect("small"));
            assert_eq!(coded(length, text.as_bytes(), piece), text);
            assert_eq!(coded(Framing::UntilClose, text.as_bytes(), piece), text);
            assert_eq!(coded(Framing::chunked(), chunked.as_bytes(), piece), text);
        }
    }

    #[test]
    fn a_body_that_ends_with_its_connection_gets_an_end() {
        let mut passage = Passage::new(Framing::UntilClose, None, None, true).expect("a body");
        let mut room = Vec::new();
        let passed = passage.pass(b"body", &mut room).expect("it goes on");
        assert_eq!(passed, (b"4\r\nbody\r\n".as_slice(), 4));
        assert_eq!(passage.close(&mut room).expect("it ends"), LAST_CHUNK);
    }

    #[test]
    fn any_other_body_passes_as_it_is() {
        let mut passage = Passage::new(Framing::Length(4), None, Some(4), true).expect("a body");
        let mut room = Vec::new();
        let passed = passage.pass(b"bodyHTTP", &mut room).expect("it goes on");
        assert_eq!(passed, (b"body".as_slice(), 4));
        assert!(passage.is_done());
        assert_eq!(passage.bytes, 4);
    }

    #[test]
    fn only_a_body_of_known_length_that_passes_as_it_is_may_go_by() {
        let left = |framing, coding, is_framed| {
            let passage = Passage::new(framing, coding, None, is_framed).expect("a body");
            passage.left()
        };
        let length = Framing::Length(9);
        assert_eq!(left(length.clone(), None, true), Some(9));
        assert_eq!(left(length, Some(Coding::Gzip), true), None);
        for is_framed in [true, false] {
            assert_eq!(left(Framing::chunked(), None, is_framed), None);
            assert_eq!(left(Framing::UntilClose, None, is_framed), None);
        }
        let mut passage = Passage::new(Framing::Length(9), None, Some(9), true).expect("a body");
        for (count, left, is_done) in [(4, 5, false), (5, 0, true)] {
            passage.went_by(count);
            assert_eq!((passage.left(), passage.is_done()), (Some(left), is_done));
        }
        assert_eq!(passage.bytes, 9);
    }

    #[test]
    fn a_client_of_http_2_gets_the_body_alone() {
        let bare = |framing, coding, data: &[u8]| {
            let mut passage = Passage::new(framing, coding, None, false).expect("a body");
            let mut room = Vec::new();
            let (out, _) = passage.pass(data, &mut room).expect("it goes on");
            let mut sent = out.to_vec();
            if passage.is_until_close() {
                sent.extend_from_slice(passage.close(&mut room).expect("it ends"));
            }
            assert_eq!(passage.bytes, sent.len());
            sent
        };
        let chunks = b"2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n";
        assert_eq!(bare(Framing::chunked(), None, chunks), b"body");
        assert_eq!(bare(Framing::UntilClose, None, b"body"), b"body");
        assert_eq!(bare(Framing::Length(4), None, b"body"), b"body");
        let coded = bare(Framing::chunked(), Some(Coding::Gzip), chunks);
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(coded.as_slice());
        decoder.read_to_string(&mut text).expect("gzip");
        assert_eq!(text, "body");
    }
}
