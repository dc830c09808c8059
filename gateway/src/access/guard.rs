//! What access control remembers from request to request, and how it looks at credentials that take
//! time: passwords and tokens of issuers. What they are worth is decided elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cara_api::gateway::Access;
use cara_api::hostname::Hostname;
use jiff::Timestamp;
use pingora_http::RequestHeader;

use super::basic::{Checked, Credentials, Passwords};
use super::decide::{Look, Presented, Proof};
use super::guess::{Guesser, Guesses};
use super::session::Keyring;
use super::shown;
use super::who::Who;
use cara_oidc::fetch::Fetcher;
use cara_oidc::issuers::{IssuerId, Issuers, Refused};
use cara_oidc::jwt;

/// Handovers that are remembered, so that each counts once.
const USED_MAX: usize = 10_000;

/// Settings of access control.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The host that issuers send browsers back to, for all projects; none: no logins.
    pub auth_host: Option<Hostname>,
    /// Authorities of issuers beside those of the system, PEM.
    pub issuer_authorities: Option<String>,
}

/// What access control remembers from request to request.
pub(crate) struct Guard {
    pub(super) config: Config,
    pub(super) keyring: Keyring,
    passwords: Option<Passwords>,
    guesses: Guesses,
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) issuers: Issuers,
    // Held for one look-up and one write. Ids with the second in which they end.
    used: Mutex<HashMap<String, i64>>,
}

impl Guard {
    pub(crate) fn new(config: Config) -> Self {
        let fetcher = Arc::new(Fetcher::new(config.issuer_authorities.clone()));
        Self {
            keyring: Keyring::default(),
            passwords: Passwords::new(),
            guesses: Guesses::default(),
            issuers: Issuers::new(Arc::clone(&fetcher)),
            fetcher,
            used: Mutex::default(),
            config,
        }
    }

    /// True the first time.
    pub(super) fn use_up(&self, id: &str, end: i64, now: Timestamp) -> bool {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if used.len() >= USED_MAX {
            used.retain(|_, end| now.as_second() < *end);
            if used.len() >= USED_MAX {
                return false;
            }
        }
        used.insert(id.to_owned(), end).is_none()
    }

    /// Looks at a credential that takes time. Afterwards it is not [`Proof::Given`] any more.
    pub(super) async fn look(
        &self,
        look: Look,
        access: &Access,
        head: &RequestHeader,
        shown: &mut Presented<'_>,
    ) {
        match look {
            Look::Bypass => shown.bypass = self.bypass(access, head, shown),
            Look::Bearer => shown.bearer = self.bearer(access, head).await,
            Look::Basic => {
                let guesser = Guesser::new(shown.client, shown.project);
                shown.basic = self.basic(access, head, &guesser).await;
            }
        }
    }

    fn bypass(&self, access: &Access, head: &RequestHeader, shown: &Presented<'_>) -> Proof {
        let guesser = Guesser::new(shown.client, shown.project);
        if let Err(wait) = self.guesses.count(&guesser, Instant::now()) {
            return limited(wait);
        }
        let given = head.headers.get(shown::BYPASS);
        let given = given.and_then(|value| value.to_str().ok()).unwrap_or("");
        let wanted = access.bypass.as_ref().map_or("", |token| token.reveal());
        let is_right = self
            .passwords
            .as_ref()
            .is_some_and(|passwords| passwords.is_same(given, wanted));
        // An empty token is one that somebody forgot to set.
        if is_right && !wanted.is_empty() {
            self.guesses.take_back(&guesser);
            return Proof::Right(Who::default());
        }
        Proof::Refused("the token is wrong".into())
    }

    async fn bearer(&self, access: &Access, head: &RequestHeader) -> Proof {
        let (Some(bearer), Some(token)) = (&access.bearer, shown::bearer(head)) else {
            return Proof::Absent;
        };
        let id = IssuerId {
            issuer: bearer.issuer.clone(),
            jwks_url: bearer.jwks_url.clone(),
        };
        match self.issuers.verify(&id, token, &bearer.audiences).await {
            Ok(claims) if !jwt::has_claims(&claims, &bearer.claims) => {
                Proof::Refused(jwt::Fault::Claim.to_string())
            }
            Ok(claims) => Proof::Right(Who {
                user: jwt::text(&claims, "sub").unwrap_or_default().to_owned(),
                email: jwt::text(&claims, "email").map(str::to_owned),
                groups: jwt::texts(&claims, "groups"),
            }),
            Err(Refused::Fault(fault)) => Proof::Refused(fault.to_string()),
            Err(Refused::Silent) => Proof::Unknown,
        }
    }

    async fn basic(&self, access: &Access, head: &RequestHeader, guesser: &Guesser) -> Proof {
        let (Some(basic), Some(passwords)) = (&access.basic, &self.passwords) else {
            return Proof::Unknown;
        };
        let Some(given) = shown::authorization(head).and_then(Credentials::parse) else {
            return Proof::Absent;
        };
        let who = |user: String| {
            Proof::Right(Who {
                user,
                ..Who::default()
            })
        };
        if passwords.is_remembered(basic, &given, Instant::now()) {
            return who(given.user);
        }
        let checked = passwords.check(basic, &given, &self.guesses, guesser);
        match checked.await {
            Checked::Right => who(given.user),
            Checked::Wrong => Proof::Refused("name or password is wrong".into()),
            Checked::Busy => Proof::Unknown,
            Checked::Limited(wait) => limited(wait),
        }
    }
}

fn limited(wait: Duration) -> Proof {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX);
    Proof::Limited(seconds.saturating_add(1))
}
