//! Certificates in the store: keys sealed, with what was found out about them; and what the
//! server needs to issue and order some: the internal authority, the account with a public one,
//! the lease that makes orders one at a time, and answers to challenges.

use cara_api::certificate::ManagedBy;
use cara_api::{Certificate, CertificateName, Condition, ObjectMeta, Resource, Timestamp};
use cara_store::{Batch, Entry, Key, Precondition, Revision};
use serde::{Deserialize, Serialize};

use super::{DecodeError, encode, open, revision, seal, update};
use crate::plan::certs::{Attempts, Facts};
use crate::vault::{Owner, Sealed};

/// Prefix of the keys of certificates.
pub(crate) const CERTIFICATES: &str = "certificates/";
/// Prefix of the keys of answers to challenges.
pub(crate) const CHALLENGES: &str = "challenges/";
/// Prefix of what only the reconcilers of certificates read; it wakes nobody.
pub(crate) const ISSUING: &str = "issuing/";

const AUTHORITY: &str = "CertificateAuthority";
const ACCOUNT: &str = "AcmeAccount";

/// A certificate as it is stored and cached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedCertificate {
    pub(crate) metadata: ObjectMeta,
    pub(crate) managed_by: ManagedBy,
    /// PEM; empty while there is none yet.
    #[serde(default)]
    pub(crate) chain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) hosts: Vec<String>,
    /// The private key, under [`KEY_FIELD`]; none while there is none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Sealed>,
    /// What the chain says.
    #[serde(default)]
    pub(crate) facts: Facts,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<Condition>,
    /// What came of orders, for those that are ordered.
    #[serde(default, skip_serializing_if = "Attempts::is_none")]
    pub(crate) attempts: Attempts,
}

/// The name of the private key among the sealed values.
pub(crate) const KEY_FIELD: &str = "privateKey";

impl Resource for SealedCertificate {
    const KIND: &'static str = Certificate::KIND;
    const NOUN: &'static str = Certificate::NOUN;

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl SealedCertificate {
    pub(crate) fn name(&self) -> CertificateName {
        CertificateName::trusted(&self.metadata.name)
    }
}

/// What the private key of a certificate is sealed for.
pub(crate) fn owner(meta: &ObjectMeta) -> Owner<'_> {
    Owner {
        kind: Certificate::KIND,
        name: &meta.name,
        uid: meta.uid.unwrap_or_default(),
    }
}

pub(crate) fn certificate_key(name: &CertificateName) -> Key {
    Key::new(format!("{CERTIFICATES}{name}"))
}

/// Creates a certificate.
pub(crate) fn create_certificate(certificate: &SealedCertificate) -> Batch {
    let key = certificate_key(&certificate.name());
    Batch::new().put(key, encode(certificate), Precondition::Absent)
}

/// Replaces a certificate as it was read.
pub(crate) fn replace_certificate(certificate: &SealedCertificate) -> Batch {
    update(certificate, certificate_key(&certificate.name()))
}

/// Removes a certificate as it was read.
pub(crate) fn delete_certificate(certificate: &SealedCertificate) -> Batch {
    let when = Precondition::At(revision(certificate));
    Batch::new().delete(certificate_key(&certificate.name()), when)
}

/// The internal authority as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedAuthority {
    pub(crate) uid: uuid::Uuid,
    /// PEM.
    pub(crate) certificate: String,
    pub(crate) fingerprint: String,
    pub(crate) not_after: Timestamp,
    pub(crate) sealed: Sealed,
}

/// What the key of the internal authority is sealed for.
pub(crate) fn authority_owner(uid: uuid::Uuid) -> Owner<'static> {
    Owner {
        kind: AUTHORITY,
        name: "internal",
        uid,
    }
}

pub(crate) fn authority_key() -> Key {
    Key::new(format!("{ISSUING}authority"))
}

pub(crate) fn decode_authority(entry: &Entry) -> Result<SealedAuthority, DecodeError> {
    open(entry)
}

/// Keeps a new authority, if there is none.
pub(crate) fn create_authority(authority: &SealedAuthority) -> Batch {
    let value = seal(AUTHORITY, authority);
    Batch::new().put(authority_key(), value, Precondition::Absent)
}

/// Keeps an authority in place of the one that was read.
pub(crate) fn replace_authority(authority: &SealedAuthority, read_at: Revision) -> Batch {
    let value = seal(AUTHORITY, authority);
    Batch::new().put(authority_key(), value, Precondition::At(read_at))
}

/// The account with an ACME server as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SealedAccount {
    pub(crate) uid: uuid::Uuid,
    /// The server.
    pub(crate) directory: String,
    /// None while it could not be opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sealed: Option<Sealed>,
    /// Failures that concern all orders.
    #[serde(default, skip_serializing_if = "Attempts::is_none")]
    pub(crate) attempts: Attempts,
    /// Tells with which settings they were made.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) registration: String,
}

/// What the credentials of the account are sealed for.
pub(crate) fn account_owner(uid: uuid::Uuid) -> Owner<'static> {
    Owner {
        kind: ACCOUNT,
        name: "acme",
        uid,
    }
}

pub(crate) fn account_key() -> Key {
    Key::new(format!("{ISSUING}account"))
}

pub(crate) fn decode_account(entry: &Entry) -> Result<SealedAccount, DecodeError> {
    open(entry)
}

/// Keeps the account over the one that was read, if there was one.
pub(crate) fn write_account(account: &SealedAccount, read_at: Option<Revision>) -> Batch {
    let when = read_at.map_or(Precondition::Absent, Precondition::At);
    Batch::new().put(account_key(), seal(ACCOUNT, account), when)
}

/// Who may order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Lease {
    /// The process that holds it.
    pub(crate) holder: uuid::Uuid,
    /// Until when, unless it is renewed.
    pub(crate) expires_at: Timestamp,
}

pub(crate) fn lease_key() -> Key {
    Key::new(format!("{ISSUING}lease"))
}

pub(crate) fn decode_lease(entry: &Entry) -> Result<Lease, DecodeError> {
    open(entry)
}

/// Takes or renews the lease as it was read.
pub(crate) fn write_lease(lease: &Lease, read_at: Option<Revision>) -> Batch {
    let when = read_at.map_or(Precondition::Absent, Precondition::At);
    Batch::new().put(lease_key(), seal("Lease", lease), when)
}

/// Gives the lease back.
pub(crate) fn release_lease(read_at: Revision) -> Batch {
    Batch::new().delete(lease_key(), Precondition::At(read_at))
}

/// The answer to a challenge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Challenge {
    pub(crate) key_authorization: String,
    pub(crate) created_at: Timestamp,
}

/// None for a token that could not be part of a URL.
pub(crate) fn challenge_key(token: &str) -> Option<Key> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let is_token = !token.is_empty() && token.len() <= 256 && token.bytes().all(is_allowed);
    is_token.then(|| Key::new(format!("{CHALLENGES}{token}")))
}

pub(crate) fn decode_challenge(entry: &Entry) -> Result<Challenge, DecodeError> {
    open(entry)
}

/// Publishes the answer to a challenge.
pub(crate) fn publish_challenge(key: Key, challenge: &Challenge) -> Batch {
    Batch::new().put(key, seal("Challenge", challenge), Precondition::Any)
}

/// Takes the answer away.
pub(crate) fn retract_challenge(key: Key) -> Batch {
    Batch::new().delete(key, Precondition::Any)
}
