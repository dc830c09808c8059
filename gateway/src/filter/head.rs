//! Which heads of requests are taken at all: size, and what could mean one thing to the gateway
//! and another to a service. Pure.

use http::{HeaderMap, HeaderValue, Method, Version, header};
use pingora_http::RequestHeader;

use crate::pages::Answer;

/// Headers of a request at most.
const HEADERS_MAX: usize = 100;
/// Bytes of all names and values of headers at most.
const HEADER_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a target at most.
const TARGET_BYTES_MAX: usize = 16 * 1024;

/// Checks a head. `raw` gives the head as it was received over HTTP/1; it is asked for only when
/// the request has a transfer coding.
///
/// # Errors
/// What the client gets instead.
pub(crate) fn check(
    head: &RequestHeader,
    raw: impl FnOnce() -> bytes::Bytes,
) -> Result<(), Answer> {
    if matches!(head.method, Method::CONNECT | Method::TRACE) {
        return Err(Answer::MethodNotAllowed);
    }
    if head.raw_path().len() > TARGET_BYTES_MAX {
        return Err(Answer::UriTooLong);
    }
    let headers = &head.headers;
    if headers.len() > HEADERS_MAX || bytes_of(headers) > HEADER_BYTES_MAX {
        return Err(Answer::HeadersTooLarge);
    }
    if !head.raw_path_is_utf8() || !framing_is_plain(head, raw) {
        return Err(Answer::BadRequest);
    }
    Ok(())
}

fn bytes_of(headers: &HeaderMap) -> usize {
    let sizes = headers.iter().map(|(n, v)| n.as_str().len() + v.len());
    sizes.sum()
}

/// Whether the length of the body is said once and in one way (RFC 9112 section 6.3). Pingora
/// takes more than that, and picks one.
fn framing_is_plain(head: &RequestHeader, raw: impl FnOnce() -> bytes::Bytes) -> bool {
    if let Some(coding) = head.headers.get(header::TRANSFER_ENCODING) {
        let is_only = head
            .headers
            .get_all(header::TRANSFER_ENCODING)
            .iter()
            .count()
            == 1;
        // Pingora has dropped a length beside it already; only the bytes tell.
        return is_only
            && coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            && head.version == Version::HTTP_11
            && !has_length(&raw());
    }
    let mut lengths = head.headers.get_all(header::CONTENT_LENGTH).iter();
    match (lengths.next(), lengths.next()) {
        (None, _) => true,
        (Some(length), None) => is_number(length),
        (Some(_), Some(_)) => false,
    }
}

fn is_number(value: &HeaderValue) -> bool {
    let text = value.as_bytes();
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether a head in HTTP/1 form has a content length.
fn has_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw.split(|byte| *byte == b'\n').any(|line| {
        line.get(..NAME.len())
            .is_some_and(|name| name.eq_ignore_ascii_case(NAME))
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn verdict(method: &str, path: &str, headers: &[(&'static str, &str)]) -> String {
        let mut head = RequestHeader::build(method, path.as_bytes(), None).expect("a request");
        let mut raw = format!("{method} {path} HTTP/1.1\r\n");
        for (name, value) in headers {
            raw += &format!("{name}: {value}\r\n");
            head.append_header(*name, *value).expect("a header");
        }
        match check(&head, || Bytes::from(raw)) {
            Ok(()) => "taken".into(),
            Err(answer) => answer.status().to_string(),
        }
    }

    #[test]
    fn heads_that_are_too_large_or_ambiguous_are_refused() {
        let long = format!("/{}", "a".repeat(TARGET_BYTES_MAX));
        let large = "a".repeat(40 * 1024);
        for (method, path, headers, expected) in [
            ("GET", "/", &[][..], "taken"),
            ("GET", long.as_str(), &[], "414"),
            ("GET", "/", &[("x-a", large.as_str())], "taken"),
            ("GET", "/", &[("x-a", &large), ("x-b", &large)], "431"),
            ("GET", "/", &[("x-a", "1"); 100], "taken"),
            ("GET", "/", &[("x-a", "1"); 101], "431"),
            ("TRACE", "/", &[], "405"),
            ("CONNECT", "/", &[], "405"),
            ("PURGE", "/", &[], "taken"),
            ("POST", "/", &[("content-length", "5")], "taken"),
            ("POST", "/", &[("content-length", "5"); 2], "400"),
            ("POST", "/", &[("content-length", "5, 5")], "400"),
            ("POST", "/", &[("content-length", "+5")], "400"),
            ("POST", "/", &[("transfer-encoding", "chunked")], "taken"),
            ("POST", "/", &[("transfer-encoding", "CHUNKED")], "taken"),
            (
                "POST",
                "/",
                &[("transfer-encoding", "gzip, chunked")],
                "400",
            ),
            ("POST", "/", &[("transfer-encoding", "chunked"); 2], "400"),
            (
                "POST",
                "/",
                &[("content-length", "5"), ("transfer-encoding", "chunked")],
                "400",
            ),
        ] {
            assert_eq!(
                verdict(method, path, headers),
                expected,
                "{method} {headers:?}"
            );
        }
    }
}
