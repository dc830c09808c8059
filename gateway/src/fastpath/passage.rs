//! The body of an answer on its way to the client: as it came, or compressed. One that ends with the
//! connection of the service gets chunks, so that the client can tell an end from a break.

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
    Chunks,
    Compressed(Box<Stream>),
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
    /// A body before its first byte.
    ///
    /// # Errors
    /// The encoder cannot be made.
    pub(super) fn new(
        framing: Framing,
        coding: Option<Coding>,
        length: Option<u64>,
    ) -> Result<Self> {
        let form = match coding {
            Some(coding) => Form::Compressed(Box::new(Stream::new(coding, length)?)),
            None if framing == Framing::UntilClose => Form::Chunks,
            None => Form::AsItCame,
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
        let coder = match &mut self.form {
            Form::AsItCame => {
                let Fed { taken, payload } = self.framing.feed(data)?;
                self.bytes += payload;
                return Ok((data.get(..taken).unwrap_or_default(), taken));
            }
            Form::Chunks => {
                self.bytes += push_chunk(data, room);
                return Ok((room, data.len()));
            }
            Form::Compressed(coder) => coder,
        };
        let mut failed = false;
        let mut bytes = 0;
        let fed = self.framing.feed_to(data, |part| {
            match coder.push(part, false) {
                Ok(coded) => bytes += push_chunk(&coded, room),
                Err(_) => failed = true,
            };
        })?;
        if self.framing.is_done() {
            bytes += end(coder, room)?;
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
            Form::AsItCame => {}
            Form::Chunks => push(room, &[LAST_CHUNK]),
            Form::Compressed(coder) => self.bytes += end(coder, room)?,
        }
        Ok(room)
    }
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

fn end(coder: &mut Stream, room: &mut Vec<u8>) -> Result<usize, Stuck> {
    let last = coder.push(b"", true).map_err(|_| Stuck::Coding)?;
    let bytes = push_chunk(&last, room);
    push(room, &[LAST_CHUNK]);
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
        let mut passage = Passage::new(framing, Some(Coding::Gzip), None).expect("an encoder");
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
        let mut passage = Passage::new(Framing::UntilClose, None, None).expect("a body");
        let mut room = Vec::new();
        let passed = passage.pass(b"body", &mut room).expect("it goes on");
        assert_eq!(passed, (b"4\r\nbody\r\n".as_slice(), 4));
        assert_eq!(passage.close(&mut room).expect("it ends"), LAST_CHUNK);
    }

    #[test]
    fn any_other_body_passes_as_it_is() {
        let mut passage = Passage::new(Framing::Length(4), None, Some(4)).expect("a body");
        let mut room = Vec::new();
        let passed = passage.pass(b"bodyHTTP", &mut room).expect("it goes on");
        assert_eq!(passed, (b"body".as_slice(), 4));
        assert!(passage.is_done());
        assert_eq!(passage.bytes, 4);
    }
}
