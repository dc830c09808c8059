//! Logins by an issuer of OpenID Connect: of devices (RFC 8628), of browsers (authorization code with
//! PKCE), and of jobs that have a token of another issuer.
//!
//! ```text
//! device:  begin -> code for a person, handle -> poll ... -> claims
//! browser: begin -> issuer -> callback (state, cookie, code) -> claims
//! job:     token of a rule's issuer -> claims that fit the rule
//! ```
//!
//! Nothing is kept between the steps: handles and states are signed. Refuses to know about HTTP on
//! the side of the API, and about tokens: it ends with claims.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use cara_api::access::login::DeviceLogin;
use cara_api::signing::{Secret, Signer};
use cara_api::{Federation, Timestamp};
use cara_oidc::fetch::{Answer, ClientAuth, Fetcher};
use cara_oidc::issuers::{Endpoints, IssuerId, Issuers, Known, Refused};
use cara_oidc::jwt;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::config::LoginConfig;
use crate::plan::access::mapping::{Claims, fits};

/// How long a person may take to log in by a browser, in seconds.
const LOGIN_S: i64 = 600;
/// Longest time for a login of a device, in seconds.
const DEVICE_MAX_S: u64 = 1_800;
/// Pause between polls unless the issuer says so (RFC 8628 section 3.2), in seconds.
const INTERVAL_S: u64 = 5;
/// How much longer the pause becomes when the issuer asks for it (section 3.5), in seconds.
const SLOWER_S: u64 = 5;
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Rules that a token is held against.
const RULES_MAX: usize = 20;

/// Why a login ends without claims. The texts go to whoever logs in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    #[error("this server has no login service: show a token instead, or set login-issuer")]
    None,
    #[error("the login service {0} does not answer, or not as it should: try again")]
    Silent(String),
    #[error("the login service {0} has no logins of devices: log in with a token")]
    NoDevices(String),
    #[error("this login is not one of ours, or too old: begin again")]
    Stale,
    #[error("the login was declined")]
    Declined,
    #[error("the login service refused it: {0}")]
    Refused(String),
    #[error("what the login service says does not hold: {0}")]
    Token(String),
    #[error(
        "no federation rule takes this token: issuer, audience and claims must be those of a rule"
    )]
    NoRule,
}

/// What knows issuers.
pub(crate) struct Logins {
    fetcher: Arc<Fetcher>,
    issuers: Issuers,
}

/// A login of a device, as its handle carries it.
#[derive(Serialize, Deserialize)]
struct Device {
    code: String,
    interval_s: u64,
    end: i64,
}

/// A login of a browser, as its state carries it.
#[derive(Serialize, Deserialize)]
struct State {
    id: String,
    /// Signature of the browser's cookie.
    browser: String,
    back: String,
    end: i64,
}

/// What a poll found.
pub(crate) enum Polled {
    Pending { retry_after_s: u64 },
    Complete(Claims),
}

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    #[serde(alias = "verification_url")]
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    error: String,
}

/// The keys of logins.
struct Signers {
    device: Signer,
    state: Signer,
    browser: Signer,
    verifier: Signer,
    nonce: Signer,
}

impl Signers {
    fn new(secret: &Secret) -> Self {
        Self {
            device: secret.signer("API login: device"),
            state: secret.signer("API login: state"),
            browser: secret.signer("API login: browser"),
            verifier: secret.signer("API login: verifier"),
            nonce: secret.signer("API login: nonce"),
        }
    }
}

impl Logins {
    /// Trusts these authorities (PEM) beside those of the system.
    pub(crate) fn new(authorities: Option<String>) -> Self {
        let fetcher = Arc::new(Fetcher::new(authorities));
        Self {
            issuers: Issuers::new(Arc::clone(&fetcher)),
            fetcher,
        }
    }

    async fn known(&self, config: &LoginConfig) -> Result<Arc<Known>, Fault> {
        let known = self.issuers.get(&id_of(&config.issuer)).await;
        known.map_err(|_| Fault::Silent(config.issuer.clone()))
    }

    /// Begins a login of a device.
    pub(crate) async fn begin_device(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        now: Timestamp,
    ) -> Result<DeviceLogin, Fault> {
        let known = self.known(config).await?;
        let endpoint = &known.endpoints.device_authorization_endpoint;
        let url = endpoint
            .as_ref()
            .ok_or_else(|| Fault::NoDevices(config.issuer.clone()))?;
        let form = [("scope", config.scopes.as_str())];
        let answer = self.ask(config, &known.endpoints, url, &form).await?;
        if answer.status != 200 {
            return Err(refused(&answer));
        }
        let begun: Begun = serde_json::from_slice(&answer.body)
            .map_err(|_| Fault::Silent(config.issuer.clone()))?;
        let life_s = begun.expires_in.min(DEVICE_MAX_S);
        let interval_s = begun.interval.unwrap_or(INTERVAL_S).clamp(1, 60);
        let device = Device {
            code: begun.device_code,
            interval_s,
            end: now.as_second() + i64::try_from(life_s).unwrap_or(0),
        };
        Ok(DeviceLogin {
            verification_uri: begun.verification_uri,
            verification_uri_complete: begun.verification_uri_complete.unwrap_or_default(),
            user_code: begun.user_code,
            handle: Signers::new(secret).device.seal(&device),
            interval_s,
            expires_in_s: life_s,
        })
    }

    /// Asks whether a login of a device is complete.
    pub(crate) async fn poll_device(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        handle: &str,
        now: Timestamp,
    ) -> Result<Polled, Fault> {
        let device: Option<Device> = Signers::new(secret).device.open(handle);
        let device = device.filter(|device| now.as_second() < device.end);
        let device = device.ok_or(Fault::Stale)?;
        let known = self.known(config).await?;
        let form = [
            ("grant_type", DEVICE_GRANT),
            ("device_code", device.code.as_str()),
        ];
        let url = &known.endpoints.token_endpoint;
        let answer = self.ask(config, &known.endpoints, url, &form).await?;
        if answer.status == 200 {
            return self
                .claims(config, &answer, None)
                .await
                .map(Polled::Complete);
        }
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        let retry_after_s = match said.error.as_str() {
            "authorization_pending" => device.interval_s,
            "slow_down" => device.interval_s + SLOWER_S,
            "access_denied" => return Err(Fault::Declined),
            "expired_token" => return Err(Fault::Stale),
            _ => return Err(refused(&answer)),
        };
        Ok(Polled::Pending { retry_after_s })
    }

    /// Where a browser goes to log in. `browser` is the value of its cookie, `id` is random.
    pub(crate) async fn begin_browser(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        (id, browser, back): (&str, &str, &str),
        now: Timestamp,
    ) -> Result<String, Fault> {
        let known = self.known(config).await?;
        let signers = Signers::new(secret);
        let state = State {
            id: id.to_owned(),
            browser: signers.browser.tag_text(browser.as_bytes()),
            back: back.to_owned(),
            end: now.as_second() + LOGIN_S,
        };
        let silent = || Fault::Silent(config.issuer.clone());
        let mut url = Url::parse(&known.endpoints.authorization_endpoint).map_err(|_| silent())?;
        let verifier = signers.verifier.tag_text(id.as_bytes());
        let challenge = digest(&SHA256, verifier.as_bytes());
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &config.client_id)
            .append_pair("redirect_uri", &config.callback())
            .append_pair("scope", &config.scopes)
            .append_pair("state", &signers.state.seal(&state))
            .append_pair("nonce", &signers.nonce.tag_text(id.as_bytes()))
            .append_pair("code_challenge", &BASE64_URL_SAFE_NO_PAD.encode(challenge))
            .append_pair("code_challenge_method", "S256");
        Ok(url.into())
    }

    /// What a browser came back with: its claims, and where it wanted to go.
    pub(crate) async fn end_browser(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        (code, state, browser): (&str, &str, &str),
        now: Timestamp,
    ) -> Result<(Claims, String), Fault> {
        let signers = Signers::new(secret);
        let state: Option<State> = signers.state.open(state);
        let state = state.filter(|state| now.as_second() < state.end);
        let state = state.ok_or(Fault::Stale)?;
        // Nobody logs another one in as themselves.
        let is_same = signers
            .browser
            .verify_text(browser.as_bytes(), &state.browser);
        if !is_same {
            return Err(Fault::Stale);
        }
        let known = self.known(config).await?;
        let verifier = signers.verifier.tag_text(state.id.as_bytes());
        let callback = config.callback();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", callback.as_str()),
            ("code_verifier", verifier.as_str()),
        ];
        let url = &known.endpoints.token_endpoint;
        let answer = self.ask(config, &known.endpoints, url, &form).await?;
        if answer.status != 200 {
            return Err(refused(&answer));
        }
        let nonce = signers.nonce.tag_text(state.id.as_bytes());
        let claims = self.claims(config, &answer, Some(&nonce)).await?;
        Ok((claims, state.back))
    }

    /// Sends a form to the issuer, as the client that it knows.
    async fn ask(
        &self,
        config: &LoginConfig,
        endpoints: &Endpoints,
        url: &str,
        form: &[(&str, &str)],
    ) -> Result<Answer, Fault> {
        let mut form = form.to_vec();
        form.push(("client_id", &config.client_id));
        let auth = match &config.client_secret {
            Some(secret) if endpoints.wants_secret_in_form() => {
                form.push(("client_secret", secret.reveal()));
                ClientAuth::None
            }
            Some(secret) => ClientAuth::Basic(&config.client_id, secret),
            None => ClientAuth::None,
        };
        let answer = self.fetcher.ask(url, &form, auth).await;
        answer.map_err(|error| {
            tracing::warn!(issuer = %config.issuer, %error, "cannot ask the login service");
            Fault::Silent(config.issuer.clone())
        })
    }

    /// What the issuer says of a person, checked (OpenID Connect Core section 3.1.3.7).
    async fn claims(
        &self,
        config: &LoginConfig,
        answer: &Answer,
        nonce: Option<&str>,
    ) -> Result<Claims, Fault> {
        let tokens: Tokens = serde_json::from_slice(&answer.body)
            .map_err(|_| Fault::Token("there is no id token".to_owned()))?;
        let audiences = [config.client_id.clone()];
        let id = id_of(&config.issuer);
        let claims = self.issuers.verify(&id, &tokens.id_token, &audiences).await;
        let claims = claims.map_err(|why| fault_of(&why, &config.issuer))?;
        let party = jwt::text(&claims, "azp");
        let is_for_many = jwt::texts(&claims, "aud").len() > 1;
        let is_party = party.map_or(!is_for_many, |party| party == config.client_id);
        let is_ours = nonce.is_none_or(|nonce| jwt::text(&claims, "nonce") == Some(nonce));
        match is_party && is_ours {
            true => Ok(claims),
            false => Err(Fault::Token("it is for another login".to_owned())),
        }
    }

    /// The first of the rules that takes a token of another issuer, and what the token says.
    pub(crate) async fn exchange(
        &self,
        rules: &[Arc<Federation>],
        token: &str,
    ) -> Result<(Arc<Federation>, Claims), Fault> {
        let issuer = issuer_of(token).ok_or(Fault::NoRule)?;
        let rules = rules.iter().filter(|rule| rule.spec.issuer == issuer);
        let mut fault = Fault::NoRule;
        for rule in rules.take(RULES_MAX) {
            let audiences = [rule.spec.audience.clone()];
            let claims = self
                .issuers
                .verify(&id_of(&issuer), token, &audiences)
                .await;
            match claims {
                Ok(claims) if fits(&claims, &rule.spec.claims) => {
                    return Ok((Arc::clone(rule), claims));
                }
                Ok(_) | Err(Refused::Fault(jwt::Fault::Audience)) => {}
                Err(why) => fault = fault_of(&why, &issuer),
            }
        }
        Err(fault)
    }
}

/// What a token says of its issuer, unchecked: chooses whose keys to check it with.
fn issuer_of(token: &str) -> Option<String> {
    let payload = token.split('.').nth(1)?;
    let json = BASE64_URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&json).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

fn id_of(issuer: &str) -> IssuerId {
    IssuerId {
        issuer: issuer.to_owned(),
        jwks_url: None,
    }
}

fn fault_of(why: &Refused, issuer: &str) -> Fault {
    match why {
        Refused::Silent => Fault::Silent(issuer.to_owned()),
        Refused::Fault(fault) => Fault::Token(fault.to_string()),
    }
}

/// What the issuer calls the error; nothing else of its answer is passed on.
fn refused(answer: &Answer) -> Fault {
    let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let word: String = said
        .error
        .chars()
        .filter(|c| is_word(*c))
        .take(60)
        .collect();
    match word.as_str() {
        "" => Fault::Refused(format!("status {}", answer.status)),
        word => Fault::Refused(word.to_owned()),
    }
}

/// How long a login is good.
pub(crate) fn life(config: &LoginConfig) -> Duration {
    config.life.min(cara_api::access::SESSION_MAX)
}
