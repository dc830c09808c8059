//! The steps of a login that the gateway answers itself, under `/.cara/oidc/`.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cara_api::gateway::{Oidc, Route};
use cara_api::paths;
use jiff::Timestamp;
use pingora_http::RequestHeader;
use ring::rand::{SecureRandom, SystemRandom};

use super::cookies::{self, Name};
use super::guard::Guard;
use super::login::{self, Begin, Callback, Exchange, Fault};
use super::place::Place;
use super::reply;
use super::session::{Signers, State};
use crate::answer::{Reply, Stop};
use crate::live::{Live, LiveRule};
use crate::pages::{Answer, Refused};
use crate::request;
use cara_oidc::issuers::IssuerId;

/// Begins every path of the gateway's own.
const OWN: &str = paths::GATEWAY_OWN;

impl Guard {
    /// Answers what is the gateway's own: all of the auth host, where no project may read what
    /// issuers send, and the paths of logins elsewhere. Everything else goes on.
    ///
    /// # Errors
    /// The answer.
    pub(crate) async fn own(
        &self,
        live: &Live,
        head: &RequestHeader,
        is_tls: bool,
    ) -> Result<(), Stop> {
        let path = head.uri.path();
        if !path.starts_with(OWN) && !self.is_auth_host(head) {
            return Ok(());
        }
        let Some(place) = Place::of(head, is_tls) else {
            return Ok(());
        };
        if self.is_auth_host(head) {
            return Err(match path {
                login::CALLBACK => {
                    let done = Box::pin(self.callback(live, head, &place)).await;
                    done.map_or_else(|fault| failed(&fault), Stop::from)
                }
                _ => Answer::UnknownPath { host: place.host }.into(),
            });
        }
        if !has_logins(live, &place) {
            return Ok(());
        }
        match path {
            login::SESSION => Err(match self.begin_session(live, head, &place) {
                Ok(reply) => reply.into(),
                Err(fault) => failed(&fault),
            }),
            login::LOGOUT => Err(log_out(&place)),
            _ => Ok(()),
        }
    }

    /// Whether the gateway may answer a request itself, by its host and path in normal form.
    pub(crate) fn is_own(&self, host: &str, path: &str) -> bool {
        let auth_host = self.config.auth_host.as_ref();
        path.starts_with(OWN) || auth_host.is_some_and(|own| own.as_str() == host)
    }

    /// For every request, so that it copies nothing.
    fn is_auth_host(&self, head: &RequestHeader) -> bool {
        let Some(wanted) = self.config.auth_host.as_ref() else {
            return false;
        };
        let host = request::host(head).and_then(cara_routes::host::normalize);
        host.is_some_and(|host| wanted.as_str() == host)
    }

    /// Sends a browser to the issuer.
    pub(super) async fn log_in(
        &self,
        head: &RequestHeader,
        place: &Place,
        route: &Route,
        signers: Option<&Signers>,
    ) -> Result<Reply, Refused> {
        let missing = || {
            Refused::new(
                503,
                "Logins are not set up",
                "This page asks for a login, for which the gateway lacks a key or a host.",
            )
        };
        let oidc = route.policy.access.oidc.as_ref().ok_or_else(missing)?;
        let auth_host = self.config.auth_host.as_ref().ok_or_else(missing)?;
        let signers = signers.ok_or_else(missing)?;
        let id = IssuerId {
            issuer: oidc.issuer.clone(),
            jwks_url: None,
        };
        let silent = || Refused::new(502, "Login failed", Fault::Issuer.to_string());
        let known = self.issuers.get(&id).await.map_err(|_| silent())?;
        // Kept over several logins at once, in several tabs.
        let kept = cookies::values(&head.headers, Name::Login, place.is_tls).next();
        let browser = match kept.filter(|value| is_ours(value)) {
            Some(kept) => kept.to_owned(),
            None => random::<32>().ok_or_else(missing)?,
        };
        let path = head.uri.path_and_query();
        let begin = Begin {
            oidc,
            route,
            authority: &place.authority,
            is_tls: place.is_tls,
            path: path.map_or("/", http::uri::PathAndQuery::as_str),
            browser: &browser,
            id: random::<16>().ok_or_else(missing)?,
        };
        let state = login::begin(signers, begin, Timestamp::now());
        let callback = login::callback_url(auth_host.as_str(), &place.authority, place.is_tls);
        let to = login::authorize_url(signers, &state, oidc, &known.endpoints, &callback);
        let cookie = cookies::set(Name::Login, &browser, login::LOGIN_S, place.is_tls);
        let reply = to.and_then(|to| reply::redirect(&to, cookie));
        reply.ok_or_else(silent)
    }

    /// The issuer sent the browser back to the auth host.
    async fn callback(
        &self,
        live: &Live,
        head: &RequestHeader,
        place: &Place,
    ) -> Result<Reply, Fault> {
        let keys = live.table().state().keys.clone();
        let keys = self.keyring.signers(&keys).ok_or(Fault::State)?;
        let signers = &keys.1;
        let given = Callback::parse(head.uri.query().unwrap_or_default());
        let state = given.state(signers, Timestamp::now())?;
        let code = given.code(&state)?;
        let rule = find(live, &state).ok_or(Fault::Settings)?;
        let oidc = settings(&rule, &state).ok_or(Fault::Settings)?;
        // The login's own scheme: it is part of what the issuer compares.
        let callback = login::callback_url(&place.host, &state.authority, state.is_tls);
        let exchange = Exchange {
            fetcher: &self.fetcher,
            issuers: &self.issuers,
            signers,
            oidc,
            state: &state,
            callback: &callback,
        };
        let who = login::exchange(exchange, code).await?;
        let to = login::hand_over(signers, &state, oidc, who, Timestamp::now());
        to.and_then(|to| reply::redirect(&to, []))
            .ok_or(Fault::State)
    }

    /// The auth host sent the browser back to where the login began.
    fn begin_session(
        &self,
        live: &Live,
        head: &RequestHeader,
        place: &Place,
    ) -> Result<Reply, Fault> {
        let keys = live.table().state().keys.clone();
        let keys = self.keyring.signers(&keys).ok_or(Fault::State)?;
        let now = Timestamp::now();
        let browsers: Vec<&str> =
            cookies::values(&head.headers, Name::Login, place.is_tls).collect();
        let query = head.uri.query().unwrap_or_default();
        let here = (place.authority.as_str(), place.is_tls);
        let handover = login::receive(&keys.1, query, here, &browsers, now)?;
        if !self.use_up(&handover.id, handover.end, now) {
            return Err(Fault::State);
        }
        let life = handover.login.end.saturating_sub(now.as_second());
        let value = keys.1.login.seal(&handover.login);
        let cookie = cookies::set(Name::Session, &value, life, place.is_tls).ok_or(Fault::State)?;
        // The whole URL: a path such as `//other.example` alone would lead to another host.
        let to = format!("{}{}", place.origin(), handover.path);
        reply::redirect(&to, [cookie]).ok_or(Fault::State)
    }
}

fn has_logins(live: &Live, place: &Place) -> bool {
    let table = live.table();
    let host = table.find(&place.host);
    host.is_some_and(|host| {
        host.rules()
            .any(|rule| rule.route.policy.access.oidc.is_some())
    })
}

fn failed(fault: &Fault) -> Stop {
    let status = match fault {
        Fault::State | Fault::Browser | Fault::Settings => 400,
        Fault::Declined | Fault::Token => 403,
        Fault::Issuer => 502,
    };
    let refused = Refused::new(status, "Login failed", fault.to_string());
    reply::stop(refused, [])
}

/// 32 bytes in base64.
fn is_ours(value: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    value.len() == 43 && value.bytes().all(is_letter)
}

/// Random text for ids and cookies; none when the system gives no random bytes.
fn random<const BYTES: usize>() -> Option<String> {
    let mut bytes = [0; BYTES];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// The rule that a login was begun for, if it is still there.
fn find(live: &Live, state: &State) -> Option<Arc<LiveRule>> {
    let host = cara_routes::host::normalize(&state.authority)?;
    let table = live.table();
    let mut rules = table.find(&host)?.rules();
    let found = rules.find(|rule| {
        let route = &rule.route;
        route.project == state.project
            && route.ingress == state.ingress
            && settings(rule, state).is_some()
    });
    found.map(Arc::clone)
}

fn settings<'a>(rule: &'a LiveRule, state: &State) -> Option<&'a Oidc> {
    let oidc = rule.route.policy.access.oidc.as_ref()?;
    (oidc.issuer == state.issuer && oidc.client_id == state.client).then_some(oidc)
}

fn log_out(place: &Place) -> Stop {
    let refused = Refused::new(
        200,
        "Logged out",
        "You are logged out of this page. You may still be logged in at the login service.",
    );
    let ended = cookies::set(Name::Session, "", 0, place.is_tls);
    let ended = ended.map(|cookie| (http::header::SET_COOKIE, cookie));
    Stop::PageWith(Answer::Refused(refused), ended.into_iter().collect())
}
