//! What a request says, read without trusting it. Pure.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, header};
use pingora_http::RequestHeader;

use crate::pages::Format;

/// The header of a request's id.
pub(crate) const REQUEST_ID: http::HeaderName = http::HeaderName::from_static("x-request-id");
/// Longest request id of a client that is passed on, in bytes.
const ID_MAX: usize = 128;

/// Begins the names of headers in which proxies tell of clients.
const FORWARDED: &str = "x-forwarded-";

/// Whether a header's name, in whatever case, begins with a known one in lower case. Many services
/// make variables of names, in which `_` and `-` are the same.
pub(crate) fn begins_like(name: &str, known: &str) -> bool {
    let is_alike = |(given, known): (u8, u8)| {
        given.eq_ignore_ascii_case(&known) || (given == b'_' && known == b'-')
    };
    name.len() >= known.len() && name.bytes().zip(known.bytes()).all(is_alike)
}

/// Whether a header's name is one by which a client could pretend to be a proxy.
pub(crate) fn is_claim(name: &str) -> bool {
    match name.len() {
        9 if begins_like(name, "forwarded") || begins_like(name, "x-real-ip") => true,
        _ => begins_like(name, FORWARDED),
    }
}

/// The host that a request names: its `Host`, or the authority of HTTP/2.
pub(crate) fn host(request: &RequestHeader) -> Option<&str> {
    let header = request
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok());
    header.or_else(|| request.uri.authority().map(http::uri::Authority::as_str))
}

/// The same as a header's value, without copying it where it is one.
pub(crate) fn host_value(request: &RequestHeader) -> Option<HeaderValue> {
    let header = request.headers.get(header::HOST).cloned();
    header.or_else(|| HeaderValue::from_str(request.uri.authority()?.as_str()).ok())
}

/// In what form a client wants answers of the gateway, by its `Accept`: browsers get pages, whoever
/// asks for text gets that, and everybody else is a program.
pub(crate) fn format(headers: &HeaderMap) -> Format {
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let has = |kind: &str| {
        accept
            .split(',')
            .any(|part| part.trim_start().starts_with(kind))
    };
    if has("text/html") {
        Format::Html
    } else if has("text/plain") && !has("application/json") && !has("application/problem+json") {
        Format::Text
    } else {
        Format::Problem
    }
}

/// Whether the answer is likely to be a stream that is silent for long: an upgrade, or events.
pub(crate) fn is_stream(headers: &HeaderMap) -> bool {
    let mut accept = headers.get_all(header::ACCEPT).iter();
    is_upgrade(headers) || accept.any(|value| accepts_events(value.as_bytes()))
}

/// Whether a value of `Accept` names event streams.
pub(crate) fn accepts_events(accept: &[u8]) -> bool {
    accept.split(|byte| *byte == b',').any(|member| {
        let kind = member.split(|byte| *byte == b';').next();
        kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"text/event-stream"))
    })
}

/// Whether the connection is to become a WebSocket, the only other protocol that passes.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE).map(HeaderValue::as_bytes);
    upgrade.is_some_and(|to| to.eq_ignore_ascii_case(b"websocket"))
}

/// The request's id: the client's, if it is short and plain, else a new one.
pub(crate) fn id(headers: &HeaderMap, random: impl FnOnce() -> u128) -> HeaderValue {
    let given = headers.get(&REQUEST_ID);
    given
        .filter(|value| is_plain_id(value.as_bytes()))
        .cloned()
        .unwrap_or_else(|| hexadecimal(random()))
}

/// The same for a request whose headers are bytes.
pub(crate) fn id_of(given: Option<&[u8]>, random: impl FnOnce() -> u128) -> HeaderValue {
    let given = given.filter(|value| is_plain_id(value));
    given
        .and_then(|value| HeaderValue::from_bytes(value).ok())
        .unwrap_or_else(|| hexadecimal(random()))
}

fn is_plain_id(value: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=ID_MAX).contains(&value.len()) && value.iter().all(plain)
}

/// 32 hexadecimal digits.
fn hexadecimal(number: u128) -> HeaderValue {
    let mut text = [0; 32];
    for (pair, byte) in text.chunks_exact_mut(2).zip(number.to_be_bytes()) {
        pair.copy_from_slice(&digits(byte));
    }
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("0"))
}

/// A byte as two hexadecimal digits.
fn digits(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
    [digit(byte >> 4), digit(byte & 15)]
}

/// Appends bytes as hexadecimal digits.
pub(crate) fn push_hexadecimal(out: &mut Vec<u8>, bytes: &[u8]) {
    for byte in bytes {
        out.extend_from_slice(&digits(*byte));
    }
}

/// Appends an address. For IPv4, nearly all of them, a third of the work of `Display`.
pub(crate) fn push_address(out: &mut Vec<u8>, ip: IpAddr) {
    let IpAddr::V4(ip) = ip else {
        out.extend_from_slice(ip.to_string().as_bytes());
        return;
    };
    let mut buffer = itoa::Buffer::new();
    for (place, octet) in ip.octets().into_iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(buffer.format(octet).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| {
                (
                    http::HeaderName::from_static(k),
                    v.parse().expect("a value"),
                )
            })
            .collect()
    }

    #[test]
    fn the_accept_header_decides_about_the_form() {
        for (accept, expected) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Html),
            ("application/json, text/html;q=0.5", Format::Html),
            ("*/*", Format::Problem),
            ("application/json", Format::Problem),
            ("application/json, text/plain, */*", Format::Problem),
            ("text/plain", Format::Text),
            ("", Format::Problem),
        ] {
            assert_eq!(
                format(&headers(&[("accept", accept)])),
                expected,
                "{accept}"
            );
        }
        assert_eq!(format(&HeaderMap::new()), Format::Problem);
    }

    #[test]
    fn a_plain_request_id_is_kept_and_any_other_replaced() {
        let long = "x".repeat(129);
        for (given, expected) in [
            ("abc-1.2_3", "abc-1.2_3"),
            ("a b", "7"),
            ("<script>", "7"),
            ("", "7"),
            (&long, "7"),
        ] {
            let of = id_of(Some(given.as_bytes()), || 7);
            let id = id(&headers(&[("x-request-id", given)]), || 7);
            assert_eq!(id, of);
            let id = id.to_str().expect("text").trim_start_matches('0');
            assert_eq!(id, expected, "{given}");
        }
    }

    #[test]
    fn addresses_read_as_everywhere() {
        for text in [
            "0.0.0.0",
            "192.0.2.1",
            "255.255.255.255",
            "::1",
            "2001:db8::7",
        ] {
            let ip: IpAddr = text.parse().expect("an address");
            let mut written = Vec::new();
            push_address(&mut written, ip);
            assert_eq!(written, text.as_bytes());
        }
    }

    #[test]
    fn new_ids_are_hexadecimal() {
        let number = 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210;
        assert_eq!(hexadecimal(number), "0123456789abcdeffedcba9876543210");
    }

    #[test]
    fn upgrades_and_event_streams_may_be_silent() {
        assert!(is_stream(&headers(&[("upgrade", "websocket")])));
        for accept in [
            "text/event-stream",
            "Text/Event-Stream;q=0.9",
            "application/json, text/event-stream",
            "text/html;q=0.1 ,text/event-stream ; charset=utf-8",
        ] {
            assert!(is_stream(&headers(&[("accept", accept)])), "{accept}");
        }
        let two = headers(&[("accept", "text/html"), ("accept", "text/event-stream")]);
        assert!(is_stream(&two));
        for accept in ["text/event-streams", "x;text/event-stream", "text/html"] {
            assert!(!is_stream(&headers(&[("accept", accept)])), "{accept}");
        }
        assert!(!is_stream(&headers(&[("accept", "*/*")])));
        assert!(!is_stream(&headers(&[("upgrade", "h2c")])));
    }
}
