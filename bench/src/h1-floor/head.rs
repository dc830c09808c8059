//! Heads of plain HTTP/1.1 messages: read, judged and written anew in one pass. Pure.
//!
//! A request is plain when nothing about it can be read in two ways; all others are refused here
//! and would go to pingora. Header names and values are copied as they came, in their order.

use std::mem::MaybeUninit;

use crate::body::Framing;

/// More headers than this are not plain.
const HEADERS_MAX: usize = 100;
/// Headers that a client could lie with, or that are set anew; by their lengths below.
const REPLACED: [&str; 8] = [
    "forwarded",
    "x-real-ip",
    "x-request-id",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-forwarded-prefix",
];
/// Headers of requests that ask for more than a plain forward.
const SPECIAL: [&str; 11] = [
    "te",
    "expect",
    "trailer",
    "upgrade",
    "keep-alive",
    "http2-settings",
    "proxy-connection",
    "transfer-encoding",
    "proxy-authenticate",
    "proxy-authorization",
    "x-forwarded-server",
];
/// Headers of answers that end at this hop.
const HOP: [&str; 5] = [
    "keep-alive",
    "upgrade",
    "proxy-connection",
    "proxy-authenticate",
    "trailer",
];

/// What is not served here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The head has not ended yet.
    Partial,
    /// Not a plain message.
    NotPlain,
}

/// What this hop says about a request.
pub struct Hop<'a> {
    /// The client's address as text.
    pub client: &'a [u8],
    /// The request's id.
    pub id: &'a [u8],
    /// `http` or `https`.
    pub scheme: &'a [u8],
}

/// A plain request, as positions in the buffer that it was read from.
#[derive(Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// Bytes of the head.
    pub len: usize,
    /// Bytes of the body.
    pub body: u64,
    /// Its method.
    pub method: &'a str,
    /// Its target.
    pub path: &'a str,
    /// Its host, in lower case, perhaps with a port.
    pub host: &'a str,
}

impl Request<'_> {
    /// Bytes of head and body.
    pub fn end(&self) -> usize {
        self.len
            .saturating_add(usize::try_from(self.body).unwrap_or(usize::MAX))
    }
}

/// Reads a request's head and appends the one for the service to `out`.
///
/// # Errors
/// The head is incomplete or not plain; `out` is to be thrown away then.
pub fn request<'a>(
    buffer: &'a [u8],
    hop: &Hop<'_>,
    out: &mut Vec<u8>,
) -> Result<Request<'a>, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(buffer, &mut headers) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Err(Refusal::Partial),
        Err(_) => return Err(Refusal::NotPlain),
    };
    let method = request.method.ok_or(Refusal::NotPlain)?;
    let path = request.path.ok_or(Refusal::NotPlain)?;
    let is_plain = request.version == Some(1)
        && matches!(
            method,
            "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS"
        )
        && path.starts_with('/')
        && path.bytes().all(|b| b.is_ascii_graphic() && b != b'#')
        && ends_lines_with_crlf(buffer.get(..len).unwrap_or_default())
        && !buffer.starts_with(b"\r");
    if !is_plain {
        return Err(Refusal::NotPlain);
    }
    push(
        out,
        &[method.as_bytes(), b" ", path.as_bytes(), b" HTTP/1.1\r\n"],
    );
    let (mut host, mut body) = (None, None);
    for header in request.headers.iter() {
        let name = header.name;
        // Many services take `_` and `-` in names for the same.
        if is_in(name, &SPECIAL) || name.contains('_') {
            return Err(Refusal::NotPlain);
        } else if name.eq_ignore_ascii_case("connection") {
            if !header.value.eq_ignore_ascii_case(b"keep-alive") {
                return Err(Refusal::NotPlain);
            }
            continue;
        } else if is_in(name, &REPLACED) {
            continue;
        } else if name.eq_ignore_ascii_case("host") {
            once(
                &mut host,
                plain_host(header.value).ok_or(Refusal::NotPlain)?,
            )?;
        } else if name.eq_ignore_ascii_case("content-length") {
            once(&mut body, number(header.value).ok_or(Refusal::NotPlain)?)?;
        }
        push(out, &[name.as_bytes(), b": ", header.value, b"\r\n"]);
    }
    let host = host.ok_or(Refusal::NotPlain)?;
    push(out, &[b"x-forwarded-for: ", hop.client, b"\r\n"]);
    push(out, &[b"x-forwarded-host: ", host.as_bytes(), b"\r\n"]);
    push(out, &[b"x-forwarded-proto: ", hop.scheme, b"\r\n"]);
    push(out, &[b"x-request-id: ", hop.id, b"\r\n\r\n"]);
    let body = body.unwrap_or(0);
    Ok(Request {
        len,
        body,
        method,
        path,
        host,
    })
}

/// An answer's head.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Bytes of the head.
    pub len: usize,
    /// Its status; below 200 another head follows.
    pub status: u16,
    /// How its body ends.
    pub framing: Framing,
    /// The service keeps the connection.
    pub keeps: bool,
}

/// Reads an answer's head and appends the one for the client to `out`.
///
/// # Errors
/// The head is incomplete, or the service broke the protocol.
pub fn answer(
    buffer: &[u8],
    is_head: bool,
    id: &[u8],
    out: &mut Vec<u8>,
) -> Result<Answer, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        buffer,
        &mut headers,
    );
    let len = match parsed {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Err(Refusal::Partial),
        Err(_) => return Err(Refusal::NotPlain),
    };
    // 101 was not asked for.
    let code = answer
        .code
        .filter(|code| (100..600).contains(code) && *code != 101);
    let status = code.ok_or(Refusal::NotPlain)?;
    let mut digits = itoa::Buffer::new();
    let reason = answer.reason.unwrap_or_default().as_bytes();
    push(
        out,
        &[
            b"HTTP/1.1 ",
            digits.format(status).as_bytes(),
            b" ",
            reason,
            b"\r\n",
        ],
    );
    let mut end = Ending::default();
    let has_connection = names(answer.headers, "connection").next().is_some();
    for header in answer.headers.iter() {
        let name = header.name;
        if end.note(header)?
            || name.eq_ignore_ascii_case("x-request-id")
            || name.eq_ignore_ascii_case("connection")
            || is_in(name, &HOP)
            || has_connection && is_nominated(answer.headers, name)
        {
            continue;
        }
        push(out, &[name.as_bytes(), b": ", header.value, b"\r\n"]);
    }
    let (framing, mut keeps) = end.framing(is_head || status < 200 || matches!(status, 204 | 304));
    keeps &= answer.version == Some(1) && !is_nominated(answer.headers, "close");
    match (end.is_chunked, end.length) {
        (true, _) => push(out, &[b"transfer-encoding: chunked\r\n"]),
        (false, Some(length)) => {
            let length = digits.format(length).as_bytes();
            push(out, &[b"content-length: ", length, b"\r\n"]);
        }
        (false, None) if framing == Framing::UntilClose => {
            push(out, &[b"connection: close\r\n"]);
        }
        (false, None) => {}
    }
    push(out, &[b"x-request-id: ", id, b"\r\n\r\n"]);
    Ok(Answer {
        len,
        status,
        framing,
        keeps,
    })
}

/// What an answer's headers say about its end.
#[derive(Default)]
struct Ending {
    length: Option<u64>,
    is_chunked: bool,
}

impl Ending {
    /// Takes a header in, if it is one of these.
    fn note(&mut self, header: &httparse::Header<'_>) -> Result<bool, Refusal> {
        if header.name.eq_ignore_ascii_case("content-length") {
            once(
                &mut self.length,
                number(header.value).ok_or(Refusal::NotPlain)?,
            )?;
            return Ok(true);
        }
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            if self.is_chunked || !header.value.eq_ignore_ascii_case(b"chunked") {
                return Err(Refusal::NotPlain);
            }
            self.is_chunked = true;
            return Ok(true);
        }
        Ok(false)
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

fn names<'a>(headers: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let is_it = move |h: &&httparse::Header<'_>| h.name.eq_ignore_ascii_case(name);
    headers.iter().filter(is_it).map(|h| h.value)
}

/// Whether `Connection` names this, so that it ends here.
fn is_nominated(headers: &[httparse::Header<'_>], name: &str) -> bool {
    let mut tokens = names(headers, "connection").flat_map(|value| value.split(|b| *b == b','));
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(name.as_bytes()))
}

fn push(out: &mut Vec<u8>, parts: &[&[u8]]) {
    out.reserve(parts.iter().map(|part| part.len()).sum());
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn is_in(name: &str, names: &[&str]) -> bool {
    names.iter().any(|other| name.eq_ignore_ascii_case(other))
}

/// A second value is refused, even an equal one.
fn once<T: PartialEq>(place: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match place {
        Some(_) => Err(Refusal::NotPlain),
        None => {
            *place = Some(value);
            Ok(())
        }
    }
}

fn number(text: &[u8]) -> Option<u64> {
    let is_plain = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let value = |sum: u64, digit: &u8| sum * 10 + u64::from(digit - b'0');
    is_plain.then(|| text.iter().fold(0, value))
}

fn plain_host(text: &[u8]) -> Option<&str> {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(b);
    let is_plain = !text.is_empty() && text.iter().all(plain);
    is_plain.then(|| std::str::from_utf8(text).ok())?
}

fn ends_lines_with_crlf(head: &[u8]) -> bool {
    head.windows(2)
        .all(|pair| !matches!(pair, [before, b'\n'] if *before != b'\r'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(head: &str) -> Result<String, Refusal> {
        let hop = Hop {
            client: b"192.0.2.1",
            id: b"7",
            scheme: b"http",
        };
        let mut out = Vec::new();
        request(head.as_bytes(), &hop, &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_plain_request_keeps_its_headers_and_loses_lies() {
        let seen = forwarded(
            "GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nX-Real-IP: 1.1.1.1\r\nConnection: keep-alive\r\nAccept: */*\r\n\r\n",
        );
        let expected = "GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nAccept: */*\r\nx-forwarded-for: 192.0.2.1\r\n\
                        x-forwarded-host: a.test:80\r\nx-forwarded-proto: http\r\nx-request-id: 7\r\n\r\n";
        assert_eq!(seen.as_deref(), Ok(expected));
    }

    #[test]
    fn whatever_could_be_read_in_two_ways_is_not_plain() {
        for head in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\n\r\n",
            "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: A\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
            "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e4} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /#x HTTP/1.1\r\nHost: a\r\n\r\n",
            "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
            "get / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        ] {
            assert_eq!(forwarded(head), Err(Refusal::NotPlain), "{head:?}");
        }
        assert_eq!(forwarded("GET / HTTP/1.1\r\nHost"), Err(Refusal::Partial));
    }

    #[test]
    fn answers_end_as_their_heads_say() {
        let seen = |head: &str, is_head| {
            let answer = answer(head.as_bytes(), is_head, b"7", &mut Vec::new())?;
            Ok((answer.framing, answer.keeps))
        };
        for (head, is_head, expected) in [
            (
                "200 OK\r\nContent-Length: 3",
                false,
                Ok((Framing::Length(3), true)),
            ),
            (
                "200 OK\r\nContent-Length: 3",
                true,
                Ok((Framing::Length(0), true)),
            ),
            ("204 No\r\nX: y", false, Ok((Framing::Length(0), true))),
            (
                "304 No\r\nContent-Length: 3",
                false,
                Ok((Framing::Length(0), true)),
            ),
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
                Ok((Framing::Length(3), false)),
            ),
            (
                "200 OK\r\nTransfer-Encoding: gzip, chunked",
                false,
                Err(Refusal::NotPlain),
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
    }

    #[test]
    fn nominated_headers_end_here() {
        let mut out = Vec::new();
        let head =
            b"HTTP/1.1 200 OK\r\nConnection: x-a\r\nX-A: 1\r\nX-B: 2\r\nContent-Length: 0\r\n\r\n";
        answer(head, false, b"7", &mut out).expect("an answer");
        let expected = "HTTP/1.1 200 OK\r\nX-B: 2\r\ncontent-length: 0\r\nx-request-id: 7\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }
}
