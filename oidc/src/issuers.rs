//! What issuers publish: their endpoints (OpenID Connect Discovery 1.0) and their keys (RFC 7517).
//!
//! Fetched when first needed and kept; fetched again when they are old, or when a token names a
//! key that is not among them. One fetch at a time for each issuer, at most one in ten seconds;
//! while an issuer does not answer, what is known of it goes on to count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{HeaderMap, header};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::fetch::{self, Answer, CALL_TIMEOUT, Error, Fetcher};
use crate::jwt::{self, Claims, Expected, Fault, KeySet};

/// Pause between two fetches.
const FETCH_PAUSE: Duration = Duration::from_secs(10);
/// How long a request waits for an issuer.
const WAIT: Duration = Duration::from_secs(5);
/// How long what is known counts as new: what the issuer says, within these bounds.
const FRESH_MIN: Duration = Duration::from_secs(60);
const FRESH_MAX: Duration = Duration::from_secs(3_600);
const FRESH_DEFAULT: Duration = Duration::from_secs(600);
/// Issuers that are remembered.
const ISSUERS_MAX: usize = 1_000;

/// Endpoints of an issuer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Endpoints {
    issuer: String,
    /// Where browsers go.
    pub authorization_endpoint: String,
    /// Where codes are exchanged.
    pub token_endpoint: String,
    /// Where more is told of a person.
    pub userinfo_endpoint: Option<String>,
    /// Where logins of devices begin (RFC 8628).
    pub device_authorization_endpoint: Option<String>,
    jwks_uri: String,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
}

impl Endpoints {
    /// All that are named.
    fn urls(&self) -> impl Iterator<Item = &str> {
        let urls = [
            &self.authorization_endpoint,
            &self.token_endpoint,
            &self.jwks_uri,
        ];
        let urls = urls.into_iter().chain(&self.userinfo_endpoint);
        let urls = urls.chain(&self.device_authorization_endpoint);
        urls.map(String::as_str).filter(|url| !url.is_empty())
    }

    /// Whether a client's secret goes into the form; the standard's default is `Authorization`.
    pub fn wants_secret_in_form(&self) -> bool {
        let methods = self.token_endpoint_auth_methods_supported.as_deref();
        let has = |name: &str| methods.is_some_and(|all| all.iter().any(|m| m == name));
        has("client_secret_post") && !has("client_secret_basic")
    }
}

/// Names an issuer, and where its keys are if it does not say so itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IssuerId {
    /// Its URL, as its tokens name it.
    pub issuer: String,
    /// Where its keys are, if it does not say so itself.
    pub jwks_url: Option<String>,
}

/// What is known of an issuer.
pub struct Known {
    /// Where to go.
    pub endpoints: Endpoints,
    keys: KeySet,
    fresh_until: Instant,
}

/// One issuer.
struct Issuer {
    id: IssuerId,
    known: ArcSwapOption<Known>,
    // Held to begin or end a fetch.
    fetching: Mutex<Fetching>,
}

#[derive(Default)]
struct Fetching {
    last: Option<Instant>,
    /// Closes when the fetch under way ends.
    running: Option<watch::Receiver<()>>,
}

/// Nothing is known of the issuer, and it does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Silent;

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// The token is not good.
    Fault(Fault),
    /// Nothing is known of the issuer, and it does not answer.
    Silent,
}

/// All issuers that rules name.
pub struct Issuers {
    fetcher: Arc<Fetcher>,
    tasks: TaskTracker,
    // Held for one look-up or one write.
    known: Mutex<HashMap<IssuerId, Arc<Issuer>>>,
}

impl Issuers {
    /// Knows none yet.
    pub fn new(fetcher: Arc<Fetcher>) -> Self {
        crate::crypto::install();
        Self {
            fetcher,
            tasks: TaskTracker::new(),
            known: Mutex::default(),
        }
    }

    /// What is known of an issuer; waits at most five seconds when that is nothing. Cancel-safe.
    ///
    /// # Errors
    /// See [`Silent`].
    pub async fn get(&self, id: &IssuerId) -> Result<Arc<Known>, Silent> {
        let issuer = self.issuer(id);
        if let Some(known) = issuer.known.load_full() {
            if known.fresh_until <= Instant::now() {
                // Not waited for: what is known counts until something newer does.
                self.fetch(&issuer);
            }
            return Ok(known);
        }
        self.wait(&issuer).await;
        issuer.known.load_full().ok_or(Silent)
    }

    /// Checks a token against the issuer's keys; asks the issuer anew when the token names a key
    /// that is not known. Waits at most ten seconds. Cancel-safe.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn verify(
        &self,
        id: &IssuerId,
        token: &str,
        audiences: &[String],
    ) -> Result<Claims, Refused> {
        let expected = Expected {
            issuer: &id.issuer,
            audiences,
        };
        let verify = |known: &Known| jwt::verify(token, &known.keys, expected, Timestamp::now());
        let known = self.get(id).await.map_err(|Silent| Refused::Silent)?;
        match verify(&known) {
            Err(Fault::UnknownKey) => {
                let issuer = self.issuer(id);
                self.wait(&issuer).await;
                let newer = issuer.known.load_full().unwrap_or(known);
                verify(&newer).map_err(Refused::Fault)
            }
            other => other.map_err(Refused::Fault),
        }
    }

    fn issuer(&self, id: &IssuerId) -> Arc<Issuer> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(issuer) = known.get(id) {
            return Arc::clone(issuer);
        }
        if known.len() >= ISSUERS_MAX {
            // Rules that went away; those that are in use come back by themselves.
            known.clear();
        }
        let issuer = Arc::new(Issuer {
            id: id.clone(),
            known: ArcSwapOption::empty(),
            fetching: Mutex::default(),
        });
        known.insert(id.clone(), Arc::clone(&issuer));
        issuer
    }

    /// Waits for a fetch, if one is under way or may begin.
    async fn wait(&self, issuer: &Arc<Issuer>) {
        if let Some(mut ended) = self.fetch(issuer) {
            // The sender is dropped when the fetch ends, which is all that there is to wait for.
            let _ = tokio::time::timeout(WAIT, ended.changed()).await;
        }
    }

    /// Begins a fetch, unless one is under way or was a moment ago.
    fn fetch(&self, issuer: &Arc<Issuer>) -> Option<watch::Receiver<()>> {
        let mut fetching = issuer
            .fetching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &fetching.running {
            return Some(running.clone());
        }
        let is_recent = |last: Instant| last.elapsed() < FETCH_PAUSE;
        if fetching.last.is_some_and(is_recent) {
            return None;
        }
        let (ending, ended) = watch::channel(());
        fetching.last = Some(Instant::now());
        fetching.running = Some(ended.clone());
        let (fetcher, issuer) = (Arc::clone(&self.fetcher), Arc::clone(issuer));
        let ending = Ending(Arc::clone(&issuer), Some(ending));
        // Not the request's own future: it goes on when the client goes away.
        self.tasks.spawn(async move {
            // Two calls, each with its deadline; this one holds when those do not.
            match tokio::time::timeout(CALL_TIMEOUT * 2, load(&fetcher, &issuer.id)).await {
                Ok(Ok(known)) => issuer.known.store(Some(Arc::new(known))),
                Ok(Err(error)) => {
                    tracing::warn!(issuer = %issuer.id.issuer, error = %error, "cannot ask an issuer");
                }
                Err(_) => tracing::warn!(issuer = %issuer.id.issuer, "an issuer does not answer in time"),
            }
            drop(ending);
        });
        Some(ended)
    }
}

/// Marks a fetch as ended, also when its task panics or its runtime stops.
struct Ending(Arc<Issuer>, Option<watch::Sender<()>>);

impl Drop for Ending {
    fn drop(&mut self) {
        let mut fetching = self
            .0
            .fetching
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        fetching.running = None;
        drop(self.1.take());
    }
}

async fn load(fetcher: &Fetcher, id: &IssuerId) -> Result<Known, Error> {
    let endpoints = match &id.jwks_url {
        Some(url) => Endpoints {
            issuer: id.issuer.clone(),
            jwks_uri: url.clone(),
            ..Endpoints::default()
        },
        None => discover(fetcher, &id.issuer).await?,
    };
    let answer = fetcher.get(&endpoints.jwks_uri, None).await?;
    let keys = KeySet::parse(&answer.body).ok_or_else(|| Error::Content {
        url: endpoints.jwks_uri.clone(),
        reason: "no set of keys",
    })?;
    Ok(Known {
        fresh_until: Instant::now() + fresh_for(&answer.headers),
        endpoints,
        keys,
    })
}

async fn discover(fetcher: &Fetcher, issuer: &str) -> Result<Endpoints, Error> {
    let url = format!(
        "{}/.well-known/openid-configuration",
        issuer.trim_end_matches('/')
    );
    let Answer { body, .. } = fetcher.get(&url, None).await?;
    let content = |reason| Error::Content {
        url: url.clone(),
        reason,
    };
    let endpoints: Endpoints =
        serde_json::from_slice(&body).map_err(|_| content("no discovery document"))?;
    // Discovery section 4.3: else one issuer could speak for another.
    if endpoints.issuer != issuer {
        return Err(content("it is the document of another issuer"));
    }
    if !endpoints.urls().all(|url| fetch::may_name(issuer, url)) {
        return Err(content("an endpoint has no TLS, or is on this machine"));
    }
    Ok(endpoints)
}

fn fresh_for(headers: &HeaderMap) -> Duration {
    let control = headers.get(header::CACHE_CONTROL);
    let control = control.and_then(|value| value.to_str().ok()).unwrap_or("");
    let mut fresh = FRESH_DEFAULT;
    for part in control.split(',').map(str::trim) {
        if let Some(seconds) = part.strip_prefix("max-age=") {
            fresh = seconds.parse().map_or(fresh, Duration::from_secs);
        }
        if matches!(part, "no-store" | "no-cache") {
            fresh = Duration::ZERO;
        }
    }
    fresh.clamp(FRESH_MIN, FRESH_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_issuer_says_of_its_keys_age_is_bounded() {
        for (control, expected_s) in [
            (None, 600),
            (Some("max-age=900"), 900),
            (Some("public, max-age=120, must-revalidate"), 120),
            (Some("max-age=1"), 60),
            (Some("max-age=99999999"), 3_600),
            (Some("no-store"), 60),
            (Some("max-age=x"), 600),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(control) = control {
                headers.insert(header::CACHE_CONTROL, control.parse().expect("a value"));
            }
            assert_eq!(fresh_for(&headers).as_secs(), expected_s, "{control:?}");
        }
    }

    #[test]
    fn every_endpoint_of_a_document_is_looked_at() {
        let document = serde_json::json!({"authorization_endpoint": "a", "token_endpoint": "t",
            "userinfo_endpoint": "u", "device_authorization_endpoint": "d", "jwks_uri": "k"});
        let endpoints: Endpoints = serde_json::from_value(document).expect("a document");
        assert_eq!(
            endpoints.urls().collect::<Vec<_>>(),
            ["a", "t", "k", "u", "d"]
        );
        assert_eq!(Endpoints::default().urls().count(), 0);
    }

    #[test]
    fn a_secret_goes_where_the_issuer_wants_it() {
        let wants = |methods: Option<&[&str]>| {
            let methods = methods.map(|all| all.iter().map(|m| (*m).to_owned()).collect());
            Endpoints {
                token_endpoint_auth_methods_supported: methods,
                ..Endpoints::default()
            }
            .wants_secret_in_form()
        };
        assert!(!wants(None));
        assert!(wants(Some(&["client_secret_post"])));
        assert!(!wants(Some(&["client_secret_post", "client_secret_basic"])));
    }
}
