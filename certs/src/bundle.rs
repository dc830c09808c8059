//! A certificate chain with its private key, read from PEM and checked once.
//!
//! Owns what makes the two usable together: the key is the leaf's, the chain is in order, the leaf
//! names hosts. It refuses to know who issued it and whether anybody trusts the issuer.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::Secret;

/// Why a certificate and a key cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// The chain has no `CERTIFICATE` block.
    #[error(
        "the chain holds no certificate: it must be PEM with a block `-----BEGIN CERTIFICATE-----`"
    )]
    NoCertificate,
    /// A block cannot be read.
    #[error("certificate {position} of the chain cannot be read: {reason}")]
    UnreadableCertificate {
        /// Place in the chain, from 1.
        position: usize,
        /// What the parser says.
        reason: String,
    },
    /// There is no private key.
    #[error("there is no private key: it must be PEM with a block `-----BEGIN PRIVATE KEY-----`")]
    NoKey,
    /// The private key is protected by a passphrase.
    #[error("the private key is encrypted: decrypt it first (`openssl pkey -in KEY -out PLAIN`)")]
    EncryptedKey,
    /// The kind of key is not one of those that are served.
    #[error("the private key is of an unsupported type: use ECDSA P-256 or P-384, RSA or Ed25519")]
    UnsupportedKey,
    /// The key is of another certificate.
    #[error("the private key does not belong to the certificate {names}")]
    KeyMismatch {
        /// What the leaf names.
        names: String,
    },
    /// A certificate is not issued by the one after it.
    #[error(
        "the chain is out of order: certificate {position} was issued by `{issuer}`, but the next \
         one is `{next}`; put the leaf first and each issuer right after what it issued"
    )]
    OutOfOrder {
        /// Place in the chain, from 1.
        position: usize,
        /// Who issued it.
        issuer: String,
        /// What follows it.
        next: String,
    },
    /// The first certificate is one of an authority.
    #[error(
        "the first certificate, `{subject}`, is that of an authority: put the leaf first, or make \
         a self-signed one with basicConstraints=critical,CA:FALSE"
    )]
    LeafIsAuthority {
        /// Its subject.
        subject: String,
    },
    /// There are no names that clients look at.
    #[error(
        "the certificate `{subject}` has no subject alternative names; clients ignore the common \
         name: have it issued again with DNS names or IP addresses"
    )]
    NoNames {
        /// Its subject.
        subject: String,
    },
}

/// SHA-256 of a certificate's DER. `Display` gives lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A certificate chain with its private key, ready to be served.
///
/// # Guarantees
///
/// The key belongs to the leaf, each certificate was issued by the next one's subject, the leaf is
/// not an authority and names at least one host. Whether it is valid now is [`Self::is_valid_at`]:
/// an expired certificate can still be read, shown and replaced.
#[derive(Clone)]
pub struct Bundle {
    names: Vec<String>,
    not_before: Timestamp,
    not_after: Timestamp,
    fingerprint: Fingerprint,
    chain_pem: String,
    key_pem: Secret<String>,
    certified_key: Arc<CertifiedKey>,
}

impl Bundle {
    /// Reads a chain (leaf first) and its key (PKCS #8, PKCS #1 or SEC1) from PEM.
    ///
    /// # Errors
    ///
    /// Each [`BundleError`] says what is wrong and what to do about it.
    pub fn from_pem(chain_pem: &str, key_pem: &str) -> Result<Self, BundleError> {
        let chain = read_chain(chain_pem)?;
        let parsed = parse_chain(&chain)?;
        check_order(&parsed)?;
        let leaf = parsed.first().ok_or(BundleError::NoCertificate)?;
        let leaf_der = chain.first().ok_or(BundleError::NoCertificate)?;
        if leaf.is_ca() {
            let subject = leaf.subject().to_string();
            return Err(BundleError::LeafIsAuthority { subject });
        }
        let names = names_of(leaf);
        if names.is_empty() {
            let subject = leaf.subject().to_string();
            return Err(BundleError::NoNames { subject });
        }
        let not_before = timestamp(leaf.validity().not_before.timestamp());
        let not_after = timestamp(leaf.validity().not_after.timestamp());
        let fingerprint = Fingerprint::of(leaf_der);
        let key = any_supported_type(&read_key(key_pem)?)
            .map_err(|_unsupported| BundleError::UnsupportedKey)?;
        let certified_key = CertifiedKey::new(chain.clone(), key);
        certified_key
            .keys_match()
            .map_err(|error| key_error(error, &names))?;
        Ok(Self {
            names,
            not_before,
            not_after,
            fingerprint,
            chain_pem: chain_pem.to_owned(),
            key_pem: Secret::new(key_pem.to_owned()),
            certified_key: Arc::new(certified_key),
        })
    }

    /// What rustls serves; built once, shared.
    pub fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.certified_key
    }

    /// DNS names and IP addresses of the leaf, in lower case, in its order; `*.x` stands for one
    /// label.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Start of validity.
    pub fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// End of validity.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Whether clients accept the certificate at that time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Whether a client that asks for the host accepts the certificate. A wildcard covers exactly
    /// one label; a wildcard name itself is covered by the same wildcard.
    pub fn covers(&self, hostname: &str) -> bool {
        self.names.iter().any(|name| matches(name, hostname))
    }

    /// SHA-256 of the leaf.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The chain as it was given.
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// The key as it was given.
    pub fn key_pem(&self) -> &Secret<String> {
        &self.key_pem
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle")
            .field("names", &self.names)
            .field("not_before", &self.not_before)
            .field("not_after", &self.not_after)
            .field("fingerprint", &self.fingerprint.to_string())
            .field("key_pem", &self.key_pem)
            .finish_non_exhaustive()
    }
}

/// Two are the same when leaf, chain and key are.
impl PartialEq for Bundle {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            && self.chain_pem == other.chain_pem
            && self.key_pem == other.key_pem
    }
}

impl Eq for Bundle {}

/// Whether a name of a certificate covers a hostname, both in any case.
pub(crate) fn matches(name: &str, hostname: &str) -> bool {
    if name.eq_ignore_ascii_case(hostname) {
        return true;
    }
    let Some(parent) = name.strip_prefix("*.") else {
        return false;
    };
    hostname
        .split_once('.')
        .is_some_and(|(label, rest)| !label.is_empty() && parent.eq_ignore_ascii_case(rest))
}

fn read_chain(chain_pem: &str) -> Result<Vec<CertificateDer<'static>>, BundleError> {
    let blocks = CertificateDer::pem_slice_iter(chain_pem.as_bytes()).enumerate();
    let chain: Vec<_> = blocks
        .map(|(index, block)| block.map_err(|error| unreadable(index, error)))
        .collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(BundleError::NoCertificate);
    }
    Ok(chain)
}

fn parse_chain<'a>(
    chain: &'a [CertificateDer<'static>],
) -> Result<Vec<X509Certificate<'a>>, BundleError> {
    let parse = |(index, der): (usize, &'a CertificateDer<'static>)| {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| unreadable(index, error))?;
        if rest.is_empty() {
            Ok(certificate)
        } else {
            Err(unreadable(index, "there are bytes after its end"))
        }
    };
    chain.iter().enumerate().map(parse).collect()
}

fn unreadable(index: usize, reason: impl fmt::Display) -> BundleError {
    BundleError::UnreadableCertificate {
        position: index + 1,
        reason: reason.to_string(),
    }
}

fn check_order(chain: &[X509Certificate<'_>]) -> Result<(), BundleError> {
    for (index, pair) in chain.windows(2).enumerate() {
        let [issued, issuer] = pair else { continue };
        if !is_issued_by(issued, issuer) {
            return Err(BundleError::OutOfOrder {
                position: index + 1,
                issuer: issued.issuer().to_string(),
                next: issuer.subject().to_string(),
            });
        }
    }
    Ok(())
}

/// By names, and by key identifiers where both have one: an authority that changes its key keeps
/// its name.
fn is_issued_by(issued: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    let wanted = issued
        .iter_extensions()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                id.key_identifier.as_ref().map(|id| id.0)
            }
            _ => None,
        });
    let given = issuer
        .iter_extensions()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
            _ => None,
        });
    let is_same_key = wanted
        .zip(given)
        .is_none_or(|(wanted, given)| wanted == given);
    issued.issuer().as_raw() == issuer.subject().as_raw() && is_same_key
}

fn names_of(leaf: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = leaf.subject_alternative_name() else {
        return Vec::new();
    };
    let names = extension.value.general_names.iter();
    let names = names.filter_map(name_of);
    names.filter(|name| !name.is_empty()).collect()
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
        GeneralName::IPAddress(bytes) => ip_of(bytes).map(|ip| ip.to_string()),
        _ => None,
    }
}

fn ip_of(bytes: &[u8]) -> Option<std::net::IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(Into::into);
    <[u8; 16]>::try_from(bytes).ok().map(Into::into).or_else(v4)
}

fn read_key(key_pem: &str) -> Result<PrivateKeyDer<'static>, BundleError> {
    let is_encrypted = key_pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || key_pem.contains("Proc-Type: 4,ENCRYPTED");
    if is_encrypted {
        return Err(BundleError::EncryptedKey);
    }
    PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).map_err(|_absent| BundleError::NoKey)
}

fn key_error(error: rustls::Error, names: &[String]) -> BundleError {
    match error {
        rustls::Error::InconsistentKeys(_) => BundleError::KeyMismatch {
            names: names.join(", "),
        },
        other => unreadable(0, other),
    }
}

/// Dates of certificates reach to the year 9999, as far as timestamps do.
pub(crate) fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(if second < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}
