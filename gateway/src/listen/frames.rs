//! Where WebSocket frames begin and end in what a service sends to a client, and a client to a
//! service (RFC 6455 section 5.2). Pure.
//!
//! The gateway passes bytes and needs to know one thing: whether a frame of its own may stand
//! here. It looks at lengths only.

/// A close frame with status 1001, going away.
pub(crate) const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xE9];
/// The same from a client, whose frames are masked: here with zeros.
pub(crate) const CLIENT_GOING_AWAY: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE9];

/// The bits of a frame's first byte that say what it is, and what they are for a close frame.
const OPCODE: u8 = 0x0F;
const CLOSE: u8 = 0x08;
/// Longest header of a frame, in bytes.
const HEADER_MAX: usize = 14;
/// What begins the only answer after which frames come.
const SWITCHING: &[u8] = b"HTTP/1.1 101";
/// What ends it.
const HEAD_END: &[u8; 4] = b"\r\n\r\n";

/// Follows the bytes of an answer and of the frames after it.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    place: Place,
    /// A close frame passed, or was put in.
    has_closed: bool,
}

#[derive(Debug)]
enum Place {
    /// In the answer's head: its bytes so far, and how many of its last bytes are its end.
    Head { seen: usize, end: usize },
    /// In a frame's header.
    Header {
        bytes: [u8; HEADER_MAX],
        count: usize,
    },
    /// In a frame's payload.
    Payload { left: u64 },
    /// The answer was another one.
    Unknown,
}

impl Default for Place {
    fn default() -> Self {
        Self::Head { seen: 0, end: 0 }
    }
}

const BOUNDARY: Place = Place::Header {
    bytes: [0; HEADER_MAX],
    count: 0,
};

impl Frames {
    /// Follows bytes that are frames from the first one on.
    pub(crate) fn without_head() -> Self {
        Self {
            place: BOUNDARY,
            has_closed: false,
        }
    }

    /// Takes in bytes that pass.
    pub(crate) fn note(&mut self, mut bytes: &[u8]) {
        while let Some((first, rest)) = bytes.split_first() {
            match &mut self.place {
                Place::Unknown => return,
                Place::Payload { left } => {
                    let taken = usize::try_from(*left)
                        .unwrap_or(usize::MAX)
                        .min(bytes.len());
                    bytes = bytes.get(taken..).unwrap_or_default();
                    *left -= u64::try_from(taken).unwrap_or(*left);
                    if *left == 0 {
                        self.place = BOUNDARY;
                    }
                }
                Place::Head { seen, end } => {
                    if SWITCHING.get(*seen).is_some_and(|wanted| wanted != first) {
                        self.place = Place::Unknown;
                        return;
                    }
                    *seen += 1;
                    *end = match HEAD_END.get(*end) {
                        Some(wanted) if wanted == first => *end + 1,
                        _ => usize::from(*first == b'\r'),
                    };
                    if *end == HEAD_END.len() {
                        self.place = BOUNDARY;
                    }
                    bytes = rest;
                }
                Place::Header {
                    bytes: header,
                    count,
                } => {
                    if let Some(slot) = header.get_mut(*count) {
                        *slot = *first;
                    }
                    self.has_closed |= *count == 0 && first & OPCODE == CLOSE;
                    *count += 1;
                    if let Some(left) = payload(header.get(..*count).unwrap_or_default()) {
                        self.place = match left {
                            0 => BOUNDARY,
                            left => Place::Payload { left },
                        };
                    }
                    bytes = rest;
                }
            }
        }
    }

    /// The answer before the frames has passed.
    pub(crate) fn has_begun(&self) -> bool {
        matches!(self.place, Place::Header { .. } | Place::Payload { .. })
    }

    /// True, once, when a frame may be put in here.
    pub(crate) fn take_boundary(&mut self) -> bool {
        let is_boundary = matches!(self.place, Place::Header { count: 0, .. });
        let may = is_boundary && !self.has_closed;
        self.has_closed |= may;
        may
    }
}

/// Bytes of payload after a header; none when it is not complete.
fn payload(header: &[u8]) -> Option<u64> {
    let [_, second, rest @ ..] = header else {
        return None;
    };
    let mask = if second & 0x80 == 0 { 0 } else { 4 };
    let (length, size) = match second & 0x7F {
        126 => (u64::from(u16::from_be_bytes(*rest.first_chunk()?)), 2),
        127 => (u64::from_be_bytes(*rest.first_chunk()?), 8),
        short => (u64::from(short), 0),
    };
    (rest.len() == size + mask).then_some(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";

    fn frame(length: usize, is_masked: bool) -> Vec<u8> {
        let bit = if is_masked { 0x80 } else { 0 };
        let mut frame = vec![0x82];
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short @ 0..=125), _) => frame.push(bit | short),
            (_, Ok(middle)) => {
                frame.push(bit | 126);
                frame.extend(middle.to_be_bytes());
            }
            _ => {
                frame.push(bit | 127);
                frame.extend(u64::try_from(length).expect("fits").to_be_bytes());
            }
        }
        frame.extend([7; 4].iter().filter(|_| is_masked));
        frame.resize(frame.len() + length, 0x81);
        frame
    }

    #[test]
    fn other_answers_have_no_frames() {
        for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 10", "x"] {
            let mut frames = Frames::default();
            frames.note(head.as_bytes());
            assert!(!frames.take_boundary(), "{head}");
        }
    }

    #[test]
    fn nothing_is_said_after_a_goodbye_of_the_service() {
        let mut frames = Frames::default();
        frames.note(HEAD);
        frames.note(&GOING_AWAY);
        assert!(!frames.take_boundary());
    }

    #[test]
    fn a_clients_frames_are_followed_from_the_first_one() {
        let mut frames = Frames::without_head();
        frames.note(&frame(200, true));
        assert!(frames.take_boundary());
        let mut frames = Frames::without_head();
        frames.note(&frame(200, true)[..100]);
        assert!(!frames.take_boundary());
    }

    #[test]
    fn a_goodbye_is_said_once() {
        let mut frames = Frames::default();
        frames.note(HEAD);
        assert!(frames.take_boundary());
        assert!(!frames.take_boundary());
    }

    proptest! {
        /// However the bytes are cut, a boundary is where a frame ends, and nowhere else.
        #[test]
        fn boundaries_are_where_frames_end(
            shapes in prop::collection::vec((prop_oneof![0_usize..4, 120_usize..130, 65_530_usize..65_540], any::<bool>()), 0..5),
            cuts in prop::collection::vec(1_usize..40_000, 1..20),
        ) {
            let mut bytes = HEAD.to_vec();
            let mut ends = std::collections::BTreeSet::from([bytes.len()]);
            for (length, is_masked) in shapes {
                bytes.extend(frame(length, is_masked));
                ends.insert(bytes.len());
            }
            let mut frames = Frames::default();
            let mut at = 0;
            for cut in cuts.iter().cycle() {
                let next = (at + cut).min(bytes.len());
                frames.note(&bytes[at..next]);
                at = next;
                let is_boundary = frames.take_boundary();
                frames.has_closed = false;
                prop_assert_eq!(is_boundary, ends.contains(&at), "{}", at);
                if at == bytes.len() {
                    break;
                }
            }
        }
    }
}
