//! Join tokens: made, shown once, and removed when nobody can use them any more.

use std::net::IpAddr;

use axum::Json;
use axum::body::Body;
use axum::http::StatusCode;
use cara_api::Timestamp;
use cara_api::join::{IssuedJoinToken, JoinRole, JoinToken, NewJoinToken};
use cara_api::secret::Hidden;
use cara_store::WriteError;
use jiff::SignedDuration;
use ring::rand::SecureRandom;

use super::{App, hash, hex, read, wanted_name};
use crate::audit::{Caller, Verb};
use crate::config::{ApiConfig, ApiTls};
use crate::http::failure::Failure;
use crate::http::rehearse::Writing;
use crate::http::view::now;
use crate::plan::admission::StoredToken;
use crate::repo;
use crate::vault::NoRandomness;

/// How long a token can be used unless something else is asked for, in seconds.
const TTL_DEFAULT: u64 = 3_600;
/// How long it can be used at most, in seconds.
const TTL_MAX: u64 = 7 * 24 * 3_600;
/// Tokens that ended longer ago than this are removed.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

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
    app.sweep_tokens(time).await?;
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

impl App {
    /// Removes tokens that nobody can use any more.
    async fn sweep_tokens(&self, time: Timestamp) -> Result<(), Failure> {
        let listing = self.list_stored(repo::join_tokens()).await?;
        for entry in &listing.entries {
            let token = repo::decode_join_token(entry);
            let is_over = token.is_ok_and(|token| time.duration_since(token.expires_at) > KEPT);
            if is_over {
                match self.commit(repo::delete_join_token(entry)).await {
                    Ok(_) | Err(WriteError::Conflict { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

fn random<const N: usize>() -> Result<String, Failure> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Failure::internal(NoRandomness))?;
    Ok(hex(&bytes))
}
