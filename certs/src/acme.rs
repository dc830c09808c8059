//! Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt.
//!
//! Owns the account and the conversation; [`crate::plan`] says when to have it. It refuses to know
//! where account and certificates are kept, and who else orders at the same moment: the caller
//! holds a lease and passes one order at a time.
//!
//! ```text
//! new order -> authorizations -> publish proofs -> "ready" -> validated -> CSR -> chain -> Bundle
//!                                      \______ always retracted in the end ______/
//! ```

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    AccountBuilder, AccountCredentials, CertificateIdentifier, ExternalAccountKey, NewAccount,
};
use jiff::Timestamp;

use crate::plan::RenewalWindow;
use crate::{Bundle, Secret};

mod error;
mod nonce;
mod order;
mod transport;

pub use error::{AcmeError, Problem, Step};
use nonce::{NONCE_ATTEMPTS, is_bad_nonce, with_nonce};
pub use order::{CertificateKey, OrderRequest, Solver};
use transport::{RetryAfter, Transport};

/// Let's Encrypt.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// Let's Encrypt for trials: generous limits, and certificates that nobody trusts.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// How long one request to an ACME server may take, unless the caller says otherwise.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// An ACME server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its directory, `https://...`.
    pub directory_url: String,
    /// Roots (PEM) to trust for it besides the system's: for an authority of one's own.
    pub extra_roots_pem: Option<String>,
    /// How long one request may take.
    pub request_timeout: Duration,
}

impl Server {
    /// A server that the system's roots know.
    pub fn new(directory_url: impl Into<String>) -> Self {
        Self {
            directory_url: directory_url.into(),
            extra_roots_pem: None,
            request_timeout: REQUEST_TIMEOUT,
        }
    }
}

/// What a new account says of itself.
#[derive(Debug, Clone, Default)]
pub struct Registration {
    /// Whom to write to about certificates: `mailto:...`.
    pub contacts: Vec<String>,
    /// That the operator agrees to the server's terms of service.
    pub agrees_to_terms: bool,
    /// Credentials from outside, for servers that want them.
    pub external: Option<ExternalAccount>,
}

/// An account with an authority to bind the ACME account to (RFC 8555, 7.3.4).
#[derive(Debug, Clone)]
pub struct ExternalAccount {
    /// Its identifier.
    pub key_id: String,
    /// Its HMAC key in base64url, as authorities give it.
    pub hmac_key: Secret<String>,
}

/// When to renew, as the authority wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenewalInfo {
    /// The window for [`crate::plan::Present`].
    pub window: RenewalWindow,
    /// Why, for a human.
    pub explanation_url: Option<String>,
    /// How long to wait before asking again.
    pub ask_again_after: Duration,
}

/// An account with an ACME server. Cheap to clone.
#[derive(Clone)]
pub struct Account {
    inner: instant_acme::Account,
    retry_after: Arc<RetryAfter>,
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("id", &self.id())
            .finish_non_exhaustive()
    }
}

impl Account {
    /// Opens a new account with a new ECDSA P-256 key. The second value restores it
    /// ([`Self::restore`]) and holds the key: store it before the first order.
    ///
    /// Not cancel-safe: an account whose credentials are lost is of no use.
    ///
    /// # Errors
    ///
    /// [`AcmeError`]; nothing is left behind when it is retried.
    pub async fn create(
        server: &Server,
        registration: &Registration,
    ) -> Result<(Self, Secret<String>), AcmeError> {
        let external = registration
            .external
            .as_ref()
            .map(external_key)
            .transpose()?;
        let contacts: Vec<&str> = registration.contacts.iter().map(String::as_str).collect();
        let account = NewAccount {
            contact: &contacts,
            terms_of_service_agreed: registration.agrees_to_terms,
            only_return_existing: false,
        };
        let retry_after = Arc::new(RetryAfter::default());
        let created = with_nonce!({
            let url = server.directory_url.clone();
            connect(server, &retry_after)?.create(&account, url, external.as_ref())
        });
        let (inner, credentials) =
            created.map_err(|error| AcmeError::from_client(error, retry_after.take()))?;
        let text = serde_json::to_string(&credentials).map_err(AcmeError::unexpected)?;
        Ok((Self { inner, retry_after }, Secret::new(text)))
    }

    /// Takes up an account that [`Self::create`] opened.
    ///
    /// # Errors
    ///
    /// [`AcmeError::Account`] when the credentials cannot be read or are of another server.
    pub async fn restore(server: &Server, credentials: &Secret<String>) -> Result<Self, AcmeError> {
        let bad = |what: String| AcmeError::Account(format!("stored credentials: {what}"));
        let value: serde_json::Value =
            serde_json::from_str(credentials.expose()).map_err(|error| bad(error.to_string()))?;
        let directory = value
            .get("directory")
            .and_then(|v| v.as_str())
            .unwrap_or_default();
        if directory != server.directory_url {
            let wanted = &server.directory_url;
            return Err(bad(format!("they are for {directory}, not for {wanted}")));
        }
        let credentials: AccountCredentials =
            serde_json::from_value(value).map_err(|error| bad(error.to_string()))?;
        let retry_after = Arc::new(RetryAfter::default());
        let inner = connect(server, &retry_after)?
            .from_credentials(credentials)
            .await
            .map_err(|error| AcmeError::from_client(error, retry_after.take()))?;
        Ok(Self { inner, retry_after })
    }

    /// The account's URL.
    pub fn id(&self) -> &str {
        self.inner.id()
    }

    /// When the authority wants the certificate to be renewed (ARI, RFC 9773); `None` where it does
    /// not say. Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`AcmeError`] when the server fails to answer: go by the certificate's age.
    pub async fn renewal_info(&self, bundle: &Bundle) -> Result<Option<RenewalInfo>, AcmeError> {
        let Some(id) = identifier(bundle) else {
            return Ok(None);
        };
        let (info, ask_again_after) = match self.inner.renewal_info(&id).await {
            Err(instant_acme::Error::Unsupported(_)) => return Ok(None),
            answer => answer.map_err(|e| AcmeError::from_client(e, self.retry_after.take()))?,
        };
        let at = |second| Timestamp::from_second(second).map_err(AcmeError::unexpected);
        let window = RenewalWindow {
            start: at(info.suggested_window.start.unix_timestamp())?,
            end: at(info.suggested_window.end.unix_timestamp())?,
        };
        Ok(Some(RenewalInfo {
            window,
            explanation_url: info.explanation_url,
            ask_again_after,
        }))
    }
}

/// What names a certificate to its authority; `None` for one without an authority key identifier.
fn identifier(bundle: &Bundle) -> Option<CertificateIdentifier<'static>> {
    let leaf = bundle.certified_key().cert.first()?;
    let id = CertificateIdentifier::try_from(leaf).ok()?;
    Some(id.into_owned())
}

fn connect(server: &Server, retry_after: &Arc<RetryAfter>) -> Result<AccountBuilder, AcmeError> {
    let transport = Transport::new(server, Arc::clone(retry_after))?;
    Ok(instant_acme::Account::builder_with_http(Box::new(
        transport,
    )))
}

fn external_key(account: &ExternalAccount) -> Result<ExternalAccountKey, AcmeError> {
    let text = account.hmac_key.expose().trim().trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| AcmeError::Account("the external account's key is not base64url".into()))?;
    Ok(ExternalAccountKey::new(account.key_id.clone(), &key))
}
