//! Whether an answer is compressed on its way, and what its head says of that. Pure.

use super::text::{number, push};
use crate::filter::compress::{Coding, Facts};

/// What becomes of an answer by a rule that compresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It passes as it is.
    None,
    /// The same, and its head says that it depends on what the client accepts.
    Depends,
    /// It is compressed.
    Compressed(Coding),
}

/// What is known about a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Accepts<'a> {
    /// `Accept-Encoding`.
    pub(crate) codings: Option<&'a str>,
    /// It asked for the head alone.
    pub(crate) is_head: bool,
}

impl Change {
    /// What becomes of an answer with this status and these headers.
    pub(super) fn of(status: u16, headers: &[httparse::Header<'_>], client: Accepts<'_>) -> Self {
        if !facts(status, headers).is_eligible() {
            return Self::None;
        }
        let texts = client.codings.into_iter().filter(|_| !client.is_head);
        Coding::best(texts).map_or(Self::Depends, Self::Compressed)
    }

    /// The coding, if the answer is compressed.
    pub(super) fn coding(self) -> Option<Coding> {
        match self {
            Self::None | Self::Depends => None,
            Self::Compressed(coding) => Some(coding),
        }
    }

    /// Appends a header that passes, as it is true of what the client gets.
    pub(super) fn push(self, header: &httparse::Header<'_>, out: &mut Vec<u8>) {
        let (name, value) = (header.name, header.value);
        let mut weak: &[u8] = b"";
        if self.coding().is_some() {
            // Ranges of what the service has are not ranges of what the client gets.
            if name.eq_ignore_ascii_case("accept-ranges") {
                return;
            }
            // The tag of something equivalent, not equal byte for byte.
            if name.eq_ignore_ascii_case("etag") && !value.starts_with(b"W/") {
                weak = b"W/";
            }
        }
        push(out, &[name.as_bytes(), b": ", weak, value, b"\r\n"]);
    }

    /// Appends what a head says about the change.
    pub(super) fn finish(self, headers: &[httparse::Header<'_>], out: &mut Vec<u8>) {
        if self == Self::None {
            return;
        }
        let mut said = tokens(headers, "vary");
        if !said.any(|token| token == b"*" || token.eq_ignore_ascii_case(b"accept-encoding")) {
            push(out, &[b"vary: Accept-Encoding\r\n"]);
        }
        if let Some(coding) = self.coding() {
            let name = coding.name().as_bytes();
            push(out, &[b"content-encoding: ", name, b"\r\n"]);
        }
    }
}

fn facts<'a>(status: u16, headers: &[httparse::Header<'a>]) -> Facts<'a> {
    let mut facts = Facts {
        status,
        ..Facts::default()
    };
    for header in headers {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        match header.name.len() {
            7 if is("trailer") => facts.is_fixed = true,
            12 if is("content-type") => facts.content_type = Some(header.value),
            13 if is("content-range") => facts.is_fixed = true,
            13 if is("cache-control") => {
                let mut said = header.value.split(|byte| *byte == b',');
                facts.is_fixed |=
                    said.any(|part| part.trim_ascii().eq_ignore_ascii_case(b"no-transform"));
            }
            14 if is("content-length") => facts.length = number(header.value),
            16 if is("content-encoding") => facts.is_fixed = true,
            _ => {}
        }
    }
    facts
}

fn tokens<'a>(
    headers: &'a [httparse::Header<'a>],
    name: &'a str,
) -> impl Iterator<Item = &'a [u8]> {
    let lines = headers
        .iter()
        .filter(move |h| h.name.eq_ignore_ascii_case(name));
    lines
        .flat_map(|line| line.value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}
