//! Keeps web pages away from the agent's own port: a page that a browser on this node shows could
//! open WebSockets to it, or reach it by a name of its own that leads here.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;

/// Refuses what a page of a browser asks for.
pub(crate) async fn refuse(request: Request, next: Next) -> Response {
    if is_of_page(request.headers()) {
        let text = "This is for servers and command lines, by its address; no page is let in\n";
        return crate::problem::plain(StatusCode::FORBIDDEN, text);
    }
    next.run(request).await
}

/// Whether a browser sends this for a page, or the host is a name that anybody may own.
fn is_of_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let is_asked_by_page = site.is_some_and(|site| site != b"none");
    let host = headers.get(header::HOST);
    let is_foreign = host.is_some_and(|host| !host.to_str().is_ok_and(is_address));
    headers.contains_key(header::ORIGIN) || is_asked_by_page || is_foreign
}

/// `localhost` or an address, with or without a port.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn pages_are_told_from_programs() {
        for (headers, expected) in [
            (&[("host", "127.0.0.1:9090")][..], false),
            (&[("host", "localhost:9090")], false),
            (&[("host", "[fd00::1]:9090")], false),
            (&[], false),
            (&[("host", "10.0.0.5"), ("sec-fetch-site", "none")], false),
            (&[("host", "evil.example:9090")], true),
            (&[("host", "127.0.0.1.evil.example")], true),
            (
                &[
                    ("host", "127.0.0.1:9090"),
                    ("origin", "http://evil.example"),
                ],
                true,
            ),
            (&[("host", "127.0.0.1:9090"), ("origin", "null")], true),
            (
                &[("host", "127.0.0.1:9090"), ("sec-fetch-site", "cross-site")],
                true,
            ),
            (
                &[("host", "localhost"), ("sec-fetch-site", "same-site")],
                true,
            ),
        ] {
            let map = headers.iter().map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            });
            assert_eq!(is_of_page(&map.collect()), expected, "{headers:?}");
        }
    }
}
