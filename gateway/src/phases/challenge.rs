//! Answers to HTTP-01 challenges (RFC 8555 section 8.3).

use cara_api::paths;
use http::{HeaderValue, StatusCode, header};
use pingora_proxy::Session;

use crate::answer::{Reply, Stop};
use crate::ctx::Ctx;
use crate::edge::Edge;

/// Where an authority looks.
pub(crate) const PREFIX: &str = paths::GATEWAY_CHALLENGE;

/// Answers a challenge that this installation waits for, for any host. Others go on: a service
/// may obtain certificates of its own.
pub(crate) fn check(edge: &Edge, session: &Session, ctx: &Ctx) -> Result<(), Stop> {
    if ctx.is_tls {
        return Ok(());
    }
    let Some(token) = session.req_header().uri.path().strip_prefix(PREFIX) else {
        return Ok(());
    };
    let table = edge.live.table();
    match table.state().challenges.get(token) {
        Some(authorization) => Err(reply(authorization).into()),
        None => Ok(()),
    }
}

fn reply(authorization: &str) -> Reply {
    let plain = HeaderValue::from_static("application/octet-stream");
    Reply {
        status: StatusCode::OK,
        headers: vec![
            (header::CONTENT_TYPE, plain),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ],
        body: authorization.to_owned().into(),
    }
}
