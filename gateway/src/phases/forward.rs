//! What the gateway tells a service about the client.

use std::net::IpAddr;

use cara_api::gateway::Rewrite;
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, Uri};
use pingora_error::{ErrorType, OrErr, Result};
use pingora_http::RequestHeader;

use crate::access;
use crate::ctx::Ctx;
use crate::filter::target::{self, Rewritten};
use crate::request;

/// Makes the request that a service gets: its path, the forwarding headers, and what its rule
/// changes.
///
/// # Errors
/// A rewritten path is no path, or there are more headers than a message can have.
pub(crate) fn prepare(asked: &RequestHeader, sent: &mut RequestHeader, ctx: &Ctx) -> Result<()> {
    let access = ctx.rule.as_ref().map(|rule| &rule.route.policy.access);
    let certificate = ctx.client_certificate.as_ref();
    access::clean(sent, certificate, access, ctx.admitted.as_deref())?;
    let rewritten = rewritten(asked, ctx);
    if let Some(rewritten) = &rewritten {
        let path = &rewritten.path_and_query;
        set_path(sent, path)?;
    }
    let hop = Hop {
        client: ctx.client,
        is_tls: ctx.is_tls,
        host: request::host_value(asked).unwrap_or_else(|| HeaderValue::from_static("")),
        id: ctx.id.clone(),
        prefix: rewritten.as_ref().and_then(|r| r.prefix),
    };
    set_headers(sent, hop)?;
    match &ctx.rule {
        Some(rule) => rule.filters.request_headers.apply_to_request(sent),
        None => Ok(()),
    }
}

fn rewritten<'a>(asked: &RequestHeader, ctx: &'a Ctx) -> Option<Rewritten<'a>> {
    let forward = ctx.forward()?;
    if forward.rewrite == Rewrite::Keep {
        return None;
    }
    let path = cara_routes::path::normalize(asked.uri.path())?;
    let matched = &ctx.rule.as_ref()?.route.path;
    target::rewrite(&forward.rewrite, matched, &path, asked.uri.query())
}

/// Replaces path and query, and keeps scheme and authority, which HTTP/2 names beside them.
fn set_path(request: &mut RequestHeader, path_and_query: &str) -> Result<()> {
    let mut parts = request.uri.clone().into_parts();
    let path = PathAndQuery::try_from(path_and_query);
    parts.path_and_query = Some(path.or_err(ErrorType::InternalError, "a rewritten path")?);
    let uri = Uri::from_parts(parts).or_err(ErrorType::InternalError, "a rewritten target")?;
    request.set_uri(uri);
    Ok(())
}

/// What this hop saw of a request.
pub(crate) struct Hop<'a> {
    pub(crate) client: Option<IpAddr>,
    pub(crate) is_tls: bool,
    pub(crate) host: HeaderValue,
    pub(crate) id: HeaderValue,
    /// What a rule took off the path.
    pub(crate) prefix: Option<&'a str>,
}

/// Sets the forwarding headers to what this hop saw, whatever the client sent.
///
/// # Errors
/// A value is no header value; cannot happen for a host that was found.
pub(crate) fn set_headers(request: &mut RequestHeader, hop: Hop<'_>) -> Result<()> {
    // Most requests have none of them: one look at the names there are is cheaper than asking
    // for each.
    if request.headers.keys().any(is_untrusted) {
        let names = request.headers.keys().filter(|name| is_untrusted(name));
        let names: Vec<HeaderName> = names.cloned().collect();
        for name in names {
            request.remove_header(&name);
        }
    }
    if let Some(ip) = hop.client {
        request.insert_header("x-forwarded-for", address(ip)?)?;
    }
    let scheme = if hop.is_tls { "https" } else { "http" };
    request.insert_header("x-forwarded-host", hop.host)?;
    request.insert_header("x-forwarded-proto", HeaderValue::from_static(scheme))?;
    if let Some(prefix) = hop.prefix {
        request.insert_header("x-forwarded-prefix", prefix)?;
    }
    request.insert_header("x-request-id", hop.id)
}

/// Whether a service may take a header for one of a proxy, or for the request's id.
fn is_untrusted(name: &HeaderName) -> bool {
    const ID: &str = "x-request-id";
    let name = name.as_str();
    let is_id = name.len() == ID.len() && name.contains('_') && request::begins_like(name, ID);
    request::is_claim(name) || is_id
}

fn address(ip: IpAddr) -> Result<HeaderValue> {
    let mut text = Vec::new();
    request::push_address(&mut text, ip);
    HeaderValue::try_from(text).or_err(ErrorType::InternalError, "an address is no header value")
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
            "x_forwarded_for",
            "X-Real_IP",
            "x-forwarded-prefix",
            "x-forwarded-ssl",
            "X-Forwarded_User",
            "x_forwarded_groups",
            "x_request_id",
        ] {
            request.insert_header(name, "evil").expect("a header");
        }
        let hop = Hop {
            client: "192.0.2.1".parse().ok(),
            is_tls: true,
            host: HeaderValue::from_static("web.dev.localhost:8000"),
            id: HeaderValue::from_static("id"),
            prefix: Some("/api"),
        };
        set_headers(&mut request, hop).expect("valid values");
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
                "x-forwarded-prefix: /api",
                "x-forwarded-proto: https",
                "x-request-id: id"
            ]
        );
    }
}
