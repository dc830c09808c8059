//! Heads of answers: read, and written anew for the client in one pass. Pure.

use std::mem::MaybeUninit;

use http::HeaderValue;

use super::body::Framing;
use super::coding::{Accepts, Change};
use super::head::Head;
use super::text::{Refusal, is_in, number};
use crate::filter::compress::Coding;

/// More headers than this are not passed on.
const HEADERS_MAX: usize = 256;
/// Headers of answers that end at this hop.
const HOP: [&str; 5] = [
    "connection",
    "keep-alive",
    "upgrade",
    "proxy-connection",
    "proxy-authenticate",
];

/// What the gateway says in an answer's head.
pub(crate) struct Ours<'a> {
    /// Of the request.
    pub(crate) id: &'a [u8],
    /// Search engines are told to leave it alone.
    pub(crate) no_index: bool,
    /// Value of `Strict-Transport-Security`.
    pub(crate) hsts: Option<&'a HeaderValue>,
    /// The answer is the connection's last.
    pub(crate) closes: bool,
    /// What the client's `Accept-Encoding` says, by a rule that compresses.
    pub(crate) compresses: Option<Option<&'a str>>,
    /// The time, as `Date` has it; asked for when the service did not say it.
    pub(crate) date: fn() -> String,
}

/// An answer's head.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Bytes of the head.
    pub(crate) bytes: usize,
    /// Below 200 another head follows.
    pub(crate) status: u16,
    /// How its body ends.
    pub(crate) framing: Framing,
    /// The client gets the body in this coding, in chunks.
    pub(crate) coding: Option<Coding>,
    /// Bytes of the body that the service told.
    pub(crate) length: Option<u64>,
    /// The service keeps the connection.
    pub(crate) keeps: bool,
}

/// Reads an answer's head and writes the one for the client to `out`. `is_head` says that the
/// request was a `HEAD`.
///
/// # Errors
/// The head is incomplete, or the service broke the protocol.
pub(super) fn read<H: Head>(
    buffer: &[u8],
    is_head: bool,
    ours: &Ours<'_>,
    out: &mut H,
) -> Result<Answer, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let mut parser = httparse::ParserConfig::default();
    parser.allow_spaces_after_header_name_in_responses(true);
    let outcome = parser.parse_response_with_uninit_headers(&mut parsed, buffer, &mut headers);
    let bytes = match outcome {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(Refusal::Partial),
        Err(_) => return Err(Refusal::NotPlain),
    };
    // Nobody asked for 101.
    let code = parsed
        .code
        .filter(|code| (100..600).contains(code) && *code != 101);
    let status = code.ok_or(Refusal::NotPlain)?;
    out.status(status, parsed.reason.unwrap_or_default())?;
    let change = match ours.compresses {
        Some(codings) => Change::of(status, parsed.headers, Accepts { codings, is_head }),
        None => Change::None,
    };
    let mut end = End::default();
    let has_nominated = has_nominated(parsed.headers);
    for header in parsed.headers.iter() {
        let name = header.name;
        if end.note(header)?
            || ours.replace(name)
            || is_in(name, &HOP)
            || has_nominated && is_nominated(parsed.headers, name)
        {
            continue;
        }
        change.push(header, out)?;
    }
    change.finish(parsed.headers, out)?;
    let is_empty = is_head || status < 200 || matches!(status, 204 | 304);
    let (framing, mut keeps) = end.framing(is_empty);
    keeps &= parsed.version == Some(1) && !is_nominated(parsed.headers, "close");
    // RFC 9112 section 6.1, RFC 9110 section 8.6: these have neither.
    if status < 200 || status == 204 {
        (end.length, end.is_chunked) = (None, false);
    }
    let coding = change.coding();
    let is_in_chunks = coding.is_some() || framing == Framing::UntilClose;
    if end.is_chunked || is_in_chunks {
        if H::IS_FRAMED {
            out.header("transfer-encoding", &[b"chunked"])?;
        }
    } else if let Some(length) = end.length {
        let mut digits = itoa::Buffer::new();
        out.header("content-length", &[digits.format(length).as_bytes()])?;
    }
    if status >= 200 {
        // RFC 9110 section 6.6.1: whoever has a clock adds it.
        if !end.has_date {
            out.header("date", &[(ours.date)().as_bytes()])?;
        }
        ours.write(out)?;
    }
    out.end();
    Ok(Answer {
        bytes,
        status,
        framing,
        coding,
        length: end.length,
        keeps,
    })
}

impl Ours<'_> {
    /// Whether the gateway says this itself.
    fn replace(&self, name: &str) -> bool {
        match name.len() {
            12 => {
                name.eq_ignore_ascii_case("x-request-id")
                    || self.no_index && name.eq_ignore_ascii_case("x-robots-tag")
            }
            25 => self.hsts.is_some() && name.eq_ignore_ascii_case("strict-transport-security"),
            _ => false,
        }
    }

    fn write(&self, out: &mut impl Head) -> Result<(), Refusal> {
        if self.closes {
            out.header("connection", &[b"close"])?;
        }
        if let Some(hsts) = self.hsts {
            out.header("strict-transport-security", &[hsts.as_bytes()])?;
        }
        if self.no_index {
            out.header("x-robots-tag", &[b"noindex, nofollow"])?;
        }
        out.header("x-request-id", &[self.id])
    }
}

/// What an answer's headers say about its end.
#[derive(Default)]
struct End {
    length: Option<u64>,
    is_chunked: bool,
    has_date: bool,
}

impl End {
    /// Takes a header in, if it is one of these.
    fn note(&mut self, header: &httparse::Header<'_>) -> Result<bool, Refusal> {
        match header.name.len() {
            4 if header.name.eq_ignore_ascii_case("date") => {
                self.has_date = true;
                Ok(false)
            }
            14 if header.name.eq_ignore_ascii_case("content-length") => {
                // The same length again is no other one (RFC 9110 section 8.6).
                for text in header.value.split(|byte| *byte == b',') {
                    let length = number(text.trim_ascii()).ok_or(Refusal::NotPlain)?;
                    if *self.length.get_or_insert(length) != length {
                        return Err(Refusal::NotPlain);
                    }
                }
                Ok(true)
            }
            17 if header.name.eq_ignore_ascii_case("transfer-encoding") => {
                if self.is_chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Refusal::NotPlain);
                }
                self.is_chunked = true;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// How the body ends, and whether the connection may be used again.
    fn framing(&self, is_empty: bool) -> (Framing, bool) {
        match (is_empty, self.is_chunked, self.length) {
            (true, ..) => (Framing::Length(0), true),
            // Both: chunks rule (RFC 9112 section 6.3), and the connection is not used again.
            (false, true, length) => (Framing::chunked(), length.is_none()),
            (false, false, Some(length)) => (Framing::Length(length), true),
            (false, false, None) => (Framing::UntilClose, false),
        }
    }
}

fn connection<'a>(headers: &'a [httparse::Header<'a>]) -> impl Iterator<Item = &'a [u8]> {
    let is_it = |h: &&httparse::Header<'_>| h.name.eq_ignore_ascii_case("connection");
    let values = headers.iter().filter(is_it).map(|h| h.value);
    values
        .flat_map(|value| value.split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
}

/// Whether `Connection` names headers that end here, beside what it says about itself.
fn has_nominated(headers: &[httparse::Header<'_>]) -> bool {
    connection(headers).any(|token| {
        !token.eq_ignore_ascii_case(b"keep-alive") && !token.eq_ignore_ascii_case(b"close")
    })
}

/// Whether `Connection` names this.
fn is_nominated(headers: &[httparse::Header<'_>], name: &str) -> bool {
    connection(headers).any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: Ours<'static> = Ours {
        id: b"7",
        no_index: false,
        hsts: None,
        closes: false,
        compresses: None,
        date: || "now".to_owned(),
    };

    #[test]
    fn answers_end_as_their_heads_say() {
        let seen = |head: &str, is_head| {
            let answer = read::<Vec<u8>>(head.as_bytes(), is_head, &OURS, &mut Vec::new())?;
            Ok((answer.framing, answer.keeps))
        };
        let until = Framing::Length;
        for (head, is_head, expected) in [
            ("200 OK\r\nContent-Length: 3", false, Ok((until(3), true))),
            ("200 OK\r\nContent-Length: 3", true, Ok((until(0), true))),
            ("204 No\r\nX: y", false, Ok((until(0), true))),
            ("304 No\r\nContent-Length: 3", false, Ok((until(0), true))),
            ("200 OK\r\nX: y", false, Ok((Framing::UntilClose, false))),
            (
                "200 OK\r\nTransfer-Encoding: Chunked",
                false,
                Ok((Framing::chunked(), true)),
            ),
            (
                "200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3",
                false,
                Ok((Framing::chunked(), false)),
            ),
            (
                "200 OK\r\nContent-Length: 3\r\nConnection: x, Close",
                false,
                Ok((until(3), false)),
            ),
            (
                "200 OK\r\nTransfer-Encoding: gzip, chunked",
                false,
                Err(Refusal::NotPlain),
            ),
            (
                "200 OK\r\nContent-Length: 3, 3\r\nContent-Length: 3",
                false,
                Ok((until(3), true)),
            ),
            (
                "200 OK\r\nContent-Length: 3\r\nContent-Length: 4",
                false,
                Err(Refusal::NotPlain),
            ),
            ("101 Switch\r\nX: y", false, Err(Refusal::NotPlain)),
        ] {
            let text = format!("HTTP/1.1 {head}\r\n\r\n");
            assert_eq!(seen(&text, is_head), expected, "{head}");
        }
        assert_eq!(seen("HTTP/1.1 200", false), Err(Refusal::Partial));
    }

    fn passed_on(head: &str, ours: &Ours<'_>) -> String {
        let mut out = Vec::new();
        read(head.as_bytes(), false, ours, &mut out).expect("an answer");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn nominated_headers_end_here() {
        let head =
            "HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\r\nX-B: 2\r\ncontent-length: 0\r\ndate: now\r\nx-request-id: 7\r\n\r\n";
        assert_eq!(passed_on(head, &OURS), expected);
    }

    #[test]
    fn what_the_gateway_says_stands_in_place_of_what_the_service_said() {
        let hsts = HeaderValue::from_static("max-age=1");
        let ours = Ours {
            no_index: true,
            hsts: Some(&hsts),
            closes: true,
            ..OURS
        };
        let head = "HTTP/1.1 200 OK\r\nX-Robots-Tag: all\r\nX-Request-ID: 1\r\n\
                    Strict-Transport-Security: max-age=9\r\nDate: then\r\nContent-Length: 0\r\n\r\n";
        let expected = "HTTP/1.1 200 OK\r\nDate: then\r\ncontent-length: 0\r\nconnection: close\r\n\
                        strict-transport-security: max-age=1\r\nx-robots-tag: noindex, nofollow\r\n\
                        x-request-id: 7\r\n\r\n";
        assert_eq!(passed_on(head, &ours), expected);
    }

    #[test]
    fn a_compressed_answer_says_what_is_true_of_it() {
        let ours = |codings| Ours {
            compresses: Some(codings),
            ..OURS
        };
        let head = |more: &str| {
            format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2048\r\nDate: then\r\n{more}\r\n"
            )
        };
        let begin = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: then\r\n";
        let tagged = head("ETag: \"a\"\r\nAccept-Ranges: bytes\r\n");
        let expected = format!(
            "{begin}ETag: W/\"a\"\r\nvary: Accept-Encoding\r\ncontent-encoding: gzip\r\n\
             transfer-encoding: chunked\r\nx-request-id: 7\r\n\r\n"
        );
        assert_eq!(passed_on(&tagged, &ours(Some("gzip"))), expected);
        let plain = format!(
            "{begin}vary: Accept-Encoding\r\ncontent-length: 2048\r\nx-request-id: 7\r\n\r\n"
        );
        assert_eq!(passed_on(&head(""), &ours(None)), plain);
        assert_eq!(passed_on(&head(""), &ours(Some("identity"))), plain);
        let coded = head("Content-Encoding: br\r\n");
        assert!(!passed_on(&coded, &ours(Some("gzip"))).contains("vary"));
        let varies = head("Vary: Origin, accept-encoding\r\n");
        assert!(!passed_on(&varies, &ours(None)).contains("\r\nvary"));
    }

    #[test]
    fn hints_before_an_answer_pass_as_they_are() {
        let head = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
        assert_eq!(passed_on(head, &OURS), head);
    }
}
