//! What a request waits for before it is forwarded: the end of a pause, and its turn.

use std::sync::Arc;
use std::time::Duration;

use cara_api::gateway::{InFlight, Pause};
use pingora_error::ErrorType;
use pingora_proxy::Session;
use prometheus::IntGauge;
use tokio::time::Instant;

use super::look_up::look_up;
use crate::answer::Stop;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::live::LiveRule;
use crate::pages::Answer;
use crate::upstream::Permit;

/// Holds a request while its rule is paused, chooses its service, and lets it in when it is its
/// turn. What it waited behind may have changed the rule: it goes on by the newest one.
///
/// # Errors
/// What the client gets instead.
pub(super) async fn admit(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let Some(mut rule) = ctx.rule.clone() else {
        return Ok(());
    };
    if rule.route.policy.pause.is_some() {
        rule = Box::pin(hold(edge, session, rule)).await?;
        ctx.upstream.let_in(Instant::now().into_std());
        ctx.rule = Some(Arc::clone(&rule));
    }
    if rule.to_services().targets().is_empty() {
        return Ok(());
    }
    choose(session, ctx, &rule)?;
    if let Some(limit) = rule.route.policy.in_flight {
        let entered = rule.upstream.try_enter();
        let is_waiting = entered.is_none();
        let permit = match entered {
            Some(permit) => permit,
            None => Box::pin(queue(edge, session, &rule, limit)).await?,
        };
        ctx.upstream.keep(permit);
        if is_waiting {
            ctx.upstream.let_in(Instant::now().into_std());
            rule = newest(edge, session, &rule)?;
            ctx.rule = Some(Arc::clone(&rule));
            choose(session, ctx, &rule)?;
        }
    }
    Ok(())
}

fn choose(session: &Session, ctx: &mut Ctx, rule: &LiveRule) -> Result<(), Stop> {
    let headers = &session.req_header().headers;
    Ok(ctx.upstream.choose(rule.to_services(), headers)?)
}

/// Holds a request until its rule has no pause. Cancel-safe.
async fn hold(
    edge: &Edge,
    session: &mut Session,
    first: Arc<LiveRule>,
) -> Result<Arc<LiveRule>, Stop> {
    let limit = first.route.policy.pause.map_or(0, |p| p.max_requests);
    let _held = first.upstream.hold(limit).ok_or(Answer::Paused)?;
    let _counted = Counted::begin(&edge.metrics.held);
    let started = Instant::now();
    let mut rule = Arc::clone(&first);
    while let Some(Pause { max_wait, .. }) = rule.route.policy.pause {
        // Listens before it looks, so that no change is missed.
        let watched = Arc::clone(&rule);
        let changed = watched.upstream.changed();
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
) -> Result<Permit, Stop> {
    let patience: Duration = limit.timeout;
    let _counted = Counted::begin(&edge.metrics.queued);
    let entered = tokio::select! {
        entered = rule.upstream.enter(limit.queue, patience) => entered,
        () = gone(session) => None,
    };
    if let Some(permit) = entered {
        return Ok(permit);
    }
    edge.metrics.overloads.inc();
    Err(Answer::Overloaded.into())
}

/// The rule that takes the request now. One that asks more of clients than the one by which the
/// request was let in must see the whole request: it has to come again.
fn newest(edge: &Edge, session: &Session, old: &LiveRule) -> Result<Arc<LiveRule>, Stop> {
    let rule = look_up(&edge.live, session.req_header())?.rule;
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
