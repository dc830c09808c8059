//! What a request waits for before it is forwarded: the end of a pause, and its turn.

use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::{Backend, InFlight, Pause};
use http::HeaderMap;
use pingora_error::ErrorType;
use pingora_proxy::Session;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::gate::{Permit, Waiting};
use super::{Upstream, sticky, targets};
use crate::answer::Stop;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::filter;
use crate::live::LiveRule;
use crate::pages::Answer;

/// Holds a request while its rule is paused, chooses its service, and lets it in when it is its
/// turn. What it waited behind may have changed the rule: it goes on by the newest one.
///
/// # Errors
/// What the client gets instead.
pub(crate) async fn admit(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let Some(mut rule) = ctx.rule.clone() else {
        return Ok(());
    };
    if rule.route.policy.pause.is_some() {
        rule = Box::pin(hold(edge, session, rule)).await?;
        ctx.upstream.admitted = Some(Instant::now().into_std());
        ctx.rule = Some(Arc::clone(&rule));
    }
    if targets(&rule.route).is_empty() {
        return Ok(());
    }
    choose(&session.req_header().headers, ctx, &rule)?;
    if let Some(limit) = rule.route.policy.in_flight {
        let is_waiting = !rule.upstream.state.rest().gate.try_enter();
        if is_waiting {
            Box::pin(queue(edge, session, &rule, limit)).await?;
        }
        ctx.upstream.permit = Some(Permit(Arc::clone(&rule.upstream.state)));
        if is_waiting {
            ctx.upstream.admitted = Some(Instant::now().into_std());
            rule = newest(edge, session, &rule)?;
            ctx.rule = Some(Arc::clone(&rule));
            choose(&session.req_header().headers, ctx, &rule)?;
        }
    }
    Ok(())
}

/// Chooses the service of a rule that forwards.
///
/// # Errors
/// It is not there.
pub(crate) fn choose(headers: &HeaderMap, ctx: &mut Ctx, rule: &LiveRule) -> Result<(), Stop> {
    ctx.upstream.stuck = None;
    ctx.target = 0;
    let targets = targets(&rule.route);
    if rule.route.policy.sticky.is_some()
        && let Some((place, endpoint)) = sticky::find(&rule.upstream, &rule.route, headers)
    {
        ctx.target = place;
        ctx.upstream.stuck = Some(Arc::clone(endpoint));
        return Ok(());
    }
    if targets.len() > 1 {
        let ready = targets.iter().map(|target| match target.backend {
            Backend::Ready { .. } => target.weight,
            Backend::Unavailable { .. } => 0,
        });
        let draw = fastrand::u64(..);
        let all = || cara_routes::weights::choose(targets.iter().map(|t| t.weight), draw);
        let place = cara_routes::weights::choose(ready, draw).or_else(all);
        ctx.target = place.unwrap_or(0);
    }
    let target = targets.get(ctx.target);
    match target.and_then(|target| Answer::for_backend(&target.backend)) {
        None => Ok(()),
        Some(answer) => Err(answer.into()),
    }
}

/// Holds a request until its rule has no pause. Cancel-safe.
async fn hold(
    edge: &Edge,
    session: &mut Session,
    first: Arc<LiveRule>,
) -> Result<Arc<LiveRule>, Stop> {
    let upstream: &Upstream = &first.upstream;
    let limit = first.route.policy.pause.map_or(0, |p| p.max_requests);
    let _held = Waiting::begin(&upstream.state.rest().held, limit).ok_or(Answer::Paused)?;
    let _counted = Counted::begin(&edge.metrics.held);
    let started = Instant::now();
    let mut rule = Arc::clone(&first);
    while let Some(Pause { max_wait, .. }) = rule.route.policy.pause {
        // Listens before it looks, so that no change is missed.
        let state = Arc::clone(&rule.upstream.state);
        let changed = state.rest().changed.notified();
        tokio::pin!(changed);
        changed.as_mut().enable();
        rule = newest(edge, session, &rule)?;
        if rule.route.policy.pause.is_none() {
            break;
        }
        tokio::select! {
            () = changed => {}
            () = gone(session) => return Err(Stop::from(Answer::Paused)),
            () = tokio::time::sleep_until(started + max_wait) => {
                return Err(Answer::Paused.into());
            }
        }
    }
    Ok(rule)
}

/// One more in a gauge, until it is dropped.
struct Counted<'a>(&'a IntGauge);

impl<'a> Counted<'a> {
    fn begin(gauge: &'a IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Waits for its turn. Cancel-safe.
async fn queue(
    edge: &Edge,
    session: &mut Session,
    rule: &LiveRule,
    limit: InFlight,
) -> Result<(), Stop> {
    let patience: Duration = limit.timeout;
    let gate = &rule.upstream.state.rest().gate;
    let _counted = Counted::begin(&edge.metrics.queued);
    let entered = tokio::select! {
        entered = gate.enter(limit.queue, patience) => entered.is_ok(),
        () = gone(session) => false,
    };
    if entered {
        return Ok(());
    }
    edge.metrics.overloads.inc();
    Err(Answer::Overloaded.into())
}

/// The rule that takes the request now. One that asks more of clients than the one by which the
/// request was let in must see the whole request: it has to come again.
fn newest(edge: &Edge, session: &Session, old: &LiveRule) -> Result<Arc<LiveRule>, Stop> {
    let rule = filter::find(edge, session.req_header())?;
    if rule.route.policy.access != old.route.policy.access {
        return Err(Answer::Paused.into());
    }
    Ok(rule)
}

/// Ends when the client goes away. Over HTTP/1 that shows only when its body was read.
async fn gone(session: &mut Session) {
    let downstream = session.as_mut();
    if let Some(closed) = downstream.watch_h2_stream_close() {
        // However it ends, nobody waits any more.
        let _ = closed.await;
        return;
    }
    if downstream.is_body_empty()
        && let Err(error) = downstream.read_body_or_idle(true).await
    {
        if *error.etype() != ErrorType::ConnectError {
            return;
        }
        // The client is there: it has sent its next request already, of which the first byte is
        // lost now. So this answer is the last one here, and what else comes must not fail it:
        // pingora leaves it alone when it may be one more request.
        downstream.set_keepalive(None);
        downstream.set_pipelining_enabled(true);
    }
    std::future::pending().await
}
