//! Logins by an issuer of OpenID Connect: of devices (RFC 8628), of browsers (authorization code with
//! PKCE), and of jobs that have a token of another issuer.
//!
//! ```text
//! device:  begin -> code for a person, handle -> poll ... -> claims
//! browser: begin -> issuer -> callback (state, cookie, code) -> claims
//! job:     token of a rule's issuer -> claims that fit the rule
//! ```
//!
//! Nothing that a login needs is kept between the steps: handles and states are signed. Only how often
//! devices ask is remembered ([`device`]). Refuses to know about HTTP on the side of the API, and about
//! tokens: it ends with claims.

mod device;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
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
use crate::plan::access::limit::Shown;
use crate::plan::access::mapping::{Claims, fits};
use crate::plan::access::pending::Pending;

pub(crate) use device::Polled;

/// How long a person may take to log in by a browser, in seconds.
const LOGIN_S: i64 = 600;
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
    #[error(
        "too many logins are under way from this address: complete one, or wait {0} s until one is given up"
    )]
    Crowded(u64),
    #[error("too many logins are under way: try again in a minute, or log in with a token")]
    Full,
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
    // Held for one decision.
    devices: Mutex<Pending>,
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

/// A login of a browser that came back to where it began.
pub(crate) struct Returned(State);

impl Returned {
    /// What it is counted by.
    pub(crate) fn shown(&self) -> Shown {
        shown(&self.0.id)
    }
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
            devices: Mutex::default(),
        }
    }

    async fn known(&self, config: &LoginConfig) -> Result<Arc<Known>, Fault> {
        let known = self.issuers.get(&id_of(&config.issuer)).await;
        known.map_err(|_| Fault::Silent(config.issuer.clone()))
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

    /// Whether a browser came back from a login that it began here, and which one that is. Asks nobody.
    pub(crate) fn returned(
        secret: &Secret,
        (state, browser): (&str, &str),
        now: Timestamp,
    ) -> Result<Returned, Fault> {
        let signers = Signers::new(secret);
        let state: Option<State> = signers.state.open(state);
        let state = state.filter(|state| now.as_second() < state.end);
        let state = state.ok_or(Fault::Stale)?;
        // Nobody logs another one in as themselves.
        let is_same = signers
            .browser
            .verify_text(browser.as_bytes(), &state.browser);
        match is_same {
            true => Ok(Returned(state)),
            false => Err(Fault::Stale),
        }
    }

    /// What a browser came back with: its claims, and where it wanted to go.
    pub(crate) async fn end_browser(
        &self,
        config: &LoginConfig,
        secret: &Secret,
        (code, Returned(state)): (&str, Returned),
    ) -> Result<(Claims, String), Fault> {
        let signers = Signers::new(secret);
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

/// What somebody showed who is not known, as attempts are counted by it.
pub(crate) fn shown(text: &str) -> Shown {
    let hash = digest(&SHA256, text.as_bytes());
    let first = hash.as_ref().first_chunk::<8>();
    Shown(first.map_or(0, |bytes| u64::from_be_bytes(*bytes)))
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
