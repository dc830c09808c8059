//! What the gateway signs: sessions, logins under way, and what one host hands to another.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use cara_api::gateway::{Keys, Oidc};
use cara_api::share::Links;
use cara_api::signing::{Secret, Signer};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::who::Who;

/// A login. Valid at one host, for one client of one issuer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    /// The host, without its port.
    pub(super) host: String,
    pub(super) issuer: String,
    pub(super) client: String,
    pub(super) who: Who,
    /// Seconds of Unix time.
    pub(super) begin: i64,
    /// Seconds of Unix time.
    pub(super) end: i64,
}

impl Login {
    /// Whether it counts at this host for these settings. Says nothing of who may come in.
    pub(super) fn is_for(&self, oidc: &Oidc, host: &str, now: Timestamp) -> bool {
        let now = now.as_second();
        let age = u64::try_from(now.saturating_sub(self.begin)).unwrap_or(0);
        self.host == host
            && self.issuer == oidc.issuer
            && self.client == oidc.client_id
            && now < self.end
            && age < oidc.session.as_secs()
    }
}

/// A link that was opened. Valid at one host, for one rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Opened {
    /// The host, without its port.
    pub(super) host: String,
    pub(super) project: String,
    pub(super) ingress: String,
    pub(super) epoch: String,
    /// Seconds of Unix time.
    pub(super) end: i64,
}

/// A login under way. Everybody can read it in the URL, nobody can change it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// Random. The nonce and the verifier of the code (PKCE) are derived from it.
    pub(super) id: String,
    /// Where it began, with the port if it has one.
    pub(super) authority: String,
    pub(super) is_tls: bool,
    /// Where to go afterwards; begins with `/`.
    pub(super) path: String,
    pub(super) project: String,
    pub(super) ingress: String,
    pub(super) issuer: String,
    pub(super) client: String,
    /// Signature of the cookie that the browser got when it began.
    pub(super) browser: String,
    /// Seconds of Unix time.
    pub(super) end: i64,
}

/// The result of a login on its way to the host where it began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Handover {
    /// That of the state; counts once.
    pub(super) id: String,
    pub(super) authority: String,
    pub(super) is_tls: bool,
    pub(super) path: String,
    pub(super) browser: String,
    pub(super) login: Login,
    /// Seconds of Unix time.
    pub(super) end: i64,
}

/// The keys of the installation, one for each purpose.
pub(super) struct Signers {
    pub(super) login: Signer,
    pub(super) opened: Signer,
    pub(super) state: Signer,
    pub(super) handover: Signer,
    pub(super) browser: Signer,
    pub(super) nonce: Signer,
    pub(super) verifier: Signer,
    pub(super) links: Links,
}

impl Signers {
    fn derive(secret: &Secret) -> Self {
        Self {
            login: secret.signer("session of a login"),
            opened: secret.signer("session of a share link"),
            state: secret.signer("login state"),
            handover: secret.signer("login handover"),
            browser: secret.signer("login browser"),
            nonce: secret.signer("login nonce"),
            verifier: secret.signer("login code verifier"),
            links: Links::new(secret),
        }
    }
}

/// Derives keys when those of the installation change, not for each request.
#[derive(Default)]
pub(super) struct Keyring {
    current: ArcSwapOption<(Arc<Keys>, Signers)>,
}

impl Keyring {
    /// The keys; none when the installation has none, or something that is no key.
    pub(super) fn signers(&self, keys: &Arc<Keys>) -> Option<Arc<(Arc<Keys>, Signers)>> {
        let current = self.current.load_full();
        if let Some(known) = current.filter(|known| Arc::ptr_eq(&known.0, keys)) {
            return Some(known);
        }
        let secret = Secret::parse(keys.signing.as_ref()?).ok()?;
        let derived = Arc::new((Arc::clone(keys), Signers::derive(&secret)));
        self.current.store(Some(Arc::clone(&derived)));
        Some(derived)
    }
}
