//! Tries of a request at its service: begins each, tells metrics how it ended, and says whether there
//! is another. What is remembered, and about whom, is the attempt's (`upstream`).

use std::net::SocketAddr;
use std::time::Duration;

use cara_api::gateway::Policy;
use cara_routes::retry::{self, Decision, Failure, Shape};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result, RetryType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::listen::watch::{expect_within, note_answer};
use crate::upstream::Times;

/// An answer that is not passed on since the request is tried again.
const TRY_AGAIN: ErrorType = ErrorType::new("TryAgain");

/// Bytes that a client is taken to send in a second at least.
const SLOW_UPLOAD: u64 = 32 * 1024;
/// Pieces of an answer that pingora passes to its filters before it writes the first of them: four
/// that wait, and one at hand. The client may take the time of each.
const PIECES: u32 = 5;

/// Begins a try: chooses its endpoint, which counts it as under way. None when there is none.
pub(crate) fn begin(edge: &Edge, ctx: &mut Ctx) -> Option<SocketAddr> {
    let rule = ctx.rule.as_ref()?.to_services();
    ctx.upstream.begin(rule, || edge.live.now())
}

/// What a connection for a request may be shared with: others of the same group.
pub(crate) fn group(ctx: &Ctx) -> Option<u64> {
    let rule = ctx.rule.as_ref()?.to_services();
    ctx.upstream.group(rule)
}

/// Chooses the endpoint for a try, and describes the connection to it.
///
/// # Errors
/// The service has none, or its TLS cannot be used.
pub(crate) fn peer(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let nowhere = || Error::new(ErrorType::HTTPStatus(502));
    let address = begin(edge, ctx).ok_or_else(nowhere)?;
    let rule = ctx.rule.as_ref().ok_or_else(nowhere)?;
    let times = times(edge, &rule.route.policy, ctx.is_stream);
    let stream = edge.config.stream_timeout;
    let upload = upload(session, stream);
    let head = session.req_header();
    let rule = rule.to_services();
    let peer = ctx.upstream.peer(rule, address, head, times);
    let mut peer = peer.ok_or_else(nowhere)?;
    // Of a service that speaks HTTP/2, pingora counts the upload as silence.
    if peer.options.alpn.get_max_http_version() == 2 {
        peer.options.read_timeout = Some(
            times
                .read
                .saturating_add(upload)
                .min(stream.max(times.read)),
        );
    }
    Ok(Box::new(peer))
}

/// How long a request's body may take to come: of unknown length, `longest`. Calls of gRPC have none,
/// and mostly a short body; those that stream for long need a rule that says so.
fn upload(session: &mut Session, longest: Duration) -> Duration {
    if session.as_mut().is_body_empty() || is_grpc(session) {
        return Duration::ZERO;
    }
    let length = session
        .req_header()
        .headers
        .get(http::header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
    length.map_or(longest, |length: u64| {
        Duration::from_secs(length / SLOW_UPLOAD)
    })
}

fn is_grpc(session: &Session) -> bool {
    let kind = session.req_header().headers.get(http::header::CONTENT_TYPE);
    let kind = kind.map(http::HeaderValue::as_bytes).unwrap_or_default();
    let begins = |known: &[u8]| {
        kind.get(..known.len())
            .is_some_and(|k| k.eq_ignore_ascii_case(known))
    };
    begins(b"application/grpc") || begins(b"application/connect+")
}

/// To be called when the head of an answer has passed: where the request's body is still on its way
/// over HTTP/2, pingora would wait for it for ever.
pub(crate) fn answer_begins(edge: &Edge, session: &mut Session, ctx: &mut Ctx) {
    let Some(rule) = &ctx.rule else { return };
    if session.as_downstream().is_http2() && !session.as_mut().is_body_done() {
        // The service may be silent, and then the client slow with what is on its way.
        let times = times(edge, &rule.route.policy, ctx.is_stream);
        ctx.patience = Some(times.read.saturating_add(writing(edge)));
        passes(ctx);
    }
}

/// To be called when an answer has passed to its end: of its request, a rest that nobody may want
/// can still be on its way.
pub(crate) fn answer_ends(edge: &Edge, ctx: &mut Ctx) {
    if let Some(patience) = &mut ctx.patience {
        *patience = writing(edge);
    }
    passes(ctx);
}

/// How long a client may take for what was passed to filters before it was written.
fn writing(edge: &Edge) -> Duration {
    let write = edge.config.limits.write_timeout;
    write.saturating_mul(PIECES + 1)
}

/// To be called when a piece of a request or an answer passes.
pub(crate) fn passes(ctx: &Ctx) {
    if let Some(patience) = ctx.patience {
        expect_within(patience);
    }
}

/// How long a service may take to begin its answer, over all tries.
fn response_limit(edge: &Edge, policy: &Policy) -> Duration {
    let wanted = policy.timeouts.response;
    wanted.unwrap_or(edge.config.upstream_timeout)
}

/// How long a try may take.
pub(crate) fn times(edge: &Edge, policy: &Policy, is_stream: bool) -> Times {
    let (config, wanted) = (&edge.config, &policy.timeouts);
    let response = response_limit(edge, policy);
    Times {
        connect: wanted.connect.unwrap_or(config.connect_timeout),
        read: if is_stream {
            wanted.idle.unwrap_or(config.stream_timeout)
        } else {
            response
        },
        write: response,
    }
}

/// After a try that found no connection. True when the request is tried again.
pub(crate) fn refused(edge: &Edge, ctx: &mut Ctx, shape: Shape) -> bool {
    edge.metrics
        .upstream_errors
        .with_label_values(&["connect"])
        .inc();
    note_failure(edge, ctx, true);
    ctx.upstream.note_refused();
    is_tried_again(edge, ctx, Failure::Connect, || shape)
}

/// After a try that failed on its connection. True when the request is tried again.
pub(crate) fn broke(
    edge: &Edge,
    ctx: &mut Ctx,
    failure: Failure,
    is_services_fault: bool,
    shape: impl FnOnce() -> Shape,
) -> bool {
    let is_answered = ctx.upstream.is_answered();
    if is_services_fault && !is_answered && !matches!(failure, Failure::Stale | Failure::Refused) {
        note_failure(edge, ctx, false);
    }
    !is_answered && is_tried_again(edge, ctx, failure, shape)
}

/// When the head of an answer came. True when the request is tried again instead of passing the
/// answer on.
pub(crate) fn head_came(
    edge: &Edge,
    ctx: &mut Ctx,
    status: u16,
    shape: impl FnOnce() -> Shape,
) -> bool {
    ctx.upstream.note_head();
    let is_good = !matches!(status, 502..=504);
    if !is_good {
        note_failure(edge, ctx, false);
        if is_tried_again(edge, ctx, Failure::Status(status), shape) {
            return true;
        }
    }
    ctx.upstream.note_answered(is_good, || edge.live.now());
    // A WebSocket is no answer that somebody waits for: it ends at once, in order.
    if status != 101 {
        ctx.upstream.note_late();
    }
    false
}

/// After a try of pingora's that found no connection.
pub(crate) fn not_connected(
    edge: &Edge,
    session: &mut Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
) -> Box<Error> {
    // A kept HTTP/2 connection that ended meanwhile says nothing about the endpoint.
    let again = if *error.etype() == ErrorType::H2Error {
        is_tried_again(edge, ctx, Failure::Refused, || shape(session))
    } else {
        refused(edge, ctx, shape(session))
    };
    error.set_retry(again);
    error
}

/// After a try of pingora's that failed on its connection.
pub(crate) fn not_proxied(
    edge: &Edge,
    session: &mut Session,
    ctx: &mut Ctx,
    mut error: Box<Error>,
    is_reused: bool,
) -> Box<Error> {
    if *error.etype() == TRY_AGAIN {
        error.set_retry(true);
        return error;
    }
    let is_late = *error.etype() == ErrorType::ReadTimedout && !ctx.upstream.is_answered();
    if is_late && !session.as_mut().is_body_done() {
        if waits_for_client(session, ctx) {
            let mut error = Error::explain(ErrorType::HTTPStatus(408), "the body did not come");
            error.set_retry(false);
            return error;
        }
        // Whoever waits for 100 by right is answered for the service, which is the one that is silent.
        error.as_up();
    }
    let failure = match error.retry {
        // Pingora knows that the service did not look at the request, unless its answer was bad.
        RetryType::Decided(true) if *error.etype() == ErrorType::InvalidH2 => Failure::Stale,
        RetryType::Decided(true) => Failure::Refused,
        RetryType::ReusedOnly if is_reused => Failure::Stale,
        RetryType::ReusedOnly => Failure::Died,
        RetryType::Decided(false) => Failure::Other,
    };
    let is_services_fault = *error.esource() == ErrorSource::Upstream;
    let again = broke(edge, ctx, failure, is_services_fault, || shape(session));
    error.set_retry(again);
    error
}

/// Whether a service is silent since it waits for the rest of a body, as the gateway does: then
/// nothing is known about it. A client that waits for 100 has sent nothing by right, and calls of
/// gRPC may go on for as long as their answers.
fn waits_for_client(session: &Session, ctx: &Ctx) -> bool {
    let headers = &session.req_header().headers;
    let expects = headers.contains_key(http::header::EXPECT);
    !is_grpc(session) && (ctx.body_bytes > 0 || !expects)
}

/// When the head of an answer came to pingora.
///
/// # Errors
/// The request is tried again instead of passing the answer on.
pub(crate) fn answered(
    edge: &Edge,
    session: &mut Session,
    answer: &ResponseHeader,
    ctx: &mut Ctx,
) -> Result<()> {
    let status = answer.status.as_u16();
    if answer.status.is_informational() && status != 101 {
        return Ok(());
    }
    if head_came(edge, ctx, status, || shape(session)) {
        let mut error = Error::new(TRY_AGAIN);
        error.as_up();
        return Err(error);
    }
    note_answer(session, ctx.upstream.ending());
    Ok(())
}

/// When a piece of an answer passes.
///
/// # Errors
/// The endpoint has left, and the time to end in came to its end after the answer had begun.
pub(crate) fn piece_passes(ctx: &Ctx) -> Result<()> {
    match ctx.upstream.ending() {
        Some(ending) if ending.has_come() => {
            Error::e_explain(ErrorType::ConnectionClosed, "the endpoint has left")
        }
        Some(_) | None => Ok(()),
    }
}

/// Adds to an answer what keeps the client with its endpoint.
///
/// # Errors
/// There are more headers than a message can have.
pub(crate) fn finish(ctx: &Ctx, answer: &mut ResponseHeader) -> Result<()> {
    let rule = ctx.rule.as_ref();
    let cookie = rule.and_then(|rule| ctx.upstream.cookie(rule.to_services(), ctx.is_tls));
    match cookie {
        Some(cookie) => answer
            .append_header(http::header::SET_COOKIE, cookie)
            .map(drop),
        None => Ok(()),
    }
}

fn note_failure(edge: &Edge, ctx: &mut Ctx, is_refusal: bool) {
    let Some(rule) = &ctx.rule else { return };
    let now = edge.live.now();
    let attempt = &mut ctx.upstream;
    if attempt.note_failure(rule.to_services(), is_refusal, now) {
        edge.metrics.ejections.inc();
    }
}

fn is_tried_again(edge: &Edge, ctx: &Ctx, failure: Failure, shape: impl FnOnce() -> Shape) -> bool {
    let Some(rule) = &ctx.rule else { return false };
    let policy = &rule.route.policy;
    let limit = response_limit(edge, policy);
    let progress = ctx
        .upstream
        .progress(rule.to_services(), ctx.started, limit);
    let Some(progress) = progress else {
        return false;
    };
    let decision = retry::decide(&policy.retries, failure, shape(), progress);
    let again = match decision {
        Decision::GiveUp => false,
        Decision::Again => true,
        Decision::AgainWithinBudget => rule
            .upstream
            .take_retry(policy.retries.budget_percent, edge.live.now()),
    };
    if again {
        let kind = match failure {
            Failure::Connect => "connect",
            Failure::Refused => "refused",
            Failure::Stale => "stale",
            Failure::Died => "reset",
            Failure::Status(_) => "status",
            Failure::Other => "other",
        };
        edge.metrics.retries.with_label_values(&[kind]).inc();
    }
    again
}

fn shape(session: &mut Session) -> Shape {
    let downstream = session.as_mut();
    let has_no_body = downstream.is_body_empty();
    Shape {
        is_idempotent: downstream.req_header().method.is_idempotent(),
        has_no_body,
        is_replayable: !downstream.retry_buffer_truncated(),
    }
}
