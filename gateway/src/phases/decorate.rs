//! What the gateway adds to answers, its own and those of services.

use http::{HeaderMap, HeaderValue, header};
use pingora_error::Result;
use pingora_http::ResponseHeader;

use crate::ctx::Ctx;
use crate::filter::cors;
use crate::filter::vary::vary;

/// Adds what a rule's policy asks for: transport security, robots, origins, rates; and the
/// request's id. `asked` are the request's headers.
///
/// # Errors
/// There are more headers than a message can have.
pub(super) fn answer(head: &mut ResponseHeader, ctx: &Ctx, asked: &HeaderMap) -> Result<()> {
    head.insert_header("x-request-id", ctx.id.clone())?;
    let Some(rule) = &ctx.rule else { return Ok(()) };
    // A browser must not believe it over plain HTTP (RFC 6797 section 7.2).
    if let Some(hsts) = rule.filters.hsts.as_ref().filter(|_| ctx.is_tls) {
        head.insert_header(header::STRICT_TRANSPORT_SECURITY, hsts.clone())?;
    }
    if rule.route.policy.no_index {
        let value = HeaderValue::from_static("noindex, nofollow");
        head.insert_header("x-robots-tag", value)?;
    }
    if let Some(policy) = &rule.filters.cors {
        for name in cors::decisive() {
            head.remove_header(name);
        }
        grant(head, policy.answer(asked.get(header::ORIGIN)))?;
    }
    if let Some(rate) = &ctx.rate {
        head.insert_header("ratelimit-limit", HeaderValue::from(rate.limit))?;
        head.insert_header("ratelimit-remaining", HeaderValue::from(rate.remaining))?;
        head.insert_header("ratelimit-reset", HeaderValue::from(rate.reset_s))?;
    }
    Ok(())
}

/// Adds what a browser of another origin may do.
fn grant(head: &mut ResponseHeader, granted: cors::Granted) -> Result<()> {
    for (name, value) in granted.set {
        head.insert_header(name, value)?;
    }
    if granted.varies {
        vary(head, "Origin")?;
    }
    Ok(())
}
