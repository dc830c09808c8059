//! Heads of plain requests: read, judged and written anew in one pass. Pure.
//!
//! A request is plain when nothing about it can be read in two ways and it asks for nothing but an
//! answer. What is not is no error here: pingora gets the same. Names and values of headers
//! are copied as they came, in their order, but for those that a client could lie with.

use std::mem::MaybeUninit;
use std::net::IpAddr;

use http::header::{COOKIE, HOST};
use pingora_http::RequestHeader;

use super::text::{Refusal, is_in, number, once, push};
use crate::access::is_own_header;
use crate::request::{accepts_events, is_claim, push_address};

/// More headers than this are not plain; `filter::head` has the limit for all others.
const HEADERS_MAX: usize = 100;
/// Headers of requests that ask for more than an answer, or that end at this hop.
const SPECIAL: [&str; 10] = [
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
];

/// A plain request; what it says lies in the buffer that it was read from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    /// Bytes of the head, as HTTP/1.1 has it.
    pub(crate) head_bytes: usize,
    /// Bytes of the body.
    pub(crate) body_bytes: u64,
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    /// In lower case, perhaps with a port.
    pub(crate) host: &'a str,
    /// The client wants no other answer on this connection.
    pub(crate) closes: bool,
    /// The id that it brings.
    pub(crate) id: Option<&'a [u8]>,
    pub(crate) accept: Option<&'a [u8]>,
    pub(crate) accept_encoding: Option<&'a str>,
    pub(crate) user_agent: Option<&'a [u8]>,
    pub(crate) referer: Option<&'a [u8]>,
    /// The values of `traceparent` and `tracestate`.
    pub(crate) trace: Traced<'a>,
}

/// The trace that a request is part of, as its headers say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Traced<'a> {
    pub(crate) parent: Option<&'a [u8]>,
    pub(crate) state: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// Bytes of head and body.
    pub(crate) fn bytes(&self) -> usize {
        let body = usize::try_from(self.body_bytes).unwrap_or(usize::MAX);
        self.head_bytes.saturating_add(body)
    }

    /// The path alone.
    pub(crate) fn path(&self) -> &'a str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The query, if there is one.
    pub(crate) fn query(&self) -> Option<&'a str> {
        self.target.split_once('?').map(|(_, query)| query)
    }

    /// Doing it twice is the same as doing it once (RFC 9110 section 9.2.2).
    pub(crate) fn is_idempotent(&self) -> bool {
        !matches!(self.method, "POST" | "PATCH")
    }
}

/// Whether trace headers are the gateway's to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Traces {
    /// They pass as they came.
    Pass,
    /// [`finish`] sets them.
    Set,
}

/// Reads a request's head and appends the one for the service to `out`, without its end.
/// `has_own_cookie` says whether a `Cookie` carries what is not for services.
///
/// # Errors
/// The head is incomplete or not plain; `out` is to be thrown away then.
pub(crate) fn read<'a>(
    buffer: &'a [u8],
    traces: Traces,
    has_own_cookie: impl Fn(&[u8]) -> bool,
    out: &mut Vec<u8>,
) -> Result<Request<'a>, Refusal> {
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut parsed = httparse::Request::new(&mut []);
    let head_bytes = match parsed.parse_with_uninit_headers(buffer, &mut headers) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Err(Refusal::Partial),
        Err(_) => return Err(Refusal::NotPlain),
    };
    let method = parsed.method.ok_or(Refusal::NotPlain)?;
    let target = parsed.path.ok_or(Refusal::NotPlain)?;
    let head = buffer.get(..head_bytes).unwrap_or_default();
    let is_plain = parsed.version == Some(1)
        && is_known(method)
        && target.starts_with('/')
        && target.bytes().all(is_plain_in_target)
        && !head.starts_with(b"\r")
        && ends_lines_with_crlf(head);
    if !is_plain {
        return Err(Refusal::NotPlain);
    }
    push(
        out,
        &[method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"],
    );
    let mut said = Said::default();
    for header in parsed.headers.iter() {
        if said.note(header, traces, &has_own_cookie)? {
            push(out, &[header.name.as_bytes(), b": ", header.value, b"\r\n"]);
        }
    }
    if said.cookies > 1 {
        return Err(Refusal::NotPlain);
    }
    said.request(head_bytes, method, target)
}

/// The same for a head that came over HTTP/2, where pingora has refused a second host, or another
/// one than the authority.
///
/// # Errors
/// It is not plain; `out` is to be thrown away then.
pub(crate) fn of_http2<'a>(
    head: &'a RequestHeader,
    traces: Traces,
    has_own_cookie: impl Fn(&[u8]) -> bool,
    out: &mut Vec<u8>,
) -> Result<Request<'a>, Refusal> {
    let method = head.method.as_str();
    let target = std::str::from_utf8(head.raw_path()).map_err(|_| Refusal::NotPlain)?;
    let is_plain = is_known(method)
        && target.starts_with('/')
        && target.bytes().all(is_plain_in_target)
        && head.headers.len() <= HEADERS_MAX;
    if !is_plain {
        return Err(Refusal::NotPlain);
    }
    push(
        out,
        &[method.as_bytes(), b" ", target.as_bytes(), b" HTTP/1.1\r\n"],
    );
    let mut said = Said::default();
    if !head.headers.contains_key(HOST) {
        let authority = head.uri.authority().ok_or(Refusal::NotPlain)?;
        once(&mut said.host, plain_host(authority.as_str().as_bytes()))?;
        push(out, &[b"host: ", authority.as_str().as_bytes(), b"\r\n"]);
    }
    for (name, value) in &head.headers {
        let (name, value) = (name.as_str(), value.as_bytes());
        let header = httparse::Header { name, value };
        if said.note(&header, traces, &has_own_cookie)? && name != COOKIE.as_str() {
            push(out, &[name.as_bytes(), b": ", value, b"\r\n"]);
        }
    }
    // RFC 9113 section 8.2.3: what came in pieces is one line for HTTP/1.1.
    for (place, cookie) in head.headers.get_all(COOKIE).iter().enumerate() {
        let before: &[u8] = if place == 0 { b"cookie: " } else { b"; " };
        push(out, &[before, cookie.as_bytes()]);
    }
    if head.headers.contains_key(COOKIE) {
        push(out, &[b"\r\n"]);
    }
    said.request(out.len(), method, target)
}

/// What this hop says about a request.
pub(crate) struct Hop<'a> {
    pub(crate) client: IpAddr,
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    pub(crate) id: &'a [u8],
    /// Value of `traceparent`, where the gateway sets it.
    pub(crate) traceparent: Option<&'a [u8]>,
    /// Value of `tracestate`, by the same rule.
    pub(crate) tracestate: Option<&'a [u8]>,
}

/// Ends a head that [`read`] began.
pub(crate) fn finish(request: &Request<'_>, hop: &Hop<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"x-forwarded-for: ");
    push_address(out, hop.client);
    let host = request.host.as_bytes();
    push(out, &[b"\r\nx-forwarded-host: ", host, b"\r\n"]);
    let scheme = hop.scheme.as_bytes();
    push(out, &[b"x-forwarded-proto: ", scheme, b"\r\n"]);
    if let Some(parent) = hop.traceparent {
        push(out, &[b"traceparent: ", parent, b"\r\n"]);
    }
    if let Some(state) = hop.tracestate {
        push(out, &[b"tracestate: ", state, b"\r\n"]);
    }
    push(out, &[b"x-request-id: ", hop.id, b"\r\n\r\n"]);
}

/// What the headers of a request say.
#[derive(Default)]
struct Said<'a> {
    host: Option<&'a str>,
    length: Option<u64>,
    closes: Option<bool>,
    /// Lines of them.
    cookies: usize,
    id: Option<&'a [u8]>,
    accept: Option<&'a [u8]>,
    accept_encoding: Option<&'a str>,
    user_agent: Option<&'a [u8]>,
    referer: Option<&'a [u8]>,
    trace: Traced<'a>,
}

impl<'a> Said<'a> {
    /// The request whose headers say this.
    fn request(
        self,
        head_bytes: usize,
        method: &'a str,
        target: &'a str,
    ) -> Result<Request<'a>, Refusal> {
        Ok(Request {
            head_bytes,
            body_bytes: self.length.unwrap_or(0),
            method,
            target,
            host: self.host.ok_or(Refusal::NotPlain)?,
            closes: self.closes.unwrap_or(false),
            id: self.id,
            accept: self.accept,
            accept_encoding: self.accept_encoding,
            user_agent: self.user_agent,
            referer: self.referer,
            trace: self.trace,
        })
    }

    /// Takes a header in. True when it passes.
    fn note(
        &mut self,
        header: &httparse::Header<'a>,
        traces: Traces,
        has_own_cookie: impl Fn(&[u8]) -> bool,
    ) -> Result<bool, Refusal> {
        let (name, value) = (header.name, header.value);
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        // Many services take `_` and `-` in names for the same.
        if is_in(name, &SPECIAL) || name.contains('_') || is_own_header(name) {
            return Err(Refusal::NotPlain);
        }
        match name.len() {
            4 if is("host") => once(&mut self.host, plain_host(value))?,
            6 if is("accept") && accepts_events(value) => {
                return Err(Refusal::NotPlain);
            }
            6 if is("accept") => self.accept = self.accept.or(Some(value)),
            6 if is("cookie") && has_own_cookie(value) => return Err(Refusal::NotPlain),
            6 if is("cookie") => self.cookies += 1,
            7 if is("referer") => self.referer = self.referer.or(Some(value)),
            10 if is("connection") => {
                once(&mut self.closes, wants_close(value))?;
                return Ok(false);
            }
            10 if is("user-agent") => self.user_agent = self.user_agent.or(Some(value)),
            10 if is("tracestate") => {
                once(&mut self.trace.state, Some(value))?;
                return Ok(traces == Traces::Pass);
            }
            11 if is("traceparent") => {
                once(&mut self.trace.parent, Some(value))?;
                return Ok(traces == Traces::Pass);
            }
            12 if is("x-request-id") => {
                self.id = self.id.or(Some(value));
                return Ok(false);
            }
            // Several lines are one list, which those who keep answers may cut elsewhere.
            15 if is("accept-encoding") => {
                once(&mut self.accept_encoding, std::str::from_utf8(value).ok())?;
            }
            14 if is("content-length") => once(&mut self.length, number(value))?,
            _ if is_claim(name) => return Ok(false),
            _ => {}
        }
        Ok(true)
    }
}

/// What no target is refused for elsewhere (RFC 3986 section 3.3, and what browsers send besides).
fn is_plain_in_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#\"<>`".contains(&byte)
}

fn is_known(method: &str) -> bool {
    matches!(
        method,
        "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS"
    )
}

/// What `Connection` says; none when it says anything else.
fn wants_close(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"keep-alive") {
        return Some(false);
    }
    value.eq_ignore_ascii_case(b"close").then_some(true)
}

fn plain_host(text: &[u8]) -> Option<&str> {
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:".contains(b);
    let is_plain = !text.is_empty() && text.iter().all(plain);
    is_plain.then(|| std::str::from_utf8(text).ok())?
}

fn ends_lines_with_crlf(head: &[u8]) -> bool {
    let mut before = 0;
    head.iter().all(|byte| {
        let is_fine = *byte != b'\n' || before == b'\r';
        before = *byte;
        is_fine
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(head: &str) -> Result<String, Refusal> {
        let mut out = Vec::new();
        let has_own = |value: &[u8]| value.starts_with(b"cara_");
        let request = read(head.as_bytes(), Traces::Pass, has_own, &mut out)?;
        let hop = Hop {
            client: [192, 0, 2, 1].into(),
            scheme: "http",
            id: b"7",
            traceparent: None,
            tracestate: None,
        };
        finish(&request, &hop, &mut out);
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_plain_request_keeps_its_headers_and_loses_lies() {
        let seen = forwarded(
            "GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nX-Real-IP: 1.1.1.1\r\nConnection: keep-alive\r\n\
             Accept: */*\r\nX-Forwarded-For: 1.1.1.1\r\nForwarded: for=1.1.1.1\r\nCookie: a=b\r\n\
             X-Forwarded-Ssl: on\r\nx-forwarded-user: root\r\nX-FORWARDED-: 1\r\n\r\n",
        );
        let expected = "GET /a?b HTTP/1.1\r\nHost: a.test:80\r\nAccept: */*\r\nCookie: a=b\r\n\
                        x-forwarded-for: 192.0.2.1\r\nx-forwarded-host: a.test:80\r\n\
                        x-forwarded-proto: http\r\nx-request-id: 7\r\n\r\n";
        assert_eq!(seen.as_deref(), Ok(expected));
    }

    #[test]
    fn what_a_request_says_is_found() {
        let head = "POST /a?b=1 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\nconnection: Close\r\n\
                    user-agent: u\r\naccept-encoding: gzip\r\nreferer: r\r\nx-request-id: i\r\ntraceparent: t\r\n\r\n";
        let buffer = format!("{head}abc");
        let mut out = Vec::new();
        let request = read(buffer.as_bytes(), Traces::Set, |_| false, &mut out);
        let expected = Request {
            head_bytes: head.len(),
            body_bytes: 3,
            method: "POST",
            target: "/a?b=1",
            host: "a",
            closes: true,
            id: Some(b"i"),
            accept: None,
            accept_encoding: Some("gzip"),
            user_agent: Some(b"u"),
            referer: Some(b"r"),
            trace: Traced {
                parent: Some(b"t"),
                state: None,
            },
        };
        assert_eq!(request.as_ref(), Ok(&expected));
        assert_eq!(request.map(|r| r.bytes()), Ok(buffer.len()));
        let sent = String::from_utf8_lossy(&out);
        assert!(!sent.contains("traceparent"), "{sent}");
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
            "GET /< HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /` HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /?\" HTTP/1.1\r\nHost: a\r\n\r\n",
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
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x-forwarded-for\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX_Forwarded_For: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Auth-Request-User: root\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-Cara-Bypass: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nClient-Cert: :ZXZpbA==:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX-SSL-Client-Verify: SUCCESS\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: cara_session=x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: a=1\r\nCookie: b=2\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html, Text/Event-Stream\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        ] {
            assert_eq!(forwarded(head), Err(Refusal::NotPlain), "{head:?}");
        }
        assert_eq!(forwarded("GET / HTTP/1.1\r\nHost"), Err(Refusal::Partial));
    }

    #[test]
    fn a_request_over_http_2_becomes_one_of_http_1() {
        let head = |headers: &[(&'static str, &str)]| {
            let mut head = RequestHeader::build_no_case("GET", b"/a?b", None).expect("a head");
            let uri = "https://a.test:80/a?b".parse().expect("a URI");
            head.set_uri(uri);
            for (name, value) in headers {
                let value = http::HeaderValue::from_str(value).expect("a value");
                head.append_header(*name, value).expect("a header");
            }
            head
        };
        let forwarded = |head: &RequestHeader| {
            let mut out = Vec::new();
            let has_own = |value: &[u8]| value.starts_with(b"cara_");
            let request = of_http2(head, Traces::Pass, has_own, &mut out)?;
            assert_eq!(request.head_bytes, out.len());
            assert_eq!((request.host, request.target), ("a.test:80", "/a?b"));
            Ok(String::from_utf8(out).expect("text"))
        };
        let seen = forwarded(&head(&[
            ("cookie", "a=b"),
            ("x-real-ip", "1.1.1.1"),
            ("x-a", "1"),
            ("cookie", "c=d"),
            ("x-a", "2"),
        ]));
        let expected = "GET /a?b HTTP/1.1\r\nhost: a.test:80\r\nx-a: 1\r\nx-a: 2\r\n\
                        cookie: a=b; c=d\r\n";
        assert_eq!(seen.as_deref(), Ok(expected));
        for special in [
            ("te", "trailers"),
            ("cookie", "cara_session=x"),
            ("x_forwarded_for", "1"),
            ("expect", "100-continue"),
            ("accept", "text/event-stream"),
            ("x-auth-request-user", "root"),
        ] {
            assert_eq!(
                forwarded(&head(&[special])),
                Err(Refusal::NotPlain),
                "{special:?}"
            );
        }
    }
}
