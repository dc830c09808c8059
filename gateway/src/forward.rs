//! What the gateway tells a service about the client.

use std::net::IpAddr;

use http::HeaderValue;
use pingora_error::Result;
use pingora_http::RequestHeader;

/// Headers by which a client could pretend to be a proxy. They never reach a service.
const UNTRUSTED: [&str; 5] = [
    "forwarded",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-real-ip",
];

/// Sets the forwarding headers to what this hop saw, whatever the client sent.
///
/// # Errors
/// A value is no header value; cannot happen for a host that was found.
pub(crate) fn set_headers(
    request: &mut RequestHeader,
    client: Option<IpAddr>,
    host: HeaderValue,
    scheme: &'static str,
    id: HeaderValue,
) -> Result<()> {
    // Most requests have none of them: one look at the names there are is cheaper than asking
    // for each.
    if request
        .headers
        .keys()
        .any(|name| UNTRUSTED.contains(&name.as_str()))
    {
        for name in UNTRUSTED {
            request.remove_header(name);
        }
    }
    match client {
        Some(ip) => request.insert_header("x-forwarded-for", ip.to_string())?,
        None => drop(request.remove_header("x-forwarded-for")),
    }
    request.insert_header("x-forwarded-host", host)?;
    request.insert_header("x-forwarded-proto", HeaderValue::from_static(scheme))?;
    request.insert_header("x-request-id", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_claims_does_not_pass() {
        let mut request = RequestHeader::build("GET", b"/", None).expect("a request");
        for name in [
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "forwarded",
            "x-real-ip",
        ] {
            request.insert_header(name, "evil").expect("a header");
        }
        set_headers(
            &mut request,
            "192.0.2.1".parse().ok(),
            HeaderValue::from_static("web.dev.localhost:8000"),
            "https",
            HeaderValue::from_static("id"),
        )
        .expect("valid values");
        let mut shown: Vec<String> = request
            .headers
            .iter()
            .map(|(k, v)| format!("{k}: {}", v.to_str().expect("text")))
            .collect();
        shown.sort();
        assert_eq!(
            shown,
            [
                "x-forwarded-for: 192.0.2.1",
                "x-forwarded-host: web.dev.localhost:8000",
                "x-forwarded-proto: https",
                "x-request-id: id"
            ]
        );
    }
}
