//! Who the caller is, how people log in, and the end of a login.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::access::login::LoginInfo;
use cara_api::access::{TokenOrigin, WhoAmI};

use super::App;
use super::cookies::Cookie;
use super::failure::Failure;
use super::guard::Asker;
use super::objects;
use super::rehearse::Writing;
use crate::audit::{Caller, Verb};
use crate::config::LoginConfig;
use crate::plan::access::Identity;
use crate::plan::admission::Auth;
use crate::repo::{self, StoredToken};

/// Says who the server takes the caller for.
#[utoipa::path(get, path = "/api/v1/whoami", tag = "access", responses((status = 200, body = WhoAmI)))]
pub(super) async fn whoami(State(app): State<App>, Asker(who): Asker) -> Json<WhoAmI> {
    let mut answer = WhoAmI {
        actor: who.actor(),
        authenticated: app.shared.config.api.auth == Auth::On,
        ..WhoAmI::default()
    };
    if let Identity::Bearer(bearer) = &*who {
        answer.token = bearer.token.to_string();
        answer.grants.clone_from(&bearer.rights.grants);
        answer.within = bearer.rights.within.clone().unwrap_or_default();
        answer.expires_at = app.shared.cache.read(|state| {
            let token = state.access().tokens().get(bearer.token.as_str())?;
            token.status.expires_at
        });
    }
    Json(answer)
}

/// Says how people log in.
#[utoipa::path(get, path = "/api/v1/login", tag = "access", responses((status = 200, body = LoginInfo)))]
pub(super) async fn login(State(app): State<App>) -> Json<LoginInfo> {
    let login = app.shared.config.access.login.as_ref();
    Json(LoginInfo {
        required: app.shared.config.api.auth == Auth::On,
        issuer: login.map(|login| login.issuer.clone()).unwrap_or_default(),
    })
}

/// Revokes the token that the request shows, if a login gave it. One that somebody created stays:
/// others may use it.
#[utoipa::path(post, path = "/api/v1/logout", tag = "access",
    responses((status = 204, description = "The token is not known any more, or was no login's")))]
pub(super) async fn logout(
    Writing(app): Writing,
    Asker(who): Asker,
    by: Caller,
) -> Result<Response, Failure> {
    if let Identity::Bearer(bearer) = &*who {
        let name = bearer.token.as_str();
        let token = objects::current::<StoredToken>(&app, name)?;
        let is_of_login = matches!(
            token.status.origin,
            TokenOrigin::Login | TokenOrigin::Federation
        );
        if is_of_login {
            let deleted = objects::delete(&app, name, None, |old: &StoredToken| {
                Ok(repo::delete_token(old))
            });
            let old = deleted.await?;
            app.audit_operations::<StoredToken>(&by, Verb::Logout, &old.metadata, Vec::new());
        }
    }
    let login = app.shared.config.access.login.as_ref();
    let forget = Cookie::Session.set(login.is_some_and(LoginConfig::is_https), "", 0);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, forget)]).into_response())
}
