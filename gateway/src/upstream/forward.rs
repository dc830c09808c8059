//! Tries of a request: the endpoint of each, what its end says about the endpoint, and whether
//! there is another.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use cara_api::gateway::Policy;
use cara_routes::outlier::Fleet;
use cara_routes::retry::{self, Decision, Failure, Progress, Shape};
use http::HeaderValue;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_error::{Error, ErrorSource, ErrorType, Result, RetryType};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::endpoint::{Endpoint, InFlight};
use super::gate::Permit;
use super::peer::{self, Times};
use super::{Target, sticky};
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::live::LiveRule;
use crate::request;

/// An answer that is not passed on since the request is tried again.
const TRY_AGAIN: ErrorType = ErrorType::new("TryAgain");

/// What a request did at its service so far. Dropping it leaves the queue and the endpoint.
#[derive(Default)]
pub(crate) struct Attempt {
    /// Its place among those that may be under way.
    pub(super) permit: Option<Permit>,
    /// The endpoint that the client is kept with.
    pub(super) stuck: Option<Arc<Endpoint>>,
    current: Option<InFlight>,
    /// Endpoints that it failed at.
    failed: Vec<SocketAddr>,
    tries: u32,
    /// When it was let in, if it had to wait for that.
    pub(super) admitted: Option<Instant>,
    /// When the last try began, and what it took to the head of its answer.
    began: Option<Instant>,
    waited: Option<Duration>,
    is_refused: bool,
    /// The answer's head came; it cannot be tried again.
    is_answered: bool,
}

impl Attempt {
    /// The last try found no connection, which was counted.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused
    }

    /// The endpoint of the last try.
    pub(crate) fn endpoint(&self) -> Option<SocketAddr> {
        self.current.as_ref().map(|c| c.endpoint().address)
    }

    /// Tries after the first one.
    pub(crate) fn retries(&self) -> u32 {
        self.tries.saturating_sub(1)
    }

    /// From the begin of the last try to the head of its answer.
    pub(crate) fn waited(&self) -> Option<Duration> {
        self.waited
    }

    /// From the begin of the request to the one of its last try.
    pub(crate) fn began_after(&self, started: Instant) -> Option<Duration> {
        self.began.map(|began| began.duration_since(started))
    }
}

/// Begins a try: chooses its endpoint, which counts it as under way. None when there is none.
pub(crate) fn begin(edge: &Edge, ctx: &mut Ctx) -> Option<SocketAddr> {
    let rule = ctx.rule.clone()?;
    let (target, _) = target(&rule, ctx)?;
    let attempt = &mut ctx.upstream;
    attempt.current = None;
    let now = || edge.live.now();
    let is_usable = |e: &&Arc<Endpoint>| e.is_in(now()) && !attempt.failed.contains(&e.address);
    let stuck = attempt.stuck.as_ref().filter(is_usable);
    let chosen = stuck.or_else(|| {
        target.choose(&rule.route.policy, &attempt.failed, now, || {
            fastrand::u64(..)
        })
    });
    let endpoint = chosen?;
    let address = endpoint.address;
    let current = InFlight::begin(endpoint);
    attempt.current = Some(current);
    attempt.tries += 1;
    attempt.began = Some(Instant::now());
    attempt.waited = None;
    attempt.is_refused = false;
    if attempt.tries == 1 {
        rule.upstream.state.requests.fetch_add(1, Ordering::Relaxed);
    }
    Some(address)
}

/// What a connection for a request may be shared with: others of the same group.
pub(crate) fn group(ctx: &Ctx) -> Option<u64> {
    let rule = ctx.rule.as_ref()?;
    target(rule, ctx).map(|(target, _)| target.group)
}

/// Chooses the endpoint for a try, and describes the connection to it.
///
/// # Errors
/// The service has none, or its TLS cannot be used.
pub(crate) fn peer(edge: &Edge, session: &Session, ctx: &mut Ctx) -> Result<Box<HttpPeer>> {
    let nowhere = || Error::new(ErrorType::HTTPStatus(502));
    let address = begin(edge, ctx).ok_or_else(nowhere)?;
    let rule = ctx.rule.as_ref().ok_or_else(nowhere)?;
    let (target, spec) = target(rule, ctx).ok_or_else(nowhere)?;
    let head = session.req_header();
    let host = match &target.tls {
        Some(_) => request::host(head).and_then(cara_routes::host::normalize),
        None => None,
    };
    let peer = peer::build(
        address,
        &spec.protocol,
        target.tls.as_deref(),
        host.as_deref().unwrap_or_default(),
        target.group,
        times(edge, &rule.route.policy, ctx.is_stream),
        head.headers.contains_key(http::header::UPGRADE),
    );
    peer.map(Box::new).ok_or_else(nowhere)
}

fn target<'a>(
    rule: &'a LiveRule,
    ctx: &Ctx,
) -> Option<(&'a Target, &'a cara_api::gateway::Target)> {
    let target = rule.upstream.targets.get(ctx.target)?;
    let spec = super::targets(&rule.route).get(ctx.target)?;
    Some((target, spec))
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
    ctx.upstream.is_refused = true;
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
    let is_answered = ctx.upstream.is_answered;
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
    ctx.upstream.waited = ctx.upstream.began.map(|began| began.elapsed());
    if matches!(status, 502..=504) {
        note_failure(edge, ctx, false);
        if is_tried_again(edge, ctx, Failure::Status(status), shape) {
            return true;
        }
    } else if let Some(current) = &ctx.upstream.current {
        current.endpoint().succeeded(|| edge.live.now());
    }
    ctx.upstream.is_answered = true;
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
    Ok(())
}

/// Adds to an answer what keeps the client with its endpoint.
///
/// # Errors
/// The cookie is no header's value; cannot happen for a rule that was checked.
pub(crate) fn finish(ctx: &Ctx, answer: &mut ResponseHeader) -> Result<()> {
    let (Some(rule), Some(current)) = (&ctx.rule, &ctx.upstream.current) else {
        return Ok(());
    };
    let Some(wanted) = &rule.route.policy.sticky else {
        return Ok(());
    };
    let endpoint = current.endpoint();
    let is_kept = ctx.upstream.stuck.as_ref();
    if is_kept.is_some_and(|stuck| Arc::ptr_eq(stuck, endpoint)) {
        return Ok(());
    }
    let Some(token) = sticky::token_of(&rule.upstream, ctx.target, endpoint) else {
        return Ok(());
    };
    let cookie = cara_routes::sticky::set_cookie(
        &wanted.cookie,
        &token,
        &rule.route.path,
        wanted.max_age,
        ctx.is_tls,
    );
    match HeaderValue::try_from(cookie) {
        Ok(cookie) => answer
            .append_header(http::header::SET_COOKIE, cookie)
            .map(drop),
        Err(_) => Ok(()),
    }
}

fn note_failure(edge: &Edge, ctx: &mut Ctx, is_refusal: bool) {
    let Some(rule) = ctx.rule.clone() else { return };
    let Some((target, _)) = target(&rule, ctx) else {
        return;
    };
    let Some(current) = &ctx.upstream.current else {
        return;
    };
    let endpoint = current.endpoint();
    let now = edge.live.now();
    let fleet = Fleet {
        total: target.endpoints.len(),
        out: target.endpoints.iter().filter(|e| !e.is_in(now)).count(),
    };
    let outlier = rule.route.policy.outlier.as_ref();
    if endpoint.failed(outlier, is_refusal, fleet, now) {
        edge.metrics.ejections.inc();
        tracing::warn!(
            project = rule.route.project,
            ingress = rule.route.ingress,
            endpoint = %endpoint.address,
            "an endpoint failed too often and is left out"
        );
    }
    let address = endpoint.address;
    ctx.upstream.failed.push(address);
}

fn is_tried_again(edge: &Edge, ctx: &Ctx, failure: Failure, shape: impl FnOnce() -> Shape) -> bool {
    let Some(rule) = &ctx.rule else { return false };
    let Some((target, _)) = target(rule, ctx) else {
        return false;
    };
    let policy = &rule.route.policy;
    let failed = &ctx.upstream.failed;
    let progress = Progress {
        tries: ctx.upstream.tries,
        elapsed: ctx.upstream.admitted.unwrap_or(ctx.started).elapsed(),
        limit: response_limit(edge, policy),
        has_other_endpoint: target
            .endpoints
            .iter()
            .any(|e| !failed.contains(&e.address)),
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
