//! Login by OpenID Connect: authorization code (RFC 6749) with PKCE (RFC 7636), over one host.
//!
//! ```text
//! preview /path                 no session: cookie `login`, signed state -> issuer
//! issuer                        the person logs in                       -> auth host
//! auth host /.cara/oidc/callback  code -> tokens; signed handover        -> preview
//! preview /.cara/oidc/session   handover + cookie `login`: cookie `session` -> /path
//! ```
//!
//! Nothing is kept between the steps, so that any gateway of an installation can take the next
//! one: nonce and code verifier are derived from the state's random id. A login counts only in
//! the browser that began it (cookie `login`), so that nobody can log another one in as
//! themselves.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cara_api::gateway::{Oidc, Route};
use cara_api::paths;
use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::session::{Handover, Login, Signers, State};
use super::who::Who;
use cara_oidc::fetch::{ClientAuth, Fetcher};
use cara_oidc::issuers::{Endpoints, IssuerId, Issuers};
use cara_oidc::jwt::{self, Claims};

/// Where issuers send browsers to, on the auth host.
pub(super) const CALLBACK: &str = paths::GATEWAY_LOGIN_CALLBACK;
/// Where the auth host sends them to, on the preview's host.
pub(super) const SESSION: &str = paths::GATEWAY_SESSION;
/// Ends a session.
pub(super) const LOGOUT: &str = paths::GATEWAY_LOGOUT;
/// How long a person may take to log in, in seconds.
pub(super) const LOGIN_S: i64 = 600;
/// How long a handover counts, in seconds.
const HANDOVER_S: i64 = 60;
/// Longest path that a login comes back to, in bytes; a longer one comes back to `/`.
const PATH_MAX: usize = 1_024;
/// Bytes of names of groups that a session keeps: a cookie has 4,096.
const GROUPS_MAX: usize = 1_200;
/// Longest name or address that a session keeps, in bytes.
const NAME_MAX: usize = 320;

/// Why a login ends without a session. The texts are for the person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("This login has expired, or it is not one of ours. Go back to the page and try again.")]
    State,
    #[error("The login was not completed.")]
    Declined,
    #[error(
        "The login was begun in another browser, or too long ago. Go back to the page and try again."
    )]
    Browser,
    #[error("The page that the login was for has changed. Go back to it and try again.")]
    Settings,
    #[error("The login service does not answer, or not as it should. Try again in a little while.")]
    Issuer,
    #[error("What the login service says about you does not hold.")]
    Token,
}

/// Where a login begins.
pub(super) struct Begin<'a> {
    pub(super) oidc: &'a Oidc,
    pub(super) route: &'a Route,
    /// With the port, if the client named one.
    pub(super) authority: &'a str,
    pub(super) is_tls: bool,
    /// Path and query.
    pub(super) path: &'a str,
    /// Value of the cookie that the browser has or gets.
    pub(super) browser: &'a str,
    /// Random, new for each login.
    pub(super) id: String,
}

/// The state of a login that begins now.
pub(super) fn begin(signers: &Signers, begin: Begin<'_>, now: Timestamp) -> State {
    State {
        id: begin.id,
        authority: begin.authority.to_owned(),
        is_tls: begin.is_tls,
        path: return_path(begin.path).to_owned(),
        project: begin.route.project.clone(),
        ingress: begin.route.ingress.clone(),
        issuer: begin.oidc.issuer.clone(),
        client: begin.oidc.client_id.clone(),
        browser: signers.browser.tag_text(begin.browser.as_bytes()),
        end: now.as_second() + LOGIN_S,
    }
}

/// Where to come back to: never to the login itself.
fn return_path(path: &str) -> &str {
    let is_usable =
        path.starts_with('/') && !path.starts_with(paths::GATEWAY_OWN) && path.len() <= PATH_MAX;
    if is_usable { path } else { "/" }
}

/// The issuer's URL that a login begins with.
pub(super) fn authorize_url(
    signers: &Signers,
    state: &State,
    oidc: &Oidc,
    endpoints: &Endpoints,
    callback: &str,
) -> Option<String> {
    let mut url = Url::parse(&endpoints.authorization_endpoint).ok()?;
    if !matches!(url.scheme(), "https" | "http") {
        return None;
    }
    let scopes = oidc.scopes.join(" ");
    let scopes = if scopes.is_empty() { "openid" } else { &scopes };
    let challenge = digest(&SHA256, verifier(signers, &state.id).as_bytes());
    url.query_pairs_mut()
        .append_pair("response_type", "code")
        .append_pair("client_id", &oidc.client_id)
        .append_pair("redirect_uri", callback)
        .append_pair("scope", scopes)
        .append_pair("state", &signers.state.seal(state))
        .append_pair("nonce", &nonce(signers, &state.id))
        .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge))
        .append_pair("code_challenge_method", "S256");
    Some(url.into())
}

fn verifier(signers: &Signers, id: &str) -> String {
    signers.verifier.tag_text(id.as_bytes())
}

fn nonce(signers: &Signers, id: &str) -> String {
    signers.nonce.tag_text(id.as_bytes())
}

/// The callback on the auth host, with the port that the client uses.
pub(super) fn callback_url(auth_host: &str, authority: &str, is_tls: bool) -> String {
    let scheme = scheme(is_tls);
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
        .map_or_else(String::new, |(_, port)| format!(":{port}"));
    format!("{scheme}://{auth_host}{port}{CALLBACK}")
}

fn scheme(is_tls: bool) -> &'static str {
    if is_tls { "https" } else { "http" }
}

/// What an issuer sends with the browser.
#[derive(Default)]
pub(super) struct Callback {
    code: Option<String>,
    state: Option<String>,
    error: Option<String>,
    issuer: Option<String>,
}

/// Without what it carries: whoever has a code can log in with it.
impl fmt::Debug for Callback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Callback").finish_non_exhaustive()
    }
}

impl Callback {
    pub(super) fn parse(query: &str) -> Self {
        let mut callback = Self::default();
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            let place = match &*name {
                "code" => &mut callback.code,
                "state" => &mut callback.state,
                "error" => &mut callback.error,
                "iss" => &mut callback.issuer,
                _ => continue,
            };
            *place = Some(value.into_owned());
        }
        callback
    }

    /// The state, if it is ours and has not expired.
    pub(super) fn state(&self, signers: &Signers, now: Timestamp) -> Result<State, Fault> {
        let state: Option<State> = self.state.as_deref().and_then(|s| signers.state.open(s));
        state
            .filter(|state| now.as_second() < state.end)
            .ok_or(Fault::State)
    }

    /// The code, if the issuer of the login sent it (RFC 9207 section 2.4).
    pub(super) fn code(&self, state: &State) -> Result<&str, Fault> {
        if self.issuer.as_ref().is_some_and(|i| *i != state.issuer) {
            return Err(Fault::State);
        }
        if self.error.is_some() {
            return Err(Fault::Declined);
        }
        self.code.as_deref().ok_or(Fault::State)
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

/// What the exchange of a code needs.
pub(super) struct Exchange<'a> {
    pub(super) fetcher: &'a Fetcher,
    pub(super) issuers: &'a Issuers,
    pub(super) signers: &'a Signers,
    pub(super) oidc: &'a Oidc,
    pub(super) state: &'a State,
    pub(super) callback: &'a str,
}

/// Exchanges a code for what the issuer says of the person. Each call has its deadline; not
/// cancel-safe: a code counts once.
///
/// # Errors
/// [`Fault::Issuer`] and [`Fault::Token`].
pub(super) async fn exchange(with: Exchange<'_>, code: &str) -> Result<Who, Fault> {
    let Exchange {
        oidc,
        state,
        signers,
        ..
    } = with;
    let id = IssuerId {
        issuer: oidc.issuer.clone(),
        jwks_url: None,
    };
    let known = with.issuers.get(&id).await.map_err(|_| Fault::Issuer)?;
    let verifier = verifier(signers, &state.id);
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", with.callback),
        ("client_id", &oidc.client_id),
        ("code_verifier", &verifier),
    ];
    let in_form = known.endpoints.wants_secret_in_form();
    let auth = match &oidc.client_secret {
        Some(secret) if in_form => {
            form.push(("client_secret", secret.reveal()));
            ClientAuth::None
        }
        Some(secret) => ClientAuth::Basic(&oidc.client_id, secret),
        None => ClientAuth::None,
    };
    let answer = with
        .fetcher
        .post(&known.endpoints.token_endpoint, &form, auth);
    let answer = answer.await.map_err(|error| {
        tracing::warn!(issuer = %oidc.issuer, error = %error, "cannot exchange a login's code");
        Fault::Issuer
    })?;
    let tokens: Tokens = serde_json::from_slice(&answer.body).map_err(|_| Fault::Issuer)?;
    let audiences = [oidc.client_id.clone()];
    let verified = with.issuers.verify(&id, &tokens.id_token, &audiences).await;
    let mut claims = verified.map_err(|refused| {
        tracing::warn!(issuer = %oidc.issuer, refused = ?refused, "an id token is refused");
        Fault::Token
    })?;
    check_id_token(&claims, &nonce(signers, &state.id), &oidc.client_id)?;
    if is_lacking(&claims, oidc) {
        complete(&with, &known.endpoints, &tokens, &mut claims).await;
    }
    who(&claims, oidc).ok_or(Fault::Token)
}

/// What is particular to tokens of logins (OpenID Connect Core section 3.1.3.7).
fn check_id_token(claims: &Claims, nonce: &str, client: &str) -> Result<(), Fault> {
    // Both are public to the person: no need for constant time.
    let is_ours = jwt::text(claims, "nonce") == Some(nonce);
    let party = jwt::text(claims, "azp");
    let is_for_many = jwt::texts(claims, "aud").len() > 1;
    let is_party = party.map_or(!is_for_many, |party| party == client);
    if is_ours && is_party {
        Ok(())
    } else {
        Err(Fault::Token)
    }
}

fn is_lacking(claims: &Claims, oidc: &Oidc) -> bool {
    let has = |name| claims.contains_key(name);
    let wants_email = oidc.scopes.iter().any(|s| s == "email") || !oidc.emails.is_empty();
    (wants_email && !has("email")) || (!oidc.groups.is_empty() && !has("groups"))
}

/// Asks for the claims that the token lacks (OpenID Connect Core section 5.3).
async fn complete(
    with: &Exchange<'_>,
    endpoints: &Endpoints,
    tokens: &Tokens,
    claims: &mut Claims,
) {
    let (Some(url), Some(token)) = (&endpoints.userinfo_endpoint, &tokens.access_token) else {
        return;
    };
    let Ok(answer) = with.fetcher.get(url, Some(token)).await else {
        return;
    };
    let Ok(Value::Object(more)) = serde_json::from_slice(&answer.body) else {
        return;
    };
    // Section 5.3.2: else it may be somebody else's.
    if more.get("sub").is_none() || more.get("sub") != claims.get("sub") {
        return;
    }
    for name in ["email", "email_verified", "groups"] {
        if let (false, Some(value)) = (claims.contains_key(name), more.get(name)) {
            claims.insert(name.to_owned(), value.clone());
        }
    }
}

/// The person; none without a subject. An address that the issuer did not verify is none.
fn who(claims: &Claims, oidc: &Oidc) -> Option<Who> {
    let is_short = |text: &&str| text.len() <= NAME_MAX;
    let user = jwt::text(claims, "sub").filter(is_short)?;
    let is_verified = match claims.get("email_verified") {
        None | Some(Value::Bool(true)) => true,
        Some(Value::String(text)) => text == "true",
        Some(_) => false,
    };
    let email = jwt::text(claims, "email").filter(|email| is_verified && is_short(email));
    let mut groups = jwt::texts(claims, "groups");
    // Those that decide come first, in case not all fit.
    groups.sort_by_key(|group| !oidc.groups.contains(group));
    let mut room = GROUPS_MAX;
    groups.retain(|group| {
        let fits = group.len() + 3 <= room;
        room = room.saturating_sub(group.len() + 3);
        fits
    });
    Some(Who {
        user: user.to_owned(),
        email: email.map(str::to_owned),
        groups,
    })
}

/// The URL that takes a login back to where it began.
pub(super) fn hand_over(
    signers: &Signers,
    state: &State,
    oidc: &Oidc,
    who: Who,
    now: Timestamp,
) -> Option<String> {
    let now = now.as_second();
    let life = i64::try_from(oidc.session.as_secs()).unwrap_or(i64::MAX);
    let host = cara_routes::host::normalize(&state.authority)?.into_owned();
    let handover = Handover {
        id: state.id.clone(),
        authority: state.authority.clone(),
        is_tls: state.is_tls,
        path: state.path.clone(),
        browser: state.browser.clone(),
        login: Login {
            host,
            issuer: state.issuer.clone(),
            client: state.client.clone(),
            who,
            begin: now,
            end: now.saturating_add(life),
        },
        end: now + HANDOVER_S,
    };
    let origin = origin(&state.authority, state.is_tls);
    let token = signers.handover.seal(&handover);
    Some(format!("{origin}{SESSION}?token={token}"))
}

pub(super) fn origin(authority: &str, is_tls: bool) -> String {
    format!("{}://{authority}", scheme(is_tls))
}

/// The handover of a request, if it is for this host, this browser and this moment.
pub(super) fn receive(
    signers: &Signers,
    query: &str,
    at: (&str, bool),
    browsers: &[&str],
    now: Timestamp,
) -> Result<Handover, Fault> {
    let mut pairs = url::form_urlencoded::parse(query.as_bytes());
    let token = pairs
        .find(|(name, _)| name == "token")
        .ok_or(Fault::State)?;
    let handover: Handover = signers.handover.open(&token.1).ok_or(Fault::State)?;
    let (authority, is_tls) = at;
    let is_here = handover.authority == authority && handover.is_tls == is_tls;
    if !is_here || handover.end <= now.as_second() {
        return Err(Fault::State);
    }
    let is_browser = |cookie: &&str| {
        signers
            .browser
            .verify_text(cookie.as_bytes(), &handover.browser)
    };
    if !browsers.iter().any(is_browser) {
        return Err(Fault::Browser);
    }
    Ok(handover)
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
