//! Pieces of a stream that goes both ways: which channel, and what.
//!
//! A WebSocket message is one byte for the channel and the payload. In a tunnel the same stands
//! behind its length, four bytes with the highest first, as a record.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Longest payload, in bytes.
pub const PAYLOAD_MAX: usize = 256 * 1024;
/// Bytes that senders put into one piece.
pub const PIECE: usize = 32 * 1024;
const HEAD: usize = 5;

/// What a piece is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// Bytes for the command, or for the port.
    Stdin,
    /// Bytes of the command, or of the port.
    Stdout,
    /// What the command says on its second output.
    Stderr,
    /// How it ended, as [`super::End`] in JSON; the last piece.
    Status,
    /// A new size of the terminal, as [`super::Size`] in JSON.
    Resize,
    /// The sender has no more bytes; the other direction goes on.
    Eof,
    /// A signal for the command, as [`super::Signal`] in JSON.
    Signal,
    /// The command read some of its input, as [`super::Taken`] in JSON.
    Taken,
}

impl Channel {
    /// All channels, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Stdin,
        Self::Stdout,
        Self::Stderr,
        Self::Status,
        Self::Resize,
        Self::Eof,
        Self::Signal,
        Self::Taken,
    ];

    /// The channel's number on the wire.
    pub fn number(self) -> u8 {
        match self {
            Self::Stdin => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Status => 3,
            Self::Resize => 4,
            Self::Eof => 5,
            Self::Signal => 6,
            Self::Taken => 7,
        }
    }

    fn of(number: u8) -> Result<Self, Fault> {
        let mut all = Self::ALL.into_iter();
        all.find(|channel| channel.number() == number)
            .ok_or(Fault::Channel(number))
    }
}

/// What is wrong with what came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No such channel.
    #[error("there is no channel {0}")]
    Channel(u8),
    /// Nothing at all.
    #[error("a message without a channel")]
    Empty,
    /// More than [`PAYLOAD_MAX`].
    #[error("a payload of {0} bytes, at most {PAYLOAD_MAX} are allowed")]
    TooLong(usize),
}

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub channel: Channel,
    /// What it carries.
    pub payload: Bytes,
}

impl Frame {
    /// A piece of bytes.
    pub fn new(channel: Channel, payload: impl Into<Bytes>) -> Self {
        Self {
            channel,
            payload: payload.into(),
        }
    }

    /// A piece that says something in JSON.
    pub fn json(channel: Channel, value: &impl serde::Serialize) -> Self {
        Self::new(channel, serde_json::to_vec(value).unwrap_or_default())
    }

    /// The end of what the sender has.
    pub fn eof() -> Self {
        Self::new(Channel::Eof, Bytes::new())
    }

    /// What it says in JSON, if it does.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.payload).ok()
    }

    /// The piece as a message.
    pub fn to_message(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(1 + self.payload.len());
        out.put_u8(self.channel.number());
        out.extend_from_slice(&self.payload);
        out.freeze()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// See [`Fault`].
    pub fn from_message(mut message: Bytes) -> Result<Self, Fault> {
        let number = *message.first().ok_or(Fault::Empty)?;
        message.advance(1);
        if message.len() > PAYLOAD_MAX {
            return Err(Fault::TooLong(message.len()));
        }
        Ok(Self::new(Channel::of(number)?, message))
    }

    /// The piece as a record.
    pub fn to_record(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + self.payload.len());
        out.put_u32(u32::try_from(self.payload.len()).unwrap_or(u32::MAX));
        out.put_u8(self.channel.number());
        out.extend_from_slice(&self.payload);
        out.freeze()
    }
}

/// Puts records together from bytes as they arrive. Holds at most one record that is not complete.
#[derive(Debug, Default)]
pub struct Records {
    buffer: BytesMut,
}

impl Records {
    /// Takes in bytes; call [`Self::next`] until it has none.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece, when it is complete.
    ///
    /// # Errors
    /// See [`Fault`]; nothing that follows can be read.
    #[expect(clippy::should_implement_trait, reason = "it can fail and go on later")]
    pub fn next(&mut self) -> Result<Option<Frame>, Fault> {
        let Some((head, rest)) = self.buffer.split_at_checked(HEAD) else {
            return Ok(None);
        };
        let mut head = head;
        let length = usize::try_from(head.get_u32()).unwrap_or(usize::MAX);
        let channel = Channel::of(head.get_u8())?;
        if length > PAYLOAD_MAX {
            return Err(Fault::TooLong(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        self.buffer.advance(HEAD);
        let payload = self.buffer.split_to(length).freeze();
        Ok(Some(Frame { channel, payload }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_as_they_were_written() {
        for channel in Channel::ALL {
            let frame = Frame::new(channel, "text");
            assert_eq!(Frame::from_message(frame.to_message()), Ok(frame));
        }
        assert_eq!(Frame::from_message(Bytes::new()), Err(Fault::Empty));
        assert_eq!(
            Frame::from_message(Bytes::from_static(b"\x09x")),
            Err(Fault::Channel(9))
        );
        let long = vec![0; PAYLOAD_MAX + 2];
        assert_eq!(
            Frame::from_message(long.into()),
            Err(Fault::TooLong(PAYLOAD_MAX + 1))
        );
    }

    #[test]
    fn records_come_out_whole_however_they_arrive() {
        let frames = [
            Frame::new(Channel::Stdin, "one"),
            Frame::eof(),
            Frame::new(Channel::Stdout, vec![7; 1000]),
        ];
        let bytes: Vec<u8> = frames.iter().flat_map(Frame::to_record).collect();
        for step in [1, 2, 5, 7, 1000, 5000] {
            let mut records = Records::default();
            let mut found = Vec::new();
            for part in bytes.chunks(step) {
                records.push(part);
                while let Some(frame) = records.next().expect("valid") {
                    found.push(frame);
                }
            }
            assert_eq!(found, frames, "in steps of {step}");
        }
    }

    #[test]
    fn a_record_that_is_too_long_is_refused_before_it_is_held() {
        let mut records = Records::default();
        records.push(&[0xff, 0xff, 0xff, 0xff, 1]);
        assert_eq!(records.next(), Err(Fault::TooLong(0xffff_ffff)));
        let mut records = Records::default();
        records.push(&[0, 0, 0, 1, 99]);
        assert_eq!(records.next(), Err(Fault::Channel(99)));
    }
}
