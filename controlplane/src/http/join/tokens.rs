//! Join tokens: made, shown once, listed and deleted. Those that ended go by themselves
//! ([`crate::access::sweep`]).

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use cara_api::join::{
    IssuedJoinToken, JoinRole, JoinToken, JoinTokenInfo, JoinTokenList, NewJoinToken,
};
use cara_api::secret::Hidden;
use cara_store::WriteError;
use jiff::SignedDuration;
use ring::rand::SecureRandom;

use super::{App, hash, hex, read, wanted_name};
use crate::audit::{Caller, Verb};
use crate::config::{ApiConfig, ApiTls};
use crate::http::failure::Failure;
use crate::http::objects::TRIES;
use crate::http::policy::under;
use crate::http::rehearse::Writing;
use crate::http::view::now;
use crate::plan::admission::StoredToken;
use crate::repo;
use crate::vault::NoRandomness;

/// How long a token can be used unless something else is asked for, in seconds.
const TTL_DEFAULT: u64 = 3_600;
/// How long it can be used at most, in seconds.
const TTL_MAX: u64 = 7 * 24 * 3_600;

/// Where nodes reach the server, as far as it knows.
fn server_url(api: &ApiConfig) -> Option<String> {
    if api.tls == ApiTls::Off {
        return None;
    }
    let ip = api.address.ip();
    let host = match api.names.first() {
        Some(name) => match name.parse::<IpAddr>() {
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            Ok(IpAddr::V4(_)) | Err(_) => name.clone(),
        },
        None if ip.is_unspecified() => return None,
        None if ip.is_ipv6() => format!("[{ip}]"),
        None => ip.to_string(),
    };
    Some(format!("https://{host}:{}", api.address.port()))
}

/// Makes a token that lets one node in, once.
#[utoipa::path(post, path = "/api/v1/join-tokens", tag = "nodes", request_body = NewJoinToken,
    responses((status = 201, body = IssuedJoinToken), (status = 400, body = cara_api::Problem)))]
pub(in crate::http) async fn create_token(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<(StatusCode, Json<IssuedJoinToken>), Failure> {
    app.must_be_live()?;
    let api = &app.shared.config.api;
    if api.tls == ApiTls::Off {
        return Err(Failure::conflict(
            "this server has no TLS, so that nodes need no token to reach it: start it with --api-tls internal",
        ));
    }
    let asked: NewJoinToken = read(body).await?;
    let ttl = asked.ttl_seconds.unwrap_or(TTL_DEFAULT);
    if ttl == 0 || ttl > TTL_MAX {
        let message = format!("ttlSeconds: {ttl} is not valid: give 1 to {TTL_MAX} seconds");
        return Err(Failure::bad_request(message));
    }
    let node = asked.node.as_deref().map(wanted_name).transpose()?;
    let time = now();
    let token = JoinToken {
        authority: app.shared.authority.fingerprint().to_string(),
        id: random::<8>()?,
        secret: Hidden::new(random::<32>()?),
    };
    let stored = StoredToken {
        id: token.id.clone(),
        secret_hash: hash(token.secret.reveal()),
        node,
        created_at: time,
        expires_at: time + SignedDuration::from_secs(i64::try_from(ttl).unwrap_or(i64::MAX)),
        used: None,
    };
    let key = repo::join_token_key(&token.id).ok_or_else(|| Failure::internal(NoRandomness))?;
    app.commit_for_caller(repo::create_join_token(key, &stored))
        .await?;
    app.audit_named(&by, Verb::Create, "JoinToken", &token.id);
    let answer = IssuedJoinToken {
        id: token.id.clone(),
        token: token.to_text(),
        role: JoinRole::Agent,
        node: stored.node.map(|node| node.to_string()),
        expires_at: stored.expires_at,
        server: server_url(api),
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

/// Lists the tokens that there are, without their secrets.
#[utoipa::path(get, path = "/api/v1/join-tokens", tag = "nodes",
    responses((status = 200, body = JoinTokenList, description = "By their ends; those that ended a day ago are gone")))]
pub(in crate::http) async fn list_tokens(
    State(app): State<App>,
) -> Result<Json<JoinTokenList>, Failure> {
    app.must_be_live()?;
    let listing = app.list_stored(repo::join_tokens()).await?;
    let tokens = listing.entries.iter().map(repo::decode_join_token);
    let tokens: Vec<StoredToken> = tokens
        .collect::<Result<_, _>>()
        .map_err(Failure::internal)?;
    let mut items: Vec<JoinTokenInfo> = tokens.into_iter().map(info).collect();
    items.sort_by(|a, b| (a.expires_at, &a.id).cmp(&(b.expires_at, &b.id)));
    Ok(Json(JoinTokenList { items }))
}

fn info(token: StoredToken) -> JoinTokenInfo {
    let used = token.used;
    JoinTokenInfo {
        id: token.id,
        node: token.node.map(|node| node.to_string()),
        created_at: token.created_at,
        expires_at: token.expires_at,
        used_at: used.as_ref().map(|used| used.at),
        used_by: used.map(|used| used.node.to_string()),
    }
}

/// Deletes a token: it lets nobody in. A node that it let in stays.
#[utoipa::path(delete, path = "/api/v1/join-tokens/{id}", tag = "nodes", params(("id" = String, Path)),
    responses((status = 204, description = "Gone"), (status = 404, body = cara_api::Problem)))]
pub(in crate::http) async fn delete_token(
    Writing(app): Writing,
    Path(id): Path<String>,
    by: Caller,
) -> Result<StatusCode, Failure> {
    app.must_be_live()?;
    for _ in 0..TRIES {
        let Some(entry) = app.stored_token(&id).await? else {
            return Err(Failure::missing(format!("join token not found: {id}")));
        };
        let batch = under(repo::delete_join_token(&entry), &app.of_caller()?);
        match app.commit(batch).await {
            Ok(_) => {
                app.audit_named(&by, Verb::Delete, "JoinToken", &id);
                tracing::info!(token = %id, "join token deleted");
                return Ok(StatusCode::NO_CONTENT);
            }
            // A node was let in by it at this moment, or the caller is being changed.
            Err(WriteError::Conflict { .. }) => app.catch_up().await?,
            Err(error) => return Err(error.into()),
        }
    }
    Err(Failure::unavailable(
        "the join token is being used by others at the same time: try again",
    ))
}

fn random<const N: usize>() -> Result<String, Failure> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::internal(NoRandomness))?;
    Ok(hex(&bytes))
}
