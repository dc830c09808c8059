//! An authority of our own, for `*.localhost` and for machines that no public authority reaches.
//!
//! Owns the root certificate and what it issues. It refuses to know where the root is kept and who
//! trusts it: nobody does until the root is installed.

use jiff::{SignedDuration, Timestamp};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use ring::rand::SecureRandom;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::bundle::Fingerprint;
use crate::{Bundle, BundleError, Secret};

/// How long a root lives: ten years.
pub const ROOT_LIFE: SignedDuration = SignedDuration::from_hours(24 * 3652);

/// How long a leaf lives: ninety days, or until its root ends.
pub const LEAF_LIFE: SignedDuration = SignedDuration::from_hours(24 * 90);

/// Certificates begin this long ago, for clients whose clocks are behind.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);

/// The longest common name that X.509 allows, in characters.
pub(crate) const LONGEST_COMMON_NAME: usize = 64;

/// Why the authority cannot be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The root is not PEM, or not a certificate.
    #[error("the root certificate cannot be read: {0}")]
    UnreadableRoot(String),
    /// The root may not issue.
    #[error("`{0}` is not the certificate of an authority (CA:TRUE is missing)")]
    NotAnAuthority(String),
    /// The key is not PEM, not PKCS #8, or of an unsupported kind.
    #[error("the root's key cannot be read")]
    UnreadableKey(#[source] rcgen::Error),
    /// The key is of another root.
    #[error("the key does not belong to the root certificate `{0}`")]
    KeyMismatch(String),
    /// The root does not live any more.
    #[error("the root certificate ended at {0}: make a new one and install it")]
    Expired(Timestamp),
    /// A certificate without names cannot be used for anything.
    #[error("no names were given for the certificate")]
    NoNames,
    /// A name can be neither a DNS name nor an IP address.
    #[error("`{0}` is neither a DNS name nor an IP address")]
    BadName(String),
    /// Keys or signatures cannot be made.
    #[error("the certificate cannot be signed")]
    Sign(#[source] rcgen::Error),
    /// A request for a certificate cannot be used.
    #[error("the request for a certificate cannot be used: {0}")]
    BadRequest(String),
    /// What was issued cannot be read again.
    #[error("the issued certificate cannot be used")]
    Issued(#[source] BundleError),
}

/// A root certificate with its key (ECDSA P-256).
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
    key_pem: Secret<String>,
    fingerprint: Fingerprint,
    not_after: Timestamp,
}

impl CertificateAuthority {
    /// Makes a new root that may issue leaves only, named "Caravanserai internal CA" and four
    /// random bytes: two roots in one trust store can be told apart.
    ///
    /// # Errors
    ///
    /// [`CaError::Sign`] when the system gives no random bytes.
    pub fn create(now: Timestamp) -> Result<Self, CaError> {
        let key = KeyPair::generate().map_err(CaError::Sign)?;
        let [a, b, c, d] = random::<4>()?;
        let mut params = params(now, now + ROOT_LIFE)?;
        let name = format!("Caravanserai internal CA {a:02x}{b:02x}{c:02x}{d:02x}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(CaError::Sign)?;
        Self::from_pem(&certificate.pem(), &key.serialize_pem())
    }

    /// Reads a root and its key (PKCS #8) back. An expired root can be read, but issues nothing.
    ///
    /// # Errors
    ///
    /// Says which of the two cannot be used, and why.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, CaError> {
        let der = CertificateDer::from_pem_slice(certificate_pem.as_bytes())
            .map_err(|error| CaError::UnreadableRoot(error.to_string()))?;
        let (_, root) = X509Certificate::from_der(&der)
            .map_err(|error| CaError::UnreadableRoot(error.to_string()))?;
        let subject = root.subject().to_string();
        if !root.is_ca() {
            return Err(CaError::NotAnAuthority(subject));
        }
        let key = KeyPair::from_pem(key_pem).map_err(CaError::UnreadableKey)?;
        if root.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(CaError::KeyMismatch(subject));
        }
        let not_after = crate::bundle::timestamp(root.validity().not_after.timestamp());
        let issuer = Issuer::from_ca_cert_der(&der, key)
            .map_err(|error| CaError::UnreadableRoot(error.to_string()))?;
        Ok(Self {
            issuer,
            certificate_pem: certificate_pem.to_owned(),
            key_pem: Secret::new(key_pem.to_owned()),
            fingerprint: Fingerprint::of(&der),
            not_after,
        })
    }

    /// The root as PEM: what clients install.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The root's key as PEM (PKCS #8).
    pub fn key_pem(&self) -> &Secret<String> {
        &self.key_pem
    }

    /// SHA-256 of the root.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the root ends.
    pub fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// Issues a certificate for a server with DNS names (`*.x` as well) and IP addresses, with a
    /// new ECDSA P-256 key. The chain is the leaf alone: clients have the root.
    ///
    /// # Errors
    ///
    /// [`CaError::NoNames`], [`CaError::BadName`], or [`CaError::Expired`].
    pub fn issue_server(&self, names: &[String], now: Timestamp) -> Result<Bundle, CaError> {
        self.issue_server_for(names, LEAF_LIFE, now)
    }

    /// The same, for another time.
    ///
    /// # Errors
    ///
    /// As [`Self::issue_server`].
    pub fn issue_server_for(
        &self,
        names: &[String],
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<Bundle, CaError> {
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, life, now)
    }

    /// Issues a certificate by which a node or a client shows to servers who it is. Its name is the
    /// common name and a DNS name of the certificate.
    ///
    /// # Errors
    ///
    /// As [`Self::issue_server`].
    pub fn issue_client(&self, name: &str, now: Timestamp) -> Result<Bundle, CaError> {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.issue(&[name.to_owned()], usage, LEAF_LIFE, now)
    }

    /// Signs what is asked for as it is; the certificate as PEM.
    pub(crate) fn sign(
        &self,
        request: &CertificateSigningRequestParams,
    ) -> Result<String, CaError> {
        let leaf = request.signed_by(&self.issuer).map_err(CaError::Sign)?;
        Ok(leaf.pem())
    }

    fn issue(
        &self,
        names: &[String],
        usage: ExtendedKeyUsagePurpose,
        life: SignedDuration,
        now: Timestamp,
    ) -> Result<Bundle, CaError> {
        if now >= self.not_after {
            return Err(CaError::Expired(self.not_after));
        }
        let first = names.first().ok_or(CaError::NoNames)?;
        let mut params = params(now, self.not_after.min(now + life))?;
        params.subject_alt_names = names
            .iter()
            .map(|n| alt_name(n))
            .collect::<Result<_, _>>()?;
        if first.len() <= LONGEST_COMMON_NAME {
            params
                .distinguished_name
                .push(DnType::CommonName, first.as_str());
        }
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(CaError::Sign)?;
        let leaf = params
            .signed_by(&key, &self.issuer)
            .map_err(CaError::Sign)?;
        let key_pem = Secret::new(key.serialize_pem());
        Bundle::from_pem(&leaf.pem(), key_pem.expose()).map_err(CaError::Issued)
    }
}

impl std::fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CertificateAuthority")
            .field("fingerprint", &self.fingerprint.to_string())
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

pub(crate) fn params(now: Timestamp, not_after: Timestamp) -> Result<CertificateParams, CaError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.not_before = date(now - BACKDATED)?;
    params.not_after = date(not_after)?;
    // Positive and not zero, as RFC 5280 wants it.
    let mut serial = random::<16>()?;
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

fn alt_name(name: &str) -> Result<SanType, CaError> {
    if let Ok(ip) = name.parse() {
        return Ok(SanType::IpAddress(ip));
    }
    let bad = || CaError::BadName(name.to_owned());
    let host = name.strip_prefix("*.").unwrap_or(name);
    if !is_hostname(host) {
        return Err(bad());
    }
    let text = Ia5String::try_from(name.to_ascii_lowercase()).map_err(|_not_ascii| bad())?;
    Ok(SanType::DnsName(text))
}

fn is_hostname(host: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        !label.is_empty() && label.len() <= 63 && label.chars().all(is_allowed)
    };
    host.len() <= 253 && host.split('.').all(is_label)
}

fn date(at: Timestamp) -> Result<OffsetDateTime, CaError> {
    OffsetDateTime::from_unix_timestamp(at.as_second())
        .map_err(|_out_of_range| CaError::Sign(rcgen::Error::Time))
}

fn random<const N: usize>() -> Result<[u8; N], CaError> {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_no_entropy| CaError::Sign(rcgen::Error::RingUnspecified))?;
    Ok(bytes)
}
