//! What becomes of a request before any service sees it, step by step, and of a service's answer.
//!
//! The order is part of what users rely on: a certificate's challenge before everything, a
//! redirect to HTTPS before secrets are asked for, maintenance before access, access before
//! limits that cost memory. Each step is a function that stops the request or lets it go on; the
//! decisions are pure, in modules of their own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cara_api::gateway::{Action, ClientAuthorities, Policy};
use cara_routes::rate::{Rate, Verdict};
use http::{HeaderName, HeaderValue, StatusCode, header};
use ipnet::IpNet;
use pingora_error::Error;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::Session;

use super::look_up::{Found, look_up};
use super::misdirected::{is_misdirected, lacks_certificate};
use super::{admit, challenge, decorate};
use crate::access::{self, Asker};
use crate::answer::{Reply, Stop};
use crate::ctx::{Ctx, RateShown};
use crate::edge::Edge;
use crate::filter::{compress, head, target};
use crate::limit::Who;
use crate::listen::client::client_info;
use crate::listen::names::has_asked;
use crate::live::LiveRule;
use crate::pages::Answer;
use crate::request;

/// Takes a request through all steps. When it goes on, `ctx` names the rule.
///
/// # Errors
/// What the client gets instead.
pub(crate) async fn request(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    #[cfg(test)]
    crate::panic_tests::panic_at(session.req_header().uri.path());
    head::check(session.req_header(), || session.as_downstream().to_h1_raw())?;
    challenge::check(edge, session, ctx)?;
    if is_misdirected(session, &edge.names) {
        return Err(Answer::Misdirected.into());
    }
    edge.access
        .own(&edge.live, session.req_header(), ctx.is_tls)
        .await?;
    let Found { rule, clients } = look_up(&edge.live, session.req_header())?;
    ctx.rule = Some(Arc::clone(&rule));
    redirect_to_https(edge, session.req_header(), ctx, &rule)?;
    certificate(edge, session, clients.as_ref())?;
    maintenance(&rule.route.policy, ctx.client)?;
    preflight(session.req_header(), &rule)?;
    enter(edge, session, ctx).await?;
    limits(edge, session.req_header(), ctx, &rule)?;
    admit::admit(edge, session, ctx).await?;
    let Some(newest) = &ctx.rule else {
        return Ok(());
    };
    if ctx.upstream.has_waited() {
        // The same may not hold any more, of the rule or of its host.
        let Found { clients, .. } = look_up(&edge.live, session.req_header())?;
        certificate(edge, session, clients.as_ref())?;
        if is_misdirected(session, &edge.names) {
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
    drop_nominated(answer);
    decorate::answer(answer, ctx, &asked.headers)?;
    let Some(rule) = &ctx.rule else { return Ok(()) };
    rule.filters.response_headers.apply_to_response(answer)?;
    if rule.route.policy.compression {
        ctx.compression = compress::begin(asked, answer)?.map(Box::new);
    }
    Ok(())
}

/// Takes off what an answer's `Connection` names, which ends at this hop (RFC 9110 section 7.6.1).
fn drop_nominated(answer: &mut ResponseHeader) {
    let lines = answer.headers.get_all(header::CONNECTION).iter();
    let tokens = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    // What upgrades a connection is named there too; what says where a body ends never ends here.
    let stay = [
        header::UPGRADE,
        header::CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::DATE,
    ];
    let nominated: Vec<HeaderName> = tokens
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !stay.contains(name))
        .collect();
    for name in nominated {
        answer.remove_header(&name);
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

/// Lets a request come in by the access settings of its rule.
async fn enter(edge: &Edge, session: &mut Session, ctx: &mut Ctx) -> Result<(), Stop> {
    let Some(rule) = ctx.rule.clone() else {
        return Ok(());
    };
    let access = &rule.route.policy.access;
    if !access.allow.is_empty() || access.broken.is_some() || access.asks_who() {
        let asker = Asker {
            head: session.req_header(),
            client: ctx.client,
            is_tls: ctx.is_tls,
        };
        let keys = edge.live.table().state().keys.clone();
        let admitted = Box::pin(edge.access.enter(asker, &rule.route, &keys)).await?;
        ctx.admitted = Some(Box::new(admitted));
    }
    // From here on nobody needs it, whoever came in and by which rule: neither the service, nor
    // a rewritten path or a redirect that is made of this one.
    access::cut_link(session.req_header_mut());
    Ok(())
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
