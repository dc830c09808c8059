//! DNS-01: proofs in the DNS, the only ones that wildcards accept.
//!
//! Owns the record that is to appear and the trait of those who make it appear. It refuses to know
//! who asks for it.

use async_trait::async_trait;

use crate::ChallengeError;

pub mod exec;
pub mod rfc2136;
pub mod webhook;

pub use exec::Exec;
pub use rfc2136::Rfc2136;
pub use webhook::Webhook;

/// A TXT record that the authority looks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxtRecord {
    /// Its name without a dot at the end: `_acme-challenge.dev.example.com`.
    pub name: String,
    /// Its value: 43 characters of base64url.
    pub value: String,
}

impl TxtRecord {
    /// The record for a hostname; the one of a wildcard is that of its parent.
    pub fn for_host(hostname: &str, value: impl Into<String>) -> Self {
        let host = hostname.strip_prefix("*.").unwrap_or(hostname);
        Self {
            name: format!("_acme-challenge.{host}"),
            value: value.into(),
        }
    }
}

/// Who changes the DNS. Other records of the same name must stay: a certificate for `x` and `*.x`
/// needs two values at once. `Debug` shows the settings, and no secret.
#[async_trait]
pub trait DnsProvider: std::fmt::Debug + Send + Sync {
    /// Adds the record. Returns when the zone's servers answer with it, within a bounded time.
    async fn present(&self, record: &TxtRecord) -> Result<(), ChallengeError>;

    /// Removes the record. Called once for each `present`, also for one that failed or was
    /// cancelled; must be idempotent.
    async fn cleanup(&self, record: &TxtRecord) -> Result<(), ChallengeError>;
}
