//! Whether an answer is compressed on its way, and what its head says of that. Pure.

use super::head::Head;
use super::text::{Refusal, number};
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

    /// Writes a header that passes, as it is true of what the client gets.
    ///
    /// # Errors
    /// The client cannot be told.
    pub(super) fn push(
        self,
        header: &httparse::Header<'_>,
        out: &mut impl Head,
    ) -> Result<(), Refusal> {
        let (name, value) = (header.name, header.value);
        if self.coding().is_some() {
            // Ranges of what the service has are not ranges of what the client gets.
            if name.eq_ignore_ascii_case("accept-ranges") {
                return Ok(());
            }
            // The tag of something equivalent, not equal byte for byte.
            if name.eq_ignore_ascii_case("etag") && !value.starts_with(b"W/") {
                return out.header(name, &[b"W/", value]);
            }
        }
        out.header(name, &[value])
    }

    /// Writes what a head says about the change.
    ///
    /// # Errors
    /// The client cannot be told.
    pub(super) fn finish(
        self,
        headers: &[httparse::Header<'_>],
        out: &mut impl Head,
    ) -> Result<(), Refusal> {
        if self == Self::None {
            return Ok(());
        }
        let mut said = tokens(headers, "vary");
        if !said.any(|token| token == b"*" || token.eq_ignore_ascii_case(b"accept-encoding")) {
            out.header("vary", &[b"Accept-Encoding"])?;
        }
        match self.coding() {
            Some(coding) => out.header("content-encoding", &[coding.name().as_bytes()]),
            None => Ok(()),
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
