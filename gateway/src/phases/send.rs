//! How the gateway answers in place of a service: makes the whole answer, and sends it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use pingora_error::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::decorate;
use crate::answer::{Reply, Stop};
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::filter::cors;
use crate::pages::{Answer, Shown};
use crate::request;

/// How long the rest of a request's body is read after its answer, so that the connection can be
/// used again and a client that is still sending hears the answer.
const DRAIN: Duration = Duration::from_secs(5);
/// What is taken where `CONNECT` and `TRACE` are not; services may take fewer or more.
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Sends what stopped a request.
///
/// # Errors
/// The client is gone.
pub(crate) async fn send(edge: &Edge, session: &mut Session, ctx: &Ctx, stop: Stop) -> Result<()> {
    let asked = session.req_header();
    let is_head = asked.method == Method::HEAD;
    let Whole { head, body } = assemble(edge, asked, ctx, stop)?;
    // RFC 9110 section 8.6: there is nothing that could have a length.
    let has_body = head.status != StatusCode::NO_CONTENT && !is_head;
    finish_request(session);
    session
        .write_response_header(Box::new(head), !has_body)
        .await?;
    if has_body {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// An answer as it goes out.
pub(crate) struct Whole {
    pub(crate) head: ResponseHeader,
    pub(crate) body: Bytes,
}

/// Makes the answer for what stopped a request.
///
/// # Errors
/// There are more headers than a message can have.
pub(crate) fn assemble(edge: &Edge, head: &RequestHeader, ctx: &Ctx, stop: Stop) -> Result<Whole> {
    let (reply, is_page) = match stop {
        Stop::Page(answer) => (page(edge, head, ctx, &answer, Vec::new()), true),
        Stop::PageWith(answer, headers) => (page(edge, head, ctx, &answer, headers), true),
        Stop::Reply(reply) => (*reply, false),
    };
    let mut answer = ResponseHeader::build(reply.status, Some(reply.headers.len() + 6))?;
    if reply.status != StatusCode::NO_CONTENT {
        answer.insert_header(header::CONTENT_LENGTH, HeaderValue::from(reply.body.len()))?;
    }
    decorate::answer(&mut answer, ctx, &head.headers)?;
    for (name, value) in reply.headers {
        if cors::decisive().contains(&name) {
            answer.insert_header(name, value)?;
        } else {
            answer.append_header(name, value)?;
        }
    }
    // A rule's headers belong to what the rule says, not to the gateway's pages.
    if let Some(rule) = ctx.rule.as_ref().filter(|_| !is_page) {
        rule.filters
            .response_headers
            .apply_to_response(&mut answer)?;
    }
    Ok(Whole {
        head: answer,
        body: reply.body,
    })
}

/// Decides what becomes of a body that nobody wants.
fn finish_request(session: &mut Session) {
    let waits = session.req_header().headers.contains_key(header::EXPECT);
    if waits {
        // The client sends its body only when told to, so there is no next request to wait for.
        session.set_keepalive(None);
        return;
    }
    let session = session.as_mut();
    session.set_total_drain_timeout(Some(DRAIN));
    session.set_close_on_response_before_downstream_finish(false);
}

fn page(
    edge: &Edge,
    head: &RequestHeader,
    ctx: &Ctx,
    answer: &Answer,
    mut headers: Vec<(HeaderName, HeaderValue)>,
) -> Reply {
    let shown = Shown {
        host: request::host(head).unwrap_or_default(),
        request_id: ctx.id(),
    };
    let format = request::format(&head.headers);
    let page = answer.render(format, &edge.pages.load(), shown);
    let mut set = |name, value| headers.push((name, value));
    set(
        header::CONTENT_TYPE,
        HeaderValue::from_static(page.content_type),
    );
    set(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    set(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    if let Some(policy) = page.security_policy {
        set(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        );
    }
    if let Some(seconds) = page.retry_after_s {
        set(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if *answer == Answer::MethodNotAllowed {
        set(header::ALLOW, HeaderValue::from_static(METHODS));
    }
    Reply {
        status: StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: page.body,
    }
}
