//! What is told about a request once it has ended: counters, its line in the access log, those
//! who look on, and its trace.

use std::time::Duration;

use cara_api::gateway::PathMatch;
use cara_api::tail::About;
use http::{HeaderName, header};
use pingora_proxy::Session;

use crate::access_log::{self, Line};
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::listen::ListenerKind;
use crate::listen::client::client_info;
use crate::metrics::{AnsweredBy, Request};
use crate::request;
use crate::trace::{Ended, Parent};

/// Tells everybody who wants to know about a request that pingora served.
pub(crate) fn ended(edge: &Edge, session: &Session, ctx: &Ctx) {
    let head = session.response_written();
    let status = head.map_or(0, |head| head.status.as_u16());
    let client = client_info(session);
    let listener = client.map_or(ListenerKind::Http, |client| client.listener);
    let state = || {
        let state = session.req_header().headers.get("tracestate");
        state.and_then(|state| state.to_str().ok())
    };
    tell(edge, ctx, (listener, status), state, |duration| {
        line(session, ctx, listener, (status, duration))
    });
}

/// Counts a request, and makes its line if anybody wants it.
pub(crate) fn tell<'a>(
    edge: &Edge,
    ctx: &Ctx,
    (listener, status): (ListenerKind, u16),
    state: impl FnOnce() -> Option<&'a str>,
    line: impl FnOnce(Duration) -> Line<'a>,
) {
    let duration = ctx.started.elapsed();
    edge.metrics.count(&Request {
        listener,
        answered_by: match status {
            0 => AnsweredBy::Nobody,
            _ => ctx.answered_by,
        },
        status,
        duration,
        upstream: ctx.upstream.waited(),
    });
    let rules = &edge.config.log;
    let is_logged = edge.access_log.wants(rules, status, duration);
    let is_watched = edge.tail.is_wanted();
    let trace = ctx.trace.filter(|trace| trace.is_sampled());
    if !(is_logged || is_watched || trace.is_some()) {
        return;
    }
    let line = line(duration);
    if is_logged {
        edge.access_log.put(&line, rules);
    }
    if is_watched {
        let host = cara_routes::host::normalize(line.host).unwrap_or_default();
        let about = About {
            host: &host,
            project: line.project,
            status,
        };
        edge.tail
            .publish(about, || access_log::rendered(&line, rules));
    }
    if let Some(trace) = trace {
        let route = ctx.rule.as_ref().map(|rule| match &rule.route.path {
            PathMatch::Prefix(path) | PathMatch::Exact(path) => path.as_str(),
        });
        edge.tracer.ended(&Ended {
            trace,
            line: &line,
            redact: &rules.redact,
            route,
            upstream_after: ctx.upstream.began_after(ctx.started),
            state: state(),
        });
    }
}

fn line<'a>(
    session: &'a Session,
    ctx: &'a Ctx,
    listener: ListenerKind,
    (status, duration): (u16, Duration),
) -> Line<'a> {
    let head = session.req_header();
    let header = |name: HeaderName| head.headers.get(name).map(|value| value.as_bytes());
    let tls = client_info(session).and_then(|client| client.tls.as_ref());
    let trace = match ctx.trace {
        Some(trace) => Some(trace.id()),
        None => Parent::of(&head.headers).map(|parent| parent.trace),
    };
    Line {
        method: head.method.as_str(),
        host: request::host(head).unwrap_or_default(),
        path: head
            .uri
            .path_and_query()
            .map_or("", http::uri::PathAndQuery::as_str),
        status,
        bytes: session.body_bytes_sent(),
        bytes_in: session.body_bytes_read(),
        listener: listener.label(),
        tls: tls.map_or("", |tls| tls.version),
        protocol: if session.is_http2() { "h2" } else { "h1" },
        user_agent: header(header::USER_AGENT),
        referer: header(header::REFERER),
        trace,
        ..of(ctx, duration)
    }
}

/// What does not depend on the way that the request went.
pub(crate) fn of(ctx: &Ctx, duration: Duration) -> Line<'_> {
    let route = ctx.rule.as_ref().map(|rule| &*rule.route);
    Line {
        time: jiff::Timestamp::now(),
        id: ctx.id(),
        client: ctx.client,
        method: "",
        host: "",
        path: "",
        status: 0,
        bytes: 0,
        bytes_in: 0,
        duration,
        listener: "",
        tls: "",
        protocol: "",
        project: route.map_or("", |route| &route.project),
        ingress: route.map_or("", |route| &route.ingress),
        service: ctx.target().map_or("", |target| &target.service),
        endpoint: ctx.upstream.endpoint(),
        upstream: ctx.upstream.waited(),
        retries: ctx.upstream.retries(),
        user_agent: None,
        referer: None,
        trace: None,
    }
}
