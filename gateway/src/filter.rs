//! What becomes of a request before any service sees it, step by step.
//!
//! The order is part of what users rely on: a certificate's challenge before everything, a
//! redirect to HTTPS before secrets are asked for, maintenance before access, access before
//! limits that cost memory. Each step is a function that stops the request or lets it go on; the
//! decisions are pure, in modules of their own.

mod challenge;

use std::sync::Arc;

use pingora_proxy::Session;

use crate::answer::Stop;
use crate::ctx::Ctx;
use crate::edge::Edge;
use crate::listen::client::is_misdirected;
use crate::live::LiveRule;
use crate::pages::Answer;
use crate::{request, upstream};

/// Takes a request through all steps. When it goes on, `ctx` names the rule.
///
/// # Errors
/// What the client gets instead.
pub(crate) async fn request(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    challenge::check(edge, session, ctx)?;
    if is_misdirected(session, &edge.names) {
        return Err(Answer::Misdirected.into());
    }
    ctx.rule = Some(find(edge, session)?);
    redirect_to_https(session, ctx)?;
    maintenance(session, ctx)?;
    access(edge, session, ctx).await?;
    limits(edge, session, ctx)?;
    hold(edge, session, ctx).await?;
    action(session, ctx)
}

/// The rule that takes the request.
pub(crate) fn find(edge: &Edge, session: &Session) -> Result<Arc<LiveRule>, Answer> {
    let head = session.req_header();
    let host = request::host(head).ok_or(Answer::BadHost)?;
    let host = cara_routes::host::normalize(host).ok_or(Answer::BadHost)?;
    let table = edge.live.table();
    match table.find(&host) {
        Some(found) => match found.rule(head.uri.path(), &head.headers) {
            Some(rule) => Ok(Arc::clone(rule)),
            None => Err(Answer::UnknownPath {
                host: host.into_owned(),
            }),
        },
        None if table.revision().is_zero() => Err(Answer::Starting),
        None => Err(Answer::UnknownHost {
            host: host.into_owned(),
        }),
    }
}

fn redirect_to_https(_session: &Session, _ctx: &Ctx) -> Result<(), Stop> {
    Ok(())
}

fn maintenance(_session: &Session, _ctx: &Ctx) -> Result<(), Stop> {
    Ok(())
}

/// Who may come in.
async fn access(_edge: &Edge, _session: &mut Session, _ctx: &mut Ctx) -> Result<(), Stop> {
    Ok(())
}

fn limits(_edge: &Edge, _session: &Session, _ctx: &Ctx) -> Result<(), Stop> {
    Ok(())
}

/// Choice of the target, pause, and the queue before a service that is busy.
async fn hold(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    upstream::admit(edge, session, ctx).await
}

fn action(_session: &Session, _ctx: &Ctx) -> Result<(), Stop> {
    Ok(())
}
