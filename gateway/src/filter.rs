//! What becomes of a request before any service sees it, step by step.
//!
//! The order is part of what users rely on: a certificate's challenge before everything, a
//! redirect to HTTPS before secrets are asked for, maintenance before access, access before
//! limits that cost memory. Each step is a function that stops the request or lets it go on; the
//! decisions are pure, in modules of their own.

pub(crate) mod challenge;
pub(crate) mod compress;
pub(crate) mod cors;
pub(crate) mod decorate;
mod head;
pub(crate) mod rules;
pub(crate) mod target;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cara_api::gateway::{Action, ClientAuthorities, Policy};
use cara_routes::rate::{Rate, Verdict};
use http::{HeaderValue, StatusCode, header};
use ipnet::IpNet;
use pingora_error::Error;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use crate::access;
use crate::answer::{Reply, Stop};
use crate::ctx::{Ctx, RateShown};
use crate::edge::Edge;
use crate::limit::Who;
use crate::listen::client::{client_info, is_misdirected, lacks_certificate};
use crate::listen::names::has_asked;
use crate::live::LiveRule;
use crate::pages::Answer;
use crate::{request, upstream};

/// Takes a request through all steps. When it goes on, `ctx` names the rule.
///
/// # Errors
/// What the client gets instead.
pub(crate) async fn request(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    head::check(session.req_header(), || session.as_downstream().to_h1_raw())?;
    challenge::check(edge, session, ctx)?;
    if is_misdirected(session, &edge.names) {
        return Err(Answer::Misdirected.into());
    }
    access::own(edge, session, ctx).await?;
    let Found { rule, clients } = look_up(edge, session.req_header())?;
    ctx.rule = Some(Arc::clone(&rule));
    redirect_to_https(edge, session.req_header(), ctx, &rule)?;
    certificate(edge, session, clients.as_ref())?;
    maintenance(&rule.route.policy, ctx.client)?;
    preflight(session.req_header(), &rule)?;
    access::check(edge, session, ctx).await?;
    limits(edge, session.req_header(), ctx, &rule)?;
    hold(edge, session, ctx).await?;
    let Some(newest) = &ctx.rule else {
        return Ok(());
    };
    if !Arc::ptr_eq(newest, &rule) {
        // The same may not hold any more for a request that waited.
        if is_misdirected(session, &edge.names) || lacks_certificate(session, &edge.names) {
            return Err(Answer::Misdirected.into());
        }
        maintenance(&newest.route.policy, ctx.client)?;
    }
    action(session.req_header(), newest)
}

/// Changes a service's answer on its way to the client.
///
/// # Errors
/// There are more headers than a message can have, or no memory to compress.
pub(crate) fn response(
    asked: &RequestHeader,
    answer: &mut ResponseHeader,
    ctx: &mut Ctx,
) -> Result<(), Box<Error>> {
    decorate::answer(answer, ctx, &asked.headers)?;
    let Some(rule) = &ctx.rule else { return Ok(()) };
    rule.filters.response_headers.apply_to_response(answer)?;
    if rule.route.policy.compression {
        ctx.compression = compress::begin(asked, answer)?.map(Box::new);
    }
    Ok(())
}

/// The rule that takes a request.
pub(crate) fn find(edge: &Edge, head: &RequestHeader) -> Result<Arc<LiveRule>, Answer> {
    look_up(edge, head).map(|found| found.rule)
}

/// What takes a request, all from one table.
struct Found {
    rule: Arc<LiveRule>,
    /// Who must vouch for clients of the host.
    clients: Option<ClientAuthorities>,
}

fn look_up(edge: &Edge, head: &RequestHeader) -> Result<Found, Answer> {
    let host = request::host(head).ok_or(Answer::BadHost)?;
    let host = cara_routes::host::normalize(host).ok_or(Answer::BadHost)?;
    let path = cara_routes::path::normalize(head.uri.path()).ok_or(Answer::BadPath)?;
    let table = edge.live.table();
    match table.find(&host) {
        Some(found) => match found.rule(&path, &head.headers) {
            Some(rule) if found.is_ambiguous(rule, &path, &head.headers) => Err(Answer::BadPath),
            Some(rule) => Ok(Found {
                rule: Arc::clone(rule),
                clients: found.clients().cloned(),
            }),
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

fn redirect_to_https(
    edge: &Edge,
    head: &RequestHeader,
    ctx: &Ctx,
    rule: &LiveRule,
) -> Result<(), Stop> {
    if ctx.is_tls || !rule.route.policy.redirect_https {
        return Ok(());
    }
    let Some(port) = edge.config.https_port else {
        return Ok(());
    };
    let host = request::host(head).and_then(cara_routes::host::normalize);
    let host = host.ok_or(Answer::BadHost)?;
    let to = target::https(&host, port, &head.uri);
    Err(redirect(&to, StatusCode::PERMANENT_REDIRECT)?.into())
}

/// An answer that sends a client elsewhere.
fn redirect(to: &str, status: StatusCode) -> Result<Reply, Answer> {
    let location = HeaderValue::from_bytes(to.as_bytes()).map_err(|_| Answer::BadRequest)?;
    Ok(Reply {
        status,
        headers: vec![(header::LOCATION, location)],
        body: Bytes::new(),
    })
}

/// What a host asks of clients, by the table that the rule was found in: names may be of another
/// state.
fn certificate(
    edge: &Edge,
    session: &Session,
    clients: Option<&ClientAuthorities>,
) -> Result<(), Answer> {
    let tls = client_info(session).and_then(|client| client.tls.as_ref());
    if clients.is_some_and(|wanted| !has_asked(tls, wanted))
        || lacks_certificate(session, &edge.names)
    {
        return Err(Answer::Misdirected);
    }
    Ok(())
}

fn maintenance(policy: &Policy, client: Option<IpAddr>) -> Result<(), Answer> {
    match &policy.maintenance {
        Some(maintenance) if !is_within(&maintenance.allow, client) => Err(Answer::Maintenance {
            message: maintenance.message.clone(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn is_within(networks: &[IpNet], client: Option<IpAddr>) -> bool {
    let client = client.map(|address| address.to_canonical());
    client.is_some_and(|address| networks.iter().any(|network| network.contains(&address)))
}

/// A preflight carries no credentials, so it is answered before they are asked for.
fn preflight(head: &RequestHeader, rule: &LiveRule) -> Result<(), Stop> {
    let granted = rule
        .filters
        .cors
        .as_ref()
        .and_then(|policy| policy.preflight(&head.method, &head.headers));
    match granted {
        None => Ok(()),
        Some(granted) => Err(Reply {
            status: StatusCode::NO_CONTENT,
            headers: granted.set,
            body: Bytes::new(),
        }
        .into()),
    }
}

/// Size of the body, as far as it is known, and rates.
fn limits(edge: &Edge, head: &RequestHeader, ctx: &mut Ctx, rule: &LiveRule) -> Result<(), Answer> {
    if let Some(limit) = rule.route.policy.body {
        let length = head.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|l| l.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > limit.bytes) {
            let limit = Some(limit.bytes);
            return Err(Answer::BodyTooLarge { limit });
        }
    }
    let rules = &rule.filters;
    let now = ctx.started;
    if let Some(rate) = &rules.per_client {
        take(edge, ctx, rule.key, Who::client(ctx.client), rate, now)?;
    }
    if let Some(rate) = &rules.total {
        take(edge, ctx, rule.key, Who::All, rate, now)?;
    }
    Ok(())
}

fn take(
    edge: &Edge,
    ctx: &mut Ctx,
    rule: u64,
    who: Who,
    rate: &Rate,
    now: Instant,
) -> Result<(), Answer> {
    let shown = |remaining, reset| RateShown {
        limit: rate.burst(),
        remaining,
        reset_s: seconds(reset),
    };
    match edge.limiter.check(rule, who, rate, now) {
        Verdict::Allowed {
            remaining, reset, ..
        } => {
            // What a client is told is about itself: others are not its business.
            if who != Who::All {
                ctx.rate = Some(shown(remaining, reset));
            }
            Ok(())
        }
        Verdict::Denied { retry_after } => {
            ctx.rate = Some(shown(0, retry_after));
            Err(Answer::TooManyRequests {
                retry_after_s: seconds(retry_after),
            })
        }
    }
}

/// Whole seconds, at least one.
fn seconds(duration: Duration) -> u32 {
    let whole = duration.as_secs() + u64::from(duration.subsec_nanos() > 0);
    u32::try_from(whole.max(1)).unwrap_or(u32::MAX)
}

/// Choice of the target, pause, and the queue before a service that is busy.
async fn hold(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    upstream::admit(edge, session, ctx).await
}

/// Rules that need no service answer here.
fn action(head: &RequestHeader, rule: &LiveRule) -> Result<(), Stop> {
    match &rule.route.action {
        Action::Forward(_) => Ok(()),
        Action::Redirect(to) => {
            let status = StatusCode::from_u16(to.status).ok();
            let status = status.filter(|s| s.is_redirection());
            let status = status.unwrap_or(StatusCode::PERMANENT_REDIRECT);
            Err(redirect(&target::location(to, &head.uri), status)?.into())
        }
        Action::Respond(fixed) => {
            let status = StatusCode::from_u16(fixed.status).unwrap_or(StatusCode::OK);
            let kind = HeaderValue::from_str(&fixed.content_type);
            let headers = kind.map(|kind| vec![(header::CONTENT_TYPE, kind)]);
            Err(Reply {
                status,
                headers: headers.unwrap_or_default(),
                body: Bytes::copy_from_slice(fixed.body.as_bytes()),
            }
            .into())
        }
    }
}
