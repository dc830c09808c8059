//! The short way for plain requests, past pingora's HTTP layer.
//!
//! ```text
//! connection (h1, h2) -> request (read) -> judge -> exchange (upstream, pool) -> answer, body -> client
//!                           '-- not plain --'---> pingora
//! ```
//!
//! Most requests of most services are plain: nothing that could be read in two ways, a rule that
//! only forwards, to a service that speaks HTTP/1.1. For these an exchange costs a part of what it
//! costs through general-purpose layers (see
//! `docs/adr/0008-a-short-way-for-plain-requests.md`). Everything else goes to pingora: over
//! HTTP/1.1 with the same bytes, and the connection with it from then on; over HTTP/2 each request
//! by itself. Both ways find rules in one table, choose endpoints and judge failures by the same
//! functions, and end in the same logs, metrics and traces.
//!
//! It refuses to know rules that do more than forward, and services that speak other protocols
//! than HTTP/1.1.

mod answer;
mod body;
mod client;
mod coding;
mod ended;
mod exchange;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
pub(crate) mod h1;
pub(crate) mod h2;
mod head;
mod judge;
mod page;
mod passage;
mod pool;
mod request;
mod text;

use std::sync::Arc;

use http::HeaderMap;

use crate::ctx::Ctx;
use crate::deadline::{Ending, LastingWait, MovingDeadline};
use crate::edge::Edge;
use crate::listen::client::ClientInfo;
use crate::live::LiveRule;
use crate::metrics::UnderWay;
use crate::pipe::Pipes;
use crate::trace::Parent;

use client::Client;
use ended::Plain;
use exchange::{End, Exchange, Then};
use request::{Hop, Request, Traces};

pub(crate) use pool::Pool;

/// Head and body of a request together; a larger one is not plain.
const INPUT_MAX: usize = 16 * 1024;
/// Room for what a service is sent: more than most requests need.
const MESSAGE: usize = 2 * 1024;

/// What serves plain requests on one thread.
pub(crate) struct Lane {
    pub(crate) edge: Arc<Edge>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) pipes: Pipes,
    /// Answers from then on are the last of their connections.
    pub(crate) stopping: Arc<Ending>,
    /// Connections that wait for a request from then on are closed.
    pub(crate) closing: Arc<Ending>,
}

impl Lane {
    fn traces(&self) -> Traces {
        if self.edge.tracer.is_on() {
            Traces::Set
        } else {
            Traces::Pass
        }
    }

    /// The state of a request that goes the short way, and that is under way from then on; none
    /// when it does not.
    fn judge(&self, info: &ClientInfo, request: &Request<'_>) -> Option<Ctx> {
        let rule = judge::rule(&self.edge, info, request)?;
        let mut ctx = begin(&self.edge, info, request, rule)?;
        ctx.under_way = Some(UnderWay::begin(&self.edge.metrics));
        #[cfg(test)]
        crate::panic_tests::panic_at(request.target);
        Some(ctx)
    }
}

/// The state of a request by a rule; none when its service is not there.
fn begin(
    edge: &Edge,
    info: &ClientInfo,
    request: &Request<'_>,
    rule: Arc<LiveRule>,
) -> Option<Ctx> {
    let mut ctx = Ctx::new();
    ctx.id = crate::request::id_of(request.id, || fastrand::u128(..));
    ctx.client = Some(info.peer.ip());
    ctx.is_tls = info.tls.is_some();
    ctx.trace = edge.tracer.begin(|| parent(request));
    // Only rules that keep clients look at headers.
    let chosen = ctx.upstream.choose(rule.to_services(), &HeaderMap::new());
    chosen.ok()?;
    ctx.rule = Some(rule);
    Some(ctx)
}

fn parent(request: &Request<'_>) -> Option<Parent> {
    Parent::parse(request.trace.parent?)
}

/// What serves one request.
struct Serving<'a, C> {
    lane: &'a Lane,
    client: &'a mut C,
    deadline: &'a mut MovingDeadline,
    lasting: &'a mut LastingWait,
    info: &'a ClientInfo,
    /// The head for the service, without its end.
    message: &'a mut Vec<u8>,
}

impl<C: Client> Serving<'_, C> {
    /// Serves a request to its end. Tells how its connection goes on.
    async fn serve(self, request: &Request<'_>, body: &[u8], mut ctx: Ctx) -> Then {
        let edge = &self.lane.edge;
        let traceparent = ctx.trace.as_ref().and_then(|trace| trace.header());
        let keeps_state = ctx.trace.as_ref().is_some_and(|trace| trace.has_parent());
        let hop = Hop {
            client: self.info.peer.ip(),
            scheme: if ctx.is_tls { "https" } else { "http" },
            id: ctx.id.as_bytes(),
            traceparent: traceparent.as_ref().map(http::HeaderValue::as_bytes),
            tracestate: request.trace.state.filter(|_| keeps_state),
        };
        request::finish(request, &hop, self.message);
        self.message.extend_from_slice(body);
        let mut exchange = Exchange {
            lane: self.lane,
            client: self.client,
            deadline: self.deadline,
            lasting: self.lasting,
            ends: None,
            request,
            message: self.message,
            ctx: &mut ctx,
            closes: C::ENDS_WITH_ANSWERS && (request.closes || self.lane.stopping.has_come()),
            status: 0,
            body_bytes: 0,
        };
        let outcome = exchange.run().await;
        let (mut status, mut body_bytes) = (exchange.status, exchange.body_bytes);
        let then = match outcome {
            Ok(then) => then,
            Err(End::Gone) => Then::Close,
            Err(End::Broken) => {
                self.client.cut();
                Then::Close
            }
            Err(End::Failed(answer)) => {
                // Whether it got there: the client may be gone.
                let page = page::send(edge, self.client, request, &mut ctx, answer);
                let sent = Box::pin(page).await;
                (status, body_bytes) = sent.unwrap_or((0, 0));
                Then::Close
            }
        };
        let ended = Plain {
            request,
            info: self.info,
            protocol: C::PROTOCOL,
            status,
            bytes: body_bytes,
        };
        ended::ended(edge, &ctx, &ended);
        then
    }
}
