//! What is told about a plain request once it has ended.

use std::time::Duration;

use super::request::Request;
use crate::access_log::Line;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::listen::client::ClientInfo;
use crate::phases::observe;
use crate::trace::Parent;

/// A plain request that ended.
pub(super) struct Plain<'a> {
    pub(super) request: &'a Request<'a>,
    pub(super) info: &'a ClientInfo,
    /// As logs name it.
    pub(super) protocol: &'static str,
    /// 0 when no answer was sent.
    pub(super) status: u16,
    /// Of the answer's body.
    pub(super) bytes: usize,
}

/// Tells everybody who wants to know about it.
pub(super) fn ended(edge: &Edge, ctx: &Ctx, plain: &Plain<'_>) {
    let state = || std::str::from_utf8(plain.request.trace.state?).ok();
    edge.metrics.plain.inc();
    let what = (plain.info.listener, plain.status);
    observe::tell(edge, ctx, what, state, |duration| {
        line(ctx, plain, duration)
    });
}

fn line<'a>(ctx: &'a Ctx, plain: &Plain<'a>, duration: Duration) -> Line<'a> {
    let request = plain.request;
    let trace = match ctx.trace {
        Some(trace) => Some(trace.id()),
        None => request
            .trace
            .parent
            .and_then(Parent::parse)
            .map(|p| p.trace),
    };
    Line {
        method: request.method,
        host: request.host,
        path: request.target,
        status: plain.status,
        bytes: plain.bytes,
        bytes_in: usize::try_from(request.body_bytes).unwrap_or(usize::MAX),
        listener: plain.info.listener.label(),
        tls: plain.info.tls.as_ref().map_or("", |tls| tls.version),
        protocol: plain.protocol,
        user_agent: request.user_agent,
        referer: request.referer,
        trace,
        ..observe::of(ctx, duration)
    }
}
