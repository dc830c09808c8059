//! Logins: by a device, by a browser, and by a token of another issuer. Each ends with a token that is
//! good for a short time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cara_api::access::login::{DeviceAnswer, DeviceLogin, DevicePoll, Exchange, Session};
use cara_api::access::{Grant, TokenOrigin, TokenSpec, TokenStatus, validate as rules};
use cara_api::secret::Hidden;
use cara_api::signing::Secret;
use cara_api::{ObjectMeta, Timestamp, Token, paths, schema};
use cara_store::WriteError;

use super::App;
use super::cookies::{Cookie, cookie};
use super::extract::{document, sound};
use super::failure::Failure;
use super::objects::{self, NotCreated};
use super::rehearse::Writing;
use super::tokens::{Made, end_after, operations};
use super::view::{begin, now};
use crate::access::login::{Fault, Logins, Polled, life, shown};
use crate::audit::{Caller, Verb};
use crate::config::LoginConfig;
use crate::plan::access::limit::Shown;
use crate::plan::access::mapping::{self, Claims, Mark};
use crate::repo::{self, Person, StoredToken};

impl Failure {
    fn login(fault: &Fault) -> Self {
        let text = fault.to_string();
        match fault {
            Fault::None | Fault::NoDevices(_) => Self::conflict(text),
            Fault::Silent(_) | Fault::Full => Self::unavailable(text),
            Fault::Crowded(wait_s) => Self::crowded(text, Duration::from_secs(*wait_s)),
            Fault::Stale => Self::bad_request(text),
            Fault::Declined | Fault::Refused(_) | Fault::Token(_) | Fault::NoRule => {
                Self::forbidden(text)
            }
        }
    }
}

impl App {
    fn login_config(&self) -> Result<&LoginConfig, Failure> {
        let login = self.shared.config.access.login.as_ref();
        login.ok_or_else(|| Failure::login(&Fault::None))
    }

    fn signing_secret(&self) -> Result<Secret, Failure> {
        let secret = self.shared.keys.signing.as_ref().map(Secret::parse);
        match secret {
            Some(Ok(secret)) => Ok(secret),
            Some(Err(_)) | None => Err(Failure::unavailable("the server has no key to sign with")),
        }
    }

    /// Counts that a login begins: each costs the login service something. 429 for an address that
    /// began too many.
    fn may_begin(&self, by: &Caller) -> Result<(), Failure> {
        let begun = self.shared.access.begin(address(by));
        begun.map_err(Failure::too_many_logins)
    }

    /// The answer for a fault, which counts as an attempt when it is the caller's.
    fn failed(&self, by: &Caller, what: Shown, fault: &Fault) -> Failure {
        let counted = match fault {
            Fault::Silent(_) | Fault::None | Fault::Crowded(_) | Fault::Full => Ok(()),
            Fault::NoDevices(_)
            | Fault::Stale
            | Fault::Declined
            | Fault::Refused(_)
            | Fault::Token(_)
            | Fault::NoRule => self.shared.access.fail(address(by), what),
        };
        if let Err(wait) = counted {
            return Failure::too_many(wait);
        }
        tracing::warn!(remote = ?by.remote, why = %fault, "a login failed");
        Failure::login(fault)
    }

    /// Tells of a login, and gives what it ends with.
    fn entered(&self, by: &Caller, stored: &StoredToken, value: Hidden) -> Session {
        let (metadata, status) = (&stored.metadata, &stored.status);
        let by = Caller {
            actor: status.subject.clone(),
            token: Some(metadata.name.clone()),
            ..by.clone()
        };
        self.audit_operations::<Token>(&by, Verb::Login, metadata, operations(stored));
        tracing::info!(actor = %status.subject, token = %metadata.name, "logged in");
        Session {
            value,
            actor: status.subject.clone(),
            expires_at: status.expires_at.unwrap_or_default(),
        }
    }

    /// A token for a person with these claims; 403 when they may do nothing. From now on the tokens that
    /// they made for themselves go by these claims, too: who has no role is forgotten.
    async fn let_person_in(
        &self,
        by: &Caller,
        config: &LoginConfig,
        claims: &Claims,
    ) -> Result<Session, Failure> {
        let (sub, subject) = mapping::sub(claims)
            .zip(mapping::subject(claims))
            .ok_or_else(|| Failure::forbidden("the login service does not say who you are"))?;
        let id = repo::person_id(&config.issuer, sub);
        let marks = mapping::marks(claims, &config.roles);
        let grants = mapping::grants_of(&marks, &config.roles);
        if grants.is_empty() {
            self.forget(&id).await?;
            return Err(Failure::forbidden(format!(
                "{subject} has no role here: ask an administrator to give one to a claim of yours (login-roles)"
            )));
        }
        for _ in 0..objects::TRIES {
            let before = self.known_person(&id);
            let login = Login {
                subject: subject.clone(),
                grants: grants.clone(),
                life: life(config),
                origin: TokenOrigin::Login,
                person: Some(id.clone()),
            };
            let (stored, value) = login.made().ready(self)?;
            // Together, so that nobody removes a person who has just got a token.
            let batch = repo::create_token(&stored);
            let person = person(config, (&id, &subject), &marks, before.as_deref());
            let batch = repo::with_person(batch, &person, before.as_deref());
            match objects::create_unless_taken(self, stored, batch).await {
                Ok(stored) => return Ok(self.entered(by, &stored, value)),
                // They log in twice at once, or were removed.
                Err(NotCreated::Taken(_)) => self.catch_up().await?,
                Err(NotCreated::Failed(failure)) => return Err(failure),
            }
        }
        Err(busy())
    }

    fn known_person(&self, id: &str) -> Option<Arc<Person>> {
        let cache = &self.shared.cache;
        cache.read(|state| state.access().person(id).cloned())
    }

    /// Removes somebody who has no role any more; with that, their tokens count no more.
    async fn forget(&self, id: &str) -> Result<(), Failure> {
        // They may have become known at another server just now.
        self.catch_up().await?;
        for _ in 0..objects::TRIES {
            let Some(before) = self.known_person(id) else {
                return Ok(());
            };
            match self.commit(repo::delete_person(&before)).await {
                Ok(_) => return Ok(()),
                Err(WriteError::Conflict { .. }) => self.catch_up().await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(busy())
    }
}

fn busy() -> Failure {
    Failure::unavailable("you log in several times at once: try again")
}

/// What a login says of somebody.
fn person(
    config: &LoginConfig,
    (id, subject): (&str, &str),
    marks: &[Mark],
    before: Option<&Person>,
) -> Person {
    let mut metadata = ObjectMeta {
        name: id.to_owned(),
        ..ObjectMeta::default()
    };
    match before {
        Some(before) => metadata.clone_from(&before.metadata),
        None => begin(&mut metadata),
    }
    metadata.updated_at = Some(now());
    Person {
        metadata,
        issuer: config.issuer.clone(),
        subject: subject.to_owned(),
        marks: marks.to_vec(),
    }
}

/// Who logged in, and what they get.
struct Login {
    subject: String,
    grants: Vec<Grant>,
    life: Duration,
    origin: TokenOrigin,
    /// The person, if they are one.
    person: Option<String>,
}

impl Login {
    /// The token that it ends with.
    fn made(self) -> Made {
        let id = uuid::Uuid::now_v7().simple();
        Made {
            token: Token {
                metadata: ObjectMeta {
                    name: format!("login-{id}"),
                    ..ObjectMeta::default()
                },
                spec: TokenSpec {
                    grants: self.grants,
                    ..TokenSpec::default()
                },
                ..Token::default()
            },
            status: TokenStatus {
                origin: self.origin,
                expires_at: Some(end_after(self.life)),
                subject: self.subject.clone(),
                created_by: self.subject,
                ..TokenStatus::default()
            },
            person: self.person,
        }
    }
}

/// Begins a login by a device.
#[utoipa::path(post, path = "/api/v1/login/device", tag = "access",
    responses((status = 200, body = DeviceLogin), (status = 409, body = cara_api::Problem, description = "There is no login service, or it has none of devices"),
        (status = 429, body = cara_api::Problem)))]
pub(super) async fn device(
    State(app): State<App>,
    by: Caller,
) -> Result<Json<DeviceLogin>, Failure> {
    let config = app.login_config()?;
    app.may_begin(&by)?;
    let secret = app.signing_secret()?;
    let logins = &app.shared.logins;
    let at = (address(&by), Timestamp::now());
    let begun = logins.begin_device(config, &secret, at).await;
    begun.map(Json).map_err(|fault| Failure::login(&fault))
}

/// Asks whether a login by a device is complete.
#[utoipa::path(post, path = "/api/v1/login/device/token", tag = "access", request_body = DevicePoll,
    responses((status = 200, body = DeviceAnswer, description = "With a token, or with how long to wait before asking again"),
        (status = 400, body = cara_api::Problem), (status = 403, body = cara_api::Problem),
        (status = 429, body = cara_api::Problem)))]
pub(super) async fn device_token(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let config = app.login_config()?;
    let (poll, _) = sound(
        document::<DevicePoll>(body, &schema::DEVICE_POLL).await?,
        vec![],
    )?;
    let secret = app.signing_secret()?;
    let logins = &app.shared.logins;
    let at = (address(&by), Timestamp::now());
    let polled = logins.poll_device(config, &secret, &poll.handle, at);
    let answer = match polled.await {
        Ok(Polled::Pending { retry_after_s }) => DeviceAnswer {
            retry_after_s,
            session: None,
        },
        Ok(Polled::Complete(claims)) => DeviceAnswer {
            retry_after_s: 0,
            session: Some(app.let_person_in(&by, config, &claims).await?),
        },
        Err(fault) => return Err(app.failed(&by, shown(&poll.handle), &fault)),
    };
    Ok(private(Json(answer)))
}

/// Exchanges a token of another issuer by a federation rule.
#[utoipa::path(post, path = "/api/v1/login/federation", tag = "access", request_body = Exchange,
    responses((status = 200, body = Session), (status = 403, body = cara_api::Problem),
        (status = 429, body = cara_api::Problem)))]
pub(super) async fn federation(
    Writing(app): Writing,
    by: Caller,
    body: Body,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let (wish, _) = sound(document::<Exchange>(body, &schema::EXCHANGE).await?, vec![])?;
    let known: Vec<_> = app.shared.cache.read(|state| {
        let rules = state.access().federations().values();
        let meant = |name: &str| wish.rule.is_empty() || wish.rule == name;
        rules
            .filter(|rule| meant(&rule.metadata.name))
            .cloned()
            .collect()
    });
    let exchanged = app
        .shared
        .logins
        .exchange(&known, wish.token.reveal())
        .await;
    // Held against the rules whatever failed before: a job's good token is let in.
    let what = || shown(wish.token.reveal());
    let (rule, claims) = exchanged.map_err(|fault| app.failed(&by, what(), &fault))?;
    let life = rules::federation_life(&rule).map_err(|fault| Failure::invalid(&[fault]))?;
    let name = &rule.metadata.name;
    let subject = mapping::subject(&claims).unwrap_or_default();
    let login = Login {
        subject: format!("federation:{name}:{subject}"),
        grants: rule.spec.grants.clone(),
        life,
        origin: TokenOrigin::Federation,
        person: None,
    };
    let (stored, value) = login.made().store(&app).await?;
    let session = app.entered(&by, &stored, value);
    Ok(private(Json(session)))
}

/// Where a request came from.
fn address(by: &Caller) -> IpAddr {
    let unknown = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    by.remote.map_or(unknown, |remote| remote.ip())
}

/// An answer that nobody keeps.
fn private(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

fn value<'a>(query: &'a [(String, String)], key: &str) -> &'a str {
    let found = query.iter().find(|(name, _)| name == key);
    found.map(|(_, value)| value.as_str()).unwrap_or_default()
}

/// Sends a browser to the login service.
#[utoipa::path(get, path = "/api/v1/login/browser", tag = "access",
    params(("return" = Option<String>, Query, description = "Path to come back to")),
    responses((status = 303, description = "To the login service"), (status = 409, body = cara_api::Problem)))]
pub(super) async fn browser(
    State(app): State<App>,
    by: Caller,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let config = app.login_config()?;
    app.may_begin(&by)?;
    if config.url.is_empty() {
        return Err(Failure::conflict(
            "this server does not know its own URL, which login services send browsers back to: set login-url",
        ));
    }
    let secret = app.signing_secret()?;
    let random = || cara_api::access::value::generate().map_err(Failure::internal);
    let (id, mark) = (random()?, random()?);
    let back = return_path(value(&query, "return"));
    let parts = (id.reveal(), mark.reveal(), back);
    let logins = &app.shared.logins;
    let url = logins
        .begin_browser(config, &secret, parts, Timestamp::now())
        .await;
    let url = url.map_err(|fault| Failure::login(&fault))?;
    let cookie = Cookie::Login.set(config.is_https(), mark.reveal(), 600);
    redirect(&url, &[cookie])
}

/// Where the login service sends browsers back to.
#[utoipa::path(get, path = "/api/v1/login/callback", tag = "access",
    responses((status = 303, description = "Back to where the browser came from, with a cookie"),
        (status = 400, body = cara_api::Problem), (status = 403, body = cara_api::Problem)))]
pub(super) async fn callback(
    Writing(app): Writing,
    by: Caller,
    headers: HeaderMap,
    Query(query): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    app.must_be_live()?;
    let config = app.login_config()?;
    let state = value(&query, "state");
    let failed = |fault: &Fault| app.failed(&by, shown(state), fault);
    // RFC 9207: the answer of one issuer is none of another.
    let issuer = value(&query, "iss");
    if !issuer.is_empty() && issuer != config.issuer {
        return Err(failed(&Fault::Stale));
    }
    if !value(&query, "error").is_empty() {
        return Err(failed(&Fault::Declined));
    }
    let secret = app.signing_secret()?;
    let is_https = config.is_https();
    let mark = cookie(&headers, Cookie::Login.name(is_https)).unwrap_or_default();
    let returned = Logins::returned(&secret, (state, mark), Timestamp::now());
    let returned = returned.map_err(|fault| failed(&fault))?;
    let what = returned.shown();
    // Each costs the login service a call, and there are as many as logins that began here.
    let tried = app.shared.access.may_show(address(&by), what);
    tried.map_err(Failure::too_many)?;
    let logins = &app.shared.logins;
    let code = value(&query, "code");
    let ended = logins.end_browser(config, &secret, (code, returned)).await;
    let (claims, back) = ended.map_err(|fault| app.failed(&by, what, &fault))?;
    let session = app.let_person_in(&by, config, &claims).await?;
    let life_s = life(config).as_secs();
    let cookies = [
        Cookie::Session.set(is_https, session.value.reveal(), life_s),
        Cookie::Login.set(is_https, "", 0),
    ];
    redirect(&back, &cookies)
}

/// A path on this server, and nothing that a browser takes for another one.
fn return_path(path: &str) -> &str {
    let mut letters = path.chars();
    let is_path = letters.next() == Some('/') && !matches!(letters.next(), Some('/' | '\\'));
    let is_plain = path.len() <= 1_024 && path.bytes().all(|b| b.is_ascii_graphic());
    if is_path && is_plain {
        path
    } else {
        paths::WHOAMI
    }
}

fn redirect(to: &str, cookies: &[String]) -> Result<Response, Failure> {
    let header = |text: &str| HeaderValue::from_str(text).map_err(Failure::internal);
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    headers.insert(header::LOCATION, header(to)?);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for cookie in cookies {
        headers.append(header::SET_COOKIE, header(cookie)?);
    }
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_comes_back_to_this_server() {
        for (path, expected) in [
            ("/api/docs", "/api/docs"),
            ("/", "/"),
            ("//evil.example", paths::WHOAMI),
            ("/\\evil.example", paths::WHOAMI),
            ("https://evil.example", paths::WHOAMI),
            ("/a\r\nb", paths::WHOAMI),
            ("", paths::WHOAMI),
        ] {
            assert_eq!(return_path(path), expected, "{path}");
        }
    }
}
