//! The Certificate: a chain with its key, given by a user or obtained by the server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::condition::Condition;
use crate::meta::{ObjectMeta, Resource, Timestamp, zero_as_none};
use crate::names::CertificateName;
use crate::secret::Hidden;

/// A certificate chain with its private key. The gateway serves it for the hostnames that it
/// covers. The key is kept encrypted and never leaves the server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Certificate {
    /// `caravanserai/v1`; may be left out.
    pub api_version: String,
    /// `Certificate`; may be left out.
    pub kind: String,
    /// Name, labels and versions.
    #[schema(required = true)]
    pub metadata: ObjectMeta,
    /// What the user gives.
    #[schema(required = true)]
    pub spec: CertificateSpec,
    /// What the server found.
    #[schema(read_only)]
    pub status: CertificateStatus,
}

/// What the user gives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateSpec {
    /// The chain as PEM: the certificate itself first, then those that lead to the authority.
    #[schema(required = true)]
    pub certificate: String,
    /// The private key as PEM, not encrypted. Write-only: no answer carries it. When a
    /// Certificate is replaced it may be left out; the stored key must then fit the chain.
    #[serde(skip_serializing_if = "is_unset")]
    #[schema(required = true, write_only, value_type = String)]
    pub private_key: Hidden,
    /// Hostnames that the certificate must cover; it is refused if it does not.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

fn is_unset(hidden: &Hidden) -> bool {
    hidden.reveal().is_empty()
}

/// What the server found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CertificateStatus {
    /// Who takes care of it.
    pub managed_by: ManagedBy,
    /// The names that it covers; `*.x` stands for one label.
    pub names: Vec<String>,
    /// Who issued it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub issuer: String,
    /// Start of its validity.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// End of its validity.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
    /// SHA-256 of the certificate itself, in hexadecimal digits.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub fingerprint: String,
    /// Hostnames of projects that it covers, the first 20.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub serves: Vec<String>,
    /// How many hostnames of projects it covers.
    pub serves_count: u64,
    /// `Ready` and `Expiring`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Why the last attempt to obtain or renew it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub last_error: String,
    /// Failed attempts since the last one that succeeded.
    pub failed_attempts: u32,
    /// When it will be obtained or renewed, at the earliest.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "zero_as_none"
    )]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_try: Option<Timestamp>,
}

/// Who takes care of a certificate.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ManagedBy {
    /// The server's internal authority issued it.
    Ca,
    /// The server obtains it from a public authority and renews it.
    Acme,
    /// A user gave it, and replaces it in time.
    #[default]
    User,
}

impl ManagedBy {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ca, Self::Acme, Self::User];

    /// As on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Acme => "acme",
            Self::User => "user",
        }
    }

    /// The name of the Certificate of this kind for a hostname or wildcard. No two hostnames have
    /// the same one.
    pub fn certificate_name(self, hostname: &str) -> String {
        let prefix = self.as_str();
        match hostname.strip_prefix("*.") {
            Some(parent) => format!("{prefix}-wildcard.{parent}"),
            None => format!("{prefix}.{hostname}"),
        }
    }
}

/// Whether the server names certificates of its own like this.
pub fn is_reserved(name: &str) -> bool {
    let of_server = [ManagedBy::Ca, ManagedBy::Acme];
    of_server.iter().any(|by| {
        let rest = name.strip_prefix(by.as_str()).unwrap_or_default();
        rest.starts_with('.') || rest.starts_with("-wildcard.")
    })
}

impl Resource for Certificate {
    const KIND: &'static str = "Certificate";
    const NOUN: &'static str = "certificate";

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl Certificate {
    /// The name as a key.
    pub fn name(&self) -> CertificateName {
        CertificateName::trusted(&self.metadata.name)
    }
}

/// The internal authority, as clients install it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AuthorityInfo {
    /// Always [`crate::API_VERSION`].
    pub api_version: String,
    /// `CertificateAuthority`.
    pub kind: String,
    /// Its certificate as PEM.
    pub certificate: String,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
    /// End of its validity.
    #[serde(deserialize_with = "zero_as_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_after: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_travels_in_but_is_not_shown() {
        let mut certificate = Certificate::default();
        let wire = serde_json::to_value(&certificate).expect("serializable");
        assert_eq!(wire["spec"].get("privateKey"), None);
        certificate.spec.private_key = Hidden::new("swordfish");
        assert!(!format!("{certificate:?}").contains("swordfish"));
    }

    #[test]
    fn names_of_the_server_are_its_own() {
        for (by, hostname, expected) in [
            (ManagedBy::Ca, "dev.localhost", "ca.dev.localhost"),
            (
                ManagedBy::Ca,
                "*.dev.localhost",
                "ca-wildcard.dev.localhost",
            ),
            (ManagedBy::Acme, "shop.example.com", "acme.shop.example.com"),
            (
                ManagedBy::Acme,
                "*.example.com",
                "acme-wildcard.example.com",
            ),
        ] {
            let name = by.certificate_name(hostname);
            assert_eq!(name, expected);
            assert!(is_reserved(&name), "{name}");
        }
        for name in [
            "shop",
            "acme",
            "ca",
            "cat.example.com",
            "acme-web.x",
            "shop.ca.x",
        ] {
            assert!(!is_reserved(name), "{name}");
        }
    }
}
